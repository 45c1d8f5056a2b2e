"""Asking for a rating, giving one, changing it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge.conversation.chat import unhappy
from bridge.conversation.machine import no_deadline_but_retry, wants_link
from bridge.conversation.model import AskRating, Rate, Say, Withdrawn
from bridge.conversation.turn import Policy
from bridge.ids import EventId, QueueId, SessionId
from bridge.webchat.codes import FailureReason
from tests.support.scene import JUN, MEI, REQUEST, SESSION, Scene


def ended() -> Scene:
    """A chat that the agent has ended."""
    scene = Scene()
    scene.begin()
    scene.push(205, sessionId=SESSION, agentId="K00017")
    return scene


def test_the_end_asks_with_the_servers_own_ratings() -> None:
    scene = Scene()
    scene.push(200, ratings=[{"ratingId": 1, "name": "good"}, {"ratingId": 0, "name": "bad"}])
    scene.begin()
    scene.push(205, sessionId=SESSION, agentId="K00017")
    assert scene.effects[-1] == AskRating(SessionId(SESSION), ((1, "good"), (0, "bad")))


def test_a_customer_who_has_rated_is_not_asked_again() -> None:
    scene = Scene()
    scene.begin()
    scene.rate(5)
    scene.push(203, sessionId=SESSION, agentId="K00017")
    scene.reply()
    scene.push(205, sessionId=SESSION, agentId="K00017")
    assert scene.asked == []


def test_a_203_without_a_session_means_the_current_one() -> None:
    scene = Scene()
    scene.begin()
    scene.push(203, sessionId=0, agentId="K00017")
    assert scene.asked == [SESSION]


def test_a_rating_can_be_changed_for_five_minutes() -> None:
    scene = ended()
    scene.rate(1)
    scene.reply()
    scene.later(299)
    scene.rate(0, "no")
    assert scene.last["rating"] == {"id": 0, "comments": "no"}
    scene.reply()
    scene.later(2)  # counted from the first rating, not from the change
    scene.rate(5)
    assert len(scene.sent(104)) == 2
    assert scene.notices[-1] == "rating.settled"


def test_the_next_chat_has_its_own_five_minutes() -> None:
    scene = ended()
    scene.rate(1)
    scene.reply()
    scene.later(1000)
    scene.begin(session=5151)
    scene.rate(5)
    scene.reply()
    assert scene.last["sessionId"] == 5151
    assert scene.notices[-1] == "rating.thanks"


def test_a_rating_of_an_earlier_chat_comes_too_late() -> None:
    scene = ended()
    scene.begin(session=5151)
    scene.happen(Rate(5, session_id=SessionId(SESSION)))
    assert scene.sent(104) == []
    assert scene.notices[-1] == "rating.too_late"
    scene.happen(Rate(5, session_id=SessionId(5151)))
    assert scene.last["sessionId"] == 5151


def test_a_rating_is_kept_until_the_server_is_back() -> None:
    scene = ended()
    scene.rate(4)
    scene.fail(FailureReason.UNREACHABLE)
    scene.later(2)
    assert len(scene.sent(104)) == 2
    scene.reply()
    assert scene.notices[-1] == "rating.thanks"


@pytest.mark.parametrize(("name", "taken"), [("a.PNG", True), ("a.exe", False), ("noname", True)])
def test_files_of_unaccepted_types_are_not_uploaded(name: str, taken: bool) -> None:
    scene = Scene()
    scene.begin()
    scene.push(200, ratings=[], fileAcceptExtensionsArr="png,zip", hisSessions=[])
    event = scene.image(name, caption="look")
    assert scene.reported == ({} if taken else {event: "undelivered.extension"})
    assert bool(scene.state.outstanding) is taken
    if not taken:
        scene.text("hello")
        assert scene.texts == ["hello"]


def test_a_file_of_an_unaccepted_type_is_not_told_as_kept() -> None:
    """And no agent is requested for nothing."""
    for policy in (Policy(), Policy(start_on_message=False)):
        scene = Scene(policy)
        scene.push(200, ratings=[], fileAcceptExtensionsArr="png,zip", hisSessions=[])
        event = scene.image("a.exe", caption="look")
        assert scene.reported == {event: "undelivered.extension"}
        assert (scene.phase, scene.notices, scene.cards) == ("Idle", [], [])


def test_files_are_refused_once_the_server_names_its_types() -> None:
    """Also those that wait behind a call."""
    scene = Scene()
    scene.begin()
    scene.text("one")
    event = scene.image("a.exe")
    scene.push(200, ratings=[], fileAcceptExtensionsArr="png,zip", hisSessions=[])
    assert scene.reported == {event: "undelivered.extension"}


def test_a_refused_request_keeps_the_link_for_a_minute() -> None:
    """Reference 2.3, status 2: an agent may still accept it."""
    scene = Scene()
    scene.queue_up()
    scene.push(201, requestId=REQUEST, requestStatus=2)
    scene.later(59)
    assert wants_link(scene.state)
    scene.later(2)
    assert not wants_link(scene.state)


def test_a_push_without_a_session_starts_none() -> None:
    """0 stands for "not said"."""
    scene = Scene()
    message = {"type": 1, "content": {"content": "hi"}}
    scene.push(204, agents=[MEI])
    scene.push(205, agentId="K00017")
    scene.push(210, sessionId=0, agentId="K00017", msg=message)
    assert scene.phase == "Idle"
    assert len(scene.relayed) == 1


def test_a_push_without_a_session_is_about_the_present_one() -> None:
    """The vendor's phone clients do not even read the session of a 203, a 204 or a 205."""
    scene = Scene()
    scene.begin()
    scene.push(204, agents=[JUN])
    assert scene.ghosts == {"K00021"}
    scene.push(205, agentId="K00021")
    assert (scene.phase, scene.notices[-1]) == ("Ended", "chat.ended")
    scene.push(203, agentId="K00021")
    assert scene.asked == [SESSION], "asked once, by the end of the chat"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("<p>Please <b>wait</b></p>", "Please wait"),
        ("a &amp; b", "a & b"),
        ("<p> </p>", None),
    ],
)
def test_notices_are_shown_as_plain_text(written: str, shown: str | None) -> None:
    scene = Scene()
    scene.begin()
    scene.forget()
    notice = {"type": 99, "noticeType": 3, "content": written}
    scene.push(210, sessionId=SESSION, agentId="K00017", msg=notice)
    said = [one.args["text"] for one in scene.effects if hasattr(one, "args")]
    assert said == ([] if shown is None else [shown])


