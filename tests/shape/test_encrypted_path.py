"""The number of files of the bridge on the path of an encrypted message, which may only fall.

As `test_path`, with a homeserver that also has devices and keys, and a customer's device. The path
of the keys from /sync is not counted: they come once in a hundred messages.

`python -m tests.shape.test_encrypted_path` prints both paths.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from yarl import URL

from bridge.app.serving import Serving
from bridge.ids import UserId
from bridge.matrix.crypto.wire import MEGOLM, Json
from bridge.ops.logging import configure_logging
from tests.bench.stubs import Answer, StubHomeserver
from tests.bench.subjects import BOT
from tests.shape.test_path import Walk, check, serving, told
from tests.unit.matrix.crypto.world import FakeServer, Phone, World

ROOM, CUSTOMER = "!0:localhost", "@customer0:localhost"
FROM_CUSTOMER, FROM_AGENT = 33, 32
"""Maximum number of files each way; lower it whenever the path gets shorter. More than in
`test_path`, as message bodies are stored encrypted by the vault."""


class Keys:
    """Adds encryption to a stub homeserver: an encrypted room, and the devices and keys of `world`.

    Attributes:
        news: set when /sync has something to return.
    """

    def __init__(self, homeserver: StubHomeserver, world: World, tasks: asyncio.TaskGroup) -> None:
        self.news = asyncio.Event()
        self._homeserver = homeserver
        self._server = FakeServer(world)
        self._tasks = tasks

    def answer(self, method: str, path: str, body: bytes) -> asyncio.Future[Answer]:
        return self._tasks.create_task(self._answer(method, path, body))

    async def _answer(self, method: str, path: str, body: bytes) -> Answer:
        found = await self._about_keys(URL(path, encoded=True), body)
        if found is None:
            return self._homeserver.answer(method, path, body)
        return 200, msgspec.json.encode(found)

    async def _about_keys(self, url: URL, body: bytes) -> Json | None:
        user = UserId(url.query.get("user_id", ""))
        content: Json = msgspec.json.decode(body) if body.startswith(b"{") else {}
        part: Any = next(iter(content.values()), None)
        match url.parts[4:]:
            case ("rooms", _, "state", "m.room.encryption", *_):
                return {"content": {"algorithm": MEGOLM}, "sender": CUSTOMER}
            case ("devices", device_id):
                await self._server.make_device(user, device_id)
                return {}
            case ("keys", "query"):
                return await self._server.query(user, list(part))
            case ("keys", "claim"):
                return await self._server.claim(user, part)
            case ("keys", "upload"):
                return {"one_time_key_counts": await self._server.upload_keys(user, content)}
            case ("keys", "device_signing", "upload"):
                await self._server.upload_identity(user, content)
                return {}
            case ("keys", "signatures", "upload"):
                await self._server.upload_signatures(user, content)
                return {}
            case ("sendToDevice", kind, _):
                await self._server.send_to_devices(user, kind, part)
                return {}
            case ("sync",):
                if url.query["timeout"] != "0":
                    await self.news.wait()
                    self.news.clear()
                return await self._server.sync(user, url.query.get("since", ""), wait=False)
            case _:
                return None


async def both_ways(folder: Path) -> tuple[Walk, Walk]:
    """Return the paths of a customer's text (up to its read receipt) and of an agent's text."""
    keep = Serving.keep

    def left_out(self: Serving, work: Coroutine[Any, Any, None]) -> None:
        if getattr(work, "__qualname__", "") == "Crypto.run":
            keep(self, work)
        else:
            work.close()

    world, homeserver = World(), StubHomeserver()
    phone = Phone(world, CUSTOMER)

    def event(event_id: str, text: str) -> dict[str, object]:
        return phone.say(text, f"${event_id}", ROOM) | {"room_id": ROOM}

    with patch.object(Serving, "keep", left_out):
        async with asyncio.TaskGroup() as tasks:
            keys = Keys(homeserver, world, tasks)
            async with serving(folder, homeserver, keys.answer) as served:
                phone.send_key(BOT, ROOM)
                keys.news.set()
                await served.asked(event)  # the first message each way starts a Megolm session
                await served.answered()
                await served.at_rest()
                inwards = await served.shortest(lambda: served.asked(event))
                outwards = await served.shortest(served.answered)
            keys.news.set()
    return inwards, outwards


@pytest.mark.asyncio
async def test_an_encrypted_message_passes_few_files(tmp_path: Path) -> None:
    """`-s` shows both paths."""
    inwards, outwards = await both_ways(tmp_path)
    sys.stdout.write(f"\n{told(inwards, outwards)}")
    assert "matrix/crypto/keys.py" in inwards.files
    assert "matrix/crypto/keys.py" in outwards.files
    check(inwards, FROM_CUSTOMER)
    check(outwards, FROM_AGENT)


if __name__ == "__main__":
    configure_logging("ERROR", "text")
    with TemporaryDirectory() as place:
        sys.stdout.write(told(*asyncio.run(both_ways(Path(place)))))
