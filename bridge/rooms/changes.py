"""What a correction changed, so that an agent need not read a message twice. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import msgspec

MAX_PIECES = 160
"""Words and blanks between the first and the last change. The comparison is cubic."""

_LETTERS = r"[^\W_\u2e80-\U0003ffff]+"
_WORD = re.compile(rf"{_LETTERS}(?:[.,:'’_-]{_LETTERS})*|\s+|.", re.DOTALL)
"""A word or number of an alphabet, blanks, or one other character (Chinese has no blanks)."""
_NEAR = 3
"""Pieces between two changes that are not worth telling them apart."""


class Change(msgspec.Struct, frozen=True):
    """One place that changed, with a word on either side, so that it can be found."""

    old: str
    new: str


def changes(old: str, new: str) -> tuple[Change, ...] | None:
    """What changed from one text to the other.

    Returns:
        Nothing if both say the same, None if it is as short to say the whole new text.
    """
    if old.split() == new.split():
        return ()
    before, after = _WORD.findall(old), _WORD.findall(new)
    places = _places(before, after)
    if places is None:
        return None
    found = tuple(Change(*(_text(part, between) for part, between in both)) for both in places)
    told = sum(len(change.old) + len(change.new) + 4 for change in found)
    return found if told < len(new) else None


_Place = tuple[tuple[Sequence[str], slice], tuple[Sequence[str], slice]]


def _places(before: list[str], after: list[str]) -> list[_Place] | None:
    """The parts that differ, those close to each other joined; None if it is too much to tell."""
    start, end = _same_at_both_ends(before, after)
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    if max(len(old), len(new)) > MAX_PIECES:
        return None
    joined: list[tuple[int, int, int, int]] = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for tag, low, high, new_low, new_high in matcher.get_opcodes():
        if tag == "equal":
            continue
        if joined and low - joined[-1][1] <= _NEAR:
            first, _, new_first, _ = joined.pop()
            joined.append((first, high, new_first, new_high))
        else:
            joined.append((low, high, new_low, new_high))
    return [
        (
            (before, slice(start + low, start + high)),
            (after, slice(start + new_low, start + new_high)),
        )
        for low, high, new_low, new_high in joined
    ]


def _same_at_both_ends(before: list[str], after: list[str]) -> tuple[int, int]:
    """How many pieces are the same at the beginning, and how many at the end."""
    shorter = min(len(before), len(after))
    start = 0
    while start < shorter and before[start] == after[start]:
        start += 1
    end = 0
    while end < shorter - start and before[-1 - end] == after[-1 - end]:
        end += 1
    return start, end


def _text(pieces: Sequence[str], between: slice) -> str:
    """The part, with the word before and the word behind it."""
    low, high = between.start, between.stop
    low = next((at for at in range(low - 1, -1, -1) if _is_word(pieces[at])), low)
    high = next((at + 1 for at in range(high, len(pieces)) if _is_word(pieces[at])), high)
    return "".join(pieces[low:high]).strip()


def _is_word(piece: str) -> bool:
    return any(character.isalnum() for character in piece)
