from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from functools import partial

import msgspec
import pytest
from structlog.testing import capture_logs
from vodozemac import GroupSession

from bridge.ids import RoomId, UserId
from bridge.matrix.crypto import crypto, devices
from bridge.matrix.crypto.vault import Notice
from bridge.matrix.crypto.wire import MEGOLM, SYNC_SECONDS, Json, mapping
from bridge.rooms.ports import Refused, Unavailable, Undecryptable
from bridge.rooms.references import KEY_PATIENCE
from bridge.rooms.store import SecretRow, StoreError
from tests.unit.matrix.crypto.rig import Bridge
from tests.unit.matrix.crypto.test_places import event
from tests.unit.matrix.crypto.world import (
    ALICE,
    AWAY,
    BOT,
    PAGE,
    QUEUE,
    REFUSED,
    ROOM,
    USERS,
    FakeServer,
)

pytestmark = pytest.mark.asyncio


async def test_unencrypted_event_is_returned_unchanged(bridge: Bridge) -> None:
    raw: Json = {"type": "m.room.message", "room_id": ROOM}
    assert await bridge.crypto.open(raw) is raw
    wrong: Json = {"type": "m.room.encrypted", "room_id": ROOM}
    assert await bridge.crypto.open(wrong) == Undecryptable("unreadable.undecryptable", later=False)


async def test_only_the_awaited_key_ends_the_wait(bridge: Bridge) -> None:
    async with bridge.running():
        await bridge.send_key()
        await bridge.until_told()
        assert bridge.told == [ROOM]
        bridge.phone.group = GroupSession()
        raw = bridge.phone.say("early")
        async with asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(bridge.crypto.open(raw, 60))
            await asyncio.sleep(0)
            bridge.phone.group = GroupSession()
            bridge.told.clear()
            await bridge.send_key()
            await bridge.until_told()
            assert not opening.done()
            opening.cancel()


async def test_event_is_decrypted_once_its_key_arrives(bridge: Bridge) -> None:
    async with bridge.running(), asyncio.timeout(30):
        early = bridge.phone.room_key()
        raw = bridge.phone.say("hello")
        async with asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(bridge.crypto.open(raw, 60))
            await asyncio.sleep(0.01)
            content = bridge.phone.write(BOT, "m.room_key", early)
            (device_id,) = bridge.world.devices[BOT]
            bridge.world.post(bridge.phone.user, BOT, device_id, "m.room.encrypted", content)
            await bridge.server.wake()
        opened = opening.result()
        assert isinstance(opened, dict)
        assert opened["type"] == "m.room.message"


