"""Commands: what they change, their replies and pushes, and what is recorded."""

from __future__ import annotations

import pytest

from bridge.simulator.state import HangUp, shown
from tests.unit.simulator.centres import (
    WALL_MS,
    Phone,
    chatting,
    codes,
    frames,
    make_centre,
    perform,
)


def test_a_request_waits_and_learns_its_number_from_201_only() -> None:
    phone = Phone(make_centre())
    reply, status = frames(phone.queue())
    assert reply == {"messageId": 1, "type": 101, "result": 1, "message": ""}
    assert status == {"type": 201, "requestId": 9001, "requestStatus": 0, "queueLength": 1}


def test_the_rich_reply_carries_number_and_place() -> None:
    centre = make_centre(request_id_in_reply=True)
    Phone(centre, "first").queue()
    reply = frames(Phone(centre, "second").queue())[0]
    assert (reply["requestId"], reply["queueLength"]) == (9002, 2)


def test_positions_are_per_queue_and_pushed_again_when_they_change() -> None:
    centre = make_centre()
    first, second, other = (Phone(centre, name) for name in ("first", "second", "other"))
    first.queue(1)
    assert frames(second.queue(1))[1]["queueLength"] == 2
    assert frames(other.queue(2))[1]["queueLength"] == 1
    moved = frames(first.send(102, requestId=9001))
    assert [(frame["type"], frame.get("requestStatus")) for frame in moved] == [
        (102, None),
        (201, 7),
        (201, 0),
    ]
    assert (moved[2]["requestId"], moved[2]["queueLength"]) == (9002, 1)


@pytest.mark.parametrize("rich", [False, True])
def test_a_second_request_is_refused_while_waiting_and_while_chatting(rich: bool) -> None:
    centre = make_centre(request_id_in_reply=rich)
    phone = Phone(centre)
    phone.queue()
    waiting = phone.queue()
    assert codes(waiting) == [(101, -1)]
    assert ("requestId" in frames(waiting)[0]) is rich
    perform(centre, {"op": "accept"})
    busy = phone.queue()
    assert codes(busy) == [(101, -2)]
    assert ("sessionId" in frames(busy)[0]) is rich


@pytest.mark.parametrize(
    ("options", "code"),
    [({"queues": [1, 2]}, -7), ({"open_hours": False}, -3), ({"agents": []}, -5)],
)
def test_requests_that_nobody_could_serve(options: dict[str, object], code: int) -> None:
    phone = Phone(make_centre(**options))
    assert codes(phone.queue()) == [(101, code)]
    assert phone.customer.request is None


def test_an_agent_asked_for_by_name_must_be_online() -> None:
    phone = Phone(make_centre(script="accept"))
    asked = {"queueId": 1, "from": "APP"}
    assert codes(phone.send(101, **asked, toUserId="nobody")) == [(101, -9)]
    started = frames(phone.send(101, **asked, toUserId="A00002"))[1]
    assert started["agents"] == [
        {
            "id": "A00002",
            "name": "Jun",
            "icon": "http://desk.test/webchat/icon/A00002.png",
            "comments": "team lead",
        }
    ]


def test_scripted_agents_accept_at_once_and_share_the_work() -> None:
    centre = make_centre(script="accept")
    sessions = [frames(Phone(centre, name).queue())[1] for name in ("a", "b", "c")]
    agents = [session["agents"] for session in sessions]
    assert [people[0]["id"] for people in agents if isinstance(people, list)] == [
        "A00001",
        "A00002",
        "A00001",
    ]


def test_pre_messages_reach_the_agent_who_accepts() -> None:
    centre = make_centre()
    phone = Phone(centre)
    phone.queue()
    assert codes(phone.send(111, requestId=9001, content="order 4711")) == [(111, 1)]
    assert phone.customer.messages[0]["sessionId"] is None
    perform(centre, {"op": "accept"})
    assert phone.customer.messages[0]["sessionId"] == 5001


def test_ended_request_is_refused_by_102_and_111() -> None:
    centre = make_centre()
    phone, _ = chatting(centre)
    assert codes(phone.send(102, requestId=9001)) == [(102, -10)]
    assert codes(phone.send(111, requestId=9001, content="x")) == [(111, -10)]
    assert phone.customer.refused == [{"messageId": 3, "type": 111, "result": -10}]


