"""5003: what was said, page by page (protocol reference 3.8)."""

import json

import pytest

from bridge.simulator.operations import BadOpError
from bridge.simulator.state import CallCentre
from bridge.simulator.tpi import HISTORY, log_in, tell
from tests.unit.simulator.centres import WALL_MS, chatting, frames, make_centre, perform


def asked(centre: CallCentre, **fields: object) -> list[dict[str, object]]:
    body = json.dumps({"type": HISTORY, "token": "T1", **fields}).encode()
    answer = tell(centre, body, 1)
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


def test_newest_first_with_names() -> None:
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


def test_what_was_taken_back_says_so() -> None:
    centre = talked()
    done = perform(centre, {"op": "recall"})
    assert done.answer["n"] == 4, "the picture; a notice cannot be taken back"
    (frame,) = frames(done.outgoing)
    assert frame["msg"] == {"type": 99, "content": {"messageId": 4}, "noticeType": 6}
    assert [entry["id"] for entry in asked(centre) if entry["revokeFlag"]] == [4]
    for wrong in ({"op": "recall", "message": 2}, {"op": "recall", "message": 5}):
        with pytest.raises(BadOpError, match="no such message"):
            perform(centre, wrong)


def test_pages_go_backwards() -> None:
    centre = talked()
    pages: list[list[object]] = []
    before: object = 0
    for _ in range(4):
        pages.append([entry["id"] for entry in asked(centre, maxCount=2, fromMessageId=before)])
        before = pages[-1][-1] if pages[-1] else 1
    assert pages == [[5, 4], [3, 2], [1], []]
    assert [entry["id"] for entry in asked(centre, fromSessionId=5001)] == [2, 1]


def test_the_older_form_has_rows_without_names() -> None:
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
def test_refusals(fields: dict[str, object], code: int) -> None:
    assert tell(talked(), json.dumps({"type": HISTORY, **fields}).encode(), 1)["result"] == code


@pytest.mark.parametrize(("options", "code"), [({}, -12), ({"dialect": "2019"}, 1)])
def test_the_guide_of_2016_does_not_know_it(options: dict[str, object], code: int) -> None:
    centre = make_centre(**options)
    chatting(centre)
    body = json.dumps({"type": HISTORY, "token": "T1"}).encode()
    assert log_in(centre, body, None, 1)["result"] == code
