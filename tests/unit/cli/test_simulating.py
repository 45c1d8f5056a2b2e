"""`simulate`: its options, and that it starts and stops as a process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bridge.cli.program import parse_options
from tests.unit.cli.runs import Folder


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


@pytest.mark.parametrize(
    "setting", ["frame_limit", "nonsense=1", "frame_limit=many", "frame_limit=0"]
)
def test_a_wrong_option_is_named(setting: str) -> None:
    with pytest.raises(click.UsageError, match=r"--set"):
        parse_options("2016", "accept", [], [setting])


def test_a_dialect_that_nobody_speaks_is_refused(tmp_path: Path) -> None:
    assert parse_options("2019", "hand", [], []).later
    result = Folder(tmp_path).run("simulate", "--dialect", "2020")
    assert result.exit_code == 2
    assert "2019" in result.stderr


def test_it_runs_until_sigterm_and_ends_with_0() -> None:
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


def test_a_taken_port_is_said() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "bridge", "simulate", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdout is not None
        lines = iter(first.stdout.readline, "")
        address = next(line for line in lines if line.startswith("WebChat: "))
        port = address.split(":")[3].split("/")[0]
        second = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "bridge", "simulate", "--port", port],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        first.send_signal(signal.SIGTERM)
        assert first.wait(timeout=20) == 0
    assert second.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in second.stderr
