"""SQLite: one connection in one worker thread, and one hop to it for a whole group.

The thread takes jobs from a queue and hands each answer to the event loop: that costs a quarter of
an executor's way. No coroutine ever holds a transaction: it begins and ends inside one job, which a
cancelled caller cannot interrupt. WAL with synchronous=FULL, because a 200 to the homeserver means
that the event outlives a power cut; with group commit the price of FULL is shared.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from bridge.rooms.store import Stale, StoreError, Unstorable
from bridge.storage.query import (
    STALE,
    AlreadyInUse,
    CorruptDatabaseError,
    Dialect,
    Query,
    Rows,
    Together,
    Unreachable,
    cannot_open,
)

T = TypeVar("T")

OLDEST = (3, 35, 0)
"""The first SQLite with RETURNING."""

_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_AWAY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_NOMEM,
}
_UNSTORABLE = {sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT}
CLAIM_SECONDS = 5.0
"""How long the claim of a process that is about to end is waited for."""
_SETTINGS = (
    "PRAGMA busy_timeout = 5000",  # ms; only a command line beside us competes
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA journal_size_limit = 67108864",  # bytes that the WAL keeps after a burst
    "PRAGMA secure_delete = FAST",  # what is erased does not go on lying in the file's gaps
)


class SqliteEngine:
    """A file, made (for its owner only: it holds tokens) if there is none.

    The claim is SQLite's exclusive lock on an empty file beside it, `….db-owner`: it goes with the
    process, however that ends.
    """

    dialect = Dialect.SQLITE

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owning: sqlite3.Connection | None = None
        self._jobs: SimpleQueue[_Job | None] | None = None
        """Of the thread, while it runs; None after a job ends it."""
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        """Of the file that is open, to see that it is still the one at `path`."""

    async def open(self) -> None:
        if sqlite3.sqlite_version_info < OLDEST:
            raise Unreachable(
                f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed"
            )
        self._jobs = SimpleQueue()
        # A daemon: a disk that hangs must not keep the process from ending.
        Thread(target=_work, args=(self._jobs,), name="sqlite", daemon=True).start()
        await self._hop(self._connect)

    async def claim(self) -> None:
        path = self._path.with_name(f"{self._path.name}-owner")
        self._owning = await self._hop(lambda: _locked(path, CLAIM_SECONDS))

    def commit(self, queries: Sequence[Query | Together]) -> Awaitable[list[Rows]]:
        return self._hop(lambda: self._transact(queries))

    async def migrate(self, queries: Sequence[Query]) -> None:
        await self.commit(queries)

    def read(self, query: Query) -> Awaitable[Rows]:
        return self._hop(lambda: run(self._opened(), query))

    async def copy(self, path: Path) -> None:
        """Make a copy as of one moment, whoever writes meanwhile, in a new file; or OSError."""
        await self._hop(lambda: self._copied(path))

    async def close(self) -> None:
        """Close once the thread is free; without waiting for it if the disk hangs for 10 s."""
        if self._jobs is None:
            return
        closing = self._hop(self._disconnect)
        self._jobs.put(None)
        self._jobs = None
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.shield(closing)

    def _hop(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Have `work` done in the thread; a cancelled caller leaves it running there."""
        if self._jobs is None:
            raise Unreachable("the store is closed")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._jobs.put((work, answer, loop))
        return answer

    # --- in the thread --------------------------------------------------------------------------

    def _connect(self) -> None:
        _touch(self._path)
        try:
            self._connection = connection = sqlite3.connect(
                self._path, isolation_level=None, cached_statements=256
            )
        except sqlite3.OperationalError as error:
            raise Unreachable(f"cannot open {self._path}: {_reason(self._path, error)}") from error
        for setting in (*_SETTINGS, "SELECT count(*) FROM sqlite_master"):
            connection.execute(setting).fetchall()
        self._inode = self._path.stat().st_ino

    def _copied(self, path: Path) -> None:
        _touch(path)
        with closing(sqlite3.connect(path)) as copy:
            try:
                self._opened().backup(copy)
            except sqlite3.OperationalError as error:  # a disk that is full, mostly: of the copy's
                raise OSError(errno.EIO, str(error), str(path)) from error

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._owning is not None:
            self._owning.close()
            self._owning = None

    def _transact(self, queries: Sequence[Query | Together]) -> list[Rows]:
        connection = self._opened()
        self._still_there()
        connection.execute("BEGIN IMMEDIATE")
        try:
            answers = [run(connection, query) for query in queries]
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return answers

    def _still_there(self) -> None:
        """Raise Unreachable if the open file was moved away: the next start would not find it.

        SQLite itself looks (by the same number), but not in WAL mode.
        """
        with suppress(OSError):
            if os.stat(self._path).st_ino == self._inode:  # noqa: PTH116 - half the cost of Path's
                return
        raise Unreachable(f"SQLite: {self._path} was moved or deleted while it is in use")

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise Unreachable("the store is closed")
        return self._connection


