"""The Matrix adapter against a real Synapse: notices, ghosts, texts, files, resends."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import pytest
import pytest_asyncio

from bridge.config.model import Bot
from bridge.conversation.model import CustomerMedia
from bridge.ids import AgentId, EventId, RoomId, UserId
from bridge.matrix.adapter import BRIDGE
from bridge.matrix.ghosts import SERVICE_MEMBERS
from bridge.rooms.ports import (
    EditableNotice,
    MemberGone,
    NoticeText,
    Refused,
    RelayedMedia,
    Spoke,
    TooBig,
    Unavailable,
)
from bridge.webchat.frames import Agent, AgentText
from tests.support.client import room_call, said, set_state
from tests.support.matrix_rig import QUEUES, Rig, blob, picture, running_rig
from tests.support.matrix_user import CustomerError, Event, content_of, in_room, membership

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALICE = Agent(id=AgentId("Alice_7"), name="Alice")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    async with running_rig(tmp_path_factory.mktemp("matrix")) as made:
        yield made


async def test_notice_reply_and_edit_in_place(rig: Rig) -> None:
    customer, room_id = await rig.served_room()
    asked = EventId(await customer.say(room_id, "how long?"))
    await rig.adapter.say(room_id, rig.users.bot, NoticeText("some time", reply_to=asked), "reply")
    card = await rig.adapter.say(room_id, rig.users.bot, EditableNotice("position 3"), "card")
    await rig.adapter.say(room_id, rig.users.bot, EditableNotice("position 2", card), "card-2")
    seen = await customer.wait_for(room_id, said("some time", rig.users.bot))
    assert content_of(seen)["msgtype"] == "m.notice"
    assert content_of(seen)["m.relates_to"] == {"m.in_reply_to": {"event_id": asked}}
    edit = await customer.wait_for(room_id, said("* position 2", rig.users.bot))
    assert content_of(edit)["m.relates_to"] == {"rel_type": "m.replace", "event_id": card}


async def test_other_service_members_are_kept_and_a_refusal_is_ignored(rig: Rig) -> None:
    customer, room_id = await rig.served_room()
    bot, ghost = rig.users.bot, rig.adapter.ghost_of(ALICE)
    await set_state(customer, room_id, SERVICE_MEMBERS, {"service_members": ["@helper:localhost"]})
    await rig.adapter.name_service_members(room_id, bot, [ghost])
    named = await customer.state(room_id, SERVICE_MEMBERS)
    assert named == {"service_members": ["@helper:localhost", ghost]}

    strict = RoomId(await customer.create_dm(bot, preset="private_chat"))
    await rig.adapter.enter(strict, bot, UserId(customer.user_id))
    await rig.adapter.name_service_members(strict, bot, [ghost])  # at level 0
    with pytest.raises(CustomerError):
        await customer.state(strict, SERVICE_MEMBERS)


async def test_the_bridge_state_event_is_written_where_the_room_permits(rig: Rig) -> None:
    customer, room_id = await rig.served_room()
    bot, key = rig.users.bot, f"org.matrix_webchat://webchat/{rig.users.bot}"
    for queue in ("1", "2"):
        content: dict[str, object] = {"bridgebot": bot, "channel": {"id": queue}}
        await rig.adapter.show_bridge(room_id, bot, key, content)
        for kind in BRIDGE:
            path = in_room(room_id, "state", kind, key)
            assert await customer.call("GET", path) == content
    strict = RoomId(await customer.create_dm(bot, preset="private_chat"))
    await rig.adapter.enter(strict, bot, UserId(customer.user_id))
    with pytest.raises(Refused):
        await rig.adapter.show_bridge(strict, bot, key, {"bridgebot": bot})


async def test_ghost_has_name_and_picture_and_comes_and_goes(rig: Rig) -> None:
    customer, room_id = await rig.served_room()
    agent = Agent(id=AgentId("Bob_1"), name="Bob 客服")
    ghost = await rig.adapter.welcome_agent(
        room_id, rig.users.bot, agent, blob(picture(), "image/png"), "icon-1"
    )
    assert ghost == rig.adapter.ghost_of(agent) == "@webchat__bob__1:localhost"
    joined = await customer.wait_for(room_id, membership(ghost, "join"))
    assert content_of(joined)["displayname"] == "Bob 客服"
    assert await customer.download(str(content_of(joined)["avatar_url"])) == picture()
    assert await rig.adapter.icon_known(agent, "icon-1")
    assert not await rig.adapter.icon_known(agent, "icon-2")
    await rig.adapter.leave(room_id, ghost)
    await customer.wait_for(room_id, membership(ghost, "leave"))
    await rig.adapter.leave(room_id, ghost)


async def test_profile_is_written_only_on_change(rig: Rig) -> None:
    customer, room_id = await rig.served_room()
    agent = Agent(id=AgentId("c3"), name="Carol")
    ghost = await rig.adapter.welcome_agent(room_id, rig.users.bot, agent, None, "")
    await rig.new_adapter().welcome_agent(room_id, rig.users.bot, agent, None, "")
    nameless = Agent(id=AgentId("c3"))
    await rig.new_adapter().relay(room_id, rig.users.bot, nameless, AgentText(html="hi"), "r1")
    renamed = Agent(id=AgentId("c3"), name="Carol B.")
    await rig.new_adapter().relay(room_id, rig.users.bot, renamed, AgentText(html="ho"), "r2")
    await customer.wait_for(room_id, said("ho", ghost))
    # Synapse writes a member event for each change of profile, but none for a second join.
    names = [
        content_of(event)["displayname"]
        for event in customer.events(room_id)
        if membership(ghost, "join")(event)
    ]
    assert names == ["Carol", "Carol B."]


async def test_bad_picture_does_not_keep_the_agent_out(rig: Rig) -> None:
    customer, room_id = await rig.served_room()
    agent = Agent(id=AgentId("d4"), name="Dan")
    ghost = await rig.adapter.welcome_agent(
        room_id, rig.users.bot, agent, blob(b"<html>404</html>", "image/png"), "broken"
    )
    joined = await customer.wait_for(room_id, membership(ghost, "join"))
    assert content_of(joined).get("avatar_url") is None
    assert await rig.adapter.icon_known(agent, "broken")


async def test_agents_text_arrives_clean(rig: Rig) -> None:
    customer, room_id = await rig.served_room()
    html = (
        '<p>See <a href="https://shop.example/x" onclick="x()">our shop</a> /::)'
        '<script>alert(1)</script><img class="qqemoji qqemoji13" src="/spacer.gif"></p>'
    )
    (part,) = await rig.adapter.relay(room_id, rig.users.bot, ALICE, AgentText(html=html), "rich")
    event = await customer.wait_for(room_id, lambda event: event["event_id"] == part.event_id)
    content = content_of(event)
    assert content["body"] == "See our shop (https://shop.example/x) 🙂😁"
    assert content["formatted_body"] == (
        '<p>See <a href="https://shop.example/x">our shop</a> 🙂😁</p>'
    )
    assert event["sender"] == rig.adapter.ghost_of(ALICE)


async def test_long_text_becomes_several_messages(rig: Rig) -> None:
    customer, room_id = await rig.served_room()
    words = " ".join(f"word{number}" for number in range(9_000))
    parts = await rig.adapter.relay(room_id, rig.users.bot, ALICE, AgentText(html=words), "long")
    again = await rig.adapter.relay(room_id, rig.users.bot, ALICE, AgentText(html=words), "long")
    assert again == parts
    await rig.adapter.relay(room_id, rig.users.bot, ALICE, AgentText(html="end"), "end")
    await customer.wait_for(room_id, said("end"))
    bodies = [
        str(content_of(event)["body"])
        for event in customer.events(room_id)
        if event.get("sender") == rig.adapter.ghost_of(ALICE) and event["type"] == "m.room.message"
    ]
    assert " ".join(bodies) == f"{words} end"
    shown = [event["event_id"] for event in customer.events(room_id) if said_by(ALICE, event, rig)]
    assert [part.event_id for part in parts] == shown[:-1]
    assert all(words.find(part.text) >= 0 and part.text for part in parts)


def said_by(agent: Agent, event: Event, rig: Rig) -> bool:
    return event.get("sender") == rig.adapter.ghost_of(agent) and event["type"] == "m.room.message"


async def test_media_keeps_its_bytes_both_ways(rig: Rig) -> None:
    customer, room_id = await rig.served_room()
    image, document = picture(120, 80), bytes(range(256)) * 12_000
    await rig.adapter.relay(
        room_id,
        rig.users.bot,
        ALICE,
        RelayedMedia(kind="image", blob=blob(image, "application/octet-stream", "a.png")),
        "m1",
    )
    await rig.adapter.relay(
        room_id,
        rig.users.bot,
        ALICE,
        RelayedMedia(kind="file", blob=blob(document, "", "../价格.bin")),
        "m2",
    )
    shown = content_of(await customer.wait_for(room_id, said("a.png")))
    assert shown["msgtype"] == "m.image"
    assert shown["info"] == {"mimetype": "image/png", "size": len(image), "w": 120, "h": 80}
    assert await customer.download(str(shown["url"])) == image
    filed = content_of(await customer.wait_for(room_id, said("价格.bin")))
    assert filed["msgtype"] == "m.file"
    assert await customer.download(str(filed["url"])) == document

    sent = await customer.send_file(room_id, document, "order.bin", "application/x-order")
    meaning = rig.adapter.interpret(await rig.intake.event(sent))
    assert isinstance(meaning, Spoke)
    assert isinstance(meaning.content, CustomerMedia)
    async with rig.adapter.download(meaning.content, limit=10_000_000) as found:
        got = b"".join([chunk async for chunk in found.chunks])
    assert (got, found.size, found.mime, found.name) == (
        document,
        len(document),
        "application/x-order",
        "order.bin",
    )
    with pytest.raises(TooBig):
        async with rig.adapter.download(meaning.content, limit=1_000):
            pytest.fail("a file beyond the limit was opened")
    gone = CustomerMedia(kind="file", name="x", mxc="mxc://localhost/doesnotexist")
    with pytest.raises(Refused, match="M_NOT_FOUND"):
        async with rig.adapter.download(gone, limit=1_000):
            pytest.fail("a file that does not exist was opened")


async def test_file_beyond_the_homeservers_limit_is_refused(rig: Rig) -> None:
    _, room_id = await rig.served_room()
    huge = RelayedMedia(kind="file", blob=blob(bytes(51 * 1024 * 1024), "", "huge.bin"))
    with pytest.raises(Refused, match="M_TOO_LARGE"):
        await rig.adapter.relay(room_id, rig.users.bot, ALICE, huge, "huge")


async def test_removed_ghost_comes_back_to_speak(rig: Rig) -> None:
    customer, room_id = await rig.served_room()
    ghost = rig.adapter.ghost_of(ALICE)
    await rig.adapter.relay(room_id, rig.users.bot, ALICE, AgentText(html="one"), "k1")
    await room_call(customer, "kick", room_id, {"user_id": ghost})
    await rig.adapter.relay(room_id, rig.users.bot, ALICE, AgentText(html="two"), "k2")
    await customer.wait_for(room_id, said("two", ghost))
    gone = await rig.intake.meaning(rig.adapter, room_id, MemberGone)
    assert gone.who == ghost


@pytest.mark.parametrize("speaker", ["ghost", "host"])
async def test_after_a_crash_nobody_repeats_what_the_other_has_said(rig: Rig, speaker: str) -> None:
    """The ghost's access changes before the outcome of a message is stored."""
    customer, room_id = await rig.served_room()
    theirs: dict[str, object] = {"user_id": rig.adapter.ghost_of(ALICE)}
    words = AgentText(html="once")
    if speaker == "host":
        await room_call(customer, "ban", room_id, theirs)
    before = await rig.adapter.relay(room_id, rig.users.bot, ALICE, words, room_id)
    await room_call(customer, "ban" if speaker == "ghost" else "unban", room_id, theirs)
    after_it = rig.new_adapter()
    await after_it.find_markers(room_id, rig.users.bot, 0)  # as the lane does
    after = await after_it.relay(room_id, rig.users.bot, ALICE, words, room_id)
    assert after == before


