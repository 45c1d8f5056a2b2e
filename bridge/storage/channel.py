"""One connection to PostgreSQL: made when it is wanted, made anew after a loss, and what its errors
mean.

A lost connection is made anew by whoever needs it next, but not more often than the backoff allows;
until it stands, every call fails with Unreachable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import asyncpg

from bridge.rooms.store import StoreError, Unstorable
from bridge.storage.errors import AlreadyInUse, CorruptDatabaseError, Unreachable

CONNECT_SECONDS = 5.0
BACKOFF_FIRST = 0.1
BACKOFF_LAST = 2.0

_SETTINGS = {
    "application_name": "matrix-webchat-bridge",
    # If our machine vanishes in mid-transaction, its locks go too.
    "idle_in_transaction_session_timeout": "30000",
    # And our claim on the database (seconds).
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
# A plan that was right for an empty table costs ten times the time once it is full (measured).
PLANNED_ANEW = {"plan_cache_mode": "force_custom_plan"}
# To plan a commit costs twice what it costs to carry it out. Its rows are found by unique keys: by
# an index each, that is right for every table, so it is planned once.
PLANNED_ONCE = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
# A server set to lose its last commits is told otherwise; stronger settings stay.
_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') = 'off'"
)

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
"""After these the connection, or the server, is of no use for now."""
_UNSTORABLE = (
    ValueError,  # of asyncpg itself: a value that it cannot encode
    asyncpg.exceptions.DataError,
    asyncpg.exceptions.ProgramLimitExceededError,
    asyncpg.exceptions.IntegrityConstraintViolationError,
)
_CORRUPT = (asyncpg.exceptions.DataCorruptedError, asyncpg.exceptions.IndexCorruptedError)


class Backoff:
    """When the server may be tried again; shared by all connections."""

    def __init__(self) -> None:
        self._failures = 0
        self._not_before = 0.0

    def seconds(self) -> float:
        """How long from now nobody should try."""
        return max(0.0, self._not_before - asyncio.get_running_loop().time())

    def failed(self) -> None:
        wait = min(BACKOFF_LAST, BACKOFF_FIRST * 2 ** min(self._failures, 10))
        self._failures += 1
        self._not_before = asyncio.get_running_loop().time() + wait

    def succeeded(self) -> None:
        self._failures = 0
        self._not_before = 0.0


class Claim:
    """A lock of the writer's session: who has it is the one bridge at work on this database.

    The server lets it go with the session. A session of ours that the server has not yet noticed
    to be dead is ended by the next one.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._wanted = False
        self._former = 0

    async def first(self, connection: asyncpg.Connection) -> None:
        """Take the lock, waiting for one who is about to end; AlreadyInUse if that does not do."""
        self._wanted = True
        end = asyncio.get_running_loop().time() + self._seconds
        while True:
            try:
                await self.renew(connection)
            except AlreadyInUse:
                if asyncio.get_running_loop().time() >= end:
                    raise
                await asyncio.sleep(0.2)
            else:
                return

    async def renew(self, connection: asyncpg.Connection) -> None:
        """Take the lock for a new session, if it is wanted; AlreadyInUse if another has it."""
        if not self._wanted:
            return
        if self._former:
            await connection.execute(_END_SESSION, self._former)
        if not await connection.fetchval(_CLAIM):
            raise AlreadyInUse
        self._former = connection.get_server_pid()


# Both numbers are of our own making; the second tells schemas of one database apart.
_CLAIM = "SELECT pg_try_advisory_lock(719224654, hashtext(coalesce(current_schema(), '')))"
_END_SESSION = (
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE pid = $1 AND pid <> "
    "pg_backend_pid() AND locktype = 'advisory' AND classid = 719224654 AND granted"
)


class Channel:
    """One connection, made when it is wanted and made anew after it was lost.

    Args:
        url: as asyncpg takes it.
        backoff: shared by all channels.
        seconds: how long one statement may take.
        settings: of the session, beside those that all have.
        claim: what every new connection has to take first.
    """

    def __init__(
        self,
        url: str,
        backoff: Backoff,
        seconds: float,
        settings: Mapping[str, str],
        claim: Claim | None = None,
    ) -> None:
        self._url = url
        self._settings = {**_SETTINGS, **settings}
        self._backoff = backoff
        self._seconds = seconds
        self._claim = claim
        self._connection: asyncpg.Connection | None = None

    @asynccontextmanager
    async def use(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend the connection, and drop it unless it is surely as good as before afterwards.

        Raises:
            StoreError: what asyncpg raised in between, translated.
        """
        connection = await self._standing()
        sound = False
        try:
            yield connection
            sound = True
        except StoreError:
            sound = True  # a call's own word, and its transaction was rolled back
            raise
        except (*_LOST, asyncpg.PostgresError) as error:
            sound = refused(error)
            # The cause is cut off: its text may quote what a row holds.
            raise _translated(error) from None
        finally:
            if not sound:
                self.drop()

    async def connect(self) -> None:
        """Raise Unreachable unless the connection stands or can be made."""
        await self._standing()

    async def _standing(self) -> asyncpg.Connection:
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        self.drop()  # one that the server closed still has its socket
        wait = self._backoff.seconds()
        if wait:
            raise Unreachable(f"PostgreSQL is away; next try in {wait:.1f} s")
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._connection = await self._made()
        except StoreError:
            self._backoff.failed()
            raise
        except (*_LOST, asyncpg.PostgresError) as error:
            self._backoff.failed()
            raise Unreachable(f"PostgreSQL cannot be reached: {error}") from error
        self._backoff.succeeded()
        return self._connection

    async def _made(self) -> asyncpg.Connection:
        """A new connection, durable and with the claim; none that could be used without them."""
        made = await asyncpg.connect(
            self._url,
            server_settings=self._settings,
            max_cached_statement_lifetime=0,
            command_timeout=self._seconds,
        )
        try:
            await made.execute(_DURABLE)
            if self._claim is not None:
                await self._claim.renew(made)
        except BaseException:  # a cancellation too: the writer in doubt has its own limit
            made.terminate()
            raise
        return made

    def drop(self) -> None:
        """End the connection at once; the server rolls back what was not committed."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        if self._connection is not None:
            with suppress(*_LOST, asyncpg.PostgresError):
                await self._connection.close(timeout=2)
            self.drop()


def refused(error: BaseException) -> bool:
    """True if one request is at fault and the connection is as good as before."""
    if isinstance(error, ValueError):  # an InterfaceError as well: a value cannot be encoded
        return True
    return isinstance(error, asyncpg.PostgresError) and not isinstance(error, _LOST)


def _translated(error: Exception) -> StoreError:
    """Our error for a foreign one, without its text, which may quote the values of a row."""
    name = type(error).__name__
    state = getattr(error, "sqlstate", None)
    text = f"PostgreSQL: {name}" + (f" ({state})" if state else "")
    if isinstance(error, _CORRUPT):
        return CorruptDatabaseError(text)
    if not refused(error):
        return Unreachable(text)
    return Unstorable(text) if isinstance(error, _UNSTORABLE) else StoreError(text)
