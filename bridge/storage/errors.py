"""What can be wrong with a database, as far as anybody treats it differently.

All are `StoreError`s: the engine need not know them. The writer tells `Unreachable` (nothing can be
written now) from a plain StoreError (this one request cannot be written), and the program's exit
code depends on the other two.
"""

from __future__ import annotations

from pathlib import Path

from bridge.rooms.store import StoreError


class Unreachable(StoreError):
    """The database is away, full or hung: another request would fare no better."""


def cannot_open(path: Path, error: OSError) -> Unreachable:
    """What a fault of a database's file or folder is to everybody."""
    return Unreachable(f"cannot open {path}: {error.strerror or error}")


class AlreadyInUse(Unreachable):
    """Another bridge works on this database. Two would do each other's work a second time."""

    def __init__(
        self,
        message: str = "another bridge is at work on this database, and only one may be: "
        "stop that one first, or give this one a database of its own",
    ) -> None:
        super().__init__(message)


class NewerSchemaError(StoreError):
    """A later version of this program has been here; we would not know what we break.

    Attributes:
        found: the schema's version in the database.
        known: the newest version that this program knows.
    """

    def __init__(self, found: int, known: int) -> None:
        super().__init__(
            f"the database has schema {found}, this program knows schemas up to {known}: "
            "upgrade the program, or restore the backup made before the upgrade"
        )
        self.found = found
        self.known = known


class CorruptDatabaseError(StoreError):
    """The file is no database, or is damaged: nothing can be trusted until it is restored."""


def database_is_corrupt(error: BaseException) -> bool:
    """True if a CorruptDatabaseError is the error, a member of it, or one of its causes."""
    if isinstance(error, CorruptDatabaseError):
        return True
    if isinstance(error, BaseExceptionGroup) and any(map(database_is_corrupt, error.exceptions)):
        return True
    return error.__cause__ is not None and database_is_corrupt(error.__cause__)
