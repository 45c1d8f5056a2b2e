"""What customers say is recorded, for scripts and for the desk."""

import pytest

from bridge.simulator.state import shown
from tests.unit.simulator.centres import WALL_MS, Phone, chatting, make_centre


def said(phone: Phone) -> dict[str, object]:
    """The last entry of the transcript, without what all entries have."""
    entry = shown(list(phone.centre.transcript.since(0))[-1])
    for key in ("n", "time", "login", "side", "session"):
        entry.pop(key, None)
    return entry


FAR = "https://cdn.test/a.png"
HOSTED = "http://desk.test/webchat/up/3/%E7%8C%AB.png"


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
def test_each_kind(kind: int, content: dict[str, object], wanted: dict[str, object]) -> None:
    phone, session = chatting(make_centre())
    phone.send(110, sessionId=session, msg={"type": kind, "content": {**content, "extra": ""}})
    assert said(phone) == wanted
    (record,) = phone.customer.history.messages
    assert (record["kind"], record["time"]) == (wanted["kind"], WALL_MS)


def test_a_repeat_is_marked_in_both() -> None:
    phone, session = chatting(make_centre())
    phone.text(session, "one", messageId=70)
    phone.text(session, "one", messageId=70)
    assert said(phone)["repeat"] is True
    assert [entry["repeat"] for entry in phone.customer.history.messages] == [False, True]


def test_the_records_are_bounded_and_what_went_is_counted() -> None:
    phone, session = chatting(make_centre(keep_records=3))
    for number in range(5):
        phone.text(session, str(number), messageId=100 + number)
    history = phone.customer.history
    assert [entry["text"] for entry in history.messages] == ["2", "3", "4"]
    assert history.dropped == 2
    assert list(history.call_ids) == [102, 103, 104]
