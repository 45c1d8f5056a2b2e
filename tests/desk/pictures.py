"""A picture for the tests of the desk."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont


def label() -> bytes:
    """Draw a parcel's label as a PNG."""
    image = Image.new("RGB", (420, 260), "#f6e7cf")
    draw = ImageDraw.Draw(image)
    draw.rectangle((18, 18, 402, 242), fill="white", outline="#8a6d3b", width=3)
    large, small = ImageFont.load_default(30), ImageFont.load_default(17)
    draw.text((38, 32), "EXPRESS", fill="#b3261e", font=large)
    draw.text((38, 78), "To: Ada Wong\n88 Century Avenue\nShanghai 200120", fill="#222", font=small)
    # A barcode with a fixed pattern, so that the picture is always the same.
    at = 38
    for index in range(58):
        width = 2 + (index * 7919 % 5)
        if index % 2 == 0:
            draw.rectangle((at, 168, at + width, 212), fill="#111")
        at += width
    draw.text((38, 216), "SF 4711 0042 88", fill="#222", font=small)
    draw.polygon([(300, 60), (372, 60), (372, 132), (300, 132)], outline="#8a6d3b", width=4)
    draw.line((300, 84, 372, 84), fill="#8a6d3b", width=4)
    draw.line((336, 60, 336, 84), fill="#8a6d3b", width=4)
    target = io.BytesIO()
    image.save(target, "PNG", optimize=True)
    return target.getvalue()
