"""Agents in a room: ghosts, texts, files, and notices for what cannot be shown."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from bridge.conversation.model import Reported
from bridge.ids import AgentId, EventId, RoomId
from bridge.rooms.engine import Engine
from bridge.rooms.ports import (
    LIFTED,
    Blob,
    BrokenOff,
    EditableNotice,
    NoSpace,
    NoticeText,
    NotStored,
    Part,
    Refused,
    RelayedMedia,
    TooBig,
    Unavailable,
)
from bridge.rooms.to_matrix import (
    FETCH_TRIES,
    FETCH_WITHIN,
    LAST_WAIT,
    LONG_TEXT,
    PROOFS,
    REMEMBERED,
    TELL_AFTER,
)
from bridge.webchat.codes import NoticeType
from bridge.webchat.frames import (
    Agent,
    AgentContent,
    AgentLocation,
    AgentMedia,
    AgentNotice,
    AgentsUpdated,
    AgentText,
    MessageReceived,
    Received,
    SendMessage,
    Text,
    UnknownContent,
)
from tests.fakes.clock import quiet
from tests.fakes.house import MEI, ROOM, SESSION, World, said
from tests.fakes.memory import dead_letters
from tests.fakes.reading import ReadingWorld
from tests.unit.rooms.visits import ADA, BOT, RULES

NOT_SHOWN = RULES.texts.render("zh-CN", "agent.not_shown", {})
GHOST = "@webchat_K00017:example.org"


async def relayed(world: World, content: AgentContent) -> list[tuple[str, str]]:
    """Let the agent send it; return sender and text of each message then in the room."""
    await world.chatting()
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", Received(MessageReceived(SESSION, MEI.id, content)))
        await world.clock.turn(60)
    assert await world.nothing_left()
    return [(one.sender, one.text) for one in world.matrix.posted]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (AgentText("<b>hi</b>"), "<b>hi</b>"),
        (AgentLocation(39.9, 116.4, "here", "baidu"), "AgentLocation"),
        (AgentMedia("image", data=base64.b64encode(b"png").decode()), "RelayedMedia"),
        (AgentMedia("file", url="/a.pdf", name="a.pdf"), "RelayedMedia"),
    ],
    ids=["text", "place", "inline", "linked"],
)
async def test_agents_content_is_posted_by_the_ghost(content: AgentContent, shown: str) -> None:
    assert await relayed(World(), content) == [(GHOST, shown)]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "content",
    [
        AgentMedia("image", data="no base64 at all"[:1]),
        AgentMedia("image", data="===="),
        UnknownContent(42, "{}"),
        UnknownContent(None, "{}"),
    ],
    ids=["broken", "empty", "unknown", "untyped"],
)
async def test_content_that_cannot_be_shown_is_described(content: AgentContent) -> None:
    """It notifies like the message that it stands for, also if it is not the chat's first."""
    world = World()
    ((sender, text),) = await relayed(world, content)
    assert sender == "@webchatbot:example.org"
    typed = not isinstance(content, UnknownContent) or content.message_type is not None
    assert text in ({"chat.media_failed", "chat.unknown"} if typed else {"chat.unshown"})
    assert [(one.ping, one.mentions) for one in world.matrix.posted] == [(True, ())]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "content",
    [AgentText('one <img src="/a.png"> two'), AgentMedia("image", data="===="), UnknownContent(4)],
    ids=["text", "broken", "unknown"],
)
async def test_the_agents_first_message_mentions_the_customer_once(content: AgentContent) -> None:
    """Whatever it becomes; in a room of three, clients notify of mentions only."""
    world = ReadingWorld(rules=RULES)
    await world.chatting(ping_at=world.clock.now() + 10_000)
    async with world.running() as engine:
        for key in ("p", "q"):
            push = MessageReceived(SESSION, MEI.id, content)
            await engine.pushed(ROOM, key, Received(push))
            await world.clock.turn(20)
    assert [one.mentions for one in world.matrix.posted if one.mentions] == [(ADA,)]


# --- threads ------------------------------------------------------------------------------------

ROOT = "$root"
IN_THREAD = {"rel_type": "m.thread", "event_id": ROOT}


