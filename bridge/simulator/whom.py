"""Whom a control operation is about: named, or the only one it can be."""

from __future__ import annotations

from bridge.ids import AgentId
from bridge.simulator import ops
from bridge.simulator.ops import BadOpError
from bridge.simulator.options import DeskAgent
from bridge.simulator.state import CallCentre, Customer, QueueRequest, Session


def customer(centre: CallCentre, login: str) -> Customer:
    """Who has logged in under that name."""
    found = centre.customers.get(login)
    if found is None:
        raise BadOpError(f"nobody has logged in as {login!r}")
    return found


def agent(centre: CallCentre, agent_id: AgentId) -> DeskAgent:
    """The agent online under that id."""
    found = centre.options.agent(agent_id)
    if found is None:
        raise BadOpError(f"no agent {agent_id!r} is online")
    return found


def request(centre: CallCentre, op: ops.OnRequest) -> QueueRequest:
    """The request that is named, or the one that has waited longest."""
    if op.request is not None:
        found = centre.requests.get(op.request)
        if found is None:
            raise BadOpError(f"no request {op.request} is waiting")
        return found
    if op.login:
        own = customer(centre, op.login).request
        if own is None:
            raise BadOpError(f"{op.login} is not waiting in a queue")
        return own
    oldest = next(iter(centre.requests.values()), None)
    if oldest is None:
        raise BadOpError("nobody is waiting in a queue")
    return oldest


def session(centre: CallCentre, op: ops.OnSession) -> Session:
    """The open session that is named, or the only one."""
    if op.session is not None:
        found = centre.sessions.get(op.session)
        if found is None:
            raise BadOpError(f"session {op.session} is not open")
        return found
    if op.login:
        own = customer(centre, op.login).session
        if own is None:
            raise BadOpError(f"{op.login} has no open session")
        return own
    if len(centre.sessions) != 1:
        raise BadOpError(f"say which session: {len(centre.sessions)} are open")
    return next(iter(centre.sessions.values()))
