"""Typing notifications go both ways, need no row, and hold nothing up."""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec
import pytest

from bridge.ids import AgentId, EventId, RoomId, SessionId, UserId
from bridge.rooms.engine import Engine
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.receipts import AFRESH, HINT_GAP, LONGEST_TELLING, MOST_HINTS, SHOWN
from bridge.rooms.record import RoomSettings
from bridge.webchat.codes import NoticeType
from bridge.webchat.frames import AgentNotice, MessageReceived, Received, SessionClosed
from tests.fakes.clock import quiet
from tests.fakes.house import MEI, ROOM, SESSION, World, said
from tests.fakes.matrix import FakeMatrix
from tests.fakes.memory import MemoryStore
from tests.unit.rooms.visits import ADA, STRANGER

GHOST = UserId("@webchat_K00017:example.org")
SHOWS = (ROOM, GHOST, SHOWN)
STOPS = (ROOM, GHOST, 0)


def typing(agent: AgentId = MEI.id, session: SessionId = SESSION) -> Received:
    notice = AgentNotice(NoticeType.TYPING, "")
    return Received(MessageReceived(session, agent, notice), rs_id="r-1")


async def types(engine: Engine, *agents: AgentId, room: RoomId = ROOM) -> None:
    for agent in agents or (MEI.id,):
        await engine.pushed(room, "any", typing(agent))
        await quiet()


def signs(world: World) -> list[tuple[RoomId, UserId, float | EventId]]:
    """Typing notifications, without receipts."""
    return [one for one in world.matrix.signs if not isinstance(one[2], str)]


# --- agent to customer --------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_agents_typing_is_shown_and_never_stored() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        rows = len(world.store.rows("journal"))
        await types(engine)
        assert signs(world) == [SHOWS]
        assert len(world.store.rows("journal")) == rows


@pytest.mark.asyncio
async def test_typing_pushed_every_second_is_shown_every_three_seconds() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        for _ in range(7):
            await types(engine)
            await world.clock.turn(1)
        assert signs(world) == [SHOWS] * 3
    assert AFRESH == 3


@pytest.mark.asyncio
async def test_typing_is_shown_after_the_clock_was_set_back() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        await types(engine)
        world.clock._now -= 24 * 3_600_000
        await types(engine)
        await types(engine)
        assert signs(world) == [SHOWS] * 2


@pytest.mark.asyncio
async def test_a_bug_in_showing_typing_ends_nothing_else() -> None:
    world = World()
    await world.chatting()

    async def show_typing(room_id: RoomId, who: UserId, seconds: float) -> None:
        raise KeyError(who)

    world.matrix.show_typing = show_typing  # type: ignore[method-assign]
    async with world.running() as engine:
        await types(engine)
        await engine.accept_events([world.event(text="hello")])
        await quiet()
    assert world.link.texts(ROOM) == ["hello"]


@pytest.mark.asyncio
async def test_typing_ends_with_the_agents_message() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        await types(engine)
        await engine.pushed(ROOM, "1", said("hello"))
        await quiet()
        assert signs(world) == [SHOWS, STOPS]
        await engine.pushed(ROOM, "2", said("again"))
        await quiet()
        await types(engine)
        await world.clock.turn(SHOWN)
        await engine.pushed(ROOM, "3", said("it has ended by itself"))
        await quiet()
        assert signs(world) == [SHOWS, STOPS, SHOWS]


@pytest.mark.asyncio
async def test_which_agents_typing_is_shown() -> None:
    """Trap T15: without an agent id the only agent is meant."""
    world = World()
    await world.chatting()
    async with world.running() as engine:
        await engine.pushed(ROOM, "any", typing(session=SessionId(1)))
        await types(engine, AgentId("stranger"))
        assert signs(world) == []
        await types(engine, AgentId(""))
        assert signs(world) == [SHOWS]
        await world.clock.turn(AFRESH)
        await engine.pushed(ROOM, "any", typing(session=SessionId(0)))  # it named none
        await quiet()
        assert signs(world) == [SHOWS, SHOWS]
        await engine.pushed(ROOM, "end", end())
        await world.clock.turn(AFRESH)
        await types(engine)
        assert signs(world) == [SHOWS, SHOWS], "the chat is over"


