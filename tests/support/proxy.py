"""A proxy between the bridge and its homeserver that injects faults on demand.

A fault (`Trouble`) hits the next `count` requests that match it; all others are forwarded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
from aiohttp import web
from yarl import URL

_HOP_BY_HOP = {"host", "connection", "transfer-encoding", "content-length", "keep-alive"}
_LARGEST_BODY = 64 * 1024 * 1024


@dataclass
class Trouble:
    """One kind of fault.

    - `limit`: status 429 with a retry-after of `retry_after` seconds;
    - `fail`: status 500 with an HTML page;
    - `hang`: no answer until the caller gives up;
    - `lose`: the request is forwarded, but its response is lost: the connection breaks.
    """

    kind: Literal["limit", "fail", "hang", "lose"]
    matches: Callable[[web.Request], bool]
    count: int = 1
    retry_after: float = 1.0
    met: list[float] = field(default_factory=list)
    """Times of the requests it hit, in seconds of the loop's clock."""


class Proxy:
    """The proxy; `running` starts and stops one.

    Attributes:
        address: for the bridge's `homeserver.address`.
        troubles: planned faults.
    """

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self.address = ""
        self.troubles: list[Trouble] = []
        self._upstream = upstream
        self._session = session

    def trouble(
        self,
        kind: Literal["limit", "fail", "hang", "lose"],
        matches: Callable[[web.Request], bool],
        *,
        count: int = 1,
        retry_after: float = 1.0,
    ) -> Trouble:
        """Plan a fault; the returned object records the requests it hits."""
        planned = Trouble(kind, matches, count, retry_after)
        self.troubles.append(planned)
        return planned

    async def handle(self, request: web.Request) -> web.StreamResponse:
        trouble = self._take(request)
        if trouble is None:
            return await self._pass_on(request)
        match trouble.kind:
            case "limit":
                milliseconds = int(trouble.retry_after * 1000)
                body = {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": milliseconds}
                return web.json_response(body, status=429)
            case "fail":
                return web.Response(
                    status=500, text="<html>Internal error</html>", content_type="text/html"
                )
            case "hang":
                await asyncio.Event().wait()  # cancelled when the caller hangs up
            case "lose":
                await self._pass_on(request)
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=502)

    def _take(self, request: web.Request) -> Trouble | None:
        for trouble in self.troubles:
            if len(trouble.met) < trouble.count and trouble.matches(request):
                trouble.met.append(asyncio.get_running_loop().time())
                return trouble
        return None

    def target(self, request: web.Request) -> str:
        """Return the path and query to request from the homeserver."""
        return request.raw_path

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        try:
            async with self._session.request(
                request.method,
                URL(f"{self._upstream}{self.target(request)}", encoded=True),
                headers=_end_to_end(request.headers),
                data=await request.read(),
                allow_redirects=False,
            ) as response:
                return web.Response(
                    status=response.status,
                    headers=_end_to_end(response.headers),
                    body=await response.read(),
                )
        except aiohttp.ClientError:
            return web.Response(status=502, text="<html>Bad gateway</html>")


@asynccontextmanager
async def running(port: int, kind: type[Proxy] = Proxy) -> AsyncIterator[Proxy]:
    """Run a proxy for a homeserver on this loopback port, which may be started later."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        proxy = kind(f"http://127.0.0.1:{port}", session)
        application = web.Application(client_max_size=_LARGEST_BODY)
        application.router.add_route("*", "/{any:.*}", proxy.handle)
        runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=1.0
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            proxy.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield proxy
        finally:
            await runner.cleanup()


def sends_into(room: str) -> Callable[[web.Request], bool]:
    """Return a predicate for requests that send a message event into the room."""
    return lambda request: (
        request.method == "PUT" and f"/rooms/{room}/send/m.room.message/" in request.path
    )


def _end_to_end(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(key, value) for key, value in headers.items() if key.lower() not in _HOP_BY_HOP]
