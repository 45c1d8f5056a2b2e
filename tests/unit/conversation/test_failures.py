"""Failed calls: retries, what the customer is told, and what becomes of the content."""

from __future__ import annotations

import pytest

from bridge.conversation.model import (
    COUNTED,
    CallbackCard,
    CallFailed,
    Clip,
    CustomerLocation,
    CustomerMedia,
    Reported,
    Upload,
    Uploaded,
    Withdrawn,
)
from bridge.conversation.turn import Policy
from bridge.ids import CallId, EventId, QueueId
from bridge.webchat.codes import FailureReason
from tests.support.scene import ASK, MEI, REQUEST, SESSION, Scene

HOPELESS = [(FailureReason.LOGIN_REFUSED, -20), (FailureReason.SIGN_REFUSED, -30)]


def outage(scene: Scene, seconds: int, *, certain: bool = True) -> None:
    """Let every call fail for `seconds`; not `certain`: the link breaks during the call."""
    end = scene.now + seconds * 1000
    while scene.now < end:
        if scene.state.outstanding is None:
            scene.later(1)
        elif certain:
            scene.fail(FailureReason.UNREACHABLE)
        else:
            scene.cut()


FAILED = FailureReason.UPLOAD_FAILED


def upload_fails(scene: Scene, reason: FailureReason, code: int | None) -> list[int]:
    """Let every upload of the file fail; return the seconds at which it is tried."""
    began, tries = scene.now, []
    while isinstance(scene.outstanding.what, Upload):
        tries.append((scene.now - began) // 1000)
        scene.fail(reason, code=code)
        pause = scene.state.retry_at
        if pause is None:
            break
        scene.later((pause - scene.now) / 1000)
    return tries


@pytest.mark.parametrize(
    ("reason", "code", "key"),
    [
        (FAILED, 500, "undelivered.upload_status"),
        (FAILED, 503, "undelivered.upload_status"),
        (FAILED, 404, "undelivered.upload_status"),
        (FAILED, 200, "undelivered.upload_unclear"),
        (FAILED, None, "undelivered.upload_unclear"),
        (FailureReason.REFUSED, -100, "undelivered.server_failed"),
    ],
)
def test_an_upload_that_fails_on_the_server_is_tried_a_few_times(
    reason: FailureReason, code: int | None, key: str
) -> None:
    """Then it is reported with the reason, and later messages are sent."""
    scene = Scene()
    scene.begin()
    file, behind = scene.image(caption="mine"), scene.text("and then?")
    scene.forget()
    assert upload_fails(scene, reason, code) == [0, 1, 5, 21, 81]
    assert scene.reported == {file: key}
    (told,) = (one for one in scene.effects if isinstance(one, Reported))
    assert told.args == ({"status": code} if key.endswith("upload_status") else {})
    assert told.ping, "after a minute and a half nobody looks at the chat any more"
    assert scene.notices == [], "the call centre is there: no word of an outage"
    assert scene.texts == ["and then?"]
    scene.reply()
    assert scene.delivered == [behind]
    assert scene.notices == []


@pytest.mark.parametrize("code", [300, 302, 400, 403, 415, 499])
def test_a_permanently_refused_upload_is_reported_at_once(code: int) -> None:
    scene = Scene()
    scene.begin()
    file = scene.image()
    assert upload_fails(scene, FAILED, code) == [0]
    assert scene.reported == {file: "undelivered.upload_status"}
    assert not any(one.ping for one in scene.effects if isinstance(one, Reported))


def test_an_upload_that_succeeds_in_the_end_is_delivered() -> None:
    scene = Scene()
    scene.begin()
    file = scene.image()
    for wait in (1, 4, 16, 60):
        scene.fail(FAILED, code=500)
        assert scene.state.outstanding is None
        scene.later(wait)
    scene.uploaded()
    assert scene.state.outstanding is not None
    held = scene.state.outstanding.held
    assert held is not None
    assert held.repeats == 0, "nothing of its message was sent twice"
    scene.reply()
    assert scene.delivered == [file]
    assert scene.reported == {}
    assert scene.notices[1:] == []


def test_during_an_outage_a_file_waits_as_a_text_does() -> None:
    scene = Scene()
    scene.begin()
    file, text = scene.image(), scene.text("one")
    outage(scene, 29 * 60)
    assert scene.reported == {}
    assert scene.notices[1:] == ["trouble.unreachable"]
    outage(scene, 2 * 60)
    assert scene.reported == dict.fromkeys((file, text), "queue.dropped")


def test_a_failure_of_another_call_changes_nothing() -> None:
    scene = Scene()
    scene.start()
    before = scene.state
    scene.happen(CallFailed(CallId(999), FailureReason.UNREACHABLE))
    assert scene.state == before


def test_retry_delays_grow_and_the_customer_is_told_once() -> None:
    scene = Scene()
    scene.begin()
    scene.text("one")
    for wait in (1, 2, 4, 8, 16, 32, 60, 60):
        scene.fail(FailureReason.UNREACHABLE)
        assert scene.state.retry_at == scene.now + wait * 1000
        scene.later(wait)
    assert scene.notices[1:] == ["trouble.unreachable"]
    scene.reply()
    assert scene.notices[-1] == "trouble.over"
    assert scene.state.failures == 0, "the next delay is short again"


def test_a_customer_who_only_used_start_is_told_of_an_outage() -> None:
    scene = Scene()
    scene.start()
    scene.fail(FailureReason.UNREACHABLE)
    assert scene.notices == ["trouble.unreachable"]


def test_a_cut_link_is_told_only_when_it_happens_again() -> None:
    scene = Scene()
    scene.begin()
    scene.text("one")
    scene.cut()
    assert scene.notices[1:] == []
    scene.cut()
    assert scene.notices[1:] == ["trouble.unreachable"]


def test_after_the_hold_the_messages_of_a_chat_are_counted_and_the_phone_rings() -> None:
    scene = Scene()
    scene.begin()
    doubtful = scene.text("one")
    certain = scene.text("two")
    scene.rate(5)
    scene.cut()
    outage(scene, 31 * 60)
    assert scene.reported == {
        doubtful: "undelivered.uncertain",
        certain: "queue.dropped",
    }
    assert scene.notices[1:] == ["trouble.unreachable", "trouble.given_up", "rating.failed"]
    assert scene.pings[-1] == "trouble.given_up"
    assert CallbackCard(1, COUNTED, {"count": 1}, (certain,)) in scene.effects
    assert scene.phase == "Chatting"


def test_after_the_hold_nothing_rings_for_a_mere_rating() -> None:
    scene = Scene()
    scene.begin()
    scene.rate(5)
    scene.cut()
    outage(scene, 31 * 60)
    assert scene.notices[-1] == "rating.failed"
    assert "trouble.given_up" not in scene.pings


@pytest.mark.parametrize("queued", [False, True])
def test_after_the_hold_a_request_is_given_up(queued: bool) -> None:
    scene = Scene()
    event = scene.text("one")
    if queued:
        scene.reply(requestId=REQUEST)
        scene.reply()
        scene.restored()
    outage(scene, 31 * 60)
    assert scene.phase == "Idle"
    assert scene.card == ["trouble.given_up", "queue.kept", "callback.offer"]
    assert scene.reported == {}
    assert [one.event_id for one in scene.state.held] == [event]


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize("since", [False, True])
def test_after_the_hold_a_cancelled_request_shows_as_cancelled(queued: bool, since: bool) -> None:
    """On the card, with the dropped messages; later messages expire as any other."""
    scene = Scene(Policy(QueueId(7), cancel_wait=3_600_000))
    event, later = scene.text("one"), []
    if queued:
        scene.reply(requestId=REQUEST)
        scene.reply()
        scene.restored()
    outage(scene, 20 * 60, certain=False)
    while scene.state.outstanding is None:
        scene.later(1)
    scene.cancel()
    if since:
        later.append(scene.text("two"))
    outage(scene, 10 * 60, certain=False)
    assert scene.phase == "Idle"
    assert scene.card == ["queue.cancelled", "queue.dropped"]
    expired = dict.fromkeys(later, "undelivered.expired")
    assert scene.reported == {event: "queue.dropped", **expired}
    assert scene.state.outstanding is None


@pytest.mark.parametrize("since", [False, True])
@pytest.mark.parametrize(("reason", "code"), HOPELESS)
def test_a_cancel_while_the_login_is_refused_is_shown(
    reason: FailureReason, code: int, since: bool
) -> None:
    """A later message requests again, and is refused."""
    scene = Scene()
    scene.text("one")
    scene.cancel()
    if since:
        scene.text("two")
    scene.fail(reason, code=code)
    assert scene.card[0] == ("queue.asking" if since else "queue.cancelled")
    assert "queue.cancelled" in scene.cards
    if since:
        scene.fail(reason, code=code)
        assert scene.card[0] == f"trouble.{reason}"


def test_after_the_hold_the_card_is_written_once() -> None:
    """Also with pre-messages."""
    scene = Scene()
    one = scene.queue_up("one")
    two = scene.text("two")
    scene.cut()
    outage(scene, 31 * 60)
    assert scene.reported == {two: "undelivered.uncertain"}
    assert [held.event_id for held in scene.state.held] == [one]
    assert scene.cards.count("trouble.given_up") == 1
    vain = scene.state.vain
    assert vain is not None
    assert vain.kept == 1


def test_after_the_hold_a_chat_being_closed_ends() -> None:
    scene = Scene()
    scene.begin()
    scene.close()
    outage(scene, 31 * 60)
    assert scene.phase == "Ended"
    assert scene.notices[-1] == "chat.ended_unheard"
    assert not scene.state.last_closed
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.phase == "Chatting", "WebChat never heard of the end"


def test_an_end_that_is_never_confirmed_ends_the_chat_all_the_same() -> None:
    """Else the next messages would wait for half an hour, although the link is up."""
    scene = Scene()
    scene.begin()
    scene.close()
    event = scene.text("about something else")
    scene.cut()
    scene.later(20)
    scene.cut()
    assert scene.notices[-1] == "trouble.unreachable"
    scene.later(20)
    scene.cut()
    assert len(scene.sent(103)) == 3
    assert scene.notices[-1] == "chat.ended_unheard"
    assert scene.last == ASK, "for what was written meanwhile"
    assert [held.event_id for held in scene.state.held] == [event]


@pytest.mark.parametrize(("reason", "code"), HOPELESS)
def test_a_refused_login_in_a_chat_is_not_retried(reason: FailureReason, code: int) -> None:
    """Row 3: only the customer's next action is tried; the hold time ends the wait."""
    scene = Scene()
    scene.begin()
    first = scene.text("one")
    scene.fail(reason, code=code)
    scene.later(20 * 60)
    assert len(scene.sent(110)) == 1
    second = scene.text("two")
    assert len(scene.sent(110)) == 2
    scene.fail(reason, code=code)
    scene.rate(5)
    scene.fail(reason, code=code)
    assert scene.notices[1:] == [f"trouble.{reason}"], "told once"
    scene.later(10 * 60)
    assert scene.reported == dict.fromkeys((first, second), "queue.dropped")
    assert scene.notices[-2:] == ["trouble.given_up", "rating.failed"]
    assert (scene.state.retry_at, scene.state.outstanding) == (None, None)
    calls = len(scene.calls)
    scene.later(24 * 3600)
    assert len(scene.calls) == calls


def test_a_login_repaired_by_the_link_is_used_at_once() -> None:
    scene = Scene()
    scene.begin()
    event = scene.text("one")
    scene.fail(FailureReason.LOGIN_REFUSED, code=-20)
    scene.later(60)
    scene.restored()
    scene.reply()
    assert scene.delivered == [event]


def test_a_message_does_not_shorten_the_retry_delay() -> None:
    scene = Scene()
    scene.begin()
    scene.text("one")
    scene.fail(FailureReason.UNREACHABLE)
    before = len(scene.calls)
    scene.text("two")
    assert len(scene.calls) == before


def mute(scene: Scene) -> None:
    """Let the server take the call without a reply, while the link stands."""
    scene.fail(FailureReason.SILENT, certain=False)


def test_a_mute_server_gets_a_message_twice_at_most() -> None:
    """Row 33: sent again once, under the same id; a slow server must not get it four times."""
    scene = Scene()
    scene.begin()
    event = scene.text("one")
    mute(scene)
    first, again = [call for call in scene.calls if call.event_id == event]
    assert first.call_id == again.call_id
    assert [getattr(call, "repeat", None) for call in (first, again)] == [False, True]
    mute(scene)
    assert scene.reported == {event: "undelivered.uncertain"}
    assert len(scene.sent(110)) == 2
    assert scene.notices[1:] == [], "nothing is left that waits"
    scene.text("two")
    scene.later(2)
    assert len(scene.sent(110)) == 3, "the next has its own two tries"


def test_messages_waiting_behind_a_mute_server_are_told_of_trouble() -> None:
    scene = Scene()
    scene.begin()
    scene.text("one")
    waiting = scene.text("two")
    mute(scene)
    mute(scene)
    assert scene.notices[1:] == ["trouble.unreachable"]
    scene.restored()
    scene.reply()
    assert scene.delivered == [waiting]


def test_a_cut_counts_against_a_mute_server() -> None:
    """However the first attempt failed, there are two at most."""
    scene = Scene()
    scene.begin()
    event = scene.text("one")
    scene.cut()
    mute(scene)
    assert scene.reported == {event: "undelivered.uncertain"}
    assert len(scene.sent(110)) == 2


def test_a_rating_that_is_never_answered_is_given_up() -> None:
    """Else it would end the link once a minute for ever."""
    scene = Scene()
    scene.begin()
    scene.rate(5)
    mute(scene)
    assert len(scene.sent(104)) == 2
    mute(scene)
    assert scene.notices[1:] == ["rating.failed"]
    assert len(scene.sent(104)) == 2


def test_an_internal_error_is_tried_three_times() -> None:
    scene = Scene()
    scene.begin()
    event = scene.text("one")
    for _ in range(3):
        scene.reply(-100)
        scene.later(10)
    assert len(scene.sent(110)) == 3
    assert scene.reported == {event: "undelivered.server_failed"}


@pytest.mark.parametrize(
    ("code", "key"),
    [
        (0, "undelivered.server_failed"),
        (-8, "undelivered.not_understood"),
        (-14, "undelivered.not_understood"),
        (-19, "undelivered.not_understood"),
        (-12, "undelivered.not_understood"),
        (-17, "undelivered.refused"),
        (-7, "undelivered.refused"),
        (77, "undelivered.refused"),
    ],
)
def test_a_refused_message_is_answered_with_the_reason(code: int, key: str) -> None:
    scene = Scene()
    scene.begin()
    event = scene.text("one")
    scene.reply(code)
    assert scene.reported == {event: key}
    (told,) = (one for one in scene.effects if isinstance(one, Reported))
    assert told.args == ({"code": code} if key == "undelivered.refused" else {})


def test_a_kind_of_message_that_is_refused_is_named() -> None:
    scene = Scene()
    scene.begin()
    event = scene.content(CustomerLocation(39.9, 116.4))
    scene.reply(-12)
    assert scene.reported == {event: "result.-12"}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("\u200b \u3000", "undelivered.blank"),
        ("\u200b.", "undelivered.refused"),
        ("\N{GRINNING FACE}", "undelivered.refused"),
    ],
)
def test_only_invisible_text_is_called_blank(text: str, key: str) -> None:
    """-17 is also the result of a server that did not find the text."""
    scene = Scene()
    scene.begin()
    event = scene.text(text)
    scene.reply(-17)
    assert scene.reported == {event: key}


