"""The group writer, against a database that is a list."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections.abc import Sequence

import pytest

from bridge.rooms.store import StoreError
from bridge.storage import sqlstore
from bridge.storage.query import CorruptDatabaseError, Unreachable
from bridge.storage.sqlstore import GroupWriter
from tests.fakes.flow import submitted


class Database:
    """Stores numbers, refuses negative ones, and can hang or be away."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.transactions: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.busy = asyncio.Event()
        self.hangs_after = 0
        """Number of transactions after which it hangs; 0 for never."""
        self.away: StoreError | None = None
        self.inside = 0

    async def commit(self, numbers: Sequence[int]) -> Sequence[object]:
        assert self.inside == 0, "two transactions at once"
        self.inside += 1
        try:
            self.transactions.append(len(numbers))
            self.busy.set()
            if len(self.transactions) - 1 == self.hangs_after > 0:
                self.gate.clear()
            await self.gate.wait()
            if self.away is not None:
                raise self.away
            if any(number < 0 for number in numbers):
                raise StoreError("a number is negative")
            self.written += numbers
            return [number * 2 for number in numbers]
        finally:
            self.inside -= 1


@pytest.mark.asyncio
async def test_waiting_requests_share_transactions() -> None:
    database = Database()
    writer = GroupWriter(database.commit, group_limit=400)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        answers = await asyncio.gather(*(_answer(writer, number) for number in range(1000)))
        assert answers == [number * 2 for number in range(1000)]
        assert database.written == list(range(1000))
        assert database.transactions == [400, 400, 200]
        await writer.close()


@pytest.mark.asyncio
async def test_a_group_gathers_while_another_is_written() -> None:
    database = Database()
    writer = GroupWriter(database.commit)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        database.gate.clear()
        first = tasks.create_task(_answer(writer, 1))
        await database.busy.wait()
        others = [tasks.create_task(_answer(writer, number)) for number in range(2, 50)]
        await asyncio.sleep(0)
        database.gate.set()
        await asyncio.gather(first, *others)
        assert database.transactions == [1, 48]
        await writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("bad", [{0}, {63}, {17, 18}, set(range(64)), set(range(0, 64, 7))])
async def test_one_bad_request_fails_alone(bad: set[int]) -> None:
    database = Database()
    writer = GroupWriter(database.commit)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        answers = await asyncio.gather(
            *(_answer(writer, -n - 1 if n in bad else n) for n in range(64))
        )
        assert {n for n, answer in enumerate(answers) if isinstance(answer, StoreError)} == bad
        assert database.written == [n for n in range(64) if n not in bad]
        errors = [answer for answer in answers if isinstance(answer, StoreError)]
        assert len({id(error) for error in errors}) == len(bad)
        await writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [Unreachable("away"), CorruptDatabaseError("broken")])
async def test_a_database_that_is_away_fails_the_group_in_one_try(error: StoreError) -> None:
    database = Database()
    database.away = error
    writer = GroupWriter(database.commit)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        answers = await asyncio.gather(*(_answer(writer, number) for number in range(10)))
        assert {type(answer) for answer in answers} == {type(error)}
        assert database.transactions == [10]
        database.away = None
        assert await submitted(writer.submit, [4]) == [8]
        await writer.close()


@pytest.mark.asyncio
async def test_a_cancelled_caller_only_misses_its_answer() -> None:
    database = Database()
    writer = GroupWriter(database.commit)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        database.gate.clear()
        taken = tasks.create_task(_answer(writer, 1))
        await database.busy.wait()
        waiting = tasks.create_task(_answer(writer, 2))
        await asyncio.sleep(0)
        taken.cancel()
        waiting.cancel()
        await asyncio.sleep(0)
        assert taken.cancelled()
        assert waiting.cancelled()
        database.gate.set()
        assert await submitted(writer.submit, [3]) == [6]
        assert database.written == [1, 2, 3]
        await writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(5))
async def test_random_cancellation_loses_no_write(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test's dice
    database = Database()
    writer = GroupWriter(database.commit, group_limit=7)
    sent = set()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())

        async def submit(number: int) -> None:
            assert await submitted(writer.submit, [number]) == [number * 2]
            sent.add(number)

        callers = [tasks.create_task(submit(number)) for number in range(300)]
        while not all(caller.done() for caller in callers):
            await asyncio.sleep(0)
            chance.choice(callers).cancel()
        assert await submitted(writer.submit, [1000]) == [2000]
        await writer.close()
    assert sent <= set(database.written)
    assert len(set(database.written)) == len(database.written)
    assert sent
    assert len(sent) < 300


