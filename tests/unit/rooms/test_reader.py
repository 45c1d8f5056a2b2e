"""The reader: single inputs, inputs that raise, second rooms, and room upgrades."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise

import msgspec
import pytest

from bridge.config.model import Permission
from bridge.conversation.model import Chatting, Conversation, Idle, Reported, Say
from bridge.ids import EventId, InputSeq, RoomId, UserId
from bridge.rooms.cards import CROSS
from bridge.rooms.engine import Engine
from bridge.rooms.people import GREET_AFTER, PARKED_LIMIT, UPGRADE_PATIENCE
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.reader import Reader
from bridge.rooms.record import (
    Entered,
    EntryFailed,
    MatrixEvent,
    Membership,
    Person,
    RoomRecord,
    RoomSettings,
    Upgrade,
    dump_input,
    dump_record,
    load_record,
)
from bridge.rooms.room import FEDERATED
from bridge.rooms.store import InputRow, StoreError
from bridge.rooms.surroundings import ASK_TRIES, MOST_PENDING
from bridge.rooms.visit import Came, Visit
from bridge.texts import Texts
from bridge.webchat.frames import ChatStarted, CloseSession, Received, SessionClosed
from tests.fakes import flow
from tests.fakes.clock import quiet
from tests.fakes.house import MEI, ROOM, SESSION, World, said
from tests.fakes.matrix import at_once
from tests.fakes.memory import dead_letters
from tests.unit.rooms.visits import ADA, BOT, NEIGHBOUR, RULES, SALES_USER, STRANGER


def row(stored: MatrixEvent | Entered | EntryFailed, key: str | None = None) -> InputRow:
    return InputRow(InputSeq(7), ROOM, dump_input(stored), 1, key)


def visit(world: World, membership: Membership = Membership.JOINED) -> Visit:
    record = RoomRecord(ROOM, membership=membership, host=BOT, customer=ADA)
    return Visit(record, world.rules, world.clock.now())


def reported(one: Visit) -> list[EventId]:
    return [effect.event_id for effect in one.effects if isinstance(effect, Reported)]


@pytest.mark.asyncio
async def test_an_input_that_raises_leaves_the_room_unchanged_and_is_reported() -> None:
    world = World()
    world.matrix.poison.add("$bad")
    one = visit(world)
    before = one.record
    raw: dict[str, object] = {"event_id": "$bad", "kind": "say", "sender": ADA, "text": "x"}
    await Reader(ROOM, world.around).handle(one, row(MatrixEvent(raw), "$bad"))
    assert one.record == before
    assert one.buried == [(7, "unexpected error (KeyError)")]
    assert reported(one) == ["$bad"]


@pytest.mark.asyncio
async def test_an_unreadable_row_without_a_sender_is_a_dead_letter() -> None:
    world = World()
    one = visit(world)
    bad = InputRow(InputSeq(8), ROOM, b"of a newer version", 1)
    await Reader(ROOM, world.around).handle(one, bad)
    assert [seq for seq, _ in one.buried] == [8]
    assert one.effects == []


@pytest.mark.asyncio
async def test_an_input_is_no_dead_letter_if_the_database_is_away() -> None:
    world = World()
    world.store.down = True
    one = visit(world, Membership.NONE)
    _, key, raw = world.invitation()
    with pytest.raises(StoreError):
        await Reader(ROOM, world.around).handle(one, row(MatrixEvent(raw), key))
    assert one.buried == []


@pytest.mark.asyncio
async def test_an_earlier_message_that_raises_does_not_stop_the_others() -> None:
    """Each is handled by itself; the sender is told once the bot has joined."""
    world = World()
    world.matrix.poison.add("$e2")
    world.matrix.earlier = [world.event(text=f"early {n}")[2] for n in range(3)]
    async with world.running() as engine:
        await engine.accept_events([world.invitation()])
        await quiet()
    said = [getattr(call.command, "text", "") for call in world.link.calls]
    assert said == ["", "early 0", "early 2"]
    told = [one.reply_to for one in world.matrix.posted if one.text == "undelivered.internal"]
    assert told == ["$e2"]


@pytest.mark.asyncio
async def test_a_parked_message_that_raises_does_not_stop_the_others() -> None:
    """It raises only when it is handled, not when it is parked."""
    world = World()
    parked = [world.event(text=f"early {n}") for n in range(3)]
    async with world.running() as engine:
        world.matrix.gate.clear()
        await engine.accept_events([world.invitation(), *parked])
        await quiet()
        assert len((await world.stored()).parked) == 3
        world.matrix.poison.add("$e2")
        world.matrix.gate.set()
        await quiet()
    said = [getattr(call.command, "text", "") for call in world.link.calls]
    assert said == ["", "early 0", "early 2"]
    told = [one.reply_to for one in world.matrix.posted if one.text == "undelivered.internal"]
    assert told == ["$e2"]


@pytest.mark.parametrize("membership", [Membership.ENTERING, Membership.LEFT])
def test_a_message_in_a_room_without_the_bot_needs_no_look_up(membership: Membership) -> None:
    world = World()
    raw: dict[str, object] = {"event_id": "$e1", "kind": "say", "sender": ADA, "text": "x"}
    one = visit(world, membership)
    assert Reader(ROOM, world.around).handle_now(one, Came(MatrixEvent(raw), "$e1", raw))
    assert one.effects == []


@pytest.mark.asyncio
async def test_a_room_whose_host_belongs_to_somebody_else_is_left() -> None:
    """Nothing is sent, nothing is posted as that user, and another host may be invited."""
    world = World()
    await world.chatting()
    world.matrix.foreign.add(BOT)
    async with world.running() as engine:
        await engine.accept_events([world.event(text="my card number is 4711")])
        await quiet()
        assert [call.command for call in world.link.calls] == [CloseSession(SESSION)]
        assert world.matrix.texts(ROOM) == []
        assert (await world.stored()).membership is Membership.LEFT
        await engine.accept_events([world.invitation(whom=SALES_USER)])
        await quiet()
    record = await world.stored()
    assert (record.membership, record.host) == (Membership.JOINED, SALES_USER)


@pytest.mark.asyncio
async def test_a_failed_join_marks_the_room_as_left() -> None:
    world = World()
    one = visit(world, Membership.ENTERING)
    await Reader(ROOM, world.around).handle(one, row(EntryFailed("M_FORBIDDEN")))
    assert one.record.membership is Membership.LEFT


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("level", "queue", "said"), [(50.0, 1, "config.taken"), (0.0, None, "refused.not_admin")]
)
async def test_a_configuration_found_on_joining_needs_an_admin_as_its_sender(
    level: float, queue: int | None, said: str
) -> None:
    """The power level of its sender counts, not the inviter's."""
    world = World()
    world.matrix.level = level
    world.matrix.config = {"queue": 1}, STRANGER
    async with world.running() as engine:
        await engine.accept_events([world.invitation()])
        await quiet()
    assert f"level {ROOM} {BOT} {STRANGER}" in world.matrix.requests
    assert (await world.stored()).settings.queue == queue
    assert said in world.matrix.texts(ROOM)


