"""The handling of each command: its effect on the call centre, the reply, and the pushes after it.

What customers say is put on record twice: in their own history for scripts, and in the transcript
for the desk.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from bridge.ids import RequestId, SessionId
from bridge.simulator import delivery, desk
from bridge.simulator.checks import Accepted, Refusal, check, handover_queue
from bridge.simulator.state import (
    CallCentre,
    Customer,
    HangUp,
    Outgoing,
    QueueRequest,
    Send,
    Session,
    Wire,
)
from bridge.webchat import frames
from bridge.webchat.codes import ResultCode

_NO_REQUEST = "no such queue request"
_NO_SESSION = "no such session"


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
    checked = check(text, centre.options)
    if isinstance(checked, Refusal):
        refusal = delivery.reply(
            checked.type, checked.code, checked.message, call_id=checked.call_id
        )
        return [Send(customer.login, refusal)]
    alive = isinstance(checked.command, frames.Heartbeat) and not checked.token
    if not alive and centre.holder(checked.token, now) is not customer:
        return [_refuse(centre, customer, checked, ResultCode.INVALID_TOKEN, "bad token")]
    return _carry_out(centre, customer, checked, now)


def _carry_out(
    centre: CallCentre, customer: Customer, call: Accepted, now: float
) -> list[Outgoing]:
    match call.command:
        case frames.RequestChat() as asked:
            return _verdict(centre, customer, call, desk.request_chat(centre, customer, asked, now))
        case frames.CancelRequest(request_id):
            request = _request(centre, customer, request_id)
            if request is None:
                return [_no_request(centre, customer, call)]
            return [_ok(centre, customer, call), *desk.cancelled(centre, request)]
        case frames.SendPreMessage() as sent_early:
            return _pre_message(centre, customer, call, sent_early)
        case frames.RateSession() as rated:
            return _rate(centre, customer, call, rated)
        case frames.Logout():
            return _logout(centre, customer, call)
        case frames.Heartbeat():
            silent = centre.options.pulse == "silent"
            return [] if silent else [_ok(centre, customer, call)]
        case frames.Receipt(rs_id):
            customer.pending.pop(rs_id, None)
            return [_ok(centre, customer, call)] if centre.options.receipt_reply else []
        case _:
            return _in_session(centre, customer, call, now)


def _in_session(
    centre: CallCentre, customer: Customer, call: Accepted, now: float
) -> list[Outgoing]:
    """The commands that name an open session."""
    match call.command:
        case (
            frames.SendMessage(session_id)
            | frames.CloseSession(session_id)
            | frames.Preview(session_id)
            | frames.Typing(session_id)
            | frames.TransferFromRobot(session_id)
        ):
            session = _session(centre, customer, session_id)
        case _:
            raise AssertionError(f"type {call.type} passed the checks")
    if isinstance(call.command, frames.SendMessage):
        return _message(centre, customer, call, session, call.command.content)
    if session is None:
        code = ResultCode.INVALID_CHAT_SESSION_ID
        return [_refuse(centre, customer, call, code, _NO_SESSION)]
    match call.command:
        case frames.CloseSession():
            return _close_session(centre, customer, call, session)
        case frames.TransferFromRobot():
            queue_id = handover_queue(call.body)
            verdict = desk.ask_for_person(centre, customer, session, queue_id, now)
            return _verdict(centre, customer, call, verdict)
        case frames.Preview(text=text):
            customer.preview = text
        case _:
            pass
    customer.typed_at = now
    signal: Wire = {"type": int(call.type), "time": centre.wall_ms(), "text": customer.preview}
    centre.keep(customer, customer.history.signals, signal)
    return [_ok(centre, customer, call)]


# --- replies -------------------------------------------------------------------------------------


def _ok(centre: CallCentre, customer: Customer, call: Accepted, extra: Wire | None = None) -> Send:
    return _reply(centre, customer, call, ResultCode.SUCCESS, "", extra=extra)


def _reply(
    centre: CallCentre,
    customer: Customer,
    call: Accepted,
    code: ResultCode,
    message: str,
    *,
    extra: Wire | None = None,
) -> Send:
    call_id = None if centre.options.omit_call_ids else call.call_id
    return Send(
        customer.login, delivery.reply(call.type, code, message, call_id=call_id, extra=extra)
    )


def _refuse(
    centre: CallCentre,
    customer: Customer,
    call: Accepted,
    code: ResultCode,
    message: str,
    *,
    extra: Wire | None = None,
) -> Send:
    if isinstance(call.command, frames.SendMessage | frames.SendPreMessage):
        refused: Wire = {"messageId": call.call_id, "type": int(call.type), "result": int(code)}
        centre.keep(customer, customer.history.refused, refused)
    return _reply(centre, customer, call, code, message, extra=extra)


def _no_request(centre: CallCentre, customer: Customer, call: Accepted) -> Send:
    return _refuse(centre, customer, call, ResultCode.INVALID_CHAT_REQUEST_ID, _NO_REQUEST)


def _verdict(
    centre: CallCentre, customer: Customer, call: Accepted, verdict: desk.Verdict
) -> list[Outgoing]:
    reply = _reply(centre, customer, call, verdict.code, verdict.message, extra=verdict.extra)
    return [reply, *verdict.news]


def _request(centre: CallCentre, customer: Customer, request_id: RequestId) -> QueueRequest | None:
    request = centre.requests.get(request_id)
    return request if request is not None and request.login == customer.login else None


def _session(centre: CallCentre, customer: Customer, session_id: SessionId) -> Session | None:
    session = centre.sessions.get(session_id)
    return session if session is not None and session.login == customer.login else None


# --- commands ------------------------------------------------------------------------------------


def _close_session(
    centre: CallCentre, customer: Customer, call: Accepted, session: Session
) -> list[Outgoing]:
    moved = desk.end(centre, session, "customer")
    news: list[Outgoing] = [_ok(centre, customer, call), *moved]
    if centre.options.close_echoed:
        news.append(delivery.session_closed(centre, session, desk.first_agent(session)))
    return news


def _rate(
    centre: CallCentre, customer: Customer, call: Accepted, rated: frames.RateSession
) -> list[Outgoing]:
    newest = customer.last_session
    if newest is None or newest.id != rated.session_id:
        code = ResultCode.INVALID_CHAT_SESSION_ID
        return [_refuse(centre, customer, call, code, _NO_SESSION)]
    given: Wire = {
        "sessionId": rated.session_id,
        "rating": rated.rating,
        "comments": rated.comments,
        "messageId": call.call_id,
    }
    centre.keep(customer, customer.history.ratings, given)
    centre.transcript.add(
        customer.login,
        "event",
        "rated",
        session=newest.id,
        rating=rated.rating,
        text=rated.comments,
    )
    return [_ok(centre, customer, call)]


def _message(
    centre: CallCentre,
    customer: Customer,
    call: Accepted,
    session: Session | None,
    content: frames.Content,
) -> list[Outgoing]:
    told: Wire = {}
    if session is None and centre.options.session_in_message_reply and customer.session:
        session = customer.session
        told = {
            "sessionId": delivery.identifier(centre, session.id),
            "agents": delivery.people(centre, session.agents),
        }
    if session is None:
        code = ResultCode.INVALID_CHAT_SESSION_ID
        if centre.options.original_in_refusal:
            told = {"originalMessage": _original(call)}
        return [_refuse(centre, customer, call, code, _NO_SESSION, extra=told)]
    hear(centre, customer, call, content, session=session)
    news: list[Outgoing] = [_ok(centre, customer, call, told)]
    if session.robot:
        # Once a person has been asked for, the robot leaves the word to them.
        return news if customer.request else news + desk.robot_answer(centre, session, content)
    if centre.options.script == "echo":
        news.append(desk.echo(centre, session, content))
    return news


def _original(call: Accepted) -> Wire:
    """The refused message in the wrapper of the phone clients' transport (reference 1.3)."""
    msg = call.body["msg"]
    content = msg["content"] if isinstance(msg, dict) else {}
    return {"objectName": "RC:TxtMsg", "content": json.dumps(content, ensure_ascii=False)}


