from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import pytest_asyncio

from bridge.ids import RoomId, UserId
from bridge.matrix.crypto.devices import OwnDevice, Upkeep
from bridge.matrix.crypto.keys import Owed, Readers, RoomKeys, Sharing, sealed_of
from bridge.matrix.crypto.peers import Channel, Device, Peers, Places, Scheme
from bridge.matrix.crypto.wire import MARKER, SHARED, Json
from bridge.rooms.ports import Unavailable
from bridge.rooms.store import SecretRow, StoreError
from tests.fakes.memory import MemoryStore
from tests.unit.matrix.crypto.test_places import Rooms, event
from tests.unit.matrix.crypto.world import (
    ALICE,
    AWAY,
    BOT,
    ROOM,
    USERS,
    Believing,
    Clock,
    FakeServer,
    Phone,
    World,
    deaf,
    new_vault,
)

pytestmark = pytest.mark.asyncio

SCHEME = Scheme(encrypted=True)
CAROL = "@carol:here"


class Desk:
    """A bridge device that writes into a room."""

    def __init__(self) -> None:
        self.world = World()
        self.rooms = Rooms()
        self.store = MemoryStore()
        self.own = OwnDevice.draw(BOT, "BOT")
        self.phone = Phone(self.world)
        self.clock = Clock()
        self.restart()

    @property
    def now(self) -> int:
        return self.clock.ms

    def restart(self) -> None:
        self.vault = new_vault(self.store)
        self.server = FakeServer(self.world)
        self.places = Places(self.rooms, USERS, self.vault)
        self.peers = Peers(self.server, self.clock)
        self.upkeep = Upkeep(self.vault, self.server, BOT, Clock(), deaf)
        self.upkeep._devices[BOT] = self.own  # as published
        parts = self.vault, self.server, self.peers, self.places, self.upkeep
        self.sharing = Sharing(*parts)

    async def say(self, text: str, scheme: Scheme = SCHEME, relation: Json | None = None) -> Json:
        message: Json = {"msgtype": "m.text", "body": text}
        if relation is not None:
            message["m.relates_to"] = relation
        return await self.encrypt(message, scheme)

    async def encrypt(self, message: Json, scheme: Scheme = SCHEME) -> Json:
        event = ("m.room.message", message)
        sealed = self.sharing.encrypt_at_once(self.own, ROOM, scheme, self.now, event)
        if sealed is not None:
            return sealed
        readers = await self.sharing.prepare(self.own, ROOM, scheme, self.now)
        sealed = await self.sharing.encrypt(BOT, readers, event, last=True)
        assert sealed is not None
        return sealed

    async def renew(self, device: Device) -> None:
        claimed = await self.sharing.claim(BOT, [device], self.now, anew=True)
        await self.sharing.renew(self.own, device, claimed.get(device, ""), self.now)

    async def owed(self, user: str) -> list[Owed]:
        names = (await self.sharing.owing({user})).get(user, [])
        return [one for name in names if (one := await self.vault.load(name, Owed)) is not None]

    def member(self, user: str, membership: str) -> None:
        self.rooms.membership[user] = membership
        self.places.changed(event("m.room.member", state_key=user))

    def text(self, phone: Phone, content: Json) -> object:
        phone.fetch()
        inner = phone.read(content)["content"]
        assert isinstance(inner, dict)
        return inner["body"]

    def can_read(self, phone: Phone, content: Json) -> bool:
        phone.fetch()
        return content["session_id"] in phone.room_keys


@pytest_asyncio.fixture
async def desk() -> Desk:
    made = Desk()
    await made.server.make_device(BOT, "BOT")
    return made


async def test_all_devices_in_the_room_can_decrypt(desk: Desk) -> None:
    second = Phone(desk.world, device_id="TABLET")
    content = await desk.say("hello", relation={"m.in_reply_to": {"event_id": "$1"}})
    assert desk.text(desk.phone, content) == desk.text(second, content) == "hello"
    assert content["m.relates_to"] == {"m.in_reply_to": {"event_id": "$1"}}
    assert content["device_id"] == "BOT"
    payload = desk.phone.read(content)
    assert (payload["room_id"], payload["type"]) == (ROOM, "m.room.message")


