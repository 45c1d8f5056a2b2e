"""One link as its callers see it: the keys of each dialect, unknown accounts, typing hints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import cast

import pytest
from aiohttp import web

from bridge.ids import RequestId, SessionId
from bridge.link.settings import Feature
from bridge.rooms.ports import CallFailure
from bridge.webchat.codes import Dialect
from bridge.webchat.frames import (
    Image,
    Location,
    RateSession,
    SendMessage,
    SendPreMessage,
    Text,
    Voice,
)
from tests.unit.link.rig import FAST, Rig, WildServer, blob, eventually, rig, settings_for
from tests.unit.link.simulated import ADA, ASK, chat, said, simulated, text

SESSION = SessionId(5150)
HELLO = SendMessage(SESSION, Text("hello"))
Frame = dict[str, object]


def keys_of(frame: Frame) -> set[str]:
    """Return the keys in which a text or a rating is written."""
    told = frame.get("rating") or cast("Frame", frame["msg"])["content"]
    return set(cast("Frame", told)) - {"extra", "comments", "ratingComments"}


class Desk:
    """A server that answers each command with `result(frame)`, and records all frames."""

    def __init__(
        self, result: Callable[[Frame], int | None], first: tuple[Frame, ...] = (), wait: float = 0
    ) -> None:
        self.heard: list[Frame] = []
        self.sockets: list[web.WebSocketResponse] = []
        self._result = result
        self._first = first
        self._wait = wait

    def of(self, *kinds: int) -> list[Frame]:
        return [frame for frame in self.heard if frame["type"] in kinds]

    async def serve(self, socket: web.WebSocketResponse) -> None:
        self.sockets.append(socket)
        await asyncio.sleep(self._wait)
        for frame in self._first:
            await socket.send_json(frame)
        async for message in socket:
            told: Frame = message.json()
            self.heard.append(told)
            result = self._result(told)
            if result is not None:
                answer = {"type": told["type"], "messageId": told["messageId"], "result": result}
                await socket.send_json(answer)


def wants(*keys: str, code: int = -14) -> Callable[[Frame], int]:
    """Refuse 110 and 104, with this code, unless they are written in one of these keys."""

    def result(frame: Frame) -> int:
        kept = frame["type"] not in {110, 104} or keys_of(frame) <= set(keys)
        return 1 if kept else code

    return result


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("keys", "dialect"), [(("text", "ratingId"), Dialect.Y2019), (("content", "id"), None)]
)
async def test_refused_message_is_repeated_once_in_the_other_dialect(
    keys: tuple[str, ...], dialect: Dialect | None
) -> None:
    """-14 on 110 or 104 (reference 5): repeated with the same call id, in its old place.

    While the dialect is unknown, the first try has the keys of both; two sets are left to try.
    """
    later: Frame = {"type": 203, "sessionId": 1, "agentId": "a", "rsId": "r"}
    desk = Desk(wants(*keys), () if dialect else (later,))
    async with WildServer(socket=desk.serve).running() as server:
        async with rig(settings_for(server.base_url)) as rigged:
            if dialect is None:
                rigged.links.keep(ADA)
                await eventually(lambda: rigged.links.learnt.known)
            for number in (1, 2, 3):
                assert (await rigged.call(ADA, number, HELLO)).ok
            assert (await rigged.call(ADA, 4, RateSession(SESSION, 0))).ok
            facts = rigged.facts
        sent = desk.of(110, 104)
        tries = [1, 1] if dialect is None else [1, 1, 1]
        assert [frame["messageId"] for frame in sent] == [*tries, 2, 3, 4]
        assert keys_of(sent[-1]) == {keys[1]}
        async with rig(settings_for(server.base_url), facts=facts) as rigged:
            assert (await rigged.call(ADA, 5, HELLO)).ok
        assert keys_of(desk.of(110)[-1]) == {keys[0]}, "over a restart too"
        assert len(desk.of(110)) == len(tries) + 3


@pytest.mark.asyncio
async def test_pipelined_commands_keep_their_order_when_their_keys_are_refused() -> None:
    desk = Desk(wants("text"))
    async with WildServer(socket=desk.serve).running() as server:
        async with rig(settings_for(server.base_url)) as rigged, asyncio.TaskGroup() as tasks:
            calls = [
                tasks.create_task(rigged.call(ADA, n, SendMessage(SESSION, Text(str(n)))))
                for n in range(5)
            ]
        assert all(call.result().ok for call in calls)
    taken = [frame["messageId"] for frame in desk.of(110) if keys_of(frame) == {"text"}]
    assert taken == list(range(5))


@pytest.mark.asyncio
async def test_message_refused_in_both_dialects_is_refused() -> None:
    desk = Desk(lambda frame: -14 if frame["type"] == 110 else 1)
    async with (
        WildServer(socket=desk.serve).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        assert (await rigged.call(ADA, 1, HELLO)).result == -14
        assert (await rigged.call(ADA, 2, SendMessage(SESSION, Location(1, 2)))).result == -14
        assert not rigged.links.learnt.known
        await rigged.links.learnt.save()
        assert rigged.facts.learnt == {}
    assert [frame["messageId"] for frame in desk.of(110)] == [1, 1, 1, 2, 2]
    assert [keys_of(frame) for frame in desk.of(110)[:3]] == [
        {"content", "text"},
        {"content"},
        {"text"},
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [-14, -8, -17, -100])
async def test_other_commands_are_not_repeated_in_other_keys(code: int) -> None:
    desk = Desk(lambda _: code)
    async with (
        WildServer(socket=desk.serve).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        assert (await rigged.call(ADA, 1, ASK)).result == code
        pre_message = SendPreMessage(RequestId(1), "hello")
        assert (await rigged.call(ADA, 2, pre_message)).result == code
    assert [frame["messageId"] for frame in desk.heard] == [1, 2]


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [-8, -17, -100])
@pytest.mark.parametrize(
    ("dialect", "keys"),
    [
        (None, ("text", "ratingId")),
        (None, ("content", "id")),
        (Dialect.Y2016, ("text", "ratingId")),
        (Dialect.Y2019, ("content", "id")),
        (Dialect.DUAL, ("text", "ratingId")),
    ],
)
async def test_text_that_the_server_did_not_find_is_repeated_in_other_keys(
    dialect: Dialect | None, keys: tuple[str, ...], code: int
) -> None:
    """Also if an operator has configured the wrong dialect. What works is remembered."""
    desk = Desk(wants(*keys, code=code))
    async with (
        WildServer(socket=desk.serve).running() as server,
        rig(settings_for(server.base_url, dialect=dialect)) as rigged,
    ):
        for number in (1, 2):
            assert (await rigged.call(ADA, number, HELLO)).ok
        assert (await rigged.call(ADA, 3, RateSession(SESSION, 0))).ok
        await rigged.links.learnt.save()
        assert len(rigged.facts.learnt) == (dialect is None), "facts are for auto"
    first, *rest = [frame["messageId"] for frame in desk.of(110, 104)]
    assert [first, *dict.fromkeys(rest)] in ([1, 1, 2, 3], [1, 1, 1, 2, 3])
    assert keys_of(desk.of(110)[-1]) == {keys[0]}
    assert keys_of(desk.of(104)[0]) == {keys[1]}


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [-8, -100])
@pytest.mark.parametrize("told", ["a text that was taken", "a push"])
async def test_proved_keys_are_not_doubted(told: str, code: int) -> None:
    """The error is not about the keys; a temporary error must not teach wrong ones."""
    taken = told != "a push"
    desk = Desk(
        lambda frame: 1 if taken and frame["messageId"] == 1 else code,
        () if taken else ({"type": 203, "sessionId": 1, "agentId": "a", "rsId": "r"},),
    )
    async with (
        WildServer(socket=desk.serve).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        if taken:
            assert (await rigged.call(ADA, 1, HELLO)).ok
        else:
            rigged.links.keep(ADA)
            await eventually(lambda: rigged.links.learnt.known)
        assert (await rigged.call(ADA, 2, HELLO)).result == code
        assert (await rigged.call(ADA, 3, RateSession(SESSION, 0))).result == code
    numbers = [frame["messageId"] for frame in desk.of(110, 104)]
    assert numbers == ([1, 2, 3] if taken else [2, 3])


@pytest.mark.asyncio
async def test_sudden_refusal_of_a_text_as_blank_means_other_keys() -> None:
    """-17 means other keys, whatever was accepted before: the server may have been replaced."""
    desk = Desk(lambda frame: -17 if frame["messageId"] == 2 and "text" in keys_of(frame) else 1)
    async with (
        WildServer(socket=desk.serve).running() as server,
        rig(settings_for(server.base_url, dialect=Dialect.Y2019)) as rigged,
    ):
        for number in (1, 2, 3):
            assert (await rigged.call(ADA, number, HELLO)).ok
    assert [keys_of(frame) for frame in desk.of(110)] == [
        {"text"},
        {"text"},
        {"content"},
        {"content"},
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("results", "result"),
    [([-17, -100, -8], -100), ([-17, -8, -14], -17), ([-8, -14, -11], -11), ([-14, -6, -6], -6)],
)
async def test_code_reported_if_all_keys_are_refused(results: list[int], result: int) -> None:
    """A temporary error comes first, as it is worth a retry; then a code not about the keys."""
    told = iter(results)
    desk = Desk(lambda _: next(told))
    async with (
        WildServer(socket=desk.serve).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        assert (await rigged.call(ADA, 1, HELLO)).result == result
        assert not rigged.links.learnt.known
    assert len(desk.of(110)) == 3


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [-8, -17, -100])
async def test_refused_picture_is_not_repeated_in_other_keys(code: int) -> None:
    desk = Desk(lambda _: code)
    async with (
        WildServer(socket=desk.serve).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        picture = SendMessage(SESSION, Image("a.png", "http://crm/a.png"))
        assert (await rigged.call(ADA, 1, picture)).result == code
    assert len(desk.of(110)) == 1


@pytest.mark.asyncio
async def test_refused_invisible_text_is_not_repeated_in_other_keys() -> None:
    desk = Desk(lambda _: -17)
    async with (
        WildServer(socket=desk.serve).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        unseen = SendMessage(SESSION, Text("\u200b"))
        assert (await rigged.call(ADA, 1, unseen)).result == -17
    assert len(desk.of(110)) == 1


@pytest.mark.asyncio
async def test_text_too_long_for_the_keys_of_both_has_one_key() -> None:
    """It may have been split under another setting; shorter texts have the keys of both."""
    desk = Desk(lambda _: 1)
    async with (
        WildServer(socket=desk.serve).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        longest = rigged.links.learnt.longest_text
        for number, length in enumerate((longest, 2 * longest), 1):
            long = SendMessage(SESSION, Text("x" * length))
            assert (await rigged.call(ADA, number, long)).ok
    assert [keys_of(frame) for frame in desk.of(110)] == [{"content", "text"}, {"content"}]


@pytest.mark.asyncio
async def test_refused_token_and_refused_keys_of_one_command() -> None:
    results = iter([-15, -14, 1])
    desk = Desk(lambda _: next(results))
    async with (
        WildServer(socket=desk.serve).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        assert (await rigged.call(ADA, 7, HELLO)).ok
        assert rigged.links.learnt.keys is Dialect.Y2016
    assert [frame["messageId"] for frame in desk.heard] == [7, 7, 7]
    assert [frame["token"] for frame in desk.heard] == ["T1", "T2", "T2"]


# --- holding the first message --------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("first", "keys"),
    [
        ({"type": 200}, {"text"}),
        ({"type": 202, "sessionId": 5150, "users": []}, {"text"}),
        ({"type": 299, "rsId": "r-1"}, {"text"}),
        ({"type": 202, "sessionId": 5150, "agents": []}, {"content", "text"}),
    ],
)
async def test_the_first_message_waits_for_the_first_push(first: Frame, keys: set[str]) -> None:
    desk = Desk(lambda _: 1, (first,), wait=0.2)
    async with WildServer(socket=desk.serve).running() as server:
        settings = settings_for(server.base_url, timing=replace(FAST, dialect_wait=30.0))
        async with rig(settings) as rigged:
            assert (await rigged.call(ADA, 1, HELLO)).ok
    assert keys_of(desk.of(110)[0]) == keys


@pytest.mark.asyncio
async def test_first_message_waits_for_a_limited_time() -> None:
    """Without a push, the wait is counted from the opening, and not repeated."""
    desk = Desk(lambda _: 1)
    async with WildServer(socket=desk.serve).running() as server:
        settings = settings_for(server.base_url, timing=replace(FAST, dialect_wait=0.3))
        async with rig(settings) as rigged:
            loop = asyncio.get_running_loop()
            began = loop.time()
            assert (await rigged.call(ADA, 1, HELLO)).ok
            assert 0.28 <= loop.time() - began < 1
            began = loop.time()
            for number in range(10):
                assert (await rigged.call(ADA, 2 + number, HELLO)).ok
            assert loop.time() - began < 0.25
    assert keys_of(desk.of(110)[0]) == {"content", "text"}


@pytest.mark.asyncio
@pytest.mark.parametrize("dialect", Dialect)
async def test_with_a_known_dialect_nothing_waits(dialect: Dialect) -> None:
    desk = Desk(lambda _: 1)
    async with WildServer(socket=desk.serve).running() as server:
        settings = settings_for(
            server.base_url, dialect=dialect, timing=replace(FAST, dialect_wait=30.0)
        )
        async with rig(settings) as rigged, asyncio.timeout(20):
            assert (await rigged.call(ADA, 1, HELLO)).ok


@pytest.mark.asyncio
async def test_a_request_for_a_chat_never_waits() -> None:
    desk = Desk(lambda _: 1)
    async with WildServer(socket=desk.serve).running() as server:
        settings = settings_for(server.base_url, timing=replace(FAST, dialect_wait=30.0))
        async with rig(settings) as rigged, asyncio.timeout(20):
            assert (await rigged.call(ADA, 1, ASK)).ok


@pytest.mark.asyncio
async def test_a_link_lost_while_the_first_message_waits() -> None:
    desk = Desk(lambda _: 1)
    async with WildServer(socket=desk.serve).running() as server:
        settings = settings_for(server.base_url, timing=replace(FAST, dialect_wait=1.0))
        async with rig(settings) as rigged, asyncio.TaskGroup() as tasks:
            rigged.links.keep(ADA)
            await eventually(lambda: rigged.counts.open_links == 1)
            call = tasks.create_task(rigged.call(ADA, 1, HELLO))
            await asyncio.sleep(0)
            await desk.sockets[0].close(code=1001)
            assert (await call).ok
    assert len(desk.of(110)) == 1


# --- an account that the server does not know (-6) ------------------------------------------------


@pytest.mark.asyncio
async def test_unknown_account_is_repaired_by_one_login() -> None:
    """Reference 2.5: -6 costs one login, and all commands that got it are repeated."""
    async with simulated() as simulator, rig(settings_for(simulator.base_url)) as rigged:
        session = await chat(rigged)
        fault = {"fault": "answer", "type": 110, "result": -6, "count": 3, "carried_out": False}
        await simulator.do({"op": "set", "faults": [fault]})
        async with asyncio.TaskGroup() as tasks:
            replies = [
                tasks.create_task(rigged.call(ADA, 20 + n, text(f"text {n}", session)))
                for n in range(3)
            ]
        assert all(task.result().ok for task in replies)
        assert rigged.counts.logins == 2
        assert said(simulator) == ["text 0", "text 1", "text 2"]


@pytest.mark.asyncio
async def test_account_that_stays_unknown_causes_no_more_logins() -> None:
    """One login, then the server's refusal is returned; no storm of logins (reference 3.7)."""
    desk = Desk(lambda frame: 1 if frame["messageId"] == 1 else -6)
    async with WildServer(socket=desk.serve).running() as server:
        async with rig(settings_for(server.base_url)) as rigged:
            rigged.links.keep(ADA)
            for call_id in (1, 2, 3, 4):
                reply = await rigged.call(ADA, call_id, ASK)
                assert reply.result == (1 if call_id == 1 else -6)
        assert [frame["messageId"] for frame in desk.of(101)] == [1, 2, 2, 3, 4]
        assert len(server.logins) == 2


