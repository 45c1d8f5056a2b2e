"""A stop: what is under way ends, what only waits does not, and nothing of either is lost."""

from __future__ import annotations

import asyncio

import pytest

from bridge.rooms.ports import Unavailable
from bridge.rooms.store import Outcome
from tests.fakes.clock import quiet
from tests.fakes.house import ROOM, World, said


@pytest.mark.asyncio
async def test_stop_lets_what_is_under_way_end() -> None:
    world = World()
    await world.chatting()
    engine = world.engine()
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(engine.run(ready))
        await ready.wait()
        world.link.gate.clear()
        await engine.accept_events([world.event(text="one"), world.event(text="two")])
        await quiet()
        stopping = tasks.create_task(engine.stop(10))
        await quiet()
        assert not stopping.done()
        await engine.accept_events([world.event(text="late")])
        world.link.gate.set()
        await stopping
        await running
    assert world.link.texts(ROOM) == ["one"]
    assert ("webchat", Outcome.DELIVERED) in world.counts.settled_rows
    async with world.running():
        pass
    assert world.link.texts(ROOM) == ["one", "two", "late"]


@pytest.mark.asyncio
async def test_stop_does_not_wait_for_what_only_waits() -> None:
    """An effect between two attempts goes on after the next start."""
    world = World()
    await world.chatting()
    engine = world.engine()
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(engine.run(ready))
        await ready.wait()
        world.matrix.trouble.append(Unavailable("away", 600))
        await engine.pushed(ROOM, "p", said("one"))
        await quiet()
        assert world.matrix.texts(ROOM) == []
        await engine.stop(3600)
        await running
    async with world.running():
        pass
    assert world.matrix.texts(ROOM) == ["one"]


@pytest.mark.asyncio
async def test_stop_has_an_end() -> None:
    world = World()
    await world.chatting()
    engine = world.engine()
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(engine.run(ready))
        await ready.wait()
        world.link.gate.clear()
        await engine.accept_events([world.event(text="one")])
        await quiet()
        await engine.stop(0.01)
        await running
    (row,) = await world.open_rows()
    assert row.attempted is not None
