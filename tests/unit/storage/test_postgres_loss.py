"""PostgreSQL that goes away: killed, restarted, hung, or cut off in the middle of a COMMIT."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from bridge.ids import SHARDS, RoomId
from bridge.rooms.store import (
    Commit,
    Committed,
    Entry,
    InputRow,
    Lane,
    NewInput,
    Outcome,
    Settlement,
    Stale,
    StoredRoom,
    StoreError,
)
from bridge.storage import postgres, transfer
from bridge.storage.migrate import MovedError
from bridge.storage.postgres import Channel, PostgresEngine, turned
from bridge.storage.query import Query, Unreachable, same
from bridge.storage.sqlstore import SqlStore, open_store, pending_migrations
from bridge.storage.transfer import move
from tests.fakes.flow import accept, every, open_inputs
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.wires import SOCKET
from tests.unit.storage.conftest import FixedClock
from tests.unit.storage.contents import Silent, contents, fill
from tests.unit.storage.rows import said, wish

A = RoomId("!a:example.org")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that these tests may kill and suspend."""
    own = PostgresServer()
    try:
        own.start()
        yield own
    finally:
        own.remove()


async def accepted(store: SqlStore, key: str) -> list[InputRow]:
    return await accept(store, [NewInput(A, b"{}", key)], 1)


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
async def test_primary_of_several_servers_is_used() -> None:
    """And the promoted one after its death; a server that is silent is not tried first again."""
    first, ports = PostgresServer(port=free_port()), [free_port(), free_port()]
    with socket.create_server(("127.0.0.1", ports[1])):  # accepts connections, and never answers
        first.start()
        second = PostgresServer(port=ports[0], of=first)
        second.start()
        try:
            (own,) = re.findall(r"127\.0\.0\.1:\d+", first.url())
            names = f"127.0.0.1:{ports[1]},127.0.0.1:{ports[0]},{own}"
            url = first.url().replace(own, names)
            async with open_store(url, FixedClock()) as store:
                await accepted(store, "before")
                first.kill()
                second.promote()
                await soon(store, "after")
                assert [row.key for row in await open_inputs(store, A)] == ["before", "after"]
        finally:
            second.remove()
            first.remove()


@pytest.mark.asyncio
async def test_confirmed_writes_that_are_gone_are_reported_once(server: PostgresServer) -> None:
    """As after a failover to a standby that lacked them. An ended session alone is no such case."""
    url = server.new_schema()
    clock = FixedClock()
    async with open_store(url, clock, sole=True) as store, open_store(url, clock) as other:
        assert isinstance(store._engine, PostgresEngine)
        assert isinstance(other._engine, PostgresEngine)
        told: list[int] = []
        for lost in (False, True, False):
            await soon(store, f"before {len(told)}")
            async with store._engine._writer as connection:
                session = connection.get_server_pid()
            async with other._engine._writer as connection:
                if lost:
                    await connection.execute("DELETE FROM writers")
                await connection.execute("SELECT pg_terminate_backend($1)", session)
            with capture_logs() as logs:
                await soon(store, f"after {len(told)}")
            told.append(sum("has lost writes" in one["event"] for one in logs))
    assert told == [0, 1, 0]


def test_servers_of_a_url_are_rotated() -> None:
    assert turned("postgres://u:p@h1:5432,h2/db?x=1") == "postgres://u:p@h2,h1:5432/db?x=1"
    for alone in ("postgres://u:p@h/db", "postgresql:///db?host=/run/postgresql"):
        assert turned(alone) == alone


@pytest.mark.asyncio
@pytest.mark.parametrize("crash", [True, False])
async def test_store_recovers_after_a_server_restart(server: PostgresServer, crash: bool) -> None:
    async with open_store(server.new_schema(), FixedClock()) as store:
        await accepted(store, "before")
        await open_inputs(store, A)
        await asyncio.to_thread(server.stop, crash=crash)
        try:
            with pytest.raises(Unreachable):
                await accepted(store, "down")
            with pytest.raises(Unreachable):
                await open_inputs(store, A)
            with pytest.raises(Unreachable):
                await store.ping()
        finally:
            await asyncio.to_thread(server.start)
        await soon(store, "after")
        await store.ping()
        assert [row.key for row in await open_inputs(store, A)] == ["before", "after"]