@pytest.mark.asyncio
async def test_unknown_account_causes_another_login_after_a_while() -> None:
    desk = Desk(lambda _: -6)
    async with WildServer(socket=desk.serve).running() as server:
        timing = replace(FAST, disowned=0.2, stable=0.1)
        async with rig(settings_for(server.base_url, timing=timing)) as rigged:
            rigged.links.keep(ADA)
            for _ in range(2):
                assert (await rigged.call(ADA, 2, ASK)).result == -6
                await asyncio.sleep(0.3)
            assert len(server.logins) == 3


# --- the back-off ---------------------------------------------------------------------------------

STEEP = replace(FAST, stable=0.5, backoff_first=0.05, backoff_last=3.0)
"""A twentieth of the usual times."""


async def down_for(rigged: Rig, server: WildServer) -> float:
    """Cut the link, and return for how many seconds it is down."""
    before, loop = rigged.counts.connects, asyncio.get_running_loop()
    began = loop.time()
    await server.opened[-1].close(code=1011)
    await eventually(lambda: rigged.counts.connects > before, 120)
    return loop.time() - began


@pytest.mark.asyncio
async def test_the_back_off_of_an_outage_ends_with_it() -> None:
    """A cut of 0.6 s soon after it left the link down for 56 s."""
    away = False
    server = WildServer(handshake=lambda _: web.Response(status=503) if away else None)
    async with server.running(), rig(settings_for(server.base_url, timing=STEEP)) as rigged:
        rigged.links.keep(ADA)
        await eventually(lambda: rigged.counts.open_links == 1)
        away = True
        await server.opened[-1].close(code=1011)
        await asyncio.sleep(20)
        away = False
        await eventually(lambda: rigged.counts.open_links == 1, 120)
        await asyncio.sleep(0.15)
        assert await down_for(rigged, server) < 0.1


