"""A real Synapse that knows an application service of ours, for integration tests."""

from __future__ import annotations

import asyncio
import fcntl
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from bridge.demo.child_process import free_port
from bridge.demo.synapse import SynapseServer
from bridge.ids import QueueId
from bridge.matrix.registration import Registration, make_registration, save_registration
from bridge.matrix.users import OurUsers

QUEUES = (QueueId(1), QueueId(2))
CACHE = Path(__file__).parents[2] / ".cache"


@asynccontextmanager
async def alone(lock: Path) -> AsyncIterator[None]:
    """Wait until no other process is in here, by a file that is made for it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
        yield


async def lay_out(folder: Path) -> None:
    """Give the Synapse that will run in a folder a database that has been set up, and is empty.

    One of its own would cost it seconds of work, the last of them a minute after its start.
    """
    template = CACHE / f"synapse-{version('matrix-synapse')}.db"
    async with alone(CACHE / "synapse.lock"):
        if not template.exists():
            await _set_up(template)
    await asyncio.to_thread(folder.mkdir, parents=True)
    await asyncio.to_thread(shutil.copyfile, template, folder / "homeserver.db")


async def _set_up(template: Path) -> None:
    left = "SELECT 1 FROM background_updates"
    with TemporaryDirectory() as name:
        folder, ready = Path(name), template.with_suffix(".new")
        at_once = {"background_updates": {"sleep_enabled": False}}
        async with SynapseServer(folder, extra=at_once):
            with closing(sqlite3.connect(folder / "homeserver.db")) as database:
                while database.execute(left).fetchone():  # noqa: ASYNC110 - another process's
                    await asyncio.sleep(0.1)
        ready.unlink(missing_ok=True)
        with closing(sqlite3.connect(folder / "homeserver.db")) as database:
            database.execute("VACUUM INTO ?", (str(ready),))
        ready.rename(template)


@dataclass(frozen=True)
class Homeserver:
    """A running Synapse and what our side needs to work with it."""

    server: SynapseServer
    registration: Registration
    users: OurUsers
    port: int
    """Where Synapse expects our endpoint, on the loopback interface."""


@asynccontextmanager
async def running_homeserver(folder: Path) -> AsyncIterator[Homeserver]:
    """Start Synapse in a folder, with our registration; it is stopped at the end."""
    port = free_port()
    users = OurUsers("localhost", "webchatbot", "webchat_{agent}", QUEUES)
    registration = make_registration(
        appservice_id="webchat", url=f"http://127.0.0.1:{port}", users=users
    )
    file = folder / "registration.yaml"
    save_registration(registration, file)
    await lay_out(folder / "synapse")
    async with SynapseServer(folder / "synapse", registrations=(file,)) as server:
        yield Homeserver(server, registration, users, port)
