"""Frames that the server sends, actions of agents and robot that lead to them, and their delivery.

Agents accept, refuse, answer or transfer a customer, and end a session. In `robot_queues` the robot
answers first and offers a person when asked for one (reference 1.6); no guide documents its frames
on the socket, so their shapes are those of the vendor's phone clients.

Frames are written, lost, kept, or resent. The guide of 2016 (part three; reference 1.4) says
nothing about pushes that no socket took, so by default they are lost. Later revisions number pushes
with `rsId` and resend them until the customer's receipt (120). Pure: the frames go into the
centre's outbox, from which `web` writes them.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from urllib.parse import quote

import msgspec

from bridge.ids import AgentId, CallId, QueueId, RequestId, SessionId
from bridge.simulator.options import DeskAgent
from bridge.simulator.state import (
    CallCentre,
    Customer,
    Ending,
    Outgoing,
    Pending,
    QueueRequest,
    Send,
    Session,
    Side,
    Wire,
    masked,
)
from bridge.webchat import frames
from bridge.webchat.codes import FrameType, MessageType, NoticeType, RequestStatus, ResultCode

# --- frames --------------------------------------------------------------------------------------


KINDS: Mapping[int, str] = {
    **{int(kind): kind.name.lower() for kind in MessageType},
    MessageType.SYSTEM_NOTICE: "notice",
}
"""Names of the content types, by wire number, for scripts and the desk."""


def identifier(centre: CallCentre, number: RequestId | SessionId) -> int | str:
    """Return a requestId or sessionId as this server writes it."""
    return str(number) if centre.options.ids_as_strings else int(number)


def reply(
    frame_type: int,
    code: ResultCode | int,
    message: str = "",
    *,
    call_id: CallId | None = None,
    extra: Wire | None = None,
) -> Wire:
    """Build the reply to one command; without `messageId` if `call_id` is None."""
    known: Wire = {} if call_id is None else {"messageId": call_id}
    fields: Wire = {"type": int(frame_type), "result": int(code), "message": message}
    return known | fields | (extra or {})


def push_status(centre: CallCentre, request: QueueRequest, state: int, place: int) -> None:
    """Send a 201: request status and position; since R4 the session in a hand-over by a robot."""
    number = identifier(centre, request.id)
    values: Wire = {"requestId": number, "requestStatus": int(state), "queueLength": place}
    options = centre.options
    values |= options.words_for(place, "message")
    if request.session is not None and options.later and options.revision >= "R4":
        values["sessionId"] = identifier(centre, request.session.id)
    body: Wire = {"data": values} if options.nested_status else values
    centre.send(request.customer, {"type": int(FrameType.REQUEST_STATUS), **body})


def push_places(centre: CallCentre, queue_id: QueueId) -> None:
    """Send a 201 for each request in a queue whose position differs from its last 201."""
    for place, request in enumerate(centre.waiting(queue_id), 1):
        if request.announced != place:
            request.announced = place
            push_status(centre, request, RequestStatus.WAITING, place)


def people(centre: CallCentre, agents: Iterable[DeskAgent]) -> list[Wire]:
    return [msgspec.to_builtins(agent) | {"icon": icon(centre, agent)} for agent in agents]


def icon(centre: CallCentre, agent: DeskAgent) -> str:
    if agent.icon != "auto":
        return agent.icon
    return f"{centre.base_url}/icon/{quote(agent.id, safe='')}.png"


def push(
    centre: CallCentre, kind: FrameType, session: Session, fields: Wire, record: Wire | None = None
) -> None:
    frame: Wire = {"type": int(kind), "sessionId": identifier(centre, session.id), **fields}
    centre.send(session.customer, frame, record)


def push_started(centre: CallCentre, session: Session, *, resumed: bool = False) -> None:
    """Send a 202 (session open). The later guides list `users`, including the customer."""
    customer = session.customer
    agents = people(centre, session.agents)
    # The customer's entry has no comments and comes first (trap T16).
    own: Wire = {"id": customer.client_id, "name": customer.name or customer.login, "icon": ""}
    fields: Wire = {"agents": agents, "users": [own, *agents]}
    named = centre.options.people or ("users" if centre.options.later else "agents")
    if named != "both":
        fields = {named: fields[named]}
    if resumed or centre.options.later:
        fields["continueLastSession"] = resumed
    if session.robot and centre.options.robot_mode:
        fields["robotMode"] = True
    push(centre, FrameType.CHAT_STARTED, session, fields)


def push_agents(centre: CallCentre, session: Session, queue_name: str = "") -> None:
    """Send a 204: the complete new list of agents, and the queue if `queue_name` is given."""
    fields: Wire = {"agents": people(centre, session.agents)}
    if queue_name:
        fields |= {"queueId": int(session.queue_id), "queueName": queue_name}
    push(centre, FrameType.AGENTS_UPDATED, session, fields)


def push_config(centre: CallCentre, customer: Customer) -> None:
    """Send a 200, the first push on a new socket. No guide shows an element of `ratings`."""
    options = centre.options
    frame: Wire = {
        "type": int(FrameType.INIT_CONFIG),
        "ratings": [{"ratingId": choice.id, "name": choice.name} for choice in options.ratings],
        "fileAcceptExtensionsArr": ",".join(options.allowed_extensions),
        "hisSessions": [int(session.id) for session in customer.sessions if session.ended_by],
    }
    centre.send(customer, frame)


# --- agents --------------------------------------------------------------------------------------


def quietest_agent(centre: CallCentre) -> DeskAgent | None:
    """Return the agent online with the fewest open sessions, the first one in a tie."""
    busy = [agent.id for session in centre.sessions.values() for agent in session.agents]
    return min(centre.options.agents, key=lambda agent: busy.count(agent.id), default=None)


def accept(centre: CallCentre, request: QueueRequest, agent: DeskAgent) -> None:
    """Open a session (202) to which the pre-messages belong, update queue positions, and with
    script `echo` repeat the pre-messages. A robot session goes on under its id, which pre-messages
    for the person do not get: 204 or 202 announces the agent, as `robot_handover` says.
    """
    centre.leave_queue(request)
    told_before = [line for line in request.customer.messages if line["requestId"] == request.id]
    session = request.session
    if session is None:
        session = centre.begin(request.customer, request.queue_id, [agent])
        for heard in told_before:
            heard["sessionId"] = session.id
    session.agents, session.robot, session.queue_id = [agent], False, request.queue_id
    if request.session is None or centre.options.robot_handover == 202:
        push_started(centre, session)
    else:
        push_agents(centre, session, centre.options.queue_name(request.queue_id))
    centre.note(session, "event", "accepted", agent=agent.id, request=request.id)
    push_places(centre, request.queue_id)
    for heard in told_before if centre.options.script == "echo" else ():
        speak_text(centre, session, heard["content"])


def turn_away(centre: CallCentre, request: QueueRequest, status: int) -> None:
    """End a queue request with a requestStatus other than waiting or accepted."""
    centre.leave_queue(request)
    centre.note(request, "event", "turned_away", text=str(int(status)))
    push_status(centre, request, status, 0)
    push_places(centre, request.queue_id)


def overdue(centre: CallCentre, now: float) -> list[Outgoing]:
    """Turn away who has waited for `queue_timeout` seconds; end the sessions whose customers have
    had no socket for `session_grace` seconds.
    """
    longest, grace = centre.options.queue_timeout, centre.options.session_grace
    for request in list(centre.requests.values()) if longest else ():
        if now - request.since >= longest:
            turn_away(centre, request, RequestStatus.TIMEOUT)
    for session in list(centre.sessions.values()) if grace else ():
        lost = session.customer.link_lost_at
        if lost is not None and now - lost >= grace:
            end(centre, session, "grace")
    return centre.outgoing()


def speak(
    centre: CallCentre,
    session: Session,
    speaker: AgentId,
    kind: MessageType,
    content: object,
    *,
    notice_type: int | None = None,
    shown: Wire | None = None,
    robot: Wire | None = None,
) -> int:
    """Send and record a 210, or a 301 with the fields `robot`; return the record's number.

    `shown` are fields for its transcript entry in place of the text. Later guides give a notice a
    noticeType, here 99 by default; 2016 has none.
    """
    is_text = kind is MessageType.TEXT and isinstance(content, str)
    number = centre.number("message")
    record: Wire = {
        "n": number,
        "sessionId": session.id,
        "agentId": speaker,
        "type": int(kind),
        "content": content if is_text else masked(content),
        "time": centre.wall_ms(),
        "sent": False,
    }
    centre.keep(session.customer, session.customer.said, record)
    if notice_type != NoticeType.TYPING:
        side: Side = "robot" if session.robot and speaker == centre.options.robot.id else "agent"
        fields = {"text": str(content)} if shown is None else shown
        centre.note(session, side, KINDS[kind], agent=speaker, **fields)
    if robot is not None:
        push(centre, FrameType.ROBOT_MESSAGE, session, robot, record)
        return number
    msg: Wire = {"type": int(kind), "content": content}
    if notice_type is None and kind == MessageType.SYSTEM_NOTICE and centre.options.later:
        notice_type = NoticeType.CUSTOM
    if notice_type is not None:
        msg["noticeType"] = int(notice_type)
    push(centre, FrameType.MESSAGE_RECEIVED, session, {"agentId": speaker, "msg": msg}, record)
    return number


def speak_text(centre: CallCentre, session: Session, text: str) -> None:
    """Send a 210 of plain text, escaped because agents' texts are HTML (reference 3.9)."""
    words = html.escape(text, quote=False)
    speak(centre, session, first_agent(session), MessageType.TEXT, words)


