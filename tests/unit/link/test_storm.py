"""Many links at once: lost tokens, a server that was away, histories of all rooms.

The server runs in this process, and takes most of the time of these tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import structlog
from aiohttp import web

from bridge.ids import RoomId
from bridge.link.login import _ALL, _Refusal, room_key
from bridge.link.settings import LinkSettings
from bridge.rooms.ports import Account, CallFailure
from bridge.rooms.store import StoreError, Token
from bridge.webchat.codes import FailureReason
from tests.unit.link.rig import (
    FAST,
    Facts,
    LoopClock,
    Rig,
    Tokens,
    WildServer,
    account,
    answer_everything,
    eventually,
    rig,
    settings_for,
)

PATIENT = replace(FAST, connect=30.0, handshake=20.0, reply=20.0, stable=0.1, release=60.0)


class Overrun(Tokens):
    """A store that saves new tokens, but times out when it should delete one."""

    async def forget_token(self, room_id: RoomId) -> None:
        raise StoreError("did not answer within 20 s")


class Centre(WildServer):
    """A server that accepts only tokens that it issued, and records its open sockets."""

    def __init__(self) -> None:
        super().__init__()
        self.given = 0
        self.open: set[web.WebSocketResponse] = set()
        self.login = self._give
        self.handshake = self._known
        self.socket = self._talk

    async def _give(self, _: web.Request) -> web.StreamResponse:
        self.given += 1
        return web.json_response({"result": 1, "token": f"new{self.given}"})

    def _known(self, request: web.Request) -> web.Response | None:
        known = request.query["token"].startswith("new")
        return None if known else web.Response(status=401)

    async def _talk(self, socket: web.WebSocketResponse) -> None:
        self.open.add(socket)
        try:
            await answer_everything(socket)
        finally:
            self.open.discard(socket)


def rooms(count: int) -> list[Account]:
    return [account(f"r{number}", f"p{number}") for number in range(count)]


def with_old_tokens(who: Sequence[Account], tokens: Tokens) -> Tokens:
    now = LoopClock().now()
    for one in who:
        tokens.kept[one.room_id] = Token(one.room_id, f"mx-{room_key(one.room_id)}", "old", now)
    return tokens


@asynccontextmanager
async def storm(
    settings: LinkSettings, who: Sequence[Account], tokens: Tokens, facts: Facts
) -> AsyncIterator[tuple[Rig, list[structlog.typing.EventDict]]]:
    """Open the links of all rooms at the same moment."""
    with structlog.testing.capture_logs() as logs:
        async with rig(settings, tokens=tokens, facts=facts) as rigged:
            for one in who:
                rigged.links.keep(one)
            yield rigged, logs


@pytest.mark.asyncio
async def test_lost_tokens_without_a_limit_do_not_look_like_blacklisting() -> None:
    """One login per room, although the store deletes no token."""
    who, server = rooms(300), Centre()
    tokens = with_old_tokens(who, Overrun())
    async with server.running():
        settings = settings_for(server.base_url, login_count=100_000, timing=PATIENT)
        async with storm(settings, who, tokens, Facts()) as (rigged, logs):
            await eventually(lambda: rigged.counts.open_links == len(who), 60)
        assert len(server.logins) == len(who)
        assert len(server.sockets) == 2 * len(who), "the old token and the new one, once each"
        assert not [log for log in logs if "blacklisted" in log["event"]]
        assert all(token.value.startswith("new") for token in tokens.kept.values())


@pytest.mark.asyncio
async def test_lost_tokens_are_replaced_within_the_login_limit() -> None:
    who, server = rooms(60), Centre()
    async with server.running():
        settings = settings_for(
            server.base_url, login_count=10, login_seconds=0.3, timing=replace(PATIENT, connect=0.5)
        )
        async with storm(settings, who, with_old_tokens(who, Overrun()), Facts()) as (rigged, logs):
            await eventually(lambda: rigged.counts.open_links == len(who), 30)
        assert len(server.logins) == len(who)
        for first, later in zip(server.logins, server.logins[10:], strict=False):
            assert later - first > 0.29, "no window holds more than ten"
        loud = [log for log in logs if log["log_level"] in ("warning", "error")]
        assert not [log for log in loud if log["event"] != "token not deleted"]


@pytest.mark.asyncio
async def test_token_that_cannot_be_deleted_is_not_tried_again() -> None:
    """Three rooms that repeat theirs would look blacklisted, and the door would close for all."""
    who, server = rooms(5), Centre()
    async with server.running():
        settings = settings_for(server.base_url, timing=PATIENT)
        async with storm(settings, who, with_old_tokens(who, Overrun()), Facts()) as (rigged, logs):
            await eventually(lambda: rigged.counts.open_links == len(who))
            for socket in list(server.open):  # once more, before any token was deleted
                await socket.close()
            await eventually(lambda: rigged.counts.reconnects == len(who))
        assert len(server.logins) == len(who)
        assert not [log for log in logs if "blacklisted" in log["event"]]


@pytest.mark.asyncio
async def test_all_links_come_back_after_a_restart_of_the_server() -> None:
    """With the tokens that they have, one socket each."""
    who, server = rooms(300), Centre()
    async with server.running():
        settings = settings_for(server.base_url, login_count=100_000, timing=PATIENT)
        async with storm(settings, who, Tokens(), Facts()) as (rigged, logs):
            await eventually(lambda: rigged.counts.open_links == len(who), 60)
            before = len(server.sockets)
            for socket in list(server.open):
                await socket.close(code=1001)
            await eventually(lambda: rigged.counts.reconnects == len(who), 60)
            assert len(server.sockets) - before == len(who)
        assert len(server.logins) == len(who)
        assert {log["log_level"] for log in logs} == {"info"}  # debug is off
        assert sum(log["log_level"] == "info" for log in logs) < len(who), "20 lines a second"


@pytest.mark.asyncio
async def test_many_histories_without_a_limit_are_fetched_in_time() -> None:
    """Several run at once; one at a time would exceed the timeout."""
    who, server = rooms(200), WildServer()
    flying = most = 0

    async def history(_: web.Request) -> web.StreamResponse:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.05)
        flying -= 1
        return web.json_response({"result": 1, "hisMessages": []})

    server.history = history
    async with server.running():
        timing = replace(PATIENT, connect=2.5)
        settings = settings_for(server.base_url, login_count=100_000, timing=timing)
        async with storm(settings, who, Tokens(), Facts()) as (rigged, _):
            await eventually(lambda: rigged.counts.open_links == len(who), 60)
            found = await asyncio.gather(*(rigged.links.history(one, 10) for one in who))
    assert found == [()] * len(who)
    assert 1 < most <= 20


@pytest.mark.asyncio
async def test_waiting_history_or_login_does_not_blame_the_server() -> None:
    server = WildServer()

    async def history(_: web.Request) -> web.StreamResponse:
        return web.json_response({"result": 1, "hisMessages": []})

    server.history = history
    async with server.running():
        settings = settings_for(
            server.base_url, login_count=2, login_seconds=60.0, timing=replace(FAST, connect=0.3)
        )
        async with rig(settings) as rigged:
            assert await rigged.links.history(account(), 10) == ()
            with pytest.raises(CallFailure) as caught:
                await rigged.links.history(account(), 10)
            with pytest.raises(CallFailure) as own:
                await rigged.links.log_in(account("b"))
            logins = rigged.links._shared.logins
            logins._refusals[_ALL] = _Refusal(FailureReason.SIGN_REFUSED, -30, 0, 0, 0)
            async with logins._alone:  # another login tries for all
                with pytest.raises(CallFailure, match="timed out in the queue"):
                    await rigged.links.log_in(account("b"))
        for failure in (caught.value, own.value):
            assert (failure.reason, failure.certain) == (FailureReason.NO_TURN, True)
        assert rigged.links.door.trouble == ""


@pytest.mark.asyncio
async def test_a_silent_name_server_takes_up_one_thread_for_all_links(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the homeserver's lookups would wait behind theirs, and each would log an error."""
    asked, answer = 0, asyncio.Event()
    loop = asyncio.get_running_loop()
    really = loop.getaddrinfo

    async def silent(*of: object, **more: object) -> object:
        nonlocal asked
        asked += not answer.is_set()
        await answer.wait()
        return await really(*of, **more)  # type: ignore[arg-type]  # as it came

    server, five = Centre(), rooms(5)
    async with server.running():
        timing = replace(FAST, handshake=0.1)
        async with rig(settings_for(server.base_url, timing=timing)) as rigged:
            monkeypatch.setattr(loop, "getaddrinfo", silent)
            for one in five:
                rigged.links.keep(one)
            await eventually(lambda: rigged.counts.open_failures > 2 * len(five))
            assert asked == 1
            answer.set()
            await eventually(lambda: rigged.counts.open_links == len(five))


