"""Carrying out control operations. Pure on the model: what goes over the wire is returned."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from bridge.ids import AgentId
from bridge.simulator import desk, ops, pushes, samples
from bridge.simulator.faults import FaultPlan
from bridge.simulator.login import Gate
from bridge.simulator.ops import BadOpError
from bridge.simulator.options import DeskAgent
from bridge.simulator.outgoing import HangUp, Outgoing, Send, Wire
from bridge.simulator.state import CallCentre, Customer, QueueRequest, Session
from bridge.webchat.codes import MessageType, NoticeType, RequestStatus

Host = Callable[[str, bytes], str]
"""Keeps a file under a name and returns its address, in the style that the options ask for."""


@dataclass(slots=True)
class Simulation:
    """Everything that a control operation can touch."""

    centre: CallCentre
    faults: FaultPlan = field(default_factory=FaultPlan)
    gate: Gate = field(default_factory=Gate)
    down_until: float = 0
    """Monotonic seconds; until then every request gets 404."""


@dataclass(slots=True)
class Done:
    """What an operation led to."""

    outgoing: list[Outgoing] = field(default_factory=list)
    answer: Wire = field(default_factory=dict)
    """For the caller, beside `ok` and `sent`."""


def perform(simulation: Simulation, op: ops.AnyOp, now: float, host: Host) -> Done:
    """Carry out one operation.

    Args:
        simulation: changed in place.
        op: what to do.
        now: seconds, monotonic.
        host: where files that an agent sends are kept.

    Raises:
        BadOpError: it cannot be done; nothing was changed.
    """
    centre = simulation.centre
    centre.settle(now)
    match op:
        case ops.Accept() | ops.Refuse():
            return _on_request(centre, op)
        case ops.Push(login=login, frame=frame):
            return Done([Send(_customer(centre, login).login, frame)])
        case ops.Kick(login=login, code=code):
            if not _customer(centre, login).linked:
                raise BadOpError(f"{login} has no open socket")
            if not 1000 <= code <= 4999:
                raise BadOpError("code must be a WebSocket close code, 1000 to 4999")
            return Done([HangUp(login, code)])
        case ops.ExpireToken(login=login):
            centre.sign_out(_customer(centre, login))
            return Done()
        case ops.Forget(what=what):
            if what == "blacklist":
                simulation.gate.forget()
            else:
                centre.forget(what)
            return Done()
        case ops.Restart(seconds=seconds, forget=memories):
            for memory in memories:
                centre.forget(memory)
            simulation.down_until = now + seconds
            return Done([HangUp(who.login, 1001) for who in centre.customers.values()])
        case ops.Set():
            return _set(simulation, op)
        case _:
            return _on_session(centre, op, host)


def _set(simulation: Simulation, op: ops.Set) -> Done:
    try:
        simulation.centre.options = simulation.centre.options.changed(op.options)
    except ValueError as error:
        raise BadOpError(str(error)) from error
    if op.faults is not None:
        simulation.faults.replace(op.faults)
    return Done()


def _on_request(centre: CallCentre, op: ops.Accept | ops.Refuse) -> Done:
    request = _request(centre, op)
    if isinstance(op, ops.Refuse):
        if op.status in (RequestStatus.WAITING, RequestStatus.ACCEPTED):
            raise BadOpError("status must be one that ends the request")
        return Done(desk.turn_away(centre, request, op.status), {"request": request.id})
    agent = _agent(centre, op.agent) if op.agent else centre.quietest_agent()
    if agent is None:
        raise BadOpError("no agent is online")
    outgoing = desk.accept(centre, request, agent)
    session = centre.customers[request.login].session
    return Done(outgoing, {"request": request.id, "session": session.id if session else None})


SessionOp = (
    ops.Say
    | ops.Image
    | ops.File
    | ops.Voice
    | ops.Location
    | ops.Notice
    | ops.Typing
    | ops.PushRating
    | ops.Agents
    | ops.Transfer
    | ops.Conference
    | ops.Close
)


def _on_session(centre: CallCentre, op: SessionOp, host: Host) -> Done:
    session = _session(centre, op)
    answer: Wire = {"session": session.id}
    agent_id = op.agent or desk.first_agent(session)
    match op:
        case ops.PushRating():
            return Done([pushes.rating_pushed(centre, session, agent_id)], answer)
        case ops.Close():
            return Done(desk.close(centre, session, agent_id), answer)
        case ops.Agents(agents=agents):
            return Done(desk.change_agents(centre, session, agents), answer)
        case ops.Transfer(to=to, queue=queue, queue_name=queue_name):
            people = [_agent(centre, to)]
            outgoing = desk.change_agents(
                centre, session, people, queue_id=queue, queue_name=queue_name
            )
            return Done(outgoing, answer)
        case ops.Conference(to=to):
            newcomer = _agent(centre, to)
            if newcomer.id in {agent.id for agent in session.agents}:
                raise BadOpError(f"{to} is in the session already")
            return Done(desk.change_agents(centre, session, [*session.agents, newcomer]), answer)
        case ops.Notice(text=text, notice_type=notice_type):
            kind = MessageType.SYSTEM_NOTICE
            return _spoken(centre, session, op, kind, text, notice_type=notice_type)
        case ops.Typing():
            kind = MessageType.SYSTEM_NOTICE
            return _spoken(centre, session, op, kind, "", notice_type=NoticeType.TYPING)
        case _:
            return _media(centre, session, op, host)


MediaOp = ops.Say | ops.Image | ops.File | ops.Voice | ops.Location


def _media(centre: CallCentre, session: Session, op: MediaOp, host: Host) -> Done:
    match op:
        case ops.Say(text=text):
            return _spoken(centre, session, op, MessageType.TEXT, text)
        case ops.Image(data=data, name=name, width=width, height=height):
            if not (0 < width <= 4000 and 0 < height <= 4000):
                raise BadOpError("width and height must be 1 to 4000")
            body = _bytes(data) if data else samples.picture(name, width, height)
            done = _spoken(centre, session, op, MessageType.IMAGE, _image(op, body, host))
            return _with_digest(done, body)
        case ops.Voice(data=data, seconds=seconds):
            if not 0 < seconds <= 60:
                raise BadOpError("seconds must be 1 to 60")
            body = _bytes(data) if data else samples.voice(seconds)
            text = base64.b64encode(body).decode()
            return _with_digest(_spoken(centre, session, op, MessageType.VOICE, text), body)
        case ops.File():
            body = _bytes(op.data) if op.data else op.text.encode()
            done = _spoken(centre, session, op, MessageType.FILE, _file(op, body, host))
            return _with_digest(done, body)
        case ops.Location(latitude=latitude, longitude=longitude, poi=poi, map=map_name):
            place: Wire = {
                "poi": poi,
                "longitude": longitude,
                "latitude": latitude,
                "map": map_name,
                "thumbData": "",
                "extra": "",
            }
            return _spoken(centre, session, op, MessageType.LOCATION, place)


def _image(op: ops.Image, body: bytes, host: Host) -> object:
    text = base64.b64encode(body).decode()
    match op.style:
        case "base64":
            return text
        case "data-uri":
            return f"data:image/png;base64,{text}"
        case "object":
            return {"imgUrl": host(op.name, body), "imgName": op.name}


def _file(op: ops.File, body: bytes, host: Host) -> object:
    if not op.name:
        raise BadOpError("name must not be empty")
    about: Wire = {
        "name": op.name,
        "url": host(op.name, body),
        "size": len(body),
        "type": PurePosixPath(op.name).suffix.lstrip(".").lower(),
    }
    return json.dumps(about, ensure_ascii=False) if op.as_text else about


def _spoken(
    centre: CallCentre,
    session: Session,
    op: SessionOp,
    kind: MessageType,
    content: object,
    *,
    notice_type: int | None = None,
) -> Done:
    send = desk.speak(
        centre, session, kind, content, agent_id=op.agent or None, notice_type=notice_type
    )
    number = send.record["n"] if send.record is not None else None
    return Done([send], {"session": session.id, "n": number})


def _with_digest(done: Done, body: bytes) -> Done:
    done.answer |= {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    return done


def _bytes(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadOpError("data is not base64") from error


# --- whom an operation is about ----------------------------------------------------------------


def _customer(centre: CallCentre, login: str) -> Customer:
    customer = centre.customers.get(login)
    if customer is None:
        raise BadOpError(f"nobody has logged in as {login!r}")
    return customer


def _agent(centre: CallCentre, agent_id: AgentId) -> DeskAgent:
    agent = centre.agent(agent_id)
    if agent is None:
        raise BadOpError(f"no agent {agent_id!r} is online")
    return agent


def _request(centre: CallCentre, op: ops.OnRequest) -> QueueRequest:
    if op.request is not None:
        found = centre.requests.get(op.request)
        if found is None:
            raise BadOpError(f"no request {op.request} is waiting")
        return found
    if op.login:
        own = _customer(centre, op.login).request
        if own is None:
            raise BadOpError(f"{op.login} is not waiting in a queue")
        return own
    oldest = next(iter(centre.requests.values()), None)
    if oldest is None:
        raise BadOpError("nobody is waiting in a queue")
    return oldest


def _session(centre: CallCentre, op: ops.OnSession) -> Session:
    if op.session is not None:
        found = centre.sessions.get(op.session)
        if found is None:
            raise BadOpError(f"session {op.session} is not open")
        return found
    if op.login:
        own = _customer(centre, op.login).session
        if own is None:
            raise BadOpError(f"{op.login} has no open session")
        return own
    if len(centre.sessions) != 1:
        raise BadOpError(f"say which session: {len(centre.sessions)} are open")
    return next(iter(centre.sessions.values()))
