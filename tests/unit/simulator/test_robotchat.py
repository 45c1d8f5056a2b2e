"""What the robot says (protocol reference 1.6), as the bridge's codec reads it."""

import json

import pytest

from bridge.webchat.frames import Received, RobotMessage
from bridge.webchat.read import parse_frame
from tests.unit.simulator.centres import Phone, frames, make_centre


def asked(question: str, **options: object) -> dict[str, object]:
    """The robot's answer to a question."""
    answers = {"测试": "<b>yes</b>", "hours": "9 to 5"}
    centre = make_centre(dialect="2019", robot_queues=[5], robot_answers=answers, **options)
    phone = Phone(centre)
    phone.queue(5)
    msg = {"type": 1, "content": {"text": question}}
    reply, said = frames(phone.send(110, sessionId=5001, msg=msg))
    assert reply["result"] == 1
    assert len(phone.customer.history.said) == 1
    return said


def read(frame: dict[str, object]) -> RobotMessage:
    received = parse_frame(json.dumps(frame))
    assert isinstance(received, Received)
    assert isinstance(received.push, RobotMessage)
    return received.push


def test_a_known_question_is_answered() -> None:
    said = read(asked("测试"))
    assert (said.text, said.suggestions, said.transfer) == ("<b>yes</b>", (), False)
    assert (said.session_id, said.robot_type) == (5001, 3)


def test_an_unknown_one_brings_suggestions() -> None:
    said = read(asked("what?"))
    assert said.suggestions == ("测试", "hours")


@pytest.mark.parametrize("words", ["人工", "I want a HUMAN"])
def test_asked_for_a_person_it_offers_one(words: str) -> None:
    assert read(asked(words)).transfer


@pytest.mark.parametrize("make", [0, 1, 2])
def test_the_other_makes_speak_plainly(make: int) -> None:
    assert asked("测试", robot_type=make)["content"] == "<b>yes</b>"
    assert isinstance(asked("人工", robot_type=make)["content"], str)


def test_it_can_speak_like_an_agent() -> None:
    said = asked("hours", robot_speaks=210)
    assert (said["type"], said["agentId"]) == (210, "BOT007")
    assert said["msg"] == {"type": 1, "content": "9 to 5"}


def test_it_is_silent_once_a_person_was_asked_for() -> None:
    phone = Phone(make_centre(dialect="2019", robot_queues=[5]))
    phone.queue(5)
    phone.send(302, sessionId=5001)
    msg = {"type": 1, "content": {"text": "hello?"}}
    assert len(frames(phone.send(110, sessionId=5001, msg=msg))) == 1
