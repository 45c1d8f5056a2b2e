"""How large a picture is. It is never decoded: only its header is read."""

from __future__ import annotations

import warnings
from typing import IO

from PIL import Image, UnidentifiedImageError

MAX_PIXELS = 100_000_000
"""A picture that claims more is no picture to us (decompression bomb)."""


def dimensions(stream: IO[bytes]) -> tuple[int, int] | None:
    """Return (width, height) in pixels as a picture's header says, or None if it is no picture.

    Turned pictures (EXIF orientation 5 to 8) are measured as they are shown. The stream is read
    from its current position and is left anywhere.
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
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
    ):
        return None
    if width <= 0 or height <= 0 or width * height > MAX_PIXELS:
        return None
    return (height, width) if turned else (width, height)
