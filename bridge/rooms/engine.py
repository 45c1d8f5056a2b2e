"""The engine: which rooms are at work, and when the others have to be.

Idle rooms cost a row and at most a cache entry, never a task. The engine takes what the adapters
bring (transactions, pushes), stores it, and wakes the room's worker; it keeps the clock of
deadlines; and after a start it goes on with whatever the last process left undone.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import structlog

from bridge.conversation.inputs import LinkRestored, Pushed, Tick
from bridge.ids import EventId, RoomId
from bridge.rooms.inputs import MatrixEvent
from bridge.rooms.serial import dump_input
from bridge.rooms.store import InputRow, Lane, NewInput, StoreError
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.worker import LaneRunner, Worker
from bridge.webchat.frames import Received

KEPT_WORKERS = 2_000
"""Idle workers that stay in memory, so that a room's next message needs no read."""
FAR_FUTURE = 1 << 62


class Engine:
    """Accepts inputs, owns the workers and their tasks. Implements `ports.LinkEvents`."""

    def __init__(self, around: Surroundings, runners: Mapping[Lane, LaneRunner]) -> None:
        self._around = around
        self._runners = runners
        self._workers: OrderedDict[RoomId, Worker] = OrderedDict()
        self._loading: dict[RoomId, asyncio.Future[Worker]] = {}
        self._timetable: list[tuple[int, RoomId]] = []
        self._earlier = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._owned: set[asyncio.Task[None]] = set()
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
            timetable = tasks.create_task(self._keep_timetable())
            await self._recover()
            ready.set()
            await self._stopped.wait()
            timetable.cancel()

    async def _recover(self) -> None:
        store = self._around.store
        for room_id in await store.busy_rooms():
            worker = await self._worker(room_id)
            await worker.recover()
        for room_id, moment in await store.next_deadlines(FAR_FUTURE, 1_000_000):
            self.due(room_id, moment)
        for room_id in await store.live_rooms():
            worker = await self._worker(room_id)
            self._around.link.keep(worker.account)

    async def stop(self, patience: float) -> None:
        """Take no new work, let what is under way end, at most for `patience` seconds."""
        for worker in self._workers.values():
            worker.stopping = True
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

        Raises:
            StoreError: nothing was stored; the homeserver has to keep them.
        """
        inputs = [
            NewInput(room_id, dump_input(MatrixEvent(raw)), key=event_id)
            for room_id, event_id, raw in events
        ]
        await self._wake(await self._around.store.accept(inputs, self._around.clock.now()))

    async def pushed(self, room_id: RoomId, key: str, received: Received) -> None:
        """Store a push of WebChat's, once; returns when it is durable."""
        new = NewInput(room_id, dump_input(Pushed(received.push)), key=key)
        await self._wake(await self._around.store.accept([new], self._around.clock.now()))

    async def restored(self, room_id: RoomId) -> None:
        """The room's link was lost and stands again."""
        (await self._worker(room_id)).signal(LinkRestored())

    async def key_came(self, room_id: RoomId) -> None:
        """A key for the room's messages is there; raises StoreError like everything that reads."""
        (await self._worker(room_id)).key_came()

    async def _wake(self, rows: Sequence[InputRow]) -> None:
        by_room: dict[RoomId, list[InputRow]] = {}
        for row in rows:
            by_room.setdefault(row.room_id, []).append(row)
        for room_id, inputs in by_room.items():
            (await self._worker(room_id)).take(inputs)

    # --- workers ----------------------------------------------------------------------------

    async def _worker(self, room_id: RoomId) -> Worker:
        """The room's worker, loaded; one per room, however many ask at once."""
        worker = self._workers.get(room_id)
        if worker is not None:
            self._workers.move_to_end(room_id)
            return worker
        loading = self._loading.get(room_id)
        if loading is not None:
            return await asyncio.shield(loading)
        loading = asyncio.get_running_loop().create_future()
        self._loading[room_id] = loading
        worker = Worker(room_id, self._around, self._runners, self)
        try:
            await worker.load()
        except BaseException as error:
            loading.set_exception(error)
            loading.exception()  # whoever else waits raises it; nobody waiting is no error
            raise
        finally:
            del self._loading[room_id]
        self._workers[room_id] = worker
        loading.set_result(worker)
        return worker

    def spawn(self, loop: Coroutine[Any, Any, None]) -> None:
        """Own a task of a worker's."""
        if self._tasks is None:
            loop.close()
            raise RuntimeError("the engine does not run")
        task = self._tasks.create_task(loop)
        self._owned.add(task)
        task.add_done_callback(self._owned.discard)

    def rested(self, worker: Worker) -> None:
        """Drop the longest idle workers beyond what the cache may hold."""
        excess = len(self._workers) - KEPT_WORKERS
        if excess <= 0:
            return
        for room_id in [room_id for room_id, one in self._workers.items() if one.idle][:excess]:
            del self._workers[room_id]

    # --- deadlines --------------------------------------------------------------------------

    def due(self, room_id: RoomId, moment: int) -> None:
        """Signal a Tick to the room at that moment. An outdated entry does no harm."""
        heapq.heappush(self._timetable, (moment, room_id))
        if self._timetable[0] == (moment, room_id):
            self._earlier.set()

    async def _keep_timetable(self) -> None:
        clock = self._around.clock
        while True:
            self._earlier.clear()
            wait = FAR_FUTURE / 1000
            if self._timetable:
                wait = max(0, self._timetable[0][0] - clock.now()) / 1000
            if wait > 0:
                try:
                    async with asyncio.timeout(min(wait, 3600)):
                        await self._earlier.wait()
                except TimeoutError:
                    pass
                continue
            _, room_id = heapq.heappop(self._timetable)
            try:
                (await self._worker(room_id)).signal(Tick())
            except StoreError:
                self.due(room_id, clock.now() + 1_000)
