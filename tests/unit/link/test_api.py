"""History and the robot over HTTP: what each answer means, and that neither delays logins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from bridge.link.http_client import VISITS
from bridge.link.links import AT_ONCE, LONGEST_HISTORY, MOST_ENTRIES
from bridge.rooms.ports import CallFailure, Unavailable
from bridge.webchat.codes import FailureReason
from bridge.webchat.http import LONGEST_QUESTION, RobotAnswer
from tests.unit.link.rig import FAST, Rig, WildServer, account, eventually, rig, settings_for
from tests.unit.link.simulated import ASK

ADA = account()
Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


def saying(*bodies: dict[str, object]) -> Answering:
    """Answer with these bodies in turn, then always with the last."""
    left = list(bodies)

    async def history(_: web.Request) -> web.StreamResponse:
        return web.json_response(left.pop(0) if len(left) > 1 else left[0])

    return history


def rows(*texts: str) -> dict[str, object]:
    """Return a history as the server sends it: newest first."""
    said = [{"id": n, "text": text, "postTime": 1000 + n} for n, text in enumerate(texts)]
    return {"result": 1, "hisMessages": said[::-1]}


@pytest.mark.asyncio
async def test_history_is_returned_newest_last() -> None:
    async with (
        WildServer(history=saying(rows("one", "two"))).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        entries = await rigged.links.history(ADA, 7)
        assert entries is not None
        assert [entry.html for entry in entries] == ["one", "two"]
        assert b'"token":"T1"' in server.histories[0]
        assert b'"maxCount":7' in server.histories[0]


@pytest.mark.asyncio
@pytest.mark.parametrize(("count", "asked"), [(0, 1), (-5, 1), (10_000, MOST_ENTRIES)])
async def test_number_of_requested_entries_is_limited(count: int, asked: int) -> None:
    async with (
        WildServer(history=saying(rows())).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        assert await rigged.links.history(ADA, count) == ()
        assert f'"maxCount":{asked},'.encode() in server.histories[0]


@pytest.mark.asyncio
async def test_of_a_longer_history_than_requested_the_newest_entries_are_read() -> None:
    """All others would be compared with the messages shown: 8 MiB hold 50,000."""
    async with (
        WildServer(history=saying(rows(*map(str, range(200))))).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        entries = await rigged.links.history(ADA, 7)
        assert entries is not None
        assert [entry.html for entry in entries] == [str(number) for number in range(193, 200)]


@pytest.mark.asyncio
async def test_a_long_history_is_read_whole() -> None:
    text = "x" * 2_000_000
    assert len(text) < LONGEST_HISTORY
    async with (
        WildServer(history=saying(rows(text))).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        entries = await rigged.links.history(ADA, 1)
        assert entries is not None
        assert entries[0].html == text


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [-8, -12, -14, -19])
async def test_a_server_without_history_is_asked_once(code: int) -> None:
    async with (
        WildServer(history=saying({"result": code})).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        assert await rigged.links.history(ADA, 10) is None
        assert await rigged.links.history(account("b"), 10) is None
        assert len(server.histories) == 1
        assert rigged.facts.learnt == {}, "asked again after a restart"


@pytest.mark.asyncio
@pytest.mark.parametrize(("status", "body"), [(200, b""), (400, b"<html>"), (405, b"")])
async def test_unreadable_history_does_not_stop_logins(status: int, body: bytes) -> None:
    """A server without history may answer anything: that is no sign of a blacklist."""

    async def history(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body)

    async with (
        WildServer(history=history).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        for name in "abcd":
            await rigged.links.log_in(account(name))
        for name in "abcd":
            with pytest.raises(CallFailure, match="history: HTTP"):
                await rigged.links.history(account(name), 10)
        assert rigged.links.door.closed_for() == 0
        assert rigged.links.door.trouble == "", "nor does the operator hear that it is away"


@pytest.mark.asyncio
async def test_history_with_a_refused_token_costs_one_login() -> None:
    async with (
        WildServer(history=saying({"result": -15}, rows("one"))).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        entries = await rigged.links.history(ADA, 10)
        assert entries is not None
        assert len(entries) == 1
        assert [b'"token":"T2"' in body for body in server.histories] == [False, True]


@pytest.mark.asyncio
async def test_history_refused_with_a_new_token_too_fails() -> None:
    async with (
        WildServer(history=saying({"result": -15})).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        with pytest.raises(CallFailure) as caught:
            await rigged.links.history(ADA, 10)
        assert (caught.value.reason, caught.value.code) == (FailureReason.UNREACHABLE, -15)
        assert len(server.histories) == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [0, -100, 42])
async def test_other_refusals_of_a_history_are_raised(code: int) -> None:
    async with (
        WildServer(history=saying({"result": code})).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        with pytest.raises(CallFailure) as caught:
            await rigged.links.history(ADA, 10)
        assert (caught.value.reason, caught.value.code) == (FailureReason.REFUSED, code)
        assert caught.value.certain


@pytest.mark.asyncio
async def test_foreign_answers_to_histories_close_the_door_to_their_person() -> None:
    """Reference 3.7: history goes to the login's address and counts like a login."""

    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(status=403, text="<html>", content_type="text/html")

    async with (
        WildServer(history=page).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        for _ in range(5):
            with pytest.raises(CallFailure) as caught:
                await rigged.links.history(ADA, 10)
            assert (caught.value.reason, caught.value.certain) == (FailureReason.UNREACHABLE, True)
        assert len(server.histories) == 3
        with pytest.raises(CallFailure, match="blacklisted"):
            await rigged.links.history(account("b"), 1)


@pytest.mark.asyncio
async def test_unanswered_history_times_out() -> None:
    hung = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await hung.wait()
        return web.Response()

    async with WildServer(history=hang).running() as server:
        settings = settings_for(server.base_url, timing=replace(FAST, mute=0.2))
        async with rig(settings) as rigged:
            with pytest.raises(CallFailure, match="history") as caught:
                await rigged.links.history(ADA, 10)
            assert caught.value.reason is FailureReason.UNREACHABLE
            assert rigged.links.door.trouble
        hung.set()


@pytest.mark.asyncio
async def test_many_histories_leave_room_for_logins() -> None:
    """Two requests in 0.3 s are allowed; 20 rooms want their history, and a new room logs in."""
    async with WildServer(history=saying(rows())).running() as server:
        settings = settings_for(
            server.base_url,
            login_count=2,
            login_seconds=0.3,
            timing=replace(FAST, connect=2.0, release=60.0),
        )
        async with rig(settings) as rigged, asyncio.TaskGroup() as tasks:
            await rigged.links.history(ADA, 1)
            waiting = [tasks.create_task(_outcome(rigged.links.history(ADA, 1))) for _ in range(20)]
            await asyncio.sleep(0)
            rigged.links.keep(account("new"))
            await eventually(lambda: len(server.logins) == 2)
            assert len(server.histories) < 10, "most of them wait behind it"
        told = [task.result() for task in waiting]
        assert "timed out in the queue" in told, "nobody waits for ever"
        assert "" in told
        everything = len(server.logins) + len(server.histories)
        assert everything <= 2 + 2 * 8, "the limit holds for both together"


async def _outcome(asking: Awaitable[object]) -> str:
    try:
        await asking
    except CallFailure as failure:
        return str(failure).removeprefix("history: ")
    return ""


@pytest.mark.asyncio
async def test_history_does_not_repeat_a_refused_login() -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.json_response({"result": -20, "message": "no"})

    async with WildServer(login=refuse).running() as server:
        timing = replace(FAST, refusal_first=0.05)
        async with rig(settings_for(server.base_url, timing=timing)) as rigged:
            for _ in range(3):
                with pytest.raises(CallFailure, match="-20"):
                    await rigged.links.history(ADA, 5)
                await asyncio.sleep(0.1)
            assert len(server.logins) == 1


async def failure(rigged: Rig, question: str) -> CallFailure:
    with pytest.raises(CallFailure) as caught:
        await rigged.links.ask_robot(question)
    assert caught.value.certain
    return caught.value


def robot_saying(body: dict[str, object]) -> WildServer:
    async def robot(_: web.Request) -> web.StreamResponse:
        return web.json_response(body)

    return WildServer(robot=robot)


@pytest.mark.asyncio
async def test_robot_request_of_the_guides_example() -> None:
    found = {"searchResult": {"srs": [{"title": "t", "preview": "<b>p</b>"}]}, "result": 1}
    async with robot_saying(found).running() as server:
        settings = settings_for(server.base_url, enterprise_id="E00001", robot_key="123456")
        async with rig(settings) as rigged:
            reply = await rigged.links.ask_robot("测试")
        assert reply == (RobotAnswer("t", "<b>p</b>"),)
        assert parse_qs(server.questions[0].decode()) == {
            "epid": ["E00001"],
            "action": ["search"],
            "question": ["测试"],
            "sign": ["78f2252ff6452a870574b1a51f85a08f"],
        }
        assert server.logins == [], "it needs no link"
        assert "123456" not in repr(settings)


@pytest.mark.asyncio
async def test_robot_reply_without_results() -> None:
    async with (
        robot_saying({"result": 1}).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        assert await rigged.links.ask_robot("x") == ()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (-30, FailureReason.SIGN_REFUSED),
        (-100, FailureReason.REFUSED),
        (0, FailureReason.REFUSED),
    ],
)
async def test_refusals_of_the_robot(code: int, reason: FailureReason) -> None:
    async with (
        robot_saying({"result": code}).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        refused = await failure(rigged, "x")
    assert (refused.reason, refused.code) == (reason, code)


@pytest.mark.asyncio
async def test_blank_and_overlong_questions_are_not_sent() -> None:
    async with robot_saying({"result": 1}).running() as server:
        async with rig(settings_for(server.base_url)) as rigged:
            assert (await failure(rigged, "  ")).reason is FailureReason.REFUSED
            long = "问" * (LONGEST_QUESTION + 1)
            assert (await failure(rigged, long)).reason is FailureReason.TOO_BIG
            await rigged.links.ask_robot("问" * LONGEST_QUESTION)
        assert len(server.questions) == 1


@pytest.mark.asyncio
async def test_missing_robot_is_no_trouble_of_the_server() -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(status=404, text="<html>", content_type="text/html")

    async with (
        WildServer(robot=page).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        for _ in range(5):
            assert (await failure(rigged, "x")).reason is FailureReason.UNREACHABLE
        assert rigged.links.door.trouble == ""


@pytest.mark.asyncio
async def test_unreachable_robot() -> None:
    async with rig(settings_for("http://127.0.0.1:1/webchat")) as rigged:
        assert (await failure(rigged, "x")).reason is FailureReason.UNREACHABLE


@pytest.mark.asyncio
async def test_concurrent_questions_to_the_robot_are_limited() -> None:
    hung = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await hung.wait()
        return web.Response()

    async with WildServer(robot=hang).running() as server:
        settings = settings_for(server.base_url, timing=replace(FAST, reply=1.0))
        async with rig(settings) as rigged, asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(failure(rigged, "x")) for _ in range(AT_ONCE + 1)]
            await eventually(lambda: len(server.questions) == AT_ONCE)
            await asyncio.sleep(0.1)
            # Later the last one may take a place that has just become free.
            assert len(server.questions) == AT_ONCE
        assert {task.result().reason for task in asked} == {FailureReason.UNREACHABLE}
        hung.set()


# --- probes of the server, without a login --------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "there"), [(405, True), (403, True), (404, False), (502, False)]
)
async def test_probe_recognises_a_webchat_server(status: int, *, there: bool) -> None:
    looked: list[str] = []

    async def page(request: web.Request) -> web.StreamResponse:
        looked.append(request.path)
        return web.Response(status=status)

    async with (
        WildServer(pages=page).running() as server,
        rig(settings_for(server.base_url)) as rigged,
    ):
        for _ in range(3):  # it is sent only once
            if there:
                await rigged.links.probe()
            else:
                with pytest.raises(Unavailable, match=f"HTTP {status}"):
                    await rigged.links.probe()
        assert looked == ["/webchat/tpi"]
        assert server.logins == []