async def test_bridge_can_decrypt_its_own_messages(desk: Desk) -> None:
    """Also after a restart, from the first message of a session to its last."""
    sent = [await desk.say(text) for text in ("one", "two")]
    desk.restart()
    for content, text in zip(sent, ("one", "two"), strict=True):
        raw = event("m.room.encrypted") | {
            "room_id": ROOM, "sender": BOT, "event_id": f"${text}", "content": content
        }  # fmt: skip
        raw.pop("state_key", None)
        sealed = sealed_of(raw)
        assert sealed is not None
        found = await RoomKeys(desk.vault, Believing()).open(raw, sealed, desk.now)
        assert isinstance(found, dict)
        assert found["content"] == {"msgtype": "m.text", "body": text}


async def test_marker_is_also_outside_the_ciphertext(desk: Desk) -> None:
    message: Json = {"msgtype": "m.text", "body": "hello", MARKER: {"txn": "t1"}}
    sealed = await desk.encrypt(message)
    assert sealed[MARKER] == {"txn": "t1"}
    assert "body" not in sealed


async def test_the_session_of_an_erased_room_is_used_no_more(desk: Desk) -> None:
    """The key that it was first shared with opens what is erased; its own key is erased."""
    before = await desk.say("to be erased")
    desk.sharing.drop([RoomId("!other:here")].__contains__)
    assert (await desk.say("kept"))["session_id"] == before["session_id"]
    names = await desk.vault.names("in/")
    await desk.vault.save([SecretRow(name, None) for name in names])
    desk.sharing.drop([ROOM].__contains__)
    after = await desk.say("in the new room")
    assert after["session_id"] != before["session_id"]
    (stored,) = await desk.vault.names("in/")
    assert str(after["session_id"]) in stored
    assert desk.text(desk.phone, after) == "in the new room"


async def test_session_is_rotated_after_its_messages_or_time(desk: Desk) -> None:
    scheme = Scheme(True, rotate_messages=3, rotate_ms=1_000)
    ids = [(await desk.say(str(n), scheme))["session_id"] for n in range(7)]
    assert [len({*ids[0:3]}), len({*ids[3:6]}), len({*ids})] == [1, 1, 3]
    desk.clock.ms += 999
    assert (await desk.say("x", scheme))["session_id"] == ids[6]
    desk.clock.ms += 1
    later = (await desk.say("x", scheme))["session_id"]
    assert later != ids[6]
    desk.clock.ms = 0  # the clock went back: better a new session than an endless one
    assert (await desk.say("x", scheme))["session_id"] != later


async def test_restart_begins_a_new_session(desk: Desk) -> None:
    """Even with the same database, as it cannot tell whether it is the newest copy."""
    first = await desk.say("one")
    desk.restart()
    second = await desk.say("two")
    assert first["session_id"] != second["session_id"]
    assert desk.text(desk.phone, first) == "one"
    assert desk.text(desk.phone, second) == "two"
    assert desk.world.calls.count("claim") == 1  # the channel to the device is kept


async def test_readers_are_determined_again_only_after_a_change(desk: Desk) -> None:
    carol = Phone(desk.world, CAROL)
    desk.member(CAROL, "join")
    await desk.say("one")
    prepare, prepared = desk.sharing.prepare, 0

    async def counted(*given: Any) -> Readers:
        nonlocal prepared
        prepared += 1
        return await prepare(*given)

    desk.sharing.prepare = counted  # type: ignore[assignment, method-assign]  # the same, counted
    contents = [await desk.say(text) for text in ("two", "three")]
    assert prepared == 0
    desk.peers.cache.forget(CAROL)  # /sync said that something changed
    contents.append(await desk.say("four"))
    assert prepared == 1
    desk.places.changed(event("m.room.member", state_key=CAROL))
    contents += [await desk.say(text) for text in ("five", "six")]
    assert prepared == 2
    said = [desk.text(phone, content) for phone in (desk.phone, carol) for content in contents]
    assert said == ["two", "three", "four", "five", "six"] * 2


async def test_readers_without_a_key_are_retried_after_half_a_minute(desk: Desk) -> None:
    far = "@far:there"
    desk.world.away = {"there"}
    desk.member(far, "join")
    await desk.say("one")
    phone = Phone(desk.world, far)
    desk.world.away = set()
    await desk.say("one")
    desk.clock.ms += 30_000
    assert desk.text(phone, await desk.say("two")) == "two"


