"""Rows of the protocol reference, section 7, about message contents."""

import json

import pytest

from bridge.ids import CallId, SessionId
from bridge.webchat.codes import Dialect
from bridge.webchat.frames import (
    AgentLocation,
    AgentMedia,
    AgentNotice,
    AgentText,
    Command,
    MessageReceived,
    RateSession,
    Received,
    SendMessage,
    Text,
    UnknownContent,
)
from bridge.webchat.http import Endpoints
from bridge.webchat.protocol import LocalProtocolError, dump_command
from bridge.webchat.read import parse_frame
from bridge.webchat.words import decode_emoji, frame_bytes, split_text

TOKEN = "6CF7BBEB-8D6B-A4DF-D80C-D04FF1016168"
TIME = 1400913140127
SESSION = SessionId(5150)
HELLO = SendMessage(SESSION, Text("my parcel is late"))


def wire(command: Command, call_id: int = 1, dialect: Dialect = Dialect.Y2016) -> dict[str, object]:
    text = dump_command(
        command, call_id=CallId(call_id), token=TOKEN, time_ms=TIME, dialect=dialect
    )
    told: dict[str, object] = json.loads(text)
    return told


def content(msg: dict[str, object]) -> object:
    told = {"type": 210, "sessionId": 5150, "agentId": "K00017", "msg": msg}
    received = parse_frame(json.dumps(told))
    assert isinstance(received, Received)
    assert isinstance(received.push, MessageReceived)
    return received.push.content


def test_43_text_2016() -> None:
    """Row 43: a text has exactly the guide's two keys."""
    msg = wire(HELLO)["msg"]
    assert msg == {"type": 1, "content": {"content": "my parcel is late", "extra": ""}}


def test_44_text_2019() -> None:
    """Row 44 in the protocol: only the later key, without optional ones."""
    msg = wire(HELLO, dialect=Dialect.Y2019)["msg"]
    assert msg == {"type": 1, "content": {"text": "my parcel is late"}}


def test_44b_pushes_that_prove_the_later_dialect() -> None:
    """Row 44 in the protocol: only a 200, an rsId or `users` prove the later dialect."""
    for proof in (
        {"type": 200},
        {"type": 203, "sessionId": 1, "rsId": "r"},
        {"type": 202, "sessionId": 1, "users": []},
    ):
        received = parse_frame(json.dumps(proof))
        assert isinstance(received, Received)
        assert received.later
    received = parse_frame('{"type":202,"sessionId":1,"agents":[]}')
    assert isinstance(received, Received)
    assert not received.later


def test_45_dual() -> None:
    """Row 45: texts and ratings have the keys of both dialects."""
    msg = wire(HELLO, dialect=Dialect.DUAL)["msg"]
    both = {"content": "my parcel is late", "text": "my parcel is late", "extra": ""}
    assert msg == {"type": 1, "content": both}
    rated = wire(RateSession(SESSION, 1, "c"), dialect=Dialect.DUAL)["rating"]
    assert rated == {"id": 1, "ratingId": 1, "comments": "c", "ratingComments": "c"}


def test_46_rating_2016() -> None:
    """Row 46, dialect 2016: 0 is a valid rating."""
    assert wire(RateSession(SESSION, 0))["rating"] == {"id": 0, "comments": ""}


def test_46b_rating_2019() -> None:
    """Row 46, dialect 2019: 0 is not omitted."""
    assert wire(RateSession(SESSION, 0), dialect=Dialect.Y2019)["rating"] == {"ratingId": 0}
    rated = wire(RateSession(SESSION, 0, "slow"), dialect=Dialect.Y2019)["rating"]
    assert rated == {"ratingId": 0, "ratingComments": "slow"}


def test_53_agent_html_passes_untouched() -> None:
    """Row 53 in the protocol: the HTML is not changed."""
    html = '<a href="https://h/faq">FAQ</a> &amp; <img src="a.png"><br>end'
    assert content({"type": 1, "content": html}) == AgentText(html)


