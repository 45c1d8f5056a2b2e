"""Encrypted storage of keys (sealed rows); and a cache for values that may change during a fetch.

All key material in the database is encrypted. Two keys are derived from the operator's secret (HKDF
with SHA-256): one seals rows (AES-256-GCM, with the row's name as associated data, so that rows
cannot be swapped), the other is vodozemac's pickle key. The secret is
`bridge.encryption.pickle_key`, or the as_token if that is unset.

Several processes may share the rows. A row that continues a state (a ratchet, a position) is
written by compare-and-swap: `was` holds the bytes that were read, and the save raises Stale if
another process was faster. Anything that depends on the row is sent only after the save, so two
processes never act on the same state of a ratchet. On Stale, read and try again (`again`).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from typing import Generic, Protocol, TypeVar

import msgspec
import structlog
from cachetools import LRUCache
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bridge.ids import RoomId
from bridge.rooms.store import SecretRow, Stale, StoreError, StorePort

LOG: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")
T = TypeVar("T", bound=msgspec.Struct)
A = TypeVar("A")

_TRIES = 5
"""Maximum attempts when another process keeps being faster (Stale)."""

_RATCHETS = ("olm/", "own/")
"""Name prefixes of rows that must never return to a former state."""


class Vault:
    """Sealed rows as msgspec structs. Raises StoreError if the database does not answer."""

    def __init__(self, rows: StorePort, sealer: Sealer) -> None:
        self.turns = 0
        """Number of saves, also failed ones, with rows of `_RATCHETS`."""
        self.pickle_key = sealer.pickle_key
        self.names = rows.secret_names
        self._rows = rows
        self._sealer = sealer

    async def read(self, name: str, kind: type[T]) -> tuple[T | None, bytes | None]:
        """Return a row, and its bytes as `was` for the row that replaces it; None if there is none.

        Raises Unsealable if it has another secret or another layout.
        """
        sealed = await self._rows.secret(name)
        return self.opened(name, sealed, kind), sealed

    def opened(self, name: str, sealed: bytes | None, kind: type[T]) -> T | None:
        """Decrypt and decode the bytes of a row. Raises Unsealable like `read`."""
        if sealed is None:
            return None
        try:
            return msgspec.msgpack.decode(self._sealer.open(name, sealed), type=kind)
        except ValueError as error:
            raise Unsealable(f"the row cannot be read as {kind.__name__}") from error

    async def load(self, name: str, kind: type[T]) -> T | None:
        """Return a row like `read`, without the bytes that a change needs."""
        return (await self.read(name, kind))[0]

    def row(
        self,
        name: str,
        value: msgspec.Struct,
        keep_until: int | None = None,
        was: bytes | msgspec.UnsetType | None = msgspec.UNSET,
    ) -> SecretRow:
        """Return a row to save. Without `was` (see `SecretRow`) it overwrites any stored value."""
        sealed = self._sealer.seal(name, msgspec.msgpack.encode(value))
        return SecretRow(name, sealed, keep_until, was)

    async def save(self, rows: Sequence[SecretRow]) -> None:
        """Write all rows durably, or none and raise Stale if one no longer equals its `was`."""
        try:
            await self._rows.save_secrets(rows)
        finally:
            # Counted after the save: a mark set during it must not count as covering these rows.
            self.turns += any(row.name.startswith(_RATCHETS) for row in rows)


class Others(Protocol):
    """The other processes that share the database; every method raises StoreError."""

    async def notify(self, notice: str) -> None:
        """Send a notice to each process's `Crypto.on_notice`."""

    def alone(self, name: str) -> AbstractAsyncContextManager[None]:
        """Lock `name` across processes, best effort."""


LONGEST_NOTICE = 7_000
"""Maximum bytes of a notice, below PostgreSQL's limit for NOTIFY payloads (8,000)."""


