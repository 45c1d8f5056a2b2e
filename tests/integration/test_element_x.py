"""Element X with its own engine and settings: whole encrypted chats, and what surrounds them."""

from __future__ import annotations

import base64
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import set_state
from tests.support.element_x import element_x
from tests.support.matrix_user import membership
from tests.support.operator import succeeds
from tests.support.sounds import png, tone
from tests.support.stage import Stage
from tests.support.strict import StrictClient
from tests.support.talk import JUN, MEI, Talk, announced

pytestmark = pytest.mark.asyncio(loop_scope="module")

Item = dict[str, Any]
_ROOM = {"state", "member"}
"""Kinds of items about the room, which nobody encrypts."""
BAD = {"unable_to_decrypt", "unsupported", "failed_to_parse_message_like", "failed_to_parse_state"}
MEIS = "https://matrix.to/#/%40webchat__a00001%3Alocalhost"


class Screen:
    """A room on the phone's screen."""

    def __init__(self, app: StrictClient, room: str) -> None:
        self.app, self.room = app, room

    async def do(self, op: str, **fields: object) -> Item:
        return await self.app.do(op, room=self.room, **fields)

    async def see(self, part: str = "", **fields: object) -> Item:
        """Wait for an item with this text; it has to be without a shield."""
        item: Item = (await self.do("see", part=part, **fields))["item"]
        assert item["shield"] == "", item
        return item

    async def say(self, text: str, **fields: object) -> Item:
        """Send a text as the composer does; return it as it is shown once it is sent."""
        await self.do("say", text=text, markdown="html" not in fields, **fields)
        return await self.see(text, own=True, sent="", local=False)

    async def check(self) -> list[Item]:
        """Assert that all on the screen can be read and stands there once; return it."""
        items: list[Item] = (await self.do("items"))["items"]
        assert not [item for item in items if item["kind"] in BAD]
        assert max(Counter(item["event"] for item in items).values()) == 1
        said = [item for item in items if item["kind"] not in _ROOM]
        assert not [item for item in said if item["shield"]]
        assert await self.app.do("undecrypted") == {"events": []}
        return said


async def opened(stage: Stage, app: StrictClient) -> tuple[Talk, Screen]:
    """Open a direct chat with the bot; return it once an agent may accept."""
    room = str((await app.do("create_dm", host=stage.bot))["room"])
    screen = Screen(app, room)
    await screen.say("hello")
    talk = Talk(stage, app.customer, room)
    await talk.heard("hello")
    await talk.queued()
    return talk, screen


async def test_a_whole_chat(stage: Stage) -> None:
    async with element_x(stage, "exa") as app:
        talk, screen = await opened(stage, app)
        card = await screen.see(sender=stage.bot, kind="notice")
        await talk.desk("accept", agent="A00001")
        await talk.desk("say", text="Mei is here")
        first = await screen.see("Mei is here", sender=MEI, mentions=[talk.customer.user_id])
        assert (await screen.see("Connected: Mei", edited=True))["event"] == card["event"]
        await from_the_customer(talk, screen, first, stage.folder)
        await from_the_agent(talk, screen)

        await app.do("background")
        await talk.desk("transfer", to="A00002")
        await talk.desk("say", text="Jun is here")
        told = await talk.sees(lambda e: (e["sender"], e["type"]) == (JUN, "m.room.encrypted"))
        pushed = await screen.do("notification", event=told["event_id"])
        assert (pushed["sender"], pushed["raw"]["content"]["body"]) == ("Jun", "Jun is here")
        await app.do("foreground")
        await screen.see("Jun is here", sender=JUN)

        await talk.desk("push_rating")
        poll = await screen.see(kind="poll", sender=stage.bot)
        await screen.do("vote", event=poll["event"], answers=["4"])
        person = await talk.at_desk(lambda one: bool(one.ratings))
        assert [one.rating for one in person.ratings] == [4]
        await screen.see(kind="poll", votes={**poll["votes"], "4": [talk.customer.user_id]})
        await talk.desk("close")
        await screen.see("The agent has ended the chat", kind="notice")
        await screen.check()
        room = await screen.do("room", part="⏹ The agent has ended the chat.")
        assert (room["is_dm"], room["display_name"]) == (True, "WebChat")