@pytest.mark.asyncio
async def test_a_room_left_at_once_is_asked_for_no_power_level() -> None:
    world = World()
    world.matrix.config = {"queue": 1}, NEIGHBOUR
    async with world.running() as engine:
        await engine.accept_events([world.event("invite", sender=NEIGHBOUR, whom=BOT)])
        await quiet()
    assert not [asked for asked in world.matrix.requests if asked.startswith("level")]
    assert (await world.stored()).membership is Membership.LEFT


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("level", "trouble", "wanted"),
    [
        (50.0, [], "config.paused"),
        (49.0, [], "refused.not_admin"),
        (100.0, [Unavailable("away")] * (ASK_TRIES - 1), "config.paused"),
        (100.0, [Unavailable("away")] * ASK_TRIES, "refused.standing_unknown"),
        (100.0, [Refused("M_FORBIDDEN")], "refused.standing_unknown"),
    ],
    ids=["admin", "ordinary", "admin after tries", "unreachable", "refused"],
)
async def test_who_may_configure_a_room(
    level: float, trouble: list[Exception], wanted: str
) -> None:
    world = World()
    world.matrix.level = level
    world.matrix.trouble.extend(trouble)
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        await engine.accept_events([world.event(text="!wc pause")])
        await world.clock.turn(10)
    assert wanted in world.matrix.texts(ROOM), world.matrix.texts(ROOM)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("admins", "key", "names"),
    [
        ("bob cleo dan eve", "refused.not_admin_named", ("Bob", "Cleo", "dan")),
        ("eve", "refused.not_admin_named", ("Eve",)),
        ("", "refused.not_admin", ()),
    ],
)
async def test_refusals_name_the_room_admins(admins: str, key: str, names: tuple[str, ...]) -> None:
    world = World()
    there = ("Bob", "Cleo", "", "Eve")
    ids = [UserId(f"@{name}:example.org") for name in ("bob", "cleo", "dan", "eve")]
    world.matrix.levels = {one: 50.0 for one in ids if one[1:].partition(":")[0] in admins.split()}
    one = visit(world)
    people = tuple(Person(*who) for who in zip(ids, there, strict=True))
    one.set(direct=False, people=people)
    event = MatrixEvent(world.event(text="!wc pause")[2] | {"event_id": "$x"})
    await Reader(ROOM, world.around).handle(one, row(event, "$x"))
    assert one.effects == [Say(key, {"names": names}, reply_to=EventId("$x"))]


