from __future__ import annotations

from collections.abc import Mapping

import aiohttp
import pytest

from bridge.ids import UserId
from bridge.matrix.client import Homeserver
from bridge.matrix.crypto.wire import Json, KeyServer
from bridge.matrix.users import OurUsers
from bridge.rooms.ports import Refused
from tests.unit.matrix.crypto.world import BOT

pytestmark = pytest.mark.asyncio

USERS = OurUsers("here", "bot", "ghost{agent}", [])
Request = tuple[str, str, Json | None, bool, dict[str, str]]


class Recorder(Homeserver):
    """Returns canned answers and records the requests."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        super().__init__(session, "http://here", "token", USERS)
        self.asked: list[Request] = []
        self.answers: list[Json | Exception] = []

    async def request(
        self,
        method: str,
        path: str,
        content: Json | None = None,
        *,
        user: UserId | None = None,
        device: bool = True,
        query: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
        patient: bool = False,
        storable: bool = False,
    ) -> Json:
        assert user == BOT
        short = path.removeprefix("_matrix/client/v3/")
        self.asked.append((method, short, content, device, dict(query or {})))
        answer = self.answers.pop(0) if self.answers else {}
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_requests_of_each_call() -> None:
    async with aiohttp.ClientSession() as session:
        transport = Recorder(session)
        server = KeyServer(transport)
        transport.answers = [
            {},
            {"devices": [{"device_id": "A"}, {"device_id": 5}, None]},
            {},
            {"device_keys": {}},
            {"one_time_keys": {"@a:b": {}}},
            {"one_time_key_counts": {"x": 1}},
        ]
        assert await server.make_device(BOT, "D E") == ""
        assert await server.devices(BOT) == ["A"]
        await server.delete_device(BOT, "D")
        assert await server.query(BOT, ["@a:b"]) == {"device_keys": {}}
        assert await server.claim(BOT, {"@a:b": {"D": "k"}}) == {"one_time_keys": {"@a:b": {}}}
        assert await server.upload_keys(BOT, {"k": 1}) == {"x": 1}
        await server.upload_identity(BOT, {})
        await server.upload_signatures(BOT, {})
        await server.send_to_devices(BOT, "m.x", {"@a:b": {}})
        await server.send_to_devices(BOT, "m.x", {"@a:b": {}})
        as_device = [
            (method, path.rpartition("/")[0] or path)
            for method, path, _, d, _ in transport.asked
            if d
        ]
        assert as_device == [
            ("POST", "keys"),
            ("POST", "keys"),
            ("POST", "keys/signatures"),
            ("PUT", "sendToDevice/m.x"),
            ("PUT", "sendToDevice/m.x"),
        ]
        assert transport.asked[0][1] == "devices/D%20E"
        assert transport.asked[-1][1] != transport.asked[-2][1]

        await server.sync(BOT, "", wait=False)
        await server.sync(BOT, "s1", wait=True)
        (_, _, _, _, first), (_, _, _, _, second) = transport.asked[-2:]
        assert (first["timeout"], first.get("since")) == ("0", None)
        assert (second["timeout"], second["since"]) == ("30000", "s1")
        assert '"rooms": []' in first["filter"]


async def test_sync_as_another_device() -> None:
    async with aiohttp.ClientSession() as session:
        transport = Recorder(session)
        await KeyServer(transport).sync(BOT, "s1", wait=False, device="OLD")
        ((_, _, _, as_device, query),) = transport.asked
        assert not as_device
        assert query["device_id"] == query["org.matrix.msc3202.device_id"] == "OLD"
        # Synapse repeats its answer to the same query, which the device asked at its last start.
        assert query["timeout"] == "1"


async def test_mark_is_kept_in_account_data() -> None:
    async with aiohttp.ClientSession() as session:
        transport = Recorder(session)
        server = KeyServer(transport)
        refused = Refused("M_NOT_FOUND"), Refused("M_FORBIDDEN")
        transport.answers = [{}, {"mark": "m"}, *refused, {"mark": 5}]
        await server.set_mark(BOT, "m")
        assert [await server.mark(BOT) for _ in range(4)] == ["m", "", "", ""]
        method, path, content, as_device, _ = transport.asked[0]
        assert (method, content, as_device) == ("PUT", {"mark": "m"}, False)
        assert path == "user/%40bot%3Ahere/account_data/org.matrix_webchat.continuity"


async def test_an_older_homeserver_gives_a_device_by_login() -> None:
    async with aiohttp.ClientSession() as session:
        transport = Recorder(session)
        server = KeyServer(transport)
        transport.answers = [Refused("M_UNRECOGNIZED"), {"access_token": "t"}]
        assert await server.make_device(BOT, "D") == "t"
        method, path, content, as_device, _ = transport.asked[-1]
        assert (method, path, as_device) == ("POST", "login", False)
        assert content is not None
        assert content["device_id"] == "D"
        transport.answers = [Refused("M_NOT_FOUND"), {}]
        with pytest.raises(Refused, match="returned no access token"):
            await server.make_device(BOT, "D")
        transport.answers = [Refused("M_FORBIDDEN")]
        with pytest.raises(Refused, match="M_FORBIDDEN"):
            await server.make_device(BOT, "D")


async def test_rejected_signatures_raise_refused() -> None:
    async with aiohttp.ClientSession() as session:
        transport = Recorder(session)
        transport.answers = [{"failures": {"@bot:here": {"D": {"errcode": "M_INVALID_SIGNATURE"}}}}]
        with pytest.raises(Refused, match="M_INVALID_SIGNATURE"):
            await KeyServer(transport).upload_signatures(BOT, {})
