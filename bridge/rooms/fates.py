"""What became of the messages that people sent, as far as a room remembers it. Pure.

Two things follow from it: how far the room shows our users as having read (`receipts`), and which
messages can be sent again (`again`). Both are kept in the room's record, so they are stored in the
same transaction as the step that found them out.

A receipt means "read up to here". The conversation delivers in the order in which things were
typed, so the newest delivered message is never ahead of one that still waits. What was reported to
its sender as undelivered may lie before it: that person has been told in words.
"""

from __future__ import annotations

import msgspec

from bridge.conversation.events import Delivered, Reported
from bridge.ids import EventId
from bridge.rooms.effects import Effect
from bridge.rooms.record import RoomRecord, Undelivered

KEPT_UNDELIVERED = 20
"""Messages of a room that can be sent again; the oldest go first."""

_HOPELESS = frozenset(
    {"undelivered.blank", "undelivered.too_big", "undelivered.extension", "undelivered.media_gone"}
    | {"undelivered.internal", "undelivered.media_changed", "undelivered.too_big_limit"}
    | {f"result.-{code}" for code in (12, 16, 17, 21)}
)
"""What comes to the same the next time, with WebChat or with us."""
_SEALED = (
    *("unreadable.no_key", "unreadable.unknown_device"),
    *("unreadable.undecryptable", "unreadable.withheld."),
)
"""What may have become readable since."""


def can_be_sent_again(key: str) -> bool:
    """True if a message that was answered with this sentence may do better the next time."""
    if key.startswith(_SEALED):
        return True
    return key.startswith(("undelivered.", "result.")) and key not in _HOPELESS


def noted(record: RoomRecord, effect: Effect) -> RoomRecord:
    """The record, once it is known what this effect says of a message."""
    match effect:
        case Delivered(event_id=event_id):
            return _delivered(record, event_id)
        case Reported(event_id=event_id, key=key) if can_be_sent_again(key):
            return _reported(record, event_id)
        case Reported(event_id=event_id):
            return forgotten(record, event_id)
        case _:
            return record


def undelivered(record: RoomRecord, event_id: EventId | None) -> Undelivered | None:
    """What is remembered of a message that did not arrive; None if it did, or nothing is."""
    return next((one for one in record.undelivered if one.event_id == event_id), None)


def sent_again(record: RoomRecord, event_id: EventId) -> RoomRecord:
    """That message is under way once more."""
    return _with_undelivered(
        record,
        tuple(
            msgspec.structs.replace(one, again=True) if one.event_id == event_id else one
            for one in record.undelivered
        ),
    )


def forgotten(record: RoomRecord, event_id: EventId) -> RoomRecord:
    """That message cannot be sent again any more."""
    if undelivered(record, event_id) is None:
        return record
    return _with_undelivered(
        record, tuple(one for one in record.undelivered if one.event_id != event_id)
    )


def _delivered(record: RoomRecord, event_id: EventId) -> RoomRecord:
    known = undelivered(record, event_id)
    record = forgotten(record, event_id)
    if known is not None and known.passed:
        return record
    record = msgspec.structs.replace(record, read_up_to=event_id)
    if all(one.passed for one in record.undelivered):
        return record
    return _with_undelivered(
        record, tuple(msgspec.structs.replace(one, passed=True) for one in record.undelivered)
    )


def _reported(record: RoomRecord, event_id: EventId) -> RoomRecord:
    known = undelivered(record, event_id)
    passed = known is not None and known.passed
    others = [one for one in record.undelivered if one.event_id != event_id]
    kept = (*others, Undelivered(event_id, passed))[-KEPT_UNDELIVERED:]
    return _with_undelivered(record, kept)


def _with_undelivered(record: RoomRecord, kept: tuple[Undelivered, ...]) -> RoomRecord:
    return msgspec.structs.replace(record, undelivered=kept)
