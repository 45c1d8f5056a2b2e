"""The loops of a room: each repeats one thing for as long as there is something to do.

No error ends a loop, for its work would be stranded: it is logged, and after a pause tried again.
A loop is a task only while it runs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog

from bridge.rooms.carrying import STORE_RETRY, Stopping
from bridge.rooms.store import Stale, StoreError

LONGEST_WAIT = 60.0
"""Seconds between attempts at what our own code fails at."""


class Loops:
    """Runs the loops of one room, each at most once at a time.

    Args:
        spawn: owns a task.
        sleep: of the clock.
        after: called whenever something may have changed, and when a loop has ended.
        log: bound to the room.

    Attributes:
        stopping: nothing new is begun.
    """

    def __init__(
        self,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        sleep: Callable[[float], Awaitable[None]],
        after: Callable[[], None],
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self.stopping = False
        self._spawn = spawn
        self._sleep = sleep
        self._after = after
        self._log = log
        self._running: set[str] = set()
        self._pausing: set[asyncio.Task[Any] | None] = set()
        self._failures: Counter[str] = Counter()
        self._waiting: set[str] = set()
        """Those that the database did not answer the last time."""

    @property
    def idle(self) -> bool:
        """True if none runs."""
        return not self._running

    def start(
        self, name: str, once: Callable[[], Awaitable[bool]], *, under_way: bool = False
    ) -> None:
        """Have `once` called until it returns False, unless the loop of that name runs already.

        With `under_way` it is called at least once, whether or not anything new may begin.
        """
        if name not in self._running:
            self._running.add(name)
            self._spawn(self._loop(name, once, under_way=under_way))

    def stop(self) -> None:
        """Begin nothing new; what is under way goes on, what only waits for its time ends."""
        self.stopping = True
        for task in self._pausing:
            if task is not None:
                task.cancel()

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
            await self._sleep(seconds)
        finally:
            self._pausing.discard(task)

    async def _loop(
        self, name: str, once: Callable[[], Awaitable[bool]], *, under_way: bool
    ) -> None:
        try:
            while (under_way or not self.stopping) and await self._attempt(name, once):
                under_way = False
                self._after()
        finally:
            self._running.discard(name)
        self._after()

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
            # Every room says it each second that it lasts.
            say = self._log.debug if name in self._waiting else self._log.warning
            say("the database did not answer, trying again", why=str(error))
            self._waiting.add(name)
        except Exception:  # noqa: BLE001 - logged whole; see the module
            self._log.exception("unexpected error, trying again", loop=name)
            wait = min(2.0 ** self._failures[name], LONGEST_WAIT)
            self._failures[name] += 1
        else:
            del self._failures[name]
            self._waiting.discard(name)
            return went_on
        with suppress(Stopping):
            await self.pause(wait)
        return True
