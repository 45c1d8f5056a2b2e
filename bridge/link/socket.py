"""One WebSocket connection: handshake, replies, keepalive, close.

Theory of operation. `dial` opens a socket: each answer to the handshake has its meaning (protocol
reference 3.3). `Wire.serve` runs it until it ends and says how. Two tasks share the work. The
*reader* takes frames in their order: a reply goes straight to the call that waits for it
(`Replies`), a push is handed on to a bounded queue of the caller's, so that a slow store holds up
pushes (and, once the queue is full, reading), but never a reply that was read before. The *watch*
first proves the link by a ping: a server that accepts a socket only to close it over a bad token
has done so before its pong could arrive, so no command is ever written to such a socket. Then a
`Pulse` guards it against silence (row 36), and the watch ends it once the token is refused.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.protocol import State

from bridge.conversation.model import FailureReason
from bridge.ids import CallId
from bridge.link.http_client import OpenFailure, TokenRefused, describe
from bridge.link.learnt import Feature, Learnt
from bridge.link.settings import LinkSettings, Token
from bridge.rooms.ports import CallFailure, Clock
from bridge.webchat.codes import Dialect, ResultCode, Verdict, meaning
from bridge.webchat.frames import Command, Heartbeat, Ignored, Receipt, Received, Reply
from bridge.webchat.protocol import Answered, Protocol
from bridge.webchat.write import LocalProtocolError

GOING_AWAY = frozenset({1001, 1012, 1013})
"""Close codes of a server that stops or restarts: they say nothing about a token."""
UNREADABLE = frozenset({1007, 1009})
"""Close codes of ours for a frame that is no UTF-8, or longer than we read."""
NOT_THERE = frozenset({404, 408, 429})
"""Handshake statuses of a server (or proxy) that is not ready, although they are 4xx (row 38)."""
TOO_BIG = 1009
"""Close code for a frame beyond the receiver's buffer (RFC 6455 7.4.1, trap T23)."""
FIRST_OWN = 2**30
"""Call ids of the link's own frames: far above those that conversations count up from 1."""
_STRAY_REFUSAL = Reply(type=0, result=ResultCode.INVALID_TOKEN)


Settle = Callable[[Reply | CallFailure], None]
"""Is told once what came of a command, where the socket is read: it must neither wait nor raise."""


@dataclass(frozen=True, slots=True)
class _Waiter:
    settle: Settle
    size: int
    """Bytes of the frame that was written."""
    deadline: float
    """When the reply is late, in loop time."""
    patient: bool
    """The deadline is so late that the server must be taken for mute."""


class Replies:
    """Pending calls of one socket, and the outcome that each is told.

    `Protocol` pairs replies with call ids; here each call id is a caller that waits. What a loss
    means for a command that was written and not answered: it may have arrived. Only the longest of
    them, if the server closed with 1009, surely did not: it was too big, and `Learnt` remembers its
    length.
    """

    def __init__(self, protocol: Protocol, learnt: Learnt, unheard: Callable[[str], None]) -> None:
        """Take what is known of the server; `unheard` is told the kind of frames without sense."""
        self.proven = False
        """The server took at least one command with this token."""
        self._protocol = protocol
        self._learnt = learnt
        self._unheard = unheard
        self._waiters: dict[CallId, _Waiter] = {}
        self._drained = asyncio.Event()
        self._own = FIRST_OWN

    @property
    def token_refused(self) -> bool:
        """The server said -15 without answering anything in particular."""
        return self._protocol.token_refused

    def own_id(self) -> CallId:
        """Return a call id for a command of the link's own."""
        self._own += 1
        return CallId(self._own)

    def expect(
        self,
        call_id: CallId,
        command: Command,
        now: int,
        keys: Dialect,
        settle: Settle,
        *,
        deadline: float = math.inf,
        patient: bool = False,
    ) -> bytes:
        """Return the frame to write at once; `settle` is told of its reply.

        Args:
            call_id: what the reply will name.
            command: what to write.
            now: ms since the epoch.
            keys: how to write it.
            settle: see `Settle`.
            deadline: when `overdue` names it, in loop time.
            patient: what `overdue` says of it then.

        Raises:
            CallFailure: certain: TOO_BIG, or REFUSED for what must never be sent.
        """
        try:
            frame = self._protocol.send(command, call_id, now, keys).encode()
        except LocalProtocolError as error:
            raise CallFailure(FailureReason.REFUSED, certain=True, message=str(error)) from error
        size, longest = len(frame), self._learnt.longest_frame
        if size > longest:
            self._protocol.forget(call_id)
            message = f"the frame exceeds {longest} bytes"
            raise CallFailure(FailureReason.TOO_BIG, certain=True, message=message)
        self._waiters[call_id] = _Waiter(settle, size, deadline, patient)
        self._drained.clear()
        return frame

    def receipt(self, rs_id: str, now: int) -> bytes:
        """Return the frame that acknowledges a push; nothing comes back.

        Raises:
            CallFailure: TOO_BIG: the server named its push by something that no frame can hold.
        """
        frame = self._protocol.send(Receipt(rs_id), self.own_id(), now).encode()
        if len(frame) > self._learnt.longest_frame:
            raise CallFailure(FailureReason.TOO_BIG, certain=True, message="a receipt is too long")
        return frame

    def forget(self, call_id: CallId, settle: Settle) -> None:
        """Cancel a pending call; a late reply must not be taken for another's."""
        waiter = self._waiters.get(call_id)
        if waiter is not None and waiter.settle == settle:
            self._remove(call_id)
            self._protocol.forget(call_id)

    def overdue(self, now: float) -> list[_Waiter]:
        """Forget those whose deadline has come, in loop time, and return them."""
        late = [call_id for call_id, one in self._waiters.items() if one.deadline <= now]
        for call_id in late:
            self._protocol.forget(call_id)
        return [self._remove(call_id) for call_id in late]

    def next_deadline(self) -> float | None:
        """When the first of those who wait is overdue, in loop time; None if nobody waits."""
        return min((waiter.deadline for waiter in self._waiters.values()), default=None)

    def take(self, frame: str | bytes) -> Received | Ignored | None:
        """Read one frame: a reply goes to its caller, a push is returned.

        Also one that says nothing to us, if it wants a receipt.
        """
        match self._protocol.receive(frame):
            case Answered(call_id=call_id, reply=reply):
                if (
                    reply.result == ResultCode.SUCCESS
                    or meaning(reply.result).verdict is not Verdict.RELOGIN
                ):
                    self.proven = True
                self._resolve(call_id, reply)
            case Received() as received:
                return received
            case Ignored() as ignored:
                self._unheard(ignored.kind)
                if ignored.rs_id:
                    return ignored
        if self.token_refused:
            # A -15 that answers nothing in particular refuses all that is under way.
            for call_id in tuple(self._waiters):
                self._resolve(call_id, _STRAY_REFUSAL)
        return None

    async def drained(self, seconds: float) -> None:
        """Return once nobody waits any more, or after so many seconds."""
        if self._waiters:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._drained.wait()

    def lost(self, close_code: int | None) -> None:
        """The socket is gone: tell everybody. `close_code` is the server's own, if it sent one."""
        self._protocol.abandon()
        waiting = list(self._waiters.values())
        self._waiters.clear()
        self._drained.set()
        if close_code == TOO_BIG and waiting:
            # Shorter ones cannot be to blame; of equals the server stumbled over the last.
            longest = max(reversed(waiting), key=lambda waiter: waiter.size)
            self._learnt.too_long(longest.size)
            waiting.remove(longest)
            longest.settle(CallFailure(FailureReason.TOO_BIG, certain=True, code=TOO_BIG))
        for waiter in waiting:
            waiter.settle(no_answer("the link was lost"))

    def _resolve(self, call_id: CallId, reply: Reply) -> None:
        if call_id in self._waiters:
            self._remove(call_id).settle(reply)

    def _remove(self, call_id: CallId) -> _Waiter:
        waiter = self._waiters.pop(call_id)
        if not self._waiters:
            self._drained.set()
        return waiter


