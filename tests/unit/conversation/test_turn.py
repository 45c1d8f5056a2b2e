"""One step in the making: above all, what is told about messages of several pieces."""

from __future__ import annotations

from bridge.conversation.model import Reported
from bridge.conversation.policy import Policy
from bridge.ids import QueueId
from tests.support.scene import REQUEST, SESSION, Scene

SHORT = Policy(queue_id=QueueId(7), max_text_bytes=10)
LONG = "one two three four five"


def test_a_message_of_several_pieces_is_delivered_once() -> None:
    scene = Scene(SHORT)
    scene.begin()
    event = scene.text(LONG)
    while scene.state.outstanding is not None:
        scene.reply()
    assert len(scene.texts) > 2
    assert scene.delivered == [event]


def test_a_refused_piece_ends_its_message() -> None:
    scene = Scene(SHORT)
    scene.begin()
    event = scene.text(LONG)
    other = scene.text("six")
    scene.reply()
    scene.reply(-12)
    scene.reply()
    assert scene.reported == {event: "result.-12"}
    assert scene.delivered == [other]
    assert len(scene.sent(110)) == 3


def test_a_cancelled_message_in_pieces_is_reported_once() -> None:
    """One piece is with the queue, one under way, the rest still here."""
    scene = Scene(SHORT)
    event = scene.text(LONG)
    scene.reply(requestId=REQUEST)
    scene.reply()
    scene.cancel()
    scene.reply()
    scene.reply()
    assert scene.phase == "Idle"
    assert list(scene.reported.values()) == ["queue.dropped"]
    told = [one for one in scene.effects if isinstance(one, Reported)]
    assert told == [Reported(event, "queue.dropped")]
    assert (scene.card, scene.card_args) == (["queue.cancelled", "queue.dropped"], {"count": 1})


def test_a_piece_that_was_reported_does_not_come_back_from_the_queue() -> None:
    scene = Scene(SHORT)
    event = scene.text("\u200b" * len(LONG))
    scene.reply(requestId=REQUEST)
    scene.reply()
    scene.reply(-17)
    scene.push(201, requestId=REQUEST, requestStatus=5)
    assert scene.reported == {event: "undelivered.blank"}
    assert scene.state.held == ()


def test_a_message_is_delivered_with_its_last_piece() -> None:
    scene = Scene(SHORT)
    scene.begin(session=SESSION)
    scene.text(LONG)
    scene.reply()
    assert scene.delivered == []
