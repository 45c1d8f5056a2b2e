"""Traps of the guide (reference 6) that no other test is about."""

from __future__ import annotations

import json

import pytest

from bridge.conversation.effects import Card, Say
from bridge.ids import CallId, QueueId, RequestId, SessionId
from bridge.webchat import frames
from bridge.webchat.codec import dump_command
from bridge.webchat.codes import Dialect
from bridge.webchat.frames import Command
from tests.support.scene import JUN, MEI, SESSION, Scene, message

S, R = SessionId(5150), RequestId(9001)
EVERY_COMMAND: tuple[Command, ...] = (
    frames.Logout(),
    frames.Heartbeat(),
    frames.RequestChat(QueueId(7)),
    frames.CancelRequest(R),
    frames.CloseSession(S),
    frames.RateSession(S, 0),
    frames.SendMessage(S, frames.Text("hi")),
    frames.SendPreMessage(R, "hi"),
    frames.Preview(S, "hi"),
    frames.Typing(S),
    frames.Receipt("r-1"),
    frames.TransferFromRobot(S),
)
PREVIEW, PRE = frames.Preview(S, "hi"), frames.SendPreMessage(R, "hi")


def written(command: Command, dialect: Dialect = Dialect.Y2016) -> dict[str, object]:
    frame: dict[str, object] = json.loads(
        dump_command(command, call_id=CallId(3), token="T", time_ms=1, dialect=dialect)
    )
    return frame


@pytest.mark.parametrize("dialect", Dialect)
def test_no_number_of_the_http_sibling_goes_on_the_socket(dialect: Dialect) -> None:
    """Traps T27 and T29: nothing from 1000 on, and no login of any kind (1, 3, 4)."""
    kinds = {written(command, dialect)["type"] for command in EVERY_COMMAND}
    assert kinds == {2, 10, 101, 102, 103, 104, 110, 111, 112, 113, 120, 302}


def test_every_command_is_listed_here() -> None:
    assert {type(command) for command in EVERY_COMMAND} == set(Command.__args__)


def test_type_2_is_logout() -> None:
    """Trap T2: the guide's comment calls it a login."""
    assert written(frames.Logout())["type"] == 2


def test_preview_is_no_pre_message() -> None:
    """Trap T28: 111 is delivered later and names the request, 112 is shown in the session."""
    assert written(PRE)["type"] == 111
    assert "requestId" in written(PRE)
    assert written(PREVIEW, Dialect.Y2019)["type"] == 112
    assert "sessionId" in written(PREVIEW, Dialect.Y2019)


@pytest.mark.parametrize("typed", ["<b>1 < 2</b> & more", "&lt;", "null", "[1,2]", '{"a":1}'])
def test_the_customers_text_goes_as_it_was_typed(typed: str) -> None:
    """Traps T24 and T35: neither escaped as HTML nor taken for JSON on our side."""
    scene = Scene()
    scene.begin()
    scene.text(typed)
    assert scene.last == message(typed)


def test_a_rating_may_come_unasked() -> None:
    """Traps T20 and T21: no 203 before it, and 0 is a rating."""
    scene = Scene()
    scene.begin()
    scene.rate(0)
    assert scene.last == {
        "type": 104,
        "sessionId": SESSION,
        "rating": {"id": 0, "comments": ""},
    }


def test_the_ended_session_is_rated_until_the_next_begins() -> None:
    """Trap T19: after 205 the old id, after the next 202 the new one."""
    scene = Scene()
    scene.begin()
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.rate(5)
    assert scene.last["sessionId"] == SESSION
    scene.reply()
    scene.begin(session=5151)
    scene.rate(4)
    assert scene.last["sessionId"] == 5151


def test_an_empty_agents_list_keeps_the_old() -> None:
    """Trap T17: a rename is no arrival, and an empty list no departure."""
    scene = Scene()
    scene.begin()
    scene.forget()
    scene.push(204, sessionId=SESSION, agents=[{**MEI, "name": "Mei Lin"}])
    scene.push(204, sessionId=SESSION, agents=[])
    assert scene.notices == []
    assert scene.phase == "Chatting"
    scene.push(210, sessionId=SESSION, agentId="K00017", msg={"type": 1, "content": "hi"})
    assert scene.relayed[0].agent.name == "Mei Lin"


def test_202_belongs_to_the_only_request() -> None:
    """Traps T3 and T5: it names no request; the id came with a 201, or never."""
    scene = Scene()
    scene.text("one")
    scene.reply()
    scene.push(202, sessionId=SESSION, agents=[MEI])
    assert scene.phase == "Chatting"
    assert scene.last == message("one")


def test_a_place_of_zero_is_none() -> None:
    """Trap T4: zero means being served, and a place is never made into a waiting time."""
    scene = Scene()
    scene.start()
    scene.reply(requestId=9001, queueLength=0)
    assert "queue.position" not in scene.cards


def test_what_agents_note_about_themselves_is_not_shown() -> None:
    """Trap T39: `comments` may be meant for colleagues only."""
    scene = Scene()
    scene.text("hello")
    scene.reply(requestId=9001, queueLength=1)
    scene.push(202, sessionId=SESSION, agents=[MEI])
    scene.push(204, sessionId=SESSION, agents=[MEI, JUN])
    scene.push(205, sessionId=SESSION, agentId="K00017")
    shown = [str(effect) for effect in scene.effects if isinstance(effect, Say | Card)]
    assert len(shown) > 3
    assert not [line for line in shown if "tier 1" in line or "lead" in line]
