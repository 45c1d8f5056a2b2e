"""Access to the server's HTTP addresses: back-off, rate limit, `Door`, visits, resolver."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from yarl import URL

from bridge.link.files import AddressRefused, AllowedHosts, GuardedResolver
from bridge.link.http_client import (
    NOBODY,
    STARTING,
    SUSPICIONS,
    Answer,
    Backoff,
    Door,
    Http,
    OpenFailure,
    Place,
    Visitor,
    Visits,
    WindowLimiter,
)
from bridge.rooms.ports import Refused
from bridge.rooms.store import StoreError
from bridge.webchat.http import parse_login_reply
from tests.fakes.clock import leap
from tests.support.certificates import signed, tls_before
from tests.unit.link.rig import FAST, Facts, LoopClock, account, rig, settings_for
from tests.unit.link.simulated import ADA as ACCOUNT
from tests.unit.link.simulated import ASK, simulated
from tests.unit.link.test_files import OWN, read, started

ADA = Visitor("@ada:example.org")
FORBIDDEN = 403


def door(blacklist: float = 600.0, facts: Facts | None = None) -> Door:
    timing = replace(FAST, blacklist=blacklist)
    settings = settings_for("http://crm/webchat", timing=timing, login_count=1, login_seconds=0.05)
    http = Http(timing, None)
    return Door(settings, http, facts or Facts(), LoopClock())


class Refusing(Http):
    """A firewall that answers in place of the server."""

    async def post(self, *_: object, **__: object) -> Answer:
        return Answer(FORBIDDEN, b"")


def refusing(blacklist: float = 600.0) -> Door:
    behind_it = door(blacklist)
    behind_it._http = Refusing(FAST, None)
    return behind_it


async def refused(closing: Door, number: int) -> OpenFailure:
    with pytest.raises(OpenFailure) as caught:
        await closing.post("login", f"@{number}:a", b"", parse_login_reply)
    return caught.value


@pytest.mark.asyncio
async def test_concurrent_refusals_cause_a_single_login_of_nobody() -> None:
    """The server's own limit is not far above the bridge's."""
    closing, made = refusing(), list[bytes]()

    async def post(_url: str, body: bytes, *_: object, **__: object) -> Answer:
        made.append(body)
        await asyncio.sleep(0)
        return Answer(FORBIDDEN, b"")

    closing._window = 60.0
    closing._http.post = post  # type: ignore[assignment]
    await asyncio.gather(*(refused(closing, number) for number in range(3 * SUSPICIONS)))
    assert sum(NOBODY.encode() in body for body in made) == 1
    assert closing.closed_for() > 0


@pytest.mark.asyncio
async def test_foreign_answers_close_the_door() -> None:
    closing = refusing()
    for number in range(1, SUSPICIONS + 1):
        failure = await refused(closing, number)
        assert failure.pause == (0 if number < SUSPICIONS else 600)
        assert "HTTP 403" in str(failure)
    assert closing.trouble
    with pytest.raises(OpenFailure, match="blacklisted") as caught:
        closing.check()
    assert 599 < caught.value.pause <= 600
    with pytest.raises(OpenFailure, match="blacklisted"):
        async with closing.knock(ADA):
            pytest.fail("it is closed")


@pytest.mark.asyncio
async def test_foreign_answers_to_one_person_stop_only_their_logins() -> None:
    """A firewall before WebChat may refuse a display name such as `<script>`, in all rooms."""
    open_to_others = door()
    for number in range(1, 10 * SUSPICIONS):
        failure = open_to_others.foreign(Answer(FORBIDDEN, b""), "login", "@mallory:a")
        assert failure.pause == (0 if number < SUSPICIONS else 600)
    open_to_others.check()
    with pytest.raises(OpenFailure, match="blacklisted"):
        async with open_to_others.knock(Visitor("@mallory:a")):
            pytest.fail("it is closed to her")


@pytest.mark.asyncio
async def test_a_server_that_is_starting_is_not_suspected() -> None:
    patient = door()
    for status in STARTING:
        for _ in range(SUSPICIONS):
            assert patient.foreign(Answer(status, b""), "login", "@a:a").pause == 0
    patient.check()


class Answering(Http):
    """A server whose every answer is WebChat's own."""

    async def post(self, *_: object, **__: object) -> Answer:
        return Answer(200, b"{}")