# --- a second direct room of one person ---------------------------------------------------------

SECOND = RoomId("!second:example.org")
LINK = "https://matrix.to/#/!room:example.org?via=example.org"


def calls_in(world: World, room_id: RoomId) -> list[str]:
    return [type(one.command).__name__ for one in world.link.calls if one.room_id == room_id]


async def second_room(
    world: World, *words: str, language: str | None = "ja", heard: tuple[int, str] = (0, "")
) -> list[str]:
    """Let Ada, who has a chat in `ROOM`, write in a second room; return the notices there."""
    await world.chatting()
    found = await world.writing.load(ROOM)
    assert found.room is not None
    record = load_record(found.room.record)
    settings = RoomSettings(language=language)
    spoken = msgspec.structs.replace(record, settings=settings, language=heard)
    await flow.step(world.writing, msgspec.structs.replace(found.room, record=dump_record(spoken)))
    async with world.running() as engine:
        said = [world.event(text=one, room_id=SECOND) for one in words]
        await engine.accept_events([world.invitation(SECOND), *said])
        await quiet()
    return world.matrix.texts(SECOND)


@pytest.mark.asyncio
async def test_messages_in_a_second_room_are_answered_with_a_link_to_the_first() -> None:
    world = World()
    told = await second_room(world, "me again", "anybody?")
    said = [one.partition("\n")[0] for one in told]
    assert sorted(said) == ["undelivered.elsewhere"] * 2 + ["🔁"] * 2
    replies = [one.reply_to for one in world.matrix.posted if one.text != "🔁"]
    assert replies == ["$e1", "$e2"]
    assert calls_in(world, SECOND) == []
    record = await world.stored(SECOND)
    assert record.settings.language == "ja"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("heard", "words", "language"),
    [
        ((4, "zh-CN"), "荷物がまだ届いていません", (4, "ja")),
        ((4, "ja"), "注文番号", (3, "ja")),
        ((4, "zh-CN"), "I am still waiting", (3, "zh-CN")),
        ((5, "en"), "我的包裹还没有到", (4, "zh-CN")),
    ],
)
async def test_a_second_room_begins_in_the_language_of_the_first(
    heard: tuple[int, str], words: str, language: tuple[int, str]
) -> None:
    world = World()
    await second_room(world, words, language=None, heard=heard)
    assert (await world.stored(SECOND)).language == language


@pytest.mark.asyncio
@pytest.mark.parametrize("written", [False, True])
async def test_a_second_room_says_where_the_first_is_once(written: bool) -> None:
    """In reply to the first message, which apps post on seeing the room; else after a while."""
    world = World()
    world.speak(Texts())
    assert await second_room(world, language="en") == []
    async with world.running() as engine:
        if written:
            await engine.accept_events([world.event(text="me again", room_id=SECOND)])
        await world.clock.turn(GREET_AFTER / 1000)
        await quiet()
    told, *more = world.matrix.texts(SECOND)
    gone = ", so this message did not go to an agent" if written else ""
    assert told.startswith(f"You already have a chat with us{gone}. Please go on there:\n{LINK}")
    assert more == (["🔁"] if written else [])


