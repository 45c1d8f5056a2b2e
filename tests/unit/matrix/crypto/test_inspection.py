from __future__ import annotations

import pytest

from bridge.ids import UserId
from bridge.matrix.crypto.devices import (
    ANOTHER,
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
from tests.unit.matrix.crypto.world import BOT, GHOST, Clock, FakeServer, World, deaf, new_vault

pytestmark = pytest.mark.asyncio


class House:
    """A bridge that has run, and what `inspect` reports of it."""

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


async def test_a_new_database_beside_another_is_reported_before_and_after_its_refused_start() -> (
    None
):
    house = House()
    await house.run(BOT)
    house.store = MemoryStore()
    for _ in range(2):
        assert await house.look() == Inspected("", True, (KeysOf(BOT, Fit.FOREIGN_IDENTITY, None),))
        with pytest.raises(Refused, match=ANOTHER):
            await house.run(BOT)


async def test_report_of_a_healthy_bridge() -> None:
    house = House()
    upkeep = await house.run()
    found = await house.look()
    assert found.newest
    assert found.device_id == upkeep.device_id == house.server.device_id
    assert found.users == (KeysOf(BOT, Fit.GOOD, 50), KeysOf(GHOST, Fit.GOOD, None))


async def test_keys_missing_on_the_homeserver_are_reported() -> None:
    house = House()
    upkeep = await house.run()
    async with upkeep.holding(BOT) as own:
        house.world.devices[BOT][own.device_id] = own.keys()
    assert await house.fit() is Fit.UNSIGNED
    del house.world.masters[BOT]
    assert await house.fit() is Fit.NO_IDENTITY
    house.world.devices[BOT].clear()
    assert await house.fit() is Fit.NO_DEVICE


async def test_foreign_keys_are_reported() -> None:
    house = House()
    upkeep = await house.run()
    other = OwnDevice.draw(BOT, upkeep.device_id)
    house.world.devices[BOT][upkeep.device_id] = other.cross_signed_keys
    assert await house.fit() is Fit.FOREIGN_DEVICE
    house.world.masters[BOT] = other.state.identity.master_key(BOT)
    assert await house.fit() is Fit.FOREIGN_IDENTITY


async def test_older_copy_of_the_database_is_reported() -> None:
    house = House()
    await house.run()
    house.world.marks[BOT] = "of a newer state"
    assert not (await house.look()).newest


@pytest.mark.parametrize("gone", [False, True])
async def test_device_from_before_a_restore_is_reported_as_former(gone: bool) -> None:
    """Whether or not the homeserver still has it."""
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
    assert (await house.look()).users[1].fit is Fit.FOREIGN_IDENTITY  # not to be replaced


async def test_database_sealed_with_another_secret_is_refused() -> None:
    house = House()
    await house.run()
    with pytest.raises(Unsealable):
        await house.look("another")


async def test_number_of_one_time_keys_may_be_unknown() -> None:
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
