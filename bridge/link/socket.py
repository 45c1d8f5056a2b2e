"""A WebSocket connection: replies, keepalive, close.

A `Wire` is an open socket. Frames are handled where they are read, without a task switch: a reply
goes to its waiting call, a push to the link's queue. So a slow store delays pushes, but no reply,
except one that ends a chat: its last words come before it. `Wire.serve` first tests the link with a
ping: a server that accepts a socket only to close it over a bad token does so before its pong, so
no command is written to it. Then a keepalive detects silence (protocol reference 4, row 36).
"""

from __future__ import annotations

import asyncio
import itertools
import math
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import DATA_OPCODES, CloseCode, Frame
from websockets.protocol import Event, State

from bridge.ids import CallId, SessionId
from bridge.link.settings import LEAST_FRAME, Feature, Learnt, LinkSettings, PushReader
from bridge.rooms.ports import CallFailure, Clock
from bridge.rooms.store import Token
from bridge.webchat import frames
from bridge.webchat.codes import Dialect, FailureReason, ResultCode, meaning
from bridge.webchat.protocol import Answered, LocalProtocolError, Protocol
from bridge.webchat.read import decoded, divided

if TYPE_CHECKING:
    from collections import deque

GOING_AWAY = frozenset({1001, 1012, 1013})
"""Close codes of a server that stops or restarts; they do not mean a refused token."""
TOO_BIG = 1009
"""Close code for a frame that exceeds the receiver's buffer (RFC 6455 7.4.1, trap T23)."""
FIRST_OWN = 2**30
"""First call id of the link's own frames, far above those of conversations, which start at 1."""
PULSE = 0.25
"""Seconds between common wake-ups of links: waking up for a ping costs several times the ping, and
a timer per link would be a fortieth of a link's memory."""
EARLY = 0.001
"""Maximum seconds by which a timer of uvloop fires too early."""
STOOD_STILL = 1.0
"""Delay of a timer, in seconds, from which the process counts as having been suspended."""
_OPEN = State.OPEN
"""Cached for use with each frame: looking up an enum member costs more than a function call."""
_CONTENT = (frames.SendMessage, frames.SendPreMessage, frames.RateSession)
"""Commands that a resend could deliver twice, so their replies are awaited longer."""
_NO_CHAT = int(ResultCode.INVALID_CHAT_SESSION_ID)
_STRAY_REFUSAL = frames.Reply(type=0, result=ResultCode.INVALID_TOKEN)
_LOG: structlog.stdlib.BoundLogger = structlog.get_logger()
_Told = TypeVar("_Told")

Settle = Callable[[frames.Reply | CallFailure], None]
"""Called once with a command's reply or failure, where it is read: must not block or raise."""


class _Waiter(msgspec.Struct, eq=False):
    settle: Settle
    size: int
    """Bytes of the frame written."""
    deadline: float
    """When the reply times out, in loop time."""
    patient: bool
    """Whether a timeout means that the server is mute: the link is dropped then."""


class Loss(msgspec.Struct, frozen=True):
    code: int | None
    """Close code from the server; None if the connection broke or the bridge closed it."""
    token_refused: bool
    thrown_out: bool
    """True if a socket closed at once is the only sign of that."""
    stood: float
    """Seconds that it was up; 0.0 if it never was."""
    proven: bool
    """True if the server answered a command without demanding a new login."""
    unheard: float = 0.0
    """Seconds without data when it was dropped as silent."""


MOST = 64 << 20
"""Memory limit in bytes of a server's unstored frames: four of the longest."""
USUAL = 64 << 10
"""Bytes up to which a half-read message never costs its link."""
SAID_EVERY = 10.0
"""Minimum seconds between log lines about the memory limit."""
SLICE = 2 << 10
"""Bytes of data that are read at once. At most 1,000 frames, which take some 20 ms if empty."""
TURN = 0.02
"""Seconds for which a server's links read in one turn of the event loop. One that sends millions of
tiny frames would stop all others for the better part of a minute: uvloop gives 8 MB at a time."""
LAST_TURN = 0.5
"""The same for the last data of connections. What remains is lost, as if it had come no more."""


