"""What the inbox of a room can hold, and what a Matrix event turns out to mean.

`Stored` is what the inbox keeps: Matrix events as they came (they are read only by their room's
actor, so that order and durability are the same for every kind), and the conversation's inputs.
`Meaning` is what the matrix ring makes of an event; it is never stored.
"""

from __future__ import annotations

import msgspec

from bridge.conversation.effects import Args
from bridge.conversation.inputs import Input
from bridge.conversation.model import CustomerContent
from bridge.ids import EventId, UserId
from bridge.rooms.record import OurCard, Person


class Entry(msgspec.Struct, frozen=True, tag=True, tag_field="is", omit_defaults=True):
    """What all entries share."""


class MatrixEvent(Entry, frozen=True):
    """One event of a transaction, untouched."""

    raw: dict[str, object]


class Entered(Entry, frozen=True):
    """Our user has joined the room; `order` lists the events sent before and while it did.

    They were put into the inbox in the same transaction as this entry.
    """

    order: tuple[EventId, ...] = ()
    direct: bool = True
    encrypted: bool = False
    displayname: str = ""
    """The inviter's name in the room."""
    config: dict[str, object] | None = None
    """The room's configuration state event, where there was one before us."""
    people: tuple[Person, ...] = ()
    """Who is in the room besides us."""


class EntryFailed(Entry, frozen=True):
    """The room could not be joined."""

    why: str = ""


class CardPosted(Entry, frozen=True):
    """A card of ours stands in the room."""

    card: OurCard


class RobotAnswered(Entry, frozen=True):
    """The knowledge base was asked; `key` and `args` are of the sentence that says what came."""

    event_id: EventId
    question: str
    key: str
    args: Args = {}


Stored = MatrixEvent | Entered | EntryFailed | CardPosted | RobotAnswered | Input


class Meant(msgspec.Struct, frozen=True, tag=True, tag_field="is"):
    """What all meanings share."""


class Invited(Meant, frozen=True):
    """A person invited one of our own users (bot or queue user) into a room."""

    event_id: EventId
    by: UserId
    whom: UserId
    direct: bool


class MemberJoined(Meant, frozen=True):
    who: UserId
    name: str = ""
    event_id: EventId = EventId("")


class Renamed(Meant, frozen=True):
    """Somebody who is in the room goes by another name there."""

    who: UserId
    name: str


class MemberGone(Meant, frozen=True):
    """Somebody left, was kicked or banned; `who` may be one of ours."""

    who: UserId
    by: UserId
    event_id: EventId = EventId("")


class Spoke(Meant, frozen=True):
    """A person's message that can be carried, or read as a command."""

    event_id: EventId
    sender: UserId
    content: CustomerContent
    plain: str = ""
    """The text to read as a command; a file's caption."""
    wrap: str = ""
    """Key of the sentence in which agents see the text; empty: as it is."""
    reply_to: EventId | None = None
    """The event that this one answers."""
    thread: EventId | None = None
    """The event at the root of the thread that this one is in."""


class Corrected(Meant, frozen=True):
    """A person corrected an earlier message of theirs; `content` and `plain` are the new ones."""

    event_id: EventId
    sender: UserId
    target: EventId
    content: CustomerContent
    plain: str = ""


class Withdrew(Meant, frozen=True):
    """A person took back a message, a reaction, or whatever else `target` is."""

    event_id: EventId
    sender: UserId
    target: EventId


class Reacted(Meant, frozen=True):
    """A person put a reaction, mostly an emoji, to a message."""

    event_id: EventId
    sender: UserId
    target: EventId
    key: str


class PollAnswered(Meant, frozen=True):
    """A person voted in a poll."""

    event_id: EventId
    sender: UserId
    target: EventId
    answer: str
    """Id of the answer, as the poll's start names it."""


class Unreadable(Meant, frozen=True):
    """A person's message that we cannot carry; the person is told, by `key` of the texts."""

    event_id: EventId
    sender: UserId
    key: str


class RoomConfigured(Meant, frozen=True):
    """The state event `org.matrix_webchat.room`."""

    event_id: EventId
    sender: UserId
    content: dict[str, object]


class EncryptionOn(Meant, frozen=True):
    """The room has become encrypted."""


class Upgraded(Meant, frozen=True):
    """The room was replaced by another."""

    replacement: str


class Nothing(Meant, frozen=True):
    """Of no interest to us: an echo of ours, a topic, …"""


Meaning = (
    Invited
    | MemberJoined
    | MemberGone
    | Renamed
    | Spoke
    | Corrected
    | Withdrew
    | Reacted
    | PollAnswered
    | Unreadable
    | RoomConfigured
    | EncryptionOn
    | Upgraded
    | Nothing
)
