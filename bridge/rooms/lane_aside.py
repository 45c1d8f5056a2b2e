"""The lane aside: questions that may take long, and behind which nobody's messages must wait.

What is asked here changes nothing where it is asked, so a row that a crash interrupted is simply
carried out again. Every question has an end: the link's own time limits, then an answer that says
that there is none.
"""

from __future__ import annotations

import structlog

from bridge.conversation.events import AskRobot, FetchHistory, Recalled
from bridge.conversation.history import MOST_RECALLED
from bridge.rooms import robot
from bridge.rooms.effects import Filed
from bridge.rooms.filing import Filing
from bridge.rooms.inputs import Stored
from bridge.rooms.ports import CallFailure
from bridge.rooms.serial import dump_input, load_effect
from bridge.rooms.store import NewInput, OutboxRow, Outcome, Settlement
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.worker import Worker


class AsideLane:
    """Implements `worker.LaneRunner`."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._filing = Filing(around)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.aside")

    async def run(self, worker: Worker, row: OutboxRow) -> Settlement:
        """Ask, and bring the answer back as an input."""
        effect = load_effect(row.effect)
        if isinstance(effect, Filed):
            return await self._filing.run(worker, row, effect)
        match effect:
            case AskRobot():
                came: Stored = await robot.answer(self._around, effect)
                outcome = Outcome.DELIVERED
            case FetchHistory():
                came, outcome = await self._recall(worker, effect)
            case _:
                raise TypeError(f"{type(effect).__name__} is no effect of this lane")
        new = NewInput(worker.room_id, dump_input(came))
        return Settlement(row.seq, outcome, self._around.clock.now(), inputs=(new,))

    async def _recall(self, worker: Worker, ask: FetchHistory) -> tuple[Recalled, Outcome]:
        """What was said lately; a server that does not say has nothing to say."""
        try:
            entries = await self._around.link.history(worker.account, MOST_RECALLED)
        except CallFailure as failure:
            self._log.warning("no history", room=worker.room_id, why=failure.reason)
            return Recalled(ask.session_id, ask.since, failed=True), Outcome.FAILED
        came = Recalled(ask.session_id, ask.since, entries or (), kept=entries is not None)
        return came, Outcome.DELIVERED
