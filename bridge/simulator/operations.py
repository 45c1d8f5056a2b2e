"""The control operations, as `POST /_sim/do` takes them: `{"op": "say", "text": "…"}`.

First their shapes, then who each of them is about, then their execution. Who it is about may be
left out when it can only be one: the only open session, the request that has waited longest. Pure
on the model: what goes over the wire is returned.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

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


class Op(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="op",
):
    """The base of all operations."""


class OnRequest(Op, frozen=True, kw_only=True):
    """About a queue request: by id, by customer, or the one that has waited longest."""

    request: RequestId | None = None
    login: str = ""


class Accept(OnRequest, frozen=True, kw_only=True, tag="accept"):
    agent: AgentId = AgentId("")
    """Empty: the one with the fewest sessions."""


class Refuse(OnRequest, frozen=True, kw_only=True, tag="refuse"):
    """End a request with any requestStatus: refused, timed out, lost, closed hours."""

    status: int = 2


class OnSession(Op, frozen=True, kw_only=True):
    """About an open session: by id, by customer, or the only one there is."""

    session: SessionId | None = None
    login: str = ""
    agent: AgentId = AgentId("")
    """The agent who acts; empty: the session's first agent."""


class Say(OnSession, frozen=True, kw_only=True, tag="say"):
    text: str
    """HTML, sent as it is."""


class Image(OnSession, frozen=True, kw_only=True, tag="image"):
    data: str = ""
    """Base64; empty: a picture is generated from `name`."""
    name: str = "picture.png"
    width: int = 64
    height: int = 64
    style: Literal["base64", "object", "data-uri"] = "base64"
    """The guide's base64 text, a later client's `{imgUrl, imgName}`, or a data URI."""


class File(OnSession, frozen=True, kw_only=True, tag="file"):
    name: str
    data: str = ""
    """Base64."""
    text: str = ""
    """The bytes as text, instead of `data`."""
    as_text: bool = False
    """The content is JSON text instead of an object (trap T6)."""


class Voice(OnSession, frozen=True, kw_only=True, tag="voice"):
    data: str = ""
    """Base64 of an AMR file; empty: silence is generated. Another recording is made AMR first."""
    seconds: int = 2
    style: Literal["base64", "object"] = "base64"
    """The guide's base64 text, or a later client's `{voiceData, voiceLength}`."""


class Location(OnSession, frozen=True, kw_only=True, tag="location"):
    latitude: float
    longitude: float
    poi: str = ""
    map: str = "baidu"


class Notice(OnSession, frozen=True, kw_only=True, tag="notice"):
    text: str
    notice_type: int | None = None


class Typing(OnSession, frozen=True, kw_only=True, tag="typing"):
    """A later revision's system notice 5; a server of 2016 has none."""


class Recall(OnSession, frozen=True, kw_only=True, tag="recall"):
    """Take back what was said: system notice 6, and `revokeFlag` in the history."""

    message: int | None = None
    """The number that saying it gave (`n`); None: what was said last."""


class PushRating(OnSession, frozen=True, kw_only=True, tag="push_rating"):
    pass


class Agents(OnSession, frozen=True, kw_only=True, tag="agents"):
    """Replace the people of a session, new names and pictures included."""

    agents: tuple[DeskAgent, ...]


class Transfer(OnSession, frozen=True, kw_only=True, tag="transfer"):
    """Hand the session to another agent, who is online."""

    to: AgentId
    queue: QueueId | None = None
    queue_name: str = ""


class Conference(OnSession, frozen=True, kw_only=True, tag="conference"):
    """Bring in one more agent, who is online."""

    to: AgentId


class Leave(OnSession, frozen=True, kw_only=True, tag="leave"):
    """An agent goes out of a session in which others stay."""


class Close(OnSession, frozen=True, kw_only=True, tag="close"):
    pass


class SignOn(Op, frozen=True, kw_only=True, tag="sign_on"):
    """An agent comes online, or takes another name or picture."""

    agent: DeskAgent


class SignOff(Op, frozen=True, kw_only=True, tag="sign_off"):
    """An agent goes offline; open sessions stay as they are."""

    agent: AgentId


class Push(Op, frozen=True, kw_only=True, tag="push"):
    """Send a customer any frame at all: what later revisions know, and nonsense."""

    login: str
    frame: Wire


class Kick(Op, frozen=True, kw_only=True, tag="kick"):
    login: str
    code: int = 1001
    """A close code; 1006: cut without a close frame."""


