"""Messages that an agent recalls: their redaction, and the notice where that is impossible."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge.conversation.history import mark_of
from bridge.conversation.model import TakeBack
from bridge.ids import AgentId, EffectSeq, EventId, RoomId, UserId
from bridge.rooms.ports import Part, Refused, Unavailable
from bridge.rooms.record import load_record
from bridge.rooms.references import said_by_agent
from bridge.webchat.codes import NoticeType
from bridge.webchat.frames import AgentNotice, AgentText, MessageReceived, Received
from tests.fakes.clock import quiet
from tests.fakes.house import MEI, ROOM, SESSION, World
from tests.fakes.matrix import FakeMatrix
from tests.fakes.memory import dead_letters

pytestmark = pytest.mark.asyncio


def numbered(number: str, text: str = "", *, agent: str = MEI.id) -> Received:
    """A push of the agent: a numbered text, or, without text, the notice that recalls it."""
    notice = AgentNotice(NoticeType.REVOKE_MESSAGE)
    content = AgentText(text) if text else notice
    return Received(MessageReceived(SESSION, AgentId(agent), content, number))


async def test_a_message_recalled_by_its_agent_is_redacted() -> None:
    world = World()
    await world.chatting()
    world.matrix.level = 100
    async with world.running() as engine:
        await engine.pushed(ROOM, "p1", numbered("7", "the price is 12"))
        await engine.pushed(ROOM, "p2", numbered("8", "the price is 21"))
        await quiet()
        wrong = world.matrix.posted[0].event_id
        world.matrix.trouble.append(Unavailable("down"))
        await engine.pushed(ROOM, "p3", numbered("7"))
        await world.clock.turn(1)
        await quiet()
    assert world.matrix.redacted == [wrong]
    assert "chat.recalled" not in world.matrix.texts(ROOM)


@pytest.mark.parametrize(
    ("number", "refused"), [("9", False), ("", False), ("7", True), ("7" * 41, False)]
)
async def test_a_recall_that_cannot_be_carried_out_is_told(number: str, refused: bool) -> None:
    """The number is unknown, missing or too long, or the homeserver refuses the redaction."""
    world = World()
    await world.chatting()
    async with world.running() as engine:
        await engine.pushed(ROOM, "p1", numbered("7" * max(1, len(number)), "the price is 12"))
        await quiet()
        if refused:
            world.matrix.trouble.append(Refused("M_FORBIDDEN", "no"))
        await engine.pushed(ROOM, "p2", numbered(number))
        await quiet()
    assert world.matrix.redacted == []
    assert world.matrix.texts(ROOM)[-1] == "chat.recalled"


class _GhostsLeave(FakeMatrix):
    """The ghosts have left the room, so they may redact nothing in it."""

    async def redact(self, room_id: RoomId, who: UserId, event_id: EventId, txn_id: str) -> None:
        if who == self.ghost_of(MEI):
            raise Refused("M_FORBIDDEN", "not in the room")
        await super().redact(room_id, who, event_id, txn_id)


@pytest.mark.parametrize(("level", "redacted"), [(100, True), (0, False)])
async def test_a_recall_after_the_ghost_has_left_is_left_to_the_bot_or_told_once(
    level: int, redacted: bool
) -> None:
    """A history repeats it at each reconnect."""
    world = World()
    world.matrix = world.around.matrix = _GhostsLeave()
    world.matrix.level = level
    await world.chatting()
    async with world.running() as engine:
        await engine.pushed(ROOM, "p1", numbered("7", "the price is 12"))
        for key in ("p2", "p3", "p4"):
            await engine.pushed(ROOM, key, numbered("7"))
            await quiet()
    assert world.matrix.redacted == [world.matrix.posted[0].event_id] * redacted
    assert world.matrix.texts(ROOM).count("chat.recalled") == (not redacted)
    assert await dead_letters(world.store) == []


def pieces(_: object, fragment: str, absolute: object) -> tuple[AgentText, ...]:
    del absolute
    return tuple(map(AgentText, fragment.split("|")))


async def test_a_recall_after_a_restart_redacts_all_parts_of_the_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rows of the pushes contain the event ids that each became."""
    monkeypatch.setattr(FakeMatrix, "pieces", pieces)
    before = World()
    await before.chatting()
    async with before.running() as engine:
        await engine.pushed(ROOM, "p1", numbered("7", "look:|a.png|there"))
        await engine.pushed(ROOM, "p2", numbered("8", "the price is 21"))
        await quiet()
    wrong = [one.event_id for one in before.matrix.posted[:-1]]
    world = World(before.store)
    world.matrix = world.around.matrix = before.matrix
    async with world.running() as engine:
        for key in ("p3", "p4"):
            await engine.pushed(ROOM, key, numbered("7"))
            await quiet()
    assert (len(wrong), sorted(world.matrix.redacted)) == (3, sorted(wrong)), "and once"
    assert "chat.recalled" not in world.matrix.texts(ROOM)


