"""Sign-in to the room page: for users vouched for by the homeserver who are admins of the room."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import pytest_asyncio
from msgspec.structs import replace

from bridge.admin.signin import REMEMBERED, ROOM_SESSION_LIFE, NotLetIn, RoomAdmins, _signed
from bridge.admin.views import Bridge
from bridge.config.model import Permission
from bridge.ids import RoomId, UserId
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.record import Membership, RoomRecord, dump_record
from bridge.rooms.store import Commit, StoredRoom
from bridge.rooms.surroundings import Replacement, Upgrades
from bridge.storage.sqlstore import SqlStore, open_store
from tests.fakes.clock import ManualClock
from tests.fakes.flow import every
from tests.unit.rooms.visits import ADA, BOT, RULES

ROOM, NEXT = RoomId("!room:example.org"), RoomId("!next:example.org")
MODERATOR, OPERATOR = UserId("@mod:example.org"), UserId("@op:example.org")
FOREIGN = UserId("@mod:evil.example")


class House:
    """A homeserver that vouches for OpenID tokens: `token-` and the user id."""

    def __init__(self) -> None:
        self.levels = {MODERATOR: 50.0, ADA: 49.0, OPERATOR: 0.0, FOREIGN: 100.0}
        self.members = {MODERATOR, ADA, OPERATOR, FOREIGN}
        self.away = False
        self.asked = 0

    async def openid_user(self, token: str) -> UserId:
        if self.away:
            raise Unavailable("away")
        if not token.startswith("token-"):
            raise Refused("M_UNKNOWN_TOKEN", "no token of ours")
        return UserId(token.removeprefix("token-"))

    async def is_joined(self, room_id: RoomId, reader: UserId, who: UserId) -> bool:
        self.asked += 1
        if self.away:
            raise Unavailable("away")
        assert (room_id, reader) in {(ROOM, BOT), (NEXT, BOT)}
        return who in self.members

    async def power_levels(
        self, room_id: RoomId, host: UserId, users: Sequence[UserId]
    ) -> dict[UserId, float]:
        return {user: self.levels.get(user, 0.0) for user in users}


class Rig:
    def __init__(self, store: SqlStore, clock: ManualClock) -> None:
        self.store, self.clock, self.house = store, clock, House()
        self.upgrades = Upgrades()
        permissions = {OPERATOR: Permission.ADMIN}
        rules = replace(RULES, permission=lambda user: permissions.get(user, Permission.CUSTOMER))
        around = SimpleNamespace(store=store, upgrades=self.upgrades, clock=clock, rules=rules)
        bridge = SimpleNamespace(around=around, enterprises={"": around}, named=str)
        self.bridge = cast(Bridge, bridge)
        self.admins = RoomAdmins(self.house, self.bridge, "example.org", b"key")

    async def room(self, revision: int = 1, **changes: object) -> None:
        record = replace(RoomRecord(ROOM, membership=Membership.JOINED, host=BOT), **changes)
        row = StoredRoom(ROOM, dump_record(record), False, "Idle", None, ADA, revision)
        await every(self.store, [Commit(ROOM, 1, replace(row, revision=revision))])

    async def why(self, user: str, room: RoomId = ROOM) -> tuple[int, str]:
        with pytest.raises(NotLetIn) as refused:
            await self.admins.sign_in(f"token-{user}", room)
        return refused.value.status, refused.value.key


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    clock = ManualClock()
    async with open_store(f"sqlite:///{tmp_path / 'bridge.db'}", clock) as store:
        rig = Rig(store, clock)
        await rig.room(revision=0)
        yield rig


@pytest.mark.asyncio
async def test_an_admin_of_the_room_is_let_in(rig: Rig) -> None:
    for user in (MODERATOR, OPERATOR):
        session = rig.admins.session(await rig.admins.sign_in(f"token-{user}", ROOM))
        assert (session.user, session.room) == (user, ROOM)
        assert (await rig.admins.room_of(session)).room_id == ROOM


@pytest.mark.asyncio
async def test_nobody_but_an_admin_is_let_in(rig: Rig) -> None:
    assert await rig.why(ADA) == (403, "notAdmin")
    assert await rig.why("@nobody:example.org") == (403, "notAdmin")
    rig.house.members.discard(OPERATOR)  # the operator's permission opens no room of others
    assert await rig.why(OPERATOR) == (403, "notAdmin")
    assert await rig.why(MODERATOR, RoomId("!other:example.org")) == (404, "notHere")


@pytest.mark.asyncio
async def test_operator_is_no_admin_of_rooms_of_a_removed_call_centre(rig: Rig) -> None:
    await rig.room(enterprise="former")
    assert await rig.why(OPERATOR) == (403, "notAdmin")


@pytest.mark.asyncio
async def test_only_the_own_homeserver_vouches_and_only_for_its_users(rig: Rig) -> None:
    with pytest.raises(NotLetIn) as refused:
        await rig.admins.sign_in("a token of another homeserver", ROOM)
    assert (refused.value.status, refused.value.key) == (401, "notYours")
    assert await rig.why(FOREIGN) == (401, "notYours")
    assert await rig.why("x" * 3_000) == (401, "notYours")
    rig.house.away = True
    assert await rig.why(MODERATOR) == (502, "noOpenId")


@pytest.mark.asyncio
async def test_power_level_is_looked_up_again_after_a_while(rig: Rig) -> None:
    session = rig.admins.session(await rig.admins.sign_in(f"token-{MODERATOR}", ROOM))
    asked = rig.house.asked
    rig.house.levels[MODERATOR] = 0.0
    await rig.admins.room_of(session)
    assert rig.house.asked == asked
    with pytest.raises(NotLetIn, match="notAdmin"):
        await rig.admins.room_of(session, anew=True)
    with pytest.raises(NotLetIn, match="notAdmin"):
        await rig.admins.room_of(session)
    await rig.clock.turn(REMEMBERED / 1000)
    with pytest.raises(NotLetIn, match="notAdmin"):
        await rig.admins.room_of(session)
    await rig.clock.turn(REMEMBERED / 1000)
    rig.house.away = True
    with pytest.raises(NotLetIn, match="unknown"):
        await rig.admins.room_of(session)


@pytest.mark.asyncio
async def test_session_cannot_be_forged_and_expires(rig: Rig) -> None:
    token = await rig.admins.sign_in(f"token-{MODERATOR}", ROOM)
    body, mac = token[:-64], token[-64:]
    others = RoomAdmins(rig.house, rig.bridge, "example.org", b"another key")
    foreign = await others.sign_in(f"token-{MODERATOR}", ROOM)
    earlier = _signed(b"key", urlsafe_b64encode(b'{"user":"@a:b"}').decode())
    wrongs = ("", ".", "a.b", body, f"{body}x{mac}", f"{body}{mac}0", foreign, earlier, "é.é")
    for wrong in wrongs:
        with pytest.raises(NotLetIn, match="signedOut"):
            rig.admins.session(wrong)
    rig.admins.session(token)
    await rig.clock.turn(ROOM_SESSION_LIFE / 1000)
    with pytest.raises(NotLetIn, match="signedOut"):
        rig.admins.session(token)


@pytest.mark.asyncio
async def test_a_room_that_was_left_or_replaced_has_no_page(rig: Rig) -> None:
    await rig.room(place=NEXT)
    await rig.upgrades.keep(rig.store, Replacement(NEXT, ROOM, ours=True))
    assert await rig.why(MODERATOR) == (404, "moved")
    session = rig.admins.session(await rig.admins.sign_in(f"token-{MODERATOR}", NEXT))
    assert (await rig.admins.room_of(session)).room_id == ROOM
    await rig.room(revision=2, membership=Membership.LEFT)
    assert await rig.why(MODERATOR) == (404, "notHere")
