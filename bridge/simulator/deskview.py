"""What a desk in the browser is shown: who waits, who talks, what was said since it last looked.

Pure: `deskside` sends it. Times are durations, so that no clock but the browser's own is needed.
"""

from __future__ import annotations

from bridge.simulator.options import DeskAgent
from bridge.simulator.outgoing import Wire
from bridge.simulator.state import CallCentre, QueueRequest, Session
from bridge.simulator.transcript import shown


def view(centre: CallCentre, since: int, now: float) -> Wire:
    """The whole centre as it is now, and the entries of the transcript after number `since`."""
    centre.settle(now)
    options = centre.options
    sessions = [*centre.closed, *centre.sessions.values()]
    return {
        "dialect": options.dialect,
        "types": options.later,
        "open_hours": options.open_hours,
        "agents": [_agent(agent) for agent in options.agents],
        "queues": dict(options.queue_names),
        "ratings": {str(choice.id): choice.name for choice in options.ratings},
        "waiting": [_request(centre, request, now) for request in centre.requests.values()],
        "sessions": [_session(centre, session, now) for session in sessions],
        "last": centre.transcript.last,
        "entries": [shown(entry) for entry in centre.transcript.since(since)],
    }


def _agent(agent: DeskAgent) -> Wire:
    return {"id": agent.id, "name": agent.name or agent.id, "comments": agent.comments}


def _request(centre: CallCentre, request: QueueRequest, now: float) -> Wire:
    return {
        "id": request.id,
        **_who(centre, request.login),
        "queue": request.queue_id,
        "queue_name": centre.options.queue_name(request.queue_id),
        "from": request.source,
        "place": request.announced,
        "waited": now - request.since,
        "wanted": request.wanted,
        "session": request.session.id if request.session else None,
    }


def _session(centre: CallCentre, session: Session, now: float) -> Wire:
    customer = centre.customers[session.login]
    typed = customer.typed_at if customer.session is session else None
    return {
        "id": session.id,
        **_who(centre, session.login),
        "queue": session.queue_id,
        "queue_name": centre.options.queue_name(session.queue_id),
        "agents": [_agent(agent) for agent in session.agents],
        "robot": session.robot,
        "open": session.open,
        "ended_by": session.ended_by,
        "typed": None if typed is None else now - typed,
        "preview": customer.preview if typed is not None else "",
    }


def _who(centre: CallCentre, login: str) -> Wire:
    customer = centre.customers[login]
    return {"login": login, "name": customer.name or login, "linked": customer.linked}
