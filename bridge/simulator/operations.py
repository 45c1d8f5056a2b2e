"""Control operations of `POST /_sim/do`: `{"op": "say", "text": "…"}`.

docs/simulator.md lists the operations with their fields. To add one, write its function, whose
keyword parameters are its fields, and list it in `_TABLE`. Pure: the centre has what to send.
"""

from __future__ import annotations

import base64
import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from functools import reduce
from operator import or_
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec

from bridge.ids import AgentId, QueueId, RequestId, SessionId
from bridge.simulator import desk, samples
from bridge.simulator.options import DeskAgent
from bridge.simulator.state import (
    CallCentre,
    CloseCode,
    Customer,
    Fault,
    FaultPlan,
    Memory,
    QueueRequest,
    Session,
    Wire,
)
from bridge.webchat.codes import FrameType, MessageType, NoticeType, RequestStatus


class BadOpError(Exception):
    """An operation that cannot be done; the message says why, in one sentence."""


_T = TypeVar("_T")
_NOBODY = AgentId("")
_Name = Annotated[str, msgspec.Meta(min_length=1)]
_Pixels = Annotated[int, msgspec.Meta(ge=1, le=4000)]
Host = Callable[[str, bytes], tuple[str, str]]
"""Stores an agent's file; returns its URL and the `number/name` by which the desk fetches it."""


class _Moment(NamedTuple):
    centre: CallCentre
    now: float
    host: Host
    answer: Wire
    """Fields of the response beside `ok` and `sent`, which finder and function fill."""


# --- the target of an operation: optional where one can be chosen ---------------------------------


def _there(found: _T | None, problem: str) -> _T:
    if found is None:
        raise BadOpError(problem)
    return found


def _customer(at: _Moment, *, login: str = "") -> Customer:
    customers = at.centre.customers
    if login:
        return _there(customers.get(login), f"nobody has logged in as {login!r}")
    only = next(iter(customers.values())) if len(customers) == 1 else None
    many = f"say which login: {len(customers)} have logged in"
    return _there(only, many if customers else "nobody has logged in")


def _request(at: _Moment, *, request: RequestId | None = None, login: str = "") -> QueueRequest:
    """Return the named queue request, or the one that has waited longest."""
    requests = at.centre.requests
    if request is not None:
        found = _there(requests.get(request), f"no request {request} is waiting")
    elif login:
        waiting = _customer(at, login=login).request
        found = _there(waiting, f"{login} is not waiting in a queue")
    else:
        found = _there(next(iter(requests.values()), None), "nobody is waiting in a queue")
    at.answer["request"] = found.id
    return found


class _Chat(NamedTuple):
    centre: CallCentre
    session: Session
    agent: AgentId
    """The agent who acts."""


def _chat(
    at: _Moment, *, session: SessionId | None = None, login: str = "", agent: AgentId = _NOBODY
) -> _Chat:
    """Return the named or only open session, with the named or its first agent."""
    sessions = at.centre.sessions
    if session is not None:
        found = _there(sessions.get(session), f"session {session} is not open")
    elif login:
        found = _there(_customer(at, login=login).session, f"{login} has no open session")
    else:
        only = next(iter(sessions.values())) if len(sessions) == 1 else None
        many = f"say which session: {len(sessions)} are open"
        found = _there(only, many if sessions else "no session is open")
    at.answer["session"] = found.id
    return _Chat(at.centre, found, agent or desk.first_agent(found))


def _online(centre: CallCentre, agent_id: AgentId) -> DeskAgent:
    return _there(centre.options.agent(agent_id), f"no agent {agent_id!r} is online")


# --- on a request --------------------------------------------------------------------------------


def _accept(at: _Moment, request: QueueRequest, *, agent: AgentId = _NOBODY) -> None:
    taker = _online(at.centre, agent) if agent else desk.quietest_agent(at.centre)
    desk.accept(at.centre, request, _there(taker, "no agent is online"))
    session = request.customer.session
    at.answer["session"] = session.id if session else None


def _refuse(at: _Moment, request: QueueRequest, *, status: int = 2) -> None:
    if status in (RequestStatus.WAITING, RequestStatus.ACCEPTED):
        raise BadOpError("status must be one that ends the request")
    desk.turn_away(at.centre, request, status)


# --- in a session: what agents say ----------------------------------------------------------------


def _say(at: _Moment, chat: _Chat, *, text: str) -> None:
    at.answer["n"] = desk.speak(*chat, MessageType.TEXT, text)


def _notice(at: _Moment, chat: _Chat, *, text: str, notice_type: int | None = None) -> None:
    at.answer["n"] = desk.speak(*chat, MessageType.SYSTEM_NOTICE, text, notice_type=notice_type)


def _typing(at: _Moment, chat: _Chat) -> None:
    at.answer["n"] = desk.speak(*chat, MessageType.SYSTEM_NOTICE, "", notice_type=NoticeType.TYPING)


