from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from bridge import media


def picture(kind: str, exif: bytes = b"") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (30, 20)).save(out, kind, exif=exif)
    return out.getvalue()


def test_dimensions() -> None:
    assert media.dimensions(io.BytesIO(picture("PNG"))) == (30, 20)
    turned = Image.Exif()
    turned[0x0112] = 6
    assert media.dimensions(io.BytesIO(picture("JPEG", exif=turned.tobytes()))) == (20, 30)
    assert media.dimensions(io.BytesIO(b"no picture")) is None
    assert media.dimensions(io.BytesIO(b"")) is None
    assert media.dimensions(io.BytesIO(picture("PNG")[:20])) is None


def test_odd_exif_data_is_nothing_to_warn_of() -> None:
    """A warning would be an error here; in service it would go to standard error."""
    whole = Image.Exif()
    whole[0x010E] = "a description that is longer than four bytes"
    data = picture("JPEG", exif=whole.tobytes())
    assert media.dimensions(io.BytesIO(data.replace(b"a description", b"", 1))) == (30, 20)
    at = data.index(b"Exif\0\0") + 6
    cut = data[: at + 8] + b"\x00\x09" + data[at + 10 :]
    assert media.dimensions(io.BytesIO(cut)) in {None, (30, 20)}


@pytest.mark.parametrize("side", [12_000, 200_000])
def test_decompression_bomb_is_no_picture(side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    assert media.dimensions(io.BytesIO(png)) is None
