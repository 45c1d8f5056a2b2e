"""The link against the simulator, and against wilder servers: rows of protocol reference 7.

Each test is named after its row. What only the whole bridge can show (rows 20, 71, 75, …) is not
here; rows that the protocol core shows alone are in `test_protocol`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import cast

import pytest
import structlog
from aiohttp import web

from bridge.conversation.inputs import FailureReason
from bridge.ids import CallId, QueueId, SessionId
from bridge.link import LinkSettings, LoginType, Token, UploadMode
from bridge.link.accounts import room_key
from bridge.rooms.ports import Account, CallFailure
from bridge.simulator.server import Simulator, SimulatorOptions
from bridge.webchat.frames import RequestChat, SendMessage, Text
from bridge.webchat.signing import login_sign
from tests.unit.link.rig import (
    FAST,
    Rig,
    Tokens,
    WildServer,
    account,
    answer_everything,
    blob,
    eventually,
    nothing,
    rig,
    settings_for,
)

ADA = account()
LOGIN = f"mx-{room_key(ADA.room_id)}"
ASK = RequestChat(QueueId(1))


def text(what: str, session: int) -> SendMessage:
    return SendMessage(SessionId(session), Text(what))


@asynccontextmanager
async def simulated(**options: object) -> AsyncIterator[Simulator]:
    plain: dict[str, object] = {"script": "accept", "login_limit": 0, **options}
    simulator = Simulator(SimulatorOptions().changed(plain))
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.stop()


def customer(simulator: Simulator, login: str = LOGIN) -> dict[str, object]:
    customers = cast("dict[str, dict[str, object]]", simulator.state()["customers"])
    return customers[login]


def commands(simulator: Simulator, kind: int) -> list[dict[str, object]]:
    """Frames of one type that the server was sent."""
    bodies = [frame["frame"] for frame in simulator.frames() if frame["direction"] == "in"]
    return [body for body in bodies if isinstance(body, dict) and body.get("type") == kind]


def connected(rigged: Rig) -> bool:
    return rigged.counts.open_links == 1


def pushed(rigged: Rig, count: int) -> bool:
    return len(rigged.events.pushes) == count


async def chat(rigged: Rig, who: Account = ADA, call_id: int = 1) -> int:
    """Start a chat and return its session id."""
    before = len(rigged.events.pushes)
    assert (await rigged.call(who, call_id, ASK)).ok
    await rigged.events.until(lambda: "ChatStarted" in rigged.events.kinds[before:])
    push = rigged.events.pushes[-1][1].push
    return int(cast("int", getattr(push, "session_id")))  # noqa: B009 - any push of a session


# --- login ------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_01_login_body() -> None:
    """Row 1: the raw JSON body, in the guide's key order, no form encoding."""
    async with WildServer().running() as server:
        settings = settings_for(server.base_url, login_type=LoginType.PASSWORD, password="pw")
        async with rig(settings) as rigged:
            assert (await rigged.call(ADA, 1, ASK)).ok
        wanted = f'{{"type":1,"loginName":"{LOGIN}","password":"pw","epid":""}}'
        assert server.login_bodies == [wanted.encode()]
        assert server.login_headers[0]["Content-Type"] == "application/json; charset=UTF-8"


@pytest.mark.asyncio
async def test_02_login_sign() -> None:
    """Row 2: the sign covers the very bytes that are sent."""
    async with WildServer().running() as server:
        async with rig(settings_for(server.base_url, sign_key="DEMO_KEY_0001")) as rigged:
            assert (await rigged.call(ADA, 1, ASK)).ok
        sign = login_sign(server.login_bodies[0], "DEMO_KEY_0001")
        assert server.login_headers[0]["sign"] == sign
    async with (
        simulated(sign_key="K") as simulator,
        rig(settings_for(simulator.base_url, sign_key="K")) as rigged,
    ):
        assert (await rigged.call(ADA, 1, ASK)).ok


@pytest.mark.asyncio
async def test_03_login_no_key() -> None:
    """Row 3: no key, no sign header."""
    async with WildServer().running() as server:
        async with rig(settings_for(server.base_url)) as rigged:
            assert (await rigged.call(ADA, 1, ASK)).ok
        assert "sign" not in server.login_headers[0]


