from __future__ import annotations

import pytest
import pytest_asyncio

from bridge.matrix.crypto.arrivals import Arrivals, News
from bridge.matrix.crypto.encoding import Json
from bridge.matrix.crypto.peers import Peers
from bridge.matrix.crypto.places import Places
from bridge.matrix.crypto.roomkeys import RoomKeys, sealed_of
from bridge.matrix.crypto.sharing import Sharing
from bridge.matrix.crypto.upkeep import Upkeep
from bridge.rooms.ports import Refused
from bridge.rooms.store import StoreError
from bridge.storage.memory import MemoryStore
from tests.unit.matrix.crypto.test_places import Rooms
from tests.unit.matrix.crypto.world import ALICE, BOT, ROOM, FakeServer, Phone, World, new_vault

pytestmark = pytest.mark.asyncio


class Post:
    """The bot's mailbox, and a phone that writes to it."""

    def __init__(self) -> None:
        self.world = World()
        self.store = MemoryStore()
        self.now = 10_000_000

    async def start(self) -> None:
        vault, self.server, rooms = new_vault(self.store), FakeServer(self.world), Rooms()
        self.upkeep = Upkeep(vault, self.server, lambda user, token: None)
        self.peers, self.keys = Peers(self.server), RoomKeys(vault)
        sharing = Sharing(vault, self.server, self.peers, Places(rooms, rooms))
        self.arrivals = Arrivals(
            vault,
            self.server,
            upkeep=self.upkeep,
            peers=self.peers,
            room_keys=self.keys,
            sharing=sharing,
        )
        await self.upkeep.begin()
        await self.upkeep.ensure(BOT)

    async def read(self) -> News:
        since = await self.arrivals.position(BOT)
        reply = await self.arrivals.fetch(BOT, since, wait=False)
        async with self.upkeep.holding(BOT) as own:
            news = await self.arrivals.absorb(own, reply, self.now)
            await self.arrivals.follow_up(own, reply, news, self.now)
        return news

    async def opened(self, raw: Json) -> object:
        sealed = sealed_of(raw)
        assert sealed is not None
        return await self.keys.open(raw, sealed, self.now)

    def post(self, kind: str, content: Json) -> None:
        (device_id,) = self.world.devices[BOT]
        self.world.post(ALICE, BOT, device_id, kind, content)


@pytest_asyncio.fixture
async def post() -> Post:
    made = Post()
    await made.start()
    return made


async def test_a_key_comes_and_is_told_of(post: Post) -> None:
    phone = Phone(post.world)
    phone.send_key(BOT)
    raw = phone.say("hello")
    news = await post.read()
    assert list(news.keys.values()) == [ROOM]
    assert isinstance(await post.opened(raw), dict)
    assert (await post.read()).keys == {}
    assert post.world.mailboxes[BOT, next(iter(post.world.devices[BOT]))] == []


