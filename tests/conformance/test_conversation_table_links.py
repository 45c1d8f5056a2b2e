"""Rows 30 to 40 of the protocol reference, section 4: reconnected links, and unknown sessions.

See `test_conversation_table.py`.
"""

from __future__ import annotations

from bridge.conversation.machine import wants_link
from bridge.conversation.model import AgentsLeft, Queued
from bridge.ids import AgentId
from tests.support.scene import JUN, MEI, SESSION, Scene, message


def test_row_30_request_survives_a_reconnect() -> None:
    """-1 after a reconnect: the request still has its pre-messages."""
    scene = Scene()
    event = scene.queue_up("one")
    scene.restored()
    scene.reply(-1)
    assert isinstance(scene.state.phase, Queued)
    assert scene.state.phase.request_id == 9001
    assert len(scene.sent(111)) == 1
    scene.push(202, sessionId=5150, agents=[MEI])
    assert scene.delivered == [event]


def test_row_30_request_is_lost_during_a_reconnect() -> None:
    """A new requestId: the pre-messages of the lost request are sent again."""
    scene = Scene()
    event = scene.queue_up("one")
    scene.restored()
    scene.reply(requestId=9002)
    assert scene.last == {"type": 111, "requestId": 9002, "content": "one"}
    scene.reply()
    scene.push(202, sessionId=5150, agents=[MEI])
    assert scene.delivered == [event]


def test_row_30_request_is_accepted_during_a_reconnect() -> None:
    """-2 with the session: the agent has the pre-messages."""
    scene = Scene()
    event = scene.queue_up("one")
    scene.restored()
    scene.reply(-2, sessionId=5150)
    assert scene.phase == "Chatting"
    assert scene.delivered == [event]
    assert scene.sent(110) == []


def test_row_32_202_switches_to_another_session() -> None:
    """A 202 with another session id: the chat switches, with a notice."""
    scene = Scene()
    scene.begin(MEI)
    scene.push(202, sessionId=5151, agents=[JUN], continueLastSession=True)
    assert scene.ghosts == {"K00021"}
    assert scene.notices[-1] == "chat.started"
    scene.text("one")
    assert scene.last == message("one", 5151)


def test_row_32_202_updates_the_same_session() -> None:
    """A 202 with the known session id updates the agents, and starts no new chat."""
    scene = Scene()
    scene.begin(MEI)
    scene.text("one")
    scene.forget()
    scene.push(202, sessionId=SESSION, agents=[JUN], continueLastSession=True)
    assert scene.notices == scene.pings == ["chat.transferred"]
    assert (scene.cards, scene.frames, scene.state.number) == ([], [], 1)
    assert [one for one in scene.effects if isinstance(one, AgentsLeft)] == [
        AgentsLeft((AgentId("K00017"),))
    ]
    assert scene.ghosts == {"K00021"}
    scene.reply()
    assert scene.delivered == ["$1"]
    scene.forget()
    scene.push(202, sessionId=SESSION, continueLastSession=True)
    assert scene.effects == [], "it names nobody: nothing is new"


def test_row_33_unanswered_messages_are_resent_with_their_call_ids() -> None:
    """They are resent in order, once each, and marked as possible duplicates."""
    scene = Scene()
    scene.begin()
    events = [scene.text(text) for text in ("one", "two")]
    for _ in events:
        scene.cut()
        scene.restored()
        scene.reply()
    calls = [call for call in scene.calls if call.event_id in events]
    assert [call.event_id for call in calls] == [events[0]] * 2 + [events[1]] * 2
    assert [getattr(call, "repeat", None) for call in calls] == [False, True, False, True]
    assert [first.call_id for first in calls[::2]] == [again.call_id for again in calls[1::2]]
    assert scene.delivered == events
    assert scene.reported == {}


def test_row_33_message_is_reported_after_max_repeats() -> None:
    """After `max_repeats` uncertain attempts the customer is told."""
    scene = Scene()
    scene.begin()
    event = scene.text("one")
    while event not in scene.reported:
        scene.cut()
        scene.restored()
    assert scene.reported == {event: "undelivered.uncertain"}
    assert len(scene.sent(110)) == 1 + scene.policy.max_repeats


def test_row_35_token_refused_twice() -> None:
    """-15 even after a new login: retried with growing pauses."""
    scene = Scene()
    scene.begin()
    scene.text("one")
    for wait in (1, 2, 4):
        scene.reply(-15)
        before = len(scene.calls)
        scene.later(wait - 0.1)
        assert len(scene.calls) == before
        scene.later(0.1)
    scene.reply()
    assert scene.delivered == ["$1"]
    assert scene.notices[-2:] == ["trouble.unreachable", "trouble.over"]


def test_row_39_logout_is_never_sent() -> None:
    """An unneeded link is closed without a logout (type 2)."""
    scene = Scene()
    scene.begin()
    scene.push(205, sessionId=5150, agentId="K00017")
    assert not wants_link(scene.state)
    assert scene.sent(2) == []


def test_row_40_foreign_agents_and_ratings() -> None:
    """203 and 204 of another session are ignored."""
    scene = Scene()
    scene.begin()
    scene.forget()
    scene.push(203, sessionId=1, agentId="K00017")
    scene.push(204, sessionId=1, agents=[JUN])
    assert scene.effects == []


def test_row_40_foreign_message() -> None:
    """A message of another session is relayed; outside of a chat, its session becomes current."""
    scene = Scene()
    said = {"type": 1, "content": "hello?"}
    scene.push(210, sessionId=77, agentId="K00017", msg=said)
    assert scene.state.last_session == 77
    assert scene.phase == "Chatting"
    scene.push(210, sessionId=78, agentId="K00017", msg=said)
    assert len(scene.relayed) == 2
    assert scene.state.last_session == 77


def test_row_40_message_after_the_end() -> None:
    """A late message is relayed, and its ghost leaves again."""
    scene = Scene()
    scene.begin()
    scene.push(205, sessionId=5150, agentId="K00017")
    scene.push(210, sessionId=5150, agentId="K00017", msg={"type": 1, "content": "bye"})
    assert len(scene.relayed) == 1
    assert scene.phase == "Ended"
    assert scene.ghosts == set()
