"""Steps that store what they were made of: fresh inputs, the end of a row, calls under way."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from bridge.ids import EventId, RoomId
from bridge.rooms.store import Outcome, Settlement, Stale, Step, Unstorable
from tests.unit.storage.conftest import Opener
from tests.unit.storage.rows import EVENT, A, B, now_at, one_effect, room, said, wish

C = RoomId("!c:example.org")
ONE = EventId("$1")


@pytest.mark.asyncio
async def test_fresh_inputs_are_stored_as_handled(open_any: Opener) -> None:
    async with open_any() as store:
        step = Step(room(), (), (wish("$1"),), 7, fresh=[said("$1", body=b"one"), said(None)])
        (row,) = await store.commit_step(step)
        assert await store.open_inputs(A) == []
        assert await store.open_outbox(A) == [row]
        assert await store.body_of(A, ONE) == b"one"
        assert await store.accept([said("$1")], 8) == [], "it is known now"
        assert [line.what for line in await store.trace(ONE)][:2] == [
            "received",
            "handled",
        ]


@pytest.mark.asyncio
async def test_a_fresh_input_that_is_known_makes_the_step_stale(open_any: Opener) -> None:
    async with open_any() as store:
        await store.accept([said("$1")], 1)
        for fresh in ([said("$2"), said("$1")], [said("$3"), said("$3")]):
            with pytest.raises(Stale):
                await store.commit_step(Step(room(), (), (wish(),), 2, fresh=fresh))
        assert await store.room(A) is None
        assert await store.open_outbox(A) == []
        assert len(await store.accept([said("$2"), said("$3")], 3)) == 2


@pytest.mark.asyncio
async def test_a_row_ends_with_the_step_that_it_leads_to(open_any: Opener) -> None:
    async with open_any() as store:
        row = await one_effect(store)
        end = Settlement(
            row.seq, Outcome.DELIVERED, 9, event_id=EVENT, anchor="card", inputs=[said(None)]
        )
        stored = await now_at(store, room())
        (after,) = await store.commit_step(Step(stored, (), (wish(),), 9, settled=end))
        assert await store.open_outbox(A) == [after]
        assert await store.open_inputs(A) == [], "what it brought has happened"
        assert await store.anchor(A, "card") == EVENT
        assert await store.settle(end) == []
        with pytest.raises(Stale):
            await store.commit_step(
                Step(await now_at(store, room()), (), (wish(),), 9, settled=end)
            )
        assert await store.open_outbox(A) == [after]


@pytest.mark.asyncio
async def test_a_call_may_be_stored_as_attempted(open_any: Opener) -> None:
    """Whoever stores it knows that nothing was tried; whoever reads it does not."""
    async with open_any() as store:
        call = msgspec.structs.replace(wish(), attempted=True)
        (row,) = await store.commit_step(Step(room(), (), (call,), 5))
        assert (row.marked, row.attempted, row.attempts) == (True, None, 0)
        (found,) = await store.open_outbox(A)
        assert (found.marked, found.attempted, found.attempts) == (False, 5, 1)


@pytest.mark.asyncio
async def test_one_stale_step_does_not_take_its_neighbours_with_it(open_any: Opener) -> None:
    async with open_any() as store:
        await store.accept([said("$known", B)], 1)
        steps = [
            Step(room(), (), (wish(),), 2, fresh=[said("$1")]),
            Step(room(B), (), (wish(),), 2, fresh=[said("$known", B)]),
            Step(
                room(C),
                (),
                (wish(),),
                2,
                fresh=[said("$\ud800", C)],
            ),
        ]
        answers = await asyncio.gather(*map(store.commit_step, steps), return_exceptions=True)
        assert isinstance(answers[0], list)
        assert isinstance(answers[1], Stale)
        assert isinstance(answers[2], Unstorable)
        assert await store.busy_rooms() == [B, A]
