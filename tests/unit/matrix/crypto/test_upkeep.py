from __future__ import annotations

import copy

import pytest

from bridge.ids import UserId
from bridge.matrix.crypto.devices import (
    ANOTHER,
    Epoch,
    Fit,
    OwnDevice,
    Upkeep,
    compare,
    reset_rows,
)
from bridge.matrix.crypto.wire import ONE_TIME, Json, mapping
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.store import SecretRow, Stale, StoreError
from tests.fakes.memory import MemoryStore
from tests.unit.matrix.crypto.world import (
    AWAY,
    BOT,
    GHOST,
    REFUSED,
    Clock,
    FakeServer,
    World,
    new_vault,
)

pytestmark = pytest.mark.asyncio


class House:
    """A database and a homeserver, either of which can be lost."""

    def __init__(self) -> None:
        self.world = World()
        self.looked: list[str] = []
        """Devices whose mailbox was read a last time."""
        self.mailbox: Exception | None = None
        self.lose_database()
        self.server = FakeServer(self.world)

    async def last_look(self, own: OwnDevice) -> None:
        self.looked.append(own.device_id)
        if self.mailbox is not None:
            raise self.mailbox

    def lose_database(self) -> None:
        self.store = MemoryStore()

    async def start(self, server: FakeServer | None = None) -> Upkeep:
        self.server = server = server or FakeServer(self.world)
        vault = new_vault(self.store)
        upkeep = Upkeep(vault, server, BOT, Clock(), self.last_look)
        await upkeep.begin()
        self.world.calls.clear()
        return upkeep

    @property
    def device_id(self) -> str:
        return self.server.device_id

    async def reset(self) -> None:
        await self.store.drop_secrets()
        await self.store.save_secrets(reset_rows(new_vault(self.store)))

    async def save(self, own: OwnDevice) -> None:
        await self.store.save_secrets([own.row(new_vault(self.store))])

    async def fit(self, upkeep: Upkeep, user: UserId = BOT) -> Fit:
        async with upkeep.holding(user) as own:
            return compare(own, await self.server.query(user, [user]))


