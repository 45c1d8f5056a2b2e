"""Contents from agents and robots: `msg` of a 210, `content` of a 301."""

import base64
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.ids import AgentId, SessionId
from bridge.webchat.frames import (
    AgentLocation,
    AgentMedia,
    AgentNotice,
    AgentText,
    MessageReceived,
    Received,
    RobotMessage,
    UnknownContent,
)
from bridge.webchat.read import locate, parse_frame, read_content, read_robot_message
from tests.unit.webchat.test_read import ANY_JSON

PNG = "iVBORw0KGgoAAAANSUhEUg=="
JPEG = "/9j/4AAQSkZJRgABAQAAAQABAAD/2w=="
LONG_ROOTED = "/" + "A" * 203


@pytest.mark.parametrize(
    ("content", "html"),
    [
        ("hello <b>you</b>", "hello <b>you</b>"),
        ("", ""),
        ({"text": "x"}, "x"),
        ({"content": "x", "extra": ""}, "x"),
        ({"text": "", "content": "x"}, "x"),
        ({"text": ""}, ""),
        (None, "null"),
        ([1, 2], "[1,2]"),
        (7, "7"),
        (True, "true"),
        ({"text": 5}, '{"text":5}'),
        ({"a": "<b>"}, '{"a":"&lt;b&gt;"}'),
        ('"[微笑]"', "[微笑]"),
        ("'{a}'", "{a}"),
        ('"quoted"', '"quoted"'),
        ("\"[a]'", "\"[a]'"),
        ('{"text":"x"}', '{"text":"x"}'),
        ("half \ud83d", "half \ufffd"),
    ],
)
def test_text(content: object, html: str) -> None:
    assert read_content({"type": 1, "content": content}) == AgentText(html)


def test_text_without_content() -> None:
    assert read_content({"type": 1}) == UnknownContent(1)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (PNG, (PNG, "")),
        (PNG.rstrip("="), (PNG, "")),
        (PNG[:10] + "\r\n" + PNG[10:], (PNG, "")),
        ("_-8=", ("/+8=", "")),
        (JPEG, (JPEG, "")),
        (LONG_ROOTED, (LONG_ROOTED, "")),
        ("/webchat/up/abcd", ("", "/webchat/up/abcd")),  # base64 by accident
        ("/9j/photo.jpg", ("", "/9j/photo.jpg")),
        ("/9j/my-photo.jpg", ("", "/9j/my-photo.jpg")),  # as long as base64 might be
        ("/9j/abcde", ("", "/9j/abcde")),
        ("/up/my photo.jpg", ("", "/up/my photo.jpg")),
        ("//cdn/a.jpg", ("", "//cdn/a.jpg")),
        ("up/a.jpg", ("", "up/a.jpg")),
        (" https://h/a.jpg ", ("", "https://h/a.jpg")),
        ("HTTP://h/a", ("", "HTTP://h/a")),
        (f"data:image/png;base64,{PNG}", (PNG, "")),
        ("data:image/png;BASE64,%2F%2B8%3D", ("/+8=", "")),
        ("DATA:,a%20b", (base64.b64encode(b"a b").decode(), "")),
        ("data:image/png;base64,", None),
        ("data:image/png;base64,###", None),
        ("data:image/png;base64,ÿ%FF", None),
        ("", None),
        ("/", None),
        ("abcde", None),
        ("no picture here", None),
        ('["a.b"]', None),
        ("====", None),
    ],
)
def test_data_or_address(source: str, found: tuple[str, str] | None) -> None:
    assert locate(source) == found


@given(st.binary(min_size=1))
def test_base64_is_recognised(data: bytes) -> None:
    encoded = base64.b64encode(data).decode()
    if not encoded.startswith("/"):
        assert locate(encoded) == (encoded, "")


@given(st.binary(min_size=160))
def test_long_base64_is_recognised_whatever_it_begins_with(data: bytes) -> None:
    encoded = base64.b64encode(data).decode()
    assert locate(encoded) == (encoded, "")


