"""What StorePort promises of tracing, dead letters and pruning, on all three implementations."""

from __future__ import annotations

from unittest.mock import ANY

import pytest
from msgspec.structs import replace

from bridge.ids import EventId, InputSeq
from bridge.rooms.store import (
    INBOX,
    Commit,
    Cutoffs,
    Depth,
    Entry,
    InputRow,
    Lane,
    NewEffect,
    Outcome,
    Settlement,
    Stale,
)
from tests.fakes.flow import accept, open_effects, open_inputs, settle, step
from tests.fakes.memory import dead_letters
from tests.unit.storage.conftest import Opener
from tests.unit.storage.rows import EVENT, A, B, bury, now_at, one_effect, room, said, wish


@pytest.mark.asyncio
async def test_trace_is_in_order(open_any: Opener) -> None:
    async with open_any() as store:
        (row,) = await accept(store, [said(EVENT)], 1)
        await accept(store, [said("$unrelated")], 1)
        effects = await step(
            store, room(), [row.seq], (wish(EVENT), wish(EVENT, Lane.MATRIX), wish("$other")), 2
        )
        await store.mark_attempted(effects[0], 3)
        await settle(store, A, Settlement(effects[0].seq, Outcome.REFUSED, 4, "-11"))
        await store.mark_attempted(effects[1], 5)
        await store.mark_attempted(effects[1], 6)
        lines = await store.trace(EVENT)
        assert [(x.what, x.at, x.detail) for x in lines] == [
            ("received", 1, ""),
            ("handled", 2, ""),
            ("stored", 2, "webchat"),
            ("stored", 2, "matrix"),
            ("attempted", 3, "webchat"),
            ("refused", 4, "-11"),
            ("attempted", 6, "matrix, 2x"),
        ]
        assert {x.room_id for x in lines} == {A}
        assert not any(x.repeat for x in lines)
        assert await store.trace(EventId("$nobody")) == []


@pytest.mark.asyncio
async def test_known_events_are_recognised(open_any: Opener) -> None:
    async with open_any() as store:
        await accept(store, [said("$1"), said("$2"), said('$"3')], 1)
        asked = [EventId(one) for one in ("$2", "$4", '$"3', "$5")]
        known = await store.known(asked)
        assert known.keys() == {"$2", '$"3'}
        assert known[EventId("$2")] < known[EventId('$"3')] <= await store.newest()
        row = await one_effect(store, EVENT)
        sent = Settlement(row.seq, Outcome.DELIVERED, 4, event_id=EventId("$sent"))
        await settle(store, A, sent)
        assert await store.known([EventId("$sent"), EventId("$else")]) == {"$sent": row.seq}
        assert await store.known([]) == {}


@pytest.mark.asyncio
async def test_trace_finds_the_event_that_an_effect_became(open_any: Opener) -> None:
    async with open_any() as store:
        (row,) = await step(store, room(), (), (NewEffect(Lane.MATRIX, b"x", repeat=True),), 2)
        await settle(store, A, Settlement(row.seq, Outcome.DELIVERED, 3, event_id=EVENT))
        assert [(x.what, x.repeat) for x in await store.trace(EVENT)] == [
            ("stored", True),
            ("delivered", True),
        ]


