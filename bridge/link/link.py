"""Link of one room: connection, reconnection, and delivery of its pushes to the engine.

While the link is in use (`Demand`), `Link.run` runs two tasks. One logs in, opens the socket,
serves it, and reconnects after every loss, so a room never has two logins or sockets at a time
(reference 4, rows 1-5 and 34-38). A refused token (-15, HTTP 4xx, or for one room at a time a
socket closed at once) causes one login at once; if the fresh token is refused too, the usual
back-off applies. If that was at the handshake, the `Door` is told, since the whole bridge may be
blacklisted, and a room refused again and again pauses for `Timing.blacklist`.

The other task delivers pushes to the engine (`Deliveries`): strictly in order, none skipped. A push
is retried until it is stored; only then is its receipt sent. While the database restarts, the link
stays and pushes wait in memory. If they are too many or wait too long, the socket is closed, so
that the server knows the customer to be away. When the bridge stops, pushes already read are still
stored, since a server of 2016 pushes nothing twice; likewise, for up to `STORE_AWAY`, when another
process takes the link over.

Commands pass the `Gate` to the socket one at a time, in the order of their tickets: a command that
was refused over a dead token is resent *before* all later ones. While the gate is shut, a caller
whose deadline is before the time it may open fails at once, with the reason. If only a person can
fix the cause, it stays shut for a long *rest*, unless a customer's action asks for it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any

import msgspec
import structlog
from websockets.asyncio.client import connect
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from bridge.conversation.model import LinkLost, LinkRestored, TurnAwaited
from bridge.ids import AgentId, RoomId, SessionId
from bridge.link.http_client import (
    SUSPICIONS,
    Backoff,
    Door,
    Http,
    OpenFailure,
    Place,
    TokenRefused,
    Unwanted,
    redirected,
    refused_again,
)
from bridge.link.login import Logins
from bridge.link.settings import (
    USER_AGENT,
    Learnt,
    LinkMetrics,
    LinkSettings,
    Pushed,
    TokenStore,
    trusted_by,
    unverified,
)
from bridge.link.socket import Budget, Connection, Flag, Loss, Pulse, Wire
from bridge.rooms.ports import Account, Clock, LinkEvents, LinkState, describe
from bridge.rooms.store import Facts, StoreError, Token
from bridge.webchat.codes import FailureReason
from bridge.webchat.frames import Ignored, MessageReceived, Received, UnknownContent
from bridge.webchat.http import Endpoints

NOT_THERE = frozenset({404, 408, 429})
"""HTTP 4xx statuses, at the handshake, of a server or proxy that is not ready (row 38)."""
LONG_MISSING = 10
"""Failures in a row after which a 404 at the handshake counts as a refused token after all."""
MOST_KINDS = 200
"""Maximum kinds of ignored frames that are logged; a server that sends more is broken."""
MOST_NOTES = 20
"""Maximum info log lines per second about single links."""
_NOTES = logging.getLogger("bridge.link.links")
_Turn = asyncio.Future[Any] | None
_Which = Callable[["_Waiting"], bool]
_QUIET = logging.getLogger("bridge.link.websockets")
"""Logger of the websockets library; its debug lines would hold tokens and whole frames (row 86)."""
_QUIET.setLevel(logging.INFO)


@dataclass(eq=False, repr=False)
class Shared:
    """Objects that all links of a server share; ValueError for a bad base URL or `ca_file`."""

    settings: LinkSettings
    _: KW_ONLY
    tokens: TokenStore
    facts: Facts
    metrics: LinkMetrics
    clock: Clock
    rng: random.Random = field(default_factory=random.Random)
    events: LinkEvents = field(init=False)
    """Set before the first link is made."""

    def __post_init__(self) -> None:
        settings, facts, clock = self.settings, self.facts, self.clock
        server = settings.server
        self.endpoints = Endpoints(server.base_url)
        self.tls = trusted_by(server) if server.base_url.startswith("https:") else None
        self.http = Http(settings.timing, self.tls)
        self.learnt = learnt = Learnt(settings, facts, clock)
        self.door = door = Door(settings, self.http, facts, clock)
        self.logins = Logins(settings, self.tokens, door, learnt, clock, self.metrics)
        self.budget = Budget()
        self.pulse = Pulse()
        self.dialling = asyncio.Semaphore(settings.reconnect_limit)
        self.opening = 0
        """Number of links that open a socket, or wait until `dialling` lets them."""
        self.turns = asyncio.Semaphore(settings.at_once)
        """Limits concurrent calls of `LinkEvents`."""
        self.epoch = f"{clock.now():x}.{secrets.token_hex(4)}"
        """Unique for every start of the process."""
        self.ordinals = itertools.count(1)
        """Numbers of pushes, shared by all links, so that a new link does not repeat any."""
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger(_NOTES.name, **settings.tags)
        if warning := unverified(server):
            self._log.warning(warning)
        self._notes_left, self._notes_until = 0, 0.0
        self._kinds: set[str] = set()
        """Kinds of ignored frames that were logged."""
        self.woke = -math.inf
        """When the process last resumed after a suspension, in loop time."""

    async def watch(self) -> None:
        """Detect suspensions of the process (SIGSTOP, a paused machine), until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            slept = loop.time()
            await asyncio.sleep(BRIEF / 3)
            if loop.time() - slept >= BRIEF:
                self.woke = loop.time()

    def backoff(self) -> Backoff:
        timing = self.settings.timing
        return Backoff(timing.backoff_first, timing.backoff_last, self.rng)

    def unheard(self, kind: str) -> None:
        """Log each kind of ignored frame once (protocol reference 1.1)."""
        if kind not in self._kinds and len(self._kinds) < MOST_KINDS:
            self._kinds.add(kind)
            self._log.warning("webchat frame ignored", kind=kind)

    def note(self, room_id: RoomId, event: str, *, warn: bool = False, **fields: object) -> None:
        """Log an event of a link; beyond `MOST_NOTES` a second, as in an outage, at debug level."""
        now = asyncio.get_running_loop().time()
        if now >= self._notes_until:
            self._notes_left, self._notes_until = MOST_NOTES, now + 1.0
        self._notes_left -= 1
        if self._notes_left >= 0:
            (self._log.warning if warn else self._log.info)(event, room=room_id, **fields)
        elif _NOTES.isEnabledFor(logging.DEBUG):  # structlog would take ten times as long
            self._log.debug(event, room=room_id, **fields)


