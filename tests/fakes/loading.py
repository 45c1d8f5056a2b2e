"""A room as the engine has it in memory, and as one that starts now would read it.

Whoever changes how a room is kept changes it here, and nowhere else in the tests of recovery.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from bridge.ids import RoomId
from bridge.rooms.engine import Engine
from bridge.rooms.record import RoomRecord, Stored, load_input, load_record
from bridge.rooms.store import EffectRow, InputRow, Lane
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import StoredEffect, in_turn, load_effect, recovered


class Room(msgspec.Struct, frozen=True):
    """What of a room decides how it goes on."""

    record: RoomRecord
    inputs: tuple[Stored, ...]
    """Those that are stored and not handled, in order."""
    work: tuple[tuple[Lane, tuple[Work, ...]], ...]
    """What is to be carried out or is being carried out, in order, of each lane."""


class Work(msgspec.Struct, frozen=True):
    """An effect without an outcome."""

    effect: StoredEffect
    call_id: int | None
    repeat: bool
    cause: str | None


async def live(engine: Engine, room_id: RoomId) -> Room | None:
    """The room in memory, once all that it has come to is stored; None if it is not there."""
    room = engine._rooms.get(room_id)
    if room is None or room.behind or room._on_its_way is not None or not room._draft.empty:
        return None
    effects = [row for lane in Lane for row in room.rows(lane)]
    return _room(room.record, room._inputs.values(), effects)


async def loaded(around: Surroundings, room_id: RoomId) -> Room:
    """The room as a process would read it that starts now, in these surroundings."""
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
