"""HTTP client of the homeserver: requests as any bridge user, file transfer, error translation.

Query parameters name the acting user (application service API, "Identity assertion") and device
(MSC3202). mautrix's `ClientAPI` invites and sets profiles; from the replies of other calls it keeps
less than the bridge needs (docs/how-it-works.md, "mautrix"). These are made by `request`, with
parameters quoted once per user: a call for every message must cost little.

Every failure is `Unavailable` (a retry may help) or `Refused` (the homeserver's own error code). A
session middleware reads error replies for mautrix, which drops a 429's retry delay and fails on
error pages that are not JSON objects. No retries here: the lanes retry.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from copy import copy
from functools import lru_cache, partial
from random import randrange
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from mautrix.api import HTTPAPI
from mautrix.client import ClientAPI
from mautrix.errors import MatrixError
from mautrix.types import ContentURI, RoomID, UserID
from mautrix.util.logging import TraceLogger
from yarl import URL

from bridge import __version__
from bridge.ids import EventId, RoomId, UserId, localpart_of
from bridge.matrix.crypto import wire
from bridge.matrix.crypto.wire import Json
from bridge.matrix.users import OurUsers
from bridge.media import formats
from bridge.rooms.blobs import BROKEN, Kept, keep, received
from bridge.rooms.ports import (
    Blob,
    Despite,
    Refused,
    Unauthorized,
    Unavailable,
    describe,
    tls_context,
)
from bridge.rooms.surroundings import Connector
from bridge.webchat.read import clean

DEVICE = "WEBCHAT"
"""Device id of every bridge user: a homeserver remembers transaction ids over its own restart only
for requests made as a device (reference matrix.md §5)."""

FOREIGN = "FOREIGN_USER"
"""Code of a Refused raised here, not by Matrix: somebody else has registered the user."""
TAKEN = "TAKEN_USER"
"""Likewise: another application service serves the user."""
OWNER = "org.matrix_webchat.owner"
"""Account data type; on bots and queue users `appservice` is the id of the service serving them."""
REQUEST_TIMEOUT = STALL_TIMEOUT = 60.0
"""Maximum seconds of a request, and without receiving a byte of a reply or file."""
FILE_TIMEOUT = 600.0
"""Maximum seconds of an upload or download, headers included, even if bytes keep coming."""
_AT_MOST = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT, connect=20)
"""Usual limits of a request: one timer, where a limit of each read would take two more."""
LONGEST_ANSWER = 32 * 1024 * 1024
"""Maximum bytes of a reply: a member of a room takes 500, a hundred to-device messages 6 MB."""
_LONG, _PART = 256 * 1024, 64 * 1024
"""Bytes of a reply that is decoded in parts; bytes that are decoded at a time then, or kept of a
reply that is too long."""
_read_parts = msgspec.json.Decoder(dict[str, msgspec.Raw] | list[msgspec.Raw]).decode
LIMITED = 5.0
"""Retry delay in seconds of a rate limit that names none: without one it would be an outage."""
SHORTEST = 0.5
"""Minimum retry delay in seconds: with a delay of 0 the lanes would repeat a request in a loop."""
_FAILED = (*BROKEN, MatrixError, RecursionError, ValueError)
"""Errors of a request: no reply, or (the last two) a successful reply that is not JSON."""


_SILENCE = TraceLogger("bridge.matrix.requests", logging.WARNING)
"""Logger for mautrix: at level debug it logs request bodies, passwords included."""


class _ErrorBody(msgspec.Struct):
    errcode: str = ""
    flows: list[object] | None = None
    error: str = ""
    retry_after_ms: float | None = None


async def translate_errors(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    response = await handler(request)
    if response.status >= 300:
        raise await _failure(response)
    return response


_UNREACHED = frozenset({"M_CONNECTION_FAILED", "M_CONNECTION_TIMEOUT", "M_BAD_STATUS"})
"""Error codes of a ping (specification, "Pinging"): the homeserver cannot reach the bridge."""
_UNAUTHORIZED = frozenset({"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"})
PINGED = "AlreadyCa"
"""Part of the error texts (AlreadyCalled, AlreadyCancelled) of a ping that succeeded: Synapse
(1.163) cannot have its queued transactions sent, as it is just sending them."""


async def _failure(response: aiohttp.ClientResponse) -> Unavailable | Refused:
    """Translate an unsuccessful reply to an error and release its connection.

    Refused only if the homeserver itself answered: by a Matrix error code, 413, or a 401 with login
    flows. Anything else (a proxy's 404 page, a login form) is from in between: maybe transient.
    Unauthorized is transient too: what was refused is sent once both sides have the same token.
    """
    if response.status < 400:
        # Not followed: tokens and messages go only to the configured address.
        response.close()
        return Unavailable(f"{response.method} is redirected: check homeserver.address")
    try:
        error = msgspec.json.decode(await response.read(), type=_ErrorBody)
    except (ValueError, RecursionError):
        error = _ErrorBody()
    finally:
        response.release()
    if response.status == 401 and error.flows is not None and not error.errcode:
        # User-interactive authentication (perhaps without flows): bridge users have no password.
        return Refused("M_UNAUTHORIZED", "the homeserver requires interactive authentication")
    limited = response.status == 429 or error.errcode == "M_LIMIT_EXCEEDED"
    busy = limited or response.status == 408
    code = error.errcode or ("M_TOO_LARGE" if response.status == 413 else "")
    if busy or not code or (response.status >= 500 and code not in _UNREACHED):
        where = f"{response.method} answered {response.status} {error.errcode}".strip()
        delay = _retry_after(response.headers, error)
        return Unavailable(where, LIMITED if limited and delay is None else delay)
    refusal = Refused(code, error.error[:200])
    return Unauthorized(str(refusal)) if code in _UNAUTHORIZED else refusal


def _retry_after(headers: Mapping[str, str], error: _ErrorBody) -> float | None:
    """Return the retry delay in seconds: the header (specification v1.10) or the older field."""
    header, millis = headers.get("Retry-After", ""), error.retry_after_ms
    if header.isascii() and header.isdigit() and len(header) < 7:
        return max(SHORTEST, float(header))
    return max(SHORTEST, millis / 1000) if millis is not None and 0 <= millis < 1e9 else None


class _Answer(aiohttp.ClientResponse):
    """Response with a size limit, also when decompressed; files bypass it by reading `content`."""

    async def read(self) -> bytes:
        """Read the whole body, which releases the connection; if that fails, it is closed.

        Raises Unavailable if the body is longer than `LONGEST_ANSWER`.
        """
        length = None if "Content-Encoding" in self.headers else self.content_length
        if self._body is None and (length is None or length > LONGEST_ANSWER):
            body = bytearray()
            async with self:
                async for chunk in self.content.iter_any():
                    body += chunk
                    if len(body) > LONGEST_ANSWER:
                        why = f"{self.method} answered more than {LONGEST_ANSWER} bytes"
                        error = Unavailable(why, REQUEST_TIMEOUT)
                        error.begun = bytes(body[:_PART])
                        raise error
            self._body = bytes(body)
            return self._body
        return await super().read()


def new_session(*, verify_tls: bool, limit: int = 100) -> aiohttp.ClientSession:
    """Create an HTTP session; `limit`: maximum connections (0: unlimited, for long polling)."""
    return aiohttp.ClientSession(
        connector=Connector(limit=limit, ssl=tls_context(verify=verify_tls)),
        headers={"User-Agent": f"matrix-webchat-bridge/{__version__}"},
        timeout=aiohttp.ClientTimeout(total=None, connect=20, sock_read=STALL_TIMEOUT),
        middlewares=(translate_errors,),
        response_class=_Answer,
    )


def is_outage(error: BaseException | None) -> bool:
    """True if the homeserver cannot be reached; False if it timed out or asked for a pause."""
    if isinstance(error, Unavailable):
        return error.retry_after is None
    return isinstance(error, aiohttp.ClientConnectionError) and not isinstance(
        error, aiohttp.ServerTimeoutError
    )


# --- the homeserver -------------------------------------------------------------------------------

_CLIENT = "_matrix/client/v3"
TIMELINE_PAGE = 30
"""Events read at a time: dense ones take 30 times their 64 KB in memory."""
_OF_A_ROOM = {"timeline": {"limit": 1}} | dict.fromkeys(
    ("state", "ephemeral", "account_data"), wire.NOTHING
)
_NEWS = json.dumps(wire.QUIET | {"room": _OF_A_ROOM})
"""Filter for /sync: which rooms have new events, and invitations."""
_PATIENT = aiohttp.ClientTimeout(total=300.0, connect=20)
"""Limits of a join or leave. For a room of another server, the homeserver asks many others, and
goes on with it after the bridge has given up: a second request would only wait for the first."""
_OUT_ALREADY = frozenset({"M_FORBIDDEN", "M_NOT_FOUND", "M_BAD_STATE", "M_NOT_JOINED"})
"""Error codes of a leave by a user who is not in the room."""


class _Devices(msgspec.Struct):
    """Device id of bridge users, and access tokens of those with their own; shared by `beside`."""

    name: str = DEVICE
    tokens: dict[UserId, str] = {}


_quoted = lru_cache(4_096)(partial(quote, safe=""))


def _room(room_id: RoomId, *parts: str) -> str:
    # Not cached is the last part: mostly an event or transaction id, which hardly recurs.
    *others, last = parts
    return "/".join([f"{_CLIENT}/rooms", *map(_quoted, (room_id, *others)), quote(last, safe="")])


def _account_data(user: UserId, kind: str) -> str:
    return f"{_CLIENT}/user/{_quoted(user)}/account_data/{kind}"


class Homeserver:
    """Client of the homeserver that acts as any bridge user, by default as the bot.

    `session` comes from `new_session`, which translates errors; `patient` likewise, by default the
    same, for requests that other servers may keep waiting. `outage` is set by any request that does
    not reach the homeserver. Requests as a device are refused for users in `foreign`: accounts
    found to belong to somebody else (`ghosts.Ghosts`).
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        address: str,
        as_token: str,
        users: OurUsers,
        outage: asyncio.Event | None = None,
        *,
        patient: aiohttp.ClientSession | None = None,
    ) -> None:
        self._session = session
        self._patient = patient or session
        self._address = str(URL(address)).rstrip("/")
        self._token = as_token
        self._authorization = {"Authorization": f"Bearer {as_token}"}
        self._bot = users.main
        self.foreign: set[UserId] = set()
        self._acting = lru_cache(10_000)(self._prepare)
        self._devices = _Devices()
        self._outage = outage or asyncio.Event()
        self._places: AbstractAsyncContextManager[object] = nullcontext()

    def beside(self, session: aiohttp.ClientSession, at_once: int) -> Homeserver:
        """Return a copy with its own connection pool, so that neither waits for the other.

        `at_once`: maximum concurrent sends, so that few queue at the homeserver ahead of others'.
        """
        other: Homeserver = copy(self)
        other._session = session
        other._places = asyncio.Semaphore(at_once)
        return other

    def unnoticed(self) -> Homeserver:
        """Return a copy whose failures do not set `outage`."""
        other: Homeserver = copy(self)
        other._outage = asyncio.Event()
        return other

    def use_device(self, device: str) -> None:
        self._devices.name = device
        self._acting.cache_clear()

    def use_token(self, user: UserId, token: str) -> None:
        """Act as this user with an access token of its own, and so as that token's device."""
        self._devices.tokens[user] = token
        self._acting.cache_clear()

    async def request(
        self,
        method: str,
        path: str,
        content: Json | None = None,
        *,
        user: UserId | None = None,
        device: bool = True,
        query: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout = _AT_MOST,
        patient: bool = False,
        storable: bool = False,
    ) -> Json:
        """Send one request as `user` (None: the bot) and return the reply's JSON object.

        `path` starts with `_matrix/`, its parts quoted. With `device` it acts as the user's device,
        which must exist, and may raise Refused with `FOREIGN`. `patient`: see the class. `storable`
        replaces lone surrogates in the reply by U+FFFD.
        """
        user = user or self._bot
        if device:
            self._check(user)
        session = self._patient if patient else self._session
        with self._translated_errors(method):
            acting, headers = self._acting(user, device, method == "GET")
            url = acting.with_path(f"{acting.raw_path}{path}", encoded=True, keep_query=True)
            if query:
                url = URL(f"{url}&{urlencode(query)}", encoded=True)
            # Without `async with`, which would release again what `read` and `_failure` release.
            response = await session.request(
                method,
                url,
                data=None if method == "GET" else _dump(content or {}),
                headers=headers,
                middlewares=(),
                allow_redirects=False,
                timeout=timeout,
            )
            if response.status >= 300:
                raise await _failure(response)
            reply = await _load(await response.read(), storable=storable)
        if not isinstance(reply, dict):
            raise Unavailable(f"{method} answered with no JSON object")
        return reply

    async def _within(self, what: str, exchange: Awaitable[object]) -> None:
        with self._translated_errors(what):
            async with asyncio.timeout(REQUEST_TIMEOUT):
                await exchange

    @contextmanager
    def _translated_errors(self, what: str) -> Iterator[None]:
        """Translate a request's errors to Unavailable, and set `outage` if it is one."""
        try:
            yield
        except _FAILED as error:
            cause = error.__cause__ if isinstance(error, MatrixError) else error
            if is_outage(cause):
                self._outage.set()
            reason = cause or error
            foreign = isinstance(reason, aiohttp.ContentTypeError | ValueError)
            why = "answered without JSON" if foreign else f"failed: {describe(reason)}"
            raise Unavailable(f"{what} {why}") from error
        except Unavailable as error:
            if is_outage(error):
                self._outage.set()
            raise

    async def upload(self, file: Kept, mime: str, name: str, user: UserId) -> str:
        """Upload a file and return its mxc address."""
        self._check(user)
        # Synapse wants a Content-Length, and aiohttp would chunk a stream without one.
        request = self._session.post(
            f"{self._address}/_matrix/media/v3/upload",
            params={"user_id": user} | ({"filename": name} if name else {}),
            headers=self._authorization | {"Content-Type": mime, "Content-Length": str(file.size)},
            data=file.chunks(),
        )
        with self._translated_errors("upload"):
            async with asyncio.timeout(FILE_TIMEOUT), request as response:
                reply: object = await response.json()
        mxc = wire.text(reply, "content_uri")
        if not mxc.startswith("mxc://"):
            raise Unavailable("upload answered without an address")
        return mxc

    @asynccontextmanager
    async def download(self, mxc: str, limit: int) -> AsyncIterator[Blob]:
        """Open the file of an mxc address. Raises TooBig if its Content-Length is over `limit`."""
        server, _, media_id = mxc.removeprefix("mxc://").partition("/")
        path = f"{quote(server, safe='')}/{quote(media_id, safe='')}"
        try:
            response = await self._open(f"/_matrix/client/v1/media/download/{path}")
        except Refused as error:
            if error.code != "M_UNRECOGNIZED":
                raise
            # The only endpoint before v1.11 of the specification.
            response = await self._open(f"/_matrix/media/v3/download/{path}")
        async with response:
            yield received(response, limit)

    async def _open(self, path: str) -> aiohttp.ClientResponse:
        """Start a download, following redirects to a file store (MSC3916) without the token."""
        with self._translated_errors("download"):
            response = await self._patient.get(
                f"{self._address}{path}",
                params={"user_id": self._bot},
                headers=self._authorization,
                timeout=aiohttp.ClientTimeout(
                    total=FILE_TIMEOUT, connect=20, sock_read=STALL_TIMEOUT
                ),
                middlewares=(),
            )
            if response.status >= 300:
                raise await _failure(response)
            return response

    def _check(self, user: UserId) -> None:
        if user in self.foreign:
            raise Refused(FOREIGN, f"{user} is registered by somebody else")

    def _client(self, user: UserId) -> ClientAPI:
        """Return mautrix's client-server API, acting as the user's device."""
        self._check(user)
        token = self._devices.tokens.get(user)
        api = HTTPAPI(
            self._address,
            token or self._token,
            client_session=self._session,
            log=_SILENCE,
            as_user_id=UserID(user),
            # mautrix declares the device as a UserID.
            as_device_id=UserID(self._devices.name) if token is None else None,
        )
        return ClientAPI(UserID(user), api=api)

    def _prepare(self, user: UserId, device: bool, bare: bool) -> tuple[URL, dict[str, str]]:  # noqa: FBT001 - cached
        """Return address and headers of a user's requests; those of `bare` ones have no body."""
        token = self._devices.tokens.get(user) if device else None
        query: dict[str, str] = {"user_id": user}
        if device and token is None:
            # The unstable name is for homeservers before v1.17.
            name = self._devices.name
            query |= {"org.matrix.msc3202.device_id": name, "device_id": name}
        headers = {"Authorization": f"Bearer {token or self._token}"}
        if not bare:
            headers["Content-Type"] = "application/json"
        return URL(f"{self._address}/").with_query(query), headers

    # --- Matrix APIs; `user`, `reader` or `who` acts ----------------------------------------------

    async def check(self) -> None:
        """Check that the homeserver answers, and knows the as_token."""
        await self.request("GET", f"{_CLIENT}/account/whoami", device=False)

    async def ping(self, appservice_id: str) -> None:
        """Have the homeserver ping the bridge, which also makes it send queued transactions.

        Raises Unavailable if it does not answer, or (not an outage) cannot reach the bridge.
        """
        path = f"_matrix/client/v1/appservice/{_quoted(appservice_id)}/ping"
        try:
            await self.request("POST", path, {}, device=False)
        except Refused as refusal:
            if refusal.code not in _UNREACHED:
                raise
            if PINGED not in str(refusal):
                raise Unavailable(str(refusal)) from refusal

    async def register(self, user: UserId) -> bool:
        """Register a bridge user; False if the name is in use already, perhaps by a stranger."""
        content: Json = {
            "type": "m.login.application_service",
            "username": localpart_of(user),
            "inhibit_login": True,
        }
        path, query = f"{_CLIENT}/register", {"kind": "user"}
        with Despite("M_USER_IN_USE"):
            await self.request("POST", path, content, query=query, device=False)
            return True
        return False

    async def devices(self, user: UserId) -> list[str]:
        """Return the user's device ids, one per login."""
        reply = await self.request("GET", f"{_CLIENT}/devices", user=user, device=False)
        return wire.device_ids(reply)

    async def account_data(self, user: UserId, kind: str) -> Json:
        """Return account data, private to the user; empty if there is none of that type."""
        try:
            return await self.request("GET", _account_data(user, kind), user=user, device=False)
        except Refused:  # perhaps the user does not exist either
            return {}

    async def set_account_data(self, user: UserId, kind: str, content: Json) -> None:
        await self.request("PUT", _account_data(user, kind), content, user=user, device=False)

    async def make_device(self, user: UserId) -> None:
        """Create the user's device (MSC4190), without keys: encryption creates its own."""
        path, content = f"{_CLIENT}/devices/{DEVICE}", Json(display_name="WebChat")
        await self.request("PUT", path, content, user=user, device=False)

    async def set_profile(self, user: UserId, key: str, value: str) -> None:
        client = self._client(user)
        change = client.set_avatar_url if key == "avatar_url" else client.set_displayname
        await self._within(key, change(ContentURI(value), check_current=False))

    async def join(self, user: UserId, room_id: RoomId) -> None:
        path = _room(room_id, "join")
        await self.request("POST", path, {}, user=user, timeout=_PATIENT, patient=True)

    async def invite(self, user: UserId, room_id: RoomId, whom: UserId) -> None:
        invite = self._client(user).invite_user(RoomID(room_id), UserID(whom))
        await self._within("invite", invite)

    async def leave(
        self, user: UserId, room_id: RoomId, reason: str = "", profile: Json | None = None
    ) -> None:
        """Leave the room, if possible with a membership that shows the profile.

        Element X takes the name beside a message from the sender's latest membership. A phone that
        was asleep during the chat, or is new, would show the user's id.

        Without a device: after a restored backup that of a user who has not spoken since is gone.
        """
        self._check(user)
        content: Json = {"reason": reason} if reason else {}
        request = partial(self.request, user=user, device=False, timeout=_PATIENT, patient=True)
        if profile:
            path = _room(room_id, "state", "m.room.member", user)
            # Marked as the bridge's own doing (`appservice.is_echo`).
            gone: Json = {"membership": "leave", wire.MARKER: {}, **profile, **content}
            with suppress(Refused):  # a user who is not in the room cannot
                await request("PUT", path, gone)
                return
        path = _room(room_id, "leave")
        with Despite(*_OUT_ALREADY):
            await request("POST", path, content)

    async def send(
        self, user: UserId, room_id: RoomId, kind: str, content: Json, txn_id: str
    ) -> EventId:
        path = _room(room_id, "send", kind, txn_id)
        async with self._places:
            reply = await self.request("PUT", path, content, user=user)
        event_id = reply.get("event_id")
        if not isinstance(event_id, str):
            raise Unavailable("send answered without an event id")
        return EventId(event_id)

    async def state(self, user: UserId, room_id: RoomId, kind: str, key: str = "") -> Json | None:
        """Return a full state event, or None if the room has none of this type and state key."""
        path, query = _room(room_id, "state", kind, key), {"format": "event"}
        with Despite("M_NOT_FOUND"):
            return await self.request("GET", path, user=user, query=query, storable=True)
        return None

    async def set_state(
        self, user: UserId, room_id: RoomId, kind: str, content: Json, key: str = ""
    ) -> None:
        await self.request("PUT", _room(room_id, "state", kind, key), content, user=user)

    async def is_joined(self, room_id: RoomId, reader: UserId, who: UserId) -> bool:
        """Whether `who` is joined. Raises Refused if `reader` is not a member of the room."""
        member = await self.state(reader, room_id, "m.room.member", who)
        return wire.text(member, "content", "membership") == "join"

    async def event(self, room_id: RoomId, reader: UserId, event_id: EventId) -> Json | None:
        """Return an event; None if the reader may not see it, or it is soft-failed."""
        path = _room(room_id, "event", event_id)
        with Despite("M_NOT_FOUND", "M_FORBIDDEN"):
            return await self.request("GET", path, user=reader, storable=True)
        return None

    async def openid_user(self, token: str) -> UserId:
        """Return the user to whom this homeserver issued an OpenID token (specification, "OpenID").

        Raises Refused for a token unknown to it, Unavailable also if homeserver.address does not
        serve this API (Synapse: resource `openid` of a listener). The as_token is not sent: Synapse
        takes a caller with a token for another homeserver, and may block it. Failures do not set
        `outage`: anybody can cause them, and a proxy's 404 is none.
        """
        path = "_matrix/federation/v1/openid/userinfo"
        request = self._session.get(f"{self._address}/{path}", params={"access_token": token})
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT), request as response:
                reply: object = await response.json()
        except _FAILED as error:
            raise Unavailable(f"openid failed: {describe(error)}") from error
        except Unauthorized as error:
            raise Refused("", str(error)) from error
        except Refused as error:
            raise Unavailable(f"{path} at homeserver.address answers {error}") from error
        return UserId(wire.text(reply, "sub"))

    async def members(self, user: UserId, room_id: RoomId) -> Sequence[Json]:
        """Return the member events of all who have not left."""
        path, query = _room(room_id, "members"), {"not_membership": "leave"}
        # Synapse lets it wait until another server has sent the state of a room just joined.
        reply = await self.request("GET", path, user=user, query=query, patient=True, storable=True)
        return wire.objects(reply, "chunk")

    async def page(
        self, user: UserId, room_id: RoomId, limit: int, start: str = "", way: str = "b"
    ) -> tuple[Sequence[Json], str]:
        """Return a page of /messages and the token of the next page ("" if there is none).

        From `start`, by default the room's end, backwards, newest first; with `way` "f" forwards.
        """
        query = {"dir": way, "limit": str(limit)} | ({"from": clean(start)} if start else {})
        path = _room(room_id, "messages")
        reply = await self.request("GET", path, user=user, query=query, patient=True, storable=True)
        found = wire.objects(reply, "chunk")
        # Some servers return a token even at the room's end.
        return found, wire.text(reply, "end") if found else ""

    async def news(
        self, user: UserId, since: str
    ) -> tuple[list[tuple[RoomId, list[Json]]], list[RoomId], str]:
        """Return what is newer than `since`, nothing if it is empty; and the next `since`.

        Open invitations, each a room with its stripped state events (without ids); and the user's
        rooms in which there are new events.
        """
        # Synapse repeats its response to the same query for two minutes, so no two are the same.
        query = {"timeout": str(randrange(1000)), "set_presence": "offline"}  # noqa: S311
        query |= {"since": since, "filter": _NEWS} if since else {"filter": wire.NOTHING_BUT_KEYS}
        reply = await self.request("GET", f"{_CLIENT}/sync", user=user, device=False, query=query)
        found = wire.mapping(reply, "rooms", "invite")
        shown = [
            (RoomId(room), wire.objects(found, room, "invite_state", "events")) for room in found
        ]
        joined = [RoomId(room) for room in wire.mapping(reply, "rooms", "join")]
        return shown, joined, wire.text(reply, "next_batch")

    async def timeline(
        self, room_id: RoomId, reader: UserId, first: EventId, who: UserId, since: int
    ) -> AsyncGenerator[Json, None]:
        """See `MatrixPort.timeline`."""
        try:
            found = await self._around(room_id, reader, first)
        except Refused as error:
            if error.code != "M_NOT_FOUND":
                raise
            path = f"_matrix/client/v1/rooms/{_quoted(room_id)}/timestamp_to_event"
            at = {"ts": str(since), "dir": "f"}
            later = await self.request("GET", path, user=reader, query=at, patient=True)
            found = await self._around(room_id, reader, wire.text(later, "event_id"))
        if who and not _shown_to(who, wire.objects(found, "state")):
            raise Refused(Refused.UNSEEN)
        yield wire.mapping(found, "event")
        after = wire.text(found, "end")
        while after:
            page, after = await self.page(reader, room_id, TIMELINE_PAGE, after, "f")
            for event in page:
                yield event

    async def _around(self, room_id: RoomId, reader: UserId, event_id: str) -> Json:
        path, query = _room(room_id, "context", clean(event_id)), {"limit": "0"}
        return await self.request(
            "GET", path, user=reader, query=query, patient=True, storable=True
        )

    async def redact(self, room_id: RoomId, who: UserId, event_id: EventId, txn_id: str) -> None:
        path = _room(room_id, "redact", event_id, txn_id)
        await self.request("PUT", path, {}, user=who)

    async def show_typing(self, room_id: RoomId, who: UserId, seconds: float) -> None:
        """Show the user as typing for `seconds`; 0 stops it."""
        content: Json = {"typing": seconds > 0}
        if seconds > 0:
            content["timeout"] = int(seconds * 1000)
        await self.request("PUT", _room(room_id, "typing", who), content, user=who)

    async def mark_read(self, room_id: RoomId, who: UserId, event_id: EventId) -> None:
        path = _room(room_id, "receipt", "m.read", event_id)
        await self.request("POST", path, {}, user=who)

    async def upload_limit(self) -> int | None:
        """Return the largest upload in bytes, or None if the homeserver names none."""
        reply = await self.request("GET", "_matrix/client/v1/media/config")
        return wire.integer(reply, "m.upload.size")


