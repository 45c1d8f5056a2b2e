"""The state of the simulation as JSON: what scripts compare with what should have happened."""

from __future__ import annotations

from bridge.simulator.outgoing import Wire
from bridge.simulator.scripts import Simulation
from bridge.simulator.state import Customer, QueueRequest, Session


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
