"""`Bridge`: `Crypto` with a fake homeserver, room, phone and clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bridge.ids import RoomId, UserId
from bridge.matrix.crypto.crypto import Crypto
from bridge.matrix.crypto.wire import MEGOLM, SYNC_SECONDS, Json
from tests.fakes.memory import MemoryStore
from tests.unit.matrix.crypto.test_places import Rooms
from tests.unit.matrix.crypto.world import BOT, QUEUE, USERS, FakeServer, Phone, World, new_vault


class Time:
    """A clock that only tests move; sleeps are recorded, and take no time."""

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
        await asyncio.sleep(0 if seconds < SYNC_SECONDS else 0.01)


class Patient(FakeServer):
    """A homeserver whose waiting /sync returns once there is news or a failure."""

    async def sync(self, user: object, since: str, *, wait: bool, device: str = "") -> Json:
        if wait:
            async with self.news:
                self.reading.add(str(user))
                self.news.notify_all()
                await self.news.wait_for(lambda: self.world.counter > int(since or 0) or self.fails)
        who = BOT if user == BOT else QUEUE
        return await super().sync(who, since, wait=wait, device=device)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.news = asyncio.Condition()
        self.reading: set[str] = set()
        """Users that have read their mailbox and wait for more."""

    @property
    def fails(self) -> bool:
        return "sync" in self.world.fails

    async def send_to_devices(self, user: UserId, kind: str, messages: Json) -> None:
        await super().send_to_devices(user, kind, messages)
        await self.wake()

    async def wake(self) -> None:
        async with self.news:
            self.news.notify_all()


class Bridge:
    """`Crypto` with a fake homeserver, room, phone and clock."""

    def __init__(self) -> None:
        self.world, self.rooms, self.time = World(), Rooms(), Time()
        self.rooms.membership = {BOT: "join", "@alice:here": "join"}
        self.rooms.states["m.room.encryption"] = {"algorithm": MEGOLM}
        self.server = Patient(self.world)
        self.told: list[RoomId | None] = []
        self.news = asyncio.Event()
        self.phone = Phone(self.world)
        self.start(MemoryStore())

    def start(self, store: MemoryStore) -> None:
        self.store = store
        vault = new_vault(store)
        self.crypto = Crypto(self.server, self.rooms, USERS, vault, self.time)

    def on_key(self, room_id: RoomId | None) -> None:
        self.told.append(room_id)
        self.news.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.crypto.run(self.on_key))
            yield
            task.cancel()

    async def requests(self, count: int) -> list[Json]:
        """Wait until the phone has got `count` key requests; return them."""
        mailbox = self.world.mailboxes.setdefault((self.phone.user, self.phone.device_id), [])
        async with self.server.news:
            await self.server.news.wait_for(lambda: len(mailbox) >= count)
        assert {event["type"] for _, event in mailbox} == {"m.room_key_request"}
        return [content for _, event in mailbox if isinstance(content := event["content"], dict)]

    async def send_key(self) -> None:
        self.phone.send_key(BOT)
        await self.server.wake()

    async def caught_up(self) -> None:
        """Wait until both hosts have read their mailboxes."""
        async with asyncio.timeout(30), self.server.news:
            await self.server.news.wait_for(lambda: self.server.reading.issuperset(USERS.hosts))

    async def until_told(self) -> None:
        async with asyncio.timeout(30):
            while not self.told:
                self.news.clear()
                await self.news.wait()
