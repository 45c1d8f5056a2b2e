"""Logging in and keeping what it gave, when server or store are not at their best."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from bridge.conversation.events import FailureReason
from bridge.link.door import Door, Health
from bridge.link.failures import OpenFailure
from bridge.link.http import Http
from bridge.link.learnt import Learnt
from bridge.link.login import Logins, Tokens
from bridge.link.ports import Token
from bridge.link.settings import LinkSettings
from tests.unit.link import rig
from tests.unit.link.rig import FAST, LinkCounts, RealClock, WildServer, account, settings_for

ADA = account()
DAY = 24 * 3_600_000


@asynccontextmanager
async def logging_in(settings: LinkSettings) -> AsyncIterator[tuple[Logins, Health, LinkCounts]]:
    http, clock, counts = Http(settings.timing, None), RealClock(), LinkCounts()
    health = Health(clock)
    async with http.running():
        logins = Logins(
            settings,
            http,
            door=Door(settings, health, rig.Facts(), clock),
            learnt=Learnt(settings, rig.Facts(), clock),
            clock=clock,
            metrics=counts,
        )
        yield logins, health, counts


def answering(*bodies: dict[str, object]) -> WildServer:
    """Give these answers in turn, the last one for ever."""
    left = list(bodies)

    async def login(_: web.Request) -> web.StreamResponse:
        return web.json_response(left.pop(0) if len(left) > 1 else left[0])

    return WildServer(login=login)


@pytest.mark.asyncio
async def test_a_token_with_all_that_belongs_to_it() -> None:
    server = answering({"result": 1, "token": "T", "clientId": "C"})
    async with server.running(), logging_in(settings_for(server.base_url)) as (logins, health, _):
        token = await logins.login(ADA)
        assert (token.value, token.client_id) == ("T", "C")
        assert token.login_name == logins.login_name(ADA)
        assert abs(token.issued - RealClock().now()) < 5000
        assert health.failing_since is None
    assert "T" not in repr(token).replace("Token", "")


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [0, -100, -1, -15, 42])
async def test_other_refusals_may_pass(code: int) -> None:
    server = answering({"result": code, "message": "secret?"})
    async with (
        server.running(),
        logging_in(settings_for(server.base_url)) as (logins, health, counts),
    ):
        for _ in range(2):
            with pytest.raises(OpenFailure) as caught:
                await logins.login(ADA)
            assert caught.value.reason is FailureReason.UNREACHABLE
            assert (caught.value.code, caught.value.pause) == (code, 0)
        assert counts.logins_refused == len(server.logins) == 2
        assert health.failing_since is None, "it did answer"


@pytest.mark.asyncio
async def test_nobody_listens() -> None:
    async with logging_in(settings_for("http://127.0.0.1:1/webchat")) as (logins, health, counts):
        with pytest.raises(OpenFailure, match="login: Client") as caught:
            await logins.login(ADA)
        assert caught.value.reason is FailureReason.UNREACHABLE
        assert counts.logins == 1
        assert health.failing_since is not None


@pytest.mark.asyncio
async def test_a_login_that_hangs_is_given_up() -> None:
    stuck = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await stuck.wait()
        return web.Response()

    async with WildServer(login=hang).running() as server:
        settings = settings_for(server.base_url, timing=replace(FAST, reply=0.1))
        async with logging_in(settings) as (logins, _, _):
            with pytest.raises(OpenFailure, match="Timeout"):
                await logins.login(ADA)
        stuck.set()


@pytest.mark.asyncio
async def test_each_refusal_is_remembered_longer() -> None:
    server = answering({"result": -20})
    timing = replace(FAST, refusal_first=0.1, refusal_last=0.3)
    pauses: list[float] = []
    async with (
        server.running(),
        logging_in(settings_for(server.base_url, timing=timing)) as (logins, _, _),
    ):
        for number in range(1, 5):
            with pytest.raises(OpenFailure) as caught:
                await logins.login(ADA)
            pauses.append(round(caught.value.pause, 3))
            assert caught.value.rest == pytest.approx(3600), "by ourselves, not for an hour"
            with pytest.raises(OpenFailure) as remembered:
                await logins.login(ADA)
            assert remembered.value.code == -20
            assert 0 < remembered.value.pause <= pauses[-1] + 0.001
            assert len(server.logins) == number
            await asyncio.sleep(pauses[-1] + 0.01)
    assert pauses == [0.1, 0.2, 0.3, 0.3]


@pytest.mark.asyncio
async def test_a_success_forgets_the_refusal() -> None:
    good: dict[str, object] = {"result": 1, "token": "T"}
    server = answering({"result": -20}, good, {"result": -20})
    timing = replace(FAST, refusal_first=0.05)
    async with (
        server.running(),
        logging_in(settings_for(server.base_url, timing=timing)) as (logins, _, _),
    ):
        with pytest.raises(OpenFailure):
            await logins.login(ADA)
        await asyncio.sleep(0.06)
        await logins.login(ADA)
        with pytest.raises(OpenFailure) as caught:
            await logins.login(ADA)
        assert caught.value.pause == pytest.approx(0.05)


@pytest.mark.asyncio
async def test_a_refused_sign_is_refused_for_all() -> None:
    """-30 is no account's own: nobody else knocks, one tries for all, and a success ends it."""
    no: dict[str, object] = {"result": -30}
    server = answering(no, no, {"result": 1, "token": "T"})
    timing = replace(FAST, refusal_first=0.1)
    async with (
        server.running(),
        logging_in(settings_for(server.base_url, timing=timing)) as (logins, _, _),
    ):
        for visits in (1, 2):
            for together in (range(1), range(5)):
                outcomes = await asyncio.gather(
                    *(logins.login(account(str(n))) for n in together), return_exceptions=True
                )
                for outcome in outcomes:
                    assert isinstance(outcome, OpenFailure)
                    assert outcome.reason is FailureReason.SIGN_REFUSED
                    assert 0 < outcome.pause < 0.1 * visits + 0.01
                    assert 3590 < outcome.rest < 3600.01
                assert len(server.logins) == visits
            await asyncio.sleep(0.1 * visits + 0.01)
        await asyncio.gather(*(logins.login(account(str(n))) for n in range(5)))
        assert len(server.logins) == 7


