"""The rows of the store in memory, and when it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bridge.ids import EventId, InputSeq, OutboxSeq, RoomId
from bridge.rooms.store import (
    ChatRow,
    InputRow,
    NewInput,
    OutboxRow,
    Outcome,
    SecretRow,
    StoredRoom,
    Unstorable,
)
from bridge.storage.errors import Unreachable

MAX_TEXT = 2_600
"""Bytes of a text that PostgreSQL can index."""


@dataclass(slots=True)
class Fate:
    """How a row ended, if it has."""

    outcome: str | None = None
    settled: int | None = None
    detail: str = ""
    revived: int | None = None

    def end(self, outcome: str, at: int, detail: str) -> None:
        self.outcome, self.settled, self.detail = outcome, at, detail

    def ended_before(self, moment: int) -> bool:
        """True if pruning may touch the row."""
        return self.outcome != Outcome.DEAD and self.settled is not None and self.settled < moment


@dataclass(slots=True)
class Input:
    row: InputRow
    body: bytes | None
    fate: Fate = field(default_factory=Fate)


@dataclass(slots=True)
class Effect:
    row: OutboxRow
    body: bytes | None
    event_id: EventId | None = None
    fate: Fate = field(default_factory=Fate)


class Tables:
    """The rows, and the rule for a database that is away."""

    def __init__(self) -> None:
        self.down = False
        self._closed = False
        self._rooms: dict[RoomId, StoredRoom] = {}
        self._inbox: dict[InputSeq, Input] = {}
        self._keys: dict[str, InputSeq] = {}
        self._outbox: dict[OutboxSeq, Effect] = {}
        self._chats: dict[tuple[RoomId, int], ChatRow] = {}
        self._anchors: dict[tuple[RoomId, str], EventId] = {}
        self._secrets: dict[str, SecretRow] = {}
        self._last = 0

    def _check(self, *texts: str | None) -> None:
        """Raise unless the store is up and can store these texts."""
        if self.down or self._closed:
            raise Unreachable("the store is closed" if self._closed else "the database is away")
        for text in texts:
            try:
                length = len((text or "").encode())
            except UnicodeEncodeError:
                raise Unstorable("a value cannot be stored: UnicodeEncodeError") from None
            if length > MAX_TEXT or "\0" in (text or ""):
                raise Unstorable("a value cannot be stored: too long, or with a NUL")

    def _next(self) -> int:
        self._last += 1
        return self._last

    def _insert(self, inputs: Sequence[NewInput], now: int) -> list[InputRow]:
        self._check(*(text for item in inputs for text in (item.room_id, item.key)))
        new = []
        for item in inputs:
            if item.key is not None and item.key in self._keys:
                continue
            row = InputRow(InputSeq(self._next()), item.room_id, item.body, now, item.key)
            self._inbox[row.seq] = Input(row, item.body)
            if item.key is not None:
                self._keys[item.key] = row.seq
            new.append(row)
        return new
