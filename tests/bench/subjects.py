"""Programs under measurement, as processes whose peers are stubs in this process.

The bridge is used as by an operator: by program, configuration and ports. So the bridge of another
checkout can be measured in the same run. If several processes share a database, `Subject.put` is
their load balancer (round-robin), at no cost to them.
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

from bridge.demo.child_process import die_with_parent
from bridge.ids import SHARDS
from bridge.ops.health import READY
from tests.bench.stubs import Ledger, StubHomeserver, StubWebChat, wording
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
AS_TOKEN = "as-token"
TOKEN = "hs-token"
BOT = "@webchatbot:localhost"
PATIENCE = 60.0
"""Timeout in seconds for a program to be ready, or to end after SIGTERM."""
Event = dict[str, object]


@dataclass(eq=False)
class Subject:
    """A program under measurement; several processes if it is a bridge with replicas.

    Attributes:
        urls: base URLs of its processes for transactions.
        pids: process ids.
        session: HTTP client that plays the homeserver.
        homeserver: stub at which agents' messages arrive.
        heard: customers' texts that arrived at the other side.
        say: sends a text to a room as its agent.
        customer: sender in all rooms; empty: a customer per room.
    """

    urls: list[str]
    pids: list[int]
    session: aiohttp.ClientSession
    homeserver: StubHomeserver
    heard: Ledger
    say: Callable[[int, str], Awaitable[None]]
    customer: str = ""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def cpu(self) -> float:
        """Return µs of CPU of all processes and threads so far."""
        return sum(process_cpu(pid) for pid in self.pids)

    def memory(self, what: str = "VmRSS") -> int:
        """Return KiB of memory of all processes; with `VmHWM` their peak."""
        return sum(process_memory(pid, what) for pid in self.pids)

    def text(self, room: int, event_id: str, body: str) -> Event:
        """Return a message of a room's customer."""
        return text(room, event_id, body, self.customer)

    def forget_peak(self) -> None:
        """Reset the peak memory (`VmHWM`) to the present memory."""
        for pid in self.pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")

    async def put(self, events: Sequence[Event]) -> None:
        """Send a transaction as the homeserver; returns once it is acknowledged."""
        number = next(self._numbers)
        async with self.session.put(
            f"{self.urls[number % len(self.urls)]}/_matrix/app/v1/transactions/{number}",
            json={"events": list(events)},
            headers={"Authorization": f"Bearer {TOKEN}"},
        ) as response:
            assert response.status == 200, await response.text()
            await response.read()


def process_cpu(pid: int) -> float:
    """Return µs of CPU of a process by its CPU clock, which includes ended threads."""
    return time.clock_gettime((~pid << 3) | 2) * 1e6  # CPUCLOCK_SCHED of clock_getcpuclockid(3)


def process_memory(pid: int, what: str = "VmRSS") -> int:
    """Return a value in KiB from a process's /proc status."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition(f"{what}:")[2].split()[0])


def text(room: int, event_id: str, body: str, customer: str = "") -> Event:
    """Return a customer's message."""
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
    """A program under measurement did not start or ended unexpectedly."""


