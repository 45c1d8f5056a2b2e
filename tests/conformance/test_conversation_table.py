"""Rows of the protocol reference, section 4 (the state table), without a test for section 7.

Rows 2, 4, 5, 36 and 37 concern the link and the store; row 27 (asking the robot for a human) is in
the unit tests of the conversation; rows 30 to 40 are in `test_conversation_table_links.py`.
"""

from __future__ import annotations

import pytest

from bridge.conversation.machine import wants_link
from bridge.conversation.model import AgentsCame, AgentsLeft, Chatting, Human, Queued, Say
from bridge.conversation.turn import Policy
from bridge.ids import QueueId
from bridge.webchat.codes import FailureReason
from tests.support.scene import ASK, JUN, MEI, SESSION, Scene, message


def test_row_1_text_when_there_is_no_login_yet() -> None:
    """The text is held, and the first call requires a link."""
    scene = Scene()
    scene.text("one")
    assert scene.frames == [ASK]
    assert wants_link(scene.state)


@pytest.mark.parametrize("reason", [FailureReason.LOGIN_REFUSED, FailureReason.SIGN_REFUSED])
def test_row_3_login_refused(reason: FailureReason) -> None:
    """No retry: the room is told, and the text is kept."""
    scene = Scene()
    scene.text("one")
    scene.fail(reason, code=-20)
    assert scene.card == [f"trouble.{reason}", "queue.kept"]
    scene.later(3600)
    assert len(scene.calls) == 1


def test_row_6_text_after_the_end_starts_a_new_request() -> None:
    """Several texts start one request, with a new queue card."""
    scene = Scene()
    scene.begin()
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.text("one")
    scene.text("two")
    assert scene.sent(101) == [ASK, ASK]
    assert scene.state.number == 2


BOT = {"id": "BOT007", "name": "Helper", "icon": "", "comments": ""}


def with_robot(*held: str) -> Scene:
    """Start a session with the robot by the reply to 101; send `held` before it."""
    scene = Scene()
    scene.start()
    for text in held:
        scene.text(text)
    scene.reply(sessionId=5150, agentId="BOT007", agentName="Helper", robotType=3, queueLength=0)
    return scene


@pytest.mark.parametrize("mode", [{}, {"robotMode": True}])
def test_row_10_later_202_of_a_robot_session_changes_nothing(mode: dict[str, object]) -> None:
    """The session is used at once; a later 202, in either documented form, changes nothing."""
    scene = with_robot("one")
    assert scene.last == message("one")
    scene.reply()
    scene.push(202, sessionId=5150, agents=[BOT], **mode)
    assert scene.cards == ["queue.asking", "queue.joined"]
    assert scene.notices == []
    assert scene.ghosts == {"BOT007"}
    assert isinstance(scene.state.phase, Chatting)
    assert scene.state.phase.robot
    scene.happen(Human())
    assert scene.last == {"type": 302, "sessionId": 5150}


@pytest.mark.parametrize("kind", [202, 204])
def test_row_26_agent_takes_over_from_the_robot(kind: int) -> None:
    """By 202 or 204: the agent is announced, without a second greeting."""
    scene = with_robot()
    scene.push(kind, sessionId=5150, agents=[MEI])
    assert isinstance(scene.state.phase, Chatting)
    assert not scene.state.phase.robot
    assert scene.ghosts == {"K00017"}
    assert scene.notices == scene.pings == ["chat.transferred"]
    scene.happen(Human())
    assert scene.sent(302) == []


@pytest.mark.parametrize("who", [{}, {"agentId": "K00017"}])
def test_row_12_session_in_the_reply_waits_for_202(who: dict[str, object]) -> None:
    """The session id of the reply to 101 is used after 10 s without a 202; an id is no name."""
    scene = Scene()
    scene.text("one")
    scene.reply(sessionId=5150, **who)
    scene.push(201, requestId=9001, requestStatus=0, queueLength=0)
    scene.later(9.9)
    assert scene.phase == "Requesting"
    scene.later(0.1)
    assert scene.last == message("one")
    assert scene.notices == ["chat.started_unnamed"]
    scene.push(202, sessionId=5150, agents=[MEI])
    assert scene.notices == ["chat.started_unnamed"]
    assert scene.ghosts == {"K00017"}


def test_row_12_greeting_comes_with_the_202() -> None:
    """The greeting comes once, at the 202."""
    scene = Scene()
    scene.text("one")
    scene.reply(sessionId=5150)
    scene.push(202, sessionId=5150, agents=[MEI])
    assert scene.notices == ["chat.started"]


@pytest.mark.parametrize("code", [-4, -7, -14, -18])
def test_row_16_configuration_error(code: int) -> None:
    """The error is shown, and the request not retried."""
    scene = Scene()
    scene.start()
    scene.reply(code)
    scene.later(3600)
    assert scene.card == [f"result.{code}"]
    assert len(scene.sent(101)) == 1


