"""A refused request that comes to life again (reference 2.3, status 2)."""

from __future__ import annotations

import pytest

from bridge.conversation.machine import wants_link
from bridge.conversation.model import Chatting, Consulted, Queued
from bridge.conversation.policy import Policy, RobotUse
from bridge.ids import QueueId
from tests.support.scene import MEI, REQUEST, SESSION, Scene, message


def refused(scene: Scene | None = None) -> Scene:
    """An agent has refused; the customer has been told so."""
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
def test_news_of_it_brings_its_card_back(told: dict[str, object], card: str) -> None:
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


def test_it_can_be_refused_again() -> None:
    scene = refused()
    for _ in range(2):
        scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=1)
        scene.push(201, requestId=REQUEST, requestStatus=2)
    assert scene.cards.count("status.2") == 2
    scene.push(201, requestId=REQUEST, requestStatus=1)
    assert scene.phase == "Queued"


def test_what_went_with_it_is_with_it_again() -> None:
    """The server has it; what was typed since goes behind it, what was taken back does not."""
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


def test_what_was_typed_in_between_is_new_to_it() -> None:
    """Where a word does not ask anew by itself, it waits, and goes to the request that stands."""
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


def test_after_a_while_it_is_over() -> None:
    scene = refused()
    scene.later(61)
    before = scene.state
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=1)
    assert scene.state == before
    assert not wants_link(scene.state)


def test_other_ends_are_ends() -> None:
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST)
    scene.push(201, requestId=REQUEST, requestStatus=3)
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=1)
    assert scene.phase == "Idle"


def test_whoever_wrote_again_meanwhile_stands_with_the_new_request() -> None:
    scene = refused()
    scene.text("hello?")
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=1)
    assert scene.phase == "Requesting"


def test_the_chat_that_comes_of_it_is_of_its_queue() -> None:
    """A 202 names no queue: it is that of the refused request, not the room's."""
    scene = Scene()
    scene.start(queue=8)
    scene.reply(requestId=REQUEST)
    scene.push(201, requestId=REQUEST, requestStatus=2)
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert isinstance(scene.state.phase, Chatting)
    assert scene.state.phase.queue_id == 8


def test_a_request_of_our_own_stays_unseen_until_somebody_is_there() -> None:
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


def test_what_the_robot_was_asked_meanwhile_goes_along() -> None:
    scene = refused(Scene(Policy(queue_id=QueueId(7), robot=RobotUse.FIRST)))
    event = scene.text("when?")
    scene.happen(Consulted(event, "(at nine)"))
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=1)
    scene.reply()
    assert scene.texts == ["when?", "(at nine)"]


def test_a_202_after_the_refusal_sends_what_was_kept() -> None:
    """It does not say of which request it is: twice is better than never."""
    scene = Scene()
    scene.queue_up("one")
    scene.push(201, requestId=REQUEST, requestStatus=2)
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.last == message("one")
