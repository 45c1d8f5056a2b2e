"""The journal of the durable lean forwarder: a row per message, with group commit.

Messages that come while a group is written go into the next, so there is one disk sync per group.
SQLite in WAL mode with `synchronous = FULL`, PostgreSQL with its defaults, as for the bridge. A
row whose key exists is ignored.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg

Row = tuple[str, bytes]
Write = Callable[[list[Row]], Awaitable[object]]
_TABLE = "CREATE TABLE journal (key TEXT PRIMARY KEY, body {blob} NOT NULL)"
_INSERT = """
INSERT INTO journal SELECT * FROM unnest($1::text[], $2::bytea[]) ON CONFLICT DO NOTHING
"""


class Journal:
    def __init__(self, write: Write) -> None:
        self._write = write
        self._waiting: list[Row] = []
        self._written: asyncio.Future[None] | None = None
        """Set once the group that is being collected is stored."""
        self._some = asyncio.Event()

    async def keep(self, rows: Sequence[Row]) -> None:
        """Store the rows; returns once they are durable."""
        self._waiting += rows
        self._some.set()
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._written)

    async def run(self) -> None:
        """Write one group after the other until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            rows, done = self._waiting, self._written
            self._waiting, self._written = [], None
            await self._write(rows)
            if done is not None:
                done.set_result(None)


@asynccontextmanager
async def journal_in(database: str) -> AsyncIterator[Journal]:
    """Open a journal in a new database, `sqlite:///PATH` or PostgreSQL's URL."""
    async with AsyncExitStack() as stack:
        if database.startswith("sqlite:///"):
            loop, thread = asyncio.get_running_loop(), stack.enter_context(ThreadPoolExecutor(1))
            store = await loop.run_in_executor(thread, _open, database.removeprefix("sqlite:///"))
            journal = Journal(lambda rows: loop.run_in_executor(thread, _insert, store, rows))
        else:
            server = await asyncpg.connect(database)
            await server.execute(_TABLE.format(blob="BYTEA"))
            insert = await server.prepare(_INSERT)
            journal = Journal(lambda rows: insert.fetch(*zip(*rows, strict=True)))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        running = group.create_task(journal.run())
        yield journal
        running.cancel()


def _open(path: str) -> sqlite3.Connection:
    store = sqlite3.connect(path)
    store.execute("PRAGMA journal_mode = WAL")
    store.execute("PRAGMA synchronous = FULL")
    store.execute(_TABLE.format(blob="BLOB"))
    return store


def _insert(store: sqlite3.Connection, rows: list[Row]) -> None:
    with store:
        store.executemany("INSERT OR IGNORE INTO journal VALUES (?, ?)", rows)
