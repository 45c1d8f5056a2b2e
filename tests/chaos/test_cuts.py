"""Links cut at random, and a homeserver killed, in the middle of many chats."""

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
"""Going away, cut without a word, internal error, and one that nobody documents."""


@pytest.mark.asyncio
@pytest.mark.parametrize("stage", ["sqlite", "postgres"], indirect=True)
async def test_links_cut_under_load(stage: Stage) -> None:
    """Each cut may leave one message of that room in doubt; nothing is lost, nothing unmarked."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - shown by pytest on failure
    rng = random.Random(seed)  # noqa: S311 - moments, no secrets
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
                continue  # that link is away already
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
    """What it has is neither lost nor doubled, and what it is sent is there once.

    Synapse itself keeps events for application services in memory from the moment when it notes
    its own position until it writes the transaction down (1.163, `appservice/scheduler.py`): what
    is there at that moment is in the room, but is never handed over. The bridge finds it there,
    and the agent gets it late.
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
        await chat.ask()  # nobody was killed since: this one is handed over
        await chat.everything_arrived(PATIENCE)
        await all_taken_in(database, chat, PATIENCE)
    await everything_settled(database, PATIENCE)
    assert await stage.bridge.stop() == 0
    for chat in chats:
        given = await handed_over(database, chat)
        late = len(given) - len(in_order(given, chat.asked))
        print(f"{len(chat.asked)} asked, {late} of them found later")  # noqa: T201 - as above
        assert await check_towards_the_agent(chat, database, 0) == 0
        await check_towards_the_customer(chat)