def echo(centre: CallCentre, session: Session, content: frames.Content) -> None:
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
    speak_text(centre, session, words)


def change_agents(
    centre: CallCentre,
    session: Session,
    agents: Iterable[DeskAgent],
    *,
    queue_id: QueueId | None = None,
    queue_name: str = "",
) -> None:
    """Replace the agents of a session: a 204, and with `change_notices` a system notice."""
    before, after = session.agents, list(agents)
    session.agents, session.robot = after, False
    if queue_id is not None:
        session.queue_id = queue_id
        queue_name = queue_name or centre.options.queue_name(queue_id)
    joined = [agent for agent in after if agent.id not in {other.id for other in before}]
    left = [agent for agent in before if agent.id not in {other.id for other in after}]
    push_agents(centre, session, queue_name)
    for people, event in ((joined, "joined"), (left, "left")):
        for agent in people:
            centre.note(session, "event", event, agent=agent.id)
    if centre.options.change_notices and (joined or left):
        names = "、".join(agent.name or agent.id for agent in joined or left)
        if joined and left:
            kind, words = NoticeType.TRANSFER, f"会话已转接给 {names}"
        elif joined:
            kind, words = NoticeType.INVITE, f"{names} 加入了会话"
        else:
            kind, words = NoticeType.USER_LEFT, f"{names} 离开了会话"
        speaker, system = first_agent(session), MessageType.SYSTEM_NOTICE
        speak(centre, session, speaker, system, words, notice_type=kind)


