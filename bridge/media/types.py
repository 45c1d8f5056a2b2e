"""Files: media type detection, safe file names, and picture dimensions.

Names and types are untrusted. The type is detected from magic numbers where possible, and names are
stripped of anything harmful in a path or terminal. Only a picture's header is read; its pixels are
never decoded.
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
"""Number of bytes from the start of a file that `sniff` needs."""

_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_MAX_NAME = 180
"""Maximum bytes of a name: file systems allow 255, and a server may add a prefix."""
_PLAYED = ("audio/", "video/")
_FAMILIES = ("image/", *_PLAYED)
# A new instance, as the module's global tables differ from machine to machine.
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
    """Return `type/subtype` in lower case without parameters; "" if it is no media type."""
    mime = claimed.partition(";")[0].strip().lower()
    return mime if _MIME.fullmatch(mime) else ""


def guess_mime(name: str) -> str:
    """Return the media type for a file name's extension; "" if unknown."""
    # The prefix keeps a name such as "data:image/png,x" from being read as a URL.
    return _TYPES.guess_type(f"x/{name}", strict=False)[0] or ""


def sniff(head: bytes, name: str, claimed: str) -> str:
    """Return a file's media type from its first `HEAD` bytes, its name and the claimed type.

    The bytes win for pictures, sound and video, where a wrong type shows as a broken message. For
    everything else the claim or the extension is more precise (a .docx is also a zip).
    """
    claimed, named, found = clean_mime(claimed), guess_mime(name), _magic(head)
    if found.startswith(_FAMILIES):
        # Ogg and MP4 contain audio or video: only the claim tells which.
        return claimed if found.startswith(_PLAYED) and claimed.startswith(_PLAYED) else found
    for mime in (claimed, named, found):
        # Bytes not recognized as a picture must not be sent as one; SVG has no magic number.
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
    """Return a file name without path, shell or text-direction (bidi) tricks.

    `name` may be a path; `fallback` replaces an empty name; `mime` gives a missing extension. The
    result has 1 to 180 bytes of UTF-8 and never starts with a dot.
    """
    name = name.encode("utf-8", "ignore").decode("utf-8")
    name = re.split(r"[/\\]", name.strip())[-1]
    if len(name) > 2 * _MAX_NAME:
        # Cut the middle first: normalizing sorts combining characters in quadratic time.
        name = name[:_MAX_NAME] + name[-_MAX_NAME:]
    name = unicodedata.normalize("NFC", name)
    # Cc, Cf: control and bidi characters; Zl, Zp: line breaks; Cn: unassigned.
    name = "".join(c for c in name if unicodedata.category(c) not in {"Cc", "Cf", "Zl", "Zp", "Cn"})
    # Again, as removals may have made characters combinable.
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
"""Maximum pixels of a picture; one that claims more counts as none (decompression bomb)."""


def dimensions(stream: IO[bytes]) -> tuple[int, int] | None:
    """Return width and height in pixels from a picture's header; None if it is no picture.

    They are swapped for rotated pictures (EXIF orientation 5 to 8), as in display.
    """
    try:
        with warnings.catch_warnings():
            # Odd EXIF data warns. Limited to PIL, as threads share the filters and may leave them.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(stream) as image:
                width, height = image.size
                # If a PNG has no EXIF before its pixels, Pillow would decode them to look behind.
                known = image.format != "PNG" or "exif" in image.info
                turned = known and image.getexif().get(0x0112, 1) in {5, 6, 7, 8}
    except Exception:  # noqa: BLE001 - Pillow's readers of rare formats raise anything
        return None
    if width <= 0 or height <= 0 or width * height > MAX_PIXELS:
        return None
    return (height, width) if turned else (width, height)
