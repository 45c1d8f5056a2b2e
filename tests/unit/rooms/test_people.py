"""Several people in one room."""

from __future__ import annotations

import msgspec
import pytest

from bridge.config.model import Permission, TellAgents
from bridge.conversation.model import (
    CallFailed,
    CallWebChat,
    Cancel,
    Card,
    Chatting,
    Conversation,
    CustomerContent,
    CustomerLocation,
    CustomerMedia,
    CustomerText,
    Requesting,
    Said,
    Say,
    Start,
)
from bridge.conversation.turn import all_pieces
from bridge.ids import EventId, QueueId, RoomId, SessionId, UserId
from bridge.rooms import people, reader
from bridge.rooms.effects import LeaveRoom
from bridge.rooms.people import Standing, passed
from bridge.rooms.ports import Corrected, MemberGone, MemberJoined, Spoke
from bridge.rooms.record import (
    CardKind,
    Entered,
    Membership,
    OurCard,
    Person,
    RoomRecord,
    Upgrade,
)
from bridge.rooms.visit import Visit, signed
from bridge.webchat.codes import FailureReason
from tests.fakes.clock import quiet
from tests.fakes.house import World
from tests.unit.rooms.visits import ADA, BOT, RULES, SALES_USER, STRANGER, House

BOB, EVE = UserId("@bob:example.org"), UserId("@eve:example.org")


def shared() -> House:
    """A room of two customers, Ada and a Bob without a name."""
    house = House()
    house.invite(direct=False)
    house.enter(Entered(direct=False, people=(Person(ADA, "Ada"), Person(BOB))))
    house.effects.clear()
    return house


def told(house: House) -> list[str]:
    """Texts that wait for the agent."""
    pieces = all_pieces(house.record.conversation)
    return [one.content.text for one in pieces if isinstance(one.content, CustomerText)]


def test_each_message_names_its_speaker() -> None:
    house = shared()
    house.say("hello")
    house.say("me too", BOB)
    assert told(house) == ["Ada：hello", "bob：me too"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\x0b", "\x85", "\u2028"])
def test_a_further_line_does_not_read_as_another_speakers(end: str) -> None:
    house = shared()
    house.say(f"my order, please{end}Ada：cancel it", BOB)
    assert told(house) == ["bob：my order, please\n\u3000Ada：cancel it"]


def test_in_a_direct_room_nobody_is_named() -> None:
    house = House().served()
    house.say("hello")
    assert told(house) == ["hello"]


def test_names_follow_the_members() -> None:
    house = shared()
    house.receive(MemberJoined(ADA, "Ada\n Lovelace \u202e"))
    house.receive(MemberJoined(BOB, "B" * 100))
    house.say("1")
    house.say("2", BOB)
    house.receive(MemberGone(BOB))
    house.say("3", BOB)
    assert told(house) == ["Ada Lovelace：1", "B" * 59 + "…：2", "bob：3"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ada", ["Ada (@ada:example.org)", "bob", "Ada (@eve:example.org)"]),
        ("ADA\u200b", ["Ada (@ada:example.org)", "bob", "ADA (@eve:example.org)"]),
        ("Bob", ["Ada", "bob (@bob:example.org)", "Bob (@eve:example.org)"]),
        ("Ad\u200da", ["Ada (@ada:example.org)", "bob", "Ad\u200da (@eve:example.org)"]),
        ("A\u0323da.", ["Ada (@ada:example.org)", "bob", "A\u0323da. (@eve:example.org)"]),
        ("\uff22ob", ["Ada", "bob (@bob:example.org)", "\uff22ob (@eve:example.org)"]),
        ("Ada (@ada:example.org)", ["Ada", "bob", "Ada (@ada:example.org) (@eve:example.org)"]),
        ("Eve", ["Ada", "bob", "Eve"]),
        ("\U0001f431", ["Ada", "bob", "\U0001f431"]),
    ],
)
def test_people_of_the_same_name_are_told_apart(name: str, shown: list[str]) -> None:
    """Otherwise anybody in the room could speak to the agent as another."""
    house, eve = shared(), UserId("@eve:example.org")
    house.receive(MemberJoined(eve, name))
    for who in (ADA, BOB, eve):
        house.say("1", who)
    assert told(house) == [f"{one}：1" for one in shown]