async def test_who_was_erased_and_writes_again_is_told_to_send_it_again(stage: Stage) -> None:
    """The app answers no request for a key; it sends the key anew, in the new olm session of the
    bridge, with its next message.
    """
    async with element_x(stage, "exerased") as app:
        talk, _ = await opened(stage, app)
        await succeeds(stage, "erase", talk.customer.user_id, "--yes", "--force")
        room = str((await app.do("create_dm", host=stage.bot))["room"])
        talk, screen = Talk(stage, app.customer, room), Screen(app, room)
        await screen.say("here again")
        await screen.see("you may also send it again", sender=stage.bot)
        await screen.say("once more")
        await talk.heard("once more")
        await talk.accept()
        await talk.desk("say", text="welcome back")
        await screen.see("welcome back", sender=MEI)


async def from_the_customer(talk: Talk, screen: Screen, first: Item, folder: Path) -> None:
    """Send what the app can send; the desk has to get all of it."""
    await screen.say("some **bold** text")
    html = f'Hi <a href="{MEIS}">@Mei</a><ul><li>one</li></ul>'
    await screen.say("Hi @Mei", html=html, mentions=[MEI])
    reply = await screen.say("a reply", reply=first["event"])
    assert reply["quoted"] == "Mei is here"
    wrong = await screen.say("a mistake")
    await screen.do("edit", event=wrong["event"], text="no mistake")
    await screen.see("no mistake", event=wrong["event"], edited=True)
    regretted = await screen.say("regretted")
    await talk.heard("regretted")
    await screen.do("redact", event=regretted["event"])
    await screen.do("ask", question="Which?", answers=["Red", "Blue"])
    await screen.do("place", geo="geo:31.2,121.5", text="The quay", own=False)
    files = {"red.png": png(8), "blue.png": png(9), "voice.ogg": tone(1)}
    paths = {name: folder / name for name in files}
    for name, data in files.items():
        paths[name].write_bytes(data)
    attached = {"path": str(paths["red.png"]), "mime": "image/png", "caption": "a caption"}
    await screen.do("attach", kind="image", **attached)
    await screen.do("gallery", paths=[str(paths["blue.png"])], mime="image/png", caption="more")
    await screen.do("attach", kind="voice", path=str(paths["voice.ogg"]), mime="audio/ogg")
    await screen.say("that is all")
    await talk.heard("that is all")
    person = talk.person
    assert person is not None
    texts = [text for text in person.texts if text and not text.startswith("(took back")]
    assert texts == [
        *("hello", "some bold text", "Hi @Mei\n- one", "In reply to “Mei is here”:\na reply"),
        *("a mistake", "Correction: no mistake", "regretted", "Poll: Which?\n1. Red\n2. Blue"),
        *("a caption", "more", "that is all"),
    ]
    kinds = [one.kind for one in person.messages if one.kind != "text"]
    assert kinds == ["location", "image", "image", "voice"]
    assert any(text.startswith("(took back") for text in person.texts)
    await announced(talk, files["red.png"])
    await announced(talk, files["blue.png"])


async def from_the_agent(talk: Talk, screen: Screen) -> None:
    """Send what an agent can send; the app has to show it as what it is."""
    await talk.desk("typing")
    await screen.do("typing_seen", user=MEI)
    await talk.desk("say", text='see <a href="https://example.org/">our <b>page</b></a>')
    page = await screen.see("see our page (https://example.org/)", sender=MEI)
    assert page["html"] == 'see <a href="https://example.org/">our <b>page</b></a>'
    picture = png(10)
    await talk.desk("image", data=base64.b64encode(picture).decode())
    shown = await screen.see(kind="image", sender=MEI, width=10, height=10)
    path = talk.stage.folder / "fetched"
    await screen.app.do("fetch", source=shown["source"], path=str(path))
    assert path.read_bytes() == picture
    await talk.desk("voice")
    await talk.desk("file", name="report.txt", text="up")
    await talk.desk("location", latitude=39.911865, longitude=116.420046, poi="The Square")
    await screen.see(kind="voice", sender=MEI, seconds=2.0)
    await screen.see(kind="file", sender=MEI, filename="report.txt")
    await screen.see(kind="location", sender=MEI, description="The Square")
    await screen.do("react", event=page["event"], key="👍")
    await talk.at_desk(lambda person: any(text.startswith("👍") for text in person.texts))


