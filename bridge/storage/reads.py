"""Every reading call, once for both engines."""

from __future__ import annotations

from bridge.ids import EventId, RoomId
from bridge.rooms.store import (
    AccountRow,
    Backlog,
    ChatRow,
    DeadLetter,
    Depth,
    GhostRow,
    InputRow,
    Lane,
    OutboxRow,
    StoredRoom,
    TraceRow,
)
from bridge.storage import statements as sql
from bridge.storage.ledger import InputFate, OutboxFate, lines, readable
from bridge.storage.query import Call, once

_HIGHEST = 2**63 - 1
"""The largest number that both databases can hold."""


def room(room_id: RoomId) -> Call[StoredRoom | None]:
    rows = yield once(sql.ROOM, room_id)
    for found, record, live, phase, deadline, customer, revision in rows:
        return StoredRoom(found, record, bool(live), phase, deadline, customer, revision)
    return None


def open_inputs(room_id: RoomId) -> Call[list[InputRow]]:
    rows = yield once(sql.OPEN_INPUTS, room_id)
    return [InputRow(*row) for row in rows]


def open_outbox(room_id: RoomId) -> Call[list[OutboxRow]]:
    rows = yield once(sql.OPEN_OUTBOX, room_id)
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


def busy_rooms() -> Call[list[RoomId]]:
    rows = yield once(sql.BUSY_ROOMS)
    return [row[0] for row in rows]


def live_rooms() -> Call[list[RoomId]]:
    rows = yield once(sql.LIVE_ROOMS)
    return [row[0] for row in rows]


def deadlines() -> Call[list[tuple[RoomId, int]]]:
    rows = yield once(sql.DEADLINES)
    return [(row[0], row[1]) for row in rows]


def backlog() -> Call[Backlog]:
    ((count, oldest),) = yield once(sql.OPEN_INBOX)
    lanes = dict.fromkeys(Lane, Depth())
    rows = yield once(sql.OPEN_LANES)
    lanes |= {Lane(lane): Depth(waiting, since) for lane, waiting, since in rows}
    ((dead,),) = yield once(sql.DEAD)
    return Backlog(Depth(count, oldest), lanes, dead)


def rooms_of(customer: str) -> Call[int]:
    rows = yield once(sql.ROOMS_OF, customer)
    return int(rows[0][0])


def chats(room_id: RoomId, limit: int, upto: int | None) -> Call[list[ChatRow]]:
    rows = yield once(sql.CHATS, room_id, _HIGHEST if upto is None else upto, limit)
    return [ChatRow(number, bytes(chat)) for number, chat in rows]


def anchor(room_id: RoomId, name: str) -> Call[EventId | None]:
    rows = yield once(sql.ANCHOR, room_id, name)
    return EventId(rows[0][0]) if rows else None


def ghost(user_id: str) -> Call[GhostRow | None]:
    rows = yield once(sql.GHOST, user_id)
    for found, displayname, source, mxc, device, digest, looked in rows:
        return GhostRow(found, displayname, source, mxc, bool(device), digest, looked)
    return None


def account(room_id: RoomId) -> Call[AccountRow | None]:
    rows = yield once(sql.ACCOUNT, room_id)
    return AccountRow(*rows[0]) if rows else None


def secret(name: str) -> Call[bytes | None]:
    rows = yield once(sql.SECRET, name)
    return bytes(rows[0][0]) if rows else None


def secret_names(prefix: str) -> Call[list[str]]:
    rows = yield once(sql.SECRET_NAMES, prefix)
    return sorted(str(row[0]) for row in rows)


def fact(name: str) -> Call[str | None]:
    rows = yield once(sql.FACT, name)
    return str(rows[0][0]) if rows else None


def trace(event_id: EventId) -> Call[list[TraceRow]]:
    inputs = yield once(sql.TRACE_INPUTS, event_id)
    outbox = yield once(sql.TRACE_OUTBOX, event_id)
    return lines([InputFate(*row) for row in inputs], [OutboxFate(*row) for row in outbox])


def body_of(room_id: RoomId, event_id: EventId) -> Call[bytes | None]:
    for statement in (sql.INPUT_OF, sql.EFFECT_OF):
        rows = yield once(statement, event_id, room_id)
        if rows:
            return bytes(rows[0][0])
    return None


def dead_letters(limit: int) -> Call[list[DeadLetter]]:
    found = []
    for box, statement in (("i", sql.DEAD_INPUTS), ("o", sql.DEAD_OUTBOX)):
        rows = yield once(statement, limit)
        found += [
            DeadLetter(f"{box}{seq}", room_id, at, why, readable(body))
            for seq, room_id, at, why, body in rows
        ]
    return sorted(found, key=lambda letter: letter.at)[:limit]


def ping() -> Call[None]:
    yield once(sql.PING)
