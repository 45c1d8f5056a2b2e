"""The bridge under an even load for an hour or a day: its memory must stay flat.

`make soak HOURS=1` (or 24; `python -m tests.bench.soak --minutes 10` for a try) runs a hundred
chats with 50 messages a second each way. It fails if a message is lost, doubled or out of order, or
if the memory (RSS) of the last quarter is more than 5 % and 4 MiB above that of the second: the
first still fills caches. Figures of an hour or more are kept for the page (`tests.bench.publish`).
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import uvloop

from bridge.ops.logging import configure_logging
from tests.bench.columns import COLUMNS, Figure, measure
from tests.bench.subjects import open_chats, silent_bridge
from tests.support.postgres import PostgresServer

ROOMS = 100
RATE = 50.0
"""Messages per second, each way."""
TURN = 30.0
"""Seconds of load between two measurements."""
SHARE, SLACK = 1.05, 4.0
"""Allowed growth: as a factor, and in MiB."""
KEPT = Path(__file__).with_name("results") / "soak.json"


class Look(msgspec.Struct, frozen=True):
    """The bridge at one moment.

    Attributes:
        minutes: since the start.
        memory: MiB (RSS).
        cpu: percent of a core since the previous look.
        messages: delivered so far.
        faults: messages lost, doubled, out of order or in a wrong room so far.
    """

    minutes: float
    memory: float
    cpu: float
    messages: int
    faults: int


class Soak(msgspec.Struct, frozen=True):
    database: str
    hours: float
    looks: list[Look]

    def memory(self, quarter: int) -> float:
        """Return the median MiB of a quarter of the time, numbered from 0."""
        most = self.looks[-1].minutes
        inside = [one for one in self.looks if quarter < one.minutes / most * 4 <= quarter + 1]
        return statistics.median(one.memory for one in inside or self.looks)

    def flat(self) -> bool:
        early, late = self.memory(1), self.memory(3)
        return late <= early * SHARE or late <= early + SLACK

    def told(self) -> str:
        last, cpu = self.looks[-1], statistics.median(one.cpu for one in self.looks)
        return (
            f"{self.hours:g} h on {self.database}: {last.messages:,} messages, {last.faults} lost, "
            f"doubled or out of order; {self.memory(1):.1f} MiB in the second quarter of the time, "
            f"{self.memory(3):.1f} MiB in the last; {cpu:.0f} % of a core"
        )


def told() -> list[str]:
    """Return the page's lines about the last long runs in this checkout."""
    return [f"- {one.told()}." for one in _kept()]


def _kept() -> list[Soak]:
    if not KEPT.exists():
        return []
    return msgspec.json.decode(KEPT.read_bytes(), type=list[Soak])


async def soak(folder: Path, database: str, url: str, hours: float) -> Soak:
    """Load a new bridge for `hours`."""
    looks: list[Look] = []
    async with silent_bridge(folder, url) as (subject, webchat):
        await open_chats(subject, webchat, range(ROOMS))
        began, messages, faults = time.monotonic(), 0, 0
        while time.monotonic() - began < hours * 3600:
            number = len(looks)
            columns = [
                replace(COLUMNS[key], rate=RATE, messages=int(RATE * TURN))
                for key in ("in_paced", "out_paced")
            ]
            cpu, at = subject.cpu(), time.monotonic()
            runs = [f"{column.way}soak{number}x" for column in columns]
            found = await asyncio.gather(
                *(
                    measure(subject, column, run, ROOMS, None)
                    for column, run in zip(columns, runs, strict=True)
                )
            )
            for run in runs:
                subject.heard.forget(run)
                subject.homeserver.shown.forget(run)
            now = time.monotonic()
            messages += sum(one.messages for one in found)
            faults += sum(_faults(one) for one in found)
            share = (subject.cpu() - cpu) / (now - at) / 1e4
            memory = subject.memory() / 1024
            looks.append(Look((now - began) / 60, memory, share, messages, faults))
            say(f"{looks[-1]}")
    return Soak(database, hours, looks)


def _faults(figure: Figure) -> int:
    return figure.lost + figure.doubled + figure.disordered + figure.astray


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--minutes", type=float, help="instead of hours")
    parser.add_argument("--database", choices=["SQLite", "PostgreSQL"], default="PostgreSQL")
    asked = parser.parse_args()
    hours = asked.minutes / 60 if asked.minutes else asked.hours
    configure_logging("ERROR", "text")
    server = PostgresServer(durable=True)
    server.start()
    try:
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            url = f"sqlite:///{folder}/bridge.db"
            if asked.database == "PostgreSQL":
                url = server.new_database()
            found = uvloop.run(soak(Path(folder), asked.database, url, hours))
    finally:
        server.remove()
    say(found.told())
    if hours >= 1:
        kept = [one for one in _kept() if (one.database, one.hours) != (asked.database, hours)]
        KEPT.write_bytes(msgspec.json.format(msgspec.json.encode([*kept, found]), indent=1) + b"\n")
    if not found.flat() or found.looks[-1].faults:
        say("memory grew" if not found.flat() else "messages went wrong")
        sys.exit(1)


if __name__ == "__main__":
    main()
