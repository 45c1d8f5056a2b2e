"""Several people and a program in one room: one chat, with the sender's name before each text."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bridge.matrix.ghosts import SERVICE_MEMBERS
from tests.support.client import room_call
from tests.support.matrix_user import content_of
from tests.support.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.talk import MEI, Talk, into

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    section = bridge_section(
        permissions={"localhost": "customer", "@robot*": "ignore"}, tell_agents={"members": True}
    )
    options = StageOptions(simulator=UNLIMITED, config={"bridge": section})
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


async def test_several_people_in_a_room_share_one_chat(stage: Stage) -> None:
    ada, bob = await stage.customer("ada"), await stage.customer("bob")
    robot = await stage.customer("robot1")
    room = await ada.call("POST", "v3/createRoom", {"preset": "private_chat"})
    talk = Talk(stage, ada, str(room["room_id"]))
    await into(talk, bob)
    await room_call(ada, "invite", talk.room, {"user_id": stage.bot})
    await talk.reads("Hello! This room reaches the agents", stage.bot)
    await bob.say(talk.room, "our parcel is late")
    await talk.accept()
    await talk.desk("say", text="good morning")
    said = await talk.reads("good morning", MEI)
    # The one who invited the bot, and the one who wrote.
    assert content_of(said)["m.mentions"] == {"user_ids": [ada.user_id, bob.user_id]}

    assert not [e for e in await talk.history() if e["type"] == SERVICE_MEMBERS], "for two only"

    read = await bob.say(talk.room, "it is order 4711")
    await talk.heard("bob: it is order 4711")
    await ada.wait_until(lambda: ada.receipts.get((talk.room, MEI)) == read)

    # A program's messages do not go to the agent: m.notice, or ignored by the operator.
    await bob.send(talk.room, {"msgtype": "m.notice", "body": "build 7 failed"})
    await into(talk, robot)
    await robot.say(talk.room, "beep")
    await bob.say(talk.room, "hello?")
    await talk.heard("bob: hello?")

    carol = await stage.customer("carol")
    await into(talk, carol)
    await talk.heard("(carol has come into the room)")
    await room_call(carol, "leave", talk.room)
    await talk.heard("(carol has left the room)")

    person = talk.person
    assert person is not None
    assert person.logins == 1
    assert person.texts == [
        "bob: our parcel is late",
        "bob: it is order 4711",
        "bob: hello?",
        "(carol has come into the room)",
        "(carol has left the room)",
    ]
    assert not any("robot1" in line for line in talk.shown() if line.startswith(stage.bot))
    await room_call(bob, "leave", talk.room)
    await talk.heard("(bob has left the room)")
    await talk.say("I am still here")
    await talk.heard("ada: I am still here")
