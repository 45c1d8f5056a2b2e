"""Rows of the protocol reference, section 7: from the first message to the chat.

The life cycle, frames in and frames out. Chats and their ends: `test_conversation_chat.py`; rows of
the state table (section 4) that are not in section 7: `test_conversation_table.py`; reading and
writing of frames: `test_protocol*.py`; the link: `test_link.py`.
"""

from __future__ import annotations

import pytest

from bridge.conversation.model import Chatting
from bridge.webchat.codes import FailureReason
from tests.support.scene import ASK, MEI, SESSION, Scene, message


def test_12_request_id_arrives_by_201() -> None:
    """Row 12: 101 succeeds without details, then 201, then 202."""
    scene = Scene()
    scene.text("one")
    scene.reply()
    assert scene.frames == [ASK]
    scene.push(201, requestId=9001, requestStatus=0, queueLength=2)
    assert scene.last == {"type": 111, "requestId": 9001, "content": "one"}
    scene.reply()
    scene.push(202, sessionId=5150, agents=[MEI])
    assert isinstance(scene.state.phase, Chatting)
    assert scene.state.phase.session_id == 5150
    assert scene.notices == ["chat.started"]


def test_13_pre_message_is_sent_at_once() -> None:
    """Row 13: the pre-message 111 is sent at once."""
    scene = Scene()
    scene.text("one")
    scene.reply(requestId=9001, queueLength=3)
    assert scene.last == {"type": 111, "requestId": 9001, "content": "one"}


def test_14_status_arrives_before_the_reply() -> None:
    """Row 14: the status push arrives before the reply to 101."""
    scene = Scene()
    scene.start()
    scene.push(201, requestId=9001, requestStatus=0, queueLength=2)
    assert scene.phase == "Queued"
    scene.reply()
    assert scene.phase == "Queued"
    assert scene.frames == [ASK]
    scene.text("one")
    assert scene.last == {"type": 111, "requestId": 9001, "content": "one"}


def test_15_chat_starts_before_the_reply() -> None:
    """Row 15: the late reply to 101 does not end the chat."""
    scene = Scene()
    scene.text("one")
    scene.push(202, sessionId=5150, agents=[MEI])
    scene.reply(requestId=9001, queueLength=1)
    assert scene.phase == "Chatting"
    assert scene.last == message("one")


def test_16_201_nested_data() -> None:
    """Row 16: a status in a nested `data` object is read too."""
    scene = Scene()
    scene.text("one")
    scene.reply()
    scene.push(201, data={"requestId": 9001, "requestStatus": 0, "queueLength": 2})
    assert scene.last == {"type": 111, "requestId": 9001, "content": "one"}
    assert scene.cards == ["queue.asking", "queue.position"]


def test_17_unchanged_position_is_not_shown_again() -> None:
    """Row 17: positions 3, 3, 2 show the queue card twice."""
    scene = Scene()
    scene.start()
    scene.reply()
    for position in (3, 3, 2):
        scene.push(201, requestId=9001, requestStatus=0, queueLength=position)
    assert scene.cards == ["queue.asking", "queue.position", "queue.position"]


def test_18_pre_messages_are_not_sent_again() -> None:
    """Row 18: texts accepted as pre-messages (111) are not sent again."""
    scene = Scene()
    first = scene.queue_up("one")
    second = scene.text("two")
    scene.reply()
    scene.push(202, sessionId=5150, agents=[MEI])
    assert scene.sent(110) == []
    assert scene.delivered == [first, second]


def test_19_refused_pre_message_is_sent_in_the_chat() -> None:
    """Row 19: a text refused as a pre-message (111) is sent once by 110."""
    scene = Scene()
    event = scene.text("one")
    scene.reply(requestId=9001)
    scene.reply(-10)
    scene.push(202, sessionId=5150, agents=[MEI])
    scene.reply()
    assert scene.sent(110) == [message("one")]
    assert scene.delivered == [event]


def test_20_file_is_uploaded_while_queued() -> None:
    """Row 20: a file is uploaded while queued and sent in the chat, in order."""
    scene = Scene()
    scene.queue_up("one")
    image = scene.image("cat.png")
    scene.text("three")
    scene.uploaded()
    assert scene.sent(110) == []
    scene.push(202, sessionId=5150, agents=[MEI])
    scene.reply()
    scene.reply()
    assert scene.texts == ["one", "cat.png", "three"]
    assert image in scene.delivered


