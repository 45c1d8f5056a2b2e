"""Lists of all rooms for people: bounded, in pages, on all three implementations."""

from __future__ import annotations

from typing import cast

import pytest
from msgspec.structs import replace

from bridge.conversation.model import Conversation, Queued
from bridge.ids import QueueId, RoomId
from bridge.rooms.record import RoomRecord, dump_record
from bridge.rooms.store import Lane, NewInput, Outcome, Settlement, StorePort, Token
from bridge.storage import sqlstore
from bridge.storage.sqlstore import SqlStore
from tests.fakes.flow import accept, settle, step
from tests.unit.storage.conftest import Opener
from tests.unit.storage.rows import EVENT, A, B, bury, room, said, wish


def whole(store: StorePort) -> SqlStore:
    return cast(SqlStore, store)


@pytest.mark.asyncio
async def test_rooms_are_listed_in_pages_all_or_live(open_any: Opener) -> None:
    async with open_any() as opened:
        store = whole(opened)
        rooms = [RoomId(f"!{name}:example.org") for name in "abcde"]
        for number, room_id in enumerate(rooms):
            await step(store, room(room_id, live=number % 2 == 0))
        assert [one.room_id for one in await store.rooms("", 2, live=False)] == rooms[:2]
        assert [one.room_id for one in await store.rooms(rooms[1], 9, live=False)] == rooms[2:]
        assert [one.room_id for one in await store.rooms(rooms[0], 9, live=True)] == rooms[2::2]
        for phase, which in (("Queued", rooms[2::2]), ("Chatting", [])):
            of_phase = await store.rooms(rooms[0], 9, live=True, phase=phase)
            assert [one.room_id for one in of_phase] == which
        found = await store.room(rooms[3])
        assert found is not None
        assert (found.phase, found.live, found.record) == ("Queued", False, b"\x00record")
        assert await store.room(RoomId("!nowhere:example.org")) is None


@pytest.mark.asyncio
async def test_room_without_a_commit_has_no_record(open_any: Opener) -> None:
    async with open_any() as opened:
        store = whole(opened)
        await accept(store, [said(EVENT)], 1)
        found = await store.room(A)
        assert found is None or found.record == b""


@pytest.mark.asyncio
async def test_busy_rooms_are_counted_by_phase_and_queue(open_any: Opener) -> None:
    async with open_any() as opened:
        store = whole(opened)
        for name, queue in (("a", 1), ("b", 1), ("c", 2)):
            room_id = RoomId(f"!{name}:example.org")
            phase = Queued(QueueId(queue), 1)
            record = RoomRecord(
                room_id, displayname="\0\u2028\\u0000", conversation=Conversation(phase=phase)
            )
            await step(store, replace(room(room_id), record=dump_record(record)))
        idle = RoomId("!idle:example.org")
        record = RoomRecord(idle)
        await step(store, replace(room(idle, live=False), record=dump_record(record)))
        assert await store.busy() == {("", "Queued", 1): 2, ("", "Queued", 2): 1}


@pytest.mark.asyncio
async def test_accounts_are_listed_without_tokens_and_forgotten_once(
    open_any: Opener,
) -> None:
    async with open_any() as opened:
        store = whole(opened)
        await step(store, room(A))
        await store.save_token(Token(A, "mx-1", "secret", 7))
        await store.save_token(Token(B, "mx-2", "secret", 8))
        await store.forget_token(B)
        first, second = await store.accounts("", 9)
        assert (first.room_id, first.login_name, first.has_token, first.issued) == (A, "mx-1", 1, 7)
        assert first.room is not None
        assert first.room.room_id == A
        assert (second.has_token, second.room) == (False, None)
        assert [one.room_id for one in await store.accounts(A, 9)] == [B]
        assert [one.room_id for one in await store.accounts("", 1)] == [A]
        assert await store.forget_account(A)
        assert not await store.forget_account(A)
        assert await store.token(A) is None


