"""HTTP server of the console (`/admin`) and the room page (`/room`), on their own port.

Both are static files (`page/`) and the operations as JSON below `api/`; they share only code:

- The console's session is a cookie (HttpOnly, SameSite=Strict, path `/admin`). The console may not
  be shown in a frame.
- The room page is shown in frames of Matrix clients. Their origins are unknown and some have no
  network scheme (`vector://`), so there is no `frame-ancestors`. Its session is a bearer token in
  the page's memory, valid for one room (`signin`).

CSRF protection: a call needs the header `OUR_HEADER`, for which other origins need CORS, and no
foreign Origin. The Content-Security-Policy allows only the pages' own files, no inline scripts.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from cachetools import LRUCache
from yarl import URL

from bridge.admin.operations import LONGEST_BODY, Dispatcher, Request
from bridge.admin.provisioning import Budget
from bridge.admin.shapes import Room
from bridge.admin.signin import SESSION_LIFE, NotLetIn, RoomAdmins, SignIn
from bridge.admin.views import Caller
from bridge.ids import RoomId
from bridge.rooms.store import StoreError
from bridge.texts import nearest

COOKIE = "webchat_console"
OUR_HEADER = "X-WebChat"
SIGN_INS = 10, 60.0
"""Rate limit (count, seconds) of failed console sign-ins per address; the rest is not logged."""
OPENID_SIGN_INS = 60, 60.0
"""Rate limit of room page sign-ins per address and room. Behind a proxy all have the same address,
so that strangers may use up no more than the limit of a room whose id they know."""
OPENID_TOGETHER = 10
"""Concurrent room page sign-ins, as each costs a request to the homeserver; the others wait."""
CALLS = 100, 10.0
"""Rate limit of calls per console session, and per user of the room page."""
CHANGES = 30, 60.0
"""Rate limit of changes per user of the room page: anyone is admin in a room of their own."""
PATIENCE = 20.0
"""Timeout in seconds for reading a request body."""
_KEPT = 4_000
"""Maximum number of cached rate limit budgets (addresses, sessions, users)."""
_PAGE = Path(__file__).with_name("page")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    hdrs.CACHE_CONTROL: "no-cache",
}
_UNFRAMED = {
    "Content-Security-Policy": f"{_POLICY}; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_ASSET = r"{name:[a-z]+\.(js|css|svg)}"
_LOG: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.admin.console")


class _Link(msgspec.Struct):
    secret: str


class _OpenId(msgspec.Struct):
    token: str
    room: Room


class Pages:
    """Serves console and room page; `public_url` is their external URL, empty if none."""

    def __init__(
        self, dispatcher: Dispatcher, sign_in: SignIn, admins: RoomAdmins, public_url: str
    ) -> None:
        self._dispatcher = dispatcher
        self._sign_in = sign_in
        self._admins = admins
        where = URL(public_url)  # as browsers write it: a host in lower case, no default port
        self._origin = str(where.origin()) if public_url else ""
        self._secure = where.scheme == "https"
        self._cookie_path = f"{where.raw_path.rstrip('/')}/admin"
        self._budgets: LRUCache[str, Budget] = LRUCache(_KEPT)
        self._openid = asyncio.Semaphore(OPENID_TOGETHER)

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard], client_max_size=LONGEST_BODY)
        application.add_routes(
            [
                web.get("/", self._to_console),
                web.get("/admin", self._to_console),
                web.get("/admin/", self._asset),
                web.get(f"/admin/{_ASSET}", self._asset),
                web.post("/admin/api/sign-in", self._sign_in_operator),
                web.post("/admin/api/sign-out", self._sign_out),
                web.get("/admin/api/session", self._session),
                web.route("*", "/admin/api/{path:.*}", self._operate),
                web.get("/room/", self._asset),
                web.get(f"/room/{_ASSET}", self._asset),
                web.post("/room/api/sign-in", self._sign_in_admin),
                web.route("*", "/room/api/{path:.*}", self._configure),
            ]
        )
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Reject cross-site calls, turn errors into JSON and add security headers."""
        try:
            self._admit(request)
            answer = await handler(request)
        except NotLetIn as error:
            body = {"errcode": "M_FORBIDDEN", "error": error.key, "key": error.key}
            answer = _json(error.status, body)
        except (TimeoutError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            body = {"errcode": "M_BAD_JSON", "error": "The request body is incomplete or invalid."}
            answer = _json(400, body)
        except StoreError as error:
            _LOG.warning("a session could not be looked up", why=str(error))
            answer = _json(503, {"errcode": "M_UNKNOWN", "error": "The database is unavailable."})
        except web.HTTPException as error:
            answer = error
        answer.headers.update(
            _HEADERS if request.path.startswith("/room/") else _HEADERS | _UNFRAMED
        )
        if "/api/" in request.path:
            answer.headers[hdrs.CACHE_CONTROL] = "no-store"
        if isinstance(answer, web.HTTPException):
            raise answer
        return answer

    def _admit(self, request: web.Request) -> None:
        """Raise NotLetIn for an API call without OUR_HEADER or from a foreign origin."""
        ours = {None, self._origin, f"{request.scheme}://{request.host}"}
        trusted = OUR_HEADER in request.headers and request.headers.get(hdrs.ORIGIN) in ours
        if "/api/" in request.path and not trusted:
            raise NotLetIn(403, "notOurPage")

    def _spend(self, what: str, rate: tuple[int, float]) -> None:
        if self._budgets.setdefault(what, Budget(*rate)).take():
            raise NotLetIn(429, "tooMany")

    # --- files --------------------------------------------------------------------------------

    async def _to_console(self, _request: web.Request) -> web.Response:
        # Relative, because a proxy may serve the console below a path of its own.
        raise web.HTTPFound("admin/")

    async def _asset(self, request: web.Request) -> web.FileResponse:
        index = "room.html" if request.path == "/room/" else "console.html"
        file = _PAGE / request.match_info.get("name", index)
        if not file.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(file)

    # --- the console --------------------------------------------------------------------------

    async def _sign_in_operator(self, request: web.Request) -> web.Response:
        link = msgspec.json.decode(await _body(request), type=_Link)
        try:
            session = await self._sign_in.sign_in(link.secret)
        except NotLetIn as error:
            # Only failures count: behind a proxy strangers share the operator's address.
            self._spend(f"sign-in {request.remote}", SIGN_INS)
            _LOG.warning("console sign-in refused", why=error.key, remote=request.remote)
            raise
        who = await self._sign_in.who(session)
        _LOG.info("console signed in", actor=who, remote=request.remote)
        answer = _json(200, {"who": who})
        answer.set_cookie(
            COOKIE,
            session,
            max_age=SESSION_LIFE // 1000,
            path=self._cookie_path,
            secure=self._secure,
            httponly=True,
            samesite="Strict",
        )
        return answer

    async def _sign_out(self, request: web.Request) -> web.Response:
        await self._sign_in.sign_out(request.cookies.get(COOKIE, ""))
        answer = _json(200, {})
        answer.del_cookie(COOKIE, path=self._cookie_path)
        return answer

    async def _operator(self, request: web.Request) -> str:
        session = request.cookies.get(COOKIE, "")
        who = await self._sign_in.who(session) if session else None
        if who is None:
            raise NotLetIn(401, "signedOut")
        self._spend(session, CALLS)
        return who

    async def _session(self, request: web.Request) -> web.Response:
        return _json(200, {"who": await self._operator(request)})

    async def _operate(self, request: web.Request) -> web.Response:
        who = await self._operator(request)
        caller = Caller(who, "console", language=_language(request))
        return await self._carry_out(request, "/admin/api", caller)

    # --- the room page ------------------------------------------------------------------------

    async def _sign_in_admin(self, request: web.Request) -> web.Response:
        claim = msgspec.json.decode(await _body(request), type=_OpenId)
        room = RoomId(claim.room)
        async with self._openid:
            # Rooms that the bridge does not serve share a limit, or made-up ones would have none.
            limited = room if await self._admins.serves(room) else ""
            self._spend(f"openid {request.remote} {limited}", OPENID_SIGN_INS)
            token = await self._admins.sign_in(claim.token, room)
        session = self._admins.session(token)
        record = await self._admins.room_of(session)
        _LOG.info("room page signed in", actor=session.user, room=record.room_id)
        return _json(200, {"session": token, "user": session.user, "room_id": record.room_id})

    async def _configure(self, request: web.Request) -> web.Response:
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        session = self._admins.session(token if scheme == "Bearer" else "")
        self._spend(f"page {session.user}", CALLS)
        changes = request.method != hdrs.METH_GET
        if changes:
            self._spend(f"change {session.user}", CHANGES)
        record = await self._admins.room_of(session, anew=changes)
        caller = Caller(session.user, "widget", record.room_id, _language(request))
        return await self._carry_out(request, "/room/api", caller)

    async def _carry_out(self, request: web.Request, prefix: str, caller: Caller) -> web.Response:
        path = request.rel_url.raw_path.removeprefix(prefix)
        query = list(request.rel_url.query.items())
        asked = Request(request.method, path, query, await _body(request))
        outcome = await self._dispatcher.carry_out(asked, caller)
        return _json(outcome.status, outcome.body)


async def _body(request: web.Request) -> bytes:
    async with asyncio.timeout(PATIENCE):
        return await request.read()


def _json(status: int, body: Mapping[str, object] | bytes) -> web.Response:
    encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return web.Response(status=status, body=encoded, content_type="application/json")


def _language(request: web.Request) -> str:
    """Return the page's language, sent as Accept-Language with each call."""
    first, *_ = re.split("[,;]", request.headers.get(hdrs.ACCEPT_LANGUAGE, ""))
    return nearest(first) or "en"
