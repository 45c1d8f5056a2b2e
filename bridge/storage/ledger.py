"""The ledger's lines, made from stored rows; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from bridge.ids import RoomId
from bridge.rooms.store import TraceRow

_LETTER = re.compile(r"([io])([0-9]{1,18})", re.ASCII)


class InputFate(NamedTuple):
    """What the inbox knows of an input, but for its content."""

    room_id: RoomId
    received: int
    revived: int | None
    outcome: str | None
    settled: int | None
    detail: str


class OutboxFate(NamedTuple):
    """What the outbox knows of an effect, but for its content."""

    room_id: RoomId
    lane: str
    created: int
    attempted: int | None
    attempts: int
    repeat: bool
    revived: int | None
    outcome: str | None
    settled: int | None
    detail: str


def lines(inputs: Iterable[InputFate], outbox: Iterable[OutboxFate]) -> list[TraceRow]:
    """All lines in order of time; of one moment, the inbox's first, then the outbox's by row."""
    found: list[TraceRow] = []
    for fate in inputs:
        found.append(TraceRow("received", fate.received, fate.room_id))
        found += _ending(fate, repeat=False)
    for effect in outbox:
        repeat = bool(effect.repeat)
        found.append(TraceRow("stored", effect.created, effect.room_id, effect.lane, repeat))
        if effect.attempted is not None:
            detail = effect.lane if effect.attempts < 2 else f"{effect.lane}, {effect.attempts}x"
            found.append(TraceRow("attempted", effect.attempted, effect.room_id, detail, repeat))
        found += _ending(effect, repeat=repeat)
    return sorted(found, key=lambda line: line.at)


def _ending(fate: InputFate | OutboxFate, *, repeat: bool) -> Iterable[TraceRow]:
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
