"""A room's state in the engine's memory, and as loaded from the database, to be compared.

The tests of recovery know only through this module how a room is represented.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from bridge.ids import RoomId
from bridge.rooms.effects import StoredEffect
from bridge.rooms.engine import Engine
from bridge.rooms.record import RoomInput, RoomRecord, load_input, load_record
from bridge.rooms.store import EffectRow, InputRow, Lane
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import in_turn, load_effect, recovered


class Room(msgspec.Struct, frozen=True):
    """The state of a room that determines its further behaviour."""

    record: RoomRecord
    inputs: tuple[RoomInput, ...]
    """Stored unhandled inputs, in order."""
    work: tuple[tuple[Lane, tuple[Work, ...]], ...]
    """Waiting and running effects of each lane, in order."""


class Work(msgspec.Struct, frozen=True):
    """An effect without an outcome."""

    effect: StoredEffect
    call_id: int | None
    repeat: bool
    cause: str | None


async def live(engine: Engine, room_id: RoomId) -> Room | None:
    """Return the room in memory, None if it is not loaded or has unstored changes."""
    room = engine._rooms.get(room_id)
    if room is None or room.behind or room._committing is not None or not room._draft.empty:
        return None
    effects = [row for lane in Lane for row in room.rows(lane)]
    return _room(room.record, room._inputs.values(), effects)


async def loaded(around: Surroundings, room_id: RoomId) -> Room:
    """Return the room as a starting process would load it."""
    found = await around.store.load(room_id)
    record = RoomRecord(room_id)
    if found.room is not None:
        record = recovered(load_record(found.room.record), found)
    return _room(record, in_turn({}, found.inputs).values(), found.effects)


def _room(record: RoomRecord, inputs: Iterable[InputRow], effects: Sequence[EffectRow]) -> Room:
    work = {lane: tuple(_work(row) for row in effects if row.lane is lane) for lane in Lane}
    return Room(record, tuple(load_input(row.body) for row in inputs), tuple(work.items()))


def _work(row: EffectRow) -> Work:
    return Work(load_effect(row.effect), row.call_id, row.repeat, row.cause)
