"""Who is told what, when replies come, do not come, or the socket goes."""

from __future__ import annotations

import asyncio
import json

import pytest

from bridge.conversation.events import FailureReason
from bridge.ids import CallId, SessionId
from bridge.link.learnt import Learnt
from bridge.link.socket import FIRST_OWN, TOO_BIG, Replies
from bridge.rooms.ports import CallFailure
from bridge.webchat.codes import Dialect
from bridge.webchat.frames import Ignored, Received, Reply, SendMessage, Text, Typing
from bridge.webchat.protocol import Protocol
from tests.unit.link.rig import Facts, RealClock, settings_for

SESSION = SessionId(5150)


class Socket:
    """One socket's callers, without the socket."""

    def __init__(self, longest: int = 8000) -> None:
        settings = settings_for("http://crm/webchat", max_frame_bytes=longest)
        self.learnt = Learnt(settings, Facts(), RealClock())
        self.kinds: list[str] = []
        self.replies = Replies(Protocol("T"), self.learnt, self.kinds.append)

    def say(self, call_id: int, text: str) -> asyncio.Future[Reply]:
        command = SendMessage(SESSION, Text(text))
        return self.replies.expect(CallId(call_id), command, 0, Dialect.Y2016)[1]

    def hear(self, **frame: object) -> Received | Ignored | None:
        return self.replies.take(json.dumps(frame))


def failure(reply: asyncio.Future[Reply]) -> tuple[FailureReason, bool]:
    error = reply.exception()
    assert isinstance(error, CallFailure)
    return error.reason, error.certain


UNCERTAIN = (FailureReason.NO_ANSWER, False)


@pytest.mark.asyncio
async def test_1009_blames_the_longest_that_waits() -> None:
    socket = Socket()
    short, long, newest = socket.say(1, "a"), socket.say(2, "b" * 5000), socket.say(3, "c" * 4000)
    answered = socket.say(4, "d" * 6000)
    socket.hear(type=110, messageId=4, result=1)
    socket.replies.lost(TOO_BIG)
    assert answered.result().ok
    assert failure(long) == (FailureReason.TOO_BIG, True)
    assert [failure(short), failure(newest)] == [UNCERTAIN, UNCERTAIN]
    assert 2500 <= socket.learnt.longest_frame < 2600


@pytest.mark.asyncio
async def test_of_equals_the_newest() -> None:
    socket = Socket()
    first, second = socket.say(1, "abc"), socket.say(2, "abc")
    socket.replies.lost(TOO_BIG)
    assert failure(first) == UNCERTAIN
    assert failure(second) == (FailureReason.TOO_BIG, True)
    assert socket.learnt.longest_frame == 8000, "so short a frame shows no limit"


@pytest.mark.asyncio
async def test_1009_without_anything_of_ours_under_way() -> None:
    socket = Socket()
    socket.replies.lost(TOO_BIG)
    assert socket.learnt.longest_frame == 8000


@pytest.mark.asyncio
async def test_other_losses_leave_everything_uncertain() -> None:
    socket = Socket()
    waiting = [socket.say(number, "x" * 3000) for number in range(3)]
    waiting[1].cancel()
    socket.replies.lost(1006)
    assert [failure(waiting[0]), failure(waiting[2])] == [UNCERTAIN, UNCERTAIN]
    assert socket.learnt.longest_frame == 8000


@pytest.mark.asyncio
async def test_a_lowered_limit_counts_at_once() -> None:
    socket = Socket()
    long = socket.say(1, "x" * 6000)
    socket.learnt.too_long(6100)
    with pytest.raises(CallFailure, match="exceeds 3050 bytes"):
        await socket.say(2, "x" * 6000)
    socket.hear(type=110, messageId=1, result=1)
    assert long.result().ok, "what was written before is still answered"


@pytest.mark.asyncio
async def test_own_ids_are_not_those_of_conversations() -> None:
    socket = Socket()
    receipt = json.loads(socket.replies.receipt("r-1", 0))
    assert (receipt["rsId"], receipt["messageId"]) == ("r-1", FIRST_OWN + 1)
    call_id = socket.replies.own_id()
    _, reply = socket.replies.expect(call_id, Typing(SESSION), 0, Dialect.Y2019)
    socket.hear(type=113, result=-12)
    assert reply.result().result == -12
    assert call_id == FIRST_OWN + 2


@pytest.mark.asyncio
async def test_a_receipt_that_no_frame_can_hold() -> None:
    with pytest.raises(CallFailure):
        Socket(longest=1024).replies.receipt("r" * 1024, 0)


@pytest.mark.asyncio
async def test_what_is_handed_on() -> None:
    socket = Socket()
    assert isinstance(socket.hear(type=203, sessionId=1, agentId="a"), Received)
    assert socket.hear(type=299, rsId="r-9") == Ignored("unknown type 299", "r-9")
    assert socket.hear(type=299) is None
    assert socket.hear(type=110, result=1) is None
    assert socket.kinds == [
        "unknown type 299",
        "unknown type 299",
        "reply 110 that nobody awaits",
    ]
