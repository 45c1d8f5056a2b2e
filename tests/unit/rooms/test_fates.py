"""What a room remembers of messages that arrived, and of those that did not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.conversation.model import Delivered, Reported, Say
from bridge.ids import EventId, RoomId
from bridge.rooms import visit as fates
from bridge.rooms.effects import Effect
from bridge.rooms.record import RoomRecord, Undelivered
from bridge.rooms.visit import KEPT_UNDELIVERED, can_be_sent_again
from tests.unit.rooms.visits import RULES

EMPTY = RoomRecord(RoomId("!room:example.org"))
A, B, C = EventId("$a"), EventId("$b"), EventId("$c")


def refused(event_id: EventId) -> Reported:
    return Reported(event_id, "undelivered.refused", {"code": -14})


def noted(record: RoomRecord, effect: Effect) -> RoomRecord:
    visit = fates.Visit(record, RULES, 0)
    visit.add(effect)
    return visit.record


def after(*effects: Effect) -> RoomRecord:
    record = EMPTY
    for effect in effects:
        record = noted(record, effect)
    return record


def test_the_newest_delivered_message_is_read_up_to() -> None:
    assert after(Say("x")).read_up_to is None
    assert after(Delivered(A), Delivered(B)).read_up_to == B
    assert after(Delivered(A), refused(B)).read_up_to == A


def test_undelivered_messages_that_may_be_sent_again_are_remembered() -> None:
    assert after(refused(A), refused(B)).undelivered == (Undelivered(A), Undelivered(B))
    assert after(Reported(A, "undelivered.blank")).undelivered == ()
    assert after(refused(A), Reported(A, "result.-21")).undelivered == ()
    many = after(*(refused(EventId(f"${n}")) for n in range(KEPT_UNDELIVERED + 3)))
    assert len(many.undelivered) == KEPT_UNDELIVERED
    assert many.undelivered[0].event_id == "$3"


def test_which_failures_offer_sending_again() -> None:
    again = {"undelivered.expired", "result.-13", "unreadable.no_key"}
    again |= {"unreadable.unknown_device"}
    never = {"undelivered.too_big", "result.-16", "unreadable.kind", "refused.permission"}
    never |= {"unreadable.withheld.other", "unreadable.withheld.unverified"}
    never |= {"unreadable.undecryptable"}
    never |= {"undelivered.media_changed", "undelivered.too_big_limit"}
    assert {key for key in again | never if can_be_sent_again(key)} == again


def test_a_message_sent_again_that_arrives_is_read_if_it_is_the_newest() -> None:
    record = fates.sent_again(after(Delivered(A), refused(B)), B)
    assert record.undelivered == (Undelivered(B, again=True),)
    record = noted(record, Delivered(B))
    assert (record.read_up_to, record.undelivered) == (B, ())


def test_a_receipt_never_goes_back_to_a_message_sent_again() -> None:
    record = fates.sent_again(after(refused(A), Delivered(B)), A)
    record = noted(record, Delivered(A))
    assert (record.read_up_to, record.undelivered) == (B, ())


def test_all_messages_sent_again_are_read_not_only_the_oldest() -> None:
    record = after(refused(A), refused(B))
    for event_id in (A, B):
        record = noted(fates.sent_again(record, event_id), Delivered(event_id))
    assert (record.read_up_to, record.undelivered) == (B, ())


def test_a_message_that_fails_again_can_be_sent_again() -> None:
    record = fates.sent_again(after(refused(A), Delivered(B)), A)
    assert noted(record, refused(A)).undelivered == (Undelivered(A, passed=True),)


def test_forgetting_an_unknown_message_changes_nothing() -> None:
    record = after(refused(A))
    assert fates.forgotten(record, C) is record
    assert fates.undelivered(record, None) is None


@given(
    st.lists(
        st.tuples(st.sampled_from(["deliver", "refuse", "again"]), st.integers(0, 9)), max_size=40
    )
)
def test_the_receipt_only_moves_forward(moves: list[tuple[str, int]]) -> None:
    """Each message settles once in the order of the room; after that it may be sent again."""
    record, settled = EMPTY, -1
    for move, number in moves:
        event_id = EventId(f"${number}")
        before = record.read_up_to
        if move == "again":
            if fates.undelivered(record, event_id) is None:
                continue
            record = noted(fates.sent_again(record, event_id), Delivered(event_id))
        elif number == settled + 1:
            settled = number
            effect = Delivered(event_id) if move == "deliver" else refused(event_id)
            record = noted(record, effect)
        if before is not None and record.read_up_to is not None:
            assert int(record.read_up_to[1:]) >= int(before[1:])
        refused_now = {one.event_id for one in record.undelivered}
        assert record.read_up_to not in refused_now
