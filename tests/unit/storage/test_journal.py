"""The upgrade from inbox and outbox to one journal: no data is lost or changed.

The rows are as the earlier schema wrote them; the expected values were read by that version.
"""

from __future__ import annotations

import pytest

from bridge.ids import EffectSeq, EventId
from bridge.rooms.store import INBOX, Cutoffs, DeadLetter, Depth, EffectRow, InputRow, Lane, Outcome
from bridge.storage.migrate import known, migrate
from bridge.storage.query import Query, Statement, same
from bridge.storage.sqlstore import engine_for, open_store
from tests.fakes.flow import accept, open_effects, open_inputs, step
from tests.fakes.memory import dead_letters
from tests.unit.storage.conftest import FixedClock
from tests.unit.storage.rows import A, B, room, said, wish

pytestmark = pytest.mark.asyncio

INPUT = same(
    "INSERT INTO inbox (room_id, key, body, received, outcome, settled, detail, revived) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
)
INPUTS: list[tuple[object, ...]] = [
    (A, "$open", b"open", 10, None, None, "", None),
    (A, "$done", b"done", 11, "handled", 20, "", None),
    (A, "$erased", None, 12, "handled", 21, "", None),
    (B, "$dead", b"dead", 13, "dead", 30, "KeyError", None),
    (B, "$gone", b"gone", 14, "discarded", 31, "KeyError", None),
    (B, "$back", b"back", 15, None, None, "", 40),
    (B, "$again", b"again", 16, "handled", 50, "", 40),
    (B, None, b"nameless", 17, "handled", 51, "", None),
]
EFFECT = same(
    "INSERT INTO outbox (room_id, lane, effect, created, attempted, attempts, cause, call_id, "
    "repeat, outcome, settled, detail, event_id, revived) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
)
EFFECTS: list[tuple[object, ...]] = [
    (A, "webchat", b"1", 20, None, 0, "$done", 7, False, None, None, "", None, None),
    (A, "matrix", b"2", 20, 22, 2, "$done", None, True, None, None, "", None, None),
    (A, "matrix", b"3", 20, 23, 1, "$done", None, False, "delivered", 24, "", "$is", None),
    (B, "webchat", b"4", 20, 25, 1, "$erased", 8, False, "dead", 33, "-11", None, None),
    (B, "matrix", None, 21, 26, 1, None, None, False, "refused", 27, "M_X", "$was", None),
    (B, "aside", b"6", 22, 28, 0, "$back", None, False, None, None, "", None, 41),
    (B, "matrix", b"7", 22, None, 0, "$gone", None, False, "discarded", 34, "no", None, None),
]
TRACES = {
    "$open": [("received", 10, "", False)],
    "$done": [
        ("received", 11, "", False),
        ("handled", 20, "", False),
        ("stored", 20, "webchat", False),
        ("stored", 20, "matrix", True),
        ("stored", 20, "matrix", False),
        ("attempted", 22, "matrix, 2x", True),
        ("attempted", 23, "matrix", False),
        ("delivered", 24, "", False),
    ],
    "$erased": [
        ("received", 12, "", False),
        ("stored", 20, "webchat", False),
        ("handled", 21, "", False),
        ("attempted", 25, "webchat", False),
        ("dead", 33, "-11", False),
    ],
    "$dead": [("received", 13, "", False), ("dead", 30, "KeyError", False)],
    "$gone": [
        ("received", 14, "", False),
        ("stored", 22, "matrix", False),
        ("discarded", 31, "KeyError", False),
        ("discarded", 34, "no", False),
    ],
    "$back": [
        ("received", 15, "", False),
        ("stored", 22, "aside", False),
        ("attempted", 28, "aside", False),
        ("revived", 40, "", False),
        ("revived", 41, "", False),
    ],
    "$again": [
        ("received", 16, "", False),
        ("revived", 40, "", False),
        ("handled", 50, "", False),
    ],
    "$is": [
        ("stored", 20, "matrix", False),
        ("attempted", 23, "matrix", False),
        ("delivered", 24, "", False),
    ],
    "$was": [
        ("stored", 21, "matrix", False),
        ("attempted", 26, "matrix", False),
        ("refused", 27, "M_X", False),
    ],
}
BODIES = {
    (A, "$open"): b"open", (A, "$done"): b"done", (A, "$erased"): None, (B, "$dead"): b"dead",
    (A, "$is"): b"3", (B, "$is"): None, (B, "$was"): None, (B, "$again"): b"again",
}  # fmt: skip


async def make_former(url: str, *rows: tuple[Statement, tuple[object, ...]]) -> None:
    """Create a database of schema 6 with these rows."""
    engine = engine_for(url, FixedClock())
    await engine.open()
    try:
        await migrate(engine, 1, known(engine.dialect)[:6])
        await engine.migrate([Query(*row) for row in rows])
    finally:
        await engine.close()


async def make_full(url: str) -> None:
    inputs = [(INPUT, row) for row in INPUTS]
    await make_former(url, *inputs, *((EFFECT, row) for row in EFFECTS))


