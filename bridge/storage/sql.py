"""SQL statements for both databases, the rows that a commit writes, and decoding of rows.

The SQL keeps to the syntax that SQLite and PostgreSQL share. A journal row is open while `outcome`
is null: an input while `handled` is null, else an effect. The schema's partial indexes repeat
conditions written here; one that is spelt differently does not use them. That is intended where a
row is found by its number (`coalesce(outcome, '') = ''`): otherwise PostgreSQL would plan, on an
empty journal, to read all open rows, and keep that plan once it is full.

A group of writes (`carry_out`) is executed kind by kind: none of them depends on the answer to
another, since none has been answered yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
import structlog
from msgspec.structs import astuple

from bridge.ids import EffectSeq, InputSeq, RoomId
from bridge.rooms import store
from bridge.storage.query import (
    Engine,
    Part,
    Query,
    Rows,
    Statement,
    Together,
    Unreachable,
    for_rows,
    same,
    updating,
    upsert,
)

HANDLED = "handled"
"""Outcome of an input whose step was committed."""
DEAD = store.Outcome.DEAD.value
HIGHEST = 2**63 - 1
"""Largest integer of both databases."""
UNWRITTEN = b"{}"
"""Record of a room that has only inputs stored (`shards`); valid JSON like any other record."""


# --- sealing --------------------------------------------------------------------------------------

_SEALED = b"\x01"
_AS_IT_CAME = b'{"is":"MatrixEvent"'
LOST = b"null"
"""Placeholder for content that cannot be decrypted; neither an input nor an effect."""
_log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.storage")


class Cover(msgspec.Struct, frozen=True):
    """Encrypts stored content of encrypted rooms with the operator's key (sealing).

    Sealed are room records, and in the journal everything but Matrix events, which are stored as
    the homeserver sent them, encrypted by their sender. Sealed data starts with another byte than
    JSON, so rows need no flag, and unsealed rows of earlier versions can be read. Without a `seal`
    nothing is sealed, and sealed data cannot be read.
    """

    _seal: store.Seal | None = None

    def close(self, room_id: RoomId, data: bytes) -> bytes:
        """Seal an input, an effect or a record for storage."""
        if self._seal is None or data.startswith(_AS_IT_CAME):
            return data
        return self._seal.seal(room_id, data)

    def open(self, room_id: RoomId, stored: bytes) -> bytes:
        """Return the unsealed content; `LOST` if it cannot be opened (no key, or another one)."""
        if not stored.startswith(_SEALED):
            return stored
        if self._seal is None:
            return LOST
        try:
            return self._seal.open(room_id, bytes(stored))
        except store.StoreError as error:
            _log.error("stored messages can no longer be decrypted", room=room_id, why=str(error))
            return LOST


NO_COVER = Cover()


class Attempt(NamedTuple):
    """Request to mark an effect as attempted."""

    row: store.EffectRow
    now: int


_Row = tuple[object, ...]
"""Parameters of a statement for one row."""
Write = store.Commit | Attempt | Query | Together
"""A request to the writer. The answer to a Query or Together is the number of rows it returns."""


async def carry_out(
    writes: Sequence[Write], engine: Engine, cover: Cover = NO_COVER
) -> list[object]:
    """Write a group of requests in one transaction; return their answers in order."""
    commits: list[store.Commit] = []
    attempts: list[Attempt] = []
    others: list[Query | Together] = []
    for write in writes:
        if isinstance(write, store.Commit):
            commits.append(write)
        elif isinstance(write, Attempt):
            attempts.append(write)
        else:
            others.append(write)
    parts = _parts(commits, cover) if commits else []
    queries: list[Query | Together] = []
    # Before the commits: the group may settle the row of an attempt whose caller has timed out.
    if attempts:
        marks = [(attempt.row.seq, attempt.now) for attempt in attempts]
        queries.append(
            Together([Part(MARK_ATTEMPTED, marks)], [attempt.row.room_id for attempt in attempts])
        )
    if parts:
        queries.append(Together(parts, [commit.room_id for commit in commits]))
    rows = await engine.commit([*queries, *others]) if queries or others else []
    # The commits are the last of `queries`.
    committed = _committed(commits, rows[len(queries) - 1] if parts else ())
    if len(commits) == len(writes):  # as nearly always
        return [*committed]
    answers: list[object] = []
    in_turn, counted = iter(committed), iter(rows[len(queries) :])
    for write in writes:
        if isinstance(write, store.Commit):
            answers.append(next(in_turn))
        elif isinstance(write, Attempt):
            answers.append(None)
        else:
            answers.append(len(next(counted)))
    return answers


# --- writing rooms and their journal ------------------------------------------------------------

# A known key fails the transaction. Looking for it first would add a tenth to PostgreSQL's commit.
INSERT_ENTRIES = for_rows(
    "INSERT INTO journal (room_id, key, body, received, handled, lane, effect, cause, call_id, "
    "repeat, attempted, attempts, outcome, settled) {rows} RETURNING seq, key, handled",
    "text, text, bytea, bigint, bigint, text, bytea, text, bigint, boolean, bigint, bigint, text, "
    "bigint",
)
INSERT_WAITING = for_rows(
    "INSERT INTO journal (room_id, key, body, received) {rows} "
    "ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING RETURNING seq, key, handled",
    "text, text, bytea, bigint",
)
# A room is written only if it has the revision that the new record was made from, in the bits of
# `mask`; the rooms written are returned. Revision 0: the room is new, or not written since schema 3
# added it.
INSERT_ROOMS = for_rows(
    upsert("rooms", "room_id", "record, words, live, phase, deadline, customer, revision")
    + " WHERE rooms.revision = excluded.revision - 1 RETURNING room_id",
    "text, bytea, bytea, boolean, text, bigint, text, bigint",
)
SAVE_ROOMS = updating(
    "UPDATE rooms SET record = {record}, words = {words}, live = {live}, phase = {phase}, "
    "deadline = {deadline}, customer = {customer}, revision = revision + 1 "
    "WHERE room_id = {room_id} AND revision & {mask} = {revision} & {mask}",
    "room_id text, record bytea, words bytea, live boolean, phase text, deadline bigint, "
    "customer text, revision bigint, mask bigint",
    "UPDATE rooms SET record = {record}, words = {words}, phase = {phase}, revision = revision + 1 "
    "WHERE room_id = {room_id} AND revision & {mask} = {revision} & {mask} AND live = {live} "
    "AND deadline IS {deadline} AND customer = {customer}",
)
SAVE_CHATS = for_rows(
    upsert("chats", "room_id, number", "chat, ended"), "text, bigint, bytea, bigint"
)
_CHANGE = "at, actor, way, key, before, after, room_id, enterprise"
INSERT_CHANGES = for_rows(
    f"INSERT INTO changes ({_CHANGE}) {{rows}}",
    "bigint, text, text, text, text, text, text, text",
)
END_INPUTS = updating(
    "UPDATE journal SET handled = {handled}, outcome = {outcome}, settled = {settled}, "
    "detail = {detail} WHERE seq = {seq} AND coalesce(outcome, '') = '' AND handled IS NULL",
    "seq bigint, handled bigint, outcome text, settled bigint, detail text",
)
SETTLE_EFFECTS = updating(
    "UPDATE journal SET outcome = {outcome}, settled = {settled}, detail = {detail}, "
    "event_id = {event_id} WHERE seq = {seq} AND coalesce(outcome, '') = '' "
    "AND handled IS NOT NULL",
    "seq bigint, outcome text, settled bigint, detail text, event_id text",
)
SAVE_ANCHORS = for_rows(upsert("anchors", "room_id, name", "event_id"), "text, text, text")


def _parts(commits: Sequence[store.Commit], cover: Cover) -> list[Part]:
    """Return the statements of a group of commits, which take effect together."""
    new_rooms: list[_Row] = []
    rooms: list[_Row] = []
    settled: list[_Row] = []
    anchors: dict[tuple[str, str], _Row] = {}
    chats: list[_Row] = []
    changes: list[_Row] = []
    ended: list[_Row] = []
    entries: list[_Row] = []
    waiting: list[_Row] = []
    for commit in commits:
        room_id, now, room = commit.room_id, commit.now, commit.room
        if room is not None:
            bare, words = room.record, None
            if room.bare:
                bare, words = room.bare, cover.close(room_id, room.record)
            row = room_id, bare, words, room.live, room.phase, room.deadline, room.customer
            if room.revision:
                rooms.append((*row, room.revision, -1 if commit.exact else store.PASSED - 1))
            else:
                new_rooms.append((*row, 1))
        for end in commit.settled:
            detail = printable(end.detail)
            settled.append((end.seq, end.outcome.value, end.now, detail, end.event_id))
            if end.anchor is not None and end.event_id is not None:
                anchors[room_id, end.anchor] = (room_id, end.anchor, end.event_id)
        entries += [_entry(commit, entry, cover) for entry in commit.entries]
        if commit.waiting:
            kept = [(new.key, _closed(commit, new.body, cover)) for new in commit.waiting]
            waiting += [(room_id, key, body, now) for key, body in kept]
        if commit.handled:
            ended += [(seq, now, HANDLED, now, "") for seq in commit.handled]
        if commit.buried:
            ended += [(seq, None, DEAD, now, printable(why)) for seq, why in commit.buried]
        if commit.chats:
            chats += [(room_id, *astuple(chat)) for chat in commit.chats]
        if commit.changes:
            changes += map(change_row, commit.changes)
    # All processes lock rooms' rows in the same order, to avoid deadlocks.
    rooms.sort(key=itemgetter(0))
    # Statement, rows, strict, returns.
    parts: tuple[tuple[Statement, Sequence[_Row], bool, bool], ...] = (
        (INSERT_ROOMS, new_rooms, True, False),
        (SAVE_ROOMS, rooms, True, False),
        (SAVE_CHATS, chats, False, False),
        (INSERT_CHANGES, changes, False, False),
        (END_INPUTS, ended, True, False),
        (SETTLE_EFFECTS, settled, True, False),
        (SAVE_ANCHORS, [*anchors.values()], False, False),
        (INSERT_ENTRIES, entries, False, True),
        (INSERT_WAITING, waiting, False, True),
    )
    return [Part(*part) for part in parts if part[1]]


def change_row(change: store.Change) -> tuple[object, ...]:
    """Return the parameters of `INSERT_CHANGES`."""
    words = change.actor, change.way, change.key, change.before, change.after
    return change.at, *map(printable, words), change.room_id, change.enterprise


def _entry(commit: store.Commit, entry: store.Entry, cover: Cover) -> tuple[object, ...]:
    """Return the parameters of `INSERT_ENTRIES`. A cause that equals the row's key is left out."""
    came, effect, now = entry.came, entry.effect, commit.now
    key = None if came is None else came.key
    body = None if came is None else _closed(commit, came.body, cover)
    what = commit.room_id, key, body, now, now
    if effect is None:
        return *what, None, None, None, None, False, None, 0, HANDLED, now
    return (
        *what,
        effect.lane.value,
        _closed(commit, effect.effect, cover),
        None if effect.cause == key else effect.cause,
        effect.call_id,
        effect.repeat,
        now if effect.marked else None,
        int(effect.marked),
        None,
        None,
    )


