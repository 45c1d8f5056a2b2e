"""Decrypting people's messages: a missing key is waited for a while, and requested.

A room's later messages wait meanwhile, so no single person may decide how long: after a key of
somebody's was waited for in vain, none of theirs in that room is waited for during a minute.

`Asking` sends key requests (specification, "Key requests"). Element's engine gives a key again to a
device that it had given it to before, and to no other; so this makes up for a to-device message
that was lost or could not be read. Each missing key is requested at most once in a while, of the
device that wrote the message where that is known, by each of our hosts: the room does not say which
of them the key was shared with, and the others get no answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog
from cachetools import LRUCache

from bridge.ids import UserId
from bridge.matrix.crypto.devices import Upkeep
from bridge.matrix.crypto.keys import BROKEN, NO_KEY, UNKNOWN_DEVICE, RoomKeys, Sealed, sealed_of
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.matrix.crypto.wire import MEGOLM, Json, mapping, text
from bridge.rooms.ports import Clock, Refused, Unavailable
from bridge.rooms.record import Undecryptable

CATCHING_UP = 10.0
"""Seconds that a missing key is waited for at least while a host has not read its mailbox yet."""
_IN_VAIN_MS = 60_000


class Opening:
    """Decryption of events, with a wait for the key. Raises StoreError.

    Args:
        keys: what can be opened at once.
        asks: sends requests for what is missing.
        clock: the time.
        caught_up: tells whether all mailboxes have been read since our start.
    """

    def __init__(
        self, keys: RoomKeys, asks: Asking, clock: Clock, caught_up: Callable[[], bool]
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
        """Decrypt an event.

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
        """Wake those who wait for these keys: they came, or will not come."""
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
        await _within(min(patience, AFTER), arrival)
        found = await self._keys.open(raw, sealed, self._clock.now())
        if not _may_come(found):
            return found
        if isinstance(found, Undecryptable) and found.key == NO_KEY:
            await self._asks.ask(raw, sealed, self._clock.now())
        await _within(patience - AFTER, arrival)
        found = await self._keys.open(raw, sealed, self._clock.now())
        if patience and _may_come(found):
            self._in_vain[sealed.room_id, sealed.sender] = self._clock.now()
        return found


async def _within(seconds: float, arrival: asyncio.Future[None]) -> None:
    """Wait for a key, at most so long."""
    await asyncio.wait([arrival], timeout=max(0.0, seconds))


def _may_come(found: Json | Undecryptable) -> bool:
    """True if it cannot be decrypted now, but perhaps in a moment."""
    return isinstance(found, Undecryptable) and found.key in {NO_KEY, UNKNOWN_DEVICE}


# --- key requests ---------------------------------------------------------------------------------

AFTER = 2.0
"""Seconds that a key is waited for before it is asked for."""
_ASKED = 10_000
"""Keys that are remembered to have been asked for."""
_AGAIN_MS = 60_000
"""How often at most one is; the answer may have been unreadable, too, until the session was new."""
_EVERYBODY = "*"


class Asking:
    """Key requests; an answer comes by /sync like every key.

    Args:
        server: takes the requests.
        upkeep: knows our devices.
        hosts: our users whose mailboxes are read.
    """

    def __init__(self, server: KeyServer, upkeep: Upkeep, hosts: Sequence[UserId]) -> None:
        self._server = server
        self._upkeep = upkeep
        self._hosts = hosts
        self._asked: LRUCache[str, int] = LRUCache(_ASKED)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")

    async def ask(self, raw: Json, sealed: Sealed, now: int) -> None:
        """Request the key of an event, unless that was done a moment ago.

        It is an attempt: if it fails, the event's sender is told what they would have been told.
        """
        last = self._asked.get(sealed.key_name)
        if last is not None and 0 <= now - last < _AGAIN_MS:
            return
        self._asked[sealed.key_name] = now
        self._log.info("a key is asked for", user=sealed.sender, room=sealed.room_id)
        request = _request(self._upkeep.device_id, raw, sealed)
        for host in self._hosts:
            if not self._upkeep.ready(host).is_set():
                continue
            try:
                await self._server.send_to_devices(host, "m.room_key_request", request)
            except (Unavailable, Refused) as error:
                self._log.debug("a key cannot be asked for", user=host, why=str(error))


def _request(device_id: str, raw: Json, sealed: Sealed) -> Json:
    content = mapping(raw, "content")
    body: Json = {
        "algorithm": MEGOLM,
        "room_id": sealed.room_id,
        "session_id": sealed.session_id,
    }
    if sender_key := text(content, "sender_key"):
        body["sender_key"] = sender_key
    request: Json = {
        "action": "request",
        "requesting_device_id": device_id,
        "request_id": f"{device_id}.{sealed.session_id}",
        "body": body,
    }
    return {sealed.sender: {text(content, "device_id") or _EVERYBODY: request}}
