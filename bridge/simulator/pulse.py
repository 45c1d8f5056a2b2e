"""Waiting for something to change, without sleeping and without missing it."""

import asyncio


class Pulse:
    """Wakes everybody who waits, each time it beats."""

    def __init__(self) -> None:
        self._next = asyncio.Event()
        self.beats = 0
        """How often it has beaten: for those who do something else between looking and waiting."""

    def beat(self) -> None:
        """Wake the waiters; those who come later wait for the next beat."""
        self.beats += 1
        past, self._next = self._next, asyncio.Event()
        past.set()

    async def wait(self) -> None:
        """Return at the next beat. Look at what you wait for before, never after, calling this."""
        await self._next.wait()
