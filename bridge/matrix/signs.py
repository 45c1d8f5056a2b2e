"""Signs of life that our users give in a room: typing, and how far they have read.

Neither is a message: nothing is lost if one fails, and a later one says it anew.
"""

from __future__ import annotations

from urllib.parse import quote

from bridge.ids import EventId, RoomId, UserId
from bridge.matrix.transport import Json, Transport

_ROOMS = "_matrix/client/v3/rooms"


class Signs:
    """Implements `rooms.signs.SignsPort`; raises Unavailable and Refused of the homeserver.

    Args:
        transport: the way to the homeserver.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def show_typing(self, room_id: RoomId, who: UserId, seconds: float) -> None:
        """Show one of ours as typing for so long; 0: no longer (client-server API, "Typing")."""
        path = f"{_ROOMS}/{quote(room_id, safe='')}/typing/{quote(who, safe='')}"
        content: Json = {"typing": seconds > 0}
        if seconds > 0:
            content["timeout"] = int(seconds * 1000)
        await self._transport.request("PUT", path, content, user=who)

    async def mark_read(self, room_id: RoomId, who: UserId, event_id: EventId) -> None:
        """Show that one of ours has read up to this event (client-server API, "Receipts")."""
        room, event = quote(room_id, safe=""), quote(event_id, safe="")
        await self._transport.request(
            "POST", f"{_ROOMS}/{room}/receipt/m.read/{event}", {}, user=who
        )