@pytest.mark.asyncio
async def test_one_proper_answer_clears_the_suspicion() -> None:
    cleared = door()
    former, cleared._http = cleared._http, Answering(FAST, None)
    for number in range(10 * SUSPICIONS):
        cleared.foreign(Answer(FORBIDDEN, b""), "login", f"@{number}:a")
        await cleared.post("login", "@a:a", b"", bytes)
    cleared.check()
    assert cleared.trouble == ""
    cleared._http = former
    with pytest.raises(OpenFailure, match="login: the links are not running"):
        await cleared.post("login", "@a:a", b"", bytes)
    assert cleared.trouble, "no answer came"


@pytest.mark.asyncio
async def test_closed_door_opens_again_after_a_while() -> None:
    opening = refusing(blacklist=0.05)
    for number in range(SUSPICIONS):
        await refused(opening, number)
    await asyncio.sleep(0.06)
    async with opening.knock(ADA):
        opening.check()


@pytest.mark.asyncio
async def test_waiting_logins_fail_when_the_door_closes() -> None:
    closing = refusing()
    inside, leave = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with closing.knock(ADA):
            inside.set()
            await leave.wait()

    async def late() -> str:
        try:
            async with closing.knock(ADA):
                return "let in"
        except OpenFailure as failure:
            return str(failure)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(first())
        await inside.wait()
        waiting = tasks.create_task(late())
        await asyncio.sleep(0)
        for number in range(SUSPICIONS):
            await refused(closing, number)
        leave.set()
    assert "blacklisted" in waiting.result()


@pytest.mark.asyncio
async def test_refused_sockets_of_three_rooms_close_the_door() -> None:
    """Logins that are answered meanwhile do not clear the suspicion."""
    closing = door()
    for number in range(1, SUSPICIONS + 1):
        closing.answered()
        assert closing.closed_for() == 0
        for _ in range(5):
            closing.suspect(account(str(number)).room_id, 403)
        assert (closing.trouble == "") == (number < SUSPICIONS)
    assert 599 < closing.closed_for() <= 600
    with pytest.raises(OpenFailure, match="blacklisted"):
        closing.check()


@pytest.mark.asyncio
async def test_a_socket_that_opens_clears_the_suspicion() -> None:
    cleared = door()
    for number in range(10 * SUSPICIONS):
        cleared.suspect(account(str(number)).room_id, 401)
        cleared.let_in()
    cleared.check()


@pytest.mark.asyncio
async def test_visits_before_a_restart_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.link.http_client.SHORTEST_KEPT", 0.0)  # for a fast test
    facts = Facts()
    before = door(facts=facts)
    await before.load()
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with before.knock(ADA):
        assert len(facts.kept) == 1, "noted before anything is sent"
    after = door(facts=facts)
    await after.load()
    async with after.knock(ADA):
        assert loop.time() - began >= 0.045


COUNT, WINDOW = 8, 60.0


class Turnstile:
    """Logs people in through a limiter, and records who logged in when."""

    def __init__(self, count: int = COUNT, window: float = WINDOW, takes: float = 0.5) -> None:
        self.limiter = WindowLimiter(count, window)
        self.takes = takes
        """Seconds that a login lasts."""
        self.logins: list[tuple[str, float]] = []
        self.told: list[tuple[str, float, float]] = []
        """Person, when the turn was expected, and when it came."""

    async def login(
        self, person: str, at: float = 0.0, *, running: bool = False, tell_at: float | None = None
    ) -> float:
        """Log in at the moment `at`; return the seconds waited for the turn."""
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
    door = Turnstile(3, 10)

    async def all_come() -> None:
        await asyncio.gather(*(door.login(str(number)) for number in range(10)))

    leap(all_come())
    times = door.moments
    assert len(times) == 10
    assert all(later - earlier >= 10 for earlier, later in zip(times, times[3:], strict=False))
    assert times[2] == times[0], "the first ones need not wait"


def test_the_count_may_change_while_people_wait() -> None:
    """It is divided among the processes that use the same server."""
    door = Turnstile(4, 10)

    async def all_come() -> None:
        door.limiter.resize(1)
        coming = asyncio.gather(*(door.login(str(number)) for number in range(4)))
        await asyncio.sleep(5)
        door.limiter.resize(2)
        await asyncio.sleep(1)
        door.limiter.resize(1)
        await coming

    leap(all_come())
    assert [round(moment, 1) for moment in door.moments] == [0, 5, 15.5, 26]