@pytest.mark.asyncio
async def test_an_agent_answers_in_a_thread_for_three_minutes() -> None:
    """After that the customer may have closed the thread, and would see nothing."""
    world = ReadingWorld()
    await world.chatting()
    async with world.running() as engine:

        async def asks(event_id: str, **content: object) -> None:
            message = world.message(event_id, msgtype="m.text", body=event_id, **content)
            await engine.accept_events([message])
            await quiet()

        async def answers(text: str) -> None:
            await engine.pushed(ROOM, text, said(text))
            await quiet()

        await asks("$1", **{"m.relates_to": IN_THREAD})
        await world.clock.turn(179)
        await answers("still there")
        await world.clock.turn(2)
        await answers("too late")
        await asks("$2", **{"m.relates_to": IN_THREAD})
        await answers("there again")
        await asks("$3")
        await answers("outside at once")
    where = [(one.what, one.thread and one.thread.latest) for one in world.reading.shown]
    assert where == [
        ("still there", "$1"),
        ("too late", None),
        ("there again", "$2"),
        ("outside at once", None),
    ]


@pytest.mark.asyncio
async def test_late_messages_are_not_put_into_a_thread() -> None:
    """Neither an agent's message nor the bridge's reply to one there, which stays a reply."""
    world = ReadingWorld()
    await world.chatting()
    async with world.running() as engine:
        order = {"msgtype": "m.text", "body": "!wc status", "m.relates_to": IN_THREAD}
        await engine.accept_events([world.message("$1", **order)])
        await quiet()
        world.matrix.trouble.extend([Unavailable("away")] * 9)
        await engine.accept_events([world.message("$2", **order)])
        await engine.pushed(ROOM, "p", said("well"))
        await world.clock.turn(600)
    prompt, *_, late = world.reading.notices
    assert isinstance(prompt, NoticeText)
    assert isinstance(late, NoticeText)
    assert (prompt.reply_to, prompt.thread) == ("$1", ROOT)
    assert (late.reply_to, late.thread) == ("$2", None)
    assert [(one.what, one.thread) for one in world.reading.shown] == [("well", None)]


@pytest.mark.asyncio
async def test_a_system_notice_is_not_posted_by_the_ghost() -> None:
    shown = await relayed(World(), AgentNotice(1, "the agent will be back"))
    assert GHOST not in {sender for sender, _ in shown}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("trouble", "shown"),
    [
        ([TooBig("1 GB")], "chat.media_too_big"),
        ([Refused("404")], "chat.media_failed"),
        ([Unavailable("away")] * FETCH_TRIES, "chat.media_failed"),
        ([Unavailable("away")] * (FETCH_TRIES - 1), "RelayedMedia"),
    ],
    ids=["too big", "gone", "away", "away for a while"],
)
async def test_a_file_that_cannot_be_fetched(trouble: list[Exception], shown: str) -> None:
    world = World()
    world.link.before.extend(trouble)
    with capture_logs() as logs:
        found = await relayed(world, AgentMedia("file", url="/a.pdf", name="a.pdf"))
    assert [text for _, text in found] == [shown]
    why = [one["why"] for one in logs if one["event"] == "an agent's file cannot be fetched"]
    assert why == [str(trouble[0])] * (shown == "chat.media_failed"), "the operator is told why"


@pytest.mark.asyncio
@pytest.mark.parametrize("data", ["====", "=", "***"])
async def test_the_operator_is_told_of_an_embedded_file_that_is_none(data: str) -> None:
    with capture_logs() as logs:
        found = await relayed(World(), AgentMedia("image", data=data))
    assert [text for _, text in found] == ["chat.media_failed"]
    events = [one["event"] for one in logs]
    assert events.count("an agent's file cannot be fetched") == 1


@pytest.mark.asyncio
async def test_an_embedded_file_that_is_too_big() -> None:
    world = World(rules=replace(RULES, limits=RULES.limits.model_copy(update={"file": 2})))
    found = await relayed(world, AgentMedia("file", data="AAAA", name="a.pdf"))
    assert [text for _, text in found] == ["chat.media_too_big"]


