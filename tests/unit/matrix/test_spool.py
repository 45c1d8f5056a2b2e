from __future__ import annotations

import pytest

from bridge.matrix.adapter import playable
from bridge.matrix.client import spool
from bridge.media import formats
from tests.fakes.threads import NotedThreads
from tests.support.matrix_rig import blob, picture
from tests.support.sounds import film, many_chunks, seconds_of, tone

THREADS = NotedThreads()
pytestmark = pytest.mark.asyncio


async def test_a_picture_is_measured() -> None:
    async with spool(blob(picture(60, 40), "text/plain", "a.txt"), "image") as file:
        assert (file.mime, file.dimensions, file.seconds) == ("image/png", (60, 40), None)
        assert b"".join([chunk async for chunk in file.chunks()]) == picture(60, 40)


async def test_video_is_probed_for_size_and_duration() -> None:
    async with spool(blob(film(64, 48, pictures=20), "", "a.mp4"), "video") as original:
        file = await playable(original, "video", THREADS)
        assert (file.mime, file.dimensions) == ("video/mp4", (64, 48))
        assert file.seconds == pytest.approx(2, rel=0.05)
    async with spool(blob(b"no video", "video/mp4", "a.mp4"), "video") as original:
        file = await playable(original, "video", THREADS)
        assert (file.dimensions, file.seconds) == (None, None)
    assert THREADS.asked[-2:] == ["apart", "apart"]


async def test_what_is_no_picture_is_not_uploaded_as_one() -> None:
    """Synapse makes thumbnails at once, and six PNGs of a million parts stopped it for minutes."""
    async with spool(blob(many_chunks(3_000), "image/png", "a.png"), "image") as file:
        assert (file.mime, file.dimensions, file.name) == (formats.OCTETS, None, "a.png")


async def test_voice_message_is_converted_to_opus() -> None:
    async with spool(blob(tone(3, "amr"), "", ""), "voice") as file:
        assert (file.mime, file.name, file.waveform) == ("audio/amr", "voice.amr", None)
        played = await playable(file, "voice", THREADS)
        data = b"".join([chunk async for chunk in played.chunks()])
        assert (played.name, played.mime, played.size) == ("voice.ogg", "audio/ogg", len(data))
        assert played.seconds == pytest.approx(3, rel=0.05)
        assert seconds_of(data) == pytest.approx(3, rel=0.05)
        assert played.waveform
        assert THREADS.asked[-1] == "apart"
        assert b"".join([chunk async for chunk in file.chunks()]) == tone(3, "amr")


async def test_undecodable_voice_message_is_kept_as_it_is() -> None:
    async with spool(blob(b"#!SILK_V3" + bytes(90), "", "v.silk"), "voice") as file:
        assert await playable(file, "voice", THREADS) is file
