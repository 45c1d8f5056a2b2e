"""Going into a room and out of it, as rows of the Matrix lane."""

from __future__ import annotations

import structlog

from bridge.ids import EventId
from bridge.rooms.done import Done
from bridge.rooms.effects import EnterRoom, LeaveRoom
from bridge.rooms.inbox import Entered, MatrixEvent
from bridge.rooms.ports import Refused
from bridge.rooms.serial import dump_input
from bridge.rooms.store import NewInput
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.worker import Worker


class Doors:
    """The Matrix lane's part that enters and leaves."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.doors")

    async def enter(self, worker: Worker, effect: EnterRoom) -> Done:
        """Go in; what was found there is told to the room.

        Raises:
            Unavailable, Refused: of the homeserver.
        """
        room_id = worker.room_id
        entry = await self._around.matrix.enter(
            room_id, effect.host, effect.inviter, encrypt=effect.encrypt
        )
        earlier: list[NewInput] = []
        order: list[EventId] = []
        for raw in entry.earlier:
            event_id = raw.get("event_id")
            if isinstance(event_id, str):
                order.append(EventId(event_id))
                earlier.append(NewInput(room_id, dump_input(MatrixEvent(raw)), key=event_id))
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
        return Done(inputs=(*earlier, NewInput(room_id, dump_input(entered))))

    async def leave(self, worker: Worker, order: LeaveRoom) -> Done:
        """Leave; who is not in the room (any more) has left.

        Raises:
            Unavailable: of the homeserver.
        """
        if order.why:
            self._log.info(
                "invitation refused", room=worker.room_id, inviter=order.inviter, why=order.why
            )
        for user in order.users:
            try:
                await self._around.matrix.leave(worker.room_id, user, order.reason)
            except Refused as error:
                self._log.debug("nothing to leave", room=worker.room_id, why=error.code)
        return Done()
