"""PostgreSQL through asyncpg: one connection that writes, a few that read.

While the server is unreachable every call fails with Unreachable; the next call reconnects, but no
more often than the back-off allows. A URL may name several servers; the primary is used.

If a connection breaks during a COMMIT, its outcome is unknown. Every group therefore writes a token
beside its rows, without an extra round trip, and the writer looks for it after reconnecting. A
group of a single statement commits with it; that token also finds the rows of a lost answer.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import msgspec
import structlog
from asyncpg.connect_utils import SessionAttribute
from asyncpg.protocol import protocol

from bridge.rooms.ports import Clock, describe
from bridge.rooms.store import Stale, StoreError, Unstorable
from bridge.storage.migrate import MOVED, Moved, MovedError, read_mark
from bridge.storage.query import (
    POOLED,
    STALE,
    AlreadyInUse,
    CorruptDatabaseError,
    Dialect,
    DiskFull,
    Part,
    Query,
    Rows,
    TakesNothing,
    Together,
    Unreachable,
    as_one,
    for_rows,
    same,
    until_free,
)
from bridge.storage.shards import CLAIM, END_SESSION, LET_GO, MARK, SHARED_CLAIM, Shards
from bridge.storage.sql import NARROW

_log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.storage")

STATEMENT_SECONDS = 12.0
MIGRATION_SECONDS = 3600.0
DOUBT_SECONDS = 10.0
"""Seconds to try to find out whether an interrupted COMMIT happened."""
CLAIM_SECONDS = 10.0
"""Seconds to wait for the lock of a process that was killed."""
FORMER_SECONDS = 2.0
"""Seconds to wait for the end of this channel's previous session."""
READERS = 3
FORGET_WRITER_MS = 30 * 24 * 3_600_000
CONNECT_SECONDS = 5.0
BACKOFF_FIRST = 0.1
BACKOFF_LAST = 2.0

_SETTINGS = {
    # Limits of an administrator's, in place of which the bridge has its own.
    **dict.fromkeys(("statement_timeout", "idle_session_timeout", "transaction_timeout"), "0"),
    "default_transaction_isolation": "read committed",
    # Ends a snapshot (`transfer`) if this machine vanishes (ms).
    "idle_in_transaction_session_timeout": "30000",
    # Free the claim on the database as well (seconds).
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # The same while sent data is unacknowledged (ms); systems without it report 0.
    "tcp_user_timeout": "15000",
}
# A plan made for an empty table takes ten times as long once the table is full (measured).
PLANNED_ANEW = {"plan_cache_mode": "force_custom_plan"}
# Planning a commit costs twice as much as executing it. Its rows are found by unique keys, for
# which an index scan is right whatever the size of the table, so it is planned once.
PLANNED_ONCE = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    # A process that is cut off in its transaction holds up the others by its rows' locks: for less
    # than the time for which they wait for a lock (`Channel._made`).
    "idle_in_transaction_session_timeout": "1500",
}
# Not in the startup packet, since a pooler refuses what it does not know. Settings of later servers
# are left out. `synchronous_commit = off` may lose the last commits; stronger settings are kept.
_SET = (
    "SELECT set_config(key, value, false) FROM json_each_text('{}') "
    "WHERE key IN (SELECT name FROM pg_settings); "
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') = 'off'"
)

# asyncpg asks an abstract base class of each element of an array whether it is an array as well, at
# five times the cost of encoding the element. Our arrays are lists.
vars(protocol)["IterableABC"] = list

_LOST = (
    OSError,  # TimeoutError is one
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.InvalidTransactionStateError,
    asyncpg.exceptions.InvalidAuthorizationSpecificationError,
    asyncpg.exceptions.InvalidCatalogNameError,
    asyncpg.exceptions.PostgresSystemError,
)
"""Errors after which the connection or the server is unusable for now."""
_TAKES_NOTHING = (
    asyncpg.exceptions.ReadOnlySQLTransactionError,  # after a failover
    asyncpg.exceptions.LockNotAvailableError,
)
_FULL = {"async.c", "multixact.c", "varsup.c"}
"""Source files of PostgreSQL whose limits (54000) concern no row: a listener that does not listen
has filled the queue of notices, or the transaction ids are used up."""
_UNSTORABLE = (
    asyncpg.exceptions.DataError,
    asyncpg.exceptions.ProgramLimitExceededError,
    # Not UniqueViolationError: see `_fetch_together`.
    asyncpg.exceptions.NotNullViolationError,
    asyncpg.exceptions.CheckViolationError,
)
_POOLED = (
    # The session is not the one in which a statement was prepared.
    asyncpg.exceptions.InvalidSQLStatementNameError,
    asyncpg.exceptions.DuplicatePreparedStatementError,
)
_CORRUPT = (asyncpg.exceptions.DataCorruptedError, asyncpg.exceptions.IndexCorruptedError)


