"""What the server sends, built key by key as the guides show it (guide part three; reference 1.4).

Nothing is sent here: the functions return the frame, or a `Send` that says to whom it goes.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from bridge.ids import AgentId, CallId, RequestId, SessionId
from bridge.simulator.options import DeskAgent
from bridge.simulator.outgoing import Send, Wire
from bridge.simulator.state import CallCentre, Customer, QueueRequest, Session
from bridge.webchat.codes import FrameType, MessageType, NoticeType, RequestStatus, ResultCode


def identifier(centre: CallCentre, number: RequestId | SessionId) -> int | str:
    """A requestId or sessionId as this server writes it."""
    return str(number) if centre.options.ids_as_strings else int(number)


def reply(
    frame_type: int,
    code: ResultCode | int,
    message: str = "",
    *,
    call_id: CallId | None = None,
    extra: Wire | None = None,
) -> Wire:
    """The answer to one command; without `messageId` when the command had none to read."""
    known: Wire = {} if call_id is None else {"messageId": int(call_id)}
    return {
        **known,
        "type": int(frame_type),
        "result": int(code),
        "message": message,
        **(extra or {}),
    }


def status(centre: CallCentre, request: QueueRequest, state: int, place: int) -> Send:
    """201: where the request stands. R4 names the session of a robot's hand-over."""
    values: Wire = {
        "requestId": identifier(centre, request.id),
        "requestStatus": int(state),
        "queueLength": place,
    }
    options = centre.options
    if request.session is not None and (not options.later or options.revision == "R4"):
        values["sessionId"] = identifier(centre, request.session.id)
    body: Wire = {"data": values} if centre.options.nested_status else values
    return Send(request.login, {"type": int(FrameType.REQUEST_STATUS), **body})


def places(centre: CallCentre, waiting: Iterable[QueueRequest]) -> list[Send]:
    """A 201 for everyone whose place is not the one they were last told."""
    news: list[Send] = []
    for place, request in enumerate(waiting, 1):
        if request.announced != place:
            request.announced = place
            news.append(status(centre, request, RequestStatus.WAITING, place))
    return news


def people(centre: CallCentre, agents: Iterable[DeskAgent]) -> list[Wire]:
    """An `agents` list."""
    return [
        {
            "id": agent.id,
            "name": agent.name,
            "icon": icon(centre, agent),
            "comments": agent.comments,
        }
        for agent in agents
    ]


def icon(centre: CallCentre, agent: DeskAgent) -> str:
    """The address of an agent's picture, as it goes over the wire."""
    if agent.icon != "auto":
        return agent.icon
    return f"{centre.base_url}/icon/{quote(agent.id, safe='')}.png"


def started(centre: CallCentre, session: Session, *, resumed: bool = False) -> Send:
    """202: the session is open. The later guides list `users`, the customer among them."""
    customer = centre.customers[session.login]
    agents = people(centre, session.agents)
    frame: Wire = {
        "type": int(FrameType.CHAT_STARTED),
        "sessionId": identifier(centre, session.id),
    }
    if centre.options.later:
        # The customer's entry has no comments, and comes first here (trap T16).
        own: Wire = {"id": customer.client_id, "name": customer.name or customer.login, "icon": ""}
        frame |= {"continueLastSession": resumed, "users": [own, *agents]}
    else:
        frame["agents"] = agents
        if resumed:
            frame["continueLastSession"] = True
    if session.robot and centre.options.robot_mode:
        frame["robotMode"] = True
    return Send(session.login, frame)


def agents_updated(centre: CallCentre, session: Session, queue_name: str = "") -> Send:
    """204: the whole new list, with the new queue after a transfer between queues."""
    frame: Wire = {
        "type": int(FrameType.AGENTS_UPDATED),
        "sessionId": identifier(centre, session.id),
        "agents": people(centre, session.agents),
    }
    if queue_name:
        frame |= {"queueId": int(session.queue_id), "queueName": queue_name}
    return Send(session.login, frame)


def init_config(centre: CallCentre, customer: Customer) -> Send:
    """200: what a fresh socket is told first. No guide shows an element of `ratings`."""
    options = centre.options
    return Send(
        customer.login,
        {
            "type": int(FrameType.INIT_CONFIG),
            "ratings": [{"ratingId": choice.id, "name": choice.name} for choice in options.ratings],
            "fileAcceptExtensionsArr": ",".join(options.allowed_extensions),
            "hisSessions": [
                int(session.id) for session in customer.history.sessions if not session.open
            ],
        },
    )


def robot_message(centre: CallCentre, session: Session, content: str, record: Wire) -> Send:
    """301: the robot speaks."""
    frame: Wire = {
        "type": int(FrameType.ROBOT_MESSAGE),
        "sessionId": identifier(centre, session.id),
        "robotType": centre.options.robot_type,
        "content": content,
    }
    return Send(session.login, frame, record)


def rating_pushed(centre: CallCentre, session: Session, agent_id: AgentId) -> Send:
    """203."""
    return Send(session.login, _of_agent(centre, FrameType.RATING_PUSHED, session, agent_id))


def session_closed(centre: CallCentre, session: Session, agent_id: AgentId) -> Send:
    """205."""
    return Send(session.login, _of_agent(centre, FrameType.SESSION_CLOSED, session, agent_id))


def message(
    centre: CallCentre,
    session: Session,
    agent_id: AgentId,
    kind: MessageType,
    content: object,
    *,
    notice_type: int | None = None,
    record: Wire | None = None,
) -> Send:
    """210. A notice of the later guides has a noticeType, 99 if none is given; 2016 knows none."""
    msg: Wire = {"type": int(kind), "content": content}
    if notice_type is None and kind == MessageType.SYSTEM_NOTICE and centre.options.later:
        notice_type = NoticeType.CUSTOM
    if notice_type is not None:
        msg["noticeType"] = int(notice_type)
    frame = _of_agent(centre, FrameType.MESSAGE_RECEIVED, session, agent_id)
    return Send(session.login, {**frame, "msg": msg}, record)


def _of_agent(
    centre: CallCentre, frame_type: FrameType, session: Session, agent_id: AgentId
) -> Wire:
    return {
        "type": int(frame_type),
        "sessionId": identifier(centre, session.id),
        "agentId": agent_id,
    }
