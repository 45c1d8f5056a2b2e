"""An erasure that has the homeserver redact the room's events, too."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.ids import AgentId, SessionId
from bridge.rooms.erasure import LEAVING
from bridge.rooms.record import EraseRoom
from bridge.webchat.frames import (
    Agent,
    AgentText,
    ChatStarted,
    CloseSession,
    MessageReceived,
    Received,
    SessionClosed,
)
from tests.fakes.clock import quiet
from tests.fakes.house import MEI, ROOM, SESSION, World
from tests.unit.rooms.test_erasure import NEXT, erased, full, of_room, talk
from tests.unit.rooms.visits import ADA, BOT

pytestmark = pytest.mark.asyncio


async def test_events_are_redacted_before_leaving_if_the_bot_may() -> None:
    world = World()
    await full(world)
    world.matrix.level = 50.0
    async with world.running() as engine:
        await talk(world, engine)
        report = await erased(world, engine, ADA, force=True, redact=True)
    assert report.done, report
    assert world.matrix.redacted[0].startswith("$e")
    assert len(world.matrix.redacted) == 2  # Ada's, and the agent's answer
    left_at, taken_at = (
        next(n for n, one in enumerate(world.matrix.requests) if one.startswith(kind))
        for kind in (f"leave {NEXT} {BOT}", "redact ")
    )
    assert taken_at < left_at


async def test_a_message_being_posted_during_an_erasure_is_redacted_too() -> None:
    world = World()
    await full(world)
    world.matrix.level = 50.0
    async with world.running() as engine:
        world.matrix.gate.clear()
        word = MessageReceived(SESSION, MEI.id, AgentText("my word: giraffe"))
        await engine.pushed(ROOM, "late", Received(word))
        await quiet()
        await engine.tell(ROOM, EraseRoom(redact=True), "erase:1")
        await quiet()
        world.matrix.gate.set()
        await world.clock.turn(5)
    (late,) = [one for one in world.matrix.posted if "giraffe" in one.text]
    assert late.event_id in world.matrix.redacted
    assert of_room(world, ROOM) == []


async def test_words_typed_while_the_room_is_redacted_are_redacted_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each in turn: only the room's last notice says that everything is being erased."""
    world = World()
    await full(world)
    world.matrix.level = 50.0
    redact, typed = world.matrix.redact, list[str]()

    async def interrupted(*args: Any) -> None:
        if len(typed) < 3:
            word = world.event(text="my zebra", room_id=NEXT, sender=ADA)
            typed.append(word[1])
            await engine.accept_events([word])
        await redact(*args)

    monkeypatch.setattr(world.matrix, "redact", interrupted)
    async with world.running() as engine:
        await talk(world, engine)
        assert (await erased(world, engine, ADA, force=True, redact=True)).done
    assert len(typed) == 3
    assert {*typed} <= {*world.matrix.redacted}
    assert len(world.matrix.redacted) == 2 + 3
    assert of_room(world, ROOM) == []


async def test_ghosts_of_every_chat_redact_their_messages() -> None:
    """The record names agents of the newest chats only; nobody may redact others' events."""
    world = World()
    await full(world)
    agents = (MEI, Agent(AgentId("K2"), "Jun"), Agent(AgentId("K3"), "Kim"))
    async with world.running() as engine:
        await talk(world, engine)
        await engine.pushed(ROOM, "end", Received(SessionClosed(SESSION, MEI.id)))
        await quiet()
        for number, agent in enumerate(agents[1:], 6):
            session = SessionId(number)
            await engine.accept_events([world.event(text="again", room_id=NEXT, sender=ADA)])
            await quiet()
            for push in (
                ChatStarted(session, (agent,)),
                MessageReceived(session, agent.id, AgentText(f"elephant {number}")),
                SessionClosed(session, agent.id),
            ):
                await engine.pushed(ROOM, f"{number} {type(push).__name__}", Received(push))
                await quiet()
        assert (await erased(world, engine, ADA, redact=True)).done
    ghosts = {world.matrix.ghost_of(one) for one in agents}
    said = [one for one in world.matrix.posted if one.sender in ghosts]
    assert {one.sender for one in said} == ghosts
    assert {one.event_id for one in said} <= {*world.matrix.redacted}


async def test_an_erasure_waits_longer_than_a_minute_for_many_redactions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Synapse takes 20 ms for each; afterwards the room is told, and left."""
    world = World()
    await full(world)
    world.matrix.level = 50.0
    redact = world.matrix.redact

    async def slowly(*args: Any) -> None:
        await world.clock.sleep(20)
        await redact(*args)

    monkeypatch.setattr(world.matrix, "redact", slowly)
    async with world.running() as engine:
        for number in range(4):
            await talk(world, engine, word=f"elephant {number}")
        assert not (await erased(world, engine, ADA, force=True, redact=True)).done
        assert (await erased(world, engine, ADA, force=True, redact=True)).done
    assert len(world.matrix.redacted) == 8
    assert "room.erased" in world.matrix.texts(NEXT)
    assert f"leave {NEXT} {BOT}" in world.matrix.requests
    assert of_room(world, ROOM) == []


async def test_a_bridge_that_was_down_for_long_still_redacts_leaves_and_ends_the_chat() -> None:
    """The time for that begins anew: else the room was erased before its effects could be."""
    world = World()
    await full(world)
    world.matrix.level = 50.0
    async with world.running() as engine:
        await talk(world, engine)
        world.matrix.gate.clear()
        world.link.gate.clear()
        await engine.tell(ROOM, EraseRoom(redact=True), "erase:1")
        await quiet()
    await world.clock.turn(2 * LEAVING / 1000)
    world.matrix.gate.set()
    world.link.gate.set()
    async with world.running():
        await world.clock.turn(10)
    assert len(world.matrix.redacted) == 2
    assert "room.erased" in world.matrix.texts(NEXT)
    assert f"leave {NEXT} {BOT}" in world.matrix.requests
    assert isinstance(world.link.calls[-1].command, CloseSession)
    assert of_room(world, ROOM) == []
