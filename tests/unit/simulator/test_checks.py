"""Strict reading: each wrong frame gets the code of protocol reference section 8.

Also what a server that is not strict still reads, as real servers do.
"""

from __future__ import annotations

import json
import sys

import msgspec
import pytest

from bridge.ids import QueueId, SessionId
from bridge.simulator import checks
from bridge.simulator.checks import Refusal, check, handover_queue
from bridge.simulator.options import SimulatorOptions
from bridge.webchat import frames
from bridge.webchat.codes import ResultCode
from tests.unit.simulator.centres import text_message

GOOD: dict[str, dict[str, object]] = {
    "logout": {"type": 2},
    "request": {"type": 101, "queueId": 7, "from": "APP"},
    "cancel": {"type": 102, "requestId": 9001},
    "close": {"type": 103, "sessionId": 5150},
    "rate": {"type": 104, "sessionId": 5150, "rating": {"id": 0, "comments": ""}},
    "pre": {"type": 111, "requestId": 9001, "content": "order 4711"},
    "text": {"type": 110, "sessionId": 5150, "msg": text_message("hello")},
    "image": {
        "type": 110,
        "sessionId": 5150,
        "msg": {
            "type": 2,
            "content": {
                "name": "a.png",
                "imageUri": "http://h/a.png",
                "thumbData": "",
                "extra": "",
            },
        },
    },
    "file": {
        "type": 110,
        "sessionId": 5150,
        "msg": {
            "type": 3,
            "content": {"name": "a", "url": "https://h/a", "size": 1, "type": "", "extra": ""},
        },
    },
    "location": {
        "type": 110,
        "sessionId": 5150,
        "msg": {
            "type": 4,
            "content": {
                "poi": "",
                "longitude": 121.5,
                "latitude": 31,
                "map": "baidu",
                "thumbData": "",
                "extra": "",
            },
        },
    },
    "voice": {
        "type": 110,
        "sessionId": 5150,
        "msg": {"type": 5, "content": {"voiceLength": 2, "voiceData": "IyFBTVI=", "extra": ""}},
    },
}


def frame(body: dict[str, object]) -> str:
    return json.dumps({"messageId": 3, "token": "T", "time": 1733011200000, **body})


def options(**changes: object) -> SimulatorOptions:
    return SimulatorOptions(strict=True).changed(changes)


def code_of(text: str, **changes: object) -> ResultCode | None:
    return refused(text, options(**changes))


def refused(text: str, asked: SimulatorOptions) -> ResultCode | None:
    command = check(text, asked).command
    return command.code if isinstance(command, Refusal) else None


@pytest.mark.parametrize("name", GOOD)
def test_the_frames_of_the_guide_are_accepted(name: str) -> None:
    checked = check(frame(GOOD[name]), options())
    assert not isinstance(checked.command, Refusal)
    assert (checked.call_id, checked.token, checked.type) == (3, "T", GOOD[name]["type"])


@pytest.mark.parametrize("name", GOOD)
def test_every_field_of_the_guide_is_required(name: str) -> None:
    whole = json.loads(frame(GOOD[name]))
    for path in paths(whole):
        body = json.loads(json.dumps(whole))
        place = body
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]
        assert code_of(json.dumps(body)) == ResultCode.INVALID_PARAMETER, path


def paths(body: dict[str, object]) -> list[tuple[str, ...]]:
    """Return the paths of all keys, nested ones too."""
    found: list[tuple[str, ...]] = []
    for key, value in body.items():
        found.append((key,))
        if isinstance(value, dict):
            found += [(key, *rest) for rest in paths(value)]
    return found


def deep(depth: int) -> str:
    return f'{{"type":2,"x":{"[" * depth}{"]" * depth}}}'


INVALID = ("", "{", "[]", "1", '"x"', "{'type':1}", '{"type":2,}', deep(4_000), deep(100_000))


@pytest.mark.parametrize("text", INVALID)
def test_invalid_json_is_a_request_error(text: str) -> None:
    assert code_of(text) == ResultCode.REQUEST_ERROR


def test_json_of_700_levels_is_read_by_later_pythons() -> None:
    """Before 3.12, Python's own calls counted towards the limit of the parser's."""
    unread = sys.version_info < (3, 12)
    readable = ResultCode.INVALID_PARAMETER  # its keys are wrong
    assert code_of(deep(700)) == (ResultCode.REQUEST_ERROR if unread else readable)


@pytest.mark.parametrize("kind", [0, 1, 3, 10, 112, 113, 120, 199, 201, 302, 1000])
def test_types_that_2016_does_not_know_are_refused(kind: int) -> None:
    assert code_of(frame({"type": kind})) == ResultCode.INVALID_MESSAGE_TYPE


