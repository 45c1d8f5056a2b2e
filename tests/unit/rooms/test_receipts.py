"""Read receipts: only for messages that reached the call centre, and not too often."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.history import SETTLING
from bridge.ids import AgentId, EventId, SessionId, UserId
from bridge.rooms.ports import CallFailure, Refused, Unavailable
from bridge.rooms.receipts import FIRST_PAUSE, PAUSE, TRIES, Receipts
from bridge.rooms.record import Membership, RoomRecord
from bridge.rooms.store import Lane
from bridge.webchat.codes import FailureReason
from bridge.webchat.frames import Agent, ChatStarted, Received, Reply, SessionClosed
from tests.fakes.clock import quiet
from tests.fakes.house import MEI, ROOM, SESSION, World
from tests.unit.rooms.visits import BOT

pytestmark = pytest.mark.asyncio
GHOST = UserId(f"@webchat_{MEI.id}:example.org")


def receipts(world: World) -> list[tuple[UserId, EventId]]:
    return [(who, sign) for room, who, sign in world.matrix.signs if isinstance(sign, str)]


async def chat() -> World:
    world = World()
    await world.chatting()
    return world


async def test_no_receipt_before_the_call_centre_has_the_message() -> None:
    world = await chat()
    async with world.running() as engine:
        world.link.gate.clear()
        await engine.accept_events([world.event(text="hello")])
        await quiet()
        assert world.link.texts(ROOM) == ["hello"]
        assert receipts(world) == []
        world.link.gate.set()
        await quiet()
    assert receipts(world) == [(GHOST, "$e1")]


async def test_one_receipt_for_the_newest_message_after_a_pause() -> None:
    world = await chat()
    async with world.running() as engine:
        for number in range(5):
            await engine.accept_events([world.event(text=f"word {number}")])
            await quiet()
        assert receipts(world) == [(GHOST, "$e1")]
        await world.clock.turn(PAUSE + 1)
    assert receipts(world) == [(GHOST, "$e1"), (GHOST, "$e5")]


async def test_receipts_go_on_after_the_clock_was_set_back() -> None:
    world = await chat()
    async with world.running() as engine:
        await engine.accept_events([world.event(text="one")])
        await quiet()
        world.clock._now -= 24 * 3_600_000
        await engine.accept_events([world.event(text="two")])
        await world.clock.turn(PAUSE + 1)
    assert receipts(world) == [(GHOST, "$e1"), (GHOST, "$e2")]


async def test_no_receipt_for_a_refused_message() -> None:
    world = await chat()
    world.link.answers.append(Reply(110, -14))
    async with world.running() as engine:
        await engine.accept_events([world.event(text="bad"), world.event(text="good")])
        await world.clock.turn(3)
    assert receipts(world) == [(GHOST, "$e2")]
    assert [one.reply_to for one in world.matrix.posted if one.text != "🔁"] == ["$e1"]


async def test_no_receipt_for_a_message_of_uncertain_fate() -> None:
    world = await chat()
    world.link.after.extend([CallFailure(FailureReason.NO_ANSWER, certain=False)] * 4)
    async with world.running() as engine:
        await engine.accept_events([world.event(text="doubtful")])
        await world.clock.turn(600)
    assert receipts(world) == []
    assert world.matrix.texts(ROOM)[-2:] == ["undelivered.uncertain\nagain.hint", "🔁"]


async def test_the_bot_gives_the_receipt_if_the_ghost_cannot() -> None:
    world = await chat()
    world.matrix.sign_trouble.append(Refused("M_FORBIDDEN"))
    async with world.running() as engine:
        await engine.accept_events([world.event()])
        await quiet()
    assert receipts(world) == [(BOT, "$e1")]


async def test_a_pre_message_gets_its_receipt_while_queued() -> None:
    """Agents can read it then; a file, which no pre-message can carry, waits."""
    world = World()
    async with world.running() as engine:
        await engine.accept_events([world.invitation()])
        await engine.accept_events([world.event(text="hello")])
        await engine.accept_events([world.event("file")])
        await world.clock.turn(PAUSE + 1)
        assert receipts(world) == [(BOT, "$e2")]
        await engine.pushed(ROOM, "p1", Received(ChatStarted(SESSION, (MEI,))))
        await world.clock.turn(2 * PAUSE + 1)
    assert receipts(world) == [(BOT, "$e2"), (GHOST, "$e3")]


async def test_the_agent_who_joins_gives_the_receipt_for_pre_messages() -> None:
    world = World()
    async with world.running() as engine:
        await engine.accept_events([world.invitation()])
        await engine.accept_events([world.event(text="hello")])
        await world.clock.turn(PAUSE + 1)
        await engine.pushed(ROOM, "p1", Received(ChatStarted(SESSION, (MEI,))))
        await world.clock.turn(PAUSE + 1)
        assert receipts(world) == [(BOT, "$e2"), (GHOST, "$e2")]
        await engine.pushed(ROOM, "p2", Received(SessionClosed(SESSION, MEI.id)))
        await world.clock.turn(PAUSE + 1)
        # The agent of a later chat has read nothing of this one.
        await engine.accept_events([world.event(text="start")])
        await quiet()
        bob = Agent(AgentId("K2"), "Bob")
        await engine.pushed(ROOM, "p3", Received(ChatStarted(SessionId(77), (bob,))))
        await world.clock.turn(PAUSE + 1)
        assert (await world.stored()).conversation.number == 2
    assert receipts(world) == [(BOT, "$e2"), (GHOST, "$e2")]


async def test_no_receipt_before_the_agents_ghost_has_joined() -> None:
    world = World()
    async with world.running() as engine:
        await engine.accept_events([world.invitation()])
        await engine.accept_events([world.event("file")])
        await quiet()
        assert receipts(world) == []
        world.matrix.gate.clear()
        await engine.pushed(ROOM, "p1", Received(ChatStarted(SESSION, (MEI,))))
        await quiet()
        assert receipts(world) == []
        world.matrix.gate.set()
        await quiet()
    assert receipts(world) == [(GHOST, "$e2")]


async def test_a_receipt_is_given_again_after_a_restart() -> None:
    world = await chat()
    world.matrix.sign_trouble.append(Unavailable("away"))
    async with world.running() as engine:
        await engine.accept_events([world.event()])
        await quiet()
        assert receipts(world) == []
    async with world.running():
        await quiet()
    assert receipts(world) == [(GHOST, "$e1")]
    async with world.running():
        await quiet()
    assert receipts(world) == [(GHOST, "$e1")] * 2


async def test_a_failed_receipt_is_retried_a_limited_number_of_times() -> None:
    world = await chat()
    world.matrix.sign_trouble.append(Unavailable("away"))
    async with world.running() as engine:
        await engine.accept_events([world.event()])
        await world.clock.turn(FIRST_PAUSE)
        assert receipts(world) == [(GHOST, "$e1")]
        world.matrix.sign_trouble.extend([Unavailable("away")] * TRIES)
        await engine.accept_events([world.event()])
        await world.clock.turn(600)
        assert receipts(world) == [(GHOST, "$e1")]
        assert not world.matrix.sign_trouble
        await engine.accept_events([world.event()])
        await world.clock.turn(600)
    assert receipts(world) == [(GHOST, "$e1"), (GHOST, "$e3")]


async def test_a_refused_receipt_is_not_retried() -> None:
    world = await chat()
    world.matrix.sign_trouble.extend([Refused("M_FORBIDDEN"), Refused("M_NOT_FOUND")])
    async with world.running() as engine:
        await engine.accept_events([world.event()])
        await world.clock.turn(600)
        assert receipts(world) == []
        await engine.accept_events([world.event()])
        await quiet()
    assert receipts(world) == [(GHOST, "$e2")]


async def test_a_receipt_needs_no_database_row() -> None:
    world = await chat()
    async with world.running() as engine:
        await world.clock.turn(SETTLING / 1000)
        assert {lane for lane, _ in world.counts.settled_rows} == {Lane.ASIDE}, "the history"
        world.counts.settled_rows.clear()
        await engine.accept_events([world.event()])
        await quiet()
        assert await world.open_rows() == []
    assert {lane for lane, _ in world.counts.settled_rows} == {Lane.WEBCHAT}


async def test_no_receipts_in_a_room_that_the_bot_left() -> None:
    world = await chat()
    async with world.running() as engine:
        world.link.gate.clear()
        await engine.accept_events([world.event()])
        await quiet()
        await engine.accept_events([world.event("gone")])
        await quiet()
        world.link.gate.set()
        await quiet()
    assert receipts(world) == []


async def test_an_older_record_read_again_causes_no_receipt() -> None:
    """After a commit counted as lost, the room is read again, perhaps from before it."""
    world = World()
    room = world.engine()._room(ROOM)
    given = Receipts(room)
    before = RoomRecord(ROOM, membership=Membership.JOINED, host=BOT)
    room.durable = msgspec.structs.replace(before, read_up_to=EventId("$1"))
    assert not await given.once()  # no other is due
    assert receipts(world) == [(BOT, "$1")]
    room.durable = before
    assert not given.due
    assert not await given.once()