def test_every_refused_message_is_listed() -> None:
    centre = make_centre()
    phone, session = chatting(centre)
    assert codes(phone.text(session, " ")) == [(110, -17)]
    assert codes(phone.send(110, sessionId=session)) == [(110, -14)]
    assert codes(phone.send(111, requestId=9001, content="")) == [(111, -17)]
    assert codes(phone.text(session, "x", token="wrong")) == [(110, -15)]
    assert codes(phone.send(103, sessionId="x")) == [(103, -14)]
    listed = [(one["messageId"], one["result"]) for one in phone.customer.refused]
    assert listed == [(2, -17), (3, -14), (4, -17), (5, -15)]


def test_requests_and_sessions_of_another_customer_are_refused() -> None:
    centre = make_centre()
    _, session = chatting(centre)
    Phone(centre, "bob").queue()
    eve = Phone(centre, "eve")
    assert codes(eve.send(102, requestId=9002)) == [(102, -10)]
    assert codes(eve.text(session, "hi")) == [(110, -11)]
    assert codes(eve.send(103, sessionId=session)) == [(103, -11)]


def test_every_copy_of_a_message_is_recorded_and_marked() -> None:
    phone, session = chatting(make_centre())
    for _ in range(2):
        phone.send(110, sessionId=session, messageId=70, msg={
            "type": 1, "content": {"content": "once", "extra": ""}
        })  # fmt: skip
    phone.text(session, "twice")
    seen = [(entry["text"], entry["repeat"]) for entry in phone.customer.messages]
    assert seen == [("once", False), ("once", True), ("twice", False)]


def test_a_refused_message_is_not_recorded_so_its_resend_is_no_repeat() -> None:
    centre = make_centre()
    phone, session = chatting(centre)
    perform(centre, {"op": "close"})
    assert codes(phone.text(session, "late", messageId=50)) == [(110, -11)]
    phone.queue()
    perform(centre, {"op": "accept"})
    assert codes(phone.text(5002, "late", messageId=50)) == [(110, 1)]
    assert [entry["repeat"] for entry in phone.customer.messages] == [False]


def test_echo_repeats_texts_escaped_and_pre_messages_at_the_start() -> None:
    centre = make_centre(script="hand")
    phone = Phone(centre)
    phone.queue()
    phone.send(111, requestId=9001, content="early")
    centre.options = centre.options.changed({"script": "echo"})
    accepted = frames(perform(centre, {"op": "accept"}).outgoing)
    assert [frame["type"] for frame in accepted] == [202, 210]
    assert accepted[1]["msg"] == {"type": 1, "content": "early"}
    reply, echo = frames(phone.text(5001, 'a < b & "c"'))
    assert reply["result"] == 1
    assert echo["msg"] == {"type": 1, "content": 'a &lt; b &amp; "c"'}
    assert echo["agentId"] == "A00001"


@pytest.mark.parametrize(
    ("msg", "said"),
    [
        (
            {
                "type": 2,
                "content": {"name": "p", "imageUri": "http://h", "thumbData": "", "extra": ""},
            },
            "[image] p",
        ),
        (
            {
                "type": 3,
                "content": {"name": "f", "url": "http://h", "size": 1, "type": "", "extra": ""},
            },
            "[file] f",
        ),
        (
            {
                "type": 4,
                "content": {
                    "poi": "",
                    "longitude": 2.5,
                    "latitude": 1.5,
                    "map": "",
                    "thumbData": "",
                    "extra": "",
                },
            },
            "[location] 1.5,2.5",
        ),
        (
            {"type": 5, "content": {"voiceLength": 2, "voiceData": "IyFBTVI=", "extra": ""}},
            "[voice] 2 s",
        ),
    ],
)
def test_echo_names_contents_other_than_text(msg: dict[str, object], said: str) -> None:
    phone, session = chatting(make_centre(script="echo"))
    assert frames(phone.send(110, sessionId=session, msg=msg))[1]["msg"] == {
        "type": 1,
        "content": said,
    }


def test_a_customer_closes_once() -> None:
    phone, session = chatting(make_centre())
    assert codes(phone.send(103, sessionId=session)) == [(103, 1)]
    assert codes(phone.send(103, sessionId=session)) == [(103, -11)]
    assert codes(phone.text(session, "hello?")) == [(110, -11)]