@pytest.mark.asyncio
async def test_refusals_that_were_on_their_way_together_count_once() -> None:
    server = answering({"result": -30})
    async with server.running(), logging_in(settings_for(server.base_url)) as (logins, _, _):
        outcomes = await asyncio.gather(
            *(logins.login(account(str(n))) for n in range(5)), return_exceptions=True
        )
        assert len(server.logins) == 5
        pauses = [outcome.pause for outcome in outcomes if isinstance(outcome, OpenFailure)]
        assert len(pauses) == 5
        assert max(pauses) < 60.01


@pytest.mark.asyncio
async def test_who_waits_in_line_learns_of_the_blacklist() -> None:
    """The fourth never knocks, although it was in line before the door was closed."""

    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(status=403, text="<html>")

    async with WildServer(login=page).running() as server:
        settings = settings_for(server.base_url, login_count=1, login_seconds=0.01)
        async with logging_in(settings) as (logins, _, _):
            results = await asyncio.gather(
                *(logins.login(account(str(n))) for n in range(6)), return_exceptions=True
            )
        assert all(isinstance(result, OpenFailure) for result in results)
        assert len(server.logins) == 3


@pytest.mark.asyncio
async def test_a_server_that_is_starting_is_no_blacklist() -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(status=404, text="<html>")

    async with WildServer(login=page).running() as server:
        async with logging_in(settings_for(server.base_url)) as (logins, _, _):
            for _ in range(6):
                with pytest.raises(OpenFailure) as caught:
                    await logins.login(ADA)
                assert caught.value.pause == 0
        assert len(server.logins) == 6


@pytest.mark.asyncio
async def test_a_blank_name_is_no_login() -> None:
    server = answering({"result": 1, "token": "T"})
    async with (
        server.running(),
        logging_in(settings_for(server.base_url, name=" ")) as (logins, _, _),
    ):
        with pytest.raises(OpenFailure) as caught:
            await logins.login(ADA)
        assert caught.value.reason is FailureReason.LOGIN_REFUSED
        assert server.logins == []


@pytest.mark.asyncio
async def test_which_token_is_used() -> None:
    server = WildServer()
    async with server.running(), logging_in(settings_for(server.base_url)) as (logins, _, _):
        store, now = rig.Tokens(), RealClock().now()
        tokens = Tokens(logins, store, RealClock(), 23 * 3600)
        name = logins.login_name(ADA)
        have, stored = Token(name, "have", now), Token(name, "stored", now)
        store.kept[ADA.room_id] = stored
        assert await tokens.obtain(ADA, have) is have
        assert await tokens.obtain(ADA, None) is stored
        assert server.logins == []
        assert (await tokens.obtain(ADA, replace(have, issued=now - DAY))).value == "T1"
        assert store.kept[ADA.room_id].value == "T1"
        assert (await tokens.obtain(ADA, Token("other", "x", now))).value == "T1"
        store.kept[ADA.room_id] = Token("other", "y", now)
        assert (await tokens.obtain(ADA, Token("other", "x", now))).value == "T2"
        await tokens.refuse(ADA.room_id)
        assert store.kept == {}


@pytest.mark.asyncio
async def test_a_store_that_fails_in_between() -> None:
    server = WildServer()
    async with server.running(), logging_in(settings_for(server.base_url)) as (logins, _, _):
        store = rig.Tokens()
        tokens = Tokens(logins, store, RealClock(), 23 * 3600)
        store.broken = True
        with pytest.raises(OpenFailure, match="store"):
            await tokens.obtain(ADA, None)
        assert server.logins == []
        old = Token(logins.login_name(ADA), "old", 0)
        assert (await tokens.obtain(ADA, old)).value == "T1", "good until the next restart"
        await tokens.refuse(ADA.room_id)
