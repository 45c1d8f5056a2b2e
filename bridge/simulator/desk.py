"""What agents do: accept, refuse, speak, come and go, close. Each returns what the customer gets.

Used by the scripted agents, by the control operations and so by the desk in the browser, so that
all look the same on the wire.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from bridge.ids import AgentId, QueueId
from bridge.simulator import pushes
from bridge.simulator.journal import masked
from bridge.simulator.options import DeskAgent
from bridge.simulator.outgoing import Outgoing, Send, Wire
from bridge.simulator.state import CallCentre, Ending, QueueRequest, Session
from bridge.simulator.transcript import Side
from bridge.webchat import frames
from bridge.webchat.codes import MessageType, NoticeType, RequestStatus

KINDS: Mapping[int, str] = MappingProxyType(
    {
        MessageType.TEXT: "text",
        MessageType.IMAGE: "image",
        MessageType.FILE: "file",
        MessageType.LOCATION: "location",
        MessageType.VOICE: "voice",
        MessageType.VIDEO: "video",
        MessageType.SYSTEM_NOTICE: "notice",
    }
)
"""Content by its wire number, as scripts and the desk name it."""


def quietest_agent(centre: CallCentre) -> DeskAgent | None:
    """The agent online with the fewest open sessions, the first of equals."""
    busy = [agent.id for session in centre.sessions.values() for agent in session.agents]
    return min(centre.options.agents, key=lambda agent: busy.count(agent.id), default=None)


def accept(centre: CallCentre, request: QueueRequest, agent: DeskAgent) -> list[Outgoing]:
    """Open a session: 202, the next places for those behind, and the echo of pre-messages.

    A session of the robot goes on under the same id, and 204 tells who has taken over.
    """
    if request.session is not None:
        news, session = _take_over(centre, request, request.session, agent)
    else:
        session = centre.start(request, [agent])
        news = [pushes.started(centre, session)]
    _event(centre, session, "accepted", agent=agent.id, request=request.id)
    news += pushes.places(centre, centre.waiting(request.queue_id))
    if centre.options.script == "echo":
        for heard in centre.customers[request.login].history.messages:
            if heard["type"] == 111 and heard["requestId"] == request.id:
                news.append(speak_text(centre, session, str(heard["content"])))
    return news


def _take_over(
    centre: CallCentre, request: QueueRequest, session: Session, agent: DeskAgent
) -> tuple[list[Outgoing], Session]:
    centre.leave_queue(request)
    session.agents, session.robot, session.queue_id = [agent], False, request.queue_id
    if centre.options.robot_handover == 202:
        return [pushes.started(centre, session)], session
    name = centre.options.queue_name(request.queue_id)
    return [pushes.agents_updated(centre, session, name)], session


def turn_away(centre: CallCentre, request: QueueRequest, status: int) -> list[Outgoing]:
    """End a request with a requestStatus other than waiting or accepted."""
    centre.leave_queue(request)
    centre.transcript.add(
        request.login, "event", "turned_away", request=request.id, text=str(int(status))
    )
    return [
        pushes.status(centre, request, status, 0),
        *pushes.places(centre, centre.waiting(request.queue_id)),
    ]


def timed_out(centre: CallCentre, now: float) -> list[Outgoing]:
    """End the requests that have waited for too long."""
    longest = centre.options.queue_timeout
    late = [one for one in centre.requests.values() if longest and now - one.since >= longest]
    return [send for one in late for send in turn_away(centre, one, RequestStatus.TIMEOUT)]


def cancelled(centre: CallCentre, request: QueueRequest) -> list[Outgoing]:
    """The customer gives up waiting: status 7 confirms it."""
    return turn_away(centre, request, RequestStatus.CANCELED_BY_CLIENT)


def speak(
    centre: CallCentre,
    session: Session,
    kind: MessageType,
    content: object,
    *,
    agent_id: AgentId | None = None,
    notice_type: int | None = None,
    shown: Wire | None = None,
) -> Send:
    """Send one 210 and keep a record of it, large contents shortened.

    Args:
        centre: where it happens.
        session: an open session.
        kind: wire `msg.type`.
        content: wire `msg.content`.
        agent_id: who speaks; the session's first agent when left out.
        notice_type: wire `noticeType`, for system notices of later revisions.
        shown: fields of the transcript's entry; the text when left out.
    """
    speaker = agent_id or first_agent(session)
    record = remember(centre, session, speaker, kind, content)
    if notice_type != NoticeType.TYPING:
        side: Side = "robot" if session.robot and speaker == centre.options.robot.id else "agent"
        centre.transcript.add(
            session.login,
            side,
            KINDS[kind],
            session=session.id,
            agent=speaker,
            **({"text": str(content)} if shown is None else shown),
        )
    return pushes.message(
        centre, session, speaker, kind, content, notice_type=notice_type, record=record
    )


def remember(
    centre: CallCentre, session: Session, speaker: AgentId, kind: MessageType, content: object
) -> Wire:
    """Put what an agent or the robot says into the customer's history; the record."""
    is_text = kind is MessageType.TEXT and isinstance(content, str)
    record: Wire = {
        "n": centre.number("message"),
        "sessionId": session.id,
        "agentId": speaker,
        "type": int(kind),
        "content": content if is_text else masked(content),
        "time": centre.wall_ms(),
        "sent": False,
    }
    customer = centre.customers[session.login]
    centre.keep(customer, customer.history.said, record)
    return record


