"""A minimal WebChat client over real sockets, independent of the bridge, to test the simulator."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import quote

import aiohttp
from websockets.asyncio.client import ClientConnection, connect

from bridge.simulator.simulator import Simulator, SimulatorOptions
from tests.support.ports import free_port

Json = dict[str, object]


class Site:
    """A running simulator and an HTTP session for it."""

    def __init__(self, simulator: Simulator, http: aiohttp.ClientSession) -> None:
        self.simulator = simulator
        self.http = http
        self.origin = simulator.base_url.removesuffix("/webchat")
        self._stack = AsyncExitStack()

    async def login(self, name: str = "ada", shown: str = "") -> str:
        """Log in by type 1, or by type 3 with the name `shown` to agents; return the token."""
        body: Json = {"type": 1, "loginName": name, "password": "", "epid": ""}
        if shown:
            body = {"type": 3, "loginName": name, "name": shown, "epid": ""}
        async with self.http.post(f"{self.simulator.base_url}/tpi", json=body) as response:
            return str((await response.json())["token"])

    async def phone(self, name: str = "ada", token: str = "") -> Phone:
        """Log in if no token is given, and open a socket, which is closed with the site."""
        token = token or await self.login(name)
        url = self.simulator.base_url.replace("http", "ws", 1) + f"/cws?token={quote(token, '')}"
        socket = await self._stack.enter_async_context(connect(url, compression=None))
        phone = Phone(socket, token)
        if self.simulator.options.has("init_config"):
            await phone.push(200)
        return phone

    async def chat(self, name: str = "ada") -> tuple[Phone, int]:
        """Open a session for a customer, with any script; return the socket and session id."""
        phone = await self.phone(name)
        await phone.send(101, queueId=1, **{"from": "APP"})
        await phone.reply(101)
        if self.simulator.state()["waiting"]:
            await self.simulator.do({"op": "accept", "login": name})
        started = await phone.push(202)
        return phone, int(str(started["sessionId"]))

    async def close(self) -> None:
        await self._stack.aclose()


class Phone:
    """A customer's socket."""

    def __init__(self, socket: ClientConnection, token: str) -> None:
        self.socket = socket
        self.token = token
        self._ids = itertools.count(1)

    async def send(self, frame_type: int, **fields: object) -> int:
        """Send a frame; return its messageId."""
        number = next(self._ids)
        frame = {"messageId": number, "type": frame_type, "token": self.token, "time": 1, **fields}
        await self.socket.send(json.dumps(frame))
        return number

    async def text(self, session_id: int, text: str, **fields: object) -> int:
        msg = {"type": 1, "content": {"content": text, "extra": ""}}
        return await self.send(110, sessionId=session_id, msg=msg, **fields)

    async def receive(self) -> Json:
        """Return the next frame, within half a minute."""
        async with asyncio.timeout(30):
            frame = json.loads(await self.socket.recv())
        assert isinstance(frame, dict)
        return frame

    async def reply(self, frame_type: int) -> Json:
        """Return the next frame, which must be a reply of this type."""
        frame = await self.receive()
        assert frame["type"] == frame_type, frame
        assert "result" in frame
        return frame

    async def push(self, frame_type: int) -> Json:
        """Return the next push of this type, skipping other pushes."""
        while (frame := await self.receive())["type"] != frame_type:
            assert "result" not in frame, frame
        return frame

    async def closed(self) -> int | None:
        """Wait for the server to close the socket; return the close code."""
        async with asyncio.timeout(30):
            await self.socket.wait_closed()
        return self.socket.close_code


@asynccontextmanager
async def site(**options: object) -> AsyncIterator[Site]:
    """Run a strict simulator with these options, on a port that a restart can reuse."""
    simulator = Simulator(SimulatorOptions(strict=True).changed(options))
    await simulator.start(port=free_port())
    try:
        async with aiohttp.ClientSession() as http:
            here = Site(simulator, http)
            yield here
            await here.close()
    finally:
        await simulator.stop()