class Demand:
    """Reference count of a link's users, with a callback once it has been zero for a while."""

    def __init__(self) -> None:
        self._count = 0
        self._kept = False
        self._changed = Flag()
        """Set when the count leaves or reaches zero."""
        self._leave: tuple[float, Callable[[], object]] | None = None
        """Seconds at zero after which to call, and the callback."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def present(self) -> bool:
        return self._count > 0

    @property
    def calling(self) -> bool:
        return self._count > self._kept

    def keep(self) -> None:
        if not self._kept:
            self._kept = True
            self.begin()

    def release(self) -> None:
        if self._kept:
            self._kept = False
            self.end()

    def begin(self) -> None:
        self._count += 1
        if self._count == 1:
            self._change()

    def end(self) -> None:
        self._count -= 1
        if not self._count:
            self._change()

    def when_gone(self, seconds: float, leave: Callable[[], object]) -> None:
        """Call `leave` once the count has been zero for `seconds`."""
        self._leave = seconds, leave
        self._change()

    def _change(self) -> None:
        self._changed.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._leave is not None and not self._count:
            self._timer = asyncio.get_running_loop().call_later(*self._leave)

    async def becomes(self, seconds: float, turn: _Turn = None, *, present: bool) -> bool:
        """Wait until there is a user, or none.

        False after `seconds` without a change, or once `turn` is done.
        """
        while self.present is not present:
            self._changed.clear()
            if not await self._changed.wait(seconds, turn):
                return self.present is present
        return True


LATE = OpenFailure(FailureReason.UNREACHABLE, "the link did not open in time")


class _Waiting(msgspec.Struct, eq=False):
    ticket: int
    deadline: float
    asks: bool
    failure: OpenFailure | None = None
    """Why it has to give up; None while it may wait."""


class Gate:
    """A lock that is granted in the order of tickets, and can be shut; initially it is."""

    def __init__(self) -> None:
        self._wire: Wire | None = None
        self.tickets = itertools.count(1)
        """Source of tickets; a ticket can be used for any number of entries."""
        self.trouble: OpenFailure | None = None
        """Failure of the last attempt to open the link; None if it did not fail."""
        self.overdue = LATE
        """Failure for callers whose time is up while `trouble` is None."""
        self._taken = False
        self._waiting: list[_Waiting] = []
        self._not_before = 0.0
        self._rests_until = 0.0
        """When the link may be opened unasked, in loop time; not before `_not_before`."""
        self._changed = Flag()

    @property
    def wire(self) -> Wire | None:
        """Wire behind the gate; None while it is shut or takes no more commands."""
        return self._wire if self._wire is not None and self._wire.usable else None

    @property
    def free(self) -> Wire | None:
        """The wire, if the gate is open and nobody holds it or waits."""
        return None if self._taken or self._waiting else self.wire

    async def enter(self, ticket: int, seconds: float, *, asks: bool = True) -> Wire:
        """Wait for the open gate in ticket order and hold it until `leave`.

        Only callers with `asks` end a rest. OpenFailure: the gate does not open within `seconds`.
        """
        if (wire := self.free) is not None:
            self._taken = True
            return wire
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        if self.wire is None and deadline < (self._not_before if asks else self._rests_until):
            raise _copy(self.trouble or self.overdue)
        waiting = _Waiting(ticket, deadline, asks)
        self._waiting.append(waiting)
        self._changed.set()
        try:
            while waiting.failure is None:
                first = min(self._waiting, key=lambda waiter: waiter.ticket)
                if waiting is first and not self._taken and (wire := self.wire) is not None:
                    self._taken = True
                    return wire
                self._changed.clear()
                if not await self._changed.wait(deadline - loop.time()):
                    waiting.failure = self.trouble or self.overdue
            raise _copy(waiting.failure)
        finally:
            self._waiting.remove(waiting)
            self._changed.set()

    def leave(self) -> None:
        self._taken = False
        self._changed.set()

    def open(self, wire: Wire) -> None:
        self._wire = wire
        self.trouble = None
        self._changed.set()

    def shut(self) -> None:
        self._wire = None

    def hold(self, failure: OpenFailure, seconds: float, *, rest: float = 0.0) -> None:
        """Keep the gate shut for `seconds` because of `failure`; for `rest` while nobody asks."""
        now = asyncio.get_running_loop().time()
        self._not_before = now + seconds
        self._rests_until = now + max(seconds, rest)
        self.refuse(failure, before=self._not_before)

    def pause_left(self) -> float:
        """Return the seconds that `hold` still lasts if nobody asks."""
        return max(0.0, self._rests_until - asyncio.get_running_loop().time())

    async def hold_over(self) -> None:
        """Wait until `hold` does not last any more."""
        while True:
            asked = any(waiting.asks for waiting in self._waiting)
            until = self._not_before if asked else self._rests_until
            if asyncio.get_running_loop().time() >= until:
                self._rests_until = self._not_before
                return
            self._changed.clear()
            await self._changed.wait(until - asyncio.get_running_loop().time())

    def refuse(self, failure: OpenFailure, before: float = math.inf) -> None:
        """Fail waiting callers whose deadline is before `before`, in loop time."""
        self.trouble = failure
        self.dismiss(failure, lambda waiting: waiting.deadline < before)

    def dismiss(self, failure: OpenFailure, goes: _Which = lambda waiter: waiter.asks) -> None:
        """Fail some waiting callers; by default those with `asks`, as the link is not wanted."""
        for waiting in filter(goes, self._waiting):
            waiting.failure = failure
        self._changed.set()


def _copy(failure: OpenFailure) -> OpenFailure:
    # An exception raised by several tasks would mix up their tracebacks.
    return OpenFailure(failure.reason, str(failure), code=failure.code, pause=failure.pause)


class Link:
    """The link of one room: opened, guarded and reopened while `run` is running."""

    def __init__(self, account: Account, around: Shared) -> None:
        self.account = account
        self.up = False
        self.demand = Demand()
        self.gate = Gate()
        self.task: asyncio.Task[None]
        self.stranger: tuple[Wire, float] | None = None
        """Wire on which the server did not know the account (-6), and until when, in loop time, no
        other wire's -6 causes a login."""
        self._around = around
        self._timing = around.settings.timing
        self._backoff, self._relapse = around.backoff(), around.backoff()
        """Of attempts to open it, until it is up; of losses, until it is stable or of use."""
        self.deliveries = Deliveries(account.room_id, around)
        self._token: Token
        self._strikes, self._fresh = 0, False
        """Refusals of a token in a row, and whether a login has replaced the last of these."""
        self._been_up = False
        self._lost_at = 0.0
        """When the link went down, in loop time."""
        self._since = around.clock.now()
        """When it last went up or down, ms since the epoch."""
        self._absence_due: float | None = None
        """When to report the link as lost, in loop time; None if it is up or that is done."""

    def speak_for(self, account: Account) -> None:
        """Use this account from now on; if its login differs, drop the former one's socket."""
        former, self.account = self.account, account
        if former.login == account.login:
            return
        if (wire := self.gate.wire) is not None:
            wire.refuse()
        # A refusal of the former account must not delay this one.
        self.gate.hold(OpenFailure(FailureReason.UNREACHABLE, "the account has changed"), 0.0)

    def _note(self, event: str, **fields: object) -> None:
        self._around.note(self.account.room_id, event, warn=False, **fields)

    def state(self) -> LinkState:
        room_id, of = self.account.room_id, self._around.settings.enterprise
        if self.up:
            return LinkState(room_id, "up", self._since, "", of)
        waits, trouble = self.gate.pause_left() > 0, str(self.gate.trouble or "")
        return LinkState(room_id, "waiting" if waits else "opening", self._since, trouble, of)

    async def run(self) -> None:
        """Keep the link up and deliver its pushes, until it has been unused for a while."""
        self._away()
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(self._keep_up())
            keeping.add_done_callback(self.deliveries.end)
            keeping.add_done_callback(lambda _: self._around.door.end_trial(self.account.room_id))
            self.demand.when_gone(self._timing.release, keeping.cancel)
            try:
                await self.deliveries.run()
            except asyncio.CancelledError:
                keeping.cancel()
                await asyncio.wait([keeping])  # else the group would cancel its closing handshake
                await self.deliveries.last_words(LAST_WORDS)
                raise

    async def _keep_up(self) -> None:
        while True:
            await self._rest()
            await self.deliveries.settled()
            await self._tell_absence()
            try:
                loss = await self._serve(await self._open())
            except Unwanted:
                # If it stays unused for that time, `run` cancels this task.
                await self.demand.becomes(self._timing.release, present=True)
            except OpenFailure as failure:
                self._failed(failure)
            except TokenRefused as refusal:
                self._token_refused(str(refusal), at_door=True)
            else:
                self._lost_at -= loss.unheard
                self._lost(loss)

    async def _rest(self) -> None:
        """Wait until the back-off allows another attempt; report a long absence meanwhile."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._absence_due):
                    await self.gate.hold_over()
                    return
            await self._tell_absence()

    def _away(self) -> None:
        self._since = self._around.clock.now()
        self._lost_at = asyncio.get_running_loop().time()
        self._absence_due = self._lost_at + self._timing.session_grace

    async def _tell_absence(self) -> None:
        """Report to the engine, once, a link that has been down for long (row 34)."""
        due = self._absence_due
        if due is not None and asyncio.get_running_loop().time() >= due:
            self._absence_due = None
            async with self._around.turns:  # all links may have been lost at the same moment
                self._around.events.signal(self.account.room_id, LinkLost())
                await asyncio.sleep(0)

    async def _open(self) -> Wire:
        account = self.account
        self._token = await self._around.logins.obtain(account, self._await_turn)
        wire = await self._dial(self._token)
        if self.account.login != account.login:
            await wire.close()
            raise OpenFailure(FailureReason.UNREACHABLE, "the account has changed meanwhile")
        return wire

    async def _await_turn(self, turn: asyncio.Future[Place], expected: Callable[[], float]) -> None:
        """Wait in the login queue and tell the engine; Unwanted once the link is unused."""
        timing, patience = self._timing, self._timing.turn_noticed
        self.gate.overdue = OpenFailure(FailureReason.NO_TURN, "the login waits for its turn")
        try:
            while not turn.done():
                if await self.demand.becomes(patience, turn, present=False):
                    raise Unwanted
                if turn.done():
                    break
                seconds = expected()
                if self.gate.trouble is None:  # else that is the reason for the wait
                    awaited = TurnAwaited(math.ceil(seconds))
                    self._around.events.signal(self.account.room_id, awaited)
                patience = max(timing.turn_again, seconds * timing.turn_share)
        finally:
            self.gate.overdue = LATE

    async def _dial(self, token: Token) -> Wire:
        around, timing = self._around, self._timing
        around.opening += 1
        try:
            async with around.dialling:
                await around.http.find(around.endpoints.login)
                socket = await _Connect(
                    around.endpoints.socket(token.value),
                    compression=None,  # 16 instead of 56 KiB per link
                    max_size=around.settings.max_incoming_bytes,
                    ping_interval=None,  # the wire pings, and only after silence
                    open_timeout=timing.handshake,
                    close_timeout=timing.close,
                    logger=_QUIET,
                    user_agent_header=USER_AGENT,
                    additional_headers={"Cookie": token.cookies} if token.cookies else None,
                    proxy=None,
                    ssl=around.tls,
                    create_connection=Connection,
                )
        except InvalidStatus as error:
            raise self._turned_away(error.response.status_code) from None
        except (InvalidHandshake, ConnectionClosed, OSError, TimeoutError, EOFError) as error:
            raise around.door.unreachable(f"handshake: {describe(error)}") from None
        finally:
            around.opening -= 1
        assert isinstance(socket, Connection)  # noqa: S101 - `create_connection` says so
        socket.budget = around.budget
        socket.request = None  # with the response headers: 3 KiB per link, no longer needed
        if socket.response is not None:
            socket.response.headers.clear()
        around.door.let_in()
        return Wire(
            socket,
            token,
            settings=around.settings,
            learnt=around.learnt,
            clock=around.clock,
            # Jitter, so that links opened together do not all ping at the same time.
            ping_after=timing.ping_after * (1 - 0.2 * around.rng.random()),
            unheard=around.unheard,
            pulse=around.pulse,
        )

    def _turned_away(self, status: int) -> TokenRefused | OpenFailure:
        """Return the failure of a handshake answered with `status` (protocol reference 3.3)."""
        door, message = self._around.door, f"handshake: HTTP {status}"
        if 400 <= status < 500 and status not in NOT_THERE:
            # If blacklisted, everything is refused: raise instead of dropping a good token.
            door.check()
            if self._strikes:  # the previous token was refused too, so this one is fresh
                door.suspect(self.account.room_id, status)
            return TokenRefused(message)
        failure = door.unreachable(message, code=status)
        if status == 404 and self._backoff.failures >= LONG_MISSING:
            return TokenRefused(f"{message} for a long time")
        return failure

    async def _serve(self, wire: Wire) -> Loss:
        self.deliveries.wire = wire
        try:
            return await wire.serve(self._up, self.deliveries)
        finally:
            self.deliveries.wire = None
            self.gate.shut()
            if self.up:
                self.up = False
                self._away()
                self._around.metrics.closed()

    def _up(self, wire: Wire) -> None:
        self._absence_due = None
        self._backoff.reset()
        again = self._been_up
        self._been_up = True
        self.up = True
        self._since = self._around.clock.now()
        self._around.door.stays()
        self._around.metrics.opened(again=again)
        self._note("webchat link up", again=again)
        if again or not self.demand.calling:
            away = asyncio.get_running_loop().time() - self._lost_at
            # If the process was suspended just before, the link may have been down all that time.
            asleep = self._lost_at < self._around.woke + BRIEF
            brief = again and away < BRIEF and not asleep
            self.deliveries.restored(brief=brief, at_once=self.demand.calling)
        self.gate.open(wire)

    # --- failures ----------------------------------------------------------------------------

    def _failed(self, failure: OpenFailure) -> None:
        self._around.metrics.open_failed()
        if isinstance(failure.__cause__, StoreError):  # the server's back-off must not grow by it
            pause = self._around.rng.uniform(0.2, 1) * min(STORE_AGAIN, self._timing.backoff_last)
        else:
            pause = max(self._backoff.next(), failure.pause)
        retry_in = round(max(pause, failure.rest), 1)
        self._note("webchat link not opened", why=str(failure), retry_in=retry_in)
        self.gate.hold(failure, pause, rest=failure.rest)
        if failure.reason is not FailureReason.UNREACHABLE:
            # An operator must act first, so waiting does not help any caller.
            self.gate.refuse(failure)
            self._around.door.end_trial(self.account.room_id)

    def _token_refused(self, why: str, *, at_door: bool = False, kept: bool = False) -> None:
        """Log in anew at once; back off if the fresh token is refused too (rows 35, 8, 9, 11).

        A fresh one is `kept` for the next try if a closed socket is the only sign.
        """
        self._strikes, self._fresh = self._strikes + 1, not kept
        self._note("webchat token refused", why=why, strikes=self._strikes)
        if kept:
            self._around.door.end_trial(self.account.room_id)
        else:
            self._around.logins.refuse(self.account.room_id, self._token)
        if self._strikes == 1:
            self.gate.trouble = None  # the server answers; only a login is needed
            return
        pause = max(self._backoff.next(), self._relapse.next(), self._around.door.closed_for())
        if at_door and self._strikes > SUSPICIONS:
            pause = max(pause, self._timing.blacklist)
        self.gate.hold(refused_again(), pause)
        self.gate.refuse(refused_again())

    def _lost(self, loss: Loss) -> None:
        if loss.proven or loss.stood >= self._timing.stable:
            self._strikes, self._fresh = 0, False
            self._relapse.reset()
        kept = loss.thrown_out and self._fresh
        spared = loss.thrown_out and not kept and self._around.door.spares(self.account.room_id)
        if loss.token_refused and not spared:
            why = "-15" if loss.code is None else f"close {loss.code}"
            self._token_refused(why, kept=kept)
            return
        pause = (self._relapse if loss.stood else self._backoff).next()
        self._note("webchat link lost", code=loss.code, retry_in=round(pause, 1))
        self.gate.hold(OpenFailure(FailureReason.UNREACHABLE, "the link was lost"), pause)


class _Connect(connect):
    """A `connect` that follows redirects only within the server, since the URL holds the token."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        headers = exc.response.headers if isinstance(exc, InvalidStatus) else Headers()
        locations = headers.get_all("Location")
        if len(locations) != 1 or redirected(self.uri, locations[0]) is None:
            return exc
        try:
            return super().process_redirect(exc)
        except InvalidURI:
            return exc


