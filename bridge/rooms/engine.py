"""The engine: which rooms are at work, and when the others have to be.

Idle rooms cost a row and at most a cache entry, never a task. The engine takes what the adapters
bring (transactions, pushes), stores it, and wakes the room's worker; it keeps the clock of
deadlines; and after a start it goes on with whatever the last process left undone. Twice a minute
it asks the store which rooms have work, and looks after those whose worker knows of none: an
operator may have put a dead letter back, or an answer of the database may have got lost.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from hashlib import sha256
from itertools import islice
from math import ceil
from typing import Any

import msgspec
import structlog

from bridge.conversation.events import LinkLost, LinkRestored, Pushed, Resumed, Tick, TurnAwaited
from bridge.ids import EventId, RoomId, UserId
from bridge.rooms.inputs import MatrixEvent
from bridge.rooms.ports import Clock
from bridge.rooms.record import Membership
from bridge.rooms.serial import dump_input
from bridge.rooms.store import InputRow, Lane, NewInput, StoreError, Unstorable
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.worker import LaneRunner, Worker
from bridge.webchat.codes import NoticeType
from bridge.webchat.frames import AgentNotice, MessageReceived, Received

KEPT_WORKERS = 2_000
"""Idle workers that stay in memory, so that a room's next message needs no read."""
MOST_LIVELY = 500
"""Rooms that are looked into after an outage of the homeserver's, the latest first."""
READERS = 16
"""Rooms that may be read at once: a start must not hold up what comes in meanwhile."""
SWEEP_EVERY = 30.0
"""Seconds between two looks for work that nobody has told us of."""
LONGEST_SLEEP = 3600.0
"""Seconds after which the clock is looked at again for deadlines, should somebody have set it."""
FEW_DEADLINES = 64
"""Entries of the timetable for which it is not worth while to drop those without meaning."""


class Undone(msgspec.Struct, frozen=True):
    """What the last process left: the rooms that have to be woken."""

    busy: Sequence[RoomId]
    """With inputs or effects that wait."""
    live: Sequence[RoomId]
    """Whose link is wanted."""
    deadlines: Sequence[tuple[RoomId, int]]
    """And their moments, ms since the epoch."""


class Timetable:
    """When which room wants to be woken: one moment a room, the soonest that it has asked for.

    Calls `wake` for each room at its moment, while `run` runs.

    A room whose deadline has moved back is woken at the old moment, finds nothing to do and names
    the new one. A room that asks for a sooner moment leaves its former one behind, which means
    nothing any more; once those are as many as the rooms, the heap is built anew. So the table
    never takes more room than twice the rooms in it.
    """

    def __init__(self, clock: Clock, wake: Callable[[RoomId], None]) -> None:
        self._clock = clock
        self._wake = wake
        self._moments: dict[RoomId, int] = {}
        self._heap: list[tuple[int, RoomId]] = []
        self._sooner = asyncio.Event()

    def add(self, room_id: RoomId, moment: int) -> None:
        """Wake the room at that moment (ms since the epoch), unless it is woken before anyway."""
        if moment >= self._moments.get(room_id, moment + 1):
            return
        self._moments[room_id] = moment
        heapq.heappush(self._heap, (moment, room_id))
        if len(self._heap) > FEW_DEADLINES + 2 * len(self._moments):
            self._heap = [(due, room) for room, due in self._moments.items()]
            heapq.heapify(self._heap)
        if self._heap[0] == (moment, room_id):
            self._sooner.set()

    async def run(self) -> None:
        """Keep the table for ever."""
        while True:
            self._sooner.clear()
            while self._heap and self._heap[0][0] <= self._clock.now():
                moment, room_id = heapq.heappop(self._heap)
                if self._moments.get(room_id) == moment:
                    del self._moments[room_id]
                    self._wake(room_id)
            await self._wait()

    async def _wait(self) -> None:
        """Until the first moment, or until a sooner one is added."""
        if not self._heap:
            await self._sooner.wait()
            return
        seconds = (self._heap[0][0] - self._clock.now()) / 1000
        async with asyncio.TaskGroup() as tasks:
            sooner = tasks.create_task(self._sooner.wait())
            moment = tasks.create_task(self._clock.sleep(min(seconds, LONGEST_SLEEP)))
            await asyncio.wait({sooner, moment}, return_when=asyncio.FIRST_COMPLETED)
            sooner.cancel()
            moment.cancel()


