"""All links of one WebChat server: the `LinkPort` that the engine is given.

`Links` builds what all links of a server share and owns the task group in which everything lives;
the links themselves are kept by its `Roster`: made for a room when it first needs one, forgotten
when it has rested. An idle room costs nothing here. Every link has a task of its own in the group,
so that one link's trouble never delays another's.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog

from bridge.conversation.model import FailureReason
from bridge.ids import CallId, RoomId, SessionId
from bridge.link.api import Histories, Robot
from bridge.link.files import Fetcher, Uploads
from bridge.link.http_client import Door, Health, Http, Visitor
from bridge.link.learnt import Feature, Learnt
from bridge.link.link import Link, LinkState, Shared
from bridge.link.login import Logins, Tokens
from bridge.link.settings import Facts, LinkMetrics, LinkSettings, TokenStore
from bridge.rooms.ports import Account, Blob, CallFailure, Clock, LinkEvents
from bridge.webchat.frames import Command, Preview, Reply, Typing
from bridge.webchat.http import Endpoints, HistoryEntry, RobotReply

MOST_KINDS = 200
"""Kinds of frames that were reported as ignored; beyond them the server is only making noise."""
MOST_NOTES = 20
"""Lines a second about single links."""


class Roster:
    """All links of one server. Holds none before `open` and after `close`."""

    def __init__(self) -> None:
        self.closed = False
        """It was open and will not be again."""
        self._links: dict[RoomId, tuple[Link, asyncio.Task[None]]] = {}
        self._running: tuple[asyncio.TaskGroup, Shared] | None = None

    @property
    def running(self) -> bool:
        """True between `open` and `close`."""
        return self._running is not None

    def open(self, group: asyncio.TaskGroup, around: Shared) -> None:
        """From now on make links, as tasks of this group."""
        self._running = (group, around)

    async def close(self) -> None:
        """End every link, without a logout (row 87). Those who still wait for one are told.

        What the links have read is stored meanwhile, as far as that goes in `LAST_WORDS` seconds
        (`Deliveries`).
        """
        self._running = None
        self.closed = True
        links = list(self._links.values())
        self._links.clear()
        for link, task in links:
            link.abandon()
            task.cancel()
        if links:
            await asyncio.wait([task for _, task in links])

    def get(self, account: Account) -> Link:
        """Return the room's link, made if there is none.

        Raises:
            CallFailure: the roster is not open.
        """
        if self._running is None:
            raise CallFailure(
                FailureReason.UNREACHABLE, certain=True, message="the links are not running"
            )
        known = self._links.get(account.room_id)
        if known is not None:
            known[0].speak_for(account)
            return known[0]
        group, around = self._running
        link = Link(account, around, group)
        self._links[account.room_id] = (link, group.create_task(self._run(link, around)))
        return link

    def known(self, room_id: RoomId) -> Link | None:
        """Return the room's link if there is one."""
        link, _ = self._links.get(room_id, (None, None))
        return link

    def hint(self, room_id: RoomId, feature: Feature, command: Command) -> None:
        """Send a hint over the room's link, if it has one, without waiting for it."""
        link = self.known(room_id)
        if link is not None and self._running is not None:
            group, _ = self._running
            group.create_task(link.hint(feature, command))

    def states(self) -> dict[RoomId, LinkState]:
        """Return where each link stands."""
        return {room_id: link.keeper.state for room_id, (link, _) in self._links.items()}

    async def _run(self, link: Link, around: Shared) -> None:
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
                await around.clock.sleep(around.settings.timing.backoff_last)
        # No await between the last look at the demand and this: nobody can have come in between.
        self._links.pop(account.room_id, None)


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
        self.learnt = Learnt(settings, facts, clock)
        self._settings = settings
        self._endpoints = Endpoints(settings.base_url)
        self._tls = ssl.create_default_context() if _secure(settings) else None
        self._http = Http(settings.timing, self._tls)
        self._fetcher = Fetcher(settings, self._endpoints)
        self._uploads = Uploads(settings, self._endpoints, self._http, facts)
        self._metrics = metrics
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._door = door = Door(settings, self.health, facts, clock)
        self._robot = Robot(settings, self._endpoints, self._http, door)
        self._histories = Histories(
            settings, self._endpoints, self._http, door=door, learnt=self.learnt
        )
        logins = Logins(
            settings,
            self._http,
            door=door,
            learnt=self.learnt,
            clock=clock,
            metrics=metrics,
        )
        self._tokens = Tokens(logins, tokens, clock, settings.timing.token_age)
        self._roster = Roster()
        self._unheard = _Unheard()

    @asynccontextmanager
    async def running(self, events: LinkEvents) -> AsyncIterator[None]:
        """Run all links that are asked for inside the block; close them at its end.

        What the block raises comes out as it is, not wrapped in a group.
        """
        around = self._shared(events)
        failure: BaseException | None = None
        await self.learnt.load()
        await self._door.load()
        async with self._http.running(), self._fetcher.running(), asyncio.TaskGroup() as group:
            learning = group.create_task(self.learnt.run())
            self._roster.open(group, around)
            try:
                yield
            except BaseException as error:  # noqa: BLE001 - raised again below
                failure = error
            finally:
                await self.aclose()
                learning.cancel()
                await self.learnt.save()
        if failure is not None:
            raise failure

    async def aclose(self) -> None:
        """Close every socket without a logout (row 87); the chats go on and are resumed later.

        Calls that still wait fail. Takes no longer than two closing handshakes.
        """
        await self._roster.close()

    # --- LinkPort ----------------------------------------------------------------------------

    async def call(
        self,
        account: Account,
        call_id: CallId,
        command: Command,
        before_write: Callable[[], Awaitable[None]],
    ) -> Reply:
        """Send a command and return its reply; see `LinkPort.call`."""
        return await self._roster.get(account).call(call_id, command, before_write)

    def call_now(
        self,
        account: Account,
        call_id: CallId,
        command: Command,
        done: Callable[[Reply | CallFailure], None],
    ) -> bool:
        """Write a command before this returns, if nothing is in the way; otherwise as `call`.

        No task, no future and no timer of its own: the cheap way for a busy room. Whoever uses it
        has already stored that the command is attempted.

        Args:
            account: whose link it is.
            call_id: as for `call`.
            command: what to send.
            done: told once, later and in the event loop, what `call` would return or raise. It must
                neither wait nor raise.

        Returns:
            False if nothing was written: the link does not stand, others are ahead, its server does
            not read, or it would have to say no for certain. Then `call` it.
        """
        if not self._roster.running:
            return False
        return self._roster.get(account).call_now(call_id, command, done)

    async def upload(self, account: Account, blob: Blob) -> str:
        """Upload a file and return its absolute address; see `LinkPort.upload`.

        A -15 starts a new login, but the blob cannot be read twice: the caller tries again with a
        fresh one. What the blob's own source raises (TooBig, Unavailable) comes out as it is.
        """
        return await self._roster.get(account).with_token(
            lambda token: self._uploads.upload(token, blob), tries=1
        )

    def fetch(self, url: str, limit: int) -> AbstractAsyncContextManager[Blob]:
        """Open a file that an agent sent; see `LinkPort.fetch`."""
        return self._fetcher.fetch(url, limit)

    def absolute(self, address: str) -> str:
        """Return what the server means by an address (reference 3.4)."""
        return self._endpoints.absolute(address)

    def icon_url(self, icon: str, queue_id: int | None) -> str:
        """Return the absolute address of an agent's picture, or ""."""
        return self._endpoints.icon(icon, queue_id)

    def keep(self, account: Account) -> None:
        """From now on keep this room's link up, through every loss.

        Raises:
            CallFailure: the links do not run yet; after `aclose` it only does nothing.
        """
        if not self._roster.closed:
            self._roster.get(account).demand.keep()

    def release(self, room_id: RoomId) -> None:
        """The link is no longer wanted; see `LinkPort.release`."""
        if (link := self._roster.known(room_id)) is not None:
            link.release()

    def typing(self, room_id: RoomId, session_id: SessionId) -> None:
        """Show the agent that the customer is typing; see `LinkPort.typing`."""
        self._roster.hint(room_id, Feature.TYPING, Typing(session_id))

    def preview(self, room_id: RoomId, session_id: SessionId, text: str) -> None:
        """Show the agent what the customer is typing (112); otherwise as `typing`.

        No port asks for it: Matrix clients tell that somebody types, and never what, for there are
        no drafts. So the bridge itself never sends it; it is here for other users of the links.
        """
        self._roster.hint(room_id, Feature.PREVIEW, Preview(session_id, text))

    async def log_in(self, account: Account) -> None:
        """Try an account; the token is kept, so that the room's next link costs no login.

        Whatever link the room has goes on until an account is named with a call (`Roster.get`).

        Raises:
            CallFailure: see `LinkPort.log_in`.
        """
        await self._tokens.renew(account)

    async def history(self, account: Account, count: int) -> tuple[HistoryEntry, ...] | None:
        """Return the customer's last messages, newest last; see `LinkPort.history`."""
        if not self.learnt.has(Feature.HISTORY):
            return None
        # Though the chat goes on: what was said before can wait for who has no chat yet.
        visitor = Visitor(account.customer)
        return await self._roster.get(account).with_token(
            lambda token: self._histories.fetch(token, count, visitor), asks=False
        )

    async def ask_robot(self, question: str) -> RobotReply:
        """Ask the knowledge base; see `LinkPort.ask_robot`."""
        return await self._robot.ask(question)

    # --- for operators -----------------------------------------------------------------------

    def states(self) -> dict[RoomId, LinkState]:
        """Return where each link stands."""
        return self._roster.states()

    # --- within ------------------------------------------------------------------------------

    def _shared(self, events: LinkEvents) -> Shared:
        return Shared(
            settings=self._settings,
            endpoints=self._endpoints,
            tokens=self._tokens,
            events=events,
            health=self.health,
            door=self._door,
            learnt=self.learnt,
            metrics=self._metrics,
            clock=self._clock,
            rng=self._rng,
            tls=self._tls,
            dialling=asyncio.Semaphore(self._settings.reconnect_limit),
            epoch=f"{self._clock.now():x}.{secrets.token_hex(4)}",
            ordinals=itertools.count(1),
            unheard=self._unheard,
            note=_Notes(),
        )


class _Unheard:
    """Logs each kind of frame that says nothing to us once (protocol reference 1.1)."""

    def __init__(self) -> None:
        self._kinds: set[str] = set()

    def __call__(self, kind: str) -> None:
        if kind not in self._kinds and len(self._kinds) < MOST_KINDS:
            self._kinds.add(kind)
            log: structlog.stdlib.BoundLogger = structlog.get_logger()
            log.warning("webchat frame ignored", kind=kind)


class _Notes:
    """Log lines about links, throttled: what is beyond `MOST_NOTES` a second is for debugging.

    When a server goes away or comes back, thousands of links say the same within seconds, and one
    line costs what opening a tenth of a link does.
    """

    def __init__(self) -> None:
        self._left = 0
        self._until = 0.0

    def __call__(self, room_id: RoomId, event: str, told: Mapping[str, object]) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._until:
            self._left, self._until = MOST_NOTES, now + 1.0
        self._left -= 1
        log: structlog.stdlib.BoundLogger = structlog.get_logger()
        (log.debug if self._left < 0 else log.info)(event, room_id=room_id, **told)


def _secure(settings: LinkSettings) -> bool:
    return settings.base_url.startswith("https:")


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
