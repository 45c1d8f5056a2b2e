"""A manual clock, and event loops with virtual time."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

Result = TypeVar("Result")
Given = TypeVarTuple("Given")

START = 1_733_011_200_000
TURNS = 60
"""Maximum number of event loop iterations in `quiet`, for loops that never become idle."""


async def quiet(turns: int = TURNS) -> None:
    """Run the event loop until no callback is ready: the rest waits for time or for a gate."""
    ready = vars(asyncio.get_running_loop())["_ready"]
    for _ in range(turns):
        await asyncio.sleep(0)
        if not ready:
            return


def leap(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on an event loop whose time jumps to the next timer."""
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


_TURN = 1e-5
"""Seconds that an iteration takes, so that time passes also in one that never waits."""


class HurriedLoop(asyncio.SelectorEventLoop):
    """An event loop with sockets whose time jumps to the next timer once no socket has news.

    A busy machine makes nothing late on it, and sleeping takes no time. Clients and servers have to
    be on the same loop: of other threads it waits only for those of its executor.
    """

    def __init__(self) -> None:
        self._leapt = 0.0
        self.working = 0
        """Number of calls that run in the executor."""
        super().__init__(_HurriedSelector(self))

    def time(self) -> float:
        return self._leapt

    def leap(self, seconds: float) -> None:
        self._leapt += seconds

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Given], Result], *args: *Given
    ) -> asyncio.Future[Result]:
        self.working += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._worked)
        return future

    def _worked(self, _: object) -> None:
        self.working -= 1


class _HurriedSelector(selectors.DefaultSelector):
    def __init__(self, loop: HurriedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.leap(_TURN)
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            return super().select()
        # The kernel passes on at once what a socket was given, but may be busy.
        grace = min(timeout, max(0.002, timeout / 50), 0.05)
        if ready := super().select(timeout if self._loop.working else grace):
            return ready
        self._loop.leap(timeout)
        return super().select(0)


class ManualClock:
    """Implements `ports.Clock`; sleepers wake in the order of their deadlines."""

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
        """Set the time back; running sleeps are not extended."""
        self._now -= ms
        self._sleepers = [(moment - ms, number, one) for moment, number, one in self._sleepers]

    async def turn(self, seconds: float) -> None:
        """Advance the time, and run everything that is due meanwhile."""
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
