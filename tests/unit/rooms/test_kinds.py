"""Every kind of content, while the bridge is killed and links are restored: shown or reported.

An agent's text, file, location, notice, robot answer or unknown content is in the room exactly
once. A customer's message reaches the agent, or the customer is told that it did not.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from bridge.conversation.model import LinkRestored
from bridge.ids import AgentId, EventId, RoomId, SessionId
from bridge.rooms.engine import Engine
from bridge.webchat.frames import (
    AgentLocation,
    AgentMedia,
    AgentNotice,
    AgentText,
    File,
    MessageReceived,
    Push,
    Received,
    RobotMessage,
    SendMessage,
    Text,
    UnknownContent,
)
from tests.fakes.house import MEI, SESSION
from tests.unit.rooms.test_crashes import ROOMS, WORDS, Fate, FatefulWorld, Sender, live_and_die

SEEDS = int(os.environ.get("KINDS_SEEDS", "20"))


def sent(number: int) -> tuple[Push, str]:
    """An agent's push, and how the room shows it; all differ, as repeats are dropped (trap T34)."""
    by = SESSION, MEI.id
    kinds: list[tuple[Push, str]] = [
        (MessageReceived(*by, AgentText(f"answer {number}")), f"answer {number}"),
        (MessageReceived(*by, AgentMedia("image", url=f"/{number}.png")), "RelayedMedia"),
        (MessageReceived(*by, AgentMedia("voice", data="iVBO", seconds=number)), "RelayedMedia"),
        (
            MessageReceived(*by, AgentMedia("video", data="?", name=f"{number}")),
            "chat.media_failed",
        ),
        (MessageReceived(*by, AgentLocation(31.2, number)), "AgentLocation"),
        (MessageReceived(*by, UnknownContent(77, f"{number}")), "chat.unknown"),
        (MessageReceived(*by, AgentNotice(0, f"notice {number}")), "chat.notice"),
        (MessageReceived(*by, AgentNotice(0, f"<img src='{number}'>")), f"<img src='{number}'>"),
        (MessageReceived(SessionId(0), AgentId(""), AgentText(f"{number}")), f"{number}"),
        (RobotMessage(None, None, f"robot {number}"), f"robot {number}"),
    ]
    return kinds[number % len(kinds)]


def agent(fate: Fate, room: RoomId) -> Sender:
    async def send(engine: Engine, number: int) -> None:
        push, _ = sent(number)
        rs_id = f"r{number}" if fate.dice.random() < 0.5 else ""
        await engine.pushed(room, f"{room} {number}", Received(push, rs_id))
        if fate.dice.random() < 0.3:
            engine.signal(room, LinkRestored())

    return Sender(send)


def customer(world: FatefulWorld, room: RoomId) -> Sender:
    kinds = ["say", "file", "unreadable"]
    events = [
        world.event(kinds[number % 3], text=f"word {number}", room_id=room)
        for number in range(WORDS)
    ]

    async def send(engine: Engine, number: int) -> None:
        await engine.accept_events([events[number]])

    return Sender(send)


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_content_of_every_kind_is_shown_or_reported(seed: int) -> None:
    fate = Fate(seed)
    world = FatefulWorld(fate)
    people = [customer(world, room) for room in ROOMS]
    await live_and_die(world, fate, [*people, *(agent(fate, room) for room in ROOMS)])
    for place, room in enumerate(ROOMS):
        wanted = Counter(sent(number)[1] for number in range(WORDS))
        shown = Counter(text for text in world.matrix.texts(room) if text in wanted)
        assert shown == wanted
        check_customer(world, room, place * WORDS + 1)


def check_customer(world: FatefulWorld, room: RoomId, first: int) -> None:
    """Each event reached the agent, or was answered; only the number of files is known."""
    told = Counter(one.reply_to for one in world.matrix.posted if one.room_id == room)
    contents = [
        call.command.content
        for call in world.link.calls
        if call.room_id == room and isinstance(call.command, SendMessage)
    ]
    words = {content.text for content in contents if isinstance(content, Text)}
    files = sum(isinstance(content, File) for content in contents)
    for number in range(WORDS):
        event_id = EventId(f"$e{first + number}")
        match number % 3:
            case 0:
                assert f"word {number}" in words or told[event_id]
            case 1:
                files -= not told[event_id]
            case _:
                assert told[event_id] == 1, "it cannot be carried, and that is said"
    assert files >= 0
