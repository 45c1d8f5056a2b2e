"""The simulator over real sockets: its state, loss of state, and size limits."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from bridge.simulator.simulator import Simulator, SimulatorOptions
from tests.conformance.simulator_client import Json, Site, site

KINDS = ("tokens", "requests", "sessions")


@pytest.mark.parametrize("how", ["restart", "forget"])
@pytest.mark.parametrize("forgotten", [*KINDS, "nothing"])
@pytest.mark.asyncio
async def test_each_kind_of_state_can_be_lost_separately(forgotten: str, how: str) -> None:
    """Reference 8: tokens (-15), requests (-10) and sessions (-11), by `restart` or `forget`."""
    async with site() as here:
        chatting, session = await here.chat("ada")
        waiting = await here.phone("bob")
        await waiting.send(101, queueId=1, **{"from": "APP"})
        await waiting.reply(101)
        request = (await waiting.push(201))["requestId"]
        gone = [kind for kind in KINDS if kind == forgotten]
        if how == "restart":
            await here.simulator.do({"op": "restart", "forget": gone})
            assert await chatting.closed() == await waiting.closed() == 1001
            keep = forgotten != "tokens"
            chatting = await here.phone("ada", token=chatting.token if keep else "")
            waiting = await here.phone("bob", token=waiting.token if keep else "")
        else:
            for kind in gone:
                await here.simulator.do({"op": "forget", "what": kind})
        await chatting.text(session, "still there?")
        await waiting.send(111, requestId=request, content="still there?")
        said = {
            "sessions": (await chatting.reply(110))["result"],
            "requests": (await waiting.reply(111))["result"],
        }
        wanted = {
            "sessions": -11 if forgotten == "sessions" else 1,
            "requests": -10 if forgotten == "requests" else 1,
        }
        if forgotten == "tokens" and how == "forget":
            wanted = dict.fromkeys(wanted, -15)
        assert said == wanted


@pytest.mark.asyncio
async def test_restart_that_forgets_tokens_refuses_old_ones() -> None:
    async with site(handshake_refusal="frame") as here:
        phone = await here.phone()
        await here.simulator.do({"op": "restart", "forget": ["tokens"]})
        await phone.closed()
        again = await here.phone(token=phone.token)
        assert (await again.reply(1))["result"] == -15


@pytest.mark.asyncio
async def test_blacklisting_ends_after_its_time() -> None:
    """Reference 3.7 with short times: logins are counted per window, and the ban ends."""
    async with site(login_limit=1, login_window=0.05, login_ban=0.05) as here:
        url = f"{here.simulator.base_url}/tpi"
        body: Json = {"type": 1, "loginName": "ada", "password": "", "epid": ""}
        statuses: list[int] = []
        async with asyncio.timeout(30):
            while statuses[-2:] != [403, 200]:
                async with here.http.post(url, json=body) as response:
                    statuses.append(response.status)
        assert statuses[0] == 200
        assert here.simulator.state()["blacklist"] == []


@pytest.mark.asyncio
async def test_tokens_expire() -> None:
    async with site(token_lifetime=1.0) as here:  # enough for the handshake on a slow machine
        phone = await here.phone()
        async with asyncio.timeout(30):
            while True:
                await phone.send(101, queueId=1, **{"from": "APP"})
                if (await phone.receive()).get("result") == -15:
                    break


@pytest.mark.asyncio
async def test_stored_frames_and_messages_are_limited() -> None:
    """Frames, the desk's entries and each list of a customer keep only the newest items."""
    options = SimulatorOptions(keep_frames=5, keep_entries=3, keep_records=2, script="accept")
    simulator = Simulator(options)
    await simulator.start()
    try:
        async with aiohttp.ClientSession() as http:
            here = Site(simulator, http)
            phone, session = await here.chat()
            for number in range(10):
                await phone.text(session, str(number))
                await phone.reply(110)
            assert len(simulator.frames()) == 5
            customers = simulator.state()["customers"]
            assert isinstance(customers, dict)
            assert [one["text"] for one in customers["ada"]["messages"]] == ["8", "9"]
            async with http.ws_connect(f"{simulator.desk_url}/stream") as desk:
                view = await desk.receive_json(timeout=5)
            assert len(view["entries"]) == 3
            await here.close()
    finally:
        await simulator.stop()
