"""Writes to PostgreSQL per message: statements, commits, rows and bytes of its WAL.

Statements are counted in the server's log (`log_statement`), so they equal the round trips of a
driver that waits for every answer, as asyncpg does. Rows are from the server's statistics, to which
a connection reports ten seconds after its last statement. Logging slows a run down, so its CPU is
not used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tests.bench.columns import COLUMNS, measure
from tests.bench.subjects import bridge
from tests.support.postgres import PostgresServer

WAYS = ("in1", "in10", "in100", "out")
MESSAGES = 500
HANDED_IN = 11.0
"""Seconds until the statistics are complete."""
_STATEMENTS = (b"LOG:  execute ", b"LOG:  statement: ")
_COUNTS = """
SELECT 'commits', xact_commit FROM pg_stat_database WHERE datname = current_database()
UNION ALL SELECT 'log bytes', pg_current_wal_lsn() - '0/0'
UNION ALL SELECT 'inserts ' || relname, n_tup_ins FROM pg_stat_user_tables
UNION ALL SELECT 'updates ' || relname, n_tup_upd FROM pg_stat_user_tables
UNION ALL SELECT 'deletes ' || relname, n_tup_del FROM pg_stat_user_tables
"""


class Written(msgspec.Struct, frozen=True):
    """Writes per message of a column.

    Attributes:
        rows: by kind and table, such as `inserts inbox`, without values below 0.01.
        log_bytes: bytes of the server's write-ahead log.
    """

    statements: float
    commits: float
    log_bytes: float
    rows: dict[str, float]


async def count(
    server: PostgresServer, folder: Path, checkout: Path, rooms: int, say: Callable[[str], None]
) -> dict[str, Written]:
    """Measure the writes of each column in `WAYS`."""
    url = server.new_database()
    name = urlsplit(url).path.strip("/")
    server.sql(f"ALTER DATABASE {name} SET log_statement = 'all'")
    found: dict[str, Written] = {}
    async with bridge(rooms, folder, url, checkout) as subject:
        await measure(subject, replace(COLUMNS["in10"], messages=500), "warm", rooms, None)
        before = await _counts(server, name)
        for key in WAYS:
            column = replace(COLUMNS[key], messages=MESSAGES)
            await measure(subject, column, key, rooms, None)
            after = await _counts(server, name)
            each = {kind: (after[kind] - before.get(kind, 0)) / MESSAGES for kind in after}
            before = after
            found[key] = Written(
                each.pop("statements"),
                each.pop("commits"),
                each.pop("log bytes"),
                {kind: round(value, 3) for kind, value in each.items() if value >= 0.01},
            )
            say(f"{column.title}: {found[key]}")
    return found


async def _counts(server: PostgresServer, database: str) -> dict[str, float]:
    await asyncio.sleep(HANDED_IN)
    log = await asyncio.to_thread((server.directory / "log").read_bytes)
    lines = server.sql(_COUNTS, database).splitlines()
    counts = {kind: float(value) for kind, _, value in (line.partition("|") for line in lines)}
    # Without the statements of this query itself.
    own = log.count(b"LOG:  statement: \nSELECT 'commits'")
    counts["statements"] = sum(log.count(mark) for mark in _STATEMENTS) - own
    return counts
