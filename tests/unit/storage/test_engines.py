"""What only a real database can get wrong: cancellation, durability, grouping, migrations, size."""

from __future__ import annotations

import asyncio
import random
import resource
import sqlite3
import stat
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from bridge.ids import EventId, InputSeq, RoomId
from bridge.rooms.store import Cutoffs, Lane, NewEffect, NewInput, StoredRoom, StoreError
from bridge.storage import sqlstore
from bridge.storage.query import CorruptDatabaseError, Query, Unreachable, database_is_corrupt, same
from bridge.storage.sql import Write
from bridge.storage.sqlite import SqliteEngine
from bridge.storage.sqlstore import SqlStore, engine_for, open_store
from tests.fakes.flow import accept, load_room, open_inputs, step
from tests.support.postgres import PostgresServer
from tests.unit.storage.conftest import FixedClock, SqlOpener

A = RoomId("!a:example.org")
CLOCK = FixedClock()


def said(key: str | None, room_id: RoomId = A) -> NewInput:
    return NewInput(room_id, b"{}", key)


@pytest.mark.asyncio
async def test_a_thousand_at_once_share_transactions(open_sql: SqlOpener) -> None:
    async with open_sql() as store:
        commit, groups = store.writer._commit, list[int]()

        async def counted(group: Sequence[Write]) -> Sequence[object]:
            groups.append(len(group))
            return await commit(group)

        store.writer._commit = counted
        answers = await asyncio.gather(*(accept(store, [said(f"${n}")], n) for n in range(1000)))
        assert [rows[0].key for rows in answers] == [f"${n}" for n in range(1000)]
        assert sum(groups) == 1000
        assert len(groups) < 1000 / 5
        assert len(await open_inputs(store, A)) == 1000


@pytest.mark.asyncio
async def test_writes_of_another_connection_are_noticed(open_sql: SqlOpener, url: str) -> None:
    """Only in SQLite, which sends no notices; once, and not after writes of the store itself."""
    async with open_sql() as store, open_sql() as other:
        await store.written_beside()
        await store.save_fact("ours", "1")
        assert not await store.written_beside()
        await other.fact("ours")
        assert not await store.written_beside()
        await other.save_fact("theirs", "1")
        looks = [await store.written_beside() for _ in range(2)]
        assert looks == [url.startswith("sqlite"), False]


@pytest.mark.asyncio
async def test_asyncpg_takes_only_lists_for_arrays(postgres_server: PostgresServer) -> None:
    """Otherwise it no longer has the name that `postgres` sets, and each element costs more."""
    connection = await asyncpg.connect(postgres_server.new_schema())
    try:
        assert await connection.fetchval("SELECT $1::int[]", [1, 2]) == [1, 2]
        with pytest.raises(asyncpg.DataError):
            await connection.fetchval("SELECT $1::int[]", (1, 2))
    finally:
        await connection.close()


@pytest.mark.asyncio
async def test_a_bad_step_does_not_fail_its_neighbours(open_sql: SqlOpener) -> None:
    """Here the database itself refuses, in the middle of a group of several kinds of writes."""
    async with open_sql() as store:
        good = [StoredRoom(RoomId(f"!{n}"), b"r", True, "p") for n in range(20)]
        bad = StoredRoom(A, b"r", True, "p", deadline=2**70)
        answers = await asyncio.gather(
            *(step(store, room, now=1) for room in good),
            step(store, bad, now=1),
            accept(store, [said("$1")], 1),
            return_exceptions=True,
        )
        assert answers[:20] == [[]] * 20
        assert isinstance(answers[20], StoreError)
        assert isinstance(answers[21], list)
        assert len(await store.live_rooms()) == 20
        assert await load_room(store, A) is None


