"""The simulator over real sockets: injected faults, and many customers at once."""

import asyncio
import json

import pytest

from bridge.simulator.simulator import BadOpError
from tests.conformance.simulator_client import Phone, Site, site


async def faults(here: Site, *plan: dict[str, object]) -> None:
    await here.simulator.do({"op": "set", "faults": list(plan)})


def messages(here: Site, login: str = "ada") -> list[dict[str, object]]:
    customers = here.simulator.state()["customers"]
    assert isinstance(customers, dict)
    return list(customers[login]["messages"])


@pytest.mark.asyncio
async def test_dropped_reply_of_a_delivered_message() -> None:
    async with site() as here:
        phone, session = await here.chat()
        await faults(here, {"fault": "drop", "type": 110})
        lost = await phone.text(session, "one")
        found = await phone.text(session, "two")
        assert (await phone.reply(110))["messageId"] == found
        await phone.text(session, "one", messageId=lost)
        await phone.reply(110)
        assert [(entry["text"], entry["repeat"]) for entry in messages(here)] == [
            ("one", False),
            ("two", False),
            ("one", True),
        ]


@pytest.mark.asyncio
async def test_ignored_and_refused_commands_are_not_carried_out() -> None:
    async with site() as here:
        phone, session = await here.chat()
        await faults(
            here,
            {"fault": "ignore", "type": 110, "result": -1},
            {"fault": "answer", "type": 110, "result": -100},
        )
        await phone.text(session, "ignored")
        refused = await phone.text(session, "refused")
        reply = await phone.reply(110)
        assert (reply["messageId"], reply["result"]) == (refused, -100)
        assert messages(here) == []


@pytest.mark.parametrize("omit_types", [True, False])
@pytest.mark.asyncio
async def test_replies_without_message_ids_and_types(
    omit_types: bool,
) -> None:
    async with site(omit_call_ids=True, omit_types=omit_types) as here:
        phone = await here.phone()
        await faults(here, {"fault": "answer", "type": 110, "result": -100})
        for text, result in (("as a fault says", -100), (" ", -17), ("no chat", -11)):
            await phone.text(1, text)
            reply = await phone.receive()
            assert reply["result"] == result
            assert reply.keys() == {"result", "message", *([] if omit_types else ["type"])}


@pytest.mark.asyncio
async def test_missing_numbers_may_be_zeros() -> None:
    async with site(zeros=True) as here:
        phone = await here.phone()
        await phone.send(101, queueId=1, **{"from": "APP"})
        reply = await phone.reply(101)
        assert [reply[key] for key in ("requestId", "sessionId", "queueLength")] == [0, 0, 0]
        status = await phone.receive()
        assert (status["requestId"], status["sessionId"], status["queueLength"]) == (9001, 0, 1)


@pytest.mark.parametrize("carried_out", [True, False])
@pytest.mark.asyncio
async def test_a_cut_between_command_and_reply(carried_out: bool) -> None:
    async with site() as here:
        phone, session = await here.chat()
        await faults(here, {"fault": "cut", "type": 110, "carried_out": carried_out})
        await phone.text(session, "?")
        assert await phone.closed() == 1006
        assert len(messages(here)) == carried_out


@pytest.mark.asyncio
async def test_frames_can_be_reordered_and_doubled() -> None:
    async with site(script="accept") as here:
        phone = await here.phone()
        await faults(here, {"fault": "reorder", "type": 101}, {"fault": "double", "type": 202})
        await phone.send(101, queueId=1, **{"from": "APP"})
        kinds = [(await phone.receive())["type"] for _ in range(3)]
        assert kinds == [202, 202, 101]


@pytest.mark.asyncio
async def test_frame_held_back_is_lost_with_its_socket() -> None:
    async with site() as here:
        phone, session = await here.chat()
        await faults(here, {"fault": "reorder"})
        await phone.text(session, "held back")
        await here.simulator.wait_for(lambda state: state["faults"] == [])
        await here.simulator.do({"op": "kick", "login": "ada"})
        await phone.closed()
        again = await here.phone(token=phone.token)
        number = await again.text(session, "after it")
        await again.text(session, "the last")
        assert [(await again.reply(110))["messageId"] for _ in range(2)] == [number, number + 1]


