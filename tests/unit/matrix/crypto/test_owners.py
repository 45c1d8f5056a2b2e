from __future__ import annotations

import pytest

from bridge.matrix.crypto.devices import Identity
from bridge.matrix.crypto.keys import Owners, RoomKey
from bridge.matrix.crypto.peers import Peers
from bridge.matrix.crypto.wire import Json
from tests.unit.matrix.crypto.world import ALICE, AWAY, BOT, Clock, FakeServer, Phone, World

pytestmark = pytest.mark.asyncio


class House:
    """A homeserver, and a phone of Alice's."""

    def __init__(self) -> None:
        self.world = World()
        self.clock = Clock()
        self.peers = Peers(FakeServer(self.world), self.clock)
        self.owners = Owners(self.peers, BOT)
        self.phone = Phone(self.world)

    @property
    def now(self) -> int:
        return self.clock.ms

    def claim(self, phone: Phone, **changes: object) -> RoomKey:
        fields: dict[str, object] = {
            "sender_key": phone.keys["curve25519"],
            "ed25519": phone.account.ed25519_key.to_base64(),
            "device_keys": None,
        }
        return RoomKey(pickle="", keep_until=0, **(fields | changes))  # type: ignore[arg-type]  # a test's

    async def owns(self, claim: RoomKey, user: str = ALICE) -> bool:
        self.clock.ms += 60_000
        return await self.owners.is_owner(user, claim, self.now)


async def test_device_of_the_sender_is_accepted() -> None:
    house = House()
    assert await house.owns(house.claim(house.phone))
    assert await house.owns(house.claim(house.phone))
    assert house.world.calls == ["query"]


async def test_device_of_another_user_or_with_another_key_is_rejected() -> None:
    """A homeserver that writes in somebody's name, or passes one device off as another."""
    house = House()
    other = Phone(house.world, "@eve:here")
    assert not await house.owns(house.claim(other))
    mixed = house.claim(house.phone, ed25519=other.account.ed25519_key.to_base64())
    assert not await house.owns(mixed)
    assert await house.owns(house.claim(other), "@eve:here")


async def test_unknown_device_causes_a_new_query() -> None:
    house = House()
    assert await house.owns(house.claim(house.phone))
    second = Phone(house.world, device_id="TABLET")
    assert await house.owns(house.claim(second))  # asked anew
    third = Phone(World(), device_id="WATCH")
    assert not await house.owns(house.claim(third))
    asked = len(house.world.calls)
    assert not await house.owners.is_owner(ALICE, house.claim(third), house.now + 1)
    assert len(house.world.calls) == asked  # not for each message
    house.world.devices[ALICE]["WATCH"] = third.device_keys()
    house.peers.cache.forget(ALICE)
    assert await house.owners.is_owner(ALICE, house.claim(third), house.now + 1)


async def test_unreachable_homeserver_proves_no_device() -> None:
    house = House()
    house.world.fails["query"] = AWAY
    assert not await house.owns(house.claim(house.phone))
    del house.world.fails["query"]
    house.world.away = {"here"}
    assert not await house.owns(house.claim(house.phone))
    house.world.away = set()
    assert await house.owns(house.claim(house.phone))


async def test_a_homeserver_that_is_away_is_not_asked_for_each_message() -> None:
    """A query may take ten seconds, and the room waits; device lists known otherwise count."""
    house = House()
    house.world.away = {"here"}
    claim, bob = house.claim(house.phone), Phone(house.world, "@bob:here")
    assert not await house.owns(claim)
    assert house.world.calls == ["query"]
    house.clock.ms += 29_999
    for user, one in ((ALICE, claim), ("@bob:here", house.claim(bob))):
        assert not await house.owners.is_owner(user, one, house.now)
    assert house.world.calls == ["query"]
    house.world.away = set()
    house.clock.ms += 1
    await house.peers.known(BOT, [ALICE])
    assert await house.owners.is_owner(ALICE, claim, house.now)
    assert await house.owners.is_owner("@bob:here", house.claim(bob), house.now)


async def test_is_owner_without_ask_sends_no_query() -> None:
    house = House()
    claim = house.claim(house.phone)
    assert not await house.owners.is_owner(ALICE, claim, house.now, ask=False)
    assert house.world.calls == []
    assert await house.owns(claim)
    assert await house.owners.is_owner(ALICE, claim, house.now, ask=False)


async def test_deleted_device_is_proved_by_its_owners_identity() -> None:
    house = House()
    identity = Identity.draw()
    upload = identity.upload(ALICE, {})
    device_keys = identity.sign_device(ALICE, house.phone.device_keys())
    house.world.devices[ALICE].clear()
    claim = house.claim(house.phone, device_keys=device_keys)
    assert not await house.owns(claim)  # no identity is published yet
    master, signer = upload["master_key"], upload["self_signing_key"]
    assert isinstance(master, dict)
    assert isinstance(signer, dict)
    house.world.masters[ALICE], house.world.signers[ALICE] = master, signer
    assert await house.owns(claim)
    forged: tuple[Json, ...] = (
        house.phone.device_keys(),
        Identity.draw().sign_device(ALICE, house.phone.device_keys()),
        identity.sign_device(ALICE, Phone(World()).device_keys()),
        {},
    )
    for fields in forged:
        assert not await house.owns(house.claim(house.phone, device_keys=fields))
