"""One bridge per database: a second one does not start, and the first one keeps its claim."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path

import asyncpg
import pytest
import structlog

from bridge.storage import migrate as migrating
from bridge.storage.migrate import current_version, known, migrate
from bridge.storage.postgres import PostgresEngine
from bridge.storage.query import AlreadyInUse, Dialect, Query, Unreachable, same
from bridge.storage.sqlstore import engine_for, open_store
from bridge.storage.transfer import move
from tests.fakes.flow import accept
from tests.support.postgres import PostgresServer
from tests.unit.storage.conftest import FixedClock, make_impatient
from tests.unit.storage.contents import Silent
from tests.unit.storage.rows import said

CLOCK = FixedClock()


async def try_to_claim(url: str) -> None:
    engine = engine_for(url, CLOCK)
    await engine.open()
    try:
        await engine.claim()
    finally:
        await engine.close()


async def other_claim(url: str) -> None:
    """Claim the database without waiting for its end."""
    async with open_store(url, CLOCK, sole=True, wait=False):
        pytest.fail("opened")


@pytest.mark.asyncio
@pytest.mark.usefixtures("impatient")
async def test_a_second_bridge_is_refused(url: str) -> None:
    async with open_store(url, CLOCK, sole=True) as store:
        with (
            structlog.testing.capture_logs() as logs,
            pytest.raises(AlreadyInUse, match="another bridge is using this database"),
        ):
            await try_to_claim(url)
        waits = [line["event"] for line in logs if "waiting" in line["event"]]
        assert waits == ["a bridge is using the database: waiting for its end"]
        async with open_store(url, CLOCK) as beside:  # a command line may look and repair
            await accept(beside, [said("$1")], 1)
        await accept(store, [said("$2")], 1)
    await try_to_claim(url)


@pytest.mark.asyncio
async def test_claim_of_root_belongs_to_the_owner_of_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `sudo matrix-webchat erase` the bridge must be able to start under its own user."""
    file, given = tmp_path / "bridge.db", list[tuple[Path, int, int]]()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda *owner: given.append(owner))
    await try_to_claim(f"sqlite:///{file}")
    there = file.stat()
    assert given == [(tmp_path / "bridge.db-owner", there.st_uid, there.st_gid)]


@pytest.mark.asyncio
async def test_a_deleted_claim_is_taken_again(tmp_path: Path) -> None:
    """By the next write: the health check makes one every few seconds."""
    url, owner = f"sqlite:///{tmp_path}/bridge.db", tmp_path / "bridge.db-owner"
    async with open_store(url, CLOCK, sole=True) as store:
        owner.unlink()
        with structlog.testing.capture_logs() as logs:
            await store.ping()
        deleted = "the database's -owner file was deleted; it is made anew"
        assert [(one["event"], one["file"]) for one in logs] == [(deleted, str(owner))]
        with pytest.raises(AlreadyInUse):
            await other_claim(url)
        await accept(store, [said("$1")], 1)


@pytest.mark.asyncio
async def test_a_bridge_that_has_lost_its_claim_writes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/bridge.db"
    async with open_store(url, CLOCK, sole=True) as store:
        (tmp_path / "bridge.db-owner").unlink()
        async with open_store(url, CLOCK, sole=True) as second:
            with pytest.raises(AlreadyInUse):
                await store.ping()
            await accept(second, [said("$1")], 1)
        await store.ping()
        await accept(store, [said("$2")], 1)


@pytest.mark.asyncio
async def test_a_link_to_the_database_is_the_same_database(tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "bridge.db")
    async with open_store(f"sqlite:///{link}", CLOCK, sole=True) as store:
        with pytest.raises(AlreadyInUse):
            await other_claim(f"sqlite:///{tmp_path}/bridge.db")
        (tmp_path / "bridge.db-wal").unlink()
        with structlog.testing.capture_logs() as logs:
            await store.ping()
        assert ["-wal file was deleted" in one["event"] for one in logs] == [True]