@pytest.mark.asyncio
async def test_delayed_replies_stay_in_order() -> None:
    async with site(reply_delay_ms=100, script="echo") as here:
        phone, session = await here.chat()
        began = asyncio.get_running_loop().time()
        numbers = [await phone.text(session, str(n)) for n in range(20)]
        got = [await phone.receive() for _ in range(40)]
        took = asyncio.get_running_loop().time() - began
        assert [frame["messageId"] for frame in got if "result" in frame] == numbers
        # Delays overlap: twenty replies do not take twenty times as long.
        assert 0.1 <= took < 2


@pytest.mark.parametrize(("code", "seen"), [(1001, 1001), (4000, 4000), (1006, 1006)])
@pytest.mark.asyncio
async def test_kick_closes_the_socket_with_the_code(code: int, seen: int) -> None:
    async with site() as here:
        phone = await here.phone()
        await here.simulator.do({"op": "kick", "login": "ada", "code": code})
        assert await phone.closed() == seen
        with pytest.raises(BadOpError):
            await here.simulator.do({"op": "kick", "login": "ada"})


@pytest.mark.parametrize("mode", ["lost", "kept"])
@pytest.mark.asyncio
async def test_push_without_a_socket_is_lost_or_kept(mode: str) -> None:
    async with site(missed_pushes=mode) as here:
        phone, _ = await here.chat()
        await here.simulator.do({"op": "kick", "login": "ada"})
        await phone.closed()
        assert (await here.simulator.do({"op": "say", "text": "anyone?"}))["sent"] is False
        phone = await here.phone(token=phone.token)
        if mode == "kept":
            assert (await phone.push(210))["msg"] == {"type": 1, "content": "anyone?"}
        state = here.simulator.state()["customers"]
        assert isinstance(state, dict)
        assert state["ada"]["said"][0]["sent"] is (mode == "kept")
        assert state["ada"]["lost_pushes"] == (mode == "lost")


@pytest.mark.asyncio
async def test_unwritten_pushes_of_a_lost_socket_are_kept() -> None:
    async with site(missed_pushes="kept") as here:
        phone, _ = await here.chat()
        await here.simulator.do({"op": "set", "options": {"reply_delay_ms": 50}})
        for text in ("one", "two"):
            assert (await here.simulator.do({"op": "say", "text": text}))["sent"] is True
        phone.socket.transport.abort()
        await here.simulator.wait_for(lambda state: _ada(state)["pending_pushes"] == 2)
        phone = await here.phone(token=phone.token)
        heard = [(await phone.push(210))["msg"] for _ in range(2)]
        assert heard == [{"type": 1, "content": text} for text in ("one", "two")]


@pytest.mark.asyncio
async def test_pushes_are_resent_until_acknowledged() -> None:
    async with site(receipts=True, resend_seconds=0.05, script="accept") as here:
        phone = await here.phone()
        await phone.send(101, queueId=1, **{"from": "APP"})
        await phone.reply(101)
        first, second = await phone.push(202), await phone.push(202)
        assert first == second
        await phone.send(120, rsId=first["rsId"])
        await here.simulator.wait_for(lambda state: _ada(state)["pending_pushes"] == 0)


def _ada(state: dict[str, object]) -> dict[str, object]:
    customers = state["customers"]
    assert isinstance(customers, dict)
    ada = customers["ada"]
    assert isinstance(ada, dict)
    return ada


@pytest.mark.asyncio
async def test_restart_closes_all_sockets_and_answers_404() -> None:
    async with site() as here:
        phone, session = await here.chat()
        base = here.simulator.base_url
        await here.simulator.do({"op": "restart", "seconds": 3600, "forget": ["sessions"]})
        assert await phone.closed() == 1001
        for path in ("tpi", "tpiu", "robotSearch"):
            async with here.http.post(f"{base}/{path}", data=b"") as response:
                assert (response.status, response.content_type) == (404, "text/html")
        async with here.http.get(f"{base}/cws") as response:
            assert response.status == 404
        assert here.simulator.state()["down"] is True
        await here.simulator.do({"op": "restart"})
        phone = await here.phone(token=phone.token)
        await phone.text(session, "remember me?")
        assert (await phone.reply(110))["result"] == -11


@pytest.mark.asyncio
async def test_http_faults() -> None:
    async with site() as here:
        url = f"{here.simulator.base_url}/tpi"
        await faults(
            here,
            {"fault": "http", "path": "tpi"},
            {"fault": "http", "path": "tpi", "result": -100},
            {"fault": "hang", "path": "tpi"},
        )
        async with here.http.post(url, data=b"{}") as response:
            assert (response.status, response.content_type) == (503, "text/html")
        async with here.http.post(url, data=b"{}") as response:
            assert (await response.json())["result"] == -100
        async with asyncio.TaskGroup() as group:
            hung = group.create_task(_status(here, b"{}"))
            await here.simulator.wait_for(lambda state: state["faults"] == [])
            assert await asyncio.wait({hung}, timeout=0.1) == (set(), {hung})
            hung.cancel()
        assert await here.login()


