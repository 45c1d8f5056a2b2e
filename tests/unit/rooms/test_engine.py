"""The engine with fakes: intake, recovery, deadlines, sweeps and cache."""

from __future__ import annotations

import sys

import pytest
from structlog.testing import capture_logs

from bridge.conversation import server
from bridge.conversation.machine import QUEUE_SILENCE
from bridge.conversation.model import Idle, LinkRestored, Queued
from bridge.ids import EventId, QueueId, RequestId, RoomId
from bridge.rooms import engine as engines
from bridge.rooms.engine import Served
from bridge.rooms.ports import Account
from bridge.rooms.record import MatrixEvent, Order, dump_input
from bridge.rooms.store import Commit, Committed, NewInput, Outcome, StoreError
from bridge.webchat.codes import FrameType
from bridge.webchat.frames import ChatStarted, Received, Reply, SessionClosed
from tests.fakes import flow
from tests.fakes.clock import quiet
from tests.fakes.house import MEI, ROOM, SESSION, World, said
from tests.fakes.memory import MemoryStore, dead_letters
from tests.fakes.store import Fault, FlakyStore
from tests.unit.rooms.visits import BOT

OTHER = RoomId("!other:example.org")


@pytest.mark.asyncio
async def test_messages_go_both_ways() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        await engine.accept_events([world.event(text="one"), world.event(text="two")])
        await engine.pushed(ROOM, "p1", said("three"))
        await quiet()
    assert world.link.texts(ROOM) == ["one", "two"]
    assert world.matrix.texts(ROOM) == ["three"]
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_the_host_in_a_matrix_room_is_known_while_the_room_is_served() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        assert await engine.served_in(ROOM) == Served(BOT, live=True)
        assert await engine.served_in(OTHER) is None
        await engine.accept_events([world.event("upgraded", into=OTHER), world.invitation(OTHER)])
        await quiet()
        assert await engine.served_in(ROOM) is None
        assert await engine.served_in(OTHER) == Served(BOT, live=True)


@pytest.mark.asyncio
async def test_an_event_counts_once_however_often_it_comes() -> None:
    world = World()
    await world.chatting()
    event = world.event(text="one")
    async with world.running() as engine:
        await engine.accept_events([event, event])
        await quiet()
        await engine.accept_events([event])
        await engine.pushed(ROOM, "p1", said("two"))
        await engine.pushed(ROOM, "p1", said("two"))
        await quiet()
    assert world.link.texts(ROOM) == ["one"]
    assert world.matrix.texts(ROOM) == ["two"]


@pytest.mark.asyncio
async def test_a_start_does_unfinished_work() -> None:
    """Inputs not yet handled, and effects never attempted."""
    world = World()
    await world.chatting()
    _, event_id, raw = world.event(text="undone")
    row = NewInput(ROOM, dump_input(MatrixEvent(raw)), event_id)
    await flow.accept(world.store, [row], world.clock.now())
    async with world.running():
        pass
    assert world.link.texts(ROOM) == ["undone"]

    world.link.gate.clear()
    async with world.running() as engine:
        await engine.accept_events([world.event(text="first")])
        await quiet()
        await engine.accept_events([world.event(text="second")])
        await quiet()
    world.link.gate.set()
    async with world.running():
        pass
    assert world.link.texts(ROOM) == ["undone", "first", "first", "second"]
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_an_attempted_row_comes_back_as_uncertain() -> None:
    """It is sent again under its old call id, and marked as a repeat."""
    world = World()
    await world.chatting()
    world.link.gate.clear()
    async with world.running() as engine:
        await engine.accept_events([world.event(text="perhaps")])
        await quiet()
    (row,) = await world.open_rows()
    assert row.attempted is not None
    world.link.gate.set()
    async with world.running():
        pass
    assert [call.call_id for call in world.link.calls] == [row.call_id] * 2
    assert ("webchat", Outcome.UNCERTAIN) in world.counts.settled_rows
    lines = await world.store.trace(EventId("$e1"))
    assert [line.repeat for line in lines if line.what == "delivered"] == [True]


