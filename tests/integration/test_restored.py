"""A database restored from a backup, without encryption, whose devices would reveal the restore.

The outbox reuses row numbers, under which the homeserver has already been sent other messages.
With encryption: `test_encryption_restored`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.matrix_user import membership
from tests.support.operator import Backup, has_looked_for_news
from tests.support.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.talk import MEI, Talk, chatting, wording

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = 5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    encryption = {"allow": False, "default": False, "require": False}
    config = {"bridge": bridge_section(encryption=encryption)}
    options = StageOptions(simulator=UNLIMITED, config=config)
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


async def says(talk: Talk, when: str) -> list[str]:
    """Have Mei send texts, each after the customer has read the last."""
    words = [f"{when} {number}" for number in range(WORDS)]
    for word in words:
        await talk.desk("say", text=word)
        await talk.reads_exactly(word, MEI)
    return words


async def stop(talk: Talk) -> None:
    await talk.stage.bridge.stop()
    await talk.at_desk(lambda person: not person.linked)


async def start(talk: Talk) -> None:
    await talk.stage.bridge.start()
    await talk.at_desk(lambda person: person.linked)


async def test_new_messages_after_a_restore_are_not_taken_for_old_ones(stage: Stage) -> None:
    talk = await chatting(stage, "restored")
    said = await says(talk, "before the backup")
    await stop(talk)
    backup = Backup(stage)
    backup.make()
    await start(talk)
    said += await says(talk, "of the lost time")
    await stop(talk)
    backup.restore()
    await start(talk)
    said += await says(talk, "after the restore")
    await talk.say("and the other way")
    await talk.heard("and the other way")
    shown = [wording(event) for event in reversed(await talk.history()) if event["sender"] == MEI]
    assert [words for words in shown if words] == said


async def test_a_room_opened_after_the_backup_is_served_anew(stage: Stage) -> None:
    known = await chatting(stage, "known")
    await stop(known)
    backup = Backup(stage, "another")
    backup.make()
    await start(known)
    new = await chatting(stage, "new")
    await stop(new)
    backup.restore()
    await start(known)
    await new.desk("close")
    await new.say("is anybody there?")
    await new.accept()
    await new.heard("is anybody there?")
    await new.desk("say", text="still me")
    await new.reads_exactly("still me", MEI)


async def test_what_was_answered_in_the_lost_time_calls_no_agent_again(stage: Stage) -> None:
    """Catch-up finds it, and leaves it alone, unless a chat is live or the customer was waiting."""
    live = await chatting(stage, "live")
    idle, queue = [await Talk.open(stage, await stage.customer(name)) for name in ("idle", "queue")]
    for talk in (idle, queue):
        await talk.sees(membership(stage.bot, "join"))
    await idle.customer.wait_until(lambda: has_looked_for_news(stage))
    await stop(live)
    backup = Backup(stage, "idle")
    backup.make()
    await start(live)
    for talk in (live, idle, queue):
        await talk.say("of the lost time")
    await idle.accept()
    for talk in (live, idle, queue):
        await talk.heard("of the lost time")
    await queue.reads("you are number 1")
    await idle.desk("say", text="thank you")
    await idle.reads_exactly("thank you", MEI)
    await idle.desk("close")
    await idle.sees(membership(MEI, "leave"))
    await stop(live)
    backup.restore()
    await start(live)
    await live.at_desk(lambda person: person.texts.count("of the lost time") == 2)
    await idle.say("of today")
    await idle.heard("of today")
    await idle.accept()
    await idle.desk("say", text="anything else?")
    await idle.reads_exactly("anything else?", MEI)
    assert idle.person is not None
    assert idle.person.texts == ["of the lost time", "of today"]
    await queue.accept()
