"""Rooms beyond the plain direct one: queues, permissions, commands, settings, upgrades."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.client import room_call, set_state
from tests.support.matrix_user import PATIENCE, content_of, membership
from tests.support.stage import Stage, StageOptions
from tests.support.staging import PATIENT_LIMITS, UNLIMITED, bridge_section, staged
from tests.support.talk import MEI, Talk, annotates, chatting, relation, upgraded, wording

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE = "@webchat_queue_2:localhost"
SETTINGS = "org.matrix_webchat.room"
FILE_LIMIT = 100_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    bridge = bridge_section(
        permissions={"localhost": "customer", "@mallory:localhost": "none"},
        limits=PATIENT_LIMITS | {"file": FILE_LIMIT},
        encryption={"allow": False},
    )
    options = StageOptions(simulator=UNLIMITED, config={"bridge": bridge})
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


# --- invitations --------------------------------------------------------------------------------


async def test_a_direct_room_with_a_queue_user(stage: Stage) -> None:
    """A queue's user is found by its name, and a room with it uses that queue."""
    customer = await stage.customer("searcher")
    results: object = []
    async with asyncio.timeout(PATIENCE):  # Synapse fills its directory in the background
        while not results:
            query: dict[str, object] = {"search_term": "Service", "limit": 10}
            results = (await customer.call("POST", "v3/user_directory/search", query))["results"]
    assert isinstance(results, list)
    assert {"user_id": SERVICE, "display_name": "Service"}.items() <= results[0].items()

    talk = await Talk.open(stage, customer, "straight to service", host=SERVICE)
    await talk.reads("Waiting for Service: you are number 1", SERVICE)
    person = await talk.queued()
    assert person.request is not None
    assert person.request.queue_id == 2
    await talk.accept()
    await talk.heard("straight to service")
    await talk.desk("say", text="service here")
    await talk.reads("service here", MEI)


async def test_85_two_rooms_of_one_person(stage: Stage) -> None:
    """The second room points to the first; a customer who insists has two independent chats.

    Clients create a second direct room if "start chat" does not find the first.
    """
    customer = await stage.customer("twofold")
    one = await Talk.open(stage, customer, "about my bill")
    await one.say("!wc lang ja")
    await one.queued()
    other = await Talk.open(stage, customer, "about my parcel")
    told = await other.reads(
        "別のルームでご案内中のため、このメッセージは担当者に届いていません", stage.bot
    )
    assert f"https://matrix.to/#/{one.room}?via=" in wording(told)
    assert len(other.messages(stage.bot)) == 1
    assert other.person is None
    await other.customer.react(other.room, str(told["event_id"]), "🔁")
    await other.queued()
    await other.heard("about my parcel")
    assert one.login != other.login
    await one.accept()
    await other.accept()
    await one.say("bill 1")
    await other.say("parcel 1")
    await one.heard("bill 1")
    await other.heard("parcel 1")
    await one.desk("say", text="your bill is fine")
    await other.desk("say", text="your parcel is lost")
    await one.reads("your bill is fine", MEI)
    await other.reads("your parcel is lost", MEI)
    for talk, words in ((one, "bill"), (other, "parcel")):
        person = talk.person
        assert person is not None
        assert person.linked
        assert all(words in text for text in person.texts)
    await one.desk("close")
    await one.reads("担当者がチャットを終了しました", stage.bot)
    asked = await one.say("bill 3")
    told = await one.reads_reply("別のルームでご案内中のため", asked)
    assert f"https://matrix.to/#/{other.room}?via=" in wording(told)


