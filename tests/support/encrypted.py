"""A customer whose client encrypts: matrix-nio, with crypto code that is not the bridge's.

It can do what `Customer` does, so a `Talk` works with either; what it shows of a room is decrypted.
"""

from __future__ import annotations

import asyncio
import io
import secrets
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
from nio import (
    AsyncClient,
    AsyncClientConfig,
    JoinResponse,
    LoginResponse,
    MegolmEvent,
    Response,
    RoomSendResponse,
    ShareGroupSessionResponse,
    SyncResponse,
    UploadResponse,
)
from nio.crypto import decrypt_attachment
from nio.exceptions import EncryptionError

from bridge.demo.customer import Customer, CustomerError, Event, Json, content_of
from bridge.demo.stage import Stage
from bridge.demo.synapse import SynapseServer
from tests.support.talk import Talk

ENCRYPTION: Json = {
    "type": "m.room.encryption",
    "state_key": "",
    "content": {"algorithm": "m.megolm.v1.aes-sha2"},
}


class EncryptedCustomer(Customer):
    """One device of one user.

    Attributes:
        nio: the client; `ignore_unverified_devices` is on, as in Element by default.
    """

    nio: AsyncClient

    @classmethod
    async def log_in(
        cls,
        session: aiohttp.ClientSession,
        server: SynapseServer,
        localpart: str,
        folder: Path,
        *,
        new: bool = True,
    ) -> EncryptedCustomer:
        """A new device; with `new` of a new user.

        Args:
            session: for calls that have nothing to do with encryption.
            server: the homeserver.
            localpart: the user's name.
            folder: where the device keeps its keys; it must be new.
            new: register the user first.
        """
        password = f"{localpart}-secret"
        user_id = f"@{localpart}:{server.domain}"
        if new:
            user_id = await server.register(session, localpart, password)
        await asyncio.to_thread(folder.mkdir, parents=True)
        config = AsyncClientConfig(encryption_enabled=True, store_sync_tokens=True)
        nio = AsyncClient(server.address, user_id, store_path=str(folder), config=config)
        answer = await nio.login(password)
        assert isinstance(answer, LoginResponse), answer
        customer = cls(session, server.address, user_id, answer.access_token)
        customer.nio = nio
        customer._sealed = {}
        await customer.sync()
        return customer

    _sealed: dict[str, tuple[str, MegolmEvent]]
    """Events whose key has not come, by event id, with their room."""

    async def close(self) -> None:
        await self.nio.close()
        if self.nio.store is not None:
            # nio leaves that to the garbage collector, of which Python 3.13 complains.
            self.nio.store.database.close()

    async def sync(self, timeout_ms: int = 0) -> None:
        """Take in what is new, decrypt it, and see to our keys."""
        answer = await self.nio.sync(timeout=timeout_ms, full_state=not self._since)
        if not isinstance(answer, SyncResponse):
            raise CustomerError(0, "", str(answer))
        self._since = answer.next_batch
        if self.nio.should_upload_keys:
            await self.nio.keys_upload()
        if self.nio.should_query_keys:
            await self.nio.keys_query()
        if self.nio.should_claim_keys:
            await self.nio.keys_claim(self.nio.get_users_for_key_claiming())
        await self.nio.send_to_device_messages()
        for room_id, room in answer.rooms.join.items():
            seen = self._seen.setdefault(room_id, {})
            for event in [*room.state, *room.timeline.events]:
                seen.setdefault(event.event_id, event.source)
                if isinstance(event, MegolmEvent):
                    self._sealed[event.event_id] = (room_id, event)
        for event_id, (room_id, event) in list(self._sealed.items()):
            try:
                opened = self.nio.decrypt_event(event)
            except EncryptionError:
                continue
            self._seen[room_id][event_id] = opened.source
            del self._sealed[event_id]

    def unreadable(self, room_id: str) -> list[Event]:
        """What cannot be decrypted."""
        return [e for e in self.events(room_id) if e.get("type") == "m.room.encrypted"]

    async def create_dm(self, whom: str, first_text: str = "", **options: object) -> str:
        """As Element: encrypted from the start, and the first words come at once."""
        encrypted: Json = {"initial_state": [ENCRYPTION]}
        return await super().create_dm(whom, first_text, **(encrypted | options))

    async def send(self, room_id: str, content: Json, kind: str = "m.room.message") -> str:
        """Send an event, encrypted if the room is."""
        while room_id not in self.nio.rooms:
            await self.sync(timeout_ms=1_000)
        answer = await self.nio.room_send(room_id, kind, content, ignore_unverified_devices=True)
        assert isinstance(answer, RoomSendResponse), answer
        return str(answer.event_id)

    async def send_file(
        self,
        room_id: str,
        data: bytes,
        name: str,
        mime: str,
        msgtype: str = "m.file",
        **more: object,
    ) -> str:
        """Encrypt and upload a file, and send it; `more` goes into the content."""
        answer, keys = await self.nio.upload(
            lambda *_: io.BytesIO(data), mime, name, encrypt=True, filesize=len(data)
        )
        assert isinstance(answer, UploadResponse), answer
        assert keys is not None
        file = keys | {"url": answer.content_uri}
        info = {"mimetype": mime, "size": len(data)}
        content: Json = {"msgtype": msgtype, "body": name, "file": file, "info": info}
        return await self.send(room_id, content | more)

    async def read_file(self, event: Event) -> bytes:
        """Fetch and decrypt the file of an event."""
        file = content_of(event)["file"]
        assert isinstance(file, dict)
        sealed = await self.download(str(file["url"]))
        return bytes(
            decrypt_attachment(sealed, file["key"]["k"], file["hashes"]["sha256"], file["iv"])
        )

    def hold_keys(self) -> HeldKeys:
        """Encrypt with a new session from now on, whose key nobody gets yet."""
        return HeldKeys(self)

    async def join(self, room_id: str) -> None:
        answer = await self.nio.join(room_id)
        assert isinstance(answer, JoinResponse), answer


