"""Pushes on their way to the engine: order, bounds, and a store that is down."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import cast

import pytest
import structlog
from structlog.testing import capture_logs

from bridge.ids import AgentId, RoomId, SessionId
from bridge.link import link
from bridge.link.http_client import Backoff
from bridge.link.link import (
    CROWD,
    LONGEST_ID,
    MOST_NOTES,
    MOST_WAITING,
    SLOWED,
    Deliveries,
    Shared,
)
from bridge.link.socket import Budget, Wire
from bridge.webchat.frames import Ignored, RatingPushed, Received
from tests.fakes.clock import quiet
from tests.unit.link.rig import Events, LoopClock, account, eventually

ROOM = account().room_id


class FakeWire:
    def __init__(self) -> None:
        self.usable = True
        self.flow: list[str] = []
        self.closed = 0
        self.receipts: list[str] = []

    def throttle(self, *, on: bool) -> None:
        if on is not (self.flow[-1:] == ["pause"]):
            self.flow.append("pause" if on else "resume")

    async def close(self) -> None:
        self.closed += 1

    async def receipt(self, rs_id: str) -> None:
        self.receipts.append(rs_id)


def push(number: int, rs_id: str = "") -> Received:
    return Received(RatingPushed(SessionId(number), AgentId("a")), rs_id)


class Stage:
    def __init__(self, last_words: float = 0.01, at_once: int = 100) -> None:
        self.events = Events()
        self.wire = FakeWire()
        self.budget = Budget(1000)
        self.around = SimpleNamespace(
            budget=self.budget,
            events=self.events,
            turns=asyncio.Semaphore(at_once),
            clock=LoopClock(),
            backoff=lambda: Backoff(0.001, 0.002, random.Random(1)),  # noqa: S311 - jitter
            epoch="epoch",
            ordinals=itertools.count(1),
            opening=0,
            rng=random.Random(1),  # noqa: S311 - jitter
            _log=structlog.get_logger(),
            _notes_left=MOST_NOTES,
            _notes_until=math.inf,
        )
        self.around.note = partial(Shared.note, cast("Shared", self.around))
        self.last_words = last_words
        self.deliveries = Deliveries(ROOM, cast("Shared", self.around))
        self.deliveries.wire = cast("Wire", self.wire)

    def push(self, received: Received | Ignored, size: int = 1) -> None:
        self.deliveries.push(received, size)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.deliveries.run())
            yield
            task.cancel()
            await asyncio.wait([task])
            await self.deliveries.last_words(self.last_words)

    @property
    def numbers(self) -> list[int]:
        return [cast("RatingPushed", got.push).session_id for _, got in self.events.pushes]


@pytest.mark.asyncio
async def test_keys_and_receipts() -> None:
    stage = Stage()
    async with stage.running():
        stage.push(push(1))
        stage.push(push(2, "r-1"))
        stage.push(push(3))
        stage.push(push(4, "x" * 1000))
        await stage.deliveries.settled()
        await eventually(lambda: len(stage.wire.receipts) == 2)
    first, named, second, long = (key for key, _ in stage.events.pushes)
    assert (first, second) == (f"wc:{ROOM}:epoch:1", f"wc:{ROOM}:epoch:2")
    assert named.startswith(f"wc:{ROOM}:r-1:")
    assert long.startswith(f"wc:{ROOM}:{'x' * LONGEST_ID}:")
    assert len(long) < len(ROOM) + LONGEST_ID + 40
    assert stage.wire.receipts == ["r-1", "x" * 1000], "a receipt names the whole id"


@pytest.mark.asyncio
async def test_only_a_repeat_has_the_key_of_another_push() -> None:
    """Counted ids begin again when the server restarts; long ids may differ only at their end."""
    stage = Stage()
    long = "x" * LONGEST_ID
    pushes = [push(1, "1"), push(1, "1"), push(2, "1"), push(1, f"{long}1"), push(1, f"{long}2")]
    async with stage.running():
        for one in pushes:
            stage.push(one)
        await stage.deliveries.settled()
    first, repeat, *others = (key for key, _ in stage.events.pushes)
    assert first == repeat
    assert len({first, *others}) == 4


@pytest.mark.asyncio
async def test_pushes_come_slowly_into_a_room_with_many_undelivered_ones() -> None:
    """Long texts at the speed of the database took 8 MB a second, while the homeserver was slow."""
    stage, loop = Stage(), asyncio.get_running_loop()
    stage.events.waiting = 4.0
    began = loop.time()
    async with stage.running():
        for number in range(1, 9):
            stage.push(push(number, f"r-{number}"))
        await eventually(lambda: len(stage.events.pushes) == 3)
        assert loop.time() - began >= 2 * 4 * SLOWED
        assert stage.wire.receipts == ["r-1", "r-2", "r-3"]
    assert stage.numbers == [*range(1, 9)], "all that were read are stored at a stop"


@pytest.mark.asyncio
async def test_no_receipt_before_or_without_storing() -> None:
    stage = Stage()
    stage.events.gate.clear()
    async with stage.running():
        stage.push(push(1, "r-1"))
        await asyncio.sleep(0.02)
        assert stage.wire.receipts == []
        stage.wire.usable = False
        stage.events.gate.set()
        await stage.deliveries.settled()
        await asyncio.sleep(0)
    assert stage.wire.receipts == [], "its link is gone: the server will repeat the push"
    assert stage.numbers == [1]


@pytest.mark.asyncio
async def test_warnings_of_an_outage_are_limited() -> None:
    """Thousands of links have a push that cannot be stored."""
    stage = Stage()
    others = [Deliveries(RoomId(f"!{one}"), cast("Shared", stage.around)) for one in range(50)]
    stage.events.refusals = len(others)
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one.run()) for one in others]
            for one in others:
                one.push(push(1), 1)
            for one in others:
                await one.settled()
            for task in running:
                task.cancel()
    assert [line["log_level"] for line in logs].count("warning") == MOST_NOTES


@pytest.mark.asyncio
async def test_number_of_pushes_stored_at_once_is_limited() -> None:
    """In a burst on many links, pushes of other links must get their turn in between."""
    stage = Stage(at_once=2)
    others = [Deliveries(RoomId(f"!{one}"), cast("Shared", stage.around)) for one in range(9)]
    stage.events.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one.run()) for one in others]
        for one in others:
            one.push(push(1), 1)
        await quiet()
        assert stage.events.under_way == 2
        stage.events.gate.set()
        for one in others:
            await one.settled()
        assert stage.events.most == 2
        for task in running:
            task.cancel()
    assert len(stage.events.pushes) == len(others)


@pytest.mark.asyncio
async def test_push_that_could_not_be_stored_is_retried_in_order() -> None:
    stage = Stage()
    stage.events.refusals = 3
    async with stage.running():
        for number in range(10):
            stage.push(push(number))
        stage.deliveries.restored(brief=False, at_once=True)
        await stage.deliveries.settled()
        stage.deliveries._away_since -= link.STORE_AWAY  # some time later
        stage.events.refusals = 1
        stage.push(push(10))
        await stage.deliveries.settled()
    assert stage.numbers == list(range(11))
    assert stage.wire.closed == 0, "a short absence of the database costs no link"
    assert stage.events.back == [ROOM]


@pytest.mark.asyncio
async def test_return_in_a_crowd_is_told_later_but_before_the_next_push_or_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage()
    async with stage.running(), asyncio.timeout(30):
        stage.around.opening = CROWD + 1
        for pushed in (True, False):
            before = len(stage.events.back)
            stage.deliveries.restored(brief=False, at_once=False)
            await asyncio.sleep(0.02)
            assert len(stage.events.back) == before
            assert len(stage.events.pushes) == before
            if pushed:
                stage.push(push(1))
            await stage.deliveries.settled()
            assert len(stage.events.back) == before + 1
        monkeypatch.setattr(link, "LET_PASS", 0.02)
        stage.deliveries.restored(brief=False, at_once=False)
        await eventually(lambda: len(stage.events.back) == 3)
        monkeypatch.undo()
        stage.deliveries.restored(brief=False, at_once=True)
        await stage.deliveries.settled()
        stage.around.opening = CROWD
        stage.deliveries.restored(brief=False, at_once=False)
        await stage.deliveries.settled()
    assert len(stage.events.back) == 5
    assert stage.numbers == [1]


@pytest.mark.asyncio
@pytest.mark.parametrize("most", ["time", "pushes"])
async def test_link_is_closed_if_the_store_stays_away(
    monkeypatch: pytest.MonkeyPatch, most: str
) -> None:
    """The server must notice that the bridge is away; nothing that was read is lost."""
    stage = Stage()
    stage.events.refusals = 3
    if most == "time":
        monkeypatch.setattr(link, "STORE_AWAY", 0.0)
    count = MOST_WAITING + 1 if most == "pushes" else 2
    async with stage.running():
        for number in range(count):
            stage.push(push(number))
        await stage.deliveries.settled()
    assert stage.wire.closed == 3
    assert stage.numbers == list(range(count))


@pytest.mark.asyncio
async def test_repeated_push_without_a_receipt_is_queued_once() -> None:
    """A server repeats pushes that got no receipt: their copies would fill the queue."""
    stage = Stage()
    stage.events.refusals = 5
    async with stage.running():
        for number in range(3):
            stage.push(push(number, f"r-{number}"))
        await eventually(lambda: stage.events.refusals < 5)
        for number in range(3):
            stage.push(push(number, f"r-{number}"))
        stage.push(push(3))
        await stage.deliveries.settled()
        await eventually(lambda: len(stage.wire.receipts) == 3)
    assert stage.numbers == [0, 1, 2, 3]
    assert stage.wire.receipts == ["r-0", "r-1", "r-2"]


@pytest.mark.asyncio
async def test_the_queue_is_bounded() -> None:
    """Beyond the bound nothing more is read; all that was read before is kept."""
    stage = Stage()
    stage.events.gate.clear()
    async with stage.running(), asyncio.timeout(30):
        for number in range(MOST_WAITING):
            stage.push(push(number))
        assert stage.wire.flow == []
        stage.push(push(MOST_WAITING))
        await asyncio.sleep(0.02)
        assert stage.wire.flow == ["pause"]
        stage.deliveries.restored(brief=False, at_once=True)
        stage.events.gate.set()
        await stage.deliveries.settled()
        assert stage.wire.flow == ["pause", "resume"]
    assert stage.numbers == list(range(MOST_WAITING + 1))


@pytest.mark.asyncio
async def test_each_link_reads_one_push_at_a_time_beyond_the_common_budget() -> None:
    """A link whose queue is empty is read, so that all links make progress."""
    stage = Stage()
    stage.events.gate.clear()
    stage.budget.taken += 995  # on other links
    async with stage.running(), asyncio.timeout(30):
        stage.push(push(0), 5)
        assert stage.wire.flow == []
        stage.push(push(1), 5)
        assert stage.wire.flow == ["pause"]
        stage.events.gate.set()
        await stage.deliveries.settled()
        assert stage.wire.flow == ["pause", "resume"]
        assert stage.budget.taken == 995
        stage.budget.taken += 10
        stage.push(push(2))
        assert stage.wire.flow == ["pause", "resume", "pause"]
        await stage.deliveries.settled()
        assert stage.wire.flow[3:] == ["resume"]
    assert stage.numbers == [0, 1, 2]


@pytest.mark.asyncio
async def test_link_is_closed_if_the_store_is_away_beyond_the_budget() -> None:
    stage = Stage()
    stage.events.refusals = 2
    stage.budget.taken += 1001
    async with stage.running():
        stage.push(push(1))
        await stage.deliveries.settled()
    assert stage.wire.closed == 2


@pytest.mark.asyncio
async def test_ignored_push_gets_its_receipt_in_order() -> None:
    """It is not stored itself, but waits for the pushes before it."""
    stage = Stage()
    stage.events.gate.clear()
    async with stage.running():
        stage.push(push(1, "r-1"))
        stage.push(Ignored("unknown type 299", "r-2"))
        await asyncio.sleep(0.02)
        assert stage.wire.receipts == []
        stage.events.gate.set()
        await stage.deliveries.settled()
        await eventually(lambda: len(stage.wire.receipts) == 2)
    assert stage.wire.receipts == ["r-1", "r-2"]
    assert stage.numbers == [1]


@pytest.mark.asyncio
async def test_later_run_begins_with_the_queued_pushes() -> None:
    stage = Stage()
    stage.events.gate.clear()
    async with stage.running():
        stage.push(push(1))
        stage.push(push(2))
        await asyncio.sleep(0)
    assert stage.numbers == []
    stage.events.gate.set()
    async with stage.running():
        await stage.deliveries.settled()
    assert stage.numbers == [1, 2]


@pytest.mark.asyncio
async def test_a_run_that_ends_stores_what_was_read() -> None:
    """Including the push beyond the bound of the queue."""
    stage = Stage(last_words=5.0)
    stage.events.gate.clear()
    async with asyncio.timeout(30), stage.running():
        for number in range(MOST_WAITING + 1):
            stage.push(push(number))
        await asyncio.sleep(0)
        stage.events.refusals = 3
        asyncio.get_running_loop().call_soon(stage.events.gate.set)
    assert stage.numbers == list(range(MOST_WAITING + 1))
    assert stage.wire.closed == 3


@pytest.mark.asyncio
async def test_a_store_that_is_away_does_not_hold_up_the_end() -> None:
    stage = Stage()
    stage.events.gate.clear()
    async with asyncio.timeout(30), stage.running():
        stage.push(push(1))
    assert stage.numbers == []


@pytest.mark.asyncio
async def test_undelivered_pushes_of_a_closed_link_free_the_budget() -> None:
    """Otherwise links that end while the store is away would at last block all others."""
    stage = Stage()
    stage.events.gate.clear()
    async with asyncio.timeout(30), stage.running():
        stage.push(push(1), 300)
        assert stage.budget.taken == 300
    assert stage.budget.taken == 0
    stage.events.gate.set()
    async with stage.running():
        await stage.deliveries.settled()
    assert (stage.numbers, stage.budget.taken) == ([1], 0)
