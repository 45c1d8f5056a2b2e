"""Several bridge processes (replicas) that share a PostgreSQL, behind a load balancer."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
from aiohttp import web

from bridge.demo.child_process import ChildProcess
from bridge.ids import SHARDS, shard_of
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
from tests.support.matrix_user import content_of
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.stage import Stage, StageOptions, bridge_process, pid_of, set_stage
from tests.support.staging import bridge_section
from tests.support.wires import take_no_more

PATIENCE = 3.0
"""Seconds until the balancer tries the next bridge, if there are several."""
ONE = 50.0
"""Request timeout in seconds with a single bridge: the homeserver gives up after 60."""
REST = 2.0
"""Seconds for which a bridge that did not answer is asked last."""


class Balancer:
    """A round-robin reverse proxy that fails over to another bridge.

    Attributes:
        doubled: number of coming transactions to deliver twice, concurrently.
        repeated: number of coming transactions to deliver again after a newer one.
        played: number of transactions delivered twice so far.
    """

    def __init__(self, port: int, targets: list[str]) -> None:
        self.doubled = self.repeated = self.played = 0
        self._former: tuple[web.Request, bytes] | None = None
        self._port = port
        self._targets = targets
        self._next = 0
        self._resting: dict[str, float] = {}
        self._session: aiohttp.ClientSession

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", self._port))
        async with aiohttp.ClientSession() as self._session:
            await web.SockSite(runner, listener).start()
            try:
                yield
            finally:
                await take_no_more(listener.fileno())
                await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        """Forward a request, and duplicates of transactions, which arrive one at a time."""
        body = await request.read()
        if request.method != "PUT" or not (self.doubled or self.repeated):
            return await self._pass_on(request, body)
        if self.doubled:
            self.doubled, self.played = self.doubled - 1, self.played + 1
            both = await asyncio.gather(self._pass_on(request, body), self._pass_on(request, body))
            return max(both, key=lambda answer: answer.status)
        answer = await self._pass_on(request, body)
        if self._former is None:
            self._former = request, body
        elif answer.status < 300:
            self.repeated, self.played = self.repeated - 1, self.played + 1
            await self._pass_on(*self._former)
            self._former = None
        return answer

    async def _pass_on(self, request: web.Request, body: bytes) -> web.Response:
        now = asyncio.get_running_loop().time()
        self._next += 1
        turns = [
            self._targets[(self._next + turn) % len(self._targets)]
            for turn in range(len(self._targets))
        ]
        turns.sort(key=lambda target: self._resting.get(target, 0) > now)
        for target in turns:
            try:
                async with self._session.request(
                    request.method,
                    f"{target}{request.rel_url}",
                    data=body,
                    headers={"Authorization": request.headers.get("Authorization", "")},
                    timeout=aiohttp.ClientTimeout(PATIENCE if len(turns) > 1 else ONE),
                ) as answer:
                    told = await answer.read()
                    if answer.status < 500:
                        return web.Response(
                            body=told, status=answer.status, content_type="application/json"
                        )
            except (aiohttp.ClientError, TimeoutError):
                pass
            self._resting[target] = asyncio.get_running_loop().time() + REST
        return web.json_response({"errcode": "M_UNKNOWN"}, status=502)


@dataclass(frozen=True)
class Replicas:
    """The bridges, with their homeserver and simulator."""

    stage: Stage
    bridges: list[ChildProcess]
    database: str
    balancer: Balancer

    async def holders(self) -> dict[str, set[int]]:
        """Return the shards of each replica by its name, from the database's advisory locks."""
        connection = await asyncpg.connect(self.database)
        try:
            rows = await connection.fetch(
                "SELECT name, objid::bigint FROM replicas JOIN pg_locks USING (pid) WHERE "
                "locktype = 'advisory' AND granted AND objsubid = 2 "
                "AND classid NOT IN (719224654, 719224655) AND objid::bigint < $1",
                SHARDS,
            )
        finally:
            await connection.close()
        holders: dict[str, set[int]] = {}
        for name, shard in rows:
            holders.setdefault(name, set()).add(shard)
        return holders

    async def owner(self, room: str) -> int:
        """Return the index of the bridge that owns a room, -1 if none does."""
        for name, shards in (await self.holders()).items():
            if shard_of(room) in shards:
                return int(name.removeprefix("r"))
        return -1

    async def until_shared(self, count: int, patience: float = 30.0) -> None:
        """Wait until `count` bridges hold all shards in equal shares (± 1)."""
        async with asyncio.timeout(patience):
            while True:
                sizes = [len(shards) for shards in (await self.holders()).values()]
                if len(sizes) == count and sum(sizes) == SHARDS and max(sizes) - min(sizes) <= 1:
                    return
                await asyncio.sleep(0.05)

    def signal(self, index: int, number: signal.Signals) -> None:
        pid = pid_of(self.bridges[index])
        with suppress(ProcessLookupError):
            os.kill(pid, number)


Wiring = Callable[[Stage, int, int], AbstractAsyncContextManager[Mapping[str, str]]]


@asynccontextmanager
async def _unwired(stage: Stage, index: int, port: int) -> AsyncIterator[Mapping[str, str]]:
    yield {}


