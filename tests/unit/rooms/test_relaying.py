"""What agents send, on its way into the room."""

from __future__ import annotations

import base64

import msgspec
import pytest

from bridge.conversation.model import Policy
from bridge.ids import EventId
from bridge.rooms.ports import Refused, TooBig, Unavailable
from bridge.rooms.record import Thread
from bridge.webchat.frames import (
    AgentContent,
    AgentLocation,
    AgentMedia,
    AgentText,
    MessageReceived,
    Received,
)
from tests.fakes.clock import quiet
from tests.fakes.house import MEI, ROOM, SESSION
from tests.fakes.reading import ReadingWorld
from tests.unit.rooms.visits import RULES

pytestmark = pytest.mark.asyncio
PICTURE = base64.b64encode(b"inline picture").decode()


async def relayed(world: ReadingWorld, *contents: AgentContent) -> list[tuple[str, str]]:
    """Kind and content of what the room then shows."""
    await world.chatting()
    async with world.running() as engine:
        for number, content in enumerate(contents):
            received = Received(MessageReceived(SESSION, MEI.id, content))
            await engine.pushed(ROOM, f"p{number}", received)
        await quiet()
    assert await world.nothing_left()
    return [(one.kind, one.what) for one in world.reading.shown]


async def test_pictures_inside_a_text_come_in_order() -> None:
    html = f'one<img src="https://x.y/a.png">two<img src="data:image/png;base64,{PICTURE}">three'
    world = ReadingWorld()
    assert await relayed(world, AgentText(html)) == [
        ("text", "one"),
        ("image", "https://x.y/a.png"),
        ("text", "two"),
        ("image", "inline picture"),
        ("text", "three"),
    ]
    first = world.reading.shown[0].event_id
    trace = await world.store.body_of(ROOM, first)
    assert trace is not None  # the first event stands for all of them


@pytest.mark.parametrize("error", [Refused("host", "not allowed"), TooBig("9 GB")])
async def test_a_picture_that_cannot_be_had_is_a_link(error: Exception) -> None:
    world = ReadingWorld()
    world.link.before.append(error)
    html = 'see <img src="https://elsewhere.org/a.png?x=1&y=2" alt="a <shoe>">'
    assert await relayed(world, AgentText(html)) == [
        ("text", "see "),
        ("text", '<a href="https://elsewhere.org/a.png?x=1&amp;y=2">🖼 a &lt;shoe&gt;</a>'),
    ]


async def test_one_without_an_address_of_its_own_is_a_sign() -> None:
    world = ReadingWorld()
    world.link.before.append(Refused("404"))
    assert await relayed(world, AgentText('<img src="/a.png">')) == [("text", "🖼")]


async def test_a_source_that_is_away_is_tried_again() -> None:
    world = ReadingWorld()
    world.link.before.append(Unavailable("busy"))
    await world.chatting()
    async with world.running() as engine:
        content = AgentMedia("file", url="https://x.y/a.pdf", name="a.pdf")
        await engine.pushed(ROOM, "p", Received(MessageReceived(SESSION, MEI.id, content)))
        await quiet()
        await world.clock.turn(2)
        await quiet()
    assert [(one.kind, one.what) for one in world.reading.shown] == [("file", "https://x.y/a.pdf")]


async def test_each_piece_has_a_transaction_id_of_its_own() -> None:
    world = ReadingWorld()
    await world.chatting()
    html = 'one<img src="https://x.y/a.png">two'
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", Received(MessageReceived(SESSION, MEI.id, AgentText(html))))
        await quiet()
    ids = [one for one in world.reading.requests if one.startswith("test.")]
    assert len(ids) == len(set(ids)) == 3


@pytest.mark.parametrize(
    ("named", "configured", "shown"),
    [("", "baidu", "baidu"), (" ", "gaode", "gaode"), ("gaode", "baidu", "gaode")],
)
async def test_a_place_is_of_the_desks_map_unless_it_says_otherwise(
    named: str, configured: str, shown: str
) -> None:
    rules = msgspec.structs.replace(RULES, policy=Policy(map=configured))
    world = ReadingWorld(rules)
    place = AgentLocation(39.9, 116.4, "x", named)
    assert await relayed(world, place) == [("location", f"39.9,116.4 {shown}")]


async def test_answers_stay_in_the_customers_thread() -> None:
    world = ReadingWorld()
    await world.chatting()
    in_thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": "$root"}}
    async with world.running() as engine:
        await engine.accept_events(
            [
                world.message("$1", msgtype="m.text", body="here", **in_thread),
                world.message("$2", msgtype="m.odd", body="here", **in_thread),
            ]
        )
        await quiet()
        await engine.pushed(
            ROOM, "p1", Received(MessageReceived(SESSION, MEI.id, AgentText("yes")))
        )
        await quiet()
        await engine.accept_events([world.message("$3", msgtype="m.text", body="out")])
        await quiet()
        await engine.pushed(ROOM, "p2", Received(MessageReceived(SESSION, MEI.id, AgentText("no"))))
        await quiet()
    threads = [one.thread for one in world.reading.shown]
    assert threads == [Thread(EventId("$root"), EventId("$1")), None]
