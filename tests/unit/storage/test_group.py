"""The group writer, against a database that is a list."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from bridge.rooms.store import StoreError
from bridge.storage.group import GroupWriter
from bridge.storage.query import CorruptDatabaseError, Unreachable


class Database:
    """Takes numbers, refuses negative ones, and can be held up or away."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.transactions: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.busy = asyncio.Event()
        self.away: StoreError | None = None
        self.inside = 0

    async def commit(self, numbers: Sequence[int]) -> Sequence[object]:
        assert self.inside == 0, "two transactions at once"
        self.inside += 1
        try:
            self.transactions.append(len(numbers))
            self.busy.set()
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
async def test_what_waits_goes_together() -> None:
    database = Database()
    writer = GroupWriter(database.commit, group_limit=400)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        answers = await asyncio.gather(*(writer.submit(number) for number in range(1000)))
        assert answers == [number * 2 for number in range(1000)]
        assert database.written == list(range(1000))
        assert database.transactions == [400, 400, 200]
        assert (writer.groups, writer.requests) == (3, 1000)
        await writer.close()


@pytest.mark.asyncio
async def test_a_group_gathers_while_another_is_written() -> None:
    database = Database()
    writer = GroupWriter(database.commit)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        database.gate.clear()
        first = tasks.create_task(writer.submit(1))
        await database.busy.wait()
        others = [tasks.create_task(writer.submit(number)) for number in range(2, 50)]
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
            *(writer.submit(-n - 1 if n in bad else n) for n in range(64)), return_exceptions=True
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
        answers = await asyncio.gather(
            *(writer.submit(number) for number in range(10)), return_exceptions=True
        )
        assert {type(answer) for answer in answers} == {type(error)}
        assert database.transactions == [10]
        database.away = None
        assert await writer.submit(4) == 8
        await writer.close()


@pytest.mark.asyncio
async def test_a_cancelled_caller_only_misses_its_answer() -> None:
    database = Database()
    writer = GroupWriter(database.commit)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        database.gate.clear()
        taken = tasks.create_task(writer.submit(1))
        await database.busy.wait()
        waiting = tasks.create_task(writer.submit(2))
        await asyncio.sleep(0)
        taken.cancel()
        waiting.cancel()
        await asyncio.sleep(0)
        assert taken.cancelled()
        assert waiting.cancelled()
        database.gate.set()
        assert await writer.submit(3) == 6
        assert database.written == [1, 2, 3]
        await writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(5))
async def test_random_cancellation_loses_no_write(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test's dice
    database = Database()
    writer = GroupWriter(database.commit, group_limit=7, queue_limit=20)
    submitted = set()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())

        async def submit(number: int) -> None:
            assert await writer.submit(number) == number * 2
            submitted.add(number)

        callers = [tasks.create_task(submit(number)) for number in range(300)]
        while not all(caller.done() for caller in callers):
            await asyncio.sleep(0)
            chance.choice(callers).cancel()
        assert await writer.submit(1000) == 2000
        await writer.close()
    assert submitted <= set(database.written)
    assert len(set(database.written)) == len(database.written)
    assert submitted
    assert len(submitted) < 300


@pytest.mark.asyncio
async def test_patience_ends_and_what_was_not_taken_is_withdrawn() -> None:
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
        assert await writer.submit(3) == 6
        assert database.written == [1, 3]
        await writer.close()


async def _failure(writer: GroupWriter[int], number: int) -> str:
    with pytest.raises(Unreachable) as caught:
        await writer.submit(number)
    return str(caught.value)


@pytest.mark.asyncio
async def test_callers_wait_to_be_let_in() -> None:
    database = Database()
    writer = GroupWriter(database.commit, group_limit=2, queue_limit=3)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        database.gate.clear()
        callers = [tasks.create_task(writer.submit(number)) for number in range(10)]
        await database.busy.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(writer._waiting) == 3
        database.gate.set()
        assert await asyncio.gather(*callers) == [number * 2 for number in range(10)]
        await writer.close()


@pytest.mark.asyncio
async def test_closing_writes_what_waits_and_refuses_the_rest() -> None:
    database = Database()
    writer = GroupWriter(database.commit, group_limit=2, queue_limit=4)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.run())
        database.gate.clear()
        # 2 taken, 4 waiting, 34 outside
        callers = [tasks.create_task(_answer(writer, number)) for number in range(40)]
        await database.busy.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        closing = tasks.create_task(writer.close())
        await asyncio.sleep(0)
        assert isinstance(await _answer(writer, 11), Unreachable)
        database.gate.set()
        await closing
        answers = await asyncio.gather(*callers)
    assert answers[:6] == [number * 2 for number in range(6)]
    assert all(isinstance(answer, Unreachable) for answer in answers[6:])
    assert database.written == list(range(6))


async def _answer(writer: GroupWriter[int], number: int) -> object:
    try:
        return await writer.submit(number)
    except StoreError as error:
        return error


@pytest.mark.asyncio
async def test_closing_does_not_wait_for_ever() -> None:
    database = Database()
    writer = GroupWriter(database.commit, patience=0.05)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(writer.run())
        database.gate.clear()
        caller = tasks.create_task(_answer(writer, 1))
        await database.busy.wait()
        await writer.close()
        assert not running.done()
        running.cancel()
        assert isinstance(await caller, Unreachable)


@pytest.mark.asyncio
async def test_a_writer_that_dies_leaves_nobody_waiting() -> None:
    database = Database()
    writer = GroupWriter(database.commit, group_limit=2, queue_limit=3)
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