@asynccontextmanager
async def replicas(
    folder: Path,
    database: str,
    count: int = 3,
    simulator: SimulatorOptions | None = None,
    *,
    wiring: Wiring = _unwired,
) -> AsyncIterator[Replicas]:
    """Start `count` bridges on a new stage; a single one may use any database.

    Args:
        wiring: called with stage, index and port of each bridge; starts proxies between it and
            other servers, and yields the environment variables for them.
    """
    options = StageOptions(
        database=database,
        simulator=simulator or SimulatorOptions(strict=True, login_limit=0),
        config={"bridge": bridge_section()},
    )
    async with (
        set_stage(folder, options) as stage,
        sharing(stage, database, count, wiring) as shared,
    ):
        yield shared


@asynccontextmanager
async def sharing(
    stage: Stage, database: str, count: int = 3, wiring: Wiring = _unwired
) -> AsyncIterator[Replicas]:
    """Replace a stage's bridge by `count` bridges and a load balancer at its address."""
    ports = [free_port() for _ in range(count)]
    async with AsyncExitStack() as stack:
        await stage.bridge.stop()
        port = int(stage.bridge.url.rpartition(":")[2])
        targets = [f"http://127.0.0.1:{one}" for one in ports]
        balancer = Balancer(port, targets)
        await stack.enter_async_context(balancer.running())
        bridges = []
        for index, one in enumerate(ports):
            bridge = bridge_process(stage.config, one, stage.folder / f"bridge{index}.log")
            wires = await stack.enter_async_context(wiring(stage, index, one))
            own = {
                "MATRIX_WEBCHAT_APPSERVICE__PORT": str(one),
                "MATRIX_WEBCHAT_BRIDGE__REPLICA": f"r{index}",
                "MATRIX_WEBCHAT_DATABASE__URL": database,
            }
            bridge.environment = {**os.environ, **own, **wires}
            bridges.append(await stack.enter_async_context(bridge))
        shared = Replicas(replace(stage, bridge=bridges[0]), bridges, database, balancer)
        if count > 1:
            await shared.until_shared(count)
        yield shared


LASTING = SimulatorOptions(
    strict=True, login_limit=0, receipts=True, missed_pushes="kept", resend_seconds=2.0
)
"""A call centre that resends unacknowledged pushes; without that, some loss is unavoidable."""


@pytest_asyncio.fixture
async def three(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: PostgresServer,
) -> AsyncIterator[Replicas]:
    folder = tmp_path_factory.mktemp("replicas")
    show_on_failure(request, *(folder / f"bridge{index}.log" for index in range(3)))
    async with replicas(folder, postgres_server.new_database(), simulator=LASTING) as shared:
        yield shared


# --- load, and its checks -------------------------------------------------------------------------

ROOMS = 6
PAUSE = 0.8
"""Seconds between two texts of a person."""
ARRIVAL = 90.0
"""Maximum seconds until the last text has arrived."""
LOOK = 0.02


def now() -> float:
    """Seconds since the epoch."""
    return SystemClock().now() / 1000


def say(line: str) -> None:
    print(line)  # noqa: T201 - pytest shows it on failure, and with -s


class Gaps:
    """Measures the longest time without an arrival in a chat, in each direction."""

    def __init__(self, chats: list[Chat]) -> None:
        self.chats = chats
        self._heard: dict[str, list[float]] = {chat.talk.room: [] for chat in chats}

    async def watch(self) -> None:
        """Record the time of each text that arrives at the desk, until cancelled."""
        while True:
            await asyncio.sleep(LOOK)
            for chat in self.chats:
                moments = self._heard[chat.talk.room]
                moments += [now()] * (len(chat.heard()) - len(moments))

    async def longest(self, since: float, until: float) -> tuple[float, float]:
        """Return the longest gap (seconds) that ended in this period, to the agent and customer."""
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
async def under_load(
    shared: Replicas, rooms: int = ROOMS
) -> AsyncIterator[tuple[list[Chat], Gaps]]:
    """Run chats in which both sides keep talking; `judge` checks them afterwards."""
    chats = await open_chats(shared.stage, rooms, "replica")
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


async def judge(shared: Replicas, chats: list[Chat], disturbances: int) -> None:
    for chat in chats:
        await chat.ask()
        await all_taken_in(shared.database, chat, ARRIVAL)
    for chat in chats:
        await chat.everything_arrived(ARRIVAL)
    await everything_settled(shared.database, ARRIVAL)
    doubled = 0
    for chat in chats:
        doubled += await check_towards_the_agent(chat, shared.database, disturbances)
        await check_towards_the_customer(chat)
    texts = sum(len(chat.asked) + len(chat.answered) for chat in chats)
    say(f"{texts} texts both ways, none lost; {doubled} came to an agent twice, all marked")


async def taken_over(shared: Replicas, rooms: list[Chat], by_others_than: int) -> float:
    """Return the seconds until these rooms have another owner and their links are up."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(60):
        for chat in rooms:
            while (  # noqa: ASYNC110 - changed by other processes
                await shared.owner(chat.talk.room) in {-1, by_others_than} or not linked(chat)
            ):
                await asyncio.sleep(LOOK)
    return loop.time() - began


def linked(chat: Chat) -> bool:
    return chat.talk.person is not None and chat.talk.person.linked