class PostgresEngine:
    """A PostgreSQL database, with a URL as asyncpg takes it; `clock` makes transaction tokens.

    A connection counts as lost if a statement takes longer than `seconds`. The claim is a lock of
    the writer's session, which the server releases when that ends; a dead session that the server
    has not noticed is terminated by the next one, which finds it by a lock made of `_session`. With
    `shared`, other processes may hold the claim as well, and a process writes only rooms that it
    owns (`shards`).
    """

    dialect = Dialect.POSTGRES

    def __init__(
        self,
        url: str,
        clock: Clock,
        seconds: float = STATEMENT_SECONDS,
        *,
        shared: bool = False,
    ) -> None:
        self._clock = clock
        self._backoff = Backoff()
        self._writer = Channel(url, self._backoff, seconds, PLANNED_ONCE)
        self._intake = Channel(url, self._backoff, seconds, PLANNED_ONCE)
        self._session = secrets.token_hex(6)
        readers = [Channel(url, self._backoff, seconds, PLANNED_ANEW) for _ in range(READERS)]
        # LIFO, so that a quiet bridge does not connect readers that it does not need.
        self._readers: asyncio.LifoQueue[Channel] = asyncio.LifoQueue()
        for reader in readers:
            self._readers.put_nowait(reader)
        writer, intake = self._writer, self._intake
        sessions = (writer, intake, *readers)
        self.shards = Shards(self._session, writer, intake, sessions) if shared else None
        self._id = secrets.token_hex(8)
        self._token = 0
        self._last = "", 0
        """Writer and token of the last commit."""
        self._closed = False

    async def open(self) -> None:
        async with self._writer as connection:
            await _check_encoding(connection)

    async def claim(self, *, wait: bool = True) -> None:
        """See `Engine`; a second call takes the claim again after `migrate` has released it."""
        if self._writer.begin is None:
            await until_free(self._first_claim, CLAIM_SECONDS if wait else 0)
        if self.shards is not None and self._intake.begin is None:
            await self.shards.prove()
            self._intake.begin = self._listen

    async def _first_claim(self) -> None:
        async with self._writer as connection:
            await self._take_claim(connection)
            self._writer.begin = self._claim_again

    async def _take_claim(self, connection: asyncpg.Connection) -> None:
        await connection.execute(END_SESSION, self._session)
        # The previous session holds this lock until it has ended, and its claim with it.
        await connection.execute(MARK, self._session, timeout=FORMER_SECONDS)
        await self._hold_claim(connection)
        if self.shards is not None:
            await self.shards.begin(connection)

    async def _hold_claim(self, connection: asyncpg.Connection) -> None:
        if not await connection.fetchval(CLAIM if self.shards is None else SHARED_CLAIM):
            raise AlreadyInUse

    async def _claim_again(self, connection: asyncpg.Connection) -> None:
        """Take the claim in a new session. Unreachable if the database was moved meanwhile."""
        await self._take_claim(connection)
        # Without the table, this is the first start on an empty database.
        if await connection.fetchval("SELECT to_regclass('facts') IS NOT NULL"):
            await _check_not_moved(connection)
        writer, token = self._last
        if token and (await connection.fetchval(_WRITTEN_LAST, writer) or 0) < token:
            self._last = "", 0  # said once
            _log.error("the database has lost writes that it had confirmed")

    async def _listen(self, connection: asyncpg.Connection) -> None:
        """Begin a session of the intake: it holds the claim too, as it may outlive the writer's."""
        assert self.shards is not None  # noqa: S101 - the intake is theirs
        await self._hold_claim(connection)
        await _check_not_moved(connection)
        await self.shards.listen_on(connection)

    async def commit(self, queries: Sequence[Query | Together]) -> list[Rows]:
        self._token = token = max(self._token + 1, self._clock.now())
        writer, first = self._id, queries[0]
        only = first if len(queries) == 1 and isinstance(first, Together) else None
        answers: list[Rows] = [[]]  # for `only`, unless it returns rows
        sent = False
        try:
            async with self._writer as connection:
                if self.shards is not None:
                    for query in queries:
                        self.shards.check(query.rooms)
                if only is not None:  # a single statement, token included, is its own transaction
                    mark = Part(_MARK, [(writer, token)], strict=True)
                    sent = True
                    answers = [await _fetch_together(connection, (*only.parts, mark))]
                else:
                    begin = _BEGIN.format(writer, token)
                    answers = await _uncommitted(connection, queries, begin=begin)
                    sent = True
                    await connection.execute("COMMIT")
        except Unreachable as error:
            # Further tokens go to another row: the lost transaction may still lock this one.
            self._id = secrets.token_hex(8)
            unwritten = not sent or isinstance(error, TakesNothing)
            if unwritten or not await self._committed(writer, token):
                raise
        else:
            self._last = writer, token
            return answers
        if only is None or not any(part.returns for part in only.parts):
            return answers
        newest = sum(len(part.rows) for part in only.parts) + _MARGIN
        # Found too are the rows that it has changed, by the strict parts.
        changed = {row[0] for part in only.parts if part.strict for row in part.rows}
        async with self._writer as connection:
            written = await connection.fetch(_WRITTEN, writer, newest)
        return [[row for row in written if row[0] not in changed]]

    async def migrate(self, queries: Sequence[Query]) -> None:
        """Change the schema; AlreadyInUse if bridges that do not know the new schema are at work.

        The first query takes the migration lock. A shared claim is released first: if two processes
        kept theirs, neither could migrate.
        """
        async with self._writer as connection:
            if self.shards is not None and self._writer.begin is not None:
                self._writer.begin = None
                await connection.execute(LET_GO)
            begin, first = "BEGIN; SET LOCAL lock_timeout = 0", (*queries[:1], Query(_ALONE))
            *_, ((alone,),) = await _uncommitted(connection, first, MIGRATION_SECONDS, begin)
            if not alone:
                await connection.execute("ROLLBACK")
                raise AlreadyInUse(_FORMER)
            await _uncommitted(connection, queries[1:], MIGRATION_SECONDS)
            await connection.execute("COMMIT")

    async def read(self, query: Query) -> Rows:
        if self._closed:
            raise Unreachable("the store is closed")
        reader = await self._readers.get()
        try:
            async with reader as connection:
                return await _fetch(connection, query)
        finally:
            self._readers.put_nowait(reader)

    async def empty_log(self) -> bool:
        return True

    async def _committed(self, writer: str, token: int) -> bool:
        """Find out whether a transaction whose answer was lost was committed.

        The fence, an upsert of a newer token, makes the answer final: it waits for a transaction
        that still runs, and makes one that has not begun fail.
        """
        try:
            async with asyncio.timeout(DOUBT_SECONDS):
                while True:
                    await asyncio.sleep(self._backoff.seconds())
                    with suppress(Unreachable):
                        async with self._writer as connection:
                            return not await connection.fetch(_FENCE, writer, token, token + 1)
        except TimeoutError:
            raise Unreachable(
                "PostgreSQL was lost during a COMMIT: the write may or may not have happened"
            ) from None

    async def close(self) -> None:
        """Disconnect, after deleting the tokens of this writer and of those unused for 30 days."""
        if self._closed:
            return
        self._closed = True
        channels = [self._writer, self._intake]
        while not self._readers.empty():
            channels.append(self._readers.get_nowait())
        try:
            with suppress(StoreError, TimeoutError):
                # Another task may hold the connection, waiting for a server that hangs.
                async with asyncio.timeout(2), self._writer as connection:
                    await connection.execute(
                        "DELETE FROM writers WHERE id = $1 OR token < $2",
                        self._id,
                        self._clock.now() - FORGET_WRITER_MS,
                    )
            await asyncio.gather(*(channel.close() for channel in channels))
        finally:
            for channel in channels:
                channel.drop()


