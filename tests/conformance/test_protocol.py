"""Rows of the protocol reference, section 7: envelopes, calls, HTTP bodies, addresses.

Only what concerns the pure protocol package. Message contents are in `test_protocol_content.py`,
the frames of the guide in `test_protocol_guide.py`.
"""

import json

import pytest

from bridge.ids import AgentId, CallId, QueueId, RequestId, SessionId
from bridge.webchat.codes import LoginType, Progress, meaning, progress
from bridge.webchat.frames import (
    Agent,
    CancelRequest,
    ChatStarted,
    CloseSession,
    Command,
    Heartbeat,
    Ignored,
    Push,
    QueueStatus,
    Receipt,
    Received,
    Reply,
    RequestChat,
    SendMessage,
    Text,
)
from bridge.webchat.http import (
    Endpoints,
    Login,
    LoginReply,
    dump_login,
    login_sign,
    parse_login_reply,
    parse_robot_reply,
    parse_upload_reply,
    robot_form,
    robot_sign,
)
from bridge.webchat.protocol import Answered, LocalProtocolError, Protocol, dump_command
from bridge.webchat.read import parse_frame

TOKEN = "6CF7BBEB-8D6B-A4DF-D80C-D04FF1016168"
TIME = 1400913140127
SESSION = SessionId(5150)
HELLO = SendMessage(SESSION, Text("my parcel is late"))
MEI = Agent(AgentId("K00017"), "Mei", "", "tier 1")
MEI_ENTRY: dict[str, object] = {"id": "K00017", "name": "Mei", "icon": "", "comments": "tier 1"}
CUSTOMER_ENTRY: dict[str, object] = {
    "id": "7b0c2c58-6f0e-4d0e-9d51-0d7b3a3f5a10",
    "name": "room-42",
    "icon": "",
}
HTML = b"<html><body><h1>503</h1></body></html>"


def wire(command: Command, call_id: int = 1) -> dict[str, object]:
    text = dump_command(command, call_id=CallId(call_id), token=TOKEN, time_ms=TIME)
    told: dict[str, object] = json.loads(text)
    return told


def push(told: dict[str, object], client_id: str = "") -> Push:
    found = parse_frame(json.dumps(told), client_id=client_id)
    assert isinstance(found, Received)
    return found.push


def reply(told: dict[str, object]) -> Reply:
    found = parse_frame(json.dumps(told))
    assert isinstance(found, Reply)
    return found


def linked(*commands: Command) -> Protocol:
    """Return a protocol on which these commands wait with call ids 1, 2, …"""
    protocol = Protocol(TOKEN)
    for call_id, command in enumerate(commands, 1):
        protocol.send(command, CallId(call_id), TIME)
    return protocol


def test_01_login_body() -> None:
    """Row 1: the login body is JSON with the guide's four fields."""
    assert dump_login(Login(LoginType.PASSWORD, "lori", "")) == (
        b'{"type":1,"loginName":"lori","password":"","epid":""}'
    )


def test_02_login_sign() -> None:
    """Row 2: the sign is the MD5 of the body's bytes and the key."""
    body = dump_login(Login(LoginType.REGISTER, "room-42", display_name="小林"))
    assert login_sign(body, "DEMO_KEY_0001") == "89453c6fbca4de09197944045a55b56f"


def test_03_login_body_contains_no_sign() -> None:
    """Row 3: the sign is an HTTP header, set by the link."""
    assert "sign" not in json.loads(
        dump_login(Login(LoginType.REGISTER, "room-42", display_name="小林"))
    )


def test_04_login_refused() -> None:
    """Row 4: -20 is a refusal that is reported and not retried."""
    refused = parse_login_reply(b'{"result":-20,"message":"bad login"}')
    assert refused == LoginReply(-20)
    assert meaning(-20).hopeless


def test_05_html_error_page_is_not_a_refusal() -> None:
    """Row 5: an HTML page is not a refusal."""
    assert parse_login_reply(HTML) is None


def test_07_token_in_the_socket_address_is_escaped() -> None:
    address = Endpoints("https://h/webchat").socket("A+B/=")
    assert address == "wss://h/webchat/cws?token=A%2BB%2F%3D"


def test_09_token_refused_in_a_frame() -> None:
    """Row 9: the outcome contains the command to send again after a new login."""
    outcome = linked(RequestChat(QueueId(7))).receive('{"type":101,"messageId":1,"result":-15}')
    assert isinstance(outcome, Answered)
    assert outcome.command == RequestChat(QueueId(7))
    assert meaning(outcome.reply.result).relogin