def test_invisible_text_may_be_refused_for_another_reason() -> None:
    scene = Scene()
    scene.begin()
    event = scene.text("\u200b")
    scene.reply(-14)
    assert scene.reported == {event: "undelivered.not_understood"}


def test_a_picture_is_not_called_blank() -> None:
    scene = Scene()
    scene.begin()
    event = scene.image()
    scene.uploaded()
    scene.reply(-17)
    assert scene.reported == {event: "undelivered.refused"}


def test_a_failed_upload_gets_one_more_try() -> None:
    scene = Scene()
    scene.begin()
    event = scene.image()
    scene.fail(FailureReason.REFUSED, code=-13)
    assert scene.reported == {}
    scene.fail(FailureReason.REFUSED, code=-13)
    assert scene.reported == {event: "result.-13"}


@pytest.mark.parametrize("reason", [FailureReason.MEDIA_GONE, FailureReason.MEDIA_CHANGED])
def test_an_upload_that_fails_takes_its_caption_along(reason: FailureReason) -> None:
    scene = Scene()
    scene.begin()
    event = scene.image(caption="look")
    scene.fail(reason)
    assert scene.reported == {event: f"undelivered.{reason}"}
    assert scene.texts == []


@pytest.mark.parametrize("reason", [FailureReason.MEDIA_AWAY, FailureReason.INTERNAL])
def test_a_file_that_cannot_be_fetched_holds_up_the_others_for_a_while_only(
    reason: FailureReason,
) -> None:
    """Its homeserver may be away, or the bridge's disk full. The call centre is not to blame."""
    scene = Scene()
    scene.begin()
    event = scene.image()
    scene.text("look")
    scene.forget()
    for _ in range(scene.policy.upload_tries):
        assert scene.reported == {}
        scene.fail(reason)
        scene.later(60)
    assert scene.reported == {event: f"undelivered.{reason}"}
    assert scene.texts == ["look"]
    assert not scene.state.told_trouble


