"""`erase` of a customer, while another one's chat goes on, across a kill, and offline."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bridge.matrix.crypto.wire import MARKER
from tests.support.client import room_call
from tests.support.matrix_rig import picture
from tests.support.matrix_user import Event, content_of, membership
from tests.support.postgres import PostgresServer
from tests.support.stage import Stage, StageOptions, set_stage
from tests.support.staging import UNLIMITED, bridge_section
from tests.support.talk import MEI, Talk, wording

pytestmark = pytest.mark.asyncio(loop_scope="module")
TRUSTED = "trusted_private_chat"
"""Preset of Element's direct rooms: those invited have all power."""


async def start_erase(stage: Stage, *words: str) -> asyncio.subprocess.Process:
    """Start `erase`, as an operator types it."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", "erase", "--yes", "--json", "-c", str(stage.config)),
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def report_of(process: asyncio.subprocess.Process, code: int = 0) -> dict[str, Any]:
    output, errors = await process.communicate()
    assert process.returncode == code, errors.decode()
    found: dict[str, Any] = json.loads(output or "{}")
    return found


def traces_in_files(stage: Stage, *traces: str) -> list[str]:
    """Return those of the traces that the database's files contain."""
    files = [stage.folder / name for name in ("bridge.db", "bridge.db-wal")]
    lies = b"".join(file.read_bytes() for file in files if file.exists())
    return [one for one in traces if one.encode() in lies]


async def chatted(stage: Stage, name: str, words: str, preset: str = TRUSTED) -> Talk:
    talk = await Talk.open(stage, await stage.customer(name), "hello", preset=preset)
    await talk.heard("hello")
    await talk.accept()
    await talk.say(words)
    await talk.heard(words)
    await talk.desk("say", text=f"you said: {words}")
    await talk.reads(f"you said: {words}", MEI)
    return talk


async def test_a_customer_is_erased_while_another_chats_on(stage: Stage) -> None:
    gone = await chatted(stage, "goneforever", "an elephant in my garden")
    stays = await chatted(stage, "stayshere", "a cup of tea")
    traces = ("goneforever", "elephant", gone.room, gone.login)
    assert traces_in_files(stage, *traces) == list(traces)

    refused = await start_erase(stage, gone.customer.user_id)
    await report_of(refused, 1)
    assert traces_in_files(stage, *traces) == list(traces)  # refused during a chat without --force

    report = await report_of(await start_erase(stage, gone.customer.user_id, "--force"))
    assert report["done"]
    assert report["rooms"] == [gone.room]
    assert report["accounts"] == [gone.login]
    assert traces_in_files(stage, *traces) == []
    # Marked, so that its echo is not stored after the erasure.
    assert MARKER in content_of(await gone.sees(membership(stage.bot, "leave")))
    await gone.sees(membership(MEI, "leave"))
    await gone.at_desk(lambda person: person.session is None and not person.linked)

    await stays.say("and a biscuit")
    await stays.heard("and a biscuit")
    await stays.desk("say", text="here you are")
    await stays.reads("here you are", MEI)

    # A customer who writes again is new; nothing old is read back from the homeserver either.
    await gone.say("are you still there?")
    again = await Talk.open(stage, gone.customer, "me again")
    await again.queued()
    assert again.login != gone.login
    assert traces_in_files(stage, "elephant", gone.login) == []


async def test_a_room_erased_during_a_chat_and_served_on_is_asked_for_no_rating(
    stage: Stage,
) -> None:
    """Its rating could not be sent: nothing is known of the chat any more."""
    stays = await chatted(stage, "servedon", "a zebra at the door")
    assert (await report_of(await start_erase(stage, stays.room, "--force", "--stay")))["done"]
    await stays.reads("The operator of this service has ended", stage.bot)
    await stays.say("and who are you?")
    await stays.queued()  # all that the bridge says of the former chat is there by now
    assert not any("satisfied" in wording(event) for event in await stays.history())


async def test_a_rating_that_waited_for_a_reply_is_erased_with_its_author(stage: Stage) -> None:
    """Its words were sent once another's message was acknowledged."""
    shared = await chatted(stage, "sharesaroom", "a newt in the sink")
    rater = await stage.customer("ratesandgoes")
    await room_call(shared.customer, "invite", shared.room, {"user_id": rater.user_id})
    await room_call(rater, "join", shared.room)
    await shared.reads("Somebody else is in this chat now", stage.bot)
    slow = {"fault": "delay", "login": shared.login, "type": 110, "delay_ms": 2_000}
    await stage.simulator.do({"op": "set", "faults": [slow]})
    await shared.say("one moment")
    await shared.heard("sharesaroom: one moment")
    await rater.say(shared.room, "!wc rate 1 the yeti was rude")
    await shared.at_desk(lambda person: bool(person.ratings))
    assert traces_in_files(stage, "yeti") == ["yeti"]
    assert (await report_of(await start_erase(stage, rater.user_id, "--force")))["done"]
    assert traces_in_files(stage, "yeti", "newt") == ["newt"]