@pytest.mark.asyncio
async def test_requests_time_out_and_those_not_yet_begun_are_withdrawn() -> None:
    database = Database()
    writer = GroupWriter(database.commit, patience=0.05)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        database.gate.clear()
        taken = tasks.create_task(_failure(writer, 1))
        await database.busy.wait()
        waiting = tasks.create_task(_failure(writer, 2))
        assert "may still happen" in await taken
        assert "may still happen" not in await waiting
        database.gate.set()
        assert await submitted(writer.submit, [3]) == [6]
        assert database.written == [1, 3]
        await writer.close()


@pytest.mark.asyncio
async def test_requests_written_before_the_database_hung_are_answered() -> None:
    database = Database()
    writer = GroupWriter(database.commit, group_limit=2, patience=0.05)
    async with asyncio.TaskGroup() as tasks:
        database.hangs_after = 1
        tasks.create_task(writer.run())
        answers = await submitted(writer.submit, [1, 2, 3, 4, 5])
        assert answers[:2] == [2, 4]
        assert [type(answer) for answer in answers[2:]] == [Unreachable] * 3
        database.gate.set()
        assert await submitted(writer.submit, [6]) == [12]
        assert database.written == [1, 2, 3, 4, 6]
        await writer.close()


class Large:
    """A request whose deletion can be observed."""


@pytest.mark.asyncio
async def test_abandoned_requests_are_freed_while_the_database_hangs() -> None:
    gc.freeze()
    gate = asyncio.Event()

    async def commit(requests: Sequence[Large]) -> Sequence[object]:
        await gate.wait()
        return list(requests)

    writer = GroupWriter(commit, group_limit=1, patience=0.05)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        kept = weakref.WeakSet[Large]()
        for _ in range(3):
            requests = [Large(), Large()]
            kept.update(requests)
            await submitted(writer.submit, requests)
            del requests
        gc.collect()
        assert len(kept) == 1, "the one that hangs"
        gate.set()
        await writer.close()


async def _failure(writer: GroupWriter[int], number: int) -> str:
    answer = await _answer(writer, number)
    assert isinstance(answer, Unreachable)
    return str(answer)


@pytest.mark.asyncio
async def test_requests_of_one_caller_have_an_answer_each() -> None:
    """In groups no larger than the limit, in their order."""
    database = Database()
    writer = GroupWriter(database.commit, group_limit=4)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        answers = await submitted(writer.submit, [1, 2, -3, 4, 5, 6])
        assert isinstance(answers[2], StoreError)
        assert [answer for answer in answers if isinstance(answer, int)] == [2, 4, 8, 10, 12]
        assert database.written == [1, 2, 4, 5, 6]
        assert max(database.transactions) == 4
        assert await submitted(writer.submit, []) == []
        await writer.close()


@pytest.mark.asyncio
async def test_callers_are_served_in_their_order() -> None:
    database = Database()
    writer = GroupWriter(database.commit, group_limit=2)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        database.gate.clear()
        callers = [tasks.create_task(_answer(writer, number)) for number in range(10)]
        await database.busy.wait()
        database.gate.set()
        assert await asyncio.gather(*callers) == [number * 2 for number in range(10)]
        assert database.written == list(range(10))
        await writer.close()


@pytest.mark.asyncio
async def test_closing_writes_what_waits_and_refuses_the_rest() -> None:
    database = Database()
    writer = GroupWriter(database.commit, group_limit=2)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        database.gate.clear()
        callers = [tasks.create_task(_answer(writer, number)) for number in range(6)]
        await database.busy.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        closing = tasks.create_task(writer.close())
        await asyncio.sleep(0)
        assert isinstance(await _answer(writer, 11), Unreachable)
        database.gate.set()
        await closing
        answers = await asyncio.gather(*callers)
    assert answers == [number * 2 for number in range(6)]
    assert database.written == list(range(6))


async def _answer(writer: GroupWriter[int], number: int) -> object:
    (answer,) = await submitted(writer.submit, [number])
    return answer


@pytest.mark.asyncio
async def test_closing_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor as long as a caller would, or a service manager kills the bridge."""
    monkeypatch.setattr(sqlstore, "CLOSE_SECONDS", 0.05)
    database = Database()
    writer = GroupWriter(database.commit)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(writer.run())
        database.gate.clear()
        caller = tasks.create_task(_answer(writer, 1))
        await database.busy.wait()
        await writer.close()
        assert not running.done()
        assert not caller.done()
        running.cancel()
        assert isinstance(await caller, Unreachable)


@pytest.mark.asyncio
async def test_cancelled_writer_fails_all_waiting_callers() -> None:
    database = Database()
    writer = GroupWriter(database.commit, group_limit=2)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(writer.run())
        database.gate.clear()
        callers = [tasks.create_task(_answer(writer, number)) for number in range(8)]
        await database.busy.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        running.cancel()
        answers = await asyncio.gather(*callers)
        assert all(isinstance(answer, Unreachable) for answer in answers)
        assert isinstance(await _answer(writer, 3), Unreachable)
