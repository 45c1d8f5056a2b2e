"""Three bridges on one PostgreSQL: killed, paused, cut off and restarted under load.

Nothing is lost or doubled, and the order of each room is kept; towards the agent a message may come
twice where the ledger marks it, as after a kill of a single bridge.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from statistics import median
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from bridge.demo.matrix_user import content_of
from bridge.rooms.surroundings import SystemClock
from bridge.simulator.simulator import SimulatorOptions
from tests.support.ledger import (
    all_taken_in,
    check_towards_the_agent,
    check_towards_the_customer,
    everything_settled,
)
from tests.support.load import GHOSTS, Chat, converse_until, open_chats, timeline
from tests.support.logs import show_on_failure
from tests.support.postgres import PostgresServer
from tests.support.replicas import Replicas, replicas

ROOMS = 6
PAUSE = 0.8
"""Seconds between two texts of one person."""
PATIENCE = 90.0
LOOK = 0.02


def now() -> float:
    """Seconds since the epoch."""
    return SystemClock().now() / 1000


def say(line: str) -> None:
    print(line)  # noqa: T201 - shown by pytest on failure, and with -s


@pytest_asyncio.fixture
async def three(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: PostgresServer,
) -> AsyncIterator[Replicas]:
    folder = tmp_path_factory.mktemp("replicas")
    show_on_failure(request, *(folder / f"bridge{index}.log" for index in range(3)))
    simulator = SimulatorOptions(
        strict=True, login_limit=0, receipts=True, missed_pushes="kept", resend_seconds=2.0
    )
    async with replicas(folder, postgres_server.new_database(), 3, simulator) as shared:
        yield shared


class Gaps:
    """How long nothing arrived in a chat, at the longest: towards the agent, and the customer."""

    def __init__(self, chats: list[Chat]) -> None:
        self.chats = chats
        self._heard: dict[str, list[float]] = {chat.talk.room: [] for chat in chats}

    async def watch(self) -> None:
        """Note when the desk gets something new, for ever."""
        while True:
            await asyncio.sleep(LOOK)
            for chat in self.chats:
                moments = self._heard[chat.talk.room]
                moments += [now()] * (len(chat.heard()) - len(moments))

    async def longest(self, since: float, until: float) -> tuple[float, float]:
        """Seconds of the longest gap that ended in that time, either way."""
        read = [
            [
                int(str(event["origin_server_ts"])) / 1000
                for event in await timeline(chat.talk)
                if str(event.get("sender")).startswith(GHOSTS) and "body" in content_of(event)
            ]
            for chat in self.chats
        ]
        return tuple(
            max(b - a for one in moments for a, b in pairwise(one) if since <= b <= until)
            for moments in (self._heard.values(), read)
        )  # type: ignore[return-value]


@asynccontextmanager
async def under_load(three: Replicas) -> AsyncIterator[tuple[list[Chat], Gaps]]:
    """Chats in which both sides go on talking; at the end everything is judged."""
    chats = await open_chats(three.stage, ROOMS, "replica")
    stop, gaps = asyncio.Event(), Gaps(chats)
    async with asyncio.TaskGroup() as group:
        group.create_task(converse_until(chats, stop, PAUSE))
        watching = group.create_task(gaps.watch())
        try:
            await asyncio.sleep(2)
            yield chats, gaps
            await asyncio.sleep(2)
        finally:
            stop.set()
            watching.cancel()


async def judge(three: Replicas, chats: list[Chat], disturbances: int) -> None:
    for chat in chats:
        await chat.ask()
        await all_taken_in(three.database, chat, PATIENCE)
    for chat in chats:
        await chat.everything_arrived(PATIENCE)
    await everything_settled(three.database, PATIENCE)
    doubled = 0
    for chat in chats:
        doubled += await check_towards_the_agent(chat, three.database, disturbances)
        await check_towards_the_customer(chat)
    texts = sum(len(chat.asked) + len(chat.answered) for chat in chats)
    say(f"{texts} texts both ways, none lost; {doubled} came to an agent twice, all marked")


async def taken_over(three: Replicas, rooms: list[Chat], by_others_than: int) -> float:
    """Seconds until all these rooms are another's, and their links stand again."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(60):
        for chat in rooms:
            while (  # noqa: ASYNC110 - other processes' doing
                await three.owner(chat.talk.room) in {-1, by_others_than} or not linked(chat)
            ):
                await asyncio.sleep(LOOK)
    return loop.time() - began


def linked(chat: Chat) -> bool:
    return chat.talk.person is not None and chat.talk.person.linked


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
