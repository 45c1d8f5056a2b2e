"""Encoder: commands as wire text (guide 2; protocol reference 1.2, 1.5, 5).

`dump_command` is strict where the reader is tolerant: it writes one dialect, key for key as its
guide prints it, as strict JSON, and raises `LocalProtocolError` on what the server would have to
refuse. In the dialect of 2016 every key that the guide prints is written, `""` where we have
nothing to say: the guide marks no field as optional. The later guides rename three keys and say
which may be left out; all of that difference is in `_spelled` and the tables before it. The later
commands (10, 112, 113, 120, 302) have no 2016 shape; they are written as the reference shows them.
"""

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import assert_never

import msgspec

from bridge.ids import CallId
from bridge.webchat.codes import Dialect, FrameType, MessageType
from bridge.webchat.frames import (
    CancelRequest,
    CloseSession,
    Command,
    Content,
    File,
    Heartbeat,
    Image,
    Location,
    Logout,
    Preview,
    RateSession,
    Receipt,
    RequestChat,
    SendMessage,
    SendPreMessage,
    Text,
    TransferFromRobot,
    Typing,
    Video,
    Voice,
)


class LocalProtocolError(ValueError):
    """We were about to send what must never be sent: a bug of the caller, nothing left us.

    The message names the field, never its content, so it may be logged.
    """


_Fields = dict[str, object]

_INT64 = range(-(2**63), 2**63)
_CALL_IDS = range(2**31)  # trap T11: the server may keep them in a Java int

_TYPES: Mapping[type[Command], FrameType] = MappingProxyType(
    {
        Logout: FrameType.LOGOUT,
        Heartbeat: FrameType.HEARTBEAT,
        RequestChat: FrameType.REQUEST_CHAT,
        CancelRequest: FrameType.CANCEL_REQUEST,
        CloseSession: FrameType.CLOSE_SESSION,
        RateSession: FrameType.RATE_SESSION,
        SendMessage: FrameType.SEND_MESSAGE,
        SendPreMessage: FrameType.SEND_PRE_MESSAGE,
        Preview: FrameType.PREVIEW,
        Typing: FrameType.TYPING,
        Receipt: FrameType.RECEIPT,
        TransferFromRobot: FrameType.ROBOT_TRANSFER,
    }
)

_OPTIONAL = frozenset({"extra", "thumbData", "size", "type", "poi", "map", "ratingComments"})
"""Keys of content and rating that the later guides mark as optional."""
_RENAMED_TEXT: Mapping[str, str] = MappingProxyType({"content": "text"})
_RENAMED_RATING: Mapping[str, str] = MappingProxyType(
    {"id": "ratingId", "comments": "ratingComments"}
)
_SAME_NAMES: Mapping[str, str] = MappingProxyType({})

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_FAST_ENCODER = msgspec.json.Encoder()
"""Writes the same bytes for everything but halves of surrogate pairs, which it refuses, and numbers
with a fraction, which only coordinates are."""


def frame_type(command: Command) -> FrameType:
    """The wire `type` of a command; its reply carries the same."""
    return _TYPES[type(command)]


def encode(value: object) -> str:
    """Compact strict JSON, unescaped; halves of surrogate pairs become U+FFFD.

    Not for numbers with a fraction.
    """
    try:
        return _FAST_ENCODER.encode(value).decode()
    except UnicodeEncodeError:
        return _encode_any(value)


def _encode_any(value: object) -> str:
    """The same for every value; numbers as Python writes them."""
    written = _ENCODER.encode(value)
    if written.isascii():
        return written
    return written.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def dump_command(
    command: Command, *, call_id: CallId, token: str, time_ms: int, dialect: Dialect = Dialect.Y2016
) -> str:
    """One command as the text of one WebSocket frame.

    Args:
        command: what to ask.
        call_id: wire `messageId`, 0 to 2^31-1.
        token: what the login gave.
        time_ms: the moment of sending, milliseconds since the epoch.
        dialect: whose keys to write.

    Raises:
        LocalProtocolError: blank text, an id out of range, a coordinate that is no finite number,
            or media without an address.
    """
    if call_id not in _CALL_IDS:
        raise LocalProtocolError("messageId is not between 0 and 2^31-1")
    frame: _Fields = {"messageId": call_id, "type": int(frame_type(command))}
    # Only these three are shown without `time`, and the heartbeat without `token` (guide, later).
    if not isinstance(command, Heartbeat):
        frame["token"] = token
        if not isinstance(command, Preview | Typing):
            frame["time"] = _int64("time", time_ms)
    frame |= _fields(command, dialect)
    if isinstance(command, SendMessage) and isinstance(command.content, Location):
        return _encode_any(frame)
    return encode(frame)