@pytest.mark.asyncio
async def test_02b_wrong_sign_stops() -> None:
    """-30: a configuration error, told as such."""
    async with (
        simulated(sign_key="K") as simulator,
        rig(settings_for(simulator.base_url, sign_key="wrong")) as rigged,
    ):
        with pytest.raises(CallFailure) as caught:
            await rigged.call(ADA, 1, ASK)
    assert caught.value.reason is FailureReason.SIGN_REFUSED
    assert (caught.value.certain, caught.value.code) == (True, -30)


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [-20, -6])
async def test_04_login_bad(code: int) -> None:
    """Row 4: exactly one login request in 60 s, whatever is asked meanwhile."""

    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.json_response({"result": code, "message": "bad login"})

    async with WildServer(login=refuse).running() as server:
        async with rig(settings_for(server.base_url)) as rigged:
            rigged.links.keep(ADA)
            for number in range(3):
                with pytest.raises(CallFailure) as caught:
                    await rigged.call(ADA, number, ASK)
                assert caught.value.reason is FailureReason.LOGIN_REFUSED
                assert (caught.value.certain, caught.value.code) == (True, code)
            await asyncio.sleep(0.3)
            assert rigged.links.health.unreachable_for() == 0, "the server is there"
        assert len(server.logins) == 1


@pytest.mark.asyncio
async def test_05_login_html_503() -> None:
    """Row 5: an error page is no refusal: tried again with backoff inside the call."""
    async with simulated() as simulator:
        await simulator.do(
            {"op": "set", "faults": [{"fault": "http", "path": "tpi", "status": 503, "count": 3}]}
        )
        async with rig(settings_for(simulator.base_url)) as rigged:
            assert (await rigged.call(ADA, 1, ASK)).ok
            assert rigged.counts.open_failures == 3
            assert rigged.counts.logins == 4


@pytest.mark.asyncio
async def test_05b_never_there() -> None:
    """Row 5: in the end the call is told, for certain, and health knows since when."""
    async with WildServer(login=_page(503)).running() as server:
        timing = replace(FAST, connect=0.5)
        async with rig(settings_for(server.base_url, timing=timing)) as rigged:
            with pytest.raises(CallFailure) as caught:
                await rigged.call(ADA, 1, ASK)
            assert caught.value.reason is FailureReason.UNREACHABLE
            assert caught.value.certain
            assert rigged.links.health.failing_since is not None
        assert 3 < len(server.logins) < 30, "tries again, in no tight loop"


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [403, 200])
async def test_05c_blacklisted(status: int) -> None:
    """Reference 3.7: repeated 403 or foreign pages close the door for all, for ten minutes."""
    async with WildServer(login=_page(status)).running() as server:
        async with rig(settings_for(server.base_url)) as rigged:
            for name in "abcde":
                with pytest.raises(CallFailure, match=r"blacklisted|WebChat's JSON") as caught:
                    await rigged.call(account(name), 1, ASK)
                assert caught.value.reason is FailureReason.UNREACHABLE
        assert len(server.logins) == 3


def _page(status: int) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="<html>no</html>", content_type="text/html")

    return page


@pytest.mark.asyncio
async def test_06_login_rate() -> None:
    """Row 6: 30 customers at once, at most 8 logins in any window (0.5 s here)."""
    async with WildServer().running() as server:
        settings = settings_for(server.base_url, login_count=8, login_seconds=0.5)
        async with rig(settings) as rigged, asyncio.TaskGroup() as tasks:
            for number in range(30):
                tasks.create_task(rigged.call(account(str(number)), 1, ASK))
        times = server.logins
        assert len(times) == 30
        assert all(late - early >= 0.5 for early, late in zip(times, times[8:], strict=False))


@pytest.mark.asyncio
async def test_07_token_escaped() -> None:
    """Row 7: the token is percent-encoded in the socket's address."""

    async def give(_: web.Request) -> web.StreamResponse:
        return web.json_response({"result": 1, "token": "A+B/="})

    async with WildServer(login=give).running() as server:
        async with rig(settings_for(server.base_url)) as rigged:
            assert (await rigged.call(ADA, 1, ASK)).ok
        assert server.sockets == ["token=A%2BB%2F%3D"]


