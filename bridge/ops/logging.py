"""Logging: structlog for the bridge and its libraries, one line per event, as text or JSON.

Messages are constants with fields. Context (`room`, `session`, `call`), bound with
`structlog.contextvars.bound_contextvars`, appears in every line logged within.

Secrets are redacted twice, also in lines of libraries: fields with a secret's name lose their
value, and the values given as `secrets` are masked in every text. Libraries that log URLs or frames
at debug level are held at INFO, and aiohttp's access log (which would print the legacy
`?access_token=`) is off, whatever level the operator chose.

Ids and errors come from strangers: characters that control a terminal or change the reading
direction are escaped.
"""

from __future__ import annotations

import logging
import os
import select
import sys
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

HELD_AT_INFO = ("mautrix", "mau", "websockets", "aiohttp", "asyncio", "asyncpg", "PIL")
"""Loggers whose debug lines hold tokens, request bodies or frames (Pillow's are only noise)."""
SILENT = ("aiohttp.access",)

_SECRET_WORDS = frozenset({"token", "password", "secret", "sign", "authorization", "cookie", "dsn"})
_SECRET_KEYS = frozenset({"sign", "public", "private", "secret", "pickle", "api"})
_TURNS = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_SHORTEST_SECRET = 6  # masking shorter values would destroy half of every line
_MASK = "***"
UNREAD_MS = 1_000
"""Maximum ms for which a line waits for a reader of the log."""
CONTROLS = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0), *_TURNS)
}
"""Control characters except tabs and line ends, and those for bidirectional text -> escapes."""


def printable(text: str) -> str:
    """Escape characters that control a terminal or change the reading direction."""
    return text if text.isprintable() else text.translate(CONTROLS)


def is_secret_name(name: str) -> bool:
    """True for `token`, `as_token`, `sign_key`, `X-Sign`, …; not for `room_key` and `text_key`."""
    *above, last = name.lower().replace("-", "_").split("_")
    if last == "key":
        return bool(above) and above[-1] in _SECRET_KEYS
    return last in _SECRET_WORDS


class Redactor:
    """Structlog processor that masks secrets."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # Longest first, as a secret may contain another.
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
            return printable(value)
        if isinstance(value, dict):
            return {
                name: _MASK if is_secret_name(str(name)) else self._clean(inner)
                for name, inner in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self._clean(inner) for inner in value]
        if value is None or isinstance(value, int | float):
            return value
        # Later processors would write the repr of any other type unmasked.
        return self._clean(repr(value))


_FIRST: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.stdlib.PositionalArgumentsFormatter(),
)
"""First processors of every log line, of the bridge or a library."""


_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
"""Log level -> priority in systemd's journal (sd-daemon(3))."""


def _to_the_journal(stream: TextIO) -> bool:
    """True if the stream goes to systemd's journal (systemd.exec(5), JOURNAL_STREAM)."""
    with suppress(OSError, ValueError):
        found = os.fstat(stream.fileno())
        return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
    return False


def _prioritised(render: Processor) -> Processor:
    """Make a renderer that prefixes each line, also of tracebacks, with the journal's priority."""

    def rendered(logger: WrappedLogger, method: str, event: EventDict) -> str:
        priority = _PRIORITIES.get(str(event.get("level")), 6)
        text = str(render(logger, method, event))
        return "\n".join(f"<{priority}>{line}" for line in text.splitlines())

    return rendered


class Output:
    """A stream for log lines that drops what nobody reads within `UNREAD_MS`.

    A write to a full pipe (journald, a container engine or a log shipper that hangs) would stop the
    event loop, and with it every room, until somebody reads.
    """

    def __init__(self, stream: TextIO) -> None:
        self._fd, self._encoding = stream.fileno(), stream.encoding
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)
        self._dropped = 0

    def write(self, line: str) -> None:
        """Write a line; BlockingIOError if nobody reads."""
        data = line.encode(self._encoding, "backslashreplace")
        for start in range(0, len(data), select.PIPE_BUF):
            if not self._poll.poll(0 if self._dropped else UNREAD_MS):
                self._dropped += 1
                raise BlockingIOError
            os.write(self._fd, data[start : start + select.PIPE_BUF])  # a ready pipe takes as much
        if self._dropped:
            count, self._dropped = self._dropped, 0
            structlog.get_logger("bridge.ops").warning(
                "nobody read the log for a while", lost=count
            )

    def flush(self) -> None:
        """Do nothing: no line is buffered."""


def _handler(output: TextIO) -> logging.StreamHandler[Output | TextIO]:
    """Make a handler that drops lines which cannot be written (a full disk, a closed pipe)."""
    handler = logging.StreamHandler[Output | TextIO](output)
    with suppress(OSError, ValueError):  # a stream in memory
        handler.setStream(Output(output))
    tell = handler.handleError

    def failed(record: logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            tell(record)

    handler.handleError = failed  # type: ignore[method-assign]
    return handler


def configure_logging(
    level: str, form: str, *, secrets: Collection[str] = (), stream: TextIO | None = None
) -> None:
    """Set up logging for the whole process; may be called again for a reload.

    `secrets`: values to mask; `stream`: standard output if None.
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
        render = _prioritised(render)
    handler = _handler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                Redactor(secrets),  # after tracebacks are rendered as text
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
        # Loggers made before a reload must use the new configuration.
        cache_logger_on_first_use=False,
    )
