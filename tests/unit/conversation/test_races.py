"""Races that the random walk meets only rarely."""

from __future__ import annotations

from bridge.conversation.model import AskRobot, Offer
from bridge.conversation.turn import Policy
from bridge.ids import QueueId
from bridge.webchat.codes import RobotUse
from tests.support.scene import SESSION, Json, Scene

BOT: Json = {"id": "BOT007", "name": "Helper", "icon": "", "comments": ""}


def test_a_robots_202_before_the_reply_offers_a_person_once() -> None:
    """Both say that it is a robot."""
    scene = Scene()
    scene.start()
    scene.push(202, sessionId=SESSION, agents=[BOT], robotMode=True)
    scene.reply(sessionId=SESSION, robotType=3, agentId="BOT007")
    offers = [one.key for one in scene.effects if isinstance(one, Offer)]
    assert offers == ["robot.person_offered"]


def test_no_callback_attempt_while_the_robot_is_asked() -> None:
    """The attempt would take the question to a person."""
    scene = Scene(Policy(queue_id=QueueId(7), robot=RobotUse.FIRST))
    scene.start()
    scene.reply(-3)
    scene.call_back()
    scene.forget()
    scene.text("how do I return it?")
    assert [one.question for one in scene.effects if isinstance(one, AskRobot)] != []
    scene.later(5)
    assert scene.sent(101) == []
