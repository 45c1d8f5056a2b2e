"""The store (`StorePort`) on either engine, opened by a database URL.

Reads go straight to the engine, writes through the group writer (group commit). A caller submits a
ticket (requests and a callback) and goes on. The writer commits all waiting requests together, up
to a limit, then calls each caller back. While a transaction runs the next group gathers: the slower
the disk, the larger the groups.

A group that the database refuses is bisected and each half retried, down to the one bad request:
the others are written, and it alone gets the error. If the database is unreachable, the whole group
fails at once, since a smaller one would fail too.

Only the writer touches a transaction, so none is ever left open. Requests that were not taken
before their caller's timeout are withdrawn. Times are ms since the epoch.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, Generic, TypeVar, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from msgspec import UNSET, Struct
from msgspec.structs import asdict, astuple

from bridge.config.fields import SQLITE, check_database_url
from bridge.ids import EffectSeq, EventId, QueueId, RoomId
from bridge.rooms import store
from bridge.rooms.ports import Clock
from bridge.storage import sql
from bridge.storage.erasing import Eraser
from bridge.storage.migrate import Migration, known, migrate, pending
from bridge.storage.postgres import MIGRATION_SECONDS, STATEMENT_SECONDS, PostgresEngine
from bridge.storage.query import (
    POOLED,
    CorruptDatabaseError,
    Dialect,
    DiskFull,
    Engine,
    Part,
    Query,
    Rows,
    Statement,
    Together,
    Unreachable,
    cannot_open,
)
from bridge.storage.shards import MEMBERS, REPORTS, SESSIONS, Shards
from bridge.storage.sql import NO_COVER, Attempt, Cover, Write, carry_out
from bridge.storage.sqlite import SqliteEngine

READ_SECONDS = 20.0
CLOSE_SECONDS = 3.0
"""Maximum seconds of waiting for the last writes; a bridge has waited for its work before."""
DAMAGE_SECONDS = 600.0
"""Seconds for which damage that a read or write met counts as a fault of the whole database."""
FULL_SECONDS = 15.0
"""The same for a full disk: less than `health.GRACE`, and refused writes are tried again sooner."""
SLICE = 1_000
"""Maximum rows that one request of `prune` touches, so that it does not hold up the writer."""
REACH = 50_000
"""Journal rows before and after a row that `posted` searches; takes a tenth of a second."""
LOG_SECONDS, LOG_PAUSE = 1.0, 0.05
"""Seconds to wait for readers of SQLite's log, which is emptied at the next pruning at the latest,
and between two looks."""
STRETCH, STRETCHES = 10_000, 10
"""Journal rows that `deliveries` reads at a time, and maximum number of such reads per page."""


@asynccontextmanager
async def open_store(
    url: str,
    clock: Clock,
    *,
    sole: bool = False,
    wait: bool = True,
    shared: bool = False,
    seal: store.Seal | None = None,
) -> AsyncIterator[SqlStore]:
    """Open the database of a URL (see `engine_for`), migrate its schema and run its writer.

    `sole`: take the claim (`wait`: see `Engine`) as the bridge at work; others inspect or repair.
    `shared`, with `sole` and on PostgreSQL: share the rooms with other bridges that do the same
    (`SqlStore.shards`). `seal`: key of sealed content (encrypted rooms), unreadable without it.

    Entering it raises Unreachable, AlreadyInUse, CorruptDatabaseError, and as `migrate` does.
    """
    engine, cover = engine_for(url, clock, shared=sole and shared), Cover(seal)
    shards = engine.shards if isinstance(engine, PostgresEngine) else None
    try:
        await engine.open()
        if sole:
            await engine.claim(wait=wait)
        await migrate(engine, clock.now())
        if shards is not None:
            await engine.claim()
            shards.cover = cover
            await shards.listen()
    except BaseException:
        await engine.close()
        raise

    async def commit(group: Sequence[Write]) -> Sequence[object]:
        try:
            return await carry_out(group, engine, cover)
        except (CorruptDatabaseError, DiskFull) as error:
            opened.note_fault(error)
            raise

    opened = SqlStore(engine, GroupWriter[Write](commit), cover)
    opened.shards = shards
    tasks = asyncio.TaskGroup()  # entered by hand, so that the body's exceptions are not wrapped
    await tasks.__aenter__()
    writing = tasks.create_task(opened.writer.run(), name="store writer")
    try:
        yield opened
    finally:
        try:
            await opened.close()
        except asyncio.CancelledError as cancelled:
            # Cancelled from outside, or by the group because the writer failed: the group knows.
            await tasks.__aexit__(type(cancelled), cancelled, cancelled.__traceback__)
            raise
        writing.cancel()  # no effect unless the database hangs: the writer has ended
        await tasks.__aexit__(None, None, None)


class SqlStore:
    """A `rooms.store.StorePort` with more queries; `open_store` makes it and runs its writer."""

    def __init__(self, engine: Engine, writer: GroupWriter[Write], cover: Cover = NO_COVER) -> None:
        self._engine = engine
        self._cover = cover
        self.writer = writer
        # Maintenance has no timeout.
        self.eraser = Eraser(
            self._read, self._write, lambda text: engine.read(Query(text)), self._empty_log, cover
        )
        self._version: int | None = None
        """SQLite's `data_version` when last read: it changes when another connection writes."""
        self.shards: Shards | None = None
        """None unless the process shares the rooms with others."""
        self._fault: tuple[float, store.StoreError] = 0.0, store.StoreError()
        """Until when (loop time) `ping` reports a fault, and which."""

    # --- rooms and their journal ------------------------------------------------------------

    def submit(
        self, commits: Sequence[store.Commit], done: Callable[[list[store.Answer]], None]
    ) -> None:
        # Each answer is a Committed, or the error in its place (`carry_out`).
        self.writer.submit(commits, cast("Callable[[list[object]], None]", done))

    async def commit(self, commit: store.Commit) -> store.Committed:
        return cast(store.Committed, await self._write(commit))

    async def mark_attempted(self, row: store.EffectRow, now: int) -> None:
        await self._write(Attempt(row, now))

    async def load(self, room_id: RoomId) -> store.Loaded:
        return sql.loaded(room_id, await self._read(sql.LOAD, room_id), self._cover)

    async def busy_rooms(self) -> list[RoomId]:
        return [room_id for (room_id,) in await self._read(sql.BUSY_ROOMS)]

    async def written_beside(self) -> bool:
        if self._engine.dialect is not Dialect.SQLITE:
            return False
        version = await self._value(sql.VERSION)
        former, self._version = self._version, version
        return former is not None and former != self._version

    async def live_rooms(self) -> list[RoomId]:
        return [room_id for (room_id,) in await self._read(sql.LIVE_ROOMS)]

    async def deadlines(self) -> list[tuple[RoomId, int]]:
        return [(room_id, moment) for room_id, moment in await self._read(sql.DEADLINES)]

    async def backlog(self) -> store.Backlog:
        rows = await self._read(sql.BACKLOG)
        return {(name, what): store.Depth(count, oldest) for name, what, count, oldest in rows}

    async def rooms_of(self, customer: str) -> list[RoomId]:
        return [room_id for (room_id,) in await self._read(sql.ROOMS_OF, customer)]

    async def chats(
        self, room_id: RoomId, limit: int, upto: int | None = None
    ) -> list[store.ChatRow]:
        highest = sql.HIGHEST if upto is None else upto
        rows = await self._read(sql.CHATS, room_id, highest, limit)
        return [store.ChatRow(number, bytes(chat)) for number, chat in rows]

    async def record_change(self, change: store.Change) -> None:
        await self._save(sql.INSERT_CHANGES, *sql.change_row(change))

    async def changes(
        self, room_id: RoomId | None = None, before: int | None = None, limit: int = 100
    ) -> list[store.Change]:
        below = sql.HIGHEST if before is None else before
        if room_id is None:
            rows = await self._read(sql.CHANGES, below, limit)
        else:
            rows = await self._read(sql.CHANGES_OF, below, limit, room_id)
        return [store.Change(*row) for row in rows]

    async def anchor(self, room_id: RoomId, name: str) -> EventId | None:
        found: EventId | None = await self._value(sql.ANCHOR, room_id, name)
        return found

    # --- ghosts, accounts, facts and secrets ------------------------------------------------

    async def ghost(self, user_id: str) -> store.GhostRow | None:
        rows = await self._read(sql.GHOST, user_id)
        for found, displayname, source, mxc, device, digest, looked, seen in rows:
            return store.GhostRow(
                found, displayname, source, mxc, bool(device), digest, looked, seen
            )
        return None

    async def save_ghost(self, ghost: store.GhostRow) -> None:
        await self._save(sql.SAVE_GHOST, *astuple(ghost))

    async def token(self, room_id: RoomId) -> store.Token | None:
        rows = await self._read(sql.TOKEN, room_id)
        return store.Token(*rows[0]) if rows else None

    async def save_token(self, token: store.Token) -> None:
        """Save a token; NotOwned if another process owns the room, which has a newer one."""
        await self._write(Together([Part(sql.SAVE_TOKEN, [astuple(token)])], rooms=[token.room_id]))

    async def forget_token(self, room_id: RoomId) -> None:
        await self._write(Together([Part(sql.FORGET_TOKEN, [(room_id,)])], rooms=[room_id]))

    async def fact(self, name: str) -> str | None:
        found: str | None = await self._value(sql.FACT, name)
        return found

    async def facts(self, prefix: str) -> list[str]:
        return [value for (value,) in await self._read(sql.FACTS, prefix)]

    async def save_fact(self, name: str, value: str) -> None:
        await self._save(sql.SAVE_FACT, name, value)

    async def first_fact(self, name: str, value: str) -> str:
        """Set the fact to `value` unless it exists, and return it."""
        await self._save(sql.FIRST_FACT, name, value)
        found: str = await self._value(sql.FACT, name)
        return found

    async def secret(self, name: str) -> bytes | None:
        found: bytes | None = await self._value(sql.SECRET, name)
        return found

    async def secret_names(self, prefix: str) -> list[str]:
        return sorted(name for (name,) in await self._read(sql.SECRET_NAMES, prefix))

    async def save_secrets(self, rows: Sequence[store.SecretRow]) -> None:
        # A statement must not get a name twice; the later of two values counts.
        newest = {row.name: row for row in rows}
        kept, new, changed, gone = [], [], [], []
        # In the same order in all processes, to avoid deadlocks.
        for _, row in sorted(newest.items()):
            columns = row.name, row.value, row.keep_until
            if row.value is None:
                gone.append((row.name,))
            elif row.was is UNSET:
                kept.append(columns)
            elif row.was is None:
                new.append(columns)
            else:
                changed.append((*columns, row.was))
        parts = (
            Part(sql.CHANGE_SECRETS, changed, strict=True),
            Part(sql.NEW_SECRETS, new, strict=True),
            Part(sql.SAVE_SECRETS, kept),
            Part(sql.DROP_SECRETS, gone),
        )
        if rows:
            await self._write(Together([part for part in parts if part.rows]))

    async def drop_secrets(self) -> int:
        """Delete all secrets, and return how many; no bridge may be at work."""
        count: int = await self._value(sql.COUNT_SECRETS)
        # Millions take longer than a write may.
        await self._engine.migrate([Query(sql.PING), Query(sql.DROP_ALL_SECRETS)])
        return count

    # --- tracing, dead letters, pruning -----------------------------------------------------

    async def trace(self, event_id: EventId) -> list[store.TraceRow]:
        return sql.lines(event_id, await self._read(sql.TRACE, event_id))

    async def known(self, events: Collection[EventId]) -> dict[EventId, int]:
        rows = await self._read(sql.KNOWN, json.dumps([*events]))
        return {EventId(key): row for key, row in rows}

    async def body_of(self, room_id: RoomId, event_id: EventId) -> bytes | None:
        body: bytes | None = await self._value(sql.BODY_OF, event_id, room_id)
        return None if body is None else self._cover.open(room_id, body)

    async def posted(
        self, room_id: RoomId, before: EffectSeq, since: int
    ) -> list[tuple[EventId, bytes, int]]:
        reach = before - REACH, before + REACH
        rows = await self._read(sql.POSTED, room_id, *reach, since, before)
        opened = self._cover.open
        return [(event_id, opened(room_id, bytes(body)), at) for event_id, body, at in rows]

    async def forget_body(self, room_id: RoomId, event_id: EventId) -> None:
        await self._update(sql.FORGET_BODY, event_id, room_id)
        await self._engine.empty_log()  # while it is read, this is left to the next pruning

    async def revive(self, letter_id: str, now: int) -> bool:
        return await self._update(sql.REVIVE, *_row_of(letter_id), now) == 1

    async def notify_owner(self, room_id: RoomId) -> None:
        await self._read(sql.NOTIFY_OWNER, room_id)

    async def discard(self, letter_id: str, now: int) -> bool:
        return await self._update(sql.DISCARD, *_row_of(letter_id), now) == 1

    async def prune(self, bodies_before: int, rows_before: int, others: store.Cutoffs) -> int:
        """Erase contents of rows settled before `bodies_before`, delete rows settled before
        `rows_before` and secrets that expired before it, and apply `others`. Dead letters stay.
        Return the number of rows touched.
        """
        touched, first, rows = 0, 0, SLICE
        for name, before in (asdict(others) | {"secrets": rows_before}).items():
            count = 0 if before is None else SLICE
            while count == SLICE:
                count = await self._update(sql.PRUNES[name], before, SLICE)
                touched += count
        while True:
            looked = await self._read(sql.STRETCH, first, rows, bodies_before, rows_before)
            ((last, size, due),) = looked
            if last is None:
                break
            if (fewer := sql.fitting(rows, size)) < rows:
                rows = fewer
                continue
            if due:
                touched += await self._update(sql.DROP_ROWS, first, last, rows_before)
                touched += await self._update(sql.ERASE_BODIES, first, last, bodies_before)
            first, rows = last + 1, SLICE
        await self._empty_log()
        return touched

    async def _empty_log(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOG_SECONDS):
                while not await self._engine.empty_log():  # noqa: ASYNC110 - there is no event
                    await asyncio.sleep(LOG_PAUSE)

    async def members(self) -> list[store.Member]:
        """Return the replicas that share the database; empty for SQLite."""
        return [store.Member(*row) for row in await self._read(MEMBERS)]

    async def reports(self) -> list[tuple[float, str]]:
        """Return the other replicas' reports, each with its age in seconds."""
        own = "" if self.shards is None else self.shards.id
        return [(age, report) for age, report in await self._read(REPORTS, own)]

    async def sessions(self, members: Sequence[store.Member]) -> tuple[list[str], bool]:
        """Return the roles of the members' sessions, and whether the server detects dead peers."""
        ((roles, notices),) = await self._read(SESSIONS, [member.pid for member in members])
        return sorted(roles), notices

    # --- queries over all rooms -------------------------------------------------------------

    async def room(self, room_id: RoomId) -> store.StoredRoom | None:
        rows = await self._read(sql.ROOM, room_id)
        return sql.stored_room(rows[0], self._cover) if rows else None

    async def rooms(
        self, after: str, limit: int, *, live: bool, phase: str = ""
    ) -> list[store.StoredRoom]:
        which = (sql.LIVE, after, limit, phase) if live else (sql.ROOMS, after, limit)
        rows = await self._read(*which)
        return [sql.stored_room(row, self._cover) for row in rows]

    async def busy(self) -> dict[tuple[str, str, QueueId], int]:
        rows = await self._read(sql.BUSY)
        return {
            (name, phase, queue): count for name, phase, queue, count in rows if queue is not None
        }

    async def accounts(self, after: str, limit: int) -> list[store.AccountRow]:
        accounts = []
        for room_id, name, has_token, issued, *room in await self._read(sql.ACCOUNTS, after, limit):
            known = None if room[0] is None else sql.stored_room(room, self._cover)
            accounts.append(store.AccountRow(room_id, name, bool(has_token), issued, known))
        return accounts

    async def forget_account(self, room_id: RoomId) -> bool:
        return await self._update(sql.FORGET_ACCOUNT, room_id) == 1

    async def deliveries(
        self, room_id: RoomId, before: int | None, limit: int
    ) -> tuple[list[store.LedgerRow], int | None]:
        ((first, last),) = await self._read(sql.ENDS)
        if last is None:
            return [], None
        end = last + 1 if before is None else min(before, last + 1)
        found: list[store.LedgerRow] = []
        for _ in range(STRETCHES):
            begin = max(first, end - STRETCH)
            rows = await self._read(sql.DELIVERIES, room_id, begin, end, limit - len(found))
            found += [sql.ledger_row(row)[1] for row in rows]
            if len(found) == limit:
                return found, found[-1].seq
            if (end := begin) <= first:
                return found, None
        return found, end

    async def newest(self) -> int:
        ((_, last),) = await self._read(sql.ENDS)
        return last or 0

    async def rows_after(self, seq: int, limit: int) -> list[tuple[RoomId, store.LedgerRow]]:
        return [sql.ledger_row(row) for row in await self._read(sql.ROWS_AFTER, seq, limit)]

    async def rows_at(self, seqs: Sequence[int]) -> list[tuple[RoomId, store.LedgerRow]]:
        rows = await self._read(sql.ROWS_AT, json.dumps([*seqs]))
        return [sql.ledger_row(row) for row in rows]

    async def input(self, room_id: RoomId, key: str) -> store.LedgerRow | None:
        rows = await self._read(sql.INPUT, key, room_id)
        return sql.ledger_row(rows[0])[1] if rows else None

    async def letters(self, after: tuple[int, int], limit: int) -> list[store.DeadLetter]:
        return [
            sql.dead_letter(row, self._cover)
            for row in await self._read(sql.LETTERS, *after, limit)
        ]

    async def letter(self, letter_id: str) -> store.DeadLetter | None:
        rows = await self._read(sql.LETTER, *_row_of(letter_id))
        return sql.dead_letter(rows[0], self._cover) if rows else None

    # --- the database itself ----------------------------------------------------------------

    async def ping(self) -> None:
        """Check the database by a read and a write, as one on a full disk still answers reads.

        Raises what another one has lately met: damage, or PostgreSQL's full disk, on which this
        small write still finds room.
        """
        until, fault = self._fault
        if asyncio.get_running_loop().time() < until:
            raise type(fault)(*fault.args)
        await self._read(sql.PING)
        await self._update(sql.TOUCH)

    def note_fault(self, error: CorruptDatabaseError | DiskFull) -> None:
        lasting = DAMAGE_SECONDS if isinstance(error, CorruptDatabaseError) else FULL_SECONDS
        until = asyncio.get_running_loop().time() + lasting
        self._fault = max(self._fault, (until, error), key=itemgetter(0))

    async def check(self) -> None:
        """Look closer: CorruptDatabaseError if a page of a SQLite file is damaged, Unreachable if
        another connection gets the writer's session, as from a pooler in transaction mode.
        """
        mark = secrets.token_hex(8)
        await self._update(sql.MARK_SESSION, mark)
        if await self._read(sql.MARKED, mark):
            raise Unreachable(POOLED)
        found = "ok"
        with suppress(Unreachable):  # a large file takes longer than a read may
            found = str(await self._value(sql.PAGES))
        if found != "ok":
            raise CorruptDatabaseError(f"SQLite: the file is damaged: {found.splitlines()[-1]}")

    async def narrow_encoding(self) -> str | None:
        """Return the database's encoding if it cannot store every text."""
        return cast(str | None, await self._value(sql.NARROW))

    async def close(self) -> None:
        """Finish waiting writes and close the database. A second call has no effect."""
        await self.writer.close()
        await self._engine.close()

    # --- how a call reaches the database ----------------------------------------------------

    async def _write(self, request: Write) -> object:
        """Return the answer, or raise it; the write goes on if the caller is cancelled."""
        answered: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        def done(answers: list[object]) -> None:
            if not answered.done():
                answered.set_result(answers[0])

        self.writer.submit([request], done)
        if isinstance(answer := await answered, store.StoreError):
            raise answer
        return answer

    async def _save(self, statement: Statement, *row: object) -> None:
        await self._write(Together([Part(statement, [row])]))

    async def _update(self, statement: Statement, *params: object) -> int:
        return cast(int, await self._write(Query(statement, params)))

    async def _read(self, statement: Statement, *params: object) -> Rows:
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await self._engine.read(Query(statement, params))
        except TimeoutError:
            raise Unreachable(f"the database did not answer within {READ_SECONDS:g} s") from None
        except CorruptDatabaseError as error:
            self.note_fault(error)
            raise

    async def _value(self, statement: Statement, *params: object) -> Any:
        """Return the first column of the first row; None if there is no row."""
        rows = await self._read(statement, *params)
        return rows[0][0] if rows else None


