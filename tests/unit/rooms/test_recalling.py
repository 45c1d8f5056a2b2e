"""Replies, corrections, reactions and redactions, with their targets recalled from the ledger."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from bridge.conversation.model import CustomerLocation, CustomerMedia, CustomerText
from bridge.ids import EventId, RoomId, SessionId
from bridge.rooms.ports import Undecryptable
from bridge.rooms.record import Entered, MatrixEvent, dump_input
from bridge.rooms.references import Earlier, recall
from bridge.rooms.store import NewInput
from bridge.texts import clock_time
from bridge.webchat.frames import (
    AgentContent,
    AgentLocation,
    AgentMedia,
    AgentNotice,
    AgentText,
    ChatStarted,
    MessageReceived,
    Received,
    SessionClosed,
    UnknownContent,
)
from bridge.webchat.words import decode_emoji
from tests.fakes import flow
from tests.fakes.clock import quiet
from tests.fakes.house import MEI, ROOM, SESSION, said
from tests.fakes.reading import Json, ReadingMatrix, ReadingWorld
from tests.unit.rooms.visits import ADA, RULES

pytestmark = pytest.mark.asyncio
ENGLISH = msgspec.structs.replace(RULES, language="en")


Event = tuple[RoomId, EventId, dict[str, object]]


def undated(earlier: Earlier | None) -> Earlier | None:
    """The message without its time."""
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


async def test_a_vote_in_a_customers_poll_is_told_to_the_agent() -> None:
    world = ReadingWorld(ENGLISH)
    await world.chatting()
    kind, answers = "org.matrix.msc3381.poll", [{"id": "a", "m.text": "red"}]
    poll: Json = {f"{kind}.start": {"question": {"m.text": "Which colour?"}, "answers": answers}}
    about = relation(rel_type="m.reference", event_id="$1")
    async with world.running() as engine:
        await engine.accept_events([world.real(f"{kind}.start", "$1", poll)])
        await quiet()
        for event_id, answer in (("$2", "a"), ("$3", "of another poll")):
            vote: Json = {f"{kind}.response": {"answers": [answer]}, **about}
            await engine.accept_events([world.real(f"{kind}.response", event_id, vote)])
            await quiet()
    assert world.link.texts(ROOM)[1:] == ["(Vote in “Which colour?”: red)"]


async def test_a_redaction_is_told_and_its_message_erased() -> None:
    world = ReadingWorld(ENGLISH)
    await world.chatting()
    async with world.running() as engine:
        await engine.accept_events([world.message("$1", msgtype="m.text", body="my secret")])
        await quiet()
        assert await world.store.body_of(ROOM, EventId("$1")) is not None
        sent = world.clock.now()
        await engine.accept_events([world.real("m.room.redaction", "$2", {}, redacts="$1")])
        await quiet()
        assert await world.store.body_of(ROOM, EventId("$1")) is None
        await engine.accept_events([world.real("m.room.redaction", "$3", {}, redacts="$1")])
        await quiet()
    moment = clock_time("en", sent, None, now_ms=sent)
    assert world.link.texts(ROOM) == ["my secret", f"(took back a message from {moment})"]


@pytest.mark.parametrize(
    ("sign", "target", "told"),
    [("👍", "$1", True), ("🔁", "$1", False), ("👍", "$unknown", False)],
)
async def test_a_reaction_taken_back_is_told_if_the_agent_knows_of_it(
    sign: str, target: str, told: bool
) -> None:
    """Who reads “👍” below an offer takes it for a consent."""
    world = ReadingWorld(ENGLISH)
    await world.chatting()
    about: Json = {"rel_type": "m.annotation", "event_id": target, "key": sign}
    async with world.running() as engine:
        await engine.accept_events([world.message("$1", msgtype="m.text", body="agreed?")])
        await quiet()
        await engine.accept_events([world.real("m.reaction", "$2", {"m.relates_to": about})])
        await quiet()
        before = world.link.texts(ROOM)
        await engine.accept_events([redaction(world, "$3", "$2")])
        await quiet()
    after = world.link.texts(ROOM)[len(before) :]
    assert [one.startswith("(took back a reaction from ") for one in after] == [True] * told


def word(world: ReadingWorld, event_id: str, text: str, **more: object) -> Event:
    return world.message(event_id, msgtype="m.text", body=text, **more)


def redaction(world: ReadingWorld, event_id: str, target: str) -> Event:
    return world.real("m.room.redaction", event_id, {}, redacts=target)


@pytest.mark.parametrize("lately", [True, False])
async def test_a_message_redacted_before_it_was_written_is_not_written(lately: bool) -> None:
    """The call waits for the link; `lately`: behind a recent call, which a later reply quotes."""
    world = ReadingWorld(ENGLISH)
    await world.chatting()
    replied = relation(**{"m.in_reply_to": {"event_id": "$0"}})
    link = asyncio.Event()

    async def waits() -> None:
        await link.wait()

    async with world.running() as engine:
        if lately:
            await engine.accept_events([word(world, "$0", "my number")])
            await quiet()
        world.link.disturb, world.link.free = waits, lambda: False
        await engine.accept_events([word(world, "$1", "my secret")])
        await quiet()
        await engine.accept_events([redaction(world, "$2", "$1")])
        await quiet()
        link.set()
        await quiet()
        if lately:
            link.clear()
            await engine.accept_events([word(world, "$3", "is it right?", **replied)])
            await quiet()
            await engine.accept_events([redaction(world, "$4", "$0")])
            await quiet()
            link.set()
            await quiet()
    texts = world.link.texts(ROOM)
    assert texts[: 2 * lately] == ["my number", "is it right?"][: 2 * lately]
    assert all(one.startswith("(took back a message") for one in texts[2 * lately :])
    assert len(texts) == 3 * lately


async def test_a_message_redacted_in_the_same_step_is_quoted_nowhere() -> None:
    """All events wait at the start, and one step handles them together."""
    world = ReadingWorld(ENGLISH)
    await world.chatting()
    replied = relation(**{"m.in_reply_to": {"event_id": "$1"}})
    edit = relation(rel_type="m.replace", event_id="$1") | {
        "m.new_content": {"msgtype": "m.text", "body": "my other secret"}
    }
    events = [
        word(world, "$1", "my secret"),
        redaction(world, "$2", "$1"),
        word(world, "$3", "yes", **replied),
        world.message("$4", msgtype="m.text", body="* my other secret", **edit),
    ]
    rows = [NewInput(ROOM, dump_input(MatrixEvent(raw)), key) for _, key, raw in events]
    await flow.accept(world.store, rows, world.clock.now())
    async with world.running():
        await quiet()
    assert world.link.texts(ROOM) == ["yes"]


async def test_a_message_redacted_while_it_waits_for_its_key_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor is one that waits behind it. A word with a redaction of another message is sent."""
    world, key = ReadingWorld(ENGLISH), asyncio.Event()
    await world.chatting()

    async def opened(raw: Json, patience: float | None = None, *, ask: bool = True) -> object:
        if raw["event_id"] == "$1" and not key.is_set():
            if patience is None:
                return Undecryptable("unreadable.no_key", later=True)
            await key.wait()
        return raw

    monkeypatch.setattr(world.reading, "open", opened)
    async with world.running() as engine:
        events = [word(world, f"${number}", f"word {number}") for number in (1, 2, 3)]
        await engine.accept_events(events)
        await quiet()
        taken_back = [redaction(world, "$4", "$1"), redaction(world, "$5", "$2")]
        await engine.accept_events(
            [*taken_back, word(world, "$6", 'no "m.room.redaction" of "$3"')]
        )
        await quiet()
        key.set()
        await quiet()
        assert [await world.store.body_of(ROOM, EventId(one)) for one in ("$1", "$2")] == [None] * 2
    assert world.link.texts(ROOM) == ["word 3", 'no "m.room.redaction" of "$3"']


