"""How much a room may say in a minute. Pure."""

from __future__ import annotations

from bridge.rooms.visit import Visit


def too_fast(visit: Visit, received: int) -> bool:
    """Count a message, by the minute in which it was stored (ms since the epoch).

    True if there have been more in it than the operator allows.
    """
    minute = received // 60_000
    spoken = visit.record.spoken + 1 if minute == visit.record.minute else 1
    visit.set(minute=minute, spoken=spoken)
    return spoken > visit.rules.messages_per_minute
