"""The agent desk in the browser: its page, the files it shows, and a WebSocket of views.

A desk reads `/desk/stream` and acts through `/_sim/do`, as scripts do. A view holds the waiting
customers, the sessions and the new transcript entries; times are durations, so that only the
browser's own clock is needed.
"""

from __future__ import annotations

import asyncio
import base64
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from aiohttp import WSMsgType, hdrs, web
from aiohttp.typedefs import Handler

from bridge.simulator import samples
from bridge.simulator.options import DeskAgent
from bridge.simulator.state import CallCentre, QueueRequest, Session, Wire, shown
from bridge.simulator.web import OURS, Pulse, Shelf, answer, media_type
from bridge.webchat.words import FACES

_PAGE = Path(__file__).with_name("page")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    hdrs.CACHE_CONTROL: "no-cache",
}
_REST = 0.1
"""Minimum seconds between two views, so that a busy call centre does not flood its desks."""


def _is_our_name(host: str, public_origin: str) -> bool:
    """True for a `Host` that a page of another site cannot have (see `only_our_pages`)."""
    with suppress(ValueError):  # ip_address raises it for any other name
        name = urlsplit(f"//{host}").hostname or "."
        own = urlsplit(public_origin).hostname
        return name == own or "." not in name or bool(ip_address(name))
    return False


@dataclass(frozen=True, eq=False)
class DeskSide:
    _centre: CallCentre
    _shelf: Shelf
    _pulse: Pulse
    _stopping: asyncio.Event
    _run: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Id of this run: a desk that knows another one has entry numbers of an earlier run."""

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._to_desk),
            web.get("/desk/", self._to_desk),
            web.get("/desk", self._asset),
            web.get("/desk/stream", self._stream),
            web.get("/desk/faces", self._faces),
            web.get("/desk/files/{number:\\d+}/{name}", self._file),
            web.get("/desk/voices/{number:\\d+}", self._voice),
            web.get("/desk/{name:[a-z]+\\.[a-z]+}", self._asset),
        ]

    @web.middleware
    async def only_our_pages(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse control (403) by pages of other sites: their `Origin` differs from `Host`.

        Against DNS rebinding, where both agree, `Host` must also be an IP address, a name without
        a dot or the host of `public_origin`. Scripts send no `Origin`.
        """
        if request.path.startswith(OURS):
            origin, public = request.headers.get(hdrs.ORIGIN), self._centre.options
            ours = _is_our_name(request.host, public.public_origin)
            if not ours or (origin and urlsplit(origin).netloc != request.host):
                why = "Pages of another site cannot control the simulator."
                return web.Response(status=403, text=why)
        return await handler(request)

    async def _to_desk(self, request: web.Request) -> web.Response:
        """Lead to the desk from what people type; relatively, for proxies that add a path."""
        place = "../desk" if request.path == "/desk/" else "desk"
        query = f"?{request.query_string}" if request.query_string else ""
        return web.Response(status=302, headers={hdrs.LOCATION: place + query})

    async def _asset(self, request: web.Request) -> web.FileResponse:
        file = _PAGE / request.match_info.get("name", "index.html")
        return web.FileResponse(file, headers=_HEADERS)

    async def _faces(self, request: web.Request) -> web.Response:
        return answer({"faces": [list(face) for face in FACES]})

    async def _file(self, request: web.Request) -> web.StreamResponse:
        response = self._shelf.response(request)
        if response is None:
            raise web.HTTPNotFound
        if not media_type(request.match_info["name"]).startswith("image/"):
            response.headers[hdrs.CONTENT_DISPOSITION] = "attachment"
        return response

    async def _voice(self, request: web.Request) -> web.Response:
        """Serve a voice as WAV: no browser plays AMR."""
        number = int(request.match_info["number"])
        entry = next(iter(self._centre.transcript.since(number - 1)), None)
        file_number, _, name = str((entry or {}).get("file", "0/")).partition("/")
        file = self._shelf.find(int(file_number), name)
        if entry is None or entry["n"] != number or not (file or "audio" in entry):
            raise web.HTTPNotFound
        try:
            sound = file.path.read_bytes() if file else base64.b64decode(str(entry["audio"]))
            wav = await asyncio.to_thread(samples.to_wav, sound)
        except (samples.SoundError, ValueError) as error:
            raise web.HTTPUnprocessableEntity(text=str(error)) from error
        return web.Response(body=wav, content_type="audio/wav")

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        """Push a view after each change, with the transcript entries that are new to this desk: it
        reconnects with `run` and, as `since`, `last` of its last view.
        """
        try:
            since = int(request.query.get("since", "0"))
        except ValueError as error:
            raise web.HTTPBadRequest(text="since must be an integer") from error
        if request.query.get("run") != self._run:
            since = 0
        socket = web.WebSocketResponse(compress=False, heartbeat=20, timeout=1.0)
        await socket.prepare(request)
        async with asyncio.TaskGroup() as group:
            showing = group.create_task(self._show(socket, since))
            stop = group.create_task(self._close_at_stop(socket))
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
            showing.cancel()
            stop.cancel()
        return socket

    async def _show(self, socket: web.WebSocketResponse, since: int) -> None:
        loop = asyncio.get_running_loop()
        while not socket.closed:
            news = self._pulse.next
            shown: Wire = {"run": self._run, **view(self._centre, since, loop.time())}
            since = self._centre.transcript.last
            try:
                await socket.send_str(msgspec.json.encode(shown).decode())
            except ConnectionError:
                return
            await asyncio.sleep(_REST)
            await news.wait()

    async def _close_at_stop(self, socket: web.WebSocketResponse) -> None:
        await self._stopping.wait()
        await socket.close(code=1001)