async def _check_encoding(connection: asyncpg.Connection) -> None:
    """Refuse a new database that cannot store every text; of one in use only warn."""
    if (code := await connection.fetchval(NARROW.postgres)) is None:
        return
    if await connection.fetchval("SELECT to_regclass('rooms') IS NULL"):
        raise Unreachable(f"its encoding {code} cannot store every text: use UTF8")
    _log.warning("the database's encoding cannot store every text: use UTF8", encoding=code)


async def _check_not_moved(connection: asyncpg.Connection) -> None:
    mark = await connection.fetchval("SELECT value FROM facts WHERE name = $1", MOVED)
    if mark is not None:
        raise Unreachable(str(MovedError(read_mark(mark, Moved))))


# Several statements in one round trip take no parameters; these are hex digits and a number.
_BEGIN = (
    "BEGIN; INSERT INTO writers VALUES ('{}', {}) "
    "ON CONFLICT (id) DO UPDATE SET token = excluded.token"
)
_ALONE = same(CLAIM.replace("advisory_lock", "advisory_xact_lock"))
_FORMER = (
    "bridges of an earlier version are using this database, and this version has to change its "
    "schema: stop all of them, then start this one again (docs/scaling.md)"
)
_MARK = for_rows(
    "INSERT INTO writers (id, token) {rows} ON CONFLICT (id) DO UPDATE SET token = excluded.token "
    "WHERE writers.token < excluded.token RETURNING id",
    "text, bigint",
)
_WRITTEN_LAST = "SELECT token FROM writers WHERE id = $1"
_FENCE = (
    "INSERT INTO writers (id, token) VALUES ($1, $3) "
    "ON CONFLICT (id) DO UPDATE SET token = excluded.token WHERE writers.token <> $2 RETURNING id"
)
"""Returns a row if transaction $2 was not committed, as is then certain for ever."""
# The transaction also wrote its token to `writers`, so both rows have the same xmin.
_WRITTEN = (
    "SELECT seq, key, handled FROM (SELECT seq, key, handled, xmin AS written "
    "FROM journal ORDER BY seq DESC LIMIT $2) AS newest "
    "WHERE written = (SELECT xmin FROM writers WHERE id = $1)"
)
_MARGIN = 10_000
"""Journal rows that other processes may have added since the lost commit."""


