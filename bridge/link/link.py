"""Link of one room: connection, reconnection, and the way of its pushes to the engine.

While somebody wants the link (`Demand`), `Link.run` keeps two tasks. One logs in, opens the socket,
serves it, and again after every loss, so a room never has two logins or sockets at a time
(reference 4, rows 1-5 and 34-38). The `Gate` for calls is open while the wire stands. A token that
the server refuses (-15, 4xx, thrown out at once) costs one login at once; a fresh one that is
refused as well is a failure like any other. If that was at the handshake, the `Door` hears of it,
for the whole bridge may be shut out, and a room to which it happens again and again rests as long.

The other delivers pushes to the engine (`Deliveries`): strictly in order, nothing skipped. The push
in hand is tried again until it is stored; only then does its receipt go out. A database that
restarts costs no link: what comes meanwhile waits in memory. Once that is too much, or takes too
long, the socket is closed, so that the server knows us to be away. When the bridge stops, what was
read is still stored, for a server of 2016 pushes nothing twice; so it is when a link is left to
another process, for as long as a link would have waited.
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
from hashlib import blake2b
from typing import Literal

import msgspec
import structlog
from websockets.asyncio.client import connect
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from bridge.conversation.model import FailureReason, LinkLost, LinkRestored, TurnAwaited
from bridge.ids import AgentId, RoomId, SessionId
from bridge.link.gate import LATE, Demand, Gate
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
)
from bridge.link.learnt import Learnt
from bridge.link.login import Logins
from bridge.link.settings import (
    USER_AGENT,
    LinkMetrics,
    LinkSettings,
    TokenStore,
    trusted_by,
    unverified,
)
from bridge.link.socket import Budget, Connection, Flag, Loss, Pulse, Wire
from bridge.rooms.ports import Account, Clock, LinkEvents, LinkState, describe
from bridge.rooms.store import Facts, Token
from bridge.webchat.codes import ResultCode
from bridge.webchat.frames import Ignored, MessageReceived, Received, UnknownContent
from bridge.webchat.http import Endpoints

NOT_THERE = frozenset({404, 408, 429})
"""Handshake statuses, 4xx, of a server or proxy that is not ready (row 38)."""
LONG_MISSING = 10
"""After so many failures in a row a 404 at the handshake is taken for a dead token after all."""
MOST_KINDS = 200
"""Kinds of frames that were reported as ignored; beyond them the server is only making noise."""
MOST_NOTES = 20
"""Lines a second about single links."""
_UNREAD = Received(MessageReceived(SessionId(0), AgentId(""), UnknownContent(None)))
"""Stands for a frame that cannot be read: it may have been an agent's word."""
_LOG: structlog.stdlib.BoundLogger = structlog.get_logger()
_QUIET = logging.getLogger("bridge.link.websockets")
"""For the websockets library, whose debug lines hold URLs with tokens and whole frames (row 86)."""
_QUIET.setLevel(logging.INFO)


@dataclass(eq=False, repr=False)
class Shared:
    """Parts that all links of one server share.

    Made with a ValueError for a base address or a `ca_file` that cannot be read.
    """

    settings: LinkSettings
    _: KW_ONLY
    tokens: TokenStore
    facts: Facts
    metrics: LinkMetrics
    clock: Clock
    rng: random.Random = field(default_factory=random.Random)
    events: LinkEvents = field(init=False)
    """Set before there is a link."""

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
        """Limits how many sockets are being opened at once."""
        self.turns = asyncio.Semaphore(settings.at_once)
        """Held by whoever tells the engine something."""
        self.epoch = f"{clock.now():x}.{secrets.token_hex(4)}"
        """Differs for every start of the process."""
        self.ordinals = itertools.count(1)
        """Numbers the pushes of all links: one that is made anew must not count again."""
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger(
            "bridge.link.links", **settings.told
        )
        if warning := unverified(server):
            self._log.warning(warning)
        self._notes_left, self._notes_until = 0, 0.0
        self._kinds: set[str] = set()
        """Kinds of frames that were reported as ignored."""
        self.woke = -math.inf
        """When the process last went on after it had stood still, in loop time."""

    async def watch(self) -> None:
        """Note, for ever, when the process stands still (SIGSTOP, a machine that is paused)."""
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
        """Log each kind of frame that says nothing to us once (protocol reference 1.1)."""
        if kind not in self._kinds and len(self._kinds) < MOST_KINDS:
            self._kinds.add(kind)
            self._log.warning("webchat frame ignored", kind=kind)

    def note(self, room_id: RoomId, event: str, **told: object) -> None:
        """Log what happens to a link: `MOST_NOTES` a second, the others for debugging only: after
        an outage thousands of links say the same, and a line costs a tenth of opening one.
        """
        now = asyncio.get_running_loop().time()
        if now >= self._notes_until:
            self._notes_left, self._notes_until = MOST_NOTES, now + 1.0
        self._notes_left -= 1
        log = self._log.debug if self._notes_left < 0 else self._log.info
        log(event, room=room_id, **told)