def _pre_message(
    centre: CallCentre, customer: Customer, call: Accepted, sent: frames.SendPreMessage
) -> list[Outgoing]:
    request = _request(centre, customer, sent.request_id)
    if request is None:
        return [_no_request(centre, customer, call)]
    hear(centre, customer, call, frames.Text(sent.text), request=request)
    return [_ok(centre, customer, call)]


def _logout(centre: CallCentre, customer: Customer, call: Accepted) -> list[Outgoing]:
    news: list[Outgoing] = [_ok(centre, customer, call)]
    if customer.session is not None:
        news += desk.end(centre, customer.session, "customer")
    if customer.request is not None:
        # The one who logged out hears nothing more; those behind move up.
        queue_id = customer.request.queue_id
        centre.leave_queue(customer.request)
        news += delivery.places(centre, centre.waiting(queue_id))
    centre.sign_out(customer)
    return [*news, HangUp(customer.login, 1000)]


# --- the record of what customers say ------------------------------------------------------------

_HOSTED = re.compile(r"/up/(\d+)/([^/?#]+)$")
_NAMES: Mapping[type[frames.Content], str] = {
    frames.Text: "text",
    frames.Image: "image",
    frames.File: "file",
    frames.Location: "location",
    frames.Voice: "voice",
    frames.Video: "video",
}