def test_row_16_wanted_agent_is_away() -> None:
    """-9 (trap T38): the request is repeated once, for any agent."""
    scene = Scene(Policy(queue_id=QueueId(7), to_agent="K00017"))
    scene.start()
    assert scene.last == {**ASK, "toUserId": "K00017"}
    scene.reply(-9)
    assert scene.last == ASK
    scene.reply(-9)
    assert scene.card == ["result.-9"]


UNANSWERED = [FailureReason.NO_ANSWER, FailureReason.SILENT]
"""The link was lost, or the server did not answer for 20 s (measured by the link)."""


@pytest.mark.parametrize("reason", UNANSWERED)
@pytest.mark.parametrize("told", [{"requestId": 9001}, {}])
def test_row_17_no_answer_to_101(reason: FailureReason, told: dict[str, object]) -> None:
    """101 is repeated once, at once and with a new id; -1 tells that both are one request."""
    scene = Scene()
    scene.start()
    first = scene.outstanding.call_id
    scene.fail(reason, certain=False)
    assert scene.sent(101) == [ASK, ASK]
    assert scene.outstanding.call_id != first
    scene.reply(-1, **told)
    assert isinstance(scene.state.phase, Queued)
    assert scene.state.phase.request_id == told.get("requestId")
    scene.later(60)
    assert len(scene.sent(101)) == 2
    assert scene.notices == []


@pytest.mark.parametrize("reason", UNANSWERED)
def test_row_17_repeated_101_finds_a_session(reason: FailureReason) -> None:
    """-2 tells that the first request had become a session."""
    scene = Scene()
    scene.text("one")
    scene.fail(reason, certain=False)
    scene.reply(-2, sessionId=5150)
    assert scene.last == message("one")


@pytest.mark.parametrize("reason", UNANSWERED)
def test_row_17_only_the_first_retry_is_immediate(reason: FailureReason) -> None:
    scene = Scene()
    scene.start()
    for _ in range(2):
        scene.fail(reason, certain=False)
    assert scene.state.outstanding is None
    assert len(scene.sent(101)) == 2


def test_row_20_accepted_but_no_202() -> None:
    """Trap T14: 101 is repeated after 20 s without a 202."""
    scene = Scene()
    scene.start()
    scene.reply(requestId=9001)
    scene.push(201, requestId=9001, requestStatus=1)
    assert scene.cards[-1] == "queue.accepted"
    scene.text("one")
    scene.later(19.9)
    assert scene.sent(101) == [ASK]
    assert scene.sent(111) == []
    scene.later(0.1)
    assert scene.sent(101) == [ASK, ASK]


def test_row_21_request_dropped_during_an_outage() -> None:
    """Status 4 for the request before the outage: it is repeated, and its texts sent again."""
    scene = Scene()
    event = scene.queue_up("one")
    scene.restored()
    scene.push(201, requestId=9001, requestStatus=4)
    assert scene.phase == "Queued"
    scene.reply(requestId=9002)
    assert scene.last == {"type": 111, "requestId": 9002, "content": "one"}
    scene.reply()
    scene.push(202, sessionId=5150, agents=[MEI])
    assert scene.delivered == [event]


def test_row_21_request_dropped_after_an_outage() -> None:
    """The same if the server said first that the request still exists."""
    scene = Scene()
    event = scene.queue_up("one")
    scene.restored()
    scene.reply(-1)
    scene.later(30)
    scene.push(201, requestId=9001, requestStatus=4)
    assert scene.phase == "Queued"
    assert scene.last == ASK
    scene.reply(requestId=9002)
    assert scene.last == {"type": 111, "requestId": 9002, "content": "one"}
    scene.reply()
    assert scene.notices == []
    scene.push(201, requestId=9002, requestStatus=4)
    assert scene.phase == "Idle"
    assert scene.card == ["status.4", "queue.kept"]
    assert [piece.event_id for piece in scene.state.held] == [event]


@pytest.mark.parametrize("status", [2, 3, 4, 5, 6])
def test_row_21_texts_of_an_ended_request_go_with_the_next(status: int) -> None:
    """The customer is told; the texts are sent again with the customer's next message."""
    scene = Scene()
    first = scene.queue_up("one")
    scene.push(201, requestId=9001, requestStatus=status)
    assert scene.phase == "Idle"
    assert scene.card[:2] == [f"status.{status}", "queue.kept"]
    scene.later(3600)
    assert len(scene.frames) == 2
    second = scene.text("two")
    scene.reply(requestId=9002)
    scene.reply()
    scene.reply()
    scene.push(202, sessionId=5150, agents=[MEI])
    assert scene.texts == ["one", "one", "two"]
    assert scene.delivered == [first, second]


def test_row_22_cancel_confirmed_by_status_7() -> None:
    """The status and the reply confirm the cancel once."""
    scene = Scene()
    scene.start()
    scene.reply(requestId=9001)
    scene.cancel()
    scene.push(201, requestId=9001, requestStatus=7)
    scene.reply()
    assert scene.cards.count("queue.cancelled") == 1
    assert scene.phase == "Idle"


