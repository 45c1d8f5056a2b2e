"""What surrounds a chat in Element X: the list of rooms, pushes, a new phone, a friend."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.client import set_state
from tests.support.element_x import element_x
from tests.support.matrix_user import membership
from tests.support.stage import Stage
from tests.support.strict import StrictClient
from tests.support.talk import JUN, MEI, Talk

pytestmark = pytest.mark.asyncio(loop_scope="module")

Item = dict[str, Any]


async def asked(stage: Stage, app: StrictClient, text: str = "hello") -> Talk:
    """Open a direct chat with the bot, and ask for an agent."""
    room = str((await app.do("create_dm", host=stage.bot))["room"])
    await app.do("say", room=room, text=text)
    talk = Talk(stage, app.customer, room)
    await talk.heard(text)
    await talk.queued()
    return talk


async def see(app: StrictClient, talk: Talk, part: str, **fields: object) -> Item:
    """Wait until the room's screen shows an item with this text."""
    shown: Item = await app.do("see", room=talk.room, part=part, **fields)
    item: Item = shown["item"]
    return item


async def test_the_list_of_rooms_and_pushes(stage: Stage) -> None:
    """A direct chat stays one, with one name; the queue card is silent, the agent is not."""
    async with element_x(stage, "rooms") as app:
        talk = await asked(stage, app)
        card = await see(app, talk, "number 1", sender=stage.bot, edited=True)
        await app.do("background")
        await talk.desk("accept", agent="A00001")
        await talk.sees(membership(MEI, "join"))
        said: dict[object, str] = {}
        for text in ("I am Mei", "one moment"):
            await talk.desk("say", text=text)
            event = await talk.sees(
                lambda e: (
                    (e["sender"], e["type"]) == (MEI, "m.room.encrypted")
                    and e["event_id"] not in said
                )
            )
            said[event["event_id"]] = text
        for (event_id, text), rings in zip(said.items(), (True, False), strict=True):
            push: Item = await app.do("notification", room=talk.room, event=event_id)
            shown: Item = {"status": "event", "sender": "Mei", "room": "WebChat"}
            assert push["raw"]["content"]["body"] == text
            assert (shown | {"noisy": rings, "mention": rings}).items() <= push.items()
        silent = await app.do("notification", room=talk.room, event=card["event"])
        assert silent == {"status": "event_filtered_out"}

        await app.do("foreground")
        await see(app, talk, "one moment", name="Mei")
        there: Item = await app.do("room", room=talk.room)
        latest: Item = {"sender": MEI, "text": "one moment"}
        assert latest.items() <= there["latest"].items()
        named: Item = {"display_name": "WebChat", "is_dm": True, "joined_members_count": 3}
        unread: Item = {"num_unread_notifications": 2, "num_unread_mentions": 1}
        assert (named | unread).items() <= there.items()


async def test_agents_who_have_left_keep_their_names(stage: Stage) -> None:
    """On a phone that was asleep during the chat, and on a new one, which has the key backup."""
    async with element_x(stage, "asleep") as app:
        talk = await asked(stage, app)
        key = (await app.do("set_up_recovery"))["key"]
        await app.do("background")
        await talk.desk("accept", agent="A00002")
        await talk.sees(membership(JUN, "join"))
        await talk.desk("say", text="written to a sleeping phone")
        await talk.desk("close")
        await talk.sees(membership(JUN, "leave"))
        await app.do("foreground")
        await see(app, talk, "sleeping phone", sender=JUN, name="Jun")
        async with element_x(stage, "asleep", new=False, device="2") as new:
            await new.do("recover", key=key)
            await see(new, talk, "sleeping phone", sender=JUN, name="Jun")


async def test_a_friend_who_is_invited_reads_what_the_agent_wrote(stage: Stage) -> None:
    """If the room shows its history, Element X passes on the keys that their senders have marked.

    So do rooms of Element Web; Element X itself makes rooms that do not.
    """
    async with element_x(stage, "host") as app, element_x(stage, "friend") as friend:
        talk = await asked(stage, app)
        shown: Item = {"history_visibility": "shared"}
        await set_state(talk.customer, talk.room, "m.room.history_visibility", shown)
        await talk.accept()
        await app.do("say", room=talk.room, text="said before the friend came")
        await talk.heard("said before the friend came")
        await talk.desk("say", text="answered before the friend came")
        await see(app, talk, "answered before", name="Mei")
        await app.do("invite", room=talk.room, user=friend.customer.user_id)
        await friend.do("join", room=talk.room)
        await talk.desk("say", text="answered to both")
        await see(friend, talk, "answered to both", sender=MEI)
        await friend.do("older", room=talk.room)
        await see(friend, talk, "said before")
        await see(friend, talk, "answered before", sender=MEI, name="Mei")
