"""The simulator over real sockets in dialect 2019: the later guides (protocol reference 5)."""

import asyncio
import base64

import pytest

from bridge.simulator.samples import to_wav, voice
from bridge.simulator.simulator import BadOpError
from bridge.webchat.frames import ChatStarted, InitConfig, QueueStatus, Received
from bridge.webchat.read import parse_frame
from tests.conformance.simulator_client import Json, Phone, site


async def receive(phone: Phone) -> Json:
    """Return the next frame; acknowledge a push at once."""
    frame = await phone.receive()
    if "rsId" in frame:
        await phone.send(120, rsId=frame["rsId"])
    return frame


@pytest.mark.asyncio
async def test_a_whole_conversation() -> None:
    async with site(dialect="2019", nested_status=True, queue_names={"8": "Returns"}) as here:
        do = here.simulator.do
        body = {"type": 3, "loginName": "ada", "name": "Ada", "ip": "203.0.113.9"}
        async with here.http.post(f"{here.simulator.base_url}/tpi", json=body) as response:
            login = await response.json()
        assert login["clientId"] == "00000000-0000-4000-8000-000000000001"
        phone = await here.phone(token=login["token"])

        await phone.send(101, queueId=7, brand="element")
        assert (await phone.reply(101))["result"] == 1
        waiting = await receive(phone)
        assert waiting["data"] == {"requestId": 9001, "requestStatus": 0, "queueLength": 1}
        await do({"op": "accept"})
        started = await receive(phone)
        assert [user["name"] for user in people(started, "users")] == ["Ada", "Mei"]

        await phone.send(113, sessionId=5001)
        await phone.send(112, sessionId=5001, content="par")
        await phone.send(110, sessionId=5001, msg={"type": 1, "content": {"text": "parcel"}})
        for kind in (113, 112, 110):
            assert (await phone.reply(kind))["result"] == 1
        await do({"op": "typing"})
        assert msg_of(await receive(phone)) == {"type": 99, "content": "", "noticeType": 5}
        await do({"op": "transfer", "to": "A00002", "queue": 8})
        moved = await receive(phone)
        assert (moved["queueId"], moved["queueName"]) == (8, "Returns")
        await phone.send(10)
        assert (await phone.reply(10))["result"] == 1
        await do({"op": "close"})
        assert (await receive(phone))["type"] == 205
        await phone.send(104, sessionId=5001, rating={"ratingId": 0})
        assert (await phone.reply(104))["result"] == 1
        # All pushes but the greeting (200), which `Site.phone` reads, were acknowledged.
        pending = await here.simulator.wait_for(lambda state: ada(state)["pending_pushes"] == 1)
        assert ada(pending)["signals"] != []


def people(frame: Json, key: str) -> list[Json]:
    listed = frame[key]
    assert isinstance(listed, list)
    return listed


def msg_of(frame: Json) -> object:
    return frame["msg"]


def ada(state: Json) -> Json:
    customers = state["customers"]
    assert isinstance(customers, dict)
    found = customers["ada"]
    assert isinstance(found, dict)
    return found


@pytest.mark.asyncio
async def test_codec_reads_pushes_of_the_later_dialect() -> None:
    async with site(dialect="2019", allowed_extensions=["png"], nested_status=True) as here:
        token = await here.login()
        url = here.simulator.base_url.replace("http", "ws", 1) + f"/cws?token={token}"
        async with here.http.ws_connect(url) as socket:
            await socket.send_json(
                {"messageId": 1, "type": 101, "token": token, "time": 1, "queueId": 7}
            )
            greeting = parse_frame(await socket.receive_str())
            await socket.receive_str()
            status = parse_frame(await socket.receive_str())
            await here.simulator.do({"op": "accept"})
            own = "00000000-0000-4000-8000-000000000001"
            started = parse_frame(await socket.receive_str(), client_id=own)
        assert isinstance(greeting, Received)
        assert greeting.push == InitConfig(("png",), ((1, "满意"), (0, "不满意")))
        assert greeting.rs_id == "rs-1"
        assert isinstance(status, Received)
        assert isinstance(status.push, QueueStatus)
        assert status.push.position == 1
        assert isinstance(started, Received)
        assert isinstance(started.push, ChatStarted)
        assert [agent.id for agent in started.push.agents] == ["A00001"]


