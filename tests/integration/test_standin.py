"""Agents whom a room does not let in: the host says their words, until they may come."""

from __future__ import annotations

import pytest

from tests.support.client import room_call, set_state
from tests.support.matrix_user import content_of, membership
from tests.support.stage import Stage
from tests.support.talk import JUN, MEI, Talk

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def closed_room(stage: Stage, name: str) -> Talk:
    """A room in which only its admin may invite, and a chat that Mei has taken."""
    customer = await stage.customer(name)
    talk = await Talk.open(
        stage,
        customer,
        "hello",
        preset="private_chat",
        power_level_content_override={"invite": 50},
    )
    await talk.heard("hello")
    await talk.desk("accept", agent="A00001")
    return talk


async def test_the_host_speaks_for_an_agent_who_may_not_come_in(stage: Stage) -> None:
    talk = await closed_room(stage, "strict")
    await talk.reads("This room does not let Mei in, so I pass the words on", stage.bot)
    await talk.desk("say", text="Hello, <b>how</b> can I help?")
    said = await talk.reads_exactly("Mei: Hello, how can I help?", stage.bot)
    formatted = content_of(said)["formatted_body"]
    assert formatted == "<strong>Mei:</strong> Hello, <b>how</b> can I help?"
    await talk.desk("file", name="terms.txt", text="all of them")
    file = await talk.sees(lambda event: content_of(event).get("filename") == "terms.txt")
    assert (file["sender"], content_of(file)["body"]) == (stage.bot, "Mei:")
    assert await talk.customer.read_file(file) == b"all of them"
    await talk.say("thank you")
    await talk.heard("thank you")

    # The admin changes the room, and the next word is the agent's own.
    levels = await talk.customer.state(talk.room, "m.room.power_levels")
    await set_state(talk.customer, talk.room, "m.room.power_levels", levels | {"invite": 0})
    await talk.desk("say", text="there you are")
    await talk.reads_exactly("there you are", MEI)
    await talk.desk("close")
    await talk.sees(membership(MEI, "leave"))


async def test_an_agent_who_was_banned(stage: Stage) -> None:
    talk = await Talk.open(stage, await stage.customer("angry"), "hello")
    await talk.heard("hello")
    await talk.accept()
    await talk.desk("say", text="no")
    await talk.reads_exactly("no", MEI)
    await room_call(talk.customer, "ban", talk.room, {"user_id": MEI})
    await talk.desk("say", text="I mean it")
    await talk.reads_exactly("Mei: I mean it", stage.bot)
    await talk.desk("close")
    await talk.reads("The agent has ended the chat", stage.bot)


async def test_who_comes_and_goes_is_seen_in_the_room(stage: Stage) -> None:
    talk = await Talk.open(stage, await stage.customer("popular"), "hello")
    await talk.heard("hello")
    await talk.accept()
    await talk.desk("conference", to="A00002")
    await talk.sees(membership(JUN, "join"))
    people = [{"id": "A00001", "name": "Mei"}, {"id": "A00002", "name": "Jun Li"}]
    await talk.desk("agents", agents=people)
    await talk.sees(
        lambda event: (
            event.get("state_key") == JUN and content_of(event).get("displayname") == "Jun Li"
        )
    )
    await talk.desk("leave", agent="A00001")
    await talk.sees(membership(MEI, "leave"))
    await talk.desk("transfer", to="A00001")
    await talk.reads_exactly("Jun Li has handed you over to Mei.", stage.bot)
    await talk.sees(membership(JUN, "leave"))
    await talk.desk("close")
