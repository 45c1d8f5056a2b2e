"""Element's crypto engine in its strictest setting shows no shield on the bridge's messages.

The client gives keys only to cross-signed devices and shows only messages from such (MSC4153,
"exclude insecure devices").
"""

from __future__ import annotations

import pytest

from tests.support.encrypted import keys_of
from tests.support.matrix_user import content_of, membership
from tests.support.operator import operate, succeeds
from tests.support.stage import Stage
from tests.support.strict import CLEAN, StrictClient, strict_client
from tests.support.talk import JUN, MEI, Talk

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_strict_client_and_the_bridge_read_each_other(stage: Stage) -> None:
    async with strict_client(stage, "strict") as client:
        opened = await client.do("open", host=stage.bot, text="only signed devices, please")
        room = str(opened["room"])
        talk = Talk(stage, client.customer, room)
        await talk.heard("only signed devices, please")
        await talk.queued()
        await talk.desk("accept", agent="A00001")
        seen = await client.do("see", room=room, text="Mei is here", sender=stage.bot)
        assert seen == CLEAN
        counted = await client.do("count", room=room)
        people = sorted([stage.bot, client.customer.user_id])
        assert counted == {"all": 3, "people": people, "name": "WebChat"}, "no direct chat any more"
        await talk.desk("say", text="from Mei's own device")
        assert await client.do("see", room=room, text="from Mei's own", sender=MEI) == CLEAN
        await client.do("say", room=room, text="understood")
        await talk.heard("understood")

        await stage.bridge.kill()
        await client.do("say", room=room, text="said to a dead bridge")
        await stage.bridge.start()
        await talk.heard("said to a dead bridge")
        await talk.desk("transfer", to="A00002")
        await talk.sees(membership(JUN, "join"))
        # The engine tries no message again that came before it knew the sender's device.
        await client.do("devices", user=JUN, unlike=[])
        await talk.desk("say", text="from Jun's own device")
        assert await client.do("see", room=room, text="from Jun's own", sender=JUN) == CLEAN


async def test_the_bridge_requests_a_room_key_that_got_lost(stage: Stage) -> None:
    """The to-device message with it is lost at the homeserver; Element sends it again on request.

    It does so only for a device that it had given the key to before.
    """
    async with strict_client(stage, "asked") as client:
        (device,) = (await keys_of(client.customer, [stage.bot]))[stage.bot].devices
        await stage.bridge.stop()
        opened = await client.do("open", host=stage.bot, text="the key to this gets lost")
        reply = await letter(stage, device)
        assert "to_device" not in await mailbox(stage, device, str(reply["next_batch"]))
        await stage.bridge.start()
        talk = Talk(stage, client.customer, str(opened["room"]))
        await talk.heard("the key to this gets lost")
        log = stage.bridge.log_file.read_text(encoding="utf-8")
        assert "requesting a room key" in log


@pytest.mark.parametrize("stay", [True, False])
async def test_a_customer_who_was_erased_writes_again(stage: Stage, *, stay: bool) -> None:
    """The bridge has forgotten the sessions with her device, which goes on with them."""
    async with strict_client(stage, f"erased{stay}".lower()) as client:
        room = str((await client.do("open", host=stage.bot, text="before"))["room"])
        talk = Talk(stage, client.customer, room)
        await served(client, talk, "before", "from Mei")
        words = ("--force", "--stay") if stay else ("--force",)
        await succeeds(stage, "erase", client.customer.user_id, "--yes", *words)
        if stay:
            await client.do("say", room=room, text="afterwards")
        else:
            room = str((await client.do("open", host=stage.bot, text="afterwards"))["room"])
            talk = Talk(stage, client.customer, room)
        await served(client, talk, "afterwards", "Mei again")
        # What was encrypted with an erased key, no transcript could read.
        assert len(await sessions_of(talk)) == 1 + stay


async def served(client: StrictClient, talk: Talk, words: str, answer: str) -> None:
    """Have Mei accept the customer who wrote, and answer without a shield."""
    await talk.heard(words)
    await talk.accept()
    await talk.desk("say", text=answer)
    assert await client.do("see", room=talk.room, text=answer, sender=MEI) == CLEAN


async def sessions_of(talk: Talk) -> set[str]:
    """Return the Megolm sessions of Mei's messages."""
    return {
        str(content_of(event)["session_id"])
        for event in await talk.history()
        if event["type"] == "m.room.encrypted" and event["sender"] == MEI
    }


async def letter(stage: Stage, device: str) -> dict[str, object]:
    """Wait for to-device messages to the bot's device; returns the sync response."""
    for _ in range(60):
        reply = await mailbox(stage, device)
        if "to_device" in reply:
            return reply
    raise AssertionError("no letter came")


async def mailbox(stage: Stage, device: str, since: str = "") -> dict[str, object]:
    """Return a sync response of the bot's device."""
    query = {"device_id": device, "timeout": "500"} | ({"since": since} if since else {})
    return await operate(stage, "GET", "sync", stage.bot, query=query)