@pytest.mark.asyncio
async def test_kill_under_load_keeps_acknowledged_writes(server: PostgresServer) -> None:
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
        stored = {row.key for row in await open_inputs(store, A)}
        assert acknowledged <= stored
        assert not refused & stored, "refused, and yet written"
        assert refused


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "url",
    [
        "postgres://user@127.0.0.1:1/db?sslmode=verify-full&sslrootcert=/nowhere/ca.pem",
        "postgres://user@/db?host=/nowhere",
    ],
)
async def test_missing_file_of_the_url_is_called_so(url: str) -> None:
    with pytest.raises(Unreachable, match="a socket or certificate that database"):
        async with open_store(url, FixedClock()):
            pass


@pytest.mark.asyncio
async def test_unreachable_server_at_the_start() -> None:
    with pytest.raises(Unreachable, match="cannot be reached"):
        async with open_store("postgres://nobody@127.0.0.1:1/none", FixedClock()):
            pytest.fail("opened")


@pytest.mark.asyncio
async def test_calls_between_two_attempts_say_why_the_last_one_failed() -> None:
    engine = PostgresEngine("postgres://nobody@127.0.0.1:1/none", FixedClock())
    for _ in range(3):
        with pytest.raises(Unreachable, match=r"cannot be reached: 127\.0\.0\.1:1: Connection r"):
            await engine.open()


@pytest.mark.asyncio
async def test_an_address_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a firewall that drops packets; the error says so."""
    monkeypatch.setattr(postgres, "CONNECT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at = f"127.0.0.1:{silent.getsockname()[1]}"
        url = f"postgres://nobody:secret@{at}/none"
        with pytest.raises(Unreachable, match=f"cannot be reached: {at}: no answer in time$"):
            async with open_store(url, FixedClock()):
                pytest.fail("opened")


@pytest.mark.asyncio
async def test_no_such_database(server: PostgresServer) -> None:
    with pytest.raises(Unreachable, match=r"does not exist \(3D000\)"):
        async with open_store(server.url("nowhere"), FixedClock()):
            pytest.fail("opened")


@pytest.mark.asyncio
async def test_a_hung_backend_is_given_up(server: PostgresServer) -> None:
    async with open_store(server.new_schema(), FixedClock()) as store:
        assert isinstance(store._engine, PostgresEngine)
        writer = store._engine._writer
        writer.drop()
        writer._seconds = 0.3  # of its next session
        await soon(store, "before")
        async with writer as connection:
            backend = connection.get_server_pid()
        os.kill(backend, signal.SIGSTOP)
        try:
            with pytest.raises(Unreachable):
                await accepted(store, "hung")
            await soon(store, "after")
        finally:
            os.kill(backend, signal.SIGCONT)
        assert [row.key for row in await open_inputs(store, A)] == ["before", "after"]


_ENDED = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{}'"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("trouble", "over", "why"),
    [
        (
            "ALTER DATABASE {0} SET default_transaction_read_only = on",
            "ALTER DATABASE {0} RESET default_transaction_read_only",
            "read only sql transaction (25006)",
        ),
        (
            "ALTER ROLE few CONNECTION LIMIT 0",
            "ALTER ROLE few CONNECTION LIMIT -1",
            "too many connections",
        ),
    ],
    ids=["read-only", "no connection left"],
)
async def test_read_only_or_full_server_is_reported(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch, trouble: str, over: str, why: str
) -> None:
    """As after a failover, or if others use up its connections; nothing is lost."""
    url = server.new_database().replace("postgresql://", "postgresql://few:x@", 1)
    url = re.sub(r"few:x@\w+@", "few:x@", url)
    name = url.split("?", maxsplit=1)[0].rsplit("/", 1)[1]
    monkeypatch.setattr(postgres, "DOUBT_SECONDS", 1.0)  # about what the ended session was sent
    if not server.sql("SELECT 1 FROM pg_roles WHERE rolname = 'few'"):
        server.sql("CREATE ROLE few LOGIN")
    server.sql(f"ALTER DATABASE {name} OWNER TO few")
    async with open_store(url, FixedClock()) as store:
        await accepted(store, "before")
        server.sql(trouble.format(name))
        server.sql(_ENDED.format(name))
        heard: list[str] = []
        async with asyncio.timeout(30):
            while not any(why in one for one in heard):
                with pytest.raises(Unreachable) as caught:
                    await accepted(store, "trouble")
                heard.append(str(caught.value))
                await asyncio.sleep(0.1)
        server.sql(over.format(name))
        await soon(store, "after")
        assert [row.key for row in await open_inputs(store, A)] == ["before", "after"]


@asynccontextmanager
async def store_beside(
    server: PostgresServer, patience: int
) -> AsyncIterator[tuple[SqlStore, Channel, Channel]]:
    """Open a store that waits `patience` ms for locks; yield it, its writer and another's."""
    url = server.new_schema()
    async with open_store(url, FixedClock()) as store, open_store(url, FixedClock()) as other:
        assert isinstance(store._engine, PostgresEngine)
        assert isinstance(other._engine, PostgresEngine)
        async with store._engine._writer as connection:
            await connection.execute(f"SET lock_timeout = {patience}")
        yield store, store._engine._writer, other._engine._writer