@pytest.mark.parametrize(
    ("limit", "shown"), [(50 * 1024**2, "50 MB"), (1_600_000, "1 MB"), (800_000, "781 KB")]
)
def test_a_file_above_the_bridges_limit_is_told_the_limit(limit: int, shown: str) -> None:
    """The limit shown is rounded down."""
    scene = Scene()
    scene.begin()
    event = scene.image("big.png")
    call_id = scene.outstanding.call_id
    scene.happen(CallFailed(call_id, FailureReason.TOO_BIG, limit=limit))
    (told,) = (one for one in scene.effects if isinstance(one, Reported))
    assert told == Reported(event, "undelivered.too_big_limit", {"limit": shown})


def test_a_failed_upload_after_a_cancel_is_reported_as_dropped() -> None:
    scene = Scene()
    scene.queue_up("one")
    event = scene.image()
    scene.cancel()
    scene.fail(FailureReason.TOO_BIG)
    assert scene.reported == {event: "queue.dropped"}


def test_of_two_equal_files_the_one_being_uploaded_fails() -> None:
    """The other, a voice message in a frame, waits for its chat without an address."""
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST, queueLength=3)
    voice = CustomerMedia("voice", "v.ogg", "mxc://example.org/v", "audio/ogg", 3)
    one, two = scene.content(voice), scene.content(voice)
    scene.happen(Uploaded(scene.outstanding.call_id, "", 3, Clip(1, "IyFBTVIK")))
    scene.fail(FailureReason.MEDIA_GONE)
    assert list(scene.reported) == [two]
    assert [piece.event_id for piece in scene.state.held] == [one]


