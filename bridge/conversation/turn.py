"""One step in the making: the state so far and the effects so far.

A `Turn` lives for the length of one `step` call and never leaves this package. The functions of
the sibling modules each change it a little; `machine.step` reads the result off it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from bridge.conversation.effects import Args, Card, Delivered, Effect, Reported, Say
from bridge.conversation.model import Conversation, Held, Phase, Queued
from bridge.conversation.policy import Policy
from bridge.ids import EventId


class Turn:
    """The mutable side of one step.

    Attributes:
        state: the conversation as it stands.
        effects: what has been asked for, in order.
        now: ms since the epoch.
        policy: the operator's and the room admin's decisions.
    """

    def __init__(self, state: Conversation, now: int, policy: Policy) -> None:
        self.state = state
        self.effects: list[Effect] = []
        self.now = now
        self.policy = policy

    def set(self, **changes: Any) -> None:
        """Replace fields of the state."""
        self.state = msgspec.structs.replace(self.state, **changes)

    def enter(self, phase: Phase) -> None:
        """Replace the phase."""
        self.set(phase=phase)

    def ask(self, effect: Effect) -> None:
        """Add an effect."""
        self.effects.append(effect)

    def say(self, key: str, args: Args | None = None, *, ping: bool = False) -> None:
        """Say a sentence in the room."""
        self.ask(Say(key, args or {}, ping=ping))

    def card(self, key: str, args: Args | None = None) -> None:
        """Write the queue card of this conversation."""
        self.ask(Card(self.state.number, key, args or {}))

    # --- content -----------------------------------------------------------------------------

    def put_back(self, *pieces: Held) -> None:
        """Return content to the places that it had."""
        back = [one for piece in pieces for one in (_whole(piece) if _lapsed(piece) else (piece,))]
        held = sorted((*back, *self.state.held), key=lambda piece: piece.order)
        self.set(held=tuple(held))

    def lapse(self, event_id: EventId | None = None) -> None:
        """A message, or all that was said until now (None), is with no agent who may come.

        A correction of it goes as the message, in its place; that it was taken back is told to
        nobody.
        """
        outstanding = self.state.outstanding
        going = None if outstanding is None else outstanding.held
        pieces = self.state.held if going is None else (going, *self.state.held)
        lapsed = {piece.event_id for piece in pieces if _amends(piece, event_id)}
        if not lapsed:
            return
        lapsed |= {piece.event_id for piece in pieces if piece.amends in lapsed}
        overtaken = {piece.amends for piece in pieces if piece.event_id in lapsed}
        if outstanding is not None and going is not None and going.event_id in lapsed | overtaken:
            # It is under way: only if it comes back is there anything to be changed.
            moot = outstanding.moot or going.event_id in overtaken or not going.instead
            known = msgspec.structs.replace(going, amends=None, last=not moot)
            changed = msgspec.structs.replace(outstanding, held=known, moot=moot, stale=True)
            self.set(outstanding=changed)
            overtaken.add(going.event_id)
        held: list[Held] = []
        for piece in self.state.held:
            if piece.event_id in overtaken:
                continue
            if piece.event_id in lapsed:
                held += _whole(piece)
                overtaken.add(piece.event_id)  # its other parts are in there
            else:
                held.append(piece)
        self.set(held=tuple(held))

    def delivered(self, *pieces: Held) -> None:
        """WebChat has these pieces; an event is delivered with its last one."""
        for piece in pieces:
            if piece.last:
                self.ask(Delivered(piece.event_id))

    def report(self, pieces: tuple[Held, ...], key: str, args: Args | None = None) -> None:
        """Tell the customer, once per event, that these pieces were not delivered.

        The rest of the same events is not sent (again) either: the customer is going to repeat
        the whole, and half a message helps nobody.
        """
        events = unique_events(pieces)
        for event_id in unique_events(tuple(one for one in pieces if not one.is_note)):
            self.ask(Reported(event_id, key, args or {}))
        self.set(held=without(self.state.held, events))
        phase, outstanding = self.state.phase, self.state.outstanding
        if isinstance(phase, Queued):
            self.enter(msgspec.structs.replace(phase, pre_sent=without(phase.pre_sent, events)))
        held = None if outstanding is None else outstanding.held
        if outstanding is not None and held is not None and held.event_id in events:
            told = msgspec.structs.replace(held, last=False)  # nothing more to say of this event
            self.set(outstanding=msgspec.structs.replace(outstanding, held=told, moot=True))
        for event_id in events:
            self.lapse(event_id)

    def report_whole(self, pieces: tuple[Held, ...], key: str) -> None:
        """Report those events whose last piece is here; of the others it was reported already."""
        self.report(tuple(piece for piece in pieces if piece.last), key)

    def report_held(self, key: str, args: Args | None = None) -> None:
        """Give up all that waits, and say so."""
        self.report(self.state.held, key, args)


def _amends(piece: Held, event_id: EventId | None) -> bool:
    """True if it amends that message, or (None) any."""
    return piece.amends is not None and event_id in {None, piece.amends}


def _lapsed(piece: Held) -> bool:
    """A correction that was under way when `Turn.lapse` came upon it."""
    return bool(piece.instead) and piece.amends is None and not piece.quotes


def _whole(piece: Held) -> tuple[Held, ...]:
    """What goes instead of a correction to an agent who does not have what it corrects."""
    parts = len(piece.instead)
    return tuple(
        Held(
            piece.event_id,
            part,
            piece.at,
            last=index == parts - 1,
            order=piece.order + index,
            words=piece.words if index == 0 else "",
        )
        for index, part in enumerate(piece.instead)
    )


def without(pieces: tuple[Held, ...], events: tuple[EventId, ...]) -> tuple[Held, ...]:
    """The pieces that belong to none of these events."""
    return tuple(piece for piece in pieces if piece.event_id not in events)


def unique_events(pieces: tuple[Held, ...]) -> tuple[EventId, ...]:
    """The events that these pieces belong to, each once, in order."""
    return tuple(dict.fromkeys(piece.event_id for piece in pieces))
