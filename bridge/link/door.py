"""The server's door, at which we must not knock too often.

The server blacklists an address that comes too often, and all our customers share one (protocol
reference 3.7). What goes to its login address therefore passes one window limiter, and answers that
look like a blacklist's close the door for everybody for ten minutes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from bridge.conversation.inputs import FailureReason
from bridge.link.failures import OpenFailure
from bridge.link.health import Health
from bridge.link.http import Answer
from bridge.link.limiter import WindowLimiter
from bridge.link.settings import LinkSettings

STARTING = frozenset({404, 408, 500, 502, 503, 504})
"""HTTP statuses of a server that is starting, or of the proxy before it (row 38)."""
SUSPICIONS = 3
"""So many answers in a row that are neither WebChat's nor a starting server's: a blacklist."""


class Door:
    """One server's, for all its links."""

    def __init__(self, settings: LinkSettings, health: Health) -> None:
        self._pause = settings.timing.blacklist
        self._health = health
        self._limiter = WindowLimiter(settings.login_count, settings.login_seconds)
        self._suspicions = 0
        self._closed_until = 0.0

    @asynccontextmanager
    async def knock(self) -> AsyncIterator[None]:
        """Wait for our turn; the request is made inside.

        Raises:
            OpenFailure: UNREACHABLE, the door is closed; `pause` says for how long.
        """
        self.check()
        async with self._limiter:
            self.check()  # what was learnt while we waited counts
            yield

    def check(self) -> None:
        """Raise OpenFailure while the door is closed."""
        left = self._closed_until - asyncio.get_running_loop().time()
        if left > 0:
            raise OpenFailure(
                FailureReason.UNREACHABLE,
                "the server seems to have blacklisted this address",
                pause=left,
            )

    def answered(self) -> None:
        """WebChat itself has answered, whatever it said."""
        self._health.reached()
        self._suspicions = 0

    def unanswered(self) -> None:
        """No HTTP answer came."""
        self._health.missed()

    def foreign(self, answer: Answer, what: str) -> OpenFailure:
        """Something else than WebChat answered: return what that means for `what` was asked."""
        self._health.missed()
        pause = 0.0
        if answer.status not in STARTING:
            self._suspicions += 1
            if self._suspicions >= SUSPICIONS:
                pause = self._pause
                self._closed_until = asyncio.get_running_loop().time() + pause
                log: structlog.stdlib.BoundLogger = structlog.get_logger()
                log.error("blacklisted by the webchat server?", status=answer.status, pause=pause)
        return OpenFailure(
            FailureReason.UNREACHABLE,
            f"{what}: HTTP {answer.status} without WebChat's JSON",
            pause=pause,
        )
