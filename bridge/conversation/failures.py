"""Calls that came to nothing, and how long we go on trying.

A call whose fate is unknown is made again under its old id and said to be a repeat; one that surely
did not arrive is made again as if for the first time. When the service has been away for
`Policy.hold`, everything that waits for it is given back to the customer, in words.
"""

from __future__ import annotations

import msgspec

from bridge.conversation.inputs import CallFailed, FailureReason
from bridge.conversation.model import (
    Chatting,
    Held,
    Outstanding,
    Queued,
    Requesting,
    Upload,
)
from bridge.conversation.transitions import end_chat, leave_queue, queue_ended
from bridge.conversation.turn import Turn
from bridge.webchat.codes import ResultCode
from bridge.webchat.frames import RequestChat

_HOPELESS = frozenset({FailureReason.LOGIN_REFUSED, FailureReason.SIGN_REFUSED})
_ABOUT_CONTENT = frozenset({FailureReason.TOO_BIG, FailureReason.MEDIA_GONE, FailureReason.REFUSED})


def call_failed(turn: Turn, failure: CallFailed) -> None:
    """Settle the outstanding call without a reply."""
    outstanding = turn.state.outstanding
    if outstanding is None or outstanding.call_id != failure.call_id:
        return
    turn.set(outstanding=None)
    if failure.reason in _ABOUT_CONTENT and _blame_content(turn, outstanding, failure):
        return
    _return_content(turn, outstanding, certain=failure.certain)
    if failure.reason in _HOPELESS:
        _hopeless(turn, failure.reason)
        return
    _count_failure(turn)
    if failure.reason == FailureReason.NO_ANSWER and turn.state.failures == 1:
        turn.set(retry_at=turn.now)  # a cut link: the new one is tried at once (row 33)
    elif not turn.state.told_trouble and failure.reason != FailureReason.NO_ANSWER:
        turn.set(told_trouble=True)
        turn.say("trouble.unreachable")


def try_again(turn: Turn, code: int) -> bool:
    """A refusal that may pass (-100, or -15 twice): False once it was tried often enough."""
    state = turn.state
    outstanding = state.outstanding
    tried_enough = outstanding is None or state.failures + 1 >= turn.policy.max_tries
    if tried_enough and code != ResultCode.INVALID_TOKEN:
        return False
    turn.set(outstanding=None)
    if outstanding is not None:
        _return_content(turn, outstanding, certain=True)
    _count_failure(turn)
    return True


def _count_failure(turn: Turn) -> None:
    failures = turn.state.failures + 1
    policy = turn.policy
    wait = min(policy.backoff_first << min(failures - 1, 20), policy.backoff_last)
    since = turn.state.trouble_since
    turn.set(
        failures=failures,
        trouble_since=turn.now if since is None else since,
        retry_at=turn.now + wait,
    )


def _return_content(turn: Turn, outstanding: Outstanding, *, certain: bool) -> None:
    """What was asked is wanted again.

    Content goes back to the front; one that may have arrived remembers the id it went under.
    """
    phase = turn.state.phase
    if isinstance(outstanding.what, RequestChat) and isinstance(phase, Queued):
        turn.enter(msgspec.structs.replace(phase, resync=True))
    held = outstanding.held
    if held is None:
        return
    if certain:
        turn.put_back(held)
        return
    if held.repeats >= turn.policy.max_repeats:
        turn.report((held,), "undelivered.uncertain")
        return
    turn.put_back(
        msgspec.structs.replace(held, asked=outstanding.call_id, repeats=held.repeats + 1)
    )


def _blame_content(turn: Turn, outstanding: Outstanding, failure: CallFailed) -> bool:
    """The content itself is at fault: tell the customer, and go on with what follows."""
    piece = outstanding.held
    if isinstance(outstanding.what, Upload):
        piece = _take_uploading(turn, outstanding.what, failure)
        if piece is None:
            return True
    if piece is None:
        return False
    if failure.reason == FailureReason.REFUSED:
        turn.report((piece,), "undelivered.refused", {"code": failure.code or 0})
    else:
        turn.report((piece,), f"undelivered.{failure.reason}")
    return True


def _take_uploading(turn: Turn, upload: Upload, failure: CallFailed) -> Held | None:
    """Remove the file that could not be uploaded; None if it gets one more try (-13)."""
    for index, piece in enumerate(turn.state.held):
        if piece.content != upload.media or piece.url:
            continue
        rest = turn.state.held[:index], turn.state.held[index + 1 :]
        if failure.code == ResultCode.UPLOAD_FILE_FAILED and piece.repeats == 0:
            again = msgspec.structs.replace(piece, repeats=1)
            turn.set(held=(*rest[0], again, *rest[1]))
            return None
        turn.set(held=rest[0] + rest[1])
        return piece
    return None


def _hopeless(turn: Turn, reason: FailureReason) -> None:
    """No retry helps until an operator acts (row 3)."""
    key = f"trouble.{reason}"
    if isinstance(turn.state.phase, Requesting):
        turn.set(failures=0, trouble_since=None, retry_at=None, told_trouble=False)
        queue_ended(turn, key)
        return
    _count_failure(turn)
    turn.set(retry_at=turn.now + turn.policy.backoff_last)
    if not turn.state.told_trouble:
        turn.set(told_trouble=True)
        turn.say(key)


def give_up(turn: Turn) -> None:
    """The service has been away for `Policy.hold`: nothing waits for it any longer."""
    turn.set(failures=0, trouble_since=None, retry_at=None, told_trouble=False)
    phase = turn.state.phase
    if isinstance(phase, Requesting | Queued):
        leave_queue(turn)
        turn.card("queue.ended")
        turn.say("trouble.given_up")
    turn.report(tuple(p for p in turn.state.held if p.asked is not None), "undelivered.uncertain")
    turn.report(tuple(p for p in turn.state.held if p.asked is None), "undelivered.expired")
    turn.set(held=())
    if turn.state.rating is not None:
        turn.set(rating=None)
        turn.say("rating.failed")
    if isinstance(phase, Chatting) and phase.close:
        end_chat(turn, "chat.ended_unheard")
