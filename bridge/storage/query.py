"""Database queries, the engines that carry them out, and their errors.

Queries hold SQL for both engines and its parameters, and do no I/O: an `Engine` is SQLite in a
thread (`sqlite.py`) or PostgreSQL over asyncpg (`postgres.py`).

A `Together` writes many rows. SQLite runs a statement once for each, without RETURNING, which would
double the cost: it tells a row's number anyway. PostgreSQL, where the round trip is the cost, gets
them all in one, as arrays; a single row goes as plain values, which are cheaper for the driver.

Of its errors, the writer tells `Unreachable` (nothing can be written now) from a plain StoreError
(this one request cannot be written), and the program's exit code depends on the others.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from bridge.ids import RoomId
from bridge.rooms.store import StoreError

Rows = Sequence[Any]
"""Rows of either driver: each is indexed and unpacked like a tuple."""
STALE = "the room has changed meanwhile, what is to be ended has ended, or what came is known"
"""Text of the error for what a commit was made from and is not so any more."""


class Statement(NamedTuple):
    """One statement in both dialects; placeholders are `$1`, `$2`, …, and SQLite's `?1`, `?2`, ….

    To SQLite `$1` is the name of a parameter, and has no place in a list of them.
    """

    sqlite: str
    postgres: str
    single: str = ""
    """PostgreSQL's for one row, if `postgres` is over arrays of rows."""
    usual: str = ""
    """SQLite's for a row whose indexed columns stay as they are; tried first, if there is one.

    SQLite writes all indexes of the columns that an UPDATE names anew, changed or not: a page each.
    """


class Query(NamedTuple):
    """A statement that is run once, with its parameters."""

    statement: Statement
    params: tuple[Any, ...] = ()
    rooms: Sequence[RoomId] = ()
    """As of `Together`."""


class Part(NamedTuple):
    """One of several statements that take effect together."""

    statement: Statement
    """Made by `for_rows` or `updating`; if it is strict or returns, with RETURNING."""
    rows: Sequence[tuple[Any, ...]]
    """At least one row of parameters."""
    strict: bool = False
    """Every one of the rows must be written, else nothing is: Stale."""
    returns: bool = False
    """The caller wants the rows that come back, which have the columns `seq`, `key`, `handled`."""


class Reading(NamedTuple):
    """How the rows that a `Together` returns are known without RETURNING."""

    inserted: Callable[[int, tuple[Any, ...]], tuple[Any, ...]]
    """What SQLite returns for a row that was inserted: of its number and its parameters."""
    lost: Statement
    """Asked of PostgreSQL if the answer was lost on its way; the parameters are the writer that
    marked the transaction, and how many rows to look through."""
    changing: tuple[Statement, ...]
    """Those whose rows `lost` finds as well; they only changed, and their number comes first."""


class Together(NamedTuple):
    """Statements that are carried out as one; none of them sees what another writes.

    Answered by the rows of those parts that return any.
    """

    parts: Sequence[Part]
    reading: Reading | None = None
    """Needed if a part returns rows."""
    rooms: Sequence[RoomId] = ()
    """Rooms that the writer has to own, if several processes share the database (`shards`)."""


_PLACEHOLDER = re.compile(r"\$(\d+)")


def same(sql: str) -> Statement:
    """A statement that reads the same in both dialects, but that SQLite's parameters are `?1`."""
    return Statement(_PLACEHOLDER.sub(r"?\1", sql), sql)


def for_rows(sql: str, types: str) -> Statement:
    """A statement over rows of parameters: `{rows}` stands where a SELECT of them may stand.

    `types` are PostgreSQL's, of each column of the rows: `text, bigint`.
    """
    kinds = types.split(", ")
    values = ", ".join(f"?{number}" for number in range(1, len(kinds) + 1))
    return Statement(
        sql.replace("{rows}", f"VALUES ({values})").partition(" RETURNING ")[0],
        sql.replace("{rows}", _unnested(kinds)),
        sql.replace("{rows}", _selected(kinds)),
    )


def upsert(table: str, keys: str, others: str) -> str:
    """An INSERT of `{rows}` that changes the other columns where a row of these keys is there."""
    changes = ", ".join(f"{name} = excluded.{name}" for name in others.split(", "))
    into = f"INSERT INTO {table} ({keys}, {others}) {{rows}}"
    return f"{into} ON CONFLICT ({keys}) DO UPDATE SET {changes}"


def updating(sql: str, types: str, usual: str = "") -> Statement:
    """An UPDATE for every row of parameters, by a key; returns one column for each row it finds.

    `sql` (and `usual`, see `Statement.usual`) is for one row, and speaks of its parameters as
    `{name}`; `types` are their names and PostgreSQL's types: `seq bigint, outcome text`.
    """
    names, kinds = zip(*(one.split() for one in types.split(", ")), strict=True)
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
    """A SELECT of PostgreSQL's over rows that are handed over as one array a column.

    The rows come in the arrays' order, so identities are given out in it too.
    """
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(kinds, 1))
    return f"SELECT * FROM unnest({arrays})"  # noqa: S608 - our own words


