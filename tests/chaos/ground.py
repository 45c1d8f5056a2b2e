"""The installation on which chaos plays, with a wire on each of its links.

What is real: the bridges, PostgreSQL and Synapse, each a process of its own. WebChat is the
simulator, which runs in this process: it is killed by cutting all its wires and closing its port,
and keeps its memory as a real server keeps its database; it is stopped by stalling its wires, which
look from outside as those of a stopped process do.
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

from bridge.demo.child_process import free_port
from bridge.link.link import BRIEF
from bridge.simulator.simulator import SimulatorOptions
from tests.support.client import restart
from tests.support.load import Chat
from tests.support.postgres import PostgresServer
from tests.support.replicas import Replicas, replicas
from tests.support.stage import Stage
from tests.support.wires import SOCKET, Wire

Store = Literal["SQLite", "PostgreSQL", "three"]
Server = Literal["receipts", "history", "plain"]
Link = Literal["WebChat", "Synapse", "appservice", "PostgreSQL"]

SERVERS: Mapping[Server, SimulatorOptions] = {
    # Repeats what was not receipted, and keeps what nobody received.
    "receipts": SimulatorOptions(
        strict=True, login_limit=0, receipts=True, missed_pushes="kept", resend_seconds=2.0
    ),
    # Neither, but its history tells.
    "history": SimulatorOptions(strict=True, login_limit=0, dialect="2019", receipts=False),
    # Of 2016: what it says while no link stands is gone.
    "plain": SimulatorOptions(strict=True, login_limit=0),
}
SIZE: Mapping[Store, str] = {"SQLite": "64m", "PostgreSQL": "480m", "three": "480m"}
"""Of the disk that gets full, by who lives on it."""
SMALL = "-c max_wal_size=64MB -c min_wal_size=32MB"
GLIMPSE = 0.05
BEFORE = 0.5
"""Seconds by which the call centre learns later than the bridge that a link is gone."""


@dataclass
class Absences:
    """When a chat had no link, as the call centre sees it, and when the agent spoke."""

    login: str
    moments: dict[str, float] = field(default_factory=dict)
    spans: list[tuple[float, float]] = field(default_factory=list)

    async def watch(self, stage: Stage) -> None:
        """Note each absence once it is over, for ever; some are shorter than a glimpse."""
        since: float | None = None
        last, links = time.monotonic(), stage.simulator.customers[self.login].links
        while True:
            await asyncio.sleep(GLIMPSE)
            customer = stage.simulator.customers[self.login]
            if not customer.linked or customer.links != links:
                since = since or last
            last, links = time.monotonic(), customer.links
            if since is not None and customer.linked:
                self.spans.append((since, last))
                since = None

    def brief(self, text: str) -> bool:
        """True for what fell into an absence too short for a word, or into the socket before it."""
        at = self.moments[text]
        return any(
            since - BEFORE <= at <= until and until - since < BRIEF + BEFORE
            for since, until in self.spans
        )


@dataclass(kw_only=True)
class Ground:
    """Everything that a fault can touch."""

    store: Store
    server: Server
    shared: Replicas
    wires: dict[Link, list[Wire]]
    """One a bridge."""
    postgres: PostgresServer | None
    disk: Path | None
    """What the database lies on; None where nothing may be mounted."""
    clocks: list[Path]
    """Each bridge's deviation, as libfaketime reads it; empty where that is not installed."""
    resting: set[int] = field(default_factory=set)
    """The bridges that are down on purpose."""
    restarts: int = 0
    """Of bridges that ended by themselves, as a service manager does."""
    takeovers: list[tuple[str, float]] = field(default_factory=list)
    """What had happened to the former owner, and seconds."""
    chats: list[Chat] = field(default_factory=list)
    absences: list[Absences] = field(default_factory=list)
    """Of the chats, in their order."""
    alone: bool = True
    """One fault at a time: what it does can be measured."""
    _log_read: int = 0
    """Bytes of Synapse's log that `heal_synapse` has looked at."""

    @property
    def stage(self) -> Stage:
        return self.shared.stage

    def mend(self) -> None:
        """Have all wires carry again."""
        for wire in (wire for wires in self.wires.values() for wire in wires):
            wire.mend()

    async def heal_synapse(self) -> bool:
        """Restart Synapse if it answers each /sync with 500 since it was killed; True if it did.

        Seen with 1.163 on SQLite, where a kill had left a gap in a stream: its positions then need
        the table `instance_map`, which only PostgreSQL has. The next start is sound.
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
        """Start bridges that ended by themselves again after a second, for ever."""
        while True:
            await asyncio.sleep(1)
            for index, bridge in enumerate(self.shared.bridges):
                if index not in self.resting and not bridge.runs:
                    self.restarts += 1
                    await bridge.start(ready=False)


@dataclass(kw_only=True)
class Wiring:
    """The wires of all bridges, laid as each is started; and their clocks."""

    folder: Path
    sockets: Path
    """Of wires to PostgreSQL: short, as a socket's path may have 107 bytes."""
    database: str
    postgres: PostgresServer | None
    wires: dict[Link, list[Wire]] = field(default_factory=dict)
    clocks: list[Path] = field(default_factory=list)

    @asynccontextmanager
    async def around(self, stage: Stage, index: int, port: int) -> AsyncIterator[Mapping[str, str]]:
        """Lay the wires of one bridge, which the balancer finds at `port`; its environment."""
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
    """Start everything; a folder that exists takes logs and Synapse."""
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
    """A file system of its own, where we may mount one; else None."""
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
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our own
        return done.returncode == 0
    return False


def fill(disk: Path) -> None:
    """Leave not one free byte, until the file `filling` goes."""
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
    """The environment of a process whose clock of the day is turned by what a file says."""
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        # Without it each hand-over between two threads takes 20 ms (0.9.10), and a room ten times
        # as much CPU.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        "NO_FAKE_STAT": "1",
    }
