"""Opening people's messages: whose key is missing is waited for a while, and asked for.

A room's later messages wait meanwhile, so it must not be in one person's hands how long: after a
key of somebody's was waited for in vain, for a minute no other of theirs in that room is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from cachetools import LRUCache

from bridge.matrix.crypto import asking
from bridge.matrix.crypto.encoding import Json
from bridge.matrix.crypto.roomkeys import (
    BROKEN,
    NO_KEY,
    UNKNOWN_DEVICE,
    RoomKeys,
    Sealed,
    sealed_of,
)
from bridge.rooms.ports import Clock, Undecryptable

CATCHING_UP = 10.0
"""Seconds that a missing key is waited for at least while a host has not read its mailbox yet."""
_IN_VAIN_MS = 60_000


class Opening:
    """Every method that asks the database raises StoreError when it does not answer.

    Args:
        keys: what can be opened at once.
        asks: sends requests for what is missing.
        clock: the time.
        caught_up: tells whether all mailboxes have been read since our start.
    """

    def __init__(
        self, keys: RoomKeys, asks: asking.Asking, clock: Clock, caught_up: Callable[[], bool]
    ) -> None:
        self._keys = keys
        self._asks = asks
        self._clock = clock
        self._caught_up = caught_up
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._in_vain: LRUCache[tuple[str, str], int] = LRUCache(10_000)
        """Room and sender -> when a key of theirs was waited for in vain."""

    async def open(
        self, raw: Json, patience: float | None, *, ask: bool = True
    ) -> Json | Undecryptable:
        """An encrypted event as its sender wrote it.

        Args:
            raw: the event.
            patience: seconds to wait for a missing key; None: do not wait.
            ask: False: ask no homeserver anything, for others wait.
        """
        sealed = sealed_of(raw)
        if sealed is None:
            return Undecryptable(BROKEN, later=False)
        arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Listened for before looking, or a key that comes in between would be missed.
        waiting = self._waiting.setdefault(sealed.key_name, set())
        waiting.add(arrival)
        try:
            found = await self._keys.open(raw, sealed, self._clock.now(), ask=ask)
            if patience is None or not _may_come(found):
                return found
            return await self._wait(raw, sealed, arrival, self._patience(sealed, patience))
        finally:
            waiting.discard(arrival)
            if not waiting:
                self._waiting.pop(sealed.key_name, None)

    def wake(self, names: Iterable[str]) -> None:
        """Keys of these names came, or will not come."""
        for name in names:
            for arrival in self._waiting.get(name, ()):
                if not arrival.done():
                    arrival.set_result(None)

    def _patience(self, sealed: Sealed, wanted: float) -> float:
        if not self._caught_up():
            return max(wanted, CATCHING_UP)
        last = self._in_vain.get((sealed.room_id, sealed.sender))
        in_vain = last is not None and 0 <= self._clock.now() - last < _IN_VAIN_MS
        return 0.0 if in_vain else wanted

    async def _wait(
        self, raw: Json, sealed: Sealed, arrival: asyncio.Future[None], patience: float
    ) -> Json | Undecryptable:
        """Wait for the key, and for the device that sent it to be known."""
        await _within(min(patience, asking.AFTER), arrival)
        found = await self._keys.open(raw, sealed, self._clock.now())
        if not _may_come(found):
            return found
        if isinstance(found, Undecryptable) and found.key == NO_KEY:
            await self._asks.ask(raw, sealed, self._clock.now())
        await _within(patience - asking.AFTER, arrival)
        found = await self._keys.open(raw, sealed, self._clock.now())
        if patience and _may_come(found):
            self._in_vain[sealed.room_id, sealed.sender] = self._clock.now()
        return found


async def _within(seconds: float, arrival: asyncio.Future[None]) -> None:
    """Wait until a key came, or for so long."""
    await asyncio.wait([arrival], timeout=max(0.0, seconds))


def _may_come(found: Json | Undecryptable) -> bool:
    """True if it cannot be opened now, but perhaps in a moment."""
    return isinstance(found, Undecryptable) and found.key in {NO_KEY, UNKNOWN_DEVICE}
