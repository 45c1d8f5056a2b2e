"""A common interface to two encrypting clients, for the table of encryption tests.

`NioSide` is matrix-nio. `StrictSide` is Element's crypto engine in its strictest mode; it also
asserts that a message is shown without a warning shield.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections import Counter
from collections.abc import Collection
from typing import Protocol

import msgspec
from PIL import Image

from tests.support.encrypted import EncryptedCustomer
from tests.support.matrix_user import PATIENCE, Customer, Event, content_of
from tests.support.sounds import tone
from tests.support.strict import CLEAN, StrictClient
from tests.support.talk import MEI, Talk, announced

VOICE: dict[str, object] = {"org.matrix.msc3245.voice": {}}


class Batch(msgspec.Struct, frozen=True):
    """A text, image, file and voice message, unique to this batch."""

    word: str
    image: bytes
    file: bytes
    voice: bytes
    """Ogg with Opus from a customer, AMR from an agent."""

    @classmethod
    def of(cls, word: str, voice: str) -> Batch:
        """Derive a batch from a word; `voice` is the container of the sound."""
        out = io.BytesIO()
        Image.new("L", (16 + len(word), 12), sum(word.encode()) % 256).save(out, "PNG")
        # Equal sounds within three seconds of a new link are taken for duplicates (trap T34).
        return cls(word, out.getvalue(), word.encode() * 5_000, tone(2 + len(word) / 20, voice))


class Side(Protocol):
    """A device of the customer, in the room."""

    async def say(self, text: str) -> None: ...

    async def send(
        self, msgtype: str, data: bytes, name: str, mime: str, more: dict[str, object]
    ) -> None: ...

    async def reads(self, text: str, sender: str) -> None:
        """Return once the device shows a text without a warning."""
        ...

    async def file(self, msgtype: str, nth: int) -> bytes:
        """Return Mei's nth file of this kind that the device can decrypt."""
        ...

    async def devices(self, user: str, unlike: Collection[str] = ()) -> set[str]:
        """Return the known devices of a user, once they include none of `unlike`."""
        ...

    async def spare_session(self) -> None:
        """Rotate the Megolm session; Element does so by itself when devices change."""
        ...

    async def log_out(self) -> None: ...


class NioSide:
    def __init__(self, phone: EncryptedCustomer, talk: Talk) -> None:
        self.phone, self._talk = phone, Talk(talk.stage, phone, talk.room)

    async def say(self, text: str) -> None:
        await self._talk.say(text)

    async def send(
        self, msgtype: str, data: bytes, name: str, mime: str, more: dict[str, object]
    ) -> None:
        await self.phone.send_file(self._talk.room, data, name, mime, msgtype, **more)

    async def reads(self, text: str, sender: str) -> None:
        await self._talk.reads(text, sender)

    async def file(self, msgtype: str, nth: int) -> bytes:
        def those() -> list[Event]:
            seen = self.phone.events(self._talk.room)
            return [
                e for e in seen if e["sender"] == MEI and content_of(e).get("msgtype") == msgtype
            ]

        await self._talk.sees(lambda _: len(those()) >= nth)
        return await self.phone.read_file(those()[nth - 1])

    async def devices(self, user: str, unlike: Collection[str] = ()) -> set[str]:
        async with asyncio.timeout(PATIENCE):
            while True:
                active = self.phone.nio.device_store.active_user_devices(user)
                found = {one.id for one in active}
                if found and not found & set(unlike):
                    return found
                await self.phone.sync(timeout_ms=1_000)

    async def spare_session(self) -> None:
        await self.phone.sync()
        self.phone.nio.invalidate_outbound_session(self._talk.room)

    async def log_out(self) -> None:
        await self.phone.call("POST", "v3/logout")