def test_21_cancel() -> None:
    """Row 21: 102 is sent, and later pushes about the request are ignored."""
    scene = Scene()
    event = scene.queue_up("one")
    scene.cancel()
    assert scene.last == {"type": 102, "requestId": 9001}
    scene.reply()
    assert scene.phase == "Idle"
    assert scene.reported == {event: "queue.dropped"}
    assert scene.card == ["queue.cancelled", "queue.dropped"]
    before = len(scene.effects)
    scene.push(201, requestId=9001, requestStatus=7)
    assert len(scene.effects) == before
    scene.text("again")
    scene.push(201, requestId=9001, requestStatus=7)
    assert scene.cards.count("queue.cancelled") == 1, "nor is it about the next request"
    assert len(scene.sent(101)) == 2


def test_22_agent_accepts_before_the_cancel() -> None:
    """Row 22: the agent accepts before 102 arrives, so the session is closed at once."""
    scene = Scene()
    scene.start()
    scene.reply(requestId=9001)
    scene.cancel()
    scene.push(202, sessionId=5150, agents=[MEI])
    scene.reply(-10)
    assert scene.last == {"type": 103, "sessionId": 5150}
    scene.reply()
    assert scene.phase == "Ended"
    assert scene.notices == []
    assert scene.cards[-1] == "queue.cancelled"
    assert scene.ghosts == set()


def test_23_cancel_waits_for_the_request_id() -> None:
    """Row 23: 102 waits for the request id."""
    scene = Scene()
    scene.start()
    scene.cancel()
    scene.reply()
    assert scene.sent(102) == []
    scene.push(201, requestId=9001, requestStatus=0, queueLength=1)
    assert scene.last == {"type": 102, "requestId": 9001}
    scene.reply()
    assert scene.phase == "Idle"


def test_24_already_routing() -> None:
    """Row 24: -1 means already queued; no second 101 within 60 s."""
    scene = Scene()
    scene.text("one")
    scene.reply(-1, requestId=9001)
    assert scene.phase == "Queued"
    assert scene.last == {"type": 111, "requestId": 9001, "content": "one"}
    scene.reply()
    scene.later(60)
    assert len(scene.sent(101)) == 1


def test_25_already_chatting_in_the_known_session() -> None:
    """Row 25: -2 without a session id refers to the remembered session."""
    scene = Scene()
    scene.begin()
    scene.close()
    scene.fail(FailureReason.UNREACHABLE)
    while scene.phase == "Chatting":  # the server is unreachable until the chat is given up
        scene.later(60)
        if scene.state.outstanding is not None:
            scene.fail(FailureReason.UNREACHABLE)
    scene.text("one")
    scene.reply(-2)
    assert isinstance(scene.state.phase, Chatting)
    assert scene.state.phase.session_id == SESSION
    assert scene.last == message("one")


def test_26_already_chatting_in_an_unknown_session() -> None:
    """Row 26: -2 with an unknown session: one clear error after 5 s."""
    scene = Scene()
    scene.text("one")
    scene.reply(-2)
    scene.later(4.9)
    assert scene.cards == ["queue.asking"]
    scene.later(3600)
    assert scene.card == ["trouble.other_chat", "queue.kept"]
    assert len(scene.sent(101)) == 1


def test_27_text_outside_working_hours_is_kept() -> None:
    """Row 27: the first text is kept, and sent before the second."""
    scene = Scene()
    first = scene.text("one")
    scene.reply(-3)
    assert scene.phase == "Idle"
    assert scene.card == ["result.-3", "queue.kept", "callback.offer"]
    second = scene.text("two")
    scene.reply()
    scene.push(202, sessionId=5150, agents=[MEI])
    scene.reply()
    scene.reply()
    assert scene.texts == ["one", "two"]
    assert scene.delivered == [first, second]


def test_28_text_is_kept_when_working_hours_end() -> None:
    """Row 28: the customer is told, and the text is kept."""
    scene = Scene()
    event = scene.queue_up("one")
    scene.push(201, requestId=9001, requestStatus=6)
    assert scene.phase == "Idle"
    assert scene.card == ["status.6", "queue.kept", "callback.offer"]
    assert [piece.event_id for piece in scene.state.held] == [event]


