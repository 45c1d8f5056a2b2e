"""The bridge is killed at random moments under load; no acknowledged text may be lost.

Customers get each text exactly once. WebChat has no idempotent send, so a kill may leave the
delivery of one message a room uncertain; it is sent again and marked in the journal.
"""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from tests.support.ledger import (
    all_handed_over,
    check_towards_the_agent,
    check_towards_the_customer,
    database_of,
    everything_settled,
    repeated_calls,
)
from tests.support.load import Chat, converse_until, open_chats
from tests.support.stage import Stage

KILLS = int(os.environ.get("CHAOS_KILLS") or 20)
ROOMS = 5
PAUSE = 0.4
"""Seconds between two texts of a person."""
PATIENCE = 180.0
"""Maximum seconds until the backlog has arrived after the last kill."""


def say(line: str) -> None:
    print(line)  # noqa: T201 - pytest shows it on failure, and with -s


async def disturb(stage: Stage, chats: list[Chat], rng: random.Random) -> None:
    """Kill and restart the bridge repeatedly, in a quarter of the cases while it is starting."""
    for number in range(1, KILLS + 1):
        await stage.bridge.kill()
        await stage.bridge.start(ready=False)
        starting = rng.random() < 0.25
        if not starting:
            await stage.bridge.wait_until("/_matrix/mau/live")
        after = rng.uniform(0, 1.5)
        say(f"kill {number}: {after:.2f} s after {'exec' if starting else 'live'}")
        await asyncio.sleep(after)
    await stage.bridge.kill()
    await stage.bridge.start()


@pytest.mark.asyncio
@pytest.mark.parametrize("stage", ["sqlite", "postgres"], indirect=True)
async def test_bridge_killed_20_times_under_load(stage: Stage) -> None:
    seed = os.environ.get("CHAOS_SEED") or str(random.SystemRandom().randrange(1 << 32))
    say(f"seed {seed}")
    chats = await open_chats(stage, ROOMS, "kill")
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(converse_until(chats, stop, PAUSE))
        try:
            await disturb(stage, chats, random.Random(seed))  # noqa: S311 - not for secrets
        finally:
            stop.set()
    say(f"{await all_handed_over(stage, chats)} more recoveries to empty the homeserver")
    for chat in chats:
        await chat.everything_arrived(PATIENCE)
        await chat.everything_read(PATIENCE)
    database = database_of(stage)
    await everything_settled(database, PATIENCE)
    assert await stage.bridge.stop() == 0
    doubles = [await check_towards_the_agent(chat, database, KILLS + 1) for chat in chats]
    await report(chats, doubles, database)
    for chat in chats:
        await check_towards_the_customer(chat)


async def report(chats: list[Chat], doubles: list[int], database: str) -> None:
    asked = sum(len(chat.asked) for chat in chats)
    answered = sum(len(chat.answered) for chat in chats)
    marked = sum([len(await repeated_calls(database, chat.talk.room)) for chat in chats])
    say(f"{asked} texts to the agents, {answered} back")
    say(f"{marked} sent again and marked, {sum(doubles)} of them came twice")
