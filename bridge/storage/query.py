"""One description of every database call, carried out by two very different drivers.

A call is a generator: it yields queries, is sent their rows, and returns its result. It does no
I/O, so the same call runs in SQLite's worker thread (`drive`) and on asyncpg (`drive_async`).

A query may have many rows of parameters. SQLite runs its statement once for each, which costs
microseconds. PostgreSQL gets them all in one round trip as arrays: what a statement costs there is
the trip, so a whole group of requests is a handful of statements, however many requests it holds.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeVar

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


Call = Generator[Query, Rows, T]

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
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types, 1))
    return Statement(
        sql.replace("{rows}", f"VALUES ({values})"),
        # unnest hands the rows out in the arrays' order, so identities are given out in it too.
        sql.replace("{rows}", f"SELECT * FROM unnest({arrays})"),  # noqa: S608 - our own words
    )


def once(statement: Statement, *params: object) -> Query:
    return Query(statement, params)


def per_row(statement: Statement, rows: Sequence[tuple[Any, ...]]) -> Query:
    """Run a `for_rows` statement; at least one row."""
    return Query(statement, tuple(rows), many=True)


def drive(call: Call[T], run: Callable[[Query], Rows]) -> T:
    """Carry out a call with a blocking driver; return its result."""
    try:
        query = next(call)
        while True:
            query = call.send(run(query))
    except StopIteration as stop:
        result: T = stop.value
        return result


async def drive_async(call: Call[T], run: Callable[[Query], Awaitable[Rows]]) -> T:
    """Carry out a call with an asynchronous driver; return its result."""
    try:
        query = next(call)
        while True:
            query = call.send(await run(query))
    except StopIteration as stop:
        result: T = stop.value
        return result
