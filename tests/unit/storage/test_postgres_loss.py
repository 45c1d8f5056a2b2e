"""PostgreSQL that goes away: killed, restarted, hung, or cut off in the middle of a COMMIT."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bridge.ids import RoomId
from bridge.rooms.store import InputRow, NewInput, StoreError
from bridge.storage.errors import Unreachable
from bridge.storage.open import OpenStore, open_store
from bridge.storage.postgres import PostgresEngine
from bridge.storage.store import SqlStore
from tests.support.postgres import PostgresServer
from tests.unit.storage.conftest import FixedClock

A = RoomId("!a:example.org")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that these tests may maltreat."""
    own = PostgresServer()
    try:
        own.start()
        yield own
    finally:
        own.remove()


async def accepted(store: SqlStore, key: str) -> list[InputRow]:
    return await store.accept([NewInput(A, b"{}", key)], 1)


async def soon(store: SqlStore, key: str) -> None:
    """Try to write until it works; 20 s at most."""
    async with asyncio.timeout(20):
        while True:
            try:
                await accepted(store, key)
            except StoreError:
                await asyncio.sleep(0.05)
            else:
                return


@pytest.mark.asyncio
@pytest.mark.parametrize("crash", [True, False])
async def test_killed_and_restarted(server: PostgresServer, crash: bool) -> None:
    async with open_store(server.new_schema(), FixedClock()) as store:
        await accepted(store, "before")
        await store.open_inputs(A)
        await asyncio.to_thread(server.stop, crash=crash)
        try:
            with pytest.raises(Unreachable):
                await accepted(store, "down")
            with pytest.raises(Unreachable):
                await store.open_inputs(A)
            with pytest.raises(Unreachable):
                await store.ping()
        finally:
            await asyncio.to_thread(server.start)
        await soon(store, "after")
        await store.ping()
        assert [row.key for row in await store.open_inputs(A)] == ["before", "after"]


@pytest.mark.asyncio
async def test_killed_under_load_keeps_what_was_acknowledged(server: PostgresServer) -> None:
    acknowledged: set[str] = set()
    refused: set[str] = set()
    progress = asyncio.Semaphore(0)
    restarted = asyncio.Event()

    async def load(store: SqlStore, caller: int) -> None:
        number = 0
        while not restarted.is_set():
            number += 1
            key = f"{caller}/{number}"
            try:
                rows = await accepted(store, key)
            except StoreError:
                refused.add(key)
                await asyncio.sleep(0.02)
            else:
                assert len(rows) == 1
                acknowledged.add(key)
                progress.release()

    async with open_store(server.new_schema(), FixedClock()) as store:
        async with asyncio.TaskGroup() as tasks:
            for caller in range(20):
                tasks.create_task(load(store, caller))
            for _ in range(3):
                async with asyncio.timeout(30):
                    for _ in range(300):
                        await progress.acquire()
                await asyncio.to_thread(server.stop, crash=True)
                await asyncio.to_thread(server.start)
            await soon(store, "last")
            restarted.set()
        stored = {row.key for row in await store.open_inputs(A)}
        assert acknowledged <= stored
        assert not refused & stored, "refused, and yet written"
        assert refused


@pytest.mark.asyncio
async def test_not_there_at_the_start() -> None:
    with pytest.raises(Unreachable, match="cannot be reached"):
        async with open_store("postgres://nobody@127.0.0.1:1/none", FixedClock()):
            pytest.fail("opened")


@pytest.mark.asyncio
async def test_no_such_database(server: PostgresServer) -> None:
    with pytest.raises(Unreachable, match="does not exist"):
        async with open_store(server.url("nowhere"), FixedClock()):
            pytest.fail("opened")


@pytest.mark.asyncio
async def test_a_hung_backend_is_given_up(server: PostgresServer) -> None:
    clock = FixedClock()
    engine = PostgresEngine(server.new_schema(), clock, seconds=0.3)
    async with OpenStore(engine, clock) as store:
        await accepted(store, "before")
        async with engine._writer.use() as connection:
            backend = connection.get_server_pid()
        os.kill(backend, signal.SIGSTOP)
        try:
            with pytest.raises(Unreachable):
                await accepted(store, "hung")
            await soon(store, "after")
        finally:
            os.kill(backend, signal.SIGCONT)
        assert [row.key for row in await store.open_inputs(A)] == ["before", "after"]