def _shown_to(who: UserId, state: Sequence[Json]) -> bool:
    """Whether a user can read messages sent in this state (specification, "Room history
    visibility"); encrypted ones only if they were in the room, or invited, to get the keys.
    """
    found = {(wire.text(event, "type"), wire.text(event, "state_key")): event for event in state}
    history = found.get(("m.room.history_visibility", ""))
    shown = wire.text(history, "content", "history_visibility") or "shared"
    membership = wire.text(found.get(("m.room.member", who)), "content", "membership")
    if membership == "join" or (membership == "invite" and shown != "joined"):
        return True
    return shown in {"shared", "world_readable"} and ("m.room.encryption", "") not in found


async def _load(reply: bytes | msgspec.Raw, levels: int = 3, *, storable: bool) -> object:
    """Decode a reply, a long one in parts: dense events, of which a page takes a quarter of a
    second, do not make other rooms wait. Parts are the values of the outer `levels`; one within
    them that is too long for an event is None.
    """
    long = memoryview(reply).nbytes > _LONG
    if long and not levels:
        return None
    try:
        if not long:
            return msgspec.json.decode(reply)
        parts = _read_parts(reply)
    except (ValueError, RecursionError):
        # Strangers' events may contain NaN, endless integers, and lone surrogates, which no
        # database stores.
        found = json.loads(wire.shallow(bytes(reply)), parse_int=wire.whole_number)
        return json.loads(clean(json.dumps(found, ensure_ascii=False))) if storable else found
    read, size = list[object](), _PART
    for part in parts.values() if isinstance(parts, dict) else parts:
        if size >= _PART:
            await asyncio.sleep(0)
            size = 0
        read.append(await _load(part, levels - 1, storable=storable))
        size += memoryview(part).nbytes
    return dict(zip(parts, read, strict=True)) if isinstance(parts, dict) else read