def speak_text(centre: CallCentre, session: Session, text: str) -> Send:
    """Send plain text as the HTML that an agent's text is (reference 3.9)."""
    return speak(centre, session, MessageType.TEXT, html.escape(text, quote=False))


def last_said(centre: CallCentre, session: Session) -> int | None:
    """The number of the newest message that an agent said in a session; None: nothing was."""
    numbers = [record["n"] for record in _said(centre, session)]
    return max((number for number in numbers if isinstance(number, int)), default=None)


def recall(centre: CallCentre, session: Session, number: int) -> Send | None:
    """Take back a message: system notice 6 of the HTTP sibling's guide; None: no such message."""
    for record in _said(centre, session):
        if record["n"] == number:
            record["revoked"] = True
            speaker = AgentId(str(record["agentId"]))
            _event(centre, session, "recalled", agent=speaker)
            kind, content = MessageType.SYSTEM_NOTICE, {"messageId": number}
            notice = NoticeType.REVOKE_MESSAGE
            return pushes.message(centre, session, speaker, kind, content, notice_type=notice)
    return None


def _said(centre: CallCentre, session: Session) -> list[Wire]:
    """What agents said in a session, notices aside."""
    said = centre.customers[session.login].history.said
    return [
        record
        for record in said
        if record["sessionId"] == session.id and record["type"] != MessageType.SYSTEM_NOTICE
    ]


def echo(centre: CallCentre, session: Session, content: frames.Content) -> Send:
    """Answer a customer's message with the same words, or with what it was."""
    match content:
        case frames.Text(text):
            return speak_text(centre, session, text)
        case frames.Image(name):
            return speak_text(centre, session, f"[image] {name}")
        case frames.File(name):
            return speak_text(centre, session, f"[file] {name}")
        case frames.Location(latitude, longitude):
            return speak_text(centre, session, f"[location] {latitude},{longitude}")
        case frames.Voice(seconds):
            return speak_text(centre, session, f"[voice] {seconds} s")
        case frames.Video(name):
            return speak_text(centre, session, f"[video] {name}")


def change_agents(
    centre: CallCentre,
    session: Session,
    agents: Iterable[DeskAgent],
    *,
    queue_id: QueueId | None = None,
    queue_name: str = "",
) -> list[Outgoing]:
    """Replace the people of a session: transfer, conference, departure, rename; 204 tells it.

    With `change_notices`, a system notice tells it too.
    """
    before, after = list(session.agents), list(agents)
    session.agents, session.robot = after, False
    if queue_id is not None:
        session.queue_id = queue_id
        queue_name = queue_name or centre.options.queue_name(queue_id)
    joined = [one for one in after if one.id not in {other.id for other in before}]
    left = [one for one in before if one.id not in {other.id for other in after}]
    news: list[Outgoing] = [pushes.agents_updated(centre, session, queue_name)]
    for people, event in ((joined, "joined"), (left, "left")):
        for agent in people:
            _event(centre, session, event, agent=agent.id)
    if centre.options.change_notices and (joined or left):
        news.append(_change_notice(centre, session, joined, left))
    return news


def _change_notice(
    centre: CallCentre, session: Session, joined: list[DeskAgent], left: list[DeskAgent]
) -> Send:
    names = "、".join(agent.name or agent.id for agent in joined or left)
    if joined and left:
        kind, words = NoticeType.TRANSFER, f"会话已转接给 {names}"
    elif joined:
        kind, words = NoticeType.INVITE, f"{names} 加入了会话"
    else:
        kind, words = NoticeType.USER_LEFT, f"{names} 离开了会话"
    return speak(centre, session, MessageType.SYSTEM_NOTICE, words, notice_type=kind)


def push_rating(centre: CallCentre, session: Session, agent_id: AgentId) -> list[Outgoing]:
    """An agent asks for a rating: 203."""
    _event(centre, session, "rating_pushed", agent=agent_id)
    return [pushes.rating_pushed(centre, session, agent_id)]


def close(centre: CallCentre, session: Session, agent_id: AgentId | None = None) -> list[Outgoing]:
    """An agent ends the session: 205."""
    closing = agent_id or first_agent(session)
    moved = end(centre, session, "agent", closing)
    return [pushes.session_closed(centre, session, closing), *moved]


def end(
    centre: CallCentre, session: Session, by: Ending, agent_id: AgentId | None = None
) -> list[Outgoing]:
    """Close a session without telling its customer; the new places of those who waited behind."""
    request = centre.customers[session.login].request
    centre.end(session, by)
    _event(centre, session, "closed", agent=agent_id or "", text=by)
    return [] if request is None else list(pushes.places(centre, centre.waiting(request.queue_id)))


def first_agent(session: Session) -> AgentId:
    """The agent who speaks when nobody is named; a session may have been left without any."""
    return session.agents[0].id if session.agents else AgentId("")


def _event(centre: CallCentre, session: Session, kind: str, **fields: object) -> None:
    centre.transcript.add(session.login, "event", kind, session=session.id, **fields)
