"""What is remembered of our visits to a server, and what a clock or a store can do to it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bridge.link.door import Visits
from bridge.rooms.store import StoreError
from tests.unit.link.rig import Facts, settings_for

NOW = 1_733_011_200_000
SETTINGS = settings_for("http://crm/webchat", login_count=3, login_seconds=60.0)


@dataclass
class Clock:
    at: int = NOW

    def now(self) -> int:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += round(seconds * 1000)


class Down(Facts):
    async def get(self, name: str) -> str | None:
        raise StoreError("down")

    async def put(self, name: str, value: str) -> None:
        raise StoreError("down")


@pytest.mark.asyncio
async def test_the_newest_visits_count_for_one_window() -> None:
    clock, facts = Clock(), Facts()
    before = Visits(SETTINGS, facts, clock)
    assert await before.load() == []
    for _ in range(5):
        await before.note()
        await clock.sleep(10)
    after = Visits(SETTINGS, facts, clock)
    assert await after.load() == [30.0, 40.0, 50.0]
    await clock.sleep(35)
    assert await Visits(SETTINGS, facts, clock).load() == [5.0, 15.0]
    await clock.sleep(60)
    assert await Visits(SETTINGS, facts, clock).load() == []


@pytest.mark.asyncio
async def test_no_more_is_kept_than_counts() -> None:
    clock, facts = Clock(), Facts()
    visits = Visits(
        settings_for("http://crm/webchat", login_count=1000, login_seconds=60.0), facts, clock
    )
    for _ in range(100):
        await visits.note()
        await clock.sleep(1)
    (kept,) = facts.kept.values()
    assert len(kept.split()) <= 60


@pytest.mark.asyncio
async def test_a_clock_that_was_set_back_costs_one_window() -> None:
    facts = Facts()
    before = Visits(SETTINGS, facts, Clock(NOW + 86_400_000))
    await before.note()
    clock = Clock()
    after = Visits(SETTINGS, facts, clock)
    assert await after.load() == [60.0]
    await clock.sleep(61)
    for _ in range(3):
        await after.note()
    await clock.sleep(61)
    assert await Visits(SETTINGS, facts, clock).load() == []


@pytest.mark.asyncio
async def test_a_lower_limit_knows_the_newest() -> None:
    facts = Facts()
    facts.kept["visits http://crm/webchat/tpi"] = f"{NOW - 20_000} nonsense {NOW - 10_000} -1"
    fewer = settings_for("http://crm/webchat", login_count=1, login_seconds=60.0)
    assert await Visits(fewer, facts, Clock()).load() == [50.0]


@pytest.mark.asyncio
async def test_a_store_that_is_down_stops_nobody() -> None:
    visits = Visits(SETTINGS, Down(), Clock())
    assert await visits.load() == []
    await visits.note()
