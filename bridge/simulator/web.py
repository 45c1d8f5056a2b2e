"""The HTTP routes below the context path, except the sockets, and the files that they serve.

Files (uploads of customers, files of agents) lie on disk until the stop, under numbers, so no name
that a client chooses can leave the directory; the address carries the name for the eye, as a real
server's does.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import mimetypes
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple
from urllib.parse import quote

import msgspec
from aiohttp import BodyPartReader, hdrs, web
from aiohttp.multipart import parse_content_disposition
from aiohttp.typedefs import Handler

from bridge.simulator import samples, tpi
from bridge.simulator.journal import Pulse
from bridge.simulator.operations import Simulation
from bridge.simulator.state import STICKY, Wire, node
from bridge.simulator.tpi import log_in, result
from bridge.webchat.codes import ResultCode

# --- files ---------------------------------------------------------------------------------------

UrlStyle = Literal["context", "root", "bare", "absolute"]


class TooLargeError(Exception):
    """A file is longer than the limit; it was not kept."""


class Hosted(NamedTuple):
    number: int
    name: str
    path: Path
    upload: Wire | None
    """What scripts are told of it, if a customer uploaded it."""


class Shelf:
    """Keeps files in an empty directory and makes their addresses; the context may be empty."""

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

    async def keep(self, name: str, chunks: AsyncIterator[bytes], login: str, limit: int) -> Hosted:
        """Store an upload as it comes; read it whole, even where TooLargeError is the end."""
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
            raise TooLargeError(f"the file is longer than {limit} bytes")
        upload: Wire = {"login": login, "name": name, "size": size, "sha256": digest.hexdigest()}
        self._files[number] = Hosted(number, name, path, upload)
        return self._files[number]

    def put(self, name: str, body: bytes) -> Hosted:
        """Store an agent's file, which a script handed over whole."""
        number = next(self._numbers)
        path = self._directory / str(number)
        path.write_bytes(body)
        self._files[number] = Hosted(number, safe_name(name), path, None)
        return self._files[number]

    def find(self, number: int, name: str) -> Hosted | None:
        file = self._files.get(number)
        return file if file is not None and file.name == name else None

    def response(self, request: web.Request) -> web.FileResponse | None:
        """A file by `number` and `name`. Customers choose its content: no browser must run it."""
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
        """Its address as the server writes it (reference 3.4)."""
        return f"{self._starts[style]}up/{file.number}/{quote(file.name, safe='')}"

    def uploads(self, style: UrlStyle) -> list[Wire]:
        return [
            {**file.upload, "url": self.url(file, style), "address": self.url(file, "absolute")}
            for file in self._files.values()
            if file.upload
        ]


def safe_name(name: str) -> str:
    """The last part of a client's file name without control characters; never empty."""
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
"""Not WebChat's: served in every trouble, also when the context path is empty."""