async def test_a_person_without_permission(stage: Stage) -> None:
    """The refusal says why, and the bot leaves."""
    talk = await Talk.open(stage, await stage.customer("mallory"), "let me in")
    await talk.reads("@mallory:localhost may not use this service", stage.bot)
    left = await talk.sees(membership(stage.bot, "leave"))
    content = left["content"]
    assert isinstance(content, dict)
    assert "@mallory:localhost may not use this service" in str(content.get("reason"))
    log = stage.bridge.log_file.read_text(encoding="utf-8")
    refused = [line for line in log.splitlines() if "invitation refused" in line]
    assert len(refused) == 1
    assert all(
        word in refused[0] for word in (talk.room, "@mallory:localhost", "bridge.permissions")
    )
    assert talk.person is None


async def test_an_encrypted_room_while_encryption_is_switched_off(stage: Stage) -> None:
    """The bot says so, and publishes no device keys to encrypt for."""
    customer = await stage.customer("cautious")
    encryption = {
        "type": "m.room.encryption",
        "state_key": "",
        "content": {"algorithm": "m.megolm.v1.aes-sha2"},
    }
    talk = await Talk.open(stage, customer, initial_state=[encryption])
    await talk.reads("This room is encrypted, and encryption is switched off here", stage.bot)
    secret = await customer.send(
        talk.room,
        {
            "algorithm": "m.megolm.v1.aes-sha2",
            "ciphertext": "AwgAEnACgAkLmt6qF84IK",
            "session_id": "X3lUlvLELLYxeTx4yOVu6UDpasGEVO0Jbu+QFnm0cKQ",
        },
        "m.room.encrypted",
    )
    await talk.reads_reply("it was not delivered", secret)
    assert talk.person is None
    users = [stage.bot, SERVICE]
    keys = await customer.call("POST", "v3/keys/query", {"device_keys": {u: [] for u in users}})
    devices = keys["device_keys"]
    assert isinstance(devices, dict)
    assert [devices.get(user) or {} for user in users] == [{}, {}]


async def test_a_room_becomes_encrypted_while_encryption_is_switched_off(stage: Stage) -> None:
    talk = await chatting(stage, "late-convert")
    await set_state(
        talk.customer, talk.room, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"}
    )
    await talk.reads("This room is encrypted, and encryption is switched off here", stage.bot)


# --- commands and settings ----------------------------------------------------------------------


async def test_commands_of_a_room_admin(stage: Stage) -> None:
    talk = await Talk.open(stage, await stage.customer("admin"))
    await talk.reads("Sales will answer here", stage.bot)
    for command, answer in (
        ("!wc help", "Just write, and an agent of Sales will answer here.\nstart [queue] — ask"),
        ("!wc help all", "lang <zh-CN|zh-TW|en|ja> — choose the language"),
        ("!wc queue list", "1 — Sales\n2 — Service"),
        ("!wc queue set service", "The queue is now Service"),
        ("!wc queue show", "This room's queue is Service"),
        ("!wc from WECHAT", "The source is now WECHAT"),
        ("!wc queue set nonsense", "There is no queue “nonsense”"),
        ("!wc status", "No chat at the moment. Queue: Service"),
        ("!wc stauts", "Did you mean status?"),
        ("!wc callbakc", "Did you mean callback?"),
        ("hlep", "Did you mean help? This did not go to an agent."),
        ("!wc callback now", "callback — no agent available?"),
        ("帮助", "开始 [队列] — 联系客服"),
        ("!wc 状态", "当前没有对话。"),
        ("!wc lang zh-CN", "语言已设为简体中文"),
        ("!wc lang en", "The language is now English"),
        ("!wc start", "Waiting for Service"),
    ):
        await talk.say(command)
        await talk.reads(answer, stage.bot)
    person = await talk.queued()
    assert person.request is not None
    assert person.request.queue_id == 2
    asked = [frame["frame"] for frame in stage.simulator.frames() if frame["login"] == talk.login]
    assert any("WECHAT" in str(frame) for frame in asked)
    await talk.say("!wc cancel")
    await talk.at_desk(lambda one: one.request is None)