class Pulse:
    """Keepalive: ping and heartbeat. All times are in seconds.

    Into a silence goes a WebSocket ping. A server that knows heartbeats (type 10) gets one beside
    it, every so often and however much is heard: it may count them. Whatever is heard after either
    proves life; nothing at all ends the socket.
    """

    def __init__(
        self,
        socket: ClientConnection,
        learnt: Learnt,
        *,
        every: float,
        wait: float,
        ask: Callable[[Command], Awaitable[Reply]],
        refuse: Callable[[], None],
    ) -> None:
        """Start to count.

        Args:
            socket: what to ping, and to end.
            learnt: whether the server knows heartbeats.
            every: silence after which to ping, and time between two heartbeats.
            wait: silence after a ping or a heartbeat that ends the socket; less than `ask` waits.
            ask: sends a command and returns its reply.
            refuse: called when the server refuses the token of a heartbeat.
        """
        self._socket = socket
        self._learnt = learnt
        self._every = every
        self._wait = wait
        self._ask = ask
        self._refuse = refuse
        self._heard = asyncio.get_running_loop().time()
        self._beat_due = self._heard + every

    def heard(self) -> None:
        """A frame has come."""
        self._heard = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Guard the socket; returns once it is silent, and cut."""
        while True:
            await asyncio.sleep(self._quiet_for())
            if not await self._lives():
                log: structlog.stdlib.BoundLogger = structlog.get_logger()
                log.info("webchat link is silent: closing it")
                # A peer that does not answer a ping would not answer a close either.
                self._socket.transport.abort()
                return

    async def answers_ping(self, seconds: float) -> bool:
        """Ping, and say whether anything at all was heard within `seconds`."""
        before = self._heard
        try:
            async with asyncio.timeout(seconds):
                await (await self._socket.ping())
        except TimeoutError:
            return self._heard > before
        except ConnectionClosed:
            return False
        self.heard()
        return True

    def _quiet_for(self) -> float:
        due = self._heard + self._every
        if self._learnt.has(Feature.HEARTBEAT):
            due = min(due, self._beat_due)
        return max(0.0, due - asyncio.get_running_loop().time())

    async def _lives(self) -> bool:
        """Send the ping or heartbeat that is due; False if nothing is heard then."""
        now = asyncio.get_running_loop().time()
        if now >= self._heard + self._every and not await self.answers_ping(self._wait):
            return False
        if now < self._beat_due or not self._learnt.has(Feature.HEARTBEAT):
            return True
        self._beat_due = now + self._every
        return await self._answers_heartbeat()

    async def _answers_heartbeat(self) -> bool:
        before = self._heard
        try:
            async with asyncio.timeout(self._wait):
                reply = await self._ask(Heartbeat())
        except TimeoutError:
            self._learnt.beat(answered=False)
            return self._heard > before
        except CallFailure:
            return False  # the socket is lost already
        self._learnt.beat(answered=True)
        if meaning(reply.result).no_command:  # an answer all the same (row 69)
            self._learnt.has_not(Feature.HEARTBEAT)
        elif reply.result == ResultCode.INVALID_TOKEN:
            self._refuse()
        return True


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


class Written:
    """A command that was written, for one task that waits for its reply."""

    def __init__(self, call_id: CallId, reply: asyncio.Future[Reply]) -> None:
        self.call_id = call_id
        self.reply = reply

    def settle(self, told: Reply | CallFailure) -> None:
        if self.reply.done():  # its task was cancelled in the same moment
            return
        if isinstance(told, CallFailure):
            self.reply.set_exception(told)
        else:
            self.reply.set_result(told)


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
        """Take an open socket; the rest as `dial`."""
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
        self._timer: asyncio.TimerHandle | None = None
        """Goes off no later than the first reply is overdue: one for all that wait."""
        self._low_water, self._high_water = socket.transport.get_write_buffer_limits()
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

    @property
    def dialect_wait(self) -> float:
        """Seconds for which it pays to wait for a word of the server's dialect (reference 5)."""
        if self._learnt.known or self._told.is_set():
            return 0.0
        return self._opened + self._timing.dialect_wait - asyncio.get_running_loop().time()

    async def told_dialect(self) -> None:
        """Wait for as long as it pays to know the server's dialect before writing (reference 5)."""
        left = self.dialect_wait
        if left <= 0:
            return
        try:
            async with asyncio.timeout(left):
                await self._told.wait()
        except TimeoutError:
            return

    def write_now(
        self,
        call_id: CallId,
        command: Command,
        keys: Dialect,
        settle: Settle,
        seconds: float | None = None,
    ) -> bool:
        """Write a command without a task switch, if the socket takes it. Call only while `usable`.

        Args:
            call_id: what the reply will name.
            command: what to write.
            keys: how to write it.
            settle: told of the reply, or as `answer` raises.
            seconds: as for `write`.

        Returns:
            False if nothing was written: the server does not read as fast as we write.

        Raises:
            CallFailure: nothing was written, see `Replies.expect`.
        """
        if not self._takes(self._learnt.longest_frame):  # how long this one is shows too late
            return False
        self._put(self._expect(call_id, command, keys, settle, seconds))
        return True

    async def write(
        self, call_id: CallId, command: Command, keys: Dialect, seconds: float | None = None
    ) -> Written:
        """Write a command and return the reply to come. Call only while `usable`.

        Where the socket takes it, no task is switched before it is written.

        Args:
            call_id: what the reply will name.
            command: what to write.
            keys: how to write it.
            seconds: how long a reply is awaited; a server that is mute for so long is left. None:
                as long as for any command, and the link goes on.

        Raises:
            CallFailure: nothing was written for certain (TOO_BIG, or REFUSED for what must never
                be sent), or the link broke in the midst of it (NO_ANSWER).
        """
        written = Written(call_id, asyncio.get_running_loop().create_future())
        frame = self._expect(call_id, command, keys, written.settle, seconds)
        try:
            await self._send(frame)
        except BaseException:
            self._replies.forget(call_id, written.settle)
            raise
        return written

    async def answer(self, written: Written) -> Reply:
        """Wait for a reply.

        Raises:
            CallFailure: NO_ANSWER in time, or the link was lost; SILENT, after the seconds that
                `write` was given; TOO_BIG.
        """
        try:
            return await written.reply
        finally:
            self._replies.forget(written.call_id, written.settle)

    def _expect(
        self,
        call_id: CallId,
        command: Command,
        keys: Dialect,
        settle: Settle,
        seconds: float | None,
    ) -> bytes:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self._timing.reply if seconds is None else seconds)
        frame = self._replies.expect(
            call_id,
            command,
            self._clock.now(),
            keys,
            settle,
            deadline=deadline,
            patient=seconds is not None,
        )
        if self._timer is None or deadline < self._timer.when():
            self._set_timer(deadline)
        return frame

    def _set_timer(self, when: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = None if when is None else loop.call_at(when, self._time_out)

    def _time_out(self) -> None:
        """Timer callback: fail the calls whose replies are overdue; most often there are none."""
        overdue = self._replies.overdue(asyncio.get_running_loop().time())
        if any(waiter.patient for waiter in overdue):
            # Nothing more can be had of this socket: it is ended, so that another is opened.
            self._given_up = True
            self._socket.transport.abort()
        self._timer = None
        self._set_timer(self._replies.next_deadline())
        for waiter in overdue:
            waiter.settle(_silent() if waiter.patient else no_answer("no reply in time"))

    async def ask(self, command: Command) -> Reply:
        """Send a command of the link's own and wait for its reply; raises as `write`, `answer`."""
        return await self.answer(
            await self.write(self._replies.own_id(), command, self._learnt.keys)
        )

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

    def _takes(self, size: int) -> bool:
        """True while the socket takes so many bytes at once.

        From the low-water mark down nobody waits for the peer to read; what goes beyond the high
        one has to.
        """
        transport = self._socket.transport
        buffered = transport.get_write_buffer_size()
        room = buffered <= self._low_water and buffered + size <= self._high_water
        return room and self._socket.state is State.OPEN and not transport.is_closing()

    def _put(self, frame: bytes) -> None:
        """Hand a frame to a transport that `_takes` it: as `ClientConnection.send`, but at once."""
        self._socket.protocol.send_text(frame)
        for data in self._socket.protocol.data_to_send():
            self._socket.transport.write(data)

    async def _send(self, frame: bytes) -> None:
        if self._takes(len(frame)):
            self._put(frame)
            return
        try:
            # A peer that does not read would hold us for ever once the buffers are full.
            async with asyncio.timeout(self._timing.reply):
                await self._socket.send(frame, text=True)
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
            self._set_timer(None)
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
        # The replies to what was written before: each says for certain what became of it.
        await self._replies.drained(self._timing.settle)
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


class _Connect(connect):
    """A `connect` that follows no redirect: our token is for one server only."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def quiet_logger() -> logging.Logger:
    """Return the logger for the websockets library.

    Its debug lines hold URLs with tokens and whole frames, so they are never let through, whatever
    level the operator sets (row 86).
    """
    logger = logging.getLogger("bridge.link.websockets")
    if logger.level != logging.INFO:  # setting it makes every logger forget what it lets through
        logger.setLevel(logging.INFO)
    return logger


async def dial(
    url: str,
    token: Token,
    *,
    settings: LinkSettings,
    learnt: Learnt,
    clock: Clock,
    tls: ssl.SSLContext | None,
    ping_after: float,
    unheard: Callable[[str], None],
) -> Wire:
    """Open a socket.

    Args:
        url: the `cws` address, with its token.
        token: the same token, for the frames.
        settings: limits and times.
        learnt: what is known of the server.
        clock: for the frames' `time`.
        tls: one context for all links, None for a plain `ws` address.
        ping_after: seconds of silence before this socket is pinged.
        unheard: told the kind of each frame that says nothing to us.

    Raises:
        TokenRefused: the handshake was answered by a 4xx (protocol reference 3.3).
        OpenFailure: UNREACHABLE; `code` is the HTTP status where there was one.
    """
    timing = settings.timing
    try:
        socket = await _Connect(
            url,
            compression=None,  # 16 instead of 56 KiB for each link
            max_size=settings.max_incoming_bytes,
            ping_interval=None,  # the watch pings only into silence
            open_timeout=timing.handshake,
            close_timeout=timing.close,
            logger=quiet_logger(),
            additional_headers={"Cookie": token.cookies} if token.cookies else None,
            proxy=None,
            ssl=tls,
        )
    except InvalidStatus as error:
        status = error.response.status_code
        if 400 <= status < 500 and status not in NOT_THERE:
            raise TokenRefused(f"handshake: HTTP {status}", status) from None
        raise OpenFailure(
            FailureReason.UNREACHABLE, f"handshake: HTTP {status}", code=status
        ) from None
    except (InvalidHandshake, OSError, TimeoutError, EOFError) as error:
        raise OpenFailure(FailureReason.UNREACHABLE, f"handshake: {describe(error)}") from None
    return Wire(
        socket,
        token,
        settings=settings,
        learnt=learnt,
        clock=clock,
        ping_after=ping_after,
        unheard=unheard,
    )


def no_answer(message: str) -> CallFailure:
    """Return the failure of a command that was written and whose fate is unknown."""
    return CallFailure(FailureReason.NO_ANSWER, certain=False, message=message)


def _silent() -> CallFailure:
    message = "no reply on a link that stood"
    return CallFailure(FailureReason.SILENT, certain=False, message=message)


def _close_code(socket: ClientConnection) -> int | None:
    """Return the code with which the server of its own accord closed the link."""
    protocol = socket.protocol
    if protocol.close_rcvd is None or protocol.close_rcvd_then_sent is False:
        return None
    return protocol.close_rcvd.code
