"""Actions of agents and robot: accept, refuse, answer or transfer a customer, end a session.

Functions return the frames to send. In `robot_queues` the robot answers first and offers a person
when asked for one (reference 1.6); no guide documents its frames on the socket, so their shapes are
those of the vendor's phone clients.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence

from bridge.ids import AgentId, QueueId
from bridge.simulator import delivery
from bridge.simulator.options import DeskAgent
from bridge.simulator.state import (
    CallCentre,
    Ending,
    Outgoing,
    QueueRequest,
    Send,
    Session,
    Side,
    Wire,
    masked,
)
from bridge.webchat import frames
from bridge.webchat.codes import FrameType, MessageType, NoticeType, RequestStatus

# --- agents --------------------------------------------------------------------------------------


def quietest_agent(centre: CallCentre) -> DeskAgent | None:
    """Return the agent online with the fewest open sessions, the first one in a tie."""
    busy = [agent.id for session in centre.sessions.values() for agent in session.agents]
    return min(centre.options.agents, key=lambda agent: busy.count(agent.id), default=None)


def accept(centre: CallCentre, request: QueueRequest, agent: DeskAgent) -> list[Outgoing]:
    """Open a session (202), update queue positions, and with script `echo` repeat pre-messages. A
    robot session keeps its id: the agent is announced by 204 or 202, as `robot_handover` says.
    """
    if request.session is not None:
        session = request.session
        centre.leave_queue(request)
        session.agents, session.robot, session.queue_id = [agent], False, request.queue_id
    else:
        session = centre.start(request, agent)
    news: list[Outgoing] = []
    if request.session is None or centre.options.robot_handover == 202:
        news.append(delivery.started(centre, session))
    else:
        name = centre.options.queue_name(request.queue_id)
        news.append(delivery.agents_updated(centre, session, name))
    centre.event(session, "accepted", agent=agent.id, request=request.id)
    news += delivery.places(centre, request.queue_id)
    if centre.options.script == "echo":
        for heard in centre.customers[request.login].history.messages:
            if heard["type"] == 111 and heard["requestId"] == request.id:
                news.append(speak_text(centre, session, str(heard["content"])))
    return news


def turn_away(centre: CallCentre, request: QueueRequest, status: int) -> list[Outgoing]:
    """End a queue request with a requestStatus other than waiting or accepted."""
    centre.leave_queue(request)
    centre.note(request.login, "event", "turned_away", request=request.id, text=str(int(status)))
    told = delivery.status(centre, request, status, 0)
    return [told, *delivery.places(centre, request.queue_id)]


def overdue(centre: CallCentre, now: float) -> list[Outgoing]:
    """Turn away who has waited for `queue_timeout` seconds; end the sessions whose customers have
    had no socket for `session_grace` seconds.
    """
    longest, grace = centre.options.queue_timeout, centre.options.session_grace
    news: list[Outgoing] = []
    for request in list(centre.requests.values()) if longest else ():
        if now - request.since >= longest:
            news += turn_away(centre, request, RequestStatus.TIMEOUT)
    for session in list(centre.sessions.values()) if grace else ():
        lost = centre.customers[session.login].link_lost_at
        if lost is not None and now - lost >= grace:
            news += end(centre, session, "grace")
    return news


def speak(
    centre: CallCentre,
    session: Session,
    speaker: AgentId,
    kind: MessageType,
    content: object,
    *,
    notice_type: int | None = None,
    shown: Wire | None = None,
) -> Send:
    """Build and record a 210; `shown` are fields for its transcript entry in place of the text."""
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
    if notice_type != NoticeType.TYPING:
        side: Side = "robot" if session.robot and speaker == centre.options.robot.id else "agent"
        fields = {"text": str(content)} if shown is None else shown
        name = delivery.KINDS[kind]
        centre.note(session.login, side, name, session=session.id, agent=speaker, **fields)
    return delivery.message(
        centre, session, speaker, kind, content, notice_type=notice_type, record=record
    )


def speak_text(centre: CallCentre, session: Session, text: str) -> Send:
    """Build a 210 of plain text, escaped because agents' texts are HTML (reference 3.9)."""
    words = html.escape(text, quote=False)
    return speak(centre, session, first_agent(session), MessageType.TEXT, words)


