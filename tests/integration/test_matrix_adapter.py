"""The Matrix adapter against a real Synapse: rooms, transactions, directory, permissions."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import pytest_asyncio

from bridge.config.model import Bot
from bridge.conversation.model import CustomerText
from bridge.ids import EventId, QueueId, RoomId, UserId
from bridge.matrix.adapter import MatrixAdapter
from bridge.matrix.client import Homeserver
from bridge.rooms.ports import (
    Invited,
    NoticeText,
    Refused,
    RoomConfigured,
    Spoke,
    Unauthorized,
    Unavailable,
    Unreadable,
    Upgraded,
)
from tests.fakes.memory import MemoryStore
from tests.support.client import room_call, set_state
from tests.support.matrix_rig import Rig, running_rig
from tests.support.matrix_user import PATIENCE, CustomerError, content_of
from tests.support.synapse import register

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    async with running_rig(tmp_path_factory.mktemp("matrix")) as made:
        yield made


async def test_ping_reaches_the_bridge(rig: Rig) -> None:
    await rig.adapter.homeserver.ping("webchat")
    with pytest.raises(Refused):
        await rig.adapter.homeserver.ping("somebody-else")


async def test_messages_sent_before_the_bridge_joined_are_found(rig: Rig) -> None:
    customer = await rig.customer()
    await customer.call(
        "PUT", f"v3/profile/{customer.user_id}/displayname", {"displayname": "Wang  Wei"}
    )
    room_id = RoomId(await customer.create_dm(rig.users.bot, "is anybody there?"))
    second = await customer.say(room_id, "hello?")

    invited = await rig.intake.meaning(rig.adapter, room_id, Invited)
    assert (invited.by, invited.whom, invited.direct) == (
        customer.user_id,
        rig.users.bot,
        True,
    )
    entry = await rig.adapter.enter(room_id, rig.users.bot, invited.by)

    meanings = [rig.adapter.interpret(raw) for raw in entry.earlier]
    assert [m.plain for m in meanings if isinstance(m, Spoke)] == ["is anybody there?", "hello?"]
    assert entry.earlier[1]["event_id"] == second
    assert entry.earlier[1]["room_id"] == room_id
    assert (entry.found.direct, entry.found.encrypted, entry.found.displayname) == (
        True,
        False,
        "Wang Wei",
    )
    again = await rig.new_adapter().enter(room_id, rig.users.bot, invited.by)
    assert [raw["event_id"] for raw in again.earlier] == [raw["event_id"] for raw in entry.earlier]


async def test_messages_before_the_invitation_are_not_read(rig: Rig) -> None:
    customer = await rig.customer()
    other = await rig.customer()
    room_id = RoomId(await customer.create_dm(other.user_id, "a private matter", is_direct=False))
    await room_call(other, "join", room_id)
    await room_call(customer, "invite", room_id, {"user_id": rig.users.queue_user(QueueId(2))})
    await other.say(room_id, "good idea")
    entry = await rig.adapter.enter(
        room_id, rig.users.queue_user(QueueId(2)), UserId(customer.user_id)
    )
    assert [content_of(raw)["body"] for raw in entry.earlier] == ["good idea"]
    assert not entry.found.direct


async def test_a_message_of_a_room_that_the_bot_has_left_can_be_read(rig: Rig) -> None:
    """Such as the room before an upgrade, with a message that is to be sent again."""
    customer, bot = await rig.customer(), rig.users.bot
    room_id = RoomId(await customer.create_dm(bot, "hello"))
    await rig.adapter.enter(room_id, bot, UserId(customer.user_id))
    said = EventId(await customer.say(room_id, "my order 4711"))
    await rig.adapter.leave(room_id, bot, "")
    later = EventId(await customer.say(room_id, "are you gone?"))
    raw = await rig.adapter.event(room_id, bot, said)
    assert raw is not None
    assert content_of(raw)["body"] == "my order 4711"
    assert await rig.adapter.event(room_id, bot, later) is None


@pytest.mark.parametrize("into", ["!new:localhost", ""])
async def test_a_tombstone_set_before_the_bridge_joined_is_found(rig: Rig, into: str) -> None:
    """Unless it was undone."""
    customer = await rig.customer()
    state = {"type": "m.room.tombstone", "content": {"replacement_room": into}}
    room_id = RoomId(await customer.create_dm(rig.users.bot, "hello?", initial_state=[state]))
    entry = await rig.adapter.enter(room_id, rig.users.bot, UserId(customer.user_id))
    stones = [
        one for one in map(rig.adapter.interpret, entry.earlier) if not isinstance(one, Spoke)
    ]
    assert stones == ([Upgraded(RoomId(into))] if into else [])


async def test_room_settings_made_before_the_bridge_joined_are_found(rig: Rig) -> None:
    customer = await rig.customer()
    settings: dict[str, object] = {"queue": 2}
    state = {"type": "org.matrix_webchat.room", "content": settings}
    room_id = RoomId(await customer.create_dm(rig.users.bot, initial_state=[state]))
    entry = await rig.adapter.enter(room_id, rig.users.bot, UserId(customer.user_id))
    assert entry.found.config == settings
    assert entry.found.configured_by == customer.user_id
    changed = await set_state(customer, room_id, "org.matrix_webchat.room", {"queue": 1})
    assert rig.adapter.interpret(await rig.intake.event(changed)) == RoomConfigured(
        EventId(changed), UserId(customer.user_id), {"queue": 1}
    )


async def test_encrypted_room_is_recognised_and_its_messages_are_reported(rig: Rig) -> None:
    customer = await rig.customer()
    encryption = {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
    room_id = RoomId(await customer.create_dm(rig.users.bot, initial_state=[encryption]))
    sent = await customer.send(room_id, {"algorithm": "m.megolm.v1.aes-sha2"}, "m.room.encrypted")
    entry = await rig.adapter.enter(room_id, rig.users.bot, UserId(customer.user_id))
    assert entry.found.encrypted
    assert [rig.adapter.interpret(raw) for raw in entry.earlier] == [
        Unreadable(EventId(sent), UserId(customer.user_id), "unreadable.encrypted")
    ]


async def test_transactions_bring_customers_messages_but_not_the_bridges(rig: Rig) -> None:
    customer, room_id = await rig.served_room()
    ours = await rig.adapter.say(room_id, rig.users.bot, NoticeText(text="welcome"), "t1")
    event_id = await customer.say(
        room_id,
        "**two** items",
        format="org.matrix.custom.html",
        formatted_body="<b>two</b> items:<ul><li>a</li><li>b</li></ul>",
    )
    meaning = rig.adapter.interpret(await rig.intake.event(event_id))
    assert meaning == Spoke(
        EventId(event_id),
        UserId(customer.user_id),
        CustomerText("two items:\n- a\n- b"),
        plain="two items:\n- a\n- b",
    )
    assert ours not in rig.intake.events


async def test_store_down_keeps_the_transaction(rig: Rig) -> None:
    customer, room_id = await rig.served_room()
    rig.intake.down, rig.intake.refused = True, 0
    event_id = await customer.say(room_id, "do not lose me")
    await rig.intake.until_refused()
    assert event_id not in rig.intake.events
    rig.intake.down = False
    # A successful ping makes Synapse try again at once (reference matrix.md §1.3).
    await rig.adapter.homeserver.ping("webchat")
    assert content_of(await rig.intake.event(event_id))["body"] == "do not lose me"


async def test_power_levels(rig: Rig) -> None:
    customer = await rig.customer()
    other = await rig.customer()
    for version, highest in (("10", 100.0), ("12", math.inf)):
        room_id = RoomId(
            await customer.create_dm(rig.users.bot, room_version=version, preset="private_chat")
        )
        await rig.adapter.enter(room_id, rig.users.bot, UserId(customer.user_id))
        levels = await customer.state(room_id, "m.room.power_levels")
        users = levels["users"]
        assert isinstance(users, dict)
        await set_state(
            customer,
            room_id,
            "m.room.power_levels",
            levels | {"users": users | {other.user_id: 50}},
        )
        asked = [UserId(customer.user_id), UserId(other.user_id), UserId("@stranger:localhost")]
        found = await rig.adapter.power_levels(room_id, rig.users.bot, asked)
        assert found == dict(zip(asked, (highest, 50, 0), strict=True))


async def test_hosts_are_found_in_the_user_directory(rig: Rig) -> None:
    customer = await rig.customer()

    async def search(term: str) -> list[object]:
        """Search until there is a result: Synapse fills its directory in the background."""
        async with asyncio.timeout(PATIENCE):
            while True:
                found = await customer.call(
                    "POST", "v3/user_directory/search", {"search_term": term}
                )
                results = found["results"]
                assert isinstance(results, list)
                if results:
                    return [entry["user_id"] for entry in results]
                await asyncio.sleep(0.1)

    assert await search("Sales") == [rig.users.queue_user(QueueId(1))]
    assert rig.users.bot in await search("webchatbot")


async def test_nobody_else_can_take_a_ghosts_name(rig: Rig) -> None:
    with pytest.raises(Exception, match="reserved"):
        await register(rig.homeserver.server, rig.people, "webchat_zed", "secret")
    with pytest.raises(Exception, match="taken"):
        await register(rig.homeserver.server, rig.people, "webchat_queue_1", "secret")


async def test_stranger_cannot_make_the_bridge_join(rig: Rig) -> None:
    customer = await rig.customer()
    room_id = RoomId(await customer.create_dm("@nobody:localhost", is_direct=False))
    with pytest.raises(Refused, match="M_FORBIDDEN"):
        await rig.adapter.enter(room_id, rig.users.bot, UserId(customer.user_id))
    with pytest.raises(CustomerError, match="M_FORBIDDEN"):
        await (await rig.customer()).say(room_id, "let me in")


async def test_the_host_of_a_room_is_found_if_it_is_a_member(rig: Rig) -> None:
    customer, sales = await rig.customer(), rig.users.queue_user(QueueId(1))
    room_id = RoomId(await customer.create_dm(sales))
    assert await rig.adapter.host_in(room_id) is None
    await rig.adapter.enter(room_id, sales, UserId(customer.user_id))
    assert await rig.adapter.host_in(room_id) == sales
    await rig.adapter.leave(room_id, sales)
    assert await rig.adapter.host_in(room_id) is None


async def test_wrong_token_is_unauthorized_and_absent_server_is_unavailable(rig: Rig) -> None:
    for address, token, expected in (
        (rig.homeserver.server.address, "wrong", Unauthorized),
        ("http://127.0.0.1:9", "wrong", Unavailable),
    ):
        adapter = MatrixAdapter(
            Homeserver(rig.session, address, token, rig.users),
            users=rig.users,
            profiles=MemoryStore(),
            conversions=ThreadPoolExecutor(1),
        )
        with pytest.raises(expected):
            await adapter.ghosts.prepare([], Bot())
