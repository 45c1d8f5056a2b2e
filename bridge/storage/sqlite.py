"""SQLite: one connection in one worker thread; a group of writes is a single job.

The thread takes jobs from a queue and passes each answer to the event loop, at a quarter of an
executor's cost. A transaction begins and ends inside one job, so a cancelled coroutine cannot
interrupt it. WAL with synchronous=FULL, because a 200 to the homeserver promises that the event
survives a power cut; group commit shares the cost of FULL.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import structlog

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
    until_free,
)

T = TypeVar("T")
_log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.storage")

OLDEST = (3, 35, 0)
"""First SQLite version with RETURNING."""

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
"""Seconds to wait for the lock of a process that is about to end."""
_SETTINGS = (
    "PRAGMA busy_timeout = 5000",  # ms; the only other writer is a CLI command
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA journal_size_limit = 67108864",  # maximum bytes of the WAL after a burst
    # Overwrites deleted content, also in freed pages. FAST leaves these, which hold long texts, as
    # they are; on the way of a message there is no difference (measured).
    "PRAGMA secure_delete = ON",
)
_LOOK = "SELECT count(*) FROM sqlite_master"  # also makes the log's file
# Before the driver binds a value that is no exact int, float or str, it looks for an adapter; if
# there is none, two look-ups of attributes fail, which takes several times as long as the binding.
# Not `bytes` and `int` themselves: their calls allocate, and a garbage collection in the midst of a
# binding made it fail with SQLITE_MISUSE (Python 3.11).
sqlite3.register_adapter(bytes, itemgetter(slice(None)))  # a whole slice is the object itself
for _kind in (bool, type(None)):
    sqlite3.register_adapter(_kind, {None: None, False: 0, True: 1}.get)


class SqliteEngine:
    """A SQLite file, created readable for its owner only (it holds tokens) if missing.

    The claim is SQLite's exclusive lock on an empty file beside it, `….db-owner`, which is released
    however the process ends.
    """

    dialect = Dialect.SQLITE
    _connection: sqlite3.Connection

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: list[sqlite3.Connection] = []
        """Connections to close, that of the claim last."""
        self._jobs: SimpleQueue[_Job | None] | None = None
        """Job queue of the thread while it runs; a None in it ends the thread."""
        # SQLite's log is beside the file itself. (`Path.resolve` would raise at a loop of links.)
        real = Path(os.path.realpath(path))
        self._wal, self._owner = (real.with_name(f"{real.name}-{end}") for end in ("wal", "owner"))
        self._inodes = 0, 0
        """Inodes of the open file and its log, to check that they are still those at the paths."""
        self._claimed = 0
        """Likewise that of the claim's file; 0 without a claim."""

    async def open(self) -> None:
        if sqlite3.sqlite_version_info < OLDEST:
            raise Unreachable(
                f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed"
            )
        self._jobs = SimpleQueue()
        # A daemon thread: a hanging disk must not keep the process from ending.
        Thread(target=_work, args=(self._jobs,), name="sqlite", daemon=True).start()
        await self._hop(self._connect)

    async def claim(self, *, wait: bool = True) -> None:
        seconds = CLAIM_SECONDS if wait else 0
        await until_free(lambda: self._hop(self._lock), seconds)

    def commit(self, queries: Sequence[Query | Together]) -> Awaitable[list[Rows]]:
        return self._hop(lambda: self._transact(queries))

    async def migrate(self, queries: Sequence[Query]) -> None:
        await self.commit(queries)

    def read(self, query: Query) -> Awaitable[Rows]:
        return self._hop(lambda: run(self._connection, query))

    async def empty_log(self) -> bool:
        return await self._hop(self._emptied)

    async def close(self) -> None:
        """Close after pending jobs, waiting up to 10 s for a hanging disk."""
        if self._jobs is None:
            return
        closed = self._hop(self._disconnect)
        self._jobs.put(None)
        self._jobs = None
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.shield(closed)

    def _hop(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Run `work` in the thread, where it goes on if the caller is cancelled."""
        if self._jobs is None:
            raise Unreachable("the store is closed")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((work, answer))
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
        self._open.append(connection)
        for setting in (*_SETTINGS, _LOOK):
            connection.execute(setting).fetchall()
        self._inodes = _inode(self._path), _inode(self._wal)

    def _lock(self) -> None:
        self._open.append(_locked(self._owner, self._path))
        self._claimed = _inode(self._owner)

    def _disconnect(self) -> None:
        for connection in self._open:
            connection.close()

    def _emptied(self) -> bool:
        """Truncate the WAL. Readers are not waited for: all writes would wait with it."""
        execute = self._connection.execute
        execute("PRAGMA busy_timeout = 0")
        try:
            ((busy, _, _),) = execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            execute(_SETTINGS[0])
        return not busy

    def _transact(self, queries: Sequence[Query | Together]) -> list[Rows]:
        connection = self._connection
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
        """Raise Unreachable if the open file was moved: the next start would not find it.

        SQLite makes the same check by inode, but not in WAL mode. A deleted log goes on without a
        name: a crash would lose what is in it, and another process, which begins a second log
        beside it, would destroy the database. So its content goes into the file at once. Without
        the file of the claim a second bridge could start: it is made anew, or AlreadyInUse raised.
        """
        file, log = self._inodes
        if _inode(self._path) != file:
            raise Unreachable(f"SQLite: {self._path} was moved or deleted while it is in use")
        if _inode(self._wal) != log:
            for step in ("PRAGMA journal_mode = DELETE", "PRAGMA journal_mode = WAL", _LOOK):
                self._connection.execute(step).fetchall()
            self._inodes = file, _inode(self._wal)
            deleted = "the database's -wal file was deleted; it is made anew"
            _log.warning(deleted, file=str(self._wal))
        if self._claimed and _inode(self._owner) != self._claimed:
            self._lock()
            deleted = "the database's -owner file was deleted; it is made anew"
            _log.warning(deleted, file=str(self._owner))


_Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]
"""Work, and the future for its result."""


def _work(jobs: SimpleQueue[_Job | None]) -> None:
    """Run jobs one after the other until a None (the thread's target)."""
    while (job := jobs.get()) is not None:
        work, answer = job
        result, failure = None, None
        try:
            result = translated(work)
        except BaseException as error:  # noqa: BLE001 - raised where the answer is awaited
            failure = error
        with suppress(RuntimeError):  # the loop is closed
            answer.get_loop().call_soon_threadsafe(_answer, answer, result, failure)
        del job, work, answer, result, failure  # free them: the next job may come late


def _answer(answer: asyncio.Future[Any], result: object, failure: BaseException | None) -> None:
    if answer.done():  # its caller was cancelled
        return
    if failure is None:
        answer.set_result(result)
    else:
        answer.set_exception(failure)


def run(connection: sqlite3.Connection, query: Query | Together) -> Rows:
    """Run a query; Stale if a strict part of it did not write all of its rows."""
    if isinstance(query, Query):
        return connection.execute(query.statement.sqlite, query.params).fetchall()
    cursor, returned = connection.cursor(), []
    for (sqlite, _, _, usual), rows, strict, returns in query.parts:
        if not returns:  # half the cost of a call for each row
            written = cursor.executemany(usual, rows).rowcount if usual else 0
            if written < len(rows):
                written += cursor.executemany(sqlite, rows).rowcount
        else:
            written = 0
            for row in rows:
                if cursor.execute(sqlite, row).rowcount:
                    written += 1
                    handled = row[4] if len(row) > 4 else None
                    returned.append((cursor.lastrowid or 0, row[1], handled))
        if strict and written < len(rows):
            raise Stale(STALE)
    return returned


def _inode(path: Path) -> int:
    """Return a file's inode; 0 without one, as of the log where the file system permits none."""
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - half the cost of Path's
    except OSError:
        return 0


def _touch(path: Path) -> None:
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise cannot_open(path, error) from error


def _reason(path: Path, error: sqlite3.OperationalError) -> str:
    """Find out why SQLite cannot open a file, which its error does not say.

    Does not open the file: closing it would release all POSIX locks of this process on it.
    """
    if path.is_dir():
        return os.strerror(errno.EISDIR)
    allowed = os.access(path, os.R_OK | os.W_OK)
    return str(error) if allowed else os.strerror(errno.EACCES)


def _locked(path: Path, database: Path) -> sqlite3.Connection:
    """Claim a database until the connection is closed; AlreadyInUse if it is not free."""
    _touch(path)
    if os.geteuid() == 0:  # a command of root's must not lock out the bridge's own user
        with suppress(OSError):
            os.chown(path, database.stat().st_uid, database.stat().st_gid)
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        raise AlreadyInUse from None
    return connection


def translated(work: Callable[[], T]) -> T:
    """Run `work`, turning SQLite's errors into StoreErrors without values of rows."""
    try:
        return work()
    except sqlite3.Error as error:
        whole = getattr(error, "sqlite_errorcode", 0)
        if whole == sqlite3.SQLITE_CONSTRAINT_UNIQUE:
            raise Stale(STALE) from error
        code = whole & 0xFF
        text = f"SQLite: {error}"
        if whole == sqlite3.SQLITE_IOERR_SHMSIZE:  # the -shm file cannot be made: no space
            text = f"SQLite: database or disk is full ({error})"
        if code in _CORRUPT:
            raise CorruptDatabaseError(text) from error
        if code in _AWAY:
            raise Unreachable(text) from error
        if code in _UNSTORABLE:
            raise Unstorable(text) from error
        raise StoreError(text) from error
    except (OverflowError, UnicodeEncodeError) as error:
        what = "a number is too large" if isinstance(error, OverflowError) else "invalid Unicode"
        raise Unstorable(f"a value cannot be stored: {what}") from None
