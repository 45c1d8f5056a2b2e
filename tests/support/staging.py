"""A stage (Synapse, simulator, bridge) for a module's tests; failures quote its logs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from bridge.demo.child_process import ChildProcess
from bridge.simulator.simulator import SimulatorOptions
from tests.support.logs import show_on_failure
from tests.support.stage import Stage, StageOptions, bridge_process, set_stage

PATIENT_LIMITS = {
    "messages_per_minute": 100_000,
    "rooms_per_user": 100,
    "new_rooms_per_hour": 10_000,
}
"""`bridge.limits` for tests, in which all messages come from one machine."""

UNLIMITED = SimulatorOptions(strict=True, login_limit=0)
"""A server as in the protocol guide, but without its limit on logins per address."""


def bridge_section(**changes: object) -> dict[str, object]:
    """Return the config section `bridge` with high limits and the given changes."""
    return {
        "permissions": {"localhost": "customer"},
        "language": "en",
        "limits": PATIENT_LIMITS,
        **changes,
    }


@asynccontextmanager
async def staged(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    options: StageOptions | None = None,
) -> AsyncIterator[Stage]:
    """Run a stage in a folder of its own."""
    folder = tmp_path_factory.mktemp("stage")
    show_on_failure(request, folder / "bridge.log", folder / "synapse" / "homeserver.log")
    async with set_stage(folder, options) as stage:
        yield stage


def bridge_like(stage: Stage, folder: Path, **sections: dict[str, object]) -> ChildProcess:
    """Return another bridge for the same homeserver, with changed keys in its config sections."""
    yaml = YAML(typ="safe", pure=True)
    config = yaml.load(stage.config)
    for name, changes in sections.items():
        config[name] |= changes
    path = folder / "config.yaml"
    path.touch(mode=0o600)
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(config, stream)
    return bridge_process(path, config["appservice"]["port"], folder / "bridge.log")
