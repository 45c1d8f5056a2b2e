"""Cost of a message: the bridge compared with lean forwarders and heisenbridge, in one run.

`make bench` runs it; `python -m tests.bench.bench_bridge --help` lists its options. Each subject
is a program whose peers are stubs in this process and a durable PostgreSQL (fsync on). All subjects
of a round are up together, and each column is measured on one after the other, so that other load
on the machine affects all alike; figures are medians over the rounds, ratios are taken within a
round. Then come measurements that are made once: live sessions and their return, starts, large
files, encryption, writes.

The subjects: `L`, the lean forwarder that stores nothing, on asyncio (on request also on uvloop);
`D`, the same with each message stored first, in SQLite and in PostgreSQL; `H`, heisenbridge, which
stores nothing either; the bridge on SQLite and on PostgreSQL, there with one, two and three
processes; and, as "before", the bridge of another checkout on both.

Every measurement goes into a JSON file of its commit below `.cache/bench/`; parts that are measured
alone (`--only`) replace those in the file. A complete run ends with `tests.bench.publish`, which
compares it with the last one in git; a quick one (one round) does not.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import uvloop

from bridge.ops.logging import configure_logging
from tests.bench import bench_encrypted, files, heisenbridge, sessions, starts, storms, writes
from tests.bench.columns import COLUMNS, QUICK, Column, Figure, measure
from tests.bench.profile import CACHE, sampling, summary
from tests.bench.publish import last_committed, publish, read
from tests.bench.report import PARTS, Part, Report, Row, tables
from tests.bench.subjects import ROOT, Subject, bridge, lean_forwarder, process_cpu, silent_bridge
from tests.support.postgres import PostgresServer

ROOMS = 100
ROUNDS = 5
WORK = CACHE / "bench"
"""Folder of the JSON files, to which a run adds part by part."""
SATURATED = ("in1", "in10", "in100", "out")
PLAIN = (*SATURATED, "in_paced", "out_paced")
SLOW = ("writes",)
"""Parts that a quick run leaves out."""
WARMING = {"in10": 1_000, "out": 500}
"""Messages per column before the first measurement of a process."""
VERSIONS = ("aiohttp", "websockets", "uvloop", "asyncpg", "mautrix", "msgspec", "vodozemac")

Open = Callable[[Path], AbstractAsyncContextManager[Subject]]


@dataclass(frozen=True)
class Candidate:
    """A subject that can be opened.

    Attributes:
        opened: starts it in a folder.
        database: returns the µs of CPU of its database server so far; None without a server.
        columns: keys of the columns to measure.
    """

    opened: Open
    database: Callable[[], float] | None = None
    columns: Collection[str] = tuple(COLUMNS)


class Cluster:
    """A PostgreSQL server, its databases and the CPU of all its processes."""

    def __init__(self) -> None:
        self.server = PostgresServer(durable=True)
        self.server.start()

    def new_database(self) -> str:
        return self.server.new_database()

    def version(self) -> str:
        return self.server.sql("SHOW server_version")

    def cpu(self) -> float:
        """Return µs of CPU, without those of processes that have ended."""
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


async def candidates(
    cluster: Cluster, before: Path | None, wanted: Sequence[str]
) -> tuple[dict[str, Candidate], str]:
    """Return the subjects by name, and the version of H or why it is missing.

    Args:
        wanted: names; empty: all but L on uvloop.
    """

    def on_sqlite(checkout: Path) -> Candidate:
        return Candidate(lambda folder: bridge(ROOMS, folder, sqlite_in(folder), checkout))

    def on_postgres(checkout: Path, processes: int = 1) -> Candidate:
        return Candidate(
            lambda folder: bridge(ROOMS, folder, cluster.new_database(), checkout, processes),
            cluster.cpu,
        )

    found = {
        "L": Candidate(lambda folder: lean_forwarder(ROOMS, folder, "asyncio")),
        "L uvloop": Candidate(lambda folder: lean_forwarder(ROOMS, folder, "uvloop")),
        "D SQLite": Candidate(
            lambda folder: lean_forwarder(ROOMS, folder, "uvloop", sqlite_in(folder)),
            columns=PLAIN,
        ),
        "D PostgreSQL": Candidate(
            lambda folder: lean_forwarder(ROOMS, folder, "uvloop", cluster.new_database()),
            cluster.cpu,
            PLAIN,
        ),
    }
    try:
        peer = await heisenbridge.available()
        found["H"] = Candidate(lambda folder: heisenbridge.heisenbridge(ROOMS, folder))
    except heisenbridge.HeisenbridgeMissing as error:
        peer = str(error)
    found |= {
        "SQLite": on_sqlite(ROOT),
        "PostgreSQL": on_postgres(ROOT),
        "PostgreSQL ×2": replace(on_postgres(ROOT, 2), columns=SATURATED),
        "PostgreSQL ×3": on_postgres(ROOT, 3),
    }
    if before is not None:
        found |= {"SQLite before": on_sqlite(before), "PostgreSQL before": on_postgres(before)}
    if wanted:
        return {name: found[name] for name in wanted}, peer
    return {name: one for name, one in found.items() if name != "L uvloop"}, peer


def sqlite_in(folder: Path) -> str:
    """Return the URL of a SQLite database in a folder."""
    return f"sqlite:///{folder}/bridge.db"


async def one_round(
    number: int, subjects: Mapping[str, Candidate], columns: Mapping[str, Column]
) -> list[Row]:
    """Measure all columns of all subjects, each with a new process and a new database."""
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
                candidate, asked = subjects[name], column
                if key not in candidate.columns:
                    continue
                if column.half_of:
                    asked = column.at_half(_rate(rows, name, column.half_of))
                figure = await measure(opened[name], asked, f"{key}x".replace("_", ""), ROOMS,
                                       candidate.database)  # fmt: skip
                rows.append(Row(number, name, key, figure))
                say(f"round {number}: {column.title:10} {name:18} {_brief(figure)}")
    return rows


def _rate(rows: Sequence[Row], name: str, column: str) -> float:
    """Return a subject's rate in this round, in messages a second; 1,000 if not measured."""
    found = (row.figure.rate for row in rows if (row.subject, row.column) == (name, column))
    return next(found, 1_000.0)