@given(st.text(st.characters()))
def test_locate_finds_either_data_or_an_address(source: str) -> None:
    found = locate(source)
    assert found is None or bool(found[0]) != bool(found[1])


def test_dots_without_a_path_are_read_in_linear_time() -> None:
    """In quadratic time, this would take hours."""
    assert locate("." * 1_000_000 + "<") is None


@pytest.mark.parametrize(
    "content",
    [
        "data:image/png," + "%41" * 500_000,
        "data:image/png;base64," + "aa " * 500_000,
        "aa " * 500_000,
        "[" + "[]," * 500_000 + "[]]",
        [[] for _ in range(500_000)],
    ],
    ids=["escapes", "white space in a data URI", "white space", "lists in a text", "lists"],
)
def test_no_frame_takes_many_times_its_length_in_memory(content: object) -> None:
    told = {"type": 210, "sessionId": 1, "msg": {"type": 2, "content": content}}
    frame = json.dumps(told, separators=(",", ":"))
    tracemalloc.start()
    try:
        parse_frame(frame)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(frame)


@pytest.mark.parametrize("text", ["1, 2, " * 200_000, 'say \\"[{,' * 200_000])
def test_commas_in_a_long_text_do_not_count_as_values(text: str) -> None:
    told = {"type": 210, "sessionId": 1, "msg": {"type": 1, "content": text}}
    assert parse_frame(json.dumps(told)) == Received(
        MessageReceived(SessionId(1), AgentId(""), AgentText(text))
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (PNG, AgentMedia("image", data=PNG)),
        (
            {"imgUrl": "up/a.jpg", "imgName": " my\n cat.jpg"},
            AgentMedia("image", url="up/a.jpg", name="my cat.jpg"),
        ),
        ({"url": "up/a", "name": "a"}, AgentMedia("image", url="up/a", name="a")),
        (
            {"imageUri": "https://h/a.jpg", "thumbData": PNG},
            AgentMedia("image", url="https://h/a.jpg"),
        ),
        ({"imageUri": "", "thumbData": PNG}, AgentMedia("image", data=PNG)),
        ({"url": f"data:image/png;base64,{PNG}"}, AgentMedia("image", data=PNG)),
        ('{"imgUrl":"/up/my cat.jpg"}', AgentMedia("image", url="/up/my cat.jpg")),
        ({"content": PNG}, AgentMedia("image", data=PNG)),
    ],
)
def test_image(content: object, expected: AgentMedia) -> None:
    assert read_content({"type": 2, "content": content}) == expected


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [
        (
            3,
            {"name": "terms.pdf", "url": "/webchat/up/terms.pdf", "size": "20480"},
            AgentMedia("file", url="/webchat/up/terms.pdf", name="terms.pdf", size=20480),
        ),
        (
            3,
            '{"fileName":"terms.pdf","fileUrl":"up/terms.pdf","size":-1}',
            AgentMedia("file", url="up/terms.pdf", name="terms.pdf"),
        ),
        (3, "/up/terms.pdf", AgentMedia("file", url="/up/terms.pdf")),
        (5, "IyFBTVI=", AgentMedia("voice", data="IyFBTVI=")),
        (
            5,
            {"voiceData": "IyFBTVI=", "voiceLength": "28"},
            AgentMedia("voice", data="IyFBTVI=", seconds=28.0),
        ),
        (
            5,
            {"data": "IyFBTVI=", "length": -1},
            AgentMedia("voice", data="IyFBTVI="),
        ),
        (5, {"url": "up/a.amr", "length": 3}, AgentMedia("voice", url="up/a.amr", seconds=3.0)),
        (5, {"url": "up/a.amr", "length": "1e308"}, AgentMedia("voice", url="up/a.amr")),
        (11, {"data": "IyFBTVI=", "length": 3}, AgentMedia("voice", data="IyFBTVI=", seconds=3.0)),
        (11, {"voiceData": "IyFBTVI="}, AgentMedia("voice", data="IyFBTVI=")),
        (
            11,
            {"remoteUrl": "https://h/a.aac", "length": 2.5, "name": "a.aac"},
            AgentMedia("voice", url="https://h/a.aac", name="a.aac", seconds=2.5),
        ),
        (
            6,
            {"sightUrl": "https://h/a.mp4", "duration": 9, "size": 5, "name": "a.mp4"},
            AgentMedia("video", url="https://h/a.mp4", name="a.mp4", size=5, seconds=9.0),
        ),
        (
            6,
            {"sightUri": "up/a.mp4", "sightLength": 9, "sightName": "a.mp4"},
            AgentMedia("video", url="up/a.mp4", name="a.mp4", seconds=9.0),
        ),
        (
            5,
            {"voiceLength": 28, "voiceUri": "/webchat/up/a.mp3", "voiceType": "mp3"},
            AgentMedia("voice", url="/webchat/up/a.mp3", seconds=28.0),
        ),
        (  # guide of 2019-10-14: with both, voiceData takes precedence
            5,
            {"voiceLength": 1, "voiceData": "IyFBTVI=", "voiceUri": "https://h/a.amr"},
            AgentMedia("voice", data="IyFBTVI=", seconds=1.0),
        ),
    ],
)
def test_other_media(kind: int, content: object, expected: AgentMedia) -> None:
    assert read_content({"type": kind, "content": content}) == expected


