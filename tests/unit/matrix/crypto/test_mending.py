from __future__ import annotations

import asyncio
from typing import cast

import pytest

from bridge.matrix.crypto import crypto
from bridge.matrix.crypto.crypto import Arrivals, Mending
from tests.unit.matrix.crypto.world import AWAY, BOT, Clock

pytestmark = pytest.mark.asyncio


class Slow:
    """`Arrivals` whose repairs end once `go` is set."""

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


async def test_repairs_for_one_homeserver_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "AT_ONCE", 3)
    monkeypatch.setattr(crypto, "OF_SERVER", 2)
    slow = Slow()
    work = Mending(cast(Arrivals, slow), Clock())
    assert work.begin(BOT, [("@a:evil", "k")]) == set()  # no task group yet
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
    """One /sync may bring a hundred undecryptable messages, and does not repeat them."""
    monkeypatch.setattr(crypto, "TOGETHER", 120)
    monkeypatch.setattr(crypto, "TOGETHER_OF_SERVER", 100)
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
async def test_failed_repair_does_not_end_the_others(error: Exception) -> None:
    slow = Slow()
    slow.fails = error
    slow.go.set()
    work = Mending(cast(Arrivals, slow), Clock())
    async with asyncio.TaskGroup() as tasks:
        work.group = tasks
        await asyncio.wait(work.begin(BOT, [("@a:there", "k"), ("@b:there", "k")]))
        assert len(slow.begun) == 2


async def test_no_repair_is_begun_after_the_task_group_has_ended() -> None:
    work = Mending(cast(Arrivals, Slow()), Clock())
    async with asyncio.TaskGroup() as tasks:
        work.group = tasks
    assert work.begin(BOT, [("@a:there", "k")]) == set()
