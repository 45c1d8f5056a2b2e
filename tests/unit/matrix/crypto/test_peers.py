from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from bridge.ids import UserId
from bridge.matrix.crypto import peers as peers_module
from bridge.matrix.crypto.devices import Identity
from bridge.matrix.crypto.peers import Known, Peers, read_devices, read_identity
from bridge.matrix.crypto.wire import OLM, Json
from bridge.rooms.ports import Unavailable
from tests.unit.matrix.crypto.world import ALICE, BOT, Clock, FakeServer, Phone, World


def test_only_valid_and_signed_devices_are_read() -> None:
    phone = Phone(World())
    good = phone.device_keys()
    (device,) = tuple(read_devices(ALICE, {"PHONE": good}))
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
        assert list(read_devices(ALICE, bad)) == []


@pytest.mark.asyncio
async def test_devices_are_asked_for_once_until_they_change() -> None:
    world = World()
    peers = Peers(FakeServer(world), Clock())
    assert await peers.known(BOT, [ALICE]) == {ALICE: Known(())}
    Phone(world)
    assert await peers.known(BOT, [ALICE]) == {ALICE: Known(())}
    peers.cache.forget(ALICE)
    assert len((await peers.known(BOT, [ALICE]))[ALICE].devices) == 1
    Phone(world, device_id="SECOND")
    assert len((await peers.known(BOT, [ALICE], fresh=True))[ALICE].devices) == 2
    asked = len(world.calls)
    await peers.known(BOT, [ALICE])
    assert len(world.calls) == asked
    peers.cache.forget_all()
    await peers.known(BOT, [ALICE])
    assert len(world.calls) == asked + 1


@pytest.mark.asyncio
async def test_two_replies_at_a_time_pin_no_different_keys() -> None:
    """Signatures of many devices are checked with pauses between them."""
    world, server = World(), FakeServer(World())
    listed = {one: Phone(world, device_id=one).device_keys() for one in map(str, range(60))}
    changed = listed | {"59": Phone(World(), device_id="59").device_keys()}
    replies = [listed, changed]

    async def query(asker: UserId, users: Sequence[str], *, device: bool = False) -> Json:
        del asker, users, device
        return {"device_keys": {ALICE: replies.pop()}}

    server.query = query  # type: ignore[method-assign]  # a homeserver that says this and that
    peers = Peers(server, Clock())
    both = await asyncio.gather(*(peers.known(BOT, [ALICE], fresh=True) for _ in range(2)))
    assert sorted(len(found[ALICE].devices) for found in both) == [59, 60]


@pytest.mark.asyncio
async def test_a_user_whose_homeserver_is_away_is_asked_for_again() -> None:
    """After half a minute: until then no message waits for it."""
    world, clock = World(), Clock()
    peers = Peers(FakeServer(world), clock)
    world.away = {"there"}
    assert await peers.known(BOT, [ALICE, "@carol:there"]) == {ALICE: Known(())}
    world.away = set()
    Phone(world, "@carol:there")
    clock.ms += 29_999
    assert await peers.known(BOT, ["@carol:there"]) == {}
    assert len(world.calls) == 2  # one for each homeserver
    clock.ms += 1
    assert len((await peers.known(BOT, ["@carol:there"]))["@carol:there"].devices) == 1


