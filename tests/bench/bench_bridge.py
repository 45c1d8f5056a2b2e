"""What a message costs: the bridge beside a lean forwarder and beside heisenbridge, in one run.

`make bench` runs it; `python -m tests.bench.bench_bridge --help` tells what else it can do. Each
subject is a process with its peers around it: stubs in this process, a durable PostgreSQL (fsync
on). All subjects of a round are up together, and the columns go from subject to subject, so that
whatever else the machine does falls on all of them; figures are medians of the rounds, ratios are
taken within a round. What comes out is a JSON file with every measurement, and the tables made from
it.

The subjects: `L`, the lean forwarder that stores nothing, on asyncio, and the same on uvloop; `H`,
heisenbridge, which stores nothing either; the bridge on SQLite and on PostgreSQL; and, as "before",
the bridge of another checkout on both.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import uvloop

from bridge.ops.logging import configure_logging
from tests.bench import heisenbridge, sessions, storms, writes
from tests.bench.columns import COLUMNS, QUICK, Column, Figure, measure
from tests.bench.profile import CACHE, sampling, summary
from tests.bench.report import Report, Row, tables
from tests.bench.subjects import ROOT, Subject, bridge, lean_forwarder, process_cpu
from tests.support.postgres import PostgresServer

ROOMS = 100
ROUNDS = 5
RESULTS = Path(__file__).with_name("results")
TABLES = Path(__file__).with_name("results.md")
WARMING = {"in10": 1_000, "out": 500}
"""Messages before the first measurement of a process."""
VERSIONS = ("aiohttp", "websockets", "uvloop", "asyncpg", "mautrix", "msgspec", "vodozemac")

Open = Callable[[Path], AbstractAsyncContextManager[Subject]]


@dataclass(frozen=True)
class Candidate:
    """A subject that can be opened.

    Attributes:
        opened: opens it in a folder.
        database: µs of CPU of its database's processes so far; None where it has no server.
    """

    opened: Open
    database: Callable[[], float] | None = None


class Cluster:
    """A PostgreSQL server, its databases and the CPU of all its processes."""

    def __init__(self) -> None:
        self.server = PostgresServer(durable=True)
        self.server.start()

    def new_database(self) -> str:
        return self.server.new_database()

    def version(self) -> str:
        return self.server.sql("SHOW server_version").strip()

    def cpu(self) -> float:
        """Microseconds; those of processes that have ended are missing."""
        postmaster = self.server.postmaster()
        total = 0.0
        for process in _children(postmaster):
            try:
                total += process_cpu(process)
            except OSError:
                continue
        return total

    def close(self) -> None:
        self.server.remove()


def _children(parent: int) -> Iterator[int]:
    yield parent
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            yield int(stat.parent.name)


async def candidates(cluster: Cluster, before: Path | None) -> tuple[dict[str, Candidate], str]:
    """All subjects of this machine by name, and the version of H or why it is missing."""

    def on_sqlite(checkout: Path) -> Candidate:
        return Candidate(
            lambda folder: bridge(ROOMS, folder, f"sqlite:///{folder}/bridge.db", checkout)
        )

    def on_postgres(checkout: Path) -> Candidate:
        return Candidate(
            lambda folder: bridge(ROOMS, folder, cluster.new_database(), checkout), cluster.cpu
        )

    found = {
        "L": Candidate(lambda folder: lean_forwarder(ROOMS, folder, "asyncio")),
        "L uvloop": Candidate(lambda folder: lean_forwarder(ROOMS, folder, "uvloop")),
    }
    try:
        peer = await heisenbridge.available()
        found["H"] = Candidate(lambda folder: heisenbridge.heisenbridge(ROOMS, folder))
    except heisenbridge.HeisenbridgeMissing as error:
        peer = str(error)
    found |= {"SQLite": on_sqlite(ROOT), "PostgreSQL": on_postgres(ROOT)}
    if before is not None:
        found |= {"SQLite before": on_sqlite(before), "PostgreSQL before": on_postgres(before)}
    return found, peer


async def one_round(
    number: int, subjects: Mapping[str, Candidate], columns: Mapping[str, Column]
) -> list[Row]:
    """All columns of all subjects; each has a new process and a new database."""
    rows: list[Row] = []
    async with AsyncExitStack() as stack:
        opened: dict[str, Subject] = {}
        for name, candidate in subjects.items():
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
            opened[name] = await stack.enter_async_context(candidate.opened(Path(folder)))
            await warm(opened[name], columns)
            say(f"round {number}: {name} is up")
        names = list(opened)
        for place, (key, column) in enumerate(columns.items()):
            first = (number + place) % len(names)
            for name in names[first:] + names[:first]:
                database = subjects[name].database
                figure = await measure(opened[name], column, f"{key}x".replace("_", ""), ROOMS,
                                       database)  # fmt: skip
                rows.append(Row(number, name, key, figure))
                say(f"round {number}: {column.title:10} {name:18} {_brief(figure)}")
    return rows


async def warm(subject: Subject, columns: Mapping[str, Column]) -> None:
    """The first messages of a process, which are not measured."""
    share = 1 if columns is COLUMNS else QUICK
    for key, messages in WARMING.items():
        column = replace(COLUMNS[key], messages=messages // share)
        await measure(subject, column, f"warm{key}", ROOMS, None)


def _brief(figure: Figure) -> str:
    theirs = "" if figure.database_cpu is None else f" +{figure.database_cpu:.0f}"
    delay = f", p50 {figure.p50:.1f} p99 {figure.p99:.1f} ms" if figure.p50 else ""
    faults = figure.lost or figure.doubled or figure.disordered or figure.astray
    wrong = (
        f", lost {figure.lost}, doubled {figure.doubled}, disordered {figure.disordered}, "
        f"astray {figure.astray}"
    )
    return f"{figure.cpu:6.0f} µs{theirs}, {figure.rate:.0f}/s{delay}{wrong if faults else ''}"


async def profile(candidate: Candidate, name: str, column: Column, stacks: Path) -> None:
    """Sample a subject's process while it does the work of one column."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with candidate.opened(Path(folder)) as subject:
            await warm(subject, COLUMNS)
            async with sampling(subject.pid, stacks):
                figure = await measure(subject, column, "profile", ROOMS, candidate.database)
    say(f"{name}, {column.title}: {_brief(figure)}")
    say(summary(stacks, figure.cpu))
    say(f"collapsed stacks: {stacks}")


