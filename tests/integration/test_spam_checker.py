"""A homeserver whose spam checker refuses some of the bridge users' joins, messages and files."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.operator import dead_letters
from tests.support.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.talk import MEI, Talk, chatting

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHECKER = {"module": "tests.support.spam_checker.SpamChecker", "config": {}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    config = {"bridge": bridge_section()}
    options = StageOptions(simulator=UNLIMITED, synapse={"modules": [CHECKER]}, config=config)
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


def logged(stage: Stage, words: str) -> list[str]:
    """Return the lines of the bridge's log with these words."""
    lines = stage.bridge.log_file.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if words in line]


async def test_what_an_agents_ghost_may_not_write_the_bot_passes_on(stage: Stage) -> None:
    talk = await chatting(stage, "gambler")
    await talk.desk("say", text="The casino opens at 8")
    await talk.reads_exactly("Mei: The casino opens at 8", stage.bot)
    await talk.desk("say", text="And the hotel?")
    await talk.reads_exactly("And the hotel?", MEI)

    await talk.desk("transfer", to="A00002")
    await talk.reads("The Matrix server does not let Jun in, so I pass the words on", stage.bot)
    await talk.desk("say", text="Good evening")
    await talk.reads_exactly("Jun: Good evening", stage.bot)
    assert dead_letters(stage) == 0
    (line,) = logged(stage, "agents may not enter a room")
    assert "why=['M_UNKNOWN " in line


async def test_a_refused_file_is_not_asked_for_again(stage: Stage) -> None:
    talk = await chatting(stage, "reader")
    await talk.desk("file", name="prices.txt", text="casino")
    await talk.reads("Mei sent a message that cannot be shown here", stage.bot)
    await talk.customer.wait_until(lambda: dead_letters(stage) == 1)
    (line,) = logged(stage, "an effect is a dead letter now")
    assert "why='M_UNKNOWN " in line


async def test_the_operator_reads_why_a_room_is_not_served(stage: Stage) -> None:
    queue_user = f"@webchat_queue_1:{stage.synapse.domain}"
    talk = await Talk.open(stage, await stage.customer("unheard"), "hello", host=queue_user)
    said = "the bridge may not enter a room"
    await talk.customer.wait_until(lambda: bool(logged(stage, said)))
    (line,) = logged(stage, said)
    assert f"host={queue_user}" in line
    assert f"room={talk.room}" in line
    assert "why='M_UNKNOWN " in line
