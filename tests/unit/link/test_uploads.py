"""Uploads to servers that are not as they should be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from bridge.conversation.inputs import FailureReason
from bridge.link.failures import TokenRefused
from bridge.link.files import Uploads, spooled
from bridge.link.http import Http
from bridge.link.ports import Token
from bridge.rooms.ports import Blob, CallFailure, TooBig, Unavailable
from bridge.webchat.codes import UploadMode
from bridge.webchat.urls import Endpoints
from tests.unit.link.rig import Facts, WildServer, blob, settings_for

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def uploading(
    handler: Handler, *, mode: UploadMode = UploadMode.AUTO
) -> AsyncIterator[tuple[Uploads, WildServer, Facts]]:
    async with WildServer(upload=handler).running() as server:
        settings = settings_for(server.base_url, upload_mode=mode)
        http, facts = Http(settings.timing, None), Facts()
        async with http.running():
            yield Uploads(settings, Endpoints(server.base_url), http, facts), server, facts


def says(status: int, body: object = None) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        if body is None:
            return web.Response(status=status, text="<html>no</html>")
        return web.json_response(body, status=status)

    return handler


TOKEN = Token("mx", "T", 0)
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
async def test_multipart_names_are_utf8() -> None:
    async with uploading(says(200, GOOD), mode=UploadMode.MULTIPART) as (uploads, server, _):
        await uploads.upload(Token("mx", "TOKEN", 0), blob(b"abc", '片 "1".png'))
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
async def test_auto_tries_the_other_kind_once(first: Handler) -> None:
    async def multipart_only(request: web.Request) -> web.StreamResponse:
        if request.content_type.startswith("multipart/"):
            return web.json_response(GOOD)
        return await first(request)

    async with uploading(multipart_only) as (uploads, server, facts):
        for _ in range(2):
            await uploads.upload(TOKEN, blob(b"abc"))
        assert len(server.uploads) == 3, "the second upload knows"
        assert list(facts.learnt.values()) == ["multipart"]


@pytest.mark.asyncio
@pytest.mark.parametrize("refusal", [says(415), says(200, {"result": -14})])
async def test_a_server_that_wants_the_other_kind_from_now_on(refusal: Handler) -> None:
    """What was learnt is forgotten, so that the next try asks anew."""
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
        await uploads.upload(TOKEN, blob(b"abc"))
        assert list(facts.learnt.values()) == ["multipart"]
        assert len(server.uploads) == 4


@pytest.mark.asyncio
@pytest.mark.parametrize("known", ["raw", "multipart"])
@pytest.mark.parametrize(
    ("refusal", "last"),
    [(says(500), FailureReason.UPLOAD_FAILED), (says(200, {"result": 0}), FailureReason.REFUSED)],
)
async def test_files_that_fail_are_not_all_sent_in_both_kinds(
    known: str, refusal: Handler, last: FailureReason
) -> None:
    """Once neither was taken, the kind that has worked is believed for a minute."""
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
        assert list(facts.learnt.values()) == [known]
        fails = True
        uploads._both_from = 0.0  # the minute is over
        kinds.clear()
        assert await failing() is FailureReason.UPLOAD_FAILED
        assert await failing() is last
        assert kinds == [known, known, other]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("raw", "form", "told"),
    [(-14, -16, -16), (-16, -14, -16), (-14, -21, -21), (0, -8, 0), (-16, -16, -16)],
)
async def test_what_is_told_where_neither_kind_was_taken(raw: int, form: int, told: int) -> None:
    """What says something of the file, or else what the guide's own kind was answered."""

    async def refusing(request: web.Request) -> web.StreamResponse:
        multipart = request.content_type.startswith("multipart/")
        return web.json_response({"result": form if multipart else raw})

    async with uploading(refusing) as (uploads, server, _):
        with pytest.raises(CallFailure) as caught:
            await uploads.upload(TOKEN, blob(b"abc"))
        assert caught.value.code == told
        assert len(server.uploads) == 2


@pytest.mark.asyncio
async def test_a_file_that_is_refused_says_nothing_of_the_kind_of_body() -> None:
    answers = [GOOD, {"result": -16}]

    async def in_turn(_: web.Request) -> web.StreamResponse:
        return web.json_response(answers.pop(0))

    async with uploading(in_turn) as (uploads, _, facts):
        await uploads.upload(TOKEN, blob(b"abc"))
        with pytest.raises(CallFailure) as caught:
            await uploads.upload(TOKEN, blob(b"abc"))
        assert caught.value.code == -16
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
async def test_what_each_answer_means(
    handler: Handler, reason: FailureReason, code: int | None, tries: int
) -> None:
    async with uploading(handler) as (uploads, server, facts):
        with pytest.raises(CallFailure) as caught:
            await uploads.upload(TOKEN, blob(b"abc"))
        assert (caught.value.reason, caught.value.code) == (reason, code)
        assert caught.value.certain
        assert len(server.uploads) == tries
        assert facts.learnt == {}


@pytest.mark.asyncio
async def test_a_dead_token_is_told_apart() -> None:
    async with uploading(says(200, {"result": -15})) as (uploads, _, _):
        with pytest.raises(TokenRefused):
            await uploads.upload(Token("mx", "SECRET", 0), blob(b"abc"))


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", list(UploadMode))
@pytest.mark.parametrize("size", [None, 100_000])
@pytest.mark.parametrize("error", [TooBig("beyond"), Unavailable("broke off")])
async def test_what_the_source_raises_comes_out_as_it_is(
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
@pytest.mark.parametrize(("size", "why"), [(2, "longer"), (4, "broke off")])
async def test_a_source_that_lies_about_its_size(mode: UploadMode, size: int, why: str) -> None:
    async with uploading(says(200, GOOD), mode=mode) as (uploads, _, _):
        with pytest.raises(Unavailable, match=why):
            await uploads.upload(TOKEN, blob(b"abc", size=size))


@pytest.mark.asyncio
async def test_an_upload_is_not_read_ahead_of_the_server() -> None:
    """The whole file is never in memory: a server that does not read holds the source up."""
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
            uploads = Uploads(settings, Endpoints(base_url), http, Facts())
            task = tasks.create_task(uploads.upload(TOKEN, Blob(chunks(), None, "a/b")))
            await asyncio.sleep(0.3)
            assert 0 < read < 20_000_000, "65 MB are waiting, socket buffers hold a part"
            task.cancel()
        stop.set()


@pytest.mark.asyncio
async def test_a_spool_can_be_read_again() -> None:
    data = bytes(range(256)) * 10_000
    async with spooled(blob(data, "n", size=None)) as anew:
        for _ in range(2):
            copy = anew()
            assert (copy.size, copy.name) == (len(data), "n")
            assert b"".join([chunk async for chunk in copy.chunks]) == data
