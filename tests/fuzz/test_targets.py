"""The fuzzing targets for seconds: honest inputs and some hundred bent ones, always the same."""

from __future__ import annotations

import pytest

from tests.fuzz.generated import batch
from tests.fuzz.quiet import quiet
from tests.fuzz.shapes import TARGETS

EXAMPLES = 150


@pytest.mark.parametrize("name", TARGETS)
def test_honest_inputs(name: str) -> None:
    seeds = list(TARGETS[name].seeds())
    assert len(seeds) > 10
    with quiet():
        for seed in seeds:
            TARGETS[name].run(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_bent_inputs(name: str) -> None:
    seen: list[int] = []

    def run(data: bytes) -> None:
        seen.append(len(data))
        TARGETS[name].run(data)

    with quiet():
        batch(TARGETS[name], 7, EXAMPLES, run)
    assert len(seen) >= EXAMPLES
