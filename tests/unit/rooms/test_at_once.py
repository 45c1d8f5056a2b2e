"""What one commit contains: a message with its call, an answer with its consequences."""

from __future__ import annotations

import pytest

from bridge.conversation.history import SETTLING
from tests.fakes import flow
from tests.fakes.clock import quiet
from tests.fakes.house import ROOM, said
from tests.fakes.store import WRITES
from tests.unit.rooms.test_room import flaky_chat


@pytest.mark.asyncio
async def test_a_message_takes_two_commits() -> None:
    """An idle room commits an input with its effects; only the first call is marked separately."""
    world, store = await flaky_chat()
    async with world.running() as engine:
        await world.clock.turn(SETTLING / 1000)  # the history is read
        for text, marks in (("one", ["mark_attempted"]), ("two", [])):
            store.calls.clear()
            await engine.accept_events([world.event(text=text)])
            await quiet()
            written = [name for name in store.calls if name in WRITES]
            assert written == ["commit", *marks, "commit"]
        store.calls.clear()
        await engine.pushed(ROOM, "p", said("three"))
        await quiet()
        assert [name for name in store.calls if name in WRITES] == ["commit", "commit"]
    assert world.link.texts(ROOM) == ["one", "two"]
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_a_call_that_was_marked_from_the_start_is_uncertain_after_a_crash() -> None:
    """It may have been written: it is sent again under its call id, as a repeat."""
    world, store = await flaky_chat()
    async with world.running() as engine:
        await engine.accept_events([world.event(text="one")])
        await quiet()
        world.link.gate.clear()
        await engine.accept_events([world.event(text="two")])
        await quiet()
        (row,) = await flow.open_effects(store, ROOM)
        assert row.attempted is not None
        assert not row.marked
    world.link.gate.set()
    async with world.running():
        await world.clock.turn(5)
    assert world.link.texts(ROOM) == ["one", "two", "two"]
    assert len({call.call_id for call in world.link.calls}) == 2
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_a_call_waits_unmarked_behind_another_and_after_a_silence() -> None:
    world, store = await flaky_chat()
    async with world.running() as engine:
        await engine.accept_events([world.event(text="one")])
        await world.clock.turn(60)
        store.calls.clear()
        await engine.accept_events([world.event(text="two")])
        await quiet()
        assert store.calls.count("mark_attempted") == 1
        await world.clock.turn(60)
        store.calls.clear()
        await engine.accept_events([world.event("file")])
        await quiet()
    assert store.calls.count("mark_attempted") == 1, "an upload is no answer of the socket"


@pytest.mark.asyncio
async def test_a_repeated_push_is_dropped_without_a_refused_commit() -> None:
    """A server repeats a push without receipt; other writes in the commit group do not suffer."""
    world, store = await flaky_chat()
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", said("one"))
        await quiet()
        store.calls.clear()
        await engine.pushed(ROOM, "p", said("one"))
        assert [name for name in store.calls if name in WRITES] == ["commit"]
        await quiet()
    assert world.matrix.texts(ROOM) == ["one"]
