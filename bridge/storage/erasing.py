"""Erasure in the database: find, count and delete everything stored about a room or a person.

The journal has no index by room (delivery needs none), so erasure scans it, one range of rows at a
time, and writes only to ranges that hold rows of the room. The room's own row is deleted last,
together with rows added since the scan began: after an interruption the room is still marked as to
be erased. Only events that the room's owner has not seen yet stay: the new room begins with them.

An event's id stays until `retention.rows`, without room or content, so that the event is recognised
when the homeserver repeats a transaction or catch-up reads it again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

import msgspec

from bridge.ids import EventId, RoomId, UserId
from bridge.rooms.record import MatrixEvent
from bridge.rooms.surroundings import BEGUN, IN_PLACE, begun_fact
from bridge.storage.query import Part, Query, Rows, Statement, Together, Unreachable, for_rows, same
from bridge.storage.sql import CONTENT, DROP_SECRETS, FACT, HIGHEST, SAVE_FACT, Cover, fitting

STRETCH = 5_000
"""Journal rows scanned at a time; a write then touches only those of one room."""
AT_ONCE = 500
"""Maximum number of keys that one write deletes."""
LOOK, MOST_LOOKS = 0.05, 400
"""Seconds between two polls whether transactions have ended, and the maximum number of polls."""

Read = Callable[..., Awaitable[Rows]]
Write = Callable[[Query | Together], Awaitable[object]]


def _holding(sql: str) -> Statement:
    """Make a statement in which `{has X}` tests whether column X contains the bytes or text $1."""
    sqlite, _, _, _ = same(sql.replace("{has ", "instr(").replace("}", ", $1) > 0"))
    return Statement(sqlite, sql.replace("{has ", "position($1 IN ").replace("}", ") > 0"))


LAST = same(
    f"SELECT max(seq), CAST(sum(size) AS BIGINT) FROM (SELECT seq, {CONTENT} AS size "  # noqa: S608
    "FROM journal WHERE seq >= $1 ORDER BY seq LIMIT $2) AS stretch"
)
OF_ROOM = same(
    "SELECT seq, key, cause, body, effect, outcome FROM journal "
    "WHERE seq >= $1 AND seq <= $2 AND room_id = $3"
)
NAMING = _holding(
    "SELECT DISTINCT room_id FROM journal WHERE seq >= $2 AND seq <= $3 "
    "AND ({has body} OR {has effect})"
)
ROOMS_NAMING = _holding(
    "SELECT room_id, {has record} FROM rooms WHERE room_id > $2 ORDER BY room_id LIMIT $3"
)
ANY_OF_ROOM = same("SELECT count(*) FROM journal WHERE seq >= $1 AND seq <= $2 AND room_id = $3")
EVENTS_OF = same("SELECT key, event_id FROM journal WHERE seq >= $1 AND seq <= $2 AND room_id = $3")
# True except for waiting events numbered above the last one that the owner knows. Not decided by
# time: another process may have stored them, and its clock may differ.
_KNOWN = (
    "(handled IS NOT NULL OR outcome IS NOT NULL OR substr(coalesce(key, ''), 1, 1) <> '$' "
    "OR seq <= "
)
_LINES = f"WHERE seq >= $1 AND seq <= $2 AND room_id = $3 AND {_KNOWN} $4)"
KEEP_KEYS = same(
    "UPDATE journal SET room_id = '', body = NULL, received = coalesce(settled, $5), "  # noqa: S608
    "handled = NULL, lane = NULL, effect = NULL, cause = NULL, call_id = NULL, attempted = NULL, "
    "attempts = 0, outcome = 'erased', settled = coalesce(settled, $5), detail = '', "
    f"event_id = NULL, revived = NULL {_LINES} AND substr(key, 1, 1) = '$' RETURNING seq"
)
DROP_LINES = same(f"DELETE FROM journal {_LINES} RETURNING seq")  # noqa: S608 - our own
EMPTY_LINES = for_rows(
    "UPDATE journal SET body = NULL, effect = NULL, detail = '', "
    "outcome = CASE WHEN outcome = 'dead' THEN 'discarded' ELSE outcome END "
    "WHERE seq IN ({rows}) AND settled IS NOT NULL RETURNING seq",
    "bigint",
)
_TABLES = {
    "chats": "chats",
    "ids of the bridge's own messages": "anchors",
    "accounts": "accounts",
    "rooms": "rooms",
}
"""Kind of data of a room -> its table; the room's own row is deleted last."""
COUNTS = [
    (kind, same(f"SELECT count(*) FROM {table} WHERE room_id = $1"))  # noqa: S608 - our own
    for kind, table in _TABLES.items()
]
DROPS = [same(f"DELETE FROM {table} WHERE room_id = $1") for table in _TABLES.values()]  # noqa: S608
DROP_LATER_LINES = same(
    f"DELETE FROM journal WHERE room_id = $1 AND seq > $2 AND {_KNOWN} $3)"  # noqa: S608 - our own
)
WRITING = Statement(
    "SELECT 1 WHERE false",  # SQLite has one writer at a time
    "SELECT virtualtransaction FROM pg_locks WHERE relation = 'journal'::regclass "
    "AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid() "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
)
"""Transactions of other sessions that have written to the journal, or are about to."""
FACTS_NAMING = _holding("SELECT name, value FROM facts WHERE {has value}")
DROP_FACTS = for_rows("DELETE FROM facts WHERE name IN ({rows})", "text")
SECRETS_NAMING = _holding("SELECT name FROM secrets WHERE {has name}")
AUDIT_OF_ROOM = same("SELECT count(*) FROM changes WHERE room_id = $1")
UNNAME_ROOM = same(
    "UPDATE changes SET room_id = $2, before = '', after = '', "
    "actor = CASE WHEN substr(actor, 1, 1) = '@' THEN $2 ELSE actor END "
    "WHERE room_id = $1 RETURNING number"
)
UNNAME = same("UPDATE changes SET actor = $2 WHERE actor = $1 RETURNING number")
SIZE = Statement(
    "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", "SELECT 0"
)
VACUUM = Statement("VACUUM", "SELECT 1")
"""SQLite leaves copies of rows in split or freed pages; only VACUUM removes them all."""
LARGEST = 256 * 1024 * 1024
"""Maximum bytes of a SQLite file that is vacuumed while the bridge runs: takes a second or two."""


