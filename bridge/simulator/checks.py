"""The strict validation of a customer's text frame: a command, or a refusal with the guide's code.

Every required field must be there with its type; unknown keys are ignored. Keys of the other
dialect (`text` and `ratingId` in 2016, `content` and `id` in 2019) are refused in place of the
right ones, and beside them if so wished, so that a client speaking the wrong one is caught at once.
Which code a real server gives is only partly known; these are the ones of protocol reference
section 8.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec

from bridge.ids import CallId, QueueId
from bridge.simulator.options import SimulatorOptions
from bridge.simulator.state import Wire
from bridge.webchat import frames
from bridge.webchat.codes import FrameType, MessageType, ResultCode

# --- shapes --------------------------------------------------------------------------------------


class Shape:
    """The keys of one object in a frame, each with its type.

    `loose` ones may be left out in the later guides (that of 2016 marks none as optional),
    `optional` ones always; `later` ones are optional there, and nothing to 2016. What is left out
    reads as empty or 0.
    """

    def __init__(
        self,
        required: Mapping[str, object],
        loose: Mapping[str, type] = MappingProxyType({}),
        *,
        optional: Mapping[str, type] = MappingProxyType({}),
        later: Mapping[str, type] = MappingProxyType({}),
    ) -> None:
        always = [(key, kind, kind()) for key, kind in optional.items()]
        eased = [(key, kind, kind()) for key, kind in (*loose.items(), *later.items())]
        self.strict = msgspec.defstruct("Strict", [*required.items(), *loose.items(), *always])
        self.eased = msgspec.defstruct("Eased", [*required.items(), *eased, *always])

    def read(self, part: object, options: SimulatorOptions) -> dict[str, Any]:
        """The values in the order of the keys.

        Raises:
            ValidationError: a key is missing, or its value has another type.
        """
        shape = self.eased if options.later else self.strict
        return msgspec.structs.asdict(msgspec.convert(part, shape))


class Message(msgspec.Struct):
    type: int
    content: Wire


class TransferInfo(msgspec.Struct, rename="camel"):
    queue_id: QueueId | None = None


HEADING = Shape({"messageId": int, "token": str, "time": int})
"""Every command's; `time` is in milliseconds."""
SIGNAL = Shape({"messageId": int, "token": str}, optional={"time": int})
"""112 and 113: shown without `time`."""
BEAT = Shape({"messageId": int}, optional={"token": str, "time": int})
"""Type 10: shown with nothing but `messageId` and `type`."""
HEADINGS: Mapping[int, Shape] = MappingProxyType(
    {FrameType.HEARTBEAT: BEAT, FrameType.PREVIEW: SIGNAL, FrameType.TYPING: SIGNAL}
)
_REQUEST, _SESSION = {"requestId": int}, {"sessionId": int}
COMMANDS: Mapping[int, Shape] = MappingProxyType(
    {
        FrameType.LOGOUT: Shape({}),
        FrameType.HEARTBEAT: Shape({}),
        FrameType.REQUEST_CHAT: Shape(
            {"queueId": int},
            {"from": str},
            optional={"toUserId": str},
            later={"tracks": str, "brand": str},  # `tracks` is JSON text
        ),
        FrameType.CANCEL_REQUEST: Shape(_REQUEST),
        FrameType.CLOSE_SESSION: Shape(_SESSION),
        FrameType.RATE_SESSION: Shape(_SESSION | {"rating": Wire}),
        FrameType.SEND_MESSAGE: Shape(_SESSION | {"msg": Message}),
        FrameType.SEND_PRE_MESSAGE: Shape(_REQUEST | {"content": str}),
        FrameType.PREVIEW: Shape(_SESSION | {"content": str}),
        FrameType.TYPING: Shape(_SESSION),
        FrameType.RECEIPT: Shape({"rsId": str}),
        # JSON text such as `{"queueId":2}`.
        FrameType.ROBOT_TRANSFER: Shape(_SESSION, optional={"transferInfo": str}),
    }
)
LATER_TYPES = frozenset(
    {
        FrameType.HEARTBEAT,
        FrameType.PREVIEW,
        FrameType.TYPING,
        FrameType.RECEIPT,
        FrameType.ROBOT_TRANSFER,
    }
)
"""The commands that a customer of 2016 does not know."""
STARS = Shape({"id": int, "comments": str})
LATER_STARS = Shape({"ratingId": int}, {"ratingComments": str})
TEXT = Shape({"content": str, "extra": str})
LATER_TEXT = Shape({"text": str}, {"extra": str})
CONTENTS: Mapping[int, Shape] = MappingProxyType(
    {
        MessageType.IMAGE: Shape({"name": str, "imageUri": str}, {"thumbData": str, "extra": str}),
        MessageType.FILE: Shape(
            {"name": str, "url": str}, {"size": int, "type": str, "extra": str}
        ),
        MessageType.LOCATION: Shape(
            {"longitude": float, "latitude": float},
            {"poi": str, "map": str, "thumbData": str, "extra": str},
        ),
        MessageType.VOICE: Shape({"voiceLength": int, "voiceData": str}, {"extra": str}),
        MessageType.VIDEO: Shape({"name": str, "url": str}, optional={"size": int}),
    }
)

