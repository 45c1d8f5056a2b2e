"""A queue request after a cut link: lost, or its wanted agent (table rows 21 and 30)."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.machine import wants_link
from bridge.conversation.model import CallWebChat, Card, Conversation, Queued, Reported
from bridge.conversation.turn import Policy
from bridge.ids import QueueId, RequestId
from bridge.webchat.codes import FailureReason
from bridge.webchat.frames import SendPreMessage
from tests.support.scene import ASK, MEI, REQUEST, SESSION, Json, Scene, message


def answer_all(scene: Scene) -> None:
    while scene.state.outstanding is not None:
        scene.reply()


def over_a_restart(scene: Scene) -> None:
    """Replace the state by its stored form."""
    scene.state = msgspec.json.decode(msgspec.json.encode(scene.state), type=Conversation)


ANSWERS: list[Json] = [
    {"result": -1, "requestId": REQUEST},
    {"result": -1},
    {"result": 1},
]
"""Replies to 101 of a server that continues the old request, or names none."""


@pytest.mark.parametrize("told", ANSWERS)
def test_a_request_dropped_after_an_outage_is_made_once_more(told: dict[str, object]) -> None:
    """Table row 21: the server said "still waiting", and finds out later that it is not."""
    scene = Scene()
    event = scene.queue_up("one")
    scene.restored()
    scene.reply(**told)
    answer_all(scene)
    over_a_restart(scene)
    scene.forget()
    scene.push(201, requestId=REQUEST, requestStatus=4)
    assert scene.frames == [ASK]
    scene.reply(requestId=9002, queueLength=2)
    assert scene.last == {"type": 111, "requestId": 9002, "content": "one"}
    scene.reply()
    assert scene.notices == []
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.delivered == [event]
    assert scene.texts == ["one"], "once, not twice"


@pytest.mark.parametrize("told", ANSWERS)
def test_a_request_dropped_twice_is_over(told: dict[str, object]) -> None:
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST)
    scene.restored()
    scene.reply(**told)
    scene.push(201, requestId=REQUEST, requestStatus=4)
    scene.reply(**told)
    scene.push(201, requestId=told.get("requestId", 9002), requestStatus=4)
    assert scene.phase == "Idle"
    assert scene.card == ["status.4"]
    scene.later(3600)
    assert len(scene.sent(101)) == 3


def test_late_repeats_of_the_drop_are_ignored() -> None:
    scene = Scene()
    scene.queue_up("one")
    scene.restored()
    scene.reply(-1)
    scene.push(201, requestId=REQUEST, requestStatus=4)
    scene.reply(-1)  # the current request is another one, which its 201 names
    scene.push(201, requestId=REQUEST, requestStatus=4)
    assert scene.phase == "Queued"
    scene.push(201, requestId=9002, requestStatus=0, queueLength=1)
    assert scene.last == {"type": 111, "requestId": 9002, "content": "one"}


def test_a_request_dropped_without_an_outage_is_over() -> None:
    scene = Scene()
    scene.queue_up("one")
    scene.push(201, requestId=REQUEST, requestStatus=4)
    assert scene.phase == "Idle"


@pytest.mark.parametrize("status", [2, 3, 5, 6])
def test_other_ends_of_a_request_after_an_outage_are_final(status: int) -> None:
    scene = Scene()
    scene.queue_up("one")
    scene.restored()
    scene.reply(-1)
    scene.push(201, requestId=REQUEST, requestStatus=status)
    assert scene.phase == "Idle"
    assert scene.card[0] == f"status.{status}"


def test_a_position_pushed_while_asking_again_is_shown() -> None:
    scene = Scene()
    scene.queue_up("one")
    scene.restored()
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=2)
    assert (scene.card, scene.card_args) == (["queue.position"], {"queue": 7, "position": 2})


def test_a_request_made_after_the_outage_ends_as_any_other() -> None:
    scene = Scene()
    scene.queue_up("one")
    scene.restored()
    scene.reply(requestId=9002)
    scene.push(201, requestId=9002, requestStatus=4)
    assert scene.phase == "Idle"


def test_a_cancelled_request_is_not_made_again() -> None:
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST)
    scene.restored()
    scene.reply(-1)
    scene.cancel()
    scene.push(201, requestId=REQUEST, requestStatus=4)
    assert scene.phase == "Idle"
    assert scene.cards[-1] == "queue.cancelled"


@pytest.mark.parametrize("accepted", [False, True])
def test_a_request_dropped_before_it_was_asked_after_is_made_again(*, accepted: bool) -> None:
    """A pre-message is under way as the link is restored, so 101 is not sent yet."""
    scene = Scene()
    scene.text("one")
    scene.reply(requestId=REQUEST)
    scene.restored()
    if accepted:
        scene.push(201, requestId=REQUEST, requestStatus=1)
    scene.push(201, requestId=REQUEST, requestStatus=4)
    assert isinstance(scene.state.phase, Queued)
    assert not scene.state.phase.accepted
    scene.reply(-10)
    assert scene.sent(101) == [ASK, ASK]


@pytest.mark.parametrize("status", [2, 4])
def test_messages_of_an_ended_request_are_given_up_in_the_order_typed(status: int) -> None:
    """Also a pre-message under way: its answer comes after the customer has left the queue."""
    scene = Scene()
    typed = [scene.queue_up("one"), scene.text("two")]
    scene.restored()
    scene.push(201, requestId=REQUEST, requestStatus=status)
    typed.append(scene.text("three"))
    scene.cancel()
    answer_all(scene)
    scene.later(3600)
    (*_, card) = (one for one in scene.effects if isinstance(one, Card))
    assert (card.key, [*card.dropped]) == ("queue.cancelled", typed)


def test_a_message_of_an_ended_request_is_given_up_once() -> None:
    scene = Scene(Policy(start_on_message=False))
    scene.start()
    scene.reply(requestId=REQUEST)
    event = scene.text("one")
    scene.push(201, requestId=REQUEST, requestStatus=5)
    scene.cancel()
    scene.cancel()
    scene.reply()
    assert [one.event_id for one in scene.effects if isinstance(one, Reported)] == [event]


# --- the wanted agent ---------------------------------------------------------------------------

WANTED = {**ASK, "toUserId": "K00017"}


def waiting_for_mei() -> Scene:
    scene = Scene(Policy(queue_id=QueueId(7), to_agent="K00017"))
    scene.start()
    scene.reply(requestId=REQUEST, queueLength=1)
    return scene


def test_the_wanted_agent_is_requested_after_a_cut_too() -> None:
    """Table row 30: otherwise any agent would get the customer."""
    scene = waiting_for_mei()
    scene.restored()
    assert scene.last == WANTED
    scene.reply(-1)
    scene.later(600)
    assert scene.last == WANTED, "also when a silent request is asked after"


def test_any_agent_is_requested_if_the_wanted_one_has_gone() -> None:
    """-9 (trap T38): any agent, from then on."""
    scene = waiting_for_mei()
    scene.restored()
    scene.reply(-9)
    assert scene.sent(101) == [WANTED, WANTED, ASK]
    scene.reply(requestId=9002)
    scene.restored()
    assert scene.last == ASK
    scene.reply(-9)
    assert scene.card == ["result.-9"]


def test_a_request_for_any_agent_stays_one_after_a_cut() -> None:
    scene = Scene(Policy(queue_id=QueueId(7), to_agent="K00017"))
    scene.start()
    scene.reply(-9)
    scene.reply(requestId=REQUEST)
    over_a_restart(scene)
    scene.restored()
    assert scene.sent(101) == [WANTED, ASK, ASK]


def test_a_queue_phase_of_an_earlier_version_has_defaults() -> None:
    row = b'{"is":"Queued","queue_id":7,"since":1,"request_id":9001}'
    place = msgspec.json.decode(row, type=Queued)
    assert (place.cut, place.any_agent) == (False, False)


def test_a_request_given_up_before_it_was_written_is_not_sent() -> None:
    """The customer leaves while it waits for the link, then writes: one 101 serves both."""
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST)
    scene.restored()
    scene.cancel()
    scene.later(20)
    scene.text("are you there?")
    former = scene.outstanding
    scene.forget()
    scene.fail(FailureReason.OVERTAKEN)
    assert scene.frames == [ASK]
    assert (former.moot, scene.outstanding.moot) == (True, False)
    assert (scene.notices, scene.state.failures) == ([], 0)


# --- accepted during the cut, by a server that continues the session ----------------------------

CONTINUED: Json = {"sessionId": SESSION, "users": [MEI], "continueLastSession": True}


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"requestId": 9002, "queueLength": 0, "continueLastSession": True},
        {"requestId": REQUEST, "queueLength": 0, "continueLastSession": "true"},
    ],
)
def test_a_continued_session_has_the_pre_messages(told: Json) -> None:
    """Reference 1.3, "continued": 101 finds the session that began during the outage."""
    scene = Scene()
    event = scene.queue_up("one")
    scene.restored()
    scene.reply(**told)
    over_a_restart(scene)
    later = scene.text("two")
    scene.push(202, **CONTINUED)
    answer_all(scene)
    assert scene.phase == "Chatting"
    assert scene.texts == ["one", "two"], "once, not twice"
    assert scene.delivered == [event, later]
    assert scene.cards[-1] == "queue.joined"


@pytest.mark.parametrize("answered", [0, 1])
def test_a_continued_session_has_the_pre_message_that_is_under_way_again(answered: int) -> None:
    """A receipt for a later one would say that this has arrived, too; `answered`: how many are."""
    scene = Scene()
    events = [scene.queue_up("one"), scene.text("two"), scene.text("three")]
    scene.reply()
    scene.reply()
    scene.restored()
    scene.reply(requestId=9002)
    for _ in range(answered):
        scene.reply()
    assert scene.outstanding.what == SendPreMessage(RequestId(9002), ["one", "two"][answered])
    scene.push(202, **CONTINUED)
    assert scene.delivered == events
    scene.reply(-11)
    assert (scene.delivered, scene.state.held) == (events, ())
    assert not [one for one in scene.effects if isinstance(one, Reported)]
    assert scene.texts.count("three") == 1


def test_a_new_session_after_the_outage_gets_the_pre_messages() -> None:
    scene = Scene()
    event = scene.queue_up("one")
    scene.restored()
    scene.reply()
    scene.push(202, sessionId=SESSION, users=[MEI], continueLastSession=False)
    answer_all(scene)
    assert (scene.texts, scene.delivered) == (["one", "one"], [event])


def test_a_dropped_request_was_accepted_by_no_agent() -> None:
    scene = Scene()
    scene.queue_up("one")
    scene.restored()
    scene.reply()
    scene.push(201, requestId=9002, requestStatus=0, queueLength=1)
    scene.restored()
    answer_all(scene)
    scene.push(201, requestId=9002, requestStatus=4)
    scene.reply()
    scene.push(202, **CONTINUED)
    answer_all(scene)
    assert scene.texts[-1] == "one"


def test_a_continued_session_that_does_not_come_is_reported() -> None:
    scene = Scene()
    scene.queue_up("one")
    scene.later(60)
    scene.restored()
    scene.text("two")
    scene.reply(continueLastSession=True)
    assert scene.phase == "Requesting"
    scene.later(10)
    assert scene.card[0] == "trouble.other_chat"
    assert len(scene.sent(101)) == 2


def test_a_pre_message_of_unknown_fate_is_marked_when_the_chat_gets_it() -> None:
    """An agent accepts while its answer is lost: whether she has it, nobody can know."""
    scene = Scene()
    event = scene.text("one")
    scene.reply(requestId=REQUEST)
    scene.cut()
    scene.reply(-10)
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.last == message("one")
    _, *calls = (call for call in scene.calls if isinstance(call, CallWebChat))
    assert [call.repeat for call in calls] == [False, True, True]
    assert len({(call.call_id, call.event_id) for call in calls}) == 1
    scene.reply()
    assert scene.delivered == [event]


def test_a_session_that_no_frame_names_begins_with_its_agents_words() -> None:
    """-2 of a server of 2016 after an outage: without a link she would speak to nobody."""
    scene = Scene()
    event = scene.queue_up("one")
    scene.restored()
    scene.reply(-2)
    scene.later(20 * 60)
    assert scene.card[0] == "trouble.other_chat"
    assert wants_link(scene.state)
    hello = {"type": 1, "content": "Hello"}
    scene.push(210, sessionId=SESSION, agentId="K00017", msg=hello)
    assert (scene.phase, scene.card) == ("Chatting", ["queue.joined_unnamed"])
    scene.text("two")
    assert (scene.last, scene.delivered) == (message("two"), [event])
    scene.push(204, sessionId=SESSION, agents=[MEI])
    assert (scene.card, scene.card_args) == (["queue.joined"], {"names": ("Mei",)})


def test_a_session_that_stays_silent_is_no_longer_awaited() -> None:
    scene = Scene()
    scene.queue_up("one")
    scene.restored()
    scene.reply(-2)
    scene.later(5 + scene.policy.hold / 1000)
    assert (wants_link(scene.state), scene.phase) == (False, "Idle")
    assert scene.state.recall is None
