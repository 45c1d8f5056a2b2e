from __future__ import annotations

import asyncio
import random
from functools import partial

import pytest

from bridge.ids import UserId
from bridge.matrix.crypto.devices import EVERY, Marks, OwnDevice, Upkeep
from bridge.matrix.crypto.vault import Sealer, Vault, again
from tests.fakes.memory import MemoryStore
from tests.unit.matrix.crypto.test_processes import Slow
from tests.unit.matrix.crypto.world import (
    AWAY,
    BOT,
    REFUSED,
    Clock,
    FakeServer,
    World,
    deaf,
    new_vault,
)

asynchronous = pytest.mark.asyncio


class Witnessed:
    """A database whose ratchets advance, and a homeserver that keeps its mark."""

    def __init__(self) -> None:
        self.world, self.clock, self.store = World(), Clock(), MemoryStore()
        self.start()

    def start(self, store: MemoryStore | None = None) -> None:
        self.store = store or self.store
        self.vault: Vault = new_vault(self.store)
        self.upkeep = Upkeep(self.vault, FakeServer(self.world), BOT, self.clock, deaf)

    async def turn(self) -> None:
        own = await OwnDevice.load(self.vault, BOT) or OwnDevice.draw(BOT, "D")
        await self.vault.save([own.row(self.vault)])

    @property
    def mark(self) -> str:
        return self.world.marks.get(BOT, "")


@asynchronous
async def test_database_in_use_is_recognised_as_the_newest_state() -> None:
    house = Witnessed()
    for _ in range(3):
        assert await house.upkeep.check()
        await house.upkeep.follow(at_once=True)
        house.start()


@asynchronous
async def test_backup_from_before_the_last_start_is_detected() -> None:
    house = Witnessed()
    await house.upkeep.check()
    await house.upkeep.follow(at_once=True)
    backup = house.store.copy()
    house.start()
    await house.upkeep.check()
    await house.upkeep.follow(at_once=True)
    house.start(backup)
    assert not await house.upkeep.check()
    await house.upkeep.follow(at_once=True)  # its mark is set: it is the newest again
    house.start()
    assert await house.upkeep.check()


@asynchronous
async def test_backup_made_while_the_bridge_ran_is_detected() -> None:
    house = Witnessed()
    await house.upkeep.check()
    await house.upkeep.follow(at_once=True)
    backup = house.store.copy()
    house.clock.ms += EVERY
    await house.turn()
    await house.upkeep.follow()
    house.start(backup)
    assert not await house.upkeep.check()


@asynchronous
async def test_mark_changes_with_the_ratchets_but_not_too_often() -> None:
    house = Witnessed()
    await house.upkeep.follow(at_once=True)
    first = house.mark
    house.clock.ms += EVERY
    await house.upkeep.follow()
    assert house.mark == first  # no ratchet has advanced
    await house.turn()
    await house.upkeep.follow()
    second = house.mark
    assert second != first
    await house.turn()
    await house.upkeep.follow()
    assert house.mark == second
    house.clock.ms += EVERY
    await house.upkeep.follow()
    third = house.mark
    assert third != second
    house.clock.ms -= 10 * EVERY
    await house.turn()
    await house.upkeep.follow()
    assert house.mark != third


@asynchronous
@pytest.mark.parametrize("failure", [AWAY, REFUSED])
async def test_mark_whose_answer_was_lost_is_recognised(failure: Exception) -> None:
    """The homeserver may or may not have stored it."""
    house = Witnessed()
    await house.upkeep.check()
    await house.upkeep.follow(at_once=True)
    before = house.mark
    house.start()
    await house.upkeep.check()
    house.world.fails["set_mark"] = failure
    await house.upkeep.follow(at_once=True)
    await house.upkeep.follow(at_once=True)
    (mine,) = {mark for mark in await possible(house) if mark != before}
    del house.world.fails["set_mark"]
    for there in (before, mine):
        house.world.marks[BOT] = there
        house.start()
        assert await house.upkeep.check()
    house.start()
    await house.upkeep.check()
    await house.upkeep.follow(at_once=True)
    # An earlier process may be about to set its own.
    assert await possible(house) == (before, mine, house.mark)


class Turns(FakeServer):
    """A homeserver whose calls wait at random, so that others overtake them."""

    def __init__(self, world: World, seed: random.Random) -> None:
        super().__init__(world)
        self._random = seed

    async def point(self) -> None:
        for _ in range(self._random.randrange(5)):
            await asyncio.sleep(0)

    async def mark(self, user: UserId) -> str:
        await self.point()
        found = await super().mark(user)
        await self.point()
        return found

    async def set_mark(self, user: UserId, mark: str) -> None:
        await self.point()
        await super().set_mark(user, mark)
        await self.point()


