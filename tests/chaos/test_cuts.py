"""Links cut at random, and a homeserver killed, in the middle of many chats."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from bridge.demo.stage import Stage
from bridge.simulator.server import BadOpError
from tests.support.ledger import (
    check_towards_the_agent,
    check_towards_the_customer,
    unsettled,
)
from tests.support.load import converse_until, open_chats

ROOMS = 5
CUTS = 30
PAUSE = 0.3
PATIENCE = 90.0
CODES = (1001, 1006, 1011, 1006, 4000)
"""Going away, cut without a word, internal error, and one that nobody documents."""


@pytest.mark.asyncio
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
    assert await stage.bridge.stop() == 0
    database = stage.folder / "bridge.db"
    for chat in chats:
        check_towards_the_agent(chat, database, cuts[chat.talk.login])
        await check_towards_the_customer(chat)
    assert unsettled(database) == 0


@pytest.mark.asyncio
async def test_homeserver_killed_under_load(stage: Stage) -> None:
    """It comes back with what it had; nothing is lost, doubled, or out of order, either way."""
    chats = await open_chats(stage, ROOMS, "crash")
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(converse_until(chats, stop, PAUSE))
        for _ in range(2):
            await chats[0].talk.heard(f"question {len(chats[0].asked) + 5}", PATIENCE)
            await stage.synapse.kill()
            await stage.synapse.start()
        stop.set()
    for chat in chats:
        await chat.everything_arrived(PATIENCE)
    assert await stage.bridge.stop() == 0
    database = stage.folder / "bridge.db"
    for chat in chats:
        assert check_towards_the_agent(chat, database, 0) == 0
        await check_towards_the_customer(chat)
    assert unsettled(database) == 0
