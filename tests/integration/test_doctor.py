"""The doctor against a real Synapse: with the bridge up, with it down, and with wrong tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.client import restart
from tests.support.operator import examined
from tests.support.postgres import PostgresServer
from tests.support.stage import Stage, StageOptions, set_stage
from tests.support.staging import staged


@pytest_asyncio.fixture
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    async with staged(request, tmp_path_factory) as stage:
        yield stage


@pytest.mark.asyncio
async def test_doctor(stage: Stage) -> None:
    code, table = await examined(stage)
    assert code == 0, table
    assert "the homeserver pinged the running bridge" in table

    assert await stage.bridge.stop() == 0
    code, table = await examined(stage)
    assert code == 0, table
    assert "the homeserver pinged http://" in table
    sound = stage.config.read_text(encoding="utf-8")

    stage.config.write_text(sound.replace("demo-hs-token", "another-token"), encoding="utf-8")
    code, table = await examined(stage)
    assert code == 1
    failed = [line for line in table.splitlines() if line.startswith("FAIL")]
    assert [line[6:34].strip() for line in failed] == ["registration file", "homeserver to bridge"]
    assert "M_BAD_STATUS" in failed[1]

    stage.config.write_text(sound.replace("demo-as-token", "another-token"), encoding="utf-8")
    code, table = await examined(stage)
    assert code == 1
    assert "M_UNKNOWN_TOKEN" in table

    # The bot's name is the bridge's on this server even if the configured domain is wrong.
    domain = f"domain: {stage.synapse.domain}"
    assert domain in sound
    elsewhere = sound.replace(domain, "domain: elsewhere.org")
    serves = f"{stage.synapse.domain}: customer"
    assert serves in elsewhere
    elsewhere = elsewhere.replace(serves, "elsewhere.org: customer")
    stage.config.write_text(elsewhere, encoding="utf-8")
    code, table = await examined(stage)
    assert code == 1
    assert "@webchatbot:elsewhere.org: homeserver.domain is not this server's name" in table

    # Right after the doctor took its place to answer the ping, the bridge can start again.
    stage.config.write_text(sound, encoding="utf-8")
    await stage.bridge.start()


@pytest.mark.asyncio
async def test_a_homeserver_that_its_administrator_has_closed(stage: Stage) -> None:
    """It still answers all that registers or looks up a user who is there."""
    closed = {"hs_disabled": True, "hs_disabled_message": "Closed for today"}
    closed |= {"admin_contact": "mailto:root@localhost", "track_appservice_user_ips": True}
    stage.synapse._extra = {**stage.synapse._extra, **closed}
    await restart(stage.synapse)
    code, table = await examined(stage)
    assert code == 1
    failed = [line for line in table.splitlines() if line.startswith("FAIL")]
    assert [line[6:34].strip() for line in failed] == ["sync"]
    assert "M_RESOURCE_LIMIT_EXCEEDED Closed for today" in failed[0]
    assert "nothing is wrong with the bridge" in table


@pytest.mark.asyncio
async def test_a_wrong_base_url_is_one_finding(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    """All processes want to leave their rooms, but for a reason that the next line tells."""
    url = postgres_server.new_schema()
    options = StageOptions(database=url)
    async with set_stage(tmp_path, options) as stage:
        await stage.bridge.stop()
        sound = stage.config.read_text(encoding="utf-8")
        assert "/webchat\n" in sound
        wrong = sound.replace("/webchat\n", "/wabchet\n")
        stage.config.write_text(wrong, encoding="utf-8")
        await stage.bridge.start(ready=False)
        leaving = f"SELECT count(*) FROM {url.rpartition('=')[2]}.replicas WHERE leaving"  # noqa: S608
        async with asyncio.timeout(30):
            while postgres_server.sql(leaving) != "1":  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        code, table = await examined(stage)
        assert code == 1
        failed = [line for line in table.splitlines() if line.startswith("FAIL")]
        assert [line[6:34].strip() for line in failed] == ["WebChat login"]
        assert "all 256 shards are served" in table