def test_failed_login_counts_towards_the_limit() -> None:
    limiter = WindowLimiter(1, 10)

    async def one_fails() -> float:
        with pytest.raises(ValueError, match="x"):
            async with limiter.place(Visitor("ada")):
                raise ValueError("x")
        async with limiter.place(Visitor("bob")):
            return asyncio.get_running_loop().time()

    assert leap(one_fails()) == 10


def test_visits_of_an_earlier_run_are_charged_to_nobody() -> None:
    door = Turnstile(2)

    async def come() -> list[float]:
        for _ in range(2):
            door.limiter.give_away(30)
        return list(await asyncio.gather(door.login("ada"), door.login("bob")))

    assert leap(come()) == [30, 30]


@pytest.mark.parametrize("seed", range(20))
def test_a_person_with_many_rooms_delays_a_newcomer_by_one_login_at_most(seed: int) -> None:
    """Security M2: 40 rooms of one person at random times, and a newcomer with one room."""
    chance = random.Random(seed)  # noqa: S311 - chance that can be repeated
    door = Turnstile(chance.choice([1, 2, 8]), takes=chance.uniform(0, 5))
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


def test_one_person_cannot_take_the_last_logins() -> None:
    """A person who opens many rooms gets 5 of 8 logins; the next people need not wait at all."""
    door = Turnstile()

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


def test_turns_alternate_between_people() -> None:
    door = Turnstile(1, 10, takes=0)

    async def come() -> None:
        async with asyncio.TaskGroup() as tasks:
            for person in ("a", "a", "a", "b", "b", "c"):
                tasks.create_task(door.login(person))

    leap(come())
    assert door.order == ["a", "a", "b", "c", "a", "b"]


def test_people_in_a_chat_log_in_before_newcomers() -> None:
    door = Turnstile(2)

    async def come() -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(6):
                tasks.create_task(door.login(f"new{number}"))
            tasks.create_task(door.login("chatting", 1.0, running=True))

    leap(come())
    assert door.order[:3] == ["new0", "new1", "chatting"]


def test_people_in_chats_do_not_use_up_all_logins() -> None:
    """However often one person's links are lost, some logins are left for the others."""
    door = Turnstile()

    async def come() -> float:
        async with asyncio.TaskGroup() as tasks:
            for number in range(50):
                tasks.create_task(door.login("mallory", number, running=True))
            newcomer = tasks.create_task(door.login("alice", 40.0))
        return newcomer.result()

    assert leap(come()) == 0


def test_cancelled_login_leaves_the_queue_at_once() -> None:
    door = Turnstile(1)

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
def test_login_cancelled_at_its_turn_passes_the_turn_on(turns: int) -> None:
    """Whichever comes first, the cancellation or the turn: the next need not wait a window."""
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


def test_login_whose_wait_raises_leaves_the_queue() -> None:
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
def test_turn_does_not_come_later_than_expected(seed: int) -> None:
    """Nobody waits longer than expected, unless others arrive."""
    chance = random.Random(seed)  # noqa: S311 - chance that can be repeated
    door = Turnstile(chance.choice([1, 2, 3, 8]), takes=0)
    people = [chance.choice(["ada", "bob", "eve", f"p{n}"]) for n in range(30)]

    async def come() -> None:
        async with asyncio.TaskGroup() as tasks:
            for person in people:
                at = chance.uniform(0, 15)
                tasks.create_task(door.login(person, at, tell_at=15.0))

    leap(come())
    assert door.told
    assert all(came <= told + 0.001 for _, told, came in door.told)


def test_newcomer_behind_many_rooms_of_one_person_expects_one_window_at_most() -> None:
    door = Turnstile(3)

    async def come() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(door.login("bob", 0.0))
            for number in range(14):
                tasks.create_task(door.login("mallory", number))
            tasks.create_task(door.login("alice", 15.0, tell_at=20.0))

    leap(come())
    assert door.told == [("alice", 60.5, 60.5)]


NOW = 1_733_011_200_000
SETTINGS = settings_for("http://crm/webchat", login_count=3, login_seconds=60.0)


@dataclass
class Clock:
    at: int = NOW

    def now(self) -> int:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += round(seconds * 1000)


class Down(Facts):
    async def fact(self, name: str) -> str | None:
        raise StoreError("down")

    async def save_fact(self, name: str, value: str) -> None:
        raise StoreError("down")


@pytest.mark.asyncio
async def test_the_newest_visits_count_for_one_window() -> None:
    clock, facts = Clock(), Facts()
    before = Visits(SETTINGS, facts, clock)
    assert await before.load() == []
    for _ in range(5):
        await before.note()
        await clock.sleep(10)
    after = Visits(SETTINGS, facts, clock)
    assert await after.load() == [30.0, 40.0, 50.0]
    await clock.sleep(35)
    assert await Visits(SETTINGS, facts, clock).load() == [5.0, 15.0]
    await clock.sleep(60)
    assert await Visits(SETTINGS, facts, clock).load() == []