class Link:
    """The link of one room: opened, guarded and reopened while `run` is running."""

    def __init__(self, account: Account, around: Shared) -> None:
        self.account = account
        self.up = False
        self.demand = Demand()
        self.gate = Gate()
        self.task: asyncio.Task[None]
        self.typing_not_before = 0.0
        """When a typing notice may be sent again, in loop time."""
        self.stranger: tuple[Wire, float] | None = None
        """Where the server said last that it does not know us, and until when we believe it."""
        self._around = around
        self._timing = around.settings.timing
        self._backoff = around.backoff()
        self.deliveries = Deliveries(account.room_id, around)
        self._token: Token | None = None
        self._strikes = 0
        self._been_up = False
        self._told_unread = False
        self._lost_at = 0.0
        """When the link began to be away, in loop time."""
        self._since = around.clock.now()
        """When it last came up or went away, ms since the epoch."""
        self._absence_due: float | None = None
        """When to tell that the link is wanted and does not stand, in loop time; None once told."""

    def speak_for(self, account: Account) -> None:
        """From now on be this account's link; the socket of another account is given up."""
        former, self.account = self.account, account
        if former.login == account.login:
            return
        if (wire := self.gate.wire) is not None:
            wire.refuse()
        # Nor does it wait because the other one was refused.
        self.gate.hold(OpenFailure(FailureReason.UNREACHABLE, "the account has changed"), 0.0)

    def _note(self, event: str, **told: object) -> None:
        self._around.note(self.account.room_id, event, **told)

    def state(self) -> LinkState:
        trouble = "" if self.up or self.gate.trouble is None else str(self.gate.trouble)
        waits = self.gate.pause_left() > 0
        state: Literal["up", "opening", "waiting"] = "waiting" if waits else "opening"
        return LinkState(self.account.room_id, "up" if self.up else state, self._since, trouble)

    async def run(self) -> None:
        """Keep the link up, and deliver what it says, until nobody has wanted it for a while."""
        self._away()
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(self._keep_up())
            keeping.add_done_callback(self.deliveries.end)
            self.demand.when_gone(self._timing.release, keeping.cancel)
            try:
                await self.deliveries.run()
            except asyncio.CancelledError:
                keeping.cancel()
                await asyncio.wait([keeping])  # or it is cancelled again, in its closing handshake
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
                # If nobody comes back in that time, `run` ends this.
                await self.demand.back_within(self._timing.release)
            except OpenFailure as failure:
                self._failed(failure)
            except TokenRefused as refusal:
                await self._token_refused(str(refusal), at_door=True)
            else:
                self._lost_at -= loss.unheard
                await self._lost(loss)

    async def _rest(self) -> None:
        """Wait until the backoff allows another try; tell meanwhile of a long absence."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._absence_due):
                    await self.gate.held()
                    return
            await self._tell_absence()

    def _away(self) -> None:
        self._since = self._around.clock.now()
        self._lost_at = asyncio.get_running_loop().time()
        self._absence_due = self._lost_at + self._timing.session_grace

    async def _tell_absence(self) -> None:
        """Tell the engine, once, of a link that has been away for long (row 34)."""
        due = self._absence_due
        if due is not None and asyncio.get_running_loop().time() >= due:
            self._absence_due = None
            async with self._around.turns:  # all links may have been lost in one moment
                await self._around.events.fared(self.account.room_id, LinkLost())
                await asyncio.sleep(0)

    async def _open(self) -> Wire:
        account = self.account
        self._token = await self._around.logins.obtain(account, self._token, self._await_turn)
        wire = await self._dial(self._token)
        if self.account.login != account.login:
            await wire.close()
            raise OpenFailure(FailureReason.UNREACHABLE, "the account has changed meanwhile")
        return wire

    async def _await_turn(self, turn: asyncio.Future[Place], expected: Callable[[], float]) -> None:
        """Wait in the login queue and tell the engine; Unwanted once nobody wants the link."""
        timing, patience = self._timing, self._timing.turn_noticed
        self.gate.delay = OpenFailure(FailureReason.NO_TURN, "the login waits for its turn")
        try:
            while not turn.done():
                if await self.demand.gone(patience, turn):
                    raise Unwanted
                if turn.done():
                    break
                seconds = expected()
                if self.gate.trouble is None:  # else that is what keeps the link away
                    awaited = TurnAwaited(math.ceil(seconds))
                    await self._around.events.fared(self.account.room_id, awaited)
                patience = max(timing.turn_again, seconds * timing.turn_share)
        finally:
            self.gate.delay = LATE

    async def _dial(self, token: Token) -> Wire:
        around, timing = self._around, self._timing
        try:
            async with around.dialling:
                socket = await _Connect(
                    around.endpoints.socket(token.value),
                    compression=None,  # 16 instead of 56 KiB for each link
                    max_size=around.settings.max_incoming_bytes,
                    ping_interval=None,  # the wire pings only into silence
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
        assert isinstance(socket, Connection)  # noqa: S101 - `create_connection` says so
        socket.budget = around.budget
        socket.request = None  # nobody reads them any more: 3 KiB for each link
        if socket.response is not None:
            socket.response.headers.clear()
        around.door.let_in()
        return Wire(
            socket,
            token,
            settings=around.settings,
            learnt=around.learnt,
            clock=around.clock,
            # Spread, so that links which came up together do not all ping in one wave.
            ping_after=timing.ping_after * (1 - 0.2 * around.rng.random()),
            unheard=around.unheard,
            pulse=around.pulse,
        )

    def _turned_away(self, status: int) -> TokenRefused | OpenFailure:
        """The failure of a handshake that was answered so (protocol reference 3.3)."""
        door, message = self._around.door, f"handshake: HTTP {status}"
        if 400 <= status < 500 and status not in NOT_THERE:
            # Whoever is shut out hears "no" to everything: no reason to drop a good token.
            door.check()
            if self._strikes:  # the token before was refused too, so a login has just given this
                door.suspect(self.account.room_id, status)
            return TokenRefused(message)
        failure = door.unreachable(message, code=status)
        if status == 404 and self._backoff.failures >= LONG_MISSING:
            return TokenRefused(f"{message} for a long time")
        return failure

    async def _serve(self, wire: Wire) -> Loss:
        deliveries = self.deliveries
        deliveries.wire = wire
        try:
            loss = await wire.serve(self._up, deliveries.push)
            again = self._told_unread and loss.stood < self._timing.stable
            if loss.unread and not again:  # such a frame may be pushed again on every new link
                self._told_unread = True
                deliveries.push(_UNREAD, 0)
            return loss
        finally:
            deliveries.wire = None
            self.gate.shut(wire)
            if self.up:
                self.up = False
                self._away()
                self._around.metrics.closed()

    def _up(self, wire: Wire) -> None:
        self._absence_due = None
        again = self._been_up
        self._been_up = True
        self.up = True
        self._since = self._around.clock.now()
        self._around.door.trouble = ""
        self._around.metrics.opened(again=again)
        self._note("webchat link up", again=again)
        if again or not self.demand.calling:
            away = asyncio.get_running_loop().time() - self._lost_at
            # Found lost just after the process stood still, it may have been away all that time.
            asleep = self._lost_at < self._around.woke + BRIEF
            self.deliveries.restored(brief=again and away < BRIEF and not asleep)
        self.gate.open(wire)

    # --- what goes wrong ---------------------------------------------------------------------

    def _failed(self, failure: OpenFailure) -> None:
        self._around.metrics.open_failed()
        pause = max(self._backoff.next(), failure.pause)
        retry_in = round(max(pause, failure.rest), 1)
        self._note("webchat link not opened", why=str(failure), retry_in=retry_in)
        self.gate.hold(failure, pause, rest=failure.rest)
        if failure.reason is not FailureReason.UNREACHABLE:
            # An operator must act first: no caller's patience helps.
            self.gate.refuse(failure)

    async def _token_refused(self, why: str, *, at_door: bool = False) -> None:
        """Rows 35, 8, 9 and 11: one new login at once; patience when that token fails too."""
        self._strikes += 1
        token, self._token = self._token, None
        self._note("webchat token refused", why=why, strikes=self._strikes)
        if token is not None:
            await self._around.logins.refuse(self.account.room_id, token)
        if self._strikes == 1:
            self.gate.trouble = None  # the server is there: what is needed is a login
            return
        pause = max(self._backoff.next(), self._around.door.closed_for)
        if at_door and self._strikes > SUSPICIONS:
            pause = max(pause, self._timing.blacklist)
        self.gate.hold(refused_again(), pause)
        self.gate.refuse(refused_again())

    async def _lost(self, loss: Loss) -> None:
        stable = loss.stood >= self._timing.stable
        if stable:
            self._backoff.reset()
        if stable or loss.proven:
            self._strikes = 0
        if loss.token_refused:
            await self._token_refused("-15" if loss.code is None else f"close {loss.code}")
            return
        pause = self._backoff.next()
        self._note("webchat link lost", code=loss.code, retry_in=round(pause, 1))
        self.gate.hold(OpenFailure(FailureReason.UNREACHABLE, "the link was lost"), pause)


def refused_again() -> OpenFailure:
    """The failure after a second -15 in a row."""
    return OpenFailure(
        FailureReason.UNREACHABLE, "a fresh token was refused too", code=ResultCode.INVALID_TOKEN
    )


class _Connect(connect):
    """A `connect` that follows redirects on its server only, for which our token is."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        told = exc.response.headers if isinstance(exc, InvalidStatus) else Headers()
        ways = told.get_all("Location")
        if len(ways) != 1 or redirected(self.uri, ways[0]) is None:
            return exc
        try:
            return super().process_redirect(exc)
        except InvalidURI:
            return exc


