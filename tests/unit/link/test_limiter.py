"""How often we log in, and whose turn it is: the time of these tests leaps."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from bridge.link.limiter import Place, Visitor, WindowLimiter
from tests.fakes.clock import leap

COUNT, WINDOW = 8, 60.0


class Door:
    """Logs people in through a limiter, and remembers who came when."""

    def __init__(self, count: int = COUNT, window: float = WINDOW, takes: float = 0.5) -> None:
        self.limiter = WindowLimiter(count, window)
        self.takes = takes
        """Seconds that a login lasts."""
        self.logins: list[tuple[str, float]] = []
        self.told: list[tuple[str, float, float]] = []
        """At what moment each login's turn was expected, and when it came."""

    async def login(
        self, person: str, at: float = 0.0, *, running: bool = False, tell_at: float | None = None
    ) -> float:
        """Come at this moment; returns how long the turn was waited for."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(at - loop.time())

        async def wait(turn: asyncio.Future[Place], expected: Callable[[], float]) -> None:
            if tell_at is not None:
                await asyncio.sleep(tell_at - loop.time())
                if not turn.done():
                    moment = loop.time() + expected()
                    await turn
                    self.told.append((person, moment, loop.time()))
            await turn

        async with self.limiter.place(Visitor(person, running, wait)):
            self.logins.append((person, loop.time()))
            waited = loop.time() - at
            await asyncio.sleep(self.takes)
        return waited

    @property
    def order(self) -> list[str]:
        return [person for person, _ in self.logins]

    @property
    def moments(self) -> list[float]:
        return [moment for _, moment in self.logins]


def test_no_window_holds_more_than_the_count() -> None:
    door = Door(3, 10)

    async def all_come() -> None:
        await asyncio.gather(*(door.login(str(number)) for number in range(10)))

    leap(all_come())
    times = door.moments
    assert len(times) == 10
    assert all(later - earlier >= 10 for earlier, later in zip(times, times[3:], strict=False))
    assert times[2] == times[0], "the first ones need not wait"


def test_a_failure_takes_its_place_too() -> None:
    limiter = WindowLimiter(1, 10)

    async def one_fails() -> float:
        with pytest.raises(ValueError, match="x"):
            async with limiter.place(Visitor("ada")):
                raise ValueError("x")
        async with limiter.place(Visitor("bob")):
            return asyncio.get_running_loop().time()

    assert leap(one_fails()) == 10


def test_what_an_earlier_run_took_counts_for_nobody() -> None:
    door = Door(2)

    async def come() -> list[float]:
        for _ in range(2):
            door.limiter.give_away(30)
        return list(await asyncio.gather(door.login("ada"), door.login("bob")))

    assert leap(come()) == [30, 30]


@pytest.mark.parametrize("seed", range(20))
def test_a_person_with_many_rooms_delays_a_newcomer_by_one_login_at_most(seed: int) -> None:
    """Security M2: 40 rooms of one person, however they come; then people with one room each."""
    chance = random.Random(seed)  # noqa: S311 - chance that can be repeated
    door = Door(chance.choice([1, 2, 8]), takes=chance.uniform(0, 5))
    hers = [chance.uniform(0, 200) for _ in range(40)]
    comes = chance.uniform(0, 300)

    async def come() -> float:
        async with asyncio.TaskGroup() as tasks:
            for at in hers:
                tasks.create_task(door.login("mallory", at))
            newcomer = tasks.create_task(door.login("alice", comes))
        return newcomer.result()

    waited = leap(come())
    before = door.logins[: door.order.index("alice")]
    assert sum(moment > comes for _, moment in before) <= 1
    assert waited <= 2 * (WINDOW + door.takes), "its own turn, and the one before"


def test_nobody_takes_the_last_places() -> None:
    """A person who opens many rooms at once gets 5 of 8; who comes next need not wait at all."""
    door = Door()

    async def come() -> list[float]:
        async with asyncio.TaskGroup() as tasks:
            for number in range(14):
                tasks.create_task(door.login("mallory", number))
            others = [
                tasks.create_task(door.login(person, 15.0)) for person in ("alice", "bob", "eve")
            ]
        return [one.result() for one in others]

    assert leap(come()) == [0, 0, 0]
    early = [person for person, moment in door.logins if moment < WINDOW]
    assert early.count("mallory") == 5
    assert door.order.count("mallory") == 14, "all of them come to their turn"


def test_turns_go_round_and_each_persons_go_in_order() -> None:
    door = Door(1, 10, takes=0)

    async def come() -> None:
        async with asyncio.TaskGroup() as tasks:
            for person in ("a", "a", "a", "b", "b", "c"):
                tasks.create_task(door.login(person))

    leap(come())
    assert door.order == ["a", "a", "b", "c", "a", "b"]


def test_who_is_in_a_chat_goes_before_who_comes_anew() -> None:
    door = Door(2)

    async def come() -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(6):
                tasks.create_task(door.login(f"new{number}"))
            tasks.create_task(door.login("chatting", 1.0, running=True))

    leap(come())
    assert door.order[:3] == ["new0", "new1", "chatting"]


def test_who_is_in_chats_does_not_keep_out_everybody_else() -> None:
    """However often one person's links are lost, some of the logins are for the others."""
    door = Door()

    async def come() -> float:
        async with asyncio.TaskGroup() as tasks:
            for number in range(50):
                tasks.create_task(door.login("mallory", number, running=True))
            newcomer = tasks.create_task(door.login("alice", 40.0))
        return newcomer.result()

    assert leap(come()) == 0