async def warm(subject: Subject, columns: Mapping[str, Column]) -> None:
    """Send the first messages of a process, which are not measured."""
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
    """Sample a subject's process during one column."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with candidate.opened(Path(folder)) as subject:
            await warm(subject, COLUMNS)
            async with sampling(subject.pids[0], stacks):
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
    add("rounds", nargs="?", type=int, default=ROUNDS, help="1: a quick one, in six minutes")
    add("--before", type=Path, help="another checkout, to be measured beside this one")
    add("--subjects", default="", help="only these, with commas between")
    add("--columns", help=f"only these, with commas between: {', '.join(COLUMNS)}")
    add("--messages", type=int, help="in a measurement, instead of the column's number")
    add("--only", default="", help=f"only these parts, with commas between: {', '.join(PARTS)}")
    add("--accept", action="store_true", help="publish it even if a ratio got worse")
    add("--output", type=Path, help="the JSON, instead of .cache/bench/COMMIT.json")
    add("--profile", choices=COLUMNS, help="sample one column of one subject instead")
    add("--database", choices=["sqlite", "postgres"], default="postgres", help="of a profile")
    add("--stacks", type=Path, default=CACHE / "profile.stacks", help="of a profile")
    asked = parser.parse_args()
    asked.subjects = [name for name in asked.subjects.split(",") if name]
    asked.only = [name for name in asked.only.split(",") if name] or list(PARTS)
    if unknown := set(asked.only) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if asked.before is not None:
        asked.before = asked.before.resolve()
    return asked


def asked_columns(asked: argparse.Namespace) -> Mapping[str, Column]:
    """Return the columns to measure, with fewer messages in a quick run."""
    if asked.rounds > 1 and not asked.columns and not asked.messages:
        return COLUMNS
    wanted = (asked.columns or ",".join(COLUMNS)).split(",")
    share = QUICK if asked.rounds == 1 else 1
    return {
        key: replace(COLUMNS[key], messages=asked.messages or COLUMNS[key].messages // share)
        for key in wanted
    }


async def run(asked: argparse.Namespace, cluster: Cluster) -> int:
    """Measure all requested parts; returns the exit code.

    The JSON is written after each part and round, so that a late failure loses no measurement.
    """
    subjects, peer = await candidates(cluster, asked.before, asked.subjects)
    if asked.profile:
        name = {"sqlite": "SQLite", "postgres": "PostgreSQL"}[asked.database]
        name += " before" if asked.before is not None else ""
        column = replace(COLUMNS[asked.profile], messages=asked.messages or 5_000)
        CACHE.mkdir(exist_ok=True)
        await profile(subjects[name], name, column, asked.stacks)
        return 0
    facts = machine(asked.before, cluster, peer)
    kept, whole = kept_at(asked, facts["commit"])
    report = read(kept) if whole and kept.exists() else Report(facts, asked.rounds, ROOMS)
    began = time.monotonic()
    for part in PARTS:
        if part not in asked.only or (asked.rounds == 1 and part in SLOW):
            continue
        say(f"== {part}, after {(time.monotonic() - began) / 60:.1f} min")
        newer = Report(facts, asked.rounds, ROOMS)
        load, at, when = os.getloadavg()[0], time.monotonic(), datetime.now(tz=UTC)
        async for _ in measured(part, asked, cluster, subjects, newer):
            minutes = (time.monotonic() - at) / 60
            told = when.isoformat(timespec="seconds")
            newer.parts = {part: Part(told, facts["commit"], load, minutes)}
            report.take(newer)
            kept.write_bytes(report.encoded())
    say(f"\n{tables(report, kept.name)}\nevery measurement: {kept}")
    if not whole or set(report.parts) != set(PARTS):
        return 0
    return publish(report, last_committed(report), accept=asked.accept, say=say)


def kept_at(asked: argparse.Namespace, commit: str) -> tuple[Path, bool]:
    """Return the JSON file, and whether the run is complete enough for the commit's file."""
    some = asked.rounds == 1 or asked.subjects or asked.columns or asked.messages
    kept = WORK / ("trial.json" if some else f"{commit.rstrip('+')}.json")
    found: Path = asked.output.resolve() if asked.output else kept
    found.parent.mkdir(parents=True, exist_ok=True)
    return found, not some