async def _uncommitted(
    connection: asyncpg.Connection,
    queries: Sequence[Query | Together],
    seconds: float | None = None,
    begin: str = "",
) -> list[Rows]:
    """Run queries in the transaction that `begin` opens; roll back if one of these is refused."""
    try:
        if begin:
            await connection.execute(begin)
        return [await _fetch(connection, query, seconds) for query in queries]
    except (asyncpg.PostgresError, StoreError) as error:
        if isinstance(error, StoreError) or refused(error):
            await connection.execute("ROLLBACK")
        raise


async def _fetch(
    connection: asyncpg.Connection, query: Query | Together, seconds: float | None = None
) -> Rows:
    if isinstance(query, Together):
        return await _fetch_together(connection, query.parts)
    rows: Rows = await connection.fetch(query.statement.postgres, *query.params, timeout=seconds)
    return rows


async def _fetch_together(connection: asyncpg.Connection, parts: Sequence[Part]) -> Rows:
    """Run statements as one; Stale if a strict one did not write all rows, or a key is known.

    A generated number that a row has already is no such key: its sequence is behind, as after a
    failover to a logical replica, and a later try gets a free number.
    """
    text, params = as_one(parts)
    try:
        rows = await connection.fetch(text, *params)
    except asyncpg.exceptions.DivisionByZeroError:
        raise Stale(STALE) from None
    except asyncpg.exceptions.UniqueViolationError as error:
        if error.constraint_name != "journal_key":
            raise
        raise Stale(STALE) from None
    return [row for row in rows if row[0] is not None]


# --- connections ----------------------------------------------------------------------------------


class Backoff(msgspec.Struct, eq=False):
    """Back-off between connection attempts, shared by all connections."""

    _failures: int = 0
    _not_before: float = 0.0
    why: str = ""
    """Why the last attempt failed."""

    def seconds(self) -> float:
        """Return the seconds until the next attempt is allowed."""
        return max(0.0, self._not_before - asyncio.get_running_loop().time())

    def failed(self, why: str) -> None:
        self.why = why
        wait = min(BACKOFF_LAST, BACKOFF_FIRST * 2 ** min(self._failures, 10))
        self._failures += 1
        self._not_before = asyncio.get_running_loop().time() + wait

    def succeeded(self) -> None:
        self._failures, self._not_before = 0, 0.0


