"""One room's link: what its callers see, how it is kept up, and how its pushes reach the engine.

Theory of operation. Three parts live and die together:

`Link` is the face. Calls wait at the `Gate` until the link stands, write one after the other, and
wait for their replies side by side. A command that the server refused over its token goes out once
more on the next wire, with its old call id and in its old place. So does one whose keys the server
refused, once in each other set of keys (protocol reference 5). What the server says nothing at all
to is for the caller to send again or not.

`Keeper` keeps the link up: the round OUT -> LOGIN -> LINKING -> UP, and back after every loss.
While somebody wants the link (`Demand`), `Keeper.run` keeps two tasks: one goes round the states,
one step after the other, so a room never has two logins or two sockets at a time (reference 4, rows
1-5 and 34-38); the other delivers pushes. It opens the `Gate` for calls when the wire stands and
shuts it when the wire is lost. A token that the server refuses (-15, 4xx, thrown out at once) costs
one login at once. A fresh token that is refused as well is a failure like any other: callers are
told, and the keeper waits before it tries again. If it was refused at the handshake, the `Door`
hears of it, for the whole bridge may be shut out; and a room to which that happens again and again
is left alone for as long as a blacklist. A login may have to wait for its turn (`WindowLimiter`):
the engine is told so meanwhile, and so is a call that can wait no longer; once nobody wants the
link it is out of the line.

`Deliveries` is the queue of pushes on their way to the engine: strictly in order, nothing skipped.
The push in hand is tried again until the engine has stored it; only then does its receipt go out.
While that does not work the socket is closed, so that the server knows us to be away, and the link
opens no new one before `settled`. When the bridge stops, what was read is still stored, for a
server of 2016 pushes nothing twice.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from hashlib import blake2b
from typing import TypeVar

import msgspec
import structlog

from bridge.conversation.model import FailureReason
from bridge.ids import AgentId, CallId, RoomId, SessionId
from bridge.link.gate import Demand, Gate
from bridge.link.http_client import (
    SUSPICIONS,
    Backoff,
    Door,
    Health,
    OpenFailure,
    Place,
    TokenRefused,
    Unwanted,
    no_turn,
)
from bridge.link.learnt import (
    Feature,
    Learnt,
    has_keys,
    most_hopeful,
    other_keys,
    tells_keys_apart,
)
from bridge.link.login import Tokens
from bridge.link.settings import LinkMetrics, LinkSettings, Token
from bridge.link.socket import Loss, Settle, Wire, Written, dial
from bridge.rooms.ports import Account, CallFailure, Clock, LinkEvents
from bridge.webchat.codes import Dialect, ResultCode, meaning
from bridge.webchat.frames import (
    Command,
    MessageReceived,
    RateSession,
    Received,
    Reply,
    SendMessage,
    SendPreMessage,
    UnknownContent,
)
from bridge.webchat.http import Endpoints

Told = TypeVar("Told")
_CONTENT = (SendMessage, SendPreMessage, RateSession)
"""110, 111 and 104: sent again they may arrive twice, so their replies are awaited for longer."""


@dataclass
class _Call:
    """A command on its way, and what the server has said of it so far."""

    ticket: int
    call_id: CallId
    command: Command
    wire: Wire | None = None
    """Where it was written last."""
    keys: Dialect | None = None
    """In which keys to write it; None: as the server is thought to want it."""
    written: Dialect = Dialect.DUAL
    """In which keys it was written last."""
    others: Iterator[Dialect] | None = None
    """The sets of keys that are left to be tried, once it was refused over them."""
    refused: list[Reply] = field(default_factory=list)
    """The refusals over its keys."""
    relogged: bool = False
    """A token was refused, and a new one got."""


class Link:
    """The link of one room, as its callers see it. `run` must be running."""

    def __init__(self, account: Account, around: Shared, tasks: asyncio.TaskGroup) -> None:
        """Take what links share; `tasks` outlive the link's own `run`."""
        self.demand = Demand()
        self._tasks = tasks
        self._gate: Gate[Wire] = Gate()
        self._timing = around.settings.timing
        self._learnt = around.learnt
        self._hint_not_before: dict[Feature, float] = {}
        """When each kind of hint may be sent again, in loop time."""
        self._stranger: tuple[Wire, float] | None = None
        """Where the server said last that it does not know us, and until when we believe it."""
        self.keeper = Keeper(account, around, self.demand, self._gate)

    def speak_for(self, account: Account) -> None:
        """From now on be this account's link; the socket of another account is given up."""
        former, self.keeper.account = self.keeper.account, account
        if former.login == account.login:
            return
        if (wire := self._gate.way) is not None:
            self.refuse(wire)
        # Nor does it wait because the other one was refused.
        self._gate.hold(OpenFailure(FailureReason.UNREACHABLE, "the account has changed"), 0.0)

    def release(self) -> None:
        """The link is no longer wanted; see `LinkPort.release`."""
        self.demand.release()
        self._gate.dismiss(no_turn("nobody wants it any more"))

    async def run(self) -> None:
        """Keep the link up until nobody has wanted it for a while."""
        await self.keeper.run()

    async def rested(self) -> bool:
        """Wait out the backoff; False if the link is wanted again before that."""
        return not await self.demand.back_within(self._gate.pause_left())

    def abandon(self) -> None:
        """The bridge stops: whoever still waits for the link will not get it."""
        self._gate.refuse(OpenFailure(FailureReason.UNREACHABLE, "the links are closing"))

    async def call(
        self, call_id: CallId, command: Command, before_write: Callable[[], Awaitable[None]]
    ) -> Reply:
        """Send a command and return its reply; see `LinkPort.call`.

        Where the link stands and nothing is ahead, the command is written without a task switch,
        but for those of `before_write`.
        """
        call = _Call(self._gate.ticket(), call_id, command)
        with self.demand.call():
            return await self._until_answered(call, before_write)

    def call_now(self, call_id: CallId, command: Command, done: Settle) -> bool:
        """Write a command before returning, if nothing is in the way; see `Links.call_now`."""
        wire = self._gate.pass_through()
        if wire is None:
            return False
        call = _Call(self._gate.ticket(), call_id, command, wire, written=self._learnt.keys)
        settle = partial(self._settle, call, done)
        try:
            if not wire.usable or (has_keys(command) and wire.dialect_wait > 0):
                return False
            if not wire.write_now(call_id, command, call.written, settle, self._patience(command)):
                return False
        except CallFailure:  # it is too long, or must not be sent: `call` says so
            return False
        finally:
            self._gate.leave()
        self.demand.begin()
        return True

    def _settle(self, call: _Call, done: Settle, told: Reply | CallFailure) -> None:
        """Callback of `call_now`'s reply; a command that goes out once more gets a task."""
        if isinstance(told, Reply):
            try:
                answer = self._judge(call, told)
            except OpenFailure as failure:
                told = failure
            else:
                if answer is None:
                    self._tasks.create_task(self._once_more(call, done))
                    return
                told = answer
        self.demand.end()
        done(told)

    async def _once_more(self, call: _Call, done: Settle) -> None:
        told: Reply | CallFailure
        try:
            told = await self._until_answered(call, _nothing)
        except CallFailure as failure:
            told = failure
        finally:
            self.demand.end()
        done(told)

    async def _until_answered(
        self, call: _Call, before_write: Callable[[], Awaitable[None]]
    ) -> Reply:
        while True:
            wire, written = await self._write(call, before_write)
            answer = self._judge(call, await wire.answer(written))
            if answer is not None:
                return answer

    def _judge(self, call: _Call, reply: Reply) -> Reply | None:
        """Return the reply that the caller gets; None: the command goes out once more.

        Raises:
            OpenFailure: a fresh token was refused too.
        """
        wire, command = call.wire, call.command
        assert wire is not None  # noqa: S101 - there is no reply to what was not written
        if reply.result == ResultCode.INVALID_TOKEN:
            self.refuse(wire)
            if call.relogged:
                raise refused_again()
            call.relogged = True
            return None
        if self._disowned(wire, reply):
            self.refuse(wire)
            return None
        if self._learnt.refuses(call.written, command, reply):
            call.refused.append(reply)
            call.others = call.others or iter(other_keys(command, call.written))
            call.keys = next(call.others, None)
            return most_hopeful(call.refused) if call.keys is None else None
        if reply.result == ResultCode.SUCCESS and tells_keys_apart(command):
            self._learnt.took(call.written, after_refusal=bool(call.refused))
        return reply

    def _patience(self, command: Command) -> float | None:
        """Seconds to wait for a reply before the link is given up; None: as for any command."""
        return self._timing.mute if isinstance(command, _CONTENT) else None

    def _disowned(self, wire: Wire, reply: Reply) -> bool:
        """True if the server knows nobody of our token's (-6), and a new login may still help.

        One login, whatever is under way meanwhile; if it does not help, this is for an operator,
        and the next is `LinkTiming.disowned` away. The caller is told in the server's own words.
        """
        now = asyncio.get_running_loop().time()
        if reply.result == ResultCode.SUCCESS:
            self._stranger = None
        if reply.result != ResultCode.INVALID_CLIENT_ID:
            return False
        if self._stranger is None or now >= self._stranger[1]:
            self._stranger = wire, now + self._timing.disowned
        return self._stranger[0] is wire

    async def hint(self, feature: Feature, command: Command) -> None:
        """Send a typing notice or a preview, which may be lost.

        Sent only on a link that stands, to a server that knows it, and not too often. Never raises.
        """
        wire, now = self._gate.way, asyncio.get_running_loop().time()
        if wire is None or not wire.usable or not self._learnt.has(feature):
            return
        if now < self._hint_not_before.get(feature, now):
            return
        self._hint_not_before[feature] = now + self._timing.hint_gap
        try:
            reply = await wire.ask(command)
        except CallFailure:
            return
        if meaning(reply.result).no_command:
            self._learnt.has_not(feature)
        elif reply.result == ResultCode.INVALID_TOKEN:
            self.refuse(wire)

    async def with_token(
        self, request: Callable[[Token], Awaitable[Told]], *, tries: int = 2, asks: bool = True
    ) -> Told:
        """Make an HTTP request that needs the link's token; log in anew if it is refused.

        Args:
            request: is given the token.
            tries: how often it may be made.
            asks: False: it is our own wish, and no reason to try a refused login again.

        Raises:
            OpenFailure: the link does not stand, or the token was refused `tries` times. After one
                try no fresh one has been seen yet: the caller's next finds it.
            Exception: what `request` raises, TokenRefused aside.
        """
        with self.demand.call():
            for _ in range(tries):
                wire = await self._standing(asks=asks)
                try:
                    return await request(wire.token)
                except TokenRefused:
                    self.refuse(wire)
        raise refused_again() if tries > 1 else _refused_once()

    async def _standing(self, *, asks: bool) -> Wire:
        """Return the open wire, waiting for it as a call would."""
        wire = await self._gate.enter(self._gate.ticket(), self._timing.connect, asks=asks)
        self._gate.leave()
        return wire

    def refuse(self, wire: Wire) -> None:
        """The server has refused the token of this wire: log in again and open another."""
        wire.refuse()
        self._gate.shut(wire)

    async def _write(
        self, call: _Call, before_write: Callable[[], Awaitable[None]]
    ) -> tuple[Wire, Written]:
        """Write a command, in its keys or in those that the server is thought to want."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timing.connect
        while True:
            wire = await self._gate.enter(call.ticket, deadline - loop.time())
            try:
                if has_keys(call.command):
                    await wire.told_dialect()
                if wire.usable:
                    await before_write()
                # It may have ended while that was stored; then nothing was written, for certain.
                if wire.usable:
                    call.wire, call.written = wire, call.keys or self._learnt.keys
                    return wire, await self._spell(wire, call)
                self._gate.shut(wire)
            finally:
                self._gate.leave()

    async def _spell(self, wire: Wire, call: _Call) -> Written:
        """Write a command; where both sets of keys are too long for a frame, in one of them.

        A text may have been divided when the server was known to want one set.
        """
        seconds = self._patience(call.command)
        try:
            return await wire.write(call.call_id, call.command, call.written, seconds)
        except CallFailure as failure:
            if failure.reason is not FailureReason.TOO_BIG or call.written is not Dialect.DUAL:
                raise
        call.written = call.written.others[0]
        return await wire.write(call.call_id, call.command, call.written, seconds)


async def _nothing() -> None:
    """The `before_write` of a command that is written once more: its attempt is stored already."""


def _refused_once() -> OpenFailure:
    """Return the failure of an HTTP request whose token was refused and that cannot be repeated."""
    message = "the token was refused; a new login is under way"
    return OpenFailure(FailureReason.UNREACHABLE, message, code=ResultCode.INVALID_TOKEN)


# --- keeping it up ------------------------------------------------------------------------------

LONG_MISSING = 10
"""After so many failures in a row a 404 at the handshake is taken for a dead token after all."""
_UNREAD = Received(MessageReceived(SessionId(0), AgentId(""), UnknownContent(None)))
"""Stands for a frame that cannot be read."""


class LinkState(StrEnum):
    """Where a link stands (protocol reference 4)."""

    OUT = "out"
    LOGIN = "login"
    LINKING = "linking"
    UP = "up"


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What all links of one server share."""

    settings: LinkSettings
    endpoints: Endpoints
    tokens: Tokens
    events: LinkEvents
    health: Health
    door: Door
    learnt: Learnt
    metrics: LinkMetrics
    clock: Clock
    rng: random.Random
    tls: ssl.SSLContext | None
    dialling: asyncio.Semaphore
    """Limits how many sockets are being opened at once."""
    epoch: str
    """Differs for every start of the process."""
    ordinals: Iterator[int]
    """Numbers the pushes of all links: one that is made anew must not count again."""
    unheard: Callable[[str], None]
    """Told the kind of each frame that says nothing to us."""
    note: Callable[[RoomId, str, Mapping[str, object]], None]
    """Logs what happens to a room's link."""

    def backoff(self) -> Backoff:
        """Return a fresh backoff with the operator's times."""
        timing = self.settings.timing
        return Backoff(timing.backoff_first, timing.backoff_last, self.rng)