@pytest.mark.asyncio
async def test_links_of_live_rooms_are_kept_after_a_start() -> None:
    world = World()
    await world.chatting()
    await world.record(OTHER, Idle())
    async with world.running() as engine:
        assert world.link.kept == {ROOM}
        await engine.pushed(ROOM, "end", Received(SessionClosed(SESSION, MEI.id)))
        await quiet()
        assert world.link.kept == set()


# --- the database -------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_store_that_is_down_accepts_nothing() -> None:
    world = World()
    await world.chatting()
    event = world.event(text="one")
    async with world.running() as engine:
        world.store.down = True
        with pytest.raises(StoreError):
            await engine.accept_events([event])
        with pytest.raises(StoreError):
            await engine.pushed(ROOM, "p", said("two"))
        world.store.down = False
        await engine.accept_events([event])
        await engine.pushed(ROOM, "p", said("two"))
        await world.clock.turn(2)
        assert world.link.texts(ROOM) == ["one"]
        assert world.matrix.texts(ROOM) == ["two"]


@pytest.mark.asyncio
async def test_an_input_whose_commit_answer_was_lost_is_handled_when_repeated() -> None:
    """The homeserver sends it again: it is a duplicate, but not handled yet."""
    store = FlakyStore()
    world = World(store)
    await world.chatting()
    async with world.running() as engine:
        event = world.event(text="one")
        for again in (Fault.LOST, Fault.LATE):
            store.fail("commit", Fault.BEFORE, again)  # first with its call, then alone
            with pytest.raises(StoreError):
                await engine.accept_events([event])
            await store.write_late()
            await quiet()
            await engine.accept_events([event])
            await quiet()
            event = world.event(text="two")
        store.fail("commit", Fault.BEFORE, Fault.LOST)
        with pytest.raises(StoreError):
            await engine.pushed(ROOM, "p", said("three"))
        await engine.pushed(ROOM, "p", said("three"))
        await quiet()
    assert world.link.texts(ROOM) == ["one", "two"]
    assert world.matrix.texts(ROOM) == ["three"]


@pytest.mark.asyncio
async def test_an_event_that_cannot_be_stored_is_dropped_alone() -> None:
    world = World()
    await world.chatting()
    bad = world.event(text="bad")
    async with world.running() as engine:
        await engine.accept_events(
            [
                world.event(text="one"),
                (bad[0], EventId("$nul\0"), bad[2]),
                (RoomId("!long" + "x" * 5000), EventId("$room"), bad[2]),
                world.event(text="two"),
            ]
        )
        await quiet()
    assert world.link.texts(ROOM) == ["one", "two"]


@pytest.mark.asyncio
async def test_a_push_whose_id_cannot_be_stored_is_handled_once() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        for _ in range(2):
            await engine.pushed(ROOM, "wc:\0", said("one"))
            await quiet()
    assert world.matrix.texts(ROOM) == ["one"]


@pytest.mark.asyncio
async def test_an_event_whose_write_is_refused_is_not_acknowledged() -> None:
    """The database answers, but not with a commit."""

    class Refusing(MemoryStore):
        async def commit(self, commit: Commit) -> Committed:
            raise StoreError("refused")

    world = World(Refusing())
    with pytest.raises(StoreError, match="refused"):
        await world.engine().accept_events([world.event(text="one")])


@pytest.mark.asyncio
async def test_a_start_without_a_database_fails() -> None:
    world = World()
    world.store.down = True
    with pytest.raises(StoreError):
        await world.engine().undone()


