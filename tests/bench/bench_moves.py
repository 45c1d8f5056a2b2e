"""Rows per second and memory of the commands `migrate-db`, `backup` and `restore`.

Run it as a program: `python -m tests.bench.bench_moves [rows] [--write]`. A database with `rows`
journal rows, and a tenth as many rooms and chats, is moved from SQLite to PostgreSQL (with fsync)
and back, and to and from a backup file. Seconds are of the whole command, with Python's start;
memory is the peak of its process, without PostgreSQL's. `--write` puts the table into
docs/operators.md.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
import time
from pathlib import Path

from bridge.ids import RoomId
from bridge.rooms.store import ChatRow, Commit, Entry, Lane, NewEffect, NewInput, StoredRoom
from bridge.rooms.surroundings import SystemClock
from bridge.storage.sqlstore import open_store
from tests.fakes.flow import every
from tests.support.postgres import PostgresServer
from tests.unit.config.configs import SMALLEST

PAGE = Path("docs/operators.md")
MARKS = "<!-- tests/bench/bench_moves.py -->"
EACH = 10
"""Journal rows per room."""


async def fill(url: str, rows: int) -> None:
    """Fill a database as chats do: about 700 bytes per message, 900 per room."""
    async with open_store(url, SystemClock()) as store:
        for first in range(0, rows // EACH, 100):
            commits = []
            for number in range(first, min(first + 100, rows // EACH)):
                room = RoomId(f"!room-{number}:example.org")
                entries = [
                    Entry(
                        NewInput(room, os.urandom(200).hex().encode(), f"${number}-{one}"),
                        NewEffect(Lane.WEBCHAT, os.urandom(150).hex().encode(), call_id=one),
                    )
                    for one in range(EACH)
                ]
                record = StoredRoom(room, os.urandom(450).hex().encode(), True, "Chatting", 1, "@c")
                chat = ChatRow(1, os.urandom(100).hex().encode())
                commits.append(Commit(room, 1, record, entries, chats=[chat]))
            await every(store, commits)


def timed(*line: str) -> tuple[float, float, int]:
    """Run a command; returns its seconds, seconds of CPU, and peak memory in bytes."""
    began = time.perf_counter()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "bridge", *line],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, used = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"{line[0]} ended with {os.waitstatus_to_exitcode(status)}")
    cpu = used.ru_utime + used.ru_stime
    return time.perf_counter() - began, cpu, used.ru_maxrss * 1024


def measured(folder: Path, server: PostgresServer, rows: int) -> list[str]:
    first, there, back = (f"sqlite:///{folder}/1.db", server.new_database(), server.new_database())
    config, file = folder / "config.yaml", folder / "bridge.backup"
    asyncio.run(fill(first, rows))
    total = rows + 2 * (rows // EACH)
    lines = []

    def run(what: str, url: str, *line: str) -> None:
        config.write_text(f'{SMALLEST}database: {{url: "{url}"}}\n', encoding="utf-8")
        seconds, cpu, memory = timed(*line, "-c", str(config))
        lines.append(
            f"| {what} | {seconds:.1f} s | {total / seconds:,.0f} | {cpu:.1f} s "
            f"| {memory / 2**20:.0f} MB |"
        )

    run("`migrate-db`, SQLite → PostgreSQL", first, "migrate-db", there)
    run("`migrate-db`, PostgreSQL → SQLite", there, "migrate-db", f"sqlite:///{folder}/2.db")
    run("`backup` of SQLite", f"sqlite:///{folder}/2.db", "backup", str(file))
    run("`restore` into PostgreSQL", back, "restore", str(file))
    file.unlink()
    run("`backup` of PostgreSQL", back, "backup", str(file))
    run("`restore` into SQLite", f"sqlite:///{folder}/3.db", "restore", str(file))
    size = (folder / "1.db").stat().st_size
    head = f"{rows:,} messages in {rows // EACH:,} rooms ({total:,} rows, {size / 2**20:.0f} MB"
    lines.insert(0, f"{head} as SQLite, {file.stat().st_size / 2**20:.0f} MB as a backup):\n")
    lines.insert(1, "| | time | rows a second | CPU | memory |\n| --- | --- | --- | --- | --- |")
    return lines


def main() -> None:
    numbers = [int(one) for one in sys.argv[1:] if one.isdigit()]
    server = PostgresServer(durable=True)
    try:
        server.start()
        with tempfile.TemporaryDirectory() as folder:
            table = "\n".join(measured(Path(folder), server, *(numbers or [100_000])))
    finally:
        server.remove()
    print(table)  # noqa: T201 - a program
    if "--write" in sys.argv:
        text = PAGE.read_text(encoding="utf-8")
        found = re.compile(f"{MARKS}\n.*?{MARKS}", re.DOTALL)
        PAGE.write_text(found.sub(lambda _: f"{MARKS}\n{table}\n{MARKS}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
