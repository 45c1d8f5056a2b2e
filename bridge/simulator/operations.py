"""The control operations, as `POST /_sim/do` takes them: `{"op": "say", "text": "…"}`.

docs/simulator.md lists them with their fields.
Who an operation is about may be left out when it can only be one: the only open session, the
request that has waited longest. Pure: what goes over the wire is returned.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal, NamedTuple, cast

import msgspec

from bridge.ids import AgentId, QueueId, RequestId, SessionId
from bridge.simulator import desk, samples
from bridge.simulator.faults import Fault, FaultPlan
from bridge.simulator.options import DeskAgent
from bridge.simulator.state import (
    CallCentre,
    Customer,
    HangUp,
    Memory,
    Outgoing,
    QueueRequest,
    Send,
    Session,
    Wire,
)
from bridge.simulator.tpi import Gate
from bridge.webchat.codes import MessageType, NoticeType, RequestStatus

# --- shapes --------------------------------------------------------------------------------------


class BadOpError(Exception):
    """An operation that cannot be done; the message is one sentence saying why."""


class Op(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="op"):
    """The base of all operations."""


# Whom the next two are about: `request_meant`, `session_meant`.


class OnRequest(Op, frozen=True, kw_only=True):
    request: RequestId | None = None
    login: str = ""


class Accept(OnRequest, frozen=True, kw_only=True, tag="accept"):
    agent: AgentId = AgentId("")


class Refuse(OnRequest, frozen=True, kw_only=True, tag="refuse"):
    status: int = 2


class OnSession(Op, frozen=True, kw_only=True):
    session: SessionId | None = None
    login: str = ""
    agent: AgentId = AgentId("")


class Say(OnSession, frozen=True, kw_only=True, tag="say"):
    text: str


class Image(OnSession, frozen=True, kw_only=True, tag="image"):
    data: str = ""
    name: str = "picture.png"
    width: int = 64
    height: int = 64
    style: Literal["base64", "object", "data-uri"] = "base64"


class File(OnSession, frozen=True, kw_only=True, tag="file"):
    name: str
    data: str = ""
    text: str = ""
    as_text: bool = False


class Voice(OnSession, frozen=True, kw_only=True, tag="voice"):
    data: str = ""
    seconds: int = 2
    style: Literal["base64", "object"] = "base64"


class Location(OnSession, frozen=True, kw_only=True, tag="location"):
    latitude: float
    longitude: float
    poi: str = ""
    map: str = "baidu"


class Notice(OnSession, frozen=True, kw_only=True, tag="notice"):
    text: str
    notice_type: int | None = None


class Typing(OnSession, frozen=True, kw_only=True, tag="typing"):
    pass


class Recall(OnSession, frozen=True, kw_only=True, tag="recall"):
    message: int | None = None


class PushRating(OnSession, frozen=True, kw_only=True, tag="push_rating"):
    pass


class Agents(OnSession, frozen=True, kw_only=True, tag="agents"):
    agents: tuple[DeskAgent, ...]


class Transfer(OnSession, frozen=True, kw_only=True, tag="transfer"):
    to: AgentId
    queue: QueueId | None = None
    queue_name: str = ""


class Conference(OnSession, frozen=True, kw_only=True, tag="conference"):
    to: AgentId


class Leave(OnSession, frozen=True, kw_only=True, tag="leave"):
    pass


class Close(OnSession, frozen=True, kw_only=True, tag="close"):
    pass


class SignOn(Op, frozen=True, kw_only=True, tag="sign_on"):
    agent: DeskAgent


class SignOff(Op, frozen=True, kw_only=True, tag="sign_off"):
    agent: AgentId


class Push(Op, frozen=True, kw_only=True, tag="push"):
    login: str
    frame: Wire


class Kick(Op, frozen=True, kw_only=True, tag="kick"):
    login: str
    code: int = 1001


class ExpireToken(Op, frozen=True, kw_only=True, tag="expire_token"):
    login: str


class Forget(Op, frozen=True, kw_only=True, tag="forget"):
    what: Memory | Literal["blacklist"]


class Restart(Op, frozen=True, kw_only=True, tag="restart"):
    seconds: float = 0
    forget: tuple[Memory, ...] = ()


class Set(Op, frozen=True, kw_only=True, tag="set"):
    options: dict[str, object] = {}
    faults: list[Fault] | None = None


FileOp = Image | Voice | File
SessionOp = FileOp | Say | Location | Notice | Typing | Recall | PushRating | Close
PeopleOp = Agents | Transfer | Conference | Leave
ServerOp = SignOn | SignOff | Push | Kick | ExpireToken | Forget | Restart | Set
AnyOp = Accept | Refuse | SessionOp | PeopleOp | ServerOp


def read(body: object) -> AnyOp:
    """Turn a decoded JSON object into an operation.

    Raises:
        BadOpError: with the field and what is wrong with it.
    """
    try:
        return cast("AnyOp", msgspec.convert(body, AnyOp))
    except msgspec.ValidationError as error:
        raise BadOpError(str(error)) from error


# --- who an operation is about -------------------------------------------------------------------


def customer_named(centre: CallCentre, login: str) -> Customer:
    """The customer who has logged in under that name."""
    found = centre.customers.get(login)
    if found is None:
        raise BadOpError(f"nobody has logged in as {login!r}")
    return found


def agent_online(centre: CallCentre, agent_id: AgentId) -> DeskAgent:
    found = centre.options.agent(agent_id)
    if found is None:
        raise BadOpError(f"no agent {agent_id!r} is online")
    return found


def request_meant(centre: CallCentre, op: OnRequest) -> QueueRequest:
    """The request that is named, or the one that has waited longest."""
    if op.request is not None:
        found, problem = centre.requests.get(op.request), f"no request {op.request} is waiting"
    elif op.login:
        found = customer_named(centre, op.login).request
        problem = f"{op.login} is not waiting in a queue"
    else:
        found, problem = next(iter(centre.requests.values()), None), "nobody is waiting in a queue"
    if found is None:
        raise BadOpError(problem)
    return found


def session_meant(centre: CallCentre, op: OnSession) -> Session:
    """The open session that is named, or the only one."""
    if op.session is not None:
        found, problem = centre.sessions.get(op.session), f"session {op.session} is not open"
    elif op.login:
        found = customer_named(centre, op.login).session
        problem = f"{op.login} has no open session"
    else:
        found = next(iter(centre.sessions.values())) if len(centre.sessions) == 1 else None
        problem = f"say which session: {len(centre.sessions)} are open"
    if found is None:
        raise BadOpError(problem)
    return found


# --- execution -----------------------------------------------------------------------------------


class Placed(NamedTuple):
    """Place of a file of an agent's."""

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
    """The result of an operation."""

    outgoing: list[Outgoing] = field(default_factory=list)
    answer: Wire = field(default_factory=dict)
    """For the caller, beside `ok` and `sent`."""


