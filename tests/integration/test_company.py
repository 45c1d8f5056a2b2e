"""Further members of a room, and messages about a chat that is over.

A direct chat that somebody joins, an agent's user that is invited, a room that is closed; then a
message taken back, a rating and thanks after the chat.
"""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.support.client import room_call, set_state
from tests.support.encrypted import Phones
from tests.support.matrix_user import Customer, CustomerError, Event, content_of, membership
from tests.support.stage import Stage
from tests.support.talk import JUN, MEI, Talk, chatting, into, wording

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHARED = "Somebody else is in this chat now. From here on the agent sees who wrote what"
PASSED_BY = "You're welcome! 👋 (Nobody was called.)"
LATE = "That chat is over, so this correction was not delivered"


# --- a direct chat that somebody joins ----------------------------------------------------------


async def test_a_colleague_comes_after_the_bot(stage: Stage) -> None:
    """A room without the direct flag counts as direct while one person is in it."""
    cat, dan = await stage.customer("cat"), await stage.customer("dan")
    room = await cat.create_dm(stage.bot, "hello", preset="private_chat", is_direct=False)
    talk = Talk(stage, cat, room)
    await talk.heard("hello")
    await talk.accept()
    await friend_joins_and_stays(talk, dan)


async def test_a_friend_comes_into_an_encrypted_chat(stage: Stage, phones: Phones) -> None:
    talk, phone = await phones.chatting("eve")
    friend = await phones.of("fay")
    await friend_joins_and_stays(talk, friend)
    assert phone.unreadable(talk.room) == []
    clear = [e for e in await Talk(stage, friend, talk.room).history() if wording(e)]
    assert clear == []


async def friend_joins_and_stays(talk: Talk, friend: Customer) -> None:
    """Have a friend join after "hello" was said, and stay when the customer leaves."""
    bot, owner, other = talk.stage.bot, *map(_name, (talk.customer, friend))
    theirs = Talk(talk.stage, friend, talk.room)
    await into(talk, friend)
    await talk.reads(SHARED, bot)
    await theirs.reads(SHARED, bot)
    await theirs.say("send it to me")
    await talk.heard(f"{other}: send it to me")
    await talk.say("no, to me")
    await talk.heard(f"{owner}: no, to me")
    await theirs.say(f"all right\n{owner}: cancel it")
    await talk.heard(f"{other}: all right\n\u3000{owner}: cancel it")
    await talk.desk("say", text="To whom?")
    await theirs.reads("To whom?", MEI)

    await room_call(talk.customer, "leave", talk.room)
    await theirs.sees(membership(talk.customer.user_id, "leave"))
    await theirs.say("is anybody here?")
    await talk.heard(f"{other}: is anybody here?")
    await talk.desk("say", text="I am")
    await theirs.reads("I am", MEI)

    secret = await theirs.say("!wc login bob hunter2")
    await theirs.reads_reply("You can log in only in a direct chat with this account", secret)
    person = await talk.at_desk(lambda one: one.session is not None)
    assert person.logins == 1
    assert person.texts == [
        "hello",
        f"{other}: send it to me",
        f"{owner}: no, to me",
        f"{other}: all right\n\u3000{owner}: cancel it",
        f"{other}: is anybody here?",
    ]
    assert len([e for e in theirs.messages(bot) if SHARED in wording(e)]) == 1


def _name(who: Customer) -> str:
    """The homeserver's default display name."""
    return who.user_id[1:].partition(":")[0]


# --- an agent's user ----------------------------------------------------------------------------


