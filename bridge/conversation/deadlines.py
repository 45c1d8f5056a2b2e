"""Every state that waits has a deadline and a way out.

`deadline` names the next moment at which something must happen even if nothing comes in;
`tick` makes it happen. An outstanding call has its own deadline in the rooms ring, which always
brings an input for it.
"""

from __future__ import annotations

import msgspec

from bridge.conversation import callback, outage, rating, robot, waiting
from bridge.conversation.failures import give_up
from bridge.conversation.model import (
    Conversation,
    Ended,
    Held,
    Idle,
    Queued,
    Requesting,
)
from bridge.conversation.policy import Policy
from bridge.conversation.transitions import (
    queue_cancelled,
    queue_ended,
    request_chat,
    start_chat,
)
from bridge.conversation.turn import Turn


def deadline(state: Conversation, policy: Policy) -> int | None:
    """When the next Tick is due, ms since the epoch; None if nothing waits."""
    times: list[int | None] = [state.retry_at, _hold_ends(state, policy), _idle_ends(state, policy)]
    times += [robot.due(state, policy), outage.due(state), callback.next_at(state, policy)]
    times.append(rating.due(state, policy))
    phase = state.phase
    if isinstance(phase, Idle):
        times.append(phase.linger_until)
    elif isinstance(phase, Requesting):
        times.append(phase.adopt_at)
    elif isinstance(phase, Queued):
        times += [phase.cancel_by, _silence_ends(state, phase, policy)]
        times.append(waiting.refresh_at(phase, policy))
    due = [time for time in times if time is not None]
    return min(due) if due else None


def tick(turn: Turn) -> None:
    """Do what is due."""
    if _passed(turn, _hold_ends(turn.state, turn.policy)):
        give_up(turn)
    robot.tick(turn)
    if _passed(turn, rating.due(turn.state, turn.policy)):
        rating.end_poll(turn)
    if _passed(turn, _idle_ends(turn.state, turn.policy)):
        _expire(turn)
    phase = turn.state.phase
    if isinstance(phase, Idle) and _passed(turn, phase.linger_until):
        turn.enter(Idle(phase.since))
    elif isinstance(phase, Requesting) and _passed(turn, phase.adopt_at):
        _stop_awaiting(turn, phase)
    elif isinstance(phase, Queued):
        if _passed(turn, phase.cancel_by):
            queue_cancelled(turn)
        elif _passed(turn, _silence_ends(turn.state, phase, turn.policy)):
            turn.enter(msgspec.structs.replace(phase, resync=True, heard_at=turn.now))
    _waiters(turn)


def _waiters(turn: Turn) -> None:
    """Bring the queue card up to date; ask again for who wishes to be called back."""
    phase, wished = turn.state.phase, turn.state.callback
    if isinstance(phase, Queued):
        if _passed(turn, waiting.refresh_at(phase, turn.policy)):
            waiting.refresh(turn, phase)
    elif wished is not None and _passed(turn, callback.next_at(turn.state, turn.policy)):
        if callback.exhausted(turn, wished):
            callback.give_up(turn)
        else:
            request_chat(turn, wished.queue_id, quiet=True)


def _expire(turn: Turn) -> None:
    """Outside a chat nothing waits longer than `Policy.hold_idle` for the customer's next word."""
    oldest = turn.now - turn.policy.hold_idle
    kept = _waiting_for_a_person(turn.state)
    turn.report(tuple(piece for piece in kept if piece.at <= oldest), "undelivered.expired")


def _stop_awaiting(turn: Turn, phase: Requesting) -> None:
    """No 202 has come (rows 12 and 14)."""
    if phase.session_id is not None:
        start_chat(turn, phase.session_id, phase.agents)
    elif phase.cancel:
        queue_cancelled(turn)
    else:
        queue_ended(turn, "trouble.other_chat")


def _passed(turn: Turn, moment: int | None) -> bool:
    return moment is not None and turn.now >= moment


def _hold_ends(state: Conversation, policy: Policy) -> int | None:
    """Not while a call is under way: whatever it carries has to come back first."""
    if state.trouble_since is None or state.outstanding is not None:
        return None
    return state.trouble_since + policy.hold


def _idle_ends(state: Conversation, policy: Policy) -> int | None:
    phase = state.phase
    kept = _waiting_for_a_person(state)
    if not kept or not isinstance(phase, Idle | Ended) or callback.wanted(state):
        return None
    return max(phase.since, min(piece.at for piece in kept)) + policy.hold_idle


def _waiting_for_a_person(state: Conversation) -> tuple[Held, ...]:
    """What is no question to the robot: those end by themselves."""
    asked = {one.event_id for one in state.questions if not one.aside}
    return tuple(piece for piece in state.held if piece.event_id not in asked)


def _silence_ends(state: Conversation, phase: Queued, policy: Policy) -> int | None:
    """Not while a call is under way: its outcome is a sign of life, or leads to a retry."""
    if state.outstanding is not None or phase.resync or phase.cancel:
        return None
    return phase.heard_at + (policy.accepted_wait if phase.accepted else policy.queue_silence)
