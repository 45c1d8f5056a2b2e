"""An in-memory SQLite store without a thread, for tests that are not about storage.

It runs the program's own SQL. Every call is answered within one iteration of the event loop, so
that virtual time works.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cache
from typing import Any, TypeVar
from weakref import finalize

from bridge.rooms.store import DeadLetter, Unstorable
from bridge.storage.migrate import known
from bridge.storage.query import Dialect, Query, Rows, Together, Unreachable
from bridge.storage.sql import Write, carry_out
from bridge.storage.sqlite import run, translated
from bridge.storage.sqlstore import GroupWriter, SqlStore

T = TypeVar("T")

MAX_TEXT = 2_600
"""Maximum bytes of a text that PostgreSQL can index."""


class _Writer(GroupWriter[Write]):
    """Commits each request at once."""

    def __init__(self, engine: _Engine) -> None:
        super().__init__(lambda group: carry_out(group, engine))

    def submit(self, requests: Sequence[Write], done: Callable[[list[object]], None]) -> None:
        try:
            self._answers(requests).send(None)
        except StopIteration as written:
            done([*written.value])
        else:
            raise AssertionError("a database in memory lets nobody wait")

    async def close(self) -> None:
        pass


class _Engine:
    """Implements `storage.query.Engine` with a connection in the calling thread."""

    dialect = Dialect.SQLITE

    def __init__(self) -> None:
        self.down = ""
        """Error of every call; empty while the database is up."""
        # Closed by a finalizer, maybe in another thread: Python 3.13 warns of unclosed connections.
        self._connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False
        )
        finalize(self, self._connection.close)
        self._connection.deserialize(_empty())

    async def open(self) -> None:
        pass

    async def claim(self, *, wait: bool = True) -> None:
        pass

    async def commit(self, queries: Sequence[Query | Together]) -> list[Rows]:
        return self._answered(lambda: self._transact(queries))

    async def migrate(self, queries: Sequence[Query]) -> None:
        await self.commit(queries)

    async def read(self, query: Query) -> Rows:
        return self._answered(lambda: self._run(query))

    async def empty_log(self) -> bool:
        return True

    async def close(self) -> None:
        self.down = "the store is closed"

    def rows(self, table: str) -> list[dict[str, Any]]:
        found = self._connection.execute(f"SELECT * FROM {table} ORDER BY 1")  # noqa: S608
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found]

    def write(self, statement: str, params: tuple[object, ...]) -> None:
        self._connection.execute(statement, params)

    def restore(self, other: _Engine) -> None:
        other._connection.backup(self._connection)

    def _answered(self, work: Callable[[], T]) -> T:
        if self.down:
            raise Unreachable(self.down)
        return translated(work)

    def _transact(self, queries: Sequence[Query | Together]) -> list[Rows]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            answers = [self._run(query) for query in queries]
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        return answers

    def _run(self, query: Query | Together) -> Rows:
        if isinstance(query, Together):
            for part in query.parts:
                _check(value for row in part.rows for value in row)
        else:
            _check(query.params)
        return run(self._connection, query)


_BOUND_AS_THEY_ARE = (str, int, float, bytes, bool, type(None))


def _check(values: object) -> None:
    """Raise Unstorable for values that SQLite can store but PostgreSQL cannot.

    Others, such as members of a StrEnum, must be converted before: while SQLite's driver looks for
    an adapter of theirs, a garbage collection can reset the statement that is being bound.
    """
    assert hasattr(values, "__iter__")
    for value in values:
        assert type(value) in _BOUND_AS_THEY_ARE, type(value)
        if isinstance(value, str):
            length = len(value.encode())  # raises for a lone surrogate, as both engines do
            if length > MAX_TEXT or "\0" in value:
                raise Unstorable("a value cannot be stored: too long, or with a NUL")


@cache
def _empty() -> bytes:
    """Return a serialised empty database with the newest schema."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(
            "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, name TEXT, applied BIGINT);"
        )
        for migration in known(Dialect.SQLITE):
            connection.executescript(migration.script)
        return connection.serialize()


async def dead_letters(store: SqlStore, limit: int = 100) -> list[DeadLetter]:
    """Return the dead letters of a store, with their content."""
    listed = await store.letters((0, 0), limit)
    opened = [await store.letter(one.id) for one in listed]
    return [one for one in opened if one is not None]


class MemoryStore(SqlStore):
    """A StorePort whose data exists only as long as the object."""

    def __init__(self) -> None:
        self._memory = _Engine()
        super().__init__(self._memory, _Writer(self._memory))

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return all rows of a table as dicts."""
        return self._memory.rows(table)

    def write(self, statement: str, *params: object) -> None:
        """Run a statement outside of the store's code."""
        self._memory.write(statement, params)

    def copy(self) -> MemoryStore:
        """Return a copy of the database, like a restored backup."""
        other = MemoryStore()
        other._memory.restore(self._memory)
        return other

    @property
    def plain(self) -> SqlStore:
        """The same database without the faults of a subclass."""
        return SqlStore(self._memory, _Writer(self._memory))

    @property
    def down(self) -> bool:
        """While True, every call raises StoreError and changes nothing."""
        return bool(self._memory.down)

    @down.setter
    def down(self, down: bool) -> None:
        self._memory.down = "the database is away" if down else ""
