"""Several processes on one PostgreSQL: each writes for the rooms whose shards it holds.

Here a process is a store of its own; the rooms are named after their shards.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, suppress
from typing import Any

import asyncpg
import msgspec
import pytest
import pytest_asyncio
from msgspec.structs import replace

from bridge.ids import SHARDS, EventId, RoomId, shard_of
from bridge.rooms.store import (
    PASSED,
    Commit,
    Committed,
    Entry,
    Lane,
    Member,
    NewEffect,
    NewInput,
    NotOwned,
    PassedOn,
    Stale,
    StoredRoom,
    Token,
)
from bridge.storage import postgres
from bridge.storage import shards as module
from bridge.storage.postgres import PostgresEngine
from bridge.storage.query import AlreadyInUse, Part, Query, Together, Unreachable, same
from bridge.storage.shards import LONGEST_NOTICE, Shards
from bridge.storage.sql import SAVE_FACT
from bridge.storage.sqlstore import SqlStore, open_store
from tests.fakes.flow import every
from tests.support.postgres import PostgresServer
from tests.support.wires import wire_to_postgres
from tests.unit.storage.conftest import FixedClock

CLOCK = FixedClock()
Start = Callable[[], Awaitable[SqlStore]]


def room(shard: int) -> RoomId:
    """A room of that shard."""
    names = (RoomId(f"!{number}:example.org") for number in range(100_000))
    return next(name for name in names if shard_of(name) == shard)


ONE, TWO = room(1), room(2)


def step(room_id: RoomId, revision: int = 0, *, key: str | None = None) -> Commit:
    """Return a commit that changes the room's record and handles an input."""
    stored = StoredRoom(room_id, b'{"v": 1}', live=False, phase="Idle", revision=revision)
    came = Entry(NewInput(room_id, b"{}", key or f"$k{room_id}{revision}"))
    return Commit(room_id, 5, stored, [came])


def shards_of(store: SqlStore) -> Shards:
    assert store.shards is not None
    return store.shards


def writer_of(store: SqlStore) -> Any:
    assert isinstance(store._engine, PostgresEngine)
    return store._engine._writer


async def seen(by: Shards, whom: Shards) -> Member:
    """Return what one replica sees of another, with its age set to 0."""
    return next(replace(m, age=0) for m in await by.beat("", leaving=False) if m.id == whom.id)


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    return postgres_server.new_schema()


@pytest_asyncio.fixture
async def start(url: str) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def start() -> SqlStore:
            return await stack.enter_async_context(open_store(url, CLOCK, sole=True, shared=True))

        yield start


async def until_written(store: SqlStore, commit: Commit) -> Any:
    """Commit until the store is connected to the database again; return the answer."""
    async with asyncio.timeout(30):
        while True:
            try:
                (answer,) = await every(store, [commit])
            except Unreachable:
                await asyncio.sleep(0.05)
            else:
                return answer


def test_a_rooms_shard_is_the_same_for_ever() -> None:
    assert [shard_of(name) for name in ("!a:example.org", "!b:example.org", "!ü\ud800")] == [
        228, 42, 35,
    ]  # fmt: skip
    assert {shard_of(f"!{number}") for number in range(5_000)} == set(range(SHARDS))


@pytest.mark.asyncio
async def test_shard_is_held_by_one_process(start: Start) -> None:
    one, other = shards_of(await start()), shards_of(await start())
    assert await one.take({1, 2}) == {1, 2}
    assert (
        await one.take({1, 2}) == set()
    )  # no lock is taken twice: it would have to be released twice
    assert await other.take({2, 3}) == {3}
    await one.give(2)
    assert await other.take({2}) == {2}
    assert (one.held, other.held) == ({1}, {2, 3})


def notices(notice: str) -> list[PassedOn]:
    kind, _, about = notice.partition(" ")
    assert kind == "rooms"
    return msgspec.json.decode(about, type=list[PassedOn])


