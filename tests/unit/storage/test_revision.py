"""A step applies to the room that it was made from and to open inputs, or not at all."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
import pytest

from bridge.ids import RoomId
from bridge.rooms.store import EffectRow, Stale, StoredRoom, StorePort, Unstorable
from tests.fakes.flow import accept, load_room, open_effects, open_inputs, step
from tests.fakes.memory import dead_letters
from tests.unit.storage.conftest import Opener, SqlOpener
from tests.unit.storage.rows import A, B, now_at, room, said, wish


async def assert_untouched(store: StorePort, stored: StoredRoom, inputs: int, rows: int) -> None:
    assert await load_room(store, A) == stored
    assert len(await open_inputs(store, A)) == inputs
    assert len(await open_effects(store, A)) == rows


@pytest.mark.asyncio
async def test_a_step_from_an_older_revision_changes_nothing(open_any: Opener) -> None:
    async with open_any() as store:
        rows = await accept(store, [said("$1"), said("$2")], 1)
        await step(store, room(), [rows[0].seq], [wish()], 2)
        stored = await load_room(store, A)
        assert stored is not None
        assert stored.revision == 1
        for revision in (0, 2, 7):
            again = msgspec.structs.replace(room(live=False), revision=revision)
            with pytest.raises(Stale):
                await step(store, again, [rows[1].seq], [wish()], 3)
        await assert_untouched(store, stored, 1, 1)
        await step(store, stored, [rows[1].seq], [wish()], 4)
        after = await load_room(store, A)
        assert after is not None
        assert after.revision == 2


@pytest.mark.asyncio
async def test_missing_room_is_not_created_by_a_later_step(open_any: Opener) -> None:
    """As after a restored backup: memory and database differ."""
    async with open_any() as store:
        with pytest.raises(Stale):
            await step(store, msgspec.structs.replace(room(), revision=3), ())
        assert await load_room(store, A) is None


@pytest.mark.asyncio
async def test_an_input_ends_once(open_any: Opener) -> None:
    async with open_any() as store:
        rows = await accept(store, [said("$1"), said("$2")], 1)
        await step(store, room(), [rows[0].seq], [wish()], 2)
        stored = await load_room(store, A)
        assert stored is not None
        both = [row.seq for row in rows]
        with pytest.raises(Stale):
            await step(store, stored, both, [wish()], 3)
        with pytest.raises(Stale):
            await step(store, stored, both[1:], [wish()], 3, buried=[(both[0], "why")])
        await assert_untouched(store, stored, 1, 1)
        await step(store, stored, both[1:], (), 4)


@pytest.mark.asyncio
async def test_a_step_buries_what_it_cannot_handle(open_any: Opener) -> None:
    async with open_any() as store:
        rows = await accept(store, [said("$1"), said("$2")], 1)
        buried = [(rows[1].seq, "KeyError\0")]
        await step(store, room(), [rows[0].seq], [wish()], 2, buried=buried)
        assert await open_inputs(store, A) == []
        (letter,) = await dead_letters(store)
        assert (letter.id, letter.at, letter.why) == (f"i{rows[1].seq}", 2, "KeyError\ufffd")
        assert await store.revive(letter.id, 3)
        assert await open_inputs(store, A) == rows[1:]


@pytest.mark.asyncio
async def test_one_of_concurrent_steps_from_one_revision_applies(open_any: Opener) -> None:
    async with open_any() as store:
        answers = await asyncio.gather(
            *(step(store, room(), (), [wish(f"${n}")], n) for n in range(20)),
            return_exceptions=True,
        )
        assert sum(isinstance(answer, list) for answer in answers) == 1
        assert sum(isinstance(answer, Stale) for answer in answers) == 19
        assert len(await open_effects(store, A)) == 1
        stored = await load_room(store, A)
        assert stored is not None
        assert stored.revision == 1


@pytest.mark.asyncio
async def test_stale_steps_fail_alone(open_sql: SqlOpener) -> None:
    """Old revisions, ended inputs and unstorable values among valid steps of a group."""
    async with open_sql() as store:
        rooms = [RoomId(f"!{n}") for n in range(40)]
        inputs = await accept(store, [said(None, one) for one in rooms], 1)
        used = await accept(store, [said(None, B)], 1)
        await step(store, room(B), [used[0].seq], ())

        async def made(number: int) -> list[EffectRow]:
            new, done = room(rooms[number]), inputs[number].seq
            if number % 10 == 3:
                new = msgspec.structs.replace(new, revision=5)
            elif number % 10 == 6:
                done = used[0].seq
            elif number % 10 == 8:
                new = msgspec.structs.replace(new, customer="\ud800")
            return await step(store, new, [done], [wish()], 2)

        answers = await asyncio.gather(
            *(made(number) for number in range(40)),
            accept(store, [said("$fine")], 2),
            return_exceptions=True,
        )
        for number, answer in enumerate(answers[:40]):
            wanted = {3: Stale, 6: Stale, 8: Unstorable}.get(number % 10, list)
            assert isinstance(answer, wanted), number
            stored = await load_room(store, rooms[number])
            assert (stored is None) == (wanted is not list), number
        assert isinstance(answers[40], list)
        assert len(await store.busy_rooms()) == 40 + 1


@pytest.mark.asyncio
async def test_unstorable_values_raise_unstorable(open_any: Opener) -> None:
    async with open_any() as store:
        with pytest.raises(Unstorable):
            await accept(store, [said("$\ud800")], 1)
        (row,) = await step(store, await now_at(store, room()), (), [wish()])
        bad = await now_at(store, room(customer="\udfff"))
        with pytest.raises(Unstorable):
            await step(store, bad)
        assert await open_effects(store, A) == [row]
        assert row.seq


@pytest.mark.asyncio
async def test_a_refused_value_leaves_no_transaction_open(open_sql: SqlOpener) -> None:
    """The next writes would be part of it, and lost with it."""
    async with open_sql() as store:
        with pytest.raises(Unstorable):
            await store.forget_account(RoomId("!\ud800"))
        await store.save_fact("later", "1")
    async with open_sql() as store:
        assert await store.fact("later") == "1"


@pytest.mark.asyncio
async def test_a_key_that_postgres_cannot_hold(open_any: Opener) -> None:
    """A NUL, or more than an index takes: refused as Unstorable, or stored."""
    async with open_any() as store:
        for key in ("$\0", "$" + "x" * 100_000):
            with suppress(Unstorable):
                (row,) = await accept(store, [said(key)], 1)
                assert row.key == key
        (fine,) = await accept(store, [said("$fine")], 1)
        assert fine in await open_inputs(store, A)


@pytest.mark.asyncio
async def test_look_up_columns_of_a_room_are_updated(open_any: Opener) -> None:
    """SQLite has a shorter statement for a room whose look-up columns stay the same."""
    first = room(customer="@a:example.org")
    columns = (first.live, first.deadline, first.customer)
    changes = (
        (*columns,),
        (False, None, "@a:example.org"),
        (False, 5, "@a:example.org"),
        (False, 5, "@a:example.org"),
        (False, 6, "@a:example.org"),
        (False, None, "@b:example.org"),
        (True, None, ""),
    )
    async with open_any() as store:
        await step(store, first, ())
        for number, (live, deadline, customer) in enumerate(changes, 1):
            record = f"record {number}".encode()
            made = StoredRoom(A, record, live, f"phase {number}", deadline, customer, number)
            await step(store, made, ())
            assert await load_room(store, A) == msgspec.structs.replace(made, revision=number + 1)
            assert await store.live_rooms() == [A] * live
            moments = [moment for _, moment in await store.deadlines()]
            assert moments == [moment for moment in (deadline,) if moment is not None]
            assert await store.rooms_of("@b:example.org") == [A] * customer.startswith("@b")
            with pytest.raises(Stale):
                await step(store, made, ())
