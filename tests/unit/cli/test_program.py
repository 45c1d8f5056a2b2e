"""The command line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

import bridge.app.process
from bridge import __version__
from bridge.__main__ import main
from bridge.cli.program import parse_options
from bridge.config.known_keys import example_config
from bridge.config.model import Config
from tests.unit.cli.runs import Folder
from tests.unit.config.configs import SMALLEST

TOKENS = "appservice: {as_token: aaaaaaaaaa, hs_token: bbbbbbbbbb}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.mark.parametrize("flag", ["-v", "--version"])
def test_version(folder: Folder, flag: str) -> None:
    result = folder.run(flag)
    assert (result.exit_code, result.output) == (0, f"matrix-webchat-bridge {__version__}\n")


@pytest.mark.parametrize("command", ["-e", "-eg", "--generate-example-config", "example-config"])
def test_example_configuration_is_printed(folder: Folder, command: str) -> None:
    result = folder.run(command)
    assert (result.exit_code, result.stdout) == (0, example_config())


def test_the_demo_without_its_extra(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bridge.demo.play", "bridge.demo.phone"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "nio", None)
    result = folder.run("demo", "--check")
    assert result.exit_code == 1
    assert 'pip install "matrix-webchat-bridge[demo]"' in result.output


def test_json_schema_is_printed(folder: Folder) -> None:
    assert "webchat" in json.loads(folder.run("example-config", "--schema").stdout)["properties"]


@pytest.mark.parametrize("arguments", [(), ("run",)])
def test_run_is_the_default_and_gives_the_apps_exit_code(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    given: list[Config] = []

    def serve(config: Config, load: Callable[[], Config]) -> int:
        given.extend([config, load()])
        return 3

    monkeypatch.setattr(bridge.app.process, "run", serve)
    folder.write(SMALLEST + TOKENS)
    result = folder.run_here(*arguments)
    assert result.exit_code == 3
    assert given[0].homeserver.domain == "example.org"
    assert given[1] == given[0]  # what a SIGHUP would read


def test_the_flag_after_the_command_wins(folder: Folder) -> None:
    folder.write()
    assert folder.run("-c", "/nowhere.yaml", "check", "-c", str(folder.config)).exit_code == 0
    assert folder.run("-c", str(folder.config), "check").exit_code == 0
    assert folder.run("-c", str(folder.config), "check", "-c", "/nowhere.yaml").exit_code == 10


def test_the_environment_is_laid_over_the_file(folder: Folder) -> None:
    folder.write()
    folder.environment["MATRIX_WEBCHAT_APPSERVICE__PORT"] = "many"
    result = folder.run_here("check")
    assert result.exit_code == 11
    assert "environment MATRIX_WEBCHAT_APPSERVICE__PORT: appservice.port" in result.stderr


def test_an_unknown_command_is_a_usage_error(folder: Folder) -> None:
    assert folder.run("frobnicate").exit_code == 2


def test_only_commands_that_work_are_listed(folder: Folder) -> None:
    listed = folder.run("--help").stdout
    for command in (
        "run",
        "register",
        "check",
        "doctor",
        "trace",
        "dead-letters",
        "replicas",
        "simulate",
        "migrate",
    ):
        assert f"\n  {command} " in listed
    assert "container" not in listed
    cut = "click cuts a first sentence that is too long for its line"
    assert "..." not in listed.partition("Commands:")[2], cut


def test_options_are_json_or_text() -> None:
    options = parse_options(
        "2016",
        "echo",
        [1, 2],
        ["frame_limit=4096", "receipts=true", "sign_key=K1", 'allowed_extensions=["png"]'],
    )
    assert (options.script, options.queues) == ("echo", (1, 2))
    assert (options.frame_limit, options.receipts, options.sign_key) == (4096, True, "K1")
    assert options.allowed_extensions == ("png",)


def test_a_text_may_look_like_a_number() -> None:
    settings = ["handshake_refusal=401", "sign_key=123", "heartbeat=null", 'robot_key="7"']
    options = parse_options("2019", "hand", [], settings)
    assert (options.handshake_refusal, options.sign_key) == ("401", "123")
    assert (options.heartbeat, options.robot_key) == (None, "7")


@pytest.mark.parametrize(
    "setting",
    ["frame_limit", "nonsense=1", "frame_limit=many", "frame_limit=0", "session_grace=nan"],
)
def test_a_wrong_option_is_named(setting: str) -> None:
    with pytest.raises(click.UsageError, match=r"--set"):
        parse_options("2016", "accept", [], [setting])


def test_unknown_dialect_is_refused(tmp_path: Path) -> None:
    assert parse_options("2019", "hand", [], []).later
    result = Folder(tmp_path).run("simulate", "--dialect", "2020")
    assert result.exit_code == 2
    assert "2019" in result.stderr


def test_first_process_of_a_container_can_be_stopped_before_it_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel drops a signal for process 1 that it does not handle."""
    monkeypatch.setattr(
        "bridge.cli.program.program", lambda prog_name: os.kill(os.getpid(), signal.SIGTERM)
    )
    usual = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        signal.signal(signal.SIGTERM, usual)
    assert ended.value.code == 143


def test_simulator_runs_until_sigterm_and_ends_with_0() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", "simulate", "--port", "0", "--set", "login_limit=0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process:
        # The line comes once it listens; without one the read ends with the process.
        lines = iter(process.stdout.readline, "")
        assert any(line.startswith("WebChat: http://127.0.0.1:") for line in lines)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


def test_port_in_use_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as first:
        port = first.getsockname()[1]
        second = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "bridge", "simulate", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert second.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in second.stderr
