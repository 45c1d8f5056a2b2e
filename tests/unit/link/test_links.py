"""The life of links: when they open and close, and that none of them harms another."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

import pytest
import structlog
from aiohttp import web

from bridge.ids import CallId, RoomId, SessionId
from bridge.link import link as link_module
from bridge.link import links as links_module
from bridge.link.http_client import OpenFailure
from bridge.link.link import LONG_MISSING, Shared
from bridge.link.links import Links
from bridge.link.login import room_key
from bridge.link.socket import Connection, Wire
from bridge.rooms.ports import CallFailure
from bridge.rooms.store import StoreError, Token
from bridge.webchat.codes import FailureReason
from bridge.webchat.frames import AgentText, CloseSession, MessageReceived, SendMessage, Text
from tests.fakes.clock import HurriedLoop
from tests.unit.link.rig import (
    FAST,
    Events,
    Facts,
    LinkCounts,
    LoopClock,
    Rig,
    Tokens,
    WildServer,
    account,
    answer_everything,
    blob,
    eventually,
    nothing,
    rig,
    settings_for,
)
from tests.unit.link.simulated import ADA, ASK, LOGIN, chat, connected, simulated, text


def said_by_agents(rigged: Rig) -> list[str]:
    pushes = [received.push for _, received in rigged.events.pushes]
    contents = [push.content for push in pushes if isinstance(push, MessageReceived)]
    return [content.html for content in contents if isinstance(content, AgentText)]


def up(rigged: Rig) -> dict[RoomId, bool]:
    """Return the existing links, and whether each is up."""
    return {room_id: link.up for room_id, link in rigged.links._links.items()}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ([], ""),
        (["a=1; Path=/webchat", "b=2; HttpOnly"], "a=1; b=2"),
        (["a=1; Path=/; Expires=Wed, 01 Jan 2200 00:00:00 GMT; SameSite=None; Partitioned"], "a=1"),
        (["a=x==|y/z~!1; Path=/", 'b="q"'], 'a=x==|y/z~!1; b="q"'),
        (["a=1; Path=/other", "b=2; Path=/webchat/tpi", "c=3; Path=/webchat/"], "c=3"),
        (["a=1; Domain=other.example", "b=2; Secure", "c=3; Max-Age=0"], ""),
        (["a=1", "a=2"], "a=2"),
        (["nonsense", "=1", "a=1"], "a=1"),
        ([f"a={'x' * 4095}", f"b={'x' * 4094}", "c=1"], f"b={'x' * 4094}"),
        (["a=\u00e9", "b=2"], "b=2"),
    ],
)
async def test_which_cookies_of_a_login_are_kept(told: list[str], kept: str) -> None:
    async def login(_: web.Request) -> web.StreamResponse:
        response = web.json_response({"result": 1, "token": "T"})
        for cookie in told:
            response.headers.add("Set-Cookie", cookie)
        return response

    async with WildServer(login=login).running() as server:
        async with rig(settings_for(server.base_url)) as rigged:
            assert (await rigged.call(ADA, 1, ASK)).ok
            assert rigged.tokens.kept[ADA.room_id].cookies == kept
        assert server.cookies == [("/webchat/tpi", ""), ("/webchat/cws", kept)]


@pytest.mark.asyncio
async def test_an_unwanted_link_closes_after_a_while_and_is_forgotten() -> None:
    async with WildServer().running() as server, rig(settings_for(server.base_url)) as rigged:
        assert (await rigged.call(ADA, 1, ASK)).ok
        assert up(rigged) == {ADA.room_id: True}
        await eventually(lambda: up(rigged) == {})
        assert rigged.counts.open_links == 0
        assert rigged.events.back == [], "opened by a call, never lost"
        assert (await rigged.call(ADA, 2, ASK)).ok
        assert rigged.counts.logins == 1


@pytest.mark.asyncio
async def test_link_has_two_tasks_and_small_objects() -> None:
    """A thousand are open at once: each runs two tasks, and the attributes of its objects are in
    key-sharing dicts, as Python does for up to 29 attributes; of a connection only those that it
    has from the start, as the number is frozen while a thousand are opened at once.
    """
    async with WildServer().running() as server, rig(settings_for(server.base_url)) as rigged:
        rigged.links.keep(account("b"))
        await eventually(lambda: rigged.counts.open_links == 1)
        wires, before = _wires(rigged.links), len(_tasks())
        rigged.links.keep(ADA)
        await eventually(lambda: rigged.counts.open_links == 2)
        assert len(_tasks()) - before == 2
        link, (wire,) = rigged.links._links[ADA.room_id], _wires(rigged.links) - wires
        for one in (link, wire, wire._socket):
            # Python 3.14 adds the names in slots that methods set, which makes them too many.
            full = one is wire._socket and sys.version_info >= (3, 14)
            assert sys.getsizeof(vars(one)) < (900 if full else 350), type(one).__name__
        assert vars(wire._socket).keys() == vars(Connection(wire._socket.protocol)).keys()


def _tasks() -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if "/bridge/link/" in repr(task)]


def _wires(links: Links) -> set[Wire]:
    return {link.gate.wire for link in links._links.values() if link.gate.wire is not None}


@pytest.mark.asyncio
async def test_a_kept_link_stays_until_it_is_released() -> None:
    async with WildServer().running() as server, rig(settings_for(server.base_url)) as rigged:
        rigged.links.keep(ADA)
        rigged.links.keep(ADA)
        await rigged.events.until(lambda: rigged.events.back == [ADA.room_id])
        await asyncio.sleep(3 * FAST.release)
        assert rigged.counts.open_links == 1
        rigged.links.release(ADA.room_id)
        rigged.links.release(account("unknown").room_id)
        await eventually(lambda: up(rigged) == {})
        assert rigged.counts.connects == 1


@pytest.mark.asyncio
async def test_loss_is_not_brief_if_the_process_was_suspended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found by `make chaos` (seed 20261127, PostgreSQL, plain): suspended for ten seconds while the
    call centre was killed, the bridge did not mention that agents' messages may be missing.
    """
    monkeypatch.setattr("bridge.link.link.BRIEF", 0.6)
    async with (
        WildServer().running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        rigged.links.keep(ADA)
        await rigged.events.until(lambda: len(rigged.events.brief) == 1)
        await server.opened[-1].close()
        await rigged.events.until(lambda: len(rigged.events.brief) == 2)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, HurriedLoop)
        loop.leap(1.0)  # suspended
        await server.opened[-1].close()
        await rigged.events.until(lambda: len(rigged.events.brief) == 3)
    assert rigged.events.brief == [False, True, False]


