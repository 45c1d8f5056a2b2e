"""Logs: structlog for us and for the libraries, one line an event, text or JSON, no secrets.

Messages are constants with fields. Context (`room`, `session`, `call`), bound with
`structlog.contextvars.bound_contextvars`, appears in every line logged within.

Two nets keep secrets out, in our lines and the libraries' alike: fields whose name says secret lose
their value, and the values given as `secrets` are cut out of every text. Libraries that log URLs or
frames at debug level are held at INFO, and aiohttp's access log (which would print the legacy
`?access_token=`) is off, whatever level the operator chose.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

HELD_AT_INFO = ("mautrix", "mau", "websockets", "aiohttp", "asyncio", "asyncpg", "PIL")
"""Their debug lines hold tokens, request bodies or frames; Pillow's are many and say nothing."""
SILENT = ("aiohttp.access",)

_SECRET_WORDS = frozenset({"token", "password", "secret", "sign", "authorization", "cookie", "dsn"})
_SECRET_KEYS = frozenset({"sign", "public", "private", "secret", "pickle", "api"})
_SHORTEST_SECRET = 6  # a shorter one would blank out half of every line
_MASK = "***"


def is_secret_name(name: str) -> bool:
    """True for `token`, `as_token`, `sign_key`, `X-Sign`, …; not for `room_key` and `text_key`."""
    *above, last = name.lower().replace("-", "_").split("_")
    if last == "key":
        return bool(above) and above[-1] in _SECRET_KEYS
    return last in _SECRET_WORDS


class Redactor:
    """A structlog processor that drops what must not be read."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # Longest first: a secret may be part of another.
        long = {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
        self._secrets = sorted(long, key=len, reverse=True)

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        for name, value in event.items():
            secret = is_secret_name(name) and value is not None
            event[name] = _MASK if secret else self._clean(value)
        return event

    def _clean(self, value: object) -> object:
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, _MASK)
            return value
        if isinstance(value, dict):
            return {
                name: _MASK if is_secret_name(str(name)) else self._clean(inner)
                for name, inner in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self._clean(inner) for inner in value]
        if value is None or isinstance(value, int | float):
            return value
        # Anything else would be written by its repr, after us.
        return self._clean(repr(value))


_FIRST: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.stdlib.PositionalArgumentsFormatter(),
)
"""Processors that make an event of a log line, ours or a library's."""


_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
"""Levels, as the journal numbers them (sd-daemon(3))."""


def _to_the_journal(stream: TextIO) -> bool:
    """True if it is systemd's journal that reads this stream (systemd.exec(5), JOURNAL_STREAM)."""
    with suppress(OSError, ValueError):
        found = os.fstat(stream.fileno())
        return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
    return False


class _Prioritised:
    """A renderer whose lines, each of a traceback too, begin with the journal's priority."""

    def __init__(self, render: Processor) -> None:
        self._render = render

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        priority = _PRIORITIES.get(str(event.get("level")), 6)
        text = str(self._render(logger, method, event))
        return "\n".join(f"<{priority}>{line}" for line in text.splitlines())


def configure_logging(
    level: str, form: str, *, secrets: Collection[str] = (), stream: TextIO | None = None
) -> None:
    """Set up logging for the whole process; may be called again (a reload).

    `secrets`: values that must never be seen; `stream`: the standard output if None.
    """
    output = stream or sys.stdout
    render: Processor
    if form == "json":
        render = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        render = structlog.dev.ConsoleRenderer(
            colors=output.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    if _to_the_journal(output):
        render = _Prioritised(render)
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                Redactor(secrets),  # after tracebacks have become text
                render,
            ],
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *_FIRST],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in HELD_AT_INFO:
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLevelNamesMapping()[level]))
    for name in SILENT:
        silent = logging.getLogger(name)
        silent.setLevel(logging.CRITICAL + 1)
        silent.propagate = False
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_FIRST,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        # A logger made before a reload must follow it.
        cache_logger_on_first_use=False,
    )
