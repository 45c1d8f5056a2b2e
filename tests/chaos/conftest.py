"""A stage for each chaos test, so that damage done by one cannot affect the next."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bridge.simulator.simulator import SimulatorOptions
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.stage import Stage, StageOptions
from tests.support.staging import bridge_section, staged

__all__ = ["postgres_server"]


@pytest_asyncio.fixture
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """A stage whose call centre resends unacknowledged pushes; without that, loss is unavoidable.

    Its replies are delayed, so that calls are outstanding at any moment. The bridge's database is
    SQLite, or PostgreSQL by indirect parametrisation.
    """
    database = ""
    if getattr(request, "param", "sqlite") == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        database = server.new_database()
    simulator = SimulatorOptions(
        strict=True,
        login_limit=0,
        receipts=True,
        missed_pushes="kept",
        resend_seconds=2.0,
        reply_delay_ms=120,
    )
    options = StageOptions(
        database=database, simulator=simulator, config={"bridge": bridge_section()}
    )
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage
