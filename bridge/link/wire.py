"""One open socket, from its opening to its end.

Theory of operation. `Wire.serve` runs a socket until it ends and says how. Two
tasks share the work. The *reader* takes frames in their order: a reply goes straight to the call
that waits for it, a push is handed on to a bounded queue of the caller's, so that a slow store
holds up pushes (and, once the queue is full, reading), but never a reply that was read before.
The *watch* first proves the link by a ping: a server that accepts a socket only to close it over a
bad token has done so before its pong could arrive, so no command is ever written to such a socket.
Then it pings whenever nothing has come for `ping_after`, and ends a socket that stays silent.

What a loss means for a command that was written and not answered: it may have arrived, unless the
server closed with 1009 and it was the newest command: then it was too big, and surely refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from bridge.conversation.inputs import FailureReason
from bridge.ids import CallId
from bridge.link.ports import Token
from bridge.link.settings import LinkSettings, Timing
from bridge.rooms.ports import CallFailure, Clock
from bridge.webchat.codes import ResultCode
from bridge.webchat.errors import LocalProtocolError
from bridge.webchat.frames import Command, Ignored, Receipt, Received, Reply
from bridge.webchat.protocol import Answered, Protocol

TOO_BIG = 1009
"""Close code for a frame beyond the receiver's buffer (RFC 6455 7.4.1, trap T23)."""
GOING_AWAY = frozenset({1001, 1012, 1013})
"""Close codes of a server that stops or restarts: they say nothing about a token."""
FIRST_RECEIPT = 2**30
"""Call ids of receipts: far above those that conversations count up from 1."""


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


_STRAY_REFUSAL = Reply(type=0, result=ResultCode.INVALID_TOKEN)


class Wire:
    """One open socket and those who wait for its replies."""

    def __init__(
        self,
        socket: ClientConnection,
        token: Token,
        *,
        settings: LinkSettings,
        clock: Clock,
        ping_after: float,
        unheard: Callable[[str], None],
    ) -> None:
        self.token = token.value
        self._socket = socket
        self._settings = settings
        self._clock = clock
        self._ping_after = ping_after
        self._unheard = unheard
        self._protocol = Protocol(token.value, client_id=token.client_id)
        self._waiters: dict[CallId, asyncio.Future[Reply]] = {}
        self._newest: CallId | None = None
        self._receipts = FIRST_RECEIPT
        self._refused = asyncio.Event()
        self._heard = asyncio.get_running_loop().time()
        self._up_since: float | None = None
        self._proven = False

    # --- writing ---------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """True while a command may be written."""
        return self._socket.state is State.OPEN and not self._refused.is_set()

    async def write(self, call_id: CallId, command: Command) -> asyncio.Future[Reply]:
        """Write a command and return the reply to come. Call only while `usable`.

        Raises:
            CallFailure: nothing was written for certain (TOO_BIG, or REFUSED for what must never
                be sent), or the link broke in the midst of it (NO_ANSWER).
        """
        frame = self._frame(call_id, command)
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiters[call_id] = reply
        self._newest = call_id
        try:
            await self._send(frame)
        except BaseException:
            self._forget(call_id)
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
            raise _no_answer("no reply in time") from None
        finally:
            # Still there: nobody answered it. A late reply must not be taken for another call's.
            if self._waiters.get(call_id) is reply:
                self._forget(call_id)

    async def receipt(self, rs_id: str) -> None:
        """Acknowledge a push; where that fails, the server pushes it again."""
        self._receipts += 1
        frame = self._protocol.send(Receipt(rs_id), CallId(self._receipts), self._clock.now())
        try:
            await self._send(frame)
        except CallFailure:
            return

    def refuse(self) -> None:
        """The server has refused the token: write no more, hear what is still due, and end."""
        self._refused.set()

    async def close(self) -> None:
        """End the socket, without a logout (row 87)."""
        await self._socket.close()

    def _forget(self, call_id: CallId) -> None:
        self._waiters.pop(call_id, None)
        self._protocol.forget(call_id)

    def _frame(self, call_id: CallId, command: Command) -> str:
        try:
            frame = self._protocol.send(command, call_id, self._clock.now())
        except LocalProtocolError as error:
            raise CallFailure(FailureReason.REFUSED, certain=True, message=str(error)) from error
        limit = self._settings.max_frame_bytes
        if len(frame.encode()) > limit:
            self._protocol.forget(call_id)
            raise CallFailure(
                FailureReason.TOO_BIG, certain=True, message=f"the frame exceeds {limit} bytes"
            )
        return frame

    async def _send(self, frame: str) -> None:
        try:
            # A peer that does not read would hold us for ever once the buffers are full.
            async with asyncio.timeout(self._timing.reply):
                await self._socket.send(frame)
        except (ConnectionClosed, OSError):
            raise _no_answer("the link broke while it was written to") from None
        except TimeoutError:
            self._socket.transport.abort()
            raise _no_answer("the server does not read") from None

    # --- running ---------------------------------------------------------------------------

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
            await self._end()
        return self._loss()

    async def _read(self, push: Callable[[Received], Awaitable[None]]) -> None:
        try:
            while True:
                frame = await self._socket.recv()
                self._heard = asyncio.get_running_loop().time()
                received = self._take(frame)
                if received is not None:
                    await push(received)
        except ConnectionClosed:
            return

    def _take(self, frame: str | bytes) -> Received | None:
        match self._protocol.receive(frame):
            case Answered(call_id=call_id, reply=reply):
                if reply.result != ResultCode.INVALID_TOKEN:
                    self._proven = True
                self._resolve(call_id, reply)
            case Received() as received:
                return received
            case Ignored(kind=kind):
                self._unheard(kind)
        if self._protocol.token_refused:
            # A -15 that answers nothing in particular refuses all that is under way.
            for call_id in tuple(self._waiters):
                self._resolve(call_id, _STRAY_REFUSAL)
            self.refuse()
        return None

    def _resolve(self, call_id: CallId, reply: Reply) -> None:
        waiter = self._waiters.pop(call_id, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(reply)

    async def _watch(self, up: Callable[[Wire], None]) -> None:
        """Prove the link, guard it against silence, and end it once its token is refused."""
        await self._answers_ping(self._timing.settle)
        if self.usable:
            self._up_since = asyncio.get_running_loop().time()
            up(self)
        while not await self._refused_within(self._silence_left()):
            if self._silence_left() > 0:
                continue
            if not await self._answers_ping(self._timing.ping_wait):
                _log().info("webchat link is silent: closing it")
                # A peer that does not answer a ping would not answer a close either.
                self._socket.transport.abort()
                return
        if self._waiters:
            # The replies to what was written before are due: each says for certain what became
            # of its command.
            await asyncio.wait(set(self._waiters.values()), timeout=self._timing.settle)
        await self.close()

    def _silence_left(self) -> float:
        return self._heard + self._ping_after - asyncio.get_running_loop().time()

    async def _refused_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._refused.wait()
        except TimeoutError:
            return False
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

    @property
    def _timing(self) -> Timing:
        return self._settings.timing

    # --- the end ---------------------------------------------------------------------------

    async def _end(self) -> None:
        await self.close()
        self._protocol.abandon()
        too_big = self._close_code() == TOO_BIG
        for call_id, waiter in self._waiters.items():
            if waiter.done():
                continue
            if too_big and call_id == self._newest:
                failure = CallFailure(FailureReason.TOO_BIG, certain=True, code=TOO_BIG)
            else:
                failure = _no_answer("the link was lost")
            waiter.set_exception(failure)
        self._waiters.clear()

    def _close_code(self) -> int | None:
        """Return the code with which the server of its own accord closed the link."""
        protocol = self._socket.protocol
        received = protocol.close_rcvd
        if received is None or protocol.close_rcvd_then_sent is False:
            return None
        return received.code

    def _loss(self) -> Loss:
        code = self._close_code()
        if self._up_since is None:
            stood = 0.0
        else:
            stood = asyncio.get_running_loop().time() - self._up_since
        # Accepted and then closed at once, before a pong: a bad token (protocol reference 3.3).
        thrown_out = self._up_since is None and code is not None and code not in GOING_AWAY
        return Loss(code, self._refused.is_set() or thrown_out, stood, self._proven)


def _no_answer(message: str) -> CallFailure:
    return CallFailure(FailureReason.NO_ANSWER, certain=False, message=message)


def _log() -> structlog.stdlib.BoundLogger:
    log: structlog.stdlib.BoundLogger = structlog.get_logger()
    return log