_Job = tuple[Callable[[], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]
"""Work, and the future that its answer goes to, in its loop."""


def _work(jobs: SimpleQueue[_Job | None]) -> None:
    """The thread: one job after the other, until there is a None."""
    while (job := jobs.get()) is not None:
        work, answer, loop = job
        result, failure = None, None
        try:
            result = translated(work)
        except BaseException as error:  # noqa: BLE001 - raised where the answer is awaited
            failure = error
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            loop.call_soon_threadsafe(_answer, answer, result, failure)
        del job, work, answer, loop, result, failure  # the next job may be long in coming


def _answer(answer: asyncio.Future[Any], result: object, failure: BaseException | None) -> None:
    if answer.done():  # its caller was cancelled
        return
    if failure is None:
        answer.set_result(result)
    else:
        answer.set_exception(failure)


def run(connection: sqlite3.Connection, query: Query | Together) -> Rows:
    """Carry out one query; Stale if a strict part of it did not write all of its rows."""
    if isinstance(query, Query):
        return connection.execute(query.statement.sqlite, query.params).fetchall()
    cursor, returned = connection.cursor(), []
    for (sqlite, _, _, usual), rows, strict, returns in query.parts:
        written = 0
        for row in rows:
            if not usual or not cursor.execute(usual, row).rowcount:
                cursor.execute(sqlite, row)
            if cursor.rowcount:
                written += 1
                if returns and query.reading is not None:
                    returned.append(query.reading.inserted(cursor.lastrowid or 0, row))
        if strict and written < len(rows):
            raise Stale(STALE)
    return returned


def _touch(path: Path) -> None:
    """Make a file for our own eyes, if there is none."""
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise cannot_open(path, error) from error


def _reason(path: Path, error: sqlite3.OperationalError) -> str:
    """Why SQLite cannot open a file, which it does not say itself.

    Found without opening it: closing it again would end all locks that this process has on it.
    """
    if path.is_dir():
        return os.strerror(errno.EISDIR)
    allowed = os.access(path, os.R_OK | os.W_OK)
    return str(error) if allowed else os.strerror(errno.EACCES)


def _locked(path: Path, seconds: float) -> sqlite3.Connection:
    """Lock a file until the connection is closed; AlreadyInUse if another has it for so long."""
    _touch(path)
    connection = sqlite3.connect(path, timeout=seconds, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        raise AlreadyInUse from None
    return connection


def translated(work: Callable[[], T]) -> T:
    """Run `work`, turning SQLite's errors into ours, whose texts name no value of a row."""
    try:
        return work()
    except sqlite3.Error as error:
        whole = getattr(error, "sqlite_errorcode", 0)
        if whole == sqlite3.SQLITE_CONSTRAINT_UNIQUE:
            raise Stale(STALE) from error
        code = whole & 0xFF
        text = f"SQLite: {error}"
        if code in _CORRUPT:
            raise CorruptDatabaseError(text) from error
        if code in _AWAY:
            raise Unreachable(text) from error
        if code in _UNSTORABLE:
            raise Unstorable(text) from error
        raise StoreError(text) from error
    except (OverflowError, UnicodeEncodeError) as error:
        raise Unstorable(f"a value cannot be stored: {type(error).__name__}") from None
