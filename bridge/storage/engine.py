"""What a database engine is to this package: three ways to carry out a call."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol, TypeVar

from bridge.storage.query import Call

T = TypeVar("T")


class Dialect(StrEnum):
    SQLITE = "sqlite"
    POSTGRES = "postgres"


class Engine(Protocol):
    """SQLite or PostgreSQL. Every method raises StoreError, and nothing else foreign.

    Whatever way a writing call ends, no transaction stays open.
    """

    @property
    def dialect(self) -> Dialect: ...

    async def open(self) -> None:
        """Connect; Unreachable if that cannot be done."""
        ...

    async def claim(self) -> None:
        """Be the one bridge that works on this database, until closed or dead.

        The claim of a process that has been killed ends with it; one that lingers is waited for.

        Raises:
            AlreadyInUse: another process has claimed it.
        """
        ...

    async def commit(self, call: Call[T]) -> T:
        """Carry out a call in one durable transaction. Only the writer calls it."""
        ...

    async def migrate(self, call: Call[T]) -> T:
        """The same for a change of the schema, which may take its time."""
        ...

    async def read(self, call: Call[T]) -> T:
        """Carry out a call that only reads."""
        ...

    async def close(self) -> None: ...
