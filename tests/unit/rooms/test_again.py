"""Sending undelivered messages again by reaction or `retry`, looked up in the ledger."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.conversation.model import Ended, Idle, Queued
from bridge.conversation.turn import all_pieces
from bridge.ids import EventId, QueueId, RequestId, RoomId
from bridge.rooms.engine import Engine
from bridge.rooms.ports import CallFailure, Unavailable, Undecryptable
from bridge.rooms.record import Undelivered
from bridge.rooms.rules import Rules
from bridge.rooms.store import Cutoffs
from bridge.webchat.codes import FailureReason
from bridge.webchat.frames import (
    QueueStatus,
    RateSession,
    RatingPushed,
    Received,
    Reply,
    SessionClosed,
)
from bridge.webchat.frames import SendPreMessage as PreMessage
from tests.fakes.clock import quiet
from tests.fakes.house import MEI, ROOM, SESSION, said
from tests.fakes.reading import ReadingMatrix, ReadingWorld
from tests.unit.rooms.visits import BOT, RULES

pytestmark = pytest.mark.asyncio
BUSY = RULES.limits.model_copy(update={"messages_per_minute": 1000})
ENGLISH: Rules = msgspec.structs.replace(RULES, language="en", limits=BUSY)
NEXT = RoomId("!next:example.org")
REFUSED = Reply(110, -77)
Event = tuple[RoomId, EventId, dict[str, object]]


async def chat(rules: Rules = ENGLISH) -> ReadingWorld:
    world = ReadingWorld(rules)
    await world.chatting()
    return world


async def happens(engine: Engine, *events: Event) -> None:
    await engine.accept_events(events)
    await quiet()


def react(world: ReadingWorld, target: str, key: str = "🔁", event_id: str = "$r") -> Event:
    relation = {"rel_type": "m.annotation", "event_id": target, "key": key}
    return world.real("m.reaction", event_id, {"m.relates_to": relation})


def command(world: ReadingWorld, words: str, reply_to: str = "", event_id: str = "$c") -> Event:
    content: dict[str, object] = {"msgtype": "m.text", "body": f"!wc {words}"}
    if reply_to:
        content["m.relates_to"] = {"m.in_reply_to": {"event_id": reply_to}}
    return world.message(event_id, **content)


def word(world: ReadingWorld, text: str, event_id: str) -> Event:
    return world.message(event_id, msgtype="m.text", body=text)


def told(world: ReadingWorld) -> list[tuple[str, str | None]]:
    """The bridge's notices, each with the event it replies to, without its reactions."""
    signs = {"🔁", "❌"}
    return [(one.text, one.reply_to) for one in world.matrix.posted if one.text not in signs]


REPORT = "undelivered.refused\nagain.hint"


async def test_a_second_reaction_does_not_send_a_message_twice() -> None:
    """On the bridge's answer and on the message itself, or after it has arrived."""
    world = await chat()
    world.link.answers.append(REFUSED)
    async with world.running() as engine:
        await happens(engine, word(world, "order 4711", "$1"))
        answer = world.matrix.posted[0].event_id
        await happens(engine, react(world, answer), react(world, "$1", event_id="$r2"))
        await happens(engine, react(world, answer, event_id="$r3"))
        await happens(engine, react(world, "$1", event_id="$r4"))
    assert world.link.texts(ROOM) == ["order 4711", "order 4711"]
    assert told(world)[3:] == [("again.nothing", answer)], "the report asks for the tap"


@contextlib.asynccontextmanager
async def late_answer(world: ReadingWorld) -> AsyncIterator[Engine]:
    """A homeserver that shows a sent event before it answers the request."""
    world.matrix.answering.clear()
    async with world.running() as engine:
        try:
            yield engine
        finally:
            world.matrix.answering.set()


@pytest.mark.parametrize("other_first", [False, True])
async def test_a_reaction_to_a_notice_without_known_event_id_sends_again(other_first: bool) -> None:
    """People see a notice before the homeserver has told the bridge its event id."""
    world = await chat()
    world.link.answers.append(REFUSED)
    async with late_answer(world) as engine:
        await happens(engine, word(world, "order 4711", "$1"))
        others = [react(world, "$1", "👍", "$other")] if other_first else []
        await happens(engine, *others, react(world, world.matrix.posted[0].event_id))
        await world.clock.turn(3)
        assert world.link.texts(ROOM) == ["order 4711"]
        world.matrix.answering.set()
        await world.clock.turn(1)
    assert world.link.texts(ROOM) == ["order 4711", "order 4711"]


