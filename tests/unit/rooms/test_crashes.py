"""Crashes at random moments, with a database and a call centre that fail at random.

A customer's message reaches the agent once and in order, or is reported to the customer, or is
repeated and marked so in the ledger. A read receipt is given only for what reached the agent. An
agent's message is in the room exactly once and in order.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from bridge.config.model import Encryption
from bridge.ids import EventId, RoomId
from bridge.rooms.engine import Engine
from bridge.rooms.ports import CallFailure, Unavailable
from bridge.rooms.receipts import PAUSE
from bridge.rooms.record import load_chat
from bridge.rooms.rules import Rules
from bridge.rooms.store import StoreError
from bridge.webchat.codes import FailureReason
from bridge.webchat.frames import SendMessage, Text
from tests.fakes.clock import quiet
from tests.fakes.house import World, said
from tests.fakes.memory import dead_letters
from tests.fakes.store import Fault, FlakyStore
from tests.unit.rooms.visits import BOT, RULES

ROOMS = [RoomId("!one:example.org"), RoomId("!two:example.org")]
NEW = RoomId("!new:example.org")
"""Room that replaces the first one in the test of an upgrade."""
SEEDS = int(os.environ.get("CRASH_SEEDS", "40"))
WORDS = 25
LIVES = 10
"""Number of processes killed before the last one finishes the work."""
PATIENT = RULES.limits.model_copy(update={"messages_per_minute": 100_000})
PATIENT_RULES = msgspec.structs.replace(RULES, limits=PATIENT)


class Fate:
    """Source of random faults."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - a test's dice
        self.over = False

    def store(self, name: str) -> Fault:
        del name
        if self.over:
            return Fault.NONE
        kinds = [Fault.NONE, Fault.SLOW, Fault.BEFORE, Fault.LOST, Fault.LATE]
        return self.dice.choices(kinds, [60, 30, 3, 4, 3])[0]

    async def disturb(self) -> None:
        """Take a few turns of the event loop; the process may be killed in any of them."""
        if not self.over:
            for _ in range(self.dice.randrange(6)):
                await asyncio.sleep(0)

    def trouble(self, world: World) -> None:
        """Have some of the next requests fail."""
        certain = CallFailure(FailureReason.UNREACHABLE, certain=True)
        uncertain = CallFailure(FailureReason.NO_ANSWER, certain=False)
        for chance, failures, failure in (
            (0.004, world.link.before, certain),
            (0.002, world.link.after, uncertain),
            (0.004, world.matrix.trouble, Unavailable("away", 1)),
        ):
            if self.dice.random() < chance:
                failures.append(failure)


class FatefulWorld(World):
    def __init__(self, fate: Fate, rules: Rules = PATIENT_RULES) -> None:
        self.flaky = FlakyStore(fate.store)
        super().__init__(self.flaky, rules)
        self.flaky.turns = fate.dice
        self.matrix.disturb = self.link.disturb = fate.disturb
        self.link.free = lambda: fate.over or fate.dice.random() < 0.5


class Sender:
    """Sends one item after the other, and repeats each until it is accepted."""

    def __init__(self, deliver: Callable[[Engine, int], Awaitable[object]]) -> None:
        self.next = 0
        self._deliver = deliver

    async def go_on(self, engine: Engine, fate: Fate, ready: asyncio.Event) -> None:
        """Send the rest once the engine runs, as the port and the links open after it."""
        await ready.wait()
        while self.next < WORDS:
            await fate.disturb()
            try:
                await self._deliver(engine, self.next)
            except (StoreError, RuntimeError):  # the latter: the engine could not start
                continue
            self.next += 1


