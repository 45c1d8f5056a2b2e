"""Horizontal bar charts as SVG, in groups, readable on light and dark pages.

Each group has its own scale, on which the longest bar takes the whole width; every bar has its
figure beside it. `title` and `desc` of a chart are for screen readers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH = 760
LEFT, RIGHT = 130, 120
"""Width in pixels of the bars' names, and of their figures."""
ROW, HEAD, TOP = 20, 34, 40
"""Height in pixels of a bar with its gap, of a group's name, and above the first group."""

_STYLE = """
svg { font: 13px system-ui, sans-serif; }
.page { fill: #ffffff; } text { fill: #1f2328; } .more { opacity: 0.45; }
.title { font-size: 15px; font-weight: 600; } .group { font-weight: 600; }
.ours { fill: #1f6feb; } .theirs { fill: #8c959f; }
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117; } text { fill: #e6edf3; }
  .ours { fill: #58a6ff; } .theirs { fill: #6e7681; }
}
"""


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        more: length of a paler continuation, such as the database's share or a 99th percentile.
        figure: text beside the bar.
        ours: whether it is the bridge's; the others are grey.
    """

    name: str
    value: float
    figure: str
    more: float = 0.0
    ours: bool = True


@dataclass(frozen=True)
class Group:
    name: str
    bars: Sequence[Bar]


def chart(title: str, description: str, groups: Sequence[Group]) -> str:
    """Return the SVG document of groups, none of them empty."""
    height = TOP + sum(HEAD + ROW * len(group.bars) for group in groups) + 10
    size = f'viewBox="0 0 {WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title desc">',
        f'<title id="title">{escape(title)}</title><desc id="desc">{escape(description)}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>',
        f'<text class="title" x="12" y="26">{escape(title)}</text>',
    ]
    y = TOP
    for group in groups:
        parts.append(f'<text class="group" x="12" y="{y + HEAD - 12}">{escape(group.name)}</text>')
        y += HEAD
        longest = max(bar.value + bar.more for bar in group.bars) or 1.0
        for bar in group.bars:
            parts += _bar(bar, y, (WIDTH - LEFT - RIGHT) / longest)
            y += ROW
    return "\n".join([*parts, "</svg>", ""])


def _bar(bar: Bar, y: int, scale: float) -> Iterator[str]:
    kind, value, more = "ours" if bar.ours else "theirs", bar.value * scale, bar.more * scale
    text = f'y="{y + 12}"'
    yield f'<text x="{LEFT - 8}" {text} text-anchor="end">{escape(bar.name)}</text>'
    yield f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{value:.1f}" height="{ROW - 5}"/>'
    if bar.more:
        yield (
            f'<rect class="{kind} more" x="{LEFT + value:.1f}" y="{y}" width="{more:.1f}" '
            f'height="{ROW - 5}"/>'
        )
    yield f'<text x="{LEFT + value + more + 6:.1f}" {text}>{escape(bar.figure)}</text>'
