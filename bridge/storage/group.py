"""Group commit: one writer, and whatever waits when it is free goes into one transaction.

Theory of operation. A caller leaves a ticket and awaits its answer. The writer takes all tickets
that wait, up to a bound, and has them committed together; then each caller gets its own answer.
While that transaction runs, the next group gathers: the slower the disk, the larger the groups, so
the cost of a commit is shared the more, the more it matters.

A group that the database refuses is cut in half and each half tried again, down to the one request
that is at fault: its neighbours are written, it alone gets the error. A database that is away fails
the whole group at once, for a smaller group would fare no better.

A caller that is cancelled only misses its answer: nobody but the writer touches the transaction,
so none is ever left open. A caller whose patience ends before its ticket was taken withdraws it.

The module knows asyncio and nothing of any database.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from bridge.rooms.store import StoreError
from bridge.storage.query import CorruptDatabaseError, Unreachable

W = TypeVar("W")

Commit = Callable[[Sequence[W]], Awaitable[Sequence[object]]]
"""Write all requests in one transaction and return their answers in order.

An answer that is a StoreError is raised at its caller; the other requests are written.

Raises:
    Unreachable: nothing can be written now.
    StoreError: (at least) one of the requests cannot be written; none was.
"""


class _Ticket(Generic[W]):
    """A request on its way; `answer` is cancelled with the caller that awaits it."""

    __slots__ = ("answer", "request", "taken", "withdrawn")

    def __init__(self, request: W, answer: asyncio.Future[object]) -> None:
        self.request = request
        self.answer = answer
        self.taken = False
        self.withdrawn = False


class GroupWriter(Generic[W]):
    """Gathers requests and commits them in groups.

    Attributes:
        groups: transactions tried so far.
        requests: requests taken so far.
    """

    def __init__(
        self,
        commit: Commit[W],
        *,
        group_limit: int = 500,
        queue_limit: int = 5_000,
        patience: float = 20.0,
    ) -> None:
        """Prepare a writer; it works while `run` runs.

        Args:
            commit: carries out one transaction.
            group_limit: most requests in one transaction.
            queue_limit: most requests that may wait; further callers wait to be let in.
            patience: seconds after which a caller is told that the database does not answer.
        """
        self._commit = commit
        self._group_limit = group_limit
        self._patience = patience
        self._waiting: deque[_Ticket[W]] = deque()
        self._places = asyncio.Semaphore(queue_limit)
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._finished = asyncio.Event()
        self.groups = 0
        self.requests = 0

    async def submit(self, request: W) -> object:
        """Have a request written; return its answer once that is durable.

        Raises:
            StoreError: it was not written; or, when the database hangs in the middle of it,
                nobody knows.
        """
        ticket = _Ticket(request, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(self._patience):
                await self._let_in()
                self._waiting.append(ticket)
                self._wake.set()
                return await ticket.answer
        except TimeoutError:
            ticket.withdrawn = True
            raise Unreachable(
                f"the database did not answer within {self._patience:g} s"
                + (": the write may still happen" if ticket.taken else "")
            ) from None

    async def run(self) -> None:
        """Write until closed and nothing waits."""
        group: list[_Ticket[W]] = []
        try:
            while True:
                group = self._take()
                if group:
                    await self._write(group)
                elif self._closing.is_set():
                    return
                else:
                    self._wake.clear()
                    await self._wake.wait()
        finally:
            # Only a writer that was stopped by force has left anybody without an answer.
            self._closing.set()
            for ticket in group:
                _fail(ticket, Unreachable("the store was stopped: the write may still happen"))
            for ticket in self._waiting:
                self._places.release()
                _fail(ticket, Unreachable("the store is closed"))
            self._waiting.clear()
            self._finished.set()

    async def close(self) -> None:
        """Take no more requests and return once those that wait are written.

        Returns after `patience` seconds in any case: a hung database must not keep us alive.
        """
        self._closing.set()
        self._wake.set()
        try:
            async with asyncio.timeout(self._patience):
                await self._finished.wait()
        except TimeoutError:
            return

    async def _let_in(self) -> None:
        if not self._closing.is_set():
            await self._places.acquire()
            if not self._closing.is_set():
                return
            self._places.release()  # the next who waits outside is to hear it too
        raise Unreachable("the store is closed")

    def _take(self) -> list[_Ticket[W]]:
        group: list[_Ticket[W]] = []
        while self._waiting and len(group) < self._group_limit:
            ticket = self._waiting.popleft()
            self._places.release()
            if not ticket.withdrawn:
                ticket.taken = True
                group.append(ticket)
        self.requests += len(group)
        return group

    async def _write(self, group: list[_Ticket[W]]) -> None:
        self.groups += 1
        try:
            answers = await self._commit([ticket.request for ticket in group])
        except (Unreachable, CorruptDatabaseError) as error:
            for ticket in group:
                _fail(ticket, error)
        except StoreError as error:
            if len(group) == 1:
                _fail(group[0], error)
                return
            half = len(group) // 2
            await self._write(group[:half])
            await self._write(group[half:])
        else:
            for ticket, answer in zip(group, answers, strict=True):
                if isinstance(answer, StoreError):
                    _fail(ticket, answer)
                elif not ticket.answer.done():
                    ticket.answer.set_result(answer)


def _fail(ticket: _Ticket[W], error: StoreError) -> None:
    """Give each caller an exception of its own: a shared one would gather all their tracebacks."""
    if not ticket.answer.done():
        own = type(error)(*error.args)
        own.__cause__ = error
        ticket.answer.set_exception(own)
