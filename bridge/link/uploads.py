"""Carrying a file to the server, in whichever of the two ways it wants (protocol reference 3.4).

The guide says that the body is the file and nothing else (`raw`); a sibling guide shows a form
(`multipart`). `auto` tries raw first, and multipart once if raw is refused; what worked is
remembered for the server, over restarts too, until the server no longer understands it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
import structlog

from bridge.conversation.inputs import FailureReason
from bridge.link.failures import TokenRefused
from bridge.link.http import Answer, Http
from bridge.link.ports import Facts, Token
from bridge.link.settings import LinkSettings, UploadMode
from bridge.link.source import Source, spooled
from bridge.rooms.ports import Blob, CallFailure, Unavailable
from bridge.rooms.store import StoreError
from bridge.webchat.codes import ResultCode
from bridge.webchat.http import UploadReply, parse_upload_reply
from bridge.webchat.urls import Endpoints

_OTHER_MODE = frozenset(
    {ResultCode.UPLOAD_FILE_FAILED, ResultCode.INVALID_PARAMETER, ResultCode.INVALID_FILE_EXTENSION}
)
"""Results that a server gives to a body of the wrong kind."""
_MIME = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
_UNSAFE = re.compile(r'[\x00-\x1f\x7f"\\/]')


def upload_fact(endpoints: Endpoints) -> str:
    """The name of the fact that says which of the two ways a server wants."""
    return f"upload_mode {endpoints.login}"


@dataclass(frozen=True)
class _Verdict:
    """How one try ended."""

    url: str = ""
    failure: CallFailure | None = None
    other_mode: bool = False
    """The other kind of body may do better."""


class Uploads:
    """Uploads to one server."""

    def __init__(
        self, settings: LinkSettings, endpoints: Endpoints, http: Http, facts: Facts
    ) -> None:
        self._mode = settings.upload_mode
        self._total = settings.timing.upload
        self._endpoints = endpoints
        self._http = http
        self._facts = facts
        self._fact = upload_fact(endpoints)

    async def upload(self, token: Token, blob: Blob) -> str:
        """Upload a file and return its absolute address.

        Raises:
            TokenRefused: -15; the blob may have been read.
            CallFailure: always certain: a file that nobody mentions harms nobody.
            Exception: whatever the blob's own source raised, such as TooBig or Unavailable.
        """
        mode = await self._known_mode()
        if mode is not UploadMode.AUTO:
            verdict = await self._try(mode, token, Source(blob))
            if self._mode is UploadMode.AUTO and _not_understood(verdict):
                # The server has changed. What was streamed cannot be read again here, so the caller
                # has to come again, and then both ways are tried.
                await self._remember(UploadMode.AUTO)
                message = "the server wants another kind of upload than before"
                raise CallFailure(FailureReason.UNREACHABLE, certain=True, message=message)
            return _url(verdict)
        async with spooled(blob) as anew:
            mode = UploadMode.RAW
            verdict = await self._try(mode, token, Source(anew()))
            if verdict.other_mode:
                again = await self._try(UploadMode.MULTIPART, token, Source(anew()))
                if again.failure is None:
                    verdict, mode = again, UploadMode.MULTIPART
            if verdict.failure is None:
                await self._remember(mode)
            return _url(verdict)

    async def _known_mode(self) -> UploadMode:
        if self._mode is not UploadMode.AUTO:
            return self._mode
        try:
            return UploadMode(await self._facts.get(self._fact) or UploadMode.AUTO)
        except (StoreError, ValueError):
            return UploadMode.AUTO

    async def _remember(self, mode: UploadMode) -> None:
        log: structlog.stdlib.BoundLogger = structlog.get_logger()
        log.info("webchat upload mode found", mode=mode)
        try:
            await self._facts.put(self._fact, mode)
        except StoreError as error:
            log.warning("upload mode not remembered", error=str(error))

    async def _try(self, mode: UploadMode, token: Token, source: Source) -> _Verdict:
        data: object
        headers: dict[str, str] = {}
        if mode is UploadMode.MULTIPART:
            data = _form(token.value, source)
        else:
            data = source.body()
            headers = _raw_headers(source.blob)
        try:
            answer = await self._post(token, data, headers)
        except Unavailable as error:
            if source.failure is not None:
                raise source.failure from error
            raise CallFailure(
                FailureReason.UNREACHABLE, certain=True, message=f"upload: {error}"
            ) from error
        reply = parse_upload_reply(answer.body)
        return _foreign(answer) if reply is None else self._judge(reply)

    async def _post(self, token: Token, data: object, headers: Mapping[str, str]) -> Answer:
        url = self._endpoints.upload(token.value)
        return await self._http.post(url, data, headers, total=self._total, cookies=token.cookies)

    def _judge(self, reply: UploadReply) -> _Verdict:
        if reply.result == ResultCode.SUCCESS:
            return _Verdict(url=self._endpoints.absolute(reply.url))
        if reply.result == ResultCode.INVALID_TOKEN:
            raise TokenRefused("upload: -15")
        failure = CallFailure(
            FailureReason.REFUSED, certain=True, code=reply.result, message="upload refused"
        )
        return _Verdict(failure=failure, other_mode=reply.result in _OTHER_MODE)


def _not_understood(verdict: _Verdict) -> bool:
    """The body was refused for its kind, as far as one can tell; not the file for what it is."""
    failure = verdict.failure
    return (
        failure is not None
        and verdict.other_mode
        and failure.reason is FailureReason.REFUSED
        and failure.code in {None, ResultCode.INVALID_PARAMETER}
    )


def _url(verdict: _Verdict) -> str:
    if verdict.failure is not None:
        raise verdict.failure
    return verdict.url


def _foreign(answer: Answer) -> _Verdict:
    """Something else than WebChat answered, most likely a proxy before it."""
    status = answer.status
    message = f"upload: HTTP {status} without WebChat's JSON"
    reason = FailureReason.UNREACHABLE
    if status == 413:
        reason = FailureReason.TOO_BIG
    elif 400 <= status < 500 and status not in (404, 408, 429):
        reason = FailureReason.REFUSED
    failure = CallFailure(reason, certain=True, message=message)
    return _Verdict(failure=failure, other_mode=400 <= status < 500 and status != 413)


def _raw_headers(blob: Blob) -> dict[str, str]:
    headers = {
        "Content-Type": _mime(blob.mime),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(_name(blob), safe='')}",
    }
    if blob.size is not None:
        headers["Content-Length"] = str(blob.size)
    return headers


def _form(token: str, source: Source) -> aiohttp.FormData:
    # Names as they are in UTF-8: servers of that time do not undo percent-encoding here.
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("token", token)
    form.add_field(
        "fileToUpload",
        source.body(),
        filename=_name(source.blob),
        content_type=_mime(source.blob.mime),
    )
    return form


def _mime(mime: str) -> str:
    """Return what is safe in a header; the sender of a file chooses its type."""
    return mime if _MIME.fullmatch(mime) else "application/octet-stream"


def _name(blob: Blob) -> str:
    return _UNSAFE.sub("_", blob.name).encode("utf-8", "replace").decode()[:200] or "file"