@pytest.mark.asyncio
async def test_the_blacklist_answers_with_html() -> None:
    async with site(login_limit=2) as here:
        url = f"{here.simulator.base_url}/tpi"
        await here.login("a")
        await here.login("b")
        for _ in range(2):
            async with here.http.post(url, data=b"{}") as response:
                assert (response.status, response.content_type) == (403, "text/html")
        assert here.simulator.state()["blacklist"] == ["127.0.0.1"]
        await here.simulator.do({"op": "forget", "what": "blacklist"})
        assert await here.login("c")


@pytest.mark.asyncio
async def test_queue_timeout_ends_the_request() -> None:
    async with site(queue_timeout=0.05) as here:
        phone = await here.phone()
        await phone.send(101, queueId=1, **{"from": "APP"})
        await phone.reply(101)
        statuses = [(await phone.push(201))["requestStatus"] for _ in range(2)]
        assert statuses == [0, 3]
        assert here.simulator.state()["waiting"] == []


@pytest.mark.asyncio
async def test_queue_moves_up_when_a_customer_stays_away() -> None:
    async with site(session_grace=0.05, dialect="2019", robot_queues=[5]) as here:
        away = await here.phone("ada")
        await away.send(101, queueId=5, **{"from": "APP"})
        session = (await away.reply(101))["sessionId"]
        await away.send(302, sessionId=session, transferInfo='{"queueId": 1}')
        await away.reply(302)
        waiting = await here.phone("bob")
        await waiting.send(101, queueId=1, **{"from": "APP"})
        await waiting.reply(101)
        assert (await waiting.push(201))["queueLength"] == 2
        await away.socket.close()
        assert (await waiting.push(201))["queueLength"] == 1
        assert here.simulator.state()["sessions"] == []


@pytest.mark.asyncio
async def test_desk_is_told_that_an_absent_customers_session_ended() -> None:
    async with site(session_grace=0.5) as here:
        phone, _ = await here.chat()
        async with asyncio.timeout(30), here.http.ws_connect(f"{here.origin}/desk/stream") as desk:
            await phone.socket.close()
            kinds: list[str] = []
            while "closed" not in kinds:
                kinds += [one["kind"] for one in (await desk.receive_json())["entries"]]
        assert here.simulator.state()["sessions"] == []


@pytest.mark.asyncio
async def test_stop_closes_sockets_and_ends_hanging_requests() -> None:
    async with site() as here:
        phone = await here.phone()
        await faults(here, {"fault": "hang", "path": "tpi"})
        async with asyncio.TaskGroup() as group:
            body = b"{}"
            hung = group.create_task(_status(here, body))
            await here.simulator.wait_for(lambda state: state["faults"] == [])
            await here.simulator.stop()
        assert await phone.closed() == 1001
        assert hung.result() == 503


async def _status(here: Site, body: bytes) -> int:
    async with here.http.post(f"{here.simulator.base_url}/tpi", data=body) as response:
        return response.status


@pytest.mark.asyncio
async def test_wait_for_times_out() -> None:
    async with site() as here:
        with pytest.raises(TimeoutError):
            await here.simulator.wait_for(lambda state: state["logins"] == 1, timeout=0.01)


@pytest.mark.asyncio
async def test_fifty_customers_get_two_thousand_echoes_in_order() -> None:
    rounds = 40

    async def talk(here: Site, phone: Phone, session: int) -> None:
        for number in range(rounds):
            await phone.text(session, str(number))
        heard: list[str] = []
        while len(heard) < rounds:
            frame = await phone.receive()
            if frame["type"] == 210:
                heard.append(json.loads(json.dumps(frame["msg"]))["content"])
            else:
                assert frame["result"] == 1
        assert heard == [str(number) for number in range(rounds)]

    async with site(script="echo", login_limit=0) as here:
        chats = [await here.chat(f"c{number}") for number in range(50)]
        async with asyncio.TaskGroup() as group:
            for phone, session in chats:
                group.create_task(talk(here, phone, session))
        for number in range(50):
            texts = [entry["text"] for entry in messages(here, f"c{number}")]
            assert texts == [str(said) for said in range(rounds)]
