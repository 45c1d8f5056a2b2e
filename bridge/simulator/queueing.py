"""Asking for an agent (101) and, from a robot's session, for a person (302)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bridge.ids import AgentId, QueueId, RequestId
from bridge.simulator import desk, pushes, robotchat
from bridge.simulator.outgoing import Outgoing, Wire
from bridge.simulator.state import CallCentre, Customer, QueueRequest, Session
from bridge.webchat import frames
from bridge.webchat.codes import RequestStatus, ResultCode


class Verdict(NamedTuple):
    """What a request comes to: the reply, and what goes out after it."""

    code: ResultCode
    message: str = ""
    extra: Wire | None = None
    news: Sequence[Outgoing] = ()


def request_chat(
    centre: CallCentre, customer: Customer, asked: frames.RequestChat, now: float
) -> Verdict:
    """Carry out a 101."""
    options = centre.options
    rich = options.request_id_in_reply
    if customer.request is not None:
        waiting = customer.request
        place = _place(centre, waiting, waiting.announced) if rich else None
        return Verdict(ResultCode.ALREADY_IN_ROUTING, "already waiting in a queue", place)
    if customer.session is not None:
        open_one: Wire = {"sessionId": pushes.identifier(centre, customer.session.id)}
        return Verdict(
            ResultCode.ALREADY_IN_CHATTING, "a session is open", open_one if rich else None
        )
    by_robot = asked.queue_id in options.robot_queues
    obstacle = _obstacle(centre, asked.queue_id, AgentId(asked.to_agent), people=not by_robot)
    if obstacle is not None:
        return obstacle
    if by_robot:
        told, started = robotchat.begin(centre, customer, asked)
        return Verdict(ResultCode.SUCCESS, "", told, [started] if options.robot_started else ())
    if options.permanent:
        return _permanent(centre, customer, asked)
    return _into_queue(centre, customer, asked, now)


def _into_queue(
    centre: CallCentre, customer: Customer, asked: frames.RequestChat, now: float
) -> Verdict:
    request = QueueRequest(
        RequestId(centre.number("request")), customer.login, asked.queue_id, asked.source, since=now
    )
    request.wanted = asked.to_agent
    news, place = _ask(centre, customer, request)
    told: Wire = _place(centre, request, place) if centre.options.request_id_in_reply else {}
    if centre.options.session_in_reply and customer.session is not None:
        told |= _session_told(centre, customer.session)
    return Verdict(ResultCode.SUCCESS, "", told, news)


def ask_for_person(
    centre: CallCentre, customer: Customer, session: Session, queue_id: QueueId | None, now: float
) -> Verdict:
    """Carry out a 302: the session goes on with the robot until somebody accepts."""
    if not session.robot:
        return Verdict(ResultCode.INVALID_SESSION_TYPE, "the session is not with a robot")
    if customer.request is not None:
        return Verdict(ResultCode.ALREADY_IN_ROUTING, "already waiting for a person")
    queue_id = session.queue_id if queue_id is None else queue_id
    obstacle = _obstacle(centre, queue_id, AgentId(""), people=True)
    if obstacle is not None:
        return obstacle
    request = QueueRequest(
        RequestId(centre.number("request")), customer.login, queue_id, "", since=now
    )
    request.session = session
    news, place = _ask(centre, customer, request)
    return Verdict(ResultCode.SUCCESS, "", {"queueLength": place}, news)


def _ask(
    centre: CallCentre, customer: Customer, request: QueueRequest
) -> tuple[list[Outgoing], int]:
    """Put a request into its queue, and let a scripted agent take it; the news and the place."""
    centre.enqueue(customer, request)
    centre.transcript.add(customer.login, "event", "waiting", request=request.id)
    queue = centre.waiting(request.queue_id)
    agent = centre.options.agent(AgentId(request.wanted)) or desk.quietest_agent(centre)
    if centre.options.script == "refuse":
        return desk.turn_away(centre, request, RequestStatus.REFUSED), len(queue)
    if centre.options.script == "hand" or agent is None:
        return list(pushes.places(centre, queue)), len(queue)
    return desk.accept(centre, request, agent), 0


def _permanent(centre: CallCentre, customer: Customer, asked: frames.RequestChat) -> Verdict:
    """A session that simply is there: the reply says all, and no 202 follows."""
    agent = centre.options.agent(AgentId(asked.to_agent)) or desk.quietest_agent(centre)
    session = centre.begin(customer, asked.queue_id, [agent] if agent else [])
    centre.transcript.add(
        customer.login, "event", "accepted", session=session.id, agent=desk.first_agent(session)
    )
    return Verdict(ResultCode.SUCCESS, "", {**_session_told(centre, session), "perm": 1})


def _session_told(centre: CallCentre, session: Session) -> Wire:
    told: Wire = {"sessionId": pushes.identifier(centre, session.id)}
    for person in pushes.people(centre, session.agents):
        told |= {
            "agentId": person["id"],
            "agentName": person["name"],
            "icon": person["icon"],
            "comments": person["comments"],
        }
    return told


def _obstacle(
    centre: CallCentre, queue_id: QueueId, wanted: AgentId, *, people: bool
) -> Verdict | None:
    """Why nobody can be asked; a robot works without people and at all hours."""
    options = centre.options
    if options.queues and queue_id not in (*options.queues, *options.robot_queues):
        return Verdict(ResultCode.INVALID_QUEUE_ID, "no such queue")
    if people and not options.open_hours:
        return Verdict(ResultCode.NOT_IN_WORKTIME, "outside working hours")
    if people and not options.agents:
        return Verdict(ResultCode.NO_AGENT_ONLINE, "no agent is online")
    # Only later revisions show toUserId; whoever sends it is served by its rule.
    if wanted and options.agent(wanted) is None:
        return Verdict(ResultCode.INVALID_TO_USER_ID, "that agent is not online")
    return None


def _place(centre: CallCentre, request: QueueRequest, place: int) -> Wire:
    return {"requestId": pushes.identifier(centre, request.id), "queueLength": place}
