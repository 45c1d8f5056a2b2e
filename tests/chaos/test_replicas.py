"""Three bridges on one PostgreSQL: killed, paused, cut off and restarted under load.

Nothing is lost or doubled, and the order of each room is kept; towards the agent a message may come
twice where the ledger marks it, as after a kill of a single bridge.
"""

from __future__ import annotations

import asyncio
import signal
from statistics import median
from urllib.parse import urlsplit

import pytest

from tests.support.postgres import PostgresServer
from tests.support.replicas import Replicas, judge, now, say, taken_over, three, under_load

__all__ = ["three"]


@pytest.mark.asyncio
async def test_killed_one_after_the_other(three: Replicas) -> None:
    times = []
    async with under_load(three) as (chats, _):
        for number in range(6):
            index = number % 3
            owned = [chat for chat in chats if await three.owner(chat.talk.room) == index]
            await three.bridges[index].kill()
            times.append(await taken_over(three, owned, index))
            await three.bridges[index].start()
            await three.until_shared(3)
    await judge(three, chats, 6)
    say(f"takeover after kill -9: p50 {median(times):.2f} s, max {max(times):.2f} s: {times}")


@pytest.mark.asyncio
async def test_paused_for_long(three: Replicas) -> None:
    """Its session is ended by another; when it wakes it writes nothing, and finds its place."""
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
async def test_restarted_one_after_the_other(three: Replicas) -> None:
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
async def test_cut_off_from_the_database(three: Replicas, postgres_server: PostgresServer) -> None:
    """Sessions end, one after the other and then all: the rooms stay, or are taken over."""
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
async def test_the_database_is_killed(three: Replicas, postgres_server: PostgresServer) -> None:
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
