"""Long texts in pieces that fit into a frame (trap T23).

The server closes the link over a frame that is too long for it, so a text is cut beforehand: at a
line end if there is one in reach, else after a sentence or at a space, else anywhere but inside
what the eye sees as one character. Nothing is lost or added, and no piece is blank, because the
server refuses blank messages (-17).
"""

import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

_SHORT_ESCAPES = frozenset('"\\\b\f\n\r\t')
_BORDERS = (("\n",), ("。", "！", "？", "；", "…"), (" ", "\t", "\u3000", "，", "、"))
"""After which characters to cut, best first."""

_ENTITIES: Mapping[str, int] = MappingProxyType({"&": 5, "<": 4, ">": 4})
"""Bytes of what an HTML escape makes of a character."""
_JOINER = "\u200d"
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_TAGS = range(0xE0020, 0xE0080)
_FLAG_LETTERS = range(0x1F1E6, 0x1F200)
_UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
"""Categories of characters that show nothing."""


def is_unseen(text: str) -> bool:
    """True if nobody would see anything in it; more than what we call blank ourselves."""
    return all(unicodedata.category(char) in _UNSEEN for char in text)


def frame_bytes(text: str) -> int:
    """How many bytes `text` takes inside a frame: escaped as JSON, in UTF-8, without its quotes."""
    return sum(map(_cost, text))


def _cost(char: str) -> int:
    code = ord(char)
    if code < 0x80:
        if char in _SHORT_ESCAPES:
            return 2
        return 6 if code < 0x20 else 1
    if code < 0x800:
        return 2
    # Half a surrogate pair is written as U+FFFD, which has three bytes like its neighbours.
    return 3 if code < 0x10000 else 4


def split_text(text: str, max_bytes: int, *, html: bool = False) -> tuple[str, ...]:
    """Cut `text` into pieces of at most `max_bytes` as `frame_bytes` counts.

    With `html` each piece has room for what it becomes by `wording.escaped`.

    Joined they are the text again. A piece is longer than allowed only where blanks make it so,
    which cannot stand alone, or if not even one character fits. A text that is all blank has no
    pieces.
    """
    last_word = len(text.rstrip()) - 1
    parts: list[str] = []
    start = 0
    while start <= last_word:
        end = _reach(text, start, max_bytes, _ENTITIES if html else {})
        first_word = start + len(text[start:]) - len(text[start:].lstrip())
        if end == len(text) or first_word == last_word:
            parts.append(text[start:])
            break
        # Something to read must be on both sides of the cut.
        cut = _cut(text, first_word + 1, min(end, last_word))
        parts.append(text[start:cut])
        start = cut
    return tuple(parts)


def _reach(text: str, start: int, max_bytes: int, dear: Mapping[str, int]) -> int:
    """How far a piece that begins at `start` may go."""
    room = max_bytes
    for index in range(start, len(text)):
        room -= dear.get(text[index]) or _cost(text[index])
        if room < 0:
            return index
    return len(text)


def _cut(text: str, lowest: int, highest: int) -> int:
    """The best place to cut in `lowest`..`highest`; `lowest` if that is an empty range."""
    near = max(lowest, (lowest + highest) // 2)
    for marks in _BORDERS:
        cut = max(text.rfind(mark, near - 1, highest) for mark in marks) + 1
        if cut >= near and not _inside_character(text, cut):
            return cut
    for cut in range(highest, lowest - 1, -1):
        if not _inside_character(text, cut):
            return cut
    return max(lowest, highest)


def _inside_character(text: str, index: int) -> bool:
    """True if a cut before `index` would divide what is drawn as one character."""
    before, after = text[index - 1], text[index]
    code = ord(after)
    if _JOINER in {before, after} or code in _SKIN_TONES or code in _TAGS:
        return True
    if unicodedata.category(after) in {"Mn", "Mc", "Me"} or (before == "\r" and after == "\n"):
        return True
    if code not in _FLAG_LETTERS:
        return False
    letters = index
    while letters > 0 and ord(text[letters - 1]) in _FLAG_LETTERS:
        letters -= 1
    return (index - letters) % 2 == 1
