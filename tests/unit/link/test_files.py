"""Agents' files and customers' uploads: from where, how much, and what each answer means."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from yarl import URL

from bridge.ids import RoomId
from bridge.link.files import AllowedHosts, Fetcher, Uploads
from bridge.link.http_client import Http, TokenRefused
from bridge.link.settings import Learnt, LinkSettings
from bridge.rooms.ports import Blob, CallFailure, Refused, TooBig, Unavailable
from bridge.rooms.store import Token
from bridge.webchat.codes import FailureReason, UploadMode
from bridge.webchat.http import Endpoints
from tests.unit.link.rig import FAST, Facts, LoopClock, WildServer, blob, settings_for

Page = Callable[[web.Request], Awaitable[web.StreamResponse]]
LIMIT = 100_000


@asynccontextmanager
async def fetching(
    page: Page, *, allowed: tuple[str, ...] = ()
) -> AsyncIterator[tuple[Fetcher, WildServer]]:
    async with WildServer(pages=page).running() as server:
        settings = settings_for(server.base_url, allowed_media_hosts=allowed)
        async with started(settings) as fetcher:
            yield fetcher, server


@asynccontextmanager
async def started(settings: LinkSettings) -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(settings, Endpoints(settings.server.base_url))
    async with fetcher.running():
        yield fetcher


async def read(fetcher: Fetcher, url: str, limit: int = LIMIT) -> bytes:
    async with fetcher.fetch(url, limit) as file:
        return b"".join([chunk async for chunk in file.chunks])


async def hello(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"hello", content_type="image/png")


@pytest.mark.asyncio
async def test_a_file_with_its_size_type_and_name() -> None:
    async with (
        fetching(hello) as (fetcher, _),
        fetcher.fetch("/webchat/up/%E7%8C%AB%201.png?x=/y", LIMIT) as file,
    ):
        assert (file.size, file.mime, file.name) == (5, "image/png", "猫 1.png")
        assert [chunk async for chunk in file.chunks] == [b"hello"]


@pytest.mark.asyncio
@pytest.mark.filterwarnings("error")  # a warning goes to standard error, and quotes the name
@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        ("filename=猫.png; filename*=UTF-8''%E7%8C%AB1.png", "猫1.png"),
        ("filename*=UTF-8''%E7%8C%AB.png", "猫.png"),
        ('filename="%E7%8C%AB.png"', "猫.png"),
        ('FileName="猫 1.png"', "猫 1.png"),
        ("filename=my cat 1.png", "my cat 1.png"),
        ("filename*=UTF-9'%zz", "%zz"),
        ("filename*=GBK''%B1%A8%B8%E6.png", "报告.png"),
        ("filename*=UTF-8''; filename=a;b", "a"),
        ("filename=", "1.bin"),
        (";;;=", "1.bin"),
        ("name=" + "x" * 3_000, "1.bin"),
    ],
)
async def test_file_name_of_content_disposition_is_used(parameter: str, name: str) -> None:
    async def named(_: web.Request) -> web.StreamResponse:
        headers = {"Content-Disposition": f"attachment; {parameter}"}
        return web.Response(body=b"x", headers=headers)

    async with fetching(named) as (fetcher, _), fetcher.fetch("up/1.bin", LIMIT) as file:
        assert file.name == name


@pytest.mark.asyncio
async def test_file_name_in_gbk() -> None:
    async def old(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        named = 'Content-Disposition: attachment; filename="报告.png"'.encode("gbk")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + named + b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(old, "127.0.0.1", 0) as server:
        settings = settings_for(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/webchat")
        async with started(settings) as fetcher, fetcher.fetch("up/1.bin", LIMIT) as file:
            assert file.name == "报告.png"


@pytest.mark.asyncio
async def test_download_sends_no_cookies_or_credentials() -> None:
    headers: dict[str, str] = {}

    async def look(request: web.Request) -> web.StreamResponse:
        headers.update(request.headers)
        response = web.Response(body=b"x")
        response.set_cookie("c", "1")
        return response

    async with fetching(look) as (fetcher, _):
        for _ in range(2):
            await read(fetcher, "up/1")
    assert not {"Cookie", "Authorization", "Referer"} & headers.keys()
    assert headers["Accept-Encoding"] == "identity"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/a",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]:1/a",
        "http://2130706433/a",
        "file:///etc/passwd",
        "data:text/plain,x",
        "http://[bad/a",
        "http://host:port/a",
        "//evil.example/a",
        "up/" + "a" * 9000,
    ],
)
async def test_unlisted_hosts_are_refused(url: str) -> None:
    async with fetching(hello) as (fetcher, _):
        with pytest.raises(Refused):
            await read(fetcher, url)


@pytest.mark.asyncio
@pytest.mark.parametrize("url", ["http://host:port/a", "ftp://host:port/a", "http://a@host:port/a"])
async def test_invalid_port_is_reported_as_an_invalid_url(url: str) -> None:
    async with fetching(hello) as (fetcher, _):
        with pytest.raises(Refused, match="URL is invalid"):
            await read(fetcher, url)


@pytest.mark.asyncio
async def test_listed_name_must_not_resolve_to_a_private_address() -> None:
    async with WildServer(pages=hello).running() as other:
        port = urlsplit(other.base_url).port
        url = f"http://localhost:{port}/a"
        async with fetching(hello, allowed=(f"localhost:{port}",)) as (fetcher, _):
            with pytest.raises(Refused, match="not public"):
                await read(fetcher, url)
        networks = (f"localhost:{port}", "127.0.0.0/8", "::1/128")
        async with fetching(hello, allowed=networks) as (fetcher, _):
            assert await read(fetcher, url) == b"hello"


@pytest.mark.asyncio
async def test_every_hop_of_a_redirect_is_checked() -> None:
    async with WildServer(pages=hello).running() as other:

        async def redirect(request: web.Request) -> web.StreamResponse:
            if request.path.endswith("away"):
                return web.Response(status=302, headers={"Location": f"{other.base_url}/up/b"})
            if request.path.endswith("here"):
                return web.Response(status=307, headers={"Location": "home"})
            return web.Response(body=b"own")

        async with fetching(redirect) as (fetcher, _):
            assert await read(fetcher, "up/here") == b"own"
            with pytest.raises(Refused, match="not in allowed_media_hosts"):
                await read(fetcher, "up/away")
        async with fetching(redirect, allowed=("127.0.0.1/32",)) as (fetcher, _):
            assert await read(fetcher, "up/away") == b"hello"


@pytest.mark.asyncio
@pytest.mark.parametrize("location", ["http://[oops", "http://host:port/", "//[", "file:///a", ""])
async def test_a_redirect_to_an_invalid_url_is_refused(location: str) -> None:
    async def redirect(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": location})

    async with fetching(redirect) as (fetcher, _):
        with pytest.raises(Refused):
            await read(fetcher, "up/a")


@pytest.mark.asyncio
async def test_number_of_redirects_is_limited() -> None:
    hops: list[str] = []

    async def round_and_round(request: web.Request) -> web.StreamResponse:
        hops.append(request.path)
        return web.Response(status=302, headers={"Location": "again"})

    async with fetching(round_and_round) as (fetcher, _):
        with pytest.raises(Refused, match="5 redirects"):
            await read(fetcher, "up/a")
    assert len(hops) == 6


@pytest.mark.asyncio
async def test_length_beyond_the_limit_is_refused_before_reading() -> None:
    async with fetching(hello) as (fetcher, _):
        with pytest.raises(TooBig, match="5 bytes"):
            await read(fetcher, "up/a", limit=4)
        assert await read(fetcher, "up/a", limit=5) == b"hello"


@pytest.mark.asyncio
async def test_a_file_without_a_length_ends_at_the_limit() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(10_000))

    async with fetching(endless) as (fetcher, _), fetcher.fetch("up/a", LIMIT) as file:
        assert file.size is None
        got: list[int] = []

        async def drain() -> None:
            async for chunk in file.chunks:
                got.append(len(chunk))  # noqa: PERF401 - what came before the error counts

        with pytest.raises(TooBig):
            await drain()
        assert sum(got) <= LIMIT


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 204, 304])
async def test_statuses_that_refuse(status: int) -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    async with fetching(page) as (fetcher, _):
        with pytest.raises(Refused) as caught:
            await read(fetcher, "up/a")
    assert caught.value.code == str(status)


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
async def test_statuses_that_are_temporary(status: int) -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    async with fetching(page) as (fetcher, _):
        with pytest.raises(Unavailable, match=str(status)):
            await read(fetcher, "up/a")


@pytest.mark.asyncio
async def test_interrupted_download_is_unavailable() -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half")
        await asyncio.sleep(0)
        assert request.transport is not None
        request.transport.close()
        return response

    async with fetching(broken) as (fetcher, _):
        with pytest.raises(Unavailable, match="interrupted") as caught:
            await read(fetcher, "up/secret-name?token=SECRET")
    assert caught.value.__cause__ is not None
    assert "SECRET" not in f"{caught.value} {caught.value.__cause__!r}"


@pytest.mark.asyncio
async def test_server_that_hangs_up_is_unavailable() -> None:
    async def gone(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async with fetching(gone) as (fetcher, _):
        with pytest.raises(Unavailable):
            await read(fetcher, "up/a")


@pytest.mark.asyncio
async def test_unreachable_server_is_unavailable() -> None:
    async with WildServer().running() as server:
        base_url = server.base_url
    async with started(settings_for(base_url)) as fetcher:
        with pytest.raises(Unavailable) as caught:
            await read(fetcher, "up/secret-name?token=SECRET")
    assert "SECRET" not in f"{caught.value} {caught.value!r}"
    with pytest.raises(Unavailable, match="not running"):
        await read(fetcher, "up/a")


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def uploading(
    handler: Handler, *, mode: UploadMode = UploadMode.AUTO, reply: float = 20.0
) -> AsyncIterator[tuple[Uploads, WildServer, Facts]]:
    async with WildServer(upload=handler).running() as server:
        # The machine may be busy.
        timing = replace(FAST, handshake=20.0, reply=reply, mute=20.0, upload=30.0)
        settings = settings_for(server.base_url, upload_mode=mode, timing=timing)
        http, facts = Http(settings.timing, None), Facts()
        async with http.running():
            learnt = Learnt(settings, facts, LoopClock())
            yield Uploads(settings, Endpoints(server.base_url), http, learnt), server, facts


def says(status: int, body: object = None) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        if body is None:
            return web.Response(status=status, text="<html>no</html>")
        return web.json_response(body, status=status)

    return handler


TOKEN = Token(RoomId("!a:x"), "mx", "T", 0)
GOOD = {"result": 1, "message": "", "url": "up/a", "fileName": "a"}


@pytest.mark.asyncio
async def test_raw_headers_are_safe_whatever_the_sender_chose() -> None:
    seen: dict[str, str] = {}

    async def look(request: web.Request) -> web.StreamResponse:
        seen.update(request.headers)
        return web.json_response(GOOD)

    async with uploading(look, mode=UploadMode.RAW) as (uploads, server, _):
        hostile = blob(b"abc", '../é"\r\nX: 1')
        hostile = Blob(hostile.chunks, 3, "text/html\r\nX-Evil: 1", hostile.name)
        assert await uploads.upload(TOKEN, hostile) == f"{server.base_url}/up/a"
        assert server.uploads == [b"abc"]
    assert seen["Content-Type"] == "application/octet-stream"
    assert seen["Content-Length"] == "3"
    assert seen["Content-Disposition"] == "attachment; filename*=UTF-8''.._%C3%A9___X%3A%201"
    assert "X-Evil" not in seen


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("claimed", "sent"),
    [
        ("image/png", "image/png"),
        ("application/x-www-form-urlencoded", "application/octet-stream"),
        ("Application/X-WWW-Form-URLencoded", "application/octet-stream"),
        ("multipart/form-data", "application/octet-stream"),
        ("Multipart/Mixed", "application/octet-stream"),
    ],
)
async def test_a_raw_body_never_claims_to_be_a_form(claimed: str, sent: str) -> None:
    """A servlet container would read the body before the server's own code sees it."""
    seen: list[str] = []

    async def look(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["Content-Type"])
        return web.json_response(GOOD)

    async with uploading(look, mode=UploadMode.RAW) as (uploads, server, _):
        plain = blob(b"a=1&b=2")
        await uploads.upload(TOKEN, Blob(plain.chunks, plain.size, claimed, "a.bin"))
        assert server.uploads == [b"a=1&b=2"]
    assert seen == [sent]


