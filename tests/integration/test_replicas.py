"""Three bridge processes on one PostgreSQL: chats go on if one is killed, suspended or restarted.

The long form is tests/chaos/test_replicas.py.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack

import pytest

from bridge.app.replica import BEAT
from bridge.simulator.simulator import SimulatorOptions
from tests.support.encrypted import EncryptedCustomer, Phones, both_ways, keys_of
from tests.support.load import open_chats
from tests.support.postgres import PostgresServer
from tests.support.replicas import Replicas, judge, replicas, say, taken_over, three, under_load
from tests.support.talk import MEI, Talk

__all__ = ["three"]


@pytest.mark.asyncio
async def test_one_process_is_killed_one_suspended_and_one_restarted(three: Replicas) -> None:
    async with under_load(three, 3) as (chats, _):
        owner = await three.owner(chats[0].talk.room)
        await three.bridges[owner].kill()
        took = await taken_over(three, chats[:1], owner)
        await three.bridges[owner].start()
        await three.until_shared(3)
        owner = await three.owner(chats[1].talk.room)
        three.signal(owner, signal.SIGSTOP)
        await asyncio.sleep(3)
        three.signal(owner, signal.SIGCONT)
        owner = await three.owner(chats[2].talk.room)
        assert await three.bridges[owner].stop() == 0
        await three.until_shared(2)
        await three.bridges[owner].start()
        await three.until_shared(3)
    await judge(three, chats, 1)
    say(f"takeover after kill -9: {took:.2f} s")


@pytest.mark.asyncio
async def test_encrypted_chats_go_on_whichever_process_serves_them(three: Replicas) -> None:
    """A room's owner is killed, the bot's owner is stopped, and the next one is suspended."""
    bot = three.stage.bot
    async with AsyncExitStack() as closing:
        phones = Phones(three.stage, closing)
        chats = [await phones.chatting(f"sealed{number}") for number in range(3)]
        said = ["before", "killed", "read by another", "paused", "awake"]

        async def both(talk: Talk, phone: EncryptedCustomer, word: str) -> None:
            # A new key each time, which the bot gets by a to-device message.
            phone.nio.olm.outbound_group_sessions.clear()
            await both_ways(talk, word)

        async def everybody(word: str) -> None:
            await asyncio.gather(*(both(*chat, word) for chat in chats))

        await everybody("before")
        phone = chats[0][1]
        keys = await keys_of(phone, [bot, MEI])
        killed = await three.owner(chats[0][0].room)
        await three.bridges[killed].kill()
        await everybody("killed")
        await three.bridges[killed].start()
        reader = await three.owner(bot)
        assert await three.bridges[reader].stop() == 0
        await everybody("read by another")
        await three.bridges[reader].start()
        paused = await three.owner(bot)
        three.signal(paused, signal.SIGSTOP)
        await everybody("paused")
        three.signal(paused, signal.SIGCONT)
        await everybody("awake")
        assert await keys_of(phone, [bot, MEI]) == keys
        for talk, phone in chats:
            assert phone.unreadable(talk.room) == []
            person = talk.person
            assert person is not None
            heard = [one.text for one in person.messages if not one.repeat]
            assert heard == ["hello", *(f"can you read {word}?" for word in said)]
            assert [e for e in await talk.history() if e["type"] == "m.room.message"] == []


@pytest.mark.asyncio
async def test_a_push_while_the_database_is_suspended_is_delivered(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer
) -> None:
    """The links must be closed meanwhile, as a server of 2016 repeats no push."""
    folder, database = tmp_path_factory.mktemp("stall"), postgres_server.new_database()
    of_2016 = SimulatorOptions(strict=True, login_limit=0)
    async with replicas(folder, database, 2, of_2016) as shared:
        (chat,) = await open_chats(shared.stage, 1, "stall")
        postgres_server.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(BEAT)  # heartbeats sent by now are still carried out on resume
            await chat.talk.desk("say", text="in the stall")
            await asyncio.sleep(7)
        finally:
            postgres_server.signal(signal.SIGCONT)
        await chat.talk.reads("in the stall")
