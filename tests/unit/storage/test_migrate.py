"""Schema upgrades on both engines."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from bridge.rooms.store import StoreError
from bridge.storage.migrate import (
    SCHEMA_VERSION,
    ForeignSchemaError,
    Migration,
    NewerSchemaError,
    PartialError,
    current_version,
    known,
    migrate,
)
from bridge.storage.query import Dialect, Engine, Query, Statement, same
from bridge.storage.sqlstore import engine_for, missing_file, open_store, pending_migrations
from tests.support.postgres import PostgresServer
from tests.unit.storage.conftest import FixedClock

CLOCK = FixedClock()


def test_the_version_is_that_of_the_last_file() -> None:
    for url in ("sqlite:///x.db", "postgres://h/d"):
        found = known(engine_for(url, CLOCK).dialect)
        assert [migration.number for migration in found] == list(range(1, SCHEMA_VERSION + 1))


def test_a_script_is_in_the_words_of_its_engine() -> None:
    """A statement for one engine is left out on the other; types are each engine's own."""
    theirs = {
        Dialect.SQLITE: ("BYTEA", "BIGINT", "BOOLEAN", "IDENTITY", "OVERRIDING", "::", "setval"),
        Dialect.POSTGRES: ("BLOB", "AUTOINCREMENT", "sqlite_sequence", "json_extract"),
    }
    for dialect, foreign in theirs.items():
        lines = [line for one in known(dialect) for line in one.script.splitlines()]
        bare = [line for line in lines if not line.startswith("--")]
        assert [line for line in bare if any(word in line for word in foreign)] == []
        marks = {line for line in lines if line.startswith("-- ") and line.endswith(" only")}
        assert marks == {f"-- {dialect} only"}


@pytest.mark.asyncio
async def test_pending_migrations_are_listed_without_a_write(url: str) -> None:
    found = await pending_migrations(url, CLOCK)
    assert [migration.number for migration in found] == list(range(1, SCHEMA_VERSION + 1))
    assert found[0].name == "initial"
    assert (missing_file(url) is None) is url.startswith("postgres")
    assert await pending_migrations(url, CLOCK) == found
    async with open_store(url, CLOCK):
        pass
    assert missing_file(url) is None
    assert await pending_migrations(url, CLOCK) == []


@pytest.mark.asyncio
async def test_role_without_rights_is_refused_before_anything_is_tried(
    postgres_server: PostgresServer,
) -> None:
    postgres_server.sql("CREATE ROLE weak LOGIN")
    url = postgres_server.new_schema().replace("postgres@", "weak@")
    with pytest.raises(StoreError, match=r"no schema of the search_path can be used \(3F000\)"):
        await pending_migrations(url, CLOCK)
    postgres_server.sql(f"GRANT USAGE ON SCHEMA {url.rpartition('=')[2]} TO weak")
    with pytest.raises(StoreError, match=r"may not create tables in this database \(42501\)"):
        await pending_migrations(url, CLOCK)
    with pytest.raises(StoreError, match=r"may not create tables in this database \(42501\)"):
        async with open_store(url, CLOCK):
            pytest.fail("opened")


@pytest.mark.asyncio
async def test_standby_as_the_only_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(*_: object, **__: object) -> None:
        raise asyncpg.TargetServerAttributeNotMatched("None of the hosts match")

    monkeypatch.setattr(asyncpg, "connect", connect)
    with pytest.raises(StoreError, match=r"this server accepts no writes \(25006\)$"):
        async with open_store("postgres://nobody@127.0.0.1:1/none", CLOCK):
            pytest.fail("opened")


@pytest.mark.asyncio
async def test_a_newer_schema_is_refused_untouched(url: str) -> None:
    async with open_store(url, CLOCK) as store:
        engine = store._engine
        future = "INSERT INTO schema_version (version, name, applied) VALUES (99, 'future', 0)"
        await engine.migrate([Query(same(future))])
    with pytest.raises(NewerSchemaError, match=rf"has schema 99, .* up to {SCHEMA_VERSION}:"):
        async with open_store(url, CLOCK):
            pytest.fail("opened")
    with pytest.raises(NewerSchemaError):
        await pending_migrations(url, CLOCK)


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [5, 92])
async def test_a_database_of_another_program_is_refused(url: str, version: int) -> None:
    """Synapse's has a table of versions too."""
    engine = engine_for(url, CLOCK)
    await engine.open()
    try:
        await engine.migrate(
            [
                Query(same("CREATE TABLE schema_version (lock CHAR(1), version INTEGER)")),
                Query(same("INSERT INTO schema_version VALUES ('X', $1)"), (version,)),
            ]
        )
    finally:
        await engine.close()
    with pytest.raises(ForeignSchemaError, match="the schema of another program"):
        await pending_migrations(url, CLOCK)
    with pytest.raises(ForeignSchemaError):
        async with open_store(url, CLOCK):
            pytest.fail("opened")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "lost",
    [
        same("DELETE FROM schema_version"),
        Statement(
            sqlite="DROP TABLE schema_version",
            postgres="ALTER TABLE accounts DROP CONSTRAINT accounts_pkey",
        ),
    ],
)
async def test_a_dump_restored_in_part_is_refused(url: str, lost: Statement) -> None:
    """Dumps create all tables first, then fill them by name, and those of PostgreSQL add the keys
    last.
    """
    async with open_store(url, CLOCK) as store:
        await store._engine.migrate([Query(lost)])
    with pytest.raises(PartialError, match="has a table accounts without its key"):
        await pending_migrations(url, CLOCK)
    with pytest.raises(PartialError, match="restore the whole dump"):
        async with open_store(url, CLOCK):
            pytest.fail("opened")


@pytest.mark.asyncio
async def test_a_migration_that_fails_half_way_leaves_nothing(url: str) -> None:
    engine = engine_for(url, CLOCK)
    await engine.open()
    try:
        first, second = SCHEMA_VERSION + 1, SCHEMA_VERSION + 2
        good = "CREATE TABLE good (x BIGINT);\nINSERT INTO good VALUES (1);\n"
        half = "CREATE TABLE half (x BIGINT);\n"
        steps = [
            *known(engine.dialect),
            Migration(first, "good", good),
            Migration(second, "bad", half + "DROP TABLE nowhere;\n"),
        ]
        with pytest.raises(StoreError):
            await migrate(engine, 1, steps)
        assert await current_version(engine) == first
        assert tuple((await engine.read(Query(same("SELECT x FROM good"))))[0]) == (1,)
        with pytest.raises(StoreError):
            await engine.read(Query(same("SELECT x FROM half")))
        steps[-1] = Migration(second, "mended", "-- a comment;\n" + half)
        assert await migrate(engine, 2, steps) == steps[-1:]
        assert await current_version(engine) == second
        assert await migrate(engine, 3, steps) == []
    finally:
        await engine.close()


@pytest.mark.asyncio
async def test_concurrent_starts_migrate_once(url: str) -> None:
    engines: list[Engine] = [engine_for(url, CLOCK) for _ in range(2)]
    for engine in engines:
        await engine.open()
    try:
        applied = await asyncio.gather(*(migrate(engine, 1) for engine in engines))
        # Each migration by one of the two, whichever came first.
        assert sorted(applied[0] + applied[1]) == known(engines[0].dialect)
    finally:
        for engine in engines:
            await engine.close()