async def test_a_device_with_an_endless_fallback_key_keeps_no_key_from_others(desk: Desk) -> None:
    eve, claim = Phone(desk.world, "@eve:here"), desk.server.claim
    desk.member("@eve:here", "join")

    async def too_long(user: UserId, wanted: dict[str, dict[str, str]]) -> Json:
        if "@eve:here" in wanted:
            error = Unavailable("too long")
            error.begun = b"{"
            raise error
        return await claim(user, wanted)

    desk.server.claim = too_long  # type: ignore[method-assign]  # as with megabytes of keys
    content = await desk.say("one")
    assert desk.text(desk.phone, content) == "one"
    assert not desk.can_read(eve, content)
    desk.world.calls.clear()
    await desk.say("two")
    assert desk.world.calls == []
    desk.server.claim = claim  # type: ignore[method-assign]
    desk.clock.ms += 30_000
    assert desk.text(eve, await desk.say("three")) == "three"


@pytest.mark.parametrize("listed", [True, False])
async def test_message_that_nobody_could_read_waits_for_their_homeserver(
    desk: Desk, *, listed: bool
) -> None:
    """Whether or not the devices are known already; it is not asked for keys again at once."""
    far = "@far:there"
    phone = Phone(desk.world, far)
    desk.member(ALICE, "leave")
    desk.member(far, "join")
    if listed:
        await desk.peers.known(BOT, [far])
    desk.world.away = {"there"}
    for _ in range(2):
        with pytest.raises(Unavailable):
            await desk.say("one")
    assert "claim" not in desk.world.calls
    assert desk.world.calls.count("query") == 1 + listed
    desk.world.away = set()
    desk.clock.ms += 30_000
    content = await desk.say("one")
    assert desk.text(phone, content) == "one"
    desk.world.away = {"there"}
    desk.peers.cache.forget(far)
    assert desk.text(phone, await desk.say("two")) == "two"


async def test_key_that_cannot_be_stored_is_not_sent(desk: Desk) -> None:
    desk.store.down = True
    with pytest.raises(StoreError):
        await desk.say("x")
    assert "send_to_devices" not in desk.world.calls


async def test_failed_sending_of_a_key_is_repeated(desk: Desk) -> None:
    desk.world.fails["send_to_devices"] = AWAY
    with pytest.raises(Unavailable):
        await desk.say("x")
    del desk.world.fails["send_to_devices"]
    content = await desk.say("x")
    assert desk.text(desk.phone, content) == "x"


async def test_new_member_can_decrypt_from_then_on(desk: Desk) -> None:
    carol = Phone(desk.world, CAROL)
    before = await desk.say("before")
    desk.member(CAROL, "invite")
    after = await desk.say("after")
    assert before["session_id"] == after["session_id"]
    assert desk.text(carol, after) == "after"
    with pytest.raises(ValueError, match="index"):
        carol.read(before)


async def test_a_key_may_be_passed_on_while_the_room_shows_its_history(desk: Desk) -> None:
    """By the client of who invites somebody; a change of the setting changes the session."""

    async def passed_on() -> list[object]:
        await desk.say("hello")
        contents = [one["content"] for one in desk.phone.fetch()]
        return [key[SHARED] for key in contents if isinstance(key, dict)]

    assert await passed_on() == [False], "a room without the setting: as if for members only"
    for shown, shared in (("shared", True), ("invited", False), ("world_readable", True)):
        desk.rooms.states["m.room.history_visibility"] = {"history_visibility": shown}
        desk.places.changed(event("m.room.history_visibility"))
        assert await passed_on() == [shared]
        assert await passed_on() == []


async def test_former_member_can_decrypt_nothing_more(desk: Desk) -> None:
    carol = Phone(desk.world, CAROL)
    desk.member(CAROL, "join")
    assert desk.can_read(carol, await desk.say("before"))
    desk.member(CAROL, "leave")
    content = await desk.say("after")
    assert not desk.can_read(carol, content)
    assert desk.text(desk.phone, content) == "after"


