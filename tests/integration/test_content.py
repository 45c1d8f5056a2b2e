"""Every kind of content beyond plain texts and files, both ways, on a real Synapse."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable
from urllib.parse import quote

import pytest
from PIL import Image

from tests.support.matrix_user import Event, content_of
from tests.support.sounds import codec_of, seconds_of, tone
from tests.support.stage import Stage
from tests.support.talk import MEI, DeskMessage, Talk, chatting, info_of, relation

pytestmark = pytest.mark.asyncio(loop_scope="module")


def picture(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (30, 120, 200)).save(out, "PNG")
    return out.getvalue()


def of_kind(msgtype: str) -> Callable[[Event], bool]:
    """Match a message of the agent Mei by its type."""
    return lambda event: event.get("sender") == MEI and content_of(event).get("msgtype") == msgtype


def content(message: DeskMessage) -> dict[str, object]:
    assert isinstance(message.content, dict)
    return message.content


# --- voice --------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["base64", "object", "address"])
async def test_a_voice_message_from_the_agent_can_be_played(stage: Stage, style: str) -> None:
    talk = await chatting(stage, f"listener-{style}")
    amr = tone(4, "amr")
    await talk.desk("voice", data=base64.b64encode(amr).decode(), seconds=4, style=style)
    event = await talk.sees(of_kind("m.audio"))
    shown = content_of(event)
    assert shown["org.matrix.msc3245.voice"] == {}
    about = shown["org.matrix.msc1767.audio"]
    assert isinstance(about, dict)
    assert about["duration"] == info_of(event)["duration"] == pytest.approx(4_000, rel=0.05)
    assert len(about["waveform"]) == 60
    opus = await talk.customer.download(str(shown["url"]))
    assert codec_of(opus) == "opus"
    assert seconds_of(opus) == pytest.approx(4, rel=0.05)


async def test_voice_messages_to_the_agent(stage: Stage) -> None:
    """A short one goes as AMR inside the frame, a long one as a file."""
    talk = await chatting(stage, "speaker")
    short, long = tone(5), tone(30)
    for data in (short, long):
        voice: dict[str, object] = {"org.matrix.msc3245.voice": {}}
        await talk.customer.send_file(
            talk.room, data, "Voice message.ogg", "audio/ogg", "m.audio", **voice
        )
    heard = content(await talk.got("voice"))
    assert heard["voiceLength"] == 5
    amr = base64.b64decode(str(heard["voiceData"]))
    assert codec_of(amr) == "amrnb"
    assert seconds_of(amr) == pytest.approx(5, rel=0.05)
    file = content(await talk.got("file"))
    assert (file["name"], file["size"]) == ("Voice message.ogg", len(long))


# --- recalled messages of an agent --------------------------------------------------------------


async def test_a_message_that_an_agent_takes_back(stage: Stage) -> None:
    """Redacted if the server gave its number, else reported in a sentence; never raw data."""
    talk = await chatting(stage, "regretted")
    session = (await talk.at_desk(lambda one: one.session is not None)).session

    def pushed(number: int, **msg: object) -> dict[str, object]:
        told = {"sessionId": session, "agentId": "A00001", "messageId": number, "msg": msg}
        return {"type": 210, **told}

    await talk.desk("push", frame=pushed(41, type=1, content="the price is 12"))
    said = await talk.reads("the price is 12", MEI)
    for number in (41, 42):
        recall = pushed(50, type=99, noticeType=6, content={"messageId": number})
        await talk.desk("push", frame=recall)
    await talk.reads("The agent took back a message")
    kept = {one["event_id"]: one["content"] for one in await talk.history()}
    assert kept[said["event_id"]] == {}
    assert not [line for line in talk.shown() if "messageId" in line]

    await talk.desk("push", frame=pushed(43, type=1, content="the price is 21"))
    said = await talk.reads("the price is 21", MEI)
    await stage.bridge.stop()
    await stage.bridge.start()
    await talk.say("so what is the price?")
    await talk.heard("so what is the price?")
    await talk.desk("push", frame=pushed(50, type=99, noticeType=6, content={"messageId": 43}))
    taken = await talk.sees(lambda event: event.get("redacts") == said["event_id"])
    assert "reason" not in content_of(taken), "a password is another matter"


# --- places -------------------------------------------------------------------------------------


async def test_locations_both_ways(stage: Stage) -> None:
    """The desk uses Baidu's coordinates, Matrix those of GPS."""
    talk = await chatting(stage, "traveller")
    await talk.desk("location", latitude=39.916465, longitude=116.410113, poi="Tiananmen")
    shown = content_of(await talk.sees(of_kind("m.location")))
    assert shown["geo_uri"] == "geo:39.908722,116.397496"
    assert str(shown["body"]).startswith("📍 Tiananmen\nhttps://uri.amap.com/marker?position=")

    await talk.send(msgtype="m.location", body="here", geo_uri="geo:39.908722,116.397496")
    place = content(await talk.got("location"))
    assert (place["latitude"], place["longitude"]) == (39.916465, 116.410113)
    assert (place["poi"], place["map"]) == ("here", "baidu")


