"""An operator's actions: run the doctor, reset encryption, back up and restore the database."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from tests.support.matrix_user import Json
from tests.support.stage import Stage


async def crypto_reset(stage: Stage, expected: int = 0) -> str:
    """Run `matrix-webchat crypto reset`; return its output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", "crypto", "reset", "--yes", "-c", str(stage.config)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == expected
    return output.decode()


async def examined(stage: Stage, folder: Path | None = None) -> tuple[int, str]:
    """Run the doctor; return its exit code and output. `folder`: another bridge's folder."""
    folder = folder or stage.folder
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", "doctor", "-c", str(folder / "config.yaml")),
        *("-r", str(folder / "registration.yaml")),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def failures(stage: Stage) -> dict[str, str]:
    """Return the doctor's failed encryption checks with details; assert that each names a fix."""
    _, table = await examined(stage)
    lines = table.splitlines()
    found = {}
    for line, following in pairwise(lines):
        if line.startswith("FAIL"):
            assert "fix: " in following, table
            what, _, detail = line[6:].partition("  ")
            found[what.strip()] = detail.strip()
    return {what: detail for what, detail in found.items() if what.startswith("encryption")}


async def operate(
    stage: Stage,
    method: str,
    path: str,
    user: str,
    content: Json | None = None,
    *,
    query: Mapping[str, str] | None = None,
) -> Json:
    """Call the homeserver as a user of the bridge, without the bridge's knowledge."""
    async with stage.session.request(
        method,
        f"{stage.synapse.address}/_matrix/client/v3/{path}",
        params={"user_id": user, **(query or {})},
        headers={"Authorization": "Bearer demo-as-token"},
        json=None if method == "GET" else content or {},
    ) as response:
        assert response.status == 200, await response.text()
        reply: Json = await response.json()
        return reply


class Backup:
    """A copy of the bridge's database; made and restored while the bridge is stopped."""

    def __init__(self, stage: Stage, name: str = "backup") -> None:
        self._folder = stage.folder
        self._copy = stage.folder / name

    def make(self) -> None:
        self._copy.mkdir()
        for path in self._folder.glob("bridge.db*"):
            shutil.copy2(path, self._copy)

    def restore(self) -> None:
        for path in self._folder.glob("bridge.db*"):
            path.unlink()
        for path in self._copy.iterdir():
            shutil.copy2(path, self._folder)