@pytest.mark.asyncio
async def test_a_locked_table_holds_up_no_write_to_others(
    server: PostgresServer,
) -> None:
    """As by an administrator's ALTER or VACUUM FULL; the session stays."""
    async with store_beside(server, 300) as (store, own, other):
        async with own as connection:
            session = connection.get_server_pid()
        async with other as connection, connection.transaction():
            await connection.execute("LOCK TABLE facts")
            with pytest.raises(Unreachable, match=r"lock not available \(55P03\)"):
                await store.save_fact("name", "value")
            await accepted(store, "meanwhile")
        async with other as connection, connection.transaction():
            await connection.execute("LOCK TABLE writers")
            for write in (store.ping(), store.save_fact("name", "value")):
                with pytest.raises(Unreachable, match=r"lock not available \(55P03\)"):
                    await write
        await store.save_fact("name", "value")
        async with own as connection:
            assert connection.get_server_pid() == session


@pytest.mark.asyncio
@pytest.mark.parametrize("table", ["rooms", "journal", "chats", "facts"])
async def test_a_ping_notices_a_locked_table_of_messages(
    server: PostgresServer, table: str
) -> None:
    async with store_beside(server, 100) as (store, _, other):
        async with other as connection, connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
            with pytest.raises(Unreachable, match=r"lock not available \(55P03\)"):
                await store.ping()
        await store.ping()


@pytest.mark.asyncio
async def test_sequence_behind_its_rows_is_not_reported_as_stale(server: PostgresServer) -> None:
    """As after a failover to a logical replica: neither Stale nor Unstorable is raised."""
    url = server.new_schema()
    async with open_store(url, FixedClock(), sole=True, shared=True) as store:
        await store.shards.take(range(SHARDS))  # type: ignore[union-attr]
        first, _, _ = [await accepted(store, key) for key in ("$1", "$2", "$3")]
        restart = f"ALTER TABLE journal ALTER COLUMN seq RESTART WITH {first[0].seq}"
        await store._read(same(restart))
        fresh = Commit(A, 1, entries=[Entry(said("$4"))])
        writes = (
            lambda: accepted(store, "$4"),
            lambda: store.commit(fresh),
            lambda: store.shards.pass_on([said("$4")], 1),  # type: ignore[union-attr]
        )
        for write in writes:
            with pytest.raises(StoreError, match="unique violation") as raised:
                await write()
            assert type(raised.value) is StoreError
        assert len((await store.commit(fresh)).waiting) == 0
        assert [row.key for row in await open_inputs(store, A)] == ["$1", "$2", "$3"]


