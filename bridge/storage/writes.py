"""Every writing call, once for both engines, and in groups.

A `Kind` takes all the requests of its kind that share a transaction and answers each of them.
`perform` runs a mixed group kind by kind, in the order of `_ORDER`: nothing in a group depends on
another's answer, because nobody has been answered yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from bridge.ids import InputSeq, OutboxSeq, RoomId
from bridge.rooms.store import (
    AccountRow,
    GhostRow,
    InputRow,
    NewInput,
    OutboxRow,
    Outcome,
    SecretRow,
    Settlement,
    Stale,
    Step,
)
from bridge.storage import statements as sql
from bridge.storage.ledger import printable
from bridge.storage.query import Call, Statement, once, per_row

A = TypeVar("A")
R = TypeVar("R")

HANDLED = "handled"
"""Outcome of an input whose step was committed."""
DEAD = Outcome.DEAD.value


@dataclass(frozen=True, slots=True, eq=False)
class Kind(Generic[A, R]):
    """One writing call: how to carry out a batch of them."""

    name: str
    batch: Callable[[Sequence[A]], Call[list[R]]]


@dataclass(frozen=True, slots=True)
class Write:
    """One request to the writer."""

    kind: Kind[Any, Any]
    argument: Any


class Accept(NamedTuple):
    inputs: Sequence[NewInput]
    now: int


class Attempt(NamedTuple):
    seq: OutboxSeq
    now: int


class Fact(NamedTuple):
    name: str
    value: str


class Update(NamedTuple):
    """A statement that returns the rows it touched; the answer is their number."""

    statement: Statement
    params: tuple[object, ...]


def perform(writes: Sequence[Write]) -> Call[list[object]]:
    """Carry out a group; the answers are in the order of the requests.

    An answer that is a StoreError is for its caller alone: the others are written.
    """
    answers: list[object] = [None] * len(writes)
    for kind in _ORDER:
        places = [place for place, write in enumerate(writes) if write.kind is kind]
        if places:
            found = yield from kind.batch([writes[place].argument for place in places])
            for place, answer in zip(places, found, strict=True):
                answers[place] = answer
    return answers


# --- the calls that carry the load ----------------------------------------------------------------


def _accept(batch: Sequence[Accept]) -> Call[list[list[InputRow]]]:
    """Insert all inputs at once; an input whose key was there before gets no row."""
    new = [(number, item, call.now) for number, call in enumerate(batch) for item in call.inputs]
    answers: list[list[InputRow]] = [[] for _ in batch]
    if not new:
        return answers
    rows = yield per_row(
        sql.INSERT_INPUTS, [(item.room_id, item.key, item.body, now) for _, item, now in new]
    )
    # Rows are numbered in the order given, so the n-th new row belongs to the n-th input that
    # was not a duplicate.
    numbers = iter(sorted(row[0] for row in rows))
    fresh = {row[1] for row in rows}
    for number, item, now in new:
        if item.key is not None:
            if item.key not in fresh:
                continue
            fresh.remove(item.key)
        seq = InputSeq(next(numbers))
        answers[number].append(InputRow(seq, item.room_id, item.body, now, item.key))
    return answers


def _commit_steps(batch: Sequence[Step]) -> Call[list[list[OutboxRow] | Stale]]:
    """Write the rooms that are still at the revision their step was made from.

    Raises:
        Stale: an input or the row of one of the steps has ended, or a fresh input was known. The
            writer then finds out whose.
    """
    # One statement must not meet a room twice; and after the first step the others are stale.
    first: dict[RoomId, int] = {}
    for number, step in enumerate(batch):
        first.setdefault(step.room.room_id, number)
    rooms = [batch[number].room for number in first.values()]
    rows = yield per_row(
        sql.SAVE_ROOMS,
        [
            (r.room_id, r.record, r.live, r.phase, r.deadline, r.customer, r.revision + 1)
            for r in rooms
        ],
    )
    fresh = {first[row[0]] for row in rows}
    steps = [batch[number] for number in sorted(fresh)]
    yield from _save_chats(steps)
    yield from _end_inputs(steps)
    yield from _insert_fresh(steps)
    yield from _settle_with(steps)
    effects = yield from _insert_outbox(steps)
    return [
        effects[step.room.room_id] if number in fresh else Stale("the room has changed meanwhile")
        for number, step in enumerate(batch)
    ]


def _save_chats(steps: Sequence[Step]) -> Call[None]:
    rows = [(s.room.room_id, one.number, one.chat) for s in steps for one in s.chats]
    if rows:
        yield per_row(sql.SAVE_CHATS, rows)


def _end_inputs(steps: Sequence[Step]) -> Call[None]:
    ended = [(seq, HANDLED, step.now, "") for step in steps for seq in step.done]
    ended += [(seq, DEAD, step.now, printable(why)) for step in steps for seq, why in step.buried]
    if ended and len((yield per_row(sql.SETTLE_INPUTS, ended))) < len(ended):
        raise Stale("an input has been handled already")


def _insert_fresh(steps: Sequence[Step]) -> Call[None]:
    new = [
        (step.room.room_id, item.key, item.body, step.now, HANDLED, step.now)
        for step in steps
        for item in step.fresh
    ]
    if new and len((yield per_row(sql.INSERT_ENDED_INPUTS, new))) < len(new):
        raise Stale("an input was known already")


def _settle_with(steps: Sequence[Step]) -> Call[None]:
    ended = [step.settled for step in steps if step.settled is not None]
    if ended and len((yield from _end_rows(ended))) < len(ended):
        raise Stale("an effect has been settled already")


def _insert_outbox(steps: Sequence[Step]) -> Call[dict[RoomId, list[OutboxRow]]]:
    new = [(step.room.room_id, o, step.now) for step in steps for o in step.outbox]
    stored: dict[RoomId, list[OutboxRow]] = {step.room.room_id: [] for step in steps}
    if not new:
        return stored
    rows = yield per_row(
        sql.INSERT_OUTBOX,
        [
            (
                room_id,
                o.lane.value,
                o.effect,
                now,
                o.cause,
                o.call_id,
                o.repeat,
                now if o.attempted else None,
                int(o.attempted),
            )
            for room_id, o, now in new
        ],
    )
    for seq, (room_id, o, now) in zip(sorted(row[0] for row in rows), new, strict=True):
        stored[room_id].append(
            OutboxRow(
                OutboxSeq(seq),
                room_id,
                o.lane,
                o.effect,
                now,
                cause=o.cause,
                call_id=o.call_id,
                repeat=o.repeat,
                marked=o.attempted,
            )
        )
    return stored


def _mark_attempted(batch: Sequence[Attempt]) -> Call[list[None]]:
    yield per_row(sql.MARK_ATTEMPTED, [tuple(attempt) for attempt in batch])
    return [None] * len(batch)


def _settle(batch: Sequence[Settlement]) -> Call[list[list[InputRow]]]:
    """Settle the rows that are open; only their anchors and inputs are stored."""
    first: dict[OutboxSeq, Settlement] = {}
    for settlement in batch:
        first.setdefault(settlement.seq, settlement)
    room_of = yield from _end_rows(list(first.values()))
    return (
        yield from _accept(
            [
                Accept(s.inputs if s.seq in room_of and first[s.seq] is s else (), s.now)
                for s in batch
            ]
        )
    )


def _end_rows(settlements: Sequence[Settlement]) -> Call[dict[OutboxSeq, RoomId]]:
    """Settle rows, each once; returns whose they were, of those that were open."""
    rows = yield per_row(
        sql.SETTLE_OUTBOX,
        [(s.seq, s.outcome.value, s.now, printable(s.detail), s.event_id) for s in settlements],
    )
    room_of: dict[OutboxSeq, RoomId] = {row[0]: row[1] for row in rows}
    anchors = {
        (room_of[s.seq], s.anchor): s.event_id
        for s in settlements
        if s.seq in room_of and s.anchor is not None and s.event_id is not None
    }
    if anchors:
        yield per_row(sql.SAVE_ANCHORS, [(*where, event) for where, event in anchors.items()])
    return room_of


def _save_secrets(batch: Sequence[Sequence[SecretRow]]) -> Call[list[None]]:
    # One statement must not meet a name twice; of two values the later one counts.
    rows = {row.name: row for rows in batch for row in rows}
    kept = [(r.name, r.value, r.keep_until) for r in rows.values() if r.value is not None]
    if kept:
        yield per_row(sql.SAVE_SECRETS, kept)
    gone = [(r.name,) for r in rows.values() if r.value is None]
    if gone:
        yield per_row(sql.DROP_SECRETS, gone)
    return [None] * len(batch)


# --- rare calls, one statement each ---------------------------------------------------------------


def _each(single: Callable[[A], Call[R]]) -> Callable[[Sequence[A]], Call[list[R]]]:
    def batch(arguments: Sequence[A]) -> Call[list[R]]:
        answers: list[R] = []
        for argument in arguments:
            answer = yield from single(argument)
            answers.append(answer)
        return answers

    return batch


def _save_ghost(g: GhostRow) -> Call[None]:
    avatar = g.avatar_source, g.avatar_mxc
    looked = g.avatar_hash, g.avatar_at
    yield once(sql.SAVE_GHOST, g.user_id, g.displayname, *avatar, g.device, *looked)


def _save_account(a: AccountRow) -> Call[None]:
    given = a.token, a.issued, a.client_id, a.cookies
    yield once(sql.SAVE_ACCOUNT, a.room_id, a.login_name, *given)


def _forget_token(room_id: RoomId) -> Call[None]:
    yield once(sql.FORGET_TOKEN, room_id)


def _save_fact(fact: Fact) -> Call[None]:
    yield once(sql.SAVE_FACT, fact.name, fact.value)


def _update(update: Update) -> Call[int]:
    rows = yield once(update.statement, *update.params)
    return len(rows)


ACCEPT = Kind("accept", _accept)
COMMIT_STEP = Kind("commit_step", _commit_steps)
MARK_ATTEMPTED = Kind("mark_attempted", _mark_attempted)
SETTLE = Kind("settle", _settle)
SAVE_SECRETS = Kind("save_secrets", _save_secrets)
SAVE_GHOST = Kind("save_ghost", _each(_save_ghost))
SAVE_ACCOUNT = Kind("save_account", _each(_save_account))
FORGET_TOKEN = Kind("forget_token", _each(_forget_token))
SAVE_FACT = Kind("save_fact", _each(_save_fact))
UPDATE = Kind("update", _each(_update))

# An attempt that its caller gave up waiting for precedes the settlement of the same row.
_ORDER: tuple[Kind[Any, Any], ...] = (
    ACCEPT,
    MARK_ATTEMPTED,
    COMMIT_STEP,
    SETTLE,
    SAVE_SECRETS,
    SAVE_GHOST,
    SAVE_ACCOUNT,
    FORGET_TOKEN,
    SAVE_FACT,
    UPDATE,
)