@pytest.mark.asyncio
async def test_second_bridge_waits_for_the_first_to_stop(url: str) -> None:
    first = open_store(url, CLOCK, sole=True)
    await first.__aenter__()
    async with asyncio.TaskGroup() as tasks:
        second = open_store(url, CLOCK, sole=True)
        waiting = tasks.create_task(second.__aenter__())
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
        await first.__aexit__(None, None, None)
        await waiting
    await second.__aexit__(None, None, None)


_HOLDER = """
import asyncio, sys
from bridge.storage.sqlstore import open_store
from tests.unit.storage.conftest import FixedClock, make_impatient

async def main():
    async with open_store(sys.argv[1], FixedClock(), sole=True):
        print("mine", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.asyncio
async def test_the_claim_of_a_killed_process_is_free(url: str) -> None:
    """As soon as PostgreSQL has noticed its death, for which a start waits."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _HOLDER, url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"mine\n"
    with pytest.MonkeyPatch.context() as patch:
        make_impatient(patch)
        with pytest.raises(AlreadyInUse):
            await try_to_claim(url)
    process.kill()
    await process.wait()
    async with open_store(url, CLOCK, sole=True) as store:
        await accept(store, [said("$1")], 1)


@pytest.mark.asyncio
async def test_schemas_of_a_database_are_separate(postgres_server: PostgresServer) -> None:
    one, other = postgres_server.new_schema(), postgres_server.new_schema()
    async with open_store(one, CLOCK, sole=True), open_store(other, CLOCK, sole=True):
        pass


@pytest.mark.asyncio
@pytest.mark.usefixtures("impatient")
async def test_the_claim_is_taken_again_with_a_new_connection(
    postgres_server: PostgresServer,
) -> None:
    """Also while the server still regards the old session as alive, with its lock."""
    url = postgres_server.new_schema()
    engine = PostgresEngine(url, CLOCK)
    await engine.open()
    try:
        await engine.claim()
        await migrate(engine, 1)
        channel = engine._writer
        old = channel._connection
        assert old is not None
        channel._connection = None  # as if it were lost, without the server knowing
        async with asyncio.timeout(30):
            while True:
                try:
                    await engine.commit([Query(same("SELECT 1"))])
                except Unreachable:
                    await asyncio.sleep(0.05)
                else:
                    break
        with pytest.raises(AlreadyInUse):
            await try_to_claim(url)
        old.terminate()
    finally:
        await engine.close()


@pytest.mark.asyncio
@pytest.mark.usefixtures("impatient")
async def test_claim_waits_until_the_former_session_has_ended(
    postgres_server: PostgresServer,
) -> None:
    """The session is terminated, which takes a moment; no other bridge has the database."""
    engine = PostgresEngine(postgres_server.new_schema(), CLOCK)
    await engine.open()
    try:
        await engine.claim()
        await migrate(engine, 1)
        old, engine._writer._connection = engine._writer._connection, None
        assert old is not None
        pid = old.get_server_pid()
        os.kill(pid, signal.SIGSTOP)
        asyncio.get_running_loop().call_later(0.3, os.kill, pid, signal.SIGCONT)
        await engine.commit([Query(same("SELECT 1"))])
        old.terminate()
    finally:
        await engine.close()