def _selected(kinds: Sequence[str]) -> str:
    """The same over a single row, one value a column."""
    return "SELECT " + ", ".join(f"${number}::{kind}" for number, kind in enumerate(kinds, 1))


def as_one(parts: Sequence[Part]) -> tuple[str, list[object]]:
    """Statements over rows as one PostgreSQL statement, and its parameters.

    It fails as a whole, by a division by zero, if a strict part does not write all of its rows.
    """
    params: list[object] = []
    for part in parts:
        if len(part.rows) == 1:
            params += part.rows[0]
            continue
        params += [list(column) for column in zip(*part.rows, strict=True)]
        if part.strict:
            params.append(len(part.rows))
    shapes = [(one.statement, len(one.rows) == 1, one.strict, one.returns) for one in parts]
    return _as_one(tuple(shapes)), params


@lru_cache(maxsize=256)
def _as_one(parts: tuple[tuple[Statement, bool, bool, bool], ...]) -> str:
    """The text of `as_one`: of each part its statement, if it has one row, is strict, returns.

    The number of rows of a strict part is a parameter behind its rows, unless it is one.
    """
    tables, checks, wanted, first = [], [], [], 1
    for number, (statement, single, strict, returns) in enumerate(parts):
        shifted, first = _shifted(statement.single if single else statement.postgres, first)
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
    """A statement whose parameters begin at `first`; and the number after them."""
    used = max(int(one) for one in _PLACEHOLDER.findall(text))
    return _PLACEHOLDER.sub(lambda one: f"${int(one[1]) + first - 1}", text), first + used


# --- engines --------------------------------------------------------------------------------------


class Dialect(StrEnum):
    SQLITE = "sqlite"
    POSTGRES = "postgres"


class Engine(Protocol):
    """SQLite or PostgreSQL. Every method raises StoreError, and nothing else foreign.

    Whatever way a writing call ends, no transaction stays open.
    """

    dialect: Dialect

    async def open(self) -> None:
        """Connect; Unreachable if that cannot be done. It has to be closed even then."""

    async def claim(self) -> None:
        """Be the one bridge that works on this database, until closed or dead.

        The claim of a process that has been killed ends with it; one that lingers is waited for.
        AlreadyInUse: another process has claimed it.
        """

    def commit(self, queries: Sequence[Query | Together]) -> Awaitable[list[Rows]]:
        """Carry out queries in one durable transaction; the rows of each. Only the writer asks."""

    async def migrate(self, queries: Sequence[Query]) -> None:
        """The same for a change of the schema, which may take its time."""

    def read(self, query: Query) -> Awaitable[Rows]:
        """Carry out a query that only reads."""

    async def close(self) -> None: ...


# --- errors ---------------------------------------------------------------------------------------


class Unreachable(StoreError):
    """The database is away, full or hung: another request would fare no better."""


class TakesNothing(Unreachable):
    """The database answers, and takes nothing for now: the request was surely not written."""


def cannot_open(path: Path, error: OSError) -> Unreachable:
    """The error for a fault of a database's file or folder."""
    return Unreachable(f"cannot open {path}: {error.strerror or error}")


class AlreadyInUse(Unreachable):
    """Another bridge works on this database. Two would do each other's work a second time."""

    def __init__(
        self,
        message: str = "another bridge is at work on this database, and only one may be: "
        "stop that one first, or give this one a database of its own. Only on PostgreSQL do "
        "several bridges, all of this version, share the rooms (docs/scaling.md)",
    ) -> None:
        super().__init__(message)


class Pooled(Unreachable):
    """Between us and PostgreSQL stands a pooler that lends its sessions by the transaction."""

    def __init__(self) -> None:
        super().__init__(
            "the database is reached through a connection pooler in transaction mode, which "
            "cannot hold the locks by which several bridges share the rooms: connect to PostgreSQL "
            "itself, or to a pooler in session mode (docs/scaling.md)"
        )


class CorruptDatabaseError(StoreError):
    """The file is no database, or is damaged: nothing can be trusted until it is restored."""


def database_is_corrupt(error: BaseException) -> bool:
    """True if a CorruptDatabaseError is the error, a member of it, or one of its causes."""
    if isinstance(error, CorruptDatabaseError):
        return True
    if isinstance(error, BaseExceptionGroup) and any(map(database_is_corrupt, error.exceptions)):
        return True
    return error.__cause__ is not None and database_is_corrupt(error.__cause__)
