from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest
import pytest_asyncio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from vodozemac import GroupSession

from bridge.matrix.crypto import crypto
from bridge.matrix.crypto.crypto import Arrivals, Mail, News
from bridge.matrix.crypto.devices import Upkeep
from bridge.matrix.crypto.keys import NO_KEY, RoomKey, RoomKeys, Sharing, sealed_of
from bridge.matrix.crypto.peers import Peers, Places
from bridge.matrix.crypto.wire import OLM, Json, to_base64
from bridge.rooms.ports import Refused, Unavailable, Undecryptable
from bridge.rooms.store import SecretRow, Stale, StoreError
from tests.fakes.memory import MemoryStore
from tests.unit.matrix.crypto.test_places import Rooms
from tests.unit.matrix.crypto.world import (
    ALICE,
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


class Doubting(Believing):
    async def is_owner(self, user: str, key: RoomKey, now: int, *, ask: bool = True) -> bool:
        return False


class Post:
    """The bot's mailbox, and a phone that writes to it."""

    def __init__(self) -> None:
        self.world = World()
        self.store = MemoryStore()
        self.clock = Clock()

    async def start(self) -> None:
        vault, self.server, rooms = new_vault(self.store), FakeServer(self.world), Rooms()
        self.upkeep = Upkeep(vault, self.server, BOT, Clock(), deaf)
        self.peers, self.keys = Peers(self.server, self.clock), RoomKeys(vault, Believing())
        places = Places(rooms, USERS, vault)
        sharing = Sharing(vault, self.server, self.peers, places, self.upkeep)
        parts = self.upkeep, self.peers, self.keys, sharing
        self.arrivals = Arrivals(vault, self.server, *parts, "here")
        await self.upkeep.begin()
        await self.upkeep.current(BOT)

    async def read(self) -> News:
        mail = await self.arrivals.fetch(BOT, wait=False)
        async with self.upkeep.holding(BOT) as own:
            news = await self.arrivals.absorb(own, mail, self.clock.ms)
            await self.upkeep.replenish(own, mail.reply)
        for sender, curve25519 in news.broken:
            await self.arrivals.renew(BOT, sender, curve25519, self.clock.ms)
        return news

    async def opened(self, raw: Json) -> object:
        sealed = sealed_of(raw)
        assert sealed is not None
        return await self.keys.open(raw, sealed, self.clock.ms)

    def post(self, kind: str, content: Json) -> None:
        (device_id,) = self.world.devices[BOT]
        self.world.post(ALICE, BOT, device_id, kind, content)


@pytest_asyncio.fixture
async def post() -> Post:
    made = Post()
    await made.start()
    return made


@pytest.mark.asyncio
async def test_received_room_key_is_stored_and_reported(post: Post) -> None:
    phone = Phone(post.world)
    phone.send_key(BOT)
    raw = phone.say("hello")
    news = await post.read()
    assert list(news.keys.values()) == [ROOM]
    assert isinstance(await post.opened(raw), dict)
    assert (await post.read()).keys == {}
    assert post.world.mailboxes[BOT, next(iter(post.world.devices[BOT]))] == []


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.asyncio
async def test_the_first_use_of_a_key_does_not_undo_an_earlier_copy(
    post: Post, cached: bool
) -> None:
    """The copy is being stored while the key that is there is first used, and so stored again."""
    phone = Phone(post.world)
    early = phone.write(BOT, "m.room_key", phone.room_key())
    first = phone.say("first", "$1")
    phone.send_key(BOT)
    await post.read()
    second, third = phone.say("second", "$2"), phone.say("third", "$3")
    if cached:  # the key is cached, but its owner is not known yet
        post.keys._owners = Doubting()
        assert isinstance(await post.opened(second), Undecryptable)
        post.keys._owners = Believing()
    post.post("m.room.encrypted", early)
    save, writing, write = post.store.save_secrets, asyncio.Event(), asyncio.Event()

    async def slow(rows: Sequence[SecretRow]) -> None:
        if any(row.name.startswith("since/") for row in rows):
            writing.set()
            await write.wait()
            post.store.save_secrets = save  # type: ignore[method-assign]  # in order
            await save(rows)
            for later in waiting:
                with suppress(Stale):
                    await save(later)
        else:
            waiting.append(rows)

    waiting: list[Sequence[SecretRow]] = []
    post.store.save_secrets = slow  # type: ignore[method-assign]  # the same, one after the other
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(post.read())
        await writing.wait()
        assert isinstance(await post.opened(third), dict)
        write.set()
    assert isinstance(await post.opened(first), dict)
    await post.start()  # and after a restart
    assert isinstance(await post.opened(first), dict)


@pytest.mark.asyncio
async def test_earlier_copy_of_a_key_is_used_from_then_on(post: Post) -> None:
    phone = Phone(post.world)
    early = phone.write(BOT, "m.room_key", phone.room_key())
    first = phone.say("first", "$1")
    phone.send_key(BOT)
    await post.read()
    assert isinstance(await post.opened(phone.say("second", "$2")), dict)
    assert await post.opened(first) == Undecryptable(NO_KEY, later=True)
    post.post("m.room.encrypted", early)
    await post.read()
    assert isinstance(await post.opened(phone.say("third", "$3")), dict)
    await post.store.drop_secrets()  # from here on only memory has it
    assert isinstance(await post.opened(first), dict)


@pytest.mark.asyncio
async def test_earlier_of_two_copies_in_one_sync_is_kept(post: Post) -> None:
    phone = Phone(post.world)
    phone.send_key(BOT)
    first = phone.say("first", "$1")
    phone.send_key(BOT)
    await post.read()
    assert isinstance(await post.opened(first), dict)


@pytest.mark.asyncio
@pytest.mark.parametrize("broken", ["secret", "save_secrets"])
async def test_a_key_is_not_lost_when_the_database_is_away(
    post: Post, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is stored, so the next /sync brings the same messages; they can still be read."""
    phone = Phone(post.world)
    phone.send_key(BOT)
    raw = phone.say("hello")
    mail = await post.arrivals.fetch(BOT, wait=False)

    async def away(_: object) -> None:
        raise StoreError("away")

    async def absorb() -> None:
        async with post.upkeep.holding(BOT) as own:
            monkeypatch.setattr(post.store, broken, away)
            await post.arrivals.absorb(own, mail, 0)

    with pytest.raises(StoreError):
        await absorb()
    monkeypatch.undo()
    await post.read()
    assert isinstance(await post.opened(raw), dict)


@pytest.mark.asyncio
async def test_a_key_is_not_lost_when_the_process_dies_before_storing_it(post: Post) -> None:
    phone = Phone(post.world)
    phone.send_key(BOT)
    raw = phone.say("hello")
    await post.arrivals.fetch(BOT, wait=False)
    await post.start()  # what was fetched was not stored
    await post.read()
    assert isinstance(await post.opened(raw), dict)


@pytest.mark.asyncio
async def test_many_messages_of_one_device_in_one_sync(post: Post) -> None:
    phone = Phone(post.world)
    for number in range(5):
        phone.send_key(BOT, f"!room{number}:here")
    news = await post.read()
    assert sorted(news.keys.values()) == [f"!room{number}:here" for number in range(5)]


@pytest.mark.asyncio
async def test_withheld_key_is_reported(post: Post) -> None:
    phone = Phone(post.world)
    content: Json = {"room_id": ROOM, "session_id": phone.group.session_id, "code": "m.unverified"}
    post.post("m.room_key.withheld", content)
    news = await post.read()
    assert list(news.keys.values()) == [ROOM]
    assert "unverified" in str(await post.opened(phone.say("x")))


@pytest.mark.asyncio
async def test_undecryptable_olm_message_causes_a_new_session(post: Post) -> None:
    phone = Phone(post.world)
    phone.begin(BOT)
    await post.read()
    content = phone.write(BOT, "m.x", {})
    part = content["ciphertext"]
    assert isinstance(part, dict)
    for body in part.values():
        body["type"] = 1
    post.post("m.room.encrypted", content)
    await post.read()
    (payload,) = phone.fetch()
    assert payload["type"] == "m.dummy"
    post.post("m.room.encrypted", content)
    await post.read()
    assert phone.fetch() == []  # at most once an hour
    post.clock.ms += 3_600_000
    post.post("m.room_key.withheld", {"code": "m.no_olm", "sender_key": phone.keys["curve25519"]})
    await post.read()
    assert [payload["type"] for payload in phone.fetch()] == ["m.dummy"]


@pytest.mark.asyncio
async def test_a_session_that_was_erased_is_replaced_though_it_was_lately(post: Post) -> None:
    """An operator has erased the customer twice within an hour."""
    phone = Phone(post.world)
    post.post("m.room_key.withheld", {"code": "m.no_olm", "sender_key": phone.keys["curve25519"]})
    await post.read()
    assert [payload["type"] for payload in phone.fetch()] == ["m.dummy"]
    post.clock.ms += 60_000
    channels = await post.store.secret_names("olm/")
    await post.store.save_secrets([SecretRow(name, None) for name in channels])
    phone.send_key(BOT)
    assert (await post.read()).keys == {}
    assert [payload["type"] for payload in phone.fetch()] == ["m.dummy"]
    phone.send_key(BOT)
    assert list((await post.read()).keys.values()) == [ROOM]


@pytest.mark.asyncio
async def test_unstorable_ids_do_not_block_other_keys(post: Post) -> None:
    """Otherwise /sync would repeat such an event for ever, and every key behind it."""
    phone = Phone(post.world)
    for name in ("!nul\x00", "!half\ud800", "!" + "x" * 5000):
        withheld: Json = {"room_id": name, "session_id": "s", "code": "m.unverified"}
        post.post("m.room_key.withheld", withheld)
        post.post("m.room_key.withheld", withheld | {"room_id": ROOM, "session_id": name})
        post.post("m.room_key.withheld", {"code": "m.no_olm", "sender_key": name})
        letter = phone.write(BOT, "m.room_key", phone.room_key(name.replace("\ud800", "\x01")))
        post.post("m.room.encrypted", letter)
        post.post("m.room.encrypted", letter | {"sender_key": name})
    phone.send_key(BOT)
    news = await post.read()
    assert list(news.keys.values()) == [ROOM]
    for row in news.rows:
        assert row.isprintable()
        assert len(row) < 700


@pytest.mark.asyncio
async def test_rows_per_sender_are_limited(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sender makes us keep, or log, is limited; others are not hindered."""
    monkeypatch.setattr(crypto, "_KEYS", 3)
    monkeypatch.setattr(crypto, "_CHANNELS", 2)
    await post.start()
    phone = Phone(post.world)
    for number in range(10):
        withheld: Json = {"room_id": ROOM, "session_id": f"s{number}", "code": "m.unverified"}
        post.post("m.room_key.withheld", withheld)
    with capture_logs() as logs:
        assert len((await post.read()).keys) == 3
        phone.send_key(BOT)
        assert (await post.read()).keys == {}  # the key exceeds the limit; it will be requested
    assert [line["user"] for line in logs if line["log_level"] == "warning"] == [ALICE]
    others = [Phone(post.world, "@carol:here", device_id=f"D{number}") for number in range(5)]
    for other in others:
        other.send_key(BOT)
    news = await post.read()
    assert sum(name.startswith("olm/") for name in news.rows) == 2
    post.clock.ms += 3_600_000
    phone.group = GroupSession()
    phone.send_key(BOT)
    assert len((await post.read()).keys) == 1


@pytest.mark.asyncio
async def test_a_stranger_cannot_keep_a_broken_session_broken(post: Post) -> None:
    """That a session was replaced lately is noted by device and user."""
    phone = Phone(post.world)
    (device_id,) = post.world.devices[BOT]
    broken: Json = {"code": "m.no_olm", "sender_key": phone.keys["curve25519"]}
    post.world.post("@eve:here", BOT, device_id, "m.room_key.withheld", broken)
    await post.read()
    assert phone.fetch() == []
    post.post("m.room_key.withheld", broken)
    await post.read()
    assert [payload["type"] for payload in phone.fetch()] == ["m.dummy"]


@pytest.mark.asyncio
async def test_failed_repair_of_a_session_is_repeated_soon(post: Post) -> None:
    """Also if the clock went back meanwhile."""
    phone = Phone(post.world)
    broken: Json = {"code": "m.no_olm", "sender_key": phone.keys["curve25519"]}
    post.world.away = {"here"}
    post.post("m.room_key.withheld", broken)
    await post.read()
    post.world.away = set()
    for later, told in ((59_999, 0), (1, 1), (-7_200_000, 1)):
        post.clock.ms += later
        post.post("m.room_key.withheld", broken)
        await post.read()
        assert [payload["type"] for payload in phone.fetch()] == ["m.dummy"] * told


@pytest.mark.asyncio
async def test_other_to_device_messages_are_ignored(post: Post) -> None:
    phone = Phone(post.world)
    post.post("m.room.encrypted", {"algorithm": "m.other"})
    post.post("m.room.encrypted", phone.write(BOT, "m.x", {}, recipient="@other:here"))
    post.post("m.room.encrypted", phone.write(BOT, "m.secret.send", {"secret": "x"}))
    post.post("m.room.encrypted", phone.write(BOT, "m.room_key", {"algorithm": "m.other"}))
    post.post("m.room_key_request", {})
    assert (await post.read()).keys == {}


@pytest.mark.asyncio
async def test_event_that_raises_does_not_block_the_others(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = Phone(post.world)
    post.post("m.room_key.withheld", {"room_id": ROOM, "session_id": "s"})
    phone.send_key(BOT)

    def poisoned(event: Json, now: int) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(post.keys, "refusal", poisoned)
    await post.read()
    assert isinstance(await post.opened(phone.say("hello")), dict)


@pytest.mark.asyncio
async def test_changed_device_lists_are_queried_again(post: Post) -> None:
    await post.peers.known(BOT, [ALICE])
    Phone(post.world)
    post.world.changed = [ALICE]
    await post.read()
    assert len((await post.peers.known(BOT, [ALICE]))[ALICE].devices) == 1


@pytest.mark.asyncio
async def test_used_one_time_keys_are_replaced(post: Post) -> None:
    (device_id,) = post.world.devices[BOT]
    keys = post.world.one_time[BOT, device_id]
    for key_id in list(keys)[:40]:
        del keys[key_id]
    await post.read()
    assert len(keys) == 50


@pytest.mark.asyncio
async def test_sync_token_unknown_to_the_homeserver_is_dropped(post: Post) -> None:
    await post.read()

    class Forgetful(FakeServer):
        async def sync(self, user: object, since: str, *, wait: bool, device: str = "") -> Json:
            if since:
                raise Refused("M_UNKNOWN")
            return await super().sync(BOT, since, wait=wait)

    post.arrivals._server = Forgetful(post.world)
    await post.peers.known(BOT, [ALICE])
    Phone(post.world)
    await post.read()
    assert len((await post.peers.known(BOT, [ALICE]))[ALICE].devices) == 1
    post.world.fails["sync"] = Refused("M_FORBIDDEN")
    with pytest.raises(Refused):
        await post.arrivals.fetch(BOT, wait=False)


@pytest.mark.asyncio
async def test_messages_too_long_to_be_read_are_dropped(post: Post) -> None:
    """Of another homeserver: Synapse limits neither their size nor that of its answer."""
    too_long = Unavailable("more than 32 MiB")
    post.world.fails["sync"] = too_long
    with pytest.raises(Unavailable):
        await post.read()
    await post.peers.known(BOT, [ALICE])
    phone = Phone(post.world)
    too_long.begun = f'{{"next_batch":"{post.world.counter}","to_device":{{"'.encode()
    with capture_logs() as logs:
        await post.read()
    assert [line["log_level"] for line in logs] == ["error"]
    assert len((await post.peers.known(BOT, [ALICE]))[ALICE].devices) == 1
    del post.world.fails["sync"]
    phone.send_key(BOT)
    await post.read()
    assert isinstance(await post.opened(phone.say("hello")), dict)


@pytest.mark.asyncio
async def test_strangers_cannot_fill_the_log_with_tracebacks(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Device keys nested to a certain depth can be decoded, but not encoded."""
    phone = Phone(post.world)

    async def fail(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(post.keys, "take", fail)
    with capture_logs() as logs:
        for _ in range(3):
            phone.send_key(BOT)
        await post.read()
    assert [line["log_level"] for line in logs] == ["error"]


_WORDS = st.text(st.characters(), max_size=300) | st.sampled_from(
    ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2", "m.no_olm", ROOM, ALICE, "A" * 43]
)
_VALUES = st.recursive(
    _WORDS | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_WORDS, inner, max_size=2),
    max_leaves=4,
)
_FIELDS = st.sampled_from(
    ["algorithm", "room_id", "session_id", "sender_key", "code", "ciphertext", "reason"]
)
_KINDS = st.sampled_from(
    ["m.room.encrypted", "m.room_key.withheld", "org.matrix.room_key.withheld", "m.room_key"]
)


@settings(max_examples=60, deadline=None)
@example([("m.room_key.withheld", ALICE, {"code": "\ud800"}, 0, b"")])
@given(
    st.lists(
        st.tuples(
            _KINDS,
            _WORDS,
            st.dictionaries(_FIELDS, _VALUES, max_size=2),
            st.integers(),
            st.binary(max_size=80),
        ),
        max_size=8,
    )
)
def test_any_to_device_message_can_be_stored_and_blocks_nothing(
    sent: list[tuple[str, str, Json, int, bytes]],
) -> None:
    async def scene() -> None:
        post = Post()
        await post.start()
        (device_id,) = post.world.devices[BOT]
        phone = Phone(post.world)
        for kind, sender, content, number, body in sent:
            part = {phone.theirs(BOT, "curve25519"): {"type": number, "body": to_base64(body)}}
            letter: Json = {"algorithm": OLM, "sender_key": "A" * 43, "ciphertext": part}
            refusal: Json = {"room_id": ROOM, "session_id": "A" * 43, "code": "m.unverified"}
            for whole in (content, letter | content, refusal | content):
                post.world.post(sender, BOT, device_id, kind, whole)
        phone.send_key(BOT)
        with capture_logs() as logs:
            news = await post.read()
        assert [line for line in logs if line["log_level"] == "error"] == []
        assert isinstance(await post.opened(phone.say("hello")), dict)
        for name in news.rows:
            assert name.isprintable()
            assert len(name.encode()) < 700

    asyncio.run(scene())


@pytest.mark.asyncio
async def test_malformed_sync_reply_is_survived(post: Post) -> None:
    async with post.upkeep.holding(BOT) as own:
        for reply in (
            {},
            {"to_device": {"events": 5}, "device_lists": {"changed": 5, "left": [5]}},
        ):
            news = await post.arrivals.absorb(own, Mail(reply, None), 0)
            await post.upkeep.replenish(own, reply)
            assert news.keys == {}
