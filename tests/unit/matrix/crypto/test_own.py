from __future__ import annotations

import pytest

from bridge.matrix.crypto.devices import OwnDevice
from bridge.matrix.crypto.wire import MEGOLM, OLM, ONE_TIME, is_signed
from tests.fakes.memory import MemoryStore
from tests.unit.matrix.crypto.world import BOT, new_vault


@pytest.fixture
def own() -> OwnDevice:
    return OwnDevice.draw(BOT, "WEBCHAT_X")


def test_device_keys_are_signed_by_the_device_and_the_identity(own: OwnDevice) -> None:
    keys = own.cross_signed_keys
    signer = own.state.identity.public_self_signing
    assert is_signed(keys, BOT, "ed25519:WEBCHAT_X", own.ed25519)
    assert is_signed(keys, BOT, f"ed25519:{signer}", signer)
    assert keys["algorithms"] == [OLM, MEGOLM]
    master = own.signatures()[BOT][own.state.identity.public_master]  # type: ignore[index]  # ours
    assert is_signed(master, BOT, "ed25519:WEBCHAT_X", own.ed25519)


def test_missing_one_time_keys_are_made(own: OwnDevice) -> None:
    assert own.replenish({}, [])
    content = own.unpublished()
    assert isinstance(content["one_time_keys"], dict)
    assert len(content["one_time_keys"]) == 50
    assert isinstance(content["fallback_keys"], dict)
    ((_, fallback),) = content["fallback_keys"].items()
    assert fallback["fallback"] is True
    for key_id, key in content["one_time_keys"].items():
        assert key_id.startswith(f"{ONE_TIME}:")
        assert is_signed(key, BOT, "ed25519:WEBCHAT_X", own.ed25519)
    assert own.replenish({}, [])  # not published yet: the same again
    assert own.unpublished() == content
    own.account.mark_keys_as_published()
    assert own.unpublished() == {}


def test_enough_one_time_keys_are_not_replenished(own: OwnDevice) -> None:
    assert not own.replenish({ONE_TIME: 40}, [ONE_TIME])
    assert not own.replenish({ONE_TIME: 40}, None)
    assert not own.replenish({ONE_TIME: "many"}, None)
    assert own.replenish({ONE_TIME: 10}, [ONE_TIME])
    assert own.replenish({ONE_TIME: 50}, [])


def test_absurd_key_count_does_not_cause_endless_keys(own: OwnDevice) -> None:
    assert own.replenish({ONE_TIME: -(10**12)}, [ONE_TIME])
    assert len(own.account.one_time_keys) == 50


@pytest.mark.asyncio
async def test_device_is_loaded_from_the_vault_with_its_keys(own: OwnDevice) -> None:
    store = MemoryStore()
    vault = new_vault(store)
    assert await OwnDevice.load(vault, BOT) is None
    own.replenish({}, [])
    own.state.published, own.state.token = True, "t"
    await vault.save([own.row(vault)])
    again = await OwnDevice.load(new_vault(store), BOT)
    assert again is not None
    assert (again.keys(), again.unpublished()) == (own.keys(), own.unpublished())
    assert (again.state.published, again.state.token) == (True, "t")
    assert again.state.identity == own.state.identity
    assert repr(again.state) == "OwnState('WEBCHAT_X')"
