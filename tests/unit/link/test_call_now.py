"""`Links.call_now`: when a command is written at once, and how its outcome is reported."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec
import pytest
from aiohttp import web
from websockets.asyncio.client import ClientConnection

from bridge.ids import CallId, SessionId
from bridge.link.settings import LinkSettings
from bridge.rooms.ports import Account, CallFailure
from bridge.rooms.record import OwnLogin
from bridge.webchat.codes import Dialect, FailureReason
from bridge.webchat.frames import Command, Reply, SendMessage, Text
from tests.unit.link.rig import (
    FAST,
    Rig,
    WildServer,
    answer_everything,
    eventually,
    nothing,
    rig,
    settings_for,
)
from tests.unit.link.simulated import ADA, ASK, connected
from tests.unit.link.test_link import Desk, wants

HELLO = SendMessage(SessionId(5150), Text("hello"))
Told = Reply | CallFailure


def settings(server: WildServer, **changes: object) -> LinkSettings:
    return settings_for(server.base_url, dialect=Dialect.Y2016, **changes)


@asynccontextmanager
async def up(server: WildServer, **changes: object) -> AsyncIterator[Rig]:
    """Run links of which one is open."""
    async with server.running(), rig(settings(server, **changes)) as rigged:
        rigged.links.keep(ADA)
        await eventually(lambda: connected(rigged))
        yield rigged


def now(
    rigged: Rig, call_id: int, command: Command = HELLO, account: Account = ADA
) -> asyncio.Future[Told] | None:
    told: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
    done = rigged.links.call_now(account, CallId(call_id), command, told.set_result)
    return told if done else None


async def outcome(told: asyncio.Future[Told] | None) -> Told:
    assert told is not None, "it was written"
    async with asyncio.timeout(30):
        return await told


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Frames that were passed to the protocols of sockets."""
    frames: list[bytes] = []
    made = ClientConnection.connection_made

    def connection_made(self: ClientConnection, transport: asyncio.BaseTransport) -> None:
        made(self, transport)
        send = self.protocol.send_text

        def send_text(data: bytes, *args: bool) -> None:
            frames.append(data)
            send(data, *args)

        monkeypatch.setattr(self.protocol, "send_text", send_text)

    monkeypatch.setattr(ClientConnection, "connection_made", connection_made)
    return frames


@pytest.mark.asyncio
async def test_command_is_written_before_call_now_returns(written: list[bytes]) -> None:
    async with up(WildServer()) as rigged:
        told = [now(rigged, number) for number in (1, 2, 3)]
        assert [frame[:14] for frame in written] == [b'{"messageId":%d' % n for n in (1, 2, 3)]
        assert not any(one is None or one.done() for one in told)
        for one in told:
            reply = await outcome(one)
            assert isinstance(reply, Reply)
            assert reply.ok


@pytest.mark.asyncio
async def test_a_call_on_an_idle_link_is_written_before_any_task_is_switched(
    written: list[bytes],
) -> None:
    """The frame must be written in the first step of the coroutine, and its mark before."""
    marks: list[int] = []

    async def mark() -> None:
        marks.append(len(written))

    async with up(WildServer()) as rigged:
        call = rigged.links.call(ADA, CallId(1), HELLO, mark)
        task = asyncio.get_running_loop().create_task(call)
        await asyncio.sleep(0)  # the task's first step only
        assert len(written) == 1
        assert marks == [0]
        assert (await task).ok


@pytest.mark.asyncio
async def test_call_now_writes_nothing_unless_the_link_is_free(written: list[bytes]) -> None:
    storing = asyncio.Event()
    async with WildServer().running() as server, rig(settings(server)) as rigged:
        assert now(rigged, 1) is None, "the link does not stand"
        rigged.links.keep(ADA)
        await eventually(lambda: connected(rigged))
        async with asyncio.TaskGroup() as tasks:

            async def mark() -> None:
                await storing.wait()

            tasks.create_task(rigged.links.call(ADA, CallId(2), HELLO, mark))
            await asyncio.sleep(0)
            assert now(rigged, 3) is None, "another is about to be written"
            tasks.create_task(rigged.links.call(ADA, CallId(4), HELLO, nothing))
            await asyncio.sleep(0)
            storing.set()
            assert now(rigged, 5) is None, "another is ahead"
        long = SendMessage(SessionId(1), Text("x" * 9000))
        assert now(rigged, 6, long) is None, "too long: `call` says so"
        assert now(rigged, 7, SendMessage(SessionId(1), Text(" "))) is None
        other = msgspec.structs.replace(ADA, login=OwnLogin("mei", b"sealed"))
        assert now(rigged, 7, account=other) is None, "the link is the former account's"
        assert (await outcome(now(rigged, 8))) == Reply(110, 1, call_id=CallId(8))
    assert [frame[:14] for frame in written] == [b'{"messageId":%d' % n for n in (2, 4, 8)]
    assert now(rigged, 9) is None, "the links are closed"


@pytest.mark.asyncio
async def test_while_the_dialect_is_awaited_a_message_is_not_written_at_once() -> None:
    timing = replace(FAST, dialect_wait=5.0)
    async with (
        WildServer().running() as server,
        rig(settings_for(server.base_url, timing=timing)) as rigged,
    ):
        rigged.links.keep(ADA)
        await eventually(lambda: connected(rigged))
        assert now(rigged, 1) is None
        assert now(rigged, 2, ASK) is not None, "it is spelt alike in both"


