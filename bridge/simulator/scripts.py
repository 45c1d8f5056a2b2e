"""Carrying out control operations. Pure on the model: what goes over the wire is returned."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

import msgspec

from bridge.simulator import desk, ops, samples, whom
from bridge.simulator.faults import FaultPlan
from bridge.simulator.login import Gate
from bridge.simulator.ops import BadOpError
from bridge.simulator.options import DeskAgent
from bridge.simulator.outgoing import HangUp, Outgoing, Send, Wire
from bridge.simulator.state import CallCentre, Session
from bridge.webchat.codes import MessageType, NoticeType, RequestStatus


class Placed(NamedTuple):
    """Where a file of an agent's is kept."""

    url: str
    """Its address in the style that the options ask for."""
    path: str
    """`number/name`, as the desk fetches it."""


Host = Callable[[str, bytes], Placed]
"""Keeps a file under a name."""


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
            return Done([Send(whom.customer(centre, login).login, frame)])
        case ops.Kick(login=login, code=code):
            if not whom.customer(centre, login).linked:
                raise BadOpError(f"{login} has no open socket")
            if not 1000 <= code <= 4999:
                raise BadOpError("code must be a WebSocket close code, 1000 to 4999")
            return Done([HangUp(login, code)])
        case ops.ExpireToken(login=login):
            centre.sign_out(whom.customer(centre, login))
            return Done()
        case ops.SignOn(agent=newcomer):
            others = [one for one in centre.options.agents if one.id != newcomer.id]
            return _set(simulation, ops.Set(options={"agents": _plain([*others, newcomer])}))
        case ops.SignOff(agent=agent_id):
            leaving = whom.agent(centre, agent_id)
            others = [one for one in centre.options.agents if one != leaving]
            return _set(simulation, ops.Set(options={"agents": _plain(others)}))
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


def _plain(agents: list[DeskAgent]) -> list[object]:
    return [msgspec.to_builtins(agent) for agent in agents]


def _set(simulation: Simulation, op: ops.Set) -> Done:
    try:
        simulation.centre.options = simulation.centre.options.changed(op.options)
    except ValueError as error:
        raise BadOpError(str(error)) from error
    if op.faults is not None:
        simulation.faults.replace(op.faults)
    return Done()


def _on_request(centre: CallCentre, op: ops.Accept | ops.Refuse) -> Done:
    request = whom.request(centre, op)
    if isinstance(op, ops.Refuse):
        if op.status in (RequestStatus.WAITING, RequestStatus.ACCEPTED):
            raise BadOpError("status must be one that ends the request")
        return Done(desk.turn_away(centre, request, op.status), {"request": request.id})
    agent = whom.agent(centre, op.agent) if op.agent else desk.quietest_agent(centre)
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
    | ops.Recall
    | ops.PushRating
    | ops.Agents
    | ops.Transfer
    | ops.Conference
    | ops.Leave
    | ops.Close
)


def _on_session(centre: CallCentre, op: SessionOp, host: Host) -> Done:
    session = whom.session(centre, op)
    answer: Wire = {"session": session.id}
    agent_id = op.agent or desk.first_agent(session)
    match op:
        case ops.PushRating():
            return Done(desk.push_rating(centre, session, agent_id), answer)
        case ops.Close():
            return Done(desk.close(centre, session, agent_id), answer)
        case ops.Agents(agents=agents):
            return Done(desk.change_agents(centre, session, agents), answer)
        case ops.Transfer(to=to, queue=queue, queue_name=queue_name):
            people = [whom.agent(centre, to)]
            outgoing = desk.change_agents(
                centre, session, people, queue_id=queue, queue_name=queue_name
            )
            return Done(outgoing, answer)
        case ops.Conference(to=to):
            newcomer = whom.agent(centre, to)
            if newcomer.id in {agent.id for agent in session.agents}:
                raise BadOpError(f"{to} is in the session already")
            return Done(desk.change_agents(centre, session, [*session.agents, newcomer]), answer)
        case ops.Leave():
            staying = [agent for agent in session.agents if agent.id != agent_id]
            if not staying or len(staying) == len(session.agents):
                raise BadOpError(f"{agent_id} is not one of several in the session")
            return Done(desk.change_agents(centre, session, staying), answer)
        case ops.Notice(text=text, notice_type=notice_type):
            kind = MessageType.SYSTEM_NOTICE
            return _spoken(centre, session, op, kind, text, notice_type=notice_type)
        case ops.Recall(message=message):
            number = desk.last_said(centre, session) if message is None else message
            if number is None or (recalled := desk.recall(centre, session, number)) is None:
                raise BadOpError("no such message was said in this session")
            return Done([recalled], answer | {"n": number})
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
            placed = host(name, body)
            shown: Wire = {"name": name, "file": placed.path, "size": len(body)}
            content = _image(op, body, placed)
            return _with_digest(
                _spoken(centre, session, op, MessageType.IMAGE, content, shown=shown), body
            )
        case ops.Voice(data=data, seconds=seconds):
            if not 0 < seconds <= 60:
                raise BadOpError("seconds must be 1 to 60")
            body = _bytes(data) if data else samples.voice(seconds)
            text = base64.b64encode(body).decode()
            shown = {"seconds": float(seconds), "audio": text}
            voice: object = text
            if op.style == "object":
                voice = {"voiceData": text, "voiceLength": seconds}
            return _with_digest(
                _spoken(centre, session, op, MessageType.VOICE, voice, shown=shown), body
            )
        case ops.File():
            if not op.name:
                raise BadOpError("name must not be empty")
            body = _bytes(op.data) if op.data else op.text.encode()
            placed = host(op.name, body)
            shown = {"name": op.name, "file": placed.path, "size": len(body)}
            content = _file(op, body, placed)
            return _with_digest(
                _spoken(centre, session, op, MessageType.FILE, content, shown=shown), body
            )
        case ops.Location(latitude=latitude, longitude=longitude, poi=poi, map=map_name):
            place: Wire = {"longitude": longitude, "latitude": latitude, "map": map_name}
            shown = {**place, "text": poi}
            whole: Wire = {"poi": poi, **place, "thumbData": "", "extra": ""}
            return _spoken(centre, session, op, MessageType.LOCATION, whole, shown=shown)


def _image(op: ops.Image, body: bytes, placed: Placed) -> object:
    text = base64.b64encode(body).decode()
    match op.style:
        case "base64":
            return text
        case "data-uri":
            return f"data:image/png;base64,{text}"
        case "object":
            return {"imgUrl": placed.url, "imgName": op.name}


def _file(op: ops.File, body: bytes, placed: Placed) -> object:
    about: Wire = {
        "name": op.name,
        "url": placed.url,
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
    shown: Wire | None = None,
) -> Done:
    send = desk.speak(
        centre,
        session,
        kind,
        content,
        agent_id=op.agent or None,
        notice_type=notice_type,
        shown=shown,
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
