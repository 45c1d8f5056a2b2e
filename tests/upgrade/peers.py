"""The whole bridge as a process, between a homeserver that takes notes and a simulator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
from aiohttp import web

from bridge.demo.stage import BridgeProcess
from bridge.demo.synapse import free_port
from bridge.simulator.simulator import Simulator, SimulatorOptions
from tests.bench.stubs import GHOSTS, StubHomeserver
from tests.bench.subjects import SimulatedDesk as Desk
from tests.bench.subjects import Subject, write_config
from tests.conformance.simulator_client import Site

ROOMS = 3


class Posted(msgspec.Struct, frozen=True):
    """A message that stands in a room."""

    event_id: str
    room: str
    sender: str
    body: str


class Killed(msgspec.Struct, frozen=True):
    """What a stored database's peers had when the bridge was killed."""

    now: int
    """ms since the epoch."""
    sessions: dict[str, int]
    """Login → session, in the order in which they began."""
    asked: list[str]
    """Texts of customers, `<room> …`, in order; all but the last were acknowledged for certain."""
    heard: list[tuple[int, str]]
    """What came to the desk: call id and text."""
    posted: dict[str, Posted]
    """Transaction id and sender → what was posted."""


class Homeserver(StubHomeserver):
    """Keeps what is posted, once per sender and transaction id; slowly.

    Attributes:
        posted: by transaction id and sender.
        seconds: that it takes for each message.
    """

    def __init__(self, posted: dict[str, Posted] | None = None, seconds: float = 0) -> None:
        super().__init__()
        self.posted = dict(posted or {})
        self.seconds = seconds

    async def send(self, request: web.Request) -> web.Response:
        content = await request.json()
        sender = request.query.get("user_id", "")
        key = f"{request.match_info['txn']} {sender}"
        if key not in self.posted:
            event_id = f"$sent{len(self.posted)}"
            room = request.match_info["room"]
            self.posted[key] = Posted(event_id, room, sender, str(content.get("body", "")))
        await asyncio.sleep(self.seconds)
        return web.json_response({"event_id": self.posted[key].event_id})

    def shown(self, known: Sequence[str] = ()) -> list[str]:
        """What ghosts have posted, but under these transaction ids; in order."""
        return [
            one.body
            for key, one in self.posted.items()
            if one.sender.startswith(GHOSTS) and key not in known
        ]


def heard(simulator: Simulator) -> list[tuple[int, str]]:
    """Call id and text of what customers said, as it came to the desk."""
    found = []
    for entry in simulator.frames():
        frame = entry["frame"]
        if entry["direction"] == "in" and isinstance(frame, dict) and frame.get("type") == 110:
            found.append((int(frame["messageId"]), _text(frame["msg"])))
    return found


def _text(msg: object) -> str:
    """The words of a message, wherever this dialect has them."""
    content = msg["content"] if isinstance(msg, dict) else msg
    if isinstance(content, str) and content.startswith("{"):
        content = json.loads(content)
    return str(content["content"] if isinstance(content, dict) else content)


@asynccontextmanager
async def sessions_again(
    simulator: Simulator, sessions: dict[str, int]
) -> AsyncIterator[dict[str, str]]:
    """Have the simulator be in the sessions of a stored database; yields login → token."""
    async with aiohttp.ClientSession() as http:
        site = Site(simulator, http)
        tokens = {}
        for name, session in sessions.items():
            phone, opened = await site.chat(name)
            assert opened == session
            tokens[name] = phone.token
        await site.close()
        yield tokens


@asynccontextmanager
async def bridge(
    folder: Path, homeserver: Homeserver, simulator: Simulator, database: str
) -> AsyncIterator[tuple[Subject, BridgeProcess, Path]]:
    """The bridge at work on a database."""
    port = free_port()
    config = write_config(folder, homeserver, simulator, port, database)
    async with (
        aiohttp.ClientSession() as session,
        BridgeProcess(config, port, folder / "bridge.log") as process,
    ):
        assert process.pid is not None
        subject = Subject(process.url, process.pid, session, homeserver, Desk(simulator))
        yield subject, process, config


def options(**changes: object) -> SimulatorOptions:
    return SimulatorOptions(login_limit=0, script="accept").changed(changes)
