"""Every request that fails to reach the homeserver reports an outage."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import suppress

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge.ids import RoomId, UserId
from bridge.matrix.client import Homeserver, is_outage, new_session
from bridge.matrix.users import OurUsers
from bridge.rooms.blobs import Kept
from bridge.rooms.ports import Refused, Unavailable
from tests.support.ports import free_port


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
def test_errors_that_count_as_an_outage(error: BaseException, outage: bool) -> None:
    assert is_outage(error) is outage


@pytest.mark.asyncio
async def test_unreachable_homeserver_is_an_outage_but_a_refusal_is_not() -> None:
    outage = asyncio.Event()

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"errcode": "M_FORBIDDEN"}, status=403)

    app = web.Application()
    app.router.add_get("/", refuse)
    users = OurUsers("a", "webchatbot", "webchat_{agent}")
    async with TestServer(app) as server, new_session(verify_tls=True) as session:
        there, gone = str(server.make_url("/")), f"http://127.0.0.1:{free_port()}/"
        with pytest.raises(Refused):
            await Homeserver(session, there, "t", users, outage).request("GET", "")
        assert not outage.is_set()
        with pytest.raises(Unavailable):
            await Homeserver(session, gone, "t", users, outage).request("GET", "")
    await asyncio.wait_for(outage.wait(), 10)
    outage.clear()
    assert not outage.is_set()


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [200, 302, 404, 500])
async def test_failed_sign_in_to_the_room_page_is_no_outage(status: int) -> None:
    """Behind a proxy without this endpoint, each sign-in would cause all rooms to be read again."""
    outage = asyncio.Event()

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>", content_type="text/html", status=status)

    app = web.Application()
    app.router.add_get("/{path:.*}", page)
    users = OurUsers("a", "webchatbot", "webchat_{agent}")
    async with TestServer(app) as server, new_session(verify_tls=True) as session:
        for there in (str(server.make_url("")), f"http://127.0.0.1:{free_port()}"):
            homeserver = Homeserver(session, there.rstrip("/"), "t", users, outage)
            with pytest.raises(Unavailable) as raised:
                await homeserver.openid_user("word-of-honour")
            assert "word-of-honour" not in str(raised.value)
    assert not outage.is_set()


@pytest.mark.asyncio
async def test_every_kind_of_request_reports_an_outage() -> None:
    """Requests with and without mautrix, uploads and downloads; also a proxy's error page."""
    outage = asyncio.Event()
    users = OurUsers("a", "webchatbot", "webchat_{agent}")
    ghost = UserId("@webchat_a1:a")

    async def away(_: web.Request) -> web.Response:
        return web.Response(status=502, text="<html>")

    async def busy(_: web.Request) -> web.Response:
        body = {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 5}
        return web.json_response(body, status=429)

    async def silent_about_the_pause(_: web.Request) -> web.Response:
        return web.Response(status=429, text="slow down")

    async def fail(transport: Homeserver) -> None:
        with pytest.raises(Unavailable):
            await transport.request("PUT", "_matrix/x")
        noted.append(outage.is_set())
        outage.clear()
        with pytest.raises(Unavailable):
            await transport.invite(ghost, RoomId("!r:a"), users.bot)
        noted.append(outage.is_set())
        outage.clear()
        with pytest.raises(Unavailable):
            await transport.upload(Kept(io.BytesIO(b"x"), 1), "text/plain", "", ghost)
        noted.append(outage.is_set())
        outage.clear()
        with pytest.raises(Unavailable):
            async with transport.download("mxc://a/x", 9):
                pass
        noted.append(outage.is_set())
        outage.clear()

    noted: list[bool] = []
    async with new_session(verify_tls=True) as session:
        await fail(Homeserver(session, f"http://127.0.0.1:{free_port()}", "t", users, outage))
        for answer in (away, busy, silent_about_the_pause):
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", answer)
            async with TestServer(app) as server:
                await fail(Homeserver(session, str(server.make_url("/")), "t", users, outage))
    assert noted == [True] * 8 + [False] * 8


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "code", ["M_CONNECTION_FAILED", "M_CONNECTION_TIMEOUT", "M_BAD_STATUS", "M_UNKNOWN"]
)
async def test_homeserver_that_cannot_ping_the_bridge_is_no_outage(code: str) -> None:
    """Otherwise each failed ping would cause all rooms to be read (`catchup`)."""
    outage = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"errcode": code, "error": "Connection was refused"}, status=502)

    app = web.Application()
    app.router.add_post("/_matrix/client/v1/appservice/webchat/ping", answer)
    users = OurUsers("a", "webchatbot", "webchat_{agent}")
    async with TestServer(app) as server, new_session(verify_tls=True) as session:
        homeserver = Homeserver(session, str(server.make_url("/")), "t", users, outage)
        with pytest.raises(Unavailable, match=code):
            await homeserver.ping("webchat")
    assert outage.is_set() is (code == "M_UNKNOWN")


@pytest.mark.asyncio
@pytest.mark.parametrize("error", ["AlreadyCalled", "AlreadyCancelled"])
async def test_synapses_trouble_after_a_successful_ping_is_none_of_ours(error: str) -> None:
    """While it sends the transactions that have waited, by itself or after another ping (1.163)."""
    reply = {"errcode": "M_CONNECTION_FAILED", "error": f"{error}: Tried to cancel an ev…"}

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(reply, status=502)

    app = web.Application()
    app.router.add_post("/_matrix/client/v1/appservice/webchat/ping", answer)
    users = OurUsers("a", "webchatbot", "webchat_{agent}")
    async with TestServer(app) as server, new_session(verify_tls=True) as session:
        await Homeserver(session, str(server.make_url("/")), "t", users).ping("webchat")


@pytest.mark.asyncio
async def test_an_answer_given_twice_is_not_taken_for_that_of_the_next_request() -> None:
    """The next request would not be sent in full: an agent's message would be lost."""
    bodies, served = list[str](), list[asyncio.Task[None] | None]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                bodies.append((await reader.readexactly(length)).decode())
                event = b'{"event_id": "$%d"}' % len(bodies)
                answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(event), event)
                for _ in range(2):
                    writer.write(answer)
                    await writer.drain()
                    await asyncio.sleep(0.05)
        writer.close()

    users, texts = OurUsers("a", "webchatbot", "webchat_{agent}"), ["one", "two", "three"]
    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        new_session(verify_tls=True) as session,
    ):
        host, port = server.sockets[0].getsockname()
        homeserver = Homeserver(session, f"http://{host}:{port}", "t", users)
        for number, text in enumerate(texts, 1):
            sent = await homeserver.send(UserId("@w:a"), RoomId("!r"), "m", {"body": text}, text)
            assert sent == f"${number}"
            await asyncio.sleep(0.1)
        await session.close()
        await asyncio.gather(*filter(None, served))
    assert [json.loads(body)["body"] for body in bodies] == texts