def test_no_more_names_than_a_record_may_hold() -> None:
    house = shared()
    for number in range(people.KEPT_PEOPLE + 5):
        house.receive(MemberJoined(UserId(f"@u{number}:example.org"), "U"))
    assert len(house.record.people) == people.KEPT_PEOPLE
    house.receive(MemberGone(ADA))  # forgotten long ago: nothing happens
    assert len(house.record.people) == people.KEPT_PEOPLE


def test_members_of_a_room_that_is_not_served_are_not_kept() -> None:
    house = House()
    house.receive(MemberJoined(BOB, "Bob"))
    assert house.record.people == ()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (CustomerMedia("image", "a.png", "mxc://h/a"), "（以上由 Ada 发送）"),
        (CustomerMedia("image", "a.png", "mxc://h/a", caption="look"), "Ada：look"),
        (CustomerLocation(1.0, 2.0, "Bund"), "Ada：Bund"),
        (CustomerLocation(1.0, 2.0), "Ada"),
    ],
)
def test_files_and_places_name_their_sender(content: CustomerContent, named: str) -> None:
    house = shared()
    happened = signed(house.visit, ADA, Said(EventId("$1"), content))
    assert isinstance(happened, Said)
    match happened.content:
        case CustomerMedia(caption=words) | CustomerLocation(poi=words) | CustomerText(text=words):
            assert words == named


def test_an_input_without_text_is_not_signed() -> None:
    assert signed(shared().visit, ADA, Cancel()) == Cancel()


def test_a_correction_names_its_author() -> None:
    house = shared().chat()
    house.receive(Corrected(EventId("$c"), ADA, EventId("$old"), CustomerText("new"), "new"))
    assert told(house) == ["Ada：更正：new"]


def test_a_person_without_permission_is_told_once_an_hour() -> None:
    house = shared()
    first, second = house.say("hi", STRANGER), house.say("hi?", STRANGER)
    house.visit.now += reader.TURN_AWAY_EVERY
    third = house.say("hello?", STRANGER)
    assert house.reported == {first: "refused.permission", third: "refused.permission"}
    assert second not in house.reported
    assert told(house) == []


def test_refusals_are_told_again_after_the_clock_was_set_back() -> None:
    house = shared()
    house.visit.now += 24 * reader.TURN_AWAY_EVERY
    first = house.say("hi", STRANGER)
    house.visit.now -= 24 * reader.TURN_AWAY_EVERY
    second, third = house.say("hi?", STRANGER), house.say("hello?", STRANGER)
    assert list(house.reported) == [first, second]
    assert third not in house.reported


def test_refused_people_are_remembered_for_a_limited_time() -> None:
    house = shared()
    for number in range(reader.KEPT_TURNED_AWAY + 1):
        house.say("hi", UserId(f"@eve{number}:elsewhere.org"))
    assert len(house.record.turned_away) == reader.KEPT_TURNED_AWAY
    house.visit.now += reader.TURN_AWAY_EVERY
    house.say("hi", STRANGER)
    assert [user for user, _ in house.record.turned_away] == [STRANGER]


def test_the_customer_is_known_after_they_left() -> None:
    """Commands still to be sent to WebChat (102, 103) use their name."""
    house = House().served().chat()
    house.receive(MemberGone(BOT))
    assert house.membership() is Membership.LEFT
    assert house.record.customer == ADA


def crowd(count: int) -> tuple[Person, ...]:
    """People who are not customers."""
    return tuple(Person(UserId(f"@p{number}:elsewhere.org")) for number in range(count))