def hear(
    centre: CallCentre,
    customer: Customer,
    call: Accepted,
    content: frames.Content,
    *,
    session: Session | None = None,
    request: QueueRequest | None = None,
) -> None:
    """Record one 110 or 111. Every copy is kept: a script that looks for doubles must see them.

    Args:
        centre: where it happens.
        customer: who says it.
        call: the frame.
        content: what it says.
        session: the open session of a 110.
        request: the queue request of a 111.
    """
    history = customer.history
    repeat = call.call_id in history.call_ids
    history.call_ids[call.call_id] = None
    while len(history.call_ids) > centre.options.keep_records:
        del history.call_ids[next(iter(history.call_ids))]
    msg = call.body.get("msg")
    record: Wire = {
        "n": centre.number("message"),
        "type": int(call.type),
        "messageId": call.call_id,
        "sessionId": session.id if session else None,
        "requestId": request.id if request else None,
        "kind": _NAMES[type(content)],
        "text": content.text if isinstance(content, frames.Text) else "",
        "content": msg["content"] if isinstance(msg, dict) else call.body.get("content"),
        "time": centre.wall_ms(),
        "repeat": repeat,
    }
    centre.keep(customer, history.messages, record)
    customer.typed_at, customer.preview = None, ""
    centre.transcript.add(
        customer.login,
        "customer",
        _NAMES[type(content)],
        session=record["sessionId"],
        request=record["requestId"],
        repeat=repeat,
        **_shown(centre, content),
    )


def _shown(centre: CallCentre, content: frames.Content) -> Wire:
    """The entry's fields for a content."""
    match content:
        case frames.Text(text):
            return {"text": text}
        case frames.Image(name, uri):
            return {"name": name, **_place(centre, uri)}
        case frames.File() | frames.Video():
            size = {"size": content.size} if content.size else {}
            return {"name": content.name, **size, **_place(centre, content.url)}
        case frames.Location():
            return {
                "latitude": content.latitude,
                "longitude": content.longitude,
                "map": content.map,
                "text": content.poi,
            }
        case frames.Voice(seconds, data):
            return {"seconds": float(seconds), "audio": data}


def _place(centre: CallCentre, address: str) -> Wire:
    """Where the desk finds a file: with us, if the address says so, else where it says."""
    found = _HOSTED.search(address)
    if found and urlsplit(address).netloc == urlsplit(centre.base_url).netloc:
        return {"file": f"{found[1]}/{unquote(found[2])}", "url": address}
    return {"url": address}