BRIEF = 3.0
"""Seconds of a loss that is not worth a word, such as the change of a token."""
MOST_WAITING = 64
"""Pushes of one link that may wait for the store; beyond them its socket is not read."""
STORE_AWAY = 120.0
"""Seconds for which a link stays though its pushes cannot be stored, if no more than those wait."""
STORE_AGAIN = 5.0
"""Longest pause, in seconds, before the next try to store one."""
LAST_WORDS = 2.0
"""Seconds that the store gets for what was read, once the links are closed."""
LONGEST_ID = 200
"""Characters of a receipt id that go into a key."""


_Push = tuple[str, Received | Ignored | bool, int]
"""A push, its key and its size; a bool: the link stands again, after a brief loss (True)."""


class Deliveries:
    """Queue of one room's pushes to the engine; `run` must be running for anything to leave it."""

    def __init__(self, room_id: RoomId, around: Shared) -> None:
        self._room_id = room_id
        self._around = around
        self._backoff = around.backoff()
        self._budget = around.budget
        self._queue: list[_Push] = []
        """The first is under way."""
        self._paused = False
        self._away_since = 0.0
        """When the store failed first, in loop time; of use while the backoff counts failures."""
        self._more, self._stored = Flag(), Flag()
        self._ending = False
        self.wire: Wire | None = None
        """The socket that is read. The next one is opened once all that this one said is stored."""

    @property
    def _full(self) -> bool:
        return len(self._queue) > MOST_WAITING or (self._budget.spent and bool(self._queue))

    def push(self, received: Received | Ignored, size: int) -> None:
        """Queue a push; no more are read from the socket while the queue or the budget is full."""
        key = self._key(received)
        if key and self._backoff.failures and any(key == earlier for earlier, *_ in self._queue):
            return  # the server misses the receipt, and repeats it
        self._budget.taken += size
        self._add((key, received, size))
        if self.wire is not None and self._full:
            self._paused = True
            self.wire.pause()

    def restored(self, *, brief: bool) -> None:
        self._add(("", brief, 0))

    def _add(self, push: _Push) -> None:
        self._queue.append(push)
        self._stored.clear()
        self._more.set()

    async def settled(self) -> None:
        """Return once everything queued is stored."""
        while self._queue:
            await self._stored.wait()

    async def run(self) -> None:
        """Deliver, until `end` was called and everything queued is stored."""
        self._ending = False
        while self._queue or not self._ending:
            if self._queue:
                await self._deliver()
            else:
                self._more.clear()
                await self._more.wait()

    def end(self, _: object = None) -> None:
        """Let `run` end once all is stored."""
        self._ending = True
        self._more.set()

    async def last_words(self, seconds: float) -> None:
        """After a cancelled `run`: store what is queued, as far as the seconds go."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._queue:
                    await self._deliver()
        for number, (key, received, size) in enumerate(self._queue):
            self._budget.taken -= size  # it may be that nobody goes on with these
            self._queue[number] = key, received, 0

    async def _deliver(self) -> None:
        # Left where it is when this is cancelled, so that whoever goes on begins with it.
        push = self._queue[0]
        await self._store(push)
        _, received, size = self._queue.pop(0)
        self._budget.taken -= size
        if not self._queue:
            self._stored.set()
        wire, paused = self.wire, self._paused
        self._paused = paused and self._full
        if wire is None:
            return
        if paused and not self._paused:
            wire.resume()
        if not isinstance(received, bool) and received.rs_id and wire.usable:
            await wire.receipt(received.rs_id)

    async def _store(self, push: _Push) -> None:
        (key, received, _), events, room_id = push, self._around.events, self._room_id
        while True:
            try:
                async with self._around.turns:
                    if isinstance(received, bool):
                        back = LinkRestored(self._around.clock.now(), received)
                        await events.fared(room_id, back)
                    elif isinstance(received, Received):
                        await events.pushed(room_id, key, received)
            except Exception as error:  # noqa: BLE001 - whatever it is, the push must not be lost
                log = _LOG.debug if self._backoff.failures else _LOG.warning
                log("webchat push not stored", room=room_id, error=type(error).__name__)
            else:
                if self._backoff.failures:
                    self._backoff.reset()
                return
            now = asyncio.get_running_loop().time()
            if not self._backoff.failures:
                self._away_since = now
            late = now - self._away_since >= STORE_AWAY
            if self.wire is not None and (late or self._full):
                await self.wire.close()
            await self._around.clock.sleep(min(self._backoff.next(), STORE_AGAIN))

    def _key(self, received: Received | Ignored) -> str:
        """Deduplication key, with a digest: a server that counts may begin again when it starts."""
        if isinstance(received, Ignored):
            return ""
        if rs_id := received.rs_id:
            said = f"{rs_id}\n".encode("utf-8", "replace") + msgspec.json.encode(received.push)
            digest = blake2b(said, digest_size=8).hexdigest()
            return f"wc:{self._room_id}:{rs_id[:LONGEST_ID]}:{digest}"
        return f"wc:{self._room_id}:{self._around.epoch}:{next(self._around.ordinals)}"