def _row_of(letter_id: str) -> tuple[int, bool]:
    """Return a dead letter's row number and whether it is an input; (0, False) if invalid."""
    split = re.fullmatch(r"([io])([0-9]{1,18})", letter_id)
    return (int(split[2]), split[1] == "i") if split else (0, False)


# --- group commit ---------------------------------------------------------------------------------

W = TypeVar("W")

Transact = Callable[[Sequence[W]], Awaitable[Sequence[object]]]
"""Writes all requests in one transaction and returns their answers in order.

Unreachable: nothing can be written now. StoreError: one request is refused, and none was written.
"""
Done = Callable[[list[object]], None]
"""Callback with the answers in the order of the requests; a StoreError for each that failed."""


class Ticket(Struct, Generic[W], eq=False):
    requests: Sequence[W]
    """Requests that are not taken yet."""
    done: Done
    left: int
    """Number of missing answers; 0 also after a timeout."""
    answers: list[object] = []
    timer: asyncio.TimerHandle | None = None

    def answer(self, answers: Sequence[object]) -> None:
        """Add the answers to the next requests."""
        if not self.left:
            return
        self.answers += answers
        self.left -= len(answers)
        if not self.left:
            if self.timer is not None:
                self.timer.cancel()
            self.done(self.answers)


@dataclass(eq=False)
class GroupWriter(Generic[W]):
    """Commits requests in groups of up to `group_limit`; `patience` is their timeout in seconds."""

    _commit: Transact[W]
    group_limit: int = 500
    patience: float = 20.0
    _waiting: deque[Ticket[W]] = field(default_factory=deque)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _closing: bool = False
    _finished: asyncio.Event = field(default_factory=asyncio.Event)

    def submit(self, requests: Sequence[W], done: Done) -> None:
        """Queue requests for writing, in order; `done` is called once all are durable or failed.

        After a timeout in mid-transaction a request that counts as failed may still be written.
        """
        if self._closing or not requests:
            done([Unreachable("the store is closed") for _ in requests])
            return
        ticket = Ticket(requests, done, len(requests))
        ticket.timer = asyncio.get_running_loop().call_later(self.patience, self._give_up, ticket)
        self._waiting.append(ticket)
        self._wake.set()

    async def run(self) -> None:
        """Write until closed and no request waits."""
        group: _Group[W] = []
        try:
            while True:
                group = self._take()
                if group:
                    await self._write(group)
                elif self._closing:
                    return
                else:
                    self._wake.clear()
                    await self._wake.wait()
        finally:
            # Requests are unanswered here only if the writer was cancelled or has crashed.
            self._closing = True
            for ticket, taken in group:
                stopped = Unreachable("the store was stopped: the write may still happen")
                ticket.answer(_failed(taken, stopped))
            for ticket in self._waiting:
                ticket.answer(_failed(ticket.requests, Unreachable("the store is closed")))
            self._waiting.clear()
            self._finished.set()

    async def close(self) -> None:
        """Refuse further requests and wait until those that wait are written.

        Returns after `CLOSE_SECONDS` at the latest: a hung database must not block shutdown.
        """
        self._closing = True
        self._wake.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._finished.wait()

    def _give_up(self, ticket: Ticket[W]) -> None:
        text = f"the database did not answer within {self.patience:g} s"
        text += ": the write may still happen" if ticket.left > len(ticket.requests) else ""
        left, ticket.left, ticket.requests = ticket.left, 0, ()
        # All have the same timeout, so expired tickets are in front. Remove them: a hanging
        # database must not let them fill the memory.
        while self._waiting and not self._waiting[0].left:
            self._waiting.popleft()
        # Some may have an answer, from groups before the one that hangs.
        ticket.done([*ticket.answers, *[Unreachable(text) for _ in range(left)]])

    def _take(self) -> _Group[W]:
        group: _Group[W] = []
        room = self.group_limit
        while self._waiting and room:
            ticket = self._waiting[0]
            taken, ticket.requests = ticket.requests[:room], ticket.requests[room:]
            group.append((ticket, taken))
            room -= len(taken)
            if not ticket.requests:
                self._waiting.popleft()
        return group

    async def _write(self, group: _Group[W]) -> None:
        answers = iter(await self._answers([query for _, taken in group for query in taken]))
        for ticket, taken in group:
            ticket.answer([next(answers) for _ in taken])

    async def _answers(self, requests: Sequence[W]) -> Sequence[object]:
        """Write requests together or, if one of them is refused, in halves; return the answers."""
        try:
            return await self._commit(requests)
        except store.StoreError as error:
            half = len(requests) // 2
            if not half or isinstance(error, Unreachable | CorruptDatabaseError):
                return _failed(requests, error)
        return [*await self._answers(requests[:half]), *await self._answers(requests[half:])]


