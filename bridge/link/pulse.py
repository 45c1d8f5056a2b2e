"""Whether the other side of a socket still lives (row 36).

Into a silence goes a WebSocket ping. A server that knows heartbeats (type 10) gets one beside it,
every so often and however much is heard: it may count them. Whatever is heard after either proves
life; nothing at all ends the socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from bridge.link.learnt import Feature, Learnt
from bridge.rooms.ports import CallFailure
from bridge.webchat.codes import ResultCode
from bridge.webchat.frames import Command, Heartbeat, Reply

UNKNOWN_KIND = frozenset({ResultCode.INVALID_MESSAGE_TYPE, ResultCode.INVALID_REQUEST_TYPE})
"""What a server answers to a command that its revision does not have."""


class Pulse:
    """One socket's. All times are in seconds."""

    def __init__(
        self,
        socket: ClientConnection,
        learnt: Learnt,
        *,
        every: float,
        wait: float,
        ask: Callable[[Command], Awaitable[Reply]],
        refuse: Callable[[], None],
    ) -> None:
        """Start to count.

        Args:
            socket: what to ping, and to end.
            learnt: whether the server knows heartbeats.
            every: silence after which to ping, and time between two heartbeats.
            wait: silence after a ping or a heartbeat that ends the socket; less than `ask` waits.
            ask: sends a command and returns its reply.
            refuse: called when the server refuses the token of a heartbeat.
        """
        self._socket = socket
        self._learnt = learnt
        self._every = every
        self._wait = wait
        self._ask = ask
        self._refuse = refuse
        self._heard = asyncio.get_running_loop().time()
        self._beat_due = self._heard + every

    def heard(self) -> None:
        """A frame has come."""
        self._heard = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Guard the socket; returns once it is silent, and cut."""
        while True:
            await asyncio.sleep(self._quiet_for())
            if not await self._lives():
                log: structlog.stdlib.BoundLogger = structlog.get_logger()
                log.info("webchat link is silent: closing it")
                # A peer that does not answer a ping would not answer a close either.
                self._socket.transport.abort()
                return

    async def answers_ping(self, seconds: float) -> bool:
        """Ping, and say whether anything at all was heard within `seconds`."""
        before = self._heard
        try:
            async with asyncio.timeout(seconds):
                await (await self._socket.ping())
        except TimeoutError:
            return self._heard > before
        except ConnectionClosed:
            return False
        self.heard()
        return True

    def _quiet_for(self) -> float:
        due = self._heard + self._every
        if self._learnt.has(Feature.HEARTBEAT):
            due = min(due, self._beat_due)
        return max(0.0, due - asyncio.get_running_loop().time())

    async def _lives(self) -> bool:
        """Do what is due; False if nothing is heard then."""
        now = asyncio.get_running_loop().time()
        if now >= self._heard + self._every and not await self.answers_ping(self._wait):
            return False
        if now < self._beat_due or not self._learnt.has(Feature.HEARTBEAT):
            return True
        self._beat_due = now + self._every
        return await self._answers_heartbeat()

    async def _answers_heartbeat(self) -> bool:
        before = self._heard
        try:
            async with asyncio.timeout(self._wait):
                reply = await self._ask(Heartbeat())
        except TimeoutError:
            self._learnt.beat(answered=False)
            return self._heard > before
        except CallFailure:
            return False  # the socket is lost already
        self._learnt.beat(answered=True)
        if reply.result in UNKNOWN_KIND:  # an answer all the same (row 69)
            self._learnt.has_not(Feature.HEARTBEAT)
        elif reply.result == ResultCode.INVALID_TOKEN:
            self._refuse()
        return True
