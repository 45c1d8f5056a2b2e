"""Whoever fails to reach the homeserver has noticed that it is away."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge.demo.child_process import free_port
from bridge.ids import UserId
from bridge.matrix.client import Outages, Transport, is_outage, new_session
from bridge.matrix.users import OurUsers
from bridge.rooms.ports import Refused, Unavailable


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (aiohttp.ServerDisconnectedError(), True),
        (aiohttp.ClientOSError(), True),
        (Unavailable("502"), True),
        (Unavailable("429", 3.0), False),
        (Refused("M_FORBIDDEN"), False),
        (aiohttp.ServerTimeoutError(), False),
        (asyncio.CancelledError(), False),
    ],
)
def test_what_is_an_outage(error: BaseException, outage: bool) -> None:
    assert is_outage(error) is outage


@pytest.mark.asyncio
async def test_requests_are_watched() -> None:
    outages = Outages()

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"errcode": "M_FORBIDDEN"}, status=403)

    app = web.Application()
    app.router.add_get("/", refuse)
    session = new_session(verify_tls=True, watch=outages.watch())
    async with TestServer(app) as server, session:
        with pytest.raises(Refused):
            await session.get(server.make_url("/"))
        assert not outages.noted
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://127.0.0.1:{free_port()}/")
    await asyncio.wait_for(outages.one(), 1)
    outages.begin_anew()
    assert not outages.noted


@pytest.mark.asyncio
async def test_each_way_of_a_request_tells() -> None:
    """By mautrix or past it."""
    outages = Outages()
    users = OurUsers("a", "webchatbot", "webchat_{agent}")
    async with new_session(verify_tls=True, watch=outages.watch()) as session:
        transport = Transport(session, f"http://127.0.0.1:{free_port()}", "t", users)
        with pytest.raises(Unavailable):
            await transport.request("PUT", "_matrix/x")
        assert outages.noted
        outages.begin_anew()
        with pytest.raises(Unavailable):
            await transport.send("PUT", "_matrix/x", {}, UserId("@webchat_a1:a"))
        assert outages.noted
