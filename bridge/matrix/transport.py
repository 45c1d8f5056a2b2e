"""Requests to the homeserver as any of our users, and what goes wrong with them.

mautrix's `AppServiceAPI` builds and sends the requests; this module says who acts, how long to
wait, and whose fault a failure is. Errors are read in a middleware of the HTTP session, because
mautrix drops how long a 429 asks us to wait and stumbles over error pages that are no JSON objects.
There are no retries here: the outbox has its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import quote

import aiohttp
import msgspec
from cachetools import LRUCache
from mautrix.api import Method, PathBuilder
from mautrix.appservice import AppServiceAPI, ChildAppServiceAPI
from mautrix.errors import MatrixError
from mautrix.types import DeviceID, UserID
from mautrix.util.logging import TraceLogger

from bridge import __version__
from bridge.ids import UserId
from bridge.matrix.users import OurUsers
from bridge.rooms.passing import PIECE, at_most
from bridge.rooms.ports import Refused, TooBig, Unavailable

DEVICE = "WEBCHAT"
"""Each of our users acts as this device: only with one does a homeserver remember our transaction
ids through its own restart (reference matrix.md §5)."""

FOREIGN = "FOREIGN_USER"
"""How we refuse to act as a user that somebody else has registered; no code of Matrix's."""
REQUEST_TIMEOUT = 60.0
"""Seconds for an ordinary request. A join of a remote room is the slowest of them."""
STALL_TIMEOUT = 60.0
"""Seconds without a byte after which a file transfer is given up."""
_MAX_ERROR = 64 * 1024
"""Bytes of an error's body that are read."""
_BROKEN = (aiohttp.ClientError, OSError, TimeoutError)
"""What aiohttp raises when a file cannot be had, or not to its end."""
_MAX_USERS = 2_000
"""How many users' request builders are kept; each is a few kilobytes."""

Json = dict[str, object]


