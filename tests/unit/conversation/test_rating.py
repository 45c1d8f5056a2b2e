"""Asking for a rating, giving one, changing it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge.conversation.chat import unhappy
from bridge.conversation.machine import no_deadline_but_retry, wants_link
from bridge.conversation.model import AskRating, FailureReason, Rate, Withdrawn
from bridge.conversation.policy import Policy
from bridge.ids import EventId, QueueId, SessionId
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


def test_a_file_that_the_server_does_not_take_is_not_said_to_be_kept() -> None:
    """Nor is an agent asked for with nothing to be told."""
    for policy in (Policy(), Policy(start_on_message=False)):
        scene = Scene(policy)
        scene.push(200, ratings=[], fileAcceptExtensionsArr="png,zip", hisSessions=[])
        event = scene.image("a.exe", caption="look")
        assert scene.reported == {event: "undelivered.extension"}
        assert (scene.phase, scene.notices, scene.cards) == ("Idle", [], [])


def test_files_are_refused_once_the_server_says_what_it_takes() -> None:
    """Also those that wait behind a call."""
    scene = Scene()
    scene.begin()
    scene.text("one")
    event = scene.image("a.exe")
    scene.push(200, ratings=[], fileAcceptExtensionsArr="png,zip", hisSessions=[])
    assert scene.reported == {event: "undelivered.extension"}


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


def test_thanks_are_said_once_and_a_change_is_confirmed() -> None:
    scene = ended()
    for value in (5, 4, 4):
        scene.rate(value)
        scene.reply()
    thanks = [one for one in scene.notices if one.startswith("rating.")]
    assert thanks == ["rating.thanks", "rating.changed", "rating.changed"]
    assert scene.filled("rating.thanks") == [{"rating": 5}]
    assert scene.filled("rating.changed") == [{"rating": 4}, {"rating": 4}]


def test_a_question_that_still_stands_is_not_repeated() -> None:
    scene = ended()
    scene.start()
    scene.reply(-2, sessionId=SESSION)
    scene.push(205, sessionId=SESSION, agentId="K00017")
    assert scene.asked == [SESSION]


# --- unhappy: anything to add? --------------------------------------------------------------------

WORDS = EventId("$words")


def asked_why() -> Scene:
    """The customer has rated a chat that is over, and is asked why."""
    scene = ended()
    scene.happen(Rate(0, more=True))
    assert wanted(scene) is None  # WebChat has yet to take it
    scene.reply()
    assert scene.notices[-1] == "rating.more"
    scene.forget()
    return scene


def wanted(scene: Scene) -> int | None:
    rated = unhappy(scene.state, scene.now, scene.policy)
    return None if rated is None else rated.asked


def add(scene: Scene) -> None:
    """The next message, as the room hands it on."""
    assert wanted(scene) == 0
    scene.happen(Rate(0, "too slow", SessionId(SESSION), WORDS))


def test_who_is_unhappy_is_asked_why_once() -> None:
    scene = asked_why()
    add(scene)
    assert scene.last["rating"] == {"id": 0, "comments": "too slow"}
    assert wanted(scene) is None
    scene.reply()
    assert wanted(scene) is None
    assert scene.notices == []  # the room has said so


@pytest.mark.parametrize("given", [Rate(0), Rate(0, "too slow", more=True)])
def test_who_is_not_or_has_said_why_is_not_asked(given: Rate) -> None:
    scene = ended()
    scene.happen(given)
    scene.reply()
    assert scene.notices[-1] == "rating.thanks"
    assert wanted(scene) is None


def test_in_a_chat_the_next_message_is_the_agents() -> None:
    scene = Scene()
    scene.begin()
    scene.happen(Rate(0, more=True))
    scene.reply()
    assert scene.notices[-1] == "rating.thanks"
    assert wanted(scene) is None


def test_nor_is_who_has_words_kept_for_an_agent() -> None:
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


def test_a_better_rating_asks_nothing_any_more() -> None:
    scene = asked_why()
    scene.rate(5)
    assert wanted(scene) is None
    scene.reply()
    assert scene.notices == ["rating.changed"]
    assert wanted(scene) is None


def test_after_five_minutes_messages_are_for_agents() -> None:
    scene = asked_why()
    scene.later(300)
    assert wanted(scene) == 0
    scene.later(1)
    assert wanted(scene) is None


@pytest.mark.parametrize("asks", [lambda scene: scene.start(), lambda scene: scene.image()])
def test_whoever_asks_for_an_agent_adds_nothing(asks: Callable[[Scene], object]) -> None:
    scene = asked_why()
    asks(scene)
    scene.cancel()
    assert wanted(scene) is None


def test_whose_words_are_kept_for_a_command_adds_nothing() -> None:
    scene = asked_why()
    scene.policy = Policy(start_on_message=False)
    scene.text("hello")
    assert wanted(scene) is None


@pytest.mark.parametrize(("result", "said"), [(-11, "rating.too_late"), (0, "rating.refused")])
def test_words_that_webchat_does_not_take_are_told_of(result: int, said: str) -> None:
    scene = asked_why()
    add(scene)
    scene.reply(result)
    assert scene.notices == [said]


def test_words_go_along_with_a_rating_that_overtakes_them() -> None:
    scene = asked_why()
    add(scene)
    scene.rate(1)
    scene.reply()
    assert scene.last["rating"] == {"id": 1, "comments": "too slow"}
    scene.reply()
    assert scene.notices == ["rating.changed"]


def test_words_that_went_along_are_known_as_such_after_a_newer_rating() -> None:
    """So that who takes them back is told that they have gone."""
    scene = asked_why()
    add(scene)
    scene.reply()
    scene.rate(1)
    scene.reply()
    assert scene.state.rated is not None
    assert scene.state.rated.event_id == WORDS


def test_words_that_go_along_stay_beside_those_of_a_newer_rating() -> None:
    scene = asked_why()
    add(scene)
    scene.happen(Rate(1, "rude"))
    scene.happen(Rate(2))
    scene.reply()
    assert scene.last["rating"] == {"id": 2, "comments": "too slow\nrude"}


def test_of_a_newer_ratings_words_only_the_last_go_beside_them() -> None:
    scene = asked_why()
    add(scene)
    scene.happen(Rate(1, "rude"))
    scene.happen(Rate(2, "slow"))
    scene.reply()
    assert scene.last["rating"] == {"id": 2, "comments": "too slow\nslow"}


def test_who_rates_again_in_words_is_answered_though_the_number_is_the_same() -> None:
    scene = asked_why()
    add(scene)
    scene.happen(Rate(0, "rude"))
    scene.reply()
    scene.reply()
    assert scene.last["rating"] == {"id": 0, "comments": "too slow\nrude"}
    assert scene.notices == ["rating.changed"]


def test_words_that_are_too_long_for_a_rating_are_told_of_at_once() -> None:
    scene = ended()
    scene.happen(Rate(0, "so many words"))
    scene.fail(FailureReason.TOO_BIG)
    assert scene.notices[-1] == "rating.too_long"
    scene.later(60)
    assert len(scene.sent(104)) == 1


def test_nor_do_they_hold_back_a_newer_rating() -> None:
    scene = ended()
    scene.happen(Rate(0, "so many words"))
    scene.happen(Rate(1, "few"))
    scene.fail(FailureReason.TOO_BIG)
    assert scene.last["rating"] == {"id": 1, "comments": "few"}
    assert scene.notices[-1] == "chat.ended"


def test_the_newer_ones_words_go_when_those_are_taken_back() -> None:
    scene = asked_why()
    add(scene)
    scene.fail(FailureReason.UNREACHABLE)
    scene.happen(Rate(0, "rude"))
    scene.happen(Withdrawn(WORDS))
    scene.later(60)
    assert scene.last["rating"] == {"id": 0, "comments": "rude"}


def test_a_rating_of_the_next_chat_gives_up_one_of_the_last() -> None:
    """One at a time is on its way."""
    scene = asked_why()
    add(scene)
    scene.fail(FailureReason.UNREACHABLE)
    scene.push(202, sessionId=5151, agents=[MEI])
    scene.forget()
    scene.rate(5)
    assert scene.notices == ["rating.failed"]
    assert scene.state.rating is not None
    assert scene.state.rating.session_id == 5151


def test_words_that_are_taken_back_do_not_go() -> None:
    scene = asked_why()
    add(scene)
    scene.fail(FailureReason.UNREACHABLE)
    scene.happen(Withdrawn(EventId("$other")))
    assert scene.state.rating is not None
    scene.happen(Withdrawn(WORDS))
    scene.later(60)
    assert len(scene.sent(104)) == 1


def test_words_that_are_taken_back_under_way_are_answered_with_nothing() -> None:
    scene = asked_why()
    add(scene)
    scene.happen(Withdrawn(WORDS))
    scene.reply()
    assert scene.notices == []


def test_words_of_the_first_rating_that_are_taken_back_do_not_go() -> None:
    """The rating itself does: nobody has had it yet."""
    scene = Scene()
    scene.begin()
    scene.text("one")
    scene.happen(Rate(2, "too slow", event_id=WORDS))
    scene.happen(Withdrawn(WORDS))
    scene.reply()
    assert scene.last["rating"] == {"id": 2, "comments": ""}


def test_another_rating_still_goes_when_the_words_are_taken_back() -> None:
    scene = asked_why()
    add(scene)
    scene.fail(FailureReason.UNREACHABLE)
    scene.rate(5)
    scene.happen(Withdrawn(WORDS))
    scene.later(60)
    assert scene.last["rating"] == {"id": 5, "comments": ""}


COMMAND = EventId("$command")


def test_words_of_a_command_that_is_taken_back_do_not_go() -> None:
    """The rating itself does, in a newer one's value as well."""
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
def test_of_words_from_two_messages_those_go_that_are_not_taken_back(
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


def test_the_answer_about_one_chat_settles_no_rating_of_another() -> None:
    scene = ended()
    scene.rate(5)
    scene.push(202, sessionId=5151, agents=[MEI])
    scene.push(205, sessionId=5151, agentId="K00017")
    scene.rate(5)
    scene.reply()
    assert "rating.thanks" not in scene.notices
    assert [frame["sessionId"] for frame in scene.sent(104)] == [SESSION, 5151]


# --- somebody is there: one ping ------------------------------------------------------------------

SLOW = Policy(queue_id=QueueId(7))
HELLO = {"type": 1, "content": {"content": "hi"}}


def test_the_agents_first_words_are_the_ping() -> None:
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


def test_an_agent_who_says_nothing_for_ten_seconds_is_announced() -> None:
    scene = Scene(SLOW)
    scene.begin()
    scene.later(10)
    assert scene.pings == ["chat.started"]
    scene.push(210, sessionId=SESSION, agentId="K00017", msg=HELLO)
    assert [one.ping for one in scene.relayed] == [False]


def test_an_agent_without_a_name_is_announced_too() -> None:
    scene = Scene(SLOW)
    scene.text("hello")
    scene.reply(sessionId=SESSION)
    scene.later(20)
    assert scene.pings == ["chat.started_unnamed"]


def test_a_robot_rings_nobody() -> None:
    scene = Scene(SLOW)
    scene.start()
    scene.reply(sessionId=SESSION, agentId="BOT007", agentName="Helper", robotType=3)
    scene.later(60)
    assert (scene.pings, scene.notices) == ([], [])


def test_a_robot_that_is_known_as_one_only_later_rings_nobody_either() -> None:
    scene = Scene(SLOW)
    scene.start()
    scene.push(202, sessionId=SESSION, agents=[MEI])
    scene.reply(sessionId=SESSION, robotType=3, agents=[MEI])
    scene.later(60)
    assert (scene.pings, scene.notices) == ([], [])


def test_who_is_closing_the_chat_is_told_of_no_agent() -> None:
    scene = Scene(SLOW)
    scene.begin()
    scene.close()
    scene.fail(FailureReason.UNREACHABLE)
    scene.later(20)
    assert scene.pings == []