@pytest.mark.parametrize("kind", [2, 3, 5, 6, 11])
@pytest.mark.parametrize("content", [None, "", {}, [], 7, {"name": "only a name"}])
def test_media_without_data_or_address_becomes_a_placeholder(kind: int, content: object) -> None:
    found = read_content({"type": kind, "content": content})
    assert isinstance(found, UnknownContent)
    assert found.message_type == kind


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            {"longitude": 121.5, "latitude": 31.2, "poi": "Bund", "map": "baidu"},
            AgentLocation(31.2, 121.5, "Bund", "baidu"),
        ),
        (
            '{"longitude":"121.5","latitude":"31","locationAddress":"Bund"}',
            AgentLocation(31.0, 121.5, "Bund"),
        ),
        ({"longitude": 121.5}, UnknownContent(4, '{"longitude":121.5}')),
        (
            {"longitude": "inf", "latitude": 1},
            UnknownContent(4, '{"longitude":"inf","latitude":1}'),
        ),
        ("somewhere", AgentText("somewhere")),
        ({"poi": "Bund & more"}, AgentText("<p>Bund &amp; more</p>")),
    ],
)
def test_location(content: object, expected: object) -> None:
    assert read_content({"type": 4, "content": content}) == expected


@pytest.mark.parametrize(
    ("msg", "expected"),
    [
        ({"type": 99, "noticeType": 5, "content": ""}, AgentNotice(5)),
        ({"type": 99, "content": "hello"}, AgentNotice(0, "hello")),
        ({"type": 99, "noticeType": "120"}, AgentNotice(120)),
        ({"type": 99, "noticeType": None, "content": {"text": "x"}}, AgentNotice(0, "x")),
        ({"type": 99, "noticeType": "0", "content": {"text": "x"}}, AgentText("x")),
        ({"type": 99, "noticeType": 0, "content": "<b>x</b>"}, AgentText("<b>x</b>")),
        ({"type": 99, "noticeType": 0, "content": ""}, AgentNotice(0)),
        ({"type": 99, "noticeType": 0}, AgentNotice(0)),
    ],
)
def test_notice(msg: object, expected: AgentNotice | AgentText) -> None:
    assert read_content(msg) == expected


