"""The copies of a room, read while things go on."""

from __future__ import annotations

import pytest

from bridge.conversation.model import (
    Chatting,
    Conversation,
    Ended,
    Idle,
    Phase,
    Queued,
    Requesting,
)
from bridge.ids import InputSeq, QueueId, RoomId
from bridge.rooms.mirror import Mirror
from bridge.rooms.record import RoomRecord, dump_record
from bridge.rooms.store import (
    InputRow,
    Lane,
    NewInput,
    NewEffect,
    EffectRow,
    Outcome,
    Settlement,
    Step,
    StoredRoom,
)
from tests.fakes.house import ROOM, SESSION, World
from tests.fakes.memory import MemoryStore


async def chat() -> MemoryStore:
    world = World()
    await world.chatting()
    return world.store


@pytest.mark.asyncio
async def test_a_commit_that_comes_through_while_the_room_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The record of before would go with the effects of after: it is read once more."""
    store = await chat()
    (row,) = await store.accept([NewInput(ROOM, b"x", "$x")], 1)
    mirror = Mirror(ROOM)
    await mirror.catch_up(store)
    changed = dump_record(RoomRecord(ROOM, displayname="changed"))
    stored = StoredRoom(ROOM, changed, live=True, phase="p", revision=1)
    late = [Step(stored, [row.seq], [NewEffect(Lane.MATRIX, b"{}")])]
    read_inputs = store.open_inputs

    async def and_then(room_id: RoomId) -> list[InputRow]:
        found = await read_inputs(room_id)
        if late:
            await store.commit_step(late.pop())
        return found

    monkeypatch.setattr(store, "open_inputs", and_then)
    await mirror.catch_up(store)
    assert (mirror.record.displayname, mirror.revision) == ("changed", 2)
    assert not mirror.has_inputs
    assert mirror.has_rows


@pytest.mark.asyncio
async def test_rows_that_end_while_the_room_is_read_stay_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = await chat()
    found = await store.room(ROOM)
    assert found is not None
    rows = await store.commit_step(Step(found, (), [NewEffect(Lane.MATRIX, b"{}")] * 3))
    mirror = Mirror(ROOM)
    await mirror.catch_up(store)
    first = mirror.first(Lane.MATRIX)
    assert first == rows[0]
    assert mirror.later_rows(rows[0]) == rows[1:]
    read = store.open_outbox

    async def and_then(room_id: RoomId) -> list[EffectRow]:
        found = await read(room_id)
        await MemoryStore.settle(store, Settlement(rows[0].seq, Outcome.DELIVERED, 1))
        mirror.ended(rows[0])
        mirror.take([InputRow(InputSeq(99), ROOM, b"late", 1)])
        return found

    monkeypatch.setattr(store, "open_outbox", and_then)
    mirror.behind = True
    await mirror.catch_up(store)
    assert mirror.first(Lane.MATRIX) == rows[1]
    assert [row.body for row in mirror.inputs(5)] == [b"late"]
    mirror.ended(rows[1])
    mirror.ended(rows[1])
    assert mirror.first(Lane.MATRIX) == rows[2]


@pytest.mark.parametrize(
    ("phase", "running"),
    [
        (Idle(), False),
        (Requesting(QueueId(1), 0), False),
        (Queued(QueueId(1), 0), True),
        (Chatting(SESSION, 0, QueueId(1)), True),
        (Ended(SESSION), False),
    ],
    ids=lambda one: type(one).__name__,
)
def test_whose_chat_is_going_on_the_link_is_told(phase: Phase, running: bool) -> None:
    mirror = Mirror(ROOM)
    mirror.record = RoomRecord(ROOM, conversation=Conversation(phase))
    assert mirror.account.running is running
