"""Media: generated pictures and silent voices, and the conversion of voices between AMR and WAV.

The protocol wants AMR narrow-band of 8 kHz (reference 1.5); a browser records Opus or AAC and
cannot play AMR. PyAV, which brings its own codecs, stands between them.
"""

from __future__ import annotations

import hashlib
import io
import wave

import av
from av.audio.resampler import AudioResampler
from av.error import FFmpegError
from PIL import Image

# --- generated media -----------------------------------------------------------------------------

AMR = b"#!AMR\n"
"""How an AMR narrow-band file begins."""
_AMR_FRAME = b"\x04" + bytes(12)
"""20 ms at 4.75 kbit/s: one octet of header, twelve of speech parameters, all zero."""
_FRAMES_PER_SECOND = 50


def picture(seed: str, width: int = 64, height: int = 64) -> bytes:
    """A PNG of one colour, which the seed chooses; the same seed gives the same bytes."""
    colour = hashlib.sha256(seed.encode()).digest()[:3]
    file = io.BytesIO()
    Image.new("RGB", (width, height), tuple(colour)).save(file, "PNG")
    return file.getvalue()


def voice(seconds: int) -> bytes:
    """An AMR narrow-band file of that many seconds."""
    return AMR + _AMR_FRAME * (_FRAMES_PER_SECOND * seconds)


# --- conversion ----------------------------------------------------------------------------------

LONGEST = 60
"""Seconds of a voice message that are kept."""
_RATE = 8000
_BIT_RATE = 12_200


class SoundError(Exception):
    """The recording cannot be read as sound, or has none; the message is one sentence."""


def samples_of(data: bytes) -> bytes:
    """Any recording as signed 16-bit mono samples of 8 kHz, a minute of it at most."""
    pieces = bytearray()
    try:
        with av.open(io.BytesIO(data), "r") as source:
            resampler = AudioResampler(format="s16", layout="mono", rate=_RATE)
            for frame in source.decode(audio=0):
                for part in resampler.resample(frame):
                    pieces += bytes(part.planes[0])[: 2 * part.samples]
                if len(pieces) >= 2 * _RATE * LONGEST:
                    break
            for part in resampler.resample(None):
                pieces += bytes(part.planes[0])[: 2 * part.samples]
    except (FFmpegError, IndexError, ValueError) as error:
        raise SoundError(f"this cannot be read as sound: {error}") from error
    if not pieces:
        raise SoundError("there is no sound in it")
    return bytes(pieces[: 2 * _RATE * LONGEST])


def to_amr(data: bytes) -> tuple[bytes, int]:
    """A recording as an AMR file, and its length in seconds, at least 1."""
    samples = samples_of(data)
    seconds = max(1, round(len(samples) / 2 / _RATE))
    if data.startswith(AMR):
        return data, seconds
    target = io.BytesIO()
    with av.open(target, "w", format="amr") as sink:
        stream = sink.add_stream("libopencore_amrnb", rate=_RATE)
        stream.layout = "mono"
        stream.bit_rate = _BIT_RATE
        with av.open(io.BytesIO(_wav(samples)), "r") as source:
            for frame in source.decode(audio=0):
                frame.pts = None
                sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    return target.getvalue(), seconds


def to_wav(data: bytes) -> bytes:
    """A recording as a WAV file, which every browser plays."""
    return _wav(samples_of(data))


def _wav(samples: bytes) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        file.writeframes(samples)
    return target.getvalue()
