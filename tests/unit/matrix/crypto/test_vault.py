from __future__ import annotations

import msgspec
import pytest

from bridge.matrix.crypto.vault import Unsealable
from tests.fakes.memory import MemoryStore
from tests.unit.matrix.crypto.world import new_vault

pytestmark = pytest.mark.asyncio


class Row(msgspec.Struct):
    name: str
    data: bytes = b""


class Other(msgspec.Struct):
    number: int


async def test_rows_come_back_as_they_were() -> None:
    store = MemoryStore()
    vault = new_vault(store)
    assert await vault.load("a", Row) is None
    await vault.save([vault.row("a", Row("x", b"\x00")), vault.row("b", Row("y"), 5)])
    assert await new_vault(store).load("a", Row) == Row("x", b"\x00")
    assert await vault.load("b", Row) == Row("y")
    assert vault.row("b", Row("y"), 5).keep_until == 5
    assert len(vault.pickle_key) == 32


async def test_row_of_another_secret_or_layout_is_refused() -> None:
    store = MemoryStore()
    vault = new_vault(store)
    await vault.save([vault.row("a", Row("x"))])
    with pytest.raises(Unsealable):
        await new_vault(store, "other").load("a", Row)
    with pytest.raises(Unsealable, match="cannot be read as Other"):
        await vault.load("a", Other)