@pytest.mark.parametrize(
    ("text", "face"),
    [
        ("/::)", "🙂"),
        ("/:<W>", "🍉"),
        ("/::&lt;", "😢"),
        ("[微笑]", "🙂"),
        ('<img class="qqemoji qqemoji92" src="spacer.gif">', "🤸"),
        ("/:north", "/:north"),
    ],
)
def test_54_emoji(text: str, face: str) -> None:
    """Row 54: five emoji codes, and a text that only looks like one."""
    assert decode_emoji(text) == face


def test_55_jpeg_as_base64() -> None:
    """Row 55: base64 that begins like a path is a picture."""
    jpeg = "/9j/4AAQSkZJRgABAQAAAQABAAD/2w=="
    assert content({"type": 2, "content": jpeg}) == AgentMedia("image", data=jpeg)


def test_56_image_as_object() -> None:
    """Row 56: a relative URL, made absolute by the rule of 3.4."""
    found = content({"type": 2, "content": {"imgUrl": "/up/a.jpg", "imgName": "a.jpg"}})
    assert found == AgentMedia("image", url="/up/a.jpg", name="a.jpg")
    assert Endpoints("https://h/webchat").absolute("/up/a.jpg") == "https://h/webchat/up/a.jpg"


def test_57_file_as_json_text() -> None:
    told = json.dumps({"name": "terms.pdf", "url": "/webchat/up/terms.pdf", "size": 20480})
    assert content({"type": 3, "content": told}) == AgentMedia(
        "file", url="/webchat/up/terms.pdf", name="terms.pdf", size=20480
    )


def test_58_location_with_strings() -> None:
    told = {"longitude": "121.5", "latitude": "31.25", "poi": "Bund"}
    assert content({"type": 4, "content": told}) == AgentLocation(31.25, 121.5, "Bund")


@pytest.mark.parametrize(
    ("odd", "shown"), [(None, "null"), ([1, "a"], '[1,"a"]'), (7, "7"), ({"text": "x"}, "x")]
)
def test_59_any_json_value_is_shown_as_text(odd: object, shown: str) -> None:
    """Row 59: any JSON value is shown as text."""
    assert content({"type": 1, "content": odd}) == AgentText(shown)


def test_60_typing_notice() -> None:
    """Row 60 in the protocol: a notice of type 5 without text."""
    assert content({"type": 99, "noticeType": 5, "content": ""}) == AgentNotice(5)


@pytest.mark.parametrize(("told", "kind"), [({}, 0), ({"noticeType": 120}, 120)])
def test_61_unknown_notice(told: dict[str, object], kind: int) -> None:
    """Row 61: notices of dialect 2016 have no type."""
    assert content({"type": 99, "content": "hello", **told}) == AgentNotice(kind, "hello")


def test_62_unknown_message_type() -> None:
    """Row 62: its words are shown; without any it is kept, with its number, for a placeholder."""
    assert content({"type": 77, "content": "x"}) == AgentText("x")
    assert content({"type": 77, "content": {"a": 1}}) == UnknownContent(77, '{"a":1}')


def test_75_long_text() -> None:
    """Row 75: 20,000 Chinese characters are split, in order, into frames of up to 8,000 bytes."""
    text = "客服你好" * 5000
    parts = split_text(text, 7000)
    assert "".join(parts) == text
    for part in parts:
        assert frame_bytes(part) <= 7000
        frame = dump_command(
            SendMessage(SESSION, Text(part)), call_id=CallId(9), token=TOKEN, time_ms=TIME
        )
        assert len(frame.encode()) <= 8000


def test_84_blank_text() -> None:
    """Row 84: splitting yields no part, and writing a blank text is refused."""
    assert split_text("  \n ", 7000) == ()
    with pytest.raises(LocalProtocolError):
        wire(SendMessage(SESSION, Text("  \n ")))
