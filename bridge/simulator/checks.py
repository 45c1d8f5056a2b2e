"""Validation of a customer's text frame: finds the command, or a refusal with a result code.

Unless `strict`, what the vendor's own clients send passes: numbers as text, a text as a bare
string, keys of the first clients, missing fields (also `messageId`, `time`). Unknown keys are
ignored. Options say what keys of the other dialect (`text` and `ratingId` in 2016, `content` and
`id` in 2019) get: `wrong_keys` in place of the right ones, `foreign_keys` beside them. Which code
a real server gives is only partly known; these are those of protocol reference section 8.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from bridge.ids import CallId, QueueId
from bridge.simulator.options import SimulatorOptions
from bridge.simulator.state import Wire, masked, masked_text
from bridge.webchat import frames
from bridge.webchat.codes import FrameType, MessageType, ResultCode

# --- shapes --------------------------------------------------------------------------------------


class Shape:
    """The keys of one object in a frame, each with its type; a missing key reads as empty or 0.

    `optional` keys may always be missing, and so may `loose` and `later` keys, except on a `strict`
    server of 2016 with object contents, which requires `loose` keys and ignores `later` ones.
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
        loosened = [(key, kind, kind()) for key, kind in loose.items()]
        known = [(key, kind, kind()) for key, kind in later.items()]
        self.strict = msgspec.defstruct("Strict", [*required.items(), *loose.items(), *always])
        self.eased = msgspec.defstruct("Eased", [*required.items(), *loosened, *always, *known])

    def read(self, part: object, options: SimulatorOptions) -> dict[str, Any]:
        """Return the values in key order; ValidationError if one is missing or mistyped."""
        shown = options.strict and not options.later and options.content == "object"
        shape = self.strict if shown else self.eased
        return msgspec.structs.asdict(msgspec.convert(part, shape, strict=options.strict))


class Message(msgspec.Struct):
    type: int
    content: Wire | str


class TransferInfo(msgspec.Struct, rename="camel"):
    queue_id: QueueId | None = None


class Refusal(Exception):
    def __init__(self, code: ResultCode, message: str) -> None:
        super().__init__(message)
        self.code = code


# --- contents ------------------------------------------------------------------------------------

TEXT = Shape({"content": str, "extra": str})
LATER_TEXT = Shape({"text": str}, {"extra": str})
CONTENTS: Mapping[int, tuple[type[frames.Content], Shape]] = {
    content.type: (content, shape)
    for content, shape in (
        (frames.Image, Shape({"name": str, "imageUri": str}, {"thumbData": str, "extra": str})),
        (frames.File, Shape({"name": str, "url": str}, {"size": int, "type": str, "extra": str})),
        (
            frames.Location,
            Shape(
                {"latitude": float, "longitude": float},
                {"poi": str, "map": str, "thumbData": str, "extra": str},
            ),
        ),
        (
            frames.Voice,
            Shape({"voiceLength": int}, {"voiceData": str, "extra": str}, later={"voiceUri": str}),
        ),
        (frames.Video, Shape({"name": str, "url": str}, optional={"size": int})),
    )
}
"""Contents of customers other than text, by wire type; keys in the order of the frame's fields."""
FORMER_KEYS: Mapping[int, Mapping[str, str]] = {
    MessageType.IMAGE: {"url": "imageUri"},
    MessageType.LOCATION: {"locationAddress": "poi"},
    MessageType.VOICE: {"length": "voiceLength", "data": "voiceData", "url": "voiceUri"},
}
"""Keys before 2017-11-13 to their successors, by wire type (see bridge/webchat/PROTOCOL.md)."""


def _content(message: Message, options: SimulatorOptions) -> frames.Content:
    kind, body = message.type, message.content
    if kind == MessageType.TEXT:
        return _text(body, options)
    if kind not in CONTENTS or (kind == MessageType.VIDEO and not options.videos):
        sentence = f"customers cannot send msg.type {kind}"
        raise Refusal(ResultCode.INVALID_MESSAGE_TYPE, sentence)
    if isinstance(body, dict):
        loose = options.content == "string" or not options.strict
        former = FORMER_KEYS.get(kind, {}) if loose else {}
        unknown = set(former.values() if options.content == "string" else ())
        if not (loose or (options.later and options.revision == "R5")):
            unknown.add("voiceUri")
        present = {key: value for key, value in body.items() if key not in unknown}
        body = {former.get(key, key): value for key, value in present.items()} | present
    content, shape = CONTENTS[kind]
    values = shape.read(body, options)
    _check_values(values, options)
    values.pop("extra", None)
    made: frames.Content = _made(content, values.values())
    return made


