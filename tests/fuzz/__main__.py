"""Run all fuzzing targets with all drivers, and report the results.

    python -m tests.fuzz [--minutes 10] [--target NAME ...] [--driver NAME ...] [--parallel N]
    python -m tests.fuzz replay TARGET FILE

Each pair of target and driver runs in its own process. Inputs that reach new branches are kept in
.fuzz/ for the next run. The exit code is 1 if an input failed or memory grew. A run of all pairs
for at least ten minutes each also writes `results.md` in this folder.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from tests.fuzz.gauge import Figures
from tests.fuzz.shapes import TARGETS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".fuzz"
DRIVERS = ("generated", "guided")
GROWTH = 1.25
"""Maximum ratio of Python's memory blocks at the end and after a tenth of the run. Not 1, as
hypothesis remembers the inputs of the current batch."""
LONG = 600
"""Minimum seconds of each run for `results.md`."""
RESULTS = Path(__file__).with_name("results.md")
COLUMNS = (
    *("target", "driver", "seconds", "CPU s", "executions", "inputs kept", "branches"),
    *("RSS MiB, 10 % → end", "blocks, 10 % → end", "result"),
)
HEAD = """# What fuzzing came to

`make fuzz` ([what is tried](__init__.py)): hypothesis generates, atheris is guided by the branches
that an input reaches. "Branches" are those of the modules under test; "blocks" are what Python
holds, and must not grow.

"""
GRACE = 120
"""Seconds added to a run's timeout for loading, measuring and ending."""


@dataclass(frozen=True)
class Run:
    target: str
    driver: str

    @property
    def folder(self) -> Path:
        return FOLDER / self.target

    @property
    def figures(self) -> Path:
        return self.folder / f"{self.driver}.json"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.driver}.log"


Results = Sequence[tuple[Run, Figures]]


def carry_out(run: Run, seconds: int) -> Figures:
    """Run a driver on a target in a new process."""
    run.folder.mkdir(parents=True, exist_ok=True)
    run.figures.unlink(missing_ok=True)
    command = [sys.executable, "-m", f"tests.fuzz.{run.driver}", run.target, str(seconds)]
    command.append(str(run.figures))
    if run.driver == "guided":
        command.append(str(run.folder))
    with run.log.open("wb") as log:
        try:
            code = subprocess.run(  # noqa: S603 - fixed arguments
                command, cwd=ROOT, stdout=log, stderr=log, timeout=seconds + GRACE, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
    told = Figures()
    if run.figures.exists():
        told = msgspec.json.decode(run.figures.read_bytes(), type=Figures)
    if run.driver == "guided":
        _complete(run, told)
    if code != 0 and not told.failure:
        told.failure = _end_of(run.log)
    return told


def _complete(run: Run, told: Figures) -> None:
    """Add the final statistics of libFuzzer, and the branches that its corpus reaches."""
    log = run.log.read_text(encoding="utf-8", errors="replace")
    if found := re.search(r"number_of_executed_units: *(\d+)", log):
        told.executions = int(found[1])
    if found := re.search(r"DONE .* corp: (\d+)/", log):
        told.corpus = int(found[1])
    command = (sys.executable, "-m", "tests.fuzz.reach", run.target, str(run.folder / "corpus"))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    told.branches = done.stdout.strip()
    if done.returncode:
        told.failure = done.stderr


def _end_of(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-30:]) or "it ended without a word"


def grew(told: Figures) -> bool:
    """Whether memory grew clearly after the first tenth of the run."""
    if told.warm is None or told.last is None:
        return False
    return told.last.blocks > told.warm.blocks * GROWTH


def row(run: Run, told: Figures) -> tuple[str, ...]:
    """Return the table row of a run, see `COLUMNS`."""
    rss, blocks = "?", "?"
    if told.warm is not None and told.last is not None:
        rss = f"{told.warm.rss // 1024} → {told.last.rss // 1024}"
        blocks = f"{told.warm.blocks:,} → {told.last.blocks:,}"
    return (
        *(run.target, run.driver, f"{told.seconds:.0f}", f"{told.cpu:.0f}"),
        *(f"{told.executions:,}", str(told.corpus or "–"), told.branches, rss, blocks),
        "FAIL" if told.failure else "GREW" if grew(told) else "pass",
    )


def table(results: Results) -> Table:
    shown = Table(title="Fuzzing", header_style="bold")
    for name in COLUMNS:
        shown.add_column(name, justify="left" if name in {"target", "driver"} else "right")
    for run, told in results:
        shown.add_row(*row(run, told))
    return shown


def markdown(results: Results) -> str:
    """Return the text of `results.md`."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *(row(run, told) for run, told in results)]
    return HEAD + "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["replay"]:
        TARGETS[arguments[1]].run(Path(arguments[2]).read_bytes())
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--target", action="append", choices=sorted(TARGETS))
    parser.add_argument("--driver", action="append", choices=DRIVERS)
    parser.add_argument("--parallel", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args(arguments)
    runs = [
        Run(target, driver)
        for driver in asked.driver or DRIVERS
        for target in asked.target or TARGETS
    ]
    seconds = max(1, round(asked.minutes * 60))
    console = Console(width=150, soft_wrap=True)
    rounds = -(-len(runs) // asked.parallel)
    console.print(
        f"{len(runs)} runs of {seconds} s, {asked.parallel} at a time: about "
        f"{rounds * seconds / 60:.0f} minutes"
    )
    started = time.monotonic()

    def one(run: Run) -> Figures:
        told = carry_out(run, seconds)
        word = "FAIL" if told.failure else "done"
        console.print(
            f"{word}  {run.target}, {run.driver}: {told.executions:,} executions "
            f"({(time.monotonic() - started) / 60:.1f} minutes since the start)"
        )
        return told

    with ThreadPoolExecutor(asked.parallel) as pool:
        results = list(zip(runs, pool.map(one, runs), strict=True))
    console.print(table(results))
    if len(runs) == len(DRIVERS) * len(TARGETS) and seconds >= LONG:
        RESULTS.write_text(markdown(results), encoding="utf-8")
    for run, told in results:
        if told.failure:
            console.print(f"\n{run.target}, {run.driver}:\n{told.failure}", markup=False)
    return 1 if any(told.failure or grew(told) for _, told in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
