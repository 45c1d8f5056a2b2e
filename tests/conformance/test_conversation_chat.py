"""Rows of the protocol reference, section 7: chats, their ends, their ratings, and broken links.

See `test_conversation.py`.
"""

from __future__ import annotations

import pytest

from bridge.conversation.model import CustomerText, Queued
from bridge.conversation.turn import Policy
from bridge.webchat.codes import FailureReason
from bridge.webchat.frames import Ignored, UnknownContent
from bridge.webchat.read import parse_frame
from bridge.webchat.words import frame_bytes
from tests.support.scene import ASK, JUN, MEI, REQUEST, Scene, message

CUSTOMER = {"id": "7b0c2c58-6f0e-4d0e-9d51-0d7b3a3f5a10", "name": "room-42", "icon": ""}


def test_36_permanent_session_needs_no_202() -> None:
    """Row 36: a permanent session needs no 202."""
    scene = Scene()
    scene.text("one")
    scene.reply(sessionId=5150, perm=1, agentId="K00017", agentName="Mei", icon="", comments="")
    assert scene.phase == "Chatting"
    assert scene.last == message("one")
    assert scene.ghosts == {"K00017"}


def test_37_session_continues_after_a_reconnect() -> None:
    """Row 37: after a reconnect the same session continues without a greeting."""
    scene = Scene()
    scene.begin()
    scene.text("one")
    scene.cut()
    scene.restored()
    scene.forget()
    scene.push(202, sessionId=5150, agents=[MEI], continueLastSession=True)
    assert scene.notices == []
    scene.reply()
    assert scene.delivered == ["$1"]


@pytest.mark.parametrize("people", [{"users": [MEI, CUSTOMER]}, {"agents": [MEI]}])
def test_38_39_people_lists(people: dict[str, object]) -> None:
    """Rows 38 and 39: `users`, which includes the customer, and `agents` mean the same."""
    scene = Scene()
    scene.start()
    scene.reply(requestId=9001)
    scene.push(202, sessionId=5150, **people)
    assert scene.ghosts == {"K00017"}


def test_40_transfer_to_another_agent() -> None:
    """Row 40: an agent transfers the chat to another."""
    scene = Scene()
    scene.begin(MEI)
    scene.forget()
    scene.push(204, sessionId=5150, agents=[JUN])
    assert scene.notices == scene.pings == ["chat.transferred"]
    scene.push(210, sessionId=5150, agentId="K00021", msg={"type": 1, "content": "hi"})
    assert scene.relayed[0].agent.name == "Jun"


def test_41_two_agents_in_a_chat() -> None:
    """Row 41: messages of two agents are attributed to each."""
    scene = Scene()
    scene.begin(MEI)
    scene.push(204, sessionId=5150, agents=[MEI, JUN])
    for who in ("K00017", "K00021"):
        scene.push(210, sessionId=5150, agentId=who, msg={"type": 1, "content": "hi"})
    assert [relay.agent.name for relay in scene.relayed] == ["Mei", "Jun"]
    assert scene.ghosts == {"K00017", "K00021"}


def test_42_agent_is_renamed() -> None:
    """Row 42: a new name renames the ghost, without a notice."""
    scene = Scene()
    scene.begin(MEI)
    scene.forget()
    scene.push(204, sessionId=5150, agents=[{**MEI, "name": "Mei Li"}])
    assert scene.notices == []
    assert scene.ghosts == {"K00017"}
    scene.push(210, sessionId=5150, agentId="K00017", msg={"type": 1, "content": "hi"})
    assert scene.relayed[0].agent.name == "Mei Li"


def test_46_rating_of_zero_is_sent() -> None:
    """Row 46: 0 is a valid rating."""
    scene = Scene()
    scene.begin()
    scene.rate(0)
    assert scene.last == {"type": 104, "sessionId": 5150, "rating": {"id": 0, "comments": ""}}
    scene.reply()
    assert scene.notices[-1] == "rating.thanks"


def test_47_ended_session_can_be_rated() -> None:
    """Row 47: the ended session is rated."""
    scene = Scene()
    scene.begin()
    scene.push(205, sessionId=5150, agentId="K00017")
    scene.rate(5, "thanks")
    rating = {"id": 5, "comments": "thanks"}
    assert scene.last == {"type": 104, "sessionId": 5150, "rating": rating}