class ExpireToken(Op, frozen=True, kw_only=True, tag="expire_token"):
    login: str


class Forget(Op, frozen=True, kw_only=True, tag="forget"):
    what: Memory | Literal["blacklist"]


class Restart(Op, frozen=True, kw_only=True, tag="restart"):
    """Close every socket with 1001 and answer everything with 404 for some seconds."""

    seconds: float = 0
    forget: tuple[Memory, ...] = ()


class Set(Op, frozen=True, kw_only=True, tag="set"):
    """Change options, and replace the faults still to come."""

    options: dict[str, object] = {}
    faults: list[Fault] | None = None


AnyOp = (
    Accept
    | Refuse
    | Say
    | Image
    | File
    | Voice
    | Location
    | Notice
    | Typing
    | Recall
    | PushRating
    | Agents
    | Transfer
    | Conference
    | Leave
    | Close
    | SignOn
    | SignOff
    | Push
    | Kick
    | ExpireToken
    | Forget
    | Restart
    | Set
)


def read(body: object) -> AnyOp:
    """Turn a decoded JSON object into an operation.

    Raises:
        BadOpError: with the field and what is wrong with it.
    """
    try:
        op: AnyOp = msgspec.convert(body, AnyOp)
    except msgspec.ValidationError as error:
        raise BadOpError(str(error)) from error
    return op


# --- who an operation is about -------------------------------------------------------------------


def customer_named(centre: CallCentre, login: str) -> Customer:
    """The customer who has logged in under that name."""
    found = centre.customers.get(login)
    if found is None:
        raise BadOpError(f"nobody has logged in as {login!r}")
    return found


def agent_online(centre: CallCentre, agent_id: AgentId) -> DeskAgent:
    """The agent online under that id."""
    found = centre.options.agent(agent_id)
    if found is None:
        raise BadOpError(f"no agent {agent_id!r} is online")
    return found


def request_meant(centre: CallCentre, op: OnRequest) -> QueueRequest:
    """The request that is named, or the one that has waited longest."""
    if op.request is not None:
        found = centre.requests.get(op.request)
        if found is None:
            raise BadOpError(f"no request {op.request} is waiting")
        return found
    if op.login:
        own = customer_named(centre, op.login).request
        if own is None:
            raise BadOpError(f"{op.login} is not waiting in a queue")
        return own
    oldest = next(iter(centre.requests.values()), None)
    if oldest is None:
        raise BadOpError("nobody is waiting in a queue")
    return oldest


def session_meant(centre: CallCentre, op: OnSession) -> Session:
    """The open session that is named, or the only one."""
    if op.session is not None:
        found = centre.sessions.get(op.session)
        if found is None:
            raise BadOpError(f"session {op.session} is not open")
        return found
    if op.login:
        own = customer_named(centre, op.login).session
        if own is None:
            raise BadOpError(f"{op.login} has no open session")
        return own
    if len(centre.sessions) != 1:
        raise BadOpError(f"say which session: {len(centre.sessions)} are open")
    return next(iter(centre.sessions.values()))


# --- execution -----------------------------------------------------------------------------------


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
    """The result of an operation."""

    outgoing: list[Outgoing] = field(default_factory=list)
    answer: Wire = field(default_factory=dict)
    """For the caller, beside `ok` and `sent`."""


def perform(simulation: Simulation, op: AnyOp, now: float, host: Host) -> Done:
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
        case Accept() | Refuse():
            return _on_request(centre, op)
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
            return Done()
        case SignOn(agent=newcomer):
            others = [one for one in centre.options.agents if one.id != newcomer.id]
            return _set(simulation, Set(options={"agents": _plain([*others, newcomer])}))
        case SignOff(agent=agent_id):
            leaving = agent_online(centre, agent_id)
            others = [one for one in centre.options.agents if one != leaving]
            return _set(simulation, Set(options={"agents": _plain(others)}))
        case Forget(what=what):
            if what == "blacklist":
                simulation.gate.forget()
            else:
                centre.forget(what)
            return Done()
        case Restart(seconds=seconds, forget=memories):
            for memory in memories:
                centre.forget(memory)
            simulation.down_until = now + seconds
            return Done([HangUp(who.login, 1001) for who in centre.customers.values()])
        case Set():
            return _set(simulation, op)
        case _:
            return _on_session(centre, op, host)


def _plain(agents: list[DeskAgent]) -> list[object]:
    return [msgspec.to_builtins(agent) for agent in agents]


