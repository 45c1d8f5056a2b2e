"""Schema migrations: numbered files of plain SQL, each applied in its own transaction.

A file that fails is rolled back. Refused before anything is changed: a schema written by a later
version of this program, and a database that is only partly filled or was moved elsewhere
(`transfer.py` writes these marks).
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
"""Schema version that this program works with: the number of the last file."""
PATIENCE = 10.0
"""Seconds to wait for bridges of an earlier version to stop."""

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
# If two processes start at once, the second waits, then finds nothing left to do. SQLite needs no
# such lock: its write transactions exclude one another. The number was chosen at random.
_LOCK = Statement(sqlite="SELECT 1", postgres="SELECT pg_advisory_xact_lock(719224653)")


# Without a current schema `has_schema_privilege` is NULL, which counts as denied.
_HINDERED = Statement(
    sqlite="SELECT ''",
    postgres="SELECT CASE WHEN current_setting('transaction_read_only') = 'on' "
    "THEN 'this server accepts no writes (25006)' "
    "WHEN has_schema_privilege(current_schema(), 'CREATE') THEN '' "
    "ELSE 'the role may not create tables in this database (42501)' END",
)


class Migration(NamedTuple):
    number: int
    name: str
    script: str
    """SQL of one dialect; every statement ends with a semicolon at the end of a line."""


def known(dialect: Dialect) -> list[Migration]:
    """Return the program's migrations for a dialect, in order."""
    found = []
    for file in (resources.files("bridge.storage") / "schema").iterdir():
        stem, *variant = file.name.removesuffix(".sql").split(".")
        if not file.name.endswith(".sql") or (variant and variant != [dialect.value]):
            continue
        number, _, name = stem.partition("_")
        found.append(Migration(int(number), name, file.read_text(encoding="utf-8")))
    return sorted(found)


class NewerSchemaError(StoreError):
    """The database was upgraded by a later version of this program."""

    def __init__(self, found: int, known: int) -> None:
        super().__init__(
            f"the database has schema {found}, this program knows schemas up to {known}: "
            "upgrade the program, or restore the backup made before the upgrade"
        )


UNFINISHED, MOVED = "transfer", "moved"
"""Names of the facts that mark a database as being filled (`Mark`) or as moved (`Moved`)."""


class Mark(msgspec.Struct, frozen=True):
    """Mark of a database that is being filled: from which source, and how far."""

    id: str
    """Id of the backup, or a random id of the move."""
    source: str
    """Readable name of the source."""
    table: str = ""
    """Table of the last row copied; tables are filled in the order of their names."""
    after: tuple[str | int, ...] = ()
    """Key of the last row copied."""


class Moved(msgspec.Struct, frozen=True):
    """Mark of a database whose rows were moved to another one."""

    id: str
    """Id of the move (`Mark.id`)."""
    to: str
    """Readable name of the target."""
    at: int
    """ms since the epoch."""


class UnfinishedError(StoreError):
    """The database is only partly filled."""

    def __init__(self, mark: Mark) -> None:
        super().__init__(
            f"the database is incomplete: copying from {mark.source} has not finished; run the "
            "same `migrate-db` or `restore` again to continue, or with --replace to start over"
        )


class MovedError(StoreError):
    """The database was moved to another one."""

    def __init__(self, moved: Moved) -> None:
        super().__init__(
            f"the database was moved to {moved.to}: set database.url to that one; or, to go on "
            "using this one as it was then, run `matrix-webchat migrate-db --take-back`"
        )


async def unfinished(engine: Engine) -> Mark | None:
    """Return the mark of a database that is being filled, or None; it must have a schema."""
    found = await engine.read(Query(_MARK, (UNFINISHED,)))
    return msgspec.json.decode(found[0][0], type=Mark) if found else None


async def moved_to(engine: Engine) -> Moved | None:
    """Return the mark of a database that was moved, or None; UnfinishedError if partly filled."""
    if mark := await unfinished(engine):
        raise UnfinishedError(mark)
    found = await engine.read(Query(_MARK, (MOVED,)))
    return msgspec.json.decode(found[0][0], type=Moved) if found else None


async def current_version(engine: Engine) -> int:
    """Return the database's schema version; 0 if it has no schema."""
    ((versioned,),) = await engine.read(Query(_VERSIONED))
    if not versioned:
        return 0
    ((version,),) = await engine.read(Query(_VERSION))
    return int(version or 0)


async def pending(engine: Engine, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """Return the migrations that `migrate` would apply.

    Raises NewerSchemaError, UnfinishedError, MovedError; StoreError if PostgreSQL forbids them.
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
    """Bring the schema up to date and return the migrations applied; `now` is recorded with them.

    Raises as `pending` does; AlreadyInUse if bridges of an earlier version are at work; StoreError
    if a migration failed: it is rolled back, those before it stay applied.
    """
    applied, loop = [], asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    for migration in await pending(engine, migrations):
        while True:
            try:
                await engine.migrate([*FIRST, *steps(migration, now)])
            except StoreError as error:
                # Another process may have applied it first.
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
"""First queries of a transaction that migrates."""


def steps(migration: Migration, now: int) -> list[Query]:
    """Return the queries of a migration, and of its record in `schema_version`."""
    texts = _statements(migration.script)
    record = Query(_RECORD, (migration.number, migration.name, now))
    return [record, *(Query(Statement(text, text)) for text in texts)]


def _statements(script: str) -> list[str]:
    """Split a script at semicolons that end a line, without comments."""
    kept = [line for line in script.splitlines() if not line.lstrip().startswith("--")]
    parts = "\n".join(kept).split(";\n")
    return [part.strip().removesuffix(";") for part in parts if part.strip()]
