"""What live sessions cost a bridge: memory, CPU while nothing is said, and a message among many.

One process grows from no room to thousands; at each size it is looked at. Each room is in a chat,
with its record, its socket and a text each way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from tests.bench.columns import COLUMNS, measure
from tests.bench.stubs import StubWebChat, wording
from tests.bench.subjects import Subject, open_chats, silent_bridge

STEPS = (1_000, 1_500, 2_600)
QUICK = (100, 150)
GROUP = 50
"""Rooms that are opened at once."""
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
    """

    rooms: int
    kib: float
    opening: float
    idle: float
    cpu: float


async def grow(
    folder: Path, database: str, checkout: Path, steps: tuple[int, ...], say: Callable[[str], None]
) -> list[Size]:
    """Look at a bridge at several sizes."""
    sizes: list[Size] = []
    async with silent_bridge(folder, database, checkout) as (subject, webchat):
        await asyncio.sleep(2)
        empty, rooms = subject.memory(), 0
        for number in steps:
            before = subject.cpu()
            await fill(subject, webchat, range(rooms, number))
            opening = (subject.cpu() - before) / (number - rooms) / 1000
            rooms = number
            await asyncio.sleep(2)
            kib = (subject.memory() - empty) / rooms
            idle = await _idle(subject)
            column = replace(COLUMNS["in10"], messages=rooms * TURNS)
            figure = await measure(subject, column, f"among{rooms}", rooms, None)
            size = Size(rooms, kib, opening, idle, figure.cpu)
            say(
                f"{rooms} live: {kib:.1f} KiB each, {opening:.1f} ms to open, {idle:.1f} % idle, "
                f"{figure.cpu:.0f} µs a message"
            )
            sizes.append(size)
    return sizes


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
