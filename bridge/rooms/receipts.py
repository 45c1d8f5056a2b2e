"""Read receipts: the room shows what the call centre has taken, and nothing else.

How far that is stands in the room's record (`RoomRecord.read_up_to`), written in the transaction
that settled the message. So no receipt is ahead of what is known for certain, none costs a row, and
after a crash it is given anew: repeating one does no harm, and a homeserver lets none go back.

Only the newest counts. The first goes out at once; while people write fast, one every
`PAUSE` seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import islice

import structlog

from bridge.conversation.events import AgentsCame
from bridge.conversation.model import Chatting
from bridge.ids import EventId, UserId
from bridge.rooms.mirror import Mirror
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.record import Membership
from bridge.rooms.serial import load_effect
from bridge.rooms.store import Lane
from bridge.rooms.surroundings import Surroundings

PAUSE = 2.0
"""Seconds between two receipts of a room."""
TRIES = 6
"""Attempts while the homeserver does not answer; after that, the next message's has to do."""
_LOOKED_AT = 5
"""Rows of the Matrix lane among which an agent may be about to come in."""


class Receipts:
    """Gives the receipts of one room; `once` must not run twice at a time.

    Args:
        mirror: what of the room is in memory.
        around: the homeserver and the clock.
        pause: waits so many seconds, or raises `carrying.Stopping`.
    """

    def __init__(
        self, mirror: Mirror, around: Surroundings, pause: Callable[[float], Awaitable[None]]
    ) -> None:
        self._mirror = mirror
        self._around = around
        self._pause = pause
        self._done: EventId | None = None
        """The newest that needs no more: given, or given up."""
        self._failures = 0
        self._not_before = 0
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms").bind(
            room=mirror.room_id
        )

    @property
    def due(self) -> bool:
        """True if `once` has something to do."""
        record = self._mirror.record
        if record.read_up_to in {None, self._done} or record.membership is not Membership.JOINED:
            return False
        return not self._agent_is_coming()

    async def once(self) -> bool:
        """Give one receipt, or wait until one may be given; False if there is none to give.

        Raises:
            Stopping: it is given after the next start.
        """
        wait = self._not_before - self._around.clock.now()
        if self.due and wait > 0:
            await self._pause(wait / 1000)
        newest = self._mirror.record.read_up_to
        if newest is None or not self.due:
            return False
        pause = PAUSE
        try:
            await self._give(newest)
        except Unavailable as error:
            self._failures += 1
            pause *= 2**self._failures
            self._log.info("a receipt was not given yet", wait=pause, why=str(error))
            done = self._failures == TRIES
        except Refused as error:
            self._log.info("a receipt cannot be given", why=error.code)
            done = True
        else:
            done = True
        if done:
            self._done, self._failures = newest, 0
        self._not_before = self._around.clock.now() + round(pause * 1000)
        return True

    async def _give(self, event_id: EventId) -> None:
        """As the first agent of the chat, or, where none can be seen to read, as our host."""
        matrix, room_id = self._around.matrix, self._mirror.room_id
        agent = self._agent()
        if agent is not None:
            try:
                await matrix.mark_read(room_id, agent, event_id)
            except Refused as error:
                self._log.debug("an agent's ghost cannot read", who=agent, why=error.code)
            else:
                return
        await matrix.mark_read(room_id, self._mirror.record.host, event_id)

    def _agent(self) -> UserId | None:
        phase = self._mirror.record.conversation.phase
        if not isinstance(phase, Chatting) or not phase.agents:
            return None
        return self._around.matrix.ghost_of(phase.agents[0])

    def _agent_is_coming(self) -> bool:
        """True while the ghost that should read may not be in the room yet.

        The Matrix lane brings it in soon, and whoever runs us asks again when it has.
        """
        first = self._mirror.first(Lane.MATRIX)
        if first is None or self._agent() is None:
            return False
        rows = [first, *islice(self._mirror.later_rows(first), _LOOKED_AT)]
        return any(isinstance(load_effect(row.effect), AgentsCame) for row in rows)
