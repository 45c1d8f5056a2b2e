"""An in-memory store that simulates all failures of a database."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Any

from bridge.rooms.store import Answer, Commit, StoreError
from bridge.storage.query import Unreachable
from tests.fakes.memory import MemoryStore

WRITES = frozenset({"commit", "mark_attempted"})


class Fault(Enum):
    """The fault of one call."""

    NONE = "none"
    BEFORE = "before"
    """The call fails without writing."""
    LOST = "lost"
    """The write succeeds, but its answer is lost."""
    LATE = "late"
    """The call fails, but the write may still happen (`FlakyStore.late`)."""
    SLOW = "slow"
    """The call takes extra event loop iterations, before and after the write."""


class FlakyStore(MemoryStore):
    """A store whose calls each ask `decide` for a fault; by default there is none.

    Attributes:
        faults: faults of the next calls by name, in order; they take precedence over `decide`.
        late: writes that failed for the caller and may still happen.
        calls: names of all calls.
        turns: random source for slow calls.
        gate: writes are not answered until it is set.
    """

    def __init__(self, decide: Callable[[str], Fault] = lambda _: Fault.NONE) -> None:
        super().__init__()
        self.decide = decide
        self.turns = random.Random(1)  # noqa: S311 - a test's dice
        self.faults: dict[str, deque[Fault]] = {}
        self.late: list[Callable[[], Awaitable[object]]] = []
        self.calls: list[str] = []
        self._submitted: set[asyncio.Task[None]] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    def fail(self, name: str, *faults: Fault) -> None:
        """Set the faults of the next calls of this name."""
        self.faults.setdefault(name, deque()).extend(faults)

    async def write_late(self) -> None:
        """Carry out the `late` writes; one that raises StoreError is dropped."""
        while self.late:
            try:
                await self.late.pop(0)()
            except StoreError:
                continue

    def submit(self, commits: Sequence[Commit], done: Callable[[list[Answer]], None]) -> None:
        """Commit in a task, with the faults of `commit`."""

        submit = super().submit

        async def written(commits: Sequence[Commit]) -> list[Answer]:
            answers: list[Answer] = []
            submit(commits, answers.extend)  # a database in memory answers at once
            if isinstance(answers[0], Unreachable):
                raise answers[0]
            return answers

        async def wait() -> None:
            try:
                done(await self._call("commit", written, (commits,)))
            except StoreError as error:
                done([error] * len(commits))

        task = asyncio.get_running_loop().create_task(wait())
        self._submitted.add(task)
        task.add_done_callback(self._submitted.discard)

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or not inspect.iscoroutinefunction(found) or name == "write_late":
            return found

        async def call(*args: Any) -> Any:
            return await self._call(name, found, args)

        return call

    async def _call(
        self, name: str, method: Callable[..., Awaitable[Any]], args: tuple[Any, ...]
    ) -> Any:
        self.calls.append(name)
        queued = self.faults.get(name)
        fault = queued.popleft() if queued else self.decide(name)
        if fault is Fault.BEFORE:
            raise StoreError("it failed before anything was written")
        if fault is Fault.LATE and name in WRITES:
            self.late.append(lambda: method(*args))
            raise StoreError("no answer: the write may still happen")
        if fault is Fault.SLOW:
            await _turns(self.turns.randrange(5))
        answer = await method(*args)
        if name in WRITES:
            await self.gate.wait()
        if fault is Fault.SLOW:
            await _turns(self.turns.randrange(5))
        if fault in {Fault.LOST, Fault.LATE}:
            raise StoreError("it was written, and the answer is lost")
        return answer


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