def test_48_rating_is_requested_once() -> None:
    """Row 48: 203 twice and a notice of type 2 ask for one rating."""
    scene = Scene()
    scene.begin()
    notice = {"type": 99, "noticeType": 2, "content": ""}
    scene.push(203, sessionId=5150, agentId="K00017")
    scene.push(203, sessionId=5150, agentId="K00017")
    scene.push(210, sessionId=5150, agentId="K00017", msg=notice)
    assert scene.asked == [5150]


def test_49_session_invalid() -> None:
    """Row 49: -11 starts a new chat; the text is sent again once, before newer ones."""
    scene = Scene()
    scene.begin()
    first = scene.text("one")
    second = scene.text("two")
    scene.reply(-11)
    assert scene.last == ASK
    scene.reply()
    scene.push(202, sessionId=5151, agents=[MEI])
    scene.reply()
    scene.reply()
    assert scene.sent(110)[1:] == [message("one", 5151), message("two", 5151)]
    assert scene.delivered == [first, second]


def test_50_invalid_session_starts_one_new_chat() -> None:
    """Row 50: messages are sent one at a time, so -11 starts a single new chat."""
    scene = Scene()
    scene.begin()
    for text in ("one", "two", "three"):
        scene.text(text)
    scene.reply(-11)
    scene.reply()
    scene.push(202, sessionId=5151, agents=[MEI])
    for _ in range(3):
        scene.reply()
    assert len(scene.sent(101)) == 2
    assert scene.texts == ["one", "one", "two", "three"]


def test_51_close_by_customer() -> None:
    """Row 51: 103 and the 205 after it are one end of the chat."""
    scene = Scene()
    scene.begin()
    scene.close()
    assert scene.last == {"type": 103, "sessionId": 5150}
    scene.reply()
    scene.push(205, sessionId=5150, agentId="K00017")
    assert scene.notices[1:] == ["chat.ended_by_you"]


def test_52_closing_a_lost_session_succeeds() -> None:
    """Row 52: closing a session that is gone succeeds."""
    scene = Scene()
    scene.begin()
    scene.close()
    scene.reply(-11)
    assert scene.phase == "Ended"
    assert scene.notices[1:] == ["chat.ended_by_you"]


def test_53_html_is_passed_on_unchanged() -> None:
    """Row 53 in the conversation: the HTML is passed on unchanged."""
    scene = Scene()
    scene.begin()
    html = 'see <a href="https://h/faq">the FAQ</a>'
    scene.push(210, sessionId=5150, agentId="K00017", msg={"type": 1, "content": html})
    assert getattr(scene.relayed[0].content, "html", None) == html


def test_54b_emoji_are_sent_as_codes_if_configured() -> None:
    """Reference 3.9: emoji are sent unchanged, or as WeChat codes if configured."""
    for codes, sent in ((False, "hello 🙂🌹"), (True, "hello /::)/:rose")):
        scene = Scene(Policy(emoji_codes=codes))
        scene.begin()
        scene.text("hello 🙂🌹")
        assert scene.texts == [sent]


def test_60_typing_notice_is_not_shown() -> None:
    """Row 60 in the conversation: a typing notice is not shown."""
    scene = Scene()
    scene.begin()
    scene.forget()
    notice = {"type": 99, "noticeType": 5, "content": ""}
    scene.push(210, sessionId=5150, agentId="K00017", msg=notice)
    assert scene.effects == []


@pytest.mark.parametrize("number", [{}, {"noticeType": 120}])
def test_61_unknown_notice_is_shown(number: dict[str, object]) -> None:
    """Row 61: an unknown notice is shown."""
    scene = Scene()
    scene.begin()
    scene.forget()
    notice = {"type": 99, "content": "hold the line", **number}
    scene.push(210, sessionId=5150, agentId="K00017", msg=notice)
    assert scene.notices == ["chat.notice"]


def test_62_message_of_unknown_type_is_passed_on() -> None:
    """Row 62: a message of unknown type without words is shown as a placeholder."""
    scene = Scene()
    scene.begin()
    scene.push(210, sessionId=5150, agentId="K00017", msg={"type": 77, "content": {"a": 1}})
    content = scene.relayed[0].content
    assert isinstance(content, UnknownContent)
    assert content.message_type == 77


@pytest.mark.parametrize("frame", ['{"type":299}', "{}", "hello", "[1]", "\ufffd"])
def test_63_unknown_frame_is_ignored(frame: str) -> None:
    """Row 63: an unknown frame never reaches the conversation."""
    assert isinstance(parse_frame(frame), Ignored)