@pytest.mark.asyncio
async def test_after_the_last_failed_fetch_the_next_message_is_shown_at_once() -> None:
    """Delays of 1, 2 and 4 s lie between the four attempts; the next message waited for them."""
    world = World()
    await world.chatting()
    world.link.before.extend([Unavailable("away")] * FETCH_TRIES)
    bill = MessageReceived(SESSION, MEI.id, AgentMedia("file", url="/a.pdf", name="a.pdf"))
    async with world.running() as engine:
        await engine.pushed(ROOM, "1", Received(bill))
        await engine.pushed(ROOM, "2", said("did you get it?"))
        await world.clock.turn(7)
        assert world.matrix.texts(ROOM) == ["chat.media_failed", "did you get it?"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "trouble", [Refused("M_FORBIDDEN", "no such files here"), Unavailable("away")]
)
async def test_a_file_that_the_homeserver_does_not_accept(trouble: Exception) -> None:
    """Not treated as the file server's fault: retried, or a dead letter, and reported."""
    world = World()
    world.matrix.trouble.append(trouble)
    found = await relayed(world, AgentMedia("file", url="/a.pdf", name="a.pdf"))
    letters = await dead_letters(world.store)
    if isinstance(trouble, Unavailable):
        assert [text for _, text in found] == ["RelayedMedia"]
        assert letters == []
    else:
        assert [text for _, text in found] == ["chat.unshown"], "to fetch it again would not help"
        assert [letter.why for letter in letters] == ["M_FORBIDDEN no such files here"]


@pytest.mark.asyncio
async def test_a_room_that_refuses_even_the_report_leaves_a_dead_letter() -> None:
    world = World()
    world.matrix.trouble += [Refused("M_BAD_JSON")] * 2
    assert await relayed(world, AgentMedia("file", url="/a.pdf", name="a.pdf")) == []
    assert len(await dead_letters(world.store)) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("robot", [True, False])
async def test_the_agent_is_told_once_a_chat_that_the_room_takes_no_messages(robot: bool) -> None:
    world = World()
    await world.chatting(robot=robot)  # which would answer the note
    async with world.running() as engine:
        for number in range(2):
            world.matrix.trouble += [Refused("M_BAD_JSON")] * 2
            await engine.pushed(ROOM, f"p{number}", said("hello?"))
            await world.clock.turn(1)
    assert len(await dead_letters(world.store)) == 2
    told = [call.command for call in world.link.calls if isinstance(call.command, SendMessage)]
    assert [one.content for one in told] == ([] if robot else [Text(NOT_SHOWN)])


@pytest.mark.asyncio
async def test_what_a_muted_room_does_not_take_waits_until_it_may_be_sent() -> None:
    world = World()
    await world.chatting()
    world.matrix.muted.add(ROOM)
    async with world.running() as engine:
        for number, word in enumerate(("hello?", "anybody there?")):
            await engine.pushed(ROOM, f"p{number}", said(word))
            await world.clock.turn(REMEMBERED / 1000)
        world.matrix.requests.clear()
        await world.clock.turn(10 * LAST_WAIT)
        assert set(world.matrix.requests) == {f"is {BOT} muted in {ROOM}"}
        assert len(world.matrix.requests) == 10
        world.matrix.muted.clear()
        await world.clock.turn(LAST_WAIT)
    assert world.matrix.texts(ROOM) == ["hello?", "anybody there?"]
    assert await dead_letters(world.store) == []
    told = [call.command for call in world.link.calls if isinstance(call.command, SendMessage)]
    assert [one.content for one in told] == [Text(NOT_SHOWN)]


@pytest.mark.asyncio
@pytest.mark.parametrize("code", sorted(LIFTED))
async def test_what_a_suspended_account_may_not_write_waits_for_the_end_of_that(code: str) -> None:
    world = World()
    await world.chatting()
    world.matrix.trouble += [Refused(code)] * 3
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", said("hello?"))
        await world.clock.turn(LAST_WAIT)
    assert world.matrix.texts(ROOM) == ["hello?"]
    assert await dead_letters(world.store) == []


