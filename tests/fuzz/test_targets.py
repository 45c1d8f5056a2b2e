"""A short fuzzing run: valid inputs and some hundred corrupted ones, always the same."""

from __future__ import annotations

import pytest

from tests.fuzz.generated import batch
from tests.fuzz.quiet import quiet
from tests.fuzz.shapes import TARGETS

EXAMPLES = 150


@pytest.mark.parametrize("name", TARGETS)
def test_valid_inputs_break_no_invariant(name: str) -> None:
    seeds = list(TARGETS[name].seeds())
    assert len(seeds) > 10
    with quiet():
        for seed in seeds:
            TARGETS[name].run(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_corrupted_inputs_break_no_invariant(name: str) -> None:
    seen: list[int] = []

    def run(data: bytes) -> None:
        seen.append(len(data))
        TARGETS[name].run(data)

    with quiet():
        batch(TARGETS[name], 7, EXAMPLES, run)
    assert len(seen) >= EXAMPLES
