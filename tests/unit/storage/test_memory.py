"""The memory store's switch `down`, which is not part of the contract."""

from __future__ import annotations

import pytest

from bridge.ids import RoomId
from bridge.rooms.store import NewInput, StoreError
from tests.fakes.flow import accept
from tests.fakes.memory import MemoryStore


@pytest.mark.asyncio
async def test_a_store_that_is_down_changes_nothing() -> None:
    store = MemoryStore()
    store.down = True
    with pytest.raises(StoreError):
        await accept(store, [NewInput(RoomId("!a"), b"", "$1")], 1)
    with pytest.raises(StoreError):
        await store.busy_rooms()
    with pytest.raises(StoreError):
        await store.revive("i1", 1)
    store.down = False
    assert await store.busy_rooms() == []