_Group = list[tuple[Ticket[W], Sequence[W]]]
"""Tickets, each with those of its requests that are written together."""


def _failed(requests: Sequence[object], error: store.StoreError) -> Sequence[object]:
    """Return copies of an error: one shared by all would accumulate their callers' tracebacks."""
    copies = [type(error)(*error.args) for _ in requests]
    for own in copies:
        own.__cause__ = error
    return copies


# --- URLs and files -------------------------------------------------------------------------------


def engine_for(url: str, clock: Clock, *, shared: bool = False, patient: bool = False) -> Engine:
    """Make the engine of a database URL, not yet open; `patient`: a statement may take an hour.

    ValueError: the URL's form is unknown; the text omits the URL, which may hold a password.
    """
    check_database_url(url)
    if url.startswith(SQLITE):
        return SqliteEngine(Path(url.removeprefix(SQLITE)))
    seconds = MIGRATION_SECONDS if patient else STATEMENT_SECONDS
    return PostgresEngine(url, clock, seconds, shared=shared)


def described(url: str) -> str:
    """Return a database URL without passwords, or the absolute path of a SQLite file."""
    if url.startswith("sqlite:"):
        return str(Path(url.removeprefix(SQLITE)).resolve())
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    asked = [(name, value) for name, value in parse_qsl(parts.query) if "pass" not in name]
    netloc = f"{login.partition(':')[0]}{at}{hosts}"
    return urlunsplit(parts._replace(netloc=netloc, query=urlencode(asked, safe="/")))


def missing_file(url: str) -> Path | None:
    """Return the SQLite file of a URL if it does not exist (opening would create it), else None.

    Raises Unreachable if that cannot be determined.
    """
    if not url.startswith("sqlite:"):
        return None
    path = Path(url.removeprefix(SQLITE))
    try:
        path.stat()  # not `exists`, which returns False for some errors of folders
    except FileNotFoundError:
        return path
    except OSError as error:
        raise cannot_open(path, error) from error
    return None


async def pending_migrations(url: str, clock: Clock) -> list[Migration]:
    """Return the migrations that opening the database would apply; raises as opening does."""
    engine = engine_for(url, clock)
    if missing_file(url) is not None:
        return known(engine.dialect)
    try:
        await engine.open()
        return await pending(engine, known(engine.dialect))
    finally:
        await engine.close()
