"""Inputs of a room as the journal keeps them, and the meanings of Matrix events.

`Stored` is an input as it is kept: Matrix events as they came (they are read only by their
own room, so that order and durability are the same for every kind), and the conversation's inputs.
`Meaning` is what the matrix ring makes of an event; it is never stored.
"""

from __future__ import annotations

import msgspec

from bridge.conversation.model import Args, CustomerContent, Input
from bridge.ids import EventId, UserId
from bridge.rooms.record import OurCard, OwnLogin, Person


class InboxEntry(msgspec.Struct, frozen=True, tag=True, tag_field="is", omit_defaults=True):
    """Base of the stored entries, but for the conversation's inputs (`Happening`)."""


class MatrixEvent(InboxEntry, frozen=True):
    """One event of a transaction, untouched."""

    raw: dict[str, object]


class Entered(InboxEntry, frozen=True):
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
    encrypted_by_us: bool = False
    """Our host turned encryption on."""
    configured_by: UserId = UserId("")
    """Who set `config`; empty in rows of versions that did not ask."""


class EntryFailed(InboxEntry, frozen=True):
    """The room could not be joined."""

    why: str = ""


class CardPosted(InboxEntry, frozen=True):
    """A card of ours stands in the room."""

    card: OurCard
    signs: tuple[str, ...] = ()
    """Reactions that customers may tap; put there once a tap would be understood."""


class PartPosted(InboxEntry, frozen=True):
    """A later part of an agent's message stands in the room; its key is its event's id.

    Nothing comes of it but that the ledger knows its words, for as long as it keeps any.
    """

    text: str = ""


class RobotAnswered(InboxEntry, frozen=True):
    """The knowledge base was asked; `key` and `args` are of the sentence that says what came."""

    event_id: EventId
    question: str
    """Empty if it was not asked by command."""
    key: str
    args: Args = {}
    first: bool = False
    """It was not asked by command: the message waits for what comes of it."""
    short: tuple[str, ...] = ()
    """The answers in a few words each, for an agent; empty if there are none."""
    unreachable: bool = False
    """There are none because the knowledge base gave no reply, or refused us."""


class LookedUp(InboxEntry, frozen=True):
    """Answer to a command: `key` and `args` are of the sentence that replies to it."""

    event_id: EventId
    key: str
    args: Args = {}


class LoginTried(InboxEntry, frozen=True):
    """The call centre was asked whether it takes a customer's account."""

    event_id: EventId
    login: OwnLogin
    reason: str | None = None
    """Key of the sentence that says why not; None: it does."""
    code: int | None = None
    """The server's own verdict."""


Stored = (
    MatrixEvent
    | Entered
    | EntryFailed
    | CardPosted
    | PartPosted
    | RobotAnswered
    | LookedUp
    | LoginTried
    | Input
)


class Meant(msgspec.Struct, frozen=True, tag=True, tag_field="is"):
    """Base of the meanings."""


class Invited(Meant, frozen=True):
    """A person invited one of our own users (bot or queue user) into a room."""

    event_id: EventId
    by: UserId
    whom: UserId
    direct: bool


class AgentInvited(Meant, frozen=True):
    """A person invited a user of ours who answers no invitations, an agent's mostly."""

    event_id: EventId
    by: UserId
    whom: UserId


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
    answers: tuple[tuple[str, str], ...] = ()
    """A poll's: id and text of each."""
    notice: bool = False
    """It says of itself that a program wrote it (specification, `m.notice`)."""


class Corrected(Meant, frozen=True):
    """A person corrected an earlier message of theirs; `content` and `plain` are the new ones."""

    event_id: EventId
    sender: UserId
    target: EventId
    content: CustomerContent
    plain: str = ""
    answers: tuple[tuple[str, str], ...] = ()
    """A poll's: id and text of each."""
    notice: bool = False


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
    more: tuple[str, ...] = ()
    """Ids of the others, where several may be chosen."""


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
    """The room was replaced by another, into which we have to be invited anew."""


class Nothing(Meant, frozen=True):
    """Of no interest to us: an echo of ours, a topic, …"""


Meaning = (
    Invited
    | AgentInvited
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