def test_in_a_large_room_the_customers_are_known() -> None:
    """Even if everybody else joined after them."""
    house = House()
    house.invite(direct=False)
    strangers = crowd(people.KEPT_PEOPLE)
    house.enter(Entered(direct=False, people=(Person(ADA, "Ada"), *strangers)))
    assert len(house.record.people) == people.KEPT_PEOPLE
    house.receive(MemberJoined(STRANGER, "Eve"))
    assert len(house.record.people) == people.KEPT_PEOPLE
    assert house.record.people[-1] == Person(ADA, "Ada")
    assert house.record.empty_since is None
    house.receive(MemberGone(ADA))
    assert house.record.empty_since == house.now


def test_a_room_in_which_a_customer_speaks_is_not_empty() -> None:
    """An earlier version forgot the first members of a large room."""
    house, found = shared(), []
    house.visit.set(people=crowd(5), empty_since=house.now - 1)
    for who in (STRANGER, ADA):
        house.say("is anybody there?", who)
        found.append(house.record.empty_since)
    assert found == [house.now - 1, None]
    assert Person(ADA) in house.record.people


def test_a_shared_room_is_left_once_its_customers_are_gone() -> None:
    house = shared().chat()
    house.receive(MemberGone(ADA))
    assert people.due(house.record) is None
    house.receive(MemberJoined(STRANGER, "Eve"))  # not a customer
    house.receive(MemberGone(BOB))
    moment = people.due(house.record)
    assert moment == house.now + people.GRACE
    house.visit.now = moment - 1
    passed(house.visit)
    assert house.membership() is Membership.JOINED
    house.visit.now = moment
    passed(house.visit)
    assert house.membership() is Membership.LEFT
    assert house.effects[-1] == LeaveRoom((BOT,))
    assert isinstance(house.record.conversation.phase, Chatting)
    assert house.record.conversation.phase.close
    assert people.due(house.record) is None
    house.invite(direct=False)
    house.enter(Entered(direct=False, people=(Person(ADA, "Ada"),)))
    assert house.membership() is Membership.JOINED, "invited again, it stays"


def test_a_customer_who_comes_back_in_time_goes_on() -> None:
    house = shared().chat()
    house.receive(MemberGone(ADA))
    house.receive(MemberGone(BOB))
    house.visit.now += people.GRACE - 1
    house.receive(MemberJoined(ADA, "Ada"))
    house.visit.now += people.GRACE
    passed(house.visit)
    assert house.membership() is Membership.JOINED


@pytest.mark.parametrize("wanted", [True, False])
def test_comings_and_goings_are_told_if_wanted(wanted: bool) -> None:
    house = House(msgspec.structs.replace(RULES, tell=TellAgents(members=wanted)))
    house.invite(direct=False)
    house.enter(Entered(direct=False, people=(Person(ADA, "Ada"),)))
    house.receive(MemberJoined(BOB, "Bob", EventId("$early")))  # no agent yet
    house.chat()
    house.receive(MemberJoined(STRANGER, "Eve", EventId("$e")))
    house.receive(MemberJoined(BOB, "Bob", EventId("$j")))
    house.receive(MemberGone(BOB, EventId("$l")))
    assert told(house) == (["（Bob 进入了房间）", "（Bob 离开了房间）"] if wanted else [])


def test_leaves_of_people_who_were_not_members_are_not_told() -> None:
    """A declined invitation, and a ghost that a moderator kicks."""
    house = House(msgspec.structs.replace(RULES, tell=TellAgents(members=True)))
    house.invite(direct=False)
    house.enter(Entered(direct=False, people=(Person(ADA, "Ada"),)))
    house.chat()
    house.receive(MemberGone(BOB, EventId("$l")))
    house.receive(MemberGone(UserId("@webchat_k00017:example.org"), EventId("$k")))
    assert told(house) == []


