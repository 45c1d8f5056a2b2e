"""A stage for demo and tests: Synapse, simulator and bridge process, on loopback in one folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from ruamel.yaml import YAML

from bridge.app.settings import registration_of, tokens_of
from bridge.config import load_config
from bridge.demo.child_process import ChildProcess, SynapseServer, free_port
from bridge.demo.phone import Phone, password_of
from bridge.matrix.registration import save_registration
from bridge.simulator.simulator import Simulator, SimulatorOptions

QUEUES = [
    {"id": 1, "name": "Sales", "aliases": ["sales"]},
    {"id": 2, "name": "Service", "aliases": ["service"]},
]
_STOP_TIMEOUT = 20.0


@dataclass(frozen=True, kw_only=True)
class StageOptions:
    database: str = ""
    """The bridge's database URL; empty for a SQLite file in the folder."""
    synapse: Mapping[str, object] = field(default_factory=dict)
    """Additional keys of homeserver.yaml, which override the stage's own."""
    synapse_port: int | None = None
    """Port of Synapse, for callers that must know it before the start; None for a free one."""
    simulator: SimulatorOptions = field(default_factory=SimulatorOptions)
    webchat: Mapping[str, object] = field(default_factory=dict)
    """Additional keys of the stage's section `webchat`, which override its own."""
    config: Mapping[str, object] = field(default_factory=dict)
    """Sections of config.yaml that replace the stage's own."""


@dataclass(frozen=True)
class Stage:
    folder: Path
    synapse: SynapseServer
    simulator: Simulator
    bridge: ChildProcess
    session: aiohttp.ClientSession
    config: Path

    @property
    def bot(self) -> str:
        return f"@webchatbot:{self.synapse.domain}"

    @asynccontextmanager
    async def phone(self, name: str) -> AsyncIterator[Phone]:
        await self.synapse.register(self.session, name, password_of(name))
        phone = await Phone.log_in(self.synapse, name, self.folder / name)
        try:
            yield phone
        finally:
            await phone.close()


@asynccontextmanager
async def set_stage(
    folder: Path,
    options: StageOptions | None = None,
    *,
    tell: Callable[[str], None] = lambda part: None,
) -> AsyncIterator[Stage]:
    """Start all parts in an existing folder, and stop them at the end. `tell` announces Synapse and
    the bridge before they start. ServerError if one does not start.
    """
    options = options or StageOptions()
    simulator = Simulator(options.simulator)
    await simulator.start()
    try:
        port = free_port()
        registration = folder / "registration.yaml"
        synapse = SynapseServer(
            folder / "synapse",
            registrations=(registration,),
            port=options.synapse_port,
            extra=options.synapse,
        )
        config = _write_config(folder, options, simulator, synapse, port)
        loaded = load_config(config, {})
        save_registration(registration_of(loaded, tokens_of(loaded)), registration)
        bridge = bridge_process(config, port, folder / "bridge.log")
        tell("starting Synapse …")
        async with synapse:
            tell("starting the bridge …")
            async with bridge, aiohttp.ClientSession() as session:
                yield Stage(folder, synapse, simulator, bridge, session, config)
    finally:
        await simulator.stop()


def _write_config(
    folder: Path, options: StageOptions, simulator: Simulator, synapse: SynapseServer, port: int
) -> Path:
    sections: dict[str, object] = {
        "homeserver": {"address": synapse.address, "domain": synapse.domain},
        "appservice": {
            "address": f"http://127.0.0.1:{port}",
            "hostname": "127.0.0.1",
            "port": port,
            "as_token": "demo-as-token",
            "hs_token": "demo-hs-token",
        },
        "database": {"url": options.database or f"sqlite:///{folder}/bridge.db"},
        "webchat": {
            "base_url": simulator.base_url,
            "login_rate": {"count": 1000, "per_seconds": 1},
            **options.webchat,
        },
        "queues": QUEUES,
        "default_queue": 1,
        "bridge": {"permissions": {synapse.domain: "customer"}, "language": "en"},
        "metrics": {"enabled": False},
    }
    path = folder / "config.yaml"
    path.touch(mode=0o600)
    with path.open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(sections | dict(options.config), stream)
    return path


def bridge_process(config: Path, port: int, log_file: Path) -> ChildProcess:
    return ChildProcess(
        name="the bridge",
        command=("bridge", "run", "-c", str(config)),
        url=f"http://127.0.0.1:{port}",
        ready="/_matrix/mau/ready",
        log_file=log_file,
        patience=_STOP_TIMEOUT,
    )
