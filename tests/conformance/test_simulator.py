"""The simulator over real sockets answers as in the guide of 2016 (numbers are its chapters)."""

import asyncio
import hashlib
import io
import json

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from bridge.simulator.simulator import Simulator, serve
from tests.conformance.simulator_client import Site, site


@pytest.mark.asyncio
async def test_a_whole_conversation() -> None:
    """1 login, 2 queue, pre-message, 202, texts both ways, 203, 205, 104 after the end."""
    async with site() as here:
        do = here.simulator.do
        phone = await here.phone()
        number = await phone.send(101, queueId=7, **{"from": "APP"})
        assert await phone.reply(101) == {
            "messageId": number,
            "type": 101,
            "result": 1,
            "message": "",
        }
        waiting = await phone.receive()
        assert waiting == {"type": 201, "requestId": 9001, "requestStatus": 0, "queueLength": 1}
        await phone.send(111, requestId=9001, content="order 4711")
        assert (await phone.reply(111))["result"] == 1

        assert await do({"op": "accept"}) == {
            "ok": True,
            "sent": True,
            "request": 9001,
            "session": 5001,
        }
        started = await phone.receive()
        assert (started["type"], started["sessionId"]) == (202, 5001)

        await phone.text(5001, "你好")
        assert (await phone.reply(110))["result"] == 1
        await do({"op": "say", "text": "hello"})
        assert (await phone.receive())["msg"] == {"type": 1, "content": "hello"}

        await do({"op": "push_rating"})
        assert await phone.receive() == {"type": 203, "sessionId": 5001, "agentId": "A00001"}
        await do({"op": "close"})
        assert await phone.receive() == {"type": 205, "sessionId": 5001, "agentId": "A00001"}
        await phone.send(104, sessionId=5001, rating={"id": 0, "comments": "late"})
        assert (await phone.reply(104))["result"] == 1

        ada = here.simulator.state()["customers"]
        assert isinstance(ada, dict)
        heard = [(entry["text"], entry["sessionId"]) for entry in ada["ada"]["messages"]]
        assert heard == [("order 4711", 5001), ("你好", 5001)]
        assert [(entry["content"], entry["sent"]) for entry in ada["ada"]["said"]] == [
            ("hello", True)
        ]
        assert ada["ada"]["ratings"][0]["comments"] == "late"


@pytest.mark.parametrize("mode", ["401", "close", "frame"])
@pytest.mark.asyncio
async def test_a_bad_token_is_refused_at_the_handshake(mode: str) -> None:
    async with site(handshake_refusal=mode) as here:
        url = f"{here.simulator.base_url}/cws?token=wrong"
        if mode == "401":
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await here.http.ws_connect(url)
            assert refused.value.status == 401
            return
        phone = await here.phone(token="wrong")
        if mode == "frame":
            assert (await phone.reply(1))["result"] == -15
        assert await phone.closed() == 1008


@pytest.mark.asyncio
async def test_a_token_must_be_escaped_in_the_address() -> None:
    async with site(awkward_tokens=True) as here:
        token = await here.login()
        unescaped = f"{here.simulator.base_url}/cws?token=".replace("http", "ws", 1) + token
        with pytest.raises(InvalidStatus):
            await connect(unescaped)
        phone = await here.phone(token=token)
        await phone.send(2)
        assert (await phone.reply(2))["result"] == 1


@pytest.mark.asyncio
async def test_a_newer_socket_replaces_the_old() -> None:
    async with site(new_login_kills_old=False) as here:
        old, session = await here.chat()
        new = await here.phone()
        assert await old.closed() == 1000
        await new.text(session, "still here")
        assert (await new.reply(110))["result"] == 1
        assert here.simulator.state()["open_sockets"] == 1


@pytest.mark.asyncio
async def test_requests_and_sessions_outlive_the_socket() -> None:
    async with site() as here:
        phone = await here.phone()
        await phone.send(101, queueId=1, **{"from": "APP"})
        await phone.reply(101)
        await phone.push(201)
        await phone.socket.close()
        await here.simulator.wait_for(lambda state: state["open_sockets"] == 0)
        phone = await here.phone(token=phone.token)
        await phone.send(101, queueId=1, **{"from": "APP"})
        assert (await phone.reply(101))["result"] == -1
        await here.simulator.do({"op": "accept"})
        assert (await phone.receive())["sessionId"] == 5001
        await phone.socket.close()
        await here.simulator.wait_for(lambda state: state["open_sockets"] == 0)
        phone = await here.phone(token=phone.token)
        await phone.text(5001, "back")
        assert (await phone.reply(110))["result"] == 1


@pytest.mark.asyncio
async def test_a_frame_beyond_the_limit_closes_with_1009() -> None:
    async with site() as here:
        phone, session = await here.chat()
        await phone.text(session, "x" * 8000)
        assert (await phone.reply(110))["result"] == 1
        await phone.text(session, "x" * 8200)
        assert await phone.closed() == 1009


