"""The ports and decisions that everything in this ring works with, in one hand."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from typing import Protocol

import msgspec

from bridge.ids import RoomId
from bridge.rooms.ports import Clock, LinkPort, MatrixPort
from bridge.rooms.record import RoomRecord
from bridge.rooms.rules import Rules
from bridge.rooms.store import EffectRow, Lane, StorePort
from bridge.rooms.turns import Inviting
from bridge.rooms.waits import Waits


class Stopping(Exception):
    """The bridge is about to end: nothing new is begun."""


class RoomView(Protocol):
    """What the smaller parts of a room see of it."""

    @property
    def room_id(self) -> RoomId: ...

    @property
    def durable(self) -> RoomRecord:
        """The room as it is stored."""
        ...

    def rows(self, lane: Lane) -> Iterable[EffectRow]:
        """The effects of a lane that are to be carried out, oldest first."""
        ...

    async def pause(self, seconds: float) -> None:
        """Wait before the next attempt at something; raises Stopping if there will be none."""
        ...


class Measures(Protocol):
    """Where the engine counts what it does. Times are ms."""

    def handled(self, age: int) -> None:
        """An input was handled so long after it was stored."""
        ...

    def settled(self, lane: str, outcome: str, age: int) -> None:
        """An effect came to its outcome so long after it was stored."""
        ...

    def phase_entered(self, phase: str, waited: int | None) -> None:
        """A conversation changed its phase; `waited`: time in the queue, if an agent came."""
        ...


class Surroundings(msgspec.Struct):
    """Handed from the composition root to every worker, actor and lane.

    All of it stays as it is but `rules`, which a reload of the configuration replaces as a whole:
    read them anew for each thing that is done, and do one thing by one set of rules.
    """

    store: StorePort
    matrix: MatrixPort
    link: LinkPort
    clock: Clock
    rules: Rules
    measures: Measures
    conversions: Executor
    """Threads in which sounds and videos are converted and looked at: a few, so that many voice
    messages at once take turns, and none of those in which files are read and written."""
    waits: Waits = msgspec.field(default_factory=Waits)
    """How long customers wait; shared by all rooms."""
    inviting: Inviting = msgspec.field(default_factory=Inviting)
    """Who is inviting us just now; shared by all rooms."""
