"""The server's door, at which we must not knock too often.

The server blacklists an address that comes too often, and all our customers share one (protocol
reference 3.7). What goes to its login address therefore passes one window limiter, which shares the
turns out among our customers and knows also what an earlier run of ours did: the server counts an
address's visits in windows of time and knows nothing of our restarts, so the newest moments are
kept in the store. And answers that look like a blacklist's close the door for everybody for ten
minutes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from bridge.conversation.inputs import FailureReason
from bridge.ids import RoomId
from bridge.link.failures import OpenFailure
from bridge.link.http import Answer
from bridge.link.limiter import Visitor, WindowLimiter
from bridge.link.ports import Facts
from bridge.link.settings import LinkSettings
from bridge.rooms.ports import Clock
from bridge.rooms.store import StoreError
from bridge.webchat.http import Endpoints

VISITS = "visits"
"""Begins the name of the fact that holds when we last came to a server's door."""
STARTING = frozenset({404, 408, 500, 502, 503, 504})
"""HTTP statuses of a server that is starting, or of the proxy before it (row 38)."""
SUSPICIONS = 3
"""So many answers in a row that are neither WebChat's nor a starting server's, or so many rooms in
a row whose sockets are refused with new tokens: a blacklist."""


class Health:
    """Whether the WebChat server can be reached: one fact drawn from what all links see.

    Failing once any link fails to reach the server; healthy once any link does.

    A lost link alone is no failure: only what could not be opened, or not be logged in, is. Any
    answer of the server, a refusal too, shows that it lives. All times are ms since the epoch.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.failing_since: int | None = None
        """Since when nothing but failures; None while healthy, or before the first."""

    def reached(self) -> None:
        """The server answered."""
        self.failing_since = None

    def missed(self) -> None:
        """The server could not be reached, or something else answered in its place."""
        if self.failing_since is None:
            self.failing_since = self._clock.now()

    def unreachable_for(self) -> float:
        """Seconds since the server was lost; 0.0 while it is there or nothing is known."""
        if self.failing_since is None:
            return 0.0
        return max(0.0, (self._clock.now() - self.failing_since) / 1000)


class Visits:
    """When we last came to one server's door, also before we were started.

    As many visits as its window may hold. A store that is down stops nobody.
    """

    def __init__(self, settings: LinkSettings, facts: Facts, clock: Clock) -> None:
        self._window = settings.login_seconds
        self._facts = facts
        self._clock = clock
        self._fact = f"{VISITS} {Endpoints(settings.base_url).login}"
        self._moments: deque[int] = deque(maxlen=settings.login_count)
        """ms since the epoch, in the order in which they came."""

    async def load(self) -> list[float]:
        """Recall what earlier runs noted; return for how many seconds each visit still counts."""
        try:
            told = await self._facts.get(self._fact) or ""
        except StoreError as error:
            _log().warning("earlier visits of the webchat server not known", error=str(error))
            return []
        now = self._clock.now()
        # Where the clock was set back since, a moment may lie ahead: it must not cost more than one
        # window.
        self._moments.extend(min(int(one), now) for one in told.split() if one.isdecimal())
        left = [self._window - (now - moment) / 1000 for moment in self._moments]
        return [seconds for seconds in left if seconds > 0]

    async def note(self) -> None:
        """Remember, for the next run, that we come now."""
        now = self._clock.now()
        while self._moments and self._moments[0] <= now - self._window * 1000:
            self._moments.popleft()
        self._moments.append(now)
        try:
            await self._facts.put(self._fact, " ".join(map(str, self._moments)))
        except StoreError as error:
            _log().warning("visit of the webchat server not noted", error=str(error))


class Door:
    """One server's, for all its links."""

    def __init__(self, settings: LinkSettings, health: Health, facts: Facts, clock: Clock) -> None:
        self._pause = settings.timing.blacklist
        self._health = health
        self._limiter = WindowLimiter(settings.login_count, settings.login_seconds)
        self._visits = Visits(settings, facts, clock)
        self._foreign_answers = 0
        self._shut_out: set[RoomId] = set()
        """Counted apart: who is shut out of the sockets alone still gets logins answered."""
        self._closed_until = 0.0

    async def load(self) -> None:
        """Recall the visits of an earlier run; to be called before the first `knock`."""
        for seconds in await self._visits.load():
            self._limiter.give_away(seconds)

    @asynccontextmanager
    async def knock(self, visitor: Visitor) -> AsyncIterator[None]:
        """Wait for the visitor's turn; the request is made inside.

        Raises:
            OpenFailure: UNREACHABLE, the door is closed; `pause` says for how long.
            Exception: what the visitor's own `wait` raises.
        """
        self.check()
        async with self._limiter.place(visitor):
            self.check()  # what was learnt while we waited counts
            await self._visits.note()
            yield

    @property
    def closed_for(self) -> float:
        """Seconds for which the door stays closed; 0.0 while it is open."""
        return max(0.0, self._closed_until - asyncio.get_running_loop().time())

    def check(self) -> None:
        """Raise OpenFailure while the door is closed."""
        left = self.closed_for
        if left > 0:
            raise OpenFailure(
                FailureReason.UNREACHABLE,
                "the server seems to have blacklisted this address",
                pause=left,
            )

    def answered(self) -> None:
        """WebChat itself has answered, whatever it said."""
        self._health.reached()
        self._foreign_answers = 0

    def let_in(self) -> None:
        """A socket was opened."""
        self._shut_out.clear()

    def unanswered(self) -> None:
        """No HTTP answer came."""
        self._health.missed()

    def foreign(self, answer: Answer, what: str) -> OpenFailure:
        """Something else than WebChat answered: return what that means for `what` was asked."""
        self._health.missed()
        pause = 0.0
        if answer.status not in STARTING:
            self._foreign_answers += 1
            if self._foreign_answers >= SUSPICIONS:
                pause = self._close(answer.status)
        return OpenFailure(
            FailureReason.UNREACHABLE,
            f"{what}: HTTP {answer.status} without WebChat's JSON",
            pause=pause,
        )

    def suspect(self, room_id: RoomId, status: int) -> None:
        """A room's socket was refused although a login had just given its token.

        In one room that may be a matter of its account, and no reason to shut out the others.
        """
        self._shut_out.add(room_id)
        if len(self._shut_out) >= SUSPICIONS:
            self._health.missed()
            self._close(status)

    def _close(self, status: int) -> float:
        self._closed_until = asyncio.get_running_loop().time() + self._pause
        _log().error("blacklisted by the webchat server?", status=status, pause=self._pause)
        return self._pause


def _log() -> structlog.stdlib.BoundLogger:
    log: structlog.stdlib.BoundLogger = structlog.get_logger()
    return log
