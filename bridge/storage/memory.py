"""StorePort in memory, for tests: the same contract, nothing durable, nothing shared.

`MemoryStore.down` makes every call fail, as a database does that is away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from bridge.ids import EventId, InputSeq, OutboxSeq, RoomId
from bridge.rooms.store import (
    AccountRow,
    DeadLetter,
    GhostRow,
    InputRow,
    NewInput,
    OutboxRow,
    Outcome,
    SecretRow,
    Settlement,
    Step,
    StoredRoom,
    StoreError,
    TraceRow,
)
from bridge.storage.errors import Unreachable
from bridge.storage.ledger import InputFate, OutboxFate, letter, lines, printable, readable
from bridge.storage.writes import HANDLED


@dataclass(slots=True)
class _Fate:
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
class _Input:
    row: InputRow
    body: bytes | None
    fate: _Fate = field(default_factory=_Fate)


@dataclass(slots=True)
class _Effect:
    row: OutboxRow
    body: bytes | None
    event_id: EventId | None = None
    fate: _Fate = field(default_factory=_Fate)


class _Tables:
    """The rows, and the rule for a database that is away."""

    def __init__(self) -> None:
        self.down = False
        self._closed = False
        self._rooms: dict[RoomId, StoredRoom] = {}
        self._inbox: dict[InputSeq, _Input] = {}
        self._keys: dict[str, InputSeq] = {}
        self._outbox: dict[OutboxSeq, _Effect] = {}
        self._anchors: dict[tuple[RoomId, str], EventId] = {}
        self._secrets: dict[str, SecretRow] = {}
        self._last = 0

    def _check(self, *texts: str | None) -> None:
        """Raise unless the store is up and can store these texts."""
        if self.down or self._closed:
            raise Unreachable("the store is closed" if self._closed else "the database is away")
        for text in texts:
            try:
                (text or "").encode()
            except UnicodeEncodeError:
                raise StoreError("a value cannot be stored: UnicodeEncodeError") from None

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
            self._inbox[row.seq] = _Input(row, item.body)
            if item.key is not None:
                self._keys[item.key] = row.seq
            new.append(row)
        return new


class _Flow(_Tables):
    """Inbox, rooms and outbox."""

    async def accept(self, inputs: Sequence[NewInput], now: int) -> list[InputRow]:
        return self._insert(inputs, now)

    async def commit_step(self, step: Step) -> list[OutboxRow]:
        room = step.room
        self._check(room.room_id, room.phase, room.customer, *(o.cause for o in step.outbox))
        self._rooms[room.room_id] = room
        for seq in step.done:
            self._end_input(seq, HANDLED, step.now, "")
        rows = [
            OutboxRow(
                OutboxSeq(self._next()),
                room.room_id,
                new.lane,
                new.effect,
                step.now,
                cause=new.cause,
                call_id=new.call_id,
                repeat=new.repeat,
            )
            for new in step.outbox
        ]
        self._outbox.update((row.seq, _Effect(row, row.effect)) for row in rows)
        return rows

    async def mark_attempted(self, seq: OutboxSeq, now: int) -> None:
        self._check()
        found = self._outbox.get(seq)
        if found is not None and found.fate.outcome is None:
            attempts = found.row.attempts + 1
            found.row = msgspec.structs.replace(found.row, attempted=now, attempts=attempts)

    async def settle(self, settlement: Settlement) -> list[InputRow]:
        self._check(settlement.event_id, settlement.anchor)
        found = self._outbox.get(settlement.seq)
        if found is None or found.fate.outcome is not None:
            return []
        rows = self._insert(settlement.inputs, settlement.now)
        found.fate.end(settlement.outcome.value, settlement.now, printable(settlement.detail))
        found.event_id = settlement.event_id
        if settlement.anchor is not None and settlement.event_id is not None:
            self._anchors[found.row.room_id, settlement.anchor] = settlement.event_id
        return rows

    async def bury_input(self, seq: InputSeq, why: str, now: int) -> None:
        self._check()
        self._end_input(seq, Outcome.DEAD.value, now, printable(why))

    def _end_input(self, seq: InputSeq, outcome: str, now: int, detail: str) -> None:
        found = self._inbox.get(seq)
        if found is not None and found.fate.outcome is None:
            found.fate.end(outcome, now, detail)


class _Views(_Flow):
    """Reading what flows."""

    async def room(self, room_id: RoomId) -> StoredRoom | None:
        self._check()
        return self._rooms.get(room_id)

    async def open_inputs(self, room_id: RoomId) -> list[InputRow]:
        self._check()
        return [row for row in self._all_open_inputs() if row.room_id == room_id]

    async def open_outbox(self, room_id: RoomId) -> list[OutboxRow]:
        self._check()
        return [row for row in self._all_open_outbox() if row.room_id == room_id]

    async def busy_rooms(self) -> list[RoomId]:
        self._check()
        work = [(row.received, row.room_id) for row in self._all_open_inputs()]
        work += [(row.created, row.room_id) for row in self._all_open_outbox()]
        return list(dict.fromkeys(room_id for _, room_id in sorted(work)))

    async def live_rooms(self) -> list[RoomId]:
        self._check()
        return sorted(room.room_id for room in self._rooms.values() if room.live)

    async def next_deadlines(self, before: int, limit: int) -> list[tuple[RoomId, int]]:
        self._check()
        due = [
            (room.deadline, room.room_id)
            for room in self._rooms.values()
            if room.deadline is not None and room.deadline < before
        ]
        return [(room_id, deadline) for deadline, room_id in sorted(due)[:limit]]

    async def rooms_of(self, customer: str) -> int:
        self._check()
        return sum(room.customer == customer != "" for room in self._rooms.values())

    async def anchor(self, room_id: RoomId, name: str) -> EventId | None:
        self._check()
        return self._anchors.get((room_id, name))

    def _all_open_inputs(self) -> list[InputRow]:
        return [found.row for found in self._inbox.values() if found.fate.outcome is None]

    def _all_open_outbox(self) -> list[OutboxRow]:
        return [found.row for found in self._outbox.values() if found.fate.outcome is None]


class _Peers(_Tables):
    """What we know of ghosts, accounts and peers."""

    def __init__(self) -> None:
        super().__init__()
        self._ghosts: dict[str, GhostRow] = {}
        self._accounts: dict[RoomId, AccountRow] = {}
        self._facts: dict[str, str] = {}

    async def ghost(self, user_id: str) -> GhostRow | None:
        self._check()
        return self._ghosts.get(user_id)

    async def save_ghost(self, ghost: GhostRow) -> None:
        self._check(ghost.user_id, ghost.displayname, ghost.avatar_source, ghost.avatar_mxc)
        self._ghosts[ghost.user_id] = ghost

    async def account(self, room_id: RoomId) -> AccountRow | None:
        self._check()
        return self._accounts.get(room_id)

    async def save_account(self, account: AccountRow) -> None:
        self._check(account.room_id, account.login_name, account.token, account.client_id)
        self._accounts[account.room_id] = account

    async def forget_token(self, room_id: RoomId) -> None:
        self._check()
        if room_id in self._accounts:
            self._accounts[room_id] = msgspec.structs.replace(self._accounts[room_id], token="")

    async def fact(self, name: str) -> str | None:
        self._check()
        return self._facts.get(name)

    async def save_fact(self, name: str, value: str) -> None:
        self._check(name, value)
        self._facts[name] = value

    async def secret(self, name: str) -> bytes | None:
        self._check()
        found = self._secrets.get(name)
        return None if found is None else found.value

    async def save_secrets(self, rows: Sequence[SecretRow]) -> None:
        self._check(*(row.name for row in rows))
        for row in rows:
            if row.value is None:
                self._secrets.pop(row.name, None)
            else:
                self._secrets[row.name] = row

    async def drop_secrets(self) -> int:
        self._check()
        count = len(self._secrets)
        self._secrets.clear()
        return count


class _Ledger(_Tables):
    """Tracing, dead letters, pruning."""

    async def trace(self, event_id: EventId) -> list[TraceRow]:
        self._check()
        inputs = []
        if event_id in self._keys:
            found = self._inbox[self._keys[event_id]]
            row, fate = found.row, found.fate
            inputs.append(
                InputFate(
                    row.room_id, row.received, fate.revived, fate.outcome, fate.settled, fate.detail
                )
            )
        outbox = [
            OutboxFate(
                effect.row.room_id,
                effect.row.lane.value,
                effect.row.created,
                effect.row.attempted,
                effect.row.attempts,
                effect.row.repeat,
                effect.fate.revived,
                effect.fate.outcome,
                effect.fate.settled,
                effect.fate.detail,
            )
            for effect in self._outbox.values()
            if event_id in {effect.row.cause, effect.event_id}
        ]
        return lines(inputs, outbox)

    async def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        self._check()
        found = [
            DeadLetter(
                f"{box}{seq}", x.row.room_id, x.fate.settled or 0, x.fate.detail, readable(x.body)
            )
            for box, rows in (("i", self._inbox), ("o", self._outbox))
            for seq, x in rows.items()
            if x.fate.outcome == Outcome.DEAD
        ]
        return sorted(found, key=lambda one: one.at)[:limit]

    async def revive(self, letter_id: str, now: int) -> bool:
        found = self._dead(letter_id)
        if found is None:
            return False
        found.fate = _Fate(revived=now)
        if isinstance(found, _Effect):
            found.row = msgspec.structs.replace(found.row, attempts=0)
        return True

    async def discard(self, letter_id: str, now: int) -> bool:
        found = self._dead(letter_id)
        if found is None:
            return False
        found.fate.end(Outcome.DISCARDED.value, now, found.fate.detail)
        return True

    async def prune(self, bodies_before: int, rows_before: int) -> int:
        self._check()
        old_inputs = [q for q, x in self._inbox.items() if x.fate.ended_before(rows_before)]
        old_outbox = [q for q, x in self._outbox.items() if x.fate.ended_before(rows_before)]
        for seq in old_inputs:
            key = self._inbox.pop(seq).row.key
            if key is not None:
                del self._keys[key]
        for number in old_outbox:
            del self._outbox[number]
        kept_rows: list[_Input | _Effect] = [*self._inbox.values(), *self._outbox.values()]
        erased = [
            kept
            for kept in kept_rows
            if kept.body is not None and kept.fate.ended_before(bodies_before)
        ]
        for kept in erased:
            kept.body = None
        old_secrets = [
            name
            for name, row in self._secrets.items()
            if row.keep_until is not None and row.keep_until < rows_before
        ]
        for name in old_secrets:
            del self._secrets[name]
        return len(old_inputs) + len(old_outbox) + len(erased) + len(old_secrets)

    def _dead(self, letter_id: str) -> _Input | _Effect | None:
        self._check()
        box, seq = letter(letter_id) or ("", 0)
        found: _Input | _Effect | None = None
        if box == "i":
            found = self._inbox.get(InputSeq(seq))
        elif box == "o":
            found = self._outbox.get(OutboxSeq(seq))
        return found if found is not None and found.fate.outcome == Outcome.DEAD else None


class MemoryStore(_Views, _Peers, _Ledger):
    """A StorePort that forgets everything with the object.

    Attributes:
        down: while True, every call raises StoreError and changes nothing.
    """

    async def ping(self) -> None:
        self._check()

    async def close(self) -> None:
        self._closed = True
