"""Engines that share one database: each serves some rooms, and any accepts input for all."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from bridge.config.model import Limits
from bridge.conversation.model import LinkLost, LinkRestored, TurnAwaited
from bridge.ids import SHARDS, EventId, RoomId, UserId, shard_of
from bridge.rooms.engine import SWEEP_SHARED, Engine
from bridge.rooms.record import Raw
from bridge.rooms.room import Room
from bridge.rooms.store import (
    PASSED,
    Commit,
    Committed,
    Loaded,
    NewInput,
    NotOwned,
    Outcome,
    PassedOn,
    StoreError,
    Unstorable,
)
from bridge.rooms.surroundings import Replacement, Upgrades
from bridge.rooms.visit import Came, Written
from tests.fakes.clock import quiet
from tests.fakes.house import ROOM, World, said
from tests.fakes.store import Fault, FlakyStore
from tests.unit.rooms.visits import RULES

SHARD = shard_of(ROOM)
ALL = set(range(SHARDS))
SEEDS = int(os.environ.get("ORDER_SEEDS", "20"))
_RAISED = (
    "INSERT INTO rooms (room_id, record, live, phase, customer, revision) "  # noqa: S608
    f"VALUES (?, CAST('{{}}' AS BLOB), 0, '', '', {PASSED}) "
    f"ON CONFLICT (room_id) DO UPDATE SET revision = revision + {PASSED}"
)


class Post:
    """Messages between processes: `Others`, as `storage.shards` implements it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.engines: list[Engine] = []
        self.notices: list[PassedOn] = []
        """Notices not delivered yet."""
        self.long = False
        """Whether inputs are too long for a notice."""
        self.typed: list[tuple[RoomId, tuple[UserId, ...]]] = []
        self.trouble: StoreError | None = None

    async def pass_on(self, inputs: Sequence[NewInput], now: int) -> int:
        if self.trouble is not None:
            raise self.trouble
        if any("\0" in (one.key or "") for one in inputs):
            raise Unstorable("NUL")
        new = 0
        for one in inputs:
            answer = await self._world.writing.commit(Commit(one.room_id, now, waiting=[one]))
            if answer.waiting:
                new += 1
                self._world.store._memory.write(_RAISED, (one.room_id,))
                room = (await self._world.store.load(one.room_id)).room
                assert room is not None
                told = PassedOn(one.room_id, room.revision, tuple(answer.waiting))
                self.notices.append(replace(told, inputs=()) if self.long else told)
        return new

    def typing(self, room_id: RoomId, users: Collection[UserId]) -> None:
        self.typed.append((room_id, tuple(users)))

    async def deliver(self) -> None:
        notices, self.notices = self.notices, []
        for engine in self.engines:
            for told in notices:
                engine.stored_elsewhere(told)
        await quiet()


@asynccontextmanager
async def two(world: World) -> AsyncIterator[tuple[Engine, Engine, Post]]:
    """Two engines, the first of which serves all rooms."""
    post = Post(world)
    async with asyncio.TaskGroup() as tasks:
        running = []
        for _ in range(2):
            engine, ready = world.engine(post), asyncio.Event()
            post.engines.append(engine)
            undone = await engine.undone()
            running.append(tasks.create_task(engine.run(undone, ready)))
            await ready.wait()
        one, other = post.engines
        await one.gain(ALL)
        await quiet()
        yield one, other, post
        for engine in post.engines:
            await engine.stop(1)


@pytest.mark.asyncio
async def test_an_input_accepted_by_another_process_is_handled_once_by_the_owner() -> None:
    world = World()
    await world.chatting()
    async with two(world) as (_, other, post):
        event = world.event(text="one")
        assert await other.accept_events([event]) == 1
        assert await other.accept_events([event]) == 0
        assert world.link.texts(ROOM) == []
        await post.deliver()
        assert world.link.texts(ROOM) == ["one"]


