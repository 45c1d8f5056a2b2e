"""Keeps one room's link up: the round OUT -> LOGIN -> LINKING -> UP, and back after every loss.

Theory of operation. While somebody wants the link (`Demand`), `Keeper.run` keeps two tasks: one
goes round the states, one step after the other, so a room never has two logins or two sockets at a
time (protocol reference 4, rows 1-5 and 34-38); the other delivers pushes. The keeper opens the
`Gate` for calls when the wire stands and shuts it when the wire is lost.

A token that the server refuses (-15, 4xx, thrown out at once) costs one login at once. A fresh
token that is refused as well is a failure like any other: whoever waits is told, and the keeper
waits before it tries again. If it was refused at the handshake, the `Door` hears of it, for the
whole bridge may be shut out; and a room to which that happens again and again is left alone for as
long as a blacklist.

A login may have to wait for its turn (`limiter`). While it does the engine is told so, and a call
that can wait no longer is told the same; and once nobody wants the link it is out of the line.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

import structlog

from bridge.conversation.inputs import FailureReason
from bridge.ids import AgentId, SessionId
from bridge.link.backoff import Backoff
from bridge.link.deliveries import Deliveries
from bridge.link.door import SUSPICIONS, Door, Health
from bridge.link.failures import OpenFailure, TokenRefused, Unwanted, no_turn
from bridge.link.gate import Demand, Gate
from bridge.link.learnt import Learnt
from bridge.link.limiter import Place
from bridge.link.login import Tokens
from bridge.link.ports import LinkMetrics, Token
from bridge.link.settings import LinkSettings
from bridge.link.socket import Loss, Wire, dial
from bridge.rooms.ports import Account, Clock, LinkEvents
from bridge.webchat.codes import ResultCode
from bridge.webchat.frames import MessageReceived, Received, UnknownContent
from bridge.webchat.http import Endpoints

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
        """Wait until another try may be made, and tell meanwhile what is worth telling."""
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
        """Row 34: a link that has been away for long is worth a word, once."""
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
        """Stand in line at the door, for as long as anybody wants the link.

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
        """Tell from time to time how long we still have to wait, until there is no need to."""
        timing = self._around.settings.timing
        patience = timing.turn_noticed
        while True:
            done, _ = await asyncio.wait(
                (turn, unwanted), timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            if done:
                return
            if self._gate.trouble is None:  # else that is what keeps the link away
                await self._around.events.queued(self.account.room_id, expected())
            patience = timing.turn_again

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
        """False for a frame that is pushed again and again: it ends each link soon after it came.

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
        _log(self.account).info("webchat link up", again=again)
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
        _log(self.account).info("webchat link not opened", why=str(failure), retry_in=retry_in)
        self._gate.hold(failure, pause, rest=failure.rest)
        if failure.reason is not FailureReason.UNREACHABLE:
            # An operator must act first: no caller's patience helps.
            self._gate.refuse(failure)

    async def _token_refused(self, why: str, *, at_door: bool = False) -> None:
        """Rows 35, 8, 9 and 11: one new login at once; patience when that token fails too."""
        self._strikes += 1
        self._token = None
        _log(self.account).info("webchat token refused", why=why, strikes=self._strikes)
        await self._around.tokens.refuse(self.account.room_id)
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
        _log(self.account).info("webchat link lost", code=loss.code, retry_in=round(pause, 1))
        self._gate.hold(OpenFailure(FailureReason.UNREACHABLE, "the link was lost"), pause)


def refused_again() -> OpenFailure:
    """Return what a second -15 in a row means."""
    return OpenFailure(
        FailureReason.UNREACHABLE, "a fresh token was refused too", code=ResultCode.INVALID_TOKEN
    )


def _log(account: Account) -> structlog.stdlib.BoundLogger:
    log: structlog.stdlib.BoundLogger = structlog.get_logger(room_id=account.room_id)
    return log