@pytest.mark.asyncio
async def test_a_server_may_think_about_a_file_longer_than_about_a_command() -> None:
    """As one that looks for viruses: else it would get the file again and again."""

    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return web.json_response(GOOD)

    async with uploading(slow, reply=0.05) as (uploads, server, _):
        assert await uploads.upload(TOKEN, blob(b"abc")) == f"{server.base_url}/up/a"
        assert server.uploads == [b"abc"]


@pytest.mark.asyncio
async def test_multipart_names_are_utf8() -> None:
    async with uploading(says(200, GOOD), mode=UploadMode.MULTIPART) as (uploads, server, _):
        await uploads.upload(Token(TOKEN.room_id, "mx", "TOKEN", 0), blob(b"abc", '片 "1".png'))
        body = server.uploads[0]
    assert 'name="fileToUpload"; filename="片 _1_.png"'.encode() in body
    assert b'name="token"' in body
    assert b"TOKEN" in body


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "first",
    [says(status) for status in (200, 302, 400, 404, 415, 429, 500, 503)]
    + [says(200, {"result": result}) for result in (0, -8, -12, -13, -14, -16, -100, -999)]
    + [says(200, {"result": 1}), says(500, {"result": -8}), says(200, "text")],
)
async def test_auto_mode_tries_the_other_kind_of_body_once(first: Handler) -> None:
    async def multipart_only(request: web.Request) -> web.StreamResponse:
        if request.content_type.startswith("multipart/"):
            return web.json_response(GOOD)
        return await first(request)

    async with uploading(multipart_only) as (uploads, server, facts):
        for _ in range(2):
            await uploads.upload(TOKEN, blob(b"abc"))
        assert len(server.uploads) == 3, "the second upload knows"
        await uploads._learnt.save()
        assert list(facts.learnt.values()) == ["multipart"]