@pytest.mark.asyncio
async def test_inputs_are_handled_in_the_order_of_acceptance() -> None:
    """The owner accepts the second before it gets the notice of the first."""
    world = World()
    await world.chatting()
    async with two(world) as (one, other, _):
        await one.accept_events([world.event(text="zero")])
        await quiet()
        await other.accept_events([world.event(text="one")])
        await one.accept_events([world.event(text="two")])
        await quiet()
        assert world.link.texts(ROOM) == ["zero", "one", "two"]


@pytest.mark.asyncio
@pytest.mark.parametrize("missed", [0, 1])
async def test_an_input_carried_by_the_notice_needs_no_read(
    missed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a notice was missed, or an input is too long for it, the room is read."""
    world = World()
    await world.chatting()
    async with two(world) as (one, other, post):
        await one.accept_events([world.event(text="zero")])
        await quiet()
        read: list[RoomId] = []
        load = world.store.load

        async def loading(room_id: RoomId) -> Loaded:
            read.append(room_id)
            return await load(room_id)

        await other.accept_events([world.event(text="one")])
        await other.accept_events([world.event(text="two"), world.event(text="three")])
        notices = post.notices[missed:]
        post.notices = notices[:]
        monkeypatch.setattr(world.store, "load", loading)
        await post.deliver()
        assert world.link.texts(ROOM) == ["zero", "one", "two", "three"]
        assert bool(read) == bool(missed)
        read.clear()
        post.notices = notices  # once more, and late
        await post.deliver()
        assert read == []
        post.long = True
        await other.accept_events([world.event(text="long")])
        await post.deliver()
        assert world.link.texts(ROOM)[4:] == ["long"]
        assert read
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_a_notice_does_not_overtake_a_step_about_to_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The later event is handled in memory when the notice of the earlier one comes."""
    world = World()
    await world.chatting()
    async with two(world) as (one, other, post):
        await one.accept_events([world.event(text="zero")])
        await quiet()
        await other.accept_events([world.event(text="one")])
        (told,) = post.notices
        take = Room.take

        def taking(room: Room, came: Sequence[Came]) -> Written:
            written = take(room, came)
            one.stored_elsewhere(told)
            return written

        with monkeypatch.context() as patch:
            patch.setattr(Room, "take", taking)
            await one.accept_events([world.event(text="two")])
        await quiet()
        assert world.link.texts(ROOM) == ["zero", "one", "two"]
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_a_notice_that_comes_during_a_commit_needs_no_read() -> None:
    """With much open work a read takes longer than the next notice does to come."""
    world = World(FlakyStore())
    assert isinstance(world.store, FlakyStore)
    await world.chatting()
    async with two(world) as (one, other, post):
        await one.accept_events([world.event(text="zero")])
        await quiet()
        world.store.gate.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(one.accept_events([world.event(text="one")]))
            await quiet()
            await other.accept_events([world.event(text="two")])
            await post.deliver()
            world.store.calls.clear()
            world.store.gate.set()
        await quiet()
        assert world.link.texts(ROOM) == ["zero", "one", "two"]
        assert "load" not in world.store.calls
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_a_notice_that_comes_while_the_room_is_read_needs_no_other_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else no step is ever made if notices come faster than the room can be read."""
    world = World()
    await world.chatting()
    async with two(world) as (one, other, post):
        await other.accept_events([world.event(text="zero")])
        await post.deliver()
        reads, load = 0, world.store.load

        async def loading(room_id: RoomId) -> Loaded:
            nonlocal reads
            reads += 1
            loaded = await load(room_id)
            if reads > 3:
                return loaded
            monkeypatch.setattr(world.store, "load", load)
            await other.accept_events([world.event(text=f"during {reads}")])
            monkeypatch.setattr(world.store, "load", loading)
            one.stored_elsewhere(post.notices.pop())
            return loaded

        monkeypatch.setattr(world.store, "load", loading)
        one.reload_shards(ALL)
        await quiet()
        assert reads == 1
        assert world.link.texts(ROOM) == ["zero", "during 1"]
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_an_event_that_comes_while_the_room_is_read_overtakes_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An earlier one is stored after the read, and its notice comes late.

    Nothing is written meanwhile: the record in memory may hold what a failed commit discarded.
    """
    world = World(FlakyStore())
    assert isinstance(world.store, FlakyStore)
    calls = world.store.calls
    await world.chatting()
    async with two(world) as (one, other, post), asyncio.TaskGroup() as tasks:
        load = world.store.load

        async def loading(room_id: RoomId) -> Loaded:
            monkeypatch.setattr(world.store, "load", load)
            loaded = await load(room_id)
            await other.accept_events([world.event(text="one")])
            calls.clear()
            tasks.create_task(one.accept_events([world.event(text="two")]))
            await quiet()
            assert "commit" not in calls
            return loaded

        monkeypatch.setattr(world.store, "load", loading)
        one.reload_shards(ALL)
        await quiet()
        await quiet()  # the first may end during the read
        assert world.link.texts(ROOM) == ["one", "two"]
        await post.deliver()
        assert world.link.texts(ROOM) == ["one", "two"]
    assert await world.nothing_left()


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_texts_keep_their_order_however_late_the_notices_come(seed: int) -> None:
    """A homeserver sends the next event once one is stored, to any of the processes."""
    dice = random.Random(seed)  # noqa: S311 - a test's dice
    rules = replace(RULES, limits=Limits(messages_per_minute=100))
    world = World(FlakyStore(lambda _: dice.choice([Fault.NONE, Fault.SLOW])), rules)
    await world.chatting()
    texts, pushes = [f"text {number}" for number in range(30)], 0
    async with two(world) as (one, other, post), asyncio.TaskGroup() as tasks:
        for text in texts:
            post.long = dice.random() < 0.1
            event = world.event(text=text)
            if dice.random() < 0.3:
                event[-1]["thread"] = "$root"  # has to be looked up
            await dice.choice([one, other]).accept_events([event])
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)
                for _ in range(dice.randrange(3)):
                    if post.notices:
                        one.stored_elsewhere(post.notices.pop(0))
                if dice.random() < 0.1:
                    one.reload_shards(ALL)
                if dice.random() < 0.2:
                    pushes += 1
                    tasks.create_task(one.pushed(ROOM, f"p{pushes}", said(f"push {pushes}")))
        for _ in range(100):
            await post.deliver()
            await world.clock.turn(0.1)
        assert world.link.texts(ROOM) == texts
        assert len(world.matrix.texts(ROOM)) == pushes


