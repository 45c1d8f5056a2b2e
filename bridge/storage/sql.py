"""Every call to the database, once for both engines: its SQL, and what is made of the rows.

The SQL keeps to the words that SQLite and PostgreSQL share. A row of inbox or outbox is open while
`outcome` is null. The partial indexes of the schema repeat the conditions written here; a condition
that is spelt otherwise is not served by them.

A reading call is a function. A writing call is a `Kind`: it takes all the requests of its kind that
share a transaction and answers each of them. `perform` runs a mixed group kind by kind, in the
order of `_ORDER`: nothing in a group depends on another's answer, because nobody has been answered
yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

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
)
from bridge.storage.ledger import InputFate, OutboxFate, lines, printable, readable
from bridge.storage.query import Call, Statement, for_rows, once, per_row, same

A = TypeVar("A")
R = TypeVar("R")

HANDLED = "handled"
"""Outcome of an input whose step was committed."""
DEAD = Outcome.DEAD.value
_HIGHEST = 2**63 - 1
"""The largest number that both databases can hold."""


@dataclass(frozen=True, slots=True, eq=False)
class Kind(Generic[A, R]):
    """One writing call: how to carry out a batch of them."""

    batch: Callable[[Sequence[A]], Call[list[R]]]


@dataclass(frozen=True, slots=True)
class Write:
    """One request to the writer."""

    kind: Kind[Any, Any]
    argument: Any


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


def _each(single: Callable[[A], Call[R]]) -> Kind[A, R]:
    """A rare write, of which a batch is carried out one by one."""

    def batch(arguments: Sequence[A]) -> Call[list[R]]:
        answers: list[R] = []
        for argument in arguments:
            answer = yield from single(argument)
            answers.append(answer)
        return answers

    return Kind(batch)


class Update(NamedTuple):
    """A statement that returns the rows it touched; the answer is their number."""

    statement: Statement
    params: tuple[object, ...]


@_each
def update(asked: Update) -> Call[int]:
    rows = yield once(asked.statement, *asked.params)
    return len(rows)


PING = same("SELECT count(*) FROM schema_version")


def ping() -> Call[None]:
    yield once(PING)


# --- writing what flows: inbox, rooms, outbox -----------------------------------------------------

INSERT_INPUTS = for_rows(
    "INSERT INTO inbox (room_id, key, body, received) {rows} "
    "ON CONFLICT (key) DO NOTHING RETURNING seq, key",
    "text",
    "text",
    "bytea",
    "bigint",
)


class Accept(NamedTuple):
    inputs: Sequence[NewInput]
    now: int


@Kind
def accept(batch: Sequence[Accept]) -> Call[list[list[InputRow]]]:
    """Insert all inputs at once; an input whose key was there before gets no row."""
    new = [(number, item, call.now) for number, call in enumerate(batch) for item in call.inputs]
    answers: list[list[InputRow]] = [[] for _ in batch]
    if not new:
        return answers
    rows = yield per_row(
        INSERT_INPUTS, [(item.room_id, item.key, item.body, now) for _, item, now in new]
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


# `revision` is the new one. A room is written only if the stored revision is the one before; the
# rooms that were written come back.
SAVE_ROOMS = for_rows(
    "WITH new (room_id, record, live, phase, deadline, customer, revision) AS ({rows}) "
    "INSERT INTO rooms (room_id, record, live, phase, deadline, customer, revision) "
    "SELECT room_id, record, live, phase, deadline, customer, revision FROM new "
    "WHERE revision = 1 OR EXISTS (SELECT 1 FROM rooms WHERE rooms.room_id = new.room_id) "
    "ON CONFLICT (room_id) DO UPDATE SET record = excluded.record, live = excluded.live, "
    "phase = excluded.phase, deadline = excluded.deadline, customer = excluded.customer, "
    "revision = excluded.revision WHERE rooms.revision = excluded.revision - 1 RETURNING room_id",
    "text",
    "bytea",
    "boolean",
    "text",
    "bigint",
    "text",
    "bigint",
)


@Kind
def commit_step(batch: Sequence[Step]) -> Call[list[list[OutboxRow] | Stale]]:
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
        SAVE_ROOMS,
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


SAVE_CHATS = for_rows(
    "INSERT INTO chats (room_id, number, chat) {rows} "
    "ON CONFLICT (room_id, number) DO UPDATE SET chat = excluded.chat",
    "text",
    "bigint",
    "bytea",
)


def _save_chats(steps: Sequence[Step]) -> Call[None]:
    rows = [(s.room.room_id, one.number, one.chat) for s in steps for one in s.chats]
    if rows:
        yield per_row(SAVE_CHATS, rows)


SETTLE_INPUTS = for_rows(
    "WITH ended (seq, outcome, settled, detail) AS ({rows}) UPDATE inbox "
    "SET outcome = ended.outcome, settled = ended.settled, detail = ended.detail "
    "FROM ended WHERE inbox.seq = ended.seq AND inbox.outcome IS NULL RETURNING inbox.seq",
    "bigint",
    "text",
    "bigint",
    "text",
)


def _end_inputs(steps: Sequence[Step]) -> Call[None]:
    ended = [(seq, HANDLED, step.now, "") for step in steps for seq in step.done]
    ended += [(seq, DEAD, step.now, printable(why)) for step in steps for seq, why in step.buried]
    if ended and len((yield per_row(SETTLE_INPUTS, ended))) < len(ended):
        raise Stale("an input has been handled already")


INSERT_ENDED_INPUTS = for_rows(
    "INSERT INTO inbox (room_id, key, body, received, outcome, settled) {rows} "
    "ON CONFLICT (key) DO NOTHING RETURNING seq",
    "text",
    "text",
    "bytea",
    "bigint",
    "text",
    "bigint",
)


def _insert_fresh(steps: Sequence[Step]) -> Call[None]:
    new = [
        (step.room.room_id, item.key, item.body, step.now, HANDLED, step.now)
        for step in steps
        for item in step.fresh
    ]
    if new and len((yield per_row(INSERT_ENDED_INPUTS, new))) < len(new):
        raise Stale("an input was known already")


def _settle_with(steps: Sequence[Step]) -> Call[None]:
    ended = [step.settled for step in steps if step.settled is not None]
    if ended and len((yield from _end_rows(ended))) < len(ended):
        raise Stale("an effect has been settled already")


INSERT_OUTBOX = for_rows(
    "INSERT INTO outbox "
    "(room_id, lane, effect, created, cause, call_id, repeat, attempted, attempts) {rows} "
    "RETURNING seq",
    "text",
    "text",
    "bytea",
    "bigint",
    "text",
    "bigint",
    "boolean",
    "bigint",
    "bigint",
)


def _insert_outbox(steps: Sequence[Step]) -> Call[dict[RoomId, list[OutboxRow]]]:
    new = [(step.room.room_id, o, step.now) for step in steps for o in step.outbox]
    stored: dict[RoomId, list[OutboxRow]] = {step.room.room_id: [] for step in steps}
    if not new:
        return stored
    rows = yield per_row(
        INSERT_OUTBOX,
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


MARK_ATTEMPTED = for_rows(
    "WITH tried (seq, at) AS ({rows}) UPDATE outbox "
    "SET attempted = tried.at, attempts = attempts + 1 "
    "FROM tried WHERE outbox.seq = tried.seq AND outbox.outcome IS NULL",
    "bigint",
    "bigint",
)


class Attempt(NamedTuple):
    seq: OutboxSeq
    now: int


@Kind
def mark_attempted(batch: Sequence[Attempt]) -> Call[list[None]]:
    yield per_row(MARK_ATTEMPTED, [tuple(attempt) for attempt in batch])
    return [None] * len(batch)


@Kind
def settle(batch: Sequence[Settlement]) -> Call[list[list[InputRow]]]:
    """Settle the rows that are open; only their anchors and inputs are stored."""
    first: dict[OutboxSeq, Settlement] = {}
    for settlement in batch:
        first.setdefault(settlement.seq, settlement)
    room_of = yield from _end_rows(list(first.values()))
    return (
        yield from accept.batch(
            [
                Accept(s.inputs if s.seq in room_of and first[s.seq] is s else (), s.now)
                for s in batch
            ]
        )
    )


SETTLE_OUTBOX = for_rows(
    "WITH ended (seq, outcome, settled, detail, event_id) AS ({rows}) UPDATE outbox "
    "SET outcome = ended.outcome, settled = ended.settled, detail = ended.detail, "
    "event_id = ended.event_id "
    "FROM ended WHERE outbox.seq = ended.seq AND outbox.outcome IS NULL "
    "RETURNING outbox.seq, outbox.room_id",
    "bigint",
    "text",
    "bigint",
    "text",
    "text",
)
SAVE_ANCHORS = for_rows(
    "INSERT INTO anchors (room_id, name, event_id) {rows} "
    "ON CONFLICT (room_id, name) DO UPDATE SET event_id = excluded.event_id",
    "text",
    "text",
    "text",
)


def _end_rows(settlements: Sequence[Settlement]) -> Call[dict[OutboxSeq, RoomId]]:
    """Settle rows, each once; returns whose they were, of those that were open."""
    rows = yield per_row(
        SETTLE_OUTBOX,
        [(s.seq, s.outcome.value, s.now, printable(s.detail), s.event_id) for s in settlements],
    )
    room_of: dict[OutboxSeq, RoomId] = {row[0]: row[1] for row in rows}
    anchors = {
        (room_of[s.seq], s.anchor): s.event_id
        for s in settlements
        if s.seq in room_of and s.anchor is not None and s.event_id is not None
    }
    if anchors:
        yield per_row(SAVE_ANCHORS, [(*where, event) for where, event in anchors.items()])
    return room_of


# --- reading what flows ---------------------------------------------------------------------------

ROOM = same(
    "SELECT room_id, record, live, phase, deadline, customer, revision FROM rooms "
    "WHERE room_id = $1"
)


def room(room_id: RoomId) -> Call[StoredRoom | None]:
    rows = yield once(ROOM, room_id)
    for found, record, live, phase, deadline, customer, revision in rows:
        return StoredRoom(found, record, bool(live), phase, deadline, customer, revision)
    return None


OPEN_INPUTS = same(
    "SELECT seq, room_id, body, received, key FROM inbox "
    "WHERE room_id = $1 AND outcome IS NULL ORDER BY seq"
)


def open_inputs(room_id: RoomId) -> Call[list[InputRow]]:
    rows = yield once(OPEN_INPUTS, room_id)
    return [InputRow(*row) for row in rows]


OPEN_OUTBOX = same(
    "SELECT seq, room_id, lane, effect, created, attempted, attempts, cause, call_id, repeat, "
    "revived FROM outbox WHERE room_id = $1 AND outcome IS NULL ORDER BY seq"
)


def open_outbox(room_id: RoomId) -> Call[list[OutboxRow]]:
    rows = yield once(OPEN_OUTBOX, room_id)
    found = []
    for row in rows:
        seq, room, lane, effect, created, attempted, attempts, cause, call_id, repeat, revived = row
        found.append(
            OutboxRow(
                seq,
                room,
                Lane(lane),
                effect,
                created,
                attempted,
                attempts,
                cause,
                call_id,
                bool(repeat),
                revived,
            )
        )
    return found


BUSY_ROOMS = same(
    "SELECT room_id FROM ("
    "SELECT room_id, received AS since FROM inbox WHERE outcome IS NULL UNION ALL "
    "SELECT room_id, created AS since FROM outbox WHERE outcome IS NULL"
    ") AS work GROUP BY room_id ORDER BY min(since), room_id"
)


def busy_rooms() -> Call[list[RoomId]]:
    rows = yield once(BUSY_ROOMS)
    return [row[0] for row in rows]


LIVE_ROOMS = same("SELECT room_id FROM rooms WHERE live ORDER BY room_id")


def live_rooms() -> Call[list[RoomId]]:
    rows = yield once(LIVE_ROOMS)
    return [row[0] for row in rows]


DEADLINES = same(
    "SELECT room_id, deadline FROM rooms WHERE deadline IS NOT NULL ORDER BY deadline, room_id"
)


def deadlines() -> Call[list[tuple[RoomId, int]]]:
    rows = yield once(DEADLINES)
    return [(row[0], row[1]) for row in rows]


OPEN_INBOX = same("SELECT count(*), min(received) FROM inbox WHERE outcome IS NULL")
OPEN_LANES = same(
    "SELECT lane, count(*), min(created) FROM outbox WHERE outcome IS NULL GROUP BY lane"
)
DEAD_ROWS = same(
    "SELECT (SELECT count(*) FROM inbox WHERE outcome = 'dead') "
    "+ (SELECT count(*) FROM outbox WHERE outcome = 'dead')"
)


def backlog() -> Call[Backlog]:
    ((count, oldest),) = yield once(OPEN_INBOX)
    lanes = dict.fromkeys(Lane, Depth())
    rows = yield once(OPEN_LANES)
    lanes |= {Lane(lane): Depth(waiting, since) for lane, waiting, since in rows}
    ((dead,),) = yield once(DEAD_ROWS)
    return Backlog(Depth(count, oldest), lanes, dead)


ROOMS_OF = same("SELECT count(*) FROM rooms WHERE customer = $1 AND customer <> ''")


def rooms_of(customer: str) -> Call[int]:
    rows = yield once(ROOMS_OF, customer)
    return int(rows[0][0])


CHATS = same(
    "SELECT number, chat FROM chats WHERE room_id = $1 AND number <= $2 "
    "ORDER BY number DESC LIMIT $3"
)


def chats(room_id: RoomId, limit: int, upto: int | None) -> Call[list[ChatRow]]:
    rows = yield once(CHATS, room_id, _HIGHEST if upto is None else upto, limit)
    return [ChatRow(number, bytes(chat)) for number, chat in rows]


ANCHOR = same("SELECT event_id FROM anchors WHERE room_id = $1 AND name = $2")


def anchor(room_id: RoomId, name: str) -> Call[EventId | None]:
    rows = yield once(ANCHOR, room_id, name)
    return EventId(rows[0][0]) if rows else None


# --- people and peers -----------------------------------------------------------------------------

GHOST = same(
    "SELECT user_id, displayname, avatar_source, avatar_mxc, device, avatar_hash, avatar_at "
    "FROM ghosts WHERE user_id = $1"
)


def ghost(user_id: str) -> Call[GhostRow | None]:
    rows = yield once(GHOST, user_id)
    for found, displayname, source, mxc, device, digest, looked in rows:
        return GhostRow(found, displayname, source, mxc, bool(device), digest, looked)
    return None


SAVE_GHOST = same(
    "INSERT INTO ghosts (user_id, displayname, avatar_source, avatar_mxc, device, avatar_hash, "
    "avatar_at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (user_id) DO UPDATE SET "
    "displayname = excluded.displayname, avatar_source = excluded.avatar_source, "
    "avatar_mxc = excluded.avatar_mxc, device = excluded.device, "
    "avatar_hash = excluded.avatar_hash, avatar_at = excluded.avatar_at"
)


@_each
def save_ghost(g: GhostRow) -> Call[None]:
    avatar = g.avatar_source, g.avatar_mxc
    looked = g.avatar_hash, g.avatar_at
    yield once(SAVE_GHOST, g.user_id, g.displayname, *avatar, g.device, *looked)


ACCOUNT = same(
    "SELECT room_id, login_name, token, issued, client_id, cookies FROM accounts WHERE room_id = $1"
)


def account(room_id: RoomId) -> Call[AccountRow | None]:
    rows = yield once(ACCOUNT, room_id)
    return AccountRow(*rows[0]) if rows else None


SAVE_ACCOUNT = same(
    "INSERT INTO accounts (room_id, login_name, token, issued, client_id, cookies) "
    "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (room_id) DO UPDATE SET "
    "login_name = excluded.login_name, token = excluded.token, issued = excluded.issued, "
    "client_id = excluded.client_id, cookies = excluded.cookies"
)


@_each
def save_account(a: AccountRow) -> Call[None]:
    given = a.token, a.issued, a.client_id, a.cookies
    yield once(SAVE_ACCOUNT, a.room_id, a.login_name, *given)


FORGET_TOKEN = same("UPDATE accounts SET token = '', cookies = '' WHERE room_id = $1")


@_each
def forget_token(room_id: RoomId) -> Call[None]:
    yield once(FORGET_TOKEN, room_id)


FACT = same("SELECT value FROM facts WHERE name = $1")


def fact(name: str) -> Call[str | None]:
    rows = yield once(FACT, name)
    return str(rows[0][0]) if rows else None


SAVE_FACT = same(
    "INSERT INTO facts (name, value) VALUES ($1, $2) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)


class Fact(NamedTuple):
    name: str
    value: str


@_each
def save_fact(fact: Fact) -> Call[None]:
    yield once(SAVE_FACT, fact.name, fact.value)


SECRET = same("SELECT value FROM secrets WHERE name = $1")


def secret(name: str) -> Call[bytes | None]:
    rows = yield once(SECRET, name)
    return bytes(rows[0][0]) if rows else None


SECRET_NAMES = same(
    "SELECT name FROM secrets WHERE substr(name, 1, length(CAST($1 AS TEXT))) = CAST($1 AS TEXT)"
)


def secret_names(prefix: str) -> Call[list[str]]:
    rows = yield once(SECRET_NAMES, prefix)
    return sorted(str(row[0]) for row in rows)


SAVE_SECRETS = for_rows(
    "INSERT INTO secrets (name, value, keep_until) {rows} "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value, keep_until = excluded.keep_until",
    "text",
    "bytea",
    "bigint",
)
DROP_SECRETS = for_rows("DELETE FROM secrets WHERE name IN ({rows})", "text")


@Kind
def save_secrets(batch: Sequence[Sequence[SecretRow]]) -> Call[list[None]]:
    # One statement must not meet a name twice; of two values the later one counts.
    rows = {row.name: row for rows in batch for row in rows}
    kept = [(r.name, r.value, r.keep_until) for r in rows.values() if r.value is not None]
    if kept:
        yield per_row(SAVE_SECRETS, kept)
    gone = [(r.name,) for r in rows.values() if r.value is None]
    if gone:
        yield per_row(DROP_SECRETS, gone)
    return [None] * len(batch)


DROP_ALL_SECRETS = same("DELETE FROM secrets RETURNING name")


# --- the ledger -----------------------------------------------------------------------------------

TRACE_INPUTS = same(
    "SELECT room_id, received, revived, outcome, settled, detail FROM inbox WHERE key = $1"
)
TRACE_OUTBOX = same(
    "SELECT room_id, lane, created, attempted, attempts, repeat, revived, outcome, settled, detail "
    "FROM outbox WHERE cause = $1 OR event_id = $1 ORDER BY seq"
)


def trace(event_id: EventId) -> Call[list[TraceRow]]:
    inputs = yield once(TRACE_INPUTS, event_id)
    outbox = yield once(TRACE_OUTBOX, event_id)
    return lines([InputFate(*row) for row in inputs], [OutboxFate(*row) for row in outbox])


INPUT_OF = same("SELECT body FROM inbox WHERE key = $1 AND room_id = $2 AND body IS NOT NULL")
EFFECT_OF = same(
    "SELECT effect FROM outbox WHERE event_id = $1 AND room_id = $2 AND effect IS NOT NULL "
    "ORDER BY seq LIMIT 1"
)


def body_of(room_id: RoomId, event_id: EventId) -> Call[bytes | None]:
    for statement in (INPUT_OF, EFFECT_OF):
        rows = yield once(statement, event_id, room_id)
        if rows:
            return bytes(rows[0][0])
    return None


FORGET_BODY = (
    same(
        "UPDATE inbox SET body = NULL WHERE key = $1 AND room_id = $2 "
        "AND outcome IS NOT NULL AND outcome <> 'dead' RETURNING seq"
    ),
    same(
        "UPDATE outbox SET effect = NULL WHERE cause = $1 AND room_id = $2 "
        "AND outcome IS NOT NULL AND outcome <> 'dead' RETURNING seq"
    ),
)

DEAD_INPUTS = same(
    "SELECT seq, room_id, settled, detail, body FROM inbox "
    "WHERE outcome = 'dead' ORDER BY settled, seq LIMIT $1"
)
DEAD_OUTBOX = same(
    "SELECT seq, room_id, settled, detail, effect FROM outbox "
    "WHERE outcome = 'dead' ORDER BY settled, seq LIMIT $1"
)


def dead_letters(limit: int) -> Call[list[DeadLetter]]:
    found = []
    for box, statement in (("i", DEAD_INPUTS), ("o", DEAD_OUTBOX)):
        rows = yield once(statement, limit)
        found += [
            DeadLetter(f"{box}{seq}", room_id, at, why, readable(body))
            for seq, room_id, at, why, body in rows
        ]
    return sorted(found, key=lambda letter: letter.at)[:limit]


REVIVE_INPUT = same(
    "UPDATE inbox SET outcome = NULL, settled = NULL, detail = '', revived = $2 "
    "WHERE seq = $1 AND outcome = 'dead' RETURNING seq"
)
# `attempted` stays: the peer may have seen it, and reviving does not change that.
REVIVE_OUTBOX = same(
    "UPDATE outbox SET outcome = NULL, settled = NULL, detail = '', attempts = 0, revived = $2 "
    "WHERE seq = $1 AND outcome = 'dead' RETURNING seq"
)
DISCARD_INPUT = same(
    "UPDATE inbox SET outcome = 'discarded', settled = $2 "
    "WHERE seq = $1 AND outcome = 'dead' RETURNING seq"
)
DISCARD_OUTBOX = same(
    "UPDATE outbox SET outcome = 'discarded', settled = $2 "
    "WHERE seq = $1 AND outcome = 'dead' RETURNING seq"
)


# --- pruning, a slice at a time: $1 is the moment, $2 the most rows that one slice may take -------

DROP_ROWS = (
    same(
        "DELETE FROM secrets WHERE name IN (SELECT name FROM secrets "
        "WHERE keep_until < $1 LIMIT $2) RETURNING name"
    ),
    same(
        "DELETE FROM inbox WHERE seq IN (SELECT seq FROM inbox "
        "WHERE outcome <> 'dead' AND body IS NULL AND settled < $1 LIMIT $2) RETURNING seq"
    ),
    same(
        "DELETE FROM inbox WHERE seq IN (SELECT seq FROM inbox "
        "WHERE outcome <> 'dead' AND body IS NOT NULL AND settled < $1 LIMIT $2) RETURNING seq"
    ),
    same(
        "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox "
        "WHERE outcome <> 'dead' AND effect IS NULL AND settled < $1 LIMIT $2) RETURNING seq"
    ),
    same(
        "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox "
        "WHERE outcome <> 'dead' AND effect IS NOT NULL AND settled < $1 LIMIT $2) RETURNING seq"
    ),
)
ERASE_BODIES = (
    same(
        "UPDATE inbox SET body = NULL WHERE seq IN (SELECT seq FROM inbox "
        "WHERE outcome <> 'dead' AND body IS NOT NULL AND settled < $1 LIMIT $2) RETURNING seq"
    ),
    same(
        "UPDATE outbox SET effect = NULL WHERE seq IN (SELECT seq FROM outbox "
        "WHERE outcome <> 'dead' AND effect IS NOT NULL AND settled < $1 LIMIT $2) RETURNING seq"
    ),
)


# An attempt that its caller gave up waiting for precedes the settlement of the same row.
_ORDER: tuple[Kind[Any, Any], ...] = (
    accept,
    mark_attempted,
    commit_step,
    settle,
    save_secrets,
    save_ghost,
    save_account,
    forget_token,
    save_fact,
    update,
)
