"""One room at work: its actor and its two lanes.

Theory of operation
-------------------
A `Worker` lives while its room has something to do, and a little longer. Three loops belong to it,
each of which is a task only while it has work:

- the actor takes the oldest inputs, lets the reception and the machine decide, and commits the new
  record, the done-marks and the outbox rows as one; only then does anything happen outside;
- the WebChat lane carries out one row at a time and brings each outcome back as an input;
- the Matrix lane does the same towards the homeserver.

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
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import structlog

from bridge.conversation.inputs import LinkRestored, Tick
from bridge.ids import RoomId
from bridge.rooms.carrying import STORE_RETRY, Carrier, Stopping
from bridge.rooms.mirror import Mirror
from bridge.rooms.ports import Account
from bridge.rooms.record import RoomRecord
from bridge.rooms.stepping import Stepper
from bridge.rooms.store import InputRow, Lane, OutboxRow, Settlement, Stale, StoreError
from bridge.rooms.surroundings import Surroundings

LONGEST_WAIT = 60.0
"""Seconds between attempts at what our own code fails at."""


class LaneRunner(Protocol):
    """Carries out the rows of one lane."""

    async def run(self, worker: Worker, row: OutboxRow) -> Settlement:
        """Carry out one row to its end; what came of it is then stored by the worker."""
        ...


class Engine(Protocol):
    """What a worker asks of its engine."""

    @property
    def reading(self) -> asyncio.Semaphore:
        """To be held while a room is read, so that a start does not read thousands at once."""
        ...

    def spawn(self, loop: Coroutine[Any, Any, None]) -> None:
        """Own a task."""
        ...

    def rested(self, worker: Worker) -> None:
        """The worker has nothing left to do."""
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
        engine: Engine,
    ) -> None:
        self.room_id = room_id
        self.stopping = False
        self._around = around
        self._engine = engine
        self._mirror = Mirror(room_id)
        self._stepper = Stepper(self._mirror, around, engine.reading, partial(engine.due, room_id))
        self._carriers = {
            lane: Carrier(self._mirror, lane, around, partial(runner.run, self))
            for lane, runner in runners.items()
        }
        self._running: set[str] = set()
        self._pausing: set[asyncio.Task[Any] | None] = set()
        self._failures: Counter[str] = Counter()
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms").bind(
            room=room_id
        )

    # --- what others do to it ---------------------------------------------------------------

    def take(self, rows: Iterable[InputRow]) -> None:
        """Inputs that have just been stored."""
        self._mirror.take(rows)
        self._kick()

    def look(self) -> None:
        """The store may hold work for this room that nobody has told us of."""
        self._mirror.behind = True
        self._kick()

    def signal(self, happened: Tick | LinkRestored) -> None:
        """Something that need not be stored: it would be noticed again after a restart."""
        self._stepper.signal(happened)
        self._kick()

    def key_came(self) -> None:
        """An event that could not be read may be readable now."""
        if self._mirror.behind or self.record.sealed:
            self.signal(Tick())

    def stop(self) -> None:
        """Begin nothing new; what is under way goes on, what only waits for its time ends."""
        self.stopping = True
        for task in self._pausing:
            if task is not None:
                task.cancel()

    # --- what its parts and the lanes ask of it -----------------------------------------------

    @property
    def record(self) -> RoomRecord:
        """The room as it stands."""
        return self._mirror.record

    @property
    def idle(self) -> bool:
        """True if there is nothing to do and nothing being done."""
        return not (self._running or self._stepper.has_work or self._mirror.has_rows)

    @property
    def account(self) -> Account:
        """Who this room is at the call centre."""
        return self._mirror.account

    def later_rows(self, row: OutboxRow) -> list[OutboxRow]:
        """The rows that wait behind this one in its lane."""
        return self._mirror.later_rows(row)

    async def pause(self, seconds: float) -> None:
        """Wait before the next attempt at something.

        Raises:
            Stopping: there will be none.
        """
        if self.stopping:
            raise Stopping
        task = asyncio.current_task()
        self._pausing.add(task)
        try:
            await self._around.clock.sleep(seconds)
        finally:
            self._pausing.discard(task)

    # --- the loops --------------------------------------------------------------------------

    def _kick(self) -> None:
        """Start every loop that has work and does not run."""
        if self.stopping:
            return
        if self._stepper.has_work:
            self._start("actor", self._stepper.once)
        for lane, carrier in self._carriers.items():
            if self._mirror.first(lane) is not None:
                self._start(lane, carrier.once)

    def _start(self, name: str, once: Callable[[], Awaitable[bool]]) -> None:
        if name not in self._running:
            self._running.add(name)
            self._engine.spawn(self._loop(name, once))

    async def _loop(self, name: str, once: Callable[[], Awaitable[bool]]) -> None:
        """Repeat until there is nothing left. No error ends the loop: work must not be stranded."""
        try:
            while not self.stopping and await self._attempt(name, once):
                self._kick()
        finally:
            self._running.discard(name)
        self._kick()
        if self.idle:
            self._engine.rested(self)

    async def _attempt(self, name: str, once: Callable[[], Awaitable[bool]]) -> bool:
        """Do one thing of a loop; False if the loop is to end."""
        wait = STORE_RETRY
        try:
            went_on = await once()
        except Stopping:
            return False
        except Stale as error:
            self._log.warning("the store knows better, reading the room again", why=str(error))
            return True
        except StoreError as error:
            self._log.warning("the database did not answer, trying again", why=str(error))
        except Exception:  # noqa: BLE001 - logged whole; see `_loop`
            self._log.exception("unexpected error, trying again", loop=name)
            wait = min(2.0 ** self._failures[name], LONGEST_WAIT)
            self._failures[name] += 1
        else:
            del self._failures[name]
            return went_on
        with suppress(Stopping):
            await self.pause(wait)
        return True
