"""Random link failures and a killed homeserver during many chats."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter

import pytest

from bridge.simulator.simulator import BadOpError
from tests.support.ledger import (
    all_taken_in,
    check_towards_the_agent,
    check_towards_the_customer,
    database_of,
    everything_settled,
    handed_over,
    in_order,
)
from tests.support.load import converse_until, open_chats
from tests.support.stage import Stage

ROOMS = 5
CUTS = int(os.environ.get("CHAOS_CUTS") or 30)
PAUSE = 0.3
PATIENCE = 90.0
CODES = (1001, 1006, 1011, 1006, 4000)
"""Close codes: going away, no close frame, internal error, and an undocumented one."""


@pytest.mark.asyncio
@pytest.mark.parametrize("stage", ["sqlite", "postgres"], indirect=True)
async def test_links_cut_under_load(stage: Stage) -> None:
    """Each cut may cause one marked duplicate in its room; nothing is lost."""
    seed = os.environ.get("CHAOS_SEED") or str(random.SystemRandom().randrange(1 << 32))
    print(f"seed {seed}")  # noqa: T201 - pytest shows it on failure
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    chats = await open_chats(stage, ROOMS, "cut")
    cuts: Counter[str] = Counter()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(converse_until(chats, stop, PAUSE))
        while cuts.total() < CUTS:
            await asyncio.sleep(rng.uniform(0, 0.8))
            login = rng.choice(chats).talk.login
            try:
                await stage.simulator.do({"op": "kick", "login": login, "code": rng.choice(CODES)})
            except BadOpError:
                continue  # the link is down already
            cuts[login] += 1
        stop.set()
    for chat in chats:
        await chat.everything_arrived(PATIENCE)
    database = database_of(stage)
    await everything_settled(database, PATIENCE)
    assert await stage.bridge.stop() == 0
    for chat in chats:
        await check_towards_the_agent(chat, database, cuts[chat.talk.login])
        await check_towards_the_customer(chat)


@pytest.mark.asyncio
async def test_homeserver_killed_under_load(stage: Stage) -> None:
    """No text is lost or duplicated in either direction, though some reach the agent late.

    Synapse stores its stream position before it stores the transaction for the application
    service (1.163, `appservice/scheduler.py`). Events in between are in the room, but never
    delivered after a kill. The bridge finds them by catch-up.
    """
    chats = await open_chats(stage, ROOMS, "crash")
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(converse_until(chats, stop, PAUSE))
        for _ in range(2):
            await asyncio.gather(*(chat.until_asked(len(chat.asked) + 5) for chat in chats))
            await stage.synapse.kill()
            await stage.synapse.start()
        stop.set()
    database = database_of(stage)
    for chat in chats:
        await chat.ask()  # sent after the last kill, so Synapse delivers it
        await chat.everything_arrived(PATIENCE)
        await all_taken_in(database, chat, PATIENCE)
    await everything_settled(database, PATIENCE)
    assert await stage.bridge.stop() == 0
    for chat in chats:
        given = await handed_over(database, chat)
        late = len(given) - len(in_order(given, chat.asked))
        print(f"{len(chat.asked)} asked, {late} of them found later")  # noqa: T201 - see above
        assert await check_towards_the_agent(chat, database, 0) == 0
        await check_towards_the_customer(chat)