@pytest.mark.asyncio
async def test_inputs_stored_elsewhere_meanwhile_outdate_no_step() -> None:
    """In a busy room, nearly every step would be made again, after another read."""
    world = World(FlakyStore())
    assert isinstance(world.store, FlakyStore)
    await world.chatting()
    async with two(world) as (one, other, post):
        await one.accept_events([world.event(text="zero")])
        await quiet()
        for text in ("one", "two", "three"):
            await other.accept_events([world.event(text=text)])
        world.store.calls.clear()
        first, second, third = post.notices
        one.stored_elsewhere(first)
        await quiet()
        await one.pushed(ROOM, "p", said("from the agent"))
        await quiet()
        assert world.matrix.texts(ROOM) == ["from the agent"]
        assert world.link.texts(ROOM) == ["zero", "one"]
        one.stored_elsewhere(second)
        one.stored_elsewhere(third)
        await quiet()
        assert world.link.texts(ROOM) == ["zero", "one", "two", "three"]
        assert "load" not in world.store.calls
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_a_room_whose_row_was_erased_meanwhile_starts_anew() -> None:
    """As by a command line while no process was connected to the database."""
    world = World()
    await world.chatting()
    async with two(world) as (one, _, _):
        await one.accept_events([world.event(text="one")])
        await quiet()
        for table in ("rooms", "journal"):
            world.store.write(f"DELETE FROM {table}")  # noqa: S608 - our own
        one.reload_shards(ALL)
        await quiet()
        assert world.link.kept == set()
        await one.accept_events([world.invitation()])
        await quiet()
        assert (await world.stored()).customer
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_encryption_is_told_at_once_of_members_who_left() -> None:
    """Even if the room handles the event later."""
    world = World()
    await world.chatting()
    async with two(world) as (one, other, post):
        await one.accept_events([world.event(text="one")])
        await quiet()
        left, says = world.event("gone", state_key="@eve:example.org"), world.event(text="two")
        await other.accept_events([says, left])
        world.matrix.told.clear()
        for told in post.notices:
            one.stored_elsewhere(told)
        assert world.matrix.told == [left[1]]
        await quiet()
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_a_new_room_is_created_by_its_owner() -> None:
    """Only its inputs are stored before."""
    world = World()
    async with two(world) as (_, other, post):
        await other.accept_events([world.invitation()])
        await post.deliver()
        await quiet()
        assert (await world.stored()).customer
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_an_input_whose_notice_was_lost_is_found_by_the_sweep() -> None:
    world = World()
    await world.chatting()
    async with two(world) as (_, other, post):
        await other.accept_events([world.event(text="one")])
        post.notices.clear()
        await world.clock.turn(SWEEP_SHARED)
        await quiet()
        assert world.link.texts(ROOM) == ["one"]


