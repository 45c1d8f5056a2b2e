"""A customer whose client encrypts: matrix-nio, with crypto code that is not the bridge's.

It can do what `Customer` does; what it shows of a room is decrypted.
"""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Self

import aiohttp
from nio import (
    AsyncClient,
    AsyncClientConfig,
    EphemeralEvent,
    LoginResponse,
    MegolmEvent,
    ReceiptEvent,
    RoomSendResponse,
    SyncResponse,
    TypingNoticeEvent,
    UploadResponse,
)
from nio.crypto import decrypt_attachment
from nio.exceptions import EncryptionError

from bridge.demo.customer import Customer, CustomerError, Event, Json, content_of, password_of
from bridge.demo.synapse import SynapseServer

ENCRYPTION: Json = {
    "type": "m.room.encryption",
    "state_key": "",
    "content": {"algorithm": "m.megolm.v1.aes-sha2"},
}


class Phone(Customer):
    """One device of one user.

    Attributes:
        nio: the client; unverified devices are encrypted for, as in Element by default.
    """

    def __init__(self, session: aiohttp.ClientSession, address: str, nio: AsyncClient) -> None:
        super().__init__(session, address, nio.user_id, nio.access_token)
        self.nio = nio
        self._sealed: dict[str, tuple[str, MegolmEvent]] = {}
        """Events whose key has not come, by event id, with their room."""

    @classmethod
    async def log_in(
        cls,
        session: aiohttp.ClientSession,
        server: SynapseServer,
        localpart: str,
        folder: Path,
        *,
        new: bool = True,
    ) -> Self:
        """A new device; with `new` of a new user.

        Args:
            session: for calls that have nothing to do with encryption.
            server: the homeserver.
            localpart: the user's name.
            folder: where the device keeps its keys; it must be new.
            new: register the user first.

        Raises:
            CustomerError: the homeserver refused.
        """
        password = password_of(localpart)
        user_id = f"@{localpart}:{server.domain}"
        if new:
            user_id = await server.register(session, localpart, password)
        await asyncio.to_thread(folder.mkdir, parents=True)
        config = AsyncClientConfig(encryption_enabled=True, store_sync_tokens=True)
        nio = AsyncClient(server.address, user_id, store_path=str(folder), config=config)
        answer = await nio.login(password)
        if not isinstance(answer, LoginResponse):
            raise CustomerError(0, "", str(answer))
        phone = cls(session, server.address, nio)
        await phone.sync()
        return phone

    async def close(self) -> None:
        """Log nothing out, but let go of connections and of the key store."""
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
            for passing in room.ephemeral:
                self._has_passed(room_id, passing)
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

    def _has_passed(self, room_id: str, event: EphemeralEvent) -> None:
        if isinstance(event, TypingNoticeEvent):
            self.typing[room_id] = set(event.users)
        elif isinstance(event, ReceiptEvent):
            for receipt in event.receipts:
                if receipt.receipt_type == "m.read":
                    self.receipts[room_id, receipt.user_id] = receipt.event_id

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
        if not isinstance(answer, RoomSendResponse):
            raise CustomerError(0, "", str(answer))
        return str(answer.event_id)

    async def upload(self, data: bytes, name: str, mime: str) -> Json:
        """Encrypt and upload a file."""
        answer, keys = await self.nio.upload(
            lambda *_: io.BytesIO(data), mime, name, encrypt=True, filesize=len(data)
        )
        if not isinstance(answer, UploadResponse) or keys is None:
            raise CustomerError(0, "", str(answer))
        return {"file": keys | {"url": answer.content_uri}}

    async def read_file(self, event: Event) -> bytes:
        """Fetch and decrypt the file of an event."""
        file = content_of(event)["file"]
        if not isinstance(file, dict):
            raise CustomerError(0, "", "the event has no encrypted file")
        sealed = await self.download(str(file["url"]))
        return bytes(
            decrypt_attachment(sealed, file["key"]["k"], file["hashes"]["sha256"], file["iv"])
        )
