"""The lean forwarder L: what carrying a message costs at the very least, in Python.

aiohttp towards Matrix, websockets towards WebChat, nothing stored, nothing known: a message that is
under way when it stops is lost, a repeated transaction is carried twice. It is the measure for the
bridge (`bench_bridge`), run as a program of its own: `python -m tests.bench.forwarder LOOP PORT
ROOMS HOMESERVER WEBCHAT`; the loop is `asyncio` or `uvloop`, and a room's number is appended to the
last address.
"""

from __future__ import annotations

import asyncio
import json
import sys

import aiohttp
import uvloop
from aiohttp import web
from websockets.asyncio.client import ClientConnection, connect


class Forwarder:
    """Room `!N:localhost` belongs to the socket of the token N."""

    def __init__(self, session: aiohttp.ClientSession, homeserver: str) -> None:
        self.sockets: dict[str, ClientConnection] = {}
        self._session = session
        self._homeserver = homeserver
        self._calls = 0

    async def transaction(self, request: web.Request) -> web.Response:
        for event in json.loads(await request.read())["events"]:
            if event["type"] == "m.room.message":
                self._calls += 1
                text = event["content"]["body"]
                frame = {
                    "type": 110,
                    "messageId": self._calls,
                    "sessionId": 1,
                    "msg": {"type": 1, "content": {"content": text}},
                }
                await self.sockets[event["room_id"]].send(json.dumps(frame))
        return web.json_response({})

    async def listen(self, room: str) -> None:
        async for message in self.sockets[room]:
            frame = json.loads(message)
            if frame["type"] == 210:
                self._calls += 1
                content = {"msgtype": "m.text", "body": frame["msg"]["content"]}
                path = f"/_matrix/client/v3/rooms/{room}/send/m.room.message/L{self._calls}"
                async with self._session.put(
                    f"{self._homeserver}{path}",
                    params={"user_id": "@webchat__a00001:localhost"},
                    headers={"Authorization": "Bearer token"},
                    json=content,
                ) as response:
                    await response.json()


async def main(port: int, rooms: int, homeserver: str, webchat: str) -> None:
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        forwarder = Forwarder(session, homeserver)
        for number in range(rooms):
            room = f"!{number}:localhost"
            forwarder.sockets[room] = await connect(f"{webchat}{number}", compression=None)
            group.create_task(forwarder.listen(room))
        application = web.Application(client_max_size=1 << 26)
        application.add_routes(
            [web.put("/_matrix/app/v1/transactions/{txn}", forwarder.transaction)]
        )
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    loop, port, rooms, homeserver, webchat = sys.argv[1:]
    run = uvloop.run if loop == "uvloop" else asyncio.run
    run(main(int(port), int(rooms), homeserver, webchat))
