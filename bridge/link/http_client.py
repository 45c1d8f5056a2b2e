"""HTTP requests to the server: connection pool, rate limit, circuit breaker, back-off.

`Http` has no connection limit: long requests must never queue behind each other.

The server blacklists an IP address that logs in too often, and all customers share the bridge's
(protocol reference 3.7). So every request to the login URL passes the `Door`:

* rate limit, `WindowLimiter`: a maximum of requests in any sliding window, as the server counts (a
  leaky bucket lets almost twice as many through). A place is freed a full window after its login
  has *ended*. The latest request times are kept over restarts (`Visits`);
* fair queueing: running chats first, then persons with the fewest places taken, then round-robin.
  A person with places gets another only while as many are free (dynamic thresholds): max. 5 of 8;
* circuit breaker: answers that look like blacklisting close the door for all links for a while. A
  firewall may refuse single persons' names or passwords so: a login of nobody is tried first.
"""

from __future__ import annotations

import asyncio
import random
import socket
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

from bridge.ids import RoomId
from bridge.link.settings import MOST_REDIRECTS, REDIRECTS, USER_AGENT, LinkSettings, Timing
from bridge.rooms.ports import CallFailure, Clock, Unavailable, describe
from bridge.rooms.store import Facts, StoreError
from bridge.rooms.surroundings import Connector
from bridge.webchat.codes import FailureReason, LoginType, ResultCode
from bridge.webchat.http import Endpoints, Login, dump_login, login_sign, parse_login_reply

_LOG: structlog.stdlib.BoundLogger = structlog.get_logger()

Told = TypeVar("Told")


class OpenFailure(CallFailure):
    """The link could not be opened; nothing was written, so it is always certain. Retry after
    `pause` seconds at the earliest, and after `rest` seconds if nobody asks for it.
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


def refused_again() -> OpenFailure:
    """Make the failure for a second -15 in a row."""
    return OpenFailure(
        FailureReason.UNREACHABLE, "a fresh token was refused too", code=ResultCode.INVALID_TOKEN
    )


class TokenRefused(Exception):
    """The server does not accept the token (any more): log in again."""


class Unwanted(Exception):
    """The link was released while its login waited in the queue."""


@dataclass
class Backoff:
    """Exponential back-off with jitter: the first delay is between 0 and `first`, so that links
    lost together reconnect spread out; each later one is between half its step and the full step.
    """

    first: float
    last: float
    rng: random.Random
    failures: int = 0
    """Number of delays returned since the last `reset`."""

    def next(self) -> float:
        """Return the next delay in seconds, and double the step."""
        # A factor of 2 ** 30 exceeds any `last`.
        step = min(self.last, self.first * 2.0 ** min(self.failures, 30))
        share = self.rng.random()
        if self.failures:
            share = 0.5 + share / 2
        self.failures += 1
        return step * share

    def reset(self) -> None:
        self.failures = 0


FOUND_FOR = 1.0
"""Seconds for which a name that was found need not be looked up before a socket is opened."""
LONGEST_ANSWER = 256 * 1024
"""Default maximum bytes read of an HTTP answer; most have a few hundred."""
RECEIVED = 64 * 1024
"""Receive buffer in bytes: uvloop reads a full one of 256,000 and more up to 32 times in one turn
of the event loop, and aiohttp parses millions of "100 Continue" then."""
LONGEST_COOKIES = 4096
"""Maximum bytes of a login's cookies; a servlet container accepts 8 KiB of headers in all."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, with the body truncated to the maximum that was asked for."""

    status: int
    body: bytes
    cookies: str = field(default="", repr=False)
    """Cookies that it set, as a `Cookie` header for sibling URLs; a secret."""
    location: str = field(default="", repr=False)
    """Target of a redirect; may hold a token."""

    def foreign(self, what: str) -> str:
        """Describe an answer to request `what` that is not WebChat's."""
        to = self.location
        why = f"redirects to {origin_of(to)}" if to else "without WebChat's JSON"
        return f"{what}: HTTP {self.status} {why}"


def new_session(connector: Connector, **headers: str) -> aiohttp.ClientSession:
    """Make an HTTP session without a cookie jar: cookies belong to a token (load balancers)."""
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT, **headers},
    )


