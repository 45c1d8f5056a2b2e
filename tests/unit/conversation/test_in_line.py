"""Our own logins have to wait for their turn: what the customer is told, and when it is let be."""

from __future__ import annotations

import pytest

from bridge.conversation.machine import wants_link
from bridge.conversation.model import Card, FailureReason, LinkLost, TurnAwaited, Withdrawn
from tests.support.scene import ASK, SESSION, Scene, message


def waits(scene: Scene, seconds: int = 40) -> None:
    scene.happen(TurnAwaited(seconds))


def told(scene: Scene) -> list[object]:
    """What the card said of the wait, each time."""
    return [
        one.args["wait"]
        for one in scene.effects
        if isinstance(one, Card) and one.key == "queue.turn"
    ]


def test_the_card_of_a_request_says_it_once() -> None:
    """Security M2: it was "the call centre cannot be reached at the moment", which is false."""
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
    assert scene.notices == [], "nothing was wrong, so nothing is over"


def test_a_moment_that_has_passed_is_named_anew() -> None:
    scene = Scene()
    scene.text("hello")
    waits(scene, 40)
    scene.later(39)
    waits(scene, 60)
    assert told(scene) == [40]
    scene.later(1)
    waits(scene, 60)
    assert told(scene) == [40, 60]


def test_a_call_that_could_wait_no_longer_is_made_again() -> None:
    """However long it takes, it is no trouble: nobody is told so, and nothing is given up."""
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


def test_a_call_that_could_wait_no_longer_lets_the_others_go_first() -> None:
    """Made again at once it would only fill the line anew."""
    scene = Scene()
    scene.text("hello")
    scene.fail(FailureReason.NO_TURN)
    scene.later(0.9)
    assert scene.sent(101) == [ASK]
    scene.later(0.1)
    assert scene.sent(101) == [ASK, ASK]


def test_a_wait_that_is_over_is_no_reason_to_be_silent_about_the_next() -> None:
    scene = Scene()
    scene.begin()
    scene.forget()
    for _ in range(2):
        event = scene.text("are you there?")
        waits(scene, 4000)
        scene.fail(FailureReason.NO_TURN)
        scene.happen(Withdrawn(event))  # nothing is wanted of WebChat any more
        scene.later(1)
    assert scene.notices == ["trouble.turn"] * 2


def test_no_card_is_written_of_what_is_not_seen() -> None:
    """A request of our own, for who wishes to be called back: it is made again later."""
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


def test_a_message_in_a_chat_is_told_of_once() -> None:
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


def test_what_waits_for_another_try_is_told_of_too() -> None:
    scene = Scene()
    scene.begin()
    scene.text("are you there?")
    scene.forget()
    scene.fail(FailureReason.NO_TURN)
    waits(scene)
    assert scene.notices == ["trouble.turn"]


def test_who_was_told_of_worse_is_told_of_no_turn() -> None:
    scene = Scene()
    scene.begin()
    scene.text("are you there?")
    scene.forget()
    scene.fail(FailureReason.UNREACHABLE)
    waits(scene)
    assert scene.notices == ["trouble.unreachable"]


def test_who_was_told_of_an_outage_is_only_told_of_its_end() -> None:
    scene = Scene()
    scene.begin()
    scene.forget()
    scene.happen(LinkLost())
    scene.text("are you there?")
    waits(scene)
    scene.restored()
    scene.reply()
    assert scene.notices == ["outage.away", "trouble.over"]


def test_in_a_queue_the_card_is_brought_up_to_date_afterwards() -> None:
    scene = Scene()
    scene.queue_up()
    scene.restored()
    scene.text("one thing more")
    scene.forget()
    waits(scene)
    assert scene.notices == ["trouble.turn"]
    scene.reply(-1)
    assert scene.cards == ["queue.position"]


def test_a_chat_that_begins_by_itself_needs_no_card_of_the_request() -> None:
    scene = Scene()
    scene.text("hello")
    waits(scene)
    scene.push(202, sessionId=SESSION, agents=[])
    scene.forget()
    scene.reply(requestId=9001)
    assert scene.cards == []


@pytest.mark.parametrize("noticed", [False, True])
def test_a_request_that_is_given_up_in_line_needs_no_link(noticed: bool) -> None:
    """So the link drops the call, and its login: they never go out."""
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


def test_a_request_of_which_the_server_may_know_is_taken_back_properly() -> None:
    scene = Scene()
    scene.text("hello")
    scene.cut()
    scene.cancel()
    assert wants_link(scene.state)
    scene.reply(requestId=9001)
    assert wants_link(scene.state)
    assert scene.last == {"type": 102, "requestId": 9001}


def test_a_session_that_is_awaited_needs_the_link_though_it_is_not_wanted() -> None:
    scene = Scene()
    scene.text("hello")
    scene.cancel()
    scene.reply(-2)
    assert scene.phase == "Requesting"
    assert wants_link(scene.state)


def test_a_request_anew_is_told_anew() -> None:
    scene = Scene()
    scene.text("hello")
    waits(scene, 4000)
    scene.cancel()
    scene.fail(FailureReason.NO_TURN)
    scene.forget()
    scene.text("hello again")
    waits(scene)
    assert told(scene) == [40]