@pytest.mark.parametrize("together", [False, True])
async def test_a_rating_reaction_waits_for_the_event_id_of_its_poll(together: bool) -> None:
    """The room waits for a look-up while the homeserver's answer comes."""
    world = await chat()
    async with late_answer(world) as engine:
        await engine.pushed(ROOM, "p1", Received(RatingPushed(SESSION, MEI.id)))
        await quiet()
        world.matrix.gate.clear()
        asked = world.matrix.posted[0].event_id
        events = [command(world, "config reset"), react(world, asked, "5️⃣")]
        for some in [events] if together else [events[:1], events[1:]]:
            await happens(engine, *some)
        world.matrix.answering.set()
        await quiet()
        world.matrix.gate.set()
        await world.clock.turn(1)
    rated = [one.command for one in world.link.calls if isinstance(one.command, RateSession)]
    assert [one.rating for one in rated] == [5]


async def test_a_refused_message_is_handled_after_an_earlier_end_of_the_chat() -> None:
    """A customer who thanks an agent who has just ended the chat wants no other agent."""
    world = await chat()
    async with late_answer(world) as engine:
        await engine.pushed(ROOM, "p1", said("Good-bye!"))
        await quiet()
        world.link.gate.clear()
        world.link.answers.append(Reply(110, -11))
        await happens(engine, word(world, "have a nice day", "$1"))
        await happens(engine, react(world, world.matrix.posted[0].event_id, "👍"))
        await engine.pushed(ROOM, "p2", Received(SessionClosed(SESSION, MEI.id)))
        world.link.gate.set()
        await quiet()
        world.matrix.answering.set()
        await world.clock.turn(1)
    assert [type(one.command).__name__ for one in world.link.calls] == ["SendMessage"]
    assert isinstance((await world.stored()).conversation.phase, Ended)


async def test_a_reaction_from_before_a_restart_sends_again_after_it() -> None:
    """The event id of a notice sent before a crash may come long after the restart."""
    world = await chat()
    world.link.answers.append(REFUSED)
    world.matrix.answering.clear()
    async with world.running() as engine:
        await happens(engine, word(world, "order 4711", "$1"))
        await happens(engine, react(world, world.matrix.posted[0].event_id))
    await world.clock.turn(60)
    async with world.running():
        await world.clock.turn(3)
        assert world.link.texts(ROOM) == ["order 4711"]
        world.matrix.answering.set()
        await world.clock.turn(1)
    assert world.link.texts(ROOM) == ["order 4711", "order 4711"]


@pytest.mark.parametrize("set_back", [0, 3_600_000])
async def test_a_reaction_to_an_unknown_event_delays_the_room_only_briefly(set_back: int) -> None:
    """An unknown event need not be one of the bridge's."""
    world = await chat()
    world.link.answers.append(REFUSED)
    async with late_answer(world) as engine:
        await happens(engine, word(world, "order 4711", "$1"))
        await happens(engine, react(world, "$nobody_knows"), word(world, "are you there?", "$2"))
        await world.clock.turn(9)
        assert world.link.texts(ROOM) == ["order 4711"]
        world.clock.set_back(set_back)
        await world.clock.turn(2)
        assert world.link.texts(ROOM) == ["order 4711", "are you there?"]


@pytest.mark.parametrize("sign", ["🔁", "🔄", "↩️"])
@pytest.mark.parametrize("to_our_answer", [False, True])
async def test_a_reaction_sends_a_refused_message_again(sign: str, to_our_answer: bool) -> None:
    world = await chat()
    world.link.answers.append(REFUSED)
    async with world.running() as engine:
        await happens(engine, word(world, "order 4711", "$1"))
        assert told(world) == [(REPORT, "$1")]
        target = world.matrix.posted[0].event_id if to_our_answer else "$1"
        await happens(engine, react(world, target, sign))
    assert world.link.texts(ROOM) == ["order 4711", "order 4711"]
    assert told(world)[1:] == [("again.delivered", "$1")]
    assert (await world.stored()).undelivered == ()
    assert (await world.stored()).read_up_to == "$1"


