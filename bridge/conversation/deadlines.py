"""Every state that waits has a deadline and a way out.

`deadline` names the next moment at which something must happen even if nothing comes in;
`tick` makes it happen. An outstanding call has its own deadline in the rooms ring, which always
brings an input for it.
"""

from __future__ import annotations

import msgspec

from bridge.conversation.failures import give_up
from bridge.conversation.model import (
    Conversation,
    Ended,
    Idle,
    Policy,
    Queued,
    Requesting,
)
from bridge.conversation.transitions import queue_cancelled, queue_ended, start_chat
from bridge.conversation.turn import Turn


def deadline(state: Conversation, policy: Policy) -> int | None:
    """When the next Tick is due, ms since the epoch; None if nothing waits."""
    times: list[int | None] = [state.retry_at, _hold_ends(state, policy), _idle_ends(state, policy)]
    match state.phase:
        case Requesting() as phase:
            times.append(phase.adopt_at)
        case Queued() as phase:
            times += [phase.cancel_by, _silence_ends(state, phase, policy)]
        case _:
            pass
    due = [time for time in times if time is not None]
    return min(due) if due else None


def tick(turn: Turn) -> None:
    """Do what is due."""
    if _passed(turn, _hold_ends(turn.state, turn.policy)):
        give_up(turn)
    if _passed(turn, _idle_ends(turn.state, turn.policy)):
        turn.report_held("undelivered.expired")
    match turn.state.phase:
        case Requesting() as phase if _passed(turn, phase.adopt_at):
            if phase.session_id is not None:
                start_chat(turn, phase.session_id, phase.agents)
            elif phase.cancel:
                queue_cancelled(turn)
            else:
                queue_ended(turn, "result.-2")
        case Queued() as phase:
            if _passed(turn, phase.cancel_by):
                queue_cancelled(turn)
            elif _passed(turn, _silence_ends(turn.state, phase, turn.policy)):
                turn.enter(msgspec.structs.replace(phase, resync=True, heard_at=turn.now))
        case _:
            pass


def _passed(turn: Turn, moment: int | None) -> bool:
    return moment is not None and turn.now >= moment


def _hold_ends(state: Conversation, policy: Policy) -> int | None:
    return None if state.trouble_since is None else state.trouble_since + policy.hold


def _idle_ends(state: Conversation, policy: Policy) -> int | None:
    if not state.held or not isinstance(state.phase, Idle | Ended):
        return None
    return state.held[0].at + policy.hold_idle


def _silence_ends(state: Conversation, phase: Queued, policy: Policy) -> int | None:
    """Not while a call is under way: its outcome is a sign of life, or leads to a retry."""
    if state.outstanding is not None or phase.resync or phase.cancel:
        return None
    return phase.heard_at + (policy.accepted_wait if phase.accepted else policy.queue_silence)
