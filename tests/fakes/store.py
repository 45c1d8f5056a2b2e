"""A store that fails in every way in which a database can, over one in memory."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Any

from bridge.rooms.store import Answer, Commit, StoreError
from tests.fakes.memory import MemoryStore

WRITES = frozenset({"commit", "mark_attempted"})


class Fault(Enum):
    """What becomes of one call."""

    NONE = "none"
    BEFORE = "before"
    """It fails, and nothing was written."""
    LOST = "lost"
    """It was written, and the answer is lost."""
    LATE = "late"
    """The caller gives up; it is written only then (`FlakyStore.late`), or never."""
    SLOW = "slow"
    """It takes some turns of the event loop, before and after."""


class FlakyStore(MemoryStore):
    """Every call asks `decide` for its fault; by default there is none.

    Attributes:
        faults: for calls by name, in order; they come before `decide`.
        late: writes that were given up for lost and may still happen.
        calls: the names of all calls.
        turns: dice for slow calls.
        gate: while it is closed, what is written is answered to nobody.
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
        """The next calls of that name end so."""
        self.faults.setdefault(name, deque()).extend(faults)

    async def write_late(self) -> None:
        """What was given up for lost comes through after all, or fails for good."""
        while self.late:
            try:
                await self.late.pop(0)()
            except StoreError:
                continue

    def submit(self, commits: Sequence[Commit], done: Callable[[list[Answer]], None]) -> None:
        """Like a commit that somebody waits for, with its faults."""

        async def wait() -> None:
            try:
                done(await self.commit(commits))
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
