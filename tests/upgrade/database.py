"""Dump a database of schema 6 to text, and load it into either engine.

The file has JSON lines: first the state of the peers (`life.Memory`, `peers.Killed`), then one line
per row: `{"table": …, column: value, …}`. Bytes are stored as text; sequence numbers are kept.
"""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import msgspec

from tests.unit.storage.contents import made_at

STORED = Path(__file__).parent / "stored"
SCHEMA = 6
TABLES = ("rooms", "inbox", "outbox", "anchors", "ghosts", "accounts", "facts", "chats")
NUMBERED = ("inbox", "outbox")
BYTES = frozenset({"record", "body", "effect", "chat"})
BOOLEANS = frozenset({"live", "repeat", "device"})
_SINCE = {
    ("secrets", ""): 2,
    ("rooms", "revision"): 3,
    ("chats", ""): 4,
    ("ghosts", "avatar_hash"): 5,
    ("ghosts", "avatar_at"): 5,
    ("accounts", "cookies"): 6,
}
"""The schema version that introduced a table or column."""
_DAY = 86_400_000
Row = dict[str, Any]
Memory = TypeVar("Memory")


def dump(database: Path, memory: msgspec.Struct) -> str:
    """Return all rows of a SQLite file as text."""
    lines = [msgspec.json.encode(memory).decode()]
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        for table in TABLES:
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY rowid"):  # noqa: S608
                values = {
                    name: value.decode() if isinstance(value, bytes) else value
                    for name, value in dict(row).items()
                    if value is not None
                }
                lines.append(json.dumps({"table": table, **values}, ensure_ascii=False))
    return "\n".join(lines) + "\n"


def read(name: str, kind: type[Memory], now: int | None = None) -> tuple[Memory, list[Row]]:
    """Return the peers' state (a `kind`) and the rows of a stored database.

    `now` (ms) shifts all its times to that moment, for a process that uses the real clock.
    """
    text = (STORED / f"{name}.jsonl").read_text(encoding="utf-8")
    then = json.loads(text.splitlines()[0])["now"]
    first, *rows = _moved(text, then, then if now is None else now).splitlines()
    return msgspec.json.decode(first, type=kind), [json.loads(row) for row in rows]


def _moved(text: str, then: int, now: int) -> str:
    """Shift every time within a day of `then`, decimal or (in transaction ids) hexadecimal."""

    def move(found: re.Match[str], base: int, form: str) -> str:
        moment = int(found[0], base)
        return f"{moment + now - then:{form}}" if abs(moment - then) < _DAY else found[0]

    text = re.sub(r"\b[0-9]{13}\b", lambda found: move(found, 10, "d"), text)
    return re.sub(r"(?<=\.)[0-9a-f]{11}(?=\.)", lambda found: move(found, 16, "x"), text)


async def restore(url: str, rows: list[Row], schema: int = SCHEMA) -> None:
    """Fill a new database: migrations up to schema 6, then the rows.

    For an earlier schema, tables and columns introduced later are left out; to a later one, the
    database is migrated.
    """
    await made_at(url, min(schema, SCHEMA))
    rows = [
        {
            name: value
            for name, value in row.items()
            if _SINCE.get((row["table"], name), 1) <= schema
        }
        for row in rows
        if _SINCE.get((row["table"], ""), 1) <= schema
    ]
    await _filled(url, rows)
    await made_at(url, schema)


async def _filled(url: str, rows: list[Row]) -> None:
    if url.startswith("sqlite"):
        _into_sqlite(url.removeprefix("sqlite:///"), rows)
    else:
        await _into_postgres(url, rows)


def _into_sqlite(path: str, rows: list[Row]) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for row in rows:
            statement, values = _insert(row, "?")
            connection.execute(statement, values)


async def _into_postgres(url: str, rows: list[Row]) -> None:
    connection = await asyncpg.connect(url)
    try:
        for row in rows:
            statement, values = _insert(row, "$", " OVERRIDING SYSTEM VALUE")
            typed = [
                bool(value) if name in BOOLEANS else value
                for name, value in zip(_columns(row), values, strict=True)
            ]
            await connection.execute(statement, *typed)
        for table in NUMBERED:
            last = max((row["seq"] for row in rows if row["table"] == table), default=0)
            await connection.execute(f"ALTER TABLE {table} ALTER seq RESTART WITH {last + 1}")
    finally:
        await connection.close()


def _columns(row: Row) -> list[str]:
    return [name for name in row if name != "table"]


def _insert(row: Row, mark: str, how: str = "") -> tuple[str, list[object]]:
    columns = _columns(row)
    if mark == "?":
        marks = ", ".join("?" for _ in columns)
    else:
        marks = ", ".join(f"${number}" for number, _ in enumerate(columns, 1))
    values = [row[name].encode() if name in BYTES else row[name] for name in columns]
    statement = f"INSERT INTO {row['table']} ({', '.join(columns)}){how} VALUES ({marks})"  # noqa: S608
    return statement, values
