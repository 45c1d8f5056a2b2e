"""Runs the checks of `make check` and `make test`, each as a stage with a name and a duration.

A failed stage does not stop the next: one run shows everything that is wrong. The tests come last,
so that the output ends with pytest's own summary.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTEST = ("-m", "pytest", "-q")
CORE = ("webchat", "conversation")


@dataclass(frozen=True)
class Stage:
    name: str
    arguments: tuple[str, ...]
    """For this Python."""


# ruff and mypy take their own settings and folders from pyproject.toml.
STATIC = (
    Stage("format", ("-m", "ruff", "format", "--check", ".")),
    Stage("lint", ("-m", "ruff", "check", ".")),
    Stage("types", ("-m", "mypy")),
    # The function behind the script `lint-imports`, which has no module to be run as.
    Stage(
        "imports",
        ("-c", "from importlinter.cli import lint_imports_command as run; run()"),
    ),
)
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
SETS: Mapping[str, tuple[Stage, ...]] = {
    "check": (*STATIC, Stage("unit", (*PYTEST, "tests/shape", "tests/unit"))),
    "test": (
        *STATIC,
        COVERAGE,
        # tests/chaos among them: the kills and cuts under load take two and a half minutes.
        Stage("unit, conformance, integration, chaos", (*PYTEST, "--durations=10", "tests")),
    ),
}


def say(line: str) -> None:
    # Flushed, to stand in the right place among the output of the stages themselves.
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run(stages: Sequence[Stage]) -> int:
    """Run all stages; 0 if all passed."""
    failed: list[str] = []
    for number, stage in enumerate(stages, start=1):
        last = number == len(stages)
        say(f"== {number}/{len(stages)} {stage.name}")
        started = time.monotonic()
        command = [sys.executable, *stage.arguments]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603 - our own
        if code != 0:
            failed.append(stage.name)
        if not last:
            word = "FAIL" if code else "pass"
            say(f"== {word}: {stage.name}, {time.monotonic() - started:.1f} s")
    if failed:
        # Below the tests' own summary, which may be all green.
        say(f"== FAILED: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(run(SETS[sys.argv[1]]))
