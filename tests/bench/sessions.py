"""Cost of live sessions: memory, idle CPU, and CPU of a message among many sessions.

One process grows from no room to thousands and is measured at each size. Each room is in a chat,
with its record, its socket and a text each way. "Idle" is measured once the work that follows the
opening of rooms is done.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from tests.bench.columns import COLUMNS, measure
from tests.bench.stubs import StubWebChat, wording
from tests.bench.subjects import Subject, open_chats

STEPS = ((100, 1_000), (5_000,))
"""Numbers of rooms for each process; after the last one its call centre goes away (`storms`)."""
QUICK = ((50, 100),)
GROUP = 50
"""Number of rooms opened at once."""
CALM = 40.0
"""Seconds of follow-up work after the opening; a tenth for less than 1,000 rooms."""
IDLE = 10.0
TURNS, TIMES = 2, 3
"""Texts per room in a measurement; number of measurements, of which the median counts."""
RECEIPTS = 12.0
"""Seconds after which the read receipts of a measurement are out, so that none saves the next's."""


class Size(msgspec.Struct, frozen=True):
    """Measurement of a bridge with `rooms` live sessions.

    Attributes:
        kib: KiB of memory per session, above the same process without rooms.
        opening: ms of CPU per room from its invitation to its agent's first text.
        idle: percent of a core without messages.
        cpu: µs per customer's message, ten in a transaction, all rooms in turn.
        memory: MiB of the whole process (RSS) without messages.
    """

    rooms: int
    kib: float
    opening: float
    idle: float
    cpu: float
    memory: float = 0.0


async def grow(
    subject: Subject, webchat: StubWebChat, sizes: Sequence[int], say: Callable[[str], None]
) -> list[Size]:
    """Measure a bridge without rooms yet at several sizes."""
    found: list[Size] = []
    await asyncio.sleep(2)
    empty, rooms = subject.memory(), 0
    for number in sizes:
        before = subject.cpu()
        await fill(subject, webchat, range(rooms, number))
        opening = (subject.cpu() - before) / (number - rooms) / 1000
        rooms = number
        await asyncio.sleep(CALM if rooms >= 1_000 else CALM / 10)
        memory, idle = subject.memory(), await _idle(subject)
        column = replace(COLUMNS["in10"], messages=rooms * TURNS)
        costs: list[float] = []
        for time in range(TIMES):
            figure = await measure(subject, column, f"among{rooms}x{time}", rooms, None)
            costs.append(figure.cpu)
            await asyncio.sleep(RECEIPTS)
        cpu = statistics.median(costs)
        kib = (memory - empty) / rooms
        found.append(Size(rooms, kib, opening, idle, cpu, memory / 1024))
        say(
            f"{rooms} live: {kib:.1f} KiB each, {memory / 1024:.0f} MiB, {opening:.1f} ms to open, "
            f"{idle:.1f} % idle, {cpu:.0f} µs a message"
        )
    return found


async def fill(subject: Subject, webchat: StubWebChat, rooms: range) -> None:
    """Open a chat in each room, with a text each way."""
    for first in range(rooms.start, rooms.stop, GROUP):
        group = range(first, min(first + GROUP, rooms.stop))
        await open_chats(subject, webchat, group)
        for room in group:
            await subject.say(room, wording("hello", room))
        await subject.homeserver.shown.reach("hello", group.stop)


async def _idle(subject: Subject) -> float:
    before = subject.cpu()
    await asyncio.sleep(IDLE)
    return (subject.cpu() - before) / IDLE / 1e4