def perform(simulation: Simulation, op: AnyOp, now: float, host: Host) -> Done:
    """Carry out one operation at `now` (seconds, monotonic); `host` keeps what an agent sends.

    Raises:
        BadOpError: it cannot be done; nothing was changed.
    """
    centre = simulation.centre
    centre.settle(now)
    match op:
        case Accept() | Refuse():
            return _on_request(centre, op)
        case Agents() | Transfer() | Conference() | Leave():
            return _on_people(centre, op)
        case OnSession():
            return _on_session(centre, op, host)
        case _:
            return _on_server(simulation, op, now)


def _on_server(simulation: Simulation, op: ServerOp, now: float) -> Done:
    centre = simulation.centre
    match op:
        case Push(login=login, frame=frame):
            return Done([Send(customer_named(centre, login).login, frame)])
        case Kick(login=login, code=code):
            if not customer_named(centre, login).linked:
                raise BadOpError(f"{login} has no open socket")
            if not 1000 <= code <= 4999:
                raise BadOpError("code must be a WebSocket close code, 1000 to 4999")
            return Done([HangUp(login, code)])
        case ExpireToken(login=login):
            centre.sign_out(customer_named(centre, login))
        case SignOn(agent=agent):
            others = [one for one in centre.options.agents if one.id != agent.id]
            _set(simulation, {"agents": msgspec.to_builtins([*others, agent])})
        case SignOff(agent=agent_id):
            leaving = agent_online(centre, agent_id)
            others = [one for one in centre.options.agents if one != leaving]
            _set(simulation, {"agents": msgspec.to_builtins(others)})
        case Forget(what=what):
            if what == "blacklist":
                simulation.gate.forget()
            else:
                centre.forget(what)
        case Restart(seconds=seconds, forget=memories):
            for memory in memories:
                centre.forget(memory)
            simulation.down_until = now + seconds
            return Done([HangUp(who.login, 1001) for who in centre.customers.values()])
        case Set(options=options, faults=faults):
            _set(simulation, options)
            if faults is not None:
                simulation.faults.replace(faults)
    return Done()


def _set(simulation: Simulation, options: dict[str, object]) -> None:
    try:
        simulation.centre.options = simulation.centre.options.changed(options)
    except ValueError as error:
        raise BadOpError(str(error)) from error


def _on_request(centre: CallCentre, op: Accept | Refuse) -> Done:
    request = request_meant(centre, op)
    if isinstance(op, Refuse):
        if op.status in (RequestStatus.WAITING, RequestStatus.ACCEPTED):
            raise BadOpError("status must be one that ends the request")
        return Done(desk.turn_away(centre, request, op.status), {"request": request.id})
    agent = agent_online(centre, op.agent) if op.agent else desk.quietest_agent(centre)
    if agent is None:
        raise BadOpError("no agent is online")
    outgoing = desk.accept(centre, request, agent)
    session = centre.customers[request.login].session
    return Done(outgoing, {"request": request.id, "session": session.id if session else None})


