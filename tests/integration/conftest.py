"""Fixtures of the integration tests: a PostgreSQL per session, a stage per module."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.support.encrypted import Phones
from tests.support.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """The default stage; a module overrides it with a fixture of the same name."""
    options = StageOptions(simulator=UNLIMITED, config={"bridge": bridge_section()})
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="module")
async def phones(stage: Stage) -> AsyncIterator[Phones]:
    """Factory of encrypting customer clients, which are closed after the test."""
    async with AsyncExitStack() as closing:
        yield Phones(stage, closing)