def edited(world: ReadingWorld, event_id: str, target: str) -> Event:
    new = {"m.new_content": {"msgtype": "m.text", "body": "secret"}}
    about = relation(rel_type="m.replace", event_id=target) | new
    return world.message(event_id, msgtype="m.text", body="* secret", **about)


@pytest.mark.parametrize("kind", ["m.room.message", "m.room.encrypted"])
async def test_a_correction_of_a_message_that_is_redacted_already_is_not_sent(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a stop of the bridge the homeserver delivers the first without its content."""
    world = ReadingWorld(ENGLISH)
    await world.chatting()
    empty = world.real(kind, "$1", {})
    empty[2]["unsigned"] = {"redacted_because": {}}

    async def opened(raw: Json, _patience: object = None, *, ask: bool = True) -> object:
        sealed = raw["type"] == "m.room.encrypted"
        return Undecryptable("unreadable.malformed", later=False) if sealed else raw

    monkeypatch.setattr(world.reading, "open", opened)
    async with world.running() as engine:
        for event in (empty, edited(world, "$2", "$1"), redaction(world, "$3", "$1")):
            await engine.accept_events([event])
            await quiet()
        await engine.accept_events([word(world, "$4", "hello")])
        await quiet()
        await engine.accept_events([edited(world, "$5", "$4"), redaction(world, "$6", "$4")])
        await quiet()
    first, then = world.link.texts(ROOM)
    assert first == "hello"
    assert then.startswith("(took back a message")


async def test_recall_knows_when_a_message_was_sent_and_whether_it_was_a_command() -> None:
    """Its time decides whether the current agent has seen it."""
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
            assert (earlier.at, earlier.unsent) == (went, False)
        order = await recall(world.around, ROOM, EventId("$2"))
        assert order is not None
        assert order.unsent


async def test_megabytes_of_an_agent_are_not_decoded_for_each_reaction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each took a second for 16 MiB."""
    world, read = ReadingWorld(ENGLISH), 0

    def counted(words: str) -> str:
        nonlocal read
        read += len(words)
        return decode_emoji(words)

    monkeypatch.setattr("bridge.rooms.references.decode_emoji", counted)
    await world.chatting()
    async with world.running() as engine:
        await engine.pushed(ROOM, "p1", said("x" * 1_000_000))
        await quiet()
        asked = world.reading.shown[0].event_id
        assert undated(await recall(world.around, ROOM, EventId(asked))) == Earlier("")
        assert read == 0


async def test_a_later_agent_is_not_told_of_a_redaction_of_an_earlier_chat() -> None:
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
        await quiet()
        redactions = [
            world.real("m.room.redaction", "$3", {}, redacts="$1"),
            world.real("m.room.redaction", "$4", {}, redacts="$2"),
        ]
        await engine.accept_events(redactions)
        await quiet()
        assert await world.store.body_of(ROOM, EventId("$1")) is None
    (*read, told) = world.link.texts(ROOM)
    assert read == ["my secret", "hello"]
    assert told.startswith("(took back a message from ")


CONTENTS: list[tuple[AgentContent, Earlier | None]] = [
    (AgentText("a &amp; b<br>/::)"), Earlier("a & b\n🙂")),
    (AgentText("<b>" * 5_000), Earlier("")),
    (AgentMedia("file", url="/a.pdf", name="a.pdf"), Earlier("a.pdf")),
    (AgentLocation(1, 2, "Office"), Earlier("Office")),
    (AgentNotice(3, "Are you <b>still</b> there?"), Earlier("Are you still there?")),
    (UnknownContent(77, "?"), None),
]


@pytest.mark.parametrize(("content", "earlier"), CONTENTS)
async def test_recall_agent_message(content: AgentContent, earlier: Earlier | None) -> None:
    world = ReadingWorld(ENGLISH)
    await world.chatting()
    async with world.running() as engine:
        received = Received(MessageReceived(SESSION, MEI.id, content))
        await engine.pushed(ROOM, "p1", received)
        await quiet()
        found = await recall(world.around, ROOM, EventId("$ours0"))
        elsewhere = await recall(world.around, RoomId("!other:example.org"), EventId("$ours0"))
    if isinstance(content, UnknownContent):
        assert found is not None  # the bridge's notice stands for it, without quotable text
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
async def test_recall_customer_message(fields: dict[str, object], earlier: Earlier | None) -> None:
    world = ReadingWorld(ENGLISH)
    await world.chatting()
    async with world.running() as engine:
        await engine.accept_events([world.message("$1", **fields)])
        await quiet()
        found = await recall(world.around, ROOM, EventId("$1"))
    if earlier is not None:
        earlier = msgspec.structs.replace(earlier, sender=ADA)
    assert undated(found) == earlier


async def test_unknown_and_unreadable_events_are_not_recalled() -> None:
    world = ReadingWorld()
    assert await recall(world.around, ROOM, EventId("$never")) is None
    rows = [NewInput(ROOM, dump_input(Entered()), "$entered"), NewInput(ROOM, b"{}", "$odd")]
    await flow.accept(world.store, rows, 1)
    assert await recall(world.around, ROOM, EventId("$entered")) is None
    assert await recall(world.around, ROOM, EventId("$odd")) is None


class Sealed(ReadingMatrix):
    """Can decrypt nothing."""

    async def open(
        self, raw: dict[str, object], patience: float | None = None, *, ask: bool = True
    ) -> dict[str, object] | Undecryptable:
        del raw, patience, ask
        return Undecryptable("unreadable.no_key", later=True)


async def test_an_undecryptable_message_is_not_recalled() -> None:
    world = ReadingWorld()
    async with world.running() as engine:
        await engine.accept_events([world.message("$1", msgtype="m.text", body="x")])
        await quiet()
    around = msgspec.structs.replace(world.around, matrix=Sealed())
    assert await recall(around, ROOM, EventId("$1")) is None


@pytest.mark.parametrize(("order", "chats"), [("!wc status", True), ("status", False)])
async def test_a_reply_to_a_command_quotes_nothing(order: str, chats: bool) -> None:
    """A bare command is one only while no chat runs; during a chat it goes to the agent."""
    world = ReadingWorld(ENGLISH)
    await world.chatting()
    quoted = relation(**{"m.in_reply_to": {"event_id": "$1"}})
    async with world.running() as engine:
        await engine.accept_events([word(world, "$1", order), word(world, "$2", "why?", **quoted)])
        await quiet()
    told = ["why?"] if chats else ["status", "In reply to “status”:\nwhy?"]
    assert world.link.texts(ROOM) == told