def senders(world: World, upgraded_at: int = WORDS) -> list[Sender]:
    """`upgraded_at`: number of the message with which the first room is upgraded to `NEW`."""
    events = {
        room: [[world.event(text=f"word {number}", room_id=room)] for number in range(WORDS)]
        for room in ROOMS
    }
    for transaction in events[ROOMS[0]][upgraded_at + 1 :]:
        (_, event_id, raw) = transaction[0]
        transaction[0] = NEW, event_id, raw | {"room_id": NEW}
    if upgraded_at < WORDS:
        stone = world.event("upgraded", into=NEW, room_id=ROOMS[0])
        events[ROOMS[0]][upgraded_at].append(stone)
        events[ROOMS[0]][upgraded_at + 1].insert(0, world.invitation(NEW))

    def homeserver(room: RoomId) -> Callable[[Engine, int], Awaitable[object]]:
        def deliver(engine: Engine, number: int) -> Awaitable[object]:
            if room == ROOMS[0] and number == upgraded_at:
                world.matrix.replaced.add(room)
            return engine.accept_events(events[room][number])

        return deliver

    def centre(room: RoomId) -> Callable[[Engine, int], Awaitable[object]]:
        return lambda engine, number: engine.pushed(
            room, f"{room} {number}", said(f"answer {number}")
        )

    return [Sender(make(room)) for room in ROOMS for make in (homeserver, centre)]


