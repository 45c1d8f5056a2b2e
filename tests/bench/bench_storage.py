"""CPU per message of the storage: commits of 1 and of 100 rooms at once.

A message is a room's record, an input with its effect, and, in half of the lines, the outcome of
the previous effect. Run it as a program: `python -m tests.bench.bench_storage [messages]`. The CPU
is that of this process, all threads (PostgreSQL's is a column of its own); rates depend on the
disk. It runs on uvloop, as the bridge does, and PostgreSQL with fsync on.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from bridge.ids import EffectSeq, EventId, RoomId
from bridge.rooms.store import (
    Commit,
    Committed,
    Entry,
    Lane,
    NewEffect,
    NewInput,
    Outcome,
    Settlement,
    StoredRoom,
)
from bridge.storage.sqlstore import SqlStore, open_store
from tests.fakes.flow import every
from tests.support.postgres import PostgresServer

BODY = b"x" * 400
EFFECT = b"e" * 300
RECORD = b"r" * 900


class WallClock:
    def now(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Load:
    """Rooms that write a message each per commit."""

    def __init__(self, store: SqlStore, name: str, rooms: int, *, ending: bool) -> None:
        self._store = store
        self._rooms = [RoomId(f"!{name}-{number}:example.org") for number in range(rooms)]
        self._ending = ending
        self._open: list[EffectSeq] = []
        self._revision = 0

    async def go(self, times: int) -> None:
        for _ in range(times):
            answers = await every(self._store, [self._commit(n) for n in range(len(self._rooms))])
            self._open = []
            for answer in answers:
                assert isinstance(answer, Committed), answer
                self._open.append(answer.effects[0].seq)
            self._revision += 1

    def _commit(self, number: int) -> Commit:
        room, revision = self._rooms[number], self._revision
        key = f"${revision}-{room}"
        record = StoredRoom(room, RECORD, True, "Chatting", revision, "@c:example.org", revision)
        effect = NewEffect(Lane.WEBCHAT, EFFECT, key, revision, marked=True)
        settled = []
        if self._ending and self._open:
            event = EventId(f"$is-{revision}-{room}")
            settled = [Settlement(self._open[number], Outcome.DELIVERED, 3, event_id=event)]
        return Commit(room, 2, record, [Entry(NewInput(room, BODY, key), effect)], settled=settled)


def cpu_of(postmaster: int | None) -> float:
    """Return a PostgreSQL server's seconds of CPU so far; 0 without one or without /proc."""
    if postmaster is None or not Path("/proc/self/stat").exists():
        return 0.0
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(stat.parent.name) == postmaster or int(fields[1]) == postmaster:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / 100


async def measure(url: str, messages: int, postmaster: int | None, table: Table, name: str) -> None:
    async with open_store(url, WallClock()) as store:
        for rooms in (1, 100):
            for ending in (False, True):
                load = Load(store, f"{rooms}{ending}", rooms, ending=ending)
                await load.go(5)
                times = max(1, messages // rooms)
                cpu, theirs = time.process_time(), cpu_of(postmaster)
                started = time.perf_counter()
                await load.go(times)
                took = time.perf_counter() - started
                count = times * rooms
                table.add_row(
                    name,
                    str(rooms),
                    "yes" if ending else "no",
                    f"{(time.process_time() - cpu) / count * 1e6:.1f}",
                    f"{(cpu_of(postmaster) - theirs) / count * 1e6:.1f}" if postmaster else "-",
                    f"{count / took:.0f}",
                )


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    server = PostgresServer(durable=True)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def main() -> None:
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    table = Table("database", "rooms", "ends", "CPU µs", "PostgreSQL's µs", "messages/s")
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/bridge.db"
        uvloop.run(measure(url, messages, None, table, "SQLite"))
    with running_postgres() as server:
        url = server.new_database()
        uvloop.run(measure(url, messages, server.postmaster(), table, "PostgreSQL"))
    Console().print(table)


if __name__ == "__main__":
    main()