@pytest.mark.parametrize(
    ("msg", "expected"),
    [
        ({"type": 77, "content": {"a": 1}}, UnknownContent(77, '{"a":1}')),
        ({"type": 77, "content": "two words"}, AgentText("two words")),
        ({"type": 77, "content": " "}, UnknownContent(77, '" "')),
        ({"type": 77, "content": 5}, UnknownContent(77, "5")),
        ({"type": 77, "content": "iVBO" * 50}, UnknownContent(77, f'"{"iVBO" * 50}"')),
        (
            {"type": 7, "content": '{"title":"Tea","url":"https://a.example/","digest":"50 g"}'},
            AgentText('<p><a href="https://a.example/">Tea</a></p><p>50 g</p>'),
        ),
        (
            {"type": 9, "content": {"content": "iVBO" * 50}},
            UnknownContent(9, f'{{"content":"{"iVBO" * 50}"}}'),
        ),
        ({"type": 9, "content": {"title": "Cat", "image": "iVBO" * 50}}, AgentText("<p>Cat</p>")),
        (
            {"type": 9, "content": "data:image/png;base64,iVBO"},
            UnknownContent(9, '"data:image/png;base64,iVBO"'),
        ),
        (
            {"type": 9, "content": {"content": {"token": "T"}}},
            UnknownContent(9, '{"content":{"token":"T"}}'),
        ),
        ({"content": "x"}, AgentText("x")),
        ({"type": "odd", "content": {"text": "x"}}, AgentText("<p>x</p>")),
        (None, UnknownContent(None)),
        ("words", AgentText("words")),
        ('{"type":1,"content":"hi"}', AgentText("hi")),
    ],
)
def test_odd_messages(msg: object, expected: object) -> None:
    assert read_content(msg) == expected


def test_placeholders_are_bounded() -> None:
    found = read_content({"type": 77, "content": "x" * 10_000})
    assert isinstance(found, UnknownContent)
    assert len(found.raw) == 2000


@given(ANY_JSON)
def test_reading_any_content_never_raises(msg: object) -> None:
    read_content(msg)


RELATED = [
    {"title": "Orders", "relates": [{"name": "Where is it?"}, {"name": ""}, "odd"]},
    {"relates": [{"name": "Cancel it"}]},
    7,
]


def said(content: object) -> RobotMessage | None:
    return read_robot_message({"sessionId": "5150", "robotType": 3, "content": content})


def message(text: str = "", suggestions: tuple[str, ...] = (), **told: bool) -> RobotMessage:
    return RobotMessage(SessionId(5150), 3, text, suggestions, **told)


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
            message("wait", transfer=True, sought=True),
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
        assert said(json.dumps(content)) == expected


@pytest.mark.parametrize("content", [None, ""])
def test_a_robot_message_without_content_is_none(content: object) -> None:
    assert said(content) is None


def test_a_robot_message_without_session_is_read() -> None:
    assert read_robot_message({"content": "x"}) == RobotMessage(None, None, "x")


@given(ANY_JSON)
def test_a_robot_message_never_raises(content: object) -> None:
    said(content)
    said({"type": "text", "content": content, "relatedQuestions": content})
    said({"type": "image", "content": content})
    said({"type": "news", "content": [content]})


@pytest.mark.parametrize(
    ("frame", "number"),
    [
        ({"messageId": 7, "msg": {"type": 1, "content": "hi"}}, "7"),
        ({"msg": {"type": 1, "content": "hi", "id": "a-7"}}, "a-7"),
        ({"msg": {"type": 1, "content": "hi"}}, ""),
        # A recall notice names the recalled message, whatever its own number is.
        ({"messageId": 9, "msg": {"type": 99, "noticeType": 6, "content": {"messageId": 7}}}, "7"),
        ({"msg": {"type": 99, "noticeType": "6", "content": '{"id":"7"}'}}, "7"),
        ({"msg": {"type": 99, "noticeType": 6, "content": 7}}, "7"),
        ({"messageId": 9, "msg": {"type": 99, "noticeType": 6, "content": "taken back"}}, ""),
        ({"msg": {"type": 99, "noticeType": 6}}, ""),
    ],
)
def test_number_of_a_message_or_of_a_recalled_one(frame: dict[str, object], number: str) -> None:
    got = parse_frame(json.dumps({"type": 210, "sessionId": 1, "agentId": "K1", **frame}))
    assert isinstance(got, Received)
    assert isinstance(got.push, MessageReceived)
    assert got.push.message_id == number
