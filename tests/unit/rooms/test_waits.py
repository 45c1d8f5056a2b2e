"""Estimates of waiting times, and what is learnt for them."""

from __future__ import annotations

import asyncio
import heapq
import random

import pytest
from msgspec.structs import replace

from bridge.conversation.model import Chatting, Conversation, Idle, Phase, Queued, Requesting
from bridge.ids import QueueId, SessionId
from bridge.rooms import surroundings
from bridge.rooms.store import StoreError
from bridge.rooms.surroundings import FRESH, KNOWN_FROM, SAVE_EVERY, Trace, Waits
from tests.fakes.clock import quiet
from tests.fakes.house import World
from tests.fakes.memory import MemoryStore

QUEUE = QueueId(1)
T0 = 1_733_011_200_000


def chat(*, robot: bool = False) -> Chatting:
    return Chatting(SessionId(5150), 0, QUEUE, robot=robot)


def ended(waits: Waits, old: Phase, new: Phase, now: int) -> None:
    waits.note(Conversation(phase=old), Conversation(phase=new), now)


def waited(waits: Waits, seconds: float, position: int | None = None, at: int = T0) -> None:
    """Note a wait of `seconds` from `position` on that ended with an agent."""
    since = at - round(seconds * 1000)
    place = Queued(QUEUE, since, position=1, first_position=position, first_at=since)
    ended(waits, place, chat(), at)


def place(position: int | None, seconds: float = 0) -> Queued:
    """A queue phase: at `position` for `seconds`."""
    began = T0 - round(seconds * 1000)
    return Queued(QUEUE, began, position=position, moved_at=began)


def test_no_estimate_until_enough_waits_are_known() -> None:
    waits = Waits()
    for _ in range(KNOWN_FROM - 1):
        waited(waits, 120, 1)
    assert waits.expected(place(1), T0) is None
    waited(waits, 120, 1)
    assert waits.expected(place(1), T0) is not None
    assert waits.expected(Queued(QueueId(2), T0, position=1), T0) is None


def test_the_range_grows_with_the_position_and_shrinks_with_the_wait() -> None:
    waits = Waits()
    for seconds in (100, 120, 140, 120, 110, 130):
        waited(waits, seconds, 1)
    one, three, later = (waits.expected(where, T0) for where in (place(1), place(3), place(3, 60)))
    assert one is not None
    assert three is not None
    assert later is not None
    assert 90 < one[0] < 120 < one[1] < 150
    assert three[0] == pytest.approx(3 * one[0])
    assert three[1] == pytest.approx(3 * one[1])
    assert later == (three[0] - 60, three[1] - 60)


def test_an_overdue_customer_gets_an_estimate_of_zero() -> None:
    waits = Waits()
    for _ in range(6):
        waited(waits, 60, 2)
    assert waits.expected(place(1, 600), T0) == (0, 0)


def test_a_queue_without_positions_uses_the_whole_wait() -> None:
    waits = Waits()
    for _ in range(6):
        waited(waits, 300)
    assert waits.expected(place(1), T0) is None
    expected = waits.expected(place(None, 60), T0)
    assert expected is not None
    assert expected[0] < 240 < expected[1]


def test_old_waits_give_no_estimate() -> None:
    waits = Waits()
    for _ in range(6):
        waited(waits, 60, 1, at=T0 - FRESH - 1)
    assert waits.expected(place(1), T0) is None


def test_the_newest_waits_count_most() -> None:
    trace = Trace()
    for _ in range(100):
        trace = trace.with_wait(60)
    for _ in range(30):
        trace = trace.with_wait(600)
    low, high = trace.range()
    assert low < 600 < high
    assert low > 100


def test_waits_that_teach_nothing() -> None:
    waits = Waits()
    standing = Queued(QUEUE, T0 - 60_000, first_position=1, first_at=T0 - 60_000)
    leaving = Queued(QUEUE, T0 - 60_000, cancel_by=T0)
    for old, new in (
        (Idle(), chat()),
        (Requesting(QUEUE, T0 - 60_000), standing),
        (standing, chat(robot=True)),
        (leaving, chat()),
        (standing, Idle()),  # given up, while nothing is known
        (Requesting(QUEUE, T0 - 60_000), Idle()),
    ):
        for _ in range(KNOWN_FROM):
            ended(waits, old, new, T0)
    assert waits.expected(place(1), T0) is None
    assert waits.expected(place(None), T0) is None


def test_an_agent_at_once_counts_as_no_wait() -> None:
    """A request that is a chat before it stands in a queue."""
    waits = Waits()
    for _ in range(KNOWN_FROM):
        ended(waits, Requesting(QUEUE, T0), chat(), T0)
    expected = waits.expected(place(None), T0)
    assert expected is not None
    assert expected[1] < 2


