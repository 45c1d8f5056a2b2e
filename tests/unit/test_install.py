"""tests/install.py shows one line of progress, or pip's whole output if it fails."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

from tests.install import Progress

SCRIPT = Path(__file__).parents[1] / "install.py"
PIP = "for n in range(250): print(f'Collecting package{n}>=1')\nprint('what went wrong')\nexit(%d)"


class Screen(io.StringIO):
    """A terminal's output."""

    def isatty(self) -> bool:
        return True


def run(code: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), sys.executable, "-c", PIP % code]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours


def test_250_lines_of_pip_become_one_line() -> None:
    done = run(0)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].startswith("   installed: 250 packages, ")
    assert len(done.stdout.splitlines()) <= 3, "on the slowest machine a line of progress or two"
    assert done.stderr == ""


def test_a_failure_shows_pips_whole_output() -> None:
    done = run(3)
    assert done.returncode == 3
    lines = done.stdout.splitlines()
    assert sum(line.startswith("Collecting package") for line in lines) == 250
    assert "what went wrong" in lines
    assert lines[-1].startswith("   NOT installed: ")


def test_a_terminal_shows_one_line() -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, str(SCRIPT), sys.executable, "-c", PIP % 0]
    try:
        subprocess.run(command, stdout=theirs, check=True)  # noqa: S603 - ours
        shown = os.read(ours, 65536).decode()
    finally:
        os.close(theirs)
        os.close(ours)
    assert shown.count("\n") == 1
    assert "installed: 250 packages" in shown


def test_a_log_gets_a_line_of_progress_every_ten_seconds() -> None:
    log = io.StringIO()
    progress = Progress(log, began=100.0)
    progress.read("Collecting aiohttp>=3.14 (from matrix-webchat-bridge==0.1.0)\n")
    for second in range(101, 121):
        progress.tell(float(second))
    assert progress.due(120.0) == 10.0
    progress.read("Installing collected packages: aiohttp\n")
    progress.tell(130.0)
    progress.end(131.0, well=True)
    assert log.getvalue().splitlines() == [
        "   10 s, 1 packages, fetching aiohttp>=3.14",
        "   20 s, 1 packages, fetching aiohttp>=3.14",
        "   30 s, 1 packages, unpacking",
        "   installed: 1 packages, 31 s",
    ]


def test_a_terminals_line_is_overwritten_each_second() -> None:
    screen = Screen()
    progress = Progress(screen, began=0.0)
    progress.tell(0.5)
    progress.tell(1.0)
    progress.read("Building wheels for collected packages: x\n")
    progress.tell(2.0)
    progress.end(2.5, well=False)
    first, second, last = screen.getvalue().split("\r")[1:]
    assert first.rstrip() == "   1 s, 0 packages, looking for packages"
    assert second.rstrip() == "   2 s, 0 packages, building"
    assert len(second) >= len(first), "nothing of the longer one stays"
    assert last.endswith("\n")