@pytest.mark.parametrize(
    "until",
    [
        {"robot": True},  # the robot would look up an answer
        {"close": True, "close_order": 0},  # the agent of another chat would read it
    ],
)
def test_joins_and_leaves_are_told_to_the_current_agent_only(until: dict[str, bool | int]) -> None:
    house = House(msgspec.structs.replace(RULES, tell=TellAgents(members=True)))
    house.invite(direct=False)
    house.enter(Entered(direct=False, people=(Person(ADA, "Ada"),)))
    phase = house.chat().record.conversation.phase
    assert isinstance(phase, Chatting)
    phase = msgspec.structs.replace(phase, **until)
    house.visit.set(conversation=msgspec.structs.replace(house.record.conversation, phase=phase))
    house.receive(MemberJoined(BOB, "Bob", EventId("$j")))
    house.receive(MemberGone(BOB, EventId("$l")))
    assert told(house) == []


def test_notices_in_a_shared_room_are_not_sent_to_the_agent() -> None:
    house = shared().chat()
    text = CustomerText("build 7 failed")
    house.receive(Spoke(EventId("$n"), BOB, text, "build 7 failed", notice=True))
    house.receive(Corrected(EventId("$m"), BOB, EventId("$n"), text, "build 7", notice=True))
    assert house.carried == []
    assert house.effects == []


def test_a_notice_in_a_direct_room_is_sent_to_the_agent() -> None:
    house = House().served().chat()
    house.receive(Spoke(EventId("$n"), ADA, CustomerText("hi"), "hi", notice=True))
    assert house.carried == ["$n"]


def test_an_ignored_bot_gets_no_reply_and_keeps_no_room_open() -> None:
    def permission(user: str) -> Permission:
        return Permission.IGNORED if user == BOB else Permission.CUSTOMER

    house = House(msgspec.structs.replace(RULES, permission=permission))
    house.invite(direct=False)
    house.enter(Entered(direct=False, people=(Person(ADA, "Ada"), Person(BOB))))
    house.chat().visit.effects.clear()
    house.say("beep", by=BOB)
    assert house.effects == []
    house.receive(MemberGone(ADA, EventId("$l")))
    assert house.record.empty_since == house.now  # a bot keeps no chat open


# --- a direct chat that somebody else joins -----------------------------------------------------


def direct(*there: Person) -> House:
    """A direct chat of Ada with the bot; `there`: others who were members when it joined."""
    house = House()
    house.invite()
    house.enter(Entered(direct=True, displayname="Ada", people=(Person(ADA, "Ada"), *there)))
    house.effects.clear()
    return house


def test_a_direct_chat_that_somebody_joins_becomes_shared() -> None:
    house = direct()
    house.say("status")
    house.receive(MemberJoined(BOB, "Bob"))
    assert house.notices == ["command.status_idle", "room.shared"]
    house.receive(MemberJoined(STRANGER, "Eve"))
    house.say("hello")
    house.say("status", BOB)
    assert told(house) == ["Ada：hello", "Bob：status"]
    house.receive(MemberGone(BOB))
    assert not house.record.direct


def test_who_joins_before_the_greeting_is_not_announced_before_it() -> None:
    house = House()
    house.invite()
    people.entered(house.visit, Entered(direct=True, people=(Person(ADA),)), Standing.ADMIN)
    house.receive(MemberJoined(BOB, "Bob"))
    house.silence()
    assert house.notices == ["room.welcome_shared"]


def test_a_shared_chat_becomes_direct_again_once_its_customer_is_alone() -> None:
    house = direct()
    for _ in range(2):
        house.receive(MemberJoined(BOB, "Bob"))
        house.receive(MemberJoined(STRANGER, "Eve"))
        house.receive(MemberGone(BOB))
        house.receive(MemberGone(STRANGER))
    assert house.notices == ["room.shared", "room.alone"] * 2
    house.say("me again")
    assert told(house) == ["me again"]
    house.receive(MemberGone(ADA))
    assert house.membership() is Membership.LEFT


