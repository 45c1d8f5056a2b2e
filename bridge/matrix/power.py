"""Who may do what in a room: power levels, as the Matrix specification has them. Pure."""

from __future__ import annotations

import math

from bridge.ids import UserId
from bridge.matrix.contents import object_of
from bridge.matrix.transport import Json

_PRIVILEGED_CREATORS = 12
"""The first room version whose creators stand above all levels (MSC4289)."""


def level(user_id: UserId, create: Json | None, levels: Json | None) -> float:
    """Return a user's power level.

    Args:
        user_id: whose.
        create: the room's whole m.room.create event, if it could be read.
        levels: the whole m.room.power_levels event, if the room has one.

    Returns:
        Infinity for the creators of a room of version 12 or later. Without power levels the
        creator has 100 and everybody else 0 (specification, "m.room.power_levels").
    """
    about = object_of(create or {}, "content")
    sender = (create or {}).get("sender")
    if _creators_are_privileged(about.get("room_version")):
        others = about.get("additional_creators")
        if user_id == sender or (isinstance(others, list) and user_id in others):
            return math.inf
    creator = about.get("creator", sender)
    if levels is None:
        return 100 if user_id == creator else 0
    given = object_of(levels, "content")
    users = given.get("users")
    own = users.get(user_id) if isinstance(users, dict) else None
    for candidate in (own, given.get("users_default")):
        number = _number(candidate)
        if number is not None:
            return number
    return 0


def _creators_are_privileged(version: object) -> bool:
    """Unstable versions are named after their proposal; hydra.11 became 12."""
    text = str(version or "1")
    if text.isascii() and text.isdigit() and len(text) < 6:
        return int(text) >= _PRIVILEGED_CREATORS
    return text.startswith("org.matrix.hydra")


def _number(value: object) -> int | None:
    """Levels were allowed to be written as text up to room version 9."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    return None
