"""Erasing: SQL and sweeps that find, count and delete all that is stored of a room or of a person.

The journal has no index by room, for nothing that flows asks for one: it is walked, a stretch at a
time, and written only where there is something. The room's own row goes last, with what happened
meanwhile: whatever ends a sweep half-way, the room still says that it is to be erased. Only events
that its owner has not heard of stay, and wait: they are the first of whatever the room is then.

Of a line of the ledger one thing stays, until `retention.rows`: the event's id, without room and
content. A homeserver that has had no answer sends an event again, and a bridge that looks for what
it missed reads it again: by its id it is known for old.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec
from msgspec.structs import asdict

from bridge.ids import EventId, RoomId, UserId
from bridge.rooms.store import Cutoffs
from bridge.storage.query import Part, Query, Rows, Statement, Together, Unreachable, for_rows, same
from bridge.storage.sql import (
    DROP_OLD_SECRETS,
    DROP_SECRETS,
    EMPTY_LOG,
    FACT,
    HIGHEST,
    SAVE_FACT,
    TOKEN,
    Cover,
    dropping_some,
)

STRETCH = 5_000
"""Rows that are looked through at a time; of these, a write touches those of one room."""
AT_ONCE = 500
"""Keys that one write deletes."""
LOOK, MOST_LOOKS = 0.05, 400
"""Seconds between two looks whether transactions have ended, and how many there are."""
_BEGUN, _IN_PLACE = "begun ", "in place "
"""How the names of facts begin that name rooms (`rooms.surroundings`)."""

Read = Callable[..., Awaitable[Rows]]
Write = Callable[[Query | Together], Awaitable[object]]


class _Sent(msgspec.Struct):
    sender: str = ""


class _Stored(msgspec.Struct):
    """As much of a stored event (`rooms.record.MatrixEvent`) as tells whose it is."""

    raw: _Sent = msgspec.field(default_factory=_Sent)


def _holding(sql: str) -> Statement:
    """A statement that asks, as `{has X}`, whether X holds the bytes or the text $1."""
    sqlite, _, _, _ = same(sql.replace("{has ", "instr(").replace("}", ", $1) > 0"))
    return Statement(sqlite, sql.replace("{has ", "position($1 IN ").replace("}", ") > 0"))


LAST = same(
    "SELECT max(seq) FROM (SELECT seq FROM journal WHERE seq >= $1 ORDER BY seq LIMIT $2) AS s"
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
# But events that wait, with later numbers than the last that was known: by time, the clock of who
# stores them may differ from ours.
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
COUNTS = tuple(
    (table, same(f"SELECT count(*) FROM {table} WHERE room_id = $1"))  # noqa: S608 - our own
    for table in ("chats", "anchors", "accounts", "rooms")
)
DROP_LATER_LINES = Statement(
    f"DELETE FROM journal WHERE room_id = ?1 AND seq > ?2 AND {_KNOWN} ?3)",  # noqa: S608
    "",  # never for several
    "DELETE FROM journal WHERE room_id = $1::text AND seq > $2::bigint "  # noqa: S608
    f"AND {_KNOWN} $3::bigint)",
)
WRITING = Statement(
    "SELECT 1 WHERE false",  # whoever writes SQLite's file does so alone
    "SELECT virtualtransaction FROM pg_locks WHERE relation = 'journal'::regclass "
    "AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid() "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
)
"""Transactions that have written to the journal, or are about to."""
DROPS = tuple(
    for_rows(f"DELETE FROM {table} WHERE room_id IN ({{rows}})", "text")  # noqa: S608 - our own
    for table in ("chats", "anchors", "accounts", "rooms")
)
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
PRUNES = {
    "chats": dropping_some("chats", "room_id, number", "ended < $1"),
    "accounts": dropping_some(
        "accounts",
        "room_id",
        "issued < $1 "
        "AND NOT EXISTS (SELECT 1 FROM rooms WHERE rooms.room_id = accounts.room_id AND live)",
    ),
    "ghosts": dropping_some("ghosts", "user_id", "seen < $1"),
    "audit": dropping_some("changes", "number", "at < $1 ORDER BY number"),
    "secrets": DROP_OLD_SECRETS,
}
"""By the names of `Cutoffs`."""
SIZE = Statement(
    "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", "SELECT 0"
)
VACUUM = Statement("VACUUM", "SELECT 1")
"""SQLite leaves copies of rows in pages that it has divided or freed; only this takes them all."""
LARGEST = 256 * 1024 * 1024
"""Bytes of a database that is rewritten while the bridge runs: in a second or two."""


@dataclass(eq=False)
class Eraser:
    """Sweeps over a database; what they ask of it is the store's, and raises StoreError."""

    _read: Read
    _write: Write
    _maintain: Read
    """Reads a statement that may take as long as it takes."""
    _cover: Cover

    # --- a room -------------------------------------------------------------------------------

    async def count_room(self, room_id: RoomId, places: Collection[RoomId]) -> Counter[str]:
        """How much there is of a room, by kind; `places`: the rooms that it is or was on Matrix."""
        found: Counter[str] = Counter()
        async for first, last in self._stretches():
            for row in await self._read(OF_ROOM, first, last, room_id):
                found["ledger lines"] += 1
                found["of them with content"] += row[3] is not None or row[4] is not None
                found["dead letters"] += row[5] == "dead"
        for table, statement in COUNTS:
            ((found[table],),) = await self._read(statement, room_id)
        found["encryption keys"] = len(await self._keys_of_room(places))
        ((found["audit lines, of which the names go"],),) = await self._read(AUDIT_OF_ROOM, room_id)
        found["facts"] = len(await self._facts_of_room(places))
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
        """Delete all of it; last and at once its row (with `record`) and what happened meanwhile.

        Events that wait are left, if their numbers are above `known` (None: nobody serves it).
        """
        known = HIGHEST if known is None else known
        await self._written()
        last = 0
        async for first, last in self._stretches():
            ((there,),) = await self._read(ANY_OF_ROOM, first, last, room_id)
            if there:
                lines = first, last, room_id, known
                await self._write(Query(KEEP_KEYS, (*lines, now), [room_id]))
                await self._write(Query(DROP_LINES, lines, [room_id]))
        await self._drop(DROP_SECRETS, await self._keys_of_room(places))
        facts = await self._facts_of_room(places)
        gone = [name for name, value in facts.items() if value is None]
        if not record:  # it goes on being the room that has replaced another
            gone = [name for name in gone if not name.startswith(_IN_PLACE)]
        await self._drop(DROP_FACTS, gone)
        changed = [(name, value) for name, value in facts.items() if value is not None]
        if changed:
            await self._write(Together([Part(SAVE_FACT, changed)]))
        await self._write(Query(UNNAME_ROOM, (room_id, _nobody())))
        parts = [Part(one, [(room_id,)]) for one in (DROPS if record else DROPS[:-1])]
        later = Part(DROP_LATER_LINES, [(room_id, last, known)])
        await self._write(Together([later, *parts], rooms=[room_id]))

    async def events_of(self, room_id: RoomId) -> tuple[list[EventId], list[EventId]]:
        """The events of a room that the journal knows: people's, and ours."""
        theirs, ours = list[EventId](), list[EventId]()
        async for first, last in self._stretches():
            for key, event_id in await self._read(EVENTS_OF, first, last, room_id):
                theirs += [EventId(key)] if (key or "").startswith("$") else []
                ours += [EventId(event_id)] if event_id else []
        return theirs, ours

    async def login_of(self, room_id: RoomId) -> str:
        """The name of its account at the call centre; "" if it has never had one."""
        rows = await self._read(TOKEN, room_id)
        return str(rows[0][1]) if rows else ""

    async def _keys_of_room(self, places: Collection[RoomId]) -> list[str]:
        found: list[str] = []
        for place in places:
            for (name,) in await self._read(SECRETS_NAMING, place):
                if name == f"room/{place}" or f"in/{place}/" in name:
                    found.append(name)
        return found

    async def _facts_of_room(self, places: Collection[RoomId]) -> dict[str, str | None]:
        """Facts that name a room, as they read without it; None: nothing is left of one."""
        found: dict[str, str | None] = {}
        for place in places:
            for name, value in await self._read(FACTS_NAMING, quoted(place).decode()):
                if name.startswith(_BEGUN):
                    begun = msgspec.json.decode(found.get(name) or value, type=dict[str, int])
                    begun.pop(place, None)
                    found[name] = msgspec.json.encode(begun).decode() if begun else None
                elif name.startswith(_IN_PLACE):
                    found[name] = None
        return found

    # --- a person -----------------------------------------------------------------------------

    async def rooms_naming(self, person: UserId) -> list[RoomId]:
        """Rooms whose records name a person, or whose journal does outside of what is sealed."""
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
        """Lines of a room that name a person, or follow from one that does; and their own events.

        Somebody else's event may name them as well, in a mention: it is not theirs.
        """
        name, found, events, theirs = quoted(person), list[int](), set[str](), list[EventId]()
        async for first, last in self._stretches():
            for seq, key, cause, body, effect, _ in await self._read(OF_ROOM, first, last, room_id):
                said = [self._cover.open(room_id, bytes(one)) for one in (body, effect) if one]
                if any(name in one for one in said):
                    found.append(seq)
                    events |= {one for one in (key,) if one}
                    if (key or "").startswith("$") and body and _sender(said[0]) == person:
                        theirs.append(EventId(key))
                elif said and cause in events:
                    found.append(seq)
        return found, theirs

    async def empty_lines(self, lines: Sequence[int]) -> None:
        """Erase the content of those that have ended."""
        await self._drop(EMPTY_LINES, lines)

    async def keys_of(self, person: UserId) -> list[str]:
        """Names of the keys of a person's messages, and of the channels to their devices."""
        names = [name for (name,) in await self._read(SECRETS_NAMING, f"/{person}")]
        channels = [name for name in names if name.startswith("olm/") and f"/{person}/" in name]
        # Those of earlier versions do not name the person, but the device alone.
        former = {
            f"olm/{name.split('/')[1]}/{name.rpartition(f'/{person}/')[2]}" for name in channels
        }
        messages = [name for name in names if name.endswith(f"/{person}") and "in/" in name]
        return [*messages, *channels, *former]

    async def facts_of(self, person: UserId, hashed: str) -> list[str]:
        """Names of facts that name a person, or are named by a hash of their id (`hashed`)."""
        named = [name for name, value in await self._read(FACTS_NAMING, person) if value == person]
        there = await self._read(FACT, hashed)
        return [*named, *(hashed for _ in there)]

    async def erase_person(self, person: UserId, hashed: str) -> None:
        """Delete these keys and facts, and have the audit name somebody who is nobody."""
        await self._drop(DROP_SECRETS, await self.keys_of(person))
        await self._drop(DROP_FACTS, await self.facts_of(person, hashed))
        await self._write(Query(UNNAME, (person, _nobody())))

    # --- what has become old ----------------------------------------------------------------------

    async def prune(self, cutoffs: Cutoffs, secrets_before: int, most: int) -> int:
        """Delete what is older than that, `most` rows at a time; how many there were."""
        touched = 0
        for name, before in (asdict(cutoffs) | {"secrets": secrets_before}).items():
            count = most if before is not None else 0
            while count == most:
                count = cast(int, await self._write(Query(PRUNES[name], (before, most))))
                touched += count
        return touched

    # --- what is left of it on the disk ---------------------------------------------------------

    async def overwrite(self, *, at_all_cost: bool) -> bool:
        """Have SQLite write its file anew, without copies of what was erased; False: it is too
        large for that while a bridge runs. Of PostgreSQL nothing but its own vacuum does.
        """
        ((size,),) = await self._maintain(SIZE)
        if size > LARGEST and not at_all_cost:
            return False
        await self._maintain(VACUUM)
        await self._maintain(EMPTY_LOG)
        return True

    # --- how --------------------------------------------------------------------------------------

    async def _written(self) -> None:
        """Wait for those who are writing to the journal now: their rows, which have their numbers
        already, can be seen only then. Raises Unreachable if one of them goes on for too long.
        """
        waiting, looks = {one for (one,) in await self._read(WRITING)}, 0
        while waiting:
            if (looks := looks + 1) > MOST_LOOKS:
                raise Unreachable("PostgreSQL: a transaction that writes rooms does not end")
            await asyncio.sleep(LOOK)
            waiting &= {one for (one,) in await self._read(WRITING)}

    async def _stretches(self) -> AsyncIterator[tuple[int, int]]:
        """The journal's numbers, from where to where, a stretch at a time."""
        first = 0
        while True:
            ((last,),) = await self._read(LAST, first, STRETCH)
            if last is None:
                return
            yield first, last
            first = last + 1

    async def _drop(self, statement: Statement, keys: Sequence[object]) -> None:
        for start in range(0, len(keys), AT_ONCE):
            part = Part(statement, [(key,) for key in keys[start : start + AT_ONCE]])
            await self._write(Together([part]))


def _nobody() -> str:
    """A name for one erasure, of which nothing follows."""
    return f"erased-{secrets.token_hex(4)}"


def _sender(body: bytes) -> str:
    """Who sent an event, as it is stored; "" of what is none, or cannot be read."""
    try:
        return msgspec.json.decode(body, type=_Stored).raw.sender
    except ValueError:
        return ""


def quoted(text: str) -> bytes:
    """A text as it stands in stored JSON."""
    return msgspec.json.encode(text)
