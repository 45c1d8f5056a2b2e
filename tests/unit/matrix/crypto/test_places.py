from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from bridge.ids import RoomId, UserId
from bridge.matrix.client import Homeserver
from bridge.matrix.crypto.peers import ROTATE_MESSAGES, ROTATE_MS, Places, Scheme
from bridge.matrix.crypto.wire import MEGOLM, Json
from bridge.rooms.ports import Refused
from tests.unit.matrix.crypto.world import ALICE, BOT, ROOM, USERS, new_vault

pytestmark = pytest.mark.asyncio


class Rooms(Homeserver):
    """A homeserver with one room."""

    def __init__(self) -> None:
        self.states: dict[str, Json] = {}
        self.membership: dict[str, str] = {BOT: "join", ALICE: "join"}
        self.calls = 0
        self.told = asyncio.Event()
        """Awaited by `members`."""
        self.told.set()

    async def state(self, user: UserId, room_id: RoomId, kind: str, key: str = "") -> Json | None:
        self.calls += 1
        return {"content": self.states[kind]} if kind in self.states else None

    async def members(self, user: UserId, room_id: RoomId) -> Sequence[Json]:
        self.calls += 1
        await self.told.wait()
        return [
            {"state_key": who, "content": {"membership": membership}}
            for who, membership in self.membership.items()
        ]


def event(kind: str, **more: object) -> Json:
    return {"type": kind, "room_id": ROOM, "state_key": "", **more}


async def test_encryption_settings_are_cached_until_they_change() -> None:
    rooms = Rooms()
    places = Places(rooms, USERS, new_vault())
    assert await places.scheme(BOT, ROOM) == Scheme(encrypted=False)
    rooms.states["m.room.encryption"] = {"algorithm": MEGOLM}
    assert await places.scheme(BOT, ROOM) == Scheme(encrypted=False)  # until the event arrives
    places.changed(event("m.room.encryption"))
    assert await places.scheme(BOT, ROOM) == Scheme(True, ROTATE_MESSAGES, ROTATE_MS)
    calls = rooms.calls
    await places.scheme(BOT, ROOM)
    assert rooms.calls == calls


@pytest.mark.parametrize(
    ("given", "scheme"),
    [
        ({"rotation_period_msgs": 5, "rotation_period_ms": 1000}, Scheme(True, 5, 1000)),
        ({"rotation_period_msgs": 0, "rotation_period_ms": "1"}, Scheme(True)),
        ({"rotation_period_msgs": True, "rotation_period_ms": -1}, Scheme(True)),
        ({"rotation_period_msgs": 10**9}, Scheme(True, 10_000)),
    ],
)
async def test_rotation_settings_of_the_room(given: Json, scheme: Scheme) -> None:
    rooms = Rooms()
    rooms.states["m.room.encryption"] = given | {"algorithm": MEGOLM}
    assert await Places(rooms, USERS, new_vault()).scheme(BOT, ROOM) == scheme


async def test_unknown_algorithm_is_refused_rather_than_sent_in_clear() -> None:
    rooms = Rooms()
    rooms.states["m.room.encryption"] = {"algorithm": "m.new"}
    with pytest.raises(Refused, match="M_UNSUPPORTED_ALGORITHM"):
        await Places(rooms, USERS, new_vault()).scheme(BOT, ROOM)


async def test_encrypted_room_stays_encrypted() -> None:
    """Whatever its homeserver says later, and across a restart."""
    rooms, vault = Rooms(), new_vault()
    rooms.states["m.room.encryption"] = {"algorithm": MEGOLM, "rotation_period_msgs": 7}
    assert (await Places(rooms, USERS, vault).scheme(BOT, ROOM)).encrypted
    del rooms.states["m.room.encryption"]
    places = Places(rooms, USERS, vault)
    assert await places.scheme(BOT, ROOM) == Scheme(True, rotate_messages=7)
    other = RoomId("!other:here")
    assert await places.scheme(BOT, other) == Scheme(encrypted=False)
    contents: tuple[Json, ...] = ({}, {"algorithm": "m.new"})
    for content in contents:
        rooms.states["m.room.encryption"] = content
        places.changed(event("m.room.encryption"))
        assert await places.scheme(BOT, ROOM) == Scheme(True, rotate_messages=7)


async def test_readers_follow_membership_and_history_visibility() -> None:
    rooms = Rooms()
    rooms.membership |= {"@carol:here": "invite", "@dan:here": "ban", "@eve:here": "knock"}
    places = Places(rooms, USERS, new_vault())
    assert (await places.audience(BOT, ROOM)).users == {ALICE, "@carol:here"}
    rooms.states["m.room.history_visibility"] = {"history_visibility": "joined"}
    places.changed(event("m.room.history_visibility"))
    assert (await places.audience(BOT, ROOM)).users == {ALICE}
    del rooms.membership[ALICE]
    places.changed(event("m.room.message"))
    places.changed({"type": "m.room.member", "room_id": ROOM})  # no state
    assert (await places.audience(BOT, ROOM)).users == {ALICE}
    places.changed(event("m.room.member"))
    assert (await places.audience(BOT, ROOM)).users == frozenset()


async def test_the_members_that_somebody_who_left_is_shown_are_not_kept() -> None:
    """They are those of then: a ghost that gives a key that it owes would hide who came since."""
    rooms = Rooms()
    places = Places(rooms, USERS, new_vault())
    assert (await places.audience(UserId("@webchat__a1:here"), ROOM)).users == {ALICE}
    rooms.membership["@carol:here"] = "join"
    assert (await places.audience(BOT, ROOM)).users == {ALICE, "@carol:here"}


async def test_a_late_answer_does_not_bring_back_that_history_was_shown() -> None:
    """Else keys are marked as ones that newcomers may have, until somebody comes or goes."""
    rooms, setting = Rooms(), "m.room.history_visibility"
    places = Places(rooms, USERS, new_vault())
    rooms.states[setting] = {"history_visibility": "shared"}
    slow, at_once = asyncio.Event(), rooms.told
    rooms.told = slow
    async with asyncio.TaskGroup() as tasks:
        late = tasks.create_task(places.audience(BOT, ROOM))
        await asyncio.sleep(0)
        rooms.told = at_once
        rooms.states[setting] = {"history_visibility": "invited"}
        places.changed(event(setting))
        kept = await places.audience(BOT, ROOM)
        slow.set()
    assert (late.result().shared, kept.shared) == (True, False)
    assert await places.audience(BOT, ROOM) is kept
