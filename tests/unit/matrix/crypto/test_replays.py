from __future__ import annotations

import asyncio

import pytest

from bridge.matrix.crypto import keys
from bridge.matrix.crypto.keys import Replays
from bridge.rooms.store import Cutoffs, SecretRow, StoreError
from tests.fakes.memory import MemoryStore
from tests.unit.matrix.crypto.world import new_vault

pytestmark = pytest.mark.asyncio


async def is_replay(seen: Replays, key: str, index: int, event_id: str, until: int) -> bool:
    """Check a message as `RoomKeys` does."""
    notes = await seen.notes(key, index // keys.IN_A_ROW)
    repeated = seen.is_replay(notes, index, event_id, until)
    if seen.waiting >= keys.AT_MOST:
        await seen.save()
    return repeated


async def test_an_event_may_repeat_its_index_but_another_event_may_not() -> None:
    seen = Replays(new_vault())
    assert not await is_replay(seen, "key", 0, "$1", 9)
    assert not await is_replay(seen, "key", 0, "$1", 9)
    assert await is_replay(seen, "key", 0, "$2", 9)
    assert not await is_replay(seen, "key", 1, "$2", 9)
    assert not await is_replay(seen, "other", 0, "$2", 9)


async def test_replay_notes_survive_a_restart_and_expire_with_the_key() -> None:
    store = MemoryStore()
    seen = Replays(new_vault(store))
    for index in (0, 127, 128, 2**32 - 1):
        assert not await is_replay(seen, "key", index, f"${index}", 9)
    await seen.save()
    await seen.save()  # nothing is new
    again = Replays(new_vault(store))
    for index in (0, 127, 128, 2**32 - 1):
        assert not await is_replay(again, "key", index, f"${index}", 9)
        assert await is_replay(again, "key", index, "$other", 9)
    assert len(await store.secret_names("seen/")) == 3
    assert not await is_replay(
        again, "key", 0, "$0", 20
    )  # the key lives longer, and so does the note
    await again.save()
    assert await store.prune(0, 10, Cutoffs()) == 2
    assert await is_replay(Replays(new_vault(store)), "key", 0, "$other", 9)


async def test_unsaved_notes_are_limited_and_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "AT_MOST", 2)
    store = MemoryStore()
    seen = Replays(new_vault(store))
    assert not await is_replay(seen, "a", 0, "$1", 9)

    async def away(_: object) -> None:
        raise StoreError("away")

    with monkeypatch.context() as patch:
        patch.setattr(store, "save_secrets", away)
        with pytest.raises(StoreError):
            await is_replay(seen, "b", 0, "$2", 9)
    assert await is_replay(seen, "a", 0, "$other", 9)  # not stored, but still known
    await seen.save()
    assert len(await store.secret_names("seen/")) == 2


async def test_concurrent_checks_share_a_row() -> None:
    store = MemoryStore()
    secret = store.secret

    async def slow(name: str) -> bytes | None:
        await asyncio.sleep(0)
        return await secret(name)

    store.secret = slow  # type: ignore[method-assign]  # the same, but others come in between
    seen = Replays(new_vault(store))
    asked = [is_replay(seen, "key", 0, event, 9) for event in ("$1", "$2")]
    assert sorted(await asyncio.gather(*asked)) == [False, True]


async def test_note_saved_and_evicted_during_a_slow_read_is_known() -> None:
    store = MemoryStore()
    secret, answer = store.secret, asyncio.Event()

    async def slow(name: str) -> bytes | None:
        store.secret = secret  # type: ignore[method-assign]  # the next is fast
        found = await secret(name)
        await answer.wait()
        return found

    store.secret = slow  # type: ignore[method-assign]
    seen = Replays(new_vault(store))
    async with asyncio.TaskGroup() as tasks:
        replayed = tasks.create_task(is_replay(seen, "key", 5, "$2", 9))
        await asyncio.sleep(0)
        first = tasks.create_task(is_replay(seen, "key", 5, "$1", 9))
        await asyncio.sleep(0)
        if first.done():
            await seen.save()
        answer.set()
    assert sorted([first.result(), replayed.result()]) == [False, True]


async def test_erased_replay_notes_are_not_written_again() -> None:
    store = MemoryStore()
    seen = Replays(new_vault(store))
    for key in ("in/!gone/s/@a:h", "in/!here/s/@b:h"):
        assert not await is_replay(seen, key, 0, "$1", 9)
    await seen.save()
    for key in ("in/!gone/s/@a:h", "in/!here/s/@b:h"):
        assert not await is_replay(seen, key, 1, "$2", 9)
    seen.drop(lambda name: "/!gone/" in name)
    gone = await store.secret_names("seen/0/in/!gone/")
    await store.save_secrets([SecretRow(name, None) for name in gone])
    await seen.save()
    assert await store.secret_names("seen/") == ["seen/0/in/!here/s/@b:h"]