@pytest.mark.asyncio
async def test_help_and_status_in_a_second_room_link_to_the_first() -> None:
    world = World()
    world.speak(Texts())
    helped, status = await second_room(world, "help", "status", language="en")
    assert helped.startswith(f"You already have a chat with us. Please go on there:\n{LINK}\n")
    assert "help all" in helped
    assert status == f"You already have a chat with us. Please go on there:\n{LINK}"


@pytest.mark.asyncio
async def test_start_in_a_second_room_starts_a_second_chat() -> None:
    """A command (or 🔁) is needed, so that no message starts one by mistake."""
    world = World()
    await second_room(world, "about something else")
    async with world.running() as engine:
        await engine.accept_events([world.event(text="start", room_id=SECOND)])
        await quiet()
        await engine.accept_events([world.event(text="and this", room_id=SECOND)])
        await quiet()
    assert calls_in(world, SECOND) == ["RequestChat", "SendPreMessage"]
    assert "undelivered.elsewhere" not in world.matrix.texts(SECOND)[-1]


@pytest.mark.asyncio
async def test_once_the_first_chat_is_over_the_second_room_is_like_any_other() -> None:
    world = World()
    await second_room(world, "me again")
    async with world.running() as engine:
        await engine.pushed(ROOM, "p1", Received(SessionClosed(SESSION, MEI.id)))
        await quiet()
        await engine.accept_events([world.event(text="now?", room_id=SECOND)])
        await quiet()
        assert calls_in(world, SECOND) == ["RequestChat", "SendPreMessage"]
        await engine.accept_events([world.event(text="more", room_id=SECOND)])
        await quiet()
    assert calls_in(world, SECOND)[2:] == ["SendPreMessage"]


@pytest.mark.asyncio
@pytest.mark.parametrize("restarted", [False, True])
async def test_messages_in_the_first_room_are_answered_with_a_link_to_the_second(
    restarted: bool,
) -> None:
    """Once its own chat is over, and for as long as the other goes on."""
    world = World()
    world.speak(Texts())
    await second_room(world, "about something else", language="en")
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(world.running())
        await engine.accept_events([world.event(text="start", room_id=SECOND)])
        await engine.pushed(ROOM, "p1", Received(SessionClosed(SESSION, MEI.id)))
        await quiet()
        if restarted:
            await stack.aclose()
            engine = await stack.enter_async_context(world.running())
            await quiet()
        before = len(world.matrix.texts(ROOM))
        await engine.accept_events([world.event(text="hello?")])
        await quiet()
        told, *_ = world.matrix.texts(ROOM)[before:]
        assert LINK.replace(ROOM, SECOND) in told
        assert calls_in(world, ROOM) == []
        await engine.accept_events([world.event(text="cancel", room_id=SECOND)])
        await quiet()
        await engine.accept_events([world.event(text="hello again")])
        await quiet()
    assert "RequestChat" in calls_in(world, ROOM)


@pytest.mark.asyncio
@pytest.mark.parametrize("first", [{"direct": False}, {"host": SALES_USER}, {"version": 99}])
async def test_rooms_of_several_people_and_of_other_queues_are_no_first_room(
    first: dict[str, object],
) -> None:
    world = World()
    await world.chatting()
    found = await world.writing.load(ROOM)
    assert found.room is not None
    other = msgspec.structs.replace(load_record(found.room.record), **first)
    await flow.step(world.writing, msgspec.structs.replace(found.room, record=dump_record(other)))
    async with world.running() as engine:
        await engine.accept_events([world.invitation(SECOND)])
        await quiet()
        await engine.accept_events([world.event(text="hello", room_id=SECOND)])
        await quiet()
    assert not [told for told in world.matrix.texts(SECOND) if "elsewhere" in told]
    assert calls_in(world, SECOND) == ["RequestChat", "SendPreMessage"]


# --- a room that is upgraded --------------------------------------------------------------------