async def test_commands_of_an_ordinary_member(stage: Stage) -> None:
    """Power level 0: may read settings, not change them."""
    owner, member = await stage.customer("owner"), await stage.customer("member")
    room = await owner.create_dm(
        stage.bot, preset="private_chat", is_direct=False, invite=[stage.bot, member.user_id]
    )
    await room_call(member, "join", room)
    theirs = Talk(stage, member, room)
    await theirs.reads("This room reaches the agents of Sales", stage.bot)
    refused = await theirs.say("!wc queue set service")
    await theirs.reads_reply("Only a room admin", refused)
    await theirs.say("!wc queue show")
    await theirs.reads("This room's queue is Sales", stage.bot)
    allowed = await owner.say(room, "!wc queue set service")
    await Talk(stage, owner, room).reads_reply("The queue is now Service", allowed)


async def test_settings_made_before_the_bridge_joined(stage: Stage) -> None:
    """Accepted from an admin, not from a member whom the room permits to send the state event."""
    owner, member = await stage.customer("founder"), await stage.customer("meddler")
    room = await owner.create_dm(
        member.user_id,
        is_direct=False,
        preset="private_chat",
        power_level_content_override={"events": {SETTINGS: 0}, "invite": 0},
    )
    await room_call(member, "join", room)
    settings: dict[str, object] = {"queue": 2, "language": "ja"}
    await set_state(member, room, SETTINGS, settings)
    await room_call(member, "invite", room, {"user_id": stage.bot})
    theirs = Talk(stage, member, room)
    await theirs.reads("Only a room admin", stage.bot)
    await theirs.reads("This room reaches the agents of Sales", stage.bot)

    await room_call(owner, "kick", room, {"user_id": stage.bot})
    await set_state(owner, room, SETTINGS, {"queue": 2})
    await room_call(member, "invite", room, {"user_id": stage.bot})
    await theirs.reads("Settings changed: queue Service", stage.bot)


async def test_settings_by_state_event(stage: Stage) -> None:
    """A valid one is applied; an invalid one is answered, and the old settings stay."""
    talk = await Talk.open(stage, await stage.customer("configurer"))
    await talk.reads("Sales will answer here", stage.bot)
    good: dict[str, object] = {
        "queue": 2,
        "from": "MOBILE",
        "language": "en",
        "start": "on_command",
    }
    await set_state(talk.customer, talk.room, SETTINGS, good)
    await talk.reads("Settings changed: queue Service, from MOBILE", stage.bot)
    refused: list[tuple[dict[str, object], str]] = [
        ({"queue": 99}, "There is no queue “99”"),
        ({"queue": 1, "language": "klingon"}, "“language” cannot be “klingon”"),
        ({"quue": 1}, "There is no setting “quue”"),
    ]
    for bad, complaint in refused:
        await set_state(talk.customer, talk.room, SETTINGS, bad)
        await talk.reads(complaint, stage.bot)
    await talk.say("!wc queue show")
    await talk.reads("This room's queue is Service", stage.bot)
    await talk.say("kept until the command")
    await talk.reads("I have kept your message. Send !wc start", stage.bot)
    await talk.say("start")
    await talk.heard("kept until the command")


# --- cancelling, closing, leaving, upgrading ----------------------------------------------------


async def test_cancelling_a_queue_request(stage: Stage) -> None:
    """The customer is told of the undelivered messages and can resend them."""
    talk = await Talk.open(stage, await stage.customer("impatient"), "is anybody there?")
    await talk.heard("is anybody there?")
    await talk.customer.send_file(talk.room, b"x" * 10, "x.txt", "text/plain")
    await talk.say("cancel")
    gone = await talk.reads("You have left the queue. Your 2 messages did not go", stage.bot)
    card = str(relation(gone)["event_id"])
    await talk.sees(lambda event: annotates(event, card, "🔁"))
    await talk.at_desk(lambda one: one.request is None)
    await talk.customer.react(talk.room, card, "🔁")
    await talk.accept()
    await talk.reads("Messages delivered now: 2", stage.bot)


