"""Pushes that nobody received."""

from bridge.simulator import delivery
from bridge.simulator.outgoing import Send
from bridge.simulator.state import CallCentre, Customer
from tests.unit.simulator.centres import Phone, chatting, join, make_centre


def push(centre: CallCentre, mark: int, now: float = 0) -> Send | None:
    return delivery.outbound(centre, Send("ada", {"type": 210, "mark": mark}), now)


def opened(centre: CallCentre, customer: Customer, now: float = 0) -> list[object]:
    customer.linked = True
    return [send.frame.get("mark") for send in delivery.on_open(centre, customer, now)]


def test_without_a_socket_a_push_is_lost() -> None:
    centre = make_centre()
    customer = join(centre, linked=False)
    assert push(centre, 1) is None
    assert (customer.history.lost_pushes, opened(centre, customer)) == (1, [])


def test_or_kept_for_the_next_socket_once() -> None:
    centre = make_centre(missed_pushes="kept")
    customer = join(centre, linked=False)
    push(centre, 1)
    push(centre, 2)
    assert opened(centre, customer) == [1, 2]
    assert opened(centre, customer) == []


def test_a_reply_dies_with_its_socket() -> None:
    centre = make_centre(missed_pushes="kept", receipts=True)
    customer = join(centre, linked=False)
    reply = Send("ada", {"type": 110, "result": 1})
    assert delivery.outbound(centre, reply, 0) is None
    delivery.missed(centre, reply)
    assert (customer.pending, customer.history.lost_pushes) == ({}, 0)


def test_receipts_number_pushes_and_repeat_them_until_120() -> None:
    centre = make_centre(receipts=True, resend_seconds=3, max_resends=2)
    phone = Phone(centre)
    sent = push(centre, 1)
    assert sent is not None
    assert sent.frame == {"type": 210, "mark": 1, "rsId": "rs-1"}

    def repeats(now: float) -> int:
        return len(delivery.due_again(centre, phone.customer, now))

    assert [repeats(2.9), repeats(3), repeats(5.9), repeats(6), repeats(9)] == [0, 1, 0, 1, 0]
    assert opened(centre, phone.customer) == [1]
    phone.send(120, rsId="rs-1")
    assert opened(centre, phone.customer) == []


def test_a_numbered_push_that_was_not_written_is_still_pending() -> None:
    centre = make_centre(receipts=True)
    customer = join(centre)
    sent = push(centre, 1)
    assert sent is not None
    delivery.missed(centre, sent)
    assert (list(customer.pending), customer.history.lost_pushes) == (["rs-1"], 0)


def test_only_so_many_are_kept() -> None:
    centre = make_centre(missed_pushes="kept", max_pending=2)
    customer = join(centre, linked=False)
    for mark in (1, 2, 3):
        push(centre, mark)
    assert customer.history.lost_pushes == 1
    assert opened(centre, customer) == [2, 3]


def test_a_session_can_be_told_again_to_a_new_socket() -> None:
    centre = make_centre(resume_push=True)
    phone, session = chatting(centre)
    (again,) = delivery.on_open(centre, phone.customer, 0)
    assert (again.frame["type"], again.frame["sessionId"]) == (202, session)
    assert again.frame["continueLastSession"] is True
