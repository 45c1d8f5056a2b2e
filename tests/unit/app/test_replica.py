"""Replicas on a real PostgreSQL: they share out the shards, and take over from one another.

The rooms behind them are counted only, and time runs twenty times as fast.
"""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from bridge.app import replica as module
from bridge.app.replica import BEAT, DEAF, Replica, share_of
from bridge.ids import SHARDS, RoomId, UserId
from bridge.rooms.engine import Engine
from bridge.rooms.store import NewInput, PassedOn, StoreError
from bridge.rooms.surroundings import SystemClock
from bridge.storage import shards
from bridge.storage.shards import Shards
from bridge.storage.sqlstore import SqlStore, open_store
from tests.support.postgres import PostgresServer
from tests.support.wires import wire_to_postgres

ROOM = RoomId("!room:example.org")


class Rooms:
    """An engine that only records its calls."""

    def __init__(self) -> None:
        self.shards: set[int] = set()
        self.handed: list[int] = []
        self.lost: set[int] = set()
        self.again: set[int] = set()
        self.heard: list[object] = []
        self.trouble: StoreError | None = None
        self.draining = asyncio.Event()
        self.draining.set()

    async def gain(self, shards: Collection[int]) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.shards |= set(shards)

    async def hand_over(self, shard: int, patience: float) -> None:
        self.shards.discard(shard)
        self.handed.append(shard)
        await self.draining.wait()

    def lose(self, shards: Collection[int]) -> None:
        self.lost |= set(shards) & self.shards
        self.shards -= set(shards)

    def reload_shards(self, shards: Collection[int]) -> None:
        self.again |= set(shards)

    def stored_elsewhere(self, told: PassedOn) -> None:
        self.heard.append(told.room)

    def heard_typing(self, room_id: RoomId, users: Collection[UserId]) -> None:
        self.heard.append((room_id, tuple(users)))


class Process:
    """A running replica."""

    def __init__(self, store: SqlStore, name: str) -> None:
        assert store.shards is not None
        self.shards: Shards = store.shards
        self.rooms = Rooms()
        self.keys: list[str | None] = []
        self.held, self.gained = asyncio.Event(), asyncio.Event()
        self.store = store
        self.report = f"of {name}"
        self.cut_off = 0.0
        self.replica = Replica(store.shards, name, self.held.set, self.gained.set, self.keys.append)
        self.told = 0
        self.writer: Any = cast(Any, store)._engine._writer
        self.task: asyncio.Task[None]

    async def run(self) -> None:
        def told(alive: int) -> None:
            self.told = alive

        engine, report = cast(Engine, self.rooms), lambda: self.report
        await self.replica.run(engine, told, report, lambda: self.cut_off)

    async def stand_still(self) -> None:
        """Suspend the replica between statements: an interrupted one would end its session."""
        async with self.writer:
            self.task.cancel()
            await asyncio.wait([self.task])

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])
        await self.replica.leave(1)


Start = Callable[..., Any]


def let_in(role: str, schema: str) -> str:
    """Return SQL for a role that may use a schema, but not end other roles' sessions."""
    return (
        f"CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA {schema} TO {role}; "
        f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role}"
    )


@pytest_asyncio.fixture
async def start(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Start]:
    for name, seconds in {"BEAT": 0.1, "SILENT": 2.0, "DEAF": 1.5, "LOOK": 0.03}.items():
        monkeypatch.setattr(module, name, seconds)
    url = postgres_server.new_schema()
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        processes: list[Process] = []

        async def start(name: str, role: str = "", through: Path | None = None) -> Process:
            if role:
                postgres_server.sql(let_in(role, url.rpartition("=")[2]))
            at = url.replace("//postgres@", f"//{role}@") if role else url
            if through is not None:
                at = at.replace(str(postgres_server.directory), str(through))
            opening = open_store(at, SystemClock(), sole=True, shared=True)
            process = Process(await stack.enter_async_context(opening), name)
            process.task = tasks.create_task(process.run())
            processes.append(process)
            return process

        yield start
        for process in processes:
            process.task.cancel()


async def until(true: Callable[[], bool], patience: float = 30) -> None:
    async with asyncio.timeout(patience):
        while not true():  # noqa: ASYNC110 - a database's doing
            await asyncio.sleep(0.01)


