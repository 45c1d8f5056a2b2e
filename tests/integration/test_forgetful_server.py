"""WebChat restarts and loses state, in a queue and in a chat, on Synapse (table rows 30 to 38).

Each text reaches the agent once, there is no needless login, and notices to the customer are true.
"""

from __future__ import annotations

import pytest

from bridge.link.link import BRIEF
from tests.support.matrix_user import membership
from tests.support.stage import Stage
from tests.support.talk import MEI, DeskPerson, Talk, chatting, wording

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORGOTTEN = {
    "nothing": [],
    "tokens": ["tokens"],
    "requests": ["requests"],
    "sessions": ["sessions"],
    "everything": ["tokens", "requests", "sessions"],
}


async def restarted(stage: Stage, talk: Talk, forgotten: str, refusal: str) -> int:
    """Restart the server without its `forgotten` state; returns the customer's logins so far."""
    await stage.simulator.do({"op": "set", "options": {"handshake_refusal": refusal}})
    before = talk.person
    assert before is not None
    forget = FORGOTTEN[forgotten]
    await stage.simulator.do({"op": "restart", "seconds": 0.7, "forget": forget})
    await talk.at_desk(lambda one: not one.linked)
    return before.logins


async def until_linked(talk: Talk, logins: int, forgotten: str) -> None:
    """Wait for the link; check that there was a login only if the token was lost."""
    needed = logins + ("tokens" in FORGOTTEN[forgotten])
    person = await talk.at_desk(lambda one: one.linked and one.logins >= needed)
    assert person.logins == needed


def with_agent(person: DeskPerson) -> list[str]:
    """Return the texts that an agent of the present or an earlier session received."""
    return [message.text for message in person.messages if message.session_id is not None]


@pytest.mark.parametrize(
    ("forgotten", "refusal"),
    [*((one, "401") for one in FORGOTTEN), ("tokens", "close"), ("everything", "frame")],
)
async def test_webchat_restarts_during_a_chat(stage: Stage, forgotten: str, refusal: str) -> None:
    """Table rows 24, 31, 35 and 38: an agent is requested only if the session is lost."""
    talk = await chatting(stage, f"chat-{forgotten}-{refusal}")
    await talk.say("before")
    await talk.heard("before")
    logins = await restarted(stage, talk, forgotten, refusal)
    await talk.say("during")
    await until_linked(talk, logins, forgotten)
    if "sessions" in FORGOTTEN[forgotten]:
        await talk.queued()
        await talk.desk("accept", agent="A00001")
    await talk.say("after")
    person = await talk.at_desk(lambda one: "after" in with_agent(one))
    assert with_agent(person) == ["hello", "before", "during", "after"]
    await talk.desk("say", text="I am here")
    await talk.reads("I am here", MEI)
    told = [wording(event) for event in talk.messages(stage.bot)]
    lost = "sessions" in FORGOTTEN[forgotten]
    assert "✅ Connected: Mei" in told
    assert len([line for line in told if "Asking for a new one" in line]) == lost, told
    await talk.desk("close")


@pytest.mark.parametrize("forgotten", FORGOTTEN)
async def test_webchat_restarts_while_a_customer_waits_in_the_queue(
    stage: Stage, forgotten: str
) -> None:
    """Table rows 30, 35 and 38: requested again; texts that no agent received are resent."""
    talk = await Talk.open(stage, await stage.customer(f"queue-{forgotten}"), "one")
    await talk.heard("one")
    logins = await restarted(stage, talk, forgotten, "401")
    await talk.say("two")
    await until_linked(talk, logins, forgotten)
    await talk.at_desk(lambda one: "two" in one.texts and one.request is not None)
    await talk.desk("accept", agent="A00001")
    await talk.sees(membership(MEI, "join"))
    await talk.say("three")
    person = await talk.at_desk(lambda one: "three" in with_agent(one))
    assert with_agent(person) == ["one", "two", "three"]
    await talk.desk("close")


async def test_an_agent_accepts_while_the_link_is_down(stage: Stage) -> None:
    """Row 14 at a server of 2016: no frame names the session or her before her next words."""
    talk = await Talk.open(stage, await stage.customer("unheard"), "one")
    await talk.heard("one")
    await stage.simulator.do({"op": "restart", "seconds": 2 * BRIEF})
    await talk.at_desk(lambda one: not one.linked)
    await talk.desk("accept", agent="A00001")
    await talk.desk("say", text="Hello, I am Mei")
    await talk.reads("you have a chat open")
    await talk.desk("say", text="Are you there?")
    await talk.reads("Are you there?", MEI)
    await talk.reads("What the agent wrote in that time may be missing")
    told = [wording(event) for event in talk.messages(stage.bot)]
    assert "✅ Connected" in told, told
    await talk.say("two")
    person = await talk.at_desk(lambda one: "two" in with_agent(one))
    assert person.texts == ["one", "two"]
    await talk.desk("close")