def _text(body: Wire | str, options: SimulatorOptions) -> frames.Content:
    own, foreign = ("text", "content") if options.later else ("content", "text")
    if options.content == "string" or (isinstance(body, str) and not options.strict):
        return frames.Text(_not_blank(body) if isinstance(body, str) else _as_json(body))
    if isinstance(body, dict) and own not in body and options.wrong_keys in {"blank", "shown"}:
        return frames.Text("" if options.wrong_keys == "blank" else _as_json(body))
    _refuse_foreign(body, options, own, foreign)
    return frames.Text(_not_blank((LATER_TEXT if options.later else TEXT).read(body, options)[own]))


def _as_json(body: Wire) -> str:
    """Return the JSON of an object sent in place of a text: agents see its braces."""
    return msgspec.json.encode(body).decode()


def _made(frame: type[msgspec.Struct], values: Iterable[object]) -> Any:
    """Build a frame from as many of the values as it has fields."""
    make: Callable[..., object] = frame
    return make(*itertools.islice(values, len(frame.__struct_fields__)))


def _check_values(content: Mapping[str, Any], options: SimulatorOptions) -> None:
    """Refuse an empty voice, bad base64 if `strict`, relative URLs (reference 3.4, last line)."""
    if content.get("voiceData") == "" and not content.get("voiceUri"):
        raise Refusal(ResultCode.INVALID_PARAMETER, "voiceData is empty")
    for key in ("thumbData", "voiceData") if options.strict else ():
        try:
            base64.b64decode(content.get(key, ""), validate=True)
        except ValueError as error:
            raise Refusal(ResultCode.INVALID_PARAMETER, f"{key} is not base64") from error
    for key in ("imageUri", "url", "voiceUri"):
        address = content.get(key, "http://")
        if not address.startswith(("http://", "https://")) and (address or key != "voiceUri"):
            sentence = f"{key} must be an absolute address"
            raise Refusal(ResultCode.INVALID_PARAMETER, sentence)


def _refuse_foreign(part: object, options: SimulatorOptions, own: str, *foreign: str) -> None:
    if not isinstance(part, dict) or (options.foreign_keys == "ignore" and own in part):
        return
    for key in foreign:
        if key in part:
            sentence = f"{key} belongs to another revision than {options.dialect}"
            code = options.wrong_keys
            raise Refusal(ResultCode(code if isinstance(code, int) else -14), sentence)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise Refusal(ResultCode.EMPTY_MESSAGE, "the text is blank")
    return text


# --- commands ------------------------------------------------------------------------------------

HEADING = Shape({"messageId": int, "token": str, "time": int})
"""Heading of most commands if `strict`; `time` is in milliseconds."""
SIGNAL = Shape({"messageId": int, "token": str}, optional={"time": int})
"""Heading of 112 and 113, which the guide shows without `time`."""
BEAT = Shape({"messageId": int}, optional={"token": str, "time": int})
"""Heading of type 10, which the guide shows with `messageId` and `type` only."""
ANY_HEADING = Shape({}, optional={"messageId": int, "token": str})
"""Heading of every command unless `strict`: before 2017-02-06 there was no `messageId`."""
STARS = Shape({"id": int, "comments": str})
LATER_STARS = Shape({"ratingId": int}, {"ratingComments": str})
_REQUEST, _SESSION = {"requestId": int}, {"sessionId": int}


class Command(NamedTuple):
    frame: type[frames.Command]
    shape: Shape
    """Keys beside the heading, in the order of the frame's fields."""
    heading: Shape = HEADING
    served: Callable[[SimulatorOptions], object] = lambda _: True
    """Whether a server with these options knows the command."""


