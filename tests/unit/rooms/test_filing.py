"""Work of the lane aside, from the customer's command to the answer in the room."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from bridge.conversation.model import Idle
from bridge.ids import EventId, QueueId, RoomId, UserId
from bridge.rooms.aside import AT_LENGTH, COMPANY, SOON, decline
from bridge.rooms.effects import Decline
from bridge.rooms.ports import CallFailure, Refused, Unavailable
from bridge.rooms.record import Chat, Membership, RoomRecord, dump_chat
from bridge.rooms.store import ChatRow, Outcome
from bridge.rooms.visit import stored_as
from bridge.webchat.codes import FailureReason
from tests.fakes import flow
from tests.fakes.clock import quiet
from tests.fakes.house import ROOM, World
from tests.unit.rooms.test_signing_in import SECRET, TAKING
from tests.unit.rooms.visits import ADA, BOT, RULES

pytestmark = pytest.mark.asyncio

GHOST = UserId("@webchat_k00017:example.org")
KEY = "agents.not_invited"
CHAT = Chat(1, QueueId(1), 1, first=EventId("$a"))


async def idle() -> World:
    """A served room without a running chat, but with a former one."""
    world = World(rules=TAKING)
    await world.record(ROOM, Idle())
    room = (await world.store.load(ROOM)).room
    assert room is not None
    rows = [ChatRow(1, dump_chat(CHAT))]
    await flow.step(world.store, room, chats=rows)
    return world


async def ordered(world: World, text: str) -> list[str]:
    """The bridge's notices, once this command has been handled completely."""
    async with world.running() as engine:
        await engine.accept_events([world.event(text=text)])
        await quiet()
        for _ in range(len(AT_LENGTH) + 2):
            if await world.nothing_left():
                break
            await world.clock.turn(400)
    assert await world.nothing_left()
    return world.matrix.texts(ROOM)


async def test_history_lists_the_chats() -> None:
    assert await ordered(await idle(), "history") == ["history.list"]


async def test_a_transcript_is_posted_as_html_and_json() -> None:
    world = await idle()
    world.matrix.room.append({"event_id": "$a", "kind": "say", "sender": "@ada:example.org"})
    texts = await ordered(world, "!wc transcript 1 json")
    assert [text[-5:] for text in texts] == [".html", ".json"]
    assert await ordered(world, "transcript 1") == [*texts, "transcript.too_soon"]


async def test_a_transcript_that_the_homeserver_refuses_is_unavailable() -> None:
    world = await idle()
    world.matrix.trouble += [Refused("M_NOT_FOUND"), Refused("M_TOO_LARGE")]
    assert await ordered(world, "transcript") == ["transcript.unavailable"]
    assert ("aside", Outcome.REFUSED) in world.counts.settled_rows


async def test_a_transcript_is_retried_while_the_homeserver_is_away() -> None:
    world = await idle()
    world.matrix.trouble += [Unavailable("away", 1.0)] * len(SOON)
    world.matrix.room.append({"event_id": "$a", "kind": "say", "sender": "@ada:example.org"})
    texts = await ordered(world, "transcript")
    assert texts == ["chat-1.html"]
    world = await idle()
    world.matrix.trouble += [Unavailable("away")] * (len(SOON) + 1)
    assert await ordered(world, "transcript") == ["transcript.unavailable"]
    assert ("aside", Outcome.FAILED) in world.counts.settled_rows


async def test_a_login_is_stored_redacted_and_used() -> None:
    world = await idle()
    world.matrix.level = 50
    assert await ordered(world, f"login ada {SECRET}") == ["login.done"]
    record = await world.stored()
    assert record.login is not None
    assert record.login.name == "ada"
    assert world.matrix.redacted == ["$e1"]
    assert await world.store.body_of(ROOM, EventId("$e1")) is None
    assert world.link.logins[0].login == record.login
    async with world.running() as engine:
        await engine.accept_events([world.event(text="hello")])
        await quiet()
        room = engine._room(ROOM)
        assert room.account.login == record.login


async def test_a_wrong_password_is_told_and_deleting_it_is_left_to_the_customer() -> None:
    world = await idle()
    world.link.before.append(CallFailure(FailureReason.LOGIN_REFUSED, certain=True, code=-20))
    assert await ordered(world, "!wc login ada wrong") == ["login.delete", "login.refused"]
    assert (await world.stored()).login is None
    assert await world.store.body_of(ROOM, EventId("$e1")) is None


async def test_the_redaction_of_a_login_is_retried_at_length() -> None:
    world = await idle()
    world.matrix.level = 50
    world.matrix.trouble += [Unavailable("away")] * len(AT_LENGTH)
    await ordered(world, "!wc login ada x")
    assert world.matrix.redacted == ["$e1"]
    world = await idle()
    world.matrix.trouble += [Unavailable("away")] * (len(AT_LENGTH) + 1)
    assert "login.delete" in await ordered(world, "!wc login ada x")


