"""The lean forwarders L and D: the minimum cost of forwarding a message in Python.

aiohttp towards Matrix, websockets towards WebChat, no state. L stores nothing: a message in transit
when it stops is lost, a repeated transaction is delivered twice. D, the durable one, writes each
message to a journal before acknowledging or forwarding it, and nothing more: no outcome, no
recovery. The bridge is compared with them (`bench_bridge`). They run as a program:
`python -m tests.bench.forwarder LOOP PORT ROOMS HOMESERVER WEBCHAT [DATABASE]`; the loop is
`asyncio` or `uvloop`, a room's number is appended to the address of WebChat; with a database's URL
it is D.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack

import aiohttp
import uvloop
from aiohttp import web
from websockets.asyncio.client import ClientConnection, connect

from tests.bench.journal import Journal, journal_in


class Forwarder:
    """Forwards between room `!N:localhost` and the socket with the token N."""

    def __init__(
        self, session: aiohttp.ClientSession, homeserver: str, journal: Journal | None
    ) -> None:
        self.sockets: dict[str, ClientConnection] = {}
        self._session = session
        self._homeserver = homeserver
        self._journal = journal
        self._calls = 0

    async def transaction(self, request: web.Request) -> web.Response:
        events = json.loads(await request.read())["events"]
        if self._journal is not None:
            rows = [(event["event_id"], json.dumps(event).encode()) for event in events]
            await self._journal.keep(rows)
        for event in events:
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
                if self._journal is not None:
                    await self._journal.keep([(f"push {self._calls}", str(message).encode())])
                content = {"msgtype": "m.text", "body": frame["msg"]["content"]}
                path = f"/_matrix/client/v3/rooms/{room}/send/m.room.message/L{self._calls}"
                async with self._session.put(
                    f"{self._homeserver}{path}",
                    params={"user_id": "@webchat__a00001:localhost"},
                    headers={"Authorization": "Bearer token"},
                    json=content,
                ) as response:
                    await response.json()


async def main(port: int, rooms: int, homeserver: str, webchat: str, database: str) -> None:
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(journal_in(database)) if database else None
        session = await stack.enter_async_context(aiohttp.ClientSession())
        group = await stack.enter_async_context(asyncio.TaskGroup())
        forwarder = Forwarder(session, homeserver, journal)
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
    loop, port, rooms, homeserver, webchat, *more = sys.argv[1:]
    run = uvloop.run if loop == "uvloop" else asyncio.run
    run(main(int(port), int(rooms), homeserver, webchat, more[0] if more else ""))
