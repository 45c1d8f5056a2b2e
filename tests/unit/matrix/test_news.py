"""Catch-up finds open invitations, and keeps the token of /sync that tells of them."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from bridge.ids import RoomId
from bridge.matrix.catchup import (
    LOOKS,
    QUIET,
    SETTLING,
)
from bridge.rooms.ports import Refused
from bridge.rooms.store import StoreError
from tests.fakes.forgetful import ALL_LOOKS, FIRST_LOOK, OTHER, OURS, ROOM, House

BOT, SALES = OURS.hosts


@pytest.mark.asyncio
async def test_missed_invitation_is_found_once() -> None:
    house = House()
    house.noted.clear()
    house.invite(RoomId("!before:a"))
    async with house.looked_after():
        await house.clock.turn(ALL_LOOKS)
        assert house.taken == [], "the first look only notes from where"
        house.invite(RoomId("!joined:a"))
        house.invite(RoomId("!nul\0:a"))  # which no database could store
        house.invite(RoomId("!lost:a"))
        house.invite(RoomId("!sales:a"), SALES)
        house.held.set()
        await house.clock.turn(FIRST_LOOK)
        house.open.remove(RoomId("!joined:a"))  # pushed, and joined
        house.invite(RoomId("!new:a"))  # being pushed
        assert house.taken == []
        await house.clock.turn(2 * SETTLING)
        assert house.of == [RoomId("!lost:a"), RoomId("!sales:a")]
        house.open.remove(RoomId("!new:a"))
        await house.clock.turn(ALL_LOOKS)
        assert len(house.taken) == 2


@pytest.mark.asyncio
async def test_invitation_made_while_the_bridge_was_down_is_found() -> None:
    house = House()
    async with house.looked_after():
        await house.clock.turn(FIRST_LOOK)
    house.invite(ROOM)
    async with house.looked_after():
        await house.clock.turn(FIRST_LOOK + SETTLING)
        assert house.of == [ROOM]


@pytest.mark.asyncio
async def test_invitations_are_looked_for_while_all_is_well() -> None:
    house = House()
    async with house.looked_after():
        await house.clock.turn(ALL_LOOKS)
        house.invite(ROOM)
        await house.clock.turn(QUIET + SETTLING)
        assert house.of == [ROOM]


@pytest.mark.asyncio
async def test_invitation_that_could_not_be_stored_is_found_by_a_later_look() -> None:
    house = House()
    async with house.looked_after():
        await house.clock.turn(FIRST_LOOK)
        house.invite(ROOM)
        house.trouble.append(StoreError("away"))
        with capture_logs() as logs:
            await house.clock.turn(LOOKS[1] + 2 * SETTLING)
        assert [line["user"] for line in logs if "could not be read" in line["event"]] == [BOT]
        assert house.of == []
        await house.clock.turn(LOOKS[2] + 2 * SETTLING)
        assert house.of == [ROOM]


@pytest.mark.asyncio
@pytest.mark.parametrize("code", ["M_FORBIDDEN", "M_UNRECOGNIZED", "M_RESOURCE_LIMIT_EXCEEDED"])
async def test_sync_token_is_kept_when_sync_is_refused_for_another_reason(code: str) -> None:
    """By a worker that does not serve it, say."""
    house = House()
    async with house.looked_after():
        await house.clock.turn(ALL_LOOKS)
        noted, house.refusal = dict(house.noted), Refused(code)
        await house.clock.turn(2 * QUIET)
        assert house.noted == noted
        lost = house.event()
        house.refusal = None
        await house.clock.turn(QUIET)
        assert house.taken == [lost]


@pytest.mark.asyncio
async def test_refused_first_look_does_not_drop_a_later_sync_token() -> None:
    house = House()
    async with house.looked_after():
        house.refusal = Refused("M_UNKNOWN", "Invalid stream token")
        await house.clock.turn(FIRST_LOOK)
        house.refusal = None
        await house.clock.turn(ALL_LOOKS + QUIET)
        lost = house.event()
        await house.clock.turn(QUIET)
        assert house.taken == [lost]


@pytest.mark.asyncio
@pytest.mark.parametrize("code", ["M_UNKNOWN", "M_INVALID_PARAM"])
async def test_refused_sync_token_is_dropped(code: str) -> None:
    """The homeserver has another database (Synapse 1.163: M_UNKNOWN)."""
    house = House()
    async with house.looked_after():
        await house.clock.turn(FIRST_LOOK)
        house.refusal = Refused(code, "Invalid stream token")
        await house.clock.turn(LOOKS[1])
        assert {house.noted[name] for name in house.noted if "@" in name} == {""}
        house.refusal = None
        await house.clock.turn(LOOKS[2])
        house.invite(ROOM)
        await house.clock.turn(QUIET + SETTLING)
        assert house.of == [ROOM]


@pytest.mark.asyncio
async def test_sync_token_is_kept_when_sync_is_unavailable() -> None:
    house = House()
    async with house.looked_after():
        await house.clock.turn(FIRST_LOOK)
        house.slow = True
        house.invite(ROOM)
        lost = house.event(OTHER)
        await house.clock.turn(ALL_LOOKS)
        assert house.taken == []
        assert not house.outage.is_set()
        house.slow = False
        await house.clock.turn(LOOKS[-1] + SETTLING)
        assert house.of == [ROOM]
        assert lost in house.taken
