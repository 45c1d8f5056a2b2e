from __future__ import annotations

import asyncio

import pytest
from vodozemac import GroupSession

from bridge.matrix.crypto import crypto
from bridge.matrix.crypto.wire import Json
from bridge.rooms.ports import Undecryptable
from tests.unit.matrix.crypto.rig import Bridge
from tests.unit.matrix.crypto.world import BOT, USERS

pytestmark = pytest.mark.asyncio


async def test_sender_of_undecryptable_messages_delays_the_room_once(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crypto, "AFTER", 0.01)
    monkeypatch.setattr(crypto, "CATCHING_UP", 0.02)
    missing = Undecryptable("unreadable.no_key", later=True)
    async with bridge.running(), asyncio.timeout(30):
        await bridge.send_key()
        await bridge.until_told()
        await bridge.caught_up()
        from_there: Json = {"device_id": bridge.phone.device_id}
        for patience in (0.03, *[60] * 20):
            bridge.phone.group = GroupSession()
            raw = bridge.phone.say("x", outside=from_there)
            assert await bridge.crypto.open(raw, patience) == missing
        assert len(await bridge.requests(42)) == 42  # each key was requested by both hosts


async def test_a_key_whose_answer_got_lost_is_requested_again_a_few_times(bridge: Bridge) -> None:
    """By the retries of a message that its room keeps, each a minute after the last."""
    raw = bridge.phone.say("x", outside={"device_id": bridge.phone.device_id})
    async with bridge.running(), asyncio.timeout(30):
        await bridge.caught_up()
        for _ in range(2 * crypto._REQUESTS):
            await bridge.crypto.open(raw, ask=False)
            await bridge.crypto.open(raw)
            await bridge.crypto.open(raw)
            bridge.time.ms += 60_000
        count = crypto._REQUESTS * len(USERS.hosts)
        assert len(await bridge.requests(count)) == count


async def test_host_that_never_reads_its_mailbox_delays_messages_only_at_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Minutes after the start, such a host (a foreign account, for example) is ignored."""
    monkeypatch.setattr(crypto, "AFTER", 0.01)
    monkeypatch.setattr(crypto, "CATCHING_UP", 0.02)
    bridge = Bridge()
    await bridge.crypto.upkeep.begin()
    await bridge.crypto.ensure(BOT)
    missing = Undecryptable("unreadable.no_key", later=True)
    async with bridge.running(), asyncio.timeout(30):
        assert await bridge.crypto.open(bridge.phone.say("x", "$1"), 0.0) == missing
        bridge.time.ms += 120_000
        monkeypatch.setattr(crypto, "CATCHING_UP", 60)
        assert await bridge.crypto.open(bridge.phone.say("x", "$2"), 0.01) == missing
        assert await bridge.crypto.open(bridge.phone.say("x", "$3"), 60) == missing, "in vain"


async def test_a_device_that_is_listed_late_is_waited_for(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crypto, "AFTER", 0.01)
    unknown = Undecryptable("unreadable.unknown_device", later=True)
    listed = bridge.world.devices.pop(bridge.phone.user)
    async with bridge.running(), asyncio.timeout(30):
        await bridge.send_key()
        await bridge.until_told()
        raw = bridge.phone.say("hello")
        assert await bridge.crypto.open(raw) == unknown
        bridge.world.devices[bridge.phone.user] = listed
        bridge.world.changed = [bridge.phone.user]
        bridge.told.clear()
        bridge.phone.group = GroupSession()
        await bridge.send_key()
        await bridge.until_told()
        opened = await bridge.crypto.open(raw, 60)
        assert isinstance(opened, dict)
        assert opened["content"] == {"msgtype": "m.text", "body": "hello"}


async def test_keys_are_awaited_again_a_minute_after_a_vain_wait(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many messages arrive meanwhile."""
    monkeypatch.setattr(crypto, "AFTER", 0.01)
    missing = Undecryptable("unreadable.no_key", later=True)
    outside: Json = {"device_id": bridge.phone.device_id}
    async with bridge.running(), asyncio.timeout(30):
        await bridge.caught_up()
        for patience in (0.03, 60):
            raw = bridge.phone.say("x", outside=outside)
            assert await bridge.crypto.open(raw, patience) == missing
            bridge.time.ms += 30_000
        bridge.phone.group = GroupSession()
        early = bridge.phone.room_key()
        raw = bridge.phone.say("hello", outside=outside)
        async with asyncio.TaskGroup() as tasks:
            opened = tasks.create_task(bridge.crypto.open(raw, 60))
            await bridge.requests(4)  # the key is requested, like the first one
            for _ in range(100):
                await asyncio.sleep(0)
            assert not opened.done()
            content = bridge.phone.write(BOT, "m.room_key", early)
            (device_id,) = bridge.world.devices[BOT]
            bridge.world.post(bridge.phone.user, BOT, device_id, "m.room.encrypted", content)
            await bridge.server.wake()
        assert isinstance(opened.result(), dict)


async def test_open_without_ask_queries_no_homeserver(bridge: Bridge) -> None:
    """A transaction with events of all rooms waits for this."""
    async with bridge.running(), asyncio.timeout(30):
        await bridge.send_key()
        await bridge.until_told()
        raw = bridge.phone.say("hello")
        bridge.world.calls.clear()
        unknown = Undecryptable("unreadable.unknown_device", later=True)
        assert await bridge.crypto.open(raw, ask=False) == unknown
        assert "query" not in bridge.world.calls
        assert isinstance(await bridge.crypto.open(raw), dict)
