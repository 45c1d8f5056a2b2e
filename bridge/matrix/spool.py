"""A file on its way to the homeserver: read once, measured, then uploaded with its size.

Synapse refuses an upload whose size is not told beforehand, and an image's event must say its
width and height; neither is known until the file has passed. A voice message also becomes what
Matrix clients play (MSC3245), and a video is looked at for its size and duration.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from bridge import media
from bridge.media import voice
from bridge.rooms.ports import Blob
from bridge.rooms.spool import Kept, keep


class Spooled(Kept, frozen=True):
    """A file that has been read to its end."""

    name: str
    mime: str
    """As its bytes say, where they tell."""
    dimensions: tuple[int, int] | None = None
    """Width and height in pixels, if it is a picture or a video that says so."""
    seconds: float | None = None
    """How long it plays, if that is known."""
    waveform: tuple[int, ...] | None = None
    """Of a voice message; None: it is none, or cannot be played as one."""


@asynccontextmanager
async def spool(blob: Blob, fallback_name: str) -> AsyncIterator[Spooled]:
    """Read a blob to its end; the copy lives as long as the context.

    Args:
        blob: consumed; whatever it raises (TooBig, Unavailable) is passed on.
        fallback_name: the name, without extension, of a file that has none.
    """
    async with keep(blob) as kept:
        kept.stream.seek(0)
        mime = media.sniff(kept.stream.read(media.HEAD), blob.name, blob.mime)
        dimensions, seconds = None, None
        if mime.startswith("image/"):
            kept.stream.seek(0)
            dimensions = await asyncio.to_thread(media.dimensions, kept.stream)
        elif mime.startswith("video/"):
            seen = await asyncio.to_thread(voice.look, kept.stream)
            if seen is not None:
                dimensions = (seen.width, seen.height) if seen.width and seen.height else None
                seconds = seen.seconds or None
        name = media.safe_name(blob.name, mime, fallback=fallback_name)
        yield Spooled(kept.stream, kept.size, name, mime, dimensions, seconds)


async def spoken(file: Spooled) -> Spooled:
    """The same as a voice message that clients play; unchanged if it cannot be made one."""
    try:
        sound = await asyncio.to_thread(voice.to_opus, file.stream)
    except voice.NoSound:
        return file
    return msgspec.structs.replace(
        file,
        stream=io.BytesIO(sound.data),
        size=len(sound.data),
        name=f"{file.name.rpartition('.')[0] or file.name}.ogg",
        mime="audio/ogg",
        seconds=sound.seconds,
        waveform=sound.waveform,
    )