@pytest.mark.parametrize(("host", "bare"), [(BOT, True), (SALES_USER, False)])
def test_who_is_alone_again_is_told_whether_commands_need_the_prefix(
    host: UserId, bare: bool
) -> None:
    house = House(msgspec.structs.replace(RULES, language="en"))
    house.invite(whom=host)
    house.enter(Entered(direct=True, people=(Person(ADA, "Ada"),)))
    house.receive(MemberJoined(BOB, "Bob"))
    house.receive(MemberGone(BOB))
    told = house.visit.for_room(house.notices[-1], {"prefix": "!wc"})
    assert told.startswith("It is just you here again")
    assert ("commands need no !wc" in told) is bare
    house.say("status")
    assert bool(house.carried) is not bare


def test_only_a_formerly_direct_chat_of_its_customer_becomes_direct() -> None:
    house = shared()
    house.receive(MemberGone(BOB))
    house.say("all alone")
    assert told(house) == ["Ada：all alone"]
    house = direct()
    house.receive(MemberJoined(BOB, "Bob"))
    house.receive(MemberGone(ADA))
    house.receive(MemberGone(BOB))
    assert not house.record.direct, "nobody is there whose chat it could be"


def test_a_second_customer_in_a_direct_chat_keeps_the_room_open() -> None:
    house = direct().chat()
    house.receive(MemberJoined(BOB, "Bob"))
    house.receive(MemberGone(ADA))
    assert house.membership() is Membership.JOINED
    assert people.due(house.record) is None
    house.receive(MemberGone(BOB))
    assert people.due(house.record) == house.now + people.GRACE


def test_a_new_display_name_in_a_direct_chat_is_no_new_member() -> None:
    house = direct()
    house.receive(MemberJoined(ADA, "Ada L."))
    house.receive(MemberJoined(ADA, "Ada"))
    assert house.effects == []
    assert house.record.direct


def test_an_ignored_bot_does_not_make_a_direct_chat_shared() -> None:
    def permission(user: str) -> Permission:
        return Permission.IGNORED if user == BOB else Permission.CUSTOMER

    house = House(msgspec.structs.replace(RULES, permission=permission)).served()
    house.receive(MemberJoined(BOB, "beeper"))
    house.say("beep", BOB)
    assert house.record.direct
    assert house.effects == []


def test_a_direct_invitation_to_a_room_with_others_is_a_shared_room() -> None:
    """Element calls a chat with several people direct, too."""
    house = direct(Person(BOB, "Bob"))
    house.say("hello")
    assert told(house) == ["Ada：hello"]
    assert "room.shared" not in house.notices, "it never was direct"


@pytest.mark.asyncio
async def test_joins_and_leaves_during_the_bots_join_are_seen() -> None:
    """The members may have been read before, and the room be served only afterwards."""
    world = World()
    world.matrix.people = (Person(ADA), Person(EVE))
    async with world.running() as engine:
        world.matrix.gate.clear()
        came, gone = world.event("came", sender=BOB), world.event("gone", sender=EVE)
        await engine.accept_events([world.invitation(), came, gone])
        await quiet()
        entering = await world.stored()
        world.matrix.gate.set()
        await quiet()
        await engine.accept_events([world.event(sender=BOB)])
        await quiet()
    assert (entering.membership, entering.people) == (Membership.ENTERING, ())
    assert [one.user for one in (await world.stored()).people] == [ADA, BOB]
    said = [getattr(call.command, "text", "") for call in world.link.calls]
    assert said == ["", "bob：hello"]


@pytest.mark.parametrize("gone", [ADA, BOT])
def test_a_leave_of_customer_or_bot_during_the_join_ends_it(gone: UserId) -> None:
    house = House()
    house.invite()
    house.receive(MemberGone(gone))
    assert house.membership() is Membership.LEFT


def test_members_of_an_earlier_stay_are_forgotten_on_the_next() -> None:
    house = shared()
    house.receive(MemberGone(BOT))
    house.invite()
    house.enter(Entered(direct=True, people=(Person(ADA, "Ada"),)))
    assert house.record.people == (Person(ADA, "Ada"),)
    assert house.record.direct