@pytest.mark.asyncio
async def test_the_error_of_a_bad_value_does_not_show_it(open_sql: SqlOpener) -> None:
    async with open_sql() as store:
        with pytest.raises(StoreError) as caught:
            await store.save_fact("token", "hunter2 \ud800")
        error: BaseException | None = caught.value
        while error is not None:
            assert "hunter2" not in str(error)
            error = error.__cause__


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(3))
async def test_cancelled_callers_leave_no_open_transaction(open_sql: SqlOpener, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test's dice
    acknowledged = set()

    async def keep(store: SqlStore, key: str) -> None:
        await asyncio.sleep(chance.random() * 0.03)
        await accept(store, [said(key)], 1)
        acknowledged.add(key)
        await open_inputs(store, RoomId("!none"))

    async with open_sql() as store:
        async with asyncio.TaskGroup() as tasks:
            callers = [tasks.create_task(keep(store, f"${n}")) for n in range(200)]
            while not all(caller.done() for caller in callers):
                await asyncio.sleep(0.0005)
                for caller in chance.sample(callers[20:], 3):
                    caller.cancel()
        await _assert_no_transaction(store)
        (later,) = await accept(store, [said("later")], 2)
        assert await step(store, StoredRoom(A, b"r", True, "p"), [later.seq], (), 3) == []
    async with open_sql() as store:
        keys = {row.key for row in await open_inputs(store, A)}
        assert acknowledged <= keys
        assert "later" not in keys
        assert 0 < len(acknowledged) < 200


async def _assert_no_transaction(store: SqlStore) -> None:
    """Check by asking the engine itself."""
    engine = store._engine
    if isinstance(engine, SqliteEngine):
        connection = engine._connection
        assert connection is not None
        assert not connection.in_transaction
        return
    for _ in range(100):  # a connection that a cancelled read dropped takes the server a moment
        rows = await engine.read(Query(_OPEN_TRANSACTIONS))
        if rows[0][0] == 0:
            return
        await asyncio.sleep(0.05)
    pytest.fail("a transaction was left open")


_OPEN_TRANSACTIONS = same(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'"
)


@pytest.mark.asyncio
async def test_exception_of_the_block_is_passed_on(open_sql: SqlOpener) -> None:
    async def body() -> None:
        async with open_sql() as store:
            await accept(store, [said("$1")], 1)
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await body()
    async with open_sql() as store:
        assert len(await open_inputs(store, A)) == 1


@pytest.mark.asyncio
async def test_cancelled_block_keeps_what_it_wrote(open_sql: SqlOpener) -> None:
    ready = asyncio.Event()

    async def body() -> None:
        async with open_sql() as store:
            await accept(store, [said("$1")], 1)
            ready.set()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(body())
        await ready.wait()
        task.cancel()
    assert task.cancelled()
    async with open_sql() as store:
        assert len(await open_inputs(store, A)) == 1


@pytest.mark.asyncio
async def test_a_start_finds_the_few_rooms_that_have_something_to_do(open_sql: SqlOpener) -> None:
    """How long that takes is up to the plans of the statements (`test_plans`)."""
    rooms = [RoomId(f"!{n}:example.org") for n in range(500)]
    record = b"x" * 1_000
    async with open_sql() as store:
        rows = await accept(store, [said(f"${room}", room) for room in rooms], 1)
        await asyncio.gather(
            *(
                step(store, StoredRoom(row.room_id, record, n < 50, "Idle"), [row.seq], (), 2)
                for n, row in enumerate(rows)
            )
        )
        work = [(NewEffect(Lane.MATRIX, b"x"),), ()]
        for n in range(20):
            await accept(store, [said(None, rooms[n])], 10 + n)
            await step(
                store,
                StoredRoom(rooms[n], record, True, "Chatting", revision=1),
                (),
                work[n % 2],
                10 + n,
            )
    async with open_sql() as store:
        assert await store.busy_rooms() == rooms[:20]
        assert len(await store.live_rooms()) == 50
        assert await store.deadlines() == []
        for room in rooms[:20]:
            assert await load_room(store, room) is not None
            assert len(await open_inputs(store, room)) == 1


# --- URLs, files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bridge.db",
        "mysql://h/d",
        "sqlite:",
        "sqlite:bridge.db",
        "sqlite://bridge.db",
        "sqlite:///",
        "sqlite:////",
        "sqlite:///:memory:",
        "sqlite:///x.db?mode=ro",
        "postgres:",
        "postgresql://",
        "postgresql:///",
        "postgres://user:secret@host:port/db",
        "postgres://user:secret@host:0/db",
        *(f"postgres://user:secret{mark}secret@host/db" for mark in "/#?"),
        "postgres://user:p@secret/secret@host/db",
    ],
)
def test_bad_urls_are_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="must be sqlite:///") as caught:
        engine_for(url, CLOCK)
    assert "secret" not in str(caught.value)


