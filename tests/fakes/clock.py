"""A clock that stands until a test turns it."""

from __future__ import annotations

import asyncio
import heapq
import itertools

START = 1_733_011_200_000
TURNS = 60
"""Turns of the event loop after which everything that can go on without time has gone on."""


async def quiet(turns: int = TURNS) -> None:
    """Let everything run that does not wait for time or for a gate."""
    for _ in range(turns):
        await asyncio.sleep(0)


class ManualClock:
    """Implements `ports.Clock`. Sleepers wake in order, each at its own moment."""

    def __init__(self) -> None:
        self._now = START
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def now(self) -> int:
        return self._now

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        moment = self._now + max(1, round(seconds * 1000))
        heapq.heappush(self._sleepers, (moment, next(self._numbers), woken))
        await woken

    async def turn(self, seconds: float) -> None:
        """Let so much time pass, and everything happen that happens in it."""
        end = self._now + round(seconds * 1000)
        await quiet()
        while self._sleepers and self._sleepers[0][0] <= end:
            moment, _, woken = heapq.heappop(self._sleepers)
            self._now = max(self._now, moment)
            if not woken.done():
                woken.set_result(None)
                await quiet()
        self._now = end
        await quiet()
