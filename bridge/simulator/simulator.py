"""The WebChat simulator: the server side of the guides on one port, with control API and desk.

All behaviour of the server is pure code (state, checks, handlers, operations); this module, `web`
and `desk_page` do the I/O. Control API (`/_sim`) and desk need no password: bind the simulator to
loopback or to a network you trust. Pages of other sites are refused (`Origin`, `Host`).
"""

from __future__ import annotations

import asyncio
import base64
import socket
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog
from aiohttp import web

from bridge.simulator import operations, samples
from bridge.simulator.desk_page import DeskSide
from bridge.simulator.operations import BadOpError
from bridge.simulator.options import DeskAgent, SimulatorOptions
from bridge.simulator.state import CallCentre, Customer, Log, QueueRequest, Session, Wire
from bridge.simulator.web import HttpSide, Pulse, Shelf, Switchboard, answer

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
        self._centre = CallCentre(options, self._new_token, _wall_ms)
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
        listener = socket.create_server((host, port), family=family, backlog=512)
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
        done = operations.perform(self._centre, wanted, now, host)
        sent = self._board.post(done.outgoing)
        self._log.debug("simulator operation", op=op.get("op"), sent=sent)
        return {"ok": True, "sent": sent, **done.answer}

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

    async def wait_for(self, predicate: Callable[[Wire], bool], timeout: float = 10.0) -> Wire:
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
        except ValueError as error:
            return _bad(f"the body must be a JSON object: {error}")
        try:
            return answer(await self.do(body))
        except BadOpError as error:
            return _bad(str(error))

    def _new_token(self) -> str:
        token = str(uuid.uuid4()).upper()
        return f"{token}+/=" if self.options.awkward_tokens else token


async def serve(options: SimulatorOptions, host: str, port: int) -> None:
    """Print the addresses and run a simulator until cancelled. OSError if it cannot listen."""
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


def _wall_ms() -> int:
    return round(datetime.now(tz=UTC).timestamp() * 1000)


def _origin(host: str, port: int) -> str:
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


# --- the state as JSON ---------------------------------------------------------------------------


_LISTS = ("messages", "refused", "said", "ratings", "signals")


def _customer(who: Customer, now: float) -> Wire:
    history = who.history
    return {
        "name": who.name,
        "client_id": who.client_id,
        "logins": who.logins,
        "token": any(now < expires for expires in who.tokens.values()),
        "linked": who.linked,
        "request": _request(who.request) if who.request else None,
        "session": _session(who.session) if who.session else None,
        "sessions": [_session(session) for session in history.sessions],
        **{name: list(getattr(history, name)) for name in _LISTS},
        "dropped": history.dropped,
        "lost_pushes": history.lost_pushes,
        "pending_pushes": len(who.pending),
    }


def _request(request: QueueRequest) -> Wire:
    return {
        "id": request.id,
        "login": request.login,
        "queueId": request.queue_id,
        "from": request.source,
        "sessionId": request.session.id if request.session else None,
        "place": request.announced,
    }


def _session(session: Session) -> Wire:
    return {
        "id": session.id,
        "login": session.login,
        "queueId": session.queue_id,
        "agents": [agent.id for agent in session.agents],
        "robot": session.robot,
        "open": session.open,
        "ended_by": session.ended_by,
    }
