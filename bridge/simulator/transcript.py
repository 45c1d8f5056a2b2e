"""What was said and done, in order, as the desk shows it: one list for all customers.

Scripts compare the lists in each customer's state; people at `/desk` read this. It is bounded, so
a desk that was away for long sees the end of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

Side = Literal["customer", "agent", "robot", "event"]


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a conversation."""

    n: int
    """Grows by one, all customers together; never used twice."""
    time: int
    """Milliseconds since the epoch."""
    login: str
    side: Side
    kind: str
    """`text`, `image`, `file`, `location`, `voice`, `notice`; of an event, what happened."""
    session: int | None = None
    request: int | None = None
    """The queue request of a pre-message, or of an event in the queue."""
    agent: str = ""
    """Who spoke or acted, by id."""
    text: str = ""
    """HTML where an agent or the robot speaks, plain where the customer does."""
    name: str = ""
    file: str = ""
    """Where the desk fetches it: `number/name` below `/desk/files/`."""
    url: str = ""
    """The address that went over the wire, where it is not one of ours."""
    size: int | None = None
    """Bytes."""
    seconds: float | None = None
    latitude: float | None = None
    longitude: float | None = None
    map: str = ""
    rating: int | None = None
    repeat: bool = False
    """The customer had sent this messageId before."""
    audio: str = ""
    """Base64 of a voice; never sent to a desk as it is, see `shown`."""


class Transcript:
    """The last entries, oldest first.

    Args:
        keep: how many.
        wall_ms: the wall clock, milliseconds since the epoch.
    """

    def __init__(self, keep: int, wall_ms: Callable[[], int]) -> None:
        self._entries: deque[Entry] = deque(maxlen=keep)
        self._wall_ms = wall_ms
        self.last = 0
        """The number of the newest entry; 0 before the first."""

    def add(self, login: str, side: Side, kind: str, **fields: object) -> Entry:
        """Add one entry; `fields` are those of Entry."""
        self.last += 1
        known = {"n": self.last, "time": self._wall_ms(), "login": login, "side": side}
        entry = msgspec.convert({**known, "kind": kind, **fields}, Entry)
        self._entries.append(entry)
        return entry

    def since(self, number: int) -> Iterator[Entry]:
        """The kept entries whose number is greater than `number`."""
        first = self._entries[0].n if self._entries else 0
        for index in range(max(number + 1 - first, 0), len(self._entries)):
            yield self._entries[index]

    def find(self, number: int) -> Entry | None:
        """The entry of that number, if it is still kept."""
        return next((entry for entry in self.since(number - 1) if entry.n == number), None)


def shown(entry: Entry) -> dict[str, object]:
    """An entry for a desk: a voice is announced, and fetched by the entry's number."""
    told: dict[str, object] = msgspec.to_builtins(entry)
    if told.pop("audio", ""):
        told["voice"] = entry.n
    return told
