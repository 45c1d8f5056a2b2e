"""One socket against servers that misbehave in the middle of a command."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from aiohttp import web

from bridge.conversation.events import FailureReason
from bridge.ids import AgentId, CallId, QueueId, SessionId
from bridge.rooms.ports import CallFailure
from bridge.webchat.frames import MessageReceived, RequestChat, SendMessage, Text, UnknownContent
from tests.unit.link.rig import (
    FAST,
    Rig,
    WildServer,
    account,
    answer_everything,
    eventually,
    nothing,
    rig,
    settings_for,
)

ADA = account()
ASK = RequestChat(QueueId(1))


async def outcome(rigged: Rig, call_id: int) -> tuple[FailureReason, bool] | int:
    try:
        return (await rigged.links.call(ADA, CallId(call_id), ASK, nothing)).result
    except CallFailure as failure:
        return failure.reason, failure.certain


@pytest.mark.asyncio
async def test_a_server_that_does_not_read_holds_nobody_for_ever() -> None:
    """Once every buffer is full a write is given up, and the link with it."""
    stuck = asyncio.Event()

    async def deaf(socket: web.WebSocketResponse) -> None:
        assert socket._req is not None
        transport = socket._req.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        await stuck.wait()

    async with WildServer(socket=deaf).running() as server:
        settings = settings_for(
            server.base_url,
            max_frame_bytes=32_000_000,
            timing=replace(FAST, settle=0.05, reply=0.3, connect=1.0),
        )
        async with rig(settings) as rigged:
            big = SendMessage(SessionId(1), Text("x" * 20_000_000))
            began = asyncio.get_running_loop().time()
            with pytest.raises(CallFailure, match="does not read") as caught:
                await rigged.call(ADA, 1, big)
            assert (caught.value.reason, caught.value.certain) == (FailureReason.NO_ANSWER, False)
            assert asyncio.get_running_loop().time() - began < 2
            await eventually(lambda: rigged.counts.connects == 2 or rigged.counts.open_links == 0)
        stuck.set()


@pytest.mark.asyncio
async def test_a_stray_refusal_answers_all_that_wait() -> None:
    """A -15 without messageId and of no waiter's type: all are refused, and all are replayed."""
    server = WildServer()
    asked: list[int] = []

    async def refuse_strangely(socket: web.WebSocketResponse) -> None:
        if len(server.sockets) > 1:
            await answer_everything(socket)
            return
        async for message in socket:
            asked.append(message.json()["messageId"])
            if len(asked) == 3:
                await socket.send_json({"type": 1, "result": -15})

    server.socket = refuse_strangely
    async with server.running(), rig(settings_for(server.base_url)) as rigged:
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(outcome(rigged, n)) for n in (1, 2, 3)]
        assert [call.result() for call in calls] == [1, 1, 1]
        assert rigged.counts.logins == 2


@pytest.mark.asyncio
async def test_after_a_refusal_due_replies_are_still_heard() -> None:
    """The first command is refused, the second was taken: its reply counts, it is not repeated."""
    server = WildServer()
    got: list[int] = []

    async def mixed(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            frame = message.json()
            got.append(frame["messageId"])
            if len(server.sockets) == 1 and len(got) < 2:
                continue
            if len(server.sockets) == 1:
                for call_id, result in ((1, -15), (2, 1)):
                    await socket.send_json({"type": 101, "messageId": call_id, "result": result})
                continue
            await socket.send_json({"type": 101, "messageId": frame["messageId"], "result": 1})

    server.socket = mixed
    async with server.running(), rig(settings_for(server.base_url)) as rigged:
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(outcome(rigged, n)) for n in (1, 2)]
        assert [call.result() for call in calls] == [1, 1]
    assert got == [1, 2, 1]


@pytest.mark.asyncio
async def test_what_is_not_answered_after_a_refusal_is_uncertain() -> None:
    async def half(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.json()["messageId"] == 2:
                await socket.send_json({"type": 101, "messageId": 1, "result": -15})

    async with WildServer(socket=half).running() as server:
        settings = settings_for(server.base_url, timing=replace(FAST, settle=0.1, connect=0.5))
        async with rig(settings) as rigged, asyncio.TaskGroup() as tasks:
            first = tasks.create_task(outcome(rigged, 1))
            second = tasks.create_task(outcome(rigged, 2))
            assert await second == (FailureReason.NO_ANSWER, False)
            await first


@pytest.mark.asyncio
async def test_1009_blames_the_newest_command_only() -> None:
    async def too_big(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.json()["messageId"] == 2:
                await socket.close(code=1009)

    async with WildServer(socket=too_big).running() as server:
        async with rig(settings_for(server.base_url)) as rigged, asyncio.TaskGroup() as tasks:
            first = tasks.create_task(outcome(rigged, 1))
            second = tasks.create_task(outcome(rigged, 2))
        assert first.result() == (FailureReason.NO_ANSWER, False)
        assert second.result() == (FailureReason.TOO_BIG, True)


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [1001, 1012, 1013])
async def test_a_server_that_goes_away_at_once_does_not_refuse_the_token(code: int) -> None:
    server = WildServer()

    async def leave_once(socket: web.WebSocketResponse) -> None:
        if len(server.sockets) == 1:
            await socket.close(code=code)
        else:
            await answer_everything(socket)

    server.socket = leave_once
    async with server.running(), rig(settings_for(server.base_url)) as rigged:
        assert await outcome(rigged, 1) == 1
        assert rigged.counts.logins == 1
        assert len(server.sockets) == 2


@pytest.mark.asyncio
async def test_a_redirect_of_the_socket_is_not_followed() -> None:
    def away(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": str(request.url)})

    async with WildServer(handshake=away).running() as server:
        settings = settings_for(server.base_url, timing=replace(FAST, connect=0.3))
        async with rig(settings) as rigged:
            assert await outcome(rigged, 1) == (FailureReason.UNREACHABLE, True)
        assert len(server.logins) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("stable", [60.0, 0.0])
async def test_a_frame_that_cannot_be_read_is_told_of(stable: float) -> None:
    """A picture that is too long for us ends the link: the customer must know that there was one.

    A server that pushes it again with each link has it told once.
    """

    async def flood(socket: web.WebSocketResponse) -> None:
        async for _ in socket:
            await socket.send_str("x" * 5000)

    timing = replace(FAST, stable=stable)
    async with (
        WildServer(socket=flood).running() as server,
        rig(settings_for(server.base_url, timing=timing, max_incoming_bytes=1000)) as rigged,
    ):
        rigged.links.keep(ADA)
        for number in range(3):
            with pytest.raises(CallFailure, match="lost"):
                await rigged.call(ADA, number, ASK)
        await rigged.events.until(lambda: len(rigged.events.back) == 3)
        told = [received.push for _, received in rigged.events.pushes]
    assert told[:1] == [MessageReceived(SessionId(0), AgentId(""), UnknownContent(None))]
    assert (len(told) == 1) == (stable > 0)