@pytest.mark.asyncio
async def test_an_agent_is_told_of_words_that_the_homeserver_does_not_take() -> None:
    world = World()
    await world.chatting()
    world.matrix.trouble += [Unavailable("PUT answered 500")] * 25
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", said("hello?"))
        await world.clock.turn(TELL_AFTER)
        assert world.link.calls == []
        await world.clock.turn(LAST_WAIT)
        (told,) = world.link.calls
        assert isinstance(told.command, SendMessage)
        assert told.command.content == Text(NOT_SHOWN)
        await world.clock.turn(25 * LAST_WAIT)
    assert world.matrix.texts(ROOM) == ["hello?"]
    assert len(world.link.calls) == 1


@asynccontextmanager
async def poisoned(
    world: World, monkeypatch: pytest.MonkeyPatch, pause: float | None = None
) -> AsyncIterator[Engine]:
    """Run a chat whose homeserver fails at each message of an agent that holds "poison"."""
    relay = world.matrix.relay

    async def failing(*args: Any, **named: Any) -> tuple[Part, ...]:
        if args[3] == AgentText("poison"):
            raise Unavailable("PUT answered 500", pause)
        return await relay(*args, **named)

    monkeypatch.setattr(world.matrix, "relay", failing)
    await world.chatting()
    async with world.running() as engine:
        for number, word in enumerate(("one", "poison", "two")):
            await engine.pushed(ROOM, f"p{number}", said(word))
        yield engine


@pytest.mark.asyncio
async def test_a_message_that_the_homeserver_never_takes_holds_up_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is said instead of it proves that the homeserver takes others, and tells of it."""
    world = World()
    async with poisoned(world, monkeypatch):
        await world.clock.turn(TELL_AFTER)
        assert world.matrix.texts(ROOM) == ["one"]
        await world.clock.turn((PROOFS + 3) * LAST_WAIT)
    first, notice, *edits, last = world.matrix.posted
    assert (first.text, last.text) == ("one", "two")
    assert (notice.text, notice.sender, notice.mentions) == ("chat.unshown", BOT, (ADA,))
    assert [one.edits for one in edits] == [notice.event_id] * PROOFS
    assert world.matrix.redacted == []
    (letter,) = await dead_letters(world.store)
    assert letter.why == "PUT answered 500"
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_a_message_is_not_given_up_while_the_homeserver_takes_others_only_at_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, edits = World(), 0
    say = world.matrix.say

    async def at_times(*args: Any) -> EventId:
        nonlocal edits
        if isinstance(args[2], EditableNotice) and args[2].edits is not None:
            edits += 1
            if edits % PROOFS == 0:
                raise Unavailable("PUT answered 500")
        return await say(*args)

    monkeypatch.setattr(world.matrix, "say", at_times)
    async with poisoned(world, monkeypatch):
        await world.clock.turn(TELL_AFTER + 10 * PROOFS * LAST_WAIT)
        assert edits >= 9 * PROOFS
        assert {one.text for one in world.matrix.posted} == {"one", "chat.unshown"}
        assert await dead_letters(world.store) == []
        # It is accepted after all.
        monkeypatch.undo()
        await world.clock.turn(LAST_WAIT)
    said_first = next(one.event_id for one in world.matrix.posted if one.text == "chat.unshown")
    assert world.matrix.redacted == [said_first]
    assert [one.text for one in world.matrix.posted][-2:] == ["poison", "two"]
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_nothing_is_said_instead_of_a_message_as_soon_as_the_homeserver_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For a moment it may fail at some requests, after an outage of hours."""
    world = World()
    replaced = world.matrix.is_replaced

    async def away(*_: object) -> bool:
        raise Unavailable("no answer")

    monkeypatch.setattr(world.matrix, "is_replaced", away)
    async with poisoned(world, monkeypatch):
        await world.clock.turn(2 * TELL_AFTER)
        monkeypatch.setattr(world.matrix, "is_replaced", replaced)
        await world.clock.turn(LAST_WAIT)
        assert world.matrix.texts(ROOM) == ["one"]
        monkeypatch.undo()
        await world.clock.turn(LAST_WAIT)
    assert world.matrix.texts(ROOM) == ["one", "poison", "two"]


