"""Stub homeserver and call centre of the bench, which record what arrived.

Each text of a measurement contains a mark: the name of its run and its number in it. A ledger
records when each mark arrived in which room, and finds texts that were lost, doubled, or delivered
before an earlier text of their room. Times are in seconds of this process's monotonic clock.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections import Counter as Counting
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

import msgspec
from aiohttp import WSCloseCode, web

GHOSTS = "webchat__"
"""Text in the user ids of agents' ghosts, but not of queue users."""
STALLED = 20.0
"""Seconds without an arrival after which missing texts count as lost."""

_MARK = re.compile(r"\b([a-z][a-z0-9]*)=(\d+)\b")
_FILLING = " is a line of a talk about an order that has not come, of the usual length"


def wording(run: str, number: int) -> str:
    """Return a text of 80 characters with its mark."""
    return f"{run}={number}{_FILLING}"[:80].ljust(80, ".")


class Faults(msgspec.Struct, frozen=True):
    """Numbers of texts of a run that went wrong."""

    lost: int
    doubled: int
    disordered: int
    """Texts that arrived after a later one of their room."""
    astray: int
    """Texts that arrived in a wrong room."""


class Ledger:
    """Record of the texts that arrived at one side."""

    def __init__(self) -> None:
        self._arrivals: dict[str, list[tuple[int, int, float, float]]] = {}
        self._more = asyncio.Event()
        self.meter: Callable[[], float] = float
        """Returns a further value to record at each arrival, such as CPU."""
        self.last = 0.0
        """Time of the latest arrival."""

    def note(self, room: int, text: str) -> None:
        """Record the arrival of one or several marks in a room."""
        now = time.monotonic()
        for run, number in _MARK.findall(text):
            arrival = int(number), room, now, self.meter()
            self._arrivals.setdefault(run, []).append(arrival)
            self.last = now
        self._more.set()

    def count(self, run: str) -> int:
        """Return the number of arrivals of a run, duplicates included."""
        return len(self._arrivals.get(run, ()))

    async def reach(self, run: str, number: int) -> None:
        """Wait for this number of arrivals, or until none has come for `STALLED` seconds."""
        with suppress(TimeoutError):
            while self.count(run) < number:
                self._more.clear()
                await asyncio.wait_for(self._more.wait(), STALLED)

    def forget(self, run: str) -> None:
        """Free the memory of a run's arrivals."""
        self._arrivals.pop(run, None)

    def times(self, run: str) -> dict[int, float]:
        """Return the time of the first arrival of each number of a run."""
        return {number: at for number, (at, _) in self.metered(run).items()}

    def metered(self, run: str) -> dict[int, tuple[float, float]]:
        """The same, with the meter's value."""
        arrivals = reversed(self._arrivals.get(run, []))
        return {number: (at, metered) for number, _, at, metered in arrivals}

    def faults(self, run: str, rooms: Sequence[int]) -> Faults:
        """Compare a run with the texts sent; `rooms`: the room of each number."""
        arrivals = self._arrivals.get(run, [])
        seen = Counting(number for number, *_ in arrivals)
        newest: dict[int, int] = {}
        disordered = 0
        for number, room, *_ in arrivals:
            disordered += number < newest.get(room, -1)
            newest[room] = max(number, newest.get(room, -1))
        return Faults(
            lost=sum(number not in seen for number in range(len(rooms))),
            doubled=sum(times - 1 for times in seen.values()),
            disordered=disordered,
            astray=sum(rooms[number] != room for number, room, *_ in arrivals),
        )


class Counter:
    """Counter whose value can be awaited."""

    def __init__(self) -> None:
        self.value = 0
        self._more = asyncio.Event()

    def add(self) -> None:
        self.value += 1
        self._more.set()

    async def reach(self, number: int) -> None:
        """Wait until the value is at least `number`, at most two minutes."""
        async with asyncio.timeout(120):
            while self.value < number:
                self._more.clear()
                await self._more.wait()


# --- the homeserver -----------------------------------------------------------------------------

Answer = tuple[int, bytes]
Handler = Callable[[str, str, bytes], Answer | asyncio.Future[Answer]]
"""Answers a request (method, path with query, body), or returns a future of the answer."""

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_ROOM = re.compile(r"/rooms/(?:!|%21)(\d+)(?::|%3A)", re.IGNORECASE)


