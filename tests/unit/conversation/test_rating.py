"""Asking for a rating, giving one, changing it."""

from __future__ import annotations

import pytest

from bridge.conversation.machine import wants_link
from bridge.conversation.model import AskRating, EndPoll, FailureReason, Rate
from bridge.ids import SessionId
from tests.support.scene import MEI, REQUEST, SESSION, Scene


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


def test_who_was_asked_or_has_rated_is_not_asked_again() -> None:
    scene = Scene()
    scene.begin()
    scene.rate(5)
    scene.push(203, sessionId=SESSION, agentId="K00017")
    scene.reply()
    scene.push(205, sessionId=SESSION, agentId="K00017")
    assert scene.asked == []


def test_a_203_that_names_no_session_means_the_present_one() -> None:
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
    scene.later(2)  # of the first rating, not of the change
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


def test_a_vote_on_an_earlier_chat_comes_too_late() -> None:
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
def test_files_that_the_server_does_not_take_are_not_uploaded(name: str, taken: bool) -> None:
    scene = Scene()
    scene.begin()
    scene.push(200, ratings=[], fileAcceptExtensionsArr="png,zip", hisSessions=[])
    event = scene.image(name, caption="look")
    assert scene.reported == ({} if taken else {event: "undelivered.extension"})
    assert bool(scene.state.outstanding) is taken
    if not taken:
        scene.text("hello")
        assert scene.texts == ["hello"]


def test_a_refused_request_may_still_be_taken_up_for_a_minute() -> None:
    """Reference 2.3, status 2: the link stays for so long."""
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
    scene.push(202, sessionId=0, agents=[])
    scene.push(210, sessionId=0, agentId="K00017", msg=message)
    assert scene.phase == "Idle"
    assert len(scene.relayed) == 1


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("<p>Please <b>wait</b></p>", "Please wait"),
        ("a &amp; b", "a & b"),
        ("<p> </p>", None),
    ],
)
def test_notices_are_shown_as_words(written: str, shown: str | None) -> None:
    scene = Scene()
    scene.begin()
    scene.forget()
    notice = {"type": 99, "noticeType": 3, "content": written}
    scene.push(210, sessionId=SESSION, agentId="K00017", msg=notice)
    said = [one.args["text"] for one in scene.effects if hasattr(one, "args")]
    assert said == ([] if shown is None else [shown])


def closed(scene: Scene) -> list[int]:
    return [one.session_id for one in scene.effects if isinstance(one, EndPoll)]


def test_thanks_are_said_once_and_a_change_is_confirmed() -> None:
    scene = ended()
    for value in (5, 4, 4):
        scene.rate(value)
        scene.reply()
    thanks = [one for one in scene.notices if one.startswith("rating.")]
    assert thanks == ["rating.thanks", "rating.changed", "rating.changed"]
    assert scene.filled("rating.thanks") == [{"rating": 5}]
    assert scene.filled("rating.changed") == [{"rating": 4}, {"rating": 4}]


def test_a_rating_by_other_means_closes_the_poll() -> None:
    scene = ended()
    scene.rate(5)
    assert closed(scene) == []
    scene.reply()
    assert closed(scene) == [SESSION]
    scene.rate(4)
    scene.reply()
    assert closed(scene) == [SESSION]


def test_a_vote_leaves_the_poll_open_as_long_as_it_can_be_changed() -> None:
    scene = ended()
    scene.happen(Rate(5, vote=True))
    scene.reply()
    scene.later(299)
    assert closed(scene) == []
    scene.later(1)
    assert closed(scene) == [SESSION]
    scene.later(1000)
    assert closed(scene) == [SESSION]


def test_the_next_chat_closes_the_poll_about_the_last_one() -> None:
    scene = ended()
    scene.begin(session=5151)
    assert closed(scene) == [SESSION]
    scene.push(202, sessionId=5151, agents=[MEI])
    assert closed(scene) == [SESSION]


def test_the_poll_of_a_chat_that_goes_on_stays_open() -> None:
    scene = Scene()
    scene.begin()
    scene.push(203, sessionId=SESSION, agentId="K00017")
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert closed(scene) == []


def test_a_rating_that_comes_too_late_closes_the_poll() -> None:
    scene = ended()
    scene.happen(Rate(5, vote=True))
    scene.reply(-11)
    assert scene.notices[-1] == "rating.too_late"
    assert closed(scene) == [SESSION]


def test_a_poll_about_another_chat_is_left_alone() -> None:
    scene = ended()
    scene.rate(5)
    scene.begin(session=5151)
    scene.push(203, sessionId=5151, agentId="K00017")
    scene.forget()
    scene.reply()  # to the rating of the chat before
    assert closed(scene) == []


def test_a_question_that_still_stands_is_not_repeated() -> None:
    scene = ended()
    scene.start()
    scene.reply(-2, sessionId=SESSION)
    scene.push(205, sessionId=SESSION, agentId="K00017")
    assert scene.asked == [SESSION]
    assert closed(scene) == []
