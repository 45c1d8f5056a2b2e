"""Handlers of what customers send: commands on the socket, requests to the HTTP interface. Pure.

A command has an effect on the call centre, a reply, and pushes after it. Customers' messages are
recorded twice: with the customer for scripts, in the transcript for the desk.

At `/tpi`, login (guide part one) issues tokens, and type 5003 (later guides; reference 3.8) returns
the history in pages, newest first. `/robotSearch` (guide part four) returns canned answers and
verifies the sign if it has a key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Annotated
from urllib.parse import unquote, urlsplit

import msgspec

from bridge.ids import AgentId, QueueId, RequestId
from bridge.simulator import desk
from bridge.simulator.checks import Call, Refusal, Shape, handover_queue
from bridge.simulator.desk import KINDS, icon
from bridge.simulator.options import DeskAgent, SimulatorOptions
from bridge.simulator.state import (
    CallCentre,
    Customer,
    Outgoing,
    QueueRequest,
    Record,
    Send,
    Session,
    Wire,
)
from bridge.webchat import frames
from bridge.webchat.codes import FrameType, MessageType, RequestStatus, ResultCode
from bridge.webchat.http import HISTORY, login_sign, robot_sign

_InSession = (
    frames.SendMessage
    | frames.CloseSession
    | frames.Preview
    | frames.Typing
    | frames.TransferFromRobot
)
"""Commands that name an open session."""
_HOSTED = re.compile(r"https?://([^/?#]+)[^?#]*/up/(\d+)/([^/?#]+)")
"""The address of a file that may be hosted here: host, number, and name as in the address."""


def answer(centre: CallCentre, customer: Customer, call: Call, now: float) -> list[Outgoing]:
    """Carry out one text frame from a customer's socket; return the reply and the pushes."""
    exchange = _Exchange(centre, customer, call, now)
    try:
        reply = exchange.carry_out()
    except Refusal as refused:
        reply = exchange.reply(refused.code, str(refused))
    pushes = centre.outgoing()
    return pushes if reply is None else [Send(customer.login, reply), *pushes]


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One command of a customer, with the state that it may change."""

    centre: CallCentre
    customer: Customer
    call: Call
    now: float

    def carry_out(self) -> Wire | None:
        """Change the centre, which sends the pushes; return the reply, if there is one."""
        centre, customer, call = self.centre, self.customer, self.call
        if isinstance(call.command, Refusal):
            raise call.command
        alive = isinstance(call.command, frames.Heartbeat) and not call.token
        if not alive and centre.holder(call.token, self.now) is not customer:
            raise Refusal(ResultCode.INVALID_TOKEN, "bad token")
        match call.command:
            case frames.RequestChat() as asked:
                return self._request_chat(asked)
            case frames.CancelRequest() | frames.SendPreMessage() as command:
                request = customer.request
                if request is None or request.id != command.request_id:
                    raise Refusal(ResultCode.INVALID_CHAT_REQUEST_ID, "no such queue request")
                if isinstance(command, frames.CancelRequest):
                    desk.turn_away(centre, request, RequestStatus.CANCELED_BY_CLIENT)
                else:
                    self._hear(frames.Text(command.text), request)
            case frames.RateSession() as rated:
                self._rate(rated)
            case frames.Logout():
                self._log_out()
            case frames.Heartbeat():
                return None if centre.options.pulse == "silent" else self.reply()
            case frames.Receipt(rs_id):
                customer.pending.pop(rs_id, None)
                return self.reply() if centre.options.receipt_reply else None
            case command:
                return self._in_session(command)
        return self.reply()

    def reply(
        self, code: ResultCode = ResultCode.SUCCESS, message: str = "", extra: Wire | None = None
    ) -> Wire:
        """Build the reply; a 110 or 111 that is refused is recorded with the customer."""
        centre, call = self.centre, self.call
        is_message = call.type in (FrameType.SEND_MESSAGE, FrameType.SEND_PRE_MESSAGE)
        if is_message and code is not ResultCode.SUCCESS:
            refused: Wire = {"messageId": call.call_id, "type": call.type, "result": int(code)}
            centre.keep(self.customer, self.customer.refused, refused)
        return desk.reply(call.type, code, message, call_id=call.call_id, extra=extra)

    # --- asking for an agent ----------------------------------------------------------------------

    def _request_chat(self, asked: frames.RequestChat) -> Wire:
        centre, customer, options = self.centre, self.customer, self.centre.options
        rich = options.request_id_in_reply
        if (waiting := customer.request) is not None:
            place = self._place(waiting, waiting.announced) if rich else None
            return self.reply(ResultCode.ALREADY_IN_ROUTING, "already waiting in a queue", place)
        if (running := customer.session) is not None and options.continues:
            desk.push_started(centre, running, resumed=True)
            goes_on: Wire = {"queueLength": 0, "continueLastSession": True}
            return self.reply(extra=goes_on if rich else None)
        if running is not None:
            code, number = ResultCode.ALREADY_IN_CHATTING, desk.identifier(centre, running.id)
            return self.reply(code, "a session is open", {"sessionId": number} if rich else None)
        by_robot = asked.queue_id in options.robot_queues
        self._check_open(asked.queue_id, asked.to_agent, people=not by_robot)
        if by_robot:
            return self._begin_with_robot(asked.queue_id)
        if options.permanent:
            # The reply names session and agent; no 202 follows.
            agent = options.agent(AgentId(asked.to_agent)) or desk.quietest_agent(centre)
            session = centre.begin(customer, asked.queue_id, [agent] if agent else [])
            centre.note(session, "event", "accepted", agent=desk.first_agent(session))
            return self.reply(extra={**self._session_fields(session), "perm": 1})
        request, standing = self._into_queue(asked.queue_id, asked.source, asked.to_agent)
        fields: Wire = self._place(request, standing) if rich else {}
        if options.session_in_reply and customer.session is not None:
            fields |= self._session_fields(customer.session)
        return self.reply(extra=fields)

    def _begin_with_robot(self, queue_id: QueueId) -> Wire:
        centre, robot = self.centre, self.centre.options.robot
        session = centre.begin(self.customer, queue_id, [robot], robot=True)
        centre.note(session, "event", "robot")
        fields: Wire = {
            "sessionId": desk.identifier(centre, session.id),
            "agentId": robot.id,
            "agentName": robot.name,
            "robotType": centre.options.robot_type,
            "queueLength": 0,
        }
        if centre.options.robot_started:
            desk.push_started(centre, session)
        return self.reply(extra=fields)

    def _leave_robot(self, session: Session) -> Wire:
        """Handle a 302: queue for a person; the robot session goes on until an agent accepts."""
        if not session.robot:
            raise Refusal(ResultCode.INVALID_SESSION_TYPE, "the session is not with a robot")
        if self.customer.request is not None:
            raise Refusal(ResultCode.ALREADY_IN_ROUTING, "already waiting for a person")
        queue_id = handover_queue(self.call.body)
        queue_id = session.queue_id if queue_id is None else queue_id
        self._check_open(queue_id, "", people=True)
        _, place = self._into_queue(queue_id, session=session)
        return self.reply(extra={"queueLength": place})

    def _check_open(self, queue_id: QueueId, wanted: str, *, people: bool) -> None:
        """Refuse a chat that nobody can serve; a robot needs no agents, at any hour."""
        options = self.centre.options
        if options.queues and queue_id not in (*options.queues, *options.robot_queues):
            raise Refusal(ResultCode.INVALID_QUEUE_ID, "no such queue")
        if people and not options.open_hours:
            raise Refusal(ResultCode.NOT_IN_WORKTIME, "outside working hours")
        if people and not options.agents:
            raise Refusal(ResultCode.NO_AGENT_ONLINE, "no agent is online")
        # Only later revisions show toUserId; it is checked in every dialect.
        if wanted and options.agent(AgentId(wanted)) is None:
            raise Refusal(ResultCode.INVALID_TO_USER_ID, "that agent is not online")

    def _into_queue(
        self, queue_id: QueueId, source: str = "", wanted: str = "", session: Session | None = None
    ) -> tuple[QueueRequest, int]:
        """Queue a request and apply `script`; return it and its position."""
        centre, script = self.centre, self.centre.options.script
        customer, number = self.customer, RequestId(centre.number("request"))
        request = QueueRequest(number, customer, queue_id, source, self.now, wanted, session)
        centre.requests[request.id] = customer.request = request
        centre.note(request, "event", "waiting")
        place = len(centre.waiting(queue_id))
        agent = centre.options.agent(AgentId(wanted)) or desk.quietest_agent(centre)
        if script == "refuse":
            desk.turn_away(centre, request, RequestStatus.REFUSED)
        elif script == "hand" or agent is None:
            desk.push_places(centre, queue_id)
        else:
            desk.accept(centre, request, agent)
            place = 0
        return request, place

    def _place(self, request: QueueRequest, place: int) -> Wire:
        fields: Wire = {"requestId": desk.identifier(self.centre, request.id)}
        words = self.centre.options.words_for(place, "positionInQueueMessage")
        return {**fields, "queueLength": place, **words}

    def _session_fields(self, session: Session) -> Wire:
        fields: Wire = {"sessionId": desk.identifier(self.centre, session.id)}
        for person in desk.people(self.centre, session.agents):
            known = {"agentId": person["id"], "agentName": person["name"]}
            fields |= {**known, "icon": person["icon"], "comments": person["comments"]}
        return fields

    # --- commands that name a session -------------------------------------------------------------

    def _in_session(self, command: _InSession) -> Wire:
        centre, customer = self.centre, self.customer
        session = customer.session
        if session is not None and session.id != command.session_id:
            session = None
        if isinstance(command, frames.SendMessage):
            return self._message(session, command.content)
        if session is None:
            raise Refusal(ResultCode.INVALID_CHAT_SESSION_ID, "no such session")
        match command:
            case frames.CloseSession():
                desk.end(centre, session, "customer")
                if centre.options.close_echoed:
                    fields: Wire = {"agentId": desk.first_agent(session)}
                    desk.push(centre, FrameType.SESSION_CLOSED, session, fields)
                return self.reply()
            case frames.TransferFromRobot():
                return self._leave_robot(session)
            case frames.Preview(text=text):
                customer.preview = text
            case frames.Typing():
                pass
        customer.typed_at = self.now
        signal: Wire = {"time": centre.wall_ms(), "text": customer.preview}
        centre.keep(customer, customer.signals, {"type": self.call.type, **signal})
        return self.reply()

    def _message(self, session: Session | None, content: frames.Content) -> Wire:
        centre, customer = self.centre, self.customer
        fields: Wire = {}
        if session is None and centre.options.session_in_message_reply and customer.session:
            session = customer.session
            fields = {
                "sessionId": desk.identifier(centre, session.id),
                "agents": desk.people(centre, session.agents),
            }
        if session is None:
            if centre.options.original_in_refusal:
                # In the wrapper of the phone clients' transport (reference 1.3).
                text = json.dumps(self._as_it_came()[1], ensure_ascii=False)
                fields = {"originalMessage": {"objectName": "RC:TxtMsg", "content": text}}
            return self.reply(ResultCode.INVALID_CHAT_SESSION_ID, "no such session", fields)
        self._hear(content, session)
        if session.robot and not customer.request:  # who waits for a person hears no robot
            desk.robot_answer(centre, session, content)
        elif not session.robot and centre.options.script == "echo":
            desk.echo(centre, session, content)
        return self.reply(extra=fields)

    def _rate(self, rated: frames.RateSession) -> None:
        centre, customer = self.centre, self.customer
        newest = customer.last_session
        if newest is None or newest.id != rated.session_id:
            raise Refusal(ResultCode.INVALID_CHAT_SESSION_ID, "no such session")
        given: Wire = {
            "sessionId": rated.session_id,
            "rating": rated.rating,
            "comments": rated.comments,
            "messageId": self.call.call_id,
        }
        centre.keep(customer, customer.ratings, given)
        centre.note(newest, "event", "rated", rating=rated.rating, text=rated.comments)

    def _log_out(self) -> None:
        centre, customer = self.centre, self.customer
        if customer.session is not None:
            desk.end(centre, customer.session, "customer")
        if customer.request is not None:
            # No 201 for the customer who logged out; those behind move up.
            queue_id = customer.request.queue_id
            centre.leave_queue(customer.request)
            desk.push_places(centre, queue_id)
        centre.sign_out(customer)
        centre.hang_up(customer, 1000)

    # --- the record of what customers say ---------------------------------------------------------

    def _hear(self, content: frames.Content, about: Session | QueueRequest) -> None:
        """Record a 110 or 111, also a repeated one: scripts that look for duplicates need it."""
        centre, customer, call = self.centre, self.customer, self.call
        repeat = call.call_id in customer.call_ids
        if call.call_id is not None:
            customer.call_ids[call.call_id] = None
        while len(customer.call_ids) > centre.options.keep_records:
            del customer.call_ids[next(iter(customer.call_ids))]
        number, raw = self._as_it_came()
        kind = KINDS[number]
        record: Record = {
            "n": centre.number("message"),
            "type": call.type,
            "messageId": call.call_id,
            "sessionId": about.id if isinstance(about, Session) else None,
            "requestId": about.id if isinstance(about, QueueRequest) else None,
            "kind": kind,
            "text": content.text if isinstance(content, frames.Text) else "",
            "content": raw,
            "time": centre.wall_ms(),
            "repeat": repeat,
        }
        centre.keep(customer, customer.messages, record)
        customer.typed_at, customer.preview = None, ""
        centre.note(about, "customer", kind, repeat=repeat, **_shown(centre, content))

    def _as_it_came(self) -> tuple[int, object]:
        """Return content type and raw content of a 110 or 111; a 111 is text."""
        msg = self.call.body.get("msg")
        if self.call.type == FrameType.SEND_MESSAGE and isinstance(msg, dict):
            return int(msg["type"]), msg["content"]
        return MessageType.TEXT, self.call.body["content"]


def _shown(centre: CallCentre, content: frames.Content) -> Wire:
    match content:
        case frames.Text(text):
            return {"text": text}
        case frames.Image(name, uri):
            return {"name": name, **_place(centre, uri)}
        case frames.File() | frames.Video():
            size = {"size": content.size} if content.size else {}
            return {"name": content.name, **size, **_place(centre, content.url)}
        case frames.Location(latitude, longitude, poi, map_name):
            return {"latitude": latitude, "longitude": longitude, "map": map_name, "text": poi}
        case frames.Voice(seconds, data):
            audio = {"audio": data} if data else _place(centre, content.uri)
            return {"seconds": float(seconds), **audio}


def _place(centre: CallCentre, address: str) -> Wire:
    """Return the URL of a customer's file, and as `file` its path at the desk if hosted here."""
    found = _HOSTED.fullmatch(address)
    if found and found[1] == urlsplit(centre.base_url).netloc:
        return {"file": f"{found[2]}/{unquote(found[3])}", "url": address}
    return {"url": address}


