"""The calls of the client-server API that several of us make, each a few lines on `Transport`.

Every method raises `Unavailable` or `Refused` and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from urllib.parse import quote

from bridge.ids import EventId, RoomId, UserId
from bridge.matrix.contents import object_of, text_of
from bridge.matrix.transport import DEVICE, Json, Transport
from bridge.rooms.ports import Refused, Unavailable

_CLIENT = "_matrix/client/v3"
TIMELINE_PAGE = 100
"""Events of a timeline that are asked for at a time."""
_JOIN_TIMEOUT = 120.0
"""Seconds. A homeserver that joins a room elsewhere asks many others."""


class Homeserver:
    """Thin calls; who acts is always the first argument."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def check(self) -> None:
        """See whether the homeserver answers. Refused: it does not know our token."""
        await self._transport.request("GET", f"{_CLIENT}/account/whoami", device=False)

    async def ping(self, appservice_id: str) -> None:
        """Ask the homeserver to call us; it also hands over whatever it holds for us at once."""
        path = f"_matrix/client/v1/appservice/{quote(appservice_id, safe='')}/ping"
        await self._transport.request("POST", path, {}, device=False)

    async def register(self, user: UserId) -> bool:
        """Make one of our users exist; False if the name is in use already, by whomever."""
        localpart = user[1:].partition(":")[0]
        content: Json = {
            "type": "m.login.application_service",
            "username": localpart,
            "inhibit_login": True,
        }
        try:
            await self._transport.request(
                "POST", f"{_CLIENT}/register", content, query={"kind": "user"}, device=False
            )
        except Refused as error:
            if error.code != "M_USER_IN_USE":
                raise
            return False
        return True

    async def devices(self, user: UserId) -> list[str]:
        """The ids of the user's devices: of each session that somebody has as this user."""
        reply = await self._transport.request("GET", f"{_CLIENT}/devices", user=user, device=False)
        return device_ids(reply)

    async def make_device(self, user: UserId) -> None:
        """Give the user its device (MSC4190), without keys: encryption makes its own."""
        await self._transport.request(
            "PUT",
            f"{_CLIENT}/devices/{DEVICE}",
            {"display_name": "WebChat"},
            user=user,
            device=False,
        )

    async def set_profile(self, user: UserId, key: str, value: str) -> None:
        """Write `displayname` or `avatar_url`."""
        path = f"{_CLIENT}/profile/{quote(user, safe='')}/{key}"
        await self._transport.request("PUT", path, {key: value}, user=user)

    async def join(self, user: UserId, room_id: RoomId) -> None:
        path = f"{_CLIENT}/rooms/{quote(room_id, safe='')}/join"
        await self._transport.request("POST", path, {}, user=user, timeout=_JOIN_TIMEOUT)

    async def invite(self, user: UserId, room_id: RoomId, whom: UserId) -> None:
        path = f"{_CLIENT}/rooms/{quote(room_id, safe='')}/invite"
        await self._transport.request("POST", path, {"user_id": whom}, user=user)

    async def leave(self, user: UserId, room_id: RoomId, reason: str = "") -> None:
        """Leave the room, or refuse an invitation to it. Not being in it is success."""
        path = f"{_CLIENT}/rooms/{quote(room_id, safe='')}/leave"
        body: Json = {"reason": reason} if reason else {}
        try:
            await self._transport.request("POST", path, body, user=user)
        except Refused as error:
            if error.code not in {"M_FORBIDDEN", "M_NOT_FOUND", "M_BAD_STATE", "M_NOT_JOINED"}:
                raise

    async def send(
        self, user: UserId, room_id: RoomId, kind: str, content: Json, txn_id: str
    ) -> EventId:
        """Send a message event; the same user, room and transaction id give the same event."""
        path = (
            f"{_CLIENT}/rooms/{quote(room_id, safe='')}/send/{quote(kind, safe='')}"
            f"/{quote(txn_id, safe='')}"
        )
        reply = await self._transport.request("PUT", path, content, user=user)
        event_id = reply.get("event_id")
        if not isinstance(event_id, str):
            raise Unavailable("send answered without an event id")
        return EventId(event_id)

    async def state(self, user: UserId, room_id: RoomId, kind: str, key: str = "") -> Json | None:
        """A whole state event, or None if the room has none of that kind."""
        path = (
            f"{_CLIENT}/rooms/{quote(room_id, safe='')}/state/{quote(kind, safe='')}"
            f"/{quote(key, safe='')}"
        )
        try:
            return await self._transport.request("GET", path, user=user, query={"format": "event"})
        except Refused as error:
            if error.code == "M_NOT_FOUND":
                return None
            raise

    async def set_state(
        self, user: UserId, room_id: RoomId, kind: str, content: Json, key: str = ""
    ) -> None:
        path = (
            f"{_CLIENT}/rooms/{quote(room_id, safe='')}/state/{quote(kind, safe='')}"
            f"/{quote(key, safe='')}"
        )
        await self._transport.request("PUT", path, content, user=user)

    async def members(self, user: UserId, room_id: RoomId) -> Sequence[Json]:
        """The member events of everybody who has not left."""
        reply = await self._transport.request(
            "GET",
            f"{_CLIENT}/rooms/{quote(room_id, safe='')}/members",
            user=user,
            query={"not_membership": "leave"},
        )
        return _events(reply)

    async def latest(
        self, user: UserId, room_id: RoomId, limit: int, before: str = ""
    ) -> tuple[Sequence[Json], str]:
        """The latest events, newest first, and where to go on from ("" at the room's start)."""
        query = {"dir": "b", "limit": str(limit)}
        if before:
            query["from"] = before
        path = f"{_CLIENT}/rooms/{quote(room_id, safe='')}/messages"
        reply = await self._transport.request("GET", path, user=user, query=query)
        end = reply.get("end")
        return _events(reply), end if isinstance(end, str) else ""

    async def timeline(
        self, user: UserId, room_id: RoomId, first: EventId
    ) -> AsyncGenerator[Json, None]:
        """The room's events from `first` on, oldest first, as they came.

        Refused: the homeserver has no such event, or does not show it to `user`.
        """
        where = f"{_CLIENT}/rooms/{quote(room_id, safe='')}"
        path = f"{where}/context/{quote(first, safe='')}"
        found = await self._transport.request("GET", path, user=user, query={"limit": "0"})
        yield object_of(found, "event")
        after = text_of(found, "end")
        while after:
            query = {"dir": "f", "from": after, "limit": str(TIMELINE_PAGE)}
            path = f"{where}/messages"
            page = await self._transport.request("GET", path, user=user, query=query)
            for event in _events(page):
                yield event
            # Some servers go on giving a place to continue from at the room's end.
            chunk = page.get("chunk")
            after = text_of(page, "end") if isinstance(chunk, list) and chunk else ""

    async def redact(
        self, user: UserId, room_id: RoomId, event_id: EventId, reason: str, txn_id: str
    ) -> None:
        """Take an event's content out of the room (client-server API, "Redactions").

        Refused: `user` may not redact what others sent.
        """
        path = (
            f"{_CLIENT}/rooms/{quote(room_id, safe='')}/redact/{quote(event_id, safe='')}"
            f"/{quote(txn_id, safe='')}"
        )
        await self._transport.request("PUT", path, {"reason": reason}, user=user)

    async def show_typing(self, user: UserId, room_id: RoomId, seconds: float) -> None:
        """Show the user as typing for so long; 0: no longer (client-server API, "Typing")."""
        path = f"{_CLIENT}/rooms/{quote(room_id, safe='')}/typing/{quote(user, safe='')}"
        content: Json = {"typing": seconds > 0}
        if seconds > 0:
            content["timeout"] = int(seconds * 1000)
        await self._transport.request("PUT", path, content, user=user)

    async def mark_read(self, user: UserId, room_id: RoomId, event_id: EventId) -> None:
        """Show that the user has read up to this event (client-server API, "Receipts")."""
        room, event = quote(room_id, safe=""), quote(event_id, safe="")
        await self._transport.request(
            "POST", f"{_CLIENT}/rooms/{room}/receipt/m.read/{event}", {}, user=user
        )

    async def upload_limit(self) -> int | None:
        """Bytes of the largest file that the homeserver takes, if it says so."""
        reply = await self._transport.request("GET", "_matrix/client/v1/media/config")
        limit = reply.get("m.upload.size")
        return limit if isinstance(limit, int) else None


def device_ids(reply: Mapping[str, object]) -> list[str]:
    """What a homeserver's answer to `GET /devices` lists."""
    listed = reply.get("devices")
    return [
        device_id
        for device in (listed if isinstance(listed, list) else [])
        if isinstance(device, dict) and isinstance(device_id := device.get("device_id"), str)
    ]


def _events(reply: Json) -> list[Json]:
    chunk = reply.get("chunk")
    return [event for event in chunk if isinstance(event, dict)] if isinstance(chunk, list) else []
