"""The sockets at `/cws`: one per customer, frames out in order, every frame in the journal.

From the moment a socket is to be closed it no longer counts as its customer's: what is pushed
afterwards is missed, exactly as with a server whose socket is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec
from aiohttp import WSMsgType, web

from bridge.simulator import delivery, desk, handlers
from bridge.simulator.faults import Fault
from bridge.simulator.journal import Log, Pulse, masked
from bridge.simulator.operations import Simulation
from bridge.simulator.state import STICKY, Customer, HangUp, Outgoing, Send, Wire
from bridge.webchat.codes import ResultCode

CUT = 1006
"""The close code that is never sent: the connection simply ends."""
_LARGEST = 16 * 1024 * 1024
"""Bytes of a frame that aiohttp may buffer; the server's own `frame_limit` is far lower."""
_GOODBYE_SECONDS = 1.0
"""How long we wait for the other side's close frame."""


class Line:
    """One open socket; one task writes it, so frames leave in the order they were put."""

    def __init__(self, request: web.Request, login: str) -> None:
        self.login = login
        self.socket = web.WebSocketResponse(
            compress=False, max_msg_size=_LARGEST, timeout=_GOODBYE_SECONDS
        )
        self.close_code = 1000
        self._transport = request.transport
        self._queue: asyncio.Queue[tuple[Send, float] | None] = asyncio.Queue()
        self._failed: list[Send] = []
        """Taken from the queue and not written: at most one."""

    def put(self, send: Send, due: float) -> None:
        """Write a frame, not before `due` (loop time) and not before those already put."""
        self._queue.put_nowait((send, due))

    def end(self, code: int) -> None:
        """Close once everything put so far has been written; at once where the code is 1006."""
        self.close_code = code
        if code == CUT and self._transport is not None:
            self._transport.abort()
        self._queue.put_nowait(None)

    async def write(self, written: Callable[[Send], None]) -> None:
        """Write what is put until the end, or until the peer is gone."""
        loop = asyncio.get_running_loop()
        while (item := await self._queue.get()) is not None:
            send, due = item
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if self.socket.closed or self.close_code == CUT:
                self._failed.append(send)
                return
            try:
                await self.socket.send_str(msgspec.json.encode(send.frame).decode())
            except ConnectionError:
                self._failed.append(send)
                return
            written(send)

    def unwritten(self) -> list[Send]:
        """The frames that were put and never written, in order."""
        left = self._failed
        while not self._queue.empty():
            if (item := self._queue.get_nowait()) is not None:
                left.append(item[0])
        return left