@pytest.mark.parametrize("powerful", [True, False])
async def test_erase_redacts_every_event_that_it_may_at_the_homeserver(
    stage: Stage, *, powerful: bool
) -> None:
    """Every message if the host has the power, else those of bridge users: all that they sent."""
    words, preset = "an okapi in the attic", TRUSTED if powerful else "private_chat"
    gone = await chatted(stage, f"redacted{powerful}".lower(), words, preset)
    pixel = base64.b64encode(picture(4, 3)).decode()
    await gone.desk("say", text=f'look: <img src="data:image/png;base64,{pixel}"> and there')
    await gone.reads("and there", MEI)
    refused = {"fault": "answer", "login": gone.login, "type": 110, "result": -8}
    await stage.simulator.do({"op": "set", "faults": [refused]})
    await gone.say("a refused okapi")
    await gone.sees(reacts)
    await gone.say("!wc transcript 1 json")
    await gone.reads("chat-1.json", stage.bot)
    before = {str(event["event_id"]): event for event in await gone.history() if wording(event)}
    own = {one for one, event in before.items() if event["sender"] != gone.customer.user_id}
    assert {"hello", words, f"you said: {words}"} <= set(map(wording, before.values()))
    report = await report_of(await start_erase(stage, gone.room, "--force", "--redact"))
    assert report["done"]
    await gone.sees(membership(stage.bot, "leave"))
    left = {str(event["event_id"]) for event in await gone.history() if wording(event)}
    assert {str(before[one]) for one in left & own} == set()
    assert before.keys() - own <= left or powerful
    assert left.isdisjoint(before) or not powerful
    assert not any(map(reacts, await gone.history()))
    # The last message tells the remaining members.
    await gone.reads("reaches nobody", stage.bot)


def reacts(event: Event) -> bool:
    """Whether an event is a reaction that nobody has redacted."""
    return event["type"] == "m.reaction" and bool(event["content"])


async def test_erasure_is_completed_after_a_kill(stage: Stage) -> None:
    gone = await chatted(stage, "killedhalfway", "a giraffe on my roof")
    mute = {"fault": "ignore", "login": gone.login, "type": 103, "count": 1}
    await stage.simulator.do({"op": "set", "faults": [mute]})
    process = await start_erase(stage, gone.customer.user_id, "--force")
    # The order is under way: the bot has left and waits for the call centre's reply.
    await gone.sees(membership(stage.bot, "leave"), 60)
    await stage.bridge.kill()
    assert traces_in_files(stage, "giraffe", gone.room) == ["giraffe", gone.room]
    await stage.bridge.start()
    assert (await report_of(process))["done"]
    assert traces_in_files(stage, "killedhalfway", "giraffe", gone.room, gone.login) == []


async def test_erasure_without_a_running_bridge(stage: Stage) -> None:
    gone = await chatted(stage, "nobridge", "a hippo in the bath")
    await stage.bridge.stop()
    try:
        report = await report_of(await start_erase(stage, gone.room, "--force"))
        assert report["done"]
        assert "kick" in json.dumps(report["kept"])
        assert traces_in_files(stage, "hippo", gone.room, gone.login) == []
    finally:
        await stage.bridge.start()


async def test_erasure_on_postgresql(tmp_path: Path, postgres_server: PostgresServer) -> None:
    """Where several processes may share the rooms: the room's owner finds the order."""
    url = postgres_server.new_schema()
    config = {"bridge": bridge_section()}
    options = StageOptions(database=url, simulator=UNLIMITED, config=config)
    async with set_stage(tmp_path, options) as stage:
        gone = await chatted(stage, "gonefromtables", "an emu in the hall")
        traces = ("gonefromtables", "emu in the hall", gone.room, gone.login)
        assert await traces_in_tables(url, *traces) == list(traces)
        assert (await report_of(await start_erase(stage, gone.customer.user_id, "--force")))["done"]
        assert await traces_in_tables(url, *traces) == []
        await gone.sees(membership(stage.bot, "leave"))


async def traces_in_tables(url: str, *traces: str) -> list[str]:
    """Return those of the traces that a table of the database contains."""
    connection, found = await asyncpg.connect(url), b""
    try:
        tables = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        )
        for (table,) in tables:
            for row in await connection.fetch(f'SELECT * FROM "{table}"'):  # noqa: S608
                for value in row:
                    found += value if isinstance(value, bytes) else str(value).encode()
    finally:
        await connection.close()
    return [one for one in traces if one.encode() in found]
