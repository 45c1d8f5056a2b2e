"""Time to start the bridge with many rooms at rest, and the memory of such a room.

The database is filled before (`tests.support.filling`); rooms at rest have no chat, and their
records stay in the database.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.bench.stubs import StubHomeserver, StubWebChat
from tests.bench.subjects import bridge_program, client, process_cpu, process_memory, write_config
from tests.support.filling import fill
from tests.support.ports import free_port

STEPS = (0, 100, 1_000, 5_000, 10_000)
QUICK = (0, 1_000)
TIMES = 3
"""Number of starts per size, for the medians."""
AFTER = 1.5
"""Seconds from ready to the measurement of memory."""


class Start(msgspec.Struct, frozen=True):
    """Measurement of one start.

    Attributes:
        rooms: number of rooms at rest in the database.
        ready: seconds from the start of the program until it reports ready.
        cpu: seconds of CPU until then.
        memory: MiB of the process (RSS), `AFTER` seconds later.
    """

    rooms: int
    ready: float
    cpu: float
    memory: float


async def starts(
    folder: Path, database: str, rooms: int, times: int, say: Callable[[str], None]
) -> list[Start]:
    """Fill a new database with rooms, and start the bridge on it `times` times."""
    await fill(database, rooms, chatting=0)
    found = []
    homeserver, webchat = StubHomeserver(), StubWebChat()
    async with homeserver.running(), webchat.running(), client() as session:
        config = write_config(folder, homeserver.address, webchat.base_url, free_port(), database)
        for _ in range(times):
            began = time.monotonic()
            async with bridge_program(config, session) as (_, [pid]):
                ready, cpu = time.monotonic() - began, process_cpu(pid) / 1e6
                await asyncio.sleep(AFTER)
                found.append(Start(rooms, ready, cpu, process_memory(pid) / 1024))
                say(f"{rooms} rooms: ready in {ready:.2f} s, {found[-1].memory:.1f} MiB")
    return found
