"""A bounded log, the masking of what enters it, and the signal on which others wait for a change.

Tokens are masked and long strings (base64 pictures) shortened, so that the log of frames can
neither leak nor eat the memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections import deque
from collections.abc import Mapping

LONGEST = 2000
"""Characters of one string that the log keeps whole."""


class Log:
    """The last `keep` entries, oldest first; their numbers grow by one and are never used twice."""

    def __init__(self, keep: int, number: str) -> None:
        self._entries: deque[dict[str, object]] = deque(maxlen=keep)
        self._key = number
        self.last = 0
        """The number of the newest entry; 0 before the first."""

    def add(self, entry: dict[str, object]) -> dict[str, object]:
        """Add what is returned: the entry with its number."""
        self.last += 1
        numbered = {self._key: self.last, **entry}
        self._entries.append(numbered)
        return numbered

    def since(self, number: int) -> list[dict[str, object]]:
        # Walking from the right keeps a long poll cheap when the log is full.
        newest = itertools.islice(reversed(self._entries), max(self.last - number, 0))
        return list(newest)[::-1]


def masked(value: object) -> object:
    """A copy of a decoded frame without its tokens, long strings shortened."""
    if isinstance(value, Mapping):
        return {
            key: "<token>" if key == "token" and isinstance(item, str) else masked(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    if isinstance(value, str):
        return shortened(value)
    return value


def shortened(text: str) -> str:
    """The text itself, or its beginning with its length and sha256 when it is long."""
    if len(text) <= LONGEST:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{text[:64]}… ({len(text)} characters, sha256 {digest})"


class Pulse:
    def __init__(self) -> None:
        self.next = asyncio.Event()
        """Set at the next beat: whoever waits takes it before looking at what they wait for."""

    def beat(self) -> None:
        past, self.next = self.next, asyncio.Event()
        past.set()
