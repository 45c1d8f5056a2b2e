"""Metrics, and their port."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Self

import pytest
from aiohttp import ClientSession, web
from aiohttp.http_exceptions import HttpProcessingError
from msgspec.structs import replace
from structlog.testing import capture_logs

from bridge.conversation.model import Idle
from bridge.ids import QueueId
from bridge.ops import metrics as module
from bridge.ops.metrics import CannotListen, Metrics, metrics_server, watch_loop_lag
from bridge.rooms.record import Chat
from bridge.rooms.store import INBOX, Depth, Lane, Outcome
from bridge.webchat.frames import ChatStarted, Received
from tests.fakes.clock import quiet
from tests.fakes.house import MEI, ROOM, SESSION, World, said
from tests.fakes.store import Fault, FlakyStore
from tests.unit.link.rig import eventually


def test_two_bridges_have_metrics_of_their_own() -> None:
    one, two = Metrics(), Metrics()
    one.of("").opened(again=False)
    assert b'bridge_logged_in{enterprise=""} 1.0' in one.render()
    assert b"bridge_logged_in{" not in two.render()


def test_counters_are_0_from_the_start() -> None:
    """Otherwise the first event of each would be no increase."""
    metrics = Metrics()
    metrics.of("best")
    text = metrics.render().decode()
    for name in (
        "bridge_logged_in",
        "webchat_ws_connects_total",
        "webchat_ws_reconnects_total",
        "webchat_ws_connection_failures_total",
        "webchat_queue_wait_seconds_count",
        "inbox_seconds_count",
    ):
        assert f'{name}{{enterprise="best"}} 0.0' in text, name


def test_metric_names() -> None:
    metrics = Metrics()
    metrics.matrix_event.labels("m.room.message").observe(0.01)
    metrics.connected.labels("database", "").set(1)
    ours = metrics.of("")
    ours.handling.observe(0.003)
    ours.delivery("webchat", "delivered").observe(0.25)
    ours.phase_entered("Requesting")
    ours.phase_entered("Chatting")
    text = metrics.render().decode()
    for line in (
        'bridge_matrix_event_count{event_type="m.room.message"} 1.0',
        'bridge_connected{enterprise="",peer="database"} 1.0',
        'webchat_phases_total{enterprise="",phase="Requesting"} 1.0',
        'delivery_seconds_sum{enterprise="",lane="webchat",outcome="delivered"} 0.25',
        'inbox_seconds_count{enterprise=""} 1.0',
    ):
        assert line in text, line
    assert "process_resident_memory_bytes" in text


def test_chat_is_measured_step_by_step() -> None:
    metrics = Metrics()
    asked = Chat(1, QueueId(7), 1_000)
    taken = replace(asked, started=13_000)
    answered = replace(taken, answered=16_000)
    rated = replace(answered, ended=60_000, rating=5)
    chats = (
        None,
        asked,
        taken,
        answered,
        rated,
        replace(rated, rating=4),
        replace(rated, rating=4),
    )
    for before, after in pairwise(chats):
        assert after is not None
        metrics.of("").chat_went_on(before, after)
    of_agent = Chat(2, QueueId(8), 5_000, started=5_000)
    metrics.of("").chat_went_on(None, of_agent)
    text = metrics.render().decode()
    for line in (
        'webchat_queue_wait_seconds_count{enterprise=""} 1.0',
        'webchat_queue_wait_seconds_sum{enterprise=""} 12.0',
        'webchat_first_reply_seconds_count{enterprise="",queue="7"} 1.0',
        'webchat_first_reply_seconds_sum{enterprise="",queue="7"} 15.0',
        'webchat_ratings_total{enterprise="",queue="7",rating="5"} 1.0',
        'webchat_ratings_total{enterprise="",queue="7",rating="4"} 1.0',
    ):
        assert line in text, line
    assert 'queue="8"' not in text
    given_up = replace(asked, number=3, ended=9_000)
    metrics.of("").chat_went_on(asked, given_up)
    metrics.of("").chat_went_on(given_up, replace(given_up, started=10_000))  # taken up after all
    assert [(one.number, one.started) for _, one in metrics.recent] == [
        (1, 13_000),
        (3, None),
        (3, 10_000),
    ]


def test_no_sum_falls_when_the_clock_is_set_back_during_a_wait() -> None:
    metrics, asked = Metrics(), Chat(1, QueueId(7), 3_600_000)
    taken = replace(asked, started=1_000)
    metrics.of("").chat_went_on(asked, taken)
    metrics.of("").chat_went_on(taken, replace(taken, answered=2_000))
    text = metrics.render().decode()
    assert 'webchat_queue_wait_seconds_sum{enterprise=""} 0.0' in text
    assert 'webchat_first_reply_seconds_sum{enterprise="",queue="7"} 0.0' in text


@pytest.mark.asyncio
async def test_a_whole_chat_is_measured_once() -> None:
    """In the engine, with a commit that fails in the middle: only stored steps count."""
    metrics, world = Metrics(), World(FlakyStore())
    world.around.measures = metrics.of("")
    assert isinstance(world.store, FlakyStore)
    await world.record(ROOM, Idle())
    async with world.running() as engine:
        await engine.accept_events([world.event(text="hello")])
        await world.clock.turn(20)
        await engine.pushed(ROOM, "p1", Received(ChatStarted(SESSION, (MEI,))))
        await world.clock.turn(5)
        world.store.fail("commit", Fault.BEFORE)
        await engine.pushed(ROOM, "p2", said("hello"))
        await world.clock.turn(5)
        await engine.pushed(ROOM, "p3", said("how can I help you?"))
        await quiet()
        metrics.count = engine.chats
    text = metrics.render().decode()
    for line in (
        'webchat_queue_wait_seconds_count{enterprise=""} 1.0',
        'webchat_queue_wait_seconds_sum{enterprise=""} 20.0',
        'webchat_first_reply_seconds_count{enterprise="",queue="2"} 1.0',
        'webchat_first_reply_seconds_sum{enterprise="",queue="2"} 25.0',
        'webchat_sessions{enterprise="",phase="Chatting",queue="2"} 1.0',
    ):
        assert line in text, line


def test_chats_are_counted_by_phase_and_queue() -> None:
    metrics = Metrics()
    metrics.count = lambda: {("", "Queued", QueueId(1)): 2, ("", "Chatting", QueueId(1)): 5}
    metrics.render()
    metrics.count = lambda: {("", "Chatting", QueueId(1)): 4}
    text = metrics.render().decode()
    assert 'webchat_sessions{enterprise="",phase="Queued",queue="1"} 0.0' in text
    assert 'webchat_sessions{enterprise="",phase="Chatting",queue="1"} 4.0' in text


def test_metrics_of_links() -> None:
    metrics = Metrics()
    ours = metrics.of("")
    ours.logged_in(1)
    ours.logged_in(-20)
    ours.logged_in(None)
    ours.opened(again=False)
    ours.opened(again=True)
    ours.closed()
    ours.open_failed()
    text = metrics.render().decode()
    for line in (
        'webchat_logins_total{enterprise="",result="1"} 1.0',
        'webchat_logins_total{enterprise="",result="-20"} 1.0',
        'webchat_logins_total{enterprise="",result="none"} 1.0',
        'bridge_logged_in{enterprise=""} 1.0',
        'webchat_ws_connects_total{enterprise=""} 1.0',
        'webchat_ws_reconnects_total{enterprise=""} 1.0',
        'webchat_ws_connection_failures_total{enterprise=""} 1.0',
    ):
        assert line in text, line


def test_the_backlog_is_shown() -> None:
    """Per configured call centre, and per removed one while it has rows."""
    metrics = Metrics()
    metrics.of("")
    lane, dead = Lane.WEBCHAT.value, Outcome.DEAD.value
    waits = {("", INBOX): Depth(2, 99_000), ("", lane): Depth(3, 70_000), ("x", dead): Depth(4, 0)}
    metrics.backlog(waits, 100_000)
    text = metrics.render().decode()
    for line in (
        'inbox_depth{enterprise=""} 2.0',
        'inbox_age_seconds{enterprise=""} 1.0',
        'outbox_depth{enterprise="",lane="webchat"} 3.0',
        'outbox_age_seconds{enterprise="",lane="webchat"} 30.0',
        'outbox_depth{enterprise="",lane="matrix"} 0.0',
        'outbox_age_seconds{enterprise="",lane="matrix"} 0.0',
        'dead_letters{enterprise=""} 0.0',
        'dead_letters{enterprise="x"} 4.0',
    ):
        assert line in text, line
    metrics.backlog({("", INBOX): Depth(1, 101_000)}, 100_000)
    text = metrics.render().decode()
    for line in ('inbox_age_seconds{enterprise=""} 0.0', 'dead_letters{enterprise="x"} 0.0'):
        assert line in text, line


@pytest.mark.asyncio
async def test_lag_of_the_event_loop_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAG_EVERY", 0.001)
    metrics = Metrics()
    measured = asyncio.Event()
    observe = metrics.loop_lag.observe

    def observed(amount: float, exemplar: dict[str, str] | None = None) -> None:
        observe(amount, exemplar)
        measured.set()

    metrics.loop_lag.observe = observed  # type: ignore[method-assign]  # to know when it happened
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        watcher = group.create_task(watch_loop_lag(metrics))
        await measured.wait()
        watcher.cancel()
    assert b"event_loop_lag_seconds_count 0.0" not in metrics.render()


class Spent(Exception):
    """A fake clock has no more times."""


def clock(*moments: float) -> Callable[[], float]:
    """Return a clock that gives these times, then raises Spent."""
    left = list(moments)

    def now() -> float:
        if not left:
            raise Spent
        return left.pop(0)

    return now


@pytest.mark.asyncio
async def test_blocked_event_loop_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read before and after each sleep: 4.9, 63.94 and 0 s late; the last sleep does not end."""
    metrics = Metrics()
    now = clock(100, 104.9, 104.9, 168.84, 168.84, 168.84, 168.84)
    monkeypatch.setattr(module, "monotonic", now)
    monkeypatch.setattr(module, "LAG_EVERY", 0)
    with capture_logs() as logs, pytest.raises(Spent):
        await watch_loop_lag(metrics)
    assert logs == [
        {"event": "the event loop stood still", "seconds": 63.9, "log_level": "warning"}
    ]
    assert b"event_loop_lag_seconds_count 3.0" in metrics.render()


