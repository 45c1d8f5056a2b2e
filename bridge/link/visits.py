"""When we last came to a server's door, also before we were started.

The server counts an address's visits in windows of time (protocol reference 3.7) and knows nothing
of our restarts, so the newest moments are kept in the store.
"""

from __future__ import annotations

from collections import deque

import structlog

from bridge.link.ports import Facts
from bridge.link.settings import LinkSettings
from bridge.rooms.ports import Clock
from bridge.rooms.store import StoreError
from bridge.webchat.urls import Endpoints

VISITS = "visits"
"""Begins the name of the fact."""


class Visits:
    """As many of one server's as its window may hold. A store that is down stops nobody."""

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


def _log() -> structlog.stdlib.BoundLogger:
    log: structlog.stdlib.BoundLogger = structlog.get_logger()
    return log
