"""Fixtures of the desk: a Chromium per module, in which each test opens its own windows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.desk.floor import OpenFloor, chromium, floor_with


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest.fixture
def floor(browser: Browser) -> OpenFloor:
    return partial(floor_with, browser)