async def moves(world: World, engine: Engine) -> None:
    """Replace `ROOM` by `SECOND`; the bot may no longer speak in `ROOM`."""
    world.matrix.replaced.add(ROOM)
    await engine.accept_events([world.event("upgraded", into=SECOND)])
    await quiet()


@pytest.mark.asyncio
async def test_a_running_chat_goes_on_in_the_room_that_replaces_it() -> None:
    """One session; messages both ways, once and in order, before, during and after the move."""
    world = World()
    await world.chatting()
    async with world.running() as engine:
        await engine.accept_events([world.event(text="one")])
        await engine.pushed(ROOM, "1", said("first"))
        await quiet()
        await moves(world, engine)
        await engine.accept_events([world.event(text="two")])
        await engine.pushed(ROOM, "2", said("second"))
        await quiet()
        assert world.matrix.texts(ROOM) == ["first"], "it says nothing, as it may not"
        world.matrix.gate.clear()
        await engine.accept_events([world.invitation(SECOND)])
        await engine.accept_events([world.event(text="three", room_id=SECOND)])
        await engine.pushed(ROOM, "3", said("third"))
        await quiet()
        world.matrix.gate.set()
        await quiet()
        assert (SECOND, BOT) in world.matrix.members
        await engine.accept_events([world.event(text="four", room_id=SECOND)])
        await engine.pushed(ROOM, "4", said("fourth"))
        await quiet()
    assert world.link.texts(ROOM) == ["one", "two", "three", "four"]
    assert {call.room_id for call in world.link.calls} == {ROOM}
    assert world.matrix.texts(SECOND) == ["second", "third", "queue.joined", "fourth"]
    assert (SECOND, world.matrix.ghost_of(MEI)) in world.matrix.members
    assert (ROOM, BOT) in world.matrix.reasons, "it has left"
    assert await world.nothing_left()
    assert await dead_letters(world.store) == []


@pytest.mark.asyncio
async def test_late_messages_of_the_old_room_are_sent_and_other_events_ignored() -> None:
    world = World()
    await world.chatting()
    async with world.running() as engine:
        await moves(world, engine)
        await engine.accept_events([world.invitation(SECOND)])
        await quiet()
        late, gone = world.event(text="late"), world.event("gone", sender=BOT)
        await engine.accept_events([late, gone, world.event("gone")])
        await quiet()
    assert world.link.texts(ROOM) == ["late"]
    record = await world.stored()
    assert record.membership is Membership.JOINED
    assert isinstance(record.conversation.phase, Chatting)


@pytest.mark.asyncio
async def test_a_position_in_the_queue_survives_an_upgrade() -> None:
    world = World()
    async with world.running() as engine:
        await engine.accept_events([world.invitation()])
        await engine.accept_events([world.event(text="order 4711"), world.event("file")])
        await quiet()
        await moves(world, engine)
        asked = len(world.link.calls)
        await engine.accept_events([world.invitation(SECOND)])
        await quiet()
        assert world.matrix.texts(SECOND) == ["queue.position", CROSS]
    assert len(world.link.calls) == asked
    async with world.running() as engine:
        await engine.pushed(ROOM, "1", Received(ChatStarted(SESSION, (MEI,))))
        await quiet()
    cards = [one for one in world.matrix.posted if one.room_id == SECOND and one.editable]
    assert [one.edits for one in cards] == [None, cards[0].event_id], "one card, of this room"
    sent = [type(call.command).__name__ for call in world.link.calls]
    assert sent == ["RequestChat", "SendPreMessage", "SendMessage"]


@pytest.mark.asyncio
async def test_a_room_without_a_chat_moves_too_even_long_after_the_upgrade() -> None:
    """Settings and login key move, even once the bot has left the old room."""
    world = World()
    world.matrix.level = 100
    async with world.running() as engine:
        await engine.accept_events([world.invitation()])
        await quiet()
        await engine.accept_events([world.event(text="lang ja"), world.event(text="queue set 1")])
        await moves(world, engine)
        before = await world.stored()
        await world.clock.turn(UPGRADE_PATIENCE / 1000)
        assert (await world.stored()).membership is Membership.LEFT
    async with world.running() as engine:
        await engine.accept_events([world.invitation(SECOND)])
        await world.clock.turn(GREET_AFTER / 1000)
        await engine.accept_events([world.event(text="hello", room_id=SECOND)])
        await quiet()
    after = await world.stored()
    assert (after.settings, after.key) == (before.settings, before.key)
    assert (after.membership, after.matrix_id) == (Membership.JOINED, SECOND)
    assert "room.welcome" not in world.matrix.texts(SECOND), "they know where they are"
    assert calls_in(world, ROOM) == ["RequestChat", "SendPreMessage"]