@pytest.mark.asyncio
async def test_a_link_that_carried_something_is_opened_again_soon() -> None:
    server = WildServer()
    async with server.running(), rig(settings_for(server.base_url, timing=STEEP)) as rigged:
        rigged.links.keep(ADA)
        for number in range(1, 9):
            assert (await rigged.call(ADA, number, ASK)).ok
            assert await down_for(rigged, server) < 0.1


@pytest.mark.asyncio
async def test_links_that_break_soon_are_opened_more_and_more_rarely() -> None:
    """A server that its thousands of links overload must not get all of them each second."""

    async def collapse(socket: web.WebSocketResponse) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.15):
                async for _ in socket:
                    pass
        await socket.close(code=1011)

    server = WildServer(socket=collapse)
    async with server.running(), rig(settings_for(server.base_url, timing=STEEP)) as rigged:
        rigged.links.keep(ADA)
        await asyncio.sleep(30)
        assert 10 < rigged.counts.connects <= 20


# --- hints ----------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("dialect", [Dialect.Y2019, Dialect.DUAL])
async def test_typing_hints_are_sent(dialect: Dialect) -> None:
    desk = Desk(lambda _: 1)
    async with WildServer(socket=desk.serve).running() as server:
        settings = settings_for(server.base_url, dialect=dialect)
        async with rig(settings) as rigged:
            rigged.links.keep(ADA)
            await eventually(lambda: rigged.counts.open_links == 1)
            rigged.links.typing(ADA.room_id, SESSION)
            await eventually(lambda: len(desk.of(113)) == 1)
            rigged.links.typing(ADA.room_id, SESSION)
            await eventually(lambda: len(desk.of(113)) == 2)
    assert {"time", "rsId"}.isdisjoint(desk.of(113)[0])
    assert desk.of(113)[0]["sessionId"] == 5150


