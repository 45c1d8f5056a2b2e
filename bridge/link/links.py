"""All links of a WebChat server, and its HTTP requests: implements the engine's `LinkPort`.

A room's link is made on first use and discarded once unused for a while. Commands wait at its
`Gate` until it is up, are written one after the other, and wait for their replies concurrently. A
command refused over its token is resent once on the next wire, with the same call id and place in
the order; one refused over its keys, once with each other set of keys (protocol reference 5).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from urllib.parse import urlencode

import msgspec
import structlog

from bridge.ids import CallId, RoomId, SessionId
from bridge.link.files import Fetcher, Uploads
from bridge.link.http_client import (
    STARTING,
    OpenFailure,
    Place,
    TokenRefused,
    Told,
    Visitor,
    refused_again,
)
from bridge.link.link import STORE_AWAY, Link, Shared
from bridge.link.settings import Feature, has_keys, other_keys, tells_keys_apart, trust
from bridge.link.socket import Settle, Wire
from bridge.rooms.ports import (
    Account,
    Blob,
    CallFailure,
    LinkEvents,
    LinkState,
    Unavailable,
    describe,
)
from bridge.rooms.store import Token
from bridge.webchat import http
from bridge.webchat.codes import Dialect, FailureReason, ResultCode, meaning
from bridge.webchat.frames import Command, Reply
from bridge.webchat.protocol import LocalProtocolError

MOST_ENTRIES = 100
"""Maximum messages of a history request."""
LONGEST_HISTORY = 8 * 1024 * 1024
"""Maximum bytes read of a history."""
LOOK_EVERY, LOOK_AGAIN = 60.0, 30.0
"""Seconds between two probes of an unused server: while it answers, and while it does not."""
_NO_HISTORY = STARTING | {200, 400, 405, 501}
"""HTTP statuses of servers without a history, whose answer need not be WebChat's JSON."""
AT_ONCE = 20
"""Maximum concurrent history requests, and robot questions; more of them wait."""
_LOG: structlog.stdlib.BoundLogger = structlog.get_logger()


class _Call(msgspec.Struct, eq=False):
    """A command in progress, with the server's refusals so far."""

    link: Link
    ticket: int
    call_id: CallId
    command: Command
    before_write: Callable[[], Awaitable[None]] | None = None
    """Awaited right before each writing; None if its attempt is stored already."""
    wire: Wire | None = None
    """Wire that it was last written to."""
    written: Dialect = Dialect.DUAL
    """Dialect in which it was last written."""
    left: tuple[Dialect, ...] | None = None
    """Dialects left to try, the next one first; None if its keys were not refused yet."""
    refused: tuple[Reply, ...] = ()
    """Replies that refused its keys."""
    relogged: bool = False
    """True if its token was refused once: a second refusal is final."""


