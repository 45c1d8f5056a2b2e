from __future__ import annotations

import asyncio
from typing import cast

import pytest

from bridge.matrix.crypto import arrivals
from bridge.matrix.crypto.arrivals import Arrivals, Mending
from tests.unit.matrix.crypto.world import AWAY, BOT, Clock

pytestmark = pytest.mark.asyncio


class Slow:
    """`Arrivals` whose renewals end when told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go = asyncio.Event()
        self.fails: Exception | None = None

    async def renew(self, user: str, sender: str, curve25519: str, now: int) -> None:
        del user, curve25519, now
        self.begun.append(sender)
        await self.go.wait()
        if self.fails is not None:
            raise self.fails


async def test_one_homeserver_takes_only_a_few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "AT_ONCE", 3)
    monkeypatch.setattr(arrivals, "OF_SERVER", 2)
    slow = Slow()
    work = Mending(cast(Arrivals, slow), Clock())
    assert work.begin(BOT, [("@a:evil", "k")]) == set()  # it has no place to work
    async with asyncio.TaskGroup() as tasks:
        work.group = tasks
        work.begin(BOT, [(f"@{n}:evil", "k") for n in range(5)])
        work.begin(BOT, [(f"@{n}:there", "k") for n in range(5)])
        await asyncio.sleep(0)
        assert slow.begun == ["@0:evil", "@1:evil", "@0:there"]
        slow.go.set()
        (task,) = work.begin(BOT, [("@5:evil", "k")])
        await task


async def test_all_customers_of_one_homeserver_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One /sync may bring a hundred letters that cannot be read, each for the only time."""
    monkeypatch.setattr(arrivals, "TOGETHER", 120)
    monkeypatch.setattr(arrivals, "TOGETHER_OF_SERVER", 100)
    slow = Slow()
    work = Mending(cast(Arrivals, slow), Clock())
    async with asyncio.TaskGroup() as tasks:
        work.group = tasks
        assert len(work.begin(BOT, [(f"@{n}:there", "k") for n in range(101)])) == 100
        assert len(work.begin(BOT, [(f"@{n}:here", "k") for n in range(30)])) == 20
        slow.go.set()
    assert len(slow.begun) == 120
    assert work._servers == {}


@pytest.mark.parametrize("error", [AWAY, RuntimeError("ours")])
async def test_one_that_fails_ends_no_other(error: Exception) -> None:
    slow = Slow()
    slow.fails = error
    slow.go.set()
    work = Mending(cast(Arrivals, slow), Clock())
    async with asyncio.TaskGroup() as tasks:
        work.group = tasks
        await asyncio.wait(work.begin(BOT, [("@a:there", "k"), ("@b:there", "k")]))
        assert len(slow.begun) == 2


async def test_nothing_is_begun_once_we_are_about_to_end() -> None:
    work = Mending(cast(Arrivals, Slow()), Clock())
    async with asyncio.TaskGroup() as tasks:
        work.group = tasks
    assert work.begin(BOT, [("@a:there", "k")]) == set()