@pytest.mark.asyncio
async def test_number_of_stored_visits_is_limited() -> None:
    clock, facts = Clock(), Facts()
    visits = Visits(
        settings_for("http://crm/webchat", login_count=1000, login_seconds=60.0), facts, clock
    )
    for _ in range(100):
        await visits.note()
        await clock.sleep(1)
    (kept,) = facts.kept.values()
    assert len(kept.split()) <= 60


@pytest.mark.asyncio
async def test_only_the_first_visit_is_stored_for_a_window_shorter_than_a_restart() -> None:
    """A limit of hundreds a second, of a whitelisted bridge, would cost as many writes."""
    facts = Facts()
    lifted = settings_for("http://crm/webchat", login_count=1000, login_seconds=1.0)
    visits = Visits(lifted, facts, Clock())
    for _ in range(3):
        await visits.note()
    (kept,) = facts.kept.values()
    assert len(kept.split()) == 1, "and that one tells that the server was used"


@pytest.mark.asyncio
async def test_a_clock_that_was_set_back_costs_one_window() -> None:
    facts = Facts()
    before = Visits(SETTINGS, facts, Clock(NOW + 86_400_000))
    await before.note()
    clock = Clock()
    after = Visits(SETTINGS, facts, clock)
    assert await after.load() == [60.0]
    await clock.sleep(61)
    for _ in range(3):
        await after.note()
    await clock.sleep(61)
    assert await Visits(SETTINGS, facts, clock).load() == []


@pytest.mark.asyncio
async def test_lower_limit_counts_the_newest_visits() -> None:
    facts = Facts()
    facts.kept["visits http://crm/webchat/tpi"] = f"{NOW - 20_000} nonsense {NOW - 10_000} -1"
    fewer = settings_for("http://crm/webchat", login_count=1, login_seconds=60.0)
    assert await Visits(fewer, facts, Clock()).load() == [50.0]


@pytest.mark.asyncio
async def test_visits_work_without_the_store() -> None:
    visits = Visits(SETTINGS, Down(), Clock())
    assert await visits.load() == []
    await visits.note()


