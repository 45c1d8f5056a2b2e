"""Messages about messages, with a ledger to look the others up in."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.model import CustomerLocation, CustomerMedia, CustomerText
from bridge.ids import EventId, RoomId, SessionId
from bridge.rooms.inputs import Entered
from bridge.rooms.ports import Undecryptable
from bridge.rooms.recalling import recall
from bridge.rooms.references import Earlier
from bridge.rooms.serial import dump_input
from bridge.rooms.store import NewInput
from bridge.webchat.frames import (
    AgentContent,
    AgentLocation,
    AgentMedia,
    AgentText,
    ChatStarted,
    MessageReceived,
    Received,
    SessionClosed,
    UnknownContent,
)
from tests.fakes.clock import quiet
from tests.fakes.house import MEI, ROOM, SESSION, said
from tests.fakes.reading import ReadingMatrix, ReadingWorld
from tests.unit.rooms.visits import ADA, RULES

pytestmark = pytest.mark.asyncio
ENGLISH = msgspec.structs.replace(RULES, language="en")


def undated(earlier: Earlier | None) -> Earlier | None:
    """What it said."""
    return None if earlier is None else msgspec.structs.replace(earlier, at=None)


def relation(**fields: object) -> dict[str, object]:
    return {"m.relates_to": fields}


async def test_replies_corrections_and_reactions_know_what_they_are_about() -> None:
    world = ReadingWorld(ENGLISH)
    await world.chatting()
    async with world.running() as engine:
        await engine.pushed(ROOM, "p1", said("Which <b>size</b>?"))
        await quiet()
        asked = world.reading.shown[0].event_id
        replied = relation(**{"m.in_reply_to": {"event_id": asked}})
        edit = relation(rel_type="m.replace", event_id="$1") | {
            "m.new_content": {"msgtype": "m.text", "body": "M"}
        }
        await engine.accept_events(
            [
                world.message("$1", msgtype="m.text", body="L", **replied),
                world.message("$2", msgtype="m.text", body="* M", **edit),
                world.real(
                    "m.reaction",
                    "$3",
                    relation(rel_type="m.annotation", event_id=asked, key="👍"),
                ),
            ]
        )
        await quiet()
    assert world.link.texts(ROOM) == [
        "In reply to “Which size?”:\nL",
        "Correction: M",
        "👍 (in reaction to “Which size?”)",
    ]
    assert await world.nothing_left()


async def test_what_was_taken_back_is_told_and_erased() -> None:
    world = ReadingWorld(ENGLISH)
    await world.chatting()
    async with world.running() as engine:
        await engine.accept_events([world.message("$1", msgtype="m.text", body="my secret")])
        await quiet()
        assert await world.store.body_of(ROOM, EventId("$1")) is not None
        await engine.accept_events([world.real("m.room.redaction", "$2", {}, redacts="$1")])
        await quiet()
        assert await world.store.body_of(ROOM, EventId("$1")) is None
        await engine.accept_events([world.real("m.room.redaction", "$3", {}, redacts="$1")])
        await quiet()
    assert world.link.texts(ROOM) == ["my secret", "Taken back: “my secret”"]


async def test_it_is_known_when_a_message_went_last_and_not_when_it_was_answered() -> None:
    """A later agent was told what an earlier one had been; of another's words nothing is."""
    world = ReadingWorld(ENGLISH)
    await world.chatting()
    async with world.running() as engine:
        await engine.accept_events([world.message("$1", msgtype="m.text", body="my secret")])
        await engine.pushed(ROOM, "p1", said("Which size?"))
        await quiet()
        asked, went = world.reading.shown[0].event_id, world.clock.now()
        await world.clock.turn(60)
        status = relation(**{"m.in_reply_to": {"event_id": "$1"}})
        await engine.accept_events(
            [world.message("$2", msgtype="m.text", body="!wc status", **status)]
        )
        await quiet()
        for event_id in ("$1", asked):
            earlier = await recall(world.around, ROOM, EventId(event_id))
            assert earlier is not None
            assert earlier.at == went


