"""A real Synapse that knows an application service of ours, for integration tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bridge.demo.child_process import free_port
from bridge.demo.synapse import SynapseServer
from bridge.ids import QueueId
from bridge.matrix.registration import Registration, make_registration, save_registration
from bridge.matrix.users import OurUsers

QUEUES = (QueueId(1), QueueId(2))


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
    async with SynapseServer(folder / "synapse", registrations=(file,)) as server:
        yield Homeserver(server, registration, users, port)
