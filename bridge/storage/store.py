"""StorePort over either engine: writes go through the group writer, reads to the engine."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import TypeVar, cast

from bridge.ids import EventId, OutboxSeq, RoomId
from bridge.rooms.store import (
    AccountRow,
    Backlog,
    ChatRow,
    DeadLetter,
    GhostRow,
    InputRow,
    NewInput,
    OutboxRow,
    SecretRow,
    Settlement,
    Step,
    StoredRoom,
    TraceRow,
)
from bridge.storage import sql
from bridge.storage.engine import Engine
from bridge.storage.errors import Unreachable
from bridge.storage.group import GroupWriter
from bridge.storage.ledger import letter
from bridge.storage.query import Call, Statement
from bridge.storage.sql import Kind, Write

A = TypeVar("A")
R = TypeVar("R")
T = TypeVar("T")

READ_SECONDS = 20.0
_PING = "ping"
SLICE = 1_000
"""Rows that one request of `prune` may touch: the writer is not to be held up by it."""


class SqlStore:
    """A StorePort; `open_store` makes it and runs its writer."""

    def __init__(self, engine: Engine, writer: GroupWriter[Write]) -> None:
        self._engine = engine
        self._writer = writer

    # --- inbox, rooms and outbox ------------------------------------------------------------

    async def accept(self, inputs: Sequence[NewInput], now: int) -> list[InputRow]:
        if not inputs:
            return []
        return await self._write(sql.accept, sql.Accept(inputs, now))

    async def commit_step(self, step: Step) -> list[OutboxRow]:
        # A step that is stale is answered by an exception, which the writer raises.
        return cast(list[OutboxRow], await self._write(sql.commit_step, step))

    async def mark_attempted(self, seq: OutboxSeq, now: int) -> None:
        await self._write(sql.mark_attempted, sql.Attempt(seq, now))

    async def settle(self, settlement: Settlement) -> list[InputRow]:
        return await self._write(sql.settle, settlement)

    async def room(self, room_id: RoomId) -> StoredRoom | None:
        return await self._read(sql.room(room_id))

    async def open_inputs(self, room_id: RoomId) -> list[InputRow]:
        return await self._read(sql.open_inputs(room_id))

    async def open_outbox(self, room_id: RoomId) -> list[OutboxRow]:
        return await self._read(sql.open_outbox(room_id))

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
        for statement in sql.FORGET_BODY:
            await self._write(sql.update, sql.Update(statement, (event_id, room_id)))

    async def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        return await self._read(sql.dead_letters(limit))

    async def revive(self, letter_id: str, now: int) -> bool:
        return await self._end_letter(letter_id, now, sql.REVIVE_INPUT, sql.REVIVE_OUTBOX)

    async def discard(self, letter_id: str, now: int) -> bool:
        return await self._end_letter(letter_id, now, sql.DISCARD_INPUT, sql.DISCARD_OUTBOX)

    async def prune(self, bodies_before: int, rows_before: int) -> int:
        touched = 0
        for statements, before in (
            (sql.DROP_ROWS, rows_before),
            (sql.ERASE_BODIES, bodies_before),
        ):
            for statement in statements:
                count = SLICE
                while count == SLICE:
                    update = sql.Update(statement, (before, SLICE))
                    count = await self._write(sql.update, update)
                    touched += count
        return touched

    async def _end_letter(
        self, letter_id: str, now: int, inbox: Statement, outbox: Statement
    ) -> bool:
        split = letter(letter_id)
        if split is None:
            return False
        box, seq = split
        update = sql.Update(inbox if box == "i" else outbox, (seq, now))
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