def test_10_pipelined_refusals_keep_their_order() -> None:
    """Row 10: twenty refusals without ids answer twenty calls, in order."""
    protocol = linked(*[HELLO] * 20)
    outcomes = [protocol.receive('{"type":110,"result":-15}') for _ in range(20)]
    calls = [outcome.call_id for outcome in outcomes if isinstance(outcome, Answered)]
    assert calls == list(range(1, 21))


def test_12_request_id_arrives_by_201() -> None:
    """Row 12: the request id arrives by 201."""
    assert reply({"messageId": 3, "type": 101, "result": 1, "message": ""}).request_id is None
    status = push({"type": 201, "requestId": 9001, "requestStatus": 0, "queueLength": 2})
    assert status == QueueStatus(RequestId(9001), 0, 2)


def test_13_request_id_in_101() -> None:
    queued = reply({"type": 101, "result": 1, "requestId": 9001, "queueLength": 3})
    assert (queued.request_id, queued.queue_length) == (9001, 3)


def test_16_status_nested_in_data() -> None:
    """Row 16: flat and nested fields give the same push."""
    told: dict[str, object] = {"requestId": 9001, "requestStatus": 0, "queueLength": 2}
    assert push({"type": 201, "data": told}) == push({"type": 201, **told})


def test_24_already_routing() -> None:
    """Row 24: a refused 101 may still contain the request id."""
    refused = reply({"type": 101, "messageId": 3, "result": -1, "requestId": 9001})
    assert not refused.ok
    assert refused.request_id == 9001
    assert not meaning(refused.result).hopeless
    assert not meaning(refused.result).relogin


def test_31_unknown_status() -> None:
    """Row 31: an unknown status ends the request; its number is kept."""
    assert push({"type": 201, "requestId": 9001, "requestStatus": 42}) == QueueStatus(
        RequestId(9001), 42
    )
    assert progress(42) is Progress.OVER


def test_32_status_11_is_not_an_error() -> None:
    """Row 32: status 11 is not an error."""
    assert progress(11) is Progress.ACCEPTED


def test_33_robot_session_starts_with_the_reply() -> None:
    """Row 33: the reply has a session and a robot, but no request id."""
    taken = reply(
        {
            "type": 101,
            "result": 1,
            "sessionId": 5150,
            "agentId": "BOT007",
            "agentName": "Helper",
            "robotType": 3,
            "queueLength": 0,
        }
    )
    assert (taken.session_id, taken.robot_type, taken.request_id) == (5150, 3, None)
    assert taken.agents == (Agent(AgentId("BOT007"), "Helper"),)


def test_36_permanent_session() -> None:
    taken = reply({"type": 101, "result": 1, "sessionId": 5150, "perm": 1, "agentId": "K00017"})
    assert taken.permanent
    assert taken.session_id == 5150


def test_37_continued_session() -> None:
    told: dict[str, object] = {"type": 202, "sessionId": 5150, "continueLastSession": True}
    assert push(told) == ChatStarted(SESSION, continued=True)
    assert reply({**told, "type": 101, "result": 1}).continued


@pytest.mark.parametrize("client_id", ["", str(CUSTOMER_ENTRY["id"])])
def test_38_users_list(client_id: str) -> None:
    """Row 38: the customer is not an agent, whether or not the client id is known."""
    told = {"type": 202, "sessionId": 5150, "users": [CUSTOMER_ENTRY, MEI_ENTRY]}
    assert push(told, client_id) == ChatStarted(SESSION, (MEI,))


@pytest.mark.parametrize("client_id", ["", str(CUSTOMER_ENTRY["id"])])
def test_39_agents_list(client_id: str) -> None:
    """Row 39: the list under its name in dialect 2016."""
    told = {"type": 202, "sessionId": 5150, "agents": [MEI_ENTRY]}
    assert push(told, client_id) == ChatStarted(SESSION, (MEI,))


def test_49_session_invalid() -> None:
    """Row 49: the vendor's `originalMessage` is ignored."""
    plain = reply({"messageId": 9, "type": 110, "result": -11})
    wrapped = reply({"messageId": 9, "type": 110, "result": -11, "originalMessage": {"content": 1}})
    assert plain == wrapped
    assert not meaning(plain.result).hopeless
    assert not meaning(plain.result).relogin