@pytest.mark.parametrize("broken", ["secret", "save_secrets"])
async def test_a_key_is_not_lost_when_the_database_is_away(
    post: Post, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is stored, so the homeserver is asked for the same again; and it can be read."""
    phone = Phone(post.world)
    phone.send_key(BOT)
    raw = phone.say("hello")
    since = await post.arrivals.position(BOT)
    reply = await post.arrivals.fetch(BOT, since, wait=False)

    async def away(_: object) -> None:
        raise StoreError("away")

    async with post.upkeep.holding(BOT) as own:
        monkeypatch.setattr(post.store, broken, away)
        with pytest.raises(StoreError):
            await post.arrivals.absorb(own, reply, 0)
    monkeypatch.undo()
    await post.read()
    assert isinstance(await post.opened(raw), dict)


async def test_a_key_is_not_lost_when_the_process_dies_in_between(post: Post) -> None:
    phone = Phone(post.world)
    phone.send_key(BOT)
    raw = phone.say("hello")
    await post.arrivals.fetch(BOT, await post.arrivals.position(BOT), wait=False)
    await post.start()  # what was fetched was not stored
    await post.read()
    assert isinstance(await post.opened(raw), dict)


async def test_many_letters_of_one_device_in_one_go(post: Post) -> None:
    phone = Phone(post.world)
    for number in range(5):
        phone.send_key(BOT, f"!room{number}:here")
    news = await post.read()
    assert sorted(news.keys.values()) == [f"!room{number}:here" for number in range(5)]


async def test_a_refusal_is_told_of(post: Post) -> None:
    phone = Phone(post.world)
    content: Json = {"room_id": ROOM, "session_id": phone.group.session_id, "code": "m.unverified"}
    post.post("m.room_key.withheld", content)
    news = await post.read()
    assert list(news.keys.values()) == [ROOM]
    assert "unverified" in str(await post.opened(phone.say("x")))


async def test_a_letter_that_cannot_be_read_gets_a_new_session(post: Post) -> None:
    phone = Phone(post.world)
    phone.begin(BOT)
    await post.read()
    content = phone.write(BOT, "m.x", {})
    part = content["ciphertext"]
    assert isinstance(part, dict)
    for body in part.values():
        body["type"] = 1
    post.post("m.room.encrypted", content)
    await post.read()
    (payload,) = phone.fetch()
    assert payload["type"] == "m.dummy"
    post.post("m.room.encrypted", content)
    await post.read()
    assert phone.fetch() == []  # once an hour
    post.now += 3_600_000
    post.post("m.room_key.withheld", {"code": "m.no_olm", "sender_key": phone.keys["curve25519"]})
    await post.read()
    assert [payload["type"] for payload in phone.fetch()] == ["m.dummy"]


async def test_whatever_else_comes_is_left_alone(post: Post) -> None:
    phone = Phone(post.world)
    post.post("m.room.encrypted", {"algorithm": "m.other"})
    post.post("m.room.encrypted", phone.write(BOT, "m.x", {}, recipient="@other:here"))
    post.post("m.room.encrypted", phone.write(BOT, "m.secret.send", {"secret": "x"}))
    post.post("m.room.encrypted", phone.write(BOT, "m.room_key", {"algorithm": "m.other"}))
    post.post("m.room_key_request", {})
    assert (await post.read()).keys == {}


async def test_an_event_that_makes_us_fail_stops_no_other(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = Phone(post.world)
    post.post("m.room_key.withheld", {"room_id": ROOM, "session_id": "s"})
    phone.send_key(BOT)

    def poisoned(event: Json, now: int) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(post.keys, "refusal", poisoned)
    await post.read()
    assert isinstance(await post.opened(phone.say("hello")), dict)


async def test_changed_devices_are_asked_for_again(post: Post) -> None:
    await post.peers.devices(BOT, [ALICE])
    Phone(post.world)
    post.world.changed = [ALICE]
    await post.read()
    assert len((await post.peers.devices(BOT, [ALICE]))[ALICE]) == 1


async def test_used_up_keys_are_made_again(post: Post) -> None:
    (device_id,) = post.world.devices[BOT]
    keys = post.world.one_time[BOT, device_id]
    for key_id in list(keys)[:40]:
        del keys[key_id]
    await post.read()
    assert len(keys) == 50


async def test_a_token_that_the_homeserver_forgot_is_dropped(post: Post) -> None:
    await post.read()

    class Forgetful(FakeServer):
        async def sync(self, user: object, since: str, *, wait: bool) -> Json:
            if since:
                raise Refused("M_UNKNOWN")
            return await super().sync(BOT, since, wait=wait)

    post.arrivals._server = Forgetful(post.world)
    await post.peers.devices(BOT, [ALICE])
    Phone(post.world)
    await post.read()
    assert len((await post.peers.devices(BOT, [ALICE]))[ALICE]) == 1
    post.world.fails["sync"] = Refused("M_UNKNOWN_TOKEN")
    with pytest.raises(Refused):
        await post.arrivals.fetch(BOT, "", wait=False)


async def test_a_reply_without_sense_is_survived(post: Post) -> None:
    async with post.upkeep.holding(BOT) as own:
        for reply in (
            {},
            {"to_device": {"events": 5}, "device_lists": {"changed": 5, "left": [5]}},
        ):
            news = await post.arrivals.absorb(own, reply, 0)
            await post.arrivals.follow_up(own, reply, news, 0)
            assert news.keys == {}
