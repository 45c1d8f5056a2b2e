"""One room's link as its callers see it.

Calls wait at the `Gate` until the keeper has opened it, write one after the other, and wait for
their replies side by side. A command that the server refused over its token goes out once more on
the next wire, with its old call id and in its old place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bridge.conversation.inputs import FailureReason
from bridge.ids import CallId
from bridge.link.demand import Demand
from bridge.link.failures import OpenFailure
from bridge.link.gate import Gate
from bridge.link.keeper import Keeper, Surroundings, refused_again
from bridge.link.wire import Wire
from bridge.rooms.ports import Account
from bridge.webchat.codes import ResultCode
from bridge.webchat.frames import Command, Reply


class Link:
    """The link of one room; nothing of it moves unless `run` does."""

    def __init__(self, account: Account, around: Surroundings) -> None:
        self.demand = Demand()
        self._gate: Gate[Wire] = Gate()
        self._connect = around.settings.timing.connect
        self.keeper = Keeper(account, around, self.demand, self._gate)

    async def run(self) -> None:
        """Keep the link up until nobody has wanted it for a while."""
        await self.keeper.run()

    async def rested(self) -> bool:
        """Wait out the backoff; False if the link is wanted again before that."""
        return not await self.demand.back_within(self._gate.pause_left())

    def abandon(self) -> None:
        """The bridge stops: whoever still waits for the link will not get it."""
        self._gate.refuse(OpenFailure(FailureReason.UNREACHABLE, "the links are closing"))

    async def call(
        self, call_id: CallId, command: Command, before_write: Callable[[], Awaitable[None]]
    ) -> Reply:
        """Send a command and return its reply; see `LinkPort.call`."""
        with self.demand.call():
            ticket = self._gate.ticket()
            for _ in range(2):
                wire, coming = await self._write(ticket, call_id, command, before_write)
                reply = await wire.answer(call_id, coming)
                if reply.result != ResultCode.INVALID_TOKEN:
                    return reply
                self.refuse(wire)
        raise refused_again()

    async def standing(self) -> Wire:
        """Return the open wire, waiting for it as a call would; for its token.

        Raises:
            OpenFailure: it could not be opened in time.
        """
        wire = await self._gate.enter(self._gate.ticket(), self._connect)
        self._gate.leave()
        return wire

    def refuse(self, wire: Wire) -> None:
        """The server has refused the token of this wire: log in again and open another."""
        wire.refuse()
        self._gate.shut(wire)

    async def _write(
        self,
        ticket: int,
        call_id: CallId,
        command: Command,
        before_write: Callable[[], Awaitable[None]],
    ) -> tuple[Wire, asyncio.Future[Reply]]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._connect
        while True:
            wire = await self._gate.enter(ticket, deadline - loop.time())
            try:
                if wire.usable:
                    await before_write()
                # It may have ended while that was stored; then nothing was written, for certain.
                if wire.usable:
                    return wire, await wire.write(call_id, command)
                self._gate.shut(wire)
            finally:
                self._gate.leave()
