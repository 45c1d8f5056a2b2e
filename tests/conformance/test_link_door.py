"""Rate limit of logins, and blacklisting: rows 5 and 6 of protocol reference 7, and section 3.7."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import msgspec
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from bridge.rooms.ports import CallFailure
from bridge.webchat.codes import FailureReason, LoginType
from tests.unit.link.rig import (
    FAST,
    Facts,
    Tokens,
    WildServer,
    account,
    eventually,
    rig,
    settings_for,
)
from tests.unit.link.simulated import ADA, ASK, connected


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [403, 200])
async def test_05c_blacklisting_stops_all_logins(status: int) -> None:
    """Reference 3.7: repeated 403 or HTML pages stop the logins of all rooms for ten minutes."""
    async with WildServer(login=_page(status)).running() as server:
        async with rig(settings_for(server.base_url)) as rigged:
            for name in "abcde":
                with pytest.raises(CallFailure, match=r"blacklisted|WebChat's JSON") as caught:
                    await rigged.call(account(name, name), 1, ASK)
                assert caught.value.reason is FailureReason.UNREACHABLE
        # Three of each of the first two persons, one of the third, and nobody's.
        assert len(server.logins) <= 8


@pytest.mark.asyncio
async def test_05c_a_firewall_that_refuses_three_persons_does_not_stop_the_others() -> None:
    """It refuses names such as `<script>`: one person with three accounts would close the door."""

    async def login(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if "<script>" in str(body):
            return web.Response(status=403, text="<html>no</html>", content_type="text/html")
        refused = body["type"] == LoginType.PASSWORD
        return web.json_response({"result": -20} if refused else {"result": 1, "token": "T"})

    async with WildServer(login=login).running() as server:
        settings = settings_for(server.base_url, display_name="{displayname}")
        async with rig(settings) as rigged:
            with capture_logs() as logs:
                for name in "bcdefg":
                    person = msgspec.structs.replace(account(name, name), displayname="<script>")
                    with pytest.raises(CallFailure, match="HTTP 403"):
                        await rigged.call(person, 1, ASK)
            assert (await rigged.call(ADA, 1, ASK)).ok
    assert [log for log in logs if log["event"].startswith("some persons' logins")]


@pytest.mark.asyncio
async def test_05d_blacklisting_does_not_invalidate_tokens() -> None:
    """Reference 3.7: while blacklisted, a 403 at the socket does not invalidate the token."""
    banned = asyncio.Event()

    async def login(_: web.Request) -> web.StreamResponse:
        if banned.is_set():
            return web.Response(status=403, text="<html>no</html>", content_type="text/html")
        return web.json_response({"result": 1, "token": f"T{len(server.logins)}"})

    def handshake(_: web.Request) -> web.Response | None:
        return web.Response(status=403) if banned.is_set() else None

    server = WildServer(login=login, handshake=handshake)
    async with server.running():
        timing = replace(FAST, blacklist=0.5, connect=0.2)
        tokens = Tokens()
        async with rig(settings_for(server.base_url, timing=timing), tokens=tokens) as rigged:
            assert (await rigged.call(ADA, 1, ASK)).ok
            await eventually(lambda: not rigged.links._links)
            banned.set()
            for name in "bcd":
                with pytest.raises(CallFailure):
                    await rigged.call(account(name, name), 1, ASK)
            with pytest.raises(CallFailure, match="blacklisted"):
                await rigged.call(ADA, 2, ASK)
            assert tokens.kept[ADA.room_id].value == "T1"
            banned.clear()
            rigged.links.keep(ADA)
            await eventually(partial(connected, rigged))
            assert server.sockets[-1] == "token=T1"


@pytest.mark.asyncio
async def test_05e_blacklisting_by_403_at_the_socket() -> None:
    """Reference 3.7: logins succeed, but every socket gets a 403.

    Three rooms whose new tokens are refused stop the logins of all.
    """
    server = WildServer(handshake=lambda _: web.Response(status=403, text="<html>Forbidden</html>"))
    async with server.running():
        timing = replace(FAST, blacklist=1.0, connect=0.2)
        async with rig(settings_for(server.base_url, timing=timing)) as rigged:
            for number in range(5):
                rigged.links.keep(account(str(number)))
            await eventually(lambda: rigged.links.door.trouble != "")
            await asyncio.sleep(0.5)
            first = len(server.logins)
            most = 3 * 2 + 2 * 4  # three rooms refused twice; the other two may have used all tries
            assert first <= most
            assert len(server.sockets) <= most
            with pytest.raises(CallFailure, match="blacklisted"):
                await rigged.call(account("another"), 1, ASK)
            assert len(server.logins) == first
            await eventually(lambda: len(server.logins) > first)
            await asyncio.sleep(0.3)
            assert len(server.logins) <= first + 5
            server.handshake = lambda _: None
            await eventually(lambda: rigged.counts.open_links == 5)


@pytest.mark.asyncio
async def test_05f_room_with_refused_tokens_does_not_block_others() -> None:
    """A room whose tokens are refused is tried four times, and again after a pause."""
    bad: list[str] = []

    async def login(request: web.Request) -> web.StreamResponse:
        token = f"T{len(server.logins)}"
        if b"!bad:" in await request.read():
            bad.append(f"token={token}")
        return web.json_response({"result": 1, "token": token})

    def handshake(request: web.Request) -> web.Response | None:
        return web.Response(status=401) if request.rel_url.raw_query_string in bad else None

    server = WildServer(login=login, handshake=handshake)
    async with server.running():
        timing = replace(FAST, blacklist=1.5)
        settings = settings_for(server.base_url, name="{room_id}", timing=timing)
        async with rig(settings) as rigged:
            rigged.links.keep(account("bad"))
            await eventually(lambda: len(bad) == 4)
            await asyncio.sleep(0.5)
            assert (await rigged.call(account("good"), 1, ASK)).ok
            assert len(bad) == 4
            await eventually(lambda: len(bad) == 5)


def _page(status: int) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="<html>no</html>", content_type="text/html")

    return page


@pytest.mark.asyncio
async def test_06_login_rate() -> None:
    """Row 6: 30 customers at once cause at most 8 logins in any window (0.5 s here)."""
    async with WildServer().running() as server:
        settings = settings_for(server.base_url, login_count=8, login_seconds=0.5)
        async with rig(settings) as rigged, asyncio.TaskGroup() as tasks:
            for number in range(30):
                tasks.create_task(rigged.call(account(str(number)), 1, ASK))
        times = server.logins
        assert len(times) == 30
        assert all(late - early >= 0.5 for early, late in zip(times, times[8:], strict=False))


@pytest.mark.asyncio
async def test_06b_login_rate_over_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 6: the limit also holds across restarts of the bridge.

    Checked by the bridge's stored login times, as arrival times depend on the machine.
    """
    monkeypatch.setattr("bridge.link.http_client.SHORTEST_KEPT", 0.0)  # for a fast test
    facts, seen = Facts(), Counter[int]()
    save = facts.save_fact

    async def noted(name: str, value: str) -> None:
        nonlocal seen
        seen |= Counter(map(int, value.split()))
        await save(name, value)

    facts.save_fact = noted  # type: ignore[method-assign]
    async with WildServer().running() as server:
        settings = settings_for(server.base_url, login_count=4, login_seconds=0.8)
        tokens, logins = Tokens(), 0
        for run in range(3):
            async with (
                rig(settings, tokens=tokens, facts=facts) as rigged,
                asyncio.TaskGroup() as tasks,
            ):
                for number in range(3):
                    tasks.create_task(rigged.call(account(f"{run}.{number}"), 1, ASK))
            logins += 3
            assert len(server.logins) == logins
        times = sorted(seen.elements())
        assert len(times) == logins
        assert times[-1] - times[0] >= 2 * 800 - 2
        assert all(late - early >= 800 - 1 for early, late in zip(times, times[4:], strict=False))
