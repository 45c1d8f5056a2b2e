"""Many rooms at once: everything arrives once and in order, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from tests.support.load import check_arrivals, converse, open_chats
from tests.support.postgres import PostgresServer
from tests.support.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOMS = 10
TEXTS = 10
"""Texts per room and direction."""
PATIENCE = 90.0


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    """The bridge's database URL; empty for a SQLite file in the stage's folder."""
    if request.param == "sqlite":
        return ""
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_database()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, database: str
) -> AsyncIterator[Stage]:
    options = StageOptions(
        database=database, simulator=UNLIMITED, config={"bridge": bridge_section()}
    )
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


async def test_100_texts_in_10_rooms_both_ways(
    stage: Stage, record_property: Callable[[str, object], None]
) -> None:
    chats = await open_chats(stage, ROOMS)
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for chat in chats:
            group.create_task(converse(chat, TEXTS))
    await check_arrivals(chats, PATIENCE)
    took = time.monotonic() - began
    assert sum(len(chat.asked) + len(chat.answered) for chat in chats) == 2 * ROOMS * TEXTS
    record_property("seconds", round(took, 1))
    print(f"{2 * ROOMS * TEXTS} texts in {ROOMS} rooms took {took:.1f} s")  # noqa: T201 - a figure