def test_a_customer_who_gave_up_counts_if_they_waited_longer() -> None:
    waits = Waits()
    for _ in range(6):
        waited(waits, 100, 1)
    before = waits.expected(place(1), T0)
    assert before is not None
    ended(waits, Queued(QUEUE, T0 - 50_000, first_position=1, first_at=T0 - 50_000), Idle(), T0)
    assert waits.expected(place(1), T0) == before
    long = Queued(QUEUE, T0 - 900_000, first_position=1, first_at=T0 - 900_000)
    ended(waits, long, Idle(), T0)
    after = waits.expected(place(1), T0)
    assert after is not None
    assert after[1] > before[1]


@pytest.mark.parametrize(("agents", "load"), [(1, 0.8), (3, 0.9), (8, 0.7)])
def test_the_range_holds_most_simulated_waits(agents: int, load: float) -> None:
    """A simulated call centre: the range told at the start holds about two waits in three.

    Chats last 5 minutes on average, from seconds to half an hour; who comes when no agent is
    free waits in a queue.
    """
    dice = random.Random(agents)  # noqa: S311 - a test's dice
    waits, hits, told = Waits(), 0, 0
    now, free = 0.0, [0.0] * agents
    queue: list[float] = []  # when those who still wait will be served
    for _ in range(4000):
        now += dice.expovariate(load * agents / 300)
        queue = [one for one in queue if one > now]
        served = max(heapq.heappop(free), now)
        heapq.heappush(free, served + dice.expovariate(1 / 300))
        if served <= now:
            continue
        position, wait = len(queue) + 1, served - now
        queue.append(served)
        began = T0 + round(now * 1000)
        expected = waits.expected(Queued(QUEUE, began, position=position, moved_at=began), began)
        if expected is not None:
            told += 1
            hits += expected[0] <= wait <= expected[1]
        end = began + round(wait * 1000)
        stood = Queued(QUEUE, began, position=1, first_position=position, first_at=began)
        ended(waits, stood, chat(), end)
    assert told > 500
    assert hits / told > 0.6, f"{hits} of {told}"


# --- keeping ------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_learnt_waits_survive_a_restart() -> None:
    store, waits = MemoryStore(), Waits()
    for _ in range(6):
        waited(waits, 100, 1)
    await waits.save(store)
    again = Waits()
    await again.load(store, [QUEUE, QueueId(2)])
    assert again.expected(place(1), T0) == waits.expected(place(1), T0)
    assert await store.fact("waits:2") is None


@pytest.mark.asyncio
async def test_unreadable_waits_are_ignored() -> None:
    store, waits = MemoryStore(), Waits()
    await store.save_fact("waits:1", "nonsense")
    await waits.load(store, [QUEUE])
    assert waits.expected(place(1), T0) is None


class Broken(MemoryStore):
    """A database that fails the first time."""

    failures = 1

    async def save_fact(self, name: str, value: str) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreError("away")
        await super().save_fact(name, value)


@pytest.mark.asyncio
async def test_waits_are_saved_every_half_minute_despite_database_faults() -> None:
    world = World(Broken())
    store, waits, clock = world.store, world.around.waits, world.clock
    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(waits.keep(world.around))
        await quiet()
        waited(waits, 100, 1)
        await clock.turn(SAVE_EVERY)
        assert await store.fact("waits:1") is None
        await clock.turn(SAVE_EVERY)
        first = await store.fact("waits:1")
        assert first is not None
        waited(waits, 200, 1)
        keeping.cancel()
    assert await store.fact("waits:1") != first


class Hung(MemoryStore):
    async def save_fact(self, name: str, value: str) -> None:
        await asyncio.Event().wait()


@pytest.mark.asyncio
async def test_a_stop_does_not_wait_for_a_hung_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "LAST_SAVE", 0.01)
    world = World(Hung())
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(world.around.waits.keep(world.around))
        await quiet()
        waited(world.around.waits, 100, 1)
        keeping.cancel()


@pytest.mark.asyncio
async def test_one_of_several_processes_saves_and_the_others_read() -> None:
    world = World()
    teaching, learning = world.around, replace(world.around, waits=Waits())
    teacher, pupil = teaching.waits, learning.waits
    queues = learning.rules.queues
    learning.rules = replace(learning.rules, queues=())
    async with asyncio.TaskGroup() as tasks:
        tasks_of = [
            tasks.create_task(teacher.keep(teaching)),
            tasks.create_task(pupil.keep(learning, lambda: False)),
        ]
        await quiet()
        learning.rules = replace(learning.rules, queues=queues)  # a reload has added them
        for _ in range(10):
            waited(teacher, 100, 1)
        waited(pupil, 900, 1)
        await world.clock.turn(SAVE_EVERY)
        await world.clock.turn(SAVE_EVERY)
        for task in tasks_of:
            task.cancel()
    assert pupil._learnt == teacher._learnt
