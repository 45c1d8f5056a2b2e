"""One pool of HTTP connections to the WebChat server, and one kind of request: POST.

It has no connection limit of its own (design: long-lived requests must never queue behind each
other), follows no redirect, and reads only as much as an answer may have. It keeps no cookies
itself: those that a login sets belong to its token, for a balancer may lead each customer to the
server that knows them.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from bridge.link.failures import describe
from bridge.link.settings import Timing
from bridge.rooms.ports import Unavailable

LONGEST_ANSWER = 256 * 1024
"""Bytes of an HTTP answer that are read, unless told otherwise; most have a few hundred."""
LONGEST_COOKIES = 4096
"""Bytes of one login's cookies; a servlet container takes 8 KiB of headers in all."""


@dataclass(frozen=True)
class Answer:
    """What came back, cut at the longest that was wanted."""

    status: int
    body: bytes
    cookies: str = field(default="", repr=False)
    """Those that it set, as a `Cookie` header for the addresses beside its own: a secret."""


class Http:
    """Usable while `running` is entered."""

    def __init__(self, timing: Timing, tls: ssl.SSLContext | None) -> None:
        self._timing = timing
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hold the connections open."""
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls or True)
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            self._session = session
            try:
                yield
            finally:
                self._session = None

    async def post(
        self,
        url: str,
        data: object,
        headers: Mapping[str, str],
        *,
        total: float,
        longest: int = LONGEST_ANSWER,
        cookies: str = "",
    ) -> Answer:
        """Send one POST and read its answer within `total` seconds.

        `data` is anything that aiohttp takes for a body; `longest` is in bytes; `cookies` are those
        of the token that the request names.

        Raises:
            Unavailable: no HTTP answer came. Its text never holds the URL.
        """
        if self._session is None:
            raise Unavailable("the links are not running")
        if cookies:
            headers = {**headers, "Cookie": cookies}
        timeout = aiohttp.ClientTimeout(
            total=total, sock_connect=self._timing.handshake, sock_read=self._timing.reply
        )
        try:
            async with self._session.post(
                url, data=data, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                body = await _read(response.content, longest)
                return Answer(response.status, body, _cookies(response))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            # Without its cause: an aiohttp error may quote the URL, which carries the token.
            raise Unavailable(describe(error)) from None


def _cookies(response: aiohttp.ClientResponse) -> str:
    """Return what an answer's cookies come to at the addresses beside its own.

    A jar of its own judges their domain, path, age and `Secure`. What is no printable ASCII, or
    would be too much, is left out.
    """
    if not response.cookies:
        return ""
    jar = aiohttp.CookieJar(unsafe=True)  # "unsafe": also where the server is named by its address
    jar.update_cookies(response.cookies, response.url)
    header = ""
    for name in jar.filter_cookies(response.url.with_name("cws")):
        # As it was written: the jar would put what it finds unusual into quotation marks.
        longer = f"{header}; {name}={response.cookies[name].coded_value}".removeprefix("; ")
        if len(longer) <= LONGEST_COOKIES and longer.isascii() and longer.isprintable():
            header = longer
    return header


async def _read(content: aiohttp.StreamReader, longest: int) -> bytes:
    body = bytearray()
    async for chunk in content.iter_chunked(16 * 1024):
        body += chunk
        if len(body) >= longest:
            break
    return bytes(body[:longest])
