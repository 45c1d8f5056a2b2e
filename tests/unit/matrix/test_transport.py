"""Requests to the homeserver, and which of its errors are refusals or outages.

Also pins behaviour of mautrix that the bridge relies on, such as the acting user and device.
Requests that bypass mautrix (`Homeserver.request`) must behave the same.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from math import inf

import pytest
from aiohttp import ClientTimeout, web
from aiohttp.test_utils import TestServer

from bridge.ids import EventId, RoomId, UserId
from bridge.matrix.client import FOREIGN, LIMITED, SHORTEST, Homeserver, new_session
from bridge.matrix.crypto.wire import Json, KeyServer
from bridge.matrix.users import OurUsers
from bridge.rooms.blobs import Kept
from bridge.rooms.ports import Refused, TooBig, Unavailable

USERS = OurUsers("a", "webchatbot", "webchat_{agent}")
GHOST = UserId("@webchat_a1:a")
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Call = Callable[[Homeserver, Json], Awaitable[Json]]


def request(transport: Homeserver, content: Json) -> Awaitable[Json]:
    return transport.request("PUT", "_matrix/x", content, user=GHOST)


async def invite(transport: Homeserver, content: Json) -> Json:
    """Call a method of mautrix's `ClientAPI`."""
    await transport.invite(GHOST, RoomId("!r/?:a"), USERS.bot)
    return content


ALL = pytest.mark.parametrize("call", [request, invite])


@asynccontextmanager
async def homeserver(answer: Answer) -> AsyncIterator[Homeserver]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server, new_session(verify_tls=True) as session:
        yield Homeserver(session, str(server.make_url("/")), "as-token", USERS)


def always(status: int, body: str, headers: dict[str, str] | None = None) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=body, headers=headers)

    return answer


@pytest.mark.asyncio
async def test_request_names_the_token_the_user_and_the_device() -> None:
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return web.json_response({"event_id": "$e", "body": await request.text()})

    async with homeserver(answer) as transport:
        made = transport
        sent = await made.send(GHOST, RoomId("!r/?:a"), "m.room.message", {"body": "x"}, "t/1")
        assert sent == EventId("$e")
        await made.check()
    send, whoami = seen
    assert send.raw_path.partition("?")[0] == (
        "/_matrix/client/v3/rooms/%21r%2F%3F%3Aa/send/m.room.message/t%2F1"
    )
    assert send.headers["Authorization"] == "Bearer as-token"
    assert (send.query["user_id"], send.query["device_id"]) == (GHOST, "WEBCHAT")
    assert send.query["org.matrix.msc3202.device_id"] == "WEBCHAT"
    assert send.headers["Content-Type"] == "application/json"
    assert send.headers["User-Agent"].startswith("matrix-webchat-bridge/")
    assert whoami.query["user_id"] == USERS.bot
    assert "device_id" not in whoami.query


@pytest.mark.asyncio
@ALL
async def test_requests_use_the_device_and_token_of_their_user(call: Call) -> None:
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return web.json_response({})

    async with homeserver(answer) as transport:
        await call(transport, {})
        transport.use_device("NEXT")
        await call(transport, {})
        transport.use_token(GHOST, "ghost-token")
        await call(transport, {})
        await transport.request("POST", "_matrix/x", user=GHOST, device=False)
        transport.foreign.add(GHOST)
        with pytest.raises(Refused, match=FOREIGN):
            await call(transport, {})
    for name in ("device_id", "org.matrix.msc3202.device_id"):
        assert [request.query.get(name) for request in seen] == ["WEBCHAT", "NEXT", None, None]
    assert {request.query["user_id"] for request in seen} == {GHOST}
    assert [request.headers["Authorization"][7:] for request in seen] == [
        *("as-token", "as-token", "ghost-token", "as-token"),
    ]
    assert {request.headers["Content-Type"] for request in seen} == {"application/json"}


