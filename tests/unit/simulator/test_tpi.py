"""Login, history and robotSearch (protocol reference 3; its vectors)."""

from __future__ import annotations

import json

import pytest

from bridge.simulator.handlers import log_in, search
from bridge.simulator.operations import BadOpError
from bridge.simulator.options import SimulatorOptions
from bridge.simulator.state import CallCentre, Gate
from bridge.webchat.http import HISTORY
from tests.unit.simulator.centres import WALL_MS, chatting, frames, make_centre, perform

# The two vectors of protocol reference 3.2.
BODY = '{"type":3,"loginName":"room-42","name":"小林","epid":""}'.encode()
SIGN = "89453c6fbca4de09197944045a55b56f"
SPACED = (
    rb'{"type": 3, "loginName": "room-42", "name": "\u5c0f\u6797", "epid": ""}',
    "ed3d4d6bfcee31d4d2fc483131a7fb28",
)


def body(**fields: object) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    "fields",
    [
        {"type": 1, "loginName": "room-42", "password": "", "epid": ""},
        {"type": 3, "loginName": "room-42", "name": "Ada"},
        {"type": 4, "visitorId": "room-42"},
    ],
)
def test_each_kind_of_login_gives_a_token(fields: dict[str, object]) -> None:
    centre = make_centre()
    reply = log_in(centre, body(**fields), None, 0)
    assert reply == {"result": 1, "message": "", "token": "T1", "config": {}}
    holder = centre.holder("T1", 0)
    assert holder is not None
    assert holder.login == "room-42"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"loginName=room-42&type=1", -8),
        (b"", -8),
        (b"\xff", -8),
        (b'{"type":' + b"[" * 4000, -8),
        (b"[]", -14),
        (b'{"loginName":"a"}', -14),
        (body(type=1, loginName="a", epid=""), -14),
        (body(type=1, loginName="a", password="", epid=5), -14),
        (body(type=3, loginName=""), -14),
        (body(type=4), -14),
        (body(type=101), -12),
    ],
)
def test_a_wrong_login_gets_its_code(raw: bytes, code: int) -> None:
    centre = make_centre()
    assert log_in(centre, raw, None, 0)["result"] == code
    assert centre.customers == {}


def test_passwords_are_checked_where_accounts_are_set() -> None:
    centre = make_centre(accounts={"ada": "secret"})
    for name, password, code in (("ada", "secret", 1), ("ada", "", -20), ("eve", "secret", -20)):
        raw = body(type=1, loginName=name, password=password, epid="")
        assert log_in(centre, raw, None, 0)["result"] == code


@pytest.mark.parametrize(("raw", "sign"), [(BODY, SIGN), SPACED])
def test_the_sign_covers_the_exact_bytes(raw: bytes, sign: str) -> None:
    centre = make_centre(sign_key="DEMO_KEY_0001")
    assert log_in(centre, raw, sign, 0)["result"] == 1
    assert log_in(centre, raw + b" ", sign, 0)["result"] == -30
    assert log_in(centre, raw, None, 0)["result"] == -30


def test_new_login_revokes_the_old_token_unless_configured() -> None:
    raw = body(type=3, loginName="ada")
    strict, lax = make_centre(), make_centre(new_login_kills_old=False)
    for centre in (strict, lax):
        log_in(centre, raw, None, 0)
        log_in(centre, raw, None, 0)
        assert centre.holder("T2", 0) is not None
    assert strict.holder("T1", 0) is None
    assert lax.holder("T1", 0) is not None


def test_gate_bans_an_address_after_too_many_logins() -> None:
    gate, options = Gate(), SimulatorOptions(login_limit=3, login_window=60, login_ban=3600)

    def visit(now: float, address: str = "one") -> bool:
        return gate.admits(address, now, options)

    assert [visit(0), visit(1), visit(2), visit(3)] == [True, True, True, False]
    assert visit(3, "two")
    assert gate.banned() == ["one"]
    assert not visit(3602)
    assert visit(3603)
    assert gate.banned() == []


def test_the_window_slides() -> None:
    gate, options = Gate(), SimulatorOptions(login_limit=2, login_window=60, login_ban=1)
    assert all(gate.admits("one", now, options) for now in (0, 30, 61, 91, 122))


def test_the_gate_can_forget_and_can_be_open() -> None:
    gate, once = Gate(), SimulatorOptions(login_limit=1, login_window=60, login_ban=60)
    for _ in range(3):
        gate.admits("one", 0, once)
    gate.forget()
    assert gate.admits("one", 0, once)
    assert all(gate.admits("one", 0, SimulatorOptions(login_limit=0)) for _ in range(50))


def asked(centre: CallCentre, **fields: object) -> list[dict[str, object]]:
    body = json.dumps({"type": HISTORY, "token": "T1", **fields}).encode()
    answer = log_in(centre, body, None, 1)
    assert (answer["result"], answer["message"]) == (1, "")
    page = answer["hisMessages"]
    assert isinstance(page, list)
    return page