@pytest.mark.asyncio
async def test_the_first_typing_in_a_room_not_in_memory_is_skipped() -> None:
    world = World()
    async with world.running() as engine:
        await world.chatting()
        await types(engine)
        assert signs(world) == []
        await types(engine)
        assert signs(world) == [SHOWS]


class SlowMatrix(FakeMatrix):
    """A homeserver whose typing requests hang or fail."""

    def __init__(self) -> None:
        super().__init__()
        self.way = asyncio.Event()
        self.failures: deque[Exception] = deque()

    async def show_typing(self, room_id: RoomId, who: UserId, seconds: float) -> None:
        await super().show_typing(room_id, who, seconds)
        if self.failures:
            raise self.failures.popleft()
        await self.way.wait()


@pytest.mark.asyncio
async def test_a_hanging_homeserver_gets_only_the_newest_typing() -> None:
    world = World()
    slow = SlowMatrix()
    world.matrix = slow
    world.around = msgspec.structs.replace(world.around, matrix=slow)
    await world.chatting()
    async with world.running() as engine:
        for _ in range(4):
            await types(engine)
            await world.clock.turn(AFRESH)
        assert signs(world) == [SHOWS]
        await engine.pushed(ROOM, "1", said("not held up"))
        await quiet()
        assert world.matrix.texts(ROOM) == ["not held up"]
        slow.way.set()
        await quiet()
        assert signs(world) == [SHOWS, STOPS]
    assert LONGEST_TELLING < SHOWN


@pytest.mark.asyncio
@pytest.mark.parametrize("failure", [Unavailable("away"), Refused("M_FORBIDDEN"), TimeoutError()])
async def test_a_failed_typing_request_is_forgotten(failure: Exception) -> None:
    world = World()
    slow = SlowMatrix()
    slow.way.set()
    slow.failures.append(failure)
    world.matrix = slow
    world.around = msgspec.structs.replace(world.around, matrix=slow)
    await world.chatting()
    async with world.running() as engine:
        await types(engine)
        await world.clock.turn(AFRESH)
        await types(engine)
        assert signs(world) == [SHOWS, SHOWS]


# --- customer to agent --------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_the_agent_is_told_while_the_customer_types() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        engine.typing(ROOM, [GHOST, ADA])
        await world.clock.turn(2 * HINT_GAP)
        engine.typing(ROOM, [GHOST, ADA])
        await world.clock.turn(1)
        assert world.link.hints == [(ROOM, SESSION)] * 3
        engine.typing(ROOM, [])
        await world.clock.turn(60)
        assert len(world.link.hints) == 3
        engine.typing(ROOM, [ADA])
        await world.clock.turn(3600)
        assert len(world.link.hints) == 3 + MOST_HINTS


@pytest.mark.asyncio
@pytest.mark.parametrize("users", [[], [GHOST], [STRANGER]], ids=["nobody", "ours", "stranger"])
async def test_typing_of_others_than_customers_is_not_told(users: list[UserId]) -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        engine.typing(ROOM, users)
        engine.typing(RoomId("!unknown:example.org"), [ADA])
        await world.clock.turn(30)
        assert world.link.hints == []


@pytest.mark.asyncio
async def test_typing_in_a_paused_room_or_without_a_chat_is_not_told() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        room = engine._room(ROOM)
        record = room.durable
        room.durable = msgspec.structs.replace(record, settings=RoomSettings(paused=True))
        engine.typing(ROOM, [ADA])
        await quiet()
        assert world.link.hints == []
        room.durable = record
        engine.typing(ROOM, [ADA])
        await quiet()
        assert len(world.link.hints) == 1
        await engine.pushed(ROOM, "end", end())
        await world.clock.turn(60)
        assert len(world.link.hints) == 1


def end() -> Received:
    return Received(SessionClosed(SESSION, MEI.id))


@pytest.mark.asyncio
async def test_a_stop_does_not_wait_for_a_customer_who_types() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        engine.typing(ROOM, [ADA])
        await quiet()
        await engine.stop(0.01)
    assert await MemoryStore.busy_rooms(world.store) == []
