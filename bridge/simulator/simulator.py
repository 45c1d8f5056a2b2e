"""The WebChat simulator: the server side of the guides on one port, with control API and desk.

All behaviour of the server is pure code (state, checks, handlers, operations); this module and
`web` do the I/O. Control API (`/_sim`) and desk need no password: bind the simulator to loopback or
to a network you trust. Pages of other sites are refused (`Origin`, `Host`).

The agent desk in the browser reads views from a WebSocket (`/desk/stream`) and acts through
`/_sim/do`, as scripts do. A view holds the waiting customers, the sessions and the new transcript
entries; times are durations, so that only the browser's own clock is needed.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import structlog
from aiohttp import WSMsgType, hdrs, web
from aiohttp.typedefs import Handler

from bridge.simulator import operations, samples
from bridge.simulator.operations import BadOpError
from bridge.simulator.options import DeskAgent, SimulatorOptions
from bridge.simulator.state import CallCentre, Customer, Log, QueueRequest, Session, Wire, shown
from bridge.simulator.web import OURS, HttpSide, Pulse, Shelf, Switchboard, answer, media_type
from bridge.webchat.words import FACES

__all__ = ["BadOpError", "DeskAgent", "Simulator", "SimulatorOptions", "serve"]

_LARGEST_BODY = 128 * 1024 * 1024
"""Maximum bytes of a request body that is read at once: control operations hold base64 files."""
_IDLE = 150.0
"""Seconds until a connection on which no request arrives is closed (aiohttp's keep-alive)."""
_LONGEST_WAIT = 300.0
"""Maximum seconds of a long poll for frames."""


class Simulator:
    """One simulated WebChat server, by default of the guide of 2016."""

    def __init__(self, options: SimulatorOptions | None = None) -> None:
        options = options or SimulatorOptions()
        self._centre = CallCentre(options, self._new_token, lambda: time.time_ns() // 1_000_000)
        self._journal = Log(options.keep_frames, "number")
        self._pulse = Pulse()
        self._board = Switchboard(self._centre, self._journal, self._pulse)
        self._running: AsyncExitStack | None = None
        self._shelf: Shelf | None = None
        """Kept after `stop` for its list of uploads; `stop` deletes the files."""
        self._log = structlog.get_logger()

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:PORT/webchat`; empty before the start."""
        return self._centre.base_url

    @property
    def control_url(self) -> str:
        """`http://127.0.0.1:PORT/_sim`; empty before the start."""
        context = self.options.context
        return f"{self.base_url.removesuffix(context)}/_sim" if self.base_url else ""

    @property
    def desk_url(self) -> str:
        """`http://127.0.0.1:PORT/desk`, for a browser; empty before the start."""
        return self.control_url.removesuffix("_sim") + "desk" if self.base_url else ""

    @property
    def options(self) -> SimulatorOptions:
        """Current options; `do` with `set` changes them."""
        return self._centre.options

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen and return the port; 0 chooses a free one. OSError if the port is taken."""
        if self._running is not None:
            raise RuntimeError("the simulator runs already")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.create_server((host, port), family=family, backlog=512)
        except OSError as error:
            why = f"cannot listen on {host}:{port}: {error.strerror}"
            raise OSError(error.errno, why) from error
        port = listener.getsockname()[1]
        centre = self._centre
        context = centre.options.context
        origin = centre.options.public_origin or _origin(host, port)
        centre.base_url = f"{origin}{context}"

        running = AsyncExitStack()
        directory = running.enter_context(tempfile.TemporaryDirectory(prefix="webchat-simulator-"))
        shelf = self._shelf = Shelf(Path(directory), centre.base_url, context)
        stopping = asyncio.Event()
        http = HttpSide(self._centre, shelf, self._pulse, stopping)
        desk = DeskSide(self._centre, shelf, self._pulse, stopping)
        app = web.Application(
            client_max_size=_LARGEST_BODY, middlewares=[desk.only_our_pages, http.trouble]
        )
        app.add_routes([*http.routes(context), *desk.routes()])
        app.router.add_get(f"{context}/cws", self._board.serve)
        app.router.add_get("/_sim/state", self._get_state)
        app.router.add_get("/_sim/frames", self._get_frames)
        app.router.add_post("/_sim/do", self._post_do)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=_IDLE)
        await runner.setup()
        running.push_async_callback(runner.cleanup)
        running.callback(self._board.hang_up_all, 1001)
        running.callback(self._pulse.beat)
        running.callback(stopping.set)
        await web.SockSite(runner, listener).start()
        self._board.keep_time()
        running.callback(self._board.stop_clock)
        self._running = running
        self._log.info("simulator listens", base_url=self.base_url)
        return port

    async def stop(self) -> None:
        """Close every socket with 1001 and the port; state and frames stay readable."""
        running, self._running = self._running, None
        if running is not None:
            await running.aclose()
            self._log.info("simulator stopped", base_url=self.base_url)

    async def do(self, op: Mapping[str, object]) -> Wire:
        """Carry out a control operation, as `POST /_sim/do` does; BadOpError if it is impossible.

        Returns `ok`, `sent` (False if a push had no open socket), and fields of the operation:
        `session`, `request`, `n` (the record's number in `said`), `size`, `sha256`.
        """
        shelf = self._shelf
        if self._running is None or shelf is None:
            raise RuntimeError("the simulator does not run")

        def host(name: str, body: bytes) -> tuple[str, str]:
            file = shelf.put(name, body)
            return shelf.url(file, self.options.upload_url), f"{file.number}/{file.name}"

        wanted = await _with_amr(op)
        self._board.settle()
        now = asyncio.get_running_loop().time()
        fields = operations.perform(self._centre, wanted, now, host)
        sent = self._board.post(self._centre.outgoing())
        self._log.debug("simulator operation", op=op.get("op"), sent=sent)
        return {"ok": True, "sent": sent, **fields}

    def state(self) -> Wire:
        """Return the state for scripts to compare; lists are copies, their entries are not."""
        centre, now = self._centre, asyncio.get_running_loop().time()
        self._board.settle()
        customers = centre.customers.values()
        return {
            "customers": {who.login: _customer(who, now) for who in customers},
            "waiting": [_request(request) for request in centre.requests.values()],
            "sessions": [_session(session) for session in centre.sessions.values()],
            "uploads": self._shelf.uploads(self.options.upload_url) if self._shelf else [],
            "logins": sum(who.logins for who in customers),
            "open_sockets": sum(who.linked for who in customers),
            "blacklist": centre.gate.banned(),
            "faults": centre.faults.describe(),
            "down": now < centre.down_until,
        }

    @property
    def customers(self) -> Mapping[str, Customer]:
        """Customers by login, from which `state` is made."""
        return self._centre.customers

    def frames(self, since: int = 0) -> list[Wire]:
        """Return the logged frames of all sockets, numbered above `since`, tokens masked."""
        return self._journal.since(since)

    async def wait_for(self, predicate: Callable[[Wire], bool], timeout: float = 30.0) -> Wire:
        """Return the first state, from now on, that satisfies the predicate, or TimeoutError."""
        async with asyncio.timeout(timeout):
            while not predicate(state := self.state()):
                await self._pulse.next.wait()
        return state

    async def _get_state(self, request: web.Request) -> web.Response:
        return answer(self.state())

    async def _get_frames(self, request: web.Request) -> web.Response:
        """Answer with the frames numbered above `since`; a long poll of `wait` seconds if given."""
        try:
            since = int(request.query.get("since", "0"))
            wait = min(float(request.query.get("wait", "0")), _LONGEST_WAIT)
        except ValueError:
            return _bad("since must be an integer and wait a number of seconds")
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                while wait > 0 and self._journal.last <= since:
                    await self._pulse.next.wait()
        return answer({"last": self._journal.last, "frames": self._journal.since(since)})

    async def _post_do(self, request: web.Request) -> web.Response:
        try:
            body = msgspec.json.decode(await request.read(), type=dict[str, object])
        except (ValueError, RecursionError) as error:
            return _bad(f"the body must be a JSON object: {error}")
        try:
            return answer(await self.do(body))
        except BadOpError as error:
            return _bad(str(error))

    def _new_token(self) -> str:
        token = str(uuid.uuid4()).upper()
        return f"{token}+/=" if self.options.awkward_tokens else token


async def serve(options: SimulatorOptions, host: str, port: int) -> None:
    """Print the addresses and run a simulator until cancelled. May raise OSError."""
    simulator = Simulator(options)
    await simulator.start(host, port)
    try:
        sys.stdout.write(
            f"WebChat: {simulator.base_url}\n"
            f"control: {simulator.control_url}\n"
            f"desk:    {simulator.desk_url}\n"
        )
        sys.stdout.flush()
        await asyncio.Event().wait()
    finally:
        await simulator.stop()


def _bad(sentence: str) -> web.Response:
    return answer({"ok": False, "error": sentence}, status=400)


async def _with_amr(op: Mapping[str, object]) -> Mapping[str, object]:
    """Convert the recording of a `voice` operation to AMR, in a thread, and add its length if none
    is given; AMR stays as it is, and is not even read if its length is given.
    """
    data = op.get("data")
    if op.get("op") != "voice" or not isinstance(data, str) or not data:
        return op
    try:
        recording = base64.b64decode(data, validate=True)
        if recording.startswith(samples.AMR) and "seconds" in op:
            return op
        voice, seconds = await asyncio.to_thread(samples.to_amr, recording)
    except (ValueError, samples.SoundError) as error:
        raise BadOpError(f"data is no voice: {error}") from error
    return {"seconds": seconds, **op, "data": base64.b64encode(voice).decode()}


def _origin(host: str, port: int) -> str:
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


# --- the state as JSON ---------------------------------------------------------------------------


_LISTS = ("messages", "refused", "said", "ratings", "signals")


def _customer(who: Customer, now: float) -> Wire:
    return {
        "name": who.name,
        "client_id": who.client_id,
        "logins": who.logins,
        "token": any(now < expires for expires in who.tokens.values()),
        "linked": who.linked,
        "request": _request(who.request) if who.request else None,
        "session": _session(who.session) if who.session else None,
        "sessions": [_session(session) for session in who.sessions],
        **{name: list(getattr(who, name)) for name in _LISTS},
        "dropped": who.dropped,
        "lost_pushes": who.lost_pushes,
        "pending_pushes": len(who.pending),
    }


def _request(request: QueueRequest) -> Wire:
    return {
        "id": request.id,
        "login": request.customer.login,
        "queueId": request.queue_id,
        "from": request.source,
        "sessionId": request.session.id if request.session else None,
        "place": request.announced,
    }


def _session(session: Session) -> Wire:
    return {
        "id": session.id,
        "login": session.customer.login,
        "queueId": session.queue_id,
        "agents": [agent.id for agent in session.agents],
        "robot": session.robot,
        "open": not session.ended_by,
        "ended_by": session.ended_by,
    }


# --- the agent desk in the browser ----------------------------------------------------------------

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
            web.get("/desk/files/{number:\\d{1,9}}/{name}", self._file),
            web.get("/desk/voices/{number:\\d{1,9}}", self._voice),
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
            if not ours or (origin and origin.partition("://")[2] != request.host):
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
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    break
            showing.cancel()
        return socket

    async def _show(self, socket: web.WebSocketResponse, since: int) -> None:
        loop = asyncio.get_running_loop()
        while not (socket.closed or self._stopping.is_set()):
            news = self._pulse.next
            shown: Wire = {"run": self._run, **view(self._centre, since, loop.time())}
            since = self._centre.transcript.last
            try:
                await socket.send_str(msgspec.json.encode(shown).decode())
            except ConnectionError:
                return
            await asyncio.sleep(_REST)
            await news.wait()
        await socket.close(code=1001)


# --- the desk's view -----------------------------------------------------------------------------


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
        "waiting": [_waiting(centre, request, now) for request in centre.requests.values()],
        "sessions": [_chat(centre, session, now) for session in sessions],
        "last": centre.transcript.last,
        "entries": [shown(entry) for entry in centre.transcript.since(since)],
    }


def _agent(agent: DeskAgent) -> Wire:
    return {"id": agent.id, "name": agent.name or agent.id, "comments": agent.comments}


def _waiting(centre: CallCentre, request: QueueRequest, now: float) -> Wire:
    fields = {"waited": now - request.since, "wanted": request.wanted}
    return _request(request) | _who(centre, request) | fields


def _chat(centre: CallCentre, session: Session, now: float) -> Wire:
    customer = session.customer
    typed = customer.typed_at if customer.session is session else None
    fields: Wire = {
        "agents": [_agent(agent) for agent in session.agents],
        "typed": None if typed is None else now - typed,
        "preview": customer.preview if typed is not None else "",
    }
    return _session(session) | _who(centre, session) | fields


def _who(centre: CallCentre, about: QueueRequest | Session) -> Wire:
    customer, queue = about.customer, centre.options.queue_name(about.queue_id)
    name = customer.name or customer.login
    return {"name": name, "linked": customer.linked, "queue_name": queue}
