"""What stands in a room: messages for those who write them down, and how they are got at."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

import msgspec

from bridge.conversation.model import CustomerContent
from bridge.ids import EventId, RoomId, UserId


class Recorded(msgspec.Struct, frozen=True):
    """One message, whoever sent it."""

    event_id: EventId
    sender: UserId
    at: int
    """When its homeserver got it, ms since the epoch; as true as that server's clock."""
    content: CustomerContent | None = None
    """None: it was taken back (`withdrawn`), or is of a kind that has no words."""
    words: str = ""
    """Its text, or a file's caption."""
    withdrawn: bool = False
    replaces: EventId | None = None
    """The earlier message of which this is the newer wording."""
    reply_to: EventId | None = None


class OurFile(msgspec.Struct, frozen=True):
    """A file that we have made, whole."""

    name: str
    mime: str
    data: bytes


class Archive(Protocol):
    """The part of `ports.MatrixPort` that has to do with what stands in a room already.

    Every method raises `ports.Unavailable` or `ports.Refused`.
    """

    async def send_file(
        self, room_id: RoomId, sender: UserId, file: OurFile, txn_id: str
    ) -> EventId:
        """Send a file of our own."""
        ...

    async def redact(self, room_id: RoomId, who: UserId, event_id: EventId, txn_id: str) -> None:
        """Take an event's content out of the room; Refused if `who` may not."""
        ...

    def timeline(
        self, room_id: RoomId, reader: UserId, first: EventId
    ) -> AsyncGenerator[dict[str, object], None]:
        """The room's events from `first` on, oldest first, as they came (see `open`).

        Raises:
            Refused: the homeserver does not have `first`, or does not show it to `reader`.
        """
        ...

    def recorded(self, raw: dict[str, object]) -> Recorded | None:
        """An opened event as a transcript shows it; None for what is no message. Never raises."""
        ...
