"""What came over a link, on its way to the engine: strictly in order, nothing skipped.

The push in hand is tried again until the engine has stored it; only then does its receipt go out
(design: acknowledged only after it is stored). While that does not work the socket is closed, so
that the server knows us to be away, and the link opens no new one before `settled`.

When the bridge stops, what was read is still stored, for a server of 2016 pushes nothing twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b

import msgspec
import structlog

from bridge.ids import RoomId
from bridge.link.backoff import Backoff
from bridge.link.socket import Wire
from bridge.rooms.ports import Clock, LinkEvents
from bridge.webchat.frames import Received

MOST_WAITING = 64
"""Pushes of one link that may wait for the store; beyond them its socket is not read."""
LAST_WORDS = 2.0
"""Seconds that the store gets for what was read, once the links are closed."""
LONGEST_ID = 200
"""Characters of a receipt id that go into a key."""


@dataclass(frozen=True)
class _Push:
    key: str
    received: Received
    wire: Wire


class Deliveries:
    """The queue of one room. `run` must be running for anything to leave it."""

    def __init__(
        self,
        room_id: RoomId,
        epoch: str,
        ordinals: Iterator[int],
        events: LinkEvents,
        *,
        clock: Clock,
        backoff: Backoff,
        last_words: float = LAST_WORDS,
    ) -> None:
        """Take what makes the keys of pushes.

        Args:
            room_id: whose pushes they are.
            epoch: differs for every start of the process.
            ordinals: never gives a number twice within an epoch, whoever else draws from it.
            events: the engine.
            clock: for the pauses.
            backoff: how long they are.
            last_words: seconds that storing may go on for once `run` is cancelled.
        """
        self._room_id = room_id
        self._epoch = epoch
        self._events = events
        self._clock = clock
        self._backoff = backoff
        self._last_words = last_words
        self._ordinals = ordinals
        self._room_left = asyncio.Semaphore(MOST_WAITING)
        self._queue: asyncio.Queue[_Push | None] = asyncio.Queue()
        self._in_hand: list[_Push | None] = []

    async def push(self, received: Received, wire: Wire) -> None:
        """Queue a push, and wait while the queue is full."""
        # Queued first: whoever waits may be cancelled, and what was read must not be lost with it.
        self._queue.put_nowait(_Push(self._key(received), received, wire))
        await self._room_left.acquire()

    def restored(self) -> None:
        """Queue the word that the link stands again."""
        self._queue.put_nowait(None)

    async def settled(self) -> None:
        """Return once everything queued is stored."""
        await self._queue.join()

    async def run(self, interrupt: Callable[[], Awaitable[None]]) -> None:
        """Deliver for ever; `interrupt` is awaited whenever the engine could not store.

        Cancelled, it first stores what is queued, as far as that goes in `last_words` seconds.
        """
        try:
            while True:
                await self._deliver(interrupt)
        except asyncio.CancelledError:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._last_words):
                    while self._in_hand or not self._queue.empty():
                        await self._deliver(interrupt)
            raise

    async def _deliver(self, interrupt: Callable[[], Awaitable[None]]) -> None:
        if not self._in_hand:
            self._in_hand.append(await self._queue.get())
        # Left in hand when this is cancelled, so that whoever goes on begins with it.
        push = self._in_hand[0]
        await self._store(push, interrupt)
        self._in_hand.clear()
        self._queue.task_done()
        if push is not None:
            self._room_left.release()
            if push.received.rs_id and push.wire.usable:
                await push.wire.receipt(push.received.rs_id)

    async def _store(self, push: _Push | None, interrupt: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                if push is None:
                    await self._events.restored(self._room_id)
                else:
                    await self._events.pushed(self._room_id, push.key, push.received)
            except Exception as error:  # noqa: BLE001 - whatever it is, the push must not be lost
                log: structlog.stdlib.BoundLogger = structlog.get_logger()
                log.warning(
                    "webchat push not stored", room_id=self._room_id, error=type(error).__name__
                )
            else:
                self._backoff.reset()
                return
            await interrupt()
            await self._clock.sleep(self._backoff.next())

    def _key(self, received: Received) -> str:
        """The same for a push and its repeats, and for nothing else.

        The server's own id does not do alone: one that counts may begin again when it starts.
        """
        if rs_id := received.rs_id:
            said = f"{rs_id}\n".encode("utf-8", "replace") + msgspec.json.encode(received.push)
            digest = blake2b(said, digest_size=8).hexdigest()
            return f"wc:{self._room_id}:{rs_id[:LONGEST_ID]}:{digest}"
        return f"wc:{self._room_id}:{self._epoch}:{next(self._ordinals)}"
