"""The way from the robot to a person (rows 10, 26, 27, 33-35 of the reference's tests)."""

from __future__ import annotations

import pytest

from bridge.conversation.model import FailureReason, Human
from tests.support.scene import MEI, SESSION, Scene


def with_robot() -> Scene:
    """A session with the robot."""
    scene = Scene()
    scene.start()
    scene.reply(sessionId=SESSION, robotType=3)
    return scene


HAND_OVER = {"type": 302, "sessionId": SESSION}


def test_the_robot_hands_over() -> None:
    """table row 27."""
    scene = with_robot()
    scene.happen(Human())
    assert scene.last == HAND_OVER
    scene.reply()
    assert scene.notices[-1] == "robot.transferring"
    scene.push(201, requestStatus=0, queueLength=2, sessionId=SESSION)
    assert scene.cards[-1] == "robot.position"
    scene.push(204, sessionId=SESSION, users=[MEI])
    assert scene.notices[-1] == "chat.agent_joined"
    scene.happen(Human())
    assert scene.notices[-1] == "start.already_chatting"
    assert scene.sent(302) == [HAND_OVER]


def test_what_was_said_before_goes_first() -> None:
    scene = with_robot()
    scene.text("my parcel is lost")
    scene.happen(Human())
    assert scene.last["type"] == 110
    scene.reply()
    assert scene.last == HAND_OVER


def test_a_person_who_was_faster_needs_no_announcement() -> None:
    scene = with_robot()
    scene.happen(Human())
    scene.push(204, sessionId=SESSION, users=[MEI])
    scene.reply()
    assert "robot.transferring" not in scene.notices


def test_the_robot_goes_on_if_nobody_is_there() -> None:
    scene = with_robot()
    for code in (-3, -5):
        scene.happen(Human())
        scene.reply(code)
        assert scene.notices[-1] == f"robot.alone.{code}"
    scene.happen(Human())
    scene.reply(-8)
    assert scene.notices[-1] == "robot.refused"
    scene.happen(Human())
    scene.reply()
    scene.push(201, requestStatus=5, sessionId=SESSION)
    assert scene.notices[-1] == "status.5"
    scene.push(201, requestStatus=42, sessionId=SESSION)
    scene.push(201, requestStatus=1, sessionId=SESSION)
    assert scene.phase == "Chatting"
    scene.text("robot?")
    assert scene.texts == ["robot?"]


def test_a_session_that_is_gone_cannot_hand_over() -> None:
    scene = with_robot()
    scene.happen(Human())
    scene.reply(-11)
    assert scene.phase == "Ended"


def test_a_late_answer_to_the_hand_over_changes_nothing() -> None:
    scene = with_robot()
    scene.happen(Human())
    scene.push(205, sessionId=SESSION, agentId="")
    scene.forget()
    scene.reply()
    assert scene.notices == []


def test_the_wish_survives_a_lost_link() -> None:
    scene = with_robot()
    scene.happen(Human())
    scene.fail(FailureReason.UNREACHABLE)
    scene.later(2)
    assert scene.sent(302) == [HAND_OVER] * 2


@pytest.mark.parametrize("queued", [True, False])
def test_outside_the_robots_hands_it_is_a_start(queued: bool) -> None:
    scene = Scene()
    if queued:
        scene.queue_up()
    scene.happen(Human())
    assert scene.notices == (["start.already_queued"] if queued else [])
    assert scene.phase == ("Queued" if queued else "Requesting")
