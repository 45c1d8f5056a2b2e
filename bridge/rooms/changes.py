"""What a correction changed, so that an agent need not read a message twice. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import msgspec

MAX_WORDS = 2_000
"""Of either version; beyond it whole lines are compared."""
MAX_LINES = 500

_LETTERS = r"[^\W_\u2e80-\U0003ffff]+"
_WORD = re.compile(rf"{_LETTERS}(?:[.,:'’_-]{_LETTERS})*|\s+|.", re.DOTALL)
"""A word or number of an alphabet, blanks, or one other character (Chinese has no blanks)."""
_NEAR = 3
"""Pieces between two changes that are not worth telling them apart."""


class Change(msgspec.Struct, frozen=True):
    """One place that changed; either may be empty, not both."""

    old: str
    new: str


def changes(old: str, new: str) -> tuple[Change, ...] | None:
    """What changed from one text to the other.

    A change is told with a word on either side, so that it can be found.

    Returns:
        Nothing if both say the same, None if it is as short to say the whole new text.
    """
    if old.split() == new.split():
        return ()
    before, after, around = _WORD.findall(old), _WORD.findall(new), True
    if max(len(before), len(after)) > MAX_WORDS:
        before, after, around = old.splitlines(), new.splitlines(), False
        if max(len(before), len(after)) > MAX_LINES:
            return None
    found = tuple(
        Change(*(_text(part, between, around=around) for part, between in both))
        for both in _places(before, after)
    )
    told = sum(len(change.old) + len(change.new) + 4 for change in found)
    return found if told < len(new) else None


_Place = tuple[tuple[Sequence[str], slice], tuple[Sequence[str], slice]]


def _places(before: list[str], after: list[str]) -> list[_Place]:
    """The parts that differ, those close to each other joined."""
    joined: list[tuple[int, int, int, int]] = []
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for tag, low, high, new_low, new_high in matcher.get_opcodes():
        if tag == "equal":
            continue
        if joined and low - joined[-1][1] <= _NEAR:
            first, _, new_first, _ = joined.pop()
            joined.append((first, high, new_first, new_high))
        else:
            joined.append((low, high, new_low, new_high))
    return [
        ((before, slice(low, high)), (after, slice(new_low, new_high)))
        for low, high, new_low, new_high in joined
    ]


def _text(pieces: Sequence[str], between: slice, *, around: bool) -> str:
    """The part, with the word before and the word behind it."""
    if not around:
        return "\n".join(pieces[between])
    low, high = between.start, between.stop
    low = next((at for at in range(low - 1, -1, -1) if pieces[at].strip()), low)
    high = next((at + 1 for at in range(high, len(pieces)) if pieces[at].strip()), high)
    return "".join(pieces[low:high]).strip()