@pytest.mark.asyncio
async def test_settings_of_the_connections(server: PostgresServer) -> None:
    async with open_store(server.new_schema(), FixedClock()) as store:
        engine = store._engine
        assert isinstance(engine, PostgresEngine)
        async with engine._writer as connection:
            assert await connection.fetchval("SHOW plan_cache_mode") == "force_generic_plan"
            assert await connection.fetchval("SHOW synchronous_commit") == "on"
        reader = engine._readers.get_nowait()
        async with reader as connection:
            assert await connection.fetchval("SHOW plan_cache_mode") == "force_custom_plan"
        engine._readers.put_nowait(reader)


_LIMITS = {
    "synchronous_commit": ("off", "on"),
    "statement_timeout": ("100", "0"),
    "lock_timeout": ("100", "2s"),
    "idle_session_timeout": ("100", "0"),
    "default_transaction_isolation": ("serializable", "read committed"),
}
"""Settings as an administrator may make them, and as the bridge needs them."""


@pytest.mark.asyncio
async def test_settings_override_those_of_the_database(server: PostgresServer) -> None:
    url = server.new_database()
    database = url.split("?", maxsplit=1)[0].rsplit("/", 1)[1]
    for name, (value, _) in _LIMITS.items():
        server.sql(f"ALTER DATABASE {database} SET {name} = {value}")
    async with open_store(url, FixedClock()) as store:
        engine = store._engine
        assert isinstance(engine, PostgresEngine)
        async with engine._writer as connection:
            found = {name: await connection.fetchval(f"SHOW {name}") for name in _LIMITS}
    assert found == {name: value for name, (_, value) in _LIMITS.items()}


@asynccontextmanager
async def pooler(server: Path) -> AsyncIterator[Path]:
    """A pooler in session mode: it refuses unknown settings in startup packets, like PgBouncer."""
    known = {b"", b"user", b"database", b"client_encoding", b"application_name"}

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65_536):
            writer.write(piece)
        writer.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = await reader.readexactly(4)
        packet = await reader.readexactly(int.from_bytes(size) - 4)
        if unknown := {*packet[4:].split(b"\0")[::2]} - known:
            why = b"SFATAL\0C08P01\0Munsupported startup parameter: %b\0\0" % min(unknown)
            writer.write(b"E" + (len(why) + 4).to_bytes(4) + why)
            writer.close()
            return
        far, back = await asyncio.open_unix_connection(server / SOCKET)
        back.write(size + packet)
        await asyncio.gather(pump(reader, back), pump(far, writer))

    with tempfile.TemporaryDirectory(prefix="p-") as folder:
        async with await asyncio.start_unix_server(carry, Path(folder) / SOCKET):
            yield Path(folder)


@pytest.mark.asyncio
async def test_a_new_database_without_all_letters_is_refused(server: PostgresServer) -> None:
    """An agent with a Chinese name could not be stored there; one in use goes on with a warning."""
    name, made = "narrow", "TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    server.sql(f"CREATE DATABASE {name} ENCODING 'LATIN1' {made}")
    why = "its encoding LATIN1 cannot store every text: use UTF8"
    with pytest.raises(Unreachable, match=why):
        async with open_store(server.url(name), FixedClock(), sole=True, shared=True):
            pytest.fail("opened")
    with pytest.raises(Unreachable, match=why):  # also a command that would make the tables
        await pending_migrations(server.url(name), FixedClock())
    used = server.new_database()
    async with open_store(used, FixedClock()):
        pass
    server.make_narrow(used)
    with capture_logs() as logs:
        async with open_store(used, FixedClock(), sole=True, shared=True) as store:
            assert await store.narrow_encoding() == "LATIN1"
    said = {(line["event"], line["encoding"]) for line in logs if "encoding" in line}
    assert said == {("the database's encoding cannot store every text: use UTF8", "LATIN1")}


