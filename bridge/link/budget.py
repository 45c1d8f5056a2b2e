"""Memory that a WebChat server may take by what it says, over all of its links.

A frame has a longest size, and a link a longest queue; neither bounds what a thousand links take at
once. So all messages that are half read, and all pushes that wait for the store, are counted. Once
that is more than `MOST`, the half that is largest goes, with its link; and who has a push that
waits is not read until it is stored. What is usual in size fits in either way, so links on which
people talk do not notice.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

MOST = 64 << 20
"""Bytes, of one server: four of the longest frames."""
USUAL = 64 << 10
"""Bytes of a half-read message over which no link ever ends."""
SAID_EVERY = 10.0
"""Seconds from one line in the log to the next."""
_LOG: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.link.links")


class Budget:
    """Bytes in memory that are not stored yet; `taken` is also counted up and down by others."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self.taken = 0
        self._halves: dict[Callable[[], None], int] = {}
        """Bytes of each message that is half read, by how to give it up."""
        self._quiet_until = 0.0

    @property
    def spent(self) -> bool:
        return self.taken > self._most

    def half(self, size: int, give_up: Callable[[], None]) -> None:
        """So many bytes of a message are there, and not its end; 0: it is whole, or gone."""
        before = self._halves.pop(give_up, 0)
        if size:
            self._halves[give_up] = size
        self.taken += size - before
        if size > before and self.spent:
            largest = max(self._halves, key=self._halves.__getitem__)
            if (held := self._halves[largest]) > USUAL:
                self._say(held)
                largest()

    def _say(self, held: int) -> None:
        if (now := time.monotonic()) >= self._quiet_until:
            self._quiet_until = now + SAID_EVERY
            _LOG.warning("webchat sends more than fits into memory", most=self._most, frame=held)