# --- `/tpi`: login --------------------------------------------------------------------------------

_LOGINS: Mapping[int, Shape] = {
    # The guide of 2016 shows `epid` and gives it no meaning when empty.
    FrameType.LOGIN: Shape({"loginName": str, "password": str}, {"epid": str}),
    # The guide only names it; the fields are those of later revisions (reference 3.1).
    FrameType.REGISTER: Shape(
        {"loginName": str}, optional={"name": str, "portraitUri": str, "epid": str}
    ),
    # From later revisions.
    FrameType.VISITOR_LOGIN: Shape({"visitorId": str}, optional={"epid": str}),
}


def log_in(centre: CallCentre, body: bytes, sign: str | None, now: float, cookie: str = "") -> Wire:
    """Answer one request to `/tpi`: a login, or a page of history; `cookie` is the sticky cookie.

    Results: -30 wrong sign of the body, -8 no JSON object, -12 unknown type, -14 missing or wrong
    field, -20 wrong login name or password; for the history, -15 invalid token.
    """
    key = centre.options.sign_key
    if key and not hmac.compare_digest(login_sign(body, key).encode(), (sign or "").encode()):
        return result(ResultCode.INVALID_SIGN, "wrong sign")
    try:
        asked = msgspec.json.decode(body, type=dict[str, object])
        kind = msgspec.convert(asked.get("type"), int)
        if kind == HISTORY and centre.options.has("history"):
            return _history(centre, msgspec.convert(asked, _Wanted), now, cookie)
        login, name = _who(centre, kind, asked)
    except Refusal as error:
        return result(error.code, str(error))
    except msgspec.ValidationError as error:
        return result(ResultCode.INVALID_PARAMETER, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return result(ResultCode.REQUEST_ERROR, f"the body must be a JSON object: {error}")
    customer, token = centre.sign_in(login, name, now)
    reply = result(ResultCode.SUCCESS, token=token, config={})
    shown = {"clientId": customer.client_id} if centre.options.has("client_id_in_login") else {}
    return reply | shown


def _who(centre: CallCentre, kind: int, asked: Wire) -> tuple[str, str]:
    """Return login name and display name; Refusal if the login is not allowed."""
    if kind not in _LOGINS:
        raise Refusal(ResultCode.INVALID_MESSAGE_TYPE, f"type {kind} is no login")
    known = _LOGINS[kind].read(asked, centre.options)
    login = known["visitorId" if kind == FrameType.VISITOR_LOGIN else "loginName"]
    accounts = centre.options.accounts
    if kind == FrameType.LOGIN and accounts and accounts.get(login) != known["password"]:
        raise Refusal(ResultCode.INVALID_LOGIN, "wrong login name or password")
    if not login:
        raise Refusal(ResultCode.INVALID_PARAMETER, "the login name is empty")
    return login, known.get("name", "")


def result(code: int, message: str = "", **more: object) -> Wire:
    return {"result": int(code), "message": message, **more}


# --- `/tpi`: history ------------------------------------------------------------------------------

_CUSTOMER, _AGENT = 1, 2
_NORMAL, _NOTICE = 0, 1
_Natural = Annotated[int, msgspec.Meta(ge=0)]


class _Wanted(msgspec.Struct):
    token: str
    from_session: _Natural = msgspec.field(name="fromSessionId", default=0)
    """Newest session to include; 0 for all."""
    from_message: _Natural = msgspec.field(name="fromMessageId", default=0)
    """Only messages before this one; 0 for all."""
    count: Annotated[int, msgspec.Meta(ge=1, le=1000)] = msgspec.field(name="maxCount", default=10)
    permanent: int = msgspec.field(name="permFlag", default=0)
    running: bool = msgspec.field(name="continueLastSession", default=False)
    """True to include the open session, if `running_history` is `asked`."""


def _history(centre: CallCentre, wanted: _Wanted, now: float, cookie: str) -> Wire:
    customer = centre.holder(wanted.token, now, cookie)
    if customer is None:
        return result(ResultCode.INVALID_TOKEN, "the token is not valid")
    rows = _newest_first(centre, customer, wanted)
    if centre.options.history_style == "rows":
        kept = ("id", "userId", "userType", "messageType", "postTime")
        rows = [{key: row[key] for key in kept} | {"message": row["text"]} for row in rows]
    return result(ResultCode.SUCCESS, hisMessages=rows)


def _newest_first(centre: CallCentre, customer: Customer, wanted: _Wanted) -> list[Wire]:
    mode = centre.options.running_history
    shown = mode == "told" or (mode == "asked" and wanted.running)
    hidden = None if shown else customer.session
    people = {agent.id: agent for agent in (*centre.options.agents, centre.options.robot)}
    people |= {agent.id: agent for session in customer.sessions for agent in session.agents}
    notice = MessageType.SYSTEM_NOTICE  # typing, which has no content, is not history
    said = [message for message in customer.said if message["content"] or message["type"] != notice]
    records = sorted((*customer.messages, *said), key=itemgetter("n"), reverse=True)
    rows: list[Wire] = []
    for record in records[centre.options.history_behind :]:
        session = record["sessionId"] or 0
        if wanted.from_message and record["n"] >= wanted.from_message:
            continue
        if (hidden and session == hidden.id) or 0 < wanted.from_session < session:
            continue
        rows.append(_row(centre, customer, people, record))
    return rows[: wanted.count]


def _row(
    centre: CallCentre, customer: Customer, people: Mapping[AgentId, DeskAgent], record: Record
) -> Wire:
    """Build the history row of a record of the customer or an agent."""
    kind = record["type"]
    if "agentId" in record:
        is_text = kind in (MessageType.TEXT, MessageType.SYSTEM_NOTICE)
        text = record["content"] if is_text else f"[{KINDS[kind]}]"
        agent = people.get(record["agentId"])
        name, picture = (agent.name, icon(centre, agent)) if agent else ("", "")
        who: Wire = {"userId": record["agentId"], "userName": name, "icon": picture}
    else:
        text = record["text"] or f"[{record['kind']}]"
        name = customer.name or customer.login
        who = {"userId": customer.client_id, "userName": name, "icon": ""}
    return {
        "id": record["n"],
        **who,
        "userType": _AGENT if "agentId" in record else _CUSTOMER,
        "text": str(text),
        "messageType": _NOTICE if kind == MessageType.SYSTEM_NOTICE else _NORMAL,
        "postTime": record["time"],
        "revokeFlag": int("revoked" in record),
    }


# --- `/robotSearch` -------------------------------------------------------------------------------

_SIGNED = ("action", "epid", "question")


def search(options: SimulatorOptions, form: Mapping[str, str]) -> Wire:
    """Answer one question; `srs` is empty if it is unknown. -14 bad field, -30 wrong sign."""
    missing = [name for name in (*_SIGNED, "sign") if name not in form]
    if missing:
        return result(ResultCode.INVALID_PARAMETER, f"{missing[0]} is missing")
    if form["action"] != "search":
        return result(ResultCode.INVALID_PARAMETER, "action must be search")
    given = form["sign"].lower().encode()
    key = options.robot_key
    signed = {name: form[name] for name in _SIGNED}
    if key and not hmac.compare_digest(robot_sign(signed, key).encode(), given):
        return result(ResultCode.INVALID_SIGN, "wrong sign")
    question = form["question"]
    if not question.strip():
        return result(ResultCode.EMPTY_MESSAGE, "the question is blank")
    results: list[Wire] = []
    if (preview := options.robot_answers.get(question)) is not None:
        article = hashlib.sha256(question.encode()).hexdigest()[:12]
        path = f"/km/ArticleStore/{article}.htm"
        about = {"articleAId": article, "path": path, "title": question}
        results = [{"preview": preview, "question": "", "ra": about, "title": question}]
    return result(ResultCode.SUCCESS, searchResult={"question": question, "srs": results})