def test_who_gives_up_leaves_the_line_at_once() -> None:
    door = Door(1)

    async def come() -> tuple[float, list[str]]:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(door.login("first"))
            gone = tasks.create_task(door.login("gone", 1.0))
            last = tasks.create_task(door.login("last", 2.0))
            await asyncio.sleep(3.0)
            gone.cancel()
        return last.result(), door.order

    assert leap(come()) == (58.5, ["first", "last"])


@pytest.mark.parametrize("turns", range(4))
def test_who_gives_up_as_the_turn_comes_passes_it_on(turns: int) -> None:
    """Whatever comes first, the cancellation or the turn: nobody waits another window for it."""
    limiter = WindowLimiter(1, WINDOW)

    async def come() -> float:
        loop = asyncio.get_running_loop()
        limiter.give_away(10)

        async def login(person: str) -> float:
            async with limiter.place(Visitor(person)):
                return loop.time()

        async with asyncio.TaskGroup() as tasks:
            gone = tasks.create_task(login("gone"))
            last = tasks.create_task(login("last"))

            def give_up(left: int) -> None:
                if left:
                    loop.call_soon(give_up, left - 1)
                else:
                    gone.cancel()

            await asyncio.sleep(0)
            loop.call_at(10.0, give_up, turns)
        return last.result() if gone.cancelled() else -1

    assert leap(come()) in {10, -1}


def test_a_wait_that_ends_by_itself_is_out_of_the_line() -> None:
    limiter = WindowLimiter(1, WINDOW)

    async def unwilling(turn: asyncio.Future[Place], expected: Callable[[], float]) -> None:
        raise ZeroDivisionError

    async def come() -> float:
        async with limiter.place(Visitor("ada")):
            pass
        with pytest.raises(ZeroDivisionError):
            async with limiter.place(Visitor("bob", wait=unwilling)):
                pytest.fail("it is not his turn")
        async with limiter.place(Visitor("eve")):
            return asyncio.get_running_loop().time()

    assert leap(come()) == WINDOW


@pytest.mark.parametrize("seed", range(20))
def test_what_is_told_of_the_wait_is_so(seed: int) -> None:
    """Nobody waits longer than they were told, while nobody else comes."""
    chance = random.Random(seed)  # noqa: S311 - chance that can be repeated
    door = Door(chance.choice([1, 2, 3, 8]), takes=0)
    people = [chance.choice(["ada", "bob", "eve", f"p{n}"]) for n in range(30)]

    async def come() -> None:
        async with asyncio.TaskGroup() as tasks:
            for person in people:
                at = chance.uniform(0, 15)
                tasks.create_task(door.login(person, at, tell_at=15.0))

    leap(come())
    assert door.told
    assert all(came <= told + 0.001 for _, told, came in door.told)


def test_a_newcomer_behind_many_rooms_of_one_person_is_told_of_one_window_at_most() -> None:
    door = Door(3)

    async def come() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(door.login("bob", 0.0))
            for number in range(14):
                tasks.create_task(door.login("mallory", number))
            tasks.create_task(door.login("alice", 15.0, tell_at=20.0))

    leap(come())
    assert door.told == [("alice", 60.5, 60.5)]
