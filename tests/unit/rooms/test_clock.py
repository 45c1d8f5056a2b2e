"""The real clock."""

from __future__ import annotations

import asyncio
import time

import pytest

from bridge.rooms.ports import Clock
from bridge.rooms.surroundings import SystemClock


@pytest.mark.asyncio
async def test_the_clock_tells_milliseconds_and_sleeps() -> None:
    clock: Clock = SystemClock()
    assert abs(clock.now() - time.time_ns() // 1_000_000) < 1_000
    started = asyncio.get_running_loop().time()
    await clock.sleep(0.01)
    assert asyncio.get_running_loop().time() - started >= 0.009
