"""The Matrix adapter against a real Synapse: everything that we rely on a homeserver to do."""

from __future__ import annotations

import asyncio
import io
import math
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from PIL import Image

from bridge.conversation.model import CustomerMedia, CustomerText
from bridge.ids import AgentId, EventId, QueueId, RoomId, UserId
from bridge.matrix.adapter import MatrixAdapter
from bridge.matrix.transactions import Endpoint, IntakeUnavailable, RawEvent
from bridge.matrix.transport import new_session
from bridge.rooms.inputs import Invited, MemberGone, RoomConfigured, Spoke, Unreadable
from bridge.rooms.ports import (
    Blob,
    NoticeText,
    Refused,
    RelayedMedia,
    RelayedText,
    TooBig,
    Unavailable,
)
from bridge.rooms.store import GhostRow
from bridge.webchat.frames import Agent
from tests.support.customer import (
    PATIENCE,
    Customer,
    CustomerError,
    content_of,
    membership,
    said,
)
from tests.support.synapse import Homeserver, running_homeserver

pytestmark = pytest.mark.asyncio(loop_scope="module")

T = TypeVar("T")


class MemoryProfiles:
    """What the store would keep, and how often it was written."""

    def __init__(self) -> None:
        self.rows: dict[str, GhostRow] = {}

    async def ghost(self, user_id: str) -> GhostRow | None:
        return self.rows.get(user_id)

    async def save_ghost(self, ghost: GhostRow) -> None:
        self.rows[ghost.user_id] = ghost


class MemoryIntake:
    """Takes transactions in, and can be out of order."""

    def __init__(self) -> None:
        self.events: dict[str, RawEvent] = {}
        self.down = False
        self.refused = 0
        self._news = asyncio.Condition()

    async def accept(self, events: Sequence[tuple[RoomId, EventId, RawEvent]]) -> None:
        async with self._news:
            self._news.notify_all()
            if self.down:
                self.refused += 1
                raise IntakeUnavailable
            for _, event_id, event in events:
                self.events.setdefault(event_id, event)

    async def until_refused(self) -> None:
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: self.refused > 0)

    async def event(self, event_id: str) -> RawEvent:
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: event_id in self.events)
            return self.events[event_id]

    async def meaning(self, adapter: MatrixAdapter, room_id: str, kind: type[T]) -> T:
        """The first event of the room that means this, arrived already or still to come."""

        def find() -> T | None:
            for event in self.events.values():
                if event["room_id"] == room_id:
                    meaning = adapter.interpret(event)
                    if isinstance(meaning, kind):
                        return meaning
            return None

        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: find() is not None)
            found = find()
            assert found is not None
            return found


class Rig:
    """Our side of it, up and running."""

    def __init__(
        self,
        homeserver: Homeserver,
        session: aiohttp.ClientSession,
        people: aiohttp.ClientSession,
    ) -> None:
        self.homeserver = homeserver
        self.users = homeserver.users
        self.session = session
        self.people = people
        self.profiles = MemoryProfiles()
        self.intake = MemoryIntake()
        self.adapter = self.new_adapter()
        self._count = 0

    def new_adapter(self) -> MatrixAdapter:
        """An adapter that remembers nothing but what is stored, as after a start of ours."""
        return MatrixAdapter(
            self.session,
            address=self.homeserver.server.address,
            as_token=self.homeserver.registration.as_token,
            users=self.users,
            profiles=self.profiles,
        )

    def application(self) -> web.Application:
        endpoint = Endpoint(
            hs_token=self.homeserver.registration.hs_token,
            is_ours=self.users.is_ours,
            accept=self.intake.accept,
            vouch=self.adapter.vouch,
            max_body=64 * 1024 * 1024,
        )
        app = web.Application()
        app.add_routes(endpoint.routes())
        return app

    async def customer(self) -> Customer:
        self._count += 1
        return await Customer.sign_up(self.people, self.homeserver.server, f"customer{self._count}")

    async def served_room(self, first: str = "hello") -> tuple[Customer, RoomId]:
        """A customer in a direct room with the bot, which has come in."""
        customer = await self.customer()
        room_id = RoomId(await customer.create_dm(self.users.bot, first))
        await self.adapter.enter(room_id, self.users.bot, UserId(customer.user_id))
        return customer, room_id


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def homeserver(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Homeserver]:
    async with running_homeserver(tmp_path_factory.mktemp("matrix")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(homeserver: Homeserver) -> AsyncIterator[Rig]:
    async with new_session(verify_tls=True) as session, aiohttp.ClientSession() as people:
        made = Rig(homeserver, session, people)
        runner = web.AppRunner(made.application(), handle_signals=False)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", homeserver.port).start()
        await made.adapter.prepare([(QueueId(1), "Sales"), (QueueId(2), "Support")])
        yield made
        await runner.cleanup()


def blob(data: bytes, mime: str = "", name: str = "", size: int | None = None) -> Blob:
    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 50_000):
            yield data[at : at + 50_000]

    return Blob(chunks=chunks(), size=size, mime=mime, name=name)


