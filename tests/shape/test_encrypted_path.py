"""How many files of the bridge an encrypted message passes: a count that may only go down.

As `test_path`, whose limits hold for the rest of the way, with a homeserver that also keeps devices
and keys, and a customer's device beside it. What /sync brings (keys) is left out: it comes once in
a hundred messages.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import aiohttp
import pytest
from aiohttp import web
from ruamel.yaml import YAML

from bridge.app.serving import Serving
from bridge.config import load_config
from bridge.demo.synapse import free_port
from bridge.ids import UserId
from bridge.matrix.crypto.wire import MEGOLM, Json
from bridge.simulator.simulator import Simulator, SimulatorOptions
from tests.bench.stubs import StubHomeserver
from tests.bench.subjects import BOT, SimulatedDesk, Subject, open_chats, write_config
from tests.shape.test_path import FROM_AGENT, FROM_CUSTOMER, Walk, at_rest, fewest
from tests.unit.matrix.crypto.world import FakeServer, Phone, World

ROOM, CUSTOMER = "!0:localhost", "@customer0:localhost"
MORE_FROM_CUSTOMER, MORE_FROM_AGENT = 5, 4
"""Files that encryption adds each way, at most."""


class EncryptedHomeserver(StubHomeserver):
    """Has one encrypted room, and keeps everybody's devices and keys in a world."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._keys = FakeServer(world)
        self._world = world
        self.news = asyncio.Event()

    async def nothing(self, request: web.Request) -> web.Response:
        if request.match_info["kind"] != "m.room.encryption":
            return await super().nothing(request)
        event = {"content": {"algorithm": MEGOLM}, "sender": CUSTOMER}
        return web.json_response(event)

    async def members(self, request: web.Request) -> web.Response:
        joined = {"content": {"membership": "join"}}
        return web.json_response(
            {"chunk": [joined | {"state_key": user} for user in (CUSTOMER, BOT)]}
        )

    async def anything(self, request: web.Request) -> web.Response:
        user = UserId(request.query.get("user_id", ""))
        content: Json = await request.json() if request.can_read_body else {}
        answer = await self._about_keys(request, user, content)
        return await super().anything(request) if answer is None else web.json_response(answer)

    async def _about_keys(self, request: web.Request, user: UserId, content: Json) -> Json | None:
        parts = [unquote(part) for part in request.raw_path.partition("?")[0].split("/")][4:]
        part: Any = next(iter(content.values()), None)
        match parts:
            case ["devices", device_id]:
                await self._keys.make_device(user, device_id)
                return {}
            case ["keys", "query"]:
                return await self._keys.query(user, list(part))
            case ["keys", "claim"]:
                return {"one_time_keys": await self._keys.claim(user, part)}
            case ["keys", "upload"]:
                return {"one_time_key_counts": await self._keys.upload_keys(user, content)}
            case ["keys", "device_signing", "upload"]:
                await self._keys.upload_identity(user, content)
                return {}
            case ["keys", "signatures", "upload"]:
                await self._keys.upload_signatures(user, content)
                return {}
            case ["sendToDevice", kind, _]:
                await self._keys.send_to_devices(user, kind, part)
                return {}
            case ["sync"]:
                if request.query["timeout"] != "0":
                    await self.news.wait()
                    self.news.clear()
                return await self._keys.sync(user, request.query.get("since", ""), wait=False)
            case _:
                return None


@asynccontextmanager
async def serving(
    folder: Path, homeserver: EncryptedHomeserver
) -> AsyncIterator[tuple[Subject, Walk, Path]]:
    """The bridge in this process, in a chat in the encrypted room."""
    port, walk = free_port(), Walk()
    simulator = Simulator(SimulatorOptions(login_limit=0, script="accept"))
    async with homeserver.running(), aiohttp.ClientSession() as session:
        await simulator.start()
        database = folder / "bridge.db"
        path = write_config(folder, homeserver, simulator, port, f"sqlite:///{database}")
        yaml = YAML(typ="safe", pure=True)
        config = yaml.load(path)
        config["bridge"]["encryption"]["allow"] = True
        yaml.dump(config, path)
        threading.setprofile(walk)  # of SQLite's thread, which is yet to start
        try:
            async with Serving(load_config(path, {})):
                subject = Subject(
                    f"http://127.0.0.1:{port}",
                    os.getpid(),
                    session,
                    homeserver,
                    SimulatedDesk(simulator),
                )
                await open_chats(subject, 1, simulator)
                await at_rest(database)
                yield subject, walk, database
        finally:
            threading.setprofile(None)
            await simulator.stop()


@pytest.mark.asyncio
async def test_an_encrypted_message_passes_few_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = Serving.keep

    def left_out(self: Serving, work: Coroutine[Any, Any, None]) -> None:
        if getattr(work, "__qualname__", "") == "Crypto.run":
            keep(self, work)
        else:
            work.close()

    monkeypatch.setattr(Serving, "keep", left_out)
    world = World()
    phone = Phone(world, CUSTOMER)
    homeserver = EncryptedHomeserver(world)
    async with serving(tmp_path, homeserver) as (subject, walk, database):

        async def from_customer(number: int) -> None:
            receipts, received = homeserver.receipts.value, subject.desk.received()
            raw = phone.say(f"question {number}", f"$walk{number}", ROOM) | {"room_id": ROOM}
            await subject.put([raw])
            await subject.until_received(received + 1)
            await homeserver.receipts.reach(receipts + 1)

        async def from_agent(number: int) -> None:
            shown = homeserver.from_agents.value
            await subject.desk.say(0, f"answer {number}")
            await homeserver.from_agents.reach(shown + 1)

        phone.send_key(BOT, ROOM)
        homeserver.news.set()
        await from_customer(-1)  # the first of each begins a session
        await from_agent(-1)
        await at_rest(database)
        inwards = await fewest(walk, database, from_customer)
        outwards = await fewest(walk, database, from_agent)
    assert "matrix/crypto/keys.py" in inwards
    assert "matrix/crypto/sharing.py" in outwards
    for files, most in (
        (inwards, FROM_CUSTOMER + MORE_FROM_CUSTOMER),
        (outwards, FROM_AGENT + MORE_FROM_AGENT),
    ):
        assert len(files) <= most, "\n".join(["a message passes more files", *sorted(files)])
