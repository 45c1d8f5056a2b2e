"""Frames are immutable values, which the engine stores as tagged JSON and reads back."""

import msgspec
import pytest

from bridge.ids import CallId, SessionId
from bridge.webchat.frames import Command, Ignored, Push, Received, Reply, SendMessage, Text
from bridge.webchat.read import parse_frame
from tests.unit.webchat.examples import PUSHES, REPLIES


@pytest.mark.parametrize(("result", "ok"), [(1, True), (0, False), (-1, False), (2, False)])
def test_only_result_1_is_success(result: int, ok: bool) -> None:
    assert Reply(110, result).ok is ok


@pytest.mark.parametrize("frame", PUSHES)
def test_pushes_survive_storage(frame: str) -> None:
    received = parse_frame(frame)
    assert isinstance(received, Received)
    stored = msgspec.json.encode(received.push)
    assert msgspec.json.decode(stored, type=Push) == received.push


@pytest.mark.parametrize("frame", REPLIES)
def test_replies_survive_storage(frame: str) -> None:
    reply = parse_frame(frame)
    assert isinstance(reply, Reply)
    assert msgspec.json.decode(msgspec.json.encode(reply), type=Reply) == reply


def test_commands_survive_storage() -> None:
    command = SendMessage(SessionId(5150), Text("hello"))
    assert msgspec.json.decode(msgspec.json.encode(command), type=Command) == command


def test_values_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Ignored("x").kind = "y"  # type: ignore[misc]  # the point of the test
    assert Reply(2, 1, call_id=CallId(7)).call_id == 7
