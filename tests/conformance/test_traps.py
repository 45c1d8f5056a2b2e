"""Traps of the guide (reference 6) without a test elsewhere."""

from __future__ import annotations

import json

import msgspec
import pytest

from bridge.conversation.model import Card, Say
from bridge.conversation.turn import Policy
from bridge.ids import CallId, QueueId, RequestId, SessionId
from bridge.webchat import frames
from bridge.webchat.codes import Dialect
from bridge.webchat.frames import Command
from bridge.webchat.protocol import Answered, Protocol, dump_command
from bridge.webchat.read import parse_frame
from bridge.webchat.words import frame_bytes
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
def test_no_http_only_type_is_written_to_the_socket(dialect: Dialect) -> None:
    """Traps T27 and T29: no type from 1000 on, and no login type (1, 3, 4)."""
    kinds = {written(command, dialect)["type"] for command in EVERY_COMMAND}
    assert kinds == {2, 10, 101, 102, 103, 104, 110, 111, 112, 113, 120, 302}


def test_every_command_is_covered() -> None:
    assert {type(command) for command in EVERY_COMMAND} == set(Command.__args__)


def test_type_2_is_logout() -> None:
    """Trap T2: a comment in the guide calls it a login."""
    assert written(frames.Logout())["type"] == 2


@pytest.mark.parametrize("dialect", Dialect)
def test_commands_are_strict_json(dialect: Dialect) -> None:
    """Trap T1: one object with unique keys, no comments, and no constants unknown to JSON."""
    awkward = frames.SendMessage(S, frames.Text("// 'a', \"b\" \\ \n\t\0 \ud83d 😀 NaN,]"))
    for command in (*EVERY_COMMAND, awkward):
        text = dump_command(command, call_id=CallId(3), token="T", time_ms=1, dialect=dialect)
        strict = msgspec.json.decode(text)  # a strict reader, unlike the bridge's
        assert strict == json.loads(text, object_pairs_hook=_each_once)


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    assert len({key for key, _ in pairs}) == len(pairs)
    return dict(pairs)


@pytest.mark.parametrize(
    "printed",
    [
        '{"type": 203, "sessionId": 5150 "agentId": "K00017"}',
        '{"type": 203, "sessionId": 5150，"agentId": "K00017"}',
        "{'type': 203, 'sessionId': 5150, 'agentId': 'K00017'}",
        '{type: 203, sessionId: 5150, agentId: "K00017"}',
        '{"type": 203, "sessionId": 5150, // which session\n "agentId": "K00017"}',
        '{"type": 2, "messageId": 1, "result": 1,}',
    ],
)
def test_the_guides_notation_is_not_read_as_a_frame(printed: str) -> None:
    """Trap T1: a WebChat server never sends the notation of the guide."""
    assert parse_frame(printed) == frames.Ignored(frames.BROKEN)


def test_preview_is_no_pre_message() -> None:
    """Trap T28: 111 belongs to a request and is delivered later, 112 is shown in a session."""
    assert written(PRE)["type"] == 111
    assert "requestId" in written(PRE)
    assert written(PREVIEW, Dialect.Y2019)["type"] == 112
    assert "sessionId" in written(PREVIEW, Dialect.Y2019)


@pytest.mark.parametrize("typed", ["<b>1 < 2</b> & more", "&lt;", "null", "[1,2]", '{"a":1}'])
def test_customer_text_is_sent_unchanged(typed: str) -> None:
    """Traps T24 and T35: text is neither escaped as HTML nor interpreted as JSON."""
    scene = Scene()
    scene.begin()
    scene.text(typed)
    assert scene.last == message(typed)


@pytest.mark.parametrize("queued", [True, False])
def test_text_is_escaped_and_guarded_if_configured(*, queued: bool) -> None:
    """Traps T24 and T35: `escape_html` and `guard_json`, in 110 and 111, within the frame limit."""
    policy = Policy(queue_id=QueueId(7), escape_html=True, guard_json=True, max_text_bytes=200)
    scene = Scene(policy)
    if queued:
        scene.start()
        scene.reply(requestId=9001)
    else:
        scene.begin()
    typed = ["1 < 2 & so on", "[微笑]", "null", "<&>" * 100, "plain"]
    events = [scene.text(text) for text in typed]
    while scene.state.outstanding is not None:
        scene.reply()
    if queued:
        scene.push(202, sessionId=SESSION, agents=[MEI])
    sent = [str(text) for text in scene.texts]
    assert sent[:3] == ["1 &lt; 2 &amp; so on", "\u200b[微笑]", "\u200bnull"]
    assert sent[-1] == "plain"
    assert "".join(sent[3:-1]) == "&lt;&amp;&gt;" * 100
    assert all(frame_bytes(text) <= 203 for text in sent)
    assert scene.delivered == events