@pytest.mark.asyncio
async def test_dead_letters_are_revived_or_discarded(open_any: Opener) -> None:
    async with open_any() as store:
        inputs = await accept(store, [said("$1", body="早".encode()), said("$2")], 1)
        effects = await step(store, room(), (), (wish("$1"), wish("$2")), 2)
        await store.mark_attempted(effects[0], 3)
        await bury(store, inputs[0], "cannot be read", 4)
        await settle(store, A, Settlement(effects[0].seq, Outcome.DEAD, 5, "M_FORBIDDEN"))
        await settle(store, A, Settlement(effects[1].seq, Outcome.DEAD, 6, "M_FORBIDDEN"))
        first, second, third = await dead_letters(store)
        assert (first.id, first.room_id, first.at, first.why, first.body) == (
            f"i{inputs[0].seq}",
            A,
            4,
            "cannot be read",
            "早",
        )
        assert (second.id, second.at, second.why, second.body) == (
            f"o{effects[0].seq}",
            5,
            "M_FORBIDDEN",
            "e",
        )
        assert await dead_letters(store, 1) == [first]
        assert await open_inputs(store, A) == inputs[1:]
        assert await open_effects(store, A) == []

        assert await store.revive(first.id, 10)
        assert await store.revive(second.id, 10)
        assert await store.discard(third.id, 11)
        assert await open_inputs(store, A) == inputs
        (back,) = await open_effects(store, A)
        assert (back.seq, back.attempted, back.attempts) == (effects[0].seq, 3, 0)
        assert await dead_letters(store) == []
        assert [x.what for x in await store.trace(EventId("$1"))] == [
            "received",
            "stored",
            "attempted",
            "revived",
            "revived",
        ]
        assert [(x.what, x.at) for x in await store.trace(EventId("$2"))] == [
            ("received", 1),
            ("stored", 2),
            ("discarded", 11),
        ]


@pytest.mark.parametrize(
    "letter_id", ["", "i", "o1x", "x1", "i0", "o999999", "i-1", "i" + "9" * 30]
)
@pytest.mark.asyncio
async def test_unknown_dead_letter_cannot_be_revived(open_any: Opener, letter_id: str) -> None:
    async with open_any() as store:
        (row,) = await accept(store, [said("$1")], 1)
        assert not await store.revive(letter_id, 2)
        assert not await store.discard(letter_id, 2)
        assert not await store.revive(f"i{row.seq}", 2)
        assert await open_inputs(store, A) == [row]


@pytest.mark.asyncio
async def test_ended_input_does_not_become_a_dead_letter(open_any: Opener) -> None:
    async with open_any() as store:
        (row,) = await accept(store, [said("$1")], 1)
        await step(store, room(), [row.seq], (), 2)
        nobody = InputRow(InputSeq(10**9), A, b"", 1)
        for gone in (row, nobody):
            with pytest.raises(Stale):
                await bury(store, gone, "late", 3)
        assert await dead_letters(store) == []


@pytest.mark.asyncio
async def test_prune_erases_bodies_then_rows_and_spares_the_dead(open_any: Opener) -> None:
    async with open_any() as store:
        inputs = await accept(store, [said(f"${n}") for n in range(5)], 1)
        effects = await step(store, room(), (), [wish(f"${n}") for n in range(5)], 1)
        for number, at in ((0, 100), (1, 200), (2, 300)):
            await step(store, await now_at(store, room()), [inputs[number].seq], (), at)
            await settle(store, A, Settlement(effects[number].seq, Outcome.DELIVERED, at))
        await bury(store, inputs[3], "why", 100)
        await settle(store, A, Settlement(effects[3].seq, Outcome.DEAD, 100, "why"))

        assert await store.prune(bodies_before=300, rows_before=200, others=Cutoffs()) == 4
        assert await store.prune(bodies_before=300, rows_before=200, others=Cutoffs()) == 0
        assert await store.trace(EventId("$0")) == []
        assert len(await store.trace(EventId("$1"))) == 4
        assert await accept(store, [said("$0"), said("$1")], 400) != []
        assert [letter.body for letter in await dead_letters(store)] == ["{}", "e"]
        assert (await open_inputs(store, A))[0] == inputs[4]
        assert await open_effects(store, A) == effects[4:]
        assert await store.prune(bodies_before=1000, rows_before=1000, others=Cutoffs()) == 4
        assert len(await dead_letters(store)) == 2


@pytest.mark.asyncio
async def test_prune_takes_more_than_a_slice(open_any: Opener) -> None:
    async with open_any() as store:
        inputs = await accept(store, [said(None) for _ in range(2500)], 1)
        await step(store, room(), [row.seq for row in inputs], (), 2)
        assert await store.prune(bodies_before=10, rows_before=0, others=Cutoffs()) == 2500
        assert await store.prune(bodies_before=10, rows_before=10, others=Cutoffs()) == 2500