@pytest.mark.asyncio
@pytest.mark.parametrize("who", ["@bob:example.org", STRANGER])
async def test_an_invitation_by_a_stranger_to_the_old_room_moves_nothing(who: str) -> None:
    """Any room may name any other as its replacement."""
    world = World()
    await world.chatting()
    async with world.running() as engine:
        await moves(world, engine)
        bob = world.event("invite", room_id=SECOND, whom=BOT, sender=who)
        await engine.accept_events([bob])
        await world.clock.turn(FEDERATED)
        other = await world.stored(SECOND)
        assert (other.settings, other.conversation) == (RoomSettings(), Conversation())
        await engine.accept_events([world.invitation(SECOND)])
        await quiet()
    served = other.membership is Membership.JOINED
    assert (await world.stored()).matrix_id == (ROOM if served else SECOND)


@pytest.mark.asyncio
@pytest.mark.parametrize("hidden", [False, True])
async def test_soft_failed_events_of_another_server_do_not_count(*, hidden: bool) -> None:
    """Synapse pushes them: a banned member wrote to the agent, and closed a chat of others, by
    naming the room's state before the ban.
    """
    world = World(rules=msgspec.structs.replace(RULES, permission=lambda _: Permission.CUSTOMER))
    await world.chatting()
    world.matrix.hiding = hidden
    async with world.running() as engine:
        for event in (world.event(sender=STRANGER), world.event("came", sender=STRANGER)):
            await engine.accept_events([event])
            await engine.accept_events([world.event(text="mine")])
        await engine.accept_events([world.event("unreadable", sender=STRANGER)])
        await engine.accept_events([world.event(text="!wc close", sender=STRANGER)])
        await world.clock.turn(60)
        people = {one.user for one in (await world.stored()).people}
    asked = sum(request.endswith(f"hidden in {ROOM}") for request in world.matrix.requests)
    assert asked == (4 if hidden else 2), "of a member only the messages before the join"
    alone, together = ["mine", "mine"], ["eve：hello", "ada：mine", "ada：mine"]
    assert world.link.texts(ROOM) == (alone if hidden else together)
    closed = any(isinstance(call.command, CloseSession) for call in world.link.calls)
    assert (closed, STRANGER in people) == (not hidden, not hidden)


@pytest.mark.asyncio
@pytest.mark.parametrize("trouble", [None, Refused("M_FORBIDDEN"), Unavailable("away")])
async def test_a_removal_of_the_host_counts_unless_it_is_known_to_be_hidden(
    trouble: Exception | None,
) -> None:
    world = World()
    await world.chatting()
    world.matrix.hiding = True
    async with world.running() as engine:
        await engine.accept_events([world.event("gone", sender=STRANGER, whom=BOT)])
        await quiet()
        assert (await world.stored()).membership is Membership.JOINED
        world.matrix.hiding = trouble is not None
        world.matrix.trouble += [] if trouble is None else [trouble] * ASK_TRIES
        await engine.accept_events([world.event("gone", sender=STRANGER, whom=BOT)])
        await world.clock.turn(10)
    assert (await world.stored()).membership is Membership.LEFT


@pytest.mark.asyncio
async def test_posting_to_a_room_replaced_unnoticed_is_given_up() -> None:
    world = World()
    await world.chatting()
    world.matrix.replaced.add(ROOM)
    async with world.running() as engine:
        await engine.pushed(ROOM, "1", said("hello"))
        await world.clock.turn(400)
        assert await world.nothing_left()
    assert len(await dead_letters(world.store)) == 1


