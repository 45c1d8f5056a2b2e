"""The demo's stage (Synapse, simulator, bridge) for tests, with customers by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bridge.demo import stage
from bridge.demo.stage import StageOptions, bridge_process
from tests.support.matrix_user import Customer
from tests.support.synapse import lay_out

__all__ = ["Stage", "StageOptions", "bridge_process", "set_stage"]


@dataclass(frozen=True)
class Stage(stage.Stage):
    async def customer(self, name: str) -> Customer:
        """Register a user; return an unencrypted client."""
        return await Customer.sign_up(self.session, self.synapse, name)


@asynccontextmanager
async def set_stage(folder: Path, options: StageOptions | None = None) -> AsyncIterator[Stage]:
    """Start Synapse, the simulator and the bridge in a folder; stop them at the end."""
    await lay_out(folder / "synapse")
    async with stage.set_stage(folder, options) as there:
        yield Stage(**vars(there))
