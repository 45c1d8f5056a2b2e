"""Whose turn it is: rooms to which one person invites us at the same moment, one after the other.

The second has to count the first (`limits.rooms_per_user`). So an invitation is waited for, by
those of the same person alone, from the count until its step is committed. A step holds one turn at
most, takes it after everything else, and asks no homeserver with it.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from weakref import WeakValueDictionary

from bridge.ids import UserId

Inviting = WeakValueDictionary[UserId, asyncio.Lock]
"""The locks of those who are inviting us; nothing is kept of anybody else."""


class Turn:
    """A room's turn. Entered with each step of it; what the step took ends with it."""

    def __init__(self, inviting: Inviting) -> None:
        self._inviting = inviting
        self._taken: asyncio.Lock | None = None

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._taken is not None:
            self._taken.release()
            self._taken = None

    @property
    def taken(self) -> bool:
        """Another room may wait for this step: nothing more belongs into it."""
        return self._taken is not None

    async def take(self, person: UserId) -> None:
        """Wait until no other room decides on an invitation by that person."""
        if self._taken is None:
            turn = self._inviting.setdefault(person, asyncio.Lock())
            await turn.acquire()
            self._taken = turn
