"""What live sessions cost a bridge: memory, CPU while nothing is said, and a message among many.

One process grows from no room to thousands; at each size it is looked at. Each room is in a chat,
with its record, its socket and a text each way. "Idle" is measured once the work that follows the
opening of rooms is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from tests.bench.columns import COLUMNS, measure
from tests.bench.stubs import StubWebChat, wording
from tests.bench.subjects import Subject, open_chats

STEPS = ((100, 1_000), (5_000,))
"""Sizes of each process; after the last of them its call centre goes away (`storms`)."""
QUICK = ((50, 100),)
GROUP = 50
"""Rooms that are opened at once."""
CALM = 40.0
"""Seconds after the opening until nothing is left to do; a tenth for less than 1,000 rooms."""
IDLE = 10.0
TURNS = 2
"""Texts of each room in a measurement."""


class Size(msgspec.Struct, frozen=True):
    """A bridge with so many live sessions.

    Attributes:
        kib: KiB of memory a session, over the same process without rooms.
        opening: ms of CPU that a room took from its invitation to its agent's first text.
        idle: share of a core, in percent, while nothing is said.
        cpu: µs a customer's message, ten in a transaction, all rooms by turns.
        memory: MiB of the whole process (RSS), while nothing is said.
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
    """Look at a bridge, which has no room yet, at several sizes."""
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
        figure = await measure(subject, column, f"among{rooms}", rooms, None)
        kib = (memory - empty) / rooms
        found.append(Size(rooms, kib, opening, idle, figure.cpu, memory / 1024))
        say(
            f"{rooms} live: {kib:.1f} KiB each, {memory / 1024:.0f} MiB, {opening:.1f} ms to open, "
            f"{idle:.1f} % idle, {figure.cpu:.0f} µs a message"
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
