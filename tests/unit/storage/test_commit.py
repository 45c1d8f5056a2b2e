"""Writes of several rooms share a transaction; each room's commit is all or nothing."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from bridge.ids import EventId, RoomId
from bridge.rooms.store import (
    ChatRow,
    Commit,
    Committed,
    Entry,
    GhostRow,
    Lane,
    Loaded,
    Outcome,
    SecretRow,
    Settlement,
    Stale,
    Unstorable,
)
from tests.fakes.flow import accept, every, load_room, open_effects, open_inputs, settle, step
from tests.fakes.memory import dead_letters
from tests.unit.storage.conftest import Opener, SqlOpener
from tests.unit.storage.rows import EVENT, A, B, now_at, one_effect, room, said, wish

C = RoomId("!c:example.org")
ONE = EventId("$1")
NOTHING = Committed([], [])


@pytest.mark.asyncio
async def test_fresh_inputs_are_stored_as_handled(open_any: Opener) -> None:
    async with open_any() as store:
        fresh = [said("$1", body=b"one"), said(None)]
        (row,) = await step(store, room(), (), (wish("$1"),), 7, fresh=fresh)
        assert await open_inputs(store, A) == []
        assert await open_effects(store, A) == [row]
        assert await store.body_of(A, ONE) == b"one"
        assert await accept(store, [said("$1")], 8) == [], "it is known now"
        assert [line.what for line in await store.trace(ONE)][:2] == [
            "received",
            "handled",
        ]


@pytest.mark.asyncio
async def test_a_fresh_input_that_is_known_makes_the_step_stale(open_any: Opener) -> None:
    async with open_any() as store:
        await accept(store, [said("$1")], 1)
        for fresh in ([said("$2"), said("$1")], [said("$3"), said("$3")]):
            with pytest.raises(Stale):
                await step(store, room(), (), (wish(),), 2, fresh=fresh)
        assert await load_room(store, A) is None
        assert await open_effects(store, A) == []
        assert len(await accept(store, [said("$2"), said("$3")], 3)) == 2


@pytest.mark.asyncio
async def test_effect_is_settled_with_the_step_that_it_leads_to(open_any: Opener) -> None:
    async with open_any() as store:
        row = await one_effect(store)
        end = Settlement(row.seq, Outcome.DELIVERED, 9, event_id=EVENT, anchor="card")
        stored = await now_at(store, room())
        (after,) = await step(store, stored, (), (wish(),), 9, settled=[end])
        assert await open_effects(store, A) == [after]
        assert await open_inputs(store, A) == []
        assert await store.anchor(A, "card") == EVENT
        with pytest.raises(Stale):
            await settle(store, A, end)
        with pytest.raises(Stale):
            await step(store, await now_at(store, room()), (), (wish(),), 9, settled=[end])
        assert await open_effects(store, A) == [after]


@pytest.mark.asyncio
async def test_a_call_may_be_stored_as_attempted(open_any: Opener) -> None:
    """The process that stores it knows that nothing was tried; one that reads it does not."""
    async with open_any() as store:
        call = msgspec.structs.replace(wish(), marked=True)
        (row,) = await step(store, room(), (), (call,), 5)
        assert (row.marked, row.attempted, row.attempts) == (True, None, 0)
        (found,) = await open_effects(store, A)
        assert (found.marked, found.attempted, found.attempts) == (False, 5, 1)


@pytest.mark.asyncio
async def test_stale_step_does_not_fail_other_steps(open_any: Opener) -> None:
    async with open_any() as store:
        await accept(store, [said("$known", B)], 1)
        fresh = [said("$1"), said("$known", B), said("$\ud800", C)]
        steps = [step(store, room(new.room_id), (), (wish(),), 2, fresh=[new]) for new in fresh]
        answers = await asyncio.gather(*steps, return_exceptions=True)
        assert isinstance(answers[0], list)
        assert isinstance(answers[1], Stale)
        assert isinstance(answers[2], Unstorable)
        assert await store.busy_rooms() == [B, A]


@pytest.mark.asyncio
async def test_faulty_commits_among_those_of_300_rooms_fail_alone(open_any: Opener) -> None:
    rooms = [RoomId(f"!{n}") for n in range(300)]

    def commit(number: int) -> Commit:
        made, new = room(rooms[number]), said(f"${number}", rooms[number])
        if number == 17:
            made = msgspec.structs.replace(made, revision=4)
        if number == 250:
            new = said("$\ud800", rooms[number])
        return Commit(rooms[number], 2, made, [Entry(new, wish())], [said(None, rooms[number])])

    async with open_any() as store:
        answers = await every(store, [commit(number) for number in range(300)])
        assert isinstance(answers[17], Stale)
        assert isinstance(answers[250], Unstorable)
        for number, answer in enumerate(answers):
            loaded = await store.load(rooms[number])
            if number in {17, 250}:
                assert loaded == Loaded(None, [], [])
                continue
            assert isinstance(answer, Committed)
            assert loaded.room == msgspec.structs.replace(room(rooms[number]), revision=1)
            assert (loaded.inputs, loaded.effects) == (answer.waiting, answer.effects)
            assert len(answer.effects) == len(answer.waiting) == 1


@pytest.mark.asyncio
async def test_one_key_in_two_rooms_at_once_is_new_in_one(open_any: Opener) -> None:
    async with open_any() as store:
        twice = [Commit(one, 1, room(one), [Entry(said("$1", one), wish())]) for one in (A, B)]
        first, second = await every(store, twice)
        assert isinstance(first, Committed)
        assert isinstance(second, Stale)
        assert await store.live_rooms() == [A]


@pytest.mark.asyncio
async def test_empty_commits_write_nothing(open_any: Opener) -> None:
    async with open_any() as store:
        assert await every(store, []) == []
        assert await every(store, [Commit(A, 1), Commit(B, 1)]) == [NOTHING, NOTHING]
        several = await asyncio.gather(*(every(store, [Commit(A, 1)]) for _ in range(3)))
        assert several == [[NOTHING]] * 3
        full = Commit(B, 1, room(B), [Entry(said("$1", B))], [said("$1", B)])
        assert await every(store, [Commit(A, 1), full]) == [NOTHING, NOTHING]
        assert await store.busy_rooms() == []


@pytest.mark.asyncio
async def test_rows_are_numbered_in_the_order_given(open_any: Opener) -> None:
    """Per room: the rows of its entries in order, then its waiting inputs in order."""
    rooms = [RoomId(f"!{n}") for n in range(40)]

    def commit(one: RoomId) -> Commit:
        entries = [
            Entry(said(f"{one}a", one), wish(f"{one}a", body=b"0")),
            Entry(effect=wish(lane=Lane.MATRIX, body=b"1")),
            Entry(said(f"{one}b", one)),
            Entry(said(None, one), wish(body=b"2")),
        ]
        keys = [f"{one}x", None, f"{one}a", f"{one}x", f"{one}y", None, "$known"]
        waiting = [said(key, one, b"%d" % at) for at, key in enumerate(keys)]
        return Commit(one, 5, None, entries, waiting)

    async with open_any() as store:
        await accept(store, [said("$known")], 1)
        answers = await every(store, list(map(commit, rooms)))
        seen: list[int] = []
        for one, answer in zip(rooms, answers, strict=True):
            assert isinstance(answer, Committed)
            assert [row.effect for row in answer.effects] == [b"0", b"1", b"2"]
            assert [row.body for row in answer.waiting] == [b"0", b"1", b"4", b"5"]
            loaded = await store.load(one)
            assert (loaded.inputs, loaded.effects) == (answer.waiting, answer.effects)
            mine = [row.seq for row in answer.effects] + [row.seq for row in answer.waiting]
            assert mine == sorted(mine)
            seen += mine
        assert len(set(seen)) == len(seen) == 40 * 7


@pytest.mark.asyncio
async def test_commit_writes_all_kinds_of_rows_of_a_room(open_any: Opener) -> None:
    async with open_any() as store:
        first, second = await accept(store, [said("$1"), said("$2")], 1)
        (effect,) = await step(store, room(), effects=[wish()], now=2)
        commit = Commit(
            A,
            3,
            msgspec.structs.replace(room(deadline=9), revision=1),
            [Entry(said("$3"), wish("$3"))],
            [said("$4")],
            [first.seq],
            [(second.seq, "KeyError")],
            [Settlement(effect.seq, Outcome.DELIVERED, 3, event_id=EVENT, anchor="card")],
            [ChatRow(1, b"chat")],
        )
        (answer,) = await every(store, [commit])
        assert isinstance(answer, Committed)
        (answer,) = await every(store, [commit])
        assert isinstance(answer, Stale)
        loaded = await store.load(A)
        assert loaded.room == msgspec.structs.replace(room(deadline=9), revision=2)
        assert [row.key for row in loaded.inputs] == ["$4"]
        assert [row.cause for row in loaded.effects] == ["$3"]
        assert [letter.id for letter in await dead_letters(store)] == [f"i{second.seq}"]
        assert await store.anchor(A, "card") == EVENT
        assert await store.chats(A, 9) == [ChatRow(1, b"chat")]


@pytest.mark.asyncio
async def test_other_writes_share_the_transaction(open_sql: SqlOpener) -> None:
    """Commits beside all other kinds of writes; one is stale, and refused alone."""
    async with open_sql() as store:
        (effect,) = await step(store, room(), effects=[wish()])
        known = await accept(store, [said("$known")], 1)
        end = Settlement(effect.seq, Outcome.DELIVERED, 8, event_id=EVENT)
        (settled,), (of_b, of_c), (stale,), revived, *_ = await asyncio.gather(
            every(store, [Commit(A, 8, settled=[end])]),
            every(store, [Commit(B, 8, room(B), [Entry(said("$1", B), wish())]), Commit(C, 8)]),
            every(store, [Commit(C, 8, room(C), [Entry(said("$known", C))])]),
            store.revive("i999", 9),
            asyncio.gather(
                store.save_fact("fact", "1"),
                store.mark_attempted(effect, 7),
                store.save_ghost(GhostRow("@g:x", "林")),
                store.save_secrets([SecretRow("s", b"1")]),
            ),
        )
        assert (settled, of_c, revived) == (NOTHING, NOTHING, False)
        assert isinstance(of_b, Committed)
        assert isinstance(stale, Stale)
        assert await store.fact("fact") == "1"
        assert await store.secret("s") == b"1"
        assert await store.ghost("@g:x") is not None
        assert [(line.what, line.at) for line in await store.trace(EVENT)] == [
            ("stored", 0),
            ("attempted", 7),
            ("delivered", 8),
        ], "the attempt precedes the end"
        assert await open_effects(store, B) == of_b.effects
        assert await open_inputs(store, A) == known
        assert (await store.load(C)).room is None