@pytest.mark.asyncio
@pytest.mark.parametrize("away", ["https://files.example.org", ""])
async def test_redirected_upload_fails_and_names_the_target(away: str) -> None:
    """Its body may have been read, so it is not sent again, also not to the same server."""

    async def moved(_: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": f"{away}/tpiu?token=T"})

    async with uploading(moved, mode=UploadMode.RAW) as (uploads, server, _):
        with pytest.raises(CallFailure) as caught:
            await uploads.upload(TOKEN, blob(b"abc"))
        origin = away or server.base_url.removesuffix("/webchat")
        assert str(caught.value) == f"upload: HTTP 307 redirects to {origin}"
        assert len(server.uploads) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("refusal", [says(415), says(200, {"result": -14})])
async def test_server_may_start_to_want_the_other_kind_of_body(refusal: Handler) -> None:
    """The learnt kind is forgotten, so that the next upload tries both."""
    wanted = ["raw"]

    async def changing(request: web.Request) -> web.StreamResponse:
        kind = "multipart" if request.content_type.startswith("multipart/") else "raw"
        return web.json_response(GOOD) if kind in wanted else await refusal(request)

    async with uploading(changing) as (uploads, server, facts):
        await uploads.upload(TOKEN, blob(b"abc"))
        wanted[:] = ["multipart"]
        with pytest.raises(CallFailure) as caught:
            await uploads.upload(TOKEN, blob(b"abc"))
        assert (caught.value.reason, caught.value.certain) == (FailureReason.UPLOAD_FAILED, True)
        assert caught.value.code is None, "the status is no reason to give this file up"
        await uploads.upload(TOKEN, blob(b"abc"))
        await uploads._learnt.save()
        assert list(facts.learnt.values()) == ["multipart"]
        assert len(server.uploads) == 4


@pytest.mark.asyncio
@pytest.mark.parametrize("known", ["raw", "multipart"])
@pytest.mark.parametrize(
    ("refusal", "last"),
    [(says(500), FailureReason.UPLOAD_FAILED), (says(200, {"result": 0}), FailureReason.REFUSED)],
)
async def test_failing_files_are_not_all_sent_in_both_kinds_of_body(
    known: str, refusal: Handler, last: FailureReason
) -> None:
    """After a refusal of both, only the kind that worked before is tried for a minute."""
    kinds: list[str] = []
    fails = False

    async def picky(request: web.Request) -> web.StreamResponse:
        kind = "multipart" if request.content_type.startswith("multipart/") else "raw"
        kinds.append(kind)
        if fails:
            return await refusal(request)
        return web.json_response(GOOD if kind == known else {"result": -14})

    async with uploading(picky) as (uploads, _, facts):

        async def failing() -> FailureReason:
            with pytest.raises(CallFailure) as caught:
                await uploads.upload(TOKEN, blob(b"abc"))
            return caught.value.reason

        other = "raw" if known == "multipart" else "multipart"
        await uploads.upload(TOKEN, blob(b"abc"))
        fails = True
        kinds.clear()
        assert await failing() is FailureReason.UPLOAD_FAILED, "worth another try"
        assert [await failing() for _ in range(3)] == [last] * 3
        assert kinds == [known, known, other, known, known]
        fails = False
        await uploads.upload(TOKEN, blob(b"abc"))
        assert kinds[5:] == [known]
        await uploads._learnt.save()
        assert list(facts.learnt.values()) == [known]
        fails = True
        uploads._both_from = 0.0  # the minute is over
        kinds.clear()
        assert await failing() is FailureReason.UPLOAD_FAILED
        assert await failing() is last
        assert kinds == [known, known, other]


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_proxy_without_its_server_causes_no_doubt_of_the_kind_of_body(status: int) -> None:
    """Every try is one request, and tells the status."""
    answers = [says(200, GOOD), *(says(status) for _ in range(3))]

    async def in_turn(request: web.Request) -> web.StreamResponse:
        return await answers.pop(0)(request)

    async with uploading(in_turn) as (uploads, server, _):
        await uploads.upload(TOKEN, blob(b"abc"))
        for _ in range(3):
            with pytest.raises(CallFailure) as caught:
                await uploads.upload(TOKEN, blob(b"abc"))
            assert (caught.value.reason, caught.value.code) == (
                FailureReason.UPLOAD_FAILED,
                status,
            )
        assert len(server.uploads) == 4


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("raw", "form", "told"),
    [(-14, -16, -16), (-16, -14, -16), (-14, -21, -21), (0, -8, 0), (-16, -16, -16)],
)
async def test_code_if_both_kinds_of_body_are_refused(raw: int, form: int, told: int) -> None:
    """The code that is about the file, otherwise the answer to the guide's own kind."""

    async def refusing(request: web.Request) -> web.StreamResponse:
        multipart = request.content_type.startswith("multipart/")
        return web.json_response({"result": form if multipart else raw})

    async with uploading(refusing) as (uploads, server, _):
        with pytest.raises(CallFailure) as caught:
            await uploads.upload(TOKEN, blob(b"abc"))
        assert caught.value.code == told
        assert len(server.uploads) == 2


