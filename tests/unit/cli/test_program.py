"""Flags, aliases and defaults of the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import bridge.app.process
from bridge import __version__
from bridge.config import Config, example_config
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


@pytest.mark.parametrize("command", ["-e", "--generate-example-config", "example-config"])
def test_the_example(folder: Folder, command: str) -> None:
    result = folder.run(command)
    assert (result.exit_code, result.stdout) == (0, example_config())


def test_the_demo_without_its_extra(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bridge.demo.play", "bridge.demo.matrix_user"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "nio", None)
    result = folder.run("demo", "--check")
    assert result.exit_code == 1
    assert 'pip install "matrix-webchat-bridge[demo]"' in result.output


def test_the_schema(folder: Folder) -> None:
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
        "simulate",
        "migrate",
    ):
        assert f"\n  {command} " in listed
    assert "container" not in listed
