"""A room's record survives storage, and a newer one is not misread."""

from __future__ import annotations

import msgspec
import pytest

from bridge.ids import RoomId
from bridge.rooms.record import RECORD_VERSION, RoomRecord, dump_record, load_record
from tests.unit.rooms.visits import House


def test_round_trip() -> None:
    house = House().served()
    house.say("hello")
    house.invite()
    assert load_record(dump_record(house.record)) == house.record


def test_round_trip_of_parked_events() -> None:
    house = House()
    house.invite()
    house.say("hello")
    assert house.record.parked
    assert load_record(dump_record(house.record)) == house.record


def test_a_row_of_an_older_layout() -> None:
    assert load_record(b'{"is":"RoomRecord","room_id":"!a:b"}') == RoomRecord(RoomId("!a:b"))


def test_a_row_of_a_newer_version_is_refused() -> None:
    newer = RoomRecord(RoomId("!a:b"), version=RECORD_VERSION + 1)
    with pytest.raises(ValueError, match="version 2, this bridge reads 1"):
        load_record(dump_record(newer))


@pytest.mark.parametrize("row", [b"", b"[]", b'{"is":"Idle"}', b'{"is":"RoomRecord"}'])
def test_a_row_that_is_no_record(row: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        load_record(row)
