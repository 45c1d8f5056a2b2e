"""HTTP addresses of the server: connection pool, rate limit, circuit breaker, backoff.

`Http` has no connection limit (long requests must never queue behind each other) and keeps no
cookies: those of a login belong to its token, for a balancer may lead each customer elsewhere.

The server blacklists an address that logs in too often, and all our customers share one (protocol
reference 3.7). So whatever goes to its login address passes the `Door`:

* rate limit, `WindowLimiter`: so many requests in any window, as the server counts (a leaky bucket
  lets almost twice as many through). A place comes back one whole window after its login has
  *ended*. The newest moments are kept over restarts (`Visits`);
* fair queueing: whose chat is going on first, then who has the fewest places taken, then in turns.
  Who has places gets another only while as many are free (dynamic thresholds): 5 of 8 at most;
* circuit breaker: answers that look like a blacklist's close the door for everybody for a while.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from urllib.parse import urljoin

import aiohttp
import msgspec
import structlog
from yarl import URL

from bridge.conversation.model import FailureReason
from bridge.ids import RoomId
from bridge.link.settings import MOST_REDIRECTS, REDIRECTS, USER_AGENT, LinkSettings, Timing
from bridge.rooms.ports import CallFailure, Clock, Unavailable, describe
from bridge.rooms.store import Facts, StoreError
from bridge.webchat.http import Endpoints, login_sign

_LOG: structlog.stdlib.BoundLogger = structlog.get_logger()

Told = TypeVar("Told")


class OpenFailure(CallFailure):
    """The link could not be opened; nothing was written, so it is always certain. No other try may
    be made for `pause` seconds, and none that nobody asks for in `rest` seconds.
    """

    def __init__(
        self,
        reason: FailureReason,
        message: str,
        *,
        code: int | None = None,
        pause: float = 0.0,
        rest: float = 0.0,
    ) -> None:
        super().__init__(reason, message, code)
        self.pause = pause
        self.rest = rest


class TokenRefused(Exception):
    """The server does not know the token (any more): log in again."""


class Unwanted(Exception):
    """The link for which a login stood in line is not wanted any more."""


@dataclass
class Backoff:
    """Exponential backoff with jitter: the first delay is anywhere up to `first`, so that links
    lost together come back spread out; later ones are between half of their step and all of it.
    """

    first: float
    last: float
    rng: random.Random
    failures: int = 0
    """Delays handed out since the last `reset`."""

    def next(self) -> float:
        """The delay to keep now, in seconds; the following one is longer."""
        # 2 ** 30 steps are beyond any `last`.
        step = min(self.last, self.first * 2.0 ** min(self.failures, 30))
        share = self.rng.random()
        if self.failures:
            share = 0.5 + share / 2
        self.failures += 1
        return step * share

    def reset(self) -> None:
        self.failures = 0


LONGEST_ANSWER = 256 * 1024
"""Bytes of an HTTP answer that are read, unless told otherwise; most have a few hundred."""
LONGEST_COOKIES = 4096
"""Bytes of one login's cookies; a servlet container takes 8 KiB of headers in all."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, cut at the longest body that was wanted."""

    status: int
    body: bytes
    cookies: str = field(default="", repr=False)
    """Those that it set, as a `Cookie` header for the addresses beside its own: a secret."""
    location: str = field(default="", repr=False)
    """Where it leads, if it is a redirect; may hold a token."""

    def foreign(self, what: str) -> str:
        """What to say of an answer that is not WebChat's; `what` was asked."""
        to = self.location
        why = f"redirects to {origin_of(to)}" if to else "without WebChat's JSON"
        return f"{what}: HTTP {self.status} {why}"


def new_session(connector: aiohttp.TCPConnector, **headers: str) -> aiohttp.ClientSession:
    """A session without cookies: those of a login belong to its token."""
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT, **headers},
    )


@dataclass(eq=False)
class Http:
    """Connection pool for POST requests; usable while `running` is entered."""

    _timing: Timing
    _tls: ssl.SSLContext | None
    _session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls or True)
        async with new_session(connector) as self._session:
            yield

    async def post(
        self,
        url: str,
        data: object,
        headers: Mapping[str, str],
        *,
        total: float,
        longest: int = LONGEST_ANSWER,
        cookies: str = "",
        method: str = "POST",
    ) -> Answer:
        """Send one request and read `longest` bytes of its answer, within `total` seconds.

        `cookies` are those of the token that the request names. A body at hand follows redirects
        that stay on the server, as POST whatever their status. Raises Unavailable, whose text never
        holds the URL, if no HTTP answer came.
        """
        if self._session is None or self._session.closed:
            raise Unavailable("the links are not running")
        if cookies:
            headers = {**headers, "Cookie": cookies}
        timeout = timeout_of(self._timing, total)
        try:
            async with asyncio.timeout(total):
                for _ in range(MOST_REDIRECTS + 1):
                    async with self._session.request(
                        method,
                        url,
                        data=data,
                        headers=headers,
                        timeout=timeout,
                        allow_redirects=False,
                    ) as response:
                        answer = await _read(response, url, longest)
                    onward = redirected(url, answer.location)
                    if onward is None or not isinstance(data, bytes):
                        return answer
                    url = onward
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            # Without its cause: an aiohttp error may quote the URL, which carries the token.
            raise Unavailable(describe(error)) from None
        raise Unavailable(f"more than {MOST_REDIRECTS} redirects")


