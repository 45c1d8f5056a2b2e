"""A database with a later schema is refused with an explanation, and not changed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bridge.storage.migrate import SCHEMA_VERSION, Migration, current_version, known, migrate
from bridge.storage.sqlstore import engine_for
from tests.unit.cli.runs import Folder
from tests.unit.config.configs import SMALLEST
from tests.unit.storage.conftest import FixedClock

LATER = SCHEMA_VERSION + 1


async def version(url: str, *, upgrade: bool = False) -> int:
    """Return a database's schema version; `upgrade` migrates it to `LATER` first."""
    engine = engine_for(url, FixedClock())
    await engine.open()
    try:
        if upgrade:
            later = Migration(LATER, "later", "ALTER TABLE rooms RENAME TO houses;\n")
            await migrate(engine, 1, [*known(engine.dialect), later])
        return await current_version(engine)
    finally:
        await engine.close()


def test_the_bridge_does_not_start_on_a_later_schema(url: str, tmp_path: Path) -> None:
    folder = Folder(tmp_path, {"MATRIX_WEBCHAT_DATABASE__URL": url})
    folder.write(SMALLEST + "appservice: {as_token: aaaaaaaaaa, hs_token: bbbbbbbbbb}\n")
    assert asyncio.run(version(url, upgrade=True)) == LATER
    for command in (["run"], ["migrate"], ["migrate", "--dry-run"]):
        result = folder.run_here(*command)
        assert result.exit_code == 14, result.output
        said = f"has schema {LATER}, this program knows schemas up to {SCHEMA_VERSION}: upgrade"
        assert said in result.stderr
    assert asyncio.run(version(url)) == LATER