def _closed(commit: store.Commit, data: bytes, cover: Cover) -> bytes:
    return data if commit.clear else cover.close(commit.room_id, data)


def _committed(commits: Sequence[store.Commit], rows: Rows) -> list[store.Committed]:
    """Assign returned rows to their commits; rows are numbered in the order they were passed.

    Unreachable: rows are missing, as the answer was lost, and another process has since taken over
    their rooms and changed the rows.
    """
    entered, inputs, new_keys = [], [], set()
    for row in rows:  # number, key, handled
        if row[2] is None:
            inputs.append(row[0])
            new_keys.add(row[1])
        else:
            entered.append(row[0])
    wanted = unkeyed = 0
    for commit in commits:
        wanted += len(commit.entries)
        if commit.waiting:
            unkeyed += sum(new.key is None for new in commit.waiting)
    if len(entered) != wanted or len(inputs) != len(new_keys - {None}) + unkeyed:
        raise Unreachable("the answer to a COMMIT was lost, and its rows have changed since")
    numbers, input_numbers = iter(sorted(entered)), iter(sorted(inputs))
    answers = []
    for commit in commits:
        effects, input_rows = [], []
        for entry in commit.entries:
            seq = next(numbers)
            if entry.effect is not None:
                effects.append(_effect_row(commit, entry, entry.effect, seq))
        for waiting in commit.waiting:
            if waiting.key is not None:
                if waiting.key not in new_keys:
                    continue
                new_keys.remove(waiting.key)
            seq = next(input_numbers)
            input_rows.append(
                store.InputRow(seq, commit.room_id, waiting.body, commit.now, waiting.key)
            )
        answers.append(store.Committed(effects, input_rows))
    return answers