def end(centre: CallCentre, session: Session, by: Ending, agent_id: AgentId | None = None) -> None:
    """Close a session without a push to its customer; send new positions in the queue it left."""
    request = session.customer.request
    centre.end(session, by, agent_id)
    if request is not None:
        push_places(centre, request.queue_id)


def first_agent(session: Session) -> AgentId:
    """Return the agent who speaks by default; empty if the session has none left."""
    return session.agents[0].id if session.agents else AgentId("")


# --- the robot -----------------------------------------------------------------------------------

_XIAODUO = 3
"""The robotType whose 301 content is JSON text."""
_PERSON = ("人工", "human", "agent", "person")


def robot_answer(centre: CallCentre, session: Session, heard: frames.Content) -> None:
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
        speak(centre, session, first_agent(session), MessageType.TEXT, words)
        return
    wire, shown = words, words
    if options.robot_type == _XIAODUO:
        wire = json.dumps(content, ensure_ascii=False)
        shown = "<br>".join([words, *(html.escape(question, quote=False) for question in known)])
    fields: Wire = {"robotType": options.robot_type, "content": wire}
    speak(centre, session, options.robot.id, MessageType.TEXT, shown, robot=fields)


# --- delivery ------------------------------------------------------------------------------------

_NUMBERED = range(200, 300)
"""Push types that carry an rsId from R3 on; R2 numbers 210 only."""


