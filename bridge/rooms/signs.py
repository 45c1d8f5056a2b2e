"""What the engine asks of a homeserver to show signs of life in a room, which are no messages."""

from __future__ import annotations

from typing import Protocol

from bridge.ids import EventId, RoomId, UserId


class SignsPort(Protocol):
    """A part of `ports.MatrixPort`, with the same errors."""

    async def show_typing(self, room_id: RoomId, who: UserId, seconds: float) -> None:
        """Show one of ours as typing for so long; 0: no longer. Nothing is lost if it fails."""
        ...

    async def mark_read(self, room_id: RoomId, who: UserId, event_id: EventId) -> None:
        """Show that one of ours has read up to this event. Repeating it does no harm."""
        ...
