"""Logins that wait for their turn: how the wait is reported, and which are not made at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from dataclasses import replace

import msgspec
import pytest
from aiohttp import web

from bridge.link.login import room_key
from bridge.link.settings import LinkSettings
from bridge.rooms.ports import Account, CallFailure
from bridge.webchat.codes import FailureReason
from tests.unit.link.rig import FAST, Tokens, WildServer, account, eventually, rig, settings_for
from tests.unit.link.simulated import ASK

FIRST, SECOND, THIRD = (account(name, name) for name in ("first", "second", "third"))


def one_by_one(server: WildServer, window: float = 1000.0, **timing: float) -> LinkSettings:
    """Return settings that allow one login per `window` seconds."""
    often: dict[str, float] = {"turn_noticed": 0.03, "turn_again": 0.05, "turn_share": 0.0}
    waits = replace(FAST, **{**often, "release": 60.0, **timing})
    return settings_for(server.base_url, login_count=1, login_seconds=window, timing=waits)


def who_came(server: WildServer) -> list[str]:
    return [json.loads(body)["loginName"] for body in server.login_bodies]


def names(*accounts: Account) -> list[str]:
    return [f"mx-{room_key(one.room_id)}" for one in accounts]


@pytest.mark.asyncio
async def test_noticeable_wait_is_reported_with_its_duration() -> None:
    async with (
        WildServer().running() as server,
        rig(one_by_one(server, connect=0.3)) as rigged,
    ):
        assert (await rigged.call(FIRST, 1, ASK)).ok
        assert rigged.events.waits == [], "there was none"
        with pytest.raises(CallFailure, match="waits for its turn") as caught:
            await rigged.call(SECOND, 1, ASK)
        assert caught.value.reason is FailureReason.NO_TURN
        assert caught.value.certain
        assert len(rigged.events.waits) > 2
        for room_id, seconds in rigged.events.waits:
            assert room_id == SECOND.room_id
            assert 999 < seconds <= 1000
        assert len(server.logins) == 1


@pytest.mark.asyncio
async def test_long_wait_is_reported_less_often() -> None:
    """Thousands may wait for hours: a report after a twentieth of the remaining time is enough."""
    async with (
        WildServer().running() as server,
        rig(one_by_one(server, connect=0.3, turn_share=0.05)) as rigged,
    ):
        assert (await rigged.call(FIRST, 1, ASK)).ok
        with pytest.raises(CallFailure, match="waits for its turn"):
            await rigged.call(SECOND, 1, ASK)
        assert len(rigged.events.waits) == 1


@pytest.mark.asyncio
async def test_timeout_after_the_turn_is_not_blamed_on_the_wait() -> None:
    """The login gets its turn, but then the server does not answer."""

    async def mute(_: web.Request) -> web.StreamResponse:
        if len(server.logins) > 1:
            await asyncio.sleep(10)
        return web.json_response({"result": 1, "token": "T"})

    server = WildServer(login=mute)
    async with server.running(), rig(one_by_one(server, 0.2, connect=0.5)) as rigged:
        assert (await rigged.call(FIRST, 1, ASK)).ok
        with pytest.raises(CallFailure) as caught:
            await rigged.call(SECOND, 1, ASK)
        assert len(server.logins) == 2
        assert caught.value.reason is FailureReason.UNREACHABLE


@pytest.mark.asyncio
async def test_a_login_that_nobody_wants_any_more_is_not_made() -> None:
    """Security M2: a room that gives up waiting must not use up a login."""
    async with WildServer().running() as server, rig(one_by_one(server, 0.5)) as rigged:
        assert (await rigged.call(FIRST, 1, ASK)).ok
        async with asyncio.TaskGroup() as tasks:
            rigged.links.keep(SECOND)
            given_up = tasks.create_task(_failure(rigged.call(SECOND, 1, ASK)))
            await eventually(lambda: rigged.events.waits != [])
            rigged.links.keep(THIRD)
            third = tasks.create_task(rigged.call(THIRD, 1, ASK))
            await asyncio.sleep(0)
            rigged.links.release(SECOND.room_id)
            started = asyncio.get_running_loop().time()
            assert (await given_up).reason is FailureReason.NO_TURN
            assert asyncio.get_running_loop().time() - started < 0.1, "at once"
        assert third.result().ok
        assert who_came(server) == names(FIRST, THIRD)
        rigged.links.keep(SECOND)
        await eventually(lambda: rigged.counts.connects == 3)
        assert who_came(server) == names(FIRST, THIRD, SECOND), "and it may be wanted again"


@pytest.mark.asyncio
async def test_released_link_waits_for_the_reply_to_a_written_command() -> None:
    async def late(socket: web.WebSocketResponse) -> None:
        frame = (await socket.receive()).json()
        came.set()
        await answer.wait()
        told = {"type": frame["type"], "messageId": frame["messageId"], "result": 1}
        await socket.send_json(told)
        await socket.receive()

    came, answer = asyncio.Event(), asyncio.Event()
    server = WildServer(socket=late)
    async with (
        server.running(),
        rig(one_by_one(server)) as rigged,
        asyncio.TaskGroup() as tasks,
    ):
        rigged.links.keep(FIRST)
        written = tasks.create_task(rigged.call(FIRST, 1, ASK))
        await came.wait()
        rigged.links.release(FIRST.room_id)
        answer.set()
        assert (await written).ok


@pytest.mark.asyncio
async def test_rooms_with_a_running_chat_log_in_first() -> None:
    async with WildServer().running() as server, rig(one_by_one(server, 0.3)) as rigged:
        assert (await rigged.call(FIRST, 1, ASK)).ok
        chatting = msgspec.structs.replace(THIRD, running=True)
        for one in (SECOND, chatting):
            rigged.links.keep(one)
            await eventually(lambda: bool(rigged.events.waits))
            rigged.events.waits.clear()
        await eventually(lambda: rigged.counts.connects == 3)
        assert who_came(server) == names(FIRST, THIRD, SECOND)


@pytest.mark.asyncio
async def test_rooms_of_one_person_delay_another_by_one_login() -> None:
    """Security M2: the next person goes before all of them but one."""
    tokens = Tokens()
    async with (
        WildServer().running() as server,
        rig(one_by_one(server, 0.1), tokens=tokens) as rigged,
    ):
        rooms = [account(f"m{number}", "mallory") for number in range(5)]
        for room in rooms:
            rigged.links.keep(room)
        await eventually(lambda: bool(rigged.events.waits))
        rigged.links.keep(SECOND)
        await eventually(lambda: rigged.counts.connects == 6)
        assert names(SECOND)[0] in who_came(server)[1:3]


async def _failure(call: Awaitable[object]) -> CallFailure:
    with pytest.raises(CallFailure) as caught:
        await call
    return caught.value


@pytest.mark.asyncio
async def test_unreachable_server_is_reported_rather_than_the_wait() -> None:
    async def away(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    server = WildServer(login=away)
    async with server.running(), rig(one_by_one(server, connect=0.3)) as rigged:
        with pytest.raises(CallFailure, match="503") as caught:
            await rigged.call(FIRST, 1, ASK)
        assert caught.value.reason is FailureReason.UNREACHABLE
        assert rigged.events.waits == []


@pytest.mark.asyncio
async def test_wait_after_a_refused_token_is_reported_rather_than_the_loss() -> None:
    """The server has answered since: the loss of the link is no longer the reason."""

    async def short(socket: web.WebSocketResponse) -> None:
        await socket.close(code=1001)

    def handshake(_: web.Request) -> web.Response | None:
        return web.Response(status=401) if len(server.sockets) > 1 else None

    server = WildServer(socket=short, handshake=handshake)
    async with server.running(), rig(one_by_one(server, connect=0.3)) as rigged:
        rigged.links.keep(FIRST)
        await rigged.events.until(lambda: rigged.events.waits != [])
        assert len(server.sockets) == 2
        with pytest.raises(CallFailure) as caught:
            await rigged.call(FIRST, 1, ASK)
        assert caught.value.reason is FailureReason.NO_TURN