class Links:
    """Implements `LinkPort`, inside `running`."""

    def __init__(self, shared: Shared) -> None:
        self._shared, settings = shared, shared.settings
        self.learnt, self.door, self.logins = shared.learnt, shared.door, shared.logins
        self._timing, self._http = settings.timing, shared.http
        self._fetcher = Fetcher(settings, shared.endpoints, shared.tls)
        self._uploads = Uploads(settings, shared.endpoints, shared.http, self.learnt)
        self._history_turn = asyncio.Lock()
        self._history_places = asyncio.Semaphore(AT_ONCE)
        self._robot_places = asyncio.Semaphore(AT_ONCE)
        # Methods of `LinkPort` that need no link.
        self.fetch = self._fetcher.fetch
        self.absolute = shared.endpoints.absolute
        self.icon_url = shared.endpoints.icon
        self._links: dict[RoomId, Link] = {}
        self._ending: dict[RoomId, asyncio.Task[None]] = {}
        """Tasks that end closed links; a room's next link starts after its task."""
        self._tasks: asyncio.TaskGroup
        self._runs = False
        self._closed = False
        """True once it has stopped for good."""
        self._look_due = 0.0
        """When to probe the server again, in loop time."""

    @asynccontextmanager
    async def running(self, events: LinkEvents) -> AsyncIterator[None]:
        """Run links inside the block; its exceptions are not wrapped in a group."""
        failure: BaseException | None = None
        await self.learnt.load()
        await self.door.load()
        async with self._http.running(), self._fetcher.running(), asyncio.TaskGroup() as tasks:
            learning = tasks.create_task(self.learnt.run())
            watching = tasks.create_task(self._shared.watch())
            self._tasks, self._shared.events, self._runs = tasks, events, True
            try:
                yield
            except BaseException as error:  # noqa: BLE001 - raised again below
                failure = error
            finally:
                await self.aclose()
                learning.cancel()
                watching.cancel()
                await self.learnt.save()
        if failure is not None:
            raise failure

    def trust(self) -> None:
        """Read `ca_file` again: what was renewed in it is trusted from now on, too."""
        if self._shared.tls is not None:
            try:
                trust(self._shared.tls, self._shared.settings.server.ca_file)
            except ValueError as error:
                _LOG.warning(
                    "ca_file was not read again: its former content stays trusted", why=str(error)
                )

    async def aclose(self) -> None:
        """Close all sockets without a logout (row 87): the chats go on and are resumed later."""
        self._runs, self._closed = False, True
        await self.leave(list(self._links))
        for ending in self._ending.values():
            ending.cancel()

    async def leave(self, rooms: Collection[RoomId]) -> None:
        """See `LinkPort.leave`; pushes that cannot be stored at once are stored later."""
        links = [self._links.pop(room_id) for room_id in rooms if room_id in self._links]
        for link in links:
            # Fails waiting and later callers: the link will not open again.
            link.gate.hold(OpenFailure(FailureReason.UNREACHABLE, "the link is closing"), math.inf)
            link.task.cancel()
            # A link that still waits for the end of its predecessor has read nothing.
            if self._runs and link.account.room_id not in self._ending:
                ending = self._tasks.create_task(self._end(link))
                self._ending[link.account.room_id] = ending
        if links:
            await asyncio.wait([link.task for link in links])

    async def _end(self, link: Link) -> None:
        """Wait for a link to close, and store its pushes, for up to `STORE_AWAY` seconds."""
        await asyncio.wait([link.task])
        await link.deliveries.last_words(STORE_AWAY)
        del self._ending[link.account.room_id]

    async def call(
        self,
        account: Account,
        call_id: CallId,
        command: Command,
        before_write: Callable[[], Awaitable[None]],
    ) -> Reply:
        """See `LinkPort.call`; if the gate is free, no task switch precedes the write."""
        link = self._link(account)
        call = _Call(link, next(link.gate.tickets), call_id, command, before_write)
        link.demand.begin()
        try:
            return await self._until_answered(call)
        finally:
            link.demand.end()

    def call_now(self, account: Account, call_id: CallId, command: Command, done: Settle) -> bool:
        """See `LinkPort.call_now`; needs no task, future or timer. False: the link is down or busy,
        its dialect is awaited, the server does not read, or `call` would fail for certain.
        """
        link = self._links.get(account.room_id)
        if link is None or link.account.login != account.login:
            return False
        link.account = account
        wire = link.gate.free
        if wire is None or (wire.dialect_wait > 0 and has_keys(command)):
            return False
        keys = self.learnt.keys
        call = _Call(link, next(link.gate.tickets), call_id, command, None, wire, keys)
        try:
            if not wire.write_now(call_id, command, keys, partial(self._settle, call, done)):
                return False
        except CallFailure:  # too long or invalid: `call` raises the error
            return False
        link.demand.begin()
        return True

    async def probe(self) -> None:
        """Check that the server is reachable; raises Unavailable with the reason.

        Links being opened set `Door.trouble`. While there are none, and unless a link is up without
        trouble, probe from time to time. A link that rests after a refused login does not count.
        """
        now, door, links = asyncio.get_running_loop().time(), self.door, self._links.values()
        soon = self._timing.backoff_last
        opening = any(not link.up and link.gate.pause_left() <= soon for link in links)
        doubt = door.trouble or not any(link.up for link in links)
        if doubt and not opening and not door.closed_for() and now >= self._look_due:
            await door.look()
            self._look_due = now + (LOOK_AGAIN if door.trouble else LOOK_EVERY)
        if door.trouble:
            raise Unavailable(door.trouble)

    async def upload(self, account: Account, blob: Blob) -> str:
        """See `LinkPort.upload`; exceptions of the blob's source are passed on."""
        return await self._with_token(account, partial(self._uploads.upload, blob=blob), tries=1)

    def keep(self, account: Account) -> None:
        """See `LinkPort.keep`; has no effect after `aclose`."""
        if not self._closed:
            self._link(account).demand.keep()

    def release(self, room_id: RoomId) -> None:
        if (link := self._links.get(room_id)) is not None:
            link.demand.release()
            link.gate.dismiss(OpenFailure(FailureReason.NO_TURN, "the link is no longer needed"))

    def states(self) -> list[LinkState]:
        return [link.state() for link in self._links.values()]

    def typing(self, room_id: RoomId, session_id: SessionId) -> None:
        link = self._links.get(room_id)
        wire = None if link is None else link.gate.wire
        if wire is not None and self.learnt.has(Feature.TYPING):
            wire.typing(session_id)

    async def log_in(self, account: Account) -> None:
        """See `LinkPort.log_in`; the room's link stays until a call has another account."""
        try:
            async with asyncio.timeout(self._timing.connect) as patience:

                async def in_line(turn: asyncio.Future[Place], _expected: object) -> None:
                    await asyncio.wait([turn])
                    patience.reschedule(None)  # the request has its own timeout

                await self.logins.login(account, in_line)
        except TimeoutError:
            raise OpenFailure(FailureReason.NO_TURN, "login: timed out in the queue") from None

    async def history(self, account: Account, count: int) -> tuple[http.HistoryEntry, ...] | None:
        """See `LinkPort.history`. It uses the login URL, so it passes the `Door`, one room at a
        time: after an outage thousands of rooms want theirs while others must log in. A room that
        gets no turn in time (NO_TURN) asks again later.
        """
        if not self.learnt.has(Feature.HISTORY):
            return None
        # Without the priority of `running`, although there is a chat: a history can wait.
        request = partial(self._history, count=count, visitor=Visitor(account.customer))
        return await self._with_token(account, request, asks=False)

    async def _history(
        self, token: Token, count: int, visitor: Visitor
    ) -> tuple[http.HistoryEntry, ...] | None:
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._timing.connect):
                    await stack.enter_async_context(self._history_places)
                    async with self._history_turn:
                        await stack.enter_async_context(self.door.knock(visitor))
            except TimeoutError:
                raise OpenFailure(
                    FailureReason.NO_TURN, "history: timed out in the queue"
                ) from None
            asked = min(max(1, count), MOST_ENTRIES)
            (result, entries), _ = await self.door.post(
                "history",
                visitor.person,
                http.dump_history(token.value, asked),
                http.parse_history_reply,
                longest=LONGEST_HISTORY,
                cookies=token.cookies,
                innocent=_NO_HISTORY,
            )
        if result == ResultCode.SUCCESS:
            return entries[-asked:]  # the newest, whatever the server sends
        if result == ResultCode.INVALID_TOKEN:
            raise TokenRefused("history: -15")
        if meaning(result).lacking:
            self.learnt.has_not(Feature.HISTORY)
            return None
        raise CallFailure(FailureReason.REFUSED, "history refused", result)

    async def ask_robot(self, question: str) -> tuple[http.RobotAnswer, ...]:
        """See `LinkPort.ask_robot` (guide 4)."""
        if len(question) > http.LONGEST_QUESTION:
            message = f"the question exceeds {http.LONGEST_QUESTION} characters"
            raise CallFailure(FailureReason.TOO_BIG, message)
        server, total = self._shared.settings.server, self._timing.reply
        key = server.robot.public_key.get_secret_value()
        address = self._shared.endpoints.robot
        try:
            form = http.robot_form(server.enterprise_id, question, key)
        except LocalProtocolError as error:
            raise CallFailure(FailureReason.REFUSED, str(error)) from error
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
        try:
            async with asyncio.timeout(total), self._robot_places:
                self.door.check()
                body = urlencode(form).encode()
                answer = await self._http.post(address, body, headers, total=total)
        except (TimeoutError, Unavailable) as error:
            why = f"robot: {describe(error)}"
            raise CallFailure(FailureReason.UNREACHABLE, why) from error
        reply = http.parse_robot_reply(answer.body)
        if reply is None:  # many servers have no robot, so this is no `Door.trouble`
            raise CallFailure(FailureReason.UNREACHABLE, answer.foreign("robot"))
        result, answers = reply
        if result == ResultCode.SUCCESS:
            return answers
        sign = result == ResultCode.INVALID_SIGN
        reason = FailureReason.SIGN_REFUSED if sign else FailureReason.REFUSED
        raise CallFailure(reason, "the robot refused the question", result)

    def _link(self, account: Account) -> Link:
        """Return the room's link, made if needed; CallFailure if the links do not run."""
        if not self._runs:
            raise CallFailure(FailureReason.UNREACHABLE, "the links are not running")
        link = self._links.get(account.room_id)
        if link is not None:
            link.speak_for(account)
            return link
        link = self._links[account.room_id] = Link(account, self._shared)
        link.task = self._tasks.create_task(self._run(link))
        return link

    async def _run(self, link: Link) -> None:
        """Run a link until it is unused, isolating the other links from its errors."""
        room_id = link.account.room_id
        if (ending := self._ending.get(room_id)) is not None:
            await asyncio.wait([ending])
        while True:
            try:
                await link.run()
                if not await link.demand.becomes(link.gate.pause_left(), present=True):
                    break
            except Exception as error:  # noqa: BLE001 - a bug in one link must not end them all
                whys = [describe(each) for each in getattr(error, "exceptions", [error])]
                _LOG.error("webchat link crashed", room=room_id, errors=whys)
                await self._shared.clock.sleep(self._timing.backoff_last)
        # No await since the last check of the demand, so no new call can be lost.
        self._links.pop(room_id, None)

    def _settle(self, call: _Call, done: Settle, outcome: Reply | CallFailure) -> None:
        """Callback of `call_now`'s reply; a command that is resent gets a task."""
        judged = self._judge(call, outcome) if isinstance(outcome, Reply) else outcome
        if judged is None:
            self._tasks.create_task(self._once_more(call, done))
            return
        call.link.demand.end()
        done(judged)

    async def _once_more(self, call: _Call, done: Settle) -> None:
        outcome: Reply | CallFailure
        try:
            outcome = await self._until_answered(call)
        except CallFailure as failure:
            outcome = failure
        finally:
            call.link.demand.end()
        done(outcome)

    async def _until_answered(self, call: _Call) -> Reply:
        while True:
            reply = await self._write(call)
            judged = self._judge(call, await reply)
            if isinstance(judged, Reply):
                return judged
            if judged is not None:
                raise judged

    def _judge(self, call: _Call, reply: Reply) -> Reply | OpenFailure | None:
        """Return the reply, None to resend the command, or the failure of a refused fresh token."""
        link, wire, command = call.link, call.wire, call.command
        assert wire is not None  # noqa: S101 - only a written command gets a reply
        if reply.ok:
            link.stranger = None
            if (call.refused or call.written not in self.learnt.read) and tells_keys_apart(command):
                self.learnt.took(call.written, after_refusal=bool(call.refused))
            return reply
        if reply.result == ResultCode.INVALID_TOKEN:
            wire.refuse()
            failure = refused_again() if call.relogged else None
            call.relogged = True
            return failure
        if reply.result == ResultCode.INVALID_CLIENT_ID and self._disowned(link, wire):
            wire.refuse()
            return None
        if self.learnt.refuses_voice(command, reply):
            return reply
        if self.learnt.refuses(call.written, command, reply):
            call.refused += (reply,)
            others = other_keys(command, call.written)
            call.left = others if call.left is None else call.left[1:]
            if call.left:
                return None
            # Prefer a transient refusal (-100) to the first one.
            passing = (reply for reply in call.refused if reply.result == ResultCode.INTERNAL_ERROR)
            return next(passing, call.refused[0])
        return reply

    def _disowned(self, link: Link, wire: Wire) -> bool:
        """Return whether to log in again because the server does not know the token's account (-6).
        If that does not help, an operator must act; the next attempt is `Timing.disowned` later.
        """
        now = asyncio.get_running_loop().time()
        if link.stranger is None or now >= link.stranger[1]:
            link.stranger = wire, now + self._timing.disowned
        return link.stranger[0] is wire

    async def _write(self, call: _Call) -> asyncio.Future[Reply]:
        gate, loop = call.link.gate, asyncio.get_running_loop()
        deadline = loop.time() + self._timing.connect
        while True:
            wire = await gate.enter(call.ticket, deadline - loop.time())
            try:
                if has_keys(call.command):
                    await wire.told_dialect()
                if wire.usable and call.before_write is not None:
                    await call.before_write()
                # If the wire ended during `before_write`, the command was certainly not written.
                if wire.usable:
                    call.wire = wire
                    call.written = call.left[0] if call.left else self.learnt.keys
                    return await self._spell(wire, call)
            finally:
                gate.leave()

    async def _spell(self, wire: Wire, call: _Call) -> asyncio.Future[Reply]:
        """Write a command; with one set of keys if a frame with both is too long, as the text may
        have been split when the dialect was known.
        """
        try:
            return await wire.write(call.call_id, call.command, call.written)
        except CallFailure as failure:
            if failure.reason is not FailureReason.TOO_BIG or call.written is not Dialect.DUAL:
                raise
        call.written = call.written.others[0]
        return await wire.write(call.call_id, call.command, call.written)

    async def _with_token(
        self,
        account: Account,
        request: Callable[[Token], Awaitable[Told]],
        *,
        tries: int = 2,
        asks: bool = True,
    ) -> Told:
        """Make an HTTP request with the link's token, up to `tries` times if the token is refused.

        `asks` is False for a request of the bridge's own, which ends no rest. Raises as `request`,
        or OpenFailure if the link is down or the token was refused each time.
        """
        link = self._link(account)
        gate = link.gate
        link.demand.begin()
        try:
            for _ in range(tries):
                wire = await gate.enter(next(gate.tickets), self._timing.connect, asks=asks)
                gate.leave()
                try:
                    return await request(wire.token)
                except TokenRefused:
                    wire.refuse()
        finally:
            link.demand.end()
        if tries > 1:
            raise refused_again()
        message = "the token was refused; a new login is under way"
        raise OpenFailure(FailureReason.UNREACHABLE, message, code=ResultCode.INVALID_TOKEN)
