"""Messages missed in an outage are found again; and typing notifications both ways."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import pytest
import pytest_asyncio

from bridge.simulator.simulator import SimulatorOptions
from bridge.simulator.state import Wire
from tests.support.load import timeline
from tests.support.matrix_user import membership
from tests.support.operator import has_looked_for_news
from tests.support.stage import Stage, StageOptions, pid_of
from tests.support.staging import bridge_section, staged
from tests.support.talk import MEI, Talk, chatting, wording

pytestmark = pytest.mark.asyncio(loop_scope="module")

LATE = re.compile(r"🕘 Sent at (?:\d+ \w{3}, )?\d\d:\d\d:\n")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """A server of 2019 with a history, which neither keeps nor repeats unreceived pushes."""
    simulator = SimulatorOptions(strict=True, login_limit=0, dialect="2019", receipts=False)
    config = {"bridge": bridge_section(timezone="Asia/Shanghai")}
    options = StageOptions(simulator=simulator, config=config)
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


async def read(talk: Talk) -> list[str]:
    """Return all messages of Mei in the room."""
    return [
        wording(event)
        for event in await timeline(talk)
        if event.get("sender") == MEI and event.get("type") == "m.room.message"
    ]


async def cut(talk: Talk) -> None:
    """Cut the link, and refuse the first try of a new one."""
    refusal: Wire = {"fault": "http", "path": "cws", "status": 503}
    await talk.stage.simulator.do({"op": "set", "faults": [refusal]})
    await talk.desk("kick", code=1006)
    await talk.at_desk(lambda person: not person.linked)


async def test_agents_messages_while_the_link_is_cut_are_delivered_late(stage: Stage) -> None:
    talk = await chatting(stage, "cut-off")
    await talk.desk("say", text="I am looking")
    await talk.reads("I am looking", MEI)
    await cut(talk)
    await talk.desk("say", text="here it is")
    await talk.desk("say", text="your parcel is in <b>Hamburg</b>")
    await talk.reads("your parcel is in", MEI)
    await talk.desk("say", text="anything else?")
    await talk.reads_exactly("anything else?", MEI)
    first, second, third, fourth = await read(talk)
    assert (first, fourth) == ("I am looking", "anything else?")
    for late, words in ((second, "here it is"), (third, "your parcel is in Hamburg")):
        assert LATE.sub("", late) == words
        assert late != words


@pytest.mark.parametrize("rich", [False, True])
async def test_an_agent_who_accepts_while_the_link_is_cut_reads_all_once(
    stage: Stage, *, rich: bool
) -> None:
    """Reference 1.3, "continued": the next 101 finds the session, whose agent has what was said."""
    switches = {"continues": True, "request_id_in_reply": rich}
    await stage.simulator.do({"op": "set", "options": switches})
    try:
        talk = await Talk.open(stage, await stage.customer(f"waits-{rich}".lower()), "one")
        await talk.queued()
        await talk.customer.wait_until(lambda: (talk.room, stage.bot) in talk.customer.receipts)
        await cut(talk)
        await talk.desk("accept", agent="A00001")
        await talk.sees(membership(MEI, "join"))
        await talk.say("two")
        await talk.heard("two")
        person = await talk.at_desk(lambda one: one.linked)
        assert person.texts == ["one", "two"]
    finally:
        await stage.simulator.do({"op": "set", "options": dict.fromkeys(switches, False)})


async def test_a_message_recalled_while_the_link_is_cut_is_redacted(stage: Stage) -> None:
    """By the history's `revokeFlag`, for a message that was pushed without a number."""
    talk = await chatting(stage, "misled")
    await talk.desk("say", text="the price is 12")
    said = await talk.reads("the price is 12", MEI)
    await cut(talk)
    await talk.desk("recall")
    await talk.desk("say", text="the price is 21")
    await talk.reads("the price is 21", MEI)
    await talk.sees(lambda event: event.get("redacts") == said["event_id"])
    assert not [line for line in talk.shown() if "took back" in line]


@pytest.mark.parametrize("running", ["asked", "never"])
async def test_a_history_without_the_running_chat(stage: Stage, running: str) -> None:
    """`asked`: told only if the query says so (2020), as it does; `never`: the customer is told."""
    await stage.simulator.do({"op": "set", "options": {"running_history": running}})
    try:
        talk = await chatting(stage, f"left-out-{running}")
        await talk.desk("say", text="I am looking")
        await talk.reads("I am looking", MEI)
        await cut(talk)
        await talk.desk("say", text="here it is")
        if running == "asked":
            await talk.reads("here it is", MEI)
        else:
            await talk.reads("may be missing here")
            assert await read(talk) == ["I am looking"]
    finally:
        await stage.simulator.do({"op": "set", "options": {"running_history": "told"}})