def _effect_row(
    commit: store.Commit, entry: store.Entry, effect: store.NewEffect, seq: EffectSeq
) -> store.EffectRow:
    """Return the row as `load` reads it, except that the attempt is known not to be made yet."""
    key = None if entry.came is None else entry.came.key
    return store.EffectRow(
        seq,
        commit.room_id,
        effect.lane,
        effect.effect,
        commit.now,
        cause=key if effect.cause is None else effect.cause,
        call_id=effect.call_id,
        repeat=effect.repeat,
        marked=effect.marked,
        call=effect.call,
    )


MARK_ATTEMPTED = updating(
    "UPDATE journal SET attempted = {at}, attempts = attempts + 1 "
    "WHERE seq = {seq} AND coalesce(outcome, '') = ''",
    "seq bigint, at bigint",
)


# The owner reads the room again, as the revision is higher than any.
NOTIFY_OWNER = Statement(
    "SELECT ?1",  # SQLite tells of writes by other connections (`VERSION`)
    "SELECT pg_notify(value, 'rooms [' || json_build_object('room', $1::text, 'revision', "
    "9223372036854775807) || ']') FROM facts WHERE name = 'channel'",
)
PING = same("SELECT count(*) FROM schema_version")
# SQLite writes no unchanged value. On PostgreSQL each transaction writes its token, and no row that
# others write: a process that hangs in its transaction would hold them up, heartbeats and all. Nor
# may anybody have locked a table that messages are written to (VACUUM FULL, LOCK TABLE).
TOUCH = Statement(
    "INSERT OR REPLACE INTO facts (name, value) VALUES ('ping', hex(randomblob(4)))",
    "WITH a AS (UPDATE rooms SET room_id = room_id WHERE false), "
    "b AS (UPDATE journal SET key = key WHERE false), "
    "c AS (UPDATE chats SET chat = chat WHERE false), "
    "d AS (UPDATE facts SET value = value WHERE false) SELECT 1",
)
VERSION = Statement("PRAGMA data_version", "SELECT 0")
PAGES = Statement("PRAGMA quick_check(1)", "SELECT 'ok'")
MARK_SESSION = Statement("SELECT ?1", "SELECT set_config('webchat.session', $1, false)")
MARKED = Statement(
    "SELECT ?1 WHERE false", "SELECT 1 WHERE current_setting('webchat.session', true) = $1"
)
NARROW = Statement(
    "SELECT 1 WHERE false",
    "SELECT e FROM current_setting('server_encoding') AS e WHERE e NOT IN ('UTF8', 'SQL_ASCII')",
)


