"""Puts together what finds the events that the homeserver forgot to hand over."""

from __future__ import annotations

from collections.abc import Callable

from bridge.config.model import Retention
from bridge.ids import EventId
from bridge.matrix.adapter import MatrixAdapter
from bridge.matrix.catchup import CatchUp
from bridge.matrix.client import Outages
from bridge.rooms.engine import Engine
from bridge.rooms.surroundings import Surroundings

LONGEST_REACH = 24 * 3_600_000
"""ms; an older message is answered by a person who asks again."""


def catch_up(
    outages: Outages,
    around: Surroundings,
    matrix: MatrixAdapter,
    engine: Engine,
    retention: Callable[[], Retention],
) -> CatchUp:
    """Build it. It stays well away from events whose lines in the ledger may be gone."""
    store = around.store

    async def known(event_id: EventId) -> bool:
        return bool(await store.trace(event_id))

    return CatchUp(
        outages,
        latest=matrix.homeserver.latest,
        check=matrix.homeserver.check,
        is_ours=matrix.is_ours,
        known=known,
        accept=engine.accept_events,
        rooms=engine.lively,
        clock=around.clock,
        reach=lambda: min(LONGEST_REACH, retention().rows // 2),
    )
