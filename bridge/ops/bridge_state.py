"""Bridge state reports to the operator's HTTP endpoint, in the format of mautrix bridges.

There is one report for the bridge and one per call centre (`remote_id`), from the health probes: at
each change and every `REPEAT` seconds, so that silence means trouble. A failed report is retried
with the state at that time; nothing else waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field

import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout

from bridge.ops.health import REFUSED, Health
from bridge.rooms.ports import Clock

LOOK_EVERY = 2.0
"""Seconds between checks; changes within them become one report."""
REPEAT = 240
TTL = 600
"""Seconds for which a report is valid (its `ttl`)."""
TIMEOUT = 10.0
FIRST_PAUSE, LAST_PAUSE = 5.0, 120.0
"""First and maximum seconds until a failed report is retried (exponential back-off)."""

TELLING = ("state_event", "error")
Report = dict[str, str | int]

LOG: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.ops")


@dataclass(eq=False, repr=False)
class StateReports:
    """Sender of state reports, while `mine` says that this process is the one to send them."""

    _endpoint: str
    _token: str
    """The as_token, by which endpoints for mautrix bridges identify the sender."""
    _health: Health
    _clock: Clock
    _mine: Callable[[], bool]
    _: KW_ONLY
    refused: Callable[[str], str]
    """Why the call centre of a health part refuses the bridge's credentials; "" if it does not."""
    _sent: dict[str, Report] = field(default_factory=dict)

    async def run(self) -> None:
        pause, limit = LOOK_EVERY, ClientTimeout(total=TIMEOUT)
        headers = {"Authorization": f"Bearer {self._token}"}
        async with ClientSession(timeout=limit, headers=headers) as session:
            while True:
                await self._clock.sleep(pause)
                why = ""
                for report in self._due() if self._mine() else ():
                    why = await self._send(session, report)
                    if why:
                        break
                if not why:
                    pause = LOOK_EVERY
                    continue
                pause = FIRST_PAUSE if pause == LOOK_EVERY else min(2 * pause, LAST_PAUSE)
                LOG.warning("the bridge's state could not be reported", why=why, wait=pause)

    def _due(self) -> list[Report]:
        """Return reports that differ from the last sent ones, or are due for repetition."""
        now = self._clock.now() // 1000
        due = []
        for report in reports(self._health.parts(), self.refused):
            before = self._sent.get(str(report.get("remote_id")))
            # Without the message, as its wording may differ at each probe.
            same = before is not None and all(before.get(key) == report.get(key) for key in TELLING)
            if before is None or not same or now - int(before["timestamp"]) >= REPEAT:
                due.append({**report, "timestamp": now, "ttl": TTL})
        return due

    async def _send(self, session: ClientSession, report: Report) -> str:
        """Send a report; return why it failed, or ""."""
        try:
            async with session.post(self._endpoint, json=report, allow_redirects=False) as reply:
                if not 200 <= reply.status < 300:
                    return f"status {reply.status}"
        except (TimeoutError, ClientError, OSError) as error:
            return type(error).__name__
        self._sent[str(report.get("remote_id"))] = report
        return ""


def reports(
    parts: Mapping[str, tuple[str, str | None]], refused: Callable[[str], str]
) -> Iterator[Report]:
    """Yield the bridge's report, then each call centre's; `parts` come from `Health.parts`."""
    ours = {part: why for part, (_, why) in parts.items() if not part.startswith("webchat")}
    trouble = next(((part, why) for part, why in ours.items() if why), None)
    whole: Report = {"state_event": "RUNNING", "source": "bridge"}
    if trouble is not None:
        lost, said = trouble
        denied = REFUSED in said
        whole["state_event"] = "BAD_CREDENTIALS" if denied else "UNKNOWN_ERROR"
        whole |= {"error": f"{lost}-{'refused' if denied else 'unreachable'}", "message": said}
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
        elif said := refused(part):
            remote |= {"error": "webchat-refused", "message": f"{place}: {said}"}
            yield {"state_event": "BAD_CREDENTIALS", **remote}
        else:
            yield {"state_event": "CONNECTING" if why is None else "CONNECTED", **remote}