# --- tokens -----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_36_token_reuse_and_renewal() -> None:
    """Reference 3.6: a stored token saves the login; one of 23 h is renewed when connecting."""
    async with simulated() as simulator:
        tokens = Tokens()
        for _ in range(2):
            async with rig(settings_for(simulator.base_url), tokens=tokens) as rigged:
                rigged.links.keep(ADA)
                await eventually(partial(connected, rigged))
        assert customer(simulator)["logins"] == 1
        kept = tokens.kept[ADA.room_id]
        tokens.kept[ADA.room_id] = replace(kept, issued=kept.issued - 23 * 3_600_000 - 1)
        async with rig(settings_for(simulator.base_url), tokens=tokens) as rigged:
            rigged.links.keep(ADA)
            await eventually(lambda: rigged.counts.connects == 1)
        assert customer(simulator)["logins"] == 2
        assert tokens.kept[ADA.room_id].value != kept.value


@pytest.mark.asyncio
async def test_36b_token_of_another_account_is_not_reused() -> None:
    """The operator has changed the accounts: the old name's token is of no use."""
    async with simulated() as simulator:
        tokens = Tokens()
        async with rig(settings_for(simulator.base_url), tokens=tokens) as rigged:
            await rigged.call(ADA, 1, ASK)
        settings = settings_for(simulator.base_url, name="other-{room_key}")
        async with rig(settings, tokens=tokens) as rigged:
            await rigged.call(ADA, 1, ASK)
        assert tokens.kept[ADA.room_id].login_name == f"other-{room_key(ADA.room_id)}"


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["401", "close", "frame"])
async def test_08_handshake_refused(mode: str) -> None:
    """Row 8, and the two other ways of 3.3: one relogin, then open; nothing is written before."""
    async with simulated(handshake_refusal=mode) as simulator:
        tokens = Tokens()
        tokens.kept[ADA.room_id] = Token(LOGIN, "STALE", rig_now())
        async with rig(settings_for(simulator.base_url), tokens=tokens) as rigged:
            writes = Counter[str]()

            async def writing() -> None:
                writes["n"] += 1

            reply = await rigged.links.call(ADA, CallId(1), ASK, writing)
            assert reply.ok
            assert writes["n"] == 1
            assert rigged.counts.logins == 1
        assert tokens.kept[ADA.room_id].value != "STALE"


def rig_now() -> int:
    import time

    return time.time_ns() // 1_000_000


@pytest.mark.asyncio
async def test_09_accept_then_refuse() -> None:
    """Row 9: -15 to the command: relogin once, the same command once more, same call id."""
    async with simulated() as simulator:
        async with rig(settings_for(simulator.base_url)) as rigged:
            session = await chat(rigged)
            await simulator.do({"op": "expire_token", "login": LOGIN})
            assert (await rigged.call(ADA, 77, text("hello", session))).ok
        assert [frame["messageId"] for frame in commands(simulator, 110)] == [77, 77]
        assert customer(simulator)["logins"] == 2
        assert len(cast("list[object]", customer(simulator)["messages"])) == 1
        assert rigged.events.back == [ADA.room_id], "the link was away for a moment"


@pytest.mark.asyncio
async def test_10_storm_of_refusals() -> None:
    """Row 10: 20 pipelined commands all -15: one login, all replayed in order, once."""
    async with simulated() as simulator:
        async with rig(settings_for(simulator.base_url)) as rigged:
            session = await chat(rigged)
            await simulator.do({"op": "expire_token", "login": LOGIN})
            async with asyncio.TaskGroup() as tasks:
                replies = [
                    tasks.create_task(rigged.call(ADA, 100 + n, text(f"text {n}", session)))
                    for n in range(20)
                ]
            assert all(task.result().ok for task in replies)
            assert rigged.counts.logins == 2
        order = [frame["messageId"] for frame in commands(simulator, 110)]
        assert order[-20:] == list(range(100, 120))
        messages = cast("list[dict[str, object]]", customer(simulator)["messages"])
        assert len(messages) == 20
        assert not any(message.get("repeat") for message in messages)


@pytest.mark.asyncio
async def test_11_refused_twice() -> None:
    """Row 11: the fresh token is refused too: the call is told, the keeper backs off."""
    seen: list[int] = []

    async def refuse(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            frame = message.json()
            seen.append(frame["messageId"])
            await socket.send_json(
                {"type": frame["type"], "messageId": frame["messageId"], "result": -15}
            )

    async with WildServer(socket=refuse).running() as server:
        timing = replace(FAST, backoff_first=0.4, backoff_last=0.4)
        async with rig(settings_for(server.base_url, timing=timing)) as rigged:
            with pytest.raises(CallFailure) as caught:
                await rigged.call(ADA, 5, ASK)
            assert caught.value.reason is FailureReason.UNREACHABLE
            assert caught.value.certain
            assert seen == [5, 5]
            assert len(server.logins) == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["401", "close", "frame"])
