"""The frames that the server sends, and their delivery: written, lost, kept, or repeated.

The guide of 2016 (part three; reference 1.4) says nothing of pushes that nobody received, so by
default they are lost. Later revisions number them with `rsId`; the customer answers 120, and until
then the server repeats. Pure: the shell writes what is returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from urllib.parse import quote

import msgspec

from bridge.ids import AgentId, CallId, QueueId, RequestId, SessionId
from bridge.simulator.options import DeskAgent
from bridge.simulator.state import CallCentre, Customer, Pending, QueueRequest, Send, Session, Wire
from bridge.webchat.codes import FrameType, MessageType, NoticeType, RequestStatus, ResultCode

# --- frames --------------------------------------------------------------------------------------


KINDS: Mapping[int, str] = {
    **{int(kind): kind.name.lower() for kind in MessageType},
    MessageType.SYSTEM_NOTICE: "notice",
}
"""Content by its wire number, as scripts and the desk name it."""


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
    known: Wire = {} if call_id is None else {"messageId": call_id}
    told: Wire = {"type": int(frame_type), "result": int(code), "message": message}
    return known | told | (extra or {})


def status(centre: CallCentre, request: QueueRequest, state: int, place: int) -> Send:
    """201: where the request stands. Since R4 it names the session of a robot's hand-over."""
    number = identifier(centre, request.id)
    values: Wire = {"requestId": number, "requestStatus": int(state), "queueLength": place}
    options = centre.options
    values |= options.words_for(place, "message")
    if request.session is not None and options.later and options.revision >= "R4":
        values["sessionId"] = identifier(centre, request.session.id)
    body: Wire = {"data": values} if options.nested_status else values
    return Send(request.login, {"type": int(FrameType.REQUEST_STATUS), **body})


def places(centre: CallCentre, queue_id: QueueId) -> list[Send]:
    """A 201 for everyone in a queue whose place is not the one they were last told."""
    news: list[Send] = []
    for place, request in enumerate(centre.waiting(queue_id), 1):
        if request.announced != place:
            request.announced = place
            news.append(status(centre, request, RequestStatus.WAITING, place))
    return news


def people(centre: CallCentre, agents: Iterable[DeskAgent]) -> list[Wire]:
    return [msgspec.to_builtins(agent) | {"icon": icon(centre, agent)} for agent in agents]


def icon(centre: CallCentre, agent: DeskAgent) -> str:
    if agent.icon != "auto":
        return agent.icon
    return f"{centre.base_url}/icon/{quote(agent.id, safe='')}.png"


def push(
    centre: CallCentre, kind: FrameType, session: Session, fields: Wire, record: Wire | None = None
) -> Send:
    frame: Wire = {"type": int(kind), "sessionId": identifier(centre, session.id), **fields}
    return Send(session.login, frame, record)


def started(centre: CallCentre, session: Session, *, resumed: bool = False) -> Send:
    """202: the session is open. The later guides list `users`, the customer among them."""
    customer = centre.customers[session.login]
    agents = people(centre, session.agents)
    # The customer's entry has no comments, and comes first here (trap T16).
    own: Wire = {"id": customer.client_id, "name": customer.name or customer.login, "icon": ""}
    fields: Wire = {"agents": agents, "users": [own, *agents]}
    named = centre.options.people or ("users" if centre.options.later else "agents")
    if named != "both":
        fields = {named: fields[named]}
    if resumed or centre.options.later:
        fields["continueLastSession"] = resumed
    if session.robot and centre.options.robot_mode:
        fields["robotMode"] = True
    return push(centre, FrameType.CHAT_STARTED, session, fields)


def agents_updated(centre: CallCentre, session: Session, queue_name: str = "") -> Send:
    """204: the whole new list, with the new queue after a transfer between queues."""
    fields: Wire = {"agents": people(centre, session.agents)}
    if queue_name:
        fields |= {"queueId": int(session.queue_id), "queueName": queue_name}
    return push(centre, FrameType.AGENTS_UPDATED, session, fields)


def init_config(centre: CallCentre, customer: Customer) -> Send:
    """200: what a fresh socket is told first. No guide shows an element of `ratings`."""
    options = centre.options
    frame: Wire = {
        "type": int(FrameType.INIT_CONFIG),
        "ratings": [{"ratingId": choice.id, "name": choice.name} for choice in options.ratings],
        "fileAcceptExtensionsArr": ",".join(options.allowed_extensions),
        "hisSessions": [int(one.id) for one in customer.history.sessions if not one.open],
    }
    return Send(customer.login, frame)


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
    fields: Wire = {"agentId": agent_id, "msg": msg}
    return push(centre, FrameType.MESSAGE_RECEIVED, session, fields, record)


# --- delivery ------------------------------------------------------------------------------------

_NUMBERED = range(200, 300)
"""The pushes that R3 and R4 give an rsId; of R2 it is 210 alone."""


def outbound(centre: CallCentre, send: Send, now: float) -> Send | None:
    """The frame to write at once, or None when its customer has no socket; a push is numbered."""
    customer = centre.customers[send.login]
    numbered = _number(centre, customer, send, now) if send.is_push else send
    if customer.linked:
        return numbered
    if numbered is send:
        missed(centre, send)
    return None


def worded(centre: CallCentre, send: Send) -> Send:
    """The frame as it is written: a reply without its type, where this server leaves it out."""
    if send.is_push or not centre.options.omit_types:
        return send
    return replace(send, frame={key: send.frame[key] for key in send.frame if key != "type"})


def missed(centre: CallCentre, send: Send) -> None:
    """Account for a push that no socket took."""
    customer = centre.customers[send.login]
    if not send.is_push or send.frame.get("rsId") in customer.pending:
        return
    if centre.options.missed_pushes == "kept":
        _remember(centre, customer, f"kept-{centre.number('push')}", Pending(send, 0))
    else:
        customer.history.lost_pushes += 1


def on_open(centre: CallCentre, customer: Customer, now: float) -> list[Send]:
    """The frames for a fresh socket before anything else, the oldest first."""
    waiting: list[Send] = []
    for key, pending in list(customer.pending.items()):
        if key.startswith("kept-"):
            del customer.pending[key]
        pending.sent_at = now
        waiting.append(pending.send)
    anew: list[Send] = []
    if centre.options.has("init_config"):
        anew.append(init_config(centre, customer))
    if centre.options.resume_push and customer.session is not None:
        anew.append(started(centre, customer.session, resumed=True))
    return [*(_number(centre, customer, send, now) for send in anew), *waiting]


def due_again(centre: CallCentre, customer: Customer, now: float) -> list[Send]:
    """The pushes whose receipt has been missing for `resend_seconds`."""
    repeats: list[Send] = []
    for pending in customer.pending.values():
        late = now - pending.sent_at >= centre.options.resend_seconds
        if late and pending.resends < centre.options.max_resends:
            pending.sent_at = now
            pending.resends += 1
            repeats.append(pending.send)
    return repeats


def _number(centre: CallCentre, customer: Customer, send: Send, now: float) -> Send:
    """The push with an rsId, if this server numbers pushes of its type; else as it is."""
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
        customer.history.lost_pushes += 1
