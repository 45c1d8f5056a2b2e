"""Replies of WebChat."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.machine import deadline
from bridge.conversation.model import (
    CallFailed,
    CallWebChat,
    Chatting,
    Consulted,
    CustomerText,
    LinkRestored,
    Outstanding,
    Queued,
    Replied,
    Said,
    Uploaded,
    UploadMedia,
)
from bridge.conversation.turn import Policy
from bridge.ids import CallId, EventId, RequestId
from bridge.webchat.codes import FailureReason, FrameType
from bridge.webchat.frames import Logout, Reply
from tests.support.scene import JUN, MEI, REQUEST, SESSION, Scene


def test_an_answer_to_another_call_changes_nothing() -> None:
    scene = Scene()
    scene.start()
    before = scene.state
    scene.happen(Replied(CallId(999), Reply(FrameType.REQUEST_CHAT, 1)))
    scene.happen(Uploaded(CallId(999), "http://h/a"))
    scene.happen(Uploaded(scene.outstanding.call_id, "http://h/a"))
    assert scene.state == before


def test_an_outcome_without_an_outstanding_call_changes_nothing() -> None:
    """It may come again after a crash (design, recovery)."""
    for happened in (
        Replied(CallId(1), Reply(FrameType.SEND_MESSAGE, 1)),
        Uploaded(CallId(1), "http://h/a"),
        CallFailed(CallId(1), FailureReason.UNREACHABLE),
        Consulted(EventId("$1"), note="try turning it on"),
    ):
        scene = Scene()
        scene.begin()
        scene.forget()
        before = scene.state
        scene.happen(happened)
        assert (scene.state, scene.effects) == (before, [])


def test_a_reply_to_an_upload_changes_nothing() -> None:
    scene = Scene()
    scene.begin()
    scene.image()
    before = scene.state
    scene.happen(Replied(scene.outstanding.call_id, Reply(FrameType.SEND_MESSAGE, 1)))
    scene.happen(Uploaded(CallId(999), "http://h/a"))
    assert scene.state == before


def test_a_call_of_another_version_is_settled() -> None:
    scene = Scene()
    outstanding = Outstanding(CallId(1), Logout())
    scene.state = msgspec.structs.replace(scene.state, outstanding=outstanding, next_call=2)
    scene.reply()
    assert scene.state.outstanding is None
    assert scene.effects == []


@pytest.mark.parametrize(("code", "key"), [(-8, "result.-8"), (77, "result.other")])
def test_a_refused_request_is_explained(code: int, key: str) -> None:
    scene = Scene()
    scene.start()
    scene.reply(code)
    assert (scene.card, scene.notices) == ([key], [])


def test_a_permanent_session_begins_with_the_reply() -> None:
    scene = Scene()
    scene.start()
    scene.reply(sessionId=SESSION, perm=1, agentId="K00017", agentName="Mei")
    assert scene.ghosts == {"K00017"}


@pytest.mark.parametrize("told", [{"result": 1, "perm": 1}, {"result": -2}])
def test_a_session_lost_once_is_not_adopted_again(told: dict[str, object]) -> None:
    scene = Scene()
    scene.begin()
    scene.text("one")
    scene.reply(-11)
    scene.reply(**told, sessionId=SESSION)
    scene.later(60)
    assert scene.card == ["trouble.other_chat", "queue.kept"]
    assert len(scene.sent(110)) == 1


def test_a_chat_that_the_server_is_still_ending_is_no_other_chat() -> None:
    """A server may push the 205 before it forgets the session: 101 is sent again for 3 s."""
    scene = Scene()
    scene.begin()
    scene.push(205, sessionId=SESSION)
    scene.text("one more thing")
    scene.reply(-2)
    scene.later(1)
    scene.reply(-2)
    scene.later(2)
    scene.reply(requestId=REQUEST, queueLength=1)
    scene.reply()
    assert scene.last["type"] == 111
    assert "trouble.other_chat" not in scene.cards
    scene.push(202, sessionId=SESSION + 1, agents=[MEI])
    assert len(scene.sent(101)) == 4


@pytest.mark.parametrize("seconds", [0, 60])
def test_a_chat_that_the_server_does_not_end_is_reported(seconds: int) -> None:
    scene = Scene()
    scene.begin()
    scene.push(205, sessionId=SESSION)
    scene.later(seconds)
    scene.text("one more thing")
    for wait in (1, 2) if seconds == 0 else ():
        scene.reply(-2)
        scene.later(wait)
    scene.reply(-2)
    scene.later(5)
    assert scene.card == ["trouble.other_chat", "queue.kept"]


@pytest.mark.parametrize("named", [{}, {"requestId": REQUEST}])
def test_a_request_that_the_server_is_still_cancelling_is_not_the_new_one(
    named: dict[str, object],
) -> None:
    """Else the customer would wait ten minutes for news of a request that is gone."""
    scene = Scene()
    scene.queue_up("hello")
    scene.cancel()
    scene.reply()
    scene.text("I changed my mind")
    scene.reply(-1, **named)
    scene.push(201, requestId=REQUEST, requestStatus=7)
    scene.later(1)
    scene.reply(requestId=REQUEST + 1, queueLength=1)
    assert scene.last["type"] == 111
    assert scene.last["requestId"] == REQUEST + 1


def test_a_cancel_ends_a_request_that_the_server_refuses_over_an_earlier_one() -> None:
    scene = Scene()
    scene.queue_up("hello")
    scene.cancel()
    scene.reply()
    scene.text("I changed my mind")
    scene.cancel()
    scene.reply(-1, requestId=REQUEST + 1)
    assert scene.last["type"] == 102


def test_the_existing_session_named_by_the_reply_is_adopted() -> None:
    scene = Scene()
    scene.start()
    scene.reply(-2, sessionId=SESSION)
    assert isinstance(scene.state.phase, Chatting)
    assert scene.state.phase.session_id == SESSION


def test_any_agent_is_requested_if_the_wanted_one_is_away() -> None:
    scene = Scene(Policy(to_agent="K00017"))
    scene.start()
    scene.reply(-9)
    assert "toUserId" not in scene.last
    scene.reply(-9)
    assert scene.card == ["result.-9"]


def test_a_request_that_still_stands_keeps_its_pre_messages() -> None:
    scene = Scene()
    event = scene.queue_up("one")
    scene.restored()
    scene.reply(-1)
    assert isinstance(scene.state.phase, Queued)
    assert scene.state.phase.request_id == REQUEST
    assert [piece.event_id for piece in scene.state.phase.pre_sent] == [event]


def test_a_new_request_gets_the_pre_messages_of_the_former() -> None:
    scene = Scene()
    scene.queue_up("one")
    scene.restored()
    scene.reply(requestId=9002)
    assert scene.last == {"type": 111, "requestId": 9002, "content": "one"}


def test_a_pre_message_refused_after_the_chat_began_is_sent_there() -> None:
    scene = Scene()
    scene.text("one")
    scene.reply(requestId=REQUEST)
    scene.push(202, sessionId=SESSION, agents=[MEI])
    scene.reply(-10)
    assert scene.texts == ["one", "one"]


def test_a_refused_request_that_was_cancelled_needs_no_explanation() -> None:
    scene = Scene()
    scene.start()
    scene.cancel()
    scene.reply(-5)
    assert scene.notices == []
    assert scene.cards[-1] == "queue.cancelled"


def test_a_late_reply_is_not_taken_for_the_reply_to_the_next_request() -> None:
    scene = Scene()
    scene.start()
    scene.push(202, sessionId=SESSION, agents=[MEI])
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.text("one")
    scene.reply(requestId=REQUEST)
    assert scene.phase == "Requesting"
    assert len(scene.sent(101)) == 2


def test_a_reply_after_the_end_of_the_queue_changes_nothing() -> None:
    scene = Scene()
    scene.start()
    scene.push(201, requestId=REQUEST, requestStatus=5)
    scene.reply(requestId=REQUEST)
    assert scene.phase == "Idle"


def test_a_queue_request_that_turns_out_to_be_a_session() -> None:
    """On asking again with 101; the agent has the 111."""
    scene = Scene()
    event = scene.queue_up("one")
    scene.restored()
    scene.reply(sessionId=SESSION)
    assert scene.delivered == [event]
    assert scene.phase == "Requesting"


def test_an_accepted_request_stays_accepted_when_its_reply_comes_late() -> None:
    scene = Scene()
    scene.start()
    scene.push(201, requestId=REQUEST, requestStatus=1)
    scene.reply(requestId=REQUEST)
    assert isinstance(scene.state.phase, Queued)
    assert scene.state.phase.accepted


def test_a_cancelled_request_that_still_exists_is_continued() -> None:
    scene = Scene()
    scene.start()
    scene.reply(requestId=REQUEST)
    scene.cancel()
    scene.fail(FailureReason.UNREACHABLE)
    scene.later(1)
    scene.fail(FailureReason.UNREACHABLE)
    scene.later(2)
    scene.later(17)  # the cancel ends in the bridge only
    scene.fail(FailureReason.UNREACHABLE)
    assert scene.phase == "Idle"
    scene.start()
    scene.reply(-1, requestId=REQUEST)
    scene.forget()
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=4)
    assert scene.cards == ["queue.position"]


def test_a_refused_cancel_leaves_the_request_as_it_was() -> None:
    scene = Scene()
    scene.queue_up("one")
    scene.cancel()
    scene.reply(-8)
    assert scene.notices == ["cancel.refused"]
    scene.later(scene.policy.cancel_wait / 1000 + 1)
    assert scene.phase == "Queued"
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.delivered == ["$1"]


def test_a_cancel_of_a_vanished_request_succeeds() -> None:
    scene = Scene()
    event = scene.queue_up("one")
    scene.cancel()
    scene.reply(-10)
    assert scene.phase == "Queued", "an agent may just have accepted"
    assert len(scene.sent(102)) == 1
    scene.later(5)
    assert (scene.phase, scene.card) == ("Idle", ["queue.cancelled", "queue.dropped"])
    assert scene.reported == {event: "queue.dropped"}
    assert scene.notices == []


@pytest.mark.parametrize("wait", [0, 4])
def test_a_cancel_that_an_acceptance_overtook_closes_the_chat(wait: int) -> None:
    """WebChat forgets an accepted request before its 202 comes."""
    scene = Scene()
    scene.queue_up("one")
    scene.cancel()
    scene.reply(-10)
    scene.later(wait)
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.last == {"type": 103, "sessionId": SESSION}
    scene.reply()
    assert scene.phase == "Ended"
    assert scene.card == ["queue.cancelled"]
    assert scene.ghosts == set()
    assert scene.notices == []


def test_late_news_of_a_vanished_request_does_not_end_the_next_one() -> None:
    scene = Scene()
    scene.queue_up("one")
    scene.cancel()
    scene.reply(-10)
    scene.text("two")
    scene.later(5)
    assert scene.phase == "Requesting"
    scene.push(201, requestId=REQUEST, requestStatus=7)
    assert scene.phase == "Requesting"
    scene.reply(requestId=REQUEST + 1)
    assert scene.phase == "Queued"


def test_a_vanished_request_that_is_cancelled_is_not_made_anew() -> None:
    """The link had been lost: the request would have been asked after."""
    scene = Scene()
    scene.queue_up("one")
    scene.cancel()
    scene.happen(LinkRestored())
    scene.reply(-10)
    scene.later(5)
    assert scene.phase == "Idle"
    assert len(scene.sent(101)) == 1


def test_a_cancel_reply_for_another_request_cancels_nothing() -> None:
    """The queue has assigned another request id meanwhile."""
    scene = Scene()
    scene.queue_up("one")
    scene.cancel()
    phase = scene.state.phase
    assert isinstance(phase, Queued)
    other = msgspec.structs.replace(phase, request_id=RequestId(REQUEST + 1))
    scene.state = msgspec.structs.replace(scene.state, phase=other)
    scene.reply()
    assert scene.phase == "Queued"


def test_a_refused_close_leaves_the_chat() -> None:
    scene = Scene()
    scene.begin()
    scene.close()
    scene.reply(-8)
    assert scene.phase == "Chatting"
    assert scene.notices[-1] == "close.refused"


def test_an_unwanted_chat_that_cannot_be_closed_is_shown() -> None:
    scene = Scene()
    scene.leave_too_late()
    scene.reply(-8)
    assert scene.notices == ["close.refused", "chat.started"]
    assert scene.ghosts == {"K00017"}


@pytest.mark.parametrize(("code", "key"), [(-11, "rating.too_late"), (-14, "rating.refused")])
def test_a_refused_rating(code: int, key: str) -> None:
    scene = Scene()
    scene.begin()
    scene.rate(5)
    scene.reply(code)
    assert scene.notices[-1] == key
    assert scene.state.rating is None


def test_a_close_refused_after_the_end_is_the_customers_end() -> None:
    scene = Scene()
    scene.begin()
    scene.close()
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.reply(-11)
    assert scene.notices[1:] == ["chat.ended_by_you"]


def test_a_reply_to_110_tells_of_missed_agents() -> None:
    """Trap T14: the server names session and agents when the 202 was lost."""
    scene = Scene()
    scene.text("one")
    scene.reply(sessionId=SESSION)
    scene.later(10)
    scene.reply(sessionId=SESSION, agents=[MEI])
    assert isinstance(scene.state.phase, Chatting)
    assert scene.ghosts == {"K00017"}
    scene.text("two")
    scene.reply(sessionId=5151, agents=[JUN])
    assert scene.state.phase.session_id == 5151
    assert scene.ghosts == {"K00021"}


def test_a_message_refused_after_the_end_of_its_session_is_kept() -> None:
    scene = Scene()
    scene.begin()
    event = scene.text("one")
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.reply(-11)
    assert (scene.phase, scene.notices[-1]) == ("Ended", "queue.kept")
    assert [piece.event_id for piece in scene.state.held] == [event]


@pytest.mark.parametrize("on_message", [True, False])
def test_a_file_uploaded_as_the_agent_ends_the_chat_is_kept(on_message: bool) -> None:
    """No new agent is requested: the file waits for the customer's next message."""
    scene = Scene(Policy(start_on_message=on_message))
    scene.begin()
    scene.image()
    requests = len(scene.sent(101))
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.uploaded()
    assert len(scene.sent(101)) == requests
    assert scene.notices[-1] == ("queue.kept" if on_message else "start.needed")
    assert scene.state.outstanding is None
    scene.start()
    scene.reply(requestId=REQUEST)
    scene.push(202, sessionId=SESSION + 1, agents=[MEI])
    assert "imageUri" in str(scene.last), "without a second upload"
    assert len([call for call in scene.calls if isinstance(call, UploadMedia)]) == 1


