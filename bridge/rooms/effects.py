"""Effects of the room itself, beside those of its conversation."""

from __future__ import annotations

import msgspec

from bridge.conversation.events import Args
from bridge.conversation.events import Effect as ConversationEffect
from bridge.ids import EventId, UserId
from bridge.rooms.record import OwnLogin


class RoomWish(msgspec.Struct, frozen=True, tag=True, tag_field="is", omit_defaults=True):
    """What all room effects share."""


class EnterRoom(RoomWish, frozen=True):
    """Accept an invitation; the result comes back as `Entered` or `EntryFailed`."""

    host: UserId
    inviter: UserId
    encrypt: bool = False
    """Turn encryption on there, if the host may and the room is not public."""


class LeaveRoom(RoomWish, frozen=True):
    """Leave, with every ghost named."""

    users: tuple[UserId, ...]
    reason: str = ""
    """As people are to read it."""
    inviter: UserId = UserId("")
    """Whose invitation is refused by it, if one is."""
    why: str = ""
    """The same reason, for the operator's log."""


class ShowAnswer(RoomWish, frozen=True):
    """Show what the knowledge base says, as a card that replies to the question."""

    event_id: EventId
    question: str
    key: str
    args: Args = {}
    first: bool = False
    """Nobody gave a command: the message that was asked about still waits for a person."""


class PutSigns(RoomWish, frozen=True):
    """Put reactions to a message of ours, for customers to tap; we know the card by now."""

    event_id: EventId
    signs: tuple[str, ...]


class TellHistory(RoomWish, frozen=True):
    """List the room's chats, as a reply to the event."""

    event_id: EventId
    limit: int = 0
    """How many; 0: as many as usual."""


class SendTranscript(RoomWish, frozen=True):
    """Put the whole of a chat into the room, as files."""

    event_id: EventId
    number: int | None = None
    """Which; None: the newest."""


class TryLogin(RoomWish, frozen=True):
    """Ask the call centre whether it takes a customer's account; comes back as `LoginTried`."""

    event_id: EventId
    login: OwnLogin


class Conceal(RoomWish, frozen=True):
    """Take a message that holds a password out of the room, and out of our inbox."""

    event_id: EventId


class Decline(RoomWish, frozen=True):
    """Refuse the invitation `event_id` of one of our users, and say why."""

    event_id: EventId
    user: UserId
    reason: str
    """As people are to read it."""
    inviter: UserId = UserId("")
    why: str = ""
    """For the operator's log."""


Filed = TellHistory | SendTranscript | TryLogin | Conceal | Decline
"""What is looked up, written down or put away for the customer, in the lane aside."""
RoomEffect = EnterRoom | LeaveRoom | PutSigns | ShowAnswer | Filed
Effect = ConversationEffect | RoomEffect
