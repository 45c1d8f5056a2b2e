"""Schema upgrades: numbered files of plain SQL, each applied in one transaction of its own.

A file that fails half-way leaves the schema as it was before that file. A schema that a later
version of this program wrote is refused, before anything is touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

from bridge.rooms.store import StoreError
from bridge.storage.query import AlreadyInUse, Dialect, Engine, Query, Statement, same

SCHEMA_VERSION = 13
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
# Two processes that start at once: the second waits, then finds nothing left to do. SQLite needs
# no such lock, its transactions that write exclude one another. The number is ours, at random.
_LOCK = Statement(sqlite="SELECT 1", postgres="SELECT pg_advisory_xact_lock(719224653)")


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


async def current_version(engine: Engine) -> int:
    """The schema's version in the database; 0 when there is none yet."""
    ((versioned,),) = await engine.read(Query(_VERSIONED))
    if not versioned:
        return 0
    ((version,),) = await engine.read(Query(_VERSION))
    return int(version or 0)


async def pending(engine: Engine, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """The migrations that `migrate` would apply; raises NewerSchemaError."""
    if migrations is None:
        migrations = known(engine.dialect)
    version = await current_version(engine)
    newest = max((migration.number for migration in migrations), default=0)
    if version > newest:
        raise NewerSchemaError(version, newest)
    return [migration for migration in migrations if migration.number > version]


async def migrate(
    engine: Engine, now: int, migrations: Sequence[Migration] | None = None
) -> list[Migration]:
    """Bring the schema up to date; return what was applied. `now` is for the record.

    NewerSchemaError: the database is ahead of `migrations` (this program's own). AlreadyInUse:
    bridges of an earlier version are at work. StoreError: one failed; those before it stay, it left
    nothing behind.
    """
    applied, loop = [], asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    for migration in await pending(engine, migrations):
        record = Query(_RECORD, (migration.number, migration.name, now))
        texts = _statements(migration.script)
        steps = [Query(Statement(text, text)) for text in texts]
        while True:
            try:
                await engine.migrate([Query(_LOCK), Query(_CREATE_VERSIONS), record, *steps])
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


def _statements(script: str) -> list[str]:
    """Split a script where a line ends with a semicolon; comments go."""
    kept = [line for line in script.splitlines() if not line.lstrip().startswith("--")]
    parts = "\n".join(kept).split(";\n")
    return [part.strip().removesuffix(";") for part in parts if part.strip()]
