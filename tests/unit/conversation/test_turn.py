"""The effects of one step, above all for messages of several pieces, and the pieces' places."""

from __future__ import annotations

from msgspec.structs import replace

from bridge.conversation.model import (
    Card,
    CustomerMedia,
    CustomerText,
    Reported,
    Said,
    Withdrawn,
)
from bridge.conversation.turn import LONGEST_NOTICE, Policy, one_line, plain_text
from bridge.ids import EventId, QueueId
from tests.support.scene import ASK, MEI, REQUEST, SESSION, Scene
from tests.unit.conversation.test_amending import FIX, LATER, answer, next_chat, refuse

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
    assert scene.reported == {event: "undelivered.not_understood"}
    assert scene.delivered == [other]
    assert len(scene.sent(110)) == 3


def test_a_cancelled_message_in_pieces_is_reported_once() -> None:
    """One piece is pre-sent, one under way, the rest held."""
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


def test_a_message_and_its_correction_are_dropped_as_one() -> None:
    """Both are pre-sent; sent again, they are one message in its newest wording."""
    scene = Scene()
    one = scene.queue_up("versoin")
    fix = EventId("$fix")
    scene.happen(
        Said(fix, CustomerText("fix: version"), amends=one, instead=CustomerText("version"))
    )
    scene.reply()
    scene.cancel()
    scene.reply()
    assert scene.reported == {one: "queue.dropped", fix: "queue.dropped"}
    assert (scene.card, scene.card_args) == (["queue.cancelled", "queue.dropped"], {"count": 1})


def test_messages_dropped_with_a_request_are_reported_in_order() -> None:
    """They are sent again in the order of the reports; one is pre-sent, one under way."""
    scene = Scene()
    written = [scene.queue_up("first"), scene.text("second"), scene.image(), scene.text("fourth")]
    scene.cancel()
    scene.reply(-17)
    scene.reply()
    assert scene.phase == "Idle"
    told = [one.event_id for one in scene.effects if isinstance(one, Reported)]
    assert told[-4:] == written
    assert [one for one in scene.effects if isinstance(one, Card)][-1].dropped == tuple(written)


def test_pre_messages_of_a_request_lost_while_leaving_are_dropped() -> None:
    scene = Scene()
    written = (scene.queue_up("first"), scene.image())
    scene.uploaded()
    scene.restored()
    scene.cancel()
    scene.reply(requestId=REQUEST + 1)  # it is another request by now
    scene.reply()
    assert (scene.phase, len(scene.sent(101))) == ("Idle", 2)
    assert [one for one in scene.effects if isinstance(one, Card)][-1].dropped == written


def test_dropped_messages_sent_again_or_redacted_are_not_counted() -> None:
    scene = Scene()
    first, back = scene.queue_up(), scene.text("back")
    scene.reply(-12)  # it waits for the chat
    again, stays = scene.text("again"), scene.text("stays")
    scene.cancel()
    scene.happen(Said(again, CustomerText("again")))
    scene.happen(Withdrawn(back))
    scene.reply()
    (card,) = (one for one in scene.effects if isinstance(one, Card) and one.dropped)
    assert card.dropped == (first, stays)
    told = [one.event_id for one in scene.effects if isinstance(one, Reported)]
    assert (told.count(back), told.count(again)) == (1, 1)
    assert scene.last == ASK, "what is sent again asks anew"


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


def test_a_servers_text_is_read_up_to_a_limit() -> None:
    """No event holds 16 MiB, and one line of them took 1.5 s."""
    assert plain_text("x" * LONGEST_NOTICE) == "x" * LONGEST_NOTICE
    assert plain_text("x" * (LONGEST_NOTICE + 1)) == f"{'x' * LONGEST_NOTICE}…"
    assert one_line(f"{' ' * LONGEST_NOTICE}so many words") == "…"


# --- in the place of a waiting message ------------------------------------------------------------


def replaced(scene: Scene, event_id: EventId, new: str) -> None:
    """Correct a message that no agent has."""
    scene.happen(Said(FIX, CustomerText(new), replaces=(event_id,)))


def test_a_replaced_message_keeps_its_place_also_in_pieces_and_when_taken_back() -> None:
    scene = Scene(Policy(queue_id=QueueId(7), max_text_bytes=8))
    scene.begin()
    scene.text("first")
    second = scene.text("second")
    scene.text("third")
    replaced(scene, second, "1 3 5 7 9 1")
    scene.reply()
    scene.cut()
    answer(scene)
    assert scene.texts == ["first", "1 3 5 7 ", "1 3 5 7 ", "9 1", "third"]


def _begun(scene: Scene) -> None:
    """Send the first of three pieces of a replaced message to a queue."""
    scene.queue_up("one")
    scene.text("two")
    third = scene.text("third")
    replaced(scene, third, "1 3 5 7 9 1")
    scene.reply()
    scene.reply()


def test_the_pieces_of_a_replacement_stay_in_order_as_the_request_ends() -> None:
    scene = Scene(Policy(queue_id=QueueId(7), max_text_bytes=8))
    _begun(scene)
    refuse(scene)
    scene.reply()
    next_chat(scene)
    words = ["one", "two", "1 3 5 7 ", "9 1"]
    assert scene.texts == [*words, *words]


def test_only_what_an_earlier_request_had_of_a_replacement_counts_as_its_own() -> None:
    scene = Scene(Policy(queue_id=QueueId(7), max_text_bytes=4))
    _begun(scene)
    scene.restored()
    scene.reply()
    scene.reply(requestId=LATER)
    scene.push(202, sessionId=SESSION, agents=[MEI], continueLastSession=True)
    answer(scene)
    assert scene.texts == ["one", "two", "1 3 ", "5 7 ", "one", "9 1"]


def test_nothing_overtakes_a_file_whose_caption_is_corrected_during_its_upload() -> None:
    scene = Scene()
    scene.begin()
    picture = scene.image(caption="7411")
    scene.text("and it is late")
    held = scene.state.held[0].content
    assert isinstance(held, CustomerMedia)
    scene.happen(Said(FIX, replace(held, caption="4711"), replaces=(picture,)))
    scene.uploaded()
    answer(scene)
    assert scene.texts == ["cat.png", "4711", "and it is late"]


def test_a_message_replaced_after_close_still_belongs_to_the_chat() -> None:
    scene = Scene()
    scene.begin()
    scene.text("first")
    second = scene.text("second")
    scene.close()
    replaced(scene, second, "2nd")
    answer(scene)
    assert scene.texts == ["first", "2nd"]
    assert scene.frames[-1]["type"] == 103


def test_a_replacement_is_not_taken_for_what_a_refused_request_had() -> None:
    """Its agent may still accept, with the former wording: the new one has to follow."""
    scene = Scene(Policy(queue_id=QueueId(7), start_on_message=False))
    scene.start()
    scene.reply(requestId=REQUEST)
    first = scene.text("7411")
    scene.reply()
    scene.push(201, requestId=REQUEST, requestStatus=2)
    replaced(scene, first, "4711")
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=1)
    answer(scene)
    assert scene.texts == ["7411", "4711"]


def test_a_replacement_is_not_taken_for_what_an_earlier_request_had() -> None:
    """The 202 after an outage may be of the earlier request, whose agent has its pre-messages."""
    scene = Scene()
    scene.queue_up("one")
    second = scene.text("7411")
    scene.reply()
    scene.restored()
    scene.reply(requestId=LATER)
    replaced(scene, second, "4711")
    scene.push(202, sessionId=SESSION, agents=[MEI], continueLastSession=True)
    answer(scene)
    assert scene.texts == ["one", "7411", "one", "4711"]