class Keeper:
    """Opens, guards and reopens the link of one room."""

    def __init__(self, account: Account, around: Shared, demand: Demand, gate: Gate[Wire]) -> None:
        self.account = account
        """May be replaced by a newer one at any time."""
        self.state = LinkState.OUT
        self._around = around
        self._demand = demand
        self._gate = gate
        self._backoff = around.backoff()
        self._deliveries = Deliveries(
            account.room_id,
            around.epoch,
            around.ordinals,
            around.events,
            clock=around.clock,
            backoff=around.backoff(),
        )
        self._token: Token | None = None
        self._wire: Wire | None = None
        self._strikes = 0
        self._been_up = False
        self._told_unread = False
        self._away_since: float | None = None
        """Since when the link is wanted and does not stand, in loop time; None once that was told.
        """

    async def run(self) -> None:
        """Keep the link up until nobody has wanted it for a while."""
        self._away_since = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            delivering = tasks.create_task(self._deliveries.run(self._interrupt))
            keeping = tasks.create_task(self._keep_up())
            await self._demand.gone(self._around.settings.timing.release)
            keeping.cancel()
            await asyncio.wait([keeping])
            await self._deliveries.settled()
            delivering.cancel()

    async def _keep_up(self) -> None:
        while True:
            await self._rest()
            await self._deliveries.settled()
            await self._tell_absence()
            try:
                wire = await self._open()
                loss = await self._serve(wire)
            except Unwanted:
                # If nobody comes back in that time, `run` ends this.
                await self._demand.back_within(self._around.settings.timing.release)
            except OpenFailure as failure:
                self._failed(failure)
            except TokenRefused as refusal:
                await self._token_refused(str(refusal), at_door=True)
            else:
                await self._lost(loss)

    async def _rest(self) -> None:
        """Wait until the backoff allows another try; tell meanwhile of a long absence."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._absence_due()):
                    await self._gate.held()
                    return
            await self._tell_absence()

    def _absence_due(self) -> float | None:
        since = self._away_since
        return None if since is None else since + self._around.settings.timing.session_grace

    async def _tell_absence(self) -> None:
        """Tell the engine, once, of a link that has been away for long (row 34)."""
        due = self._absence_due()
        if due is not None and asyncio.get_running_loop().time() >= due:
            self._away_since = None
            await self._around.events.lost(self.account.room_id)

    async def _open(self) -> Wire:
        try:
            self.state = LinkState.LOGIN
            account = self.account
            self._token = await self._around.tokens.obtain(account, self._token, self._await_turn)
            self.state = LinkState.LINKING
            wire = await self._dial(self._token)
            if self.account.login != account.login:
                await wire.close()
                raise OpenFailure(FailureReason.UNREACHABLE, "the account has changed meanwhile")
            return wire
        finally:
            self.state = LinkState.OUT

    async def _await_turn(self, turn: asyncio.Future[Place], expected: Callable[[], float]) -> None:
        """Wait in the login queue, for as long as the link is wanted.

        Raises:
            Unwanted: nobody does.
        """
        self._gate.explain(no_turn("the login waits for its turn"))
        try:
            async with asyncio.TaskGroup() as tasks:
                unwanted = tasks.create_task(self._demand.gone(0.0))
                await self._tell_line(turn, unwanted, expected)
                unwanted.cancel()
        finally:
            self._gate.explain(None)
        if not turn.done():
            raise Unwanted

    async def _tell_line(
        self,
        turn: asyncio.Future[Place],
        unwanted: asyncio.Task[None],
        expected: Callable[[], float],
    ) -> None:
        """Tell the engine from time to time how long the wait still is, until it ends."""
        timing = self._around.settings.timing
        patience = timing.turn_noticed
        while True:
            done, _ = await asyncio.wait(
                (turn, unwanted), timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            if done:
                return
            seconds = expected()
            if self._gate.trouble is None:  # else that is what keeps the link away
                await self._around.events.queued(self.account.room_id, seconds)
            patience = max(timing.turn_again, seconds * timing.turn_share)

    async def _dial(self, token: Token) -> Wire:
        around = self._around
        # Spread, so that links which came up together do not all ping in one wave.
        ping_after = around.settings.timing.ping_after * (1 - 0.2 * around.rng.random())
        try:
            async with around.dialling:
                wire = await dial(
                    around.endpoints.socket(token.value),
                    token,
                    settings=around.settings,
                    learnt=around.learnt,
                    clock=around.clock,
                    tls=around.tls,
                    ping_after=ping_after,
                    unheard=around.unheard,
                )
        except TokenRefused as refusal:
            # Whoever is shut out hears "no" to everything: that is no reason to drop a good token.
            around.door.check()
            if self._strikes:  # the token before was refused too, so a login has just given this
                around.door.suspect(self.account.room_id, refusal.status)
            raise
        except OpenFailure as failure:
            around.health.missed()
            if failure.code == 404 and self._backoff.failures >= LONG_MISSING:
                raise TokenRefused("handshake: HTTP 404 for a long time", 404) from failure
            raise
        around.door.let_in()
        return wire

    async def _serve(self, wire: Wire) -> Loss:
        async def push(received: Received) -> None:
            await self._deliveries.push(received, wire)

        self._wire = wire
        try:
            loss = await wire.serve(self._up, push)
            if loss.unread and self._is_news(loss):
                await push(_UNREAD)
            return loss
        finally:
            self._wire = None
            self._gate.shut(wire)
            if self.state is LinkState.UP:
                self._away_since = asyncio.get_running_loop().time()
                self._around.metrics.closed()
            self.state = LinkState.OUT

    def _is_news(self, loss: Loss) -> bool:
        """False for an unreadable frame that is pushed again on every new link.

        It may have been an agent's word, so it must be told of.
        """
        told, self._told_unread = self._told_unread, True
        return not told or loss.stood >= self._around.settings.timing.stable

    def _up(self, wire: Wire) -> None:
        self._away_since = None
        again = self._been_up
        self._been_up = True
        self.state = LinkState.UP
        self._around.health.reached()
        self._around.metrics.opened(again=again)
        self._note("webchat link up", again=again)
        if again or not self._demand.calling:
            self._deliveries.restored()
        self._gate.open(wire)

    async def _interrupt(self) -> None:
        if self._wire is not None:
            await self._wire.close()

    # --- what goes wrong ---------------------------------------------------------------------

    def _failed(self, failure: OpenFailure) -> None:
        self._around.metrics.open_failed()
        pause = max(self._backoff.next(), failure.pause)
        retry_in = round(max(pause, failure.rest), 1)
        self._note("webchat link not opened", why=str(failure), retry_in=retry_in)
        self._gate.hold(failure, pause, rest=failure.rest)
        if failure.reason is not FailureReason.UNREACHABLE:
            # An operator must act first: no caller's patience helps.
            self._gate.refuse(failure)

    async def _token_refused(self, why: str, *, at_door: bool = False) -> None:
        """Rows 35, 8, 9 and 11: one new login at once; patience when that token fails too."""
        self._strikes += 1
        token, self._token = self._token, None
        self._note("webchat token refused", why=why, strikes=self._strikes)
        if token is not None:
            await self._around.tokens.refuse(self.account.room_id, token)
        if self._strikes > 1:
            failure = refused_again()
            pause = max(self._backoff.next(), self._around.door.closed_for)
            if at_door and self._strikes > SUSPICIONS:
                pause = max(pause, self._around.settings.timing.blacklist)
            self._gate.hold(failure, pause)
            self._gate.refuse(failure)
        else:
            self._gate.forgive()  # the server is there: what is needed is a login

    async def _lost(self, loss: Loss) -> None:
        stable = loss.stood >= self._around.settings.timing.stable
        if stable:
            self._backoff.reset()
        if stable or loss.proven:
            self._strikes = 0
        if loss.token_refused:
            await self._token_refused("-15" if loss.code is None else f"close {loss.code}")
            return
        pause = self._backoff.next()
        self._note("webchat link lost", code=loss.code, retry_in=round(pause, 1))
        self._gate.hold(OpenFailure(FailureReason.UNREACHABLE, "the link was lost"), pause)

    def _note(self, event: str, **told: object) -> None:
        self._around.note(self.account.room_id, event, told)


def refused_again() -> OpenFailure:
    """Return the failure after a second -15 in a row."""
    return OpenFailure(
        FailureReason.UNREACHABLE, "a fresh token was refused too", code=ResultCode.INVALID_TOKEN
    )


# --- pushes on their way ------------------------------------------------------------------------

MOST_WAITING = 64
"""Pushes of one link that may wait for the store; beyond them its socket is not read."""
LAST_WORDS = 2.0
"""Seconds that the store gets for what was read, once the links are closed."""
LONGEST_ID = 200
"""Characters of a receipt id that go into a key."""


@dataclass(frozen=True)
class _Push:
    key: str
    received: Received
    wire: Wire


class Deliveries:
    """Queue of one room's pushes to the engine; `run` must be running for anything to leave it."""

    def __init__(
        self,
        room_id: RoomId,
        epoch: str,
        ordinals: Iterator[int],
        events: LinkEvents,
        *,
        clock: Clock,
        backoff: Backoff,
        last_words: float = LAST_WORDS,
    ) -> None:
        """Take what makes the keys of pushes.

        Args:
            room_id: whose pushes they are.
            epoch: differs for every start of the process.
            ordinals: never gives a number twice within an epoch, whoever else draws from it.
            events: the engine.
            clock: for the pauses.
            backoff: how long they are.
            last_words: seconds that storing may go on for once `run` is cancelled.
        """
        self._room_id = room_id
        self._epoch = epoch
        self._events = events
        self._clock = clock
        self._backoff = backoff
        self._last_words = last_words
        self._ordinals = ordinals
        self._room_left = asyncio.Semaphore(MOST_WAITING)
        self._queue: asyncio.Queue[_Push | None] = asyncio.Queue()
        self._in_hand: list[_Push | None] = []

    async def push(self, received: Received, wire: Wire) -> None:
        """Queue a push, and wait while the queue is full."""
        # Queued first: whoever waits may be cancelled, and what was read must not be lost with it.
        self._queue.put_nowait(_Push(self._key(received), received, wire))
        await self._room_left.acquire()

    def restored(self) -> None:
        """Queue the word that the link stands again."""
        self._queue.put_nowait(None)

    async def settled(self) -> None:
        """Return once everything queued is stored."""
        await self._queue.join()

    async def run(self, interrupt: Callable[[], Awaitable[None]]) -> None:
        """Deliver for ever; `interrupt` is awaited whenever the engine could not store.

        Cancelled, it first stores what is queued, as far as that goes in `last_words` seconds.
        """
        try:
            while True:
                await self._deliver(interrupt)
        except asyncio.CancelledError:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._last_words):
                    while self._in_hand or not self._queue.empty():
                        await self._deliver(interrupt)
            raise

    async def _deliver(self, interrupt: Callable[[], Awaitable[None]]) -> None:
        if not self._in_hand:
            self._in_hand.append(await self._queue.get())
        # Left in hand when this is cancelled, so that whoever goes on begins with it.
        push = self._in_hand[0]
        await self._store(push, interrupt)
        self._in_hand.clear()
        self._queue.task_done()
        if push is not None:
            self._room_left.release()
            if push.received.rs_id and push.wire.usable:
                await push.wire.receipt(push.received.rs_id)

    async def _store(self, push: _Push | None, interrupt: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                if push is None:
                    await self._events.restored(self._room_id)
                else:
                    await self._events.pushed(self._room_id, push.key, push.received)
            except Exception as error:  # noqa: BLE001 - whatever it is, the push must not be lost
                log: structlog.stdlib.BoundLogger = structlog.get_logger()
                log.warning(
                    "webchat push not stored", room_id=self._room_id, error=type(error).__name__
                )
            else:
                if self._backoff.failures:
                    self._backoff.reset()
                return
            await interrupt()
            await self._clock.sleep(self._backoff.next())

    def _key(self, received: Received) -> str:
        """Deduplication key: the same for a push and its repeats, and for nothing else.

        The server's own id does not do alone: one that counts may begin again when it starts.
        """
        if rs_id := received.rs_id:
            said = f"{rs_id}\n".encode("utf-8", "replace") + msgspec.json.encode(received.push)
            digest = blake2b(said, digest_size=8).hexdigest()
            return f"wc:{self._room_id}:{rs_id[:LONGEST_ID]}:{digest}"
        return f"wc:{self._room_id}:{self._epoch}:{next(self._ordinals)}"
