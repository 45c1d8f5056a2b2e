"""Client-server API calls for keys and devices; the first argument is the user that calls."""

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
"""Type of the account data with the mark that detects a restored database (`devices`)."""
_QUERY_MS = 10_000
"""Timeout in ms for the homeserver's own queries to other homeservers."""
SYNC_SECONDS = 30
NOTHING = {"not_types": ["*"]}
QUIET = {"presence": NOTHING, "account_data": NOTHING}
"""Part of a /sync filter: no presence and no account data."""
NOTHING_BUT_KEYS = json.dumps(QUIET | {"room": {"rooms": []}})
"""Filter for /sync: to-device events only, as messages come by transactions."""
_NAME = "WebChat"


class Requests(Protocol):
    """HTTP requests as bridge users and their devices. `client.Homeserver` implements it."""

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
    """The homeserver's keys, devices and to-device mailboxes.

    `patient` is for long polling; it acts as the same devices as `transport`.
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
        """Send a request; with `device`, as the user's device instead of the user alone."""
        path = f"{_CLIENT}/{path}"
        return await self._transport.request(method, path, content, user=user, device=device)

    async def make_device(self, user: UserId, device_id: str) -> str:
        """Create a device; return its access token if the homeserver lacks MSC4190, else ""."""
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
            raise Refused("M_UNRECOGNIZED", "the login returned no access token")
        return token

    async def devices(self, user: UserId) -> list[str]:
        return device_ids(await self._call("GET", "devices", user=user))

    async def delete_device(self, user: UserId, device_id: str) -> None:
        await self._call("DELETE", _device(device_id), {}, user=user)

    async def query(self, asker: UserId, users: Sequence[str]) -> Json:
        content: Json = {"device_keys": {user: [] for user in users}, "timeout": _QUERY_MS}
        # Not as the device: this call detects that the device is gone.
        return await self._call("POST", "keys/query", content, user=asker)

    async def claim(self, user: UserId, wanted: dict[str, dict[str, str]]) -> Json:
        """Claim a one-time key of each device: user -> device -> algorithm."""
        content: Json = {"one_time_keys": wanted, "timeout": _QUERY_MS}
        reply = await self._call("POST", "keys/claim", content, user=user, device=True)
        return mapping(reply, "one_time_keys")

    async def upload_keys(self, user: UserId, content: Json) -> Json:
        """Publish keys of the device; return the homeserver's one-time key counts by algorithm."""
        reply = await self._call("POST", "keys/upload", content, user=user, device=True)
        return mapping(reply, "one_time_key_counts")

    async def upload_identity(self, user: UserId, content: Json) -> None:
        # Not as the device: an application service needs no password for this call.
        await self._call("POST", "keys/device_signing/upload", content, user=user)

    async def upload_signatures(self, user: UserId, content: Json) -> None:
        reply = await self._call("POST", "keys/signatures/upload", content, user=user, device=True)
        if mapping(reply, "failures"):
            raise Refused("M_INVALID_SIGNATURE", "the homeserver refuses the bridge's signatures")

    async def send_to_devices(self, user: UserId, kind: str, messages: Json) -> None:
        """Send events to devices: user -> device -> content."""
        path = f"sendToDevice/{quote(kind, safe='')}/{secrets.token_hex(12)}"
        await self._call("PUT", path, {"messages": messages}, user=user, device=True)

    async def mark(self, user: UserId) -> str:
        """Return the homeserver's mark; "" if it has none or does not store account data."""
        return text(await self._transport.account_data(user, MARK), "mark")

    async def set_mark(self, user: UserId, mark: str) -> None:
        await self._transport.set_account_data(user, MARK, {"mark": mark})

    async def sync(self, user: UserId, since: str, *, wait: bool, device: str = "") -> Json:
        """Return to-device events after the token `since` (all pending ones if it is empty).

        With `wait`, long-poll up to `SYNC_SECONDS`; `device` names a device of the user other than
        the present one.
        """
        query = {"filter": NOTHING_BUT_KEYS, "timeout": str(SYNC_SECONDS * 1000 if wait else 0)}
        if since:
            query["since"] = since
        if device:
            # The second name is for homeservers before Matrix v1.17.
            query |= {"device_id": device, "org.matrix.msc3202.device_id": device}
        return await self._patient.request(
            "GET", f"{_CLIENT}/sync", user=user, device=not device, query=query
        )


def _device(device_id: str) -> str:
    return f"devices/{quote(device_id, safe='')}"
