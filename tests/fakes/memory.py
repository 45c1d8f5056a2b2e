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
    Backlog,
    ChatRow,
    DeadLetter,
    Depth,
    GhostRow,
    InputRow,
    Lane,
    NewInput,
    OutboxRow,
    Outcome,
    SecretRow,
    Settlement,
    Stale,
    Step,
    StoredRoom,
    TraceRow,
    Unstorable,
)
from bridge.storage.errors import Unreachable
from bridge.storage.ledger import InputFate, OutboxFate, letter, lines, printable, readable
from bridge.storage.sql import HANDLED

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


class _Tables:
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


class _Flow(_Tables):
    """Inbox, rooms and outbox."""

    async def accept(self, inputs: Sequence[NewInput], now: int) -> list[InputRow]:
        return self._insert(inputs, now)

    async def commit_step(self, step: Step) -> list[OutboxRow]:
        room = step.room
        self._check(room.room_id, room.phase, room.customer, *(o.cause for o in step.outbox))
        self._check(*(new.key for new in step.fresh))
        before = self._rooms.get(room.room_id)
        if room.revision != (0 if before is None else before.revision):
            raise Stale("the room has changed meanwhile")
        ended = [(seq, HANDLED, "") for seq in step.done]
        ended += [(seq, Outcome.DEAD.value, printable(why)) for seq, why in step.buried]
        if not all(self._is_open(seq) for seq, _, _ in ended):
            raise Stale("an input has been handled already")
        keys = [new.key for new in step.fresh if new.key is not None]
        if len(set(keys) - self._keys.keys()) < len(keys):
            raise Stale("an input was known already")
        if step.settled is not None and not self._settled(step.settled):
            raise Stale("an effect has been settled already")
        for came in self._insert(step.fresh, step.now):
            self._inbox[came.seq].fate.end(HANDLED, step.now, "")
        for seq, outcome, why in ended:
            self._inbox[seq].fate.end(outcome, step.now, why)
        self._rooms[room.room_id] = msgspec.structs.replace(room, revision=room.revision + 1)
        self._chats.update({(room.room_id, one.number): one for one in step.chats})
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
                marked=new.attempted,
            )
            for new in step.outbox
        ]
        for row in rows:
            kept = msgspec.structs.replace(
                row,
                marked=False,
                attempted=row.created if row.marked else None,
                attempts=int(row.marked),
            )
            self._outbox[row.seq] = Effect(kept, row.effect)
        return rows

    async def mark_attempted(self, seq: OutboxSeq, now: int) -> None:
        self._check()
        found = self._outbox.get(seq)
        if found is not None and found.fate.outcome is None:
            attempts = found.row.attempts + 1
            found.row = msgspec.structs.replace(found.row, attempted=now, attempts=attempts)

    async def settle(self, settlement: Settlement) -> list[InputRow]:
        self._check(settlement.event_id, settlement.anchor)
        self._check(*(new.key for new in settlement.inputs))
        if not self._settled(settlement):
            return []
        return self._insert(settlement.inputs, settlement.now)

    def _settled(self, settlement: Settlement) -> bool:
        """End a row; False if there is none that is open."""
        found = self._outbox.get(settlement.seq)
        if found is None or found.fate.outcome is not None:
            return False
        found.fate.end(settlement.outcome.value, settlement.now, printable(settlement.detail))
        found.event_id = settlement.event_id
        if settlement.anchor is not None and settlement.event_id is not None:
            self._anchors[found.row.room_id, settlement.anchor] = settlement.event_id
        return True

    def _is_open(self, seq: InputSeq) -> bool:
        found = self._inbox.get(seq)
        return found is not None and found.fate.outcome is None


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

    async def deadlines(self) -> list[tuple[RoomId, int]]:
        self._check()
        due = [
            (room.deadline, room.room_id)
            for room in self._rooms.values()
            if room.deadline is not None
        ]
        return [(room_id, deadline) for deadline, room_id in sorted(due)]

    async def backlog(self) -> Backlog:
        self._check()
        inputs, outbox = self._all_open_inputs(), self._all_open_outbox()
        lanes = {lane: _depth([row.created for row in outbox if row.lane is lane]) for lane in Lane}
        boxes: list[Input | Effect] = [*self._inbox.values(), *self._outbox.values()]
        dead = sum(one.fate.outcome == Outcome.DEAD for one in boxes)
        return Backlog(_depth([row.received for row in inputs]), lanes, dead)

    async def rooms_of(self, customer: str) -> int:
        self._check()
        return sum(room.customer == customer != "" for room in self._rooms.values())

    async def chats(self, room_id: RoomId, limit: int, upto: int | None = None) -> list[ChatRow]:
        self._check()
        numbers = [
            number
            for room, number in self._chats
            if room == room_id and (upto is None or number <= upto)
        ]
        return [self._chats[room_id, number] for number in sorted(numbers)[::-1][:limit]]

    async def anchor(self, room_id: RoomId, name: str) -> EventId | None:
        self._check()
        return self._anchors.get((room_id, name))

    def _all_open_inputs(self) -> list[InputRow]:
        return [found.row for found in self._inbox.values() if found.fate.outcome is None]

    def _all_open_outbox(self) -> list[OutboxRow]:
        return [found.row for found in self._outbox.values() if found.fate.outcome is None]


def _depth(times: list[int]) -> Depth:
    return Depth(len(times), min(times, default=None))


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
        self._check(account.cookies)
        self._accounts[account.room_id] = account

    async def forget_token(self, room_id: RoomId) -> None:
        self._check()
        if room_id in self._accounts:
            account = self._accounts[room_id]
            self._accounts[room_id] = msgspec.structs.replace(account, token="", cookies="")

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

    async def secret_names(self, prefix: str) -> list[str]:
        self._check(prefix)
        return sorted(name for name in self._secrets if name.startswith(prefix))

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

    async def body_of(self, room_id: RoomId, event_id: EventId) -> bytes | None:
        self._check()
        rows: list[Input | Effect] = []
        if event_id in self._keys:
            rows.append(self._inbox[self._keys[event_id]])
        rows += [one for one in self._outbox.values() if one.event_id == event_id]
        kept = (one.body for one in rows if one.row.room_id == room_id and one.body is not None)
        return next(kept, None)

    async def forget_body(self, room_id: RoomId, event_id: EventId) -> None:
        self._check()
        rows: list[Input | Effect] = [x for x in self._inbox.values() if x.row.key == event_id]
        rows += [one for one in self._outbox.values() if one.row.cause == event_id]
        for one in rows:
            settled = one.fate.outcome not in {None, Outcome.DEAD.value}
            if settled and one.row.room_id == room_id:
                one.body = None

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
        found.fate = Fate(revived=now)
        if isinstance(found, Effect):
            found.row = msgspec.structs.replace(found.row, attempts=0, revived=now)
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
        kept_rows: list[Input | Effect] = [*self._inbox.values(), *self._outbox.values()]
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

    def _dead(self, letter_id: str) -> Input | Effect | None:
        self._check()
        box, seq = letter(letter_id) or ("", 0)
        found: Input | Effect | None = None
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