def test_a_content_failure_of_a_call_without_content_is_an_outage() -> None:
    scene = Scene()
    scene.start()
    scene.fail(FailureReason.TOO_BIG)
    assert scene.phase == "Requesting"
    assert scene.state.failures == 1


def test_a_dropped_message_with_a_content_failure_is_reported_once() -> None:
    scene = Scene()
    event = scene.text("one")
    scene.reply(requestId=REQUEST)
    scene.cancel()
    scene.fail(FailureReason.TOO_BIG)
    assert scene.reported == {event: "queue.dropped"}


def test_a_dropped_message_of_uncertain_fate_is_reported_as_dropped() -> None:
    scene = Scene()
    event = scene.text("one")
    scene.reply(requestId=REQUEST)
    scene.cancel()
    scene.cut()
    assert scene.reported == {event: "queue.dropped"}


def test_after_leaving_the_queue_in_an_outage_nothing_waits() -> None:
    """The message under way is dropped with the rest."""
    scene = Scene()
    along = scene.queue_up()
    under_way = scene.text("away 1")
    scene.cut()
    scene.cancel()
    scene.fail(FailureReason.UNREACHABLE)
    scene.later(scene.policy.cancel_wait / 1000)
    assert (scene.phase, scene.card) == ("Idle", ["queue.cancelled", "queue.dropped"])
    assert scene.card_args == {"count": 2}
    assert scene.reported == {along: "queue.dropped", under_way: "queue.dropped"}
    for _ in range(3):
        if scene.state.outstanding is not None:
            scene.fail(FailureReason.UNREACHABLE)
        scene.later(60)
    assert (scene.notices, len(scene.reported)) == ([], 2)