def test_70_link_lost_in_chat() -> None:
    """Row 70: no new 101; the next text is sent in the old session."""
    scene = Scene()
    scene.begin()
    scene.restored()
    scene.text("one")
    assert len(scene.sent(101)) == 1
    assert scene.last == message("one")


def test_71_link_lost_in_queue() -> None:
    """Row 71: 101 is repeated once for the same queue."""
    scene = Scene()
    scene.start(queue=8)
    scene.reply(requestId=9001)
    scene.restored()
    scene.reply(-1)
    assert [frame["queueId"] for frame in scene.sent(101)] == [8, 8]
    assert isinstance(scene.state.phase, Queued)
    assert scene.state.phase.request_id == REQUEST


def test_72_unanswered_message_is_sent_again_and_marked() -> None:
    """Row 72: the message is sent again once, with the same call id, and marked."""
    scene = Scene()
    scene.begin()
    scene.text("one")
    scene.cut()
    scene.restored()
    first, again = [call for call in scene.calls if call.event_id == "$1"]
    assert again.call_id == first.call_id
    assert [getattr(call, "repeat", None) for call in (first, again)] == [False, True]
    scene.reply()
    assert scene.delivered == ["$1"]


def test_73_server_restart() -> None:
    """Row 73: the server has lost its state; the text still arrives once."""
    scene = Scene()
    scene.begin()
    event = scene.text("one")
    scene.fail(FailureReason.UNREACHABLE)
    scene.later(1)
    scene.reply(-11)
    scene.reply(requestId=1)
    scene.push(202, sessionId=1, agents=[MEI])
    scene.reply()
    assert scene.delivered == [event]
    assert scene.notices[-3:] == ["trouble.over", "chat.lost", "chat.started"]


def test_74_close_1009() -> None:
    """Row 74: the message that was too big for the link is reported and not sent again."""
    scene = Scene()
    scene.begin()
    event = scene.text("one")
    scene.fail(FailureReason.TOO_BIG)
    assert scene.reported == {event: "undelivered.too_big"}
    scene.restored()
    assert len(scene.sent(110)) == 1


def test_75_long_text() -> None:
    """Row 75: 20,000 Chinese characters are split into frames, in order, and reported once."""
    scene = Scene()
    scene.begin()
    text = "你好，请问我的包裹到哪里了？\n" * 1334
    event = scene.text(text)
    while scene.state.outstanding is not None:
        scene.reply()
    assert "".join(map(str, scene.texts)) == text
    assert all(frame_bytes(str(part)) <= scene.policy.max_text_bytes for part in scene.texts)
    assert scene.delivered == [event]


@pytest.mark.parametrize("code", [-16, -21])
def test_78_upload_refused(code: int) -> None:
    """Row 78: the customer is told why; no 110."""
    scene = Scene()
    scene.begin()
    event = scene.image()
    scene.fail(FailureReason.REFUSED, code=code)
    assert scene.reported == {event: f"result.{code}"}
    assert scene.sent(110) == []


def test_80_ids_as_strings() -> None:
    """Row 80: ids are read as strings and written as integers."""
    scene = Scene()
    scene.text("one")
    scene.reply("1", requestId="9001")
    assert scene.last == {"type": 111, "requestId": 9001, "content": "one"}
    scene.reply("1")
    scene.push(202, sessionId=5150.0, agents=[MEI])
    scene.text("two")
    assert scene.last == message("two")


def test_81_end_of_another_session_is_ignored() -> None:
    """Row 81: the end of another session is ignored."""
    scene = Scene()
    scene.begin()
    scene.push(205, sessionId=1, agentId="K00017")
    assert scene.phase == "Chatting"


def test_84_blank_text() -> None:
    """Row 84: a blank text is not sent, and reported."""
    scene = Scene()
    event = scene.content(CustomerText("  \n "))
    assert scene.frames == []
    assert scene.reported == {event: "undelivered.blank"}


def test_87_shutdown_in_chat() -> None:
    """Row 87: on a new link neither 2 nor 103 is sent; the chat continues."""
    scene = Scene()
    scene.begin()
    scene.restored()
    scene.later(3600)
    assert scene.sent(2) == scene.sent(103) == []
    scene.text("one")
    assert scene.last == message("one")