class Channel(msgspec.Struct, eq=False):
    """A connection that is made on demand, and again after a loss."""

    _url: str
    _backoff: Backoff
    _seconds: float
    """Timeout of a statement, in seconds."""
    _settings: Mapping[str, str]
    """Session settings in addition to `_SETTINGS`."""
    begin: Callable[[asyncpg.Connection], Awaitable[None]] | None = None
    """Awaited with each new connection, before it is used."""
    _turn: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    _connection: asyncpg.Connection | None = None

    async def __aenter__(self) -> asyncpg.Connection:
        """Wait for exclusive use of the connection; Unreachable if it cannot be made."""
        await self._turn.acquire()
        try:
            return await self.connect()
        except BaseException:
            self._turn.release()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drop the connection unless it is certainly intact; translate asyncpg's error."""
        try:
            # After a StoreError it is intact: the transaction was rolled back.
            if error is None or isinstance(error, StoreError):
                return
            foreign = isinstance(error, (*_LOST, asyncpg.PostgresError))
            if not foreign or not refused(error):
                self.drop()
            if foreign:
                # Without the cause, whose text may quote values of a row.
                raise _translated(error) from None
        finally:
            self._turn.release()

    async def connect(self) -> asyncpg.Connection:
        """Return the connection, made if needed; Unreachable if it cannot be made."""
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        self.drop()  # frees the socket of a connection that the server closed
        if self._backoff.seconds():
            raise Unreachable(self._backoff.why)
        try:
            self._connection = connection = await self._anew()
        except StoreError as error:
            self._backoff.failed(str(error))
            raise
        self._backoff.succeeded()
        return connection

    async def _anew(self) -> asyncpg.Connection:
        """Connect to one of the servers; they share `CONNECT_SECONDS` equally."""
        servers = left = 1 + urlsplit(self._url).netloc.count(",")
        while True:
            left -= 1
            try:
                return await self._made(CONNECT_SECONDS / servers)
            except (*_LOST, asyncpg.PostgresError, UnicodeError) as error:  # invalid host name
                self._url = turned(self._url)
                if not left:
                    raise Unreachable(self._why_not(error)) from error

    def _why_not(self, error: Exception) -> str:
        """Say why no connection was made: nobody answers, or the server refuses it."""
        at = urlsplit(self._url).netloc.rpartition("@")[2] or "the server"
        reason = " ".join(str(error).split())  # it names no host
        broke = isinstance(error, asyncpg.ConnectionDoesNotExistError)  # as a proxy's may
        if isinstance(error, asyncpg.PostgresError) and not broke:
            return f"PostgreSQL refuses the connection: {reason} ({error.sqlstate})"
        if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
            reason = "this server accepts no writes (25006)"  # a standby
        elif isinstance(error, FileNotFoundError):  # its text names no file
            reason = "a socket or certificate that database.url names does not exist"
        elif "rejected SSL upgrade" in reason:
            reason = f"{at}: it does not offer TLS, which sslmode requires"
        elif isinstance(error, OSError) or not reason:
            reason = f"{at}: {describe(error)}"
        return f"PostgreSQL cannot be reached: {reason}"

    async def _made(self, seconds: float) -> asyncpg.Connection:
        """Connect, with durable commits; close the connection if that or `begin` fails.

        `seconds` to connect only: `begin` takes up to 20 round trips, to a distant server too.
        """
        made = await asyncpg.connect(
            self._url,
            timeout=seconds,
            server_settings={"application_name": "matrix-webchat-bridge"},
            target_session_attrs=SessionAttribute.primary,
            max_cached_statement_lifetime=0,
            command_timeout=self._seconds,
        )
        try:
            # The lock of an ALTER or VACUUM FULL delays a heartbeat, with the pause before it, for
            # less than `replica.DEAF` seconds, and writes to other tables no longer.
            locked = {"lock_timeout": str(int(self._seconds * 1000 / 6))}
            settings = msgspec.json.encode({**_SETTINGS, **self._settings, **locked}).decode()
            await made.execute(_SET.format(settings))
            if self.begin is not None:
                await self.begin(made)
        except BaseException:  # also a cancellation, by the timeout of `_committed`
            made.terminate()
            raise
        return made

    def drop(self) -> None:
        """Close the connection at once; the server rolls back an open transaction."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        if self._connection is not None:
            with suppress(*_LOST, asyncpg.PostgresError):
                await self._connection.close(timeout=2)
            self.drop()


def turned(url: str) -> str:
    """Rotate the URL's hosts, as an unresponsive first host would use up all the time."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    first, comma, others = hosts.partition(",")
    return urlunsplit(parts._replace(netloc=f"{user}{at}{others},{first}")) if comma else url


def refused(error: BaseException) -> bool:
    """Return True if a single request is at fault and the connection is intact."""
    return isinstance(error, asyncpg.PostgresError) and not isinstance(error, _LOST)


def _translated(error: BaseException) -> StoreError:
    """Return the StoreError for an asyncpg error, without its text, which may quote row values."""
    state = getattr(error, "sqlstate", None)
    text = f"PostgreSQL: {describe(error)}" + (f" ({state})" if state else "")
    if isinstance(error, _CORRUPT):
        return CorruptDatabaseError(text)
    if isinstance(error, _POOLED):
        return Unreachable(POOLED)
    if isinstance(error, asyncpg.exceptions.InsufficientResourcesError):
        return DiskFull(text)
    full = state == "54000" and getattr(error, "server_source_filename", "") in _FULL
    if full or isinstance(error, _TAKES_NOTHING):
        return TakesNothing(text)
    if not refused(error):
        return Unreachable(text)
    return Unstorable(text) if isinstance(error, _UNSTORABLE) else StoreError(text)