# --- the whole run ------------------------------------------------------------------------------


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("rounds", nargs="?", type=int, default=ROUNDS, help="1: a quick one, columns only")
    add("--before", type=Path, help="another checkout, to be measured beside this one")
    add("--subjects", help="only these, with commas between")
    add("--columns", help=f"only these, with commas between: {', '.join(COLUMNS)}")
    add("--messages", type=int, help="in a measurement, instead of the column's number")
    add(
        "--only",
        choices=["columns", "writes", "sessions", "storms", "crypto"],
        help="leave the other parts out",
    )
    add("--output", type=Path, help="the JSON; a quick run's is not kept otherwise")
    add("--profile", choices=COLUMNS, help="sample one column of one subject instead")
    add("--database", choices=["sqlite", "postgres"], default="postgres", help="of a profile")
    add("--stacks", type=Path, default=CACHE / "profile.stacks", help="of a profile")
    asked = parser.parse_args()
    if asked.before is not None:
        asked.before = asked.before.resolve()
    return asked


def asked_columns(asked: argparse.Namespace) -> Mapping[str, Column]:
    """The columns, with fewer messages in a quick run."""
    if asked.rounds > 1 and not asked.columns and not asked.messages:
        return COLUMNS
    wanted = (asked.columns or ",".join(COLUMNS)).split(",")
    share = QUICK if asked.rounds == 1 else 1
    return {
        key: replace(COLUMNS[key], messages=asked.messages or COLUMNS[key].messages // share)
        for key in wanted
    }


async def run(asked: argparse.Namespace, cluster: Cluster) -> None:
    """All parts that are asked for; the report is written after each, lest a late fault cost it."""
    subjects, peer = await candidates(cluster, asked.before)
    if asked.profile:
        name = {"sqlite": "SQLite", "postgres": "PostgreSQL"}[asked.database]
        name += " before" if asked.before is not None else ""
        column = replace(COLUMNS[asked.profile], messages=asked.messages or 5_000)
        CACHE.mkdir(exist_ok=True)
        await profile(subjects[name], name, column, asked.stacks)
        return
    if asked.subjects:
        subjects = {name: subjects[name] for name in asked.subjects.split(",")}
    report = Report(machine(asked.before, cluster, peer), asked.rounds, ROOMS)
    kept = kept_at(asked, report)
    columns, began = asked_columns(asked), time.monotonic()
    if asked.only in (None, "columns"):
        for number in range(1, asked.rounds + 1):
            report.rows += await one_round(number, subjects, columns)
            kept.write_bytes(report.encoded())
            left = (time.monotonic() - began) / number * (asked.rounds - number)
            say(f"round {number} of {asked.rounds} is done, about {left / 60:.0f} min for the rest")
    if asked.rounds > 1 or asked.only:
        checkouts = {"": ROOT} | ({" before": asked.before} if asked.before else {})
        for suffix, checkout in checkouts.items():
            await other_parts(asked, cluster, report, suffix, checkout)
            kept.write_bytes(report.encoded())
    text = tables(report, kept.name)
    if kept.parent == RESULTS:
        TABLES.write_text(text, encoding="utf-8")
    say(f"\n{text}\nevery measurement: {kept}")


def kept_at(asked: argparse.Namespace, report: Report) -> Path:
    """The JSON file."""
    kept = RESULTS / f"{report.machine['commit'].rstrip('+')}.json"
    if asked.rounds == 1 or asked.only or asked.subjects or asked.columns:
        kept = CACHE / "bench.json"
    found: Path = asked.output.resolve() if asked.output else kept
    found.parent.mkdir(parents=True, exist_ok=True)
    return found


async def other_parts(
    asked: argparse.Namespace, cluster: Cluster, report: Report, suffix: str, checkout: Path
) -> None:
    """What is measured once: writes, live sessions, their return, encryption."""
    if asked.only in (None, "writes"):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            say(f"writes: PostgreSQL{suffix}")
            report.writes[f"PostgreSQL{suffix}"] = await writes.count(
                cluster.server, Path(folder), checkout, ROOMS, say
            )
    if asked.only in (None, "sessions"):
        steps = sessions.QUICK if asked.rounds == 1 else sessions.STEPS
        for name in ("SQLite", "PostgreSQL"):
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                url = database_of(name, folder, cluster)
                say(f"sessions: {name}{suffix}")
                found = await sessions.grow(Path(folder), url, checkout, steps, say)
                report.sessions[f"{name}{suffix}"] = found
    if asked.only in (None, "storms") and not suffix:
        await storms_of_all(cluster, report, storms.QUICK if asked.rounds == 1 else storms.STEPS)
    if asked.only in (None, "crypto"):
        messages = 200 if asked.rounds == 1 else 2_000
        report.crypto[suffix.strip()] = crypto(checkout, messages)


def database_of(name: str, folder: str, cluster: Cluster) -> str:
    """The URL of a new database, of SQLite or PostgreSQL."""
    return cluster.new_database() if name == "PostgreSQL" else f"sqlite:///{folder}/bridge.db"


async def storms_of_all(cluster: Cluster, report: Report, steps: tuple[int, ...]) -> None:
    """The call centre goes away and comes back: a bare client, and the bridge on both databases."""
    for number in steps:
        for name in ("bare client", "SQLite", "PostgreSQL"):
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                say(f"storms: {name}")
                if name == "bare client":
                    found = await storms.bare_storms(Path(folder), number, say)
                else:
                    url = database_of(name, folder, cluster)
                    found = await storms.bridge_storms(Path(folder), url, number, say)
            report.storms.setdefault(name, []).extend(found)


def crypto(checkout: Path, messages: int) -> dict[str, float]:
    """What a checkout's own bench of encryption prints: µs of CPU by kind and store."""
    command = [sys.executable, "-m", "tests.bench.bench_crypto", str(messages)]
    environment = os.environ | {"COLUMNS": "100", "PYTHONPATH": str(checkout)}
    done = subprocess.run(  # noqa: S603
        command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"bench_crypto of {checkout} failed: {done.stderr[-2000:]}")
    found = {f"{kind} {store}": float(cost) for kind, store, cost in _CRYPTO.findall(done.stdout)}
    say(f"{checkout.name}: {found}")
    return found


_CRYPTO = re.compile(r"(decrypt|encrypt)(?:, bare)?\s+│\s+(\S+)\s+│\s+(\d+)")


def machine(before: Path | None, cluster: Cluster, peer: str) -> dict[str, str]:
    """What the figures depend on, as far as it can be told."""
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    model = next((line for line in cpu.splitlines() if line.startswith("model name")), ": ?")
    found = {
        "when": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "cpu": model.partition(":")[2].strip(),
        "cores": str(os.cpu_count()),
        "load before": f"{os.getloadavg()[0]:.2f}",
        "system": platform.platform(),
        "python": platform.python_version(),
        "postgresql": cluster.version(),
        "heisenbridge": peer,
        "commit": _commit(ROOT),
    }
    if before is not None:
        found["commit before"] = _commit(before)
    return found | {name: version(name) for name in VERSIONS}


def _commit(checkout: Path) -> str:
    """A checkout's commit, with a plus where something is changed."""
    git = ("git", "-C", str(checkout), "describe", "--always", "--dirty=+", "--exclude=*")
    done = subprocess.run(git, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip() or "?"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    configure_logging("ERROR", "text")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that all servers are stopped
    asked = options()
    cluster = Cluster()
    try:
        uvloop.run(run(asked, cluster))
    finally:
        cluster.close()


if __name__ == "__main__":
    main()
