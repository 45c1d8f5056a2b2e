"""A homeserver that has loaded a registration without the agents' users: seen, said, mended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from bridge.demo.stage import Stage
from bridge.matrix.registration import NOT_LOADED, load_registration, save_registration
from tests.support.operator import examined
from tests.support.staging import staged
from tests.support.talk import MEI, Talk

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    async with staged(request, tmp_path_factory) as stage:
        yield stage


async def dead_letters(stage: Stage, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", "dead-letters", *arguments, "-c", str(stage.config)),
        stdout=asyncio.subprocess.PIPE,
    )
    return (await process.communicate())[0].decode()


async def test_agents_users_that_are_not_loaded(stage: Stage) -> None:
    registration = stage.folder / "registration.yaml"
    whole = load_registration(registration)
    agents = whole.namespaces.users[0]
    older = msgspec.structs.replace(whole.namespaces, users=whole.namespaces.users[1:])
    save_registration(msgspec.structs.replace(whole, namespaces=older), registration)
    await stage.synapse.restart()
    save_registration(whole, registration)  # as `register` writes it, and nobody restarts

    code, table = await examined(stage)
    failed = [line for line in table.splitlines() if line.startswith("FAIL")]
    assert (code, len(failed)) == (1, 1), table
    assert f"has not loaded the namespace {agents.regex}" in failed[0]

    talk = await Talk.open(stage, await stage.customer("ada"), "is anybody there?")
    await talk.queued()
    await talk.desk("accept", agent="A00001")
    await talk.desk("say", text="hello from Mei")
    await talk.reads("sent a message that cannot be shown here", stage.bot)
    listed = await dead_letters(stage, "list")
    letters = [line.split()[0] for line in listed.splitlines() if NOT_LOADED in line]
    assert letters, listed
    assert "copy registration.yaml" in await dead_letters(stage, "show", letters[-1])
    log = stage.bridge.log_file.read_text(encoding="utf-8")
    assert NOT_LOADED in log
    assert "lost a user" not in log

    await stage.synapse.restart()
    code, table = await examined(stage)
    assert code == 0, table
    for letter in letters:
        await dead_letters(stage, "retry", letter)
    await talk.reads("hello from Mei", MEI, patience=90)
    assert await dead_letters(stage, "list") == "No dead letters.\n"
