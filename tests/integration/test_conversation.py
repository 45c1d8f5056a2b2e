"""A whole conversation on a real Synapse, in both directions, checked at both ends."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from tests.support.matrix_user import Json, content_of, membership
from tests.support.stage import Stage
from tests.support.talk import (
    JUN,
    MEI,
    Talk,
    announced,
    chatting,
    in_html,
    info_of,
    relation,
    wording,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

POLL = "org.matrix.msc3381.poll.start"
PDF = b"%PDF-1.4\n" + bytes(range(256)) * 300
MP4 = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(range(256)) * 100


def picture(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (30, 120, 200)).save(out, "PNG")
    return out.getvalue()


# --- before the chat ----------------------------------------------------------------------------


async def test_first_words_and_queue(stage: Stage) -> None:
    """Messages sent with the invitation arrive; the queue position is one edited message."""
    ahead = await Talk.open(stage, await stage.customer("ahead"), "I was here first")
    await ahead.queued()
    talk = await Talk.open(stage, await stage.customer("first"), "said before anyone joined")
    await talk.reads("number 2", stage.bot)
    await talk.say("!wc status")
    await talk.reads("Waiting for Sales, position 2")
    await ahead.say("!wc cancel")
    await talk.reads("number 1", stage.bot)
    await talk.say("order 4711 ✓")
    await talk.heard("order 4711 ✓")
    person = await talk.queued()
    assert person.texts == ["said before anyone joined", "order 4711 ✓"]
    assert {message.type for message in person.messages} == {111}
    assert person.name == "first"

    await talk.accept()
    await talk.reads("Connected: Mei", stage.bot)
    cards = [
        event
        for event in talk.messages(stage.bot)
        if wording(event).startswith(("⏳", "✅")) and content_of(event)["msgtype"] == "m.notice"
    ]
    first, *edits = cards
    assert relation(first) == {}
    assert len(edits) >= 2
    assert all(
        relation(edit) == {"rel_type": "m.replace", "event_id": first["event_id"]} for edit in edits
    )
    assert "cancel" not in wording(cards[-1])
    for card in cards:
        in_html(card)
    person = await talk.at_desk(lambda one: one.session is not None)
    assert person.texts == ["said before anyone joined", "order 4711 ✓"]


async def test_the_agent_has_name_and_picture(stage: Stage) -> None:
    talk = await chatting(stage, "portrait")
    member = await talk.sees(membership(MEI, "join"))
    content = content_of(member)
    assert content["displayname"] == "Mei"
    avatar = str(content["avatar_url"])
    assert (await talk.customer.download(avatar)).startswith(b"\x89PNG")
    await talk.desk("say", text="Good morning")
    await talk.reads("Good morning", MEI)


# --- texts --------------------------------------------------------------------------------------


async def test_texts_to_the_agent(stage: Stage) -> None:
    talk = await chatting(stage, "writer")
    await talk.say("plain 文字 😀 <b>not bold</b>")
    await talk.say("waves", msgtype="m.emote")
    await talk.say("for your information", msgtype="m.notice")
    await talk.say(
        "ignored body",
        format="org.matrix.custom.html",
        formatted_body="<p>One</p><ul><li>two</li><li><strong>three</strong></li></ul>",
    )
    await talk.say("first line\nsecond line")
    person = await talk.at_desk(lambda one: len(one.messages) == 6)
    assert person.texts[:4] == [
        "hello",
        "plain 文字 😀 <b>not bold</b>",
        "* waves",
        "for your information",
    ]
    formatted = person.texts[4]
    assert "<" not in formatted
    assert [word for word in ("One", "two", "three", "ignored") if word in formatted] == [
        "One",
        "two",
        "three",
    ]
    assert person.texts[5] == "first line\nsecond line"
    assert person.refused == []


async def test_texts_from_the_agent(stage: Stage) -> None:
    talk = await chatting(stage, "reader")
    await talk.desk("say", text="I am Mei")
    rings = content_of(await talk.reads("I am Mei", MEI))
    assert rings["m.mentions"] == {"user_ids": [talk.customer.user_id]}
    await talk.desk(
        "say",
        text='Hello /::) see <a href="https://example.org/faq">the FAQ</a><br>'
        '<script>alert(1)</script><img src="https://evil.example/pixel.png"><b>bye</b> 👋',
    )
    event = await talk.reads("the FAQ", MEI)
    content = content_of(event)
    assert content["msgtype"] == "m.text"
    assert content["body"] == "Hello 🙂 see the FAQ (https://example.org/faq)"
    html = str(content["formatted_body"])
    assert 'href="https://example.org/faq"' in html
    assert "<script" not in html
    assert content["m.mentions"] == {}
    link = content_of(await talk.reads("https://evil.example/pixel.png", MEI))
    assert "<img" not in str(link["formatted_body"])
    last = content_of(await talk.reads("bye 👋", MEI))
    assert last["formatted_body"] == "<b>bye</b> 👋"
    await talk.desk("say", text="1 < 2 &amp; so on")
    plain = await talk.reads("so on", MEI)
    assert wording(plain) == "1 < 2 & so on"
    assert "formatted_body" not in content_of(plain)


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["base64", "object"])
async def test_pictures_from_the_agent(stage: Stage, style: str) -> None:
    """Inside the frame, or as an address on the WebChat server."""
    talk = await chatting(stage, f"viewer-{style}")
    data = picture(96, 64)
    await talk.desk("image", name="label.png", data=base64.b64encode(data).decode(), style=style)
    event = await talk.sees(
        lambda one: one.get("sender") == MEI and content_of(one).get("msgtype") == "m.image"
    )
    assert info_of(event) == {"mimetype": "image/png", "size": len(data), "w": 96, "h": 64}
    assert await talk.customer.download(str(content_of(event)["url"])) == data


async def test_files_from_the_agent(stage: Stage) -> None:
    talk = await chatting(stage, "collector")
    await talk.desk("file", name="条款 terms.pdf", data=base64.b64encode(PDF).decode())
    event = await talk.sees(lambda one: content_of(one).get("msgtype") == "m.file")
    assert content_of(event)["body"] == "条款 terms.pdf"
    assert info_of(event) == {"mimetype": "application/pdf", "size": len(PDF)}
    assert await talk.customer.download(str(content_of(event)["url"])) == PDF


async def test_files_to_the_agent(stage: Stage) -> None:
    """Uploaded to WebChat byte for byte, then sent as image or file."""
    talk = await chatting(stage, "sender")
    image = picture(40, 30)
    for data, name, mime, msgtype, kind in (
        (image, "包裹 parcel.png", "image/png", "m.image", "image"),
        (PDF, "receipt.pdf", "application/pdf", "m.file", "file"),
        (MP4, "clip.mp4", "video/mp4", "m.video", "file"),
    ):
        await talk.customer.send_file(talk.room, data, name, mime, msgtype)
        message = await announced(talk, data)
        assert (message.kind, message.type) == (kind, 110)
        content = message.content
        assert isinstance(content, dict)
        if kind == "file":
            assert (content["name"], content["size"]) == (name, len(data))
    person = await talk.at_desk(lambda one: len(one.messages) == 4)
    assert [message.kind for message in person.messages] == ["text", "image", "file", "file"]


# --- agents and the end -------------------------------------------------------------------------


async def test_transfer(stage: Stage) -> None:
    """The new agent joins, the old one leaves, and each speaks as their ghost."""
    talk = await chatting(stage, "handed-over")
    await talk.desk("say", text="My colleague knows more")
    await talk.reads("My colleague knows more", MEI)
    await talk.desk("transfer", to="A00002")
    joined = await talk.sees(membership(JUN, "join"))
    assert content_of(joined)["displayname"] == "Jun"
    await talk.sees(membership(MEI, "leave"))
    await talk.reads("Mei handed you over to Jun", stage.bot)
    await talk.desk("say", text="Jun speaking")
    await talk.reads("Jun speaking", JUN)
    await talk.say("hi Jun")
    await talk.heard("hi Jun")


async def test_end_rating_and_a_new_chat(stage: Stage) -> None:
    talk = await chatting(stage, "regular")
    await talk.desk("close")
    await talk.reads("The agent has ended the chat", stage.bot)
    await talk.sees(membership(MEI, "leave"))
    await talk.say("rate 5 thanks a lot")
    await talk.reads("Thank you for your rating: Very satisfied. You may change it", stage.bot)
    person = await talk.at_desk(lambda one: bool(one.ratings))
    assert [(one.rating, one.comments) for one in person.ratings] == [(5, "thanks a lot")]

    await talk.say("one more thing")
    await talk.queued()
    await talk.desk("accept", agent="A00002")
    await talk.sees(membership(JUN, "join"))
    person = await talk.at_desk(lambda one: one.texts == ["hello", "one more thing"])
    assert person.logins == 1  # the link's token serves the next chat too
    await talk.desk("say", text="welcome back")
    await talk.reads("welcome back", JUN)
    cards = [event for event in talk.messages(stage.bot) if wording(event).startswith(("⏳", "✅"))]
    assert sum(relation(event) == {} for event in cards) == 2  # one card a chat


async def test_a_second_chat_uses_a_new_link(stage: Stage) -> None:
    """A link is closed ten seconds after its chat; pushes on the next link are not duplicates."""
    talk = await chatting(stage, "patient")
    await talk.desk("say", text="a word of the first chat")
    await talk.reads("a word of the first chat", MEI)
    await talk.desk("close")
    await talk.reads("The agent has ended the chat", stage.bot)
    await talk.at_desk(lambda one: not one.linked)
    await talk.say("one more thing")
    await talk.queued()
    await talk.accept()
    await talk.desk("say", text="a word of the second chat")
    await talk.reads("a word of the second chat", MEI)


async def test_a_rating_by_poll_is_changed_by_reaction(stage: Stage) -> None:
    talk = await chatting(stage, "voter")
    await talk.desk("close")
    sentence = await talk.reads("5 — Very satisfied", stage.bot)
    poll = await talk.sees(lambda event: event["type"] == "org.matrix.msc3381.poll.start")
    vote: Json = {
        "m.relates_to": {"rel_type": "m.reference", "event_id": poll["event_id"]},
        "org.matrix.msc3381.poll.response": {"answers": ["4"]},
    }
    await talk.customer.send(talk.room, vote, "org.matrix.msc3381.poll.response")
    await talk.reads("Thank you for your rating: Satisfied.", stage.bot)
    await talk.at_desk(lambda one: [given.rating for given in one.ratings] == [4])
    await talk.customer.vote(talk.room, poll, "2")
    await talk.reads("Thank you for your rating: Dissatisfied. Anything to add", stage.bot)
    await talk.at_desk(lambda one: [given.rating for given in one.ratings] == [4, 2])
    annotation: Json = {
        "m.relates_to": {
            "rel_type": "m.annotation",
            "event_id": sentence["event_id"],
            "key": "1️⃣",
        }
    }
    await talk.customer.send(talk.room, annotation, "m.reaction")
    await talk.at_desk(lambda one: [given.rating for given in one.ratings] == [4, 2, 1])
    await talk.reads("Thank you for your rating: Very dissatisfied.", stage.bot)
    await talk.say("nobody read what I wrote")
    person = await talk.at_desk(lambda one: len(one.ratings) == 4)
    assert (person.ratings[-1].rating, person.ratings[-1].comments) == (
        1,
        "nobody read what I wrote",
    )
    assert person.request is None, "it calls nobody"
    assert "org.matrix.msc3381.poll.end" not in [one["type"] for one in await talk.history()]


async def test_a_plain_chat_shows_at_most_five_messages_of_the_bot(stage: Stage) -> None:
    """Polls count, edits do not; the only membership events are the agent's."""
    talk = await Talk.open(stage, await stage.customer("plain"), "where is my parcel?")
    await talk.reads("number 1", stage.bot)
    await talk.accept()
    for question, answer in (("hello?", "it is on its way"), ("when?", "tomorrow")):
        await talk.say(question)
        await talk.heard(question)
        await talk.desk("say", text=answer)
        await talk.reads(answer, MEI)
    await talk.desk("close")
    poll = await talk.sees(lambda event: event["type"] == POLL)
    await talk.customer.vote(talk.room, poll, "5")
    await talk.reads("Thank you for your rating: Very satisfied.", stage.bot)
    events = (await talk.history())[::-1]
    ours = [
        wording(event)
        for event in events
        if event["sender"] == stage.bot
        and event["type"] in {"m.room.message", POLL}
        and relation(event).get("rel_type") != "m.replace"
    ]
    starts = ["⏳ Asking Sales", "⏹ The agent has ended", "How was this chat?", "Thank you"]
    assert [text[: len(start)] for text, start in zip(ours, starts, strict=True)] == starts
    moves = [event for event in events if event["type"] == "m.room.member"]
    members = [(event["state_key"], content_of(event)["membership"]) for event in moves]
    assert content_of(moves[-1])["displayname"] == "Mei", "Element X takes her name from here"
    assert members[-3:] == [(MEI, "invite"), (MEI, "join"), (MEI, "leave")]
    assert [who for who, _ in members].count(MEI) == 3
    assert [who for who, _ in members].count(stage.bot) == 2, "invited, and there"


