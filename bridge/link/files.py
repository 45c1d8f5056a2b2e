"""Upload of customers' files, and download of agents' files behind an SSRF guard.

The body of an upload is just the file (`raw`, the guide) or a form (`multipart`, a sibling guide;
protocol reference 3.4). `auto` tries raw first and, unless that succeeds or the file is too big,
the other kind once. The kind that worked is stored. If it fails later, the next upload tries both;
if both fail then, the kind of body is not the cause, and for a minute no file is tried twice.

The URL of an agent's file is chosen by the agent, and the bridge fetches it from inside the
operator's network (SSRF). So only the server's own origin and allow-listed hosts are fetched, and a
listed *name* may not resolve to a private address unless that network is listed too. The resolver
of the connection makes the check, so the address checked is the address connected to.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes, urljoin

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from bridge.link.http_client import Http, TokenRefused, new_session, timeout_of
from bridge.link.settings import MOST_REDIRECTS, REDIRECTS, Learnt, LinkSettings
from bridge.rooms.blobs import keep, received
from bridge.rooms.ports import Blob, CallFailure, Refused, Unavailable, describe, tls_context
from bridge.rooms.store import Token
from bridge.rooms.surroundings import Connector
from bridge.webchat.codes import FailureReason, ResultCode, UploadMode
from bridge.webchat.http import Endpoints, parse_upload_reply
from bridge.webchat.read import decoded

LONGEST_ADDRESS = 8_192
"""Maximum characters of a file's URL: to read the host name of one of megabytes takes seconds."""
BOTH_AGAIN = 60.0
"""Seconds after both kinds of body have failed during which the known one is not doubted."""
_MIME = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
_FORMS = ("multipart/", "application/x-www-form-urlencoded")
"""MIME types whose body a servlet container consumes before the handler sees it."""
_UNSAFE = re.compile(r'[\x00-\x1f\x7f"\\/]')
_BUSY = frozenset({408, 425, 429})
_AWAY = frozenset({502, 503, 504})
"""HTTP statuses of a proxy whose server is away, whatever the kind of body."""
_NAMED = re.compile(r'\bfilename(\*?)\s*=\s*("[^"]*"|[^;]*)', re.IGNORECASE)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class _Verdict(msgspec.Struct, frozen=True):
    url: str = ""
    failure: CallFailure | None = None
    other_kind: bool = False
    """Whether the other kind of body may succeed."""
    about_file: bool = False
    """True if the file itself was refused, so the server seems to understand the kind of body."""

    def address(self) -> str:
        if self.failure is not None:
            raise self.failure
        return self.url


async def _measured(blob: Blob) -> AsyncIterator[bytes]:
    """Yield the blob's bytes; Unavailable if they are not as many as its source stated."""
    sent = 0
    async for chunk in blob.chunks:
        sent += len(chunk)
        if blob.size is not None and sent > blob.size:
            raise Unavailable("the source sent more bytes than it announced")
        yield chunk
    if blob.size is not None and sent < blob.size:
        raise Unavailable("the source sent fewer bytes than it announced")


