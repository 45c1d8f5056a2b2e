from __future__ import annotations

import pytest

from bridge.matrix.crypto.crypto import KeyRequests
from bridge.matrix.crypto.devices import Continuity, Upkeep
from bridge.matrix.crypto.keys import sealed_of
from bridge.matrix.crypto.wire import Json
from bridge.rooms.ports import Refused
from tests.unit.matrix.crypto.world import (
    ALICE,
    AWAY,
    BOT,
    GHOST,
    ROOM,
    Clock,
    FakeServer,
    Phone,
    World,
    deaf,
    new_vault,
)

pytestmark = pytest.mark.asyncio


class House:
    """Two hosts, one of which has its device already."""

    def __init__(self) -> None:
        self.world, vault = World(), new_vault()
        self.server = FakeServer(self.world)
        self.upkeep = Upkeep(vault, self.server, Continuity(vault, self.server, BOT, Clock()), deaf)
        self.requests = KeyRequests(self.server, self.upkeep, [BOT, GHOST])
        self.phone = Phone(self.world)

    async def ask(self, raw: Json, now: int = 0) -> None:
        sealed = sealed_of(raw)
        assert sealed is not None
        await self.requests.send(raw, sealed, now)

    def asked(self, device_id: str) -> list[Json]:
        return [event for _, event in self.world.mailboxes.get((ALICE, device_id), [])]


async def test_the_device_that_wrote_is_asked_once_by_each_host_that_is_there() -> None:
    house = House()
    await house.upkeep.begin()
    await house.upkeep.ensure(BOT)
    keys: Json = {"device_id": "PHONE", "sender_key": "curve"}
    raw = house.phone.say("x", outside=keys)
    await house.ask(raw)
    await house.ask(house.phone.say("y", "$2", outside=keys))  # of the same session
    (event,) = house.asked("PHONE")
    device = house.upkeep.device_id
    session = house.phone.group.session_id
    assert event == {
        "type": "m.room_key_request",
        "sender": BOT,
        "content": {
            "action": "request",
            "requesting_device_id": device,
            "request_id": f"{device}.{session}",
            "body": {
                "algorithm": "m.megolm.v1.aes-sha2",
                "room_id": ROOM,
                "session_id": session,
                "sender_key": "curve",
            },
        },
    }


async def test_a_key_whose_answer_was_lost_is_asked_for_again() -> None:
    """What came could not be read, say; whoever writes again must not wait for ever."""
    house = House()
    await house.upkeep.begin()
    await house.upkeep.ensure(BOT)
    for now, count in ((0, 1), (59_999, 1), (60_000, 2), (1, 3)):  # at last the clock goes back
        await house.ask(house.phone.say("x"), now)
        assert len(house.asked("*")) == count


async def test_all_devices_are_asked_where_the_event_names_none() -> None:
    house = House()
    await house.upkeep.begin()
    for host in (BOT, GHOST):
        await house.upkeep.ensure(host)
    await house.ask(house.phone.say("x"))
    assert [event["sender"] for event in house.asked("*")] == [BOT, GHOST]


@pytest.mark.parametrize("failure", [AWAY, Refused("M_UNKNOWN")])
async def test_a_failure_is_no_failure(failure: Exception) -> None:
    house = House()
    await house.upkeep.begin()
    await house.upkeep.ensure(BOT)
    house.world.fails["send_to_devices"] = failure
    await house.ask(house.phone.say("x"))
    assert house.asked("*") == []
