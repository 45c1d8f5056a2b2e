"""Whether anybody wants a link: the engine keeps it, or a call is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Demand:
    """Counts who wants a link, and says when nobody has for a while."""

    def __init__(self) -> None:
        self._kept = False
        self._calls = 0
        self._changed = asyncio.Event()

    @property
    def present(self) -> bool:
        """True while the link is kept or a call is under way."""
        return self._kept or self._calls > 0

    @property
    def calling(self) -> bool:
        """True while a call is under way."""
        return self._calls > 0

    def keep(self) -> None:
        self._kept = True
        self._changed.set()

    def release(self) -> None:
        self._kept = False
        self._changed.set()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Want the link for the time of one call."""
        self._calls += 1
        self._changed.set()
        try:
            yield
        finally:
            self._calls -= 1
            self._changed.set()

    async def gone(self, seconds: float) -> None:
        """Return once nobody has wanted the link for `seconds`."""
        while True:
            self._changed.clear()
            if self.present:
                await self._changed.wait()
            elif not await self._changed_within(seconds):
                return

    async def back_within(self, seconds: float) -> bool:
        """Return True as soon as somebody wants the link, False after `seconds` without."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not self.present:
            self._changed.clear()
            if not await self._changed_within(end - loop.time()):
                return self.present
        return True

    async def _changed_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True
