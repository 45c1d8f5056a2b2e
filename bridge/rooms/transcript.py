"""A chat written down: the values of the JSON file, whose schema `docs/transcript.schema.json` is.

Programs read it, so its shape has a number (`VERSION`): a field may be added under the same number,
but none changes its meaning or goes without a new one. Every key is always there. Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

FORMAT: Literal["org.matrix_webchat.transcript"] = "org.matrix_webchat.transcript"
VERSION: Literal[1] = 1

Role = Literal["customer", "agent", "service"]
"""Who: a customer; an agent; we ourselves (what we said about the chat)."""
Kind = Literal[
    "text", "image", "file", "voice", "video", "audio", "location", "withdrawn", "unreadable"
]


class File(msgspec.Struct, frozen=True):
    """A file that was sent."""

    name: str
    mime: str
    size: int | None
    """Bytes, as its sender said."""
    uri: str
    """Its mxc address on the homeserver."""
    encrypted: bool
    """What lies there is encrypted; only the message itself holds the key."""


class Place(msgspec.Struct, frozen=True):
    """Degrees of WGS-84."""

    latitude: float
    longitude: float


class Line(msgspec.Struct, frozen=True):
    """One message."""

    event_id: str
    link: str
    """Opens the message in a Matrix client (matrix.to)."""
    at: str
    """When the homeserver got it, RFC 3339 in UTC."""
    role: Role
    sender: str
    """Matrix user."""
    name: str
    kind: Kind
    text: str
    """What was said; of a file its caption, of a place its name."""
    edited: bool
    """`text` is a newer wording."""
    reply_to: str | None
    """The event that it answers."""
    file: File | None
    place: Place | None


class Rating(msgspec.Struct, frozen=True):
    value: int
    label: str
    """As the customer saw it; empty if that is not known."""


class Agent(msgspec.Struct, frozen=True):
    id: str
    name: str


class Queue(msgspec.Struct, frozen=True):
    id: int
    name: str


class About(msgspec.Struct, frozen=True):
    """The chat; moments are RFC 3339 in UTC."""

    number: int
    queue: Queue
    asked: str
    started: str | None
    ended: str | None
    """None: it goes on."""
    ending: str | None
    """`agent`, `customer`, `lost`, `cancelled` or `nobody`."""
    robot: bool
    """It was with the robot, at first at least."""
    agents: tuple[Agent, ...]
    rating: Rating | None


class Transcript(msgspec.Struct, frozen=True):
    """The whole file."""

    room_id: str
    language: str
    """Of the notes that the bridge made."""
    made: str
    """When this file was made."""
    complete: bool
    """Every message of the chat is there and could be read."""
    cut: bool
    """The chat was too long: only its beginning is there."""
    chat: About
    messages: tuple[Line, ...]
    """In the order in which they stand in the room."""
    format: Literal["org.matrix_webchat.transcript"] = FORMAT
    version: Literal[1] = VERSION
    timezone: str = ""
    """Where its readers are (IANA), as far as the operator says so. All moments here are in UTC;
    the page shows them as they were there."""

    def local(self, at: str) -> datetime:
        """One of the file's moments, as its readers' clocks had it."""
        there = datetime.fromisoformat(at)
        try:
            return there.astimezone(ZoneInfo(self.timezone)) if self.timezone else there
        except OverflowError:  # at the end of all calendars: a homeserver may say what it likes
            return there


def dump(transcript: Transcript) -> bytes:
    """The JSON file: UTF-8, indented for people who look into it."""
    return msgspec.json.format(msgspec.json.encode(transcript), indent=2) + b"\n"


def schema() -> bytes:
    """The JSON Schema of the file."""
    found = msgspec.json.schema(Transcript)
    return msgspec.json.format(msgspec.json.encode(found, order="sorted"), indent=2) + b"\n"


def moment(ms: int) -> str:
    """Milliseconds since the epoch as RFC 3339; a moment beyond all calendars is the epoch."""
    try:
        found = datetime.fromtimestamp(ms / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        found = datetime.fromtimestamp(0, UTC)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")
