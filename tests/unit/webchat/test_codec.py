"""The two functions together: every frame of the reference, and anything else at all."""

import json

from hypothesis import given
from hypothesis import strategies as st

from bridge.webchat.codec import dump_command, parse_frame
from bridge.webchat.frames import Ignored, Received, Reply
from tests.unit.webchat.examples import COMMANDS, PUSHES, REPLIES
from tests.unit.webchat.test_lenient import ANY_JSON

WELL_KNOWN_KEYS = st.sampled_from(
    """
    type messageId result message requestId requestStatus queueLength sessionId agentId agents
    users msg content noticeType rsId data perm robotType robotMode ratings name id icon url text
    fileAcceptExtensionsArr comments latitude longitude voiceData thumbData relatedQuestions
    """.split()  # noqa: SIM905 -- a column of strings would hide the list
)
KNOWN_NUMBERS = st.sampled_from([1, 2, 3, 4, 5, 6, 10, 11, 99, *range(100, 125), *range(200, 215)])
FRAMES = st.dictionaries(WELL_KNOWN_KEYS, ANY_JSON | KNOWN_NUMBERS, max_size=8)


def readable(frame: str | bytes) -> Reply | Received | Ignored:
    """Parse, and make sure that what comes out can be shown and stored."""
    found = parse_frame(frame)
    assert isinstance(found, Reply | Received | Ignored)
    repr(found).encode()
    return found


def test_every_frame_of_the_reference_is_understood() -> None:
    assert all(isinstance(parse_frame(frame), Reply) for frame in REPLIES)
    assert all(isinstance(parse_frame(frame), Received) for frame in PUSHES)


def test_commands_are_nobodys_answer() -> None:
    assert all(isinstance(parse_frame(frame), Ignored) for frame in COMMANDS)


def test_the_module_offers_both() -> None:
    assert callable(dump_command)
    assert parse_frame("") == Ignored("not JSON")


@given(st.text(st.characters()))
def test_any_text(frame: str) -> None:
    readable(frame)


@given(st.binary())
def test_any_bytes(frame: bytes) -> None:
    readable(frame)


@given(ANY_JSON)
def test_any_json(value: object) -> None:
    readable(json.dumps(value))


@given(FRAMES, st.integers(1, 400), st.booleans())
def test_anything_under_well_known_keys(
    frame: dict[str, object], kind: int, as_bytes: bool
) -> None:
    written = json.dumps({**frame, "type": kind})
    readable(written.encode() if as_bytes else written)


@given(st.integers(0, 7), ANY_JSON | FRAMES, FRAMES)
def test_any_content(kind: int, content: object, frame: dict[str, object]) -> None:
    push = {**frame, "type": 210, "msg": {**frame, "type": kind, "content": content}}
    found = readable(json.dumps(push))
    assert isinstance(found, Received)  # an agent's message is never dropped


@given(st.sampled_from([*PUSHES, *REPLIES]), st.data())
def test_mutated_frames(frame: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(frame)))
    end = data.draw(st.integers(start, len(frame)))
    readable(frame[:start] + data.draw(st.text(max_size=6)) + frame[end:])


@given(st.sampled_from([*PUSHES, *REPLIES]), st.data())
def test_frames_with_one_value_exchanged(frame: str, data: st.DataObject) -> None:
    told = json.loads(frame)
    key = data.draw(st.sampled_from(sorted(told)))
    told[key] = data.draw(ANY_JSON)
    readable(json.dumps(told))


def test_monsters() -> None:
    for frame in (
        "[" * 100_000,
        '{"type":210,"msg":' + "[" * 10_000 + "]" * 10_000 + "}",
        '{"type":210,"sessionId":1,"msg":' + '{"content":' * 900 + "1" + "}" * 900 + "}",
        '{"type":' + "9" * 5000 + "}",
        '{"type":1e999}',
        '{"type":NaN}',
        '{"type":210,"type":210,"msg":{"type":1,"type":1,"content":"a","content":"b"}}',
        '{"type":210,"msg":{"type":2,"content":"' + "A" * 4_000_000 + '"}}',
        b"\xff\xfe\x00",
        b"\x00" * 1000,
        "\ud800",
    ):
        readable(frame)
