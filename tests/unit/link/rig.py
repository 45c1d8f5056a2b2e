"""Support of the link tests: settings with short timeouts, in-memory ports, a scriptable server.

The simulator plays a correct WebChat server, `WildServer` any other.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields

from aiohttp import web
from pydantic import SecretStr

from bridge.config.model import Login, Rate, Robot, WebChat
from bridge.conversation.model import LinkLost, LinkRestored, TurnAwaited
from bridge.ids import CallId, RoomId, UserId
from bridge.link.link import Shared
from bridge.link.links import Links
from bridge.link.settings import LinkSettings, Timing
from bridge.rooms.ports import Account, Blob
from bridge.rooms.store import StoreError, Token
from bridge.webchat.frames import Command, Received, Reply
from tests.fakes.clock import START

FAST = Timing(
    connect=5.0,
    handshake=2.0,
    reply=2.0,
    mute=3.0,
    upload=10.0,
    settle=0.5,
    dialect_wait=0.05,
    stable=5.0,
    close=0.5,
    release=0.1,
    backoff_first=0.02,
    backoff_last=0.1,
)


@dataclass
class LinkCounts:
    """Implements `link.settings.LinkMetrics`, as plain numbers."""

    logins: int = 0
    logins_refused: int = 0
    connects: int = 0
    reconnects: int = 0
    open_links: int = 0
    open_failures: int = 0

    def logged_in(self, result: int | None) -> None:
        self.logins += 1
        if result != 1:
            self.logins_refused += 1

    def opened(self, *, again: bool) -> None:
        self.connects += 1
        self.open_links += 1
        if again:
            self.reconnects += 1

    def closed(self) -> None:
        self.open_links -= 1

    def open_failed(self) -> None:
        self.open_failures += 1


def settings_for(base_url: str, **changes: object) -> LinkSettings:
    """Return settings with short timeouts and a high login limit.

    `changes`: fields of `LinkSettings`, keys of the section `webchat` and of its login, unchecked.
    """
    given = {"login_count": 1000, "login_seconds": 0.1, "timing": FAST, **changes}
    rate = {"count": given.pop("login_count"), "per_seconds": given.pop("login_seconds")}
    if given.get("dialect", "") is None:
        given["dialect"] = "auto"
    for renamed in {"login_type"} & given.keys():
        given["type"] = given.pop(renamed)
    for secret in {"password", "sign_key", "robot_key"} & given.keys():
        given[secret] = SecretStr(str(given[secret]))
    robot = {"public_key": given.pop("robot_key", SecretStr(""))}

    def among(names: Iterable[str]) -> dict[str, object]:
        return {name: given.pop(name) for name in names if name in given}

    ours = among(one.name for one in fields(LinkSettings))
    whole = {"base_url": base_url, **among(WebChat.model_fields)}
    whole["login_rate"] = Rate().model_copy(update=rate)
    whole["robot"] = Robot().model_copy(update=robot)
    whole["login"] = Login().model_copy(update=given)
    server = WebChat(base_url="http://crm").model_copy(update=whole)
    return LinkSettings(server=server, **ours)  # type: ignore[arg-type]  # the caller's affair


def account(name: str = "a", person: str = "ada") -> Account:
    return Account(RoomId(f"!{name}:example.org"), UserId(f"@{person}:example.org"), "Ada")


async def nothing() -> None:
    """A `before_write` that has nothing to store."""


class LoopClock:
    """Implements `ports.Clock` by the event loop's time."""

    def now(self) -> int:
        return START + round(asyncio.get_running_loop().time() * 1000)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Tokens:
    """TokenStore in memory."""

    def __init__(self) -> None:
        self.kept: dict[RoomId, Token] = {}
        self.broken = False
        self.reads = 0

    async def token(self, room_id: RoomId) -> Token | None:
        self.reads += 1
        self._check()
        return self.kept.get(room_id)

    async def save_token(self, token: Token) -> None:
        self._check()
        self.kept[token.room_id] = token

    async def forget_token(self, room_id: RoomId) -> None:
        self._check()
        self.kept.pop(room_id, None)

    def _check(self) -> None:
        if self.broken:
            raise StoreError("down")


class Facts:
    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    @property
    def learnt(self) -> dict[str, str]:
        """Facts about the server, without the bridge's own visits."""
        return {name: fact for name, fact in self.kept.items() if not name.startswith("visits ")}

    async def fact(self, name: str) -> str | None:
        return self.kept.get(name)

    async def save_fact(self, name: str, value: str) -> None:
        self.kept[name] = value


class Events:
    """`LinkEvents` that records events, and may refuse to store pushes."""

    def __init__(self) -> None:
        self.pushes: list[tuple[str, Received]] = []
        self.back: list[RoomId] = []
        self.brief: list[bool] = []
        self.away: list[RoomId] = []
        self.waits: list[tuple[RoomId, float]] = []
        self.waiting = 0.0
        self.refusals = 0
        """Number of attempts to store a push that are still to be refused."""
        self.gate = asyncio.Event()
        self.gate.set()
        self._changed = asyncio.Event()
        self.under_way = self.most = 0
        """Number of pushes being stored: now, and at most at one time."""

    async def pushed(self, room_id: RoomId, key: str, received: Received) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self._stored(key, received)
        finally:
            self.under_way -= 1

    def backlog(self, room_id: RoomId) -> float:
        return self.waiting

    async def _stored(self, key: str, received: Received) -> None:
        await self.gate.wait()
        if self.refusals:
            self.refusals -= 1
            raise StoreError("down")
        self.pushes.append((key, received))
        self._changed.set()

    def signal(self, room_id: RoomId, happened: LinkRestored | LinkLost | TurnAwaited) -> None:
        match happened:
            case LinkRestored(brief=brief):
                self.back.append(room_id)
                self.brief.append(brief)
            case LinkLost():
                self.away.append(room_id)
            case TurnAwaited(seconds):
                self.waits.append((room_id, seconds))
        self._changed.set()

    async def until(self, happened: Callable[[], bool], seconds: float = 30.0) -> None:
        async with asyncio.timeout(seconds):
            while not happened():
                self._changed.clear()
                await self._changed.wait()

    @property
    def kinds(self) -> list[str]:
        return [type(received.push).__name__ for _, received in self.pushes]


