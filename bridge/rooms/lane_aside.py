"""The lane aside: questions that may take long, and behind which nobody's messages must wait.

What is asked here changes nothing where it is asked, so a row that a crash interrupted is simply
carried out again. Every question has an end: the link's own time limits, then an answer that says
that there is none.
"""

from __future__ import annotations

import structlog

from bridge.conversation.effects import AskRobot, FetchHistory
from bridge.conversation.inputs import Recalled
from bridge.conversation.marks import MOST_RECALLED
from bridge.rooms import cards
from bridge.rooms.effects import Filed
from bridge.rooms.filing import Filing
from bridge.rooms.inbox import Stored
from bridge.rooms.ports import CallFailure
from bridge.rooms.reader import Came
from bridge.rooms.room import Done, Room
from bridge.rooms.serial import load_effect
from bridge.rooms.store import EffectRow, Outcome
from bridge.rooms.surroundings import Surroundings


class AsideLane:
    """Implements `room.LaneRunner`."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._filing = Filing(around)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.aside")

    async def run(self, room: Room, row: EffectRow) -> Done:
        """Ask, and bring the answer back as an input."""
        effect = load_effect(row.effect)
        if isinstance(effect, Filed):
            return await self._filing.run(room, effect)
        match effect:
            case AskRobot():
                came: Stored = await cards.ask_robot(self._around, effect)
                outcome = Outcome.DELIVERED
            case FetchHistory():
                came, outcome = await self._recall(room, effect)
            case _:
                raise TypeError(f"{type(effect).__name__} is no effect of this lane")
        return Done(came=(Came(came),), outcome=outcome)

    async def _recall(self, room: Room, ask: FetchHistory) -> tuple[Recalled, Outcome]:
        """What was said lately; a server that does not say has nothing to say."""
        try:
            entries = await self._around.link.history(room.account, MOST_RECALLED)
        except CallFailure as failure:
            self._log.warning("no history", room=room.room_id, why=failure.reason)
            return Recalled(ask.session_id, ask.since, failed=True), Outcome.FAILED
        came = Recalled(ask.session_id, ask.since, entries or (), kept=entries is not None)
        return came, Outcome.DELIVERED
