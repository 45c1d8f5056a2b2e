"""Knowing our own events again, after the homeserver has forgotten their transaction ids.

A homeserver answers a repeated transaction id with the event that it made of it, but not for ever:
Synapse for a day if the sender has a device, else for half an hour or until it is restarted
(reference matrix.md §5). Every content of ours says which one it is of (`render.MARKER`), also
outside of what is encrypted. So what may have been sent long ago is looked for in the room before
it is sent again.
"""

from __future__ import annotations

from bridge.ids import EventId, RoomId, UserId
from bridge.matrix.crypto.recall import Recall
from bridge.matrix.homeserver import Homeserver
from bridge.matrix.render import MARKER
from bridge.matrix.signs import Signs
from bridge.matrix.transport import Json, Transport

PAGE = 100
MOST_PAGES = 5
"""Of the room's newest events; what is further back is not found."""
KEPT = 2_000
"""Events of ours that are known again."""
_SKEW = 10 * 60_000
"""ms that the homeserver's clock may differ from ours."""


class Markers:
    """Events of ours that were found in rooms, by room, sender and transaction id."""

    def __init__(self) -> None:
        self._found: Recall[tuple[RoomId, str, str], EventId] = Recall(KEPT)

    def note(self, room_id: RoomId, event: Json) -> None:
        """Remember an event, if it bears our marker. Only its sender could have it bear ours."""
        content, event_id = event.get("content"), event.get("event_id")
        marker = content.get(MARKER) if isinstance(content, dict) else None
        txn = marker.get("txn") if isinstance(marker, dict) else None
        if not isinstance(txn, str) or not isinstance(event_id, str):
            return
        self._found.put((room_id, str(event.get("sender")), txn), EventId(event_id))

    def find(self, room_id: RoomId, sender: UserId, txn: str) -> EventId | None:
        """The event that was made of this transaction id, if it was found."""
        return self._found.get((room_id, sender, txn))


class Recognising(Signs):
    """The part of `MatrixPort` that looks back."""

    def __init__(self, transport: Transport, homeserver: Homeserver) -> None:
        super().__init__(transport)
        self._homeserver = homeserver
        self._markers = Markers()

    async def look_back(self, room_id: RoomId, reader: UserId, since: int) -> None:
        """Find our own events in a room, so that none of them is sent twice.

        Args:
            room_id: the room.
            reader: one of ours who is in it.
            since: ms since the epoch; nothing older is of interest.

        Raises:
            Unavailable, Refused: of the homeserver.
        """
        before = ""
        for _ in range(MOST_PAGES):
            events, before = await self._homeserver.latest(reader, room_id, PAGE, before)
            recent = [event for event in events if _at(event) >= since - _SKEW]
            for event in recent:
                self._markers.note(room_id, event)
            if not before or len(recent) < len(events) or not events:
                return


def _at(event: Json) -> int:
    moment = event.get("origin_server_ts")
    return moment if isinstance(moment, int) else 0
