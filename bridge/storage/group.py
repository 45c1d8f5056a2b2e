"""Group commit: one writer, and whatever waits when it is free goes into one transaction.

A caller leaves a ticket, a few requests and a callback, and goes on. The writer has all requests
that wait, up to a bound, committed together; then each caller is called back. While that
transaction runs, the next group gathers: the slower the disk, the larger the groups.

A group that the database refuses is cut in half and each half tried again, down to the one request
that is at fault: its neighbours are written, it alone gets the error. A database that is away fails
the whole group at once, for a smaller group would fare no better.

Nobody but the writer touches the transaction, so none is ever left open. A caller whose patience
ends before its requests were taken withdraws them. Nothing here knows any database.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

import msgspec

from bridge.rooms.store import StoreError
from bridge.storage.query import CorruptDatabaseError, Unreachable

W = TypeVar("W")

Commit = Callable[[Sequence[W]], Awaitable[Sequence[object]]]
"""Write all requests in one transaction and return their answers in order.

Unreachable: nothing can be written now; StoreError: one of them cannot be, and none was.
"""
Done = Callable[[list[object]], None]
"""Told the answers to requests in order, an error (StoreError) in place of each that failed."""
_MISSING = object()
"""In place of an answer that has not come."""


class Ticket(msgspec.Struct, eq=False):
    """Requests on their way, and who waits for them."""

    left: int
    """Answers that are missing; 0 as well once nobody waits for them any more."""
    done: Done
    answers: list[object]
    taken: bool = False
    timer: asyncio.TimerHandle | None = None

    def answer(self, place: int, answer: object) -> None:
        if not self.left:
            return
        if isinstance(answer, StoreError):
            # One of its own: an exception that is shared would gather all their tracebacks.
            own = type(answer)(*answer.args)
            own.__cause__ = answer
            answer = own
        self.answers[place] = answer
        self.left -= 1
        if not self.left:
            if self.timer is not None:
                self.timer.cancel()
            self.done(self.answers)


_Group = list[tuple[Ticket, int, W]]
"""Tickets, places in them, and the requests there."""


class GroupWriter(Generic[W]):
    """Gathers requests and commits them in groups of `group_limit` at most, while `run` runs.

    After `patience` seconds a caller is told that the database does not answer.
    """

    def __init__(
        self, commit: Commit[W], *, group_limit: int = 500, patience: float = 20.0
    ) -> None:
        self._commit = commit
        self._group_limit = group_limit
        self._patience = patience
        self._waiting: deque[tuple[Ticket, int, W]] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._finished = asyncio.Event()
        self.groups = self.requests = 0
        """Transactions tried so far, and requests taken."""

    def submit(self, requests: Sequence[W], done: Done) -> None:
        """Have requests written, in order; `done` is called once all of it is durable or failed.

        When the database hangs in the middle of a request, nobody knows which of the two it is.
        """
        if self._closing or not requests:
            done([Unreachable("the store is closed") for _ in requests])
            return
        ticket = Ticket(len(requests), done, [_MISSING] * len(requests))
        ticket.timer = asyncio.get_running_loop().call_later(self._patience, self._give_up, ticket)
        for place, request in enumerate(requests):
            self._waiting.append((ticket, place, request))
        self._wake.set()

    async def write(self, requests: Sequence[W]) -> list[object]:
        """Have requests written; their answers. A caller that is cancelled only misses these."""
        answered: asyncio.Future[list[object]] = asyncio.get_running_loop().create_future()

        def done(answers: list[object]) -> None:
            if not answered.done():
                answered.set_result(answers)

        self.submit(requests, done)
        return await answered

    async def run(self) -> None:
        """Write until closed and nothing waits."""
        group: _Group[W] = []
        try:
            while True:
                group = self._take()
                if group:
                    await self._write(group)
                elif self._closing:
                    return
                else:
                    self._wake.clear()
                    await self._wake.wait()
        finally:
            # Only a writer that was stopped by force has left anybody without an answer.
            self._closing = True
            _fail(group, Unreachable("the store was stopped: the write may still happen"))
            _fail(self._waiting, Unreachable("the store is closed"))
            self._waiting.clear()
            self._finished.set()

    async def close(self) -> None:
        """Take no more requests and return once those that wait are written.

        Returns after `patience` seconds in any case: a hung database must not keep us alive.
        """
        self._closing = True
        self._wake.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await self._finished.wait()

    def _give_up(self, ticket: Ticket) -> None:
        text = f"the database did not answer within {self._patience:g} s"
        text += ": the write may still happen" if ticket.taken else ""
        ticket.left = 0
        # All have the same patience: what nobody waits for any more is in front. A database that
        # hangs for long must not fill the memory with it.
        while self._waiting and not self._waiting[0][0].left:
            self._waiting.popleft()
        given = ticket.answers  # those of groups before the one that hangs
        ticket.done([Unreachable(text) if one is _MISSING else one for one in given])

    def _take(self) -> _Group[W]:
        group: _Group[W] = []
        while self._waiting and len(group) < self._group_limit:
            ticket, place, request = self._waiting.popleft()
            if ticket.left:
                ticket.taken = True
                group.append((ticket, place, request))
        self.requests += len(group)
        return group

    async def _write(self, group: _Group[W]) -> None:
        self.groups += 1
        try:
            answers = await self._commit([request for _, _, request in group])
        except (Unreachable, CorruptDatabaseError) as error:
            _fail(group, error)
        except StoreError as error:
            if len(group) == 1:
                _fail(group, error)
                return
            half = len(group) // 2
            await self._write(group[:half])
            await self._write(group[half:])
        else:
            for (ticket, place, _), answer in zip(group, answers, strict=True):
                ticket.answer(place, answer)


def _fail(group: Sequence[tuple[Ticket, int, W]], error: StoreError) -> None:
    for ticket, place, _ in group:
        ticket.answer(place, error)
