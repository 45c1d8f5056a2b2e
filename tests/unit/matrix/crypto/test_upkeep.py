from __future__ import annotations

import pytest

from bridge.matrix.crypto.own import ONE_TIME, OwnDevice
from bridge.matrix.crypto.publishing import Fit, compare
from bridge.matrix.crypto.upkeep import Epoch, Upkeep, reset_rows
from bridge.rooms.ports import Unavailable
from bridge.storage.memory import MemoryStore
from tests.unit.matrix.crypto.world import AWAY, BOT, REFUSED, FakeServer, World, new_vault

pytestmark = pytest.mark.asyncio


class House:
    """A database and a homeserver, either of which can be lost."""

    def __init__(self) -> None:
        self.world = World()
        self.tokens: dict[str, str] = {}
        self.lose_database()

    def lose_database(self) -> None:
        self.store = MemoryStore()

    async def start(self) -> Upkeep:
        upkeep = Upkeep(new_vault(self.store), FakeServer(self.world), self.tokens.__setitem__)
        self.device_id = await upkeep.begin()
        self.world.calls.clear()
        return upkeep

    async def reset(self) -> None:
        await self.store.drop_secrets()
        await self.store.save_secrets(reset_rows(new_vault(self.store)))

    async def fit(self, upkeep: Upkeep) -> Fit:
        async with upkeep.holding(BOT) as own:
            return compare(
                own, self.world.devices.get(BOT, {}).get(own.device_id, {}), self.world.masters[BOT]
            )


async def test_a_first_start_publishes_all(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    upkeep = await house.start()
    assert house.device_id.startswith("WEBCHAT_")
    await upkeep.ensure(BOT)
    await upkeep.ensure(BOT)
    assert house.world.calls == [
        "make_device",
        "query",
        "upload_keys",
        "upload_identity",
        "upload_signatures",
    ]
    assert upkeep.ready(BOT).is_set()
    assert await house.fit(upkeep) is Fit.GOOD
    keys = house.world.one_time[BOT, house.device_id]
    assert len(keys) == 50
    assert all(key_id.startswith(f"{ONE_TIME}:") for key_id in keys)


async def test_a_second_start_only_looks() -> None:
    house = House()
    await (await house.start()).ensure(BOT)
    device_id = house.device_id
    upkeep = await house.start()
    await upkeep.ensure(BOT)
    assert house.device_id == device_id
    assert house.world.calls == ["query"]


async def test_what_broke_off_is_finished() -> None:
    house = House()
    for call in ("make_device", "upload_keys", "upload_identity", "upload_signatures"):
        house.world.fails = {call: AWAY}
        with pytest.raises(Unavailable):
            await (await house.start()).ensure(BOT)
    house.world.fails = {}
    upkeep = await house.start()
    await upkeep.ensure(BOT)
    assert await house.fit(upkeep) is Fit.GOOD
    assert len({key for keys in house.world.one_time.values() for key in keys}) >= 50


async def test_a_lost_device_is_made_again() -> None:
    house = House()
    await (await house.start()).ensure(BOT)
    house.world.devices.clear()
    house.world.one_time.clear()
    upkeep = await house.start()
    await upkeep.ensure(BOT)
    assert "make_device" in house.world.calls
    assert await house.fit(upkeep) is Fit.GOOD
    house.world.devices.clear()
    await upkeep.mend(BOT)
    assert await house.fit(upkeep) is Fit.GOOD


async def test_a_lost_database_replaces_nothing_until_an_operator_says_so() -> None:
    house = House()
    await (await house.start()).ensure(BOT)
    old = house.device_id, house.world.masters[BOT]
    house.lose_database()
    upkeep = await house.start()
    await upkeep.ensure(BOT)
    assert await house.fit(upkeep) is Fit.FOREIGN_IDENTITY
    assert house.world.masters[BOT] == old[1]
    assert set(house.world.devices[BOT]) == {old[0], house.device_id}

    await house.reset()
    upkeep = await house.start()
    await upkeep.ensure(BOT)
    assert await house.fit(upkeep) is Fit.GOOD
    assert house.world.masters[BOT] != old[1]
    assert set(house.world.devices[BOT]) == {house.device_id}


async def test_a_foreign_device_is_left_alone() -> None:
    house = House()
    await (await house.start()).ensure(BOT)
    async with (await house.start()).holding(BOT) as own:
        other = OwnDevice.draw(BOT, own.device_id)
        house.world.devices[BOT][own.device_id] = other.keys()
    upkeep = await house.start()
    await upkeep.ensure(BOT)
    assert house.world.calls == ["query"]
    assert await house.fit(upkeep) is Fit.FOREIGN_DEVICE


async def test_a_homeserver_that_takes_no_cross_signing_is_worked_with() -> None:
    house = House()
    house.world.fails = {"upload_identity": REFUSED, "devices": REFUSED}
    await house.reset()
    upkeep = await house.start()
    await upkeep.ensure(BOT)
    assert upkeep.ready(BOT).is_set()
    assert house.world.devices[BOT]


async def test_the_token_of_an_older_homeserver_is_kept() -> None:
    class Older(FakeServer):
        async def make_device(self, user: object, device_id: str) -> str:
            await super().make_device(BOT, device_id)
            return "token"

    house = House()
    upkeep = Upkeep(new_vault(house.store), Older(house.world), house.tokens.__setitem__)
    await upkeep.begin()
    await upkeep.ensure(BOT)
    assert house.tokens == {BOT: "token"}
    house.tokens.clear()
    await (await house.start()).ensure(BOT)
    assert house.tokens == {BOT: "token"}


async def test_memory_that_is_distrusted_is_read_anew() -> None:
    house = House()
    upkeep = await house.start()
    async with upkeep.holding(BOT) as own:
        upkeep.distrust(BOT)
    async with upkeep.holding(BOT) as again:
        assert again is not own
        assert again.keys() == own.keys()


async def test_every_database_has_devices_of_its_own() -> None:
    assert Epoch.draw() != Epoch.draw()
