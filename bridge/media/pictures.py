"""Pictures drawn by the bridge, as PNG files: default avatars, and bar charts for rooms.

The bot's default avatar `bot.png` is the agent desk's icon with square corners. Queue users get
`queue.png` (`queue.svg` in black and white), coloured per queue. Charts contain figures, no words.
"""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence
from importlib import resources

from PIL import Image, ImageDraw, ImageFont, ImageOps

WIDTH, HEIGHT, MARGIN, FOOT = 720, 320, 24, 28
"""Pixels: width and height of the chart, margin around the bars, space below for labels."""
DARK, LIGHT, LINE, GROUND = "#1b7f5c", "#c9d1d6", "#5f6b73", "#ffffff"
NARROW = 20
"""Maximum pitch in pixels of bars that are drawn without their number."""
LABELS = 10
"""Maximum number of labels; with more bars, only every n-th has one."""


def of_bot() -> bytes:
    return (resources.files("bridge.media") / "bot.png").read_bytes()


def of_queue(number: int) -> bytes:
    """Return a queue's default avatar (PNG); its colour depends only on the queue's number."""
    # Golden-ratio steps round the hue circle keep neighbouring numbers far apart.
    colour = colorsys.hsv_to_rgb((0.44 + number % 10_000 * 0.618034) % 1, 0.62, 0.62)
    ground = tuple(round(255 * part) for part in colour)
    file = io.BytesIO()
    with (resources.files("bridge.media") / "queue.png").open("rb") as shape:
        ImageOps.colorize(Image.open(shape).convert("L"), ground, "white").save(file, "PNG")
    return file.getvalue()


def stacked_bars(bars: Sequence[tuple[str, int, int]]) -> bytes:
    """Draw a stacked bar chart of (label, dark part, light part above it) as a PNG."""
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
