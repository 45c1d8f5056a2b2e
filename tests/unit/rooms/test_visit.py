"""A visit lets the machine work on the room's record, under the room's own policy."""

from __future__ import annotations

import msgspec

from bridge.config.model import TellAgents
from bridge.conversation.model import (
    CallWebChat,
    CustomerText,
    Delivered,
    Pushed,
    Replied,
    Said,
    Say,
    Start,
)
from bridge.ids import AgentId, CallId, EventId, QueueId, RequestId, SessionId
from bridge.rooms.record import RoomSettings
from bridge.webchat.frames import Agent, ChatStarted, Reply, RequestChat
from tests.unit.rooms.visits import RETURNS, House


def test_the_policy_of_the_room_counts() -> None:
    house = House().served()
    house.visit.step(Start())
    (call,) = (one for one in house.effects if isinstance(one, CallWebChat))
    assert call.command == RequestChat(QueueId(RETURNS.id), "PC", RETURNS.to_agent)


def test_delivery_is_a_fact_that_needs_nothing_done() -> None:
    house = House().served()
    house.visit.step(Said(EventId("$1"), CustomerText("hello")))
    house.visit.step(Replied(CallId(1), Reply(101, 1, request_id=RequestId(9001))))
    house.visit.step(Replied(CallId(2), Reply(111, 1)))
    mei = Agent(AgentId("K00017"), "Mei")
    house.visit.step(Pushed(ChatStarted(SessionId(5150), (mei,))))
    assert house.carried == []
    assert not any(isinstance(one, Delivered) for one in house.effects)


def test_sentences() -> None:
    house = House()
    house.visit.say("command.version", {"version": "1"}, reply_to=EventId("$1"))
    assert house.effects == [Say("command.version", {"version": "1"}, EventId("$1"))]


def test_agents_may_have_a_language_of_their_own() -> None:
    house = House()
    house.visit.set(settings=RoomSettings(language="ja"))
    assert house.visit.word("agent.corrected", {"text": "4711"}) == "訂正：4711"
    house.visit.rules = msgspec.structs.replace(house.visit.rules, tell=TellAgents(language="en"))
    assert house.visit.word("agent.corrected", {"text": "4711"}) == "Correction: 4711"
    assert house.visit.part("rating.nothing", {}).startswith("評価")
