"""All answers to 101 (protocol reference 1.3), 302, and the robot (1.6), read by the bridge."""

from __future__ import annotations

import json

import pytest

from bridge.simulator import desk
from bridge.webchat.frames import Received, RobotMessage
from bridge.webchat.read import parse_frame
from tests.unit.simulator.centres import Phone, chatting, codes, frames, make_centre, perform


def test_a_permanent_session_is_there_at_once_and_needs_no_202() -> None:
    phone = Phone(make_centre(permanent=True))
    (reply,) = frames(phone.queue())
    assert reply == {
        "messageId": 1,
        "type": 101,
        "result": 1,
        "message": "",
        "sessionId": 5001,
        "perm": 1,
        "agentId": "A00001",
        "agentName": "Mei",
        "icon": "http://desk.test/webchat/icon/A00001.png",
        "comments": "",
    }
    assert codes(phone.text(5001, "hi")) == [(110, 1)]


def test_the_reply_can_tell_the_session_before_its_202() -> None:
    phone = Phone(make_centre(script="accept", session_in_reply=True))
    reply, started = frames(phone.queue())
    assert (reply["sessionId"], reply["agentId"]) == (5001, "A00001")
    assert (started["type"], started["sessionId"]) == (202, 5001)
    waiting = Phone(make_centre(session_in_reply=True))
    assert "sessionId" not in frames(waiting.queue())[0]


@pytest.mark.parametrize("told", [{}, {"queueLength": 0, "continueLastSession": True}])
def test_a_101_can_continue_the_open_session(told: dict[str, object]) -> None:
    phone = Phone(make_centre(script="accept", continues=True, request_id_in_reply=bool(told)))
    phone.queue()
    reply, started = frames(phone.queue())
    assert reply == {"messageId": 2, "type": 101, "result": 1, "message": "", **told}
    assert (started["type"], started["sessionId"]) == (202, 5001)
    assert started["continueLastSession"] is True


def robot(**options: object) -> Phone:
    return Phone(make_centre(dialect="2019", robot_queues=[5], **options))


def greeted(phone: Phone) -> dict[str, object]:
    return frames(phone.queue(5))[0]


def test_a_robot_queue_answers_with_a_session_and_no_request() -> None:
    assert greeted(robot()) == {
        "messageId": 1,
        "type": 101,
        "result": 1,
        "message": "",
        "sessionId": 5001,
        "agentId": "BOT007",
        "agentName": "Helper",
        "robotType": 3,
        "queueLength": 0,
    }


@pytest.mark.parametrize("closed", [{"open_hours": False}, {"agents": []}])
def test_a_robot_works_without_people_but_cannot_hand_over(closed: dict[str, object]) -> None:
    phone = robot(**closed)
    assert greeted(phone)["result"] == 1
    code = -3 if "open_hours" in closed else -5
    assert codes(phone.send(302, sessionId=5001)) == [(302, code)]


def test_a_202_with_robot_mode_can_follow() -> None:
    reply, started = frames(robot(robot_started=True).queue(5))
    assert reply["sessionId"] == started["sessionId"] == 5001
    assert started["robotMode"] is True


def test_202_of_a_robot_can_lack_robot_mode() -> None:
    _, started = frames(robot(robot_started=True, robot_mode=False).queue(5))
    assert "robotMode" not in started


def test_a_person_takes_over_under_the_same_session() -> None:
    phone = robot()
    phone.queue(5)
    reply, status = frames(phone.send(302, sessionId=5001))
    assert (reply["result"], reply["queueLength"]) == (1, 1)
    assert status == {
        "type": 201,
        "requestId": 9001,
        "requestStatus": 0,
        "queueLength": 1,
        "sessionId": 5001,
    }
    assert codes(phone.send(302, sessionId=5001)) == [(302, -1)]
    (updated,) = frames(perform(phone.centre, {"op": "accept", "agent": "A00002"}).outgoing)
    assert (updated["type"], updated["sessionId"]) == (204, 5001)
    assert phone.customer.session is not None
    assert (phone.customer.session.robot, phone.customer.request) == (False, None)
    # Now that a person speaks there is nothing to hand over.
    assert codes(phone.send(302, sessionId=5001)) == [(302, -18)]


def test_takeover_can_be_announced_by_202_or_name_its_queue() -> None:
    phone = robot(robot_handover=202)
    phone.queue(5)
    phone.send(302, sessionId=5001)
    (started,) = frames(perform(phone.centre, {"op": "accept"}).outgoing)
    assert started["type"] == 202
    phone = robot(queue_names={"2": "Returns"})
    phone.queue(5)
    phone.send(302, sessionId=5001, transferInfo='{"queueId":2}')
    (updated,) = frames(perform(phone.centre, {"op": "accept"}).outgoing)
    assert (updated["queueId"], updated["queueName"]) == (2, "Returns")


def test_a_scripted_agent_takes_over_at_once() -> None:
    phone = robot(script="accept")
    phone.queue(5)
    reply, updated = frames(phone.send(302, sessionId=5001))
    assert (reply["queueLength"], updated["type"]) == (0, 204)


@pytest.mark.parametrize("revision", ["R2", "R3"])
def test_before_r4_the_201_does_not_name_the_session(revision: str) -> None:
    phone = robot(revision=revision)
    phone.queue(5)
    assert "sessionId" not in frames(phone.send(302, sessionId=5001))[1]


