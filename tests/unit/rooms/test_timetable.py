"""Rooms are woken at their deadlines, and the table does not grow with each change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bridge.ids import RoomId
from bridge.rooms.surroundings import FEW_DEADLINES, LONGEST_SLEEP, Timetable
from tests.fakes.clock import START, ManualClock

A, B = RoomId("!a"), RoomId("!b")


@asynccontextmanager
async def kept() -> AsyncIterator[tuple[Timetable, ManualClock, list[tuple[str, int]]]]:
    clock = ManualClock()
    woken: list[tuple[str, int]] = []
    table = Timetable(clock, lambda room: woken.append((room, clock.now() - START)))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(table.run())
        yield table, clock, woken
        running.cancel()


@pytest.mark.asyncio
async def test_each_room_is_woken_at_its_deadline() -> None:
    async with kept() as (table, clock, woken):
        table.add(B, START + 2000)
        await clock.turn(0.5)
        table.add(A, START + 1000)
        await clock.turn(0.4)
        assert woken == []
        await clock.turn(10)
        assert woken == [(A, 1000), (B, 2000)]


@pytest.mark.asyncio
async def test_a_night_in_which_the_computer_was_suspended_counts_within_a_minute() -> None:
    """A sleeping loop's clock stands still meanwhile, the wall clock does not."""
    hours = 12 * 3_600_000
    async with kept() as (table, clock, woken):
        table.add(A, START + hours)
        await clock.turn(1)
        clock.set_back(-hours)
        await clock.turn(LONGEST_SLEEP)
        assert woken == [(A, hours + round(LONGEST_SLEEP * 1000))]
        assert LONGEST_SLEEP <= 60


@pytest.mark.asyncio
async def test_only_the_soonest_deadline_of_a_room_counts() -> None:
    async with kept() as (table, clock, woken):
        for moment in (5000, 3000, 4000, 3000):
            table.add(A, START + moment)
        await clock.turn(60)
        assert woken == [(A, 3000)]
        table.add(A, START + 61_000)
        await clock.turn(60)
        assert woken == [(A, 3000), (A, 61_000)]


@pytest.mark.asyncio
async def test_an_overdue_room_is_woken_at_once() -> None:
    async with kept() as (table, clock, woken):
        await clock.turn(1)
        table.add(A, START - 5)
        await clock.turn(0.01)
        assert woken == [(A, 1000)]


@pytest.mark.asyncio
async def test_many_later_deadlines_do_not_grow_the_table() -> None:
    async with kept() as (table, _, _):
        for number in range(10_000):
            table.add(A, START + 60_000 + number)
        assert len(table._heap) == 1


@pytest.mark.asyncio
async def test_many_sooner_deadlines_do_not_grow_the_table() -> None:
    """A chat sets a far deadline again and again, and a near one with each message."""
    async with kept() as (table, clock, woken):
        far = START + 24 * 3_600_000
        table.add(B, START + 3_600_000)
        for number in range(1, 201):
            table.add(A, far)
            table.add(A, START + number * 1000)
            await clock.turn(1)
        table.add(A, far)
        assert len(table._heap) <= FEW_DEADLINES + 4
        assert woken == [(A, number * 1000) for number in range(1, 201)]
        woken.clear()
        await clock.turn(24 * 3600)
        assert woken == [(B, 3_600_000), (A, 24 * 3_600_000)]


@pytest.mark.asyncio
async def test_a_deadline_a_day_ahead_is_reached() -> None:
    async with kept() as (table, clock, woken):
        table.add(A, START + 24 * 3_600_000)
        await clock.turn(24 * 3600 - 1)
        assert woken == []
        await clock.turn(2)
        assert woken == [(A, 24 * 3_600_000)]
