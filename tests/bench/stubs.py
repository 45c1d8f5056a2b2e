"""The peers of the bench: cheap, obliging, and able to count."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiohttp import web
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosedError

GHOSTS = "@webchat__"


class Counter:
    """Counts, and wakes whoever waits for a number."""

    def __init__(self) -> None:
        self.value = 0
        self._more = asyncio.Event()

    def add(self) -> None:
        self.value += 1
        self._more.set()

    async def reach(self, number: int) -> None:
        """Wait for the number, at most two minutes."""
        async with asyncio.timeout(120):
            while self.value < number:
                self._more.clear()
                await self._more.wait()


class StubHomeserver:
    """Says yes to everything.

    Attributes:
        address: of its client-server API.
        from_agents: messages sent by ghosts.
        from_us: messages sent by the bot.
        receipts: read receipts.
    """

    def __init__(self) -> None:
        self.address = ""
        self.from_agents = Counter()
        self.from_us = Counter()
        self.receipts = Counter()
        self._numbers = itertools.count(1)

    async def send(self, request: web.Request) -> web.Response:
        await request.read()
        ghost = request.query.get("user_id", "").startswith(GHOSTS)
        (self.from_agents if ghost else self.from_us).add()
        return web.json_response({"event_id": f"$sent{next(self._numbers)}"})

    async def receipt(self, request: web.Request) -> web.Response:
        await request.read()
        self.receipts.add()
        return web.json_response({})

    async def nothing(self, request: web.Request) -> web.Response:
        return web.json_response({"errcode": "M_NOT_FOUND", "error": "none"}, status=404)

    async def members(self, request: web.Request) -> web.Response:
        return web.json_response({"chunk": []})

    async def anything(self, request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"user_id": "@webchatbot:localhost"})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[StubHomeserver]:
        rooms = "/_matrix/client/v3/rooms/{room}"
        application = web.Application(client_max_size=1 << 26)
        application.add_routes(
            [
                web.put(f"{rooms}/send/{{kind}}/{{txn}}", self.send),
                web.post(f"{rooms}/receipt/{{kind}}/{{event}}", self.receipt),
                web.get(f"{rooms}/state/{{kind}}/{{key:.*}}", self.nothing),
                web.get(f"{rooms}/members", self.members),
                web.get(f"{rooms}/messages", self.members),
                web.route("*", "/{any:.*}", self.anything),
            ]
        )
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()


class StubWebChat:
    """The other end of the forwarder's sockets: answers each 110, and says what it is told to.

    Attributes:
        address: `ws://…`; a socket's path is its room's number.
        received: messages of customers.
    """

    def __init__(self) -> None:
        self.address = ""
        self.received = Counter()
        self.sockets: dict[int, ServerConnection] = {}

    async def serve(self, socket: ServerConnection) -> None:
        request = socket.request
        assert request is not None
        self.sockets[int(request.path.strip("/"))] = socket
        with suppress(ConnectionClosedError):  # the forwarder knows no farewell
            async for message in socket:
                frame = json.loads(message)
                self.received.add()
                reply = {"type": 110, "messageId": frame["messageId"], "result": 1}
                await socket.send(json.dumps(reply))

    async def say(self, room: int, text: str) -> None:
        frame = {
            "type": 210,
            "sessionId": 1,
            "userId": "A00001",
            "msg": {"type": 1, "content": text},
        }
        await self.sockets[room].send(json.dumps(frame))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[StubWebChat]:
        server: Server
        async with serve(self.serve, "127.0.0.1", 0, compression=None) as server:
            self.address = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self
