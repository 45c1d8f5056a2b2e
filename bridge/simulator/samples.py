"""Small media made from nothing, so that a script needs no files: a picture and a silent voice."""

import hashlib
import struct
import zlib

_AMR_HEADER = b"#!AMR\n"
_AMR_FRAME = b"\x04" + bytes(12)
"""20 ms at 4.75 kbit/s: one octet of header, twelve of speech parameters, all zero."""
_FRAMES_PER_SECOND = 50


def picture(seed: str, width: int = 64, height: int = 64) -> bytes:
    """A PNG of one colour; the same seed gives the same bytes.

    Args:
        seed: chooses the colour.
        width: pixels.
        height: pixels.
    """
    colour = hashlib.sha256(seed.encode()).digest()[:3]
    rows = (b"\x00" + colour * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (_chunk(b"IHDR", head), _chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b""))
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def voice(seconds: int) -> bytes:
    """An AMR narrow-band file of that many seconds."""
    return _AMR_HEADER + _AMR_FRAME * (_FRAMES_PER_SECOND * seconds)
