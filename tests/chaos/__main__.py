"""`make chaos`: a long run of random faults with a report, and all other chaos tests.

The environment may set `CHAOS_SEED`, `CHAOS_FAULTS` (100) and `CHAOS_MESSAGES` (10,000). The same
seed gives the same faults in the same order, though not at exactly the same times. If act names
("SQLite, plain") are given as arguments, only these run, and no report is written.
"""

from __future__ import annotations

import asyncio
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from math import ceil
from pathlib import Path

from bridge.ops.logging import configure_logging
from tests.bench.bench_bridge import _commit
from tests.chaos.ground import SERVERS, SIZE
from tests.chaos.report import Report, write
from tests.chaos.storm import Act, Played, dealt, play, say

FAULTS = int(os.environ.get("CHAOS_FAULTS") or 100)
MESSAGES = int(os.environ.get("CHAOS_MESSAGES") or 10_000)
RESULTS = Path(__file__).with_name("results")
VERSIONS = ("matrix-synapse", "asyncpg", "aiohttp", "websockets", "vodozemac", "matrix-nio")


def acts() -> Sequence[Act]:
    """Return an act for each combination of store and server."""
    return [Act(store, server) for server, store in product(SERVERS, SIZE)]


def machine() -> dict[str, str]:
    found = {
        "when": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "cores": str(os.cpu_count()),
        "load before": f"{os.getloadavg()[0]:.2f}",
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": _commit(Path(__file__).parents[2]),
    }
    return found | {name: version(name) for name in VERSIONS}


async def run(seed: str, wanted: Sequence[str]) -> Report:
    chosen = acts()
    each, texts = ceil(FAULTS / len(chosen)), ceil(MESSAGES / len(chosen))
    report = Report(machine(), seed, [])
    faults: dict[str, list[str]] = {}
    for store in SIZE:
        rng = random.Random(f"{seed} {store}")  # noqa: S311 - not for secrets
        mine = [act for act in chosen if act.store == store]
        hands = dealt(store, len(mine), each, rng)
        faults |= {act.name: names for act, names in zip(mine, hands, strict=True)}
    for act in chosen:
        if not wanted or act.name in wanted:
            folder = Path(tempfile.mkdtemp(prefix="chaos-"))
            say(f"== logs: {folder}")
            names = faults[act.name]
            report.played.append(await play(act, folder, f"{seed} {act.name}", names, texts))
            if not wanted:  # write after each act, lest a later crash lose the results
                RESULTS.mkdir(exist_ok=True)
                (RESULTS / f"{report.machine['commit']}.json").write_bytes(report.encoded())
                write(report)
    return report


def main() -> int:
    configure_logging("ERROR", "text")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop all servers on SIGTERM too
    seed = os.environ.get("CHAOS_SEED") or str(random.SystemRandom().randrange(1 << 32))
    report = asyncio.run(run(seed, sys.argv[1:]))
    failed: list[Played] = [one for one in report.played if one.failure]
    for one in failed:
        say(f"== FAILED: {one.act.name}, seed {report.seed}: {one.failure}")
    others = 0
    if not sys.argv[1:]:
        command = (
            sys.executable,
            "-m",
            "pytest",
            "tests/chaos",
            "--ignore=tests/chaos/test_storm.py",
        )
        others = subprocess.run(command, check=False).returncode  # noqa: S603 - fixed arguments
    return 1 if failed or others else 0


if __name__ == "__main__":
    sys.exit(main())