class _Silence(TraceLogger):
    """mautrix logs whole bodies at debug, passwords and messages alike; we log what failed.

    It also asks for a logger per user, and Python keeps loggers for ever: here all are this one.
    """

    def getChild(self, suffix: str) -> TraceLogger:  # noqa: N802  (logging's own name)
        return self

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  (logging's own name)
        return level >= logging.WARNING


class _ErrorBody(msgspec.Struct):
    errcode: str = ""
    flows: list[object] | None = None
    error: str = ""
    retry_after_ms: float | None = None


async def translate_errors(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Turn every answer that is no success into Unavailable or Refused.

    A refusal is believed only if it is the homeserver's own, that is, carries a Matrix error code.
    Anything else (a proxy's 404 page, a login form) is somebody in between, and may pass.
    """
    response = await handler(request)
    if response.status < 400:
        return response
    try:
        error = await _read_error(response)
    finally:
        response.release()
    if response.status == 401 and error.flows is not None and not error.errcode:
        # User-interactive authentication: our users have no password to show, and no way is left
        # to them (an empty list) or one that we cannot go.
        raise Refused("M_UNAUTHORIZED", "it wants the user to authenticate")
    where = f"{request.method} answered {response.status} {error.errcode}".strip()
    if response.status == 429 or error.errcode == "M_LIMIT_EXCEEDED":
        raise Unavailable(where, _retry_after(response.headers, error))
    if response.status == 413:
        raise Refused(error.errcode or "M_TOO_LARGE", error.error[:200])
    if response.status >= 500 or response.status == 408 or not error.errcode:
        raise Unavailable(where, _retry_after(response.headers, error))
    raise Refused(error.errcode, error.error[:200])


async def _read_error(response: aiohttp.ClientResponse) -> _ErrorBody:
    head = b""
    async for chunk in response.content.iter_chunked(4096):
        head += chunk
        if len(head) > _MAX_ERROR:
            return _ErrorBody()
    try:
        return msgspec.json.decode(head, type=_ErrorBody)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _ErrorBody()


def _retry_after(headers: Mapping[str, str], error: _ErrorBody) -> float | None:
    """Seconds to wait: the header (specification since v1.10), else the older field."""
    header = headers.get("Retry-After", "")
    if header.isascii() and header.isdigit() and len(header) < 7:
        return float(header)
    if error.retry_after_ms is not None and 0 <= error.retry_after_ms < 1e9:
        return error.retry_after_ms / 1000
    return None


def new_session(
    *, verify_tls: bool, limit: int = 100, watch: aiohttp.TraceConfig | None = None
) -> aiohttp.ClientSession:
    """An HTTP session for the homeserver alone. The caller closes it.

    Args:
        verify_tls: check its certificate.
        limit: connections at a time; 0 for what stays open long, which must not crowd others out.
        watch: sees the requests (`outages.Outages.watch`).
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=limit, ssl=verify_tls),
        headers={"User-Agent": f"matrix-webchat-bridge/{__version__}"},
        timeout=aiohttp.ClientTimeout(total=None, connect=20, sock_read=STALL_TIMEOUT),
        middlewares=(translate_errors,),
        trace_configs=[] if watch is None else [watch],
    )


class Transport:
    """The homeserver's HTTP interface, as seen by each of our users.

    Args:
        session: made by `new_session`, so that errors are translated.
        address: the homeserver's base address.
        as_token: our token; a secret.
        users: names the bot, which acts where no user is named.
        device: as which device our users act.

    Attributes:
        foreign: users that turned out to be somebody else's (`ghosts.Names`): nothing is done as
            their devices.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        address: str,
        as_token: str,
        users: OurUsers,
        *,
        device: str = DEVICE,
    ) -> None:
        self._session = session
        self._address = address.rstrip("/")
        self._token = as_token
        self._bot = users.bot
        self.foreign: set[UserId] = set()
        self._api = AppServiceAPI(
            base_url=self._address,
            bot_mxid=UserID(users.bot),
            token=as_token,
            log=_Silence("bridge.matrix.requests"),
            client_session=session,
            default_retry_count=0,
        )
        self._children: LRUCache[UserId, AppServiceAPI] = LRUCache(_MAX_USERS)
        self._device = device
        self._tokens: dict[UserId, str] = {}
        """Of our own users alone, and only where `use_token` was needed."""

    def use_device(self, device: str) -> None:
        """From now on our users act as their devices of this id."""
        self._device = device
        self._children.clear()

    def use_token(self, user: UserId, token: str) -> None:
        """Act as the user's device by this access token: the homeserver knows no other way."""
        self._tokens[user] = token
        self._children.pop(user, None)

    async def request(
        self,
        method: str,
        path: str,
        content: Json | None = None,
        *,
        user: UserId | None = None,
        device: bool = True,
        query: Mapping[str, str] | None = None,
        timeout: float = REQUEST_TIMEOUT,
    ) -> Json:
        """Send one request and return the reply's JSON object.

        Args:
            method: the HTTP method's name.
            path: from `_matrix/` on, its parts already quoted.
            content: the JSON body.
            user: who acts; the bot if None.
            device: act as the user's device, which must exist then.
            query: further query parameters.
            timeout: seconds for the whole exchange.

        Raises:
            Unavailable: no answer, or one that another try may better.
            Refused: the homeserver said no; `code` is its error code. `FOREIGN`: we did.
        """
        if device:
            self._check(user or self._bot)
        api = self._as_user(user or self._bot, device=device)
        try:
            async with asyncio.timeout(timeout):
                reply: object = await api.request(
                    Method(method), PathBuilder(path), content, query_params=dict(query or {})
                )
        except (MatrixError, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # ValueError: a success whose body is no JSON.
            raise Unavailable(f"{method} failed: {type(error).__name__}") from error
        if not isinstance(reply, dict):
            raise Unavailable(f"{method} answered with no JSON object")
        return reply

    async def upload(
        self, chunks: AsyncIterator[bytes], size: int, mime: str, name: str, user: UserId
    ) -> str:
        """Upload a file of exactly `size` bytes and return its mxc address.

        Raises:
            Unavailable, Refused: as `request`.
        """
        self._check(user)
        try:
            # Synapse wants a Content-Length, and aiohttp would chunk a stream without one.
            async with self._session.post(
                f"{self._address}/_matrix/media/v3/upload",
                params={"user_id": user} | ({"filename": name} if name else {}),
                headers=self._authorization() | {"Content-Type": mime, "Content-Length": str(size)},
                data=chunks,
            ) as response:
                reply: object = await response.json()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unavailable(f"upload failed: {type(error).__name__}") from error
        mxc = reply.get("content_uri") if isinstance(reply, dict) else None
        if not isinstance(mxc, str) or not mxc.startswith("mxc://"):
            raise Unavailable("upload answered without an address")
        return mxc

    @asynccontextmanager
    async def download(self, mxc: str, limit: int) -> AsyncIterator[Download]:
        """Open a file of the media repository.

        Args:
            mxc: its address, `mxc://server/id`.
            limit: bytes; a longer file is not read on.

        Raises:
            TooBig: the homeserver says that it is longer.
            Unavailable, Refused: as `request`.
        """
        server, _, media_id = mxc.removeprefix("mxc://").partition("/")
        path = f"{quote(server, safe='')}/{quote(media_id, safe='')}"
        try:
            response = await self._open(f"/_matrix/client/v1/media/download/{path}")
        except Refused as error:
            if error.code != "M_UNRECOGNIZED":
                raise
            # Before v1.11 of the specification there was only this one.
            response = await self._open(f"/_matrix/media/v3/download/{path}")
        async with response:
            if response.content_length is not None and response.content_length > limit:
                raise TooBig(f"{response.content_length} bytes, {limit} allowed")
            chunks = at_most(limit, response.content.iter_chunked(PIECE), _BROKEN)
            yield Download(chunks, response.content_length, response.content_type)

    async def _open(self, path: str) -> aiohttp.ClientResponse:
        try:
            return await self._session.get(
                f"{self._address}{path}",
                params={"user_id": self._bot},
                headers=self._authorization(),
            )
        except _BROKEN as error:
            raise Unavailable(f"download failed: {type(error).__name__}") from error

    def _check(self, user: UserId) -> None:
        if user in self.foreign:
            raise Refused(FOREIGN, f"{user} is registered by somebody else")

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def _as_user(self, user: UserId, *, device: bool) -> AppServiceAPI:
        if not device:
            return ChildAppServiceAPI(UserID(user), self._api)
        child = self._children.get(user)
        if child is None:
            # Not `AppServiceAPI.user()`: that keeps every child for ever.
            child = self._device_of(user)
            self._children[user] = child
        return child

    def _device_of(self, user: UserId) -> AppServiceAPI:
        token = self._tokens.get(user)
        if token is not None:
            return AppServiceAPI(
                base_url=self._address,
                bot_mxid=UserID(user),
                token=token,
                log=_Silence("bridge.matrix.requests"),
                client_session=self._session,
                default_retry_count=0,
            )
        child = ChildAppServiceAPI(UserID(user), self._api)
        child.as_device_id = DeviceID(self._device)
        return child


class Download(msgspec.Struct, frozen=True):
    """An opened file."""

    chunks: AsyncIterator[bytes]
    size: int | None
    mime: str
