"""Strangers' slow homeservers and busy rooms: other rooms go on, and nothing leaks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from vodozemac import GroupSession

from bridge.ids import RoomId, UserId
from bridge.matrix.crypto.wire import Json
from tests.unit.matrix.crypto.rig import Bridge
from tests.unit.matrix.crypto.test_places import event
from tests.unit.matrix.crypto.world import BOT, ROOM, Phone

pytestmark = pytest.mark.asyncio


async def test_slow_homeserver_of_one_room_does_not_delay_the_others(bridge: Bridge) -> None:
    """Neither the other rooms nor the reading of keys wait for it."""
    slow, far, other = asyncio.Event(), "@far:evil", RoomId("!other:here")
    query = bridge.server.query

    async def query_slowly(asker: UserId, users: Sequence[str], *, device: bool = False) -> Json:
        if far in users:
            await slow.wait()
        return await query(asker, users, device=device)

    bridge.server.query = query_slowly  # type: ignore[method-assign]  # of a homeserver that stalls
    bridge.rooms.membership[far] = "join"
    async with bridge.running(), asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        stalled = tasks.create_task(bridge.crypto.seal(BOT, ROOM, "m.room.message", {"body": "x"}))
        await asyncio.sleep(0)
        del bridge.rooms.membership[far]
        await bridge.crypto.seal(BOT, other, "m.room.message", {"body": "y"})
        # A broken olm session makes the bridge query the sender's devices.
        (device_id,) = bridge.world.devices[BOT]
        withheld: Json = {"code": "m.no_olm", "sender_key": "A" * 43}
        bridge.world.post(far, BOT, device_id, "m.room_key.withheld", withheld)
        await bridge.send_key()
        await bridge.until_told()
        bridge.told.clear()
        bridge.phone.group = GroupSession()
        await bridge.send_key()
        await bridge.until_told()
        assert not stalled.done()
        slow.set()


async def test_member_who_leaves_during_encryption_reads_nothing(bridge: Bridge) -> None:
    """A leave counts at once, even while the readers are being determined."""
    carol = Phone(bridge.world, "@carol:here")
    bridge.rooms.membership["@carol:here"] = "join"
    query, asked = bridge.server.query, 0

    async def query_meanwhile(asker: UserId, users: Sequence[str], *, device: bool = False) -> Json:
        nonlocal asked
        asked += 1
        if asked == 1:
            del bridge.rooms.membership["@carol:here"]
            bridge.crypto.invalidate(event("m.room.member", state_key="@carol:here"))
        return await query(asker, users, device=device)

    bridge.server.query = query_meanwhile  # type: ignore[method-assign]  # she leaves meanwhile
    _, content = await bridge.crypto.seal(BOT, ROOM, "m.room.message", {"body": "x"})
    carol.fetch()
    assert carol.room_keys == {}
    bridge.phone.fetch()
    assert bridge.phone.read(content)["content"] == {"body": "x"}


async def test_message_is_sent_although_members_change_all_the_time(
    bridge: Bridge,
) -> None:
    query = bridge.server.query

    async def query_restlessly(
        asker: UserId, users: Sequence[str], *, device: bool = False
    ) -> Json:
        bridge.crypto.invalidate(event("m.room.member", state_key="@carol:here"))
        return await query(asker, users, device=device)

    bridge.server.query = query_restlessly  # type: ignore[method-assign]  # always a change
    _, content = await bridge.crypto.seal(BOT, ROOM, "m.room.message", {"body": "x"})
    bridge.phone.fetch()
    assert bridge.phone.read(content)["content"] == {"body": "x"}