@pytest.mark.asyncio
async def test_a_shard_is_handed_over_once_its_calls_have_ended() -> None:
    world = World()
    await world.chatting()
    async with two(world) as (one, other, post):
        world.link.gate.clear()
        await one.accept_events([world.event(text="one")])
        await quiet()
        async with asyncio.TaskGroup() as tasks:
            handing = tasks.create_task(one.hand_over(SHARD, 10))
            await asyncio.sleep(0.05)
            assert not handing.done()
            await one.accept_events([world.event(text="two")])  # stored for the next owner
            world.link.gate.set()
        assert world.link.kept == set()
        assert not world.matrix.ours(ROOM)
        await one.accept_events([world.event(text="three")])  # no longer its room
        assert [told.room for told in post.notices] == [ROOM]
        assert world.link.texts(ROOM) == ["one"]
        await other.gain([SHARD])
        await quiet()
        assert world.matrix.ours(ROOM)
        assert world.link.kept == {ROOM}
    assert world.link.texts(ROOM) == ["one", "two", "three"]
    assert not any(row.repeat for row in await world.open_rows())
    assert world.counts.settled_rows.count(("webchat", Outcome.DELIVERED)) == 3


@pytest.mark.asyncio
async def test_rooms_that_could_not_be_handed_over_are_served_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody else has the lock: `Replica` gains the shard again."""
    world = World()
    await world.chatting()
    async with two(world) as (one, _, _):
        with monkeypatch.context() as patch:
            patch.setattr(Room, "finish", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await one.hand_over(SHARD, 10)
        await one.gain([SHARD])
        await one.accept_events([world.event(text="one")])
        await quiet()
        assert world.link.texts(ROOM) == ["one"]
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_an_outcome_is_kept_after_another_process_stored_an_input() -> None:
    """No step of the old owner can be written then, yet no message is sent twice."""
    world = World()
    await world.chatting()
    async with two(world) as (one, other, post):
        world.link.gate.clear()
        await one.accept_events([world.event(text="one")])
        await quiet()
        await other.accept_events([world.event(text="two")])
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(one.hand_over(SHARD, 10))
            await asyncio.sleep(0.05)
            world.link.gate.set()
        post.notices.clear()
        await other.gain([SHARD])
        await quiet()
    assert world.link.texts(ROOM) == ["one", "two"]
    assert await world.nothing_left()


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["impatient", "lost"])
async def test_an_unfinished_call_is_uncertain_for_the_next_owner(how: str) -> None:
    world = World()
    await world.chatting()
    async with two(world) as (one, other, _):
        world.link.gate.clear()
        await one.accept_events([world.event(text="one")])
        await quiet()
        world.matrix.ours = {ROOM}.__contains__
        if how == "lost":
            one.lose(ALL)
        else:
            await one.hand_over(SHARD, 0)
        world.link.gate.set()
        await quiet()
        assert world.link.kept == set()
        assert not world.matrix.ours(ROOM)
        await other.gain([SHARD])
        await quiet()
    assert world.link.texts(ROOM) == ["one", "one"]  # the second with the same call id, and marked
    assert len({call.call_id for call in world.link.calls}) == 1
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_inputs_of_a_lost_room_are_stored_for_the_next_owner() -> None:
    world = World(FlakyStore())
    assert isinstance(world.store, FlakyStore)
    await world.chatting()
    async with two(world) as (one, other, post):
        await one.accept_events([world.event(text="one")])
        await quiet()
        world.store.gate.clear()
        async with asyncio.TaskGroup() as tasks:
            accepting = tasks.create_task(one.accept_events([world.event(text="two")]))
            await quiet()
            one.lose(ALL)
            assert await accepting in {0, 1}  # its commit may have happened
        world.store.gate.set()
        await other.gain([SHARD])
        await post.deliver()
    assert world.link.texts(ROOM) == ["one", "two"]


@pytest.mark.asyncio
async def test_pushes_of_closing_links_are_stored_for_the_next_owner() -> None:
    world = World()
    await world.chatting()
    async with two(world) as (one, other, post):
        one.lose(ALL)
        await one.pushed(ROOM, "p", said("from the agent"))
        one.signal(ROOM, LinkRestored())
        one.signal(ROOM, LinkLost())
        one.signal(ROOM, TurnAwaited(3))
        await world.clock.turn(120)
        await quiet()
        assert world.matrix.texts(ROOM) == []
        await other.gain([SHARD])
        await post.deliver()
        # Two minutes without an owner, and no history tells what was sent then.
        assert world.matrix.texts(ROOM) == ["from the agent", "outage.unsure"]


@pytest.mark.asyncio
async def test_typing_is_passed_on_to_the_owner() -> None:
    world = World()
    await world.chatting()
    async with two(world) as (one, other, post):
        await one.accept_events([world.event(text="one")])
        await quiet()
        users = [UserId("@ada:example.org")]
        other.typing(ROOM, users)
        assert post.typed == [(ROOM, tuple(users))]
        one.heard_typing(*post.typed[0])
        await quiet()
        assert [room for room, _ in world.link.hints] == [ROOM]


@pytest.mark.asyncio
async def test_shards_that_cannot_be_read_are_not_served() -> None:
    world = World(FlakyStore())
    assert isinstance(world.store, FlakyStore)
    async with two(world) as (_, other, _post):
        world.store.fail("busy_rooms", Fault.BEFORE)
        with pytest.raises(StoreError):
            await other.gain([SHARD])
        assert other.shards == set()
        await other.gain([SHARD])
        assert other.shards == {SHARD}


@pytest.mark.asyncio
async def test_an_unstorable_input_is_dropped_and_the_others_passed_on() -> None:
    world = World()
    await world.chatting()
    async with two(world) as (_, other, post):
        room, _, raw = world.event(text="poison")
        events = [world.event(text="one"), (room, "$nul\0", raw), world.event(text="two")]
        assert await other.accept_events(events) == 2  # type: ignore[arg-type]
        post.trouble = StoreError("away")
        with pytest.raises(StoreError):
            await other.accept_events([world.event(text="three")])
        await post.deliver()
        assert world.link.texts(ROOM) == ["one", "two"]


@pytest.mark.asyncio
async def test_a_room_that_another_process_may_have_served_is_read_again() -> None:
    world = World()
    await world.chatting()
    async with two(world) as (one, other, post):
        await one.accept_events([world.event(text="one")])
        await quiet()
        await other.accept_events([world.event(text="two")])
        post.notices.clear()
        one.reload_shards(ALL)
        await quiet()
        assert world.link.texts(ROOM) == ["one", "two"]


@pytest.mark.asyncio
async def test_a_replacement_room_is_known_to_all_processes_once_one_knows_it() -> None:
    world = World()
    await world.chatting()
    new, third = RoomId("!new:example.org"), Upgrades()
    noted = Upgrades()
    await noted.note(world.store, ROOM, new)
    await third.look(world.store, new)
    assert third.stored_id(new) == new  # until somebody has invited the bot
    found = noted.find(new)
    assert found is not None
    await noted.keep(world.store, msgspec.structs.replace(found, ours=True))
    await third.look(world.store, new)
    assert third.stored_id(new) == ROOM
    async with two(world) as (_, other, post):
        other._around.upgrades = Upgrades()  # as in a process that does not know it
        room, event_id, raw = world.event(text="one", room_id=new)
        await other.accept_events([(room, event_id, raw)])
        assert [told.room for told in post.notices] == [ROOM]


@pytest.mark.asyncio
async def test_a_room_erased_by_another_process_has_no_replacement() -> None:
    """An invitation to the new room then starts a room of its own in every process."""
    world, new = World(), RoomId("!new:example.org")
    await world.chatting()
    owner, other = Upgrades(), Upgrades()
    await owner.keep(world.store, Replacement(new, ROOM, ours=True))
    await other.look(world.store, new)
    assert other.stored_id(new) == ROOM
    owner.drop(ROOM)
    await owner.look(world.store, new)  # while its rows are being deleted
    await world.store.eraser.erase_room(ROOM, [ROOM, new], 1, known=0)
    for one in (owner, other):
        await one.look(world.store, new)
        assert one.stored_id(new) == new


@pytest.mark.asyncio
async def test_a_room_is_looked_up_again_if_the_database_did_not_answer() -> None:
    store, new = FlakyStore(), RoomId("!new:example.org")
    noted, late = Upgrades(), Upgrades()
    await noted.note(store, ROOM, new)
    store.fail("fact", Fault.BEFORE)
    with pytest.raises(StoreError):
        await late.look(store, new)
    await late.look(store, new)
    assert late.find(new) == noted.find(new)


@pytest.mark.asyncio
async def test_a_room_that_was_looked_up_before_the_tombstone_is_looked_up_again() -> None:
    """Between homeservers an invitation may come first; a served room is looked up once."""
    world, new = World(), RoomId("!new:example.org")
    await world.chatting()
    noted, late = Upgrades(), Upgrades()
    await late.look(world.store, new)
    await late.look(world.store, ROOM)
    await noted.note(world.store, ROOM, new)
    await late.look(world.store, new)
    assert (found := late.find(new)) is not None
    assert found == noted.find(new)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.store, "fact", None, raising=False)
        await late.look(world.store, ROOM)


@pytest.mark.asyncio
async def test_an_input_for_a_room_just_lost_is_announced_to_its_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it would wait for the owner's sweep, and be handled after later ones."""
    world = World()
    await world.chatting()

    async def refused(commit: Commit) -> Committed:
        raise NotOwned("it is another process's")

    async with two(world) as (one, _, post):
        with monkeypatch.context() as patch:
            patch.setattr(one._around.store, "commit", refused)
            assert await one._store_one(NewInput(ROOM, b"{}", "$late")) == 1
        assert [told.room for told in post.notices] == [ROOM]
        post.notices.clear()