@pytest.mark.asyncio
async def test_numbers_are_never_given_out_twice(open_any: Opener) -> None:
    async with open_any() as store:
        (row,) = await accept(store, [said("$1")], 1)
        await step(store, room(), [row.seq], (), 2)
        await store.prune(bodies_before=10, rows_before=10, others=Cutoffs())
        (later,) = await accept(store, [said("$1")], 3)
        assert later.seq > row.seq


@pytest.mark.asyncio
async def test_unstorable_reason_does_not_prevent_a_settlement(open_any: Opener) -> None:
    async with open_any() as store:
        row = await one_effect(store, EVENT)
        await settle(store, A, Settlement(row.seq, Outcome.REFUSED, 20, "说\x00 \ud83d"))
        assert [x.detail for x in await store.trace(EVENT)][-1] == "说\ufffd ?"


@pytest.mark.asyncio
async def test_backlog_counts_open_rows(open_any: Opener) -> None:
    """Per enterprise; a room without a record counts without one."""
    async with open_any() as store:
        assert await store.backlog() == {}
        inputs = await accept(store, [said("$1"), said("$2"), said("$4")], 5)
        inputs += await accept(store, [said("$3", B)], 3)
        assert await store.backlog() == {("", INBOX): Depth(4, 3)}
        matrix = [wish("$1", Lane.MATRIX), wish("$1", Lane.MATRIX)]
        acme = replace(room(), record=b'{"enterprise":"acme","settings":"\\u0000"}')
        effects = await step(store, acme, [inputs[0].seq], [wish(), *matrix], 7)
        assert await store.backlog() == {
            ("", INBOX): Depth(1, 3),
            ("acme", INBOX): Depth(2, 5),
            ("acme", "webchat"): Depth(1, 7),
            ("acme", "matrix"): Depth(2, 7),
        }
        await settle(store, A, Settlement(effects[0].seq, Outcome.DELIVERED, 8))
        await settle(store, A, Settlement(effects[1].seq, Outcome.DEAD, 8))
        for made, dead in ((acme, inputs[2]), (replace(room(B), record=b"{}"), inputs[3])):
            await step(store, await now_at(store, made), now=8, buried=[(dead.seq, "why")])
        assert await store.backlog() == {
            ("", Outcome.DEAD.value): Depth(1, 8),
            ("acme", INBOX): Depth(1, 5),
            ("acme", "matrix"): Depth(1, 7),
            ("acme", Outcome.DEAD.value): Depth(2, 8),
        }
        letters = await dead_letters(store)
        assert sorted(one.enterprise for one in letters) == ["", "acme", "acme"]
        for one in letters:
            assert await store.letter(one.id) == replace(one, body=ANY)


@pytest.mark.asyncio
async def test_revived_row_has_the_time_of_its_revival(open_any: Opener) -> None:
    async with open_any() as store:
        row = await one_effect(store)
        await settle(store, A, Settlement(row.seq, Outcome.DEAD, 2, "gone"))
        assert await store.revive(f"o{row.seq}", 9)
        (found,) = await open_effects(store, A)
        assert found.revived == 9


