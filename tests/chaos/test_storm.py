"""A short run of random faults of all kinds; `make chaos` does a long one."""

from __future__ import annotations

import os
import random

import pytest

from tests.chaos.storm import Act, dealt, play

FAULTS = int(os.environ.get("CHAOS_FAULTS") or 5)
MESSAGES = int(os.environ.get("CHAOS_MESSAGES") or 0)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "act",
    [Act("SQLite", "receipts", 2, 2), Act("three", "receipts", 2, 2)],
    ids=lambda act: act.name,
)
async def test_random_faults_under_load(act: Act, tmp_path_factory: pytest.TempPathFactory) -> None:
    seed = os.environ.get("CHAOS_SEED") or str(random.SystemRandom().randrange(1 << 32))
    folder = tmp_path_factory.mktemp("storm")
    (names,) = dealt(act.store, 1, FAULTS, random.Random(seed))  # noqa: S311 - not for secrets
    played = await play(act, folder, seed, names, MESSAGES)
    assert not played.failure, f"{played.failure} (logs: {folder})"
