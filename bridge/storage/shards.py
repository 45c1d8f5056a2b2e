"""Shards: advisory locks by which several processes (replicas) share the rooms of one database.

Theory of operation
-------------------
Rooms fall into 256 shards (`ids.shard_of`). Whoever writes for a room owns its shard, and owning is
nothing but a lock of the session through which it writes. So PostgreSQL is the fence, and no clock
has a part in it:

- A commit, also one that only stores what came, or the mark of an attempt, is sent only on a
  connection that holds the shards of all its rooms, which is looked up in memory as it is sent
  (`Locks.check`). A session that is gone can write nothing more, for its transaction dies with it;
  one that stands has its locks.
- A connection made anew has none of them. Those held before are tried again, on that connection
  and before anything else is sent on it; what another process has by then is *lost*, and
  `Locks.changed` says so. A process that was paused or cut off, and wakes later, changes nothing.
- What comes in for a room may be stored by anybody, as an input that waits, but only by `pass_on`:
  the owner handles it. The same statement raises the room's revision and tells the owner. An owner
  who has the room in memory, and handles a later event before it hears of this one, has its commit
  refused as stale, reads the room again, and goes on in the order in which things came.

Every replica also holds the claim on the database, shared with the others: a single bridge takes it
for itself alone, so neither can start beside the other. A third lock is the session's mark, made of
the replica's id: it tells that the session stands, and which one it is. The number of the server's
process would not: after a restart it may be another session's. That a replica is *silent*
(`replicas.seen`, by the server's clock) raises only a suspicion; what follows from it is that its
session is ended, and by that its locks are free.

All that uses the writer's connection takes turns with the commits (`Channel`). What is passed on,
and the notices, have a connection of their own, for they lock rows of rooms in an order of their
own; a notice may be lost, so every owner also looks for work every few seconds.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import msgspec
from msgspec.structs import replace

from bridge.ids import RoomId, shard_of
from bridge.rooms.store import Member, NewInput, NotOwned, PassedOn, StoreError
from bridge.storage.query import Pooled, Statement
from bridge.storage.sql import NO_COVER, Cover

ALONE_SECONDS = 15.0
"""How long another process is waited for that does the same."""
ALONE_PAUSE = 0.05

_SCHEMA = "coalesce(current_schema(), '')"
_LOCK = f"hashtext('shards of ' || {_SCHEMA})"
_CLASS = f"({_LOCK}::bigint & 4294967295)"
"""The same as pg_locks shows it."""
_HELD = (
    "SELECT pid, classid::bigint AS class, objid::bigint AS object FROM pg_locks "
    "WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND database = "
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)
# All the numbers are of our own making. The claim's second one tells schemas of a database apart.
CLAIM = f"SELECT pg_try_advisory_lock(719224654, hashtext({_SCHEMA}))"
SHARED_CLAIM = CLAIM.replace("lock(", "lock_shared(")
LET_GO = SHARED_CLAIM.replace("try_advisory_lock", "advisory_unlock")
MARK = "SELECT pg_advisory_lock(719224655, hashtext($1))"
_OF_ID = "class = 719224655 AND object = hashtext({id})::bigint & 4294967295"
_PID = (
    f"SELECT pg_backend_pid(), EXISTS (SELECT 1 FROM ({_HELD}) AS held "  # noqa: S608 - our own
    f"WHERE {_OF_ID.format(id='$1')} AND pid = pg_backend_pid())"
)
_TRY = f"SELECT shard FROM unnest($1::int[]) AS shard WHERE pg_try_advisory_lock({_LOCK}, shard)"  # noqa: S608
_NAMED = f"hashtext('names of ' || {_SCHEMA}), hashtext($1)"
_TRY_ALONE = f"SELECT pg_try_advisory_lock({_NAMED})"
_NO_LONGER_ALONE = f"SELECT pg_advisory_unlock({_NAMED})"
_GIVE = f"SELECT pg_advisory_unlock({_LOCK}, $1), pg_notify($2, 'free')"
_MEMBERS = (
    f"WITH held AS MATERIALIZED ({_HELD}) "  # noqa: S608
    "SELECT id, name, replicas.pid, (extract(epoch FROM started) * 1000)::bigint, "
    "extract(epoch FROM clock_timestamp() - seen)::float8, leaving, own.pid IS NOT NULL, "
    f"ARRAY(SELECT object FROM held WHERE held.pid = own.pid AND class = {_CLASS} ORDER BY object) "
    f"FROM replicas LEFT JOIN held AS own ON own.pid = replicas.pid AND {_OF_ID.format(id='id')} "
    "ORDER BY id"
)
MEMBERS = Statement("SELECT 1 WHERE false", _MEMBERS)
REPORTS = Statement(
    "SELECT 1 WHERE ?1 IS NULL",
    "SELECT extract(epoch FROM clock_timestamp() - seen)::float8, report FROM replicas "
    "WHERE id <> $1 AND report <> '' ORDER BY name",
)
# `tcp_user_timeout` is 0 on a socket of the machine, and on systems that do not know it.
SESSIONS = Statement(
    "SELECT 1 WHERE false",
    "SELECT ARRAY(SELECT DISTINCT usename::text FROM pg_stat_activity WHERE pid = ANY($1::int[])), "
    "inet_server_addr() IS NULL OR current_setting('tcp_user_timeout') <> '0'",
)
_BEAT = (
    "INSERT INTO replicas (id, name, pid, started, seen, leaving, report) VALUES ($1, $2, "
    "pg_backend_pid(), coalesce($4, clock_timestamp()), clock_timestamp(), $3, coalesce($5, '')) "
    "ON CONFLICT (id) DO UPDATE SET pid = excluded.pid, seen = excluded.seen, "
    "leaving = excluded.leaving, report = coalesce($5, replicas.report) "
    "RETURNING pid, started, xmax = 0"
)
_FORGET = "DELETE FROM replicas WHERE id = ANY($1::text[])"
# Notices hold customers' words, and every role that may connect to the database may listen and
# send. So the channel has a name that only those know who may read the table.
_NAME_CHANNEL = "INSERT INTO facts (name, value) VALUES ('channel', $1) ON CONFLICT DO NOTHING"
_CHANNEL = "SELECT value FROM facts WHERE name = 'channel'"
_NOTIFY = "SELECT pg_notify($1, $2)"
LONGEST_NOTICE = 7_900
"""Bytes of a notice that PostgreSQL carries."""
_HALF = LONGEST_NOTICE // 2 - 10
"""Of what one notice tells of a room: so what is bundled until it exceeds this is short enough."""
# A room without a row gets one, whose record is yet to be written (`sql.UNWRITTEN`). Rows are
# locked in the order of the rooms' ids, as a commit does it, lest two wait for one another: in that
# of their bytes, which Python sorts by, and not in that of the database's language. The notices
# carry the inputs (`PassedOn`), of several rooms each, so that an owner need not read them.
_STORE = f"""
WITH new AS (
  INSERT INTO journal (room_id, key, body, received)
  SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[])
  ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING
  RETURNING seq, room_id, key, body, received
), raised AS (
  INSERT INTO rooms (room_id, record, live, phase, customer, revision)
  SELECT room_id, '{{}}'::bytea, false, '', '', 1
  FROM (SELECT room_id FROM new GROUP BY room_id ORDER BY room_id COLLATE "C") AS told
  ON CONFLICT (room_id) DO UPDATE SET revision = rooms.revision + 1 RETURNING room_id, revision
), whole AS (
  SELECT room_id, revision, json_build_object('room', room_id, 'revision', revision,
    'inputs', json_agg(json_build_object('seq', seq, 'room_id', room_id, 'key', key,
      'received', received, 'body', translate(encode(body, 'base64'), chr(10), ''))
      ORDER BY seq))::text AS notice
  FROM raised JOIN new USING (room_id) GROUP BY room_id, revision
), fitting AS (
  SELECT CASE WHEN octet_length(notice) < {_HALF} THEN notice
    ELSE json_build_object('room', room_id, 'revision', revision)::text END AS notice
  FROM whole
), bundled AS (
  SELECT notice, sum(octet_length(notice) + 1) OVER (ORDER BY notice) / {_HALF} AS bundle
  FROM fitting
)
SELECT (SELECT count(*) FROM new), (SELECT count(pg_notify($5, 'rooms [' || notices || ']'))
  FROM (SELECT string_agg(notice, ',') AS notices FROM bundled GROUP BY bundle) AS told)