@pytest.mark.asyncio
@pytest.mark.parametrize("logins", [True, False])
async def test_a_server_that_closes_all_sockets_costs_few_tokens(*, logins: bool) -> None:
    """Such as one without its database: a login for each of the rooms would take ten minutes.

    Only the one that waits for its turn to log in, to see whether its token is bad, comes later.
    """
    who, server = rooms(40), Centre()
    talk, give, server.handshake = server.socket, server.login, lambda _: None

    async def close(socket: web.WebSocketResponse) -> None:
        await socket.close(code=1011)

    async def fail(_: web.Request) -> web.StreamResponse:
        return web.json_response({"result": -100})

    async with server.running():
        timing = replace(PATIENT, backoff_last=0.3)
        settings = settings_for(server.base_url, login_count=4, login_seconds=60.0, timing=timing)
        async with storm(settings, who, with_old_tokens(who, Tokens()), Facts()) as (rigged, _):
            await eventually(lambda: rigged.counts.open_links == len(who), 60)
            server.socket, server.login = close, give if logins else fail
            for socket in list(server.open):
                await socket.close(code=1011)
            await eventually(lambda: len(server.sockets) > 4 * len(who), 60)
            server.socket, server.login = talk, give
            await eventually(lambda: rigged.counts.open_links >= len(who) - 1, 20)
        assert len(server.logins) <= 4