def picture(width: int = 60, height: int = 40, colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, "PNG")
    return out.getvalue()


ALICE = Agent(id=AgentId("Alice_7"), name="Alice")


async def test_ping_reaches_our_endpoint(rig: Rig) -> None:
    await rig.adapter.ping("webchat")
    with pytest.raises(Refused):
        await rig.adapter.ping("somebody-else")


async def test_first_message_sent_before_we_joined_is_found(rig: Rig) -> None:
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
    assert (entry.direct, entry.encrypted, entry.displayname) == (True, False, "Wang Wei")
    again = await rig.new_adapter().enter(room_id, rig.users.bot, invited.by)
    assert [raw["event_id"] for raw in again.earlier] == [raw["event_id"] for raw in entry.earlier]


async def test_what_was_said_before_the_invitation_is_not_ours(rig: Rig) -> None:
    customer = await rig.customer()
    other = await rig.customer()
    room_id = RoomId(await customer.create_dm(other.user_id, "a private matter", is_direct=False))
    await other.room_call("join", room_id)
    await customer.room_call("invite", room_id, {"user_id": rig.users.queue_user(QueueId(2))})
    await other.say(room_id, "good idea")
    entry = await rig.adapter.enter(
        room_id, rig.users.queue_user(QueueId(2)), UserId(customer.user_id)
    )
    assert [content_of(raw)["body"] for raw in entry.earlier] == ["good idea"]
    assert not entry.direct


async def test_room_settings_made_before_we_came_are_found(rig: Rig) -> None:
    customer = await rig.customer()
    settings: dict[str, object] = {"queue": 2}
    state = {"type": "org.matrix_webchat.room", "content": settings}
    room_id = RoomId(await customer.create_dm(rig.users.bot, initial_state=[state]))
    entry = await rig.adapter.enter(room_id, rig.users.bot, UserId(customer.user_id))
    assert entry.config == settings
    changed = await customer.set_state(room_id, "org.matrix_webchat.room", {"queue": 1})
    assert rig.adapter.interpret(await rig.intake.event(changed)) == RoomConfigured(
        EventId(changed), UserId(customer.user_id), {"queue": 1}
    )