async def measured(
    part: str,
    asked: argparse.Namespace,
    cluster: Cluster,
    subjects: Mapping[str, Candidate],
    report: Report,
) -> AsyncIterator[None]:
    """Measure a part into the report; yields whenever there is something to save."""
    quick = asked.rounds == 1
    if part == "columns":
        columns, began = asked_columns(asked), time.monotonic()
        for number in range(1, asked.rounds + 1):
            report.rows += await one_round(number, subjects, columns)
            yield
            left = (time.monotonic() - began) / number * (asked.rounds - number)
            say(f"round {number} of {asked.rounds} is done, about {left / 60:.0f} min for the rest")
        return
    checkouts = {"": ROOT} | ({" before": asked.before} if asked.before else {})
    for suffix, checkout in checkouts.items():
        if part == "sessions":
            steps = sessions.QUICK if quick else sessions.STEPS
            await live_sessions(cluster, report, suffix, checkout, steps)
        elif part == "writes":
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                report.writes[f"PostgreSQL{suffix}"] = await writes.count(
                    cluster.server, Path(folder), checkout, ROOMS, say
                )
        elif part == "crypto":
            report.crypto[suffix.strip()] = crypto(checkout, 200 if quick else 2_000)
    if part == "starts":
        await all_starts(cluster, report, quick=quick)
    elif part == "files":
        size, times = (files.QUICK, 1) if quick else (files.MEGABYTES, files.TIMES)
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            url = sqlite_in(Path(folder))
            report.files = await files.carry(Path(folder), url, size, times, say)
    elif part == "encrypted":
        report.encrypted = await bench_encrypted.encrypted(100 if quick else 600, say)
    yield