BRIEF = 3.0
"""Seconds up to which a loss, such as a token change, causes no notice about missed messages."""
MOST_WAITING = 64
"""Maximum pushes of a link that wait for the store; beyond it the socket is not read."""
STORE_AWAY = 120.0
"""Seconds for which a link stays up although its pushes (up to `MOST_WAITING`) are not stored."""
STORE_AGAIN = 5.0
"""Maximum seconds between two attempts to store a push, or to read a token."""
LAST_WORDS = 2.0
"""Seconds to store pushes already read once a link is closed."""
CROWD, LET_PASS = 20, 3.0
"""Number of links being opened that come before a room's work at its return, and seconds of it."""
SLOWED = 0.5
"""Seconds between two pushes into a room with the usual maximum of words that wait for the
homeserver; with more words, as many times longer (`LinkEvents.backlog`)."""
LONGEST_ID = 200
"""Maximum characters of a receipt id in a key."""
UNREAD = Received(MessageReceived(SessionId(0), AgentId(""), UnknownContent(None)))
"""Stands for a frame that cannot be read, since it may have been an agent's message."""
REPEATED = 60
"""Multiple of `Timing.stable` that lies between two unreadable frames of which both are told."""

_Push = tuple[str, Pushed, int]
"""Key, push and its bytes in memory."""


