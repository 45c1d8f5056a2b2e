"""A room's record survives storage, and a newer one is not misread."""

from __future__ import annotations

import msgspec
import pytest

from bridge.conversation.model import (
    Chatting,
    Conversation,
    CustomerText,
    Held,
    Outstanding,
    Phase,
    Queued,
    Replied,
    Upload,
)
from bridge.ids import CallId, EffectSeq, EventId, InputSeq, QueueId, RoomId, SessionId
from bridge.rooms.record import RECORD_VERSION, RoomRecord, dump_input, dump_record, load_record
from bridge.rooms.store import EffectRow, InputRow, Lane, Loaded
from bridge.rooms.visit import after_success, recovered
from bridge.webchat.frames import Reply, SendMessage, Text
from tests.unit.rooms.desks import IMAGE
from tests.unit.rooms.visits import House

ROOM, CALL, SESSION = RoomId("!a:b"), CallId(7), SessionId(5)
CHAT = Chatting(SESSION, 0, QueueId(1))


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


def test_a_row_of_an_older_layout_is_read() -> None:
    assert load_record(b'{"is":"RoomRecord","room_id":"!a:b"}') == RoomRecord(RoomId("!a:b"))


def test_a_row_of_a_newer_version_is_refused() -> None:
    newer = RoomRecord(RoomId("!a:b"), version=RECORD_VERSION + 1)
    with pytest.raises(ValueError, match="version 2, newer than this bridge"):
        load_record(dump_record(newer))


@pytest.mark.parametrize("row", [b"", b"[]", b'{"is":"Idle"}', b'{"is":"RoomRecord"}'])
def test_a_row_that_is_no_record_is_refused(row: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        load_record(row)


def asked(
    phase: Phase = CHAT, *, last: bool = True, upload: bool = False, stale: bool = False
) -> RoomRecord:
    """A room whose message is under way."""
    held = Held(EventId("$e"), CustomerText("hello"), 0, last=last)
    call = Outstanding(CALL, SendMessage(SESSION, Text("hello")), held, stale=stale)
    if upload:
        call = Outstanding(CALL, Upload(IMAGE))
    return RoomRecord(ROOM, conversation=Conversation(phase, outstanding=call))


@pytest.mark.parametrize(("last", "read"), [(True, EventId("$e")), (False, None)])
def test_a_successful_message_is_settled(last: bool, read: EventId | None) -> None:
    """No call is outstanding any more; an event is read with the last of its parts."""
    after = RoomRecord(ROOM, conversation=Conversation(CHAT), read_up_to=read)
    assert after_success(asked(last=last)) == after


@pytest.mark.parametrize(
    "record",
    [RoomRecord(ROOM), asked(upload=True), asked(Queued(QueueId(1), 0)), asked(stale=True)],
)
def test_states_in_which_no_message_can_be_assumed_successful(record: RoomRecord) -> None:
    assert after_success(record) is None
    assert recovered(record, Loaded(None, [], [])) is record


def test_a_call_without_open_row_or_stored_reply_was_successful() -> None:
    """An open row means no success yet; a reply stored as an input tells its own result."""
    record = asked()
    waits = dump_input(Replied(CALL, Reply(110, -1)))
    foreign = dump_input(Replied(CallId(6), Reply(110, -1)))
    row = EffectRow(EffectSeq(1), ROOM, Lane.WEBCHAT, b"", 0, call_id=CALL)

    def read(*inputs: bytes, rows: tuple[EffectRow, ...] = ()) -> RoomRecord:
        came = [InputRow(InputSeq(number), ROOM, body, 0) for number, body in enumerate(inputs)]
        return recovered(record, Loaded(None, came, rows))

    assert read(rows=(row,)) is record
    assert read(foreign, waits) is record
    assert read(foreign, b"{}") == read() == after_success(record)
