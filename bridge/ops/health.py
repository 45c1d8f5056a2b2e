"""Health probes: liveness and readiness of the bridge, for an orchestrator.

`/_matrix/mau/live` says that the process runs and its event loop turns. `/_matrix/mau/ready` says
that everything it needs has been reached in the last 30 seconds; if not, 503 and a JSON body that
names what is missing. A short outage does not make a bridge unready: messages are stored meanwhile,
and an orchestrator that restarted it would gain nothing.

The probes run in the background, so that a request costs nothing and a hanging peer cannot hang it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog
from aiohttp import web

from bridge.rooms.ports import Clock

Probe = Callable[[], Awaitable[None]]
"""Returns if the part answers, raises anything if it does not."""
GRACE = 30.0
"""Seconds for which a part may be unreachable."""
LIVE = "/_matrix/mau/live"
READY = "/_matrix/mau/ready"


class Health:
    """Watches the parts that the bridge cannot do without (`probes`, by part).

    `interval`: seconds between two rounds, and the longest wait for one probe. `on_change` is told
    `(part, reachable)` after every first probe and every change.
    """

    def __init__(
        self,
        probes: Mapping[str, Probe],
        clock: Clock,
        *,
        interval: float = 5.0,
        on_change: Callable[[str, bool], None] = lambda _part, _reachable: None,
    ) -> None:
        self._probes = probes
        self._clock = clock
        self._interval = interval
        self._on_change = on_change
        self._lost: dict[str, int] = {}
        """Since when a part has not answered, ms."""
        self._seen: set[str] = set()
        self._stopping = False
        self._log = structlog.get_logger(__name__)

    async def watch(self) -> None:
        while True:
            await self.probe_once()
            await self._clock.sleep(self._interval)

    async def probe_once(self) -> None:
        await asyncio.gather(*(self._probe(part) for part in self._probes))

    async def _probe(self, part: str) -> None:
        why = ""
        try:
            async with asyncio.timeout(self._interval):
                await self._probes[part]()
        except TimeoutError:
            why = "no answer in time"
        except Exception as error:  # noqa: BLE001 - a probe reports by raising, whatever it raises
            # The type only: messages of drivers name hosts, users and sometimes passwords.
            why = type(error).__name__
        if why:
            if part not in self._lost:
                self._lost[part] = self._clock.now()
                self._log.warning("peer unreachable", part=part, why=why)
                self._on_change(part, False)  # noqa: FBT003 - a callback
            return
        lost = self._lost.pop(part, None) is not None
        if lost:
            self._log.info("peer reachable again", part=part)
        if lost or part not in self._seen:
            self._on_change(part, True)  # noqa: FBT003
        self._seen.add(part)

    def stop(self) -> None:
        """From now on not ready: the bridge is stopping and takes no new work."""
        self._stopping = True

    def missing(self) -> dict[str, str]:
        """Why the bridge is not ready, by part; empty if it is."""
        reasons, now = {}, self._clock.now()
        for part in self._probes:
            seconds = (now - self._lost.get(part, now)) / 1000
            # A part that never answered has no good time to fall back on.
            if part in self._lost and (seconds >= GRACE or part not in self._seen):
                reasons[part] = f"unreachable for {seconds:.0f} s"
            elif part not in self._seen:
                reasons[part] = "not reached yet"
        if self._stopping:
            reasons["bridge"] = "stopping"
        return reasons

    def pages(self) -> dict[str, Callable[[web.BaseRequest], Awaitable[web.Response]]]:
        """By path; for the port that the homeserver talks to."""

        async def live(_request: web.BaseRequest) -> web.Response:
            return web.json_response({"live": True})

        async def ready(_request: web.BaseRequest) -> web.Response:
            missing = self.missing()
            body = {"ready": not missing, "missing": missing}
            return web.json_response(body, status=503 if missing else 200)

        return {LIVE: live, READY: ready}
