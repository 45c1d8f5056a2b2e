"""Whose turn it is: rooms to which one person invites us at the same moment, one after the other.

The second has to count the first (`limits.rooms_per_user`, `limits.new_rooms_per_hour`). So an
invitation is waited for, by those of the same person alone, from the count until its step is
committed. A step holds one turn at most, takes it after everything else, and asks no homeserver
with it.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from types import TracebackType
from weakref import WeakValueDictionary

import msgspec

from bridge.ids import RoomId, UserId
from bridge.rooms.store import StorePort

Inviting = WeakValueDictionary[UserId, asyncio.Lock]
"""The locks of those who are inviting us; nothing is kept of anybody else."""
LATELY = 3_600_000
"""ms for which it is remembered that somebody brought us into a room."""


async def begun(store: StorePort, person: UserId, now: int) -> dict[RoomId, int]:
    """The rooms into which this person brought us lately, and when (ms), the oldest first.

    Leaving one does not take it out, nor does a restart: a fact of the store tells it, one for each
    who ever invited us, as long as an hour's rooms. To be read and written in one turn.

    Raises:
        StoreError: the database did not answer.
    """
    told = await store.fact(_fact(person))
    known = msgspec.json.decode(told, type=dict[RoomId, int]) if told else {}
    # Where the clock was set back since, a moment may lie ahead: it must not count for longer.
    lately = {room_id: min(at, now) for room_id, at in known.items() if now < at + LATELY}
    return dict(sorted(lately.items(), key=lambda one: one[1]))


async def begin(
    store: StorePort, person: UserId, known: dict[RoomId, int], room_id: RoomId, now: int
) -> None:
    """Remember that this person brings us into a room now; `known`: what `begun` returned.

    Of a room that is known the first moment counts: that we come back costs nobody a login.

    Raises:
        StoreError: the database did not answer.
    """
    rooms = {room_id: now} | known
    await store.save_fact(_fact(person), msgspec.json.encode(rooms).decode())


def _fact(person: UserId) -> str:
    # Whatever the id is, the database can take this.
    return f"begun {sha256(person.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


class Turn:
    """A room's turn. Entered with each step of it; what the step took ends with it."""

    def __init__(self, inviting: Inviting) -> None:
        self._inviting = inviting
        self._taken: asyncio.Lock | None = None

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._taken is not None:
            self._taken.release()
            self._taken = None

    @property
    def taken(self) -> bool:
        """Another room may wait for this step: nothing more belongs into it."""
        return self._taken is not None

    async def take(self, person: UserId) -> None:
        """Wait until no other room decides on an invitation by that person."""
        if self._taken is None:
            turn = self._inviting.setdefault(person, asyncio.Lock())
            await turn.acquire()
            self._taken = turn
