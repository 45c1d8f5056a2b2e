"""A file on its way to the homeserver: read once, measured, then uploaded with its size.

Synapse refuses an upload whose size is not told beforehand, and an image's event must say its
width and height; neither is known until the file has passed. A voice message also becomes what
Matrix clients play (MSC3245), and a video is looked at for its size and duration.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager

import msgspec

from bridge import media
from bridge.media import voice
from bridge.rooms.blobs import Kept, keep
from bridge.rooms.ports import Blob


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
        dimensions = None
        if mime.startswith("image/"):
            kept.stream.seek(0)
            dimensions = await asyncio.to_thread(media.dimensions, kept.stream)
        name = media.safe_name(blob.name, mime, fallback=fallback_name)
        yield Spooled(kept.stream, kept.size, name, mime, dimensions)


async def playable(file: Spooled, kind: str, conversions: Executor) -> Spooled:
    """The same with what clients need to play it; unchanged if it cannot be played.

    Args:
        file: belongs to us until this ends.
        kind: a `voice` becomes a voice message of Matrix; of a video size and length are told.
        conversions: the threads for it.
    """
    run = asyncio.get_running_loop().run_in_executor
    if kind == "voice":
        try:
            return _spoken(file, await run(conversions, voice.to_opus, file.stream))
        except voice.NoSound:
            pass
    if file.mime.startswith("video/"):
        seen = await run(conversions, voice.look, file.stream)
        if seen is not None:
            size = (seen.width, seen.height) if seen.width and seen.height else None
            return msgspec.structs.replace(file, dimensions=size, seconds=seen.seconds or None)
    return file


def _spoken(file: Spooled, sound: voice.Sound) -> Spooled:
    return msgspec.structs.replace(
        file,
        stream=io.BytesIO(sound.data),
        size=len(sound.data),
        name=f"{file.name.rpartition('.')[0] or file.name}.ogg",
        mime="audio/ogg",
        seconds=sound.seconds,
        waveform=sound.waveform,
    )
