"""Type 5003 at `/tpi` (later; reference 3.8): what was said, page by page, newest first."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from typing import Annotated

import msgspec

from bridge.ids import AgentId
from bridge.simulator.desk import KINDS
from bridge.simulator.outgoing import Wire
from bridge.simulator.pushes import icon
from bridge.simulator.state import CallCentre, Customer
from bridge.webchat.codes import MessageType, ResultCode

HISTORY = 5003
_CUSTOMER, _AGENT = 1, 2
_NORMAL, _NOTICE = 0, 1
_Natural = Annotated[int, msgspec.Meta(ge=0)]


class _Wanted(msgspec.Struct):
    """The page that is asked for; everything but the token may be left out."""

    token: str
    from_session: _Natural = msgspec.field(name="fromSessionId", default=0)
    """Only this session and those before it; 0: all."""
    from_message: _Natural = msgspec.field(name="fromMessageId", default=0)
    """Only what was said before this message; 0: all."""
    count: Annotated[int, msgspec.Meta(ge=1, le=1000)] = msgspec.field(name="maxCount", default=10)
    permanent: int = msgspec.field(name="permFlag", default=0)
    running: bool = msgspec.field(name="continueLastSession", default=False)
    """Also of the session that goes on."""


def tell(centre: CallCentre, body: bytes, now: float, cookie: str = "") -> Wire:
    """Answer one request for history.

    Args:
        centre: what was said in it.
        body: the request's JSON, known to be an object of type 5003.
        now: seconds, monotonic: decides whether the token is valid.
        cookie: the balancer's.

    Returns:
        The JSON of the answer: -14 a field is wrong, -15 the token is not valid.
    """
    try:
        wanted = msgspec.json.decode(body, type=_Wanted)
    except msgspec.ValidationError as error:
        return {"result": int(ResultCode.INVALID_PARAMETER), "message": str(error)}
    customer = centre.holder(wanted.token, now)
    if customer is None or not centre.led(wanted.token, cookie):
        return {"result": int(ResultCode.INVALID_TOKEN), "message": "the token is not valid"}
    rows = _newest_first(centre, customer, wanted)
    if centre.options.history_style == "rows":
        rows = [_row(message) for message in rows]
    return {"result": int(ResultCode.SUCCESS), "message": "", "hisMessages": rows}


def _newest_first(centre: CallCentre, customer: Customer, wanted: _Wanted) -> list[Wire]:
    before = wanted.from_message or None
    hidden = _hidden(centre, customer, wanted)
    heard = _from_customer(customer)
    said = _from_agents(centre, customer)
    everything = heapq.merge(heard, said, key=lambda message: -_number(message["id"]))
    page: list[Wire] = []
    for message in itertools.islice(everything, centre.options.history_behind, None):
        session = _number(message.pop("sessionId") or 0)
        if before is not None and _number(message["id"]) >= before:
            continue
        if session in hidden or (wanted.from_session and session > wanted.from_session):
            continue
        page.append(message)
        if len(page) == wanted.count:
            break
    return page


def _hidden(centre: CallCentre, customer: Customer, wanted: _Wanted) -> set[int]:
    """The sessions that are left out because they go on."""
    kind = centre.options.running_history
    if kind == "told" or (kind == "asked" and wanted.running):
        return set()
    return {session.id for session in customer.history.sessions if session.open}


def _from_customer(customer: Customer) -> Iterable[Wire]:
    for record in reversed(customer.history.messages):
        yield {
            "id": record["n"],
            "sessionId": record["sessionId"],
            "userId": customer.client_id,
            "userName": customer.name or customer.login,
            "userType": _CUSTOMER,
            "text": record["text"] or f"[{record['kind']}]",
            "messageType": _NORMAL,
            "postTime": record["time"],
            "revokeFlag": 0,
            "icon": "",
        }


def _from_agents(centre: CallCentre, customer: Customer) -> Iterable[Wire]:
    people = {agent.id: agent for agent in (*centre.options.agents, centre.options.robot)}
    for session in customer.history.sessions:
        people |= {agent.id: agent for agent in session.agents}
    for record in reversed(customer.history.said):
        kind, content = record["type"], record["content"]
        if kind == MessageType.SYSTEM_NOTICE and not content:
            continue  # typing is not history
        agent = people.get(AgentId(str(record["agentId"])))
        text = kind in (MessageType.TEXT, MessageType.SYSTEM_NOTICE)
        yield {
            "id": record["n"],
            "sessionId": record["sessionId"],
            "userId": record["agentId"],
            "userName": agent.name if agent else "",
            "userType": _AGENT,
            "text": str(content) if text else f"[{KINDS[_number(kind)]}]",
            "messageType": _NOTICE if kind == MessageType.SYSTEM_NOTICE else _NORMAL,
            "postTime": record["time"],
            "revokeFlag": int("revoked" in record),
            "icon": icon(centre, agent) if agent else "",
        }


def _row(message: Wire) -> Wire:
    """The older form: raw rows, no names."""
    kept = ("id", "userId", "userType", "messageType", "postTime")
    return {**{key: message[key] for key in kept}, "message": message["text"]}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
