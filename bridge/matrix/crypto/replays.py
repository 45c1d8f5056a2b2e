"""One encrypted message counts once: which event carried which message of a session.

Whoever passes messages on, a homeserver for one, may send what it cannot read a second time, as
another event. Each message of a session has a number, so the number and the event that bore it are
remembered, for as long as the session's key is. What is new is stored together, every half minute
at the latest and every `_AT_MOST` messages; a kill in between forgets those.
"""

from __future__ import annotations

import hashlib

import msgspec
from cachetools import LRUCache

from bridge.matrix.crypto.vault import Vault

_IN_A_ROW = 128
"""Messages of a session that share a row; most sessions carry a hundred."""
_AT_MOST = 50
"""Messages that wait to be stored."""
_KEPT = 5_000
"""Rows in memory."""
_DIGEST = 8
"""Bytes of an event id's hash."""


class Seen(msgspec.Struct):
    """The row: number of the message -> hash of the event's id."""

    events: dict[int, bytes] = {}
    until: int = 0
    """When it goes: with the key, whose use keeps both."""


class Replays:
    """Every method raises StoreError when the database does not answer."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._rows: LRUCache[str, Seen] = LRUCache(_KEPT)
        self._unsaved: dict[str, Seen] = {}
        self._waiting = 0

    async def is_one(self, key_name: str, index: int, event_id: str, keep_until: int) -> bool:
        """True if another event carried this very message before; else it is remembered.

        Args:
            key_name: the session's key.
            index: the message's number in it.
            event_id: the event that carries it now.
            keep_until: when the key goes, ms since the epoch.
        """
        name = f"seen/{index // _IN_A_ROW}/{key_name}"
        seen = self._in_memory(name)
        if seen is None:
            stored = await self._vault.load(name, Seen)
            # Somebody else may have been faster; there must not be two.
            seen = self._in_memory(name) or stored or Seen({})
            self._rows[name] = seen
        digest = hashlib.sha256(event_id.encode("utf-8", "surrogatepass")).digest()[:_DIGEST]
        first = seen.events.setdefault(index, digest)
        if first is digest or seen.until < keep_until:
            seen.until = max(seen.until, keep_until)
            self._unsaved[name] = seen
            self._waiting += 1
            if self._waiting >= _AT_MOST:
                await self.save()
        return first != digest

    async def save(self) -> None:
        """Store what is new."""
        unsaved, self._unsaved, self._waiting = self._unsaved, {}, 0
        if not unsaved:
            return
        rows = [self._vault.row(name, seen, seen.until) for name, seen in unsaved.items()]
        try:
            await self._vault.save(rows)
        except BaseException:
            self._unsaved = unsaved | self._unsaved
            raise

    def _in_memory(self, name: str) -> Seen | None:
        return self._unsaved.get(name) or self._rows.get(name)