# --- reading rooms and their journal --------------------------------------------------------------

_JSON = "replace(convert_from(record, 'UTF8'), '\\u0000', '\\ufffd')::json"
"""PostgreSQL expression of a room's record as JSON."""
_ROOM = "room_id, record, words, live, phase, deadline, customer, revision"
"""Columns of `stored_room`."""
# A single statement, so that record and rows are of the same moment.
LOAD = same(
    f"SELECT rooms.{_ROOM}, "  # noqa: S608 - our own
    "journal.seq, journal.body, journal.received, journal.key, journal.handled, "
    "journal.lane, journal.effect, journal.attempted, journal.attempts, "
    "coalesce(journal.cause, journal.key), journal.call_id, journal.repeat, journal.revived "
    "FROM (SELECT CAST($1 AS TEXT) AS room_id) AS asked "
    "LEFT JOIN rooms ON rooms.room_id = asked.room_id "
    "LEFT JOIN journal ON journal.room_id = asked.room_id AND journal.outcome IS NULL "
    "ORDER BY journal.seq"
)


def loaded(room_id: RoomId, rows: Rows, cover: Cover = NO_COVER) -> store.Loaded:
    room = None if rows[0][0] is None else stored_room(rows[0][:8], cover)
    inputs, effects = [], []
    for row in rows:
        seq, body, received, key, handled, lane, effect, *called = row[8:]
        if seq is None:
            continue
        data = cover.open(room_id, body if handled is None else effect)
        if handled is None:
            inputs.append(store.InputRow(InputSeq(seq), room_id, data, received, key))
        else:
            called[4] = bool(called[4])  # `repeat`: SQLite has no booleans
            effects.append(
                store.EffectRow(EffectSeq(seq), room_id, store.Lane(lane), data, handled, *called)
            )
    return store.Loaded(room, inputs, effects)


