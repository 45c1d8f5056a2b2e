"""The demo's stage (Synapse, simulator, bridge) for tests, with customers by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

from bridge.demo import stage
from bridge.demo.child_process import ChildProcess
from bridge.demo.stage import StageOptions, bridge_process
from tests.support.matrix_user import Customer
from tests.support.ports import free_port
from tests.support.synapse import SYNAPSE_KEYS, lay_out

__all__ = ["Stage", "StageOptions", "bridge_process", "ended", "pid_of", "runs", "set_stage"]


@dataclass(frozen=True)
class Stage(stage.Stage):
    session: aiohttp.ClientSession

    async def customer(self, name: str) -> Customer:
        """Register a user; return an unencrypted client."""
        return await Customer.sign_up(self.session, self.synapse, name)


@asynccontextmanager
async def set_stage(folder: Path, options: StageOptions | None = None) -> AsyncIterator[Stage]:
    """Start Synapse, the simulator and the bridge in a folder; stop them at the end."""
    await lay_out(folder / "synapse")
    options = options or StageOptions()
    options = replace(options, ports=options.ports or (free_port(), free_port()))
    options = replace(options, synapse=SYNAPSE_KEYS | dict(options.synapse))
    async with stage.set_stage(folder, options) as there, aiohttp.ClientSession() as session:
        yield Stage(**vars(there), session=session)


def pid_of(child: ChildProcess) -> int:
    assert child._process is not None
    return child._process.pid


def runs(child: ChildProcess) -> bool:
    return child._process is not None and child._process.returncode is None


async def ended(child: ChildProcess) -> int:
    """Wait up to a minute for the process to exit by itself, and return its exit code."""
    if child._process is not None:
        async with asyncio.timeout(60):
            await child._process.wait()
    return await child.stop()
