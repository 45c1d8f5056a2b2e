"""Cache of megolm sessions: fewer reads, and the same results as from the store."""

from __future__ import annotations

import asyncio

import pytest

from bridge.matrix.crypto import keys
from bridge.matrix.crypto.keys import NO_KEY, UNUSED, RoomKey, RoomKeys
from bridge.matrix.crypto.wire import Json
from bridge.rooms.ports import Undecryptable
from bridge.rooms.store import Cutoffs
from tests.unit.matrix.crypto.test_keys import Keys
from tests.unit.matrix.crypto.world import Believing, Phone, World, new_vault

pytestmark = pytest.mark.asyncio


class Reads(Keys):
    """Counts the keys that are read from the store."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        secret = self.store.secret

        async def counted(name: str) -> bytes | None:
            self.count += name.startswith("in/")
            return await secret(name)

        self.store.secret = counted  # type: ignore[method-assign]  # the same, counted

    async def text(self, raw: Json, now: int = 0) -> object:
        opened = await self.open(raw, now)
        if isinstance(opened, Undecryptable):
            return opened
        content = opened["content"]
        assert isinstance(content, dict)
        return content["body"]


async def test_a_session_is_read_once() -> None:
    one = Reads()
    await one.take(one.phone.room_key())
    one.count = 0
    for number in range(100):
        assert await one.text(one.phone.say(f"{number}", f"${number}")) == f"{number}"
    assert one.count == 1


async def test_an_earlier_copy_replaces_the_cached_one() -> None:
    one = Reads()
    early = one.phone.room_key()
    first = one.phone.say("first", "$1")
    await one.take(one.phone.room_key())
    assert await one.text(one.phone.say("second", "$2")) == "second"
    await one.take(early)
    one.count = 0
    assert await one.text(first) == "first"
    assert await one.text(one.phone.say("third", "$3")) == "third"
    assert one.count == 1


async def test_store_is_read_if_the_cached_copy_cannot_decrypt() -> None:
    """Another process may have stored an earlier copy."""
    one = Reads()
    early = one.phone.room_key()
    first = one.phone.say("first", "$1")
    await one.take(one.phone.room_key())
    assert await one.text(one.phone.say("second", "$2")) == "second"
    other = Keys()
    other.store, other.phone = one.store, one.phone
    other.vault = new_vault(one.store)
    other.keys = RoomKeys(other.vault, Believing())
    await other.take(early)
    assert await one.text(first) == "first"


async def test_earlier_copy_that_arrives_during_a_device_query_is_kept() -> None:
    one = Reads()
    asked, answered = asyncio.Event(), asyncio.Event()

    class Slow(Believing):
        async def is_owner(self, user: str, key: RoomKey, now: int, *, ask: bool = True) -> bool:
            asked.set()
            await answered.wait()
            return True

    one.keys = RoomKeys(one.vault, Slow())
    early = one.phone.room_key()
    first = one.phone.say("first", "$1")
    await one.take(one.phone.room_key())
    async with asyncio.TaskGroup() as tasks:
        opening = tasks.create_task(one.text(one.phone.say("second", "$2")))
        await asked.wait()
        await one.take(early)
        answered.set()
    assert opening.result() == "second"
    assert await one.text(first) == "first"
    again = RoomKeys(one.vault, Believing())  # it is stored, too
    one.keys = again
    assert await one.text(first) == "first"


async def test_removed_key_is_not_used() -> None:
    one = Reads()
    await one.take(one.phone.room_key())
    raw = one.phone.say("hello", "$1")
    assert await one.text(raw) == "hello"
    last = keys.KEPT
    assert await one.text(raw, last) == "hello"
    await one.keys.save()
    removed = await one.store.prune(0, 3 * keys.KEPT, Cutoffs())
    assert removed == 2  # the key and its replay notes
    assert await one.text(raw, 3 * keys.KEPT) == Undecryptable(NO_KEY, later=True)


async def test_expired_key_is_used_until_the_store_prunes_it() -> None:
    one = Reads()
    await one.take(one.phone.room_key())
    raw = one.phone.say("hello", "$1")
    assert await one.text(raw) == "hello"
    assert await one.text(raw, 2 * keys.KEPT) == "hello"  # nobody has pruned it yet
    fresh = Reads()
    await fresh.take(fresh.phone.room_key())
    assert await fresh.store.prune(0, UNUSED + 1, Cutoffs()) == 1
    assert await fresh.text(fresh.phone.say("x")) == Undecryptable(NO_KEY, later=True)


async def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MOST_CACHED", 2)
    one, world = Reads(), World()
    phones = [Phone(world, device_id=f"PHONE{number}") for number in range(3)]
    for phone in phones:
        await one.take(phone.room_key())
    one.count = 0
    for turn in range(2):
        for number, phone in enumerate(phones):
            assert await one.text(phone.say("hello", f"${turn}.{number}")) == "hello"
    assert one.count == 6  # the least recently used goes first: each was gone when needed
    for turn in range(2, 4):
        assert await one.text(phones[2].say("hello", f"${turn}")) == "hello"
    assert one.count == 6


async def test_a_write_that_fails_leaves_nothing_cached_that_is_not_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = Reads()
    await one.take(one.phone.room_key())
    raw = one.phone.say("hello", "$1")

    async def away(_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(one.store, "save_secrets", away)
        with pytest.raises(ConnectionError):
            await one.open(raw)
    assert await one.text(raw) == "hello"
    stored = RoomKeys(new_vault(one.store), Believing())
    one.keys = stored
    assert await one.text(raw | {"event_id": "$2"}) == Undecryptable(keys.REPEATED, later=False)