async def test_an_agents_user_says_where_to_write(stage: Stage) -> None:
    """In a direct room with it alone, which it leaves again; in a bridged one the bot is there."""
    talk = await chatting(stage, "gus")  # so that Mei's user exists
    await talk.say("我的订单在哪里？")  # so that she answers in Chinese, too
    await talk.heard("我的订单在哪里？")
    await talk.desk("close")
    await talk.sees(membership(MEI, "leave"))
    await room_call(talk.customer, "invite", talk.room, {"user_id": MEI})
    own = await Talk.open(stage, talk.customer, "hello Mei", host=MEI)
    for room in (talk, own):
        left = await room.sees(_declined)
        assert stage.bot in str(content_of(left)["reason"])
    said = await own.reads("写给这个账号的消息没有人会看到", MEI)
    assert f"https://matrix.to/#/{talk.room}?via=localhost" in wording(said)
    assert content_of(said)["msgtype"] == "m.text"  # it rings
    assert own.person is None
    assert [e for e in await talk.history() if "没有人会看到" in wording(e)] == []

    await own.say("are you there?")
    await room_call(own.customer, "invite", own.room, {"user_id": MEI})
    await own.sees(lambda e: _declined(e) and e["event_id"] != left["event_id"])
    joined = [e for e in await own.history() if membership(MEI, "join")(e)]
    assert len(joined) == 1  # she has just said it


async def test_an_agents_user_in_a_group_with_the_bot_says_nothing(stage: Stage) -> None:
    """What is written there reaches the agents; so it neither comes nor says that it does not."""
    await chatting(stage, "uma")
    group = await stage.customer("vic")
    room = await group.create_dm("", "hello all", invite=[MEI, stage.bot])
    talk = Talk(stage, group, room)
    await talk.sees(_declined)
    await talk.heard("hello all")
    assert [e for e in await talk.history() if membership(MEI, "join")(e)] == []


async def test_an_agents_user_tells_no_group_where_a_member_chats(stage: Stage) -> None:
    """Who is invited back is taken to have been in a direct room."""
    talk = await chatting(stage, "wes")
    group = Talk(stage, talk.customer, await talk.customer.create_dm("", invite=[]))
    friend = await stage.customer("xia")
    for whom in (friend.user_id, MEI):
        await room_call(talk.customer, "invite", group.room, {"user_id": whom})
    first = await group.sees(_declined)
    await room_call(talk.customer, "invite", group.room, {"user_id": MEI})
    await group.sees(lambda e: _declined(e) and e["event_id"] != first["event_id"])
    assert [wording(e) for e in await group.history() if wording(e)] == []


async def test_an_agents_user_names_the_bot_to_a_stranger(stage: Stage, phones: Phones) -> None:
    """In an encrypted room; an agent whom somebody has made up does not come to life."""
    await chatting(stage, "ivo")
    phone, nobody = await phones.of("lou"), MEI.replace("00001", "77777")
    none = await Talk.open(stage, phone, "hello?", host=nobody)
    talk = await Talk.open(stage, phone, "hello Mei", host=MEI)
    await talk.reads(f"Please write to us here:\nhttps://matrix.to/#/{stage.bot}", MEI)
    await talk.sees(_declined)
    assert phone.unreadable(talk.room) == []
    assert [e for e in await none.history() if membership(nobody, "join")(e)] == []
    with pytest.raises(CustomerError, match="404"):
        await phone.call("GET", f"v3/profile/{quote(nobody)}")


def _declined(event: Event) -> bool:
    return membership(MEI, "leave")(event) and "reason" in content_of(event)


# --- a room that is closed ----------------------------------------------------------------------


async def test_a_room_is_closed_while_its_customer_waits_in_the_queue(stage: Stage) -> None:
    """Messages that no agent received are reported before the bot leaves."""
    talk = await Talk.open(stage, await stage.customer("hal"))
    await talk.reads("Sales will answer here", stage.bot)
    told = [await talk.say(text) for text in ("order 4711, please", "it is urgent")]
    await talk.heard("it is urgent")
    await talk.customer.send_file(talk.room, b"order", "order.txt", "text/plain")
    await talk.say("!wc status")
    await talk.reads("Waiting for Sales, position", stage.bot)  # so the file is with the bridge
    await set_state(talk.customer, talk.room, "m.room.tombstone", {"replacement_room": "#none:x"})
    for event in told:
        await talk.reads_reply("This room was closed, so this message did not go", event)
    await talk.reads("This room was closed, so I leave it", stage.bot)
    await talk.sees(membership(stage.bot, "leave"))
    await talk.at_desk(lambda one: one.request is None and one.session is None)


