"""A file that has to be read as a whole before it can go on: kept aside meanwhile.

Up to 1 MiB stays in memory, more goes to a temporary file, so that ten large files at once cost
disk and no memory.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import IO

import msgspec

from bridge.rooms.ports import Blob, Unavailable

IN_MEMORY = 1024 * 1024
"""Bytes of a file that stay in memory."""
_CHUNK = 64 * 1024


class Kept(msgspec.Struct, frozen=True):
    """A file that has been read to its end."""

    stream: IO[bytes]
    """May be sought in; belongs to one reader at a time."""
    size: int

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes from the start; may be asked for again."""
        await asyncio.to_thread(self.stream.seek, 0)
        while chunk := await asyncio.to_thread(self.stream.read, _CHUNK):
            yield chunk


@asynccontextmanager
async def keep(blob: Blob) -> AsyncIterator[Kept]:
    """Read a blob to its end; the copy lives as long as the context.

    Raises:
        Unavailable: there is no room for it on our disk.
        Exception: whatever the blob raises (TooBig, Unavailable).
    """
    with _temporary() as stream:
        size = 0
        async for chunk in blob.chunks:
            size += len(chunk)
            await _on_disk(stream.write, chunk, large=size > IN_MEMORY)
        await _on_disk(stream.flush, large=size > IN_MEMORY)
        yield Kept(stream, size)


@contextmanager
def _temporary() -> Iterator[IO[bytes]]:
    stream = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed below
    try:
        yield stream
    finally:
        with suppress(OSError):  # what found no room is written once more, and not wanted any more
            stream.close()


async def _on_disk(do: Callable[..., object], *args: bytes, large: bool) -> None:
    try:
        if large:
            await asyncio.to_thread(do, *args)
        else:
            do(*args)
    except OSError as error:
        raise Unavailable("no room for a temporary file") from error
