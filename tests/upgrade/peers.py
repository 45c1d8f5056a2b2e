"""The whole bridge as a process, with a stub homeserver and the simulator."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
from yarl import URL

from bridge.app.settings import login_keys
from bridge.ids import RoomId
from bridge.simulator.simulator import Simulator, SimulatorOptions
from tests.bench.stubs import GHOSTS, Answer, Ledger, StubHomeserver
from tests.bench.subjects import AS_TOKEN, Subject, client, write_config
from tests.conformance.simulator_client import Site
from tests.support.ports import free_port
from tests.support.stage import bridge_process, pid_of

ROOMS = 3


class Posted(msgspec.Struct, frozen=True):
    """A message in a room."""

    event_id: str
    room: str
    sender: str
    body: str


class Killed(msgspec.Struct, frozen=True):
    """The state of a stored database's peers when the bridge was killed."""

    now: int
    """ms since the epoch."""
    sessions: dict[str, int]
    """Session id by login, in the order of their start."""
    asked: list[str]
    """Texts of customers, `<room> …`, in order; all but the last were certainly acknowledged."""
    heard: list[tuple[int, str]]
    """Call id and text of the messages that reached the desk."""
    posted: dict[str, Posted]
    """Posted messages by transaction id and sender."""


class Homeserver(StubHomeserver):
    """A stub that keeps posted messages, one per sender and transaction id.

    Attributes:
        posted: messages by transaction id and sender.
    """

    def __init__(self, posted: dict[str, Posted]) -> None:
        super().__init__()
        self.posted = dict(posted)

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        url = URL(path, encoded=True)
        match method, url.parts[4:]:
            case "PUT", ("rooms", room, "send", _, transaction):
                sender = url.query.get("user_id", "")
                content = msgspec.json.decode(body)
                new = Posted(f"$sent{len(self.posted)}", room, sender, str(content.get("body", "")))
                posted = self.posted.setdefault(f"{transaction} {sender}", new)
                return 200, msgspec.json.encode({"event_id": posted.event_id})
            case _:
                return super().answer(method, path, body)

    def from_ghosts(self) -> list[str]:
        """Return the texts posted by ghosts, in order."""
        return [one.body for one in self.posted.values() if one.sender[1:].startswith(GHOSTS)]


def heard(simulator: Simulator) -> list[tuple[int, str]]:
    """Return call id and text of the messages that reached the desk."""
    found = []
    for entry in simulator.frames():
        frame = entry["frame"]
        if entry["direction"] == "in" and isinstance(frame, dict) and frame.get("type") == 110:
            found.append((int(frame["messageId"]), _text(frame["msg"])))
    return found


def _text(msg: object) -> str:
    """Return the text of a message in any dialect."""
    content = msg["content"] if isinstance(msg, dict) else msg
    if isinstance(content, str) and content.startswith("{"):
        content = json.loads(content)
    return str(content["content"] if isinstance(content, dict) else content)


@asynccontextmanager
async def sessions_again(
    simulator: Simulator, sessions: dict[str, int]
) -> AsyncIterator[dict[str, str]]:
    """Open the sessions of a stored database in the simulator; yield the token by login."""
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
) -> AsyncIterator[Subject]:
    """Run the bridge on a database."""
    port, key = free_port(), login_keys(AS_TOKEN)
    config = write_config(folder, homeserver.address, simulator.base_url, port, database)

    async def say(room: int, text: str) -> None:
        login = f"mx-{key(RoomId(f'!{room}:localhost'))}"
        await simulator.do({"op": "say", "login": login, "text": text})

    async with client() as session, bridge_process(config, port, folder / "bridge.log") as process:
        # An empty ledger: `heard` asks the simulator instead.
        yield Subject([process.url], [pid_of(process)], session, homeserver, Ledger(), say)


def options(**changes: object) -> SimulatorOptions:
    return SimulatorOptions(login_limit=0, script="accept").changed(changes)