# --- pictures inside texts ----------------------------------------------------------------------


async def test_pictures_inside_a_text(stage: Stage) -> None:
    """Their order is kept; a picture from a foreign server becomes a link."""
    talk = await chatting(stage, "window-shopper")
    data = picture(40, 30)
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    html = f'first <img src="{source}"> second <img src="https://evil.example/p.png" alt="p"> third'
    await talk.desk("say", text=html)
    await talk.reads("third", MEI)
    spoken = [content_of(event) for event in talk.messages(MEI)]
    assert [one["msgtype"] for one in spoken] == ["m.text", "m.image", "m.text", "m.text", "m.text"]
    assert [one["body"] for one in spoken if one["msgtype"] == "m.text"] == [
        "first",
        "second",
        "🖼 p (https://evil.example/p.png)",
        "third",
    ]
    got = await talk.customer.download(str(spoken[1]["url"]))
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
    last = str(talk.messages(MEI)[-1]["event_id"])
    await talk.say("that one", **{"m.relates_to": {"m.in_reply_to": {"event_id": last}}})
    await talk.heard("In reply to “third”:\nthat one")


# --- messages about messages --------------------------------------------------------------------


async def test_replies_corrections_reactions_and_taking_back(stage: Stage) -> None:
    talk = await chatting(stage, "second-thoughts")
    await talk.desk("say", text="Which <b>size</b> do you need?")
    asked = str((await talk.reads("Which size", MEI))["event_id"])
    answer = await talk.say("L", **{"m.relates_to": {"m.in_reply_to": {"event_id": asked}}})
    await talk.heard("In reply to “Which size do you need?”:\nL")
    await talk.say(
        "* M",
        **{
            "m.new_content": {"msgtype": "m.text", "body": "M"},
            "m.relates_to": {"rel_type": "m.replace", "event_id": answer},
        },
    )
    await talk.heard("Correction: M")
    reacted = {"rel_type": "m.annotation", "event_id": asked, "key": "👍"}
    await talk.customer.send(talk.room, {"m.relates_to": reacted}, "m.reaction")
    await talk.heard("👍 (in reaction to “Which size do you need?”)")
    number = await talk.say("my number is 12345")
    await talk.heard("my number is 12345")
    await take_back(talk, number)
    person = await talk.at_desk(lambda one: "(took back a message from " in one.texts[-1])
    assert len(person.texts) == len(set(person.texts)) == 6
    assert "12345" not in person.texts[-1]


async def take_back(talk: Talk, event_id: str) -> None:
    """Redact a message."""
    room, event = quote(talk.room, safe=""), quote(event_id, safe="")
    await talk.customer.call("PUT", f"v3/rooms/{room}/redact/{event}/back-{event}", {})


async def test_a_message_taken_back_before_a_refusal_is_not_sent_again(stage: Stage) -> None:
    """The next agent sees neither the message, nor its redaction, nor the text before an edit."""
    secret = "My card number is 9999-8888"
    talk = await Talk.open(stage, await stage.customer("thinks-again"), "hello")
    await talk.heard("hello")
    card = await talk.say(secret)
    await talk.heard(secret)
    await talk.say("is it safe?", **{"m.relates_to": {"m.in_reply_to": {"event_id": card}}})
    await talk.heard(f"In reply to “{secret}”:\nis it safe?")
    typo = await talk.say("My first versoin")
    await talk.heard("My first versoin")
    replaced = {"rel_type": "m.replace", "event_id": typo}
    new = {"msgtype": "m.text", "body": "My first version, corrected"}
    await talk.say("* …", **{"m.new_content": new, "m.relates_to": replaced})
    await talk.heard("Correction: My first version, corrected")
    await take_back(talk, card)
    before = await talk.at_desk(lambda one: "(took back a message" in one.texts[-1])
    await talk.desk("refuse")
    await talk.reads("I have kept your 3 messages.")
    await talk.say("are you there?")
    await talk.accept()
    expected = ["hello", "is it safe?", "My first version, corrected", "are you there?"]
    person = await talk.at_desk(lambda one: "are you there?" in one.texts)
    assert person.texts[len(before.texts) :] == expected


