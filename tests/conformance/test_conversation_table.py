"""Rows of the protocol reference, section 4 (the state table), that section 7 has no test for.

Rows 2, 4, 5, 36 and 37 are the link's and the store's; row 27 (asking the robot for a person) has
tests of its own among those of the life cycle. Rows 30 to 40 are in
`test_conversation_table_links.py`.
"""

from __future__ import annotations

import pytest

from bridge.conversation.machine import wants_link
from bridge.conversation.model import (
    AgentsCame,
    AgentsLeft,
    Chatting,
    FailureReason,
    Human,
    Queued,
    Say,
)
from bridge.conversation.policy import Policy
from bridge.ids import QueueId
from tests.support.scene import ASK, JUN, MEI, SESSION, Scene, message


def test_row_1_text_when_there_is_no_login_yet() -> None:
    """The text is held, and a link is wanted for the first call."""
    scene = Scene()
    scene.text("one")
    assert scene.frames == [ASK]
    assert wants_link(scene.state)


@pytest.mark.parametrize("reason", [FailureReason.LOGIN_REFUSED, FailureReason.SIGN_REFUSED])
def test_row_3_login_refused(reason: FailureReason) -> None:
    """No retry: the room is told, and what was typed is kept."""
    scene = Scene()
    scene.text("one")
    scene.fail(reason, code=-20)
    assert scene.card == [f"trouble.{reason}", "queue.kept"]
    scene.later(3600)
    assert len(scene.calls) == 1


def test_row_6_text_after_the_end_asks_again() -> None:
    """One 101 for any number of texts, and a card of its own for the new chat."""
    scene = Scene()
    scene.begin()
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.text("one")
    scene.text("two")
    assert scene.sent(101) == [ASK, ASK]
    assert scene.state.number == 2


BOT = {"id": "BOT007", "name": "Helper", "icon": "", "comments": ""}


def with_robot(*held: str) -> Scene:
    """A session with the robot begins with the reply to 101."""
    scene = Scene()
    scene.start()
    for text in held:
        scene.text(text)
    scene.reply(sessionId=5150, agentId="BOT007", agentName="Helper", robotType=3, queueLength=0)
    return scene


@pytest.mark.parametrize("mode", [{}, {"robotMode": True}])
def test_row_10_a_later_202_is_a_refresh(mode: dict[str, object]) -> None:
    """Adopted and flushed at once; the 202, as guides and clients print it, changes nothing."""
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
def test_row_26_a_person_takes_over(kind: int) -> None:
    """By either frame: no second greeting, but the person is announced, and is no robot."""
    scene = with_robot()
    scene.push(kind, sessionId=5150, agents=[MEI])
    assert isinstance(scene.state.phase, Chatting)
    assert not scene.state.phase.robot
    assert scene.ghosts == {"K00017"}
    assert scene.notices == ["chat.transferred"]
    scene.happen(Human())
    assert scene.sent(302) == []


def test_row_12_session_in_the_reply_waits_for_202() -> None:
    """The session of the reply is adopted after 10 s without a 202."""
    scene = Scene()
    scene.text("one")
    scene.reply(sessionId=5150)
    scene.push(201, requestId=9001, requestStatus=0, queueLength=0)
    scene.later(9.9)
    assert scene.phase == "Requesting"
    scene.later(0.1)
    assert scene.last == message("one")
    assert scene.notices == ["chat.started_unnamed"]
    scene.push(202, sessionId=5150, agents=[MEI])
    assert scene.notices == ["chat.started_unnamed"]
    assert scene.ghosts == {"K00017"}


def test_row_12_202_in_time() -> None:
    """One greeting, at the 202."""
    scene = Scene()
    scene.text("one")
    scene.reply(sessionId=5150)
    scene.push(202, sessionId=5150, agents=[MEI])
    assert scene.notices == ["chat.started"]


@pytest.mark.parametrize("code", [-4, -7, -14, -18])
def test_row_16_configuration_error(code: int) -> None:
    """Said in the room; not asked again by itself."""
    scene = Scene()
    scene.start()
    scene.reply(code)
    scene.later(3600)
    assert scene.card == [f"result.{code}"]
    assert len(scene.sent(101)) == 1


def test_row_16_wanted_agent_is_away() -> None:
    """-9 (trap T38): asked once more, for anybody."""
    scene = Scene(Policy(queue_id=QueueId(7), to_agent="K00017"))
    scene.start()
    assert scene.last == {**ASK, "toUserId": "K00017"}
    scene.reply(-9)
    assert scene.last == ASK
    scene.reply(-9)
    assert scene.card == ["result.-9"]


UNANSWERED = [FailureReason.NO_ANSWER, FailureReason.SILENT]
"""The link was lost; or it stood, and the server said nothing for 20 s, which the link counts."""


