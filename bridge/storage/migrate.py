"""Schema upgrades: numbered files of plain SQL, each applied in one transaction of its own.

A file that fails half-way leaves the schema as it was before that file. A schema that a later
version of this program wrote is refused, before anything is touched; so is a database that is not
whole yet, or was moved elsewhere (`transfer.py` writes these marks).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

import msgspec

from bridge.rooms.store import StoreError
from bridge.storage.query import AlreadyInUse, Dialect, Engine, Query, Statement, same

SCHEMA_VERSION = 14
"""The schema that this program works with: the number of the last file."""
PATIENCE = 10.0
"""Seconds that bridges of an earlier version get to go."""

_VERSIONED = Statement(
    sqlite="SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'",
    postgres="SELECT count(*) FROM (SELECT to_regclass('schema_version') AS found) AS t "
    "WHERE found IS NOT NULL",
)
_VERSION = same("SELECT max(version) FROM schema_version")
_CREATE_VERSIONS = same(
    "CREATE TABLE IF NOT EXISTS schema_version "
    "(version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied BIGINT NOT NULL)"
)
_RECORD = same("INSERT INTO schema_version (version, name, applied) VALUES ($1, $2, $3)")
_MARK = same("SELECT value FROM facts WHERE name = $1")
# Two processes that start at once: the second waits, then finds nothing left to do. SQLite needs
# no such lock, its transactions that write exclude one another. The number is ours, at random.
_LOCK = Statement(sqlite="SELECT 1", postgres="SELECT pg_advisory_xact_lock(719224653)")


# No schema at all gives null.
_HINDERED = Statement(
    sqlite="SELECT ''",
    postgres="SELECT CASE WHEN current_setting('transaction_read_only') = 'on' "
    "THEN 'this server takes no writes (25006)' "
    "WHEN has_schema_privilege(current_schema(), 'CREATE') THEN '' "
    "ELSE 'the role may not make tables there (42501)' END",
)


class Migration(NamedTuple):
    number: int
    name: str
    script: str
    """SQL of one dialect; every statement ends with a semicolon at the end of a line."""


def known(dialect: Dialect) -> list[Migration]:
    """The migrations of this program for a dialect, in order."""
    found = []
    for file in (resources.files("bridge.storage") / "schema").iterdir():
        stem, *variant = file.name.removesuffix(".sql").split(".")
        if not file.name.endswith(".sql") or (variant and variant != [dialect.value]):
            continue
        number, _, name = stem.partition("_")
        found.append(Migration(int(number), name, file.read_text(encoding="utf-8")))
    return sorted(found)


class NewerSchemaError(StoreError):
    """A later version of this program has been here: the database has schema `found`."""

    def __init__(self, found: int, known: int) -> None:
        super().__init__(
            f"the database has schema {found}, this program knows schemas up to {known}: "
            "upgrade the program, or restore the backup made before the upgrade"
        )
        self.found = found
        self.known = known


UNFINISHED, MOVED = "transfer", "moved"
"""Facts of a database that is being filled (`Mark`), and of one that was moved (`Moved`)."""


class Mark(msgspec.Struct, frozen=True):
    """Stands in a database while it is being filled: with what, and how far that is."""

    id: str
    """Of the backup, or drawn for the move."""
    source: str
    """Its name for people."""
    table: str = ""
    """Of the last row; the tables are filled in the order of their names."""
    after: tuple[str | int, ...] = ()
    """The last row's key."""


class Moved(msgspec.Struct, frozen=True):
    """Stands in a database whose rows are in another one now."""

    id: str
    """Of the move (`Mark.id`)."""
    to: str
    """The other's name for people."""
    at: int
    """ms since the epoch."""


class UnfinishedError(StoreError):
    """The database is filled in part."""

    def __init__(self, mark: Mark) -> None:
        super().__init__(
            f"the database is not whole yet: it is being filled from {mark.source}; run that "
            "`migrate-db` or `restore` again, it goes on where it ended (with --replace: anew)"
        )


class MovedError(StoreError):
    """What was in the database goes on in another one."""

    def __init__(self, moved: Moved) -> None:
        super().__init__(
            f"the database was moved to {moved.to}: set database.url to that one; or, to work on "
            "with this one as it was then, `matrix-webchat migrate-db --take-back`"
        )


async def unfinished(engine: Engine) -> Mark | None:
    """The mark of a database that has a schema and is being filled."""
    found = await engine.read(Query(_MARK, (UNFINISHED,)))
    return msgspec.json.decode(found[0][0], type=Mark) if found else None


async def moved_to(engine: Engine) -> Moved | None:
    """The mark of a whole database that was moved elsewhere; raises UnfinishedError."""
    if mark := await unfinished(engine):
        raise UnfinishedError(mark)
    found = await engine.read(Query(_MARK, (MOVED,)))
    return msgspec.json.decode(found[0][0], type=Moved) if found else None


async def current_version(engine: Engine) -> int:
    """The schema's version in the database; 0 when there is none yet."""
    ((versioned,),) = await engine.read(Query(_VERSIONED))
    if not versioned:
        return 0
    ((version,),) = await engine.read(Query(_VERSION))
    return int(version or 0)


async def pending(engine: Engine, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """The migrations that `migrate` would apply.

    Raises NewerSchemaError, UnfinishedError and MovedError. StoreError: it may not apply them.
    """
    if migrations is None:
        migrations = known(engine.dialect)
    version = await current_version(engine)
    newest = max((migration.number for migration in migrations), default=0)
    if version > newest:
        raise NewerSchemaError(version, newest)
    if version and (moved := await moved_to(engine)):
        raise MovedError(moved)
    if found := [migration for migration in migrations if migration.number > version]:
        ((why,),) = await engine.read(Query(_HINDERED))
        if why:
            raise StoreError(f"PostgreSQL: {why}")
    return found


async def migrate(
    engine: Engine, now: int, migrations: Sequence[Migration] | None = None
) -> list[Migration]:
    """Bring the schema up to date; return what was applied. `now` is for the record.

    Raises as `pending` does. AlreadyInUse: bridges of an earlier version are at work. StoreError:
    one failed; those before it stay, it left nothing behind.
    """
    applied, loop = [], asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    for migration in await pending(engine, migrations):
        while True:
            try:
                await engine.migrate([*FIRST, *steps(migration, now)])
            except StoreError as error:
                # The record is there already if another process was faster.
                if await current_version(engine) >= migration.number:
                    break
                if not isinstance(error, AlreadyInUse) or loop.time() >= end:
                    raise
                await asyncio.sleep(0.2)
            else:
                applied.append(migration)
                break
    return applied


FIRST = (Query(_LOCK), Query(_CREATE_VERSIONS))
"""What a transaction with migrations begins with."""


def steps(migration: Migration, now: int) -> list[Query]:
    """A migration and its record."""
    texts = _statements(migration.script)
    record = Query(_RECORD, (migration.number, migration.name, now))
    return [record, *(Query(Statement(text, text)) for text in texts)]


def _statements(script: str) -> list[str]:
    """Split a script where a line ends with a semicolon; comments go."""
    kept = [line for line in script.splitlines() if not line.lstrip().startswith("--")]
    parts = "\n".join(kept).split(";\n")
    return [part.strip().removesuffix(";") for part in parts if part.strip()]
