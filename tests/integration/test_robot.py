"""A call centre's robots (knowledge base, queue robot) on a real Synapse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec
import pytest
import pytest_asyncio

from tests.support.encrypted import Phones
from tests.support.matrix_user import Event, content_of, membership
from tests.support.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.talk import MEI, Talk, relation

pytestmark = pytest.mark.asyncio(loop_scope="module")

KNOWN = "How do I return a parcel?"
ROBOT = "@webchat__b_o_t007:localhost"
NOTE = f"(The robot has answered: {KNOWN})"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    simulator = msgspec.structs.replace(
        UNLIMITED,
        robot_key="secret",
        robot_answers={KNOWN: 'Send it <b>back</b>, see <a href="https://h/faq">here</a>'},
        robot_queues=(2,),
    )
    robot = {
        "enabled": True,
        "mode": "first",
        "public_key": "secret",
        "km_base_url": "https://kb.example.org/km",
    }
    config = {"bridge": bridge_section()}
    options = StageOptions(simulator=simulator, config=config, webchat={"robot": robot})
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lonely(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """A call centre whose robot answers only while no agent is online."""
    options = StageOptions(
        simulator=msgspec.structs.replace(UNLIMITED, robot_answers={KNOWN: "Send it back"}),
        config={"bridge": bridge_section()},
        webchat={"robot": {"enabled": True, "mode": "when_no_agent"}},
    )
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


async def tap(talk: Talk, message: Event, sign: str) -> None:
    """Tap a reaction that the bot has placed below a message."""

    def stands(event: Event) -> bool:
        about = relation(event)
        return about.get("event_id") == message["event_id"] and about.get("key") == sign

    await talk.sees(stands)
    await talk.customer.react(talk.room, str(message["event_id"]), sign)


async def test_a_question_that_the_robot_answered_goes_to_no_agent(stage: Stage) -> None:
    talk = await Talk.open(stage, await stage.customer("curious"), KNOWN)
    card = await talk.reads(f"This may be what you need:\n\n▪ {KNOWN}\nSend it back", stage.bot)
    assert "https://kb.example.org/km/km/ArticleStore/" in str(content_of(card)["body"])
    await tap(talk, card, "👍")
    await talk.reads("All right: your question will not go to an agent", stage.bot)
    assert talk.person is None


async def test_a_thumbs_down_requests_an_agent_who_gets_question_and_note(stage: Stage) -> None:
    talk = await Talk.open(stage, await stage.customer("doubtful"), KNOWN)
    card = await talk.reads("This may be what you need", stage.bot)
    await tap(talk, card, "👎")
    await talk.reads("Waiting for Sales: you are number 1", stage.bot)
    await talk.heard(NOTE)
    person = talk.person
    assert person is not None
    assert person.texts == [KNOWN, NOTE]
    await talk.accept()
    await talk.desk("say", text="hello")
    await talk.reads("hello", MEI)
    await talk.desk("close")


async def test_the_robot_in_an_encrypted_room(stage: Stage) -> None:
    """Question, card, reaction and rating, all encrypted."""
    async with AsyncExitStack() as closing:
        talk, _ = await Phones(stage, closing).talk("sealed", KNOWN)
        card = await talk.reads("This may be what you need", stage.bot)
        await tap(talk, card, "👎")
        await talk.heard(NOTE)
        await talk.accept()
        await talk.desk("close")
        poll = await talk.sees(lambda event: event.get("type") == "org.matrix.msc3381.poll.start")
        await talk.customer.vote(talk.room, poll, "4")
        await talk.reads("Thank you for your rating", stage.bot)
        await talk.customer.vote(talk.room, poll, "2")
        person = await talk.at_desk(lambda one: len(one.ratings) == 2)
        assert [one.rating for one in person.ratings] == [4, 2]
        await talk.reads("Anything to add? Your next message", stage.bot)
        words = await talk.say("it took too long")
        await talk.reads_reply("This went along with your rating", words)
        person = await talk.at_desk(lambda one: len(one.ratings) == 3)
        assert (person.ratings[-1].rating, person.ratings[-1].comments) == (2, "it took too long")


async def test_a_customer_asks_for_a_person_in_plain_words(stage: Stage) -> None:
    talk = await Talk.open(stage, await stage.customer("direct"), "转人工")
    await talk.queued()
    await talk.say("!wc cancel")
    await talk.at_desk(lambda one: one.request is None)


async def test_what_the_robot_does_not_know_goes_to_a_person(stage: Stage) -> None:
    talk = await Talk.open(stage, await stage.customer("unusual"), "what is love?")
    await talk.reads("Nothing was found in our answers", stage.bot)
    await talk.heard("what is love?")
    await talk.say("!wc cancel")
    await talk.at_desk(lambda one: one.request is None)


async def test_the_robot_of_a_queue(stage: Stage) -> None:
    """It answers as its own ghost, with links; its suggestions are chosen by number or tap."""
    talk = await Talk.open(stage, await stage.customer("lonely"))
    await talk.say("start service")
    await talk.sees(membership(ROBOT, "join"))
    await talk.say("???")
    asked = await talk.reads(f"1. {KNOWN}", ROBOT)
    await talk.say("1")
    await talk.heard(KNOWN)
    found = await talk.reads("Send it back, see here", ROBOT)
    assert '<a href="https://h/faq">here</a>' in str(content_of(found)["formatted_body"])
    await tap(talk, asked, "1️⃣")
    await talk.at_desk(lambda one: one.texts.count(KNOWN) == 2)
    await talk.say("agent please")
    offer = await talk.reads("To talk to a person, tap 🙋", stage.bot)
    await tap(talk, offer, "🙋")
    search = await talk.reads("Waiting for a person of Service: you are number", stage.bot)
    assert relation(search) == {}, "a message of its own, below what the robot said"
    frames = [one["frame"] for one in stage.simulator.frames() if one["login"] == talk.login]
    assert any("'type': 302" in str(frame) for frame in frames)
    await talk.desk("accept", agent="A00001")
    there = await talk.reads("Connected: Mei", stage.bot)
    assert relation(there)["event_id"] == search["event_id"]


async def test_the_robot_helps_while_no_agent_is_online(lonely: Stage) -> None:
    talk = await Talk.open(lonely, await lonely.customer("late"), KNOWN)
    await talk.heard(KNOWN)
    await talk.desk("refuse", status=5)
    await talk.reads("No agent is online at the moment", lonely.bot)
    card = await talk.reads("This may help in the meantime", lonely.bot)
    await talk.say("and who pays?")  # requests an agent again, with all texts so far
    await talk.heard(NOTE)
    await talk.heard("and who pays?")
    person = talk.person
    assert person is not None
    assert person.texts == [KNOWN, KNOWN, NOTE, "and who pays?"]
    await talk.desk("refuse", status=5)
    await talk.at_desk(lambda one: one.request is None)
    await tap(talk, card, "👍")
    await talk.reads("All right: your question will not go to an agent", lonely.bot)