@pytest.mark.asyncio
async def test_a_pooler_in_session_mode_takes_the_settings(server: PostgresServer) -> None:
    async with pooler(server.directory) as here:
        url = server.new_database().replace(str(server.directory), str(here))
        async with open_store(url, FixedClock(), sole=True, shared=True) as store:
            await store.ping()


@pytest.mark.asyncio
async def test_a_session_that_two_connections_get_means_a_pooler(server: PostgresServer) -> None:
    """As with a pooler in transaction mode that prepares statements anew."""
    async with open_store(server.new_schema(), FixedClock()) as store:
        engine = store._engine
        assert isinstance(engine, PostgresEngine)
        await store.check()
        engine._readers.put_nowait(engine._writer)  # the next to be used
        with pytest.raises(Unreachable, match="session mode"):
            await store.check()


@pytest.mark.asyncio
@pytest.mark.parametrize("text", ["EXECUTE another", "PREPARE one AS SELECT 1"])
async def test_prepared_statements_of_other_sessions_mean_a_pooler(
    server: PostgresServer, text: str
) -> None:
    """As with a pooler in transaction mode that does not prepare statements anew."""
    async with open_store(server.new_schema(), FixedClock()) as store:
        query = Query(same(text))
        with suppress(Unreachable):
            await store._engine.read(query)
        with pytest.raises(Unreachable, match="session mode"):
            await store._engine.read(query)
        with suppress(Unreachable):
            await store._write(query)
        with pytest.raises(Unreachable, match="session mode"):  # and the writer goes on
            await store._write(query)


@pytest.mark.asyncio
async def test_a_clean_stop_leaves_no_mark(server: PostgresServer) -> None:
    url = server.new_schema()
    marks = f"SELECT count(*) FROM {url.rsplit('=', 1)[1]}.writers"  # noqa: S608 - a name of ours
    async with open_store(url, FixedClock()) as store:
        await accepted(store, "1")
        assert server.sql(marks) == "1"
    assert server.sql(marks) == "0"


# --- a database that is being moved ---------------------------------------------------------------


class Kills(Silent):
    """Kills all processes of the server at a page of a stage."""

    def __init__(self, server: PostgresServer, stage: str, page: int) -> None:
        super().__init__()
        self._server, self._stage, self._page = server, stage, page

    def begins(self, what: str, rows: int) -> None:
        super().begins(what, rows)
        self.pages = 0

    def advances(self, rows: int) -> None:
        super().advances(rows)
        if (self.stages[-1], self.pages) == (self._stage, self._page):
            self._server.signal(signal.SIGKILL)
            while self._server.runs():
                time.sleep(0.01)
            for held in ("data/postmaster.pid", ".s.PGSQL.5432.lock"):  # by a zombie, perhaps
                (self._server.directory / held).unlink()


