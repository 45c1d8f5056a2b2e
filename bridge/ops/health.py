"""Health of the bridge: probes of its peers, readiness for an orchestrator, and state reports.

`/_matrix/mau/live` answers while the event loop runs. `/_matrix/mau/ready` answers 200 if all peers
that the bridge needs were reached in the last 30 seconds, else 503 with JSON that names what is
missing and why. A short outage does not make the bridge unready: messages are stored meanwhile, and
a restart would not help. Each part (peer) is probed in its own task, so that a hanging peer blocks
neither requests nor other probes.

State reports (`report_states`) go to the operator's HTTP endpoint, in the format of mautrix
bridges. There is one for the bridge and one per call centre (`remote_id`): at each change and every
`REPEAT` seconds, so that silence means trouble. A failed report is retried with the state at that
time; nothing else waits for it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from math import inf

import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout, web

from bridge.rooms.ports import Clock, describe

LOG: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.ops")
Part = tuple[str, Callable[[], Awaitable[None]]]
"""Address of a peer, and its probe, which raises any exception if the peer does not answer."""
GRACE = 30.0
"""Seconds for which a part may be unreachable without making the bridge unready."""
PROBE_EVERY = 5.0
PATIENCE = 20.0
"""Timeout of a probe in seconds."""
REFUSED = "the homeserver refuses the bridge"
"""Start of the reason if the homeserver answers but rejects the bridge's tokens or users."""
LIVE = "/_matrix/mau/live"
READY = "/_matrix/mau/ready"


@dataclass(eq=False, repr=False)
class Health:
    """Health monitor of the parts (peers) that the bridge needs, by name."""

    _parts: Mapping[str, Part]
    _clock: Clock
    on_change: Callable[[str, bool], None]
    """Called with `(part, reachable)` after a part's first probe and at every change."""
    also: Callable[[], Mapping[str, object]] = dict
    """Further fields of the `ready` response."""
    any_of: Collection[str] = ()
    """Parts of which one suffices (call centres)."""

    def __post_init__(self) -> None:
        self._lost: dict[str, tuple[int, dict[str, str]]] = {}
        """Unreachable part -> since when (ms), and its reasons, the newest last: reason without
        digits -> its latest wording."""
        self._seen: set[str] = set()
        self._began = self._clock.now()
        self._was_ready = self._stopping = False

    async def watch(self) -> None:
        """Probe all parts until cancelled; log `ready` once none is missing."""
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
        except Exception as error:  # noqa: BLE001 - a probe may raise anything
            why = describe(error)
        if why:
            why = f"{place}: {why}"
            since, reasons = self._lost.get(part, (began, {}))
            self._lost[part] = min(since, began), reasons  # the clock may have been set back
            if not reasons:
                self.on_change(part, False)  # noqa: FBT003 - a callback
            bare = re.sub(r"[\d.]+", "", why)
            if reasons.pop(bare, None) is None:
                LOG.warning("peer unreachable", part=part, why=why)
            reasons[bare] = why
            return
        lost = self._lost.pop(part, None) is not None
        if lost:
            LOG.info("peer reachable again", part=part)
        if lost or part not in self._seen:
            self.on_change(part, True)  # noqa: FBT003
        self._seen.add(part)
        if not self._was_ready and not self.missing():
            self._was_ready = True
            LOG.info("ready", after_ms=self._clock.now() - self._began)

    def stop(self) -> None:
        """Report unready from now on, because the bridge is stopping."""
        self._stopping = True

    def parts(self) -> dict[str, tuple[str, str | None]]:
        """Return each part's address and why it does not answer ("": it does; None: unknown)."""
        whys = {part: list(whys.values())[-1] for part, (_, whys) in self._lost.items()}
        seen = dict.fromkeys(self._seen, "")
        return {part: (at, (seen | whys).get(part)) for part, (at, _) in self._parts.items()}

    def missing(self) -> dict[str, str]:
        """Return why the bridge is not ready, by part; empty if it is ready."""
        away = self.away()
        enough = not self.any_of or not away.keys() >= set(self.any_of)
        return {part: why for part, why in away.items() if not (enough and part in self.any_of)}

    def away(self) -> dict[str, str]:
        """Return all unreachable parts with reasons, also those that the bridge can do without."""
        reasons, now = {}, self._clock.now()
        for part in self._parts:
            since, whys = self._lost.get(part, (now, {}))
            seconds = (now - since) / 1000
            # A part that never answered gets no grace period.
            if whys and (seconds >= GRACE or part not in self._seen):
                reasons[part] = f"unreachable for {seconds:.0f} s: {list(whys.values())[-1]}"
            elif part not in self._seen:
                reasons[part] = "not reached yet"
        if self._stopping:
            reasons["bridge"] = "stopping"
        return reasons

    def cut_off(self) -> float:
        """Return for how many seconds the homeserver or the call centres have been out of reach.

        Infinite if they were never reached; 0 for less than `GRACE` seconds.
        """
        now = self._clock.now()
        lost = {part: self._lost[part][0] for part in self._lost.keys() & self.missing().keys()}
        lost.pop("database", None)
        spans = (
            (now - since) / 1000 if part in self._seen else inf for part, since in lost.items()
        )
        return max(spans, default=0.0)

    def pages(self) -> dict[str, Callable[[web.BaseRequest], Awaitable[web.Response]]]:
        """Return the request handlers by path, for the port that the homeserver calls."""

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


