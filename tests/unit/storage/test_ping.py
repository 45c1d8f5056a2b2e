"""A ping also detects a database that answers, but accepts no writes."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bridge.ids import RoomId
from bridge.rooms.store import NewInput
from bridge.storage import sqlstore
from bridge.storage.query import Query, Statement, Unreachable
from bridge.storage.sqlstore import SqlStore, open_store
from tests.fakes.flow import accept, open_inputs
from tests.support.postgres import PostgresServer
from tests.unit.storage.conftest import FixedClock, SqlOpener

A = RoomId("!a:example.org")
CLOCK = FixedClock()
_WRITTEN = Statement(
    "SELECT value FROM facts WHERE name = 'ping'", "SELECT max(token) FROM writers"
)


def said(key: str) -> NewInput:
    return NewInput(A, b"{}", key)


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.asyncio
async def test_a_ping_writes_anew_each_time(open_sql: SqlOpener) -> None:
    """A database that only answers reads is as good as away."""
    async with open_sql() as store:
        found: list[object] = []
        for _ in range(3):
            await store.ping()
            found += await store._engine.read(Query(_WRITTEN))
        assert len(set(map(str, found))) == 3
        assert await store.busy_rooms() == []


@pytest.mark.asyncio
async def test_a_ping_notices_a_full_disk(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/bridge.db", CLOCK) as store:
        await store.ping()
        with full_disk((tmp_path / "bridge.db-wal").stat().st_size):
            with pytest.raises(Unreachable):
                await accept(store, [said("$1")], 1)
            with pytest.raises(Unreachable):
                await store.ping()
            assert await open_inputs(store, A) == []
        await store.ping()
        await accept(store, [said("$1")], 1)


async def soon(store: SqlStore) -> None:
    """Ping until it succeeds."""
    async with asyncio.timeout(60):
        while True:
            with suppress(Unreachable):
                return await store.ping()
            await asyncio.sleep(0.05)


_FULL = """
CREATE FUNCTION no_page() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END$$;
CREATE TRIGGER full_disk BEFORE INSERT ON journal EXECUTE FUNCTION no_page()
"""


@pytest.mark.asyncio
async def test_a_ping_notices_a_full_disk_on_which_its_own_write_finds_room(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of PostgreSQL's is written into a page that has room, as the ping's mostly has."""
    url = postgres_server.new_schema()
    monkeypatch.setattr(sqlstore, "FULL_SECONDS", 2.0)
    schema = f"SET search_path TO {url.rpartition('=')[2]};"
    async with open_store(url, CLOCK) as store:
        await store.ping()
        postgres_server.sql(schema + _FULL)
        await store.ping()
        with pytest.raises(Unreachable):
            await accept(store, [said("$1")], 1)
        with pytest.raises(Unreachable, match=r"disk full \(53100\)"):
            await store.ping()
        postgres_server.sql(schema + "DROP TRIGGER full_disk ON journal")
        await soon(store)


@pytest.mark.asyncio
@pytest.mark.parametrize("replaced", [False, True])
async def test_database_file_that_was_moved_away_is_not_written_to(
    tmp_path: Path, replaced: bool
) -> None:
    """Later writes to it would be gone with the next start."""
    path, elsewhere = tmp_path / "bridge.db", tmp_path / "moved.db"
    async with open_store(f"sqlite:///{path}", CLOCK) as store:
        await accept(store, [said("$1")], 1)
        path.rename(elsewhere)
        if replaced:
            path.touch()
        with pytest.raises(Unreachable, match=r"bridge\.db"):
            await accept(store, [said("$2")], 1)
        with pytest.raises(Unreachable):
            await store.ping()
        elsewhere.rename(path)
        await store.ping()
        await accept(store, [said("$3")], 1)
        assert [row.key for row in await open_inputs(store, A)] == ["$1", "$3"]


@pytest.mark.asyncio
async def test_a_deleted_log_is_written_into_the_file(tmp_path: Path) -> None:
    """Without its name, a crash would lose what is in it, and a command destroy the database."""
    path, copy = tmp_path / "bridge.db", tmp_path / "after_a_crash.db"
    async with open_store(f"sqlite:///{path}", CLOCK) as store:
        await accept(store, [said("$1")], 1)
        for name in ("bridge.db-wal", "bridge.db-shm"):
            (tmp_path / name).unlink()
        await store.ping()
        copy.write_bytes(path.read_bytes())
        async with open_store(f"sqlite:///{path}", CLOCK) as command:
            await accept(command, [said("$2")], 1)
        await accept(store, [said("$3")], 1)
        assert [row.key for row in await open_inputs(store, A)] == ["$1", "$2", "$3"]
    async with open_store(f"sqlite:///{copy}", CLOCK) as store:
        assert [row.key for row in await open_inputs(store, A)] == ["$1"]
