"""Effects of the room itself, beside those of its conversation."""

from __future__ import annotations

import msgspec

from bridge.conversation.effects import Effect as ConversationEffect
from bridge.ids import EventId, UserId


class RoomWish(msgspec.Struct, frozen=True, tag=True, tag_field="is", omit_defaults=True):
    """What all room effects share."""


class EnterRoom(RoomWish, frozen=True):
    """Accept an invitation; the result comes back as `Entered` or `EntryFailed`."""

    host: UserId
    inviter: UserId


class LeaveRoom(RoomWish, frozen=True):
    """Leave, with every ghost named."""

    users: tuple[UserId, ...]


class AskRobot(RoomWish, frozen=True):
    """Put a question to the knowledge base; the answer replies to the event."""

    event_id: EventId
    question: str


Effect = ConversationEffect | EnterRoom | LeaveRoom | AskRobot