@dataclass(eq=False)
class Http:
    """Connection pool for requests, usable inside `running`."""

    _timing: Timing
    _tls: ssl.SSLContext | None
    _session: aiohttp.ClientSession | None = None
    _lookup: asyncio.Task[OSError | None] | None = None
    _found_at = -FOUND_FOR

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        connector = Connector(limit=0, ssl=self._tls or True, socket_factory=_small_buffer)
        async with new_session(connector) as self._session, asyncio.TaskGroup() as self._tasks:
            yield
            if self._lookup is not None:
                self._lookup.cancel()

    async def find(self, url: str) -> None:
        """Look up the name of the URL's server, once for all who wait; raises OSError.

        A lookup takes up a thread while a name server is silent, even if nobody waits any more.
        """
        loop = asyncio.get_running_loop()
        if loop.time() < self._found_at + FOUND_FOR:
            return
        if self._lookup is None or self._lookup.done():
            self._lookup = self._tasks.create_task(_found(URL(url).raw_host))
        async with asyncio.timeout(self._timing.handshake):
            if failure := await asyncio.shield(self._lookup):
                raise OSError(*failure.args)
        self._found_at = loop.time()

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
        """Send a request and read up to `longest` bytes of its answer, within `total` seconds.

        `cookies`: those of the token in the request. If the body is bytes, redirects within the
        server are followed, with the same method whatever the status. Raises Unavailable, without
        the URL in its text, if no HTTP answer came.
        """
        if self._session is None or self._session.closed:
            raise Unavailable("the links are not running")
        if cookies:
            headers = {**headers, "Cookie": cookies}
        timeout = timeout_of(self._timing, total, self._timing.mute)
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
            # Without the cause: an aiohttp error may quote the URL, which holds the token.
            raise Unavailable(describe(error)) from None
        raise Unavailable(f"more than {MOST_REDIRECTS} redirects")


async def _found(host: str | None) -> OSError | None:
    try:
        await asyncio.get_running_loop().getaddrinfo(host, None)
    except OSError as error:
        return error
    except UnicodeError as error:
        return OSError(str(error))
    return None


def _small_buffer(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, proto, *_ = address
    made = socket.socket(family, kind, proto)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED)
    return made


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
    """Return a redirect's target if it is on the same server, else None (tokens are secret)."""
    try:
        target = urljoin(url, location)
    except ValueError:
        return None
    return target if location and origin_of(target) == origin_of(url) else None


def origin_of(url: str) -> str:
    """Return a URL's scheme, host and port, also for messages."""
    try:
        return str(URL(url).origin())
    except ValueError:
        return "an invalid URL"


def timeout_of(timing: Timing, total: float, silence: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=total, sock_connect=timing.handshake, sock_read=silence)


def _cookies(response: aiohttp.ClientResponse) -> str:
    """Return an answer's cookies for sibling URLs, selected as a cookie jar does.

    Cookies that are not printable ASCII or exceed `LONGEST_COOKIES` are left out.
    """
    if not response.cookies:
        return ""
    jar = aiohttp.CookieJar(unsafe=True)  # "unsafe": also for URLs with an IP address
    jar.update_cookies(response.cookies, response.url)
    header = ""
    for name in jar.filter_cookies(response.url.with_name("cws")):
        # Keep the value as written: the jar would quote unusual ones.
        longer = f"{header}; {name}={response.cookies[name].coded_value}".removeprefix("; ")
        if len(longer) <= LONGEST_COOKIES and longer.isascii() and longer.isprintable():
            header = longer
    return header


class Place(msgspec.Struct, eq=False):
    """A taken place of the rate limit."""

    person: str
    """Empty for a request of an earlier run, or one that `Door.look` makes."""
    back: float | None = None
    """When it is freed, in loop time; None while its login is running."""


Wait = Callable[[asyncio.Future[Place], Callable[[], float]], Awaitable[None]]
"""Waits until the future, the login's turn, is done; the function returns the current upper bound
of the wait in seconds. An exception ends the wait."""


class Visitor(msgspec.Struct, frozen=True):
    """The person for whom a login is made: the unit of fairness."""

    person: str
    """Matrix user who invited the bridge into the room."""
    running: bool = False
    """True if they are in a chat already, or in a queue of the call centre."""
    wait: Wait | None = None
    """None waits without limit."""


