"""One open socket, from its opening to its end.

Theory of operation. `Wire.serve` runs a socket until it ends and says how. Two tasks share the
work. The *reader* takes frames in their order: a reply goes straight to the call that waits for it,
a push is handed on to a bounded queue of the caller's, so that a slow store holds up pushes (and,
once the queue is full, reading), but never a reply that was read before. The *watch* first proves
the link by a ping: a server that accepts a socket only to close it over a bad token has done so
before its pong could arrive, so no command is ever written to such a socket. Then it pings whenever
nothing has come for a while, sends heartbeats (type 10) to a server that knows them, and ends a
socket that stays silent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from bridge.ids import CallId
from bridge.link.learnt import Feature, Learnt
from bridge.link.ports import Token
from bridge.link.replies import Replies, no_answer
from bridge.link.settings import LinkSettings
from bridge.rooms.ports import CallFailure, Clock
from bridge.webchat.codes import Dialect, ResultCode
from bridge.webchat.frames import Command, Heartbeat, Ignored, Received, Reply
from bridge.webchat.protocol import Protocol

GOING_AWAY = frozenset({1001, 1012, 1013})
"""Close codes of a server that stops or restarts: they say nothing about a token."""
UNKNOWN_KIND = frozenset({ResultCode.INVALID_MESSAGE_TYPE, ResultCode.INVALID_REQUEST_TYPE})
"""What a server answers to a command that its revision does not have."""


@dataclass(frozen=True)
class Loss:
    """How a socket ended."""

    code: int | None
    """The close code that the server sent; None when the connection just broke or we closed it."""
    token_refused: bool
    stood: float
    """Seconds that it was up; 0.0 if it never was."""
    proven: bool
    """The server took at least one command with this token."""


class Wire:
    """One open socket and those who wait for its replies."""

    def __init__(
        self,
        socket: ClientConnection,
        token: Token,
        *,
        settings: LinkSettings,
        learnt: Learnt,
        clock: Clock,
        ping_after: float,
        unheard: Callable[[str], None],
    ) -> None:
        """Take an open socket; the rest as `dialling.dial`."""
        self.token = token.value
        self._socket = socket
        self._timing = settings.timing
        self._learnt = learnt
        self._clock = clock
        self._ping_after = ping_after
        protocol = Protocol(token.value, client_id=token.client_id)
        self._replies = Replies(protocol, learnt, unheard)
        loop = asyncio.get_running_loop()
        self._refused: asyncio.Future[None] = loop.create_future()
        self._told = asyncio.Event()
        """The server has pushed something, or never will."""
        self._opened = self._heard = loop.time()
        self._beat_due = self._opened + ping_after
        self._up_since: float | None = None

    @property
    def usable(self) -> bool:
        """True while a command may be written."""
        return self._socket.state is State.OPEN and not self._refused.done()

    async def told_dialect(self) -> None:
        """Wait for as long as it pays to know the server's dialect before writing (reference 5)."""
        left = self._opened + self._timing.dialect_wait - asyncio.get_running_loop().time()
        if self._learnt.known or left <= 0:
            return
        try:
            async with asyncio.timeout(left):
                await self._told.wait()
        except TimeoutError:
            return

    async def write(
        self, call_id: CallId, command: Command, keys: Dialect
    ) -> asyncio.Future[Reply]:
        """Write a command and return the reply to come. Call only while `usable`.

        Raises:
            CallFailure: nothing was written for certain (TOO_BIG, or REFUSED for what must never
                be sent), or the link broke in the midst of it (NO_ANSWER).
        """
        frame, reply = self._replies.expect(call_id, command, self._clock.now(), keys)
        try:
            await self._send(frame)
        except BaseException:
            self._replies.forget(call_id, reply)
            raise
        return reply

    async def answer(self, call_id: CallId, reply: asyncio.Future[Reply]) -> Reply:
        """Wait for a reply.

        Raises:
            CallFailure: NO_ANSWER in time, or the link was lost; TOO_BIG.
        """
        try:
            async with asyncio.timeout(self._timing.reply):
                return await reply
        except TimeoutError:
            raise no_answer("no reply in time") from None
        finally:
            self._replies.forget(call_id, reply)

    async def ask(self, command: Command) -> Reply:
        """Send a command of the link's own and wait for its reply; raises as `write`, `answer`."""
        call_id = self._replies.own_id()
        reply = await self.write(call_id, command, self._learnt.keys)
        return await self.answer(call_id, reply)

    async def receipt(self, rs_id: str) -> None:
        """Acknowledge a push; where that fails, the server pushes it again."""
        try:
            await self._send(self._replies.receipt(rs_id, self._clock.now()))
        except CallFailure:
            return

    def refuse(self) -> None:
        """The server has refused the token: write no more, hear what is still due, and end."""
        if not self._refused.done():
            self._refused.set_result(None)
        self._told.set()

    async def close(self) -> None:
        """End the socket, without a logout (row 87)."""
        await self._socket.close()

    async def _send(self, frame: str) -> None:
        try:
            # A peer that does not read would hold us for ever once the buffers are full.
            async with asyncio.timeout(self._timing.reply):
                await self._socket.send(frame)
        except TimeoutError:  # before OSError, of which it is one
            self._socket.transport.abort()
            raise no_answer("the server does not read") from None
        except (ConnectionClosed, OSError):
            raise no_answer("the link broke while it was written to") from None

    async def serve(
        self, up: Callable[[Wire], None], push: Callable[[Received], Awaitable[None]]
    ) -> Loss:
        """Run the socket to its end.

        Args:
            up: called once, when commands may be written.
            push: awaited for each push, in order; nothing is read meanwhile.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(self._watch(up))
                await self._read(push)
                watch.cancel()
        finally:
            self._told.set()
            await self.close()
            self._replies.lost(_close_code(self._socket))
        return self._loss()

    async def _read(self, push: Callable[[Received], Awaitable[None]]) -> None:
        try:
            while True:
                frame = await self._socket.recv()
                self._heard = asyncio.get_running_loop().time()
                received = self._replies.take(frame)
                if self._replies.token_refused:
                    self.refuse()
                if received is not None:
                    await self._take_push(received, push)
        except ConnectionClosed:
            return

    async def _take_push(
        self, received: Received | Ignored, push: Callable[[Received], Awaitable[None]]
    ) -> None:
        if isinstance(received, Ignored) or received.later:
            self._learnt.saw_later()
        self._told.set()
        if isinstance(received, Ignored):
            await self.receipt(received.rs_id)  # there is nothing that could be stored first
        else:
            await push(received)

    async def _watch(self, up: Callable[[Wire], None]) -> None:
        """Prove the link, guard it against silence, and end it once its token is refused."""
        await self._answers_ping(self._timing.settle)
        if self.usable:
            self._up_since = asyncio.get_running_loop().time()
            up(self)
        while not await self._refused_within(self._quiet_for()):
            if not await self._lives():
                log: structlog.stdlib.BoundLogger = structlog.get_logger()
                log.info("webchat link is silent: closing it")
                # A peer that does not answer a ping would not answer a close either.
                self._socket.transport.abort()
                return
        if due := self._replies.due():
            # The replies to what was written before: each says for certain what became of it.
            await asyncio.wait(due, timeout=self._timing.settle)
        await self.close()

    def _quiet_for(self) -> float:
        """Seconds until the link must be looked after again."""
        due = self._heard + self._ping_after
        if self._learnt.has(Feature.HEARTBEAT):
            due = min(due, self._beat_due)
        return max(0.0, due - asyncio.get_running_loop().time())

    async def _refused_within(self, seconds: float) -> bool:
        done, _ = await asyncio.wait({self._refused}, timeout=seconds)
        return bool(done)

    async def _lives(self) -> bool:
        """Do what is due, a ping into silence or a heartbeat; False if nothing is heard then."""
        now = asyncio.get_running_loop().time()
        if now >= self._heard + self._ping_after and not await self._answers_ping(
            self._timing.ping_wait
        ):
            return False
        if now < self._beat_due or not self._learnt.has(Feature.HEARTBEAT) or not self.usable:
            return True
        self._beat_due = now + self._ping_after
        return await self._answers_heartbeat(self._timing.ping_wait)

    async def _answers_heartbeat(self, seconds: float) -> bool:
        """Send type 10, and say whether anything at all was heard within `seconds` (row 68)."""
        before, call_id = self._heard, self._replies.own_id()
        try:
            reply = await self.write(call_id, Heartbeat(), self._learnt.keys)
        except CallFailure:
            return False
        ends: set[asyncio.Future[Any]] = {reply, self._refused}
        done, _ = await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        self._replies.forget(call_id, reply)
        if not done:
            self._learnt.beat(answered=False)
            return self._heard > before
        if reply in done and reply.exception() is None:
            self._learnt.beat(answered=True)
            result = reply.result().result
            if result in UNKNOWN_KIND:  # an answer all the same (row 69)
                self._learnt.has_not(Feature.HEARTBEAT)
            elif result == ResultCode.INVALID_TOKEN:
                self.refuse()
        return True

    async def _answers_ping(self, seconds: float) -> bool:
        """Ping, and say whether anything at all was heard within `seconds`."""
        before = self._heard
        try:
            async with asyncio.timeout(seconds):
                await (await self._socket.ping())
        except TimeoutError:
            return self._heard > before
        except ConnectionClosed:
            return False
        self._heard = asyncio.get_running_loop().time()
        return True

    def _loss(self) -> Loss:
        code = _close_code(self._socket)
        now = asyncio.get_running_loop().time()
        stood = 0.0 if self._up_since is None else now - self._up_since
        # Accepted and then closed at once, before a pong: a bad token (protocol reference 3.3).
        thrown_out = self._up_since is None and code is not None and code not in GOING_AWAY
        return Loss(code, self._refused.done() or thrown_out, stood, self._replies.proven)


def _close_code(socket: ClientConnection) -> int | None:
    """Return the code with which the server of its own accord closed the link."""
    protocol = socket.protocol
    if protocol.close_rcvd is None or protocol.close_rcvd_then_sent is False:
        return None
    return protocol.close_rcvd.code