@pytest.mark.asyncio
@pytest.mark.parametrize("dialect", [None, Dialect.Y2016])
async def test_server_of_2016_gets_no_typing_hints(dialect: Dialect | None) -> None:
    desk = Desk(lambda _: 1)
    async with (
        WildServer(socket=desk.serve).running() as server,
        rig(settings_for(server.base_url, dialect=dialect)) as rigged,
    ):
        assert (await rigged.call(ADA, 1, ASK)).ok
        rigged.links.typing(ADA.room_id, SESSION)
        assert (await rigged.call(ADA, 2, ASK)).ok
    assert desk.of(113) == []


@pytest.mark.asyncio
@pytest.mark.parametrize("result", [-12, -19])
async def test_unknown_typing_hint_is_not_sent_again(result: int) -> None:
    desk = Desk(lambda frame: result if frame["type"] == 113 else 1)
    async with WildServer(socket=desk.serve).running() as server:
        settings = settings_for(server.base_url, dialect=Dialect.Y2019)
        async with rig(settings) as rigged:
            rigged.links.keep(ADA)
            assert (await rigged.call(ADA, 1, ASK)).ok
            for _ in range(3):
                rigged.links.typing(ADA.room_id, SESSION)
                await asyncio.sleep(0.05)
    assert len(desk.of(113)) == 1