# --- the sweep ----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_revived_dead_letter_is_handled_while_the_bridge_runs() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        world.matrix.poison.add("$e1")
        await engine.accept_events([world.event(text="poison")])
        await quiet()
        (letter,) = await dead_letters(world.store)
        world.matrix.poison.clear()
        assert await world.store.revive(letter.id, world.clock.now())
        assert world.link.texts(ROOM) == []
        await world.clock.turn(engines.SWEEP_EVERY)
        assert world.link.texts(ROOM) == ["poison"]
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_a_revived_effect_is_carried_out_once() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", said("one"))
        await quiet()
        first = world.matrix.posted[0].event_id
        (row,) = [row for row in world.store.rows("journal") if row["event_id"] == first]
        world.store.write("UPDATE journal SET outcome = 'dead' WHERE seq = ?", row["seq"])
        assert await world.store.revive(f"o{row['seq']}", world.clock.now())
        await world.clock.turn(engines.SWEEP_EVERY * 3)
        assert len(world.matrix.requests) == 2
        assert world.matrix.texts(ROOM) == ["one"]  # the same transaction id
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_a_call_whose_reply_is_a_dead_letter_does_not_count_as_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Handling a refusal raised: the customer is told once the dead letter is revived."""
    world = World()
    await world.chatting()
    world.link.answers.append(Reply(110, -17))
    with monkeypatch.context() as broken:
        broken.setattr(server, "replied", None)
        async with world.running() as engine:
            await engine.accept_events([world.event(text="one")])
            await quiet()
    (letter,) = await dead_letters(world.store)
    async with world.running() as engine:
        await engine.accept_events([world.event(text="two")])
        await quiet()
        assert (await world.stored()).read_up_to is None
        assert await world.store.revive(letter.id, world.clock.now())
        await world.clock.turn(engines.SWEEP_EVERY)
        assert [one.reply_to for one in world.matrix.posted if one.text != "🔁"] == ["$e1"]
    assert world.link.texts(ROOM) == ["one", "two"]
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_sweeps_without_a_database_log_no_warning() -> None:
    """Health and refused transactions tell of the outage; sweeps would repeat it every 3 s."""
    store = FlakyStore()
    world = World(store)
    async with world.running():
        store.fail("busy_rooms", *[Fault.BEFORE] * 3)
        with capture_logs() as logs:
            await world.clock.turn(engines.SWEEP_EVERY * 3)
    assert [line["log_level"] for line in logs] == ["debug"] * 3


@pytest.mark.asyncio
async def test_the_sweep_skips_rooms_at_work() -> None:
    store = FlakyStore()
    world = World(store)
    await world.chatting()
    async with world.running() as engine:
        world.link.gate.clear()
        await engine.accept_events([world.event(text="slow")])
        await world.clock.turn(20)  # messages missed while away have been asked for
        store.calls.clear()
        await world.clock.turn(engines.SWEEP_EVERY * 4)
        assert [one for one in store.calls if one != "written_beside"] == ["busy_rooms"] * 4
        store.fail("busy_rooms", Fault.BEFORE)
        world.link.gate.set()
        await world.clock.turn(engines.SWEEP_EVERY * 2)
    assert world.link.texts(ROOM) == ["slow"]


@pytest.mark.asyncio
async def test_an_order_written_by_a_command_line_is_handled_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also in a room at work, which the sweep would skip."""
    world = World()
    await world.chatting()
    beside = False

    async def written_beside() -> bool:
        return beside

    monkeypatch.setattr(world.store, "written_beside", written_beside)
    async with world.running() as engine:
        world.link.gate.clear()
        await engine.accept_events([world.event(text="slow")])
        await world.clock.turn(20)  # messages missed while away have been asked for
        order = NewInput(ROOM, dump_input(Order("operator", "cli", "lang ja")), "order:1")
        await flow.accept(world.writing, [order], world.clock.now())
        await world.clock.turn(engines.LISTEN_EVERY)
        assert (await world.stored()).settings.language is None
        beside = True
        await world.clock.turn(engines.LISTEN_EVERY)
        assert (await world.stored()).settings.language == "ja"
        world.link.gate.set()
        await quiet()
    assert world.link.texts(ROOM) == ["slow"]