@pytest.mark.parametrize("kind", ["101", 101.5, True, None])
def test_a_type_that_is_no_integer_is_an_invalid_parameter(kind: object) -> None:
    checked = check(frame({"type": kind}), options())
    assert isinstance(checked.command, Refusal)
    assert checked.command.code == ResultCode.INVALID_PARAMETER
    assert (checked.type, checked.call_id) == (0, 3)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("request", {"queueId": "7"}),
        ("request", {"messageId": "3"}),
        ("request", {"time": 1.5}),
        ("close", {"sessionId": True}),
        ("pre", {"content": {"content": "x"}}),
        ("text", {"msg": {"type": 1, "content": "bare"}}),
        ("text", {"msg": {"type": 1, "content": {"text": "a", "extra": ""}}}),
        ("rate", {"rating": {"ratingId": 1, "comments": ""}}),
        ("rate", {"rating": {"id": "1", "comments": ""}}),
        (
            "image",
            {
                "msg": {
                    "type": 2,
                    "content": {"name": "", "imageUri": "/up/a.png", "thumbData": "", "extra": ""},
                }
            },
        ),
        (
            "voice",
            {"msg": {"type": 5, "content": {"voiceLength": 1, "voiceData": "", "extra": ""}}},
        ),
        (
            "voice",
            {"msg": {"type": 5, "content": {"voiceLength": 1, "voiceData": "!", "extra": ""}}},
        ),
    ],
)
def test_a_field_of_the_wrong_shape_is_an_invalid_parameter(
    name: str, changes: dict[str, object]
) -> None:
    assert code_of(frame(GOOD[name] | changes)) == ResultCode.INVALID_PARAMETER


def test_blank_text_is_an_empty_message() -> None:
    assert code_of(frame(GOOD["pre"] | {"content": " \n"})) == ResultCode.EMPTY_MESSAGE
    assert code_of(frame(GOOD["text"] | {"msg": text_message("\t")})) == ResultCode.EMPTY_MESSAGE


@pytest.mark.parametrize("kind", [0, 6, 99])
def test_customers_send_no_other_message_types(kind: int) -> None:
    body = GOOD["text"] | {"msg": {"type": kind, "content": {}}}
    assert code_of(frame(body)) == ResultCode.INVALID_MESSAGE_TYPE


def test_extra_keys_are_harmless() -> None:
    assert code_of(frame(GOOD["request"] | {"brand": "x"})) is None


def test_types_of_later_revisions_can_be_allowed() -> None:
    beat = check('{"messageId":2,"type":10}', options(heartbeat="ok"))
    assert (beat.command, beat.token) == (frames.Heartbeat(), "")
    receipt = check(frame({"type": 120, "rsId": "r"}), options(receipts=True))
    assert receipt.command == frames.Receipt("r")


@pytest.mark.parametrize("kind", [1, 3, 199, 201, 301, 1000])
def test_types_that_no_guide_shapes_are_refused_in_2019_too(kind: int) -> None:
    assert code_of(frame({"type": kind}), dialect="2019") == ResultCode.INVALID_MESSAGE_TYPE
    code = code_of(frame({"type": kind}), dialect="2019", unknown_type=-19)
    assert code == ResultCode.INVALID_REQUEST_TYPE


LATER: dict[str, tuple[dict[str, object], set[tuple[str, ...]]]] = {
    "request": (
        {"type": 101, "queueId": 7, "from": "APP", "toUserId": "", "tracks": "[]", "brand": "x"},
        {("from",), ("toUserId",), ("tracks",), ("brand",)},
    ),
    "rate": (
        {"type": 104, "sessionId": 5, "rating": {"ratingId": 0, "ratingComments": "ok"}},
        {("rating", "ratingComments")},
    ),
    "text": (
        {"type": 110, "sessionId": 5, "msg": {"type": 1, "content": {"text": "a", "extra": ""}}},
        {("msg", "content", "extra")},
    ),
    "preview": ({"type": 112, "sessionId": 5, "content": "hel"}, {("time",)}),
    "typing": ({"type": 113, "sessionId": 5}, {("time",)}),
    "heartbeat": ({"type": 10}, {("time",), ("token",)}),
    "receipt": ({"type": 120, "rsId": "r"}, set()),
    "transfer": (
        {"type": 302, "sessionId": 5, "transferInfo": '{"queueId":2}'},
        {("transferInfo",)},
    ),
    "image": (
        {
            "type": 110,
            "sessionId": 5,
            "msg": {"type": 2, "content": {"name": "a", "imageUri": "http://h/a", "extra": ""}},
        },
        {("msg", "content", "extra")},
    ),
    "location": (
        {
            "type": 110,
            "sessionId": 5,
            "msg": {"type": 4, "content": {"longitude": 1, "latitude": 2, "poi": ""}},
        },
        {("msg", "content", "poi")},
    ),
}
"""Commands of the later guides, and what may be left out of each."""


