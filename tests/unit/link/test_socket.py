"""One socket: servers that misbehave in the middle of a command, replies, heartbeats and pings."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import cast

import pytest
from aiohttp import WSMsgType, web
from multidict import CIMultiDict
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.protocol import State

from bridge.ids import AgentId, CallId, SessionId
from bridge.link.link import UNREAD
from bridge.link.settings import USER_AGENT, Feature, Learnt, Pushed
from bridge.link.socket import FIRST_OWN, TOO_BIG, Connection, Pulse, Wire
from bridge.rooms.ports import CallFailure
from bridge.rooms.store import Token
from bridge.webchat.codes import Dialect, FailureReason
from bridge.webchat.frames import (
    Command,
    Ignored,
    MessageReceived,
    Received,
    Reply,
    SendMessage,
    Text,
    UnknownContent,
)
from bridge.webchat.protocol import Answered, Protocol
from tests.unit.link.rig import (
    FAST,
    Facts,
    LoopClock,
    Rig,
    WildServer,
    answer_everything,
    eventually,
    rig,
    settings_for,
)
from tests.unit.link.simulated import ADA, ASK


async def outcome(
    rigged: Rig, call_id: int, command: Command = ASK
) -> tuple[FailureReason, bool] | int:
    try:
        return (await rigged.call(ADA, call_id, command)).result
    except CallFailure as failure:
        return failure.reason, failure.certain


def deaf(stuck: asyncio.Event) -> Callable[[web.WebSocketResponse], Awaitable[None]]:
    """Return a server that reads nothing from its sockets until the event is set."""

    async def serve(socket: web.WebSocketResponse) -> None:
        assert socket._req is not None
        transport = socket._req.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        await stuck.wait()

    return serve


@pytest.mark.asyncio
async def test_write_to_a_server_that_does_not_read_times_out() -> None:
    """Once every buffer is full, the write is given up, and the link with it."""
    stuck = asyncio.Event()
    async with WildServer(socket=deaf(stuck)).running() as server:
        settings = settings_for(
            server.base_url,
            max_frame_bytes=32_000_000,
            timing=replace(FAST, settle=0.05, reply=0.3, connect=1.0),
        )
        async with rig(settings) as rigged:
            big = SendMessage(SessionId(1), Text("x" * 20_000_000))
            began = asyncio.get_running_loop().time()
            with pytest.raises(CallFailure, match="does not read") as caught:
                await rigged.call(ADA, 1, big)
            assert (caught.value.reason, caught.value.certain) == (FailureReason.NO_ANSWER, False)
            assert asyncio.get_running_loop().time() - began < 2
            await eventually(lambda: rigged.counts.connects == 2 or rigged.counts.open_links == 0)
        stuck.set()


@pytest.mark.asyncio
async def test_a_server_that_does_not_read_does_not_hold_up_a_stop() -> None:
    stuck = asyncio.Event()
    async with WildServer(socket=deaf(stuck)).running() as server:
        timing = replace(FAST, settle=0.05, reply=20.0)
        settings = settings_for(server.base_url, max_frame_bytes=32_000_000, timing=timing)
        async with rig(settings) as rigged, asyncio.TaskGroup() as tasks:
            rigged.links.keep(ADA)
            await eventually(lambda: rigged.counts.open_links == 1)
            big = SendMessage(SessionId(1), Text("x" * 20_000_000))
            call = tasks.create_task(outcome(rigged, 1, big))
            wires = (one.gate.wire for one in rigged.links._links.values())
            (wire,) = (wire for wire in wires if wire is not None)
            await eventually(lambda: wire._socket.paused)
            async with asyncio.timeout(3 * FAST.close):
                await rigged.links.aclose()
            assert await call == (FailureReason.NO_ANSWER, False)
        stuck.set()


@pytest.mark.asyncio
async def test_refused_token_without_a_message_id_answers_all_commands() -> None:
    """A -15 without messageId and of another type: all commands are refused and repeated."""
    server = WildServer()
    asked: list[int] = []

    async def refuse_strangely(socket: web.WebSocketResponse) -> None:
        if len(server.sockets) > 1:
            await answer_everything(socket)
            return
        async for message in socket:
            asked.append(message.json()["messageId"])
            if len(asked) == 3:
                await socket.send_json({"type": 1, "result": -15})

    server.socket = refuse_strangely
    async with server.running(), rig(settings_for(server.base_url)) as rigged:
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(outcome(rigged, n)) for n in (1, 2, 3)]
        assert [call.result() for call in calls] == [1, 1, 1]
        assert rigged.counts.logins == 2


@pytest.mark.asyncio
async def test_replies_after_a_refused_token_still_count() -> None:
    """The first command is refused, the second accepted: its reply counts, it is not repeated."""
    server = WildServer()
    got: list[int] = []

    async def mixed(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            frame = message.json()
            got.append(frame["messageId"])
            if len(server.sockets) == 1 and len(got) < 2:
                continue
            if len(server.sockets) == 1:
                for call_id, result in ((1, -15), (2, 1)):
                    await socket.send_json({"type": 101, "messageId": call_id, "result": result})
                continue
            await socket.send_json({"type": 101, "messageId": frame["messageId"], "result": 1})

    server.socket = mixed
    async with server.running(), rig(settings_for(server.base_url)) as rigged:
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(outcome(rigged, n)) for n in (1, 2)]
        assert [call.result() for call in calls] == [1, 1]
    assert got == [1, 2, 1]


@pytest.mark.asyncio
async def test_command_unanswered_after_a_refused_token_is_uncertain() -> None:
    async def half(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.json()["messageId"] == 2:
                await socket.send_json({"type": 101, "messageId": 1, "result": -15})

    async with WildServer(socket=half).running() as server:
        settings = settings_for(server.base_url, timing=replace(FAST, settle=0.1, connect=0.5))
        async with rig(settings) as rigged, asyncio.TaskGroup() as tasks:
            first = tasks.create_task(outcome(rigged, 1))
            second = tasks.create_task(outcome(rigged, 2))
            assert await second == (FailureReason.NO_ANSWER, False)
            await first


@pytest.mark.asyncio
async def test_1009_blames_the_newest_command_only() -> None:
    async def too_big(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.json()["messageId"] == 2:
                await socket.close(code=1009)

    async with WildServer(socket=too_big).running() as server:
        async with rig(settings_for(server.base_url)) as rigged, asyncio.TaskGroup() as tasks:
            first = tasks.create_task(outcome(rigged, 1))
            long = SendMessage(SESSION, Text("x" * 2000))
            second = tasks.create_task(outcome(rigged, 2, long))
        assert first.result() == (FailureReason.NO_ANSWER, False)
        assert second.result() == (FailureReason.TOO_BIG, True)


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [1001, 1012, 1013])
async def test_a_server_that_goes_away_at_once_does_not_refuse_the_token(code: int) -> None:
    server = WildServer()

    async def leave_once(socket: web.WebSocketResponse) -> None:
        if len(server.sockets) == 1:
            await socket.close(code=code)
        else:
            await answer_everything(socket)

    server.socket = leave_once
    async with server.running(), rig(settings_for(server.base_url)) as rigged:
        assert await outcome(rigged, 1) == 1
        assert rigged.counts.logins == 1
        assert len(server.sockets) == 2


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "locations",
    [["ws://127.0.0.1:1/cws"], ["wss://["], ["ftp://a/"], [""], [], ["cws"], ["cws#a"], ["a", "b"]],
)
async def test_a_redirect_of_the_socket_to_elsewhere_is_not_followed(locations: list[str]) -> None:
    """Nor an endless one, nor one to an invalid address; none of them crashes the link."""

    def away(_: web.Request) -> web.Response:
        headers = CIMultiDict(("Location", location) for location in locations)
        return web.Response(status=302, headers=headers)

    async with WildServer(handshake=away).running() as server:
        settings = settings_for(server.base_url, timing=replace(FAST, connect=0.3))
        async with rig(settings) as rigged:
            assert await outcome(rigged, 1) == (FailureReason.UNREACHABLE, True)
            assert rigged.links.door.trouble.startswith("handshake: ")
        assert len(server.logins) == 1


@pytest.mark.asyncio
async def test_a_connection_that_is_lost_before_the_request_is_a_failed_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found by `make chaos` (SQLite, seed 1): the link crashed, and rested for a minute."""
    made = Connection.connection_made

    def lost(self: Connection, transport: asyncio.BaseTransport) -> None:
        made(self, transport)
        assert isinstance(transport, asyncio.Transport)
        transport.abort()
        monkeypatch.undo()

    monkeypatch.setattr(Connection, "connection_made", lost)
    async with WildServer().running() as server:
        with capture_logs() as logs:
            async with rig(settings_for(server.base_url)) as rigged:
                assert await outcome(rigged, 1) == 1
    failures = [log["why"] for log in logs if log["event"] == "webchat link not opened"]
    assert failures == ["handshake: connection closed"]


