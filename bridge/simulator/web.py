"""Routes below the context path: HTTP requests, hosted files, and the WebSocket at `/cws`.

Files (uploads of customers, files of agents) are stored on disk until the stop, named by number, so
that no client-chosen name can escape the directory; URLs show the name, as a real server's do.

A customer has one socket; its frames are sent in order, and all are logged. A socket is detached
from its customer before it is closed: pushes after that are missed, as by a lost socket.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import mimetypes
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple
from urllib.parse import quote

import msgspec
from aiohttp import BodyPartReader, WSMsgType, hdrs, web
from aiohttp.multipart import content_disposition_filename, parse_content_disposition
from aiohttp.typedefs import Handler

from bridge.simulator import desk, handlers, samples
from bridge.simulator.checks import check
from bridge.simulator.handlers import log_in, result
from bridge.simulator.state import (
    STICKY,
    CallCentre,
    Customer,
    HangUp,
    Log,
    Outgoing,
    Send,
    Wire,
    masked,
    node,
)
from bridge.webchat.codes import ResultCode


class Pulse:
    def __init__(self) -> None:
        self.next = asyncio.Event()
        """Event of the next change: take it before reading the state, so that none is missed."""

    def beat(self) -> None:
        past, self.next = self.next, asyncio.Event()
        past.set()


# --- files ---------------------------------------------------------------------------------------

UrlStyle = Literal["context", "root", "bare", "absolute"]


class Hosted(NamedTuple):
    number: int
    name: str
    path: Path
    upload: Wire | None
    """Entry in `uploads` of the state; None for a file of an agent."""


class Shelf:
    """Stores files in an empty directory and builds their URLs; the context path may be empty."""

    def __init__(self, directory: Path, base_url: str, context: str) -> None:
        self._directory = directory
        self._starts: Mapping[UrlStyle, str] = {
            "context": f"{context}/",
            "root": "/",
            "bare": "",
            "absolute": f"{base_url}/",
        }
        self._files: dict[int, Hosted] = {}
        self._numbers = itertools.count(1)

    async def keep(
        self, name: str, chunks: AsyncIterator[bytes], login: str, limit: int
    ) -> Hosted | None:
        """Read an upload to its end and store it; None, without storing it, if over the limit."""
        number = next(self._numbers)
        path = self._directory / str(number)
        digest, size = hashlib.sha256(), 0
        with await asyncio.to_thread(path.open, "wb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size <= limit:
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
        if size > limit:
            path.unlink()
            return None
        upload: Wire = {"login": login, "name": name, "size": size, "sha256": digest.hexdigest()}
        self._files[number] = Hosted(number, name, path, upload)
        return self._files[number]

    def put(self, name: str, body: bytes) -> Hosted:
        number = next(self._numbers)
        path = self._directory / str(number)
        path.write_bytes(body)
        self._files[number] = Hosted(number, safe_name(name), path, None)
        return self._files[number]

    def find(self, number: int, name: str) -> Hosted | None:
        file = self._files.get(number)
        return file if file is not None and file.name == name else None

    def response(self, request: web.Request) -> web.FileResponse | None:
        """Serve a file by number and name, or return None; sandboxed, as customers choose it."""
        file = self.find(int(request.match_info["number"]), request.match_info["name"])
        if file is None:
            return None
        headers = {
            hdrs.CONTENT_TYPE: media_type(file.name),
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "X-Content-Type-Options": "nosniff",
        }
        return web.FileResponse(file.path, headers=headers)

    def url(self, file: Hosted, style: UrlStyle) -> str:
        """Return the file's URL in the style of a server (reference 3.4)."""
        return f"{self._starts[style]}up/{file.number}/{quote(file.name, safe='')}"

    def uploads(self, style: UrlStyle) -> list[Wire]:
        return [
            {**file.upload, "url": self.url(file, style), "address": self.url(file, "absolute")}
            for file in self._files.values()
            if file.upload
        ]


def safe_name(name: str) -> str:
    """Return the last part of a client's file name without control characters; never empty."""
    last = PurePosixPath(name.replace("\\", "/")).name
    kept = "".join(character for character in last if character.isprintable())
    return kept if kept.strip(". ") else "file"


def extension(name: str) -> str:
    return PurePosixPath(name).suffix.lstrip(".").lower()


def media_type(name: str) -> str:
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


# --- routes --------------------------------------------------------------------------------------

_PIECE = 256 * 1024
_PAGE = "<html><head><title>Error</title></head><body><h1>HTTP Status {0}</h1></body></html>"
OURS = ("/_sim", "/desk")
"""Paths of control API and desk, exempt from faults also if the context path is empty."""


