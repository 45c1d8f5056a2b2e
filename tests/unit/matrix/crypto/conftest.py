from __future__ import annotations

import pytest_asyncio

from tests.unit.matrix.crypto.rig import Bridge
from tests.unit.matrix.crypto.world import BOT, QUEUE


@pytest_asyncio.fixture
async def bridge() -> Bridge:
    made = Bridge()
    await made.crypto.upkeep.begin()
    for host in (BOT, QUEUE):
        await made.crypto.ensure(host)
    return made
