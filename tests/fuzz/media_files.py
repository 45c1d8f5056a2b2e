"""Target `media`: detection of type, size and length of a file from its bytes, and conversion.

The first line of an input is also used as a file name, a claimed type and a place.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable

from PIL import Image

from bridge.media import formats
from bridge.media.formats import MAX_PIXELS
from bridge.media.places import Datum, Place, from_datum, geo_uri, map_link, read_geo_uri, to_datum
from tests.fuzz.target import Target
from tests.support.sounds import film, tone

_MIME = re.compile(r"[a-z0-9][^\s/;,]*/[a-z0-9][^\s/;,]*")
_BAD_IN_NAMES = re.compile(r'[/\\<>:"|?*\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069\u200e\u200f]')
_AMR_ROOM = 6_000
_MOST = 3_000_000
"""Maximum bytes of a sound: ten minutes of Opus at 32,000 bit/s, and its container."""


def run(data: bytes) -> None:
    name = data.split(b"\n", 1)[0][:600].decode("utf-8", "surrogateescape")
    _types(data, name)
    _picture(data)
    _sound(data)
    _place(name)


def _types(data: bytes, name: str) -> None:
    for claimed in ("", name, "audio/ogg", "application/octet-stream"):
        mime = formats.sniff(data[: formats.HEAD], name, claimed)
        assert _MIME.fullmatch(mime), mime
        for shown in (name, name.strip()[:3]):
            safe = formats.safe_name(shown, mime)
            assert 0 < len(safe.encode()) <= 180, "a name has a length"
            assert not _BAD_IN_NAMES.search(safe), "no path, no trick"
            assert safe not in {".", ".."}
            assert not safe.startswith(".")
            assert formats.safe_name(safe, mime) == safe, "what is safe stays as it is"


def _picture(data: bytes) -> None:
    size = formats.dimensions(io.BytesIO(data))
    if size is not None:
        assert min(size) > 0
        assert size[0] * size[1] <= MAX_PIXELS


def _sound(data: bytes) -> None:
    seen = formats.look(io.BytesIO(data))
    assert seen is None or min(seen.width, seen.height, seen.seconds) >= 0
    try:
        sound = formats.to_opus(io.BytesIO(data))
    except formats.NoSound:
        sound = None
    if sound is not None:
        assert sound.data.startswith(b"OggS")
        assert len(sound.data) <= _MOST
        assert 0 < sound.seconds <= formats.MAX_SECONDS
        assert 0 < len(sound.waveform) <= formats.POINTS
        assert all(0 <= point <= formats.LOUDEST for point in sound.waveform)
    try:
        small = formats.to_amr(io.BytesIO(data), _AMR_ROOM)
    except formats.NoSound:
        return
    if small is not None:
        assert small.data.startswith(b"#!AMR\n")
        assert len(small.data) <= _AMR_ROOM
    assert sound is not None, "what one side can hear, the other can"


def _place(uri: str) -> None:
    place = read_geo_uri(uri)
    if place is None:
        return
    for datum in Datum:
        there = to_datum(place, datum)
        assert _near(place, there, 0.02), "no map is shifted by more than two kilometres"
        assert _near(place, from_datum(there, datum), 0.02)
    assert map_link(place).startswith("https://")
    again = read_geo_uri(geo_uri(place))
    assert again is not None
    assert _near(place, again, 0.000001), "good to ten centimetres"


def _near(one: Place, other: Place, degrees: float) -> bool:
    return (
        abs(one.latitude - other.latitude) <= degrees
        and abs(one.longitude - other.longitude) <= degrees
    )


def seeds() -> Iterable[bytes]:
    for container in ("ogg", "amr", "wav", "flac", "mp4", "matroska", "adts", "mp3"):
        yield tone(0.1, container)
    yield film(16, 16, 2)
    turned = Image.Exif()
    turned[0x0112] = 6
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "ICO", "PPM"):
        out = io.BytesIO()
        Image.new("RGB", (8, 6)).save(out, kind, exif=turned)
        yield out.getvalue()
    yield b"geo:39.9042,116.4074;crs=wgs84;u=30\n"
    yield b"geo:-33.8568,151.2153,12\n"
    yield "C:\\temp\\报告.final.PDF\n%PDF-1.7".encode()
    yield "../../etc/passwd\u202e.gpj\nPK\x03\x04".encode()
    yield b"audio/ogg; codecs=opus\n"


TARGET = Target(
    "media",
    run,
    seeds,
    words=(
        *("OggS", "OpusHead", "OpusTags", "#!AMR\n", "RIFF", "WAVEfmt ", "AVI ", "fLaC", "ID3"),
        *("ftypisom", "moov", "trak", "mdat", "stsd", "GIF89a", "BM", "WEBPVP8 ", "IHDR", "IDAT"),
        *("Exif", "geo:", ";crs=wgs84", ";u=", "image/png", ".tar.gz", "%PDF-", "PK"),
    ),
    modules=(
        "bridge.media.formats",
        "bridge.media.places",
    ),
)