BUSY_ROOMS = same(
    "SELECT room_id FROM journal WHERE outcome IS NULL "
    "GROUP BY room_id ORDER BY min(coalesce(handled, received)), room_id"
)
LIVE_ROOMS = same("SELECT room_id FROM rooms WHERE live ORDER BY room_id")
DEADLINES = same(
    "SELECT room_id, deadline FROM rooms WHERE deadline IS NOT NULL ORDER BY deadline, room_id"
)
# Grouped by room first, so that each record is parsed once. Effects have a lane, inputs do not.
_BACKLOG = (
    "SELECT coalesce({enterprise}, ''), what, CAST(sum(waiting) AS BIGINT), min(since) FROM ("
    "SELECT room_id, coalesce(lane, 'inbox') AS what, count(*) AS waiting, "
    "min(coalesce(handled, received)) AS since "
    "FROM journal WHERE outcome IS NULL GROUP BY room_id, lane "
    "UNION ALL SELECT room_id, 'dead', count(*), min(settled) "
    "FROM journal WHERE outcome = 'dead' GROUP BY room_id"
    ") AS waits LEFT JOIN rooms ON rooms.room_id = waits.room_id GROUP BY 1, 2"
)
BACKLOG = Statement(
    _BACKLOG.format(enterprise="json_extract(CAST(record AS TEXT), '$.enterprise')"),
    _BACKLOG.format(enterprise=f"{_JSON} ->> 'enterprise'"),
)
ROOMS_OF = same(
    "SELECT room_id FROM rooms WHERE customer = $1 AND customer <> '' ORDER BY live DESC, room_id"
)
CHATS = same(
    "SELECT number, chat FROM chats WHERE room_id = $1 AND number <= $2 "
    "ORDER BY number DESC LIMIT $3"
)
CHANGES = same(
    f"SELECT {_CHANGE}, number FROM changes WHERE number < $1 ORDER BY number DESC LIMIT $2"  # noqa: S608
)
CHANGES_OF = same(
    f"SELECT {_CHANGE}, number FROM changes WHERE room_id = $3 AND number < $1 "  # noqa: S608
    "ORDER BY number DESC LIMIT $2"
)
ANCHOR = same("SELECT event_id FROM anchors WHERE room_id = $1 AND name = $2")


# --- people and peers -----------------------------------------------------------------------------

_GHOST = "displayname, avatar_source, avatar_mxc, device, avatar_hash, avatar_at, seen"
GHOST = same(f"SELECT user_id, {_GHOST} FROM ghosts WHERE user_id = $1")  # noqa: S608
SAVE_GHOST = for_rows(
    upsert("ghosts", "user_id", _GHOST), "text, text, text, text, boolean, text, bigint, bigint"
)
_LOGIN = "login_name, token, issued, client_id, cookies"
TOKEN = same(f"SELECT room_id, {_LOGIN} FROM accounts WHERE room_id = $1")  # noqa: S608
SAVE_TOKEN = for_rows(upsert("accounts", "room_id", _LOGIN), "text, text, text, bigint, text, text")
FORGET_TOKEN = same("UPDATE accounts SET token = '', cookies = '' WHERE room_id = $1")
FACT = same("SELECT value FROM facts WHERE name = $1")
SAVE_FACT = for_rows(upsert("facts", "name", "value"), "text, text")
FIRST_FACT = for_rows(
    "INSERT INTO facts (name, value) {rows} ON CONFLICT (name) DO NOTHING", "text, text"
)
SECRET = same("SELECT value FROM secrets WHERE name = $1")
_NAMED = "WHERE substr(name, 1, length(CAST($1 AS TEXT))) = CAST($1 AS TEXT)"
FACTS = same(f"SELECT value FROM facts {_NAMED}")  # noqa: S608
SECRET_NAMES = Statement(
    # By the index, as SQLite compares bytes: there may be a million rows.
    "SELECT name FROM secrets WHERE name >= ?1 AND name < ?1 || char(1114111)",
    f"SELECT name FROM secrets {_NAMED}",  # noqa: S608
)
SAVE_SECRETS = for_rows(upsert("secrets", "name", "value, keep_until"), "text, bytea, bigint")
CHANGE_SECRETS = updating(
    "UPDATE secrets SET value = {value}, keep_until = {keep_until} "
    "WHERE name = {name} AND value = {was}",
    "name text, value bytea, keep_until bigint, was bytea",
)
NEW_SECRETS = for_rows(
    "INSERT INTO secrets (name, value, keep_until) {rows} "
    "ON CONFLICT (name) DO NOTHING RETURNING name",
    "text, bytea, bigint",
)
DROP_SECRETS = for_rows("DELETE FROM secrets WHERE name IN ({rows})", "text")
COUNT_SECRETS = same("SELECT count(*) FROM secrets")
DROP_ALL_SECRETS = same("DELETE FROM secrets")


