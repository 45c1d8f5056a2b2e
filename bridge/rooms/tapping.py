"""What the engine asks of a homeserver so that customers answer with a tap: reactions and polls."""

from __future__ import annotations

from typing import Protocol

import msgspec

from bridge.ids import EventId, RoomId, UserId


class Poll(msgspec.Struct, frozen=True):
    """A question of ours with its answers: (id, text)."""

    question: str
    answers: tuple[tuple[str, str], ...]


class TappingPort(Protocol):
    """A part of `ports.MatrixPort`, with the same errors and the same promise about `txn_id`."""

    async def react(
        self, room_id: RoomId, sender: UserId, target: EventId, sign: str, txn_id: str
    ) -> EventId:
        """Put a reaction, one emoji, to an event."""
        ...

    async def poll(self, room_id: RoomId, sender: UserId, poll: Poll, txn_id: str) -> EventId:
        """Ask a question; who votes is `PollAnswered`."""
        ...

    async def end_poll(
        self, room_id: RoomId, sender: UserId, poll: EventId, text: str, txn_id: str
    ) -> EventId:
        """Close a poll; `text` is what clients without polls show."""
        ...
