from __future__ import annotations

from collections.abc import Sequence

import pytest

from bridge.ids import UserId
from bridge.matrix.crypto.encoding import Json
from bridge.matrix.crypto.own import OLM
from bridge.matrix.crypto.peers import Peers, read_devices
from tests.unit.matrix.crypto.world import ALICE, BOT, FakeServer, Phone, World


def test_only_devices_that_are_what_they_say_are_believed() -> None:
    phone = Phone(World())
    good = phone.device_keys()
    (device,) = read_devices(ALICE, {"PHONE": good})
    assert (device.user, device.device_id) == (ALICE, "PHONE")
    assert device.curve25519 == phone.keys["curve25519"]
    for bad in (
        {"PHONE": good | {"algorithms": [OLM]}},  # not what was signed, either
        {"PHONE": phone.device_keys(algorithms=[OLM])},
        {"PHONE": phone.device_keys(algorithms="all")},
        {"PHONE": phone.device_keys(user_id="@eve:here")},
        {"PHONE": phone.device_keys(keys={})},
        {"OTHER": good},
        {"PHONE": good | {"signatures": {}}},
        {"PHONE": None},
    ):
        assert read_devices(ALICE, bad) == ()


@pytest.mark.asyncio
async def test_devices_are_asked_for_once_until_they_change() -> None:
    world = World()
    peers = Peers(FakeServer(world))
    assert await peers.devices(BOT, [ALICE]) == {ALICE: ()}
    Phone(world)
    assert await peers.devices(BOT, [ALICE]) == {ALICE: ()}
    peers.outdated(ALICE)
    assert len((await peers.devices(BOT, [ALICE]))[ALICE]) == 1
    Phone(world, device_id="SECOND")
    assert len((await peers.devices(BOT, [ALICE], fresh=True))[ALICE]) == 2
    asked = len(world.calls)
    await peers.devices(BOT, [ALICE])
    assert len(world.calls) == asked
    peers.all_outdated()
    await peers.devices(BOT, [ALICE])
    assert len(world.calls) == asked + 1


@pytest.mark.asyncio
async def test_a_user_whose_homeserver_is_away_is_asked_for_again() -> None:
    world = World()
    peers = Peers(FakeServer(world))
    world.away = {"there"}
    assert await peers.devices(BOT, [ALICE, "@carol:there"]) == {ALICE: ()}
    world.away = set()
    Phone(world, "@carol:there")
    assert len((await peers.devices(BOT, ["@carol:there"]))["@carol:there"]) == 1


@pytest.mark.asyncio
async def test_what_changed_meanwhile_is_not_kept() -> None:
    world = World()

    class Slow(FakeServer):
        async def query(self, asker: UserId, users: Sequence[str]) -> Json:
            found = await super().query(asker, users)
            peers.outdated(ALICE)
            return found

    peers = Peers(Slow(world))
    await peers.devices(BOT, [ALICE])
    await peers.devices(BOT, [ALICE])
    assert world.calls == ["query", "query"]