def _dump(content: Json) -> bytes:
    try:
        return msgspec.json.encode(content)
    except (UnicodeError, OverflowError):
        # Strangers' contents may hold lone surrogates and integers over 64 bits.
        return json.dumps(content).encode()


# --- files spooled until their size is known ------------------------------------------------------


class Spooled(Kept, frozen=True):
    """A file that was read completely: Synapse takes no upload of unknown size."""

    name: str
    mime: str
    """Sniffed from the content if possible (`formats.sniff`)."""
    dimensions: tuple[int, int] | None = None
    """Width and height in pixels of a picture or video."""
    seconds: float | None = None
    waveform: tuple[int, ...] | None = None
    """None unless it is a playable voice message."""


_THUMBNAILED = frozenset({"image/gif", "image/jpeg", "image/jpg", "image/png", "image/webp"})
"""Media types of uploads that Synapse reads at once, to make thumbnails."""


@asynccontextmanager
async def spool(blob: Blob, fallback_name: str) -> AsyncIterator[Spooled]:
    """Read a blob completely, passing on its errors. `fallback_name` has no extension."""
    async with keep(blob.chunks) as kept:
        kept.stream.seek(0)
        mime = formats.sniff(kept.stream.read(formats.HEAD), blob.name, blob.mime)
        dimensions = None
        if mime.startswith("image/"):
            kept.stream.seek(0)
            dimensions = await asyncio.to_thread(formats.dimensions, kept.stream)
        name = formats.safe_name(blob.name, mime, fallback=fallback_name)
        if dimensions is None and mime in _THUMBNAILED:
            mime = formats.OCTETS  # the homeserver might read for minutes what is no picture here
        yield Spooled(kept.stream, kept.size, name, mime, dimensions)
