"""When which room wants to be woken: one moment a room, the soonest that it has asked for.

A room whose deadline has moved back is woken at the old moment, finds nothing to do and names the
new one. A room that asks for a sooner moment leaves its former one behind, which means nothing any
more; once those are as many as the rooms, the heap is built anew. So the table never takes more
room than twice the rooms in it.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from bridge.ids import RoomId
from bridge.rooms.ports import Clock

LONGEST_SLEEP = 3600.0
"""Seconds after which the clock is looked at again, should somebody have set it."""
FEW = 64
"""Entries for which it is not worth while to look for those that mean nothing any more."""


class Timetable:
    """Calls `wake` for each room at its moment, while `run` runs."""

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
        if len(self._heap) > FEW + 2 * len(self._moments):
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