async def test_first_start_publishes_all_keys(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    upkeep = await house.start()
    assert house.device_id.startswith("WEBCHAT_")
    await upkeep.current(BOT)
    await upkeep.current(BOT)
    assert house.world.calls == [
        "mark",
        "set_mark",
        "set_mark",
        "make_device",
        "query",
        "upload_keys",
        "upload_identity",
        "upload_signatures",
    ]
    assert upkeep.ready[BOT].is_set()
    assert await house.fit(upkeep) is Fit.GOOD
    keys = house.world.one_time[BOT, house.device_id]
    assert len(keys) == 50
    assert all(key_id.startswith(f"{ONE_TIME}:") for key_id in keys)


async def test_second_start_only_checks_the_keys() -> None:
    house = House()
    await (await house.start()).current(BOT)
    device_id = house.device_id
    upkeep = await house.start()
    await upkeep.current(BOT)
    assert house.device_id == device_id
    assert house.world.calls == ["mark", "set_mark", "query"]


async def test_interrupted_publishing_is_finished_by_the_next_start() -> None:
    house = House()
    for call in ("make_device", "upload_keys", "upload_identity", "upload_signatures"):
        house.world.fails = {call: AWAY}
        with pytest.raises(Unavailable):
            await (await house.start()).current(BOT)
    house.world.fails = {}
    upkeep = await house.start()
    await upkeep.current(BOT)
    assert await house.fit(upkeep) is Fit.GOOD
    assert len({key for keys in house.world.one_time.values() for key in keys}) >= 50


@pytest.mark.parametrize("stored", [1, 2])
async def test_homeserver_killed_between_the_keys_of_an_identity(stored: int) -> None:
    """Synapse then answers 500 to the ones that it has."""
    house = House()
    house.world.dies_after = stored
    upkeep = await house.start()
    with pytest.raises(Unavailable):
        await upkeep.current(BOT)
    house.world.dies_after = 3
    await upkeep.current(BOT)
    assert await house.fit(upkeep) is Fit.GOOD
    assert {BOT} == {*house.world.signers} == {*house.world.own_signers}


async def test_one_time_keys_are_generated_once_however_often_publishing_fails() -> None:
    """Homeservers limit their number, and would then accept none."""
    house = House()
    house.world.fails = {"upload_identity": AWAY}
    upkeep = await house.start()
    for _ in range(20):
        with pytest.raises(Unavailable):
            await upkeep.current(BOT)
    house.world.fails = {}
    await upkeep.current(BOT)
    assert len(house.world.one_time[BOT, house.device_id]) == 50


async def test_a_lost_device_is_made_again() -> None:
    house = House()
    await (await house.start()).current(BOT)
    house.world.devices.clear()
    house.world.one_time.clear()
    upkeep = await house.start()
    await upkeep.current(BOT)
    assert "make_device" in house.world.calls
    assert await house.fit(upkeep) is Fit.GOOD
    house.world.devices.clear()
    house.world.one_time.clear()
    await upkeep.mend(BOT)
    assert await house.fit(upkeep) is Fit.GOOD
    assert len(house.world.one_time[BOT, house.device_id]) == 50


async def test_used_keys_that_a_restored_homeserver_hands_out_are_replaced() -> None:
    house = House()
    upkeep = await house.start()
    async with upkeep.holding(BOT) as own:
        device = BOT, own.device_id
        backup, mark = copy.deepcopy(house.world.one_time), house.world.marks[BOT]
        house.world.calls.clear()
        assert not await upkeep.is_restored(own)
        assert house.world.calls == ["claim"]
        house.world.one_time, house.world.marks[BOT] = backup, mark
        claimed, last = dict(backup[device]), house.world.fallback[device]
        await house.store.save_secrets([SecretRow(f"since/{BOT}", b"of the lost time")])
        assert await upkeep.is_restored(own)
        assert await house.store.secret(f"since/{BOT}") is None
        assert house.world.marks[BOT] != mark
        house.world.calls.clear()
        await upkeep.replace_keys(own)
        assert house.world.calls == ["claim"] * 50 + ["upload_keys"]  # 49 and the fallback key
        assert len(house.world.one_time[device]) == 50
        assert house.world.fallback[device] != last
        assert all(own.use_up(mapping(key)) for key in house.world.one_time[device].values())
        # Another homeserver may deliver later what was encrypted with them in the lost time.
        assert [own.use_up(mapping(key)) for key in claimed.values()] == [False] + [True] * 49


@pytest.mark.parametrize("claims", range(6))
async def test_replacing_is_finished_by_the_next_start(claims: int) -> None:
    """Interrupted after some requests; three keys have been used in the lost time."""
    house = House()
    upkeep = await house.start()
    async with upkeep.holding(BOT) as own:
        backup = copy.deepcopy(house.world.one_time)
        for _ in range(3):
            assert not await upkeep.is_restored(own)
        await house.save(own)
    house.world.one_time = backup
    with pytest.raises(Unavailable):
        await renew_keys(await house.start(Interrupted(house.world, claims)))
    upkeep = await house.start()
    assert await renew_keys(upkeep) is (claims < 3)
    own = await upkeep.current(BOT)
    left = house.world.one_time[BOT, own.device_id]
    assert all(own.use_up(mapping(key)) for key in left.values())


async def renew_keys(upkeep: Upkeep) -> bool:
    """Replace the bot's one-time keys if the homeserver was restored; return whether it was."""
    async with upkeep.holding(BOT) as own:
        if restored := await upkeep.is_restored(own):
            await upkeep.replace_keys(own)
        return restored


class Interrupted(FakeServer):
    """A homeserver that goes away after some claims."""

    def __init__(self, world: World, claims: int) -> None:
        super().__init__(world)
        self._left = claims

    async def claim(self, user: UserId, wanted: dict[str, dict[str, str]]) -> Json:
        if not self._left:
            raise AWAY
        self._left -= 1
        return await super().claim(user, wanted)


async def test_keys_of_another_process_are_not_taken_for_used_ones() -> None:
    house = House()
    outdated, other = await house.start(), await house.start()
    await outdated.current(BOT)
    async with other.holding(BOT) as own:
        await other.replace_keys(own)
    house.world.calls.clear()
    with pytest.raises(Stale):
        await renew_keys(outdated)
    assert house.world.calls == ["claim"]
    assert not await renew_keys(outdated)


async def test_homeserver_that_hands_out_keys_without_end_is_not_asked_for_all() -> None:
    class Endless(FakeServer):
        async def claim(self, user: UserId, wanted: dict[str, dict[str, str]]) -> Json:
            self._called("claim")
            (device_id,) = wanted[user]
            return {"one_time_keys": {user: {device_id: {f"{ONE_TIME}:AAAA": {"key": "x"}}}}}

    house = House()
    assert await renew_keys(await house.start(Endless(house.world)))
    assert house.world.calls.count("claim") == 201


async def test_identity_of_a_lost_database_is_replaced_only_after_a_reset() -> None:
    """Until then nothing changes on the homeserver, as the database may only be mislaid."""
    house = House()
    await (await house.start()).current(BOT)
    old, used = (house.device_id, house.world.masters[BOT]), house.store
    house.lose_database()
    for _ in range(2):
        upkeep = await house.start()
        with pytest.raises(Refused, match=ANOTHER):
            await upkeep.current(BOT)
        await upkeep.end()
        assert house.world.masters[BOT] == old[1]
        assert set(house.world.devices[BOT]) == {old[0]}
    new, house.store = house.store, used
    assert await house.fit(await house.start()) is Fit.GOOD
    assert house.device_id == old[0]

    house.store = new
    await house.reset()
    upkeep = await house.start()
    await upkeep.current(BOT)
    assert await house.fit(upkeep) is Fit.GOOD
    assert house.world.masters[BOT] != old[1]
    assert set(house.world.devices[BOT]) == {house.device_id}


async def test_a_foreign_device_is_left_alone() -> None:
    house = House()
    await (await house.start()).current(BOT)
    async with (await house.start()).holding(BOT) as own:
        other = OwnDevice.draw(BOT, own.device_id)
        house.world.devices[BOT][own.device_id] = other.keys()
    upkeep = await house.start()
    await upkeep.current(BOT)
    assert house.world.calls == ["mark", "set_mark", "query"]
    assert await house.fit(upkeep) is Fit.FOREIGN_DEVICE


async def test_homeserver_that_refuses_cross_signing_is_supported() -> None:
    house = House()
    house.world.fails = {"upload_identity": REFUSED, "devices": REFUSED}
    await house.reset()
    upkeep = await house.start()
    await upkeep.current(BOT)
    assert upkeep.ready[BOT].is_set()
    assert house.world.devices[BOT]


async def test_the_token_of_an_older_homeserver_is_kept() -> None:
    class Older(FakeServer):
        async def make_device(self, user: object, device_id: str) -> str:
            await super().make_device(BOT, device_id)
            return "token"

    house = House()
    await (await house.start(Older(house.world))).current(BOT)
    assert house.server.tokens == {BOT: "token"}
    await (await house.start()).current(BOT)
    assert house.server.tokens == {BOT: "token"}


async def test_device_is_read_again_after_a_failed_write() -> None:
    house = House()
    upkeep = await house.start()
    own = await upkeep.current(BOT)
    with pytest.raises(StoreError):
        async with upkeep.holding(BOT):
            raise StoreError("it may have been written, or not")
    async with upkeep.holding(BOT) as again:
        assert again is not own
        assert again.keys() == own.keys()


async def test_an_older_copy_of_the_database_makes_new_devices_of_the_old_identity() -> None:
    """No old session or one-time key is used again, and clients show no warning."""
    house = House()
    await (await house.start()).current(BOT)
    backup, old, master = house.store.copy(), house.device_id, house.world.masters[BOT]
    await (await house.start()).current(BOT)

    house.store = backup
    upkeep = await house.start()
    await upkeep.current(BOT)
    assert house.looked == [old]
    assert house.device_id != old
    assert set(house.world.devices[BOT]) == {house.device_id}
    assert house.world.masters[BOT] == master
    assert await house.fit(upkeep) is Fit.GOOD
    async with upkeep.holding(BOT) as own:
        assert own.device_id == house.device_id

    renewed = house.device_id
    await (await house.start()).current(BOT)  # once is enough
    assert (house.device_id, house.looked) == (renewed, [old])


@pytest.mark.parametrize("away", ["", "upload_identity", "devices"])
async def test_agent_created_since_the_backup_gets_a_new_identity(away: str) -> None:
    """The former identity is lost; without a new one no client would show the agent's messages."""
    house = House()
    await (await house.start()).current(BOT)
    backup, bots = house.store.copy(), house.world.masters[BOT]
    await (await house.start()).current(GHOST)
    lost = house.world.masters[GHOST]

    house.store = backup
    upkeep = await house.start()
    if away:
        house.world.fails = {away: AWAY}
        with pytest.raises(Unavailable):
            await upkeep.current(GHOST)
        house.world.fails = {}
        upkeep = await house.start()
    await upkeep.current(GHOST)
    assert await house.fit(upkeep, GHOST) is Fit.GOOD
    assert house.world.masters[GHOST] != lost
    assert set(house.world.devices[GHOST]) == {house.device_id}
    assert await house.fit(upkeep) is Fit.GOOD
    assert house.world.masters[BOT] == bots


async def test_backup_without_the_newest_device_is_detected() -> None:
    house = House()
    upkeep = await house.start()
    await upkeep.current(BOT)
    backup, old = house.store.copy(), house.device_id
    house.world.fails = {"make_device": AWAY}
    with pytest.raises(Unavailable):
        await upkeep.current(GHOST)
    house.world.fails = {}
    await upkeep.current(GHOST)
    assert house.world.calls.count("set_mark") == 3  # for each device, and at the start

    house.store = backup
    upkeep = await house.start()
    await upkeep.current(GHOST)
    assert house.device_id != old
    assert await house.fit(upkeep, GHOST) is Fit.GOOD


async def test_second_bridge_with_the_same_users_does_not_count_as_restored() -> None:
    """Each finds the other's mark; agents of the bridge that has the bot keep their identity."""
    house = House()
    await (await house.start()).current(BOT)
    first, second = house.store, MemoryStore()
    house.store = second
    house.world.marks.clear()  # earlier versions started in spite of it
    await (await house.start()).current(BOT)
    house.store = first
    await (await house.start()).current(GHOST)
    master = house.world.masters[GHOST]

    house.store = second
    upkeep = await house.start()
    await upkeep.current(GHOST)
    assert await house.fit(upkeep, GHOST) is Fit.FOREIGN_IDENTITY
    assert house.world.masters[GHOST] == master


async def test_restored_copy_without_the_bots_device_replaces_no_identity() -> None:
    house = House()
    await (await house.start()).current(GHOST)
    backup = house.store.copy()
    await (await house.start()).current(BOT)
    master = house.world.masters[BOT]
    house.store = backup
    upkeep = await house.start()
    await upkeep.current(BOT)
    assert await house.fit(upkeep) is Fit.FOREIGN_IDENTITY
    assert house.world.masters[BOT] == master


@pytest.mark.parametrize("call", ["devices", "delete_device"])
@pytest.mark.parametrize("lost", ["by a reset", "to an older copy"])
async def test_older_devices_are_deleted_after_an_outage(call: str, lost: str) -> None:
    house = House()
    await (await house.start()).current(BOT)
    backup, old = house.store.copy(), house.device_id
    if lost == "by a reset":
        house.lose_database()
        await house.reset()
    else:
        await (await house.start()).current(BOT)
        house.store = backup
    upkeep = await house.start()
    house.world.fails = {call: AWAY}
    with pytest.raises(Unavailable):
        await upkeep.current(BOT)
    house.world.fails = {}
    house.world.calls.clear()
    await upkeep.current(BOT)
    assert house.device_id != old
    assert set(house.world.devices[BOT]) == {house.device_id}
    assert "upload_keys" not in house.world.calls
    house.world.calls.clear()
    await (await house.start()).current(BOT)
    assert house.world.calls == ["mark", "set_mark", "query"]


async def test_restored_copy_waits_until_its_old_mailbox_is_read_or_gone() -> None:
    house = House()
    await (await house.start()).current(BOT)
    backup = house.store.copy()
    await (await house.start()).current(BOT)
    house.store, house.mailbox = backup, AWAY
    upkeep = await house.start()
    with pytest.raises(Unavailable):
        await upkeep.current(BOT)
    house.mailbox = REFUSED  # the device is gone, and its mailbox with it
    await upkeep.current(BOT)
    assert await house.fit(upkeep) is Fit.GOOD


async def test_no_device_is_used_before_the_homeservers_mark_is_read() -> None:
    house = House()
    house.world.fails = {"mark": AWAY}
    upkeep = await house.start()
    with pytest.raises(Unavailable):
        await upkeep.current(BOT)
    assert house.world.calls == ["mark"]
    house.world.fails = {}
    await upkeep.current(BOT)
    assert upkeep.ready[BOT].is_set()


async def test_every_database_has_devices_of_its_own() -> None:
    assert Epoch.draw() != Epoch.draw()
