"""The effect of every notice type and request status of the reference (2.2, 2.3) on a chat."""

from __future__ import annotations

import json

import pytest

from bridge.conversation.model import TakeBack
from bridge.webchat.codes import FailureReason, ResultCode, meaning
from bridge.webchat.frames import AgentText
from tests.support.scene import SESSION, Scene


@pytest.mark.parametrize(
    ("notice", "shown"),
    [
        ({"content": "hold the line"}, True),  # 2016: no noticeType
        ({"noticeType": 1, "content": "track"}, False),
        ({"noticeType": 3, "content": "still there?"}, True),
        ({"noticeType": 4, "content": "closing soon"}, True),
        ({"noticeType": 5, "content": ""}, False),
        ({"noticeType": 5, "content": "对方正在输入"}, False),
        ({"noticeType": 10, "content": "Jun was invited"}, True),
        ({"noticeType": 11, "content": "you are passed on"}, True),
        ({"noticeType": 12, "content": "Mei has left"}, True),
        ({"noticeType": 99, "content": "anything"}, True),
        ({"noticeType": 120, "content": "a project's own"}, True),
        ({"noticeType": 120, "content": ""}, False),
    ],
)
def test_notice_types(notice: dict[str, object], *, shown: bool) -> None:
    """Trap T33: no notice ends the chat, not even notice 4 (idle too long)."""
    scene = Scene()
    scene.begin()
    scene.forget()
    scene.push(210, sessionId=SESSION, agentId="K00017", msg={"type": 99, **notice})
    assert scene.notices == (["chat.notice"] if shown else [])
    assert not scene.relayed, "a notice is not words of the agent"
    assert scene.phase == "Chatting"
    assert scene.frames == []


@pytest.mark.parametrize("content", [{"messageId": 152820}, '{"messageId":152820}', "<img>", None])
def test_notice_6_is_a_recall_whose_content_is_not_shown(content: object) -> None:
    """Whatever the content is, only the id of the recalled message is taken from it."""
    scene = Scene()
    scene.begin()
    scene.forget()
    recall = {"type": 99, "noticeType": 6, "content": content}
    scene.push(210, sessionId=SESSION, agentId="K00017", msg=recall)
    [taken] = scene.effects
    assert isinstance(taken, TakeBack)
    known = content is not None and "152820" in str(content)
    assert taken.message_id == ("152820" if known else "")
    assert (scene.notices, scene.relayed) == ([], [])
    assert scene.phase == "Chatting"


def test_notice_0_is_a_message_of_the_agent() -> None:
    """It is treated like a text: relayed once, though repeated on a new link, and starts a chat."""
    said = {"type": 99, "noticeType": 0, "content": 'see <a href="https://h/x">this</a>'}
    scene = Scene()
    scene.push(210, sessionId=SESSION, agentId="K00017", msg=said)
    scene.later(1)
    scene.restored()
    scene.push(210, sessionId=SESSION, agentId="K00017", msg=said)
    assert [(one.agent.id, one.content) for one in scene.relayed] == [
        ("K00017", AgentText('see <a href="https://h/x">this</a>'))
    ]
    assert "chat.notice" not in scene.notices
    assert (scene.phase, scene.state.last_session) == ("Chatting", SESSION)


def test_notice_without_a_type_starts_no_chat() -> None:
    """In dialect 2016 there is no noticeType: it is a system notice."""
    scene = Scene()
    scene.push(
        210, sessionId=SESSION, agentId="K00017", msg={"type": 99, "content": "hold the line"}
    )
    assert (scene.phase, scene.notices, scene.relayed) == ("Idle", ["chat.notice"], [])


def test_empty_notice_0_is_ignored() -> None:
    scene = Scene()
    scene.begin()
    scene.forget()
    notice = {"type": 99, "noticeType": 0, "content": " "}
    scene.push(210, sessionId=SESSION, agentId="K00017", msg=notice)
    assert scene.effects == []


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
    """Every status that ends the request is reported to the customer."""
    scene = Scene()
    scene.queue_up()
    scene.forget()
    scene.push(201, requestId=9001, **status)
    assert scene.phase == phase
    if phase == "Idle":
        assert [*scene.notices, *scene.cards], "the customer is told"


@pytest.mark.parametrize("code", [-13, -16, -21, -22, -23])
def test_a_file_that_is_refused_is_reported(code: int) -> None:
    """-13 to -23: the file is reported as undelivered, not dropped."""
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
    """Trap T1: the example commands of the tests are JSON, unlike the guide's."""
    from tests.unit.webchat.examples import COMMANDS

    assert COMMANDS
    for frame in COMMANDS:
        assert json.loads(frame)["type"]


VENDORS = """
SUCCESS REQUEST_ALREADY_IN_ROULTING ALREADY_IN_CHATTING NOT_IN_WORKTIME INVAILD_SKILLGROUP
NO_AGENT_ONLINE INVAILD_CLIENT_ID INVAILD_QUEUE_ID REQUEST_ERROR INVAILD_TO_USER_ID
INVAILD_CHAT_REQUEST_ID INVAILD_CHAT_SESSION_ID INVAILD_MESSAGE_TYPE UPLOAD_FILE_FAILED
INVAILD_PARAMETER INVAILD_TOKEN INVAILD_FILE_EXTENSION EMPTY_MESSAGE
INVAILD_LOGINNAME_OR_PASSWORD INVAILD_SIGN INTERNAL_ERROR
"""
"""The guide's names, with its spelling mistakes (guide 5.4)."""


def test_result_codes_have_the_vendors_names() -> None:
    """Trap T30: logs and `doctor` use the vendor's names, which can be searched for."""
    assert {meaning(code).name for code in ResultCode} >= set(VENDORS.split())
