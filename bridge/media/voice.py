"""Voice messages: conversion between AMR (call centres) and Ogg/Opus (Matrix, MSC3245).

All functions take a seekable file and block, so call them in a thread: a minute of speech takes
some tens of milliseconds. The input is untrusted. The container is detected from its first bytes
and passed to the library (PyAV), which would otherwise try formats that open further files. Of
pictures, only small ones are decoded, if nothing else tells a video's size (`_OPENING`); of sound,
at most `MAX_SECONDS`, counted while decoding, since 55 bytes can hold hours of silence.

PyAV is imported inside the functions: it takes 15 MB and a tenth of a second.
"""

from __future__ import annotations

import array
import io
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import IO, TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import av

MAX_SECONDS = 600
"""Maximum seconds of a voice message; longer ones are sent as files."""
POINTS = 60
"""Points of a waveform; Element draws about as many."""
LOUDEST = 1024
"""Height of a point at full volume (MSC1767, `waveform`)."""
LOWEST_RATE = 4_000
"""Minimum sample rate in Hz, below which sound is rejected as not speech. Telephones use 8,000."""
MAX_SAMPLES = 2_000_000
"""Maximum samples per frame over all channels (FFmpeg `max_samples`). FLAC allows 8 × 65,535."""
MAX_FRAME = 65_535
"""Maximum samples per frame and channel: a frame is resampled as a whole, for tens of MB if it has
more. FLAC's frames are the largest."""

