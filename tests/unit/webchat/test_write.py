"""Writing commands, and reading any frame; error messages carry no content."""

import json
import math
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.ids import CallId, QueueId, RequestId, SessionId
from bridge.webchat import protocol, read
from bridge.webchat.codes import Dialect
from bridge.webchat.frames import (
    CancelRequest,
    CloseSession,
    Command,
    Content,
    File,
    Heartbeat,
    Ignored,
    Image,
    Location,
    Logout,
    Preview,
    RateSession,
    Receipt,
    Received,
    Reply,
    RequestChat,
    SendMessage,
    SendPreMessage,
    Text,
    TransferFromRobot,
    Typing,
    Video,
    Voice,
)
from bridge.webchat.protocol import LocalProtocolError, dump_command
from bridge.webchat.read import parse_frame
from tests.unit.webchat.examples import COMMANDS, PUSHES, REPLIES
from tests.unit.webchat.test_read import ANY_JSON

SESSION = SessionId(5150)
REQUEST = RequestId(9001)
START = 1733011200000
RS_ID = "0c7d6f6e-8a52-4e5b-9a64-5f1a2b3c4d5e"


def dump(
    command: Command, call_id: int = 1, time_ms: int = START, dialect: Dialect = Dialect.Y2016
) -> str:
    return dump_command(
        command, call_id=CallId(call_id), token="T", time_ms=time_ms, dialect=dialect
    )


@pytest.mark.parametrize(
    ("command", "call_id", "after"),
    [
        (Logout(), 1, 0),
        (Heartbeat(), 2, 0),
        (RequestChat(QueueId(7)), 3, 100),
        (CancelRequest(REQUEST), 5, 1000),
        (CloseSession(SESSION), 6, 99_000),
        (RateSession(SESSION, 1, "quick answer"), 7, 100_000),
        (SendMessage(SESSION, Text("my parcel is late")), 9, 10_000),
        (SendPreMessage(REQUEST, "order 4711"), 11, 5000),
        (Preview(SESSION, "my par"), 12, 0),
        (Typing(SESSION), 13, 0),
        (Receipt(RS_ID), 14, 12_000),
        (TransferFromRobot(SESSION), 15, 13_000),
    ],
)
def test_reference_frame(command: Command, call_id: int, after: int) -> None:
    written = dump(command, call_id, START + after)
    assert written in COMMANDS
    assert json.loads(written)["type"] == command.type


def test_wish_for_one_agent() -> None:
    written = json.loads(dump(RequestChat(QueueId(7), source="WEBDEMO", to_agent="K00017")))
    assert written["toUserId"] == "K00017"
    assert written["from"] == "WEBDEMO"  # trap T25
    assert "toUserId" not in json.loads(dump(RequestChat(QueueId(7))))
    told = json.loads(dump(RequestChat(QueueId(7), tracks="[]", brand="element")))
    assert (told["brand"], told["tracks"]) == ("element", "[]")
    assert not {"brand", "tracks"} & written.keys()


