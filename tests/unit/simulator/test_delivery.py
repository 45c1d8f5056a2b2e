"""Pushes that no customer received, receipts, and what a new socket gets."""

import pytest

from bridge.simulator import desk
from bridge.simulator.state import CallCentre, Customer, Send, Wire
from tests.unit.simulator.centres import Phone, chatting, frames, join, make_centre


def push(centre: CallCentre, mark: int, now: float = 0) -> Send | None:
    return desk.outbound(centre, Send("ada", {"type": 210, "mark": mark}), now)


def opened(centre: CallCentre, customer: Customer, now: float = 0) -> list[object]:
    customer.linked = True
    return [frame.get("mark") for frame in greeted(centre, customer, now)]


def greeted(centre: CallCentre, customer: Customer, now: float = 0) -> list[Wire]:
    """Return the first frames for a new socket, as they are written."""
    news = [one for one in desk.on_open(centre, customer, now) if isinstance(one, Send)]
    return frames([send for one in news if (send := desk.outbound(centre, one, now))])


def test_without_a_socket_a_push_is_lost() -> None:
    centre = make_centre()
    customer = join(centre, linked=False)
    assert push(centre, 1) is None
    assert (customer.lost_pushes, opened(centre, customer)) == (1, [])


def test_push_can_be_kept_for_the_next_socket() -> None:
    centre = make_centre(missed_pushes="kept")
    customer = join(centre, linked=False)
    push(centre, 1)
    push(centre, 2)
    assert opened(centre, customer) == [1, 2]
    assert opened(centre, customer) == []


def test_reply_is_lost_with_its_socket() -> None:
    centre = make_centre(missed_pushes="kept", receipts=True)
    customer = join(centre, linked=False)
    reply = Send("ada", {"type": 110, "result": 1})
    assert desk.outbound(centre, reply, 0) is None
    desk.missed(centre, reply)
    assert (customer.pending, customer.lost_pushes) == ({}, 0)


def test_receipts_number_pushes_and_repeat_them_until_120() -> None:
    centre = make_centre(receipts=True, resend_seconds=3, max_resends=2)
    phone = Phone(centre)
    sent = push(centre, 1)
    assert sent is not None
    assert sent.frame == {"type": 210, "mark": 1, "rsId": "rs-1"}

    def repeats(now: float) -> int:
        return len(desk.due_again(centre, now))

    assert [repeats(2.9), repeats(3), repeats(5.9), repeats(6), repeats(9)] == [0, 1, 0, 1, 0]
    assert opened(centre, phone.customer) == [1]
    phone.send(120, rsId="rs-1")
    assert opened(centre, phone.customer) == []


def test_a_numbered_push_that_was_not_written_is_still_pending() -> None:
    centre = make_centre(receipts=True)
    customer = join(centre)
    sent = push(centre, 1)
    assert sent is not None
    desk.missed(centre, sent)
    assert (list(customer.pending), customer.lost_pushes) == (["rs-1"], 0)


def test_number_of_kept_pushes_is_limited() -> None:
    centre = make_centre(missed_pushes="kept", max_pending=2)
    customer = join(centre, linked=False)
    for mark in (1, 2, 3):
        push(centre, mark)
    assert customer.lost_pushes == 1
    assert opened(centre, customer) == [2, 3]


def test_session_can_be_pushed_again_to_a_new_socket() -> None:
    centre = make_centre(resume_push=True)
    phone, session = chatting(centre)
    (again,) = greeted(centre, phone.customer)
    assert (again["type"], again["sessionId"]) == (202, session)
    assert again["continueLastSession"] is True


@pytest.mark.parametrize(
    ("options", "lists"),
    [
        ({}, {"agents"}),
        ({"dialect": "2019"}, {"users"}),
        ({"people": "users"}, {"users"}),
        ({"dialect": "2019", "people": "both"}, {"agents", "users"}),
    ],
)
def test_people_listed_in_a_202(options: dict[str, object], lists: set[str]) -> None:
    """The phone clients of 2020 read `agents` of a server whose guide says `users`."""
    phone = Phone(make_centre(**options, script="accept"))
    (started,) = [one for one in frames(phone.queue()) if one["type"] == 202]
    assert {"agents", "users"} & set(started) == lists


def test_position_can_have_a_text_of_the_call_centre() -> None:
    """The HTTP guide of 2020: in the reply, in each 201, and not once nobody waits."""
    centre = make_centre(place_words="No. {place}", request_id_in_reply=True)
    phone = Phone(centre)
    reply, waiting = frames(phone.queue())
    assert (reply["positionInQueueMessage"], waiting["message"]) == ("No. 1", "No. 1")
    _, ended = frames(phone.send(102, requestId=waiting["requestId"]))
    assert "message" not in ended


def test_a_later_server_greets_with_200_and_the_former_sessions() -> None:
    centre = make_centre(dialect="2019", allowed_extensions=["zip", "png"])
    phone, session = chatting(centre)
    phone.send(103, sessionId=session)
    (greeting,) = greeted(centre, phone.customer)
    assert greeting == {
        "type": 200,
        "ratings": [{"ratingId": 1, "name": "满意"}, {"ratingId": 0, "name": "不满意"}],
        "fileAcceptExtensionsArr": "zip,png",
        "hisSessions": [session],
        "rsId": "rs-1",
    }
    assert list(phone.customer.pending) == ["rs-1"]


@pytest.mark.parametrize(
    ("options", "numbered"),
    [
        ({"dialect": "2019"}, [200, 201, 202, 203, 204, 205, 210]),
        ({"dialect": "2019", "revision": "R3"}, [200, 201, 202, 203, 204, 205, 210]),
        ({"dialect": "2019", "revision": "R2"}, [210]),
        ({"dialect": "2019", "receipts": False}, []),
        ({"dialect": "2016"}, []),
    ],
)
def test_which_pushes_carry_an_rs_id(options: dict[str, object], numbered: list[int]) -> None:
    centre = make_centre(**options)
    join(centre)
    found = []
    for kind in (200, 201, 202, 203, 204, 205, 210, 301):
        sent = desk.outbound(centre, Send("ada", {"type": kind}), 0)
        assert sent is not None
        if "rsId" in sent.frame:
            found.append(kind)
    assert found == numbered


def test_a_script_can_name_the_rs_id_itself() -> None:
    centre = make_centre(dialect="2019")
    customer = join(centre)
    sent = desk.outbound(centre, Send("ada", {"type": 299, "rsId": "own"}), 0)
    assert sent is not None
    assert (sent.frame["rsId"], customer.pending) == ("own", {})