async def _read(response: aiohttp.ClientResponse, url: str, longest: int) -> Answer:
    body = bytearray()
    async for chunk in response.content.iter_chunked(16 * 1024):
        body += chunk
        if len(body) >= longest:
            break
    location = response.headers.get("Location", "") if response.status in REDIRECTS else ""
    with suppress(ValueError):
        location = location and urljoin(url, location)
    return Answer(response.status, bytes(body[:longest]), _cookies(response), location)


def redirected(url: str, location: str) -> str | None:
    """The address to which a redirect leads on the same server: a token is for no other."""
    try:
        target = urljoin(url, location)
    except ValueError:
        return None
    return target if location and origin_of(target) == origin_of(url) else None


def origin_of(url: str) -> str:
    """Scheme, host and port, for people too."""
    try:
        return str(URL(url).origin())
    except ValueError:
        return "an address that cannot be read"


def timeout_of(timing: Timing, total: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=total, sock_connect=timing.handshake, sock_read=timing.reply)


def _cookies(response: aiohttp.ClientResponse) -> str:
    """An answer's cookies for the addresses beside its own, as a jar judges them.

    What is no printable ASCII, or would be too much, is left out.
    """
    if not response.cookies:
        return ""
    jar = aiohttp.CookieJar(unsafe=True)  # "unsafe": also where the server is named by its address
    jar.update_cookies(response.cookies, response.url)
    header = ""
    for name in jar.filter_cookies(response.url.with_name("cws")):
        # As it was written: the jar would put what it finds unusual into quotation marks.
        longer = f"{header}; {name}={response.cookies[name].coded_value}".removeprefix("; ")
        if len(longer) <= LONGEST_COOKIES and longer.isascii() and longer.isprintable():
            header = longer
    return header


class Place(msgspec.Struct, eq=False):
    """A place of the rate limit, while it is taken."""

    person: str
    """Empty: an earlier run of ours took it."""
    back: float | None = None
    """When it comes back, in loop time; None: its login is under way."""


Wait = Callable[[asyncio.Future[Place], Callable[[], float]], Awaitable[None]]
"""Waits until the future is done, which is the turn; the function tells in how many seconds at most
that will be, as things stand. What it raises ends the wait."""


class Visitor(msgspec.Struct, frozen=True):
    """The person for whom a login is made: the unit of fairness."""

    person: str
    """The Matrix user who brought us into the room."""
    running: bool = False
    """They are in a chat already, or in a queue of the call centre's."""
    wait: Wait | None = None
    """None: however long it takes."""