class Budget:
    """Limits for data received from a server over all of its links: memory and time.

    Limits per frame and per queue do not bound the total of a thousand links. So the bytes of all
    half-read messages and of all pushes that wait for the store are counted (`taken`, which
    `Deliveries` changes too). If they exceed the limit, the link with the largest half-read message
    is closed, and a link with waiting pushes is not read until they are stored. Messages of usual
    size stay below these limits, so ordinary conversations are not affected.

    What the links cannot read within `TURN` waits in line, a slice of each link in turn.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self.taken = 0
        self._halves: dict[Connection, int] = {}
        """Bytes of each link's half-read message."""
        self._line: dict[Connection, None] = {}
        """Links with data to be read, the next one first."""
        self._began: float | None = None
        """When links began to read in this turn of the event loop."""
        self._quiet_until = 0.0

    @property
    def spent(self) -> bool:
        return self.taken > self._most

    def time_left(self, loop: asyncio.AbstractEventLoop, seconds: float) -> bool:
        """True if links may read on in this turn of the event loop."""
        if self._began is None:  # uvloop's own time tells no turns: each new timer sets it
            self._began = time.monotonic()
            loop.call_soon(self._begin_anew)
            return True
        return time.monotonic() - self._began <= seconds

    def _begin_anew(self) -> None:
        self._began = None

    def is_free(self, loop: asyncio.AbstractEventLoop) -> bool:
        """True if data may be read as soon as it comes."""
        return not self._line and self.time_left(loop, TURN)

    def read(self, link: Connection) -> None:
        """Have a link's data read when its turn has come."""
        if not self._line:
            link.loop.call_soon(self._read_on, link.loop)
        self._line.setdefault(link)

    def _read_on(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while self._line and self.time_left(loop, TURN):
                link = next(iter(self._line))
                del self._line[link]
                if link.read_slice():
                    self._line[link] = None
        finally:
            if self._line:
                loop.call_soon(self._read_on, loop)

    def half(self, link: Connection, size: int) -> None:
        """Set the bytes of a link's half-read message; 0 once it is complete or dropped."""
        before = self._halves.pop(link, 0)
        if size:
            self._halves[link] = size
        self.taken += size - before
        if size > before and self.spent:
            largest = max(self._halves, key=self._halves.__getitem__)
            if (held := self._halves[largest]) > USUAL:
                self._say(held)
                largest.give_up()

    def _say(self, held: int) -> None:
        if (now := time.monotonic()) >= self._quiet_until:
            self._quiet_until = now + SAID_EVERY
            log = structlog.get_logger("bridge.link.links")
            log.warning("frames from webchat exceed the memory limit", most=self._most, frame=held)


class Connection(ClientConnection):
    """A connection that passes each message to a callback as it is read, not to a waiting task."""

    # Slots, because a further attribute would exceed the number that a key-sharing `__dict__` takes
    # (the library's own fill it), and cost each connection a kilobyte. So would the two that the
    # library sets after `__init__`, if many connections are made before the first is open.
    # (Python 3.14 counts what methods of this class set on `self` all the same: half a kilobyte.)
    __slots__ = (
        *("_early", "_fragments", "_half", "_rest", "recv_messages", "transport"),
        *("budget", "fault", "heard", "on_end", "on_message", "throttled"),
    )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._early: list[str] = []
        """Messages received before `hand_over`."""
        self._fragments = bytearray()
        self._half = 0
        """Bytes of a half-read message."""
        self._rest = bytearray()
        """Data that the next turn of the event loop will read."""
        self.throttled = False
        """True while nothing is to be read; `flow` applies a change."""
        self.budget = Budget()
        """A limit of its own, until the server's takes its place."""
        self.heard = self.loop.time()
        """When the last data came, pongs included, in loop time."""
        self.on_message: Callable[[str], None] = self._early.append
        self.on_end: Callable[[], None] = lambda: None
        self.fault: Exception | None = None
        """Exception of `on_message`, a bug, after which nothing more is handled."""
        super().connection_made(transport)
        # Lists, as these are hardly ever used: an empty deque takes 0.7 KiB.
        self.drain_waiters = cast("deque[asyncio.Future[None]]", [])
        self.recv_messages.frames.queue = cast("deque[Frame]", [])

    def hand_over(self, on_message: Callable[[str], None], on_end: Callable[[], None]) -> None:
        """Set the callbacks for each message, and for a connection that is lost or failing."""
        for message in self._early:
            on_message(message)
        self.on_message, self.on_end = on_message, on_end
        if self.protocol.state is not _OPEN:
            on_end()

    def data_received(self, data: bytes) -> None:
        self.heard = self.loop.time()
        if not self._rest and len(data) <= SLICE and self.budget.is_free(self.loop):
            self._read(data)
        else:
            self._rest += data
            self.budget.read(self)
            self.flow()

    def read_slice(self) -> bool:
        """Read a part of what has come, and return whether there is more."""
        data = bytes(self._rest[:SLICE])
        del self._rest[:SLICE]  # a bytearray moves no other byte for that
        if data:
            self._read(data)
        if not self._rest:
            self.flow()
        return bool(self._rest)

    def _read_last(self) -> None:
        """Read what is left at the end of the connection, for up to `LAST_TURN` seconds."""
        while self._rest and self.budget.time_left(self.loop, LAST_TURN):
            self.read_slice()
        self._rest.clear()

    def flow(self) -> None:
        """Pause or resume reading. It is paused also while the peer does not read, else pongs to
        its pings would pile up.
        """
        if self.transport.is_closing():
            return
        if self.throttled or self.paused or self._rest:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _read(self, data: bytes) -> None:
        super().data_received(data)
        half = len(self._fragments) + len(self.protocol.reader.buffer)
        if half != self._half:
            self._half = half
            self.budget.half(self, half)

    def give_up(self) -> None:
        """Fail the connection over a message too big for the memory limit, and free its bytes."""
        self.protocol.fail(CloseCode.MESSAGE_TOO_BIG)
        self.send_data()
        self._let_go()
        self._hear_no_more()

    def _let_go(self) -> None:
        self._fragments, self._half = bytearray(), 0
        self.budget.half(self, 0)

    def process_event(self, event: Event) -> None:
        """Handle a data frame, which may be a fragment; the library handles control frames."""
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            return
        data = event.data
        if self._fragments or not event.fin:
            self._fragments += data
            if not event.fin:
                return
            data, self._fragments = self._fragments, bytearray()
        try:
            self.on_message(decoded(data))
        except Exception as error:  # noqa: BLE001 - the event loop would log its text
            self.fault = error
            self._hear_no_more()

    def _hear_no_more(self) -> None:
        self.on_message = lambda _: None
        self.on_end()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.flow()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.flow()

    def eof_received(self) -> None:
        self._read_last()  # nothing can be read any more after `super`
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._read_last()
        super().connection_lost(exc)
        self._let_go()
        self.on_end()


class Pulse:
    """Shared timer of all sockets of a server: at most one wake-up time per socket."""

    def __init__(self) -> None:
        self._waiting: dict[int, set[Wire]] = {}
        """Wires by wake-up time, in multiples of `PULSE`."""
        self._timer: asyncio.Handle | None = None
        self._next = math.inf
        """Time of the timer, in multiples of `PULSE`."""
        self._again = False
        """True if the timer was set again after a suspension of the process."""

    def wake(self, wire: Wire, moment: float) -> None:
        """Have `wire.look` called soon after `moment`, in loop time, or earlier."""
        number = math.ceil(moment / PULSE)
        if wire.woken_at is not None:
            if wire.woken_at <= number:
                return
            self.forget(wire)
        wire.woken_at = number
        self._waiting.setdefault(number, set()).add(wire)
        if number < self._next:
            self._set(number)

    def forget(self, wire: Wire) -> None:
        if wire.woken_at is not None:
            self._waiting[wire.woken_at].remove(wire)
            wire.woken_at = None

    def _set(self, number: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = number
        self._timer = asyncio.get_running_loop().call_at(number * PULSE, self._beat)

    def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        now, late = loop.time(), self._next * PULSE + STOOD_STILL
        self._again = now > late and not self._again
        if self._again:  # uvloop runs timers before it reads data that waits in the sockets
            self._set(math.ceil(now / PULSE) + 1)
            return
        self._timer, self._next = None, math.inf
        reached = (now + EARLY) / PULSE
        for number in [number for number in self._waiting if number <= reached]:
            for wire in self._waiting.pop(number):
                wire.woken_at = None
                loop.call_soon(wire.look)
        if self._waiting:
            self._set(min(self._waiting))


@dataclass(eq=False, repr=False)
class Wire:
    """An open socket and the calls that wait for its replies.

    With more than 29 attributes instances no longer share their keys, and take a kilobyte more.
    """

    _socket: Connection
    token: Token
    _: KW_ONLY
    settings: LinkSettings
    learnt: Learnt
    clock: Clock
    ping_after: float
    """Seconds of silence before a ping, and between two heartbeats."""
    unheard: Callable[[str], None]
    """Callback with the kind of an ignored frame."""
    pulse: Pulse
    woken_at: int | None = None
    """Wake-up time, in multiples of `PULSE`; set by `Pulse`."""

    def __post_init__(self) -> None:
        self._timing = self.settings.timing
        self._loop = asyncio.get_running_loop()
        self._protocol = Protocol(self.token.value, client_id=self.token.client_id)
        self._waiters: dict[CallId, _Waiter] = {}
        self._own = itertools.count(FIRST_OWN)
        self._reader: PushReader
        self._refused = False
        """True once the server has refused the token."""
        self._proven = False
        self._over = Flag()
        """Set once the token is refused or the socket is gone."""
        self._drained = Flag()
        """Set once the socket is gone, or its token is refused and no call waits any more."""
        self._pushed = Flag()
        """Set once the server has pushed something, or never will."""
        self._opened = self._loop.time()
        self._up_since: float | None = None
        self._unheard = 0.0
        self._look_due = math.inf
        self._asked = -math.inf
        """When the last ping or heartbeat was due, in loop time; -inf before the first."""
        self._beat_due = self._opened + self.ping_after
        transport = self._socket.transport
        self._low_water, self._high_water = transport.get_write_buffer_limits()

    @property
    def usable(self) -> bool:
        """True while commands may be written."""
        socket = self._socket
        alive = socket.protocol.state is _OPEN and not socket.transport.is_closing()
        return alive and not self._refused

    # --- writing -------------------------------------------------------------------------------

    @property
    def dialect_wait(self) -> float:
        """Seconds to wait for a push that shows the server's dialect (reference 5)."""
        if self.learnt.known or self._pushed.is_set():
            return 0.0
        return self._opened + self._timing.dialect_wait - self._loop.time()

    async def told_dialect(self) -> None:
        if (left := self.dialect_wait) > 0:
            await self._pushed.wait(left)

    def write_now(
        self, call_id: CallId, command: frames.Command, keys: Dialect, settle: Settle
    ) -> bool:
        """Write a command at once; False if the wire is shut or the server does not read. `settle`
        gets the reply or the failure (see `write`). Raises as `_expect`.
        """
        # Assume the maximum, as the length is known only once the command is encoded.
        if not self._takes(self.learnt.longest_frame):
            return False
        self._put(self._expect(call_id, command, keys, settle))
        return True

    async def write(
        self, call_id: CallId, command: frames.Command, keys: Dialect
    ) -> asyncio.Future[frames.Reply]:
        """Write a command, without a task switch if the socket takes it. Call only while `usable`.

        The reply may fail: NO_ANSWER (timeout, or the link was lost), SILENT (the server is mute,
        and the link dropped), TOO_BIG. Raises as `_expect`, or NO_ANSWER if the link broke.
        """
        reply: asyncio.Future[frames.Reply] = self._loop.create_future()
        frame = self._expect(call_id, command, keys, partial(_fulfil, reply))
        reply.add_done_callback(partial(self._forget, call_id))
        try:
            await self._send(frame)
        except BaseException:
            reply.cancel()
            raise
        return reply

    def _forget(self, call_id: CallId, reply: asyncio.Future[frames.Reply]) -> None:
        """Await no reply to a cancelled call: its absence does not make the server mute."""
        if reply.cancelled() and call_id in self._waiters:
            self._protocol.forget(call_id)
            self._remove(call_id)

    def typing(self, session_id: SessionId) -> None:
        """Send a typing notice if the socket takes it; learn whether the server knows notices."""
        own, learn = CallId(next(self._own)), partial(self._learn, Feature.TYPING)
        with suppress(CallFailure):
            self.write_now(own, frames.Typing(session_id), self.learnt.keys, learn)

    def _learn(self, feature: Feature, outcome: frames.Reply | CallFailure) -> None:
        if isinstance(outcome, CallFailure):
            return
        if meaning(outcome.result).lacking:  # the server does not know the command (row 69)
            self.learnt.has_not(feature)
        elif outcome.result == ResultCode.INVALID_TOKEN:
            self.refuse()

    async def receipt(self, rs_id: str) -> None:
        """Acknowledge a push, if its id fits into a frame; if that fails, the server repeats it."""
        own, now = CallId(next(self._own)), self.clock.now()
        frame = self._protocol.send(frames.Receipt(rs_id), own, now).encode()
        if len(frame) <= self.learnt.longest_frame:
            with suppress(CallFailure):
                await self._send(frame)

    def _expect(
        self, call_id: CallId, command: frames.Command, keys: Dialect, settle: Settle
    ) -> bytes:
        """Encode a command and register its waiter; raises a certain TOO_BIG or REFUSED."""
        try:
            frame = self._protocol.send(command, call_id, self.clock.now(), keys).encode()
        except LocalProtocolError as error:
            raise CallFailure(FailureReason.REFUSED, str(error)) from error
        size, longest = len(frame), self.learnt.longest_frame
        if size > longest:
            self._protocol.forget(call_id)
            raise CallFailure(FailureReason.TOO_BIG, f"the frame exceeds {longest} bytes")
        patient = isinstance(command, _CONTENT)
        deadline = self._loop.time() + (self._timing.mute if patient else self._timing.reply)
        self._waiters[call_id] = _Waiter(settle, size, deadline, patient)
        self.pulse.wake(self, deadline)
        return frame

    def _takes(self, size: int) -> bool:
        """Return whether `size` more bytes can be written without waiting for the peer to read."""
        buffered = self._socket.transport.get_write_buffer_size()
        room = buffered <= self._low_water and buffered + size <= self._high_water
        return room and self.usable

    def _put(self, frame: bytes) -> None:
        """Write a frame that the socket `_takes`: like `ClientConnection.send`, but at once."""
        self._socket.protocol.send_text(frame)
        self._flush()

    def _flush(self) -> None:
        for data in self._socket.protocol.data_to_send():
            self._socket.transport.write(data)

    async def _send(self, frame: bytes) -> None:
        if self._takes(len(frame)):
            self._put(frame)
            return
        try:
            # A peer that does not read would block this for ever once the buffers are full.
            async with asyncio.timeout(self._timing.reply):
                await self._socket.send(frame, text=True)
        except TimeoutError:  # a subclass of OSError, so first
            self._socket.transport.abort()
            raise _no_answer("the server does not read from the link") from None
        except (ConnectionClosed, OSError):
            raise _no_answer("the link was lost during a write") from None

    # --- reading -------------------------------------------------------------------------------

    def read(self, message: str) -> None:
        frame = self._protocol.receive(message)
        parts = divided(message) if isinstance(frame, frames.Ignored) and not frame.rs_id else ()
        size = sys.getsizeof(message) // max(1, len(parts))
        for received in map(self._protocol.receive, parts) if parts else (frame,):
            self._take(received, size)

    def _take(self, frame: Answered | frames.Received | frames.Ignored, size: int) -> None:
        if isinstance(frame, Answered):
            reply, command = frame.reply, frame.command
            self._proven = self._proven or not meaning(reply.result).relogin
            if frame.call_id in self._waiters:
                settle = self._remove(frame.call_id).settle
                if reply.result != _NO_CHAT and not isinstance(command, frames.CloseSession):
                    settle(reply)
                else:
                    self._reader.push(partial(settle, reply), 0)
            return
        if isinstance(frame, frames.Ignored):
            self.unheard(frame.kind)
            if frame.kind == frames.BROKEN:
                self._reader.unreadable()
            if self._protocol.token_refused:
                # A -15 without a call id refuses all waiting commands.
                for call_id in tuple(self._waiters):
                    self._remove(call_id).settle(_STRAY_REFUSAL)
                self.refuse()
            if not frame.rs_id:
                return
        elif isinstance(frame.push, frames.ChatStarted):  # it answers a 101, too (trap T5)
            for call_id, waiter in self._waiters.items():
                if isinstance(self._protocol.waiting.get(call_id), frames.RequestChat):
                    waiter.deadline = min(waiter.deadline, self._loop.time() + self._timing.settle)
                    self.pulse.wake(self, waiter.deadline)
        if isinstance(frame, frames.Ignored) or frame.later:
            self.learnt.saw_later()
        self._pushed.set()
        self._reader.push(frame, size)

    def _remove(self, call_id: CallId) -> _Waiter:
        waiter = self._waiters.pop(call_id)
        if self._refused and not self._waiters:
            self._drained.set()
        return waiter

    def look(self) -> None:
        """Fail the calls whose replies are overdue, and check for silence."""
        now = self._loop.time() + EARLY
        late = [call_id for call_id, waiter in self._waiters.items() if waiter.deadline <= now]
        for call_id in late:
            self._protocol.forget(call_id)
        overdue = [self._remove(call_id) for call_id in late]
        if any(waiter.patient for waiter in overdue):
            # The server is mute: drop the socket, so that another one is opened.
            self._socket.transport.abort()
        if now >= self._look_due:
            self._watch(now)
        first = min((waiter.deadline for waiter in self._waiters.values()), default=math.inf)
        if (due := min(first, self._look_due)) < math.inf:
            self.pulse.wake(self, due)
        for call in overdue:
            silent = _no_answer("no reply on an open link", FailureReason.SILENT)
            call.settle(silent if call.patient else _no_answer("no reply in time"))

    # --- life cycle ----------------------------------------------------------------------------

    def refuse(self) -> None:
        """End the wire because its token is refused: write no more, but read pending replies."""
        self._refused = True
        self._over.set()
        self._pushed.set()
        if not self._waiters:
            self._drained.set()

    def throttle(self, *, on: bool) -> None:
        """Stop or resume reading, as the pushes read before wait for the store."""
        if on is not self._socket.throttled:
            self._socket.throttled = on
            self._socket.flow()

    async def close(self) -> None:
        """Close the socket without a logout (row 87)."""
        self.throttle(on=False)  # to read the server's part of the closing handshake
        if self._socket.paused:  # a peer that does not read would not read a close frame either
            self._socket.transport.abort()
        try:
            await self._socket.close()
        except asyncio.CancelledError:  # else it would stay open, and what it brings be lost
            self._socket.transport.abort()
            raise

    async def serve(self, up: Callable[[Wire], None], reader: PushReader) -> Loss:
        """Run the socket until it ends. Calls `up` once commands may be written; pushes go to
        `reader`.
        """
        self._reader = reader
        try:
            self._socket.hand_over(self.read, self._ended)
            await self._prove()
            if self.usable:
                self._up_since = self._loop.time()
                up(self)
            self._look_due = self._opened + self.ping_after
            self.pulse.wake(self, self._look_due)
            await self._over.wait()
            # Wait for replies to commands written before: each makes an outcome certain.
            await self._drained.wait(self._timing.settle)
        finally:
            self._pushed.set()
            try:
                await self.close()
            finally:
                self._look_due = math.inf
                self.pulse.forget(self)
                self.lost(_close_code(self._socket))
        if self._socket.fault is not None:
            raise self._socket.fault
        sent = self._socket.protocol.close_sent
        if _close_code(self._socket) is None and sent is not None and sent.code == TOO_BIG:
            reader.unreadable()  # the bridge closed the socket over a frame too long to be read
        return self._loss()

    def _ended(self) -> None:
        self._over.set()
        self._drained.set()

    def lost(self, close_code: int | None) -> None:
        """Fail all waiting calls as uncertain; `close_code` is that of the server."""
        waiting = list(self._waiters.values())
        self._waiters.clear()
        # The longest certainly did not arrive; of equally long ones the last caused the close.
        longest = max(reversed(waiting), key=lambda waiter: waiter.size, default=None)
        if close_code == TOO_BIG and longest is not None and longest.size > LEAST_FRAME:
            self.learnt.too_long(longest.size)
            waiting.remove(longest)
            longest.settle(CallFailure(FailureReason.TOO_BIG, code=TOO_BIG))
        for waiter in waiting:
            waiter.settle(_no_answer("the link was lost"))

    def _loss(self) -> Loss:
        code = _close_code(self._socket)
        stood = 0.0 if self._up_since is None else self._loop.time() - self._up_since
        # Accepted, then closed before a pong: a bad token (protocol reference 3.3).
        at_once = self._up_since is None and code is not None and code not in GOING_AWAY
        refused, thrown_out = self._refused or at_once, at_once and not self._refused
        return Loss(code, refused, thrown_out, stood, self._proven, self._unheard)

    # --- keepalive -----------------------------------------------------------------------------

    # After silence a WebSocket ping is sent. A server that knows heartbeats (type 10) gets them at
    # regular intervals whatever is received: it may count them. Silence after either ends the link.

    async def _prove(self) -> None:
        """Ping, and wait until the server answers, the socket ends, or `Timing.settle` is over."""
        with suppress(TimeoutError, ConnectionClosed):
            async with asyncio.timeout(self._timing.settle):
                pong = await self._socket.ping()
                assert isinstance(pong, asyncio.Future)  # noqa: S101 - the library promises less
                await self._over.wait(other=pong)

    def _watch(self, now: float) -> None:
        """Send the ping or heartbeat that is due; abort a socket silent since the last one."""
        heard, self._look_due = self._socket.heard, math.inf
        if self._over.is_set():
            return
        if heard < self._asked:
            _LOG.info("webchat link is silent: closing it")
            self._unheard = now - heard
            # A peer that does not answer a ping would not answer a close frame either.
            self._socket.transport.abort()
            return
        beats = self.learnt.has(Feature.HEARTBEAT)
        due = min(heard + self.ping_after, self._beat_due if beats else math.inf)
        if now < due:
            self._look_due = due
            return
        self._asked = now - EARLY
        self._look_due = now + min(self._timing.ping_wait, self._timing.reply)
        if beats and now >= self._beat_due:
            self._beat_due = now + self.ping_after
            call_id = CallId(next(self._own))
            if self.write_now(call_id, frames.Heartbeat(), self.learnt.keys, self._beaten):
                self._waiters[call_id].deadline = self._look_due
        elif self._takes(0):
            self._socket.protocol.send_ping(b"")
            self._flush()

    def _beaten(self, outcome: frames.Reply | CallFailure) -> None:
        self._learn(Feature.HEARTBEAT, outcome)
        answered = isinstance(outcome, frames.Reply)
        if answered or not self._over.is_set():
            self.learnt.beat(answered=answered)


def _fulfil(reply: asyncio.Future[_Told], outcome: _Told | CallFailure) -> None:
    if reply.done():  # cancelled at the same moment
        return
    if isinstance(outcome, CallFailure):
        reply.set_exception(outcome)
    else:
        reply.set_result(outcome)


def _no_answer(message: str, reason: FailureReason = FailureReason.NO_ANSWER) -> CallFailure:
    """Make the failure of a command that was written with an unknown outcome."""
    return CallFailure(reason, message, certain=False)


def _close_code(socket: Connection) -> int | None:
    """Return the close code if the server started the close, else None."""
    close, began = socket.protocol.close_rcvd, socket.protocol.close_rcvd_then_sent
    return None if close is None or began is False else close.code


class Flag:
    """A small `asyncio.Event`, a tenth of its 0.7 KiB; each link has six."""

    __slots__ = ("_set", "_waiting")

    def __init__(self) -> None:
        self._set = False
        self._waiting: tuple[asyncio.Future[Flag | None], ...] = ()

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        for future in self._waiting:
            _fulfil(future, self)

    def clear(self) -> None:
        self._set = False

    async def wait(
        self, seconds: float | None = None, other: asyncio.Future[Any] | None = None
    ) -> bool:
        """Wait until it is set and return True; False after `seconds` or once `other` is done."""
        if self._set:
            return True
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Flag | None] = loop.create_future()
        self._waiting += (future,)
        timer = None if seconds is None else loop.call_later(seconds, _fulfil, future, None)
        if other is not None:
            other.add_done_callback(lambda _: _fulfil(future, None))
        try:
            return await future is self or self._set
        finally:
            if timer is not None:
                timer.cancel()
            self._waiting = tuple(other for other in self._waiting if other is not future)
