from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from bridge.matrix.crypto.devices import Fit, OwnDevice, Upkeep, compare
from bridge.matrix.crypto.wire import Json
from bridge.rooms.ports import Refused
from tests.unit.matrix.crypto.world import BOT, Clock, FakeServer, World, deaf, new_vault


@pytest.mark.asyncio
async def test_refused_one_time_keys_are_uploaded_again() -> None:
    world = World()
    server, vault = FakeServer(world), new_vault()
    upkeep = Upkeep(vault, server, BOT, Clock(), deaf)
    own = OwnDevice.draw(BOT, "D")
    await server.make_device(BOT, "D")
    world.fails = {"upload_keys": Refused("M_UNKNOWN")}
    await upkeep.replenish(own, {"device_one_time_keys_count": {}})
    await upkeep.replenish(own, {})
    assert world.calls == ["make_device", "upload_keys"]
    world.fails = {}
    await upkeep.replenish(own, {"device_one_time_keys_count": {}})
    assert len(world.one_time[BOT, "D"]) == 50
    await upkeep.replenish(own, {"device_one_time_keys_count": {"signed_curve25519": 50}})
    assert len(world.calls) == 3


@pytest.mark.asyncio
@pytest.mark.parametrize(("code", "said"), [("M_UNKNOWN", 1), ("M_UNKNOWN_DEVICE", 0)])
async def test_a_deleted_device_needs_no_reset(code: str, said: int) -> None:
    """An administrator deleted the bridge's devices: it makes them anew, so no one is called."""
    world = World()
    upkeep = Upkeep(new_vault(), FakeServer(world), BOT, Clock(), deaf)
    world.fails = {"upload_keys": Refused(code)}
    with capture_logs() as logs:
        await upkeep.replenish(OwnDevice.draw(BOT, "D"), {"device_one_time_keys_count": {}})
    assert len([line for line in logs if line["log_level"] == "error"]) == said
    assert world.calls == ["upload_keys"]


@pytest.mark.asyncio
async def test_one_time_keys_that_are_claimed_are_replaced_every_five_minutes() -> None:
    """Somebody who claims them without end would fill the account, and change the fallback key
    while messages to it are on their way.
    """
    world, clock = World(), Clock()
    server, vault = FakeServer(world), new_vault()
    upkeep, own = Upkeep(vault, server, BOT, clock, deaf), OwnDevice.draw(BOT, "D")
    await server.make_device(BOT, "D")
    none_left: Json = {"device_one_time_keys_count": {}, "device_unused_fallback_key_types": []}
    for later in (0, 1, 299_998, 1, 1):
        clock.ms += later
        world.one_time.clear()
        await upkeep.replenish(own, none_left)
    assert world.calls == ["make_device", "upload_keys", "upload_keys"]
    clock.ms -= 3_600_000
    await upkeep.replenish(own, none_left)
    assert len(world.calls) == 4


def other_keys() -> Json:
    return OwnDevice.draw(BOT, "D").keys()


def fit(own: OwnDevice, device: Json, master: Json) -> Fit:
    """Compare with a homeserver that lists these keys (empty: none)."""
    listed: Json = {"device_keys": {BOT: {"D": device}}, "master_keys": {BOT: master}}
    return compare(own, listed)


def test_comparison_with_the_homeservers_keys() -> None:
    own = OwnDevice.draw(BOT, "D")
    master = own.state.identity.master_key(BOT)
    device = own.cross_signed_keys
    assert fit(own, device, master) is Fit.GOOD
    assert fit(own, {}, master) is Fit.NO_DEVICE
    assert fit(own, {}, {}) is Fit.NO_DEVICE
    assert fit(own, device, {}) is Fit.NO_IDENTITY
    assert fit(own, own.keys(), master) is Fit.UNSIGNED
    assert fit(own, other_keys(), {}) is Fit.FOREIGN_DEVICE
    other = OwnDevice.draw(BOT, "D")
    assert fit(own, device, other.state.identity.master_key(BOT)) is Fit.FOREIGN_IDENTITY
    assert fit(own, other.keys(), master) is Fit.FOREIGN_DEVICE
    half = device | {"keys": {"ed25519:D": own.ed25519}}
    assert fit(own, half, master) is Fit.FOREIGN_DEVICE