async def test_insecure_devices_excluded(stage: Stage) -> None:
    """The lab setting: neither keys for unsigned devices nor messages from them."""
    async with element_x(stage, "exs", strict=True) as app:
        talk, screen = await opened(stage, app)
        await talk.desk("accept", agent="A00001")
        await talk.desk("say", text="Mei is here")
        await screen.see("Mei is here", sender=MEI)
        question = await screen.say("for Mei")
        await talk.heard("for Mei")
        await talk.customer.wait_until(
            lambda: talk.customer.receipts.get((talk.room, MEI)) == question["event"]
        )
        await screen.see(event=question["event"], reader=MEI)
        await screen.check()
    await talk.customer.sync()
    before = talk.customer.events(talk.room)
    await talk.desk("say", text="said to a phone that is off")
    await talk.sees(lambda event: event["sender"] == MEI and event not in before)
    await stage.bridge.kill()
    await stage.bridge.start()
    async with element_x(stage, "exs", new=False, strict=True) as app:
        screen = Screen(app, talk.room)
        await screen.see("said to a phone that is off", sender=MEI)
        await screen.say("I am back")
        await talk.heard("I am back")
        await screen.check()


# --- what surrounds a chat: the list of rooms, pushes, a new phone, a friend ----------------------


async def see(app: StrictClient, talk: Talk, part: str, **fields: object) -> Item:
    """Wait until the room's screen shows an item with this text."""
    shown: Item = await app.do("see", room=talk.room, part=part, **fields)
    item: Item = shown["item"]
    return item


async def test_the_list_of_rooms_and_pushes(stage: Stage) -> None:
    """A direct chat stays one, with one name; the queue card is silent, the agent is not."""
    async with element_x(stage, "rooms") as app:
        talk, _ = await opened(stage, app)
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
        named: Item = {"display_name": "WebChat", "is_dm": True, "joined_members_count": 3}
        unread: Item = {"num_unread_notifications": 2, "num_unread_mentions": 1}
        there: Item = await app.do("room", room=talk.room, part="one moment", **named, **unread)
        latest: Item = {"sender": MEI, "text": "one moment"}
        assert latest.items() <= there["latest"].items()


async def test_agents_who_have_left_keep_their_names(stage: Stage) -> None:
    """On a phone that was asleep during the chat, and on a new one, which has the key backup."""
    async with element_x(stage, "asleep") as app:
        talk, _ = await opened(stage, app)
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
        talk, _ = await opened(stage, app)
        shown: Item = {"history_visibility": "shared"}
        await set_state(talk.customer, talk.room, "m.room.history_visibility", shown)
        await app.do("know_shared_history", room=talk.room)  # before it makes a key
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


# --- "Message" on an agent's profile --------------------------------------------------------------


async def test_a_message_to_an_agents_own_account(stage: Stage) -> None:
    """The app shows no reason of a declined invitation: the agent's account says where to write."""
    async with element_x(stage, "dmx") as app:
        talk, _ = await opened(stage, app)
        await talk.accept()
        await talk.desk("close")
        own = Screen(app, str((await app.do("create_dm", host=MEI))["room"]))
        link = f"https://matrix.to/#/{talk.room}?via=localhost"
        told = await own.see(f"Please write to us here:\n{link}", sender=MEI)
        await see(app, Talk(stage, app.customer, own.room), "", user=MEI, change="left")
        await own.say("are you still there?")
        push = await own.do("notification", event=told["event"])
        assert (push["sender"], push["noisy"]) == ("Mei", True)
        await own.check()
