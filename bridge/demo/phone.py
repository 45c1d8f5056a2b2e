"""The demo's customer: a Matrix client with end-to-end encryption, based on matrix-nio.

It shares no Matrix or crypto code with the bridge but the library vodozemac, so that the two sides
of a conversation do not have the same bugs.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import nio
from nio.crypto import decrypt_attachment
from nio.exceptions import EncryptionError

from bridge.demo.child_process import SynapseServer

Event = dict[str, Any]
"""A Matrix event as JSON, decrypted if the client could."""
ENCRYPTION: Event = {
    "type": "m.room.encryption",
    "state_key": "",
    "content": {"algorithm": "m.megolm.v1.aes-sha2"},
}
_Answer = TypeVar("_Answer")


class RefusedError(Exception):
    """The homeserver refused a call; the message is the homeserver's."""


def done(kind: type[_Answer], answer: object) -> _Answer:
    """Return a response of nio; RefusedError if it is an error, not of the expected type."""
    if not isinstance(answer, kind):
        raise RefusedError(str(answer))
    return answer


def password_of(localpart: str) -> str:
    """Return a user's password on the demo's homeserver, which no other machine can reach."""
    return f"{localpart}-secret"


class Phone:
    """One device of one user. Events from `sync` are kept per room, in order, once each."""

    def __init__(self, client: nio.AsyncClient) -> None:
        self.nio = client
        """The client; it also encrypts for unverified devices, as Element does by default."""
        self._seen: dict[str, dict[str, Event]] = {}
        self._sealed: dict[str, nio.MegolmEvent] = {}
        """Encrypted events whose key is missing, by event id."""

    @classmethod
    async def log_in(
        cls, server: SynapseServer, localpart: str, folder: Path, *, new: bool = False
    ) -> Phone:
        """Log in a user, `new` or not, on a new device with its key store in a new folder."""
        await asyncio.to_thread(folder.mkdir, parents=True)
        config = nio.AsyncClientConfig(encryption_enabled=True, store_sync_tokens=True)
        user_id = f"@{localpart}:{server.domain}"
        client = nio.AsyncClient(server.address, user_id, store_path=str(folder), config=config)
        if new:
            answer = await client.register(localpart, password_of(localpart))
            done(nio.RegisterResponse, answer)
        else:
            done(nio.LoginResponse, await client.login(password_of(localpart)))
        phone = cls(client)
        await phone.sync()
        return phone

    async def close(self) -> None:
        """Close connections and key store; the device stays logged in."""
        await self.nio.close()
        if self.nio.store is not None:
            # nio leaves this to the garbage collector, and Python 3.13 warns about it.
            self.nio.store.database.close()

    # --- receiving --------------------------------------------------------------------------------

    async def sync(self, timeout_ms: int = 0) -> nio.SyncResponse:
        """Sync once: store and decrypt new events; upload, query and claim keys as needed."""
        first = not self.nio.next_batch
        answer = done(nio.SyncResponse, await self.nio.sync(timeout=timeout_ms, full_state=first))
        if self.nio.should_upload_keys:
            await self.nio.keys_upload()
        if self.nio.should_query_keys:
            await self.nio.keys_query()
        if self.nio.should_claim_keys:
            await self.nio.keys_claim(self.nio.get_users_for_key_claiming())
        await self.nio.send_to_device_messages()
        for room_id, room in answer.rooms.join.items():
            seen = self._seen.setdefault(room_id, {})
            for event in (*room.state, *room.timeline.events):
                seen.setdefault(event.source["event_id"], event.source)
                if isinstance(event, nio.MegolmEvent):
                    self._sealed[event.event_id] = event
        for event_id, sealed in list(self._sealed.items()):
            try:
                opened = self.nio.decrypt_event(sealed)
            except EncryptionError:
                continue
            self._seen[sealed.room_id][event_id] = opened.source
            del self._sealed[event_id]
        return answer

    def room(self, room_id: str) -> nio.MatrixRoom:
        """Return nio's state of a room: typing users, read receipts, encryption."""
        return self.nio.rooms[room_id]

    def events(self, room_id: str) -> list[Event]:
        return list(self._seen.get(room_id, {}).values())

    def unreadable(self, room_id: str) -> list[Event]:
        return [event for event in self.events(room_id) if event["type"] == "m.room.encrypted"]

    async def wait_until(self, holds: Callable[[], bool], patience: float) -> None:
        """Sync until `holds` returns True; TimeoutError after `patience` seconds."""
        async with asyncio.timeout(patience):
            while not holds():
                await self.sync(timeout_ms=2_000)

    async def read_file(self, event: Event) -> bytes:
        file = event["content"]["file"]
        sealed = done(nio.DownloadResponse, await self.nio.download(file["url"])).body
        key, digest = file["key"]["k"], file["hashes"]["sha256"]
        return bytes(decrypt_attachment(sealed, key, digest, file["iv"]))

    # --- sending ----------------------------------------------------------------------------------

    async def create_dm(self, whom: str, first_text: str, *, encrypted: bool = True) -> str:
        """Create a direct room and send its first message at once, like Element; return its id."""
        state = [ENCRYPTION] if encrypted else []
        preset = nio.RoomPreset.trusted_private_chat
        answer = await self.nio.room_create(
            preset=preset, is_direct=True, invite=[whom], initial_state=state
        )
        room_id = str(done(nio.RoomCreateResponse, answer).room_id)
        await self.send(room_id, {"msgtype": "m.text", "body": first_text})
        return room_id

    async def send(
        self, room_id: str, content: Event, kind: str = "m.room.message", *, txn: str = ""
    ) -> str:
        """Send an event and return its id; `txn` is the transaction id, for a retry."""
        while room_id not in self.nio.rooms:
            await self.sync(timeout_ms=1_000)
        while True:
            try:
                answer = await self.nio.room_send(
                    room_id, kind, content, tx_id=txn or None, ignore_unverified_devices=True
                )
            except KeyError as gone:
                # A member joined while nio shared the room key, so nio dropped it: try again.
                if gone.args != (room_id,):
                    raise
            else:
                return str(done(nio.RoomSendResponse, answer).event_id)

    async def upload(self, data: bytes, name: str, mime: str) -> Event:
        """Encrypt and upload a file; return the key `file` for an event's content."""
        answer, keys = await self.nio.upload(
            lambda *_: io.BytesIO(data), mime, name, encrypt=True, filesize=len(data)
        )
        return {"file": (keys or {}) | {"url": done(nio.UploadResponse, answer).content_uri}}
