"""Single writes to and reads of a store, for tests that prepare or check its rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from bridge.ids import InputSeq, RoomId
from bridge.rooms.store import (
    Answer,
    ChatRow,
    Commit,
    EffectRow,
    Entry,
    InputRow,
    NewEffect,
    NewInput,
    Settlement,
    StoredRoom,
    StoreError,
    StorePort,
)
from bridge.storage.query import CorruptDatabaseError, Unreachable

R = TypeVar("R")
A = TypeVar("A")


async def submitted(
    submit: Callable[[Sequence[R], Callable[[list[A]], None]], None], requests: Sequence[R]
) -> list[A]:
    """Submit requests and wait for their answers."""
    answered: asyncio.Future[list[A]] = asyncio.get_running_loop().create_future()
    submit(requests, lambda told: None if answered.done() else answered.set_result(told))
    return await answered


async def every(store: StorePort, commits: Sequence[Commit]) -> list[Answer]:
    """Commit the writes of several rooms together; raise the error if none could be written."""
    answers = await submitted(store.submit, commits)
    for answer in answers:
        if isinstance(answer, Unreachable | CorruptDatabaseError):
            raise answer
    return answers


async def accept(store: StorePort, inputs: Sequence[NewInput], now: int) -> list[InputRow]:
    """Store inputs to be handled later; return the rows of the new ones, in their order."""
    rooms: dict[RoomId, list[NewInput]] = {}
    for new in inputs:
        rooms.setdefault(new.room_id, []).append(new)
    answers = await every(store, [Commit(room, now, waiting=new) for room, new in rooms.items()])
    rows: list[InputRow] = []
    for answer in answers:
        if isinstance(answer, StoreError):
            raise answer
        rows += answer.waiting
    return sorted(rows, key=lambda row: row.seq)


async def step(
    store: StorePort,
    room: StoredRoom,
    done: Sequence[InputSeq] = (),
    effects: Sequence[NewEffect] = (),
    now: int = 0,
    *,
    buried: Sequence[tuple[InputSeq, str]] = (),
    chats: Sequence[ChatRow] = (),
    fresh: Sequence[NewInput] = (),
    settled: Sequence[Settlement] = (),
) -> list[EffectRow]:
    """Store a room's record and the result of a step; return the rows of its effects."""
    entries = [*map(Entry, fresh), *(Entry(effect=effect) for effect in effects)]
    commit = Commit(
        room.room_id,
        now,
        room,
        entries,
        handled=done,
        buried=buried,
        settled=settled,
        chats=chats,
    )
    return list((await store.commit(commit)).effects)


async def settle(
    store: StorePort, room_id: RoomId, settlement: Settlement, inputs: Sequence[NewInput] = ()
) -> list[InputRow]:
    """Settle an effect, and store the resulting inputs to be handled later."""
    commit = Commit(room_id, settlement.now, waiting=inputs, settled=[settlement])
    return list((await store.commit(commit)).waiting)


async def open_inputs(store: StorePort, room_id: RoomId) -> list[InputRow]:
    return list((await store.load(room_id)).inputs)


async def open_effects(store: StorePort, room_id: RoomId) -> list[EffectRow]:
    return list((await store.load(room_id)).effects)


async def load_room(store: StorePort, room_id: RoomId) -> StoredRoom | None:
    return (await store.load(room_id)).room
