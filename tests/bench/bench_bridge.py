"""CPU of the whole bridge per message, beside a lean forwarder L in the same run.

Run it as a program: `python -m tests.bench.bench_bridge [rounds]`. The homeserver is a stub and the
WebChat server the simulator, both in this process; what is measured is the other process alone, all
of its threads, on durable SQLite and PostgreSQL (fsync on). The rounds are interleaved, the medians
are printed and written to `results.md` beside this file. What the figures should be is in the
design: at most 4 times L.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvloop

from bridge.ops.logging import configure_logging
from tests.bench.profile import sampling, summary
from tests.bench.subjects import Subject, bridge, lean_forwarder, text
from tests.support.postgres import PostgresServer

ROOMS = 50
BATCHES = {1: 1_000, 10: 3_000, 100: 5_000}
"""Events in a transaction, and messages in a measurement."""
SAID = 3_000
"""Messages of agents in a measurement."""
RESULTS = Path(__file__).with_name("results.md")
TO_CUSTOMER = "agent → customer"

Open = Callable[[Path], AbstractAsyncContextManager[Subject]]


@dataclass(frozen=True)
class Figure:
    """One measurement."""

    cpu: float
    """µs a message."""
    rate: float
    """Messages a second."""


async def measure(subject: Subject, messages: int, work: Callable[[], Awaitable[None]]) -> Figure:
    """The cost of one piece of work."""
    cpu, began = subject.cpu(), time.monotonic()
    await work()
    took = time.monotonic() - began
    return Figure((subject.cpu() - cpu) / messages, messages / took)


async def to_agents(subject: Subject, run: str, batch: int, messages: int) -> None:
    """Transactions one after the other, as a homeserver sends them, until all have arrived."""
    before = subject.desk.received()
    for start in range(0, messages, batch):
        await subject.put(
            [
                text(number % ROOMS, f"{run}-{number}", f"message {number} of {run}")
                for number in range(start, start + batch)
            ]
        )
    await subject.until_received(before + messages)


async def to_customers(subject: Subject, messages: int) -> None:
    """All agents talk as fast as they are carried."""
    before = subject.homeserver.from_agents.value
    for number in range(messages):
        await subject.desk.say(number % ROOMS, f"answer {number}")
        await asyncio.sleep(0)
    await subject.homeserver.from_agents.reach(before + messages)


async def measure_all(subject: Subject) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    await to_agents(subject, "warm", 10, 500)
    await to_customers(subject, 500)
    for batch, messages in BATCHES.items():
        figures[f"customer → agent, {batch} in a transaction"] = await measure(
            subject, messages, partial(to_agents, subject, f"b{batch}", batch, messages)
        )
    figures[TO_CUSTOMER] = await measure(subject, SAID, partial(to_customers, subject, SAID))
    return figures


async def run(rounds: int, postgres: PostgresServer) -> dict[str, list[dict[str, Figure]]]:
    """Every subject in every round; a database is new each time."""
    subjects: dict[str, Open] = {
        "L": lambda _: lean_forwarder(ROOMS),
        "SQLite": lambda folder: bridge(ROOMS, folder, f"sqlite:///{folder}/bridge.db"),
        "PostgreSQL": lambda folder: bridge(ROOMS, folder, postgres.new_database()),
    }
    found: dict[str, list[dict[str, Figure]]] = {name: [] for name in subjects}
    for number in range(1, rounds + 1):
        for name, opened in subjects.items():
            say(f"round {number}: {name}")
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                async with opened(Path(folder)) as subject:
                    found[name].append(await measure_all(subject))
    return found


def report(found: dict[str, list[dict[str, Figure]]], rounds: int) -> str:
    """The medians as a table in Markdown."""
    conditions = (
        f"`python -m tests.bench.bench_bridge {rounds}`: Python {platform.python_version()}, "
        f"{platform.system()}, {os.cpu_count()} cores shared with the peers and the database, "
        f"{ROOMS} rooms, medians of {rounds} interleaved rounds. CPU µs a message in the process, "
        "messages a second in brackets; × is the ratio to L, the lean forwarder that stores "
        "nothing. PostgreSQL's own CPU is not in it."
    )
    head = "| | L | SQLite | × | PostgreSQL | × |\n|---|---|---|---|---|---|"
    lines = ["# What a message costs", "", conditions, "", head]
    for what in found["L"][0]:
        lean = _median(found["L"], what)
        cells = [f"{lean.cpu:.0f} ({lean.rate:.0f}/s)"]
        for name in ("SQLite", "PostgreSQL"):
            figure = _median(found[name], what)
            ratio = figure.cpu / lean.cpu
            cells += [f"{figure.cpu:.0f} ({figure.rate:.0f}/s)", f"{ratio:.1f}"]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _median(rounds: list[dict[str, Figure]], what: str) -> Figure:
    return Figure(
        statistics.median(one[what].cpu for one in rounds),
        statistics.median(one[what].rate for one in rounds),
    )


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


COLUMNS = {"in1": 1, "in10": 10, "in100": 100, "out": 0}
"""Short names: events in a transaction, 0 for agents' messages."""


async def profile(
    column: str, messages: int, database: str, postgres: PostgresServer, stacks: Path
) -> None:
    """Sample the bridge's process while it does the work of one column."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        url = f"sqlite:///{folder}/bridge.db"
        if database == "postgres":
            url = postgres.new_database()
        async with bridge(ROOMS, Path(folder), url) as subject:
            await to_agents(subject, "warm", 10, 500)
            await to_customers(subject, 500)
            async with sampling(subject.pid, stacks):
                if COLUMNS[column]:
                    work = partial(to_agents, subject, "run", COLUMNS[column], messages)
                else:
                    work = partial(to_customers, subject, messages)
                figure = await measure(subject, messages, work)
    found = f"{column}, {database}: {figure.cpu:.0f} µs a message, {figure.rate:.0f}/s; "
    found += summary(stacks.read_text(encoding="utf-8"), figure.cpu)
    stacks.with_suffix(".txt").write_text(found, encoding="utf-8")
    say(f"{found}\ncollapsed stacks: {stacks}")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=3)
    parser.add_argument("--profile", choices=COLUMNS, help="sample one column of the bridge")
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="postgres")
    parser.add_argument("--messages", type=int, default=5_000, help="of a profile")
    parser.add_argument("--stacks", type=Path, default=Path("profile.stacks"))
    return parser.parse_args()


def main() -> None:
    configure_logging("ERROR", "text")
    asked = options()
    rounds = asked.rounds
    postgres = PostgresServer(durable=True)
    try:
        postgres.start()
        if asked.profile:
            column, stacks = asked.profile, asked.stacks
            uvloop.run(profile(column, asked.messages, asked.database, postgres, stacks))
            return
        table = report(uvloop.run(run(rounds, postgres)), rounds)
    finally:
        postgres.remove()
    RESULTS.write_text(table, encoding="utf-8")
    say(table)


if __name__ == "__main__":
    main()