@pytest.mark.parametrize("name", LATER)
def test_the_later_guides_require_what_they_do_not_mark_as_optional(name: str) -> None:
    body, optional = LATER[name]
    whole = json.loads(frame(body))
    assert code_of(json.dumps(whole), dialect="2019") is None
    for path in paths(whole):
        shorter = json.loads(json.dumps(whole))
        place = shorter
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]
        wanted = None if path in optional else ResultCode.INVALID_PARAMETER
        assert code_of(json.dumps(shorter), dialect="2019") == wanted, path


def taken(body: dict[str, object], asked: SimulatorOptions) -> frames.Command:
    command = check(json.dumps({"token": "T"} | body), asked).command
    assert not isinstance(command, Refusal), command
    return command


def read(kind: int, said: object, asked: SimulatorOptions) -> frames.Content:
    """Return how a content is read."""
    envelope = {"messageId": 3, "time": 1} if asked.strict else {}
    message = {"type": kind, "content": said}
    command = taken({**envelope, "type": 110, "sessionId": 5, "msg": message}, asked)
    assert isinstance(command, frames.SendMessage)
    return command.content


def test_lenient_server_reads_frames_of_old_clients() -> None:
    """Frames as those of 2016-12: no messageId, the time as text, a bare string, other keys."""
    old = {"type": "110", "token": "T", "time": "1482740000.000000", "sessionId": "5"}
    asked = SimulatorOptions()
    told = taken(old | {"msg": {"type": "1", "content": "hello"}}, asked)
    assert told == frames.SendMessage(SessionId(5), frames.Text("hello"))
    image, place = {"name": "a.png", "url": "http://h/a"}, {"longitude": "1", "latitude": 2}
    assert read(2, image, asked) == frames.Image("a.png", "http://h/a")
    assert read(4, place | {"locationAddress": "x"}, asked) == frames.Location(2, 1, "x", "")
    voices = [{"length": 9, "url": "http://h/v"}, {"length": 9, "data": "xxxxx"}]
    assert read(5, voices[0], asked) == frames.Voice(9, uri="http://h/v")
    assert read(5, voices[1], asked) == frames.Voice(9, "xxxxx")
    request: dict[str, object] = {"type": 101, "queueId": "7"}
    assert taken(request, asked) == frames.RequestChat(QueueId(7), "")


def test_lenient_server_still_checks_content() -> None:
    for content, code in (({}, -14), (" ", -17), ({"text": "a"}, -14)):
        body = {"type": 110, "token": "T", "sessionId": 5, "msg": {"type": 1, "content": content}}
        assert refused(json.dumps(body), SimulatorOptions()) == code
        assert check(json.dumps(body), SimulatorOptions()).call_id is None
    relative = {"type": 5, "content": {"voiceLength": 1, "voiceUri": "/up/1"}}
    assert code_of(frame({"type": 110, "sessionId": 5, "msg": relative}), strict=False) == -14


def test_the_voices_of_2019_have_an_address() -> None:
    voice = {"voiceLength": 28, "voiceUri": "http://h/v", "voiceType": "mp3"}
    body = frame({"type": 110, "sessionId": 5, "msg": {"type": 5, "content": voice}})
    assert code_of(body, dialect="2019") is None
    assert code_of(body, dialect="2019", revision="R4") == ResultCode.INVALID_PARAMETER
    assert code_of(body) == ResultCode.INVALID_PARAMETER


def test_a_server_of_bare_strings_shows_the_braces_of_an_object() -> None:
    old = options(content="string")
    assert read(1, "hello", old) == frames.Text("hello")
    assert read(1, {"content": "hi"}, old) == frames.Text('{"content":"hi"}')
    picture = {"name": "a", "url": "http://h/a", "thumbData": "", "extra": ""}
    assert read(2, picture, old) == frames.Image("a", "http://h/a")
    new = {"name": "a", "imageUri": "http://h/a", "thumbData": "", "extra": ""}
    body = frame({"type": 110, "sessionId": 5, "msg": {"type": 2, "content": new}})
    assert code_of(body, content="string") == ResultCode.INVALID_PARAMETER