async def test_a_removed_device_reads_nothing_more(desk: Desk) -> None:
    second = Phone(desk.world, device_id="TABLET")
    assert desk.can_read(second, await desk.say("before"))
    del desk.world.devices[ALICE]["TABLET"]
    desk.peers.cache.forget(ALICE)
    content = await desk.say("after")
    assert not desk.can_read(second, content)
    assert desk.text(desk.phone, content) == "after"


async def test_removed_device_that_may_have_the_key_reads_nothing_more(desk: Desk) -> None:
    """The homeserver delivered the key, but its answer was lost."""
    await desk.say("before")
    second = Phone(desk.world, device_id="TABLET")
    desk.peers.cache.forget(ALICE)
    send = desk.server.send_to_devices

    async def lose(user: UserId, kind: str, messages: Json) -> None:
        await send(user, kind, messages)
        raise AWAY

    desk.server.send_to_devices = lose  # type: ignore[method-assign]  # its answer is lost
    with pytest.raises(Unavailable):
        await desk.say("lost")
    desk.server.send_to_devices = send  # type: ignore[method-assign]
    del desk.world.devices[ALICE]["TABLET"]
    desk.peers.cache.forget(ALICE)
    content = await desk.say("after")
    assert not desk.can_read(second, content)
    assert desk.text(desk.phone, content) == "after"


async def test_a_new_device_gets_the_key(desk: Desk) -> None:
    await desk.say("before")
    second = Phone(desk.world, device_id="TABLET")
    desk.peers.cache.forget(ALICE)
    assert desk.text(second, await desk.say("after")) == "after"


async def test_somebody_without_a_device_reads_everything_with_the_next(desk: Desk) -> None:
    """Signed out, for the night; a second device reads from then on only."""
    del desk.world.devices[ALICE]["PHONE"]
    sent = [await desk.say(text) for text in ("one", "two")]
    (owed,) = await desk.owed(ALICE)
    assert (owed.user, owed.sender, owed.room_id) == (ALICE, BOT, ROOM)
    assert await desk.owed(CAROL) == []
    again = Phone(desk.world)
    desk.peers.cache.forget(ALICE)
    sent.append(await desk.say("three"))
    assert [desk.text(again, content) for content in sent] == ["one", "two", "three"]
    assert await desk.owed(ALICE) == []
    second = Phone(desk.world, device_id="TABLET")
    desk.peers.cache.forget(ALICE)
    assert desk.text(second, await desk.say("four")) == "four"
    with pytest.raises(ValueError, match="index"):
        second.read(sent[0])


async def test_few_of_a_crowd_without_devices_are_owed_keys(desk: Desk) -> None:
    """Who invites thousands, and has each message encrypted anew, fills no disk."""
    del desk.world.devices[ALICE]["PHONE"]
    await desk.say("one")
    for number in range(200):
        desk.member(f"@0{number}:here", "join")
    await desk.say("two")
    owing = await desk.sharing.owing({""})
    assert len(owing) == 50
    assert ALICE in owing, "who was owed a key already"


async def test_an_owed_key_that_cannot_be_stored_keeps_the_message_back(desk: Desk) -> None:
    """Each time, and the message that comes later is not said without it."""
    desk.member(CAROL, "join")
    await desk.say("one")  # Carol has no device
    desk.member("@dan:here", "join")
    save = desk.vault.save

    async def down(rows: Sequence[SecretRow]) -> None:
        if any(row.name.startswith("owed/") for row in rows):
            raise StoreError("down")
        await save(rows)

    desk.vault.save = down  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(StoreError):
            await desk.say("two")
    desk.vault.save = save  # type: ignore[method-assign]
    two = await desk.say("two")
    (owed,) = await desk.owed("@dan:here")
    assert owed.session_id == two["session_id"]