async def test_a_customer_closes_the_chat(stage: Stage) -> None:
    talk = await chatting(stage, "finished")
    await talk.say("last words")
    await talk.say("!wc close")
    await talk.reads("You have ended the chat", stage.bot)
    person = await talk.at_desk(lambda one: one.session is None)
    assert person.texts == ["hello", "last words"]
    await talk.sees(membership(MEI, "leave"))
    await talk.say("!wc close")
    await talk.reads("There is no chat to end", stage.bot)


async def test_answers_in_plain_words(stage: Stage) -> None:
    """A number alone is a rating; a sentence that begins like a command is none."""
    talk = await chatting(stage, "plain")
    await talk.desk("close")
    await talk.reads("How was this chat?", stage.bot)
    odd = await talk.say("6")
    await talk.reads_reply("There is no rating 6", odd)
    await talk.say("order 6")
    await talk.heard("order 6")  # more than a number is a message to the next agent
    await talk.say("！wc cancel")
    await talk.at_desk(lambda one: one.request is None)
    again = await chatting(stage, "plainer")
    await again.desk("close")
    await again.reads("How was this chat?", stage.bot)
    await again.say("4")
    await again.reads("Thank you for your rating: Satisfied.", stage.bot)
    person = await again.at_desk(lambda one: bool(one.ratings))
    assert [one.rating for one in person.ratings] == [4]
    assert person.request is None
    asked = await again.say("login doesn't work")
    await again.reads_reply("reads like the command login", asked)
    await again.say("rate 9 of your shops for me")
    await again.heard("rate 9 of your shops for me")
    await again.customer.sync()
    # The bot redacts only its own reactions below cards.
    assert asked not in {event.get("redacts") for event in again.customer.events(again.room)}


async def test_leaving_ends_the_chat(stage: Stage) -> None:
    talk = await chatting(stage, "gone")
    await room_call(talk.customer, "leave", talk.room)
    await talk.at_desk(lambda one: one.session is None)


async def test_messages_that_cannot_be_delivered_are_answered(stage: Stage) -> None:
    talk = await chatting(stage, "odd")
    blank = await talk.say("   \n ")
    await talk.reads_reply("This message is empty, so it was not sent", blank)
    strange = await talk.send(msgtype="org.example.dance", body="three steps to the left")
    await talk.reads_reply("cannot show this kind of message", strange)
    big = await talk.customer.send_file(
        talk.room, b"0" * (FILE_LIMIT + 1), "big.bin", "application/octet-stream"
    )
    await talk.reads_reply("This file is too big (the limit is ", big)
    await talk.say("still here")
    await talk.heard("still here")
    person = talk.person
    assert person is not None
    assert person.texts == ["hello", "still here"]


async def test_a_paused_room(stage: Stage) -> None:
    talk = await Talk.open(stage, await stage.customer("resting"))
    await talk.reads("Sales will answer here", stage.bot)
    await talk.say("!wc pause")
    await talk.reads("This room is paused.", stage.bot)
    lost = await talk.say("anybody?")
    await talk.reads_reply("This room is paused, so this message was not delivered", lost)
    await talk.say("!wc resume")
    await talk.reads("This room is served again", stage.bot)
    await talk.say("now then")
    await talk.heard("now then")
    person = talk.person
    assert person is not None
    assert person.texts == ["now then"]


