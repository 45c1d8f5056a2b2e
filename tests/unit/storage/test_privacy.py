"""docs/privacy.md has a line for every column of the database, on both engines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge.storage.query import Query, Statement
from tests.unit.storage.conftest import SqlOpener

PAGE = Path(__file__).parents[3] / "docs" / "privacy.md"
COLUMNS = Statement(
    "SELECT m.name, c.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c "
    "WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'",
    "SELECT table_name::text, column_name::text FROM information_schema.columns "
    "JOIN information_schema.tables USING (table_schema, table_name) "
    "WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'",
)


@pytest.mark.asyncio
async def test_every_column_is_in_the_data_map(open_sql: SqlOpener) -> None:
    async with open_sql() as store:
        rows = await store._engine.read(Query(COLUMNS))
    there, tables = {f"{table}.{column}" for table, column in rows}, {table for table, _ in rows}
    data_map = PAGE.read_text("utf-8").partition("## Where everything lies")[2]
    mapped = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", data_map))
    assert "journal.effect" in there
    assert there - mapped == set()
    assert {one for one in mapped - there if one.partition(".")[0] in tables} == set()