def test_relative_and_absolute_files() -> None:
    relative = engine_for("sqlite:///data/b.db", CLOCK)
    absolute = engine_for("sqlite:////data/b.db", CLOCK)
    assert isinstance(relative, SqliteEngine)
    assert isinstance(absolute, SqliteEngine)
    assert relative._path == Path("data/b.db")
    assert absolute._path == Path("/data/b.db")


@pytest.mark.asyncio
async def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/b.db", CLOCK) as store:
        await accept(store, [said("$1")], 1)
        for file in ("b.db", "b.db-wal", "b.db-shm"):
            assert stat.S_IMODE((tmp_path / file).stat().st_mode) == 0o600, file


@pytest.mark.asyncio
async def test_settings_of_the_file(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/b.db", CLOCK) as store:
        for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)):
            assert await store._engine.read(Query(same(f"PRAGMA {pragma}"))) == [(value,)]


@pytest.mark.asyncio
async def test_no_such_directory(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="cannot open"):
        async with open_store(f"sqlite:///{tmp_path}/none/b.db", CLOCK):
            pytest.fail("opened")


@pytest.mark.asyncio
async def test_a_disk_that_was_full_before_the_start_is_named(tmp_path: Path) -> None:
    """SQLite itself only reports an I/O error, as it creates a file beside the database."""
    url = f"sqlite:///{tmp_path}/b.db"
    async with open_store(url, CLOCK):
        pass
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(Unreachable, match="database or disk is full"):
            async with open_store(url, CLOCK):
                pytest.fail("opened")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.asyncio
async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "b.db").write_bytes(b"this is not a database, it is a diary" * 100)
    with pytest.raises(CorruptDatabaseError) as caught:
        async with open_store(f"sqlite:///{tmp_path}/b.db", CLOCK):
            pytest.fail("opened")
    assert database_is_corrupt(caught.value)


@pytest.mark.asyncio
async def test_a_damaged_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    async with open_store(f"sqlite:///{path}", CLOCK) as store:
        await accept(store, [said(f"${n}") for n in range(2000)], 1)
    whole = bytearray(path.read_bytes())
    whole[4096:] = b"\xff" * (len(whole) - 4096)
    path.write_bytes(whole)
    with pytest.raises(CorruptDatabaseError):
        async with open_store(f"sqlite:///{path}", CLOCK) as store:
            await open_inputs(store, A)


@pytest.mark.asyncio
async def test_damage_met_by_a_write_or_read_counts_as_a_fault_of_the_database(
    tmp_path: Path,
) -> None:
    """A check of its own reads none of the damaged pages; `check` reads all."""
    path = tmp_path / "b.db"
    async with open_store(f"sqlite:///{path}", CLOCK) as store:
        await accept(store, [said(f"${n}") for n in range(2000)], 1)
        await store.check()
    with closing(sqlite3.connect(path)) as file:
        ((root,),) = file.execute("SELECT rootpage FROM sqlite_master WHERE name = 'journal'")
    with path.open("r+b") as pages:
        pages.seek((root - 1) * 4096)
        pages.write(b"\xff" * 100)
    ways: list[Callable[[SqlStore], Awaitable[object]]] = [
        lambda store: open_inputs(store, A),
        lambda store: accept(store, [said("$more")], 1),
        SqlStore.check,
    ]
    for meet in ways:
        async with open_store(f"sqlite:///{path}", CLOCK) as store:
            await store.ping()
            with pytest.raises(CorruptDatabaseError, match="SQLite"):
                await meet(store)
            if meet is not SqlStore.check:
                with pytest.raises(CorruptDatabaseError, match="malformed"):
                    await store.ping()


def test_corruption_is_found_in_nested_exceptions() -> None:
    corrupt = CorruptDatabaseError("x")
    outer = RuntimeError("y")
    outer.__cause__ = corrupt
    assert database_is_corrupt(ExceptionGroup("g", [ValueError(), ExceptionGroup("h", [outer])]))
    assert not database_is_corrupt(ExceptionGroup("g", [ValueError(), Unreachable("z")]))


