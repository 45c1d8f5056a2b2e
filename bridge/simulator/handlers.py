"""What each command does to the call centre, and what goes back: first the reply, then pushes."""

from __future__ import annotations

from bridge.ids import AgentId, RequestId, SessionId
from bridge.simulator import desk, pushes
from bridge.simulator.checks import Accepted, Refusal, check
from bridge.simulator.outgoing import HangUp, Outgoing, Send, Wire
from bridge.simulator.state import CallCentre, Customer, QueueRequest, Session
from bridge.webchat import frames
from bridge.webchat.codes import FrameType, ResultCode

_NO_REQUEST = "no such queue request"
_NO_SESSION = "no such session"
_CONTENT_NAMES = {
    frames.Text: "text",
    frames.Image: "image",
    frames.File: "file",
    frames.Location: "location",
    frames.Voice: "voice",
}


def answer(centre: CallCentre, customer: Customer, text: str, now: float) -> list[Outgoing]:
    """Carry out one text frame from a customer's socket.

    Args:
        centre: changed in place.
        customer: whose socket it came from.
        text: the frame.
        now: seconds, monotonic.

    Returns:
        The reply first, where there is one, then whatever follows from it for anybody.
    """
    centre.settle(now)
    checked = check(text, _later_types(centre))
    if isinstance(checked, Refusal):
        refusal = pushes.reply(checked.type, checked.code, checked.message, call_id=checked.call_id)
        return [Send(customer.login, refusal)]
    alive = isinstance(checked.command, frames.Heartbeat) and not checked.token
    if not alive and centre.holder(checked.token, now) is not customer:
        return [_refuse(customer, checked, ResultCode.INVALID_TOKEN, "the token is not valid")]
    return _carry_out(centre, customer, checked)


def _later_types(centre: CallCentre) -> list[FrameType]:
    later = [] if centre.options.heartbeat == "refuse" else [FrameType.HEARTBEAT]
    return [*later, FrameType.RECEIPT] if centre.options.receipts else later


def _carry_out(centre: CallCentre, customer: Customer, call: Accepted) -> list[Outgoing]:
    match call.command:
        case frames.RequestChat() as asked:
            return _request_chat(centre, customer, call, asked)
        case frames.CancelRequest(request_id):
            request = _request(centre, customer, request_id)
            if request is None:
                return [_refuse(customer, call, ResultCode.INVALID_CHAT_REQUEST_ID, _NO_REQUEST)]
            return [_ok(customer, call), *desk.cancelled(centre, request)]
        case frames.CloseSession(session_id):
            return _close_session(centre, customer, call, session_id)
        case frames.RateSession() as rated:
            return _rate(customer, call, rated)
        case frames.SendMessage() as sent:
            return _message(centre, customer, call, sent)
        case frames.SendPreMessage() as sent_early:
            return _pre_message(centre, customer, call, sent_early)
        case frames.Logout():
            return _logout(centre, customer, call)
        case frames.Heartbeat():
            return [] if centre.options.heartbeat == "silent" else [_ok(customer, call)]
        case frames.Receipt(rs_id):
            customer.pending.pop(rs_id, None)
            return []  # no revision shows an answer to it
        case _:
            raise AssertionError(f"type {call.type} passed the checks")


def _ok(customer: Customer, call: Accepted, extra: Wire | None = None) -> Send:
    return Send(
        customer.login,
        pushes.reply(call.type, ResultCode.SUCCESS, call_id=call.call_id, extra=extra),
    )


def _refuse(
    customer: Customer,
    call: Accepted,
    code: ResultCode,
    message: str,
    extra: Wire | None = None,
) -> Send:
    if isinstance(call.command, frames.SendMessage | frames.SendPreMessage):
        customer.history.refused.append(
            {"messageId": call.call_id, "type": int(call.type), "result": int(code)}
        )
    return Send(
        customer.login, pushes.reply(call.type, code, message, call_id=call.call_id, extra=extra)
    )


def _request(centre: CallCentre, customer: Customer, request_id: RequestId) -> QueueRequest | None:
    request = centre.requests.get(request_id)
    return request if request is not None and request.login == customer.login else None


def _session(centre: CallCentre, customer: Customer, session_id: SessionId) -> Session | None:
    session = centre.sessions.get(session_id)
    return session if session is not None and session.login == customer.login else None


def _request_chat(
    centre: CallCentre, customer: Customer, call: Accepted, asked: frames.RequestChat
) -> list[Outgoing]:
    rich = centre.options.request_id_in_reply
    if customer.request is not None:
        waiting = customer.request
        place = _place(centre, waiting, waiting.announced) if rich else None
        code = ResultCode.ALREADY_IN_ROUTING
        return [_refuse(customer, call, code, "already waiting in a queue", place)]
    if customer.session is not None:
        open_one: Wire = {"sessionId": pushes.identifier(centre, customer.session.id)}
        code = ResultCode.ALREADY_IN_CHATTING
        return [_refuse(customer, call, code, "a session is open", open_one if rich else None)]
    obstacle = _obstacle(centre, asked)
    if obstacle is not None:
        return [_refuse(customer, call, *obstacle)]

    by_hand = centre.options.script == "hand"
    request = centre.enqueue(customer, asked.queue_id, asked.source)
    queue = centre.waiting(asked.queue_id)
    told = _place(centre, request, len(queue) if by_hand else 0) if rich else None
    news: list[Outgoing] = [_ok(customer, call, told)]
    agent = centre.agent(AgentId(asked.to_agent)) or centre.quietest_agent()
    if by_hand or agent is None:
        return news + list(pushes.places(centre, queue))
    return news + desk.accept(centre, request, agent)