async def test_missing_key_is_requested_once_by_each_host(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message with the key was lost; the phone sends the key again on request."""
    monkeypatch.setattr(crypto, "AFTER", 0.01)
    phone = bridge.phone
    raw = phone.say("hello", "$1", outside={"device_id": phone.device_id})
    first = phone.again()
    async with bridge.running(), asyncio.timeout(30):
        async with asyncio.TaskGroup() as tasks:
            both = [tasks.create_task(bridge.crypto.open(raw, 60)) for _ in range(2)]
            requests = await bridge.requests(2)
            assert {one["requesting_device_id"] for one in requests} == {
                bridge.crypto.upkeep.device_id
            }
            body = requests[0]["body"]
            assert isinstance(body, dict)
            assert (body["room_id"], body["session_id"]) == (ROOM, first["session_id"])
            (device_id,) = bridge.world.devices[BOT]
            content = phone.write(BOT, "m.forwarded_room_key", first)
            bridge.world.post(phone.user, BOT, device_id, "m.room.encrypted", content)
            await bridge.server.wake()
        assert [one.result()["content"]["body"] for one in both] == ["hello"] * 2  # type: ignore[index]  # opened
        assert len(await bridge.requests(2)) == 2  # by each host, once


async def test_failed_sync_is_repeated(bridge: Bridge) -> None:
    unknown, slept = Refused("M_UNKNOWN_DEVICE"), bridge.time.slept
    for trouble in (AWAY, REFUSED, unknown, StoreError("away"), RuntimeError("ours")):
        bridge.world.fails["sync"] = trouble
        slept.clear()
        bridge.told.clear()
        async with bridge.running():
            await bridge.server.wake()
            async with asyncio.timeout(30), bridge.time.turned:
                await bridge.time.turned.wait_for(lambda: sum(one < 30 for one in slept) >= 4)
            del bridge.world.fails["sync"]
            await bridge.send_key()
            await bridge.until_told()


async def test_mailboxes_are_tried_again_while_messages_wait_for_keys(bridge: Bridge) -> None:
    """After an outage, too; it is logged once for each host."""
    bridge.world.fails["sync"], slept = AWAY, bridge.time.slept
    with capture_logs() as logs:
        async with bridge.running(), asyncio.timeout(30), bridge.time.turned:
            await bridge.time.turned.wait_for(lambda: sum(one < 30 for one in slept) >= 12)
    assert max(one for one in slept if one < 30) * 1000 < KEY_PATIENCE / 2
    failed = [one["user"] for one in logs if one["event"] == "a mailbox cannot be read yet"]
    assert len(failed) == len(set(failed)) > 0


@pytest.mark.parametrize("restored", [False, True])
async def test_room_keys_are_shared_again_after_an_outage_if_the_homeserver_was_restored(
    bridge: Bridge, restored: bool
) -> None:
    async def session() -> object:
        _, content = await bridge.crypto.seal(BOT, ROOM, "m.room.message", {"body": "x"})
        return content["session_id"]

    backup = copy.deepcopy(bridge.world.one_time)
    async with bridge.running(), asyncio.timeout(30):
        await bridge.caught_up()
        before = await session()
        bridge.world.fails["sync"] = AWAY
        await bridge.server.wake()
        async with bridge.time.turned:
            await bridge.time.turned.wait_for(lambda: sum(s < 30 for s in bridge.time.slept) >= 4)
        if restored:
            bridge.world.one_time = backup
        bridge.world.calls.clear()
        bridge.server.reading.clear()
        del bridge.world.fails["sync"]
        await bridge.caught_up()
        assert (bridge.crypto._peers.cache.get(ALICE) is None) is restored
        assert (await session() != before) is restored
        assert bridge.world.calls.count("upload_keys") == (len(USERS.hosts) if restored else 0)
        assert restored or bridge.world.calls.count("claim") == len(USERS.hosts)
        await bridge.send_key()
        await bridge.until_told()


async def test_one_warning_names_all_mailboxes_that_stay_unread(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None comes of a homeserver that is restarted between two checks."""
    sleep, due, begun = bridge.time.sleep, asyncio.Event(), asyncio.Event()

    async def wait(seconds: float) -> None:
        if seconds < SYNC_SECONDS:
            await sleep(seconds)
            return
        begun.set()
        await due.wait()
        due.clear()

    async def check() -> None:
        begun.clear()
        due.set()
        await begun.wait()

    async def outage(checks: int) -> None:
        bridge.time.slept.clear()
        bridge.world.fails["sync"] = AWAY
        await bridge.server.wake()
        async with bridge.time.turned:
            await bridge.time.turned.wait_for(lambda: len(bridge.time.slept) >= 12)
        for _ in range(checks):
            await check()
        bridge.server.reading.clear()
        del bridge.world.fails["sync"]
        await bridge.caught_up()
        await check()

    monkeypatch.setattr(bridge.time, "sleep", wait)
    with capture_logs() as logs:
        async with bridge.running(), asyncio.timeout(30):
            await bridge.caught_up()
            await begun.wait()
            for checks in (1, 1, 4, 2):
                await outage(checks)
    lasting = {
        "event": "mailboxes cannot be read",
        "log_level": "warning",
        "users": sorted(USERS.hosts),
        "why": ["away"],
    }
    assert [one for one in logs if one["log_level"] == "warning"] == [lasting] * 2


async def test_few_one_time_keys_are_used_up_while_only_sync_fails(bridge: Bridge) -> None:
    """Though the homeserver may be restored in a long outage, too."""
    bridge.world.fails["sync"], slept = AWAY, bridge.time.slept
    async with bridge.running(), asyncio.timeout(30):
        for looks in (1, 2):
            slept.clear()
            async with bridge.time.turned:
                await bridge.time.turned.wait_for(lambda: sum(one < 30 for one in slept) >= 12)
            assert bridge.world.calls.count("claim") == looks * len(USERS.hosts)
            bridge.time.ms += crypto._LOOK_MS


async def test_mailbox_is_read_although_the_homeserver_hands_out_no_keys(bridge: Bridge) -> None:
    bridge.world.fails["claim"] = REFUSED
    async with bridge.running(), asyncio.timeout(30):
        await bridge.send_key()
        await bridge.until_told()


async def test_failed_saving_of_notes_does_not_end_the_reading(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise ValueError

    async with bridge.running():
        with monkeypatch.context() as patch:
            patch.setattr(bridge.crypto._keys, "save", broken)
            await bridge.caught_up()
            async with bridge.time.turned:
                await bridge.time.turned.wait_for(lambda: bridge.time.slept.count(30) > 1)
        await bridge.send_key()
        await bridge.until_told()


async def test_host_whose_device_is_unknown_to_sync_gets_it_again(bridge: Bridge) -> None:
    async with bridge.running():
        await bridge.caught_up()
        (device_id,) = bridge.world.devices[BOT]
        for trouble, there in ((REFUSED, set()), (Refused("M_UNKNOWN_DEVICE"), {device_id})):
            bridge.world.devices[BOT].clear()
            bridge.world.fails["sync"] = trouble
            bridge.time.slept.clear()
            await bridge.server.wake()
            async with asyncio.timeout(30), bridge.time.turned:
                await bridge.time.turned.wait_for(lambda: len(bridge.time.slept) >= 4)
            assert bridge.world.devices[BOT].keys() == there


async def test_clear_room_is_not_encrypted_before_encryption_is_enabled(bridge: Bridge) -> None:
    content: Json = {"body": "x"}
    del bridge.rooms.states["m.room.encryption"]
    assert await bridge.crypto.seal(BOT, ROOM, "m.room.message", content) == (
        "m.room.message",
        content,
    )
    assert not await bridge.crypto.is_encrypted(BOT, ROOM)
    bridge.rooms.states["m.room.encryption"] = {"algorithm": MEGOLM}
    assert isinstance(await bridge.crypto.open(event("m.room.encryption")), dict)
    assert await bridge.crypto.is_encrypted(BOT, ROOM)


async def test_messages_are_encrypted_but_reactions_are_not(bridge: Bridge) -> None:
    kind, content = await bridge.crypto.seal(BOT, ROOM, "m.room.message", {"body": "x"})
    assert kind == "m.room.encrypted"
    bridge.phone.fetch()
    assert bridge.phone.read(content)["content"] == {"body": "x"}
    reaction: Json = {"m.relates_to": {}}
    assert await bridge.crypto.seal(BOT, ROOM, "m.reaction", reaction) == ("m.reaction", reaction)


async def test_the_user_of_a_removed_queue_is_read_once_it_writes(bridge: Bridge) -> None:
    """Its rooms go on, with keys that come to it alone."""
    former = UserId("@webchat_queue_9:here")
    await bridge.crypto.ensure(former)
    async with bridge.running():
        await bridge.caught_up()
        for text in ("x", "y"):
            await bridge.crypto.seal(former, ROOM, "m.room.message", {"body": text})
        async with asyncio.timeout(30), bridge.server.news:
            await bridge.server.news.wait_for(lambda: former in bridge.server.reading)


async def test_ghost_reads_its_mailbox_before_a_new_session(bridge: Bridge) -> None:
    ghost = UserId("@ghosta:here")
    await bridge.crypto.ensure(ghost)
    bridge.world.calls.clear()

    async def sync(user: object, since: str, *, wait: bool, device: str = "") -> Json:
        bridge.world.calls.append("sync")
        return {"next_batch": "7"}

    bridge.server.sync = sync  # type: ignore[method-assign]  # an empty mailbox
    await bridge.crypto.seal(ghost, ROOM, "m.room.message", {"body": "x"})
    await bridge.crypto.seal(ghost, ROOM, "m.room.message", {"body": "y"})
    await bridge.crypto.seal(ghost, RoomId("!other:here"), "m.room.message", {"body": "z"})
    assert bridge.world.calls.count("sync") == 1
    bridge.time.ms -= 3_600_000  # the clock went back
    await bridge.crypto.seal(ghost, RoomId("!third:here"), "m.room.message", {"body": "z"})
    assert bridge.world.calls.count("sync") == 2


async def test_failed_read_of_a_ghosts_mailbox_delays_nothing_and_is_repeated(
    bridge: Bridge,
) -> None:
    ghost, rooms = UserId("@ghosta:here"), [ROOM, RoomId("!other:here"), RoomId("!third:here")]
    await bridge.crypto.ensure(ghost)
    bridge.world.calls.clear()
    for room, trouble in zip(rooms, (AWAY, REFUSED, None), strict=True):
        bridge.world.fails.pop("sync", None)
        if trouble is not None:
            bridge.world.fails["sync"] = trouble
        sealed = await bridge.crypto.seal(ghost, room, "m.room.message", {"body": "x"})
        assert sealed[0] == "m.room.encrypted"
        again = await bridge.crypto.seal(ghost, room, "m.room.message", {"body": "y"})
        assert again[1]["session_id"] == sealed[1]["session_id"]
        bridge.time.ms += crypto._MAILBOX_MS
    assert bridge.world.calls.count("sync") == 3


async def test_ghost_does_not_wait_for_long_for_its_mailbox(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    ghost = UserId("@ghosta:here")
    await bridge.crypto.ensure(ghost)

    async def hangs(*_: object, **__: object) -> Json:
        await asyncio.Event().wait()
        return {}

    monkeypatch.setattr(bridge.server, "sync", hangs)
    monkeypatch.setattr(crypto, "_MENDING", 0.01)
    async with asyncio.timeout(30):
        sealed = await bridge.crypto.seal(ghost, ROOM, "m.room.message", {"body": "x"})
    assert sealed[0] == "m.room.encrypted"


@pytest.mark.parametrize("user", [BOT, UserId("@ghosta:here")])
async def test_a_device_that_could_not_decrypt_a_key_gets_it_again(
    bridge: Bridge, user: UserId
) -> None:
    """It lost its one-time key, and begins an olm session for what it has to send itself."""
    if user != BOT:
        bridge.server.sync = partial(FakeServer.sync, bridge.server)  # type: ignore[method-assign]
    await bridge.crypto.ensure(user)
    first = await bridge.crypto.seal(user, ROOM, "m.room.message", {"body": "unreadable"})
    bridge.world.mailboxes.clear()
    bridge.phone.send_key(user)
    if user == BOT:
        async with bridge.running():
            await bridge.until_told()
    bridge.time.ms += crypto._MAILBOX_MS
    second = await bridge.crypto.seal(user, ROOM, "m.room.message", {"body": "readable"})
    assert [one["type"] for one in bridge.phone.fetch()] == ["m.room_key"]
    assert mapping(bridge.phone.read(second[1]), "content") == {"body": "readable"}
    assert first[1]["session_id"] == second[1]["session_id"]
    await bridge.crypto.seal(user, ROOM, "m.room.message", {"body": "again"})
    assert bridge.phone.fetch() == []  # once


@pytest.mark.parametrize("fails", ["", "query", "claim", "names"])
async def test_somebody_without_a_device_gets_the_key_once_there_is_one(
    bridge: Bridge, fails: str
) -> None:
    """Without another message: the agent may have left. What fails is tried again.

    A login changes the list before the device has keys, and each host is told of it.
    """
    ghost, alice = UserId("@ghosta:here"), bridge.phone.user
    await bridge.crypto.ensure(ghost)
    listed = bridge.world.devices[alice].popitem()
    one_time = len(bridge.world.one_time[alice, "PHONE"])
    _, content = await bridge.crypto.seal(ghost, ROOM, "m.room.message", {"body": "overnight"})
    notice = msgspec.json.encode(Notice(users=(alice,))).decode()
    names, failed = bridge.crypto._vault.names, asyncio.Event()

    async def down(prefix: str) -> list[str]:
        bridge.crypto._vault.names = names
        failed.set()
        raise StoreError(prefix)

    async with bridge.running(), asyncio.timeout(30):
        await bridge.caught_up()
        for _ in range(6):
            bridge.crypto.on_notice(notice)
        while bridge.crypto._to_give:  # noqa: ASYNC110 - another task
            await asyncio.sleep(0)
        assert bridge.phone.fetch() == [], "no device yet"
        bridge.world.devices[alice] = dict([listed])
        if fails == "names":
            bridge.crypto._vault.names = down
        elif fails:
            bridge.world.fails[fails] = AWAY
        bridge.crypto.on_notice(notice)
        while fails and not (failed.is_set() or bridge.world.calls[-1] == fails):  # noqa: ASYNC110 - another task
            await asyncio.sleep(0)
        bridge.world.fails.clear()
        while not (there := bridge.phone.fetch()):  # noqa: ASYNC110 - another task
            await asyncio.sleep(0)
    assert [one["type"] for one in there] == ["m.room_key"]
    assert len(bridge.world.one_time[alice, "PHONE"]) == one_time - 1
    assert mapping(bridge.phone.read(content), "content") == {"body": "overnight"}
    assert await bridge.crypto._sharing.owing({""}) == {}


async def test_owed_keys_are_given_after_a_start_too(bridge: Bridge) -> None:
    """A bridge that was killed when it had just been told of the login is not told again."""
    await bridge.crypto.ensure(BOT)
    listed = bridge.world.devices[bridge.phone.user].popitem()
    _, content = await bridge.crypto.seal(BOT, ROOM, "m.room.message", {"body": "overnight"})
    bridge.world.devices[bridge.phone.user] = dict([listed])
    bridge.start(bridge.store)
    await bridge.crypto.ensure(BOT)
    async with bridge.running(), asyncio.timeout(30):
        while not bridge.phone.fetch():  # noqa: ASYNC110 - another task
            await asyncio.sleep(0)
    assert mapping(bridge.phone.read(content), "content") == {"body": "overnight"}


async def test_ghost_renews_broken_olm_sessions_before_it_writes(bridge: Bridge) -> None:
    ghost = UserId("@ghosta:here")
    await bridge.crypto.ensure(ghost)
    broken: Json = {"code": "m.no_olm", "sender_key": bridge.phone.keys["curve25519"]}
    event: Json = {
        "type": "m.room_key.withheld", "sender": bridge.phone.user, "content": broken
    }  # fmt: skip

    async def sync(user: object, since: str, *, wait: bool, device: str = "") -> Json:
        if user != ghost:
            await asyncio.Event().wait()
        return {"next_batch": "7", "to_device": {"events": [event]}}

    bridge.server.sync = sync  # type: ignore[method-assign]  # the ghost's mailbox alone
    async with bridge.running(), asyncio.timeout(30):
        await asyncio.sleep(0)
        await bridge.crypto.seal(ghost, ROOM, "m.room.message", {"body": "x"})
    assert [one["type"] for one in bridge.phone.fetch()] == ["m.dummy", "m.room_key"]


async def test_the_token_of_an_older_homeserver_is_used(bridge: Bridge) -> None:
    ghost = UserId("@ghostc:here")

    async def make_device(user: UserId, device_id: str) -> str:
        bridge.world.made.append((user, device_id))
        return "token"

    bridge.server.make_device = make_device  # type: ignore[method-assign]  # an older one
    await bridge.crypto.ensure(ghost)
    assert bridge.server.tokens == {ghost: "token"}


async def test_backup_made_just_before_the_stop_is_detected(bridge: Bridge) -> None:
    async with bridge.running():
        await bridge.caught_up()
        backup = bridge.store.copy()
        await bridge.crypto.seal(BOT, ROOM, "m.room.message", {"body": "of the lost second"})
    bridge.start(bridge.store)
    assert await bridge.crypto.upkeep.check()
    bridge.start(backup)
    assert not await bridge.crypto.upkeep.check()


async def test_a_copy_of_before_a_message_is_an_older_one_though_no_mailbox_can_be_read(
    bridge: Bridge,
) -> None:
    bridge.world.fails["sync"] = AWAY
    async with asyncio.timeout(30), bridge.running():
        await bridge.crypto.ensure(BOT)
        backup, mark = bridge.store.copy(), bridge.world.marks[BOT]
        bridge.time.ms += devices.EVERY
        await bridge.crypto.seal(BOT, ROOM, "m.room.message", {"body": "x"})
        async with bridge.time.turned:
            await bridge.time.turned.wait_for(lambda: bridge.world.marks[BOT] != mark)
    bridge.start(backup)
    assert not await bridge.crypto.upkeep.check()


@pytest.mark.parametrize("why", ["never settled", "away", "slow"])
async def test_mark_stays_if_none_can_be_set_at_the_stop(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """A database that may be an older copy must not be marked as the newest."""
    monkeypatch.setattr(devices, "_LAST", 0.01)
    backup = bridge.store.copy()
    await bridge.crypto.ensure(BOT)
    mark = bridge.world.marks[BOT]

    async def slow(user: UserId, mark: str) -> None:
        del user, mark
        await asyncio.Event().wait()

    if why == "slow":
        bridge.server.set_mark = slow  # type: ignore[method-assign]  # a slow one
    elif why == "away":
        bridge.world.fails["set_mark"] = AWAY
    else:
        bridge.start(backup)
    async with asyncio.timeout(30), bridge.running():
        await asyncio.sleep(0)
    assert bridge.world.marks[BOT] == mark


async def test_a_restored_database_reads_its_old_mailbox_and_writes_with_new_sessions(
    bridge: Bridge,
) -> None:
    """Messages sent meanwhile are decrypted with the old keys, which encrypt nothing more."""
    await bridge.crypto.seal(BOT, ROOM, "m.room.message", {"body": "before"})
    bridge.phone.fetch()
    backup, (old,) = bridge.store.copy(), bridge.world.devices[BOT]
    bridge.time.ms += 3_600_000
    bridge.start(bridge.store)
    await bridge.crypto.upkeep.begin()
    await bridge.crypto.seal(BOT, ROOM, "m.room.message", {"body": "of the lost hour"})
    bridge.phone.fetch()
    for _ in range(2 * PAGE):
        bridge.world.post("@eve:here", BOT, old, "m.dummy", {})
    bridge.phone.send_key(BOT)
    raw = bridge.phone.say("said while it was away")

    bridge.start(backup)
    await bridge.crypto.upkeep.begin()
    kind, content = await bridge.crypto.seal(BOT, ROOM, "m.room.message", {"body": "after"})
    assert kind == "m.room.encrypted"
    assert content["device_id"] != old
    letter = bridge.world.mailboxes[bridge.phone.user, bridge.phone.device_id][-1][1]["content"]
    assert isinstance(letter, dict)
    assert letter["sender_key"] == content["sender_key"]
    assert [part["type"] for part in letter["ciphertext"].values()] == [0]  # first of a new session
    bridge.phone.fetch()
    assert bridge.phone.read(content)["content"] == {"body": "after"}
    opened = await bridge.crypto.open(raw)
    assert isinstance(opened, dict)
    assert opened["content"] == {"msgtype": "m.text", "body": "said while it was away"}


async def test_refused_device_is_fatal_only_if_the_user_is_missing(bridge: Bridge) -> None:
    bridge.world.fails["make_device"] = Refused("M_UNKNOWN")
    await bridge.crypto.ensure(UserId("@ghostb:here"))
    bridge.world.fails["make_device"] = REFUSED  # there is no such user
    with pytest.raises(Refused):
        await bridge.crypto.ensure(UserId("@ghostb:here"))
    bridge.world.fails["make_device"] = AWAY
    with pytest.raises(Unavailable):
        await bridge.crypto.ensure(UserId("@ghostb:here"))
    del bridge.world.fails["make_device"]
    await bridge.crypto.mend(UserId("@ghostb:here"))


async def test_concurrent_senders_claim_one_one_time_key_each(bridge: Bridge) -> None:
    """Each determines the readers; a result that equals another's does not count as a change."""
    ours = BOT, QUEUE, UserId("@ghost1:here")
    for user in ours:
        await bridge.crypto.ensure(user)
    claim, there = bridge.server.claim, bridge.world.one_time["@alice:here", "PHONE"]

    async def claim_slowly(user: UserId, wanted: dict[str, dict[str, str]]) -> Json:
        found = await claim(user, wanted)
        await asyncio.sleep(0)
        return found

    bridge.server.claim = claim_slowly  # type: ignore[method-assign]  # meanwhile others ask
    before = len(there)
    sealing = (bridge.crypto.seal(user, ROOM, "m.room.message", {"body": user}) for user in ours)
    sealed = [content for _, content in await asyncio.gather(*sealing)]
    assert before - len(there) == len(ours)
    bridge.phone.fetch()
    said = [mapping(bridge.phone.read(content), "content")["body"] for content in sealed]
    assert said == list(ours)


async def test_earlier_of_two_copies_for_different_hosts_is_kept(bridge: Bridge) -> None:
    for host in (BOT, QUEUE):
        await bridge.crypto.ensure(host)
    early = bridge.phone.room_key()
    first, second = bridge.phone.say("first", "$1"), bridge.phone.say("second", "$2")
    late = bridge.phone.room_key()
    for host, key in ((BOT, early), (QUEUE, late)):
        (device_id,) = bridge.world.devices[host]
        bridge.phone.sessions.clear()
        content = bridge.phone.write(host, "m.room_key", key)
        bridge.world.post(bridge.phone.user, host, device_id, "m.room.encrypted", content)
    secret, save = bridge.store.secret, bridge.store.save_secrets

    async def read(name: str) -> bytes | None:
        found = await secret(name)
        await asyncio.sleep(0.01)
        return found

    async def write(rows: Sequence[SecretRow]) -> None:
        if any(row.name == f"since/{QUEUE}" for row in rows):
            await asyncio.sleep(0.05)
        await save(rows)

    bridge.store.secret = read  # type: ignore[method-assign]  # others come in between
    bridge.store.save_secrets = write  # type: ignore[method-assign]  # the later copy's comes last
    async with bridge.running():
        await bridge.caught_up()
        assert isinstance(await bridge.crypto.open(first), dict)
    assert isinstance(await bridge.crypto.open(second), dict)