@pytest.mark.asyncio
async def test_a_message_is_not_given_up_because_its_agent_writes_too_fast_for_the_homeserver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A limit of each user's rate lets the host write what it keeps the ghost from."""
    world = World()
    async with poisoned(world, monkeypatch, pause=LAST_WAIT):
        await world.clock.turn(2 * TELL_AFTER)
        assert world.matrix.texts(ROOM) == ["one"]
        monkeypatch.undo()
        await world.clock.turn(LAST_WAIT)
    assert world.matrix.texts(ROOM) == ["one", "poison", "two"]


@pytest.mark.asyncio
async def test_a_notice_that_the_homeserver_never_takes_holds_up_no_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    say = world.matrix.say

    async def failing(*args: Any) -> EventId:
        if isinstance(args[2], NoticeText):
            raise Unavailable("PUT answered 500")
        return await say(*args)

    monkeypatch.setattr(world.matrix, "say", failing)
    await world.chatting()
    async with world.running() as engine:
        await engine.accept_events([world.event("unreadable")])
        await quiet()
        await engine.pushed(ROOM, "p", said("hello?"))
        await world.clock.turn(TELL_AFTER + (PROOFS + 3) * LAST_WAIT)
    assert {*world.matrix.texts(ROOM)} == {"chat.undone", "hello?"}
    assert world.matrix.texts(ROOM)[-1] == "hello?"
    assert len(await dead_letters(world.store)) == 1


@pytest.mark.asyncio
async def test_an_agent_is_told_nothing_while_it_is_unknown_whether_the_room_is_muted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    await world.chatting()
    world.matrix.trouble.append(Refused("M_FORBIDDEN"))
    answers: list[Exception] = [Unavailable("no answer")] * 2

    async def is_muted(*_: object, **__: object) -> bool:
        if answers:
            raise answers.pop()
        return False

    monkeypatch.setattr(world.matrix, "is_muted", is_muted)
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", said("hello?"))
        await world.clock.turn(LAST_WAIT)
    assert answers == []
    assert world.matrix.texts(ROOM) == ["hello?"]
    assert world.link.calls == []


@pytest.mark.asyncio
async def test_an_agent_is_told_even_if_a_notice_was_the_first_that_a_muted_room_refused() -> None:
    world = World()
    await world.chatting()
    world.matrix.muted.add(ROOM)
    async with world.running() as engine:
        await engine.accept_events([world.event("unreadable")])
        await world.clock.turn(LAST_WAIT)
        assert len(world.link.calls) == 0
        await engine.pushed(ROOM, "p", said("hello?"))
        await world.clock.turn(LAST_WAIT)
    (told,) = world.link.calls
    assert isinstance(told.command, SendMessage)
    assert told.command.content == Text(NOT_SHOWN)


@pytest.mark.asyncio
async def test_the_agents_of_all_muted_rooms_are_told() -> None:
    world, rooms = World(), (ROOM, RoomId("!other:example.org"))
    for room in rooms:
        await world.chatting(room)
        world.matrix.muted.add(room)
    async with world.running() as engine:
        for room in rooms:
            await engine.pushed(room, f"p{room}", said("hello?"))
            await world.clock.turn(LAST_WAIT)
    assert [call.room_id for call in world.link.calls] == [*rooms]


@pytest.mark.asyncio
async def test_nothing_waits_for_a_muted_room_that_the_bridge_has_left() -> None:
    world = World()
    await world.chatting()
    world.matrix.muted.add(ROOM)
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", said("hello?"))
        await world.clock.turn(1)
        await engine.accept_events([world.event("gone")])
        await world.clock.turn(LAST_WAIT)
    assert await dead_letters(world.store) == []
    assert await world.nothing_left()


@pytest.mark.asyncio
@pytest.mark.parametrize("trouble", [Unavailable("away"), Refused("M_UNKNOWN")])
async def test_why_a_room_refuses_may_stay_unknown(trouble: Exception) -> None:
    """Asked for again while the homeserver is away, and given up if it does not say."""
    world = World()
    await world.chatting()
    # The message, whether the room is replaced, whether it is muted.
    replaced = Refused("M_UNKNOWN")
    world.matrix.trouble += [Refused("M_FORBIDDEN"), replaced, trouble]
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", said("hello?"))
        await world.clock.turn(1)
    waits = isinstance(trouble, Unavailable)
    assert world.matrix.texts(ROOM) == ["hello?" if waits else "chat.unshown"]
    assert len(await dead_letters(world.store)) == (0 if waits else 1)


