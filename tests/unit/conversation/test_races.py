"""Races that the random walk meets only rarely."""

from __future__ import annotations

import pytest

from bridge.conversation.model import AskRobot, CallWebChat, Offer
from bridge.conversation.turn import Policy
from bridge.ids import QueueId
from bridge.webchat.codes import RobotUse
from tests.support.scene import MEI, SESSION, Json, Scene, message

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


def test_a_message_of_unknown_fate_is_marked_when_the_next_chat_gets_it() -> None:
    """The agent may have read it before she ended the chat, which -11 tells (table row 24)."""
    scene = Scene()
    scene.begin()
    event = scene.text("one")
    scene.cut()
    scene.reply(-11)
    assert scene.notices[-1] == "chat.lost"
    scene.reply()
    scene.push(202, sessionId=5151, agents=[MEI])
    assert scene.last == message("one", 5151)
    calls = [call for call in scene.calls if call.event_id == event]
    assert [call.repeat for call in calls if isinstance(call, CallWebChat)] == [False, True, True]
    assert len({call.call_id for call in calls}) == 1
    scene.reply()
    assert scene.delivered == [event]


@pytest.mark.parametrize("requested", [False, True])
def test_an_end_that_comes_after_its_refusal_can_be_rated(requested: bool) -> None:
    """WebChat answers -11 and only then pushes the 205 (table row 24)."""
    scene = Scene()
    scene.begin()
    scene.text("are you there?")
    scene.reply(-11)
    if requested:
        scene.reply(requestId=9002)
        scene.reply()
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.push(205, sessionId=SESSION, agentId="K00017")
    assert scene.asked == [SESSION]
    assert scene.notices.count("chat.ended") == 0, "told already"
    if not requested:
        scene.reply(requestId=9002)
        scene.reply()
    scene.rate(5)
    assert scene.last["type"] == 104
    assert scene.last["sessionId"] == SESSION
    scene.reply()
    scene.push(202, sessionId=5151, agents=[MEI])
    assert scene.state.last_session == 5151


def test_an_unseen_chat_is_not_rated_at_its_late_end() -> None:
    """The customer left the queue as an agent accepted (table row 22)."""
    scene = Scene()
    scene.leave_too_late()
    scene.reply()
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.start()
    scene.push(205, sessionId=SESSION, agentId="K00017")
    assert scene.asked == []