@pytest.mark.asyncio
async def test_a_dead_token_is_replaced_and_the_command_written_once_more() -> None:
    server = WildServer()
    heard: list[int] = []

    async def refuse_first(socket: web.WebSocketResponse) -> None:
        if len(server.sockets) > 1:
            await answer_everything(socket)
            return
        async for message in socket:
            number = message.json()["messageId"]
            heard.append(number)
            await socket.send_json({"type": 110, "messageId": number, "result": -15})

    server.socket = refuse_first
    async with up(server) as rigged:
        reply = await outcome(now(rigged, 7))
        assert isinstance(reply, Reply)
        assert (reply.ok, reply.call_id) == (True, 7)
        assert (heard, len(server.logins)) == ([7], 2)


@pytest.mark.asyncio
async def test_token_that_is_refused_twice_is_reported() -> None:
    async def refuse(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            number = message.json()["messageId"]
            await socket.send_json({"type": 110, "messageId": number, "result": -15})

    async with up(WildServer(socket=refuse)) as rigged:
        failure = await outcome(now(rigged, 7))
        assert isinstance(failure, CallFailure)
        assert (failure.code, failure.certain) == (-15, True)


@pytest.mark.asyncio
async def test_refused_message_is_repeated_in_other_keys() -> None:
    desk = Desk(wants("text"))
    async with up(WildServer(socket=desk.serve)) as rigged:
        reply = await outcome(now(rigged, 7))
        assert isinstance(reply, Reply)
        assert reply.ok
        assert [frame["messageId"] for frame in desk.of(110)] == [7, 7]
        assert rigged.links.learnt.keys is Dialect.Y2019


@pytest.mark.asyncio
async def test_silent_or_lost_server_is_reported() -> None:
    timing = replace(FAST, reply=0.3, mute=0.5)
    desk = Desk(lambda _: None)
    async with up(WildServer(socket=desk.serve), timing=timing) as rigged:
        failure = await outcome(now(rigged, 1))
        assert isinstance(failure, CallFailure)
        assert (failure.reason, failure.certain) == (FailureReason.SILENT, False)
        await eventually(lambda: len(desk.sockets) == 2 and connected(rigged))
        late = await outcome(now(rigged, 2, ASK))
        assert isinstance(late, CallFailure)
        assert (late.reason, str(late)) == (FailureReason.NO_ANSWER, "no reply in time")
        assert len(desk.sockets) == 2, "the link goes on"
        lost = now(rigged, 3)
        await eventually(lambda: bool(desk.of(110)[1:]))
        await desk.sockets[-1].close()
        failure = await outcome(lost)
        assert isinstance(failure, CallFailure)
        assert failure.reason is FailureReason.NO_ANSWER


@pytest.mark.asyncio
async def test_a_202_answers_a_request_whose_reply_does_not_come() -> None:
    """Else what the customer writes would wait for it: 20 s, with the agent there."""
    timing = replace(FAST, settle=0.1, reply=3600.0, mute=3600.0)
    desk = Desk(lambda _: None)
    async with up(WildServer(socket=desk.serve), timing=timing) as rigged:
        asked, text = now(rigged, 1, ASK), now(rigged, 2)
        await eventually(lambda: bool(desk.of(110)))
        await desk.sockets[-1].send_json({"type": 202, "sessionId": 5150, "agents": []})
        failure = await outcome(asked)
        assert isinstance(failure, CallFailure)
        assert (failure.reason, failure.certain) == (FailureReason.NO_ANSWER, False)
        assert text is not None
        assert not text.done()
        assert len(desk.sockets) == 1, "the link goes on"


@pytest.mark.asyncio
async def test_a_cancelled_call_makes_no_server_mute() -> None:
    timing = replace(FAST, mute=0.3)
    desk = Desk(lambda frame: 1 if frame["type"] == 101 else None)
    async with up(WildServer(socket=desk.serve), timing=timing) as rigged:
        gone = asyncio.get_running_loop().create_task(rigged.call(ADA, 1, HELLO))
        await eventually(lambda: bool(desk.of(110)))
        gone.cancel()
        await asyncio.sleep(3 * timing.mute)
        assert isinstance(await outcome(now(rigged, 2, ASK)), Reply)
        assert len(desk.sockets) == 1, "the link goes on"


@pytest.mark.asyncio
async def test_stop_fails_a_waiting_command() -> None:
    desk = Desk(lambda _: None)
    async with up(WildServer(socket=desk.serve)) as rigged:
        told = now(rigged, 1)
    failure = await outcome(told)
    assert isinstance(failure, CallFailure)
    assert failure.reason is FailureReason.NO_ANSWER


@pytest.mark.asyncio
async def test_a_link_is_wanted_while_a_reply_is_awaited() -> None:
    hold = asyncio.Event()

    async def slow(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            await hold.wait()
            await socket.send_json(
                {"type": 110, "messageId": message.json()["messageId"], "result": 1}
            )

    async with up(WildServer(socket=slow)) as rigged:
        told = now(rigged, 1)
        rigged.links.release(ADA.room_id)
        await asyncio.sleep(3 * FAST.release)
        assert connected(rigged)
        hold.set()
        assert isinstance(await outcome(told), Reply)
        await eventually(lambda: not connected(rigged))


@pytest.mark.asyncio
async def test_refused_token_during_a_stop_fails_the_command() -> None:
    """There will be no other socket on which to repeat the command."""
    desk = Desk(lambda _: None)
    async with up(WildServer(socket=desk.serve)) as rigged:
        told = now(rigged, 1)
        await eventually(lambda: len(desk.of(110)) == 1)
        wire = rigged.links._links[ADA.room_id].gate.wire
        assert wire is not None
        closing = asyncio.get_running_loop().create_task(rigged.links.aclose())
        await asyncio.sleep(0)
        wire.read('{"type":110,"messageId":1,"result":-15}')
        await closing
        async with asyncio.timeout(10):
            failure = await outcome(told)
    assert isinstance(failure, CallFailure)
    assert (failure.reason, failure.certain) == (FailureReason.UNREACHABLE, True)
