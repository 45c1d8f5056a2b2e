"""The client's side of one socket: commands encoded, replies paired with them; no I/O.

The encoder (guide 2; protocol reference 1.2, 1.5, 5) is strict: `dump_command` writes one dialect
with exactly the keys of its guide. In that of 2016 every key is written, `""` for a missing value,
as its guide marks no field as optional. The later guides rename three keys and say which are
optional (`_spelled`). The later commands (10, 112, 113, 120, 302) have no 2016 shape.

A command gets at most one reply, which repeats its `messageId` (guide 3): `Protocol` matches them
by call id **and** type. If the server omitted the id or used one of its own, the reply goes to the
oldest waiting call of that type (trap T12). A repeated reply never goes to another call, whose
message would falsely be reported as delivered.

A reply without a type (from a server that could not read the command) goes only to the call that it
names. Without a call id too, it goes to the only waiting call, unless a call that was given up or a
receipt could still be answered.
"""

import json
import math
from collections.abc import Mapping
from typing import assert_never

import msgspec

from bridge.ids import CallId
from bridge.webchat import frames
from bridge.webchat.codes import Dialect, FrameType, ResultCode
from bridge.webchat.read import parse_frame


class LocalProtocolError(ValueError):
    """A frame that must not be sent, by a bug of the caller. Names the field, not its content."""


_Fields = dict[str, object]

_INT64 = range(-(2**63), 2**63)
_CALL_IDS = range(2**31)  # trap T11: the server may store them as a Java int

_TIMELESS = frozenset({FrameType.HEARTBEAT, FrameType.PREVIEW, FrameType.TYPING})
"""Frames without `time` in the later guides; the heartbeat has no `token` either."""
_OPTIONAL = frozenset({"extra", "thumbData", "size", "type", "poi", "map", "ratingComments"})
"""Keys of content and rating that the later guides mark as optional."""
_FILLED = frozenset({"from", "content", "rsId", "imageUri", "url", "voiceData"})
"""Keys of texts that must not be blank."""
_NATURAL = frozenset({"size", "voiceLength"})
"""Keys of numbers that must not be negative."""
_RENAMED: Mapping[str, str] = {"content": "text", "id": "ratingId", "comments": "ratingComments"}
"""2016 keys of content and rating -> their names in the later guides."""

