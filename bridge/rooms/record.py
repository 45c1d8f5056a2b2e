"""All that we remember of a room: who is in it for us, how it is configured, what is going on.

One value, stored whole with each step that changes it. Whatever in it could grow has a bound, which
stands beside the code that adds to it. A row may be older than this code: every field but the
room's id has a default.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bridge.conversation.model import Conversation, Value
from bridge.ids import EventId, QueueId, RoomId, SessionId, UserId
from bridge.rooms.chats import Chat


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
    """The thread in which the customer's last words were."""

    root: EventId
    latest: EventId
    """The event of those words."""
    at: int = 0
    """When we received them, ms since the epoch; earlier versions did not note it."""


class CardKind(StrEnum):
    RATING = "rating"
    QUEUE = "queue"
    ROBOT = "robot"
    CHOICES = "choices"
    CALLBACK = "callback"


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
    """Robot: what was asked by command, and goes along to a person."""
    asked: EventId | None = None
    """Robot: the command that asked it."""
    about: EventId | None = None
    """Robot: the message that was asked about and waits for the customer's word."""
    options: tuple[str, ...] = ()
    """Choices: what the robot proposed, in the order shown."""
    poll: bool = False
    """Rating: it is the poll, and not the sentence before it."""


class Person(Value, frozen=True):
    """Somebody in the room who is not one of ours."""

    user: UserId
    name: str = ""
    """In this room, on one line; empty if they have none."""


class Undelivered(Value, frozen=True):
    """A message whose sender was told that it did not, or perhaps not, reach the call centre."""

    event_id: EventId
    passed: bool = False
    """Something else was delivered since: a receipt for this one would say nothing new."""
    again: bool = False
    """It was sent again, and is under way."""


class OwnLogin(Value, frozen=True):
    """An account of the customer's own at the call centre."""

    name: str
    password: bytes
    """Sealed with the operator's secret (`ports.Sealing`)."""


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
    speaker: UserId = UserId("")
    """Who wrote last, of several people; their phone rings too."""
    displayname: str = ""
    key: str = ""
    """Stands for the room in its login names at the call centre (`Rules.login_key`). Kept, as the
    secret may change. Empty: the room is from before there was one, and its key is a plain hash."""
    direct: bool = True
    """Nobody is here with us but the customer who invited us (see `people`)."""
    encrypted: bool = False
    refusal: str = ""
    """Why we shall leave again as soon as we are in: a key of the texts."""
    refused_until: int = 0
    """Until when that holds, ms since the epoch; 0: not for a certain time."""
    settings: RoomSettings = RoomSettings()
    conversation: Conversation = Conversation()
    thread: Thread | None = None
    corrections: tuple[tuple[EventId, EventId], ...] = ()
    """Corrected messages, each with the event of a newer wording, the newest last."""
    whole: tuple[EventId, ...] = ()
    """Corrections of messages of which no agent has a former wording: to be sent as the message."""
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
    """Who is in the room besides us, the newest last; a large room is not remembered whole.
    While we are entering: who has joined since we were invited."""
    turned_away: tuple[tuple[UserId, int], ...] = ()
    """People without permission, and when they were told so (ms)."""
    chats: tuple[Chat, ...] = ()
    """The chats that may still change (`chats.kept`), the newest last; the store has them all."""
    transcript_at: int = 0
    """When a transcript was last asked for, ms since the epoch."""
    login_at: int = 0
    """When somebody last tried to log in, ms since the epoch."""
    login: OwnLogin | None = None
    """The customer's own account at the call centre; None: as the operator's config says."""
    read_up_to: EventId | None = None
    """The newest message that the call centre has, all of it: our users have read up to there."""
    undelivered: tuple[Undelivered, ...] = ()
    """The newest messages that their senders may have sent again, the latest last."""
    erasing: tuple[EventId, ...] = ()
    """Events that were taken back, of which copies of ours may be left (`erasing`)."""
    erase_at: int = 0
    """When to look for those, ms since the epoch."""


RECORD_VERSION = 1
THREAD_USED_FOR = 3 * 60_000
"""ms after the customer's last words in a thread during which they are answered there."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(RoomRecord)


def thread_in_use(record: RoomRecord, now: int) -> Thread | None:
    """The thread in which agents, and we ourselves, answer at this moment (ms), if any.

    Who asked one thing in a thread may have closed it, and would wait before a silent room.
    """
    thread = record.thread
    if thread is None or now - thread.at >= THREAD_USED_FOR:
        return None
    return thread


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