@pytest.mark.asyncio
async def test_a_room_served_already_is_no_replacement() -> None:
    """Else a member of both could divert messages from one into the other."""
    world = World()
    await world.chatting()
    await world.chatting(SECOND)
    async with world.running() as engine:
        await moves(world, engine)
        await engine.accept_events([world.invitation(SECOND, SALES_USER)])
        await engine.accept_events([world.event(text="of the other", room_id=SECOND)])
        await quiet()
    assert world.link.texts(SECOND) == ["of the other"]
    assert (await world.stored()).matrix_id == ROOM


@pytest.mark.asyncio
async def test_the_new_room_may_invite_again_after_the_bot_had_left_it() -> None:
    """Between homeservers an invitation may come before the tombstone."""
    world = World()
    await world.chatting()
    async with world.running() as engine:
        await engine.accept_events([world.invitation(SECOND)])
        await quiet()
        await moves(world, engine)
        await engine.accept_events([world.event("gone", room_id=SECOND, sender=BOT)])
        await quiet()
        await engine.accept_events([world.invitation(SECOND)])
        await quiet()
        await engine.accept_events([world.event(text="here I am", room_id=SECOND)])
        await quiet()
    assert world.link.texts(ROOM) == ["here I am"]


@pytest.mark.asyncio
@pytest.mark.parametrize(("kind", "told"), [("gone", []), ("say", ["$e1"])])
async def test_only_messages_beyond_the_limit_of_parked_events_are_reported(
    kind: str, told: list[str]
) -> None:
    world = World()
    one = visit(world)
    upgrade = Upgrade(0, SECOND, BOT)
    one.set(upgrade=upgrade, parked=({"event_id": "$other"},) * PARKED_LIMIT)
    _, event_id, raw = world.event(kind, room_id=SECOND, who=ADA)
    await Reader(ROOM, world.around).handle(one, row(MatrixEvent(raw), event_id))
    assert reported(one) == told
    assert len(one.record.parked) == PARKED_LIMIT


@pytest.mark.asyncio
async def test_a_room_may_be_upgraded_again_and_again() -> None:
    """Only a few replacements of a room are stored, so that nobody can fill the database."""
    rooms = [RoomId(f"!{number}:example.org") for number in range(MOST_PENDING + 1)]
    world = World()
    await world.chatting()
    async with world.running() as engine:
        for room in rooms:
            await engine.accept_events([world.event("upgraded", into=room)])
        agent = world.event("agent", room_id=rooms[1], whom=world.matrix.ghost_of(MEI))
        await engine.accept_events([agent, world.invitation(rooms[1])])
        await engine.accept_events([world.invitation(rooms[-1])])
        await quiet()
        assert (await world.stored()).matrix_id == rooms[1]
        assert (await world.stored(rooms[-1])).membership is Membership.JOINED, "any other room"
    async with world.running() as engine:
        stone = world.event("upgraded", into=SECOND, room_id=rooms[1])
        await engine.accept_events([stone, world.invitation(SECOND)])
        await quiet()
        assert (await world.stored()).matrix_id == SECOND
        await engine.accept_events([world.event(text="still here", room_id=SECOND)])
        await quiet()
    assert world.link.texts(ROOM) == ["still here"]


@pytest.mark.asyncio
async def test_nothing_goes_back_into_a_room_that_was_replaced() -> None:
    """Its inviter may be somebody who is not admitted to the new one."""
    third = RoomId("!third:example.org")
    world = World()
    await world.chatting()
    async with world.running() as engine:
        for old, new in pairwise((ROOM, SECOND, third)):
            stone = world.event("upgraded", into=new, room_id=old)
            await engine.accept_events([stone, world.invitation(new)])
            await quiet()
        for old in (ROOM, SECOND):
            invited = world.event("invite", room_id=old, whom=BOT, sender=STRANGER)
            await engine.accept_events([invited])
            await quiet()
            assert world.matrix.requests[-1].startswith(f"leave {old}")
        await engine.pushed(ROOM, "1", said("for your eyes only"))
        await quiet()
    assert (await world.stored()).matrix_id == third
    assert "for your eyes only" in world.matrix.texts(third)