@pytest.mark.asyncio
async def test_one_row_is_input_effect_and_ledger(open_any: Opener) -> None:
    """An event that is handled at once is stored in the row of its effect."""
    async with open_any() as store:
        entry = Entry(said(EVENT, body=b"in"), wish(EVENT, body=b"out"))
        (row,) = (await store.commit(Commit(A, 2, room(), [entry]))).effects
        await store.mark_attempted(row, 3)
        await settle(store, A, Settlement(row.seq, Outcome.DEAD, 4, "-11"))
        (letter,) = await dead_letters(store)
        assert (letter.id, letter.body) == (f"o{row.seq}", "out")
        assert not await store.revive(f"i{row.seq}", 5)
        assert await store.revive(letter.id, 5)
        (back,) = await open_effects(store, A)
        assert (back.cause, back.created, back.attempted) == (EVENT, 2, 3)
        assert await open_inputs(store, A) == []
        end = Settlement(row.seq, Outcome.DELIVERED, 6, event_id=EventId("$is"))
        await settle(store, A, end)
        lines = [("stored", 2), ("attempted", 3), ("revived", 5), ("delivered", 6)]
        of_event = [("received", 2), ("handled", 2), *lines]
        assert [(x.what, x.at) for x in await store.trace(EVENT)] == of_event
        assert [(x.what, x.at) for x in await store.trace(EventId("$is"))] == lines
        assert await store.body_of(A, EVENT) == b"in"
        assert await store.body_of(A, EventId("$is")) == b"out"
        assert await store.prune(bodies_before=7, rows_before=0, others=Cutoffs()) == 1
        assert await store.body_of(A, EVENT) is None
        assert await store.body_of(A, EventId("$is")) is None
        assert await store.prune(bodies_before=7, rows_before=7, others=Cutoffs()) == 1
        assert await store.trace(EVENT) == []


@pytest.mark.asyncio
async def test_each_part_of_a_row_is_forgotten_with_its_own_event(open_any: Opener) -> None:
    async with open_any() as store:
        entries = [
            Entry(said("$1", body=b"in 1"), wish("$1", body=b"of 1")),
            Entry(said("$2", body=b"in 2"), wish("$1", body=b"about 1")),
            Entry(said("$3", body=b"in 3"), wish("$3", body=b"of 3")),
        ]
        first, second, third = (await store.commit(Commit(A, 2, room(), entries))).effects
        await settle(store, A, Settlement(third.seq, Outcome.DEAD, 3))
        await store.forget_body(A, EventId("$1"))
        await store.forget_body(A, EventId("$3"))
        bodies = [await store.body_of(A, EventId(f"${n}")) for n in (1, 2, 3)]
        assert bodies == [None, b"in 2", None], "handled, though what it led to is not at an end"
        assert [row.effect for row in await open_effects(store, A)] == [b"of 1", b"about 1"]
        assert [letter.body for letter in await dead_letters(store)] == ["of 3"]
        for row, event in ((first, "$4"), (second, "$5")):
            end = Settlement(row.seq, Outcome.DELIVERED, 4, event_id=EventId(event))
            await settle(store, A, end)
        await store.forget_body(A, EventId("$2"))
        assert await store.body_of(A, EventId("$2")) is None
        assert await store.body_of(A, EventId("$5")) == b"about 1"
        await store.forget_body(A, EventId("$1"))
        assert [await store.body_of(A, EventId(event)) for event in ("$4", "$5")] == [None, None]


@pytest.mark.asyncio
async def test_recently_posted_events_of_a_room(open_any: Opener) -> None:
    """Effects that became an event, and events that have rows of their own."""
    async with open_any() as store:
        pushed = wish("p", Lane.MATRIX, b"relay")
        (relay,) = await step(store, room(), (), (pushed,), 2)
        part, said_to = said("$part", body=b"part"), Entry(said("$2", body=b"in"), wish("$2"))
        settled = [Settlement(relay.seq, Outcome.DELIVERED, 3, event_id=EVENT)]
        commit = Commit(A, 3, entries=[Entry(part), said_to], settled=settled)
        (carried,) = (await store.commit(commit)).effects
        await accept(store, [said("$other", room_id=B)], 4)
        assert await store.posted(A, carried.seq, 0) == [
            ("$part", b"part", 3),
            (EVENT, b"relay", 2),
        ]
        # Effects before the given one only; a part is stored only once its message was sent.
        assert await store.posted(A, relay.seq, 0) == [("$part", b"part", 3)]
        assert await store.posted(A, carried.seq, 1 << 50) == []
        await store.prune(bodies_before=9, rows_before=0, others=Cutoffs())
        assert await store.posted(A, carried.seq, 0) == []