@pytest.mark.asyncio
async def test_probe_counts_as_a_visit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server blacklists clients for too many requests of any kind (protocol reference 3.7)."""
    monkeypatch.setattr("bridge.link.http_client.SHORTEST_KEPT", 0.0)  # for a fast test

    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(status=405)

    async with WildServer(pages=page).running() as server:
        settings = settings_for(server.base_url, login_count=2, login_seconds=0.3)
        async with rig(settings) as rigged:
            before = asyncio.get_running_loop().time()
            await rigged.links.probe()
            assert any(fact.startswith(VISITS) for fact in rigged.facts.kept)
            for number in (1, 2):
                assert (await rigged.call(account(str(number)), number, ASK)).ok
            assert server.logins[0] - before < 0.299 < server.logins[1] - before


@pytest.mark.asyncio
async def test_probe_does_not_delay_a_login() -> None:
    async with (
        WildServer().running() as server,  # which knows no such page
        rig(settings_for(server.base_url, login_count=1)) as rigged,
    ):
        await rigged.links.probe()
        assert (await rigged.call(ADA, 1, ASK)).ok


@pytest.mark.asyncio
async def test_failed_probe_names_the_error() -> None:
    async with rig(settings_for("http://127.0.0.1:9/webchat")) as rigged:
        with pytest.raises(Unavailable, match="Connection refused"):
            await rigged.links.probe()


@pytest.mark.asyncio
async def test_probe_detects_an_outage_while_a_refused_login_rests() -> None:
    async def login(_: web.Request) -> web.StreamResponse:
        return web.json_response({"result": -20})

    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(status=502)

    server = WildServer(login=login, pages=page)
    async with server.running(), rig(settings_for(server.base_url)) as rigged:
        rigged.links.keep(ADA)
        link = rigged.links._links[ADA.room_id]
        await eventually(lambda: link.gate.pause_left() > 60.0)
        with pytest.raises(Unavailable, match="HTTP 502"):
            await rigged.links.probe()


@pytest.mark.asyncio
async def test_trouble_of_active_links_outweighs_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their trouble lasts until they are open again, or until they are no longer wanted."""
    monkeypatch.setattr("bridge.link.links.LOOK_EVERY", 0.0)
    monkeypatch.setattr("bridge.link.links.LOOK_AGAIN", 0.0)
    refused = web.Response(status=503)

    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(status=405)

    server = WildServer(pages=page, handshake=lambda _: refused)
    async with server.running(), rig(settings_for(server.base_url)) as rigged:
        await rigged.links.probe()
        rigged.links.keep(ADA)
        await eventually(lambda: rigged.links.door.trouble != "")
        with pytest.raises(Unavailable, match="handshake: HTTP 503"):
            await rigged.links.probe()
        rigged.links.release(ADA.room_id)
        await eventually(lambda: not rigged.links._links)
        await rigged.links.probe()
        # A link that could not be opened and is gone does not count against those that are up.
        server.handshake = lambda _: None
        assert (await rigged.call(ADA, 1, ASK)).ok
        rigged.links.door.trouble = "handshake: HTTP 503"
        await rigged.links.probe()