@pytest.mark.parametrize("frame", ['{"type":299}', '{"sessionId":1}', "hello", "[1,2]", "\0\ufffd"])
def test_63_meaningless_frames_are_ignored(frame: str) -> None:
    """Row 63: the reason to be logged contains nothing of the frame's content."""
    found = parse_frame(frame)
    assert isinstance(found, Ignored)
    assert found.kind
    assert "hello" not in found.kind
    assert Protocol(TOKEN).receive(frame) == found


def test_64_receipt() -> None:
    """Row 64 in the protocol: the receipt has the push's id, and no answer is expected."""
    received = parse_frame('{"type":205,"sessionId":5150,"agentId":"K00017","rsId":"r-1"}')
    assert isinstance(received, Received)
    protocol = linked()
    assert json.loads(protocol.send(Receipt(received.rs_id), CallId(1), TIME))["rsId"] == "r-1"
    assert not protocol.waiting


def test_67_no_receipt_id_in_2016() -> None:
    received = parse_frame('{"type":205,"sessionId":5150,"agentId":"K00017"}')
    assert isinstance(received, Received)
    assert received.rs_id == ""


def test_68_heartbeat_frame() -> None:
    """Row 68 in the protocol: a heartbeat has only two keys."""
    assert wire(Heartbeat(), 2) == {"messageId": 2, "type": 10}


def test_69_refused_heartbeat_counts_as_an_answer() -> None:
    outcome = linked(Heartbeat()).receive('{"messageId":1,"type":10,"result":-12}')
    assert isinstance(outcome, Answered)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/webchat/a.jpg", "https://h/webchat/a.jpg"),
        ("/up/a.jpg", "https://h/webchat/up/a.jpg"),
        ("up/a.jpg", "https://h/webchat/up/a.jpg"),
        ("https://cdn/a.jpg", "https://cdn/a.jpg"),
    ],
)
def test_77_upload_url(url: str, expected: str) -> None:
    """Row 77: each form of upload URL is made absolute."""
    assert Endpoints("https://h/webchat").absolute(url) == expected


@pytest.mark.parametrize("code", [-16, -21])
def test_78_upload_refused(code: int) -> None:
    """Row 78 in the protocol."""
    assert parse_upload_reply(json.dumps({"result": code}).encode()) == (code, "")
    assert not meaning(code).resend


def test_79_reply_without_id() -> None:
    """Row 79: the reply answers the oldest call of its type."""
    outcome = linked(RequestChat(QueueId(7)), HELLO, HELLO).receive('{"type":110,"result":1}')
    assert isinstance(outcome, Answered)
    assert outcome.call_id == 2


def test_80_ids_as_strings() -> None:
    """Row 80: ids are read in any form and written as integers."""
    told = reply({"type": 101, "result": "1", "requestId": "9001", "sessionId": 5150.0})
    assert told.ok
    assert (told.request_id, told.session_id) == (9001, 5150)
    assert told.request_id is not None
    assert told.session_id is not None
    assert wire(CancelRequest(told.request_id))["requestId"] == 9001
    text = dump_command(CloseSession(told.session_id), call_id=CallId(1), token=TOKEN, time_ms=TIME)
    assert '"sessionId":5150}' in text


def test_82_robot_sign() -> None:
    """Row 82: the sign of the guide's example."""
    form = robot_form("E00001", "测试", "123456")
    assert form["sign"] == "78f2252ff6452a870574b1a51f85a08f"
    assert robot_sign(form, "123456") == form["sign"]


def test_83_robot_without_answers() -> None:
    assert parse_robot_reply(b'{"searchResult":{"question":"x"},"result":1}') == (1, ())


def test_86_secrets_are_not_disclosed() -> None:
    """Row 86 in the protocol: no repr or error contains a token or password."""
    assert "hunter2" not in repr(Login(LoginType.PASSWORD, "lori", "hunter2"))
    assert "hunter2" not in repr(parse_login_reply(b'{"result":1,"token":"hunter2"}'))
    protocol = Protocol("hunter2")
    with pytest.raises(LocalProtocolError) as caught:
        protocol.send(SendMessage(SESSION, Text("")), CallId(1), TIME)
    assert "hunter2" not in repr(caught.value)
    assert "hunter2" not in repr(protocol)
