"""Encrypted rooms on a real Synapse: what matrix-nio encrypts the agent reads, and the other way.

Both ways and for every kind of content, across a kill of the bridge, with the bridge away while the
customer writes, with a second device, beside clear rooms.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
import pytest_asyncio

from bridge.demo.customer import content_of
from bridge.demo.stage import Stage, StageOptions
from tests.support.encrypted import EncryptedCustomer
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.talk import MEI, Talk, wording

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILE = bytes(range(256)) * 12_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    options = StageOptions(simulator=UNLIMITED, config={"bridge": bridge_section()})
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


class Phones:
    """Customers with encrypting clients, closed at the end."""

    def __init__(self, stage: Stage, closing: AsyncExitStack) -> None:
        self.stage = stage
        self._closing = closing
        self._count = 0

    async def of(self, name: str, *, new: bool = True) -> EncryptedCustomer:
        self._count += 1
        folder = self.stage.folder / "phones" / f"{name}-{self._count}"
        phone = await EncryptedCustomer.log_in(
            self.stage.session, self.stage.synapse, name, folder, new=new
        )
        self._closing.push_async_callback(phone.close)
        return phone

    async def talk(self, name: str, first: str = "hello") -> tuple[Talk, EncryptedCustomer]:
        """A new customer in an encrypted direct room with the bot, its first words said."""
        phone = await self.of(name)
        return await Talk.open(self.stage, phone, first), phone


@pytest_asyncio.fixture(loop_scope="module")
async def phones(stage: Stage) -> AsyncIterator[Phones]:
    async with AsyncExitStack() as closing:
        yield Phones(stage, closing)


async def raw_messages(stage: Stage, talk: Talk) -> list[dict[str, object]]:
    """What the homeserver has of the room."""
    path = f"v3/rooms/{talk.room}/messages"
    reply = await talk.customer.call("GET", path, query={"dir": "b", "limit": "200"})
    chunk = reply["chunk"]
    assert isinstance(chunk, list)
    return chunk


async def test_a_conversation_in_an_encrypted_room(stage: Stage, phones: Phones) -> None:
    talk, phone = await phones.talk("enc1", "secret words before anyone joined")
    await talk.reads("Hello! This room reaches the agents", stage.bot)
    await talk.heard("secret words before anyone joined")
    await talk.accept()
    await talk.desk("say", agent="A00001", html="I can <b>read</b> you")
    heard = await talk.reads("I can read you", MEI)
    assert "<b>read</b>" in str(content_of(heard)["formatted_body"])
    event = await talk.say("And I you ✓")
    await talk.heard("And I you ✓")
    await phone.send_file(talk.room, FILE, "order.bin", "application/x-order")
    got = await talk.got("file")
    assert await _uploaded(stage, got.content) == hashlib.sha256(FILE).hexdigest()
    await talk.desk("file", agent="A00001", name="answer.bin", data=base64.b64encode(FILE).decode())
    shown = await talk.reads("answer.bin", MEI)
    assert "url" not in content_of(shown)
    assert await phone.read_file(shown) == FILE
    await talk.customer.sync()
    assert phone.unreadable(talk.room) == []

    kinds = [event["type"] for event in await raw_messages(stage, talk)]
    assert "m.room.message" not in kinds
    assert event


async def _uploaded(stage: Stage, content: object) -> str:
    """The hash of a file that the customer sent, as the desk fetches it."""
    assert isinstance(content, dict), content
    url = content["uri"] if "uri" in content else content["url"]
    async with aiohttp.ClientSession() as session, session.get(str(url)) as response:
        return hashlib.sha256(await response.read()).hexdigest()


async def test_words(stage: Stage) -> None:
    assert wording({"content": {"body": "x"}}) == "x"
