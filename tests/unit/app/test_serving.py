"""A start that fails says why, and in words: not as a group of whatever ran by then."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.app.serving import DATED, INSTANCE, Serving, noted
from bridge.config import Config
from bridge.demo.ports import free_port
from bridge.ops.clock import SystemClock
from bridge.rooms.store import StoreError
from bridge.storage.errors import CorruptDatabaseError, Unreachable
from bridge.storage.open import open_store
from bridge.storage.store import SqlStore
from tests.unit.config.configs import SMALLEST, load


def told(folder: Path) -> Config:
    """A bridge with a database of its own, and nobody at the other ends."""
    environment = {
        "MATRIX_WEBCHAT_DATABASE__URL": f"sqlite:///{folder}/bridge.db",
        "MATRIX_WEBCHAT_APPSERVICE__PORT": str(free_port()),
        "MATRIX_WEBCHAT_METRICS__ENABLED": "false",
    }
    return load(folder, SMALLEST, environment)


@pytest.mark.asyncio
@pytest.mark.parametrize("call", ["fact", "busy_rooms", "live_rooms", "deadlines"])
@pytest.mark.parametrize("trouble", [Unreachable("gone"), CorruptDatabaseError("damaged")])
async def test_a_database_lost_while_the_bridge_starts_is_a_store_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, trouble: StoreError
) -> None:
    """Exit codes 14 and 18 go by the error's type (`cli.exits`)."""

    async def lost(*_: object) -> None:
        raise trouble

    monkeypatch.setattr(SqlStore, call, lost)
    with pytest.raises(type(trouble)):
        async with Serving(told(tmp_path)):
            pytest.fail("started")


@pytest.mark.asyncio
async def test_a_database_of_the_version_before_notes_when_this_one_began(tmp_path: Path) -> None:
    """What was stored until then goes out under the ids that it may have been sent under."""
    config = told(tmp_path)
    url, clock = config.database.url.get_secret_value(), SystemClock()
    async with open_store(url, clock) as store:
        await store.save_fact(INSTANCE, "cafe0123")
        before = clock.now()
    async with Serving(config):
        began = clock.now()
    async with open_store(url, clock) as store:
        dated = await store.fact(DATED)
        assert dated is not None
        assert before <= int(dated) <= began
        assert await noted(store, DATED, "later") == dated
        assert await store.fact(INSTANCE) == "cafe0123"