@pytest.mark.asyncio
@pytest.mark.parametrize("dies", ["target", "source"])
async def test_a_move_goes_on_after_the_server_was_killed(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    monkeypatch.setattr(postgres, "DOUBT_SECONDS", 0.5)
    monkeypatch.setattr(transfer, "PAGE", 20)
    ours, theirs = f"sqlite:///{tmp_path / 'bridge.db'}", server.new_schema()
    before, after = (ours, theirs) if dies == "target" else (theirs, ours)
    clock = FixedClock()
    await fill(before, rooms=6, each=20)
    wanted = await contents(before)
    for stage, page in (("copying", 2), ("copying", 8), ("comparing", 3)):
        with pytest.raises(StoreError):
            await move(before, after, clock, Kills(server, stage, page))
        await asyncio.to_thread(server.start)
    await move(before, after, clock, Silent())
    assert await contents(after) == wanted
    with pytest.raises(MovedError):
        async with open_store(before, clock, sole=True):
            pytest.fail("two of one")
    async with open_store(after, clock, sole=True):
        pass


# --- cut off in the middle of a COMMIT ------------------------------------------------------------


class Cut:
    """A proxy between bridge and server that breaks the connection once.

    Attributes:
        at: bytes whose sending by the bridge breaks it; empty for never.
        deliver: pass the bytes on to the server, whose answer is lost.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self.at = b""
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
            if self.at and self.at in data:
                self.at = b""
                self.cuts += 1
                down.cancel()
                if self.deliver:
                    sink.write(data)
                    await sink.drain()
                break
            sink.write(data)
        # Like a terminated session: the server sees the end of the stream after the data.
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
    """Yield a URL that leads to the database through a `Cut`, and the `Cut`."""
    base, _, query = url.partition("?host=")
    directory, _, others = query.partition("&")
    cut = Cut(f"{directory}/.s.PGSQL.5432")
    with tempfile.TemporaryDirectory(prefix="cut-") as between:
        path = str(Path(between) / ".s.PGSQL.5432")
        async with await asyncio.start_unix_server(cut.serve, path):
            yield f"{base}?host={between}&{others}", cut


async def beside(store: SqlStore, key: str) -> list[InputRow]:
    """Like `accepted`, but in one transaction with another write: with BEGIN and COMMIT."""
    _, rows = await asyncio.gather(store.save_fact("fact", key), accepted(store, key))
    return rows


ALONE, BESIDE = (accepted, b"unanswered"), (beside, b"COMMIT\x00")
ways = pytest.mark.parametrize(("way", "at"), [ALONE, BESIDE], ids=["one trip", "COMMIT"])
Way = Callable[[SqlStore, str], Awaitable[list[InputRow]]]


@pytest.mark.asyncio
@ways
async def test_commit_whose_answer_was_lost_is_no_error(
    server: PostgresServer, way: Way, at: bytes
) -> None:
    async with (
        cut_between(server.new_schema()) as (url, cut),
        open_store(url, FixedClock()) as store,
    ):
        await way(store, "before")
        cut.at, cut.deliver = at, True
        (row,) = await way(store, "unanswered")
        assert cut.cuts == 1
        await way(store, "after")
        rows = await open_inputs(store, A)
        assert [found.key for found in rows] == ["before", "unanswered", "after"]
        assert rows[1] == row


@pytest.mark.asyncio
@ways
async def test_a_commit_that_never_arrived_is_an_error(
    server: PostgresServer, way: Way, at: bytes
) -> None:
    async with (
        cut_between(server.new_schema()) as (url, cut),
        open_store(url, FixedClock()) as store,
    ):
        await way(store, "before")
        cut.at = at
        with pytest.raises(Unreachable):
            await way(store, "unanswered")
        assert cut.cuts == 1
        await way(store, "after")
        assert [row.key for row in await open_inputs(store, A)] == ["before", "after"]


@pytest.mark.asyncio
async def test_lost_answer_for_many_rooms_is_restored(server: PostgresServer) -> None:
    """With every kind of row in its order, and without known inputs."""

    def commit(n: int) -> Commit:
        one = RoomId(f"!{n}")
        entries = [
            Entry(said(f"unanswered{n}", one), wish(f"unanswered{n}")),
            Entry(said(f"handled{n}", one)),
            Entry(effect=wish(lane=Lane.MATRIX)),
        ]
        return Commit(one, n, None, entries, [said(key, one) for key in (f"new{n}", "known", None)])

    async with (
        cut_between(server.new_schema()) as (url, cut),
        open_store(url, FixedClock()) as store,
    ):
        await accepted(store, "known")
        cut.at, cut.deliver = b"unanswered", True
        answers = await every(store, [commit(n) for n in range(20)])
        assert cut.cuts == 1
        for n, answer in enumerate(answers):
            assert isinstance(answer, Committed)
            loaded = await store.load(RoomId(f"!{n}"))
            assert answer.effects == loaded.effects
            assert answer.waiting == loaded.inputs
            assert [row.key for row in answer.waiting] == [f"new{n}", None]


@pytest.mark.asyncio
async def test_restored_answer_has_no_rows_that_were_only_ended(
    server: PostgresServer,
) -> None:
    """An input handled, another buried, an effect settled: no other room gets their rows."""
    rooms = [RoomId(f"!{n}") for n in range(4)]

    def commit(one: RoomId, key: str) -> Commit:
        return Commit(one, 2, None, [Entry(said(key, one), wish(key))], [said(f"{key} new", one)])

    async with (
        cut_between(server.new_schema()) as (url, cut),
        open_store(url, FixedClock()) as store,
    ):
        await every(store, [commit(one, f"before in {one}") for one in rooms])
        before = [await store.load(one) for one in rooms]
        ends = [commit(one, f"unanswered in {one}") for one in rooms]
        ends[0] = replace(ends[0], handled=[row.seq for row in before[0].inputs])
        ends[1] = replace(ends[1], buried=[(row.seq, "why") for row in before[1].inputs])
        settled = [Settlement(row.seq, Outcome.DELIVERED, 2) for row in before[2].effects]
        ends[2] = replace(ends[2], settled=settled)
        cut.at, cut.deliver = b"unanswered", True
        answers = await every(store, ends)
        assert cut.cuts == 1
        for one, answer in zip(rooms, answers, strict=True):
            assert isinstance(answer, Committed)
            loaded = await store.load(one)
            assert answer.effects == loaded.effects[-1:]
            assert answer.waiting == loaded.inputs[-1:]


@pytest.mark.asyncio
@pytest.mark.parametrize("ended", ["handled IS NULL", "handled IS NOT NULL"])
async def test_rows_of_a_lost_answer_that_another_process_has_changed(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch, ended: str
) -> None:
    """As by the one that took over the rooms: the commit counts as failed, and the writer lives."""
    url, look_up = server.new_schema(), PostgresEngine._committed

    async def late(engine: PostgresEngine, writer: str, token: int) -> bool:
        found = await look_up(engine, writer, token)
        journal = f"{url.rsplit('=', 1)[1]}.journal"
        server.sql(f"UPDATE {journal} SET outcome = 'discarded' WHERE {ended}")  # noqa: S608
        return found

    monkeypatch.setattr(PostgresEngine, "_committed", late)
    async with cut_between(url) as (through, cut), open_store(through, FixedClock()) as store:
        await accepted(store, "before")
        cut.at, cut.deliver = b"unanswered", True
        with pytest.raises(Unreachable):
            await store.commit(Commit(A, 1, None, [Entry(said("unanswered"))], [said(None)]))
        assert cut.cuts == 1
        await accepted(store, "after")


@pytest.mark.asyncio
async def test_commits_of_rooms_take_one_round_trip(server: PostgresServer) -> None:
    """Counted by the driver. A group with another kind of write needs BEGIN and COMMIT too."""
    sent: list[str] = []
    async with open_store(server.new_schema(), FixedClock()) as store:
        engine = store._engine
        assert isinstance(engine, PostgresEngine)
        await accepted(store, "before")
        async with engine._writer as connection:
            connection.add_query_logger(lambda record: sent.append(record.query))
        rooms = [RoomId(f"!{n}") for n in range(30)]

        def begun(one: RoomId) -> Commit:
            room = StoredRoom(one, b"r", True, "p")
            return Commit(one, 1, room, [Entry(effect=wish())], [said(None, one)])

        async def settled(one: RoomId) -> Committed | StoreError:
            effects = (await store.load(one)).effects or [row]
            end = Settlement(effects[0].seq, Outcome.DELIVERED, 2)
            (answer,) = await every(store, [Commit(one, 2, settled=[end])])
            return answer

        await every(store, list(map(begun, rooms[:2])))  # the driver prepares each statement once
        (row,) = (await store.load(rooms[0])).effects
        await settled(rooms[0])
        sent.clear()
        await every(store, list(map(begun, rooms[2:])))
        assert len(sent) == 1
        await settled(rooms[7])
        assert len(sent) == 2
        assert isinstance(await settled(rooms[0]), Stale)
        assert len(sent) == 3
        await beside(store, "after")
        assert [query.split()[0] for query in sent[3:]] == ["BEGIN;", "WITH", "WITH", "COMMIT"]