async def test_open_inputs_and_effects_survive_the_upgrade(url: str) -> None:
    """Effects keep their numbers, which are part of Matrix transaction ids."""
    await make_full(url)
    async with open_store(url, FixedClock()) as store:
        assert await open_effects(store, A) == [
            EffectRow(EffectSeq(1), A, Lane.WEBCHAT, b"1", 20, cause="$done", call_id=7),
            EffectRow(EffectSeq(2), A, Lane.MATRIX, b"2", 20, 22, 2, "$done", repeat=True),
        ]
        assert await open_effects(store, B) == [
            EffectRow(EffectSeq(6), B, Lane.ASIDE, b"6", 22, 28, 0, "$back", revived=41)
        ]
        (waiting,) = await open_inputs(store, A)
        assert waiting == InputRow(waiting.seq, A, b"open", 10, "$open")
        (back,) = await open_inputs(store, B)
        assert back == InputRow(back.seq, B, b"back", 15, "$back")
        assert len(EFFECTS) < waiting.seq < back.seq
        assert await store.busy_rooms() == [A, B]
        lanes = {Lane.WEBCHAT: Depth(1, 20), Lane.MATRIX: Depth(1, 20), Lane.ASIDE: Depth(1, 22)}
        kinds = {INBOX: Depth(2, 10), **{lane.value: one for lane, one in lanes.items()}}
        backlog = dict(await store.backlog())
        assert backlog.pop(("", Outcome.DEAD.value)).count == 2
        assert backlog == {("", what): depth for what, depth in kinds.items()}
        assert await accept(store, [said(str(row[1])) for row in INPUTS if row[1]], 90) == []
        (new,) = await step(store, room(), [waiting.seq], [wish()], 91)
        assert new.seq > back.seq + 2


async def test_traces_and_bodies_survive_the_upgrade(url: str) -> None:
    await make_full(url)
    async with open_store(url, FixedClock()) as store:
        for event, lines in TRACES.items():
            found = await store.trace(EventId(event))
            assert [(x.what, x.at, x.detail, x.repeat) for x in found] == lines, event
        for (room_id, event), body in BODIES.items():
            assert await store.body_of(room_id, EventId(event)) == body, event
        await store.forget_body(A, EventId("$done"))
        assert await store.body_of(A, EventId("$done")) is None
        assert await store.body_of(A, EventId("$is")) is None
        assert len(await open_effects(store, A)) == 2


async def test_dead_letters_survive_the_upgrade(url: str) -> None:
    """Dead inputs have new ids, as inputs have new numbers."""
    await make_full(url)
    async with open_store(url, FixedClock()) as store:
        first, second = await dead_letters(store)
        assert first == DeadLetter(first.id, B, 30, "KeyError", "dead")
        assert second == DeadLetter("o4", B, 33, "-11", "4")
        assert first.id[0] == "i"
        assert not await store.revive("i4", 60), "the id before the upgrade"
        assert await store.revive(first.id, 60)
        assert await store.revive(second.id, 61)
        assert await dead_letters(store) == []
        assert [row.key for row in await open_inputs(store, B)] == ["$dead", "$back"]
        assert [row.seq for row in await open_effects(store, B)] == [4, 6]


async def test_pruning_works_after_the_upgrade(url: str) -> None:
    """Bodies of rows ended before 32, and rows ended before 25; neither dead nor open ones."""
    await make_full(url)
    async with open_store(url, FixedClock()) as store:
        rows = {"$done", "$erased"}, {"$gone"}  # and the effect that was delivered; one is erased
        assert (
            await store.prune(bodies_before=32, rows_before=25, others=Cutoffs())
            == len(rows[0]) + 1 + 1
        )
        assert await store.prune(bodies_before=32, rows_before=25, others=Cutoffs()) == 0
        assert await store.trace(EventId("$is")) == []
        assert await store.body_of(B, EventId("$gone")) is None
        assert len(await store.trace(EventId("$gone"))) == len(TRACES["$gone"])
        assert len(await dead_letters(store)) == 2
        assert len(await open_effects(store, A)) == 2


@pytest.mark.parametrize("last", [0, 3])
async def test_new_numbers_are_above_those_of_pruned_effects(url: str, last: int) -> None:
    """The homeserver would take a message with a used number for a repetition."""
    forget = same("DELETE FROM outbox WHERE seq > $1")
    await make_former(url, *((EFFECT, row) for row in EFFECTS), (forget, (last,)))
    async with open_store(url, FixedClock()) as store:
        assert [row.seq for row in await open_effects(store, A)] == [1, 2][:last]
        (effect,) = await step(store, room(), (), [wish()], 91)
        assert effect.seq > len(EFFECTS)


async def test_an_empty_database_is_upgraded(url: str) -> None:
    await make_former(url)
    async with open_store(url, FixedClock()) as store:
        (row,) = await accept(store, [said("$1")], 1)
        assert row.seq >= 1
        assert await store.prune(9, 9, Cutoffs()) == 0
