"""What goes on beside serving, also while the database is away."""

from __future__ import annotations

import asyncio

import pytest

from bridge.app.serving import MEASURE_EVERY, PRUNE_EVERY, measure, prune
from bridge.config.model import Retention
from bridge.ops.metrics import Metrics
from bridge.rooms.store import Backlog, StoreError
from tests.fakes.clock import START, ManualClock, quiet
from tests.fakes.memory import MemoryStore

pytestmark = pytest.mark.asyncio


class Ledger(MemoryStore):
    """Fails at first, then notes what is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.away = True
        self.asked: list[tuple[int, int]] = []
        self.counted = 0

    async def prune(self, bodies_before: int, rows_before: int) -> int:
        if self.away:
            self.away = False
            raise StoreError("away")
        self.asked.append((bodies_before, rows_before))
        return 0

    async def backlog(self) -> Backlog:
        if self.away:
            self.away = False
            raise StoreError("away")
        self.counted += 1
        return await super().backlog()


def retention(bodies: str) -> Retention:
    return Retention.model_validate({"bodies": bodies, "rows": "1d"})


async def test_the_ledger_is_pruned_by_what_is_in_force() -> None:
    ledger, clock = Ledger(), ManualClock()
    kept = [retention("1h")]
    async with asyncio.TaskGroup() as tasks:
        pruning = tasks.create_task(prune(ledger, clock, lambda: kept[-1]))
        await quiet()
        assert ledger.asked == []
        await clock.turn(PRUNE_EVERY)
        kept.append(retention("2h"))
        await clock.turn(PRUNE_EVERY)
        pruning.cancel()
    hour, day, every = 3_600_000, 86_400_000, round(PRUNE_EVERY * 1000)
    first, second = START + every, START + 2 * every
    assert ledger.asked == [(first - hour, first - day), (second - 2 * hour, second - day)]


async def test_what_waits_is_counted() -> None:
    ledger, clock = Ledger(), ManualClock()
    async with asyncio.TaskGroup() as tasks:
        measuring = tasks.create_task(measure(ledger, clock, Metrics()))
        await clock.turn(2 * MEASURE_EVERY)
        measuring.cancel()
    assert ledger.counted == 2