"""  # noqa: S608 - our own
ASKED_SECONDS = 2.0
"""How long the connection of the notices may take to answer that it stands."""
END_SESSION = (
    f"SELECT pg_terminate_backend(pid) FROM ({_HELD}) AS held "  # noqa: S608
    f"WHERE {_OF_ID.format(id='$1')} AND pid <> pg_backend_pid()"
)


class Locks(msgspec.Struct, eq=False):
    """Shards that one session holds: lost with it, and tried again by the next."""

    held: set[int] = set()
    pid: int = 0
    """Process of the server that the session is."""
    changed: Callable[[Collection[int], Collection[int]], None] = lambda lost, kept: None
    """Told, before the new session is used, the shards that were lost and those held again."""

    def check(self, rooms: Iterable[RoomId]) -> None:
        """Raise NotOwned if the session does not hold the shards of all these rooms."""
        for room_id in rooms:
            if shard_of(room_id) not in self.held:
                raise NotOwned("the room is another process's by now")

    async def begin(self, connection: asyncpg.Connection, id_: str) -> None:
        """Take over with a new session, which has the claim and the mark of this id.

        Pooled: what was locked a statement ago is not locked any more, or by somebody else.
        """
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        ((now, marked),) = await connection.fetch(_PID, id_)
        if now != pid or not marked:
            raise Pooled
        self.pid = pid
        if not self.held:
            return
        tried = await _tried(connection, self.held)
        # The set stays the same one: others look at it, and what `give` has taken out of it
        # meanwhile is not put back, for it is unlocked as soon as we are done.
        lost = self.held - tried
        self.held -= lost
        self.changed(lost, frozenset(self.held))


async def _tried(connection: asyncpg.Connection, shards: Iterable[int]) -> set[int]:
    return {shard for (shard,) in await connection.fetch(_TRY, list(shards))}


_read_passed_on = msgspec.json.Decoder(list[PassedOn]).decode


Session = AbstractAsyncContextManager[asyncpg.Connection]
"""A connection, for one at a time (`postgres.Channel`)."""


@dataclass(eq=False)
class Shards:
    """What a replica does about shards and about the others. Every method raises StoreError."""

    id: str
    """Of this process: that of its writer."""
    locks: Locks
    """Those of its writer's session."""
    _writer: Session
    _intake: Session
    cover: Cover = NO_COVER
    """By which agents' words are sealed that are passed on."""
    heard: Callable[[str], None] = lambda notice: None
    """Is told each notice, and `connected` where those before it may have been missed."""
    _channel: str = ""
    _alone: bool = False
    """At the last sign of life there was no other; one that came since serves no room yet."""
    _started: datetime | None = None
    """By the server's clock; others may have deleted our row meanwhile."""
    _reported: str | None = None
    """What the others have of us; None: perhaps nothing."""

    async def prove(self) -> None:
        """Raise Pooled unless each of our connections is a session of its own.

        The schema may be made or upgraded only after that: the next one to pass on is to listen.
        """
        async with self._intake as other:
            await other.execute("BEGIN")
            others = await other.fetchval("SELECT pg_backend_pid()")
            async with self._writer as connection:
                own = await connection.fetchval("SELECT pg_backend_pid()")
            await other.execute("ROLLBACK")
            await other.close(timeout=ASKED_SECONDS)
        if others == own or own != self.locks.pid:
            raise Pooled

    async def beat(self, name: str, *, leaving: bool, report: str = "") -> list[Member]:
        """Give a sign of life over the writer's session, with a report; returns all replicas."""
        # One that is long is written only when it is new.
        new, self._reported = None if report == self._reported else report, None
        async with self._writer as connection:
            beat = await connection.fetch(_BEAT, self.id, name, leaving, self._started, new)
            ((pid, self._started, forgotten),) = beat
            self._reported = None if forgotten and new is None else report
            if pid != self.locks.pid:
                raise Pooled
            members = [Member(*row) for row in await connection.fetch(MEMBERS.postgres)]
        self._alone = len(members) == 1
        return members

    async def take(self, shards: Iterable[int]) -> set[int]:
        """Lock those of these shards that are free, and not ours; returns them."""
        async with self._writer as connection:
            taken = await _tried(connection, set(shards) - self.locks.held)
            self.locks.held |= taken
            return taken

    async def give(self, shard: int) -> None:
        """Unlock a shard, for whose rooms nothing is under way, and tell the others."""
        # From now on nothing is sent for its rooms; what was sent before has its turn before.
        self.locks.held.discard(shard)
        async with self._writer as connection:
            await connection.fetch(_GIVE, shard, self._channel)

    @asynccontextmanager
    async def alone(self, name: str) -> AsyncIterator[None]:
        """Do something of that name while no other process does the same.

        It spares work, and is no fence: after `ALONE_SECONDS` nobody waits for another any more,
        and a session that ends has no locks.
        """
        loop = asyncio.get_running_loop()
        end, had = loop.time() + ALONE_SECONDS, False
        while not had and loop.time() < end:
            async with self._writer as connection:
                had = await connection.fetchval(_TRY_ALONE, name)
            if not had:
                await asyncio.sleep(ALONE_PAUSE)
        try:
            yield
        finally:
            if had:
                with suppress(StoreError):
                    async with self._writer as connection:
                        await connection.execute(_NO_LONGER_ALONE, name)

    async def end(self, member: Member) -> bool:
        """End a silent replica's session, as it was seen, with its locks; False: we may not."""
        async with self._writer as connection:
            try:
                await connection.execute(f"{END_SESSION} AND pid = $2", member.id, member.pid)
            except asyncpg.InsufficientPrivilegeError:
                return False
            return True

    async def forget(self, members: Sequence[str]) -> None:
        """Delete the rows of replicas that are gone."""
        async with self._writer as connection:
            await connection.execute(_FORGET, list(members))

    async def listen(self) -> None:
        """See to it that notices are heard: ask their connection, which may be cut silently."""
        async with self._intake as connection:
            await connection.execute("SELECT 1", timeout=ASKED_SECONDS)

    async def notify(self, notice: str) -> None:
        """Tell all replicas, this one included, if there are others; a notice may be lost."""
        if not self._alone and len(notice.encode("utf-8", "replace")) <= LONGEST_NOTICE:
            async with self._intake as connection:
                await connection.execute(_NOTIFY, self._channel, notice)

    async def pass_on(self, inputs: Sequence[NewInput], now: int) -> int:
        """Store inputs for the owners of their rooms, and tell these; returns how many were new."""
        close = self.cover.close
        rows = ((one.room_id, one.key, close(one.room_id, one.body), now) for one in inputs)
        columns = zip(*rows, strict=True)
        async with self._intake as connection:
            ((new, _),) = await connection.fetch(_STORE, *map(list, columns), self._channel)
            return int(new)

    def read(self, notices: bytes | str) -> list[PassedOn]:
        """The notices of what was passed on; raises msgspec.MsgspecError."""
        return [
            replace(
                told,
                inputs=tuple(
                    replace(row, body=self.cover.open(row.room_id, row.body)) for row in told.inputs
                ),
            )
            for told in _read_passed_on(notices)
        ]

    async def listen_on(self, connection: asyncpg.Connection) -> None:
        """Have the notices come by this connection, which is a new one of the intake's."""
        await connection.execute(_NAME_CHANNEL, f"matrix_webchat_{secrets.token_hex(16)}")
        self._channel = await connection.fetchval(_CHANNEL)
        await connection.add_listener(self._channel, lambda *told: self.heard(str(told[-1])))
        self.heard("connected")