def test_a_message_after_a_cancel_requests_another_chat() -> None:
    """It is for another chat than the unwanted one."""
    scene = Scene()
    scene.start()
    scene.cancel()
    scene.push(202, sessionId=SESSION, agents=[MEI])
    scene.text("one more thing")
    scene.push(205, sessionId=SESSION, agentId="K00017")
    assert scene.phase == "Requesting"


def test_a_lost_session_where_only_a_command_starts_a_chat() -> None:
    scene = Scene(Policy(start_on_message=False))
    scene.begin()
    scene.text("one")
    scene.text("two")
    scene.reply(-11)
    assert scene.phase == "Ended"
    assert scene.notices[-2:] == ["chat.ended_command", "start.needed_still"]
    assert scene.filled("start.needed_still") == [{"count": 2}]


def test_a_message_refused_by_every_session_is_reported() -> None:
    scene = Scene(Policy(max_repeats=0))
    scene.begin()
    event = scene.text("one")
    scene.reply(-11)
    assert scene.reported == {event: "undelivered.no_chat"}
    assert scene.phase == "Ended"


@pytest.mark.parametrize("code", [-12, -14, -19])
def test_a_refused_pre_message_waits_for_the_chat(code: int) -> None:
    scene = Scene()
    scene.text("one")
    scene.text("two")
    scene.reply(requestId=REQUEST)
    scene.reply(code)
    scene.push(201, requestId=REQUEST, requestStatus=0, queueLength=1)
    assert len(scene.sent(111)) == 1
    scene.push(202, sessionId=SESSION, agents=[MEI])
    scene.reply()
    scene.reply()
    assert scene.texts == ["one", "one", "two"]
    assert scene.delivered == ["$1", "$2"]