@pytest.mark.asyncio
async def test_commit_for_a_room_of_another_process_is_refused_alone(start: Start) -> None:
    one, other = await start(), await start()
    await shards_of(one).take({1})
    await shards_of(other).take({2})
    mine, others = await every(one, [step(ONE), step(TWO)])
    assert isinstance(mine, Committed)
    assert isinstance(others, NotOwned)
    assert (await one.load(TWO)).room is None
    waiting = Commit(TWO, 5, waiting=[NewInput(TWO, b"{}", "$w")])
    (stored,) = await every(one, [waiting])
    assert isinstance(stored, NotOwned)  # the owner would not learn of it
    assert await shards_of(one).pass_on(waiting.waiting, 5) == 1


@pytest.mark.asyncio
async def test_only_the_owner_marks_an_attempt(start: Start) -> None:
    one, other = await start(), await start()
    await shards_of(one).take({1})
    effect = Entry(None, NewEffect(Lane.WEBCHAT, b"{}"))
    (answer,) = await every(one, [Commit(ONE, 5, entries=[effect])])
    assert isinstance(answer, Committed)
    (row,) = answer.effects
    with pytest.raises(NotOwned):
        await other.mark_attempted(row, 6)
    await one.mark_attempted(row, 6)
    (loaded,) = (await other.load(ONE)).effects
    assert loaded.attempts == 1


@pytest.mark.asyncio
async def test_only_the_owner_erases_a_room(start: Start) -> None:
    """A process suspended in the middle of it may find that the room has begun anew elsewhere."""
    one, other = await start(), await start()
    await shards_of(one).take({1})
    await every(one, [Commit(ONE, 5, waiting=[NewInput(ONE, b"{}", "$anew")])])
    with pytest.raises(NotOwned):
        await other.eraser.erase_room(ONE, [ONE], 6)
    assert len((await one.load(ONE)).inputs) == 1
    await one.eraser.erase_room(ONE, [ONE], 7)
    assert (await one.load(ONE)).inputs == []


@pytest.mark.asyncio
async def test_only_the_owner_writes_a_token(start: Start) -> None:
    """A process suspended in the middle of a login has a token older than the new owner's."""
    one, other = await start(), await start()
    await shards_of(one).take({1})
    new, late = (Token(ONE, "mx-1", value, 5) for value in ("new", "late"))
    await one.save_token(new)
    with pytest.raises(NotOwned):
        await other.save_token(late)
    with pytest.raises(NotOwned):
        await other.forget_token(ONE)
    assert await other.token(ONE) == new
    await one.forget_token(ONE)
    assert await one.token(ONE) == replace(new, value="")


@pytest.mark.asyncio
async def test_lost_connection_loses_shards_that_another_process_takes(start: Start) -> None:
    """As for a process that was suspended, and whose session was ended meanwhile."""
    one, other = await start(), await start()
    await shards_of(one).take({1, 2})
    told: list[tuple[set[int], set[int]]] = []

    def changed(lost: Collection[int], kept: Collection[int]) -> None:
        told.append((set(lost), set(kept)))

    shards_of(one).changed = changed
    await shards_of(one).beat("one", leaving=False)
    assert await shards_of(other).end(await seen(shards_of(other), shards_of(one)))
    async with asyncio.timeout(30):
        while not await shards_of(other).take({1}):  # noqa: ASYNC110 - a server's doing
            await asyncio.sleep(0.02)
    assert isinstance((await every(other, [step(ONE)]))[0], Committed)
    assert isinstance(await until_written(one, step(ONE, 1)), NotOwned)
    assert told == [({1}, {2})]
    assert isinstance(await until_written(one, step(TWO)), Committed)


