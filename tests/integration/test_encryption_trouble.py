"""Encryption when something was lost: a device, the database; and encryption switched off."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from bridge.demo.customer import PATIENCE, said
from bridge.demo.stage import Stage, StageOptions
from tests.support.encrypted import EncryptedCustomer, Phones
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.talk import MEI, Talk, wording

pytestmark = pytest.mark.asyncio(loop_scope="module")

HINT = "matrix-webchat crypto reset"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    options = StageOptions(simulator=UNLIMITED, config={"bridge": bridge_section()})
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="module")
async def phones(stage: Stage) -> AsyncIterator[Phones]:
    async with AsyncExitStack() as closing:
        yield Phones(stage, closing)


async def crypto_reset(stage: Stage) -> None:
    """As an operator types it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge", "crypto", "reset", "--yes", "-c", str(stage.config)
    )
    assert await process.wait() == 0


async def devices(phones: Phones, name: str, users: list[str]) -> dict[str, set[str]]:
    """The ids of these users' devices that have keys."""
    phone = await phones.of(name)
    reply = await phone.call("POST", "v3/keys/query", {"device_keys": {u: [] for u in users}})
    found = reply["device_keys"]
    assert isinstance(found, dict)
    return {user: set(listed) for user, listed in found.items()}


async def learns_of_a_new_device(phone: EncryptedCustomer, user: str) -> None:
    """Return when the client knows a device of the user that it did not know before."""
    known = set(phone.nio.device_store[user])
    async with asyncio.timeout(PATIENCE):
        while set(phone.nio.device_store[user]) <= known:
            await phone.sync(timeout_ms=1_000)


async def both_ways(talk: Talk, word: str) -> None:
    await talk.say(f"can you read {word}?")
    await talk.heard(f"can you read {word}?")
    await talk.desk("say", text=f"yes, {word}")
    await talk.reads(f"yes, {word}", MEI)


def log_of(stage: Stage) -> str:
    return stage.bridge.log_file.read_text(encoding="utf-8")


async def test_a_device_that_is_gone_is_made_again(stage: Stage, phones: Phones) -> None:
    talk, _ = await phones.chatting("gone1")
    await both_ways(talk, "before")
    (device,) = (await devices(phones, "gone2", [MEI]))[MEI]
    await stage.bridge.stop()
    async with stage.session.delete(
        f"{stage.synapse.address}/_matrix/client/v3/devices/{device}",
        params={"user_id": MEI},
        headers={"Authorization": "Bearer demo-as-token"},
        json={},
    ) as response:
        assert response.status == 200, await response.text()
    await stage.bridge.start()
    await both_ways(talk, "after")
    assert (await devices(phones, "gone3", [MEI]))[MEI] == {device}
    assert HINT not in log_of(stage)


async def test_a_lost_database_is_noticed_and_reset_mends_it(stage: Stage, phones: Phones) -> None:
    before = await devices(phones, "lost1", [stage.bot])
    await stage.bridge.stop()
    for path in stage.folder.glob("bridge.db*"):
        path.unlink()
    await stage.bridge.start()
    # Until then it works, but for those who insist on a cross-signed device.
    talk, phone = await phones.chatting("lost2")
    await both_ways(talk, "for now")
    assert HINT in log_of(stage)

    await stage.bridge.stop()
    await crypto_reset(stage)
    await stage.bridge.start()
    await learns_of_a_new_device(phone, stage.bot)
    # Element gives a session's key to new devices too; nio only with the next session.
    phone.nio.invalidate_outbound_session(talk.room)
    await both_ways(talk, "afresh")
    anew, _ = await phones.chatting("lost3")
    await both_ways(anew, "anew")
    after = await devices(phones, "lost4", [stage.bot, MEI])
    assert len(after[stage.bot]) == len(after[MEI]) == 1
    assert not after[stage.bot] & before[stage.bot]


async def test_encryption_that_is_switched_off(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No keys are published, and whoever comes with an encrypted room is told."""
    section = bridge_section(encryption={"allow": False})
    options = StageOptions(simulator=UNLIMITED, config={"bridge": section})
    async with staged(request, tmp_path_factory, options) as stage, AsyncExitStack() as closing:
        phones = Phones(stage, closing)
        assert await devices(phones, "off1", [stage.bot]) == {stage.bot: set()}
        talk, phone = await phones.talk("off2", "sealed for nobody")
        await talk.reads("encryption is switched off here", stage.bot)
        event = next(e for e in phone.events(talk.room) if said("sealed for nobody")(e))
        await talk.reads_reply("encryption is switched off here", str(event["event_id"]))
        assert [wording(e) for e in talk.messages(stage.bot) if "Hello" in wording(e)] == []
