"""Calls of the client-server API about keys and devices, each by the user who is named first."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import quote

from bridge.ids import UserId
from bridge.matrix.crypto.wire import Json, device_ids, mapping, text
from bridge.rooms.ports import Despite, Refused

_CLIENT = "_matrix/client/v3"
MARK = "org.matrix_webchat.continuity"
"""Type of the account data that tells an older copy of the database from the newest."""
_QUERY_MS = 10_000
"""How long the homeserver may ask other homeservers."""
SYNC_SECONDS = 30
NOTHING = {"not_types": ["*"]}
QUIET = {"presence": NOTHING, "account_data": NOTHING}
"""Of a filter for /sync: what we want of no user."""
NOTHING_BUT_KEYS = json.dumps(QUIET | {"room": {"rooms": []}})
"""Filter for /sync: messages come by transactions, here only to-device events are wanted."""
_NAME = "WebChat"


class Requests(Protocol):
    """HTTP requests as our users and their devices. `client.Homeserver` is one."""

    async def request(
        self,
        method: str,
        path: str,
        content: Json | None = None,
        *,
        user: UserId | None = None,
        device: bool = True,
        query: Mapping[str, str] | None = None,
    ) -> Json: ...

    async def account_data(self, user: UserId, kind: str) -> Json: ...

    async def set_account_data(self, user: UserId, kind: str, content: Json) -> None: ...

    def use_device(self, device: str) -> None: ...

    def use_token(self, user: UserId, token: str) -> None: ...


class KeyServer:
    """The homeserver's keys, devices and mailboxes.

    `patient`, for what stays open long, acts as the same devices as `transport`.
    """

    def __init__(self, transport: Requests, patient: Requests) -> None:
        self._transport = transport
        self._patient = patient
        self.use_device = transport.use_device
        self.use_token = transport.use_token

    async def _call(
        self,
        method: str,
        path: str,
        content: Json | None = None,
        *,
        user: UserId,
        device: bool = False,
    ) -> Json:
        """One request; as the user's device where the homeserver has to know which it is."""
        path = f"{_CLIENT}/{path}"
        return await self._transport.request(method, path, content, user=user, device=device)

    async def make_device(self, user: UserId, device_id: str) -> str:
        """Give the user a device; returns its access token where MSC4190 is not known, else ""."""
        with Despite("M_UNRECOGNIZED", "M_NOT_FOUND"):
            await self._call("PUT", _device(device_id), {"display_name": _NAME}, user=user)
            return ""
        content: Json = {
            "type": "m.login.application_service",
            "identifier": {"type": "m.id.user", "user": user},
            "device_id": device_id,
            "initial_device_display_name": _NAME,
        }
        token = (await self._call("POST", "login", content, user=user)).get("access_token")
        if not isinstance(token, str):
            raise Refused("M_UNRECOGNIZED", "login without a token")
        return token

    async def devices(self, user: UserId) -> list[str]:
        return device_ids(await self._call("GET", "devices", user=user))

    async def delete_device(self, user: UserId, device_id: str) -> None:
        await self._call("DELETE", _device(device_id), {}, user=user)

    async def query(self, asker: UserId, users: Sequence[str]) -> Json:
        content: Json = {"device_keys": {user: [] for user in users}, "timeout": _QUERY_MS}
        # Not as the device: this is how we learn that it is gone.
        return await self._call("POST", "keys/query", content, user=asker)

    async def claim(self, user: UserId, wanted: dict[str, dict[str, str]]) -> Json:
        """Take a one-time key of each device: user -> device -> algorithm."""
        content: Json = {"one_time_keys": wanted, "timeout": _QUERY_MS}
        reply = await self._call("POST", "keys/claim", content, user=user, device=True)
        return mapping(reply, "one_time_keys")

    async def upload_keys(self, user: UserId, content: Json) -> Json:
        """Publish keys of the device; returns how many one-time keys are there now."""
        reply = await self._call("POST", "keys/upload", content, user=user, device=True)
        return mapping(reply, "one_time_key_counts")

    async def upload_identity(self, user: UserId, content: Json) -> None:
        # Not as the device: of an application service no password is asked.
        await self._call("POST", "keys/device_signing/upload", content, user=user)

    async def upload_signatures(self, user: UserId, content: Json) -> None:
        reply = await self._call("POST", "keys/signatures/upload", content, user=user, device=True)
        if mapping(reply, "failures"):
            raise Refused("M_INVALID_SIGNATURE", "the homeserver does not take our signatures")

    async def send_to_devices(self, user: UserId, kind: str, messages: Json) -> None:
        """Send events to devices: user -> device -> content."""
        path = f"sendToDevice/{quote(kind, safe='')}/{secrets.token_hex(12)}"
        await self._call("PUT", path, {"messages": messages}, user=user, device=True)

    async def mark(self, user: UserId) -> str:
        """The homeserver's mark; empty if it has none, or keeps none."""
        return text(await self._transport.account_data(user, MARK), "mark")

    async def set_mark(self, user: UserId, mark: str) -> None:
        await self._transport.set_account_data(user, MARK, {"mark": mark})

    async def sync(self, user: UserId, since: str, *, wait: bool, device: str = "") -> Json:
        """What came for the device after the last reply's token `since` (empty: all that there is).

        With `wait` the homeserver keeps the request for `SYNC_SECONDS`, until something comes;
        `device` is another device of the user than the present one.
        """
        query = {"filter": NOTHING_BUT_KEYS, "timeout": str(SYNC_SECONDS * 1000 if wait else 0)}
        if since:
            query["since"] = since
        if device:
            # The second is the name by which homeservers before v1.17 know it.
            query |= {"device_id": device, "org.matrix.msc3202.device_id": device}
        return await self._patient.request(
            "GET", f"{_CLIENT}/sync", user=user, device=not device, query=query
        )


def _device(device_id: str) -> str:
    return f"devices/{quote(device_id, safe='')}"