@asynchronous
async def test_concurrent_new_devices_share_a_mark() -> None:
    """However many agents send their first message at the same moment."""
    house = Witnessed()
    server = Turns(house.world, random.Random(1))  # noqa: S311 - the same again
    upkeep = Upkeep(house.vault, server, BOT, house.clock, deaf)

    async def appear() -> None:
        await house.turn()
        await upkeep.witness()

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(appear())
    assert 1 <= house.world.calls.count("set_mark") <= 2
    house.world.calls.clear()
    await upkeep.witness()
    assert house.world.calls == []  # no ratchet has advanced


@asynchronous
async def test_row_written_while_a_mark_is_set_needs_another_mark() -> None:
    """A backup may contain the mark, but not the row yet."""
    house = Witnessed()
    own, written = OwnDevice.draw(BOT, "D"), asyncio.Event()
    vault = Vault(Slow(house.store, written.wait), Sealer("secret"))  # type: ignore[arg-type]
    upkeep = Upkeep(vault, FakeServer(house.world), BOT, house.clock, deaf)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(vault.save([own.row(vault)]))
        await asyncio.sleep(0)
        tasks.create_task(upkeep.follow(at_once=True))
        await asyncio.sleep(0)
        written.set()
    before = house.mark
    await upkeep.witness()
    assert house.mark != before


@asynchronous
async def test_marks_of_concurrent_processes_are_recognised() -> None:
    """A check during changes of others finds the homeserver's mark among the stored ones."""
    for seed in range(20):
        house, chance = Witnessed(), random.Random(seed)  # noqa: S311 - the same again
        server = Turns(house.world, chance)

        async def live(house: Witnessed = house, server: Turns = server) -> None:
            vault = Vault(Slow(house.store, server.point), Sealer("secret"))  # type: ignore[arg-type]
            upkeep = Upkeep(vault, server, BOT, house.clock, deaf)
            for _ in range(30):
                assert await upkeep.check()
                await again(partial(upkeep.follow, at_once=True))

        await asyncio.gather(*(live() for _ in range(4)))
        assert len(await possible(house)) <= 12  # each process has three at most


@asynchronous
async def test_other_processes_may_set_several_marks_during_a_check() -> None:
    """When the check reads the row, the mark that it got from the homeserver is gone from it."""
    house, looking = Witnessed(), asyncio.Event()
    await house.upkeep.follow(at_once=True)

    async def overtaken() -> None:
        if not looking.is_set():
            looking.set()
            for _ in range(3):
                await house.upkeep.follow(at_once=True)

    vault = Vault(Slow(house.store, overtaken), Sealer("secret"))  # type: ignore[arg-type]
    assert await Upkeep(vault, FakeServer(house.world), BOT, house.clock, deaf).check()
    assert looking.is_set()


@asynchronous
async def test_delayed_mark_is_recognised_after_twenty_starts() -> None:
    house = Witnessed()
    house.world.fails["set_mark"] = AWAY
    await house.upkeep.follow(at_once=True)
    del house.world.fails["set_mark"]
    (late,) = await possible(house)
    for _ in range(20):
        house.start()
        for _ in range(9):
            assert await house.upkeep.check()
            await house.upkeep.follow(at_once=True)
    house.world.marks[BOT] = late
    house.start()
    assert await house.upkeep.check()


async def possible(house: Witnessed) -> tuple[str, ...]:
    row = await house.vault.load("marks", Marks)
    assert row is not None
    return row.possible


@asynchronous
async def test_database_counts_as_newest_if_the_homeserver_keeps_no_marks() -> None:
    house = Witnessed()
    await house.upkeep.follow(at_once=True)
    house.start()
    house.world.fails["mark"] = REFUSED
    assert await house.upkeep.check()


@asynchronous
@pytest.mark.parametrize(
    ("there", "stored", "newest"),
    [
        ("", None, True),
        ("a", None, True),
        ("", ("a", "b"), True),
        ("b", ("a", "b"), True),
        ("c", ("a", "b"), False),
    ],
)
async def test_marks_are_compared(
    there: str, stored: tuple[str, ...] | None, *, newest: bool
) -> None:
    house = Witnessed()
    house.world.marks[BOT] = there
    if stored is not None:
        await house.vault.save([house.vault.row("marks", Marks(stored))])
    assert await house.upkeep.check() is newest
