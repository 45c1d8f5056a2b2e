"""Log files to quote in a test's failure report, and logging as it was (`tests/conftest.py`)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

from bridge.ops.logging import HELD_AT_INFO, SILENT

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


@contextmanager
def logging_as_it_was() -> Iterator[None]:
    """Undo `configure_logging` at the end: on a test's captured stream, which is closed then, each
    line of later tests would be an error with a traceback, of 30 ms.
    """
    loggers = [logging.getLogger(name) for name in ("", *HELD_AT_INFO, *SILENT)]
    before = [(one.level, one.propagate, list(one.handlers)) for one in loggers]
    try:
        yield
    finally:
        if structlog.is_configured():
            for one, (level, propagate, handlers) in zip(loggers, before, strict=True):
                one.setLevel(level)
                one.propagate = propagate
                one.handlers[:] = handlers
            structlog.reset_defaults()