@pytest.mark.asyncio
async def test_a_distant_server_is_reached_again(
    url: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new session locks what the former one held, in more round trips than a connection takes."""
    async with wire_to_postgres(postgres_server.directory) as (wire, here):
        through = url.replace(str(postgres_server.directory), str(here))
        async with open_store(through, CLOCK, sole=True, shared=True) as store:
            await shards_of(store).take([1])
            monkeypatch.setattr(postgres, "CONNECT_SECONDS", 1.5)
            wire.delay = 0.06
            writer_of(store).drop()
            async with writer_of(store):
                assert shards_of(store).held == {1}


@pytest.mark.asyncio
async def test_shard_given_up_during_a_reconnect_is_not_held(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await start(), await start()
    await shards_of(one).take({1, 2})
    await every(one, [step(ONE)])
    tried, asked, go_on = module._tried, asyncio.Event(), asyncio.Event()

    async def slow(connection: asyncpg.Connection, shards: Collection[int]) -> set[int]:
        found = await tried(connection, shards)
        asked.set()
        await go_on.wait()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(module, "_tried", slow)
        writer_of(one).drop()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(every(one, [step(TWO)]))
            await asyncio.wait_for(asked.wait(), 10)
            tasks.create_task(shards_of(one).give(1))
            await asyncio.sleep(0)
            go_on.set()
    assert shards_of(one).held == {2}
    assert await shards_of(other).take({1}) == {1}
    (theirs,) = await every(other, [step(ONE, 1)])
    assert isinstance(theirs, Committed)
    (ours,) = await every(one, [step(ONE, 2)])
    assert isinstance(ours, NotOwned)


@pytest.mark.asyncio
async def test_a_session_that_the_server_takes_for_alive_is_ended(start: Start) -> None:
    store = await start()
    await shards_of(store).take({1})
    channel = writer_of(store)
    old, channel._connection = channel._connection, None  # lost without notice
    assert isinstance(await until_written(store, step(ONE)), Committed)
    assert shards_of(store).held == {1}
    old.terminate()


@pytest.mark.asyncio
async def test_passed_on_inputs_precede_later_ones_of_the_owner(start: Start) -> None:
    one, other = await start(), await start()
    await shards_of(one).take({1})
    heard: list[str] = []
    shards_of(one).heard = heard.append
    await every(one, [step(ONE)])
    first = [NewInput(ONE, b'"first"', "$1"), NewInput(TWO, b'"first"', "$2")]
    assert await shards_of(other).pass_on(first, 6) == 2
    assert await shards_of(other).pass_on(first, 7) == 0
    # Made before it knew of the first: refused only if it holds events that arrived at the owner.
    (answer,) = await every(one, [replace(step(ONE, 1), exact=True)])
    assert isinstance(answer, Stale)
    loaded = await one.load(ONE)
    assert loaded.room is not None
    assert (loaded.room.record, loaded.room.revision) == (b'{"v": 1}', 1 + PASSED)
    assert [row.key for row in loaded.inputs] == ["$1"]
    new = await one.load(TWO)  # it had no row
    assert new.room is not None
    assert (new.room.record, new.room.revision) == (b"", PASSED)
    async with asyncio.timeout(30):
        while not heard:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    told = {room.room: room for notice in heard for room in notices(notice)}
    assert told == {
        ONE: PassedOn(ONE, 1 + PASSED, tuple(loaded.inputs)),
        TWO: PassedOn(TWO, PASSED, tuple(new.inputs)),
    }
    (answer,) = await every(one, [step(ONE, 1)])  # an agent's message, for instance
    assert isinstance(answer, Committed)
    (answer,) = await every(one, [step(ONE, 1)])  # the owner has written it since
    assert isinstance(answer, Stale)
    after = await one.load(ONE)
    assert after.room is not None
    assert after.room.revision == 2 + PASSED


@pytest.mark.asyncio
async def test_other_roles_can_neither_read_nor_forge_notices(
    start: Start, postgres_server: PostgresServer, url: str
) -> None:
    """Every role may connect, listen and send notices; the bridge's contain messages."""
    one, other = await start(), await start()
    heard: list[str] = []
    shards_of(one).heard = heard.append
    schema = url.rpartition("=")[2]
    postgres_server.sql(f"CREATE ROLE stranger_{schema} LOGIN")
    address = url.replace("postgres@", f"stranger_{schema}@")
    stranger = await asyncpg.connect(address, server_settings={"search_path": "public"})
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await stranger.fetch(f"SELECT value FROM {schema}.facts")  # noqa: S608
        guess = await stranger.fetchval(
            "SELECT 'matrix_webchat_' || (hashtext($1)::bigint & 4294967295)", schema
        )
        overheard: list[object] = []
        await stranger.add_listener(guess, lambda *notice: overheard.append(notice[-1]))
        await stranger.execute("SELECT pg_notify($1, 'forged')", guess)
        await shards_of(other).pass_on([NewInput(ONE, b'"secret"', "$1")], 6)
        async with asyncio.timeout(30):
            while not heard or not overheard:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        await stranger.fetch("SELECT 1")
        assert overheard == ["forged"]
        assert [notices(each)[0].room for each in heard] == [ONE]
    finally:
        await stranger.close()
        postgres_server.sql(f"DROP ROLE stranger_{schema}")


@pytest.mark.asyncio
async def test_notices_are_few_and_never_too_long(start: Start) -> None:
    one, other = await start(), await start()
    heard: list[str] = []
    shards_of(one).heard = heard.append
    bodies = [b'\0\xff"' * size for size in (100, 1, 950, 1_000, 3_000, 150, 40, 700, 990)]
    rooms = [RoomId(f'!\u623f"{number}:example.org') for number in range(len(bodies))]
    inputs = [NewInput(*both) for both in zip(rooms, bodies, strict=True)]
    assert await shards_of(other).pass_on([*inputs, inputs[1]], 6) == len(inputs) + 1
    async with asyncio.timeout(30):
        while sum(len(notices(each)) for each in heard) < len(rooms):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    told = {each.room: each.inputs for notice in heard for each in notices(notice)}
    for name, body in zip(rooms, bodies, strict=True):
        carried = [] if len(body) > 2_600 else [body] * (1 + (name == rooms[1]))
        assert [row.body for row in told[name]] == carried
    assert len(heard) < len(rooms)
    assert max(len(each.encode()) for each in heard) <= LONGEST_NOTICE


@pytest.mark.asyncio
async def test_rooms_without_a_record_do_not_break_the_view(
    start: Start, postgres_server: PostgresServer, url: str
) -> None:
    store = await start()
    await shards_of(store).pass_on([NewInput(ONE, b"{}", "$1")], 6)
    schema = url.rpartition("=")[2]
    assert postgres_server.sql(f"SELECT count(session_id) FROM {schema}.sessions") == "0"  # noqa: S608
    assert await store.live_rooms() == []


@pytest.mark.asyncio
async def test_replicas_see_one_another(start: Start) -> None:
    one, other = await start(), await start()
    await shards_of(one).take({5, 6})
    await shards_of(one).beat("one", leaving=False, report='{"links": 1}')
    ((age, report),) = await other.reports()
    assert (age < 5, report) == (True, '{"links": 1}')
    assert await one.reports() == [], "of itself it knows better"
    seen = {member.name: member for member in await shards_of(other).beat("other", leaving=True)}
    mine = seen["one"]
    assert (mine.present, mine.leaving, mine.shards) == (True, False, [5, 6])
    assert mine.age < 5
    assert seen["other"].leaving
    id_ = shards_of(one).id
    await shards_of(other).end(mine)
    async with asyncio.timeout(30):
        while any(  # noqa: ASYNC110 - as above
            m.present and m.id == id_ for m in await shards_of(other).beat("", leaving=False)
        ):
            await asyncio.sleep(0.02)
    await shards_of(other).forget([id_])
    assert [m.name for m in await shards_of(other).beat("other", leaving=False)] == ["other"]


@pytest.mark.asyncio
async def test_reused_session_number_ends_no_other_session(
    start: Start, postgres_server: PostgresServer, url: str
) -> None:
    """As after a restart of the server: the session number in a replica's row is outdated."""
    one, other = shards_of(await start()), shards_of(await start())
    await one.beat("one", leaving=False)
    await other.beat("other", leaving=False)
    schema, gone = url.rpartition("=")[2], "000000000000"
    postgres_server.sql(
        f"INSERT INTO {schema}.replicas SELECT '{gone}', 'gone', pid, started, seen, leaving "  # noqa: S608
        f"FROM {schema}.replicas WHERE name = 'other'"
    )
    members = {member.name: member for member in await one.beat("one", leaving=False)}
    assert {name for name, member in members.items() if member.present} == {"one", "other"}
    assert await one.end(members["gone"])
    await asyncio.sleep(0.1)
    await other.beat("other", leaving=False)
    assert other.pid == members["other"].pid  # its session stands


@pytest.mark.asyncio
@pytest.mark.usefixtures("impatient")
async def test_sole_and_sharing_bridges_exclude_one_another(start: Start, url: str) -> None:
    async with open_store(url, CLOCK, sole=True):
        alone = open_store(url, CLOCK, sole=True, shared=True)
        with pytest.raises(AlreadyInUse, match="only if all have this version"):
            await alone.__aenter__()
    await start()
    await start()
    engine = PostgresEngine(url, CLOCK)
    await engine.open()
    with pytest.raises(AlreadyInUse):
        await engine.claim()
    await engine.close()


class Lent:
    """Connections of a pooler in transaction mode: two of the bridge share one of its own.

    Between transactions, the session may change.
    """

    def __init__(self, session: asyncpg.Connection, other: asyncpg.Connection | None) -> None:
        self._session = session
        self._other = other
        self._asked = 0

    def __getattr__(self, name: str) -> Any:
        self._asked += name.startswith("fetch")
        second = self._other is not None and self._asked % 2
        return getattr(self._other if second else self._session, name)

    async def close(self, **_: object) -> None: ...

    def terminate(self) -> None: ...


@pytest.mark.asyncio
@pytest.mark.parametrize("changes", [True, False])
async def test_a_pooler_in_transaction_mode_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch, changes: bool
) -> None:
    real = [await asyncpg.connect(url) for _ in range(2)]
    lent = Lent(real[0], real[1] if changes else None)

    async def connect(*_: object, **__: object) -> Lent:
        return lent

    with monkeypatch.context() as patch:
        patch.setattr(asyncpg, "connect", connect)
        with pytest.raises(Unreachable, match="session mode"):
            await open_store(url, CLOCK, sole=True, shared=True).__aenter__()
    for one in real:
        await one.close()


