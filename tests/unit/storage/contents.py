"""Reading and writing all rows of a database by its driver, without the bridge's store."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import asyncpg

from bridge.ids import RoomId
from bridge.rooms.store import Commit, Entry, Lane, NewEffect, NewInput, StoredRoom
from bridge.storage.migrate import known, migrate
from bridge.storage.sqlstore import engine_for, open_store
from bridge.storage.transfer import Compared
from tests.fakes.flow import every
from tests.unit.storage.conftest import FixedClock

LOCAL = {"schema_version", "writers", "replicas"}
MARKS = ("moved", "transfer")


class Silent:
    """Progress that is only recorded; tests derive classes that interfere.

    Attributes:
        stages: stages that were begun.
        pages: number of reports, of copying and of comparing.
    """

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.pages = 0

    def begins(self, what: str, rows: int) -> None:
        self.stages.append(what)

    def advances(self, rows: int) -> None:
        self.pages += 1


async def run(url: str, statement: str, *params: object) -> list[tuple[Any, ...]]:
    """Run a statement by the driver; its placeholders are `?1` or `$1`."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            return connection.execute(statement.replace("$", "?"), params).fetchall()
    made = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await made.fetch(statement, *params)]
    finally:
        await made.close()


async def columns_of(url: str) -> dict[str, list[tuple[str, str, bool]]]:
    """Return the columns of each copied table: name, type, and whether NULL is allowed."""
    if url.startswith("sqlite"):
        asked = (
            'SELECT m.name, c.name, c.type, c."notnull" = 0 AND c.pk = 0 FROM sqlite_master AS m, '
            "pragma_table_info(m.name) AS c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'"
        )
    else:
        asked = (
            "SELECT table_name::text, column_name::text, data_type::text, is_nullable = 'YES' "
            "FROM information_schema.columns JOIN information_schema.tables "
            "USING (table_schema, table_name) "
            "WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'"
        )
    found: dict[str, list[tuple[str, str, bool]]] = {}
    for table, name, kind, nullable in await run(url, asked):
        if table not in LOCAL:
            found.setdefault(table, []).append((name, kind.lower(), bool(nullable)))
    return {table: sorted(columns) for table, columns in sorted(found.items())}


async def contents(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all copied tables with SQLite's values, sorted."""
    rows = {}
    for table, columns in (await columns_of(url)).items():
        names = ", ".join(sorted(name for name, _, _ in columns))
        found = await run(url, f"SELECT {names} FROM {table}")  # noqa: S608
        alike = [
            tuple(int(one) if isinstance(one, bool) else one for one in row)
            for row in found
            if not (table == "facts" and row[0] in MARKS)
        ]
        rows[table] = sorted(alike, key=repr)
    return rows


async def made_at(url: str, schema: int) -> None:
    """Create the tables of a schema version, or upgrade to it."""
    engine = engine_for(url, FixedClock())
    await engine.open()
    try:
        await migrate(engine, 1, known(engine.dialect)[:schema])
    finally:
        await engine.close()


async def put(url: str, table: str, rows: Sequence[dict[str, object]]) -> None:
    """Insert rows, all of the same columns, by the driver."""
    if not rows:
        return
    kinds = {name: kind for name, kind, _ in (await columns_of(url))[table]}
    values = [
        tuple(
            bool(row[name]) if kinds[name] == "boolean" and row[name] is not None else row[name]
            for name in rows[0]
        )
        for row in rows
    ]
    into = f"INSERT INTO {table} ({', '.join(rows[0])})"
    marks = ", ".join(f"${number}" for number, _ in enumerate(rows[0], 1))
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            connection.executemany(f"{into} VALUES ({marks.replace('$', '?')})", values)
        return
    made = await asyncpg.connect(url)
    try:
        await made.executemany(f"{into} OVERRIDING SYSTEM VALUE VALUES ({marks})", values)
    finally:
        await made.close()


async def fill(url: str, rooms: int, each: int) -> None:
    """Store rooms with a running chat and journal rows, as the bridge writes them."""
    async with open_store(url, FixedClock(), sole=True) as store:
        for number in range(rooms):
            room = RoomId(f"!{number}é:example.org")
            stored = StoredRoom(room, b'{"x":1}', live=True, phase="Chatting", customer="@a:b")
            entries = [
                Entry(
                    NewInput(room, f"words {row} 中".encode(), f"${number}-{row}"),
                    NewEffect(Lane.WEBCHAT, b"effect\0", call_id=row),
                )
                for row in range(each)
            ]
            await every(store, [Commit(room, 1_700_000_000_000, stored, entries)])
        await store.save_fact("learnt", "value")


def rows_in(compared: Sequence[Compared]) -> dict[str, int]:
    return {one.table: one.rows for one in compared if one.rows}
