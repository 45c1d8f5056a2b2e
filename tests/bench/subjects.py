"""What is measured: the lean forwarder and the bridge, each a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import aiohttp
from ruamel.yaml import YAML

from bridge.app.settings import login_keys
from bridge.demo.stage import BridgeProcess
from bridge.demo.synapse import free_port
from bridge.ids import RoomId
from bridge.simulator.simulator import Simulator, SimulatorOptions
from tests.bench.stubs import StubHomeserver, StubWebChat

AS_TOKEN = "as-token"
TOKEN = "hs-token"
BOT = "@webchatbot:localhost"
Event = dict[str, object]


class Desk(Protocol):
    """The agents' side."""

    async def say(self, room: int, text: str) -> None: ...

    def received(self) -> int:
        """How many messages of customers have come so far."""
        ...


class Subject:
    """One process under measurement, with its peers around it."""

    def __init__(
        self,
        url: str,
        pid: int,
        session: aiohttp.ClientSession,
        homeserver: StubHomeserver,
        desk: Desk,
    ) -> None:
        self.homeserver = homeserver
        self.desk = desk
        self._url = url
        self._pid = pid
        self._session = session
        self._numbers = itertools.count(1)

    def cpu(self) -> float:
        """Microseconds of CPU that the process has used, all of its threads."""
        total = 0
        for thread in Path(f"/proc/{self._pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                total += int((thread / "schedstat").read_text().split()[0])
        return total / 1000

    async def put(self, events: Sequence[Event]) -> None:
        """One transaction, as the homeserver sends it; returns when it is acknowledged."""
        async with self._session.put(
            f"{self._url}/_matrix/app/v1/transactions/{next(self._numbers)}",
            json={"events": list(events)},
            headers={"Authorization": f"Bearer {TOKEN}"},
        ) as response:
            assert response.status == 200, await response.text()

    async def until_received(self, number: int) -> None:
        """Wait until the desk has so many messages, at most two minutes."""
        for _ in range(12_000):
            if self.desk.received() >= number:
                return
            await asyncio.sleep(0.01)
        raise TimeoutError(f"{self.desk.received()} of {number} arrived")


def text(room: int, event_id: str, body: str) -> Event:
    """A customer's message."""
    return {
        "type": "m.room.message",
        "event_id": f"${event_id}",
        "room_id": f"!{room}:localhost",
        "sender": f"@customer{room}:localhost",
        "origin_server_ts": 1_700_000_000_000,
        "content": {"msgtype": "m.text", "body": body, "m.mentions": {}},
        "unsigned": {"age": 12},
    }


# --- the forwarder ------------------------------------------------------------------------------


class _StubDesk:
    def __init__(self, webchat: StubWebChat) -> None:
        self._webchat = webchat

    async def say(self, room: int, text: str) -> None:
        await self._webchat.say(room, text)

    def received(self) -> int:
        return self._webchat.received.value


@asynccontextmanager
async def lean_forwarder(rooms: int) -> AsyncIterator[Subject]:
    """L, connected for so many rooms."""
    homeserver, webchat, port = StubHomeserver(), StubWebChat(), free_port()
    async with homeserver.running(), webchat.running(), aiohttp.ClientSession() as session:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.bench.forwarder", str(port), str(rooms)),
            *(homeserver.address, webchat.address),
        )
        try:
            url = f"http://127.0.0.1:{port}"
            await _answering(session, url)
            yield Subject(url, process.pid, session, homeserver, _StubDesk(webchat))
        finally:
            process.terminate()
            await process.wait()


async def _answering(session: aiohttp.ClientSession, url: str) -> None:
    for _ in range(600):
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(url):
                return
        await asyncio.sleep(0.05)
    raise TimeoutError(f"nothing answers at {url}")


# --- the bridge ---------------------------------------------------------------------------------


class SimulatedDesk:
    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._logins: dict[int, str] = {}
        self._key = login_keys(AS_TOKEN)
        self._looked = 0
        self._received = 0

    async def say(self, room: int, text: str) -> None:
        login = self._logins.setdefault(room, f"mx-{self._key(RoomId(f'!{room}:localhost'))}")
        await self._simulator.do({"op": "say", "login": login, "text": text})

    def received(self) -> int:
        for entry in self._simulator.frames(self._looked):
            number, frame = entry["number"], entry["frame"]
            assert isinstance(number, int)
            self._looked = number
            if entry["direction"] == "in" and isinstance(frame, dict):
                self._received += frame.get("type") in {110, 111}
        return self._received


@asynccontextmanager
async def bridge(rooms: int, folder: Path, database: str) -> AsyncIterator[Subject]:
    """The bridge with its durable database, in a chat in each of so many rooms."""
    homeserver, port = StubHomeserver(), free_port()
    simulator = Simulator(SimulatorOptions(login_limit=0, script="accept"))
    async with homeserver.running(), aiohttp.ClientSession() as session:
        await simulator.start()
        config = write_config(folder, homeserver, simulator, port, database)
        try:
            async with BridgeProcess(config, port, folder / "bridge.log") as process:
                assert process.pid is not None
                desk = SimulatedDesk(simulator)
                subject = Subject(process.url, process.pid, session, homeserver, desk)
                await open_chats(subject, rooms, simulator)
                yield subject
        finally:
            await simulator.stop()


async def open_chats(subject: Subject, rooms: int, simulator: Simulator) -> None:
    for room in range(rooms):
        invitation: Event = {
            "type": "m.room.member",
            "event_id": f"$invite{room}",
            "room_id": f"!{room}:localhost",
            "sender": f"@customer{room}:localhost",
            "state_key": BOT,
            "content": {"membership": "invite", "is_direct": True},
        }
        await subject.put([invitation, text(room, f"first{room}", "hello")])

    def all_chatting(state: dict[str, object]) -> bool:
        sessions = state["sessions"]
        return isinstance(sessions, list) and len(sessions) == rooms

    await simulator.wait_for(all_chatting, 120)
    await subject.until_received(rooms)


def write_config(
    folder: Path, homeserver: StubHomeserver, simulator: Simulator, port: int, database: str
) -> Path:
    config = {
        "homeserver": {"address": homeserver.address, "domain": "localhost"},
        "appservice": {
            "address": f"http://127.0.0.1:{port}",
            "port": port,
            "as_token": AS_TOKEN,
            "hs_token": TOKEN,
        },
        "database": {"url": database},
        "webchat": {
            "base_url": simulator.base_url,
            "login_rate": {"count": 1000, "per_seconds": 1},
        },
        "queues": [{"id": 1, "name": "Sales"}],
        "default_queue": 1,
        "bridge": {
            "permissions": {"localhost": "customer"},
            "encryption": {"allow": False},
            "limits": {"messages_per_minute": 1_000_000},
        },
        "metrics": {"enabled": False},
    }
    path = folder / "config.yaml"
    path.touch(mode=0o600)
    with path.open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(config, stream)
    return path
