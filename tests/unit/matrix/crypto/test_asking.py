from __future__ import annotations

import asyncio

import pytest

from bridge.matrix.crypto import crypto
from bridge.matrix.crypto.crypto import Crypto
from bridge.matrix.crypto.wire import Json
from bridge.rooms.ports import Refused, Undecryptable
from tests.unit.matrix.crypto.test_places import Rooms
from tests.unit.matrix.crypto.world import (
    ALICE,
    AWAY,
    BOT,
    QUEUE,
    ROOM,
    USERS,
    Clock,
    FakeServer,
    Phone,
    World,
    new_vault,
)

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "AFTER", 0.0)
    monkeypatch.setattr(crypto, "CATCHING_UP", 0.0)


class House:
    """A bridge with two hosts, whose devices a test creates, and a phone."""

    def __init__(self) -> None:
        self.world, self.rooms, self.clock = World(), Rooms(), Clock()
        server = FakeServer(self.world)
        self.crypto = Crypto(server, self.rooms, USERS, new_vault(), self.clock)
        self.phone = Phone(self.world)

    async def ask(self, raw: Json, now: int = 0) -> None:
        self.clock.ms = now
        found = await self.crypto.open(raw, 0.0)
        assert found == Undecryptable("unreadable.no_key", later=True)

    def asked(self, device_id: str) -> list[Json]:
        return [event for _, event in self.world.mailboxes.get((ALICE, device_id), [])]


async def test_sending_device_gets_one_key_request_of_each_ready_host() -> None:
    house = House()
    await house.crypto.upkeep.begin()
    await house.crypto.ensure(BOT)
    keys: Json = {"device_id": "PHONE", "sender_key": "curve"}
    raw = house.phone.say("x", outside=keys)
    await house.ask(raw)
    await house.ask(house.phone.say("y", "$2", outside=keys))  # of the same session
    (event,) = house.asked("PHONE")
    device = house.crypto.upkeep.device_id
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


async def test_unanswered_key_request_is_repeated_after_a_minute() -> None:
    """The answer may have been undecryptable."""
    house = House()
    await house.crypto.upkeep.begin()
    await house.crypto.ensure(BOT)
    for now, count in ((0, 1), (59_999, 1), (60_000, 2), (1, 3)):  # at last the clock goes back
        await house.ask(house.phone.say("x"), now)
        assert len(house.asked("*")) == count


async def test_all_devices_get_a_key_request_if_the_event_names_none() -> None:
    house = House()
    await house.crypto.upkeep.begin()
    for host in (BOT, QUEUE):
        await house.crypto.ensure(host)
    await house.ask(house.phone.say("x"))
    assert [event["sender"] for event in house.asked("*")] == [BOT, QUEUE]


async def test_host_whose_device_must_be_read_again_sends_key_requests() -> None:
    house = House()
    await house.crypto.upkeep.begin()
    await house.crypto.ensure(BOT)
    with pytest.raises(asyncio.CancelledError):
        async with house.crypto.upkeep.holding(BOT):
            raise asyncio.CancelledError
    await house.ask(house.phone.say("x"))
    assert [event["sender"] for event in house.asked("*")] == [BOT]


@pytest.mark.parametrize("failure", [AWAY, Refused("M_UNKNOWN")])
async def test_failed_key_request_changes_nothing(failure: Exception) -> None:
    house = House()
    await house.crypto.upkeep.begin()
    await house.crypto.ensure(BOT)
    house.world.fails["send_to_devices"] = failure
    await house.ask(house.phone.say("x"))
    assert house.asked("*") == []
