"""One room at work on a database that fails: nothing is done twice, nothing is left."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge.conversation.events import LinkLost, LinkRestored, Tick
from bridge.conversation.model import Chatting, Idle, Queued
from bridge.ids import QueueId, RequestId
from bridge.rooms import carrying, stepping
from bridge.rooms.inputs import MatrixEvent
from bridge.rooms.ports import Unavailable
from bridge.rooms.record import Membership, RoomRecord, dump_record
from bridge.rooms.serial import dump_input
from bridge.rooms.store import (
    Lane,
    NewInput,
    NewOutbox,
    Step,
    StoredRoom,
)
from bridge.rooms.visit import Visit
from bridge.webchat.frames import File, SendMessage
from tests.fakes.clock import quiet
from tests.fakes.house import ROOM, World, said
from tests.fakes.store import Fault, FlakyStore
from tests.unit.rooms.visits import ADA, BOT

FAULTS = [Fault.BEFORE, Fault.LOST, Fault.LATE]


async def flaky_chat() -> tuple[World, FlakyStore]:
    store = FlakyStore()
    world = World(store)
    await world.chatting()
    return world, store


# --- commits whose answer is lost ---------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("when", ["at once", "while reading", "never"])
async def test_a_commit_without_an_answer(fault: Fault, when: str) -> None:
    """It happened, did not, or happens while we look: its effects are carried out once."""
    world, store = await flaky_chat()
    async with world.running() as engine:
        store.fail("commit_step", fault)
        if when == "while reading":
            store.decide = lambda name: Fault.SLOW if name != "commit_step" else Fault.NONE
        await engine.accept_events([world.event(text="one")])
        await quiet(5)
        if when == "at once":
            await store.write_late()
        await world.clock.turn(1.5)
        await store.write_late()
        await engine.accept_events([world.event(text="two")])
        await engine.pushed(ROOM, "p", said("three"))
        await world.clock.turn(3)
    assert world.link.texts(ROOM) == ["one", "two"]
    assert world.matrix.texts(ROOM) == ["three"]
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_another_bridge_does_the_same_work_at_the_same_time() -> None:
    """Should two get past the lock: what one has handled is refused to the other."""
    world, store = await flaky_chat()
    async with world.running() as one, world.running() as other:
        events = [world.event(text=f"word {number}") for number in range(5)]
        store.decide = lambda _: Fault.SLOW
        for event in events:
            await one.accept_events([event])
            await other.accept_events([event])
            await world.clock.turn(0.01)
        await world.clock.turn(90)
    heard = world.link.texts(ROOM)
    assert list(dict.fromkeys(heard)) == [f"word {number}" for number in range(5)]
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_what_another_bridge_wrote_is_not_overwritten() -> None:
    """Each takes other inputs from the same revision: the second has to read again."""
    world, store = await flaky_chat()
    async with world.running() as one, world.running() as other:
        store.decide = lambda _: Fault.SLOW
        world.link.gate.clear()
        async with asyncio.TaskGroup() as tasks:
            for number in range(4):
                event = world.event(text=f"word {number}")
                tasks.create_task((one, other)[number % 2].accept_events([event]))
        await world.clock.turn(5)
        world.link.gate.set()
        await world.clock.turn(90)
    words = {(call.call_id, str(call.command)) for call in world.link.calls}
    assert len(words) == 4
    assert len({call_id for call_id, _ in words}) == 4, "two words under one number"
    assert await world.nothing_left()


# --- outcomes whose answer is lost --------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", FAULTS)
async def test_an_outcome_without_an_answer(fault: Fault) -> None:
    """The call is not made again, and what it brought is handled."""
    world, store = await flaky_chat()
    async with world.running() as engine:
        store.fail("settle", fault, fault)
        await engine.accept_events([world.event(text="one"), world.event(text="two")])
        await quiet()
        await store.write_late()
        await world.clock.turn(carrying.STORE_RETRY * 2)
        assert world.link.texts(ROOM) == ["one", "two"]
        store.faults.clear()
        store.fail("settle", fault)
        await engine.pushed(ROOM, "p", said("three"))
        await world.clock.turn(carrying.STORE_RETRY)
        assert world.matrix.requests[-1:] == world.matrix.requests
    assert len(world.link.calls) == 2
    assert (await world.stored()).conversation.outstanding is None
    await store.write_late()
    assert await world.nothing_left()


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", FAULTS)
async def test_an_attempt_that_could_not_be_noted_is_not_made(fault: Fault) -> None:
    world, store = await flaky_chat()
    async with world.running() as engine:
        store.fail("mark_attempted", fault)
        await engine.accept_events([world.event(text="one")])
        await quiet()
        assert world.link.calls == []
        await store.write_late()
        await world.clock.turn(3)
    assert world.link.texts(ROOM) == ["one"]
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_a_store_that_is_down_for_a_while() -> None:
    world, store = await flaky_chat()
    async with world.running() as engine:
        store.decide = lambda name: Fault.BEFORE if name == "mark_attempted" else Fault.NONE
        await engine.accept_events([world.event(text="one")])
        store.decide = lambda _: Fault.BEFORE
        await world.clock.turn(1200)
        assert world.link.calls == []
        store.decide = lambda _: Fault.NONE
        await world.clock.turn(60)
        assert world.link.texts(ROOM) == ["one"]


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["room", "open_inputs", "open_outbox"])
async def test_a_room_that_cannot_be_read_is_read_again(name: str) -> None:
    world, store = await flaky_chat()
    store.fail(name, Fault.BEFORE, Fault.BEFORE)
    async with world.running() as engine:
        await engine.accept_events([world.event(text="one")])
        await world.clock.turn(3)
    assert world.link.texts(ROOM) == ["one"]


@pytest.mark.asyncio
async def test_a_record_of_a_newer_version_waits_for_a_newer_bridge() -> None:
    world = World()
    record = dump_record(RoomRecord(ROOM)).replace(b"{", b'{"version":99,', 1)
    await world.store.commit_step(Step(StoredRoom(ROOM, record, True, "p"), ()))
    async with world.running() as engine:
        await engine.accept_events([world.event(text="one")])
        await world.clock.turn(600)
    assert [row.key for row in await world.store.open_inputs(ROOM)] == ["$e1"]
    found = await world.store.room(ROOM)
    assert found is not None
    assert found.record == record


# --- the mirror ---------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_input_that_is_told_of_late_is_not_handled_twice() -> None:
    world, store = await flaky_chat()
    _, key, raw = world.event(text="one")
    rows = await store.accept([NewInput(ROOM, dump_input(MatrixEvent(raw)), key)], 1)
    async with world.running() as engine:
        assert world.link.texts(ROOM) == ["one"]
        engine._worker(ROOM).take(rows)
        await world.clock.turn(5)
    assert world.link.texts(ROOM) == ["one"]
    assert await world.nothing_left()


# --- what our own code fails at, what cannot be stored ------------------------------------------


@pytest.mark.asyncio
async def test_poison_does_not_stop_what_comes_after_it() -> None:
    world = World()
    await world.chatting()
    world.matrix.poison.add("$e2")
    async with world.running() as engine:
        await engine.accept_events([world.event(text=f"{n}") for n in range(3)])
        await quiet()
    assert world.link.texts(ROOM) == ["0", "2"]
    (told,) = [one for one in world.matrix.posted if one.reply_to == "$e2"]
    assert told.text == "undelivered.internal"
    (letter,) = await world.store.dead_letters()
    assert letter.why == "KeyError"


@pytest.mark.asyncio
async def test_a_batch_is_32_inputs() -> None:
    world, store = await flaky_chat()
    await store.accept(
        [
            NewInput(ROOM, dump_input(MatrixEvent(raw)), key)
            for _, key, raw in (world.event(text=f"{n}") for n in range(70))
        ],
        world.clock.now(),
    )
    async with world.running():
        await quiet(2000)
    heard = world.link.texts(ROOM)
    assert heard == [f"{n}" for n in range(5)]  # the rest: more than a minute's share
    assert stepping.BATCH == 32
    assert world.counts.inputs >= 70
    assert len([one for one in world.matrix.posted if one.reply_to]) == 65


@pytest.mark.asyncio
async def test_what_leads_to_the_unstorable_is_buried_alone() -> None:
    """A user id that no database takes; the others of its batch are handled."""
    world, store = await flaky_chat()
    left = dump_record(RoomRecord(ROOM, membership=Membership.LEFT))
    await store.commit_step(Step(StoredRoom(ROOM, left, False, "Idle", revision=1), ()))
    bad = world.event("invite", whom=BOT, sender="@nul\0:example.org")
    async with world.running() as engine:
        await engine.accept_events([world.event(text="before"), bad, world.invitation()])
        await world.clock.turn(2)
        record = await world.stored()
        assert (record.membership, record.customer) == (Membership.JOINED, ADA)
    (letter,) = await store.dead_letters()
    assert letter.why == "Unstorable"
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_an_effect_that_our_code_fails_at_becomes_a_dead_letter() -> None:
    world, store = await flaky_chat()
    found = await store.room(ROOM)
    assert found is not None
    await store.commit_step(Step(found, (), [NewOutbox(Lane.MATRIX, b"no effect at all")]))
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", said("after it"))
        await world.clock.turn(5)
        assert world.matrix.texts(ROOM) == []
        await world.clock.turn(60)
        assert world.matrix.texts(ROOM) == ["after it"]
    (letter,) = await store.dead_letters()
    assert letter.why == "DecodeError"


@pytest.mark.asyncio
async def test_an_outcome_that_cannot_be_stored_ends_its_row_all_the_same() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        world.matrix.event_ids = "$nul\0{}"
        await engine.pushed(ROOM, "p", said("one"))
        await engine.pushed(ROOM, "q", said("two"))
        await quiet()
    assert world.matrix.texts(ROOM) == ["one", "two"]
    assert [letter.why for letter in await world.store.dead_letters()] == ["Unstorable"] * 2
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_a_deadline_that_nothing_comes_of_does_not_spin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, store = await flaky_chat()
    async with world.running() as engine:
        monkeypatch.setattr(stepping, "deadline", lambda *_: world.clock.now() - 5)
        store.calls.clear()
        engine.due(ROOM, world.clock.now())
        steps = 0

        def counted(*args: Any) -> Visit:
            nonlocal steps
            steps += 1
            return Visit(*args)

        monkeypatch.setattr(stepping, "Visit", counted)
        await world.clock.turn(10)
        assert 8 <= steps <= 12
    assert "commit_step" not in store.calls


# --- lanes --------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_slow_call_does_not_hold_up_the_other_lane() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        world.link.gate.clear()
        await engine.accept_events([world.event("file"), world.event(text="after the file")])
        await engine.pushed(ROOM, "p", said("meanwhile"))
        await quiet()
        assert world.matrix.texts(ROOM) == ["meanwhile"]
        assert world.link.texts(ROOM) == []
        world.link.gate.set()
        await quiet()
    assert world.link.uploads == 1
    assert world.link.texts(ROOM) == ["after the file"]
    first = world.link.calls[0].command
    assert isinstance(first, SendMessage)
    assert isinstance(first.content, File)


@pytest.mark.asyncio
async def test_a_lane_keeps_its_order_through_failures() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        for number in range(10):
            world.matrix.trouble.append(Unavailable("away"))
            await engine.pushed(ROOM, f"p{number}", said(f"{number}"))
        await world.clock.turn(300)
    assert world.matrix.texts(ROOM) == [f"{number}" for number in range(10)]


@pytest.mark.asyncio
async def test_a_phase_is_noted_once() -> None:
    world = World()
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        await engine.accept_events([world.event(text="hello")])
        await quiet()
        assert world.counts.phases == ["Requesting", "Queued"]
        assert world.link.kept == {ROOM}
    phase = (await world.stored()).conversation.phase
    assert isinstance(phase, Queued)
    assert phase.request_id == RequestId(9001)
    assert (phase.queue_id, isinstance(phase, Chatting)) == (QueueId(2), False)


@pytest.mark.asyncio
async def test_nobody_waits_for_a_pause_once_stopping() -> None:
    world = World()
    async with world.running() as engine:
        worker = engine._worker(ROOM)
        worker.stop()
        with pytest.raises(carrying.Stopping):
            await worker.pause(10)
    assert worker.account.customer == ""


@pytest.mark.asyncio
async def test_links_that_come_and_go_while_the_store_is_down_are_one_piece_of_news() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        world.store.down = True
        for _ in range(50):
            await engine.lost(ROOM)
            await world.clock.turn(1)
            await engine.restored(ROOM)
            await world.clock.turn(1)
        (worker,) = engine._workers.values()
        signals = worker._stepper._signals
        assert [type(one) for one in signals if type(one) is not Tick] == [LinkLost, LinkRestored]
        world.store.down = False
        await world.clock.turn(60)
        assert not worker._stepper._signals
    assert (await world.stored()).conversation.linked_at > 0
