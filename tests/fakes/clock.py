"""A clock that stands until a test turns it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

START = 1_733_011_200_000
TURNS = 60
"""Turns of the event loop after which no more is waited for what never rests."""


async def quiet(turns: int = TURNS) -> None:
    """Let everything run that does not wait for time or for a gate."""
    ready = vars(asyncio.get_running_loop())["_ready"]
    for _ in range(turns):
        await asyncio.sleep(0)
        if not ready:
            return


def leap(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run something on a loop whose time leaps to the next timer instead of passing."""
    with asyncio.Runner(loop_factory=_LeapingLoop) as runner:
        return runner.run(coroutine)


class _LeapingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._leapt = 0.0
        super().__init__(_LeapingSelector(self))

    def time(self) -> float:
        return self._leapt

    def leap(self, seconds: float) -> None:
        self._leapt += seconds


class _LeapingSelector(selectors.SelectSelector):
    def __init__(self, loop: _LeapingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everything waits for what never comes"
        self._loop.leap(max(0.0, timeout))
        return super().select(0)


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

    def set_back(self, ms: int) -> None:
        """Set the time back; who sleeps does not sleep for longer."""
        self._now -= ms
        self._sleepers = [(moment - ms, number, one) for moment, number, one in self._sleepers]

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