def _location(
    at: _Moment,
    chat: _Chat,
    *,
    latitude: float,
    longitude: float,
    poi: str = "",
    map: str = "baidu",  # noqa: A002 - the field's name
) -> None:
    place: Wire = {"longitude": longitude, "latitude": latitude, "map": map}
    content = {"poi": poi, **place, "thumbData": "", "extra": ""}
    at.answer["n"] = desk.speak(*chat, MessageType.LOCATION, content, shown={**place, "text": poi})


def _voice(
    at: _Moment,
    chat: _Chat,
    *,
    data: str = "",
    seconds: Annotated[int, msgspec.Meta(ge=1, le=60)] = 2,
    style: Literal["base64", "object", "address"] = "base64",
) -> None:
    body = _body(at, data, samples.voice(seconds))
    text = base64.b64encode(body).decode()
    content: object = {"voiceData": text, "voiceLength": seconds} if style == "object" else text
    if style == "address":
        url, _ = at.host("voice.amr", body)
        content = {"voiceUri": url, "voiceLength": seconds, "voiceType": "amr"}
    shown: Wire = {"seconds": float(seconds), "audio": text}
    at.answer["n"] = desk.speak(*chat, MessageType.VOICE, content, shown=shown)


def _image(
    at: _Moment,
    chat: _Chat,
    *,
    data: str = "",
    name: str = "picture.png",
    width: _Pixels = 64,
    height: _Pixels = 64,
    style: Literal["base64", "object", "data-uri"] = "base64",
) -> None:
    body = _body(at, data, samples.picture(name, width, height))
    url, path = at.host(name, body)
    content: object = {"imgUrl": url, "imgName": name}
    if style != "object":
        prefix = "data:image/png;base64," if style == "data-uri" else ""
        content = prefix + base64.b64encode(body).decode()
    shown: Wire = {"name": name, "file": path, "size": len(body)}
    at.answer["n"] = desk.speak(*chat, MessageType.IMAGE, content, shown=shown)


def _file(
    at: _Moment, chat: _Chat, *, name: _Name, data: str = "", text: str = "", as_text: bool = False
) -> None:
    body = _body(at, data, text.encode())
    url, path = at.host(name, body)
    suffix = PurePosixPath(name).suffix.lstrip(".").lower()
    about = {"name": name, "url": url, "size": len(body), "type": suffix}
    content = json.dumps(about, ensure_ascii=False) if as_text else about
    shown: Wire = {"name": name, "file": path, "size": len(body)}
    at.answer["n"] = desk.speak(*chat, MessageType.FILE, content, shown=shown)


def _body(at: _Moment, data: str, usual: bytes) -> bytes:
    """Decode `data` (base64), or return `usual` if it is empty; answer with size and sha256."""
    try:
        body = base64.b64decode(data, validate=True) or usual
    except ValueError as error:
        raise BadOpError("data is not base64") from error
    at.answer.update(size=len(body), sha256=hashlib.sha256(body).hexdigest())
    return body


def _recall(at: _Moment, chat: _Chat, *, message: int | None = None) -> None:
    """Recall a message, by default the newest, with notice 6 of the HTTP guide."""
    for record in reversed(chat.session.customer.said):
        of_session = record["sessionId"] == chat.session.id
        is_notice = record["type"] == MessageType.SYSTEM_NOTICE
        if of_session and not is_notice and message in (None, record["n"]):
            break
    else:
        raise BadOpError("no such message was said in this session")
    record["revoked"], at.answer["n"] = True, record["n"]
    at.centre.note(chat.session, "event", "recalled", agent=record["agentId"])
    msg: Wire = {
        "type": int(MessageType.SYSTEM_NOTICE),
        "noticeType": int(NoticeType.REVOKE_MESSAGE),
        "content": {"messageId": record["n"]},
    }
    fields: Wire = {"agentId": record["agentId"], "msg": msg}
    desk.push(at.centre, FrameType.MESSAGE_RECEIVED, chat.session, fields)


def _push_rating(at: _Moment, chat: _Chat) -> None:
    at.centre.note(chat.session, "event", "rating_pushed", agent=chat.agent)
    desk.push(at.centre, FrameType.RATING_PUSHED, chat.session, {"agentId": chat.agent})


def _close(at: _Moment, chat: _Chat) -> None:
    desk.push(at.centre, FrameType.SESSION_CLOSED, chat.session, {"agentId": chat.agent})
    desk.end(at.centre, chat.session, "agent", chat.agent)


# --- in a session: who is in it -------------------------------------------------------------------


def _agents(at: _Moment, chat: _Chat, *, agents: tuple[DeskAgent, ...]) -> None:
    desk.change_agents(at.centre, chat.session, agents)


def _transfer(
    at: _Moment, chat: _Chat, *, to: AgentId, queue: QueueId | None = None, queue_name: str = ""
) -> None:
    people = [_online(at.centre, to)]
    desk.change_agents(at.centre, chat.session, people, queue_id=queue, queue_name=queue_name)