@dataclass(eq=False, repr=False)
class Uploads:
    _settings: LinkSettings
    _endpoints: Endpoints
    _http: Http
    _learnt: Learnt
    _doubted: bool = False
    """True if the known kind of body failed last time."""
    _both_from: float = 0.0
    """When the known kind may be doubted again, in loop time."""

    async def upload(self, token: Token, blob: Blob) -> str:
        """Upload a file and return its absolute URL.

        Raises TokenRefused (-15; the blob may have been read), the exception of the blob's source,
        or CallFailure: UPLOAD_FAILED (retry possible; also if it was cut off, or got no answer),
        UNREACHABLE (not even begun), TOO_BIG or REFUSED.
        It is always `certain`, since an uploaded file that no message refers to does no harm.
        """
        wanted = self._settings.server.upload_mode
        if wanted is not UploadMode.AUTO:
            return (await self._try(wanted, token, blob)).address()
        known = self._learnt.upload_mode
        if known is UploadMode.AUTO or self._doubted:
            return await self._in_both(known, token, blob)
        verdict = await self._try(known, token, blob)
        now, failure = asyncio.get_running_loop().time(), verdict.failure
        doubtful = failure and not verdict.about_file and failure.code not in _AWAY
        if doubtful and now >= self._both_from:
            # The server may have been replaced. Only the caller can read the stream again, and
            # would not for some codes.
            self._doubted = True
            message = "the server refused the upload mode that it accepted before"
            raise CallFailure(FailureReason.UPLOAD_FAILED, message)
        return verdict.address()

    async def _in_both(self, known: UploadMode, token: Token, blob: Blob) -> str:
        kind, other = UploadMode.RAW, UploadMode.MULTIPART
        if known is UploadMode.MULTIPART:
            kind, other = other, kind
        # The blob can be read only once, but may have to be sent twice: buffer it.
        async with keep(_measured(blob)) as kept:
            whole = Blob(kept.chunks(), kept.size, blob.mime, blob.name)
            verdict = await self._try(kind, token, whole)
            if verdict.other_kind:
                anew = msgspec.structs.replace(whole, chunks=kept.chunks())
                again = await self._try(other, token, anew)
                if again.failure is None:
                    verdict, kind = again, other
                elif again.about_file:
                    verdict = again
                else:
                    self._both_from = asyncio.get_running_loop().time() + BOTH_AGAIN
        self._doubted = False
        if verdict.failure is None and kind is not known:
            self._learnt.took_file(kind)
        return verdict.address()

    async def _try(self, mode: UploadMode, token: Token, blob: Blob) -> _Verdict:
        raw = mode is not UploadMode.MULTIPART
        failures: list[Exception] = []
        """Exceptions of the blob's source, which aiohttp wraps in errors of its own."""
        begun = False

        async def body() -> AsyncIterator[bytes]:
            nonlocal begun
            try:
                async for chunk in _measured(blob):
                    begun = True
                    yield chunk
            except Exception as error:
                failures.append(error)
                raise

        try:
            answer = await self._http.post(
                self._endpoints.upload(token.value),
                body() if raw else _form(token.value, blob, body()),
                _raw_headers(blob) if raw else {},
                total=self._settings.timing.upload,
                cookies=token.cookies,
            )
        except Unavailable as error:
            if failures:
                raise failures[0] from error
            # While the link is up, a file that is cut off each time must not hold up the room.
            reason = FailureReason.UPLOAD_FAILED if begun else FailureReason.UNREACHABLE
            raise CallFailure(reason, f"upload: {error}") from error
        reply = parse_upload_reply(answer.body)
        if reply is not None:
            return self._judge(*reply)
        # Not WebChat's: the page of a servlet container or a proxy.
        message = answer.foreign("upload")
        if answer.status == 413:
            failure = CallFailure(FailureReason.TOO_BIG, message)
            return _Verdict(failure=failure, about_file=True)
        failure = CallFailure(FailureReason.UPLOAD_FAILED, message, answer.status)
        return _Verdict(failure=failure, other_kind=True)

    def _judge(self, result: int, url: str) -> _Verdict:
        if result == ResultCode.SUCCESS:
            return _Verdict(url=self._endpoints.absolute(url))
        if result == ResultCode.INVALID_TOKEN:
            raise TokenRefused("upload: -15")
        failure = CallFailure(FailureReason.REFUSED, "upload refused", result)
        too_big = result == ResultCode.INVALID_FILE_SIZE
        # -16 may also mean that the body is raw, with no name and so no extension.
        about_file = too_big or result == ResultCode.INVALID_FILE_EXTENSION
        return _Verdict(failure=failure, other_kind=not too_big, about_file=about_file)


def _raw_headers(blob: Blob) -> dict[str, str]:
    headers = {
        "Content-Type": _mime(blob.mime),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(_sent_name(blob))}",
    }
    if blob.size is not None:
        headers["Content-Length"] = str(blob.size)
    return headers


def _form(token: str, blob: Blob, body: AsyncIterator[bytes]) -> aiohttp.FormData:
    # File names in plain UTF-8: servers of that time do not percent-decode them here.
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("token", token)
    name, mime = _sent_name(blob), _mime(blob.mime)
    form.add_field("fileToUpload", body, filename=name, content_type=mime)
    return form


def _mime(mime: str) -> str:
    """Return a MIME type that is safe in a header: the sender of a file chooses it."""
    form = mime.lower().startswith(_FORMS)
    return mime if _MIME.fullmatch(mime) and not form else "application/octet-stream"


def _sent_name(blob: Blob) -> str:
    return _UNSAFE.sub("_", blob.name).encode("utf-8", "replace").decode()[:200] or "file"


class AddressRefused(OSError):
    """A host name resolves only to forbidden addresses."""


