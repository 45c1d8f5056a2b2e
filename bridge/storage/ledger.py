"""The ledger's lines, made from stored rows; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from bridge.ids import RoomId
from bridge.rooms.store import TraceRow

_LETTER = re.compile(r"([io])([0-9]{1,18})", re.ASCII)


class Fate(NamedTuple):
    """What the journal knows of a row, but for its content."""

    room_id: RoomId
    key: str | None
    received: int
    handled: int | None
    lane: str | None
    attempted: int | None
    attempts: int
    repeat: bool
    revived: int | None
    outcome: str | None
    settled: int | None
    detail: str


def lines(event_id: str, fates: Iterable[Fate]) -> list[TraceRow]:
    """All lines of an event in order of time; of one moment, what came first, then the effects."""
    inputs: list[TraceRow] = []
    effects: list[TraceRow] = []
    for fate in fates:
        if fate.key == event_id:
            inputs += _as_input(fate)
        if fate.lane is not None:
            effects += _as_effect(fate, fate.lane)
    return sorted(inputs + effects, key=lambda line: line.at)


def _as_input(fate: Fate) -> Iterable[TraceRow]:
    yield TraceRow("received", fate.received, fate.room_id)
    if fate.handled is not None:
        if fate.lane is None and fate.revived is not None:
            yield TraceRow("revived", fate.revived, fate.room_id)
        yield TraceRow("handled", fate.handled, fate.room_id)
    else:
        yield from _ending(fate, repeat=False)


def _as_effect(fate: Fate, lane: str) -> Iterable[TraceRow]:
    repeat = bool(fate.repeat)
    yield TraceRow("stored", fate.handled or fate.received, fate.room_id, lane, repeat)
    if fate.attempted is not None:
        detail = lane if fate.attempts < 2 else f"{lane}, {fate.attempts}x"
        yield TraceRow("attempted", fate.attempted, fate.room_id, detail, repeat)
    yield from _ending(fate, repeat=repeat)


def _ending(fate: Fate, *, repeat: bool) -> Iterable[TraceRow]:
    if fate.revived is not None:
        yield TraceRow("revived", fate.revived, fate.room_id, "", repeat)
    if fate.outcome is not None and fate.settled is not None:
        yield TraceRow(fate.outcome, fate.settled, fate.room_id, fate.detail, repeat)


def letter(letter_id: str) -> tuple[str, int] | None:
    """Split a dead letter's id into its box (`i` or `o`) and its row; None if it is none."""
    match = _LETTER.fullmatch(letter_id)
    return (match[1], int(match[2])) if match else None


def printable(text: str) -> str:
    """Make a reason storable anywhere: a peer's words may hold NUL or half a surrogate pair.

    A reason that cannot be stored would keep its row from ever being settled.
    """
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def readable(body: bytes | None) -> str:
    """A stored body as an operator may see it; empty once erased."""
    return (body or b"").decode("utf-8", "replace")