async def test_a_reaction_of_one_star_is_answered_with_a_question(stage: Stage) -> None:
    """A single star, all that an emoji picker offers, does not count as the worst rating."""
    talk = await chatting(stage, "stargazer")
    await talk.desk("close")
    sentence = await talk.reads("5 — Very satisfied", stage.bot)
    assert "⭐" not in wording(sentence)
    about = {"rel_type": "m.annotation", "event_id": sentence["event_id"]}
    await talk.customer.send(talk.room, {"m.relates_to": about | {"key": "⭐"}}, "m.reaction")
    await talk.reads_reply("Which rating do you mean?", str(sentence["event_id"]))
    await talk.customer.send(talk.room, {"m.relates_to": about | {"key": "4️⃣"}}, "m.reaction")
    await talk.reads("Thank you for your rating: Satisfied.", stage.bot)
    person = await talk.at_desk(lambda one: bool(one.ratings))
    assert [one.rating for one in person.ratings] == [4]


async def test_a_rating_that_does_not_exist_calls_no_agent(stage: Stage) -> None:
    talk = await chatting(stage, "generous")
    await talk.desk("close")
    await talk.reads("5 — Very satisfied", stage.bot)
    for words in ("rate 7 thanks", "!wc rate 7", "7 thanks"):
        order = await talk.say(words)
        await talk.reads_reply("There is no rating 7.", order)
    await talk.say("rate 4 thanks")
    await talk.reads("Thank you for your rating: Satisfied.", stage.bot)
    person = await talk.at_desk(lambda one: bool(one.ratings))
    assert (person.request, person.texts) == (None, ["hello"])