@pytest.mark.asyncio
async def test_encrypted_events_are_opened_by_the_owner_only() -> None:
    """It records what it opened; but every process tells encryption who has left."""
    world = World()
    await world.chatting()
    opened: list[str] = []
    plain = world.matrix.open

    async def noting(raw: Raw, patience: float | None = None, *, ask: bool = True) -> Any:
        opened.append(str(raw.get("type")))
        return await plain(raw, patience, ask=ask)

    async with two(world) as (_, other, post):
        world.matrix.open = noting  # type: ignore[method-assign]
        room_id, event_id, raw = world.event(text="one")
        left = {**raw, "type": "m.room.member", "event_id": "$left"}
        sealed = room_id, event_id, {**raw, "type": "m.room.encrypted"}
        await other.accept_events([sealed, (room_id, EventId("$left"), left)])
        assert opened == ["m.room.member"]
        await post.deliver()
        assert sorted(opened) == ["m.room.encrypted", "m.room.member", "m.room.member"]


@pytest.mark.asyncio
async def test_keys_wake_only_rooms_served_by_the_process() -> None:
    world = World()
    await world.chatting()
    async with two(world) as (one, other, _):
        await one.accept_events([world.event(text="one")])
        for engine in (one, other):
            engine.key_arrived(ROOM)
            engine.key_arrived(None)
        assert not other._rooms