class WindowLimiter:
    """Rate limit over a sliding window, with a fair queue."""

    def __init__(self, count: int, seconds: float) -> None:
        self._seconds = seconds
        self._count = self.free = count
        self._taken: set[Place] = set()
        self._held = Counter[str]()
        """Number of places per person; a limit that is practically lifted may have thousands."""
        self._line: dict[asyncio.Future[Place], Visitor] = {}
        """Waiting visitors by turn, in order of arrival or of their person's last turn."""

    def resize(self, count: int) -> None:
        """Change the number of places; taken ones stay taken."""
        self.free += count - self._count
        self._count = count
        self._next()

    def give_away(self, seconds: float) -> None:
        self._cool(self._take(""), seconds)

    @asynccontextmanager
    async def place(self, visitor: Visitor) -> AsyncIterator[None]:
        """Wait for a place and hold it during the login."""
        turn: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._line[turn] = visitor
        self._next()
        try:
            if visitor.wait is not None and not turn.done():
                await visitor.wait(turn, partial(self._expected, turn))
            place = await turn
        except BaseException:
            if self._line.pop(turn, None) is None and not turn.cancelled():
                self._give_back(turn.result())  # it came at the moment of giving up
            raise
        try:
            yield
        finally:
            self._cool(place, self._seconds)

    def _next(self) -> None:
        while self.free > 0 and (first := self._first()) is not None:
            person = self._line.pop(first).person
            first.set_result(self._take(person))
            for turn in [turn for turn, waiter in self._line.items() if waiter.person == person]:
                self._line[turn] = self._line.pop(turn)

    def _first(self) -> asyncio.Future[Place] | None:
        """Return the next turn by the fair queueing rule of the module docstring."""
        best, first = (True, self.free + 1), None
        for turn, waiter in self._line.items():
            places = self._held[waiter.person]
            rank = not waiter.running, places
            if rank < best and places <= self.free and not turn.done():
                best, first = rank, turn
                if best == (False, 0):  # none can rank better; thousands may follow
                    break
        return first

    def _take(self, person: str) -> Place:
        place = Place(person)
        self.free -= 1
        self._taken.add(place)
        self._held[person] += 1
        return place

    def _cool(self, place: Place, seconds: float) -> None:
        """Free a place after `seconds`: its login has ended."""
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
        """Return the maximum wait in seconds if nobody else comes: each other person has a turn
        before each of this person's.
        """
        line = [*self._line.values()]
        place = [*self._line].index(turn)
        this, ahead = line[place], line[:place]
        others = [waiter for waiter in line if waiter.person != this.person]
        earlier = sum(waiter.person == this.person for waiter in ahead)
        # Before this person's first turn come the rivals ahead; before each further one, all.
        rivals = others if earlier else ahead
        persons = {rival.person for rival in rivals if rival.running == this.running}
        favoured = sum(waiter.running and not this.running for waiter in others)
        before = favoured + len(persons) * (earlier + 1) + earlier
        # There is a wait only because places are taken, so `freed` is not empty.
        now = asyncio.get_running_loop().time()
        freed = sorted((taken.back or now + self._seconds, taken.person) for taken in self._taken)
        windows, nth = divmod(before, len(freed))
        until = freed[nth][0] + windows * self._seconds
        # By the dynamic threshold free places may be for others only.
        own = [moment for moment, person in freed if person == this.person]
        if own:
            until = max(until, own[-1] + earlier * self._seconds)
        return max(0.0, until - now)


SHORTEST_KEPT = 1
"""Windows, in seconds, up to which only the first request is stored: that a server was used is
known by it (`Serving._served_before`), and the window is over before a restart is."""
VISITS = "visits"
"""Name prefix of the fact that holds the times of the latest requests to a login URL."""
STARTING = frozenset({404, 408, 500, 502, 503, 504})
"""HTTP statuses of a server that is starting, or of a proxy in front of it (row 38)."""
BLACKLISTED = "the server seems to have blacklisted the bridge's address"
NOBODY = "matrix-webchat-nobody"
"""Login name of no account."""
SUSPICIONS = 3
"""Persons with foreign answers, or rooms with refused fresh tokens, that count as blacklisting;
also the foreign answers to a single person after which the door is closed to that one."""