@pytest.mark.asyncio
async def test_missed_push_is_in_the_history_and_resent() -> None:
    async with site(dialect="2019", resend_seconds=0.05, max_resends=2, init_config=False) as here:
        phone, _ = await here.chat()
        await phone.socket.close()
        await here.simulator.wait_for(lambda state: state["open_sockets"] == 0)
        await here.simulator.do({"op": "say", "text": "are you there?"})
        asked = {"type": 5003, "token": phone.token, "maxCount": 1}
        async with here.http.post(f"{here.simulator.base_url}/tpi", json=asked) as response:
            told = await response.json()
        assert [entry["text"] for entry in told["hisMessages"]] == ["are you there?"]
        again = await here.phone(token=phone.token)
        first = await again.push(210)
        second = await again.push(210)
        assert first == second


@pytest.mark.asyncio
async def test_too_large_upload_has_its_own_code() -> None:
    async with site(dialect="2019", max_upload=3) as here:
        url = f"{here.simulator.base_url}/tpiu?token={await here.login()}"
        async with here.http.post(url, data=b"1234") as response:
            assert (await response.json())["result"] == -21


@pytest.mark.parametrize(("covers", "status"), [("login", 401), ("everything", 403)])
@pytest.mark.asyncio
async def test_blacklist_covers_logins_or_everything(covers: str, status: int) -> None:
    async with site(login_limit=1, ban_covers=covers) as here:
        await here.login()
        async with here.http.post(f"{here.simulator.base_url}/tpi", data=b"{}") as response:
            assert response.status == 403
        async with here.http.get(f"{here.simulator.base_url}/cws?token=x") as response:
            assert response.status == status


@pytest.mark.asyncio
async def test_faults_delay_a_reply_and_close_a_socket_with_a_code() -> None:
    async with site() as here:
        phone, session = await here.chat()
        plan = [
            {"fault": "delay", "type": 110, "delay_ms": 150},
            {"fault": "cut", "type": 103, "code": 4001},
        ]
        await here.simulator.do({"op": "set", "faults": plan})
        began = asyncio.get_running_loop().time()
        await phone.text(session, "late")
        await phone.reply(110)
        assert asyncio.get_running_loop().time() - began >= 0.15
        await phone.send(103, sessionId=session)
        assert await phone.closed() == 4001
        assert here.simulator.state()["sessions"] == []


@pytest.mark.asyncio
async def test_invalid_voice_data_is_refused() -> None:
    async with site() as here:
        await here.chat()
        with pytest.raises(BadOpError, match="no voice"):
            await here.simulator.do({"op": "voice", "data": "AAAA"})
        with pytest.raises(BadOpError, match="no voice"):
            await here.simulator.do({"op": "voice", "data": "!"})


@pytest.mark.parametrize("given", [None, 9])
@pytest.mark.parametrize("recorded", [voice(5), to_wav(voice(5))])
@pytest.mark.asyncio
async def test_voice_length_is_measured_or_as_given(recorded: bytes, given: int | None) -> None:
    async with site() as here:
        phone, _ = await here.chat()
        data = base64.b64encode(recorded).decode()
        said = {} if given is None else {"seconds": given}
        await here.simulator.do({"op": "voice", "data": data, "style": "object", **said})
        msg = (await phone.push(210))["msg"]
        assert isinstance(msg, dict)
        assert msg["content"]["voiceLength"] == (given or 5)


@pytest.mark.asyncio
async def test_unacknowledged_push_is_resent_max_resends_times() -> None:
    async with site(dialect="2019", resend_seconds=0.05, max_resends=2, init_config=False) as here:
        phone = await here.phone()
        await phone.send(101, queueId=1)
        await phone.reply(101)
        pushed = [await phone.push(201) for _ in range(3)]
        assert pushed[0] == pushed[1] == pushed[2]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await phone.socket.recv()


@pytest.mark.asyncio
async def test_uploaded_voice_can_be_played_at_the_desk() -> None:
    """Guide of 2019-10-14: `voiceUri`, for voices too long for a frame."""
    async with site(dialect="2019", upload_url="absolute", script="accept") as here:
        phone, session = await here.chat()
        upload = f"{here.simulator.base_url}/tpiu?token={phone.token}"
        async with here.http.post(upload, data=voice(30)) as response:
            url = (await response.json())["url"]
        content = {"voiceLength": 30, "voiceUri": url, "voiceType": "amr"}
        await phone.send(110, sessionId=session, msg={"type": 5, "content": content})
        assert (await phone.reply(110))["result"] == 1
        async with here.http.ws_connect(f"{here.origin}/desk/stream") as desk:
            (entry,) = [
                one for one in (await desk.receive_json())["entries"] if one["kind"] == "voice"
            ]
        assert entry["seconds"] == 30
        async with here.http.get(f"{here.origin}/desk/voices/{entry['voice']}") as response:
            assert (await response.read())[:4] == b"RIFF"