@dataclass(frozen=True, eq=False)
class HttpSide:
    _centre: CallCentre
    _shelf: Shelf
    _pulse: Pulse
    _stopping: asyncio.Event

    def routes(self, context: str) -> list[web.RouteDef]:
        return [
            web.post(f"{context}/tpi", self._login),
            web.post(f"{context}/tpiu", self._upload),
            web.post(f"{context}/robotSearch", self._robot),
            web.get(f"{context}/up/{{number:\\d{{1,9}}}}/{{name}}", self._file),
            web.get(f"{context}/icon/{{agent}}.png", self._icon),
            web.get(f"{context}/ngsIcon.do", self._icon),
        ]

    @web.middleware
    async def trouble(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Apply down time, bans (`ban_covers`) and planned faults before the handler."""
        context = self._centre.options.context
        if not request.path.startswith(f"{context}/") or request.path.startswith(OURS):
            return await handler(request)
        now = _now()
        if now < self._centre.down_until:
            return page(404)
        covers_all = self._centre.options.ban_covers == "everything"
        if covers_all and self._centre.gate.shuts_out(request.remote or "", now):
            return page(403)
        first = request.path.removeprefix(f"{context}/").partition("/")[0]
        fault = self._centre.faults.on_http(first)
        if fault is None:
            return await handler(request)
        self._pulse.beat()
        if fault.fault == "hang":
            await self._stopping.wait()
            return page(503)
        if fault.result is not None:
            return answer(result(fault.result, "as the script says"))
        return page(fault.status)

    async def _login(self, request: web.Request) -> web.Response:
        options = self._centre.options
        now = _now()
        if not self._centre.gate.admits(request.remote or "", now, options):
            return page(403)
        body = await request.read()
        cookie = request.cookies.get(STICKY, "")
        reply = log_in(self._centre, body, request.headers.get("sign"), now, cookie)
        self._pulse.beat()
        response = answer(reply)
        if options.sticky_cookie and isinstance(token := reply.get("token"), str):
            response.set_cookie(STICKY, node(token), path=options.context or "/", httponly=True)
        return response

    async def _robot(self, request: web.Request) -> web.Response:
        try:
            is_form = request.content_type == "application/x-www-form-urlencoded"
            fields = await request.post() if is_form else None
        except (UnicodeDecodeError, LookupError):  # a wrong charset, or one that is not known
            fields = None
        if fields is None:
            return answer(result(ResultCode.REQUEST_ERROR, "the question must come as a form"))
        form = {key: value for key, value in fields.items() if isinstance(value, str)}
        return answer(handlers.search(self._centre.options, form))

    # --- upload ---------------------------------------------------------------------------------

    async def _upload(self, request: web.Request) -> web.Response:
        centre = self._centre
        token = request.query.get("token", "")
        now, cookie = _now(), request.cookies.get(STICKY, "")
        customer = centre.holder(token, now, cookie)
        if customer is None:
            return await self._no(request, ResultCode.INVALID_TOKEN, "the token is not valid")
        multipart = request.content_type.startswith("multipart/")
        mode = centre.options.upload_mode
        if mode != "both" and multipart != (mode == "multipart"):
            sentence = f"this server takes {mode} uploads"
            return await self._no(request, centre.options.wrong_upload, sentence)
        if not multipart:
            pieces = request.content.iter_chunked(_PIECE)
            return await self._keep(request, _raw_name(request), pieces, customer.login)
        try:
            async for part in await request.multipart():
                if isinstance(part, BodyPartReader) and part.name == "fileToUpload":
                    name = safe_name(part.filename or "")
                    return await self._keep(request, name, _pieces(part), customer.login)
        except ValueError as error:
            return answer(result(ResultCode.REQUEST_ERROR, f"the parts cannot be read: {error}"))
        return answer(result(ResultCode.INVALID_PARAMETER, "no part fileToUpload"))

    async def _keep(
        self, request: web.Request, name: str, chunks: AsyncIterator[bytes], login: str
    ) -> web.Response:
        options = self._centre.options
        allowed = options.allowed_extensions
        if allowed and extension(name) not in allowed:
            sentence = "only these extensions are allowed: " + ",".join(allowed)
            return await self._no(request, ResultCode.INVALID_FILE_EXTENSION, sentence)
        file = await self._shelf.keep(name, chunks, login, options.max_upload)
        if file is None:
            # -21 came with later revisions; the guide of 2016 has only the general code.
            late, early = ResultCode.INVALID_FILE_SIZE, ResultCode.UPLOAD_FILE_FAILED
            sentence = f"the file is longer than {options.max_upload} bytes"
            return await self._no(request, late if options.later else early, sentence)
        self._pulse.beat()
        url = self._shelf.url(file, options.upload_url)
        return answer(result(ResultCode.SUCCESS, url=url, fileName=file.name))

    async def _no(self, request: web.Request, code: int, message: str) -> web.Response:
        """Refuse an upload with a result, or from 200 on with an HTTP status and its page."""
        # Read the body to its end, or the client gets a broken pipe instead of the answer.
        async for _ in request.content.iter_chunked(_PIECE):
            pass
        return page(code) if code >= 200 else answer(result(code, message))

    # --- downloads --------------------------------------------------------------------------------

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return self._shelf.response(request) or page(404)

    async def _icon(self, request: web.Request) -> web.Response:
        seed = request.match_info.get("agent") or request.query.get("path", "")
        return web.Response(body=samples.portrait(seed), content_type="image/png")


def answer(body: Wire, status: int = 200) -> web.Response:
    """Build a JSON response with the Content-Type of the real server."""
    encoded, kind = msgspec.json.encode(body), "application/json"
    return web.Response(status=status, body=encoded, content_type=kind, charset="UTF-8")


def page(status: int) -> web.Response:
    """Build an error page like the servlet container's: HTML, on purpose not JSON."""
    return web.Response(status=status, text=_PAGE.format(status), content_type="text/html")


def _raw_name(request: web.Request) -> str:
    """Name a raw upload by Content-Disposition, else by its type: the guide gives it no name."""
    _, params = parse_content_disposition(request.headers.get(hdrs.CONTENT_DISPOSITION))
    if hinted := content_disposition_filename(params):
        return safe_name(hinted)
    return "upload" + (mimetypes.guess_extension(request.content_type) or ".bin")


async def _pieces(part: BodyPartReader) -> AsyncIterator[bytes]:
    while piece := await part.read_chunk(_PIECE):
        yield piece


# --- sockets -------------------------------------------------------------------------------------

CUT = 1006
"""The close code that is never sent: the connection is aborted."""
_LARGEST_FRAME = 16 * 1024 * 1024
"""Maximum bytes of a frame that aiohttp buffers; the server's `frame_limit` is far lower."""
_GOODBYE_SECONDS = 1.0
"""Seconds to wait for the peer's close frame."""


class Line:
    """One open socket with a queue that one task writes, so that frames leave in order."""

    def __init__(self, request: web.Request, login: str) -> None:
        self.login = login
        self.socket = web.WebSocketResponse(
            compress=False, max_msg_size=_LARGEST_FRAME, timeout=_GOODBYE_SECONDS
        )
        self.close_code: int | None = None
        """None until `end`."""
        self._transport = request.transport
        self.unwritten: deque[tuple[Send, float]] = deque()
        """Frames in order, each with the loop time at which it is written at the earliest."""
        self.held: list[Send] = []
        """Frames held back by the fault `reorder`."""
        self._news = asyncio.Event()

    def put(self, send: Send, due: float) -> None:
        """Queue a frame, to be written at `due` (loop time) or later."""
        self.unwritten.append((send, due))
        self._news.set()

    def end(self, code: int) -> None:
        """Close once all queued frames are written; abort at once if the code is 1006."""
        self.close_code = code
        if code == CUT and self._transport is not None:
            self._transport.abort()
        self._news.set()

    async def write(self, written: Callable[[Send], None]) -> None:
        """Write queued frames until `end` or until the peer is gone; call `written` after each."""
        while self.unwritten or self.close_code is None:
            await self._news.wait()
            self._news.clear()
            while self.unwritten:
                send, due = self.unwritten[0]
                if (early := due - _now()) > 0:
                    await asyncio.sleep(early)
                if self.socket.closed or self.close_code == CUT:
                    return
                try:
                    await self.socket.send_str(msgspec.json.encode(send.frame).decode())
                except ConnectionError:
                    return
                self.unwritten.popleft()
                written(send)


class Switchboard:
    def __init__(self, centre: CallCentre, journal: Log, pulse: Pulse) -> None:
        self._centre = centre
        self._journal = journal
        self._pulse = pulse
        self._lines: dict[str, Line] = {}
        self._clock: asyncio.TimerHandle | None = None

    def post(self, outgoing: Iterable[Outgoing]) -> bool:
        """Queue frames and close sockets; False if a push had no open socket."""
        complete = True
        for item in outgoing:
            if isinstance(item, HangUp):
                self._hang_up(item.login, item.code)
            else:
                send = desk.outbound(self._centre, item, _now())
                complete = complete and (send is not None or not item.is_push)
                if send is not None:
                    self._put(send)
        self._pulse.beat()
        return complete

    def settle(self) -> None:
        """Do what time has brought (see `desk.overdue`), up to this moment."""
        transcript = self._centre.transcript
        last, news = transcript.last, desk.overdue(self._centre, _now())
        if transcript.last > last:  # each of them is noted, though it may send nothing
            self.post(news)

    def keep_time(self) -> None:
        """Settle and resend now and again, also while nobody does anything, until `stop_clock`."""
        beat = self._centre.options.beat
        self._clock = asyncio.get_running_loop().call_later(beat, self.keep_time)
        self.settle()
        for send in desk.due_again(self._centre, _now()):
            self._put(send)

    def stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()

    def hang_up_all(self, code: int) -> None:
        for login in list(self._lines):
            self._hang_up(login, code)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        centre = self._centre
        self.settle()
        token = request.query.get("token", "")
        customer = centre.holder(token, _now(), request.cookies.get(STICKY, ""))
        if customer is None:
            return await _refuse(request, centre.options.handshake_refusal)
        line = Line(request, customer.login)
        await line.socket.prepare(request)
        self._attach(line, customer)
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read(line, customer))
                await line.write(self._written)
                reading.cancel()
            if line.close_code != CUT:
                await line.socket.close(code=line.close_code or 1000)
        finally:
            self._detach(line)
            for send, _ in line.unwritten:
                desk.missed(centre, send)
            self._pulse.beat()
        return line.socket

    async def _read(self, line: Line, customer: Customer) -> None:
        limit = self._centre.options.frame_limit
        async for message in line.socket:
            if message.type is WSMsgType.TEXT:
                if len(message.data.encode("utf-8", "surrogatepass")) > limit:
                    self._record("in", line.login, f"(a frame of more than {limit} bytes)")
                    self._end(line, 1009)
                    return
                self._receive(line, customer, message.data)
            elif message.type is WSMsgType.BINARY:
                self._record("in", line.login, "(a binary frame)")
                sentence = "a binary frame is not JSON"
                self.post([Send(line.login, desk.reply(0, ResultCode.REQUEST_ERROR, sentence))])
        line.end(line.close_code or 1000)

    def _receive(self, line: Line, customer: Customer, text: str) -> None:
        call = check(text, self._centre.options)
        self._record("in", line.login, call.logged)
        if self._lines.get(line.login) is not line:
            return  # the socket is closing: its frames are ignored
        fault = self._centre.faults.on_command(line.login, call.type)
        if fault is not None and fault.fault == "cut":
            self._end(line, fault.code)
        if fault is None or (fault.fault == "cut" and fault.carried_out):
            self.post(handlers.answer(self._centre, customer, call, _now()))
        elif fault.fault == "answer":
            code, why = fault.result or 0, "as the script says"
            self.post([Send(line.login, desk.reply(call.type, code, why, call_id=call.call_id))])

    def _attach(self, line: Line, customer: Customer) -> None:
        self._hang_up(line.login, 1000)  # one socket per customer: the newer one wins
        self._lines[line.login] = line
        customer.linked = True
        customer.link_lost_at = None
        self.post(desk.on_open(self._centre, customer, _now()))

    def _detach(self, line: Line) -> None:
        if self._lines.get(line.login) is not line:
            return
        del self._lines[line.login]
        customer = self._centre.customers[line.login]
        customer.linked = False
        customer.link_lost_at = _now()
        self._pulse.beat()

    def _hang_up(self, login: str, code: int) -> None:
        line = self._lines.get(login)
        if line is not None:
            self._end(line, code)

    def _end(self, line: Line, code: int) -> None:
        self._detach(line)
        line.end(code)

    def _put(self, send: Send) -> None:
        line, faults = self._lines[send.login], self._centre.faults
        due = _now() + self._centre.options.reply_delay_ms / 1000
        for real in faults.on_send(send, line.held):
            line.put(desk.worded(self._centre, real), due + faults.delay(real))

    def _written(self, send: Send) -> None:
        if send.record is not None:
            send.record["sent"] = True
        self._record("out", send.login, masked(send.frame))

    def _record(self, direction: Literal["in", "out"], login: str, frame: object) -> None:
        """Log a frame from or to a customer; `frame` is text if it is not JSON."""
        entry: Wire = {"time": self._centre.wall_ms(), "direction": direction}
        entry |= {"login": login, "frame": frame}
        self._journal.add(entry)
        self._pulse.beat()


async def _refuse(request: web.Request, mode: str) -> web.StreamResponse:
    """Refuse a socket with a bad token, in the way of `handshake_refusal`."""
    if mode == "401":
        return web.Response(status=401, text="invalid token")
    socket = web.WebSocketResponse(compress=False, timeout=_GOODBYE_SECONDS)
    await socket.prepare(request)
    if mode == "frame":
        refusal = desk.reply(1, ResultCode.INVALID_TOKEN, "the token is not valid")
        await socket.send_str(msgspec.json.encode(refusal).decode())
    await socket.close(code=1008)
    return socket


def _now() -> float:
    """Monotonic seconds."""
    return asyncio.get_running_loop().time()
