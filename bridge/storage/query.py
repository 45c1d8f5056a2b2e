"""Database queries, the engine port that runs them, and its errors.

A query holds SQL for both engines and its parameters, and does no I/O. Engines: SQLite in a thread
(`sqlite.py`) and PostgreSQL over asyncpg (`postgres.py`).

A `Together` writes many rows. SQLite runs a statement once per row, without RETURNING, which would
double the cost (it reports the row id anyway). PostgreSQL, where round trips are the cost, gets all
rows in one statement as arrays; a single row goes as plain values, cheaper for the driver.

The group writer distinguishes `Unreachable` (nothing can be written now) from a plain StoreError
(this request cannot be written); the other errors decide the program's exit code.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import structlog

from bridge.ids import RoomId
from bridge.rooms.store import StoreError

Rows = Sequence[Any]
"""Rows of either driver; each can be indexed and unpacked like a tuple."""
STALE = "the write is outdated: the room has changed, or its inputs or effects are already recorded"
"""Text of Stale errors: what a commit was based on has changed."""
_log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.storage")


class Statement(NamedTuple):
    """A statement in both dialects; placeholders are `$1`, `$2`, …, and SQLite's `?1`, `?2`, …

    SQLite takes `$1` for a named parameter, which a list of values cannot bind.
    """

    sqlite: str
    postgres: str
    single: str = ""
    """PostgreSQL text for a single row; empty if `postgres` is for one, not for arrays of rows."""
    usual: str = ""
    """SQLite text for a row whose indexed columns do not change; tried first unless empty.

    Neither text may match a row that it has written: rows left over are tried again with them all.
    SQLite rewrites every index of the columns that an UPDATE names, changed or not: a page each.
    """


class Query(NamedTuple):
    """A statement to run once, with its parameters."""

    statement: Statement
    params: tuple[Any, ...] = ()
    rooms: Sequence[RoomId] = ()
    """See `Together.rooms`."""


class Part(NamedTuple):
    """One statement of a `Together`, with its rows of parameters."""

    statement: Statement
    """Has RETURNING if `strict` or `returns`."""
    rows: Sequence[tuple[Any, ...]]
    """At least one row of parameters; several if it was made by `for_rows` or `updating`."""
    strict: bool = False
    """If True, every row must be written; otherwise the transaction is rolled back with Stale."""
    returns: bool = False
    """If True, the caller gets the returned rows, with the columns `seq`, `key`, `handled`: for
    SQLite the row id, and the second and (if there is one) the fifth parameter of the insert."""


class Together(NamedTuple):
    """Statements that take effect atomically; none sees what another writes.

    The answer is the rows of those parts that return any.
    """

    parts: Sequence[Part]
    rooms: Sequence[RoomId] = ()
    """Rooms that this process must own, if several processes share the database (`shards`)."""


_PLACEHOLDER = re.compile(r"\$(\d+)")


def same(sql: str) -> Statement:
    """Make a statement whose text differs between the dialects only in its placeholders."""
    return Statement(_PLACEHOLDER.sub(r"?\1", sql), sql)


def for_rows(sql: str, types: str) -> Statement:
    """Make a statement for rows of parameters; `{rows}` is replaced by VALUES or a SELECT of them.

    `types`: the PostgreSQL type of each column, such as `text, bigint`.
    """
    kinds = types.split(", ")
    values = ", ".join(f"?{number}" for number in range(1, len(kinds) + 1))
    return Statement(
        sql.replace("{rows}", f"VALUES ({values})").partition(" RETURNING ")[0],
        sql.replace("{rows}", _unnested(kinds)),
        sql.replace("{rows}", _selected(kinds)),
    )


def upsert(table: str, keys: str, others: str) -> str:
    """Write an INSERT of `{rows}` that updates the other columns if a row with the keys exists."""
    changes = ", ".join(f"{name} = excluded.{name}" for name in others.split(", "))
    into = f"INSERT INTO {table} ({keys}, {others}) {{rows}}"
    return f"{into} ON CONFLICT ({keys}) DO UPDATE SET {changes}"


def updating(sql: str, types: str, usual: str = "") -> Statement:
    """Make an UPDATE by key for rows of parameters; returns the first column of each updated row.

    `sql` (and `usual`, see `Statement.usual`) is for one row, with parameters as `{name}`; `types`
    lists their names and PostgreSQL types: `seq bigint, outcome text`.
    """
    names, kinds = zip(*(column.split() for column in types.split(", ")), strict=True)
    numbered = {name: f"?{number}" for number, name in enumerate(names, 1)}
    columns = {name: f"new_{name}" for name in names}
    update, _, condition = sql.format_map(columns).partition(" WHERE ")

    def from_new(rows: str) -> str:
        new = f"WITH new ({', '.join(columns.values())}) AS ({rows})"
        return f"{new} {update} FROM new WHERE {condition} RETURNING new_{names[0]}"

    return Statement(
        sql.format_map(numbered),
        from_new(_unnested(kinds)),
        from_new(_selected(kinds)),
        usual.format_map(numbered),
    )


def _unnested(kinds: Sequence[str]) -> str:
    """Write a PostgreSQL SELECT of rows that are passed as one array per column.

    It keeps the arrays' order, so identities are assigned in that order too.
    """
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(kinds, 1))
    return f"SELECT * FROM unnest({arrays})"  # noqa: S608 - our own words


def _selected(kinds: Sequence[str]) -> str:
    """Write a PostgreSQL SELECT of a single row, passed as one value per column."""
    return "SELECT " + ", ".join(f"${number}::{kind}" for number, kind in enumerate(kinds, 1))


def as_one(parts: Sequence[Part]) -> tuple[str, list[object]]:
    """Combine statements into one PostgreSQL statement; return its text and parameters.

    It fails with a division by zero if a strict part does not write all of its rows.
    """
    params: list[object] = []
    for part in parts:
        if len(part.rows) == 1:
            params += part.rows[0]
            continue
        params += [list(column) for column in zip(*part.rows, strict=True)]
        if part.strict:
            params.append(len(part.rows))
    shapes = [(part.statement, len(part.rows) == 1, part.strict, part.returns) for part in parts]
    return _as_one(tuple(shapes)), params


@lru_cache(maxsize=256)
def _as_one(parts: tuple[tuple[Statement, bool, bool, bool], ...]) -> str:
    """Write the text of `as_one`; `parts`: statement, whether single row, strict, returns.

    A strict part's number of rows is a parameter after its rows, unless it is 1.
    """
    tables, checks, wanted, first = [], [], [], 1
    for number, (statement, single, strict, returns) in enumerate(parts):
        text = (single and statement.single) or statement.postgres
        shifted, first = _shifted(text, first)
        tables.append(f"p{number} AS ({shifted})")
        if strict:
            rows = "1" if single else f"${first}::bigint"
            checks.append(f"(SELECT count(*) FROM p{number}) = {rows}")  # noqa: S608
            first += not single
        if returns:
            wanted.append(f"SELECT seq, key, handled FROM p{number}")  # noqa: S608
    found = (
        " UNION ALL ".join(wanted) or "SELECT NULL::bigint, NULL::text, NULL::bigint WHERE false"
    )
    asked = " AND ".join(checks) or "true"
    return (
        f"WITH {', '.join(tables)}, found (seq, key, handled) AS ({found}) "  # noqa: S608 - ours
        f"SELECT seq, key, handled, whole FROM (SELECT 1 / CASE WHEN {asked} THEN 1 ELSE 0 END "
        "AS whole) AS checked LEFT JOIN found ON true"
    )


def _shifted(text: str, first: int) -> tuple[str, int]:
    """Renumber a statement's parameters from `first` on; also return the next free number."""
    used = max(int(number) for number in _PLACEHOLDER.findall(text))
    return _PLACEHOLDER.sub(lambda found: f"${int(found[1]) + first - 1}", text), first + used