def _set(simulation: Simulation, op: Set) -> Done:
    try:
        simulation.centre.options = simulation.centre.options.changed(op.options)
    except ValueError as error:
        raise BadOpError(str(error)) from error
    if op.faults is not None:
        simulation.faults.replace(op.faults)
    return Done()


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


SessionOp = (
    Say
    | Image
    | File
    | Voice
    | Location
    | Notice
    | Typing
    | Recall
    | PushRating
    | Agents
    | Transfer
    | Conference
    | Leave
    | Close
)


def _on_session(centre: CallCentre, op: SessionOp, host: Host) -> Done:
    session = session_meant(centre, op)
    answer: Wire = {"session": session.id}
    agent_id = op.agent or desk.first_agent(session)
    match op:
        case PushRating():
            return Done(desk.push_rating(centre, session, agent_id), answer)
        case Close():
            return Done(desk.close(centre, session, agent_id), answer)
        case Agents(agents=agents):
            return Done(desk.change_agents(centre, session, agents), answer)
        case Transfer(to=to, queue=queue, queue_name=queue_name):
            people = [agent_online(centre, to)]
            outgoing = desk.change_agents(
                centre, session, people, queue_id=queue, queue_name=queue_name
            )
            return Done(outgoing, answer)
        case Conference(to=to):
            newcomer = agent_online(centre, to)
            if newcomer.id in {agent.id for agent in session.agents}:
                raise BadOpError(f"{to} is in the session already")
            return Done(desk.change_agents(centre, session, [*session.agents, newcomer]), answer)
        case Leave():
            staying = [agent for agent in session.agents if agent.id != agent_id]
            if not staying or len(staying) == len(session.agents):
                raise BadOpError(f"{agent_id} is not one of several in the session")
            return Done(desk.change_agents(centre, session, staying), answer)
        case Notice(text=text, notice_type=notice_type):
            kind = MessageType.SYSTEM_NOTICE
            return _spoken(centre, session, op, kind, text, notice_type=notice_type)
        case Recall(message=message):
            number = desk.last_said(centre, session) if message is None else message
            if number is None or (recalled := desk.recall(centre, session, number)) is None:
                raise BadOpError("no such message was said in this session")
            return Done([recalled], answer | {"n": number})
        case Typing():
            kind = MessageType.SYSTEM_NOTICE
            return _spoken(centre, session, op, kind, "", notice_type=NoticeType.TYPING)
        case _:
            return _media(centre, session, op, host)


MediaOp = Say | Image | File | Voice | Location


def _media(centre: CallCentre, session: Session, op: MediaOp, host: Host) -> Done:
    match op:
        case Say(text=text):
            return _spoken(centre, session, op, MessageType.TEXT, text)
        case Image(data=data, name=name, width=width, height=height):
            if not (0 < width <= 4000 and 0 < height <= 4000):
                raise BadOpError("width and height must be 1 to 4000")
            body = _bytes(data) if data else samples.picture(name, width, height)
            placed = host(name, body)
            shown: Wire = {"name": name, "file": placed.path, "size": len(body)}
            content = _image(op, body, placed)
            return _with_digest(
                _spoken(centre, session, op, MessageType.IMAGE, content, shown=shown), body
            )
        case Voice(data=data, seconds=seconds):
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
        case File():
            if not op.name:
                raise BadOpError("name must not be empty")
            body = _bytes(op.data) if op.data else op.text.encode()
            placed = host(op.name, body)
            shown = {"name": op.name, "file": placed.path, "size": len(body)}
            content = _file(op, body, placed)
            return _with_digest(
                _spoken(centre, session, op, MessageType.FILE, content, shown=shown), body
            )
        case Location(latitude=latitude, longitude=longitude, poi=poi, map=map_name):
            place: Wire = {"longitude": longitude, "latitude": latitude, "map": map_name}
            shown = {**place, "text": poi}
            whole: Wire = {"poi": poi, **place, "thumbData": "", "extra": ""}
            return _spoken(centre, session, op, MessageType.LOCATION, whole, shown=shown)


def _image(op: Image, body: bytes, placed: Placed) -> object:
    text = base64.b64encode(body).decode()
    match op.style:
        case "base64":
            return text
        case "data-uri":
            return f"data:image/png;base64,{text}"
        case "object":
            return {"imgUrl": placed.url, "imgName": op.name}


def _file(op: File, body: bytes, placed: Placed) -> object:
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