@pytest.mark.asyncio
async def test_settings_of_the_connections(server: PostgresServer) -> None:
    async with open_store(server.new_schema(), FixedClock()) as store:
        engine = store._engine
        assert isinstance(engine, PostgresEngine)
        async with engine._writer.use() as connection:
            assert await connection.fetchval("SHOW plan_cache_mode") == "force_custom_plan"
            assert await connection.fetchval("SHOW synchronous_commit") == "on"


@pytest.mark.asyncio
async def test_a_server_set_to_forget_is_told_not_to(server: PostgresServer) -> None:
    url = server.new_database()
    database = url.split("?", maxsplit=1)[0].rsplit("/", 1)[1]
    server.sql(f"ALTER DATABASE {database} SET synchronous_commit = off")
    async with open_store(url, FixedClock()) as store:
        engine = store._engine
        assert isinstance(engine, PostgresEngine)
        async with engine._writer.use() as connection:
            assert await connection.fetchval("SHOW synchronous_commit") == "on"


@pytest.mark.asyncio
async def test_a_clean_stop_leaves_no_mark(server: PostgresServer) -> None:
    url = server.new_schema()
    marks = f"SELECT count(*) FROM {url.rsplit('=', 1)[1]}.writers"  # noqa: S608 - a name of ours
    async with open_store(url, FixedClock()) as store:
        await accepted(store, "1")
        assert server.sql(marks).strip() == "1"
    assert server.sql(marks).strip() == "0"


# --- cut off in the middle of a COMMIT ------------------------------------------------------------


class Cut:
    """A socket between us and the server that breaks once, at the next COMMIT.

    Attributes:
        armed: break at the next COMMIT.
        deliver: let the server have that COMMIT, and answer it into the void.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self.armed = False
        self.deliver = False
        self.cuts = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._target)
        async with asyncio.TaskGroup() as tasks:
            down = tasks.create_task(self._down(there, writer))
            await self._up(reader, back, down)

    async def _up(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, down: asyncio.Task[None]
    ) -> None:
        while data := await _some(source):
            if self.armed and b"COMMIT\x00" in data:
                self.armed = False
                self.cuts += 1
                down.cancel()
                if self.deliver:
                    sink.write(data)
                    await sink.drain()
                break
            sink.write(data)
        # A terminated session: the server sees the end of the stream after what it has got.
        sink.close()

    async def _down(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await _some(source):
                sink.write(data)
        finally:
            sink.close()


async def _some(source: asyncio.StreamReader) -> bytes:
    try:
        return await source.read(65536)
    except ConnectionError:
        return b""


@asynccontextmanager
async def cut_between(url: str) -> AsyncIterator[tuple[str, Cut]]:
    """A URL that leads through a Cut to the database."""
    base, _, query = url.partition("?host=")
    directory, _, others = query.partition("&")
    cut = Cut(f"{directory}/.s.PGSQL.5432")
    with tempfile.TemporaryDirectory(prefix="cut-") as between:
        path = str(Path(between) / ".s.PGSQL.5432")
        async with await asyncio.start_unix_server(cut.serve, path):
            yield f"{base}?host={between}&{others}", cut


@pytest.mark.asyncio
async def test_a_commit_that_happened_unanswered_is_no_error(server: PostgresServer) -> None:
    async with (
        cut_between(server.new_schema()) as (url, cut),
        open_store(url, FixedClock()) as store,
    ):
        await accepted(store, "before")
        cut.armed = cut.deliver = True
        (row,) = await accepted(store, "unanswered")
        assert cut.cuts == 1
        await accepted(store, "after")
        rows = await store.open_inputs(A)
        assert [found.key for found in rows] == ["before", "unanswered", "after"]
        assert rows[1] == row


@pytest.mark.asyncio
async def test_a_commit_that_never_arrived_is_an_error(server: PostgresServer) -> None:
    async with (
        cut_between(server.new_schema()) as (url, cut),
        open_store(url, FixedClock()) as store,
    ):
        await accepted(store, "before")
        cut.armed = True
        with pytest.raises(Unreachable):
            await accepted(store, "lost")
        assert cut.cuts == 1
        await accepted(store, "after")
        assert [row.key for row in await store.open_inputs(A)] == ["before", "after"]
