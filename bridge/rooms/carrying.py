"""A lane of one room: its rows, one after the other, each carried out and settled.

A row is settled once, and only then is the next one begun. Where the room is at rest, an outcome is
stored together with the step that it leads to (`stepping`), else before it. What cannot be stored
yet is tried until it can: what was done must not be done again. A row at which our own code keeps
failing ends as a dead letter, for it would hold up the rest for ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from bridge.ids import EffectSeq
from bridge.rooms.mirror import Mirror
from bridge.rooms.store import (
    InputRow,
    Lane,
    NewInput,
    EffectRow,
    Outcome,
    Settlement,
    StoreError,
    Unstorable,
)
from bridge.rooms.surroundings import Surroundings

STORE_RETRY = 1.0
"""Seconds between attempts while the database does not answer."""
ROW_TRIES = 5
"""How often our own code may fail at a row before it is a dead letter."""


class Stopping(Exception):
    """The bridge is about to end: nothing new is begun."""


class Carrier:
    """Carries out the rows of one lane; `once` must not run twice at a time.

    Args:
        mirror: what of the room is in memory.
        lane: which of its lanes.
        around: the store and the clock.
        run: carries out one row to its end.
        at_once: makes the step that an outcome leads to and stores both; False if it did not.
    """

    def __init__(
        self,
        mirror: Mirror,
        lane: Lane,
        around: Surroundings,
        run: Callable[[EffectRow], Awaitable[Settlement]],
        at_once: Callable[[Sequence[NewInput], Settlement], Awaitable[bool]],
    ) -> None:
        self._mirror = mirror
        self._lane = lane
        self._around = around
        self._run = run
        self._at_once = at_once
        self._failed: EffectSeq | None = None
        self._failures = 0
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms").bind(
            room=mirror.room_id, lane=lane
        )

    async def once(self) -> bool:
        """Carry out the lane's first row; False if there is none.

        Raises:
            StoreError: something that the row needs could not be read; it was not settled.
            Stopping: the row waits for the next start.
        """
        row = self._mirror.first(self._lane)
        if row is None:
            return False
        settlement = await self._outcome(row)
        if self._lane is Lane.WEBCHAT and settlement.outcome is Outcome.DELIVERED:
            self._mirror.answered = settlement.now
        inputs = settlement.inputs
        if not inputs or not await self._at_once(inputs, settlement):
            rows = await self._settle(settlement)
            self._mirror.take(rows)
            if len(rows) < len(inputs):
                # Known already; or stored by an attempt whose answer was lost, and told to nobody.
                self._mirror.behind = True
        self._mirror.ended(row)
        self._around.measures.settled(self._lane, settlement.outcome, settlement.now - row.created)
        return True

    async def _outcome(self, row: EffectRow) -> Settlement:
        """What came of a row. One that our own code keeps failing at must not hold up the rest."""
        try:
            return await self._run(row)
        except (StoreError, Stopping):
            raise
        except Exception as error:
            self._failures = self._failures + 1 if self._failed == row.seq else 1
            self._failed = row.seq
            if self._failures < ROW_TRIES:
                raise
            self._log.exception("an effect is a dead letter now", seq=row.seq)
            now = self._around.clock.now()
            return Settlement(row.seq, Outcome.DEAD, now, type(error).__name__)

    async def _settle(self, settlement: Settlement) -> list[InputRow]:
        """Store an outcome, however long it takes: what was done must not be done again."""
        while True:
            try:
                return await self._around.store.settle(settlement)
            except Unstorable:
                self._log.error("an outcome cannot be stored as it is", seq=settlement.seq)
                settlement = _bare(settlement)
            except StoreError as error:
                self._log.warning("an outcome could not be stored yet", why=str(error))
                await self._around.clock.sleep(STORE_RETRY)


def _bare(settlement: Settlement) -> Settlement:
    """What of an outcome any database can hold: no word of a peer's."""
    return Settlement(
        settlement.seq,
        Outcome.DEAD,
        settlement.now,
        Unstorable.__name__,
        inputs=[one for one in settlement.inputs if one.key is None],
    )
