"""The robot's frame, as the vendor's phone clients know it."""

import json

import pytest
from hypothesis import given

from bridge.ids import SessionId
from bridge.webchat.frames import RobotMessage
from bridge.webchat.robot import read_robot_message
from tests.unit.webchat.test_lenient import ANY_JSON

RELATED = [
    {"title": "Orders", "relates": [{"name": "Where is it?"}, {"name": ""}, "odd"]},
    {"relates": [{"name": "Cancel it"}]},
    7,
]


def said(content: object) -> RobotMessage | None:
    return read_robot_message({"sessionId": "5150", "robotType": 3, "content": content})


def message(
    text: str = "", suggestions: tuple[str, ...] = (), *, transfer: bool = False
) -> RobotMessage:
    return RobotMessage(SessionId(5150), 3, text, suggestions, transfer)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("plain&nbsp;text", message("plain&nbsp;text")),
        ({"type": "text", "content": "Which order?"}, message("Which order?")),
        ({"type": "error", "message": "try later"}, message("try later")),
        (
            {"type": "text", "content": "Which?", "relatedQuestions": RELATED},
            message("Which?\nOrders", ("Where is it?", "Cancel it")),
        ),
        (
            {"type": "command", "content": {"code": "CLIENT_ZRG", "extra": "one moment"}},
            message("one moment", transfer=True),
        ),
        ({"type": "command", "content": {"code": "ZRG"}}, message(transfer=True)),
        (
            {"type": "command", "content": '{"code":"AUTO_ZRG"}', "extra": "wait"},
            message("wait", transfer=True),
        ),
        (
            {"type": "command", "content": {"code": "<X>"}},
            message('{"type":"command","content":{"code":"&lt;X&gt;"}}'),
        ),
        ({"type": "news", "content": "see this"}, message("see this")),
        ({"type": "news", "content": [[]]}, message('{"type":"news","content":[[]]}')),
        (
            {"type": "image", "content": "https://h/a.png?a=1&b=2"},
            message('<img src="https://h/a.png?a=1&amp;b=2">'),
        ),
        ({"type": "image", "content": "a picture"}, message("a picture")),
        (
            {"type": "image", "content": {"url": "https://h/a.png"}},
            message('<img src="https://h/a.png">'),
        ),
        (
            {"type": "image-text", "content": {"content": "like <b>so</b>", "imgUrl": "/a.png"}},
            message('<p>like <b>so</b></p><img src="/a.png">'),
        ),
        (
            {"type": "news", "articles": [{"title": "A & B", "url": "https://h/1"}, "more"]},
            message('<p><a href="https://h/1">A &amp; B</a></p>more'),
        ),
        (
            {"type": "news", "content": {"link": "https://h/2"}},
            message('<p><a href="https://h/2">https://h/2</a></p>'),
        ),
        ({"text": "x"}, message("x")),
        (["a"], message('["a"]')),
    ],
)
def test_robot(content: object, expected: RobotMessage) -> None:
    assert said(content) == expected
    if isinstance(content, dict):
        assert said(json.dumps(content)) == expected or "{" in expected.text


@pytest.mark.parametrize("content", [None, ""])
def test_nothing_said(content: object) -> None:
    assert said(content) is None


def test_without_session() -> None:
    assert read_robot_message({"content": "x"}) == RobotMessage(None, None, "x")


@given(ANY_JSON)
def test_never_raises(content: object) -> None:
    said(content)
    said({"type": "text", "content": content, "relatedQuestions": content})
    said({"type": "image", "content": content})
    said({"type": "news", "content": [content]})
