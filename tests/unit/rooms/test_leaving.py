"""What a room comes to when we, or all whom we serve there, leave it."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.model import (
    CallWebChat,
    Chatting,
    CustomerText,
    Held,
    Idle,
    Outstanding,
    Queued,
    Replied,
    Reported,
    Say,
)
from bridge.conversation.turn import all_pieces
from bridge.ids import CallId, EventId, QueueId, RequestId, RoomId, UserId
from bridge.rooms.people import Standing, left_over
from bridge.rooms.record import (
    EncryptionOn,
    MemberGone,
    MemberJoined,
    Membership,
    Nothing,
    RoomConfigured,
    Unreadable,
    Upgraded,
)
from bridge.rooms.visit import LeaveRoom
from bridge.webchat.codes import ResultCode
from bridge.webchat.frames import Reply, SendPreMessage
from tests.unit.rooms.visits import ADA, BOT, STRANGER, House

MEI = UserId("@webchat_k00017:example.org")
NEW = RoomId("!new:example.org")


def test_the_customer_leaves_a_direct_room() -> None:
    house = House().served().chat()
    house.receive(MemberGone(ADA, ADA))
    phase = house.record.conversation.phase
    assert isinstance(phase, Chatting)
    assert phase.close
    assert LeaveRoom((BOT,)) in house.effects
    assert house.membership() is Membership.LEFT


def test_the_host_is_sent_away_while_queued() -> None:
    house = House().served()
    queued = Queued(QueueId(2), house.now, RequestId(9001))
    house.visit.set(conversation=msgspec.structs.replace(house.record.conversation, phase=queued))
    house.receive(MemberGone(BOT, ADA))
    (call,) = (one for one in house.effects if isinstance(one, CallWebChat))
    assert type(call.command).__name__ == "CancelRequest"
    assert house.membership() is Membership.LEFT


def test_what_was_kept_does_not_outlive_the_room() -> None:
    house = House().served()
    house.receive(RoomConfigured(EventId("$c"), ADA, {"start": "on_command"}), Standing.ADMIN)
    event = house.say("hello")
    assert isinstance(house.record.conversation.phase, Idle)
    house.receive(MemberGone(ADA, ADA))
    assert house.carried == []
    assert house.reported == {event: "queue.dropped"}


@pytest.mark.parametrize(
    ("who", "direct", "notices"), [(ADA, False, []), (STRANGER, True, ["room.shared"])]
)
def test_others_may_come_and_go(who: UserId, direct: bool, notices: list[str]) -> None:
    house = House().served(direct=direct)
    house.receive(MemberJoined(who))
    house.receive(MemberGone(who, who))
    house.receive(Nothing())
    assert house.notices == notices
    assert len(house.effects) == len(notices)
    assert house.membership() is Membership.JOINED


def test_who_is_gone_is_gone() -> None:
    house = House().served()
    house.receive(MemberGone(BOT, ADA))
    house.visit.effects.clear()
    house.receive(MemberGone(ADA, ADA))
    house.receive(Upgraded())
    house.receive(EncryptionOn())
    house.receive(RoomConfigured(EventId("$c"), ADA, {}), Standing.ADMIN)
    house.say("hello")
    house.receive(Unreadable(EventId("$x"), ADA, "unreadable.kind"))
    assert house.effects == []


def test_an_upgraded_room_ends_its_chat() -> None:
    house = House().served().chat()
    house.receive(Upgraded(NEW))
    phase = house.record.conversation.phase
    assert isinstance(phase, Chatting)
    assert phase.close
    (told,) = (one for one in house.effects if isinstance(one, Say))
    link = "https://matrix.to/#/!new:example.org?via=example.org"
    assert told == Say("room.upgraded", {"link": link})
    assert house.effects[-1] == LeaveRoom((BOT,))
    assert house.membership() is Membership.LEFT


@pytest.mark.parametrize("into", [NEW, None])
def test_what_waits_in_a_room_that_is_upgraded_goes_along(into: RoomId | None) -> None:
    """Where there is no other room it is reported before we leave.

    From outside nothing can be said any more, and WebChat's answer would come too late.
    """
    house = House().served()
    one, two, three = house.say("order 4711"), house.say("it is urgent"), house.say("hello?")
    held = {piece.event_id: piece for piece in all_pieces(house.record.conversation)}
    note = Held(EventId("$back"), CustomerText("(took back)"), house.now, amends=EventId("$x"))
    queued = Queued(QueueId(2), house.now, RequestId(9001), pre_sent=(held[one],))
    under_way = Outstanding(CallId(7), SendPreMessage(RequestId(9001), "it is urgent"), held[two])
    conversation = msgspec.structs.replace(
        house.record.conversation, phase=queued, held=(held[three], note), outstanding=under_way
    )
    house.visit.set(conversation=conversation)
    house.effects.clear()
    assert left_over(house.record) == (one, two, three)
    house.receive(Upgraded(into))
    told = [one for one in house.effects if isinstance(one, Reported | LeaveRoom)]
    reports = [Reported(event, "room.closed_unsent") for event in (one, two, three)]
    assert told == [*(reports if into is None else ()), LeaveRoom((BOT,))]
    assert house.notices == ["room.closed" if into is None else "room.upgraded"]
    assert house.carried == [two], "what is under way may come back, and is seen to already"
    refused = Reply(111, ResultCode.INVALID_CHAT_REQUEST_ID, call_id=CallId(7))
    house.visit.step(Replied(CallId(7), refused))
    assert list(house.reported.values()).count("queue.dropped") == 0


def test_what_is_kept_in_a_room_that_is_closed_is_reported() -> None:
    house = House().served()
    house.receive(RoomConfigured(EventId("$c"), ADA, {"start": "on_command"}), Standing.ADMIN)
    event = house.say("hello")
    house.receive(Upgraded())
    assert house.reported == {event: "room.closed_unsent"}
    assert house.carried == []
