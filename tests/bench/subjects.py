"""Programs under measurement, each a process of its own with its peers around it in this one.

The bridge is used as an operator uses it: its program, its configuration, its ports. So another
checkout's bridge can stand beside ours in the same run.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from ruamel.yaml import YAML

from bridge.demo.child_process import die_with_parent, free_port
from tests.bench.stubs import Ledger, StubHomeserver, StubWebChat, wording

ROOT = Path(__file__).parents[2]
AS_TOKEN = "as-token"
TOKEN = "hs-token"
BOT = "@webchatbot:localhost"
PATIENCE = 60.0
"""Seconds for a program to be ready, or to end when it is told to."""
Event = dict[str, object]


@dataclass(eq=False)
class Subject:
    """One process under measurement.

    Attributes:
        url: where it takes transactions.
        pid: its process.
        session: what plays the homeserver towards it.
        homeserver: where agents' messages arrive.
        heard: what customers said, as the other side got it.
        say: says a text in a room, on the other side.
        customer: who speaks in a room; the customer of its number when empty.
    """

    url: str
    pid: int
    session: aiohttp.ClientSession
    homeserver: StubHomeserver
    heard: Ledger
    say: Callable[[int, str], Awaitable[None]]
    customer: str = ""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def cpu(self) -> float:
        """Microseconds of CPU that the process has used, all of its threads."""
        return process_cpu(self.pid)

    def memory(self) -> int:
        """KiB of memory that the process holds (RSS)."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0])

    def text(self, room: int, event_id: str, body: str) -> Event:
        """A message of the customer of a room."""
        return text(room, event_id, body, self.customer)

    async def put(self, events: Sequence[Event]) -> None:
        """One transaction, as the homeserver sends it; returns when it is acknowledged."""
        async with self.session.put(
            f"{self.url}/_matrix/app/v1/transactions/{next(self._numbers)}",
            json={"events": list(events)},
            headers={"Authorization": f"Bearer {TOKEN}"},
        ) as response:
            assert response.status == 200, await response.text()
            await response.read()


def process_cpu(pid: int) -> float:
    """Microseconds of CPU of a process, by its own clock: threads that have ended included."""
    return time.clock_gettime((~pid << 3) | 2) * 1e6  # CPUCLOCK_SCHED of clock_getcpuclockid(3)


def text(room: int, event_id: str, body: str, customer: str = "") -> Event:
    """A customer's message."""
    return {
        "type": "m.room.message",
        "event_id": f"${event_id}",
        "room_id": f"!{room}:localhost",
        "sender": customer or f"@customer{room}:localhost",
        "origin_server_ts": 1_700_000_000_000,
        "content": {"msgtype": "m.text", "body": body, "m.mentions": {}},
        "unsigned": {"age": 12},
    }


class ProgramError(Exception):
    """A program under measurement did not start, or ended by itself."""