async def test_a_reaction_to_the_queue_card_sends_all_messages_of_its_request() -> None:
    """One line for three messages; one reaction sends them, and none refused earlier."""
    world = await chat()
    world.link.answers.append(REFUSED)
    async with world.running() as engine:
        await happens(engine, word(world, "order 4711", "$0"))
        world.link.answers.extend([Reply(101, -3)] * 3)
        await engine.pushed(ROOM, "end", Received(SessionClosed(SESSION, MEI.id)))
        await quiet()
        for number in (1, 2, 3):
            await happens(engine, word(world, f"word {number}", f"${number}"))
        await happens(engine, command(world, "cancel"))
        last, _ = told(world)[-1]
        assert last == "queue.dropped"
        assert len([one for one in told(world) if one[1] in {"$1", "$2", "$3"}]) == 0
        card = next(one.edits for one in reversed(world.matrix.posted) if one.text == last)
        assert card is not None
        await happens(engine, react(world, card))
    going = all_pieces((await world.stored()).conversation)
    assert [piece.event_id for piece in going] == ["$1", "$2", "$3"]


async def test_a_reaction_to_the_queue_card_sends_even_thirty_messages() -> None:
    world = await chat()
    async with world.running() as engine:
        world.link.answers.extend([Reply(101, -3)] * 40)
        await engine.pushed(ROOM, "end", Received(SessionClosed(SESSION, MEI.id)))
        await quiet()
        for number in range(30):
            await happens(engine, word(world, f"word {number}", f"${number}"))
        await happens(engine, command(world, "cancel"))
        card = next(one.edits for one in reversed(world.matrix.posted) if one.edits)
        assert card is not None
        await happens(engine, react(world, card))
    going = all_pieces((await world.stored()).conversation)
    assert [piece.event_id for piece in going] == [f"${number}" for number in range(30)]


async def test_retry_sends_the_newest_undelivered_message() -> None:
    world = await chat()
    world.link.answers.extend([REFUSED, REFUSED])
    async with world.running() as engine:
        await happens(engine, word(world, "one", "$1"), word(world, "two", "$2"))
        await happens(engine, command(world, "retry"))
    assert world.link.texts(ROOM) == ["one", "two", "two"]
    assert (await world.stored()).undelivered == (Undelivered(EventId("$1"), passed=True),)


async def test_retry_all_sends_all_in_order_with_one_answer() -> None:
    world = await chat()
    world.link.answers.extend([REFUSED, REFUSED])
    async with world.running() as engine:
        await happens(engine, word(world, "one", "$1"), word(world, "two", "$2"))
        await happens(engine, command(world, "retry ALL"))
    assert world.link.texts(ROOM) == ["one", "two", "one", "two"]
    assert told(world)[2:] == [("again.delivered_all", None)], "one sentence for both"


async def test_retry_all_leaves_out_what_may_be_a_password() -> None:
    world = await chat()
    world.around.rules = msgspec.structs.replace(world.around.rules, seal=lambda *_: b"")
    world.link.answers.append(REFUSED)
    async with world.running() as engine:
        await happens(engine, word(world, "one", "$1"), word(world, "login ada s3cret", "$2"))
        await happens(engine, command(world, "retry all"))
        assert world.link.texts(ROOM) == ["one", "one"]
        await happens(engine, react(world, "$2"))
    assert world.link.texts(ROOM)[2:] == ["login ada s3cret"], "its own hint says so"


async def test_retry_all_reports_arrivals_after_the_rest_was_refused_again() -> None:
    world = await chat()
    world.link.answers.extend([REFUSED, REFUSED, Reply(110, 1), REFUSED])
    async with world.running() as engine:
        await happens(engine, word(world, "one", "$1"), word(world, "two", "$2"))
        await happens(engine, command(world, "retry all"))
        assert told(world)[2:] == [(REPORT, "$2"), ("again.delivered_all", None)]
        await happens(engine, react(world, "$2"))
    assert told(world)[4:] == [("again.delivered", "$2")]
    assert (await world.stored()).arrived_again == 0


@pytest.mark.parametrize("to_our_answer", [False, True])
async def test_retry_as_a_reply_sends_the_message_replied_to(to_our_answer: bool) -> None:
    world = await chat()
    world.link.answers.extend([REFUSED, REFUSED])
    async with world.running() as engine:
        await happens(engine, word(world, "one", "$1"), word(world, "two", "$2"))
        target = world.matrix.posted[0].event_id if to_our_answer else "$1"
        await happens(engine, command(world, "retry", target))
    assert world.link.texts(ROOM) == ["one", "two", "one"]


