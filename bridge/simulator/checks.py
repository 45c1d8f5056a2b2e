"""The strict eye: a text frame becomes a command, or a refusal with the guide's code.

The guide of 2016 marks nothing as optional, so every field it shows must be there with its type;
extra keys are harmless. Keys of later revisions (`text`, `ratingId`) are refused, so that a client
speaking the wrong dialect is caught at once. Which code a real server gives is only partly known;
these are the ones of protocol reference section 8.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from bridge.ids import CallId, QueueId, RequestId, SessionId
from bridge.simulator.outgoing import Wire
from bridge.webchat import frames
from bridge.webchat.codes import FrameType, MessageType, ResultCode

TYPES_OF_2016 = frozenset(
    {
        FrameType.LOGOUT,
        FrameType.REQUEST_CHAT,
        FrameType.CANCEL_REQUEST,
        FrameType.CLOSE_SESSION,
        FrameType.RATE_SESSION,
        FrameType.SEND_MESSAGE,
        FrameType.SEND_PRE_MESSAGE,
    }
)
"""What a customer of 2016 may send on the socket."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A command whose form is right; whether it makes sense now is the handlers' question."""

    call_id: CallId
    type: FrameType
    token: str
    command: frames.Command
    body: Wire
    """The frame as it came."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a frame is refused, with what is known of it for the reply."""

    code: ResultCode
    message: str
    call_id: CallId | None = None
    type: int = 0
    """Wire `type`, 0 when there was none to read."""


# --- the frames as the guide shows them (part two); unknown keys are ignored ----------------------


class _Envelope(msgspec.Struct):
    message_id: int = msgspec.field(name="messageId")
    token: str
    time: int
    """Milliseconds."""


class _Beat(_Envelope):
    """Type 10: later revisions show it with nothing but `messageId` and `type`."""

    token: str = ""
    time: int = 0


class _Received(msgspec.Struct):
    rs_id: str = msgspec.field(name="rsId")


class _OfRequest(msgspec.Struct):
    request_id: int = msgspec.field(name="requestId")


class _OfSession(msgspec.Struct):
    session_id: int = msgspec.field(name="sessionId")


class _Queueing(msgspec.Struct):
    queue_id: int = msgspec.field(name="queueId")
    source: str = msgspec.field(name="from")
    to_agent: str = msgspec.field(name="toUserId", default="")


class _Stars(msgspec.Struct):
    id: int
    comments: str


class _Rating(_OfSession):
    rating: _Stars


class _PreMessage(_OfRequest):
    content: str


class _Message(msgspec.Struct):
    type: int
    content: Wire


class _Sending(_OfSession):
    msg: _Message


class _TextContent(msgspec.Struct):
    content: str
    extra: str


class _ImageContent(msgspec.Struct):
    name: str
    image_uri: str = msgspec.field(name="imageUri")
    thumb_data: str = msgspec.field(name="thumbData")
    extra: str


class _FileContent(msgspec.Struct):
    name: str
    url: str
    size: int
    type: str
    extra: str


class _LocationContent(msgspec.Struct):
    poi: str
    longitude: float
    latitude: float
    map: str
    thumb_data: str = msgspec.field(name="thumbData")
    extra: str


class _VoiceContent(msgspec.Struct):
    voice_length: int = msgspec.field(name="voiceLength")
    voice_data: str = msgspec.field(name="voiceData")
    extra: str


