"""A large file through the bridge, each way: seconds, CPU, and peak memory.

Homeserver and call centre are stubs in this process that send and accept bytes as fast as they can;
the file consists of zeros, so that neither keeps it. The first file of a process to WebChat goes
through the disk, as the server's form of uploads is not known yet; later ones are streamed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from aiohttp import web

from tests.bench.columns import SETTLING
from tests.bench.stubs import Counter, StubHomeserver, StubWebChat
from tests.bench.subjects import Subject, bridge_program, client, open_chats, text, write_config
from tests.support.ports import free_port

MEGABYTES = 100
QUICK = 10
TIMES = 3
_PIECE = bytes(1 << 18)


class Carried(msgspec.Struct, frozen=True):
    """Measurement of one file.

    Attributes:
        to_agent: True if the customer sent it, False if the agent did.
        seconds: from the event, or the push, until the other side has the message with the file.
        cpu: the bridge's seconds of CPU.
        memory: peak memory in MiB above that before the file.
    """

    to_agent: bool
    megabytes: int
    seconds: float
    cpu: float
    memory: float


class _Bytes:
    """Routes for file downloads and uploads of the stub homeserver and the stub WebChat."""

    def __init__(self, homeserver: StubHomeserver, size: int) -> None:
        self.address = ""
        """Address of the homeserver with its media API."""
        self.whole = Counter()
        """Complete uploads."""
        self.size = size
        self._homeserver = homeserver
        self.of_webchat = (
            web.get("/webchat/{name}.bin", self._send),
            web.post("/webchat/tpiu", self._take),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        application = web.Application()
        application.add_routes(
            [
                web.get("/_matrix/client/v1/media/download/{server}/{id}", self._send),
                web.post("/_matrix/media/v3/upload", self._take),
                web.route("*", "/{path:.*}", self._else),
            ]
        )
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await runner.cleanup()

    async def _send(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        response.content_length = self.size
        await response.prepare(request)
        for _ in range(self.size // len(_PIECE)):
            await response.write(_PIECE)
        await response.write(_PIECE[: self.size % len(_PIECE)])
        return response

    async def _take(self, request: web.Request) -> web.Response:
        taken = 0
        async for piece in request.content.iter_any():
            taken += len(piece)
        if taken == self.size:
            self.whole.add()
        if request.path.endswith("/tpiu"):
            answer = {"result": 1, "message": "", "url": "/webchat/taken.bin", "fileName": "f.bin"}
            return web.json_response(answer)
        return web.json_response({"content_uri": "mxc://localhost/taken"})

    async def _else(self, request: web.Request) -> web.Response:
        body = await request.read()
        status, answer = self._homeserver.answer(request.method, request.path_qs, body)
        return web.Response(status=status, body=answer, content_type="application/json")


async def carry(
    folder: Path, database: str, megabytes: int, times: int, say: Callable[[str], None]
) -> list[Carried]:
    """Measure `times` files each way, one after the other, through one process."""
    found = []
    homeserver, webchat, size = StubHomeserver(), StubWebChat(), megabytes * 1_000_000
    files = _Bytes(homeserver, size)
    async with files.running(), webchat.running(files.of_webchat), client() as session:
        limit = f"{megabytes + 10}MiB"
        config = write_config(
            folder, files.address, webchat.base_url, free_port(), database, largest_file=limit
        )
        async with bridge_program(config, session) as (urls, pids):
            subject = Subject(urls, pids, session, homeserver, webchat.heard, webchat.say)
            await open_chats(subject, webchat, [0])
            await webchat.say(0, "hello=0")  # brings the agent into the room
            await homeserver.shown.reach("hello", 1)
            for to_agent in (True, False):
                for number in range(times):
                    one = await _carried(subject, webchat, files, number, to_agent=to_agent)
                    found.append(one)
                    way = "to the agent" if to_agent else "to the customer"
                    say(
                        f"{megabytes} MB {way}: {one.seconds:.2f} s, {one.cpu:.2f} s of CPU, "
                        f"{one.memory:+.1f} MiB"
                    )
    return found


async def _carried(
    subject: Subject, webchat: StubWebChat, files: _Bytes, number: int, *, to_agent: bool
) -> Carried:
    arrived = webchat.files if to_agent else subject.homeserver.from_agents
    there, whole = arrived.value + 1, files.whole.value + 1
    subject.forget_peak()
    before, cpu, began = subject.memory(), subject.cpu(), time.monotonic()
    if to_agent:
        event = text(0, f"file{number}", "")
        info = {"size": files.size, "mimetype": "application/octet-stream"}
        url = f"mxc://localhost/file{number}"
        event["content"] = {"msgtype": "m.file", "body": "file.bin", "info": info, "url": url}
        await subject.put([event])
    else:
        about = {"name": "file.bin", "url": f"/webchat/{number}.bin", "size": files.size}
        await webchat.push(0, {"type": 3, "content": about})
    await arrived.reach(there)
    seconds = time.monotonic() - began
    assert files.whole.value == whole, "the file did not arrive whole"
    await asyncio.sleep(SETTLING)
    spent, most = (subject.cpu() - cpu) / 1e6, (subject.memory("VmHWM") - before) / 1024
    return Carried(to_agent, files.size // 1_000_000, seconds, spent, most)
