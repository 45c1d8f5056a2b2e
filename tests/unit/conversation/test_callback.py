"""Callbacks: the offer, the request, the hidden attempts, and every ending."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import msgspec
import pytest

from bridge.config.hours import parse_hours
from bridge.conversation.machine import deadline
from bridge.conversation.model import COUNTED, LinkLost, Moved
from bridge.conversation.queue import NEAR_FOR, NEAR_MESSAGES, callback_wanted, unseen_callback
from bridge.conversation.turn import Policy
from bridge.ids import QueueId
from bridge.webchat.codes import FailureReason
from tests.support.scene import ASK, MEI, REQUEST, SESSION, Scene

MINUTE, HOUR, DAY = 60, 3600, 86_400
HOURS = {QueueId(7): parse_hours("Mon-Fri 09:00-18:00 UTC")}
CLOSED, NOBODY = -3, -5


def with_hours() -> Scene:
    """On Sunday, 1 December 2024, 00:00 UTC; it opens on Monday at nine."""
    return Scene(Policy(queue_id=QueueId(7), hours=HOURS, ping_wait=0))


def wished(scene: Scene, result: int = CLOSED) -> Scene:
    """Write a message, find no agent, and request a callback."""
    scene.text("hello")
    scene.reply(result)
    scene.call_back()
    scene.forget()
    return scene


# --- the offer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("result", [CLOSED, NOBODY])
def test_a_callback_is_offered_after_a_refused_request(result: int) -> None:
    scene = Scene()
    scene.text("hello")
    scene.reply(result)
    assert scene.card == [f"result.{result}", "queue.kept", "callback.offer"]
    assert (scene.notices, scene.promises) == ([], []), "one message says it all"


@pytest.mark.parametrize("status", [5, 6])
def test_a_callback_is_offered_after_a_request_that_ended_in_the_queue(status: int) -> None:
    scene = Scene()
    scene.queue_up()
    scene.push(201, requestId=REQUEST, requestStatus=status)
    assert scene.card == [f"status.{status}", "queue.kept", "callback.offer"]


def test_other_results_offer_no_callback() -> None:
    for result in (-4, -7, -9, 77):
        scene = Scene()
        scene.text("hello")
        scene.reply(result)
        assert "callback.offer" not in scene.card
        scene.call_back()  # it can be requested all the same
        assert scene.sent(101) == [ASK, ASK]


def test_the_offer_names_the_opening_time() -> None:
    scene = with_hours()
    scene.text("hello")
    scene.reply(CLOSED)
    opens = scene.now + (DAY + 9 * HOUR) * 1000
    assert scene.card == ["queue.closed", "queue.kept", "callback.offer"]
    assert scene.card_args == {"queue": 7, "opens": opens, "count": 1}


def test_other_results_out_of_hours_do_not_mention_the_opening() -> None:
    scene = with_hours()
    scene.text("hello")
    scene.reply(-7)
    assert scene.card == ["result.-7", "queue.kept"]


def test_callbacks_that_the_operator_switched_off() -> None:
    scene = Scene(Policy(callback=False))
    scene.text("hello")
    scene.reply(CLOSED)
    assert scene.card == ["result.-3", "queue.kept", "queue.later"]
    scene.call_back()
    assert scene.notices[-1] == "callback.off"
    assert scene.state.callback is None


def test_a_callback_promised_before_is_kept_when_switched_off() -> None:
    scene = wished(Scene())
    scene.policy = Policy(callback=False)
    scene.call_back()
    assert scene.promises == ["callback.promised"]


# --- the request for a callback -------------------------------------------------------------------


def test_a_callback_asks_again_when_the_queue_opens() -> None:
    scene = with_hours()
    scene.text("hello")
    scene.reply(CLOSED)
    scene.forget()
    scene.call_back()
    assert scene.card == ["queue.closed", "queue.kept", "callback.promised"]
    scene.forget()
    scene.later(DAY + 9 * HOUR - 1)
    assert scene.frames == []
    scene.later(MINUTE + 1)
    assert scene.sent(101) == [ASK]
    assert scene.effects[1:] == []  # nothing is shown of it yet
    number = scene.state.number
    scene.reply(requestId=REQUEST, queueLength=2)
    scene.reply()
    assert scene.texts == ["hello"]
    assert scene.cards == []
    scene.later(10)
    assert scene.cards == ["queue.position"]
    assert scene.state.number == number + 1
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.pings == ["chat.started"]
    assert scene.delivered == ["$1"]
    assert scene.state.callback is None


def test_vain_attempts_become_rarer_and_are_hidden() -> None:
    scene = wished(Scene(), NOBODY)
    asked = []
    for _ in range(7):
        due = deadline(scene.state, scene.policy)
        assert due is not None
        asked.append((due - scene.now) // 60_000)
        scene.later((due - scene.now) / 1000)
        scene.reply(NOBODY)
    assert asked == [5, 10, 20, 40, 60, 60, 60]
    assert [type(one).__name__ for one in scene.effects] == ["CallWebChat"] * 7


def test_an_attempt_that_ends_in_the_queue_at_once_is_hidden() -> None:
    scene = wished(Scene(), NOBODY)
    scene.later(5 * MINUTE)
    scene.reply(requestId=REQUEST, queueLength=2)
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=1)
    scene.later(2)
    scene.push(201, requestId=REQUEST, requestStatus=5)
    assert (scene.cards, scene.notices, scene.promises) == ([], [], [])
    assert scene.phase == "Idle"


def test_attempts_tell_nothing_of_an_outage() -> None:
    scene = wished(Scene(), NOBODY)
    scene.later(5 * MINUTE)
    scene.happen(LinkLost())
    scene.restored()
    assert scene.notices == []


@pytest.mark.parametrize("near", [True, False])
def test_new_opening_hours_bring_the_next_attempt_forward(near: bool) -> None:
    """The card no longer names the former opening, unless it has scrolled away."""
    scene = wished(with_hours())
    scene.later(0 if near else 2 * HOUR)
    scene.policy = Policy(queue_id=QueueId(7), ping_wait=0)
    scene.happen(Moved())
    assert scene.cards == ["result.-3"] * near
    scene.later(5 * MINUTE - 1)
    assert scene.frames == []
    scene.later(1)
    assert scene.sent(101) == [ASK]
    scene.forget()
    scene.happen(Moved())
    assert scene.effects == [], "it is being asked for"


def test_attempts_are_made_in_opening_hours_only() -> None:
    """On a holiday, when it should be open: attempts through the day, and the next one."""
    scene = wished(with_hours())
    moments: list[int] = []
    while len(moments) < 14:
        due = deadline(scene.state, scene.policy)
        assert due is not None
        scene.later((due - scene.now) / 1000)
        moments.append(scene.now // 60_000 % 1440)
        scene.reply(CLOSED)
    nine, evening = 9 * 60, 18 * 60
    assert all(nine <= moment < evening for moment in moments)
    assert moments[:3] == [nine, nine + 5, nine + 15]
    assert moments.count(nine) == 2


def test_on_a_holiday_the_card_does_not_go_on_naming_an_opening_that_has_passed() -> None:
    scene = with_hours()
    scene.text("hello")
    scene.reply(CLOSED)
    scene.call_back()
    assert scene.card == ["queue.closed", "queue.kept", "callback.promised"]
    number = scene.state.number
    scene.forget()
    scene.later(DAY + 9 * HOUR + MINUTE)
    assert scene.sent(101) == [ASK]
    scene.reply(CLOSED)
    assert scene.card == ["result.-3", "queue.kept", "callback.promised"]
    assert (scene.state.number, scene.pings, scene.notices) == (number, [], []), "edited silently"
    scene.forget()
    scene.later(5 * MINUTE)
    scene.reply(CLOSED)
    assert (scene.sent(101), scene.cards) == ([ASK], []), "once is enough"


def test_a_near_opening_comes_before_the_usual_pause() -> None:
    """At 08:57 on a Monday the opening counts, and pauses start short again after it."""
    scene = with_hours()
    scene.later(DAY + 8 * HOUR + 56 * MINUTE + 40)
    wished(scene)
    scene.later(3 * MINUTE + 20)
    assert scene.frames == [], "not all callers in the second in which it opens, and none before"
    scene.later(1 * MINUTE)
    assert scene.sent(101) == [ASK]
    scene.reply(CLOSED)
    scene.later(5 * MINUTE)
    assert scene.sent(101) == [ASK, ASK]


def test_no_attempt_is_made_in_a_paused_room() -> None:
    scene = wished(Scene())
    scene.policy = Policy(queue_id=QueueId(7), paused=True)
    scene.later(DAY)
    assert scene.frames == []
    scene.policy = Policy(queue_id=QueueId(7))
    scene.later(0)
    assert scene.sent(101) == [ASK]


def test_a_pause_does_not_extend_the_limit_of_a_callback() -> None:
    scene = wished(Scene())
    scene.policy = Policy(queue_id=QueueId(7), paused=True)
    scene.later(3 * DAY)
    assert scene.notices == ["callback.given_up"]


def test_a_callback_is_given_up_after_its_limit() -> None:
    scene = wished(Scene(), NOBODY)
    for _ in range(200):
        due = deadline(scene.state, scene.policy)
        if due is None:
            break
        scene.later((due - scene.now) / 1000)
        if scene.state.outstanding is not None:
            scene.reply(NOBODY)
    assert (scene.card, scene.notices) == (["callback.given_up"], ["callback.given_up"])
    assert scene.pings == ["callback.given_up"]
    assert scene.reported == {"$1": "undelivered.expired"}
    assert scene.state.callback is None


@pytest.mark.parametrize("by", [Scene.cancel, Scene.close])
def test_cancel_or_close_ends_a_callback(by: Callable[[Scene], object]) -> None:
    scene = wished(Scene())
    by(scene)
    assert scene.card == ["callback.cancelled", "queue.dropped"]
    assert scene.reported == {"$1": "queue.dropped"}
    scene.later(5 * DAY)
    assert scene.frames == []


def test_cancel_of_a_callback_without_a_kept_message() -> None:
    scene = Scene()
    scene.start()
    scene.reply(CLOSED)
    scene.call_back()
    scene.forget()
    scene.cancel()
    assert scene.card == ["callback.cancelled"]


def test_cancel_during_an_attempt() -> None:
    scene = wished(Scene())
    scene.later(5 * MINUTE)
    scene.cancel()
    scene.reply(requestId=REQUEST)
    assert scene.sent(102) == [{"type": 102, "requestId": REQUEST}]
    scene.reply()
    assert scene.phase == "Idle"
    assert scene.state.callback is None


def test_a_late_cancel_corrects_the_old_card_and_shows_no_hidden_attempt() -> None:
    scene = wished(Scene())
    number = scene.state.number
    while scene.phase != "Requesting":
        scene.later(NEAR_FOR / 1000)
        if scene.phase == "Requesting":
            break
        scene.reply(CLOSED)
    scene.forget()
    scene.cancel()
    scene.reply(requestId=REQUEST)
    scene.reply()
    assert (scene.phase, scene.cards) == ("Idle", ["callback.cancelled"])
    assert scene.state.number == number


def test_a_message_asks_at_once_and_the_callback_goes_on() -> None:
    scene = wished(Scene())
    scene.text("are you there?")
    assert scene.sent(101) == [ASK]
    assert scene.cards == [], "the card stands"
    scene.reply(CLOSED)
    assert scene.card == ["result.-3", "queue.kept", "callback.promised"]
    assert scene.card_args["count"] == 2
    assert (scene.notices, scene.promises) == ([], [])
    scene.forget()
    scene.later(10 * MINUTE)
    assert scene.sent(101) == [ASK]


def test_a_message_makes_a_hidden_request_visible() -> None:
    """So does the command `start`."""
    for standing, command in product((False, True), repeat=2):
        scene = wished(Scene())
        scene.later(5 * MINUTE)
        if standing:
            scene.reply(requestId=REQUEST, queueLength=2)
            scene.reply()
        if command:
            scene.start()
        else:
            scene.text("are you there?")
        assert scene.cards == ["queue.position" if standing else "queue.asking"]


def test_an_agent_who_accepts_an_attempt_at_once() -> None:
    scene = wished(Scene())
    scene.later(5 * MINUTE)
    number = scene.state.number
    scene.reply(requestId=REQUEST)
    scene.push(201, requestId=REQUEST, requestStatus=1)
    assert scene.cards == ["queue.accepted"]
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.pings == ["chat.started"]
    assert scene.cards == ["queue.accepted", "queue.joined"]
    assert scene.state.number == number + 1, "one card, edited"


def test_an_attempt_that_becomes_a_chat_without_a_queue() -> None:
    scene = wished(Scene())
    scene.later(5 * MINUTE)
    number = scene.state.number
    scene.reply(sessionId=SESSION)
    assert scene.cards == []
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.cards == ["queue.joined"]
    assert scene.state.number == number + 1


def test_an_agent_who_refuses_a_visible_attempt() -> None:
    scene = wished(Scene())
    scene.later(5 * MINUTE)
    scene.reply(requestId=REQUEST, queueLength=1)
    scene.later(10)
    scene.push(201, requestId=REQUEST, requestStatus=2)
    assert scene.card == ["status.2", "callback.promised"]
    assert scene.state.callback is not None


def test_a_permanent_refusal_ends_the_callback() -> None:
    scene = wished(Scene())
    number = scene.state.number
    scene.later(5 * MINUTE)
    scene.reply(-7)
    assert scene.card == ["result.-7", "queue.kept", "callback.hopeless"]
    assert scene.pings == ["result.-7"]
    vain = scene.state.vain
    assert vain is not None
    assert (vain.since, vain.kept) == (scene.now, 1)
    assert scene.state.number == number + 1, "where it is seen"
    assert scene.state.callback is None


@pytest.mark.parametrize("reason", [FailureReason.LOGIN_REFUSED, FailureReason.SIGN_REFUSED])
def test_a_refused_login_or_signature_ends_the_callback(reason: FailureReason) -> None:
    scene = wished(Scene())
    scene.later(5 * MINUTE)
    scene.fail(reason, code=-20)
    assert scene.card == [f"trouble.{reason}", "queue.kept", "callback.hopeless"]
    assert scene.state.callback is None


def test_an_attempt_during_an_outage_is_repeated_later() -> None:
    scene = wished(Scene())
    scene.later(5 * MINUTE)
    scene.fail(FailureReason.UNREACHABLE)
    assert scene.phase == "Idle"
    scene.later(10 * MINUTE)
    scene.cut()  # it may have arrived: this attempt is pursued
    scene.later(1)
    assert scene.phase == "Requesting"
    while scene.phase == "Requesting":
        scene.cut()
        scene.later(60)
    assert (scene.notices, scene.cards, scene.reported) == ([], [], {})
    assert scene.state.held
    assert scene.state.callback is not None


def test_an_outage_when_the_customer_writes_is_told() -> None:
    scene = wished(Scene())
    scene.text("are you there?")
    while scene.phase == "Requesting":
        scene.fail(FailureReason.UNREACHABLE)
        scene.later(60)
    assert scene.notices == ["trouble.unreachable"]
    assert scene.card == ["trouble.given_up", "queue.kept", "callback.promised"]
    assert scene.reported == {}


# --- one card for several messages ----------------------------------------------------------------


def test_further_messages_are_counted_on_the_same_card() -> None:
    scene = Scene()
    for count in range(1, NEAR_MESSAGES + 1):
        scene.text("hello?")
        scene.reply(CLOSED)
        assert scene.card_args["count"] == count
    assert scene.cards == ["queue.asking", *["result.-3"] * NEAR_MESSAGES]
    assert (scene.notices, scene.promises, scene.state.number) == ([], [], 1)
    scene.text("hello?")
    assert scene.state.number == 2, "the first one is no longer where people look"


@pytest.mark.parametrize(
    ("result", "later"), [(CLOSED, NEAR_FOR / 1000), (0, 0), (-32, 0)], ids=("old", "0", "-32")
)
def test_a_message_gets_a_new_card_if_the_old_one_is_outdated(result: int, later: float) -> None:
    scene = Scene()
    scene.text("one")
    scene.reply(result)
    scene.later(later)
    scene.text("two")
    assert (scene.state.number, scene.cards[-1]) == (2, "queue.asking")


def test_a_command_gets_its_own_card() -> None:
    scene = Scene()
    scene.text("one")
    scene.reply(NOBODY)
    scene.start()
    assert (scene.state.number, scene.cards[-1]) == (2, "queue.asking")
    assert scene.state.callback is None, "it offers no callback yet"


def test_a_request_that_succeeds_at_the_next_message_edits_the_card() -> None:
    scene = Scene()
    scene.text("one")
    scene.reply(NOBODY)
    scene.text("two")
    scene.reply(requestId=REQUEST, queueLength=2)
    assert (scene.state.number, scene.cards[-1]) == (1, "queue.position")
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert (scene.cards[-1], scene.state.vain) == ("queue.joined", None)


@pytest.mark.parametrize("news", [{}, {"queueLength": 0}, {"queueLength": 2}])
def test_the_card_shows_a_new_request_with_or_without_a_position(news: dict[str, object]) -> None:
    scene = Scene()
    scene.text("hello")
    scene.reply(NOBODY)
    scene.text("and more")
    scene.forget()
    scene.reply(requestId=REQUEST, **news)
    assert scene.cards == ["queue.position" if news.get("queueLength") else "queue.waiting"]


def test_an_answer_far_from_the_card_is_a_notice() -> None:
    """The card is edited too once its promise is cancelled or given up."""
    scene = Scene()
    scene.text("one")
    scene.reply(NOBODY)
    scene.later(NEAR_FOR / 1000)
    scene.forget()
    scene.call_back()
    assert (scene.cards, scene.promises) == ([], ["callback.promised"])
    scene.cancel()
    assert (scene.cards, scene.notices) == (["callback.cancelled"], ["callback.cancelled"])
    assert scene.promises[1:] == ["queue.dropped"]


@pytest.mark.parametrize("asking", [False, True])
def test_an_old_card_stops_promising_a_cancelled_callback(asking: bool) -> None:
    scene = wished(Scene())
    scene.later(NEAR_FOR / 1000)
    if not asking:
        scene.reply(NOBODY)
    scene.forget()
    scene.cancel()
    if asking:
        assert scene.cards == [], "what is asked quietly may still become a chat"
        scene.reply(NOBODY)
    assert (scene.card, scene.notices) == (["callback.cancelled"], ["callback.cancelled"])


@pytest.mark.parametrize("asking", [False, True])
def test_a_cancelled_callback_without_a_card(asking: bool) -> None:
    """As with rows of earlier versions, which do not note that a request ended in vain."""
    scene = wished(Scene())
    if asking:
        scene.later(5 * MINUTE)
    scene.state = msgspec.structs.replace(scene.state, vain=None)
    scene.forget()
    scene.cancel()
    if asking:
        scene.reply(NOBODY)
    assert (scene.cards, scene.notices) == ([], ["callback.cancelled"])


# --- the command at other moments ---------------------------------------------------------------


def test_callback_without_a_request_asks_at_once() -> None:
    """It becomes a callback only if no agent is there."""
    scene = Scene()
    scene.call_back()
    assert (scene.frames, scene.notices) == ([ASK], ["callback.noted"])
    scene.reply(NOBODY)
    assert scene.card == ["result.-5", "callback.promised"]
    scene.later(10 * MINUTE)
    assert len(scene.sent(101)) == 2


def test_callback_twice_changes_nothing() -> None:
    scene = wished(Scene())
    before = scene.state.callback
    scene.later(MINUTE)
    scene.call_back()
    assert scene.promises == ["callback.promised"]
    assert scene.state.callback == before


def test_callback_in_the_queue_is_noted() -> None:
    scene = Scene()
    scene.queue_up()
    scene.call_back()
    assert scene.notices == ["callback.noted"]
    scene.push(201, requestId=REQUEST, requestStatus=3)
    assert scene.card == ["status.3", "queue.kept", "callback.promised"]


def test_cancel_in_the_queue_ends_the_callback_too() -> None:
    """The card tells of both, once the queue is left."""
    scene = Scene()
    scene.queue_up()
    scene.call_back()
    scene.forget()
    scene.cancel()
    scene.reply(1)
    assert scene.card == ["queue.cancelled", "callback.cancelled", COUNTED]
    assert (scene.notices, scene.state.callback) == ([], None)


def test_a_callback_remains_if_webchat_lets_nobody_leave_the_queue() -> None:
    scene = Scene()
    scene.queue_up()
    scene.call_back()
    scene.cancel()
    scene.reply(-8)
    assert scene.notices == ["callback.noted", "cancel.refused"]
    assert callback_wanted(scene.state)


def test_callback_while_leaving_the_queue_is_refused() -> None:
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST)
    scene.cancel()
    scene.forget()
    scene.call_back()
    assert scene.notices == ["start.leaving"]
    assert scene.state.callback is None


def test_callback_in_a_chat_is_refused() -> None:
    scene = Scene()
    scene.begin()
    scene.forget()
    scene.call_back()
    assert scene.notices == ["start.already_chatting"]
    assert scene.state.callback is None


def test_whether_the_customer_sees_only_the_callback() -> None:
    """`unseen_callback` is the callback as long as no request of it is shown."""
    scene = Scene()
    assert unseen_callback(scene.state) is None
    scene = wished(scene)
    assert unseen_callback(scene.state) == scene.state.callback
    scene.later(5 * MINUTE)
    assert scene.phase == "Requesting"
    assert unseen_callback(scene.state) is not None
    scene.reply(requestId=REQUEST, queueLength=2)
    assert unseen_callback(scene.state) is not None
    scene.later(10)
    assert unseen_callback(scene.state) is None
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert unseen_callback(scene.state) is None


def test_a_promise_on_the_card_does_not_ping() -> None:
    scene = Scene()
    scene.text("hello")
    scene.reply(CLOSED)
    scene.call_back()
    assert scene.card == ["result.-3", "queue.kept", "callback.promised"]
    assert scene.pings == []


def test_closed_within_the_operators_hours_names_no_opening() -> None:
    scene = with_hours()
    scene.later(DAY + 10 * HOUR)
    scene.text("hello")
    scene.reply(CLOSED)
    assert scene.card[0] == "result.-3"


def test_a_cancel_while_the_bridge_asks_is_shown_on_the_near_card() -> None:
    scene = wished(Scene())
    scene.later(5 * MINUTE)
    scene.cancel()
    scene.reply(requestId=REQUEST)
    scene.reply()
    assert scene.card == ["callback.cancelled", COUNTED], "no queue was shown"
    assert scene.notices == []


def test_messages_for_a_callback_outlast_a_rating_that_nobody_takes() -> None:
    scene = Scene()
    scene.begin()
    scene.push(205, sessionId=SESSION)
    scene = wished(scene)
    scene.rate(5)
    for _ in range(40):
        if scene.state.outstanding is not None:
            scene.fail(FailureReason.UNREACHABLE)
        scene.later(MINUTE)
    assert "rating.failed" in scene.notices
    assert scene.reported == {}
    assert len(scene.state.held) == 1