async def test_a_message_taken_back_while_the_call_centre_is_away_is_not_sent(stage: Stage) -> None:
    """The agent gets the message after it, and no word of the redaction."""
    talk = await chatting(stage, "second-thought")
    await stage.simulator.do({"op": "restart", "seconds": 4})
    secret = await talk.say("my PIN is 1234")
    await talk.say("and hello")
    await take_back(talk, secret)
    await talk.heard("and hello")
    person = talk.person
    assert person is not None
    assert [one for one in person.texts if one != "hello"] == ["and hello"]


async def test_answers_stay_in_the_thread(stage: Stage) -> None:
    talk = await chatting(stage, "threader")
    root = await talk.say("about my order")
    thread = {"rel_type": "m.thread", "event_id": root}
    inside = await talk.say("it has not come", **{"m.relates_to": thread})
    await talk.heard("In reply to “about my order”:\nit has not come")
    await talk.desk("say", text="I am looking")
    event = await talk.reads("I am looking", MEI)
    assert relation(event) == {
        "rel_type": "m.thread",
        "event_id": root,
        "is_falling_back": True,
        "m.in_reply_to": {"event_id": inside},
    }
    order = await talk.say("!wc status", **{"m.relates_to": thread})
    told = await talk.reads_reply("Chatting with Mei", order)
    assert relation(told)["event_id"] == root
    await talk.say("and here again")
    await talk.heard("and here again")
    await talk.desk("say", text="yes, here")
    assert relation(await talk.reads("yes, here", MEI)) == {}


async def test_polls_and_calls(stage: Stage) -> None:
    talk = await chatting(stage, "decider")
    text = "org.matrix.msc1767.text"
    poll = {"question": {text: "Which?"}, "answers": [{"id": "1", text: "Red"}]}
    await talk.customer.send(
        talk.room, {"org.matrix.msc3381.poll.start": poll}, "org.matrix.msc3381.poll.start"
    )
    await talk.heard("Poll: Which?\n1. Red")
    started = await talk.sees(lambda event: "poll.start" in str(event["type"]))
    await talk.customer.vote(talk.room, started, "1")
    await talk.heard("(Vote in “Which?”: Red)")
    call = await talk.customer.send(talk.room, {"call_id": "c", "version": "1"}, "m.call.invite")
    told = await talk.reads("Calls do not reach the call centre", stage.bot)
    assert relation(told) == {}, f"Element shows no reply to a call ({call})"
    rejected = await talk.sees(lambda event: event.get("type") == "m.call.reject")
    assert (rejected["sender"], content_of(rejected)["call_id"]) == (stage.bot, "c")
    ring: dict[str, object] = {"notify_type": "ring", "notification_type": "ring"}
    for name in ("call.notify", "rtc.notification"):  # as matrix-js-sdk sends for one call
        call = await talk.customer.send(talk.room, ring, f"org.matrix.msc4075.{name}")
    declined = "org.matrix.msc4310.rtc.decline"
    await talk.sees(lambda event: event["type"] == declined and relation(event)["event_id"] == call)
    asked = await talk.send(
        msgtype="m.key.verification.request", body="verify?", to=stage.bot, methods=["m.sas.v1"]
    )
    await talk.reads_reply("cannot compare emoji", asked)
    assert sum("Calls do not reach" in text for text in talk.shown()) == 1
    cancelled = await talk.sees(lambda event: event.get("type") == "m.key.verification.cancel")
    assert relation(cancelled) == {"rel_type": "m.reference", "event_id": asked}
    assert (cancelled["sender"], content_of(cancelled)["code"]) == (stage.bot, "m.user")