@pytest.mark.asyncio
async def test_requests_of_mautrix_client_api() -> None:
    seen: list[tuple[str, str, Json]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        seen.append((request.method, request.raw_path.partition("?")[0], body))
        return web.json_response({})

    async with homeserver(answer) as transport:
        await invite(transport, {})
        await transport.set_profile(GHOST, "displayname", "Mei")
        await transport.set_profile(GHOST, "avatar_url", "mxc://a/1")
    client, user = "/_matrix/client/v3", "%40webchat_a1%3Aa"
    assert seen == [
        ("POST", f"{client}/rooms/%21r%2F%3F%3Aa/invite", {"user_id": USERS.bot}),
        ("PUT", f"{client}/profile/{user}/displayname", {"displayname": "Mei"}),
        ("PUT", f"{client}/profile/{user}/avatar_url", {"avatar_url": "mxc://a/1"}),
    ]


@pytest.mark.asyncio
async def test_get_request_has_a_query_and_no_body() -> None:
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return web.json_response({})

    async with homeserver(answer) as transport:
        await transport.request("GET", "_matrix/x", user=GHOST, query={"filter": '{"a": "&=+"}'})
    assert seen[0].query["filter"] == '{"a": "&=+"}'
    assert "Content-Type" not in seen[0].headers


@pytest.mark.asyncio
async def test_content_beyond_strict_json_is_sent_and_received() -> None:
    """Strangers' content may be passed on, such as a room's list of functional members."""
    strange: Json = {"half": "\ud83d", "endless": 10**30, "text": "价"}
    seen: list[object] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(json.loads(await request.text() or "{}"))
        text = json.dumps(strange) if request.method == "GET" else "{}"
        return web.Response(text=text, content_type="application/json")

    async with homeserver(answer) as transport:
        await request(transport, strange)
        assert await transport.request("GET", "_matrix/x") == strange
    assert seen == [strange, {}]


@pytest.mark.asyncio
async def test_a_reply_is_read_however_deep_one_part_of_it_is() -> None:
    """As in /sync, a to-device message of a stranger; homeservers may decode 10,000 levels."""
    deep = b'[{"}]\\"":' * 5_000 + b"1" + b"}]" * 5_000

    async def answer(_: web.Request) -> web.StreamResponse:
        body = b'{"events":[{"content":%b},{"content":{"body":"]\\\\"}}],"n":NaN}' % deep
        return web.Response(body=body, content_type="application/json")

    async with homeserver(answer) as transport:
        reply = await transport.request("GET", "_matrix/x")
    assert reply["events"][1] == {"content": {"body": "]\\"}}  # type: ignore[index]


@pytest.mark.asyncio
async def test_page_of_a_room_is_read_whatever_its_events_contain() -> None:
    """Events are stored: a lone surrogate, which no database accepts, becomes U+FFFD."""
    events = (
        b'[{"type":"a","content":{"body":"a \\ud83d","n":1e400,"m":%s}},{"type":"\\ud83d\\ude00"}]'
    )

    async def answer(request: web.Request) -> web.StreamResponse:
        found = events % (b"9" * 5_000)
        body = b'{"chunk":%s,"end":"t1","event":%s}' % (found, found[1 : found.index(b"},{") + 1])
        return web.Response(body=body, content_type="application/json")

    async with homeserver(answer) as transport:
        page, end = await transport.page(GHOST, RoomId("!r:a"), 2)
        first = await anext(transport.timeline(RoomId("!r:a"), GHOST, EventId("$e"), GHOST, 0))
    read = [
        {"type": "a", "content": {"body": "a \ufffd", "n": inf, "m": inf}},
        {"type": "\N{GRINNING FACE}"},
    ]
    assert (page, end, first) == (read, "t1", read[0])


@pytest.mark.asyncio
async def test_a_homeserver_may_live_under_a_path() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"path": request.path})

    async with homeserver(answer) as transport:
        below = Homeserver(transport._session, f"{transport._address}/base/", "t", USERS)
        assert await request(below, {}) == {"path": "/base/_matrix/x"}


