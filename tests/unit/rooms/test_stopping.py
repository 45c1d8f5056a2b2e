"""A stop: calls under way end, waiting work is left, and neither is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from bridge.rooms.engine import Engine
from bridge.rooms.ports import Unavailable
from bridge.rooms.record import load_record
from bridge.rooms.store import Outcome
from tests.fakes.clock import quiet
from tests.fakes.house import ROOM, World, said
from tests.unit.rooms.test_room import flaky_chat


@asynccontextmanager
async def at_work(world: World) -> AsyncIterator[tuple[Engine, asyncio.TaskGroup]]:
    """A running engine that the test has to stop."""
    engine, ready = world.engine(), asyncio.Event()
    undone = await engine.undone()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(engine.run(undone, ready))
        await ready.wait()
        yield engine, tasks


@pytest.mark.asyncio
async def test_stop_waits_for_a_call_under_way() -> None:
    world = World()
    await world.chatting()
    async with at_work(world) as (engine, tasks):
        world.link.gate.clear()
        await engine.accept_events([world.event(text="one"), world.event(text="two")])
        await quiet()
        stopping = tasks.create_task(engine.stop(10))
        await quiet()
        assert not stopping.done()
        await engine.accept_events([world.event(text="late")])
        world.link.gate.set()
        await stopping
    assert world.link.texts(ROOM) == ["one"]
    assert ("webchat", Outcome.DELIVERED) in world.counts.settled_rows
    async with world.running():
        pass
    assert world.link.texts(ROOM) == ["one", "two", "late"]


@pytest.mark.asyncio
async def test_stop_does_not_wait_for_an_effect_between_attempts() -> None:
    """It goes on after the next start."""
    world = World()
    await world.chatting()
    async with at_work(world) as (engine, _):
        world.matrix.trouble.append(Unavailable("away", 600))
        await engine.pushed(ROOM, "p", said("one"))
        await quiet()
        assert world.matrix.texts(ROOM) == []
        await engine.stop(3600)
    async with world.running():
        pass
    assert world.matrix.texts(ROOM) == ["one"]


@pytest.mark.asyncio
async def test_stop_writes_an_outcome_that_waits_for_other_writes() -> None:
    world = World()
    await world.chatting()
    async with at_work(world) as (engine, _):
        engine._linger = 60
        await engine.accept_events([world.event(text="one")])
        await quiet()
        assert await world.open_rows()
        await engine.stop(10)
    found = (await world.writing.load(ROOM)).room
    assert found is not None
    assert load_record(found.record).read_up_to == "$e1"


@pytest.mark.asyncio
async def test_stop_gives_up_after_its_patience() -> None:
    world = World()
    await world.chatting()
    async with at_work(world) as (engine, _):
        world.link.gate.clear()
        await engine.accept_events([world.event(text="one")])
        await quiet()
        await engine.stop(0.01)
    (row,) = await world.open_rows()
    assert row.attempted is not None


@pytest.mark.asyncio
@pytest.mark.parametrize("under_way", [False, True])
async def test_pushes_after_the_stop_are_kept_for_the_next_start(under_way: bool) -> None:
    """Links close after the engine, and store what they have read."""
    world = World()
    await world.chatting()
    async with at_work(world) as (engine, _):
        if under_way:
            world.link.gate.clear()
            await engine.accept_events([world.event(text="one")])
            await quiet()
        await engine.stop(0.01)
    await engine.pushed(ROOM, "p", said("late"))
    assert world.matrix.texts(ROOM) == []
    world.link.gate.set()
    async with world.running():
        await world.clock.turn(5)
    assert "late" in world.matrix.texts(ROOM)


@pytest.mark.asyncio
@pytest.mark.parametrize("moment", ["before the answer", "while the next call is stored"])
async def test_a_stop_leaves_no_call_uncertain(moment: str) -> None:
    """No call is marked as attempted unless it goes out: the next start would repeat it."""
    world, store = await flaky_chat()
    async with at_work(world) as (engine, tasks):
        await engine.accept_events([world.event(text="one")])
        await quiet()
        world.link.gate.clear()
        await engine.accept_events([world.event(text="two"), world.event(text="three")])
        await quiet()
        if moment == "before the answer":
            stopping = tasks.create_task(engine.stop(10))
            await quiet()
            world.link.gate.set()
        else:
            store.gate.clear()
            world.link.gate.set()
            await quiet()
            stopping = tasks.create_task(engine.stop(10))
            await quiet()
            store.gate.set()
        await stopping
    for row in await world.open_rows():
        assert row.attempted is None
    async with world.running():
        await quiet()
    assert world.link.texts(ROOM) == ["one", "two", "three"]
    assert ("webchat", Outcome.UNCERTAIN) not in world.counts.settled_rows
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_stop_waits_for_the_answer_to_a_call_without_a_task() -> None:
    """Else each restart under load would leave uncertain calls."""
    world = World()
    await world.chatting()
    async with at_work(world) as (engine, tasks):
        await engine.accept_events([world.event(text="one")])
        await quiet()
        answers: list[Callable[[], None]] = []
        world.link.kept_back = answers
        await engine.accept_events([world.event(text="two")])
        await quiet()
        (answer,) = answers
        stopping = tasks.create_task(engine.stop(10))
        await quiet()
        assert not stopping.done()
        answer()
        await stopping
    assert await world.nothing_left()
    assert ("webchat", Outcome.UNCERTAIN) not in world.counts.settled_rows


@pytest.mark.asyncio
async def test_work_spawned_while_the_engine_ends_is_left_to_the_store() -> None:
    """An exception would replace the cancellation, and the cancelled task would go on."""
    engine, ready, after = World().engine(), asyncio.Event(), asyncio.Event()
    undone = await engine.undone()

    async def works() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            engine.spawn(asyncio.sleep(0))
            after.set()

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(engine.run(undone, ready))
        await ready.wait()
        engine.spawn(works())
        await quiet()
        running.cancel()
    assert after.is_set()