def _fields(command: Command, dialect: Dialect) -> _Fields:
    """What a command says beyond the envelope (reference 1.2)."""
    match command:
        case SendMessage(session_id=session_id, content=content):
            kind, body = _content(content)
            renamed = _RENAMED_TEXT if kind is MessageType.TEXT else _SAME_NAMES
            return {
                "sessionId": _int64("sessionId", session_id),
                "msg": {"type": int(kind), "content": _spelled(body, renamed, dialect)},
            }
        case Logout() | Heartbeat():
            return {}
        case RequestChat():
            return _queue_request(command)
        case CancelRequest(request_id=request_id):
            return {"requestId": _int64("requestId", request_id)}
        case CloseSession(session_id=session_id) | TransferFromRobot(session_id=session_id):
            return {"sessionId": _int64("sessionId", session_id)}
        case RateSession(session_id=session_id, rating=rating, comments=comments):
            told = {"id": _int64("rating.id", rating), "comments": comments}
            return {
                "sessionId": _int64("sessionId", session_id),
                "rating": _spelled(told, _RENAMED_RATING, dialect),
            }
        case SendPreMessage(request_id=request_id, text=text):
            return {
                "requestId": _int64("requestId", request_id),
                "content": _filled("content", text),
            }
        case Preview(session_id=session_id, text=text):
            return {
                "sessionId": _int64("sessionId", session_id),
                "content": _filled("content", text),
            }
        case Typing(session_id=session_id):
            return {"sessionId": _int64("sessionId", session_id)}
        case Receipt(rs_id=rs_id):
            return {"rsId": _filled("rsId", rs_id)}
        case _:
            assert_never(command)


def _spelled(seed: _Fields, renamed: Mapping[str, str], dialect: Dialect) -> _Fields:
    """The 2016 fields of a content or rating in the wanted dialect (protocol reference 5)."""
    match dialect:
        case Dialect.Y2016:
            return seed
        case Dialect.Y2019:
            later = {renamed.get(key, key): value for key, value in seed.items()}
            return {key: value for key, value in later.items() if value or key not in _OPTIONAL}
        case Dialect.DUAL:
            return seed | {name: seed[key] for key, name in renamed.items()}
        case _:
            assert_never(dialect)


def _queue_request(command: RequestChat) -> _Fields:
    fields: _Fields = {
        "queueId": _int64("queueId", command.queue_id),
        "from": _filled("from", command.source),
    }
    if command.to_agent:
        fields["toUserId"] = command.to_agent
    return fields


def _content(content: Content) -> tuple[MessageType, _Fields]:
    """Type and body of `msg` in 110, as of 2016 (reference 1.5, second column)."""
    match content:
        case Text(text=text):
            # The key repeats the name `content` (trap T7); later revisions call it `text`.
            return MessageType.TEXT, {"content": _filled("msg.content", text), "extra": ""}
        case Image(name=name, uri=uri, thumbnail=thumbnail):
            return MessageType.IMAGE, {
                "name": name,
                "imageUri": _filled("imageUri", uri),
                "thumbData": thumbnail,
                "extra": "",
            }
        case File(name=name, url=url, size=size, kind=kind):
            return MessageType.FILE, {
                "name": name,
                "url": _filled("url", url),
                "size": _natural("size", size),
                "type": kind,
                "extra": "",
            }
        case Location():
            return MessageType.LOCATION, {
                "poi": content.poi,
                "longitude": _finite("longitude", content.longitude),
                "latitude": _finite("latitude", content.latitude),
                "map": content.map,
                "thumbData": content.thumbnail,
                "extra": "",
            }
        case Voice(seconds=seconds, data=data):
            return MessageType.VOICE, {
                "voiceLength": _natural("voiceLength", seconds),
                "voiceData": _filled("voiceData", data),
                "extra": "",
            }
        case Video(name=name, url=url, size=size):
            # `sightUrl` is what the vendor's phone clients read, `url` what every file has.
            return MessageType.VIDEO, {
                "name": name,
                "url": _filled("url", url),
                "sightUrl": url,
                "size": _natural("size", size),
                "extra": "",
            }
        case _:
            assert_never(content)


def _int64(name: str, value: int) -> int:
    if value not in _INT64:
        raise LocalProtocolError(f"{name} does not fit into 64 bits")
    return value


def _natural(name: str, value: int) -> int:
    if value < 0:
        raise LocalProtocolError(f"{name} is negative")
    return _int64(name, value)


def _finite(name: str, value: float) -> float:
    # No bounds beyond that: the guide's own example has a longitude of 180.345.
    if not math.isfinite(value):
        raise LocalProtocolError(f"{name} is not a finite number")
    return value


def _filled(name: str, value: str) -> str:
    if not value.strip():
        raise LocalProtocolError(f"{name} is blank")
    return value