@pytest.mark.asyncio
@ALL
@pytest.mark.parametrize(
    ("status", "body", "headers", "code"),
    [
        (403, '{"errcode":"M_FORBIDDEN","error":"no"}', {}, "M_FORBIDDEN"),
        (401, '{"errcode":"M_UNAUTHORIZED"}', {}, "M_UNAUTHORIZED"),
        (404, '{"errcode":"M_UNRECOGNIZED","error":"?"}', {}, "M_UNRECOGNIZED"),
        (413, "<html>nginx</html>", {}, "M_TOO_LARGE"),
        (401, '{"flows":[{"stages":["m.login.password"]}],"session":"x"}', {}, "M_UNAUTHORIZED"),
        (401, '{"flows":[],"session":"x"}', {}, "M_UNAUTHORIZED"),
    ],
)
async def test_error_code_of_the_homeserver_is_a_refusal(
    status: int, body: str, headers: dict[str, str], code: str, call: Call
) -> None:
    async with homeserver(always(status, body, headers)) as transport:
        with pytest.raises(Refused, match=code) as caught:
            await call(transport, {})
        assert caught.value.code == code


@pytest.mark.asyncio
@ALL
@pytest.mark.parametrize(
    ("status", "body", "headers", "retry_after"),
    [
        (429, '{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":1500}', {}, 1.5),
        (429, '{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":1500}', {"Retry-After": "7"}, 7),
        (429, "slow down", {"Retry-After": "soon"}, LIMITED),
        (429, '{"retry_after_ms":-5}', {}, LIMITED),
        (429, '{"retry_after_ms":"x"}', {}, LIMITED),
        (413, '{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":1500}', {}, 1.5),
        (400, '{"errcode":"M_LIMIT_EXCEEDED"}', {}, LIMITED),
        (408, "", {}, None),
        (429, '{"retry_after_ms":0}', {}, SHORTEST),
        (503, "", {"Retry-After": "0"}, SHORTEST),
        (500, '{"errcode":"M_UNKNOWN","error":"oops"}', {}, None),
        (502, "<html>bad gateway</html>", {}, None),
        (503, "[]", {"Retry-After": "3"}, 3),
        (404, "<html>no such site</html>", {}, None),
        (403, '"just a text"', {}, None),
        (403, '{"errcode":5}', {}, None),
        (400, "[" * 60_000, {}, None),
        (400, "x" * 200_000, {}, None),
        (200, "<html>log in</html>", {}, None),
        (200, "[]", {}, None),
        (200, "", {}, None),
        (200, '{"a":' + "[" * 60_000, {}, None),
        (304, "", {}, None),
        (401, '{"errcode":"M_UNKNOWN_TOKEN"}', {}, None),
        (401, '{"errcode":"M_MISSING_TOKEN"}', {}, None),
    ],
)
async def test_temporary_error_is_unavailable(
    status: int, body: str, headers: dict[str, str], retry_after: float | None, call: Call
) -> None:
    async with homeserver(always(status, body, headers)) as transport:
        with pytest.raises(Unavailable) as caught:
            await call(transport, {})
        assert caught.value.retry_after == retry_after


@pytest.mark.asyncio
@ALL
@pytest.mark.parametrize("body", ["<html>log in</html>", ""])
async def test_answer_without_json_is_named_in_the_error(body: str, call: Call) -> None:
    async with homeserver(always(200, body, {})) as transport:
        with pytest.raises(Unavailable, match="answered without JSON"):
            await call(transport, {})


