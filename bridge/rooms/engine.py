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
from hashlib import sha256
from itertools import islice
from typing import Any

import structlog

from bridge.conversation.inputs import LinkRestored, Pushed, Tick
from bridge.ids import EventId, RoomId
from bridge.rooms.inputs import MatrixEvent
from bridge.rooms.serial import dump_input
from bridge.rooms.store import InputRow, Lane, NewInput, StoreError, Unstorable
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.timetable import Timetable
from bridge.rooms.worker import LaneRunner, Worker
from bridge.webchat.frames import Received

KEPT_WORKERS = 2_000
"""Idle workers that stay in memory, so that a room's next message needs no read."""
READERS = 16
"""Rooms that may be read at once: a start must not hold up what comes in meanwhile."""
SWEEP_EVERY = 30.0
"""Seconds between two looks for work that nobody has told us of."""
FAR_FUTURE = 1 << 62


class Engine:
    """Accepts inputs, owns the workers and their tasks. Implements `ports.LinkEvents`."""

    def __init__(self, around: Surroundings, runners: Mapping[Lane, LaneRunner]) -> None:
        self.reading = asyncio.Semaphore(READERS)
        self._around = around
        self._runners = runners
        self._workers: OrderedDict[RoomId, Worker] = OrderedDict()
        self._timetable = Timetable(
            around.clock, lambda room_id: self._worker(room_id).signal(Tick())
        )
        self._tasks: asyncio.TaskGroup | None = None
        self._owned: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._stopped = asyncio.Event()
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms")

    # --- life -------------------------------------------------------------------------------

    async def run(self, ready: asyncio.Event) -> None:
        """Go on with unfinished work, set `ready`, and work until `stop`.

        Raises:
            StoreError: the database cannot be read at the start.
        """
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await self._recover()
            clocks = [tasks.create_task(self._timetable.run()), tasks.create_task(self._sweep())]
            ready.set()
            await self._stopped.wait()
            for clock in clocks:
                clock.cancel()

    async def _recover(self) -> None:
        """Wake the rooms that have work or whose link is wanted; each reads what it needs."""
        store = self._around.store
        for room_id in dict.fromkeys([*await store.busy_rooms(), *await store.live_rooms()]):
            self._worker(room_id).look()
        for room_id, moment in await store.next_deadlines(FAR_FUTURE, 1_000_000):
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
        if self._owned:
            _, unfinished = await asyncio.wait(self._owned, timeout=patience)
            if unfinished:
                self._log.warning("stopped with work under way; it goes on after the next start")
        for task in self._owned:
            task.cancel()
        self._stopped.set()

    # --- what comes in ----------------------------------------------------------------------

    async def accept_events(
        self, events: Sequence[tuple[RoomId, EventId, dict[str, object]]]
    ) -> None:
        """Store the events of a transaction, once each; returns when they are durable.

        An event that the database can never hold is logged and dropped, for the homeserver would
        send it for ever, and nothing after it.

        Raises:
            StoreError: not all was stored; the homeserver has to keep the transaction.
        """
        inputs = [
            NewInput(room_id, dump_input(MatrixEvent(raw)), key=event_id)
            for room_id, event_id, raw in events
        ]
        now = self._around.clock.now()
        try:
            rows = await self._around.store.accept(inputs, now)
        except Unstorable:
            rows = await self._accept_possible(inputs, now)
        self._wake(inputs, rows)

    async def _accept_possible(self, inputs: Sequence[NewInput], now: int) -> list[InputRow]:
        rows = []
        for one in inputs:
            try:
                rows += await self._around.store.accept([one], now)
            except Unstorable as error:
                self._log.error(
                    "an event cannot be stored and is dropped",
                    event_id=one.key,
                    room=one.room_id,
                    why=str(error),
                )
        return rows

    async def pushed(self, room_id: RoomId, key: str, received: Received) -> None:
        """Store a push of WebChat's, once; returns when it is durable."""
        new = NewInput(room_id, dump_input(Pushed(received.push)), key=key)
        now = self._around.clock.now()
        try:
            rows = await self._around.store.accept([new], now)
        except Unstorable:  # the server's own id in the key; any text that is as unique will do
            digest = sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
            new = NewInput(room_id, new.body, key=f"wc:{digest}")
            rows = await self._around.store.accept([new], now)
        self._wake([new], rows)

    async def restored(self, room_id: RoomId) -> None:
        """The room's link was lost and stands again."""
        self._worker(room_id).signal(LinkRestored())

    async def key_came(self, room_id: RoomId) -> None:
        """A key for the room's messages is there."""
        self._worker(room_id).key_came()

    def _wake(self, inputs: Sequence[NewInput], rows: Sequence[InputRow]) -> None:
        """Hand new rows to their rooms, in the order in which the store numbered them.

        What was there before has been handed over, unless the answer to an earlier attempt was
        lost: then only the store knows of it.
        """
        by_room: dict[RoomId, list[InputRow]] = {}
        for row in rows:
            by_room.setdefault(row.room_id, []).append(row)
        for room_id, found in by_room.items():
            self._worker(room_id).take(found)
        if len(rows) < len(inputs):
            new = {row.key for row in rows}
            for room_id in {one.room_id for one in inputs if one.key not in new}:
                self._worker(room_id).look()

    # --- workers ----------------------------------------------------------------------------

    def _worker(self, room_id: RoomId) -> Worker:
        """The room's one worker; a new one reads the room before it does anything."""
        worker = self._workers.get(room_id)
        if worker is None:
            worker = Worker(room_id, self._around, self._runners, self)
            worker.stopping = self._stopping
            self._workers[room_id] = worker
        else:
            self._workers.move_to_end(room_id)
        return worker

    def spawn(self, loop: Coroutine[Any, Any, None]) -> None:
        """Own a task of a worker's."""
        if self._tasks is None:
            loop.close()
            raise RuntimeError("the engine does not run")
        try:
            task = self._tasks.create_task(loop)
        except RuntimeError:  # it does no more
            loop.close()
            raise
        self._owned.add(task)
        task.add_done_callback(self._owned.discard)

    def rested(self, worker: Worker) -> None:
        """Drop the longest idle workers beyond what the cache may hold."""
        del worker
        excess = len(self._workers) - KEPT_WORKERS
        if excess > 0:
            idle = (room_id for room_id, one in self._workers.items() if one.idle)
            for room_id in list(islice(idle, excess)):
                del self._workers[room_id]

    def due(self, room_id: RoomId, moment: int) -> None:
        """Signal a Tick to the room at that moment. An outdated one does no harm."""
        self._timetable.add(room_id, moment)