class Visits:
    """Times of the latest requests to the login URL, kept over restarts if the store is up."""

    def __init__(self, settings: LinkSettings, facts: Facts, clock: Clock) -> None:
        rate = settings.server.login_rate
        self._window = rate.per_seconds
        self._facts = facts
        self._clock = clock
        self._fact = settings.fact(VISITS)
        self._moments: deque[int] = deque(maxlen=rate.count)
        """Times of requests, ms since the epoch, oldest first."""
        self._storing = asyncio.Lock()
        self._unstored = self._stored = False

    async def load(self) -> list[float]:
        """Return for how many seconds each request of earlier runs still counts."""
        try:
            saved = await self._facts.fact(self._fact) or ""
        except StoreError as error:
            _LOG.warning("earlier login requests not loaded", error=str(error))
            return []
        now = self._clock.now()
        # If the clock was set back since, a stored time may be in the future.
        self._moments.extend(min(int(at), now) for at in saved.split() if at.isdecimal())
        left = [self._window - (now - moment) / 1000 for moment in self._moments]
        return [seconds for seconds in left if seconds > 0]

    async def note(self) -> None:
        """Store a request made now, together with those made while another is being stored."""
        now = self._clock.now()
        while self._moments and self._moments[0] <= now - self._window * 1000:
            self._moments.popleft()
        self._moments.append(now)
        self._unstored = True
        async with self._storing:
            # Another call has stored this request too, or one is enough.
            if not self._unstored or (self._stored and self._window <= SHORTEST_KEPT):
                return
            self._unstored = False
            try:
                await self._facts.save_fact(self._fact, " ".join(map(str, self._moments)))
                self._stored = True
            except StoreError as error:
                _LOG.warning("login request not stored", error=str(error))


