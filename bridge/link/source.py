"""A file on its way into an upload.

A `Blob` can be read only once. Where the server's answer decides whether it must be sent a second
time, it is first spooled: in memory up to one MiB, beyond that in a temporary file on disk.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import IO

from bridge.rooms.ports import Blob, Unavailable

IN_MEMORY = 1024 * 1024
CHUNK = 64 * 1024


class Source:
    """One blob as the body of one HTTP request."""

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self.failure: Exception | None = None
        """What the blob raised while it was sent; aiohttp hides it in an error of its own."""

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the blob's bytes, exactly as many as it said it has.

        More would be cut off by the length in the header, fewer would leave the server waiting.
        """
        try:
            async for chunk in _measured(self.blob):
                yield chunk
        except Exception as error:
            self.failure = error
            raise


@asynccontextmanager
async def spooled(blob: Blob) -> AsyncIterator[Callable[[], Blob]]:
    """Read a blob to its end and yield a function that gives it anew, one reader at a time.

    Raises:
        Unavailable: there is no room for it on our disk; or whatever the blob raises.
    """
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as file:
        size = 0
        async for chunk in _measured(blob):
            size += len(chunk)
            try:
                await asyncio.to_thread(file.write, chunk)
            except OSError as error:
                raise Unavailable("no room for a temporary file") from error
        yield lambda: Blob(chunks=_read(file), size=size, mime=blob.mime, name=blob.name)


async def _read(file: IO[bytes]) -> AsyncIterator[bytes]:
    file.seek(0)
    while chunk := await asyncio.to_thread(file.read, CHUNK):
        yield chunk


async def _measured(blob: Blob) -> AsyncIterator[bytes]:
    sent = 0
    async for chunk in blob.chunks:
        sent += len(chunk)
        if blob.size is not None and sent > blob.size:
            raise Unavailable("the file is longer than its source said")
        yield chunk
    if blob.size is not None and sent < blob.size:
        raise Unavailable("the file broke off at its source")