@pytest.mark.asyncio
async def test_loss_of_a_silent_link_is_counted_from_its_last_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bridge.link.link.BRIEF", 0.3)

    async def serve(socket: web.WebSocketResponse) -> None:
        if len(server.sockets) == 1:
            await asyncio.sleep(0.1)
            assert socket._req is not None
            assert socket._req.transport is not None
            socket._req.transport.pause_reading()
            await asyncio.sleep(2)
        await answer_everything(socket)

    server = WildServer(socket=serve)
    timing = replace(FAST, ping_after=0.2, ping_wait=0.3)
    async with server.running(), rig(settings_for(server.base_url, timing=timing)) as rigged:
        rigged.links.keep(ADA)
        await rigged.events.until(lambda: len(rigged.events.brief) == 2)
    assert rigged.events.brief == [False, False]


@pytest.mark.asyncio
async def test_long_loss_of_a_link_is_reported_once() -> None:
    """table row 34: after ten minutes; here it is less."""
    timing = replace(FAST, session_grace=0.2)
    async with (
        WildServer().running() as server,
        rig(settings_for(server.base_url, timing=timing)) as rigged,
    ):
        rigged.links.keep(ADA)
        await rigged.events.until(lambda: rigged.events.back == [ADA.room_id])
        await asyncio.sleep(0.3)
        assert rigged.events.away == [], "it stands"
        server.handshake = lambda _: web.Response(status=503)
        await server.opened[-1].close()
        await rigged.events.until(lambda: bool(rigged.events.away))
        await asyncio.sleep(0.5)
        assert rigged.events.away == [ADA.room_id]
        server.handshake = lambda _: None
        await rigged.events.until(lambda: len(rigged.events.back) == 2)


