"""Which call comes next, and its call id."""

from __future__ import annotations

import msgspec

from bridge.conversation.model import CustomerMedia
from bridge.conversation.turn import Policy
from bridge.ids import QueueId
from bridge.webchat.codes import FailureReason
from tests.support.scene import SESSION, Scene

LARGEST = 2**31 - 1


def test_call_ids_stay_below_two_to_the_31() -> None:
    scene = Scene()
    scene.state = msgspec.structs.replace(scene.state, next_call=LARGEST - 1)
    scene.begin()
    scene.text("one")
    scene.reply()
    scene.text("two")
    assert [call.call_id for call in scene.calls] == [LARGEST - 1, 1, 2]


def test_one_call_at_a_time() -> None:
    scene = Scene()
    scene.begin()
    for text in ("one", "two", "three"):
        scene.text(text)
    assert scene.texts == ["one"]


def test_a_rating_waits_for_messages_and_precedes_the_close() -> None:
    scene = Scene()
    scene.begin()
    scene.text("one")
    scene.rate(5)
    scene.close()
    scene.reply()
    scene.reply()
    assert [frame["type"] for frame in scene.frames] == [101, 110, 104, 103]


def test_a_file_at_the_head_holds_what_follows() -> None:
    scene = Scene()
    scene.queue_up("one")
    scene.image("a.png")
    scene.image("b.png")
    scene.text("four")
    scene.uploaded()
    scene.uploaded()
    assert scene.state.outstanding is None
    scene.push(202, sessionId=SESSION)
    for _ in range(3):
        scene.reply()
    assert scene.texts == ["one", "a.png", "b.png", "four"]


def test_trouble_after_a_settled_failure_is_counted_anew() -> None:
    scene = Scene()
    scene.begin()
    scene.text("one")
    scene.fail(FailureReason.UNREACHABLE)
    scene.later(1)
    scene.fail(FailureReason.TOO_BIG)
    assert scene.state.trouble_since is None
    scene.later(29 * 60)
    scene.text("two")
    scene.fail(FailureReason.UNREACHABLE)
    scene.later(0.5)
    assert list(scene.reported.values()) == ["undelivered.too_big"]


def test_a_video_is_sent_as_a_file_unless_the_server_takes_videos() -> None:
    film = CustomerMedia("video", "clip.mp4", "mxc://example.org/clip", "video/mp4", 9)
    for videos, code, types in ((False, -12, [3]), (True, 1, [6]), (True, -12, [6, 3])):
        scene = Scene(Policy(queue_id=QueueId(7), videos=videos))
        scene.begin()
        scene.content(film)
        scene.uploaded()
        scene.reply(code)
        sent = [frame["msg"] for frame in scene.sent(110)]
        assert [one["type"] for one in sent if isinstance(one, dict)] == types