async def test_a_transaction_id_makes_one_event_also_across_a_restart(rig: Rig) -> None:
    customer, room_id = await rig.served_room()
    bob = Agent(id=AgentId("Bob_1"), name="Bob")
    (first,) = await rig.adapter.relay(room_id, rig.users.bot, ALICE, AgentText(html="A"), "same")
    (other,) = await rig.adapter.relay(room_id, rig.users.bot, bob, AgentText(html="B"), "same")
    notice = await rig.adapter.say(room_id, rig.users.bot, NoticeText(text="N"), "same")
    assert len({first.event_id, other.event_id, notice}) == 3

    await rig.homeserver.server.kill()
    with pytest.raises(Unavailable):
        await rig.adapter.say(room_id, rig.users.bot, NoticeText(text="N"), "same")
    await rig.homeserver.server.start()

    adapter = rig.new_adapter()
    assert (first,) == await adapter.relay(
        room_id, rig.users.bot, ALICE, AgentText(html="A"), "same"
    )
    assert (other,) == await adapter.relay(room_id, rig.users.bot, bob, AgentText(html="B"), "same")
    assert notice == await adapter.say(room_id, rig.users.bot, NoticeText(text="N"), "same")
    await adapter.ghosts.prepare(QUEUES, Bot())
    await customer.wait_for(room_id, said("N"))
    assert [content_of(e)["body"] for e in customer.events(room_id) if said("A")(e)] == ["A"]


