"""Moves from SQLite to PostgreSQL and back during chats in a clear and an encrypted room.

A start on the abandoned database is refused; a forced one treats it as an older copy.
"""

from __future__ import annotations

import pytest

from tests.support.encrypted import Phones, both_ways, keys_of
from tests.support.operator import failures, succeeds, typed
from tests.support.postgres import PostgresServer
from tests.support.stage import Stage
from tests.support.talk import MEI, Talk, chatting

pytestmark = pytest.mark.asyncio(loop_scope="module")

OLDER = "restored from an older copy"


def set_database(stage: Stage, before: str, after: str) -> None:
    text = stage.config.read_text(encoding="utf-8")
    assert before in text
    stage.config.write_text(text.replace(before, after), encoding="utf-8")


async def stop(stage: Stage, talks: list[Talk]) -> None:
    await stage.bridge.stop()
    for talk in talks:
        await talk.at_desk(lambda person: not person.linked)


async def start(stage: Stage, talks: list[Talk]) -> None:
    await stage.bridge.start()
    for talk in talks:
        await talk.at_desk(lambda person: person.linked)


async def test_a_chat_goes_on_in_another_database(
    stage: Stage, phones: Phones, postgres_server: PostgresServer
) -> None:
    clear = await chatting(stage, "moved-clear")
    sealed, phone = await phones.chatting("moved-encrypted")
    talks = [clear, sealed]
    for talk in talks:
        await both_ways(talk, "before")
    keys = await keys_of(phone, [stage.bot, MEI])
    first = f"sqlite:///{stage.folder}/bridge.db"
    here = first
    for number, to in enumerate(
        (postgres_server.new_database(), f"sqlite:///{stage.folder}/back.db")
    ):
        code, output = await typed(stage, "migrate-db", to)
        assert (code, "a bridge is using" in output) == (14, True), output
        await stop(stage, talks)
        for talk in talks:
            await talk.say(f"said during move {number}")
        assert "compared row by row" in await succeeds(stage, "migrate-db", to)
        code, output = await typed(stage, "run")
        assert (code, "the database was moved to" in output) == (14, True), output
        set_database(stage, here, to)
        here = to
        await start(stage, talks)
        for talk in talks:
            await talk.heard(f"said during move {number}")
            await both_ways(talk, f"after move {number}")
            # As one conversation, without duplicates.
            person = await talk.at_desk(lambda person: person.session is not None)
            assert len(set(person.texts)) == len(person.texts)
        assert await keys_of(phone, [stage.bot, MEI]) == keys
        assert await failures(stage) == {}
    assert OLDER not in stage.bridge.log_file.read_text()

    # A forced start on the first database: its encryption sessions are not used again.
    await stop(stage, talks)
    set_database(stage, here, first)
    assert "The bridge can use" in await succeeds(stage, "migrate-db", "--take-back", "--yes")
    await start(stage, talks)
    assert OLDER in stage.bridge.log_file.read_text()
    for talk in talks:
        await talk.desk("say", text="read by all at last")
        await talk.reads("read by all at last", MEI)
    after = await keys_of(phone, [stage.bot, MEI])
    for user in (stage.bot, MEI):
        assert not after[user].devices & keys[user].devices
        assert after[user].signed == after[user].devices
    await both_ways(clear, "at last")


async def test_a_backup_of_the_running_bridge_goes_on_in_the_other_engine(
    stage: Stage, phones: Phones, postgres_server: PostgresServer
) -> None:
    clear = await chatting(stage, "backup-clear")
    sealed, phone = await phones.chatting("backup-encrypted")
    talks = [clear, sealed]
    for talk in talks:
        await both_ways(talk, "before the backup")
    file = str(stage.folder / "bridge.backup")
    assert "and verified it" in await succeeds(stage, "backup", file)
    # A copy less than a minute old may be recognised only by the next start.
    await stop(stage, talks)
    await start(stage, talks)
    for talk in talks:
        await both_ways(talk, "of the lost time")
    await stop(stage, talks)
    to = postgres_server.new_database()
    set_database(stage, f"sqlite:///{stage.folder}/bridge.db", to)
    assert "compared row by row" in await succeeds(stage, "restore", file)
    before = await keys_of(phone, [stage.bot, MEI])
    await start(stage, talks)
    await clear.say("after the restore")
    await clear.heard("after the restore")
    for talk in talks:
        await talk.desk("say", text="read by all")
        await talk.reads("read by all", MEI)
    after = await keys_of(phone, [stage.bot, MEI])
    for user in (stage.bot, MEI):
        assert after[user].master == before[user].master
        assert not after[user].devices & before[user].devices
    assert phone.unreadable(sealed.room) == []
