"""A WebChat server that sends without end: memory stays bounded, and other links go on.

These tests are about bytes: pings whose answers are not read, endless fragments and frames,
compressed answers. Odd frames are in `tests/fuzz`, misbehaving servers in `test_socket`.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from socket import SO_RCVBUF, SOL_SOCKET
from unittest.mock import create_autospec

import pytest
from aiohttp import web
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.protocol import State

from bridge.link import socket as socket_module
from bridge.link.http_client import LONGEST_ANSWER, RECEIVED
from bridge.link.socket import MOST, SLICE, USUAL, Budget, Connection
from bridge.rooms.ports import CallFailure, TooBig, Unavailable
from bridge.webchat.codes import FailureReason
from tests.unit.link.rig import WildServer, eventually, rig, settings_for
from tests.unit.link.simulated import ADA, ASK
from tests.unit.link.test_files import fetching

pytestmark = pytest.mark.asyncio
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
LONGEST = 1_000_000
"""Maximum bytes of a message."""


@asynccontextmanager
async def facing(
    play: Callable[[*Streams], Awaitable[None]], longest: int = LONGEST
) -> AsyncIterator[Connection]:
    """Connect to a server that runs `play` after the handshake."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        (key,) = (one for one in head.split(b"\r\n") if one.startswith(b"Sec-WebSocket-Key"))
        word = key.partition(b": ")[2] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accepted = base64.b64encode(hashlib.sha1(word).digest())  # noqa: S324 - RFC 6455
        writer.write(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        writer.write(b"Sec-WebSocket-Accept: " + accepted + b"\r\n\r\n")
        try:
            await play(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, asyncio.timeout(60):
        socket = await connect(
            url,
            create_connection=Connection,
            ping_interval=None,
            compression=None,
            max_size=longest,
        )
        assert isinstance(socket, Connection)
        yield socket
        socket.transport.abort()


async def test_pings_whose_answers_are_not_read() -> None:
    """While the server does not read the pongs, the bridge reads nothing more."""
    flood, more = (b"\x89\x7d" + b"x" * 125) * 1000, asyncio.Event()
    facing_us: list[asyncio.StreamWriter] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(writer.transport, asyncio.Transport)
        writer.transport.pause_reading()
        facing_us.append(writer)
        await more.wait()
        writer.transport.resume_reading()
        while await reader.read(65536):
            pass

    async with facing(play) as socket:
        await eventually(lambda: bool(facing_us))
        while not socket.paused:
            facing_us[0].write(flood)
            await asyncio.sleep(0)
        for _ in range(100):  # thirteen megabytes
            facing_us[0].write(flood)
            await asyncio.sleep(0)
        assert not socket.transport.is_reading()
        assert socket.transport.get_write_buffer_size() < 500_000
        more.set()
        await eventually(socket.transport.is_reading)  # the link goes on


@pytest.mark.parametrize("size", [0, 1, 60_000])
async def test_endless_fragments(size: int) -> None:
    """They are joined up to the longest message, and then the link is closed (1009)."""
    mark = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    piece = b"\x00" + mark + b"x" * size

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x01\x01x")
        for _ in range(3000 if size < 2 else 100):
            writer.write(piece)
            await writer.drain()
        await reader.read(1)

    async with facing(play) as socket:
        heard: list[object] = []
        ended = asyncio.Event()
        socket.hand_over(heard.append, ended.set)
        if size > 1:
            await ended.wait()
            assert socket.protocol.close_sent is not None
            assert socket.protocol.close_sent.code == 1009
        else:
            await eventually(lambda: len(socket._fragments) == 1 + 3000 * size)
        assert heard == []
        assert len(socket._fragments) <= LONGEST


async def test_frame_header_of_64_mib_closes_the_link() -> None:
    """Nothing of the frame is kept."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x81\x7f" + (64 << 20).to_bytes(8, "big") + b"x" * 100)
        await reader.read(1)

    async with facing(play) as socket:
        ended = asyncio.Event()
        socket.hand_over(lambda _: None, ended.set)
        await ended.wait()
        assert socket.protocol.close_sent is not None
        assert socket.protocol.close_sent.code == 1009


async def idle(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(1)


TINY = b"\x81\x011" * 100_000
"""Frames of one character."""


async def test_many_tiny_frames_do_not_block_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are handled a slice at a time; meanwhile nothing more is read."""
    monkeypatch.setattr(socket_module, "TURN", 0.0)
    async with facing(idle) as socket:
        heard: list[object] = []
        socket.hand_over(heard.append, lambda: None)
        socket.data_received(TINY)
        assert not socket.transport.is_reading()
        await asyncio.sleep(0)
        assert len(heard) == SLICE // 3
        socket.data_received(b"\x81\x012")  # the transport had read it already
        await asyncio.sleep(0)
        assert len(heard) == 2 * SLICE // 3
        await eventually(lambda: len(heard) == 100_001)
        assert heard[-1] == "2"
        assert socket.transport.is_reading()


async def test_tiny_frames_on_many_links_share_the_time_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fifty links with 2 MB of pings each stopped everything for 15 s at a time."""
    monkeypatch.setattr(socket_module, "TURN", 0.0)
    shared, heard = Budget(), list[int]()

    def hearing(number: int) -> Callable[[str], None]:
        return lambda _: heard.append(number)

    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(facing(idle)) for _ in range(10)]
        for number, socket in enumerate(sockets):
            socket.budget = shared
            socket.hand_over(hearing(number), lambda: None)
        for socket in sockets[1:]:
            socket.data_received(TINY[:30_000])
        sockets[0].data_received(b"\x81\x012")  # little, but it waits for its turn, too
        for turn in range(11):
            assert len(heard) <= turn * SLICE // 3
            await asyncio.sleep(0)
        assert heard.count(0) == 1
        assert set(heard) == set(range(10))
        await eventually(lambda: len(heard) == 90_001)
        assert all(one.transport.is_reading() for one in sockets)


async def test_a_turn_ends_for_links_that_read_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_module, "TURN", float("-inf"))
    shared, loop = Budget(), asyncio.get_running_loop()
    for _ in range(2):
        assert shared.is_free(loop)
        assert not shared.is_free(loop)
        await asyncio.sleep(0)


async def test_links_that_end_together_share_the_time_for_their_last_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thirty links stopped everything for 5 s, although each had its limit."""
    monkeypatch.setattr(socket_module, "TURN", 0.0)
    monkeypatch.setattr(socket_module, "LAST_TURN", 0.0)
    shared, heard = Budget(), list[object]()
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(facing(idle)) for _ in range(10)]
        for socket in sockets:
            socket.budget = shared
            socket.hand_over(heard.append, lambda: None)
            socket.data_received(TINY)
        for socket in sockets:
            socket.transport.abort()
        await eventually(lambda: all(one.protocol.state is State.CLOSED for one in sockets))
        assert len(heard) <= 3 * SLICE // 3


async def test_held_link_is_not_read_after_a_slice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket_module, "TURN", 0.0)
    async with facing(idle) as socket:
        heard: list[object] = []
        socket.hand_over(heard.append, lambda: None)
        socket.data_received(TINY)
        socket.throttled = True
        await eventually(lambda: len(heard) == 100_000)
        assert not socket.transport.is_reading()
        socket.throttled = False
        socket.flow()
        assert socket.transport.is_reading()


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize(
    ("last_turn", "least", "most"), [(60.0, 100_000, 100_000), (0.0, 0, 2 * SLICE // 3)]
)
async def test_frames_before_the_end_are_handled_for_a_limited_time(
    monkeypatch: pytest.MonkeyPatch, last_turn: float, least: int, most: int, *, lost: bool
) -> None:
    monkeypatch.setattr(socket_module, "TURN", 0.0)
    monkeypatch.setattr(socket_module, "LAST_TURN", last_turn)
    async with facing(idle) as socket:
        heard: list[object] = []
        socket.hand_over(heard.append, lambda: None)
        socket.data_received(TINY)
        if lost:
            socket.transport.abort()
        else:
            socket.eof_received()
        await eventually(lambda: socket.protocol.state is State.CLOSED)
        assert least <= len(heard) <= most


@pytest.mark.parametrize("slowly", [False, True])
@pytest.mark.parametrize("fragmented", [False, True])
async def test_endless_messages_on_many_links(*, fragmented: bool, slowly: bool) -> None:
    """Together they keep no more than the budget: the largest is closed first, small ones stay."""
    shared, longest, links = Budget(4 * LONGEST), LONGEST, 30
    size = 10_000 if fragmented else longest
    mark = b"\x7e" + size.to_bytes(2, "big") if fragmented else b"\x7f" + size.to_bytes(8, "big")

    begin = asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind = b"\x01"
        await begin.wait()
        for number in range(longest // 10_000 - 1):
            if fragmented or not number:
                writer.write(kind + mark)
            kind = b"\x00"
            writer.write(b"x" * 10_000)
            await writer.drain()
            if slowly:
                await asyncio.sleep(0.001)
        await reader.read(1)

    async def usual(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await begin.wait()
        writer.write(b"\x01\x7e" + (USUAL - 1).to_bytes(2, "big") + b"x" * (USUAL - 1))
        await reader.read(1)

    most, ended, heard = 0, 0, list[object]()

    def over() -> None:
        nonlocal ended
        ended += 1

    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(facing(usual, longest)) for _ in range(3)]
        stay = list(sockets)
        wild = [await stack.enter_async_context(facing(play, longest)) for _ in range(links)]
        sockets += wild
        with capture_logs() as logs:
            for socket in sockets:
                socket.budget = shared
                socket.hand_over(heard.append, over)
            begin.set()
            while ended < links - 4:
                taken = sum(
                    len(one._fragments) + len(one.protocol.reader.buffer) for one in sockets
                )
                most = max(most, shared.taken, taken)
                await asyncio.sleep(0.001)
        assert most <= 4 * LONGEST + 300_000  # plus one read
        assert all(one.protocol.close_sent is None for one in stay)
        codes = {one.protocol.close_sent.code for one in sockets if one.protocol.close_sent}
        assert codes == {1009}
        assert heard == []
        assert [one["event"] for one in logs] == ["frames from webchat exceed the memory limit"]
    await eventually(lambda: shared.taken == 0)


async def test_budget_used_up_by_small_messages_closes_no_link() -> None:
    tight = Budget(100)
    links = [create_autospec(Connection, instance=True) for _ in range(3)]
    for link in links:
        tight.half(link, USUAL)
    assert not any(link.give_up.called for link in links)
    tight.half(links[1], USUAL + 1)
    assert [link.give_up.call_count for link in links] == [0, 1, 0]
    tight.half(links[1], 0)
    tight.half(links[0], 0)
    assert tight.taken == USUAL
    assert MOST < 100 << 20


@pytest.mark.parametrize("packed", [False, True])
async def test_endless_answer_to_a_login(packed: bool) -> None:
    zipped, given = gzip.compress(bytes(2**24), 1), 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal given
        response = web.StreamResponse(headers={"Content-Encoding": "gzip"} if packed else {})
        await response.prepare(request)
        while given < 1000:
            await response.write(zipped if packed else b" " * 65_536)
            given += 1
        return response

    server = WildServer()
    server.login = endless
    async with server.running(), rig(settings_for(server.base_url)) as rigged:
        with pytest.raises(CallFailure, match="without WebChat's JSON") as caught:
            await rigged.call(ADA, 1, ASK)
    assert caught.value.reason is FailureReason.UNREACHABLE
    assert given < 1000 > LONGEST_ANSWER // 65_536


async def test_receive_buffer_of_http_connections_is_small() -> None:
    """Otherwise uvloop would read and parse megabytes of "100 Continue" in one iteration."""
    server = WildServer()
    async with server.running(), rig(settings_for(server.base_url)) as rigged:
        assert (await rigged.call(ADA, 1, ASK)).ok
        session = rigged.links._http._session
        assert session is not None
        assert session.connector is not None
        (((protocol, _), *_),) = session.connector._conns.values()
        assert protocol.transport is not None
        made = protocol.transport.get_extra_info("socket")
        assert made.getsockopt(SOL_SOCKET, SO_RCVBUF) <= 2 * RECEIVED  # Linux doubles it


async def test_decompressed_file_beyond_the_limit_is_refused() -> None:
    async def bomb(request: web.Request) -> web.StreamResponse:
        packed = gzip.compress(bytes(2**24))
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    async with fetching(bomb) as (fetcher, _), fetcher.fetch("up/a", 1_000_000) as file:
        assert file.size is None
        read = 0
        try:
            async for chunk in file.chunks:
                read += len(chunk)
        except (TooBig, Unavailable):
            assert read <= 1_000_000
        else:
            pytest.fail("the whole of it was read")