@dataclass(frozen=True, eq=False)
class HttpSide:
    _simulation: Simulation
    _shelf: Shelf
    _pulse: Pulse
    _stopping: asyncio.Event

    def routes(self, context: str) -> list[web.RouteDef]:
        return [
            web.post(f"{context}/tpi", self._login),
            web.post(f"{context}/tpiu", self._upload),
            web.post(f"{context}/robotSearch", self._robot),
            web.get(f"{context}/up/{{number:\\d+}}/{{name}}", self._file),
            web.get(f"{context}/icon/{{agent}}.png", self._icon),
            web.get(f"{context}/ngsIcon.do", self._icon),
        ]

    @web.middleware
    async def trouble(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Put the server's down time and the planned faults before every real answer."""
        context = self._simulation.centre.options.context
        if not request.path.startswith(f"{context}/") or request.path.startswith(OURS):
            return await handler(request)
        now = asyncio.get_running_loop().time()
        if now < self._simulation.down_until:
            return page(404)
        covers_all = self._simulation.centre.options.ban_covers == "everything"
        if covers_all and self._simulation.gate.shuts_out(request.remote or "", now):
            return page(403)
        first = request.path.removeprefix(f"{context}/").partition("/")[0]
        fault = self._simulation.faults.on_http(first)
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
        options = self._simulation.centre.options
        now = asyncio.get_running_loop().time()
        if not self._simulation.gate.admits(request.remote or "", now, options):
            return page(403)
        body = await request.read()
        cookie = request.cookies.get(STICKY, "")
        said = log_in(self._simulation.centre, body, request.headers.get("sign"), now, cookie)
        self._pulse.beat()
        told = answer(said)
        if options.sticky_cookie and isinstance(token := said.get("token"), str):
            told.set_cookie(STICKY, node(token), path=options.context or "/", httponly=True)
        return told

    async def _robot(self, request: web.Request) -> web.Response:
        if request.content_type != "application/x-www-form-urlencoded":
            return answer(result(ResultCode.REQUEST_ERROR, "the question must come as a form"))
        fields = await request.post()
        form = {key: value for key, value in fields.items() if isinstance(value, str)}
        return answer(tpi.search(self._simulation.centre.options, form))

    # --- upload ---------------------------------------------------------------------------------

    async def _upload(self, request: web.Request) -> web.Response:
        centre = self._simulation.centre
        token = request.query.get("token", "")
        now, cookie = asyncio.get_running_loop().time(), request.cookies.get(STICKY, "")
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
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader) and part.name == "fileToUpload":
                name = safe_name(part.filename or "")
                return await self._keep(request, name, _pieces(part), customer.login)
        return answer(result(ResultCode.INVALID_PARAMETER, "no part fileToUpload"))

    async def _keep(
        self, request: web.Request, name: str, chunks: AsyncIterator[bytes], login: str
    ) -> web.Response:
        options = self._simulation.centre.options
        allowed = options.allowed_extensions
        if allowed and extension(name) not in allowed:
            sentence = "only these extensions are allowed: " + ",".join(allowed)
            return await self._no(request, ResultCode.INVALID_FILE_EXTENSION, sentence)
        try:
            file = await self._shelf.keep(name, chunks, login, options.max_upload)
        except TooLargeError as error:
            # -21 came with later revisions; the guide of 2016 has only the general code.
            late, early = ResultCode.INVALID_FILE_SIZE, ResultCode.UPLOAD_FILE_FAILED
            return await self._no(request, late if options.later else early, str(error))
        self._pulse.beat()
        url = self._shelf.url(file, options.upload_url)
        return answer(result(ResultCode.SUCCESS, url=url, fileName=file.name))

    async def _no(self, request: web.Request, code: int, message: str) -> web.Response:
        """Refuse a body with a result, or with an HTTP status and its page."""
        # Read to the end, or the client meets a broken pipe instead of the answer.
        async for _ in request.content.iter_chunked(_PIECE):
            pass
        return page(code) if code >= 200 else answer(result(code, message))

    # --- what can be fetched ----------------------------------------------------------------------

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return self._shelf.response(request) or page(404)

    async def _icon(self, request: web.Request) -> web.Response:
        seed = request.match_info.get("agent") or request.query.get("path", "")
        return web.Response(body=samples.portrait(seed), content_type="image/png")


def answer(body: Wire, status: int = 200) -> web.Response:
    """JSON, labelled as the server labels it."""
    encoded, kind = msgspec.json.encode(body), "application/json"
    return web.Response(status=status, body=encoded, content_type=kind, charset="UTF-8")


def page(status: int) -> web.Response:
    """The servlet container's own HTML page: no JSON, on purpose."""
    return web.Response(status=status, text=_PAGE.format(status), content_type="text/html")


def _raw_name(request: web.Request) -> str:
    """The guide gives a raw upload no name: take the header's hint, else make one from the type."""
    _, parameters = parse_content_disposition(request.headers.get(hdrs.CONTENT_DISPOSITION))
    hinted = parameters.get("filename*") or parameters.get("filename")
    if hinted:
        return safe_name(hinted)
    return "upload" + (mimetypes.guess_extension(request.content_type) or ".bin")


async def _pieces(part: BodyPartReader) -> AsyncIterator[bytes]:
    while piece := await part.read_chunk(_PIECE):
        yield piece