@pytest.mark.asyncio
async def test_refused_file_does_not_change_the_learnt_kind_of_body() -> None:
    answers = [GOOD, {"result": -16}]

    async def in_turn(_: web.Request) -> web.StreamResponse:
        return web.json_response(answers.pop(0))

    async with uploading(in_turn) as (uploads, _, facts):
        await uploads.upload(TOKEN, blob(b"abc"))
        with pytest.raises(CallFailure) as caught:
            await uploads.upload(TOKEN, blob(b"abc"))
        assert caught.value.code == -16
        await uploads._learnt.save()
        assert list(facts.learnt.values()) == ["raw"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("handler", "reason", "code", "tries"),
    [
        (says(413), FailureReason.TOO_BIG, None, 1),
        (says(403), FailureReason.UPLOAD_FAILED, 403, 2),
        (says(404), FailureReason.UPLOAD_FAILED, 404, 2),
        (says(503), FailureReason.UPLOAD_FAILED, 503, 2),
        (says(200), FailureReason.UPLOAD_FAILED, 200, 2),
        (says(200, {"result": 1}), FailureReason.UPLOAD_FAILED, 200, 2),
        (says(200, {"result": -16}), FailureReason.REFUSED, -16, 2),
        (says(500, {"result": -21}), FailureReason.REFUSED, -21, 1),
        (says(200, {"result": -100}), FailureReason.REFUSED, -100, 2),
    ],
)
async def test_meaning_of_each_answer_to_an_upload(
    handler: Handler, reason: FailureReason, code: int | None, tries: int
) -> None:
    async with uploading(handler) as (uploads, server, facts):
        with pytest.raises(CallFailure) as caught:
            await uploads.upload(TOKEN, blob(b"abc"))
        assert (caught.value.reason, caught.value.code) == (reason, code)
        assert caught.value.certain
        assert len(server.uploads) == tries
        await uploads._learnt.save()
        assert facts.learnt == {}


