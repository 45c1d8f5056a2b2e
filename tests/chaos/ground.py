"""The installation for chaos tests, with a wire (fault proxy) on each of its connections.

The bridges, PostgreSQL and Synapse are real processes. WebChat is the simulator in this process: to
"kill" it, its wires are cut and its port closed, while its state survives as a real server's
database would; to "stop" it, its wires are stalled, which looks like a stopped process.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from bridge.link.link import BRIEF
from bridge.simulator.simulator import SimulatorOptions
from tests.support.client import restart
from tests.support.load import Chat
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.replicas import Replicas, replicas
from tests.support.stage import Stage, runs
from tests.support.wires import SOCKET, Wire

Store = Literal["SQLite", "PostgreSQL", "three"]
Server = Literal["receipts", "history", "plain"]
Link = Literal["WebChat", "Synapse", "appservice", "PostgreSQL"]

SERVERS: Mapping[Server, SimulatorOptions] = {
    # Resends unacknowledged pushes, and keeps those of an offline customer.
    "receipts": SimulatorOptions(
        strict=True, login_limit=0, receipts=True, missed_pushes="kept", resend_seconds=2.0
    ),
    # Loses pushes, but returns them in the history.
    "history": SimulatorOptions(strict=True, login_limit=0, dialect="2019", receipts=False),
    # Version of 2016: pushes without a link are lost.
    "plain": SimulatorOptions(strict=True, login_limit=0),
}
SIZE: Mapping[Store, str] = {"SQLite": "64m", "PostgreSQL": "480m", "three": "480m"}
"""Size of the disk that a fault fills, by the database on it."""
SMALL = "-c max_wal_size=64MB -c min_wal_size=32MB"
GLIMPSE = 0.05
BEFORE = 0.5
"""Seconds until the call centre notices a lost link, after the bridge did."""


@dataclass
class Absences:
    """Times without a link of a chat, as seen by the call centre, and of the agent's texts."""

    login: str
    moments: dict[str, float] = field(default_factory=dict)
    spans: list[tuple[float, float]] = field(default_factory=list)

    async def watch(self, stage: Stage) -> None:
        """Record each absence once it is over, until cancelled; also those shorter than a poll."""
        since: float | None = None
        sockets = stage.simulator._board._lines
        last, before = time.monotonic(), sockets.get(self.login)
        while True:
            await asyncio.sleep(GLIMPSE)
            socket = sockets.get(self.login)
            if socket is None or socket is not before:
                since = since or last
            last, before = time.monotonic(), socket
            if since is not None and socket is not None:
                self.spans.append((since, last))
                since = None

    def brief(self, text: str) -> bool:
        """Whether a text was sent in an absence too short for a notice, or just before it."""
        at = self.moments[text]
        return any(
            since - BEFORE <= at <= until and until - since < BRIEF + BEFORE
            for since, until in self.spans
        )


@dataclass(kw_only=True)
class Ground:
    """The running installation, with everything that a fault can affect."""

    store: Store
    server: Server
    shared: Replicas
    wires: dict[Link, list[Wire]]
    """Wires of each link, one for each bridge."""
    postgres: PostgresServer | None
    disk: Path | None
    """Mount point of the database's disk; None without permission to mount."""
    clocks: list[Path]
    """Each bridge's file with the clock offset for libfaketime; empty if not installed."""
    resting: set[int] = field(default_factory=set)
    """Indices of bridges that are down on purpose."""
    restarts: int = 0
    """Number of restarts of bridges that exited by themselves."""
    takeovers: list[tuple[str, float]] = field(default_factory=list)
    """Fault of the former owner and seconds, for each takeover of its rooms."""
    chats: list[Chat] = field(default_factory=list)
    absences: list[Absences] = field(default_factory=list)
    """Absences of each chat, in the order of `chats`."""
    alone: bool = True
    """True while no two faults are combined, so that takeovers can be measured."""
    _log_read: int = 0
    """Bytes of Synapse's log that `heal_synapse` has read."""

    @property
    def stage(self) -> Stage:
        return self.shared.stage

    def mend(self) -> None:
        """Mend all wires."""
        for wire in (wire for wires in self.wires.values() for wire in wires):
            wire.mend()

    async def heal_synapse(self) -> bool:
        """Restart Synapse if every /sync fails with 500 after a kill; return True if it did.

        Seen with 1.163 on SQLite, where a kill had left a gap in a stream: its positions then need
        the table `instance_map`, which only PostgreSQL has. The next start repairs it.
        """
        with self.stage.synapse.log_file.open("rb") as log:
            log.seek(self._log_read)
            news = log.read()
        self._log_read += len(news)
        broken = b"no such table: instance_map" in news
        if broken:
            await restart(self.stage.synapse)
        return broken

    async def supervise(self) -> None:
        """Restart bridges that exited by themselves, like a service manager, until cancelled."""
        while True:
            await asyncio.sleep(1)
            for index, bridge in enumerate(self.shared.bridges):
                if index not in self.resting and not runs(bridge):
                    self.restarts += 1
                    await bridge.start(ready=False)


