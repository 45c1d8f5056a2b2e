"""A customer's Matrix client, for the demo and for tests: a few calls, and waiting with a bound.

`Customer` shares no code with the bridge, so that both sides of a conversation cannot be wrong in
the same way. `Phone` is one that encrypts, by matrix-nio, whose crypto code is not the bridge's.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import msgspec
from nio import (
    AsyncClient,
    AsyncClientConfig,
    LoginResponse,
    MegolmEvent,
    RoomSendResponse,
    SyncResponse,
    UploadResponse,
)
from nio.crypto import decrypt_attachment
from nio.exceptions import EncryptionError

from bridge.demo.synapse import SynapseServer

# --- in clear ------------------------------------------------------------------------------------

Event = dict[str, object]
Json = dict[str, object]

PATIENCE = 30.0
"""Seconds after which something awaited is held not to come."""


def password_of(localpart: str) -> str:
    """Of everybody on the demo's homeserver, which no other machine can reach."""
    return f"{localpart}-secret"


class CustomerError(Exception):
    """The homeserver refused a call."""

    def __init__(self, status: int, errcode: str, message: str) -> None:
        super().__init__(f"{status} {errcode} {message}")
        self.status = status
        self.errcode = errcode


class Customer:
    """A logged-in user's client. Everything seen by `sync` is kept per room, in order, once."""

    def __init__(
        self, session: aiohttp.ClientSession, address: str, user_id: str, token: str
    ) -> None:
        self.user_id = user_id
        self.invitations: dict[str, list[Event]] = {}
        self.receipts: dict[tuple[str, str], str] = {}
        """The newest event that somebody has read: by room and user."""
        self.typing: dict[str, set[str]] = {}
        """Room -> users who are typing."""
        self._session = session
        self._address = address
        self._token = token
        self._since = ""
        self._seen: dict[str, dict[str, Event]] = {}
        self._counter = 0

    @classmethod
    async def sign_up(
        cls, session: aiohttp.ClientSession, server: SynapseServer, localpart: str
    ) -> Self:
        """Register and log in; the password is `password_of(localpart)`."""
        await server.register(session, localpart, password_of(localpart))
        return await cls.sign_in(session, server, localpart)

    @classmethod
    async def sign_in(
        cls, session: aiohttp.ClientSession, server: SynapseServer, localpart: str
    ) -> Self:
        """Log in, as a new device, as somebody who is registered."""
        customer = cls(session, server.address, f"@{localpart}:{server.domain}", "")
        who, password = {"type": "m.id.user", "user": localpart}, password_of(localpart)
        login: Json = {"type": "m.login.password", "identifier": who, "password": password}
        reply = await customer.call("POST", "v3/login", login)
        customer._token = str(reply["access_token"])
        return customer

    async def call(
        self,
        method: str,
        path: str,
        content: Json | None = None,
        query: dict[str, str] | None = None,
    ) -> Json:
        """Make one call below `/_matrix/client/`."""
        body = await self._request(method, f"client/{path}", json=content, params=query)
        return msgspec.json.decode(body, type=Json)

    async def download(self, mxc: str) -> bytes:
        """Fetch a file with authentication, as clients do since v1.11 of the specification."""
        file = mxc.removeprefix("mxc://")
        return await self._request("GET", f"client/v1/media/download/{file}")

    async def _request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> bytes:
        token = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        url = f"{self._address}/_matrix/{path}"
        async with self._session.request(
            method, url, headers={**(headers or {}), **token}, **more
        ) as got:
            if got.status != 200:
                error: Json = await got.json()
                raise CustomerError(got.status, str(error.get("errcode")), str(error.get("error")))
            return await got.read()

    # --- rooms ------------------------------------------------------------------------------------

    async def types(self, room_id: str, *, typing: bool = True) -> None:
        """Show the others that this customer types, for half a minute or until it is taken back."""
        path = in_room(room_id, "typing", self.user_id)
        await self.call("PUT", path, {"typing": typing, "timeout": 30_000})

    async def state(self, room_id: str, kind: str) -> Json:
        """The content of a state event with an empty key; CustomerError 404 if there is none."""
        return await self.call("GET", in_room(room_id, "state", kind, ""))

    async def create_dm(self, whom: str, first_text: str = "", **options: object) -> str:
        """Make a direct room with somebody, as Element does: the first words come at once."""
        content: Json = {"preset": "trusted_private_chat", "is_direct": True, "invite": [whom]}
        reply = await self.call("POST", "v3/createRoom", content | options)
        room_id = str(reply["room_id"])
        if first_text:
            await self.say(room_id, first_text)
        return room_id

    async def say(self, room_id: str, text: str, **more: object) -> str:
        return await self.send(room_id, {"msgtype": "m.text", "body": text} | more)

    async def send(
        self, room_id: str, content: Json, kind: str = "m.room.message", *, txn: str = ""
    ) -> str:
        """Send an event; `txn` names one that may be a repetition."""
        self._counter += 1
        path = in_room(room_id, "send", kind, txn or f"c{self._counter}")
        return str((await self.call("PUT", path, content))["event_id"])

    async def send_file(
        self,
        room_id: str,
        data: bytes,
        name: str,
        mime: str,
        msgtype: str = "m.file",
        **more: object,
    ) -> str:
        """Upload a file and send it; `more` goes into the content."""
        where = await self.upload(data, name, mime)
        info = {"mimetype": mime, "size": len(data)}
        content: Json = {"msgtype": msgtype, "body": name, "info": info}
        return await self.send(room_id, content | where | more)

    async def upload(self, data: bytes, name: str, mime: str) -> Json:
        """Put a file into the media repository; returns what an event says of where it lies."""
        kind, query = {"Content-Type": mime}, {"filename": name}
        body = await self._request(
            "POST", "media/v3/upload", kind, params=query, data=io.BytesIO(data)
        )
        return {"url": msgspec.json.decode(body, type=Json)["content_uri"]}

    async def read_file(self, event: Event) -> bytes:
        return await self.download(str(content_of(event)["url"]))

    async def react(self, room_id: str, event_id: str, sign: str) -> str:
        relation = {"rel_type": "m.annotation", "event_id": event_id, "key": sign}
        return await self.send(room_id, {"m.relates_to": relation}, "m.reaction")

    async def vote(self, room_id: str, poll: Event, answer: str) -> str:
        """Choose an answer of a poll (MSC3381)."""
        content: Json = {
            "m.relates_to": {"rel_type": "m.reference", "event_id": poll["event_id"]},
            "org.matrix.msc3381.poll.response": {"answers": [answer]},
        }
        return await self.send(room_id, content, "org.matrix.msc3381.poll.response")

    async def sync(self, timeout_ms: int = 0) -> None:
        # Ten events a room is the server's default: a burst between two calls would leave a gap.
        query = {"timeout": str(timeout_ms), "filter": '{"room":{"timeline":{"limit":500}}}'}
        if self._since:
            query["since"] = self._since
        self._take_in(await self.call("GET", "v3/sync", query=query))

    def _take_in(self, answer: Json) -> None:
        rooms = _object(answer.get("rooms"))
        for room_id, room in _object(rooms.get("invite")).items():
            self.invitations[room_id] = _events(room, "invite_state")
        for room_id, room in (_object(rooms.get("join")) | _object(rooms.get("leave"))).items():
            for passing in _events(room, "ephemeral"):
                if passing["type"] == "m.typing":
                    users = msgspec.convert(content_of(passing).get("user_ids"), set[str])
                    self.typing[room_id] = users
                elif passing["type"] == "m.receipt":
                    for event_id, kinds in content_of(passing).items():
                        for user in _object(_object(kinds).get("m.read")):
                            self.receipts[room_id, user] = event_id
            seen = self._seen.setdefault(room_id, {})
            for event in (*_events(room, "state"), *_events(room, "timeline")):
                seen.setdefault(str(event["event_id"]), event)
        self._since = str(answer["next_batch"])

    def opened(self, event: Event) -> Event:
        """An event as the homeserver has it, as this client shows it."""
        return event

    def events(self, room_id: str) -> list[Event]:
        return list(self._seen.get(room_id, {}).values())

    async def wait_for(
        self, room_id: str, wanted: Callable[[Event], bool], patience: float = PATIENCE
    ) -> Event:
        """Return the room's first event that is wanted, seen already or to come in time."""
        await self.wait_until(lambda: any(map(wanted, self.events(room_id))), patience)
        return next(filter(wanted, self.events(room_id)))

    async def wait_until(self, holds: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Sync until something holds of what has been seen, or raise TimeoutError."""
        async with asyncio.timeout(patience):
            while not holds():
                await self.sync(timeout_ms=2_000)


def in_room(room_id: str, *parts: str) -> str:
    return "/".join(("v3/rooms", *(quote(part, safe="") for part in (room_id, *parts))))


def membership(user_id: str, value: str) -> Callable[[Event], bool]:
    """For `wait_for`: a member event that says so."""
    return lambda event: (
        event.get("type") == "m.room.member"
        and event.get("state_key") == user_id
        and content_of(event).get("membership") == value
    )


def content_of(event: Event) -> Json:
    return _object(event.get("content"))


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _events(room: object, part: str) -> list[Event]:
    """The events in one part of a room in the answer to /sync."""
    return msgspec.convert(_object(_object(room).get(part)).get("events", []), list[Event])


# --- encrypted -----------------------------------------------------------------------------------

ENCRYPTION: Json = {
    "type": "m.room.encryption",
    "state_key": "",
    "content": {"algorithm": "m.megolm.v1.aes-sha2"},
}


class Phone(Customer):
    """One device of one user; what it shows of a room is decrypted."""

    def __init__(self, session: aiohttp.ClientSession, address: str, nio: AsyncClient) -> None:
        super().__init__(session, address, nio.user_id, nio.access_token)
        self.nio = nio
        """The client; unverified devices are encrypted for, as in Element by default."""
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
        """A new device, with its keys in a new folder; with `new` of a new user."""
        password = password_of(localpart)
        user_id = f"@{localpart}:{server.domain}"
        if new:
            user_id = await server.register(session, localpart, password)
        await asyncio.to_thread(folder.mkdir, parents=True)
        config = AsyncClientConfig(encryption_enabled=True, store_sync_tokens=True)
        nio = AsyncClient(server.address, user_id, store_path=str(folder), config=config)
        _expect(LoginResponse, await nio.login(password))
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
        _expect(SyncResponse, answer)
        self._take_in(await answer.transport_response.json())
        if self.nio.should_upload_keys:
            await self.nio.keys_upload()
        if self.nio.should_query_keys:
            await self.nio.keys_query()
        if self.nio.should_claim_keys:
            await self.nio.keys_claim(self.nio.get_users_for_key_claiming())
        await self.nio.send_to_device_messages()
        for room_id, room in answer.rooms.join.items():
            for event in room.timeline.events:
                if isinstance(event, MegolmEvent):
                    self._sealed[event.event_id] = (room_id, event)
                else:  # opened by nio, or in clear
                    self._seen[room_id][event.event_id] = event.source
        for event_id, (room_id, event) in list(self._sealed.items()):
            try:
                opened = self.nio.decrypt_event(event)
            except EncryptionError:
                continue
            self._seen[room_id][event_id] = opened.source
            del self._sealed[event_id]

    def unreadable(self, room_id: str) -> list[Event]:
        return [e for e in self.events(room_id) if e.get("type") == "m.room.encrypted"]

    async def create_dm(self, whom: str, first_text: str = "", **options: object) -> str:
        """As Element: encrypted from the start, and the first words come at once."""
        encrypted: Json = {"initial_state": [ENCRYPTION]}
        return await super().create_dm(whom, first_text, **(encrypted | options))

    def opened(self, event: Event) -> Event:
        return self._seen[str(event["room_id"])].get(str(event["event_id"]), event)

    async def send(
        self, room_id: str, content: Json, kind: str = "m.room.message", *, txn: str = ""
    ) -> str:
        while room_id not in self.nio.rooms:
            await self.sync(timeout_ms=1_000)
        answer = await self.nio.room_send(
            room_id, kind, content, tx_id=txn or None, ignore_unverified_devices=True
        )
        _expect(RoomSendResponse, answer)
        return str(answer.event_id)

    async def upload(self, data: bytes, name: str, mime: str) -> Json:
        """Encrypt and upload a file."""
        answer, keys = await self.nio.upload(
            lambda *_: io.BytesIO(data), mime, name, encrypt=True, filesize=len(data)
        )
        _expect(UploadResponse, answer)
        return {"file": keys | {"url": answer.content_uri}}

    async def read_file(self, event: Event) -> bytes:
        file: Any = content_of(event)["file"]
        sealed = await self.download(str(file["url"]))
        return bytes(
            decrypt_attachment(sealed, file["key"]["k"], file["hashes"]["sha256"], file["iv"])
        )


def _expect(kind: type[object], answer: object) -> None:
    """Refuse an answer of nio's that tells of an error."""
    if not isinstance(answer, kind):
        raise CustomerError(0, "", str(answer))