async def test_encrypted_room_is_recognised_and_its_messages_are_reported(rig: Rig) -> None:
    customer = await rig.customer()
    encryption = {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
    room_id = RoomId(await customer.create_dm(rig.users.bot, initial_state=[encryption]))
    sent = await customer.send(room_id, {"algorithm": "m.megolm.v1.aes-sha2"}, "m.room.encrypted")
    entry = await rig.adapter.enter(room_id, rig.users.bot, UserId(customer.user_id))
    assert entry.encrypted
    assert [rig.adapter.interpret(raw) for raw in entry.earlier] == [
        Unreadable(EventId(sent), UserId(customer.user_id), "unreadable.encrypted")
    ]


async def test_transactions_bring_what_customers_say_and_no_echo(rig: Rig) -> None:
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
    await rig.adapter.ping("webchat")
    assert content_of(await rig.intake.event(event_id))["body"] == "do not lose me"


async def test_notice_reply_and_edit_in_place(rig: Rig) -> None:
    customer, room_id = await rig.served_room()
    asked = EventId(await customer.say(room_id, "how long?"))
    card = await rig.adapter.say(
        room_id, rig.users.bot, NoticeText(text="position 3", reply_to=asked), "card"
    )
    await rig.adapter.say(
        room_id, rig.users.bot, NoticeText(text="position 2", edits=card), "card-2"
    )
    seen = await customer.wait_for(room_id, said("position 3", rig.users.bot))
    assert content_of(seen)["msgtype"] == "m.notice"
    assert content_of(seen)["m.relates_to"] == {"m.in_reply_to": {"event_id": asked}}
    edit = await customer.wait_for(room_id, said("* position 2", rig.users.bot))
    assert content_of(edit)["m.relates_to"] == {"rel_type": "m.replace", "event_id": card}


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
    await rig.new_adapter().relay(room_id, rig.users.bot, nameless, RelayedText(html="hi"), "r1")
    renamed = Agent(id=AgentId("c3"), name="Carol B.")
    await rig.new_adapter().relay(room_id, rig.users.bot, renamed, RelayedText(html="ho"), "r2")
    await customer.wait_for(room_id, said("ho", ghost))
    # Synapse writes a member event for each change of profile, and for a second join none.
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
    event_id = await rig.adapter.relay(
        room_id, rig.users.bot, ALICE, RelayedText(html=html), "rich"
    )
    event = await customer.wait_for(room_id, lambda event: event.get("event_id") == event_id)
    content = content_of(event)
    assert content["body"] == "See our shop (https://shop.example/x) 🙂😁"
    assert content["formatted_body"] == (
        '<p>See <a href="https://shop.example/x">our shop</a> 🙂😁</p>'
    )
    assert event["sender"] == rig.adapter.ghost_of(ALICE)


async def test_long_text_becomes_several_messages(rig: Rig) -> None:
    customer, room_id = await rig.served_room()
    words = " ".join(f"word{number}" for number in range(9_000))
    await rig.adapter.relay(room_id, rig.users.bot, ALICE, RelayedText(html=words), "long")
    await rig.adapter.relay(room_id, rig.users.bot, ALICE, RelayedText(html=words), "long")
    await rig.adapter.relay(room_id, rig.users.bot, ALICE, RelayedText(html="end"), "end")
    await customer.wait_for(room_id, said("end"))
    bodies = [
        str(content_of(event)["body"])
        for event in customer.events(room_id)
        if event.get("sender") == rig.adapter.ghost_of(ALICE) and event["type"] == "m.room.message"
    ]
    assert " ".join(bodies) == f"{words} end"


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
    await rig.adapter.relay(room_id, rig.users.bot, ALICE, RelayedText(html="one"), "k1")
    await customer.room_call("kick", room_id, {"user_id": ghost})
    await rig.adapter.relay(room_id, rig.users.bot, ALICE, RelayedText(html="two"), "k2")
    await customer.wait_for(room_id, said("two", ghost))
    gone = await rig.intake.meaning(rig.adapter, room_id, MemberGone)
    assert gone == MemberGone(who=ghost, by=UserId(customer.user_id))


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
        await customer.set_state(
            room_id, "m.room.power_levels", levels | {"users": users | {other.user_id: 50}}
        )
        found = [
            await rig.adapter.power_level(room_id, rig.users.bot, UserId(user))
            for user in (customer.user_id, other.user_id, "@stranger:localhost")
        ]
        assert found == [highest, 50, 0]


async def test_hosts_are_found_in_the_user_directory(rig: Rig) -> None:
    customer = await rig.customer()
    found = await customer.call("POST", "v3/user_directory/search", {"search_term": "Sales"})
    results = found["results"]
    assert isinstance(results, list)
    assert [entry["user_id"] for entry in results] == [rig.users.queue_user(QueueId(1))]
    found = await customer.call("POST", "v3/user_directory/search", {"search_term": "webchatbot"})
    assert rig.users.bot in str(found["results"])


async def test_nobody_else_can_take_a_ghosts_name(rig: Rig) -> None:
    with pytest.raises(Exception, match="reserved"):
        await rig.homeserver.server.register(rig.people, "webchat_zed", "secret")
    with pytest.raises(Exception, match="taken"):
        await rig.homeserver.server.register(rig.people, "webchat_queue_1", "secret")


async def test_stranger_cannot_make_us_join(rig: Rig) -> None:
    customer = await rig.customer()
    room_id = RoomId(await customer.create_dm("@nobody:localhost", is_direct=False))
    with pytest.raises(Refused, match="M_FORBIDDEN"):
        await rig.adapter.enter(room_id, rig.users.bot, UserId(customer.user_id))
    with pytest.raises(CustomerError, match="M_FORBIDDEN"):
        await (await rig.customer()).say(room_id, "let me in")


async def test_wrong_token_is_refused_and_absent_server_is_unavailable(rig: Rig) -> None:
    for address, token, expected in (
        (rig.homeserver.server.address, "wrong", Refused),
        ("http://127.0.0.1:9", "wrong", Unavailable),
    ):
        adapter = MatrixAdapter(
            rig.session,
            address=address,
            as_token=token,
            users=rig.users,
            profiles=MemoryProfiles(),
        )
        with pytest.raises(expected):
            await adapter.prepare([])


async def test_same_transaction_id_is_one_event_also_across_a_restart(rig: Rig) -> None:
    customer, room_id = await rig.served_room()
    bob = Agent(id=AgentId("Bob_1"), name="Bob")
    first = await rig.adapter.relay(room_id, rig.users.bot, ALICE, RelayedText(html="A"), "same")
    other = await rig.adapter.relay(room_id, rig.users.bot, bob, RelayedText(html="B"), "same")
    notice = await rig.adapter.say(room_id, rig.users.bot, NoticeText(text="N"), "same")
    assert len({first, other, notice}) == 3

    await rig.homeserver.server.kill()
    with pytest.raises(Unavailable):
        await rig.adapter.say(room_id, rig.users.bot, NoticeText(text="N"), "same")
    await rig.homeserver.server.start()

    adapter = rig.new_adapter()
    assert first == await adapter.relay(
        room_id, rig.users.bot, ALICE, RelayedText(html="A"), "same"
    )
    assert other == await adapter.relay(room_id, rig.users.bot, bob, RelayedText(html="B"), "same")
    assert notice == await adapter.say(room_id, rig.users.bot, NoticeText(text="N"), "same")
    await adapter.prepare([(QueueId(1), "Sales"), (QueueId(2), "Support")])
    await customer.wait_for(room_id, said("N"))
    assert [content_of(e)["body"] for e in customer.events(room_id) if said("A")(e)] == ["A"]
