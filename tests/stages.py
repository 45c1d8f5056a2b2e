"""Runs the checks of `make check` and `make test`, each as a stage with a name and a duration.

Stages of one round run side by side, `JOBS` at a time (from the environment; else one more than
there are cores, three at most: tests of real servers wait for most of their time, but have limits
of time). No two share a port, a file or a database. Each one's output is shown whole when it ends.
A failed stage stops no other: one run shows everything that is wrong, and its last lines say what
failed and how many tests there were.

Tests by chance are as long as the environment says: `WALK_STEPS` (200,000 in `make test`, a night's
run: 4,000,000), `MISSED_SEEDS` (60; 300), `KINDS_SEEDS` (20; 300) and `API_EXAMPLES` (30; 1,000).
`make check` has a tenth, and leaves `tests/unit/test_hostile.py` to `make test`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
JOBS = int(os.environ.get("JOBS") or min(3, (os.cpu_count() or 1) + 1))
PROGRESS_EVERY = 30.0
"""Seconds; a stage's output comes whole, at its end."""
PYTEST = ("-m", "pytest", "-q")
CORE = ("webchat", "conversation")


@dataclass(frozen=True)
class Stage:
    name: str
    arguments: tuple[str, ...]
    """For this Python, or another program."""
    environment: tuple[tuple[str, str], ...] = ()
    """Defaults; what is set outside counts more."""
    program: str = sys.executable


Round = Sequence[Stage]


def parts(
    name: str, each: int, *arguments: str, environment: tuple[tuple[str, str], ...] = ()
) -> Round:
    """A set of tests as `each` stages for a job: the shorter they are, the sooner all jobs end.

    Which files are in which, `--part` in conftest.py says. A stage more costs two seconds, as it
    imports all that the others do: too much where the tests themselves take seconds.
    """
    many = 1 if JOBS == 1 else each * JOBS
    return [
        Stage(f"{name} {part}/{many}", (*PYTEST, f"--part={part}/{many}", *arguments), environment)
        for part in range(1, many + 1)
    ]


# ruff and mypy take their own settings and folders from pyproject.toml.
STATIC: Round = (
    Stage("format", ("-m", "ruff", "format", "--check", ".")),
    Stage("lint", ("-m", "ruff", "check", ".")),
    # The function behind the script `lint-imports`, which has no module to be run as.
    Stage(
        "imports",
        ("-c", "from importlinter.cli import lint_imports_command as run; run()"),
    ),
    Stage("types", ("-m", "mypy")),
)
DOCS = Stage("docs", ("--no-print-directory", "docs"), program="make")
# The protocol and the life cycle, by their own unit tests alone: every branch.
COVERAGE = Stage(
    "coverage of the pure core",
    (
        *PYTEST,
        *(f"tests/unit/{ring}" for ring in CORE),
        *(f"--cov=bridge.{ring}" for ring in CORE),
        "--cov-branch",
        "--cov-report=term-missing:skip-covered",
        "--cov-fail-under=100",
    ),
)
_LIGHT = ("tests/shape", "tests/unit", "--ignore=tests/unit/test_hostile.py")
_FEW = (
    ("WALK_STEPS", "20000"),
    ("MISSED_SEEDS", "6"),
    ("KINDS_SEEDS", "2"),
    ("API_EXAMPLES", "3"),
)
# They measure time.
_ALONE = ("tests/integration/test_load.py", "tests/integration/test_start.py")
_CHAOS = ("tests/chaos/test_storm.py", "tests/chaos/test_kill.py", "tests/chaos/test_cuts.py")
# At their full length in `make chaos`, with the replicas' tests and the storm's long form, and with
# another seed each time. Here the same faults come in the same order, so that a change is judged by
# what it did.
_SHORT = (("CHAOS_KILLS", "5"), ("CHAOS_CUTS", "10"), ("CHAOS_SEED", "7"))
_SIDE_BY_SIDE = (
    "tests",
    # The core's own tests run in the stage of its coverage.
    *(f"--ignore=tests/unit/{ring}" for ring in CORE),
    *(f"--ignore={place}" for place in (*_ALONE, "tests/chaos")),
)
SETS: Mapping[str, Sequence[Round]] = {
    "check": [[*STATIC, *parts("unit", 1, *_LIGHT, environment=_FEW)]],
    "test": [
        [
            # The longest first, as each waits for most of its time; the shortest fill the end.
            *(
                Stage(Path(test).stem.replace("test_", "chaos: "), (*PYTEST, test), _SHORT)
                for test in _CHAOS
            ),
            *parts("unit, conformance, integration", 3, "--durations=10", *_SIDE_BY_SIDE),
            COVERAGE,
            DOCS,
            *reversed(STATIC),
        ],
        [Stage("load, start", (*PYTEST, *_ALONE))],
    ],
}


@dataclass(frozen=True)
class Done:
    stage: Stage
    failed: bool
    seconds: float
    output: str

    def counted(self, word: str) -> int:
        """So many tests passed, failed, … by pytest's last line."""
        found = re.search(rf"(\d+) {word}", self.output.rstrip().rpartition("\n")[2])
        return int(found[1]) if found and "pytest" in self.stage.arguments else 0


def carried_out(stage: Stage, progress: dict[Stage, str]) -> Done:
    """Run a stage to its end; `progress` gets the percentages that pytest writes."""
    began = time.monotonic()
    lines: list[str] = []
    with subprocess.Popen(  # noqa: S603 - our own
        [stage.program, *stage.arguments],
        cwd=ROOT,
        env={**dict(stage.environment), **os.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            if percentage := re.search(r"\[ *(\d+)%\]$", line):
                progress[stage] = f"{percentage[1]} %"
    progress.pop(stage, None)
    return Done(stage, process.returncode != 0, time.monotonic() - began, "".join(lines))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run(rounds: Sequence[Round]) -> int:
    """Run all stages; 0 if all passed."""
    began = time.monotonic()
    done: list[Done] = []
    for stages in rounds:
        say(f"== {', '.join(stage.name for stage in stages)} ({JOBS} at a time)")
        progress: dict[Stage, str] = {}
        with ThreadPoolExecutor(JOBS) as pool:
            pending = {pool.submit(carried_out, stage, progress) for stage in stages}
            while pending:
                ended, pending = wait(pending, PROGRESS_EVERY, FIRST_COMPLETED)
                for one in (future.result() for future in ended):
                    done.append(one)
                    say(one.output.rstrip())
                    result = "FAIL" if one.failed else "pass"
                    say(f"== {result}: {one.stage.name}, {one.seconds:.1f} s")
                if not ended and progress:
                    say("== " + ", ".join(f"{it.name}: {far}" for it, far in progress.items()))
    words = ("passed", "failed", "errors?", "skipped")
    counts = {word.rstrip("s?"): sum(one.counted(word) for one in done) for word in words}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    say(f"== {told} in {time.monotonic() - began:.0f} s")
    failed = [one.stage.name for one in done if one.failed]
    if failed:
        say(f"== FAILED: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    # Hundreds of processes import the same files, and would each compile them anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.exit(run(SETS[sys.argv[1]]))
