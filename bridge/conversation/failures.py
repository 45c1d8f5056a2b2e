"""Calls that came to nothing, and how long we go on trying.

A call whose fate is unknown is made again under its old id and said to be a repeat; one that surely
did not arrive is made again as if for the first time. One that needs an operator first is not made
again before the customer does something or the link stands. One whose login has not come to its
turn is made again, and is no failure (what the customer is told: `waiting.turn_awaited`). A file
that the server fails to take although it is there is carried to it a few times; then what was
written since goes on without it. When the service has been away for `Policy.hold`, everything that
waits for it is given back to the customer, in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from bridge.conversation import callback, waiting
from bridge.conversation.effects import Args
from bridge.conversation.inputs import CallFailed, FailureReason
from bridge.conversation.inviting import inviting
from bridge.conversation.model import (
    Chatting,
    CustomerText,
    Held,
    Outstanding,
    Queued,
    Requesting,
    Upload,
)
from bridge.conversation.transitions import (
    end_chat,
    leave_queue,
    queue_cancelled,
    queue_ended,
    take_back,
)
from bridge.conversation.turn import Turn
from bridge.webchat.codes import ResultCode
from bridge.webchat.frames import RateSession, RequestChat
from bridge.webchat.words import is_unseen

_HOPELESS = frozenset({FailureReason.LOGIN_REFUSED, FailureReason.SIGN_REFUSED})
_UNKNOWN_FATE = frozenset({FailureReason.NO_ANSWER, FailureReason.SILENT})
_ABOUT_CONTENT = frozenset(
    {FailureReason.TOO_BIG, FailureReason.REFUSED, FailureReason.UPLOAD_FAILED}
    | {FailureReason.MEDIA_GONE, FailureReason.MEDIA_CHANGED}
)
_PASSING = frozenset({404, 408, 425, 429})
"""HTTP statuses of a server that is not ready, although they are 4xx (row 38)."""
_TOLD_APART = frozenset(
    {
        ResultCode.INVALID_MESSAGE_TYPE,
        ResultCode.UPLOAD_FILE_FAILED,
        ResultCode.INVALID_FILE_EXTENSION,
        ResultCode.INVALID_FILE_SIZE,
        ResultCode.UPLOAD_IMAGE_FAILED,
        ResultCode.UPLOAD_VOICE_FAILED,
    }
)
"""Refusals of content that the customer can do something about."""
_REFUSALS: Mapping[int, str] = MappingProxyType(
    {
        ResultCode.FAILURE: "undelivered.server_failed",
        ResultCode.INTERNAL_ERROR: "undelivered.server_failed",
        ResultCode.REQUEST_ERROR: "undelivered.not_understood",
        ResultCode.INVALID_PARAMETER: "undelivered.not_understood",
        ResultCode.INVALID_REQUEST_TYPE: "undelivered.not_understood",
        ResultCode.INVALID_CHAT_SESSION_ID: "undelivered.no_chat",
    }
)
"""Refusals that are no fault of the content: what they mean for a message (reference 2.5)."""


def call_failed(turn: Turn, failure: CallFailed) -> None:
    """Settle the outstanding call without a reply."""
    outstanding = turn.state.outstanding
    if outstanding is None or outstanding.call_id != failure.call_id:
        return
    turn.set(outstanding=None)
    if failure.reason == FailureReason.OVERTAKEN and outstanding.held is not None:
        take_back(turn, outstanding, outstanding.held)
        return
    if failure.reason in _ABOUT_CONTENT and _blame_content(turn, outstanding, failure):
        return
    _want_again(turn, outstanding, certain=failure.certain, repeats=_repeats(turn, failure.reason))
    if failure.reason in _HOPELESS:
        _hopeless(turn, failure.reason)
        return
    phase = turn.state.phase
    if failure.certain and isinstance(phase, Requesting) and phase.cancel:
        queue_cancelled(turn)  # WebChat never heard of the request: there is nothing to take back
        return
    if failure.certain and isinstance(phase, Requesting) and phase.quiet:
        leave_queue(turn)  # nobody waits for an answer: it is asked again later
        return
    if failure.reason is FailureReason.NO_TURN:
        turn.set(retry_at=turn.now + turn.policy.backoff_first)
        return
    mute = failure.reason == FailureReason.SILENT
    if mute and isinstance(outstanding.what, RateSession) and turn.state.failures:
        _give_up_rating(turn)  # it has no number to know it again by, and ends a link each time
    first = failure.reason in _UNKNOWN_FATE and turn.state.failures == 0
    _count_failure(turn)
    if first:
        turn.set(retry_at=turn.now)  # the new link is tried at once (row 33)
    elif not mute or turn.state.held:
        _tell(turn, "trouble.unreachable")


def try_again(turn: Turn, outstanding: Outstanding, code: int) -> bool:
    """A refusal that may pass (-100, or -15 twice): False once it was tried often enough."""
    void_token = code == ResultCode.INVALID_TOKEN
    if not void_token and turn.state.failures + 1 >= turn.policy.max_tries:
        return False
    turn.set(outstanding=None)
    _want_again(turn, outstanding, certain=True, repeats=turn.policy.max_repeats)
    _count_failure(turn)
    if void_token:
        _tell(turn, "trouble.unreachable")
    return True


def refuse(turn: Turn, asked: Outstanding, piece: Held, code: int) -> None:
    """WebChat does not take this content: the customer is told why, as far as anybody knows."""
    if asked.moot:
        take_back(turn, asked, piece)
    elif code == ResultCode.EMPTY_MESSAGE and blank(piece):
        turn.report((piece,), "undelivered.blank")
    elif code in _TOLD_APART:
        turn.report((piece,), f"result.{code}")
    elif code in _REFUSALS:
        turn.report((piece,), inviting(_REFUSALS[code], turn.policy))
    else:
        turn.report((piece,), "undelivered.refused", {"code": code})


def blank(piece: Held) -> bool:
    """True if nobody would see anything in it: a server that calls it empty (-17) is right."""
    return isinstance(piece.content, CustomerText) and is_unseen(piece.content.text)


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


def _tell(turn: Turn, key: str) -> None:
    """Tell of trouble, once until it is over; not of what the customer does not know of.

    Nor to who is leaving, of whose messages none is kept: the card says what is going on.
    """
    phase = turn.state.phase
    if isinstance(phase, Requesting | Queued):
        leaving = phase.cancel and not turn.state.held
        if leaving or waiting.hidden(phase):
            return
    if not turn.state.told_trouble:
        turn.set(told_trouble=True)
        turn.say(key)


def _repeats(turn: Turn, reason: FailureReason) -> int:
    """How often content of unknown fate is sent again (row 33).

    A server that is mute although its link stands has most likely taken it.
    """
    if reason == FailureReason.SILENT:
        return min(1, turn.policy.max_repeats)
    return turn.policy.max_repeats


def _want_again(turn: Turn, outstanding: Outstanding, *, certain: bool, repeats: int) -> None:
    """What was asked is wanted again, unless it was overtaken.

    Content goes back to its place; one that may have arrived remembers the id it went under, and is
    reported where it was sent again so often already.
    """
    phase = turn.state.phase
    held = outstanding.held
    asked = isinstance(outstanding.what, RequestChat) and not outstanding.moot
    if asked and isinstance(phase, Queued):
        turn.enter(msgspec.structs.replace(phase, resync=True))
    if held is None:
        return
    if certain or outstanding.moot:
        take_back(turn, outstanding, held, perhaps=not certain)
    elif held.repeats >= repeats:
        turn.report((held,), "undelivered.uncertain")
    else:
        again = msgspec.structs.replace(held, asked=outstanding.call_id, repeats=held.repeats + 1)
        take_back(turn, outstanding, again, perhaps=True)


def _blame_content(turn: Turn, outstanding: Outstanding, failure: CallFailed) -> bool:
    """The content itself is at fault: tell the customer, and go on with what follows.

    Returns:
        False if the call carried no content.
    """
    piece = outstanding.held
    if isinstance(outstanding.what, Upload):
        piece = _take_uploading(turn, outstanding.what, failure)
        if piece is None:
            return True
    if piece is None:
        return False
    if failure.reason == FailureReason.REFUSED or outstanding.moot:
        refuse(turn, outstanding, piece, failure.code or 0)
    elif failure.reason == FailureReason.UPLOAD_FAILED:
        turn.report((piece,), *_upload_failed(failure.code))
    elif failure.limit is not None:
        turn.report((piece,), "undelivered.too_big_limit", {"limit": _size(failure.limit)})
    else:
        turn.report((piece,), f"undelivered.{failure.reason}")
    return True


def _size(limit: int) -> str:
    """A limit in bytes as people know sizes, and never more than it is."""
    return f"{limit // 1024**2} MB" if limit >= 1024**2 else f"{limit // 1024} KB"


def _take_uploading(turn: Turn, upload: Upload, failure: CallFailed) -> Held | None:
    """The file that could not be uploaded.

    Returns:
        None if it gets one more try, or was given up by the customer meanwhile.
    """
    piece = next(
        (one for one in turn.state.held if one.content == upload.media and not one.url), None
    )
    if piece is None:
        return None
    rest = tuple(one for one in turn.state.held if one is not piece)
    turn.set(held=rest)
    tries = piece.repeats + 1
    if tries >= _upload_tries(turn, failure):
        return piece
    turn.put_back(msgspec.structs.replace(piece, repeats=tries))
    if failure.code != ResultCode.UPLOAD_FILE_FAILED:
        policy = turn.policy
        wait = min(policy.backoff_first << 2 * (tries - 1), policy.backoff_last)
        turn.set(retry_at=turn.now + wait)
    return None


def _upload_tries(turn: Turn, failure: CallFailed) -> int:
    """How often a file is carried there in all that has met this failure."""
    if failure.code == ResultCode.UPLOAD_FILE_FAILED:
        return 2
    code = failure.code or 0
    if failure.reason == FailureReason.UPLOAD_FAILED:
        passing = not 300 <= code < 500 or code in _PASSING
    else:
        passing = code == ResultCode.INTERNAL_ERROR
    return turn.policy.upload_tries if passing else 1


def _upload_failed(status: int | None) -> tuple[str, Args]:
    """Say what the server answered to an upload: its HTTP status, unless that is a good one."""
    if status is None or status < 300:
        return "undelivered.upload_unclear", {}
    return "undelivered.upload_status", {"status": status}


def person_acts(turn: Turn) -> None:
    """The customer does something: what waits for a person to act is tried at once."""
    retry_at = turn.state.retry_at
    if retry_at is not None and retry_at > turn.now + turn.policy.backoff_last:
        turn.set(retry_at=None)


def _hopeless(turn: Turn, reason: FailureReason) -> None:
    """No retry helps until an operator acts (row 3): make none, and leave it to the hold to end.

    Sooner than that a word of the customer's ends it (`person_acts`), or the link once it stands.
    """
    key = f"trouble.{reason}"
    if isinstance(turn.state.phase, Requesting):
        turn.set(failures=0, trouble_since=None, retry_at=None, told_trouble=False)
        queue_ended(turn, key)
        return
    _count_failure(turn)
    turn.set(retry_at=turn.now + turn.policy.hold)
    _tell(turn, key)


def give_up(turn: Turn) -> None:
    """The service has been away for `Policy.hold`: nothing waits for it any longer."""
    turn.set(failures=0, trouble_since=None, retry_at=None, told_trouble=False)
    phase = turn.state.phase
    if isinstance(phase, Requesting | Queued):
        _give_up_queue(turn, phase)
    doubtful = tuple(piece for piece in turn.state.held if piece.asked is not None)
    turn.report(doubtful, "undelivered.uncertain")
    if not callback.wanted(turn.state):
        turn.report_held("undelivered.expired")
    if turn.state.rating is not None:
        _give_up_rating(turn)
    if isinstance(phase, Chatting) and phase.close:
        end_chat(turn, phase, "chat.ended_unheard", closed=False)


def _give_up_rating(turn: Turn) -> None:
    turn.set(rating=None)
    turn.say("rating.failed")


def _give_up_queue(turn: Turn, phase: Requesting | Queued) -> None:
    shown = not waiting.hidden(phase)
    leave_queue(turn)
    if shown:
        turn.card("queue.ended")
        turn.say("trouble.given_up")
        callback.request_ended(turn, phase.queue_id, "trouble.given_up")