class Door:
    """Rate limit and circuit breaker of a server's login URL, shared by all its links."""

    trouble = ""
    """Why the last attempt did not reach the server (error or foreign answer); "" once it answers,
    even with a refusal. A lost link does not set it."""

    def __init__(self, settings: LinkSettings, http: Http, facts: Facts, clock: Clock) -> None:
        server = settings.server
        self._url = Endpoints(server.base_url).login
        self._nobody = dump_login(Login(LoginType.PASSWORD, NOBODY, "", server.enterprise_id))
        self._sign_key = server.sign_key.get_secret_value()
        self._timing = settings.timing
        self._http = http
        self._window = server.login_rate.per_seconds
        self._count = max(1, server.login_rate.count // settings.neighbours)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger(**settings.tags)
        self._limiter = WindowLimiter(self._count, self._window)
        self._visits = Visits(settings, facts, clock)
        self._foreign_answers = Counter[str]()
        """Answers in a row that were not WebChat's, by person: a customer's name or password may
        make a firewall refuse their logins, which must not stop all others'."""
        self._shut_out: set[RoomId] = set()
        """Rooms refused at the socket; counted apart, as logins may still be answered then."""
        self._trial: RoomId | None = None
        """Room that logs in to learn whether a closed socket was due to its token (`spares`)."""
        self._try_due = 0.0
        """Earliest next login of nobody, in loop time."""
        self._closed_until: dict[str, float] = {}
        """By person, in loop time; "" for all."""

    async def load(self) -> None:
        """Load the requests of earlier runs; call before the first `knock`."""
        for seconds in await self._visits.load():
            self._limiter.give_away(seconds)

    def share(self, replicas: int) -> None:
        """Divide the rate limit among the processes that use this URL; the share is at least 1."""
        self._limiter.resize(max(1, self._count // replicas))

    @asynccontextmanager
    async def knock(self, visitor: Visitor) -> AsyncIterator[None]:
        """Wait for the visitor's turn; make the request inside. Raises as `check` and `wait`."""
        self.check(visitor.person)
        async with self._limiter.place(visitor):
            self.check(visitor.person)  # it may have closed during the wait
            await self._visits.note()
            yield

    async def post(
        self,
        what: str,
        person: str,
        body: bytes,
        parse: Callable[[bytes], Told | None],
        *,
        longest: int = LONGEST_ANSWER,
        cookies: str = "",
        innocent: Collection[int] = STARTING,
    ) -> tuple[Told, str]:
        """Make a request for a person and return its answer and cookies; raises OpenFailure
        (UNREACHABLE).

        `innocent`: HTTP statuses that are no sign of blacklisting, whatever the body.
        """
        headers = {"Content-Type": "application/json; charset=UTF-8"}
        if self._sign_key:
            # The sign covers exactly these bytes (protocol reference 3.2). A server that requires
            # it on logins does so for this URL, not by request type.
            headers["sign"] = login_sign(body, self._sign_key)
        try:
            total = self._timing.mute
            answer = await self._http.post(
                self._url, body, headers, total=total, longest=longest, cookies=cookies
            )
        except Unavailable as error:
            raise self.unreachable(f"{what}: {error}") from error
        # Like the vendor's clients, parse the body whatever the HTTP status.
        reply = parse(answer.body)
        if reply is None:
            failure = self.foreign(answer, what, person, innocent)
            now = asyncio.get_running_loop().time()
            if len(self._foreign_answers) >= SUSPICIONS and now >= self._try_due:
                # At most one login above the rate limit, which is below the server's own.
                self._try_due = now + self._window
                self._limiter.give_away(self._window)
                await self._visits.note()
                await self.post("login of nobody", NOBODY, self._nobody, parse_login_reply)
                self._log.warning("some persons' logins are refused before they reach webchat?")
            raise failure
        self.answered()
        return reply, answer.cookies

    async def look(self) -> None:
        """Probe the server with a GET, which logs nobody in, and set `trouble`. It may count as a
        login, so it takes a place of the rate limit, but never the last free one.
        """
        if self._limiter.free < 2:
            return
        self._limiter.give_away(self._window)
        await self._visits.note()
        try:
            total = self._timing.handshake
            status = (await self._http.post(self._url, None, {}, total=total, method="GET")).status
            # No guide defines the answer: any that is not a container's error may be WebChat's.
            self.trouble = f"HTTP {status}" if status in STARTING else ""
        except Unavailable as error:
            self.trouble = str(error)

    def closed_for(self, person: str = "") -> float:
        """Return the seconds for which the door is closed, to all or at least to this person."""
        until = max(self._closed_until.get(name, 0.0) for name in ("", person))
        return max(0.0, until - asyncio.get_running_loop().time())

    def check(self, person: str = "") -> None:
        """Raise OpenFailure while the door is closed; its `pause` is the remaining time."""
        if (left := self.closed_for(person)) > 0:
            raise OpenFailure(FailureReason.UNREACHABLE, BLACKLISTED, pause=left)

    def answered(self) -> None:
        """Note that WebChat itself has answered, even with a refusal."""
        self.trouble = ""
        self._foreign_answers.clear()

    def let_in(self) -> None:
        """Note that a socket was opened."""
        self._shut_out.clear()

    def stays(self) -> None:
        """Note that a socket stays open."""
        self.trouble, self._trial = "", None

    def spares(self, room_id: RoomId) -> bool:
        """Return whether a room keeps its token, although its socket was closed at once.

        The token may be the reason, or the server closes all sockets, as without its database: then
        all rooms would lose their tokens, and need hours of logins. So one room at a time logs in,
        until a socket stays open; if its fresh token makes no difference, another one may.
        """
        if self._trial is None:
            self._trial = room_id
        return self._trial != room_id

    def end_trial(self, room_id: RoomId) -> None:
        if self._trial == room_id:
            self._trial = None

    def unreachable(self, why: str, code: int | None = None, pause: float = 0.0) -> OpenFailure:
        """Set `trouble` and return the failure of an attempt to reach the server."""
        self.trouble = why
        return OpenFailure(FailureReason.UNREACHABLE, why, code=code, pause=pause)

    def foreign(
        self, answer: Answer, what: str, person: str, innocent: Collection[int] = STARTING
    ) -> OpenFailure:
        pause, why = 0.0, answer.foreign(what)
        if answer.status in innocent and answer.status not in STARTING:
            return OpenFailure(FailureReason.UNREACHABLE, why)  # the server is there
        if not answer.location and answer.status not in innocent:
            self._foreign_answers[person] += 1
            if person == NOBODY:
                pause = self._close(answer.status)
            elif self._foreign_answers[person] >= SUSPICIONS:
                pause = self._close(answer.status, person)
        return self.unreachable(why, pause=pause)

    def suspect(self, room_id: RoomId, status: int) -> None:
        """Note that a room's socket was refused with a fresh token. The door closes after
        `SUSPICIONS` rooms, since in a single room the account may be the cause.
        """
        self._shut_out.add(room_id)
        if len(self._shut_out) >= SUSPICIONS:
            self.trouble = BLACKLISTED
            self._close(status)

    def _close(self, status: int, person: str = "") -> float:
        pause, now = self._timing.blacklist, asyncio.get_running_loop().time()
        closed = {name: until for name, until in self._closed_until.items() if until > now}
        self._closed_until = closed | {person: now + pause}
        if person:
            event = "a person's logins are refused before they reach webchat?"
            self._log.warning(event, status=status, pause=pause, user=person)
        else:
            self._log.error("blacklisted by the webchat server?", status=status, pause=pause)
        return pause
