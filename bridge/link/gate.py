"""Access to a link's socket: reference count of its users (`Demand`), and a lock (`Gate`).

Commands pass the `Gate` to the socket one at a time, in the order of their tickets: a command that
was refused over a dead token is resent *before* all later ones. While the gate is shut, a caller
whose deadline is before the time it may open fails at once, with the reason. If only a person can
fix the cause, it stays shut for a long *rest*, unless a customer's action asks for it.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable
from typing import Any

import msgspec

from bridge.conversation.model import FailureReason
from bridge.link.http_client import OpenFailure
from bridge.link.socket import Flag, Wire


class Demand:
    """Reference count of a link's users, with a callback once it has been zero for a while."""

    def __init__(self) -> None:
        self._count = 0
        self._kept = False
        self._changed = Flag()
        """Set when the count leaves or reaches zero."""
        self._leave: tuple[float, Callable[[], object]] | None = None
        """Seconds at zero after which to call, and the callback."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def present(self) -> bool:
        return self._count > 0

    @property
    def calling(self) -> bool:
        return self._count > self._kept

    def keep(self) -> None:
        if not self._kept:
            self._kept = True
            self.begin()

    def release(self) -> None:
        if self._kept:
            self._kept = False
            self.end()

    def begin(self) -> None:
        self._count += 1
        if self._count == 1:
            self._change()

    def end(self) -> None:
        self._count -= 1
        if not self._count:
            self._change()

    def when_gone(self, seconds: float, leave: Callable[[], object]) -> None:
        """Call `leave` once the count has been zero for `seconds`."""
        self._leave = seconds, leave
        self._change()

    def _change(self) -> None:
        self._changed.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._leave is not None and not self._count:
            self._timer = asyncio.get_running_loop().call_later(*self._leave)

    async def gone(self, seconds: float, turn: asyncio.Future[Any]) -> bool:
        """Return True once the count is zero; False after `seconds` or once `turn` is done."""
        while self.present:
            self._changed.clear()
            if not await self._changed.wait(seconds, turn):
                return False
        return True

    async def back_within(self, seconds: float) -> bool:
        """Return True once the count is above zero; False after `seconds`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not self.present:
            self._changed.clear()
            if not await self._changed.wait(end - loop.time()):
                return self.present
        return True


LATE = OpenFailure(FailureReason.UNREACHABLE, "the link did not open in time")


class _Waiting(msgspec.Struct, eq=False):
    ticket: int
    deadline: float
    asks: bool
    turn: asyncio.Future[Wire]


class Gate:
    """A lock that is granted in the order of tickets, and can be shut; initially it is."""

    def __init__(self) -> None:
        self._wire: Wire | None = None
        self.tickets = itertools.count(1)
        """Source of tickets; a ticket can be used for any number of entries."""
        self.trouble: OpenFailure | None = None
        """Failure of the last attempt to open the link; None if it did not fail."""
        self.delay = LATE
        """Failure for callers whose time is up while `trouble` is None."""
        self._taken = False
        self._waiting: list[_Waiting] = []
        self._not_before = 0.0
        self._rests_until = 0.0
        """When the link may be opened unasked, in loop time; not before `_not_before`."""
        self._changed = Flag()

    @property
    def wire(self) -> Wire | None:
        """Wire behind the gate; None while it is shut or takes no more commands."""
        return self._wire if self._wire is not None and self._wire.usable else None

    @property
    def free(self) -> Wire | None:
        """The wire, if the gate is open and nobody holds it or waits."""
        return None if self._taken or self._waiting else self.wire

    async def enter(self, ticket: int, seconds: float, *, asks: bool = True) -> Wire:
        """Wait for the open gate in ticket order and hold it until `leave`.

        Only callers with `asks` end a rest. OpenFailure: the gate does not open within `seconds`.
        """
        if (wire := self.free) is not None:
            self._taken = True
            return wire
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        if self.wire is None and deadline < (self._not_before if asks else self._rests_until):
            raise _copy(self.trouble or self.delay)
        waiting = _Waiting(ticket, deadline, asks, loop.create_future())
        self._waiting.append(waiting)
        self._changed.set()
        self._next()
        try:
            async with asyncio.timeout_at(deadline):
                return await waiting.turn
        except (TimeoutError, asyncio.CancelledError) as error:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            elif not waiting.turn.cancelled() and waiting.turn.exception() is None:
                self.leave()  # the turn came at the moment of giving up: pass it on
            if isinstance(error, TimeoutError):
                raise _copy(self.trouble or self.delay) from None
            raise

    def leave(self) -> None:
        self._taken = False
        self._next()

    def open(self, wire: Wire) -> None:
        self._wire = wire
        self.trouble = None
        self._next()

    def shut(self, wire: Wire) -> None:
        """Shut the gate unless it leads to another wire by now."""
        if self._wire is wire:
            self._wire = None

    def hold(self, failure: OpenFailure, seconds: float, *, rest: float = 0.0) -> None:
        """Keep the gate shut for `seconds` because of `failure`; for `rest` while nobody asks."""
        now = asyncio.get_running_loop().time()
        self._not_before = now + seconds
        self._rests_until = now + max(seconds, rest)
        self._changed.set()
        self.refuse(failure, before=self._not_before)

    def pause_left(self) -> float:
        """Return the seconds that `hold` still lasts if nobody asks."""
        return max(0.0, self._rests_until - asyncio.get_running_loop().time())

    async def held(self) -> None:
        """Wait until the hold is over."""
        while True:
            asked = any(waiting.asks for waiting in self._waiting)
            until = self._not_before if asked else self._rests_until
            if asyncio.get_running_loop().time() >= until:
                self._rests_until = self._not_before
                return
            self._changed.clear()
            await self._changed.wait(until - asyncio.get_running_loop().time())

    def refuse(self, failure: OpenFailure, before: float = math.inf) -> None:
        """Fail waiting callers whose deadline is before `before`, in loop time."""
        self.trouble = failure
        self._send_away(failure, lambda waiting: waiting.deadline < before)

    def dismiss(self, failure: OpenFailure) -> None:
        """Fail all waiting callers with `asks`: the link is no longer wanted."""
        self._send_away(failure, lambda waiting: waiting.asks)

    def _send_away(self, failure: OpenFailure, goes: Callable[[_Waiting], bool]) -> None:
        for waiting in [one for one in self._waiting if goes(one)]:
            self._waiting.remove(waiting)
            if not waiting.turn.done():
                waiting.turn.set_exception(_copy(failure))

    def _next(self) -> None:
        while self._waiting and not self._taken and (wire := self.wire) is not None:
            first = min(self._waiting, key=lambda waiting: waiting.ticket)
            self._waiting.remove(first)
            if not first.turn.done():
                self._taken = True
                first.turn.set_result(wire)


def _copy(failure: OpenFailure) -> OpenFailure:
    # An exception raised by several tasks would mix up their tracebacks.
    return OpenFailure(failure.reason, str(failure), code=failure.code, pause=failure.pause)