@pytest.mark.parametrize("kept", [0, 1])
def test_the_card_of_a_request_cancelled_by_the_bots_removal_says_so_on_the_next_stay(
    kept: int,
) -> None:
    house = House().served()
    house.visit.report(house.event_id(), "undelivered.like_login")
    hello = house.say("hello") if kept else None
    house.visit.step(Start())
    number = house.record.conversation.number
    house.visit.set(cards=(OurCard(EventId("$card"), CardKind.QUEUE, number=number),))
    house.receive(MemberGone(BOT))
    (call,) = (one for one in house.visit.effects if isinstance(one, CallWebChat))
    house.visit.step(CallFailed(call.call_id, FailureReason.NO_TURN))
    house.visit.effects.clear()
    house.invite()
    house.enter()
    (card,) = (one for one in house.visit.effects if isinstance(one, Card))
    assert (card.number, card.key) == (number, "queue.over")
    assert card.more == ("queue.dropped",) * kept
    assert card.dropped == (() if hello is None else (hello,)), "never the password"


def test_a_room_of_an_earlier_version_learns_its_members_from_messages() -> None:
    """Its record calls it direct, and names no members or both."""
    house = House().served()
    house.say("hello")
    assert house.notices == []
    house.say("hi", BOB)
    assert house.notices == ["room.shared"]
    house = House().served()
    house.visit.set(people=(Person(ADA, "Ada"), Person(BOB, "Bob")))
    house.say("hello")
    assert house.notices == ["room.shared"]
    assert told(house) == ["Ada：hello"]


@pytest.mark.parametrize(("quiet", "link"), [(False, True), (True, False)])
def test_a_hidden_callback_request_refers_no_other_room_to_it(quiet: bool, link: bool) -> None:
    """Nothing of it is shown in its room yet."""
    asking = Conversation(phase=Requesting(QueueId(1), 0, quiet=quiet))
    other = RoomRecord(
        RoomId("!other:example.org"),
        membership=Membership.JOINED,
        host=BOT,
        customer=ADA,
        conversation=asking,
    )
    assert bool(people.address(other, 0)) == link


@pytest.mark.parametrize(
    ("since", "watched_at", "link"), [(0, 0, False), (0, 1, True), (1, 0, True)]
)
def test_a_chat_without_a_word_for_a_day_refers_nobody_to_itself(
    since: int, watched_at: int, link: bool
) -> None:
    """A server of 2016 may have ended it while the link was down: nothing tells the bridge."""
    chat = Chatting(SessionId(5150), since, QueueId(1))
    other = RoomRecord(
        RoomId("!other:example.org"),
        membership=Membership.JOINED,
        host=BOT,
        customer=ADA,
        conversation=Conversation(phase=chat, watched_at=watched_at),
    )
    assert bool(people.address(other, people.FORGOTTEN)) == link


@pytest.mark.parametrize("moving", [False, True])
def test_a_chat_moved_by_an_upgrade_is_not_referred_to_another_room(moving: bool) -> None:
    """A customer may have two chats; the upgrade of one does not mention the other."""
    asking = Conversation(phase=Requesting(QueueId(1), 0))
    here = RoomRecord(RoomId("!room:example.org"), host=BOT, customer=ADA)
    other = msgspec.structs.replace(here, membership=Membership.JOINED, conversation=asking)
    upgrade = Upgrade(0, RoomId("!new:example.org"), BOT)
    here = msgspec.structs.replace(here, membership=Membership.ENTERING)
    if moving:
        here = msgspec.structs.replace(other, upgrade=upgrade)
    visit = Visit(here, RULES, 0)
    people.entered(visit, Entered(people=(Person(ADA),)), Standing.ORDINARY, other)
    visit.now += people.GREET_AFTER
    passed(visit)
    said = [one.key for one in visit.effects if isinstance(one, Say)]
    assert said == ([] if moving else ["room.elsewhere"])