def _notice(scene: Scene, kind: int | None) -> None:
    notice = {"type": 99, "noticeType": kind, "content": "Are you still there?"}
    scene.push(210, sessionId=SESSION, agentId="K00017", msg=notice)


def test_a_notice_after_a_silence_rings_unless_it_is_about_agents() -> None:
    scene = Scene()
    scene.begin()
    scene.later(60)
    scene.push(210, sessionId=SESSION, agentId="K00017", msg={"type": 1, "content": "hello"})
    scene.forget()
    for kind, wait in ((3, 0), (11, 60), (3, 0), (4, 59), (None, 1)):
        scene.later(wait)
        _notice(scene, kind)
    rung = [one.ping for one in scene.effects if isinstance(one, Say)]
    assert rung == [False, False, True, False, True]
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.later(60)
    _notice(scene, None)
    assert scene.pings == ["chat.notice"] * 2, "the chat is over"


def test_a_first_rating_is_thanked_for_and_a_change_confirmed() -> None:
    scene = ended()
    for value in (5, 4, 4):
        scene.rate(value)
        scene.reply()
    thanks = [one for one in scene.notices if one.startswith("rating.")]
    assert thanks == ["rating.thanks", "rating.changed", "rating.changed"]
    assert scene.filled("rating.thanks") == [{"rating": 5}]
    assert scene.filled("rating.changed") == [{"rating": 4}, {"rating": 4}]


def test_a_pending_question_for_a_rating_is_not_repeated() -> None:
    scene = ended()
    scene.start()
    scene.reply(-2, sessionId=SESSION)
    scene.push(205, sessionId=SESSION, agentId="K00017")
    assert scene.asked == [SESSION]


# --- the comment on a bad rating ------------------------------------------------------------------

WORDS = EventId("$words")


