"""Encryption with a lost device or database, and encryption switched off."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from ruamel.yaml import YAML

from tests.support.client import said
from tests.support.encrypted import Phones, both_ways, keys_of
from tests.support.operator import crypto_reset, operate
from tests.support.stage import Stage, StageOptions, ended
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.talk import MEI, Talk, wording

pytestmark = pytest.mark.asyncio(loop_scope="module")

HINT = "matrix-webchat crypto reset"


async def devices(phones: Phones, name: str, users: list[str]) -> dict[str, frozenset[str]]:
    """Return the ids of these users' devices that have keys."""
    found = await keys_of(await phones.of(name), users)
    return {user: keys.devices for user, keys in found.items()}


def log_of(stage: Stage) -> str:
    return stage.bridge.log_file.read_text(encoding="utf-8")


async def test_a_deleted_device_is_created_again(stage: Stage, phones: Phones) -> None:
    talk, _ = await phones.chatting("gone1")
    await both_ways(talk, "before")
    (device,) = (await devices(phones, "gone2", [MEI]))[MEI]
    await stage.bridge.stop()
    await operate(stage, "DELETE", f"devices/{device}", MEI)
    await stage.bridge.start()
    await both_ways(talk, "after")
    assert (await devices(phones, "gone3", [MEI]))[MEI] == {device}
    assert HINT not in log_of(stage)


async def test_an_encrypted_chat_of_a_removed_queue_goes_on(stage: Stage, phones: Phones) -> None:
    """The customer's keys come to the queue's user, which is no longer in the configuration."""
    phone, queue = await phones.of("queue-gone"), f"@webchat_queue_2:{stage.synapse.domain}"
    talk = await Talk.open(stage, phone, "hello", host=queue)
    await talk.heard("hello")
    await talk.accept()
    config, yaml = stage.config.read_text(encoding="utf-8"), YAML(typ="safe", pure=True)
    fewer = yaml.load(config)
    fewer["queues"] = fewer["queues"][:1]
    await stage.bridge.stop()
    with stage.config.open("w", encoding="utf-8") as stream:
        yaml.dump(fewer, stream)
    await stage.bridge.start()
    try:
        await talk.reads("was down for a while", queue)
        phone.nio.invalidate_outbound_session(talk.room)
        await both_ways(talk, "without the queue")
    finally:
        await stage.bridge.stop()
        stage.config.write_text(config, encoding="utf-8")
        await stage.bridge.start()


async def test_a_lost_database_is_reported_and_repaired_by_crypto_reset(
    stage: Stage, phones: Phones
) -> None:
    before = await devices(phones, "lost1", [stage.bot])
    await stage.bridge.stop()
    for path in stage.folder.glob("bridge.db*"):
        path.unlink()
    await stage.bridge.start(ready=False)
    assert await ended(stage.bridge) == 16
    assert "is new, but this bridge has already been used with another one" in log_of(stage)
    assert "ANOTHER_DATABASE" not in log_of(stage)  # that sentence alone
    assert await devices(phones, "lost2", [stage.bot]) == before

    await crypto_reset(stage)
    await stage.bridge.start()
    talk, _ = await phones.chatting("lost3")
    await both_ways(talk, "anew")
    after = await devices(phones, "lost4", [stage.bot, MEI])
    assert len(after[stage.bot]) == len(after[MEI]) == 1
    assert not after[stage.bot] & before[stage.bot]


async def test_encryption_that_is_switched_off(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No keys are published, and customers in encrypted rooms are told."""
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