# --- checks --------------------------------------------------------------------------------------


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
        heading = HEADINGS.get(kind, HEADING).read(body, options)
        command = _command(FrameType(kind), body, options)
    except msgspec.ValidationError as error:
        return Refusal(ResultCode.INVALID_PARAMETER, str(error), known_call, kind)
    except _RefusedError as error:
        return Refusal(error.code, str(error), known_call, kind)
    call = CallId(heading["messageId"])
    return Accepted(call, FrameType(kind), heading["token"], command, body)


def _known_types(options: SimulatorOptions) -> set[int]:
    """Those of the dialect, and what a server of 2016 is made to know all the same."""
    known = set(COMMANDS) if options.later else set(COMMANDS) - LATER_TYPES
    known.discard(FrameType.HEARTBEAT)
    if options.pulse != "refuse":
        known.add(FrameType.HEARTBEAT)
    if options.numbers_pushes:
        known.add(FrameType.RECEIPT)
    if options.robot_queues:
        known.add(FrameType.ROBOT_TRANSFER)
    return known


def _int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _command(kind: FrameType, body: Wire, options: SimulatorOptions) -> frames.Command:
    later = options.later
    if kind is FrameType.RATE_SESSION:
        other = ("id", "comments") if later else ("ratingId", "ratingComments")
        _refuse_foreign(body.get("rating"), options, "ratingId" if later else "id", *other)
    values = COMMANDS[kind].read(body, options)
    match kind, list(values.values()):
        case FrameType.LOGOUT, _:
            return frames.Logout()
        case FrameType.HEARTBEAT, _:
            return frames.Heartbeat()
        case FrameType.REQUEST_CHAT, _:
            return frames.RequestChat(values["queueId"], values["from"], values["toUserId"])
        case FrameType.CANCEL_REQUEST, [number]:
            return frames.CancelRequest(number)
        case FrameType.CLOSE_SESSION, [number]:
            return frames.CloseSession(number)
        case FrameType.RATE_SESSION, [number, rating]:
            stars = (LATER_STARS if later else STARS).read(rating, options)
            return frames.RateSession(number, *stars.values())
        case FrameType.SEND_PRE_MESSAGE, [number, text]:
            return frames.SendPreMessage(number, _not_blank(text))
        case FrameType.SEND_MESSAGE, [number, message]:
            return frames.SendMessage(number, _content(message, options))
        case FrameType.PREVIEW, [number, text]:
            return frames.Preview(number, text)
        case FrameType.TYPING, [number]:
            return frames.Typing(number)
        case FrameType.RECEIPT, [name]:
            return frames.Receipt(name)
        case FrameType.ROBOT_TRANSFER, [number, _]:
            handover_queue(body)
            return frames.TransferFromRobot(number)
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


def _content(message: Message, options: SimulatorOptions) -> frames.Content:
    kind, body = message.type, message.content
    if kind == MessageType.TEXT:
        own, foreign = ("text", "content") if options.later else ("content", "text")
        _refuse_foreign(body, options, own, foreign)
        text = (LATER_TEXT if options.later else TEXT).read(body, options)
        return frames.Text(_not_blank(text[own]))
    if kind not in CONTENTS or (kind == MessageType.VIDEO and not options.videos):
        sentence = f"customers cannot send msg.type {kind}"
        raise _RefusedError(ResultCode.INVALID_MESSAGE_TYPE, sentence)
    values = CONTENTS[kind].read(body, options)
    _check_values(values)
    match kind, list(values.values()):
        case MessageType.IMAGE, [name, uri, *_]:
            return frames.Image(name, uri)
        case MessageType.FILE, [name, url, size, suffix, _]:
            return frames.File(name, url, size, suffix)
        case MessageType.LOCATION, [longitude, latitude, poi, map_name, *_]:
            return frames.Location(latitude, longitude, poi, map_name)
        case MessageType.VOICE, [seconds, data, _]:
            return frames.Voice(seconds, data)
        case _, [name, url, size]:
            return frames.Video(name, url, size)
        case _:
            raise AssertionError(f"msg.type {kind} is known and not read")


def _check_values(content: Mapping[str, Any]) -> None:
    """Refuse what is not base64, and addresses that are not absolute.

    The upload reply is relative; the message must not be (reference 3.4, last line).
    """
    if content.get("voiceData") == "":
        raise _RefusedError(ResultCode.INVALID_PARAMETER, "voiceData is empty")
    for key in ("thumbData", "voiceData"):
        try:
            base64.b64decode(content.get(key, ""), validate=True)
        except ValueError as error:
            raise _RefusedError(ResultCode.INVALID_PARAMETER, f"{key} is not base64") from error
    for key in ("imageUri", "url"):
        if not content.get(key, "http://").startswith(("http://", "https://")):
            sentence = f"{key} must be an absolute address"
            raise _RefusedError(ResultCode.INVALID_PARAMETER, sentence)


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
