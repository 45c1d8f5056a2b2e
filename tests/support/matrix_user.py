"""A customer's Matrix client: a few calls, and waiting with a time limit.

`Customer` shares no code with the bridge, so that both sides cannot be wrong in the same way.
`Phone` is an encrypting one, based on the demo's client.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import msgspec
from nio import Event as SealedEvent
from nio import MegolmEvent
from nio.exceptions import EncryptionError

from bridge.demo import phone
from bridge.demo.child_process import SynapseServer
from bridge.demo.phone import RefusedError, password_of
from tests.support.synapse import register

# --- unencrypted ---------------------------------------------------------------------------------

Event = dict[str, object]
Json = dict[str, object]

PATIENCE = 30.0
"""Default timeout of waits, seconds."""


class CustomerError(Exception):
    """The homeserver refused a call."""

    def __init__(self, status: int, errcode: str, message: str) -> None:
        super().__init__(f"{status} {errcode} {message}")
        self.status = status
        self.errcode = errcode


class Customer:
    """A logged-in user's client, which keeps all events seen by `sync`, once, by room, in order."""

    def __init__(
        self, session: aiohttp.ClientSession, address: str, user_id: str, token: str
    ) -> None:
        self.user_id = user_id
        self.invitations: dict[str, list[Event]] = {}
        self.receipts: dict[tuple[str, str], str] = {}
        """Event id of the newest read receipt, by room and user."""
        self.typing: dict[str, set[str]] = {}
        """Users who are typing, by room."""
        self._session = session
        self._address = address
        self._token = token
        self._since = self._filter = ""
        self._seen: dict[str, dict[str, Event]] = {}
        self._counter = 0

    @classmethod
    async def sign_up(
        cls, session: aiohttp.ClientSession, server: SynapseServer, localpart: str
    ) -> Self:
        """Register and log in; the password is `password_of(localpart)`."""
        await register(server, session, localpart, password_of(localpart))
        return await cls.sign_in(session, server, localpart)

    @classmethod
    async def sign_in(
        cls, session: aiohttp.ClientSession, server: SynapseServer, localpart: str
    ) -> Self:
        """Log in an existing user on a new device."""
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
        """Download a file with authentication, as clients do since Matrix v1.11."""
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
        """Send a typing notification, which expires after half a minute; `typing=False` ends it."""
        path = in_room(room_id, "typing", self.user_id)
        await self.call("PUT", path, {"typing": typing, "timeout": 30_000})

    async def state(self, room_id: str, kind: str) -> Json:
        """Return the content of a state event with an empty key; CustomerError 404 if absent."""
        return await self.call("GET", in_room(room_id, "state", kind, ""))

    async def create_dm(self, whom: str, first_text: str = "", **options: object) -> str:
        """Create a direct room as Element does, and send the first message at once."""
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
        """Send an event; return its id. `txn`: transaction id, the same for a repetition."""
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
        """Upload a file; return the content fields that refer to it (`url` or `file`)."""
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
        """Vote for an answer of a poll (MSC3381)."""
        content: Json = {
            "m.relates_to": {"rel_type": "m.reference", "event_id": poll["event_id"]},
            "org.matrix.msc3381.poll.response": {"answers": [answer]},
        }
        return await self.send(room_id, content, "org.matrix.msc3381.poll.response")

    async def sync(self, timeout_ms: int = 0) -> None:
        if not self._filter:
            # By its id: Synapse checks the schema of a filter's schema at each use of a whole one.
            # The server's default of ten events a room would leave a gap after a burst.
            path, content = f"v3/user/{quote(self.user_id)}/filter", {"timeline": {"limit": 500}}
            self._filter = str((await self.call("POST", path, {"room": content}))["filter_id"])
        query = {"timeout": str(timeout_ms), "filter": self._filter}
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

    def opened(self, room_id: str, events: Sequence[Event]) -> Sequence[Event]:
        """Return events from the homeserver as this client shows them."""
        return events

    def events(self, room_id: str) -> list[Event]:
        return list(self._seen.get(room_id, {}).values())

    async def wait_for(
        self, room_id: str, wanted: Callable[[Event], bool], patience: float = PATIENCE
    ) -> Event:
        """Return the room's first wanted event, seen already or within `patience` seconds."""
        await self.wait_until(lambda: any(map(wanted, self.events(room_id))), patience)
        return next(filter(wanted, self.events(room_id)))

    async def wait_until(self, holds: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Sync until `holds` returns True; raise TimeoutError after `patience` seconds."""
        async with asyncio.timeout(patience):
            while not holds():
                await self.sync(timeout_ms=2_000)


def in_room(room_id: str, *parts: str) -> str:
    return "/".join(("v3/rooms", *(quote(part, safe="") for part in (room_id, *parts))))


def membership(user_id: str, value: str) -> Callable[[Event], bool]:
    """Return a predicate for `wait_for`: a member event with this membership."""
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
    """Return the events in one section of a room in a /sync response."""
    return msgspec.convert(_object(_object(room).get(part)).get("events", []), list[Event])


# --- encrypted -----------------------------------------------------------------------------------


class Phone(Customer):
    """An encrypting client, one device of one user, around the demo's; its events are decrypted."""

    def __init__(self, session: aiohttp.ClientSession, address: str, device: phone.Phone) -> None:
        super().__init__(session, address, device.nio.user_id, device.nio.access_token)
        self.nio = device.nio
        self.close = device.close
        self.unreadable = device.unreadable
        self._device = device

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
        """Log in on a new device with its keys in `folder`; `new` registers the user first."""
        if new:
            await register(server, session, localpart, password_of(localpart))
        return cls(session, server.address, await phone.Phone.log_in(server, localpart, folder))

    async def sync(self, timeout_ms: int = 0) -> None:
        """Receive and decrypt new events, and maintain the device's keys."""
        try:
            answer = await self._device.sync(timeout_ms)
        except RefusedError as error:
            raise CustomerError(0, "", str(error)) from error
        self._take_in(await answer.transport_response.json())

    def events(self, room_id: str) -> list[Event]:
        return self._device.events(room_id)

    async def create_dm(self, whom: str, first_text: str = "", **options: object) -> str:
        """Create a direct room as Element does: encrypted from the start."""
        encrypted: Json = {"initial_state": [phone.ENCRYPTION]}
        return await super().create_dm(whom, first_text, **(encrypted | options))

    def opened(self, room_id: str, events: Sequence[Event]) -> Sequence[Event]:
        """Return the events decrypted where possible, also those that no /sync has returned."""
        return [self._opened(room_id, event) for event in events]

    def _opened(self, room_id: str, event: Event) -> Event:
        sealed = SealedEvent.parse_event(event)
        if not isinstance(sealed, MegolmEvent):
            return event
        sealed.room_id = room_id
        try:
            return dict(self.nio.decrypt_event(sealed).source)
        except EncryptionError:
            return event

    async def send(
        self, room_id: str, content: Json, kind: str = "m.room.message", *, txn: str = ""
    ) -> str:
        try:
            return await self._device.send(room_id, content, kind, txn=txn)
        except RefusedError as error:
            raise CustomerError(0, "", str(error)) from error

    async def upload(self, data: bytes, name: str, mime: str) -> Json:
        return await self._device.upload(data, name, mime)

    async def read_file(self, event: Event) -> bytes:
        return await self._device.read_file(event)