async def live(world: FatefulWorld, fate: Fate, everybody: list[Sender], turns: int | None) -> None:
    """Run one process; kill it after `turns` of the loop, or let it finish if None."""
    engine, ready = world.engine(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(_start(engine, ready))
        sending = [tasks.create_task(one.go_on(engine, fate, ready)) for one in everybody]
        if turns is None:
            await _until_done(world, everybody)
        else:
            await _for_a_while(world, fate, turns)
        for task in [running, *sending]:
            task.cancel()


async def _start(engine: Engine, ready: asyncio.Event) -> None:
    try:
        undone = await engine.undone()
    except StoreError:  # the process ends, and is restarted
        return
    await engine.run(undone, ready)


async def _for_a_while(world: FatefulWorld, fate: Fate, turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
        fate.trouble(world)
        if fate.dice.random() < 0.02:
            await world.flaky.write_late()
        if fate.dice.random() < 0.02:
            await world.clock.turn(fate.dice.random() * 3)


async def _until_done(world: World, everybody: list[Sender]) -> None:
    for _ in range(200):
        await world.clock.turn(31)
        if await world.nothing_left() and all(one.next == WORDS for one in everybody):
            chats = [(await world.stored(room)).conversation for room in ROOMS]
            if not any(chat.held or chat.outstanding for chat in chats):
                await world.clock.turn(2 * PAUSE + 1)  # until the newest receipt may be given
                return
    pytest.fail("it never comes to rest")


async def marked_repeats(world: World) -> Counter[tuple[RoomId, int]]:
    found: Counter[tuple[RoomId, int]] = Counter()
    for row in world.store.rows("journal"):
        if row["repeat"] and row["call_id"] is not None:
            found[RoomId(row["room_id"]), row["call_id"]] += 1
    return found


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_no_message_is_lost_or_doubled_unmarked_despite_crashes(seed: int) -> None:
    fate = Fate(seed)
    world = FatefulWorld(fate)
    await live_and_die(world, fate, senders(world))
    repeats = await marked_repeats(world)
    for room in ROOMS:
        check_customer(world, room)
        check_agent(world, room, repeats)
        check_receipts(world, room)
        await check_chats(world, room)
    assert await dead_letters(world.store.plain) == []


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_no_message_is_lost_or_doubled_during_a_room_upgrade(seed: int) -> None:
    """The same chat goes on in the new room, whenever the process is killed."""
    fate = Fate(seed)
    world = FatefulWorld(fate)
    await live_and_die(world, fate, senders(world, upgraded_at=seed % (WORDS - 1)))
    repeats = await marked_repeats(world)
    record = await world.stored(ROOMS[0])
    assert (record.matrix_id, record.conversation.number) == (NEW, 1)
    for room in ROOMS:
        check_customer(world, room)
        check_agent(world, room, repeats)
        check_receipts(world, room)
        await check_chats(world, room)
    assert (NEW, BOT) in world.matrix.members
    assert (ROOMS[0], BOT) in world.matrix.reasons
    assert await dead_letters(world.store.plain) == []


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(SEEDS // 4))
async def test_where_encryption_is_demanded_nothing_passes_in_clear(seed: int) -> None:
    """Rooms that chat in clear: each message is answered once, and none is sent or shown."""
    fate = Fate(seed)
    world = FatefulWorld(
        fate,
        msgspec.structs.replace(PATIENT_RULES, encryption=Encryption(allow=False, require=True)),
    )
    await live_and_die(world, fate, senders(world))
    for room in ROOMS:
        assert world.link.texts(room) == []
        offset = ROOMS.index(room) * WORDS + 1
        told = [
            (one.text, one.reply_to)
            for one in world.matrix.posted
            # Told after each restart: this call centre keeps no history.
            if one.room_id == room and one.text != "outage.unsure"
        ]
        wanted: list[tuple[str, EventId | None]] = [("encrypting.not_shown", None)] * WORDS
        wanted += [("encrypting.refused", EventId(f"$e{offset + n}")) for n in range(WORDS)]
        assert Counter(told) == Counter(wanted)
    assert await dead_letters(world.store.plain) == []


async def live_and_die(world: FatefulWorld, fate: Fate, everybody: list[Sender]) -> None:
    """Start chats, run and kill `LIVES` processes, then let the last one finish the work."""
    for room in ROOMS:
        await world.chatting(room)
    for _ in range(LIVES):
        await live(world, fate, everybody, fate.dice.randrange(20, 400))
        if fate.dice.random() < 0.5:
            await world.flaky.write_late()
    fate.over = True
    for failures in (world.link.before, world.link.after, world.matrix.trouble):
        failures.clear()
    await world.flaky.write_late()
    await live(world, fate, everybody, None)
    await quiet()


def places(room: RoomId) -> list[RoomId]:
    """Ids that a room may have had on Matrix: before and after its upgrade."""
    return [room, NEW] if room == ROOMS[0] else [room]


def check_customer(world: World, room: RoomId) -> None:
    relayed = [
        one.text for one in world.matrix.posted if one.room_id in places(room) and one.sender != BOT
    ]
    assert relayed == [f"answer {number}" for number in range(WORDS)]


async def check_chats(world: World, room: RoomId) -> None:
    """Every chat has its row, and the chats in the record equal their rows."""
    rows = await world.store.chats(room, 1_000)
    stored = {row.number: load_chat(row.chat) for row in rows}
    record = await world.stored(room)
    assert list(stored) == list(range(record.conversation.number, 0, -1))
    for chat in record.chats:
        assert stored[chat.number] == chat
    going_on = [number for number, chat in stored.items() if chat.ended is None]
    assert going_on in ([], [record.conversation.number])


def check_receipts(world: World, room: RoomId) -> None:
    """Messages shown as read reached the agent; in the end the newest accepted one is shown."""
    offset = ROOMS.index(room) * WORDS + 1
    heard = set(world.link.texts(room))
    shown = [
        int(sign.removeprefix("$e")) - offset
        for where, _, sign in world.matrix.signs
        if where in places(room) and isinstance(sign, str)
    ]
    assert all(f"word {number}" in heard for number in shown)
    reported = {one.reply_to for one in world.matrix.posted if one.room_id in places(room)}
    taken = [number for number in range(WORDS) if f"$e{number + offset}" not in reported]
    assert shown[-1] == taken[-1]


def check_agent(world: World, room: RoomId, repeats: Counter[tuple[RoomId, int]]) -> None:
    wanted = [f"word {number}" for number in range(WORDS)]
    heard = world.link.texts(room)
    first = list(dict.fromkeys(heard))
    assert first == [word for word in wanted if word in heard], "out of order"
    reported = {one.reply_to for one in world.matrix.posted if one.room_id in places(room)}
    offset = ROOMS.index(room) * WORDS + 1
    for number, word in enumerate(wanted):
        event = EventId(f"$e{offset + number}")
        assert word in heard or event in reported, f"{word} is lost"
    times: Counter[int] = Counter()
    numbers: dict[str, int] = {}
    for call in world.link.calls:
        if call.room_id == room and isinstance(call.command, SendMessage):
            assert isinstance(call.command.content, Text)
            times[call.call_id] += 1
            known = numbers.setdefault(call.command.content.text, call.call_id)
            assert known == call.call_id, "a double under a new number"
    for call_id, count in times.items():
        assert count - 1 <= repeats[room, call_id], "a double that nobody marked"
