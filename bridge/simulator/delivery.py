"""Frames that the server sends, and their delivery: written, lost, kept, or resent.

The guide of 2016 (part three; reference 1.4) says nothing about pushes that no socket took, so by
default they are lost. Later revisions number pushes with `rsId` and resend them until the
customer's receipt (120). Pure: returns the frames, which `web` writes.
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
    told: Wire = {"type": int(frame_type), "result": int(code), "message": message}
    return known | told | (extra or {})


def status(centre: CallCentre, request: QueueRequest, state: int, place: int) -> Send:
    """Build a 201: request status and position; since R4 the session in a hand-over by a robot."""
    number = identifier(centre, request.id)
    values: Wire = {"requestId": number, "requestStatus": int(state), "queueLength": place}
    options = centre.options
    values |= options.words_for(place, "message")
    if request.session is not None and options.later and options.revision >= "R4":
        values["sessionId"] = identifier(centre, request.session.id)
    body: Wire = {"data": values} if options.nested_status else values
    return Send(request.login, {"type": int(FrameType.REQUEST_STATUS), **body})


def places(centre: CallCentre, queue_id: QueueId) -> list[Send]:
    """Return a 201 for each request in a queue whose position differs from its last 201."""
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
    """Build a 202 (session open). The later guides list `users`, including the customer."""
    customer = centre.customers[session.login]
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
    return push(centre, FrameType.CHAT_STARTED, session, fields)


def agents_updated(centre: CallCentre, session: Session, queue_name: str = "") -> Send:
    """Build a 204: the complete new list of agents, and the queue if `queue_name` is given."""
    fields: Wire = {"agents": people(centre, session.agents)}
    if queue_name:
        fields |= {"queueId": int(session.queue_id), "queueName": queue_name}
    return push(centre, FrameType.AGENTS_UPDATED, session, fields)


def init_config(centre: CallCentre, customer: Customer) -> Send:
    """Build a 200, the first push on a new socket. No guide shows an element of `ratings`."""
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
    """Build a 210. Later guides give a notice a noticeType, here 99 by default; 2016 has none."""
    msg: Wire = {"type": int(kind), "content": content}
    if notice_type is None and kind == MessageType.SYSTEM_NOTICE and centre.options.later:
        notice_type = NoticeType.CUSTOM
    if notice_type is not None:
        msg["noticeType"] = int(notice_type)
    fields: Wire = {"agentId": agent_id, "msg": msg}
    return push(centre, FrameType.MESSAGE_RECEIVED, session, fields, record)


# --- delivery ------------------------------------------------------------------------------------

_NUMBERED = range(200, 300)
"""Push types that carry an rsId from R3 on; R2 numbers 210 only."""


def outbound(centre: CallCentre, send: Send, now: float) -> Send | None:
    """Return the frame to write, a push with its rsId; None if the customer has no socket."""
    customer = centre.customers[send.login]
    numbered = _number(centre, customer, send, now) if send.is_push else send
    if customer.linked:
        return numbered
    if numbered is send:
        missed(centre, send)
    return None


def worded(centre: CallCentre, send: Send) -> Send:
    """Return the frame as written: a reply without what `omit_types` and `omit_call_ids` say."""
    options = centre.options
    omitted = {"type": options.omit_types, "messageId": options.omit_call_ids}
    if send.is_push or not any(omitted.values()):
        return send
    frame = {key: value for key, value in send.frame.items() if not omitted.get(key)}
    return replace(send, frame=frame)


def missed(centre: CallCentre, send: Send) -> None:
    """Keep, or count as lost, a push that no socket took, unless its receipt is pending."""
    customer = centre.customers[send.login]
    if not send.is_push or send.frame.get("rsId") in customer.pending:
        return
    if centre.options.missed_pushes == "kept":
        _remember(centre, customer, f"kept-{centre.number('push')}", Pending(send, 0))
    else:
        customer.history.lost_pushes += 1


def on_open(centre: CallCentre, customer: Customer, now: float) -> list[Send]:
    """Return the first frames for a new socket: 200, a resuming 202, then pending pushes by age."""
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
    """Return the pushes to resend: no receipt for `resend_seconds`, below `max_resends`."""
    repeats: list[Send] = []
    for pending in customer.pending.values():
        late = now - pending.sent_at >= centre.options.resend_seconds
        if late and pending.resends < centre.options.max_resends:
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
        customer.history.lost_pushes += 1