def test_refused_or_cancelled_handover_leaves_the_robot() -> None:
    phone = robot()
    phone.queue(5)
    for end in ("refuse", "cancel"):
        phone.send(302, sessionId=5001)
        assert phone.customer.request is not None
        if end == "refuse":
            (status,) = frames(perform(phone.centre, {"op": "refuse"}).outgoing)
        else:
            _, status = frames(phone.send(102, requestId=phone.customer.request.id))
        assert status["sessionId"] == 5001
        assert phone.customer.session is not None
        assert phone.customer.session.robot


def test_the_end_of_the_session_ends_the_wait_for_a_person() -> None:
    phone = robot()
    phone.queue(5)
    phone.send(302, sessionId=5001)
    other = Phone(phone.centre, "bob")
    assert frames(other.queue(5))[0]["result"] == 1
    frames(other.send(302, sessionId=5002))
    ended = frames(phone.send(103, sessionId=5001))
    assert [(frame["type"], frame.get("queueLength")) for frame in ended] == [
        (103, None),
        (201, 1),
    ]
    assert (phone.customer.request, phone.customer.session) == (None, None)


def test_script_refuse_refuses_every_request() -> None:
    phone = Phone(make_centre(script="refuse"))
    assert codes(phone.queue())[:1] == [(101, 1)]
    assert frames(phone.queue())[-1]["requestStatus"] == 2
    assert not phone.centre.requests


def test_queue_timeout_ends_a_request() -> None:
    centre = make_centre(queue_timeout=10)
    early, late = Phone(centre), Phone(centre, "bob").at(6.0)
    early.queue()
    late.queue()
    assert desk.overdue(centre, 10.9) == []
    ended, moved = frames(desk.overdue(centre, 11.0))
    assert (ended["requestStatus"], moved["requestStatus"], moved["queueLength"]) == (3, 0, 1)
    assert [request.customer.login for request in centre.requests.values()] == ["bob"]
    assert desk.overdue(make_centre(), 1e9) == []


def test_a_session_ends_when_its_customer_stays_away_too_long() -> None:
    centre = make_centre(session_grace=30)
    phone, session = chatting(centre)
    phone.customer.link_lost_at = 100
    assert desk.overdue(centre, 129) == []
    assert codes(phone.text(session, "x")) == [(110, 1)]
    assert desk.overdue(centre, 130) == []
    assert codes(phone.text(session, "x")) == [(110, -11)]
    assert phone.customer.sessions[0].ended_by == "grace"


def test_queue_moves_up_when_the_session_of_a_lost_customer_ends() -> None:
    centre = make_centre(session_grace=30, dialect="2019", robot_queues=[5], queues=[7])
    away, other = Phone(centre), Phone(centre, "bob")
    away.queue(5)
    away.send(302, sessionId=5001, transferInfo='{"queueId": 7}')
    assert frames(other.queue())[-1]["queueLength"] == 2
    away.customer.link_lost_at = 100
    (moved,) = frames(desk.overdue(centre, 130))
    assert (moved["type"], moved["requestId"], moved["queueLength"]) == (201, 9002, 1)
    entry = centre.transcript.since(centre.transcript.last - 1)[0]
    assert (entry["kind"], entry["login"], entry["text"]) == ("closed", "ada", "grace")


@pytest.mark.parametrize(
    ("options", "beat"),
    [
        ({"queue_timeout": 0, "session_grace": 0}, 1),
        ({"queue_timeout": 10, "session_grace": 10}, 1),
        ({"queue_timeout": 0.5}, 0.5),
        ({"session_grace": 0.2}, 0.2),
        ({"resend_seconds": 0.1}, 0.1),
    ],
)
def test_beat_is_at_most_the_shortest_timeout(options: dict[str, float], beat: float) -> None:
    assert make_centre(**options).options.beat == beat


def asked(question: str, **options: object) -> dict[str, object]:
    """The robot's answer to a question."""
    answers = {"测试": "<b>yes</b>", "hours": "9 to 5"}
    centre = make_centre(dialect="2019", robot_queues=[5], robot_answers=answers, **options)
    phone = Phone(centre)
    phone.queue(5)
    msg = {"type": 1, "content": {"text": question}}
    reply, said = frames(phone.send(110, sessionId=5001, msg=msg))
    assert reply["result"] == 1
    assert len(phone.customer.said) == 1
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


def test_unknown_question_gets_suggestions() -> None:
    said = read(asked("what?"))
    assert said.suggestions == ("测试", "hours")


@pytest.mark.parametrize("words", ["人工", "I want a HUMAN"])
def test_robot_offers_a_person_on_request(words: str) -> None:
    assert read(asked(words)).transfer


@pytest.mark.parametrize("make", [0, 1, 2])
def test_other_robot_types_answer_in_plain_text(make: int) -> None:
    assert asked("测试", robot_type=make)["content"] == "<b>yes</b>"
    assert isinstance(asked("人工", robot_type=make)["content"], str)


def test_robot_can_answer_like_an_agent() -> None:
    said = asked("hours", robot_speaks=210)
    assert (said["type"], said["agentId"]) == (210, "BOT007")
    assert said["msg"] == {"type": 1, "content": "9 to 5"}


def test_robot_is_silent_after_a_handover_request() -> None:
    phone = Phone(make_centre(dialect="2019", robot_queues=[5]))
    phone.queue(5)
    phone.send(302, sessionId=5001)
    msg = {"type": 1, "content": {"text": "hello?"}}
    assert len(frames(phone.send(110, sessionId=5001, msg=msg))) == 1
