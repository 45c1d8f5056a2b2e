"""State machine of a conversation, as one pure function.

`step` takes the state, one input and the time, and returns the next state and the effects. It never
raises, reads no clock, draws no random number and does no I/O; state, effects and input are stored
in one transaction.

A step has two halves. First the input changes what is known and wanted (`customer`, `server`,
`calls.call_failed`, `history`, `tick`; shared changes of phase are in `queue` and `chat`). Then
`calls.next_call` makes the next call to WebChat, if one is wanted, none is outstanding and no
back-off is pending.

    Idle/Ended --message--> Requesting --101 ok/201--> Queued --202--> Chatting --205/103--> Ended
    Requesting/Queued --refused, status 2..7, cancelled--> Idle (content is kept)
    Chatting --110 refused with -11--> Requesting (the refused message stays first)
    Idle/Ended --message, if the robot answers first--> the same, until a person is wanted

Each piece of a customer's content is in exactly one place: `held`, `outstanding.held`,
`Queued.pre_sent`, or gone with an effect `Delivered`, `Reported` or `Answered`. A property test
(a random walk) asserts this.

Every waiting state has a deadline and a way out: `deadline` returns the next one, and the input
`Tick` acts on it. An outstanding call has its own deadline in the `rooms` package, which always
ends it with an input.

The rows cited in this package are those of the protocol reference, section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from bridge.conversation import calls, chat, customer, history, model, queue, server
from bridge.conversation.turn import Policy, Turn, without
from bridge.webchat.frames import CancelRequest, SendMessage

QUEUE_SILENCE = 10 * 60_000
"""ms without news of a queue request after which 101 is sent again."""
TOGETHER = 15 * 60_000
"""ms by which kept messages may expire too early, so that one sentence counts those of a visit."""


def step(
    state: model.Conversation, happened: model.Input, now: int, policy: Policy
) -> tuple[model.Conversation, tuple[model.Effect, ...]]:
    """Return the state after an input at `now` (ms since the epoch), and the effects."""
    turn = Turn(state, now, policy)
    if state.told_away and isinstance(state.phase, model.NoChat):
        turn.set(told_away=False)  # the link is closed without a chat, so never restored
    _apply(turn, happened)
    if turn.state.questions:
        queue.tidy_questions(turn)
    if turn.state.dropped:
        queue.tell_dropped(turn)
    calls.next_call(turn)
    recall = turn.state.recall
    if recall is not None and not recall.asked:
        history.pursue(turn, recall)
    return turn.state, tuple(turn.effects)


def is_plain_success(state: model.Conversation, answer: model.Replied) -> bool:
    """Return whether the reply merely confirms the message under way, a fast path without `step`.

    Nearly every call ends so. `step` would only clear `outstanding` and add `Delivered`.
    """
    phase, asked, reply = state.phase, state.outstanding, answer.reply
    if asked is None or asked.call_id != answer.call_id or not isinstance(phase, model.Chatting):
        return False
    message = asked.held is not None and isinstance(asked.what, SendMessage)
    if not (message and reply.ok) or reply.session_id is not None:
        return False
    wanted = state.held or state.rating or phase.close or phase.human
    looked_up = state.questions or (state.recall is not None and not state.recall.asked)
    troubled = state.dropped or state.told_trouble or state.turn_at is not None
    return not (wanted or looked_up or troubled or state.failures)


def _apply(turn: Turn, happened: model.Input) -> None:
    match happened:  # most frequent first
        case model.Pushed():
            server.pushed(turn, happened)
        case model.Replied():
            server.replied(turn, happened.call_id, happened.reply)
        case model.Said() if turn.state.retry_at is None:
            customer.said(turn, happened)
        case model.Uploaded():
            server.uploaded(turn, happened)
        case model.CallFailed():
            calls.call_failed(turn, happened)
        case model.Consulted():
            queue.consulted(turn, happened)
        case model.LinkLost():
            history.link_lost(turn)
        case model.TurnAwaited():
            queue.turn_awaited(turn, happened.seconds)
        case model.LinkRestored():
            turn.set(retry_at=None)
            history.link_restored(turn, happened.at or turn.now, brief=happened.brief)
            queue.ask_after(turn, cut=True)  # row 30; a session simply goes on (row 31)
        case model.Resumed():
            history.resumed(turn)
        case model.Recalled():
            history.recalled(turn, happened)
        case model.Moved():
            chat.show_again(turn)
        case model.Noted():
            customer.noted(turn, happened)
        case model.Tick():
            tick(turn)
        case _:
            _customer_did(turn, happened)


def _customer_did(turn: Turn, happened: model.CustomerAct) -> None:
    calls.person_acts(turn)
    match happened:
        case model.Said():
            customer.said(turn, happened)
        case model.Withdrawn():
            customer.withdrawn(turn, happened)
        case model.Start():
            customer.start(turn, happened.queue_id)
        case model.Cancel():
            customer.cancel(turn)
        case model.Close():
            customer.close(turn)
        case model.Human():
            customer.human(turn)
        case model.Solved():
            queue.solved(turn, happened)
        case model.CallBack():
            customer.call_back(turn)
        case model.Pending():
            if _waiting_for_a_person(turn.state):
                customer.pending(turn)
        case model.Rate():
            chat.rate(turn, happened)
        case _:
            assert_never(happened)


def wants_link(state: model.Conversation) -> bool:
    """Return whether the link is needed, for pushes or for calls.

    A request cancelled during its first attempt needs none: if unwritten, it need not be written.
    """
    phase = state.phase
    if isinstance(phase, (model.Chatting, model.Queued)):  # the usual case
        return True
    if isinstance(phase, model.Requesting):
        return not phase.cancel or state.failures > 0 or state.outstanding is None
    lingers = isinstance(phase, model.Idle) and phase.linger_until is not None
    return lingers or state.outstanding is not None or state.rating is not None


def no_deadline_but_retry(state: model.Conversation) -> bool:
    """Return whether this is a chat whose only possible deadline is `retry_at`."""
    if not isinstance(state.phase, model.Chatting) or state.questions:
        return False
    return state.trouble_since is None and state.recall is None and state.phase.ping_at is None


def deadline(state: model.Conversation, policy: Policy) -> int | None:
    """Return the time of the next `Tick`, ms since the epoch; None if nothing waits."""
    times = [state.retry_at, history.due(state), *(due(state, policy) for due, _ in _DEADLINES)]
    return min((time for time in times if time is not None), default=None)


def tick(turn: Turn) -> None:
    for due, act in _DEADLINES:
        moment = due(turn.state, turn.policy)
        if moment is not None and turn.now >= moment:
            act(turn)


def _hold_ends(state: model.Conversation, policy: Policy) -> int | None:
    """Return when `give_up` is due; None during a call, whose content has to come back first."""
    if state.trouble_since is None or state.outstanding is not None:
        return None
    return state.trouble_since + policy.hold


def _idle_ends(state: model.Conversation, policy: Policy) -> int | None:
    phase = state.phase
    kept = _waiting_for_a_person(state)
    if not kept or not isinstance(phase, model.NoChat) or queue.callback_wanted(state):
        return None
    since = max(phase.since, min(piece.at for piece in kept))
    # Kept beyond the opening, which the card names: the customer may write again then.
    return (queue.opens_at(state, policy, since) or since) + queue.HOLD_IDLE


def _expire(turn: Turn) -> None:
    oldest = turn.now - queue.HOLD_IDLE + TOGETHER
    kept = _waiting_for_a_person(turn.state)
    queue.expire(turn, tuple(piece for piece in kept if piece.at <= oldest))


def _waiting_for_a_person(state: model.Conversation) -> tuple[model.Held, ...]:
    """Return the held pieces except questions to the robot, which have deadlines of their own."""
    return without(state.held, tuple(ask.event_id for ask in state.questions if not ask.aside))


def _phase_ends(state: model.Conversation, _policy: Policy) -> int | None:
    asked = state.outstanding
    match state.phase:
        case model.Queued(request_id=int()) if asked and not isinstance(asked.what, CancelRequest):
            return None  # the cancel (102) is sent once the call under way has ended
        case (
            model.Idle(linger_until=at)
            | model.Requesting(adopt_at=at)
            | model.Queued(cancel_by=at)
            | model.Chatting(ping_at=at)
        ):
            return at
        case _:
            return None


def _end_phase(turn: Turn) -> None:
    """Act on the phase's deadline: linger, agent's silence, wait for 202 (rows 12, 14), cancel."""
    phase = turn.state.phase
    match phase:
        case model.Chatting():
            chat.ping(turn, phase)
        case model.Idle():
            turn.enter(model.Idle(phase.since))
        case model.Requesting(session_id=int() as session_id):
            chat.start_chat(turn, session_id, phase.agents)
        case model.Requesting(cancel=False):
            queue.ended(turn, "trouble.other_chat")
            # Its agent, who waits for an answer, will write: which names the session (row 40).
            turn.enter(turn.state.phase, linger_until=turn.now + turn.policy.hold)
        case _:
            queue.cancelled(turn)


def _silence_ends(state: model.Conversation, policy: Policy) -> int | None:
    """Return the time-out of a silent queue; None during a call, whose outcome resets it."""
    phase = state.phase
    if not isinstance(phase, model.Queued) or phase.resync or phase.cancel or state.outstanding:
        return None
    return phase.heard_at + (policy.accepted_wait if phase.accepted else QUEUE_SILENCE)


Due = Callable[[model.Conversation, Policy], int | None]
_DEADLINES: tuple[tuple[Due, Callable[[Turn], None]], ...] = (
    (_hold_ends, calls.give_up),
    (queue.question_due, queue.end_questions),
    (_idle_ends, _expire),
    (_phase_ends, _end_phase),
    (_silence_ends, lambda turn: queue.ask_after(turn, heard_at=turn.now)),
    (queue.card_due, queue.refresh_card),
    (queue.callback_due, queue.retry_callback),
)
"""All deadlines but those of retries and the history, each with the function that acts on it."""
