"""What StorePort promises about secrets, on all three implementations."""

from __future__ import annotations

import asyncio

import pytest

from bridge.rooms.store import Cutoffs, SecretRow, Stale, StoreError
from tests.unit.storage.conftest import Opener

pytestmark = pytest.mark.asyncio


async def test_a_secret_is_kept_replaced_and_removed(open_any: Opener) -> None:
    async with open_any() as store:
        assert await store.secret("a") is None
        await store.save_secrets([SecretRow("a", b"\x00\xff"), SecretRow("b", b"2", keep_until=5)])
        await store.save_secrets([])
    async with open_any() as store:
        assert await store.secret("a") == b"\x00\xff"
        await store.save_secrets([SecretRow("a", b"new"), SecretRow("b", None)])
        assert await store.secret("a") == b"new"
        assert await store.secret("b") is None
        await store.save_secrets([SecretRow("b", None)])


async def test_secret_names_are_listed_by_prefix(open_any: Opener) -> None:
    async with open_any() as store:
        names = ["own/@b:x", "own/@a:x", "ow", "own", "owner", "%own/", "OWN/"]
        await store.save_secrets([SecretRow(name, b"1") for name in names])
        assert await store.secret_names("own/") == ["own/@a:x", "own/@b:x"]
        assert await store.secret_names("_") == []
        assert len(await store.secret_names("")) == len(names)


async def test_the_later_of_two_values_counts(open_any: Opener) -> None:
    async with open_any() as store:
        await store.save_secrets([SecretRow("a", b"1"), SecretRow("a", b"2")])
        assert await store.secret("a") == b"2"
        await store.save_secrets([SecretRow("a", b"3"), SecretRow("a", None)])
        assert await store.secret("a") is None
        await asyncio.gather(
            *(store.save_secrets([SecretRow(f"n{n % 5}", b"%d" % n)]) for n in range(50))
        )
        assert [await store.secret(f"n{n}") for n in range(5)] == [b"%d" % n for n in range(45, 50)]


async def test_secrets_are_stored_all_or_none(open_any: Opener) -> None:
    async with open_any() as store:
        with pytest.raises(StoreError):
            await store.save_secrets([SecretRow("a", b"1"), SecretRow("\ud800", b"2")])
        assert await store.secret("a") is None


async def test_secret_is_replaced_only_if_its_former_value_matches(open_any: Opener) -> None:
    async with open_any() as store:
        await store.save_secrets([SecretRow("a", b"1", was=None), SecretRow("b", b"1", was=None)])
        await store.save_secrets([SecretRow("a", b"2", was=b"1"), SecretRow("b", b"2", was=b"1")])
        for wrong in (None, b"1", b""):
            with pytest.raises(Stale):
                await store.save_secrets(
                    [SecretRow("b", b"3", 5, was=b"2"), SecretRow("a", b"3", was=wrong)]
                )
            with pytest.raises(Stale):
                await store.save_secrets([SecretRow("c", b"3"), SecretRow("a", b"3", was=wrong)])
        with pytest.raises(Stale):
            await store.save_secrets([SecretRow("c", b"3", was=b"2")])
        found = [await store.secret(name) for name in "abc"]
        assert found == [b"2", b"2", None]


async def test_stale_secret_does_not_fail_other_writes(open_any: Opener) -> None:
    async with open_any() as store:
        await store.save_secrets([SecretRow("a", b"1")])
        rows = [SecretRow(f"n{n}", b"x", was=None if n else b"?") for n in range(9)]
        told = await asyncio.gather(
            *(store.save_secrets([row]) for row in rows), return_exceptions=True
        )
        assert [type(one) for one in told] == [Stale, *[type(None)] * 8]
        assert await store.secret_names("n") == [f"n{n}" for n in range(1, 9)]


async def test_one_of_two_concurrent_replacements_succeeds(open_any: Opener) -> None:
    async with open_any() as store:
        for was, values in ((None, (b"0", b"1")), (b"0", (b"2", b"3"))):
            names = [f"a{n}" for n in range(5)]
            told = await asyncio.gather(
                *(
                    store.save_secrets([SecretRow(name, value, was=was)])
                    for name in names
                    for value in values
                ),
                return_exceptions=True,
            )
            assert [type(one) for one in told] == [type(None), Stale] * 5


async def test_pruning_deletes_only_expired_secrets(open_any: Opener) -> None:
    async with open_any() as store:
        await store.save_secrets(
            [SecretRow("old", b"", 10), SecretRow("young", b"", 30), SecretRow("always", b"")]
        )
        assert await store.prune(0, 20, Cutoffs()) == 1
        found = [await store.secret(name) for name in ("old", "young", "always")]
        assert found == [None, b"", b""]


async def test_all_secrets_can_be_dropped(open_any: Opener) -> None:
    async with open_any() as store:
        assert await store.drop_secrets() == 0
        await store.save_secrets([SecretRow(f"{n}", b"x") for n in range(7)])
        store.writer.patience = 0.0  # millions of keys take longer than a write may
        assert await store.drop_secrets() == 7
        assert await store.secret("3") is None