@pytest.mark.asyncio
async def test_failed_typing_hints_are_harmless() -> None:
    """No link yet, a dead session, no answer, a bridge that has stopped."""
    answers = iter((-11, None))
    desk = Desk(lambda frame: next(answers) if frame["type"] == 113 else 1)
    async with WildServer(socket=desk.serve).running() as server:
        timing = replace(FAST, reply=0.2)
        settings = settings_for(server.base_url, dialect=Dialect.Y2019, timing=timing)
        async with rig(settings) as rigged:
            rigged.links.typing(ADA.room_id, SESSION)
            rigged.links.keep(ADA)
            rigged.links.typing(ADA.room_id, SESSION)
            await eventually(lambda: rigged.counts.open_links == 1)
            for _ in range(2):
                rigged.links.typing(ADA.room_id, SESSION)
                await asyncio.sleep(0.3)
            assert (await rigged.call(ADA, 1, ASK)).ok
            assert rigged.counts.connects == 1
            await rigged.links.aclose()
            rigged.links.typing(ADA.room_id, SESSION)
    assert [frame["type"] for frame in desk.heard] == [113, 113, 101]


@pytest.mark.asyncio
async def test_token_refused_for_a_typing_hint_causes_a_login() -> None:
    desk = Desk(lambda frame: -15 if frame["token"] == "T1" else 1)
    async with (
        WildServer(socket=desk.serve).running() as server,
        rig(settings_for(server.base_url, dialect=Dialect.Y2019)) as rigged,
    ):
        rigged.links.keep(ADA)
        await eventually(lambda: rigged.counts.open_links == 1)
        rigged.links.typing(ADA.room_id, SESSION)
        await eventually(lambda: rigged.counts.connects == 2)
        assert rigged.counts.logins == 2
        assert rigged.events.pushes == [], "the bridge closed the link itself: nothing is lost"


