"""Calling back those for whom nobody was there.

WebChat says "closed" (-3, status 6) or "nobody there" (-5, status 5). What was typed is kept, and
the customer is offered to be called back. If they wish it, we ask for a chat again on our own: when
the queue opens, where the operator gave its hours, else at growing distances. Nothing is shown of
such a request while it may be in vain (`waiting.hidden`). The wish ends with a chat, with `cancel`,
with a refusal that no repetition can mend, or at its limit, and the customer is told of each.

A word of the customer's asks at once as always, and loudly; the wish goes on beneath it.
"""

from __future__ import annotations

import msgspec

from bridge.conversation.effects import Args, CallbackCard
from bridge.conversation.model import (
    Callback,
    Conversation,
    Ended,
    Idle,
    Queued,
    Requesting,
)
from bridge.conversation.policy import Policy
from bridge.conversation.turn import Turn
from bridge.conversation.waiting import hidden
from bridge.ids import QueueId
from bridge.webchat.codes import RequestStatus, ResultCode

NOBODY_THERE = frozenset(
    {
        f"status.{RequestStatus.NO_AGENT_ONLINE}",
        f"status.{RequestStatus.OFF_HOUR}",
        f"result.{ResultCode.NO_AGENT_ONLINE}",
        f"result.{ResultCode.NOT_IN_WORKTIME}",
    }
)
"""Sentences of the ends after which calling back is offered (reference 2.3 and 2.5)."""
OFFERS = frozenset({"callback.offer", "callback.offer_hours"})
"""Sentences that ask whether to call back; the others promise it."""
_HOPELESS = frozenset(
    {
        f"result.{ResultCode.INVALID_SKILLGROUP}",
        f"result.{ResultCode.INVALID_CLIENT_ID}",
        f"result.{ResultCode.INVALID_QUEUE_ID}",
        f"result.{ResultCode.REQUEST_ERROR}",
        f"result.{ResultCode.INVALID_TO_USER_ID}",
        f"result.{ResultCode.INVALID_PARAMETER}",
        f"result.{ResultCode.INVALID_SESSION_TYPE}",
        f"result.{ResultCode.INVALID_REQUEST_TYPE}",
        "trouble.login_refused",
        "trouble.sign_refused",
    }
)
"""Ends after which asking again changes nothing until an operator acts."""


def wanted(state: Conversation) -> bool:
    """True if the customer wishes to be called back."""
    return state.callback is not None and state.callback.wanted is not None


def unseen(state: Conversation) -> Callback | None:
    """The wish of a customer for whom, as far as they can see, nothing else is going on."""
    phase = state.phase
    if isinstance(phase, Requesting | Queued):
        idle = hidden(phase)
    else:
        idle = isinstance(phase, Idle | Ended)
    return state.callback if idle and wanted(state) else None


def wish(turn: Turn, queue_id: QueueId) -> None:
    """The customer wishes it from now on; what becomes of it is said by the caller."""
    turn.set(callback=_scheduled(turn, Callback(queue_id, wanted=turn.now)))


def promise(turn: Turn, queue_id: QueueId) -> None:
    """Say what is going to happen."""
    opening = turn.policy.hours.get(queue_id)
    if opening is not None and not opening.is_open(turn.now):
        key = "callback.promised_hours"
        args: Args = {"queue": queue_id, "opens": opening.opens(turn.now)}
    else:
        key = "callback.promised"
        args = {"queue": queue_id, "hours": _limit(turn.policy, queue_id) // 3_600_000}
    turn.ask(CallbackCard(turn.state.number, key, args))


def request_ended(turn: Turn, queue_id: QueueId, key: str) -> None:
    """A request came to nothing, and that was said: offer to call back, or go on doing so.

    Args:
        turn: a turn that has left the queue.
        queue_id: whose queue it was.
        key: the sentence that said why.
    """
    if wanted(turn.state):
        if key in _HOPELESS:
            turn.set(callback=None)
            turn.say("callback.hopeless")
        else:
            turn.say("callback.goes_on")
        return
    if key not in NOBODY_THERE or not turn.policy.callback:
        return
    turn.set(callback=Callback(queue_id))
    args: Args = {"queue": queue_id}
    opening = turn.policy.hours.get(queue_id)
    offer = "callback.offer"
    if opening is not None and not opening.is_open(turn.now):
        offer, args["opens"] = "callback.offer_hours", opening.opens(turn.now)
    turn.ask(CallbackCard(turn.state.number, offer, args))


def fails_quietly(turn: Turn, key: str) -> bool:
    """True for the vain end of a request of our own that nothing was shown of."""
    phase = turn.state.phase
    return isinstance(phase, Requesting | Queued) and hidden(phase) and key not in _HOPELESS


def put_off(turn: Turn) -> None:
    """The request is over: whoever wishes to be called back is asked for again later."""
    callback = turn.state.callback
    if callback is not None and callback.wanted is not None:
        turn.set(callback=_scheduled(turn, callback))


def call_off(turn: Turn) -> bool:
    """The customer does not wish it any more; False if they never did."""
    if not wanted(turn.state):
        return False
    phase = turn.state.phase
    leaving = isinstance(phase, Requesting | Queued) and not hidden(phase)
    turn.set(callback=None)
    turn.say("callback.cancelled_leaving" if leaving else "callback.cancelled")
    return True


def next_at(state: Conversation, policy: Policy) -> int | None:
    """When we ask again for who wishes to be called back, ms; None: nobody does, or we just do.

    Not while the robot is being asked something: a request would take that to a person. While a
    room is paused only the limit counts.
    """
    callback = state.callback
    if callback is None or callback.wanted is None or not isinstance(state.phase, Idle | Ended):
        return None
    with_robot = any(not question.aside for question in state.questions)
    if with_robot:
        return None
    if policy.paused:
        return callback.wanted + _limit(policy, callback.queue_id)
    return callback.next_at


def exhausted(turn: Turn, callback: Callback) -> bool:
    """True if we have asked long enough."""
    policy = turn.policy
    limit = _limit(policy, callback.queue_id)
    return callback.wanted is not None and turn.now >= callback.wanted + limit


def give_up(turn: Turn) -> None:
    """Nobody was there for so long that it would be no help any more."""
    turn.set(callback=None)
    turn.say("callback.given_up")
    turn.report_held("undelivered.expired")


def _limit(policy: Policy, queue_id: QueueId) -> int:
    """How long is long enough, ms."""
    if queue_id in policy.hours:
        return max(policy.callback_limit, policy.callback_limit_hours)
    return policy.callback_limit


def _scheduled(turn: Turn, callback: Callback) -> Callback:
    """The next attempt: when the queue opens, else (or if it should be open) ever more rarely."""
    policy, now = turn.policy, turn.now
    wait = min(policy.callback_first << min(callback.tries, 20), policy.callback_last)
    at, tries = now + wait, callback.tries + 1
    opening = policy.hours.get(callback.queue_id)
    if opening is not None:
        opens = opening.opens(now if not opening.is_open(now) else at)
        if opens > at or not opening.is_open(now):
            spread = (callback.wanted or 0) % policy.callback_spread
            at, tries = opens + spread, 0
    return msgspec.structs.replace(callback, next_at=at, tries=tries)