async def test_agents_messages_while_the_bridge_is_dead_are_delivered_late(stage: Stage) -> None:
    talk = await chatting(stage, "unlucky")
    await talk.desk("say", text="before")
    await talk.reads("before", MEI)
    await stage.bridge.kill()
    await talk.at_desk(lambda person: not person.linked)
    await talk.desk("say", text="one moment please")
    await talk.desk("say", text="one moment please")
    await stage.bridge.start()
    await talk.at_desk(lambda person: person.linked)
    await talk.reads("one moment please", MEI)
    await talk.say("still there?")
    await talk.heard("still there?")
    await talk.desk("say", text="after")
    await talk.reads_exactly("after", MEI)
    assert [LATE.sub("", text) for text in await read(talk)] == [
        "before",
        "one moment please",
        "one moment please",
        "after",
    ]


async def test_typing_is_seen_on_both_sides(stage: Stage) -> None:
    """Without events in the room."""
    talk = await chatting(stage, "typing")
    await talk.desk("typing")
    await talk.customer.wait_until(lambda: MEI in talk.customer.typing.get(talk.room, set()))
    await talk.desk("say", text="done")
    await talk.reads("done", MEI)
    await talk.customer.wait_until(lambda: MEI not in talk.customer.typing.get(talk.room, set()))
    assert await read(talk) == ["done"]

    await talk.customer.types(talk.room)
    await talk.at_desk(lambda person: bool(person.signals))
    await talk.customer.types(talk.room, typing=False)
    person = await talk.at_desk(lambda person: person.texts == ["hello"])
    assert [signal["type"] for signal in person.signals] == [113]


def homeserver_database(stage: Stage) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(stage.folder / "synapse" / "homeserver.db"))


def is_queued_for_the_bridge(stage: Stage, event_id: str) -> bool:
    """Whether Synapse has queued the event for the application service."""
    noted = "SELECT 1 FROM application_services_txns WHERE instr(event_ids, ?)"
    with homeserver_database(stage) as database:
        return database.execute(noted, (event_id,)).fetchone() is not None


def forget_transactions(stage: Stage) -> int:
    """Delete the queue of events for application services, as a killed Synapse may lose it."""
    with homeserver_database(stage) as database:
        forgotten = database.execute("DELETE FROM application_services_txns").rowcount
        database.commit()
    return forgotten


async def test_events_that_the_homeserver_never_sends_are_found(stage: Stage) -> None:
    """The bridge finds them in the room, and lets the desk take them before more than 200 wait."""
    talk = await chatting(stage, "overlooked")
    await talk.customer.wait_until(lambda: has_looked_for_news(stage))
    await stage.bridge.kill()
    missed = [f"question {number}" for number in range(250)]
    sent = [await talk.say(question) for question in missed]
    await talk.customer.wait_until(lambda: is_queued_for_the_bridge(stage, sent[-1]))
    await stage.synapse.kill()
    assert forget_transactions(stage) > 0
    await stage.synapse.start()
    await stage.bridge.start()
    await talk.heard(missed[-1], patience=30)
    person = await talk.at_desk(lambda person: len(person.texts) == 1 + len(missed))
    assert person.texts == ["hello", *missed]
    await talk.say("my last question")
    await talk.heard("my last question")
    person = await talk.at_desk(lambda person: len(person.texts) > 1 + len(missed))
    assert person.texts[1 + len(missed) :] == ["my last question"]


async def test_words_after_a_chat_that_the_homeserver_never_sends_are_found(stage: Stage) -> None:
    """Also after a normal stop: Synapse keeps in memory what comes while the bridge is silent.

    The bridge no longer holds the room in memory, as no chat is running there.
    """
    talk = await chatting(stage, "back-again")
    await talk.desk("close")
    await talk.at_desk(lambda person: person.session is None)
    await talk.reads("has ended the chat", stage.bot)
    os.kill(pid_of(stage.bridge), signal.SIGSTOP)
    missed = [f"one more thing {number}" for number in range(3)]
    for text in missed:
        await talk.say(text)
    await stage.synapse.stop()
    await stage.bridge.kill()
    await stage.synapse.start()
    await stage.bridge.start()
    await talk.heard(missed[-1], patience=60)
    person = await talk.at_desk(lambda person: person.request is not None)
    assert person.texts == ["hello", *missed]


async def test_an_invitation_that_the_homeserver_never_sends_is_found(stage: Stage) -> None:
    """No bridge user is in the room yet to find it there.

    It is found from the place in /sync that the bridge notes some seconds after its first start.
    """
    customer = await stage.customer("uninvited")
    await customer.wait_until(lambda: has_looked_for_news(stage))
    await stage.bridge.kill()
    talk = await Talk.open(stage, customer, "is anybody there?")
    await customer.wait_until(lambda: is_queued_for_the_bridge(stage, "$"))
    await stage.synapse.kill()
    assert forget_transactions(stage) > 0
    await stage.synapse.start()
    await stage.bridge.start()
    await talk.heard("is anybody there?", patience=60)
    await talk.accept()
    await talk.say("and now?")
    await talk.heard("and now?")
    person = await talk.at_desk(lambda person: len(person.texts) > 1)
    assert person.texts == ["is anybody there?", "and now?"]