@pytest.mark.parametrize(
    ("content", "kind", "expected"),
    [
        (Text("你好"), 1, {"content": "你好", "extra": ""}),
        (
            Image("a.png", "https://h/a.png"),
            2,
            {"name": "a.png", "imageUri": "https://h/a.png", "thumbData": "", "extra": ""},
        ),
        (
            File("a.zip", "https://h/a.zip", 1024, "zip"),
            3,
            {"name": "a.zip", "url": "https://h/a.zip", "size": 1024, "type": "zip", "extra": ""},
        ),
        (
            # The guide's own example: a longitude beyond 180 passes.
            Location(latitude=45.234, longitude=180.345),
            4,
            {
                "poi": "",
                "longitude": 180.345,
                "latitude": 45.234,
                "map": "baidu",
                "thumbData": "",
                "extra": "",
            },
        ),
        (Voice(28, "IyFBTVI="), 5, {"voiceLength": 28, "voiceData": "IyFBTVI=", "extra": ""}),
        (
            Voice(28, uri="https://h/a.amr"),
            5,
            {"voiceLength": 28, "voiceUri": "https://h/a.amr", "voiceType": "amr", "extra": ""},
        ),
        (
            Video("a.mp4", "https://h/a.mp4", 1024),
            6,
            {
                "name": "a.mp4",
                "url": "https://h/a.mp4",
                "sightUrl": "https://h/a.mp4",
                "size": 1024,
                "extra": "",
            },
        ),
    ],
)
def test_content_in_dialect_2016(content: Content, kind: int, expected: dict[str, object]) -> None:
    msg = json.loads(dump(SendMessage(SESSION, content)))["msg"]
    assert msg == {"type": kind, "content": expected}
    assert list(msg["content"]) == list(expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (Text("你好"), {"text": "你好"}),
        (
            Image("a.png", "https://h/a.png"),
            {"name": "a.png", "imageUri": "https://h/a.png", "thumbUri": "https://h/a.png"},
        ),
        (
            Image("", "https://h/a.png", "aWNvbg=="),
            {
                "name": "",
                "imageUri": "https://h/a.png",
                "thumbData": "aWNvbg==",
                "thumbUri": "https://h/a.png",
            },
        ),
        (File("a", "https://h/a"), {"name": "a", "url": "https://h/a"}),
        (
            File("a.zip", "https://h/a.zip", 1024, "zip"),
            {"name": "a.zip", "url": "https://h/a.zip", "size": 1024, "type": "zip"},
        ),
        (Location(0.0, 0.0, map=""), {"longitude": 0.0, "latitude": 0.0}),
        (
            Location(1.5, 2.5, "Bund"),
            {"poi": "Bund", "longitude": 2.5, "latitude": 1.5, "map": "baidu"},
        ),
        (Voice(0, "IyFBTVI="), {"voiceLength": 0, "voiceData": "IyFBTVI="}),
        # No `voiceData`, which would go before the address.
        (Voice(9, "", "h/a"), {"voiceLength": 9, "voiceUri": "h/a", "voiceType": "amr"}),
        (Video("a", "https://h/a"), {"name": "a", "url": "https://h/a", "sightUrl": "https://h/a"}),
    ],
)
def test_content_in_dialect_2019(content: Content, expected: dict[str, object]) -> None:
    """Later keys; optional ones are left out if empty, but zeros that mean something stay."""
    written = dump(SendMessage(SESSION, content), dialect=Dialect.Y2019)
    assert json.loads(written)["msg"]["content"] == expected


def test_dual_content_has_both_names_and_is_2016_otherwise() -> None:
    written = dump(SendMessage(SESSION, Text("hi")), dialect=Dialect.DUAL)
    assert json.loads(written)["msg"]["content"] == {"content": "hi", "text": "hi", "extra": ""}
    for content in (File("a", "u"), Voice(1, "IyE=")):
        command = SendMessage(SESSION, content)
        assert dump(command, dialect=Dialect.DUAL) == dump(command)
    earlier: dict[str, Content] = {
        "url": Image("a", "u"),
        "locationAddress": Location(1.0, 2.0, "u"),
    }
    for key, media in earlier.items():
        command = SendMessage(SESSION, media)
        both = json.loads(dump(command, dialect=Dialect.DUAL))
        assert both["msg"]["content"].pop(key) == "u"
        assert both == json.loads(dump(command))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (Text('你好 "1"'), '你好 "1"'),
        (Text("half \ud83d"), "half \ufffd"),
        (
            Image("a.png", "https://h/a.png", "aWNvbg=="),
            {"name": "a.png", "url": "https://h/a.png"},
        ),
        (File("a.zip", "https://h/a", 1024, "zip"), {"name": "a.zip", "url": "https://h/a"}),
        (
            Location(1.5, 2.5, "Bund"),
            {"locationAddress": "Bund", "longitude": 2.5, "latitude": 1.5},
        ),
        (Voice(28, uri="https://h/a.amr"), {"length": 28, "url": "https://h/a.amr"}),
        (Voice(3, "IyFBTVI="), {"length": 3, "data": "IyFBTVI="}),
        (Video("a", "https://h/a", 9), {"name": "a", "url": "https://h/a"}),
    ],
)
def test_content_of_the_first_guides(content: Content, expected: object) -> None:
    """The dialect until 2017-10-31, as in the vendor's client of 2016-12 (reference 1.5, D)."""
    written = dump(SendMessage(SESSION, content), dialect=Dialect.Y2016_11)
    assert json.loads(written)["msg"]["content"] == expected
    rating = dump(RateSession(SESSION, 0, "ok"), dialect=Dialect.Y2016_11)
    assert json.loads(rating)["rating"] == {"id": 0, "comments": "ok"}