def shared(*processes: Process) -> Callable[[], bool]:
    """Return a check that these processes share all shards evenly."""

    def true() -> bool:
        sizes = [len(one.rooms.shards) for one in processes]
        whole = len(set().union(*(one.rooms.shards for one in processes))) == SHARDS
        held = all(one.rooms.shards == one.shards.held for one in processes)
        return whole and held and sum(sizes) == SHARDS and max(sizes) - min(sizes) <= 1

    return true


def test_first_replicas_get_the_remainder() -> None:
    assert [share_of(one, {"c", "a", "b"}) for one in "abc"] == [86, 85, 85]
    assert share_of("a", {"a"}) == SHARDS


@pytest.mark.asyncio
async def test_shards_are_shared_evenly_as_replicas_come_and_go(start: Start) -> None:
    one = await start("one")
    await until(shared(one))
    assert one.replica.first
    other, third = await start("other"), await start("third")
    await until(shared(one, other, third))
    assert len(one.rooms.handed) >= 2 * SHARDS // 3
    assert sum(process.replica.first for process in (one, other, third)) == 1
    await until(lambda: one.told == 3)
    await third.stop()
    await until(shared(one, other))
    assert third.shards.held == set()


@pytest.mark.asyncio
async def test_replica_that_alone_is_cut_off_hands_over_its_shards(start: Start) -> None:
    one, other = await start("one"), await start("other")
    await until(shared(one, other))
    one.cut_off = module.CUT_OFF - 1  # the others may be, too, and not know it yet
    async with asyncio.timeout(30):
        while [m.name for m in await other.store.members() if m.leaving] != ["one"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)
    assert shared(one, other)()
    one.cut_off = module.CUT_OFF
    with capture_logs() as logs:
        await until(shared(other))
    (said,) = [line for line in logs if "a peer is out of reach" in line["event"]]
    assert said["log_level"] == "warning"
    assert one.rooms.shards == set()
    other.cut_off = math.inf  # now everybody is: whoever serves a room keeps it
    await asyncio.sleep(0.5)
    assert shared(other)()
    other.cut_off = 0.0
    with capture_logs() as logs:
        await asyncio.sleep(0.5)
    assert logs == []  # a replica without shards leaves no rooms
    one.cut_off = 0.0
    await until(shared(one, other))


@pytest.mark.asyncio
async def test_a_shard_is_free_only_once_its_rooms_are_finished(start: Start) -> None:
    one = await start("one")
    await until(shared(one))
    one.rooms.draining.clear()
    other = await start("other")
    await until(lambda: len(one.rooms.handed) >= module.AT_ONCE)
    await asyncio.sleep(0.3)
    assert other.rooms.shards == set()
    assert len(one.shards.held) == SHARDS
    one.rooms.draining.set()
    await until(shared(one, other))


@pytest.mark.asyncio
async def test_stop_during_a_handover_releases_all_shards(start: Start) -> None:
    one = await start("one")
    await until(shared(one))
    one.rooms.draining.clear()
    other = await start("other")
    await until(lambda: len(one.rooms.handed) >= module.AT_ONCE)
    one.task.cancel()
    await asyncio.wait([one.task])
    one.rooms.draining.set()
    await one.replica.leave(1)
    assert one.shards.held == set()
    await until(shared(other))


@pytest.mark.asyncio
async def test_all_replicas_learn_of_queued_events(start: Start) -> None:
    """Any process gets any room's events; each reads its own rooms."""
    one, other = await start("one"), await start("other")
    await until(shared(one, other))
    assert not other.held.is_set()
    one.replica.tell_held()
    await until(other.held.is_set)


@pytest.mark.asyncio
async def test_whoever_takes_shards_over_catches_up(start: Start) -> None:
    """The one that had them may have ended while it was reading a room."""
    one, other = await start("one"), await start("other")
    await until(shared(one, other))
    one.gained.clear()
    await other.stop()
    await until(shared(one))
    await until(one.gained.is_set)


@pytest.mark.asyncio
async def test_replicas_report_to_one_another(start: Start) -> None:
    one, other = await start("one"), await start("other")
    await until(shared(one, other))

    async def told(report: str) -> None:
        async with asyncio.timeout(30):
            while [said for _, said in await one.store.reports()] != [report]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    await told("of other")
    other.report = "news"
    await told("news")
    # A replica that the others forgot as dead reports again.
    async with other.writer:
        await until(shared(one))
        async with asyncio.timeout(30):
            while await one.store.reports():  # noqa: ASYNC110 - a database's doing
                await asyncio.sleep(0.02)
    await told("news")


