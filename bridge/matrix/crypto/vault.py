"""Encrypted storage of keys: sealed rows, a cache over them, and detection of a restored backup.

Nothing of encryption lies in the database in clear. The operator's secret gives two keys (HKDF with
SHA-256): one seals rows (AES-256-GCM, bound to the row's name, so that no row can be put in the
place of another), the other is vodozemac's pickle key. The secret is the operator's
`bridge.encryption.pickle_key`; without it the as_token serves, which is kept secret anyway.

`Vault` reads and writes rows as msgspec structs. Changes that belong together are written together:
`Vault.save` writes all of its rows or none, and returns when they are durable.

`Continuity` detects a database that was restored from a backup. Its olm ratchets stand where they
stood then, and to use them again would encrypt two texts with one key; and the private halves of
one-time keys that were published since are lost. So a random mark that changes with the ratchets,
at most once in `EVERY`, is kept both here and in the bot's account data. A database that does not
know the homeserver's mark is an older copy of itself. (It is taken for one, too, if the homeserver
was restored or if a second bridge works with the same users; nothing is lost by that.) The row
names every mark that the homeserver may have, for a crash may come between the two writes.

`Recall` is the LRU cache of this package, for answers that may be outdated while they are fetched.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

import msgspec
import structlog
from cachetools import LRUCache
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bridge.ids import UserId
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.rooms.ports import Clock, Refused, Unavailable
from bridge.rooms.store import SecretRow, StoreError

T = TypeVar("T", bound=msgspec.Struct)

_RATCHETS = ("olm/", "own/")
"""Rows that must never go back to what they were."""


class SecretRows(Protocol):
    """The part of the store that keeps sealed rows. `StorePort` is one."""

    async def secret(self, name: str) -> bytes | None: ...

    async def secret_names(self, prefix: str) -> list[str]: ...

    async def save_secrets(self, rows: Sequence[SecretRow]) -> None: ...


class RowCache(Protocol):
    """Cache of values made of rows, by the rows' names. `Recall` is one."""

    def forget(self, key: str) -> None: ...


class Vault:
    """Sealed rows as structs. Raises StoreError if the database does not answer.

    Attributes:
        turns: how often a row was saved that must never go back to what it was.
    """

    def __init__(self, rows: SecretRows, sealer: Sealer) -> None:
        self.turns = 0
        self._rows = rows
        self._sealer = sealer
        self._caches: list[RowCache] = []

    def invalidates(self, cache: RowCache) -> None:
        """From now on each row that is written is forgotten by this cache."""
        self._caches.append(cache)

    @property
    def pickle_key(self) -> bytes:
        """Key of vodozemac's pickles."""
        return self._sealer.pickle_key

    async def load(self, name: str, kind: type[T]) -> T | None:
        """Read and unseal the row of that name.

        Raises:
            Unsealable: it was sealed with another secret, or is of another layout.
        """
        sealed = await self._rows.secret(name)
        if sealed is None:
            return None
        try:
            return msgspec.msgpack.decode(self._sealer.open(name, sealed), type=kind)
        except msgspec.DecodeError as error:
            raise Unsealable(f"the row is no {kind.__name__} of this version") from error

    async def names(self, prefix: str) -> list[str]:
        """The names of the rows that begin so."""
        return await self._rows.secret_names(prefix)

    def row(self, name: str, value: msgspec.Struct, keep_until: int | None = None) -> SecretRow:
        """Seal a row, to be handed to `save`."""
        return SecretRow(name, self._sealer.seal(name, msgspec.msgpack.encode(value)), keep_until)

    async def save(self, rows: Sequence[SecretRow], *, known_to: RowCache | None = None) -> None:
        """Write rows as one; returns when they are durable.

        Args:
            rows: what `row` made.
            known_to: a cache whose owner writes the rows, and does what it takes itself.
        """
        self.turns += any(row.name.startswith(_RATCHETS) for row in rows)
        self._invalidate(rows, known_to)
        try:
            await self._rows.save_secrets(rows)
        finally:
            # Again, for what was read meanwhile; and whether it was written or not.
            self._invalidate(rows, known_to)

    def _invalidate(self, rows: Sequence[SecretRow], known_to: RowCache | None) -> None:
        for cache in self._caches:
            if cache is not known_to:
                for row in rows:
                    cache.forget(row.name)


# --- sealing --------------------------------------------------------------------------------------

_VERSION = b"\x01"
_NONCE = 12
_SALT = b"matrix-webchat-bridge"


class Unsealable(StoreError):
    """A row was sealed with another secret, or was tampered with."""