async def test_the_chats_of_a_room_are_stored_as_they_happen() -> None:
    world = World()
    async with world.running() as engine:
        await engine.accept_events([world.invitation()])
        await quiet()
        await engine.accept_events([world.event(text="hello")])
        await quiet()
    (row,) = await world.store.chats(ROOM, 9)
    assert row.number == 1
    chat = msgspec.json.decode(row.chat)
    assert chat["first"] == "$e2"
    assert [one.number for one in (await world.stored()).chats] == [1]


async def invited(world: World, *, direct: bool = False) -> None:
    """Let a customer invite an agent's ghost, and handle it completely."""
    async with world.running() as engine:
        await engine.accept_events([world.event("agent", whom=GHOST, direct=direct)])
        for _ in range(len(AT_LENGTH) + 2):
            await quiet()
            await world.clock.turn(400)
    assert await world.nothing_left()


async def test_an_invitation_of_an_agents_user_is_declined_with_a_reason() -> None:
    world = World()
    world.speak(RULES.texts)
    world.matrix.trouble += [Unavailable("away")]
    with capture_logs() as logs:
        await invited(world)
    refused = [line for line in logs if line["event"] == "invitation refused"]
    assert [line["why"] for line in refused] == ["it is the user of an agent or of a former queue"]
    assert world.matrix.reasons == {(ROOM, GHOST): RULES.texts.render("zh-CN", KEY, {"bot": BOT})}
    assert world.matrix.requests == [f"leave {ROOM} {GHOST}"] * 2
    assert ("aside", Outcome.DELIVERED) in world.counts.settled_rows


async def test_declining_a_withdrawn_invitation_needs_no_answer() -> None:
    world = World()
    world.matrix.trouble += [Refused("M_UNKNOWN")]
    await invited(world)
    assert world.matrix.requests == [f"leave {ROOM} {GHOST}"]
    world.matrix.trouble += [Unavailable("away")] * (len(AT_LENGTH) + 1)
    await invited(world)
    assert ("aside", Outcome.FAILED) in world.counts.settled_rows
    assert world.matrix.texts(ROOM) == []


async def test_an_agents_user_in_a_direct_room_says_where_to_write() -> None:
    world = World()
    world.speak(RULES.texts)
    world.matrix.trouble += [Unavailable("away")] * 2
    await invited(world, direct=True)
    (said,) = world.matrix.posted
    assert said.text.endswith(f"\nhttps://matrix.to/#/{BOT}")
    assert (said.sender, said.ping, said.mentions) == (GHOST, True, (ADA,))
    assert world.matrix.requests == ["declined.$e1"] * 3 + [f"leave {ROOM} {GHOST}"]
    assert ("aside", Outcome.DELIVERED) in world.counts.settled_rows

    world.matrix.trouble += [Refused("M_FORBIDDEN")]  # an agent whom somebody has made up
    await invited(world, direct=True)
    assert world.matrix.requests[4:] == ["declined.$e2", f"leave {ROOM} {GHOST}"]
    assert (await world.store.load(ROOM)).room is None or not (await world.stored()).customer


@pytest.mark.parametrize("chat", [Idle(), None])
async def test_it_names_the_room_in_which_the_customer_has_chatted(chat: Idle | None) -> None:
    world = World()
    world.speak(RULES.texts)
    shared = RoomRecord(RoomId("!0"), membership=Membership.JOINED, customer=ADA, direct=False)
    told = replace(shared, room_id=RoomId("!1"), direct=chat is not None, language=(3, "ja"))
    for record in (shared, told):
        await flow.step(world.store, stored_as(record, 0))
    await invited(world, direct=True)
    (said,) = world.matrix.texts(ROOM)
    text = RULES.texts.render("ja", "agents.write_there", {"link": "https://matrix.to/#/!1"})
    assert said.startswith(text) == (chat is not None)


async def test_it_says_nothing_where_the_bot_has_come_meanwhile() -> None:
    world = await idle()
    order = Decline(EventId("$i"), GHOST, "write to the bot", ADA, enterprise="")
    await decline(world.around, await world.stored(), order)
    assert world.matrix.requests == [f"leave {ROOM} {GHOST}"]


async def test_an_agents_user_that_is_invited_before_the_bot_says_nothing() -> None:
    """Into one group, as Element does it: the homeserver sends one invitation after the other."""
    world = World()
    async with world.running() as engine:
        await engine.accept_events([world.event("agent", whom=GHOST, direct=True)])
        await quiet()
        await engine.accept_events([world.invitation()])
        await world.clock.turn(COMPANY)
        assert (await world.stored()).membership is Membership.JOINED
    assert f"leave {ROOM} {GHOST}" in world.matrix.requests
    assert not [one for one in world.matrix.posted if one.sender == GHOST]


async def test_it_names_the_bot_of_the_agents_call_centre() -> None:
    """Not a chat with another call centre."""
    world, bot = await idle(), UserId("@second:example.org")
    rules = replace(world.around.rules, texts=RULES.texts)
    theirs = replace(rules, enterprise="second", bot=bot)
    world.around.rules = replace(rules, rules_of={"second": theirs}.get)
    order = Decline(EventId("$i"), GHOST, "write to the bot", ADA, enterprise="second")
    await decline(world.around, RoomRecord(RoomId("!own")), order)
    (said,) = world.matrix.posted
    assert said.text.endswith(f"\nhttps://matrix.to/#/{bot}")