def test_a_close_can_be_echoed() -> None:
    phone, session = chatting(make_centre(close_echoed=True))
    assert codes(phone.send(103, sessionId=session)) == [(103, 1), (205, None)]


def test_the_last_session_can_be_rated_until_the_next_begins() -> None:
    centre = make_centre()
    phone, session = chatting(centre)
    rating = {"id": 0, "comments": "bad"}
    assert codes(phone.send(104, sessionId=session, rating=rating)) == [(104, 1)]
    perform(centre, {"op": "close"})
    assert codes(phone.send(104, sessionId=session, rating=rating)) == [(104, 1)]
    phone.queue()
    perform(centre, {"op": "accept"})
    assert codes(phone.send(104, sessionId=session, rating=rating)) == [(104, -11)]
    assert [entry["rating"] for entry in phone.customer.ratings] == [0, 0]


@pytest.mark.parametrize("token", ["wrong", ""])
def test_a_wrong_token_changes_nothing(token: str) -> None:
    phone, session = chatting(make_centre())
    assert codes(phone.text(session, "x", token=token)) == [(110, -15)]
    assert phone.customer.messages == []


def test_another_customers_token_is_wrong_too() -> None:
    centre = make_centre()
    phone, session = chatting(centre)
    stolen = next(iter(Phone(centre, "bob").customer.tokens))
    assert codes(phone.text(session, "x", token=stolen)) == [(110, -15)]


def test_tokens_run_out() -> None:
    phone, session = chatting(make_centre(token_lifetime=10))
    assert codes(phone.at(9.9).text(session, "x")) == [(110, 1)]
    assert codes(phone.at(10).text(session, "x")) == [(110, -15)]


def test_logout_ends_everything_and_hangs_up() -> None:
    centre = make_centre()
    first, second = Phone(centre, "first"), Phone(centre, "second")
    first.queue()
    second.queue()
    news = first.send(2)
    assert codes(news) == [(2, 1), (201, 0)]
    assert news[-1] == HangUp("first", 1000)
    assert (first.customer.request, first.customer.tokens) == (None, {})

    phone, session = chatting(centre, "third")
    phone.send(2)
    assert session not in centre.sessions


def test_heartbeats_by_option() -> None:
    phone = Phone(make_centre())
    assert codes(phone.send(10)) == [(10, -12)]
    phone.centre.options = phone.centre.options.changed({"heartbeat": "ok"})
    assert codes(phone.send(10)) == [(10, 1)]
    phone.centre.options = phone.centre.options.changed({"heartbeat": "silent"})
    assert codes(phone.send(10)) == []


def test_receipts_by_option() -> None:
    phone = Phone(make_centre())
    assert codes(phone.send(120, rsId="r")) == [(120, -12)]
    phone.centre.options = phone.centre.options.changed({"receipts": True})
    assert codes(phone.send(120, rsId="r")) == []


def test_nested_status_and_ids_as_strings() -> None:
    phone = Phone(make_centre(nested_status=True, ids_as_strings=True))
    assert frames(phone.queue())[1] == {
        "type": 201,
        "data": {"requestId": "9001", "requestStatus": 0, "queueLength": 1},
    }


def test_unreadable_frame_is_answered_without_a_message_id() -> None:
    phone = Phone(make_centre())
    (reply,) = frames(phone.write("{"))
    assert (reply["type"], reply["result"], "messageId" in reply) == (0, -8, False)


# --- the later guides, and what phone clients met ----------------------------------------------


def test_typing_and_preview_are_noted_for_scripts_and_need_an_open_session() -> None:
    phone, session = chatting(make_centre(dialect="2019"))
    assert codes(phone.send(113, sessionId=session)) == [(113, 1)]
    assert codes(phone.send(112, sessionId=session, content="hel")) == [(112, 1)]
    noted = [(entry["type"], entry["text"]) for entry in phone.customer.signals]
    assert noted == [(113, ""), (112, "hel")]
    for kind in (112, 113, 302):
        assert codes(phone.send(kind, sessionId=1, content="x")) == [(kind, -11)]


def test_a_message_can_find_the_session_whose_202_was_missed() -> None:
    phone, session = chatting(make_centre(session_in_message_reply=True))
    (reply,) = frames(phone.text(1, "where am I?"))
    assert (reply["result"], reply["sessionId"]) == (1, session)
    assert isinstance(reply["agents"], list)
    assert reply["agents"][0]["id"] == "A00001"
    (reply,) = frames(phone.text(session, "there"))
    assert "sessionId" not in reply


