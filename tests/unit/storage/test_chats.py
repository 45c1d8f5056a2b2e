"""What StorePort promises about a room's chats, on all three implementations."""

from __future__ import annotations

import msgspec
import pytest

from bridge.rooms.store import ChatRow, Cutoffs, Stale, StorePort
from bridge.storage.migrate import known, migrate
from bridge.storage.query import Query, same
from bridge.storage.sqlstore import engine_for, open_store
from tests.fakes.flow import accept, load_room, open_inputs, step
from tests.unit.storage.conftest import FixedClock, Opener
from tests.unit.storage.rows import A, B, now_at, room, said, wish

pytestmark = pytest.mark.asyncio


async def write(store: StorePort, *chats: ChatRow) -> None:
    await step(store, await now_at(store, room()), (), now=1, chats=chats)


async def test_chats_are_listed_newest_first_up_to_a_limit(open_any: Opener) -> None:
    async with open_any() as store:
        assert await store.chats(A, 10) == []
        rows = [ChatRow(number, b"%d" % number) for number in range(1, 13)]
        await write(store, *rows[:5])
        await write(store, *rows[5:])
    async with open_any() as store:
        newest = rows[::-1]
        assert await store.chats(A, 3) == newest[:3]
        assert await store.chats(A, 100) == newest
        assert await store.chats(A, 2, 10) == newest[2:4]
        assert await store.chats(A, 2, 0) == []
        assert await store.chats(A, 2, 10**15) == newest[:2]
        assert await store.chats(B, 3) == []


async def test_later_version_of_a_chat_replaces_the_earlier(open_any: Opener) -> None:
    async with open_any() as store:
        await write(store, ChatRow(1, b"a"))
        await write(store, ChatRow(1, b"\x00\xff"), ChatRow(2, b"b"))
        assert await store.chats(A, 9) == [ChatRow(2, b"b"), ChatRow(1, b"\x00\xff")]


async def test_chats_are_written_with_the_step_or_not_at_all(open_any: Opener) -> None:
    async with open_any() as store:
        (row,) = await accept(store, [said("$1")], 1)
        await write(store, ChatRow(1, b"a"))
        with pytest.raises(Stale):
            await step(store, room(), (row.seq,), (wish(),), 2, chats=[ChatRow(1, b"x")])
        now = msgspec.structs.replace(room(), revision=1)
        await step(store, now, (row.seq,), now=3)
        again = msgspec.structs.replace(room(), revision=2)
        with pytest.raises(Stale):
            await step(store, again, (row.seq,), now=4, chats=[ChatRow(2, b"x")])
        assert await store.chats(A, 9) == [ChatRow(1, b"a")]


async def test_pruning_keeps_chats(open_any: Opener) -> None:
    async with open_any() as store:
        await write(store, ChatRow(1, b"a"))
        await store.prune(10**15, 10**15, Cutoffs())
        assert await store.chats(A, 9) == [ChatRow(1, b"a")]


async def test_database_of_an_earlier_schema_is_upgraded_with_its_rows(url: str) -> None:
    """Schema 3, with rows in every table that a room had."""
    engine = engine_for(url, FixedClock())
    await engine.open()
    try:
        await migrate(engine, 1, known(engine.dialect)[:3])
        await engine.migrate(_FORMER_ROWS)
    finally:
        await engine.close()
    async with open_store(url, FixedClock()) as store:
        found = await load_room(store, A)
        assert found is not None
        assert (found.record, found.revision, found.live) == (b"old", 7, True)
        assert [row.body for row in await open_inputs(store, A)] == [b"{}"]
        assert await store.chats(A, 9) == []
        later = msgspec.structs.replace(room(), revision=7)
        await step(store, later, (), chats=[ChatRow(3, b"c")])
        assert await store.chats(A, 9) == [ChatRow(3, b"c")]


_FORMER_ROWS = [
    Query(
        same(
            "INSERT INTO rooms (room_id, record, live, phase, deadline, customer, revision) "
            "VALUES ($1, $2, $3, 'Queued', 5, '@c:x', 7)"
        ),
        (A, b"old", True),
    ),
    Query(
        same("INSERT INTO inbox (room_id, key, body, received) VALUES ($1, 'k', $2, 1)"), (A, b"{}")
    ),
]
"""Rows of a room in schema 3."""