@pytest.mark.asyncio
async def test_a_redirect_of_the_socket_on_the_server_is_followed() -> None:
    agents: set[str] = set()

    def onward(request: web.Request) -> web.Response | None:
        agents.add(request.headers["User-Agent"])
        if "moved" in request.query:
            return None
        moved = request.rel_url.update_query(moved="1")
        return web.Response(status=307, headers={"Location": str(moved)})

    async with WildServer(handshake=onward).running() as server:
        async with rig(settings_for(server.base_url)) as rigged:
            assert await outcome(rigged, 1) == 1
        assert server.sockets == ["token=T1", "token=T1&moved=1"]
    assert agents == {USER_AGENT}


@pytest.mark.asyncio
@pytest.mark.parametrize("stable", [60.0, 0.0])
async def test_unreadable_frame_is_reported_to_the_customer(stable: float) -> None:
    """A picture beyond the limit ends the link: the customer must learn that there was one.

    If the server repeats it on each link, it is reported once.
    """

    async def flood(socket: web.WebSocketResponse) -> None:
        async for _ in socket:
            await socket.send_str("x" * 5000)

    timing = replace(FAST, stable=stable)
    async with (
        WildServer(socket=flood).running() as server,
        rig(settings_for(server.base_url, timing=timing, max_incoming_bytes=1000)) as rigged,
    ):
        rigged.links.keep(ADA)
        for number in range(3):
            with pytest.raises(CallFailure, match="lost"):
                await rigged.call(ADA, number, ASK)
        await rigged.events.until(lambda: len(rigged.events.back) == 3)
        told = [received.push for _, received in rigged.events.pushes]
    assert told[:1] == [MessageReceived(SessionId(0), AgentId(""), UnknownContent(None))]
    assert (len(told) == 1) == (stable > 0)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (['{"type":203,"sessionId":7}{"type":210,"sess', 'ionId":7}'], ["RatingPushed", "unread"]),
        (['{"type":210,"msg":{"type":1,"cont', 'ent":"a"}}'], ["unread"]),
        (['{"type":210', '{"type":210', '{"type":203,"sessionId":7}'], ["unread", "RatingPushed"]),
        (["pong", '[{"type":203,"sessionId":7},{"type":299}]'], ["RatingPushed"]),
    ],
)
async def test_frames_split_or_joined_over_messages_are_not_lost_in_silence(
    sent: list[str], read: list[str]
) -> None:
    """Whole frames are read; of a broken one the customer learns that there was something."""

    async def say(socket: web.WebSocketResponse) -> None:
        for one in sent:
            await socket.send_str(one)
        await answer_everything(socket)

    async with (
        WildServer(socket=say).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        rigged.links.keep(ADA)
        await rigged.events.until(lambda: len(rigged.events.pushes) >= len(read))
        await asyncio.sleep(0.05)
        told = [one for _, one in rigged.events.pushes]
    assert ["unread" if one is UNREAD else type(one.push).__name__ for one in told] == read


SESSION = SessionId(5150)


class Socket:
    """A `Wire` without a socket; records what it sends and passes on."""

    def __init__(self, longest: int = 8000) -> None:
        settings = settings_for("http://crm/webchat", max_frame_bytes=longest)
        self.learnt = Learnt(settings, Facts(), LoopClock())
        self.kinds: list[str] = []
        self.handed: list[Pushed] = []
        self.sizes: list[int] = []
        self.sent: list[bytes] = []
        self.limits = (1 << 20, 1 << 20)
        self.wire = Wire(
            cast("Connection", SimpleNamespace(transport=self, protocol=self)),
            Token(ADA.room_id, "ada", "T", 0),
            settings=settings,
            learnt=self.learnt,
            clock=LoopClock(),
            ping_after=30.0,
            unheard=self.kinds.append,
            pulse=Pulse(),
        )
        self.wire._reader = self

    state = State.OPEN

    def push(self, received: Pushed, size: int) -> None:
        self.handed.append(received)
        self.sizes.append(size)

    def unreadable(self) -> None:
        raise AssertionError("all frames here are readable")

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self.limits

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def send_text(self, frame: bytes) -> None:
        self.sent.append(frame)

    def data_to_send(self) -> list[bytes]:
        return []

    async def say(self, call_id: int, text: str) -> asyncio.Future[Reply]:
        return await self.expect(CallId(call_id), SendMessage(SESSION, Text(text)))

    async def expect(self, call_id: CallId, command: Command) -> asyncio.Future[Reply]:
        return await self.wire.write(call_id, command, Dialect.Y2016)

    def hear(self, **frame: object) -> list[Pushed]:
        """Receive a frame; return what is passed on."""
        before = len(self.handed)
        self.wire.read(json.dumps(frame))
        return self.handed[before:]


def failure(reply: asyncio.Future[Reply]) -> tuple[FailureReason, bool]:
    error = reply.exception()
    assert isinstance(error, CallFailure)
    return error.reason, error.certain


UNCERTAIN = (FailureReason.NO_ANSWER, False)


@pytest.mark.asyncio
async def test_1009_blames_the_longest_waiting_frame() -> None:
    socket = Socket()
    short, long, newest = (
        await socket.say(1, "a"),
        await socket.say(2, "b" * 5000),
        await socket.say(3, "c" * 4000),
    )
    answered = await socket.say(4, "d" * 6000)
    socket.hear(type=110, messageId=4, result=1)
    socket.wire.lost(TOO_BIG)
    assert answered.result().ok
    assert failure(long) == (FailureReason.TOO_BIG, True)
    assert [failure(short), failure(newest)] == [UNCERTAIN, UNCERTAIN]
    assert 2500 <= socket.learnt.longest_frame < 2600


@pytest.mark.asyncio
async def test_1009_blames_the_newest_of_equally_long_frames() -> None:
    socket = Socket()
    first, second = await socket.say(1, "a" * 1000), await socket.say(2, "a" * 1000)
    socket.wire.lost(TOO_BIG)
    assert failure(first) == UNCERTAIN
    assert failure(second) == (FailureReason.TOO_BIG, True)


@pytest.mark.asyncio
async def test_1009_after_short_frames_only_has_another_cause() -> None:
    """The customer must not be told that three letters are too long."""
    socket = Socket()
    text = await socket.say(1, "abc")
    socket.wire.lost(TOO_BIG)
    assert failure(text) == UNCERTAIN
    assert socket.learnt.longest_frame == 8000


@pytest.mark.asyncio
async def test_1009_without_a_waiting_command() -> None:
    socket = Socket()
    socket.wire.lost(TOO_BIG)
    assert socket.learnt.longest_frame == 8000


@pytest.mark.asyncio
async def test_other_close_codes_leave_all_commands_uncertain() -> None:
    socket = Socket()
    waiting = [await socket.say(number, "x" * 3000) for number in range(3)]
    waiting[1].cancel()
    socket.wire.lost(1006)
    assert [failure(waiting[0]), failure(waiting[2])] == [UNCERTAIN, UNCERTAIN]
    assert socket.learnt.longest_frame == 8000


@pytest.mark.asyncio
async def test_a_lowered_limit_counts_at_once() -> None:
    socket = Socket()
    long = await socket.say(1, "x" * 6000)
    socket.learnt.too_long(6100)
    with pytest.raises(CallFailure, match="exceeds 3050 bytes"):
        await (await socket.say(2, "x" * 6000))
    socket.hear(type=110, messageId=1, result=1)
    assert long.result().ok, "what was written before is still answered"


@pytest.mark.asyncio
async def test_own_call_ids_are_not_those_of_conversations() -> None:
    socket = Socket()
    await socket.wire.receipt("r-1")
    receipt = json.loads(socket.sent[0])
    assert (receipt["rsId"], receipt["messageId"]) == ("r-1", FIRST_OWN)
    socket.wire.typing(SESSION)
    socket.hear(type=113, result=-12)
    assert Feature.TYPING in socket.learnt._missing
    assert json.loads(socket.sent[1])["messageId"] == FIRST_OWN + 1


@pytest.mark.asyncio
async def test_receipt_too_long_for_a_frame_is_not_sent() -> None:
    socket = Socket(longest=1024)
    await socket.wire.receipt("r" * 1024)
    assert socket.sent == []


@pytest.mark.asyncio
async def test_pushes_are_passed_on_and_stray_replies_noted() -> None:
    socket = Socket()
    [pushed] = socket.hear(type=203, sessionId=1, agentId="a")
    assert isinstance(pushed, Received)
    assert socket.hear(type=299, rsId="r-9") == [Ignored("unknown type 299", "r-9")]
    assert socket.hear(type=299) == []
    assert socket.hear(type=110, result=1) == []
    assert socket.kinds == [
        "unknown type 299",
        "unknown type 299",
        "unexpected reply 110",
    ]


@pytest.mark.asyncio
async def test_several_frames_in_one_text_share_its_size() -> None:
    socket = Socket()
    message = json.dumps([{"type": 203, "sessionId": 1, "agentId": "a"}] * 100)
    socket.wire.read(message)
    assert len(socket.sizes) == 100
    assert len(message) * 0.9 < sum(socket.sizes) < len(message) * 1.1


@pytest.mark.asyncio
async def test_several_frames_in_one_text_are_heard_in_order() -> None:
    """Two replies and two pushes at once, as an array and as objects behind each other."""
    socket = Socket()
    one, two = [await socket.say(number, "hello") for number in (1, 2)]
    frames = [
        {"type": 110, "messageId": 1, "result": 1},
        {"type": 203, "sessionId": 1, "agentId": "a"},
        {"type": 110, "messageId": 2, "result": -17},
        {"type": 205, "sessionId": 1, "agentId": "a"},
    ]
    socket.wire.read(json.dumps(frames[:2]))
    socket.wire.read("\n".join(map(json.dumps, frames[2:])))
    assert [reply.done() and reply.result().result for reply in (one, two)] == [1, -17]
    pushes = [told.push for told in socket.handed if isinstance(told, Received)]
    assert [type(push).__name__ for push in pushes] == ["RatingPushed", "SessionClosed"]
    assert socket.kinds == []


@asynccontextmanager
async def connected_to(*messages: bytes | list[bytes]) -> AsyncIterator[Connection]:
    """Connect to a server that sends these messages: texts as lists of fragments, or bytes."""

    async def say(server: ServerConnection) -> None:
        for message in messages:
            await server.send(message, text=isinstance(message, list))
        await server.wait_closed()

    async with serve(say, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        connecting = connect(
            f"ws://127.0.0.1:{port}", compression=None, proxy=None, create_connection=Connection
        )
        async with connecting as connection:
            assert isinstance(connection, Connection)
            yield connection


@pytest.mark.asyncio
async def test_fragments_are_joined_also_before_frames_are_handed_over() -> None:
    whole, parts = [b"caf\xc3\xa9"], [b"caf\xc3", b"", b"\xa9 cr", b"\xc3\xa8me"]
    async with connected_to(whole, parts, "您好".encode(), [b"{}"]) as connection:
        heard: list[str] = []
        await eventually(lambda: len(connection._early) == 4)
        connection.hand_over(heard.append, lambda: None)
    assert heard == ["caf\u00e9", "caf\u00e9 cr\u00e8me", "\u60a8\u597d", "{}"]


@pytest.mark.asyncio
async def test_a_text_that_is_not_utf_8_is_read_and_ends_no_connection() -> None:
    async with connected_to(
        "您好".encode("gbk"), ["您".encode("gbk"), b"!"], [b"ok"]
    ) as connection:
        heard: list[str] = []
        connection.hand_over(heard.append, lambda: None)
        await eventually(lambda: len(heard) == 3)
    assert heard == ["您好", "您!", "ok"]


@pytest.mark.asyncio
async def test_bug_in_reading_a_frame_crashes_only_its_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing of the frame is logged, nothing after it is read, and the link comes back."""

    async def twice(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if len(server.sockets) == 1:
                await socket.send_str("secret")
                await socket.send_json({"type": 203, "sessionId": 1, "agentId": "a"})
            else:
                await socket.send_json({**message.json(), "result": 1})

    def receive(protocol: Protocol, text: str) -> Answered | Received | Ignored:
        if text == "secret":
            raise ZeroDivisionError(text)
        return real(protocol, text)

    real = Protocol.receive
    monkeypatch.setattr(Protocol, "receive", receive)
    server = WildServer(socket=twice)
    unhandled: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: unhandled.append(told))
    async with server.running(), rig(settings_for(server.base_url)) as rigged:
        with capture_logs() as logs:
            assert await outcome(rigged, 1) == (FailureReason.NO_ANSWER, False)
            assert await outcome(rigged, 2) == 1
        assert rigged.events.pushes == []
    crashes = [line["errors"] for line in logs if line["event"] == "webchat link crashed"]
    assert crashes == [["unexpected error (ZeroDivisionError)"]]
    assert unhandled == []


BEATING = replace(FAST, ping_after=0.1, ping_wait=0.3)


@pytest.mark.asyncio
async def test_heartbeats_are_sent_on_a_busy_link_too() -> None:
    beats: list[float] = []

    async def chatty(socket: web.WebSocketResponse) -> None:
        async with asyncio.TaskGroup() as tasks:
            talking = tasks.create_task(talk(socket))
            async for message in socket:
                beats.append(asyncio.get_running_loop().time())
                frame = message.json()
                await socket.send_json({"messageId": frame["messageId"], "type": 10, "result": 1})
            talking.cancel()

    async def talk(socket: web.WebSocketResponse) -> None:
        while True:
            await socket.send_json({"type": 203, "sessionId": 1, "agentId": "a"})
            await asyncio.sleep(0.01)

    async with WildServer(socket=chatty).running() as server:
        settings = settings_for(server.base_url, dialect=Dialect.Y2019, timing=BEATING)
        async with rig(settings) as rigged:
            rigged.links.keep(ADA)
            await eventually(lambda: len(beats) == 4)
    assert all(0.05 < late - early < 1 for early, late in pairwise(beats))


@pytest.mark.asyncio
async def test_any_frame_counts_as_a_sign_of_life() -> None:
    """The heartbeat itself is not answered, but a push comes meanwhile."""

    async def pushing(socket: web.WebSocketResponse) -> None:
        async for _ in socket:
            await socket.send_json({"type": 203, "sessionId": 1, "agentId": "a"})

    async with WildServer(socket=pushing).running() as server:
        timing = replace(BEATING, ping_wait=0.05)
        settings = settings_for(server.base_url, dialect=Dialect.Y2019, timing=timing)
        async with rig(settings) as rigged:
            rigged.links.keep(ADA)
            await eventually(lambda: not rigged.links.learnt.has(Feature.HEARTBEAT))
            assert rigged.counts.connects == 1


@pytest.mark.asyncio
async def test_a_long_frame_counts_as_a_sign_of_life_while_it_arrives() -> None:
    """Pongs can only come after its end, which a slow line delays."""
    said = b'{"type":203,"sessionId":1,"agentId":"a"}' + b" " * 160
    frame = bytes((0x81, 126, 0, len(said))) + said

    async def slow(socket: web.WebSocketResponse) -> None:
        assert socket._req is not None
        transport = socket._req.transport
        assert isinstance(transport, asyncio.Transport)
        for number in range(len(frame)):
            transport.write(frame[number : number + 1])
            await asyncio.sleep(0.01)
        await answer_everything(socket)

    async with WildServer(socket=slow).running() as server:
        timing = replace(BEATING, ping_wait=0.2)
        async with rig(settings_for(server.base_url, timing=timing)) as rigged:
            rigged.links.keep(ADA)
            await rigged.events.until(lambda: bool(rigged.events.pushes))
            assert rigged.counts.connects == 1


@pytest.mark.asyncio
async def test_a_large_frame_is_read_whole() -> None:
    """An agent's picture comes in many pieces; only beyond the common budget is it dropped."""

    async def embed(socket: web.WebSocketResponse) -> None:
        await socket.send_str('{"type":203,"sessionId":1,"agentId":"a"}' + " " * 1_000_000)
        await answer_everything(socket)

    async with (
        WildServer(socket=embed).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        assert await outcome(rigged, 1) == 1
        await rigged.events.until(lambda: bool(rigged.events.pushes))
        assert rigged.counts.connects == 1


@pytest.mark.asyncio
async def test_token_refused_for_a_heartbeat_causes_a_login() -> None:
    async def refusing(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            result = -15 if len(server.sockets) == 1 else 1
            answer = {"messageId": message.json()["messageId"], "type": 10, "result": result}
            await socket.send_json(answer)

    server = WildServer(socket=refusing)
    async with server.running():
        settings = settings_for(server.base_url, dialect=Dialect.Y2019, timing=BEATING)
        async with rig(settings) as rigged:
            rigged.links.keep(ADA)
            await eventually(lambda: rigged.counts.connects == 2)
            assert rigged.counts.logins == 2


@pytest.mark.asyncio
async def test_a_refused_token_does_not_wait_for_a_heartbeat() -> None:
    """The heartbeat hangs; a command's token is refused; the new login comes at once."""
    beaten = asyncio.Event()

    async def half(socket: web.WebSocketResponse) -> None:
        if len(server.sockets) > 1:
            await answer_everything(socket)
            return
        async for message in socket:
            frame = message.json()
            if frame["type"] == 10:
                beaten.set()
            else:
                answer = {"messageId": frame["messageId"], "type": 101, "result": -15}
                await socket.send_json(answer)

    server = WildServer(socket=half)
    async with server.running():
        timing = replace(BEATING, ping_wait=30.0)
        settings = settings_for(server.base_url, dialect=Dialect.Y2019, timing=timing)
        async with rig(settings) as rigged:
            rigged.links.keep(ADA)
            await asyncio.wait_for(beaten.wait(), 30)
            assert (await rigged.call(ADA, 1, ASK)).ok
            assert rigged.counts.logins == 2


@pytest.mark.asyncio
async def test_close_during_a_heartbeat_is_no_unanswered_heartbeat() -> None:
    async def leaving(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.json()["type"] == 10:
                await socket.close(code=1001)

    async with WildServer(socket=leaving).running() as server:
        settings = settings_for(server.base_url, dialect=Dialect.Y2019, timing=BEATING)
        async with rig(settings) as rigged:
            rigged.links.keep(ADA)
            await eventually(lambda: rigged.counts.connects == 6)
            assert rigged.links.learnt.has(Feature.HEARTBEAT)


@pytest.mark.asyncio
async def test_stop_during_a_heartbeat_leaves_no_unawaited_future() -> None:
    gc.freeze()
    beaten = asyncio.Event()

    async def hearing(socket: web.WebSocketResponse) -> None:
        async for _ in socket:
            beaten.set()

    unhandled: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: unhandled.append(told))
    async with WildServer(socket=hearing).running() as server:
        settings = settings_for(server.base_url, dialect=Dialect.Y2019, timing=BEATING)
        async with rig(settings) as rigged:
            rigged.links.keep(ADA)
            await asyncio.wait_for(beaten.wait(), 30)
    gc.collect()
    assert unhandled == []


@pytest.mark.asyncio
async def test_no_heartbeat_follows_a_token_refused_during_a_ping() -> None:
    """During a ping, the server shows that it knows heartbeats, so that one is due, and refuses the
    token.
    """
    heard: list[int] = []

    async def refusing(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                heard.append(message.json()["type"])
            elif len(server.sockets) > 1 or not rigged.counts.open_links:
                await socket.pong(message.data)
            else:
                await socket.send_json({"type": 203, "sessionId": 1, "agentId": "a", "rsId": "1"})
                await socket.send_json({"type": 0, "result": -15})

    server = WildServer(socket=refusing, autoping=False)
    async with server.running(), rig(settings_for(server.base_url, timing=BEATING)) as rigged:
        rigged.links.keep(ADA)
        await eventually(lambda: rigged.counts.logins == 2)
        assert rigged.links.learnt.has(Feature.HEARTBEAT)
    assert 10 not in heard