@pytest.mark.asyncio
async def test_all_rooms_log_in_if_a_closed_socket_means_a_bad_token() -> None:
    """One after the other, also while the first one's account is thrown out with any token."""
    who, server = rooms(20), Centre()
    first = ""

    async def talk(socket: web.WebSocketResponse) -> None:
        nonlocal first
        token = socket._req.query["token"]  # type: ignore[union-attr]
        first = first or (token if token.startswith("new") else "")
        if token in {"old", first}:
            await socket.close(code=1000)
        else:
            await server._talk(socket)

    server.socket, server.handshake = talk, lambda _: None
    async with server.running():
        timing = replace(PATIENT, backoff_last=0.3)
        settings = settings_for(server.base_url, login_count=100_000, timing=timing)
        async with storm(settings, who, with_old_tokens(who, Tokens()), Facts()) as (rigged, _):
            await eventually(lambda: rigged.counts.open_links == len(who), 60)
        assert server.given <= len(who) + 2


@pytest.mark.asyncio
@pytest.mark.parametrize("result", [-20, None])
async def test_a_trial_ends_with_its_room(*, result: int | None) -> None:
    """Its login is refused, or it is not wanted any more; then another room logs in."""
    who, server = rooms(2), Centre()
    give, hang = server._give, asyncio.Event()

    async def login(request: web.Request) -> web.StreamResponse:
        if (await request.json())["loginName"] != f"mx-{room_key(who[0].room_id)}":
            return await give(request)
        if result is None:
            await hang.wait()
        return web.json_response({"result": result})

    async def close(socket: web.WebSocketResponse) -> None:
        if socket._req.query["token"] == "old":  # type: ignore[union-attr]
            await socket.close(code=1000)
        else:
            await server._talk(socket)

    server.socket, server.handshake, server.login = close, lambda _: None, login
    async with server.running():
        timing = replace(PATIENT, backoff_last=0.3, release=0.1)
        settings = settings_for(server.base_url, login_count=100_000, timing=timing)
        tokens = with_old_tokens(who, Tokens())
        async with rig(settings, tokens=tokens) as rigged:
            rigged.links.keep(who[0])
            await eventually(lambda: len(server.logins) == 1)
            rigged.links.keep(who[1])
            await eventually(lambda: len(server.sockets) > 1)
            if result is None:
                rigged.links.release(who[0].room_id)
            await eventually(lambda: rigged.counts.open_links == 1, 20)
            hang.set()
