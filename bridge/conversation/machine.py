"""The life cycle of a conversation, as one pure function.

Theory of operation
-------------------
`step` takes the state, one input and the time, and returns the next state and what is to be done.
It reads no clock, draws no random number and does no I/O, so the same inputs always give the same
conversation; the engine stores state, effects and the fact that the input was handled in one
database transaction.

A step has two halves. First the input changes what is known and wanted (`customer`, `pushes`,
`replies`, `failures`, `deadlines`; the changes of phase that they share stand in `transitions`).
Then `calls.next_call` makes the next call to WebChat, if one is wanted, none is outstanding and
none has to wait.

    Idle/Ended --word--> Requesting --101 ok/201--> Queued --202--> Chatting --205/103--> Ended
    Requesting/Queued --refused, status 2..7, cancelled--> Idle (what was typed is kept)
    Chatting --110 refused with -11--> Requesting (the refused message stays first)
    Idle/Ended --word, where the robot answers first--> the same, until a person is wanted

What a customer typed is in exactly one place at any time: `held`, `outstanding.held`,
`Queued.pre_sent`, or gone with an effect `Delivered`, `Reported` or `Answered`. A property test
walks the machine at random and asserts just that.

The rows cited in this package are those of the protocol reference, section 4.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from bridge.conversation import (
    customer,
    failures,
    outage,
    pushes,
    questions,
    rating,
    replies,
    robot,
    waiting,
)
from bridge.conversation.calls import next_call
from bridge.conversation.deadlines import tick
from bridge.conversation.effects import Effect
from bridge.conversation.inputs import (
    CallBack,
    CallFailed,
    Cancel,
    Close,
    Consulted,
    Human,
    Input,
    LinkLost,
    LinkRestored,
    Pushed,
    Rate,
    Recalled,
    Replied,
    Resumed,
    Said,
    Solved,
    Start,
    Tick,
    TurnAwaited,
    Uploaded,
    Withdrawn,
)
from bridge.conversation.model import Chatting, Conversation, Idle, Queued, Requesting
from bridge.conversation.policy import Policy
from bridge.conversation.turn import Turn

CustomerInput = Said | Withdrawn | Start | Cancel | Close | Human | Solved | CallBack | Rate
"""What customers do."""


def step(
    state: Conversation, happened: Input, now: int, policy: Policy
) -> tuple[Conversation, tuple[Effect, ...]]:
    """What the conversation becomes, and what is to be done about it.

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
    questions.tidy(turn)
    next_call(turn)
    outage.pursue(turn)
    return turn.state, tuple(turn.effects)


def _apply(turn: Turn, happened: Input) -> None:
    match happened:
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
        case Pushed():
            pushes.pushed(turn, happened)
        case Replied():
            replies.replied(turn, happened.call_id, happened.reply)
        case Uploaded():
            replies.uploaded(turn, happened)
        case CallFailed():
            failures.call_failed(turn, happened)
        case Consulted():
            robot.consulted(turn, happened)
        case LinkLost():
            outage.link_lost(turn)
        case TurnAwaited():
            waiting.turn_awaited(turn, happened.seconds)
        case LinkRestored():
            _link_restored(turn, happened.at or turn.now)
        case Resumed():
            outage.resumed(turn)
        case Recalled():
            outage.recalled(turn, happened)
        case Tick():
            tick(turn)
        case _:
            assert_never(happened)


def _customer_did(turn: Turn, happened: CustomerInput) -> None:
    failures.person_acts(turn)
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
            rating.wish(turn, happened)
        case _:
            assert_never(happened)


def _link_restored(turn: Turn, at: int) -> None:
    """Row 30: ask after a place in a queue. Row 31: a session proves itself by its next word."""
    turn.set(retry_at=None)
    outage.link_restored(turn, at)
    if isinstance(turn.state.phase, Queued):
        turn.enter(msgspec.structs.replace(turn.state.phase, resync=True, cut=True))


def wants_link(state: Conversation) -> bool:
    """True while WebChat may have something to say to this room, or we to it.

    Not for a request that is given up while it is on its way for the first time: what has not been
    written of it by now need not be.
    """
    if isinstance(state.phase, Requesting) and state.phase.cancel and not state.failures:
        return state.outstanding is None
    if isinstance(state.phase, Requesting | Queued | Chatting):
        return True
    if isinstance(state.phase, Idle) and state.phase.linger_until is not None:
        return True
    return state.outstanding is not None or state.rating is not None
