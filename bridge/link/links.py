"""All links of one WebChat server: the `LinkPort` that the engine is given.

`Links` makes a link for a room when it is first needed and forgets it when it has not been for a
while; an idle room costs nothing here. Every link has a task of its own, so that one link's trouble
never delays another's; all of them live in the group that `running` owns.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog

from bridge.conversation.inputs import FailureReason
from bridge.ids import CallId, RoomId
from bridge.link.failures import TokenRefused
from bridge.link.fetch import Fetcher
from bridge.link.health import Health
from bridge.link.http import Http
from bridge.link.keeper import LinkState, Surroundings, refused_again
from bridge.link.link import Link
from bridge.link.logins import Logins
from bridge.link.ports import Facts, LinkMetrics, TokenStore
from bridge.link.settings import LinkSettings
from bridge.link.tokens import Tokens
from bridge.link.uploads import Uploads
from bridge.rooms.ports import Account, Blob, CallFailure, Clock, LinkEvents
from bridge.webchat.frames import Command, Reply
from bridge.webchat.urls import Endpoints

MOST_KINDS = 200
"""Kinds of frames that were reported as ignored; beyond them the server is only making noise."""


class Links:
    """Implements `LinkPort`. Nothing works outside `running`."""

    def __init__(
        self,
        settings: LinkSettings,
        *,
        tokens: TokenStore,
        facts: Facts,
        metrics: LinkMetrics,
        clock: Clock,
        rng: random.Random | None = None,
    ) -> None:
        """Take what one server's links need.

        Raises:
            ValueError: the base address or an allowed host cannot be read.
        """
        self.health = Health(clock)
        self._settings = settings
        self._endpoints = Endpoints(settings.base_url)
        self._tls = ssl.create_default_context() if _secure(settings) else None
        self._http = Http(settings.timing, self._tls)
        self._fetcher = Fetcher(settings, self._endpoints)
        self._uploads = Uploads(settings, self._endpoints, self._http, facts)
        self._metrics = metrics
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        logins = Logins(settings, self._http, self.health, clock, metrics)
        self._tokens = Tokens(logins, tokens, clock, settings.timing.token_age)
        self._unheard = _Unheard()
        self._links: dict[RoomId, tuple[Link, asyncio.Task[None]]] = {}
        self._running: tuple[asyncio.TaskGroup, Surroundings] | None = None
        self._closed = False

    @asynccontextmanager
    async def running(self, events: LinkEvents) -> AsyncIterator[None]:
        """Run all links that are asked for inside the block; close them at its end.

        What the block raises comes out as it is, not wrapped in a group.
        """
        around = self._surroundings(events)
        failure: BaseException | None = None
        async with self._http.running(), self._fetcher.running(), asyncio.TaskGroup() as group:
            self._running = (group, around)
            try:
                yield
            except BaseException as error:  # noqa: BLE001 - raised again below
                failure = error
            finally:
                await self.aclose()
        if failure is not None:
            raise failure

    async def aclose(self) -> None:
        """Close every socket without a logout (row 87); the chats go on and are resumed later.

        Calls that still wait fail. Takes no longer than two closing handshakes.
        """
        self._running = None
        self._closed = True
        links = list(self._links.values())
        self._links.clear()
        for link, task in links:
            link.abandon()
            task.cancel()
        if links:
            await asyncio.wait([task for _, task in links])

    # --- LinkPort ----------------------------------------------------------------------------

    async def call(
        self,
        account: Account,
        call_id: CallId,
        command: Command,
        before_write: Callable[[], Awaitable[None]],
    ) -> Reply:
        """Send a command and return its reply; see `LinkPort.call`."""
        return await self._link(account).call(call_id, command, before_write)

    async def upload(self, account: Account, blob: Blob) -> str:
        """Upload a file and return its absolute address; see `LinkPort.upload`.

        A -15 starts a new login, but the blob cannot be read twice: the caller tries again with a
        fresh one. What the blob's own source raises (TooBig, Unavailable) comes out as it is.
        """
        link = self._link(account)
        with link.demand.call():
            wire = await link.standing()
            try:
                return await self._uploads.upload(wire.token, blob)
            except TokenRefused as refusal:
                link.refuse(wire)
                raise refused_again() from refusal

    def fetch(self, url: str, limit: int) -> AbstractAsyncContextManager[Blob]:
        """Open a file that an agent sent; see `LinkPort.fetch`."""
        return self._fetcher.fetch(url, limit)

    def icon_url(self, icon: str, queue_id: int | None) -> str:
        """Return the absolute address of an agent's picture, or ""."""
        return self._endpoints.icon(icon, queue_id)

    def keep(self, account: Account) -> None:
        """From now on keep this room's link up, through every loss.

        Raises:
            CallFailure: the links do not run yet; after `aclose` it only does nothing.
        """
        if not self._closed:
            self._link(account).demand.keep()

    def release(self, room_id: RoomId) -> None:
        """The link is no longer wanted; it closes once nothing is under way."""
        if (known := self._links.get(room_id)) is not None:
            known[0].demand.release()

    # --- for operators -----------------------------------------------------------------------

    def states(self) -> dict[RoomId, LinkState]:
        """Return where each link stands."""
        return {room_id: link.keeper.state for room_id, (link, _) in self._links.items()}

    # --- within ------------------------------------------------------------------------------

    def _surroundings(self, events: LinkEvents) -> Surroundings:
        return Surroundings(
            settings=self._settings,
            endpoints=self._endpoints,
            tokens=self._tokens,
            events=events,
            health=self.health,
            metrics=self._metrics,
            clock=self._clock,
            rng=self._rng,
            tls=self._tls,
            dialling=asyncio.Semaphore(self._settings.reconnect_limit),
            epoch=f"{self._clock.now():x}.{secrets.token_hex(4)}",
            unheard=self._unheard,
        )

    def _link(self, account: Account) -> Link:
        if self._running is None:
            raise CallFailure(
                FailureReason.UNREACHABLE, certain=True, message="the links are not running"
            )
        known = self._links.get(account.room_id)
        if known is not None:
            known[0].keeper.account = account
            return known[0]
        group, around = self._running
        link = Link(account, around)
        self._links[account.room_id] = (link, group.create_task(self._run(link)))
        return link

    async def _run(self, link: Link) -> None:
        """Run one link until it is forgotten. Nothing that happens in it may reach the others."""
        account = link.keeper.account
        while True:
            try:
                await link.run()
                if await link.rested():
                    break
            except Exception as error:  # noqa: BLE001 - a bug in one link must not end them all
                log: structlog.stdlib.BoundLogger = structlog.get_logger()
                log.error(
                    "webchat link crashed",
                    room_id=account.room_id,
                    errors=[type(inner).__name__ for inner in _leaves(error)],
                )
                await self._clock.sleep(self._settings.timing.backoff_last)
        # No await between the last look at the demand and this: nobody can have come in between.
        self._links.pop(account.room_id, None)


class _Unheard:
    """Logs each kind of frame that says nothing to us once (protocol reference 1.1)."""

    def __init__(self) -> None:
        self._kinds: set[str] = set()

    def __call__(self, kind: str) -> None:
        if kind not in self._kinds and len(self._kinds) < MOST_KINDS:
            self._kinds.add(kind)
            log: structlog.stdlib.BoundLogger = structlog.get_logger()
            log.warning("webchat frame ignored", kind=kind)


def _secure(settings: LinkSettings) -> bool:
    return settings.base_url.startswith("https:")


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
