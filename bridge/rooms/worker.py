"""One room at work: its actor and its lanes.

Theory of operation
-------------------
A `Worker` lives while its room has something to do, and a little longer. These loops belong to it,
each of which is a task only while it has work:

- the actor takes the oldest inputs, lets the reception and the machine decide, and commits the new
  record, the done-marks and the outbox rows as one; only then does anything happen outside;
- the WebChat lane carries out one row at a time and brings each outcome back as an input;
- the Matrix lane does the same towards the homeserver;
- the lane aside does so for what may take long, and must hold up nobody's messages;
- receipts show in the room what the call centre has taken (`receipts`).

Whatever is in memory (`Mirror`) is a copy of what is durable. A new worker reads it first; so does
one that lost an answer of the database, for a commit that was given up for lost may have happened,
and its effects are carried out once all the same. If the process dies at any point, the next one
reads: an unhandled input is handled again (the step is pure), a row that was never attempted is
carried out, and one that was attempted is settled as uncertain.

A step is refused by the store if the room has changed since it was read, or if an input of it has
ended: nothing is handled twice, whoever else may be at work on the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import structlog

from bridge.conversation.events import Tick
from bridge.ids import AgentId, RoomId, SessionId
from bridge.rooms.carrying import Carrier
from bridge.rooms.loops import Loops
from bridge.rooms.mirror import Mirror
from bridge.rooms.ports import Account
from bridge.rooms.receipts import Receipts
from bridge.rooms.record import RoomRecord
from bridge.rooms.stepping import Signal, Stepper
from bridge.rooms.store import (
    InputRow,
    Lane,
    NewInput,
    OutboxRow,
    Settlement,
)
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.typist import Typist


class LaneRunner(Protocol):
    """Carries out the rows of one lane."""

    async def run(self, worker: Worker, row: OutboxRow) -> Settlement:
        """Carry out one row to its end; what came of it is then stored by the worker."""
        ...


class EnginePort(Protocol):
    """What a worker asks of its engine."""

    @property
    def reading(self) -> asyncio.Semaphore:
        """To be held while a room is read, so that a start does not read thousands at once."""
        ...

    def spawn(self, loop: Coroutine[Any, Any, None]) -> None:
        """Own a task."""
        ...

    def rested(self) -> None:
        """A worker has nothing left to do."""
        ...

    def due(self, room_id: RoomId, moment: int) -> None:
        """Signal a Tick to the room at that moment, ms since the epoch."""
        ...


class Worker:
    """See the module. One per busy room; the engine makes and drops them."""

    def __init__(
        self,
        room_id: RoomId,
        around: Surroundings,
        runners: Mapping[Lane, LaneRunner],
        engine: EnginePort,
    ) -> None:
        self.room_id = room_id
        self._around = around
        self._engine = engine
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms").bind(
            room=room_id
        )
        self._loops = Loops(engine.spawn, around.clock.sleep, self._go_on, self._log)
        self._mirror = Mirror(room_id)
        self._stepper = Stepper(self._mirror, around, engine.reading, partial(engine.due, room_id))
        self._carriers = {
            lane: Carrier(self._mirror, lane, around, partial(runner.run, self), self.at_once)
            for lane, runner in runners.items()
        }
        self._receipts = Receipts(self._mirror, around, self.pause)
        self.typist = Typist(self._mirror, around, engine.spawn, self.pause)

    # --- what others do to it ---------------------------------------------------------------

    def take(self, rows: Iterable[InputRow]) -> None:
        """Inputs that have just been stored."""
        self._mirror.take(rows)
        self._go_on()

    async def at_once(self, inputs: Sequence[NewInput], settled: Settlement | None = None) -> bool:
        """Handle and store inputs in one, if the room is at rest; False: store and `take` them.

        Args:
            inputs: of this room, in order.
            settled: the row of a lane that brought them.
        """
        if self.stopping and settled is None:
            return False
        try:
            return await self._stepper.at_once(inputs, settled)
        except Exception:  # noqa: BLE001 - logged whole; the longer way finds out whose fault it is
            self._log.exception("unexpected error, going the longer way")
            return False
        finally:
            self._go_on()

    def look(self) -> None:
        """The store may hold work for this room that nobody has told us of."""
        self._mirror.behind = True
        self._go_on()

    def signal(self, happened: Signal) -> None:
        """Something that need not be stored: it would be noticed again after a restart."""
        self._stepper.signal(happened)
        self._go_on()

    def key_came(self) -> None:
        """An event that could not be read may be readable now."""
        if self._mirror.behind or self.record.sealed:
            self.signal(Tick())

    def agent_types(self, session_id: SessionId, agent_id: AgentId) -> None:
        """An agent is typing. A room that has to be read first shows the next such sign."""
        if self._mirror.behind:
            self.look()
        else:
            self.typist.agent_types(session_id, agent_id)

    def stop(self) -> None:
        """Begin nothing new; what is under way goes on, what only waits for its time ends."""
        self._stepper.stopping = True
        self._loops.stop()

    # --- what its parts and the lanes ask of it -----------------------------------------------

    @property
    def record(self) -> RoomRecord:
        """The room as it stands."""
        return self._mirror.record

    @property
    def idle(self) -> bool:
        """True if there is nothing to do and nothing being done."""
        return self._stepper.at_rest and self._loops.idle and not self._mirror.has_rows

    @property
    def account(self) -> Account:
        """Who this room is at the call centre."""
        return self._mirror.account

    def later_rows(self, row: OutboxRow) -> list[OutboxRow]:
        """The rows that wait behind this one in its lane."""
        return self._mirror.later_rows(row)

    @property
    def stopping(self) -> bool:
        """Nothing new is begun."""
        return self._loops.stopping

    async def pause(self, seconds: float) -> None:
        """Wait before the next attempt at something.

        Raises:
            Stopping: there will be none.
        """
        await self._loops.pause(seconds)

    # --- what there is to do ------------------------------------------------------------------

    def _go_on(self) -> None:
        """Start every loop that has work and does not run; rest if there is none."""
        if not self.stopping:
            if self._stepper.has_work:
                self._loops.start("actor", self._stepper.once)
            if self._receipts.due:
                self._loops.start("receipts", self._receipts.once)
        for lane, carrier in self._carriers.items():
            row = self._mirror.first(lane)
            # What is marked as attempted would pass for uncertain if it did not go out now.
            under_way = row is not None and row.marked
            if under_way or (row is not None and not self.stopping):
                self._loops.start(lane, carrier.once, under_way=under_way)
        if self.idle:
            self._engine.rested()
