"""Fetching the files that agents send, from nowhere but where the operator allows (`hosts`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import aiohttp

from bridge.link.failures import describe
from bridge.link.hosts import AddressRefused, AllowedHosts, GuardedResolver
from bridge.link.settings import LinkSettings
from bridge.rooms.passing import PIECE, at_most
from bridge.rooms.ports import Blob, Refused, TooBig, Unavailable
from bridge.webchat.urls import Endpoints

MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BUSY = frozenset({408, 425, 429})
_BROKEN = (aiohttp.ClientError, OSError, TimeoutError)
"""What aiohttp raises while a body is read; unlike those of a request, they quote no URL."""


class Fetcher:
    """Usable while `running` is entered."""

    def __init__(self, settings: LinkSettings, endpoints: Endpoints) -> None:
        """Raise ValueError for an entry of `allowed_media_hosts` that cannot be read."""
        self._timing = settings.timing
        self._endpoints = endpoints
        self._hosts = AllowedHosts(urlsplit(settings.base_url), settings.allowed_media_hosts)
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hold the connections open."""
        connector = aiohttp.TCPConnector(limit=0, resolver=GuardedResolver(self._hosts))
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # What is counted against the limit is then what the source says it sends.
            headers={"Accept-Encoding": "identity"},
        ) as session:
            self._session = session
            try:
                yield
            finally:
                self._session = None

    @asynccontextmanager
    async def fetch(self, url: str, limit: int) -> AsyncIterator[Blob]:
        """Open a file; see `LinkPort.fetch`. `url` is as the server wrote it."""
        response = await self._follow(self._endpoints.absolute(url))
        try:
            _check(response)
            size = _size(response)
            if size is not None and size > limit:
                raise TooBig(f"the file has {size} bytes")
            yield Blob(
                chunks=at_most(limit, response.content.iter_chunked(PIECE), _BROKEN),
                size=size,
                mime=response.content_type,
                name=_name(response),
            )
        finally:
            response.close()

    async def _follow(self, url: str) -> aiohttp.ClientResponse:
        for _ in range(MOST_REDIRECTS + 1):
            response = await self._get(url)
            if response.status not in _REDIRECTS:
                return response
            response.close()
            # Every hop passes the same checks as the first address.
            url = _next_hop(url, response.headers.get("Location", ""))
        raise Refused("redirects", f"more than {MOST_REDIRECTS} redirects")

    async def _get(self, url: str) -> aiohttp.ClientResponse:
        parts = _split(url)
        if not self._hosts.allows(parts):
            raise Refused("host", f"{parts.hostname} is not in allowed_media_hosts")
        if self._session is None:
            raise Unavailable("the links are not running")
        timeout = aiohttp.ClientTimeout(
            total=self._timing.upload,
            sock_connect=self._timing.handshake,
            sock_read=self._timing.reply,
        )
        try:
            return await self._session.get(url, allow_redirects=False, timeout=timeout)
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, AddressRefused):
                raise Refused("address", str(error.os_error)) from None
            raise Unavailable(describe(error)) from None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise Unavailable(describe(error)) from None


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for a port that is no number
    except ValueError:
        raise _unreadable() from None
    return parts


def _next_hop(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise _unreadable() from None


def _unreadable() -> Refused:
    return Refused("address", "the file's address cannot be read")


def _check(response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status >= 500 or status in _BUSY:
        raise Unavailable(f"HTTP {status}")
    if status != 200:
        raise Refused(str(status), "the server does not give the file")


def _size(response: aiohttp.ClientResponse) -> int | None:
    if "Content-Encoding" in response.headers:
        return None
    return response.content_length


def _name(response: aiohttp.ClientResponse) -> str:
    disposition = response.content_disposition
    if disposition is not None and disposition.filename:
        return disposition.filename
    return unquote(response.url.raw_path.rpartition("/")[2])