class Sealer:
    """AES-256-GCM over rows.

    Args:
        secret: the operator's; any length above zero.

    Attributes:
        pickle_key: 32 bytes for vodozemac's own pickles.
    """

    def __init__(self, secret: str) -> None:
        self._cipher = AESGCM(derive(secret, b"rows"))
        self.pickle_key = derive(secret, b"pickles")

    def __repr__(self) -> str:
        """Without the keys."""
        return "Sealer()"

    def seal(self, name: str, data: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return _VERSION + nonce + self._cipher.encrypt(nonce, data, name.encode())

    def open(self, name: str, sealed: bytes) -> bytes:
        """Return what was sealed under this name.

        Raises:
            Unsealable: with this secret it cannot be opened.
        """
        start = len(_VERSION) + _NONCE
        try:
            if not sealed.startswith(_VERSION):
                raise Unsealable("a row of a newer version")
            return self._cipher.decrypt(sealed[1:start], sealed[start:], name.encode())
        except (InvalidTag, ValueError) as error:
            raise Unsealable(
                "the keys in the database are sealed with another bridge.encryption.pickle_key "
                "(without one: another as_token). Restore it, or run `matrix-webchat crypto reset`"
            ) from error


def derive(secret: str, purpose: bytes) -> bytes:
    """A key of 32 bytes from the operator's secret, which says nothing about those of others."""
    return HKDF(SHA256(), 32, _SALT, purpose).derive(secret.encode())


# --- detection of a restored backup ---------------------------------------------------------------

EVERY = 60_000
"""ms. A copy that is younger than this may not be told from the newest state."""
MARKS = "marks"


class Marks(msgspec.Struct, frozen=True):
    """Row: all marks that may stand on the homeserver."""

    possible: tuple[str, ...]


class Continuity:
    """The mark that detects a restored backup.

    Args:
        vault: one of the two places.
        server: the other.
        bot: whose account data bears the mark.
        clock: the time.
    """

    def __init__(self, vault: Vault, server: KeyServer, bot: UserId, clock: Clock) -> None:
        self._vault = vault
        self._server = server
        self._bot = bot
        self._clock = clock
        self._there = ""
        """The last mark that is known to stand on the homeserver."""
        self._next = ""
        """One that may have got there."""
        self._lock = asyncio.Lock()
        self._moved = 0
        self._turns = 0
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")

    async def check(self) -> bool:
        """False if the homeserver has seen a newer state of this database.

        Raises:
            Unavailable, StoreError: to be asked again.
        """
        self._there = await read_mark(self._server, self._bot)
        return is_newest(await self._vault.load(MARKS, Marks), self._there)

    async def advance(self) -> None:
        """Set a new mark.

        Raises:
            StoreError: the database does not answer.
        """
        async with self._lock:
            await self._advance()

    async def follow(self) -> None:
        """Set a new mark if a ratchet was turned since, and it is time.

        Raises:
            StoreError: the database does not answer.
        """
        async with self._lock:
            turned = self._vault.turns != self._turns
            if turned and not 0 <= self._clock.now() - self._moved < EVERY:
                await self._advance()

    async def _advance(self) -> None:
        turns = self._vault.turns
        self._moved = self._clock.now()
        if not self._next:
            self._next = secrets.token_hex(8)
            row = self._vault.row(MARKS, Marks((self._there, self._next)))
            await self._vault.save([row])
        try:
            await self._server.set_mark(self._bot, self._next)
        except (Unavailable, Refused) as error:
            self._log.info("the mark cannot be set yet", why=str(error))
        else:
            self._there, self._next, self._turns = self._next, "", turns


async def read_mark(server: KeyServer, bot: UserId) -> str:
    """The homeserver's mark; empty if it has none, or keeps none.

    Raises:
        Unavailable: it does not answer.
    """
    try:
        return await server.mark(bot)
    except Refused:
        return ""


def is_newest(marks: Marks | None, there: str) -> bool:
    """Compare the row with the homeserver's mark.

    A row without a mark is that of a new database, or of a version that had no marks.
    """
    return not there or marks is None or there in marks.possible


# --- the cache ------------------------------------------------------------------------------------

K = TypeVar("K")
V = TypeVar("V")


class Recall(Generic[K, V]):
    """LRU cache of answers that may be outdated while they are fetched.

    An answer that was on its way when its key was forgotten is used once, but not kept.
    """

    def __init__(self, limit: int) -> None:
        self._values: LRUCache[K, V] = LRUCache(limit)
        self._fetches: list[Fetch[K, V]] = []

    def get(self, key: K) -> V | None:
        return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        self._values[key] = value

    def forget(self, key: K) -> None:
        self._values.pop(key, None)
        for fetch in self._fetches:
            fetch.outdated.add(key)

    def forget_all(self) -> None:
        self._values.clear()
        for fetch in self._fetches:
            fetch.everything = True

    @contextmanager
    def fetching(self) -> Iterator[Fetch[K, V]]:
        """Context of a fetch: `keep` stores its answer, unless the key was forgotten meanwhile."""
        fetch = Fetch(self)
        self._fetches.append(fetch)
        try:
            yield fetch
        finally:
            self._fetches.remove(fetch)


class Fetch(Generic[K, V]):
    """A fetch that is under way."""

    def __init__(self, recall: Recall[K, V]) -> None:
        self.outdated: set[K] = set()
        self.everything = False
        self._recall = recall

    def keep(self, key: K, value: V) -> None:
        """Cache the answer, unless its key was forgotten since the fetch began."""
        if not self.everything and key not in self.outdated:
            self._recall.put(key, value)
