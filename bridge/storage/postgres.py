"""PostgreSQL through asyncpg: one connection that writes, a few that read.

While the server is away every call fails with Unreachable. Nothing here ends the process.

A connection that breaks in the middle of a COMMIT leaves open whether the commit happened. Every
group therefore writes its number beside its rows (it rides along with the BEGIN, so it costs no
round trip), and the writer asks for that number when it is back: callers get the truth.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import TypeVar

import asyncpg

from bridge.rooms.ports import Clock
from bridge.rooms.store import Stale, StoreError
from bridge.storage.channel import Backoff, Channel, Claim, refused
from bridge.storage.engine import Dialect
from bridge.storage.errors import Unreachable
from bridge.storage.query import Call, Query, Rows, Together, as_one, drive_async

T = TypeVar("T")

STATEMENT_SECONDS = 12.0
MIGRATION_SECONDS = 3600.0
DOUBT_SECONDS = 10.0
"""How long the writer tries to learn the fate of an interrupted COMMIT."""
CLAIM_SECONDS = 10.0
"""How long the claim of a process that was killed is waited for."""
READERS = 3
FORGET_WRITER_MS = 30 * 24 * 3_600_000


class PostgresEngine:
    """A database on a server.

    Args:
        url: as asyncpg takes it.
        clock: dates the marks of transactions.
        seconds: how long one statement may take before the connection counts as lost.
        claim_seconds: how long `claim` waits for another to go.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        seconds: float = STATEMENT_SECONDS,
        claim_seconds: float = CLAIM_SECONDS,
    ) -> None:
        self._clock = clock
        self._backoff = Backoff()
        self._claim = Claim(claim_seconds)
        self._writer = Channel(url, self._backoff, seconds, self._claim)
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

    async def claim(self) -> None:
        async with self._writer.use() as connection:
            await self._claim.first(connection)

    async def commit(self, call: Call[T]) -> T:
        self._token = token = max(self._token + 1, self._clock.now())
        writer = self._id
        answer: list[T] = []
        try:
            async with self._writer.use() as connection:
                first = next(call)
                if isinstance(first, Together) and first.alone:
                    answer.append(await _in_one_trip(connection, call, first, writer, token))
                else:
                    marked = _marked(writer, token)
                    answer.append(await _uncommitted(connection, call, marked, first=first))
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


_MARK = (
    "INSERT INTO writers (id, token) VALUES ($1::text, $2::bigint) "
    "ON CONFLICT (id) DO UPDATE SET token = excluded.token"
)


def _marked(writer: str, token: int) -> str:
    """BEGIN, and the mark by which a COMMIT that was not answered can be asked after."""
    upsert = "ON CONFLICT (id) DO UPDATE SET token = excluded.token"
    # Several statements in one trip take no parameters; these are hex digits and a number, our own.
    return f"BEGIN; INSERT INTO writers VALUES ('{writer}', {token}) {upsert}"  # noqa: S608


async def _in_one_trip(
    connection: asyncpg.Connection, call: Call[T], only: Together, writer: str, token: int
) -> T:
    """Carry out a call that consists of one query, which is its own transaction.

    Raises:
        Stale: a strict part of it did not write all of its rows; nothing was written.
    """
    rows = await _fetch_together(connection, only, _MARK, (writer, token))
    try:
        call.send(rows)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("what is to go in one trip asks for more")


async def _uncommitted(
    connection: asyncpg.Connection,
    call: Call[T],
    begin: str,
    seconds: float | None = None,
    *,
    first: Query | Together | None = None,
) -> T:
    """Begin a transaction and carry out a call in it; roll back what is refused.

    `first`: the query that the call has asked for already, if it has.
    """
    await connection.execute(begin)
    try:
        return await drive_async(call, _runner(connection, seconds), first)
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if refused(error):
            await connection.execute("ROLLBACK")
        raise
    except StoreError:
        await connection.execute("ROLLBACK")
        raise


def _runner(
    connection: asyncpg.Connection, seconds: float | None = None
) -> Callable[[Query | Together], Coroutine[object, object, Rows]]:
    async def run(query: Query | Together) -> Rows:
        if isinstance(query, Together):
            return await _fetch_together(connection, query)
        params: Iterable[object] = query.params
        if query.many:
            params = [list(column) for column in zip(*query.params, strict=True)]
        return await connection.fetch(query.statement.postgres, *params, timeout=seconds)

    return run


async def _fetch_together(
    connection: asyncpg.Connection,
    query: Together,
    last: str = "",
    last_params: tuple[object, ...] = (),
) -> Rows:
    """Carry out statements as one; their parameters are `last_params` at the end."""
    params: list[object] = []
    for part in query.parts:
        params += [list(column) for column in zip(*part.rows, strict=True)]
        if part.strict:
            params.append(len(part.rows))
    texts = tuple((part.statement.postgres, part.strict, part.returns) for part in query.parts)
    try:
        rows = await connection.fetch(as_one(texts, last), *params, *last_params)
    except asyncpg.exceptions.DivisionByZeroError:
        raise Stale("the room has changed meanwhile, or what is to be ended has ended") from None
    return [row for row in rows if row[0] is not None]