@pytest.mark.asyncio
async def test_a_locked_file_is_an_error_and_then_works(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/b.db"
    other = SqliteEngine(tmp_path / "b.db")
    async with open_store(url, CLOCK) as store:
        await other.open()
        await store._engine.read(Query(same("PRAGMA busy_timeout = 10")))
        await other._hop(lambda: _begin(other))
        with pytest.raises(Unreachable, match="locked"):
            await accept(store, [said("$1")], 1)
        await other._hop(lambda: _end(other))
        assert [row.seq for row in await accept(store, [said("$1")], 1)] == [InputSeq(1)]
        await other.close()


def _begin(engine: SqliteEngine) -> None:
    engine._connection.execute("BEGIN IMMEDIATE")


def _end(engine: SqliteEngine) -> None:
    engine._connection.execute("ROLLBACK")


@pytest.mark.asyncio
async def test_a_bug_in_the_writer_ends_the_program(
    open_sql: SqlOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no StoreError, which would be retried for ever: the program ends with its trace."""

    async def broken(_call: object) -> object:
        raise TypeError("a bug")

    async def body() -> None:
        async with open_sql() as store:
            monkeypatch.setattr(store._engine, "commit", broken)
            await accept(store, [said("$1")], 1)

    with pytest.raises(ExceptionGroup) as caught:
        await body()
    assert caught.group_contains(TypeError, match="a bug")


@pytest.mark.asyncio
@pytest.mark.parametrize("times", [20, 2_000])
async def test_erased_body_is_not_left_in_the_database_file(tmp_path: Path, times: int) -> None:
    """A password in a message, for example; also in the gaps between SQLite's rows, and in the
    pages of a long text.
    """
    secret = b"s3cret-in-a-message" * times
    url = f"sqlite:///{tmp_path / 'b.db'}"
    async with open_store(url, FixedClock()) as store:
        bodies = [secret if n == 5 else b"x" * 40 for n in range(9)]
        rows = await accept(store, [NewInput(A, b, f"${n}") for n, b in enumerate(bodies)], 1)
        room = StoredRoom(A, b"", live=False, phase="Idle")
        await step(store, room, [row.seq for row in rows], now=2)
    assert secret[:1_000] in (tmp_path / "b.db").read_bytes()
    async with open_store(url, FixedClock()) as store:
        await store.forget_body(A, EventId("$5"))
    assert secret[:19] not in (tmp_path / "b.db").read_bytes()


@pytest.mark.asyncio
async def test_erased_body_is_not_left_in_the_write_ahead_log(tmp_path: Path) -> None:
    """Also while the bridge runs: a copy of the files, or a kill, would keep it."""
    secret = b"s3cret-in-a-message" * 20
    async with open_store(f"sqlite:///{tmp_path / 'b.db'}", FixedClock()) as store:
        (row,) = await accept(store, [NewInput(A, secret, "$5")], 1)
        await step(store, StoredRoom(A, b"", live=False, phase="Idle"), [row.seq], now=2)
        assert secret in (tmp_path / "b.db-wal").read_bytes()
        await store.forget_body(A, EventId("$5"))
        for name in ("b.db", "b.db-wal", "b.db-shm"):
            assert secret[:19] not in (tmp_path / name).read_bytes(), name


@pytest.mark.asyncio
async def test_no_write_waits_for_a_reader_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup reads for minutes. The log is emptied after it, by the next pruning."""
    monkeypatch.setattr(sqlstore, "LOG_SECONDS", 0.01)
    secret = b"s3cret-in-a-message" * 20
    async with open_store(f"sqlite:///{tmp_path / 'b.db'}", FixedClock()) as store:
        (row,) = await accept(store, [NewInput(A, secret, "$5")], 1)
        await step(store, StoredRoom(A, b"", live=False, phase="Idle"), [row.seq], now=2)
        with closing(sqlite3.connect(tmp_path / "b.db", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM journal").fetchall()
            ran, engine = list[str](), store._engine
            assert isinstance(engine, SqliteEngine)
            await engine._hop(lambda: engine._connection.set_trace_callback(ran.append))
            assert not await engine.empty_log()
            await engine._hop(lambda: engine._connection.set_trace_callback(None))
            assert [one.partition("=")[2] for one in ran] == [" 0", "", " 5000"]
            await store.forget_body(A, EventId("$5"))
            assert secret in (tmp_path / "b.db-wal").read_bytes()
        await store.prune(0, 0, Cutoffs())
        assert secret[:19] not in (tmp_path / "b.db-wal").read_bytes()
        assert secret[:19] not in (tmp_path / "b.db").read_bytes()
