"""The catalogue of both engines, at every schema that there was."""

from __future__ import annotations

import pytest

from bridge.storage.migrate import SCHEMA_VERSION, catalogue, current_version, dropping
from bridge.storage.query import Engine
from bridge.storage.sqlstore import engine_for
from tests.unit.storage.conftest import FixedClock, NewUrl
from tests.unit.storage.contents import columns_of, made_at

pytestmark = pytest.mark.asyncio


async def opened(url: str) -> Engine:
    engine = engine_for(url, FixedClock())
    await engine.open()
    return engine


@pytest.mark.parametrize("schema", range(1, SCHEMA_VERSION + 1))
async def test_both_engines_have_the_same_tables(new_url: NewUrl, schema: int) -> None:
    """A new migration whose tables cannot be moved fails here."""
    shapes = []
    for url in (new_url("sqlite"), new_url("postgres")):
        await made_at(url, schema)
        engine = await opened(url)
        try:
            tables = await catalogue(engine)
        finally:
            await engine.close()
        there = await columns_of(url)
        assert {table.name: len(table.columns) for table in tables} == {
            name: len(columns) for name, columns in there.items()
        }
        assert all(table.key for table in tables)
        shapes.append([table.shape for table in tables])
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("schema", [1, SCHEMA_VERSION])
async def test_dropping_removes_all_tables(url: str, schema: int) -> None:
    await made_at(url, schema)
    engine = await opened(url)
    try:
        await engine.migrate(dropping(engine.dialect))
        assert await current_version(engine) == 0
    finally:
        await engine.close()
    assert await columns_of(url) == {}
