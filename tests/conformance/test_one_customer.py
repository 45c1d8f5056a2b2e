"""One customer cannot use up the logins of all others, tested with engine, links and simulator.

Security M2: mallory creates many rooms. The simulator's login limit equals the bridge's, so that it
would blacklist the bridge for a single login too many.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

import msgspec
import pytest

from bridge.ids import RoomId, UserId
from bridge.link.link import Shared
from bridge.link.links import Links
from bridge.link.login import room_key
from bridge.rooms.engine import Engine
from bridge.simulator.simulator import Simulator
from tests.fakes.house import World
from tests.unit.link.rig import FAST, Facts, LinkCounts, LoopClock, Tokens, eventually, settings_for
from tests.unit.link.simulated import simulated
from tests.unit.rooms.visits import BOT, RULES

MALLORY, ALICE = UserId("@mallory:example.org"), UserId("@alice:example.org")
COUNT, WINDOW = 8, 1.5
ROOMS = [RoomId(f"!mallory{number}:example.org") for number in range(14)]
HERS = RoomId("!alice:example.org")
HERS_LOGIN = f"mx-{room_key(HERS)}"


@asynccontextmanager
async def call_centre() -> AsyncIterator[tuple[World, Engine, Simulator]]:
    limits = RULES.limits.model_copy(update={"rooms_per_user": 100, "new_rooms_per_hour": 100})
    rules = msgspec.structs.replace(RULES, limits=limits)
    world = World(rules=rules)
    world.around.clock = LoopClock()
    async with simulated(login_limit=COUNT, login_window=WINDOW - 0.01) as simulator:
        timing = replace(FAST, turn_noticed=0.1, turn_again=0.1, release=60.0, connect=30.0)
        links = Links(
            Shared(
                settings_for(
                    simulator.base_url, login_count=COUNT, login_seconds=WINDOW, timing=timing
                ),
                tokens=Tokens(),
                facts=Facts(),
                metrics=LinkCounts(),
                clock=LoopClock(),
                rng=random.Random(1),  # noqa: S311 - jitter
            )
        )
        world.around.link = links
        async with world.running() as engine, links.running(engine):
            yield world, engine, simulator


async def write(world: World, engine: Engine, room_id: RoomId, person: UserId) -> None:
    """Create a room with the bot, and start a chat in it."""
    invited = world.event("invite", room_id=room_id, whom=BOT, sender=person)
    await engine.accept_events([invited, world.event(text="start", room_id=room_id, sender=person)])


def logged_in(simulator: Simulator, *rooms: RoomId) -> list[RoomId]:
    """Return the rooms that have logged in."""
    known = order(simulator)
    return [room_id for room_id in rooms if f"mx-{room_key(room_id)}" in known]


def order(simulator: Simulator) -> list[str]:
    """Return the login names, in the order of their logins."""
    return list(cast("dict[str, object]", simulator.state()["customers"]))


def said(world: World, room_id: RoomId) -> list[str]:
    return [one.text for one in world.matrix.posted if one.room_id == room_id]


@pytest.mark.asyncio
async def test_new_customer_logs_in_at_once_beside_fourteen_rooms_of_another() -> None:
    async with call_centre() as (world, engine, simulator):
        for room_id in ROOMS:
            await write(world, engine, room_id, MALLORY)
        await eventually(lambda: len(logged_in(simulator, *ROOMS)) == 5)
        await write(world, engine, HERS, ALICE)
        await eventually(lambda: logged_in(simulator, HERS) != [], seconds=WINDOW / 2)
        assert len(logged_in(simulator, *ROOMS)) == 5
        assert "queue.turn" not in said(world, HERS)
        await eventually(lambda: len(logged_in(simulator, *ROOMS)) == 14, seconds=10)
        texts = [one.text for one in world.matrix.posted]
        assert "queue.turn" in texts
        assert "trouble.unreachable" not in texts, "and it would be false"


@pytest.mark.asyncio
async def test_new_customer_gets_the_next_login_when_all_are_used() -> None:
    """Rooms of three other customers have used all logins of the window."""
    async with call_centre() as (world, engine, simulator):
        rooms = []
        for who, number in itertools.product(("mallory", "trudy", "eve"), range(14)):
            rooms.append(RoomId(f"!{who}{number}:example.org"))
            await write(world, engine, rooms[-1], UserId(f"@{who}:example.org"))
            await asyncio.sleep(0.01)  # so that the places of the window get free one by one
        await eventually(lambda: len(logged_in(simulator, *rooms)) == COUNT)
        await write(world, engine, HERS, ALICE)
        await eventually(lambda: "queue.turn" in said(world, HERS))
        assert logged_in(simulator, HERS) == [], "she waits, and is told so"
        await eventually(lambda: logged_in(simulator, HERS) != [], seconds=2 * WINDOW)
        assert order(simulator).index(HERS_LOGIN) == COUNT, "nobody else has come in between"
        await eventually(lambda: "queue.joined" in said(world, HERS))


@pytest.mark.asyncio
async def test_abandoned_rooms_waiting_for_a_login_are_skipped() -> None:
    async with call_centre() as (world, engine, simulator):
        for room_id in ROOMS:
            await write(world, engine, room_id, MALLORY)
        await eventually(lambda: len(logged_in(simulator, *ROOMS)) == 5)
        for room_id in ROOMS:
            await engine.accept_events([world.event("gone", room_id=room_id, sender=MALLORY)])
        await asyncio.sleep(1.5 * WINDOW)
        assert len(logged_in(simulator, *ROOMS)) == 5
