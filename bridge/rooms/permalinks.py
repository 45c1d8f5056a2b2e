"""Links to events that any client opens (Matrix specification, "matrix.to navigation"). Pure."""

from __future__ import annotations

import re
from collections import Counter
from urllib.parse import quote

from bridge.ids import EventId, RoomId
from bridge.rooms.record import RoomRecord

MOST_SERVERS = 3
"""The specification's own advice."""

_ADDRESS = re.compile(r"\[.*\]|[0-9.]+")
"""A server that has no name is no help to others."""


def permalink(room_id: RoomId, event_id: EventId, servers: tuple[str, ...]) -> str:
    """The address of an event.

    Args:
        room_id: its room.
        event_id: the event.
        servers: through which servers the room can be joined (`via`).
    """
    via = "&".join(f"via={quote(server, safe=':')}" for server in servers)
    where = f"https://matrix.to/#/{quote(room_id, safe='!:')}/{quote(event_id, safe='$:')}"
    return f"{where}?{via}" if via else where


def via(record: RoomRecord) -> tuple[str, ...]:
    """Servers that know the room: that of whoever invited us, ours, and those with most people.

    Nobody has to be asked: the inviter made the room or may at least invite to it, and we are in it
    for as long as it is served.
    """
    people = Counter(_server(person.user) for person in record.people)
    ranked = [name for name, _ in sorted(people.items(), key=lambda one: (-one[1], one[0]))]
    servers = dict.fromkeys((_server(record.customer), _server(record.host), *ranked))
    return tuple([name for name in servers if _has_name(name)][:MOST_SERVERS])


def _server(user: str) -> str:
    return user.partition(":")[2]


def _has_name(server: str) -> bool:
    host = re.sub(r":[0-9]+$", "", server)
    return bool(host) and not _ADDRESS.fullmatch(host)