@pytest.mark.asyncio
async def test_shards_of_a_dead_replica_are_taken_over(start: Start) -> None:
    one, other = await start("one"), await start("other")
    await until(shared(one, other))
    other.task.cancel()
    other.writer.drop()  # its session ends with its process
    await until(shared(one))


@pytest.mark.asyncio
async def test_session_of_a_silent_replica_is_ended(start: Start) -> None:
    """When it wakes, its writes are refused, and it begins afresh."""
    one, other = await start("one"), await start("other")
    await until(shared(one, other))
    before = set(other.rooms.shards)
    await other.stand_still()
    await until(shared(one))
    # A call in the moment between the server's last word and the end is Unreachable.
    await until(other.writer._connection.is_closed)
    await other.shards.beat("other", leaving=False)
    assert other.rooms.lost >= before  # on a busy machine it may have lost some before that
    assert other.shards.held == set()


@pytest.mark.asyncio
async def test_suspended_database_moves_no_shard(
    start: Start, postgres_server: PostgresServer
) -> None:
    """By the database's clock all replicas were silent, and one of them notices first."""
    one, other, third = [await start(name) for name in ("one", "other", "third")]
    await until(shared(one, other, third))
    before = [set(process.shards.held) for process in (one, other, third)]
    with capture_logs() as logs:
        async with other.writer:  # its beat has its turn after this, and so is not the first one
            postgres_server.signal(signal.SIGSTOP)
            await asyncio.sleep(module.SILENT + 0.5)
            postgres_server.signal(signal.SIGCONT)
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)
        await until(shared(one, other, third))
    assert [process.shards.held for process in (one, other, third)] == before
    assert [line for line in logs if "ended the database session" in line["event"]] == []


@pytest.mark.asyncio
async def test_servers_clock_set_forward_moves_no_shard(start: Start) -> None:
    """As after a virtual machine with everything on it was suspended: only the time has passed."""
    one, other, third = [await start(name) for name in ("one", "other", "third")]
    await until(shared(one, other, third))
    before = [set(process.shards.held) for process in (one, other, third)]
    with capture_logs() as logs:
        async with third.writer as connection:
            await connection.execute("UPDATE replicas SET seen = seen - interval '1 hour'")
        await asyncio.sleep(module.SILENT + 0.5)
    assert [line for line in logs if line["log_level"] == "warning"] == []
    assert [process.shards.held for process in (one, other, third)] == before


@pytest.mark.asyncio
async def test_silent_replica_is_found_after_the_servers_clock_was_set_back(start: Start) -> None:
    one, other = await start("one"), await start("other")
    await until(shared(one, other))
    await other.stand_still()
    async with one.writer as connection:
        await connection.execute("UPDATE replicas SET seen = seen + interval '1 hour'")
    await until(shared(one))


@pytest.mark.asyncio
async def test_silent_replica_of_another_role_is_reported(
    start: Start,
) -> None:
    other = await start("other")
    await until(shared(other))
    with capture_logs() as logs:  # on a busy machine it may seem silent before it is
        one = await start("one", "nobody_else")
        await until(shared(one, other))
        await other.stand_still()
        await until(lambda: one.told == 1)  # its session stands, and it does not count
        shard = min(other.shards.held)
        await other.shards.give(shard)
        await until(lambda: shard in one.rooms.shards)
        await asyncio.sleep(0.3)
    refused = [line for line in logs if "no permission to end" in line["event"]]
    assert [(line["replica"], line["fix"]) for line in refused] == [("other", module.ONE_ROLE)]


