"""PostgreSQL through asyncpg: one connection that writes, a few that read.

A lost connection is made anew by whoever needs it next, but not more often than the backoff allows;
until it stands, every call fails with Unreachable. Nothing here ends the process.

A connection that breaks in the middle of a COMMIT leaves open whether the commit happened. Every
group therefore writes its number beside its rows (it rides along with the BEGIN, so it costs no
round trip), and the writer asks for that number when it is back: callers get the truth.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import asyncpg

from bridge.rooms.ports import Clock
from bridge.rooms.store import StoreError
from bridge.storage.engine import Dialect
from bridge.storage.errors import CorruptDatabaseError, Unreachable
from bridge.storage.query import Call, Query, Rows, drive_async

T = TypeVar("T")

CONNECT_SECONDS = 5.0
STATEMENT_SECONDS = 12.0
MIGRATION_SECONDS = 3600.0
DOUBT_SECONDS = 10.0
"""How long the writer tries to learn the fate of an interrupted COMMIT."""
BACKOFF_FIRST = 0.1
BACKOFF_LAST = 2.0
READERS = 3
FORGET_WRITER_MS = 30 * 24 * 3_600_000

_SETTINGS = {
    "application_name": "matrix-webchat-bridge",
    # Arrays of ever new lengths and tables that grow from nothing: a generic plan that was right
    # for the empty table costs ten times the time once it is full (measured).
    "plan_cache_mode": "force_custom_plan",
    # If our machine vanishes in mid-transaction, its locks go too.
    "idle_in_transaction_session_timeout": "30000",
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


class Channel:
    """One connection, made when it is wanted and made anew after it was lost."""

    def __init__(self, url: str, backoff: Backoff, seconds: float) -> None:
        self._url = url
        self._backoff = backoff
        self._seconds = seconds
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
        except (*_LOST, asyncpg.PostgresError) as error:
            sound = _refused(error)
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
                made = await asyncpg.connect(
                    self._url,
                    server_settings=_SETTINGS,
                    max_cached_statement_lifetime=0,
                    command_timeout=self._seconds,
                )
                self._connection = made
                await made.execute(_DURABLE)
        except (*_LOST, asyncpg.PostgresError) as error:
            self.drop()
            self._backoff.failed()
            raise Unreachable(f"PostgreSQL cannot be reached: {error}") from error
        self._backoff.succeeded()
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


class PostgresEngine:
    """A database on a server.

    Args:
        url: as asyncpg takes it.
        clock: dates the marks of transactions.
        seconds: how long one statement may take before the connection counts as lost.
    """

    def __init__(self, url: str, clock: Clock, seconds: float = STATEMENT_SECONDS) -> None:
        self._clock = clock
        self._backoff = Backoff()
        self._writer = Channel(url, self._backoff, seconds)
        # Last in, first out: readers that a quiet bridge never needs are never connected.
        self._readers: asyncio.LifoQueue[Channel] = asyncio.LifoQueue()
        for _ in range(READERS):
            self._readers.put_nowait(Channel(url, self._backoff, seconds))
        self._id = secrets.token_hex(8)
        self._token = 0
        self._closed = False

    @property
    def dialect(self) -> Dialect:
        return Dialect.POSTGRES

    async def open(self) -> None:
        await self._writer.connect()

    async def commit(self, call: Call[T]) -> T:
        self._token = token = max(self._token + 1, self._clock.now())
        writer = self._id
        answer: list[T] = []
        try:
            async with self._writer.use() as connection:
                answer.append(await _uncommitted(connection, call, _marked(writer, token)))
                await connection.execute("COMMIT")
        except StoreError as error:
            if isinstance(error, Unreachable):
                # The lost connection's transaction may go on holding the row of its mark.
                self._id = secrets.token_hex(8)
            if not answer or not await self._committed(writer, token):
                raise
        return answer[0]

    async def migrate(self, call: Call[T]) -> T:
        async with self._writer.use() as connection:
            answer = await _uncommitted(connection, call, "BEGIN", MIGRATION_SECONDS)
            await connection.execute("COMMIT")
        return answer

    async def read(self, call: Call[T]) -> T:
        if self._closed:
            raise Unreachable("the store is closed")
        reader = await self._readers.get()
        try:
            async with reader.use() as connection:
                return await drive_async(call, _runner(connection))
        finally:
            self._readers.put_nowait(reader)

    async def _committed(self, writer: str, token: int) -> bool:
        """Tell, after a COMMIT that was not answered, whether it happened.

        FOR UPDATE waits for the end of the old transaction, should the server still be at it.
        """
        try:
            async with asyncio.timeout(DOUBT_SECONDS):
                while True:
                    await asyncio.sleep(self._backoff.seconds())
                    with suppress(Unreachable):
                        async with self._writer.use() as connection:
                            found = await connection.fetchval(
                                "SELECT token FROM writers WHERE id = $1 FOR UPDATE", writer
                            )
                            return bool(found == token)
        except TimeoutError:
            raise Unreachable(
                "PostgreSQL went away during a COMMIT: it may or may not have happened"
            ) from None

    async def close(self) -> None:
        """Leave; what the server remembers of this writer, and of ones long gone, is deleted."""
        if self._closed:
            return
        self._closed = True
        channels = [self._writer]
        while not self._readers.empty():
            channels.append(self._readers.get_nowait())
        try:
            with suppress(StoreError):
                async with self._writer.use() as connection:
                    await connection.execute(
                        "DELETE FROM writers WHERE id = $1 OR token < $2",
                        self._id,
                        self._clock.now() - FORGET_WRITER_MS,
                        timeout=2,
                    )
            for channel in channels:
                await channel.close()
        finally:
            for channel in channels:
                channel.drop()


def _marked(writer: str, token: int) -> str:
    """BEGIN, and the mark by which a COMMIT that was not answered can be asked after."""
    upsert = "ON CONFLICT (id) DO UPDATE SET token = excluded.token"
    # Several statements in one trip take no parameters; these are hex digits and a number, our own.
    return f"BEGIN; INSERT INTO writers VALUES ('{writer}', {token}) {upsert}"  # noqa: S608


async def _uncommitted(
    connection: asyncpg.Connection, call: Call[T], begin: str, seconds: float | None = None
) -> T:
    """Begin a transaction and carry out a call in it; roll back if the call is refused."""
    await connection.execute(begin)
    try:
        return await drive_async(call, _runner(connection, seconds))
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if _refused(error):
            await connection.execute("ROLLBACK")
        raise


def _runner(
    connection: asyncpg.Connection, seconds: float | None = None
) -> Callable[[Query], Coroutine[object, object, Rows]]:
    async def run(query: Query) -> Rows:
        params: Iterable[object] = query.params
        if query.many:
            params = [list(column) for column in zip(*query.params, strict=True)]
        return await connection.fetch(query.statement.postgres, *params, timeout=seconds)

    return run


def _refused(error: BaseException) -> bool:
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
    return StoreError(text) if _refused(error) else Unreachable(text)
