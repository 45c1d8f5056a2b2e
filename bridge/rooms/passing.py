"""A file that passes through us: no more of it than was allowed, and whose fault it is if it ends.

The adapters read files from different servers; which of their exceptions mean that the line broke
is theirs to say, for this ring knows no HTTP.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator

from bridge.rooms.ports import TooBig, Unavailable

PIECE = 64 * 1024
"""Bytes that are read at a time."""


async def at_most(
    limit: int, chunks: AsyncIterable[bytes], broken: tuple[type[Exception], ...]
) -> AsyncIterator[bytes]:
    """Pass on the bytes of a file, as `Blob.chunks` promises.

    Args:
        limit: bytes; a longer file is not read on.
        chunks: what is read.
        broken: what reading raises when the file breaks off; it becomes the cause, so its text must
            hold no secret.

    Raises:
        TooBig: the file has more than `limit` bytes.
        Unavailable: it broke off.
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
