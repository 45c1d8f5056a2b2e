"""An operator's actions: type commands, reset encryption, back up and restore the database."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from bridge.demo import child_process
from tests.support.matrix_user import Json
from tests.support.stage import Stage


async def typed(stage: Stage, *words: str, folder: Path | None = None) -> tuple[int, str]:
    """Run a command of the bridge as an operator types it; return its exit code and output.

    `folder`: that of another bridge's config.yaml.
    """
    config = stage.config if folder is None else folder / "config.yaml"
    with TemporaryDirectory() as name:
        output = Path(name) / "output"
        command = ("bridge", *words, "-c", str(config))
        code = await (await child_process.spawn(command, output, None)).wait()
        return code, output.read_text(encoding="utf-8")


async def succeeds(stage: Stage, *words: str) -> str:
    """Run a command that exits with 0; return its output."""
    code, output = await typed(stage, *words)
    assert code == 0, output
    return output


async def crypto_reset(stage: Stage, expected: int = 0) -> str:
    """Run `matrix-webchat crypto reset`; return its output."""
    code, output = await typed(stage, "crypto", "reset", "--yes")
    assert code == expected, output
    return output


async def examined(stage: Stage, folder: Path | None = None) -> tuple[int, str]:
    """Run the doctor; return its exit code and output. `folder`: another bridge's folder."""
    registration = (folder or stage.folder) / "registration.yaml"
    return await typed(stage, "doctor", "-r", str(registration), folder=folder)


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


def has_looked_for_news(stage: Stage) -> bool:
    """Whether the bridge has stored from where the next /sync of the bot tells news."""
    return _count(stage, "facts WHERE name = ? AND value <> ''", f"invited {stage.bot}") > 0


def dead_letters(stage: Stage) -> int:
    """Return the number of dead letters that the bridge has stored."""
    return _count(stage, "journal WHERE outcome = 'dead'")


def _count(stage: Stage, rows: str, *values: str) -> int:
    with closing(sqlite3.connect(stage.folder / "bridge.db")) as database:
        (count,) = database.execute(f"SELECT count(*) FROM {rows}", values).fetchone()  # noqa: S608
        return int(count)


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