async def all_starts(cluster: Cluster, report: Report, *, quick: bool) -> None:
    """Measure starts on both databases, with increasing numbers of rooms at rest."""
    sizes, times = (starts.QUICK, 1) if quick else (starts.STEPS, starts.TIMES)
    for name in ("SQLite", "PostgreSQL"):
        for rooms in sizes:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                url = database_of(name, folder, cluster)
                found = await starts.starts(Path(folder), url, rooms, times, say)
            report.starts.setdefault(name, []).extend(found)


async def live_sessions(
    cluster: Cluster,
    report: Report,
    suffix: str,
    checkout: Path,
    steps: Sequence[Sequence[int]],
) -> None:
    """Measure processes with growing numbers of sessions, then an outage of the call centre."""
    for name in ("SQLite", "PostgreSQL"):
        for sizes in steps:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                say(f"sessions: {name}{suffix}")
                place = Path(folder)
                url = database_of(name, folder, cluster)
                async with silent_bridge(place, url, checkout) as (subject, webchat):
                    grown = await sessions.grow(subject, webchat, sizes, say)
                    stormed = await storms.storms(
                        webchat, sizes[-1], subject.pids[0], place / "bridge.log", say
                    )
            report.sessions.setdefault(f"{name}{suffix}", []).extend(grown)
            report.storms.setdefault(f"{name}{suffix}", []).extend(stormed)
    if not suffix:
        for sizes in steps:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                say("sessions: bare client")
                stormed = await storms.bare_storms(Path(folder), sizes[-1], say)
            report.storms.setdefault("bare client", []).extend(stormed)


def database_of(name: str, folder: str, cluster: Cluster) -> str:
    """Return the URL of a new SQLite or PostgreSQL database."""
    return cluster.new_database() if name == "PostgreSQL" else sqlite_in(Path(folder))


def crypto(checkout: Path, messages: int) -> dict[str, float]:
    """Run a checkout's own `bench_crypto`; returns µs of CPU by case."""
    command = [sys.executable, "-m", "tests.bench.bench_crypto", str(messages)]
    environment = os.environ | {"COLUMNS": "100", "PYTHONPATH": str(checkout)}
    done = subprocess.run(  # noqa: S603
        command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"bench_crypto of {checkout} failed: {done.stderr[-2000:]}")
    found = {case: float(cost) for case, cost in _CRYPTO.findall(done.stdout)}
    say(f"{checkout.name}: {found}")
    return found


_CRYPTO = re.compile(r"((?:de|en)crypt, \w+)\s+│\s+(\d+)\s+│")


def machine(before: Path | None, cluster: Cluster, peer: str) -> dict[str, str]:
    """Return facts about the machine and versions on which the figures depend."""
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    model = next((line for line in cpu.splitlines() if line.startswith("model name")), ": ?")
    found = {
        "when": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "cpu": model.partition(":")[2].strip(),
        "cores": str(os.cpu_count()),
        "load before": f"{os.getloadavg()[0]:.2f}",
        "fsync ms": f"{fsync():.2f}",
        "system": platform.platform(),
        "python": platform.python_version(),
        "postgresql": cluster.version(),
        "heisenbridge": peer,
        "commit": _commit(ROOT),
    }
    if before is not None:
        found["commit before"] = _commit(before)
    return found | {name: version(name) for name in VERSIONS}


def fsync() -> float:
    """Return the median milliseconds of an fsync in the folder of the databases."""
    took = []
    with tempfile.TemporaryFile() as file:
        for _ in range(50):
            file.write(bytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


def _commit(checkout: Path) -> str:
    """Return a checkout's commit, with a plus if it has local changes."""
    git = ("git", "-C", str(checkout), "describe", "--always", "--dirty=+", "--exclude=*")
    done = subprocess.run(git, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip() or "?"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    configure_logging("ERROR", "text")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to stop all servers
    asked = options()
    cluster = Cluster()
    try:
        code = uvloop.run(run(asked, cluster))
    finally:
        cluster.close()
    sys.exit(code)


if __name__ == "__main__":
    main()