def test_a_request_unknown_to_the_server_is_not_cancelled() -> None:
    """-10 to a pre-message: an agent has accepted, or the request is gone; 102 would fail too."""
    scene = Scene()
    scene.text("one")
    scene.reply(requestId=REQUEST)
    scene.reply(-10)
    scene.cancel()
    assert scene.sent(102) == []
    scene.later(scene.policy.cancel_wait / 1000)
    assert scene.card == ["queue.cancelled", "queue.dropped"]


def test_a_request_unknown_to_the_server_is_awaited_from_then_on() -> None:
    """However long its request id was known before."""
    scene = Scene()
    scene.text("one")
    scene.reply(requestId=REQUEST)
    scene.now += 300_000
    scene.reply(-10)
    assert deadline(scene.state, scene.policy) == scene.now + scene.policy.accepted_wait


def test_a_refused_pre_message_is_no_repeat_in_the_chat() -> None:
    """It was sent twice, but no agent has it: the ledger marks no repeat."""
    scene = Scene()
    scene.text("one")
    scene.reply(requestId=REQUEST)
    scene.cut()
    scene.later(5)
    scene.reply(-14)
    scene.push(202, sessionId=SESSION, agents=[MEI])
    sent = [one for one in scene.calls if isinstance(one, CallWebChat)]
    assert [one.repeat for one in sent] == [False, False, True, False]
    for _ in range(scene.policy.max_repeats):  # as often as one never sent
        scene.cut()
        scene.later(30)
    assert len(scene.sent(110)) == 1 + scene.policy.max_repeats
    assert scene.reported == {}


