"""The strict validation of a customer's text frame: a command, or a refusal with the guide's code.

Every required field must be there with its type; unknown keys are ignored. Keys of the other
dialect (`text` and `ratingId` in 2016, `content` and `id` in 2019) are refused in place of the
right ones, and beside them if so wished, so that a client speaking the wrong one is caught at once.
Which code a real server gives is only partly known; these are the ones of protocol reference
section 8.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

import msgspec

from bridge.ids import CallId, QueueId, RequestId, SessionId
from bridge.simulator.options import SimulatorOptions
from bridge.simulator.state import Wire
from bridge.webchat import frames
from bridge.webchat.codes import FrameType, MessageType, ResultCode

_Shape = TypeVar("_Shape", bound=msgspec.Struct)

# --- shapes --------------------------------------------------------------------------------------
# Fields with defaults are those that the later guides mark as optional. The guide of 2016 marks
# none: a content of 110 must then be whole (`_whole`), and 101 and 104 have a shape for each.


class Envelope(msgspec.Struct, rename="camel"):
    message_id: int
    token: str
    time: int
    """Milliseconds."""


class Signal(Envelope):
    """112 and 113: shown without `time`."""

    time: int = 0


class Beat(Signal):
    """Type 10: shown with nothing but `messageId` and `type`."""

    token: str = ""


class Received(msgspec.Struct, rename="camel"):
    rs_id: str


class OfRequest(msgspec.Struct, rename="camel"):
    request_id: RequestId


class OfSession(msgspec.Struct, rename="camel"):
    session_id: SessionId


class Queueing(msgspec.Struct, rename="camel"):
    queue_id: QueueId
    source: str = msgspec.field(name="from")
    to_agent: str = msgspec.field(name="toUserId", default="")


class LaterQueueing(Queueing):
    source: str = msgspec.field(name="from", default="")
    tracks: str = ""
    """JSON text."""
    brand: str = ""


class PreMessage(OfRequest):
    content: str


class Preview(OfSession):
    content: str


class Rated(OfSession):
    rating: Wire


class Stars(msgspec.Struct):
    id: int
    comments: str


class LaterStars(msgspec.Struct):
    id: int = msgspec.field(name="ratingId")
    comments: str = msgspec.field(name="ratingComments", default="")


class Handover(OfSession):
    """302. `transferInfo` is JSON text such as `{"queueId":2}`."""

    transfer_info: str = ""


class TransferInfo(msgspec.Struct, rename="camel"):
    queue_id: QueueId | None = None


class Message(msgspec.Struct):
    type: int
    content: Wire


class Sending(OfSession):
    msg: Message


class TextContent(msgspec.Struct):
    text: str = msgspec.field(name="content")
    extra: str


class LaterText(msgspec.Struct):
    text: str
    extra: str = ""


class ImageContent(msgspec.Struct, rename="camel"):
    name: str
    image_uri: str
    thumb_data: str = ""
    extra: str = ""


class FileContent(msgspec.Struct):
    name: str
    url: str
    size: int = 0
    type: str = ""
    extra: str = ""


class VideoContent(msgspec.Struct):
    name: str
    url: str
    size: int = 0


class LocationContent(msgspec.Struct, rename="camel"):
    longitude: float
    latitude: float
    poi: str = ""
    map: str = ""
    thumb_data: str = ""
    extra: str = ""


class VoiceContent(msgspec.Struct, rename="camel"):
    voice_length: int
    voice_data: str
    extra: str = ""


# --- checks --------------------------------------------------------------------------------------

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
"""The commands of a customer of 2016 on the socket."""
LATER_TYPES = TYPES_OF_2016 | {
    FrameType.HEARTBEAT,
    FrameType.PREVIEW,
    FrameType.TYPING,
    FrameType.RECEIPT,
    FrameType.ROBOT_TRANSFER,
}
"""The same of the later guides."""

_HEADINGS: Mapping[int, type[Envelope]] = MappingProxyType(
    {FrameType.HEARTBEAT: Beat, FrameType.PREVIEW: Signal, FrameType.TYPING: Signal}
)


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


class _RefusedError(Exception):
    """Carries a code and a sentence out of the nested checks below."""

    def __init__(self, code: ResultCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def check(text: str, options: SimulatorOptions) -> Accepted | Refusal:
    """Read one text frame strictly.

    Not JSON, or not an object: -8. A type that the dialect does not know: -12. A field that is
    missing or of the wrong type: -14. Keys of the other dialect: `wrong_keys`. Blank text: -17.
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
    if kind not in _known_types(options):
        sentence = f"the guide of {options.dialect} has no command of type {kind}"
        return Refusal(ResultCode(options.unknown_type), sentence, known_call, kind)
    try:
        envelope = msgspec.convert(body, _HEADINGS.get(kind, Envelope))
        command = _command(FrameType(kind), body, options)
    except msgspec.ValidationError as error:
        return Refusal(ResultCode.INVALID_PARAMETER, str(error), known_call, kind)
    except _RefusedError as error:
        return Refusal(error.code, str(error), known_call, kind)
    return Accepted(CallId(envelope.message_id), FrameType(kind), envelope.token, command, body)


def _known_types(options: SimulatorOptions) -> set[FrameType]:
    """Those of the dialect, and what a server of 2016 is made to know all the same."""
    known = set(LATER_TYPES if options.later else TYPES_OF_2016)
    if options.pulse == "refuse":
        known.discard(FrameType.HEARTBEAT)
    else:
        known.add(FrameType.HEARTBEAT)
    if options.numbers_pushes:
        known.add(FrameType.RECEIPT)
    if options.robot_queues:
        known.add(FrameType.ROBOT_TRANSFER)
    return known