@pytest.mark.asyncio
async def test_a_room_upgraded_during_the_bots_join_is_followed() -> None:
    world = World()
    world.matrix.gate.clear()
    async with world.running() as engine:
        await engine.accept_events([world.invitation()])
        await engine.accept_events([world.event("upgraded", into=SECOND)])
        world.matrix.gate.set()
        await quiet()
        await engine.accept_events([world.event(text="hello")])
        await engine.accept_events([world.invitation(SECOND)])
        await quiet()
    assert (await world.stored()).matrix_id == SECOND


@pytest.mark.asyncio
async def test_a_room_that_was_replaced_before_the_bot_came_is_followed() -> None:
    """No event tells so: the tombstone is found on entering."""
    third = RoomId("!third:example.org")
    world = World()
    await world.chatting()
    world.matrix.earlier = [world.event("upgraded", into=third, room_id=SECOND)[2]]
    async with world.running() as engine:
        await moves(world, engine)
        await engine.accept_events([world.invitation(SECOND)])
        await quiet()
        assert (await world.stored()).matrix_id == SECOND
        await engine.accept_events([world.invitation(third)])
        await engine.pushed(ROOM, "1", said("here you are"))
        await quiet()
    assert (await world.stored()).matrix_id == third
    assert "here you are" in world.matrix.texts(third)


@pytest.mark.asyncio
async def test_an_unreadable_tombstone_does_not_block_later_messages() -> None:
    world = World()
    await world.chatting()
    stone = world.event("upgraded", into=SECOND)
    world.matrix.poison.add(stone[1])
    async with world.running() as engine:
        await engine.accept_events([stone, world.event(text="hello")])
        await quiet()
    assert world.link.texts(ROOM) == ["hello"]


@pytest.mark.asyncio
async def test_a_thread_of_the_old_room_is_dropped_in_the_new_one() -> None:
    """A homeserver refuses a message in a thread that its room does not have."""
    world = World()
    await world.chatting()
    async with world.running() as engine:
        await moves(world, engine)
        await engine.accept_events([world.invitation(SECOND)])
        await quiet()
        await engine.accept_events([world.event(text="late", thread="$root")])
        await quiet()
    assert world.link.texts(ROOM) == ["late"]
    assert (await world.stored()).thread is None


@pytest.mark.asyncio
async def test_an_agents_message_is_kept_until_the_tombstone_arrives() -> None:
    """The homeserver refuses messages to the room before it delivers the tombstone."""
    world = World()
    await world.chatting()
    world.matrix.replaced.add(ROOM)
    world.matrix.trouble += [Refused("M_FORBIDDEN"), Unavailable("and it was away")] * 6
    async with world.running() as engine:
        await engine.pushed(ROOM, "1", said("hello"))
        await world.clock.turn(60)
        await moves(world, engine)
        await world.clock.turn(3)
        await engine.accept_events([world.invitation(SECOND)])
        await quiet()
    assert world.matrix.texts(SECOND) == ["hello", "queue.joined"]
    assert await dead_letters(world.store) == []


@pytest.mark.asyncio
async def test_a_message_possibly_posted_in_the_old_room_is_searched_there() -> None:
    """Killed after posting, before the answer; a transaction id is valid in one room only."""
    world = World()
    await world.chatting()
    async with world.running() as engine:
        answered = asyncio.Event()

        async def dies() -> None:
            if world.matrix.texts(ROOM):
                await answered.wait()

        world.matrix.disturb = dies
        await engine.pushed(ROOM, "1", said("hello"))
        await quiet()
        assert world.matrix.texts(ROOM) == ["hello"]
    world.matrix.disturb = at_once
    await world.clock.turn(1)
    world.matrix.unreadable.add((ROOM, SALES_USER))
    world.matrix.trouble.append(Unavailable("away", 30))
    async with world.running() as engine:
        await moves(world, engine)
        await engine.accept_events([world.invitation(SECOND, SALES_USER)])
        await world.clock.turn(31)
    # Without a history of the server, messages sent meanwhile may be lost.
    assert world.matrix.texts(SECOND) == ["outage.unsure", "queue.joined"]
    assert await world.nothing_left()
    assert await dead_letters(world.store) == []