def test_a_blank_pre_message_is_reported() -> None:
    scene = Scene()
    event = scene.text("\u200b")
    scene.reply(requestId=REQUEST)
    scene.reply(-17)
    assert scene.reported == {event: "undelivered.blank"}


def test_a_pre_message_wrongly_called_blank_goes_to_the_chat() -> None:
    scene = Scene()
    event = scene.text("one")
    scene.reply(requestId=REQUEST)
    scene.reply(-17)
    assert scene.reported == {}
    scene.push(202, sessionId=SESSION, agents=[MEI])
    scene.reply()
    assert scene.texts == ["one", "one"]
    assert scene.delivered == [event]


def test_a_blank_pre_message_that_is_refused_otherwise_goes_to_the_chat() -> None:
    scene = Scene()
    scene.text("\u200b")
    scene.reply(requestId=REQUEST)
    scene.reply(-14)
    assert scene.reported == {}
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert len(scene.sent(110)) == 1


def test_a_pre_message_refused_by_one_request_is_offered_to_another() -> None:
    scene = Scene()
    scene.text("one")
    scene.reply(requestId=REQUEST)
    phase = scene.state.phase
    assert isinstance(phase, Queued)
    other = msgspec.structs.replace(phase, request_id=RequestId(REQUEST + 1))
    scene.state = msgspec.structs.replace(scene.state, phase=other)
    scene.reply(-14)
    assert isinstance(scene.state.phase, Queued)
    assert not scene.state.phase.pre_refused


