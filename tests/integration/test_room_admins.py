"""Room admins in a real room: choice of a queue, undo, audit, statistics, operators' orders."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from PIL import Image

from tests.support.client import room_call, set_state
from tests.support.matrix_user import content_of
from tests.support.operator import succeeds, typed
from tests.support.replicas import Replicas, three
from tests.support.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.talk import Talk, reply_to, upgraded, wording

__all__ = ["three"]

SETTINGS = "org.matrix_webchat.room"
POLL = "org.matrix.msc3381.poll.start"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    section = bridge_section(encryption={"allow": False})
    options = StageOptions(simulator=UNLIMITED, config={"bridge": section})
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


async def shows(talk: Talk, settings: dict[str, object]) -> None:
    """Wait until the room's state event has these settings."""

    def newest() -> object:
        told = [one for one in talk.customer.events(talk.room) if one.get("type") == SETTINGS]
        return content_of(told[-1]) if told else None

    await talk.customer.wait_until(lambda: newest() == settings)


@pytest.mark.asyncio(loop_scope="module")
async def test_commands_polls_state_events_and_orders_change_the_same_settings(
    stage: Stage,
) -> None:
    talk = await Talk.open(stage, await stage.customer("governor"))  # all have power level 100
    await talk.reads("Sales will answer here", stage.bot)
    await talk.say("!wc lang en")
    await talk.reads("The language is now English", stage.bot)
    await talk.say("!wc queue")
    poll = await talk.sees(lambda event: event.get("type") == POLL)
    await talk.customer.vote(talk.room, poll, "2")
    told = await talk.reads("The queue is now Service", stage.bot)
    assert reply_to(told) is None, "Element quotes a vote as an event that cannot be displayed"
    await shows(talk, {"queue": 2, "language": "en"})

    content: dict[str, object] = {"queue": 1, "language": "en", "hours": "daily 08:00-20:00 UTC"}
    await set_state(talk.customer, talk.room, SETTINGS, content)
    told = await talk.reads("Settings changed: queue Sales", stage.bot)
    assert "hours: daily 08:00-20:00 UTC" in wording(told)
    assert reply_to(told) is None, "and a state event of an unknown type"
    await talk.say("!wc undo")
    await talk.reads("The last change is undone. Settings: queue Service", stage.bot)
    await shows(talk, {"queue": 2, "language": "en"})

    code, refused = await typed(stage, "order", talk.room, "queue", "set", "99")
    assert (code, "There is no queue “99”" in refused) == (1, True), refused
    assert "Stored" in await succeeds(stage, "order", talk.room, "queue", "set", "sales")
    said = wording(await talk.reads("The queue is now Sales", stage.bot))
    assert said.endswith("— operator, from outside this room (command line)")

    await talk.say("!wc audit")
    lines = wording(await talk.reads("Who changed what here", stage.bot)).splitlines()[1:]
    who = talk.customer.user_id
    assert [line.split(" · ", 1)[1] for line in lines] == [
        "operator · command line · queue: Service → Sales",
        f"{who} · command · hours: daily 08:00-20:00 UTC → –; queue: Sales → Service",
        f"{who} · state event · hours: – → daily 08:00-20:00 UTC; queue: Service → Sales",
        f"{who} · command · queue: – → Service",
        f"{who} · command · language: – → en",
    ]
    printed = await succeeds(stage, "changes", talk.room)
    assert len(printed.splitlines()) == 1 + 7, "a line for each key"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_members_tap_asks_for_an_agent(stage: Stage) -> None:
    owner, member = await stage.customer("landlord"), await stage.customer("tenant")
    room = await owner.create_dm(
        stage.bot, preset="private_chat", is_direct=False, invite=[stage.bot, member.user_id]
    )
    await room_call(member, "join", room)
    theirs = Talk(stage, member, room)
    await theirs.reads("This room reaches the agents of Sales", stage.bot)
    await theirs.say("!wc queue")
    poll = await theirs.sees(lambda event: event.get("type") == POLL)
    await member.vote(room, poll, "2")
    await theirs.reads("Waiting for Service", stage.bot)
    assert (await theirs.queued()).request is not None
    refused = await theirs.say("!wc undo")
    await theirs.reads_reply("Only a room admin may do this. Please ask", refused)
    await theirs.say("!wc help all")
    assert "!wc undo" not in wording(await theirs.reads("The commands:", stage.bot))
    await theirs.say("!wc cancel")
    await theirs.at_desk(lambda one: one.request is None)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_stats_command_counts_a_chat(stage: Stage) -> None:
    talk = await Talk.open(stage, await stage.customer("counter"), "hello")
    await talk.heard("hello")
    await talk.accept()
    await talk.say("!wc close")
    await talk.at_desk(lambda one: one.session is None)
    await talk.say("!wc rate 5")
    await talk.reads("Thank you for your rating", stage.bot)
    await talk.say("!wc stats 2d")
    told = wording(await talk.reads("📊 The last 2 days:\nchats 1: with an agent 1", stage.bot))
    assert "ratings: 5 — Very satisfied × 1" in told
    picture = await talk.sees(lambda event: content_of(event).get("msgtype") == "m.image")
    content = content_of(picture)
    assert content["body"] == "(chats a day: dark, with an agent; light, without)"
    assert content["filename"] == "stats.png"
    image = Image.open(io.BytesIO(await talk.customer.read_file(picture)))
    info = content["info"]
    assert isinstance(info, dict)
    assert (image.format, image.size) == ("PNG", (info["w"], info["h"]))


@pytest.mark.asyncio(loop_scope="module")
async def test_a_rooms_own_text_is_kept_in_the_upgraded_room(stage: Stage) -> None:
    talk = await Talk.open(stage, await stage.customer("mover"))
    await talk.reads("Sales will answer here", stage.bot)
    await talk.say("!wc config set text.ended Until next time from {queue}!")
    await talk.reads("text.ended: Until next time", stage.bot)
    there = await upgraded(talk)
    await room_call(there.customer, "invite", there.room, {"user_id": stage.bot})
    await there.say("hello again")
    await there.heard("hello again")
    await there.accept()
    await there.desk("close")
    await there.reads("Until next time from Sales!", stage.bot)


@pytest.mark.asyncio
async def test_the_owner_of_a_room_carries_out_an_order_stored_by_another_process(
    three: Replicas,
) -> None:
    talk = await Talk.open(three.stage, await three.stage.customer("shared"))
    await talk.reads("will answer here", three.stage.bot)
    await succeeds(three.stage, "order", talk.room, "start")
    await talk.reads("Waiting for", three.stage.bot)
    assert (await talk.queued()).request is not None
    assert " start " in await succeeds(three.stage, "changes", talk.room)
