"""CPU per message of the storage: accept, then commit_step with one effect, then settle.

Run it as a program: `python -m tests.bench.bench_storage [messages]`. The CPU is that of this
process, all threads (PostgreSQL's own is shown apart); rates depend on the disk. It runs on uvloop,
as the bridge does, and PostgreSQL with fsync on.
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

from bridge.ids import RoomId
from bridge.rooms.store import (
    Lane,
    NewInput,
    NewEffect,
    Outcome,
    Settlement,
    Step,
    StoredRoom,
)
from bridge.storage.open import open_store
from bridge.storage.store import SqlStore
from tests.support.postgres import PostgresServer

BODY = b"x" * 400
RECORD = b"r" * 600
CALLS = 3


class WallClock:
    def now(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def room_of(caller: int) -> RoomId:
    return RoomId(f"!{caller}:example.org")


async def revisions(store: SqlStore, callers: int) -> list[int]:
    rooms = [await store.room(room_of(caller)) for caller in range(callers)]
    return [0 if room is None else room.revision for room in rooms]


async def carry(store: SqlStore, caller: int, messages: int, run: str, revision: int) -> None:
    """One room's work, as its actor and lane would do it."""
    room_id = room_of(caller)
    for number in range(messages):
        key = f"${run}-{caller}-{number}"
        (row,) = await store.accept([NewInput(room_id, BODY, key)], 1)
        step = Step(
            StoredRoom(
                room_id,
                RECORD,
                live=True,
                phase="Chatting",
                deadline=number,
                revision=revision + number,
            ),
            [row.seq],
            [NewEffect(Lane.WEBCHAT, BODY, cause=key, call_id=number)],
            2,
        )
        (effect,) = await store.commit_step(step)
        await store.settle(
            Settlement(effect.seq, Outcome.DELIVERED, 3, inputs=[NewInput(room_id, BODY)])
        )


def cpu_of(postmaster: int | None) -> float:
    """Seconds of CPU that a PostgreSQL's processes have used; 0 without one or without /proc."""
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
        await carry(store, 0, 50, "warm", 0)
        for callers in (1, 10, 100):
            each = max(1, messages // callers)
            at = await revisions(store, callers)
            groups, cpu, theirs = store.groups, time.process_time(), cpu_of(postmaster)
            started = time.perf_counter()
            await asyncio.gather(
                *(carry(store, n, each, str(callers), at[n]) for n in range(callers))
            )
            took = time.perf_counter() - started
            count = each * callers
            table.add_row(
                name,
                str(callers),
                f"{(time.process_time() - cpu) / count * 1e6:.0f}",
                f"{(cpu_of(postmaster) - theirs) / count * 1e6:.0f}" if postmaster else "-",
                f"{count / took:.0f}",
                f"{count * CALLS / (store.groups - groups):.1f}",
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
    table = Table("database", "rooms at once", "CPU µs", "PostgreSQL's µs", "messages/s", "a group")
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/bridge.db"
        uvloop.run(measure(url, messages, None, table, "SQLite"))
    with running_postgres() as server:
        url = server.new_database()
        uvloop.run(measure(url, messages, server.postmaster(), table, "PostgreSQL"))
    Console().print(table)


if __name__ == "__main__":
    main()
