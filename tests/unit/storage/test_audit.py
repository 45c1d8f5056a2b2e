"""What StorePort promises about the audit log, on all three implementations."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bridge.rooms.store import Change, Commit, Cutoffs, Stale, StorePort
from tests.unit.storage.conftest import Opener
from tests.unit.storage.rows import A, B, now_at, room

pytestmark = pytest.mark.asyncio


def change(at: int, where: str = A) -> Change:
    return Change(at, "@ada:example.org", "command", "queue", "1", f"{at}", where, "one")


async def write(store: StorePort, *changes: Change) -> None:
    await store.commit(Commit(A, 1, await now_at(store, room()), changes=changes))


async def test_changes_are_listed_newest_first(open_any: Opener) -> None:
    made = [change(at) for at in range(3)]
    async with open_any() as store:
        assert await store.changes() == await store.changes(A) == []
        await write(store, *made)
        await store.record_change(change(7, B))
        await store.record_change(Change(8, "operator", "cli", "erase", after="x"))
        numbered = [replace(each, number=number) for number, each in enumerate(made, 1)]
    async with open_any() as store:
        assert await store.changes(A) == numbered[::-1]
        assert await store.changes(A, limit=1) == numbered[2:]
        assert await store.changes(A, before=3, limit=1) == numbered[1:2]
        assert [each.at for each in await store.changes()] == [8, 7, 2, 1, 0]
        assert [each.at for each in await store.changes(before=4)] == [2, 1, 0]


async def test_changes_are_written_with_the_step_or_not_at_all(open_any: Opener) -> None:
    async with open_any() as store:
        await write(store, change(1))
        with pytest.raises(Stale):
            await store.commit(Commit(A, 2, room(), changes=[change(2)]))
        assert [each.at for each in await store.changes(A)] == [1]


async def test_unstorable_characters_are_replaced(open_any: Opener) -> None:
    async with open_any() as store:
        await store.record_change(replace(change(1), actor="a\0b", before="\ud800"))
        (found,) = await store.changes(A)
        assert (found.actor, found.before) == ("a\ufffdb", "?")


async def test_pruning_keeps_changes(open_any: Opener) -> None:
    async with open_any() as store:
        await write(store, change(1))
        await store.prune(10**15, 10**15, Cutoffs())
        assert [each.at for each in await store.changes()] == [1]
