"""Erasing what we keep of a message that its sender has taken back.

A message leaves more than one copy in the ledger: the event as it came, its corrections, and what
went out of each. What of it has ended is erased at once; the rest when it has ended too, up to a
minute later. Until then the room's record remembers whose copies they are, so that a crash forgets
none of them; and nobody quotes them.
"""

from __future__ import annotations

from collections.abc import Collection

from bridge.conversation.turn import all_pieces
from bridge.ids import EventId
from bridge.rooms import sealed
from bridge.rooms.record import RoomRecord
from bridge.rooms.references import wordings
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import Visit

AGAIN = 60_000
"""ms until what could not be erased at once is looked at again."""
LIMIT = 100
"""Events of a room that are remembered for it; `retention` erases what is beyond."""


async def begin(around: Surroundings, visit: Visit, before: RoomRecord, target: EventId) -> None:
    """Erase what can be erased of a message, and remember the rest.

    Args:
        around: the store.
        visit: record in and out.
        before: the record in which the message's corrections are still known.
        target: the message.

    Raises:
        StoreError: the database did not answer.
    """
    gone = wordings(before, target)
    for event_id in gone:
        sealed.withdraw(visit, event_id)
        await around.store.forget_body(visit.record.room_id, event_id)
    remembered = dict.fromkeys((*visit.record.erasing, *gone))
    visit.set(erasing=tuple(remembered)[-LIMIT:], erase_at=visit.now + AGAIN)


async def go_on(around: Surroundings, visit: Visit, busy: Collection[str]) -> None:
    """Erase what has ended meanwhile, if it is time.

    Args:
        around: the store.
        visit: record in and out.
        busy: the events about which an effect is still to be carried out.

    Raises:
        StoreError: the database did not answer; nothing is forgotten that was not erased.
    """
    moment = due(visit.record)
    if moment is None or visit.now < moment:
        return
    waiting = {piece.event_id for piece in all_pieces(visit.record.conversation)}
    left = tuple(one for one in visit.record.erasing if one in waiting or one in busy)
    for event_id in visit.record.erasing:
        if event_id not in left:
            await around.store.forget_body(visit.record.room_id, event_id)
    visit.set(erasing=left, erase_at=visit.now + AGAIN)


def due(record: RoomRecord) -> int | None:
    """When to go on, ms since the epoch; None if nothing is left."""
    return record.erase_at if record.erasing else None
