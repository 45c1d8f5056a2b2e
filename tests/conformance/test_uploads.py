"""Files on their way through the whole engine and a real link to the simulator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import msgspec
import pytest

from bridge.conversation.model import Idle
from bridge.conversation.policy import Policy
from bridge.link.link import Shared
from bridge.link.links import Links
from bridge.link.login import room_key
from bridge.rooms.engine import Engine
from bridge.simulator.simulator import Simulator
from tests.fakes.house import ROOM, World
from tests.unit.link.rig import Facts, LinkCounts, RealClock, Tokens, eventually, settings_for
from tests.unit.link.simulated import customer, simulated
from tests.unit.rooms.visits import RULES

LOGIN = f"mx-{room_key(ROOM)}"
TRIES = 5
FAST = Policy(backoff_first=5, upload_tries=TRIES)


@asynccontextmanager
async def served(simulator: Simulator) -> AsyncIterator[tuple[World, Engine]]:
    """A room whose customer has said "one" to an agent, and the engine that serves it."""
    limits = RULES.limits.model_copy(update={"messages_per_minute": 100})
    world = World(rules=msgspec.structs.replace(RULES, policy=FAST, limits=limits))
    clock = RealClock()
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
    """What was said of an outage."""
    return [key for key in world.matrix.texts(ROOM) if key.startswith(("trouble", "outage"))]


@pytest.mark.asyncio
async def test_a_token_that_ends_in_an_upload_is_no_outage() -> None:
    """README: the customer does not notice. A login, the file, and not a word."""
    async with simulated() as simulator, served(simulator) as (world, engine):
        await simulator.do({"op": "expire_token", "login": LOGIN})
        await engine.accept_events([world.event("file"), world.event(text="two")])
        await eventually(lambda: len(texts(simulator)) == 3)
        assert texts(simulator) == ["one", "file", "two"]
        assert customer(simulator, LOGIN)["logins"] == 2
        assert trouble(world) == []


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["http", "result"])
async def test_a_file_that_fails_for_ever_holds_nothing_up(kind: str) -> None:
    """It is tried a few times in both kinds and answered with the reason; the rest goes on."""
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
async def test_a_file_waits_while_the_whole_server_is_away() -> None:
    """Nothing is answered as undelivered: it goes with the next link, as a text does."""
    async with simulated() as simulator, served(simulator) as (world, engine):
        await simulator.do({"op": "restart", "seconds": 1.0})
        await engine.accept_events([world.event("file"), world.event(text="two")])
        await eventually(lambda: texts(simulator) == ["one", "file", "two"], 20)
        assert not [said for said in world.matrix.texts(ROOM) if "undelivered" in said]
