"""Pictures of the bot and of the queue users, for as long as an operator has given them no others.

`bot.png` is the desk's icon with square corners; `queue.png` is `queue.svg` in black and white, and
every queue has it in a colour of its own.
"""

from __future__ import annotations

import colorsys
import io
from importlib import resources

from PIL import Image, ImageOps

_FOLDER = resources.files("bridge.media")
_GOLDEN = 0.618034
"""A step round the circle of hues after which no few steps meet again."""


def of_bot() -> bytes:
    return (_FOLDER / "bot.png").read_bytes()


def of_queue(number: int) -> bytes:
    """A PNG; the same number has the same colour for ever."""
    colour = colorsys.hsv_to_rgb((0.44 + number % 10_000 * _GOLDEN) % 1, 0.62, 0.62)
    shape = Image.open(io.BytesIO((_FOLDER / "queue.png").read_bytes())).convert("L")
    file = io.BytesIO()
    ground = tuple(round(255 * part) for part in colour)
    ImageOps.colorize(shape, ground, "white").save(file, "PNG", optimize=True)
    return file.getvalue()
