"""Calls that wait for the bridge's own login limit: notices, and when a call is dropped."""

from __future__ import annotations

import pytest

from bridge.conversation.machine import wants_link
from bridge.conversation.model import Card, LinkLost, TurnAwaited, Withdrawn
from bridge.webchat.codes import FailureReason
from tests.support.scene import ASK, SESSION, Scene, message


def waits(scene: Scene, seconds: int = 40) -> None:
    scene.happen(TurnAwaited(seconds))


def told(scene: Scene) -> list[object]:
    """Waits that the card told, in seconds."""
    return [
        one.args["wait"]
        for one in scene.effects
        if isinstance(one, Card) and one.key == "queue.turn"
    ]


def test_the_card_of_a_request_tells_the_wait_once() -> None:
    """Security M2: it used to say that the call centre cannot be reached, which is false."""
    scene = Scene()
    scene.text("hello")
    scene.later(5)
    waits(scene, 40)
    scene.later(15)
    waits(scene, 25)
    assert scene.cards == ["queue.asking", "queue.turn"]
    assert told(scene) == [40]
    scene.later(30)
    scene.reply(requestId=9001, queueLength=3)
    assert scene.cards[2:] == ["queue.asking", "queue.position"]
    scene.reply()
    assert len(scene.cards) == 4, "the turn came once"
    assert scene.notices == [], "nothing was wrong, so nothing is over"


def test_a_new_wait_is_told_once_the_old_one_has_passed() -> None:
    scene = Scene()
    scene.text("hello")
    waits(scene, 40)
    scene.later(39)
    waits(scene, 60)
    assert told(scene) == [40]
    scene.later(1)
    waits(scene, 60)
    assert told(scene) == [40, 60]


def test_a_call_that_got_no_turn_is_made_again() -> None:
    """However long it takes, no trouble is told, and nothing is given up."""
    scene = Scene()
    event = scene.text("hello")
    waits(scene, 4000)
    for _ in range(100):
        scene.later(30)
        scene.fail(FailureReason.NO_TURN)
        scene.later(1)
        assert scene.last == ASK
    assert scene.notices == []
    assert scene.reported == {}
    assert scene.state.failures == 0
    assert scene.cards == ["queue.asking", "queue.turn"]
    scene.reply(requestId=9001)
    scene.reply()
    assert [one.event_id for one in scene.state.phase.pre_sent] == [event]  # type: ignore[union-attr]


def test_a_call_that_got_no_turn_waits_a_second() -> None:
    """Repeated at once it would only fill the line again."""
    scene = Scene()
    scene.text("hello")
    scene.fail(FailureReason.NO_TURN)
    scene.later(0.9)
    assert scene.sent(101) == [ASK]
    scene.later(0.1)
    assert scene.sent(101) == [ASK, ASK]


def test_a_second_wait_is_told_again() -> None:
    scene = Scene()
    scene.begin()
    scene.forget()
    for _ in range(2):
        event = scene.text("are you there?")
        waits(scene, 4000)
        scene.fail(FailureReason.NO_TURN)
        scene.happen(Withdrawn(event))  # no call is wanted any more
        scene.later(1)
    assert scene.notices == ["trouble.turn"] * 2


def test_no_card_is_posted_for_a_hidden_request() -> None:
    """A callback attempt: it is repeated later."""
    scene = Scene()
    scene.start()
    scene.reply(-3)
    scene.call_back()
    scene.forget()
    scene.later(6 * 60)
    assert scene.last == ASK
    waits(scene)
    assert scene.cards == []
    scene.fail(FailureReason.NO_TURN)
    assert scene.phase == "Idle"


def test_the_wait_of_a_message_in_a_chat_is_told_once() -> None:
    scene = Scene()
    scene.begin()
    scene.forget()
    waits(scene)
    assert scene.effects == [], "nothing waits for it"
    scene.text("are you there?")
    for seconds in (50, 35, 20):
        waits(scene, seconds)
        scene.later(15)
    assert scene.notices == ["trouble.turn"]
    scene.reply()
    assert scene.notices == ["trouble.turn"]
    assert scene.last == message("are you there?")
    scene.text("and now?")
    waits(scene)
    assert scene.notices == ["trouble.turn"] * 2, "another wait"


def test_the_wait_of_a_retry_is_told() -> None:
    scene = Scene()
    scene.begin()
    scene.text("are you there?")
    scene.forget()
    scene.fail(FailureReason.NO_TURN)
    waits(scene)
    assert scene.notices == ["trouble.turn"]


def test_no_wait_is_told_after_an_outage_was() -> None:
    scene = Scene()
    scene.begin()
    scene.text("are you there?")
    scene.forget()
    scene.fail(FailureReason.UNREACHABLE)
    waits(scene)
    assert scene.notices == ["trouble.unreachable"]


def test_after_a_lost_link_only_its_end_is_told() -> None:
    scene = Scene()
    scene.begin()
    scene.forget()
    scene.happen(LinkLost())
    scene.text("are you there?")
    waits(scene)
    scene.restored()
    scene.reply()
    assert scene.notices == ["trouble.unreachable", "trouble.over"]


def test_in_a_queue_the_card_is_updated_after_the_wait() -> None:
    scene = Scene()
    scene.queue_up()
    scene.restored()
    scene.text("one thing more")
    scene.forget()
    waits(scene)
    assert scene.notices == ["trouble.turn"]
    scene.reply(-1)
    assert scene.cards == ["queue.position"]


def test_a_chat_that_starts_by_itself_needs_no_card() -> None:
    scene = Scene()
    scene.text("hello")
    waits(scene)
    scene.push(202, sessionId=SESSION, agents=[])
    scene.forget()
    scene.reply(requestId=9001)
    assert scene.cards == []


@pytest.mark.parametrize("noticed", [False, True])
def test_a_request_given_up_in_line_needs_no_link(noticed: bool) -> None:
    """So the link drops the call and its login unsent."""
    scene = Scene()
    scene.text("hello")
    if noticed:
        waits(scene)
    assert wants_link(scene.state)
    scene.cancel()
    assert not wants_link(scene.state)
    waits(scene)
    scene.fail(FailureReason.NO_TURN)
    assert scene.phase == "Idle"
    assert scene.cards[-2:] == ["queue.leaving", "queue.cancelled"]
    assert not wants_link(scene.state)


def test_a_request_that_may_have_arrived_is_cancelled_properly() -> None:
    scene = Scene()
    scene.text("hello")
    scene.cut()
    scene.cancel()
    assert wants_link(scene.state)
    scene.reply(requestId=9001)
    assert wants_link(scene.state)
    assert scene.last == {"type": 102, "requestId": 9001}


def test_an_awaited_session_needs_the_link_even_if_unwanted() -> None:
    scene = Scene()
    scene.text("hello")
    scene.cancel()
    scene.reply(-2)
    assert scene.phase == "Requesting"
    assert wants_link(scene.state)


def test_a_new_request_tells_its_wait_again() -> None:
    scene = Scene()
    scene.text("hello")
    waits(scene, 4000)
    scene.cancel()
    scene.fail(FailureReason.NO_TURN)
    scene.forget()
    scene.text("hello again")
    waits(scene)
    assert told(scene) == [40]
