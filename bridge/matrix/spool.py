"""A file on its way to the homeserver: read once, measured, then uploaded with its size.

Synapse refuses an upload whose size is not told beforehand, and an image's event must say its
width and height; neither is known until the file has passed. Up to 1 MiB stays in memory, more
goes to a temporary file, so that ten large files at once cost disk and no memory.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO

import msgspec

from bridge import media
from bridge.rooms.ports import Blob

_IN_MEMORY = 1024 * 1024
_CHUNK = 64 * 1024


class Spooled(msgspec.Struct, frozen=True):
    """A file that has been read to its end."""

    stream: IO[bytes]
    size: int
    name: str
    mime: str
    """As its bytes say, where they tell."""
    dimensions: tuple[int, int] | None
    """Width and height in pixels, if it is a picture."""

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes from the start; may be asked for again."""
        await asyncio.to_thread(self.stream.seek, 0)
        while chunk := await asyncio.to_thread(self.stream.read, _CHUNK):
            yield chunk


@asynccontextmanager
async def spool(blob: Blob, fallback_name: str) -> AsyncIterator[Spooled]:
    """Read a blob to its end; the copy lives as long as the context.

    Args:
        blob: consumed; whatever it raises (TooBig, Unavailable) is passed on.
        fallback_name: the name, without extension, of a file that has none.
    """
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as stream:
        head = bytearray()
        size = 0
        async for chunk in blob.chunks:
            if len(head) < media.HEAD:
                head += chunk[: media.HEAD - len(head)]
            size += len(chunk)
            if size <= _IN_MEMORY:
                stream.write(chunk)
            else:
                await asyncio.to_thread(stream.write, chunk)
        mime = media.sniff(bytes(head), blob.name, blob.mime)
        dimensions = None
        if mime.startswith("image/"):
            stream.seek(0)
            dimensions = await asyncio.to_thread(media.dimensions, stream)
        name = media.safe_name(blob.name, mime, fallback=fallback_name)
        yield Spooled(stream, size, name, mime, dimensions)