class _TakesNoPictures(FakeMatrix):
    """Its homeserver refuses a part of a text."""

    pieces = pieces

    async def relay(self, *args: Any, **more: Any) -> tuple[Part, ...]:
        if args[3] == AgentText("a.png"):
            raise Refused("M_BAD_JSON")
        return await super().relay(*args, **more)


async def test_what_was_shown_before_the_rest_was_refused_is_known_and_redacted() -> None:
    """The first part, and the notice instead of the message: also by an erasure."""
    world = World()
    world.matrix = world.around.matrix = _TakesNoPictures()
    await world.chatting()
    world.matrix.level = 100
    async with world.running() as engine:
        await engine.pushed(ROOM, "p1", numbered("7", "look:|a.png|there"))
        await quiet()
        shown = [one.event_id for one in world.matrix.posted]
        assert [letter.why for letter in await dead_letters(world.store)] == ["M_BAD_JSON"]
        assert len(shown) == 2
        assert {*await world.store.eraser.events_of(ROOM)} >= {*shown}
        await engine.pushed(ROOM, "p2", numbered("7"))
        await quiet()
    assert world.matrix.redacted == shown


async def test_a_recall_of_a_message_in_the_replaced_room_redacts_nothing() -> None:
    """The bot has left it. A homeserver may accept such a redaction without any effect."""
    second = RoomId("!second:example.org")
    world = World()
    await world.chatting()
    async with world.running() as engine:
        for key, number in (("p1", "6"), ("p2", "7")):
            await engine.pushed(ROOM, key, numbered(number, "the price is 12"))
        await quiet()
        await engine.pushed(ROOM, "p3", numbered("6"))
        await world.clock.turn(1)
        world.matrix.replaced.add(ROOM)
        await engine.accept_events([world.event("upgraded", into=second)])
        await engine.pushed(ROOM, "p4", numbered("8", "the price is 21"))
        await quiet()
        await engine.accept_events([world.invitation(second)])
        await quiet()
        for number in "6778":
            await engine.pushed(ROOM, f"again {number}", numbered(number))
            await quiet()
    first, _, meanwhile = (one for one in world.matrix.posted if one.text.startswith("the price"))
    assert meanwhile.room_id == second
    assert world.matrix.redacted == [first.event_id, meanwhile.event_id]
    assert world.matrix.texts(second).count("chat.recalled") == 1


async def test_a_history_recalls_messages_without_numbers() -> None:
    """The time tells equal texts apart; an unknown message is told once."""
    world = World()
    await world.chatting()
    async with world.running() as engine:
        for key in ("p1", "p2", "p3"):
            await engine.pushed(ROOM, key, numbered("", "12 yuan"))
            await world.clock.turn(60)
        await engine.pushed(ROOM, "p4", numbered("", "[VIP] 12 yuan"))
        await quiet()
    posted = [one.event_id for one in world.matrix.posted]
    mark, at = mark_of(MEI.id, "12 yuan").hex(), world.clock.now() - 120_000
    picture = mark_of(MEI.id, "[image]").hex()  # as of any without text or with a bracket first
    for number, known in 2 * (("71", mark), ("72", picture), ("73", "")):
        await world.owe(TakeBack(MEI, number, known, at))
        async with world.running():
            await quiet()
    assert world.matrix.redacted == [posted[1]]
    assert world.matrix.texts(ROOM)[4:] == ["chat.recalled"] * 2


async def test_other_rooms_get_a_turn_while_a_recalled_message_is_looked_for() -> None:
    """An agent's 150 messages of long HTML and a recall stopped all rooms for 7 s."""
    world, turns = World(), 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    await world.chatting()
    async with world.running() as engine:
        for number in range(50):
            await engine.pushed(ROOM, f"p{number}", numbered("", f"{number} yuan"))
        await quiet()
    stored = (await world.store.load(ROOM)).room
    assert stored is not None
    record, last = load_record(stored.record), EffectSeq(1_000)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(others())
        assert await said_by_agent(world.around, record, last, TakeBack(MEI, "7", "00")) == ()
        waiting.cancel()
    assert turns >= 49, "the other task begins at the first turn"
