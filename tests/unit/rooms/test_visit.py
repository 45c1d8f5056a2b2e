"""A visit runs the state machine on the room's record, under the room's policy."""

from __future__ import annotations

import msgspec
import pytest

from bridge.config.model import TellAgents
from bridge.conversation.model import (
    CallWebChat,
    CustomerText,
    Delivered,
    LinkLost,
    LinkRestored,
    Pushed,
    Replied,
    Said,
    Say,
    Start,
)
from bridge.ids import AgentId, CallId, EventId, QueueId, RequestId, SessionId
from bridge.rooms.record import RoomSettings, Undelivered, load_record
from bridge.rooms.visit import Came, plain_success, remembered, stored_as
from bridge.webchat.frames import Agent, ChatStarted, Reply, RequestChat
from tests.unit.rooms.visits import RETURNS, House


def test_the_policy_of_the_room_counts() -> None:
    house = House().served()
    house.visit.step(Start())
    (call,) = (one for one in house.effects if isinstance(one, CallWebChat))
    assert call.command == RequestChat(QueueId(RETURNS.id), "PC", RETURNS.to_agent)


def test_of_the_waiting_signals_the_newest_of_each_kind_counts() -> None:
    """A link that is lost once more is lost."""
    assert remembered([LinkLost(), LinkRestored()], LinkLost()) == [LinkRestored(), LinkLost()]


def test_a_delivery_needs_no_effect() -> None:
    house = House().served()
    house.visit.step(Said(EventId("$1"), CustomerText("hello")))
    house.visit.step(Replied(CallId(1), Reply(101, 1, request_id=RequestId(9001))))
    house.visit.step(Replied(CallId(2), Reply(111, 1)))
    mei = Agent(AgentId("K00017"), "Mei")
    house.visit.step(Pushed(ChatStarted(SessionId(5150), (mei,))))
    assert house.carried == []
    assert not any(isinstance(one, Delivered) for one in house.effects)


def chatting() -> House:
    """A chat in which the customer's text is under way with call id 2."""
    house = House().served()
    house.visit.step(Start())
    house.visit.step(Replied(CallId(1), Reply(101, 1, request_id=RequestId(9001))))
    mei = Agent(AgentId("K00017"), "Mei")
    house.visit.step(Pushed(ChatStarted(SessionId(5150), (mei,))))
    house.visit.step(Said(EventId("$1"), CustomerText("hello")))
    house.visit.effects.clear()
    return house


YES = Replied(CallId(2), Reply(110, 1))
TAKEN = Came(YES)


def test_a_plain_success_takes_no_step() -> None:
    house = chatting()
    after = plain_success(house.visit.record, house.visit.rules, [TAKEN])
    house.visit.step(YES)
    assert house.visit.record == after
    assert after is not None
    assert after.read_up_to == "$1"
    assert house.effects == []


@pytest.mark.parametrize(
    "came",
    [
        [],
        [TAKEN, TAKEN],
        [Came(LinkLost())],
        [Came(Replied(CallId(3), Reply(110, 1)))],
        [Came(Replied(CallId(2), Reply(110, -10)))],
        [Came(Replied(CallId(2), Reply(110, 1, session_id=SessionId(5151))))],
    ],
)
def test_any_other_input_takes_a_step(came: list[Came]) -> None:
    house = chatting()
    assert plain_success(house.visit.record, house.visit.rules, came) is None


def test_a_success_that_people_are_told_of_takes_a_step() -> None:
    house = chatting()
    record, rules = house.visit.record, house.visit.rules
    again = msgspec.structs.replace(record, undelivered=(Undelivered(EventId("$0")),))
    corrected = msgspec.structs.replace(record, corrections=((EventId("$1"), EventId("$2")),))
    marked = msgspec.structs.replace(rules, status_events=True)
    assert plain_success(again, rules, [TAKEN]) is None
    assert plain_success(corrected, rules, [TAKEN]) is None
    assert plain_success(record, marked, [TAKEN]) is None
    house.visit.step(Said(EventId("$2"), CustomerText("are you there?")))  # which goes next
    assert plain_success(house.visit.record, rules, [TAKEN]) is None


def test_say_adds_a_notice() -> None:
    house = House()
    house.visit.say("command.version", {"version": "1"}, reply_to=EventId("$1"))
    assert house.effects == [Say("command.version", {"version": "1"}, EventId("$1"))]


def test_agents_may_have_a_language_of_their_own() -> None:
    house = House()
    house.visit.set(settings=RoomSettings(language="ja"))
    assert house.visit.for_agent("agent.corrected", {"text": "4711"}) == "訂正：4711"
    house.visit.rules = msgspec.structs.replace(house.visit.rules, tell=TellAgents(language="en"))
    assert house.visit.for_agent("agent.corrected", {"text": "4711"}) == "Correction: 4711"
    assert house.visit.for_room("rating.nothing", {}).startswith("評価")


@pytest.mark.parametrize("phase", ["Requesting", "Queued", "Chatting"])
def test_of_an_encrypted_room_no_message_is_stored_outside_the_sealed_record(phase: str) -> None:
    """Held in a request, a pre-message in the queue, under way in a chat."""
    house = chatting() if phase == "Chatting" else House().served()
    house.visit.step(Said(EventId("$2"), CustomerText("hello")))
    if phase == "Queued":
        house.visit.step(Replied(CallId(1), Reply(101, 1, request_id=RequestId(9001))))
        house.visit.step(Replied(CallId(2), Reply(111, 1)))
    clear = stored_as(house.record, 1)
    assert (clear.phase, clear.bare, b"hello" in clear.record) == (phase, b"", True)
    house.visit.set(encrypted=True)
    sealed = stored_as(house.record, 1)
    assert b"hello" in sealed.record
    left = load_record(sealed.bare)
    assert b"hello" not in sealed.bare
    assert (left.customer, left.conversation.number) == (house.record.customer, 1)
