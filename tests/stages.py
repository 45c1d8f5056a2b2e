"""Run the checks of `make check` and `make test`, each as a stage with a name and a duration.

Stages run in parallel, `JOBS` at a time (environment variable; default: CPU cores + 2, at most 4,
as tests of real servers mostly wait, but have time limits). No two share a port, a file or a
database. A stage's output is printed when it ends.
All stages run even if one fails; the last lines list the failures and the number of tests.

The environment sets the length of randomised tests: `WALK_STEPS` (200,000 in `make test`, 4,000,000
at night), `MISSED_SEEDS` (60; 300), `KINDS_SEEDS` (20; 300), `CRASH_SEEDS` (40; 300),
`API_EXAMPLES` (30; 1,000) and, of all other properties, `EXAMPLES` (100; 1,000, which are new ones
each time). `make check` runs a tenth (of the last a quarter), without the slowest unit tests
(`_SLOW`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
JOBS = int(os.environ.get("JOBS") or min(4, (os.cpu_count() or 1) + 2))
PROGRESS_EVERY = 30.0
"""Seconds between progress lines while no stage ends."""
PYTEST = ("-m", "pytest", "-q")
_COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}
"""Bytecode is written even if the environment forbids it: compiling takes 0.7 s of CPU in each of
hundreds of bridges, and 8 to 10 in each process that reads the tests."""
_MEMORY = Path("/dev/shm")  # noqa: S108 - holds folders of our own, with random names
"""A file system in memory, if the machine has one."""
_ROOM = 2 << 30
"""Bytes that must be free there: a run needs some hundred MiB."""
CORE = ("webchat", "conversation")


@dataclass(frozen=True)
class Stage:
    name: str
    arguments: tuple[str, ...]
    """Arguments of `program`."""
    environment: tuple[tuple[str, str], ...] = ()
    """Default environment variables; those of this process take precedence."""
    program: str = sys.executable
    shared: bool = False
    """True if the stage claims test files one by one, shared with the other such stages."""


Round = Sequence[Stage]


def workers(*arguments: str, environment: tuple[tuple[str, str], ...] = ()) -> Round:
    """Return one stage per job; they share the test files as described in conftest.py."""
    return [
        Stage(f"tests {part}", (*PYTEST, f"--part={part}", *arguments), environment, shared=True)
        for part in (f"{number}/{JOBS}" for number in range(1, JOBS + 1))
    ]


STATIC: Round = (
    Stage("format", ("-m", "ruff", "format", "--check", ".")),
    Stage("lint", ("-m", "ruff", "check", ".")),
    # `lint-imports` cannot be run with -m.
    Stage(
        "imports",
        ("-c", "from importlinter.cli import lint_imports_command as run; run()"),
    ),
    Stage("types", ("-m", "mypy")),
)
DOCS = Stage("docs", ("--no-print-directory", "docs"), program="make")
_FEW = (
    ("WALK_STEPS", "20000"),
    ("MISSED_SEEDS", "6"),
    ("KINDS_SEEDS", "2"),
    ("CRASH_SEEDS", "4"),
    ("API_EXAMPLES", "3"),
)
# Full branch coverage of the pure packages by their own unit tests. Randomised tests are kept short
# here and run in another stage: measuring branches makes them five times as slow.
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
    _FEW,
)
WALKS = Stage(
    "walks",
    (*PYTEST, *(f"tests/unit/conversation/test_{name}.py" for name in ("walk", "missed"))),
)
# These stop and kill processes and servers, and wait until the bridge notices, or run long.
_SLOW = (
    "test_hostile.py",
    "storage/test_postgres_loss.py",
    "storage/test_shards.py",
    "storage/test_sqlite_kill.py",
    "storage/test_transfer.py",
    "storage/test_backup.py",
    "app/test_replica.py",
    "admin/test_document.py",
    "cli/test_file_faults.py",
    "link/test_hostile_server.py",
    "matrix/test_hostile_homeserver.py",
    "media/test_memory.py",
    "media/test_voice.py",
)
_FAST = workers(
    *("tests/shape", "tests/unit", *(f"--ignore=tests/unit/{name}" for name in _SLOW)),
    environment=(*_FEW, ("EXAMPLES", "25")),
)
# A short chaos run, whose storm has a fixed seed, so that its result depends on the change alone.
# `make chaos` runs it in full with a new seed, and the tests of several replicas.
_SHORT = (("CHAOS_KILLS", "5"), ("CHAOS_CUTS", "10"), ("CHAOS_SEED", "7"))
_ALL = workers(
    *("tests", "--durations=10", "--ignore=tests/chaos/test_replicas.py"),
    # These run in the coverage stage.
    *(f"--ignore=tests/unit/{ring}" for ring in CORE),
    environment=_SHORT,
)
SETS: Mapping[str, Round] = {
    "check": [*STATIC, *_FAST],
    # The first worker compiles the tests for the others, which start when the other stages have.
    "test": [_ALL[0], COVERAGE, *reversed(STATIC), WALKS, DOCS, *_ALL[1:]],
}


@dataclass(frozen=True)
class Done:
    stage: Stage
    failed: bool
    seconds: float
    output: str

    def counted(self, word: str) -> int:
        """Return the number of tests that "passed", "failed" etc., from pytest's last line."""
        found = re.search(rf"(\d+) {word}", self.output.rstrip().rpartition("\n")[2])
        return int(found[1]) if found and "pytest" in self.stage.arguments else 0


@contextmanager
def temporary() -> Iterator[Path]:
    """Make a folder for the tests' files: in memory if there is room, unless TMPDIR names one.

    Writing a file to disk for sure takes a tenth of the CPU time of a test with real servers.
    """
    roomy = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM
    place = _MEMORY if roomy and "TMPDIR" not in os.environ else None
    with TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        folder.chmod(0o755)  # as /tmp: root's tests run PostgreSQL as another user
        yield folder


def carried_out(stage: Stage, folder: Path, progress: dict[Stage, str]) -> Done:
    """Run a stage; write pytest's percentages to `progress`.

    `folder`: for its temporary files; holds a marker for each test file that a `shared` stage has
    claimed.
    """
    began = time.monotonic()
    lines: list[str] = []
    sharing = [f"--shared={folder}"] if stage.shared else []
    with subprocess.Popen(  # noqa: S603 - fixed arguments
        [stage.program, *stage.arguments, *sharing],
        cwd=ROOT,
        env={**dict(stage.environment), **os.environ, **_COMPILED, "TMPDIR": str(folder)},
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


def run(stages: Round) -> int:
    """Run all stages; return 0 if all passed."""
    began = time.monotonic()
    done: list[Done] = []
    say(f"== {', '.join(stage.name for stage in stages)} ({JOBS} at a time)")
    progress: dict[Stage, str] = {}
    with temporary() as folder, ThreadPoolExecutor(JOBS) as pool:
        pending = {pool.submit(carried_out, stage, folder, progress) for stage in stages}
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
    # Cache bytecode: hundreds of processes import the same files.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.exit(run(SETS[sys.argv[1]]))