@pytest.mark.parametrize(
    ("dialect", "comments", "rating"),
    [
        (Dialect.Y2016, "", {"id": 0, "comments": ""}),
        (Dialect.Y2019, "", {"ratingId": 0}),
        (Dialect.Y2019, "good", {"ratingId": 0, "ratingComments": "good"}),
        (
            Dialect.DUAL,
            "c",
            {"id": 0, "ratingId": 0, "comments": "c", "ratingComments": "c"},
        ),
    ],
)
def test_rating_zero_is_written(dialect: Dialect, comments: str, rating: object) -> None:
    written = dump(RateSession(SESSION, 0, comments), dialect=dialect)
    assert json.loads(written)["rating"] == rating


@pytest.mark.parametrize("dialect", Dialect)
def test_commands_that_are_the_same_in_all_dialects(dialect: Dialect) -> None:
    for command in (Logout(), Heartbeat(), RequestChat(QueueId(7)), SendPreMessage(REQUEST, "x")):
        assert dump(command, dialect=dialect) == dump(command)


@pytest.mark.parametrize(
    "command",
    [
        SendMessage(SESSION, Text("")),
        SendMessage(SESSION, Text(" \n\u3000\t")),
        SendPreMessage(REQUEST, " "),
        Preview(SESSION, ""),
        Receipt(""),
        RequestChat(QueueId(1), source=""),
        RequestChat(QueueId(2**63)),
        CancelRequest(RequestId(-(2**63) - 1)),
        CloseSession(SessionId(2**64)),
        RateSession(SESSION, 2**70),
        SendMessage(SESSION, Image("a.png", "")),
        SendMessage(SESSION, File("a.zip", " ")),
        SendMessage(SESSION, File("a.zip", "https://h/a.zip", -1)),
        SendMessage(SESSION, Voice(-1, "IyFBTVI=")),
        SendMessage(SESSION, Voice(1, "")),
        SendMessage(SESSION, Location(math.nan, 1.0)),
        SendMessage(SESSION, Location(1.0, math.inf)),
    ],
)
def test_an_invalid_command_is_refused(command: Command) -> None:
    with pytest.raises(LocalProtocolError):
        dump(command)


@pytest.mark.parametrize("call_id", [-1, 2**31])
def test_call_id_fits_into_an_int(call_id: int) -> None:
    with pytest.raises(LocalProtocolError, match="messageId"):
        dump(Logout(), call_id)


def test_numbers_in_a_text_message_are_limited() -> None:
    """A text, the most frequent command, is written by a fast path with the same limits."""

    def written(call_id: int, time_ms: int, session_id: int) -> str:
        return dump(SendMessage(SessionId(session_id), Text("hi")), call_id, time_ms)

    assert json.loads(written(2**31 - 1, 2**63 - 1, 2**63 - 1))["time"] == 2**63 - 1
    for beyond in ((2**31, START, 1), (-1, START, 1), (1, 2**63, 1), (1, START, 2**63)):
        with pytest.raises(LocalProtocolError):
            written(*beyond)


def test_halves_of_surrogate_pairs_are_replaced() -> None:
    written = dump(SendMessage(SESSION, Text("a\ud83d b \ud83d\ude00")))
    written.encode()
    assert json.loads(written)["msg"]["content"]["content"] == "a\ufffd b 😀"


