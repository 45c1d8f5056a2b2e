"""Effects of the room itself, beside those of its conversation."""

from __future__ import annotations

import msgspec

from bridge.conversation.effects import Args
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
    """Put a question to the knowledge base; what it says comes back as `RobotAnswered`."""

    event_id: EventId
    question: str


class ShowAnswer(RoomWish, frozen=True):
    """Show what the knowledge base says, as a card that replies to the question."""

    event_id: EventId
    question: str
    key: str
    args: Args = {}


Effect = ConversationEffect | EnterRoom | LeaveRoom | AskRobot | ShowAnswer
