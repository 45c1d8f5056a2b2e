"""Shards: advisory locks by which several processes (replicas) share the rooms of one database.

Each room belongs to one of 256 shards (`ids.shard_of`). The process that writes a room owns its
shard: it holds an advisory lock in the session that it writes through. So PostgreSQL itself is the
fence, and no clock is involved:

- A commit, including one that only stores events or marks an attempt, is sent only on a connection
  that holds the shards of all its rooms, checked in memory as it is sent (`Shards.check`). A
  session that has ended cannot write, as its transaction ended with it; one that exists has its
  locks.
- A new connection first tries to lock the shards held before; those that another process has by
  then are *lost* (`Shards.changed`). A process that was paused or cut off writes nothing on waking.
- An input for a room may be stored by any process, but only through `pass_on`, as a waiting input
  for the owner to handle. The same statement raises the room's revision and notifies the owner. If
  a later event arrives at the owner before the notice, the commit that stores it is refused as
  stale (`Commit.exact`); the owner reads the room again and handles both in the order of arrival.

Every replica also holds the claim on the database as a shared lock, in each session that writes. A
single bridge, and a command that moves the database, takes it exclusively, so that none can start
beside another. A third lock, the mark, is made of the replica's id and shows that its session
exists; the server's pid would not identify it, as another session may have that pid after a
restart. A *silent* replica (`replicas.seen` stays the same) is only suspected to be dead: its
session is terminated, which frees its locks.

Whatever uses the writer's connection takes turns with the commits (`Channel`). `pass_on` and the
notices (NOTIFY) use a separate connection, the intake, since they lock rows of rooms in their own
order. A notice may be lost, so every owner also looks for work every few seconds.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import asyncpg
import msgspec
from msgspec.structs import replace

from bridge.ids import RoomId, shard_of
from bridge.rooms.store import PASSED, Member, NewInput, NotOwned, PassedOn, StoreError
from bridge.storage.query import POOLED, Statement, Unreachable
from bridge.storage.sql import NO_COVER, Cover

ALONE_SECONDS = 15.0
"""Maximum seconds to wait for another process that does the same work (`Shards.alone`)."""
ALONE_PAUSE = 0.05

_SCHEMA = "coalesce(current_schema(), '')"
_LOCK = f"hashtext('shards of ' || {_SCHEMA})"
_CLASS = f"({_LOCK}::bigint & 4294967295)"
"""`_LOCK` as pg_locks shows it."""
_HELD = (
    "SELECT pid, classid::bigint AS class, objid::bigint AS object FROM pg_locks "
    "WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND database = "
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)
# The lock numbers are arbitrary. The claim's second one distinguishes schemas of a database.
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
    "(extract(epoch FROM seen) * 1000)::bigint, "
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
# `tcp_user_timeout` is 0 on a Unix socket, and on systems that do not support it.
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
# Notices hold customers' messages, and every role that may connect to the database can listen and
# notify. So the channel has a random name, known only to roles that may read the table.
_NAME_CHANNEL = "INSERT INTO facts (name, value) VALUES ('channel', $1) ON CONFLICT DO NOTHING"
_CHANNEL = "SELECT value FROM facts WHERE name = 'channel'"
_NOTIFY = "SELECT pg_notify($1, $2)"
LONGEST_NOTICE = 7_900
"""Maximum bytes of a notice (PostgreSQL's limit is 8000)."""
_HALF = LONGEST_NOTICE // 2 - 10
"""Maximum bytes of one room's part; parts are bundled so that no notice exceeds twice as many."""
# A room without a row gets one, whose record is not written yet (`sql.UNWRITTEN`). Rows are locked
# in the order of room ids, as in a commit, to avoid deadlocks; in byte order, like Python's sort,
# not by the database's collation. A notice carries the inputs (`PassedOn`) of several rooms, so
# that owners need not read them.
_STORE = f"""
WITH new AS (
  INSERT INTO journal (room_id, key, body, received)
  SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[])
  ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING
  RETURNING seq, room_id, key, body, received
), raised AS (
  INSERT INTO rooms (room_id, record, live, phase, customer, revision)
  SELECT room_id, '{{}}'::bytea, false, '', '', {PASSED}
  FROM (SELECT room_id FROM new GROUP BY room_id ORDER BY room_id COLLATE "C") AS told
  ON CONFLICT (room_id) DO UPDATE SET revision = rooms.revision + {PASSED}
  RETURNING room_id, revision
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
"""Timeout in seconds of a check of the notice connection."""
END_SESSION = (
    f"SELECT pg_terminate_backend(pid) FROM ({_HELD}) AS held "  # noqa: S608
    f"WHERE {_OF_ID.format(id='$1')} AND pid <> pg_backend_pid()"
)


async def _tried(connection: asyncpg.Connection, shards: Iterable[int]) -> set[int]:
    return {shard for (shard,) in await connection.fetch(_TRY, list(shards))}


_read_passed_on = msgspec.json.Decoder(list[PassedOn]).decode


class Session(AbstractAsyncContextManager[asyncpg.Connection], Protocol):
    """Exclusive use of a connection (`postgres.Channel`)."""

    def drop(self) -> None: ...


@dataclass(eq=False)
class Shards:
    """A replica's locks, heartbeats and notices. Methods raise StoreError."""

    id: str
    """Replica id of this process; its session is found by it (`MARK`)."""
    _writer: Session
    _intake: Session
    _every: Sequence[Session]
    """All connections of this process."""
    held: set[int] = field(default_factory=set)
    """Shards that the writer's session has locked; the next one tries to lock them again."""
    pid: int = 0
    """Server pid of the writer's session."""
    changed: Callable[[Collection[int], Collection[int]], None] = lambda lost, kept: None
    """Callback with the lost and the kept shards, before a new session is used."""
    cover: Cover = NO_COVER
    """Seals agents' messages that are passed on."""
    heard: Callable[[str], None] = lambda notice: None
    """Callback with each notice; with `connected` if earlier ones may have been missed."""
    _channel: str = ""
    _alone: bool = False
    """True if the last heartbeat found no other replica; one started since serves no room yet."""
    _started: datetime | None = None
    """Start by the server's clock, kept because other replicas may delete this one's row."""
    _reported: str | None = None
    """Last report known to be stored; None if unsure."""

    def check(self, rooms: Iterable[RoomId]) -> None:
        """Raise NotOwned if the writer's session does not hold the shards of all these rooms."""
        for room_id in rooms:
            if shard_of(room_id) not in self.held:
                raise NotOwned("the room is now served by another process")

    async def begin(self, connection: asyncpg.Connection) -> None:
        """Lock the shards again in a new session of the writer, which holds the claim and the mark.

        Unreachable if a lock just taken is gone or another session's.
        """
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        ((now, marked),) = await connection.fetch(_PID, self.id)
        if now != pid or not marked:
            raise Unreachable(POOLED)
        self.pid = pid
        if not self.held:
            return
        tried = await _tried(connection, self.held)
        # Change the set in place, as others refer to it. A shard that `give` has removed meanwhile
        # is not put back: `give` unlocks it right after this.
        lost = self.held - tried
        self.held -= lost
        self.changed(lost, frozenset(self.held))

    async def prove(self) -> None:
        """Raise Unreachable unless writer and intake have separate sessions.

        The intake is closed again: its next connection, once the schema exists, shall listen.
        """
        async with self._intake as other:
            await other.execute("BEGIN")
            others = await other.fetchval("SELECT pg_backend_pid()")
            async with self._writer as connection:
                own = await connection.fetchval("SELECT pg_backend_pid()")
            await other.execute("ROLLBACK")
            await other.close(timeout=ASKED_SECONDS)
        if others == own or own != self.pid:
            raise Unreachable(POOLED)

    async def beat(self, name: str, *, leaving: bool, report: str = "") -> list[Member]:
        """Send a heartbeat with a report through the writer's session; return all replicas."""
        # A report may be long, so it is written only if it has changed.
        new, self._reported = None if report == self._reported else report, None
        async with self._writer as connection:
            beat = await connection.fetch(_BEAT, self.id, name, leaving, self._started, new)
            ((pid, self._started, forgotten),) = beat
            self._reported = None if forgotten and new is None else report
            if pid != self.pid:
                raise Unreachable(POOLED)
            members = [Member(*row) for row in await connection.fetch(MEMBERS.postgres)]
        self._alone = len(members) == 1
        return members

    async def take(self, shards: Iterable[int]) -> set[int]:
        """Lock those of the shards that are free, and return the newly locked ones."""
        async with self._writer as connection:
            taken = await _tried(connection, set(shards) - self.held)
            self.held |= taken
            return taken

    def drop(self) -> None:
        """End all sessions, and so free the writer's locks, even while statements run.

        If one gives no answer, the others probably do not either, as after a firewall's restart.
        """
        for each in self._every:
            each.drop()

    async def give(self, shard: int) -> None:
        """Unlock a shard whose rooms have no work running, and notify the other replicas."""
        # Nothing is sent for its rooms from now on; earlier commits use the connection before this.
        self.held.discard(shard)
        async with self._writer as connection:
            await connection.fetch(_GIVE, shard, self._channel)

    @asynccontextmanager
    async def alone(self, name: str) -> AsyncIterator[None]:
        """Run the body while no other process runs one of the same name.

        It saves work but is no fence: waiting ends after `ALONE_SECONDS`, and the lock with the
        session.
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
        """Terminate a silent replica's session and so free its locks; False if not permitted."""
        async with self._writer as connection:
            try:
                await connection.execute(f"{END_SESSION} AND pid = $2", member.id, member.pid)
            except asyncpg.InsufficientPrivilegeError:
                return False
            return True

    async def forget(self, members: Sequence[str]) -> None:
        async with self._writer as connection:
            await connection.execute(_FORGET, list(members))

    async def listen(self) -> None:
        """Check the notice connection, which may break unnoticed; make it again if it is lost.

        The same statement makes room in a full queue of notices, which nothing else does.
        """
        async with self._intake as connection:
            await connection.execute("SELECT pg_notification_queue_usage()", timeout=ASKED_SECONDS)

    async def notify(self, notice: str) -> None:
        """Notify all replicas, also this one; dropped if alone or if the text is too long."""
        if not self._alone and len(notice.encode("utf-8", "replace")) <= LONGEST_NOTICE:
            async with self._intake as connection:
                await connection.execute(_NOTIFY, self._channel, notice)

    async def pass_on(self, inputs: Sequence[NewInput], now: int) -> int:
        """Store inputs for the owners of their rooms and notify them; return how many were new."""
        close = self.cover.close
        rows = ((row.room_id, row.key, close(row.room_id, row.body), now) for row in inputs)
        columns = zip(*rows, strict=True)
        async with self._intake as connection:
            ((new, _),) = await connection.fetch(_STORE, *map(list, columns), self._channel)
            return int(new)

    def read(self, notices: bytes | str) -> list[PassedOn]:
        """Decode notices of inputs passed on; raises msgspec.MsgspecError."""
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
        await connection.execute(_NAME_CHANNEL, f"matrix_webchat_{secrets.token_hex(16)}")
        self._channel = await connection.fetchval(_CHANNEL)
        await connection.add_listener(self._channel, lambda *args: self.heard(str(args[-1])))
        self.heard("connected")
