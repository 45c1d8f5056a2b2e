"""The engine: which rooms are at work, and when the others have to be.

Idle rooms cost a row and at most a cache entry, never a task. The engine takes what the adapters
bring (transactions, pushes), stores it, and wakes the room's worker; it keeps the clock of
deadlines; and after a start it goes on with whatever the last process left undone. Twice a minute
it asks the store which rooms have work, and looks after those whose worker knows of none: an
operator may have put a dead letter back, or an answer of the database may have got lost.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from bridge.conversation.inputs import Resumed, Tick
from bridge.ids import RoomId, UserId
from bridge.rooms.intake import Intake
from bridge.rooms.record import Membership
from bridge.rooms.store import Lane, StoreError
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.timetable import Timetable
from bridge.rooms.worker import LaneRunner, Worker

KEPT_WORKERS = 2_000
"""Idle workers that stay in memory, so that a room's next message needs no read."""
MOST_LIVELY = 500
"""Rooms that are looked into after an outage of the homeserver's, the latest first."""
READERS = 16
"""Rooms that may be read at once: a start must not hold up what comes in meanwhile."""
SWEEP_EVERY = 30.0
"""Seconds between two looks for work that nobody has told us of."""


class Undone(msgspec.Struct, frozen=True):
    """What the last process left: the rooms that have to be woken."""

    busy: Sequence[RoomId]
    """With inputs or effects that wait."""
    live: Sequence[RoomId]
    """Whose link is wanted."""
    deadlines: Sequence[tuple[RoomId, int]]
    """And their moments, ms since the epoch."""


class Engine(Intake):
    """Owns the workers and their tasks; what comes in is taken by `Intake`."""

    def __init__(self, around: Surroundings, runners: Mapping[Lane, LaneRunner]) -> None:
        super().__init__(around)
        self.reading = asyncio.Semaphore(READERS)
        self._runners = runners
        self._workers: OrderedDict[RoomId, Worker] = OrderedDict()
        self._timetable = Timetable(
            around.clock, lambda room_id: self._worker(room_id).signal(Tick())
        )
        self._tasks: asyncio.TaskGroup | None = None
        self._owned: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._stopped = asyncio.Event()

    # --- life -------------------------------------------------------------------------------

    async def undone(self) -> Undone:
        """Look for unfinished work, for `run`: a start that cannot read it says so, and ends.

        Raises:
            StoreError: the database cannot be read.
        """
        store = self._around.store
        return Undone(await store.busy_rooms(), await store.live_rooms(), await store.deadlines())

    async def run(self, undone: Undone, ready: asyncio.Event) -> None:
        """Go on with unfinished work, set `ready`, and work until `stop`."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._recover(undone)
            clocks = [tasks.create_task(self._timetable.run()), tasks.create_task(self._sweep())]
            ready.set()
            await self._stopped.wait()
            for clock in clocks:
                clock.cancel()

    def _recover(self, undone: Undone) -> None:
        """Wake the rooms that have work or whose link is wanted; each reads what it needs."""
        for room_id in undone.busy:
            self._worker(room_id).look()
        for room_id in undone.live:
            self._worker(room_id).signal(Resumed())
        for room_id, moment in undone.deadlines:
            self.due(room_id, moment)

    async def _sweep(self) -> None:
        while True:
            await self._around.clock.sleep(SWEEP_EVERY)
            try:
                busy = await self._around.store.busy_rooms()
            except StoreError as error:
                self._log.warning("the database did not answer", why=str(error))
                continue
            for room_id in busy:
                worker = self._workers.get(room_id)
                if worker is None or worker.idle:
                    self._worker(room_id).look()

    async def stop(self, patience: float) -> None:
        """Take no new work, let what is under way end, at most for `patience` seconds."""
        self._stopping = True
        for worker in self._workers.values():
            worker.stop()
        try:
            async with asyncio.timeout(patience):
                while self._owned:  # what ends may have left one thing to be finished
                    await asyncio.wait(self._owned)
        except TimeoutError:
            self._log.warning("stopped with work under way; it goes on after the next start")
        for task in self._owned:
            task.cancel()
        self._stopped.set()

    # --- workers ----------------------------------------------------------------------------

    def _worker(self, room_id: RoomId) -> Worker:
        """The room's one worker; a new one reads the room before it does anything."""
        worker = self._workers.get(room_id)
        if worker is None:
            worker = Worker(room_id, self._around, self._runners, self)
            if self._stopping:
                worker.stop()
            self._workers[room_id] = worker
        else:
            self._workers.move_to_end(room_id)
        return worker

    def _at_work(self, room_id: RoomId) -> Worker | None:
        return self._workers.get(room_id)

    def lively(self) -> list[tuple[RoomId, UserId]]:
        """The rooms that are in memory because people talk in them, and our user in each."""
        served = (
            (room_id, worker.record.host)
            for room_id, worker in reversed(self._workers.items())
            if worker.record.membership is Membership.JOINED
        )
        return list(islice(served, MOST_LIVELY))

    def spawn(self, loop: Coroutine[Any, Any, None]) -> None:
        """Own a task of a worker's."""
        if self._tasks is None:
            loop.close()
            raise RuntimeError("the engine does not run")
        try:
            task = self._tasks.create_task(loop)
        except RuntimeError:
            # The group is ending, and what is left to do is in the store. An error here would take
            # the place of the cancellation on its way through the caller.
            loop.close()
            return
        self._owned.add(task)
        task.add_done_callback(self._owned.discard)

    def rested(self) -> None:
        """Drop the longest idle workers beyond what the cache may hold."""
        excess = len(self._workers) - KEPT_WORKERS
        if excess > 0:
            idle = (room_id for room_id, one in self._workers.items() if one.idle)
            for room_id in list(islice(idle, excess)):
                del self._workers[room_id]

    def due(self, room_id: RoomId, moment: int) -> None:
        """Signal a Tick to the room at that moment. An outdated one does no harm."""
        self._timetable.add(room_id, moment)
