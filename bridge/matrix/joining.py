"""Joining a room: see who and what is there, what was said before we came, and who may do what.

Element makes the room, invites us and sends the first message in one go, before anyone has joined
(reference matrix.md §11). The homeserver hands us events only from our joining on, so whatever a
person said between the invitation and that moment is fetched here.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence

from bridge.ids import RoomId, UserId
from bridge.matrix.client import Homeserver, Json
from bridge.matrix.crypto.wire import MEGOLM
from bridge.matrix.events import CONTENT_EVENTS, ROOM_SETTINGS, is_membership, object_of
from bridge.matrix.users import OurUsers
from bridge.rooms.ports import Entry, Refused
from bridge.rooms.record import Person

ENCRYPTION: Json = {"algorithm": MEGOLM}
"""Content of the state event that turns encryption on."""
MAX_EARLIER = 100
"""Events to look at, from the room's end, for the invitation and what followed it."""
_PRIVILEGED_CREATORS = 12
"""The first room version whose creators stand above all levels (MSC4289)."""
_PRESENT = frozenset({"join", "invite"})


async def enter(
    homeserver: Homeserver,
    ours: OurUsers,
    room_id: RoomId,
    host: UserId,
    inviter: UserId,
    *,
    encrypt: bool = False,
) -> Entry:
    """Join as `host` and look around. Doing it again changes nothing and finds the same.

    With `encrypt`, turn encryption on if the room has none, is not public, and lets us.

    Raises:
        Unavailable, Refused: as the homeserver's calls.
    """
    await homeserver.join(host, room_id)
    # Side by side: the customer waits for our welcome meanwhile.
    members, encryption, settings, (earlier, said_direct) = await asyncio.gather(
        homeserver.members(host, room_id),
        homeserver.state(host, room_id, "m.room.encryption"),
        homeserver.state(host, room_id, ROOM_SETTINGS),
        _look_back(homeserver, ours, room_id, host),
    )
    if encryption is None and encrypt:
        encryption = await _encrypt(homeserver, room_id, host)
    present = [
        member for member in members if object_of(member, "content").get("membership") in _PRESENT
    ]
    return Entry(
        earlier=tuple(earlier),
        direct=said_direct or len(present) == 2,
        encrypted=encryption is not None,
        displayname=_displayname(present, inviter),
        config=object_of(settings, "content") if settings is not None else None,
        people=_people(present, ours),
        encrypted_by_us=encryption is not None and encryption.get("sender") == host,
        configured_by=UserId(str(settings.get("sender"))) if settings is not None else UserId(""),
    )


async def power_level(
    homeserver: Homeserver, room_id: RoomId, host: UserId, user_id: UserId
) -> float:
    """A user's power level, as `host` sees it (`level`).

    Raises:
        Unavailable, Refused: as the homeserver's calls.
    """
    create = await homeserver.state(host, room_id, "m.room.create")
    levels = await homeserver.state(host, room_id, "m.room.power_levels")
    return level(user_id, create, levels)


async def _encrypt(homeserver: Homeserver, room_id: RoomId, host: UserId) -> Json | None:
    """Turn encryption on; the state event, or None if it is not for us to do."""
    rules = await homeserver.state(host, room_id, "m.room.join_rules")
    if rules is not None and object_of(rules, "content").get("join_rule") == "public":
        return None  # whoever may come in anyway reads no less, and clients advise against it
    try:
        await homeserver.set_state(host, room_id, "m.room.encryption", ENCRYPTION)
    except Refused:
        return None  # Nobody gave us the power: the room stays as its people made it.
    return {"sender": host, "content": ENCRYPTION}


async def _look_back(
    homeserver: Homeserver, ours: OurUsers, room_id: RoomId, host: UserId
) -> tuple[list[Json], bool]:
    """Messages since `host` was invited, oldest first; and whether the chat is a direct one."""
    found: list[Json] = []
    seen = 0
    before = ""
    while seen < MAX_EARLIER:
        events, before = await homeserver.latest(host, room_id, MAX_EARLIER - seen, before)
        for event in events:
            if is_membership(event, host, "invite"):
                # is_direct stands in the invitation only: the join has replaced it since.
                return found[::-1], object_of(event, "content").get("is_direct") is True
            sender = event.get("sender")
            if event.get("type") in CONTENT_EVENTS and not ours.is_ours(str(sender)):
                found.append(event | {"room_id": room_id})
        seen += len(events)
        if not before or not events:
            break
    return found[::-1], False


def _people(members: Sequence[Json], ours: OurUsers) -> tuple[Person, ...]:
    """People who have joined, without our own users."""
    return tuple(
        Person(user, _displayname([member], user))
        for member in members
        if object_of(member, "content").get("membership") == "join"
        and not ours.is_ours(user := UserId(str(member.get("state_key"))))
    )


def _displayname(members: Sequence[Json], user: UserId) -> str:
    """The user's name in the room; the localpart where there is none."""
    for event in members:
        name = object_of(event, "content").get("displayname")
        if event.get("state_key") == user and isinstance(name, str) and name.strip():
            return re.sub(r"\s+", " ", name).strip()
    return user[1:].partition(":")[0]


def level(user_id: UserId, create: Json | None, levels: Json | None) -> float:
    """Return a user's power level, as the Matrix specification has it. Pure.

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
    """True from room version 12 on; its unstable name was hydra.11."""
    text = str(version or "1")
    if text.isascii() and text.isdigit() and len(text) < 6:
        return int(text) >= _PRIVILEGED_CREATORS
    return text.startswith("org.matrix.hydra")


def _number(value: object) -> int | None:
    """Read a level, which could be written as text up to room version 9."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    return None