def test_rating_needs_no_rating_push() -> None:
    """Traps T20 and T21: a rating without a 203, and 0 as a rating."""
    scene = Scene()
    scene.begin()
    scene.rate(0)
    assert scene.last == {
        "type": 104,
        "sessionId": SESSION,
        "rating": {"id": 0, "comments": ""},
    }


def test_the_ended_session_is_rated_until_the_next_begins() -> None:
    """Trap T19: after 205 the old session id is used, after the next 202 the new one."""
    scene = Scene()
    scene.begin()
    scene.push(205, sessionId=SESSION, agentId="K00017")
    scene.rate(5)
    assert scene.last["sessionId"] == SESSION
    scene.reply()
    scene.begin(session=5151)
    scene.rate(4)
    assert scene.last["sessionId"] == 5151


def test_empty_agent_list_keeps_the_agents() -> None:
    """Trap T17: a rename is not a join, and an empty list not a departure."""
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
    """Trap T5: a 202 names no request; it may be queued, or still without a reply."""
    for replied in (True, False):
        scene = Scene()
        scene.text("one")
        if replied:
            scene.reply()
        scene.push(202, sessionId=SESSION, agents=[MEI])
        assert scene.phase == "Chatting"
        if not replied:
            scene.reply()
        assert scene.last == message("one")


def test_request_id_is_taken_from_the_first_frame_with_it() -> None:
    """Trap T3: a reply to 101, also a refusal, or a 201; 111 and 102 wait for the id."""
    for way in ("reply", "push", "refusal"):
        scene = Scene()
        scene.text("one")
        if way == "reply":
            scene.reply(requestId=9001)
        elif way == "refusal":
            scene.reply(-1, requestId=9001)
        else:
            scene.reply()
            assert scene.sent(111) == []
            scene.push(201, requestId=9001, requestStatus=0, queueLength=1)
        assert scene.last == {"type": 111, "requestId": 9001, "content": "one"}, way
        scene.reply()
        scene.cancel()
        assert scene.last == {"type": 102, "requestId": 9001}, way


def test_silence_in_the_queue_causes_no_second_101() -> None:
    """Trap T14: without a 202, there is no second 101 within 20 s."""
    scene = Scene()
    scene.text("one")
    scene.reply(requestId=9001)
    scene.reply()
    scene.later(20)
    assert len(scene.sent(101)) == 1


def test_pre_messages_are_not_sent_again() -> None:
    """Trap T22: the agent gets them on accepting; only a text refused by 111 is sent by 110."""
    scene = Scene()
    first = scene.queue_up("one")
    second = scene.text("two")
    scene.push(202, sessionId=SESSION, agents=[MEI])
    scene.reply(-10)  # the 111 of "two" arrived too late
    scene.reply()
    assert scene.sent(110) == [message("two")]
    assert scene.delivered == [first, second]


@pytest.mark.parametrize(
    ("content", "read"),
    [
        (None, "null"),
        (["微笑"], '["微笑"]'),
        ({"a": 1}, '{"a":1}'),
        (1.5, "1.5"),
        ("'[微笑]'", "[微笑]"),
        ('"{a}"', "{a}"),
        ('"quoted"', '"quoted"'),
    ],
)
def test_agent_text_damaged_by_a_json_library(content: object, read: str) -> None:
    """Trap T24: JSON values are shown as compact JSON, and added quotes are removed."""
    scene = Scene()
    scene.begin()
    scene.push(210, sessionId=SESSION, agentId="K00017", msg={"type": 1, "content": content})
    said = scene.relayed[0].content
    assert isinstance(said, frames.AgentText)
    assert said.html == read


@pytest.mark.parametrize("mine", [1, 9])
def test_call_ids_are_unique_except_for_repeats(mine: int) -> None:
    """Traps T11 and T12: a reply with an unknown call id answers the only waiting call."""
    scene = Scene()
    scene.begin()
    scene.text("one")
    scene.cut()
    scene.text("two")
    one, again = (call for call in scene.calls if call.event_id == "$1")
    assert one.call_id == again.call_id
    scene.reply()
    assert len({call.call_id for call in scene.calls}) == len(scene.calls) - 1
    protocol = Protocol("T")
    protocol.send(frames.SendMessage(S, frames.Text("hi")), CallId(3), 1)
    told = {"type": 110, "messageId": 3 + mine, "result": 1}
    answer = protocol.receive(json.dumps(told))
    assert isinstance(answer, Answered)
    assert answer.call_id == 3


def test_queue_position_zero_is_not_shown() -> None:
    """Trap T4: zero means being served."""
    scene = Scene()
    scene.start()
    scene.reply(requestId=9001, queueLength=0)
    assert "queue.position" not in scene.cards


def test_agents_comments_are_not_shown() -> None:
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