_FIRST: Mapping[str, str] = {
    "imageUri": "url",
    "poi": "locationAddress",
    "voiceLength": "length",
    "voiceData": "data",
    "voiceUri": "url",
    **{key: key for key in ("content", "name", "url", "longitude", "latitude")},
}
"""2016 keys of content -> their names in the first guides, which had no other keys."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_FAST_ENCODER = msgspec.json.Encoder()
"""Writes the same bytes as `_ENCODER`, except floats (only coordinates are); refuses lone
surrogates."""


def encode(value: object) -> str:
    """Encode as compact strict JSON; lone surrogates become U+FFFD. Not for floats."""
    try:
        return _FAST_ENCODER.encode(value).decode()
    except UnicodeEncodeError:
        return _encode_any(value)


def _encode_any(value: object) -> str:
    written = _ENCODER.encode(value)
    return written.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def dump_command(
    command: frames.Command,
    *,
    call_id: CallId,
    token: str,
    time_ms: int,
    dialect: Dialect = Dialect.Y2016,
) -> str:
    """Return the text of a frame, sent at `time_ms` (ms since the epoch). LocalProtocolError for
    blank text, a number out of range, a coordinate that is not finite, or media without an address.
    """
    if (plain := _dump_text(command, call_id, token, time_ms, dialect)) is not None:
        return plain
    if call_id not in _CALL_IDS:
        raise LocalProtocolError("messageId is not between 0 and 2^31-1")
    kind: FrameType = command.type
    frame: _Fields = {"messageId": call_id, "type": int(kind)}
    if kind is not FrameType.HEARTBEAT:
        frame["token"] = token
    if kind not in _TIMELESS:
        frame["time"] = time_ms
    frame = _checked(frame | _fields(command, dialect))
    if isinstance(command, frames.SendMessage) and isinstance(command.content, frames.Location):
        return _encode_any(frame)
    return encode(frame)


_WORDS: Mapping[Dialect, str] = {
    Dialect.Y2016_11: "%s",
    Dialect.Y2016: '{"content":%s,"extra":""}',
    Dialect.Y2019: '{"text":%s}',
    Dialect.DUAL: '{"content":%s,"extra":"","text":%s}',
}


def _dump_text(
    command: frames.Command, call_id: CallId, token: str, time_ms: int, dialect: Dialect
) -> str | None:
    """Encode a text message, the most frequent command, fast; None if it needs `dump_command`."""
    if not (isinstance(command, frames.SendMessage) and isinstance(command.content, frames.Text)):
        return None
    text, session_id = command.content.text, command.session_id
    known = call_id in _CALL_IDS and time_ms in _INT64 and session_id in _INT64
    if not known or not text.strip():
        return None
    try:
        words, name = _FAST_ENCODER.encode(text).decode(), _FAST_ENCODER.encode(token).decode()
    except UnicodeEncodeError:
        return None
    content = _WORDS[dialect].replace("%s", words)
    return (
        f'{{"messageId":{call_id},"type":110,"token":{name},"time":{time_ms},'
        f'"sessionId":{session_id},"msg":{{"type":1,"content":{content}}}}}'
    )


def _fields(command: frames.Command, dialect: Dialect) -> _Fields:
    match command:
        case frames.SendMessage():
            return {"sessionId": command.session_id, "msg": _message(command.content, dialect)}
        case frames.Logout() | frames.Heartbeat():
            return {}
        case frames.RequestChat():
            asked: _Fields = {"queueId": command.queue_id, "from": command.source}
            more = {"toUserId": command.to_agent, "brand": command.brand, "tracks": command.tracks}
            return asked | {key: value for key, value in more.items() if value}
        case frames.CancelRequest():
            return {"requestId": command.request_id}
        case frames.CloseSession() | frames.TransferFromRobot() | frames.Typing():
            return {"sessionId": command.session_id}
        case frames.RateSession():
            rating = _checked({"id": command.rating, "comments": command.comments}, "rating.")
            return {"sessionId": command.session_id, "rating": _spelled(rating, dialect)}
        case frames.SendPreMessage():
            return {"requestId": command.request_id, "content": command.text}
        case frames.Preview():
            return {"sessionId": command.session_id, "content": command.text}
        case frames.Receipt():
            return {"rsId": command.rs_id}
        case _:
            assert_never(command)


def _spelled(seed: _Fields, dialect: Dialect) -> _Fields:
    """Convert the 2016 fields of a content or rating to the dialect (protocol reference 5)."""
    match dialect:
        case Dialect.Y2016 | Dialect.Y2016_11:
            return seed
        case Dialect.Y2019:
            later = {_RENAMED.get(key, key): value for key, value in seed.items()}
            if "imageUri" in later:  # since 2019-10-14; `thumbData` would not fit into a frame
                later["thumbUri"] = later["imageUri"]
            return {key: value for key, value in later.items() if value or key not in _OPTIONAL}
        case Dialect.DUAL:
            first = {_FIRST[key]: seed[key] for key in ("imageUri", "poi") if key in seed}
            return seed | first | {_RENAMED[key]: seed[key] for key in seed if key in _RENAMED}
        case _:
            assert_never(dialect)


def _message(content: frames.Content, dialect: Dialect) -> _Fields:
    """Return the `msg` of a 110 (reference 1.5, second column)."""
    body: _Fields
    match content:
        case frames.Text():
            # `content` inside `content` (trap T7); later revisions call the inner key `text`.
            body = _checked({"content": content.text}, "msg.")
        case frames.Image(name=name, uri=uri):
            body = {"name": name, "imageUri": uri, "thumbData": content.thumbnail}
        case frames.File(name=name, url=url, size=size):
            body = {"name": name, "url": url, "size": size, "type": content.kind}
        case frames.Location():
            body = {
                "poi": content.poi,
                "longitude": content.longitude,
                "latitude": content.latitude,
                "map": content.map,
                "thumbData": content.thumbnail,
            }
        case frames.Voice():
            body = {"voiceLength": content.seconds}
            if content.uri:
                body |= {"voiceUri": content.uri, "voiceType": "amr"}
            else:
                body["voiceData"] = content.data
        case frames.Video(name=name, url=url, size=size):
            # The vendor's phone clients read `sightUrl`; `url` is the key of files.
            body = {"name": name, "url": url, "sightUrl": url, "size": size}
        case _:
            assert_never(content)
    body = _checked(body)
    if dialect is Dialect.Y2016_11:
        first = {_FIRST[key]: value for key, value in body.items() if key in _FIRST}
        return {"type": int(content.type), "content": first.get("content", first)}
    body["extra"] = ""
    return {"type": int(content.type), "content": _spelled(body, dialect)}


def _checked(fields: _Fields, where: str = "") -> _Fields:
    """Return the fields unchanged. LocalProtocolError names a field, prefixed by `where`, that no
    server can accept.
    """
    for name, value in fields.items():
        match value:
            case str() if name in _FILLED and not value.strip():
                fault = "is blank"
            case int() if name in _NATURAL and value < 0:
                fault = "is negative"
            case int() if value not in _INT64:
                fault = "does not fit into 64 bits"
            case float() if not math.isfinite(value):
                # No bounds: the guide's own example has a longitude of 180.345.
                fault = "is not a finite number"
            case _:
                continue
        raise LocalProtocolError(f"{where}{name} {fault}")
    return fields


# --- replies paired with commands ----------------------------------------------------------------

_REMEMBERED_CALLS = 64
"""Maximum number of settled calls remembered per socket, 8 KiB: a minute of a busy chat."""


class Answered(msgspec.Struct, frozen=True):
    call_id: CallId
    command: frames.Command
    reply: frames.Reply
    """The reply, whose `call_id` is the server's and may be None or foreign."""


