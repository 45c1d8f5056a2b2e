"""The guide of 2016 frame by frame (sections 1 to 3), its examples corrected into valid JSON."""

import json

import pytest

from bridge.ids import AgentId, CallId, QueueId, RequestId, SessionId
from bridge.webchat.frames import (
    Agent,
    AgentsUpdated,
    AgentText,
    CancelRequest,
    ChatStarted,
    CloseSession,
    Command,
    Content,
    File,
    Image,
    Location,
    Logout,
    MessageReceived,
    Push,
    QueueStatus,
    RateSession,
    RatingPushed,
    Received,
    Reply,
    RequestChat,
    SendMessage,
    SendPreMessage,
    SessionClosed,
    Text,
    Voice,
)
from bridge.webchat.http import LoginReply, parse_login_reply, parse_upload_reply
from bridge.webchat.protocol import dump_command
from bridge.webchat.read import parse_frame

TOKEN = "6CF7BBEB-8D6B-A4DF-D80C-D04FF1016168"
TIME = 1400913140127


def wire(command: Command, call_id: int) -> dict[str, object]:
    text = dump_command(command, call_id=CallId(call_id), token=TOKEN, time_ms=TIME)
    told: dict[str, object] = json.loads(text)
    return told


def push(told: dict[str, object]) -> Push:
    found = parse_frame(json.dumps(told))
    assert isinstance(found, Received)
    return found.push


def reply(told: dict[str, object]) -> Reply:
    found = parse_frame(json.dumps(told))
    assert isinstance(found, Reply)
    return found


ENVELOPE: dict[str, object] = {"token": TOKEN, "time": TIME}


@pytest.mark.parametrize(
    ("command", "call_id", "expected"),
    [
        (Logout(), 1, {"type": 2}),
        (RequestChat(QueueId(1)), 2, {"type": 101, "queueId": 1, "from": "APP"}),
        (CancelRequest(RequestId(724)), 3, {"type": 102, "requestId": 724}),
        (CloseSession(SessionId(68)), 4, {"type": 103, "sessionId": 68}),
        (
            RateSession(SessionId(68), 1),
            5,
            {"type": 104, "sessionId": 68, "rating": {"id": 1, "comments": ""}},
        ),
        (
            SendPreMessage(RequestId(724), "xxxxxxxx"),
            7,
            {"type": 111, "requestId": 724, "content": "xxxxxxxx"},
        ),
    ],
)
def test_guide_2_commands(command: Command, call_id: int, expected: dict[str, object]) -> None:
    """Guide 2: every command, with the four common keys."""
    assert wire(command, call_id) == {"messageId": call_id, **expected, **ENVELOPE}


@pytest.mark.parametrize(
    ("said", "kind", "expected"),
    [
        (Text("你好"), 1, {"content": "你好", "extra": ""}),
        (
            Image("xxx.png", "http://xxxx/xxx.png", "xxxxx"),
            2,
            {
                "name": "xxx.png",
                "imageUri": "http://xxxx/xxx.png",
                "thumbData": "xxxxx",
                "extra": "",
            },
        ),
        (
            File("xxx.doc", "http://xxxxx/xxx.doc", 1024, "zip"),
            3,
            {
                "name": "xxx.doc",
                "url": "http://xxxxx/xxx.doc",
                "size": 1024,
                "type": "zip",
                "extra": "",
            },
        ),
        (
            Location(45.234, 180.345, "", "baidu", "xxxxx"),
            4,
            {
                "poi": "",
                "longitude": 180.345,
                "latitude": 45.234,
                "map": "baidu",
                "thumbData": "xxxxx",
                "extra": "",
            },
        ),
        (Voice(28, "xxxxx"), 5, {"voiceLength": 28, "voiceData": "xxxxx", "extra": ""}),
    ],
)
def test_guide_2_content(said: Content, kind: int, expected: dict[str, object]) -> None:
    """Guide 2: the five kinds of content in 110."""
    assert wire(SendMessage(SessionId(120), said), 6) == {
        "messageId": 6,
        "type": 110,
        "sessionId": 120,
        "msg": {"type": kind, "content": expected},
        **ENVELOPE,
    }


@pytest.mark.parametrize("kind", [2, 101, 102, 103, 104, 110, 111])
def test_guide_3_1_replies(kind: int) -> None:
    """Guide 3, first half: seven replies of the same form."""
    told: dict[str, object] = {"messageId": 4, "type": kind, "result": 1, "message": ""}
    assert reply(told) == Reply(kind, 1, call_id=CallId(4))


ELITE = Agent(AgentId("SELITE"), "Elite", "http://xxxx/head.png")
LORI = Agent(AgentId("A00001"), "Lori", "http://xxxx/lori.png", "小组长")
ELITE_ENTRY = {"id": "SELITE", "name": "Elite", "icon": "http://xxxx/head.png", "comments": ""}
LORI_ENTRY = {"id": "A00001", "name": "Lori", "icon": "http://xxxx/lori.png", "comments": "小组长"}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (
            {"type": 201, "requestId": 724, "requestStatus": 0, "queueLength": 3},
            QueueStatus(RequestId(724), 0, 3),
        ),
        (
            {"type": 202, "sessionId": 68, "agents": [ELITE_ENTRY]},
            ChatStarted(SessionId(68), (ELITE,)),
        ),
        (
            {"type": 203, "sessionId": 68, "agentId": "SELITE"},
            RatingPushed(SessionId(68), AgentId("SELITE")),
        ),
        (
            {"type": 204, "sessionId": 68, "agents": [ELITE_ENTRY, LORI_ENTRY]},
            AgentsUpdated(SessionId(68), (ELITE, LORI)),
        ),
        (
            {"type": 205, "sessionId": 68, "agentId": "SELITE"},
            SessionClosed(SessionId(68), AgentId("SELITE")),
        ),
        (
            {
                "type": 210,
                "sessionId": 68,
                "agentId": "SELITE",
                "msg": {"type": 1, "content": ""},
            },
            MessageReceived(SessionId(68), AgentId("SELITE"), AgentText("")),
        ),
    ],
)
def test_guide_3_2_pushes(told: dict[str, object], expected: Push) -> None:
    """Guide 3, second half: six pushes."""
    assert push(told) == expected


def test_guide_1_and_2_http_replies() -> None:
    """Guide 1 (login) and 2 (upload)."""
    told = {"result": 1, "message": "", "token": TOKEN, "config": {}}
    assert parse_login_reply(json.dumps(told).encode()) == LoginReply(1, TOKEN)
    told = {"result": 1, "message": "", "url": "/webchat/xxxxx.jpg", "fileName": "xxxxx.jpg"}
    assert parse_upload_reply(json.dumps(told).encode()) == (1, "/webchat/xxxxx.jpg")