@pytest.mark.asyncio
async def test_token_refused_for_a_typing_hint_is_not_used_again() -> None:
    """While the old socket still waits for a reply, an upload waits for the new login's token."""
    tokens: list[str] = []

    async def upload(request: web.Request) -> web.Response:
        tokens.append(request.query["token"])
        return web.json_response({"result": 1, "url": "/webchat/f/1"})

    dead: dict[object, int | None] = {113: -15, 110: None}
    desk = Desk(lambda frame: dead.get(frame["type"], 1) if frame["token"] == "T1" else 1)

    async def unanswered(rigged: Rig) -> None:
        with pytest.raises(CallFailure, match="lost"):
            await rigged.call(ADA, 1, HELLO)

    async with (
        WildServer(socket=desk.serve, upload=upload).running() as server,
        rig(settings_for(server.base_url, dialect=Dialect.Y2019)) as rigged,
        asyncio.TaskGroup() as tasks,
    ):
        waiting = tasks.create_task(unanswered(rigged))
        await eventually(lambda: len(desk.of(110)) == 1)
        old = rigged.links._links[ADA.room_id].gate.wire
        rigged.links.typing(ADA.room_id, SESSION)
        await eventually(lambda: old is not None and not old.usable)
        assert not waiting.done()
        assert await rigged.links.upload(ADA, blob(b"x"))
    assert tokens == ["T2"]


# --- features that a server may lack --------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("result", "takes"), [(1, True), (-11, True), (-100, True), (-14, False), (-23, False)]
)
async def test_voice_with_an_address_is_sent_once(result: int, *, takes: bool) -> None:
    """Its keys are the same in each dialect; a refusal about the content turns the feature off."""
    desk = Desk(lambda _: result)
    async with (
        WildServer(socket=desk.serve).running() as server,
        rig(settings_for(server.base_url, dialect=Dialect.Y2019)) as rigged,
    ):
        voice = SendMessage(SESSION, Voice(28, uri="http://crm/a.amr"))
        assert (await rigged.call(ADA, 1, voice)).result == result
        assert rigged.links.learnt.has(Feature.LONG_VOICE) is takes
    assert len(desk.of(110)) == 1


@pytest.mark.asyncio
async def test_a_server_of_the_first_guides() -> None:
    """Its replies have no messageId (until 2017-02-06), and its texts are bare strings."""

    async def serve(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            told: Frame = message.json()
            heard.append(cast("Frame", told["msg"])["content"])
            await socket.send_json({"type": told["type"], "result": 1})

    heard: list[object] = []
    async with (
        WildServer(socket=serve).running() as server,
        rig(settings_for(server.base_url, dialect=Dialect.Y2016_11)) as rigged,
    ):
        for number, command in enumerate((HELLO, HELLO), 1):
            assert (await rigged.call(ADA, number, command)).ok
        rigged.links.typing(ADA.room_id, SESSION)
    assert heard == ["hello", "hello"]
