"""What the bridge does beside serving, for as long as it runs: cleaning up, and counting."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from bridge.config.model import Retention
from bridge.ops.metrics import Metrics
from bridge.rooms.ports import Clock
from bridge.rooms.store import StoreError, StorePort

PRUNE_EVERY = 600.0
"""Seconds between two clean-ups of the ledger."""
MEASURE_EVERY = 15.0
"""Seconds between two looks at what waits in the database."""


async def prune(store: StorePort, clock: Clock, retention: Callable[[], Retention]) -> None:
    """Erase what the ledger need not keep, for ever.

    Args:
        store: where the ledger is.
        clock: the time.
        retention: how long what is kept, as the operator has it at the moment.
    """
    log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.app")
    while True:
        now, kept = clock.now(), retention()
        try:
            rows = await store.prune(now - kept.bodies, now - kept.rows)
            log.debug("ledger pruned", rows=rows)
        except StoreError as error:
            log.warning("the ledger could not be pruned", why=str(error))
        await clock.sleep(PRUNE_EVERY)


async def measure(store: StorePort, clock: Clock, metrics: Metrics) -> None:
    """Show in the metrics what waits in the database, for ever."""
    log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.app")
    while True:
        try:
            metrics.backlog(await store.backlog(), clock.now())
        except StoreError as error:
            log.warning("the backlog could not be measured", why=str(error))
        await clock.sleep(MEASURE_EVERY)
