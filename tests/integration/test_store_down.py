"""The database stops during chats: the homeserver gets 503 and keeps its events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bridge.simulator.simulator import SimulatorOptions
from tests.support.load import Chat, check_arrivals, open_chats
from tests.support.postgres import PostgresServer
from tests.support.stage import Stage, StageOptions
from tests.support.staging import bridge_section, staged

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE = 120.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: PostgresServer,
) -> AsyncIterator[Stage]:
    options = StageOptions(
        database=postgres_server.new_database(),
        simulator=SimulatorOptions(strict=True, login_limit=0, receipts=True, missed_pushes="kept"),
        config={"bridge": bridge_section()},
    )
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


Opened = dict[tuple[bool, bool], list[Chat]]
"""The chats of each case, by (crash, receipts)."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(stage: Stage) -> Opened:
    """Open all chats before the first outage: Synapse may hold back an invitation soon after one
    (`matrix.catchup`).
    """
    chats = {}
    for receipts in (True, False):
        await serves(stage, receipts=receipts)
        for crash in (True, False):
            chats[crash, receipts] = await open_chats(stage, 2, f"db-{crash}-{receipts}".lower())
    return chats


async def serves(stage: Stage, *, receipts: bool) -> None:
    options = {"receipts": receipts, "missed_pushes": "kept" if receipts else "lost"}
    await stage.simulator.do({"op": "set", "options": options})


@pytest.mark.parametrize("receipts", [True, False], ids=["receipts", "as of 2016"])
@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "crashed"])
async def test_database_away(
    stage: Stage, opened: Opened, postgres_server: PostgresServer, crash: bool, receipts: bool
) -> None:
    """503; later everything arrives once and in order, both ways.

    Also from a server without repeated pushes, as the links stay up.
    """
    await serves(stage, receipts=receipts)
    chats = opened[crash, receipts]
    for chat in chats:
        await chat.ask()
        await chat.answer()
        await chat.everything_arrived(PATIENCE)
    await asyncio.to_thread(postgres_server.stop, crash=crash)
    try:
        event: dict[str, object] = {
            "type": "m.room.message",
            "event_id": f"$never-{crash}-{receipts}",
            "room_id": chats[0].talk.room,
            "sender": "@nobody:elsewhere",
            "content": {},
        }
        async with stage.session.put(
            f"{stage.bridge.url}/_matrix/app/v1/transactions/down-{crash}-{receipts}",
            json={"events": [event]},
            headers={"Authorization": "Bearer demo-hs-token"},
        ) as response:
            assert response.status == 503
        for _ in range(3):
            for chat in chats:
                await chat.ask()
                await chat.answer()
    finally:
        await asyncio.to_thread(postgres_server.start)
    await check_arrivals(chats, PATIENCE)