@pytest.mark.asyncio
async def test_metrics_are_served_and_nothing_else() -> None:
    metrics = Metrics()
    metrics.of("").opened(again=False)
    async with metrics_server(metrics, "127.0.0.1", 0) as port, ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
            assert response.status == 200
            assert response.content_type == "text/plain"
            assert 'bridge_logged_in{enterprise=""} 1.0' in await response.text()
        async with session.get(f"http://127.0.0.1:{port}/_matrix/mau/ready") as response:
            assert response.status == 404


@pytest.mark.asyncio
@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\nHost: a\r\n", b"GET /me"])
async def test_a_connection_without_a_whole_request_ends(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that was used before."""
    monkeypatch.setattr(module, "IDLE", 0.2)
    async with metrics_server(Metrics(), "127.0.0.1", 0) as port, asyncio.timeout(30):
        for before in (b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(before + sent)
            said = await reader.read()  # returns once the server has closed
            assert said.startswith(b"HTTP/1.1 404" if before else b"")
            writer.close()


@pytest.mark.asyncio
async def test_port_in_use_is_an_error() -> None:
    async with metrics_server(Metrics(), "127.0.0.1", 0) as port:
        said = f"metrics.hostname 127.0.0.1, metrics.port {port}: Address already in use"
        with pytest.raises(CannotListen, match=said):
            async with metrics_server(Metrics(), "127.0.0.1", port):
                pytest.fail("two servers on one port")


@pytest.mark.asyncio
@pytest.mark.parametrize("hostname", ["not a host", "a..b"])
async def test_invalid_address_is_reported_with_its_key(hostname: str) -> None:
    with pytest.raises(CannotListen, match=f"metrics.hostname {hostname}, metrics.port 1: "):
        async with metrics_server(Metrics(), hostname, 1):
            pytest.fail("listening")


def test_metrics_are_labelled_by_call_centre() -> None:
    metrics = Metrics()
    acme, best = metrics.of("acme"), metrics.of("best")
    acme.phase_entered("Chatting")
    best.opened(again=False)
    acme.delivery("webchat", "delivered").observe(1)
    metrics.count = lambda: {("best", "Queued", QueueId(1)): 3}
    text = metrics.render().decode()
    for line in (
        'webchat_phases_total{enterprise="acme",phase="Chatting"} 1.0',
        'bridge_logged_in{enterprise="best"} 1.0',
        'delivery_seconds_count{enterprise="acme",lane="webchat",outcome="delivered"} 1.0',
        'webchat_sessions{enterprise="best",phase="Queued",queue="1"} 3.0',
    ):
        assert line in text, line


# --- who connects ---------------------------------------------------------------------------------

ASK = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
BODY = b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx"


class Caller:
    """A connection to a port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def at(cls, port: int, sent: bytes = b"") -> Self:
        made = cls(*await asyncio.open_connection("127.0.0.1", port))
        made._writer.write(sent)
        return made

    async def ask(self) -> None:
        self._writer.write(ASK)
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        (length,) = re.findall(rb"Content-Length: (\d+)", head)
        await self._reader.readexactly(int(length))

    async def read(self) -> int:
        return len(await self._reader.read(500_000))

    @property
    def lives(self) -> bool:
        return not self._reader.at_eof() and self._reader.exception() is None

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


@pytest.mark.asyncio
@pytest.mark.parametrize("sent", [b"", ASK[:-2], BODY], ids=["idle", "half a head", "half a body"])
async def test_longest_unused_of_too_many_connections_is_closed(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """A client that sends requests is still served on the same connection."""
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 20)
    async with metrics_server(Metrics(), "127.0.0.1", 0) as port, asyncio.timeout(20):
        with capture_logs() as logs:
            served, crowd = await Caller.at(port), []
            await served.ask()
            # A client that asks again before 9 others have stays connected.
            for _ in range(10):
                crowd += [await Caller.at(port, sent) for _ in range(9)]
                if sent is BODY:  # it is refused at once
                    assert all([await one.read() for one in crowd[-9:]])
                    await served.ask()
            await eventually(lambda: sum(one.lives for one in crowd) == 19)
            await served.ask()
        for one in (served, *crowd):
            await one.close()
    (told,) = (one for one in logs if one["event"] == "too many connections")
    assert (told["port"], told["most"]) == ("metrics", 20)


@pytest.mark.asyncio
async def test_a_connection_that_sends_a_byte_at_a_time_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its bytes do not extend the idle timeout."""
    monkeypatch.setattr(module, "IDLE", 0.2)
    async with metrics_server(Metrics(), "127.0.0.1", 0) as port, asyncio.timeout(20):
        slow = await Caller.at(port, b"GET /")
        while slow.lives:
            await asyncio.sleep(0.02)
            slow._writer.write(b"a")
        await slow.close()


NO_REQUESTS = {
    "no chunk": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nx\r\n",
    "no header": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
}


@pytest.mark.asyncio
@pytest.mark.parametrize("sent", NO_REQUESTS.values(), ids=NO_REQUESTS)
@pytest.mark.parametrize("reads", [True, False])
async def test_malformed_request_is_refused_and_not_logged(
    caplog: pytest.LogCaptureFixture, sent: bytes, *, reads: bool
) -> None:
    """Otherwise anyone could fill the log with tracebacks."""

    async def handler(request: web.BaseRequest) -> web.Response:
        if reads:
            await request.read()
        return web.Response(status=403)

    served = module.listening(handler, "metrics", "127.0.0.1", 0)
    async with asyncio.timeout(30), served as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert (await reader.readline()).split()[1] in ({b"400"} if reads else {b"400", b"403"})
        writer.close()
        await quiet()
    assert caplog.records == []


@pytest.mark.asyncio
async def test_a_peer_that_hangs_up_before_the_answer_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Strangers did so by asking for "100 Continue", which aiohttp wrote to a closing socket."""

    async def handler(request: web.BaseRequest) -> web.Response:
        while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(0)
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return web.Response()

    served = module.listening(handler, "metrics", "127.0.0.1", 0)
    async with asyncio.timeout(30), served as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ASK)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await quiet()
    assert caplog.records == []