@pytest.mark.asyncio
async def test_binary_and_broken_frames_get_minus_8_and_keep_the_socket() -> None:
    async with site() as here:
        phone = await here.phone()
        for frame in (b"\x00", "{", "[]", "[" * 4000, "[" * 700 + "]" * 700):
            await phone.socket.send(frame)
            assert (await phone.receive())["result"] == -8
        await phone.send(101, queueId=1, **{"from": "APP"})
        assert (await phone.reply(101))["result"] == 1


# --- upload and files (guide 2) ------------------------------------------------------------------


@pytest.mark.parametrize("style", ["context", "root", "bare", "absolute"])
@pytest.mark.asyncio
async def test_a_raw_upload_is_served_back_byte_for_byte(style: str) -> None:
    body = bytes(range(256)) * 5000
    async with site(upload_url=style) as here:
        url = f"{here.simulator.base_url}/tpiu?token={await here.login()}"
        hint = "attachment; filename*=UTF-8''%E7%8C%AB.png"
        headers = {"Content-Type": "image/png", "Content-Disposition": hint}
        async with here.http.post(url, data=io.BytesIO(body), headers=headers) as response:
            said = await response.json()
        assert (said["result"], said["fileName"]) == (1, "猫.png")
        assert said["url"].endswith("up/1/%E7%8C%AB.png")
        uploads = here.simulator.state()["uploads"]
        assert isinstance(uploads, list)
        assert uploads[0]["sha256"] == hashlib.sha256(body).hexdigest()
        async with here.http.get(uploads[0]["address"]) as response:
            assert (response.content_type, await response.read()) == ("image/png", body)


@pytest.mark.asyncio
async def test_a_raw_upload_without_a_name_is_named_by_its_type() -> None:
    async with site() as here:
        url = f"{here.simulator.base_url}/tpiu?token={await here.login()}"
        async with here.http.post(url, data=b"x", headers={"Content-Type": "image/png"}) as said:
            assert (await said.json())["fileName"] == "upload.png"


async def upload(here: Site, token: str, *, multipart: bool, body: bytes = b"abc") -> object:
    url = f"{here.simulator.base_url}/tpiu?token={token}"
    data: io.BytesIO | aiohttp.FormData = io.BytesIO(body)
    headers = {"Content-Disposition": 'attachment; filename="a.exe"'}
    if multipart:
        data, headers = aiohttp.FormData(), {}
        data.add_field("token", token)
        data.add_field("fileToUpload", body, filename="a.exe")
    async with here.http.post(url, data=data, headers=headers) as response:
        return (await response.json())["result"]


@pytest.mark.parametrize(
    ("mode", "raw", "multipart"), [("raw", 1, -14), ("multipart", -14, 1), ("both", 1, 1)]
)
@pytest.mark.asyncio
async def test_upload_in_the_wrong_mode_is_refused(mode: str, raw: int, multipart: int) -> None:
    async with site(upload_mode=mode) as here:
        token = await here.login()
        assert await upload(here, token, multipart=False) == raw
        assert await upload(here, token, multipart=True) == multipart
        assert await upload(here, "wrong", multipart=False) == -15


@pytest.mark.parametrize("parts", [b"", b"no boundary", b"--x\r\n\r\n"])
@pytest.mark.asyncio
async def test_an_upload_of_unreadable_parts_is_refused(parts: bytes) -> None:
    async with site(upload_mode="multipart") as here:
        url = f"{here.simulator.base_url}/tpiu?token={await here.login()}"
        for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
            headers = {"Content-Type": kind}
            async with here.http.post(url, data=parts, headers=headers) as response:
                assert (await response.json())["result"] == -8


@pytest.mark.asyncio
async def test_upload_refusals() -> None:
    async with site(max_upload=1_000_000, allowed_extensions=["png"]) as here:
        token = await here.login()
        assert await upload(here, token, multipart=False) == -16
        await here.simulator.do({"op": "set", "options": {"allowed_extensions": []}})
        assert await upload(here, token, multipart=False, body=bytes(1_000_001)) == -13
        assert await upload(here, token, multipart=False, body=bytes(1_000_000)) == 1


@pytest.mark.asyncio
async def test_an_agents_file_and_picture_can_be_fetched() -> None:
    async with site() as here:
        phone, _ = await here.chat()
        done = await here.simulator.do({"op": "file", "name": "terms 1.pdf", "text": "terms"})
        content = (await phone.push(210))["msg"]
        assert isinstance(content, dict)
        async with here.http.get(here.origin + content["content"]["url"]) as response:
            body = await response.read()
        assert (body, hashlib.sha256(body).hexdigest()) == (b"terms", done["sha256"])
        async with here.http.get(f"{here.simulator.base_url}/icon/A00001.png") as response:
            assert (await response.read()).startswith(b"\x89PNG")
        for path in ("up/1/other.pdf", f"up/{'9' * 5000}/other.pdf"):
            async with here.http.get(f"{here.simulator.base_url}/{path}") as response:
                assert response.status == 404


