"""The type of a file, a name for it that is safe to pass on, and the size of a picture.

Names and types come from strangers, so a type is read from the first bytes where they tell, and a
name loses everything that a path or a terminal could trip over. A picture is never decoded: only
its header is read.
"""

from __future__ import annotations

import mimetypes
import re
import unicodedata
import warnings
from typing import IO

import puremagic
from PIL import Image

OCTETS = "application/octet-stream"
HEAD = 8192
"""Bytes from the start of a file that `sniff` wants to see."""

_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_MAX_NAME = 180
"""Bytes: file systems take 255, and a server may prefix the name."""
_PLAYED = ("audio/", "video/")
_FAMILIES = ("image/", *_PLAYED)
# An instance of its own: the module's tables differ from machine to machine.
_TYPES = mimetypes.MimeTypes()
_EXTENSIONS = {
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "audio/ogg": ".ogg",
    "audio/amr": ".amr",
    "audio/mp4": ".m4a",
    "video/mp4": ".mp4",
    "text/plain": ".txt",
}


def clean_mime(claimed: str) -> str:
    """Return `type/subtype` in lower case without parameters, or "" if it is no media type."""
    mime = claimed.partition(";")[0].strip().lower()
    return mime if _MIME.fullmatch(mime) else ""


def guess_mime(name: str) -> str:
    """The media type that a file name's extension stands for, or ""."""
    # A name is not an address: "data:image/png,x" must not be read as one.
    return _TYPES.guess_type(f"x/{name}", strict=False)[0] or ""


def sniff(head: bytes, name: str, claimed: str) -> str:
    """A file's media type, by its first `HEAD` bytes, its name and what the sender claims.

    The bytes win for pictures, sound and video, where a wrong type shows as a broken message. For
    everything else the claim or the name's extension knows better (a .docx is also a zip).
    """
    claimed, named, found = clean_mime(claimed), guess_mime(name), _magic(head)
    if found.startswith(_FAMILIES):
        # Ogg and MP4 hold sound as well as video: only the claim knows which.
        return claimed if found.startswith(_PLAYED) and claimed.startswith(_PLAYED) else found
    for mime in (claimed, named, found):
        # Bytes that are no picture must not be announced as one; SVG has no magic number.
        if mime not in {"", OCTETS} and (not mime.startswith("image/") or mime == "image/svg+xml"):
            return mime
    return OCTETS


def _magic(head: bytes) -> str:
    if head.startswith(b"#!AMR"):  # RFC 4867 section 5; puremagic does not know it
        return "audio/amr"
    try:
        found = clean_mime(puremagic.from_string(head, mime=True)) if head else ""
    except (puremagic.PureError, ValueError):
        return ""
    return "image/bmp" if found == "image/x-ms-bmp" else found


def safe_name(name: str, mime: str = "", *, fallback: str = "file") -> str:
    """A file name that no path, shell or reading direction can be fooled with.

    `name` may be a whole path, or nothing, and then `fallback` is used; `mime` gives the extension
    where the name has none. At most 180 bytes of UTF-8; never empty, never starting with a dot.
    """
    name = name.encode("utf-8", "ignore").decode("utf-8")
    name = re.split(r"[/\\]", name.strip())[-1]
    if len(name) > 2 * _MAX_NAME:
        # Its beginning and its end: marks upon a letter are sorted in quadratic time.
        name = name[:_MAX_NAME] + name[-_MAX_NAME:]
    name = unicodedata.normalize("NFC", name)
    # Cc, Cf: control characters, and those that turn the reading direction; Zl, Zp: line breaks.
    name = "".join(c for c in name if unicodedata.category(c) not in {"Cc", "Cf", "Zl", "Zp", "Cn"})
    # Once more: what stood apart may be one character now.
    name = unicodedata.normalize("NFC", name)
    name = re.sub(r"\s", " ", re.sub(r'[<>:"|?*]', "_", name)).strip(" .")
    stem, dot, extension = name.rpartition(".")
    if not dot or not re.fullmatch(r"[A-Za-z0-9]{1,10}", extension):
        stem, extension = name, ""
    if extension:
        ending = f".{extension}"
    else:
        ending = _EXTENSIONS.get(mime) or _TYPES.guess_extension(mime, strict=False) or ""
    room = _MAX_NAME - len(ending.encode())
    stem = stem.encode()[:room].decode("utf-8", "ignore").strip(" .")
    return (stem or fallback) + ending


# --- size of a picture ---------------------------------------------------------------------------

MAX_PIXELS = 100_000_000
"""A picture that claims more is no picture to us (decompression bomb)."""


def dimensions(stream: IO[bytes]) -> tuple[int, int] | None:
    """Width and height in pixels as a picture's header says, or None if it is no picture.

    Turned pictures (EXIF orientation 5 to 8) are measured as they are shown.
    """
    try:
        with warnings.catch_warnings():
            # Of odd EXIF data. Narrow: threads share the filters, and one may leave its own behind.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(stream) as image:
                width, height = image.size
                # For a PNG whose header has none, Pillow would look behind its pixels, and decode
                # them on the way there.
                known = image.format != "PNG" or "exif" in image.info
                turned = known and image.getexif().get(0x0112, 1) in {5, 6, 7, 8}
    except Exception:  # noqa: BLE001 - Pillow's readers of rare formats raise anything
        return None
    if width <= 0 or height <= 0 or width * height > MAX_PIXELS:
        return None
    return (height, width) if turned else (width, height)
