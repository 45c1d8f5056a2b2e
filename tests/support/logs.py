"""Which log files belong to a test: `tests/conftest.py` shows their ends when it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

LOGS = pytest.StashKey[list[Path]]()
"""On a test, module or session: the logs of the processes that it runs."""

SHOWN = 40
"""Lines of each log."""


def show_on_failure(request: pytest.FixtureRequest, *files: Path) -> None:
    """Have the ends of these files shown when a test in the scope of `request` fails."""
    request.node.stash.setdefault(LOGS, []).extend(files)


def end_of(path: Path) -> str:
    """The last lines of a log, or why there are none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        return str(error)
    return "\n".join(lines[-SHOWN:])
