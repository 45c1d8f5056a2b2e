"""Demand for a link, and the gate to its socket."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from bridge.link.http_client import OpenFailure
from bridge.link.link import Demand, Gate
from bridge.link.socket import Wire
from bridge.webchat.codes import FailureReason

FAILURE = OpenFailure(FailureReason.UNREACHABLE, "down", code=7)
WAY = cast("Wire", SimpleNamespace(usable=True))


@pytest.mark.asyncio
async def test_lower_tickets_go_first_whenever_they_came() -> None:
    gate = Gate()
    tickets = [next(gate.tickets) for _ in range(5)]
    order: list[int] = []

    async def go(ticket: int) -> None:
        assert await gate.enter(ticket, 5) == WAY
        order.append(ticket)
        await asyncio.sleep(0)
        gate.leave()

    async with asyncio.TaskGroup() as tasks:
        for ticket in reversed(tickets):
            tasks.create_task(go(ticket))
        await asyncio.sleep(0)
        assert order == []
        gate.open(WAY)
    assert order == tickets


@pytest.mark.asyncio
async def test_only_one_caller_holds_the_gate() -> None:
    gate = Gate()
    gate.open(WAY)
    await gate.enter(1, 5)
    async with asyncio.TaskGroup() as tasks:
        second = tasks.create_task(gate.enter(2, 5))
        await asyncio.sleep(0)
        assert not second.done()
        gate.leave()
    assert second.result() == WAY


@pytest.mark.asyncio
async def test_timeout_raises_the_last_failure() -> None:
    gate = Gate()
    with pytest.raises(OpenFailure, match="in time"):
        await gate.enter(1, 0.01)
    gate.hold(FAILURE, 0.001)
    with pytest.raises(OpenFailure, match="down") as caught:
        await gate.enter(2, 0.01)
    assert caught.value.code == 7
    gate.open(WAY)
    gate.shut()
    with pytest.raises(OpenFailure, match="in time"):
        await gate.enter(3, 0.01)


@pytest.mark.asyncio
async def test_caller_who_cannot_wait_for_the_pause_fails_at_once() -> None:
    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        short = tasks.create_task(_outcome(gate, 1, 10))
        long = tasks.create_task(_outcome(gate, 2, 1000))
        await asyncio.sleep(0)
        gate.hold(FAILURE, 100)
        assert 99 < gate.pause_left() <= 100
        await asyncio.sleep(0)
        assert await short == "down"
        assert not long.done()
        assert await _outcome(gate, 3, 10) == "down"
        gate.open(WAY)
    assert long.result() == WAY


@pytest.mark.asyncio
async def test_a_long_rest_ends_once_somebody_asks() -> None:
    """Not before the shorter hold is over, and only for a caller who can wait for that."""
    gate = Gate()
    loop = asyncio.get_running_loop()
    began = loop.time()
    gate.hold(FAILURE, 0.2, rest=100)
    assert 99 < gate.pause_left() <= 100
    async with asyncio.TaskGroup() as tasks:
        held = tasks.create_task(gate.hold_over())
        await asyncio.sleep(0)
        assert await _outcome(gate, 1, 0.1) == "down"
        assert await _outcome(gate, 2, 50, asks=False) == "down"
        await asyncio.sleep(0)
        assert not held.done()
        waiting = tasks.create_task(_outcome(gate, 3, 50))
        await held
        assert 0.19 < loop.time() - began < 1
        assert not waiting.done()
        gate.open(WAY)
    assert waiting.result() == WAY
    assert gate.pause_left() == 0, "the rest is over for all"


@pytest.mark.asyncio
async def test_a_rest_that_nobody_disturbs_ends_by_itself() -> None:
    gate = Gate()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await gate.hold_over()
    gate.hold(FAILURE, 0.01, rest=0.1)
    await gate.hold_over()
    assert 0.09 < loop.time() - began < 1
    gate.hold(FAILURE, 0.1)
    await gate.hold_over()
    assert 0.19 < loop.time() - began < 1


@pytest.mark.asyncio
async def test_cancelled_caller_does_not_end_a_rest() -> None:
    gate = Gate()
    gate.hold(FAILURE, 0.05, rest=100)
    async with asyncio.TaskGroup() as tasks:
        held = tasks.create_task(gate.hold_over())
        gone = tasks.create_task(gate.enter(1, 50))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0.1)
        assert not held.done()
        gate.hold(FAILURE, 0)


@pytest.mark.asyncio
async def test_a_caller_that_is_refused_does_not_end_a_rest() -> None:
    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(_outcome(gate, 1, 50))
        await asyncio.sleep(0)
        gate.hold(FAILURE, 0.05, rest=100)
        gate.refuse(FAILURE)
        held = tasks.create_task(gate.hold_over())
        await asyncio.sleep(0.1)
        assert waiting.result() == "down"
        assert not held.done()
        gate.hold(FAILURE, 0)


@pytest.mark.asyncio
async def test_refuse_fails_all_waiting_callers() -> None:
    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(_outcome(gate, number, 1000)) for number in range(3)]
        await asyncio.sleep(0)
        gate.refuse(FAILURE)
    assert [task.result() for task in waiting] == ["down"] * 3


@pytest.mark.asyncio
async def test_a_turn_that_came_at_the_moment_of_cancellation_is_passed_on() -> None:
    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(gate.enter(1, 5))
        second = tasks.create_task(gate.enter(2, 5))
        await asyncio.sleep(0)
        gate.open(WAY)
        first.cancel()
        assert await second == WAY
    assert first.cancelled()


@pytest.mark.asyncio
async def test_cancelled_caller_leaves_the_queue() -> None:
    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        gone = tasks.create_task(gate.enter(1, 5))
        await asyncio.sleep(0)
        gone.cancel()
    assert gate._waiting == []
    gate.open(WAY)
    assert await gate.enter(2, 1) == WAY


async def _outcome(gate: Gate, ticket: int, seconds: float, *, asks: bool = True) -> Wire | str:
    try:
        return await gate.enter(ticket, seconds, asks=asks)
    except OpenFailure as failure:
        return str(failure)


@pytest.mark.asyncio
async def test_gone_waits_until_the_last_use_ends() -> None:
    demand, turn = Demand(), asyncio.get_running_loop().create_future()
    demand.keep()
    async with asyncio.TaskGroup() as tasks:
        gone = tasks.create_task(demand.becomes(5, turn, present=False))
        demand.begin()
        demand.release()
        await asyncio.sleep(0.05)
        assert demand.present
        assert demand.calling
        assert not gone.done()
        demand.end()
    assert gone.result()
    assert not demand.present


@pytest.mark.asyncio
async def test_gone_ends_with_the_turn_or_after_its_time() -> None:
    demand, turn = Demand(), asyncio.get_running_loop().create_future()
    demand.keep()
    assert not await demand.becomes(0.01, turn, present=False)
    turn.set_result(None)
    assert not await demand.becomes(5, turn, present=False)


@pytest.mark.asyncio
async def test_back_within() -> None:
    demand = Demand()
    assert not await demand.becomes(0.01, present=True)
    async with asyncio.TaskGroup() as tasks:
        back = tasks.create_task(demand.becomes(5, present=True))
        await asyncio.sleep(0)
        demand.keep()
    assert back.result()
    assert await demand.becomes(0, present=True)
