"""Each state of the keys on a real Synapse: `doctor` names it, and its advice repairs it.

After each repair the next encrypted message is read on both sides, and the doctor finds no fault.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.support.encrypted import EncryptedCustomer, Phones, both_ways, keys_of
from tests.support.operator import Backup, crypto_reset, examined, failures, operate
from tests.support.stage import Stage, ended
from tests.support.talk import MEI, Talk

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def check_repaired(stage: Stage, talk: Talk, phone: EncryptedCustomer, word: str) -> None:
    """Check that both sides read the next message and that the doctor finds no fault."""
    await both_ways(talk, word)
    assert await failures(stage) == {}
    assert phone.unreadable(talk.room) == []


async def until_renewed(stage: Stage, phone: EncryptedCustomer, before: frozenset[str]) -> None:
    """Wait until the customer's client knows the bot's new device, as Element soon would."""
    await phone.learns_anew(stage.bot, before)
    phone.nio.invalidate_outbound_session(phone_room(phone))  # Element does so by itself


def phone_room(phone: EncryptedCustomer) -> str:
    """The customer's only room."""
    (room,) = phone.nio.rooms
    return str(room)


async def device_of(phone: EncryptedCustomer, user: str) -> frozenset[str]:
    return (await keys_of(phone, [user]))[user].devices


async def test_the_doctor_finds_no_fault_in_sound_keys(stage: Stage, phones: Phones) -> None:
    talk, _ = await phones.chatting("well")
    await both_ways(talk, "well")
    assert await failures(stage) == {}
    _, table = await examined(stage)
    assert "users with the device WEBCHAT_" in table
    assert "encryption, one-time keys" in table


async def test_a_device_that_was_deleted(stage: Stage, phones: Phones) -> None:
    """By an administrator of the homeserver."""
    talk, phone = await phones.chatting("deleted")
    await both_ways(talk, "before")
    await stage.bridge.stop()
    (device,) = await device_of(phone, MEI)
    await operate(stage, "DELETE", f"devices/{device}", MEI)
    found = await failures(stage)
    assert found == {
        "encryption, keys": f"{MEI}: the device {device} has no keys on the homeserver"
    }
    await stage.bridge.start()
    await check_repaired(stage, talk, phone, "after the device was made again")


async def test_a_database_that_was_restored(stage: Stage, phones: Phones) -> None:
    talk, phone = await phones.chatting("older")
    await stage.bridge.stop()
    backup = Backup(stage)
    backup.make()
    await stage.bridge.start()
    await both_ways(talk, "of the lost time")
    before = await device_of(phone, stage.bot)
    await stage.bridge.stop()
    backup.restore()
    found = await failures(stage)
    assert list(found) == ["encryption, database"]
    assert "older copy" in found["encryption, database"]
    await stage.bridge.start()
    await until_renewed(stage, phone, before)
    await check_repaired(stage, talk, phone, "with new devices")


async def test_keys_on_the_homeserver_from_a_lost_database(stage: Stage, phones: Phones) -> None:
    """The bridge's database was lost; the homeserver still has the keys of the old one."""
    await stage.bridge.stop()
    for path in stage.folder.glob("bridge.db*"):
        path.unlink()
    _, table = await examined(stage)
    assert "this database is new" in table
    await stage.bridge.start(ready=False)
    assert await ended(stage.bridge) == 16
    found = await failures(stage)
    assert list(found) == ["encryption, keys"]
    assert "are not those of this database" in found["encryption, keys"]
    assert stage.bot in found["encryption, keys"]
    await crypto_reset(stage)
    await stage.bridge.start()
    talk, phone = await phones.chatting("lost")
    await check_repaired(stage, talk, phone, "with new identities")


async def test_a_changed_pickle_key(stage: Stage, phones: Phones) -> None:
    talk, phone = await phones.chatting("secret")
    await both_ways(talk, "before")
    await stage.bridge.stop()
    sound = stage.config.read_text(encoding="utf-8")
    section = "bridge:\n  encryption: {pickle_key: another-secret-of-theirs}\n"
    assert "\nbridge:\n" in sound
    stage.config.write_text(sound.replace("bridge:\n", section, 1), encoding="utf-8")
    found = await failures(stage)
    assert "sealed with another bridge.encryption.pickle_key" in found["encryption"]
    await stage.bridge.start(ready=False)
    assert await ended(stage.bridge) == 14
    before = await device_of(phone, stage.bot)
    await crypto_reset(stage)
    await stage.bridge.start()
    await until_renewed(stage, phone, before)
    await check_repaired(stage, talk, phone, "with the new secret")


async def test_no_one_time_keys_left(stage: Stage, phones: Phones) -> None:
    """Somebody claimed them all while the bridge was away."""
    talk, phone = await phones.chatting("barren")
    await stage.bridge.stop()
    (device,) = await device_of(phone, stage.bot)
    wanted = {"one_time_keys": {stage.bot: {device: "signed_curve25519"}}}
    async with asyncio.TaskGroup() as tasks:
        for _ in range(60):
            tasks.create_task(phone.call("POST", "v3/keys/claim", dict(wanted)))
    found = await failures(stage)
    none_left = f"{stage.bot}: none left, so the next sender gets the fallback key"
    assert found == {"encryption, one-time keys": none_left}
    await stage.bridge.start()
    await check_repaired(stage, talk, phone, "with new one-time keys")


async def test_reset_waits_until_the_bridge_has_stopped(stage: Stage) -> None:
    assert "stop it first" in await crypto_reset(stage, expected=14)
    assert await failures(stage) == {}