class AllowedHosts:
    """Allow-list of the hosts and networks from which files may be fetched.

    URLs are yarl's, as aiohttp reads them too: the host checked is the host connected to.
    """

    def __init__(self, own: URL, entries: Iterable[str]) -> None:
        """Read the entries, which the configuration has checked: `host`, `host:port` or CIDR."""
        self.own = _origin(own)
        self._named: set[tuple[str | None, int | None]] = set()
        self._networks: list[Network] = []
        for entry in entries:
            try:
                self._networks.append(ipaddress.ip_network(entry))
            except ValueError:
                listed = URL(f"//{entry}")
                self._named.add((listed.host, listed.explicit_port))

    def allows(self, url: URL) -> bool:
        """Return whether a URL passes the allow-list before resolving; ValueError: it is bad."""
        if url.scheme not in {"http", "https"} or url.user is not None:
            return False
        literal = _literal(url.host or "")
        if _origin(url) == self.own or (literal is not None and self._covered(literal)):
            return True
        ports = (url.port, None) if url.is_default_port() else (url.port,)
        named = any((url.host, port) in self._named for port in ports)
        return named and (literal is None or self.connectable(literal))

    def connectable(self, address: Address) -> bool:
        """Return whether a listed host may have this address: public or in a listed network."""
        return self._covered(address) or all(
            part.is_global and not part.is_multicast for part in _embedded(address)
        )

    def _covered(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


class GuardedResolver(AbstractResolver):
    """DNS resolver that drops forbidden addresses."""

    def __init__(self, hosts: AllowedHosts, inner: AbstractResolver | None = None) -> None:
        self._hosts = hosts
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the allowed addresses of a name; AddressRefused if all are forbidden."""
        found = await self._inner.resolve(host, port, family)
        if (host, port) == self._hosts.own[1:]:
            return found
        literals = ((file, _literal(file["host"])) for file in found)
        good = [file for file, literal in literals if literal and self._hosts.connectable(literal)]
        if found and not good:
            raise AddressRefused(f"{host} has only addresses that are not public")
        return good

    async def close(self) -> None:
        await self._inner.close()


def _origin(url: URL) -> tuple[str, str | None, int | None]:
    return url.scheme, url.raw_host, url.port


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _embedded(address: Address) -> list[Address]:
    """Return the address with every IPv4 address embedded in it (mapped, Teredo, 6to4, NAT64)."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    found: list[Address] = [address, *(address.teredo or ())]
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def _name_of(response: aiohttp.ClientResponse) -> str:
    """Return the file's name in Content-Disposition or, if it has none, in the URL.

    Not by aiohttp's parser: it refuses names with spaces but no quotes, as old servers write them,
    and prints them as warnings. Names in GBK or percent-encoded ones are read, too.
    """
    written = response.headers.get("Content-Disposition", "").encode("utf-8", "surrogateescape")
    params = dict(_NAMED.findall(decoded(written)))
    # `filename*` comes first (RFC 6266): the charset, a language, and the name, between quotes.
    name = params.get("*", "").rpartition("'")[2] or params.get("", "")
    path = response.url.raw_path.rpartition("/")[2]
    return decoded(unquote_to_bytes(name.strip(' "') or path))


class Fetcher:
    """Downloads agents' files, inside `running`."""

    def __init__(
        self, settings: LinkSettings, endpoints: Endpoints, tls: ssl.SSLContext | None = None
    ) -> None:
        server = settings.server
        self._timing, self._tls = settings.timing, tls
        self._endpoints = endpoints
        self._hosts = AllowedHosts(URL(server.base_url), server.allowed_media_hosts)
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tls, resolver = tls_context(verify=True), GuardedResolver(self._hosts)
        connector = Connector(limit=0, ssl=tls, resolver=resolver)
        # Without compression, the bytes counted against the limit match Content-Length.
        async with new_session(connector, **{"Accept-Encoding": "identity"}) as self._session:
            yield

    @asynccontextmanager
    async def fetch(self, url: str, limit: int) -> AsyncIterator[Blob]:
        """See `LinkPort.fetch`; `url` may be relative."""
        if len(url) > LONGEST_ADDRESS:
            raise Refused("address", "the file's URL is too long")
        response = await self._follow(self._endpoints.absolute(url))
        try:
            if response.status >= 500 or response.status in _BUSY:
                raise Unavailable(f"HTTP {response.status}")
            if response.status != 200:
                raise Refused(str(response.status), "the server did not return the file")
            yield received(response, limit, _name_of(response))
        finally:
            response.close()

    async def _follow(self, url: str) -> aiohttp.ClientResponse:
        try:
            for _ in range(MOST_REDIRECTS + 1):
                # Every redirect passes the same checks as the first URL.
                if not self._hosts.allows(URL(url)):
                    raise Refused("host", f"{URL(url).host} is not in allowed_media_hosts")
                response = await self._get(url)
                if response.status not in REDIRECTS:
                    return response
                response.close()
                url = urljoin(url, response.headers.get("Location", ""))
        except ValueError:
            raise Refused("address", "the file's URL is invalid") from None
        raise Refused("redirects", f"more than {MOST_REDIRECTS} redirects")

    async def _get(self, url: str) -> aiohttp.ClientResponse:
        if self._session is None or self._session.closed:
            raise Unavailable("the links are not running")
        timeout = timeout_of(self._timing, self._timing.upload, self._timing.reply)
        tls = (_origin(URL(url)) == self._hosts.own and self._tls) or True
        try:
            return await self._session.get(url, allow_redirects=False, timeout=timeout, ssl=tls)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else None
            if isinstance(cause, AddressRefused):
                raise Refused("address", str(cause)) from None
            raise Unavailable(describe(error)) from None