def asked_why() -> Scene:
    """A scene whose customer has rated an ended chat badly, and is asked why."""
    scene = ended()
    scene.happen(Rate(0, more=True))
    assert wanted(scene) is None  # WebChat has not accepted it yet
    scene.reply()
    assert scene.notices[-1] == "rating.more"
    scene.forget()
    return scene


def wanted(scene: Scene) -> int | None:
    rated = unhappy(scene.state, scene.now)
    return None if rated is None else rated.asked


def add(scene: Scene) -> None:
    """Add the next message as a comment, as the room does."""
    assert wanted(scene) == 0
    scene.happen(Rate(0, "too slow", SessionId(SESSION), WORDS))


def test_an_unhappy_customer_is_asked_why_once() -> None:
    scene = asked_why()
    add(scene)
    assert scene.last["rating"] == {"id": 0, "comments": "too slow"}
    assert wanted(scene) is None
    scene.reply()
    assert wanted(scene) is None
    assert scene.notices == []  # the room has told it


@pytest.mark.parametrize("given", [Rate(0), Rate(0, "too slow", more=True)])
def test_no_reason_is_asked_after_another_or_a_commented_rating(given: Rate) -> None:
    scene = ended()
    scene.happen(given)
    scene.reply()
    assert scene.notices[-1] == "rating.thanks"
    assert wanted(scene) is None


def test_in_a_chat_the_next_message_is_for_the_agent() -> None:
    scene = Scene()
    scene.begin()
    scene.happen(Rate(0, more=True))
    scene.reply()
    assert scene.notices[-1] == "rating.thanks"
    assert wanted(scene) is None


def test_no_reason_is_asked_while_messages_are_kept() -> None:
    scene = Scene()
    scene.begin()
    scene.text("one")
    scene.text("two")
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.reply()
    scene.happen(Rate(0, more=True))
    scene.reply()
    assert scene.notices[-1] == "rating.thanks"
    assert wanted(scene) is None


def test_a_better_rating_ends_the_question() -> None:
    scene = asked_why()
    scene.rate(5)
    assert wanted(scene) is None
    scene.reply()
    assert scene.notices == ["rating.changed"]
    assert wanted(scene) is None


def test_after_five_minutes_messages_are_no_comments() -> None:
    scene = asked_why()
    scene.later(300)
    assert wanted(scene) == 0
    scene.later(1)
    assert wanted(scene) is None


@pytest.mark.parametrize("asks", [lambda scene: scene.start(), lambda scene: scene.image()])
def test_requesting_an_agent_ends_the_question(asks: Callable[[Scene], object]) -> None:
    scene = asked_why()
    asks(scene)
    scene.cancel()
    assert wanted(scene) is None


def test_a_kept_message_ends_the_question() -> None:
    scene = asked_why()
    scene.policy = Policy(start_on_message=False)
    scene.text("hello")
    assert wanted(scene) is None


@pytest.mark.parametrize(("result", "said"), [(-11, "rating.too_late"), (0, "rating.refused")])
def test_a_refused_comment_is_told(result: int, said: str) -> None:
    scene = asked_why()
    add(scene)
    scene.reply(result)
    assert scene.notices == [said]


def test_a_comment_is_sent_with_a_newer_rating() -> None:
    scene = asked_why()
    add(scene)
    scene.rate(1)
    scene.reply()
    assert scene.last["rating"] == {"id": 1, "comments": "too slow"}
    scene.reply()
    assert scene.notices == ["rating.changed"]


def test_a_sent_comment_is_remembered_after_a_newer_rating() -> None:
    """So that its redaction can be answered: it was sent already."""
    scene = asked_why()
    add(scene)
    scene.reply()
    scene.rate(1)
    scene.reply()
    assert scene.state.rated is not None
    assert scene.state.rated.event_id == WORDS


def test_a_comment_is_joined_with_that_of_a_newer_rating() -> None:
    scene = asked_why()
    add(scene)
    scene.happen(Rate(1, "rude"))
    scene.happen(Rate(2))
    scene.reply()
    assert scene.last["rating"] == {"id": 2, "comments": "too slow\nrude"}


def test_only_the_last_comment_of_newer_ratings_is_joined() -> None:
    scene = asked_why()
    add(scene)
    scene.happen(Rate(1, "rude"))
    scene.happen(Rate(2, "slow"))
    scene.reply()
    assert scene.last["rating"] == {"id": 2, "comments": "too slow\nslow"}


