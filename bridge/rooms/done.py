"""What carrying out one effect towards the homeserver brought."""

from __future__ import annotations

from collections.abc import Iterable

from bridge.ids import EventId, RoomId
from bridge.rooms.inbox import CardPosted
from bridge.rooms.serial import dump_input
from bridge.rooms.store import NewInput, Outcome


class Done:
    """What carrying out an effect brought.

    Attributes:
        event_id: the Matrix event that it became.
        anchor: a name to remember that event by.
        inputs: what has to be told to the room.
        outcome: DELIVERED unless said otherwise.
        detail: for the ledger.
    """

    def __init__(
        self,
        event_id: EventId | None = None,
        *,
        anchor: str | None = None,
        inputs: tuple[NewInput, ...] = (),
        outcome: Outcome = Outcome.DELIVERED,
        detail: str = "",
    ) -> None:
        self.event_id = event_id
        self.anchor = anchor
        self.inputs = inputs
        self.outcome = outcome
        self.detail = detail


def told(room_id: RoomId, cards: Iterable[CardPosted]) -> tuple[NewInput, ...]:
    """Cards, as inputs of their room."""
    return tuple(NewInput(room_id, dump_input(card)) for card in cards)