async def test_11b_refused_twice_at_the_handshake(mode: str) -> None:
    """Row 11 with 3.3's three ways: no tight loop, certain failure."""

    async def close(socket: web.WebSocketResponse) -> None:
        if mode == "frame":
            await socket.send_json({"type": 1, "result": -15})
        await socket.close(code=1008)

    def unauthorised(_: web.Request) -> web.Response | None:
        return web.Response(status=401) if mode == "401" else None

    async with WildServer(socket=close, handshake=unauthorised).running() as server:
        timing = replace(FAST, backoff_first=0.2, backoff_last=0.2)
        async with rig(settings_for(server.base_url, timing=timing)) as rigged:
            with pytest.raises(CallFailure) as caught:
                await rigged.call(ADA, 5, ASK)
            assert (caught.value.reason, caught.value.certain) == (FailureReason.UNREACHABLE, True)
            assert len(server.logins) == 2
            rigged.links.keep(ADA)
            await asyncio.sleep(0.5)
        assert len(server.logins) <= 7


# --- silence ----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_36c_ping_into_silence() -> None:
    """Row 36, dialect 2016: protocol-level pings keep an idle link, no frame of type 10."""
    async with simulated() as simulator:
        timing = replace(FAST, ping_after=0.1, ping_wait=0.5)
        async with rig(settings_for(simulator.base_url, timing=timing)) as rigged:
            rigged.links.keep(ADA)
            await eventually(lambda: rigged.counts.open_links == 1)
            await asyncio.sleep(0.6)
            assert rigged.counts.connects == 1
        assert commands(simulator, 10) == []


@pytest.mark.asyncio
async def test_68_no_pong() -> None:
    """Row 68 (2016 part): no pong and no frame in time: the link is closed and opened anew."""
    stuck = asyncio.Event()

    async def deaf(socket: web.WebSocketResponse) -> None:
        await asyncio.sleep(0)
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
    """Row 64 in the bridge's order: stored, then 120 with the same rsId."""
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
        assert key == f"wc:{ADA.room_id}:{received.rs_id}"


@pytest.mark.asyncio
async def test_65_receipt_for_each_copy() -> None:
    """Row 65: three copies, three receipts, one key (the store knows it again)."""

    async def thrice(socket: web.WebSocketResponse) -> None:
        for _ in range(3):
            await socket.send_json({"type": 203, "sessionId": 1, "agentId": "a", "rsId": "r-1"})
        async for message in socket:
            receipts.append(message.json())  # noqa: PERF401 - wanted one by one

    receipts: list[dict[str, object]] = []
    async with WildServer(socket=thrice).running() as server:
        async with rig(settings_for(server.base_url)) as rigged:
            rigged.links.keep(ADA)
            await eventually(lambda: len(receipts) == 3)
        assert {key for key, _ in rigged.events.pushes} == {f"wc:{ADA.room_id}:r-1"}
    assert [frame["rsId"] for frame in receipts] == ["r-1"] * 3
    assert len({cast("int", frame["messageId"]) for frame in receipts}) == 3


@pytest.mark.asyncio
async def test_67_no_receipt_2016() -> None:
    """Row 67: a push without rsId gets no 120, and a key of its own."""
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
    """Design: a push is tried again until it is stored; nothing is skipped or reordered."""
    async with (
        simulated() as simulator,
        rig(settings_for(simulator.base_url)) as rigged,
    ):
        await chat(rigged)
        rigged.links.keep(ADA)
        rigged.events.refusals = 4
        for number in range(10):
            await simulator.do({"op": "say", "text": str(number)})
        await rigged.events.until(lambda: len(rigged.events.pushes) == 11)
        said = [str(getattr(r.push, "content").html) for _, r in rigged.events.pushes[1:]]  # noqa: B009 - all are MessageReceived
        assert said == [str(number) for number in range(10)]
        await rigged.events.until(lambda: rigged.events.back == [ADA.room_id])