class _Requests(asyncio.Protocol):
    """HTTP/1.1 with bodies of known length: a tenth of the cost of a complete server."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(_HEAD_END)) >= 0:
            head = self._received[:end]
            found = _LENGTH.search(head)
            whole = end + len(_HEAD_END) + (int(found[1]) if found else 0)
            if len(self._received) < whole:
                return
            body, self._received = (
                self._received[end + len(_HEAD_END) : whole],
                self._received[whole:],
            )
            method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            answer = self._handler(method, path, body)
            if isinstance(answer, tuple):
                self._write(*answer)
            else:
                answer.add_done_callback(self._write_late)

    def _write_late(self, answer: asyncio.Future[Answer]) -> None:
        if not answer.cancelled():
            self._write(*answer.result())

    def _write(self, status: int, answer: bytes) -> None:
        assert self._transport is not None
        self._transport.write(
            b"HTTP/1.1 %d -\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (status, len(answer), answer)
        )


class StubHomeserver:
    """Homeserver that accepts every request; a room has one member besides the bot.

    Attributes:
        address: base URL of its client-server API.
        shown: agents' messages that arrived in rooms.
        from_agents: number of requests with such messages.
        receipts: number of read receipts.
    """

    def __init__(self, ghosts: str = GHOSTS) -> None:
        self.address = ""
        self.shown = Ledger()
        self.from_agents = Counter()
        self.receipts = Counter()
        self._ghosts = ghosts
        self._numbers = itertools.count(1)

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        if "/send/" in path and method == "PUT":
            if self._ghosts in path.partition("?")[2]:
                self._show(path, body)
            return 200, b'{"event_id": "$sent%d"}' % next(self._numbers)
        if "/receipt/" in path:
            self.receipts.add()
            return 200, b"{}"
        found = _ROOM.search(path)
        if found and "/members" in path:
            people = (f"@customer{found[1]}:localhost", "@webchatbot:localhost")
            return 200, msgspec.json.encode({"chunk": [member(user) for user in people]})
        if "/messages" in path:
            return 200, b'{"chunk": []}'
        if "/state/" in path and method == "GET":
            return 404, b'{"errcode": "M_NOT_FOUND", "error": "none"}'
        return 200, b'{"user_id": "@webchatbot:localhost"}'

    def _show(self, path: str, body: bytes) -> None:
        found = _ROOM.search(path)
        text = msgspec.json.decode(body).get("body", "")
        if found:
            self.shown.note(int(found[1]), text)
        self.from_agents.add()

    @asynccontextmanager
    async def running(self, handler: Handler | None = None) -> AsyncIterator[StubHomeserver]:
        """Listen; `handler` replaces `answer`."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _Requests(handler or self.answer), "127.0.0.1", 0, backlog=512
        )
        try:
            self.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self
        finally:
            server.close()


def member(user: str, name: str = "") -> dict[str, object]:
    """Return the membership event of a joined user."""
    content = {"membership": "join", "displayname": name or user[1:].partition(":")[0]}
    return {
        "type": "m.room.member",
        "state_key": user,
        "sender": user,
        "event_id": f"$member-{user}",
        "origin_server_ts": 1_700_000_000_000,
        "content": content,
    }


# --- the call centre ----------------------------------------------------------------------------


class _Frame(msgspec.Struct):
    type: int
    messageId: int = 0  # noqa: N815 - the name on the wire
    msg: dict[str, Any] = {}


class _Seat(NamedTuple):
    socket: web.WebSocketResponse
    session: int