class StrictSide:
    def __init__(self, client: StrictClient, room: str) -> None:
        self.client, self._room = client, room

    async def say(self, text: str) -> None:
        await self.client.do("say", room=self._room, text=text)

    async def send(
        self, msgtype: str, data: bytes, name: str, mime: str, more: dict[str, object]
    ) -> None:
        sent = {"msgtype": msgtype, "name": name, "mime": mime, "more": more}
        await self.client.do("send", room=self._room, data=base64.b64encode(data).decode(), **sent)

    async def reads(self, text: str, sender: str) -> None:
        seen = await self.client.do("see", room=self._room, text=text, sender=sender)
        assert seen == CLEAN, seen

    async def file(self, msgtype: str, nth: int) -> bytes:
        seen = await self.client.do("fetch", room=self._room, sender=MEI, msgtype=msgtype, nth=nth)
        data = seen.pop("data", "")
        assert seen == CLEAN, seen
        return base64.b64decode(str(data))

    async def devices(self, user: str, unlike: Collection[str] = ()) -> set[str]:
        reply = await self.client.do("devices", user=user, unlike=list(unlike))
        return set(msgspec.convert(reply["devices"], list[str]))

    async def spare_session(self) -> None:
        """Do nothing: Element rotates the session by itself."""

    async def log_out(self) -> None:
        await self.client.do("logout")


class Exchange:
    """A chat with Mei that sends batches and checks their arrival on the other side."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self._voices = 0

    async def ask(self, side: Side, word: str) -> None:
        """Send a batch from the customer; `heard` checks its arrival."""
        batch = Batch.of(word, "ogg")
        await side.say(f"text {word}")
        await side.send("m.image", batch.image, f"{word}.png", "image/png", {})
        await side.send("m.file", batch.file, f"{word}.bin", "application/x-order", {})
        await side.send("m.audio", batch.voice, "Voice message.ogg", "audio/ogg", VOICE)

    async def heard(self, word: str) -> None:
        """Assert that the desk gets a whole batch, files unchanged, each item once."""
        batch = Batch.of(word, "ogg")
        self._voices += 1
        await self.talk.heard(f"text {word}")
        assert (await announced(self.talk, batch.image)).kind == "image"
        assert (await announced(self.talk, batch.file)).kind == "file"
        person = await self.talk.at_desk(
            lambda one: [m.kind for m in one.messages].count("voice") >= self._voices
        )
        assert [m.kind for m in person.messages].count("voice") == self._voices, person
        assert person.texts.count(f"text {word}") == 1, person

    async def heard_again(self, word: str) -> None:
        """Assert that the desk gets a whole batch a second time, and nothing else."""
        self._voices += 1
        person = await self.talk.at_desk(
            lambda one: [m.kind for m in one.messages].count("voice") >= self._voices
        )
        kinds = Counter(message.kind for message in person.messages)
        assert person.texts.count(f"text {word}") == 2, person
        assert {kinds[kind] for kind in ("image", "file", "voice")} == {self._voices}, person

    async def answer(self, word: str) -> None:
        """Send a batch from the agent."""
        batch, desk = Batch.of(word, "amr"), self.talk.desk
        await desk("say", text=f"answer {word}")
        for op, name, data in (("image", "png", batch.image), ("file", "bin", batch.file)):
            await desk(op, name=f"{word}.{name}", data=base64.b64encode(data).decode())
        await desk("voice", data=base64.b64encode(batch.voice).decode(), seconds=2)

    async def read(self, side: Reading, word: str) -> None:
        """Assert that the device shows the whole batch, image and file unchanged."""
        batch = Batch.of(word, "amr")
        await side.side.reads(f"answer {word}", MEI)
        assert await side.next("m.image") == batch.image
        assert await side.next("m.file") == batch.file
        assert (await side.next("m.audio")).startswith(b"OggS")

    async def both_ways(self, reading: Reading, word: str) -> None:
        await self.ask(reading.side, word)
        await self.heard(word)
        await self.answer(word)
        await self.read(reading, word)


class Reading:
    """A device, and how many files of each kind it has read."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self._read: Counter[str] = Counter()

    async def next(self, msgtype: str) -> bytes:
        """Return the next file of this kind."""
        self._read[msgtype] += 1
        return await self.side.file(msgtype, self._read[msgtype])


def account(side: Side) -> Customer:
    """Return the account's client for calls that are not about encryption."""
    if isinstance(side, NioSide):
        return side.phone
    assert isinstance(side, StrictSide)
    return side.client.customer