async def test_retry_as_a_reply_to_a_delivered_message_sends_nothing() -> None:
    """Only `retry all` sends the others."""
    world = await chat()
    world.link.answers.extend([REFUSED, Reply(110, 1)])
    async with world.running() as engine:
        await happens(engine, word(world, "one", "$1"), word(world, "two", "$2"))
        await happens(engine, command(world, "retry", "$2"))
        assert told(world)[1:] == [("again.nothing", "$c")]
        await happens(engine, command(world, "retry ａｌｌ", "$2", event_id="$c2"))
    assert world.link.texts(ROOM) == ["one", "two", "one"]


def correction(world: ReadingWorld, target: str, text: str, event_id: str) -> Event:
    relation = {"rel_type": "m.replace", "event_id": target}
    new = {"msgtype": "m.text", "body": text}
    return world.message(
        event_id,
        msgtype="m.text",
        body=f"* {text}",
        **{"m.relates_to": relation, "m.new_content": new},
    )


@pytest.mark.parametrize("by_sign", [True, False])
async def test_a_reaction_or_reply_to_the_original_sends_a_corrected_message(by_sign: bool) -> None:
    """Clients show the newest wording in place of the original, and react to the original."""
    world = await chat()
    world.link.answers.extend([REFUSED, REFUSED])
    async with world.running() as engine:
        await happens(engine, word(world, "one", "$1"))
        await happens(engine, correction(world, "$1", "two", "$2"))
        sign = react(world, "$1") if by_sign else command(world, "retry", "$1")
        await happens(engine, sign)
    first, second, third = world.link.texts(ROOM)
    assert (first, second) == ("one", "two")
    assert third.endswith("two")
    assert told(world)[2:] == [("again.delivered", "$2")]


async def test_bare_retry_is_a_command_only_if_a_message_is_undelivered() -> None:
    world = ReadingWorld(ENGLISH)
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        await happens(engine, word(world, "retry", "$1"))
        await happens(engine, command(world, "cancel"))
        await happens(engine, word(world, "retry", "$2"))
    waiting = [one.command.text for one in world.link.calls if isinstance(one.command, PreMessage)]
    assert waiting == ["retry", "retry"]
    assert told(world).count(("queue.cancelled queue.dropped_one", None)) == 1
    assert "🔁" in world.matrix.texts(ROOM), "below the card, to send it after all"


async def test_a_message_mistaken_for_a_command_is_sent_by_a_reaction() -> None:
    world = ReadingWorld(ENGLISH)
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        await happens(engine, word(world, "from Berlin", "$1"))
        assert world.link.calls == []
        await happens(engine, react(world, "$1"))
    assert told(world)[0] == ("undelivered.like_command\nagain.hint", "$1")
    (sent,) = [one.command.text for one in world.link.calls if isinstance(one.command, PreMessage)]
    assert sent == "from Berlin"


async def test_retry_is_answered_in_a_room_where_chats_start_on_command() -> None:
    """Also with messages kept already; all of them get one answer."""
    world = ReadingWorld(msgspec.structs.replace(ENGLISH, start="on_command"))
    await world.record(ROOM, Idle())
    slips = [word(world, "from Berlin", "$1"), word(world, "from Paris", "$2")]
    words = [word(world, f"word {number}", f"$w{number}") for number in range(3)]
    async with world.running() as engine:
        await happens(engine, *slips, *words)
        before = len(told(world))
        await happens(engine, command(world, "retry all"))
        assert told(world)[before:] == [("start.needed_still", None)]
        await happens(engine, word(world, "from Rome", "$3"))
        await happens(engine, command(world, "retry", event_id="$d"))
    assert told(world)[-1] == ("start.needed_still", None)
    assert world.link.calls == []


async def test_many_messages_sent_again_are_answered_once_though_none_was_kept() -> None:
    world = ReadingWorld(msgspec.structs.replace(ENGLISH, start="on_command"))
    await world.record(ROOM, Idle())
    slips = [word(world, f"from {city}", f"${city}") for city in ("Berlin", "Paris", "Rome")]
    async with world.running() as engine:
        await happens(engine, *slips)
        before = len(told(world))
        await happens(engine, command(world, "retry all"))
    assert told(world)[before:] == [("start.needed_still", None)]
    assert world.link.calls == []


