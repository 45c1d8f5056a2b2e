"""Rows for the store's tests."""

from __future__ import annotations

import msgspec

from bridge.ids import EventId, RoomId
from bridge.rooms.store import EffectRow, InputRow, Lane, NewEffect, NewInput, StoredRoom, StorePort
from tests.fakes.flow import load_room, step

A = RoomId("!a:example.org")
B = RoomId("!b:example.org")
EVENT = EventId("$event")


def said(key: str | None, room_id: RoomId = A, body: bytes = b"{}") -> NewInput:
    return NewInput(room_id, body, key)


def room(
    room_id: RoomId = A, *, live: bool = True, deadline: int | None = None, customer: str = ""
) -> StoredRoom:
    return StoredRoom(room_id, b"\x00record", live, "Queued", deadline, customer)


def wish(cause: str | None = None, lane: Lane = Lane.WEBCHAT, body: bytes = b"e") -> NewEffect:
    return NewEffect(lane, body, cause, call_id=7, repeat=False)


async def now_at(store: StorePort, made: StoredRoom) -> StoredRoom:
    """Return the room at the stored revision, to make the next step from."""
    found = await load_room(store, made.room_id)
    return msgspec.structs.replace(made, revision=0 if found is None else found.revision)


async def bury(store: StorePort, row: InputRow, why: str, now: int) -> None:
    """End an input as a dead letter, as the step of an actor does."""
    made = await now_at(store, room(row.room_id))
    await step(store, made, (), now=now, buried=[(row.seq, why)])


async def one_effect(store: StorePort, cause: str | None = None, now: int = 10) -> EffectRow:
    """Store one effect of room A."""
    (row,) = await step(store, await now_at(store, room()), (), (wish(cause),), now)
    return row