class HeldKeys:
    """Keys of a device's next messages, kept back until they are released."""

    def __init__(self, customer: EncryptedCustomer) -> None:
        self._customer = customer
        self._send = customer.nio._send
        self._kept: list[tuple[object, ...]] = []
        # A new session: the one that everybody has would do.
        customer.nio.olm.outbound_group_sessions.clear()
        customer.nio._send = self._keep

    async def _keep(self, kind: type[Response], *request: Any, **more: Any) -> object:
        if kind is not ShareGroupSessionResponse:
            return await self._send(kind, *request, **more)
        self._kept.append((kind, *request))
        return ShareGroupSessionResponse(*more["response_data"])

    async def release(self) -> None:
        """Let them go; the next messages' keys are sent at once again."""
        self._customer.nio._send = self._send
        for kind, *request in self._kept:
            await self._send(kind, *request, response_data=("", set()))

    async def refuse(self, code: str, user: str) -> None:
        """Say that the key of the newest session will not come."""
        for room_id, session in self._customer.nio.olm.outbound_group_sessions.items():
            content = {
                "algorithm": "m.megolm.v1.aes-sha2",
                "room_id": room_id,
                "session_id": session.id,
                "code": code,
                "sender_key": self._customer.nio.olm.account.identity_keys["curve25519"],
            }
            await self._customer.call(
                "PUT",
                f"v3/sendToDevice/m.room_key.withheld/{secrets.token_hex(8)}",
                {"messages": {user: {"*": content}}},
            )


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

    async def chatting(self, name: str) -> tuple[Talk, EncryptedCustomer]:
        """The same, accepted by Mei."""
        talk, phone = await self.talk(name)
        await talk.heard("hello")
        await talk.accept()
        return talk, phone
