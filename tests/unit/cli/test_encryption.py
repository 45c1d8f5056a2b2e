"""`crypto reset` forgets every key and lets the next start replace what is published."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bridge.app.settings import encryption_secret_of
from bridge.config import load_config
from bridge.matrix.crypto.devices import EPOCH, Epoch
from bridge.matrix.crypto.vault import Sealer, Vault
from bridge.ops.clock import SystemClock
from bridge.rooms.store import SecretRow
from bridge.storage.sqlstore import open_store
from tests.unit.cli.runs import Folder


def test_it_asks_first_and_then_forgets(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write()
    url = f"sqlite:///{tmp_path}/bridge.db"
    secret = encryption_secret_of(load_config(folder.config, {}))

    async def fill() -> None:
        async with open_store(url, SystemClock()) as store:
            await store.save_secrets([SecretRow(name, b"x") for name in ("a", "b")])

    async def look() -> tuple[bytes | None, Epoch | None]:
        async with open_store(url, SystemClock()) as store:
            vault = Vault(store, Sealer(secret))
            return await store.secret("a"), await vault.load(EPOCH, Epoch)

    asyncio.run(fill())
    assert folder.run_here("crypto", "reset").exit_code == 1
    assert asyncio.run(kept_row(url)) == b"x"
    result = folder.run_here("crypto", "reset", "--yes")
    assert result.exit_code == 0, result.output
    assert "Forgot 2 sealed rows" in result.output
    kept, epoch = asyncio.run(look())
    assert kept is None
    assert epoch is not None
    assert epoch.replace


async def kept_row(url: str) -> bytes | None:
    async with open_store(url, SystemClock()) as store:
        return await store.secret("a")