def outbound(centre: CallCentre, send: Send, now: float) -> Send | None:
    """Return the frame to write, a push with its rsId; None if the customer has no socket."""
    customer = centre.customers[send.login]
    if send.is_push:
        send = _number(centre, customer, send, now)
    if customer.linked:
        return send
    missed(centre, send)
    return None


def worded(centre: CallCentre, send: Send) -> Send:
    """Return the frame as `zeros`, `omit_types` and `omit_call_ids` have it written."""
    options, frame = centre.options, send.frame
    if options.zeros and (not send.is_push or frame.get("type") == FrameType.REQUEST_STATUS):
        frame = {"requestId": 0, "sessionId": 0, "queueLength": 0, **frame}
    omitted = {"type": options.omit_types, "messageId": options.omit_call_ids}
    if not send.is_push and any(omitted.values()):
        frame = {key: value for key, value in frame.items() if not omitted.get(key)}
    return send if frame is send.frame else replace(send, frame=frame)


def missed(centre: CallCentre, send: Send) -> None:
    """Keep, or count as lost, a push that no socket took, unless its receipt is pending."""
    customer = centre.customers[send.login]
    if not send.is_push or send.frame.get("rsId") in customer.pending:
        return
    if centre.options.missed_pushes == "kept":
        _remember(centre, customer, f"kept-{centre.number('push')}", Pending(send, 0))
    else:
        customer.lost_pushes += 1


def on_open(centre: CallCentre, customer: Customer, now: float) -> list[Outgoing]:
    """Return the first frames for a new socket: 200, a resuming 202, then pending pushes by age."""
    waiting: list[Outgoing] = []
    for key, pending in list(customer.pending.items()):
        if key.startswith("kept-"):
            del customer.pending[key]
        pending.sent_at = now
        waiting.append(pending.send)
    if centre.options.has("init_config"):
        push_config(centre, customer)
    if centre.options.resume_push and customer.session is not None:
        push_started(centre, customer.session, resumed=True)
    return [*centre.outgoing(), *waiting]


def due_again(centre: CallCentre, now: float) -> list[Send]:
    """Return the pushes to resend: no receipt for `resend_seconds`, below `max_resends`."""
    options, repeats = centre.options, []
    for customer in centre.customers.values() if options.has("receipts") else ():
        for pending in customer.pending.values() if customer.linked else ():
            late = now - pending.sent_at >= options.resend_seconds
            if late and pending.resends < options.max_resends:
                pending.sent_at = now
                pending.resends += 1
                repeats.append(pending.send)
    return repeats


def _number(centre: CallCentre, customer: Customer, send: Send, now: float) -> Send:
    """Add an rsId to a push and keep it pending, if this server numbers pushes of its type."""
    options, kind = centre.options, send.frame.get("type")
    only_messages = options.later and options.revision == "R2"
    has_one = kind == FrameType.MESSAGE_RECEIVED if only_messages else kind in _NUMBERED
    if not options.has("receipts") or not has_one or "rsId" in send.frame:
        return send
    rs_id = f"rs-{centre.number('push')}"
    numbered = replace(send, frame={**send.frame, "rsId": rs_id})
    _remember(centre, customer, rs_id, Pending(numbered, now))
    return numbered


def _remember(centre: CallCentre, customer: Customer, key: str, pending: Pending) -> None:
    customer.pending[key] = pending
    while len(customer.pending) > centre.options.max_pending:
        oldest = next(iter(customer.pending))
        del customer.pending[oldest]
        customer.lost_pushes += 1
