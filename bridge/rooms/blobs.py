"""Files that pass through the bridge: downloads of limited size (`received`), temporary storage.

A file that must be read completely first is buffered (`keep`): in memory up to 1 MiB, else on disk.
"""

from __future__ import annotations

import asyncio
import base64
import html
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from threading import Lock
from typing import IO

import aiohttp
import msgspec
import structlog

from bridge.rooms.ports import (
    Blob,
    BrokenOff,
    LinkPort,
    NoSpace,
    Refused,
    TooBig,
    Unavailable,
    describe,
)
from bridge.webchat.frames import AgentMedia, AgentText

_log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.blobs")
PIECE = 64 * 1024
"""Bytes per read."""
BROKEN = (aiohttp.ClientError, OSError, TimeoutError)
"""Exceptions of aiohttp while a body is read; unlike those of a request, they quote no URL."""


def received(response: aiohttp.ClientResponse, limit: int, name: str = "") -> Blob:
    """Return the file in a response. Raises TooBig if the response states more than `limit` bytes.

    With a Content-Encoding, the size is unknown: Content-Length is that before decompression.
    """
    size = None if "Content-Encoding" in response.headers else response.content_length
    if size is not None and size > limit:
        raise TooBig(f"{size} bytes, {limit} allowed")
    chunks = at_most(limit, response.content.iter_chunked(PIECE))
    return Blob(chunks, size, response.content_type, name)


async def at_most(limit: int, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield the chunks of a file as `Blob.chunks` promises: TooBig after more than `limit` bytes.

    Exceptions in `BROKEN` become BrokenOff, and are kept as its cause.
    """
    count = 0
    try:
        async for chunk in chunks:
            count += len(chunk)
            if count > limit:
                raise TooBig(f"the file has more than {limit} bytes")
            yield chunk
    except BROKEN as error:
        raise BrokenOff(f"the file transfer was interrupted: {describe(error)}") from error


def embedded(text: str, limit: int, name: str) -> Blob | None:
    """Return a file that stands in a frame as Base64; None if it is none. Raises TooBig."""
    try:
        data = base64.b64decode(text, validate=False)
    except ValueError:
        return None
    if len(data) > limit:
        raise TooBig(f"{len(data)} bytes, {limit} allowed")
    return Blob.of(data, name=name) if data else None


async def opened_file(
    link: LinkPort, media: AgentMedia, limit: int, opened: AsyncExitStack
) -> Blob | str:
    """Open an agent's file until the stack is closed; return why if there is none to be had."""
    if media.data:
        return embedded(media.data, limit, media.name) or "its Base64 holds no bytes"
    try:
        blob = await opened.enter_async_context(link.fetch(media.url, limit))
    except Refused as error:
        return error.code
    except Unavailable as error:
        raise BrokenOff(str(error)) from error
    return Blob(blob.chunks, blob.size, blob.mime, media.name or blob.name)


# --- temporary storage ----------------------------------------------------------------------------

IN_MEMORY = 1024 * 1024
"""Maximum bytes of a file that is buffered in memory."""
_READING = Lock()


class Kept(msgspec.Struct, frozen=True):
    """A file that was read to its end into a buffer."""

    stream: IO[bytes]
    """Seekable."""
    size: int

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes from the start; can be repeated."""
        at = 0
        while chunk := await asyncio.to_thread(self._piece, at):
            yield chunk
            at += len(chunk)

    def _piece(self, at: int) -> bytes:
        with _READING:  # as an earlier reader, which was cancelled, may still run in its thread
            self.stream.seek(at)
            return self.stream.read(PIECE)


@asynccontextmanager
async def keep(chunks: AsyncIterator[bytes]) -> AsyncIterator[Kept]:
    """Read a file to its end, into a buffer for the context; raises what it raises, and NoSpace."""
    stream = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed below
    try:
        size = 0
        async for chunk in chunks:
            size += len(chunk)
            await _on_disk(stream.write, chunk)
        await _on_disk(stream.flush)
        yield Kept(stream, size)
    finally:
        with suppress(OSError):  # closing flushes once more, which fails again on a full disk
            stream.close()


async def _on_disk(do: Callable[..., object], *args: bytes) -> None:
    try:
        await asyncio.to_thread(do, *args)
    except OSError as error:
        why = describe(error)
        _log.warning("no temporary file can be written", folder=tempfile.tempdir, why=why)
        raise NoSpace(f"no temporary file can be written: {why}") from error


def link_to(picture: AgentMedia) -> AgentText:
    """Return a link instead of a picture in an agent's text that could not be fetched."""
    shown = html.escape(f"🖼 {picture.name}".strip())
    if not picture.url.lower().startswith(("http://", "https://")):
        return AgentText(shown)
    return AgentText(f'<a href="{html.escape(picture.url)}">{shown}</a>')