@pytest.mark.asyncio
async def test_timeouts_and_broken_connections_are_unavailable() -> None:
    release = asyncio.Event()

    async def silent(_: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.json_response({})

    async def broken(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with homeserver(silent) as transport:
        with pytest.raises(Unavailable, match="no answer in time"):
            await transport.request("GET", "_matrix/x", timeout=ClientTimeout(total=0.05))
        release.set()
    async with homeserver(broken) as transport:
        with pytest.raises(Unavailable):
            await transport.request("POST", "_matrix/x", {})
    # The server is gone altogether.
    with pytest.raises(Unavailable):
        async with new_session(verify_tls=True) as session:
            await Homeserver(session, "http://127.0.0.1:9", "t", USERS).request("GET", "x")


@pytest.mark.asyncio
async def test_upload_states_its_exact_size() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        data = await request.read()
        assert request.headers["Content-Length"] == str(len(data))
        assert "Transfer-Encoding" not in request.headers
        assert request.query["filename"] == "价.bin"
        return web.json_response({"content_uri": "mxc://a/b", "got": len(data)})

    file = Kept(io.BytesIO(b"x" * 15), 15)
    async with homeserver(answer) as transport:
        assert await transport.upload(file, "image/png", "价.bin", GHOST) == "mxc://a/b"
    async with homeserver(always(200, "{}")) as transport:
        with pytest.raises(Unavailable):
            await transport.upload(file, "image/png", "x", GHOST)


@pytest.mark.asyncio
async def test_download_is_capped_and_falls_back_to_the_old_path() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/_matrix/client/v1/media/download/s:1/old"):
            return web.json_response({"errcode": "M_UNRECOGNIZED"}, status=404)
        assert request.query["user_id"] == USERS.bot
        assert re.fullmatch(r"/_matrix/(client/v1|media/v3)/.*download/s:1/\w+", request.path)
        response = web.StreamResponse(headers={"Content-Type": "image/png; x=y"})
        if request.path.endswith("known"):
            response.content_length = 100
        await response.prepare(request)
        await response.write(b"x" * 100)
        await response.write_eof()
        return response

    async def fetch(transport: Homeserver, mxc: str, limit: int) -> bytes:
        async with transport.download(mxc, limit) as found:
            assert found.mime == "image/png"
            return b"".join([chunk async for chunk in found.chunks])

    async with homeserver(answer) as transport:
        for name in ("known", "unknown", "old"):
            assert await fetch(transport, f"mxc://s:1/{name}", 100) == b"x" * 100
            with pytest.raises(TooBig):
                await fetch(transport, f"mxc://s:1/{name}", 99)


@pytest.mark.asyncio
async def test_compressed_download_does_not_state_its_compressed_size() -> None:
    """Content-Length is the compressed size: with it, the call centre would get half a file."""

    async def answer(_: web.Request) -> web.StreamResponse:
        response = web.Response(body=b"x" * 10_000, content_type="text/plain")
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with homeserver(answer) as transport:
        async with transport.download("mxc://s/i", 10_000) as found:
            assert found.size in {None, 10_000}
            assert b"".join([chunk async for chunk in found.chunks]) == b"x" * 10_000
        async with transport.download("mxc://s/i", 9_999) as found:
            with pytest.raises(TooBig):
                [chunk async for chunk in found.chunks]


@pytest.mark.asyncio
async def test_download_that_breaks_off_is_unavailable() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 100
        await response.prepare(request)
        await response.write(b"x" * 10)
        assert request.transport is not None
        request.transport.close()
        return response

    async with homeserver(answer) as transport, transport.download("mxc://s/i", 1_000) as found:
        with pytest.raises(Unavailable, match="interrupted"):
            [chunk async for chunk in found.chunks]


@pytest.mark.asyncio
async def test_refusals_of_a_state_already_reached_are_success() -> None:
    in_use = '{"errcode":"M_USER_IN_USE"}'
    async with homeserver(always(400, in_use)) as transport:
        await transport.register(GHOST)
    for code in ("M_FORBIDDEN", "M_NOT_FOUND"):
        async with homeserver(always(403, f'{{"errcode":"{code}"}}')) as transport:
            await transport.leave(GHOST, RoomId("!r"))
    exclusive = '{"errcode":"M_EXCLUSIVE"}'
    async with homeserver(always(400, exclusive)) as transport:
        with pytest.raises(Refused, match="M_EXCLUSIVE"):
            await transport.register(GHOST)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("reason", "body"), [("", "{}"), ("write to the bot", '{"reason":"write to the bot"}')]
)
async def test_reason_for_leaving_is_sent(reason: str, body: str) -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(await request.text())
        return web.json_response({})

    async with homeserver(answer) as transport:
        await transport.leave(GHOST, RoomId("!r"), reason)
    assert seen == [body]


@pytest.mark.asyncio
async def test_busy_call_centre_does_not_delay_the_others() -> None:
    """However many of its rooms send messages while the homeserver is slow."""
    began: asyncio.Queue[str] = asyncio.Queue()
    go_on = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        began.put_nowait(request.path.rpartition("/")[2])
        await go_on.wait()
        return web.json_response({"event_id": "$e"})

    async def say(one: Homeserver, txn_id: str) -> None:
        await one.send(GHOST, RoomId("!r"), "m.room.message", {}, txn_id)

    async with (
        homeserver(answer) as transport,
        new_session(verify_tls=True) as session,
        asyncio.TaskGroup() as tasks,
    ):
        noisy = transport.beside(session, 3)
        for number in range(20):
            tasks.create_task(say(noisy, f"noisy{number}"))
        assert [await began.get() for _ in range(3)] == ["noisy0", "noisy1", "noisy2"]
        tasks.create_task(say(transport, "other"))
        assert await began.get() == "other"
        go_on.set()
    assert began.qsize() == 17, "all of them in the end"


@pytest.mark.asyncio
async def test_connections_of_another_call_centre_share_devices_and_tokens() -> None:
    """Each call centre has its own connections; devices, tokens and foreign users are shared."""
    seen: list[tuple[str | None, str | None]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        told = request.query.get("org.matrix.msc3202.device_id")
        seen.append((told, request.headers.get("Authorization")))
        return web.json_response({"event_id": "$e"})

    async with homeserver(answer) as transport, new_session(verify_tls=True) as session:
        transport.use_device("BEFORE")
        other = transport.beside(session, 8)
        await request(other, {})
        transport.use_device("NEXT")
        await request(other, {})
        transport.use_token(GHOST, "ghost-token")
        await request(other, {})
        transport.foreign.add(GHOST)
        assert GHOST in other.foreign
    assert [device for device, _ in seen[:2]] == ["BEFORE", "NEXT"]
    assert seen[2][1] == "Bearer ghost-token"


@pytest.mark.asyncio
async def test_requests_that_wait_for_other_servers_do_not_delay_a_message() -> None:
    """A server that answers nothing can hold as many of them as it sends invitations."""
    waiting: asyncio.Queue[str] = asyncio.Queue()
    go_on = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if "/send/" not in request.path:
            waiting.put_nowait(request.path)
            await go_on.wait()
        return web.json_response({"event_id": "$e"})

    async def download(one: Homeserver) -> None:
        async with one.download("mxc://evil/a", 100):
            pass

    room, event = RoomId("!r:evil"), EventId("$e")
    calls: list[Callable[[Homeserver], Awaitable[object]]] = [
        lambda one: one.join(GHOST, room),
        lambda one: one.leave(GHOST, room),
        lambda one: one.members(GHOST, room),
        lambda one: one.page(GHOST, room, 1),
        lambda one: anext(one.timeline(room, GHOST, event, GHOST, 0)),
        download,
        lambda one: KeyServer(one).query(GHOST, ["@m:evil"]),
        lambda one: KeyServer(one).claim(GHOST, {"@m:evil": {"D": "k"}}),
        lambda one: KeyServer(one).sync(GHOST, "", wait=True),
    ]

    async with (
        homeserver(answer) as usual,
        new_session(verify_tls=True, limit=0) as patient,
        new_session(verify_tls=True, limit=1) as session,
        asyncio.TaskGroup() as tasks,
    ):
        transport = Homeserver(session, usual._address, "as-token", USERS, patient=patient)
        for call in (*calls, *calls):
            tasks.create_task(call(transport))  # type: ignore[arg-type]  # any awaitable
        for _ in range(2 * len(calls)):
            await waiting.get()
        async with asyncio.timeout(30):
            assert await transport.send(GHOST, room, "m.room.message", {}, "t") == event
        go_on.set()