@pytest.mark.asyncio
async def test_a_slow_homeserver_keeps_no_devices_of_others_from_coming(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its users are left out after some seconds, and are asked for as another device."""
    monkeypatch.setattr(peers_module, "_WITHIN", 0.01)
    world, asked = World(), list[tuple[Sequence[str], bool]]()

    class Slow(FakeServer):
        async def query(self, asker: UserId, users: Sequence[str], *, device: bool = False) -> Json:
            asked.append((users, device))
            if "@far:there" in users:
                await asyncio.Event().wait()
            return await super().query(asker, users)

    Phone(world)
    peers = Peers(Slow(world), Clock())
    for _ in range(2):
        found = await peers.known(BOT, ["@far:there", ALICE, "@near:there"], fresh=True)
        assert [*found] == [ALICE]
        assert len(found[ALICE].devices) == 1
    assert asked == [(["@far:there", "@near:there"], False), *[([ALICE], True)] * 2]
    assert not peers.answers("@near:there")


@pytest.mark.asyncio
async def test_a_slow_homeserver_gets_four_requests_at_a_time() -> None:
    """Synapse goes on with a query that was given up, and runs ten of an asking user."""
    waiting, most = 0, 0

    async def query(users: Sequence[str]) -> Json:
        nonlocal waiting, most
        del users
        waiting += 1
        most = max(most, waiting)
        await asyncio.sleep(0)
        waiting -= 1
        return {}

    peers = Peers(FakeServer(World()), Clock())
    asks = [peers.ask(BOT, [f"@far{number}:there"], "device_keys", query) for number in range(20)]
    await asyncio.gather(*asks)
    assert most == 4


@pytest.mark.asyncio
async def test_a_user_with_endless_keys_is_left_out() -> None:
    """A homeserver takes megabytes of keys; the other members' devices come all the same."""
    world = World()
    users = [f"@user{number}:here" for number in range(9)]
    for user in users:
        Phone(world, user)
    endless = Unavailable("too long")
    endless.begun = b"{"

    class Endless(FakeServer):
        async def query(self, asker: UserId, users: Sequence[str], *, device: bool = False) -> Json:
            found = await super().query(asker, users)
            if "@user3:here" in users:
                raise endless
            return found

    peers = Peers(Endless(world), Clock())
    found = await peers.known(BOT, users)
    assert sorted(found) == [user for user in users if user != "@user3:here"]
    assert all(len(known.devices) == 1 for known in found.values())
    asked = len(world.calls)
    assert await peers.known(BOT, users) == found
    assert len(world.calls) == asked < 9
    world.fails["query"] = Unavailable("down")
    with pytest.raises(Unavailable):
        await peers.known(BOT, [ALICE])


@pytest.mark.asyncio
async def test_a_device_never_changes_its_keys() -> None:
    world = World()
    peers = Peers(FakeServer(world), Clock())
    Phone(world)
    (first,) = (await peers.known(BOT, [ALICE]))[ALICE].devices
    Phone(world)  # another one, under the same id
    assert await peers.known(BOT, [ALICE], fresh=True) == {ALICE: Known(())}
    second = Phone(world, device_id="TABLET")
    found = (await peers.known(BOT, [ALICE], fresh=True))[ALICE].devices
    assert [(one.device_id, one.curve25519) for one in found] == [
        ("TABLET", second.keys["curve25519"])
    ]
    assert first.device_id == "PHONE"


@pytest.mark.asyncio
async def test_device_id_may_be_reused_after_a_sign_out() -> None:
    world = World()
    peers = Peers(FakeServer(world), Clock())
    Phone(world)
    assert len((await peers.known(BOT, [ALICE]))[ALICE].devices) == 1
    del world.devices[ALICE]["PHONE"]
    assert await peers.known(BOT, [ALICE], fresh=True) == {ALICE: Known(())}
    anew = Phone(world)
    (device,) = (await peers.known(BOT, [ALICE], fresh=True))[ALICE].devices
    assert device.curve25519 == anew.keys["curve25519"]


def test_number_of_devices_of_a_user_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_module, "MOST", 2)
    world = World()
    for number in range(3):
        Phone(world, device_id=f"D{number}")
    assert len(list(read_devices(ALICE, world.devices[ALICE]))) == 2


def test_an_identity_is_believed_if_its_keys_are_signed() -> None:
    identity = Identity.draw()
    keys = identity.upload(ALICE, {})
    reply: Json = {
        "master_keys": {ALICE: keys["master_key"]},
        "self_signing_keys": {ALICE: keys["self_signing_key"]},
    }
    assert read_identity(ALICE, reply) == identity.public_self_signing
    other = Identity.draw().upload(ALICE, {})
    signer = keys["self_signing_key"]
    assert isinstance(signer, dict)
    wrongs: tuple[Json, ...] = (
        {"master_keys": {ALICE: other["master_key"]}},
        {"self_signing_keys": {ALICE: other["self_signing_key"]}},
        {"self_signing_keys": {ALICE: signer | {"usage": ["master"]}}},
        {"self_signing_keys": {ALICE: signer | {"user_id": "@eve:here"}}},
        {"self_signing_keys": {ALICE: signer | {"keys": {"ed25519:other": "AAAA"}}}},
        {"master_keys": {}},
    )
    for wrong in wrongs:
        assert read_identity(ALICE, reply | wrong) == ""


@pytest.mark.asyncio
async def test_device_list_that_changed_during_its_query_is_not_cached() -> None:
    world = World()

    class Slow(FakeServer):
        async def query(self, asker: UserId, users: Sequence[str], *, device: bool = False) -> Json:
            found = await super().query(asker, users, device=device)
            peers.cache.forget(ALICE)
            return found

    peers = Peers(Slow(world), Clock())
    await peers.known(BOT, [ALICE])
    await peers.known(BOT, [ALICE])
    assert world.calls == ["query", "query"]


@pytest.mark.asyncio
@pytest.mark.parametrize(("people", "each"), [(50, 1), (1, 500)])
async def test_other_tasks_get_a_turn_between_devices(people: int, each: int) -> None:
    """48,000 devices, which a reply can list, blocked the event loop for 2.6 s.

    A user whom programs log in as, hundreds of times, has a device to write with among them.
    """
    world, turns = World(), 0
    users = [f"@user{number}:there" for number in range(people)]
    for user in users:
        for number in range(each):
            Phone(world, user, device_id=f"D{number}")

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        turning = tasks.create_task(turn())
        known = await Peers(FakeServer(world), Clock()).known(BOT, users)
        turning.cancel()
    assert [len(known[user].devices) for user in users] == [each] * people
    assert turns >= people * each // 50
