"""Agents' files: from where they may come, how much of them, and what each answer means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from bridge.link.files import Fetcher
from bridge.link.settings import LinkSettings
from bridge.rooms.ports import Refused, TooBig, Unavailable
from bridge.webchat.http import Endpoints
from tests.unit.link.rig import WildServer, settings_for

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
    fetcher = Fetcher(settings, Endpoints(settings.base_url))
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
async def test_the_name_that_the_server_gives() -> None:
    async def named(_: web.Request) -> web.StreamResponse:
        disposition = "attachment; filename*=UTF-8''%E7%8C%AB.png"
        return web.Response(body=b"x", headers={"Content-Disposition": disposition})

    async with fetching(named) as (fetcher, _), fetcher.fetch("up/1", LIMIT) as file:
        assert file.name == "猫.png"


@pytest.mark.asyncio
async def test_nothing_of_ours_goes_along() -> None:
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
    ],
)
async def test_hosts_that_are_not_listed(url: str) -> None:
    async with fetching(hello) as (fetcher, _):
        with pytest.raises(Refused):
            await read(fetcher, url)


@pytest.mark.asyncio
async def test_a_listed_name_must_not_lead_inside() -> None:
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
async def test_a_redirect_to_no_address_is_refused(location: str) -> None:
    async def redirect(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": location})

    async with fetching(redirect) as (fetcher, _):
        with pytest.raises(Refused):
            await read(fetcher, "up/a")


@pytest.mark.asyncio
async def test_redirects_end() -> None:
    hops: list[str] = []

    async def round_and_round(request: web.Request) -> web.StreamResponse:
        hops.append(request.path)
        return web.Response(status=302, headers={"Location": "again"})

    async with fetching(round_and_round) as (fetcher, _):
        with pytest.raises(Refused, match="5 redirects"):
            await read(fetcher, "up/a")
    assert len(hops) == 6


@pytest.mark.asyncio
async def test_a_length_beyond_the_limit_is_told_before_reading() -> None:
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
async def test_statuses_that_may_pass(status: int) -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    async with fetching(page) as (fetcher, _):
        with pytest.raises(Unavailable, match=str(status)):
            await read(fetcher, "up/a")


@pytest.mark.asyncio
async def test_a_file_that_breaks_off() -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half")
        await asyncio.sleep(0)
        assert request.transport is not None
        request.transport.close()
        return response

    async with fetching(broken) as (fetcher, _):
        with pytest.raises(Unavailable, match="broke off") as caught:
            await read(fetcher, "up/secret-name?token=SECRET")
    assert caught.value.__cause__ is not None
    assert "SECRET" not in f"{caught.value} {caught.value.__cause__!r}"


@pytest.mark.asyncio
async def test_a_server_that_is_gone() -> None:
    async with WildServer().running() as server:
        base_url = server.base_url
    async with started(settings_for(base_url)) as fetcher:
        with pytest.raises(Unavailable) as caught:
            await read(fetcher, "up/secret-name?token=SECRET")
    assert "SECRET" not in f"{caught.value} {caught.value!r}"
    with pytest.raises(Unavailable, match="not running"):
        await read(fetcher, "up/a")


def test_a_bad_list_is_told_when_built() -> None:
    with pytest.raises(ValueError, match="no host"):
        Fetcher(
            settings_for("http://crm/webchat", allowed_media_hosts=("http://x",)),
            Endpoints("http://crm/webchat"),
        )