# --- state reports --------------------------------------------------------------------------------

LOOK_EVERY = 2.0
"""Seconds between checks; changes within them become one report."""
REPEAT = 240
TTL = 600
"""Seconds for which a report is valid (its `ttl`)."""
TIMEOUT = 10.0
FIRST_PAUSE, LAST_PAUSE = 5.0, 120.0
"""First and maximum seconds until a failed report is retried (exponential back-off)."""

Report = dict[str, str | int]


async def report_states(
    endpoint: str,
    token: str,
    health: Health,
    clock: Clock,
    mine: Callable[[], bool],
    *,
    refused: Callable[[str], str],
) -> None:
    """Send state reports while `mine` says that this process is the one to send them.

    `token`: the as_token, by which endpoints for mautrix bridges identify the sender. `refused`:
    why the call centre of a health part refuses the bridge's credentials; "" if it does not.
    """
    sent: dict[str, Report] = {}
    pause, limit = LOOK_EVERY, ClientTimeout(total=TIMEOUT)
    headers = {"Authorization": f"Bearer {token}"}
    async with ClientSession(timeout=limit, headers=headers) as session:
        while True:
            await clock.sleep(pause)
            why = ""
            if not mine():
                sent.clear()  # another process may report another state meanwhile
            found = reports(health.parts(), refused) if mine() else iter(())
            for report in _due(found, sent, clock.now() // 1000):
                if why := await _failure(session, endpoint, report):
                    break
                sent[str(report.get("remote_id"))] = report
            if not why:
                pause = LOOK_EVERY
                continue
            pause = FIRST_PAUSE if pause == LOOK_EVERY else min(2 * pause, LAST_PAUSE)
            LOG.warning("the bridge's state could not be reported", why=why, wait=pause)


def _due(found: Iterator[Report], sent: Mapping[str, Report], now: int) -> list[Report]:
    """Return the reports that differ from the last sent ones, or are due for repetition."""
    due = []
    for report in found:
        before = sent.get(str(report.get("remote_id")), {})
        # Without the message, as its wording may differ at each probe.
        same = all(before.get(key) == report.get(key) for key in ("state_event", "error"))
        if not (same and 0 <= now - int(before["timestamp"]) < REPEAT):
            due.append({**report, "timestamp": now, "ttl": TTL})
    return due


async def _failure(session: ClientSession, endpoint: str, report: Report) -> str:
    """Send a report; return why it failed, or ""."""
    try:
        async with session.post(endpoint, json=report, allow_redirects=False) as reply:
            return "" if 200 <= reply.status < 300 else f"status {reply.status}"
    except (TimeoutError, ClientError, OSError) as error:
        return describe(error)


def reports(
    parts: Mapping[str, tuple[str, str | None]], refused: Callable[[str], str]
) -> Iterator[Report]:
    """Yield the bridge's report, then each call centre's; `parts` come from `Health.parts`."""
    ours = {part: why for part, (_, why) in parts.items() if not part.startswith("webchat")}
    trouble = next(((part, why) for part, why in ours.items() if why), None)
    whole: Report = {"state_event": "RUNNING", "source": "bridge"}
    if trouble is not None:
        lost, reason = trouble
        denied = REFUSED in reason
        whole["state_event"] = "BAD_CREDENTIALS" if denied else "UNKNOWN_ERROR"
        whole |= {"error": f"{lost}-{'refused' if denied else 'unreachable'}", "message": reason}
    elif None in ours.values():
        whole["state_event"] = "STARTING"
    yield whole
    for part, (place, why) in parts.items():
        if part in ours:
            continue
        remote: Report = {"source": "bridge", "remote_id": part, "remote_name": place}
        if why:
            remote |= {"error": "webchat-unreachable", "message": why}
            yield {"state_event": "TRANSIENT_DISCONNECT", **remote}
        elif reason := refused(part):
            remote |= {"error": "webchat-refused", "message": f"{place}: {reason}"}
            yield {"state_event": "BAD_CREDENTIALS", **remote}
        else:
            yield {"state_event": "CONNECTING" if why is None else "CONNECTED", **remote}