# --- about a chat that is over ------------------------------------------------------------------


async def test_changes_to_an_earlier_chat_do_not_reach_the_present_agent(stage: Stage) -> None:
    """A correction, reaction or redaction of a message to the previous agent is not sent."""
    talk = await chatting(stage, "ian")
    told = await talk.say("my card is 4111 1111")
    await talk.heard("my card is 4111 1111")
    await talk.desk("close")
    await talk.reads("The agent has ended the chat", stage.bot)
    late = [await corrected(talk, told, "my card is 4222 2222")]
    await talk.reads_reply(LATE, late[0])
    await talk.say("another thing")
    await talk.queued()
    await talk.accept("A00002", JUN)
    before = await talk.heard("another thing")
    late.append(await corrected(talk, told, "my card is 4333 3333"))
    await talk.reads_reply(LATE, late[1])
    await talk.customer.react(talk.room, told, "😱")
    room = quote(talk.room, safe="")
    await talk.customer.call("PUT", f"v3/rooms/{room}/redact/{told}/back", {})
    await talk.say("are you there?")
    await talk.heard("are you there?")
    person = talk.person
    assert person is not None
    second = [one.text for one in person.messages if one.n >= before.n]
    assert second == ["another thing", "are you there?"]


async def corrected(talk: Talk, event: str, text: str) -> str:
    """Edit a message."""
    new = {"msgtype": "m.text", "body": text}
    relates = {"rel_type": "m.replace", "event_id": event}
    return await talk.say(f"* {text}", **{"m.new_content": new, "m.relates_to": relates})


async def test_a_rating_in_a_reply(stage: Stage) -> None:
    """In a room with several people, where a number alone would go to an agent."""
    jo, kim = await stage.customer("jo"), await stage.customer("kim")
    room = await jo.create_dm(stage.bot, preset="private_chat", is_direct=False)
    talk = Talk(stage, jo, room)
    await into(talk, kim)
    await talk.say("hello")
    await talk.heard("jo: hello")
    await talk.accept()
    await talk.desk("close")
    question = str((await talk.reads("How was this chat?", stage.bot))["event_id"])
    reply = {"m.relates_to": {"m.in_reply_to": {"event_id": question}}}
    await kim.say(room, "5 thanks", **reply)
    await talk.reads("Thank you for your rating: Very satisfied.", stage.bot)
    person = await talk.at_desk(lambda one: bool(one.ratings))
    assert [(one.rating, one.comments) for one in person.ratings] == [(5, "thanks")]
    await check_no_new_request(talk)


async def test_thanks_after_a_chat_call_no_agent(stage: Stage) -> None:
    talk = await chatting(stage, "lea")
    await talk.desk("close")
    await talk.reads("The agent has ended the chat", stage.bot)
    for words in ("Thank you!", "thanks, bye"):
        await talk.reads_reply(PASSED_BY, await talk.say(words))
    await check_no_new_request(talk)


async def check_no_new_request(talk: Talk) -> None:
    """Check that there is no chat, and that only one was ever requested."""
    await talk.say("!wc status")
    await talk.reads("No chat at the moment", talk.stage.bot)
    asked = [one for one in talk.stage.simulator.frames() if one["direction"] == "in"]
    frames = [one["frame"] for one in asked if one["login"] == talk.login]
    calls = [one for one in frames if isinstance(one, dict) and one.get("type") == 101]
    person = talk.person
    assert person is not None
    assert (person.request, person.session, len(calls)) == (None, None, 1)
