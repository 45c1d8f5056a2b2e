"""The queue card and the pings."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.machine import deadline
from bridge.conversation.model import AgentsCame, Conversation, Moved, Queued, Relay
from bridge.conversation.turn import Policy
from bridge.ids import QueueId
from tests.support.scene import JUN, MEI, REQUEST, SESSION, Scene

MINUTE, DAY = 60, 86_400
WAIT = {"type": 1, "content": {"content": "wait", "extra": ""}}


# --- the card -----------------------------------------------------------------------------------


def test_after_a_move_the_card_and_the_agents_are_shown_again() -> None:
    scene = Scene()
    scene.happen(Moved())
    assert scene.effects == []
    scene.start()
    scene.reply(requestId=REQUEST, queueLength=4)
    scene.forget()
    scene.happen(Moved())
    assert scene.cards == ["queue.position"]
    for agents in ([MEI], []):
        scene.push(202, sessionId=SESSION + len(agents), users=agents)
        scene.forget()
        scene.happen(Moved())
        came = [one.agents for one in scene.effects if isinstance(one, AgentsCame)]
        assert scene.cards == ["queue.joined" if agents else "queue.joined_unnamed"]
        assert [one[0].name for one in came] == [agent["name"] for agent in agents]


def test_after_a_move_a_customer_leaving_the_queue_is_told_so() -> None:
    scene = Scene()
    scene.start()
    scene.cancel()
    for _ in range(2):
        scene.forget()
        scene.happen(Moved())
        assert scene.cards == ["queue.leaving"]
        scene.reply(requestId=REQUEST)
    assert scene.cards[-1] == "queue.cancelled"


def test_after_a_move_an_unwanted_chat_is_not_shown() -> None:
    """The customer left the queue, and an agent came nevertheless."""
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST, queueLength=4)
    scene.cancel()
    scene.push(202, sessionId=SESSION, users=[MEI])
    scene.forget()
    scene.happen(Moved())
    assert scene.effects == []


def test_each_new_position_is_stored_with_its_history() -> None:
    scene = Scene()
    scene.start()
    began = scene.now
    scene.later(5)
    scene.reply(requestId=REQUEST, queueLength=4)
    scene.later(30)
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=4)
    scene.later(10)
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=2)
    assert scene.cards == ["queue.asking", "queue.position", "queue.position"]
    assert scene.card_args == {"queue": 7, "position": 2}
    place = scene.state.phase
    assert isinstance(place, Queued)
    assert (place.since, place.first_position, place.first_at) == (began, 4, began + 5_000)
    assert (place.position, place.moved_at) == (2, began + 45_000)


def test_a_standing_card_is_updated() -> None:
    """Once a minute, and after ten minutes every five."""
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST, queueLength=4)
    scene.forget()
    scene.later(9 * MINUTE + 59)
    assert len(scene.cards) == 9
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=4)  # a sign of life
    for seconds, cards in ((1, 10), (4 * MINUTE + 59, 10), (1, 11), (4 * MINUTE + 59, 11)):
        scene.later(seconds)
        assert len(scene.cards) == cards


def test_a_queue_without_positions() -> None:
    """0 is no position (trap T4)."""
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST, queueLength=0)
    assert scene.cards == ["queue.asking"]
    scene.later(MINUTE)
    assert scene.cards == ["queue.asking", "queue.waiting"]
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=2)
    assert isinstance(scene.state.phase, Queued)
    assert (scene.card_args["position"], scene.state.phase.first_position) == (2, 2)


def test_the_card_is_not_updated_after_acceptance_or_a_cancel() -> None:
    for leave in (False, True):
        scene = Scene(Policy(accepted_wait=DAY * 1000, cancel_wait=DAY * 1000))
        scene.start()
        scene.reply(requestId=REQUEST, queueLength=4)
        if leave:
            scene.cancel()
        else:
            scene.push(201, requestId=REQUEST, requestStatus=1)
        scene.forget()
        scene.later(10 * MINUTE)
        assert "queue.position" not in scene.cards


# --- pings --------------------------------------------------------------------------------------


def test_you_are_next_pings_once() -> None:
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST, queueLength=3)
    for place in (2, 1, 2, 1):
        scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=place)
    assert scene.pings == ["queue.next"]
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.pings == ["queue.next", "chat.started"]


def test_a_customer_first_at_once_is_not_pinged() -> None:
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST, queueLength=1)
    assert scene.pings == []


@pytest.mark.parametrize("status", [2, 3, 4, 5, 6])
def test_the_end_of_a_long_wait_pings(status: int) -> None:
    """Else the customer, who has put the phone away, would go on waiting for nobody."""
    scene = Scene()
    scene.queue_up()
    scene.later(MINUTE)
    scene.push(201, requestId=REQUEST, requestStatus=status)
    assert scene.pings == [f"status.{status}"]
    scene.text("and now?")
    scene.reply(-5)
    assert scene.pings == [f"status.{status}"], "the customer is here"


@pytest.mark.parametrize("cancelled", [False, True])
def test_the_end_of_a_short_or_cancelled_wait_does_not_ping(cancelled: bool) -> None:
    scene = Scene()
    scene.queue_up()
    scene.later(MINUTE if cancelled else MINUTE - 1)
    if cancelled:
        scene.cancel()
    scene.push(201, requestId=REQUEST, requestStatus=3)
    assert scene.pings == []


def test_a_robot_does_not_ping_but_the_person_after_it_does() -> None:
    scene = Scene()
    scene.start()
    scene.reply(sessionId=SESSION, robotType=3)
    assert scene.pings == []
    scene.push(204, sessionId=SESSION, agents=[MEI])
    assert scene.pings == ["chat.agent_joined"]


@pytest.mark.parametrize("kind", [202, 204])
def test_an_agent_who_is_handed_a_chat_at_once_is_told_once(kind: int) -> None:
    """The line that she has taken over is the news that an agent is there."""
    scene = Scene(Policy(queue_id=QueueId(7)))
    scene.begin()
    scene.later(3)
    scene.push(kind, sessionId=SESSION, agents=[JUN])
    scene.later(MINUTE)
    assert scene.notices == scene.pings == ["chat.transferred"]


def test_a_queue_phase_of_an_earlier_version_has_a_deadline() -> None:
    old = b'{"is":"Conversation","phase":{"is":"Queued","queue_id":1,"since":5,"position":2}}'
    state = msgspec.json.decode(old, type=Conversation)
    assert isinstance(state.phase, Queued)
    assert deadline(state, Policy()) == 5 + 60_000


def test_an_unknown_status_is_named_on_the_card() -> None:
    scene = Scene()
    scene.queue_up()
    scene.push(201, requestId=REQUEST, requestStatus=9)
    assert scene.card[0] == "status.other"
    assert scene.card_args["code"] == 9


@pytest.mark.parametrize("count", [1, 2])
def test_messages_of_a_request_that_webchat_cancelled_are_all_given_up(count: int) -> None:
    """Also the one under way: no agent will read it."""
    scene = Scene()
    events = [scene.queue_up(), *(scene.text(f"{number}") for number in range(1, count))]
    scene.push(201, requestId=REQUEST, requestStatus=7)
    if count > 1:
        scene.reply()
    assert list(scene.reported) == events
    assert scene.state.held == ()


def test_close_is_confirmed_soon_although_webchat_does_not_answer() -> None:
    """A link that was cut is noticed only after many seconds."""
    scene = Scene()
    scene.begin()
    scene.forget()
    scene.close()
    scene.later(0.9)
    assert scene.notices == []
    scene.later(0.2)
    assert scene.notices == ["close.pending"]
    scene.later(10)
    scene.reply()
    assert scene.notices == ["close.pending", "chat.ended_by_you"]


@pytest.mark.parametrize("told", ["told_away", "told_trouble"])
def test_close_is_not_confirmed_behind_news_of_an_outage(told: str) -> None:
    scene = Scene()
    scene.begin()
    scene.close()
    scene.state = msgspec.structs.replace(scene.state, **{told: True})
    scene.forget()
    scene.later(2)
    assert scene.notices == []


def test_a_close_that_webchat_refuses_is_no_longer_pending() -> None:
    scene = Scene()
    scene.begin()
    scene.close()
    scene.forget()
    scene.reply(-8)
    scene.later(5)
    assert scene.notices == ["close.refused"]


def test_an_agent_who_writes_after_close_does_not_hide_that_it_is_pending() -> None:
    scene = Scene(Policy(queue_id=QueueId(7), ping_wait=5_000))
    scene.begin()
    scene.close()
    scene.push(210, sessionId=SESSION, agentId="K00017", msg=WAIT)
    relayed = [one for one in scene.effects if isinstance(one, Relay)]
    assert [one.ping for one in relayed] == [False]
    scene.later(2)
    assert scene.notices == ["close.pending"]


def test_a_cancel_is_shown_soon_although_webchat_does_not_answer() -> None:
    """The card would go on to say that the customer waits."""
    scene = Scene()
    scene.queue_up()
    scene.later(5)
    scene.forget()
    scene.cancel()
    scene.later(0.9)
    assert scene.cards == []
    scene.later(10)
    assert scene.cards == ["queue.leaving"]
    scene.cancel()
    scene.later(5)
    scene.reply()
    assert scene.cards == ["queue.leaving", "queue.cancelled"]


def test_a_cancel_that_webchat_answers_is_shown_once() -> None:
    scene = Scene()
    scene.queue_up()
    scene.forget()
    scene.cancel()
    scene.reply(-8)
    scene.later(5)
    assert scene.cards == ["queue.position"]


def test_the_cancel_of_a_request_that_was_not_queued_yet_is_shown_once() -> None:
    scene = Scene()
    scene.start()
    scene.forget()
    scene.cancel()
    scene.reply(requestId=REQUEST, queueLength=3)
    scene.later(10)
    assert scene.cards == ["queue.leaving"]
