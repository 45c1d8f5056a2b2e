"""One room on a database that fails: nothing is done twice or left undone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from bridge.conversation.model import (
    Card,
    Chatting,
    Conversation,
    Ended,
    Idle,
    LinkLost,
    LinkRestored,
    Phase,
    Queued,
    Requesting,
    Tick,
    TurnAwaited,
)
from bridge.ids import QueueId, RequestId, RoomId
from bridge.rooms import room as rooms
from bridge.rooms.effects import EnterRoom
from bridge.rooms.ports import Unavailable
from bridge.rooms.record import (
    MatrixEvent,
    Membership,
    RoomRecord,
    Upgrade,
    dump_input,
    dump_record,
    load_record,
)
from bridge.rooms.room import UNSTORABLE
from bridge.rooms.store import (
    Answer,
    Commit,
    Lane,
    NewEffect,
    NewInput,
    PassedOn,
    StoredRoom,
    StoreError,
    Unstorable,
)
from bridge.rooms.surroundings import STORE_RETRY, Stopping
from bridge.rooms.visit import Visit, Written, new_effect, stored_as
from bridge.webchat.frames import File, SendMessage
from tests.fakes import flow
from tests.fakes.clock import quiet
from tests.fakes.house import ROOM, SESSION, World, said
from tests.fakes.memory import dead_letters
from tests.fakes.store import Fault, FlakyStore
from tests.unit.rooms.visits import ADA, BOT

NEXT = RoomId("!next:example.org")
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
async def test_a_lost_commit_answer_repeats_no_effect(fault: Fault, when: str) -> None:
    """The commit happened, failed, or happens while the room is read again."""
    world, store = await flaky_chat()
    async with world.running() as engine:
        store.fail("commit", fault)
        if when == "while reading":
            store.decide = lambda name: Fault.SLOW if name != "commit" else Fault.NONE
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
async def test_two_bridges_at_once_handle_each_input_once() -> None:
    """If two get past the lock, the commit of the second is refused."""
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
async def test_one_bridge_does_not_overwrite_the_commits_of_another() -> None:
    """Each starts from the same revision with other inputs: the second has to read again."""
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
async def test_a_lost_answer_to_an_outcome_repeats_no_call(fault: Fault) -> None:
    """The reply of the call is handled."""
    world, store = await flaky_chat()
    async with world.running() as engine:
        store.fail("commit", Fault.NONE, fault, fault)
        await engine.accept_events([world.event(text="one"), world.event(text="two")])
        await quiet()
        await store.write_late()
        await world.clock.turn(STORE_RETRY * 3)
        assert world.link.texts(ROOM) == ["one", "two"]
        store.faults.clear()
        store.fail("commit", Fault.NONE, fault)
        await engine.pushed(ROOM, "p", said("three"))
        await world.clock.turn(STORE_RETRY)
        assert world.matrix.requests[-1:] == world.matrix.requests
    assert len(world.link.calls) == 2
    assert (await world.stored()).conversation.outstanding is None
    await store.write_late()
    assert await world.nothing_left()


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_call_whose_attempt_cannot_be_marked_is_not_made(fault: Fault) -> None:
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
async def test_work_resumes_after_the_store_was_down() -> None:
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
async def test_a_room_that_cannot_be_read_is_read_again() -> None:
    world, store = await flaky_chat()
    store.fail("load", Fault.BEFORE, Fault.BEFORE)
    async with world.running() as engine:
        await engine.accept_events([world.event(text="one")])
        await world.clock.turn(3)
    assert world.link.texts(ROOM) == ["one"]


@pytest.mark.asyncio
async def test_a_record_of_a_newer_version_waits_for_a_newer_bridge() -> None:
    world = World()
    record = dump_record(RoomRecord(ROOM)).replace(b"{", b'{"version":99,', 1)
    await flow.step(world.store, StoredRoom(ROOM, record, True, "p"))
    async with world.running() as engine:
        await engine.accept_events([world.event(text="one")])
        await world.clock.turn(600)
    assert [row.key for row in await flow.open_inputs(world.store, ROOM)] == ["$e1"]
    found = (await world.store.load(ROOM)).room
    assert found is not None
    assert found.record == record


# --- what is in memory ---------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_input_signalled_late_is_not_handled_twice() -> None:
    world, store = await flaky_chat()
    _, key, raw = world.event(text="one")
    rows = await flow.accept(store, [NewInput(ROOM, dump_input(MatrixEvent(raw)), key)], 1)
    async with world.running() as engine:
        assert world.link.texts(ROOM) == ["one"]
        room = engine._room(ROOM)
        room._inputs.update((row.seq, row) for row in rows)
        room.signal(Tick())
        await engine.pushed(ROOM, "p", said("anything"))
        await world.clock.turn(5)
    assert world.link.texts(ROOM) == ["one"]
    assert await world.nothing_left()


# --- exceptions and unstorable values -------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_input_that_raises_does_not_stop_later_ones() -> None:
    world = World()
    await world.chatting()
    world.matrix.poison.add("$e2")
    async with world.running() as engine:
        await engine.accept_events([world.event(text=f"{n}") for n in range(3)])
        await quiet()
    assert world.link.texts(ROOM) == ["0", "2"]
    (told,) = [one for one in world.matrix.posted if one.reply_to == "$e2"]
    assert told.text == "undelivered.internal"
    (letter,) = await dead_letters(world.store)
    assert letter.why == "unexpected error (KeyError)"


@pytest.mark.asyncio
async def test_inputs_that_waited_are_handled_one_by_one() -> None:
    world, store = await flaky_chat()
    await flow.accept(
        store,
        [
            NewInput(ROOM, dump_input(MatrixEvent(raw)), key)
            for _, key, raw in (world.event(text=f"{n}") for n in range(70))
        ],
        world.clock.now(),
    )
    async with world.running():
        await quiet(2000)
    heard = world.link.texts(ROOM)
    assert heard == [f"{n}" for n in range(5)]  # the rest exceeds the rate limit
    assert world.counts.inputs >= 70
    assert len([one for one in world.matrix.posted if one.reply_to]) == 65


@pytest.mark.asyncio
async def test_an_input_with_an_unstorable_result_is_a_dead_letter_alone() -> None:
    """A user id that no database takes; the others are handled."""
    world, store = await flaky_chat()
    left = dump_record(RoomRecord(ROOM, membership=Membership.LEFT))
    await flow.step(store, StoredRoom(ROOM, left, False, "Idle", revision=1))
    bad = world.event("invite", whom=BOT, sender="@nul\0:example.org")
    async with world.running() as engine:
        await engine.accept_events([world.event(text="before"), bad, world.invitation()])
        await world.clock.turn(2)
        record = await world.stored()
        assert (record.membership, record.customer) == (Membership.JOINED, ADA)
    (letter,) = await dead_letters(store)
    assert letter.why == "a value cannot be stored: too long, or with a NUL"
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_signals_whose_step_cannot_be_stored_are_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, store = await flaky_chat()
    submit, refused = store.submit, 0

    def picky(commits: Sequence[Commit], done: Callable[[list[Answer]], None]) -> None:
        nonlocal refused
        if commits[0].room is not None and not any(one.came for one in commits[0].entries):
            refused += 1
            asyncio.get_running_loop().call_soon(lambda: done([Unstorable("no")]))
        else:
            submit(commits, done)

    async with world.running() as engine:
        await quiet()
        monkeypatch.setattr(store, "submit", picky)
        engine.stored_elsewhere(PassedOn(ROOM, 2**62))
        engine.signal(ROOM, TurnAwaited(30))
        engine.signal(ROOM, LinkLost())
        await world.clock.turn(5)
        assert 0 < refused < 3
        monkeypatch.undo()
        await engine.accept_events([world.event(text="after it")])
        await quiet()
    assert world.link.texts(ROOM) == ["after it"]


@pytest.mark.asyncio
async def test_a_signal_does_not_wait_for_an_answer_to_what_is_still_being_sent() -> None:
    world, _ = await flaky_chat()
    async with world.running() as engine:
        world.matrix.trouble.extend([Unavailable("away")] * 3)
        await engine.pushed(ROOM, "p", said("on its way"))
        await engine.accept_events([world.event(thread="$unknown")])
        await quiet()
        engine.signal(ROOM, LinkLost())
        await world.clock.turn(0.2)
        assert world.matrix.texts(ROOM) == []
        assert (await world.stored()).conversation.told_away
        await world.clock.turn(30)
    assert world.matrix.texts(ROOM)[0] == "on its way"


@pytest.mark.asyncio
async def test_an_unreadable_effect_becomes_a_dead_letter() -> None:
    world, store = await flaky_chat()
    await world.owe(NewEffect(Lane.MATRIX, b"no effect at all"))
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", said("after it"))
        await world.clock.turn(5)
        assert world.matrix.texts(ROOM) == []
        await world.clock.turn(60)
        assert world.matrix.texts(ROOM) == ["after it"]
    (letter,) = await dead_letters(store)
    assert letter.why == "unexpected error (DecodeError)"


@pytest.mark.asyncio
async def test_reading_past_an_unreadable_effect_does_no_harm() -> None:
    """As with a row sealed with a lost key: only that row is a dead letter."""
    world, store = await flaky_chat()
    await world.owe(Card(1, "queue.asking"), NewEffect(Lane.MATRIX, b"null"))
    async with world.running() as engine:
        await engine.accept_events([world.event(text="hello")])  # a receipt looks for agents
        await quiet()
        assert world.link.texts(ROOM) == ["hello"]
        assert len(world.matrix.posted) == 1
        await world.clock.turn(60)
    (letter,) = await dead_letters(store)
    assert (letter.body, letter.why) == ("null", "unexpected error (ValidationError)")


@pytest.mark.asyncio
async def test_the_join_of_a_new_room_is_found_behind_an_unreadable_effect() -> None:
    world, store = await flaky_chat()
    found = (await store.load(ROOM)).room
    assert found is not None
    record = load_record(found.record)
    moving = Upgrade(until=world.clock.now() + 1_000_000, into=NEXT, host=record.host)
    found = stored_as(replace(record, upgrade=moving), found.revision)
    entry = new_effect(EnterRoom(record.host, ADA, into=NEXT))
    assert entry is not None
    await flow.step(store, found, effects=[NewEffect(Lane.MATRIX, b"null"), entry])
    async with world.running():
        await quiet()
        assert (NEXT, record.host) in world.matrix.members


@pytest.mark.asyncio
async def test_an_outcome_that_cannot_be_stored_settles_its_effect() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        world.matrix.event_ids = "$nul\0{}"
        await engine.pushed(ROOM, "p", said("one"))
        await engine.pushed(ROOM, "q", said("two"))
        await quiet()
    assert world.matrix.texts(ROOM) == ["one", "two"]
    assert [letter.why for letter in await dead_letters(world.store)] == [UNSTORABLE] * 2
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_a_deadline_without_effect_does_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    world, store = await flaky_chat()
    async with world.running() as engine:
        monkeypatch.setattr(rooms, "deadline", lambda *_: world.clock.now() - 5)
        store.calls.clear()
        engine.timetable.add(ROOM, world.clock.now())
        steps = 0

        def counted(*args: Any, **named: Any) -> Visit:
            nonlocal steps
            steps += 1
            return Visit(*args, **named)

        monkeypatch.setattr(rooms, "Visit", counted)
        await world.clock.turn(10)
        assert 8 <= steps <= 12
    assert "commit" not in store.calls


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
async def test_each_change_of_phase_is_counted_once() -> None:
    world = World()
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        await engine.accept_events([world.event(text="hello")])
        await quiet()
        assert world.counts.phases == ["Requesting", "Queued"]
        assert [(was is None, chat.started) for was, chat in world.counts.chats] == [(True, None)]
        assert engine.chats() == {("", "Queued", QueueId(2)): 1}
        assert world.link.kept == {ROOM}
    phase = (await world.stored()).conversation.phase
    assert isinstance(phase, Queued)
    assert phase.request_id == RequestId(9001)
    assert (phase.queue_id, isinstance(phase, Chatting)) == (QueueId(2), False)


@pytest.mark.asyncio
async def test_a_pause_ends_when_the_room_stops() -> None:
    world = World()
    async with world.running() as engine:
        room = engine._room(ROOM)
        room.stop()
        with pytest.raises(Stopping):
            await room.pause(10)
    assert room.account.customer == ""


@pytest.mark.asyncio
async def test_link_changes_while_the_store_is_down_are_merged() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        world.store.down = True
        for number in range(50):
            engine.signal(ROOM, LinkLost())
            await world.clock.turn(1)
            engine.signal(ROOM, LinkRestored(brief=number > 0))
            await world.clock.turn(1)
        (room,) = engine._rooms.values()
        signals = room._signals
        assert [type(one) for one in signals if type(one) is not Tick] == [LinkLost, LinkRestored]
        assert [one.brief for one in signals if isinstance(one, LinkRestored)] == [False]
        world.store.down = False
        await world.clock.turn(60)
        assert not room._signals
    assert (await world.stored()).conversation.linked_at > 0


# --- reading a room during other work -------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_late_commit_refuses_the_step_made_without_it() -> None:
    """It was counted as lost: the step made from the older record is refused."""
    world, store = await flaky_chat()
    async with world.running() as engine:
        store.fail("commit", Fault.LATE)
        await engine.accept_events([world.event(text="one")])
        await world.clock.turn(1)  # the room is read as of before
        await store.write_late()
        await engine.accept_events([world.event(text="two")])
        await world.clock.turn(40)
    assert world.link.texts(ROOM) == ["one", "two"]
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_an_effect_that_ends_while_the_room_is_read_is_not_repeated() -> None:
    """Its row was still open when it was read."""
    world, store = await flaky_chat()
    async with world.running() as engine:
        world.matrix.gate.clear()
        await engine.pushed(ROOM, "p", said("one"))
        await engine.pushed(ROOM, "q", said("two"))
        await quiet()
        store.decide = lambda name: Fault.SLOW if name == "load" else Fault.NONE
        engine._room(ROOM).look()
        await quiet(2)
        world.matrix.gate.set()
        await quiet()
        await world.clock.turn(40)
    assert world.matrix.texts(ROOM) == ["one", "two"]
    assert len(world.matrix.requests) == len(set(world.matrix.requests))
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_steps_are_taken_while_a_commit_is_under_way() -> None:
    """Only the acknowledgement waits for the database; the next commit contains all steps."""
    world, store = await flaky_chat()
    async with world.running() as engine:
        store.calls.clear()
        store.gate.clear()
        async with asyncio.TaskGroup() as tasks:
            for number in range(6):
                tasks.create_task(engine.pushed(ROOM, f"p{number}", said(f"{number}")))
                await quiet(3)
            assert world.matrix.texts(ROOM) == []
            assert store.calls == ["commit"]
            store.gate.set()
        await quiet()
        assert store.calls.count("commit") <= 4
    assert world.matrix.texts(ROOM) == [f"{number}" for number in range(6)]


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", FAULTS)
async def test_steps_on_top_of_a_failed_commit_are_discarded_with_it(fault: Fault) -> None:
    world, store = await flaky_chat()
    async with world.running() as engine:
        store.fail("commit", fault)
        store.gate.clear()
        async with asyncio.TaskGroup() as tasks:
            for number in range(3):
                tasks.create_task(engine.pushed(ROOM, f"p{number}", said(f"{number}")))
            await quiet(3)
            store.gate.set()
        await store.write_late()
        await world.clock.turn(40)
    assert sorted(world.matrix.texts(ROOM)) == ["0", "1", "2"]
    assert await world.nothing_left()


# --- loops ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_unavailable_database_is_logged_once() -> None:
    """Every room retries each second, which would flood the log."""
    world, store = await flaky_chat()
    store.fail("load", Fault.BEFORE, Fault.BEFORE, Fault.BEFORE)
    with capture_logs() as logs:
        async with world.running() as engine:
            await engine.accept_events([world.event(text="one")])
            await world.clock.turn(5)
            store.fail("load", Fault.BEFORE)
            engine._room(ROOM).look()
            await world.clock.turn(5)
    told = [line["log_level"] for line in logs if "the database did not answer" in line["event"]]
    assert told == ["warning", "debug", "debug", "warning"]


@pytest.mark.asyncio
async def test_a_database_that_can_be_read_but_takes_no_writes_is_logged_once() -> None:
    world, store = await flaky_chat()
    store.fail("commit", *[Fault.BEFORE] * 5)
    with capture_logs() as logs:
        async with world.running() as engine:
            engine._room(ROOM).signal(LinkLost())
            await world.clock.turn(10)
    assert not store.faults["commit"]
    told = [line["log_level"] for line in logs if "the database did not answer" in line["event"]]
    assert told == ["warning", *["debug"] * 4]


@pytest.mark.asyncio
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
async def test_the_link_is_told_whether_a_chat_runs(phase: Phase, running: bool) -> None:
    world = World()
    engine = world.engine()
    room = engine._room(ROOM)
    room.record = RoomRecord(ROOM, conversation=Conversation(phase))
    assert room.account.running is running


# --- acknowledgements -----------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_transaction_waits_for_all_of_its_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, other = World().engine(), RoomId("!other:example.org")
    written: dict[RoomId, Written] = {one: asyncio.Future() for one in (ROOM, other)}
    failed: list[RoomId] = []

    async def note(room_id: RoomId, _: object) -> int:
        failed.append(room_id)
        return 0

    monkeypatch.setattr(rooms.Room, "take", lambda room, _: written[room.room_id])
    monkeypatch.setattr(engine, "_store_for_later", note)
    engine._running = True
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(engine._take({ROOM: [], other: []}))
        await quiet(1)
        written[ROOM].set_result(1)
        await quiet(1)
        assert not waiting.done()
        written[other].set_result(StoreError("away"))
    assert (waiting.result(), failed) == (1, [other])