class Deliveries:
    """Queue of a room's pushes to the engine, emptied by `run`."""

    def __init__(self, room_id: RoomId, around: Shared) -> None:
        self._room_id = room_id
        self._around = around
        self._backoff = around.backoff()
        self._queue: list[_Push] = []
        """Pushes in order; the first is being stored."""
        self._away_since = 0.0
        """When storing first failed, in loop time; valid while `_backoff.failures` is not 0."""
        self._changed = Flag()
        """Set when the queue gets a push, is empty, or is to end."""
        self._unread_until = 0.0
        """Until when, in loop time, an unreadable frame counts as a repetition."""
        self._ending = False
        self._restored: LinkRestored | None = None
        self.wire: Wire | None = None
        """Wire being read. The next one is opened once all its pushes are stored."""

    @property
    def _full(self) -> bool:
        return len(self._queue) > MOST_WAITING or (self._around.budget.spent and bool(self._queue))

    def push(self, received: Pushed, size: int) -> None:
        """Queue a push; the socket is not read while the queue or the budget is full."""
        self._tell_restored()
        key = self._key(received)
        if key and self._backoff.failures and any(key == earlier for earlier, *_ in self._queue):
            return  # a repetition: the server has got no receipt yet
        self._around.budget.taken += size
        self._add((key, received, size))
        if self.wire is not None:
            self.wire.throttle(on=self._full)

    def unreadable(self) -> None:
        """Queue the notice of an unreadable frame, but only once: each new link may bring it."""
        now = asyncio.get_running_loop().time()
        again = now < self._unread_until
        self._unread_until = now + REPEATED * self._around.settings.timing.stable
        if not again:
            self.push(UNREAD, 0)

    def restored(self, *, brief: bool, at_once: bool) -> None:
        """Tell the room, before its next push; later in a crowd, as it will fetch a history."""
        around = self._around
        self._restored = LinkRestored(around.clock.now(), brief)
        if at_once or around.opening <= CROWD:
            self._tell_restored()
        else:
            loop = asyncio.get_running_loop()  # in whole seconds: together, they share commits
            loop.call_at(math.ceil(loop.time() + LET_PASS), self._tell_restored)

    def _tell_restored(self) -> None:
        restored, self._restored = self._restored, None
        if restored is not None:
            self._add(("", partial(self._around.events.signal, self._room_id, restored), 0))

    def _add(self, push: _Push) -> None:
        self._queue.append(push)
        self._changed.set()

    async def settled(self) -> None:
        self._tell_restored()
        while self._queue:
            self._changed.clear()
            await self._changed.wait()

    async def run(self) -> None:
        """Deliver until `end` is called and all queued pushes are stored."""
        self._ending = False
        while self._queue or not self._ending:
            if self._queue:
                await self._deliver()
                if (backlog := self._around.events.backlog(self._room_id)) > 1:
                    await self._around.clock.sleep(SLOWED * backlog)
            else:
                self._changed.clear()
                await self._changed.wait()

    def end(self, _: object = None) -> None:
        """Make `run` return once all queued pushes are stored."""
        self._ending = True
        self._changed.set()

    async def last_words(self, seconds: float) -> None:
        """Store queued pushes after `run` was cancelled, for up to `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._queue:
                    await self._deliver()
        self._around.budget.taken -= sum(size for *_, size in self._queue)  # they may stay for ever
        self._queue = [(key, received, 0) for key, received, _ in self._queue]

    async def _deliver(self) -> None:
        # It stays in the queue until stored, so that a cancelled delivery is repeated.
        push = self._queue[0]
        await self._store(push)
        _, received, size = self._queue.pop(0)
        self._around.budget.taken -= size
        if not self._queue:
            self._changed.set()
        if (wire := self.wire) is None:
            return
        wire.throttle(on=self._full)
        if isinstance(received, Received | Ignored) and received.rs_id and wire.usable:
            await wire.receipt(received.rs_id)

    async def _store(self, push: _Push) -> None:
        (key, received, _), events, room_id = push, self._around.events, self._room_id
        while True:
            try:
                async with self._around.turns:
                    if isinstance(received, Received):
                        await events.pushed(room_id, key, received)
                    elif not isinstance(received, Ignored):
                        received()
            except Exception as error:  # noqa: BLE001 - the push must not be lost
                now = asyncio.get_running_loop().time()
                if not self._backoff.failures:
                    self._away_since, why = now, describe(error)
                    self._around.note(room_id, "webchat push not stored", warn=True, error=why)
            else:
                if self._backoff.failures:
                    self._backoff.reset()
                return
            late = now - self._away_since >= STORE_AWAY
            if self.wire is not None and (late or self._full):
                await self.wire.close()
            await self._around.clock.sleep(min(self._backoff.next(), STORE_AGAIN))

    def _key(self, received: Pushed) -> str:
        """Return the deduplication key; with a digest, as a restarted server may reuse its ids."""
        if not isinstance(received, Received):
            return ""
        if rs_id := received.rs_id:
            payload = f"{rs_id}\n".encode("utf-8", "replace") + msgspec.json.encode(received.push)
            digest = blake2b(payload, digest_size=8).hexdigest()
            return f"wc:{self._room_id}:{rs_id[:LONGEST_ID]}:{digest}"
        return f"wc:{self._room_id}:{self._around.epoch}:{next(self._around.ordinals)}"
