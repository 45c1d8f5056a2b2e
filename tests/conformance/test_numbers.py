"""Every notice type and request status of the reference (2.2, 2.3): what it does to a chat."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.conversation.inputs import FailureReason
from tests.support.scene import SESSION, Scene


@pytest.mark.parametrize(
    ("notice", "shown"),
    [
        ({"content": "hold the line"}, True),  # 2016: no noticeType at all
        ({"noticeType": 0, "content": "hold the line"}, True),
        ({"noticeType": 1, "content": "track"}, False),
        ({"noticeType": 3, "content": "still there?"}, True),
        ({"noticeType": 4, "content": "closing soon"}, True),
        ({"noticeType": 5, "content": ""}, False),
        ({"noticeType": 10, "content": "Jun was invited"}, True),
        ({"noticeType": 11, "content": "you are passed on"}, True),
        ({"noticeType": 12, "content": "Mei has left"}, True),
        ({"noticeType": 99, "content": "anything"}, True),
        ({"noticeType": 120, "content": "a project's own"}, True),
        ({"noticeType": 120, "content": ""}, False),
    ],
)
def test_notice_types(notice: dict[str, object], *, shown: bool) -> None:
    """Trap T33 among them: none of them ends the chat, notice 4 (idle too long) neither."""
    scene = Scene()
    scene.begin()
    scene.forget()
    scene.push(210, sessionId=SESSION, agentId="K00017", msg={"type": 99, **notice})
    assert scene.notices == (["chat.notice"] if shown else [])
    assert not scene.relayed, "a notice is not words of the agent"
    assert scene.phase == "Chatting"
    assert scene.frames == []


def test_notice_2_asks_for_a_rating() -> None:
    notice = {"type": 99, "noticeType": 2, "content": ""}
    scene = Scene()
    scene.begin()
    scene.push(210, sessionId=SESSION, agentId="K00017", msg=notice)
    assert scene.asked == [SESSION]


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ({"requestStatus": 0, "queueLength": 2}, "Queued"),
        ({"requestStatus": 1}, "Queued"),
        ({"requestStatus": 2}, "Idle"),
        ({"requestStatus": 3}, "Idle"),
        ({"requestStatus": 4}, "Idle"),
        ({"requestStatus": 5}, "Idle"),
        ({"requestStatus": 6}, "Idle"),
        ({"requestStatus": 7}, "Idle"),
        ({"requestStatus": 11}, "Queued"),
        ({"requestStatus": 42}, "Idle"),
    ],
)
def test_request_statuses(status: dict[str, object], phase: str) -> None:
    """Whatever ends the request says so in a sentence of its own."""
    scene = Scene()
    scene.queue_up()
    scene.forget()
    scene.push(201, requestId=9001, **status)
    assert scene.phase == phase
    if phase == "Idle":
        assert [*scene.notices, *scene.cards], "the customer is told"


@pytest.mark.parametrize("code", [-13, -16, -21, -22, -23])
def test_a_file_that_is_refused_is_reported(code: int) -> None:
    """-13 to -23: what the customer sent is answered, not dropped."""
    scene = Scene()
    scene.begin()
    event_id = scene.image()
    for _ in range(5):
        if scene.state.outstanding is None:
            break
        scene.fail(FailureReason.REFUSED, code=code)
        scene.later(120)
    assert event_id in scene.reported


def test_the_reference_frames_are_json() -> None:
    """Trap T1: what we hold for examples is strict JSON, whatever the guide prints."""
    from tests.unit.webchat.examples import COMMANDS

    assert COMMANDS
    for frame in COMMANDS:
        assert json.loads(frame)["type"]


def test_vendors_spelling_is_kept_where_it_can_be_searched() -> None:
    """Trap T30: the misspelt names stand beside ours."""
    codes = Path(__file__).parents[2] / "bridge" / "webchat" / "codes.py"
    text = codes.read_text(encoding="utf-8")
    for name in ("INVAILD_TOKEN", "REQUEST_ALREADY_IN_ROULTING", "INVAILD_LOGINNAME_OR_PASSWORD"):
        assert name in text
