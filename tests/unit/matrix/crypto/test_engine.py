from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
import pytest_asyncio
from vodozemac import GroupSession

from bridge.ids import QueueId, RoomId, UserId
from bridge.matrix.crypto import engine
from bridge.matrix.crypto.encoding import Json
from bridge.matrix.crypto.engine import Crypto
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.matrix.crypto.own import MEGOLM
from bridge.matrix.homeserver import Homeserver
from bridge.matrix.transport import Transport
from bridge.matrix.users import OurUsers
from bridge.rooms.ports import Refused, Unavailable, Undecryptable
from bridge.rooms.store import StoreError
from bridge.storage.memory import MemoryStore
from tests.unit.matrix.crypto.test_places import Rooms, event
from tests.unit.matrix.crypto.world import AWAY, REFUSED, ROOM, FakeServer, Phone, World, new_vault

pytestmark = pytest.mark.asyncio

USERS = OurUsers("here", "bot", "ghost{agent}", [QueueId(1)])
BOT, QUEUE = USERS.hosts()


class Time:
    """Stands still until somebody sleeps."""

    def __init__(self) -> None:
        self.ms = 10_000_000
        self.slept: list[float] = []

        self.turned = asyncio.Condition()

    def now(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        async with self.turned:
            self.slept.append(seconds)
            self.turned.notify_all()
        await asyncio.sleep(0)


class Patient(FakeServer):
    """Its /sync returns at once, but not for ever without news."""

    async def sync(self, user: object, since: str, *, wait: bool) -> Json:
        if wait:
            async with self.news:
                await self.news.wait_for(lambda: self.world.counter > int(since or 0) or self.fails)
        return await super().sync(BOT if user == BOT else QUEUE, since, wait=wait)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.news = asyncio.Condition()

    @property
    def fails(self) -> bool:
        return "sync" in self.world.fails

    async def wake(self) -> None:
        async with self.news:
            self.news.notify_all()


class Bridge:
    """`Crypto` between a world and a room."""

    def __init__(self, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.rooms, self.time = World(), Rooms(), Time()
        self.rooms.membership = {BOT: "join", "@alice:here": "join"}
        self.rooms.states["m.room.encryption"] = {"algorithm": MEGOLM}
        self.rooms.is_ours = USERS.is_ours  # type: ignore[method-assign]  # a room of these users
        self.server = Patient(self.world)
        self.told: list[RoomId] = []
        self.news = asyncio.Condition()

        def server(*_: Transport) -> KeyServer:
            return self.server

        def homeserver(_: Transport) -> Homeserver:
            return self.rooms

        monkeypatch.setattr(engine, "KeyServer", server)
        monkeypatch.setattr(engine, "Homeserver", homeserver)
        self.transport = Transport(session, "http://here", "token", USERS)
        vault = new_vault(MemoryStore())
        self.crypto = Crypto(self.transport, self.transport, USERS, vault, self.time)
        self.phone = Phone(self.world)

    async def on_key(self, room_id: RoomId) -> None:
        async with self.news:
            self.told.append(room_id)
            self.news.notify_all()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.crypto.run(self.on_key))
            yield
            task.cancel()

    async def send_key(self) -> None:
        self.phone.send_key(BOT)
        await self.server.wake()

    async def until_told(self) -> None:
        async with asyncio.timeout(5), self.news:
            await self.news.wait_for(lambda: self.told)


@pytest_asyncio.fixture
async def bridge(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bridge]:
    async with aiohttp.ClientSession() as session:
        made = Bridge(session, monkeypatch)
        await made.crypto.begin()
        for host in (BOT, QUEUE):
            await made.crypto.ensure(host)
        yield made


async def test_what_is_not_encrypted_passes(bridge: Bridge) -> None:
    raw: Json = {"type": "m.room.message", "room_id": ROOM}
    assert await bridge.crypto.open(raw) is raw
    wrong: Json = {"type": "m.room.encrypted", "room_id": ROOM}
    assert await bridge.crypto.open(wrong) == Undecryptable("unreadable.undecryptable", later=False)


async def test_only_the_key_that_is_waited_for_wakes(bridge: Bridge) -> None:
    async with bridge.running():
        await bridge.send_key()
        await bridge.until_told()
        assert bridge.told == [ROOM]
        bridge.phone.group = GroupSession()
        raw = bridge.phone.say("early")
        async with asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(bridge.crypto.open(raw, 60))
            await asyncio.sleep(0)
            bridge.phone.group = GroupSession()
            bridge.told.clear()
            await bridge.send_key()
            await bridge.until_told()
            assert not opening.done()
            opening.cancel()


async def test_the_right_key_opens(bridge: Bridge) -> None:
    async with bridge.running(), asyncio.timeout(5):
        early = bridge.phone.room_key()
        raw = bridge.phone.say("hello")
        async with asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(bridge.crypto.open(raw, 60))
            await asyncio.sleep(0.01)
            content = bridge.phone.write(BOT, "m.room_key", early)
            (device_id,) = bridge.world.devices[BOT]
            bridge.world.post(bridge.phone.user, BOT, device_id, "m.room.encrypted", content)
            await bridge.server.wake()
        opened = opening.result()
        assert isinstance(opened, dict)
        assert opened["type"] == "m.room.message"


async def test_a_key_that_does_not_come(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CATCHING_UP", 0.02)
    found = await bridge.crypto.open(bridge.phone.say("x"), 0.0)
    assert found == Undecryptable("unreadable.no_key", later=True)


async def test_trouble_does_not_end_the_reading(bridge: Bridge) -> None:
    unknown = Refused("M_UNKNOWN_DEVICE")
    for trouble in (AWAY, REFUSED, unknown, StoreError("away"), RuntimeError("ours")):
        bridge.world.fails["sync"] = trouble
        bridge.time.slept.clear()
        bridge.told.clear()
        async with bridge.running():
            await bridge.server.wake()
            async with asyncio.timeout(5), bridge.time.turned:
                await bridge.time.turned.wait_for(lambda: len(bridge.time.slept) >= 4)
            del bridge.world.fails["sync"]
            await bridge.send_key()
            await bridge.until_told()


async def test_a_clear_room_stays_clear(bridge: Bridge) -> None:
    content: Json = {"body": "x"}
    del bridge.rooms.states["m.room.encryption"]
    assert await bridge.crypto.seal(BOT, ROOM, "m.room.message", content) == (
        "m.room.message",
        content,
    )
    assert not await bridge.crypto.is_encrypted(BOT, ROOM)
    bridge.rooms.states["m.room.encryption"] = {"algorithm": MEGOLM}
    assert isinstance(await bridge.crypto.open(event("m.room.encryption")), dict)
    assert await bridge.crypto.is_encrypted(BOT, ROOM)


async def test_what_is_said_in_an_encrypted_room(bridge: Bridge) -> None:
    kind, content = await bridge.crypto.seal(BOT, ROOM, "m.room.message", {"body": "x"})
    assert kind == "m.room.encrypted"
    bridge.phone.fetch()
    assert bridge.phone.read(content)["content"] == {"body": "x"}
    reaction: Json = {"m.relates_to": {}}
    assert await bridge.crypto.seal(BOT, ROOM, "m.reaction", reaction) == ("m.reaction", reaction)


async def test_a_ghost_looks_into_its_mailbox_before_a_session(bridge: Bridge) -> None:
    ghost = UserId("@ghosta:here")
    await bridge.crypto.ensure(ghost)
    bridge.world.calls.clear()

    async def sync(user: object, since: str, *, wait: bool) -> Json:
        bridge.world.calls.append("sync")
        return {"next_batch": "7"}

    bridge.server.sync = sync  # type: ignore[method-assign]  # an empty mailbox
    await bridge.crypto.seal(ghost, ROOM, "m.room.message", {"body": "x"})
    await bridge.crypto.seal(ghost, ROOM, "m.room.message", {"body": "y"})
    await bridge.crypto.seal(ghost, RoomId("!other:here"), "m.room.message", {"body": "z"})
    assert bridge.world.calls.count("sync") == 1


async def test_the_token_of_an_older_homeserver_is_used(bridge: Bridge) -> None:
    ghost = UserId("@ghostc:here")

    async def make_device(user: UserId, device_id: str) -> str:
        bridge.world.made.append((user, device_id))
        return "token"

    bridge.server.make_device = make_device  # type: ignore[method-assign]  # an older one
    await bridge.crypto.ensure(ghost)
    assert bridge.transport._tokens == {ghost: "token"}


async def test_a_user_without_keys_is_no_reason_to_stop(bridge: Bridge) -> None:
    bridge.world.fails["make_device"] = REFUSED
    await bridge.crypto.ensure(UserId("@ghostb:here"))
    bridge.world.fails["make_device"] = AWAY
    with pytest.raises(Unavailable):
        await bridge.crypto.ensure(UserId("@ghostb:here"))
    del bridge.world.fails["make_device"]
    await bridge.crypto.mend(UserId("@ghostb:here"))