@pytest.mark.parametrize("why", ["old", "revoked", "restart", "replaced"])
async def test_no_session_is_begun_only_to_give_a_key(desk: Desk, why: str) -> None:
    """The former one is too old, somebody who has its key has left, it is gone, or replaced."""
    carol = Phone(desk.world, CAROL)
    del desk.world.devices[ALICE]["PHONE"]
    desk.member(CAROL, "join")
    content = await desk.say("one")
    await desk.say("also for this one")
    if why == "replaced":
        desk.clock.ms += SCHEME.rotate_ms
        assert (await desk.say("in between"))["session_id"] != content["session_id"]
    carol.fetch()
    again = Phone(desk.world)
    desk.peers.cache.forget(ALICE)
    if why == "old":
        desk.clock.ms += SCHEME.rotate_ms
    elif why == "revoked":
        desk.member(CAROL, "leave")
    else:
        desk.sharing._outbound.clear()
    for owed in await desk.owed(ALICE):
        readers = await desk.sharing.prepare(desk.own, ROOM, SCHEME, desk.now, only=ALICE)
        assert await desk.sharing.encrypt(BOT, readers, owed, last=True) == {}
    assert (desk.text(again, content), carol.fetch()) == ("one", [])
    assert await desk.owed(ALICE) == []
    later = await desk.say("two")
    assert desk.text(again, later) == "two"
    assert later["session_id"] != content["session_id"]
    assert desk.can_read(carol, later) == (why != "revoked")


@pytest.mark.parametrize("restart", [False, True])
async def test_an_owed_key_may_be_passed_on_like_the_others(desk: Desk, *, restart: bool) -> None:
    desk.rooms.states["m.room.history_visibility"] = {"history_visibility": "shared"}
    del desk.world.devices[ALICE]["PHONE"]
    await desk.say("hello")
    again = Phone(desk.world)
    desk.peers.cache.forget(ALICE)
    if restart:
        desk.sharing._outbound.clear()
    (owed,) = await desk.owed(ALICE)
    readers = await desk.sharing.prepare(desk.own, ROOM, SCHEME, desk.now, only=ALICE)
    await desk.sharing.encrypt(BOT, readers, owed, last=True)
    contents = [one["content"] for one in again.fetch()]
    assert [key[SHARED] for key in contents if isinstance(key, dict)] == [True]


@pytest.mark.parametrize("replaced", [False, True])
async def test_no_key_is_given_to_somebody_who_left_while_it_was_prepared(
    desk: Desk, replaced: bool
) -> None:
    """Their homeserver may take 15 seconds to answer for one-time keys, on purpose."""
    carol = Phone(desk.world, CAROL)
    desk.member(CAROL, "join")
    del desk.world.devices[ALICE]["PHONE"]
    await desk.say("before")
    (owed,) = await desk.owed(ALICE)
    again = Phone(desk.world)
    desk.peers.cache.forget(ALICE)
    readers = await desk.sharing.prepare(desk.own, ROOM, SCHEME, desk.now, only=ALICE)
    desk.member(ALICE, "leave")
    absent = await desk.say("absent")
    if replaced:
        desk.clock.ms += SCHEME.rotate_ms
        await desk.say("in another session")
    assert await desk.sharing.encrypt(BOT, readers, owed, last=True) == {}
    assert desk.text(carol, absent) == "absent"
    assert again.fetch() == []


async def test_somebody_who_left_without_a_device_reads_nothing_of_their_absence(
    desk: Desk,
) -> None:
    del desk.world.devices[ALICE]["PHONE"]
    await desk.say("before")
    desk.member(ALICE, "leave")
    absent = await desk.say("absent")
    desk.member(ALICE, "join")
    again = Phone(desk.world)
    desk.peers.cache.forget(ALICE)
    assert desk.text(again, await desk.say("after")) == "after"
    with pytest.raises(ValueError, match="index"):
        again.read(absent)


async def test_a_homeserver_that_is_away_does_not_end_the_session(desk: Desk) -> None:
    far = "@far:there"
    phone = Phone(desk.world, far)
    desk.member(far, "join")
    first = await desk.say("one")
    desk.peers.cache.forget(far)
    desk.world.away = {"there"}
    second = await desk.say("two")
    assert first["session_id"] == second["session_id"]
    assert desk.text(phone, second) == "two"
    desk.member(far, "leave")
    assert (await desk.say("three"))["session_id"] != first["session_id"]


async def test_device_without_one_time_keys_is_not_asked_each_time(desk: Desk) -> None:
    desk.world.one_time.clear()
    content = await desk.say("one")
    await desk.say("two")
    assert desk.world.calls.count("claim") == 1
    assert not desk.can_read(desk.phone, content)
    desk.phone.publish(1)
    desk.clock.ms += 3_600_000
    assert desk.text(desk.phone, await desk.say("three")) == "three"
    assert desk.text(desk.phone, content) == "one"