# --- queries over all rooms: each reads a page, or a range of the journal -------------------------

ROOM = same(f"SELECT {_ROOM} FROM rooms WHERE room_id = $1")  # noqa: S608
_BEHIND = "room_id > $1 ORDER BY room_id LIMIT $2"
ROOMS = same(f"SELECT {_ROOM} FROM rooms WHERE {_BEHIND}")  # noqa: S608
LIVE = same(f"SELECT {_ROOM} FROM rooms WHERE live AND (phase = $3 OR $3 = '') AND {_BEHIND}")  # noqa: S608
# Like the view `sessions`, but of live rooms only.
BUSY = Statement(
    "SELECT coalesce(json_extract(CAST(record AS TEXT), '$.enterprise'), ''), phase, "
    "json_extract(CAST(record AS TEXT), '$.conversation.phase.queue_id'), count(*) "
    "FROM rooms WHERE live GROUP BY 1, 2, 3",
    "SELECT coalesce(record ->> 'enterprise', ''), phase, "  # noqa: S608
    "(record -> 'conversation' -> 'phase' ->> 'queue_id')::bigint, count(*) "
    f"FROM (SELECT phase, {_JSON} AS record FROM rooms WHERE live) AS stored "
    "GROUP BY 1, 2, 3",
)
ACCOUNTS = same(
    f"SELECT accounts.room_id, login_name, token <> '', issued, rooms.{_ROOM} FROM accounts "  # noqa: S608
    "LEFT JOIN rooms ON rooms.room_id = accounts.room_id "
    "WHERE accounts.room_id > $1 ORDER BY accounts.room_id LIMIT $2"
)
FORGET_ACCOUNT = same("DELETE FROM accounts WHERE room_id = $1 RETURNING room_id")
_LEDGER = (
    "SELECT room_id, seq, key, cause, received, handled, lane, attempted, attempts, repeat, "
    "outcome, settled, detail, event_id FROM journal "
)
ROWS_AFTER = same(_LEDGER + "WHERE seq > $1 ORDER BY seq LIMIT $2")
# $1: the numbers, as a JSON list.
ROWS_AT = Statement(
    _LEDGER + "WHERE seq IN (SELECT value FROM json_each(?1)) ORDER BY seq",  # noqa: S608 - ours
    _LEDGER + "WHERE seq = ANY(ARRAY(SELECT jsonb_array_elements_text($1::jsonb)::bigint)) "
    "ORDER BY seq",
)
ENDS = same("SELECT (SELECT min(seq) FROM journal), (SELECT max(seq) FROM journal)")
DELIVERIES = same(
    _LEDGER + "WHERE seq >= $2 AND seq < $3 AND room_id = $1 ORDER BY seq DESC LIMIT $4"
)
INPUT = same(_LEDGER + "WHERE key = $1 AND room_id = $2")
_LETTER = "SELECT seq, journal.room_id, settled, detail, handled, record"
_DEAD = "FROM journal LEFT JOIN rooms ON rooms.room_id = journal.room_id WHERE outcome = 'dead' AND"
LETTERS = same(f"{_LETTER} {_DEAD} (settled, seq) > ($1, $2) ORDER BY settled, seq LIMIT $3")
LETTER = same(f"{_LETTER}, body, effect {_DEAD} seq = $1 AND (handled IS NULL) = $2")


