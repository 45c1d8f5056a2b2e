"""A refused request that goes on after all (reference 2.3, status 2)."""

from __future__ import annotations

import pytest

from bridge.conversation.machine import wants_link
from bridge.conversation.model import Chatting, Consulted, Queued
from bridge.conversation.turn import Policy
from bridge.ids import QueueId
from bridge.webchat.codes import RobotUse
from tests.support.scene import MEI, REQUEST, SESSION, Scene, message


def refused(scene: Scene | None = None) -> Scene:
    """A scene in which an agent refused the request, and the customer was told."""
    scene = scene or Scene()
    scene.start()
    scene.reply(requestId=REQUEST, queueLength=2)
    scene.push(201, requestId=REQUEST, requestStatus=2, queueLength=0)
    assert scene.phase == "Idle"
    scene.forget()
    return scene


@pytest.mark.parametrize(
    ("told", "card"),
    [
        ({"requestStatus": 0, "queueLength": 1}, "queue.position"),
        ({"requestStatus": 0, "queueLength": 2}, "queue.position"),
        ({"requestStatus": 0, "queueLength": 0}, "queue.waiting"),
        ({"requestStatus": 0}, "queue.waiting"),
        ({"requestStatus": 1}, "queue.accepted"),
        ({"requestStatus": 11}, "queue.accepted"),
    ],
)
def test_news_of_a_refused_request_restores_its_card(told: dict[str, object], card: str) -> None:
    scene = refused()
    number = scene.state.number
    scene.push(201, requestId=REQUEST, **told)
    assert isinstance(scene.state.phase, Queued)
    assert scene.state.phase.queue_id == 7
    assert (scene.cards, scene.notices) == ([card], [])
    assert scene.state.number == number, "the same card, no new one"
    scene.later(61)
    assert wants_link(scene.state)
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.phase == "Chatting"


def test_a_revived_request_can_be_refused_again() -> None:
    scene = refused()
    for _ in range(2):
        scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=1)
        scene.push(201, requestId=REQUEST, requestStatus=2)
    assert scene.cards.count("status.2") == 2
    scene.push(201, requestId=REQUEST, requestStatus=1)
    assert scene.phase == "Queued"


def test_pre_messages_of_a_revived_request_count_again() -> None:
    """The server has them; later messages follow."""
    scene = Scene()
    first = scene.queue_up("one")
    scene.push(201, requestId=REQUEST, requestStatus=2)
    assert [piece.event_id for piece in scene.state.held] == [first]
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=1)
    second = scene.text("two")
    assert scene.texts == ["one", "two"]
    scene.reply()
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.delivered == [first, second]
    assert scene.sent(110) == []


def test_a_message_between_refusal_and_revival_is_a_pre_message() -> None:
    """It waits, as it starts no new request here, and is sent with the revived one."""
    scene = Scene(Policy(queue_id=QueueId(7), start_on_message=False))
    scene.start()
    scene.reply(requestId=REQUEST)
    first = scene.text("one")
    scene.reply()
    scene.push(201, requestId=REQUEST, requestStatus=2)
    second = scene.text("two")
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=1)
    scene.reply()
    assert scene.texts == ["one", "two"]
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.delivered == [first, second]


@pytest.mark.parametrize(
    "told",
    [
        {"requestId": 1, "requestStatus": 0, "queueLength": 1},
        {"requestStatus": 0, "queueLength": 1},
        {"requestId": REQUEST, "requestStatus": 2},
        {"requestId": REQUEST, "requestStatus": 5},
    ],
)
def test_other_news_revives_nothing(told: dict[str, object]) -> None:
    scene = refused()
    before = scene.state
    scene.push(201, **told)
    assert scene.state == before
    assert scene.effects == []


def test_a_refused_request_cannot_be_revived_after_a_minute() -> None:
    scene = refused()
    scene.later(61)
    before = scene.state
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=1)
    assert scene.state == before
    assert not wants_link(scene.state)


def test_a_request_that_ended_otherwise_cannot_be_revived() -> None:
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST)
    scene.push(201, requestId=REQUEST, requestStatus=3)
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=1)
    assert scene.phase == "Idle"


def test_a_new_request_is_not_replaced_by_a_revived_one() -> None:
    scene = refused()
    scene.text("hello?")
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=1)
    assert scene.phase == "Requesting"


def test_the_chat_of_a_revived_request_has_its_queue() -> None:
    """A 202 names no queue: it is that of the refused request, not the room's."""
    scene = Scene()
    scene.start(queue=8)
    scene.reply(requestId=REQUEST)
    scene.push(201, requestId=REQUEST, requestStatus=2)
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert isinstance(scene.state.phase, Chatting)
    assert scene.state.phase.queue_id == 8


def test_a_revived_callback_attempt_is_hidden_until_accepted() -> None:
    scene = Scene()
    scene.start()
    scene.reply(-5)
    scene.call_back()
    while not scene.sent(101)[1:]:
        scene.later(60)
    scene.reply(requestId=REQUEST)
    scene.push(201, requestId=REQUEST, requestStatus=2)
    scene.forget()
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=1)
    assert (scene.cards, scene.notices) == ([], [])
    scene.push(201, requestId=REQUEST, requestStatus=1)
    assert scene.cards == ["queue.accepted"]


def test_questions_to_the_robot_are_sent_with_a_revived_request() -> None:
    scene = refused(Scene(Policy(queue_id=QueueId(7), robot=RobotUse.FIRST)))
    event = scene.text("when?")
    scene.happen(Consulted(event, "(at nine)"))
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=1)
    scene.reply()
    assert scene.texts == ["when?", "(at nine)"]


def test_a_202_after_the_refusal_sends_kept_messages() -> None:
    """It does not name its request: better sent twice than never."""
    scene = Scene()
    scene.queue_up("one")
    scene.push(201, requestId=REQUEST, requestStatus=2)
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.last == message("one")
