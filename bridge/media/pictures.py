"""Pictures of the bot and of the queue users, for as long as an operator has given them no others.

`bot.png` is the desk's icon with square corners; `queue.png` is `queue.svg` in black and white, and
every queue has it in a colour of its own.
"""

from __future__ import annotations

import colorsys
import io
from importlib import resources

from PIL import Image, ImageOps


def of_bot() -> bytes:
    return (resources.files("bridge.media") / "bot.png").read_bytes()


def of_queue(number: int) -> bytes:
    """A PNG; the same number has the same colour for ever."""
    # By golden steps round the circle of hues, neighbours are far from each other.
    colour = colorsys.hsv_to_rgb((0.44 + number % 10_000 * 0.618034) % 1, 0.62, 0.62)
    ground = tuple(round(255 * part) for part in colour)
    file = io.BytesIO()
    with (resources.files("bridge.media") / "queue.png").open("rb") as shape:
        ImageOps.colorize(Image.open(shape).convert("L"), ground, "white").save(file, "PNG")
    return file.getvalue()
