"""At most so many logins in any window of time, shared out fairly among the people who cause them.

A leaky bucket (aiolimiter) would let almost twice the count through in one window, and the server's
blacklist counts windows (protocol reference 3.7). So here a place is taken when a login begins and
comes back one whole window after that login has *ended*: whenever within its login the server
counted it, no window of the server's ever holds more.

Who goes first: those whose chat is going on, then those for whom the fewest places are taken at the
moment, and then it goes round: whoever has had a turn is behind all who wait by then. So a person
has one place in the line, however many rooms they make, and a newcomer waits for one of them. Nor
does anybody take places down to the last: for whom some are taken gets another only while as many
are free (the dynamic thresholds of shared buffers). That is 5 of 8 for one person at most, and
leaves some for who comes next.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial


@dataclass(eq=False)
class Place:
    """One of the places, while it is taken."""

    person: str
    """Empty: an earlier run of ours took it, and nobody knows for whom."""
    back: float | None = None
    """When it comes back, in loop time; None: its login is under way."""


Wait = Callable[[asyncio.Future[Place], Callable[[], float]], Awaitable[None]]
"""Waits until the future is done, which is the turn; the function tells in how many seconds at most
that will be, as things stand. What it raises ends the wait."""


async def patiently(turn: asyncio.Future[Place], expected: Callable[[], float]) -> None:
    """Wait however long it takes."""
    del expected
    await turn


@dataclass(frozen=True)
class Visitor:
    """For whom a login is made."""

    person: str
    """The Matrix user who brought us into the room."""
    running: bool = False
    """They are in a chat already, or in a queue of the call centre's."""
    wait: Wait = patiently


@dataclass(eq=False)
class _Waiting:
    visitor: Visitor
    turn: asyncio.Future[Place]
    number: int
    """When it came, or its person last had a turn."""

    @property
    def person(self) -> str:
        return self.visitor.person

    def rank(self, held: int) -> tuple[bool, int, int]:
        """The lower, the sooner; `held`: the places that are taken for the person by then."""
        return not self.visitor.running, held, self.number


class WindowLimiter:
    """The places, and the line of those who wait for one."""

    def __init__(self, count: int, seconds: float) -> None:
        self._seconds = seconds
        self._free = count
        self._taken: list[Place] = []
        self._held: Counter[str] = Counter()
        """How many of the taken places are each person's."""
        self._line: list[_Waiting] = []
        self._numbers = itertools.count()

    def give_away(self, seconds: float) -> None:
        """Have one place less for so long: an earlier run of ours took it."""
        self._cool(self._take(""), seconds)

    @asynccontextmanager
    async def place(self, visitor: Visitor) -> AsyncIterator[None]:
        """Wait for a place, in which the login is made."""
        place = await self._turn(visitor)
        try:
            yield
        finally:
            self._cool(place, self._seconds)

    async def _turn(self, visitor: Visitor) -> Place:
        turn: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(visitor, turn, next(self._numbers))
        self._line.append(waiting)
        self._next()
        try:
            if not turn.done():
                await visitor.wait(turn, partial(self._expected, waiting))
            return await turn
        except BaseException:
            if waiting in self._line:
                self._line.remove(waiting)
            elif not turn.cancelled():
                self._give_back(turn.result())  # it came in the very moment of giving up
            raise

    def _next(self) -> None:
        """Give the free places to those whose turn it is."""
        while (first := self._first()) is not None:
            self._line.remove(first)
            first.turn.set_result(self._take(first.person))
            for one in self._line:
                if one.person == first.person:
                    one.number = next(self._numbers)

    def _first(self) -> _Waiting | None:
        """Whose turn it is; None: nobody may take what is free."""
        if self._free < 1:
            return None
        may = [
            one
            for one in self._line
            if self._held[one.person] <= self._free and not one.turn.done()
        ]
        return min(may, key=lambda one: one.rank(self._held[one.person]), default=None)

    def _take(self, person: str) -> Place:
        place = Place(person)
        self._free -= 1
        self._taken.append(place)
        self._held[person] += 1
        return place

    def _cool(self, place: Place, seconds: float) -> None:
        """The login has ended; its place comes back after so long."""
        loop = asyncio.get_running_loop()
        place.back = loop.time() + seconds
        loop.call_at(place.back, self._give_back, place)

    def _give_back(self, place: Place) -> None:
        self._free += 1
        self._taken.remove(place)
        self._held[place.person] -= 1
        if not self._held[place.person]:
            del self._held[place.person]
        self._next()

    def _expected(self, waiting: _Waiting) -> float:
        """In how many seconds at most it is the turn of this one, if nobody else comes.

        For it goes round: until then each of the others has a turn before each of this person's.
        """
        running, person = waiting.visitor.running, waiting.person
        earlier = [one for one in self._line if one.person == person].index(waiting)
        others = [one for one in self._line if one.person != person]
        rivals = {
            one.person
            for one in others
            if one.visitor.running == running and (earlier or one.number < waiting.number)
        }
        first = sum(one.visitor.running and not running for one in others)
        before = first + len(rivals) * (earlier + 1) + earlier
        # Who waits does so because places are taken, so there are some that come back.
        now = asyncio.get_running_loop().time()
        backs = sorted(place.back or now + self._seconds for place in self._taken)
        windows, place = divmod(before, len(backs))
        until = backs[place] + windows * self._seconds
        own = [one.back or now + self._seconds for one in self._taken if one.person == person]
        if own:  # some of the free places may be for others only
            until = max(until, max(own) + earlier * self._seconds)
        return max(0.0, until - now)
