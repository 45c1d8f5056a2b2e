"""Read receipts for delivered messages, and resending of undelivered ones, on a real Synapse."""

from __future__ import annotations

import pytest

from tests.support.encrypted import Phones
from tests.support.stage import Stage
from tests.support.talk import MEI, Talk, chatting, wording

pytestmark = pytest.mark.asyncio(loop_scope="module")


def read_by(talk: Talk, who: str) -> str | None:
    """The user's read receipt in the customer's client."""
    return talk.customer.receipts.get((talk.room, who))


async def until_read(talk: Talk, event_id: str, who: str = MEI) -> None:
    await talk.customer.wait_until(lambda: read_by(talk, who) == event_id)


async def trouble(talk: Talk, **fault: object) -> None:
    fault |= {"type": 110, "login": talk.login}
    await talk.stage.simulator.do({"op": "set", "faults": [fault]})


async def send_with_late_reply(talk: Talk) -> str:
    """Send a message whose reply the call centre holds back until it sends something else."""
    await trouble(talk, fault="reorder")
    event_id = await talk.say("is this read?")
    await talk.heard("is this read?")
    await talk.customer.sync()
    assert event_id not in talk.customer.receipts.values()
    return event_id


async def test_a_queued_message_is_read_by_the_bot_then_by_the_agent(stage: Stage) -> None:
    talk = await Talk.open(stage, await stage.customer("seen0"), "")
    first = await talk.say("hello")
    await until_read(talk, first, stage.bot)
    await talk.heard("hello")
    await talk.accept()
    await until_read(talk, first)


async def test_a_receipt_comes_only_with_the_servers_reply(stage: Stage) -> None:
    talk = await chatting(stage, "seen1")
    event_id = await send_with_late_reply(talk)
    await talk.desk("say", text="one moment")
    await until_read(talk, event_id)
    assert read_by(talk, stage.bot) is None


async def test_a_receipt_in_an_encrypted_room(phones: Phones) -> None:
    talk, _ = await phones.chatting("seen2")
    event_id = await send_with_late_reply(talk)
    await talk.desk("say", text="one moment")
    await until_read(talk, event_id)


async def test_a_receipt_after_a_kill(stage: Stage) -> None:
    """Killed before the reply, the bridge sends the message again, marked, then the receipt."""
    talk = await chatting(stage, "seen3")
    event_id = await send_with_late_reply(talk)
    await stage.bridge.kill()
    await stage.bridge.start()
    await until_read(talk, event_id)
    person = await talk.at_desk(lambda one: one.texts.count("is this read?") == 2)
    assert person.messages[-1].repeat


async def test_commands_after_a_chat_get_no_receipt(stage: Stage) -> None:
    talk = await chatting(stage, "seen4")
    read = await talk.say("thanks")
    await until_read(talk, read)
    await talk.desk("close")
    await talk.reads("has ended the chat")
    status = await talk.say("!wc status")
    await talk.reads_reply("No chat at the moment", status)
    assert status not in talk.customer.receipts.values()


async def test_a_refused_message_is_sent_again_by_reaction(stage: Stage) -> None:
    talk = await chatting(stage, "again1")
    before = await talk.say("before")
    await until_read(talk, before)
    await trouble(talk, fault="answer", result=-77)
    refused = await talk.say("order 4711")
    report = await talk.reads_reply("🔁 (or !wc retry) sends it again.", refused)
    assert "not delivered" in wording(report)
    assert read_by(talk, MEI) == before
    await talk.customer.react(talk.room, str(report["event_id"]), "🔁")
    await talk.heard("order 4711")
    await talk.reads_reply("has been delivered now", refused)
    await until_read(talk, refused)


async def test_a_message_resent_by_command_follows_later_ones(stage: Stage) -> None:
    talk = await chatting(stage, "again2")
    await trouble(talk, fault="answer", result=-77)
    refused = await talk.say("order 4711")
    await talk.reads_reply("🔁 (or !wc retry) sends it again.", refused)
    later = await talk.say("are you there?")
    await until_read(talk, later)
    await talk.say("!wc retry")
    await talk.reads_reply("has been delivered now", refused)
    person = await talk.at_desk(lambda one: "order 4711" in one.texts)
    assert person.texts == ["hello", "are you there?", "order 4711"]
    assert read_by(talk, MEI) == later
    await talk.say("!wc retry")
    await talk.reads("no message to send again")


async def test_a_file_is_sent_again_in_an_encrypted_room(phones: Phones) -> None:
    talk, phone = await phones.chatting("again3")
    await trouble(talk, fault="answer", result=-77)
    data = b"%PDF-1.4 " + bytes(2_000)
    refused = await phone.send_file(talk.room, data, "terms.pdf", "application/pdf")
    await talk.reads_reply("🔁 (or !wc retry) sends it again.", refused)
    await phone.react(talk.room, refused, "🔁")
    await talk.reads_reply("has been delivered now", refused)
    assert "terms.pdf" in str((await talk.got("file")).content)
