"""What is sent in the demo: a picture and a voice message, made on the spot."""

from __future__ import annotations

import array
import io
import math

import av
from PIL import Image

_RATE = 48_000
_FRAME = _RATE // 50


def picture(colour: tuple[int, int, int]) -> bytes:
    """A small PNG of one colour."""
    out = io.BytesIO()
    Image.new("RGB", (96, 64), colour).save(out, "PNG")
    return out.getvalue()


def voice(seconds: int) -> bytes:
    """A tone that grows louder, as Ogg/Opus, which is what Element records."""
    out = io.BytesIO()
    with av.open(out, "w", format="ogg") as target:
        encoder = target.add_stream("libopus", rate=_RATE, layout="mono")
        for number in range(seconds * 50):
            target.mux(encoder.encode(_tone(number * _FRAME, seconds * _RATE)))
        target.mux(encoder.encode(None))
    return out.getvalue()


def _tone(start: int, total: int) -> av.AudioFrame:
    heights = (
        round(20_000 * at / total * math.sin(2 * math.pi * 440 * at / _RATE))
        for at in range(start, start + _FRAME)
    )
    samples = array.array("h", heights).tobytes()
    frame = av.AudioFrame(format="s16", layout="mono", samples=_FRAME)
    frame.planes[0].update(samples.ljust(frame.planes[0].buffer_size, b"\0"))
    frame.sample_rate = _RATE
    frame.pts = start
    return frame
