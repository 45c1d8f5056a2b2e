"""What a customer who waits is shown.

The queue card is one message, edited in place. A new place is written at once; if nothing moves it
is brought up to date once a minute, and after ten minutes every five, because each edit is an event
in the room. What it says of trend and expectation is put into words where it is written
(`QueuePlace`).

A request of our own (`callback`) is *quiet*: nothing is shown of it until it has stood for a
moment, or an agent is there, so that a night of vain attempts costs the customer not one line.
"""

from __future__ import annotations

import msgspec

from bridge.conversation.effects import Args, Card, QueuePlace
from bridge.conversation.model import Queued, Requesting
from bridge.conversation.policy import Policy
from bridge.conversation.turn import Turn

FREQUENT = 10 * 60_000
"""ms of waiting during which the card is brought up to date at `Policy.card_every`."""

# --- the card -----------------------------------------------------------------------------------


def show(turn: Turn) -> None:
    """Write the card of a customer who stands in the queue, unless nothing may be shown yet."""
    phase = turn.state.phase
    if not isinstance(phase, Queued) or phase.cancel or phase.accepted or hidden(phase):
        return
    turn.enter(msgspec.structs.replace(phase, shown_at=turn.now))
    args: Args = {"queue": phase.queue_id}
    if phase.position:
        args["position"] = phase.position
    key = "queue.position" if phase.position else "queue.waiting"
    place = QueuePlace(
        phase.queue_id,
        turn.now,
        phase.since,
        phase.position,
        phase.first_position,
        phase.first_at,
        phase.moved_at,
    )
    turn.ask(Card(turn.state.number, key, args, place))


def moved(turn: Turn, position: int | None) -> None:
    """WebChat named a place: write the card if it is a new one (row 19, trap T4)."""
    phase = turn.state.phase
    if not isinstance(phase, Queued) or phase.cancel:
        return
    if position is None or position == phase.position:
        return
    reached_the_front = (
        position == 1
        and (phase.position or 0) > 1
        and not (phase.next_told or phase.accepted or hidden(phase))
    )
    first = phase.first_position or (position if position > 0 else None)
    turn.enter(
        msgspec.structs.replace(
            phase,
            position=position,
            first_position=first,
            first_at=turn.now if phase.first_position is None else phase.first_at,
            moved_at=turn.now,
            next_told=phase.next_told or reached_the_front,
        )
    )
    if position <= 0:
        return
    show(turn)
    if reached_the_front:
        turn.say("queue.next", ping=True)


def refresh_at(phase: Queued, policy: Policy) -> int | None:
    """When the card is to be brought up to date though nothing has moved; None: not at all."""
    if phase.cancel:
        return None
    if phase.quiet_until is not None:
        return phase.quiet_until
    if phase.accepted:
        return None
    shown = phase.shown_at or phase.since
    frequent = shown - phase.since < FREQUENT
    return shown + (policy.card_every if frequent else policy.card_later)


def refresh(turn: Turn, phase: Queued) -> None:
    """Nothing has moved for a while (`refresh_at`): what the card says of it has."""
    if hidden(phase):
        surface(turn)
    else:
        show(turn)


# --- our own logins' turn -----------------------------------------------------------------------


def turn_awaited(turn: Turn, seconds: int) -> None:
    """Our logins wait for their turn, about so much longer: tell who waits for that.

    The card of a request says it, and says it anew once the moment that it named has passed. A
    message in a chat or a queue is told of once, unless other trouble was told of.
    """
    phase, expected = turn.state.phase, turn.state.turn_at
    if isinstance(phase, Requesting):
        if hidden(phase) or phase.cancel or (expected is not None and turn.now < expected):
            return
        turn.card("queue.turn", {"wait": seconds})
    elif expected is not None or turn.state.told_trouble or not _waits(turn):
        return
    else:
        turn.say("trouble.turn")
    turn.set(turn_at=turn.now + 1000 * seconds)


def _waits(turn: Turn) -> bool:
    """True if something that the customer wrote waits for the link."""
    asked = turn.state.outstanding
    if turn.state.held:
        return True
    return asked is not None and asked.held is not None


def turn_came(turn: Turn) -> None:
    """WebChat has answered: what the card says of our turn holds no longer."""
    phase = turn.state.phase
    if turn.state.turn_at is None:
        return
    turn.set(turn_at=None)
    if isinstance(phase, Queued):
        show(turn)
    elif isinstance(phase, Requesting) and not (phase.cancel or hidden(phase)):
        turn.card("queue.asking", {"queue": phase.queue_id})


# --- quiet requests -----------------------------------------------------------------------------


def hidden(phase: Requesting | Queued) -> bool:
    """True while nothing is shown of this request."""
    return phase.quiet if isinstance(phase, Requesting) else phase.quiet_until is not None


def unhide(turn: Turn) -> bool:
    """From here on the request counts as one that the customer knows of; False if it did before."""
    phase = turn.state.phase
    if not isinstance(phase, Requesting | Queued) or not hidden(phase):
        return False
    turn.set(number=turn.state.number + 1)
    if isinstance(phase, Requesting):
        turn.enter(msgspec.structs.replace(phase, quiet=False))
    else:
        turn.enter(msgspec.structs.replace(phase, quiet_until=None))
    return True


def surface(turn: Turn) -> None:
    """Show a quiet request: it stands, or the customer has come back by themselves."""
    if unhide(turn):
        phase = turn.state.phase
        if isinstance(phase, Requesting):
            turn.card("queue.asking", {"queue": phase.queue_id})
        else:
            show(turn)