# --- engines --------------------------------------------------------------------------------------


class Dialect(StrEnum):
    SQLITE = "sqlite"
    POSTGRES = "postgres"


class Engine(Protocol):
    """SQLite or PostgreSQL. Methods raise only StoreError, and never leave a transaction open."""

    dialect: Dialect

    async def open(self) -> None:
        """Connect, or raise Unreachable; call `close` even then."""

    async def claim(self, *, wait: bool = True) -> None:
        """Take the claim: the lock of the one bridge at work on this database, until closed.

        Waits a few seconds, with `wait`, for a killed process's claim to end; AlreadyInUse if held.
        """

    def commit(self, queries: Sequence[Query | Together]) -> Awaitable[list[Rows]]:
        """Run queries in one durable transaction; return the rows of each. For the writer only."""

    async def migrate(self, queries: Sequence[Query]) -> None:
        """Change the schema, or a whole table, in one transaction, with a long timeout."""

    def read(self, query: Query) -> Awaitable[Rows]:
        """Run a read-only query."""

    async def empty_log(self) -> bool:
        """Truncate SQLite's WAL, which keeps erased content until that is overwritten.

        False while another connection (of a backup, say) reads it. PostgreSQL's WAL stays.
        """

    async def close(self) -> None: ...


async def until_free(attempt: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Repeat an attempt that raises AlreadyInUse, for up to `seconds`: a wait that is logged."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    logged = False
    while True:
        try:
            return await attempt()
        except AlreadyInUse:
            if seconds and not logged:
                _log.warning("a bridge is using the database: waiting for its end", seconds=seconds)
            logged = True
            if loop.time() >= end:
                raise
        await asyncio.sleep(0.2)


# --- errors ---------------------------------------------------------------------------------------


class Unreachable(StoreError):
    """The database is away, full or hung: any other request would fail too."""


class TakesNothing(Unreachable):
    """The database answers but accepts no writes for now: the request was certainly not written."""


class DiskFull(TakesNothing):
    """The disk is full, or the memory: a small write may still find room."""


def cannot_open(path: Path, error: OSError) -> Unreachable:
    """Make the error for a database file or folder that cannot be opened."""
    return Unreachable(f"cannot open {path}: {error.strerror or error}")


class AlreadyInUse(Unreachable):
    def __init__(
        self,
        message: str = "another bridge is using this database, and only one may use it: stop "
        "that one first, or give this one its own database. Several bridges can share the rooms "
        "only on PostgreSQL, and only if all have this version (docs/scaling.md)",
    ) -> None:
        super().__init__(message)


POOLED = (
    "the database is reached through a connection pooler in transaction mode, which cannot hold "
    "the locks by which several bridges share the rooms: connect to PostgreSQL directly, or to a "
    "pooler in session mode (docs/scaling.md)"
)
"""Text of Unreachable errors."""


class CorruptDatabaseError(StoreError):
    """The database is damaged or not a database: trust nothing until it is restored."""


UNREADABLE = "a stored value cannot be read (it is damaged, or of a later version)"
"""Start of a CorruptDatabaseError about a value that cannot be decoded."""


def database_is_corrupt(error: BaseException) -> bool:
    """Return True if the error, a member of its group or a cause is a CorruptDatabaseError."""
    if isinstance(error, CorruptDatabaseError):
        return True
    if isinstance(error, BaseExceptionGroup) and any(map(database_is_corrupt, error.exceptions)):
        return True
    return error.__cause__ is not None and database_is_corrupt(error.__cause__)