class Engine:
    """Owns the workers and their tasks. Implements `ports.LinkEvents`.

    Events and pushes are stored before anything else is done with them, once each. Who is typing is
    not: it is over before it could be read from a database, and nothing is lost with it.
    """

    def __init__(self, around: Surroundings, runners: Mapping[Lane, LaneRunner]) -> None:
        self._around = around
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms")
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

    # --- the homeserver -----------------------------------------------------------------------

    async def accept_events(
        self, events: Sequence[tuple[RoomId, EventId, dict[str, object]]]
    ) -> int:
        """Store events, once each; returns how many were new, when they are durable.

        An event that the database can never hold is logged and dropped, for the homeserver would
        send it for ever, and nothing after it.

        Raises:
            StoreError: not all was stored; the homeserver has to keep the transaction.
        """
        inputs = [
            NewInput(room_id, dump_input(MatrixEvent(raw)), key=event_id)
            for room_id, event_id, raw in events
        ]
        left = await self._at_once(inputs)
        taken = len(inputs) - len(left)
        if not left:
            return taken
        now = self._around.clock.now()
        try:
            rows = await self._around.store.accept(left, now)
        except Unstorable:
            rows = await self._accept_possible(left, now)
        self._wake(left, rows)
        return taken + len(rows)

    async def _at_once(self, inputs: Sequence[NewInput]) -> list[NewInput]:
        """Have rooms at rest handle their inputs at once; returns those that are to be stored.

        All rooms step side by side, so that the store commits them together.
        """
        by_room: dict[RoomId, list[NewInput]] = {}
        for one in inputs:
            by_room.setdefault(one.room_id, []).append(one)
        taken = await asyncio.gather(
            *(self._worker(room_id).at_once(found) for room_id, found in by_room.items())
        )
        left = {room_id for room_id, took in zip(by_room, taken, strict=True) if not took}
        return [one for one in inputs if one.room_id in left]

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

    def typing(self, room_id: RoomId, users: Collection[UserId]) -> None:
        """Who is typing in a room now; of rooms without a worker nobody needs to know."""
        worker = self._workers.get(room_id)
        if worker is not None:
            worker.typist.people_type(users)

    async def key_came(self, room_id: RoomId) -> None:
        """A key for the room's messages is there."""
        self._worker(room_id).key_came()

    # --- the call centre ----------------------------------------------------------------------

    async def pushed(self, room_id: RoomId, key: str, received: Received) -> None:
        """Store a push of WebChat's, once; returns when it is durable."""
        if (sign := _sign_of_typing(received)) is not None:
            self._worker(room_id).agent_types(sign.session_id, sign.agent_id)
            return
        now = self._around.clock.now()
        push = Pushed(received.push, now, numbered=bool(received.rs_id))
        new = NewInput(room_id, dump_input(push), key=key)
        if await self._worker(room_id).at_once([new]):
            return
        try:
            rows = await self._around.store.accept([new], now)
        except Unstorable:  # the server's own id in the key; any text that is as unique will do
            digest = sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
            new = NewInput(room_id, new.body, key=f"wc:{digest}")
            rows = await self._around.store.accept([new], now)
        self._wake([new], rows)

    async def restored(self, room_id: RoomId) -> None:
        """The room's link was lost and stands again."""
        self._worker(room_id).signal(LinkRestored(self._around.clock.now()))

    async def lost(self, room_id: RoomId) -> None:
        """The room's link has been away for long."""
        self._worker(room_id).signal(LinkLost())

    async def queued(self, room_id: RoomId, seconds: float) -> None:
        """The room's link waits for its login's turn."""
        self._worker(room_id).signal(TurnAwaited(ceil(seconds)))

    # --- waking ---------------------------------------------------------------------------------

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
            if self._stopping:
                worker.stop()
            self._workers[room_id] = worker
        else:
            self._workers.move_to_end(room_id)
        return worker

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


def _sign_of_typing(received: Received) -> MessageReceived | None:
    """The push, if all it says is that an agent is typing: system notice 5 (reference 2.2)."""
    push = received.push
    if not isinstance(push, MessageReceived) or not isinstance(push.content, AgentNotice):
        return None
    return push if push.content.notice_type == NoticeType.TYPING else None
