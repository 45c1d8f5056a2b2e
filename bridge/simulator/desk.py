"""What agents do: accept, refuse, speak, come and go, close. Each returns what the customer gets.

Used by the scripted agents and by the control operations alike, so that both look the same on the
wire.
"""

from __future__ import annotations

import html
from collections.abc import Iterable

from bridge.ids import AgentId, QueueId
from bridge.simulator import pushes
from bridge.simulator.journal import masked
from bridge.simulator.options import DeskAgent
from bridge.simulator.outgoing import Outgoing, Send, Wire
from bridge.simulator.state import CallCentre, QueueRequest, Session
from bridge.webchat import frames
from bridge.webchat.codes import MessageType, RequestStatus


def accept(centre: CallCentre, request: QueueRequest, agent: DeskAgent) -> list[Outgoing]:
    """Open a session: 202, the next places for those behind, and the echo of pre-messages."""
    session = centre.start(request, [agent])
    news: list[Outgoing] = [pushes.started(centre, session)]
    news += pushes.places(centre, centre.waiting(request.queue_id))
    if centre.options.script == "echo":
        for heard in centre.customers[request.login].history.messages:
            if heard["type"] == 111 and heard["requestId"] == request.id:
                news.append(speak_text(centre, session, str(heard["content"])))
    return news


def turn_away(centre: CallCentre, request: QueueRequest, status: int) -> list[Outgoing]:
    """End a request with a requestStatus other than waiting or accepted."""
    centre.leave_queue(request)
    return [
        pushes.status(centre, request, status, 0),
        *pushes.places(centre, centre.waiting(request.queue_id)),
    ]


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
) -> Send:
    """Send one 210 and keep a record of it, large contents shortened.

    Args:
        centre: where it happens.
        session: an open session.
        kind: wire `msg.type`.
        content: wire `msg.content`.
        agent_id: who speaks; the session's first agent when left out.
        notice_type: wire `noticeType`, for system notices of later revisions.
    """
    speaker = agent_id or first_agent(session)
    record: Wire = {
        "n": centre.number("message"),
        "sessionId": session.id,
        "agentId": speaker,
        "type": int(kind),
        "content": masked(content),
        "sent": False,
    }
    centre.customers[session.login].history.said.append(record)
    return pushes.message(
        centre, session, speaker, kind, content, notice_type=notice_type, record=record
    )


def speak_text(centre: CallCentre, session: Session, text: str) -> Send:
    """Send plain text as the HTML that an agent's text is (reference 3.9)."""
    return speak(centre, session, MessageType.TEXT, html.escape(text, quote=False))


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


def change_agents(
    centre: CallCentre,
    session: Session,
    agents: Iterable[DeskAgent],
    *,
    queue_id: QueueId | None = None,
    queue_name: str = "",
) -> list[Outgoing]:
    """Replace the people of a session: transfer, conference, departure, rename; 204 tells it."""
    session.agents = list(agents)
    if queue_id is not None:
        session.queue_id = queue_id
    return [pushes.agents_updated(centre, session, queue_name)]


def close(centre: CallCentre, session: Session, agent_id: AgentId | None = None) -> list[Outgoing]:
    """An agent ends the session: 205."""
    closing = agent_id or first_agent(session)
    centre.end(session, "agent")
    return [pushes.session_closed(centre, session, closing)]


def first_agent(session: Session) -> AgentId:
    """The agent who speaks when nobody is named; a session may have been left without any."""
    return session.agents[0].id if session.agents else AgentId("")
