"""Upgrades from every schema to the present one, on both engines: in place, and by a backup.

The stored database has schema 6; `database.restore` converts it to an earlier or later one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bridge.rooms.store import StoreError
from bridge.storage.migrate import SCHEMA_VERSION
from bridge.storage.sqlstore import open_store
from bridge.storage.transfer import BackupFile, backup, move, restore
from tests.fakes.clock import ManualClock
from tests.unit.storage.conftest import FixedClock, NewUrl
from tests.unit.storage.contents import Silent
from tests.upgrade import database
from tests.upgrade.database import STORED, read
from tests.upgrade.life import Life, Memory, message, said

CLOCK = FixedClock()
pytestmark = pytest.mark.asyncio
every_schema = pytest.mark.parametrize("schema", range(1, SCHEMA_VERSION + 1))
either = pytest.mark.parametrize("engine", ["sqlite", "postgres"])


@asynccontextmanager
async def begun(url: str, name: str) -> AsyncIterator[Life]:
    memory, _ = read(name, Memory)
    async with open_store(url, ManualClock(), sole=True) as store:
        life = Life(store, memory)
        async with life.begin():
            yield life


async def goes_on(url: str) -> None:
    """Assert that pending work is done once and the chat continues (database `unattempted`)."""
    async with begun(url, "unattempted") as life:
        await life.rest()
        await life.take(message("$new", "and five"))
        await life.push("new", said("answer six"))
        assert life.heard() == [(5, "question three"), (6, "question four"), (7, "and five")]
        assert life.shown() == ["answer four", "answer five", "answer six"]
        assert not any(line.repeat for line in await life.store.trace(message("$q3", "")[1]))


@every_schema
@either
async def test_upgrade_in_place(new_url: NewUrl, engine: str, schema: int) -> None:
    url = new_url(engine)
    _, rows = read("unattempted", Memory)
    await database.restore(url, rows, schema)
    await goes_on(url)


@every_schema
@either
async def test_upgrade_by_backup_into_the_other_engine(
    new_url: NewUrl, tmp_path: Path, engine: str, schema: int
) -> None:
    """Restoring an old backup migrates it."""
    other = {"sqlite": "postgres", "postgres": "sqlite"}[engine]
    before, after, file = new_url(engine), new_url(other), tmp_path / "old.backup"
    _, rows = read("unattempted", Memory)
    await database.restore(before, rows, schema)
    await backup(before, file, CLOCK, Silent(), "0")
    assert BackupFile(file).header.schema == schema
    await restore(file, after, CLOCK, Silent())
    await goes_on(after)
    if schema < SCHEMA_VERSION:
        with pytest.raises(StoreError, match="`matrix-webchat migrate` first"):
            await move(before, new_url(other), CLOCK, Silent())


async def test_restore_of_a_backup_with_schema_10(url: str) -> None:
    """The file was made from `unattempted` by the first version with backups."""
    file = STORED / "schema_10.backup"
    await restore(file, url, CLOCK, Silent())
    await goes_on(url)
