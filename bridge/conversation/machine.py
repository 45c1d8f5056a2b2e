"""The life cycle of a conversation, as one pure function.

Theory of operation
-------------------
`step` takes the state, one input and the time, and returns the next state and what is to be done.
It reads no clock, draws no random number and does no I/O, so the same inputs always give the same
conversation; the engine stores state, effects and the fact that the input was handled in one
database transaction.

A step has two halves. First the input changes what is known and wanted (`customer`, `server`,
`calls.call_failed`, `history`, `tick`; the changes of phase that they share stand in `queue` and
`chat`). Then `calls.next_call` makes the next call to WebChat, if one is wanted, none is
outstanding and none has to wait.

    Idle/Ended --word--> Requesting --101 ok/201--> Queued --202--> Chatting --205/103--> Ended
    Requesting/Queued --refused, status 2..7, cancelled--> Idle (what was typed is kept)
    Chatting --110 refused with -11--> Requesting (the refused message stays first)
    Idle/Ended --word, where the robot answers first--> the same, until a person is wanted

What a customer typed is in exactly one place at any time: `held`, `outstanding.held`,
`Queued.pre_sent`, or gone with an effect `Delivered`, `Reported` or `Answered`. A property test
walks the machine at random and asserts just that.

Every state that waits has a deadline and a way out. `deadline` names the next moment at which
something must happen even if nothing comes in; the input `Tick` makes it happen. An outstanding
call has its own deadline in the rooms ring, which always brings an input for it.

The rows cited in this package are those of the protocol reference, section 4.
"""

from __future__ import annotations

from typing import assert_never

from bridge.conversation import calls, chat, customer, history, queue, robot, server
from bridge.conversation.model import (
    CallBack,
    CallFailed,
    Cancel,
    Chatting,
    Close,
    Consulted,
    Conversation,
    Effect,
    Ended,
    Held,
    Human,
    Idle,
    Input,
    LinkLost,
    LinkRestored,
    Pushed,
    Queued,
    Rate,
    Recalled,
    Replied,
    Requesting,
    Resumed,
    Said,
    Solved,
    Start,
    Tick,
    TurnAwaited,
    Uploaded,
    Withdrawn,
)
from bridge.conversation.policy import Policy
from bridge.conversation.turn import Turn

CustomerInput = Said | Withdrawn | Start | Cancel | Close | Human | Solved | CallBack | Rate
"""The inputs that come from a customer."""


def step(
    state: Conversation, happened: Input, now: int, policy: Policy
) -> tuple[Conversation, tuple[Effect, ...]]:
    """Make one step: the next state of the conversation, and its effects.

    Args:
        state: the conversation so far.
        happened: one input.
        now: ms since the epoch.
        policy: the operator's and the room admin's decisions, as they stand now.

    Returns:
        The next state and the effects, in the order in which they are to be carried out
        (per lane). Never raises for any input.
    """
    turn = Turn(state, now, policy)
    _apply(turn, happened)
    if turn.state.questions:
        robot.tidy(turn)
    calls.next_call(turn)
    recall = turn.state.recall
    if recall is not None and not recall.asked:
        history.pursue(turn, recall)
    return turn.state, tuple(turn.effects)


def _apply(turn: Turn, happened: Input) -> None:
    match happened:  # what comes most often stands first
        case Pushed():
            server.pushed(turn, happened)
        case Replied():
            server.replied(turn, happened.call_id, happened.reply)
        case (
            Said()
            | Withdrawn()
            | Start()
            | Cancel()
            | Close()
            | Human()
            | Solved()
            | CallBack()
            | Rate()
        ):
            _customer_did(turn, happened)
        case Uploaded():
            server.uploaded(turn, happened)
        case CallFailed():
            calls.call_failed(turn, happened)
        case Consulted():
            _consulted(turn, happened)
        case LinkLost():
            history.link_lost(turn)
        case TurnAwaited():
            queue.turn_awaited(turn, happened.seconds)
        case LinkRestored():
            _link_restored(turn, happened.at or turn.now)
        case Resumed():
            history.resumed(turn)
        case Recalled():
            history.recalled(turn, happened)
        case Tick():
            tick(turn)
        case _:
            assert_never(happened)


def _customer_did(turn: Turn, happened: CustomerInput) -> None:
    calls.person_acts(turn)
    match happened:
        case Said():
            customer.said(turn, happened)
        case Withdrawn():
            customer.withdrawn(turn, happened)
        case Start():
            customer.start(turn, happened)
        case Cancel():
            customer.cancel(turn)
        case Close():
            customer.close(turn)
        case Human():
            customer.human(turn)
        case Solved():
            robot.solved(turn, happened)
        case CallBack():
            customer.call_back(turn)
        case Rate():
            chat.rate(turn, happened)
        case _:
            assert_never(happened)


def _consulted(turn: Turn, happened: Consulted) -> None:
    why = robot.consulted(turn, happened)
    if why is not None:
        queue.want_person(turn, why)


def _link_restored(turn: Turn, at: int) -> None:
    """The link is back. Row 30: ask after a place in a queue; row 31: a session is only used on."""
    turn.set(retry_at=None)
    history.link_restored(turn, at)
    if isinstance(turn.state.phase, Queued):
        turn.enter(turn.state.phase, resync=True, cut=True)