_OPUS_RATE = 48_000
_OPUS_BITS = 32_000
_AMR_RATE = 8_000
_AMR_MODES = (
    *((12_200, 32), (10_200, 27), (7_950, 21), (7_400, 20)),
    *((6_700, 18), (5_900, 16), (5_150, 14), (4_750, 13)),
)
"""Bits per second, and bytes per frame (RFC 4867, section 5.3)."""
_FRAMES_PER_SECOND = 50
_OPENING = {
    # No further file or URL that the input names is opened.
    "protocol_whitelist": "",
    # FFmpeg decodes pictures to find what a header omits, and some codecs allow any picture size.
    # Only for these three does it not trust the container's width and height.
    "codec_whitelist": "mpeg4,h263,h261",
    "max_pixels": str(4096 * 2304),
}
_SIGNATURES = {
    b"#!AMR": "amr",
    b"OggS": "ogg",
    b"\x1aE\xdf\xa3": "matroska",
    b"fLaC": "flac",
    **dict.fromkeys((b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xfa"), "mp3"),
    **dict.fromkeys((b"\xff\xf1", b"\xff\xf9"), "aac"),
}


class NoSound(Exception):
    """The bytes are not decodable sound, or longer than `MAX_SECONDS`."""


class Sound(msgspec.Struct, frozen=True):
    data: bytes
    seconds: float
    waveform: tuple[int, ...] = ()
    """`POINTS` heights of 0 to `LOUDEST`; fewer if it is very short; empty for AMR."""


class Picture(msgspec.Struct, frozen=True):
    """Size (pixels) and length of a video, from its header; 0 if unknown."""

    width: int = 0
    height: int = 0
    seconds: float = 0


def container_of(head: bytes) -> str | None:
    """Return FFmpeg's name for a container by its first bytes; None if it is not supported."""
    if head.startswith(b"RIFF"):
        return {b"WAVE": "wav", b"AVI ": "avi"}.get(head[8:12])
    if head[4:8] == b"ftyp":
        return "mp4"
    return next((name for start, name in _SIGNATURES.items() if head.startswith(start)), None)


def _unplayable(*more: type[Exception]) -> tuple[type[Exception], ...]:
    import av

    return (av.FFmpegError, ValueError, OverflowError, OSError, *more)


def to_opus(stream: IO[bytes]) -> Sound:
    """Convert sound to a voice message for Matrix: Ogg/Opus with waveform. Raises NoSound."""
    import av

    out = io.BytesIO()
    peaks: list[int] = []
    try:
        with av.open(out, "w", format="ogg") as target:
            # Packets of 20 ms; FFmpeg's Ogg muxer gathers a second of them into a page.
            encoder = target.add_stream("libopus", rate=_OPUS_RATE, layout="mono")
            encoder.bit_rate = _OPUS_BITS
            for frame in _frames(stream, _OPUS_RATE):
                samples = array.array("h", bytes(frame.planes[0])[: frame.samples * 2])
                peaks.append(max(max(samples, default=0), -min(samples, default=0)))
                target.mux(encoder.encode(frame))
            target.mux(encoder.encode(None))
    except _unplayable() as error:
        raise NoSound(type(error).__name__) from error
    return Sound(out.getvalue(), len(peaks) / _FRAMES_PER_SECOND, _waveform(peaks))


def to_amr(stream: IO[bytes], room: int) -> Sound | None:
    """Convert sound to AMR narrow-band for WebChat, at the best bit rate that fits `room` bytes.

    None if it is too long even at the lowest bit rate. Raises NoSound.
    """
    import av

    room -= len(b"#!AMR\n")
    out = io.BytesIO()
    frames: list[av.AudioFrame] = []
    try:
        for frame in _frames(stream, _AMR_RATE):
            frames.append(frame)
            if len(frames) * _AMR_MODES[-1][1] > room:
                return None
        with av.open(out, "w", format="amr") as target:
            encoder = target.add_stream("libopencore_amrnb", rate=_AMR_RATE, layout="mono")
            encoder.bit_rate = next(bits for bits, size in _AMR_MODES if len(frames) * size <= room)
            for frame in frames:
                target.mux(encoder.encode(frame))
            # Not flushed: all frames are out already, and a flush would add one of silence.
    except _unplayable() as error:
        raise NoSound(type(error).__name__) from error
    if not out.getvalue():  # a fragment of one frame gives none
        raise NoSound("too short")
    return Sound(out.getvalue(), len(frames) / _FRAMES_PER_SECOND)


def look(stream: IO[bytes]) -> Picture | None:
    """Read size and length from a video's header; None if it is not a supported video."""
    import av

    try:
        with _opened(stream) as source:
            if not source.streams.video:
                return None
            shown = source.streams.video[0]
            seconds = max(0.0, (source.duration or 0) / av.time_base)
            if _codec_of(shown) is None:
                return Picture(seconds=seconds)
            return Picture(max(0, shown.width), max(0, shown.height), seconds)
    except _unplayable(NoSound):
        return None


def _opened(stream: IO[bytes]) -> av.container.InputContainer:
    import av

    stream.seek(0)
    container = container_of(stream.read(16))
    stream.seek(0)
    if container is None:
        raise NoSound("unknown container format")
    return av.open(stream, "r", format=container, options=_OPENING)


def _codec_of(stream: av.VideoStream | av.AudioStream) -> object:
    """Return the codec context; None if FFmpeg does not know the codec (PyAV's types omit this)."""
    return stream.codec_context


def _frames(stream: IO[bytes], rate: int) -> Iterator[av.AudioFrame]:
    """Decode sound to frames of 20 ms, mono, 16 bits. NoSound if there is none, or too much."""
    from av import AudioResampler

    resampler = AudioResampler("s16", "mono", rate, frame_size=rate // _FRAMES_PER_SECOND)
    frame = None
    with _opened(stream) as source:
        if not source.streams.audio:
            raise NoSound("no audio in the file")
        if _codec_of(source.streams.audio[0]) is None:
            raise NoSound("unknown codec")
        source.streams.audio[0].codec_context.options = {"max_samples": str(MAX_SAMPLES)}
        for part in _decoded(source):
            for frame in resampler.resample(part):
                yield frame
    if frame is None:
        raise NoSound("no audio in the file")


def _decoded(source: av.container.InputContainer) -> Iterator[av.AudioFrame | None]:
    """Yield decoded sound without timestamps, then None to flush the resampler."""
    import av

    heard = 0
    # A recording that breaks off counts up to there.
    with suppress(av.error.InvalidDataError):
        for frame in source.decode(audio=0):
            if frame.sample_rate < LOWEST_RATE:
                raise NoSound("the sample rate is too low")
            if frame.samples > MAX_FRAME:
                raise NoSound("a frame is too long")
            heard += frame.samples
            if heard > MAX_SECONDS * frame.sample_rate:
                raise NoSound("too long")
            # Timestamps of broken recordings jump, so only the samples are counted.
            frame.pts = None
            yield frame
    yield None


def _waveform(peaks: list[int]) -> tuple[int, ...]:
    count = min(POINTS, len(peaks))
    ends = [at * len(peaks) // count for at in range(count + 1)] if count else []
    heights = (max(peaks[start:end]) for start, end in pairwise(ends))
    return tuple(min(LOUDEST, height * LOUDEST // 32767) for height in heights)