@pytest.mark.asyncio
async def test_an_order_written_while_the_bridge_starts_is_handled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even if the first query for it fails."""
    store = FlakyStore()
    world = World(store)
    await world.chatting()
    version = 1
    seen: int | None = None

    async def written_beside() -> bool:
        nonlocal seen
        former, seen = seen, version
        return former is not None and former != version

    monkeypatch.setattr(store, "written_beside", written_beside)
    async with world.running():  # unfinished work has been read
        order = NewInput(ROOM, dump_input(Order("operator", "cli", "lang ja")), "order:1")
        await flow.accept(world.writing, [order], world.clock.now())
        version = 2
        store.fail("busy_rooms", Fault.BEFORE)
        await world.clock.turn(engines.LISTEN_EVERY)
        await world.clock.turn(engines.LISTEN_EVERY)
        assert (await world.stored()).settings.language == "ja"


# --- time ---------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_deadlines_from_before_the_start_fire() -> None:
    world = World()
    now = world.clock.now()
    end = now + 5000
    leaving = Queued(QueueId(1), now, RequestId(1), heard_at=now, cancel_by=end)
    await world.record(ROOM, leaving, end)
    async with world.running():
        await world.clock.turn(4.9)
        assert isinstance((await world.stored()).conversation.phase, Queued)
        await world.clock.turn(0.2)
        assert isinstance((await world.stored()).conversation.phase, Idle)
        assert "queue.cancelled" in world.matrix.texts(ROOM)


@pytest.mark.asyncio
async def test_an_outdated_deadline_does_no_harm() -> None:
    """The room is woken, finds nothing due, writes nothing, and is woken again when it is."""
    store = FlakyStore()
    world = World(store)
    now = world.clock.now()
    phase = Queued(QueueId(1), now, RequestId(1), heard_at=now)
    await world.record(ROOM, phase, now + 1000)
    async with world.running() as engine:
        await world.clock.turn(2)  # a record of another version may be brought up to date
        store.calls.clear()
        engine.timetable.add(ROOM, world.clock.now())
        await world.clock.turn(2)
        assert "commit" not in store.calls
        await world.clock.turn(QUEUE_SILENCE / 1000)
        assert [type(call.command).__name__ for call in world.link.calls] == ["RequestChat"]


# --- resting --------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_rooms_at_rest_beyond_the_cache_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "KEPT_ROOMS", 3)
    world = World()
    rooms = [RoomId(f"!{number}") for number in range(8)]
    for room in rooms:
        await world.record(room, Idle())
    async with world.running() as engine:
        for turn in range(2):
            for room in rooms:
                await engine.accept_events(
                    [world.event("react", text=f"{room} {turn}", room_id=room)]
                )
                await quiet()
        assert list(engine._rooms) == rooms[-3:]


@pytest.mark.asyncio
async def test_rooms_with_a_chat_are_never_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise each of their messages would need a read."""
    monkeypatch.setattr(engines, "KEPT_ROOMS", 3)
    store = FlakyStore()
    world = World(store)
    rooms = [RoomId(f"!{number}") for number in range(8)]
    for room in rooms:
        await world.chatting(room)
    async with world.running() as engine:
        for turn in range(2):
            store.calls.clear()
            for room in rooms:
                await engine.accept_events([world.event(text=f"{room} {turn}", room_id=room)])
                await quiet()
            assert "load" not in store.calls
        assert set(engine._rooms) == set(rooms)
        # Memory: with few attributes, the instances share one list of attribute names.
        assert {sys.getsizeof(vars(one)) < 350 for one in engine._rooms.values()} == {True}
    for room in rooms:
        assert world.link.texts(room) == [f"{room} 0", f"{room} 1"]


