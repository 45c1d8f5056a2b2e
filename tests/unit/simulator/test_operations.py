"""The control operations: their names, who they are about, what each does."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from bridge.ids import SessionId
from bridge.simulator import operations
from bridge.simulator.operations import BadOpError
from bridge.simulator.state import HangUp
from tests.unit.simulator.centres import Phone, chatting, codes, frames, join, make_centre, perform

NAMES = {shape.__name__ for shape in operations.OPERATIONS}


def test_the_contract_of_scripts_is_kept() -> None:
    """These names stay; others may join them."""
    promised = (
        "accept refuse say image file typing push_rating agents transfer conference close kick "
        "expire_token forget restart set"
    )
    assert set(promised.split()) <= NAMES


def test_unknown_field_is_named() -> None:
    with pytest.raises(BadOpError, match="unknown field `mood`"):
        perform(make_centre(), {"op": "close", "mood": "good"})


def test_the_only_customer_needs_no_name() -> None:
    centre = make_centre()
    for op in ({"op": "kick"}, {"op": "expire_token"}, {"op": "push", "frame": {"type": 299}}):
        with pytest.raises(BadOpError, match="nobody has logged in"):
            perform(centre, op)
    ada = join(centre)
    assert perform(centre, {"op": "kick"}).outgoing == [HangUp("ada", 1001)]
    assert (
        frames(perform(centre, {"op": "push", "frame": {"type": 299}}).outgoing)[0]["type"] == 299
    )
    perform(centre, {"op": "expire_token"})
    assert not ada.tokens
    join(centre, "bob")
    with pytest.raises(BadOpError, match="say which login: 2 have logged in"):
        perform(centre, {"op": "kick"})


def test_session_is_chosen_by_login_or_number_or_as_the_only_one() -> None:
    centre = make_centre()
    chatting(centre, "ada")
    Phone(centre, "bob").queue()
    Phone(centre, "eve").queue()
    for named in ({}, {"login": "ada"}, {"session": 5001}):
        assert perform(centre, {"op": "typing", **named}).answer["session"] == 5001
    with pytest.raises(BadOpError, match="bob has no open session"):
        perform(centre, {"op": "close", "login": "bob"})
    assert perform(centre, {"op": "refuse"}).answer == {"request": 9002}
    assert perform(centre, {"op": "refuse", "login": "eve"}).answer == {"request": 9003}
    Phone(centre, "zoe").queue()
    done = perform(centre, {"op": "accept", "request": 9004, "agent": "A00002"})
    assert done.answer == {"request": 9004, "session": 5002}


def test_accept_takes_the_named_request_or_the_oldest() -> None:
    centre = make_centre()
    for name in ("a", "b", "c"):
        Phone(centre, name).queue()
    assert perform(centre, {"op": "accept", "login": "b"}).answer == {
        "request": 9002,
        "session": 5001,
    }
    assert perform(centre, {"op": "accept", "request": 9003}).answer["session"] == 5002
    done = perform(centre, {"op": "accept", "agent": "A00002"})
    assert done.answer == {"request": 9001, "session": 5003}
    assert [agent.id for agent in centre.sessions[SessionId(5003)].agents] == ["A00002"]


def test_refuse_ends_a_request_and_moves_the_others() -> None:
    centre = make_centre()
    Phone(centre, "a").queue()
    Phone(centre, "b").queue()
    done = perform(centre, {"op": "refuse", "status": 3})
    assert codes(done.outgoing) == [(201, 3), (201, 0)]
    assert [request.customer.login for request in centre.requests.values()] == ["b"]


@pytest.mark.parametrize(
    ("op", "msg"),
    [
        ({"op": "say", "text": "<b>hi</b>"}, {"type": 1, "content": "<b>hi</b>"}),
        ({"op": "notice", "text": "moved"}, {"type": 99, "content": "moved"}),
        (
            {"op": "notice", "text": "moved", "notice_type": 11},
            {"type": 99, "content": "moved", "noticeType": 11},
        ),
        ({"op": "typing"}, {"type": 99, "content": "", "noticeType": 5}),
        (
            {"op": "location", "latitude": 1.5, "longitude": 2.5, "poi": "here"},
            {
                "type": 4,
                "content": {
                    "poi": "here",
                    "longitude": 2.5,
                    "latitude": 1.5,
                    "map": "baidu",
                    "thumbData": "",
                    "extra": "",
                },
            },
        ),
        (
            {"op": "file", "name": "Terms.PDF", "text": "abc"},
            {
                "type": 3,
                "content": {
                    "name": "Terms.PDF",
                    "url": "/webchat/up/1/Terms.PDF",
                    "size": 3,
                    "type": "pdf",
                },
            },
        ),
        (
            {"op": "image", "style": "object"},
            {
                "type": 2,
                "content": {"imgUrl": "/webchat/up/1/picture.png", "imgName": "picture.png"},
            },
        ),
    ],
)
def test_messages_of_agents(op: dict[str, object], msg: dict[str, object]) -> None:
    centre = make_centre()
    phone, session = chatting(centre)
    (frame,) = frames(perform(centre, op).outgoing)
    assert frame == {"type": 210, "sessionId": session, "agentId": "A00001", "msg": msg}
    assert phone.customer.said[0]["type"] == msg["type"]


def test_a_file_can_travel_as_json_text() -> None:
    centre = make_centre()
    chatting(centre)
    op = {"op": "file", "name": "a.bin", "data": "AAEC", "as_text": True}
    done = perform(centre, op)
    msg = frames(done.outgoing)[0]["msg"]
    assert isinstance(msg, dict)
    assert json.loads(msg["content"])["size"] == 3
    assert done.answer["sha256"] == hashlib.sha256(b"\x00\x01\x02").hexdigest()


@pytest.mark.parametrize(
    ("op", "start"),
    [
        ({"op": "image"}, b"\x89PNG\r\n"),
        ({"op": "image", "data": base64.b64encode(b"GIF89a").decode()}, b"GIF89a"),
        ({"op": "voice", "seconds": 1}, b"#!AMR\n"),
        ({"op": "voice", "data": base64.b64encode(b"#!AMR\nx").decode()}, b"#!AMR\nx"),
    ],
)
def test_pictures_and_voices_travel_as_base64(op: dict[str, object], start: bytes) -> None:
    centre = make_centre()
    chatting(centre)
    done = perform(centre, op)
    msg = frames(done.outgoing)[0]["msg"]
    assert isinstance(msg, dict)
    body = base64.b64decode(msg["content"])
    assert body.startswith(start)
    assert (done.answer["size"], done.answer["sha256"]) == (
        len(body),
        hashlib.sha256(body).hexdigest(),
    )


def test_a_picture_can_travel_as_a_data_uri() -> None:
    centre = make_centre()
    chatting(centre)
    msg = frames(perform(centre, {"op": "image", "style": "data-uri"}).outgoing)[0]["msg"]
    assert isinstance(msg, dict)
    assert str(msg["content"]).startswith("data:image/png;base64,")


def test_agents_come_and_go() -> None:
    centre = make_centre()
    _, session = chatting(centre)

    def people(op: dict[str, object]) -> list[str]:
        (frame,) = frames(perform(centre, op).outgoing)
        assert (frame["type"], frame["sessionId"]) == (204, session)
        agents = frame["agents"]
        assert isinstance(agents, list)
        return [agent["id"] for agent in agents]

    assert people({"op": "conference", "to": "A00002"}) == ["A00001", "A00002"]
    assert people({"op": "transfer", "to": "A00002"}) == ["A00002"]
    assert people({"op": "agents", "agents": [{"id": "X", "name": "Xia", "icon": ""}]}) == ["X"]
    done = perform(centre, {"op": "transfer", "to": "A00001", "queue": 8, "queue_name": "Returns"})
    frame = frames(done.outgoing)[0]
    assert (frame["queueId"], frame["queueName"]) == (8, "Returns")


def test_close_and_rating_name_their_agent() -> None:
    centre = make_centre()
    _, session = chatting(centre)
    named = {"sessionId": session, "agentId": "A00002"}
    pushed = frames(perform(centre, {"op": "push_rating", "agent": "A00002"}).outgoing)
    assert pushed == [{"type": 203, **named}]
    closed = frames(perform(centre, {"op": "close", "agent": "A00002"}).outgoing)
    assert closed == [{"type": 205, **named}]
    assert centre.sessions == {}


def test_any_frame_can_be_pushed() -> None:
    centre = make_centre()
    join(centre)
    done = perform(centre, {"op": "push", "login": "ada", "frame": {"type": 299}})
    assert frames(done.outgoing) == [{"type": 299}]


def test_memory_can_be_lost_by_kind() -> None:
    centre = make_centre()
    phone, session = chatting(centre, "a")
    waiting = Phone(centre, "b")
    waiting.queue()
    perform(centre, {"op": "forget", "what": "sessions"})
    assert codes(phone.text(session, "x")) == [(110, -11)]
    assert codes(phone.send(104, sessionId=session, rating={"id": 1, "comments": ""})) == [
        (104, -11)
    ]
    assert phone.customer.sessions[0].ended_by == "forgotten"
    perform(centre, {"op": "forget", "what": "requests"})
    assert codes(waiting.send(102, requestId=9002)) == [(102, -10)]
    perform(centre, {"op": "forget", "what": "tokens"})
    assert codes(waiting.queue()) == [(101, -15)]


def test_one_token_can_expire() -> None:
    centre = make_centre()
    phone, other = Phone(centre, "a"), Phone(centre, "b")
    perform(centre, {"op": "expire_token", "login": "a"})
    assert codes(phone.queue()) == [(101, -15)]
    assert codes(other.queue())[0] == (101, 1)


def test_restart_closes_all_sockets_and_forgets_what_is_named() -> None:
    centre = make_centre()
    chatting(centre, "a")
    join(centre, "b")
    op = {"op": "restart", "seconds": 5, "forget": ["sessions"]}
    done = perform(centre, op, 100)
    assert done.outgoing == [HangUp("a", 1001), HangUp("b", 1001)]
    assert (centre.down_until, centre.sessions) == (105, {})


def test_kick_needs_a_socket() -> None:
    centre = make_centre()
    join(centre, "a")
    assert perform(centre, {"op": "kick", "login": "a", "code": 1006}).outgoing == [
        HangUp("a", 1006)
    ]
    join(centre, "b", linked=False)
    with pytest.raises(BadOpError, match="b has no open socket"):
        perform(centre, {"op": "kick", "login": "b"})


def test_set_changes_options_and_faults() -> None:
    centre = make_centre()
    op = {"op": "set", "options": {"script": "echo"}, "faults": [{"fault": "drop", "type": 202}]}
    perform(centre, op)
    assert centre.options.script == "echo"
    assert centre.faults.describe() == [{"fault": "drop", "type": 202}]
    # Without the key the faults stay.
    perform(centre, {"op": "set", "options": {}})
    assert len(centre.faults.describe()) == 1


@pytest.mark.parametrize(
    ("op", "sentence"),
    [
        ({}, "op must be one of accept, refuse, "),
        ({"op": "dance"}, "op must be one of accept, refuse, "),
        ({"op": ["say"]}, "op must be one of accept, refuse, "),
        ({"op": "say"}, "missing required field `text`"),
        ({"op": "say", "text": "x", "mood": 1}, "unknown field `mood`"),
        ({"op": "say", "text": "x"}, "no session is open"),
        ({"op": "say", "text": "x", "session": 1}, "session 1 is not open"),
        ({"op": "say", "text": "x", "login": "eve"}, "nobody has logged in as 'eve'"),
        ({"op": "say", "text": "x", "login": "ada"}, "ada has no open session"),
        ({"op": "accept"}, "nobody is waiting"),
        ({"op": "accept", "login": "ada"}, "ada is not waiting"),
        ({"op": "accept", "request": 1}, "no request 1 is waiting"),
        ({"op": "set", "options": {"mood": 1}}, "there is no switch mood"),
        ({"op": "set", "options": {"script": "sing"}}, "Invalid enum value 'sing'"),
        ({"op": "set", "options": {"frame_limit": 0}}, "Expected `int` >= 1 - at `$.frame_limit`"),
        ({"op": "set", "options": {"context": "/x"}}, "context cannot change"),
        ({"op": "set", "faults": [{"fault": "answer"}]}, "answer needs a result"),
        (
            {"op": "set", "faults": [{"fault": "drop", "count": 0}]},
            "Expected `int` >= 1 - at `$.faults[0].count`",
        ),
        ({"op": "forget", "what": "names"}, "names"),
        ({"op": "kick", "login": "ada", "code": 7}, "Expected `int` >= 1000 - at `$.code`"),
    ],
)
def test_a_bad_operation_is_refused_with_a_sentence(op: dict[str, object], sentence: str) -> None:
    centre = make_centre()
    join(centre)
    with pytest.raises(BadOpError, match=re.escape(sentence)):
        perform(centre, op)


@pytest.mark.parametrize(
    ("op", "sentence"),
    [
        ({"op": "transfer", "to": "nobody"}, "no agent 'nobody' is online"),
        ({"op": "conference", "to": "A00001"}, "in the session already"),
        ({"op": "image", "data": "!"}, "not base64"),
        ({"op": "image", "width": 0}, "Expected `int` >= 1 - at `$.width`"),
        ({"op": "voice", "seconds": 61}, "Expected `int` <= 60 - at `$.seconds`"),
        ({"op": "file", "name": ""}, "Expected `str` of length >= 1 - at `$.name`"),
    ],
)
def test_a_bad_operation_on_a_session(op: dict[str, object], sentence: str) -> None:
    centre = make_centre()
    phone, _ = chatting(centre)
    with pytest.raises(BadOpError, match=re.escape(sentence)):
        perform(centre, op)
    assert phone.customer.said == []


def test_refusing_needs_a_status_that_ends() -> None:
    centre = make_centre()
    Phone(centre).queue()
    with pytest.raises(BadOpError, match="ends the request"):
        perform(centre, {"op": "refuse", "status": 0})


def test_accepting_needs_an_agent() -> None:
    centre = make_centre()
    Phone(centre).queue()
    perform(centre, {"op": "set", "options": {"agents": []}})
    with pytest.raises(BadOpError, match="no agent is online"):
        perform(centre, {"op": "accept"})
    assert len(centre.requests) == 1


def test_two_open_sessions_need_a_choice() -> None:
    centre = make_centre()
    chatting(centre, "a")
    chatting(centre, "b")
    with pytest.raises(BadOpError, match="2 are open"):
        perform(centre, {"op": "say", "text": "x"})
    assert perform(centre, {"op": "say", "text": "x", "login": "b"}).answer["session"] == 5002


def test_agents_sign_on_and_off() -> None:
    centre = make_centre()
    perform(centre, {"op": "sign_on", "agent": {"id": "A00003", "name": "Lin"}})
    perform(centre, {"op": "sign_on", "agent": {"id": "A00001", "name": "Mei Li"}})
    perform(centre, {"op": "sign_off", "agent": "A00002"})
    online = [(agent.id, agent.name) for agent in centre.options.agents]
    assert online == [("A00003", "Lin"), ("A00001", "Mei Li")]
    with pytest.raises(BadOpError, match="no agent 'A00002' is online"):
        perform(centre, {"op": "sign_off", "agent": "A00002"})
    with pytest.raises(BadOpError, match="must have an id"):
        perform(centre, {"op": "sign_on", "agent": {"id": ""}})


def test_one_of_several_agents_can_leave() -> None:
    centre = make_centre()
    chatting(centre)
    with pytest.raises(BadOpError, match="A00001 is not one of several"):
        perform(centre, {"op": "leave"})
    perform(centre, {"op": "conference", "to": "A00002"})
    with pytest.raises(BadOpError, match="X is not one of several"):
        perform(centre, {"op": "leave", "agent": "X"})
    (updated,) = frames(perform(centre, {"op": "leave", "agent": "A00001"}).outgoing)
    assert isinstance(updated["agents"], list)
    assert [agent["id"] for agent in updated["agents"]] == ["A00002"]


def test_changes_of_agents_can_be_announced_by_notices() -> None:
    centre = make_centre(dialect="2019", change_notices=True)
    chatting(centre)
    told = []
    operations: tuple[dict[str, object], ...] = (
        {"op": "conference", "to": "A00002"},
        {"op": "leave"},
        {"op": "transfer", "to": "A00001"},
        {"op": "agents", "agents": [{"id": "A00001", "name": "Mei Li"}]},
    )
    for op in operations:
        notices = [frame["msg"] for frame in frames(perform(centre, op).outgoing)[1:]]
        told.append([msg["noticeType"] for msg in notices if isinstance(msg, dict)])
    assert told == [[10], [12], [11], []]


def test_a_notice_of_the_later_guides_always_has_a_type() -> None:
    centre = make_centre(dialect="2019")
    chatting(centre)
    (frame,) = frames(perform(centre, {"op": "notice", "text": "moved"}).outgoing)
    assert frame["msg"] == {"type": 99, "content": "moved", "noticeType": 99}


def test_a_voice_can_travel_as_an_object_or_be_at_an_address() -> None:
    told: list[dict[str, object]] = []
    for style in ("object", "address"):
        centre = make_centre()
        chatting(centre)
        operation = {"op": "voice", "style": style, "seconds": 1}
        (frame,) = frames(perform(centre, operation).outgoing)
        msg = frame["msg"]
        assert isinstance(msg, dict)
        told.append(msg["content"])
    within, beside = told
    assert within["voiceLength"] == 1
    assert base64.b64decode(str(within["voiceData"])).startswith(b"#!AMR\n")
    assert str(beside.pop("voiceUri")).endswith("voice.amr")
    assert beside == {"voiceLength": 1, "voiceType": "amr"}


def test_a_transfer_names_a_queue_that_has_a_name() -> None:
    centre = make_centre(queue_names={"8": "Returns"})
    chatting(centre)
    op = {"op": "transfer", "to": "A00002", "queue": 8}
    (frame,) = frames(perform(centre, op).outgoing)
    assert (frame["queueId"], frame["queueName"]) == (8, "Returns")