class Fixed(random.Random):
    """A generator that always returns `share`."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def random(self) -> float:
        return self.share


def test_delays_double_up_to_the_last() -> None:
    backoff = Backoff(1, 60, Fixed(1.0))
    assert [backoff.next() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_the_first_delay_spreads_from_zero_and_later_ones_from_half() -> None:
    backoff = Backoff(1, 60, Fixed(0.0))
    assert [backoff.next() for _ in range(3)] == [0, 1, 2]


def test_reset_starts_anew() -> None:
    backoff = Backoff(1, 60, Fixed(1.0))
    for _ in range(5):
        backoff.next()
    assert backoff.failures == 5
    backoff.reset()
    assert backoff.failures == 0
    assert backoff.next() == 1


@given(st.integers(), st.integers(min_value=1, max_value=2000))
def test_a_delay_never_leaves_its_bounds(seed: int, tries: int) -> None:
    backoff = Backoff(1, 60, random.Random(seed))  # noqa: S311 - jitter
    delays = [backoff.next() for _ in range(tries)]
    assert all(0 <= delay <= 60 for delay in delays)
    assert all(delay >= 0.5 for delay in delays[1:])


@pytest.mark.asyncio
async def test_call_centres_on_one_server_share_its_limit() -> None:
    """The server counts logins by the bridge's address; each call centre stores its own visits."""
    facts, clock = Facts(), Clock()
    both = [replace(SETTINGS, neighbours=2, mark=mark) for mark in ("", "best")]
    doors = [Door(one, Http(one.timing, None), facts, clock) for one in both]
    count = SETTINGS.server.login_rate.count
    assert [door._limiter.free for door in doors] == [count // 2] * 2
    doors[0].share(2)
    assert [door._limiter.free for door in doors] == [max(1, count // 4), count // 2]
    for one in both:
        await Visits(one, facts, clock).note()
    assert sorted(facts.kept) == [
        "visits http://crm/webchat/tpi",
        "visits http://crm/webchat/tpi best",
    ]


@pytest.mark.asyncio
async def test_a_renewed_authority_is_trusted_once_its_file_is_read_again(tmp_path: Path) -> None:
    """Of the same name, as an authority that renews its certificate keeps its own."""
    former, renewed = (signed("Our Own Authority", authority=True) for _ in range(2))
    file = tmp_path / "ca.pem"
    file.write_bytes(former.pem())
    tls = signed("localhost", renewed).server(tmp_path)
    async with (
        simulated() as simulator,
        tls_before(urlsplit(simulator.base_url).port or 0, tls) as port,
        rig(settings_for(f"https://localhost:{port}/webchat", ca_file=str(file))) as rigged,
    ):
        await rigged.links.door.look()
        assert "certificate not accepted" in rigged.links.door.trouble
        file.write_bytes(renewed.pem())
        rigged.links.trust()
        assert (await rigged.call(ACCOUNT, 1, ASK)).ok
        file.write_bytes(b"half a cert")
        with capture_logs() as logs:
            rigged.links.trust()
    said = "ca_file was not read again: its former content stays trusted"
    why = f"ca_file cannot be used: {file}: it contains no certificate"
    assert logs == [{"event": said, "why": why, "log_level": "warning"}]


# --- addresses of agents' files -------------------------------------------------------------------


class Names(AbstractResolver):
    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=at, port=port, family=family, proto=0, flags=0)
            for at in self.addresses
        ]

    async def close(self) -> None:
        self.addresses = ()


@pytest.mark.asyncio
async def test_resolver_keeps_only_connectable_addresses() -> None:
    hosts = AllowedHosts(OWN, ["cdn.example.net"])
    found = await GuardedResolver(hosts, Names("10.0.0.1", "93.184.216.34")).resolve("cdn", 443)
    assert [result["host"] for result in found] == ["93.184.216.34"]
    with pytest.raises(AddressRefused, match="not public"):
        await GuardedResolver(hosts, Names("10.0.0.1")).resolve("cdn.example.net", 443)


@pytest.mark.asyncio
async def test_the_own_server_may_be_private_on_its_own_port_only() -> None:
    hosts = AllowedHosts(OWN, ["crm.example.org:9000"])
    resolver = GuardedResolver(hosts, Names("10.0.0.1"))
    assert await resolver.resolve("crm.example.org", 443)
    with pytest.raises(AddressRefused):
        await resolver.resolve("crm.example.org", 9000)
    await resolver.close()


@pytest.mark.asyncio
async def test_the_own_server_may_be_private_under_an_international_name() -> None:
    """aiohttp asks the resolver for the name in ASCII (IDNA)."""
    hosts = AllowedHosts(URL("https://büro.example/webchat"), [])
    assert hosts.allows(URL("https://büro.example/up/a.jpg"))
    assert hosts.allows(URL("https://xn--bro-hoa.example/up/a.jpg"))
    assert await GuardedResolver(hosts, Names("10.0.0.1")).resolve("xn--bro-hoa.example", 443)


@pytest.mark.asyncio
async def test_dns_rebinding_reaches_no_private_address() -> None:
    """Each connection goes to an address that was checked for it, whatever was checked before.

    127.0.0.2 plays a public address (it is listed), 127.0.0.1 a private one.
    """
    hits: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hits.append(writer.get_extra_info("sockname")[0])
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx")
        writer.close()

    shown = await asyncio.start_server(serve, "127.0.0.2", 0)
    port = shown.sockets[0].getsockname()[1]
    hidden = await asyncio.start_server(serve, "127.0.0.1", port)
    settings = settings_for(
        "http://crm.example.org/webchat", allowed_media_hosts=(f"cdn.example:{port}", "127.0.0.2")
    )
    async with shown, hidden, started(settings) as fetcher:
        assert fetcher._session is not None
        connector = fetcher._session.connector
        assert isinstance(connector, aiohttp.TCPConnector)
        resolver = connector._resolver
        assert isinstance(resolver, GuardedResolver)
        url = f"http://cdn.example:{port}/a"
        for addresses, reached in ((("127.0.0.2",), True), (("127.0.0.1",), False)):
            resolver._inner = Names(*addresses)
            connector.clear_dns_cache()  # as after ten seconds
            if reached:
                assert await read(fetcher, url) == b"x"
            else:
                with pytest.raises(Refused, match="not public"):
                    await read(fetcher, url)
        resolver._inner = Names("127.0.0.1", "127.0.0.2")
        connector.clear_dns_cache()
        assert await read(fetcher, url) == b"x"
    assert set(hits) == {"127.0.0.2"}