@pytest.mark.asyncio
@pytest.mark.parametrize("broken", [BrokenOff("the connection was lost"), NoSpace("disk full")])
@pytest.mark.parametrize("times", [1, FETCH_TRIES])
async def test_an_interrupted_file_holds_up_nothing(times: int, broken: BrokenOff) -> None:
    """The fault is not the homeserver's; else the upload would be retried for a day."""
    world = ReadingWorld()
    await world.chatting()
    world.link.cut.extend([broken] * times)
    file = AgentMedia("file", url="/a.pdf", name="a.pdf")
    async with world.running() as engine:
        await engine.pushed(ROOM, "p1", Received(MessageReceived(SESSION, MEI.id, file)))
        await engine.pushed(ROOM, "p2", said("did you get it?"))
        await world.clock.turn(20)
    shown = "/a.pdf" if times < FETCH_TRIES else "chat.media_failed"
    assert world.matrix.texts(ROOM) == [shown, "did you get it?"]
    assert not world.link.cut


@pytest.mark.asyncio
@pytest.mark.parametrize("seconds", [50, 100])
@pytest.mark.parametrize("answer", [None, Refused("M_FORBIDDEN"), Unavailable("away")])
async def test_a_file_that_only_the_media_repository_does_not_take(
    monkeypatch: pytest.MonkeyPatch, answer: Exception | None, seconds: int
) -> None:
    """It may be a process of its own. For a minute, or while the homeserver is away, it is tried
    again; then the agent's words go on without it.
    """
    world = World()
    await world.chatting()
    relay, back = world.matrix.relay, world.clock.now() + seconds * 1000

    async def fails(*args: Any, **more: Any) -> tuple[Part, ...]:
        if isinstance(args[3], RelayedMedia) and world.clock.now() < back:
            raise NotStored("HTTP 500")
        return await relay(*args, **more)

    async def is_replaced(*_: object) -> bool:
        if answer is not None:
            raise answer
        return False

    monkeypatch.setattr(world.matrix, "relay", fails)
    monkeypatch.setattr(world.matrix, "is_replaced", is_replaced)
    file = AgentMedia("file", url="/a.pdf", name="a.pdf")
    async with world.running() as engine:
        await engine.pushed(ROOM, "p1", Received(MessageReceived(SESSION, MEI.id, file)))
        await engine.pushed(ROOM, "p2", said("did you get it?"))
        await world.clock.turn(200)
    lost = seconds > 60 and not isinstance(answer, Unavailable)
    shown = "chat.media_failed" if lost else "RelayedMedia"
    assert world.matrix.texts(ROOM) == [shown, "did you get it?"]
    assert await dead_letters(world.store) == []


@pytest.mark.asyncio
async def test_a_file_that_drips_is_not_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    await world.chatting()
    asked = []

    @asynccontextmanager
    async def drips(url: str, limit: int) -> AsyncIterator[Blob]:
        asked.append((url, limit))
        await world.clock.sleep(FETCH_WITHIN / 1000 + 1)
        if len(asked) == 1:
            raise Unavailable("slow")
        yield Blob.of(b"late")

    monkeypatch.setattr(world.link, "fetch", drips)
    file = AgentMedia("file", url="/a.pdf", name="a.pdf")
    async with world.running() as engine:
        await engine.pushed(ROOM, "p1", Received(MessageReceived(SESSION, MEI.id, file)))
        await engine.pushed(ROOM, "p2", said("did you get it?"))
        await world.clock.turn(FETCH_WITHIN / 1000 + 3)
    assert world.matrix.texts(ROOM) == ["chat.media_failed", "did you get it?"]
    assert len(asked) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "content", [AgentMedia("file", url="/a.pdf"), AgentMedia("file", data="iVBO", name="a.pdf")]
)
async def test_a_file_too_large_for_the_homeserver_is_reported(content: AgentMedia) -> None:
    world = World()
    world.matrix.trouble.append(Refused("M_TOO_LARGE"))
    assert [text for _, text in await relayed(world, content)] == ["chat.media_too_big"]
    assert await dead_letters(world.store) == [], "no repetition would help"


