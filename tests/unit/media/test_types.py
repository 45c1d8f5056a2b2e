"""What a file is, and how large a picture."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bridge.media import formats as media


def picture(kind: str, exif: bytes = b"") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (30, 20)).save(out, kind, exif=exif)
    return out.getvalue()


def document() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("word/document.xml", "x")
    return out.getvalue()


def mp4(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0" + brand + b"isom" + b"\0" * 50


DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
OGG = b"OggS\0\x02" + b"\0" * 20 + b"OpusHead" + b"\0" * 40


@pytest.mark.parametrize(
    ("head", "name", "claimed", "mime"),
    [
        (picture("PNG"), "", "", "image/png"),
        (picture("JPEG"), "x.png", "image/png", "image/jpeg"),
        (picture("GIF"), "x.txt", "text/plain", "image/gif"),
        (picture("WEBP"), "", media.OCTETS, "image/webp"),
        (picture("BMP"), "", "", "image/bmp"),
        (document(), "x.docx", "", DOCX),
        (document(), "x.docx", "application/x-own", "application/x-own"),
        (document(), "x", "", DOCX),
        (b"#!AMR\n" + b"\x3c" * 40, "voice", "", "audio/amr"),
        (OGG, "x.ogg", "audio/ogg", "audio/ogg"),
        (mp4(b"mp42"), "", "", "video/mp4"),
        (mp4(b"mp42"), "", "audio/mp4", "audio/mp4"),
        (b"%PDF-1.4\n", "x", "", "application/pdf"),
        (b"hello", "x.txt", "", "text/plain"),
        (b"hello", "", "", media.OCTETS),
        (b"BMW X5; 61.900\r\n", "prices.txt", "text/plain", "text/plain"),
        (b"FORM_ID,name\n1,Mei\n", "export.csv", "", "text/csv"),
        (b"ID3 is a tag", "", "", media.OCTETS),
        (b"hello", "x.png", "image/png", media.OCTETS),
        (b"", "", "", media.OCTETS),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "x.svg", "image/svg+xml", "image/svg+xml"),
        (b"x", "x", "nonsense", media.OCTETS),
        (b"\0", "x.docx", "text/html", media.guess_mime("x.docx")),
    ],
)
def test_type(head: bytes, name: str, claimed: str, mime: str) -> None:
    assert media.sniff(head, name, claimed) == mime


@given(st.binary(max_size=300), st.text(max_size=20), st.text(max_size=20))
def test_type_of_anything_is_a_media_type(head: bytes, name: str, claimed: str) -> None:
    mime = media.sniff(head, name, claimed)
    assert media.clean_mime(mime) == mime != ""


@pytest.mark.parametrize(
    ("claimed", "mime"),
    [
        ("Image/PNG; charset=x", "image/png"),
        ("application/vnd.ms-excel", "application/vnd.ms-excel"),
        ("text/html\r\nSet-Cookie: x", ""),
        ("png", ""),
        ("", ""),
    ],
)
def test_claimed_type_is_cleaned(claimed: str, mime: str) -> None:
    assert media.clean_mime(claimed) == mime


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd.png"),
        ("C:\\docs\\Report.PDF", "Report.PDF"),
        ("", "image.png"),
        (" .. ", "image.png"),
        (".hidden", "hidden.png"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("line\nbreak\x00.txt", "linebreak.txt"),
        ("价格表.xlsx", "价格表.xlsx"),
        ("archive.tar.gz", "archive.tar.gz"),
        ('a<b>:"|?*.txt', "a_b______.txt"),
        ("no extension", "no extension.png"),
        ("K\x00\u0331.png", "\u1e34.png"),
    ],
)
def test_name(name: str, safe: str) -> None:
    assert media.safe_name(name, "image/png", fallback="image") == safe


@given(st.text(st.characters(codec=None), max_size=400), st.sampled_from(["", "image/png"]))
def test_every_name_is_safe(name: str, mime: str) -> None:
    safe = media.safe_name(name, mime)
    assert 0 < len(safe.encode()) <= 180
    assert not safe.startswith(".")
    assert not set(safe) & set('/\\<>:"|?*\n\r\x00')
    assert media.safe_name(safe, mime) == safe


def test_dimensions() -> None:
    assert media.dimensions(io.BytesIO(picture("PNG"))) == (30, 20)
    turned = Image.Exif()
    turned[0x0112] = 6
    assert media.dimensions(io.BytesIO(picture("JPEG", exif=turned.tobytes()))) == (20, 30)
    assert media.dimensions(io.BytesIO(b"no picture")) is None
    assert media.dimensions(io.BytesIO(b"")) is None
    assert media.dimensions(io.BytesIO(picture("PNG")[:20])) is None


def test_exif_of_many_segments_and_rare_formats_are_not_read() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    data = picture("JPEG", exif=turned.tobytes())
    part = b"\xff\xe1\xff\xffExif\0\0" + bytes(65_527)
    longer = data[:2] + data[2:].replace(b"\xff\xdb", part + b"\xff\xdb", 1)
    assert media.dimensions(io.BytesIO(longer)) == (30, 20)
    assert media.dimensions(io.BytesIO(picture("TIFF"))) is None


def test_odd_exif_data_causes_no_warning() -> None:
    """A warning would be an error here; in service it would go to standard error."""
    whole = Image.Exif()
    whole[0x010E] = "a description that is longer than four bytes"
    data = picture("JPEG", exif=whole.tobytes())
    assert media.dimensions(io.BytesIO(data.replace(b"a description", b"", 1))) == (30, 20)
    at = data.index(b"Exif\0\0") + 6
    cut = data[: at + 8] + b"\x00\x09" + data[at + 10 :]
    assert media.dimensions(io.BytesIO(cut)) in {None, (30, 20)}


def test_picture_that_crashes_its_decoder_is_no_picture() -> None:
    """Pillow raises NotImplementedError of such a DDS; of others RuntimeError, AttributeError."""
    header = struct.pack("<I6I44x", 124, 0x1007, 32, 32, 32, 0, 0)
    pixels = struct.pack("<8I5I", 32, 0x80000, 0, 16, 0xFF, 0xFF00, 0, 0, 0x1000, 0, 0, 0, 0)
    assert media.dimensions(io.BytesIO(b"DDS " + header + pixels + bytes(2048))) is None


@pytest.mark.parametrize("side", [10_000, 10_001, 12_000, 200_000])
def test_only_a_decompression_bomb_is_no_picture(side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    assert media.dimensions(io.BytesIO(png)) == ((side, side) if side == 10_000 else None)
