"""Sample media: generated pictures, silent voices, and recordings converted to AMR or WAV.

The protocol requires AMR narrow-band of 8 kHz (reference 1.5); browsers record Opus or AAC and
cannot play AMR.
"""

from __future__ import annotations

import colorsys
import hashlib
import io
import itertools
from collections.abc import Iterable
from typing import Literal

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.error import FFmpegError
from PIL import Image, ImageDraw

# --- generated media -----------------------------------------------------------------------------

AMR = b"#!AMR\n"
"""Magic number of an AMR narrow-band file."""
_AMR_FRAME = b"\x04" + bytes(12)
"""20 ms at 4.75 kbit/s: one octet of header, twelve of speech parameters, all zero."""
_FRAMES_PER_SECOND = 50


def picture(seed: str, width: int = 64, height: int = 64) -> bytes:
    """Return a PNG of one colour, chosen by the seed; the same seed gives the same bytes."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), _colour(seed)).save(file, "PNG")
    return file.getvalue()


def portrait(seed: str) -> bytes:
    """Return an agent's picture: a PNG of head and shoulders on the seed's colour."""
    ground = Image.new("RGB", (512, 512), _colour(seed))
    draw = ImageDraw.Draw(ground)
    draw.ellipse((166, 96, 346, 276), fill="white")
    draw.ellipse((76, 306, 436, 706), fill="white")
    file = io.BytesIO()
    ground.resize((128, 128), Image.Resampling.LANCZOS).save(file, "PNG")
    return file.getvalue()


def _colour(seed: str) -> tuple[int, int, int]:
    """Return the seed's colour, dark enough for white to be visible on it."""
    hue, shade, *_ = (byte / 255 for byte in hashlib.sha256(seed.encode()).digest())
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.6, 0.5 + shade / 5)
    return round(255 * red), round(255 * green), round(255 * blue)


def voice(seconds: int) -> bytes:
    """Return a silent AMR narrow-band file of that many seconds."""
    return AMR + _AMR_FRAME * (_FRAMES_PER_SECOND * seconds)


# --- conversion ----------------------------------------------------------------------------------

LONGEST = 60
"""Maximum seconds of a recording that are converted."""
_RATE = 8000
_AMR_BITS = 12_200
"""Bits per second of AMR; the codec of WAV ignores it."""
_Codec = Literal["libopencore_amrnb", "pcm_s16le"]


class SoundError(Exception):
    """The recording cannot be read as sound, or has none; the message is one sentence."""


def _sound(data: bytes) -> list[AudioFrame]:
    """Decode a recording into frames of 20 ms, 16-bit mono at 8 kHz, at most LONGEST seconds."""
    resampler = AudioResampler("s16", "mono", _RATE, _RATE // _FRAMES_PER_SECOND)
    try:
        with av.open(io.BytesIO(data), "r") as source:
            whole = itertools.chain(source.decode(audio=0), (None,))
            pieces = (piece for frame in whole for piece in resampler.resample(frame))
            sound = list(itertools.islice(pieces, _FRAMES_PER_SECOND * LONGEST))
    except (FFmpegError, IndexError, ValueError) as error:
        raise SoundError(f"this cannot be read as sound: {error}") from error
    if not sound:
        raise SoundError("there is no sound in it")
    return sound


def to_amr(data: bytes) -> tuple[bytes, int]:
    """Convert a recording to AMR; return the file and its length in seconds, at least 1."""
    sound = _sound(data)
    seconds = max(1, round(sum(piece.samples for piece in sound) / _RATE))
    is_amr = data.startswith(AMR)
    return data if is_amr else _encoded(sound, "amr", "libopencore_amrnb"), seconds


def to_wav(data: bytes) -> bytes:
    """Convert a recording to WAV, which every browser plays."""
    return _encoded(_sound(data), "wav", "pcm_s16le")


def _encoded(sound: Iterable[AudioFrame], container: str, codec: _Codec) -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format=container) as sink:
        stream = sink.add_stream(codec, rate=_RATE, layout="mono")
        stream.bit_rate = _AMR_BITS
        for piece in sound:
            piece.pts = None
            sink.mux(stream.encode(piece))
        sink.mux(stream.encode(None))
    return target.getvalue()