@pytest.mark.asyncio
async def test_refused_token_of_an_upload_raises_token_refused() -> None:
    async with uploading(says(200, {"result": -15})) as (uploads, _, _):
        with pytest.raises(TokenRefused):
            await uploads.upload(Token(TOKEN.room_id, "mx", "SECRET", 0), blob(b"abc"))


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", list(UploadMode))
@pytest.mark.parametrize("size", [None, 100_000])
@pytest.mark.parametrize("error", [TooBig("beyond"), Unavailable("broke off")])
async def test_errors_of_the_source_are_passed_on(
    mode: UploadMode, size: int | None, error: Exception
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield bytes(1000)
        raise error

    async with uploading(says(200, GOOD), mode=mode) as (uploads, _, _):
        with pytest.raises(type(error), match=str(error)):
            await uploads.upload(TOKEN, Blob(chunks(), size, "a/b"))


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", list(UploadMode))
@pytest.mark.parametrize(("size", "why"), [(2, "more bytes"), (4, "fewer bytes")])
async def test_source_with_a_wrong_size_fails(mode: UploadMode, size: int, why: str) -> None:
    async with uploading(says(200, GOOD), mode=mode) as (uploads, _, _):
        with pytest.raises(Unavailable, match=why):
            await uploads.upload(TOKEN, blob(b"abc", size=size))


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", list(UploadMode))
async def test_an_upload_that_is_cut_off_is_not_retried_as_in_an_outage(mode: UploadMode) -> None:
    """A firewall that dislikes a file cuts it off each time; the room's texts wait behind it."""

    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with uploading(cut, mode=mode) as (uploads, server, _):
        with pytest.raises(CallFailure) as caught:
            await uploads.upload(TOKEN, blob(bytes(1_000_000)))
        assert (caught.value.reason, caught.value.code) == (FailureReason.UPLOAD_FAILED, None)
        assert len(server.uploads) == 1
    with pytest.raises(CallFailure) as caught:
        await uploads.upload(TOKEN, blob(b"abc"))
    assert caught.value.reason is FailureReason.UNREACHABLE, "not even begun"


@pytest.mark.asyncio
async def test_an_upload_is_not_read_ahead_of_the_server() -> None:
    """The file is never completely in memory: a server that does not read delays the source."""
    read = 0
    stop = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 64 * 1024
            yield bytes(64 * 1024)

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        await stop.wait()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0, limit=64 * 1024)
    async with server:
        base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/webchat"
        settings = settings_for(base_url, upload_mode=UploadMode.RAW)
        http = Http(settings.timing, None)
        async with http.running(), asyncio.TaskGroup() as tasks:
            uploads = Uploads(
                settings, Endpoints(base_url), http, Learnt(settings, Facts(), LoopClock())
            )
            task = tasks.create_task(uploads.upload(TOKEN, Blob(chunks(), None, "a/b")))
            await asyncio.sleep(0.3)
            assert 0 < read < 20_000_000, "65 MB are waiting, socket buffers hold a part"
            task.cancel()
        stop.set()