# --- losses -----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_70_link_lost_in_chat() -> None:
    """Row 70: the link comes back by itself, says so, and the session goes on; no 101."""
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
async def test_72_unanswered(*, carried_out: bool) -> None:
    """Row 72: cut between write and reply: uncertain; sent again with the same call id."""
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


@pytest.mark.asyncio
async def test_72b_no_answer_in_time() -> None:
    """No reply within the limit: uncertain; a late one is no one else's."""
    async with simulated() as simulator:
        timing = replace(FAST, reply=0.2)
        async with rig(settings_for(simulator.base_url, timing=timing)) as rigged:
            session = await chat(rigged)
            await simulator.do({"op": "set", "faults": [{"fault": "ignore", "type": 110}]})
            with pytest.raises(CallFailure) as caught:
                await rigged.call(ADA, 9, text("once", session))
            assert (caught.value.reason, caught.value.certain) == (FailureReason.NO_ANSWER, False)
            assert (await rigged.call(ADA, 10, text("next", session))).ok
            assert rigged.counts.connects == 1


@pytest.mark.asyncio
async def test_73_server_restart() -> None:
    """Rows 73 and 38: 1001, 404 for a while, all tokens forgotten: back by itself."""
    async with simulated() as simulator, rig(settings_for(simulator.base_url)) as rigged:
        rigged.links.keep(ADA)
        await chat(rigged)
        back = len(rigged.events.back)
        await simulator.do({"op": "restart", "seconds": 0.5})
        await simulator.do({"op": "forget", "what": "tokens"})
        await rigged.events.until(lambda: len(rigged.events.back) > back)
        assert rigged.counts.open_failures >= 1
        assert rigged.links.health.failing_since is None
        assert (await rigged.call(ADA, 2, ASK)).result in (1, -2)
        assert rigged.counts.logins - rigged.counts.logins_refused == 2


@pytest.mark.asyncio
async def test_74_close_1009() -> None:
    """Row 74: the frame was too big: told for certain; the link comes back without a loop."""
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
async def test_74b_never_written() -> None:
    """Trap T23: a frame beyond our own cap is not written at all."""
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
    """Row 79 on the socket: replies without messageId go to the oldest waiter of their type."""

    async def nameless(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            await socket.send_json({"type": message.json()["type"], "result": 1})

    async with WildServer(socket=nameless).running() as server:
        async with rig(settings_for(server.base_url)) as rigged, asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(rigged.call(ADA, n, ASK)) for n in range(5)]
        assert all(task.result().ok for task in calls)


# --- uploads ----------------------------------------------------------------------------------

FILE = bytes(range(256)) * 9000
SHA = hashlib.sha256(FILE).hexdigest()


def uploads(simulator: Simulator) -> list[dict[str, object]]:
    return cast("list[dict[str, object]]", simulator.state()["uploads"])


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("server_mode", "mode"), list(itertools.product(["raw", "multipart"], ["auto", "same"]))
)
async def test_76_upload(server_mode: str, mode: str) -> None:
    """Row 76: both kinds of body; `auto` finds out and remembers, over a restart too."""
    wanted = UploadMode.AUTO if mode == "auto" else UploadMode(server_mode)
    async with simulated(upload_mode=server_mode) as simulator:
        settings = settings_for(simulator.base_url, upload_mode=wanted)
        async with rig(settings) as rigged:
            url = await rigged.links.upload(ADA, blob(FILE, '片 "1".png'))
            again = await rigged.links.upload(ADA, blob(FILE, size=None))
            facts = rigged.facts
        assert [upload["sha256"] for upload in uploads(simulator)] == [SHA, SHA]
        assert url.startswith(simulator.base_url + "/up/")
        assert url != again
        assert list(facts.kept.values()) == ([server_mode] if mode == "auto" else [])


@pytest.mark.asyncio
@pytest.mark.parametrize("style", ["context", "root", "bare", "absolute"])
async def test_77_upload_url(style: str) -> None:
    """Row 77: four ways to write an address, one absolute address, and the file lies there."""
    async with (
        simulated(upload_url=style) as simulator,
        rig(settings_for(simulator.base_url)) as rigged,
    ):
        url = await rigged.links.upload(ADA, blob(FILE, "a.jpg"))
        assert url.startswith(f"{simulator.base_url}/up/")
        async with rigged.links.fetch(url, len(FILE)) as file:
            assert b"".join([chunk async for chunk in file.chunks]) == FILE


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "code"),
    [({"allowed_extensions": ("png",)}, -16), ({"max_upload": 100}, -13)],
)
async def test_78_upload_refused(options: dict[str, object], code: int) -> None:
    """Row 78: refused with the server's code, for certain."""
    async with (
        simulated(**options) as simulator,
        rig(settings_for(simulator.base_url)) as rigged,
    ):
        with pytest.raises(CallFailure) as caught:
            await rigged.links.upload(ADA, blob(FILE, "a.exe"))
        assert caught.value.reason is FailureReason.REFUSED
        assert (caught.value.certain, caught.value.code) == (True, code)
        assert rigged.facts.kept == {}