class Notice(msgspec.Struct, frozen=True, array_like=True):
    """Message from the process that reads a mailbox to the other processes."""

    keys: tuple[tuple[str, RoomId], ...] = ()
    """Names of keys that were received or refused, and their rooms."""
    users: tuple[str, ...] = ()
    """Users whose device lists have changed; "" if the homeserver was restored from a backup."""


MISSED = Notice()
"""The empty notice: some notices may have got lost."""


async def again(work: Callable[[], Awaitable[A]]) -> A:
    """Retry `work` on Stale, up to `_TRIES` attempts; it must read the stored rows itself."""
    for _ in range(_TRIES - 1):
        with suppress(Stale):
            return await work()
    return await work()


# --- sealing --------------------------------------------------------------------------------------

_VERSION = b"\x01"
_NONCE = 12
_SALT = b"matrix-webchat-bridge"


class Unsealable(StoreError):
    """A row was sealed with another secret or by another version, or was tampered with."""


WORDS = b"words"
"""Purpose (for `derive`) of the key for texts of encrypted rooms (`storage.sql.Cover`)."""


class Sealer:
    """AES-256-GCM encryption of rows with the operator's secret. Raises Unsealable."""

    def __init__(self, secret: str, purpose: bytes = b"rows") -> None:
        self._cipher = AESGCM(derive(secret, purpose))
        self.pickle_key = derive(secret, b"pickles")

    def __repr__(self) -> str:  # without the keys
        return "Sealer()"

    def seal(self, name: str, data: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return _VERSION + nonce + self._cipher.encrypt(nonce, data, name.encode())

    def open(self, name: str, sealed: bytes) -> bytes:
        start = len(_VERSION) + _NONCE
        try:
            if not sealed.startswith(_VERSION):
                raise Unsealable("the row was written by a newer version")
            return self._cipher.decrypt(sealed[1:start], sealed[start:], name.encode())
        except (InvalidTag, ValueError) as error:
            raise Unsealable(
                "the keys in the database are sealed with another bridge.encryption.pickle_key "
                "(without one: another as_token). Restore the former value, or run "
                "`matrix-webchat crypto reset`"
            ) from error


def derive(secret: str, purpose: bytes) -> bytes:
    """Derive a 32-byte key from the operator's secret, independent of those of other purposes."""
    return HKDF(SHA256(), 32, _SALT, purpose).derive(secret.encode())


K = TypeVar("K")
V = TypeVar("V")


class Recall(Generic[K, V]):
    """LRU cache for values that may become outdated while they are fetched.

    A value whose key is forgotten during its fetch is returned to the caller, but not cached.
    """

    def __init__(self, limit: int, size: Callable[[V], int] | None = None) -> None:
        self._values: LRUCache[K, V] = LRUCache(limit, size)
        self._fetches: dict[object, set[K]] = {}
        """Running fetch -> keys forgotten since it began."""
        # The bound method of the LRUCache, so that a hit costs one call.
        self.get: Callable[[K], V | None] = self._values.get

    def forget(self, key: K) -> None:
        self._values.pop(key, None)
        for outdated in self._fetches.values():
            outdated.add(key)

    def forget_where(self, unwanted: Callable[[K, V], bool]) -> None:
        """Drop matching values; running fetches are not cached, as their values are unknown yet."""
        for key in [key for key, value in self._values.items() if unwanted(key, value)]:
            del self._values[key]
        self._fetches.clear()

    def forget_all(self) -> None:
        self.forget_where(lambda _key, _value: True)

    @contextmanager
    def fetching(self) -> Iterator[Callable[[K, V], V]]:
        """Context of a fetch: yield a function that caches a value, unless it is outdated already.

        The function returns an equal cached value if there is one, so callers can detect a change
        with `is`.
        """
        fetch = object()
        self._fetches[fetch] = set()

        def keep(key: K, value: V) -> V:
            if self._values.get(key) == value:
                return self._values[key]
            if fetch in self._fetches and key not in self._fetches[fetch]:
                self._values[key] = value
            return value

        try:
            yield keep
        finally:
            self._fetches.pop(fetch, None)