@pytest.mark.asyncio
async def test_file_sent_in_both_kinds_of_body_is_complete_and_named() -> None:
    data = bytes(range(256)) * 10_000

    async def forms_only(request: web.Request) -> web.StreamResponse:
        form = request.content_type == "multipart/form-data"
        return web.json_response(GOOD) if form else web.Response(status=400)

    async with uploading(forms_only) as (uploads, server, _):
        assert await uploads.upload(TOKEN, blob(data, "n.bin", size=None))
    raw, form = server.uploads
    assert raw == data
    assert data in form
    assert b'filename="n.bin"' in form


OWN = URL("https://crm.example.org/webchat")


def allowed(url: str, *entries: str) -> bool:
    return AllowedHosts(OWN, entries).allows(URL(url))


@pytest.mark.parametrize(
    "url",
    [
        "https://crm.example.org/up/a.jpg",
        "https://CRM.example.org:443/a",
        "https://cdn.example.net/a",
        "http://cdn.example.net/a",
        "https://files.example.net:8443/a",
        "http://10.1.2.3:9000/a",
    ],
)
def test_allowed_urls(url: str) -> None:
    assert allowed(url, "CDN.example.net", "files.example.net:8443", "10.1.0.0/16")


@pytest.mark.parametrize(
    "url",
    [
        "http://crm.example.org/a",  # another origin: not https
        "https://crm.example.org:8443/a",
        "https://evil.example/a",
        "https://crm.example.org.evil.example/a",
        "https://crm.example.org@evil.example/a",
        "https://user@crm.example.org/a",
        "https://cdn.example.net:8080/a",
        "https://files.example.net/a",
        "http://10.2.2.3/a",
        "http://10.1.0.1%.evil.example/a",
        "http://127.0.0.1/a",
        "http://[::1]/a",
        "file:///etc/passwd",
        "ftp://crm.example.org/a",
        "//crm.example.org/a",
        "",
    ],
)
def test_refused_urls(url: str) -> None:
    assert not allowed(url, "cdn.example.net", "files.example.net:8443", "10.1.0.0/16")


def test_a_listed_private_address_needs_its_network_too() -> None:
    assert not allowed("http://192.168.1.5/a", "192.168.1.5:80")
    assert allowed("http://192.168.1.5/a", "192.168.1.5/32")


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - refused, not bound
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::5db8:d822", True),
        ("10.5.0.1", True),  # listed below
    ],
)
def test_connectable(address: str, good: bool) -> None:
    hosts = AllowedHosts(OWN, ["10.5.0.0/16"])
    assert hosts.connectable(ipaddress.ip_address(address)) is good
