"""The link's socket: idle, pushes and losses: rows 36, 64-74, 79 and 87 of protocol reference 7.

Rows that need the whole bridge (20, 71, 75, …) are tested elsewhere.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from functools import partial
from typing import cast

import pytest
from aiohttp import web

from bridge.ids import CallId, RequestId, SessionId
from bridge.link.login import room_key
from bridge.link.settings import Timing
from bridge.rooms.ports import CallFailure
from bridge.webchat.codes import FailureReason
from bridge.webchat.frames import CloseSession, Command, RateSession, SendPreMessage
from tests.unit.link.rig import (
    FAST,
    Rig,
    Tokens,
    WildServer,
    account,
    answer_everything,
    eventually,
    nothing,
    rig,
    settings_for,
)
from tests.unit.link.simulated import (
    ADA,
    ASK,
    LOGIN,
    chat,
    commands,
    connected,
    customer,
    pushed,
    said,
    simulated,
    text,
)


@pytest.mark.asyncio
async def test_row_36_idle_link_sends_pings() -> None:
    """Dialect 2016: WebSocket pings keep an idle link open, without frames of type 10."""
    async with simulated() as simulator:
        timing = replace(FAST, ping_after=0.1, ping_wait=0.5)
        async with rig(settings_for(simulator.base_url, timing=timing)) as rigged:
            rigged.links.keep(ADA)
            await eventually(lambda: rigged.counts.open_links == 1)
            await asyncio.sleep(0.6)
            assert rigged.counts.connects == 1
        assert commands(simulator, 10) == []


@pytest.mark.asyncio
async def test_68_missing_pong_causes_a_reconnect() -> None:
    """Row 68 (2016 part), table row 36: without pong or frame, the link reconnects."""
    stuck = asyncio.Event()

    async def deaf(socket: web.WebSocketResponse) -> None:
        if len(server.sockets) == 1:
            await stuck.wait()
        else:
            await answer_everything(socket)

    server = WildServer(socket=deaf)
    async with server.running():
        timing = replace(FAST, settle=0.05, ping_after=0.1, ping_wait=0.1)
        async with rig(settings_for(server.base_url, timing=timing)) as rigged:
            rigged.links.keep(ADA)
            await rigged.events.until(lambda: len(rigged.events.back) >= 2)
            assert rigged.counts.reconnects >= 1
        stuck.set()


# --- pushes -----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_64_receipt_only_after_storing() -> None:
    """Row 64: the push is stored before it is acknowledged by 120 with its rsId."""
    async with (
        simulated(receipts=True, resend_seconds=60) as simulator,
        rig(settings_for(simulator.base_url)) as rigged,
    ):
        rigged.events.gate.clear()
        assert (await rigged.call(ADA, 1, ASK)).ok
        assert (await rigged.call(ADA, 2, ASK)).result == -2, "replies do not wait for pushes"
        assert commands(simulator, 120) == []
        rigged.events.gate.set()
        await simulator.wait_for(lambda _: len(commands(simulator, 120)) == 1)
        key, received = rigged.events.pushes[0]
        assert commands(simulator, 120)[0]["rsId"] == received.rs_id
        assert key.startswith(f"wc:{ADA.room_id}:{received.rs_id}:")


@pytest.mark.asyncio
@pytest.mark.parametrize(("kind", "result"), [(110, -11), (103, 1)])
async def test_64c_the_end_of_a_chat_stands_behind_the_words_read_before(
    kind: int, result: int
) -> None:
    """Otherwise the ghost joins the ended chat and leaves it, once for each of its last words."""
    async with (
        simulated(dialect="2019", receipts=True, resend_seconds=60) as simulator,
        rig(settings_for(simulator.base_url)) as rigged,
    ):
        session = await chat(rigged)
        await simulator.wait_for(lambda _: len(commands(simulator, 120)) == 2)
        rigged.events.gate.clear()
        for words in ("one", "two"):
            await simulator.do({"op": "say", "text": words})
        command: Command = CloseSession(SessionId(session))
        if kind == 110:
            command = text("?", session)
            await simulator.do({"op": "forget", "what": "sessions"})
        async with asyncio.TaskGroup() as tasks:
            end = tasks.create_task(rigged.call(ADA, 2, command))
            await simulator.wait_for(lambda _: bool(commands(simulator, kind)))
            assert (await rigged.call(ADA, 3, ASK)).ok, "other replies do not wait"
            assert not end.done()
            rigged.events.gate.set()
            assert (await end).result == result
            assert rigged.events.kinds[2:4] == ["MessageReceived", "MessageReceived"]


@pytest.mark.asyncio
async def test_65_receipt_for_each_copy() -> None:
    """Row 65: three copies get three receipts, and one key, so the store drops repeats."""

    async def thrice(socket: web.WebSocketResponse) -> None:
        for _ in range(3):
            await socket.send_json({"type": 203, "sessionId": 1, "agentId": "a", "rsId": "r-1"})
        async for message in socket:
            receipts.append(message.json())  # noqa: PERF401 - read while it grows

    receipts: list[dict[str, object]] = []
    async with WildServer(socket=thrice).running() as server:
        async with rig(settings_for(server.base_url)) as rigged:
            rigged.links.keep(ADA)
            await eventually(lambda: len(receipts) == 3)
        (key,) = {key for key, _ in rigged.events.pushes}
        assert key.startswith(f"wc:{ADA.room_id}:r-1:")
    assert [frame["rsId"] for frame in receipts] == ["r-1"] * 3
    assert len({cast("int", frame["messageId"]) for frame in receipts}) == 3


@pytest.mark.asyncio
async def test_67_push_without_rs_id_gets_no_receipt() -> None:
    """Row 67: a push without rsId gets no receipt (120), and a unique key."""
    async with simulated() as simulator:
        tokens = Tokens()
        keys: list[str] = []
        for number in range(2):
            async with rig(settings_for(simulator.base_url), tokens=tokens) as rigged:
                if number == 0:
                    await chat(rigged)
                else:
                    rigged.links.keep(ADA)
                    await eventually(partial(connected, rigged))
                before = len(rigged.events.pushes)
                for _ in range(3):
                    await simulator.do({"op": "say", "text": "same"})
                await rigged.events.until(partial(pushed, rigged, before + 3))
                keys += [key for key, _ in rigged.events.pushes]
        assert commands(simulator, 120) == []
        assert len(set(keys)) == len(keys) == 7, "unique also across restarts"


@pytest.mark.asyncio
async def test_pushes_survive_a_store_that_is_down() -> None:
    """Storing a push is retried; none is skipped or reordered, and the link stays up."""
    async with (
        simulated() as simulator,
        rig(settings_for(simulator.base_url)) as rigged,
    ):
        await chat(rigged)
        rigged.links.keep(ADA)
        rigged.events.refusals = 4
        for number in range(10):
            await simulator.do({"op": "say", "text": str(number)})
            await eventually(lambda: rigged.events.refusals < 4)
        await rigged.events.until(lambda: len(rigged.events.pushes) == 11)
        said = [str(getattr(r.push, "content").html) for _, r in rigged.events.pushes[1:]]  # noqa: B009 - all are MessageReceived
        assert said == [str(number) for number in range(10)]
        assert rigged.events.back == [], "the link stayed"
        assert customer(simulator)["lost_pushes"] == 0


# --- losses -----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_70_link_lost_in_chat() -> None:
    """Row 70: the link reconnects by itself, and the session continues without a 101."""
    async with simulated() as simulator:
        async with rig(settings_for(simulator.base_url)) as rigged:
            rigged.links.keep(ADA)
            session = await chat(rigged)
            first = list(rigged.events.back)
            await simulator.do({"op": "kick", "login": LOGIN, "code": 1006})
            await rigged.events.until(lambda: len(rigged.events.back) == len(first) + 1)
            assert (await rigged.call(ADA, 2, text("still here", session))).ok
        assert len(commands(simulator, 101)) == 1
        assert customer(simulator)["logins"] == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("carried_out", [True, False])
async def test_72_cut_before_the_reply_is_uncertain(*, carried_out: bool) -> None:
    """Row 72: a cut between write and reply is an uncertain failure; the call id is reused."""
    async with simulated() as simulator:
        async with rig(settings_for(simulator.base_url)) as rigged:
            session = await chat(rigged)
            fault = {"fault": "cut", "type": 110, "carried_out": carried_out}
            await simulator.do({"op": "set", "faults": [fault]})
            with pytest.raises(CallFailure) as caught:
                await rigged.call(ADA, 9, text("once", session))
            assert caught.value.reason is FailureReason.NO_ANSWER
            assert not caught.value.certain
            assert (await rigged.call(ADA, 9, text("once", session))).ok
        assert [frame["messageId"] for frame in commands(simulator, 110)] == [9, 9]


CONTENT: dict[int, Command] = {
    110: text("once", 1),
    111: SendPreMessage(RequestId(1), "once"),
    104: RateSession(SessionId(1), 0),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", list(CONTENT))
async def test_72b_a_slow_server_gets_a_message_once(kind: int) -> None:
    """Table row 33: while the link is up, a late reply is awaited."""
    heard: list[int] = []

    async def slow(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            frame = message.json()
            heard.append(frame["type"])
            await asyncio.sleep(0.5)
            answer = {"type": frame["type"], "messageId": frame["messageId"], "result": 1}
            await socket.send_json(answer)

    async with WildServer(socket=slow).running() as server:
        timing = replace(FAST, reply=0.2, mute=5.0)
        async with rig(settings_for(server.base_url, timing=timing)) as rigged:
            assert (await rigged.call(ADA, 9, CONTENT[kind])).ok
            assert rigged.counts.connects == 1
    assert heard == [kind]


@pytest.mark.asyncio
async def test_72c_silent_server_causes_a_reconnect() -> None:
    """Row 72, table row 33: no reply for a minute (less here): reconnect and send again.

    Other rooms are not affected.
    """
    assert Timing().mute == 60
    async with simulated() as simulator:
        timing = replace(FAST, reply=0.2, mute=0.6)
        async with rig(settings_for(simulator.base_url, timing=timing)) as rigged:
            rigged.links.keep(ADA)
            session = await chat(rigged)
            ignored = {"fault": "ignore", "type": 110, "login": LOGIN}
            await simulator.do({"op": "set", "faults": [ignored]})
            async with asyncio.TaskGroup() as tasks:
                mute = tasks.create_task(_failure(rigged, 9, text("once", session)))
                await asyncio.sleep(0.1)
                began = asyncio.get_running_loop().time()
                assert (await rigged.call(account("other"), 1, ASK)).ok
                assert asyncio.get_running_loop().time() - began < 0.4, "one room holds up no other"
            assert mute.result() == (FailureReason.SILENT, False)
            assert (await rigged.call(ADA, 9, text("once", session))).ok
            await eventually(lambda: rigged.counts.reconnects == 1)
            assert rigged.counts.logins == 2, "one for each room"
        assert [frame["messageId"] for frame in commands(simulator, 110)] == [9, 9]


@pytest.mark.asyncio
async def test_row_17_no_answer_to_101() -> None:
    """Row 17: after 20 s (less here) the call fails and the link stays; the caller asks again."""
    assert Timing().reply == 20
    async with simulated() as simulator:
        timing = replace(FAST, reply=0.2)
        async with rig(settings_for(simulator.base_url, timing=timing)) as rigged:
            rigged.links.keep(ADA)
            await simulator.do({"op": "set", "faults": [{"fault": "ignore", "type": 101}]})
            assert await _failure(rigged, 9, ASK) == (FailureReason.NO_ANSWER, False)
            assert (await rigged.call(ADA, 10, ASK)).ok
            assert rigged.counts.connects == 1
        assert [frame["messageId"] for frame in commands(simulator, 101)] == [9, 10]


async def _failure(rigged: Rig, call_id: int, command: Command) -> tuple[FailureReason, bool]:
    with pytest.raises(CallFailure) as caught:
        await rigged.call(ADA, call_id, command)
    return caught.value.reason, caught.value.certain


@pytest.mark.asyncio
async def test_73_server_restart() -> None:
    """Row 73, table row 38: the link recovers from 1001, 404 for a while, and lost tokens."""
    async with simulated() as simulator, rig(settings_for(simulator.base_url)) as rigged:
        rigged.links.keep(ADA)
        await chat(rigged)
        back = len(rigged.events.back)
        await simulator.do({"op": "restart", "seconds": 0.5})
        await simulator.do({"op": "forget", "what": "tokens"})
        await rigged.events.until(lambda: len(rigged.events.back) > back)
        assert rigged.counts.open_failures >= 1
        assert rigged.links.door.trouble == ""
        assert (await rigged.call(ADA, 2, ASK)).result in (1, -2)
        assert rigged.counts.logins - rigged.counts.logins_refused == 2


@pytest.mark.asyncio
async def test_row_38_server_restart_needs_no_login() -> None:
    """A 404 while the server starts does not invalidate the token."""
    async with simulated() as simulator, rig(settings_for(simulator.base_url)) as rigged:
        rigged.links.keep(ADA)
        session = await chat(rigged)
        back = len(rigged.events.back)
        await simulator.do({"op": "restart", "seconds": 0.5})
        await rigged.events.until(lambda: len(rigged.events.back) > back)
        assert (await rigged.call(ADA, 2, text("still here", session))).ok
        assert rigged.counts.open_failures >= 1
        assert rigged.counts.logins == 1


@pytest.mark.asyncio
async def test_74_close_1009() -> None:
    """Row 74: a too big frame fails with certainty; the link reconnects once."""
    async with simulated() as simulator:
        settings = settings_for(simulator.base_url, max_frame_bytes=100_000)
        async with rig(settings) as rigged:
            session = await chat(rigged)
            with pytest.raises(CallFailure) as caught:
                await rigged.call(ADA, 9, text("x" * 9000, session))
            assert caught.value.reason is FailureReason.TOO_BIG
            assert (caught.value.certain, caught.value.code) == (True, 1009)
            assert (await rigged.call(ADA, 10, text("small", session))).ok
            assert rigged.counts.connects == 2


@pytest.mark.asyncio
async def test_74b_too_big_frame_is_not_written() -> None:
    """Trap T23: a frame above the configured limit is not written."""
    async with simulated() as simulator:
        async with rig(settings_for(simulator.base_url)) as rigged:
            session = await chat(rigged)
            with pytest.raises(CallFailure) as caught:
                await rigged.call(ADA, 9, text("号" * 2700, session))
            assert (caught.value.reason, caught.value.certain) == (FailureReason.TOO_BIG, True)
            assert (await rigged.call(ADA, 10, text("small", session))).ok
            assert rigged.counts.connects == 1
        assert len(commands(simulator, 110)) == 1


@pytest.mark.asyncio
async def test_79_reply_without_id() -> None:
    """Row 79 on the socket: a reply without messageId answers the oldest call of its type."""

    async def nameless(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            await socket.send_json({"type": message.json()["type"], "result": 1})

    async with WildServer(socket=nameless).running() as server:
        async with rig(settings_for(server.base_url)) as rigged, asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(rigged.call(ADA, n, ASK)) for n in range(5)]
        assert all(task.result().ok for task in calls)


# --- replies without type, a stop, other rooms --------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("omit_call_ids", [False, True])
async def test_79b_reply_without_type(*, omit_call_ids: bool) -> None:
    """Such a reply answers the call with its messageId, or the only waiting call, at once.

    Also if it reports an unreadable command or an expired token.
    """
    async with simulated(omit_types=True, omit_call_ids=omit_call_ids) as simulator:
        timing = replace(FAST, reply=60.0, mute=60.0)
        async with (
            rig(settings_for(simulator.base_url, timing=timing)) as rigged,
            asyncio.timeout(30),
        ):
            session = await chat(rigged)
            assert (await rigged.call(ADA, 2, text("one", session))).ok
            unread = {"fault": "answer", "type": 110, "result": -8}
            await simulator.do({"op": "set", "faults": [unread]})
            assert (await rigged.call(ADA, 3, text("two", session))).result == -8
            await simulator.do({"op": "expire_token", "login": LOGIN})
            assert (await rigged.call(ADA, 4, text("three", session))).ok
            assert rigged.counts.logins == 2
            assert said(simulator) == ["one", "three"]


@pytest.mark.asyncio
async def test_87_shutdown_in_chat() -> None:
    """Row 87: neither 2 nor 103 is sent; the chat continues after a restart without a login."""
    async with simulated() as simulator:
        tokens = Tokens()
        async with rig(settings_for(simulator.base_url), tokens=tokens) as rigged:
            rigged.links.keep(ADA)
            session = await chat(rigged)
        assert commands(simulator, 2) == commands(simulator, 103) == []
        await simulator.wait_for(lambda state: state["open_sockets"] == 0)
        async with rig(settings_for(simulator.base_url), tokens=tokens) as rigged:
            rigged.links.keep(ADA)
            await rigged.events.until(lambda: rigged.events.back == [ADA.room_id])
            assert (await rigged.call(ADA, 2, text("again", session))).ok
        assert customer(simulator)["logins"] == 1


@pytest.mark.asyncio
async def test_one_link_never_delays_another() -> None:
    """A room whose login hangs or is refused does not delay the others."""

    async def login(request: web.Request) -> web.StreamResponse:
        body = await request.text()
        if room_key(account("hangs").room_id) in body:
            await asyncio.sleep(1)
        if room_key(account("bad").room_id) in body:
            return web.json_response({"result": -20})
        return web.json_response({"result": 1, "token": base64.b64encode(body.encode()).decode()})

    async with (
        WildServer(login=login).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        rigged.links.keep(account("hangs"))
        rigged.links.keep(account("bad"))
        start = asyncio.get_running_loop().time()
        for number in range(20):
            who = account(str(number))
            assert (await rigged.links.call(who, CallId(1), ASK, nothing)).ok
        assert asyncio.get_running_loop().time() - start < 0.9