async def test_messages_of_forgotten_transaction_ids_are_found_in_the_room(rig: Rig) -> None:
    """Synapse forgets transaction ids after a day; the messages are still in the room."""
    customer, room_id = await rig.served_room()
    bot = rig.users.bot
    words = " ".join(f"word{number}" for number in range(5_000))
    before = await rig.adapter.relay(room_id, bot, ALICE, AgentText(html=words), "old")
    notice = await rig.adapter.say(room_id, bot, NoticeText(text="N"), "old")
    assert len(before) == 2
    await rig.homeserver.server.kill()
    with closing(sqlite3.connect(rig.homeserver.server.folder / "homeserver.db")) as database:
        database.execute("DELETE FROM event_txn_id_device_id")
        database.commit()
    await rig.homeserver.server.start()

    adapter = rig.new_adapter()
    await adapter.find_markers(room_id, bot, 0)
    assert await adapter.relay(room_id, bot, ALICE, AgentText(html=words), "old") == before
    assert await adapter.say(room_id, bot, NoticeText(text="N"), "old") == notice
    assert await rig.new_adapter().say(room_id, bot, NoticeText(text="N"), "old") != notice
    # The second is by the adapter without `find_markers`.
    await customer.wait_until(lambda: len(list(filter(said("N"), customer.events(room_id)))) == 2)
