"""What clients other than Element Web send, as an agent reads it, on a real Synapse."""

from __future__ import annotations

import hashlib
from urllib.parse import quote

import pytest

from tests.integration.test_content import picture
from tests.support.encrypted import Phones
from tests.support.matrix_user import Event
from tests.support.stage import Stage
from tests.support.talk import MEI, DeskMessage, Talk, chatting, uploads

pytestmark = pytest.mark.asyncio(loop_scope="module")

HTML = "org.matrix.custom.html"


def name_of(message: DeskMessage) -> str:
    assert isinstance(message.content, dict)
    return str(message.content.get("name") or message.content.get("poi") or message.text)


async def asked(talk: Talk) -> tuple[str, dict[str, object]]:
    """Let the agent ask something; return the fields of a FluffyChat reply to it, and its HTML."""
    await talk.desk("say", text="Which size?")
    event: Event = await talk.reads("Which size?", MEI)
    quoted = f"<mx-reply><blockquote>{MEI}<br>Which size?</blockquote></mx-reply>"
    return quoted, {"m.relates_to": {"m.in_reply_to": {"event_id": event["event_id"]}}}


async def test_replies_of_fluffychat(stage: Stage) -> None:
    """It still puts the quotation before the words, also before a file's name."""
    talk = await chatting(stage, "fluffy")
    quoted, reply = await asked(talk)
    body = f"> <{MEI}> Which size?\n\n"
    await talk.say(f"{body}M", format=HTML, formatted_body=f"{quoted}M", **reply)
    await talk.heard("In reply to “Which size?”:\nM")
    named = {"body": f"{body}M.png", "format": HTML, "formatted_body": f"{quoted}M.png"}
    where = await talk.customer.upload(picture(9, 9), "M.png", "image/png")
    await talk.send(msgtype="m.image", filename="M.png", **named, **where, **reply)
    person = await talk.at_desk(lambda one: one.texts[-1] == "In reply to “Which size?”:")
    assert name_of(person.messages[-2]) == "M.png"
    await talk.say("> 7411\n\nis not my order", **reply)
    await talk.heard("In reply to “Which size?”:\n> 7411\n\nis not my order")


@pytest.mark.parametrize("encrypted", [False, True])
async def test_files_of_other_clients(stage: Stage, phones: Phones, encrypted: bool) -> None:
    """Stickers that tell no type or are videos, and several pictures in one message (MSC4274)."""
    name = f"assorted-{encrypted}".lower()
    talk = (await phones.chatting(name))[0] if encrypted else await chatting(stage, name)
    data = picture(9, 9)
    where = [await talk.customer.upload(data, "x", "image/png") for _ in range(4)]
    sticker: dict[str, object] = {"body": "👋", "info": {}}
    await talk.customer.send(talk.room, sticker | where[0], "m.sticker")
    film: dict[str, object] = {"body": "👋", "info": {"mimetype": "video/webm"}}
    await talk.customer.send(talk.room, film | where[1], "m.sticker")
    pictures = [
        {"itemtype": "m.image", "body": f"{at}.png", "info": {"mimetype": "image/png"}, **one}
        for at, one in enumerate(where[2:])
    ]
    await talk.send(msgtype="dm.filament.gallery", body="my parcel", itemtypes=pictures)
    await talk.heard("my parcel")
    person = talk.person
    assert person is not None
    got = [(one.kind, name_of(one)) for one in person.messages[1:]]
    assert got == [
        ("image", "👋.png"),
        ("file", "👋.webm"),
        ("image", "0.png"),
        ("image", "1.png"),
        ("text", "my parcel"),
    ]
    digest, login = hashlib.sha256(data).hexdigest(), talk.login
    assert [one["sha256"] for one in uploads(stage) if one["login"] == login] == [digest] * 4


async def test_places_votes_and_links_of_bridges_and_clients(stage: Stage) -> None:
    talk = await chatting(stage, "bridged")
    shown = "Location: Café\nMain Street 1\nhttps://maps.example/?q=31.2,121.5"
    await talk.send(msgtype="m.location", body=shown, geo_uri="geo:31.2,121.5")
    assert name_of(await talk.got("location")) == "Location: Café Main Street 1"
    link = '<a href="http://www.shop.example/%E4%BB%B7">www.shop.example/价</a>'
    await talk.say("x", format=HTML, formatted_body=f"<p>see {link}</p><p>&nbsp;</p><p>thanks</p>")
    await talk.heard("see www.shop.example/价\n\nthanks")
    await talk.say("30*40*50 cm", format=HTML, formatted_body="30<em>40</em>50 cm")
    await talk.heard("30*40*50 cm")
    text, start = "org.matrix.msc1767.text", "org.matrix.msc3381.poll.start"
    answers = [{"id": "a5" * 32, text: "Red"}]
    poll: dict[str, object] = {start: {"question": {text: "Which?"}, "answers": answers}}
    await talk.customer.send(talk.room, poll, start)
    await talk.heard("Poll: Which?\n1. Red")
    started = await talk.sees(lambda event: event["type"] == start)
    await talk.customer.vote(talk.room, started, "a5" * 32)
    await talk.heard("(Vote in “Which?”: Red)")


async def test_a_conference_that_element_starts_once_an_agent_is_there(stage: Stage) -> None:
    talk = await chatting(stage, "caller")
    path = f"v3/rooms/{quote(talk.room, safe='')}/state/im.vector.modular.widgets/jitsi_1"
    await talk.customer.call("PUT", path, {"type": "jitsi", "url": "https://jitsi.example"})
    await talk.reads("Calls do not reach the call centre", stage.bot)
