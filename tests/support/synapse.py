"""A real Synapse with the bridge registered as an application service."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import hmac
import secrets
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from bridge.demo.child_process import ServerError, SynapseServer
from bridge.ids import QueueId
from bridge.matrix.users import OurUsers, Registration, make_registration, save_registration
from tests.support.ports import free_port

QUEUES = (QueueId(1), QueueId(2))
CACHE = Path(__file__).parents[2] / ".cache"


@asynccontextmanager
async def alone(lock: Path) -> AsyncIterator[None]:
    """Hold an exclusive lock on a file, waiting for other processes to release it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
        yield


async def lay_out(folder: Path) -> None:
    """Put a prepared empty database into a Synapse's folder.

    Otherwise Synapse spends seconds on creating one, some of them a minute after its start.
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
        async with SynapseServer(folder, port=free_port(), extra=at_once):
            with closing(sqlite3.connect(folder / "homeserver.db")) as database:
                while database.execute(left).fetchone():  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.1)
        ready.unlink(missing_ok=True)
        with closing(sqlite3.connect(folder / "homeserver.db")) as database:
            database.execute("VACUUM INTO ?", (str(ready),))
        ready.rename(template)


@dataclass(frozen=True)
class Homeserver:
    """A running Synapse, and what a bridge needs to connect to it."""

    server: SynapseServer
    registration: Registration
    users: OurUsers
    port: int
    """Loopback port at which Synapse expects the appservice endpoint."""


_SECRET = secrets.token_hex(32)
SYNAPSE_KEYS: dict[str, object] = {
    "registration_shared_secret": _SECRET,
    "push": {"enabled": False},
    "send_federation": False,
    "stats": {"enabled": False},
}
"""Keys of homeserver.yaml: they allow `register`, and spare the evaluation of push rules, a tenth
of a Synapse's CPU time, the search for other servers in each room, three per cent, and the count of
rooms' members and events, one."""


async def register(
    server: SynapseServer,
    session: aiohttp.ClientSession,
    localpart: str,
    password: str,
    *,
    admin: bool = False,
) -> None:
    """Register a user with no device by Synapse's shared-secret registration.

    It ignores the namespaces of application services.
    """
    url = f"{server.address}/_synapse/admin/v1/register"
    async with session.get(url) as response:
        nonce: str = (await response.json())["nonce"]
    fields = (nonce, localpart, password, "admin" if admin else "notadmin")
    mac = hmac.new(_SECRET.encode(), "\0".join(fields).encode(), hashlib.sha1)
    content = {
        "nonce": nonce,
        "username": localpart,
        "password": password,
        "admin": admin,
        "mac": mac.hexdigest(),
        "inhibit_login": True,  # else Synapse creates a device that nobody uses
    }
    async with session.post(url, json=content) as response:
        if response.status != 200:
            why = (await response.json()).get("error")
            raise ServerError(f"{localpart} not registered: {why}")


@asynccontextmanager
async def running_homeserver(folder: Path) -> AsyncIterator[Homeserver]:
    """Run Synapse in a folder, with the bridge's registration."""
    port = free_port()
    users = OurUsers("localhost", "webchatbot", "webchat_{agent}", QUEUES)
    registration = make_registration(
        appservice_id="webchat", url=f"http://127.0.0.1:{port}", users=users
    )
    file = folder / "registration.yaml"
    save_registration(registration, file)
    await lay_out(folder / "synapse")
    server = SynapseServer(
        folder / "synapse", port=free_port(), registrations=(file,), extra=SYNAPSE_KEYS
    )
    async with server:
        yield Homeserver(server, registration, users, port)
