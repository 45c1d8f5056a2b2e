"""CPU per call to the homeserver: the bridge's client compared with mautrix's layers and types.

Run it as a program: `python -m tests.bench.bench_mautrix [calls] [rounds]`; it prints JSON, medians
of CPU microseconds of this process (the homeserver, another one, accepts everything). In a round
all cases alternate. mautrix's intent need not query anything: the user is registered and joined,
power levels and creator are in its memory store.
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import statistics
import sys
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import cast

import aiohttp
import uvloop
from mautrix.api import Method
from mautrix.appservice import AppServiceAPI, IntentAPI
from mautrix.appservice.state_store.memory import ASStateStore
from mautrix.client.state_store.memory import MemoryStateStore
from mautrix.types import (
    EventID,
    EventType,
    Format,
    Membership,
    MessageType,
    PowerLevelStateEventContent,
    RoomID,
    TextMessageEventContent,
    UserID,
)
from mautrix.util.logging import TraceLogger
from rich.console import Console

from bridge.ids import EventId, RoomId, UserId
from bridge.matrix.client import Homeserver, new_session
from bridge.matrix.crypto.wire import MARKER, Json
from bridge.matrix.users import OurUsers
from tests.bench.bench_crypto import cpu

USERS = OurUsers("example.org", "webchatbot", "webchat_{agent}")
GHOST, ROOM = UserId("@webchat__a00001:example.org"), RoomId("!room:example.org")
OTHER = UserId("@webchat__a00002:example.org")
HERE = f"_matrix/client/v3/rooms/{ROOM}"
BODY = "a line of a talk about an order that has not come, of the usual length"
_YES = b'{"event_id":"$0123456789012345678901234567890123456789012","room_id":"!room:example.org"}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(_YES),
    _YES,
)


class _Yes(asyncio.Protocol):
    """A connection of a server that gives the same answer to each complete request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._read = cast(asyncio.Transport, transport), b""

    def data_received(self, data: bytes) -> None:
        self._read += data
        while True:
            head, end, rest = self._read.partition(b"\r\n\r\n")
            _, found, after = head.lower().partition(b"content-length:")
            size = int(after.split(b"\r\n")[0]) if found else 0
            if not end or len(rest) < size:
                return
            self._read = rest[size:]
            self._transport.write(_ANSWER)


def _serve(told: Connection) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(_Yes, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(run())


def plain(number: int) -> Json:
    """Return an agent's message as `render` makes it."""
    return {
        "msgtype": "m.text",
        "body": BODY,
        "m.mentions": {},
        MARKER: {"txn": str(number)},
        "format": "org.matrix.custom.html",
        "formatted_body": BODY,
    }


def typed(number: int) -> TextMessageEventContent:
    content = TextMessageEventContent(
        msgtype=MessageType.TEXT, body=BODY, format=Format.HTML, formatted_body=BODY
    )
    content["m.mentions"] = {}
    content[MARKER] = {"txn": str(number)}
    return content


class _Remembers(ASStateStore, MemoryStateStore):
    """mautrix's state store, in memory instead of a file."""

    def __init__(self) -> None:
        ASStateStore.__init__(self)
        MemoryStateStore.__init__(self)


async def intent_of(api: AppServiceAPI) -> IntentAPI:
    """Return the ghost's intent, with everything that it looks up in its store."""
    store = _Remembers()
    api.state_store = store
    user, room = UserID(GHOST), RoomID(ROOM)
    await store.registered(user)
    await store.set_membership(room, user, Membership.JOIN)
    await store.set_power_levels(room, PowerLevelStateEventContent())
    await store.set_create(
        {"type": "m.room.create", "state_key": "", "room_id": ROOM, "sender": USERS.bot}
        | {"event_id": "$0", "origin_server_ts": 0, "content": {"room_version": "11"}}
    )
    return IntentAPI(user, api, state_store=store)


async def cases(
    session: aiohttp.ClientSession, address: str
) -> dict[str, Callable[[int], Awaitable[object]]]:
    ours = Homeserver(session, address, "token", USERS)
    client = ours._client(GHOST)
    user, log = UserID(GHOST), TraceLogger("bench", logging.WARNING)
    intent = await intent_of(AppServiceAPI(address, user, "token", log=log, client_session=session))
    room, message = RoomID(ROOM), EventType.ROOM_MESSAGE

    async def cold(number: int) -> None:
        await client.api.request(Method.PUT, f"{HERE}/send/m.room.message/{number}", plain(number))

    async def contents_plain(number: int) -> None:
        json.dumps(plain(number))

    async def contents_typed(number: int) -> None:
        json.dumps(typed(number).serialize())

    async def by_client(number: int) -> None:
        await client.send_message_event(
            room, message, cast(TextMessageEventContent, plain(number)), str(number)
        )

    async def by_intent(number: int) -> None:
        await intent.send_message_event(
            room, message, cast(TextMessageEventContent, plain(number)), txn_id=str(number)
        )

    async def by_intent_typed(number: int) -> None:
        await intent.send_message_event(room, message, typed(number), txn_id=str(number))

    return {
        "send: ours": lambda n: ours.send(GHOST, ROOM, "m.room.message", plain(n), str(n)),
        "send: HTTPAPI": cold,
        "send: ClientAPI": by_client,
        "send: IntentAPI": by_intent,
        "send: IntentAPI, typed content": by_intent_typed,
        "receipt: ours": lambda n: ours.mark_read(ROOM, GHOST, EventId(f"${n}")),
        "receipt: ClientAPI": lambda n: client.send_receipt(room, EventID(f"${n}")),
        "invite: HTTPAPI": lambda _: client.api.request(
            Method.POST, f"{HERE}/invite", {"user_id": OTHER}
        ),
        "invite: ours (ClientAPI)": lambda _: ours.invite(GHOST, ROOM, OTHER),
        "invite: IntentAPI": lambda _: intent.invite_user(room, UserID(OTHER)),
        "content and JSON: plain": contents_plain,
        "content and JSON: typed": contents_typed,
    }


async def main(calls: int, rounds: int, port: int) -> None:
    async with new_session(verify_tls=False) as session:
        measured = await cases(session, f"http://127.0.0.1:{port}")
        found: dict[str, list[float]] = {name: [] for name in measured}
        for once in measured.values():
            await cpu(calls // 10, once)
        for _ in range(rounds):
            for name, once in measured.items():
                found[name].append((await cpu(calls, once))[0])
    shown = {
        name: {
            "median": round(statistics.median(values), 1),
            "least": round(min(values), 1),
            "most": round(max(values), 1),
        }
        for name, values in found.items()
    }
    Console().print_json(data={"calls": calls, "rounds": rounds, "cpu_us": shown})


if __name__ == "__main__":
    chosen = [int(argument) for argument in sys.argv[1:]]
    calls, rounds = (*chosen, *(2_000, 7)[len(chosen) :])
    ours, theirs = multiprocessing.Pipe()
    spawn = multiprocessing.get_context("spawn")
    homeserver = spawn.Process(target=_serve, args=(theirs,), daemon=True)
    homeserver.start()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(calls, rounds, ours.recv()))
    homeserver.kill()