@pytest.mark.parametrize(("mode", "words"), [("blank", ""), ("shown", '{"text":"a","extra":""}')])
def test_unknown_keys_are_read_as_blank_or_shown(mode: str, words: str) -> None:
    text = {"text": "a", "extra": ""}
    asked = options(wrong_keys=mode)
    assert read(1, text, asked) == frames.Text(words)
    assert read(1, {**text, "content": "b"}, asked) == frames.Text("b")
    rating = json.loads(frame({"type": 104, "sessionId": 5, "rating": {"ratingId": 4}}))
    assert taken(rating, asked) == frames.RateSession(SessionId(5), 0, "")
    both = frame({"type": 110, "sessionId": 5, "msg": BOTH_TEXT})
    code = code_of(both, wrong_keys=mode, foreign_keys="refuse")
    assert code == ResultCode.INVALID_PARAMETER


BOTH_TEXT = {"type": 1, "content": {"content": "a", "text": "a", "extra": ""}}
BOTH_RATING = {"id": 1, "ratingId": 1, "comments": "", "ratingComments": ""}


@pytest.mark.parametrize("dialect", ["2016", "2019"])
def test_the_keys_of_both_dialects_are_read_unless_the_other_ones_are_refused(dialect: str) -> None:
    for body in (
        {"type": 110, "sessionId": 5, "msg": BOTH_TEXT},
        {"type": 104, "sessionId": 5, "rating": BOTH_RATING},
    ):
        wrong = code_of(frame(body), dialect=dialect, foreign_keys="refuse")
        assert wrong == ResultCode.INVALID_PARAMETER
        assert code_of(frame(body), dialect=dialect) is None


@pytest.mark.parametrize("code", [-14, -8, -17, -100])
@pytest.mark.parametrize("dialect", ["2016", "2019"])
def test_code_for_the_keys_of_the_other_dialect_alone(dialect: str, code: int) -> None:
    text, rating = ("text", "ratingId") if dialect == "2016" else ("content", "id")
    for body in (
        {"type": 110, "sessionId": 5, "msg": {"type": 1, "content": {text: "a", "extra": ""}}},
        {"type": 104, "sessionId": 5, "rating": {rating: 1}},
    ):
        assert code_of(frame(body), dialect=dialect, wrong_keys=code) == code


def test_a_type_of_too_many_digits_is_an_invalid_parameter() -> None:
    code = code_of(frame({"type": "9" * 5000}), strict=False)
    assert code == ResultCode.INVALID_PARAMETER


@pytest.mark.parametrize("info", ["{", "[]", '{"queueId":"2"}', '{"x":' + "[" * 2000])
def test_transfer_info_must_be_json_text(info: str) -> None:
    body: dict[str, object] = {"type": 302, "sessionId": 5, "transferInfo": info}
    assert code_of(frame(body), dialect="2019") == ResultCode.INVALID_PARAMETER
    with_queue = {**body, "transferInfo": '{"queueId":2}'}
    assert handover_queue(with_queue) == 2
    assert handover_queue({}) is None


def required(shape: type[msgspec.Struct]) -> set[str]:
    """Return the wire names of the required fields."""
    return {field.encode_name for field in msgspec.structs.fields(shape) if field.required}


QUEUEING = checks.COMMANDS[101].shape
CONTENTS = {kind: shape for kind, (_, shape) in checks.CONTENTS.items()}


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        (checks.HEADING.strict, {"messageId", "token", "time"}),
        (checks.SIGNAL.strict, {"messageId", "token"}),
        (checks.BEAT.strict, {"messageId"}),
        (QUEUEING.strict, {"queueId", "from"}),
        (QUEUEING.eased, {"queueId"}),
        (checks.STARS.strict, {"id", "comments"}),
        (checks.LATER_STARS.eased, {"ratingId"}),
        (checks.TEXT.strict, {"content", "extra"}),
        (checks.LATER_TEXT.eased, {"text"}),
        (CONTENTS[2].strict, {"name", "imageUri", "thumbData", "extra"}),
        (CONTENTS[2].eased, {"name", "imageUri"}),
        (CONTENTS[3].strict, {"name", "url", "size", "type", "extra"}),
        (CONTENTS[3].eased, {"name", "url"}),
        (CONTENTS[4].strict, {"poi", "longitude", "latitude", "map", "thumbData", "extra"}),
        (CONTENTS[4].eased, {"longitude", "latitude"}),
        (CONTENTS[5].strict, {"voiceLength", "voiceData", "extra"}),
        (CONTENTS[5].eased, {"voiceLength"}),
    ],
)
def test_required_fields(shape: type[msgspec.Struct], names: set[str]) -> None:
    """Protocol reference 1.2 and 1.5: the seed requires all it shows, the later guides mark."""
    assert required(shape) == names