def commands() -> st.SearchStrategy[Command]:
    ids = st.integers(-(2**63), 2**63 - 1)
    words = st.text(st.characters(), min_size=1).filter(str.strip)
    any_words = st.text(st.characters())
    degrees = st.floats(allow_nan=False, allow_infinity=False)
    sizes = st.integers(0, 2**63 - 1)
    contents: st.SearchStrategy[Content] = st.one_of(
        st.builds(Text, words),
        st.builds(Image, any_words, words, any_words),
        st.builds(File, any_words, words, sizes, any_words),
        st.builds(Location, degrees, degrees, any_words, any_words, any_words),
        st.builds(Voice, sizes, words),
    )
    sessions, requests = ids.map(SessionId), ids.map(RequestId)
    return st.one_of(
        st.builds(Logout),
        st.builds(Heartbeat),
        st.builds(RequestChat, ids.map(QueueId), words, any_words),
        st.builds(CancelRequest, requests),
        st.builds(CloseSession, sessions),
        st.builds(RateSession, sessions, ids, any_words),
        st.builds(SendMessage, sessions, contents),
        st.builds(SendPreMessage, requests, words),
        st.builds(Preview, sessions, words),
        st.builds(Typing, sessions),
        st.builds(Receipt, words),
        st.builds(TransferFromRobot, sessions),
    )


def refuse_constant(name: str) -> object:
    raise AssertionError(f"{name} is not JSON")


def refuse_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    assert len({key for key, _ in pairs}) == len(pairs)
    return dict(pairs)


@given(
    commands(),
    st.integers(0, 2**31 - 1),
    st.text(),
    st.integers(0, 2**53),
    st.sampled_from(Dialect),
)
def test_a_command_is_one_line_of_strict_json(
    command: Command, call_id: int, token: str, time_ms: int, dialect: Dialect
) -> None:
    written = dump_command(
        command, call_id=CallId(call_id), token=token, time_ms=time_ms, dialect=dialect
    )
    written.encode()
    assert "\n" not in written
    frame = json.loads(
        written, parse_constant=refuse_constant, object_pairs_hook=refuse_twins, strict=True
    )
    assert frame["messageId"] == call_id
    assert frame["type"] == command.type
    assert frame.get("token", token) == token
    assert frame.get("time", time_ms) == time_ms


WELL_KNOWN_KEYS = st.sampled_from(
    """
    type messageId result message requestId requestStatus queueLength sessionId agentId agents
    users msg content noticeType rsId data perm robotType robotMode ratings name id icon url text
    fileAcceptExtensionsArr comments latitude longitude voiceData thumbData relatedQuestions
    """.split()  # noqa: SIM905 -- a column of strings would hide the list
)
KNOWN_NUMBERS = st.sampled_from([1, 2, 3, 4, 5, 6, 10, 11, 99, *range(100, 125), *range(200, 215)])
FRAMES = st.dictionaries(WELL_KNOWN_KEYS, ANY_JSON | KNOWN_NUMBERS, max_size=8)


def readable(frame: str) -> Reply | Received | Ignored:
    """Parse a frame; the result can be stored as JSON."""
    found = parse_frame(frame)
    assert isinstance(found, Reply | Received | Ignored)
    msgspec.json.encode(found)
    return found


def test_every_frame_of_the_reference_is_understood() -> None:
    assert all(isinstance(parse_frame(frame), Reply) for frame in REPLIES)
    assert all(isinstance(parse_frame(frame), Received) for frame in PUSHES)


def test_commands_are_ignored_if_received() -> None:
    assert all(isinstance(parse_frame(frame), Ignored) for frame in COMMANDS)


def test_an_empty_frame_is_ignored() -> None:
    assert parse_frame("") == Ignored("not JSON")


@given(st.text(st.characters()))
def test_parsing_any_text_never_raises(frame: str) -> None:
    readable(frame)


