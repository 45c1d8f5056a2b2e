"""Encrypted events whose key has not come: told about, kept for an hour, delivered if it comes.

Pure. The actor has waited `PATIENCE` by then, and only then are later events of the room handled; a
sealed event that can be read after all is delivered late, behind them, and its sender knows why.
"""

from __future__ import annotations

from bridge.rooms.record import RoomRecord, SealedEvent
from bridge.rooms.visit import Visit

PATIENCE = 10_000
"""ms after its arrival that an event's key is waited for."""
KEPT = 3_600_000
"""ms that an event is kept for its key."""
RETRY = 60_000
"""ms between attempts, besides the one that a key's arrival brings about."""
LIMIT = 50
"""Events that a room may keep so; the oldest go first."""


def patience(received: int, now: int) -> float:
    """Seconds that an event's key may still be waited for, also if the clock went back."""
    return min(PATIENCE, max(0, received + PATIENCE - now)) / 1000


def keep(visit: Visit, raw: dict[str, object]) -> None:
    """Keep an event until its key comes."""
    event = SealedEvent(raw, visit.now + KEPT, visit.now + RETRY)
    visit.set(sealed=(*visit.record.sealed, event)[-LIMIT:])


def withdraw(visit: Visit, event_id: str) -> None:
    """Its sender took an event back: it is not to be delivered any more."""
    kept = tuple(one for one in visit.record.sealed if one.raw.get("event_id") != event_id)
    if len(kept) < len(visit.record.sealed):
        visit.set(sealed=kept)


def due(record: RoomRecord) -> int | None:
    """When the kept events want to be looked at again, ms since the epoch."""
    return min((event.retry_at for event in record.sealed), default=None)


def sorted_out(visit: Visit, opened: list[SealedEvent]) -> None:
    """Drop what was opened and what has waited long enough; the rest is tried again later."""
    now = visit.now
    visit.set(
        sealed=tuple(
            SealedEvent(event.raw, event.until, min(now + RETRY, event.until))
            for event in visit.record.sealed
            if event not in opened and now < event.until
        )
    )