@pytest.mark.asyncio
@pytest.mark.parametrize("trouble", [TooBig("x"), Refused("404"), Unavailable("away"), None])
async def test_a_ghost_comes_with_or_without_its_picture(trouble: Exception | None) -> None:
    world = World()
    await world.chatting()
    if trouble is not None:
        world.link.before.append(trouble)
    ann = Agent(AgentId("K00018"), "Ann", icon="ann.png")
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", Received(AgentsUpdated(SESSION, (MEI, ann))))
        await quiet()
    assert (ROOM, "@webchat_K00018:example.org") in world.matrix.members
    assert (ann.id in world.matrix.pictures) is (trouble is None)
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_an_unavailable_homeserver_loses_no_avatar() -> None:
    world = World()
    await world.chatting()
    ann = Agent(AgentId("K00018"), "Ann", icon="ann.png")
    world.matrix.trouble.append(Unavailable("away"))
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", Received(AgentsUpdated(SESSION, (ann,))))
        await world.clock.turn(1)
    assert world.matrix.pictures == {ann.id: "https://crm.example.org/ann.png"}
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_every_part_of_an_agents_message_can_be_quoted() -> None:
    world = ReadingWorld(msgspec.structs.replace(RULES, language="en"))
    await world.chatting()
    html = 'Is it <b>this</b> one? <img src="/a.png" alt="shoe.png"> Or none?'
    async with world.running() as engine:
        await engine.pushed(ROOM, "p", Received(MessageReceived(SESSION, MEI.id, AgentText(html))))
        await quiet()
        parts = [one.event_id for one in world.reading.shown]
        assert len(parts) == 3
        for number, part in enumerate(parts):
            reply = {"m.in_reply_to": {"event_id": part}}
            message = {"msgtype": "m.text", "body": f"answer {number}", "m.relates_to": reply}
            await engine.accept_events([world.message(f"$c{number}", **message)])
            await quiet()
    assert await world.nothing_left()
    first, picture, last = world.link.texts(ROOM)
    assert "Is it this one?" in first
    assert last.splitlines()[0].endswith("Or none?”:")
    assert picture.endswith("answer 1")


@pytest.mark.asyncio
async def test_only_a_long_text_is_split_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    world, apart = World(), list[int]()
    await world.chatting()
    run = world.around.conversions.submit

    def submit(split: Callable[..., object], *about: object) -> Future[object]:
        apart.append(size)
        return run(split, *about)

    monkeypatch.setattr(world.around.conversions, "submit", submit)
    async with world.running() as engine:
        for size in (LONG_TEXT, LONG_TEXT + 1):
            push = MessageReceived(SESSION, MEI.id, AgentText("x" * size))
            await engine.pushed(ROOM, str(size), Received(push))
            await quiet()
    assert apart == [LONG_TEXT + 1]
    assert await world.nothing_left()


@pytest.mark.asyncio
async def test_a_message_recalled_while_it_is_posted_is_redacted_with_every_part() -> None:
    """Fetching its pictures takes a while, in which the agent recalls it."""
    world = ReadingWorld(RULES)
    await world.chatting()
    look = AgentText('look:<img src="/a.png" alt="a.png">there')
    again = AgentNotice(NoticeType.REVOKE_MESSAGE)
    async with world.running() as engine:
        world.matrix.gate.clear()
        for key, content in (("p1", look), ("p2", again)):
            push = MessageReceived(SESSION, MEI.id, content, "7")
            await engine.pushed(ROOM, key, Received(push))
            await quiet()
        world.matrix.gate.set()
        await quiet()
    sent = [one.event_id for one in world.matrix.posted]
    assert (len(sent), sorted(world.matrix.redacted)) == (3, sorted(sent))


@pytest.mark.asyncio
@pytest.mark.parametrize("late", [True, False])
async def test_a_message_reported_late_as_undelivered_mentions_its_sender(late: bool) -> None:
    world = World()
    await world.chatting()
    await world.owe(Reported(EventId("$e"), "undelivered.upload_unclear", ping=late))
    async with world.running():
        await quiet()
    told = world.matrix.posted[0]
    assert (told.reply_to, told.ping, told.mentions) == ("$e", late, (ADA,) if late else ())
