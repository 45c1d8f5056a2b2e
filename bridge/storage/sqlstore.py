"""The store over either engine, from a database URL on.

`open_store` makes an engine (`sqlite.py`, `postgres.py`), brings the schema up to date
(`migrate.py`) and runs the group writer (`group.py`) for the length of an `async with`. What it
gives is a StorePort: writes go through the group writer, reads to the engine; what a call asks of
the database and makes of the rows stands in `sql.py`. Times are ms since the epoch.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar, cast
from urllib.parse import urlsplit

from bridge.ids import EffectSeq, EventId, RoomId
from bridge.rooms.ports import Clock
from bridge.rooms.store import (
    AccountRow,
    Backlog,
    ChatRow,
    Commit,
    Committed,
    DeadLetter,
    GhostRow,
    Loaded,
    SecretRow,
    StoreError,
    TraceRow,
)
from bridge.storage import sql
from bridge.storage.group import GroupWriter
from bridge.storage.migrate import Migration, known, migrate, pending
from bridge.storage.postgres import PostgresEngine
from bridge.storage.query import (
    Call,
    CorruptDatabaseError,
    Engine,
    Statement,
    Unreachable,
    cannot_open,
)
from bridge.storage.sql import Kind, Write, perform
from bridge.storage.sqlite import SqliteEngine

A = TypeVar("A")
R = TypeVar("R")
T = TypeVar("T")

_FORMS = "sqlite:///relative.db, sqlite:////absolute.db or postgres://user:password@host/database"
READ_SECONDS = 20.0
_PING = "ping"
SLICE = 1_000
"""Rows that one request of `prune` may touch: the writer is not to be held up by it."""
_LETTER = re.compile(r"([io])([0-9]{1,18})", re.ASCII)


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


class SqlStore:
    """A StorePort; `open_store` makes it and runs its writer."""

    def __init__(self, engine: Engine, writer: GroupWriter[Write]) -> None:
        self._engine = engine
        self._writer = writer

    # --- rooms and their journal ------------------------------------------------------------

    async def commit(self, commits: Sequence[Commit]) -> list[Committed | StoreError]:
        return await self._commit(commits) if commits else []

    async def _commit(self, commits: Sequence[Commit]) -> list[Committed | StoreError]:
        """Write them as one; of a group that the database refuses, find those at fault."""
        try:
            return [*await self._write(sql.commit_rooms, commits)]
        except (Unreachable, CorruptDatabaseError):
            raise
        except StoreError as error:
            if len(commits) == 1:
                return [error]
        half = len(commits) // 2
        return await self._commit(commits[:half]) + await self._commit(commits[half:])

    async def mark_attempted(self, seq: EffectSeq, now: int) -> None:
        await self._write(sql.mark_attempted, sql.Attempt(seq, now))

    async def load(self, room_id: RoomId) -> Loaded:
        return await self._read(sql.load(room_id))

    async def busy_rooms(self) -> list[RoomId]:
        return await self._read(sql.busy_rooms())

    async def live_rooms(self) -> list[RoomId]:
        return await self._read(sql.live_rooms())

    async def deadlines(self) -> list[tuple[RoomId, int]]:
        return await self._read(sql.deadlines())

    async def backlog(self) -> Backlog:
        return await self._read(sql.backlog())

    async def rooms_of(self, customer: str) -> int:
        return await self._read(sql.rooms_of(customer))

    async def chats(self, room_id: RoomId, limit: int, upto: int | None = None) -> list[ChatRow]:
        return await self._read(sql.chats(room_id, limit, upto))

    async def anchor(self, room_id: RoomId, name: str) -> EventId | None:
        return await self._read(sql.anchor(room_id, name))

    # --- what we know of ghosts, accounts and peers -----------------------------------------

    async def ghost(self, user_id: str) -> GhostRow | None:
        return await self._read(sql.ghost(user_id))

    async def save_ghost(self, ghost: GhostRow) -> None:
        await self._write(sql.save_ghost, ghost)

    async def account(self, room_id: RoomId) -> AccountRow | None:
        return await self._read(sql.account(room_id))

    async def save_account(self, account: AccountRow) -> None:
        await self._write(sql.save_account, account)

    async def forget_token(self, room_id: RoomId) -> None:
        await self._write(sql.forget_token, room_id)

    async def fact(self, name: str) -> str | None:
        return await self._read(sql.fact(name))

    async def save_fact(self, name: str, value: str) -> None:
        await self._write(sql.save_fact, sql.Fact(name, value))

    async def secret(self, name: str) -> bytes | None:
        return await self._read(sql.secret(name))

    async def secret_names(self, prefix: str) -> list[str]:
        return await self._read(sql.secret_names(prefix))

    async def save_secrets(self, rows: Sequence[SecretRow]) -> None:
        if rows:
            await self._write(sql.save_secrets, tuple(rows))

    async def drop_secrets(self) -> int:
        return await self._write(sql.update, sql.Update(sql.DROP_ALL_SECRETS, ()))

    # --- tracing, dead letters, pruning -----------------------------------------------------

    async def trace(self, event_id: EventId) -> list[TraceRow]:
        return await self._read(sql.trace(event_id))

    async def body_of(self, room_id: RoomId, event_id: EventId) -> bytes | None:
        return await self._read(sql.body_of(room_id, event_id))

    async def forget_body(self, room_id: RoomId, event_id: EventId) -> None:
        await self._write(sql.update, sql.Update(sql.FORGET_BODY, (event_id, room_id)))

    async def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        return await self._read(sql.dead_letters(limit))

    async def revive(self, letter_id: str, now: int) -> bool:
        return await self._end_letter(letter_id, now, sql.REVIVE)

    async def discard(self, letter_id: str, now: int) -> bool:
        return await self._end_letter(letter_id, now, sql.DISCARD)

    async def prune(self, bodies_before: int, rows_before: int) -> int:
        touched, count = 0, SLICE
        while count == SLICE:
            update = sql.Update(sql.DROP_OLD_SECRETS, (rows_before, SLICE))
            count = await self._write(sql.update, update)
            touched += count
        first = 0
        while found := await self._read(sql.stretch(first, SLICE, bodies_before, rows_before)):
            last, due = found
            if due:
                drop = sql.Update(sql.DROP_ROWS, (first, last, rows_before))
                erase = sql.Update(sql.ERASE_BODIES, (first, last, bodies_before))
                touched += await self._write(sql.update, drop)
                touched += await self._write(sql.update, erase)
            first = last + 1
        return touched

    async def _end_letter(self, letter_id: str, now: int, statement: Statement) -> bool:
        split = _letter(letter_id)
        if split is None:
            return False
        box, seq = split
        update = sql.Update(statement, (seq, now, box == "i"))
        return await self._write(sql.update, update) == 1

    # --- the database itself ----------------------------------------------------------------

    async def ping(self) -> None:
        """Read, and write: a database on a full disk still answers.

        The value is another each time, for SQLite writes nothing where nothing changes.
        """
        await self._read(sql.ping())
        await self.save_fact(_PING, secrets.token_hex(4))

    async def close(self) -> None:
        """Write what waits, then let the database go. A second call does nothing more."""
        await self._writer.close()
        await self._engine.close()

    @property
    def groups(self) -> int:
        """Transactions tried so far."""
        return self._writer.groups

    @property
    def requests(self) -> int:
        """Writes asked for so far."""
        return self._writer.requests

    # --- how a call reaches the database ----------------------------------------------------

    async def _write(self, kind: Kind[A, R], argument: A) -> R:
        # `perform` answers each request by its own kind's batch, which is typed.
        return cast(R, await self._writer.submit(Write(kind, argument)))

    async def _read(self, call: Call[T]) -> T:
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await self._engine.read(call)
        except TimeoutError:
            raise Unreachable(f"the database did not answer within {READ_SECONDS:g} s") from None


def _letter(letter_id: str) -> tuple[str, int] | None:
    """Split a dead letter's id into its box (`i` or `o`) and its row; None if it is none."""
    match = _LETTER.fullmatch(letter_id)
    return (match[1], int(match[2])) if match else None


# --- URLs and files -------------------------------------------------------------------------------


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
