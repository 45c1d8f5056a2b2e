"""Encrypted storage of keys: sealed rows; and a cache of what may change while it is fetched.

Nothing of encryption lies in the database in clear. The operator's secret gives two keys (HKDF with
SHA-256): one seals rows (AES-256-GCM, bound to the row's name, so that no row can be put in the
place of another), the other is vodozemac's pickle key. The secret is
`bridge.encryption.pickle_key`; without it the as_token serves, which is kept secret anyway.

Several processes may share the rows. A row that goes on from what was read (a ratchet, a position)
is written by compare and swap: with `was`, the bytes that were read, and Stale if another process
was faster. Whatever depends on such a row leaves only after it was saved, so no two processes ever
act on the same state of a ratchet. The one that was refused reads again and tries again (`again`).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

import msgspec
import structlog
from cachetools import LRUCache
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bridge.rooms.store import SecretRow, Stale, StoreError, StorePort

LOG: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")
T = TypeVar("T", bound=msgspec.Struct)
A = TypeVar("A")

_TRIES = 5
"""How often something is done anew because another process was faster."""

_RATCHETS = ("olm/", "own/")
"""Rows that must never go back to what they were."""


class Vault:
    """Sealed rows as structs. Raises StoreError if the database does not answer."""

    def __init__(self, rows: StorePort, sealer: Sealer) -> None:
        self.turns = 0
        """How often a row of `_RATCHETS` was saved, or may have been."""
        self.pickle_key = sealer.pickle_key
        self.names = rows.secret_names
        self._rows = rows
        self._sealer = sealer

    async def read(self, name: str, kind: type[T]) -> tuple[T | None, bytes | None]:
        """Read a row, and its bytes, for the row that takes its place (`was`); None: no row.

        Raises Unsealable: it is of another secret, or another layout.
        """
        sealed = await self._rows.secret(name)
        return self.opened(name, sealed, kind), sealed

    def opened(self, name: str, sealed: bytes | None, kind: type[T]) -> T | None:
        """What the bytes of a row say, as `read`."""
        if sealed is None:
            return None
        try:
            return msgspec.msgpack.decode(self._sealer.open(name, sealed), type=kind)
        except ValueError as error:
            raise Unsealable(f"the row is no {kind.__name__} of this version") from error

    async def load(self, name: str, kind: type[T]) -> T | None:
        """Read a row as `read`, but not to change it."""
        return (await self.read(name, kind))[0]

    def row(
        self,
        name: str,
        value: msgspec.Struct,
        keep_until: int | None = None,
        was: bytes | msgspec.UnsetType | None = msgspec.UNSET,
    ) -> SecretRow:
        """A row to be saved; `was`: see `SecretRow`, without it whatever is stored is replaced."""
        sealed = self._sealer.seal(name, msgspec.msgpack.encode(value))
        return SecretRow(name, sealed, keep_until, was)

    async def save(self, rows: Sequence[SecretRow]) -> None:
        """Write all rows or none, durably. Stale: none, for one is not what it `was` any more."""
        try:
            await self._rows.save_secrets(rows)
        finally:
            # Not before it: a mark of meanwhile would count for rows that came after it.
            self.turns += any(row.name.startswith(_RATCHETS) for row in rows)


async def again(work: Callable[[], Awaitable[A]]) -> A:
    """Do what another process may have been faster in, anew from what is stored by then.

    Raises Stale if that happens time and again.
    """
    for _ in range(_TRIES - 1):
        with suppress(Stale):
            return await work()
    return await work()


# --- sealing --------------------------------------------------------------------------------------

_VERSION = b"\x01"
_NONCE = 12
_SALT = b"matrix-webchat-bridge"


class Unsealable(StoreError):
    """A row was sealed with another secret, or was tampered with."""


WORDS = b"words"
"""The purpose of the key for what is said in encrypted rooms (`storage.sql.Cover`)."""


class Sealer:
    """AES-256-GCM over rows, by the operator's secret. Raises Unsealable."""

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


K = TypeVar("K")
V = TypeVar("V")


class Recall(Generic[K, V]):
    """LRU cache of answers that may be outdated while they are fetched.

    An answer that was on its way when its key was forgotten is used once, but not kept.
    """

    def __init__(self, limit: int) -> None:
        self._values: LRUCache[K, V] = LRUCache(limit)
        self._fetches: dict[object, set[K]] = {}
        """Each fetch under way -> the keys that were forgotten since it began."""
        self._changes: dict[object, frozenset[K]] = {}
        """Each change under way -> its keys."""
        # The cache's own, so that a hit costs one call.
        self.get: Callable[[K], V | None] = self._values.get
        self.at: Callable[[K], V] = self._values.__getitem__
        """As `get`, which looks twice; KeyError if there is nothing."""

    def forget(self, key: K) -> None:
        self._values.pop(key, None)
        for outdated in self._fetches.values():
            outdated.add(key)

    def forget_where(self, unwanted: Callable[[K, V], bool]) -> None:
        """Forget these answers; those on their way are not kept, for who knows what they are."""
        for key in [key for key, value in self._values.items() if unwanted(key, value)]:
            del self._values[key]
        self._fetches.clear()

    def forget_all(self) -> None:
        self.forget_where(lambda _key, _value: True)

    @contextmanager
    def changing(self, keys: Iterable[K]) -> Iterator[None]:
        """Context of a change: what is fetched while it lasts may be outdated, and is not kept."""
        change = object()
        self._changes[change] = frozenset(keys)
        for key in self._changes[change]:
            self.forget(key)
        try:
            yield
        finally:
            del self._changes[change]

    @contextmanager
    def fetching(self) -> Iterator[Callable[[K, V], V]]:
        """Context of a fetch: a function that keeps an answer, unless it is outdated already.

        It returns the equal answer that was there, if any: what is not `is` the same has changed.
        """
        fetch = object()
        self._fetches[fetch] = set().union(*self._changes.values())

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
