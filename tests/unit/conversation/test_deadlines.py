"""Deadlines: every wait ends."""

from __future__ import annotations

import pytest

from bridge.config.hours import parse_hours
from bridge.conversation import chat, queue, server
from bridge.conversation.history import REPEATED_WITHIN
from bridge.conversation.machine import deadline
from bridge.conversation.model import CallbackCard, Conversation
from bridge.conversation.turn import Policy
from bridge.ids import QueueId
from tests.support.scene import REQUEST, SESSION, Scene


def test_without_waiting_there_is_no_deadline() -> None:
    assert deadline(Conversation(), Policy()) is None


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (REPEATED_WITHIN, 3),  # trap T34 of the reference
        (server.START_WAIT, 10),  # row 12
        (server.UNKNOWN_CHAT_WAIT, 5),  # row 14
        (Policy().accepted_wait, 20),  # trap T14
        (Policy().backoff_first, 1),  # rows 4 and 34
        (Policy().backoff_last, 60),
        (queue.HOLD_IDLE, 24 * 3600),  # from here on docs/customers.en.md
        (Policy().callback_limit, 3 * 24 * 3600),
        (queue.LIMIT_WITH_HOURS, 14 * 24 * 3600),
        (chat.RATING_CHANGE, 5 * 60),
        (queue.ROBOT_WAIT, 60),  # docs/configure.md
        (queue.QUIET_WAIT, 10),  # docs/how-it-works.md
    ],
)
def test_documented_times(told: int, seconds: int) -> None:
    assert told == seconds * 1000


def test_kept_messages_expire_one_by_one() -> None:
    scene = Scene(Policy(start_on_message=False))
    first = scene.text("one")
    scene.later(3600)
    second = scene.text("two")
    scene.later(23 * 3600)
    assert scene.reported == {first: "undelivered.expired"}
    scene.later(3600)
    assert set(scene.reported) == {first, second}


def test_messages_of_one_visit_expire_together() -> None:
    scene = Scene(Policy(start_on_message=False))
    told = [scene.text("one")]
    scene.later(60)
    told.append(scene.text("two"))
    scene.later(24 * 3600 - 60)
    assert scene.reported == dict.fromkeys(told, "queue.dropped")
    (card,) = [one for one in scene.effects if isinstance(one, CallbackCard)]
    assert (card.key, card.args) == ("queue.expired", {"count": 2})
    assert card.dropped == tuple(told)


def test_messages_are_kept_beyond_the_opening_that_the_card_names() -> None:
    """Written on a Sunday, for a queue that opens on Monday at nine."""
    hours = {QueueId(7): parse_hours("Mon-Fri 09:00-18:00 UTC")}
    scene = Scene(Policy(queue_id=QueueId(7), hours=hours))
    told = scene.text("hello")
    scene.reply(-3)
    scene.later((24 + 9 + 24) * 3600 - 1)
    assert scene.reported == {}
    scene.later(1)
    assert scene.reported == {told: "undelivered.expired"}


def test_nothing_is_given_up_while_a_call_is_under_way() -> None:
    scene = Scene()
    scene.begin()
    first = scene.text("one")
    second = scene.text("two")
    scene.cut()
    scene.later(31 * 60)
    assert scene.reported == {}
    scene.reply()
    scene.reply()
    assert scene.delivered == [first, second]


def test_a_silent_queue_is_asked_after() -> None:
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST)
    scene.later(599)
    assert len(scene.sent(101)) == 1
    scene.later(1)
    assert len(scene.sent(101)) == 2


def test_a_cancel_that_cannot_be_sent_ends_by_itself() -> None:
    scene = Scene()
    scene.start()
    scene.reply()
    scene.cancel()
    scene.later(20)
    assert scene.phase == "Idle"
    assert scene.sent(102) == []


def test_a_repeated_cancel_is_shown_at_once_and_does_not_put_off_the_end() -> None:
    """WebChat said that there is a request already, and has not told its number."""
    scene = Scene()
    scene.text("hello")
    scene.reply(result=-1)
    scene.cancel()
    assert (scene.phase, scene.cards[-1]) == ("Queued", "queue.leaving")
    scene.later(15)
    scene.cancel()
    scene.later(5)
    assert (scene.phase, scene.cards[-1]) == ("Idle", "queue.cancelled")


def test_a_cancel_waits_for_the_upload_that_is_under_way() -> None:
    """Else it would never be sent, and an agent would start a chat after the customer left."""
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST, queueLength=3)
    scene.image()
    scene.cancel()
    scene.later(60)
    assert (scene.phase, scene.sent(102)) == ("Queued", [])
    scene.uploaded()
    assert len(scene.sent(102)) == 1
    scene.later(0)
    assert (scene.phase, scene.cards[-1]) == ("Idle", "queue.cancelled")


@pytest.mark.parametrize("call", [101, 104, 111])
def test_a_cancel_waits_for_any_other_call_that_is_under_way(call: int) -> None:
    scene = Scene()
    if call == 104:
        scene.begin()
        scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.start()
    if call == 101:  # its answer is slow, but by now a push tells of the request
        scene.push(201, requestId=REQUEST, requestStatus=0)
    else:
        scene.reply(requestId=REQUEST, queueLength=3)
    if call == 104:
        scene.rate(5)
    elif call == 111:
        scene.text("hello")
    assert scene.last["type"] == call
    scene.cancel()
    scene.later(40)
    assert (scene.phase, scene.sent(102)) == ("Queued", [])
    scene.reply(requestId=REQUEST)
    assert len(scene.sent(102)) == 1


def test_a_cancel_whose_call_is_not_answered_ends_by_itself() -> None:
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST, queueLength=3)
    scene.cancel()
    scene.later(30)
    assert len(scene.sent(102)) == 1
    assert (scene.phase, scene.cards[-1]) == ("Idle", "queue.cancelled")


def test_a_cancel_while_an_unknown_session_is_awaited() -> None:
    scene = Scene()
    scene.start()
    scene.cancel()
    scene.reply(-2)
    scene.later(5)
    assert scene.phase == "Idle"
    assert scene.notices == []
    assert scene.cards[-1] == "queue.cancelled"


def test_no_deadline_while_a_chat_is_quiet() -> None:
    scene = Scene()
    scene.begin()
    assert deadline(scene.state, scene.policy) is None
    scene.later(7 * 24 * 3600)
    scene.text("one")
    assert scene.last["sessionId"] == SESSION
