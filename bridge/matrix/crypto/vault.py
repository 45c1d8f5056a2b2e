"""The vault: sealed rows of the store, as values.

Changes that belong together are written together: `Vault.save` takes all or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import msgspec

from bridge.matrix.crypto.sealing import Sealer, Unsealable
from bridge.rooms.store import SecretRow

T = TypeVar("T", bound=msgspec.Struct)

_RATCHETS = ("olm/", "own/")
"""Rows that must never go back to what they were."""


class SecretRows(Protocol):
    """The part of the store that keeps sealed rows. `StorePort` is one."""

    async def secret(self, name: str) -> bytes | None: ...

    async def secret_names(self, prefix: str) -> list[str]: ...

    async def save_secrets(self, rows: Sequence[SecretRow]) -> None: ...


class Vault:
    """Typed rows. Every method raises StoreError when the database does not answer.

    Attributes:
        turns: how often a row was saved that must never go back to what it was.
    """

    def __init__(self, rows: SecretRows, sealer: Sealer) -> None:
        self.turns = 0
        self._rows = rows
        self._sealer = sealer

    @property
    def pickle_key(self) -> bytes:
        """For vodozemac's pickles."""
        return self._sealer.pickle_key

    async def load(self, name: str, kind: type[T]) -> T | None:
        """The row of that name.

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
        """A row, sealed, to be handed to `save`."""
        return SecretRow(name, self._sealer.seal(name, msgspec.msgpack.encode(value)), keep_until)

    async def save(self, rows: Sequence[SecretRow]) -> None:
        """Write rows as one; returns when they are durable."""
        self.turns += any(row.name.startswith(_RATCHETS) for row in rows)
        await self._rows.save_secrets(rows)