def test_a_pre_message_accepted_after_the_end_of_the_queue_is_kept() -> None:
    scene = Scene()
    scene.text("one")
    scene.reply(requestId=REQUEST)
    scene.push(201, requestId=REQUEST, requestStatus=5)
    scene.reply()
    assert scene.delivered == []
    assert scene.card == ["status.5", "queue.kept", "callback.offer"]


def test_a_kept_pre_message_is_told_if_the_card_is_unknown() -> None:
    """The state of an earlier version does not know the card."""
    scene = Scene()
    scene.text("one")
    scene.reply(requestId=REQUEST)
    scene.push(201, requestId=REQUEST, requestStatus=5)
    scene.state = msgspec.structs.replace(scene.state, vain=None)
    scene.forget()
    scene.reply()
    assert (scene.cards, scene.notices) == ([], ["queue.kept"])


def test_a_pre_message_accepted_while_leaving_is_dropped() -> None:
    scene = Scene()
    event = scene.text("one")
    scene.reply(requestId=REQUEST)
    scene.cancel()
    scene.reply()
    assert scene.reported == {event: "queue.dropped"}
    assert scene.last == {"type": 102, "requestId": REQUEST}


def test_a_pre_message_accepted_as_the_agent_came_is_delivered() -> None:
    """Trap T22: the agent who accepted has it."""
    scene = Scene()
    event = scene.text("one")
    scene.reply(requestId=REQUEST)
    scene.push(202, sessionId=SESSION, agents=[MEI])
    scene.reply()
    assert scene.delivered == [event]
    assert scene.sent(110) == []


def test_a_pre_message_of_an_ended_request_is_sent_in_the_next_chat() -> None:
    """The agent of the chat that runs by now has never seen it."""
    scene = Scene()
    scene.queue_up("one")
    last = scene.text("two")
    scene.push(201, requestId=REQUEST, requestStatus=3)
    scene.start()
    scene.push(202, sessionId=SESSION, agents=[MEI])
    scene.reply()
    assert scene.delivered == []
    while scene.state.outstanding is not None:
        scene.reply()
    assert [frame["type"] for frame in scene.frames[-2:]] == [110, 110]
    assert scene.delivered == ["$1", last]


def test_an_upload_finished_after_a_cancel_is_dropped() -> None:
    scene = Scene()
    scene.queue_up("one")
    scene.image()
    scene.cancel()
    scene.uploaded()
    assert scene.state.held == ()
    assert scene.last["type"] == 102


def test_the_card_of_a_closed_call_centre_still_counts_a_corrected_message() -> None:
    scene = Scene(Policy(start_on_message=False))
    scene.start()
    scene.reply(-3)
    scene.text("one")
    two = scene.text("two")
    cards = len(scene.cards)
    scene.happen(Said(EventId("$edit"), CustomerText("too"), replaces=(two,)))
    assert len(scene.cards) == cards, "as many as before are kept"