@pytest.mark.parametrize("reason", UNANSWERED)
@pytest.mark.parametrize("told", [{"requestId": 9001}, {}])
def test_row_17_no_answer_to_101(reason: FailureReason, told: dict[str, object]) -> None:
    """Asked once more, at once and under a new id; -1 heals the duplicate."""
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
def test_row_17_the_request_had_become_a_session(reason: FailureReason) -> None:
    """-2 heals as well."""
    scene = Scene()
    scene.text("one")
    scene.fail(reason, certain=False)
    scene.reply(-2, sessionId=5150)
    assert scene.last == message("one")


@pytest.mark.parametrize("reason", UNANSWERED)
def test_row_17_only_the_first_retry_is_at_once(reason: FailureReason) -> None:
    scene = Scene()
    scene.start()
    for _ in range(2):
        scene.fail(reason, certain=False)
    assert scene.state.outstanding is None
    assert len(scene.sent(101)) == 2


def test_row_20_accepted_but_no_202() -> None:
    """Trap T14: asked after, not before 20 s."""
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


def test_row_21_dropped_during_an_outage() -> None:
    """Status 4 for the request that was lost with the link: asked again, texts sent again."""
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


def test_row_21_dropped_some_time_after_an_outage() -> None:
    """The same, where the server first said that the request still stands."""
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
def test_row_21_texts_of_an_ended_queue_go_with_the_next(status: int) -> None:
    """Told, idle; not by themselves, but with the customer's next word."""
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
    """Whichever comes first counts, once."""
    scene = Scene()
    scene.start()
    scene.reply(requestId=9001)
    scene.cancel()
    scene.push(201, requestId=9001, requestStatus=7)
    scene.reply()
    assert scene.cards.count("queue.cancelled") == 1
    assert scene.phase == "Idle"


def test_row_22_words_after_the_cancel_ask_anew() -> None:
    """Neither lost with what was cancelled nor said to an agent who is sent away."""
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


def test_row_24_a_server_that_disowns_every_session() -> None:
    """The message is given back after some tries; the room does not circle for ever."""
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


def test_row_24_the_same_session_again() -> None:
    """The session that was disowned is handed out again: an end, not a circle."""
    for told in ({"result": 1, "perm": 1}, {"result": -2}):
        scene = Scene()
        scene.begin()
        scene.text("one")
        scene.reply(-11)
        scene.reply(**told, sessionId=SESSION)
        scene.later(60)
        assert scene.card[0] == "trouble.other_chat"
        assert len(scene.sent(110)) == 1


def test_row_25_who_the_agents_are() -> None:
    """Who comes, goes or has another name is seen in the room; a handing over is said (trap T17).

    The queue that a 204 names counts from then on: the agents' pictures may depend on it.
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
    assert scene.notices == ["chat.transferred"]
    assert scene.filled("chat.transferred") == [{"old": ("Mei Li",), "new": ("Jun",)}]
    assert isinstance(scene.state.phase, Chatting)
    assert scene.state.phase.queue_id == 8
    assert [agent.name for agent in scene.state.phase.agents] == ["Jun"]


def came(scene: Scene) -> list[str]:
    """The names of the agents who are brought in, or shown under another name."""
    shown = (one.agents for one in scene.effects if isinstance(one, AgentsCame))
    return [agent.name for agents in shown for agent in agents]


def gone(scene: Scene) -> list[str]:
    left = (one.agents for one in scene.effects if isinstance(one, AgentsLeft))
    return [agent for agents in left for agent in agents]


def test_row_25_a_person_after_the_robot_rings() -> None:
    """Who takes over from the robot, or joins with a note of the call centre's, is announced."""
    scene = with_robot()
    scene.forget()
    scene.push(204, sessionId=SESSION, agents=[BOT, MEI])
    assert (scene.notices, scene.pings) == (["chat.agent_joined"], ["chat.agent_joined"])
    noted = Scene(Policy(queue_id=QueueId(7), show_comments=True))
    noted.begin(MEI)
    noted.forget()
    noted.push(204, sessionId=SESSION, agents=[MEI, JUN])
    assert (noted.filled("chat.agent_joined"), noted.pings) == ([{"names": ("Jun (lead)",)}], [])


def test_row_28_asked_for_a_rating_once() -> None:
    """A 203 asks in the chat, and so does the later notice, which need not name the session.

    A second one does not, nor one for a session that nobody here had.
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


def test_row_28_203_after_the_end() -> None:
    """The end itself asks (row 29): a 203 that comes late does not ask again."""
    scene = Scene()
    scene.begin()
    scene.push(205, sessionId=5150, agentId="K00017")
    assert scene.asked == [5150]
    scene.push(203, sessionId=5150, agentId="K00017")
    assert scene.asked == [5150]