def test_a_refused_message_can_come_back() -> None:
    phone = Phone(make_centre(original_in_refusal=True))
    (reply,) = frames(phone.text(1, "lost"))
    assert reply["result"] == -11
    assert reply["originalMessage"] == {
        "objectName": "RC:TxtMsg",
        "content": '{"content": "lost", "extra": ""}',
    }


@pytest.mark.parametrize("answered", [True, False])
def test_receipt_gets_no_reply_unless_configured(answered: bool) -> None:
    phone = Phone(make_centre(dialect="2019", receipt_reply=answered))
    assert codes(phone.send(120, rsId="rs-1")) == ([(120, 1)] if answered else [])


def test_the_later_202_lists_the_customer_among_the_users() -> None:
    centre = make_centre(dialect="2019")
    phone = Phone(centre)
    phone.customer.name = "Ada"
    phone.send(101, queueId=7)
    (started,) = frames(perform(centre, {"op": "accept"}).outgoing)
    assert started["continueLastSession"] is False
    users = started["users"]
    assert isinstance(users, list)
    assert users[0] == {"id": phone.customer.client_id, "name": "Ada", "icon": ""}
    assert (users[1]["id"], len(str(users[0]["id"]))) == ("A00001", 36)
    assert "agents" not in started


def said(phone: Phone) -> dict[str, object]:
    """Return the last entry of the transcript, without the common fields."""
    entry = shown(list(phone.centre.transcript.since(0))[-1])
    for key in ("n", "time", "login", "side", "session"):
        entry.pop(key, None)
    return entry


FAR = "https://cdn.test/a.png"
HOSTED = "http://desk.test/webchat/up/3/%E7%8C%AB.png"
NOWHERE = "http://[desk.test/webchat/up/3/a.png"


@pytest.mark.parametrize(
    ("kind", "content", "wanted"),
    [
        (1, {"content": "hi"}, {"kind": "text", "text": "hi"}),
        (
            2,
            {"name": "a.png", "imageUri": FAR, "thumbData": ""},
            {"kind": "image", "name": "a.png", "url": FAR},
        ),
        (
            2,
            {"name": "猫.png", "imageUri": HOSTED, "thumbData": ""},
            {"kind": "image", "name": "猫.png", "url": HOSTED, "file": "3/猫.png"},
        ),
        (
            2,
            {"name": "a.png", "imageUri": NOWHERE, "thumbData": ""},
            {"kind": "image", "name": "a.png", "url": NOWHERE},
        ),
        (
            3,
            {"name": "a.zip", "url": FAR, "size": 7, "type": "zip"},
            {"kind": "file", "name": "a.zip", "url": FAR, "size": 7},
        ),
        (
            4,
            {"poi": "here", "longitude": 2.5, "latitude": 1.5, "map": "baidu", "thumbData": ""},
            {"kind": "location", "text": "here", "longitude": 2.5, "latitude": 1.5, "map": "baidu"},
        ),
        (
            5,
            {"voiceLength": 2, "voiceData": "IyFBTVI="},
            {"kind": "voice", "seconds": 2.0, "voice": 3},
        ),
    ],
)
def test_recorded_kinds(kind: int, content: dict[str, object], wanted: dict[str, object]) -> None:
    phone, session = chatting(make_centre())
    phone.send(110, sessionId=session, msg={"type": kind, "content": {**content, "extra": ""}})
    assert said(phone) == wanted
    (record,) = phone.customer.messages
    assert (record["kind"], record["time"]) == (wanted["kind"], WALL_MS)


def test_repetition_is_marked_in_transcript_and_record() -> None:
    phone, session = chatting(make_centre())
    phone.text(session, "one", messageId=70)
    phone.text(session, "one", messageId=70)
    assert said(phone)["repeat"] is True
    assert [entry["repeat"] for entry in phone.customer.messages] == [False, True]


def test_records_are_limited_and_dropped_ones_counted() -> None:
    phone, session = chatting(make_centre(keep_records=3))
    for number in range(5):
        phone.text(session, str(number), messageId=100 + number)
    customer = phone.customer
    assert [entry["text"] for entry in customer.messages] == ["2", "3", "4"]
    assert customer.dropped == 2
    assert list(customer.call_ids) == [102, 103, 104]
