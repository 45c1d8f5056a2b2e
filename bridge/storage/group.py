"""Group commit: a single writer that puts all waiting requests into one transaction.

A caller submits a ticket (requests and a callback) and goes on. The writer commits all waiting
requests together, up to a limit, then calls each caller back. While a transaction runs the next
group gathers: the slower the disk, the larger the groups.

A group that the database refuses is bisected and each half retried, down to the one bad request:
the others are written, and it alone gets the error. If the database is unreachable, the whole group
fails at once, since a smaller one would fail too.

Only the writer touches a transaction, so none is ever left open. Requests that were not taken
before their caller's timeout are withdrawn. Nothing here depends on a particular database.
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
"""Writes all requests in one transaction and returns their answers in order.

Unreachable: nothing can be written now. StoreError: one request is refused, and none was written.
"""
Done = Callable[[list[object]], None]
"""Callback with the answers in the order of the requests; a StoreError for each that failed."""
_MISSING = object()
"""Placeholder for an answer that has not arrived."""


class Ticket(msgspec.Struct, eq=False):
    """Requests submitted together, with their callback."""

    left: int
    """Number of missing answers; 0 also after a timeout."""
    done: Done
    answers: list[object]
    taken: bool = False
    timer: asyncio.TimerHandle | None = None

    def answer(self, place: int, answer: object) -> None:
        if not self.left:
            return
        if isinstance(answer, StoreError):
            # A copy for each caller: a shared exception would accumulate all their tracebacks.
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
"""Requests, each with its ticket and its index there."""


class GroupWriter(Generic[W]):
    """Commits requests in groups of up to `group_limit`; `patience` is their timeout in seconds."""

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
        """Counts of transactions tried and of requests taken."""

    def submit(self, requests: Sequence[W], done: Done) -> None:
        """Queue requests for writing, in order; `done` is called once all are durable or failed.

        After a timeout in mid-transaction a request that counts as failed may still be written.
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
        """Write requests and return their answers; the write goes on if the caller is cancelled."""
        answered: asyncio.Future[list[object]] = asyncio.get_running_loop().create_future()

        def done(answers: list[object]) -> None:
            if not answered.done():
                answered.set_result(answers)

        self.submit(requests, done)
        return await answered

    async def run(self) -> None:
        """Write until closed and no request waits."""
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
            # Requests are unanswered here only if the writer was cancelled or has crashed.
            self._closing = True
            _fail(group, Unreachable("the store was stopped: the write may still happen"))
            _fail(self._waiting, Unreachable("the store is closed"))
            self._waiting.clear()
            self._finished.set()

    async def close(self) -> None:
        """Refuse further requests and wait until those that wait are written.

        Returns after `patience` seconds at the latest: a hung database must not block shutdown.
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
        # All have the same timeout, so expired requests are in front. Remove them: a hanging
        # database must not let them fill the memory.
        while self._waiting and not self._waiting[0][0].left:
            self._waiting.popleft()
        given = ticket.answers  # some may be from groups before the one that hangs
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