@pytest.mark.parametrize("preset", ["trusted_private_chat", "private_chat"])
async def test_a_running_chat_goes_on_in_the_upgraded_room(stage: Stage, preset: str) -> None:
    """In the same session; with `private_chat` the bot may not write in the old room any more."""
    name = preset.replace("_", "-")
    talk = await Talk.open(stage, await stage.customer(name), "hello", preset=preset)
    await talk.heard("hello")
    await talk.accept()
    before = talk.person
    assert before is not None
    await talk.desk("say", text="good morning")
    await talk.reads("good morning", MEI)
    there = await upgraded(talk)
    await talk.say("my order is late")
    await talk.heard("my order is late")
    await talk.desk("say", text="let me see")
    if preset == "trusted_private_chat":  # the bot may write, the ghost may not
        link = f"https://matrix.to/#/{there.room}?via="
        assert link in wording(await talk.reads("This room was upgraded", stage.bot))
        await talk.reads("let me see", stage.bot)
    await room_call(there.customer, "invite", there.room, {"user_id": MEI})
    await room_call(there.customer, "invite", there.room, {"user_id": stage.bot})
    first = await there.say("are you there?")
    await there.heard("are you there?")
    if preset == "private_chat":
        await there.reads("let me see", MEI)
    await there.reads("Connected: Mei", stage.bot)
    await there.desk("say", text="here it is")
    await there.reads("here it is", MEI)
    await there.say("4711")
    await there.heard("4711")
    for one_of_us in (MEI, stage.bot):
        await talk.sees(membership(one_of_us, "leave"))
    after = there.person
    assert after is not None
    assert after.texts == ["hello", "my order is late", "are you there?", "4711"]
    assert (after.session, after.request) == (before.session, before.request)
    said = [wording(event) for room in (talk, there) for event in room.messages(MEI)]
    assert sorted(said) == sorted({*said})
    await there.sees(lambda event: event.get("event_id") == first)
    await there.say("!wc close")
    await there.at_desk(lambda person: person.session is None)
    await there.sees(membership(MEI, "leave"))


async def test_a_queue_request_goes_on_in_the_upgraded_room(stage: Stage) -> None:
    """With its card, the settings, and files that wait for an agent."""
    talk = await Talk.open(stage, await stage.customer("settler"), "my order 4711")
    await talk.say("!wc lang en")
    await talk.heard("my order 4711")
    held = await talk.customer.send_file(talk.room, b"x" * 10, "bill.txt", "text/plain")
    await talk.sees(lambda event: event.get("event_id") == held)
    before = await talk.queued()
    there = await upgraded(talk)
    await room_call(there.customer, "invite", there.room, {"user_id": stage.bot})
    await there.reads("Waiting for Sales: you are number", stage.bot)
    await talk.sees(membership(stage.bot, "leave"))
    assert (await there.queued()).request == before.request
    await there.accept()
    assert "bill.txt" in str((await there.got("file")).content)
    await there.desk("say", text="hello there")
    await there.reads("hello there", MEI)


async def test_a_room_that_was_upgraded_again_before_the_bot_came(stage: Stage) -> None:
    """The bot, invited into the second room only then, finds the third one named there."""
    talk = await chatting(stage, "hasty")
    second = await upgraded(talk, "12")
    third = await upgraded(second, "12")
    await room_call(talk.customer, "invite", second.room, {"user_id": stage.bot})
    await second.say("am I to move again?")  # its creator may still write there
    await second.heard("am I to move again?")
    await room_call(talk.customer, "invite", third.room, {"user_id": stage.bot})
    await third.desk("say", text="have you moved twice?")
    await third.reads("have you moved twice?", MEI)
    await third.say("I have")
    await third.heard("I have")


async def test_a_second_host_leaves(stage: Stage) -> None:
    """A room has only one bot or queue user."""
    talk = await chatting(stage, "collector-of-bots")
    await room_call(talk.customer, "invite", talk.room, {"user_id": SERVICE})
    await talk.reads("no other account of ours needs to be here", stage.bot)
    await talk.sees(
        lambda event: (
            event.get("type") == "m.room.member"
            and event.get("state_key") == SERVICE
            and content_of(event).get("membership") == "leave"
        )
    )
    await talk.say("unchanged")
    await talk.heard("unchanged")
    assert not [e for e in talk.messages(SERVICE) if wording(e)]
