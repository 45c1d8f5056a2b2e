"""Responses of the HTTP interface: login and history at `/tpi`, the robot at `/robotSearch`.

Login (guide part one) issues tokens. Type 5003 (later guides; reference 3.8) returns the history in
pages, newest first. robotSearch (guide part four) returns canned answers and verifies the sign if
it has a key. Pure: returns JSON objects.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Annotated

import msgspec

from bridge.ids import AgentId
from bridge.simulator.checks import Refusal, Shape
from bridge.simulator.delivery import KINDS, icon
from bridge.simulator.options import DeskAgent, SimulatorOptions
from bridge.simulator.state import CallCentre, Customer, Wire
from bridge.webchat.codes import FrameType, MessageType, ResultCode
from bridge.webchat.http import HISTORY, login_sign, robot_sign

# --- login ---------------------------------------------------------------------------------------

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
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return result(ResultCode.REQUEST_ERROR, f"the body must be a JSON object: {error}")
    customer, token = centre.sign_in(login, name, now)
    told = result(ResultCode.SUCCESS, token=token, config={})
    shown = {"clientId": customer.client_id} if centre.options.has("client_id_in_login") else {}
    return told | shown


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


# --- history -------------------------------------------------------------------------------------

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
    mode, history = centre.options.running_history, customer.history
    hidden = {one.id for one in history.sessions if one.open}
    if mode == "told" or (mode == "asked" and wanted.running):
        hidden.clear()
    records = sorted((*history.messages, *history.said), key=lambda it: _number(it["n"]))
    people = {agent.id: agent for agent in (*centre.options.agents, centre.options.robot)}
    people |= {agent.id: agent for session in history.sessions for agent in session.agents}
    rows: list[Wire] = []
    behind = centre.options.history_behind
    for record in reversed(records):
        number, session = _number(record["n"]), _number(record["sessionId"])
        if record["type"] == MessageType.SYSTEM_NOTICE and not record["content"]:
            continue  # typing is not history
        if (behind := behind - 1) >= 0 or number >= (wanted.from_message or number + 1):
            continue
        if session in hidden or session > (wanted.from_session or session):
            continue
        rows.append(_row(centre, customer, people, record))
    return rows[: wanted.count]


def _row(
    centre: CallCentre, customer: Customer, people: Mapping[AgentId, DeskAgent], record: Wire
) -> Wire:
    """Build the history row of a record of the customer or an agent."""
    kind = record["type"]
    if "agentId" in record:
        is_text = kind in (MessageType.TEXT, MessageType.SYSTEM_NOTICE)
        text = record["content"] if is_text else f"[{KINDS[_number(kind)]}]"
        agent = people.get(AgentId(str(record["agentId"])))
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


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


# --- robotSearch ---------------------------------------------------------------------------------

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
