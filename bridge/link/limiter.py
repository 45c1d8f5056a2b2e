"""At most so many logins in any window of time, first come, first served.

A leaky bucket (aiolimiter) would let almost twice the count through in one window, and the server's
blacklist counts windows (protocol reference 3.7). So here a place is taken when a login begins and
comes back one whole window after that login has *ended*: whenever within its login the server
counted it, no window of the server's ever holds more.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class WindowLimiter:
    """An async context manager around each thing to be limited."""

    def __init__(self, count: int, seconds: float) -> None:
        self._seconds = seconds
        self._places = asyncio.Semaphore(count)

    async def give_away(self, seconds: float) -> None:
        """Have one place less for so long. Never waits while there are places left."""
        await self._places.acquire()
        asyncio.get_running_loop().call_later(seconds, self._places.release)

    async def __aenter__(self) -> None:
        await self._places.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.get_running_loop().call_later(self._seconds, self._places.release)
