"""Whether the homeserver went away: told by whatever request fails to reach it.

Everybody's requests are watched, the long /sync among them, so that even a restart between two of
our own looks at it does not go unseen.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import aiohttp

from bridge.rooms.ports import Unavailable


class Outages:
    """Notes that the homeserver could not be reached."""

    def __init__(self) -> None:
        self._noted = asyncio.Event()

    @property
    def noted(self) -> bool:
        """It could not be reached since `begin_anew`."""
        return self._noted.is_set()

    def note(self) -> None:
        self._noted.set()

    def begin_anew(self) -> None:
        """What was noted is being dealt with."""
        self._noted.clear()

    async def one(self) -> None:
        """Return once there is one, which may have been noted before."""
        await self._noted.wait()

    def watch(self) -> aiohttp.TraceConfig:
        """What an HTTP session has to be made with, for its requests to be watched."""
        trace = aiohttp.TraceConfig()
        trace.on_request_exception.append(self._failed)
        return trace

    async def _failed(
        self,
        session: aiohttp.ClientSession,
        context: SimpleNamespace,
        failed: aiohttp.TraceRequestExceptionParams,
    ) -> None:
        del session, context
        if is_outage(failed.exception):
            self.note()


def is_outage(error: BaseException) -> bool:
    """Nobody there, or a proxy that says so; not a homeserver that has too much to do (429)."""
    if isinstance(error, Unavailable):
        return error.retry_after is None
    return isinstance(error, aiohttp.ClientConnectionError) and not isinstance(
        error, aiohttp.ServerTimeoutError
    )