def test_a_new_comment_with_the_same_value_is_confirmed() -> None:
    scene = asked_why()
    add(scene)
    scene.happen(Rate(0, "rude"))
    scene.reply()
    scene.reply()
    assert scene.last["rating"] == {"id": 0, "comments": "too slow\nrude"}
    assert scene.notices == ["rating.changed"]


def test_a_comment_that_is_too_long_is_told_at_once() -> None:
    scene = ended()
    scene.happen(Rate(0, "so many words"))
    scene.fail(FailureReason.TOO_BIG)
    assert scene.notices[-1] == "rating.too_long"
    scene.later(60)
    assert len(scene.sent(104)) == 1


def test_a_comment_that_is_too_long_does_not_hold_back_a_newer_rating() -> None:
    scene = ended()
    scene.happen(Rate(0, "so many words"))
    scene.happen(Rate(1, "few"))
    scene.fail(FailureReason.TOO_BIG)
    assert scene.last["rating"] == {"id": 1, "comments": "few"}
    assert scene.notices[-1] == "chat.ended"


def test_a_redacted_comment_leaves_that_of_the_newer_rating() -> None:
    scene = asked_why()
    add(scene)
    scene.fail(FailureReason.UNREACHABLE)
    scene.happen(Rate(0, "rude"))
    scene.happen(Withdrawn(WORDS))
    scene.later(60)
    assert scene.last["rating"] == {"id": 0, "comments": "rude"}


def test_a_rating_of_the_next_chat_drops_a_pending_one() -> None:
    """Only one rating is pending at a time."""
    scene = asked_why()
    add(scene)
    scene.fail(FailureReason.UNREACHABLE)
    scene.push(202, sessionId=5151, agents=[MEI])
    scene.forget()
    scene.rate(5)
    assert scene.notices == ["rating.failed"]
    assert scene.state.rating is not None
    assert scene.state.rating.session_id == 5151


def test_a_redacted_comment_is_not_sent() -> None:
    scene = asked_why()
    add(scene)
    scene.fail(FailureReason.UNREACHABLE)
    scene.happen(Withdrawn(EventId("$other")))
    assert scene.state.rating is not None
    scene.happen(Withdrawn(WORDS))
    scene.later(60)
    assert len(scene.sent(104)) == 1


def test_a_comment_redacted_under_way_is_not_confirmed() -> None:
    scene = asked_why()
    add(scene)
    scene.happen(Withdrawn(WORDS))
    scene.reply()
    assert scene.notices == []


def test_the_redacted_comment_of_a_first_rating_is_not_sent() -> None:
    """The rating itself is."""
    scene = Scene()
    scene.begin()
    scene.text("one")
    scene.happen(Rate(2, "too slow", event_id=WORDS))
    scene.happen(Withdrawn(WORDS))
    scene.reply()
    assert scene.last["rating"] == {"id": 2, "comments": ""}


def test_a_newer_rating_is_sent_after_the_comment_was_redacted() -> None:
    scene = asked_why()
    add(scene)
    scene.fail(FailureReason.UNREACHABLE)
    scene.rate(5)
    scene.happen(Withdrawn(WORDS))
    scene.later(60)
    assert scene.last["rating"] == {"id": 5, "comments": ""}


COMMAND = EventId("$command")


def test_the_comment_of_a_redacted_command_is_not_sent() -> None:
    """The rating is, also with the value of a newer one."""
    scene = ended()
    scene.happen(Rate(1, "rude", said_by=COMMAND))
    scene.fail(FailureReason.UNREACHABLE)
    scene.rate(2)
    scene.happen(Withdrawn(COMMAND))
    scene.later(60)
    assert scene.last["rating"] == {"id": 2, "comments": ""}
    scene.reply()
    assert scene.notices[-1] == "rating.thanks"


