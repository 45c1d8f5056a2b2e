"""Suppress log lines: the transactions target would write one for each odd event."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, NoReturn

import structlog


@contextmanager
def quiet() -> Iterator[None]:
    """Drop all log events of structlog."""
    before = structlog.get_config()
    structlog.configure(processors=[_drop])
    try:
        yield
    finally:
        structlog.configure(**before)


def _drop(logger: object, method: str, event: MutableMapping[str, Any]) -> NoReturn:
    raise structlog.DropEvent