@dataclass
class Rig:
    """Running links and everything they touch."""

    links: Links
    events: Events
    tokens: Tokens
    facts: Facts
    counts: LinkCounts

    async def call(self, who: Account, call_id: int, command: Command) -> Reply:
        return await self.links.call(who, CallId(call_id), command, nothing)


@asynccontextmanager
async def rig(
    settings: LinkSettings,
    *,
    tokens: Tokens | None = None,
    facts: Facts | None = None,
    events: Events | None = None,
) -> AsyncIterator[Rig]:
    tokens, facts, counts = tokens or Tokens(), facts or Facts(), LinkCounts()
    events = events or Events()
    links = Links(
        Shared(
            settings,
            tokens=tokens,
            facts=facts,
            metrics=counts,
            clock=LoopClock(),
            rng=random.Random(1),  # noqa: S311 - jitter
        )
    )
    async with links.running(events):
        yield Rig(links, events, tokens, facts, counts)


async def eventually(happened: Callable[[], bool], seconds: float = 30.0) -> None:
    """Poll until a condition holds that no event signals."""
    async with asyncio.timeout(seconds):
        while not happened():  # noqa: ASYNC110 - the thing watched knows no events
            await asyncio.sleep(0.005)


def blob(data: bytes, name: str = "a.bin", *, size: int | None = -1, piece: int = 1000) -> Blob:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), piece):
            yield data[start : start + piece]

    known = len(data) if size == -1 else size
    return Blob(chunks=chunks(), size=known, mime="application/octet-stream", name=name)


@dataclass
class WildServer:
    """An HTTP server under /webchat whose every answer a test may replace."""

    login: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
    upload: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
    history: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
    robot: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
    socket: Callable[[web.WebSocketResponse], Awaitable[None]] | None = None
    handshake: Callable[[web.Request], web.Response | None] = lambda _: None
    pages: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
    autoping: bool = True
    """Whether pings are answered, or passed to `socket`."""
    base_url: str = ""
    logins: list[float] = field(default_factory=list)
    login_bodies: list[bytes] = field(default_factory=list)
    login_headers: list[dict[str, str]] = field(default_factory=list)
    uploads: list[bytes] = field(default_factory=list)
    histories: list[bytes] = field(default_factory=list)
    questions: list[bytes] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)
    """The raw query of every handshake."""
    opened: list[web.WebSocketResponse] = field(default_factory=list)
    cookies: list[tuple[str, str]] = field(default_factory=list)
    """Path and `Cookie` header of every request, "" if there was none."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[WildServer]:
        @web.middleware
        async def look(
            request: web.Request,
            handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
        ) -> web.StreamResponse:
            self.cookies.append((request.path, request.headers.get("Cookie", "")))
            return await handler(request)

        app = web.Application(client_max_size=64 * 1024 * 1024, middlewares=[look])
        app.router.add_post("/webchat/tpi", self._login)
        app.router.add_post("/webchat/tpiu", self._upload)
        app.router.add_post("/webchat/robotSearch", self._robot)
        app.router.add_get("/webchat/cws", self._socket)
        app.router.add_get("/{path:.*}", self._page)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        self.base_url = f"http://127.0.0.1:{port}/webchat"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _login(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if b'"type":5003,' in body:
            self.histories.append(body)
            assert self.history is not None
            return await self.history(request)
        self.logins.append(asyncio.get_running_loop().time())
        self.login_bodies.append(body)
        self.login_headers.append(dict(request.headers))
        if self.login is not None:
            return await self.login(request)
        return web.json_response({"result": 1, "token": f"T{len(self.logins)}", "config": {}})

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        self.uploads.append(await request.read())
        assert self.upload is not None
        return await self.upload(request)

    async def _robot(self, request: web.Request) -> web.StreamResponse:
        self.questions.append(await request.read())
        assert self.robot is not None
        return await self.robot(request)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        self.sockets.append(request.rel_url.raw_query_string)
        refusal = self.handshake(request)
        if refusal is not None:
            return refusal
        socket = web.WebSocketResponse(compress=False, timeout=0.2, autoping=self.autoping)
        await socket.prepare(request)
        self.opened.append(socket)
        if self.socket is not None:
            await self.socket(socket)
        else:
            await answer_everything(socket)
        return socket

    async def _page(self, request: web.Request) -> web.StreamResponse:
        assert self.pages is not None
        return await self.pages(request)


async def answer_everything(socket: web.WebSocketResponse) -> None:
    """Answer every command with result 1 until the client disconnects."""
    async for message in socket:
        frame = message.json()
        answer = {"type": frame["type"], "messageId": frame["messageId"], "result": 1}
        await socket.send_json(answer)