COMMANDS: Mapping[int, Command] = {
    command.frame.type: command
    for command in (
        Command(frames.Logout, Shape({})),
        Command(frames.Heartbeat, Shape({}), BEAT, lambda options: options.pulse != "refuse"),
        Command(
            frames.RequestChat,
            Shape(
                {"queueId": int},
                {"from": str},
                optional={"toUserId": str},
                later={"tracks": str, "brand": str},  # `tracks` is JSON text
            ),
        ),
        Command(frames.CancelRequest, Shape(_REQUEST)),
        Command(frames.CloseSession, Shape(_SESSION)),
        Command(frames.RateSession, Shape(_SESSION | {"rating": Wire})),
        Command(frames.SendMessage, Shape(_SESSION | {"msg": Message})),
        Command(frames.SendPreMessage, Shape(_REQUEST | {"content": str})),
        Command(frames.Preview, Shape(_SESSION | {"content": str}), SIGNAL, attrgetter("later")),
        Command(frames.Typing, Shape(_SESSION), SIGNAL, attrgetter("later")),
        Command(
            frames.Receipt,
            Shape({"rsId": str}),
            served=lambda options: options.later or options.has("receipts"),
        ),
        Command(
            frames.TransferFromRobot,
            Shape(_SESSION, optional={"transferInfo": str}),
            served=lambda options: options.later or options.robot_queues,
        ),
    )
}


def handover_queue(body: Wire) -> QueueId | None:
    """Return the queue that a 302 names in `transferInfo`, or None."""
    info = body.get("transferInfo")
    if not isinstance(info, str) or not info:
        return None
    try:
        return msgspec.json.decode(info, type=TransferInfo).queue_id
    except (ValueError, RecursionError) as error:
        sentence = f"transferInfo is not JSON text with a queueId: {error}"
        raise Refusal(ResultCode.INVALID_PARAMETER, sentence) from error


# --- checks --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Call:
    """One text frame of a customer; the handlers decide whether its command makes sense now."""

    logged: object
    """The decoded frame, or the text of one that is no JSON, as the log shows it."""
    command: frames.Command | Refusal = field(init=False)
    body: Wire = field(default_factory=dict)
    """The decoded frame; empty if it is no JSON object."""
    type: int = 0
    """0 if the frame has no readable type."""
    call_id: CallId | None = None
    token: str = ""


def check(text: str, options: SimulatorOptions) -> Call:
    """Validate one text frame. Refusals: -8 no JSON object, `unknown_type` unknown command, -12
    unknown content type, -14 missing or wrong field, -17 blank text, `wrong_keys` foreign keys.
    """
    call = Call(masked_text(text))
    try:
        decoded = msgspec.json.decode(text)
        call.logged = masked(decoded)
        call.body = msgspec.convert(decoded, Wire)
    except (ValueError, RecursionError) as error:
        call.command = Refusal(ResultCode.REQUEST_ERROR, f"not a JSON object: {error}")
        return call
    try:
        call.command = _command(call, options)
    except msgspec.ValidationError as error:
        call.command = Refusal(ResultCode.INVALID_PARAMETER, str(error))
    except Refusal as refusal:
        call.command = refusal
    return call


def _number(value: object, options: SimulatorOptions) -> int | None:
    try:
        return msgspec.convert(value, int, strict=options.strict)
    except msgspec.ValidationError:
        return None


def _command(call: Call, options: SimulatorOptions) -> frames.Command:
    """Return the command of a frame, whose type, messageId and token are noted on the way."""
    kind, call_id = (_number(call.body.get(key), options) for key in ("type", "messageId"))
    call.type, call.call_id = kind or 0, None if call_id is None else CallId(call_id)
    if kind is None:
        raise Refusal(ResultCode.INVALID_PARAMETER, "type must be an integer")
    known = COMMANDS.get(kind)
    if known is None or not known.served(options):
        sentence = f"the guide of {options.dialect} has no command of type {kind}"
        raise Refusal(ResultCode(options.unknown_type), sentence)
    heading = known.heading if options.strict else ANY_HEADING
    call.token = heading.read(call.body, options)["token"]
    values: list[Any] = list(known.shape.read(call.body, options).values())
    if kind == FrameType.RATE_SESSION:
        early, late = ("id", "comments"), ("ratingId", "ratingComments")
        own, foreign = (late, early) if options.later else (early, late)
        if own[0] not in values[1] and options.wrong_keys in {"blank", "shown"}:
            values[1:] = 0, ""
        else:
            _refuse_foreign(values[1], options, own[0], *foreign)
            stars = LATER_STARS if options.later else STARS
            values[1:] = stars.read(values[1], options).values()
    elif kind == FrameType.SEND_MESSAGE:
        values[1] = _content(values[1], options)
    elif kind == FrameType.SEND_PRE_MESSAGE:
        _not_blank(values[1])
    elif kind == FrameType.ROBOT_TRANSFER:
        handover_queue(call.body)
    command: frames.Command = _made(known.frame, values)
    return command
