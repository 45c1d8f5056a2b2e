"""Turns: one person's invitations one after the other, and everybody else's meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from bridge.ids import UserId
from bridge.rooms.turns import Inviting, Turn
from tests.fakes.clock import quiet
from tests.unit.rooms.visits import ADA

BOB = UserId("@bob:example.org")


@pytest.mark.asyncio
async def test_the_next_turn_begins_when_the_step_ends() -> None:
    inviting = Inviting()
    first, second, other = Turn(inviting), Turn(inviting), Turn(inviting)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        async with first:
            await first.take(ADA)
            await first.take(ADA)  # it has it
            waiting = tasks.create_task(second.take(ADA))
            await other.take(BOB)
            await quiet()
            assert (first.taken, second.taken, other.taken) == (True, False, True)
        await waiting
        assert (first.taken, second.taken) == (False, True)


@pytest.mark.asyncio
async def test_a_step_that_fails_or_is_given_up_lets_go() -> None:
    inviting = Inviting()
    one, two = Turn(inviting), Turn(inviting)

    async def fails() -> None:
        async with one:
            await one.take(ADA)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()
    async with one, asyncio.TaskGroup() as tasks:
        await one.take(ADA)
        waiting = tasks.create_task(two.take(ADA))
        await quiet()
        waiting.cancel()
    assert not one.taken
    assert not two.taken
    async with one, two:
        await two.take(ADA)
        assert (one.taken, two.taken) == (False, True)
