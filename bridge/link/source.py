"""A file on its way into an upload.

A `Blob` can be read only once. Where the server's answer decides whether it must be sent a second
time, it is first kept aside (`rooms.spool`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bridge.rooms.ports import Blob, Unavailable
from bridge.rooms.spool import keep


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
    measured = Blob(_measured(blob), blob.size, blob.mime, blob.name)
    async with keep(measured) as kept:
        yield lambda: Blob(kept.chunks(), kept.size, blob.mime, blob.name)


async def _measured(blob: Blob) -> AsyncIterator[bytes]:
    sent = 0
    async for chunk in blob.chunks:
        sent += len(chunk)
        if blob.size is not None and sent > blob.size:
            raise Unavailable("the file is longer than its source said")
        yield chunk
    if blob.size is not None and sent < blob.size:
        raise Unavailable("the file broke off at its source")