class WindowLimiter:
    """Rate limit over a sliding window, with a fair queue of those who wait."""

    def __init__(self, count: int, seconds: float) -> None:
        self._seconds = seconds
        self._count = self.free = count
        self._taken: set[Place] = set()
        self._held = Counter[str]()
        """How many places a person has; a lifted limit may have thousands."""
        self._line: dict[asyncio.Future[Place], Visitor] = {}
        """Who waits for which, in the order in which they came, or their person last had a turn."""

    def resize(self, count: int) -> None:
        """Have so many places from now on; those that are taken stay taken."""
        self.free += count - self._count
        self._count = count
        self._next()

    def give_away(self, seconds: float) -> None:
        """Have one place less for so long."""
        self._cool(self._take(""), seconds)

    @asynccontextmanager
    async def place(self, visitor: Visitor) -> AsyncIterator[None]:
        """Wait for a place, in which the login is made."""
        turn: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._line[turn] = visitor
        self._next()
        try:
            if visitor.wait is not None and not turn.done():
                await visitor.wait(turn, partial(self._expected, turn))
            place = await turn
        except BaseException:
            if self._line.pop(turn, None) is None and not turn.cancelled():
                self._give_back(turn.result())  # it came in the very moment of giving up
            raise
        try:
            yield
        finally:
            self._cool(place, self._seconds)

    def _next(self) -> None:
        """Give the free places to those whose turn it is."""
        while self.free > 0 and (first := self._first()) is not None:
            person = self._line.pop(first).person
            first.set_result(self._take(person))
            for turn in [turn for turn, one in self._line.items() if one.person == person]:
                self._line[turn] = self._line.pop(turn)

    def _first(self) -> asyncio.Future[Place] | None:
        """The turn that comes next, by the rule of the module's docstring."""
        best, first = (True, self.free + 1), None
        for turn, one in self._line.items():
            places = self._held[one.person]
            rank = not one.running, places
            if rank < best and places <= self.free and not turn.done():
                best, first = rank, turn
                if best == (False, 0):  # thousands may be behind
                    break
        return first

    def _take(self, person: str) -> Place:
        place = Place(person)
        self.free -= 1
        self._taken.add(place)
        self._held[person] += 1
        return place

    def _cool(self, place: Place, seconds: float) -> None:
        """Its login has ended: the place comes back after so long."""
        loop = asyncio.get_running_loop()
        place.back = loop.time() + seconds
        loop.call_at(place.back, self._give_back, place)

    def _give_back(self, place: Place) -> None:
        self.free += 1
        self._taken.remove(place)
        self._held[place.person] -= 1
        if not self._held[place.person]:
            del self._held[place.person]
        self._next()

    def _expected(self, turn: asyncio.Future[Place]) -> float:
        """Upper bound of the wait in seconds, if no one else comes: each other person has a turn
        before each of this one's.
        """
        line = [*self._line.values()]
        ahead = line[: [*self._line].index(turn)]
        running, person = line[len(ahead)].running, line[len(ahead)].person
        earlier = sum(one.person == person for one in ahead)
        others = [one for one in line if one.person != person]
        rivals = {one.person for one in (others if earlier else ahead) if one.running == running}
        first = sum(one.running and not running for one in others)
        before = first + len(rivals) * (earlier + 1) + earlier
        # Who waits does so because places are taken, so there are some that come back.
        now = asyncio.get_running_loop().time()
        backs = sorted(place.back or now + self._seconds for place in self._taken)
        windows, place = divmod(before, len(backs))
        until = backs[place] + windows * self._seconds
        own = [one.back or now + self._seconds for one in self._taken if one.person == person]
        if own:  # some of the free places may be for others only
            until = max(until, max(own) + earlier * self._seconds)
        return max(0.0, until - now)


VISITS = "visits"
"""Begins the name of the fact that holds when we last came to a server's door."""
STARTING = frozenset({404, 408, 500, 502, 503, 504})
"""HTTP statuses of a server that is starting, or of the proxy before it (row 38)."""
BLACKLISTED = "the server seems to have blacklisted this address"
SUSPICIONS = 3
"""So many foreign answers in a row, or rooms refused with new tokens in a row: a blacklist."""


class Visits:
    """Times of our latest requests to the login address; kept over restarts if the store is up."""

    def __init__(self, settings: LinkSettings, facts: Facts, clock: Clock) -> None:
        rate = settings.server.login_rate
        self._window = rate.per_seconds
        self._facts = facts
        self._clock = clock
        self._fact = settings.fact(VISITS)
        self._moments: deque[int] = deque(maxlen=rate.count)
        """ms since the epoch, in the order in which they came."""
        self._storing = asyncio.Lock()
        self._unstored = False

    async def load(self) -> list[float]:
        """For how many seconds each visit of earlier runs still counts."""
        try:
            told = await self._facts.fact(self._fact) or ""
        except StoreError as error:
            _LOG.warning("earlier visits of the webchat server not known", error=str(error))
            return []
        now = self._clock.now()
        # Where the clock was set back since, a moment may lie ahead.
        self._moments.extend(min(int(one), now) for one in told.split() if one.isdecimal())
        left = [self._window - (now - moment) / 1000 for moment in self._moments]
        return [seconds for seconds in left if seconds > 0]

    async def note(self) -> None:
        """Store that we come now; visits that come meanwhile are stored together."""
        now = self._clock.now()
        while self._moments and self._moments[0] <= now - self._window * 1000:
            self._moments.popleft()
        self._moments.append(now)
        self._unstored = True
        async with self._storing:
            if not self._unstored:  # whoever was here before has told of ours too
                return
            self._unstored = False
            try:
                await self._facts.save_fact(self._fact, " ".join(map(str, self._moments)))
            except StoreError as error:
                _LOG.warning("visit of the webchat server not noted", error=str(error))


