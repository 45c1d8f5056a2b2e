"""Hostile texts of 60 KB, about the most that a Matrix event can hold, to find quadratic parsing.

They are long runs of one character, word or tag; constructs that begin and never end; and
characters that grow or are reordered by Unicode normalisation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

SIZE = 60_000
"""Bytes of UTF-8."""

# Used between words too: an anchored pattern tries again from each character of a run.
_RUNS = ("a", "0", "!", " ", "\n", "-", "'", '"', "[", "(", "<", "&", ":", "中", "\u0301")
_SIGNS = (
    *("\x00", "\xa0", "\u200b", "\u202e", "\ufe0f", "\ud800", "㎯", "ﷺ", "👍"),
    *(".", ",", ";", "/", "\\", ">", "]", "{", "=", "@", "*", "`", "%"),
)
_WORDS = (
    *("a ", "a!", "a'", "a@", "1,", " \n", "\r\n", "> ", "ab ba ", "thanks ", "谢谢"),
    *("<b>", "<p>", "<ul><li>", "<table><tr><td>", "<a href='", "<img ", "<!--", "<a@a", "&amp;"),
    *("[a](", 'src="a', "/:,@", "/::)", "[微笑]", "qqemoji", "data:", "mxc://a", "'[", '{"a":'),
    *("\\u0000", '\\"', "\u0301\u0323", "👨\u200d", "geo:1,", "../"),
)


def hostile() -> Mapping[str, str]:
    """Return all texts, by their repeated unit."""
    return dict(_named())


def _named() -> Iterator[tuple[str, str]]:
    for unit in (*_RUNS, *_SIGNS, *_WORDS):
        yield ascii(unit), _run(unit)
    for unit in _RUNS:
        yield f"x {unit!a} x", f"x{_run(unit)}x"


def _run(unit: str) -> str:
    return unit * (SIZE // len(unit.encode("utf-8", "surrogatepass")))
