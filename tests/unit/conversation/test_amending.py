"""Redactions and corrections of messages, and who is told of them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bridge.conversation.customer import unsaid
from bridge.conversation.model import (
    CustomerContent,
    CustomerMedia,
    CustomerText,
    Noted,
    Said,
    Withdrawn,
)
from bridge.conversation.turn import Policy
from bridge.ids import EventId, QueueId
from bridge.webchat.codes import FailureReason
from tests.support.scene import JUN, MEI, REQUEST, SESSION, Scene

NOTE = "(took back a message)"
BACK, FIX, REPLY = EventId("$back"), EventId("$fix"), EventId("$reply")
LATER = 9002


def back(scene: Scene, event_id: EventId, *also: EventId, note: str = NOTE) -> None:
    scene.happen(Withdrawn(event_id, also, BACK, note))


def fix(scene: Scene, event_id: EventId, new: str, by: EventId = FIX) -> None:
    """Correct a message that the agent may have."""
    scene.happen(Said(by, CustomerText(f"fix: {new}"), amends=event_id, instead=CustomerText(new)))


def answer(scene: Scene) -> None:
    """Let the server accept every call."""
    while scene.state.outstanding:
        scene.reply()


def refuse(scene: Scene) -> None:
    scene.push(201, requestId=REQUEST, requestStatus=3)


def next_chat(scene: Scene) -> None:
    """Request again after a refusal, and let an agent start the chat."""
    if scene.phase in {"Idle", "Ended"}:
        scene.start()
    scene.reply(requestId=LATER)
    answer(scene)
    scene.push(202, sessionId=SESSION + 1, agents=[JUN])
    answer(scene)


# --- redactions -----------------------------------------------------------------------------------


def test_a_note_of_the_bridges_own_waits_its_turn_and_needs_a_reader() -> None:
    scene = Scene()
    noted = Noted(EventId("unshown"), "(your words are not shown)")
    scene.happen(noted)
    assert scene.state.held == (), "nobody is there to read it"
    scene.begin()
    one = scene.text("one")
    scene.happen(noted)
    answer(scene)
    assert scene.texts == ["one", noted.text]
    assert scene.delivered == [one]
    scene.happen(noted)
    scene.push(205, sessionId=SESSION, agentId="K00017")
    assert scene.state.held == ()
    assert scene.reported == {}, "no customer wrote it"


def test_the_agent_is_told_of_a_redaction_without_its_text() -> None:
    scene = Scene()
    scene.begin()
    one = scene.text("one")
    scene.reply()
    back(scene, one)
    assert scene.texts == ["one", NOTE]
    scene.reply()
    assert scene.delivered == [one]  # the note is not reported as delivered


def test_a_waiting_correction_loses_the_redacted_wording() -> None:
    """Found by the full-length walk: the message under way is redacted, its correction is not."""
    scene = Scene()
    scene.begin()
    one = scene.text("9999")
    scene.happen(Said(FIX, CustomerText("9999 → 1234"), amends=one, instead=CustomerText("1234")))
    back(scene, one)
    scene.reply()
    assert scene.texts[:2] == ["9999", "1234"]


def test_a_redaction_with_all_its_corrections_drops_every_wording() -> None:
    """The message, its correction, and the correction of that wait."""
    scene = Scene()
    scene.begin()
    scene.text("under way")
    one = scene.text("one")
    scene.happen(Said(FIX, CustomerText("one → two"), amends=one, instead=CustomerText("two")))
    scene.happen(Said(REPLY, CustomerText("two → 3"), amends=FIX, instead=CustomerText("3")))
    back(scene, one, FIX, REPLY, note="")
    answer(scene)
    assert scene.texts == ["under way"]
    assert scene.state.held == ()


def test_a_correction_of_a_redacted_correction_is_sent_as_the_message() -> None:
    """Not as a correction, as the corrected wording must not be told."""
    scene = Scene()
    scene.begin()
    one = scene.text("one")
    scene.reply()
    scene.text("under way")
    scene.happen(Said(REPLY, CustomerText("two → 3"), amends=FIX, instead=CustomerText("3")))
    back(scene, one, FIX)
    answer(scene)
    assert scene.texts == ["one", "under way", "3", NOTE]


def test_a_long_correction_whose_first_part_is_under_way_goes_on() -> None:
    scene = Scene(Policy(queue_id=QueueId(7), max_text_bytes=40))
    scene.begin()
    one = scene.text("one")
    scene.reply()
    new = " ".join(f"word{number}" for number in range(20))
    scene.happen(Said(FIX, CustomerText(f"fix: {new}"), amends=one, instead=CustomerText(new)))
    back(scene, one, note="")
    answer(scene)
    assert " ".join(" ".join(str(text) for text in scene.texts).split()) == f"one fix: {new}"
    assert scene.delivered == [one, FIX]


def test_a_correction_that_was_given_up_is_reported_though_its_chat_has_ended() -> None:
    """Found by the full-length walk: a chat began and ended before the reply to its call."""
    scene = Scene()
    one = scene.queue_up()
    fix(scene, one, "two")
    scene.close()
    scene.push(202, sessionId=SESSION, agents=[MEI])
    scene.push(205, sessionId=SESSION, agentId="K00017")
    answer(scene)
    assert scene.delivered == [one]
    assert scene.reported == {FIX: "undelivered.cancelled"}


@pytest.mark.parametrize("under_way", [True, False])
def test_a_second_redaction_of_a_message_is_not_told(under_way: bool) -> None:
    """Some servers redact the edits with their message, each by an event of its own."""
    scene = Scene()
    scene.begin()
    one = scene.text("one")
    scene.reply()
    if not under_way:
        scene.text("two")
    back(scene, one)
    back(scene, one, note="")
    assert scene.state.outstanding is not None
    assert not scene.state.outstanding.moot
    answer(scene)
    assert scene.texts == (["one", NOTE] if under_way else ["one", "two", NOTE])


def test_a_redaction_of_a_pre_message_is_told_as_a_pre_message() -> None:
    scene = Scene()
    one = scene.queue_up("one")
    back(scene, one)
    assert scene.last == {"type": 111, "requestId": REQUEST, "content": NOTE}
    scene.reply()
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.texts == ["one", NOTE]
    assert scene.reported == {}


@pytest.mark.parametrize("answered", [True, False])
def test_the_next_agent_hears_nothing_of_a_redacted_pre_message(answered: bool) -> None:
    """Neither the message nor the note, whether the note was answered or not."""
    scene = Scene()
    one = scene.queue_up("my card is 9999")
    back(scene, one)
    if answered:
        scene.reply()
    refuse(scene)
    if not answered:
        scene.reply(-10)
    assert scene.state.held == ()
    assert "queue.kept" not in [*scene.card, *scene.notices]
    scene.forget()
    next_chat(scene)
    assert scene.texts == []
    assert scene.reported == {}


def test_a_note_requests_no_agent() -> None:
    """The chat ends, or its session is gone, before the note is delivered."""
    for gone in (True, False):
        scene = Scene()
        scene.begin()
        one = scene.text("one")
        scene.reply()
        back(scene, one)
        if gone:
            scene.reply(-11)
        else:
            scene.push(205, sessionId=SESSION, agentId="K00017")
            scene.reply(-11)
        assert scene.phase == "Ended"
        assert scene.state.held == ()
        assert len(scene.sent(101)) == 1
        assert scene.reported == {}


def test_a_waiting_note_goes_to_no_other_session() -> None:
    scene = Scene()
    scene.begin()
    one = scene.text("one")
    back(scene, one)
    scene.push(202, sessionId=SESSION + 1, agents=[JUN])
    scene.reply()
    assert scene.texts == ["one"]


def test_a_refused_note_is_not_reported() -> None:
    scene = Scene()
    scene.begin()
    one = scene.text("one")
    scene.reply()
    back(scene, one)
    scene.reply(-17)
    assert scene.reported == {}


def test_a_note_goes_before_the_end_of_a_chat_that_is_being_closed() -> None:
    scene = Scene()
    scene.begin()
    one = scene.text("secret")
    scene.reply()
    scene.text("bye")
    scene.close()
    back(scene, one)
    scene.text("one more question")
    answer(scene)
    assert scene.texts == ["secret", "bye", NOTE]
    assert [frame["type"] for frame in scene.frames][-2:] == [103, 101]


def test_a_redacted_message_that_surely_did_not_arrive_needs_no_note() -> None:
    for certain in (True, False):
        scene = Scene()
        scene.begin()
        one = scene.text("one")
        back(scene, one)
        scene.fail(FailureReason.UNREACHABLE, certain=certain)
        scene.later(60)
        assert scene.texts == (["one"] if certain else ["one", NOTE])


def test_a_redacted_message_that_was_refused_needs_no_note() -> None:
    scene = Scene()
    scene.begin()
    one = scene.text("one")
    back(scene, one)
    scene.reply(-16)
    assert scene.texts == ["one"]
    assert scene.reported == {}


@pytest.mark.parametrize("started", [False, True])
def test_a_redaction_outside_a_chat_is_not_told(started: bool) -> None:
    scene = Scene()
    if started:
        scene.begin()
        scene.push(205, sessionId=SESSION, agentId="K00017")
    back(scene, EventId("$1"))
    assert scene.state.held == ()
    assert scene.texts == []


# --- quotations ---------------------------------------------------------------------------------


def reply(
    scene: Scene,
    event_id: EventId,
    quote: str,
    own: CustomerContent | None,
    content: CustomerContent | None = None,
) -> None:
    said = content or CustomerText(
        f"re {quote}: {own.text if isinstance(own, CustomerText) else ''}"
    )
    scene.happen(Said(REPLY, said, quotes=(event_id,), instead=own))


def test_a_waiting_reply_loses_its_quotation_of_a_redacted_message() -> None:
    scene = Scene()
    scene.start()
    one = scene.text("secret")
    reply(scene, one, "secret", CustomerText("is that right?"))
    back(scene, one, note="")
    scene.reply(requestId=REQUEST)
    scene.reply()
    assert scene.texts == ["is that right?"]


def test_erasing_without_a_bridge_removes_quotations() -> None:
    """Nothing else changes: a call under way stays."""
    scene = Scene()
    scene.start()
    one, two = scene.text("secret"), scene.text("also a secret")
    reply(scene, one, "secret", CustomerText("is that right?"))
    before = scene.state
    after = unsaid(before, [one, two])
    (left,) = after.held
    assert (left.event_id, left.content) == (REPLY, CustomerText("is that right?"))
    assert replace(after, held=before.held) == before


def test_a_reply_sent_again_loses_its_quotation_of_a_redacted_message() -> None:
    """After a refused request, and after a cut link."""
    scene = Scene()
    one = scene.queue_up("secret")
    reply(scene, one, "secret", CustomerText("right?"))
    scene.reply()
    back(scene, one)
    refuse(scene)
    scene.forget()
    next_chat(scene)
    assert scene.texts == ["right?"]
    scene = Scene()
    scene.begin()
    one = scene.text("secret")
    scene.reply()
    reply(scene, one, "secret", CustomerText("right?"))
    back(scene, one)
    scene.cut()
    scene.later(1)
    assert scene.texts[:3] == ["secret", "re secret: right?", "right?"]


def test_a_waiting_reaction_to_a_redacted_message_is_dropped() -> None:
    scene = Scene()
    scene.begin()
    one = scene.text("secret")
    reply(scene, one, "secret", None, CustomerText("👍 (secret)"))
    back(scene, one)
    scene.reply()
    assert scene.texts == ["secret", NOTE]
    assert scene.reported == {}
    scene = Scene()
    scene.begin()
    one = scene.text("secret")
    scene.reply()
    reply(scene, one, "secret", None, CustomerText("👍 (secret)"))
    back(scene, one)
    scene.cut()
    scene.later(1)
    assert scene.texts == ["secret", "👍 (secret)", NOTE]


def test_a_file_keeps_its_caption_without_the_quotation() -> None:
    scene = Scene()
    scene.begin()
    one = scene.text("secret")
    media = CustomerMedia("file", "a.zip", "mxc://h/a", caption="re secret: look")
    own = CustomerMedia("file", "a.zip", "mxc://h/a", caption="look")
    reply(scene, one, "secret", own, media)
    back(scene, one, note="")
    scene.reply()
    scene.uploaded()
    scene.reply()
    assert scene.texts == ["secret", "a.zip", "look"]


def test_a_file_keeps_its_long_caption_without_the_quotation() -> None:
    scene = Scene(Policy(queue_id=QueueId(7), max_text_bytes=40))
    scene.begin()
    one = scene.text("secret")
    own = " ".join(f"{number:03}" for number in range(50))
    media = CustomerMedia("file", "a.zip", "mxc://h/a", caption=f"re secret: {own}")
    reply(scene, one, "secret", replace(media, caption=own), media)
    back(scene, one, note="")
    scene.reply()
    scene.uploaded()
    answer(scene)
    assert scene.texts[:2] == ["secret", "a.zip"]
    assert "".join(str(one) for one in scene.texts[2:]) == own


def test_a_long_reply_loses_its_quotation_and_nothing_else() -> None:
    scene = Scene(Policy(queue_id=QueueId(7), max_text_bytes=40))
    scene.begin()
    one = scene.text("secret")
    own = " ".join(f"{number:03}" for number in range(50))
    reply(scene, one, "secret", CustomerText(own))
    back(scene, one, note="")
    answer(scene)
    assert "".join(str(one) for one in scene.texts[1:]) == own


def test_a_quotation_that_takes_more_than_one_frame_is_left_out() -> None:
    scene = Scene(Policy(queue_id=QueueId(7), max_text_bytes=40))
    scene.begin()
    reply(scene, EventId("$old"), "a long quotation of many words " * 2, CustomerText("yes"))
    assert scene.texts == ["yes"]


def test_a_quotation_of_exactly_one_frame_is_left_out() -> None:
    scene = Scene(Policy(queue_id=QueueId(7), max_text_bytes=40))
    scene.begin()
    content = CustomerText("q" * 40 + "yes")
    reply(scene, EventId("$old"), "", CustomerText("yes"), content)
    assert scene.texts == ["yes"]


def test_a_redaction_under_way_is_kept_after_the_next_redaction() -> None:
    scene = Scene()
    scene.begin()
    back(scene, scene.text("one"), note="")
    back(scene, scene.text("two"), note="")
    scene.cut()
    scene.later(60)
    assert scene.texts == ["one"]
    scene = Scene()
    scene.begin()
    one = scene.text("secret")
    scene.reply()
    reply(scene, one, "secret", CustomerText("right?"))
    back(scene, one, note="")
    back(scene, scene.text("two"), note="")
    scene.cut()
    scene.later(1)
    assert scene.texts == ["secret", "re secret: right?", "right?"]


def test_a_blank_reply_is_reported_as_blank() -> None:
    scene = Scene()
    scene.begin()
    scene.happen(Said(REPLY, CustomerText(" "), quotes=(EventId("$x"),), instead=CustomerText("")))
    assert scene.reported == {REPLY: "undelivered.blank"}


# --- corrections --------------------------------------------------------------------------------


def test_the_agent_who_has_a_message_reads_its_correction() -> None:
    scene = Scene()
    one = scene.queue_up("versoin")
    fix(scene, one, "version")
    scene.reply()
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.texts == ["versoin", "fix: version"]
    assert scene.delivered == [one, FIX]


@pytest.mark.parametrize("answer", [1, -10, None])
def test_the_next_agent_reads_the_newest_wording_only(answer: int | None) -> None:
    """Wherever the correction was when the request was refused."""
    scene = Scene()
    one = scene.queue_up("versoin")
    fix(scene, one, "vresion", EventId("$early"))
    scene.reply()
    fix(scene, EventId("$early"), "version")
    if answer == 1:
        scene.reply()
    refuse(scene)
    if answer == -10:
        scene.reply(-10)
    elif answer is None:
        scene.cut()
    assert scene.card == ["status.3", "queue.kept"]
    assert scene.card_args["count"] == 1
    scene.forget()
    next_chat(scene)
    assert scene.texts == ["version"]
    assert scene.delivered == [FIX]
    assert scene.reported == {}


def test_a_repeated_request_has_the_newest_wording_only() -> None:
    """After an outage in which the request was lost, as the server tells later or at once."""
    for dropped in (True, False):
        scene = Scene()
        one = scene.queue_up("versoin")
        fix(scene, one, "version")
        scene.reply()
        back(scene, EventId("$other"))
        scene.reply()
        scene.restored()
        scene.forget()
        if dropped:
            scene.reply(-1, requestId=REQUEST)
            scene.push(201, requestId=REQUEST, requestStatus=4)
        scene.reply(requestId=LATER)
        answer(scene)
        assert scene.texts == ["version"]


def test_a_correction_in_a_lost_session_is_sent_again_as_the_message() -> None:
    scene = Scene()
    scene.begin()
    one = scene.text("versoin")
    scene.reply()
    fix(scene, one, "version")
    scene.reply(-11)
    scene.reply(requestId=LATER)
    scene.reply()
    assert scene.texts == ["versoin", "fix: version", "version"]


def test_a_correction_of_a_message_that_did_not_arrive_is_the_message() -> None:
    scene = Scene()
    scene.begin()
    one = scene.text("versoin")
    fix(scene, one, "version")
    scene.fail(FailureReason.UNREACHABLE)
    scene.later(60)
    assert scene.texts == ["versoin", "version"]
    assert scene.reported == {}


def test_a_correction_of_a_refused_message_is_sent_as_the_message() -> None:
    scene = Scene()
    scene.begin()
    one = scene.text("versoin")
    fix(scene, one, "version")
    scene.reply(-16)
    assert scene.texts == ["versoin", "version"]
    assert list(scene.reported) == [one]


def test_a_correction_of_a_message_under_way_at_the_end_is_the_message() -> None:
    scene = Scene()
    scene.begin()
    one = scene.text("versoin")
    fix(scene, one, "version")
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.reply(-11)
    scene.forget()
    next_chat(scene)
    assert scene.texts == ["version"]


def test_a_long_correction_is_sent_completely_and_once() -> None:
    """Some of its parts were sent, one was under way, and one waited."""
    scene = Scene(Policy(queue_id=QueueId(7), max_text_bytes=40))
    new = " ".join(f"{number:03}" for number in range(25))
    scene.begin()
    one = scene.text("versoin")
    scene.reply()
    fix(scene, one, new)
    scene.reply()
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.reply(-11)
    scene.forget()
    next_chat(scene)
    assert "".join(str(one) for one in scene.texts) == new
    assert scene.delivered == [FIX]


# --- before anything is written -----------------------------------------------------------------


def overtaken(scene: Scene) -> bool:
    """Whether the call under way must no longer be written."""
    return scene.outstanding.moot or scene.outstanding.stale


def test_a_redacted_message_not_written_yet_is_never_written() -> None:
    """A call that waits for the link is overtaken, also if only its text changes."""
    scene = Scene()
    scene.begin()
    one = scene.text("one")
    assert not overtaken(scene)
    back(scene, one)
    assert overtaken(scene)
    scene.text("two")
    scene.fail(FailureReason.OVERTAKEN)
    assert scene.texts == ["one", "two"]
    assert (scene.notices, scene.reported) == (["chat.started"], {})


def test_a_reply_not_written_yet_is_sent_without_its_quotation() -> None:
    scene = Scene()
    scene.begin()
    reply(scene, EventId("$old"), "secret", CustomerText("yes"))
    assert not overtaken(scene)
    back(scene, EventId("$old"), note="")
    assert overtaken(scene)
    scene.fail(FailureReason.OVERTAKEN)
    assert scene.texts == ["re secret: yes", "yes"]
    assert not overtaken(scene)
    scene.reply()
    assert scene.delivered == [REPLY]


def test_a_redaction_is_told_if_the_first_attempt_may_have_arrived() -> None:
    """The overtaken repeat says nothing about the first attempt."""
    scene = Scene()
    scene.begin()
    one = scene.text("one")
    scene.cut()
    scene.later(1)
    assert scene.texts == ["one", "one"]
    back(scene, one)
    scene.fail(FailureReason.OVERTAKEN)
    assert scene.texts == ["one", "one", NOTE]


def test_a_correction_of_an_ended_chat_that_was_not_written_goes_as_the_message() -> None:
    scene = Scene()
    scene.begin()
    one = scene.text("versoin")
    scene.reply()
    fix(scene, one, "version")
    scene.push(205, sessionId=SESSION, agentId="K00017")
    assert overtaken(scene)
    scene.fail(FailureReason.OVERTAKEN)
    next_chat(scene)
    assert scene.texts == ["versoin", "fix: version", "version"]


# --- corrections that become whole messages -----------------------------------------------------


def test_a_correction_under_way_is_repeated_without_the_redacted_words() -> None:
    scene = Scene()
    scene.begin()
    one = scene.text("one")
    scene.reply()
    fix(scene, one, "new")
    back(scene, one, note="")
    scene.fail(FailureReason.UNREACHABLE)
    scene.later(2)
    assert scene.texts == ["one", "fix: new", "new"]


def test_other_messages_and_their_corrections_stay_as_they_are() -> None:
    scene = Scene()
    scene.begin()
    one, two = scene.text("one"), scene.text("two")
    fix(scene, one, "new one")
    fix(scene, two, "new two", by=REPLY)
    scene.reply(-12)
    answer(scene)
    assert scene.texts == ["one", "two", "new one", "fix: new two"]
    assert scene.delivered == [two, FIX, REPLY]


def test_a_message_under_way_is_delivered_whatever_else_is_redacted() -> None:
    scene = Scene()
    scene.begin()
    one = scene.text("one")
    scene.reply()
    three = scene.text("three")
    fix(scene, one, "new")
    back(scene, one, note="")
    answer(scene)
    assert scene.texts == ["one", "three", "new"]
    assert scene.delivered == [one, three, FIX]


def test_of_two_corrections_of_a_refused_message_the_last_is_the_message() -> None:
    scene = Scene()
    scene.begin()
    one = scene.text("one")
    fix(scene, one, "two")
    fix(scene, FIX, "three", by=REPLY)
    scene.reply(-12)
    answer(scene)
    assert scene.texts == ["one", "three"]


def test_a_correction_that_waits_behind_a_rating_is_the_message_in_the_next_chat() -> None:
    scene = Scene()
    scene.begin()
    one = scene.text("one")
    scene.reply()
    scene.rate(5)
    fix(scene, one, "new")
    scene.push(205, sessionId=SESSION)
    scene.reply()
    next_chat(scene)
    assert scene.texts == ["one", "new"]


def test_a_correction_given_up_in_the_queue_stays_given_up() -> None:
    scene = Scene()
    one = scene.queue_up("one")
    fix(scene, one, "new")
    scene.cancel()
    scene.push(201, requestId=REQUEST, requestStatus=7)
    scene.fail(FailureReason.UNREACHABLE)
    scene.later(60)
    assert scene.state.held == ()
    assert len(scene.sent(101)) == 1


@pytest.mark.parametrize("quoting", [False, True])
def test_a_message_under_way_at_the_end_gives_way_to_its_correction(quoting: bool) -> None:
    """It is neither sent again nor reported, should it not have arrived."""
    scene = Scene()
    scene.begin()
    one = scene.text("one")
    scene.reply()
    if quoting:
        reply = CustomerText("> one\ntwo")
        scene.happen(Said(REPLY, reply, quotes=(one,), instead=CustomerText("two")))
    else:
        scene.content(CustomerText("two"))
    said = REPLY if quoting else EventId("$2")
    fix(scene, said, "three")
    scene.push(205, sessionId=SESSION)
    scene.fail(FailureReason.UNREACHABLE)
    scene.later(2)
    next_chat(scene)
    assert scene.texts[2:] == ["three"]
    assert scene.reported == {}
