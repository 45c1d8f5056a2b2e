"""Encrypted rooms on a real Synapse, with customers that use matrix-nio.

Both ways and for every kind of content, across a kill of the bridge, with the bridge away while the
customer writes, with a second device, beside unencrypted rooms.
"""

from __future__ import annotations

import asyncio
import base64
import io
from functools import partial

import pytest
from PIL import Image

from tests.support.client import room_call, set_state
from tests.support.encrypted import Phones, both_ways, key_material
from tests.support.matrix_user import PATIENCE, Customer, Event, content_of, membership
from tests.support.operator import operate
from tests.support.stage import Stage
from tests.support.talk import (
    MEI,
    Talk,
    announced,
    chatting,
    in_html,
    info_of,
    into,
    upgraded,
    wording,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILE = bytes(range(256)) * 12_000


def picture(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (30, 120, 200)).save(out, "PNG")
    return out.getvalue()


def is_from(sender: str, msgtype: str, event: Event) -> bool:
    return event.get("sender") == sender and content_of(event).get("msgtype") == msgtype


async def test_a_conversation_in_an_encrypted_room(stage: Stage, phones: Phones) -> None:
    """From the first message, which is sent with the invitation as by Element."""
    talk, phone = await phones.talk("enc1", "secret words before anyone joined")
    await talk.heard("secret words before anyone joined")
    in_html(await talk.reads("Waiting for", stage.bot))
    await talk.accept()
    in_html(await talk.reads("Connected: Mei", stage.bot))
    await talk.desk("say", text="I can <b>read</b> you")
    heard = await talk.reads("I can read you", MEI)
    assert "<b>read</b>" in str(content_of(heard)["formatted_body"])
    asked = await talk.say("And I you ✓")
    await talk.heard("And I you ✓")
    await talk.customer.send(
        talk.room,
        {
            "msgtype": "m.text",
            "body": "yes",
            "m.relates_to": {"m.in_reply_to": {"event_id": asked}},
        },
    )
    await talk.at_desk(lambda one: any(text.endswith("yes") for text in one.texts))
    await talk.say("!wc status")
    await talk.reads("Chatting", stage.bot)

    assert phone.unreadable(talk.room) == []
    in_clear = [e for e in await talk.history() if e["type"] == "m.room.message"]
    assert in_clear == []


async def test_messages_are_encrypted_in_the_database(stage: Stage, phones: Phones) -> None:
    """Waiting, sent and received texts: in the ledger, the room's record and the journal."""
    talk, _ = await phones.talk("enc0", "zebra that waits")
    await talk.heard("zebra that waits")
    await talk.say("yak that is held")
    await talk.heard("yak that is held")
    await talk.accept()
    await talk.say("xerus for the agent")
    await talk.heard("xerus for the agent")
    await talk.desk("say", text="walrus for you")
    await talk.reads("walrus for you", MEI)
    lies = b"".join((stage.folder / f"bridge.db{end}").read_bytes() for end in ("", "-wal"))
    assert talk.room.encode() in lies
    for word in ("zebra", "yak that", "xerus", "walrus"):
        assert word.encode() not in lies, word


async def test_files_both_ways(stage: Stage, phones: Phones) -> None:
    """Byte for byte, and unreadable to the homeserver."""
    talk, phone = await phones.chatting("enc2")
    image = picture(90, 60)
    await phone.send_file(talk.room, image, "parcel.png", "image/png", "m.image")
    assert (await announced(talk, image)).kind == "image"
    await phone.send_file(talk.room, FILE, "order.bin", "application/x-order")
    assert (await announced(talk, FILE)).kind == "file"

    for op, name, data in (("image", "label.png", image), ("file", "answer.bin", FILE)):
        await talk.desk(op, name=name, data=base64.b64encode(data).decode())
        kind = f"m.{op}"
        shown = await talk.sees(partial(is_from, MEI, kind))
        assert "url" not in content_of(shown)
        assert info_of(shown)["size"] == len(data)
        assert await phone.read_file(shown) == data
        file = content_of(shown)["file"]
        assert isinstance(file, dict)
        assert data not in await phone.download(file["url"])


async def test_a_kill_loses_nothing_and_doubles_nothing(stage: Stage, phones: Phones) -> None:
    talk, phone = await phones.chatting("enc3")
    await talk.desk("say", text="before")
    await talk.reads("before", MEI)
    await stage.bridge.kill()
    for number in range(5):
        await talk.say(f"while it is dead {number}")
    await stage.bridge.start()
    await talk.heard("while it is dead 4")
    await talk.say("and after")
    person = await talk.at_desk(lambda one: "and after" in one.texts)
    wanted = [f"while it is dead {number}" for number in range(5)]
    assert [text for text in person.texts if text in {*wanted, "and after"}] == [
        *wanted,
        "and after",
    ]
    await talk.desk("say", text="still me")
    await talk.reads("still me", MEI)
    assert phone.unreadable(talk.room) == []


async def test_keys_sent_while_the_bridge_is_away(stage: Stage, phones: Phones) -> None:
    """A new room: invitation, key and first messages all come before the bridge is up."""
    phone = await phones.of("enc4")
    await stage.bridge.kill()
    talk = await Talk.open(stage, phone, "said to nobody")
    await talk.say("and again")
    await stage.bridge.start()
    await talk.heard("said to nobody")
    await talk.heard("and again")


async def test_a_second_device_reads_and_writes(stage: Stage, phones: Phones) -> None:
    talk, first = await phones.chatting("enc5")
    await talk.desk("say", text="for one device")
    await talk.reads("for one device", MEI)
    second = await phones.of("enc5", new=False)
    other = Talk(stage, second, talk.room)
    await first.sync()  # its client must learn of the device as well
    await talk.desk("say", text="for two devices")
    await talk.reads("for two devices", MEI)
    await other.reads("for two devices", MEI)
    assert [e["sender"] for e in second.unreadable(talk.room)].count(MEI) <= 1
    await other.say("from the second")
    await talk.heard("from the second")


async def test_a_customer_logs_in_again_with_a_new_device(stage: Stage, phones: Phones) -> None:
    """The customer logs out and in again: new keys, old sessions gone."""
    talk, old = await phones.chatting("enc6")
    await talk.desk("say", text="one")
    await talk.reads("one", MEI)
    await old.call("POST", "v3/logout")
    anew = Talk(stage, await phones.of("enc6", new=False), talk.room)
    await talk.desk("say", text="two")
    await anew.reads("two", MEI)
    await anew.say("three")
    await anew.heard("three")


async def test_a_customer_without_a_device_reads_everything_after_the_next_login(
    stage: Stage, phones: Phones
) -> None:
    """What an agent said overnight, who has left since and writes nothing more.

    The bridge has been killed since, too, and before the login programs log in as the customer.
    """
    talk, phone = await phones.chatting("enc6b")
    await both_ways(talk, "before the night")
    await stage.bridge.stop()
    await phone.call("POST", "v3/logout")
    await stage.bridge.start()
    said = ["the first overnight", "the second overnight"]
    for text in said:
        await talk.desk("say", text=text)
    await talk.desk("close")
    there = f"rooms/{talk.room}/state/m.room.member/{MEI}"
    async with asyncio.timeout(PATIENCE):
        while (await operate(stage, "GET", there, stage.bot))["membership"] != "leave":  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
    await stage.bridge.kill()
    await stage.bridge.start()
    for _ in range(6):
        await Customer.sign_in(stage.session, stage.synapse, "enc6b")
    again = Talk(stage, await phones.of("enc6b", new=False), talk.room)
    for text in said:
        await again.reads(text, MEI)


async def test_new_members_read_only_later_messages_and_former_members_none(
    stage: Stage, phones: Phones
) -> None:
    talk, phone = await phones.chatting("enc7")
    await talk.desk("say", text="before your friend came")
    early = await talk.reads("before your friend came", MEI)
    friend = await phones.of("enc7friend")
    await room_call(phone, "invite", talk.room, {"user_id": friend.user_id})
    await friend.join(talk.room)
    await phone.wait_for(talk.room, membership(friend.user_id, "join"))
    theirs = Talk(stage, friend, talk.room)
    await talk.desk("say", text="for both of you")
    before = await theirs.reads("for both of you", MEI)
    assert early["event_id"] in [event["event_id"] for event in friend.unreadable(talk.room)]
    await room_call(friend, "leave", talk.room)
    await phone.wait_for(talk.room, membership(friend.user_id, "leave"))
    await talk.say("now we are alone")
    await talk.heard("now we are alone")  # a direct chat again: no name is shown
    await talk.desk("say", text="only for you")
    event = await talk.reads("only for you", MEI)
    sessions = {
        str(content_of(e)["session_id"]): e["event_id"]
        for e in await talk.history()
        if e["type"] == "m.room.encrypted" and e["sender"] == MEI
    }
    # The first event of each session: one began before the friend came, one after they left.
    assert set(sessions.values()) == {early["event_id"], event["event_id"]}
    assert before["event_id"] not in sessions.values()


@pytest.mark.parametrize("preset", ["trusted_private_chat", "private_chat"])
async def test_a_chat_goes_on_in_the_upgraded_room(
    stage: Stage, phones: Phones, preset: str
) -> None:
    """The new room is encrypted from the start; `preset`: whether the bot may write in the old one.

    No bridge user is left in the old room to redact a recalled message.
    """
    phone = await phones.of(preset.replace("_", "-"))
    talk = await Talk.open(stage, phone, "hello", preset=preset)
    await talk.heard("hello")
    await talk.accept()
    await both_ways(talk, "the first room")
    slip = await talk.desk("say", text="a slip")
    await talk.reads("a slip", MEI)
    there = await upgraded(talk)
    await talk.say("still here")
    await talk.heard("still here")
    await talk.desk("say", text="in between")
    for user in (MEI, stage.bot):
        await room_call(phone, "invite", there.room, {"user_id": user})
    await there.say("are you there?")
    await there.heard("are you there?")
    await there.reads("Connected: Mei", stage.bot)
    if preset == "private_chat":
        await there.reads("in between", MEI)
    else:
        await talk.reads("in between", stage.bot)
    await both_ways(there, "the second room")
    await talk.sees(membership(stage.bot, "leave"))
    await talk.desk("recall", message=slip["n"])
    await there.reads("The agent took back a message", stage.bot)
    await stage.bridge.kill()
    await stage.bridge.start()
    await both_ways(there, "us after all")
    for room in (talk, there):
        assert phone.unreadable(room.room) == []
        assert [e for e in await room.history() if e["type"] == "m.room.message"] == []


async def test_clear_rooms_beside_encrypted_ones_and_a_room_that_turns_encrypted(
    stage: Stage, phones: Phones
) -> None:
    clear = await chatting(stage, "clear1")
    talk, _ = await phones.chatting("enc8")
    await clear.desk("say", text="in the open")
    await talk.desk("say", text="in secret")
    await clear.reads("in the open", MEI)
    await talk.reads("in secret", MEI)

    phone = await phones.of("enc9")
    later = await Talk.open(stage, phone, "not secret yet", initial_state=[])
    await later.heard("not secret yet")
    await later.accept()
    await later.desk("say", text="nor am I")
    await later.reads("nor am I", MEI)
    await set_state(phone, later.room, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
    await phone.wait_for(later.room, lambda event: event["type"] == "m.room.encryption")
    await later.say("secret now")
    await later.heard("secret now")
    await later.desk("say", text="and so am I")
    answer = await later.reads("and so am I", MEI)
    kinds = {e["event_id"]: e["type"] for e in await later.history()}
    assert kinds[answer["event_id"]] == "m.room.encrypted"
    assert phone.unreadable(later.room) == []


async def test_a_room_with_an_unknown_encryption_is_left_with_the_reason(stage: Stage) -> None:
    customer = await stage.customer("other-encryption")
    encryption = {"type": "m.room.encryption", "content": {"algorithm": "m.mls"}}
    options = {"invite": [stage.bot], "is_direct": True, "initial_state": [encryption]}
    made = await customer.call("POST", "v3/createRoom", options)
    left = await Talk(stage, customer, str(made["room_id"])).sees(membership(stage.bot, "leave"))
    assert "encrypted in a way that I cannot read" in str(content_of(left)["reason"])


async def test_a_key_that_comes_late(stage: Stage, phones: Phones) -> None:
    """The message is held, then reported, and delivered when its key comes after all."""
    talk, phone = await phones.chatting("enc10")
    held = phone.hold_keys()
    event = await talk.say("sealed for now")
    await talk.reads_reply("The key to this message has not arrived", event)
    assert "sealed for now" not in (await talk.at_desk(lambda _: True)).texts
    await stage.bridge.kill()
    await stage.bridge.start()
    await held.release()
    await talk.heard("sealed for now")
    await talk.say("and then this")
    person = await talk.at_desk(lambda one: "and then this" in one.texts)
    assert person.texts.count("sealed for now") == 1


async def test_a_key_that_comes_after_a_correction_and_after_the_chat(
    stage: Stage, phones: Phones
) -> None:
    """The agent gets no former wording, and no chat begins anew; the customer can send it again."""
    talk, phone = await phones.chatting("enc10b")
    held = phone.hold_keys()
    slip = await talk.say("pay a thousand")
    last = await talk.say("one more thing")
    await talk.reads_reply("The key to this message has not arrived", last)
    held.spare_later()
    replaced = {"rel_type": "m.replace", "event_id": slip}
    new = {"msgtype": "m.text", "body": "pay a hundred"}
    await talk.send(**new, **{"m.new_content": new, "m.relates_to": replaced})
    await talk.heard("pay a hundred")
    await talk.say("!wc close")
    await talk.reads("You have ended the chat", stage.bot)
    await held.release()
    await talk.reads_reply("The chat had ended before", last)
    person = await talk.at_desk(lambda _: True)
    assert (person.texts, person.request) == (["hello", "pay a hundred"], None)
    await talk.say("!wc retry")
    await talk.queued()
    await talk.accept()
    await talk.heard("one more thing")


async def test_a_key_that_is_withheld(stage: Stage, phones: Phones) -> None:
    """The sender's client says that it gives no key: the message is answered with that reason."""
    talk, phone = await phones.chatting("enc11")
    held = phone.hold_keys()
    event = await talk.say("not for you")
    await held.refuse("m.unverified", stage.bot)
    reply = await talk.reads_reply("only to verified devices", event)
    assert "write it again" in wording(reply)
    assert "🔁" not in wording(reply)  # the key does not come afterwards


async def test_an_encrypted_chat_with_a_queue_user(stage: Stage, phones: Phones) -> None:
    host = f"@webchat_queue_2:{stage.synapse.domain}"
    talk = await Talk.open(stage, await phones.of("enc12"), "to service please", host=host)
    await talk.heard("to service please")
    await talk.accept()
    await talk.desk("say", text="service here")
    await talk.reads("service here", MEI)


async def test_keys_are_encrypted_in_the_database_and_not_logged(
    stage: Stage, phones: Phones
) -> None:
    """Every bridge user has one cross-signed device; no secret key is stored or logged in clear."""
    _, phone = await phones.chatting("enc13")
    users = [stage.bot, MEI, f"@webchat_queue_1:{stage.synapse.domain}"]
    reply = await phone.call("POST", "v3/keys/query", {"device_keys": {user: [] for user in users}})
    for user in users:
        devices, master = reply["device_keys"][user], reply["master_keys"][user]  # type: ignore[index]  # the homeserver's
        (device,) = devices.values()
        assert len(device["signatures"][user]) == 2
        assert master["usage"] == ["master"]
    log = stage.bridge.log_file.read_text()
    for word in ("secret words", "sealed for now", "pickle", "demo-as-token"):
        assert word not in log
    assert "Traceback" not in log
    written = b"".join(file.read_bytes() for file in stage.folder.glob("bridge.db*"))
    assert f"own/{stage.bot}".encode() in written
    material = await key_material(f"sqlite:///{stage.folder}/bridge.db", "demo-as-token")
    assert len(material) > 100
    assert [form for form in material if form in written or form in log.encode()] == []


async def test_somebody_who_came_later_gets_no_transcript(stage: Stage, phones: Phones) -> None:
    """They have no keys of the chat; its transcript, which the bridge can read, holds the words."""
    talk, _ = await phones.chatting("encann")
    bob = await phones.of("encbob")
    await into(talk, bob)
    later = Talk(stage, bob, talk.room)
    await later.say("!wc transcript 1")
    await later.reads("began before you came into this room", stage.bot)
    files = [one for one in await later.history() if content_of(one).get("msgtype") == "m.file"]
    assert files == []
