"""What the server sends, built key by key as the guide shows it (part three).

Nothing is sent here: the functions return the frame, or a `Send` that says to whom it goes.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from bridge.ids import AgentId, CallId, RequestId, SessionId
from bridge.simulator.options import DeskAgent
from bridge.simulator.outgoing import Send, Wire
from bridge.simulator.state import CallCentre, QueueRequest, Session
from bridge.webchat.codes import FrameType, MessageType, RequestStatus, ResultCode


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
    """201: where the request stands."""
    values: Wire = {
        "requestId": identifier(centre, request.id),
        "requestStatus": int(state),
        "queueLength": place,
    }
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
            "icon": _icon(centre, agent),
            "comments": agent.comments,
        }
        for agent in agents
    ]


def _icon(centre: CallCentre, agent: DeskAgent) -> str:
    if agent.icon != "auto":
        return agent.icon
    return f"{centre.base_url}/icon/{quote(agent.id, safe='')}.png"


def started(centre: CallCentre, session: Session, *, resumed: bool = False) -> Send:
    """202: the session is open. The flag of a resumed one is a later revision's."""
    frame: Wire = {
        "type": int(FrameType.CHAT_STARTED),
        "sessionId": identifier(centre, session.id),
        "agents": people(centre, session.agents),
    }
    if resumed:
        frame["continueLastSession"] = True
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
    """210. `noticeType` is written only when given: the guide of 2016 has none."""
    msg: Wire = {"type": int(kind), "content": content}
    if notice_type is not None:
        msg["noticeType"] = notice_type
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