async def test_retry_without_undelivered_messages_says_so() -> None:
    world = await chat()
    async with world.running() as engine:
        await happens(engine, word(world, "fine", "$1"), command(world, "retry"))
        await happens(engine, react(world, "$1"))
    assert told(world) == [("again.nothing", "$c")]
    assert world.link.texts(ROOM)[0] == "fine"


async def test_a_message_being_sent_again_is_not_sent_twice() -> None:
    world = await chat()
    world.link.answers.append(REFUSED)
    async with world.running() as engine:
        await happens(engine, word(world, "one", "$1"))
        world.link.gate.clear()
        await happens(engine, react(world, "$1", event_id="$r1"))
        await happens(engine, react(world, "$1", event_id="$r2"))
        await happens(engine, command(world, "retry"))
        assert told(world)[1:] == [("again.under_way", "$1"), ("again.nothing", "$c")]
        world.link.gate.set()
        await quiet()
    assert world.link.texts(ROOM) == ["one", "one"]


async def test_a_message_sent_again_queues_behind_others_and_stays_a_reply() -> None:
    world = await chat()
    world.link.answers.append(Reply(110, 1))
    world.link.answers.append(REFUSED)
    async with world.running() as engine:
        await happens(engine, word(world, "which colour?", "$0"))
        reply = {"m.in_reply_to": {"event_id": "$0"}}
        message = world.message("$1", msgtype="m.text", body="red", **{"m.relates_to": reply})
        await happens(engine, message)
        world.link.gate.clear()
        await happens(engine, word(world, "next", "$2"), react(world, "$1"))
        world.link.gate.set()
        await quiet()
    asked, quoted, later, again = world.link.texts(ROOM)
    assert (asked, later) == ("which colour?", "next")
    assert quoted == again
    assert quoted.endswith("red")
    assert "which colour?" in quoted


async def test_a_message_refused_again_can_be_sent_again() -> None:
    world = await chat()
    world.link.answers.extend([REFUSED, REFUSED])
    async with world.running() as engine:
        await happens(engine, word(world, "one", "$1"))
        await happens(engine, react(world, "$1", event_id="$r1"))
        assert told(world) == [(REPORT, "$1")] * 2
        await happens(engine, react(world, "$1", event_id="$r2"))
    assert told(world)[2:] == [("again.delivered", "$1")]


async def test_a_message_no_longer_kept_is_said_to_be_forgotten() -> None:
    world = await chat()
    world.link.answers.append(REFUSED)
    async with world.running() as engine:
        await happens(engine, word(world, "one", "$1"))
        await world.clock.turn(60)
        await world.store.prune(world.clock.now(), 0, Cutoffs())
        await happens(engine, react(world, "$1"))
    assert told(world)[1:] == [("again.forgotten", "$1")]
    assert (await world.stored()).undelivered == ()


@pytest.mark.parametrize("tapped", ["message", "report", "replied"])
async def test_a_message_no_longer_kept_is_read_from_the_homeserver(tapped: str) -> None:
    """A message may wait longer than `retention.bodies`, and its report be read days later."""
    world = await chat()
    world.link.answers.append(REFUSED)
    async with world.running() as engine:
        await happens(engine, word(world, "one", "$1"))
        report = world.matrix.posted[0]
        relation = {"m.relates_to": {"m.in_reply_to": {"event_id": "$1"}}}
        told_so: dict[str, object] = {"event_id": report.event_id, "sender": BOT}
        told_so["content"] = relation
        world.matrix.room = [word(world, "one", "$1")[2], told_so]
        await world.clock.turn(60)
        await world.store.prune(world.clock.now(), 0, Cutoffs())
        if tapped == "replied":
            await happens(engine, command(world, "retry", reply_to=report.event_id))
        else:
            await happens(engine, react(world, "$1" if tapped == "message" else report.event_id))
    assert world.link.texts(ROOM) == ["one", "one"]
    assert told(world)[1:] == [("again.delivered", "$1")]