@pytest.mark.parametrize(
    ("gone", "left"),
    [
        (Withdrawn(COMMAND), "too slow"),
        (Withdrawn(WORDS), "rude"),
        (Withdrawn(WORDS, (COMMAND,)), None),
    ],
)
def test_of_comments_in_two_messages_the_redacted_one_is_not_sent(
    gone: Withdrawn, left: str | None
) -> None:
    scene = asked_why()
    add(scene)
    scene.fail(FailureReason.UNREACHABLE)
    scene.happen(Rate(0, "rude", said_by=COMMAND))
    scene.happen(gone)
    scene.forget()
    scene.later(60)
    sent = [frame["rating"] for frame in scene.sent(104)]
    assert sent == ([] if left is None else [{"id": 0, "comments": left}])


def test_a_reply_settles_only_the_rating_of_its_chat() -> None:
    scene = ended()
    scene.rate(5)
    scene.push(202, sessionId=5151, agents=[MEI])
    scene.push(205, sessionId=5151, agentId="K00017")
    scene.rate(5)
    scene.reply()
    assert "rating.thanks" not in scene.notices
    assert [frame["sessionId"] for frame in scene.sent(104)] == [SESSION, 5151]


# --- one ping when an agent comes -----------------------------------------------------------------

SLOW = Policy(queue_id=QueueId(7))
HELLO = {"type": 1, "content": {"content": "hi"}}


def test_the_agents_first_message_is_the_ping() -> None:
    scene = Scene(SLOW)
    scene.begin()
    assert not no_deadline_but_retry(scene.state)
    scene.later(9)
    for _ in range(2):
        scene.push(210, sessionId=SESSION, agentId="K00017", msg=HELLO)
    scene.later(60)
    assert [one.ping for one in scene.relayed] == [True, False]
    assert scene.notices == []
    assert scene.cards[-1] == "queue.joined"
    assert no_deadline_but_retry(scene.state)


def test_an_agent_silent_for_ten_seconds_is_announced() -> None:
    scene = Scene(SLOW)
    scene.begin()
    scene.later(10)
    assert scene.pings == ["chat.started"]
    scene.push(210, sessionId=SESSION, agentId="K00017", msg=HELLO)
    assert [one.ping for one in scene.relayed] == [False]


def test_an_agent_who_writes_after_a_silence_pings() -> None:
    """A minute without a word of either, or a notice that rang; not while the two write."""
    scene = Scene(SLOW)
    scene.begin()
    for pause in (9, 59, 60):
        scene.later(pause)
        scene.push(210, sessionId=SESSION, agentId="K00017", msg=HELLO)
    assert [one.ping for one in scene.relayed] == [True, False, True]
    scene.later(59)
    scene.text("are you there?")
    scene.later(59)
    scene.push(210, sessionId=SESSION, agentId="K00017", msg=HELLO)
    scene.later(59)
    scene.push(204, sessionId=SESSION, agents=[JUN])
    assert scene.pings == ["chat.transferred"]
    scene.later(59)
    scene.push(210, sessionId=SESSION, agentId="K00021", msg=HELLO)
    assert [one.ping for one in scene.relayed[3:]] == [False, False]
    scene.close()
    scene.later(60)
    scene.push(210, sessionId=SESSION, agentId="K00021", msg=HELLO)
    assert not scene.relayed[-1].ping, "the customer has ended the chat"


def test_an_agent_without_a_name_is_announced_too() -> None:
    scene = Scene(SLOW)
    scene.text("hello")
    scene.reply(sessionId=SESSION)
    scene.later(20)
    assert scene.pings == ["chat.started_unnamed"]


def test_a_robot_pings_nobody() -> None:
    scene = Scene(SLOW)
    scene.start()
    scene.reply(sessionId=SESSION, agentId="BOT007", agentName="Helper", robotType=3)
    scene.later(60)
    assert (scene.pings, scene.notices) == ([], [])


def test_a_robot_known_as_one_only_later_pings_nobody() -> None:
    scene = Scene(SLOW)
    scene.start()
    scene.push(202, sessionId=SESSION, agents=[MEI])
    scene.reply(sessionId=SESSION, robotType=3, agents=[MEI])
    scene.later(60)
    assert (scene.pings, scene.notices) == ([], [])


def test_no_agent_is_announced_to_a_customer_who_is_closing() -> None:
    scene = Scene(SLOW)
    scene.begin()
    scene.close()
    scene.fail(FailureReason.UNREACHABLE)
    scene.later(20)
    assert scene.pings == []