@pytest.mark.asyncio
async def test_replica_without_answers_gives_up_its_rooms(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await start("one"), await start("other")
    await until(shared(one, other))
    before = set(other.rooms.shards)

    async def deaf(*_: object, **__: object) -> None:
        await asyncio.sleep(0.05)
        raise StoreError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(other.shards, "beat", deaf)
        await until(lambda: other.rooms.lost == before)
        assert other.rooms.shards == set()
    await until(shared(one, other))


@pytest.mark.asyncio
async def test_replica_whose_answers_come_late_frees_its_locks(
    start: Start, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others see its heartbeats, so they do not end its session."""
    monkeypatch.setattr(module, "SILENT", 600.0)
    async with wire_to_postgres(postgres_server.directory) as (wire, here):
        one, other = await start("one"), await start("other", through=here)
        await until(shared(one, other))
        wire.delay = 0.45  # two statements take longer than `DEAF`
        await until(shared(one))
        assert other.rooms.shards == set()
        wire.delay = 0.0
        await until(shared(one, other))


@pytest.mark.asyncio
async def test_heartbeats_go_on_while_rooms_are_gained(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow database takes its time to tell what is undone; the replica is not deaf by that.

    A third replica starts meanwhile: it gets its share of what is being gained.
    """
    one, other = await start("one"), await start("other")
    await until(shared(one, other))
    gain, slowly, told = one.rooms.gain, asyncio.Event(), asyncio.Event()

    async def slow(shards: Collection[int]) -> None:
        await gain(shards)
        slowly.set()
        await told.wait()

    with monkeypatch.context() as patch:
        patch.setattr(one.rooms, "gain", slow)
        async with one.writer:  # no answer
            await until(lambda: not one.rooms.shards)
            third = await start("third")
        await slowly.wait()
        one.rooms.lost.clear()
        await asyncio.sleep(module.DEAF + 0.5)
        await until(shared(one, other, third))
        assert one.rooms.lost == set()
        told.set()


@pytest.mark.asyncio
async def test_a_locked_table_delays_heartbeats_for_less_than_the_limit(start: Start) -> None:
    one = await start("one")
    async with one.writer as connection:
        waits = "SELECT setting::int FROM pg_settings WHERE name = 'lock_timeout'"
        assert BEAT + await connection.fetchval(waits) / 1000 < DEAF


@pytest.mark.asyncio
async def test_replica_whose_connections_all_became_silent_uses_none_of_them_again(
    start: Start, postgres_server: PostgresServer
) -> None:
    async with wire_to_postgres(postgres_server.directory) as (wire, here):
        one, other = await start("one", through=here), await start("other")
        await until(shared(one, other))
        await one.store.fact("a reader connects")
        wire.forget()
        await until(lambda: one.rooms.lost != set())
        await until(shared(one, other))
        assert await one.store.fact("read by a new one") is None


@pytest.mark.asyncio
async def test_only_replica_keeps_its_rooms_without_answers(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await start("one")
    await until(shared(one))

    async def deaf(*_: object, **__: object) -> None:
        raise StoreError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(one.shards, "beat", deaf)
        await asyncio.sleep(module.DEAF + 0.5)
    assert one.rooms.lost == set()


@pytest.mark.asyncio
async def test_only_replica_that_is_cut_off_gives_up_its_rooms_at_last(
    start: Start, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot learn of another one that starts then and ends its session."""
    monkeypatch.setattr(module, "STORE_AWAY", 2 * module.DEAF)
    async with wire_to_postgres(postgres_server.directory) as (wire, here):
        one = await start("one", through=here)
        await until(shared(one))
        wire.lose()
        other = await start("other")
        await until(lambda: len(other.rooms.shards) == SHARDS)
        await until(lambda: one.rooms.shards == set())


@pytest.mark.asyncio
async def test_replicas_keep_their_shards_over_a_restart_of_the_server(start: Start) -> None:
    one, other = await start("one"), await start("other")
    await until(shared(one, other))
    before = set(one.rooms.shards), set(other.rooms.shards)
    one.writer.drop()
    other.writer.drop()
    await until(lambda: (one.rooms.again, other.rooms.again) == before)
    assert (one.rooms.shards, other.rooms.shards) == before
    assert (one.rooms.lost, other.rooms.lost) == (set(), set())


@pytest.mark.asyncio
async def test_shards_lost_between_heartbeat_and_taking_are_not_served(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the connection is cut just then, and another replica has ended the session."""
    one, other, third = await start("one"), await start("other"), await start("third")
    await until(shared(one, other, third))
    take: Callable[[Iterable[int]], Awaitable[set[int]]] = one.shards.take
    done = asyncio.Event()
    ours = set(one.shards.held)

    async def late(shards: Iterable[int]) -> set[int]:
        if not done.is_set():
            one.writer.drop()
            theirs: set[int] = set()
            async with asyncio.timeout(30):
                while theirs != ours:
                    theirs |= await other.shards.take(ours - theirs)
            done.set()
        return await take(shards)

    monkeypatch.setattr(one.shards, "take", late)
    other.rooms.draining.clear()  # it would hand over its surplus before the check
    await third.stop()  # now there is something to take
    await asyncio.wait_for(done.wait(), 20)
    await until(lambda: one.rooms.lost >= ours)
    other.rooms.draining.set()
    for _ in range(10):
        assert one.rooms.shards <= one.shards.held
        assert not one.rooms.shards & other.rooms.shards
        await asyncio.sleep(0.05)
    await until(shared(one, other))


@pytest.mark.asyncio
async def test_rooms_that_could_not_be_loaded_are_tried_again(start: Start) -> None:
    one = await start("one")
    one.rooms.trouble = StoreError("busy")
    with capture_logs() as logs:
        await until(lambda: len(one.shards.held) == SHARDS)
        await asyncio.sleep(0.3)
    assert one.rooms.shards == set()
    assert [line for line in logs if line["event"] == "serving shards"] == []
    one.rooms.trouble = None
    await until(shared(one))


@pytest.mark.asyncio
async def test_notices_reach_all_replicas(start: Start) -> None:
    one, other = await start("one"), await start("other")
    await until(shared(one, other))
    users = [UserId("@ada:example.org")]
    one.replica.typing(ROOM, users)
    assert await one.replica.pass_on([NewInput(ROOM, b"{}", "$1")], 5) == 1
    await until(lambda: len(other.rooms.heard) == 2)
    assert sorted(map(str, other.rooms.heard)) == sorted(map(str, [(ROOM, tuple(users)), ROOM]))
    await one.shards.notify("keys [1]")
    await until(lambda: [*one.keys, *other.keys] == ["[1]"] * 2)
    other.rooms.heard.clear()
    await one.store.notify_owner(ROOM)
    await until(lambda: other.rooms.heard == [ROOM])
    other.replica._shards._intake.drop()
    await until(lambda: None in other.keys)  # notices may have been missed
    assert other.rooms.again == other.rooms.shards
    await one.shards.notify("typing nonsense")
    await one.shards.notify("rooms nonsense")
    await one.shards.notify("typing " + "x" * 9_000)
    await one.shards.notify("free")
    await asyncio.sleep(0.1)
    assert other.rooms.heard == [ROOM]


@pytest.mark.asyncio
async def test_notices_are_heard_again_after_a_silent_cut(
    start: Start, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle connection does not notice a cut: it needs queries."""
    monkeypatch.setattr(shards, "ASKED_SECONDS", 0.2)
    async with wire_to_postgres(postgres_server.directory) as (intake, here):
        other = await start("other")
        one = await start("one", through=here)
        await until(shared(one, other))
        one.writer._url = other.writer._url
        one.writer.drop()  # it goes another way from now on
        await until(shared(one, other))
        intake.lose()
        one.keys.clear()
        await asyncio.sleep(0.2)
        intake.mend()
        await until(lambda: None in one.keys)
        monkeypatch.setattr(shards, "ASKED_SECONDS", 30.0)
        await other.shards.notify(f'rooms [{{"room": "{ROOM}", "revision": 1}}]')
        await until(lambda: ROOM in one.rooms.heard)


@pytest.mark.asyncio
async def test_hanging_connection_for_notices_does_not_stop_heartbeats(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await start("one"), await start("other")
    monkeypatch.setattr(one.shards, "listen", asyncio.Event().wait)
    await until(shared(one, other))
    await asyncio.sleep(module.SILENT + 0.5)
    await until(lambda: one.told == 2)
    assert one.rooms.lost == set()


@pytest.mark.asyncio
async def test_only_replica_hands_nothing_over(start: Start) -> None:
    one = await start("one")
    await until(shared(one))
    await one.stop()
    assert one.rooms.handed == []


@pytest.mark.asyncio
@pytest.mark.parametrize("late", [False, True])
async def test_a_stop_does_not_wait_for_a_database_that_hangs(
    start: Start, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """`late`: it hangs once rooms are already being handed over."""
    monkeypatch.setattr(module, "ANSWERED", 0.5)
    async with wire_to_postgres(postgres_server.directory) as (wire, here):
        one, other = await start("one", through=here), await start("other")
        await until(shared(one, other))
        one.task.cancel()
        await asyncio.wait([one.task])
        one.rooms.draining.clear()
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            if not late:
                wire.lose()
            tasks.create_task(one.replica.leave(1))
            if late:
                await until(lambda: len(one.rooms.handed) > SHARDS // 3)
                wire.lose()
                one.rooms.draining.set()
