"""Generators of sound, video and picture files, some of them malicious."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction

import av
import av.error
import av.filter

_CODECS = {
    "ogg": ("libopus", 48_000, "s16"),
    "amr": ("libopencore_amrnb", 8_000, "s16"),
    "wav": ("pcm_s16le", 44_100, "s16"),
    "flac": ("flac", 44_100, "s16"),
    "mp4": ("aac", 44_100, "fltp"),
    "matroska": ("libopus", 48_000, "s16"),
    "adts": ("aac", 44_100, "fltp"),
    "mp3": ("libmp3lame", 44_100, "s16p"),
}


def tone(seconds: float, container: str = "ogg", channels: int = 1) -> bytes:
    """Return a tone of rising volume; `container` is FFmpeg's name."""
    codec, rate, _ = _CODECS[container]
    layout = "mono" if channels == 1 else "stereo"
    out = io.BytesIO()
    with av.open(out, "w", format=container) as target:
        encoder = target.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(encoder, av.AudioStream)
        resampler = av.AudioResampler(
            encoder.format, layout, rate, frame_size=encoder.codec_context.frame_size or None
        )
        for frame in _rising(seconds, rate):
            for ready in resampler.resample(frame):
                target.mux(encoder.encode(ready))
        for ready in resampler.resample(None):
            target.mux(encoder.encode(ready))
        target.mux(encoder.encode(None))
    return out.getvalue()


def _rising(seconds: float, rate: int) -> Iterator[av.AudioFrame]:
    """Yield the tone in frames of 20 ms, from FFmpeg: computing it in Python takes much longer."""
    graph = av.filter.Graph()
    source = graph.add(
        "aevalsrc",
        f"0.61*t/{seconds}*sin(2*PI*440*t):s={rate}:d={seconds}:n={rate // 50}",
    )
    sink = graph.add("abuffersink")
    source.link_to(sink)
    graph.configure()
    with suppress(av.error.EOFError):
        while True:
            frame = graph.pull()
            assert isinstance(frame, av.AudioFrame)
            yield frame


def film(width: int = 64, height: int = 48, pictures: int = 10) -> bytes:
    """Return a grey MP4 without sound, at ten frames a second."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as target:
        encoder = target.add_stream("mpeg4", rate=10)
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        for at in range(pictures):
            frame = av.VideoFrame(width, height, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([128]) * plane.buffer_size)
            frame.pts = at
            target.mux(encoder.encode(frame))
        target.mux(encoder.encode(None))
    return out.getvalue()


def silence(rate: int, samples: int = 65_535) -> bytes:
    """Return a FLAC of 55 bytes: one frame that repeats a sample.

    Args:
        rate: declared sample rate, Hz.
        samples: number of samples, at most 65,535 in a frame.
    """
    size = struct.pack(">HH", samples, samples)
    about = struct.pack(">Q", rate << 44 | 15 << 36 | samples)  # one channel, 16 bits
    header = b"\xff\xf8\x70\x08\x00" + struct.pack(">H", samples - 1)
    frame = header + _crc(header, 8, 0x07) + b"\x00\x01\x00"
    description = b"\x80\x00\x00\x22" + size + bytes(6) + about + bytes(16)
    return b"fLaC" + description + frame + _crc(frame, 16, 0x8005)


def _crc(data: bytes, bits: int, polynomial: int) -> bytes:
    found = 0
    for byte in data:
        found ^= byte << (bits - 8)
        for _ in range(8):
            found = (found << 1) ^ (polynomial if found >> (bits - 1) else 0)
            found &= (1 << bits) - 1
    return found.to_bytes(bits // 8, "big")


def png(side: int, before: bytes = b"") -> bytes:
    """Return a black square PNG: a few bytes of file for each thousand pixels.

    Args:
        before: chunks before the pixels.
    """
    pixels = zlib.compressobj(1)
    rows = [pixels.compress(bytes(1 + 3 * side)) for _ in range(side)] + [pixels.flush()]
    start = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    shown = _chunk(b"IDAT", b"".join(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + start + before + shown


def many_chunks(count: int) -> bytes:
    """Return a small PNG with this many empty chunks of a private kind."""
    return png(10, _chunk(b"teXx", b"") * count)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def film_of(picture: bytes, side: int) -> bytes:
    """Return an AVI whose only frame is this PNG."""
    out = io.BytesIO()
    with av.open(out, "w", format="avi") as target:
        stream = target.add_stream("png", rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = side, side, "rgb24"
        packet = av.Packet(picture)
        packet.stream, packet.pts, packet.dts = stream, 0, 0
        packet.is_keyframe, packet.time_base = True, Fraction(1, 10)
        target.mux(packet)
    return out.getvalue()


def seconds_of(data: bytes) -> float:
    """Return the duration in seconds, by decoding the whole sound."""
    samples, rate = 0, 1
    with av.open(io.BytesIO(data), "r") as source:
        for frame in source.decode(audio=0):
            samples, rate = samples + frame.samples, frame.sample_rate
    return samples / rate


def codec_of(data: bytes) -> str:
    """Return the name of the audio codec."""
    with av.open(io.BytesIO(data), "r") as source:
        return source.streams.audio[0].codec_context.name


def many_packets(count: int) -> bytes:
    """Return a Matroska of 8-bit samples, each in a block of its own: seven bytes a packet."""

    def element(name: str, *inside: bytes) -> bytes:
        data = b"".join(inside)
        return bytes.fromhex(name) + (len(data) | 1 << 56).to_bytes(8, "big") + data

    head = element("1a45dfa3", element("4282", b"matroska"))
    sound = element("e1", element("b5", struct.pack(">d", 48_000)), element("6264", b"\x08"))
    track = (element("d7", b"\x01"), element("83", b"\x02"), element("86", b"A_PCM/INT/LIT"), sound)
    cluster = element("1f43b675", element("e7", b"\x00"), b"\xa3\x85\x81\x00\x00\x80\x80" * count)
    return head + element("18538067", element("1654ae6b", element("ae", *track)), cluster)


def vast_index(samples: int) -> bytes:
    """Return an MP4 of a few hundred bytes, of whose samples FFmpeg makes an index entry each."""

    def box(kind: bytes, *inside: bytes) -> bytes:
        data = b"".join(inside)
        return struct.pack(">I", 8 + len(data)) + kind + data

    def numbers(*values: int) -> bytes:
        return struct.pack(f">{len(values)}I", *values)

    codec = box(
        b"samr", bytes(7), b"\x01", bytes(8), struct.pack(">HHHHI", 1, 16, 0, 0, 8_000 << 16)
    )
    table = box(
        b"stbl",
        box(b"stsd", numbers(0, 1), codec),
        box(b"stts", numbers(0, 1, samples, 160)),
        box(b"stsc", numbers(0, 1, 1, samples, 1)),
        box(b"stsz", numbers(0, 1, samples)),
        box(b"stco", numbers(0, 1, 48)),
    )
    kind = box(b"hdlr", numbers(0, 0), b"soun", bytes(13))
    length = box(b"mdhd", numbers(0, 0, 0, 8_000, samples, 0))
    track = box(b"trak", box(b"mdia", length, kind, box(b"minf", table)))
    return box(b"ftyp", b"isom", numbers(512)) + box(b"moov", track) + box(b"mdat", bytes(99))