async def test_a_hanging_homeserver_is_asked_for_few_old_messages() -> None:
    world = await chat()
    world.link.answers.extend([REFUSED] * 5)
    async with world.running() as engine:
        await happens(engine, *(word(world, f"word {number}", f"${number}") for number in range(5)))
        world.matrix.room = [word(world, f"word {number}", f"${number}")[2] for number in range(5)]
        await world.clock.turn(60)
        await world.store.prune(world.clock.now(), 0, Cutoffs())
        asked = len(world.matrix.requests)
        world.matrix.trouble.extend([Unavailable("HTTP 504")] * 6)
        await happens(engine, command(world, "retry all"))
        await world.clock.turn(30)
        fetched = [one for one in world.matrix.requests[asked:] if one.startswith("read ")]
        assert fetched == [f"read $0 in {ROOM}"] * 3 + [f"read $1 in {ROOM}"] * 3
        unread = [("undelivered.unread\nagain.hint", f"${number}") for number in range(5)]
        assert told(world)[-5:] == unread
        await happens(engine, command(world, "retry all", event_id="$c2"))
    assert world.link.texts(ROOM)[5:] == [f"word {number}" for number in range(5)]


async def test_an_old_message_of_the_room_before_an_upgrade_is_read_there() -> None:
    world = await chat()
    world.link.answers.append(REFUSED)
    async with world.running() as engine:
        await happens(engine, word(world, "one", "$1"))
        world.matrix.room = [{**word(world, "one", "$1")[2], "room_id": ROOM}]
        stone = world.real("m.room.tombstone", "$t", {"replacement_room": NEXT}, state_key="")
        called = {"state_key": BOT, "room_id": NEXT}
        await happens(engine, stone)
        invited = world.real("m.room.member", "$i", {"membership": "invite"}, **called)
        await happens(engine, (NEXT, *invited[1:]))
        await world.clock.turn(60)
        await world.store.prune(world.clock.now(), 0, Cutoffs())
        asks = command(world, "retry")
        await happens(engine, (NEXT, asks[1], {**asks[2], "room_id": NEXT}))
    assert (await world.stored()).matrix_id == NEXT
    assert world.link.texts(ROOM) == ["one", "one"]


async def test_an_old_message_of_a_person_is_no_report() -> None:
    """Not even as a reply to the undelivered message."""
    world = await chat()
    world.link.answers.append(REFUSED)
    async with world.running() as engine:
        await happens(engine, word(world, "one", "$1"))
        content = {"body": "and?", "m.relates_to": {"m.in_reply_to": {"event_id": "$1"}}}
        world.matrix.room = [world.message("$old", **content)[2]]
        await happens(engine, react(world, "$old"))
    assert world.link.texts(ROOM) == ["one"]


async def test_a_redacted_message_is_not_sent_by_retry() -> None:
    world = await chat()
    world.link.answers.append(REFUSED)
    async with world.running() as engine:
        await happens(engine, word(world, "secret", "$1"))
        await happens(engine, world.real("m.room.redaction", "$x", {"redacts": "$1"}))
        await happens(engine, command(world, "retry"))
    assert world.link.texts(ROOM) == ["secret"]
    assert told(world)[1:] == [("again.nothing", "$c")]


async def test_a_correction_of_an_undelivered_message_is_sent_as_the_message() -> None:
    world = await chat()
    world.link.answers.append(REFUSED)
    async with world.running() as engine:
        await happens(engine, word(world, "order 7411 has not come", "$1"))
        new = {"msgtype": "m.text", "body": "order 4711 has not come"}
        relation = {"rel_type": "m.replace", "event_id": "$1"}
        more = {"m.new_content": new, "m.relates_to": relation}
        await happens(engine, world.message("$2", msgtype="m.text", body="* …", **more))
        await happens(engine, command(world, "retry"))
    assert world.link.texts(ROOM)[1:] == ["order 4711 has not come"]
    assert told(world)[1:] == [("again.nothing", "$c")]


async def test_a_refused_correction_is_sent_again_as_a_correction() -> None:
    world = await chat()
    async with world.running() as engine:
        await happens(engine, word(world, "order 7411 has not come at all", "$1"))
        world.link.answers.append(REFUSED)
        new = {"msgtype": "m.text", "body": "order 4711 has not come at all"}
        relation = {"rel_type": "m.replace", "event_id": "$1"}
        more = {"m.new_content": new, "m.relates_to": relation}
        await happens(engine, world.message("$2", msgtype="m.text", body="* …", **more))
        await happens(engine, react(world, "$2"))
    assert world.link.texts(ROOM)[-1] == "Correction: order 4711 has not come at all"


async def test_a_paused_room_sends_nothing_again() -> None:
    world = await chat()
    world.link.answers.append(REFUSED)
    async with world.running() as engine:
        await happens(engine, word(world, "one", "$1"))
        world.matrix.level = 100
        await happens(engine, command(world, "pause"))
        await happens(engine, react(world, "$1"))
    assert told(world)[-1] == ("undelivered.paused\nagain.hint", "$1")
    assert [one.event_id for one in (await world.stored()).undelivered] == ["$1"]


