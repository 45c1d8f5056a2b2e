"""The log of frames, both ways, numbered; and the signal on which others wait for a change.

Tokens are masked and long strings (base64 pictures) shortened when a frame enters, so the log can
neither leak nor eat the memory.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Mapping
from typing import Literal

Direction = Literal["in", "out"]
"""From the customer, or to the customer."""
MASK = "<token>"
LONGEST = 2000
"""Characters of one string that the log keeps whole."""


class Journal:
    """The last frames, oldest first; numbers grow by one and are never used twice."""

    def __init__(self, keep: int) -> None:
        self._entries: deque[dict[str, object]] = deque(maxlen=keep)
        self.last = 0
        """The number of the newest frame; 0 before the first."""

    def record(self, direction: Direction, login: str, frame: object, time_ms: int) -> None:
        """Add one frame: its decoded body, or the text itself where it is not JSON."""
        self.last += 1
        entry: dict[str, object] = {"number": self.last, "time": time_ms, "direction": direction}
        self._entries.append({**entry, "login": login, "frame": masked(frame)})

    def since(self, number: int) -> list[dict[str, object]]:
        """The kept frames whose number is greater than `number`."""
        wanted = min(max(self.last - number, 0), len(self._entries))
        start = len(self._entries) - wanted
        # Walking from the right keeps a long poll cheap when the log is full.
        newest = (self._entries[index] for index in range(len(self._entries) - 1, start - 1, -1))
        return list(newest)[::-1]


def masked(value: object) -> object:
    """A copy of a decoded frame without its tokens, long strings shortened."""
    if isinstance(value, Mapping):
        return {
            str(key): MASK if key == "token" and isinstance(item, str) else masked(item)
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
    """Wakes everybody who waits, each time it beats."""

    def __init__(self) -> None:
        self._next = asyncio.Event()
        self.beats = 0
        """How often it has beaten: for those who do something else between looking and waiting."""

    def beat(self) -> None:
        """Wake the waiters; those who come later wait for the next beat."""
        self.beats += 1
        past, self._next = self._next, asyncio.Event()
        past.set()

    async def wait(self) -> None:
        """Return at the next beat. Look at what you wait for before, never after, calling this."""
        await self._next.wait()
