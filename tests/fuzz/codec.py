"""Target `codec`: the reading of everything a WebChat server can send, and the writing of commands.

The same bytes are read as a frame, as each of the HTTP bodies, as text to be split, and as a stored
command, which is then written in every dialect.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator

import msgspec

from bridge.ids import AgentId, CallId, QueueId, RequestId, SessionId
from bridge.webchat.codes import Dialect
from bridge.webchat.frames import (
    UNTYPED,
    CancelRequest,
    CloseSession,
    Command,
    File,
    Heartbeat,
    Ignored,
    Image,
    Location,
    Logout,
    Preview,
    RateSession,
    Receipt,
    Received,
    Reply,
    RequestChat,
    SendMessage,
    SendPreMessage,
    Text,
    TransferFromRobot,
    Typing,
    Voice,
)
from bridge.webchat.http import (
    parse_history_reply,
    parse_login_reply,
    parse_robot_reply,
    parse_upload_reply,
)
from bridge.webchat.protocol import Answered, LocalProtocolError, Protocol, dump_command, encode
from bridge.webchat.read import decoded, parse_frame, read_any, read_plain
from bridge.webchat.words import decode_emoji, frame_bytes, split_text
from tests.fuzz.target import Target

Frame = Reply | Received | Ignored
_KIND = re.compile(r"[A-Za-z0-9 -]{1,60}")
_GROWTH = 16
"""Maximum growth of a frame: a character may become an entity in JSON in JSON."""
_FIXED = 30_000
"""Additional bytes: unknown JSON is shown, up to 2,000 characters, each perhaps an entity."""
_FRAMES = msgspec.json.Decoder(Frame)
_COMMANDS = msgspec.json.Decoder(Command)
_INT64 = range(-(2**63), 2**63)


def run(data: bytes) -> None:
    text = decoded(data)
    _reads_frames(text)
    _reads_bodies(data)
    _answers(text)
    _splits(text)
    _writes(data)


def _reads_frames(text: str) -> None:
    frame = parse_frame(text, client_id="me")
    assert read_plain(text) in (None, read_any(text, "me")), "the fast way is no other reading"
    stored = msgspec.json.encode(frame)
    assert _FRAMES.decode(stored) == frame, "what is stored is what was read"
    assert len(stored) <= _GROWTH * len(text.encode()) + _FIXED, "no growth"
    _fit_to_store(msgspec.to_builtins(frame))
    if isinstance(frame, Ignored):
        assert _KIND.fullmatch(frame.kind), "a kind says nothing of the content"


def _fit_to_store(value: object) -> None:
    match value:
        case str():
            assert "\0" not in value, "no NUL"
            value.encode()
        case bool() | None:
            pass
        case int():
            assert value in _INT64, "integers have 64 bits"
        case float():
            assert math.isfinite(value), "numbers are finite"
        case dict():
            for key, inner in value.items():
                _fit_to_store(key)
                _fit_to_store(inner)
        case list() | tuple():
            for inner in value:
                _fit_to_store(inner)
        case _:
            raise AssertionError(f"{type(value)} in a frame")


def _reads_bodies(data: bytes) -> None:
    login = parse_login_reply(data)
    assert login is None or login.result != 1 or login.token, "a login that succeeds has a token"
    upload = parse_upload_reply(data)
    assert upload is None or upload[0] != 1 or upload[1], "an upload has an address"
    robot = parse_robot_reply(data)
    assert robot is None or all(one.title or one.preview for one in robot[1])
    history = parse_history_reply(data)
    if history is not None:
        _, entries = history
        _fit_to_store(msgspec.to_builtins(entries))
        moments = [entry.posted for entry in entries]
        assert not all(moments) or moments == sorted(moments), "a history is in order"


def _answers(text: str) -> None:
    """Assert that a reply answers one call of its type, and a repeated reply none.

    A reply without a type answers the call it names, or, if it names none, the only waiting one.
    """
    protocol = Protocol("secret", client_id="me")
    told = parse_frame(text)
    kind = told.type if isinstance(told, Reply) else None
    waiting = [command for command in COMMANDS if command.type == kind]
    for call_id, command in enumerate((Heartbeat(), *waiting, *waiting), start=1):
        protocol.send(command, CallId(call_id), 1)
    before = tuple(protocol.waiting)
    answer = protocol.receive(text)
    if not isinstance(answer, Answered):
        assert tuple(protocol.waiting) == before, "nobody was answered"
        return
    if answer.reply.type == UNTYPED:
        named = answer.reply.call_id
        assert named == answer.call_id if named is not None else len(before) == 1, "the one meant"
    else:
        assert answer.command.type == answer.reply.type, "the types agree"
    assert set(before) - set(protocol.waiting) == {answer.call_id}, "one call was answered"
    if answer.reply.call_id == answer.call_id:
        assert isinstance(protocol.receive(text), Ignored), "once"


def _splits(text: str) -> None:
    text = text[:4_000]
    faced = decode_emoji(text)
    assert len(faced) <= len(text) + 2, "a face is no longer than its code"
    for room in (16, 300):
        parts = split_text(text, room)
        assert "".join(parts) == (text if text.strip() else ""), "nothing is lost in splitting"
        assert all(part.strip() for part in parts), "no part is blank"
        assert all(
            frame_bytes(part) <= room or part.strip() != part or len(part.strip()) == 1
            for part in parts
        ), "each part fits"
        assert all(frame_bytes(part) == len(encode(part).encode()) - 2 for part in parts)


def _writes(data: bytes) -> None:
    try:
        command = _COMMANDS.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    for dialect in Dialect:
        try:
            text = dump_command(command, call_id=CallId(7), token="t", time_ms=1, dialect=dialect)
        except LocalProtocolError:
            continue
        told = json.loads(text, parse_constant=_refuse)
        assert told["type"] == command.type
        assert told["messageId"] == 7
        assert text.encode().decode() == text, "strict UTF-8"


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def _commands() -> Iterator[Command]:
    session, request = SessionId(5150), RequestId(9001)
    yield RequestChat(QueueId(1), "APP", "K00017")
    yield CancelRequest(request)
    yield CloseSession(session)
    yield RateSession(session, 5, "good")
    yield SendMessage(session, Text("Hello 🙂"))
    yield SendMessage(session, Image("a.png", "https://x.y/a.png"))
    yield SendMessage(session, File("a.zip", "https://x.y/a.zip", 5, "zip"))
    yield SendMessage(session, Location(39.9, 116.4, "Here"))
    yield SendMessage(session, Voice(2, "IyFBTVI="))
    yield SendPreMessage(request, "before")
    yield Preview(session, "bef")
    yield Typing(session)
    yield Receipt("rs-1")
    yield TransferFromRobot(session)
    yield Heartbeat()
    yield Logout()


COMMANDS = tuple(_commands())
MEI = {"id": "K00017", "name": "Mei", "icon": "headimg/mei.png", "comments": "tier 1"}
CUSTOMER = {"id": "7b0c2c58-6f0e-4d0e-9d51-0d7b3a3f5a10", "name": "room-42", "icon": ""}


def frames() -> Iterator[dict[str, object]]:
    """Yield a valid frame of each kind and revision."""
    yield {"type": 101, "messageId": 1, "result": 1, "requestId": "9001", "queueLength": 3}
    yield {"type": 101, "result": True, "sessionId": 5150, "perm": {}, "agentId": AgentId("K1")}
    yield {"type": 110, "messageId": 5, "result": -11, "message": "no such session"}
    yield {"type": 302, "messageId": 14, "result": 1, "robotType": 2}
    yield {
        "type": 200,
        "fileAcceptExtensionsArr": "*.jpg; png",
        "ratings": [{"id": 1, "name": "y"}],
    }
    yield {"type": 201, "data": {"requestId": 9001, "requestStatus": 0, "queueLength": "2"}}
    yield {"type": 202, "sessionId": 5150, "agents": [MEI], "continueLastSession": "true"}
    yield {"type": 202, "sessionId": 5150, "users": [MEI, CUSTOMER], "rsId": "7-1"}
    yield {"type": 203, "sessionId": 5150, "agentId": "K00017"}
    yield {"type": 204, "sessionId": 5150, "users": [MEI], "queueId": 2, "queueName": "Sales"}
    yield {"type": 205, "sessionId": 5150, "agentId": "K00017", "rsId": "7-2"}
    contents: tuple[tuple[int, object], ...] = (
        (1, "Hello <b>you</b> /::) [微笑] <img class='qqemoji qqemoji3'>"),
        (1, {"text": "later"}),
        (1, "'[1,2]'"),
        (2, "/9j/4AAQSkZJRgABAQ=="),
        (2, {"imgUrl": "/up/a.png", "imgName": "a.png"}),
        (2, "data:image/png;base64,iVBORw0KGgo="),
        (3, '{"name":"a.zip","url":"https://x.y/a.zip","size":"12"}'),
        (4, {"latitude": "39.9", "longitude": 116.4, "poi": "Here", "map": "baidu"}),
        (5, {"voiceLength": 2, "voiceData": "IyFBTVIK"}),
        (6, {"sightUrl": "up/a.mp4"}),
        (11, "up/a.amr"),
        (99, "Mei is away"),
        (42, {"odd": [None, 1.5e300]}),
    )
    for kind, content in contents:
        msg = {"type": kind, "content": content, "noticeType": 5}
        yield {"type": 210, "sessionId": 5150, "agentId": "K00017", "msg": msg}
    related = [{"title": "More", "relates": [{"name": "How?"}]}]
    said = {"type": "text", "content": "<p>Yes</p>", "relatedQuestions": related}
    yield {"type": 301, "sessionId": 5150, "robotType": 1, "content": said}
    order = {"type": "command", "content": {"code": "ZRG", "extra": "one moment"}}
    yield {"type": 301, "sessionId": 5150, "content": json.dumps(order)}
    yield {"type": 302, "sessionId": 5150, "queueLength": 4, "message": "wait"}


def bodies() -> Iterator[dict[str, object]]:
    """Yield a valid HTTP body of each kind."""
    yield {"type": 1, "result": 1, "token": "abc", "clientId": "me"}
    yield {"result": -9, "message": "not allowed"}
    yield {"result": 1, "url": "/up/a.png", "fileName": "a.png"}
    hit = {"title": "Returns", "preview": "<b>30</b> days", "ra": {"articleAId": 1, "path": "/x"}}
    yield {"result": 1, "searchResult": {"srs": [hit]}}
    yield {"srs": [hit]}
    row = {"id": 1, "userId": "K1", "userType": 2, "postTime": {"time": 1720000000000}, "text": "x"}
    yield {"result": 1, "hisMessages": [row, row | {"id": 2, "revokeFlag": 1, "message": "y"}]}


def commands() -> Iterator[bytes]:
    """Return the stored form of each command."""
    return (msgspec.json.encode(command) for command in COMMANDS)


def seeds() -> Iterable[bytes]:
    for told in (*frames(), *bodies()):
        yield json.dumps(told, ensure_ascii=False).encode()
    yield from commands()
    yield "a /::) b /:<W> c [微笑] 👨‍👩‍👧 🇨🇳 \ud83d".encode("utf-8", "surrogatepass")


TARGET = Target(
    "codec",
    run,
    seeds,
    words=(
        *('"type":', '"result":', '"messageId":', '"requestId":', '"sessionId":', '"queueLength":'),
        *('"msg":', '"content":', '"users":', '"agents":', '"agentId":', '"rsId":', '"data":'),
        *('"requestStatus":', '"hisMessages":', '"searchResult":', '"srs":', '"token":', '"url":'),
        *('"is":', '"SendMessage"', '"Text"', '"Location"', '"session_id":', "\\ud83d", "\\u0000"),
        *("101", "110", "200", "201", "202", "203", "204", "205", "210", "301", "302", "99"),
        *("NaN", "1e999", "null", "true", "[", "{", '"', "/::)", "qqemoji", "data:", ";base64,"),
    ),
    modules=("bridge.webchat",),
)