def _obstacle(centre: CallCentre, asked: frames.RequestChat) -> tuple[ResultCode, str] | None:
    options = centre.options
    if options.queues and asked.queue_id not in options.queues:
        return ResultCode.INVALID_QUEUE_ID, "no such queue"
    if not options.open_hours:
        return ResultCode.NOT_IN_WORKTIME, "outside working hours"
    if not options.agents:
        return ResultCode.NO_AGENT_ONLINE, "no agent is online"
    # Only later revisions show toUserId; whoever sends it is served by its rule.
    if asked.to_agent and centre.agent(AgentId(asked.to_agent)) is None:
        return ResultCode.INVALID_TO_USER_ID, "that agent is not online"
    return None


def _place(centre: CallCentre, request: QueueRequest, place: int) -> Wire:
    return {"requestId": pushes.identifier(centre, request.id), "queueLength": place}


def _close_session(
    centre: CallCentre, customer: Customer, call: Accepted, session_id: SessionId
) -> list[Outgoing]:
    session = _session(centre, customer, session_id)
    if session is None:
        return [_refuse(customer, call, ResultCode.INVALID_CHAT_SESSION_ID, _NO_SESSION)]
    centre.end(session, "customer")
    news: list[Outgoing] = [_ok(customer, call)]
    if centre.options.close_echoed:
        news.append(pushes.session_closed(centre, session, desk.first_agent(session)))
    return news


def _rate(customer: Customer, call: Accepted, rated: frames.RateSession) -> list[Outgoing]:
    newest = customer.last_session
    if newest is None or newest.id != rated.session_id:
        return [_refuse(customer, call, ResultCode.INVALID_CHAT_SESSION_ID, _NO_SESSION)]
    customer.history.ratings.append(
        {
            "sessionId": rated.session_id,
            "rating": rated.rating,
            "comments": rated.comments,
            "messageId": call.call_id,
        }
    )
    return [_ok(customer, call)]


def _message(
    centre: CallCentre, customer: Customer, call: Accepted, sent: frames.SendMessage
) -> list[Outgoing]:
    session = _session(centre, customer, sent.session_id)
    if session is None:
        return [_refuse(customer, call, ResultCode.INVALID_CHAT_SESSION_ID, _NO_SESSION)]
    msg = call.body["msg"]
    _record(
        centre,
        customer,
        call,
        {
            "sessionId": session.id,
            "requestId": None,
            "kind": _CONTENT_NAMES[type(sent.content)],
            "text": sent.content.text if isinstance(sent.content, frames.Text) else "",
            "content": msg["content"] if isinstance(msg, dict) else None,
        },
    )
    news: list[Outgoing] = [_ok(customer, call)]
    if centre.options.script == "echo":
        news.append(desk.echo(centre, session, sent.content))
    return news


def _pre_message(
    centre: CallCentre, customer: Customer, call: Accepted, sent: frames.SendPreMessage
) -> list[Outgoing]:
    request = _request(centre, customer, sent.request_id)
    if request is None:
        return [_refuse(customer, call, ResultCode.INVALID_CHAT_REQUEST_ID, _NO_REQUEST)]
    _record(
        centre,
        customer,
        call,
        {
            "sessionId": None,
            "requestId": request.id,
            "kind": "text",
            "text": sent.text,
            "content": sent.text,
        },
    )
    return [_ok(customer, call)]


def _record(centre: CallCentre, customer: Customer, call: Accepted, what: Wire) -> None:
    # Every copy is kept: a script that looks for doubles must see them (`repeat`).
    history = customer.history
    history.messages.append(
        {
            "n": centre.number("message"),
            "type": int(call.type),
            "messageId": call.call_id,
            **what,
            "repeat": call.call_id in history.call_ids,
        }
    )
    history.call_ids.add(call.call_id)


def _logout(centre: CallCentre, customer: Customer, call: Accepted) -> list[Outgoing]:
    news: list[Outgoing] = [_ok(customer, call)]
    if customer.request is not None:
        # The one who logged out hears nothing more; those behind move up.
        queue_id = customer.request.queue_id
        centre.leave_queue(customer.request)
        news += pushes.places(centre, centre.waiting(queue_id))
    if customer.session is not None:
        centre.end(customer.session, "customer")
    centre.sign_out(customer)
    return [*news, HangUp(customer.login, 1000)]
