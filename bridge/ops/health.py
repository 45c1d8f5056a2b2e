"""Health probes: liveness and readiness of the bridge, for an orchestrator.

`/_matrix/mau/live` says that the event loop turns. `/_matrix/mau/ready` says that everything the
bridge needs has been reached in the last 30 seconds; if not, 503 and JSON that names what is
missing and why. A short outage makes no bridge unready: messages are stored meanwhile, and a
restart would gain nothing. Each part is probed in a task of its own, so that a hanging peer can
hang neither a request nor the other probes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

import structlog
from aiohttp import web

from bridge.rooms.ports import Clock, Unavailable
from bridge.rooms.store import StoreError

Part = tuple[str, Callable[[], Awaitable[None]]]
"""Its address, and the probe: it returns if the part answers, and raises anything if not."""
GRACE = 30.0
"""Seconds for which a part may be unreachable."""
PROBE_EVERY = 5.0
PATIENCE = 20.0
"""Seconds, the longest wait for a probe."""
REFUSED = "it refuses us"
"""Begins why the homeserver is none of ours: it answers, but not to our tokens or users."""
LIVE = "/_matrix/mau/live"
READY = "/_matrix/mau/ready"


@dataclass(eq=False, repr=False)
class Health:
    """Watches the parts that the bridge cannot do without, by name."""

    _parts: Mapping[str, Part]
    _clock: Clock
    on_change: Callable[[str, bool], None]
    """Is told `(part, reachable)` after every first probe and every change."""
    also: Callable[[], Mapping[str, object]] = dict
    """What the answer to "ready" tells beside."""
    any_of: Collection[str] = ()
    """Parts of which one is enough (call centres)."""

    def __post_init__(self) -> None:
        self._lost: dict[str, tuple[int, dict[str, str]]] = {}
        """Since when a part has not answered, ms, and why: the newest wording of each reason, by
        what it says without figures; the newest reason last."""
        self._seen: set[str] = set()
        self._began = self._clock.now()
        self._told = self._stopping = False
        self._log = structlog.get_logger(__name__)

    async def watch(self) -> None:
        """Probe every part, for ever; log `ready` once all have answered."""
        await asyncio.gather(*map(self._watch, self._parts))

    async def _watch(self, part: str) -> None:
        while True:
            await self.probe(part)
            await self._clock.sleep(PROBE_EVERY)

    async def probe(self, part: str) -> None:
        began, (place, probe), why = self._clock.now(), self._parts[part], ""
        try:
            async with asyncio.timeout(PATIENCE):
                await probe()
        except TimeoutError:
            why = "no answer in time"
        except (Unavailable, StoreError) as error:  # ours: they hold no secret
            why = str(error)
        except Exception as error:  # noqa: BLE001 - a probe reports by raising, whatever it raises
            # The type only: messages of drivers name hosts, users and sometimes passwords.
            why = type(error).__name__
        if why:
            why = f"{place}: {why}"
            _, reasons = self._lost.setdefault(part, (began, {}))
            if not reasons:
                self.on_change(part, False)  # noqa: FBT003 - a callback
            bare = re.sub(r"[\d.]+", "", why)
            if reasons.pop(bare, None) is None:
                self._log.warning("peer unreachable", part=part, why=why)
            reasons[bare] = why
            return
        lost = self._lost.pop(part, None) is not None
        if lost:
            self._log.info("peer reachable again", part=part)
        if lost or part not in self._seen:
            self.on_change(part, True)  # noqa: FBT003
        self._seen.add(part)
        if not self._told and not self.missing():
            self._told = True
            self._log.info("ready", after_ms=self._clock.now() - self._began)

    def stop(self) -> None:
        """From now on not ready: the bridge is stopping and takes no new work."""
        self._stopping = True

    def parts(self) -> dict[str, tuple[str, str | None]]:
        """Of every part its address, and why it does not answer: "", it does; None: not known."""
        whys = {part: list(whys.values())[-1] for part, (_, whys) in self._lost.items()}
        seen = dict.fromkeys(self._seen, "")
        return {part: (at, (seen | whys).get(part)) for part, (at, _) in self._parts.items()}

    def missing(self) -> dict[str, str]:
        """Why the bridge is not ready, by part; empty if it is."""
        away = self.away()
        enough = not self.any_of or not away.keys() >= set(self.any_of)
        return {part: why for part, why in away.items() if not (enough and part in self.any_of)}

    def away(self) -> dict[str, str]:
        """Parts that are not reached, and why, those among them without which it goes on."""
        reasons, now = {}, self._clock.now()
        for part in self._parts:
            since, whys = self._lost.get(part, (now, {}))
            seconds = (now - since) / 1000
            # A part that never answered has no good time to fall back on.
            if whys and (seconds >= GRACE or part not in self._seen):
                reasons[part] = f"unreachable for {seconds:.0f} s: {list(whys.values())[-1]}"
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
            body = {"ready": not missing, "missing": missing, **self.also()}
            if self.any_of:
                away = self.away().items()
                body["away"] = {part: why for part, why in away if part in self.any_of}
            return web.json_response(body, status=503 if missing else 200)

        return {LIVE: live, READY: ready}