def test_row_22_text_after_a_cancel_starts_a_new_request() -> None:
    """The text is not lost with the cancelled request, nor sent in the session being closed."""
    scene = Scene()
    scene.queue_up("one")
    scene.cancel()
    later = scene.text("please wait")
    scene.push(202, sessionId=5150, agents=[MEI])
    scene.reply(-10)
    assert scene.last == {"type": 103, "sessionId": 5150}
    scene.reply()
    assert scene.last == ASK
    assert [piece.event_id for piece in scene.state.held] == [later]


def test_row_24_server_rejects_every_session() -> None:
    """The message is reported as undelivered after some tries, not retried for ever."""
    scene = Scene()
    scene.begin()
    event = scene.text("one")
    session = SESSION
    while event not in scene.reported:
        scene.reply(-11)
        if scene.last["type"] == 101:
            session += 1
            scene.reply()
            scene.push(202, sessionId=session, agents=[MEI])
    assert scene.reported == {event: "undelivered.no_chat"}
    assert len(scene.sent(110)) == 1 + scene.policy.max_repeats


def test_row_24_server_returns_the_session_it_rejected() -> None:
    """The server returns the session that it had rejected: give up, no endless retries."""
    for told in ({"result": 1, "perm": 1}, {"result": -2}):
        scene = Scene()
        scene.begin()
        scene.text("one")
        scene.reply(-11)
        scene.reply(**told, sessionId=SESSION)
        scene.later(60)
        assert scene.card[0] == "trouble.other_chat"
        assert len(scene.sent(110)) == 1


def test_row_25_agents_join_leave_and_change_names() -> None:
    """The room shows agents who join, leave or are renamed; a transfer is announced (trap T17).

    The queue named by a 204 replaces the former one: agents' pictures may depend on it.
    """
    scene = Scene()
    scene.begin(MEI)
    scene.forget()
    renamed = {**MEI, "name": "Mei Li"}
    shown: list[tuple[list[str], list[str]]] = []
    for agents in ([MEI, JUN], [renamed, JUN], [renamed], [], [JUN]):
        scene.push(204, sessionId=SESSION, agents=agents, queueId=8, queueName="Returns")
        shown.append((came(scene), gone(scene)))
        scene.effects = [one for one in scene.effects if isinstance(one, Say)]
    assert shown == [
        (["Jun"], []),
        (["Mei Li"], []),
        ([], ["K00021"]),
        ([], []),
        (["Jun"], ["K00017"]),
    ]
    assert scene.notices == scene.pings == ["chat.transferred"]
    assert scene.filled("chat.transferred") == [{"old": ("Mei Li",), "new": ("Jun",)}]
    assert isinstance(scene.state.phase, Chatting)
    assert scene.state.phase.queue_id == 8
    assert [agent.name for agent in scene.state.phase.agents] == ["Jun"]


def came(scene: Scene) -> list[str]:
    """Return the names of agents who were added or renamed."""
    shown = (one.agents for one in scene.effects if isinstance(one, AgentsCame))
    return [agent.name for agents in shown for agent in agents]


def gone(scene: Scene) -> list[str]:
    left = (one.agents for one in scene.effects if isinstance(one, AgentsLeft))
    return [agent for agents in left for agent in agents]


def test_row_25_agent_who_joins_the_robot_is_announced() -> None:
    """A human agent who joins the robot is announced, as is one with a comment."""
    scene = with_robot()
    scene.forget()
    scene.push(204, sessionId=SESSION, agents=[BOT, MEI])
    assert (scene.notices, scene.pings) == (["chat.agent_joined"], ["chat.agent_joined"])
    noted = Scene(Policy(queue_id=QueueId(7), show_comments=True))
    noted.begin(MEI)
    noted.forget()
    noted.push(204, sessionId=SESSION, agents=[MEI, JUN])
    assert (noted.filled("chat.agent_joined"), noted.pings) == ([{"names": ("Jun (lead)",)}], [])


def test_row_28_rating_is_requested_once() -> None:
    """A 203 asks for a rating, and so does a notice of type 2, which may omit the session.

    A second one does not, nor does one for an unknown session.
    """
    scene = Scene()
    scene.begin()
    scene.push(203, sessionId=5151, agentId="K00017")
    assert scene.asked == []
    for _ in range(2):
        scene.push(203, sessionId=SESSION, agentId="K00017")
        assert scene.asked == [SESSION]
    scene.push(205, sessionId=SESSION, agentId="K00017")
    assert scene.asked == [SESSION]
    other = Scene()
    other.begin()
    other.push(210, agentId="K00017", msg={"type": 99, "noticeType": 2, "content": "rate"})
    assert other.asked == [SESSION]


def test_row_28_rating_is_not_requested_again_after_the_end() -> None:
    """The end of the chat asks for a rating (row 29); a later 203 does not ask again."""
    scene = Scene()
    scene.begin()
    scene.push(205, sessionId=5150, agentId="K00017")
    assert scene.asked == [5150]
    scene.push(203, sessionId=5150, agentId="K00017")
    assert scene.asked == [5150]
