"""A homeserver whose spam checker refuses some of the bridge users' joins, messages and files."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.matrix_user import PATIENCE
from tests.support.operator import dead_letters
from tests.support.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.talk import MEI, Talk, chatting, relation, wording

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


async def test_a_message_at_which_synapse_fails_holds_up_no_others(stage: Stage) -> None:
    """With a bridge that has less patience; the customer and the agent are told."""
    talk, before = await chatting(stage, "player"), dead_letters(stage)
    await stage.bridge.stop()
    stage.bridge.command = ("tests.support.hurried_bridge", *stage.bridge.command[1:])
    await stage.bridge.start()
    await talk.desk("say", text="The roulette opens at 9")
    await talk.desk("file", name="roulette.txt", text="red or black")
    await talk.desk("say", text="Do you see it?")
    await talk.reads_exactly("Do you see it?", MEI, 2 * PATIENCE)
    told = "Mei sent a message that cannot be shown here. Please ask for it again"
    notices = [event for event in talk.messages(stage.bot) if told in wording(event)]
    assert len([event for event in notices if not relation(event)]) == 2
    assert dead_letters(stage) == before + 2
    await talk.at_desk(lambda one: any("takes no messages" in text for text in one.texts))
    lines = logged(stage, "an effect is a dead letter now")[before:]
    assert ["why='PUT answered 500 M_UNKNOWN'" in line for line in lines] == [True, True]
