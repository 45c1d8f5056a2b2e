"""Files that pass through the bridge: a size limit on the way, and temporary storage.

The adapters say which of their exceptions mean that the line broke (`at_most`). A file that has to
be read whole is kept meanwhile (`keep`): up to 1 MiB in memory, more in a temporary file.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import IO

import msgspec

from bridge.rooms.ports import Blob, TooBig, Unavailable

PIECE = 64 * 1024
"""Bytes that are read at a time."""


async def at_most(
    limit: int, chunks: AsyncIterable[bytes], broken: tuple[type[Exception], ...]
) -> AsyncIterator[bytes]:
    """Pass on the bytes of a file, as `Blob.chunks` promises: TooBig above `limit` of them.

    What is raised of the types `broken` means that the file broke off (Unavailable); it becomes the
    cause, so its text must hold no secret.
    """
    count = 0
    try:
        async for chunk in chunks:
            count += len(chunk)
            if count > limit:
                raise TooBig(f"the file has more than {limit} bytes")
            yield chunk
    except broken as error:
        raise Unavailable(f"the file broke off: {type(error).__name__}") from error


# --- temporary storage ----------------------------------------------------------------------------

IN_MEMORY = 1024 * 1024
"""Bytes of a file that stay in memory."""


class Kept(msgspec.Struct, frozen=True):
    """A file that has been read to its end."""

    stream: IO[bytes]
    """May be sought in; belongs to one reader at a time."""
    size: int

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes from the start; may be asked for again."""
        await asyncio.to_thread(self.stream.seek, 0)
        while chunk := await asyncio.to_thread(self.stream.read, PIECE):
            yield chunk


@asynccontextmanager
async def keep(blob: Blob) -> AsyncIterator[Kept]:
    """Read a blob to its end; the copy lives as long as the context.

    Raises what the blob does, and Unavailable if there is no room on our disk.
    """
    stream = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed below
    try:
        size = 0
        async for chunk in blob.chunks:
            size += len(chunk)
            await _on_disk(stream.write, chunk)
        await _on_disk(stream.flush)
        yield Kept(stream, size)
    finally:
        with suppress(OSError):  # what found no room is written once more, and not wanted any more
            stream.close()


async def _on_disk(do: Callable[..., object], *args: bytes) -> None:
    try:
        await asyncio.to_thread(do, *args)
    except OSError as error:
        raise Unavailable("no room for a temporary file") from error
