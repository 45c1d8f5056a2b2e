"""Answers of `status` in every phase."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bridge.conversation.model import (
    Callback,
    Chatting,
    Conversation,
    Idle,
    Phase,
    Pushed,
    Queued,
    Requesting,
)
from bridge.ids import AgentId, QueueId, RequestId, SessionId
from bridge.rooms.record import RoomSettings
from bridge.webchat.frames import Agent, ChatStarted, QueueStatus
from tests.unit.rooms.visits import House, answer


def in_english() -> House:
    house = House().served()
    house.visit.set(settings=RoomSettings(language="en"))
    return house


def at(phase: Phase) -> House:
    house = House().served()
    house.visit.set(conversation=Conversation(phase=phase))
    return house


def test_status_tells_the_phase_and_kept_messages() -> None:
    house = in_english()
    house.say("hello")
    house.say("status")
    status = "Asking Returns for an agent."
    kept = "I have kept your message."
    assert answer(house) == ("command.status_kept", {"status": status, "kept": kept})
    house.visit.step(Pushed(QueueStatus(RequestId(9001), 0, 3)))
    assert isinstance(house.record.conversation.phase, Queued)
    house.say("status")
    status = "Waiting for Returns, position 3."
    assert answer(house) == ("command.status_kept", {"status": status, "kept": kept})
    mei = Agent(AgentId("K00017"), "Mei")
    house.visit.step(Pushed(ChatStarted(SessionId(5150), (mei,))))
    house.say("!wc status")
    status = "Chatting with Mei."
    assert answer(house) == ("command.status_kept", {"status": status, "kept": kept})


def test_status_counts_the_message_under_way() -> None:
    house = in_english().chat()
    for words in ("hello", "are you there?"):
        house.say(words)
        house.say("!wc status")
    assert house.record.conversation.outstanding is not None
    assert answer(house)[1]["kept"] == "I have kept your 2 messages."


@pytest.mark.parametrize(
    ("phase", "begin"),
    [
        (Requesting(QueueId(1), 5), "Asking Sales for an agent. ⚠️ The call centre cannot be"),
        (
            Chatting(SessionId(5150), 5, QueueId(1)),
            "Chatting with ?. ⚠️ The call centre cannot be reached",
        ),
        (Queued(QueueId(1), 5, cancel_by=6), "Leaving the queue of Sales; the call centre"),
    ],
)
def test_status_tells_of_an_outage(phase: Phase, begin: str) -> None:
    house = in_english()
    house.visit.set(conversation=Conversation(phase=phase, trouble_since=house.now))
    house.say("!wc status")
    said = house.visit.for_room(*answer(house))
    assert said.startswith(begin)
    assert said.count("cannot be reached") == 1


def test_status_without_kept_messages_counts_none() -> None:
    house = in_english().chat()
    house.say("!wc status")
    assert answer(house) == ("command.status_chatting", {"names": "?"})


def test_status_tells_that_the_robot_looks_for_a_person() -> None:
    house = in_english().chat()
    phase = house.record.conversation.phase
    assert isinstance(phase, Chatting)
    seeking = replace(phase, robot=True, seeking=True)
    house.visit.set(conversation=replace(house.record.conversation, phase=seeking))
    house.say("!wc status")
    assert answer(house)[0] == "robot.transferring"


def test_status_counts_messages_and_not_calls() -> None:
    house = House().served()
    house.say("start 1")
    house.say("status")
    assert answer(house) == ("command.status_requesting", {"queue": "Sales"})


def test_status_without_a_position() -> None:
    house = at(Queued(QueueId(2), 1))
    house.say("status")
    assert answer(house) == ("command.status_waiting", {"queue": "Returns"})


@pytest.mark.parametrize(
    "phase", [Requesting(QueueId(1), 1, cancel=True), Queued(QueueId(1), 1, cancel_by=2)]
)
@pytest.mark.parametrize(
    ("since", "key"), [(None, "command.status_leaving"), (1, "command.status_leaving_away")]
)
def test_status_while_leaving_the_queue(
    phase: Requesting | Queued, since: int | None, key: str
) -> None:
    house = House().served()
    house.visit.set(conversation=Conversation(phase=phase, trouble_since=since))
    house.say("status")
    assert answer(house) == (key, {"queue": "Sales"})


def test_status_says_that_the_room_is_paused() -> None:
    house = House().served()
    house.visit.set(settings=RoomSettings(paused=True, language="en"))
    house.say("status")
    key, args = answer(house)
    assert key == "command.status_paused"
    assert args["status"] == "No chat at the moment. Queue: Returns."
    wish = Callback(QueueId(1), wanted=5, next_at=house.now + 60_000)
    house.visit.set(conversation=Conversation(callback=wish))
    house.say("status")
    assert str(answer(house)[1]["status"]).startswith("You will be told here")


@pytest.mark.parametrize(
    ("phase", "key"),
    [
        (Idle(), "command.status_callback"),
        (Requesting(QueueId(1), 5, quiet=True), "command.status_callback"),
        (Queued(QueueId(1), 5, quiet_until=9), "command.status_callback"),
        (Queued(QueueId(1), 5), "command.status_waiting"),
    ],
)
def test_status_while_a_callback_is_pending(phase: Phase, key: str) -> None:
    house = House().served()
    callback = Callback(QueueId(1), wanted=5, next_at=house.now + 60_000)
    house.visit.set(conversation=Conversation(phase=phase, callback=callback))
    house.say("!wc status")
    said, args = answer(house)
    assert said == key
    assert args["queue"] == "Sales"