@dataclass(kw_only=True)
class Wiring:
    """The wires of all bridges, set up as each is started, and their clocks."""

    folder: Path
    sockets: Path
    """Folder of wires to PostgreSQL, with a short path: a socket's path is at most 107 bytes."""
    database: str
    postgres: PostgresServer | None
    wires: dict[Link, list[Wire]] = field(default_factory=dict)
    clocks: list[Path] = field(default_factory=list)

    @asynccontextmanager
    async def around(self, stage: Stage, index: int, port: int) -> AsyncIterator[Mapping[str, str]]:
        """Run the wires of a bridge that the balancer expects at `port`; yield its environment."""
        webchat, inner = urlsplit(stage.simulator.base_url), free_port()
        mine: dict[Link, Wire] = {
            "WebChat": Wire(webchat.port or 0),
            "Synapse": Wire(stage.synapse.port),
            "appservice": Wire(inner, port),
        }
        address = "http://127.0.0.1:{}".format
        environment = {
            "WEBCHAT__BASE_URL": address(mine["WebChat"].here) + webchat.path,
            "HOMESERVER__ADDRESS": address(mine["Synapse"].here),
            "APPSERVICE__PORT": str(inner),
        }
        if self.postgres is not None:
            there, own = self.postgres.directory, self.sockets / f"r{index}"
            own.mkdir()
            mine["PostgreSQL"] = Wire(there / SOCKET, own / SOCKET)
            environment["DATABASE__URL"] = self.database.replace(str(there), str(own))
        environment = {f"MATRIX_WEBCHAT_{key}": value for key, value in environment.items()}
        if library := _faketime():
            self.clocks.append(self.folder / f"clock{index}")
            self.clocks[-1].write_text("+0")
            environment |= _turnable(library, self.clocks[-1])
        async with AsyncExitStack() as carrying:
            for link, wire in mine.items():
                await carrying.enter_async_context(wire.running())
                self.wires.setdefault(link, []).append(wire)
            yield environment


@asynccontextmanager
async def ground(folder: Path, store: Store, server: Server) -> AsyncIterator[Ground]:
    """Run the installation; `folder`, which must exist, is for logs and Synapse."""
    async with AsyncExitStack() as stack:
        disk = stack.enter_context(_small_disk(SIZE[store]))
        postgres: PostgresServer | None = None
        database = f"sqlite:///{disk or folder}/bridge.db"
        if store != "SQLite":
            postgres = PostgresServer(parent=disk, settings=SMALL)
            stack.callback(postgres.remove)
            postgres.start()
            database = postgres.new_database()
        sockets = Path(tempfile.mkdtemp(prefix="w-"))
        stack.callback(shutil.rmtree, sockets)
        wiring = Wiring(folder=folder, sockets=sockets, database=database, postgres=postgres)
        shared = await stack.enter_async_context(
            replicas(
                folder,
                database,
                3 if store == "three" else 1,
                SERVERS[server],
                wiring=wiring.around,
            )
        )
        yield Ground(
            store=store,
            server=server,
            shared=shared,
            wires=wiring.wires,
            postgres=postgres,
            disk=disk,
            clocks=wiring.clocks,
        )


@contextmanager
def _small_disk(size: str) -> Iterator[Path | None]:
    """Mount a tmpfs of this size; yield None without permission to mount."""
    place = Path(tempfile.mkdtemp(prefix="d-"))
    mounted = _run("mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "chaos", str(place))
    try:
        yield place if mounted else None
    finally:
        if mounted:
            _run("umount", "-l", str(place))
        place.rmdir()


def _run(*command: str) -> bool:
    with suppress(OSError):
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - trusted
        return done.returncode == 0
    return False


def fill(disk: Path) -> None:
    """Fill the disk completely; deleting the file `filling` frees it."""
    file = os.open(disk / "filling", os.O_WRONLY | os.O_CREAT)
    try:
        with suppress(OSError):
            os.posix_fallocate(file, 0, shutil.disk_usage(disk).free)
        os.lseek(file, 0, os.SEEK_END)
        with suppress(OSError):
            while os.write(file, bytes(4096)):
                pass
    finally:
        os.close(file)


def _faketime() -> Path | None:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return found[0] if found else None


def _turnable(library: Path, clock: Path) -> Mapping[str, str]:
    """Return the environment for a process whose wall clock is offset by a file."""
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        # Otherwise a thread switch takes 20 ms (0.9.10), and a room ten times as much CPU.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        "NO_FAKE_STAT": "1",
    }