def test_a_late_failure_after_leaving_the_queue_is_not_told() -> None:
    scene = Scene()
    scene.queue_up()
    event = scene.text("away 1")
    scene.cancel()
    scene.push(201, requestId=REQUEST, requestStatus=7)
    assert scene.phase == "Idle"
    assert scene.reported[event] == "queue.dropped"
    scene.cut()
    scene.later(60)
    assert (scene.notices, scene.state.outstanding) == ([], None)
    assert scene.reported[event] == "queue.dropped"


def test_a_message_under_way_is_sent_again_if_the_customer_stays() -> None:
    scene = Scene()
    scene.queue_up()
    event = scene.text("away 1")
    scene.cancel()
    scene.start()
    assert scene.notices == ["start.already_queued"]
    scene.fail(FailureReason.UNREACHABLE)
    scene.later(2)
    assert scene.texts[1:] == ["away 1", "away 1"]
    scene.reply()
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert (scene.delivered[-1], scene.reported) == (event, {})


def test_a_redacted_message_is_not_sent_again_if_the_customer_stays() -> None:
    scene = Scene()
    scene.queue_up()
    event = scene.text("away 1")
    scene.cancel()
    scene.happen(Withdrawn(event))
    scene.start()
    scene.fail(FailureReason.UNREACHABLE)
    scene.later(2)
    assert scene.texts[1:] == ["away 1"]


