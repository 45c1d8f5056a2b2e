"""Login and token of the link: rows 1-11, 36 of protocol reference 7.

Runs against the simulator, and against a `WildServer` for misbehaviour. Tests are named after their
row; rows that concern only the protocol core are in `test_protocol`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import cast

import pytest
from aiohttp import web
from msgspec.structs import replace as renewed

from bridge.ids import CallId
from bridge.link.login import room_key
from bridge.link.settings import Timing
from bridge.rooms.ports import CallFailure
from bridge.rooms.store import Token
from bridge.webchat.codes import FailureReason, LoginType
from bridge.webchat.http import login_sign
from tests.unit.link.rig import FAST, LoopClock, Tokens, WildServer, eventually, rig, settings_for
from tests.unit.link.simulated import (
    ADA,
    ASK,
    LOGIN,
    chat,
    commands,
    connected,
    customer,
    simulated,
    text,
)


@pytest.mark.asyncio
async def test_01_login_body() -> None:
    """Row 1: the login body is raw JSON in the guide's key order, not form-encoded."""
    async with WildServer().running() as server:
        settings = settings_for(server.base_url, login_type=LoginType.PASSWORD, password="pw")
        async with rig(settings) as rigged:
            assert (await rigged.call(ADA, 1, ASK)).ok
        wanted = f'{{"type":1,"loginName":"{LOGIN}","password":"pw","epid":""}}'
        assert server.login_bodies == [wanted.encode()]
        assert server.login_headers[0]["Content-Type"] == "application/json; charset=UTF-8"


@pytest.mark.asyncio
async def test_02_login_sign() -> None:
    """Row 2: the sign is computed from the bytes sent."""
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
    """Row 3: without a key there is no sign header."""
    async with WildServer().running() as server:
        async with rig(settings_for(server.base_url)) as rigged:
            assert (await rigged.call(ADA, 1, ASK)).ok
        assert "sign" not in server.login_headers[0]


@pytest.mark.asyncio
async def test_02b_wrong_sign_stops() -> None:
    """-30 is reported as a configuration error."""
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
async def test_04_refused_login_is_not_repeated(code: int) -> None:
    """Row 4: one login request in 60 s, however many calls are made."""

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
            assert rigged.links.door.trouble == "", "the server is there"
        assert len(server.logins) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [-20, -30])
async def test_04b_refused_login_is_not_retried_for_an_hour(code: int) -> None:
    """Row 4, table row 3: for an hour (1 s here) only a customer's action retries the login."""
    assert (Timing().refusal, Timing().refusal_first, Timing().refusal_last) == (3600, 60, 600)

    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.json_response({"result": code, "message": "no"})

    async with WildServer(login=refuse).running() as server:
        timing = replace(FAST, refusal=1.0, refusal_first=0.2, connect=0.1)
        async with rig(settings_for(server.base_url, timing=timing)) as rigged:
            rigged.links.keep(ADA)
            await asyncio.sleep(0.6)
            assert len(server.logins) == 1
            for _ in range(3):
                with pytest.raises(CallFailure, match="refused"):
                    await rigged.call(ADA, 1, ASK)
            assert len(server.logins) == 2
            await asyncio.sleep(0.8)
            assert len(server.logins) == 2, "the hour begins anew"
            await eventually(lambda: len(server.logins) == 3)


@pytest.mark.asyncio
async def test_05_html_error_page_is_not_a_refusal() -> None:
    """Row 5: an error page is not a refusal: the call retries with back-off."""
    async with simulated() as simulator:
        await simulator.do(
            {"op": "set", "faults": [{"fault": "http", "path": "tpi", "status": 503, "count": 3}]}
        )
        async with rig(settings_for(simulator.base_url)) as rigged:
            assert (await rigged.call(ADA, 1, ASK)).ok
            assert rigged.counts.open_failures == 3
            assert rigged.counts.logins == 4


@pytest.mark.asyncio
async def test_05b_unreachable_server() -> None:
    """Row 5: the call fails with certainty in the end, and the trouble is recorded."""
    async with WildServer(login=_page(503)).running() as server:
        timing = replace(FAST, connect=0.5)
        async with rig(settings_for(server.base_url, timing=timing)) as rigged:
            with pytest.raises(CallFailure) as caught:
                await rigged.call(ADA, 1, ASK)
            assert caught.value.reason is FailureReason.UNREACHABLE
            assert caught.value.certain
            assert rigged.links.door.trouble
        assert 3 < len(server.logins) < 30, "tries again, in no tight loop"


def _page(status: int) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="<html>no</html>", content_type="text/html")

    return page


@pytest.mark.asyncio
async def test_07_token_escaped() -> None:
    """Row 7: the token is percent-encoded in the socket's URL."""

    async def give(_: web.Request) -> web.StreamResponse:
        return web.json_response({"result": 1, "token": "A+B/="})

    async with WildServer(login=give).running() as server:
        async with rig(settings_for(server.base_url)) as rigged:
            assert (await rigged.call(ADA, 1, ASK)).ok
        assert server.sockets == ["token=A%2BB%2F%3D"]


# --- tokens -----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_token_reuse_and_renewal() -> None:
    """Reference 3.6: a stored token needs no login; after 23 h it is renewed on connecting."""
    async with simulated() as simulator:
        tokens = Tokens()
        for _ in range(2):
            async with rig(settings_for(simulator.base_url), tokens=tokens) as rigged:
                rigged.links.keep(ADA)
                await eventually(partial(connected, rigged))
        assert customer(simulator)["logins"] == 1
        kept = tokens.kept[ADA.room_id]
        tokens.kept[ADA.room_id] = renewed(kept, issued=kept.issued - 23 * 3_600_000 - 1)
        async with rig(settings_for(simulator.base_url), tokens=tokens) as rigged:
            rigged.links.keep(ADA)
            await eventually(lambda: rigged.counts.connects == 1)
        assert customer(simulator)["logins"] == 2
        assert tokens.kept[ADA.room_id].value != kept.value


@pytest.mark.asyncio
async def test_token_of_another_account_is_not_reused() -> None:
    """The token belongs to the old login name, after a change of the config."""
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
    """Row 8, in the three ways of reference 3.3: one new login, then the command, written once."""
    async with simulated(handshake_refusal=mode) as simulator:
        tokens = Tokens()
        tokens.kept[ADA.room_id] = Token(ADA.room_id, LOGIN, "STALE", LoopClock().now())
        async with rig(settings_for(simulator.base_url), tokens=tokens) as rigged:
            writes = Counter[str]()

            async def writing() -> None:
                writes["n"] += 1

            reply = await rigged.links.call(ADA, CallId(1), ASK, writing)
            assert reply.ok
            assert writes["n"] == 1
            assert rigged.counts.logins == 1
        assert tokens.kept[ADA.room_id].value != "STALE"


@pytest.mark.asyncio
async def test_09_token_refused_by_a_command() -> None:
    """Row 9: -15 to a command: one new login, then the command again with its call id."""
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
async def test_10_pipelined_commands_are_replayed_after_one_login() -> None:
    """Row 10: -15 to 20 pipelined commands: one login, then all again in order, once."""
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
async def test_11_new_token_is_refused_too() -> None:
    """Row 11: the new token is refused too: the call fails after one new login."""
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
    """Row 11 in the three ways of reference 3.3: a certain failure, no tight loop."""

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