@dataclass(eq=False)
class Eraser:
    """Erases rooms and persons. Methods raise StoreError."""

    _read: Read
    _write: Write
    _maintain: Read
    """Runs a statement without the timeout of `_read`."""
    _empty_log: Callable[[], Awaitable[None]]
    _cover: Cover

    # --- a room -------------------------------------------------------------------------------

    async def count_room(self, room_id: RoomId, places: Collection[RoomId]) -> Counter[str]:
        """Count what is stored about a room, by kind; `places`: the Matrix rooms it is or was."""
        found: Counter[str] = Counter()
        async for first, last in self._stretches():
            for row in await self._read(OF_ROOM, first, last, room_id):
                found["ledger lines"] += 1
                found["of them with content"] += row[3] is not None or row[4] is not None
                found["dead letters"] += row[5] == "dead"
        for table, statement in COUNTS:
            ((found[table],),) = await self._read(statement, room_id)
        found["encryption keys"] = len(await self._keys_of_room(places))
        ((changes,),) = await self._read(AUDIT_OF_ROOM, room_id)
        found["changes in the audit trail (only names are erased)"] = changes
        found["other notes"] = len(await self._facts_of_room(places))
        return +found

    async def erase_room(
        self,
        room_id: RoomId,
        places: Collection[RoomId],
        now: int,
        *,
        record: bool = True,
        known: int | None = None,
    ) -> None:
        """Delete everything about a room; last, in one transaction, its row and rows added since.

        The row stays if `record` is False. Waiting events numbered above `known` stay, as the
        room's owner has not seen them; with None (no process serves the room) none stays.
        """
        known = HIGHEST if known is None else known
        await self._written()
        last = 0
        async for first, last in self._stretches():
            ((present,),) = await self._read(ANY_OF_ROOM, first, last, room_id)
            if present:
                lines = first, last, room_id, known
                await self._write(Query(KEEP_KEYS, (*lines, now), [room_id]))
                await self._write(Query(DROP_LINES, lines, [room_id]))
        await self._drop(DROP_SECRETS, await self._keys_of_room(places))
        facts = await self._facts_of_room(places)
        gone = [name for name, value in facts.items() if value is None]
        if not record:  # the room stays in service as the replacement of an upgraded room
            gone = [name for name in gone if not name.startswith(IN_PLACE)]
        await self._drop(DROP_FACTS, gone)
        changed = [(name, value) for name, value in facts.items() if value is not None]
        if changed:
            await self._write(Together([Part(SAVE_FACT, changed)]))
        await self._write(Query(UNNAME_ROOM, (room_id, _nobody())))
        parts = [Part(drop, [(room_id,)]) for drop in (DROPS if record else DROPS[:-1])]
        later = Part(DROP_LATER_LINES, [(room_id, last, known)])
        await self._write(Together([later, *parts], rooms=[room_id]))

    async def events_of(self, room_id: RoomId) -> list[EventId]:
        """Return ids of a room's events in the journal: received, and sent by the bridge."""
        events: list[EventId] = []
        async for first, last in self._stretches():
            for key, event_id in await self._read(EVENTS_OF, first, last, room_id):
                events += [EventId(key)] if (key or "").startswith("$") else []
                events += [EventId(event_id)] if event_id else []
        return events

    async def _keys_of_room(self, places: Collection[RoomId]) -> list[str]:
        found: list[str] = []
        for place in places:
            for (name,) in await self._read(SECRETS_NAMING, place):
                if name == f"room/{place}" or f"in/{place}/" in name:
                    found.append(name)
        return found

    async def _facts_of_room(self, places: Collection[RoomId]) -> dict[str, str | None]:
        """Return facts that name the room, with their value without it; None if nothing remains."""
        found: dict[str, str | None] = {}
        for place in places:
            for name, value in await self._read(FACTS_NAMING, quoted(place).decode()):
                if name.startswith(BEGUN):
                    begun = msgspec.json.decode(found.get(name) or value, type=dict[str, int])
                    begun.pop(place, None)
                    found[name] = msgspec.json.encode(begun).decode() if begun else None
                elif name.startswith(IN_PLACE):
                    found[name] = None
        return found

    # --- a person -----------------------------------------------------------------------------

    async def rooms_naming(self, person: UserId) -> list[RoomId]:
        """Return rooms that name a person in their record or in an unsealed journal row."""
        name, found, after = quoted(person), dict[RoomId, None](), ""
        while rows := await self._read(ROOMS_NAMING, name, after, STRETCH):
            found.update((room_id, None) for room_id, has in rows if has)
            after = rows[-1][0]
        async for first, last in self._stretches():
            for (room_id,) in await self._read(NAMING, name, first, last):
                if room_id:
                    found[room_id] = None
        return [*found]

    async def lines_of(self, room_id: RoomId, person: UserId) -> tuple[list[int], list[EventId]]:
        """Return the numbers of rows that name a person or were caused by one that does, and the
        ids of the person's own events (an event of someone else may mention the person).
        """
        name, found, events, theirs = quoted(person), list[int](), set[str](), list[EventId]()
        async for first, last in self._stretches():
            for seq, key, cause, body, effect, _ in await self._read(OF_ROOM, first, last, room_id):
                texts = [self._cover.open(room_id, bytes(part)) for part in (body, effect) if part]
                if any(name in text for text in texts):
                    found.append(seq)
                    events |= {value for value in (key,) if value}
                    if (key or "").startswith("$") and body and _sender(texts[0]) == person:
                        theirs.append(EventId(key))
                elif texts and not events.isdisjoint((cause, _beside(texts[-1]))):
                    found.append(seq)
        return found, theirs

    async def empty_lines(self, lines: Sequence[int]) -> None:
        """Erase the content of those journal rows that are settled; dead letters are discarded."""
        await self._drop(EMPTY_LINES, lines)

    async def keys_of(self, person: UserId) -> list[str]:
        """Return names of a person's message keys and of the Olm channels to their devices."""
        names = [name for (name,) in await self._read(SECRETS_NAMING, f"/{person}")]
        channels = [name for name in names if name.startswith("olm/") and f"/{person}/" in name]
        # Channels stored by earlier versions are named by the device alone.
        former = {
            f"olm/{name.split('/')[1]}/{name.rpartition(f'/{person}/')[2]}" for name in channels
        }
        messages = [name for name in names if name.endswith(f"/{person}") and "in/" in name]
        return [*messages, *channels, *former]

    async def facts_of(self, person: UserId) -> list[str]:
        """Return names of facts that hold a person's id, and of the one that is named by it."""
        named = [name for name, value in await self._read(FACTS_NAMING, person) if value == person]
        begun = begun_fact(person)
        return [*named, *(begun for _ in await self._read(FACT, begun))]

    async def erase_person(self, person: UserId) -> None:
        """Delete a person's keys and facts, and replace their id in the audit by a random name."""
        await self._drop(DROP_SECRETS, await self.keys_of(person))
        await self._drop(DROP_FACTS, await self.facts_of(person))
        await self._write(Query(UNNAME, (person, _nobody())))

    # --- copies left on disk --------------------------------------------------------------------

    async def overwrite(self, *, at_all_cost: bool) -> bool:
        """Vacuum a SQLite file to remove copies of erased rows (PostgreSQL has its autovacuum);
        return False if it is larger than `LARGEST` and not `at_all_cost`.
        """
        ((size,),) = await self._maintain(SIZE)
        if size > LARGEST and not at_all_cost:
            return False
        await self._maintain(VACUUM)
        await self._empty_log()
        return True

    # --- helpers ----------------------------------------------------------------------------------

    async def _written(self) -> None:
        """Wait until running transactions on the journal end: their rows have numbers, but cannot
        be seen yet. Raises Unreachable after 20 s.
        """
        waiting, looks = {pid for (pid,) in await self._read(WRITING)}, 0
        while waiting:
            if (looks := looks + 1) > MOST_LOOKS:
                raise Unreachable("PostgreSQL: a transaction that writes rooms did not end in time")
            await asyncio.sleep(LOOK)
            waiting &= {pid for (pid,) in await self._read(WRITING)}

    async def _stretches(self) -> AsyncIterator[tuple[int, int]]:
        """Yield the journal's row numbers as ranges (first, last) of up to `STRETCH` rows."""
        first, rows = 0, STRETCH
        while True:
            ((last, size),) = await self._read(LAST, first, rows)
            if last is None:
                return
            if (fewer := fitting(rows, size)) < rows:
                rows = fewer
                continue
            yield first, last
            first, rows = last + 1, STRETCH

    async def _drop(self, statement: Statement, keys: Sequence[object]) -> None:
        for start in range(0, len(keys), AT_ONCE):
            part = Part(statement, [(key,) for key in keys[start : start + AT_ONCE]])
            await self._write(Together([part]))


def _nobody() -> str:
    """Make a random name that replaces an erased room or person."""
    return f"erased-{secrets.token_hex(4)}"


def _sender(body: bytes) -> object:
    try:
        return msgspec.json.decode(body, type=MatrixEvent).raw.get("sender")
    except ValueError:
        return None


def _beside(effect: bytes) -> str:
    """Return `CallWebChat.beside`, or ""; in a text, each quotation mark has a backslash."""
    return effect.partition(b'"beside":"')[2].partition(b'"')[0].decode()


def quoted(text: str) -> bytes:
    """Encode a text as it appears in stored JSON."""
    return msgspec.json.encode(text)
