"""All that we remember of a room: who is in it for us, how it is configured, what is going on."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bridge.conversation.model import Conversation, Value
from bridge.ids import EventId, QueueId, RoomId, SessionId, UserId


class Membership(StrEnum):
    """Where we stand with the room."""

    NONE = "none"
    ENTERING = "entering"
    """Invited; the join is on its way. What people write meanwhile is parked."""
    JOINED = "joined"
    LEFT = "left"


class RoomSettings(Value, frozen=True):
    """What the room admins decided; None: as the operator's config says."""

    queue: QueueId | None = None
    source: str | None = None
    language: str | None = None
    start: str | None = None
    """`on_message` or `on_command`."""
    paused: bool = False


class SealedEvent(Value, frozen=True):
    """An encrypted event whose key may still come. Times are ms since the epoch."""

    raw: dict[str, object]
    until: int
    """When it is given up."""
    retry_at: int
    """When to try again, if no key's arrival says so before."""


class Thread(Value, frozen=True):
    """Where the customer is talking at the moment, if it is in a thread."""

    root: EventId
    latest: EventId
    """What they said last."""


class CardKind(StrEnum):
    RATING = "rating"
    QUEUE = "queue"
    ROBOT = "robot"


class OurCard(Value, frozen=True):
    """A message of ours that a reaction or a vote can answer."""

    event_id: EventId
    kind: CardKind
    session_id: SessionId | None = None
    """Rating: of which chat."""
    choices: tuple[int, ...] = ()
    """Rating: the ids, the best first."""
    number: int = 0
    """Queue: of which request. Robot: of the newest request there was."""
    text: str = ""
    """Robot: what was asked."""


class Person(Value, frozen=True):
    """Somebody in the room who is not one of ours."""

    user: UserId
    name: str = ""
    """In this room, on one line; empty if they have none."""


class RoomRecord(Value, frozen=True):
    """The stored state of one room."""

    room_id: RoomId
    version: int = 1
    """Of this layout; a reader refuses a newer one."""
    membership: Membership = Membership.NONE
    host: UserId = UserId("")
    """Our user whom the customer invited: the bot, or a queue user. It speaks for us."""
    customer: UserId = UserId("")
    """Who invited us last. It stays after we left, for what still has to be said to WebChat."""
    displayname: str = ""
    direct: bool = True
    encrypted: bool = False
    refusal: str = ""
    """Why we shall leave again as soon as we are in: a key of the texts."""
    settings: RoomSettings = RoomSettings()
    conversation: Conversation = Conversation()
    thread: Thread | None = None
    corrections: tuple[tuple[EventId, EventId], ...] = ()
    """Corrected messages, each with the event of its newest wording; the oldest go first."""
    parked: tuple[dict[str, object], ...] = ()
    """Raw events that came while we were entering, in the order of arrival."""
    sealed: tuple[SealedEvent, ...] = ()
    """Encrypted events that could not be read yet; their senders were told."""
    minute: int = 0
    """The minute in which `spoken` messages were counted."""
    spoken: int = 0
    cards: tuple[OurCard, ...] = ()
    """The newest of our cards, the latest last."""
    empty_since: int | None = None
    """When the last customer left a shared room, ms; None while there is one."""
    people: tuple[Person, ...] = ()
    """Who is in the room besides us, the newest last; a large room is not remembered whole."""
    turned_away: tuple[tuple[UserId, int], ...] = ()
    """People without permission, and when they were told so (ms)."""


RECORD_VERSION = 1

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(RoomRecord)


def dump_record(record: RoomRecord) -> bytes:
    """The record as stored."""
    return _encoder.encode(record)


def load_record(data: bytes) -> RoomRecord:
    """The record as it was stored.

    Raises:
        ValueError: the row is not a record, or was written by a newer version of the bridge.
    """
    record = _decoder.decode(data)
    if record.version > RECORD_VERSION:
        raise ValueError(f"room record of version {record.version}, this bridge reads 1")
    return record