class Door:
    """Rate limit and circuit breaker of one server's login address, for all its links."""

    trouble = ""
    """Why the server could not be reached when that was tried last, or what answered in its place;
    "" once it answers, be it with a refusal. A link that is lost is no trouble."""

    def __init__(self, settings: LinkSettings, http: Http, facts: Facts, clock: Clock) -> None:
        server = settings.server
        self._url = Endpoints(server.base_url).login
        self._sign_key = server.sign_key.get_secret_value()
        self._timing = settings.timing
        self._http = http
        self._window = server.login_rate.per_seconds
        self._count = max(1, server.login_rate.count // settings.neighbours)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger(**settings.told)
        self._limiter = WindowLimiter(self._count, self._window)
        self._visits = Visits(settings, facts, clock)
        self._foreign_answers = 0
        self._shut_out: set[RoomId] = set()
        """Counted apart: who is shut out of the sockets alone still gets logins answered."""
        self._closed_until = 0.0

    async def load(self) -> None:
        """Recall the visits of an earlier run; to be called before the first `knock`."""
        for seconds in await self._visits.load():
            self._limiter.give_away(seconds)

    def share(self, replicas: int) -> None:
        """Use the part of the logins that is ours while so many processes come here; at least 1."""
        self._limiter.resize(max(1, self._count // replicas))

    @asynccontextmanager
    async def knock(self, visitor: Visitor) -> AsyncIterator[None]:
        """Wait for the visitor's turn; the request is made inside. Raises as `check` and `wait`."""
        self.check()
        async with self._limiter.place(visitor):
            self.check()  # what was learnt while we waited counts
            await self._visits.note()
            yield

    async def post(
        self,
        what: str,
        body: bytes,
        parse: Callable[[bytes], Told | None],
        *,
        longest: int = LONGEST_ANSWER,
        cookies: str = "",
        innocent: Collection[int] = STARTING,
    ) -> tuple[Told, str]:
        """Make a request; return its answer and cookies, or raise OpenFailure, UNREACHABLE.

        `innocent`: statuses that are no sign of a blacklist, whatever comes with them.
        """
        headers = {"Content-Type": "application/json; charset=UTF-8"}
        if self._sign_key:
            # The sign covers exactly these bytes (protocol reference 3.2). A server that wants it
            # on logins looks at this address, not at types.
            headers["sign"] = login_sign(body, self._sign_key)
        try:
            total = self._timing.reply
            answer = await self._http.post(
                self._url, body, headers, total=total, longest=longest, cookies=cookies
            )
        except Unavailable as error:
            raise self.unreachable(f"{what}: {error}") from error
        # The vendor's clients parse the body whatever the HTTP status is.
        told = parse(answer.body)
        if told is None:
            raise self.foreign(answer, what, innocent)
        self.answered()
        return told, answer.cookies

    async def look(self) -> None:
        """See whether the server is there, by a GET, which logs nobody in; note its `trouble`. It
        may be counted as a login, so it takes a place, but never the last that is free.
        """
        if self._limiter.free < 2:
            return
        self._limiter.give_away(self._window)
        await self._visits.note()
        try:
            total = self._timing.handshake
            status = (await self._http.post(self._url, None, {}, total=total, method="GET")).status
            # No guide says what that is answered: what is no page of a container's may be WebChat.
            self.trouble = f"HTTP {status}" if status in STARTING else ""
        except Unavailable as error:
            self.trouble = str(error)

    @property
    def closed_for(self) -> float:
        return max(0.0, self._closed_until - asyncio.get_running_loop().time())

    def check(self) -> None:
        """Raise OpenFailure while the door is closed; its `pause` says for how long."""
        if (left := self.closed_for) > 0:
            raise OpenFailure(FailureReason.UNREACHABLE, BLACKLISTED, pause=left)

    def answered(self) -> None:
        """WebChat itself has answered, whatever it said."""
        self.trouble = ""
        self._foreign_answers = 0

    def let_in(self) -> None:
        """A socket was opened."""
        self._shut_out.clear()

    def unreachable(self, why: str, code: int | None = None, pause: float = 0.0) -> OpenFailure:
        """The failure of a try to reach the server, which is its `trouble` from now on."""
        self.trouble = why
        return OpenFailure(FailureReason.UNREACHABLE, why, code=code, pause=pause)

    def foreign(
        self, answer: Answer, what: str, innocent: Collection[int] = STARTING
    ) -> OpenFailure:
        pause = 0.0
        if not answer.location and answer.status not in innocent:
            self._foreign_answers += 1
            if self._foreign_answers >= SUSPICIONS:
                pause = self._close(answer.status)
        return self.unreachable(answer.foreign(what), pause=pause)

    def suspect(self, room_id: RoomId, status: int) -> None:
        """A room's socket was refused although a login had just given its token. In one room that
        may be a matter of its account.
        """
        self._shut_out.add(room_id)
        if len(self._shut_out) >= SUSPICIONS:
            self.trouble = BLACKLISTED
            self._close(status)

    def _close(self, status: int) -> float:
        pause = self._timing.blacklist
        self._closed_until = asyncio.get_running_loop().time() + pause
        self._log.error("blacklisted by the webchat server?", status=status, pause=pause)
        return pause