def talked(**options: object) -> CallCentre:
    """Two sessions: heard 1, said 2; heard 3, said 4, a notice 5, typing 6."""
    centre = make_centre(dialect="2016", history=True, **options)
    phone, session = chatting(centre)
    phone.text(session, "heard one")
    perform(centre, {"op": "say", "text": "<b>said two</b>"})
    perform(centre, {"op": "close"})
    phone.queue()
    perform(centre, {"op": "accept", "agent": "A00002"})
    phone.text(session + 1, "heard three")
    perform(centre, {"op": "image"})
    perform(centre, {"op": "notice", "text": "moved"})
    perform(centre, {"op": "typing"})
    return centre


def test_history_is_newest_first_with_names() -> None:
    page = asked(talked())
    assert [entry["text"] for entry in page] == [
        "moved",
        "[image]",
        "heard three",
        "<b>said two</b>",
        "heard one",
    ]
    assert page[0] == {
        "id": 5,
        "userId": "A00002",
        "userName": "Jun",
        "userType": 2,
        "text": "moved",
        "messageType": 1,
        "postTime": WALL_MS,
        "revokeFlag": 0,
        "icon": "http://desk.test/webchat/icon/A00002.png",
    }
    assert (page[4]["userType"], page[4]["userName"], page[4]["messageType"]) == (1, "ada", 0)


def test_recalled_message_is_marked() -> None:
    centre = talked()
    done = perform(centre, {"op": "recall"})
    assert done.answer["n"] == 4, "the picture; a notice cannot be taken back"
    (frame,) = frames(done.outgoing)
    assert frame["msg"] == {"type": 99, "content": {"messageId": 4}, "noticeType": 6}
    assert [entry["id"] for entry in asked(centre) if entry["revokeFlag"]] == [4]
    for wrong in ({"op": "recall", "message": 2}, {"op": "recall", "message": 5}):
        with pytest.raises(BadOpError, match="no such message"):
            perform(centre, wrong)


def test_history_pages_go_backwards() -> None:
    centre = talked()
    pages: list[list[object]] = []
    before: object = 0
    for _ in range(4):
        pages.append([entry["id"] for entry in asked(centre, maxCount=2, fromMessageId=before)])
        before = pages[-1][-1] if pages[-1] else 1
    assert pages == [[5, 4], [3, 2], [1], []]
    assert [entry["id"] for entry in asked(centre, fromSessionId=5001)] == [2, 1]


def test_older_form_of_history_has_rows_without_names() -> None:
    newest = asked(talked(history_style="rows"))[0]
    assert newest == {
        "id": 5,
        "userId": "A00002",
        "userType": 2,
        "messageType": 1,
        "postTime": WALL_MS,
        "message": "moved",
    }


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, -14),
        ({"token": "wrong"}, -15),
        ({"token": "T1", "maxCount": 0}, -14),
        ({"token": "T1", "fromMessageId": "5"}, -14),
    ],
)
def test_refusals_of_history(fields: dict[str, object], code: int) -> None:
    asks = json.dumps({"type": HISTORY, **fields}).encode()
    assert log_in(talked(), asks, None, 1)["result"] == code


@pytest.mark.parametrize(("options", "code"), [({}, -12), ({"dialect": "2019"}, 1)])
def test_guide_of_2016_has_no_history(options: dict[str, object], code: int) -> None:
    centre = make_centre(**options)
    chatting(centre)
    body = json.dumps({"type": HISTORY, "token": "T1"}).encode()
    assert log_in(centre, body, None, 1)["result"] == code


FORM = {"epid": "E00001", "action": "search", "question": "测试"}
SEARCH_SIGN = "78f2252ff6452a870574b1a51f85a08f"


def test_a_known_question_has_one_result_and_an_unknown_none() -> None:
    options = SimulatorOptions(robot_key="123456", robot_answers={"测试": "<b>yes</b>"})
    found = search(options, FORM | {"sign": SEARCH_SIGN})
    assert found["result"] == 1
    answer = found["searchResult"]
    assert isinstance(answer, dict)
    assert [hit["preview"] for hit in answer["srs"]] == ["<b>yes</b>"]
    empty = search(SimulatorOptions(), FORM | {"sign": ""})
    assert empty["searchResult"] == {"question": "测试", "srs": []}


@pytest.mark.parametrize(
    ("form", "code"),
    [
        (FORM, -14),
        (FORM | {"sign": "wrong"}, -30),
        (FORM | {"sign": SEARCH_SIGN, "action": "ask"}, -14),
        ({"epid": "", "action": "search", "question": " ", "sign": ""}, -30),
    ],
)
def test_a_wrong_question_gets_its_code(form: dict[str, str], code: int) -> None:
    assert search(SimulatorOptions(robot_key="123456"), form)["result"] == code


def test_a_blank_question_is_an_empty_message() -> None:
    assert search(SimulatorOptions(), FORM | {"question": " ", "sign": ""})["result"] == -17
