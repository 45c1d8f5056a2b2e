"""The driver of hypothesis: one target, inputs made from `shapes`, until the time is up.

    python -m tests.fuzz.generated TARGET SECONDS FIGURES

Hypothesis remembers what it has tried in one run, so a long run is many short ones with seeds of
their own. Inputs of the first are tried once more under coverage.py.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.gauge import Gauge
from tests.fuzz.quiet import quiet
from tests.fuzz.reach import reached
from tests.fuzz.shapes import SHAPES, TARGETS
from tests.fuzz.target import Target

BATCH = 500
MEASURED = 300_000
"""Bytes of inputs that are tried again to see what they reach."""


def batch(target: Target, number: int, examples: int, run: Callable[[bytes], None]) -> None:
    """Try `examples` inputs; the same `number` gives the same ones.

    Raises:
        Exception: the first failure, reduced to its shortest input.
    """

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(SHAPES[target.name]())
    def each(data: bytes) -> None:
        run(data)

    each()


def main(name: str, seconds: float, path: Path) -> int:
    target = TARGETS[name]
    gauge = Gauge(path, seconds)

    sample: list[bytes] = []

    def run(data: bytes) -> None:
        gauge.count()
        target.run(data)
        if sum(map(len, sample)) < MEASURED and len(data) < MEASURED // 100:
            sample.append(data)

    number = 0
    try:
        with quiet():
            while not gauge.over:
                batch(target, number, BATCH, run)
                number += 1
    except Exception:  # noqa: BLE001 - whatever it is, it is what we are looking for
        gauge.figures.failure = traceback.format_exc()
    gauge.write()
    gauge.figures.branches = reached(target, sample)
    gauge.write()
    return 1 if gauge.figures.failure else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])))
