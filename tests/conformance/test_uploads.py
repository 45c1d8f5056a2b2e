"""Uploads of files by the whole engine, with a real link to the simulator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import msgspec
import pytest

from bridge.conversation.model import Idle
from bridge.conversation.turn import Policy
from bridge.link.link import Shared
from bridge.link.links import Links
from bridge.link.login import room_key
from bridge.rooms.engine import Engine
from bridge.simulator.simulator import Simulator
from tests.fakes.house import ROOM, World
from tests.unit.link.rig import Facts, LinkCounts, LoopClock, Tokens, eventually, settings_for
from tests.unit.link.simulated import customer, simulated
from tests.unit.rooms.visits import RULES

LOGIN = f"mx-{room_key(ROOM)}"
TRIES = 5
FAST = Policy(backoff_first=5, upload_tries=TRIES)


@asynccontextmanager
async def served(simulator: Simulator) -> AsyncIterator[tuple[World, Engine]]:
    """Run an engine with a room whose customer has sent "one" to an agent."""
    limits = RULES.limits.model_copy(update={"messages_per_minute": 100})
    world = World(rules=msgspec.structs.replace(RULES, policy=FAST, limits=limits))
    clock = LoopClock()
    world.around.clock = clock
    links = Links(
        Shared(
            settings_for(simulator.base_url),
            tokens=Tokens(),
            facts=Facts(),
            metrics=LinkCounts(),
            clock=clock,
        )
    )
    world.around.link = links
    await world.record(ROOM, Idle(since=clock.now()))
    async with world.running() as engine, links.running(engine):
        await engine.accept_events([world.event(text="one")])
        await eventually(lambda: LOGIN in customers(simulator) and texts(simulator) == ["one"])
        yield world, engine


def customers(simulator: Simulator) -> dict[str, object]:
    return cast("dict[str, object]", simulator.state()["customers"])


def messages(simulator: Simulator) -> list[dict[str, object]]:
    return cast("list[dict[str, object]]", customer(simulator, LOGIN)["messages"])


def texts(simulator: Simulator) -> list[object]:
    return [message["text"] or message["kind"] for message in messages(simulator)]


def trouble(world: World) -> list[str]:
    """Return the keys of all notices about an outage."""
    return [key for key in world.matrix.texts(ROOM) if key.startswith(("trouble", "outage"))]


@pytest.mark.asyncio
async def test_token_expiry_during_an_upload_is_not_noticed() -> None:
    """README: the customer does not notice. The link logs in, and the file is delivered."""
    async with simulated() as simulator, served(simulator) as (world, engine):
        await simulator.do({"op": "expire_token", "login": LOGIN})
        await engine.accept_events([world.event("file"), world.event(text="two")])
        await eventually(lambda: len(texts(simulator)) == 3)
        assert texts(simulator) == ["one", "file", "two"]
        assert customer(simulator, LOGIN)["logins"] == 2
        assert trouble(world) == []


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["http", "result"])
async def test_failing_upload_does_not_block_later_messages(kind: str) -> None:
    """It is tried a few times in both upload modes, then reported with the reason."""
    fault: dict[str, object] = {"fault": "http", "path": "tpiu", "count": 1000, "status": 500}
    if kind == "result":
        fault["result"] = -100
    async with simulated() as simulator, served(simulator) as (world, engine):
        await simulator.do({"op": "set", "faults": [fault]})
        await engine.accept_events([world.event("file"), world.event(text="two")])
        await eventually(lambda: texts(simulator) == ["one", "two"])
        (left,) = cast("list[dict[str, object]]", simulator.state()["faults"])
        assert left["count"] == 1000 - 2 * TRIES
        key = "undelivered.upload_status" if kind == "http" else "undelivered.server_failed"
        await eventually(lambda: any(key in said for said in world.matrix.texts(ROOM)))
        assert trouble(world) == []
        await simulator.do({"op": "set", "faults": []})
        await engine.accept_events([world.event("file")])
        await eventually(lambda: texts(simulator) == ["one", "two", "file"])


@pytest.mark.asyncio
async def test_upload_waits_for_an_unreachable_server() -> None:
    """The file is delivered after the restart, like a text, and not reported as undelivered."""
    async with simulated() as simulator, served(simulator) as (world, engine):
        await simulator.do({"op": "restart", "seconds": 1.0})
        await engine.accept_events([world.event("file"), world.event(text="two")])
        await eventually(lambda: texts(simulator) == ["one", "file", "two"], 20)
        assert not [said for said in world.matrix.texts(ROOM) if "undelivered" in said]
