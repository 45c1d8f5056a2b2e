"""SIGHUP: read the configuration again, say what changes, take what can be taken.

A file that is wrong changes nothing, and neither does one whose reading ends in an error that
nobody thought of; what needs a restart is named and left as it is. Rooms go by the new rules from
their next step on: a step is decided by one set of rules from beginning to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog

from bridge.config import Config, ConfigInvalid, ConfigUnreadable, Problem
from bridge.config.loading import check_rules
from bridge.config.reloading import compare, take_over

Load = Callable[[], Config]
"""Reads the configuration and checks it; raises what `load_config` does."""


class Reloader:
    """Keeps the configuration that the bridge goes by.

    Args:
        config: the one it was started with.
        load: reads the one that there is now.
        apply: puts another into force.
    """

    def __init__(self, config: Config, load: Load, apply: Callable[[Config], None]) -> None:
        self._config = config
        self._load = load
        self._apply = apply
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.app")

    async def run(self, wanted: asyncio.Event) -> None:
        """Reload whenever the event is set, for ever. Several wishes at a time are one."""
        while True:
            await wanted.wait()
            wanted.clear()
            await self.reload()

    async def reload(self) -> None:
        """Read, compare, apply; every outcome is logged, and none ends the bridge."""
        try:
            await self._reload()
        except Exception:  # noqa: BLE001 - logged whole; the next signal may fare better
            self._log.exception("unexpected error: the bridge goes on by the old config")

    async def _reload(self) -> None:
        try:
            new = await asyncio.to_thread(self._load)
        except (ConfigUnreadable, ConfigInvalid) as error:
            self._refuse(error.problems if isinstance(error, ConfigInvalid) else [error])
            return
        taken = take_over(self._config, new)
        problems = list(check_rules(taken))
        if problems:
            self._refuse(problems)
            return
        changes = compare(self._config, new)
        for change in changes:
            if change.live:
                self._log.info("config changed", change=str(change))
            else:
                self._log.warning("config change needs a restart", change=str(change))
        self._apply(taken)
        self._config = taken
        live = sum(change.live for change in changes)
        self._log.info("config reloaded", changed=live, need_restart=len(changes) - live)

    def _refuse(self, reasons: Iterable[Problem | ConfigUnreadable]) -> None:
        for reason in reasons:
            self._log.error("the config is wrong", why=str(reason))
        self._log.error("the config was not reloaded: the bridge goes on by the old one")