@asynccontextmanager
async def program(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process as long as the block lasts; what it prints goes to a file."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | dict(environment or {}),
            preexec_fn=die_with_parent(),
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            process.kill()
            await process.wait()


async def answering(
    session: aiohttp.ClientSession,
    url: str,
    process: asyncio.subprocess.Process,
    log: Path,
    statuses: Sequence[int] = (),
) -> None:
    """Wait until something answers at an address, with one of the statuses where some are given.

    Raises:
        ProgramError: the process ended, or nothing did within a minute.
    """
    until = time.monotonic() + PATIENCE
    while process.returncode is None and time.monotonic() < until:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(url) as response:
                if not statuses or response.status in statuses:
                    return
        await asyncio.sleep(0.05)
    raise ProgramError(f"nothing answers at {url}; the end of its log:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]


def client() -> aiohttp.ClientSession:
    """What plays the homeserver towards a subject."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300))


# --- the forwarder ------------------------------------------------------------------------------


@asynccontextmanager
async def lean_forwarder(rooms: int, folder: Path, loop: str) -> AsyncIterator[Subject]:
    """L, connected for so many rooms, on `asyncio` or `uvloop`."""
    homeserver, webchat, port = StubHomeserver(), StubWebChat(), free_port()
    async with homeserver.running(), webchat.running(), client() as session:
        socket = webchat.base_url.replace("http", "ws", 1) + "/cws?token="
        command = [sys.executable, "-m", "tests.bench.forwarder", loop, str(port), str(rooms)]
        environment = {"PYTHONPATH": str(ROOT)}
        log = folder / "forwarder.log"
        async with program([*command, homeserver.address, socket], log, environment) as process:
            url = f"http://127.0.0.1:{port}"
            await answering(session, url, process, log)
            yield Subject(url, process.pid, session, homeserver, webchat.heard, webchat.say)


# --- the bridge ---------------------------------------------------------------------------------


@asynccontextmanager
async def bridge(
    rooms: int, folder: Path, database: str, checkout: Path = ROOT
) -> AsyncIterator[Subject]:
    """The bridge of a checkout with its durable database, in a chat in each of so many rooms."""
    async with silent_bridge(folder, database, checkout) as (subject, webchat):
        await open_chats(subject, webchat, range(rooms))
        yield subject


@asynccontextmanager
async def silent_bridge(
    folder: Path, database: str, checkout: Path = ROOT
) -> AsyncIterator[tuple[Subject, StubWebChat]]:
    """The bridge of a checkout, without a room."""
    homeserver, webchat, port = StubHomeserver(), StubWebChat(), free_port()
    async with homeserver.running(), webchat.running(), client() as session:
        config = write_config(folder, homeserver.address, webchat.base_url, port, database)
        command = [sys.executable, "-m", "bridge", "run", "-c", str(config)]
        # Safe path: our own folder does not go before the checkout's.
        environment = {"PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}
        log = folder / "bridge.log"
        async with program(command, log, environment) as process:
            url = f"http://127.0.0.1:{port}"
            await answering(session, f"{url}/_matrix/mau/ready", process, log, [200])
            subject = Subject(url, process.pid, session, homeserver, webchat.heard, webchat.say)
            yield subject, webchat


async def open_chats(subject: Subject, webchat: StubWebChat, rooms: Sequence[int]) -> None:
    """Invite the bot into rooms and say a first word there; returns when all are in a chat."""
    expected = webchat.heard.count("first") + len(rooms)
    for room in rooms:
        invitation: Event = {
            "type": "m.room.member",
            "event_id": f"$invite{room}",
            "room_id": f"!{room}:localhost",
            "sender": f"@customer{room}:localhost",
            "state_key": BOT,
            "content": {"membership": "invite", "is_direct": True},
        }
        hello = text(room, f"first{room}", wording("first", room))
        await subject.put([invitation, hello])
    await webchat.heard.reach("first", expected)
    assert webchat.seated() >= expected, f"{webchat.seated()} of {expected} rooms are in a chat"


def write_config(
    folder: Path,
    homeserver: str,
    webchat: str,
    port: int,
    database: str,
    *,
    encryption: bool = False,
) -> Path:
    """The bridge's configuration for two addresses and a database."""
    config = {
        "homeserver": {"address": homeserver, "domain": "localhost"},
        "appservice": {
            "address": f"http://127.0.0.1:{port}",
            "port": port,
            "as_token": AS_TOKEN,
            "hs_token": TOKEN,
        },
        "database": {"url": database},
        "webchat": {"base_url": webchat, "login_rate": {"count": 1000, "per_seconds": 1}},
        "queues": [{"id": 1, "name": "Sales"}],
        "default_queue": 1,
        "bridge": {
            "permissions": {"localhost": "customer"},
            "encryption": {"allow": encryption},
            "limits": {"messages_per_minute": 1_000_000},
        },
        "metrics": {"port": free_port()},
    }
    path = folder / "config.yaml"
    path.touch(mode=0o600)
    with path.open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(config, stream)
    return path