def stored_room(row: Sequence[Any], cover: Cover) -> store.StoredRoom:
    """Decode a row of ROOMS, with its bare record if the sealed one cannot be opened."""
    room_id, record, words, live, phase, deadline, customer, revision = row
    if words is not None and (whole := cover.open(room_id, words)) != LOST:
        record = whole
    known = b"" if record == UNWRITTEN else bytes(record)
    return store.StoredRoom(room_id, known, bool(live), phase, deadline, customer, revision)


def ledger_row(row: Sequence[Any]) -> tuple[RoomId, store.LedgerRow]:
    room_id, seq, key, cause, received, handled, lane, attempted, attempts, repeat, *rest = row
    head = seq, key, cause, received, handled, None if lane is None else store.Lane(lane)
    return room_id, store.LedgerRow(*head, attempted, attempts, bool(repeat), *rest)


def dead_letter(row: Sequence[Any], cover: Cover) -> store.DeadLetter:
    seq, room_id, at, why, handled, record, *contents = row
    box, content = ("i", contents[:1]) if handled is None else ("o", contents[1:])
    shown = cover.open(room_id, (content[0] or b"") if content else b"")  # empty once erased
    body, about = bytes(shown).decode("utf-8", "replace"), dict[str, object]()
    with suppress(ValueError):  # of a damaged record
        about = msgspec.json.decode(record or b"{}", type=dict[str, object])
    return store.DeadLetter(f"{box}{seq}", room_id, at, why, body, str(about.get("enterprise", "")))


# --- the ledger -----------------------------------------------------------------------------------

TRACE = same(
    "SELECT room_id, key, received, handled, lane, attempted, attempts, repeat, revived, outcome, "
    "settled, detail FROM journal WHERE key = $1 OR cause = $1 OR event_id = $1 ORDER BY seq"
)


def lines(event_id: str, rows: Rows) -> list[store.TraceRow]:
    """Return all ledger lines of an event by time; at equal times the inputs before the effects."""
    inputs: list[store.TraceRow] = []
    effects: list[store.TraceRow] = []
    for row in rows:
        room_id, key, received, handled, lane, attempted, attempts, repeat = row[:8]
        revived, outcome, settled, detail = row[8:]
        ended = ("revived", revived, ""), (outcome, settled, detail)
        # An input's outcome is `handled`; the outcome of a row with an effect is the effect's.
        came = ("received", received, ""), *(ended if lane is None else [("handled", handled, "")])
        if key == event_id:
            inputs += [
                store.TraceRow(what, at, room_id, note) for what, at, note in came if at is not None
            ]
        if lane is not None:
            again = "" if attempts < 2 else f", {attempts}x"
            sent = ("stored", handled, lane), ("attempted", attempted, f"{lane}{again}"), *ended
            effects += [
                store.TraceRow(what, at, room_id, note, bool(repeat))
                for what, at, note in sent
                if at is not None
            ]
    return sorted(inputs + effects, key=lambda line: line.at)


# $1: the keys, as a JSON list.
_KNOWN = (
    "SELECT key, seq FROM journal WHERE key {0} "
    "UNION ALL SELECT event_id, seq FROM journal WHERE event_id {0}"
)
KNOWN = Statement(
    _KNOWN.format("IN (SELECT value FROM json_each(?1))"),
    _KNOWN.format("= ANY(ARRAY(SELECT jsonb_array_elements_text($1::jsonb)))"),
)
# An event came from the room, or was sent into it by the first effect that has its id.
BODY_OF = same(
    "SELECT body FROM journal WHERE key = $1 AND room_id = $2 AND body IS NOT NULL UNION ALL "
    "SELECT effect FROM (SELECT effect FROM journal WHERE event_id = $1 AND room_id = $2 "
    "AND effect IS NOT NULL ORDER BY seq LIMIT 1) AS sent"
)
# Effects that became events, and inputs with a key. These include `PartPosted`: the event of a
# later part of a message, known only once that was sent, so its row may come after $5.
POSTED = same(
    "SELECT coalesce(event_id, key), coalesce(effect, body), received FROM journal "
    "WHERE seq >= $2 AND seq < $3 AND room_id = $1 AND coalesce(effect, body) IS NOT NULL "
    "AND ((event_id IS NOT NULL AND seq < $5) OR (lane IS NULL AND key IS NOT NULL)) "
    "AND coalesce(settled, received) >= $4 ORDER BY seq DESC"
)


