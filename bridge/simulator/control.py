"""The control API at `/_sim`, for scripts in another process and for the desk in the browser.

The state of the simulation is told as JSON: what scripts compare with what should have happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from aiohttp import web

from bridge.simulator.journal import Journal, Pulse
from bridge.simulator.operations import BadOpError, Simulation
from bridge.simulator.state import Customer, QueueRequest, Session, Wire
from bridge.simulator.web import answer

_LONGEST_WAIT = 300.0


class ControlSide:
    """`GET state`, `GET frames`, `POST do`.

    Args:
        state: describes the simulation.
        do: carries out one operation; raises BadOpError.
        journal: the frames.
        pulse: beats at every change.
    """

    def __init__(
        self,
        state: Callable[[], Wire],
        do: Callable[[Mapping[str, object]], Awaitable[Wire]],
        journal: Journal,
        pulse: Pulse,
    ) -> None:
        self._state = state
        self._do = do
        self._journal = journal
        self._pulse = pulse

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_sim/state", self._get_state),
            web.get("/_sim/frames", self._get_frames),
            web.post("/_sim/do", self._post_do),
        ]

    async def _get_state(self, request: web.Request) -> web.Response:
        return answer(self._state())

    async def _get_frames(self, request: web.Request) -> web.Response:
        """The frames after number `since`; with `wait`, up to so many seconds for the first."""
        try:
            since = int(request.query.get("since", "0"))
            wait = min(float(request.query.get("wait", "0")), _LONGEST_WAIT)
        except ValueError:
            return _bad("since must be an integer and wait a number of seconds")
        try:
            async with asyncio.timeout(wait):
                while wait > 0 and self._journal.last <= since:
                    await self._pulse.wait()
        except TimeoutError:
            pass
        return answer({"last": self._journal.last, "frames": self._journal.since(since)})

    async def _post_do(self, request: web.Request) -> web.Response:
        try:
            body = msgspec.json.decode(await request.read(), type=dict[str, object])
            return answer(await self._do(body))
        except msgspec.MsgspecError as error:
            return _bad(f"the body must be a JSON object: {error}")
        except BadOpError as error:
            return _bad(str(error))


def _bad(sentence: str) -> web.Response:
    return web.Response(
        status=400,
        body=msgspec.json.encode({"ok": False, "error": sentence}),
        content_type="application/json",
        charset="UTF-8",
    )


# --- the state as JSON ---------------------------------------------------------------------------


def describe(simulation: Simulation, uploads: list[Wire], now: float) -> Wire:
    """Everything scripts may ask about; lists are copies, their entries are not.

    Args:
        simulation: the whole.
        uploads: what `/tpiu` has taken.
        now: seconds, monotonic: decides which tokens are still valid.
    """
    centre = simulation.centre
    centre.settle(now)
    customers = centre.customers.values()
    return {
        "customers": {who.login: _customer(who, now) for who in customers},
        "waiting": [_request(request) for request in centre.requests.values()],
        "sessions": [_session(session) for session in centre.sessions.values()],
        "uploads": uploads,
        "logins": sum(who.logins for who in customers),
        "open_sockets": sum(who.linked for who in customers),
        "blacklist": simulation.gate.banned(),
        "faults": simulation.faults.describe(),
        "down": now < simulation.down_until,
    }


def _customer(who: Customer, now: float) -> Wire:
    history = who.history
    return {
        "name": who.name,
        "client_id": who.client_id,
        "logins": who.logins,
        "token": any(now < expires for expires in who.tokens.values()),
        "linked": who.linked,
        "request": _request(who.request) if who.request else None,
        "session": _session(who.session) if who.session else None,
        "sessions": [_session(session) for session in history.sessions],
        "messages": list(history.messages),
        "refused": list(history.refused),
        "said": list(history.said),
        "ratings": list(history.ratings),
        "signals": list(history.signals),
        "dropped": history.dropped,
        "lost_pushes": history.lost_pushes,
        "pending_pushes": len(who.pending),
    }


def _request(request: QueueRequest) -> Wire:
    return {
        "id": request.id,
        "login": request.login,
        "queueId": request.queue_id,
        "from": request.source,
        "sessionId": request.session.id if request.session else None,
        "place": request.announced,
    }


def _session(session: Session) -> Wire:
    return {
        "id": session.id,
        "login": session.login,
        "queueId": session.queue_id,
        "agents": [agent.id for agent in session.agents],
        "robot": session.robot,
        "open": session.open,
        "ended_by": session.ended_by,
    }