def wants_link(state: Conversation) -> bool:
    """True while the link is needed: WebChat may have something to say to this room, or we to it.

    Not for a request that is given up while it is on its way for the first time: what has not been
    written of it by now need not be.
    """
    phase = state.phase
    if isinstance(phase, Chatting):
        return True
    if isinstance(phase, Requesting) and phase.cancel and not state.failures:
        return state.outstanding is None
    if isinstance(phase, Requesting | Queued):
        return True
    if isinstance(phase, Idle) and phase.linger_until is not None:
        return True
    return state.outstanding is not None or state.rating is not None


# --- deadlines ------------------------------------------------------------------------------------


def deadline(state: Conversation, policy: Policy) -> int | None:
    """Return the moment of the next `Tick`, ms since the epoch; None if nothing waits."""
    phase = state.phase
    times = [state.retry_at]
    if state.trouble_since is not None:
        times.append(_hold_ends(state, policy))
    if state.questions:
        times.append(robot.due(state, policy))
    if state.recall is not None:
        times.append(history.due(state))
    if state.poll is not None:
        times.append(chat.poll_due(state, policy))
    if not isinstance(phase, Chatting):
        times += [_idle_ends(state, policy), queue.callback_due(state, policy)]
        times += _phase_ends(state, phase, policy)
    return min((time for time in times if time is not None), default=None)


def _phase_ends(
    state: Conversation, phase: Idle | Requesting | Queued | Ended, policy: Policy
) -> list[int | None]:
    """Return the deadlines that the phase itself has, ms since the epoch."""
    match phase:
        case Idle():
            return [phase.linger_until]
        case Requesting():
            return [phase.adopt_at]
        case Queued():
            card_due = queue.card_due(phase, policy)
            return [phase.cancel_by, _silence_ends(state, phase, policy), card_due]
        case Ended():
            return []
        case _:
            assert_never(phase)


def tick(turn: Turn) -> None:
    """Carry out every deadline that has passed."""
    if _passed(turn, _hold_ends(turn.state, turn.policy)):
        calls.give_up(turn)
    for why in robot.overdue(turn):
        queue.want_person(turn, why)
    if _passed(turn, chat.poll_due(turn.state, turn.policy)):
        chat.end_poll(turn)
    if _passed(turn, _idle_ends(turn.state, turn.policy)):
        _expire(turn)
    phase = turn.state.phase
    if isinstance(phase, Idle) and _passed(turn, phase.linger_until):
        turn.enter(Idle(phase.since))
    elif isinstance(phase, Requesting) and _passed(turn, phase.adopt_at):
        _stop_awaiting(turn, phase)
    elif isinstance(phase, Queued):
        if _passed(turn, phase.cancel_by):
            queue.cancelled(turn)
        elif _passed(turn, _silence_ends(turn.state, phase, turn.policy)):
            turn.enter(phase, resync=True, heard_at=turn.now)
    _waiters(turn)


def _waiters(turn: Turn) -> None:
    """Bring the queue card up to date; ask again for who wishes to be called back."""
    phase, wished = turn.state.phase, turn.state.callback
    if isinstance(phase, Queued):
        if _passed(turn, queue.card_due(phase, turn.policy)):
            queue.refresh_card(turn, phase)
    elif wished is not None and _passed(turn, queue.callback_due(turn.state, turn.policy)):
        if queue.callback_exhausted(turn, wished):
            queue.give_up_callback(turn)
        else:
            queue.request_chat(turn, wished.queue_id, quiet=True)


def _expire(turn: Turn) -> None:
    """Outside a chat nothing waits longer than `Policy.hold_idle` for the customer's next word."""
    oldest = turn.now - turn.policy.hold_idle
    kept = _waiting_for_a_person(turn.state)
    turn.report(tuple(piece for piece in kept if piece.at <= oldest), "undelivered.expired")


def _stop_awaiting(turn: Turn, phase: Requesting) -> None:
    """No 202 has come (rows 12 and 14)."""
    if phase.session_id is not None:
        chat.start_chat(turn, phase.session_id, phase.agents)
    elif phase.cancel:
        queue.cancelled(turn)
    else:
        queue.ended(turn, "trouble.other_chat")


def _passed(turn: Turn, moment: int | None) -> bool:
    return moment is not None and turn.now >= moment


def _hold_ends(state: Conversation, policy: Policy) -> int | None:
    """Return the deadline of trouble; none during a call, whose content has to come back first."""
    if state.trouble_since is None or state.outstanding is not None:
        return None
    return state.trouble_since + policy.hold


def _idle_ends(state: Conversation, policy: Policy) -> int | None:
    phase = state.phase
    kept = _waiting_for_a_person(state)
    if not kept or not isinstance(phase, Idle | Ended) or queue.callback_wanted(state):
        return None
    return max(phase.since, min(piece.at for piece in kept)) + policy.hold_idle


def _waiting_for_a_person(state: Conversation) -> tuple[Held, ...]:
    """Return the held pieces of no question to the robot: questions end by themselves."""
    asked = {one.event_id for one in state.questions if not one.aside}
    return tuple(piece for piece in state.held if piece.event_id not in asked)


def _silence_ends(state: Conversation, phase: Queued, policy: Policy) -> int | None:
    """Return the queue's timeout; none during a call: its outcome is a sign of life, or a retry."""
    if state.outstanding is not None or phase.resync or phase.cancel:
        return None
    return phase.heard_at + (policy.accepted_wait if phase.accepted else policy.queue_silence)