@given(st.binary())
def test_parsing_any_bytes_never_raises(frame: bytes) -> None:
    readable(read.decoded(frame))


@given(ANY_JSON)
def test_parsing_any_json_never_raises(value: object) -> None:
    readable(json.dumps(value))


@given(FRAMES, st.integers(1, 400))
def test_parsing_any_values_of_known_keys_never_raises(frame: dict[str, object], kind: int) -> None:
    readable(json.dumps({**frame, "type": kind}))


@given(st.integers(0, 7), ANY_JSON | FRAMES, FRAMES)
def test_any_agent_message_is_kept(kind: int, content: object, frame: dict[str, object]) -> None:
    push = {**frame, "type": 210, "msg": {**frame, "type": kind, "content": content}}
    found = readable(json.dumps(push))
    assert isinstance(found, Received)  # an agent's message is never dropped


@given(st.sampled_from([*PUSHES, *REPLIES]), st.data())
def test_parsing_a_mutated_frame_never_raises(frame: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(frame)))
    end = data.draw(st.integers(start, len(frame)))
    readable(frame[:start] + data.draw(st.text(max_size=6)) + frame[end:])


@given(st.sampled_from([*PUSHES, *REPLIES]), st.data())
def test_parsing_a_frame_with_one_odd_value_never_raises(frame: str, data: st.DataObject) -> None:
    told = json.loads(frame)
    key = data.draw(st.sampled_from(sorted(told)))
    told[key] = data.draw(ANY_JSON)
    readable(json.dumps(told))


def test_parsing_a_monstrous_frame_never_raises() -> None:
    for frame in (
        "[" * 100_000,
        '{"type":210,"msg":' + "[" * 10_000 + "]" * 10_000 + "}",
        '{"type":210,"sessionId":1,"msg":' + '{"content":' * 900 + "1" + "}" * 900 + "}",
        '{"type":' + "9" * 5000 + "}",
        '{"type":1e999}',
        '{"type":NaN}',
        '{"type":210,"type":210,"msg":{"type":1,"type":1,"content":"a","content":"b"}}',
        '{"type":210,"msg":{"type":2,"content":"' + "A" * 4_000_000 + '"}}',
        "\ufffd\0",
        "\0" * 1000,
        "\ud800",
    ):
        readable(frame)


def test_an_error_message_names_the_field_and_nothing_else() -> None:
    with pytest.raises(LocalProtocolError) as caught:
        dump_command(CancelRequest(RequestId(2**63)), call_id=CallId(1), token="SECRET", time_ms=0)
    assert str(caught.value) == "requestId does not fit into 64 bits"
    assert isinstance(caught.value, ValueError)


_BUT_FRACTIONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(_BUT_FRACTIONS)
def test_both_encoders_write_the_same_bytes(value: object) -> None:
    assert protocol.encode(value) == protocol._encode_any(value)


@given(st.text(st.characters(exclude_categories=())))
def test_both_encoders_write_every_text(text: str) -> None:
    assert protocol.encode({"a": text}) == protocol._encode_any({"a": text})


@given(st.integers(-5, 2**31), st.integers(), st.text(), st.text(), st.sampled_from(Dialect))
def test_the_fast_path_of_a_text_writes_the_same_bytes(
    call_id: int, session: int, text: str, token: str, dialect: Dialect
) -> None:
    """`_dump_text` returns None if a text needs the general path."""
    command = SendMessage(SessionId(session), Text(text))
    arguments = (command, CallId(call_id), token, START, dialect)
    written = protocol._dump_text(*arguments)
    with patch.object(protocol, "_dump_text", lambda *_: None):
        if written is None:
            return
        long = dump_command(
            command, call_id=CallId(call_id), token=token, time_ms=START, dialect=dialect
        )
    assert written == long


def test_coordinates_are_written_as_python_writes_them() -> None:
    place = Location(1e-07, 1.5)
    command = SendMessage(SessionId(1), place)
    assert '"latitude":1e-07' in dump_command(command, call_id=CallId(1), token="T", time_ms=0)