def echo(centre: CallCentre, session: Session, content: frames.Content) -> Send:
    """Answer a customer's message with the same text, or with a description of other content."""
    match content:
        case frames.Text(text):
            words = text
        case frames.Location(latitude, longitude):
            words = f"[location] {latitude},{longitude}"
        case frames.Voice(seconds):
            words = f"[voice] {seconds} s"
        case _:
            words = f"[{type(content).__name__.lower()}] {content.name}"
    return speak_text(centre, session, words)


def change_agents(
    centre: CallCentre,
    session: Session,
    agents: Iterable[DeskAgent],
    *,
    queue_id: QueueId | None = None,
    queue_name: str = "",
) -> list[Outgoing]:
    """Replace the agents of a session: a 204, and with `change_notices` a system notice."""
    before, after = session.agents, list(agents)
    session.agents, session.robot = after, False
    if queue_id is not None:
        session.queue_id = queue_id
        queue_name = queue_name or centre.options.queue_name(queue_id)
    joined = [one for one in after if one.id not in {other.id for other in before}]
    left = [one for one in before if one.id not in {other.id for other in after}]
    news: list[Outgoing] = [delivery.agents_updated(centre, session, queue_name)]
    for people, event in ((joined, "joined"), (left, "left")):
        for agent in people:
            centre.event(session, event, agent=agent.id)
    if centre.options.change_notices and (joined or left):
        names = "、".join(agent.name or agent.id for agent in joined or left)
        if joined and left:
            kind, words = NoticeType.TRANSFER, f"会话已转接给 {names}"
        elif joined:
            kind, words = NoticeType.INVITE, f"{names} 加入了会话"
        else:
            kind, words = NoticeType.USER_LEFT, f"{names} 离开了会话"
        speaker, system = first_agent(session), MessageType.SYSTEM_NOTICE
        news.append(speak(centre, session, speaker, system, words, notice_type=kind))
    return news


def end(
    centre: CallCentre, session: Session, by: Ending, agent_id: AgentId | None = None
) -> Sequence[Outgoing]:
    """Close a session without a push to its customer; return new positions in the queue it left."""
    request = centre.customers[session.login].request
    centre.end(session, by, agent_id)
    return [] if request is None else delivery.places(centre, request.queue_id)


def first_agent(session: Session) -> AgentId:
    """Return the agent who speaks by default; empty if the session has none left."""
    return session.agents[0].id if session.agents else AgentId("")


# --- the robot -----------------------------------------------------------------------------------

_XIAODUO = 3
"""The robotType whose 301 content is JSON text."""
_PERSON = ("人工", "human", "agent", "person")


def robot_answer(centre: CallCentre, session: Session, heard: frames.Content) -> list[Outgoing]:
    question = heard.text.strip() if isinstance(heard, frames.Text) else ""
    options = centre.options
    known: list[str] = []
    if any(word in question.lower() for word in _PERSON):
        words = "请点击转人工。"
        content: Wire = {"type": "command", "content": {"code": "CLIENT_ZRG"}, "extra": words}
    else:
        words = options.robot_answers.get(question, "对不起，我没有听懂。")
        content = {"type": "text", "content": words}
        if question not in options.robot_answers and options.robot_answers:
            known = list(options.robot_answers)[:5]
            relates = [{"name": question} for question in known]
            content["relatedQuestions"] = [{"title": "您可以这样问：", "relates": relates}]
    if options.robot_speaks == 210:
        return [speak(centre, session, first_agent(session), MessageType.TEXT, words)]
    wire, shown = words, words
    if options.robot_type == _XIAODUO:
        wire = json.dumps(content, ensure_ascii=False)
        shown = "<br>".join([words, *(html.escape(question, quote=False) for question in known)])
    said = speak(centre, session, options.robot.id, MessageType.TEXT, shown)
    fields: Wire = {"robotType": options.robot_type, "content": wire}
    return [delivery.push(centre, FrameType.ROBOT_MESSAGE, session, fields, said.record)]