@pytest.mark.asyncio
async def test_state_of_each_link_has_a_time_and_a_reason() -> None:
    wild = WildServer()
    async with wild.running() as server, rig(settings_for(server.base_url)) as rigged:
        rigged.links.keep(ADA)
        (begun,) = rigged.links.states()
        assert (begun.room_id, begun.state, begun.why) == (ADA.room_id, "opening", "")
        await rigged.events.until(lambda: bool(rigged.events.back))
        (there,) = rigged.links.states()
        assert (there.state, there.why) == ("up", "")
        assert there.since >= begun.since
        server.handshake = lambda _: web.Response(status=503)
        await server.opened[-1].close()
        await eventually(lambda: "HTTP 503" in rigged.links.states()[0].why)
        (lost,) = rigged.links.states()
        assert lost.state in {"opening", "waiting"}


@pytest.mark.asyncio
async def test_a_released_link_waits_for_the_call_under_way() -> None:
    go = asyncio.Event()

    async def slow(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            await go.wait()
            frame = message.json()
            await socket.send_json(
                {"type": frame["type"], "messageId": frame["messageId"], "result": 1}
            )

    async with WildServer(socket=slow).running() as server:
        async with rig(settings_for(server.base_url)) as rigged, asyncio.TaskGroup() as tasks:
            rigged.links.keep(ADA)
            call = tasks.create_task(rigged.call(ADA, 1, ASK))
            await eventually(lambda: rigged.counts.open_links == 1)
            rigged.links.release(ADA.room_id)
            await asyncio.sleep(3 * FAST.release)
            assert rigged.counts.open_links == 1
            go.set()
        assert call.result().ok


@pytest.mark.asyncio
async def test_stop_fails_waiting_calls() -> None:
    hung = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await hung.wait()
        return web.Response()

    async with WildServer(login=hang).running() as server:
        async with rig(settings_for(server.base_url)) as rigged, asyncio.TaskGroup() as tasks:
            call = tasks.create_task(_reason(rigged.links, 1))
            await eventually(lambda: len(server.logins) == 1)
            await rigged.links.aclose()
            assert await call == (FailureReason.UNREACHABLE, True)
            assert await _reason(rigged.links, 2) == (FailureReason.UNREACHABLE, True)
            rigged.links.keep(ADA)
            assert up(rigged) == {}
        hung.set()


@pytest.mark.asyncio
async def test_room_that_is_given_up_closes_its_link() -> None:
    """Its socket closes without a logout; the room may come back, and other links stay."""
    async with WildServer().running() as server, rig(settings_for(server.base_url)) as rigged:
        bob = account("bob")
        rigged.links.keep(ADA)
        rigged.links.keep(bob)
        await eventually(lambda: rigged.counts.open_links == 2)
        await rigged.links.leave([ADA.room_id, RoomId("!of-nobody:example.org")])
        assert up(rigged) == {bob.room_id: True}
        rigged.links.keep(ADA)
        await eventually(lambda: rigged.counts.open_links == 2)
        assert len(server.logins) == 2  # the stored token was used


@pytest.mark.asyncio
async def test_room_that_is_given_up_while_its_link_closes_holds_no_socket() -> None:
    """The server does not answer the close frame; its next pushes are for another process."""

    async def deaf(socket: web.WebSocketResponse) -> None:
        frame = (await socket.receive()).json()
        await socket.send_json({"type": 101, "messageId": frame["messageId"], "result": 1})
        await over.wait()

    over = asyncio.Event()
    timing = replace(FAST, release=0.01, close=20.0)
    async with (
        WildServer(socket=deaf).running() as server,
        rig(settings_for(server.base_url, timing=timing)) as rigged,
    ):
        assert (await rigged.call(ADA, 1, ASK)).ok
        wire = rigged.links._links[ADA.room_id].gate.wire
        assert wire is not None
        await eventually(lambda: not wire.usable)
        async with asyncio.timeout(5):
            await rigged.links.leave([ADA.room_id])
        assert wire._socket.transport.is_closing()
        assert wire.woken_at is None
        over.set()


@pytest.mark.asyncio
@pytest.mark.parametrize("back", [True, False])
async def test_pushes_of_a_room_that_is_given_up_are_stored_before_it_returns(
    monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    """A server of 2016 repeats nothing, and the store may be away for longer than a stop waits; if
    not `back`, for longer than any link waits.
    """
    monkeypatch.setattr(link_module, "LAST_WORDS", 0.02)
    monkeypatch.setattr(links_module, "STORE_AWAY", 30.0 if back else 0.2)
    async with (
        simulated(dialect="2016") as simulator,
        rig(settings_for(simulator.base_url)) as rigged,
    ):
        rigged.links.keep(ADA)
        await chat(rigged)
        greeting = said_by_agents(rigged)
        rigged.events.refusals = 10**9
        await simulator.do({"op": "say", "login": LOGIN, "text": "first"})
        await eventually(lambda: rigged.events.refusals < 10**9)
        await rigged.links.leave([ADA.room_id])
        rigged.links.keep(ADA)
        await rigged.links.leave([ADA.room_id])
        rigged.links.keep(ADA)
        if back:
            await asyncio.sleep(0.1)
            assert rigged.counts.open_links == 0
            rigged.events.refusals = 0
        await eventually(lambda: connected(rigged))
        rigged.events.refusals = 0
        await simulator.do({"op": "say", "login": LOGIN, "text": "second"})
        words = [*greeting, "first", "second"] if back else [*greeting, "second"]
        await rigged.events.until(lambda: len(said_by_agents(rigged)) == len(words))
    assert said_by_agents(rigged) == words


@pytest.mark.asyncio
async def test_a_stop_does_not_wait_for_what_cannot_be_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link_module, "LAST_WORDS", 0.02)
    async with asyncio.timeout(10), simulated(dialect="2016") as simulator:
        async with rig(settings_for(simulator.base_url)) as rigged:
            rigged.links.keep(ADA)
            await chat(rigged)
            rigged.events.refusals = 10**9
            await simulator.do({"op": "say", "login": LOGIN, "text": "never"})
            await eventually(lambda: rigged.events.refusals < 10**9)
            await rigged.links.leave([ADA.room_id])
        assert "never" not in said_by_agents(rigged)


@pytest.mark.asyncio
async def test_stop_reports_written_commands_as_uncertain() -> None:
    async def silent(socket: web.WebSocketResponse) -> None:
        async for _ in socket:
            written.set()

    written = asyncio.Event()
    async with WildServer(socket=silent).running() as server:
        async with rig(settings_for(server.base_url)) as rigged, asyncio.TaskGroup() as tasks:
            call = tasks.create_task(_reason(rigged.links, 1))
            await asyncio.wait_for(written.wait(), 30)
            await rigged.links.aclose()
        assert call.result() == (FailureReason.NO_ANSWER, False)


@pytest.mark.asyncio
async def test_stop_closes_the_socket_while_a_push_is_being_stored() -> None:
    """The push is stored before the server answers the close."""
    stuck = asyncio.Event()

    async def deaf(socket: web.WebSocketResponse) -> None:
        await socket.receive()
        await socket.send_json({"type": 203, "sessionId": 1, "agentId": "a", "rsId": "1"})
        await stuck.wait()

    async with WildServer(socket=deaf).running() as server:
        async with rig(settings_for(server.base_url)) as rigged, asyncio.TaskGroup() as tasks:
            rigged.events.gate.clear()
            call = tasks.create_task(_reason(rigged.links, 1))
            links = rigged.links._links
            await eventually(lambda: any(one.deliveries._queue for one in links.values()))
            closing = tasks.create_task(rigged.links.aclose())
            await eventually(lambda: up(rigged) == {})
            rigged.events.gate.set()
            await closing
            assert await asyncio.wait_for(call, 0.2) == (FailureReason.NO_ANSWER, False)
            assert len(rigged.events.pushes) == 1
        stuck.set()


@pytest.mark.asyncio
async def test_a_stop_has_a_deadline() -> None:
    """A server that neither answers a close nor reads cannot delay it."""
    stuck = asyncio.Event()

    async def deaf(_: web.WebSocketResponse) -> None:
        await stuck.wait()

    async with WildServer(socket=deaf).running() as server:
        loop = asyncio.get_running_loop()
        async with rig(settings_for(server.base_url, timing=replace(FAST, settle=0.05))) as rigged:
            for number in range(10):
                rigged.links.keep(account(str(number)))
            await eventually(lambda: rigged.counts.open_links == 10)
            began = loop.time()
        assert loop.time() - began < 3 * FAST.close
        stuck.set()


@pytest.mark.asyncio
async def test_exception_of_the_running_block_is_passed_on() -> None:
    async with WildServer().running() as server:
        with pytest.raises(KeyError):
            async with rig(settings_for(server.base_url)):
                raise KeyError("mine")


@pytest.mark.asyncio
async def test_before_running_nothing_works() -> None:
    links = Links(
        Shared(
            settings_for("http://127.0.0.1:1/webchat"),
            tokens=Tokens(),
            facts=Facts(),
            metrics=LinkCounts(),
            clock=LoopClock(),
        )
    )
    with pytest.raises(CallFailure, match="not running"):
        links.keep(ADA)
    assert links.icon_url("headimg/a b.png", 7) == (
        "http://127.0.0.1:1/webchat/ngsIcon.do?path=headimg/a%20b.png&queue=7"
    )
    assert links.icon_url("", None) == ""


@pytest.mark.asyncio
async def test_before_write_comes_right_before_the_bytes() -> None:
    order: list[str] = []

    async def note(socket: web.WebSocketResponse) -> None:
        order.append("open")
        await answer_everything(socket)

    async def before() -> None:
        order.append("before")

    async with (
        WildServer(socket=note).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        await rigged.links.call(ADA, CallId(1), ASK, before)
    assert order == ["open", "before"]


@pytest.mark.asyncio
async def test_a_before_write_that_fails_writes_nothing() -> None:
    seen: list[int] = []

    async def note(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            frame = message.json()
            seen.append(frame["messageId"])
            await socket.send_json(
                {"type": frame["type"], "messageId": frame["messageId"], "result": 1}
            )

    async def fail() -> None:
        raise StoreError("down")

    async with (
        WildServer(socket=note).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        with pytest.raises(StoreError):
            await rigged.links.call(ADA, CallId(1), ASK, fail)
        assert (await rigged.call(ADA, 2, ASK)).ok, "the gate is free again"
    assert seen == [2]


@pytest.mark.asyncio
async def test_link_lost_while_the_attempt_is_stored_causes_another_attempt() -> None:
    server = WildServer()
    tries: list[int] = []

    async def first_then_answer(socket: web.WebSocketResponse) -> None:
        if len(server.sockets) == 1:
            await cut.wait()
            await socket.close(code=1001)
        else:
            await answer_everything(socket)

    server.socket = first_then_answer
    cut = asyncio.Event()
    async with server.running(), rig(settings_for(server.base_url)) as rigged:

        async def slow_store() -> None:
            tries.append(1)
            if len(tries) == 1:
                cut.set()
                await eventually(lambda: rigged.counts.open_links == 0)

        assert (await rigged.links.call(ADA, CallId(1), ASK, slow_store)).ok
    assert len(tries) == 2


@pytest.mark.asyncio
async def test_invalid_command_is_refused_for_certain() -> None:
    async with WildServer().running() as server, rig(settings_for(server.base_url)) as rigged:
        with pytest.raises(CallFailure) as caught:
            await rigged.call(ADA, 1, SendMessage(SessionId(1), Text("   ")))
        assert (caught.value.reason, caught.value.certain) == (FailureReason.REFUSED, True)
        assert (await rigged.call(ADA, 2, ASK)).ok


@pytest.mark.asyncio
async def test_a_token_store_that_is_down() -> None:
    async with WildServer().running() as server:
        tokens = Tokens()
        tokens.broken = True
        timing = replace(FAST, connect=0.3)
        async with rig(settings_for(server.base_url, timing=timing), tokens=tokens) as rigged:
            with pytest.raises(CallFailure, match="database did not answer"):
                await rigged.call(ADA, 1, ASK)
            assert server.logins == [], "no login for a token that could not be kept"
            assert rigged.links.door.trouble == "", "the server is not to blame"
            tokens.broken = False
            assert (await rigged.call(ADA, 2, ASK)).ok


@pytest.mark.asyncio
async def test_404_at_the_handshake_costs_a_login_only_after_a_while() -> None:
    def missing(_: web.Request) -> web.Response:
        return web.Response(status=404)

    async with WildServer(handshake=missing).running() as server:
        tokens = Tokens()
        stored = Token(ADA.room_id, f"mx-{room_key(ADA.room_id)}", "STORED", LoopClock().now())
        tokens.kept[ADA.room_id] = stored
        async with rig(settings_for(server.base_url), tokens=tokens) as rigged:
            rigged.links.keep(ADA)
            await eventually(lambda: len(server.sockets) == LONG_MISSING)
            assert server.logins == []
            await eventually(lambda: len(server.logins) == 1)


@pytest.mark.asyncio
async def test_a_refused_token_is_deleted_once_the_login_fails_too() -> None:
    def refused(_: web.Request) -> web.Response:
        return web.Response(status=401)

    async with WildServer(handshake=refused, login=_refused).running() as server:
        tokens = Tokens()
        stored = Token(ADA.room_id, f"mx-{room_key(ADA.room_id)}", "STORED", LoopClock().now())
        tokens.kept[ADA.room_id] = stored
        async with rig(settings_for(server.base_url), tokens=tokens) as rigged:
            rigged.links.keep(ADA)
            await eventually(lambda: not tokens.kept)
            assert (len(server.sockets), len(server.logins)) == (1, 1)


@pytest.mark.asyncio
async def test_meaningless_frames_are_harmless() -> None:
    async def noise(socket: web.WebSocketResponse) -> None:
        await socket.send_bytes(b"\xff\xfe")
        for frame in ("", "null", "[]", "{", '{"type":299}', '{"messageId":1}', "[" * 5000):
            await socket.send_str(frame)
        await answer_everything(socket)

    async with (
        WildServer(socket=noise).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        assert (await rigged.call(ADA, 1, ASK)).ok
        assert rigged.counts.connects == 1


@pytest.mark.asyncio
async def test_incoming_frame_beyond_the_limit_is_not_blamed_on_a_command() -> None:
    async def flood(socket: web.WebSocketResponse) -> None:
        async for _ in socket:
            await socket.send_str("x" * 5000)

    async with (
        WildServer(socket=flood).running() as server,
        rig(settings_for(server.base_url, max_incoming_bytes=1000)) as rigged,
    ):
        assert await _reason(rigged.links, 1) == (FailureReason.NO_ANSWER, False)


@pytest.mark.asyncio
async def test_upload_needs_a_link_too() -> None:
    async with (
        WildServer(login=_refused).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        with pytest.raises(OpenFailure):
            await rigged.links.upload(ADA, blob(b"x"))


@pytest.mark.asyncio
async def test_refused_token_of_an_upload_is_reported() -> None:
    """A blob cannot be read twice, so no fresh token was tried with it."""

    async def stale(_: web.Request) -> web.StreamResponse:
        return web.json_response({"result": -15})

    async with (
        WildServer(upload=stale).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        with pytest.raises(OpenFailure, match="the token was refused; a new login is under way"):
            await rigged.links.upload(ADA, blob(b"x"))
        await eventually(lambda: rigged.counts.logins == 2)


async def _refused(_: web.Request) -> web.StreamResponse:
    return web.json_response({"result": -20})


async def _reason(links: Links, call_id: int) -> tuple[FailureReason, bool]:
    try:
        await links.call(ADA, CallId(call_id), ASK, nothing)
    except CallFailure as failure:
        return failure.reason, failure.certain
    raise AssertionError("it was answered")


@pytest.mark.asyncio
async def test_many_links_open_and_come_back() -> None:
    """300 links through a limiter of 20, lost together and back together."""
    async with WildServer().running() as server:
        events = Events()
        counts = LinkCounts()
        links = Links(
            Shared(
                settings_for(server.base_url, reconnect_limit=20, login_count=50),
                tokens=Tokens(),
                facts=Facts(),
                metrics=counts,
                clock=LoopClock(),
            )
        )
        async with links.running(events):
            for number in range(300):
                links.keep(account(str(number)))
            await eventually(lambda: counts.open_links == 300, 60)
            await asyncio.gather(*(socket.close(code=1001) for socket in server.opened[:300]))
            await eventually(lambda: counts.reconnects >= 300 and counts.open_links == 300, 60)
            await events.until(lambda: len(events.back) >= 600)
            assert counts.logins == 300


@pytest.mark.asyncio
async def test_links_that_are_not_running_hold_nothing() -> None:
    links = Links(
        Shared(
            settings_for("http://crm/webchat"),
            tokens=Tokens(),
            facts=Facts(),
            metrics=LinkCounts(),
            clock=LoopClock(),
        )
    )
    assert links._links == {}
    links.release(ADA.room_id)
    with pytest.raises(CallFailure, match="not running"):
        links.keep(ADA)
    await links.aclose()
    links.keep(ADA)
    with pytest.raises(CallFailure, match="not running"):
        await links.call(ADA, CallId(1), ASK, nothing)


@pytest.mark.asyncio
async def test_one_link_for_a_room_however_many_ask() -> None:
    async with WildServer().running() as server, rig(settings_for(server.base_url)) as rigged:
        async with asyncio.TaskGroup() as tasks:
            for number in range(10):
                tasks.create_task(rigged.call(ADA, number, ASK))
            tasks.create_task(rigged.call(account("b"), 1, ASK))
        assert up(rigged) == {ADA.room_id: True, account("b").room_id: True}
        assert len(server.logins) == 2


@pytest.mark.asyncio
async def test_a_crash_in_one_link_is_survived() -> None:
    """A bug must not affect other rooms: here the token store raises an unexpected error."""

    class Buggy(Tokens):
        async def token(self, room_id: object) -> Token | None:
            if room_id == ADA.room_id and not self.kept:
                raise ZeroDivisionError
            return None

    async with (
        WildServer().running() as server,
        rig(settings_for(server.base_url), tokens=Buggy()) as rigged,
    ):
        rigged.links.keep(ADA)
        assert (await rigged.call(account("b"), 1, ASK)).ok
        await eventually(lambda: rigged.counts.connects == 2)
        assert (await rigged.call(ADA, 1, ASK)).ok, "once the bug is gone"


@pytest.mark.asyncio
async def test_new_link_does_not_reuse_the_keys_of_earlier_pushes() -> None:
    """The engine drops a push with a known key: a second chat would not be heard."""
    async with (
        simulated(dialect="2016") as simulator,
        rig(settings_for(simulator.base_url)) as rigged,
    ):
        for number in (1, 3):
            session = await chat(rigged, call_id=number)
            assert (await rigged.call(ADA, number + 1, CloseSession(SessionId(session)))).ok
            await eventually(lambda: up(rigged) == {})
        keys = [key for key, _ in rigged.events.pushes]
        assert len(set(keys)) == len(keys) >= 2


@pytest.mark.asyncio
async def test_a_stop_stores_what_was_read() -> None:
    """A server of 2016 has no receipts: it regards all that it could write as delivered."""
    async with (
        simulated(dialect="2016") as simulator,
        rig(settings_for(simulator.base_url)) as rigged,
    ):
        session = await chat(rigged)
        rigged.links.keep(ADA)
        rigged.events.gate.clear()
        for number in range(10):
            await simulator.do({"op": "say", "login": LOGIN, "text": f"{number}"})
        # A reply that came after them has been read, so all of them have.
        assert (await rigged.call(ADA, 2, text("and?", session))).ok
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(rigged.links.aclose())
            await eventually(lambda: up(rigged) == {})
            rigged.events.gate.set()
    assert said_by_agents(rigged)[-10:] == [f"{number}" for number in range(10)]


@pytest.mark.asyncio
async def test_all_links_log_by_one_logger() -> None:
    """As in docs/operators.md, so that filters by its name go on working."""
    lines = structlog.testing.LogCapture()
    named = structlog.stdlib.add_logger_name
    structlog.configure([named, lines], logger_factory=structlog.stdlib.LoggerFactory())
    try:
        async with (
            WildServer(socket=answer_everything).running() as server,
            rig(settings_for(server.base_url)) as rigged,
        ):
            assert (await rigged.call(ADA, 1, ASK)).ok
            for _ in range(2):
                rigged.links._shared.unheard("unknown type 299")
    finally:
        structlog.reset_defaults()
    events = [entry["event"] for entry in lines.entries]
    assert events.count("webchat frame ignored") == 1, "each kind once"
    loggers = {entry["event"]: entry["logger"] for entry in lines.entries}
    assert loggers["webchat link up"] == "bridge.link.links"
    assert loggers["webchat frame ignored"] == "bridge.link.links"
