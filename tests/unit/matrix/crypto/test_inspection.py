from __future__ import annotations

import pytest

from bridge.ids import UserId
from bridge.matrix.crypto.devices import (
    Fit,
    Inspected,
    KeysOf,
    OwnDevice,
    Upkeep,
    inspect,
)
from bridge.matrix.crypto.vault import Unsealable
from bridge.rooms.ports import Refused
from tests.fakes.memory import MemoryStore
from tests.unit.matrix.crypto.world import (
    BOT,
    GHOST,
    Clock,
    FakeServer,
    World,
    deaf,
    new_vault,
)

pytestmark = pytest.mark.asyncio


class House:
    """A bridge that was at work for a while."""

    def __init__(self) -> None:
        self.world, self.store = World(), MemoryStore()
        self.server = FakeServer(self.world)

    async def run(self, *users: UserId) -> Upkeep:
        vault = new_vault(self.store)
        upkeep = Upkeep(vault, self.server, BOT, Clock(), deaf)
        await upkeep.begin()
        for user in users or (GHOST, BOT):
            await upkeep.current(user)
        return upkeep

    async def look(self, secret: str = "") -> Inspected:
        vault = new_vault(self.store, secret)
        found = await inspect(self.server, vault, [BOT])
        assert found is not None
        return found

    async def fit(self) -> Fit:
        return next(keys.fit for keys in (await self.look()).users if keys.user == BOT)


async def test_a_database_without_keys() -> None:
    house = House()
    vault = new_vault(house.store)
    assert await inspect(house.server, vault, [BOT]) is None


async def test_all_well() -> None:
    house = House()
    upkeep = await house.run()
    found = await house.look()
    assert found.newest
    assert found.device_id == upkeep.device_id == house.server.device_id
    assert found.users == (KeysOf(BOT, Fit.GOOD, 50), KeysOf(GHOST, Fit.GOOD, None))


async def test_what_the_homeserver_lost() -> None:
    house = House()
    upkeep = await house.run()
    async with upkeep.holding(BOT) as own:
        house.world.devices[BOT][own.device_id] = own.keys()
    assert await house.fit() is Fit.UNSIGNED
    del house.world.masters[BOT]
    assert await house.fit() is Fit.NO_IDENTITY
    house.world.devices[BOT].clear()
    assert await house.fit() is Fit.NO_DEVICE


async def test_what_is_somebody_elses() -> None:
    house = House()
    upkeep = await house.run()
    other = OwnDevice.draw(BOT, upkeep.device_id)
    house.world.devices[BOT][upkeep.device_id] = other.cross_signed_keys()
    assert await house.fit() is Fit.FOREIGN_DEVICE
    house.world.masters[BOT] = other.state.identity.master_key(BOT)
    assert await house.fit() is Fit.FOREIGN_IDENTITY


async def test_an_older_copy() -> None:
    house = House()
    await house.run()
    house.world.marks[BOT] = "of a newer state"
    assert not (await house.look()).newest


@pytest.mark.parametrize("gone", [False, True])
async def test_a_device_of_before_a_restore_is_about_to_be_replaced(gone: bool) -> None:
    """The homeserver may have it still, or one of the lost time in its place."""
    house = House()
    await house.run()
    house.world.marks[BOT] = "of a newer state"
    upkeep = await house.run(BOT)
    if gone:
        house.world.devices[GHOST].clear()
    found = await house.look()
    assert found.device_id == upkeep.device_id
    assert found.users == (KeysOf(BOT, Fit.GOOD, 50), KeysOf(GHOST, Fit.FORMER, None))
    house.world.masters[GHOST] = OwnDevice.draw(GHOST, "D").state.identity.master_key(GHOST)
    assert (await house.look()).users[1].fit is Fit.FOREIGN_IDENTITY  # it would be kept out


async def test_another_secret() -> None:
    house = House()
    await house.run()
    with pytest.raises(Unsealable):
        await house.look("another")


async def test_a_homeserver_that_does_not_say() -> None:
    house = House()
    await house.run()
    house.world.fails["upload_keys"] = Refused("M_UNKNOWN_DEVICE")
    assert {keys.one_time_keys for keys in (await house.look()).users} == {None}


async def test_the_token_of_an_older_homeserver() -> None:
    house = House()
    upkeep = await house.run()
    async with upkeep.holding(BOT) as own:
        own.state.token = "t"
        vault = new_vault(house.store)
        await vault.save([own.row(vault)])
    await house.look()
    assert house.server.tokens == {BOT: "t"}