def _conference(at: _Moment, chat: _Chat, *, to: AgentId) -> None:
    newcomer, present = _online(at.centre, to), chat.session.agents
    if newcomer.id in {agent.id for agent in present}:
        raise BadOpError(f"{to} is in the session already")
    desk.change_agents(at.centre, chat.session, [*present, newcomer])


def _leave(at: _Moment, chat: _Chat) -> None:
    present = chat.session.agents
    others = [agent for agent in present if agent.id != chat.agent]
    if not others or len(others) == len(present):
        raise BadOpError(f"{chat.agent} is not one of several in the session")
    desk.change_agents(at.centre, chat.session, others)


# --- on a customer, on the server -----------------------------------------------------------------


def _push(at: _Moment, customer: Customer, *, frame: Wire) -> None:
    at.centre.send(customer, frame)


def _kick(at: _Moment, customer: Customer, *, code: CloseCode = 1001) -> None:
    if not customer.linked:
        raise BadOpError(f"{customer.login} has no open socket")
    at.centre.hang_up(customer, code)


def _expire_token(at: _Moment, customer: Customer) -> None:
    at.centre.sign_out(customer)


def _sign_on(at: _Moment, *, agent: DeskAgent) -> None:
    others = [other for other in at.centre.options.agents if other.id != agent.id]
    _set(at, options={"agents": msgspec.to_builtins([*others, agent])})


def _sign_off(at: _Moment, *, agent: AgentId) -> None:
    leaving = _online(at.centre, agent)
    others = [other for other in at.centre.options.agents if other != leaving]
    _set(at, options={"agents": msgspec.to_builtins(others)})


def _forget(at: _Moment, *, what: Memory) -> None:
    at.centre.forget(what)


def _restart(at: _Moment, *, seconds: float = 0, forget: tuple[Memory, ...] = ()) -> None:
    for memory in forget:
        at.centre.forget(memory)
    at.centre.down_until = at.now + seconds
    for customer in at.centre.customers.values():
        at.centre.hang_up(customer, 1001)


def _set(
    at: _Moment,
    *,
    options: Mapping[str, object] = MappingProxyType({}),
    faults: list[Fault] | None = None,
) -> None:
    try:
        at.centre.options = at.centre.options.changed(options)
    except ValueError as error:
        raise BadOpError(str(error)) from error
    if faults is not None:
        at.centre.faults = FaultPlan(faults)


# --- the table -----------------------------------------------------------------------------------

_Finder = Callable[..., object]
_Function = Callable[..., None]
_TABLE: tuple[tuple[_Finder | None, tuple[_Function, ...]], ...] = (
    (_request, (_accept, _refuse)),
    (_chat, (_say, _image, _file, _voice, _location, _notice, _typing, _recall)),
    (_chat, (_push_rating, _close, _agents, _transfer, _conference, _leave)),
    (_customer, (_push, _kick, _expire_token)),
    (None, (_sign_on, _sign_off, _forget, _restart, _set)),
)
"""Operations, each named like its function, grouped by the function that finds their target."""


def _shape(find: _Finder | None, do: _Function) -> type[msgspec.Struct]:
    """Build the JSON shape of an operation from the keyword parameters of both functions."""
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for function in filter(None, (find, do)):
        for parameter in inspect.signature(function, eval_str=True).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY:
                default = () if parameter.default is parameter.empty else (parameter.default,)
                fields.append((parameter.name, parameter.annotation, *default))
    name = do.__name__.removeprefix("_")
    return msgspec.defstruct(
        name, fields, tag_field="op", tag=name, kw_only=True, forbid_unknown_fields=True
    )


OPERATIONS: Mapping[type[msgspec.Struct], tuple[_Function, _Finder | None]] = {
    _shape(find, do): (do, find) for find, functions in _TABLE for do in functions
}
_NAMES = tuple(shape.__name__ for shape in OPERATIONS)
_ANY: Any = reduce(or_, OPERATIONS)


def perform(centre: CallCentre, body: Mapping[str, object], now: float, host: Host) -> Wire:
    """Carry out one operation at `now` (monotonic seconds); return its fields of the response. On
    BadOpError nothing has changed.
    """
    try:
        asked = msgspec.convert(body, _ANY)
    except msgspec.ValidationError as error:
        unknown = body.get("op") not in _NAMES
        sentence = f"op must be one of {', '.join(_NAMES)}" if unknown else str(error)
        raise BadOpError(sentence) from error
    at = _Moment(centre, now, host, {})
    do, find = OPERATIONS[type(asked)]
    fields = msgspec.structs.asdict(asked)
    about = []
    if find is not None:
        named = inspect.getfullargspec(find).kwonlyargs
        about = [find(at, **{key: fields.pop(key) for key in named})]
    do(at, *about, **fields)
    return at.answer