class Switchboard:
    def __init__(self, simulation: Simulation, journal: Log, pulse: Pulse) -> None:
        self._simulation = simulation
        self._journal = journal
        self._pulse = pulse
        self._lines: dict[str, Line] = {}

    def post(self, outgoing: Iterable[Outgoing]) -> bool:
        """Put frames on their lines and hang up where asked; False if a push had no open socket."""
        complete = True
        for item in outgoing:
            if isinstance(item, HangUp):
                self._hang_up(item.login, item.code)
            else:
                send = delivery.outbound(self._simulation.centre, item, _now())
                complete = complete and (send is not None or not item.is_push)
                if send is not None:
                    self._put(send)
        self._pulse.beat()
        return complete

    def hang_up_all(self, code: int) -> None:
        for login in list(self._lines):
            self._hang_up(login, code)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        centre = self._simulation.centre
        now = _now()
        centre.settle(now)
        token = request.query.get("token", "")
        customer = centre.holder(token, now, request.cookies.get(STICKY, ""))
        if customer is None:
            return await _refuse(request, centre.options.handshake_refusal)
        line = Line(request, customer.login)
        await line.socket.prepare(request)
        self._attach(line, customer)
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read(line, customer))
                repeating = group.create_task(self._repeat(line, customer))
                await line.write(self._written)
                reading.cancel()
                repeating.cancel()
            if line.close_code != CUT:
                await line.socket.close(code=line.close_code)
        finally:
            self._detach(line)
            for send in line.unwritten():
                delivery.missed(centre, send)
            self._pulse.beat()
        return line.socket

    async def _read(self, line: Line, customer: Customer) -> None:
        limit = self._simulation.centre.options.frame_limit
        async for message in line.socket:
            if message.type is WSMsgType.TEXT:
                if len(message.data.encode("utf-8", "surrogatepass")) > limit:
                    self._record("in", line.login, f"(a frame of more than {limit} bytes)")
                    self._end(line, 1009)
                    return
                self._receive(line, customer, message.data)
            elif message.type is WSMsgType.BINARY:
                self._record("in", line.login, "(a binary frame)")
                sentence = "a binary frame is not JSON"
                self.post([Send(line.login, delivery.reply(0, ResultCode.REQUEST_ERROR, sentence))])
        line.end(line.close_code)

    def _receive(self, line: Line, customer: Customer, text: str) -> None:
        try:
            frame: object = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError):
            frame = text
        self._record("in", line.login, frame)
        if self._lines.get(line.login) is not line:
            return  # it was told to go; what it still says is not heard
        fault = self._simulation.faults.on_command(line.login, frame)
        if fault is not None and fault.fault == "cut":
            self._end(line, fault.code)
        elif fault is not None:
            self.post(_instead(line.login, fault, frame))
            return
        if fault is None or fault.carried_out:
            self.post(handlers.answer(self._simulation.centre, customer, text, _now()))

    async def _repeat(self, line: Line, customer: Customer) -> None:
        while True:
            centre = self._simulation.centre
            await asyncio.sleep(centre.options.beat)
            self.post(desk.timed_out(centre, _now()))
            if centre.options.has("receipts") and self._lines.get(line.login) is line:
                for send in delivery.due_again(centre, customer, _now()):
                    self._put(send)

    def _attach(self, line: Line, customer: Customer) -> None:
        self._hang_up(line.login, 1000)  # one socket per customer: the newer one wins
        self._lines[line.login] = line
        customer.linked = True
        customer.link_lost_at = None
        for send in delivery.on_open(self._simulation.centre, customer, _now()):
            self._put(send)
        self._pulse.beat()

    def _detach(self, line: Line) -> None:
        if self._lines.get(line.login) is not line:
            return
        del self._lines[line.login]
        customer = self._simulation.centre.customers[line.login]
        customer.linked = False
        customer.link_lost_at = _now()
        self._simulation.faults.link_lost(line.login)
        self._pulse.beat()

    def _hang_up(self, login: str, code: int) -> None:
        line = self._lines.get(login)
        if line is not None:
            self._end(line, code)

    def _end(self, line: Line, code: int) -> None:
        self._detach(line)
        line.end(code)

    def _put(self, send: Send) -> None:
        faults = self._simulation.faults
        due = _now() + self._simulation.centre.options.reply_delay_ms / 1000
        for real in faults.on_send(send):
            wire = delivery.worded(self._simulation.centre, real)
            self._lines[real.login].put(wire, due + faults.delay(real))

    def _written(self, send: Send) -> None:
        if send.record is not None:
            send.record["sent"] = True
        self._record("out", send.login, send.frame)

    def _record(self, direction: Literal["in", "out"], login: str, frame: object) -> None:
        """Log a frame from or to a customer; the text itself where it is not JSON."""
        entry: Wire = {"time": self._simulation.centre.wall_ms(), "direction": direction}
        entry |= {"login": login, "frame": masked(frame)}
        self._journal.add(entry)
        self._pulse.beat()


async def _refuse(request: web.Request, mode: str) -> web.StreamResponse:
    """Turn away a socket with a bad token."""
    if mode == "401":
        return web.Response(status=401, text="invalid token")
    socket = web.WebSocketResponse(compress=False, timeout=_GOODBYE_SECONDS)
    await socket.prepare(request)
    if mode == "frame":
        refusal = delivery.reply(1, ResultCode.INVALID_TOKEN, "the token is not valid")
        await socket.send_str(msgspec.json.encode(refusal).decode())
    await socket.close(code=1008)
    return socket


def _instead(login: str, fault: Fault, frame: object) -> list[Outgoing]:
    """The reply to a command that a fault keeps from being carried out."""
    if fault.result is None:
        return []
    named: Wire = frame if isinstance(frame, dict) else {}
    known: Wire = {key: named[key] for key in ("messageId", "type") if key in named}
    return [Send(login, {**known, "result": fault.result, "message": "as the script says"})]


def _now() -> float:
    """Seconds, monotonic."""
    return asyncio.get_running_loop().time()