def _int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _command(kind: FrameType, body: Wire, options: SimulatorOptions) -> frames.Command:
    match kind:
        case FrameType.LOGOUT:
            return frames.Logout()
        case FrameType.REQUEST_CHAT:
            asked = msgspec.convert(body, LaterQueueing if options.later else Queueing)
            return frames.RequestChat(asked.queue_id, asked.source, asked.to_agent)
        case FrameType.CANCEL_REQUEST:
            return frames.CancelRequest(msgspec.convert(body, OfRequest).request_id)
        case FrameType.CLOSE_SESSION:
            return frames.CloseSession(msgspec.convert(body, OfSession).session_id)
        case FrameType.RATE_SESSION:
            return _rating(body, options)
        case FrameType.SEND_PRE_MESSAGE:
            said = msgspec.convert(body, PreMessage)
            return frames.SendPreMessage(said.request_id, _not_blank(said.content))
        case FrameType.SEND_MESSAGE:
            sent = msgspec.convert(body, Sending)
            return frames.SendMessage(sent.session_id, _content(sent.msg, options))
        case FrameType.HEARTBEAT:
            return frames.Heartbeat()
        case FrameType.PREVIEW:
            shown = msgspec.convert(body, Preview)
            return frames.Preview(shown.session_id, shown.content)
        case FrameType.TYPING:
            return frames.Typing(msgspec.convert(body, OfSession).session_id)
        case FrameType.RECEIPT:
            return frames.Receipt(msgspec.convert(body, Received).rs_id)
        case FrameType.ROBOT_TRANSFER:
            handed = msgspec.convert(body, Handover)
            if handed.transfer_info:
                handover_queue(body)
            return frames.TransferFromRobot(handed.session_id)
        case _:
            raise AssertionError(f"type {kind} is known and not read")


def handover_queue(body: Wire) -> QueueId | None:
    """The queue that a 302 asks for in `transferInfo`, if it does."""
    info = body.get("transferInfo")
    if not isinstance(info, str) or not info:
        return None
    try:
        return msgspec.json.decode(info, type=TransferInfo).queue_id
    except msgspec.DecodeError as error:
        sentence = f"transferInfo is not JSON text with a queueId: {error}"
        raise _RefusedError(ResultCode.INVALID_PARAMETER, sentence) from error


def _rating(body: Wire, options: SimulatorOptions) -> frames.RateSession:
    keys = ("ratingId", "id", "comments") if options.later else ("id", "ratingId", "ratingComments")
    _refuse_foreign(body.get("rating"), options, *keys)
    rated = msgspec.convert(body, Rated)
    shape: type[Stars | LaterStars] = LaterStars if options.later else Stars
    stars = msgspec.convert(rated.rating, shape)
    return frames.RateSession(rated.session_id, stars.id, stars.comments)


def _content(msg: Message, options: SimulatorOptions) -> frames.Content:
    body = msg.content
    match msg.type:
        case MessageType.TEXT:
            keys = ("text", "content") if options.later else ("content", "text")
            _refuse_foreign(body, options, *keys)
            shape: type[TextContent | LaterText] = LaterText if options.later else TextContent
            return frames.Text(_not_blank(msgspec.convert(body, shape).text))
        case MessageType.IMAGE:
            image = _whole(body, ImageContent, options)
            _base64("thumbData", image.thumb_data)
            return frames.Image(image.name, _absolute("imageUri", image.image_uri))
        case MessageType.FILE:
            file = _whole(body, FileContent, options)
            return frames.File(file.name, _absolute("url", file.url), file.size, file.type)
        case MessageType.LOCATION:
            place = _whole(body, LocationContent, options)
            _base64("thumbData", place.thumb_data)
            return frames.Location(place.latitude, place.longitude, place.poi, place.map)
        case MessageType.VOICE:
            voice = _whole(body, VoiceContent, options)
            if not voice.voice_data:
                raise _RefusedError(ResultCode.INVALID_PARAMETER, "voiceData is empty")
            _base64("voiceData", voice.voice_data)
            return frames.Voice(voice.voice_length, voice.voice_data)
        case MessageType.VIDEO if options.videos:
            film = msgspec.convert(body, VideoContent)
            return frames.Video(film.name, _absolute("url", film.url), film.size)
        case _:
            sentence = f"customers cannot send msg.type {msg.type}"
            raise _RefusedError(ResultCode.INVALID_MESSAGE_TYPE, sentence)


def _whole(content: Wire, shape: type[_Shape], options: SimulatorOptions) -> _Shape:
    """Read a content, of which nothing may be left out in 2016."""
    if not options.later:
        for field in msgspec.structs.fields(shape):
            if field.encode_name not in content:
                sentence = f"Object missing required field `{field.encode_name}`"
                raise _RefusedError(ResultCode.INVALID_PARAMETER, sentence)
    return msgspec.convert(content, shape)


def _refuse_foreign(part: object, options: SimulatorOptions, own: str, *foreign: str) -> None:
    if not isinstance(part, dict) or (options.foreign_keys == "ignore" and own in part):
        return
    for key in foreign:
        if key in part:
            sentence = f"{key} belongs to another revision than {options.dialect}"
            raise _RefusedError(ResultCode(options.wrong_keys), sentence)


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
