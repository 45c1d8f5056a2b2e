"""The way to a socket: who wants it (a reference count), and the gate (a lock) that leads to it.

Through the `Gate` commands reach the socket one at a time, in the order of tickets: one that was
refused over a dead token goes out again *before* everything that was asked later. While the gate is
shut, who cannot wait until it may open is told at once, with the reason. Where only a person can
mend what keeps it shut, it stays so for a long *rest*, unless somebody asks in person.
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
    """Reference count of those who want a link; says when it has been zero for a while."""

    def __init__(self) -> None:
        self._count = 0
        self._kept = False
        self._changed = Flag()
        """Set when the count leaves zero or comes back to it."""
        self._leave: tuple[float, Callable[[], object]] | None = None
        """What to call after how many seconds at zero."""
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
        """Call `leave` once nobody has wanted the link for `seconds`."""
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
        """Return True as soon as nobody wants the link; False after `seconds`, or with the turn."""
        while self.present:
            self._changed.clear()
            if not await self._changed.wait(seconds, turn):
                return False
        return True

    async def back_within(self, seconds: float) -> bool:
        """Return True as soon as somebody wants the link, False after `seconds` without."""
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
    """A lock that is handed over in the order of tickets, and may be shut. Shut at first."""

    def __init__(self) -> None:
        self._wire: Wire | None = None
        self.tickets = itertools.count(1)
        """Each `next` is a place in the order, good for any number of entries."""
        self.trouble: OpenFailure | None = None
        """The failure of the last try to open it; None: there was none."""
        self.delay = LATE
        """The failure that late callers get while nothing went wrong."""
        self._taken = False
        self._waiting: list[_Waiting] = []
        self._not_before = 0.0
        self._rests_until = 0.0
        """No sooner than `_not_before`: when it may open although nobody asks."""
        self._changed = Flag()

    @property
    def wire(self) -> Wire | None:
        """Where it leads to now; None while it is shut, as it is once no command may be written."""
        return self._wire if self._wire is not None and self._wire.usable else None

    @property
    def free(self) -> Wire | None:
        """The wire, where it is open and nobody is in or waits."""
        return None if self._taken or self._waiting else self.wire

    async def enter(self, ticket: int, seconds: float, *, asks: bool = True) -> Wire:
        """Wait until everybody with a lower ticket is through; hold the open gate until `leave`.

        Who does not `ask` ends no rest. OpenFailure: it will not open within so many seconds.
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
                self.leave()  # the turn came in the very moment of giving up: pass it on
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
        """Shut the gate, unless another wire is behind it by now."""
        if self._wire is wire:
            self._wire = None

    def hold(self, failure: OpenFailure, seconds: float, *, rest: float = 0.0) -> None:
        """Say that the gate will not open for `seconds`, and why; for `rest` if nobody asks."""
        now = asyncio.get_running_loop().time()
        self._not_before = now + seconds
        self._rests_until = now + max(seconds, rest)
        self._changed.set()
        self.refuse(failure, before=self._not_before)

    def pause_left(self) -> float:
        """Seconds that `hold` still has to run if nobody asks."""
        return max(0.0, self._rests_until - asyncio.get_running_loop().time())

    async def held(self) -> None:
        """Return once the hold is over."""
        while True:
            asked = any(waiting.asks for waiting in self._waiting)
            until = self._not_before if asked else self._rests_until
            if asyncio.get_running_loop().time() >= until:
                self._rests_until = self._not_before
                return
            self._changed.clear()
            await self._changed.wait(until - asyncio.get_running_loop().time())

    def refuse(self, failure: OpenFailure, before: float = math.inf) -> None:
        """Fail the waiting calls with a deadline before `before` (loop time)."""
        self.trouble = failure
        self._send_away(failure, lambda waiting: waiting.deadline < before)

    def dismiss(self, failure: OpenFailure) -> None:
        """Fail every waiting call that was made for somebody: the link is not wanted any more."""
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
    # A new one each time: an exception that several tasks raise mixes up their tracebacks.
    return OpenFailure(failure.reason, str(failure), code=failure.code, pause=failure.pause)
