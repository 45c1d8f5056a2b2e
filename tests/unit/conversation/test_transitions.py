"""Small functions that several inputs share."""

from __future__ import annotations

import pytest

from bridge.conversation.chat import ended_at, names
from bridge.conversation.model import Args, Conversation, Ended
from bridge.conversation.queue import result_key, status_key
from bridge.conversation.turn import all_pieces
from bridge.ids import AgentId, SessionId
from bridge.webchat.frames import Agent
from tests.support.scene import JUN, MEI, REQUEST, SESSION, Scene


@pytest.mark.parametrize(
    ("number", "expected"),
    [(3, ("status.3", {})), (11, ("status.11", {})), (42, ("status.other", {"code": 42}))],
)
def test_status_key(number: int, expected: tuple[str, Args]) -> None:
    assert status_key(number) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [(-3, ("result.-3", {})), (0, ("result.0", {})), (77, ("result.other", {"code": 77}))],
)
def test_result_key(number: int, expected: tuple[str, Args]) -> None:
    assert result_key(number) == expected


def test_names_of_agents_fall_back_to_their_ids() -> None:
    assert names((Agent(AgentId("A"), "Mei"), Agent(AgentId("B")))) == ("Mei", "B")


def test_all_pieces_contains_messages_wherever_they_are() -> None:
    scene = Scene()
    scene.queue_up("one")
    scene.text("two")
    scene.text("three")
    pieces = [piece.event_id for piece in all_pieces(scene.state)]
    assert sorted(pieces) == ["$1", "$2", "$3"]


def test_pieces_return_in_the_order_in_which_they_were_typed() -> None:
    """One was pre-sent, one under way, one held when the queue ended."""
    scene = Scene()
    scene.queue_up("one")
    scene.text("two")
    scene.text("three")
    scene.push(201, requestId=9001, requestStatus=5)
    scene.reply()
    assert [piece.event_id for piece in scene.state.held] == ["$1", "$2", "$3"]


def test_an_unrequested_chat_after_a_chat_has_its_own_card() -> None:
    scene = Scene()
    scene.begin()
    number = scene.state.number
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.push(202, sessionId=5151, agents=[MEI])
    assert scene.state.number == number + 1


def test_an_agent_in_both_sessions_does_not_leave_the_room() -> None:
    scene = Scene()
    scene.begin(MEI, JUN)
    scene.push(202, sessionId=5151, agents=[JUN])
    assert scene.ghosts == {"K00021"}


def test_a_session_that_is_switched_while_closing_is_closed() -> None:
    scene = Scene()
    scene.begin(MEI)
    scene.close()
    scene.push(202, sessionId=5151, agents=[MEI])
    scene.reply()
    assert scene.last == {"type": 103, "sessionId": 5151}


def test_the_end_of_the_newest_chat_is_known_until_the_next_one() -> None:
    """Also after leaving a queue, which is no chat."""
    scene = Scene()
    assert ended_at(scene.state) is None
    scene.begin(MEI)
    assert ended_at(scene.state) is None
    scene.push(205, sessionId=SESSION, agentId="K00017")
    moment = scene.now
    scene.later(60)
    assert ended_at(scene.state) == moment
    scene.start()
    assert ended_at(scene.state) == moment
    scene.reply(requestId=REQUEST)
    scene.cancel()
    scene.reply()
    assert scene.phase == "Idle"
    assert ended_at(scene.state) == moment
    scene.push(202, sessionId=5151, agents=[MEI])
    assert ended_at(scene.state) is None
    assert scene.state.last_ended_at == moment


def test_a_session_that_is_lost_or_replaced_has_ended() -> None:
    for happen in (
        lambda scene: scene.push(202, sessionId=5151, agents=[JUN]),
        lambda scene: (scene.text("hello?"), scene.reply(-11)),
    ):
        scene = Scene()
        scene.begin(MEI)
        scene.later(60)
        assert scene.state.last_ended_at is None
        happen(scene)
        assert scene.state.last_ended_at == scene.now


def test_the_end_of_a_chat_in_a_row_of_an_earlier_version() -> None:
    assert ended_at(Conversation(Ended(SessionId(1), since=5))) == 5