@pytest.mark.asyncio
async def test_compressed_body_is_not_unpacked() -> None:
    """A small body could become a huge one, and block everything; this one is invalid."""
    sent = ASK.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde")
    async with metrics_server(Metrics(), "127.0.0.1", 0) as port, asyncio.timeout(30):
        caller = await Caller.at(port, sent)
        for _ in range(2):
            await caller.ask()
        await caller.close()


@pytest.mark.asyncio
async def test_disconnect_within_a_body_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    read, ended = asyncio.Event(), asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.Response:
        read.set()
        try:
            await request.read()
        finally:
            ended.set()
        raise AssertionError("it never comes")

    served = module.listening(handler, "metrics", "127.0.0.1", 0)
    async with asyncio.timeout(30), served as port:
        caller = await Caller.at(port, BODY)
        await read.wait()
        await caller.close()
        await ended.wait()
        await quiet()
    assert caplog.records == []


@pytest.mark.asyncio
async def test_endless_request_does_not_delay_a_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """aiohttp by itself would wait a minute; a stop has ten seconds altogether."""
    monkeypatch.setattr(module, "LAST_REQUESTS", 0.05)
    async with asyncio.timeout(30):
        async with metrics_server(Metrics(), "127.0.0.1", 0) as port:
            caller = await Caller.at(port, BODY)
            assert await caller.read()  # it is answered, and the rest of it waited for
        await caller.close()