# A row may hold one event and an effect about another: each is erased with its own event. Open
# inputs, open effects and dead letters stay.
FORGET_BODY = same(
    "UPDATE journal SET "
    "body = CASE WHEN key = $1 THEN NULL ELSE body END, "
    "effect = CASE WHEN coalesce(cause, key) = $1 AND outcome <> 'dead' THEN NULL ELSE effect END "
    "WHERE (key = $1 OR cause = $1) AND room_id = $2 "
    "AND (handled IS NOT NULL OR outcome <> 'dead') RETURNING seq"
)

# `attempted` stays, as the peer may have seen the effect. $2: whether it is an input.
REVIVE = same(
    "UPDATE journal SET outcome = NULL, settled = NULL, detail = '', attempts = 0, revived = $3 "
    "WHERE seq = $1 AND outcome = 'dead' AND (handled IS NULL) = $2 RETURNING seq"
)
DISCARD = same(
    "UPDATE journal SET outcome = 'discarded', settled = $3 "
    "WHERE seq = $1 AND outcome = 'dead' AND (handled IS NULL) = $2 RETURNING seq"
)


def printable(text: str) -> str:
    """Replace NUL and lone surrogates, which a peer's text may hold and a database cannot store.

    A reason that cannot be stored would prevent its row from ever being settled.
    """
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


# --- pruning, a range of the journal at a time ---------------------------------------------------

CONTENT = "coalesce(length(body), 0) + coalesce(length(effect), 0)"
"""SQL of a journal row's bytes of content, which neither engine reads for that."""
MOST_BYTES = 4 * 1024 * 1024
"""Bytes of content from which fewer rows are touched at a time: a large text has 100 KB in all."""


def fitting(rows: int, size: int | None) -> int:
    """Return how many of the rows to take at a time, if so many have `size` bytes of content."""
    return rows if not size or size <= MOST_BYTES else max(1, rows * MOST_BYTES // size)


# Dead letters stay until an operator decides.
STRETCH = same(
    "SELECT max(seq), CAST(sum(size) FILTER (WHERE due) AS BIGINT), count(*) FILTER (WHERE due) "  # noqa: S608
    "FROM (SELECT seq, size, outcome <> 'dead' AND (settled < $4 OR settled < $3 AND size > 0) "
    f"AS due FROM (SELECT seq, outcome, settled, {CONTENT} AS size "
    "FROM journal WHERE seq >= $1 ORDER BY seq LIMIT $2) AS stretch) AS sized"
)
DROP_ROWS = same(
    "DELETE FROM journal WHERE seq >= $1 AND seq <= $2 AND outcome <> 'dead' AND settled < $3 "
    "RETURNING seq"
)
ERASE_BODIES = same(
    "UPDATE journal SET body = NULL, effect = NULL WHERE seq >= $1 AND seq <= $2 "
    "AND outcome <> 'dead' AND settled < $3 AND (body IS NOT NULL OR effect IS NOT NULL) "
    "RETURNING seq"
)


def _dropping_some(table: str, key: str, old: str) -> Statement:
    """Make a DELETE of at most $2 rows that match `old`, a condition on $1; returns each row."""
    some = f"SELECT {key} FROM {table} WHERE {old} LIMIT $2"  # noqa: S608 - our own words
    return same(f"DELETE FROM {table} WHERE ({key}) IN ({some}) RETURNING {key}")  # noqa: S608


PRUNES = {
    "chats": _dropping_some("chats", "room_id, number", "ended < $1"),
    "accounts": _dropping_some(
        "accounts",
        "room_id",
        "issued < $1 "
        "AND NOT EXISTS (SELECT 1 FROM rooms WHERE rooms.room_id = accounts.room_id AND live)",
    ),
    "ghosts": _dropping_some("ghosts", "user_id", "seen < $1"),
    "audit": _dropping_some("changes", "number", "at < $1 ORDER BY number"),
    "secrets": _dropping_some("secrets", "name", "keep_until < $1"),
}
"""Pruning statements by field name of `Cutoffs`, and that for secrets."""
