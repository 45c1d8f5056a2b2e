"""Three bridges on one PostgreSQL: killed, suspended, disconnected and restarted under load.

Nothing is lost, and the order of each room is kept. The only duplicates are messages to agents that
the journal marks, as after a kill of a single bridge. TAKEOVERS=20 sets the number of kills and of
disconnections.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from statistics import median
from urllib.parse import urlsplit

import pytest

from tests.support.load import Chat
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.replicas import (
    LASTING,
    Replicas,
    judge,
    now,
    replicas,
    say,
    taken_over,
    three,
    under_load,
)
from tests.support.wires import Wire, wire_to_postgres

__all__ = ["three"]

TAKEOVERS = int(os.environ.get("TAKEOVERS") or 0)


async def owner_and_owned(
    shared: Replicas, chats: list[Chat], number: int
) -> tuple[int, list[Chat]]:
    """Return the owner of chat `number` (modulo their count), and all chats that it owns."""
    owners = [await shared.owner(chat.talk.room) for chat in chats]
    index = owners[number % len(chats)]
    return index, [chat for chat, owner in zip(chats, owners, strict=True) if owner == index]


def told(after: str, times: list[float]) -> None:
    p50, most = median(times), max(times)
    rounded = [round(one, 2) for one in times]
    say(f"{len(times)} takeovers after {after}: p50 {p50:.2f} s, max {most:.2f} s: {rounded}")


@pytest.mark.asyncio
async def test_takeover_after_each_replica_is_killed(three: Replicas) -> None:
    times = []
    async with under_load(three) as (chats, _):
        for number in range(TAKEOVERS or 6):
            index, owned = await owner_and_owned(three, chats, number)
            await three.bridges[index].kill()
            times.append(await taken_over(three, owned, index))
            await three.bridges[index].start()
            await three.until_shared(3)
    await judge(three, chats, len(times))
    told("kill -9", times)


@pytest.mark.asyncio
@pytest.mark.parametrize("delay", [0, 0.85], ids=["dropped", "late"])
async def test_takeover_when_packets_to_the_database_are_dropped_or_late(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer, delay: float
) -> None:
    folder, times = tmp_path_factory.mktemp("cut"), []
    url, server = postgres_server.new_database(), postgres_server.directory
    wires: list[Wire] = []

    @asynccontextmanager
    async def wiring(*_: object) -> AsyncIterator[Mapping[str, str]]:
        async with wire_to_postgres(server) as (wire, here):
            wires.append(wire)
            yield {"MATRIX_WEBCHAT_DATABASE__URL": url.replace(str(server), str(here))}

    async with replicas(folder, url, simulator=LASTING, wiring=wiring) as shared:
        async with under_load(shared) as (chats, _):
            for number in range(TAKEOVERS or 3):
                index, owned = await owner_and_owned(shared, chats, number)
                if delay:
                    wires[index].delay = delay
                else:
                    wires[index].lose()
                times.append(await taken_over(shared, owned, index))
                wires[index].mend()
                await shared.until_shared(3, 60)
        await judge(shared, chats, len(times))
    told("a delay" if delay else "a cut", times)


@pytest.mark.asyncio
async def test_postgres_failover_to_a_standby(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The primary is killed, and its synchronous standby promoted."""
    folder, ports = tmp_path_factory.mktemp("failover"), [free_port(), free_port()]
    first = PostgresServer(port=ports[0])
    first.start()
    second = PostgresServer(port=ports[1], of=first)
    second.start()
    try:
        at, both = (f"127.0.0.1:{port}" for port in ports), "127.0.0.1:{},127.0.0.1:{}"
        url = first.new_database().replace(next(at), both.format(*ports))
        url += "?target_session_attrs=primary"  # for the connections of this test
        async with replicas(folder, url, simulator=LASTING) as shared:
            async with under_load(shared) as (chats, gaps):
                began = now()
                await asyncio.sleep(8)
                killed = now()
                first.kill()
                await asyncio.sleep(1)  # time for a failover manager (Patroni) to decide
                await asyncio.to_thread(second.promote)
                promoted = now()
                await shared.until_shared(3)
                shared_again = now()
                await asyncio.sleep(8)
                last = now()
            await judge(shared, chats, 1)
            say(f"promoted {promoted - killed:.1f} s, shared {shared_again - killed:.1f} s after")
            say(f"longest gap to agent and customer before: {await gaps.longest(began, killed)} s")
            say(f"in the failover: {await gaps.longest(killed, last)} s")
    finally:
        second.remove()
        first.remove()


@pytest.mark.asyncio
async def test_takeover_from_a_replica_suspended_for_long(three: Replicas) -> None:
    """Another bridge ends its database session; resumed, it writes nothing and rejoins."""
    async with under_load(three) as (chats, _):
        owned = [chat for chat in chats if await three.owner(chat.talk.room) == 1]
        three.signal(1, signal.SIGSTOP)
        took = await taken_over(three, owned, 1)
        await asyncio.sleep(max(0.0, 15 - took))
        three.signal(1, signal.SIGCONT)
        await three.until_shared(3)
    await judge(three, chats, 3)
    say(f"takeover from a paused one: {took:.2f} s")


@pytest.mark.asyncio
async def test_rolling_restart_of_all_replicas(three: Replicas) -> None:
    async with under_load(three) as (chats, gaps):
        began = now()
        await asyncio.sleep(8)
        first = now()
        for bridge in three.bridges:
            assert await bridge.stop() == 0
            await bridge.start()
            await three.until_shared(3)
        last = now()
    await judge(three, chats, 0)
    say(f"longest gap to agent and customer before: {await gaps.longest(began, first)} s")
    say(f"in a rolling restart: {await gaps.longest(first, last)} s")


@pytest.mark.asyncio
async def test_database_sessions_are_cut(three: Replicas, postgres_server: PostgresServer) -> None:
    """Database sessions are terminated, first one by one and then all at once."""
    name = urlsplit(three.database).path.removeprefix("/")
    end = "SELECT pg_terminate_backend(pid) FROM"
    of_ours = f"pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    async with under_load(three) as (chats, gaps):
        first = now()
        for number in range(6):
            one = f"{end} replicas WHERE name = 'r{number % 3}'"
            await asyncio.to_thread(postgres_server.sql, one, name)
            await asyncio.sleep(1.5)
        for _ in range(2):
            await asyncio.to_thread(postgres_server.sql, f"{end} {of_ours}", name)
            await asyncio.sleep(3)
        await three.until_shared(3)
        last = now()
    await judge(three, chats, 8)
    say(f"longest gap while sessions were cut: {await gaps.longest(first, last)} s")


@pytest.mark.asyncio
async def test_database_crash_and_restart(three: Replicas, postgres_server: PostgresServer) -> None:
    async with under_load(three) as (chats, gaps):
        first, before = now(), await three.holders()
        await asyncio.to_thread(postgres_server.stop, crash=True)
        await asyncio.sleep(2)
        await asyncio.to_thread(postgres_server.start)
        await asyncio.sleep(6)
        await three.until_shared(3)
        last = now()
        after = await three.holders()
        kept = sum(len(shards & after[name]) for name, shards in before.items())
    await judge(three, chats, 1)
    say(f"{kept} of 256 shards stayed; longest gap: {await gaps.longest(first, last)} s")