@pytest.mark.asyncio
async def test_35_upload_with_a_dead_token() -> None:
    """Row 35 for uploads: one new login; the caller's next try works."""
    async with simulated() as simulator, rig(settings_for(simulator.base_url)) as rigged:
        await chat(rigged)
        await simulator.do({"op": "expire_token", "login": LOGIN})
        with pytest.raises(CallFailure) as caught:
            await rigged.links.upload(ADA, blob(FILE))
        assert (caught.value.reason, caught.value.certain) == (FailureReason.UNREACHABLE, True)
        assert await rigged.links.upload(ADA, blob(FILE))
        assert rigged.counts.logins == 2


# --- secrets, shutdown ------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_86_secrets(caplog: pytest.LogCaptureFixture) -> None:
    """Row 86: at no log level does a token, password, key or sign come out, whoever logs."""
    caplog.set_level(logging.DEBUG)
    for name in ("websockets", "websockets.client", "aiohttp", "aiohttp.client", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    signs: list[str] = []
    with structlog.testing.capture_logs() as logs:
        async with simulated(sign_key="KEY-SECRET", handshake_refusal="frame") as simulator:
            settings = settings_for(
                simulator.base_url,
                login_type=LoginType.PASSWORD,
                password="PASSWORD-SECRET",
                sign_key="KEY-SECRET",
            )
            tokens = Tokens()
            async with rig(settings, tokens=tokens) as rigged:
                session = await chat(rigged)
                seen = {tokens.kept[ADA.room_id].value}
                await rigged.links.upload(ADA, blob(FILE))
                await simulator.do({"op": "expire_token", "login": LOGIN})
                assert (await rigged.call(ADA, 3, text("BODY-SECRET", session))).ok
                seen.add(tokens.kept[ADA.room_id].value)
                rigged.links.keep(ADA)
                back = len(rigged.events.back)
                await simulator.do({"op": "kick", "login": LOGIN, "code": 1006})
                await rigged.events.until(lambda: len(rigged.events.back) > back)
                assert (await rigged.call(ADA, 4, text("BODY-SECRET", session))).ok
                fault = {"fault": "http", "path": "tpiu", "status": 500}
                await simulator.do({"op": "set", "faults": [fault]})
                with pytest.raises(CallFailure) as caught:
                    await rigged.links.upload(ADA, blob(FILE))
                shown = [repr(caught.value), repr(rigged.links), repr(settings), repr(tokens.kept)]
        await _dead_server(settings, tokens, shown)
    assert len(seen) == 2
    secrets = seen | set(signs) | {"KEY-SECRET", "PASSWORD-SECRET", "BODY-SECRET"}
    written = [record.getMessage() for record in caplog.records]
    ours = [entry for entry in logs if not str(entry["event"]).startswith("simulator")]
    assert ours, "something was logged at all"
    for line in (*written, *shown, *(repr(entry) for entry in ours)):
        assert not any(secret in line for secret in secrets), line


async def _dead_server(settings: LinkSettings, tokens: Tokens, shown: list[str]) -> None:
    """Collect what is said when nobody listens any more, with its whole chain of causes."""
    quick = replace(settings, timing=replace(FAST, connect=0.2))
    async with rig(quick, tokens=tokens) as rigged:
        with pytest.raises(CallFailure) as caught:
            await rigged.call(ADA, 5, ASK)
        error: BaseException | None = caught.value
        while error is not None:
            shown.append(f"{error!r} {error}")
            error = error.__cause__ or error.__context__


@pytest.mark.asyncio
async def test_87_shutdown_in_chat() -> None:
    """Row 87: no 2, no 103; the chat goes on after a restart, without a login."""
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
    """A room whose account hangs, is refused or has a dead store leaves the others alone."""

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
