"""One open socket, from its opening to its end.

Theory of operation. `Wire.serve` runs a socket until it ends and says how. Two tasks share the
work. The *reader* takes frames in their order: a reply goes straight to the call that waits for it,
a push is handed on to a bounded queue of the caller's, so that a slow store holds up pushes (and,
once the queue is full, reading), but never a reply that was read before. The *watch* first proves
the link by a ping: a server that accepts a socket only to close it over a bad token has done so
before its pong could arrive, so no command is ever written to such a socket. Then a `Pulse` guards
it against silence, and the watch ends it once the token is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from bridge.conversation.inputs import FailureReason
from bridge.ids import CallId
from bridge.link.learnt import Learnt
from bridge.link.ports import Token
from bridge.link.pulse import Pulse
from bridge.link.replies import Replies, no_answer
from bridge.link.settings import LinkSettings
from bridge.rooms.ports import CallFailure, Clock
from bridge.webchat.codes import Dialect
from bridge.webchat.frames import Command, Ignored, Received, Reply
from bridge.webchat.protocol import Protocol

GOING_AWAY = frozenset({1001, 1012, 1013})
"""Close codes of a server that stops or restarts: they say nothing about a token."""
UNREADABLE = frozenset({1007, 1009})
"""Close codes of ours for a frame that is no UTF-8, or longer than we read."""


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
    unread: bool
    """We ended it over a frame that cannot be read; what it said is lost."""


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
        self.token = token
        self._socket = socket
        self._timing = settings.timing
        self._learnt = learnt
        self._clock = clock
        protocol = Protocol(token.value, client_id=token.client_id)
        self._replies = Replies(protocol, learnt, unheard)
        self._refused = asyncio.Event()
        self._given_up = False
        self._told = asyncio.Event()
        """The server has pushed something, or never will."""
        self._opened = asyncio.get_running_loop().time()
        self._up_since: float | None = None
        self._pulse = Pulse(
            socket,
            learnt,
            every=ping_after,
            wait=min(self._timing.ping_wait, self._timing.reply),
            ask=self.ask,
            refuse=self.refuse,
        )

    @property
    def usable(self) -> bool:
        """True while a command may be written."""
        open_ = self._socket.state is State.OPEN and not self._given_up
        return open_ and not self._refused.is_set()

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

    async def answer(
        self, call_id: CallId, reply: asyncio.Future[Reply], seconds: float | None = None
    ) -> Reply:
        """Wait for a reply.

        Args:
            call_id: what it answers.
            reply: to come, as `write` returned it.
            seconds: how long; a server that is mute for so long is left. None: as long as for any
                command, and the link goes on.

        Raises:
            CallFailure: NO_ANSWER in time, or the link was lost; SILENT, after `seconds`; TOO_BIG.
        """
        try:
            async with asyncio.timeout(self._timing.reply if seconds is None else seconds):
                return await reply
        except TimeoutError:
            if seconds is None:
                raise no_answer("no reply in time") from None
            # Nothing more can be had of this socket: it is ended, so that another is opened.
            self._given_up = True
            self._socket.transport.abort()
            message = "no reply on a link that stood"
            raise CallFailure(FailureReason.SILENT, certain=False, message=message) from None
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
        self._refused.set()
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
                self._pulse.heard()
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
        await self._pulse.answers_ping(self._timing.settle)
        if self.usable:
            self._up_since = asyncio.get_running_loop().time()
            up(self)
        async with asyncio.TaskGroup() as tasks:
            guarding = tasks.create_task(self._pulse.run())
            await self._refused.wait()
            guarding.cancel()
        if due := self._replies.due():
            # The replies to what was written before: each says for certain what became of it.
            await asyncio.wait(due, timeout=self._timing.settle)
        await self.close()

    def _loss(self) -> Loss:
        code = _close_code(self._socket)
        now = asyncio.get_running_loop().time()
        stood = 0.0 if self._up_since is None else now - self._up_since
        # Accepted and then closed at once, before a pong: a bad token (protocol reference 3.3).
        thrown_out = self._up_since is None and code is not None and code not in GOING_AWAY
        token_refused = self._refused.is_set() or thrown_out
        sent = self._socket.protocol.close_sent
        unread = code is None and sent is not None and sent.code in UNREADABLE
        return Loss(code, token_refused, stood, self._replies.proven, unread)


def _close_code(socket: ClientConnection) -> int | None:
    """Return the code with which the server of its own accord closed the link."""
    protocol = socket.protocol
    if protocol.close_rcvd is None or protocol.close_rcvd_then_sent is False:
        return None
    return protocol.close_rcvd.code
