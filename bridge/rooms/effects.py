"""Effects of a room, the form in which effects and inputs are stored, and the lane of each.

Stored is tagged JSON. The tag is the name of the class: one that is renamed keeps the former name
as its `tag`, and a field that is added has a default, for later versions read the rows of earlier
ones (a test holds samples of them, `stored_rows.jsonl`).
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from bridge.conversation.model import (
    AgentsCame,
    AgentsLeft,
    Answered,
    Args,
    AskRating,
    AskRobot,
    CallbackCard,
    CallWebChat,
    Card,
    Delivered,
    EndPoll,
    FetchHistory,
    Offer,
    Relay,
    Reported,
    Say,
    ToAside,
    ToMatrix,
    ToWebChat,
    UploadMedia,
)
from bridge.conversation.model import Effect as ConversationEffect
from bridge.ids import EventId, UserId
from bridge.rooms.inbox import Stored
from bridge.rooms.record import OwnLogin
from bridge.rooms.store import Lane, NewEffect


class RoomWish(msgspec.Struct, frozen=True, tag=True, tag_field="is", omit_defaults=True):
    """Base of the room's effects."""


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
    """Take a message that holds a password out of the room, and out of our journal."""

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


StoredEffect = ToWebChat | ToAside | ToMatrix | RoomEffect
"""All that something has to be done about."""

_encoder = msgspec.json.Encoder()
_stored: msgspec.json.Decoder[Stored] = msgspec.json.Decoder(Stored)
_effect: msgspec.json.Decoder[StoredEffect] = msgspec.json.Decoder(StoredEffect)


def dump_input(stored: Stored) -> bytes:
    """An input as the journal keeps it."""
    return _encoder.encode(stored)


def load_input(body: bytes) -> Stored:
    """An input as it was stored; raises msgspec.DecodeError for anything else."""
    return _stored.decode(body)


def load_effect(body: bytes) -> StoredEffect:
    """An effect as it was stored; raises msgspec.DecodeError for anything else."""
    return _effect.decode(body)


def new_effect(effect: Effect) -> NewEffect | None:
    """An effect for the journal; None for a fact about which nothing has to be done."""
    match effect:
        case CallWebChat():
            return NewEffect(
                Lane.WEBCHAT,
                _encoder.encode(effect),
                cause=effect.event_id,
                call_id=effect.call_id,
                repeat=effect.repeat,
                attempted=True,
            )
        case UploadMedia():
            return NewEffect(
                Lane.WEBCHAT,
                _encoder.encode(effect),
                cause=effect.event_id,
                call_id=effect.call_id,
            )
        case AskRobot() | TellHistory() | SendTranscript() | TryLogin() | Conceal() | Decline():
            return NewEffect(Lane.ASIDE, _encoder.encode(effect), cause=effect.event_id)
        case FetchHistory():
            return NewEffect(Lane.ASIDE, _encoder.encode(effect))
        case Reported() | ShowAnswer():
            return NewEffect(Lane.MATRIX, _encoder.encode(effect), cause=effect.event_id)
        case Say():
            return NewEffect(Lane.MATRIX, _encoder.encode(effect), cause=effect.reply_to)
        case (
            Card()
            | CallbackCard()
            | AskRating()
            | EndPoll()
            | Offer()
            | PutSigns()
            | Relay()
            | AgentsCame()
            | AgentsLeft()
            | EnterRoom()
            | LeaveRoom()
        ):
            return NewEffect(Lane.MATRIX, _encoder.encode(effect))
        case Delivered() | Answered():
            return None
        case _:
            assert_never(effect)