@pytest.mark.asyncio
async def test_deliveries_of_a_room_are_read_a_stretch_at_a_time(
    open_any: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlstore, "STRETCH", 4)
    monkeypatch.setattr(sqlstore, "STRETCHES", 2)
    async with open_any() as opened:
        store = whole(opened)
        assert await store.deliveries(A, None, 5) == ([], None)
        for number in range(20):
            await accept(store, [said(f"$b{number}", B)], number)
        (row,) = await accept(store, [said("$a")], 90)
        (effect,) = await step(store, room(A), [row.seq], [wish("$a")], 91)
        await store.mark_attempted(effect, 92)
        await settle(store, A, Settlement(effect.seq, Outcome.DELIVERED, 93, "ok"))
        found, after = await store.deliveries(A, None, 5)
        assert [one.seq for one in found] == [effect.seq, row.seq]
        assert (found[0].lane, found[0].cause, found[0].outcome) == (
            Lane.WEBCHAT, "$a", "delivered",
        )  # fmt: skip
        assert (found[1].key, found[1].handled, found[1].lane) == ("$a", 91, None)
        seen = len(found)
        pages = 0
        while after is not None:  # pages without a row of this room
            found, after = await store.deliveries(A, after, 5)
            seen += len(found)
            pages += 1
        assert (seen, pages) == (2, 2)
        numbers: list[int] = []
        after = None
        while True:
            found, after = await store.deliveries(B, after, 3)
            numbers += [one.seq for one in found]
            if after is None:
                break
        assert numbers == sorted(numbers, reverse=True)
        assert len(numbers) == 20


@pytest.mark.asyncio
async def test_rows_of_all_rooms_after_a_number(open_any: Opener) -> None:
    async with open_any() as opened:
        store = whole(opened)
        assert (await store.newest(), await store.rows_after(0, 9)) == (0, [])
        (first,) = await accept(store, [said("$a")], 90)
        (second,) = await accept(store, [said("$b", B)], 91)
        (effect,) = await step(store, room(A), [first.seq], [wish("$a")], 92)
        await settle(store, A, Settlement(effect.seq, Outcome.DELIVERED, 93, "1"))
        rows = await store.rows_after(0, 9)
        assert [(room_id, row.seq) for room_id, row in rows] == [
            (A, first.seq), (B, second.seq), (A, effect.seq),
        ]  # fmt: skip
        assert await store.newest() == effect.seq
        assert await store.rows_after(first.seq, 1) == rows[1:2]
        assert await store.rows_at([effect.seq, first.seq, effect.seq + 1]) == [rows[0], rows[2]]
        assert (rows[2][1].settled, rows[1][1].settled) == (93, None)
        assert await store.rows_at([]) == []


@pytest.mark.asyncio
async def test_an_input_is_found_by_its_key_in_its_room_only(open_any: Opener) -> None:
    async with open_any() as opened:
        store = whole(opened)
        (row,) = await accept(store, [NewInput(A, b"{}", "order:1")], 5)
        found = await store.input(A, "order:1")
        assert found is not None
        assert (found.seq, found.handled, found.outcome) == (row.seq, None, None)
        assert await store.input(B, "order:1") is None
        await step(store, room(A), [row.seq], now=6)
        found = await store.input(A, "order:1")
        assert found is not None
        assert found.handled == 6


@pytest.mark.asyncio
async def test_dead_letters_in_pages_and_one_by_its_id(open_any: Opener) -> None:
    async with open_any() as opened:
        store = whole(opened)
        rows = await accept(store, [said(f"$e{number}") for number in range(3)], 1)
        for number, row in enumerate(rows):
            await bury(store, row, f"why {number}", 5 + number // 2)
        first, second, third = await store.letters((0, 0), 9)
        assert [one.why for one in (first, second, third)] == ["why 0", "why 1", "why 2"]
        assert first.body == ""
        after = (second.at, int(second.id[1:]))
        assert [one.id for one in await store.letters(after, 9)] == [third.id]
        assert [one.id for one in await store.letters((0, 0), 1)] == [first.id]
        opened_letter = await store.letter(second.id)
        assert opened_letter == replace(second, body="{}")
        assert await store.letter(second.id.replace("i", "o")) is None
        assert await store.letter("nonsense") is None
