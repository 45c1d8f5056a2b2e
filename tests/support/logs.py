"""Log files to quote in a test's failure report (see `tests/conftest.py`)."""

from __future__ import annotations

from pathlib import Path

import pytest

LOGS = pytest.StashKey[list[Path]]()
"""Stash key, on a test, module or session, of the log files of its processes."""

SHOWN = 40
"""Lines quoted of each log."""


def show_on_failure(request: pytest.FixtureRequest, *files: Path) -> None:
    """Quote the last lines of these files when a test in the scope of `request` fails."""
    request.node.stash.setdefault(LOGS, []).extend(files)


def end_of(path: Path) -> str:
    """Return the last lines of a log, or the error of reading it."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        return str(error)
    return "\n".join(lines[-SHOWN:])