@asynccontextmanager
async def program(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process during the block; its output goes to a file."""
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
    """Wait until a URL answers, with one of `statuses` if given.

    Raises:
        ProgramError: the process ended, or nothing answered within a minute.
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
    """Return an HTTP client that plays the homeserver towards a subject."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300))


# --- the forwarder ------------------------------------------------------------------------------


@asynccontextmanager
async def lean_forwarder(
    rooms: int, folder: Path, loop: str, database: str = ""
) -> AsyncIterator[Subject]:
    """Run L, connected for `rooms` rooms, on `asyncio` or `uvloop`; with a database's URL, D."""
    homeserver, webchat, port = StubHomeserver(), StubWebChat(), free_port()
    async with homeserver.running(), webchat.running(), client() as session:
        socket = webchat.base_url.replace("http", "ws", 1) + "/cws?token="
        command = [sys.executable, "-m", "tests.bench.forwarder", loop, str(port), str(rooms)]
        command += [homeserver.address, socket, *filter(None, [database])]
        log = folder / "forwarder.log"
        async with program(command, log, {"PYTHONPATH": str(ROOT)}) as process:
            url = f"http://127.0.0.1:{port}"
            await answering(session, url, process, log)
            yield Subject([url], [process.pid], session, homeserver, webchat.heard, webchat.say)


# --- the bridge ---------------------------------------------------------------------------------


@asynccontextmanager
async def bridge(
    rooms: int, folder: Path, database: str, checkout: Path = ROOT, processes: int = 1
) -> AsyncIterator[Subject]:
    """Run the bridge of a checkout with a durable database, in a chat in each of the rooms."""
    async with silent_bridge(folder, database, checkout, processes) as (subject, webchat):
        await open_chats(subject, webchat, range(rooms))
        yield subject


@asynccontextmanager
async def silent_bridge(
    folder: Path, database: str, checkout: Path = ROOT, processes: int = 1
) -> AsyncIterator[tuple[Subject, StubWebChat]]:
    """Run the bridge of a checkout without rooms; several processes share the shards evenly."""
    homeserver, webchat = StubHomeserver(), StubWebChat()
    async with homeserver.running(), webchat.running(), client() as session:
        config = write_config(folder, homeserver.address, webchat.base_url, free_port(), database)
        async with bridge_program(config, session, checkout, processes) as (urls, pids):
            subject = Subject(urls, pids, session, homeserver, webchat.heard, webchat.say)
            yield subject, webchat


@asynccontextmanager
async def bridge_program(
    config: Path, session: aiohttp.ClientSession, checkout: Path = ROOT, processes: int = 1
) -> AsyncIterator[tuple[list[str], list[int]]]:
    """Run bridge processes with one configuration; yields their URLs and pids once ready.

    Logs go beside the configuration; that of the first process is `bridge.log`.
    """
    command = [sys.executable, "-m", "bridge", "run", "-c", str(config)]
    urls, pids = [], []
    async with contextlib.AsyncExitStack() as stack:
        started = []
        for number in range(processes):
            # Safe path: keep the current folder from taking precedence over the checkout.
            environment = {"PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}
            port, log = free_port(), config.parent / f"bridge{number or ''}.log"
            environment |= {
                "MATRIX_WEBCHAT_APPSERVICE__PORT": str(port),
                "MATRIX_WEBCHAT_METRICS__PORT": str(free_port()),
            }
            if processes > 1:
                environment["MATRIX_WEBCHAT_BRIDGE__REPLICA"] = f"r{number}"
            process = await stack.enter_async_context(program(command, log, environment))
            started.append((process, log))
            urls.append(f"http://127.0.0.1:{port}")
            pids.append(process.pid)
        for url, (process, log) in zip(urls, started, strict=True):
            await answering(session, url + READY, process, log, [200])
        if processes > 1:
            await _evenly_shared(session, urls)
        yield urls, pids


async def _evenly_shared(session: aiohttp.ClientSession, urls: Sequence[str]) -> None:
    """Wait until all shards are served, the same number by each process, give or take one."""
    async with asyncio.timeout(PATIENCE):
        while True:
            served = []
            for url in urls:
                async with session.get(url + READY) as response:
                    served.append(int((await response.json())["shards"]))
            if sum(served) == SHARDS and max(served) - min(served) <= 1:
                return
            await asyncio.sleep(0.1)


async def open_chats(
    subject: Subject, webchat: StubWebChat, rooms: Sequence[int], host: str = BOT
) -> None:
    """Invite the bot into rooms and send a first text; returns once all are in a chat."""
    expected = webchat.heard.count("first") + len(rooms)
    for room in rooms:
        invitation: Event = {
            "type": "m.room.member",
            "event_id": f"$invite{room}",
            "room_id": f"!{room}:localhost",
            "sender": f"@customer{room}:localhost",
            "state_key": host,
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
    largest_file: str = "50MiB",
) -> Path:
    """Write the bridge's configuration; returns its path."""
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
            "limits": {"messages_per_minute": 1_000_000, "file": largest_file},
        },
        "metrics": {"port": free_port()},
    }
    path = folder / "config.yaml"
    path.touch(mode=0o600)
    with path.open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(config, stream)
    return path