@pytest.mark.parametrize("again", ["$1", "$2"])
async def test_a_message_corrected_in_a_pause_is_sent_in_its_newest_wording(again: str) -> None:
    """The correction is refused as well, and counts if the message is sent again."""
    world = await chat()
    world.matrix.level = 100
    relation = {"rel_type": "m.replace", "event_id": "$1"}
    more = {"m.new_content": {"msgtype": "m.text", "body": "order 4711"}, "m.relates_to": relation}
    async with world.running() as engine:
        await happens(engine, command(world, "pause", event_id="$p"))
        await happens(engine, word(world, "order 7411", "$1"))
        await happens(engine, world.message("$2", msgtype="m.text", body="* …", **more))
        await happens(engine, command(world, "resume", event_id="$q"))
        before = world.link.texts(ROOM)
        await happens(engine, react(world, again))
        assert world.link.texts(ROOM)[len(before) :] == ["order 4711"]
    assert (await world.stored()).undelivered == ()


class LockedMatrix(ReadingMatrix):
    """Has no key for one message."""

    locked = True
    opened: dict[str, object] | None = None

    async def open(
        self, raw: dict[str, object], patience: float | None = None, *, ask: bool = True
    ) -> dict[str, object] | Undecryptable:
        del patience, ask
        if raw["event_id"] == "$1" and self.locked:
            return Undecryptable("unreadable.no_key", later=True)
        return self.opened or raw if raw["event_id"] == "$1" else raw


async def test_a_command_whose_key_came_late_is_sent_to_no_agent() -> None:
    """It may hold a password."""
    world = await chat()
    matrix = LockedMatrix()
    world.matrix = world.reading = matrix
    world.around = msgspec.structs.replace(world.around, matrix=matrix)
    matrix.opened = world.message("$1", msgtype="m.text", body="!wc login ada s3cret")[2]
    async with world.running() as engine:
        await happens(engine, world.real("m.room.encrypted", "$1", {}))
        matrix.locked = False
        await happens(engine, react(world, "$1"))
        assert told(world)[1:] == [("again.cannot", "$1")]
    assert world.link.texts(ROOM) == []


async def test_a_message_whose_key_came_late_is_no_longer_sealed() -> None:
    world = await chat()
    matrix = LockedMatrix()
    world.matrix = world.reading = matrix
    world.around = msgspec.structs.replace(world.around, matrix=matrix)
    sealed = world.real("m.room.encrypted", "$1", {"msgtype": "m.text", "body": "locked"})
    async with world.running() as engine:
        await happens(engine, sealed)
        await happens(engine, react(world, "$1", event_id="$r1"))
        assert told(world) == [("unreadable.no_key\nagain.hint", "$1")] * 2
        matrix.locked = False
        opened = world.message("$1", msgtype="m.text", body="locked")[2]
        sealed[2].update(opened)
        await world.clock.turn(3600)
    assert len((await world.stored()).sealed) == 0


@pytest.mark.parametrize("minutes", [59, 61])
async def test_a_retry_without_the_key_waits_another_hour_for_it(minutes: int) -> None:
    """As its answer promises, also if the hour for which the event was kept is over."""
    world = await chat()
    matrix = LockedMatrix()
    world.matrix = world.reading = matrix
    world.around = msgspec.structs.replace(world.around, matrix=matrix)
    matrix.opened = word(world, "locked", "$1")[2]
    async with world.running() as engine:
        await happens(engine, world.real("m.room.encrypted", "$1", {}))
        await world.clock.turn(minutes * 60)
        assert len((await world.stored()).sealed) == (minutes < 60)
        await happens(engine, react(world, "$1"))
        assert told(world) == [("unreadable.no_key\nagain.hint", "$1")] * 2
        await world.clock.turn(50 * 60)
        assert len((await world.stored()).sealed) == 1
        matrix.locked = False
        await world.clock.turn(120)
    assert world.link.texts(ROOM) == ["locked"]


async def test_a_reaction_to_a_command_sends_nothing() -> None:
    world = await chat()
    async with world.running() as engine:
        await happens(engine, command(world, "status", event_id="$1"))
        await happens(engine, react(world, "$1"))
    assert [text for text, _ in told(world)] == ["command.status_chatting"]


