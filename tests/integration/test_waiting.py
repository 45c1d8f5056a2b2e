"""Waiting for an agent: the queue card, the pings, and the callback."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.matrix_user import content_of
from tests.support.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.talk import MEI, Talk, annotates, relation, wording

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALWAYS_CLOSED = "Mon 00:00-00:01 UTC"
"""The operator's hours, open for a minute a week; `set_open` sets the call centre's own."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    queues = [
        {"id": 1, "name": "Sales"},
        {"id": 2, "name": "Service", "hours": ALWAYS_CLOSED},
    ]
    bridge = bridge_section(callback={"retry_first": "2s", "retry_last": "2s"})
    options = StageOptions(simulator=UNLIMITED, config={"bridge": bridge, "queues": queues})
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


def pings(talk: Talk) -> list[str]:
    """Return the bot's messages that make a phone ring."""
    return [
        wording(event)
        for event in talk.messages(talk.stage.bot)
        if content_of(event)["msgtype"] == "m.text"
    ]


def requests(stage: Stage) -> int:
    """Return the number of queue requests so far."""
    frames = [one["frame"] for one in stage.simulator.frames() if one["direction"] == "in"]
    return sum(isinstance(frame, dict) and frame.get("type") == 101 for frame in frames)


async def set_open(stage: Stage, *, hours: bool) -> None:
    await stage.simulator.do({"op": "set", "options": {"open_hours": hours}})


async def test_the_card_and_the_two_pings(stage: Stage) -> None:
    """Three wait; each one that leaves causes a silent edit, until the last one is next."""
    first = await Talk.open(stage, await stage.customer("wait-1"), "one")
    await first.reads("number 1", stage.bot)
    second = await Talk.open(stage, await stage.customer("wait-2"), "two")
    await second.reads("number 2", stage.bot)
    third = await Talk.open(stage, await stage.customer("wait-3"), "three")
    await third.reads("number 3", stage.bot)
    await first.say("!wc cancel")
    moved = await third.reads("number 2", stage.bot)
    assert "You may write already." in wording(moved)
    assert relation(moved)["rel_type"] == "m.replace"
    assert pings(third) == []
    await second.say("!wc cancel")
    await third.reads("number 1", stage.bot)
    await third.reads("You are next", stage.bot)
    await third.accept()
    await third.desk("say", text="how can I help?")
    answer = await third.reads("how can I help?", MEI)
    assert content_of(answer)["m.mentions"] == {"user_ids": [third.customer.user_id]}
    await third.desk("say", text="take your time")
    more = await third.reads("take your time", MEI)
    assert content_of(more)["m.mentions"] == {}
    assert pings(third) == ["You are next: please keep an eye on this chat."]


async def test_the_queue_card_is_still_edited_after_a_kill_of_the_bridge(stage: Stage) -> None:
    """After a kill the bridge goes on editing the same card."""
    ahead = await Talk.open(stage, await stage.customer("wait-4"), "one")
    await ahead.reads("number 1", stage.bot)
    behind = await Talk.open(stage, await stage.customer("wait-5"), "two")
    card = await behind.reads("number 2", stage.bot)
    await stage.bridge.kill()
    await stage.bridge.start()
    await ahead.say("!wc cancel")
    moved = await behind.reads("number 1", stage.bot)
    assert relation(moved) == {
        "rel_type": "m.replace",
        "event_id": relation(card).get("event_id", card["event_id"]),
    }
    await behind.reads("You are next", stage.bot)
    await behind.say("!wc cancel")
    await behind.reads("You have left the queue", stage.bot)


async def test_a_customer_is_called_back_when_an_agent_is_there(stage: Stage) -> None:
    """Closed; a bell reaction; a restart; opening time; the agent gets the kept messages."""
    talk = await Talk.open(stage, await stage.customer("night-owl"))
    await talk.reads("Sales will answer here", stage.bot)
    await set_open(stage, hours=False)
    await talk.say("is anybody there?")
    offer = "🔔 (or !wc callback) tells you here as soon as somebody is there."
    closed = f"We are closed right now. I have kept your message.\n{offer}"
    shown = await talk.reads(closed, stage.bot)
    card = str(relation(shown).get("event_id", shown["event_id"]))
    await talk.sees(lambda event: annotates(event, card, "🔔") and event["sender"] == stage.bot)
    await talk.say("hello?")
    again = await talk.reads("I have kept your 2 messages.", stage.bot)
    assert relation(again)["event_id"] == card, "one message says it all"
    await talk.customer.react(talk.room, card, "🔔")
    promise = await talk.reads("🔔 I will tell you here as soon as somebody is there", stage.bot)
    assert relation(promise)["event_id"] == card
    ours = [one for one in talk.messages(stage.bot) if "rel_type" not in relation(one)]
    assert len(ours) == 2, "the greeting and the card"
    await talk.say("!wc status")
    kept = "I have kept your 2 messages."
    await talk.reads(f"You will be told here as soon as an agent of Sales is there. {kept}")

    await stage.bridge.stop()
    await stage.bridge.start()
    said, tried = len(talk.messages(stage.bot)), requests(stage)
    await stage.simulator.wait_for(lambda _: requests(stage) >= tried + 3)
    assert len(talk.messages(stage.bot)) == said  # failed attempts send no message
    await set_open(stage, hours=True)
    await talk.queued()
    await talk.accept()
    await talk.reads("Mei is here to help you.", stage.bot)
    assert pings(talk) == ["Mei is here to help you."]
    await talk.heard("is anybody there?")


async def test_a_cross_reaction_cancels_the_callback(stage: Stage) -> None:
    talk = await Talk.open(stage, await stage.customer("changes-mind"))
    await talk.reads("Sales will answer here", stage.bot)
    await set_open(stage, hours=False)
    await talk.say("anybody?")
    await talk.reads("tells you here as soon as somebody is there", stage.bot)
    await talk.say("callback")  # without the prefix: it is a direct chat
    promise = await talk.reads("I will tell you here as soon as somebody is there", stage.bot)
    await talk.customer.react(talk.room, str(relation(promise)["event_id"]), "❌")
    ended = await talk.reads("We no longer ask for you", stage.bot)
    assert "Your message did not go to anybody." in wording(ended)
    await set_open(stage, hours=True)


async def test_the_closed_notice_names_the_opening_time(stage: Stage) -> None:
    host = "@webchat_queue_2:localhost"
    talk = await Talk.open(stage, await stage.customer("early-bird"), host=host)
    await talk.reads("Service will answer here", host)
    await set_open(stage, hours=False)
    await talk.say("!wc start")
    closed = await talk.reads("We are closed until ", host)
    assert "00:00." in wording(closed)
    await talk.say("!wc callback")
    promise = await talk.reads("I will tell you here as soon as somebody is there", host)
    assert "00:00." in wording(promise)
    await set_open(stage, hours=True)
    await talk.say("now?")  # a message requests an agent, whatever the operator's hours
    await talk.reads("number 1", host)
    await talk.accept()
    await talk.heard("now?")
    await talk.desk("say", text="good morning")
    await talk.reads("good morning", MEI)
