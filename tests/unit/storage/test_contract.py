"""What StorePort promises, on all three implementations."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from bridge.ids import EffectSeq, EventId, RoomId
from bridge.rooms.store import (
    EffectRow,
    GhostRow,
    Lane,
    NewEffect,
    Outcome,
    Settlement,
    Stale,
    StoredRoom,
    StoreError,
    Token,
)
from tests.fakes.flow import accept, load_room, open_effects, open_inputs, settle, step
from tests.unit.storage.conftest import Opener
from tests.unit.storage.rows import EVENT, A, B, one_effect, room, said, wish


@pytest.mark.asyncio
async def test_order_of_rows_is_the_order_given(open_any: Opener) -> None:
    async with open_any() as store:
        inputs = [said(f"${n}" if n % 3 else None, (A, B)[n % 2], b"%d" % n) for n in range(1000)]
        rows = await accept(store, inputs, 5)
        assert [row.seq for row in rows] == sorted({row.seq for row in rows})
        of_rooms = sorted(inputs, key=lambda item: item.room_id)  # stable: in order within a room
        assert [(r.room_id, r.body, r.key, r.received) for r in rows] == [
            (item.room_id, item.body, item.key, 5) for item in of_rooms
        ]
        assert await open_inputs(store, A) == [row for row in rows if row.room_id == A]


@pytest.mark.asyncio
async def test_duplicates_are_dropped(open_any: Opener) -> None:
    async with open_any() as store:
        first = await accept(store, [said("$1"), said("$1", body=b"again"), said(None)], 1)
        assert [row.body for row in first] == [b"{}", b"{}"]
        second = await accept(store, [said("$2"), said("$1"), said(None), said("$3")], 2)
        assert [row.key for row in second] == ["$2", None, "$3"]
        assert await accept(store, [said("$3", B)], 3) == []
        assert await accept(store, [], 3) == []
    async with open_any() as store:
        assert await accept(store, [said("$1"), said("$2")], 4) == []
        assert len(await open_inputs(store, A)) == 5


@pytest.mark.asyncio
async def test_step_is_stored_as_a_whole(open_any: Opener) -> None:
    async with open_any() as store:
        rows = await accept(store, [said("$1"), said("$2"), said("$3")], 1)
        new = (wish("$1"), wish("$2", Lane.MATRIX), NewEffect(Lane.MATRIX, b"x", repeat=True))
        stored = room(deadline=99, customer="@c:example.org")
        effects = await step(store, stored, [r.seq for r in rows[:2]], new, 10)
        assert [e.effect for e in effects] == [b"e", b"e", b"x"]
        assert [e.seq for e in effects] == sorted(e.seq for e in effects)
        assert effects[2] == EffectRow(
            effects[2].seq, A, Lane.MATRIX, b"x", 10, None, 0, None, None, repeat=True
        )
        assert await open_effects(store, A) == effects
        assert await open_effects(store, B) == []
        assert await open_inputs(store, A) == rows[2:]
        assert await load_room(store, A) == msgspec.structs.replace(stored, revision=1)
        assert await load_room(store, B) is None
    async with open_any() as store:
        assert await load_room(store, A) == msgspec.structs.replace(stored, revision=1)
        assert await open_effects(store, A) == effects


@pytest.mark.asyncio
async def test_a_later_step_replaces_the_record(open_any: Opener) -> None:
    async with open_any() as store:
        await step(store, room(deadline=4, customer="@c:x"), (), now=1)
        later = StoredRoom(A, b"2", live=False, phase="Idle", revision=1)
        assert await step(store, later, (), now=2) == []
        assert await load_room(store, A) == msgspec.structs.replace(later, revision=2)
        assert await store.live_rooms() == []
        assert await store.rooms_of("@c:x") == []


@pytest.mark.asyncio
async def test_an_attempt_is_counted(open_any: Opener) -> None:
    async with open_any() as store:
        row = await one_effect(store)
        await store.mark_attempted(row, 20)
        await store.mark_attempted(row, 30)
        (found,) = await open_effects(store, A)
        assert (found.attempted, found.attempts) == (30, 2)


@pytest.mark.asyncio
async def test_settlement_stores_its_inputs_once(open_any: Opener) -> None:
    async with open_any() as store:
        row = await one_effect(store)
        reply = Settlement(row.seq, Outcome.DELIVERED, 30, event_id=EVENT, anchor="card")
        (got,) = await settle(store, A, reply, [said("r"), said("r")])
        assert (got.room_id, got.key, got.received) == (A, "r", 30)
        assert await open_effects(store, A) == []
        again = Settlement(row.seq, Outcome.FAILED, 31, event_id=EventId("$x"), anchor="card")
        with pytest.raises(Stale):
            await settle(store, A, again, [said(None)])
        assert await open_inputs(store, A) == [got]
        assert await store.anchor(A, "card") == EVENT
        assert await store.anchor(A, "other") is None
        assert await store.anchor(B, "card") is None
        with pytest.raises(Stale):
            await settle(store, A, Settlement(EffectSeq(10**9), Outcome.FAILED, 1))
        await store.mark_attempted(row, 50)
        assert [line.what for line in await store.trace(EVENT)] == ["stored", "delivered"]


@pytest.mark.asyncio
async def test_an_anchor_moves_and_a_settlement_without_event_leaves_it(open_any: Opener) -> None:
    async with open_any() as store:
        for event in (EVENT, EventId("$new"), None):
            row = await one_effect(store)
            await settle(
                store, A, Settlement(row.seq, Outcome.DELIVERED, 1, event_id=event, anchor="card")
            )
        assert await store.anchor(A, "card") == "$new"


@pytest.mark.asyncio
async def test_only_one_of_concurrent_settlements_counts(open_any: Opener) -> None:
    async with open_any() as store:
        row = await one_effect(store)
        answers = await asyncio.gather(
            *(
                settle(store, A, Settlement(row.seq, Outcome.DELIVERED, n), [said(None)])
                for n in range(5)
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(answer, Stale) for answer in answers) == 4
        assert sum(isinstance(answer, list) for answer in answers) == 1
        assert len(await open_inputs(store, A)) == 1


@pytest.mark.asyncio
async def test_busy_rooms_oldest_work_first(open_any: Opener) -> None:
    async with open_any() as store:
        assert await store.busy_rooms() == []
        c, d = RoomId("!c:x"), RoomId("!d:x")
        late = await accept(store, [said("$late", A)], 30)
        await step(store, room(B), (), (wish(), wish()), 20)
        await step(store, room(c), (), (wish(),), 10)
        await accept(store, [said("$c", c)], 40)
        await step(store, room(d), (), (), 1)
        assert await store.busy_rooms() == [c, B, A]
        await step(store, room(A), [late[0].seq], (), 41)
        for row in await open_effects(store, B):
            await settle(store, B, Settlement(row.seq, Outcome.REFUSED, 42, "-5"))
        assert await store.busy_rooms() == [c]


@pytest.mark.asyncio
async def test_live_rooms_deadlines_and_rooms_of_a_customer(open_any: Opener) -> None:
    async with open_any() as store:
        for number in range(6):
            live, customer = number % 2 == 0, "@c:x" if number < 4 else ""
            deadline = 100 - number if number else None
            stored = room(RoomId(f"!{number}"), live=live, deadline=deadline, customer=customer)
            await step(store, stored, (), now=1)
        assert sorted(await store.live_rooms()) == ["!0", "!2", "!4"]
        assert await store.deadlines() == [(f"!{n}", 100 - n) for n in (5, 4, 3, 2, 1)]
        assert await store.rooms_of("@c:x") == ["!0", "!2", "!1", "!3"]
        assert await store.rooms_of("@d:x") == []
        assert await store.rooms_of("") == []


@pytest.mark.asyncio
async def test_ghosts_tokens_and_facts(open_any: Opener) -> None:
    async with open_any() as store:
        assert await store.ghost("@g:x") is None
        await store.save_ghost(GhostRow("@g:x", "林", "https://x/1.png"))
        ghost = GhostRow("@g:x", "林 🙂", "https://x/2.png", "mxc://x/2", True, "ab12", 1_733_011)
        await store.save_ghost(ghost)
        assert await store.ghost("@g:x") == ghost

        assert await store.token(A) is None
        await store.forget_token(A)
        await store.save_token(Token(A, "old", "t", 1))
        account = Token(A, "mx-1", "secret", 2, "client", "SERVERID=n1")
        await store.save_token(account)
        assert await store.token(A) == account
        await store.forget_token(A)
        assert await store.token(A) == Token(A, "mx-1", "", 2, "client")

        assert await store.fact("upload") is None
        await store.save_fact("upload", "raw")
        await store.save_fact("upload", "multipart")
        assert await store.fact("upload") == "multipart"
        await store.ping()


@pytest.mark.asyncio
async def test_inputs_and_settlements_are_stored_all_or_none(open_any: Opener) -> None:
    async with open_any() as store:
        with pytest.raises(StoreError):
            await accept(store, [said("$1"), said("bad \ud800")], 1)
        assert await open_inputs(store, A) == []
        row = await one_effect(store)
        with pytest.raises(StoreError):
            await settle(
                store, A, Settlement(row.seq, Outcome.DELIVERED, 2), [said("$2"), said("\ud800")]
            )
        assert await open_effects(store, A) == [row]
        assert await open_inputs(store, A) == []


@pytest.mark.asyncio
async def test_a_bad_request_does_not_fail_its_neighbours(open_any: Opener) -> None:
    async with open_any() as store:
        answers = await asyncio.gather(
            *(
                accept(store, [said(f"\ud800{n}" if n % 25 == 7 else f"${n}")], 1)
                for n in range(100)
            ),
            return_exceptions=True,
        )
        for number, answer in enumerate(answers):
            if number % 25 == 7:
                assert isinstance(answer, StoreError)
            else:
                assert isinstance(answer, list)
                assert [row.key for row in answer] == [f"${number}"]
        assert len(await open_inputs(store, A)) == 96


@pytest.mark.asyncio
async def test_key_of_concurrent_inputs_is_new_once(open_any: Opener) -> None:
    async with open_any() as store:
        answers = await asyncio.gather(
            *(accept(store, [said("$1"), said(f"$x{n}"), said(None)], n) for n in range(50))
        )
        assert sum(row.key == "$1" for rows in answers for row in rows) == 1
        for number, rows in enumerate(answers):
            assert [r.key for r in rows if r.key != "$1"] == [f"$x{number}", None]
            assert all(r.received == number for r in rows)
        stored = await open_inputs(store, A)
        assert sorted(stored, key=lambda r: r.seq) == sorted(
            (row for rows in answers for row in rows), key=lambda r: r.seq
        )


@pytest.mark.asyncio
async def test_closed_store_raises_store_error(open_any: Opener) -> None:
    async with open_any() as store:
        await accept(store, [said("$1")], 1)
        await store.close()
        await store.close()
        with pytest.raises(StoreError):
            await accept(store, [said("$2")], 1)
        with pytest.raises(StoreError):
            await open_inputs(store, A)
        with pytest.raises(StoreError):
            await store.ping()


@pytest.mark.asyncio
async def test_body_of_an_event_is_known_in_its_room_until_it_is_forgotten(
    open_any: Opener,
) -> None:
    async with open_any() as store:
        (row,) = await accept(store, [said("$1", body=b"in")], 1)
        assert await store.body_of(A, EventId("$1")) == b"in"
        assert await store.body_of(B, EventId("$1")) is None
        wishes = (wish("$1", body=b"up"), wish(body=b"down"))
        up, down = await step(store, room(), (row.seq,), wishes, 2)
        await settle(store, A, Settlement(down.seq, Outcome.DELIVERED, 3, event_id=EventId("$2")))
        assert await store.body_of(A, EventId("$2")) == b"down"

        await store.forget_body(B, EventId("$1"))
        assert await store.body_of(A, EventId("$1")) == b"in"
        await store.forget_body(A, EventId("$1"))
        assert await store.body_of(A, EventId("$1")) is None
        assert [one.effect for one in await open_effects(store, A)] == [b"up"]  # still to be done
        await settle(store, A, Settlement(up.seq, Outcome.DELIVERED, 4, event_id=EventId("$3")))
        await store.forget_body(A, EventId("$1"))
        assert await store.body_of(A, EventId("$3")) is None
        assert await store.body_of(A, EventId("$2")) == b"down"
        assert await store.body_of(A, EventId("$never")) is None