# --- the view ------------------------------------------------------------------------------------


def view(centre: CallCentre, since: int, now: float) -> Wire:
    """Return the call centre's state, and the transcript entries numbered above `since`."""
    options = centre.options
    sessions = [*centre.closed, *centre.sessions.values()]
    return {
        "dialect": options.dialect,
        "types": options.later,
        "open_hours": options.open_hours,
        "agents": [_agent(agent) for agent in options.agents],
        "queues": dict(options.queue_names),
        "ratings": {str(choice.id): choice.name for choice in options.ratings},
        "waiting": [_request(centre, request, now) for request in centre.requests.values()],
        "sessions": [_session(centre, session, now) for session in sessions],
        "last": centre.transcript.last,
        "entries": [shown(entry) for entry in centre.transcript.since(since)],
    }


def _agent(agent: DeskAgent) -> Wire:
    return {"id": agent.id, "name": agent.name or agent.id, "comments": agent.comments}


def _request(centre: CallCentre, request: QueueRequest, now: float) -> Wire:
    return {
        "id": request.id,
        **_who(centre, request.login),
        "queue": request.queue_id,
        "queue_name": centre.options.queue_name(request.queue_id),
        "from": request.source,
        "place": request.announced,
        "waited": now - request.since,
        "wanted": request.wanted,
        "session": request.session.id if request.session else None,
    }


def _session(centre: CallCentre, session: Session, now: float) -> Wire:
    customer = centre.customers[session.login]
    typed = customer.typed_at if customer.session is session else None
    return {
        "id": session.id,
        **_who(centre, session.login),
        "queue": session.queue_id,
        "queue_name": centre.options.queue_name(session.queue_id),
        "agents": [_agent(agent) for agent in session.agents],
        "robot": session.robot,
        "open": session.open,
        "ended_by": session.ended_by,
        "typed": None if typed is None else now - typed,
        "preview": customer.preview if typed is not None else "",
    }


def _who(centre: CallCentre, login: str) -> Wire:
    customer = centre.customers[login]
    return {"login": login, "name": customer.name or login, "linked": customer.linked}