class Protocol:
    """Pairs commands with replies for one socket; `client_id` is passed to `parse_frame`."""

    def __init__(self, token: str, *, client_id: str = "") -> None:
        self._token = token
        self._client_id = client_id
        self.waiting: dict[CallId, frames.Command] = {}
        """Calls without a reply, oldest first."""
        self._settled: dict[tuple[int | None, int], frames.Command | None] = {}
        """Call id and wire type of settled calls, oldest first; the command of one given up."""
        self._strays = False
        """True once a receipt was sent or a call given up, which may still be answered."""
        self.token_refused = False
        """True once -15 came without a command, as when a socket is accepted (reference 3.3)."""

    def send(
        self,
        command: frames.Command,
        call_id: CallId,
        time_ms: int,
        dialect: Dialect = Dialect.Y2016,
    ) -> str:
        """Return the text to write to the socket, and register the command as waiting, unless
        `dump_command` raises.
        """
        text = dump_command(
            command, call_id=call_id, token=self._token, time_ms=time_ms, dialect=dialect
        )
        if isinstance(command, frames.Receipt):  # no revision documents an answer to 120
            self._strays = True
        else:
            self.waiting[call_id] = command
            self._settled.pop((call_id, command.type), None)
        return text

    def receive(self, text: str) -> Answered | frames.Received | frames.Ignored:
        """Read one frame. Never raises."""
        reply = parse_frame(text, client_id=self._client_id)
        if not isinstance(reply, frames.Reply):
            return reply
        call_id = self._waiter(reply)
        if call_id is not None:
            return Answered(call_id, self._settle(call_id), reply)
        if reply.result == ResultCode.INVALID_TOKEN:
            kinds = [kind for known, kind in self._settled if known == reply.call_id]
            repeated = any(reply.type in {kind, frames.UNTYPED} for kind in kinds)
            self.token_refused = self.token_refused or not repeated
        return frames.Ignored(f"unexpected reply {reply.type}")

    def forget(self, call_id: CallId) -> None:
        """Stop waiting for a call's reply. If it still comes, it counts for a repetition of the
        command that waits by then, unless that is content: a slow server answers neither in time.
        """
        if call_id in self.waiting:
            command = self._settle(call_id)
            if not isinstance(command, frames.SendMessage | frames.SendPreMessage):
                self._settled[call_id, command.type] = command
            self._strays = True

    def _waiter(self, reply: frames.Reply) -> CallId | None:
        """Return the waiting call that a reply answers; None if there is none."""
        named = None if reply.call_id is None else self.waiting.get(reply.call_id)
        if named is not None and reply.type in (named.type, frames.UNTYPED):
            return reply.call_id
        if reply.type == frames.UNTYPED:
            sole = len(self.waiting) == 1 and not self._strays and reply.call_id is None
            return next(iter(self.waiting)) if sole else None
        if (key := (reply.call_id, reply.type)) in self._settled:
            given_up, self._settled[key] = self._settled[key], None
            again = (call_id for call_id, waiting in self.waiting.items() if waiting == given_up)
            return next(again, None)
        alike = (call_id for call_id, waiting in self.waiting.items() if waiting.type == reply.type)
        return next(alike, None)

    def _settle(self, call_id: CallId) -> frames.Command:
        command = self.waiting.pop(call_id)
        self._settled[call_id, command.type] = None
        if len(self._settled) > _REMEMBERED_CALLS:
            del self._settled[next(iter(self._settled))]
        return command
