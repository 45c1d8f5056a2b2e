"""Demand for one link (a reference count), and the gate to its socket (a lock with tickets).

`Demand` says whether anybody wants the link: the engine keeps it, or a call is under way. Through
the `Gate` commands reach the socket: one at a time, in the order of tickets.

Order is what the gate is for. A command that the server refused over a dead token goes out again
on the new link *before* everything that was asked later, although by then it stands behind it in
line; so whoever waits is let through by ticket, not by time of arrival.

While the gate is shut it knows when it may open again at the earliest. Whoever cannot wait so long
is told at once, with the reason, instead of after half a minute of hope. Where only a person can
mend what keeps it shut, it stays so for a long *rest*, unless somebody asks for it in person.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from bridge.conversation.model import FailureReason
from bridge.link.http_client import OpenFailure

Way = TypeVar("Way")
"""What the gate leads to: in production a `Wire`."""


class Demand:
    """Reference count of those who want a link; says when it has been zero for a while."""

    def __init__(self) -> None:
        self._kept = False
        self._calls = 0
        self._changed = asyncio.Event()

    @property
    def present(self) -> bool:
        """True while the link is kept or a call is under way."""
        return self._kept or self._calls > 0

    @property
    def calling(self) -> bool:
        """True while a call is under way."""
        return self._calls > 0

    def keep(self) -> None:
        self._kept = True
        if not self._calls:
            self._changed.set()

    def release(self) -> None:
        self._kept = False
        if not self._calls:
            self._changed.set()

    def begin(self) -> None:
        """Want the link for one call more, until `end`."""
        self._calls += 1
        if self._calls == 1 and not self._kept:
            self._changed.set()

    def end(self) -> None:
        """One call less."""
        self._calls -= 1
        if not self.present:
            self._changed.set()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Want the link for the time of one call."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    async def gone(self, seconds: float) -> None:
        """Return once nobody has wanted the link for `seconds`."""
        while True:
            self._changed.clear()
            if self.present:
                await self._changed.wait()
            elif not await self._changed_within(seconds):
                return

    async def back_within(self, seconds: float) -> bool:
        """Return True as soon as somebody wants the link, False after `seconds` without."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not self.present:
            self._changed.clear()
            if not await self._changed_within(end - loop.time()):
                return self.present
        return True

    async def _changed_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True


@dataclass(order=True)
class _Waiting(Generic[Way]):
    ticket: int
    deadline: float = field(compare=False)
    turn: asyncio.Future[Way] = field(compare=False)
    asks: bool = field(compare=False)