def _on_people(centre: CallCentre, op: PeopleOp) -> Done:
    session = session_meant(centre, op)
    queue, queue_name = (op.queue, op.queue_name) if isinstance(op, Transfer) else (None, "")
    match op:
        case Agents(agents=agents):
            people = list(agents)
        case Transfer(to=to):
            people = [agent_online(centre, to)]
        case Conference(to=to):
            newcomer = agent_online(centre, to)
            if newcomer.id in {agent.id for agent in session.agents}:
                raise BadOpError(f"{to} is in the session already")
            people = [*session.agents, newcomer]
        case _:
            agent_id = op.agent or desk.first_agent(session)
            people = [agent for agent in session.agents if agent.id != agent_id]
            if not people or len(people) == len(session.agents):
                raise BadOpError(f"{agent_id} is not one of several in the session")
    news = desk.change_agents(centre, session, people, queue_id=queue, queue_name=queue_name)
    return Done(news, {"session": session.id})


def _on_session(centre: CallCentre, op: SessionOp, host: Host) -> Done:
    session = session_meant(centre, op)
    answer: Wire = {"session": session.id}
    agent_id = op.agent or desk.first_agent(session)
    match op:
        case PushRating():
            return Done(desk.push_rating(centre, session, agent_id), answer)
        case Close():
            return Done(desk.close(centre, session, agent_id), answer)
        case Recall(message=message):
            number = desk.last_said(centre, session) if message is None else message
            if number is None or (recalled := desk.recall(centre, session, number)) is None:
                raise BadOpError("no such message was said in this session")
            return Done([recalled], answer | {"n": number})
        case Image() | Voice() | File():
            said = _file(op, host)
        case _:
            said = _words(op)
    send = desk.speak(
        centre,
        session,
        said.kind,
        said.content,
        agent_id=agent_id,
        notice_type=said.notice_type,
        shown=said.shown,
    )
    if send.record is not None:
        answer["n"] = send.record["n"]
    if said.body is not None:
        answer |= {"size": len(said.body), "sha256": hashlib.sha256(said.body).hexdigest()}
    return Done([send], answer)


@dataclass(slots=True)
class _Said:
    """Words of an agent: see `desk.speak`."""

    kind: MessageType
    content: object
    shown: Wire | None = None
    notice_type: int | None = None
    body: bytes | None = None
    """The file that it brings."""


def _words(op: Say | Notice | Typing | Location) -> _Said:
    match op:
        case Say(text=text):
            return _Said(MessageType.TEXT, text)
        case Notice(text=text, notice_type=notice_type):
            return _Said(MessageType.SYSTEM_NOTICE, text, notice_type=notice_type)
        case Typing():
            return _Said(MessageType.SYSTEM_NOTICE, "", notice_type=NoticeType.TYPING)
        case Location(latitude=latitude, longitude=longitude, poi=poi, map=map_name):
            place: Wire = {"longitude": longitude, "latitude": latitude, "map": map_name}
            content = {"poi": poi, **place, "thumbData": "", "extra": ""}
            return _Said(MessageType.LOCATION, content, {**place, "text": poi})


def _file(op: FileOp, host: Host) -> _Said:
    try:
        body = base64.b64decode(op.data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadOpError("data is not base64") from error
    content: object
    if isinstance(op, Voice):
        if not 0 < op.seconds <= 60:
            raise BadOpError("seconds must be 1 to 60")
        body = body or samples.voice(op.seconds)
        content = text = base64.b64encode(body).decode()
        if op.style == "object":
            content = {"voiceData": text, "voiceLength": op.seconds}
        told: Wire = {"seconds": float(op.seconds), "audio": text}
        return _Said(MessageType.VOICE, content, told, body=body)
    if isinstance(op, Image):
        if not (0 < op.width <= 4000 and 0 < op.height <= 4000):
            raise BadOpError("width and height must be 1 to 4000")
        body = body or samples.picture(op.name, op.width, op.height)
    elif not op.name:
        raise BadOpError("name must not be empty")
    else:
        body = body or op.text.encode()
    placed = host(op.name, body)
    shown: Wire = {"name": op.name, "file": placed.path, "size": len(body)}
    if isinstance(op, File):
        suffix = PurePosixPath(op.name).suffix.lstrip(".").lower()
        about = {"name": op.name, "url": placed.url, "size": len(body), "type": suffix}
        content = json.dumps(about, ensure_ascii=False) if op.as_text else about
        return _Said(MessageType.FILE, content, shown, body=body)
    if op.style == "object":
        content = {"imgUrl": placed.url, "imgName": op.name}
    else:
        prefix = "data:image/png;base64," if op.style == "data-uri" else ""
        content = prefix + base64.b64encode(body).decode()
    return _Said(MessageType.IMAGE, content, shown, body=body)