class StubWebChat:
    """WebChat server of 2016 that accepts every login, assigns an agent at once, and records texts.

    A socket belongs to the room that its first text names (`first=3`). The lean forwarder, which
    does not log in, uses the room's number as its token.

    Attributes:
        base_url: for the bridge's configuration.
        heard: customers' texts.
        files: number of their messages that are not texts.
    """

    def __init__(self) -> None:
        self.base_url = ""
        self.heard = Ledger()
        self.files = Counter()
        self._seats: dict[int, _Seat] = {}
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._sockets: set[asyncio.BaseTransport] = set()
        self._came = asyncio.Event()
        self._tokens: dict[str, int] = {}
        """The session of each token."""
        self._numbers = itertools.count(5001)

    async def say(self, room: int, text: str) -> None:
        """Send a text as the agent of a room."""
        seat = self._seats[room]
        await seat.socket.send_str(_PUSHED % (seat.session, text))

    async def push(self, room: int, message: dict[str, object]) -> None:
        """Send a `msg` of any type as the agent of a room."""
        seat = self._seats[room]
        frame = {"type": 210, "sessionId": seat.session, "agentId": "A00001", "msg": message}
        await seat.socket.send_str(msgspec.json.encode(frame).decode())

    def seated(self) -> int:
        """Return the number of rooms with a socket."""
        return len(self._seats)

    async def connected(self, number: int, patience: float) -> bool:
        """Wait for `number` open sockets; False if there are fewer after `patience` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while len(self._sockets) < number:
                    self._came.clear()
                    await self._came.wait()
                return True
        return False

    @asynccontextmanager
    async def away(self, *, forgetful: bool) -> AsyncIterator[None]:
        """Cut all sockets and stop listening during the block; `forgetful`: lose the tokens too."""
        assert self._site is not None
        await self._site.stop()
        for transport in list(self._sockets):
            cast("asyncio.Transport", transport).abort()
        if forgetful:
            self._tokens.clear()
        yield
        await self._listen(int(self.base_url.rpartition(":")[2].partition("/")[0]))

    async def _login(self, request: web.Request) -> web.Response:
        await request.read()
        number = next(self._numbers)
        self._tokens[f"token{number}"] = number
        answer = {"result": 1, "message": "", "token": f"token{number}", "config": {}}
        return web.json_response(answer)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        token = unquote(request.query.get("token", ""))
        room = int(token) if token.isdecimal() else -1
        if room < 0 and token not in self._tokens:
            return web.Response(status=401)
        socket = web.WebSocketResponse(compress=False, max_msg_size=1 << 24, autoping=True)
        await socket.prepare(request)
        seat = _Seat(socket, self._tokens.get(token, 0) or next(self._numbers))
        if room >= 0:
            self._seats[room] = seat
        transport = request.transport
        assert transport is not None
        self._sockets.add(transport)
        self._came.set()
        try:
            await self._talk(socket, seat, room)
        finally:
            self._sockets.discard(transport)
        return socket

    async def _talk(self, socket: web.WebSocketResponse, seat: _Seat, room: int) -> None:
        async for message in socket:
            frame = msgspec.json.decode(message.data, type=_Frame)
            if frame.type in {110, 111}:
                text = _text_of(frame.msg)
                if room < 0 and (mark := _MARK.search(text)) and mark[1] == "first":
                    room = int(mark[2])
                    self._seats[room] = seat
                self.heard.note(room, text)
                if frame.msg.get("type", 1) != 1:
                    self.files.add()
            await socket.send_str(_REPLY % (frame.messageId, frame.type))
            if frame.type == 101:
                await socket.send_str(_ACCEPTED % seat.session)

    @asynccontextmanager
    async def running(
        self, more: Iterable[web.AbstractRouteDef] = ()
    ) -> AsyncIterator[StubWebChat]:
        """Listen, with further routes if given."""
        application = web.Application()
        application.add_routes(more)
        application.router.add_post("/webchat/tpi", self._login)
        application.router.add_get("/webchat/cws", self._serve)
        runner = self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await self._listen(0)
            self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/webchat"
            yield self
        finally:
            for seat in list(self._seats.values()):
                await seat.socket.close(code=WSCloseCode.GOING_AWAY)
            await runner.cleanup()

    async def _listen(self, port: int) -> None:
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, "127.0.0.1", port, backlog=1024)
        await self._site.start()


_REPLY = '{"messageId": %d, "type": %d, "result": 1, "message": ""}'
_ACCEPTED = '{"type": 202, "sessionId": %d, "agents": [{"id": "A00001", "name": "Mei"}]}'
_PUSHED = '{"type": 210, "sessionId": %d, "agentId": "A00001", "msg": {"type": 1, "content": "%s"}}'


def _text_of(message: dict[str, Any]) -> str:
    content = message.get("content")
    text = content.get("content") if isinstance(content, dict) else content
    return text if isinstance(text, str) else ""
