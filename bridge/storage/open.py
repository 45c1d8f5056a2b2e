"""From a database URL to a store that works."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from bridge.rooms.ports import Clock
from bridge.storage.engine import Engine
from bridge.storage.errors import cannot_open
from bridge.storage.group import GroupWriter
from bridge.storage.migrate import Migration, known, migrate, pending
from bridge.storage.postgres import PostgresEngine
from bridge.storage.sql import Write, perform
from bridge.storage.sqlite import SqliteEngine
from bridge.storage.store import SqlStore

_FORMS = "sqlite:///relative.db, sqlite:////absolute.db or postgres://user:password@host/database"


def engine_for(url: str, clock: Clock) -> Engine:
    """The engine of a database URL, not yet open.

    Raises:
        ValueError: the URL has none of the known forms. The text does not repeat the URL, which
            may hold a password.
    """
    scheme, colon, rest = url.partition(":")
    if colon and scheme == "sqlite":
        path = rest.removeprefix("///")
        if path == rest or path.strip("/") == "" or "?" in path or path == ":memory:":
            raise ValueError(f"a SQLite URL must name a file: {_FORMS}")
        return SqliteEngine(Path(path))
    if colon and scheme in {"postgres", "postgresql"}:
        try:
            parts = urlsplit(url)
            named = rest.startswith("//") and (parts.netloc or parts.query) and parts.port != 0
        except ValueError:
            named = False
        if not named:
            raise ValueError(f"a PostgreSQL URL must name a server: {_FORMS}")
        return PostgresEngine(url, clock)
    raise ValueError(f"unknown kind of database URL; known are {_FORMS}")


class OpenStore:
    """A store for the length of an `async with`; it owns the task of the group writer.

    The body's exceptions pass through as they are, not wrapped in a group.
    """

    def __init__(self, engine: Engine, clock: Clock, *, sole: bool = False) -> None:
        self._engine = engine
        self._clock = clock
        self._sole = sole
        self._tasks = asyncio.TaskGroup()
        self._store: SqlStore | None = None
        self._writing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> SqlStore:
        engine = self._engine

        async def commit(group: Sequence[Write]) -> Sequence[object]:
            return await engine.commit(perform(group))

        try:
            await engine.open()
            if self._sole:
                await engine.claim()
            await migrate(engine, self._clock.now())
        except BaseException:
            await engine.close()
            raise
        writer = GroupWriter[Write](commit)
        self._store = SqlStore(engine, writer)
        await self._tasks.__aenter__()
        self._writing = self._tasks.create_task(writer.run(), name="store writer")
        return self._store

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._store is None or self._writing is None:
            return
        try:
            await self._store.close()
        except asyncio.CancelledError as cancelled:
            # From outside, or from the group because the writer died: the group knows which.
            await self._tasks.__aexit__(type(cancelled), cancelled, cancelled.__traceback__)
            raise
        self._writing.cancel()  # it has ended, unless the database hangs
        await self._tasks.__aexit__(None, None, None)


def open_store(url: str, clock: Clock, *, sole: bool = False) -> OpenStore:
    """Open a database, bring its schema up to date, and run its writer.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute.db`, `postgres://…`, `postgresql://…`.
        clock: for the record of migrations and the marks of transactions.
        sole: be the one bridge at work on it. Others may open it beside us, to look or to repair,
            but not as its bridge.

    Raises:
        ValueError: no such kind of URL.

    Entering it raises:
        Unreachable: the database cannot be reached.
        AlreadyInUse: another process is its bridge.
        NewerSchemaError: a later version of this program has upgraded it.
        CorruptDatabaseError: it is damaged or no database.
    """
    return OpenStore(engine_for(url, clock), clock, sole=sole)


def missing_file(url: str) -> Path | None:
    """The SQLite file of a URL, if there is none: opening it would make a new, empty one.

    Raises:
        Unreachable: whether there is one cannot be seen.
    """
    if not url.startswith("sqlite:"):
        return None
    path = Path(url.removeprefix("sqlite:///"))
    try:
        path.stat()  # not `exists`: that takes some faults of folders for "no"
    except FileNotFoundError:
        return path
    except OSError as error:
        raise cannot_open(path, error) from error
    return None


async def pending_migrations(url: str, clock: Clock) -> list[Migration]:
    """What opening this database would change in its schema; nothing is written.

    Raises:
        ValueError, StoreError: as `open_store`.
    """
    engine = engine_for(url, clock)
    if missing_file(url) is not None:
        return known(engine.dialect)
    try:
        await engine.open()
        return await pending(engine)
    finally:
        await engine.close()