def test_a_message_in_doubt_at_the_end_of_a_chat_is_repeated_in_the_next() -> None:
    scene = Scene()
    scene.begin()
    scene.text("one")
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.cut()
    assert scene.notices[-1] == "queue.kept"
    scene.start()
    scene.reply()
    scene.push(202, sessionId=5151, agents=[MEI])
    assert getattr(scene.calls[-1], "repeat", None)


def test_a_resync_request_whose_reply_is_lost_is_repeated() -> None:
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST)
    scene.restored()
    scene.cut()
    assert len(scene.sent(101)) == 3
    scene.reply(-1)
    scene.cancel()
    assert scene.last == {"type": 102, "requestId": REQUEST}


def test_a_message_in_doubt_too_often_is_reported() -> None:
    scene = Scene()
    scene.begin()
    event = scene.text("one")
    while event not in scene.reported:
        scene.cut()
        scene.restored()
    assert scene.reported == {event: "undelivered.uncertain"}
    assert len(scene.sent(110)) == 1 + scene.policy.max_repeats


@pytest.mark.parametrize("result", [-12, -17])
def test_a_message_in_doubt_that_is_refused_later_stays_in_doubt(result: int) -> None:
    """The first attempt may have arrived: "not delivered" would be said too soon."""
    scene = Scene()
    scene.begin()
    event = scene.text("one")
    scene.cut()
    scene.restored()
    scene.reply(result)
    assert scene.reported == {event: "undelivered.uncertain"}


def test_a_message_in_doubt_whose_chat_has_ended_stays_in_doubt() -> None:
    """The customer asked for the end after it, and the session is gone when it is sent again."""
    scene = Scene()
    scene.begin()
    event = scene.text("one")
    later = scene.text("two")
    scene.close()
    scene.cut()
    scene.restored()
    scene.reply(-11)
    assert scene.reported == {event: "undelivered.uncertain", later: "undelivered.closed"}


def test_a_file_is_tried_again_once_and_another_is_not_blamed() -> None:
    scene = Scene()
    scene.begin()
    scene.image("a.png")
    scene.fail(FAILED, code=503)
    assert len(scene.state.held) == 1
    scene.later(60)
    one, two = EventId("$1"), scene.image("b.png")
    scene.happen(Withdrawn(one, (), EventId("$back"), ""))
    scene.fail(FAILED, code=415)
    assert scene.reported == {}
    assert [held.event_id for held in scene.state.held] == [two]