@pytest.mark.asyncio
async def test_robot_search_takes_a_form() -> None:
    """Chapter 4, with the guide's example values."""
    async with site(robot_key="123456", robot_answers={"测试": "yes"}) as here:
        url = f"{here.simulator.base_url}/robotSearch"
        form = {"epid": "E00001", "action": "search", "question": "测试"}
        form["sign"] = "78f2252ff6452a870574b1a51f85a08f"
        async with here.http.post(url, data=form) as response:
            assert (await response.json())["searchResult"]["srs"][0]["preview"] == "yes"
        async with here.http.post(url, json=form) as response:
            assert (await response.json())["result"] == -8
        kind = "application/x-www-form-urlencoded"
        for content_type, body in ((kind, b"\xff=1"), (f"{kind}; charset=none", b"epid=1")):
            headers = {"Content-Type": content_type}
            async with here.http.post(url, data=body, headers=headers) as response:
                assert (await response.json())["result"] == -8


# --- the control API over HTTP --------------------------------------------------------------------


@pytest.mark.asyncio
async def test_control_over_http() -> None:
    async with site() as here:
        control = here.simulator.control_url
        phone, session = await here.chat()
        async with here.http.post(f"{control}/do", json={"op": "say", "text": "hi"}) as response:
            assert (response.status, (await response.json())["session"]) == (200, session)
        await phone.push(210)
        for bad in (b"{", b"[]", b"[" * 4000, b'{"op":"dance"}', b'{"op":"accept"}'):
            async with here.http.post(f"{control}/do", data=bad) as response:
                assert response.status == 400
                assert (await response.json())["error"]
        async with here.http.get(f"{control}/state") as response:
            assert await response.json() == json.loads(json.dumps(here.simulator.state()))
        async with here.http.get(f"{control}/frames?since=x") as response:
            assert response.status == 400


@pytest.mark.parametrize("path", ["/", "/desk/", "/desk/?agent=A00001"])
@pytest.mark.asyncio
async def test_short_urls_redirect_to_the_desk(path: str) -> None:
    async with site() as here, here.http.get(here.origin + path) as response:
        assert (response.status, response.url.path) == (200, "/desk")
        assert response.url.query_string == path.partition("?")[2]
        assert "<title>Agent desk" in await response.text()


@pytest.mark.asyncio
async def test_desk_stream_refuses_an_invalid_since_parameter() -> None:
    async with site() as here:
        stream = f"{here.origin}/desk/stream"
        async with here.http.ws_connect(stream) as desk:
            run = (await desk.receive_json())["run"]
        for query in ("since=x", f"run={run}&since=x", f"run={run}&since="):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await here.http.ws_connect(f"{stream}?{query}")
            assert refused.value.status == 400


@pytest.mark.asyncio
async def test_frames_can_be_awaited_and_hide_tokens() -> None:
    async with site() as here:
        phone, session = await here.chat()
        last = len(here.simulator.frames())
        url = f"{here.simulator.control_url}/frames?since={last}"
        async with here.http.get(f"{url}&wait=0.01") as response:
            assert await response.json() == {"last": last, "frames": []}

        async def poll() -> list[dict[str, object]]:
            async with here.http.get(f"{url}&wait=30") as response:
                return list((await response.json())["frames"])

        async with asyncio.TaskGroup() as group:
            polling = group.create_task(poll())
            await phone.text(session, "hello")
        await phone.socket.send(f'{{"type": 10, "token": "{phone.token}"')
        while (await phone.receive())["result"] != -8:
            pass
        first = polling.result()[0]
        assert (first["number"], first["direction"], first["login"]) == (last + 1, "in", "ada")
        assert phone.token not in json.dumps(here.simulator.frames())
        assert phone.token not in json.dumps(here.simulator.state())


@pytest.mark.asyncio
async def test_serve_prints_where_it_listens(capsys: pytest.CaptureFixture[str]) -> None:
    async with site() as here:
        options = here.simulator.options
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve(options, "127.0.0.1", 0))
        printed = ""
        async with asyncio.timeout(30):
            while "control" not in printed:
                await asyncio.sleep(0)
                printed += capsys.readouterr().out
        serving.cancel()
    assert "WebChat: http://127.0.0.1:" in printed
    assert "/_sim" in printed


@pytest.mark.asyncio
async def test_simulator_runs_once_at_a_time_and_can_be_restarted() -> None:
    simulator = Simulator()
    with pytest.raises(RuntimeError, match="does not run"):
        await simulator.do({"op": "accept"})
    await simulator.start()
    with pytest.raises(RuntimeError, match="runs already"):
        await simulator.start()
    await simulator.stop()
    await simulator.stop()
    await simulator.start()
    await simulator.stop()
