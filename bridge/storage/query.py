"""Database calls, the engines that carry them out, and their errors.

A call is a generator: it yields queries, is sent their rows, and returns its result. It does no
I/O, so the same call runs in SQLite's worker thread (`sqlite.drive`) and on asyncpg
(`postgres.drive_async`); an `Engine` is either of them.

A query may have many rows of parameters. SQLite runs its statement once for each, which costs
three to five microseconds, and as much again for a RETURNING: it is given none. PostgreSQL gets
them all in one round trip as arrays: what a statement costs there is the trip, so a whole group of
requests is a handful of statements, however many requests it holds.

All errors are `StoreError`s, as far as anybody treats them differently: the writer tells
`Unreachable` (nothing can be written now) from a plain StoreError (this one request cannot be
written), and the program's exit code depends on the others.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from bridge.rooms.store import StoreError

T = TypeVar("T")

Rows = Sequence[Any]
"""Rows of either driver: each is indexed and unpacked like a tuple."""


class Statement(NamedTuple):
    """One statement in both dialects; placeholders are `$1`, `$2`, … in both."""

    sqlite: str
    postgres: str


class Query(NamedTuple):
    statement: Statement
    params: tuple[Any, ...] = ()
    """The parameters; for a statement made by `for_rows`, one tuple of them for every row."""
    many: bool = False


class Part(NamedTuple):
    """One of several statements that take effect together."""

    statement: Statement
    """Made by `for_rows` or `updating`; if it is strict or returns, with RETURNING."""
    rows: Sequence[tuple[Any, ...]]
    strict: bool = False
    """Every one of the rows must be written, else nothing is: Stale."""
    returns: bool = False
    """The caller wants the rows that come back, which have the columns `seq`, `key`, `handled`."""


class Reading(NamedTuple):
    """How the rows that a `Together` returns are read after it.

    SQLite is always asked so, for that is faster than RETURNING; PostgreSQL only if the answer was
    lost on its way.
    """

    before: Statement
    """Asked of SQLite before; a row of the parameters of `after`."""
    after: Statement
    """SQLite's has the parameters that `before` gave; PostgreSQL's has the writer that marked the
    transaction, and how many rows to look through."""


class Together(NamedTuple):
    """Statements that are carried out as one; none of them sees what another writes.

    Answered by the rows of those parts that return any. On PostgreSQL they are one statement with
    its own transaction, so one round trip, if nothing else is to be committed with them (`alone`).
    """

    parts: tuple[Part, ...]
    alone: bool = False
    reading: Reading | None = None
    """Needed if a part returns rows."""


Call = Generator[Query | Together, Rows, T]

_PLACEHOLDER = re.compile(r"\$(\d+)")


def _numbered(sql: str) -> str:
    """`$1` names a parameter in SQLite; `?1` numbers it."""
    return _PLACEHOLDER.sub(r"?\1", sql)


def same(sql: str) -> Statement:
    """A statement that reads the same in both dialects."""
    return Statement(_numbered(sql), sql)


def for_rows(sql: str, *types: str) -> Statement:
    """A statement over rows of parameters, which it names `{rows}`.

    Args:
        sql: the statement, `{rows}` standing where a SELECT of the rows may stand.
        types: PostgreSQL's type of each column of the rows.
    """
    values = ", ".join(f"?{number}" for number in range(1, len(types) + 1))
    return Statement(
        sql.replace("{rows}", f"VALUES ({values})").partition(" RETURNING ")[0],
        sql.replace("{rows}", _unnested(types)),
    )


def updating(sql: str, **types: str) -> Statement:
    """An UPDATE for every row of parameters, by a key; returns one column for each row it finds.

    Args:
        sql: the statement for one row, of whose parameters it speaks as `{name}`.
        types: PostgreSQL's type of each parameter, by name, in the order of a row.
    """
    numbered = {name: f"?{number}" for number, name in enumerate(types, 1)}
    columns = {name: f"new_{name}" for name in types}
    update, _, condition = sql.format_map(columns).partition(" WHERE ")
    return Statement(
        sql.format_map(numbered),
        f"WITH new ({', '.join(columns.values())}) AS ({_unnested(tuple(types.values()))}) "
        f"{update} FROM new WHERE {condition} RETURNING {next(iter(columns.values()))}",
    )


def _unnested(types: Sequence[str]) -> str:
    """A SELECT of PostgreSQL's over rows that are handed over as one array a column.

    The rows come in the arrays' order, so identities are given out in it too.
    """
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types, 1))
    return f"SELECT * FROM unnest({arrays})"  # noqa: S608 - our own words


def once(statement: Statement, *params: object) -> Query:
    return Query(statement, params)


def per_row(statement: Statement, rows: Sequence[tuple[Any, ...]]) -> Query:
    """Run a `for_rows` statement; at least one row."""
    return Query(statement, tuple(rows), many=True)


@lru_cache(maxsize=64)
def as_one(parts: tuple[tuple[str, bool, bool], ...]) -> str:
    """Write statements over rows as one PostgreSQL statement, whose parameters are all theirs.

    After the parameters of a strict part stands the number of rows that it has to write; another
    number fails the whole statement, by a division by zero.

    Args:
        parts: the text for PostgreSQL of each; whether it is strict; whether its rows are wanted.
    """
    tables, checks, wanted, first = [], [], [], 1
    for number, (text, strict, returns) in enumerate(parts):
        shifted, first = _shifted(text, first)
        tables.append(f"p{number} AS ({shifted})")
        if strict:
            checks.append(f"(SELECT count(*) FROM p{number}) = ${first}::bigint")  # noqa: S608
            first += 1
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

    @property
    def dialect(self) -> Dialect: ...

    async def open(self) -> None:
        """Connect; Unreachable if that cannot be done."""
        ...

    async def claim(self) -> None:
        """Be the one bridge that works on this database, until closed or dead.

        The claim of a process that has been killed ends with it; one that lingers is waited for.

        Raises:
            AlreadyInUse: another process has claimed it.
        """
        ...

    async def commit(self, call: Call[T]) -> T:
        """Carry out a call in one durable transaction. Only the writer calls it."""
        ...

    async def migrate(self, call: Call[T]) -> T:
        """The same for a change of the schema, which may take its time."""
        ...

    async def read(self, call: Call[T]) -> T:
        """Carry out a call that only reads."""
        ...

    async def close(self) -> None: ...


# --- errors ---------------------------------------------------------------------------------------


class Unreachable(StoreError):
    """The database is away, full or hung: another request would fare no better."""


def cannot_open(path: Path, error: OSError) -> Unreachable:
    """What a fault of a database's file or folder is to everybody."""
    return Unreachable(f"cannot open {path}: {error.strerror or error}")


class AlreadyInUse(Unreachable):
    """Another bridge works on this database. Two would do each other's work a second time."""

    def __init__(
        self,
        message: str = "another bridge is at work on this database, and only one may be: "
        "stop that one first, or give this one a database of its own",
    ) -> None:
        super().__init__(message)


class CorruptDatabaseError(StoreError):
    """The file is no database, or is damaged: nothing can be trusted until it is restored."""


def database_is_corrupt(error: BaseException) -> bool:
    """True if a CorruptDatabaseError is the error, a member of it, or one of its causes."""
    if isinstance(error, CorruptDatabaseError):
        return True
    if isinstance(error, BaseExceptionGroup) and any(map(database_is_corrupt, error.exceptions)):
        return True
    return error.__cause__ is not None and database_is_corrupt(error.__cause__)
