"""The Matrix side of the bridge alone: adapter and appservice endpoint, events kept in memory."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import aiohttp
from aiohttp import web
from PIL import Image

from bridge.config.model import Bot, Queue
from bridge.ids import RoomId, UserId
from bridge.matrix import client
from bridge.matrix.adapter import MatrixAdapter
from bridge.matrix.appservice import Arrived, Endpoint
from bridge.rooms.ports import Blob, MatrixPort
from bridge.rooms.record import Raw
from bridge.rooms.store import StoreError
from tests.fakes.memory import MemoryStore
from tests.support.matrix_user import PATIENCE, Customer
from tests.support.synapse import Homeserver, running_homeserver

T = TypeVar("T")
QUEUES = (Queue(id=1, name="Sales"), Queue(id=2, name="Support"))


class MemoryIntake:
    """Accepts the events of transactions, or refuses them while `down`."""

    def __init__(self) -> None:
        self.events: dict[str, Raw] = {}
        self.down = False
        self.refused = 0
        self._news = asyncio.Condition()

    async def accept(self, events: Sequence[Arrived]) -> None:
        async with self._news:
            self._news.notify_all()
            if self.down:
                self.refused += 1
                raise StoreError
            for _, event_id, event in events:
                self.events.setdefault(event_id, event)

    async def until_refused(self) -> None:
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: self.refused > 0)

    async def event(self, event_id: str) -> Raw:
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: event_id in self.events)
            return self.events[event_id]

    async def meaning(self, adapter: MatrixAdapter, room_id: str, kind: type[T]) -> T:
        """Wait for the room's first event that is interpreted as `kind`; return its meaning."""

        def find() -> T | None:
            for event in self.events.values():
                if event["room_id"] == room_id:
                    meaning = adapter.interpret(event)
                    if isinstance(meaning, kind):
                        return meaning
            return None

        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: find() is not None)
            found = find()
            assert found is not None
            return found


class Rig:
    """The running Matrix side of the bridge."""

    def __init__(
        self,
        homeserver: Homeserver,
        session: aiohttp.ClientSession,
        people: aiohttp.ClientSession,
    ) -> None:
        self.homeserver = homeserver
        self.users = homeserver.users
        self.session = session
        self.people = people
        self.profiles = MemoryStore()
        self.intake = MemoryIntake()
        self.adapter = self.new_adapter()
        self._count = 0

    def new_adapter(self) -> MatrixAdapter:
        """Return an adapter without cached state, as after a restart of the bridge."""
        return MatrixAdapter(
            client.Homeserver(
                self.session,
                self.homeserver.server.address,
                self.homeserver.registration.as_token,
                self.users,
            ),
            users=self.users,
            profiles=self.profiles,
            conversions=ThreadPoolExecutor(1),
        )

    def endpoint(self) -> Endpoint:
        return Endpoint(
            hs_token=self.homeserver.registration.hs_token,
            users=self.users,
            accept=self.intake.accept,
            answer_user_query=self.adapter.ghosts.answer_user_query,
            max_body=64 * 1024 * 1024,
        )

    async def customer(self) -> Customer:
        self._count += 1
        return await Customer.sign_up(self.people, self.homeserver.server, f"customer{self._count}")

    async def served_room(self, first: str = "hello") -> tuple[Customer, RoomId]:
        """Create a customer and a direct room that the bot has joined."""
        customer = await self.customer()
        room_id = RoomId(await customer.create_dm(self.users.bot, first))
        await self.adapter.enter(room_id, self.users.bot, UserId(customer.user_id))
        return customer, room_id


@asynccontextmanager
async def running_rig(folder: Path) -> AsyncIterator[Rig]:
    """Start Synapse and the Matrix side of the bridge."""
    async with (
        running_homeserver(folder) as homeserver,
        client.new_session(verify_tls=True) as session,
        aiohttp.ClientSession() as people,
    ):
        made = Rig(homeserver, session, people)
        # Let the type checker verify that the adapter implements the port.
        port: MatrixPort = made.adapter
        assert port.is_ours(made.users.bot)
        runner = web.ServerRunner(web.Server(made.endpoint().handle))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", homeserver.port).start()
        try:
            await made.adapter.ghosts.prepare(QUEUES, Bot())
            yield made
        finally:
            await runner.cleanup()


def blob(data: bytes, mime: str = "", name: str = "", size: int | None = None) -> Blob:
    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 50_000):
            yield data[at : at + 50_000]

    return Blob(chunks=chunks(), size=size, mime=mime, name=name)


def picture(width: int = 60, height: int = 40, colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, "PNG")
    return out.getvalue()