@pytest.mark.parametrize("status", [3, 4, 2])
def test_29_each_end_of_a_request_has_its_own_sentence(status: int) -> None:
    """Row 29: each kind of end has its own sentence."""
    scene = Scene()
    scene.start()
    scene.reply(requestId=9001)
    scene.push(201, requestId=9001, requestStatus=status)
    assert scene.phase == "Idle"
    assert scene.card == [f"status.{status}"]


def test_30_refused_request_is_accepted_later() -> None:
    """Row 30: a refused request may still be accepted."""
    scene = Scene()
    scene.start()
    scene.reply(requestId=9001)
    scene.push(201, requestId=9001, requestStatus=2)
    scene.push(202, sessionId=5150, agents=[MEI])
    assert scene.phase == "Chatting"
    assert scene.cards[1:] == ["status.2", "queue.joined"]


@pytest.mark.parametrize(("status", "card"), [(0, "queue.position"), (1, "queue.accepted")])
def test_30_refused_request_is_queued_again(status: int, card: str) -> None:
    """Reference 2.3, status 2: a 201 for the same request restores the place in the queue."""
    scene = Scene()
    event = scene.queue_up("one")
    scene.push(201, requestId=9001, requestStatus=2)
    assert (scene.phase, scene.cards[-1]) == ("Idle", "status.2")
    scene.push(201, requestId=9001, requestStatus=status, queueLength=1)
    assert (scene.phase, scene.cards[-1]) == ("Queued", card)
    scene.push(202, sessionId=5150, agents=[MEI])
    assert scene.phase == "Chatting"
    assert scene.notices == ["chat.started"]
    assert scene.texts == ["one"], "the request still had it"
    assert scene.delivered == [event]


def test_31_unknown_status() -> None:
    """Row 31: an undocumented status ends the request, with a notice."""
    scene = Scene()
    scene.start()
    scene.reply(requestId=9001)
    scene.push(201, requestId=9001, requestStatus=42)
    assert scene.phase == "Idle"
    assert scene.card == ["status.other"]


def test_32_status_11_is_not_an_error() -> None:
    """Row 32: status 11 is not an error."""
    scene = Scene()
    scene.start()
    scene.reply(requestId=9001)
    scene.push(201, requestId=9001, requestStatus=11)
    assert scene.notices == []
    scene.push(202, sessionId=5150, agents=[MEI])
    assert scene.notices == ["chat.started"]


def test_33_robot_session_starts_with_the_reply() -> None:
    """Row 33: a robot's session starts with the reply to 101; text is sent as 110."""
    scene = Scene()
    scene.text("one")
    scene.reply(sessionId=5150, agentId="BOT007", agentName="Helper", robotType=3, queueLength=0)
    assert isinstance(scene.state.phase, Chatting)
    assert scene.state.phase.robot
    assert scene.last == message("one")
    assert scene.sent(111) == []


def test_34_robots_session_is_greeted_once() -> None:
    """Row 34: a 202 for the same session does not repeat the greeting."""
    scene = Scene()
    scene.start()
    scene.reply(sessionId=5150, agentId="BOT007", agentName="Helper", robotType=3)
    scene.push(202, sessionId=5150, agents=[{"id": "BOT007", "name": "Helper"}])
    assert scene.cards == ["queue.asking", "queue.joined"]
    assert scene.notices == []
    assert isinstance(scene.state.phase, Chatting)
    assert scene.state.phase.robot, "the session was the robot's, and nobody new is in it"
    assert scene.ghosts == {"BOT007"}


def test_35_robot_transfer() -> None:
    """Row 35, without a 302 (a later dialect): pushes about the transfer do not end the chat."""
    scene = Scene()
    scene.start()
    scene.reply(sessionId=5150, agentId="BOT007", agentName="Helper", robotType=3)
    scene.push(201, requestId=9002, requestStatus=0, queueLength=2, sessionId=5150)
    assert scene.phase == "Chatting"
    scene.push(204, sessionId=5150, agents=[MEI])
    assert isinstance(scene.state.phase, Chatting)
    assert scene.state.phase.session_id == 5150
    assert not scene.state.phase.robot
    assert scene.notices == scene.pings == ["chat.transferred"]