async def test_a_clock_that_went_back_leaves_nobody_without_keys(desk: Desk) -> None:
    desk.world.one_time.clear()
    await desk.say("one")
    desk.phone.publish(1)
    desk.clock.ms = 0
    assert desk.text(desk.phone, await desk.say("two")) == "two"


async def test_a_broken_channel_is_renewed(desk: Desk) -> None:
    await desk.say("one")
    desk.phone.fetch()
    desk.phone.sessions.clear()  # the phone lost them
    (device,) = (await desk.peers.known(BOT, [ALICE]))[ALICE].devices
    await desk.renew(device)
    (payload,) = desk.phone.fetch()
    assert payload["type"] == "m.dummy"
    desk.world.one_time.clear()
    await desk.renew(device)
    assert desk.phone.fetch() == []


async def test_a_key_that_is_shared_again_opens_the_first_messages_too(desk: Desk) -> None:
    """It may never have arrived; or it takes the place of the first one, as in matrix-nio."""
    first = await desk.say("one")
    desk.phone.fetch()
    desk.phone.room_keys.clear()
    (device,) = (await desk.peers.known(BOT, [ALICE]))[ALICE].devices
    desk.sharing.share_again(desk.own, {(device.user, device.curve25519)})
    second = await desk.say("two")
    assert first["session_id"] == second["session_id"]
    assert [desk.text(desk.phone, one) for one in (first, second)] == ["one", "two"]


async def test_an_empty_room_is_written_to_as_well(desk: Desk) -> None:
    desk.member(ALICE, "leave")
    assert (await desk.say("x"))["ciphertext"]
    assert "send_to_devices" not in desk.world.calls


async def test_other_tasks_get_a_turn_while_many_sessions_begin(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """48,000 devices, which a reply can list, blocked the event loop for 8 s."""
    turn, begun, begin = 0, Counter[int](), Channel.begin

    def counted(channel: Channel, device: Device, one_time: str) -> bool:
        begun[turn] += 1
        return begin(channel, device, one_time)

    async def turning() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(Channel, "begin", counted)
    for number in range(120):
        Phone(desk.world, user := f"@user{number}:here")
        desk.member(user, "join")
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(turning())
        await desk.say("hello")
        task.cancel()
    assert begun.total() > 120
    assert max(begun.values()) <= 50


async def test_device_is_free_for_other_rooms_while_a_key_goes_to_many_devices(desk: Desk) -> None:
    """A room of 10,000 devices kept other rooms' keys in its host's mailbox for half a minute."""
    send, sent, seen = desk.server.send_to_devices, 0, list[int]()

    async def other() -> None:
        async with desk.upkeep.holding(BOT):
            seen.append(sent)

    async def counted(*given: Any) -> None:
        nonlocal sent
        sent += 1
        if sent == 1:
            tasks.create_task(other())
        await asyncio.sleep(0)
        await send(*given)

    desk.server.send_to_devices = counted  # type: ignore[assignment, method-assign]
    for number in range(120):
        Phone(desk.world, user := f"@user{number}:here")
        desk.member(user, "join")
    async with asyncio.TaskGroup() as tasks:
        content = await desk.say("hello")
    assert (seen, sent) == ([1], 3)
    assert desk.text(desk.phone, content) == "hello"


async def test_message_is_not_sealed_for_those_who_leave_while_its_key_is_shared(
    desk: Desk,
) -> None:
    carol = Phone(desk.world, CAROL)
    desk.member(CAROL, "join")
    send = desk.server.send_to_devices

    async def leaving(*given: Any) -> None:
        desk.server.send_to_devices = send  # type: ignore[method-assign]
        await send(*given)
        desk.member(CAROL, "leave")

    desk.server.send_to_devices = leaving  # type: ignore[assignment, method-assign]
    event = ("m.room.message", Json(body="secret"))
    readers = await desk.sharing.prepare(desk.own, ROOM, SCHEME, desk.now)
    assert await desk.sharing.encrypt(BOT, readers, event, last=False) is None
    content = await desk.say("secret")
    assert not desk.can_read(carol, content)
    assert desk.text(desk.phone, content) == "secret"
