"""Asking for a key that does not come (specification, "Key requests").

Element's engine gives a key again to a device that it had given it to before, and to no other; so a
letter that got lost or could not be read is made up for without the customer's doing. Each missing
key is asked for once in a while, of the device that wrote the message where that is known, by each
of our hosts: the room does not say which of them it was shared with, and the others are not
answered.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from cachetools import LRUCache

from bridge.ids import UserId
from bridge.matrix.crypto.encoding import Json, mapping, text
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.matrix.crypto.own import MEGOLM
from bridge.matrix.crypto.roomkeys import Sealed
from bridge.matrix.crypto.upkeep import Upkeep
from bridge.rooms.ports import Refused, Unavailable

AFTER = 2.0
"""Seconds that a key is waited for before it is asked for."""
_ASKED = 10_000
"""Keys that are remembered to have been asked for."""
_AGAIN_MS = 60_000
"""How often at most one is; the answer may have been unreadable, too, until the session was new."""
_EVERYBODY = "*"


class Asking:
    """Sends the requests; what comes of them comes as every key does.

    Args:
        server: takes the requests.
        upkeep: knows our devices.
        hosts: our users whose mailboxes are read.
    """

    def __init__(self, server: KeyServer, upkeep: Upkeep, hosts: Sequence[UserId]) -> None:
        self._server = server
        self._upkeep = upkeep
        self._hosts = hosts
        self._asked: LRUCache[str, int] = LRUCache(_ASKED)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")

    async def ask(self, raw: Json, sealed: Sealed, now: int) -> None:
        """Ask for the key of an event, unless that was done a moment ago.

        It is an attempt: if it fails, the event's sender is told what they would have been told.
        """
        last = self._asked.get(sealed.key_name)
        if last is not None and 0 <= now - last < _AGAIN_MS:
            return
        self._asked[sealed.key_name] = now
        self._log.info("a key is asked for", user=sealed.sender, room=sealed.room_id)
        request = _request(self._upkeep.device_id, raw, sealed)
        for host in self._hosts:
            if not self._upkeep.ready(host).is_set():
                continue
            try:
                await self._server.send_to_devices(host, "m.room_key_request", request)
            except (Unavailable, Refused) as error:
                self._log.debug("a key cannot be asked for", user=host, why=str(error))


def _request(device_id: str, raw: Json, sealed: Sealed) -> Json:
    content = mapping(raw, "content")
    body: Json = {
        "algorithm": MEGOLM,
        "room_id": sealed.room_id,
        "session_id": sealed.session_id,
    }
    if sender_key := text(content, "sender_key"):
        body["sender_key"] = sender_key
    request: Json = {
        "action": "request",
        "requesting_device_id": device_id,
        "request_id": f"{device_id}.{sealed.session_id}",
        "body": body,
    }
    return {sealed.sender: {text(content, "device_id") or _EVERYBODY: request}}