@pytest.mark.asyncio
async def test_a_repetition_of_what_waits_needs_no_read() -> None:
    """A server repeats all that it has no receipt for, which is most while much waits."""
    store = FlakyStore()
    world = World(store)
    await world.chatting()
    async with world.running() as engine:
        world.matrix.gate.clear()
        event = world.event(text="two")
        await engine.accept_events([world.event(text="!wc queue set 1")])
        await engine.accept_events([event])
        await quiet()
        store.calls.clear()
        assert await engine.accept_events([event]) == 0
        world.matrix.gate.set()
        await quiet()
        assert world.link.texts(ROOM) == ["two"]
        assert "load" not in store.calls
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_rooms_do_not_wait_for_one_another() -> None:
    world = World()
    await world.chatting()
    await world.chatting(OTHER)
    async with world.running() as engine:
        world.matrix.gate.clear()
        await engine.pushed(ROOM, "p", said("held up"))
        await quiet()
        await engine.accept_events([world.event(text="free", room_id=OTHER)])
        await quiet()
        assert world.link.texts(OTHER) == ["free"]
        world.matrix.gate.set()
        await quiet()
    assert world.matrix.texts(ROOM) == ["held up"]


@pytest.mark.asyncio
async def test_a_key_wakes_a_room_only_if_it_waits_for_one() -> None:
    store = FlakyStore()
    world = World(store)
    await world.chatting()
    async with world.running() as engine:
        engine.key_arrived(OTHER)
        await quiet()
        store.calls.clear()
        engine.key_arrived(ROOM)
        await quiet()
        assert store.calls == []
        engine.signal(ROOM, LinkRestored())
        await quiet()
        assert all(row["body"] is None for row in store.rows("journal"))
    assert (await world.writing.load(OTHER)).room is None


def test_spawn_fails_unless_the_engine_runs() -> None:
    async def nothing() -> None:
        """Never started."""

    with pytest.raises(RuntimeError, match="is not running"):
        World().engine().spawn(nothing())


@pytest.mark.asyncio
async def test_a_requested_callback_survives_a_restart() -> None:
    """No agent is online, the process ends; the next one requests again, and an agent accepts."""
    world = World()
    await world.record(ROOM, Idle())
    world.link.answers.append(Reply(FrameType.REQUEST_CHAT, -5))
    async with world.running() as engine:
        await engine.accept_events([world.event(text="hello")])
        await quiet()
        await engine.accept_events([world.event(text="!wc callback")])
        await quiet()
    before = len(world.matrix.posted)
    first = world.rules.policy.callback_first / 1000
    async with world.running() as engine:
        await world.clock.turn(first + 1)
        commands = [type(call.command).__name__ for call in world.link.calls]
        assert commands[:2] == ["RequestChat", "RequestChat"]
        assert len(world.matrix.posted) == before
        await engine.pushed(ROOM, "p", Received(ChatStarted(SESSION, (MEI,))))
        await quiet()
        await world.clock.turn(10)
    assert world.matrix.texts(ROOM)[before:] == ["queue.joined", "chat.started"]
    assert (await world.stored()).conversation.callback is None


# --- faults in the bridge's own code --------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_exception_after_the_commit_of_one_room_harms_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its commit is durable: the room is read anew, and the others of the group go on."""
    world = World()
    await world.record(ROOM, Idle())
    await world.chatting(OTHER)
    keep, failures = world.link.keep, [RuntimeError("a fault of ours")]

    def fails_once(account: Account) -> None:
        if account.room_id == ROOM and failures:
            raise failures.pop()
        keep(account)

    async with world.running() as engine:
        monkeypatch.setattr(world.link, "keep", fails_once)
        await engine.accept_events(
            [world.event(text="start"), world.event(text="two", room_id=OTHER)]
        )
        await world.clock.turn(5)
        assert not failures
        assert ROOM in world.link.kept
        await engine.accept_events([world.event(text="three", room_id=OTHER)])
        await quiet()
    assert world.link.texts(OTHER) == ["two", "three"]
    assert await world.nothing_left()