async def test_a_later_agent_is_not_told_what_was_taken_back_from_an_earlier_one() -> None:
    world = ReadingWorld(ENGLISH)
    await world.chatting()
    async with world.running() as engine:
        await engine.accept_events([world.message("$1", msgtype="m.text", body="my secret")])
        await quiet()
        await world.clock.turn(60)
        await engine.pushed(ROOM, "p1", Received(SessionClosed(SESSION, MEI.id)))
        await quiet()
        await world.clock.turn(60)
        await engine.pushed(ROOM, "p2", Received(ChatStarted(SessionId(77), (MEI,))))
        await quiet()
        await engine.accept_events([world.message("$2", msgtype="m.text", body="hello")])
        redactions = [
            world.real("m.room.redaction", "$3", {}, redacts="$1"),
            world.real("m.room.redaction", "$4", {}, redacts="$2"),
        ]
        await engine.accept_events(redactions)
        await quiet()
        assert await world.store.body_of(ROOM, EventId("$1")) is None
    assert world.link.texts(ROOM) == ["my secret", "hello", "Taken back: “hello”"]


CONTENTS: list[tuple[AgentContent, Earlier | None]] = [
    (AgentText("a &amp; b<br>/::)"), Earlier("a & b\n🙂")),
    (AgentText("<b>" * 5_000), Earlier("")),
    (AgentMedia("file", url="/a.pdf", name="a.pdf"), Earlier("a.pdf")),
    (AgentLocation(1, 2, "Office"), Earlier("Office")),
    (UnknownContent(77, "?"), None),
]


@pytest.mark.parametrize(("content", "earlier"), CONTENTS)
async def test_agents_messages(content: AgentContent, earlier: Earlier | None) -> None:
    world = ReadingWorld(ENGLISH)
    await world.chatting()
    async with world.running() as engine:
        received = Received(MessageReceived(SESSION, MEI.id, content))
        await engine.pushed(ROOM, "p1", received)
        await quiet()
        found = await recall(world.around, ROOM, EventId("$ours0"))
        elsewhere = await recall(world.around, RoomId("!other:example.org"), EventId("$ours0"))
    if isinstance(content, UnknownContent):
        assert found is not None  # a notice of ours stands for it, and it is nobody's words
        assert found.text == ""
    else:
        assert undated(found) == earlier
    assert elsewhere is None


@pytest.mark.parametrize(
    ("fields", "earlier"),
    [
        ({"msgtype": "m.text", "body": "x"}, Earlier("x", CustomerText("x"))),
        (
            {"msgtype": "m.image", "body": "a.png", "url": "mxc://s/i"},
            Earlier("a.png", CustomerMedia("image", "a.png", "mxc://s/i", "image/png")),
        ),
        (
            {"msgtype": "m.image", "body": "look", "filename": "a.png", "url": "mxc://s/i"},
            Earlier("look", CustomerMedia("image", "a.png", "mxc://s/i", "image/png")),
        ),
        (
            {"msgtype": "m.location", "body": "Office", "geo_uri": "geo:1,2"},
            Earlier("Office", CustomerLocation(1, 2, "Office")),
        ),
        (
            {
                "msgtype": "m.text",
                "body": "* x",
                "m.new_content": {"msgtype": "m.text", "body": "x"},
            }
            | relation(rel_type="m.replace", event_id="$0"),
            Earlier("x", CustomerText("x"), correction=True),
        ),
        ({"msgtype": "m.odd"}, None),
    ],
)
async def test_customers_messages(fields: dict[str, object], earlier: Earlier | None) -> None:
    world = ReadingWorld(ENGLISH)
    await world.chatting()
    async with world.running() as engine:
        await engine.accept_events([world.message("$1", **fields)])
        await quiet()
        found = await recall(world.around, ROOM, EventId("$1"))
    if earlier is not None:
        earlier = msgspec.structs.replace(earlier, sender=ADA)
    assert undated(found) == earlier


async def test_what_is_not_ours_to_know() -> None:
    world = ReadingWorld()
    assert await recall(world.around, ROOM, EventId("$never")) is None
    rows = [NewInput(ROOM, dump_input(Entered()), "$entered"), NewInput(ROOM, b"{}", "$odd")]
    await world.store.accept(rows, 1)
    assert await recall(world.around, ROOM, EventId("$entered")) is None
    assert await recall(world.around, ROOM, EventId("$odd")) is None


class Sealed(ReadingMatrix):
    """Nothing can be read."""

    async def open(
        self, raw: dict[str, object], patience: float | None = None, *, ask: bool = True
    ) -> dict[str, object] | Undecryptable:
        del raw, patience, ask
        return Undecryptable("unreadable.no_key", later=True)


async def test_what_cannot_be_read_is_not_quoted() -> None:
    world = ReadingWorld()
    async with world.running() as engine:
        await engine.accept_events([world.message("$1", msgtype="m.text", body="x")])
        await quiet()
    around = msgspec.structs.replace(world.around, matrix=Sealed())
    assert await recall(around, ROOM, EventId("$1")) is None