class _RefusedError(Exception):
    """Carries a code and a sentence out of the nested checks below."""

    def __init__(self, code: ResultCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def check(text: str, later: Collection[int] = ()) -> Accepted | Refusal:
    """Read one text frame strictly.

    Not JSON, or not an object: -8. A type that the guide does not know: -12. A field that is
    missing or of the wrong type: -14. Blank text: -17.

    Args:
        text: the frame.
        later: types of later revisions that this server knows all the same.
    """
    try:
        body = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        return Refusal(ResultCode.REQUEST_ERROR, f"not JSON: {error}")
    if not isinstance(body, dict):
        return Refusal(ResultCode.REQUEST_ERROR, "not a JSON object")
    kind, call_id = _int(body.get("type")), _int(body.get("messageId"))
    known_call = None if call_id is None else CallId(call_id)
    if kind is None:
        return Refusal(ResultCode.INVALID_PARAMETER, "type must be an integer", known_call)
    if kind not in TYPES_OF_2016 and kind not in later:
        sentence = f"the guide of 2016 has no command of type {kind}"
        return Refusal(ResultCode.INVALID_MESSAGE_TYPE, sentence, known_call, kind)
    try:
        heading = _Beat if kind == FrameType.HEARTBEAT else _Envelope
        envelope = msgspec.convert(body, heading)
        command = _command(FrameType(kind), body)
    except msgspec.ValidationError as error:
        return Refusal(ResultCode.INVALID_PARAMETER, str(error), known_call, kind)
    except _RefusedError as error:
        return Refusal(error.code, str(error), known_call, kind)
    return Accepted(CallId(envelope.message_id), FrameType(kind), envelope.token, command, body)


def _int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _command(kind: FrameType, body: Wire) -> frames.Command:
    match kind:
        case FrameType.LOGOUT:
            return frames.Logout()
        case FrameType.HEARTBEAT:
            return frames.Heartbeat()
        case FrameType.RECEIPT:
            return frames.Receipt(msgspec.convert(body, _Received).rs_id)
        case FrameType.REQUEST_CHAT:
            asked = msgspec.convert(body, _Queueing)
            return frames.RequestChat(QueueId(asked.queue_id), asked.source, asked.to_agent)
        case FrameType.CANCEL_REQUEST:
            return frames.CancelRequest(RequestId(msgspec.convert(body, _OfRequest).request_id))
        case FrameType.CLOSE_SESSION:
            return frames.CloseSession(SessionId(msgspec.convert(body, _OfSession).session_id))
        case FrameType.RATE_SESSION:
            _refuse_later(body.get("rating"), "ratingId", "ratingComments")
            rated = msgspec.convert(body, _Rating)
            stars = rated.rating
            return frames.RateSession(SessionId(rated.session_id), stars.id, stars.comments)
        case FrameType.SEND_PRE_MESSAGE:
            said = msgspec.convert(body, _PreMessage)
            return frames.SendPreMessage(RequestId(said.request_id), _not_blank(said.content))
        case FrameType.SEND_MESSAGE:
            sent = msgspec.convert(body, _Sending)
            return frames.SendMessage(SessionId(sent.session_id), _content(sent.msg))
        case _:
            raise _RefusedError(ResultCode.INVALID_MESSAGE_TYPE, f"type {kind} is not for here")


def _content(msg: _Message) -> frames.Content:
    body = msg.content
    match msg.type:
        case MessageType.TEXT:
            _refuse_later(body, "text")
            return frames.Text(_not_blank(msgspec.convert(body, _TextContent).content))
        case MessageType.IMAGE:
            image = msgspec.convert(body, _ImageContent)
            _base64("thumbData", image.thumb_data)
            return frames.Image(image.name, _absolute("imageUri", image.image_uri))
        case MessageType.FILE:
            file = msgspec.convert(body, _FileContent)
            return frames.File(file.name, _absolute("url", file.url), file.size, file.type)
        case MessageType.LOCATION:
            place = msgspec.convert(body, _LocationContent)
            _base64("thumbData", place.thumb_data)
            return frames.Location(place.latitude, place.longitude, place.poi, place.map)
        case MessageType.VOICE:
            voice = msgspec.convert(body, _VoiceContent)
            if not voice.voice_data:
                raise _RefusedError(ResultCode.INVALID_PARAMETER, "voiceData is empty")
            _base64("voiceData", voice.voice_data)
            return frames.Voice(voice.voice_length, voice.voice_data)
        case _:
            raise _RefusedError(
                ResultCode.INVALID_MESSAGE_TYPE, f"customers cannot send msg.type {msg.type}"
            )


def _refuse_later(part: object, *keys: str) -> None:
    if not isinstance(part, dict):
        return
    for key in keys:
        if key in part:
            sentence = f"{key} belongs to a later revision than 2016"
            raise _RefusedError(ResultCode.INVALID_PARAMETER, sentence)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise _RefusedError(ResultCode.EMPTY_MESSAGE, "the text is blank")
    return text


def _absolute(key: str, address: str) -> str:
    # The upload reply is relative; the message must not be (reference 3.4, last line).
    if not address.startswith(("http://", "https://")):
        raise _RefusedError(ResultCode.INVALID_PARAMETER, f"{key} must be an absolute address")
    return address


def _base64(key: str, data: str) -> None:
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _RefusedError(ResultCode.INVALID_PARAMETER, f"{key} is not base64") from error
