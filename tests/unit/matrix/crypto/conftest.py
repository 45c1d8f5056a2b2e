from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from tests.unit.matrix.crypto.rig import BOT, QUEUE, Bridge


@pytest_asyncio.fixture
async def bridge(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bridge]:
    async with aiohttp.ClientSession() as session:
        made = Bridge(session, monkeypatch)
        await made.crypto.begin()
        for host in (BOT, QUEUE):
            await made.crypto.ensure(host)
        yield made
