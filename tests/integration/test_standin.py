"""Rooms that agents' ghosts cannot join: the host relays their messages until they can."""

from __future__ import annotations

import re

import pytest

from bridge.demo.phone import password_of
from tests.support.client import room_call, set_state
from tests.support.matrix_user import Customer, content_of, membership
from tests.support.stage import Stage
from tests.support.synapse import register
from tests.support.talk import JUN, MEI, Talk, chatting, wording

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def closed_room(stage: Stage, name: str) -> Talk:
    """Open a room in which only its admin may invite, with a chat accepted by Mei."""
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


async def test_the_host_relays_for_an_agent_who_cannot_be_invited(stage: Stage) -> None:
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

    # The admin permits invitations, and the next message is from the agent's ghost.
    levels = await talk.customer.state(talk.room, "m.room.power_levels")
    await set_state(talk.customer, talk.room, "m.room.power_levels", levels | {"invite": 0})
    await talk.desk("say", text="there you are")
    await talk.reads_exactly("there you are", MEI)
    await talk.desk("close")
    await talk.sees(membership(MEI, "leave"))


async def test_an_agents_words_wait_while_a_room_mutes_the_bridge(stage: Stage) -> None:
    talk = await closed_room(stage, "censor")
    await talk.reads("Connected: Mei", stage.bot)
    levels = await talk.customer.state(talk.room, "m.room.power_levels")
    muted = levels | {"events_default": 50}
    await set_state(talk.customer, talk.room, "m.room.power_levels", muted)
    await talk.desk("say", text="Can you read this?")
    note = "(This room takes no messages at the moment: the customer cannot see what you write.)"
    await talk.heard(note)
    await talk.say("Why does nobody answer?")
    await talk.heard("Why does nobody answer?")
    await talk.desk("say", text="And this?")
    await set_state(talk.customer, talk.room, "m.room.power_levels", levels)
    await talk.reads_exactly("Mei: And this?", stage.bot)
    relayed = [wording(event) for event in talk.messages(stage.bot)]
    assert relayed[-2:] == ["Mei: Can you read this?", "Mei: And this?"]
    await talk.desk("close")


async def suspend(administrator: Customer, who: str, *, suspended: bool) -> None:
    path = f"../../_synapse/admin/v1/suspend/{who}"
    await administrator.call("PUT", path, {"suspend": suspended})


async def test_what_a_suspended_user_of_ours_may_not_write_is_not_lost(stage: Stage) -> None:
    """A moderator of the homeserver suspends an agent's ghost, then the bot for a while."""
    await register(stage.synapse, stage.session, "police", password_of("police"), admin=True)
    police = await Customer.sign_in(stage.session, stage.synapse, "police")
    talk = await chatting(stage, "suspicious")
    await suspend(police, MEI, suspended=True)
    await talk.desk("say", text="am I heard?")
    await talk.reads_exactly("Mei: am I heard?", stage.bot)
    await suspend(police, MEI, suspended=False)
    await talk.desk("say", text="and now?")
    await talk.reads_exactly("and now?", MEI)

    await suspend(police, stage.bot, suspended=True)
    asked = await talk.say("!wc status")
    other = await Talk.open(stage, await stage.customer("unlucky"), "hello")
    refused = re.compile("room=([^ ]+) .*why=M_USER_SUSPENDED")
    both, log = {talk.room, other.room}, stage.bridge.log_file
    await talk.customer.wait_until(lambda: both <= {*refused.findall(log.read_text())})
    await suspend(police, stage.bot, suspended=False)
    await talk.reads_reply("Chatting with Mei", asked)
    await other.heard("hello")


async def test_who_waits_for_a_host_that_is_deactivated_leaves_the_queue(stage: Stage) -> None:
    """An administrator deactivates a queue's user, whom Synapse has leave its rooms by itself."""
    host = f"@webchat_queue_1:{stage.synapse.domain}"
    waiting = await Talk.open(stage, await stage.customer("patient"), "hello", host=host)
    await waiting.reads("you are number", host)
    await waiting.sees(lambda event: event.get("type") == "m.reaction")
    await register(stage.synapse, stage.session, "warden", password_of("warden"), admin=True)
    warden = await Customer.sign_in(stage.session, stage.synapse, "warden")
    await warden.call("POST", f"../../_synapse/admin/v1/deactivate/{host}", {"erase": False})
    await waiting.sees(membership(host, "leave"))
    await waiting.at_desk(lambda person: person.request is None and not person.linked)


async def test_the_host_relays_for_a_banned_agent(stage: Stage) -> None:
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


async def test_agents_joins_renames_and_leaves_are_shown_in_the_room(stage: Stage) -> None:
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
    await talk.reads_exactly("Jun Li handed you over to Mei.", stage.bot)
    await talk.sees(membership(JUN, "leave"))
    await talk.desk("close")