@pytest.mark.asyncio
async def test_bridge_that_lost_its_database_to_another_stops_writing(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.new_schema()
    async with open_store(url, CLOCK, sole=True) as first:
        engine = first._engine
        assert isinstance(engine, PostgresEngine)
        engine._writer.drop()
        async with open_store(url, CLOCK, sole=True):
            with pytest.raises(AlreadyInUse):
                await accept(first, [said("$1")], 1)
        async with asyncio.timeout(30):
            while True:
                try:
                    await accept(first, [said("$1")], 1)
                except Unreachable:
                    await asyncio.sleep(0.05)
                else:
                    break


class Hung:
    """A fake asyncpg connection to a server that answers nothing."""

    def __init__(self) -> None:
        self.ended = False

    async def execute(self, *_: object) -> None:
        await asyncio.Event().wait()

    def is_closed(self) -> bool:
        return self.ended

    def terminate(self) -> None:
        self.ended = True


@pytest.mark.asyncio
async def test_a_connection_whose_claim_was_not_answered_is_never_used(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connecting task may be cancelled, like the writer in doubt of a COMMIT."""
    hung = Hung()
    async with open_store(postgres_server.new_schema(), CLOCK, sole=True) as store:
        engine = store._engine
        assert isinstance(engine, PostgresEngine)
        writer = engine._writer
        writer.drop()

        async def connect(*_: object, **__: object) -> Hung:
            return hung

        with monkeypatch.context() as patch:
            patch.setattr(asyncpg, "connect", connect)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await writer.connect()
        assert hung.ended
        async with writer as connection:
            held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = $1"
            # The claim, and the mark by which the session is known.
            assert await connection.fetchval(held, connection.get_server_pid()) == 2


@pytest.mark.asyncio
async def test_a_bridge_writes_nothing_more_after_a_move_while_it_was_disconnected(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """`migrate-db` takes the claim, which is free while the bridge has no session."""
    url = postgres_server.new_schema()
    async with open_store(url, CLOCK, sole=True) as store:
        engine = store._engine
        assert isinstance(engine, PostgresEngine)
        async with engine._writer as connection:
            await connection.close()
            await move(url, f"sqlite:///{tmp_path / 'bridge.db'}", CLOCK, Silent())
        for ask in (store.ping, partial(accept, store, [said("$1")], 1)):
            with pytest.raises(Unreachable, match="the database was moved to"):
                await ask()
            engine._backoff.succeeded()


@pytest.mark.asyncio
@pytest.mark.usefixtures("impatient")
async def test_no_input_is_passed_on_into_a_database_that_is_moved(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Inputs are passed on through a session of its own, which may outlive the writer's."""
    url, target = postgres_server.new_schema(), f"sqlite:///{tmp_path / 'bridge.db'}"
    async with open_store(url, CLOCK, sole=True, shared=True) as store:
        engine, shards = store._engine, store.shards
        assert isinstance(engine, PostgresEngine)
        assert shards is not None
        async with engine._writer as connection:
            await connection.close()
            with pytest.raises(AlreadyInUse):
                await move(url, target, CLOCK, Silent())
            assert await shards.pass_on([said("$1")], 1) == 1
            async with engine._intake as intake:
                await intake.close()
            await move(url, target, CLOCK, Silent())
        with pytest.raises(Unreachable, match="the database was moved to"):
            await shards.pass_on([said("$2")], 1)


@pytest.mark.asyncio
async def test_schema_is_not_changed_while_other_bridges_run(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would write rows in the old format, and lose new values."""
    url, newest = postgres_server.new_schema(), known(Dialect.POSTGRES)
    monkeypatch.setattr(migrating, "PATIENCE", 0.0)
    former = PostgresEngine(url, CLOCK, shared=True)
    await former.open()
    await migrate(former, CLOCK.now(), newest[:-1])
    await former.claim()
    for bridge in (True, False):  # False: a command line
        with pytest.raises(AlreadyInUse, match="of an earlier version"):
            await open_store(url, CLOCK, sole=bridge, shared=bridge).__aenter__()
    assert await current_version(former) == newest[-2].number
    await former.close()
    monkeypatch.undo()
    async with asyncio.TaskGroup() as tasks:  # of concurrent starts, one upgrades it
        starting = [open_store(url, CLOCK, sole=True, shared=True) for _ in range(3)]
        for one in starting:
            tasks.create_task(one.__aenter__())
    monkeypatch.setattr("bridge.storage.postgres.CLAIM_SECONDS", 0.0)
    with pytest.raises(AlreadyInUse):  # they have taken their claims again
        await open_store(url, CLOCK, sole=True).__aenter__()
    for one in starting:
        await one.__aexit__(None, None, None)
