"""Heartbeats and pings: when they go out, and what an answer to them means."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest
from aiohttp import web

from bridge.link.learnt import Feature
from bridge.webchat.codes import Dialect
from tests.unit.link.rig import (
    FAST,
    WildServer,
    answer_everything,
    eventually,
    rig,
    settings_for,
)
from tests.unit.link.simulated import ADA, ASK

BEATING = replace(FAST, ping_after=0.1, ping_wait=0.3)


@pytest.mark.asyncio
async def test_heartbeats_come_also_while_much_is_heard() -> None:
    beats: list[float] = []

    async def chatty(socket: web.WebSocketResponse) -> None:
        async with asyncio.TaskGroup() as tasks:
            talking = tasks.create_task(talk(socket))
            async for message in socket:
                beats.append(asyncio.get_running_loop().time())
                frame = message.json()
                await socket.send_json({"messageId": frame["messageId"], "type": 10, "result": 1})
            talking.cancel()

    async def talk(socket: web.WebSocketResponse) -> None:
        while True:
            await socket.send_json({"type": 203, "sessionId": 1, "agentId": "a"})
            await asyncio.sleep(0.01)

    async with WildServer(socket=chatty).running() as server:
        settings = settings_for(server.base_url, dialect=Dialect.Y2019, timing=BEATING)
        async with rig(settings) as rigged:
            rigged.links.keep(ADA)
            await eventually(lambda: len(beats) == 4)
    assert all(0.05 < late - early < 1 for early, late in pairwise(beats))


@pytest.mark.asyncio
async def test_a_link_on_which_anything_is_heard_lives() -> None:
    """The heartbeat itself is not answered, but a push comes meanwhile."""

    async def pushing(socket: web.WebSocketResponse) -> None:
        async for _ in socket:
            await socket.send_json({"type": 203, "sessionId": 1, "agentId": "a"})

    async with WildServer(socket=pushing).running() as server:
        timing = replace(BEATING, ping_wait=0.05)
        settings = settings_for(server.base_url, dialect=Dialect.Y2019, timing=timing)
        async with rig(settings) as rigged:
            rigged.links.keep(ADA)
            await eventually(lambda: not rigged.links.learnt.has(Feature.HEARTBEAT))
            assert rigged.counts.connects == 1


@pytest.mark.asyncio
async def test_a_heartbeat_may_find_the_dead_token() -> None:
    async def refusing(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            result = -15 if len(server.sockets) == 1 else 1
            answer = {"messageId": message.json()["messageId"], "type": 10, "result": result}
            await socket.send_json(answer)

    server = WildServer(socket=refusing)
    async with server.running():
        settings = settings_for(server.base_url, dialect=Dialect.Y2019, timing=BEATING)
        async with rig(settings) as rigged:
            rigged.links.keep(ADA)
            await eventually(lambda: rigged.counts.connects == 2)
            assert rigged.counts.logins == 2


@pytest.mark.asyncio
async def test_a_refused_token_does_not_wait_for_a_heartbeat() -> None:
    """The heartbeat hangs; a command finds the token dead; the new login comes at once."""
    beaten = asyncio.Event()

    async def half(socket: web.WebSocketResponse) -> None:
        if len(server.sockets) > 1:
            await answer_everything(socket)
            return
        async for message in socket:
            frame = message.json()
            if frame["type"] == 10:
                beaten.set()
            else:
                answer = {"messageId": frame["messageId"], "type": 101, "result": -15}
                await socket.send_json(answer)

    server = WildServer(socket=half)
    async with server.running():
        timing = replace(BEATING, ping_wait=30.0)
        settings = settings_for(server.base_url, dialect=Dialect.Y2019, timing=timing)
        async with rig(settings) as rigged:
            rigged.links.keep(ADA)
            await asyncio.wait_for(beaten.wait(), 5)
            assert (await rigged.call(ADA, 1, ASK)).ok
            assert rigged.counts.logins == 2


@pytest.mark.asyncio
async def test_a_server_that_goes_away_under_a_heartbeat_has_not_failed_to_answer_it() -> None:
    async def leaving(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.json()["type"] == 10:
                await socket.close(code=1001)

    async with WildServer(socket=leaving).running() as server:
        settings = settings_for(server.base_url, dialect=Dialect.Y2019, timing=BEATING)
        async with rig(settings) as rigged:
            rigged.links.keep(ADA)
            await eventually(lambda: rigged.counts.connects == 6)
            assert rigged.links.learnt.has(Feature.HEARTBEAT)
