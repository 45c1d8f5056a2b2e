"""A room as the engine has it in memory, and as one that starts now would read it.

Whoever changes how a room is kept changes it here, and nowhere else in the tests of recovery.
"""

from __future__ import annotations

import msgspec
from bridge.rooms.inputs import Stored
from bridge.rooms.mirror import Mirror
from bridge.rooms.serial import StoredEffect, load_effect, load_input

from bridge.ids import RoomId
from bridge.rooms.engine import Engine
from bridge.rooms.record import RoomRecord
from bridge.rooms.store import Lane, OutboxRow
from bridge.rooms.surroundings import Surroundings


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
    worker = engine._workers.get(room_id)
    if worker is None or worker._mirror.behind:
        return None
    return _room(worker._mirror)


async def loaded(around: Surroundings, room_id: RoomId) -> Room:
    """The room as a process would read it that starts now, in these surroundings."""
    mirror = Mirror(room_id)
    await mirror.catch_up(around.store)
    return _room(mirror)


def _room(mirror: Mirror) -> Room:
    return Room(
        mirror.record,
        tuple(load_input(row.body) for row in mirror.inputs(1_000_000)),
        tuple((lane, tuple(map(_work, _rows(mirror, lane)))) for lane in Lane),
    )


def _rows(mirror: Mirror, lane: Lane) -> list[OutboxRow]:
    first = mirror.first(lane)
    return [] if first is None else [first, *mirror.later_rows(first)]


def _work(row: OutboxRow) -> Work:
    return Work(load_effect(row.effect), row.call_id, row.repeat, row.cause)
