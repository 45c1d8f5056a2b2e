"""The commands as each guide shows them; unknown keys are ignored.

The guide of 2016 marks nothing as optional, so all of its fields are required. The later guides say
which are not. Types only: `checks` reads frames with them.
"""

from __future__ import annotations

import msgspec

from bridge.simulator.outgoing import Wire


class Envelope(msgspec.Struct):
    message_id: int = msgspec.field(name="messageId")
    token: str
    time: int
    """Milliseconds."""


class Signal(Envelope):
    """112 and 113: shown without `time`."""

    time: int = 0


class Beat(Signal):
    """Type 10: shown with nothing but `messageId` and `type`."""

    token: str = ""


class Received(msgspec.Struct):
    rs_id: str = msgspec.field(name="rsId")


class OfRequest(msgspec.Struct):
    request_id: int = msgspec.field(name="requestId")


class OfSession(msgspec.Struct):
    session_id: int = msgspec.field(name="sessionId")


class Queueing(msgspec.Struct):
    queue_id: int = msgspec.field(name="queueId")
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


class Handover(OfSession):
    """302. `transferInfo` is JSON text such as `{"queueId":2}`."""

    transfer_info: str = msgspec.field(name="transferInfo", default="")


class TransferInfo(msgspec.Struct):
    queue_id: int | None = msgspec.field(name="queueId", default=None)


class Message(msgspec.Struct):
    type: int
    content: Wire


class Sending(OfSession):
    msg: Message


# --- rating -----------------------------------------------------------------------------------


class Stars(msgspec.Struct):
    id: int
    comments: str


class Rating(OfSession):
    rating: Stars


class LaterStars(msgspec.Struct):
    id: int = msgspec.field(name="ratingId")
    comments: str = msgspec.field(name="ratingComments", default="")


class LaterRating(OfSession):
    rating: LaterStars


# --- content of 110 -----------------------------------------------------------------------------


class TextContent(msgspec.Struct):
    text: str = msgspec.field(name="content")
    extra: str


class LaterText(msgspec.Struct):
    text: str
    extra: str = ""


class ImageContent(msgspec.Struct):
    name: str
    image_uri: str = msgspec.field(name="imageUri")
    thumb_data: str = msgspec.field(name="thumbData")
    extra: str


class LaterImage(ImageContent):
    thumb_data: str = msgspec.field(name="thumbData", default="")
    extra: str = ""


class FileContent(msgspec.Struct):
    name: str
    url: str
    size: int
    type: str
    extra: str


class LaterFile(FileContent):
    size: int = 0
    type: str = ""
    extra: str = ""


class VideoContent(msgspec.Struct):
    name: str
    url: str
    size: int = 0


class LocationContent(msgspec.Struct):
    poi: str
    longitude: float
    latitude: float
    map: str
    thumb_data: str = msgspec.field(name="thumbData")
    extra: str


class LaterLocation(LocationContent, kw_only=True):
    poi: str = ""
    map: str = ""
    thumb_data: str = msgspec.field(name="thumbData", default="")
    extra: str = ""


class VoiceContent(msgspec.Struct):
    voice_length: int = msgspec.field(name="voiceLength")
    voice_data: str = msgspec.field(name="voiceData")
    extra: str


class LaterVoice(VoiceContent):
    extra: str = ""
