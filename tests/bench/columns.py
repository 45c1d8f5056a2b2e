"""The columns of the bench, one kind of traffic each, and their measurement.

Saturated: transactions one after the other, as a homeserver sends them, or agents' texts as fast as
they are delivered, with a bounded number in transit. Paced: texts at random times (Poisson
arrivals), a hundred a second or half of the subject's saturated rate; customers' texts that come
during a transaction go together in the next one, as a homeserver does it.

The CPU is read a second after the last text has arrived, so it includes the work that follows
delivery (database marks, read receipts).
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from tests.bench.stubs import Ledger, wording
from tests.bench.subjects import Subject

SETTLING = 1.0
HALF_LASTS = 2.5
"""Duration of the half-rate columns in seconds."""
UNDER_WAY = 400
"""Maximum number of agents' texts in transit."""
LARGEST_TRANSACTION = 100
Way = Literal["in", "out"]


@dataclass(frozen=True)
class Column:
    """One kind of traffic.

    Attributes:
        batch: customers' texts per transaction; 0: not in batches.
        rate: texts per second; 0: as fast as they are delivered.
        half_of: the saturated column whose rate is halved; empty: none.
        messages: number in a measurement; of a half-rate column the maximum.
    """

    title: str
    way: Way
    messages: int
    batch: int = 0
    rate: float = 0
    half_of: str = ""

    @property
    def paced(self) -> bool:
        return bool(self.rate or self.half_of)

    def at_half(self, saturated: float) -> Column:
        """Return the column at half of a rate (messages per second), for `HALF_LASTS`."""
        rate = max(saturated / 2, 1.0)
        return replace(self, rate=rate, messages=min(self.messages, int(rate * HALF_LASTS) + 1))


COLUMNS = {
    "in1": Column("c→a, 1", "in", 1_500, batch=1),
    "in10": Column("c→a, 10", "in", 4_000, batch=10),
    "in100": Column("c→a, 100", "in", 8_000, batch=100),
    "out": Column("a→c", "out", 4_000),
    "in_paced": Column("c→a 100/s", "in", 500, rate=100),
    "out_paced": Column("a→c 100/s", "out", 500, rate=100),
    "in_half": Column("c→a, half", "in", 20_000, half_of="in10"),
    "out_half": Column("a→c, half", "out", 20_000, half_of="out"),
}
QUICK = 5
"""Factor by which quick measurements have fewer messages."""


class Figure(msgspec.Struct, frozen=True):
    """One measurement of one column.

    Attributes:
        cpu: µs per message of the subject's processes, all threads.
        database_cpu: µs per message of the database's processes; None without a server.
        rate: messages per second, until the last has arrived.
        p50: median delay in ms from sending a text to its arrival at the other side; 0 unless
            paced.
        requests: events and read receipts that reached the homeserver, per message.
    """

    messages: int
    cpu: float
    database_cpu: float | None
    rate: float
    p50: float
    p99: float
    requests: float
    lost: int
    doubled: int
    disordered: int
    astray: int


async def measure(
    subject: Subject, column: Column, run: str, rooms: int, database: Callable[[], float] | None
) -> Figure:
    """Measure a column on a subject.

    Args:
        run: a name unique among the measurements of this process.
        rooms: number of rooms in a chat, which take turns.
        database: returns the µs of CPU of the database's processes so far.
    """
    ledger = subject.heard if column.way == "in" else subject.homeserver.shown
    gc.collect()  # not during the measurement
    requests = _requests(subject)
    cpu, theirs, began = subject.cpu(), database() if database else 0.0, time.monotonic()
    if column.rate:
        said = await _paced(subject, column, run, rooms)
    elif column.way == "in":
        said = await _to_agents(subject, column, run, rooms)
    else:
        said = await _to_customers(subject, column, run, rooms)
    await ledger.reach(run, column.messages)
    took = max(ledger.last - began, 1e-9)
    await asyncio.sleep(SETTLING)
    p50, p99 = _delays(said, ledger, run) if column.rate else (0.0, 0.0)
    faults = ledger.faults(run, [number % rooms for number in range(column.messages)])
    return Figure(
        messages=column.messages,
        cpu=(subject.cpu() - cpu) / column.messages,
        database_cpu=(database() - theirs) / column.messages if database else None,
        rate=column.messages / took,
        p50=p50,
        p99=p99,
        requests=(_requests(subject) - requests) / column.messages,
        **msgspec.structs.asdict(faults),
    )


def _requests(subject: Subject) -> int:
    return subject.homeserver.from_agents.value + subject.homeserver.receipts.value


def _delays(said: Sequence[float], ledger: Ledger, run: str) -> tuple[float, float]:
    """Return the median and the 99th percentile in ms."""
    times = ledger.times(run)
    delays = sorted(times[number] - at for number, at in enumerate(said) if number in times)
    if not delays:
        return float("nan"), float("nan")
    at = [delays[min(int(len(delays) * part), len(delays) - 1)] * 1000 for part in (0.5, 0.99)]
    return at[0], at[1]


def _event(subject: Subject, run: str, number: int, rooms: int) -> dict[str, object]:
    return subject.text(number % rooms, f"{run}-{number}", wording(run, number))


async def _to_agents(subject: Subject, column: Column, run: str, rooms: int) -> list[float]:
    said: list[float] = []
    while len(said) < column.messages:
        batch = range(len(said), min(len(said) + column.batch, column.messages))
        said += [time.monotonic()] * len(batch)
        await subject.put([_event(subject, run, number, rooms) for number in batch])
    return said


async def _to_customers(subject: Subject, column: Column, run: str, rooms: int) -> list[float]:
    shown, said = subject.homeserver.shown, []
    for number in range(column.messages):
        if number >= UNDER_WAY:
            await shown.reach(run, number - UNDER_WAY)
        said.append(time.monotonic())
        await subject.say(number % rooms, wording(run, number))
        await asyncio.sleep(0)
    return said


async def _paced(subject: Subject, column: Column, run: str, rooms: int) -> list[float]:
    chance = random.Random(run)  # noqa: S311 - arrivals, the same for all subjects
    said: list[float] = []
    due = time.monotonic()
    waiting: asyncio.Queue[int] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(_send(subject, waiting, run, rooms))
        for number in range(column.messages):
            due += chance.expovariate(column.rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            said.append(time.monotonic())
            if column.way == "in":
                waiting.put_nowait(number)
            else:
                await subject.say(number % rooms, wording(run, number))
        await waiting.join()
        sending.cancel()
    return said


async def _send(subject: Subject, waiting: asyncio.Queue[int], run: str, rooms: int) -> None:
    """Send waiting texts, one transaction at a time."""
    while True:
        batch = [await waiting.get()]
        while not waiting.empty() and len(batch) < LARGEST_TRANSACTION:
            batch.append(waiting.get_nowait())
        await subject.put([_event(subject, run, number, rooms) for number in batch])
        for _ in batch:
            waiting.task_done()
