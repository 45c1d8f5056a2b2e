"""Pictures that we draw ourselves, as PNG files.

Of the bot and of the queue users, for as long as an operator has given them no others: `bot.png` is
the desk's icon with square corners; `queue.png` is `queue.svg` in black and white, and every queue
has it in a colour of its own. And plots for rooms, with figures and no words.
"""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence
from importlib import resources

from PIL import Image, ImageDraw, ImageFont, ImageOps

WIDTH, HEIGHT, MARGIN, FOOT = 720, 320, 24, 28
"""Pixels: of the picture, around the bars, and below them for their labels."""
DARK, LIGHT, LINE, GROUND = "#1b7f5c", "#c9d1d6", "#5f6b73", "#ffffff"
NARROW = 20
"""Pixels of a bar that has no room for its number."""
LABELS = 10
"""Bars of which each has its label; of more, every few."""


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


def stacked_bars(bars: Sequence[tuple[str, int, int]]) -> bytes:
    """Bars of a label, a dark part and a light part above it; their scale is the highest one's."""
    image = Image.new("RGB", (WIDTH, HEIGHT), GROUND)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    floor, highest = HEIGHT - FOOT, max(1, *(dark + light for _, dark, light in bars))
    unit, pitch = (floor - 2 * MARGIN) / highest, (WIDTH - 2 * MARGIN) / len(bars)
    every = -(-len(bars) // LABELS)
    for number, (label, dark, light) in enumerate(bars):
        left, right = MARGIN + (number + 0.15) * pitch, MARGIN + (number + 0.85) * pitch
        middle, top = (left + right) / 2, floor - unit * (dark + light)
        if dark + light:
            draw.rectangle((left, top, right, floor), fill=LIGHT)
        if dark + light and pitch > NARROW:
            draw.text((middle, top - 4), f"{dark + light}", LINE, font, anchor="ms")
        if dark:
            draw.rectangle((left, floor - unit * dark, right, floor), fill=DARK)
        if number % every == 0:
            draw.text((middle, floor + 8), label, LINE, font, anchor="mt")
    draw.line((MARGIN, floor, WIDTH - MARGIN, floor), LINE)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