@pytest.mark.asyncio
async def test_ping_does_not_wait_for_a_process_that_hangs_in_a_transaction(start: Start) -> None:
    """Nor do heartbeats, which follow it on the same connection."""
    one, other = await start(), await start()
    await one.ping()
    async with writer_of(one) as connection:
        await connection.execute("BEGIN; SELECT FROM facts FOR UPDATE")
        async with asyncio.timeout(5):
            await other.ping()
            await shards_of(other).beat("other", leaving=False)
        await connection.execute("ROLLBACK")


@pytest.mark.asyncio
async def test_first_fact_is_kept(start: Start) -> None:
    one, other = await start(), await start()
    assert await one.first_fact("instance", "a") == "a"
    assert await other.first_fact("instance", "b") == "a"
    assert await other.body_of(ONE, EventId("$1")) is None


@pytest.mark.asyncio
async def test_alone_excludes_other_processes(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await start(), await start()
    monkeypatch.setattr(module, "ALONE_SECONDS", 3600.0)
    done: list[str] = []
    both = asyncio.Barrier(2)

    async def alone(store: SqlStore, name: str) -> None:
        async with shards_of(store).alone(name):
            done.append(f"begin {name}")
            await asyncio.sleep(0.1)
            done.append(f"end {name}")

    async def beside(store: SqlStore, name: str) -> None:
        async with shards_of(store).alone(name):
            await both.wait()

    await asyncio.gather(alone(one, "a"), alone(other, "a"))
    assert done == ["begin a", "end a"] * 2
    async with asyncio.timeout(30):
        await asyncio.gather(beside(one, "b"), beside(other, "c"))
    async with shards_of(one).alone("a"):
        writer_of(one).drop()  # its session ends, and the lock with it
        await alone(other, "a")
    monkeypatch.setattr(module, "ALONE_SECONDS", 0.2)
    async with shards_of(one).alone("a"):
        await alone(other, "a")  # after the maximum wait


@pytest.mark.asyncio
async def test_notices_are_only_sent_to_other_processes(start: Start) -> None:
    one = shards_of(await start())
    heard: list[str] = []
    one.heard = heard.append
    await one.beat("one", leaving=False)
    await one.notify("nobody hears")
    other = shards_of(await start())
    await other.beat("other", leaving=False)
    await one.beat("one", leaving=False)
    await one.notify("somebody hears")
    async with asyncio.timeout(30):
        while not heard:  # noqa: ASYNC110 - the server's doing
            await asyncio.sleep(0.01)
    assert heard == ["somebody hears"]


@pytest.mark.asyncio
@pytest.mark.parametrize("shared", ["fact", "event"])
async def test_a_process_cut_off_in_its_transaction_holds_up_no_other_for_long(
    postgres_server: PostgresServer, url: str, shared: str
) -> None:
    """Its network drops every packet; the other writes the same fact, or gets the same event."""
    slow = Query(same("SELECT pg_sleep(0.4)"))
    async with AsyncExitStack() as stack:
        wire, here = await stack.enter_async_context(wire_to_postgres(postgres_server.directory))
        through = url.replace(str(postgres_server.directory), str(here))
        lost, other = [
            await stack.enter_async_context(open_store(one, CLOCK, sole=True, shared=True))
            for one in (through, url)
        ]
        await shards_of(lost).take([1])
        await shards_of(other).beat("other", leaving=False)
        if shared == "fact":
            first: Any = Together([Part(SAVE_FACT, [("caught up", "1")])])
        else:
            first = step(ONE, key="$same")
        ended = asyncio.Event()
        lost.writer.submit([first, slow], lambda _: ended.set())
        await asyncio.sleep(0.2)
        wire.lose()
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(20):  # 30 s is what the server gives other transactions
            if shared == "fact":
                await other.save_fact("caught up", "2")
            else:
                passed = [NewInput(ONE, b"{}", "$same")]
                assert await shards_of(other).pass_on(passed, 1) == 1  # the cut one is undone
        assert asyncio.get_running_loop().time() - began > 0.3, "the row was locked"
        wire.cut()
        await ended.wait()


async def passed(store: SqlStore, key: str) -> int:
    with suppress(Unreachable):
        return await shards_of(store).pass_on([NewInput(ONE, b"{}", key)], 1)
    return 0


async def fill_queue(url: str) -> None:
    other = await asyncpg.connect(url)
    try:
        while True:
            await other.execute("SELECT pg_notify('other', repeat('-', 7000))")
    finally:
        await other.close()


@pytest.mark.asyncio
async def test_a_full_queue_of_notices_is_no_fault_of_an_input() -> None:
    """Any session of the server that listens and stays in a transaction keeps all notices in it."""
    server = PostgresServer(settings="-c max_notify_queue_pages=64")
    server.start()
    try:
        async with open_store(server.new_database(), CLOCK, sole=True, shared=True) as store:
            listener = await asyncpg.connect(server.url())
            await listener.execute("LISTEN anything")
            async with listener.transaction():
                await listener.execute("SELECT 1")
                with pytest.raises(asyncpg.ProgramLimitExceededError):
                    await fill_queue(server.url())
                with pytest.raises(Unreachable, match=r"program limit exceeded \(54000\)"):
                    await shards_of(store).pass_on([NewInput(ONE, b"{}", "$1")], 1)
            await listener.close()
            async with asyncio.timeout(30):
                while not await passed(store, "$1"):
                    await shards_of(store).listen()
    finally:
        server.remove()