class Gate(Generic[Way]):
    """A lock that is handed over in the order of tickets, and may be shut. Shut at first.

    A task that has entered holds it until `leave`.
    """

    def __init__(self) -> None:
        self._way: Way | None = None
        self._taken = False
        self._waiting: list[_Waiting[Way]] = []
        self._tickets = itertools.count(1)
        self._trouble: OpenFailure | None = None
        self._delay = _late()
        self._not_before = 0.0
        self._rests_until = 0.0
        """No sooner than `_not_before`: when it may open although nobody asks."""
        self._changed = asyncio.Event()

    @property
    def way(self) -> Way | None:
        """Where the gate leads to now; None while it is shut."""
        return self._way

    @property
    def trouble(self) -> OpenFailure | None:
        """The failure of the last try to open it; None: there was none."""
        return self._trouble

    def ticket(self) -> int:
        """Return a place in the order, good for any number of entries."""
        return next(self._tickets)

    async def enter(self, ticket: int, seconds: float, *, asks: bool = True) -> Way:
        """Wait for the gate to be open and everybody with a lower ticket to be through.

        Args:
            ticket: the caller's place in the order.
            seconds: how long the caller can wait.
            asks: False: nobody's word stands behind it, so it ends no rest.

        Where it is open and free, and nobody waits, that is at once: no task is switched.

        Raises:
            OpenFailure: it did not, or will not, open in time.
        """
        if (way := self.pass_through()) is not None:
            return way
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        if self._way is None and deadline < (self._not_before if asks else self._rests_until):
            raise self._why_not()
        turn: asyncio.Future[Way] = loop.create_future()
        heapq.heappush(self._waiting, _Waiting(ticket, deadline, turn, asks))
        self._changed.set()
        self._next()
        try:
            async with asyncio.timeout_at(deadline):
                return await turn
        except TimeoutError:
            self._withdraw(turn)
            raise self._why_not() from None
        except asyncio.CancelledError:
            self._withdraw(turn)
            raise

    def pass_through(self) -> Way | None:
        """Enter without waiting; None where that cannot be."""
        if self._way is None or self._taken or self._waiting:
            return None
        self._taken = True
        return self._way

    def leave(self) -> None:
        """Let the next one in."""
        self._taken = False
        if self._waiting:
            self._next()

    def open(self, way: Way) -> None:
        """Open the gate: waiting calls are let through, one at a time."""
        self._way = way
        self._trouble = None
        self._next()

    def shut(self, way: Way) -> None:
        """The socket behind the gate is lost: shut it, unless another is open by now."""
        if self._way is way:
            self._way = None

    def hold(self, failure: OpenFailure, seconds: float, *, rest: float = 0.0) -> None:
        """Say that the gate will not open for `seconds`, and why; for `rest` if nobody asks."""
        now = asyncio.get_running_loop().time()
        self._not_before = now + seconds
        self._rests_until = now + max(seconds, rest)
        self._changed.set()
        self.refuse(failure, before=self._not_before)

    def explain(self, delay: OpenFailure | None) -> None:
        """Set the failure that late callers get while nothing went wrong; None: the usual one."""
        self._delay = delay or _late()

    def forgive(self) -> None:
        """Clear the last failure: callers that come too late are not told of it any more."""
        self._trouble = None

    def pause_left(self) -> float:
        """Return the seconds that `hold` still has to run if nobody asks."""
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
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._changed.wait()

    def refuse(self, failure: OpenFailure, before: float | None = None) -> None:
        """Fail the waiting calls with a deadline before `before` (loop time); None: all of them."""
        self._trouble = failure
        self._send_away(failure, lambda waiting: before is None or waiting.deadline < before)

    def dismiss(self, failure: OpenFailure) -> None:
        """Fail every waiting call that was made for somebody: the link is not wanted any more."""
        self._send_away(failure, lambda waiting: waiting.asks)

    def _send_away(self, failure: OpenFailure, goes: Callable[[_Waiting[Way]], bool]) -> None:
        for waiting in self._waiting:
            if goes(waiting) and not waiting.turn.done():
                waiting.turn.set_exception(_copy(failure))
        self._keep_only(lambda waiting: not waiting.turn.done())

    def _why_not(self) -> OpenFailure:
        return _copy(self._trouble or self._delay)

    def _withdraw(self, turn: asyncio.Future[Way]) -> None:
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            # The turn came in the very moment of giving up: pass it on.
            self.leave()
        else:
            self._keep_only(lambda waiting: waiting.turn is not turn)

    def _next(self) -> None:
        while self._way is not None and not self._taken and self._waiting:
            turn = heapq.heappop(self._waiting).turn
            if not turn.done():
                self._taken = True
                turn.set_result(self._way)

    def _keep_only(self, stays: Callable[[_Waiting[Way]], bool]) -> None:
        self._waiting = [waiting for waiting in self._waiting if stays(waiting)]
        heapq.heapify(self._waiting)


def _copy(failure: OpenFailure) -> OpenFailure:
    # A new one each time: an exception that several tasks raise mixes up their tracebacks.
    return OpenFailure(failure.reason, str(failure), code=failure.code, pause=failure.pause)


def _late() -> OpenFailure:
    return OpenFailure(FailureReason.UNREACHABLE, "the link did not open in time")
