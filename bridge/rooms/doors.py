"""Going into a room and out of it, as rows of the Matrix lane."""

from __future__ import annotations

import structlog

from bridge.ids import EventId
from bridge.rooms.effects import EnterRoom, LeaveRoom
from bridge.rooms.inbox import Entered, MatrixEvent
from bridge.rooms.ports import Refused
from bridge.rooms.reader import Came
from bridge.rooms.room import Done, Room
from bridge.rooms.surroundings import Surroundings


class Doors:
    """The Matrix lane's part that enters and leaves."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.doors")

    async def enter(self, room: Room, effect: EnterRoom) -> Done:
        """Go in; what was found there is told to the room.

        Raises:
            Unavailable, Refused: of the homeserver.
        """
        room_id = room.room_id
        entry = await self._around.matrix.enter(
            room_id, effect.host, effect.inviter, encrypt=effect.encrypt
        )
        earlier: list[Came] = []
        order: list[EventId] = []
        for raw in entry.earlier:
            event_id = raw.get("event_id")
            if isinstance(event_id, str):
                order.append(EventId(event_id))
                earlier.append(Came(MatrixEvent(raw), event_id))
        entered = Entered(
            tuple(order),
            entry.direct,
            entry.encrypted,
            entry.displayname,
            entry.config,
            entry.people,
            entry.encrypted_by_us,
            entry.configured_by,
        )
        return Done(came=(*earlier, Came(entered)))

    async def leave(self, room: Room, order: LeaveRoom) -> Done:
        """Leave; who is not in the room (any more) has left.

        Raises:
            Unavailable: of the homeserver.
        """
        if order.why:
            self._log.info(
                "invitation refused", room=room.room_id, inviter=order.inviter, why=order.why
            )
        for user in order.users:
            try:
                await self._around.matrix.leave(room.room_id, user, order.reason)
            except Refused as error:
                self._log.debug("nothing to leave", room=room.room_id, why=error.code)
        return Done()