@pytest.mark.usefixtures("no_other_writer")
@given(st.lists(st.sampled_from(["say", "refuse", "cut", "react", "retry all"]), max_size=12))
async def test_whatever_happens_nothing_is_lost_or_sent_twice_at_once(moves: list[str]) -> None:
    """In the end each message has arrived, or its sender was told and may send it again."""
    world = await chat()
    said = 0
    async with world.running() as engine:
        for number, move in enumerate(moves):
            match move:
                case "say":
                    said += 1
                    await happens(engine, word(world, f"word {said}", f"$w{said}"))
                case "refuse":
                    world.link.answers.append(REFUSED)
                case "cut":
                    cut = CallFailure(FailureReason.NO_ANSWER, certain=False)
                    world.link.after.extend([cut] * 4)
                case "react":
                    await happens(engine, react(world, f"$w{said}", event_id=f"$m{number}"))
                case _:
                    await happens(engine, command(world, move, event_id=f"$m{number}"))
        await world.clock.turn(3600)
    record = await world.stored()
    assert record.conversation.held == ()
    assert record.conversation.outstanding is None
    assert record.arrived_again == 0
    waiting = {one.event_id for one in record.undelivered}
    assert not any(one.again for one in record.undelivered)
    heard = world.link.texts(ROOM)
    for number in range(1, said + 1):
        reported = [to for text, to in told(world) if to == f"$w{number}" and "hint" in text]
        confirmed = {("again.delivered", f"$w{number}"), ("again.delivered_all", None)} & {
            *told(world)
        }
        assert f"word {number}" in heard
        assert not reported or f"$w{number}" in waiting or confirmed
        assert reported or f"$w{number}" not in waiting


# --- redacted or corrected messages ---------------------------------------------------------------


async def test_a_redacted_message_is_not_sent_by_reaction_or_retry_all() -> None:
    """By a reaction to it or to the bridge's answer, or by `retry`."""
    world = await chat()
    world.link.answers.append(REFUSED)
    async with world.running() as engine:
        await happens(engine, word(world, "my secret", "$1"))
        answer = world.matrix.posted[0].event_id
        await happens(engine, world.real("m.room.redaction", "$back", {}, redacts="$1"))
        await happens(engine, react(world, "$1"), react(world, answer, event_id="$r2"))
        await happens(engine, command(world, "retry", "$1"), command(world, "retry all"))
    assert world.link.texts(ROOM) == ["my secret"]


@pytest.mark.parametrize("words", ["retry", "retry all"])
async def test_a_corrected_message_is_sent_again_in_its_newest_wording_only(words: str) -> None:
    """Both wordings were sent with a request that the customer left."""
    world = ReadingWorld(ENGLISH)
    phase = Queued(QueueId(1), world.clock.now(), RequestId(9001))
    await world.record(ROOM, phase)
    async with world.running() as engine:
        await happens(engine, word(world, "order 4711", "$1"))
        await happens(engine, correction(world, "$1", "order 4712", "$2"))
        await happens(engine, command(world, "cancel"))
        await engine.pushed(ROOM, "p1", Received(QueueStatus(RequestId(9001), 7)))
        await quiet()
        assert [one.event_id for one in (await world.stored()).undelivered] == ["$1", "$2"]
        world.link.calls.clear()
        await happens(engine, command(world, words, event_id="$c2"))
        await happens(engine, command(world, words, event_id="$c3"))
    sent = [one.command for one in world.link.calls if isinstance(one.command, PreMessage)]
    assert [one.text for one in sent] == ["order 4712"]


async def test_an_old_wording_is_not_sent_again_after_its_correction_arrived() -> None:
    """The message was corrected while its call ran, and then refused."""
    world = await chat()
    world.link.answers.append(REFUSED)
    world.link.gate.clear()
    async with world.running() as engine:
        await happens(engine, word(world, "order 4711", "$1"))
        await happens(engine, correction(world, "$1", "order 4712", "$2"))
        world.link.gate.set()
        await quiet()
        assert [one.event_id for one in (await world.stored()).undelivered] == ["$1"]
        await happens(engine, command(world, "retry"), command(world, "retry all", event_id="$c2"))
    assert world.link.texts(ROOM) == ["order 4711", "order 4712"]
    assert told(world)[1:] == [("again.nothing", "$c"), ("again.nothing", "$c2")]
