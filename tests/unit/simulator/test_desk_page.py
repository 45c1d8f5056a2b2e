"""The view of a desk in the browser."""

from __future__ import annotations

from bridge.simulator.simulator import view
from tests.unit.simulator.centres import Phone, chatting, make_centre, perform


def test_waiting_customers_and_their_waiting_time() -> None:
    centre = make_centre(queue_names={"7": "Sales"})
    phone = Phone(centre).at(10)
    phone.queue(7)
    (waiting,) = rows(view(centre, 0, 25)["waiting"])
    assert waiting == {
        "id": 9001,
        "login": "ada",
        "name": "ada",
        "linked": True,
        "queueId": 7,
        "queue_name": "Sales",
        "from": "APP",
        "place": 1,
        "waited": 15,
        "wanted": "",
        "sessionId": None,
    }


def rows(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list)
    return value


def test_typing_and_its_preview_until_the_message_comes() -> None:
    centre = make_centre(dialect="2019")
    phone, session = chatting(centre)
    phone.at(10).send(112, sessionId=session, content="my par")
    shown = rows(view(centre, 0, 12)["sessions"])[0]
    assert (shown["typed"], shown["preview"]) == (2, "my par")
    phone.send(110, sessionId=session, msg={"type": 1, "content": {"text": "my parcel"}})
    shown = rows(view(centre, 0, 12)["sessions"])[0]
    assert (shown["typed"], shown["preview"]) == (None, "")


def test_preview_of_an_ended_session_is_not_shown_in_the_next() -> None:
    centre = make_centre(dialect="2019")
    phone, session = chatting(centre)
    phone.at(10).send(112, sessionId=session, content="my par")
    perform(centre, {"op": "close"})
    chatting(centre)
    ended, shown = rows(view(centre, 0, 12)["sessions"])
    assert (ended["typed"], ended["preview"]) == (None, "")
    assert (shown["typed"], shown["preview"]) == (None, "")


def test_ended_sessions_stay_for_a_while() -> None:
    centre = make_centre()
    chatting(centre)
    perform(centre, {"op": "close"})
    shown = rows(view(centre, 0, 1)["sessions"])[0]
    assert (shown["open"], shown["ended_by"], shown["typed"]) == (False, "agent", None)


def test_entries_are_listed_once_and_in_order() -> None:
    centre = make_centre()
    phone, session = chatting(centre)
    phone.text(session, "hi")
    perform(centre, {"op": "say", "text": "hello"})
    perform(centre, {"op": "typing"})
    perform(centre, {"op": "conference", "to": "A00002"})
    perform(centre, {"op": "leave"})
    perform(centre, {"op": "push_rating"})
    phone.send(104, sessionId=session, rating={"id": 1, "comments": "ok"})
    perform(centre, {"op": "close"})
    seen = view(centre, 0, 1)
    kinds = [(entry["side"], entry["kind"]) for entry in rows(seen["entries"])]
    assert kinds == [
        ("event", "waiting"),
        ("event", "accepted"),
        ("customer", "text"),
        ("agent", "text"),
        ("event", "joined"),
        ("event", "left"),
        ("event", "rating_pushed"),
        ("event", "rated"),
        ("event", "closed"),
    ]
    assert seen["last"] == 9
    assert rows(view(centre, 9, 1)["entries"]) == []