@pytest.mark.asyncio
async def test_a_process_with_few_descriptors_keeps_most_of_them_for_chats(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (256, 256))
    async with metrics_server(Metrics(), "127.0.0.1", 0) as port, asyncio.timeout(20):
        crowd = [await Caller.at(port) for _ in range(40)]
        await eventually(lambda: sum(one.lives for one in crowd) == 32)
        await crowd[-1].ask()
        for one in crowd:
            await one.close()


@pytest.mark.asyncio
async def test_client_that_does_not_read_is_reset_but_a_slow_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "UNREAD", 1.5)
    async with metrics_server(Metrics(), "127.0.0.1", 0) as port, asyncio.timeout(20):
        # More answers than the system's own buffers take; a stream that is not read is paused.
        deaf, slow = [await Caller.at(port, ASK * 5000) for _ in range(2)]
        for _ in range(50):
            await asyncio.sleep(0.05)
            assert await slow.read()
        with suppress(ConnectionError):
            while await deaf.read():
                pass
        assert not deaf.lives
        assert slow.lives
        for one in (deaf, slow):
            await one.close()


@pytest.mark.asyncio
async def test_a_refused_body_does_not_stay_in_memory() -> None:
    """Each that the console refused as too long took 0.5 MB, without any session."""

    class Body(list[int]):
        """The garbage collector can list these, but no bytes."""

    async def handler(_: web.BaseRequest) -> web.Response:
        body = Body()
        try:
            body.remove(0)
        except ValueError as error:
            raise web.HTTPBadRequest from error
        return web.Response()

    async with module.listening(handler, "metrics", "127.0.0.1", 0) as port:
        gc.collect()
        gc.disable()
        try:
            async with ClientSession() as session:
                for _ in range(3):
                    async with session.get(f"http://127.0.0.1:{port}/") as answer:
                        assert answer.status == 400
            await eventually(lambda: not any(isinstance(one, Body) for one in gc.get_objects()))
        finally:
            gc.enable()


@pytest.mark.asyncio
@pytest.mark.parametrize("head", [b"GET /", b"GET / HTTP/1.1\r\nA: "], ids=["line", "header"])
async def test_a_malformed_request_leaves_nothing_in_memory(head: bytes) -> None:
    """200 of 5 MB each took 1.9 GB until the garbage collector came."""

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response()

    async with module.listening(handler, "metrics", "127.0.0.1", 0) as port:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(head + b"a" * 1_000_000)
                assert (await reader.readline()).startswith(b"HTTP/1.0 400")
                writer.transport.abort()
            await eventually(
                lambda: not any(isinstance(one, HttpProcessingError) for one in gc.get_objects())
            )
        finally:
            gc.enable()
